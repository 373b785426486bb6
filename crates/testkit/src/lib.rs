//! Everything that tests and the demo need around Slipway: a fake GitHub and a fake Bitbucket Cloud with real git, the real Gitea,
//! a fake OpenID Connect provider, a fake registry, a mail server that keeps what it is sent, throw-away PostgreSQL databases, an
//! OpenSSH server for git, OpenAPI descriptions to hold requests and answers against.
//! Invariant: nothing here is part of the product's binary, and nothing here uses the product's own types, so that a
//! wrong word in the product cannot be wrong on both sides.

pub mod bitbucket;
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

use anyhow::Result;

/// An HTTP client that follows no redirects, keeps no cookies and uses no proxy.
pub fn http_client() -> Result<reqwest::Client> {
    // Someone in the process may have installed one already; any is good.
    rustls::crypto::ring::default_provider().install_default().ok();
    Ok(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().user_agent("slipway-testkit").build()?)
}
