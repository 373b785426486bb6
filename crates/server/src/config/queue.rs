//! `[queue]`: how many builds may run at once, in all and in each namespace.
//!
//! Invariant: 0 is no limit, everywhere; a namespace is named as people name it, whether it stands yet or not.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use slipway_model::{AccountName, QueueLimits};

use super::keys::{self, NAMESPACES};
use super::layers::Raw;
use super::resolve::{Resolver, Shown};
use crate::failure::Failure;

/// More at once are no limit.
const MOST: u32 = 100_000;

/// Reads the limits.
pub(super) fn limits(r: &mut Resolver<'_>) -> Result<QueueLimits, Failure> {
    let hint = "for example `8`; `0` is no limit";
    let installation = r.value(&keys::QUEUE_RUNNING, "0", hint, limit)?;
    let namespace = r.value(&keys::QUEUE_PER_NAMESPACE, "0", hint, limit)?;
    let mut namespaces = BTreeMap::new();
    for (text, raw) in r.namespaces() {
        let (name, limit) = one(&text, &raw)?;
        r.show_as(Shown { name: key(&text), text: raw.text, source: raw.source });
        namespaces.insert(name, limit);
    }
    Ok(QueueLimits { installation, namespace, namespaces })
}

fn key(namespace: &str) -> String {
    format!("{}.{}.{namespace}", NAMESPACES.0, NAMESPACES.1)
}

fn one(text: &str, raw: &Raw) -> Result<(AccountName, Option<NonZeroU32>), Failure> {
    let shown: String = text.chars().take(200).collect();
    let name = text.parse().map_err(|problem| {
        let what = format!("`{}` ({}): it is no name of a namespace: {problem}", key(&shown), raw.source);
        Failure::usage(what, "name a user or an organization")
    })?;
    let refused = |problem| Failure::usage(format!("`{}` is `{}` ({}): {problem}", key(&shown), raw.text, raw.source), "`0` is no limit");
    Ok((name, limit(&raw.text).map_err(refused)?))
}

fn limit(text: &str) -> Result<Option<NonZeroU32>, String> {
    let number = text.parse().ok().filter(|n| *n <= MOST).ok_or_else(|| format!("expected a number from 0 to {MOST}"))?;
    Ok(NonZeroU32::new(number))
}
