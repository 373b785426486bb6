//! What an unlink removes at the provider: a webhook, a deploy key, the grant; and what of it is left to a person.
//!
//! Invariants: a thing of which the provider did not say that it is gone is a line with the address where a person finds it; after a word that
//! is meant for every call nothing more is asked. Deliberately elsewhere: the order, and what happens between two steps (`unlink`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, Removal, SourceKey};
use slipway_model::NamespaceAccess;
use slipway_store::links::Link;
use slipway_store::{deploy_keys, hooks, source_namespaces};
use url::Url;

use super::access::Tried;
use super::plan::{PlannedHook, PlannedKey, grant_words, shared_with};
use super::receipt::ReceiptItem;
use super::unlink::{Stepped, Work};
use crate::deploy_keys::is_same;
use crate::{App, Error};

/// So long a step waits for the provider, with all of its calls and a renewal of the token.
pub(super) const STEP: Duration = Duration::from_secs(55);
/// A key that was left at the provider waits for another link.
const RETIRED: Duration = Duration::from_secs(24 * 3600);

/// What the provider said to a removal.
enum Said {
    /// It is gone; `None`: there was nothing that could be.
    Gone(Option<Removal>),
    /// No, in words; and where a person can do it, when the provider told that.
    No(String, Option<Url>),
    /// Not now.
    Wait(Duration),
}

/// A thing at the provider in words; without its id there it is the one that is ours.
fn named(kind: &str, remote_id: Option<&str>, source: &str) -> String {
    remote_id.map_or_else(|| format!("our {kind} of `{source}`"), |id| format!("{kind} {id} of `{source}`"))
}

fn removed(what: &str, removal: Removal) -> ReceiptItem {
    ReceiptItem::new(match removal {
        Removal::Removed => format!("{what} was removed"),
        Removal::AlreadyGone => format!("{what} was gone already"),
    })
}

impl App {
    /// Asks for one removal. After a word that is meant for every call nothing more is asked.
    async fn ask_removal<F>(
        &self,
        work: &mut Work,
        link: &Link,
        forge: &Arc<dyn Forge>,
        call: &(impl Fn(Arc<dyn Forge>, SecretString) -> F + Send + Sync),
    ) -> Result<Said, Error>
    where
        F: Future<Output = Result<Option<Removal>, ForgeError>> + Send,
    {
        if let Some(words) = &work.body.refused {
            return Ok(Said::No(words.clone(), None));
        }
        let tried = tokio::time::timeout(STEP, self.try_link(forge, link, call)).await;
        let error = match tried.unwrap_or_else(|_| Err(Tried::Forge(no_answer()))) {
            Ok(removal) => return Ok(Said::Gone(removal)),
            // Trouble of the database ends the work, and a loop goes on with it.
            Err(Tried::Ours(error @ Error::Store(_))) => return Err(error),
            Err(Tried::Ours(error)) => return Ok(Said::No(error.to_string(), None)),
            Err(Tried::Forge(error)) => error,
        };
        let words = error.to_string();
        match error {
            ForgeError::RateLimited { retry_after } => {
                if let Some(wait) = work.waits(retry_after, self.clock.now()) {
                    return Ok(Said::Wait(wait));
                }
                work.body.refused = Some(words.clone());
            }
            // Each time that a dead grant is presented counts as a failed sign-in at the provider.
            ForgeError::Unauthorized { .. } => work.body.refused = Some(words.clone()),
            ForgeError::Unsupported { url, .. } => return Ok(Said::No(words, url)),
            _ => {}
        }
        Ok(Said::No(words, None))
    }

    pub(super) async fn unlink_hook(
        &self,
        work: &mut Work,
        link: &Link,
        forge: &Arc<dyn Forge>,
        hook: &PlannedHook,
    ) -> Result<Stepped, Error> {
        let settings = forge.hook_settings_url(&hook.source);
        if hook.by_person {
            // We never had the right to it. Its address stays ours, so a later link takes deliveries from it again.
            if hook.stands {
                let what = format!("webhook of `{}`: a person put it up, so a person removes it", hook.source);
                work.body.left.push(ReceiptItem::new(what).at(settings));
            }
            return Ok(Stepped::Settled);
        }
        let (known, address) = (hook.remote_id.as_deref(), self.hook_address(&link.provider, hook.id));
        let (key, address) = (SourceKey { id: &hook.source_id, full_name: &hook.source }, address.as_str());
        // One that was made in the moment before a crash has no id here: it is known by its address.
        let call = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let (token, name) = at_source(&forge, &token, key).await?;
            let remote = match known {
                Some(remote) => Some(remote.to_owned()),
                None => forge.hooks(&token, &name).await?.into_iter().find(|remote| remote.url == address).map(|remote| remote.id),
            };
            match remote {
                Some(remote) => forge.delete_hook(&token, &name, &remote).await.map(Some),
                None => Ok(None),
            }
        };
        let what = named("webhook", known, &hook.source);
        match self.ask_removal(work, link, forge, &call).await? {
            Said::Wait(wait) => return Ok(Stepped::Wait(wait)),
            Said::Gone(removal) => {
                work.body.done.extend(removal.map(|removal| removed(&what, removal)));
                let mut tx = self.write().await?;
                hooks::delete(&mut tx, hook.id).await?;
                tx.commit().await?;
            }
            Said::No(words, _) => {
                work.body.left.push(ReceiptItem::new(format!("{what}: {words}")).at(settings));
                // Its address stays ours: linking again finds the hook there and adopts it.
                let mut tx = self.write().await?;
                hooks::set_wanted(&mut tx, hook.id, self.clock.now()).await?;
                tx.commit().await?;
            }
        }
        Ok(Stepped::Settled)
    }

    pub(super) async fn unlink_key(
        &self,
        work: &mut Work,
        link: &Link,
        forge: &Arc<dyn Forge>,
        key: &PlannedKey,
    ) -> Result<Stepped, Error> {
        let (known, public) = (key.remote_id.as_deref(), key.public_key.as_str());
        let source = SourceKey { id: &key.source_id, full_name: &key.source };
        let call = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let (token, name) = at_source(&forge, &token, source).await?;
            let remote = match known {
                Some(remote) => Some(remote.to_owned()),
                None => forge.deploy_keys(&token, &name).await?.into_iter().find(|key| is_same(&key.public_key, public)).map(|key| key.id),
            };
            match remote {
                Some(remote) => forge.delete_deploy_key(&token, &name, &remote).await.map(Some),
                None => Ok(None),
            }
        };
        let what = named("deploy key", known, &key.source);
        match self.ask_removal(work, link, forge, &call).await? {
            Said::Wait(wait) => return Ok(Stepped::Wait(wait)),
            Said::Gone(removal) => {
                work.body.done.extend(removal.map(|removal| removed(&what, removal)));
                let mut tx = self.write().await?;
                deploy_keys::delete(&mut tx, key.id).await?;
                tx.commit().await?;
            }
            Said::No(words, _) => {
                let what = format!("{what}: {words}; its private half was deleted here, so it opens nothing for Slipway any more");
                work.body.left.push(ReceiptItem::new(what).at(forge.deploy_keys_url(&key.source)));
                // Known by its public half: linking again removes it there.
                let mut tx = self.write().await?;
                deploy_keys::retire(&mut tx, key.id, &words, self.clock.now().plus(RETIRED)).await?;
                tx.commit().await?;
            }
        }
        Ok(Stepped::Settled)
    }

    /// Withdraws the grant, unless others here live on it: at the provider it is one for all of them.
    pub(super) async fn withdraw(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>) -> Result<Stepped, Error> {
        let mut tx = self.read().await?;
        let shared = shared_with(&mut tx, link).await?;
        drop(tx);
        let settings = forge.app_settings_url();
        if shared > 0 {
            work.body.left.push(ReceiptItem::new(grant_words(shared)).at(settings));
        } else {
            let call = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.revoke_grant(&token).await.map(Some) };
            // What was said to removals says nothing of the grant itself: whether it is gone already is asked once.
            work.body.refused = None;
            match self.ask_removal(work, link, forge, &call).await? {
                Said::Wait(wait) => return Ok(Stepped::Wait(wait)),
                Said::Gone(Some(Removal::Removed)) => work.body.done.push(ReceiptItem::new("the grant was revoked at the provider")),
                Said::Gone(_) => work.body.done.push(ReceiptItem::new("the grant was gone already")),
                Said::No(words, url) => {
                    work.body.left.push(ReceiptItem::new(format!("the grant at the provider: {words}")).at(url.unwrap_or(settings)));
                }
            }
        }
        self.tell_installations(work, link, forge).await?;
        Ok(Stepped::Settled)
    }

    /// An App is not the person's: it stays installed, with all that it may do there, until somebody who administers the place removes it.
    async fn tell_installations(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>) -> Result<(), Error> {
        if forge.provider().app.is_none() {
            return Ok(());
        }
        let mut tx = self.read().await?;
        for one in source_namespaces::list(&mut tx, link.id).await? {
            let installed = one.access == NamespaceAccess::Granted;
            if installed && !source_namespaces::is_seen_by_others(&mut tx, &link.provider, &one.remote_id, link.id).await? {
                let item = ReceiptItem::new(format!("the App stays installed for `{}`: it is removed there, not from here", one.name));
                work.body.left.push(item.at(one.grant_url.unwrap_or_else(|| forge.app_settings_url().to_string())));
            }
        }
        Ok(())
    }
}

pub(super) fn no_answer() -> ForgeError {
    ForgeError::Unreachable { detail: format!("it did not answer within {} seconds", STEP.as_secs()) }
}

/// The token for a source and the name that it has today: it may have been renamed since.
async fn at_source(forge: &Arc<dyn Forge>, token: &SecretString, key: SourceKey<'_>) -> Result<(SecretString, String), ForgeError> {
    let token = forge.repository_token(token, key).await?;
    let source = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
    Ok((token, source.full_name))
}
