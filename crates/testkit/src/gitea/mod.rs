//! The real Gitea on a loopback port, for tests: a provider that nobody here wrote.
//! Invariant: everything goes through Gitea's own program, pages, API and git; its database and folders are never touched. The
//! server and its folder die with the process, however that ends. Without the program a test fails with a message that says what
//! to run; it is never skipped.
//!
//! One file per concern: `server` runs the program, `script` does what people and administrators do, `git` pushes, `browser` clicks,
//! `bent` stands before it and lets it go wrong.

mod bent;
mod browser;
mod git;
mod script;
mod server;

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;

pub use bent::{Bent, Fault, Hits, Recorded};
pub use browser::ShownDelivery;
pub use script::{Contents, Role, user_password};
pub use server::TEST_GITEA;

/// The account that the scripts use: an administrator of the whole server, also the one who pushes.
pub const ADMINISTRATOR: &str = "keeper";

/// What Gitea does with the old refresh token when a new one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTokens {
    /// It stays good: Gitea's default.
    Reusable,
    /// It is dead after its first use.
    Rotating,
}

/// Whether git is served over SSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ssh {
    /// No, and then Gitea takes no deploy keys.
    Off,
    /// By Gitea's own SSH server on a loopback port.
    On,
}

/// Where git is served over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshEndpoint {
    /// The user of every connection; the key tells who it is.
    pub user: String,
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its public key, as a line without a comment.
    pub host_key: String,
}

/// How a server is set up.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What becomes of used refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// How long an access token lives, in seconds.
    pub access_token_seconds: u32,
    /// Whether git is served over SSH.
    pub ssh: Ssh,
}

impl Default for Settings {
    fn default() -> Self {
        Self { refresh_tokens: RefreshTokens::Reusable, access_token_seconds: 3600, ssh: Ssh::Off }
    }
}

/// A running Gitea.
#[derive(Debug)]
pub struct Gitea {
    server: server::Server,
    token: String,
    http: reqwest::Client,
}

impl Gitea {
    /// Starts a server as it is without settings of its own.
    pub async fn start() -> Result<Self> {
        Self::start_with(Settings::default()).await
    }

    /// Starts a server.
    pub async fn start_with(settings: Settings) -> Result<Self> {
        let (server, token) = tokio::task::spawn_blocking(move || server::start(settings)).await??;
        let gitea = Self { server, token, http: crate::http_client()? };
        gitea.wait_until_it_answers().await?;
        Ok(gitea)
    }

    /// `http://127.0.0.1:PORT`
    pub fn web_url(&self) -> &str {
        self.server.origin()
    }

    /// `http://127.0.0.1:PORT/api/v1`
    pub fn api_url(&self) -> String {
        format!("{}/api/v1", self.web_url())
    }

    /// Where git is served over SSH, if it is.
    pub fn ssh(&self) -> Option<&SshEndpoint> {
        self.server.ssh()
    }

    /// What the server wrote into its log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        let answer = crate::wait::until("Gitea to answer", server::START_WITHIN, async || {
            // Only our server knows the token, so another program that took the port cannot pass for it.
            let answer = self.http.get(format!("{}/user", self.api_url())).bearer_auth(&self.token).send().await;
            Ok(answer.ok().filter(|answer| answer.status() == StatusCode::OK))
        });
        answer.await.map(drop).with_context(|| format!("its log: {}", self.log()))
    }

    /// A request to the API as the administrator; any status but 2xx is an error with Gitea's words.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.api_url())).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("`{method} {path}` got {status}: {text}");
        }
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}
