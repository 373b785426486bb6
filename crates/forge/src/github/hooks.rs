//! The webhooks that we make at GitHub.
//!
//! Invariant: at most one hook has our address, and it always has a secret: every write sends one, because GitHub forgets
//! the secret of a hook that is changed without it.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::wire::{Call, FEW_PAGES};
use super::{FullName, GitHub, deliveries, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{DeliveryOutcome, HookSpec, RemoteHook, Removal};

/// Pushes and pull requests start builds; `repository` tells of renames, transfers and visibility before the next check of the source would.
pub(super) const EVENTS: &[&str] = &["pull_request", "push", "repository"];

#[derive(Deserialize)]
struct Hook {
    id: u64,
    active: bool,
    events: Vec<String>,
    #[serde(default)]
    config: Config,
    last_response: Option<LastResponse>,
}

#[derive(Deserialize, Default)]
struct Config {
    url: Option<String>,
    /// Asterisks, when there is one.
    secret: Option<String>,
}

#[derive(Deserialize)]
struct LastResponse {
    code: Option<i64>,
    status: Option<String>,
    message: Option<String>,
}

impl LastResponse {
    /// `None` for a hook that never sent anything.
    fn outcome(self) -> Option<DeliveryOutcome> {
        let status = self.status.filter(|status| status != "unused");
        if status.is_none() && self.code.is_none() {
            return None;
        }
        let words: Vec<String> = status.into_iter().chain(self.message).filter(|words| !words.is_empty()).collect();
        Some(DeliveryOutcome { at: None, status: self.code.and_then(deliveries::status), words: text::line(&words.join(": "), 200) })
    }
}

impl From<Hook> for RemoteHook {
    fn from(hook: Hook) -> Self {
        Self {
            id: hook.id.to_string(),
            url: text::line(&hook.config.url.unwrap_or_default(), 2048),
            active: hook.active,
            events: hook.events.iter().take(200).map(|event| text::line(event, 100)).collect(),
            signs: Some(hook.config.secret.is_some_and(|secret| !secret.is_empty())),
            last_delivery: hook.last_response.and_then(LastResponse::outcome),
        }
    }
}

impl GitHub {
    fn hooks_address(&self, full_name: FullName<'_>, id: Option<&str>) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, "hooks"].into_iter().chain(id))
    }

    pub(super) async fn list_hooks(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteHook>, ForgeError> {
        let pages = self.list::<Hook>(token, Call::manage(Method::GET, self.hooks_address(full_name, None)), FEW_PAGES).await?;
        Ok(pages.list.whole()?.into_iter().map(RemoteHook::from).collect())
    }

    pub(super) async fn make_hook(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &HookSpec<'_>,
    ) -> Result<RemoteHook, ForgeError> {
        if let Some(adopted) = self.adopt_hook(token, full_name, hook).await? {
            return Ok(adopted);
        }
        let mut body = settings(hook);
        body["name"] = json!("web");
        match self.call(token, Call::manage(Method::POST, self.hooks_address(full_name, None)).body(&body)).await {
            Ok(reply) => reply.json::<Hook>().map(RemoteHook::from),
            // Somebody made the same hook since we looked, or GitHub made it and its answer was lost.
            Err(error @ ForgeError::Unexpected { status: 422, .. }) => self.adopt_hook(token, full_name, hook).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Sets an existing hook with our address to what we want; `None` when there is none.
    async fn adopt_hook(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &HookSpec<'_>,
    ) -> Result<Option<RemoteHook>, ForgeError> {
        let hooks = self.list_hooks(token, full_name).await?;
        let mut ours = hooks.into_iter().filter(|found| Url::parse(&found.url).is_ok_and(|url| url == *hook.url));
        let Some(found) = ours.next() else { return Ok(None) };
        // The others first: GitHub refuses to make two hooks alike.
        for twin in ours {
            self.remove_hook(token, full_name, &twin.id).await?;
        }
        let address = self.hooks_address(full_name, Some(&found.id));
        match self.call(token, Call::manage(Method::PATCH, address).body(&settings(hook))).await {
            Ok(reply) => reply.json::<Hook>().map(|hook| Some(hook.into())),
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_hook(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_id(id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Call::manage(Method::DELETE, self.hooks_address(full_name, Some(id)))).await {
            Ok(reply) => reply.removed(),
            // 404 is also what a person without rights gets. Only who may list the hooks can know that one is gone.
            Err(ForgeError::NotFound) => {
                let hooks = self.list_hooks(token, full_name).await?;
                if hooks.iter().any(|hook| hook.id == id) { Err(ForgeError::NotFound) } else { Ok(Removal::AlreadyGone) }
            }
            Err(error) => Err(error),
        }
    }
}

/// What every hook of ours is set to.
fn settings(hook: &HookSpec<'_>) -> Value {
    json!({
        "active": true,
        "events": EVENTS,
        "config": {
            "url": hook.url.as_str(),
            "content_type": "json",
            "secret": hook.secret.expose_secret(),
            "insecure_ssl": "0",
        },
    })
}
