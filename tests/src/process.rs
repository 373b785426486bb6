//! The real binary as a child process.
//! Invariant: a process of a test ends with the test, however that ends: its group is killed, and it dies with the thread that made it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use slipway_testkit::wait;

const BINARY: &str = "SLIPWAY_BIN";
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const TAIL_LINES: usize = 80;

/// The binary: as told by `SLIPWAY_BIN`, or of the same build as the tests.
///
/// # Errors
/// With the command that builds it.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os(BINARY) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        // Tests lie in `debug/deps`, programs in `debug`.
        _ => std::env::current_exe()?.parent().and_then(Path::parent).context("the test lies in a folder of the build")?.join("slipway"),
    };
    ensure!(
        path.is_file(),
        "`{}` does not stand, expected the built program; hint: `cargo build -p slipway-server`, or set `{BINARY}`",
        path.display()
    );
    Ok(path)
}

/// A port that nobody has. Outside of the range from which the kernel gives ports to clients, so that it is still free after a restart.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500).unwrap_or(0) * 20;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// What the processes of a test print.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last lines as one text.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                log.push(line);
            }
        });
    }
}

/// The variables of the outer environment that could change what the binary does.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLIPWAY_")) {
        command.env_remove(name);
    }
}

/// A command that came to its end.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `slipway --config FILE ARGUMENTS` in the configuration's folder.
///
/// # Errors
/// When it does not start.
pub fn command(config: &Path, arguments: &[&str], stdin: &str) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    clean(&mut command);
    command.args(arguments).arg("--config").arg(config).current_dir(config.parent().context("the configuration lies in a folder")?);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // A command that does not read its input may have ended already.
    child.stdin.take().context("stdin was piped")?.write_all(stdin.as_bytes()).ok();
    let output = child.wait_with_output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// Whether a process stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// It does.
    Yes,
    /// It goes on.
    No,
}

/// A running `slipway`, of whichever command.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Log,
}

impl Process {
    /// Starts a server; it is not ready yet.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(config: &Path, log: Log) -> Result<Self> {
        Self::start(config, &["serve"], None, log)
    }

    /// Starts `slipway ARGUMENTS --config FILE`, in a network namespace of that name if one is given.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(config: &Path, arguments: &[&str], network: Option<&str>, log: Log) -> Result<Self> {
        let binary = binary()?;
        // `env`, `setpriv` and `nsenter` replace themselves, so the child is the program. It dies with our thread, and a file that may
        // not grow (`limit_files`) is an error for it, not a signal.
        let mut command = Command::new("env");
        command.args(["--ignore-signal=XFSZ", "setpriv", "--pdeathsig", "KILL", "--"]);
        if let Some(network) = network {
            command.args(["nsenter", &format!("--net=/run/netns/{network}"), "--"]);
        }
        command.arg(&binary);
        clean(&mut command);
        let mut child = command
            .args(arguments)
            .arg("--config")
            .arg(config)
            .current_dir(config.parent().context("the configuration lies in a folder")?)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{}` did not start", binary.display()))?;
        log.follow(child.stdout.take().context("stdout was piped")?);
        log.follow(child.stderr.take().context("stderr was piped")?);
        Ok(Self { child, log })
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has a positive id")
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends before.
    pub async fn ready(&mut self, http: &reqwest::Client, site: &str) -> Result<()> {
        let address = format!("{site}/readyz");
        wait::until("the server to be ready", READY_WITHIN, || {
            let (ended, request, log) = (self.child.try_wait(), http.get(&address), self.log.clone());
            async move {
                if let Some(status) = ended? {
                    bail!("the server ended with {status}:\n{}", log.tail());
                }
                Ok(request.send().await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
            }
        })
        .await
    }

    /// No file of the server may grow beyond so many bytes: the disk is full. `None` ends it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        rustix::process::prlimit(Some(self.pid()?), Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
        Ok(())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells the resident memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// SIGSTOP, or SIGCONT: it stands still and hears nothing, and knows nothing of it afterwards.
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self, frozen: Frozen) -> Result<()> {
        let signal = if frozen == Frozen::Yes { Signal::STOP } else { Signal::CONT };
        Ok(rustix::process::kill_process(self.pid()?, signal)?)
    }

    /// Waits until it ends by itself; gives the exit code.
    ///
    /// # Errors
    /// When it does not, or ends by a signal.
    pub async fn ended(mut self) -> Result<i32> {
        let status = wait::until("the process to end by itself", STOPPED_WITHIN, || {
            let ended = self.child.try_wait();
            async move { Ok(ended?) }
        });
        status.await?.code().context("it ended by a signal")
    }

    /// SIGKILL to it and everything that it started.
    ///
    /// # Errors
    /// When it was gone already.
    pub fn kill(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the process had ended before it was killed");
        rustix::process::kill_process_group(self.pid()?, Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for exit code 0.
    ///
    /// # Errors
    /// When it ends otherwise or not in time.
    pub async fn terminate(mut self) -> Result<()> {
        rustix::process::kill_process(self.pid()?, Signal::TERM)?;
        let status = wait::until("the process to end after SIGTERM", STOPPED_WITHIN, || {
            let ended = self.child.try_wait();
            async move { Ok(ended?) }
        });
        let status = status.await?;
        ensure!(status.success(), "the process ended with {status} after SIGTERM, expected exit code 0");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), self.pid()) {
            // The group may be gone in this moment; then there is nothing to end.
            rustix::process::kill_process_group(pid, Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}
