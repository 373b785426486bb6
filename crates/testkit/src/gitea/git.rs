//! Pushes to the provider by real git over HTTP, as the administrator.
//! Invariant: the password is in git's environment only, never in an address or a file.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;

use super::{ADMINISTRATOR, Gitea, user_password};
use crate::github::File;
use crate::provider::git::{self, NewCommit};

impl Gitea {
    /// Where git finds a repository.
    pub fn clone_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.web_url())
    }

    /// Commits text files on top of a branch (a new branch starts at `main`), pushes it, and returns the commit id.
    pub async fn commit(&self, full_name: &str, branch: &str, files: &[(&str, &str)], message: &str) -> Result<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        self.commit_files(full_name, branch, &files, message).await
    }

    /// As [`Gitea::commit`], with files of every kind.
    pub async fn commit_files(&self, full_name: &str, branch: &str, files: &[(&str, File<'_>)], message: &str) -> Result<String> {
        let copy = self.fresh_copy(full_name).await?;
        let parent = match git::resolve(&copy, &format!("refs/heads/{branch}")).await? {
            Some(head) => Some(head),
            None => git::resolve(&copy, "refs/heads/main").await?,
        };
        self.commit_onto(full_name, branch, parent, files, message).await
    }

    /// Replaces a branch by a commit on top of `parent` (none: a new root): a forced push.
    pub async fn force_commit(
        &self,
        full_name: &str,
        branch: &str,
        parent: Option<&str>,
        files: &[(&str, &str)],
        message: &str,
    ) -> Result<String> {
        self.fresh_copy(full_name).await?;
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        self.commit_onto(full_name, branch, parent.map(str::to_owned), &files, message).await
    }

    async fn commit_onto(
        &self,
        full_name: &str,
        branch: &str,
        parent: Option<String>,
        files: &[(&str, File<'_>)],
        message: &str,
    ) -> Result<String> {
        let copy = self.copy_of(full_name);
        let at_s = crate::provider::wall_clock_ms() / 1000;
        let new = NewCommit { branch, parent, files, message, name: "Octo Cat", email: "octo@users.example", at_s };
        let commit = git::make_commit(&copy, &new).await?;
        self.push(full_name, &[&format!("+refs/heads/{branch}:refs/heads/{branch}")]).await?;
        Ok(commit)
    }

    /// Points a ref (`refs/heads/...`, `refs/tags/...`) at an object.
    pub async fn update_ref(&self, full_name: &str, name: &str, object: &str) -> Result<()> {
        self.update_refs(full_name, &[(name, object)]).await
    }

    /// Several refs in one push; an empty object deletes the ref.
    pub async fn update_refs(&self, full_name: &str, refs: &[(&str, &str)]) -> Result<()> {
        self.fresh_copy(full_name).await?;
        let refspecs: Vec<String> =
            refs.iter().map(|(name, object)| if object.is_empty() { format!(":{name}") } else { format!("+{object}:{name}") }).collect();
        self.push(full_name, &refspecs.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Pushes a lightweight tag.
    pub async fn tag(&self, full_name: &str, tag: &str, commit: &str) -> Result<()> {
        self.update_ref(full_name, &format!("refs/tags/{tag}"), commit).await
    }

    /// Pushes an annotated tag and returns the id of the tag object.
    pub async fn annotated_tag(&self, full_name: &str, tag: &str, commit: &str, message: &str) -> Result<String> {
        let copy = self.fresh_copy(full_name).await?;
        let at_s = crate::provider::wall_clock_ms() / 1000;
        let text = format!("object {commit}\ntype commit\ntag {tag}\ntagger Octo Cat <octo@users.example> {at_s} +0000\n\n{message}\n");
        let object = git::git(&copy, &["mktag"], text.as_bytes()).await?.trim().to_owned();
        self.push(full_name, &[&format!("+{object}:refs/tags/{tag}")]).await?;
        Ok(object)
    }

    /// Deletes a branch or tag (`refs/...`).
    pub async fn delete_ref(&self, full_name: &str, name: &str) -> Result<()> {
        self.update_ref(full_name, name, "").await
    }

    /// The object that a ref (`refs/...`) names now.
    pub async fn ref_head(&self, full_name: &str, name: &str) -> Result<Option<String>> {
        let copy = self.copy_of(full_name);
        tokio::fs::create_dir_all(&copy).await?;
        let printed = self.remote(full_name, &["ls-remote", &self.clone_url(full_name), name]).await?;
        Ok(printed.lines().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == name).map(|(object, _)| object.to_owned()))
    }

    /// Our bare copy of a repository.
    fn copy_of(&self, full_name: &str) -> PathBuf {
        self.server.folder().join("copies").join(format!("{full_name}.git"))
    }

    /// Our copy with exactly the refs that stand at the provider.
    async fn fresh_copy(&self, full_name: &str) -> Result<PathBuf> {
        let copy = self.copy_of(full_name);
        if !tokio::fs::try_exists(copy.join("HEAD")).await? {
            git::init(&copy, "main").await?;
        }
        let url = self.clone_url(full_name);
        self.remote(full_name, &["fetch", "--quiet", "--prune", &url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]).await?;
        Ok(copy)
    }

    async fn push(&self, full_name: &str, refspecs: &[&str]) -> Result<()> {
        let url = self.clone_url(full_name);
        let mut arguments = vec!["push", "--quiet", &url];
        arguments.extend(refspecs);
        self.remote(full_name, &arguments).await.map(drop)
    }

    /// Runs a git that talks to the provider.
    async fn remote(&self, full_name: &str, arguments: &[&str]) -> Result<String> {
        let pair = format!("{ADMINISTRATOR}:{}", user_password(ADMINISTRATOR));
        let header = format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let output = git::command(&self.copy_of(full_name))
            .args(arguments)
            .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "http.extraHeader"), ("GIT_CONFIG_VALUE_0", header.as_str())])
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .context("`git` did not start, expected it on PATH")?;
        if !output.status.success() {
            bail!("`git {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
