//! What a waiting build waits for: its place, the cause in words, and when it may begin.
//!
//! The beginning is a guess, and none is given rather than a bad one: builds in front are taken to last as long as the last ones of this
//! repository, running ones as long as the last ones of theirs (the median of each), and no other build is taken to come.
//! Deliberately elsewhere: the order of the queue (`model::QueueLimits`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use slipway_model::{RepositoryId, Timestamp};
use slipway_store::builds::{self, Build, Running};
use slipway_store::{ReadTx, accounts};

use crate::{App, BuilderView, Error};

/// So many builds of a repository say how long its next one takes.
const LAST: u32 = 20;
/// Further away than this many builds, nothing is worth guessing.
const FAR: u64 = 10_000;

/// How a waiting build stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// How many builds will be taken before it: of all namespaces in turn, if none ends, none comes, and no limit holds one back. `None` while
    /// it is in nobody's turn, because somebody has to approve of it first.
    pub position: Option<u64>,
    /// For what it waits, in words.
    pub waits_for: String,
    /// When it may begin; `None` while that cannot be told from what was built before.
    pub starts_at: Option<Timestamp>,
}

impl App {
    /// How a build in the queue stands.
    pub(crate) async fn waiting(&self, tx: &mut ReadTx, build: &Build) -> Result<Waiting, Error> {
        if build.terms.await_approval() {
            let waits_for = format!("the approval of {} by somebody who may write", build.commit.short());
            return Ok(Waiting { position: None, waits_for, starts_at: None });
        }
        let now = self.clock.now();
        let position = builds::queue_position(tx, build.id, now).await?;
        let builders = self.list_builders_in(tx).await?;
        let running = builds::list_running(tx).await?;
        let namespace = accounts::get(tx, build.account).await?.map(|account| account.name);
        let own = running.iter().filter(|other| other.account == build.account).count();
        let held = namespace.as_ref().and_then(|name| self.config.queue.held(name, own as u64, running.len() as u64));
        let no_engine = without_engine(&builders);
        let waits_for = if let Some(text) = &no_engine {
            text.clone()
        } else if build.available_at > now {
            format!("the pause before the next attempt, until {}", build.available_at)
        } else if let Some(held) = held {
            held.to_string()
        } else {
            let places = places(&builders);
            let busy =
                builders.iter().filter(|builder| can_build(builder)).all(|builder| builder.running >= u64::from(builder.builder.parallel));
            if busy { format!("a free place on a builder; all {places} are taken") } else { "a builder to take it".to_owned() }
        };
        let starts_at = if no_engine.is_none() {
            let limits = namespace.map(|name| self.config.queue.of(&name)).unwrap_or_default();
            let places = self.config.queue.installation.map_or(places(&builders), |limit| places(&builders).min(limit.get() as usize));
            let queue = Queue { places, own_places: limits.map_or(places, |limit| places.min(limit.get() as usize)), position };
            self.begin_in(tx, build, &queue, &running).await?.map(|wait| now.plus(wait).max(build.available_at))
        } else {
            None
        };
        Ok(Waiting { position: Some(position), waits_for, starts_at })
    }

    /// How long the build waits still.
    async fn begin_in(&self, tx: &mut ReadTx, build: &Build, queue: &Queue, running: &[Running]) -> Result<Option<Duration>, Error> {
        let now = self.clock.now();
        let Some(each) = median(builds::list_durations(tx, build.repository, LAST).await?) else { return Ok(None) };
        let mut usual: BTreeMap<RepositoryId, Duration> = BTreeMap::from([(build.repository, each)]);
        for other in running {
            if let Entry::Vacant(unknown) = usual.entry(other.repository) {
                let last = builds::list_durations(tx, other.repository, LAST).await?;
                unknown.insert(median(last).unwrap_or(each));
            }
        }
        let left = |other: &Running| usual[&other.repository].saturating_sub(now.since(other.started_at));
        let all: Vec<Duration> = running.iter().map(left).collect();
        let own: Vec<Duration> = running.iter().filter(|other| other.account == build.account).map(left).collect();
        // A namespace with a limit has as many places as that, whoever else is in front.
        let in_all = free_after(queue.places, all, queue.position, each);
        let in_own = if queue.own_places < queue.places { free_after(queue.own_places, own, 0, each) } else { Some(Duration::ZERO) };
        Ok(in_all.zip(in_own).map(|(in_all, in_own)| in_all.max(in_own)))
    }
}

/// What the beginning is reckoned from.
struct Queue {
    /// How many builds can run at once.
    places: usize,
    /// How many of the namespace.
    own_places: usize,
    /// How many are in front.
    position: u64,
}

fn can_build(builder: &BuilderView) -> bool {
    builder.online && builder.problem.is_none()
}

fn places(builders: &[BuilderView]) -> usize {
    builders.iter().filter(|builder| can_build(builder)).map(|builder| builder.builder.parallel as usize).sum()
}

/// Why nothing is built at all.
fn without_engine(builders: &[BuilderView]) -> Option<String> {
    let online: Vec<_> = builders.iter().filter(|builder| builder.online).collect();
    let Some(first) = online.first() else {
        return Some("no builder is connected; an administrator sees why under Builder nodes".to_owned());
    };
    let all = online.iter().all(|builder| builder.problem.is_some());
    all.then(|| format!("{}: {}", first.problem.as_deref().unwrap_or_default(), first.hint.as_deref().unwrap_or_default()))
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// When one of so many places is free, after those that run have ended and `in_front` others were built, `each` of them for so long.
fn free_after(places: usize, mut running: Vec<Duration>, in_front: u64, each: Duration) -> Option<Duration> {
    if places == 0 || in_front > FAR {
        return None;
    }
    running.sort_unstable();
    // More may run than there are places, when a builder went: those that end first leave no place.
    let over = running.len().saturating_sub(places);
    let mut free: std::collections::BinaryHeap<_> = running.into_iter().skip(over).map(std::cmp::Reverse).collect();
    while free.len() < places.min(10_000) {
        free.push(std::cmp::Reverse(Duration::ZERO));
    }
    for _ in 0..in_front {
        let std::cmp::Reverse(next) = free.pop()?;
        free.push(std::cmp::Reverse(next + each));
    }
    free.pop().map(|std::cmp::Reverse(next)| next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().map(|n| Duration::from_secs(*n)).collect()
    }

    #[test]
    fn the_beginning_is_when_a_place_is_free() {
        let each = Duration::from_secs(10);
        let after = |places, running: &[u64], in_front| free_after(places, seconds(running), in_front, each).map(|wait| wait.as_secs());
        assert_eq!(after(0, &[], 0), None, "nobody builds");
        assert_eq!(after(2, &[5], 0), Some(0), "a place is free");
        assert_eq!(after(2, &[5], 1), Some(5));
        assert_eq!(after(2, &[5, 7], 0), Some(5));
        assert_eq!(after(2, &[5, 7], 2), Some(15));
        assert_eq!(after(1, &[3, 5, 7], 0), Some(7), "the place of the others is gone");
        assert_eq!(after(3, &[], 7), Some(20));
        assert_eq!(after(3, &[], FAR + 1), None);
    }

    #[test]
    fn one_slow_build_says_little() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(seconds(&[4])), Some(Duration::from_secs(4)));
        assert_eq!(median(seconds(&[3, 900, 4])), Some(Duration::from_secs(4)));
    }
}
