//! `slipway serve` as a process: what it says at its start, what it keeps out, how it ends.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    /// The first line.
    greeting: String,
}

fn slipway(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command.args(["--listen", "127.0.0.1:0", "--builder-engine", "unix:///nowhere/docker.sock", "--drain-timeout", "1s"]);
    command
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = slipway(folder).arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        output.read_line(&mut greeting).unwrap();
        let address = greeting.trim().rsplit_once("http://").expect(&greeting).1.parse().unwrap();
        Self { child, output, address, greeting }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// SIGTERM; gives exit code, the rest of its output and how long it took.
    fn stop(mut self) -> (Option<i32>, String, Duration) {
        let begun = Instant::now();
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (status.code(), rest, begun.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone when the test came to its end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_life() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert!(
        server.greeting.starts_with(concat!("slipway ", env!("CARGO_PKG_VERSION"), " listens on http://127.0.0.1:")),
        "{}",
        server.greeting
    );
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/readyz").0, 200, "no Docker Engine is no reason not to serve");
    assert!(server.get("/metrics").1.contains("slipway_builds{state=\"queued\"} 0"));
    assert_eq!(server.get("/v2/").0, 401, "the registry is on the same listener");
    let memory = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let resident: u64 =
        memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 80 * 1024, "{resident} kB are resident after the start");

    // The folder is taken: a second server would fight over the same uploads and builds.
    let second = slipway(folder.path()).arg("serve").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).unwrap().starts_with("another slipway runs with the data folder"));

    // What is told once works once.
    let (code, rest, _) = server.stop();
    assert_eq!(code, Some(0));
    let setup = rest.lines().find(|line| line.contains("/setup?token=slu_")).expect(&rest).to_owned();
    let first_token = setup.rsplit_once('=').unwrap().1.to_owned();

    // A start without any account voids the address of the start before.
    let server = Server::start(folder.path());
    let (_, page) = server.get(&format!("/setup?token={first_token}"));
    assert!(!page.contains("name=\"password\""), "an old setup address still asks for a password:\n{page}");
    std::fs::write(folder.path().join("password"), "correct horse\n").unwrap();
    let added = slipway(folder.path()).args(["admin", "user", "add", "octo", "--admin", "--password-file", "password"]).output().unwrap();
    assert_eq!(added.status.code(), Some(0), "{}", String::from_utf8_lossy(&added.stderr));
    let again = slipway(folder.path()).args(["admin", "user", "add", "octo", "--password-file", "password"]).output().unwrap();
    assert_eq!(
        (again.status.code(), String::from_utf8(again.stderr).unwrap().lines().next()),
        (Some(1), Some("there is an account `octo` already"))
    );
    let token = slipway(folder.path()).args(["admin", "token", "octo", "--scope", "repo:read"]).output().unwrap();
    assert!(String::from_utf8(token.stdout).unwrap().starts_with("slp_"));
    let fsck = slipway(folder.path()).args(["admin", "fsck", "--deep"]).output().unwrap();
    assert!(fsck.status.success() && fsck.stdout.starts_with(b"clean:"));
    assert_eq!(server.stop().0, Some(0));

    // With an account there is no setup address any more.
    let server = Server::start(folder.path());
    let (code, rest, took) = server.stop();
    assert_eq!((code, rest.contains("/setup")), (Some(0), false), "{rest}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn idle_and_silent_clients_do_not_hold_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut idle = TcpStream::connect(server.address).unwrap();
    write!(idle, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.write_all(b"POST /hooks/github/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n").unwrap();
    let (code, _, took) = server.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_taken_port_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    let output = command
        .env_clear()
        .current_dir(folder.path())
        .args(["serve", "--listen", &taken.local_addr().unwrap().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot be listened on") && text.contains("\nhint: "), "{text}");
}
