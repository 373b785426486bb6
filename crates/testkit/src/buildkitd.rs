//! The real buildkitd, for tests: a socket or a port of its own, and a cache that goes with it.
//!
//! Invariant: it ends with the process that started it, however that ends. Without the program a test fails with a message that says what to
//! run; it is never skipped.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::certificates::Issued;
use crate::wait::until;

/// Names the program to use instead of the one that scripts/install-buildkitd built.
pub const TEST_BUILDKITD: &str = "SLIPWAY_TEST_BUILDKITD";

/// Ends the daemon when its input does, which the kernel sees to after any end of the test; then removes its folder, whose owner is root. A
/// daemon waits for its clients; ours may not be at work any more.
const KEEPER: &str = r#"folder="$1"; shift
exec 2>/dev/null
"$@" </dev/null >"$folder/log" 2>&1 &
daemon=$!
cat >/dev/null
kill "$daemon"
( sleep 1; kill -9 "$daemon" ) >/dev/null &
wait "$daemon"
rm -rf "$folder"
"#;

/// Where it listens.
#[derive(Debug)]
pub enum Listen<'a> {
    /// On a socket in its folder.
    Socket,
    /// On a loopback port, by TLS.
    Tls {
        /// What it shows.
        server: &'a Issued,
        /// Whose certificates it takes of clients.
        clients: &'a Path,
    },
}

/// A running buildkitd.
#[derive(Debug)]
pub struct Buildkitd {
    folder: PathBuf,
    address: String,
    arguments: Vec<OsString>,
    running: Option<(Child, ChildStdin)>,
}

impl Buildkitd {
    /// Starts one and waits until it takes connections.
    ///
    /// # Errors
    /// When there is no program, or it does not start.
    pub async fn start(listen: Listen<'_>) -> Result<Self> {
        let folder = TempDir::with_prefix("slipway-buildkitd-")?.keep();
        let (own, address, tls) = match &listen {
            Listen::Socket => {
                let own = format!("unix://{}", folder.join("sock").display());
                (own.clone(), format!("buildkit+{own}"), Vec::new())
            }
            Listen::Tls { server, clients } => {
                let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
                let own = format!("tcp://127.0.0.1:{port}");
                let tls = [("--tlscert", server.certificate.as_path()), ("--tlskey", &server.key), ("--tlscacert", clients)];
                let tls = tls.into_iter().flat_map(|(option, path)| [option.into(), path.into()]).collect();
                (own.clone(), format!("buildkit+{own}"), tls)
            }
        };
        let mut arguments: Vec<OsString> =
            vec![program()?.into(), "--addr".into(), own.into(), "--root".into(), folder.join("root").into()];
        arguments.extend(["--config".into(), folder.join("buildkitd.toml").into()]);
        arguments.extend(tls);
        let mut daemon = Self { folder, address, arguments, running: None };
        daemon.run().await?;
        Ok(daemon)
    }

    /// As `[builder] engine` names it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Takes its cache away, as a new machine would: it is there again at the same address.
    ///
    /// # Errors
    /// When it does not start again.
    pub async fn forget(&mut self) -> Result<()> {
        self.end();
        self.run().await
    }

    async fn run(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        // Its traces go through a socket that all daemons of a machine would share.
        let settings = format!("[worker.containerd]\n  enabled = false\n[otel]\n  socketPath = \"{}/otel\"\n", self.folder.display());
        std::fs::write(self.folder.join("buildkitd.toml"), settings)?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(&self.folder).args(&self.arguments).stdin(Stdio::piped());
        let mut keeper = command.spawn().context("`sh` did not start")?;
        let input = keeper.stdin.take().context("a pipe was asked for")?;
        self.running = Some((keeper, input));
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let up = || async { Ok(log().contains("running server").then_some(())) };
        match until("buildkitd", Duration::from_secs(30), up).await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}: {}", log()),
        }
    }

    fn end(&mut self) {
        if let Some((mut keeper, input)) = self.running.take() {
            drop(input);
            keeper.wait().ok();
        }
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        self.end();
    }
}

fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(TEST_BUILDKITD).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    crate::tool("buildkitd")
}
