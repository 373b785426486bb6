//! Webhook requests made by hand, for what no provider would ever send.
//! Invariant: the signature covers the very bytes that are sent, unless the test says otherwise.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use slipway_testkit::github::{sign_sha1, sign_sha256};

use crate::{Answer, Forge, PERSON, Repository, TestApp};

/// The id that stands for "no object".
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// As the provider does.
    Sha256,
    /// With SHA-1 alone, as GitHub did until 2020.
    Sha1Only,
    /// By somebody who does not know the secret.
    Foreign,
    /// Not at all.
    None,
}

/// Where a webhook's deliveries go, and what they are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub url: String,
    /// The secret.
    pub secret: String,
}

/// A webhook request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose words its headers are.
    pub forge: Forge,
    /// Where to.
    pub url: String,
    /// Its secret.
    pub secret: String,
    /// The provider's word for what happened.
    pub event: String,
    /// The provider's id of the delivery.
    pub id: String,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The raw body.
    pub body: Vec<u8>,
    /// How it is signed.
    pub signature: Signature,
}

impl Request {
    /// An event for a repository's hook at GitHub, signed with its secret, as JSON.
    ///
    /// # Errors
    /// When the hook does not stand.
    pub fn to(repository: &Repository<'_>, event: &str, id: &str, payload: &Value) -> Result<Self> {
        let (url, secret) = repository.hook()?;
        Ok(Self::by(Forge::GitHub, &Target { url, secret }, event, id, payload))
    }

    /// The same as any provider sends it.
    #[must_use]
    pub fn by(forge: Forge, target: &Target, event: &str, id: &str, payload: &Value) -> Self {
        Self {
            forge,
            url: target.url.clone(),
            secret: target.secret.clone(),
            event: event.to_owned(),
            id: id.to_owned(),
            content_type: "application/json",
            body: payload.to_string().into_bytes(),
            signature: Signature::Sha256,
        }
    }

    /// Signed otherwise.
    #[must_use]
    pub fn signed(self, signature: Signature) -> Self {
        Self { signature, ..self }
    }

    /// What the provider writes into the headers, signature and all.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let told: &[(&str, &str)] = match self.forge {
            Forge::GitHub => &[("x-github-event", &self.event), ("x-github-delivery", &self.id)],
            Forge::Bitbucket => &[("x-event-key", &self.event), ("x-request-uuid", &self.id)],
            // Gitea names itself by the headers of its ancestor and of GitHub, too.
            Forge::Gitea => &[
                ("x-gitea-event", &self.event),
                ("x-gitea-delivery", &self.id),
                ("x-gogs-event", &self.event),
                ("x-gogs-delivery", &self.id),
                ("x-github-event", &self.event),
                ("x-github-delivery", &self.id),
            ],
        };
        let mut headers: Vec<_> = told.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let sha1 = || ("x-hub-signature", format!("sha1={}", sign_sha1(&self.secret, &self.body)));
        let secret = match self.signature {
            Signature::None => return headers,
            Signature::Sha1Only => {
                headers.push(sha1());
                return headers;
            }
            Signature::Sha256 => &self.secret,
            Signature::Foreign => "not the secret",
        };
        let digits = sign_sha256(secret, &self.body);
        match self.forge {
            Forge::GitHub => headers.extend([sha1(), ("x-hub-signature-256", format!("sha256={digits}"))]),
            Forge::Bitbucket => headers.push(("x-hub-signature", format!("sha256={digits}"))),
            Forge::Gitea => headers.extend([("x-gitea-signature", digits.clone()), ("x-hub-signature-256", format!("sha256={digits}"))]),
        }
        headers
    }

    /// Sends it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, http: &reqwest::Client) -> Result<Answer> {
        let request = http.post(&self.url).header("content-type", self.content_type);
        let request = self.headers().into_iter().fold(request, |request, (name, value)| request.header(name, value));
        Answer::of(request.body(self.body.clone()).send().await?).await
    }
}

impl Forge {
    /// The provider's id of a source, as its deliveries carry it.
    ///
    /// # Errors
    /// When the provider does not tell.
    pub async fn source_id(self, app: &TestApp, source: &str) -> Result<Value> {
        let others = || app.others.as_ref().with_context(|| format!("the test wished for {self:?}"));
        Ok(match self {
            Self::GitHub => json!(app.github.repository_id(source)),
            Self::Bitbucket => json!(others()?.bitbucket.repository_uuid(source)),
            Self::Gitea => json!(others()?.gitea.repository_id(source).await?),
        })
    }

    /// The target of a source's one webhook, as the provider has it.
    ///
    /// # Errors
    /// When there is not exactly one; and at Gitea, which shows nobody a secret: see [`Self::hook_by_hand`].
    pub fn target(self, app: &TestApp, source: &str) -> Result<Target> {
        let (url, secret) = match (self, &app.others) {
            (Self::GitHub, _) => {
                let [hook] = &app.github.hooks(source)[..] else { bail!("one webhook stands at `{source}`") };
                (hook.url.clone(), hook.secret.clone())
            }
            (Self::Bitbucket, Some(others)) => {
                let [hook] = &others.bitbucket.hooks(source)[..] else { bail!("one webhook stands at `{source}`") };
                (hook.url.clone(), hook.secret.clone())
            }
            _ => bail!("{self:?} does not show the secret of a webhook"),
        };
        Ok(Target { url, secret: secret.context("it has a secret")? })
    }

    /// The administrator's repository of this name is built from a source over a link that only reads, so that a person puts the webhook
    /// up: gives what the person is shown for that.
    ///
    /// # Errors
    /// When a step is refused, or the provider offers no such link.
    pub async fn hook_by_hand(self, app: &TestApp, name: &str, source: &str, login: &str) -> Result<Target> {
        let begun = app.api.post(&format!("/namespaces/{PERSON}/links/{}/connect", self.id()), &json!({ "access": "read_only" })).await?;
        let back = self.approve(app, begun["authorize_url"].as_str().context("an address to authorize at")?, login).await?;
        app.api.open(&back).await?.json()?;
        app.create_repository(name).await?;
        let at = format!("/repositories/{PERSON}/{name}");
        let body = json!({ "provider": self.id(), "source": source, "autotest": "off", "rules": [] });
        app.api.put(&format!("{at}/autobuild"), &body).await?;
        let shown = app.api.post(&format!("{at}/hook/show-secret"), &Value::Null).await?;
        let word = |field: &str| shown[field].as_str().map(str::to_owned).with_context(|| format!("no `{field}` in what is shown"));
        Ok(Target { url: word("address")?, secret: word("secret")? })
    }

    /// The event of a push, and the part of its payload that Slipway needs.
    #[must_use]
    pub fn push_of(self, source_id: &Value, reference: &str, before: &str, after: &str) -> (&'static str, Value) {
        match self {
            Self::GitHub | Self::Gitea => {
                let deleted = after == ZERO;
                let head = json!({ "id": after, "message": "A change", "author": { "name": "Octo Cat" } });
                let payload = json!({
                    "ref": reference, "before": before, "after": after, "created": before == ZERO, "deleted": deleted, "forced": false,
                    "head_commit": if deleted { Value::Null } else { head },
                    "repository": { "id": source_id },
                    "pusher": { "name": "octo" },
                });
                ("push", payload)
            }
            Self::Bitbucket => {
                let (kind, name) = match reference.strip_prefix("refs/tags/") {
                    Some(tag) => ("tag", tag),
                    None => ("branch", reference.trim_start_matches("refs/heads/")),
                };
                let tip = |hash: &str| match hash {
                    ZERO => Value::Null,
                    _ => json!({ "type": kind, "name": name, "target": { "hash": hash, "message": "A change" } }),
                };
                let changes = json!([{ "old": tip(before), "new": tip(after) }]);
                (
                    "repo:push",
                    json!({ "push": { "changes": changes }, "repository": { "uuid": source_id }, "actor": { "nickname": "octo" } }),
                )
            }
        }
    }
}

/// The part of a push event that Slipway needs. GitHub sends more.
#[must_use]
pub fn push_payload(app: &TestApp, source: &str, reference: &str, before: &str, after: &str) -> Value {
    let (_, mut payload) = Forge::GitHub.push_of(&json!(app.github.repository_id(source)), reference, before, after);
    payload["repository"]["full_name"] = json!(source);
    payload
}
