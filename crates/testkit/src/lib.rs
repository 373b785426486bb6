//! Everything that tests and the demo need around Slipway: a fake GitHub and a fake Bitbucket Cloud with real git, the real Gitea,
//! a fake OpenID Connect provider, a mail server that keeps what it is sent, throw-away PostgreSQL databases, an
//! OpenSSH server for git, the real buildkitd, a fake registry, OpenAPI descriptions to hold requests and answers against.
//! Invariant: nothing here is part of the product's binary, and nothing here uses the product's own types, so that a
//! wrong word in the product cannot be wrong on both sides.

pub mod bitbucket;
pub mod buildkitd;
pub mod certificates;
pub mod gitea;
pub mod github;
pub mod oidc;
pub mod openapi;
pub mod postgres;
mod provider;
pub mod registry;
pub mod smtp;
pub mod sshd;
pub mod wait;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// An HTTP client that follows no redirects, keeps no cookies and uses no proxy.
pub fn http_client() -> Result<reqwest::Client> {
    // Someone in the process may have installed one already; any is good.
    rustls::crypto::ring::default_provider().install_default().ok();
    Ok(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().user_agent("slipway-testkit").build()?)
}

/// A program that `scripts/install-<name>` built into the cache folder.
fn tool(name: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let tools = cache.join("slipway/tools");
    // The version stands in the script alone; the newest is the one that it built last.
    let mut found: Vec<PathBuf> = std::fs::read_dir(&tools)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")))
        .map(|entry| entry.path().join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort_unstable_by_key(|program| std::fs::metadata(program).and_then(|meta| meta.modified()).ok());
    found.pop().with_context(|| format!("there is no `{name}` in `{}`; hint: scripts/install-{name} builds it", tools.display()))
}
