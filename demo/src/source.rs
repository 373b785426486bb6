//! The person's own checkout of the source repository, by the `git` program.
//! Invariant: git's configuration of this machine is neither read nor written.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// A work folder with one remote.
pub struct Checkout {
    folder: PathBuf,
}

/// A file to be committed and whether it can be executed.
pub struct Content<'a>(pub &'a str, pub &'a str);

impl Checkout {
    /// An empty repository whose remote is `url`.
    pub async fn new(folder: &Path, url: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let checkout = Self { folder: folder.to_path_buf() };
        checkout.git(&["init", "--quiet", "--initial-branch", "main"]).await?;
        checkout.git(&["config", "user.name", "Demo Person"]).await?;
        checkout.git(&["config", "user.email", "octo@users.example"]).await?;
        checkout.git(&["remote", "add", "origin", url]).await?;
        Ok(checkout)
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .await
            .context("`git` did not start; hint: scripts/install-docker brings git")?;
        if !output.status.success() {
            bail!("`git {}` failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Writes files, commits them and pushes `main`; returns the commit.
    pub async fn push(&self, files: &[Content<'_>], message: &str) -> Result<String> {
        for Content(name, text) in files {
            std::fs::write(self.folder.join(name), text)?;
        }
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--message", message]).await?;
        self.git(&["push", "--quiet", "origin", "main"]).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }
}
