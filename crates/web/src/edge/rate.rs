//! How often one credential or address may ask the API.
//!
//! Invariant: memory stays bounded: credentials that have been quiet are forgotten, and the addresses of one IPv6 network are one.
//! Deliberately elsewhere: who is counted (`session`); webhooks, builders, pages and health are never counted.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use slipway_app::Initiator;

use crate::error::{ApiError, Code};

/// After so many requests the quiet ones are forgotten.
const SWEEP_EVERY: u32 = 10_000;

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// A token or session.
    Credential(Initiator),
    /// Everybody without a valid credential at an address.
    Address(IpAddr),
}

impl Counted {
    /// An address. A network of IPv6 gives each of its hosts 2^64 of them, so they count together.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

/// The counters of this process.
#[derive(Debug)]
pub(crate) struct ApiRate {
    limiter: DefaultKeyedRateLimiter<Counted>,
    per_minute: NonZeroU32,
    until_sweep: AtomicU32,
}

impl ApiRate {
    /// So many requests a minute, up to a quarter of them at once.
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_minute.get() / 4).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::keyed(Quota::per_minute(per_minute).allow_burst(burst));
        Self { limiter, per_minute, until_sweep: AtomicU32::new(SWEEP_EVERY) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with the time after which the next one is welcome.
    pub(crate) fn count(&self, who: &Counted) -> Result<(), ApiError> {
        // Two that reach zero at once sweep twice: no harm.
        if self.until_sweep.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.until_sweep.store(SWEEP_EVERY, Ordering::Relaxed);
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(who).map_err(|early| {
            metrics::counter!("slipway_api_rate_limited_total").increment(1);
            let wait = early.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ApiError::new(
                Code::RateLimited,
                format!("more requests than {} a minute came with this credential or address", self.per_minute),
            )
            .hint("wait for the time of `Retry-After`, and ask less often")
            .retry_after(seconds.max(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Counted {
        Counted::address(address.parse().unwrap())
    }

    #[test]
    fn a_burst_is_a_quarter_and_others_are_not_held_back() {
        let rate = ApiRate::new(NonZeroU32::new(8).unwrap());
        let (one, other) = (from("192.0.2.1"), from("192.0.2.2"));
        assert!(rate.count(&one).is_ok() && rate.count(&one).is_ok());
        let refused = rate.count(&one).unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        // Eight a minute: one every seven and a half seconds.
        assert!((1..=8).contains(&refused.retry_after.unwrap()), "{refused:?}");
        assert!(rate.count(&other).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_address() {
        assert_eq!(from("2001:db8:1:2:3::4"), from("2001:db8:1:2:ffff::1"));
        assert_ne!(from("2001:db8:1:2::1"), from("2001:db8:1:3::1"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
    }

    #[test]
    fn the_quiet_are_forgotten() {
        let rate = ApiRate::new(NonZeroU32::new(6_000_000).unwrap());
        for n in 0..2 * SWEEP_EVERY {
            rate.count(&Counted::Address(IpAddr::from(n.to_be_bytes()))).unwrap();
        }
        // At this rate a key is quiet again after a tenth of a millisecond.
        assert!(rate.limiter.len() <= usize::try_from(SWEEP_EVERY).unwrap() + 1000, "{}", rate.limiter.len());
    }
}
