//! When the reconciler looks at which source, and how much a provider is asked.
//!
//! Invariants: a look is claimed before it begins; an account asks a provider for no more than [`crate::Config::reconcile_calls`] things an
//! hour, and not at all while the provider wants it quiet. Where a list of the namespace's repositories tells of pushes (`pushed`), the refs
//! themselves are read seldom: the list costs one call for a hundred sources.
//! Deliberately elsewhere: what a look does (`reconcile`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::RngExt as _;
use slipway_forge::ForgeError;
use slipway_model::{AccountId, Autotest, ProviderId, Timestamp};
use slipway_store::reconciling::{self, HookHealth, Watched};
use slipway_store::{StoreError, refs, repositories};

use crate::reconcile::{Left, Missed, SOON};
use crate::{App, Error};

/// Looks at the same time.
const AT_ONCE: usize = 4;
/// Looks that one pass takes on.
const DUE: u32 = 40;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A quiet source with a good webhook, when a list tells of its pushes.
const LISTED_AND_QUIET: Duration = Duration::from_secs(6 * 3600);
/// After trouble that nobody can say the end of.
const AFTER_TROUBLE: Duration = Duration::from_secs(600);

/// Who asks whom.
pub(crate) type Payer<'a> = (AccountId, &'a ProviderId);

/// What each account asked each provider for in this hour. In memory: a restart begins a new hour.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<HashMap<(AccountId, ProviderId), Budget>>);

#[derive(Debug)]
struct Budget {
    began: Timestamp,
    used: u32,
    quiet_until: Timestamp,
}

impl Budgets {
    fn with<T>(&self, (account, provider): Payer<'_>, now: Timestamp, act: impl FnOnce(&mut Budget) -> T) -> T {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let budget =
            held.entry((account, provider.clone())).or_insert(Budget { began: now, used: 0, quiet_until: Timestamp::from_millis(0) });
        if now.since(budget.began) >= HOUR {
            (budget.began, budget.used) = (now, 0);
        }
        act(budget)
    }

    /// When a call may be made again; `None`: now.
    pub(crate) fn waits_until(&self, payer: Payer<'_>, most: u32, now: Timestamp) -> Option<Timestamp> {
        self.with(payer, now, |budget| {
            let full = (budget.used >= most).then(|| budget.began.plus(HOUR));
            let quiet = (budget.quiet_until > now).then_some(budget.quiet_until);
            full.max(quiet)
        })
    }

    /// So many calls may still be made in this hour.
    pub(crate) fn left(&self, payer: Payer<'_>, most: u32, now: Timestamp) -> u32 {
        self.with(payer, now, |budget| most.saturating_sub(budget.used))
    }

    pub(crate) fn spend(&self, payer: Payer<'_>, calls: u32, now: Timestamp) {
        self.with(payer, now, |budget| budget.used = budget.used.saturating_add(calls));
    }

    fn quiet(&self, payer: Payer<'_>, until: Timestamp, now: Timestamp) {
        self.with(payer, now, |budget| budget.quiet_until = budget.quiet_until.max(until));
    }
}

fn payer(watched: &Watched) -> Payer<'_> {
    (watched.account, &watched.provider)
}

/// Up to a fifth more or less, so that what was due together is not due together again.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.8..1.2))
}

impl App {
    /// Looks at the sources that are due; gives how many were looked at. The loop does nothing else.
    ///
    /// # Errors
    /// Only the database's: what a provider says is the matter of its source.
    pub async fn reconcile_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let due = reconciling::list_due(&mut tx, now, DUE).await?;
        let oldest = reconciling::oldest_due(&mut tx, now).await?;
        drop(tx);
        metrics::gauge!("slipway_reconcile_lag_seconds").set(oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
        // Made before they are streamed: a stream that makes them from borrows is no future that a thread may take over.
        let looks: Vec<_> = due.iter().map(|watched| self.look_when_due(watched)).collect();
        let looks: Vec<Result<bool, Error>> = futures_util::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        let mut looked = 0;
        for look in looks {
            looked += usize::from(look?);
        }
        Ok(looked)
    }

    async fn look_when_due(&self, watched: &Watched) -> Result<bool, Error> {
        let now = self.clock.now();
        let waits = self.budgets.waits_until(payer(watched), self.config.reconcile_calls, now);
        let next = match waits {
            Some(until) => until.plus(jittered(Duration::from_secs(60))),
            None => now.plus(jittered(self.config.reconcile_interval)),
        };
        let mut tx = self.write().await?;
        let claimed = reconciling::claim(&mut tx, watched.autobuild, watched.due_at, next).await?;
        tx.commit().await?;
        if !claimed || waits.is_some() {
            return Ok(false);
        }
        let claimed = Watched { due_at: next, ..watched.clone() };
        let (looked, calls) = slipway_forge::counting(self.look(&claimed)).await;
        self.budgets.spend(payer(watched), calls, now);
        let after = match looked {
            Ok(Left::Something) => jittered(SOON.max(self.config.reconcile_interval.min(HOUR / 60))),
            Ok(Left::Nothing) => self.next_look(watched).await?,
            Err(Missed::Ours(Error::Store(error @ StoreError::Unavailable(_)))) => return Err(error.into()),
            Err(missed) => self.after_trouble(watched, &missed),
        };
        let mut tx = self.write().await?;
        reconciling::settle(&mut tx, watched.autobuild, next, self.clock.now().plus(after)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// How long until the next look at a source whose refs were just read.
    async fn next_look(&self, watched: &Watched) -> Result<Duration, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let pushed = refs::last_push_at(&mut tx, watched.autobuild).await?.unwrap_or(watched.created_at);
        let settings = repositories::get_autobuild_by_id(&mut tx, watched.autobuild).await?;
        // The lists tell of pushes alone, not of what becomes of pull requests.
        let listed = watched.pushed.is_some() && settings.is_none_or(|settings| settings.autotest == Autotest::Off);
        let interval = self.config.reconcile_interval;
        let quiet = now.since(pushed.max(watched.created_at)) >= DAY;
        let after = match (listed, watched.hook, quiet) {
            (true, HookHealth::Right, true) => LISTED_AND_QUIET,
            (true, _, _) | (false, HookHealth::Right, true) => HOUR,
            (false, _, _) => interval,
        };
        Ok(jittered(after.max(interval)))
    }

    fn after_trouble(&self, watched: &Watched, missed: &Missed) -> Duration {
        let now = self.clock.now();
        metrics::counter!("slipway_reconcile_missed_total").increment(1);
        match missed {
            Missed::Ours(error) => {
                tracing::warn!(source = %watched.source_name, %error, "a source could not be compared");
                jittered(AFTER_TROUBLE.max(self.config.reconcile_interval))
            }
            Missed::Trouble(trouble) => {
                tracing::debug!(source = %watched.source_name, error = %trouble, "a source could not be looked at");
                if let Some(ForgeError::RateLimited { retry_after }) = trouble.forge_error() {
                    self.budgets.quiet(payer(watched), now.plus(*retry_after), now);
                    return retry_after.saturating_add(jittered(Duration::from_secs(60)));
                }
                let wait = if trouble.is_passing() { self.config.reconcile_interval } else { HOUR.max(self.config.reconcile_interval) };
                jittered(wait)
            }
        }
    }

    /// After a start every source is looked at once within an interval, wherever no list tells of its pushes: nobody knows what was missed.
    pub(crate) async fn look_at_everything_soon(&self) -> Result<(), Error> {
        let interval = self.config.reconcile_interval;
        let (now, mut after) = (self.clock.now(), None);
        loop {
            let mut tx = self.write().await?;
            let later = reconciling::list_later(&mut tx, now.plus(interval), after, 500).await?;
            for id in &later {
                let spread = interval.mul_f64(rand::random_range(0.0..1.0));
                reconciling::hurry(&mut tx, *id, now.plus(spread)).await?;
            }
            tx.commit().await?;
            match later.last() {
                Some(last) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_model::{AutobuildId, RepositoryId};

    use super::*;

    fn watched() -> Watched {
        Watched {
            autobuild: AutobuildId::new(),
            repository: RepositoryId::new(),
            account: AccountId::new(),
            provider: "github".parse().unwrap(),
            source_id: "1".into(),
            source_name: "a/b".into(),
            created_at: Timestamp::from_millis(0),
            pushed: None,
            marker: None,
            checked_at: None,
            due_at: Timestamp::from_millis(0),
            hook: HookHealth::Right,
            problem: None,
        }
    }

    #[test]
    fn an_account_waits_when_its_hour_is_used_up_or_the_provider_wants_quiet() {
        let (budgets, here, there) = (Budgets::default(), watched(), watched());
        let (one, other) = (payer(&here), payer(&there));
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(budgets.waits_until(one, 10, now), None);
        budgets.spend(one, 4, now.plus(HOUR / 2));
        assert_eq!((budgets.left(one, 10, now.plus(HOUR / 2)), budgets.left(other, 10, now.plus(HOUR / 2))), (6, 10));
        budgets.spend(one, 8, now.plus(HOUR / 2));
        assert_eq!(budgets.left(one, 10, now.plus(HOUR / 2)), 0);
        assert_eq!(budgets.waits_until(one, 10, now.plus(HOUR / 2)), Some(now.plus(HOUR)));
        assert_eq!(budgets.waits_until(other, 10, now.plus(HOUR / 2)), None, "another account's hour");
        assert_eq!(budgets.waits_until(one, 10, now.plus(HOUR)), None, "a new hour");
        budgets.quiet(one, now.plus(3 * HOUR), now.plus(HOUR));
        assert_eq!(budgets.waits_until(one, 10, now.plus(2 * HOUR)), Some(now.plus(3 * HOUR)));
        assert_eq!(budgets.waits_until(one, 10, now.plus(3 * HOUR)), None);
    }
}
