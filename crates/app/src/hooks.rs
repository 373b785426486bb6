//! Webhooks: the row is the wish, this loop makes it so. Crash-safe by nature: creating adopts one that already stands at our address.

use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{ForgeError, HookSpec};
use slipway_model::{AccountId, HookId, ProviderId, SecretToken, Timestamp, TokenKind};
use slipway_store::hooks::{self, Hook, HookState};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::{WriteTx, links};
use url::Url;

use crate::{App, Error};

const SECRET: &str = "hooks.secret";
/// After so many vain tries an unwanted hook is given up: its provider does not let us.
const REMOVAL_TRIES: u64 = 20;

impl App {
    /// The public address of a hook.
    pub(crate) fn hook_address(&self, provider: &ProviderId, id: HookId) -> Url {
        self.address(&format!("/hooks/{provider}/{id}"))
    }

    pub(crate) fn hook_secret(&self, hook: &Hook) -> Result<SecretString, Error> {
        self.keys.open_text(&[SECRET, &hook.id.to_string()], &hook.secret_sealed)
    }

    /// Writes the wish for a hook of these settings.
    pub(crate) async fn want_hook(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        autobuild: &Autobuild,
        now: Timestamp,
    ) -> Result<HookId, Error> {
        let id = HookId::new();
        let secret = SecretToken::generate(TokenKind::Hook);
        let hook = Hook {
            id,
            autobuild: Some(autobuild.id),
            account,
            provider: autobuild.provider.clone(),
            source_id: autobuild.source_id.clone(),
            source_name: autobuild.source_name.clone(),
            secret_sealed: self.keys.seal(&[SECRET, &id.to_string()], secret.expose().as_bytes()),
            state: HookState::Wanted,
            remote_id: None,
            error: None,
            tries: 0,
            created_at: now,
        };
        hooks::insert(tx, &hook).await?;
        Ok(id)
    }

    /// After linking again: every repository built through the provider wants a hook.
    pub(crate) async fn want_missing_hooks(&self, tx: &mut WriteTx, account: AccountId, provider: &ProviderId) -> Result<(), Error> {
        for autobuild in repositories::list_autobuilds_by_provider(tx, account, provider).await? {
            if hooks::get_by_autobuild(tx, autobuild.id).await?.is_none() {
                self.want_hook(tx, account, &autobuild, self.clock.now()).await?;
            }
        }
        Ok(())
    }

    /// Makes and removes hooks whose time has come; gives how many were looked at.
    pub(crate) async fn settle_hooks_once(&self) -> Result<usize, Error> {
        let mut tx = self.read().await?;
        let due = hooks::list_due(&mut tx, self.clock.now(), 20).await?;
        drop(tx);
        for hook in &due {
            self.settle_hook(hook).await?;
        }
        Ok(due.len())
    }

    /// One step towards a hook's wish. What the provider says becomes the row's `error` and a later try.
    pub(crate) async fn settle_hook(&self, hook: &Hook) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, hook.account, &hook.provider).await?;
        drop(tx);
        let usable = link.filter(|link| link.state != slipway_model::LinkState::Disabled);
        let (Some(link), Some(forge)) = (usable, self.forges.get(&hook.provider)) else {
            return self.hook_failed(hook, "the provider is not linked or its link is disabled").await;
        };
        let (Ok(token), Ok(secret)) = (self.link_token(&link), self.hook_secret(hook)) else {
            return self.hook_failed(hook, "a stored secret cannot be opened with this installation's key").await;
        };
        let outcome = match hook.state {
            HookState::Wanted => {
                let url = self.hook_address(&hook.provider, hook.id);
                forge.ensure_hook(&token, &hook.source_name, &HookSpec { url: &url, secret: &secret }).await.map(|remote| Some(remote.id))
            }
            HookState::Unwanted => match &hook.remote_id {
                Some(remote) => forge.delete_hook(&token, &hook.source_name, remote).await.map(|_| None),
                None => Ok(None),
            },
            HookState::Standing => return Ok(()),
        };
        match outcome {
            Ok(Some(remote)) => {
                let mut tx = self.write().await?;
                hooks::set_standing(&mut tx, hook.id, &remote).await?;
                Ok(tx.commit().await?)
            }
            Ok(None) => {
                let mut tx = self.write().await?;
                hooks::delete(&mut tx, hook.id).await?;
                Ok(tx.commit().await?)
            }
            Err(ForgeError::NotFound) if hook.state == HookState::Unwanted => {
                let mut tx = self.write().await?;
                hooks::delete(&mut tx, hook.id).await?;
                Ok(tx.commit().await?)
            }
            Err(error) => self.hook_failed(hook, &error.to_string()).await,
        }
    }

    async fn hook_failed(&self, hook: &Hook, error: &str) -> Result<(), Error> {
        let mut tx = self.write().await?;
        if hook.state == HookState::Unwanted && hook.tries + 1 >= REMOVAL_TRIES {
            tracing::warn!(hook = %hook.id, source = %hook.source_name, error, "gave up removing a webhook at the provider");
            hooks::delete(&mut tx, hook.id).await?;
        } else {
            let wait = Duration::from_secs(5 << hook.tries.min(9));
            hooks::set_failed(&mut tx, hook.id, error, self.clock.now().plus(wait)).await?;
        }
        Ok(tx.commit().await?)
    }
}
