//! The webhooks that we make at GitHub.
//!
//! Invariant: at most one hook has our address, and it always has a secret: every write sends one, because GitHub forgets
//! the secret of a hook that is changed without it.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{FullName, GitHub, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{HookSpec, RemoteHook, Removal};

/// The reconciler sees renames and the like, so pushes are all that is needed.
pub(super) const EVENTS: &[&str] = &["push"];

#[derive(Deserialize)]
struct Hook {
    id: u64,
    active: bool,
    events: Vec<String>,
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize, Default)]
struct Config {
    url: Option<String>,
}

impl From<Hook> for RemoteHook {
    fn from(hook: Hook) -> Self {
        Self {
            id: hook.id.to_string(),
            url: text::line(&hook.config.url.unwrap_or_default(), 2048),
            active: hook.active,
            events: hook.events.iter().take(200).map(|event| text::line(event, 100)).collect(),
            signs: None,
            last_delivery: None,
        }
    }
}

impl GitHub {
    fn hooks_address(&self, full_name: FullName<'_>, id: Option<&str>) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, "hooks"].into_iter().chain(id))
    }

    pub(super) async fn list_hooks(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteHook>, ForgeError> {
        let listing = self.list::<Hook>(token, self.hooks_address(full_name, None)).await?;
        Ok(listing.items.into_iter().map(RemoteHook::from).collect())
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
        match self.call(token, Method::POST, self.hooks_address(full_name, None), Some(&body)).await {
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
        let Some(found) = hooks.into_iter().find(|found| Url::parse(&found.url).is_ok_and(|url| url == *hook.url)) else { return Ok(None) };
        match self.call(token, Method::PATCH, self.hooks_address(full_name, Some(&found.id)), Some(&settings(hook))).await {
            Ok(reply) => reply.json::<Hook>().map(|hook| Some(hook.into())),
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_hook(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_id(id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Method::DELETE, self.hooks_address(full_name, Some(id)), None).await {
            Ok(_) => Ok(Removal::Removed),
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
