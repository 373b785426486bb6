//! Webhook requests made by hand, for what the fake GitHub would never send.
//! Invariant: the signature covers the very bytes that are sent, unless the test says otherwise.

use anyhow::Result;
use serde_json::{Value, json};
use slipway_testkit::github::{sign_sha1, sign_sha256};

use crate::{Answer, Repository, TestApp};

/// The id that stands for "no object".
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// As GitHub does.
    Sha256,
    /// With SHA-1 alone, as it was until 2020.
    Sha1Only,
    /// By somebody who does not know the secret.
    Foreign,
    /// Not at all.
    None,
}

/// A webhook request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to; the repository's own hook when empty.
    pub url: String,
    /// Its secret.
    pub secret: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The raw body.
    pub body: Vec<u8>,
    /// How it is signed.
    pub signature: Signature,
}

impl Request {
    /// An event for a repository's hook, signed with its secret, as JSON.
    ///
    /// # Errors
    /// When the hook does not stand.
    pub fn to(repository: &Repository<'_>, event: &str, id: &str, payload: &Value) -> Result<Self> {
        let (url, secret) = repository.hook()?;
        Ok(Self {
            url,
            secret,
            event: event.to_owned(),
            id: id.to_owned(),
            content_type: "application/json",
            body: payload.to_string().into_bytes(),
            signature: Signature::Sha256,
        })
    }

    /// Signed otherwise.
    #[must_use]
    pub fn signed(self, signature: Signature) -> Self {
        Self { signature, ..self }
    }

    /// Sends it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, http: &reqwest::Client) -> Result<Answer> {
        let mut request = http
            .post(&self.url)
            .header("content-type", self.content_type)
            .header("x-github-event", &self.event)
            .header("x-github-delivery", &self.id)
            .header("x-hub-signature", format!("sha1={}", sign_sha1(&self.secret, &self.body)));
        request = match self.signature {
            Signature::Sha256 => request.header("x-hub-signature-256", format!("sha256={}", sign_sha256(&self.secret, &self.body))),
            Signature::Foreign => request.header("x-hub-signature-256", format!("sha256={}", sign_sha256("not the secret", &self.body))),
            Signature::Sha1Only => request,
            Signature::None => return self.without_signature(http).await,
        };
        Answer::of(request.body(self.body.clone()).send().await?).await
    }

    async fn without_signature(&self, http: &reqwest::Client) -> Result<Answer> {
        let request = http.post(&self.url).header("content-type", self.content_type);
        let request = request.header("x-github-event", &self.event).header("x-github-delivery", &self.id);
        Answer::of(request.body(self.body.clone()).send().await?).await
    }
}

/// The part of a push event that Slipway needs. GitHub sends more.
#[must_use]
pub fn push_payload(app: &TestApp, source: &str, reference: &str, before: &str, after: &str) -> Value {
    let deleted = after == ZERO;
    let head = json!({ "id": after, "message": "A change", "author": { "name": "Octo Cat" } });
    json!({
        "ref": reference, "before": before, "after": after, "created": before == ZERO, "deleted": deleted, "forced": false,
        "head_commit": if deleted { Value::Null } else { head },
        "repository": { "id": app.github.repository_id(source), "full_name": source },
        "pusher": { "name": "octo" },
    })
}
