//! The real `slipway serve` as a child process with a folder of its own.
//! Invariant: the process is stopped when this value goes away, whatever happened.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use slipway_testkit::wait;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

const BINARY: &str = "SLIPWAY_BIN";
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(40);
/// Lines of the log that a failure shows.
const TAIL_LINES: usize = 60;

/// A running server.
pub struct Server {
    child: Child,
    public_url: String,
    lines: Arc<Mutex<VecDeque<String>>>,
}

/// The binary: as told, or beside this one.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os(BINARY) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => std::env::current_exe()?.with_file_name("slipway"),
    };
    if path.is_file() {
        return Ok(path);
    }
    bail!("`{}` does not stand, expected the built `slipway`; hint: `make build`, or set `{BINARY}`", path.display())
}

/// The wished port if it is free, else any free one.
pub fn free_port(wished: Option<u16>) -> Result<u16> {
    let found = wished.and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listener = match found {
        Some(listener) => listener,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    };
    Ok(listener.local_addr()?.port())
}

impl Server {
    /// Starts it with a configuration file; what the environment says about Slipway does not count.
    pub async fn start(config: &Path, public_url: &str) -> Result<Self> {
        let binary = binary()?;
        let mut command = Command::new(&binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLIPWAY_")) {
            command.env_remove(name);
        }
        if let Some(path) = path_with_docker() {
            command.env("PATH", path);
        }
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .current_dir(config.parent().context("the configuration lies in a folder")?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` did not start", binary.display()))?;
        let lines: Arc<Mutex<VecDeque<String>>> = Arc::default();
        keep_lines(child.stdout.take().context("stdout was piped")?, &lines);
        keep_lines(child.stderr.take().context("stderr was piped")?, &lines);
        Ok(Self { child, public_url: public_url.to_owned(), lines })
    }

    /// Where it is reached.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Waits for `/readyz` and for the one-time address on its output.
    pub async fn setup_address(&mut self, http: &reqwest::Client) -> Result<String> {
        let ready = format!("{}/readyz", self.public_url);
        let (lines, child, prefix) = (&self.lines, &mut self.child, format!("{}/setup?token=", self.public_url));
        let mut address = None;
        let found = wait::until("the server to be ready and to print its setup address", READY_WITHIN, || {
            let ended = child.try_wait();
            if address.is_none() {
                address = lines.lock().unwrap_or_else(PoisonError::into_inner).iter().find_map(|line| word_with(line, &prefix));
            }
            let (address, request) = (address.clone(), http.get(&ready));
            async move {
                if let Some(status) = ended? {
                    bail!("the server ended: {status}");
                }
                let is_ready = request.send().await.is_ok_and(|answer| answer.status().is_success());
                Ok(address.filter(|_| is_ready))
            }
        });
        found.await
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Sends SIGTERM and waits for a clean end.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        let id = id.context("the server had ended before it was stopped")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = tokio::time::timeout(STOPPED_WITHIN, self.child.wait())
            .await
            .with_context(|| format!("the server was still there {} s after SIGTERM", STOPPED_WITHIN.as_secs()))??;
        if status.success() {
            return Ok(());
        }
        bail!("the server ended with {status} after SIGTERM, expected exit 0")
    }
}

/// The builder calls `docker` by PATH; the client that was chosen for the demo must be the first that it finds.
fn path_with_docker() -> Option<std::ffi::OsString> {
    let chosen = PathBuf::from(std::env::var_os(crate::docker::CLIENT)?);
    let folder = chosen.parent().filter(|folder| folder.is_absolute())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path))).ok()
}

fn word_with(line: &str, prefix: &str) -> Option<String> {
    let start = line.find(prefix)?;
    line[start..].split(|character: char| character.is_whitespace() || character == '"').next().map(str::to_owned)
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
