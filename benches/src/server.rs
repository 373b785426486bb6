//! The programs that are measured, as child processes: `slipway serve` and Debian's `docker-registry`.
//! Invariant: a process ends with this value, whatever happened.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use slipway_testkit::wait;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

const BINARY: &str = "SLIPWAY_BIN";
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(40);
/// Lines of the log that a failure shows.
const TAIL_LINES: usize = 40;

/// A running program that answers HTTP.
pub struct Server {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
}

/// The binary: as told, or beside this one.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os(BINARY) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => std::env::current_exe()?.with_file_name("slipway"),
    };
    ensure!(path.is_file(), "`{}` does not stand, expected the built `slipway`; hint: `make bench`, or set `{BINARY}`", path.display());
    Ok(path)
}

/// A port that nobody has. Outside of the range from which the kernel gives ports to clients, so that it is still free after a restart.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500)? * 20;
    (0..1000)
        .map(|_| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free between 20000 and 32000")
}

/// The binary with a configuration, and nothing that this environment says about Slipway.
fn slipway(config: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLIPWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).arg("--config").arg(config).current_dir(config.parent().context("the configuration lies in a folder")?);
    Ok(command)
}

/// Runs an administrator's command and returns what it printed.
pub async fn admin(config: &Path, arguments: &[&str], stdin: &str) -> Result<String> {
    let mut command = slipway(config, arguments)?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut pipe = child.stdin.take().context("stdin was piped")?;
    // A command that does not read may have ended already.
    pipe.write_all(stdin.as_bytes()).await.ok();
    drop(pipe);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "`slipway {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Server {
    /// `slipway serve`, ready.
    pub async fn slipway(config: &Path, site: &str, http: &reqwest::Client) -> Result<Self> {
        let mut command = slipway(config, &["serve"])?;
        if let Some(path) = path_with_docker() {
            command.env("PATH", path);
        }
        Self::start(command, http, &format!("{site}/readyz")).await
    }

    /// Debian's registry with a configuration file, ready.
    pub async fn debian(config: &Path, site: &str, http: &reqwest::Client) -> Result<Self> {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config);
        let started = Self::start(command, http, &format!("{site}/v2/")).await;
        started.context("`docker-registry` is what ours is compared with; hint: apt-get install docker-registry")
    }

    async fn start(mut command: Command, http: &reqwest::Client, ready: &str) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("`{}` did not start", command.as_std().get_program().display()))?;
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        keep_lines(child.stdout.take().context("stdout was piped")?, &lines);
        keep_lines(child.stderr.take().context("stderr was piped")?, &lines);
        let mut server = Self { child, lines };
        let (child, lines) = (&mut server.child, &server.lines);
        wait::until("the server to be ready", READY_WITHIN, || {
            let (ended, request) = (child.try_wait(), http.get(ready));
            async move {
                if let Some(status) = ended? {
                    bail!("the server ended with {status}:\n{}", tail(lines));
                }
                Ok(request.send().await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
            }
        })
        .await?;
        Ok(server)
    }

    fn pid(&self) -> Result<Pid> {
        let id = self.child.id().context("the server had ended before")?;
        i32::try_from(id).ok().and_then(Pid::from_raw).context("a process has a positive id")
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        tail(&self.lines)
    }

    /// A line of `/proc/<pid>/status` in KiB: `VmRSS` (now), `VmHWM` (the most since the last [`Server::forget_peak`]).
    pub fn memory_kib(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("the kernel tells `{field}`"))?.trim().trim_end_matches(" kB").parse()?)
    }

    /// Sets the kernel's own record of the peak to what it is now.
    pub fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()?.as_raw_nonzero()), "5").context("the peak cannot be reset")
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(mut self) -> Result<()> {
        rustix::process::kill_process(self.pid()?, Signal::TERM)?;
        let status = tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await;
        let status = status.with_context(|| format!("the server was still there {} s after SIGTERM", STOPPED_WITHIN.as_secs()))??;
        ensure!(status.success(), "the server ended with {status} after SIGTERM, expected exit 0");
        Ok(())
    }
}

/// The builder calls `docker` by PATH; the client that was chosen must be the first that it finds.
fn path_with_docker() -> Option<std::ffi::OsString> {
    let folder = crate::docker::client();
    let folder = folder.parent().filter(|folder| folder.is_absolute())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path))).ok()
}

fn tail(lines: &Mutex<VecDeque<String>>) -> String {
    lines.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|line| format!("    {line}\n")).collect()
}

fn keep_lines(stream: impl AsyncRead + Unpin + Send + 'static, lines: &Arc<Mutex<VecDeque<String>>>) {
    let lines = Arc::clone(lines);
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream).lines();
        while let Ok(Some(line)) = stream.next_line().await {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() >= TAIL_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    });
}
