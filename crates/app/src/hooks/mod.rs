//! Webhooks: the row is the wish, this loop makes it so. Crash-safe by nature: creating adopts one that already stands at our address.
//!
//! Invariant: before anything is made or removed at a provider the source's name of today is asked for by its id, so nothing of ours ever
//! lands on another repository that took an old name.
//! Deliberately elsewhere: whether a standing hook is still right (`check`), what people see and do (`people`), deliveries (`receive`).

mod check;
mod people;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use secrecy::SecretString;
use slipway_forge::{Forge, HookSpec, RemoteHook, SourceKey};
use slipway_model::{AccountId, AutobuildId, HookId, ProviderId, SecretToken, Timestamp, TokenKind};
use slipway_store::WriteTx;
use slipway_store::hooks::{self, Hook, HookState, MadeBy};
use slipway_store::repositories::{self, Autobuild};
use url::Url;

pub use people::{HookDeliveries, HookDelivery, HookSecret, HookStatus, LastDelivery};

use crate::at_source::{Away, Left};
use crate::links::access::SourceAt;
use crate::{App, Error};

const SECRET: &str = "hooks.secret";
/// After so many vain tries an unwanted hook is given up: its provider does not let us.
const REMOVAL_TRIES: u64 = 20;
/// For so long a step is one replica's alone; it may wait for a slow provider.
pub(crate) const STEP: Duration = Duration::from_secs(120);
/// How long the secret before stays valid.
const PREVIOUS_SECRET: Duration = Duration::from_secs(24 * 3600);
/// How often it is tried whether the link may put the hook up after all.
const ASK_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// A tenth more or less, so that what was made at once is not asked for at once for ever.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.9..1.1))
}

/// The wait after a number of vain tries.
pub(crate) fn back_off(tries: u64) -> Duration {
    Duration::from_secs(5 << tries.min(9))
}

fn source_of(hook: &Hook) -> SourceAt<'_> {
    SourceAt {
        account: hook.account,
        provider: &hook.provider,
        key: SourceKey { id: &hook.source_id, full_name: &hook.source_name },
        autobuild: hook.autobuild,
    }
}

/// A hook as it was just put up, adopted or renewed.
struct PutUp {
    /// The source's name of today.
    name: String,
    remote: RemoteHook,
    /// What it was done with.
    token: SecretString,
}

impl App {
    /// The public address of a hook.
    pub(crate) fn hook_address(&self, provider: &ProviderId, id: HookId) -> Url {
        self.address(&format!("/hooks/{provider}/{id}"))
    }

    pub(crate) fn hook_secret(&self, hook: &Hook) -> Result<SecretString, Error> {
        self.keys.open_text(&[SECRET, &hook.id.to_string()], &hook.secret_sealed)
    }

    /// What deliveries of the hook may be signed with now: its secret, and the one before while it is still accepted, or the provider knows
    /// no other one yet.
    pub(crate) fn hook_secrets(&self, hook: &Hook, now: Timestamp) -> Result<Vec<SecretString>, Error> {
        let mut secrets = vec![self.hook_secret(hook)?];
        if let Some((sealed, _)) = hook.previous.as_ref().filter(|(_, until)| now < *until || hook.signs_with_previous()) {
            secrets.push(self.keys.open_text(&[SECRET, &hook.id.to_string()], sealed)?);
        }
        Ok(secrets)
    }

    fn seal_hook_secret(&self, id: HookId, secret: &SecretToken) -> Vec<u8> {
        self.keys.seal(&[SECRET, &id.to_string()], secret.expose().as_bytes())
    }

    /// Whether pushes are told to us by a hook that stands and was found right: if not, somebody has to look at the refs instead.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn hook_is_right(&self, autobuild: AutobuildId) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        let hook = hooks::get_by_autobuild(&mut tx, autobuild).await?;
        Ok(hook.is_some_and(|hook| hook.state == HookState::Standing && hook.problem.is_none()))
    }

    /// Writes the wish for a hook of these settings, to be fulfilled from `due` on.
    pub(crate) async fn want_hook(&self, tx: &mut WriteTx, account: AccountId, autobuild: &Autobuild, due: Timestamp) -> Result<(), Error> {
        let id = HookId::new();
        let hook = Hook {
            id,
            autobuild: Some(autobuild.id),
            account,
            provider: autobuild.provider.clone(),
            source_id: autobuild.source_id.clone(),
            source_name: autobuild.source_name.clone(),
            secret_sealed: self.seal_hook_secret(id, &SecretToken::generate(TokenKind::Hook)),
            previous: None,
            state: HookState::Wanted,
            remote_id: None,
            error: None,
            tries: 0,
            next_try_at: due,
            made_by: MadeBy::Service,
            checked_at: None,
            next_check_at: due,
            problem: None,
            problem_since: None,
            repaired_at: None,
            repaired_why: None,
            last_there: None,
            created_at: self.clock.now(),
        };
        Ok(hooks::insert(tx, &hook).await?)
    }

    /// After linking or enabling: every repository built through the provider wants a hook and, where it is private, a deploy key; those that
    /// stand are looked at. The caller wakes the loops.
    pub(crate) async fn want_missing_hooks(&self, tx: &mut WriteTx, account: AccountId, provider: &ProviderId) -> Result<(), Error> {
        let now = self.clock.now();
        for autobuild in repositories::list_autobuilds_by_provider(tx, account, provider).await? {
            if hooks::get_by_autobuild(tx, autobuild.id).await?.is_none() {
                self.want_hook(tx, account, &autobuild, now).await?;
            }
        }
        hooks::hurry(tx, account, provider, now).await?;
        self.want_missing_deploy_keys(tx, account, provider).await
    }

    /// Makes and removes hooks whose time has come; gives how many were looked at.
    ///
    /// # Errors
    /// Only the database's: what a provider says is kept in the rows.
    pub async fn settle_hooks_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let due = hooks::list_due(&mut tx, now, 20).await?;
        drop(tx);
        for hook in &due {
            self.settle_hook(hook).await?;
        }
        Ok(due.len())
    }

    /// One step towards a hook's wish, unless somebody else takes it. What the provider says becomes the row's `error` and a later try.
    pub(crate) async fn settle_hook(&self, hook: &Hook) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let ours = hooks::claim_step(&mut tx, hook, self.clock.now().plus(STEP)).await?;
        tx.commit().await?;
        match hook.state {
            _ if !ours => Ok(()),
            HookState::Wanted => self.put_up_hook(hook).await,
            HookState::Unwanted => self.take_down_hook(hook).await,
            HookState::Standing => Ok(()),
        }
    }

    async fn put_up_hook(&self, hook: &Hook) -> Result<(), Error> {
        if self.only_reads(hook.account, &hook.provider).await? {
            return self.leave_hook_to_person(hook, "the link only reads: add the webhook at the provider yourself").await;
        }
        match self.ensure_hook(hook).await {
            Ok(put_up) => self.hook_stands(hook, &put_up).await,
            Err(away) if away.lacks_rights() => {
                self.leave_hook_to_person(hook, &format!("the link may make no webhook there ({away}): add it at the provider yourself"))
                    .await
            }
            Err(away) => self.hook_failed(hook, &away).await,
        }
    }

    /// Has the provider put up, adopt or renew the hook.
    async fn ensure_hook(&self, hook: &Hook) -> Result<PutUp, Away> {
        let (url, secret) = (self.hook_address(&hook.provider, hook.id), self.hook_secret(hook)?);
        let name = self.source_name_today(source_of(hook)).await?;
        let (url, secret, at) = (&url, &secret, name.as_str());
        let ensure = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let remote = forge.ensure_hook(&token, at, &HookSpec { url, secret }).await?;
            Ok((remote, token))
        };
        let (remote, token) = self.with_source(source_of(hook), ensure).await?.value;
        Ok(PutUp { name, remote, token })
    }

    /// Notes that the hook stands. When its row went while it was put up (the link is being unlinked), nobody would ever take it down: it
    /// goes again, with the token that made it.
    async fn hook_stands(&self, hook: &Hook, put_up: &PutUp) -> Result<(), Error> {
        let PutUp { name, remote, token } = put_up;
        let mut tx = self.write().await?;
        let kept = hooks::set_standing(&mut tx, hook, &remote.id, self.clock.now().plus(jittered(check::FIRST))).await?;
        tx.commit().await?;
        if !kept && let Err(error) = self.forge(&hook.provider)?.delete_hook(token, name, &remote.id).await {
            let hook = Hook { source_name: name.clone(), remote_id: Some(remote.id.clone()), ..hook.clone() };
            let mut tx = self.write().await?;
            self.leave_hook(&mut tx, &hook, &error.to_string()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn leave_hook(&self, tx: &mut WriteTx, hook: &Hook, because: &str) -> Result<(), Error> {
        let left = Left {
            action: "webhook.left",
            account: hook.account,
            source: &hook.source_name,
            remote_id: hook.remote_id.as_deref(),
            address: self.forges.get(&hook.provider).map(|forge| forge.hook_settings_url(&hook.source_name)),
            because,
        };
        self.note_left(tx, &left).await
    }

    async fn leave_hook_to_person(&self, hook: &Hook, why: &str) -> Result<(), Error> {
        let mut tx = self.write().await?;
        hooks::set_made_by_person(&mut tx, hook.id, why, self.clock.now().plus(jittered(ASK_AGAIN))).await?;
        Ok(tx.commit().await?)
    }

    /// A delivery came that the hook's secret of now had signed: one that a person put up stands.
    pub(crate) async fn prove_hook(&self, id: HookId) -> Result<(), Error> {
        let mut tx = self.write().await?;
        hooks::set_proven(&mut tx, id, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    async fn take_down_hook(&self, hook: &Hook) -> Result<(), Error> {
        // What a person put up without our knowing its id only a person can take down.
        let removed = match (hook.made_by, &hook.remote_id) {
            (MadeBy::Person, None) => Ok(()),
            _ => self.remove_hook(hook).await,
        };
        match removed {
            Ok(()) => {
                let mut tx = self.write().await?;
                hooks::delete(&mut tx, hook.id).await?;
                Ok(tx.commit().await?)
            }
            Err(away) => self.hook_failed(hook, &away).await,
        }
    }

    /// Removes the hook at the provider. One that was made in the moment before a crash has no id here: it is known by its address.
    async fn remove_hook(&self, hook: &Hook) -> Result<(), Away> {
        let name = self.source_name_today(source_of(hook)).await?;
        let (name, address) = (name.as_str(), self.hook_address(&hook.provider, hook.id));
        let (known, address) = (hook.remote_id.as_deref(), address.as_str());
        let remove = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let remote = match known {
                Some(remote) => Some(remote.to_owned()),
                None => forge.hooks(&token, name).await?.into_iter().find(|remote| remote.url == address).map(|remote| remote.id),
            };
            match remote {
                Some(remote) => forge.delete_hook(&token, name, &remote).await.map(drop),
                None => Ok(()),
            }
        };
        self.with_source(source_of(hook), remove).await?;
        Ok(())
    }

    async fn hook_failed(&self, hook: &Hook, away: &Away) -> Result<(), Error> {
        let error = away.to_string();
        let mut tx = self.write().await?;
        if !away.may_pass() && hook.state == HookState::Unwanted && hook.tries + 1 >= REMOVAL_TRIES {
            self.leave_hook(&mut tx, hook, &error).await?;
            hooks::delete(&mut tx, hook.id).await?;
        } else {
            hooks::set_failed(&mut tx, hook.id, &error, self.clock.now().plus(back_off(hook.tries))).await?;
        }
        Ok(tx.commit().await?)
    }
}
