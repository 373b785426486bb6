//! Programs that a test starts: the server, the browser's driver.
//! Invariant: a program ends with everything that it started when its value goes away, and when the test's process dies, even by SIGKILL.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use slipway_testkit::wait;

const STOPPED_WITHIN: Duration = Duration::from_secs(30);
const TAIL_LINES: usize = 60;

/// Leads the group. It reads a pipe whose other end only the test has: when that is closed, whoever closes it, the whole group is killed.
const GUARD: &str = "\"$@\" & pid=$!; exec >/dev/null 2>&1; read -r word; \
    if [ \"$word\" = stop ]; then kill -TERM $pid; wait $pid; exit $?; fi; kill -KILL 0";

/// A running program and its group.
#[derive(Debug)]
pub struct Group {
    guard: Child,
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

/// The first program of that name on PATH.
///
/// # Errors
/// When there is none.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("`{program}` is not installed; hint: scripts/install-test-parts"))
}

impl Group {
    /// Starts a program in a folder, with this PATH and without what the environment says about Slipway.
    ///
    /// # Errors
    /// When there is no shell.
    pub fn start(program: &Path, arguments: &[OsString], folder: &Path, path: &OsString) -> Result<Self> {
        let mut command = clean(Command::new("sh"));
        command.args(["-c", GUARD, "guard"]).arg(program).args(arguments).current_dir(folder).env("PATH", path).process_group(0);
        let mut guard =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("`sh` did not start")?;
        let (stdout, stderr) = (guard.stdout.take(), guard.stderr.take());
        let group = Self { guard, name: program.display().to_string(), lines: Arc::default(), open: Arc::new(AtomicUsize::new(2)) };
        group.follow(stdout.context("stdout was piped")?);
        group.follow(stderr.context("stderr was piped")?);
        Ok(group)
    }

    fn follow(&self, stream: impl Read + Send + 'static) {
        let (lines, open) = (Arc::clone(&self.lines), Arc::clone(&self.open));
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Everything that it printed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of what it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Waits for a line with this text in it and gives what follows the text, up to the next blank.
    ///
    /// # Errors
    /// When the program ends or says nothing of the kind.
    pub async fn word_after(&self, text: &str) -> Result<String> {
        wait::until(&format!("`{}` to print `{text}`", self.name), Duration::from_secs(60), || async {
            let lines = self.lines();
            if let Some((_, rest)) = lines.iter().find_map(|line| line.split_once(text)) {
                return Ok(Some(rest.split([' ', '"']).next().unwrap_or_default().to_owned()));
            }
            if self.open.load(Ordering::Relaxed) == 0 {
                bail!("`{}` ended:\n{}", self.name, self.tail());
            }
            Ok(None)
        })
        .await
    }

    /// SIGTERM to the program, and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.guard.stdin.take().context("stdin was piped")?.write_all(b"stop\n")?;
        wait::until(&format!("`{}` to end after SIGTERM", self.name), STOPPED_WITHIN, || {
            let ended = self.guard.try_wait();
            async move { Ok(ended?) }
        })
        .await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Closing the pipe ends the group; the guard is in it.
        drop(self.guard.stdin.take());
        self.guard.wait().ok();
    }
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLIPWAY_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a program to its end, gives it some input, and gives what it printed.
///
/// # Errors
/// When it does not start or does not succeed.
pub fn run(program: &Path, arguments: &[&str], folder: &Path, input: &str) -> Result<Vec<u8>> {
    let mut command = clean(Command::new(program));
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("`{}` did not start", program.display()))?;
    // A program that does not read its input may have ended already.
    child.stdin.take().context("stdin was piped")?.write_all(input.as_bytes()).ok();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{} {}`: {}", program.display(), arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
