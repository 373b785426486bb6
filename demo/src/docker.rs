//! The `docker` client with a configuration folder of its own, so that nobody's login is touched.
//! Invariant: what this demo brings into the engine, it takes out again.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Names the client to use, as `make` does.
pub const CLIENT: &str = "SLIPWAY_DOCKER";

/// A docker client.
pub struct Docker {
    program: PathBuf,
    config: PathBuf,
}

impl Docker {
    /// The client of the engine's own package if it stands, else the first on PATH.
    pub fn new(config: &Path) -> Self {
        let packaged = PathBuf::from("/usr/bin/docker");
        let told = std::env::var_os(CLIENT).filter(|path| !path.is_empty()).map(PathBuf::from);
        let program = told.unwrap_or_else(|| if packaged.is_file() { packaged } else { PathBuf::from("docker") });
        Self { program, config: config.to_path_buf() }
    }

    async fn output(&self, arguments: &[&str], stdin: &[u8]) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("DOCKER_CONFIG", &self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` did not start; hint: scripts/install-docker", self.program.display()))?;
        let mut pipe = child.stdin.take().context("stdin was piped")?;
        pipe.write_all(stdin).await?;
        drop(pipe);
        Ok(child.wait_with_output().await?)
    }

    /// Runs a command that must succeed and returns what it printed.
    pub async fn run(&self, arguments: &[&str], stdin: &[u8]) -> Result<String> {
        let output = self.output(arguments, stdin).await?;
        if !output.status.success() {
            bail!("`docker {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Version of the engine; fails with a hint when none answers.
    pub async fn engine(&self) -> Result<String> {
        self.run(&["version", "--format", "{{.Server.Version}}"], b"")
            .await
            .context("no Docker Engine answers; hint: scripts/install-docker starts one")
    }

    /// Makes an image of a static busybox alone: there is nothing to pull from.
    pub async fn import_busybox(&self, name: &str, work: &Path) -> Result<()> {
        let root = work.join("base");
        std::fs::create_dir_all(root.join("bin"))?;
        std::fs::create_dir_all(root.join("tmp"))?;
        let busybox = find_on_path("busybox").context("`busybox` is not installed; hint: scripts/install-docker brings busybox-static")?;
        std::fs::copy(busybox, root.join("bin/busybox"))?;
        for applet in ["sh", "cat", "echo", "ls", "sleep", "test", "true", "false", "grep", "env"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let archive = Command::new("tar")
            .args(["--create", "--owner=0", "--group=0", "--directory"])
            .arg(&root)
            .arg(".")
            .output()
            .await
            .context("`tar` did not start")?;
        if !archive.status.success() {
            bail!("tar failed: {}", String::from_utf8_lossy(&archive.stderr));
        }
        self.run(&["import", "--change", "ENV PATH=/bin", "--change", "CMD [\"sh\"]", "-", name], &archive.stdout).await?;
        Ok(())
    }

    /// Removes images; those that are not there are no matter.
    pub async fn forget(&self, images: &[&str]) {
        for image in images {
            // The engine may not have it: then there is nothing to remove.
            self.output(&["image", "rm", "--force", image], b"").await.ok();
        }
    }
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain([PathBuf::from("/bin")]).map(|folder| folder.join(program)).find(|file| file.is_file())
}
