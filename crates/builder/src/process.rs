//! Runs a program of this machine for a build.
//!
//! The invariant: a program gets only the environment that is given to it, runs in a process group of its own, and the
//! whole group is dead when the future ends or is dropped. Deliberately elsewhere: which program (`git`, `compose`).

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use crate::report::Reporter;

/// `/usr/bin` first: a program that a person put into `/usr/local/bin` may be another version than the engine's.
pub(crate) const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin";
const KEPT: usize = 16 * 1024 * 1024;
const TAIL: usize = 4096;

/// A program with its arguments, to be run in a folder.
pub(crate) struct Program {
    command: Command,
    stdin: Stdin,
}

/// Standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdin {
    /// There is none.
    Null,
    /// A pipe that is open as long as this process lives, and that nothing is written to.
    Alive,
}

/// What becomes of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    /// It goes to the build's log.
    Logged,
    /// It is read by us.
    Kept,
    /// It is read by us, and standard error is not logged either: a question, no part of the build.
    Quiet,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output, where it was kept.
    pub(crate) stdout: Vec<u8>,
    /// The end of standard error.
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The last line that says something.
    pub(crate) fn last_words(&self) -> &str {
        self.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message")
    }
}

impl Program {
    /// `umask` and the largest file are set by a shell before the program takes its place.
    pub(crate) fn new(program: &str, folder: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        // 16 GiB in blocks of 512 bytes.
        command.args(["-c", "umask 022; ulimit -f 33554432; exec \"$@\"", "sh", program]);
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Self { command, stdin: Stdin::Null }
    }

    /// Its input ends with this process, however that ends, so the program can end too.
    pub(crate) fn alive_with_us(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self.stdin = Stdin::Alive;
        self
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Runs it to its end; standard error goes to the log of the step, unless it is run quietly.
    pub(crate) async fn run(mut self, reporter: &Reporter, step: &str, stdout: Stdout) -> io::Result<Ended> {
        let mut child = self.command.spawn()?;
        // Waiting for a child closes its input.
        let _alive = (self.stdin == Stdin::Alive).then(|| child.stdin.take());
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let error = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let log_out = (stdout == Stdout::Logged).then_some((reporter, step));
        let log_error = (stdout != Stdout::Quiet).then_some((reporter, step));
        let reading = async { tokio::join!(pump(out, log_out, KEPT), pump(error, log_error, TAIL)) };
        tokio::pin!(reading);
        let (status, read) = tokio::select! {
            read = &mut reading => (child.wait().await?, Some(read)),
            status = child.wait() => (status?, None),
        };
        // What the program left running in its group may hold the pipes open: it ends now, and the last bytes are read.
        drop(group);
        let read = match read {
            Some(read) => Some(read),
            None => tokio::time::timeout(Duration::from_secs(2), &mut reading).await.ok(),
        };
        let (out, error) = read.ok_or_else(|| io::Error::other("the output of an ended program stays open"))?;
        Ok(ended(status, out?, error?))
    }
}

fn ended(status: std::process::ExitStatus, stdout: Vec<u8>, tail: Vec<u8>) -> Ended {
    Ended { code: status.code(), stdout, stderr: String::from_utf8_lossy(&tail).into_owned() }
}

/// Reads to the end; keeps the last bytes of what is logged, or the first ones of what is not.
async fn pump(mut from: impl AsyncRead + Unpin, log: Option<(&Reporter, &str)>, limit: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        match log {
            Some((reporter, step)) => {
                reporter.log(Some(step), buffer[..count].to_vec()).await;
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(limit);
                kept.drain(..surplus);
            }
            None => {
                if kept.len() + count > limit {
                    return Err(io::Error::other(format!("the program printed more than {limit} bytes")));
                }
                kept.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

/// Kills the group when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // No such group: all of it has ended already.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}
