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

use crate::{App, Error, NodeState, NodeView};

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
        let (nodes, hindered) = fitting(build.own_engine, self.list_nodes_in(tx).await?);
        let running = builds::list_running(tx).await?;
        let namespace = accounts::get(tx, build.account).await?.map(|account| account.name);
        let own = running.iter().filter(|other| other.account == build.account).count();
        let held = namespace.as_ref().and_then(|name| self.config.queue.held(name, own as u64, running.len() as u64));
        let nobody = nobody_builds(&nodes);
        let waits_for = if let Some(text) = &nobody {
            text.clone()
        } else if build.available_at > now {
            format!("the pause before the next attempt, until {}", build.available_at)
        } else if let Some(held) = held {
            held.to_string()
        } else {
            let full = nodes.iter().filter(|node| node.state.builds()).all(|node| node.state == NodeState::Full);
            if full { busy(&nodes) } else { "a builder to take it".to_owned() }
        };
        let waits_for = format!("{waits_for}{hindered}");
        let starts_at = if nobody.is_none() {
            let limits = namespace.map(|name| self.config.queue.of(&name)).unwrap_or_default();
            let places = self.config.queue.installation.map_or(places(&nodes), |limit| places(&nodes).min(limit.get() as usize));
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

/// The nodes that may take such a build, and words about the others. Where none can have engines of its own, all of them are asked.
fn fitting(own_engine: bool, nodes: Vec<NodeView>) -> (Vec<NodeView>, String) {
    let can = |node: &NodeView| node.builder.obstacle.is_none();
    if !own_engine || !nodes.iter().any(can) {
        return (nodes, String::new());
    }
    let (nodes, others): (Vec<NodeView>, Vec<NodeView>) = nodes.into_iter().partition(can);
    let words = match others.as_slice() {
        [] => String::new(),
        [one] => format!("; the builder `{}` cannot have the engine of its own that this build needs", one.builder.name),
        many => format!("; {} other builders cannot have the engine of its own that this build needs", many.len()),
    };
    (nodes, words)
}

fn places(nodes: &[NodeView]) -> usize {
    nodes.iter().filter(|node| node.state.builds()).map(|node| node.builder.places() as usize).sum()
}

/// What all builders that work are doing, and what becomes of the others.
fn busy(nodes: &[NodeView]) -> String {
    let others: Vec<&NodeView> = nodes.iter().filter(|node| !node.state.builds()).collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", causes(&others)) };
    format!("a free place on a builder; all {} are taken{others}", places(nodes))
}

/// Why nothing is built at all, and what to do.
fn nobody_builds(nodes: &[NodeView]) -> Option<String> {
    if nodes.is_empty() {
        return Some("a builder: there is none; an administrator adds one under Builder nodes".to_owned());
    }
    if nodes.iter().any(|node| node.state.builds()) {
        return None;
    }
    let all: Vec<&NodeView> = nodes.iter().collect();
    // One that is connected is nearer to building than one that is not, and it says itself what is wrong.
    let said = nodes.iter().find_map(|node| match &node.state {
        NodeState::NoEngine { problem, hint } => Some(format!("{problem}: {hint}")),
        NodeState::TooOld(old) => Some(format!("{}: {}", old.detail, old.hint)),
        _ => None,
    });
    Some(match said {
        Some(said) if all.len() == 1 => said,
        Some(said) => format!("a builder: {}; {said}", causes(&all)),
        None => format!("a builder: {}; an administrator {} under Builder nodes", causes(&all), remedy(&all)),
    })
}

/// `all 2 are offline`, or `1 is offline, 1 is draining`.
fn causes(nodes: &[&NodeView]) -> String {
    let words = |node: &NodeView, many: bool| match node.state {
        NodeState::Offline if many => "are offline",
        NodeState::Offline => "is offline",
        NodeState::NoEngine { .. } if many => "have no engine that answers",
        NodeState::NoEngine { .. } => "has no engine that answers",
        NodeState::TooOld(_) if many => "are too old",
        NodeState::TooOld(_) => "is too old",
        NodeState::NoBuilder if many => "have no label `builder`",
        NodeState::NoBuilder => "has no label `builder`",
        NodeState::Draining | NodeState::Drained if many => "are draining",
        NodeState::Draining | NodeState::Drained => "is draining",
        NodeState::Full | NodeState::Building | NodeState::Idle => "build",
    };
    let mut counted: BTreeMap<&str, (usize, &NodeView)> = BTreeMap::new();
    for node in nodes {
        counted.entry(words(node, true)).or_insert((0, node)).0 += 1;
    }
    match (nodes, counted.len()) {
        ([one], _) => format!("1 {}", words(one, false)),
        (all, 1) => format!("all {} {}", all.len(), words(all[0], true)),
        _ => {
            let each = counted.values().map(|(count, node)| format!("{count} {}", words(node, *count > 1)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// What an administrator does about builders of which none says itself what is wrong.
fn remedy(nodes: &[&NodeView]) -> &'static str {
    if nodes.iter().any(|node| matches!(node.state, NodeState::Draining | NodeState::Drained)) {
        "lets one take builds again, or adds another,"
    } else if nodes.iter().any(|node| node.state == NodeState::NoBuilder) {
        "gives one the label `builder`"
    } else {
        "sees since when, starts one again on its machine, or adds another"
    }
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

    fn node(state: NodeState) -> NodeView {
        let builder = slipway_store::builders::Builder {
            id: slipway_model::BuilderId::new(),
            name: "far".to_owned(),
            builtin: false,
            version: "1".to_owned(),
            protocol: 2,
            git: String::new(),
            parallel: 2,
            engine: String::new(),
            obstacle: None,
            labels: slipway_model::NodeLabels::builder(),
            draining_since: None,
            joined_by: None,
            last_seen_at: Timestamp::from_millis(0),
            created_at: Timestamp::from_millis(0),
        };
        NodeView { builder, state, engine: None, running: 0 }
    }

    #[test]
    fn why_nobody_builds_is_told_with_what_to_do() {
        let told = |states: &[NodeState]| nobody_builds(&states.iter().cloned().map(node).collect::<Vec<_>>()).unwrap_or_default();
        let no_engine = || NodeState::NoEngine { problem: "no engine at `x`".to_owned(), hint: "start docker".to_owned() };
        use NodeState::{Drained, Draining, Full, Idle, NoBuilder, Offline};
        assert!(told(&[]).contains("there is none"));
        assert_eq!(told(&[Offline, Idle]), "");
        assert_eq!(told(&[Full]), "");
        assert!(told(&[Offline, Offline]).starts_with("a builder: all 2 are offline; an administrator sees since when"));
        assert!(told(&[Offline]).starts_with("a builder: 1 is offline; "));
        assert!(told(&[Draining, Drained]).starts_with("a builder: all 2 are draining; an administrator lets one take builds again"));
        assert!(told(&[NoBuilder]).contains("1 has no label `builder`; an administrator gives one the label"));
        assert!(told(&[Offline, Drained, Offline]).starts_with("a builder: 1 is draining, 2 are offline; "));
        assert_eq!(told(&[no_engine()]), "no engine at `x`: start docker");
        assert_eq!(told(&[no_engine(), Offline]), "a builder: 1 is offline, 1 has no engine that answers; no engine at `x`: start docker");
        let all = [node(Full), node(Offline)];
        assert_eq!(busy(&all), "a free place on a builder; all 2 are taken (1 is offline)");
    }

    #[test]
    fn what_needs_an_engine_of_its_own_waits_for_a_node_that_can_have_one() {
        let with = |obstacle: Option<&str>, state| {
            let mut node = node(state);
            node.builder.obstacle = obstacle.map(str::to_owned);
            node
        };
        let both = || vec![with(Some("not root"), NodeState::Idle), with(None, NodeState::Offline)];
        assert_eq!((fitting(false, both()).0.len(), fitting(false, both()).1.as_str()), (2, ""));
        let (nodes, words) = fitting(true, both());
        assert!(nobody_builds(&nodes).is_some_and(|why| why.starts_with("a builder: 1 is offline")));
        assert_eq!(words, "; the builder `far` cannot have the engine of its own that this build needs");
        let (nodes, words) = fitting(true, vec![with(Some("not root"), NodeState::Idle)]);
        assert_eq!((nobody_builds(&nodes), words.as_str()), (None, ""), "it gets the build, and says why it cannot be");
    }

    #[test]
    fn one_slow_build_says_little() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(seconds(&[4])), Some(Duration::from_secs(4)));
        assert_eq!(median(seconds(&[3, 900, 4])), Some(Duration::from_secs(4)));
    }
}
