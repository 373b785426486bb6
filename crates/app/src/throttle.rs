//! What slows guessing down: failures are counted per name, per address and per account, each with a growing delay.
//!
//! Invariants: a try is counted as a failure before it is made, and taken back when it was none; so many tries at once gain nothing,
//! in one process or in several. Names that nobody has are counted like all others.

use std::net::IpAddr;
use std::time::Duration;

use slipway_model::{AccountId, Timestamp};
use slipway_store::{ReadTx, StoreError, WriteTx, sign_in};

use crate::{Error, Refusal, RefusalKind};

/// No name is longer; what is cut off cannot tell two accounts apart.
const NAME_CHARACTERS: usize = 64;

/// How failures turn into waiting.
#[derive(Clone, Copy, Debug)]
struct Delays {
    /// So many failures cost nothing.
    free: u64,
    /// The longest wait; the first is a second, each following one twice as long.
    longest: Duration,
    /// After so long without a failure all are forgotten.
    forgotten: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);
/// When the last trace of failures may go.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
const OF_NAMES: Delays = Delays { free: 5, longest: Duration::from_secs(60), forgotten: FORGOTTEN };
/// Many people may share an address.
const OF_ADDRESSES: Delays = Delays { free: 20, longest: Duration::from_secs(15 * 60), forgotten: HOUR };
/// A code has six digits only, and who guesses it knows the password already.
const OF_CODES: Delays = Delays { free: 5, longest: Duration::from_secs(15 * 60), forgotten: FORGOTTEN };

impl Delays {
    fn after(self, failures: u64) -> Option<Duration> {
        let doublings = failures.checked_sub(self.free + 1)?;
        let seconds = 1_u64 << doublings.min(20);
        Some(Duration::from_secs(seconds).min(self.longest))
    }
}

/// Something whose failures are counted together.
#[derive(Clone, Debug)]
pub(crate) struct Slowed {
    key: String,
    delays: Delays,
}

impl Slowed {
    /// Sign-ins under a name, as it was typed, whether or not somebody has it.
    pub(crate) fn name(name: &str) -> Self {
        let name: String = name.chars().take(NAME_CHARACTERS).collect();
        Self { key: format!("account:{name}"), delays: OF_NAMES }
    }

    /// Sign-ins from an address. A household or a server has 64 bits of IPv6 to itself, so those count as one.
    pub(crate) fn address(address: &str) -> Self {
        let place = match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) => address.chars().take(NAME_CHARACTERS).collect(),
        };
        Self { key: format!("address:{place}"), delays: OF_ADDRESSES }
    }

    /// Accounts that are made from an address, whether or not it succeeds. Apart from its sign-ins.
    pub(crate) fn sign_ups(address: &str) -> Self {
        let Self { key, delays } = Self::address(address);
        Self { key: format!("sign-up:{key}"), delays }
    }

    /// Codes of an account's second factor.
    pub(crate) fn codes(account: AccountId) -> Self {
        Self { key: format!("code:{account}"), delays: OF_CODES }
    }

    /// The password of somebody who is signed in. Apart from the sign-ins, so that strangers who guess there cannot bar it here.
    pub(crate) fn proofs(account: AccountId) -> Self {
        Self { key: format!("password:{account}"), delays: OF_NAMES }
    }
}

/// A failure that was counted before its time.
#[derive(Debug)]
pub(crate) struct Counted {
    key: String,
    block: Timestamp,
}

fn too_many(now: Timestamp, until: Timestamp) -> Error {
    let wait = until.since(now).max(Duration::from_secs(1));
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!("there were too many attempts, the next one is possible in {seconds} s");
    Refusal::new(RefusalKind::TooMany, "too_many_attempts", detail).hint("wait so long, then try again").retry_after(wait).into()
}

/// Refuses while one of these is blocked: the cheap question before the costly work.
pub(crate) async fn look(tx: &mut ReadTx, slowed: &[Slowed], now: Timestamp) -> Result<(), Error> {
    let mut latest = None;
    for one in slowed {
        latest = latest.max(sign_in::blocked_until(tx, &one.key, now).await?);
    }
    latest.map_or(Ok(()), |until| Err(too_many(now, until)))
}

/// Counts a try as a failure, or refuses it. Nothing is counted when it is refused and the change is dropped.
pub(crate) async fn count(tx: &mut WriteTx, slowed: &Slowed, now: Timestamp) -> Result<Counted, Error> {
    let forget = now.minus(slowed.delays.forgotten);
    let Some(failures) = sign_in::count_failure(tx, &slowed.key, now, forget).await? else {
        let until = sign_in::blocked_until(tx, &slowed.key, now).await?;
        return Err(too_many(now, until.unwrap_or(now)));
    };
    let block = slowed.delays.after(failures).map_or(now, |delay| now.plus(delay));
    if block > now {
        sign_in::block(tx, &slowed.key, block).await?;
    }
    Ok(Counted { key: slowed.key.clone(), block })
}

/// The try was no failure; the others stay counted.
pub(crate) async fn forgive(tx: &mut WriteTx, counted: &Counted) -> Result<(), StoreError> {
    sign_in::forgive(tx, &counted.key, counted.block).await
}

/// Who tried has shown to be the right one: all failures are forgotten.
pub(crate) async fn clear(tx: &mut WriteTx, slowed: &Slowed) -> Result<(), StoreError> {
    sign_in::clear_failures(tx, &slowed.key).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let seconds = |delays: Delays, failures| delays.after(failures).map(|delay| delay.as_secs());
        let expected =
            [(0, None), (5, None), (6, Some(1)), (7, Some(2)), (8, Some(4)), (11, Some(32)), (12, Some(60)), (u64::MAX, Some(60))];
        for (failures, delay) in expected {
            assert_eq!(seconds(OF_NAMES, failures), delay, "{failures}");
        }
        for (failures, delay) in [(20, None), (21, Some(1)), (30, Some(512)), (31, Some(900)), (1000, Some(900))] {
            assert_eq!(seconds(OF_ADDRESSES, failures), delay, "{failures}");
        }
    }

    #[test]
    fn addresses_of_one_place_are_one() {
        let key = |address| Slowed::address(address).key;
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert!(key(&"x".repeat(10_000)).len() < 100);
        assert!(Slowed::name(&"é".repeat(10_000)).key.len() < 200);
    }
}
