//! A real OpenSSH server on a loopback port that serves repositories of git to the keys that were let in.
//!
//! Invariant: a deploy key opens one repository, whatever path the client asks for, and nothing else, as it does at a provider; a person's key
//! opens the repositories of one folder by their paths.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::wait::until;

const SSHD: &str = "/usr/sbin/sshd";

/// Opens what a client asks for beneath the folder that is its argument.
const PERSON: &str = r#"#!/bin/sh
path=${SSH_ORIGINAL_COMMAND#git-upload-pack \'}
path=${path%\'}
case "$path" in *[!A-Za-z0-9._/-]*|*..*|'') echo 'ERROR: no such repository' >&2; exit 1 ;; esac
[ -d "$1/$path" ] || { echo 'ERROR: Repository not found.' >&2; exit 1; }
exec git-upload-pack "$1/$path"
"#;

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    child: Mutex<Child>,
    user: String,
    port: u16,
    host_key: String,
}

/// Makes an ed25519 key pair: the private half at `path`; gives the public one without its comment.
fn key_pair(path: &Path) -> Result<String> {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path).output()?;
    anyhow::ensure!(done.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&done.stderr));
    let public = std::fs::read_to_string(path.with_extension("pub"))?;
    Ok(public.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

impl Sshd {
    /// Starts it; nobody is let in yet.
    ///
    /// # Errors
    /// When OpenSSH's server is not installed or does not start.
    pub async fn start() -> Result<Self> {
        anyhow::ensure!(Path::new(SSHD).exists(), "`{SSHD}` is missing; `scripts/install-test-parts` installs it");
        let folder = tempfile::tempdir()?;
        let host_key = key_pair(&folder.path().join("host"))?;
        std::fs::write(folder.path().join("authorized_keys"), "")?;
        let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?.trim().to_owned();
        // Where a server that runs as root separates its rights.
        std::fs::create_dir_all("/run/sshd").ok();
        // Somebody may take the port in between: then another one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut child = spawn(folder.path(), port)?;
            let answers = || async move { Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok()) };
            let up = until("sshd", Duration::from_secs(10), answers).await;
            if up.is_ok() && child.try_wait()?.is_none() {
                return Ok(Self { folder, child: Mutex::new(child), user, port, host_key });
            }
            child.kill().ok();
            child.wait().ok();
        }
        bail!("sshd does not start: {}", std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())
    }

    /// The user as whom clients sign in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `ssh-ed25519 AAAA...`: how clients know the server.
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// `ssh://user@127.0.0.1:port/path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}/{path}", self.user, self.port)
    }

    /// A new key pair, that is let in nowhere yet: the public half, and the private one in OpenSSH's form.
    ///
    /// # Errors
    /// When `ssh-keygen` fails.
    pub fn new_key(&self) -> Result<(String, String)> {
        let place = tempfile::tempdir_in(self.folder.path())?;
        let path = place.path().join("key");
        let public = key_pair(&path)?;
        Ok((public, std::fs::read_to_string(path)?))
    }

    /// Lets exactly these keys in, each to read one bare repository.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn let_in(&self, keys: &[(String, PathBuf)]) -> Result<()> {
        let mut lines = String::new();
        for (public, repository) in keys {
            let repository = repository.to_str().context("a path of UTF-8")?;
            anyhow::ensure!(!repository.contains(['"', '\'']), "a path without quotes");
            writeln!(lines, "restrict,command=\"git-upload-pack '{repository}'\" {public}")?;
        }
        let new = self.folder.path().join("authorized_keys.new");
        std::fs::write(&new, lines)?;
        Ok(std::fs::rename(new, self.folder.path().join("authorized_keys"))?)
    }

    /// Lets a person's key in, beside those that were let in before, to read every bare repository beneath a folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn let_person_in(&self, public: &str, folder: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = folder.to_str().context("a path of UTF-8")?;
        anyhow::ensure!(!folder.contains(['"', '\'', ' ']), "a path without quotes and blanks");
        let program = self.folder.path().join("person");
        std::fs::write(&program, PERSON)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        let known = self.folder.path().join("authorized_keys");
        let lines = std::fs::read_to_string(&known)? + &format!("restrict,command=\"{} {folder}\" {public}\n", program.display());
        let new = self.folder.path().join("authorized_keys.new");
        std::fs::write(&new, lines)?;
        Ok(std::fs::rename(new, known)?)
    }

    /// What it wrote about those who came.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn spawn(folder: &Path, port: u16) -> Result<Child> {
    let config = folder.join("config");
    let path = folder.display();
    std::fs::write(
        &config,
        format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/authorized_keys\nPidFile none\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n\
             LogLevel VERBOSE\nAcceptEnv GIT_PROTOCOL\n"
        ),
    )?;
    let log = folder.join("log");
    let child = Command::new(SSHD).args(["-D", "-f"]).arg(&config).arg("-E").arg(log).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.context("sshd")
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let Ok(mut child) = self.child.lock() else { return };
        // It has ended already: that is what was wanted.
        child.kill().ok();
        child.wait().ok();
    }
}
