//! Unlinking: hooks, deploy keys, the grant and our tokens, in this order (hooks survive the grant at some providers,
//! and without it nobody could remove them); each outcome goes into the receipt as it happens.
//!
//! Invariants: from the first transaction on the link serves nothing; whatever a crash leaves is finished by a loop from the receipt; what
//! another link of the account serves stays; a provider that refuses makes a line with the address where a person can finish it, never an
//! error. Deliberately elsewhere: what hangs on a link (`plan`), the receipt's form (`receipt`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, Removal, SourceKey};
use slipway_model::{LinkId, ProviderId, ReceiptId, Timestamp};
use slipway_store::links::{self, Link};
use slipway_store::{accounts, deploy_keys, hooks, receipts};

use super::access::{SourceAt, SourceTrouble, Tried, TroubleKind};
use super::plan::{Plan, PlannedHook, PlannedKey, PlannedSource, StoredActor, grant_words, other_links, plan, shared_with};
use super::receipt::{Body, Receipt, ReceiptItem};
use crate::audit::{self, Change, Place};
use crate::deploy_keys::is_same;
use crate::{Actor, App, Error, NamespaceOwner};

/// Longer than any one step takes: whoever works on a receipt renews it with each step.
const HOLD: Duration = Duration::from_secs(60);
/// How far it came is written down so many times at most while things go fast: the body of a large receipt is long.
const KEPT: usize = 200;
/// A key that was left at the provider waits for another link.
const RETIRED: Duration = Duration::from_secs(24 * 3600);

/// A receipt that this process works on.
struct Work {
    row: receipts::Receipt,
    body: Body,
    held_until: Timestamp,
    /// Steps that are not written down yet, and how many may be.
    fresh: usize,
    stride: usize,
}

impl Work {
    fn new(row: receipts::Receipt, body: Body, held_until: Timestamp) -> Self {
        let Plan { sources, hooks, keys, .. } = &body.plan;
        let stride = ((sources.len() + hooks.len() + keys.len()) / KEPT).max(1);
        Self { row, body, held_until, fresh: 0, stride }
    }
}

/// Whether this process still has the receipt for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Ours,
    Lost,
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
    /// Unlinks, and tells what became of everything. When the provider fails in the middle, the receipt says what is left and where a person
    /// can finish it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link.
    pub async fn unlink(&self, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<Receipt, Error> {
        self.forge(provider)?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let link = super::find(&mut tx, owner.account().id, provider, id).await?;
        if !links::set_unlinking(&mut tx, link.id).await? {
            return Err(Error::NotFound);
        }
        let others = other_links(&mut tx, &link).await?;
        let mut body = Body { plan: plan(&mut tx, &link, &others).await?, ..Body::default() };
        let actor = owner.actor().clone();
        body.plan.actor = Some(StoredActor { account: actor.account, name: actor.name, via: actor.via, address: actor.address });
        let row = receipts::Receipt {
            id: ReceiptId::new(),
            account: link.account,
            link: link.id,
            provider: provider.clone(),
            login: link.login.clone(),
            body: body.text(),
            begun_at: now,
            finished_at: None,
        };
        let held_until = now.plus(HOLD);
        receipts::insert(&mut tx, &row, held_until).await?;
        tx.commit().await?;
        let id = row.id;
        self.work_off(Work::new(row, body, held_until)).await?;
        self.receipt(owner, id).await
    }

    /// Goes on with an unlink that nobody works on any more; gives whether there was one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn finish_unlinks_once(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let held_until = now.plus(HOLD);
        let mut tx = self.write().await?;
        let claimed = receipts::claim(&mut tx, now, held_until).await?;
        tx.commit().await?;
        let Some(row) = claimed else { return Ok(false) };
        let body = Body::read(&row.body)?;
        tracing::info!(receipt = %row.id, provider = %row.provider, "an unlink that was cut off goes on");
        self.work_off(Work::new(row, body, held_until)).await?;
        Ok(true)
    }

    async fn work_off(&self, mut work: Work) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let link = links::get_by_id(&mut tx, work.row.link).await?;
        drop(tx);
        let forge = self.forges.get(&work.row.provider).cloned();
        if let (Some(link), Some(forge)) = (&link, &forge) {
            if self.look_who_serves(&mut work, link).await? == Hold::Lost {
                return Ok(());
            }
            for step in [Step::Hook, Step::Key, Step::Grant] {
                while self.step(&mut work, link, forge, step).await? {
                    if self.keep_progress(&mut work).await? == Hold::Lost {
                        return Ok(());
                    }
                }
            }
        } else if forge.is_none() {
            let what = "hooks, deploy keys and the grant: the provider is not configured any more";
            work.body.left.push(ReceiptItem::new(what));
        }
        self.close(work, link.as_ref()).await
    }

    /// Keeps how far it came, and the receipt for ourselves. What a crash takes with it is done again, and then found done.
    async fn keep_progress(&self, work: &mut Work) -> Result<Hold, Error> {
        let now = self.clock.now();
        work.fresh += 1;
        if work.fresh < work.stride && now.plus(HOLD / 2) < work.held_until {
            return Ok(Hold::Ours);
        }
        let until = now.plus(HOLD);
        let mut tx = self.write().await?;
        let kept = receipts::set_body(&mut tx, work.row.id, &work.body.text(), work.held_until, until).await?;
        tx.commit().await?;
        (work.held_until, work.fresh) = (until, 0);
        Ok(if kept { Hold::Ours } else { Hold::Lost })
    }

    /// Asks the other links for each source: what one of them serves keeps its hook and key.
    async fn look_who_serves(&self, work: &mut Work, link: &Link) -> Result<Hold, Error> {
        while let Some(source) = work.body.plan.sources.last().cloned() {
            match self.server_of(link, &source).await {
                Ok(None) => work.body.stopped.push(source.repository.clone()),
                Ok(Some(words)) => {
                    work.body.plan.hooks.retain(|hook| hook.source_id != source.id);
                    work.body.plan.keys.retain(|key| key.source_id != source.id);
                    work.body.kept.push(ReceiptItem::new(words));
                }
                Err(error) => return Err(error),
            }
            work.body.plan.sources.pop();
            if self.keep_progress(work).await? == Hold::Lost {
                return Ok(Hold::Lost);
            }
        }
        Ok(Hold::Ours)
    }

    /// Which other link serves a source, in words; `None` when none does.
    async fn server_of(&self, link: &Link, source: &PlannedSource) -> Result<Option<String>, Error> {
        let key = SourceKey { id: &source.id, full_name: &source.name };
        let at = SourceAt { account: link.account, provider: &link.provider, key, autobuild: Some(source.autobuild) };
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)
        };
        match self.with_source(at, look).await {
            Ok(acted) => Ok(Some(format!(
                "webhook and deploy key of `{}` stay: `{}` serves `{}` from now on",
                source.name, acted.link.login, source.repository
            ))),
            Err(SourceTrouble { kind: TroubleKind::Disabled, .. }) => Ok(Some(format!(
                "webhook and deploy key of `{}` stay: another link that is only disabled may serve `{}` again",
                source.name, source.repository
            ))),
            Err(trouble) if trouble.is_passing() || matches!(trouble.kind, TroubleKind::Provider) => Ok(Some(format!(
                "webhook and deploy key of `{}` stay: whether another link serves `{}` could not be found out now ({})",
                source.name, source.repository, trouble.words
            ))),
            Err(trouble) => match Error::from(trouble) {
                error @ (Error::Store(_) | Error::Internal(_)) => Err(error),
                _ => Ok(None),
            },
        }
    }

    /// One removal; false when there is nothing more of that kind.
    async fn step(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>, step: Step) -> Result<bool, Error> {
        match step {
            Step::Hook => {
                let Some(hook) = work.body.plan.hooks.last().cloned() else { return Ok(false) };
                self.unlink_hook(work, link, forge, &hook).await?;
                work.body.plan.hooks.pop();
            }
            Step::Key => {
                let Some(key) = work.body.plan.keys.last().cloned() else { return Ok(false) };
                self.unlink_key(work, link, forge, &key).await?;
                work.body.plan.keys.pop();
            }
            Step::Grant => {
                if work.body.plan.grant_settled {
                    return Ok(false);
                }
                self.withdraw(work, link, forge).await?;
                work.body.plan.grant_settled = true;
            }
        }
        Ok(true)
    }

    async fn unlink_hook(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>, hook: &PlannedHook) -> Result<(), Error> {
        if hook.by_person {
            // We never had the right to it. Its address stays ours, so a later link takes deliveries from it again.
            if hook.stands {
                let what = format!("webhook of `{}`: a person put it up, so a person removes it", hook.source);
                work.body.left.push(ReceiptItem::new(what).at(forge.hook_settings_url(&hook.source)));
            }
            return Ok(());
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
        match self.try_link(forge, link, &call).await {
            Ok(removal) => {
                work.body.done.extend(removal.map(|removal| removed(&what, removal)));
                let mut tx = self.write().await?;
                hooks::delete(&mut tx, hook.id).await?;
                Ok(tx.commit().await?)
            }
            Err(tried) => {
                let error = refusal(tried)?;
                let url = forge.hook_settings_url(&hook.source);
                work.body.left.push(ReceiptItem::new(format!("{what}: {error}")).at(url));
                // Its address stays ours: linking again finds the hook there and adopts it.
                let mut tx = self.write().await?;
                hooks::set_wanted(&mut tx, hook.id, self.clock.now()).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    async fn unlink_key(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>, key: &PlannedKey) -> Result<(), Error> {
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
        match self.try_link(forge, link, &call).await {
            Ok(removal) => {
                work.body.done.extend(removal.map(|removal| removed(&what, removal)));
                let mut tx = self.write().await?;
                deploy_keys::delete(&mut tx, key.id).await?;
                Ok(tx.commit().await?)
            }
            Err(tried) => {
                let error = refusal(tried)?;
                let words = format!("{what}: {error}; its private half was deleted here, so it opens nothing for Slipway any more");
                work.body.left.push(ReceiptItem::new(words).at(forge.deploy_keys_url(&key.source)));
                // Known by its public half: linking again removes it there.
                let mut tx = self.write().await?;
                deploy_keys::retire(&mut tx, key.id, &error, self.clock.now().plus(RETIRED)).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    /// Withdraws the grant, unless others here live on it: at the provider it is one for all of them.
    async fn withdraw(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let shared = shared_with(&mut tx, link).await?;
        drop(tx);
        let settings = forge.app_settings_url();
        if shared > 0 {
            work.body.left.push(ReceiptItem::new(grant_words(shared)).at(settings));
            return Ok(());
        }
        let call = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.revoke_grant(&token).await };
        match self.try_link(forge, link, &call).await {
            Ok(Removal::Removed) => work.body.done.push(ReceiptItem::new("the grant was revoked at the provider")),
            Ok(Removal::AlreadyGone) => work.body.done.push(ReceiptItem::new("the grant was gone already")),
            Err(Tried::Forge(ForgeError::Unsupported { detail, url })) => {
                let url = url.map_or_else(|| settings.to_string(), String::from);
                work.body.left.push(ReceiptItem::new(format!("the grant at the provider: {detail}")).at(url));
            }
            Err(tried) => {
                let error = refusal(tried)?;
                work.body.left.push(ReceiptItem::new(format!("the grant at the provider: {error}")).at(settings));
            }
        }
        Ok(())
    }

    /// The last transaction: our tokens go, the receipt is complete.
    async fn close(&self, mut work: Work, link: Option<&Link>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        if let Some(link) = link {
            links::delete(&mut tx, link.id).await?;
        }
        work.body.done.push(ReceiptItem::new("our copy of the tokens was deleted"));
        work.body.stopped.sort();
        if !receipts::finish(&mut tx, work.row.id, &work.body.text(), work.held_until, now).await? {
            return Ok(());
        }
        if let Some(account) = accounts::get(&mut tx, work.row.account).await? {
            let left: Vec<&str> = work.body.left.iter().map(|item| item.what.as_str()).collect();
            let change = Change::new("link.unlink", work.row.provider.as_str())
                .old(json!({"login": work.row.login}))
                .now(json!({"receipt": work.row.id, "left_at_provider": left}));
            let actor = work.body.plan.actor.take().map_or_else(Actor::system, |actor| Actor {
                account: actor.account,
                name: actor.name,
                via: actor.via,
                address: actor.address,
            });
            audit::write(&mut tx, now, &actor, Place::Account(&account), change).await?;
        }
        tx.commit().await?;
        metrics::counter!("slipway_unlinks_total", "provider" => work.row.provider.to_string()).increment(1);
        Ok(())
    }
}

/// The steps, in the order in which they are done.
#[derive(Clone, Copy)]
enum Step {
    Hook,
    Key,
    Grant,
}

/// What a provider (or a token that does not open) said to a removal; trouble of the database ends the work, and a loop goes on with it.
fn refusal(tried: Tried) -> Result<String, Error> {
    match tried {
        Tried::Forge(error) => Ok(error.to_string()),
        Tried::Ours(error @ Error::Store(_)) => Err(error),
        Tried::Ours(error) => Ok(error.to_string()),
    }
}

/// The token for a source and the name that it has today: it may have been renamed since.
async fn at_source(forge: &Arc<dyn Forge>, token: &SecretString, key: SourceKey<'_>) -> Result<(SecretString, String), ForgeError> {
    let token = forge.repository_token(token, key).await?;
    let source = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
    Ok((token, source.full_name))
}
