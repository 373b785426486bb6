//! The webhooks that we make at Bitbucket.
//!
//! Invariant: one hook has our address, and it always has a secret: every write sends all fields, because what a change leaves out
//! stays as somebody else may have set it. Bitbucket takes any number of hooks of one address, so what is too much is removed.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Bitbucket, FullName, is_uuid};
use crate::error::ForgeError;
use crate::text;
use crate::types::{HookSpec, RemoteHook, Removal};

/// The reconciler sees renames and the like, so pushes and pull requests are all that is needed.
pub(super) const EVENTS: &[&str] =
    &["repo:push", "pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected"];
/// 1,000 webhooks.
const MAX_PAGES: usize = 10;

#[derive(Deserialize)]
struct Hook {
    uuid: String,
    url: String,
    active: bool,
    events: Vec<String>,
    secret_set: Option<bool>,
}

impl Hook {
    fn checked(self) -> Result<RemoteHook, ForgeError> {
        if !is_uuid(&self.uuid) {
            return Err(ForgeError::Unexpected { status: 200, detail: "a webhook came without a usable `uuid`".to_owned() });
        }
        Ok(RemoteHook {
            id: self.uuid,
            url: text::line(&self.url, 2048),
            active: self.active,
            events: self.events.iter().take(200).map(|event| text::line(event, 100)).collect(),
            signs: self.secret_set,
            last_delivery: None,
        })
    }
}

impl Bitbucket {
    fn hook_address(&self, full_name: FullName<'_>, id: &str) -> Url {
        self.repository_address([full_name.workspace, full_name.slug, "hooks", id])
    }

    pub(super) async fn list_hooks(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteHook>, ForgeError> {
        let url = self.list_address(["repositories", full_name.workspace, full_name.slug, "hooks"]);
        self.list::<Hook>(token, url, MAX_PAGES).await?.whole()?.into_iter().map(Hook::checked).collect()
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
        let url = self.repository_address([full_name.workspace, full_name.slug, "hooks"]);
        let reply = self.call(token, Method::POST, url, Some(&settings(hook))).await?;
        let made = self.read_object::<Hook>(token, &reply)?.checked()?;
        // Somebody else may have made one since we looked. Both then settle on the same one, whoever comes last sets its secret.
        match self.ours(token, full_name, hook).await?.as_slice() {
            [] | [_] => Ok(made),
            _ => self.adopt_hook(token, full_name, hook).await?.ok_or(ForgeError::NotFound),
        }
    }

    /// The hooks that have our address, in an order that everybody sees.
    async fn ours(&self, token: &SecretString, full_name: FullName<'_>, hook: &HookSpec<'_>) -> Result<Vec<RemoteHook>, ForgeError> {
        let mut hooks = self.list_hooks(token, full_name).await?;
        hooks.retain(|found| Url::parse(&found.url).is_ok_and(|url| url == *hook.url));
        hooks.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(hooks)
    }

    /// Sets the first hook with our address to what we want and removes the others; `None` when there is none.
    async fn adopt_hook(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &HookSpec<'_>,
    ) -> Result<Option<RemoteHook>, ForgeError> {
        let ours = self.ours(token, full_name, hook).await?;
        let Some((found, others)) = ours.split_first() else { return Ok(None) };
        let adopted = match self.call(token, Method::PUT, self.hook_address(full_name, &found.id), Some(&settings(hook))).await {
            Ok(reply) => self.read_object::<Hook>(token, &reply)?.checked()?,
            Err(ForgeError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        for other in others {
            match self.call(token, Method::DELETE, self.hook_address(full_name, &other.id), None).await {
                Ok(_) | Err(ForgeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(adopted))
    }

    pub(super) async fn remove_hook(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_uuid(id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Method::DELETE, self.hook_address(full_name, id), None).await {
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
        "description": "Slipway",
        "url": hook.url.as_str(),
        "active": true,
        "secret": hook.secret.expose_secret(),
        "events": EVENTS,
    })
}
