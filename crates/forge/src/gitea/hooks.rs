//! The webhooks that we make at Gitea.
//!
//! Invariant: once a hook was made, it is the only one with our address. Gitea never changes the secret of a hook that stands (the API
//! takes it without a word and drops it), so to adopt a hook means to put a new one in its place.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{FullName, Gitea, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{HookSpec, RemoteHook, Removal};

/// New branches, new and deleted tags come as pushes as well. Deleted branches do not: the reconciler sees these.
pub(super) const EVENTS: &[&str] = &["push", "pull_request", "pull_request_sync"];
/// How these are asked for: `pull_request` would ask for every event that has to do with one, labels and comments too.
const ASKED: &[&str] = &["push", "pull_request_only", "pull_request_sync"];

#[derive(Deserialize)]
struct Hook {
    id: u64,
    active: bool,
    #[serde(default)]
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
        let mut events: Vec<String> = hook.events.iter().take(200).map(|event| text::line(event, 100)).collect();
        // Each answer has them in another order.
        events.sort_unstable();
        Self {
            id: hook.id.to_string(),
            url: text::line(&hook.config.url.unwrap_or_default(), 2048),
            active: hook.active,
            events,
            signs: None,
            last_delivery: None,
        }
    }
}

impl Gitea {
    fn hooks_address(&self, full_name: FullName<'_>, id: Option<&str>) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, "hooks"].into_iter().chain(id))
    }

    pub(super) fn only_on_the_page(&self, detail: &str, full_name: &str, hook: &str) -> ForgeError {
        let parts = full_name.split('/').chain(["settings", "hooks"]).chain(is_id(hook).then_some(hook));
        ForgeError::Unsupported { detail: detail.to_owned(), url: Some(self.web_address(parts)) }
    }

    pub(super) async fn list_hooks(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteHook>, ForgeError> {
        let hooks = self.list::<Hook>(token, &self.hooks_address(full_name, None)).await?;
        Ok(hooks.whole()?.into_iter().map(RemoteHook::from).collect())
    }

    pub(super) async fn make_hook(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &HookSpec<'_>,
    ) -> Result<RemoteHook, ForgeError> {
        let mut old = self.list_hooks(token, full_name).await?;
        old.retain(|found| Url::parse(&found.url).is_ok_and(|url| url == *hook.url));
        let body = json!({
            // Forgejo takes this name, too.
            "type": "gitea",
            "active": true,
            "events": ASKED,
            "branch_filter": "*",
            "config": {
                "url": hook.url.as_str(),
                "content_type": "json",
                "http_method": "post",
                "secret": hook.secret.expose_secret(),
            },
        });
        // First the new one, so that no push falls between the two; what both tell of is the same push.
        let made: Hook = self.call(token, Method::POST, self.hooks_address(full_name, None), Some(&body)).await?.json()?;
        for found in old {
            match self.call(token, Method::DELETE, self.hooks_address(full_name, Some(&found.id)), None).await {
                Ok(_) | Err(ForgeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made.into())
    }

    pub(super) async fn remove_hook(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_id(id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Method::DELETE, self.hooks_address(full_name, Some(id)), None).await {
            Ok(reply) => reply.removed(),
            // It may also be the repository that is not shown. Only who may list the hooks can know that one is gone.
            Err(ForgeError::NotFound) => {
                let hooks = self.list_hooks(token, full_name).await?;
                if hooks.iter().any(|hook| hook.id == id) { Err(ForgeError::NotFound) } else { Ok(Removal::AlreadyGone) }
            }
            Err(error) => Err(error),
        }
    }
}
