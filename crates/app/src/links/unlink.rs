//! Unlinking: hooks, deploy keys, the grant and our tokens, in this order (hooks survive the grant at some providers,
//! and without it nobody could remove them); each outcome goes into the receipt as it happens.
//!
//! Invariants: from the first transaction on the link serves nothing; whatever a crash leaves is finished by a loop from the receipt; what
//! another link of the account serves stays; a provider that refuses makes a line with the address where a person can finish it, never an
//! error; one that wants us to wait is waited for. Deliberately elsewhere: what hangs on a link (`plan`), what is done about each thing at the
//! provider (`removal`), the receipt's form (`receipt`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, SourceKey};
use slipway_model::{LinkId, ProviderId, ReceiptId, Timestamp};
use slipway_store::links::{self, Link};
use slipway_store::{accounts, receipts};

use super::access::{SourceAt, SourceTrouble, TroubleKind};
use super::plan::{LISTED, Plan, PlannedSource, StoredActor, other_links, plan};
use super::receipt::{Body, Receipt, ReceiptItem};
use super::removal::{STEP, no_answer};
use crate::audit::{self, Change, Place};
use crate::{Actor, App, Error, NamespaceOwner};

/// For so long a receipt is one process's alone. With less than half of it left, which is more than [`STEP`], it is taken anew.
const HOLD: Duration = Duration::from_secs(120);
/// How far it came is written down so many times at most while things go fast: the body of a large receipt is long.
const KEPT: usize = 200;
/// A provider that wants us to wait is waited for so long, unless something could be done in between.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A receipt that this process works on.
pub(super) struct Work {
    row: receipts::Receipt,
    pub(super) body: Body,
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

    /// How long a provider that wants us to wait is waited for; `None` when that lasts too long already.
    pub(super) fn waits(&mut self, retry_after: Duration, now: Timestamp) -> Option<Duration> {
        let since = *self.body.limited_since.get_or_insert(now);
        (now.since(since) < PATIENCE).then(|| retry_after.clamp(Duration::from_secs(1), PATIENCE))
    }
}

/// The steps, in the order in which they are done.
#[derive(Clone, Copy)]
enum Step {
    /// Whether another link serves a source: then its hook and key stay.
    Source,
    Hook,
    Key,
    Grant,
}

/// What a step came to.
pub(super) enum Stepped {
    /// One thing more is settled.
    Settled,
    /// There was nothing of that kind any more.
    Nothing,
    /// The provider wants us to wait for so long: nothing is settled.
    Wait(Duration),
}

/// Where the work on a receipt stands when this process lets go of it.
enum Came {
    /// Everything is settled.
    ToItsEnd,
    /// Somebody goes on with it from then on.
    SoFar(Timestamp),
    /// Somebody else has it.
    Lost,
}

/// Whether this process still has the receipt for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Ours,
    Lost,
}

impl App {
    /// Unlinks, and tells what became of everything, or how far it came within [`crate::Config::unlink_wait`]: the rest is done without the
    /// caller, who may also go away. When the provider fails in the middle, the receipt says what is left and where a person can finish it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link; the refusal `which_link` when none is named and there are several.
    pub async fn unlink(self: &Arc<Self>, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<Receipt, Error> {
        let work = self.begin_unlink(owner, provider, id).await?;
        let (receipt, app) = (work.row.id, Arc::clone(self));
        // A shutdown waits for the step that it is in.
        let task = self.unlinks.spawn(async move {
            app.work_off(work).await.inspect_err(|error| tracing::warn!(%receipt, %error, "an unlink was cut off; a loop goes on with it"))
        });
        if let Ok(ended) = tokio::time::timeout(self.config.unlink_wait, task).await {
            ended.map_err(|_| Error::Internal("an unlink did not end"))??;
        }
        self.receipt(owner, receipt).await
    }

    /// The first transaction: the link serves nothing any more, and what is to be done is written down.
    async fn begin_unlink(&self, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<Work, Error> {
        self.forge(provider)?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let link = super::find_one(&mut tx, owner.account().id, provider, id, |_| true).await?;
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
        Ok(Work::new(row, body, held_until))
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
        tracing::info!(receipt = %row.id, provider = %row.provider, "an unlink that nobody works on goes on");
        self.work_off(Work::new(row, body, held_until)).await?;
        Ok(true)
    }

    async fn work_off(&self, mut work: Work) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let link = links::get_by_id(&mut tx, work.row.link).await?;
        drop(tx);
        let came = match (&link, self.forges.get(&work.row.provider)) {
            (Some(link), Some(forge)) => self.take_steps(&mut work, link, forge).await?,
            (_, Some(_)) => Came::ToItsEnd,
            (_, None) => {
                let what = "hooks, deploy keys and the grant: the provider is not configured any more";
                work.body.left.push(ReceiptItem::new(what));
                Came::ToItsEnd
            }
        };
        match came {
            Came::ToItsEnd => self.close(work, link.as_ref()).await,
            Came::SoFar(until) => self.keep_receipt(&mut work, until).await.map(drop),
            Came::Lost => Ok(()),
        }
    }

    async fn take_steps(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>) -> Result<Came, Error> {
        for step in [Step::Source, Step::Hook, Step::Key, Step::Grant] {
            loop {
                // A shutdown closes the tracker, and does not wait for what may be many more steps.
                if self.unlinks.is_closed() {
                    return Ok(Came::SoFar(self.clock.now()));
                }
                match self.step(work, link, forge, step).await? {
                    Stepped::Nothing => break,
                    Stepped::Wait(wait) => return Ok(Came::SoFar(self.clock.now().plus(wait))),
                    Stepped::Settled => work.body.limited_since = None,
                }
                if self.keep_progress(work).await? == Hold::Lost {
                    return Ok(Came::Lost);
                }
            }
        }
        Ok(Came::ToItsEnd)
    }

    /// Keeps how far it came, and the receipt for ourselves. What a crash takes with it is done again, and then found done.
    async fn keep_progress(&self, work: &mut Work) -> Result<Hold, Error> {
        let now = self.clock.now();
        work.fresh += 1;
        if work.fresh < work.stride && now.plus(HOLD / 2) < work.held_until {
            return Ok(Hold::Ours);
        }
        self.keep_receipt(work, now.plus(HOLD)).await
    }

    async fn keep_receipt(&self, work: &mut Work, until: Timestamp) -> Result<Hold, Error> {
        let mut tx = self.write().await?;
        let kept = receipts::set_body(&mut tx, work.row.id, &work.body.text(), work.held_until, until).await?;
        tx.commit().await?;
        (work.held_until, work.fresh) = (until, 0);
        Ok(if kept { Hold::Ours } else { Hold::Lost })
    }

    async fn step(&self, work: &mut Work, link: &Link, forge: &Arc<dyn Forge>, step: Step) -> Result<Stepped, Error> {
        let stepped = match step {
            Step::Source => {
                let Some(source) = work.body.plan.sources.last().cloned() else { return Ok(Stepped::Nothing) };
                self.look_who_serves(work, link, &source).await?
            }
            Step::Hook => {
                let Some(hook) = work.body.plan.hooks.last().cloned() else { return Ok(Stepped::Nothing) };
                self.unlink_hook(work, link, forge, &hook).await?
            }
            Step::Key => {
                let Some(key) = work.body.plan.keys.last().cloned() else { return Ok(Stepped::Nothing) };
                self.unlink_key(work, link, forge, &key).await?
            }
            Step::Grant if work.body.plan.grant_settled => return Ok(Stepped::Nothing),
            Step::Grant => self.withdraw(work, link, forge).await?,
        };
        if let Stepped::Settled = stepped {
            let plan = &mut work.body.plan;
            match step {
                Step::Source => drop(plan.sources.pop()),
                Step::Hook => drop(plan.hooks.pop()),
                Step::Key => drop(plan.keys.pop()),
                Step::Grant => plan.grant_settled = true,
            }
        }
        Ok(stepped)
    }

    /// Asks the other links for a source: what one of them serves keeps its hook and key.
    async fn look_who_serves(&self, work: &mut Work, link: &Link, source: &PlannedSource) -> Result<Stepped, Error> {
        let key = SourceKey { id: &source.id, full_name: &source.name };
        let at = SourceAt { account: link.account, provider: &link.provider, key, autobuild: Some(source.autobuild) };
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)
        };
        let words = match tokio::time::timeout(STEP, self.with_source(at, look)).await {
            Ok(Ok(acted)) => format!("`{}` serves `{}` from now on", acted.link.login, source.repository),
            Ok(Err(trouble)) => {
                if let Some(ForgeError::RateLimited { retry_after }) = trouble.forge_error()
                    && let Some(wait) = work.waits(*retry_after, self.clock.now())
                {
                    return Ok(Stepped::Wait(wait));
                }
                match why_kept(trouble, &source.repository)? {
                    Some(words) => words,
                    None => {
                        work.body.stopped.push(source.repository.clone());
                        return Ok(Stepped::Settled);
                    }
                }
            }
            Err(_) => not_known(&source.repository, &no_answer().to_string()),
        };
        work.body.plan.hooks.retain(|hook| hook.source_id != source.id);
        work.body.plan.keys.retain(|key| key.source_id != source.id);
        work.body.kept.push(ReceiptItem::new(format!("webhook and deploy key of `{}` stay: {words}", source.name)));
        Ok(Stepped::Settled)
    }

    /// The last transaction: our tokens go, the receipt is complete.
    async fn close(&self, mut work: Work, link: Option<&Link>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        if let Some(link) = link {
            links::delete(&mut tx, link.id).await?;
        }
        work.body.done.push(ReceiptItem::new("our copy of the tokens was deleted"));
        if work.body.plan.cut {
            let what = format!("there may be more than {LISTED} webhooks or deploy keys of ours: link again and unlink once more");
            work.body.left.push(ReceiptItem::new(what));
        }
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

fn not_known(repository: &str, why: &str) -> String {
    format!("whether another link serves `{repository}` could not be found out now ({why})")
}

/// Why hook and key of a source stay although no other link served it just now; `None`: they do not.
fn why_kept(trouble: SourceTrouble, repository: &str) -> Result<Option<String>, Error> {
    let passing = trouble.is_passing();
    match trouble.kind {
        TroubleKind::Ours(error @ (Error::Store(_) | Error::Internal(_))) => Err(error),
        TroubleKind::Disabled => Ok(Some(format!("another link that is only disabled may serve `{repository}` again"))),
        TroubleKind::Provider | TroubleKind::Unsure => Ok(Some(not_known(repository, &trouble.words))),
        _ if passing => Ok(Some(not_known(repository, &trouble.words))),
        _ => Ok(None),
    }
}
