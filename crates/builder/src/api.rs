//! The builder's side of the protocol: one method per request.
//!
//! The invariant: a fenced answer (409) is told apart from trouble that passes, and an unknown token ends the builder.
//! Deliberately elsewhere: when to ask again (`worker`, `lease`, `report`).

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_model::BuildId;
use slipway_wire::{
    Assignment, Claim, Fenced, Finish, FinishAnswer, Heartbeat, HeartbeatAnswer, Join, JoinAnswer, MAX_PREPARE_SECONDS, Outcome, Refused,
    Release, Report, ReportAnswer,
};
use url::Url;

use crate::config::BuilderError;

const QUICK: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(60);
/// The largest answer is an assignment with all of its variables.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// Why a request got no answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// The attempt no longer holds the lease.
    Fenced(String),
    /// The token is not taken: what the server said.
    Token(String),
    /// The builder is older than what the server works with: what was found and wanted.
    TooOld(String),
    /// The server is away or busy: ask again later.
    Away(String),
    /// The server refuses this request for good.
    Refused(String),
}

/// A client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    server: Url,
    token: SecretString,
}

impl Api {
    pub(crate) fn new(server: Url, token: SecretString) -> Result<Self, BuilderError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when another thread was faster, and then there is one.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("slipway-builder/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| BuilderError::Client(error.to_string()))?;
        Ok(Self { client, server, token })
    }

    pub(crate) fn server(&self) -> &str {
        self.server.as_str()
    }

    /// Asks to become a node; the token is a join token.
    pub(crate) async fn join(&self, join: &Join) -> Result<JoinAnswer, ApiError> {
        read(&self.post("builder/v1/join", join, QUICK).await?)
    }

    /// Asks for work; `None` when there was none in time.
    pub(crate) async fn claim(&self, claim: &Claim) -> Result<Option<Assignment>, ApiError> {
        // Longer than the server needs at worst: a claim that nobody hears the answer of costs the build a try.
        let limit = QUICK + Duration::from_secs(u64::from(claim.wait_seconds + MAX_PREPARE_SECONDS));
        let answer = self.post("builder/v1/claim", claim, limit).await?;
        if answer.is_empty() { Ok(None) } else { read(&answer).map(Some) }
    }

    pub(crate) async fn heartbeat(&self, build: BuildId, attempt: u32) -> Result<HeartbeatAnswer, ApiError> {
        self.about(build, "heartbeat", &Heartbeat { attempt }, QUICK).await
    }

    pub(crate) async fn report(&self, build: BuildId, report: &Report) -> Result<ReportAnswer, ApiError> {
        self.about(build, "report", report, SLOW).await
    }

    pub(crate) async fn finish(&self, build: BuildId, attempt: u32, outcome: &Outcome) -> Result<FinishAnswer, ApiError> {
        self.about(build, "finish", &Finish { attempt, outcome: outcome.clone() }, SLOW).await
    }

    pub(crate) async fn release(&self, build: BuildId, attempt: u32, note: &str) -> Result<(), ApiError> {
        let body = Release { attempt, note: note.to_owned() };
        self.about::<serde_json::Value>(build, "release", &body, QUICK).await.map(drop)
    }

    async fn about<T: DeserializeOwned>(&self, build: BuildId, what: &str, body: &impl Serialize, limit: Duration) -> Result<T, ApiError> {
        read(&self.post(&format!("builder/v1/builds/{build}/{what}"), body, limit).await?)
    }

    async fn post(&self, path: &str, body: &impl Serialize, limit: Duration) -> Result<Vec<u8>, ApiError> {
        let away = |error: reqwest::Error| ApiError::Away(describe(&error));
        let base = self.server.as_str().trim_end_matches('/');
        let request = self.client.post(format!("{base}/{path}")).bearer_auth(self.token.expose_secret()).json(body);
        let mut answer = request.timeout(limit).send().await.map_err(away)?;
        let status = answer.status();
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if text.len() + chunk.len() > ANSWER_LIMIT {
                return Err(ApiError::Refused(format!("the server's answer is larger than {ANSWER_LIMIT} bytes")));
            }
            text.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(text);
        }
        let shown: String = String::from_utf8_lossy(&text).chars().take(300).collect();
        Err(match status {
            StatusCode::CONFLICT => ApiError::Fenced(serde_json::from_slice::<Fenced>(&text).map_or(shown, |fenced| fenced.detail)),
            StatusCode::UNAUTHORIZED => ApiError::Token(said(&text, shown)),
            StatusCode::UPGRADE_REQUIRED => ApiError::TooOld(said(&text, shown)),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT => {
                ApiError::Away(format!("the server answered {status}: {shown}"))
            }
            status => ApiError::Refused(format!("the server answered {status}: {shown}")),
        })
    }
}

/// The server's own words, when they are its.
fn said(text: &[u8], otherwise: String) -> String {
    let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(500).collect::<String>();
    match serde_json::from_slice::<Refused>(text) {
        Ok(Refused { detail, hint: Some(hint) }) => cut(format!("{detail}; {hint}")),
        Ok(Refused { detail, hint: None }) => cut(detail),
        Err(_) => cut(otherwise),
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(answer).map_err(|error| ApiError::Refused(format!("the server's answer cannot be read: {error}")))
}

/// The whole chain: reqwest's own text stops before the cause.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Waits longer after each failure, up to five seconds, and starts over after a success.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(crate) fn succeeded(&mut self) {
        self.next = Self::FIRST;
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}
