//! The machine's Docker Engine and the base image of the builds: a static busybox, because there is nothing to pull.
//! Invariant: without an engine a test fails with the command that brings one; it is never skipped.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use slipway_testkit::buildkitd::{Buildkitd, Listen};
use slipway_testkit::certificates::{Authority, Issued, Validity};

use crate::TestApp;

/// Names another engine than the machine's own.
pub const TEST_ENGINE: &str = "SLIPWAY_TEST_ENGINE";
const APPLETS: [&str; 12] = ["sh", "cat", "echo", "ls", "sleep", "test", "true", "false", "grep", "env", "head", "date"];

/// A buildkitd on a port of this machine: it and the builder know each other by certificates.
#[derive(Debug)]
pub struct OwnBuildkitd {
    daemon: Buildkitd,
    authority: Authority,
    client: Issued,
}

impl OwnBuildkitd {
    pub(crate) async fn start() -> Result<Self> {
        let authority = Authority::new()?;
        let server = authority.issue("server", Validity::Good)?;
        let client = authority.issue("client", Validity::Good)?;
        let daemon = Buildkitd::start(Listen::Tls { server: &server, clients: &authority.certificate() }).await?;
        Ok(Self { daemon, authority, client })
    }

    /// Its lines of `[builder]`.
    pub(crate) fn configuration(&self) -> String {
        let lines = [
            ("engine", self.daemon.address().to_owned()),
            ("engine_ca_file", self.authority.certificate().display().to_string()),
            ("engine_cert_file", self.client.certificate.display().to_string()),
            ("engine_key_file", self.client.key.display().to_string()),
        ];
        lines.map(|(key, value)| format!("{key} = \"{value}\"\n")).concat()
    }

    /// Takes its cache away.
    ///
    /// # Errors
    /// When it does not start again.
    pub async fn forget(&mut self) -> Result<()> {
        self.daemon.forget().await
    }
}

/// The engine's address.
#[must_use]
pub fn address() -> String {
    std::env::var(TEST_ENGINE).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

/// The `docker` client of the engine's own package.
fn docker(arguments: &[&str]) -> Result<String> {
    docker_at(&address(), arguments)
}

fn docker_at(address: &str, arguments: &[&str]) -> Result<String> {
    let program = if Path::new("/usr/bin/docker").is_file() { "/usr/bin/docker" } else { "docker" };
    let output = Command::new(program).args(["--host", address]).args(arguments).output();
    let output = output.context("`docker` did not start; hint: scripts/install-docker")?;
    ensure!(output.status.success(), "`docker {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A tar archive with busybox and its names, made once for all tests.
fn layer() -> Result<&'static [u8]> {
    static LAYER: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let made = LAYER.get_or_init(|| make_layer().map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|why| anyhow!("{why}"))
}

/// A tar archive with one file that no other test has: the engine's cache knows no step on top of it.
fn unique_layer(word: &str) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("unique"), word)?;
    archive(folder.path())
}

fn archive(folder: &Path) -> Result<Vec<u8>> {
    let archive = Command::new("tar").args(["--create", "--owner=0", "--group=0", "--directory"]).arg(folder).arg(".").output()?;
    if !archive.status.success() {
        bail!("tar: {}", String::from_utf8_lossy(&archive.stderr));
    }
    Ok(archive.stdout)
}

fn make_layer() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let bin = folder.path().join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(folder.path().join("tmp"))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox =
        std::env::split_paths(&path).chain([PathBuf::from("/bin")]).map(|folder| folder.join("busybox")).find(|file| file.is_file());
    std::fs::copy(busybox.context("`busybox` is not installed; hint: scripts/install-docker brings busybox-static")?, bin.join("busybox"))?;
    for applet in APPLETS {
        symlink("busybox", bin.join(applet))?;
    }
    archive(folder.path())
}

impl TestApp {
    /// What builds left in the machine's engine with this server's name in it, and every container in the engines of their own.
    ///
    /// # Errors
    /// When an engine does not answer.
    pub fn left_behind(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for arguments in [["ps", "--all", "--no-trunc"], ["images", "--all", "--no-trunc"]] {
            found.extend(docker(&arguments)?.lines().filter(|line| line.contains(&self.host())).map(str::to_owned));
        }
        for engine in std::fs::read_dir(self.folder().join("data/builder/engines"))?.flatten() {
            let socket = engine.path().join("api/sock");
            if socket.exists() {
                found.extend(docker_at(&format!("unix://{}", socket.display()), &["ps", "--all", "--quiet"])?.lines().map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// Makes the repository `demo/base` with an image of busybox and gives its name for `FROM`.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push_base(&self) -> Result<String> {
        docker(&["version", "--format", "{{.Server.Version}}"])
            .context("no Docker Engine answers; hint: scripts/install-docker starts one")?;
        self.create_repository("base").await?;
        let unique = unique_layer(&self.folder().display().to_string())?;
        self.registry().push("demo/base", Some("latest"), &[layer()?.to_vec(), unique]).await?;
        Ok(format!("{}/demo/base", self.host()))
    }
}
