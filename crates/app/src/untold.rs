//! Pull requests that no delivery told of: how a provider lists the open ones is compared with how we know them.
//!
//! Invariants: the first look only learns; what changed a moment ago is left to its delivery; a list that is not whole closes nothing, and
//! one of another repository under the source's name is none; of what such a list does not show, some at a time are asked for by their
//! numbers. What is found is decided like a delivery (`pull_requests`), under the same lock
//! and by the same comparison, so the delivery that comes after all finds that it was told before.
//! Deliberately elsewhere: when a source is looked at (`schedule`), its refs (`reconcile`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::IteratorRandom as _;
use secrecy::SecretString;
use slipway_forge::{
    Coverage, Forge, ForgeError, OpenPullRequests, PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding, SourceKey,
};
use slipway_model::{Autotest, CommitId, RefName, Timestamp};
use slipway_store::pull_requests::{self, PullRequestState};
use slipway_store::{deliveries, repositories};

use crate::matching::Origin;
use crate::pull_requests::{News, Told, kept_by, news};
use crate::receive::no_use_of_links;
use crate::reconcile::{Left, Look, Missed, still_watched};
use crate::{App, Error};

/// Pull requests that are known as open and compared; more than a list has.
const KNOWN: u32 = 2000;
/// So many are asked for by their numbers in one look.
const ASKED: u32 = 20;

/// One that stands otherwise than we know.
struct Untold {
    change: PullRequestChange,
    head: CommitId,
}

/// What a list shows of one that we do not know as it stands; `None` when there is nothing to tell.
fn is_news(known: Option<&PullRequestState>, change: &PullRequestChange) -> bool {
    let Some(known) = known else { return true };
    let same_head = match &change.head {
        PullRequestHead::Commit(commit) => *commit == known.head,
        PullRequestHead::Abbreviated(digits) => known.head.as_str().starts_with(digits.as_str()),
    };
    known.changed_at <= change.changed_at && !(known.is_open && same_head && known.base == change.base)
}

/// The ones that are known as open, for longer than a moment, and that a list does not show.
fn unlisted(known: Vec<PullRequestState>, listed: &OpenPullRequests, fresh: Timestamp) -> Vec<PullRequestState> {
    let shown: BTreeSet<u64> = listed.items.iter().map(|change| change.number).collect();
    known.into_iter().filter(|known| known.changed_at <= fresh && !shown.contains(&known.number)).collect()
}

/// The end of one that is known as open.
fn ended(state: PullRequestState, standing: PullRequestStanding) -> Untold {
    let PullRequestState { number, head, base, changed_at, .. } = state;
    let change = PullRequestChange {
        number,
        standing,
        head: PullRequestHead::Commit(head.clone()),
        // Nothing is built of one that has ended, so it makes no difference.
        origin: PullRequestOrigin::Fork,
        kept_at: None,
        fork: None,
        base,
        changed_at,
        title: String::new(),
    };
    Untold { change, head }
}

impl App {
    /// Looks at the open pull requests of a source, where they are tested, and takes over what no delivery told.
    pub(crate) async fn look_at_pull_requests(&self, look: &Look<'_>, full_name: &str) -> Result<Left, Missed> {
        let watched = look.watched;
        let mut tx = self.read().await?;
        let settings = repositories::get_autobuild_by_id(&mut tx, watched.autobuild).await?;
        drop(tx);
        if settings.is_none_or(|settings| settings.autotest == Autotest::Off) {
            return Ok(Left::Nothing);
        }
        let key = SourceKey { id: &watched.source_id, full_name };
        let ask = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.open_pull_requests(&token, key).await };
        let listed = match self.with_source(Self::source_at(watched), ask).await {
            Ok(acted) => acted.value,
            Err(trouble) if matches!(trouble.forge_error(), Some(ForgeError::RateLimited { .. })) => return Err(Missed::Trouble(trouble)),
            Err(trouble) => {
                // The refs were read: this is no trouble of the source, and the link's own says what it lacks.
                tracing::debug!(source = %watched.source_name, error = %trouble, "its pull requests could not be listed");
                return Ok(Left::Nothing);
            }
        };
        let mut left = Left::Nothing;
        let fresh = look.began.minus(self.grace());
        let mut tx = self.read().await?;
        let known = pull_requests::list_open(&mut tx, watched.autobuild, KNOWN).await?;
        let mut untold = Vec::new();
        for change in &listed.items {
            let known = pull_requests::get(&mut tx, watched.autobuild, change.number).await?;
            if !is_news(known.as_ref(), change) {
                continue;
            }
            if change.changed_at > fresh {
                left = Left::Something;
            } else {
                untold.push(change.clone());
            }
        }
        drop(tx);
        for change in untold {
            // Its branch is somebody else's, is gone, or moved on: the next look knows more.
            let Some(head) = self.head_of(look, key, &change).await? else { continue };
            self.take_pull_request(look, &Untold { change, head }).await?;
        }
        let unlisted = unlisted(known, &listed, fresh);
        if listed.coverage == Coverage::Part {
            let asked = self.ask_for_each(look, key, unlisted, fresh).await?;
            return Ok(if left == Left::Nothing { asked } else { left });
        }
        for state in unlisted {
            self.take_pull_request(look, &ended(state, PullRequestStanding::Closed)).await?;
        }
        Ok(left)
    }

    /// Asks for pull requests by their numbers. Where there are too many for one look they are drawn, so that each has its turn over the looks
    /// of all replicas, and nobody has to remember whose it is.
    async fn ask_for_each(
        &self,
        look: &Look<'_>,
        key: SourceKey<'_>,
        unlisted: Vec<PullRequestState>,
        fresh: Timestamp,
    ) -> Result<Left, Missed> {
        let payer = (look.watched.account, &look.watched.provider);
        let most = ASKED.min(self.budgets.left(payer, self.config.reconcile_calls, self.clock.now())) as usize;
        let drawn = unlisted.into_iter().sample(&mut rand::rng(), most);
        let mut left = Left::Nothing;
        for state in drawn {
            let number = state.number;
            let ask = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.pull_request(&token, key, number).await };
            let found = match self.with_source(Self::source_at(look.watched), ask).await {
                Ok(acted) => acted.value,
                Err(trouble) if matches!(trouble.forge_error(), Some(ForgeError::RateLimited { .. })) => {
                    return Err(Missed::Trouble(trouble));
                }
                Err(trouble) => {
                    tracing::debug!(source = %look.watched.source_name, number, error = %trouble, "a pull request could not be asked for");
                    return Ok(left);
                }
            };
            let untold = match found {
                Some(change) if change.standing == PullRequestStanding::Open => {
                    if !is_news(Some(&state), &change) {
                        continue;
                    }
                    if change.changed_at > fresh {
                        left = Left::Something;
                        continue;
                    }
                    let Some(head) = self.head_of(look, key, &change).await? else { continue };
                    Untold { change, head }
                }
                // Its delivery may still come.
                Some(change) if change.changed_at > fresh => {
                    left = Left::Something;
                    continue;
                }
                Some(change) => ended(state, change.standing),
                None => ended(state, PullRequestStanding::Closed),
            };
            self.take_pull_request(look, &untold).await?;
        }
        Ok(left)
    }

    /// The whole id of the head; `None` when its branch stands elsewhere by now, or is none of the source.
    async fn head_of(&self, look: &Look<'_>, key: SourceKey<'_>, change: &PullRequestChange) -> Result<Option<CommitId>, Missed> {
        let digits = match &change.head {
            PullRequestHead::Commit(commit) => return Ok(Some(commit.clone())),
            PullRequestHead::Abbreviated(digits) => digits,
        };
        let Some(branch) = &change.kept_at else { return Ok(None) };
        let found = self.stands_at(look, kept_by(change, key).full_name, branch).await?;
        Ok(found.filter(|commit| commit.as_str().starts_with(digits.as_str())))
    }

    async fn take_pull_request(&self, look: &Look<'_>, untold: &Untold) -> Result<(), Error> {
        let (watched, change) = (look.watched, &untold.change);
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let Some(autobuild) = still_watched(&mut tx, watched).await? else { return Ok(()) };
        // Under the lock, once more: its delivery may have come in between.
        let known = pull_requests::get(&mut tx, autobuild.id, change.number).await?;
        let is_open = change.standing == PullRequestStanding::Open;
        let still = match &known {
            known if is_open => is_news(known.as_ref(), change) && news(known.as_ref(), &untold.head, &change.base) != News::Nothing,
            Some(known) => known.is_open && known.head == untold.head && known.changed_at == change.changed_at,
            None => false,
        };
        if !still {
            return Ok(());
        }
        // It was there before the source was: providers tell whole seconds.
        let is_older = change.changed_at.plus(Duration::from_secs(1)) <= watched.created_at;
        if known.is_none() && (watched.checked_at.is_none() || is_older) {
            let (head, base) = (untold.head.clone(), change.base.clone());
            let state = PullRequestState { number: change.number, head, base, is_open: true, changed_at: change.changed_at };
            pull_requests::set(&mut tx, autobuild.id, &state).await?;
            return Ok(tx.commit().await?);
        }
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        let detail = format!("pull request #{} of `{}`, of which no delivery told", change.number, watched.source_name);
        let delivery = deliveries::insert_found(&mut tx, autobuild.id, watched.repository, &detail, now).await?;
        let disabled = no_use_of_links(&mut tx, watched.account, &watched.provider).await?;
        let name = RefName::pull_request(change.number);
        let told = Told { autobuild: &autobuild, delivery, origin: &Origin::Reconcile, change, name, disabled };
        let verdicts = if is_open {
            self.opened_or_changed(&mut tx, &told, &rules, &untold.head).await?
        } else {
            self.closed(&mut tx, &told, Some(untold.head.clone())).await?
        };
        deliveries::insert_verdicts(&mut tx, delivery, &verdicts).await?;
        tx.commit().await?;
        self.announce_builds(&verdicts);
        metrics::counter!("slipway_reconcile_found_total").increment(1);
        tracing::info!(source = %watched.source_name, number = change.number, "the reconciler found a pull request that no delivery told");
        Ok(())
    }
}
