//! Whether a standing hook is still what we made: a look at the provider on a timer, and the repair of what was found.
//!
//! Invariant: what a person did at the provider is undone at most once a week without a person's word here; then the problem is shown,
//! with a button. Until a hook is right again the reconciler finds the pushes that it does not tell of.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, RemoteHook};
use slipway_model::Timestamp;
use slipway_store::hooks::{self, Hook, HookState, Look};

use super::people::LastDelivery;
use super::{STEP, jittered, source_of};
use crate::at_source::Away;
use crate::{App, Error};

/// The wait between two looks: of a hook that stays right it grows to [`LONGEST`], so that many quiet sources cost little.
pub(super) const FIRST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// For how many things an account may ask a provider in an hour, to look at webhooks: thousands that were made together come due together.
const CALLS: u32 = 2000;
/// Looks that had to wait for the next hour are not all made in its first second.
const AFTER_THE_HOUR: Duration = Duration::from_secs(600);
/// After a provider gave no answer.
const SOON: Duration = Duration::from_secs(600);
/// Deleted or switched off at the provider: mostly a person's deliberate act.
const REPAIR_DELIBERATE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Anything else: at most three times a day.
const REPAIR_DRIFT: Duration = Duration::from_secs(8 * 3600);

/// What is wrong with a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fault {
    /// It is not there any more.
    Gone,
    /// It is switched off.
    Off,
    /// Its address, events or secret are not ours.
    Drifted(String),
    /// The provider does not reach us: nothing there would help.
    Failing(String),
}

impl Fault {
    fn words(&self) -> String {
        match self {
            Self::Gone => "the webhook was deleted at the provider".into(),
            Self::Off => "the webhook is switched off at the provider".into(),
            Self::Drifted(words) | Self::Failing(words) => words.clone(),
        }
    }

    /// How long after the last repair the next one is made without a person; `None` when none would help.
    fn repaired_again_after(&self) -> Option<Duration> {
        match self {
            Self::Gone | Self::Off => Some(REPAIR_DELIBERATE),
            Self::Drifted(_) => Some(REPAIR_DRIFT),
            Self::Failing(_) => None,
        }
    }
}

/// Ours among the webhooks of a repository: by its id, or by its address when it was made anew.
fn find<'a>(hook: &Hook, address: &str, remotes: &'a [RemoteHook]) -> Option<&'a RemoteHook> {
    let by_id = remotes.iter().find(|remote| Some(&remote.id) == hook.remote_id.as_ref());
    by_id.filter(|remote| remote.url == address).or_else(|| remotes.iter().find(|remote| remote.url == address)).or(by_id)
}

/// What is wrong with a hook as it stands. `heard` is when its newest delivery came to us.
fn judge(remote: &RemoteHook, address: &str, events: &[&str], heard: Option<Timestamp>) -> Option<Fault> {
    if remote.url != address {
        return Some(Fault::Drifted("the webhook's address was changed at the provider".into()));
    }
    if !remote.active {
        return Some(Fault::Off);
    }
    let missing: Vec<&str> = events.iter().filter(|event| !remote.events.iter().any(|sent| sent == *event)).copied().collect();
    if !missing.is_empty() {
        return Some(Fault::Drifted(format!("the webhook does not send `{}` any more", missing.join("`, `"))));
    }
    if remote.signs == Some(false) {
        return Some(Fault::Drifted("the webhook's secret was removed at the provider, so its deliveries are refused".into()));
    }
    let last = remote.last_delivery.as_ref()?;
    let answered = last.status.is_some_and(|status| (200..300).contains(&status));
    let heard_since = last.at.zip(heard).is_some_and(|(failed, heard)| heard > failed);
    match last.status {
        _ if answered || heard_since => None,
        Some(status @ (401 | 403)) => Some(Fault::Drifted(format!(
            "the provider says that we refused its last delivery with {status}, so it signs with another secret"
        ))),
        Some(status) => Some(Fault::Failing(format!("the provider's last delivery was answered {status}: {}", last.words))),
        None => Some(Fault::Failing(format!("the provider's last delivery got no answer: {}", last.words))),
    }
}

impl App {
    /// Looks at hooks whose time has come; gives how many.
    ///
    /// # Errors
    /// Only the database's: what a provider says is kept in the rows.
    pub async fn check_hooks_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let mut tx = self.read().await?;
        let due = hooks::list_checks_due(&mut tx, now, 20).await?;
        drop(tx);
        for hook in &due {
            let (now, payer) = (self.clock.now(), (hook.account, &hook.provider));
            let waits = self.hook_budgets.waits_until(payer, CALLS, now);
            let next = waits.map_or(now.plus(STEP), |until| until.plus(jittered(AFTER_THE_HOUR)));
            let mut tx = self.write().await?;
            let ours = hooks::claim_check(&mut tx, hook, next).await?;
            tx.commit().await?;
            if ours && waits.is_none() {
                let (checked, calls) = slipway_forge::counting(self.check_hook(hook)).await;
                self.hook_budgets.spend(payer, calls, now);
                checked?;
            }
        }
        Ok(due.len())
    }

    /// Looks at a standing hook, which the caller has claimed, and repairs it where that is ours to do.
    pub(super) async fn check_hook(&self, hook: &Hook) -> Result<(), Error> {
        let address = self.hook_address(&hook.provider, hook.id);
        let remotes = match self.hooks_there(hook, address.as_str()).await {
            Ok(remotes) => remotes,
            Err(away) => return self.look_failed(hook, &away).await,
        };
        let mut tx = self.read().await?;
        let heard = hooks::last_delivery(&mut tx, hook.id).await?.map(|(at, _)| at);
        drop(tx);
        let events = self.forge(&hook.provider)?.hook_events();
        let remote = find(hook, address.as_str(), &remotes);
        let fault = remote.map_or(Some(Fault::Gone), |remote| judge(remote, address.as_str(), events, heard));
        let last = remote.and_then(|remote| remote.last_delivery.as_ref()).map(|last| LastDelivery::from(last).to_json());
        let now = self.clock.now();
        match fault {
            None => {
                let next = now.plus(jittered(pace(hook, now)));
                self.looked(
                    hook,
                    &Look { remote_id: remote.map(|remote| remote.id.as_str()), problem: None, last_there: last.as_deref(), next },
                )
                .await
            }
            Some(fault) => {
                let next = now.plus(jittered(FIRST));
                self.looked(hook, &Look { remote_id: None, problem: Some(&fault.words()), last_there: last.as_deref(), next }).await?;
                self.repair_on_its_own(hook, &fault, now).await
            }
        }
    }

    /// The webhooks of the hook's source. Ours that is not among them may stand under another name by now, so that is asked for first.
    async fn hooks_there(&self, hook: &Hook, address: &str) -> Result<Vec<RemoteHook>, Away> {
        let before = self.hooks_at(hook, &hook.source_name).await;
        match &before {
            Ok(remotes) if find(hook, address, remotes).is_some() => return before,
            Err(away) if !matches!(away.forge_error(), Some(ForgeError::NotFound)) => return before,
            _ => {}
        }
        let today = self.source_name_today(source_of(hook)).await?;
        if today == hook.source_name { before } else { self.hooks_at(hook, &today).await }
    }

    async fn hooks_at(&self, hook: &Hook, name: &str) -> Result<Vec<RemoteHook>, Away> {
        let list = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.hooks(&token, name).await };
        Ok(self.with_source(source_of(hook), list).await?.value)
    }

    async fn looked(&self, hook: &Hook, look: &Look<'_>) -> Result<(), Error> {
        let mut tx = self.write().await?;
        hooks::set_checked(&mut tx, hook.id, look, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// The provider gave no list. A passing trouble says nothing of the hook.
    async fn look_failed(&self, hook: &Hook, away: &Away) -> Result<(), Error> {
        let now = self.clock.now();
        if let Some(wait) = away.passes(SOON) {
            let mut tx = self.write().await?;
            hooks::put_off_check(&mut tx, hook.id, now.plus(jittered(wait))).await?;
            return Ok(tx.commit().await?);
        }
        let problem = format!("nobody knows whether the webhook still stands: {away}");
        let look =
            Look { remote_id: None, problem: Some(&problem), last_there: hook.last_there.as_deref(), next: now.plus(jittered(FIRST)) };
        self.looked(hook, &look).await
    }

    async fn repair_on_its_own(&self, hook: &Hook, fault: &Fault, now: Timestamp) -> Result<(), Error> {
        let due = fault.repaired_again_after().is_some_and(|wait| hook.repaired_at.is_none_or(|last| now.since(last) >= wait));
        if !due {
            return Ok(());
        }
        tracing::info!(hook = %hook.id, source = %hook.source_name, fault = %fault.words(), "a webhook is repaired");
        // Written before it is done: a provider that undoes every repair must not make us repair for ever, whatever fails in between.
        let mut tx = self.write().await?;
        hooks::set_repaired(&mut tx, hook.id, &fault.words(), now).await?;
        tx.commit().await?;
        if let Err(away) = self.renew_hook(hook).await? {
            let problem = format!("{}; repairing it failed: {away}", fault.words());
            let next = now.plus(jittered(FIRST));
            self.looked(hook, &Look { remote_id: None, problem: Some(&problem), last_there: hook.last_there.as_deref(), next }).await?;
        }
        Ok(())
    }

    /// Makes a hook what it should be. One of ours that now has another address is not left behind.
    pub(super) async fn renew_hook(&self, hook: &Hook) -> Result<Result<(), Away>, Error> {
        let put_up = match self.ensure_hook(hook).await {
            Ok(put_up) => put_up,
            Err(away) => return Ok(Err(away)),
        };
        self.hook_stands(hook, &put_up).await?;
        if let Some(old) = hook.remote_id.as_deref().filter(|old| *old != put_up.remote.id && hook.state == HookState::Standing) {
            let name = put_up.name.as_str();
            let remove = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.delete_hook(&token, name, old).await };
            if let Err(trouble) = self.with_source(source_of(hook), remove).await {
                tracing::warn!(hook = %hook.id, source = name, %trouble, "the webhook before this one could not be removed");
            }
        }
        Ok(Ok(()))
    }
}

/// Twice the time since the last look.
fn pace(hook: &Hook, now: Timestamp) -> Duration {
    let since = hook.checked_at.filter(|_| hook.problem.is_none()).map_or(Duration::ZERO, |last| now.since(last));
    (since * 2).clamp(FIRST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_forge::DeliveryOutcome;

    const OURS: &str = "https://slipway.test/hooks/github/1";

    fn remote() -> RemoteHook {
        RemoteHook { id: "1".into(), url: OURS.into(), active: true, events: vec!["push".into()], signs: Some(true), last_delivery: None }
    }

    fn told(status: Option<u16>, at: Option<i64>) -> RemoteHook {
        let outcome = DeliveryOutcome { at: at.map(Timestamp::from_millis), status, words: "timed out".into() };
        RemoteHook { last_delivery: Some(outcome), ..remote() }
    }

    #[test]
    fn a_hook_is_right_or_it_is_said_what_is_wrong() {
        let of = |remote: &RemoteHook, heard: Option<i64>| judge(remote, OURS, &["push"], heard.map(Timestamp::from_millis));
        assert_eq!(of(&remote(), None), None);
        assert_eq!(of(&RemoteHook { events: vec!["issues".into(), "push".into()], ..remote() }, None), None);
        assert_eq!(of(&RemoteHook { active: false, ..remote() }, None), Some(Fault::Off));
        let drifted = [
            RemoteHook { url: "https://elsewhere.test/".into(), ..remote() },
            RemoteHook { events: vec!["issues".into()], ..remote() },
            RemoteHook { signs: Some(false), ..remote() },
            told(Some(401), None),
        ];
        for remote in drifted {
            assert!(matches!(of(&remote, None), Some(Fault::Drifted(_))), "{remote:?}");
        }
        assert_eq!(of(&RemoteHook { signs: None, ..remote() }, None), None, "not told");
        assert_eq!(of(&told(Some(202), None), None), None);
        assert!(matches!(of(&told(Some(502), None), None), Some(Fault::Failing(words)) if words.contains("502")));
        assert!(matches!(of(&told(None, Some(5)), Some(4)), Some(Fault::Failing(words)) if words.contains("timed out")));
        assert_eq!(of(&told(None, Some(5)), Some(6)), None, "a later one came");
    }

    #[test]
    fn what_a_person_did_is_undone_seldom_and_what_does_not_help_never() {
        assert!(Fault::Gone.repaired_again_after() > Fault::Drifted(String::new()).repaired_again_after());
        assert_eq!(Fault::Failing(String::new()).repaired_again_after(), None);
    }
}
