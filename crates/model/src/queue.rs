//! Whose turn it is in the queue: pure judgement over what waits and runs, no database.
//!
//! The rule. Of the namespaces that have a build waiting, the one with the fewest running builds is served; of equals the one that was served
//! longest ago; then the one with the oldest build. Within a namespace the oldest build comes first. So a namespace with 100,000 builds
//! waiting delays another one's single build by no more than one turn. A namespace or an installation at its limit waits; nothing is dropped.
//! Deliberately elsewhere: a builder's own limit (it asks for no more than it can run), reading and writing the queue (`store::builds`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use crate::{AccountId, AccountName, BuildId, Timestamp};

/// How many builds may run at once; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// In the whole installation.
    pub installation: Option<NonZeroU32>,
    /// In each namespace that has no limit of its own.
    pub namespace: Option<NonZeroU32>,
    /// Of single namespaces, by name.
    pub namespaces: BTreeMap<AccountName, Option<NonZeroU32>>,
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The namespace's.
    Namespace(AccountName, NonZeroU32),
    /// The installation's.
    Installation(NonZeroU32),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name, limit) => write!(f, "the limit of the namespace `{name}`: {limit} at once, and so many run"),
            Self::Installation(limit) => write!(f, "the limit of the installation: {limit} at once, and so many run"),
        }
    }
}

/// A namespace in which something waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub account: AccountId,
    /// Its name.
    pub namespace: AccountName,
    /// How many of its builds run.
    pub running: u64,
    /// When a build of it was last handed out; the epoch when none ever was.
    pub served_at: Timestamp,
    /// Its oldest build that may be taken now; `None` while all of them pause before another attempt.
    pub first: Option<BuildId>,
}

impl QueueLimits {
    /// The limit of a namespace.
    #[must_use]
    pub fn of(&self, namespace: &AccountName) -> Option<NonZeroU32> {
        self.namespaces.get(namespace).copied().unwrap_or(self.namespace)
    }

    /// Which limit keeps a build of this namespace from being taken, with so many running in it and in all.
    #[must_use]
    pub fn held(&self, namespace: &AccountName, running: u64, running_in_all: u64) -> Option<Held> {
        let reached = |limit: &NonZeroU32, running: u64| running >= u64::from(limit.get());
        let own = self.of(namespace).filter(|limit| reached(limit, running)).map(|limit| Held::Namespace(namespace.clone(), limit));
        own.or_else(|| self.installation.filter(|limit| reached(limit, running_in_all)).map(Held::Installation))
    }

    /// The namespace whose turn it is.
    #[must_use]
    pub fn next<'a>(&self, turns: &'a [Turn], running_in_all: u64) -> Option<&'a Turn> {
        let may = |turn: &&Turn| turn.first.is_some() && self.held(&turn.namespace, turn.running, running_in_all).is_none();
        turns.iter().filter(may).min_by_key(|turn| (turn.running, turn.served_at, turn.first))
    }
}

/// How many builds are taken before the one with `before` others of its namespace in front of it, if none ends, none comes and no limit holds
/// one back. `others` are the other namespaces, each with how many of its builds may be taken now.
#[must_use]
pub fn in_front(mine: &Turn, before: u64, others: &[(Turn, u64)]) -> u64 {
    // It is taken when so many of its namespace run.
    let level = mine.running + before;
    // Among namespaces with equally many running: whoever had more of them at first was served longer ago.
    let order = |turn: &Turn| (Reverse(turn.running), turn.served_at, turn.first.is_none(), turn.first);
    let taken = |(turn, waiting): &(Turn, u64)| {
        let levels = level.saturating_sub(turn.running) + u64::from(turn.running <= level && order(turn) < order(mine));
        levels.min(*waiting)
    };
    before + others.iter().map(taken).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(name: &str, running: u64, served: i64, first: BuildId) -> Turn {
        let namespace = name.parse().expect("name");
        Turn { account: AccountId::new(), namespace, running, served_at: Timestamp::from_millis(served), first: Some(first) }
    }

    fn limit(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    #[test]
    fn the_fewest_running_then_served_longest_ago_then_the_oldest() {
        let (old, new) = (BuildId::new(), BuildId::new());
        let next = |turns: &[Turn]| QueueLimits::default().next(turns, 9).map(|turn| turn.namespace.to_string());
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[turn("aa", 2, 0, old), turn("bb", 1, 9, new)]).as_deref(), Some("bb"));
        assert_eq!(next(&[turn("aa", 1, 5, old), turn("bb", 1, 4, new)]).as_deref(), Some("bb"));
        assert_eq!(next(&[turn("aa", 1, 4, new), turn("bb", 1, 4, old)]).as_deref(), Some("bb"));
        let paused = Turn { first: None, ..turn("aa", 0, 0, old) };
        assert_eq!(next(&[paused, turn("bb", 7, 4, old)]).as_deref(), Some("bb"));
    }

    #[test]
    fn whoever_is_at_a_limit_waits_and_is_told_which() {
        let build = BuildId::new();
        let own = BTreeMap::from([("tight".parse().expect("name"), limit(1)), ("free".parse().expect("name"), None)]);
        let limits = QueueLimits { installation: limit(8), namespace: limit(2), namespaces: own };
        let held = |name: &str, running, all| limits.held(&name.parse().expect("name"), running, all).map(|held| held.to_string());
        assert_eq!(held("acme", 1, 7), None);
        assert_eq!(held("acme", 2, 7).as_deref(), Some("the limit of the namespace `acme`: 2 at once, and so many run"));
        assert_eq!(held("tight", 1, 7).as_deref(), Some("the limit of the namespace `tight`: 1 at once, and so many run"));
        assert_eq!(held("free", 7, 7), None);
        assert_eq!(held("free", 7, 8).as_deref(), Some("the limit of the installation: 8 at once, and so many run"));
        let turns = [turn("tight", 1, 0, build), turn("acme", 2, 0, build), turn("free", 5, 0, build)];
        assert_eq!(limits.next(&turns, 7).map(|turn| turn.namespace.as_str()), Some("free"));
        assert_eq!(limits.next(&turns, 8), None);
    }

    /// Serves everything by the rule, and looks when each build came.
    #[test]
    fn a_place_is_when_the_rule_takes_it() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let mut state: Vec<(Turn, Vec<BuildId>)> = Vec::new();
            for number in 0..=random(5) {
                let waiting: Vec<BuildId> = (0..=random(6)).map(|_| BuildId::new()).collect();
                let served = i64::try_from(random(3)).expect("small");
                state.push((turn(&format!("n{number}x"), random(4), served, waiting[0]), waiting));
            }
            let mut told = Vec::new();
            for (at, (mine, waiting)) in state.iter().enumerate() {
                let others = state.iter().enumerate().filter(|(other, _)| *other != at);
                let others: Vec<(Turn, u64)> = others.map(|(_, (turn, waiting))| (turn.clone(), waiting.len() as u64)).collect();
                told.extend((0..).zip(waiting).map(|(before, build)| (in_front(mine, before, &others), *build)));
            }
            told.sort_unstable();
            let (mut served, mut now) = (Vec::new(), 100);
            while let Some(account) = {
                let turns: Vec<Turn> = state.iter().map(|(turn, _)| turn.clone()).collect();
                QueueLimits::default().next(&turns, 0).map(|turn| turn.account)
            } {
                let (turn, waiting) = state.iter_mut().find(|(turn, _)| turn.account == account).expect("one of them");
                served.push((served.len() as u64, waiting.remove(0)));
                (turn.first, turn.running, turn.served_at) = (waiting.first().copied(), turn.running + 1, Timestamp::from_millis(now));
                now += 1;
            }
            assert_eq!(told, served);
        }
    }
}
