//! Providers that do not answer are left alone for a while: every vain call takes ten seconds, and the loops serve all accounts.
//!
//! Invariant: in memory and of this process; forgetting it costs some vain calls, never work. A person who asks for a link's health
//! (`health`) is not held up by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slipway_forge::ForgeError;
use slipway_model::{ProviderId, Timestamp};

use super::access::Tried;

/// Vain calls in a row before a provider counts as away.
const PATIENCE: u32 = 3;
const PAUSE: Duration = Duration::from_secs(30);

/// Which providers did not answer lately.
#[derive(Debug, Default)]
pub(crate) struct Away(Mutex<BTreeMap<ProviderId, Vain>>);

#[derive(Debug, Clone, Copy)]
struct Vain {
    calls: u32,
    until: Timestamp,
}

impl Away {
    fn vain(&self) -> MutexGuard<'_, BTreeMap<ProviderId, Vain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the provider is still left alone; `None` when it may be asked.
    pub(super) fn pause(&self, provider: &ProviderId, now: Timestamp) -> Option<Duration> {
        let vain = self.vain().get(provider).copied()?;
        (vain.calls >= PATIENCE && vain.until > now).then(|| vain.until.since(now))
    }

    /// It did not answer.
    pub(crate) fn failed(&self, provider: &ProviderId, now: Timestamp) {
        let mut vain = self.vain();
        let calls = vain.get(provider).map_or(0, |vain| vain.calls).saturating_add(1);
        vain.insert(provider.clone(), Vain { calls, until: now.plus(PAUSE) });
    }

    /// How a call to it ended.
    pub(super) fn heard<T>(&self, provider: &ProviderId, tried: &Result<T, Tried>, now: Timestamp) {
        match tried {
            Err(Tried::Forge(ForgeError::Unreachable { .. })) => self.failed(provider, now),
            Err(Tried::Ours(_)) => {}
            _ => self.answered(provider),
        }
    }

    /// It did, whatever it said.
    pub(super) fn answered(&self, provider: &ProviderId) {
        self.vain().remove(provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_left_alone_after_three_vain_calls_and_tried_once_after_the_pause() {
        let (away, now) = (Away::default(), Timestamp::from_millis(1_000_000));
        let provider: ProviderId = "github".parse().unwrap();
        for _ in 0..PATIENCE {
            assert_eq!(away.pause(&provider, now), None);
            away.failed(&provider, now);
        }
        assert_eq!(away.pause(&provider, now), Some(PAUSE));
        assert_eq!(away.pause(&"other".parse().unwrap(), now), None);
        let later = now.plus(PAUSE);
        assert_eq!(away.pause(&provider, later), None);
        away.failed(&provider, later);
        assert_eq!(away.pause(&provider, later), Some(PAUSE));
        away.answered(&provider);
        assert_eq!(away.pause(&provider, later), None);
    }
}
