//! The `docker` client, as a person uses it by hand, with a configuration folder of its own.
//! Invariant: nobody's login is touched, and the images that are made here are taken out of the engine again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const CLIENT: &str = "SLIPWAY_DOCKER";
const APPLETS: [&str; 12] = ["sh", "cat", "echo", "ls", "sleep", "test", "true", "false", "grep", "env", "sha256sum", "date"];

/// The client that was told, the one of the engine's own package, or the first on PATH.
pub fn client() -> PathBuf {
    let packaged = PathBuf::from("/usr/bin/docker");
    let told = std::env::var_os(CLIENT).filter(|path| !path.is_empty()).map(PathBuf::from);
    told.unwrap_or_else(|| if packaged.is_file() { packaged } else { PathBuf::from("docker") })
}

/// A client with a login of its own.
pub struct Docker {
    config: PathBuf,
}

impl Docker {
    /// One whose login is kept in `config`. Fails with a hint when no engine answers.
    pub async fn new(config: &Path) -> Result<Self> {
        let docker = Self { config: config.to_path_buf() };
        let answer = docker.run(&["version", "--format", "{{.Server.Version}}"], b"").await;
        answer.context("no Docker Engine answers; hint: scripts/install-docker starts one")?;
        Ok(docker)
    }

    /// Runs a command that must succeed and returns what it printed.
    pub async fn run(&self, arguments: &[&str], stdin: &[u8]) -> Result<String> {
        let mut child = Command::new(client())
            .args(arguments)
            .env("DOCKER_CONFIG", &self.config)
            .env("DOCKER_BUILDKIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` did not start; hint: scripts/install-docker", client().display()))?;
        let mut pipe = child.stdin.take().context("stdin was piped")?;
        pipe.write_all(stdin).await?;
        drop(pipe);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("`docker {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Logs in at a registry, makes an image of a static busybox alone, and pushes it: there is nothing to pull from.
    pub async fn push_base(&self, host: &str, name: &str, password: &str, work: &Path) -> Result<()> {
        let root = work.join("base");
        std::fs::create_dir_all(root.join("bin"))?;
        std::fs::create_dir_all(root.join("tmp"))?;
        let busybox = find_on_path("busybox").context("`busybox` is not installed; hint: scripts/install-docker brings busybox-static")?;
        std::fs::copy(busybox, root.join("bin/busybox"))?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let archive = Command::new("tar").args(["--create", "--owner=0", "--group=0", "--directory"]).arg(&root).arg(".").output().await?;
        ensure!(archive.status.success(), "tar failed: {}", String::from_utf8_lossy(&archive.stderr));
        let base = format!("{host}/{name}/base:latest");
        self.run(&["import", "--change", "ENV PATH=/bin", "--change", "CMD [\"sh\"]", "-", &base], &archive.stdout).await?;
        self.run(&["login", "--username", name, "--password-stdin", host], password.as_bytes()).await?;
        self.run(&["push", &base], b"").await?;
        Ok(())
    }

    /// Takes every image of a registry out of the engine.
    pub async fn forget(&self, host: &str) -> Result<()> {
        let listed = self.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"], b"").await?;
        for image in listed.lines().filter(|image| image.starts_with(&format!("{host}/")) && !image.ends_with(":<none>")) {
            // It may have gone with another.
            self.run(&["image", "rm", "--force", image], b"").await.ok();
        }
        Ok(())
    }
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain([PathBuf::from("/bin")]).map(|folder| folder.join(program)).find(|file| file.is_file())
}
