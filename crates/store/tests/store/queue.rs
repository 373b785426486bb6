//! Who gets the next build: case by case, under many claimers at once, and by a naive model.
//! Invariant: the model is a list of builds with their states; it shares nothing with the rule but its words.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use slipway_model::{AccountId, BuildId, BuildState, BuilderId, QueueLimits, Timestamp, TokenKind};
use slipway_store::builds::{self, Ending};
use slipway_store::{Db, WriteTx};

use crate::fixture::{FREE, Fixture, NOW, World, after, begin, build, done, look, secret, world, world_of};

on_both! {
    one_of_another_namespace_is_next_whatever_waits_in_the_first;
    a_limit_holds_and_the_others_go_on;
    claimers_at_once_exceed_no_limit_and_share_no_build;
    a_place_in_the_queue_is_where_it_is_taken;
    what_a_build_takes_is_known_from_the_last_ones;
    a_build_that_is_cancelled_under_a_claim_is_not_handed_out;
}

async fn claim(tx: &mut WriteTx, limits: &QueueLimits, now: Timestamp) -> Option<builds::Build> {
    builds::claim(tx, BuilderId::new(), &secret(TokenKind::Build), limits, now, after(1000)).await.expect("claims")
}

async fn end(tx: &mut WriteTx, id: BuildId, now: Timestamp) {
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    assert!(builds::finish(tx, id, &ending, now).await.expect("writes"));
}

fn limit(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}

async fn one_of_another_namespace_is_next_whatever_waits_in_the_first(db: &Db) {
    let (flood, single, third) =
        (world_of(db, "flood", "web").await, world_of(db, "single", "web").await, world_of(db, "third", "web").await);
    let mut tx = begin(db).await;
    for _ in 0..1_000 {
        flood.queue(&mut tx, NOW).await;
    }
    let waits = single.queue(&mut tx, after(5)).await;
    let also = [third.queue(&mut tx, after(6)).await, third.queue(&mut tx, after(6)).await];
    done(tx).await;
    let mut tx = begin(db).await;
    let first = claim(&mut tx, &FREE, after(10)).await.expect("one waits");
    assert_eq!(first.account, flood.account, "nobody was served yet: the oldest build");
    let next = claim(&mut tx, &FREE, after(11)).await.expect("one waits");
    assert_eq!((next.id, next.account), (waits, single.account), "999 builds were queued before it");
    assert_eq!(claim(&mut tx, &FREE, after(12)).await.map(|build| build.id), Some(also[0]));
    // One runs of each: whoever was served longest ago is next.
    assert_eq!(claim(&mut tx, &FREE, after(13)).await.map(|build| build.account), Some(flood.account));
    end(&mut tx, first.id, after(14)).await;
    // Of both one runs, and the flood was served later.
    assert_eq!(claim(&mut tx, &FREE, after(15)).await.map(|build| build.id), Some(also[1]));
    assert_eq!(claim(&mut tx, &FREE, after(16)).await.map(|build| build.account), Some(flood.account));
    let turns = builds::list_turns(&mut tx, after(17)).await.expect("query");
    assert_eq!(turns.len(), 1, "the others have nothing left");
    assert_eq!((turns[0].account, turns[0].running, turns[0].served_at), (flood.account, 2, after(16)));
    assert_eq!(builds::queue_length(&mut tx).await.expect("query"), (997, 5));
}

async fn a_limit_holds_and_the_others_go_on(db: &Db) {
    let (acme, other) = (world_of(db, "acme", "web").await, world_of(db, "other", "web").await);
    let mut tx = begin(db).await;
    for _ in 0..5 {
        acme.queue(&mut tx, NOW).await;
        other.queue(&mut tx, NOW).await;
    }
    let own = BTreeMap::from([("acme".parse().expect("name"), limit(1))]);
    let limits = QueueLimits { installation: limit(4), namespace: limit(2), namespaces: own };
    let mut taken: Vec<(AccountId, BuildId)> = Vec::new();
    while let Some(build) = claim(&mut tx, &limits, after(taken.len() as u64)).await {
        taken.push((build.account, build.id));
    }
    let of = |account| taken.iter().filter(|(whose, _)| *whose == account).count();
    assert_eq!((of(acme.account), of(other.account)), (1, 2), "one of its own limit, two of the limit for all");
    // The installation's limit holds where the namespaces' do not.
    let limits = QueueLimits { namespace: None, namespaces: BTreeMap::new(), ..limits };
    assert_eq!(claim(&mut tx, &limits, after(10)).await.map(|build| build.account), Some(acme.account));
    assert!(claim(&mut tx, &limits, after(11)).await.is_none());
    end(&mut tx, taken[0].1, after(12)).await;
    assert!(claim(&mut tx, &limits, after(13)).await.is_some(), "a place is free again");
    assert!(claim(&mut tx, &limits, after(14)).await.is_none());
    assert!(claim(&mut tx, &FREE, after(15)).await.is_some(), "nothing was dropped");
}

async fn claimers_at_once_exceed_no_limit_and_share_no_build(db: &Db) {
    const EACH: usize = 20;
    let worlds = [world_of(db, "aa", "web").await, world_of(db, "bb", "web").await, world_of(db, "cc", "web").await];
    let mut tx = begin(db).await;
    for world in &worlds {
        for _ in 0..EACH {
            world.queue(&mut tx, NOW).await;
        }
    }
    done(tx).await;
    let limits = Arc::new(QueueLimits { installation: limit(5), namespace: limit(2), namespaces: BTreeMap::new() });
    let ended = Arc::new(AtomicUsize::new(0));
    let mut claimers = tokio::task::JoinSet::new();
    for number in 0..8_u64 {
        let (db, limits, ended) = (db.clone(), Arc::clone(&limits), Arc::clone(&ended));
        claimers.spawn(async move {
            let mut mine = Vec::new();
            while ended.load(Ordering::SeqCst) < 3 * EACH {
                let mut tx = begin(&db).await;
                let claimed = claim(&mut tx, &limits, after(1)).await;
                done(tx).await;
                // What is committed at this moment, by whomever.
                let running = builds::list_running(&mut look(&db).await).await.expect("query");
                assert!(running.len() <= 5, "{} run in all", running.len());
                for one in &running {
                    assert!(running.iter().filter(|other| other.account == one.account).count() <= 2, "more than two of a namespace");
                }
                let Some(build) = claimed else {
                    tokio::time::sleep(Duration::from_millis(1 + number)).await;
                    continue;
                };
                let mut tx = begin(&db).await;
                end(&mut tx, build.id, after(2)).await;
                done(tx).await;
                ended.fetch_add(1, Ordering::SeqCst);
                mine.push(build.id);
            }
            mine
        });
    }
    let mut all: Vec<BuildId> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 3 * EACH);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3 * EACH, "each once");
}

async fn a_place_in_the_queue_is_where_it_is_taken(db: &Db) {
    let worlds = [world_of(db, "aa", "web").await, world_of(db, "bb", "web").await, world_of(db, "cc", "web").await];
    let mut tx = begin(db).await;
    let mut waiting = Vec::new();
    for (world, number) in worlds.iter().zip([6, 2, 4]) {
        for _ in 0..number {
            waiting.push(world.queue(&mut tx, NOW).await);
        }
    }
    // Two of the first run; one of another one pauses, which is in nobody's way.
    for second in [1, 2] {
        claim(&mut tx, &FREE, after(second)).await.expect("one waits");
    }
    let paused = worlds[2].queue(&mut tx, after(500)).await;
    waiting.push(paused);
    let mut told = Vec::new();
    for id in &waiting {
        if builds::get_any(&mut tx, *id).await.expect("query").expect("stands").state == BuildState::Queued {
            told.push((builds::queue_position(&mut tx, *id, after(10)).await.expect("query"), *id));
        }
    }
    told.sort_unstable();
    let mut taken = Vec::new();
    while let Some(build) = claim(&mut tx, &FREE, after(10 + taken.len() as u64)).await {
        taken.push((taken.len() as u64, build.id));
    }
    assert_eq!(told.iter().filter(|(_, id)| *id != paused).copied().collect::<Vec<_>>(), taken);
    assert_eq!(builds::queue_position(&mut tx, taken[0].1, after(10)).await.expect("query"), 0, "it does not wait any more");
}

async fn what_a_build_takes_is_known_from_the_last_ones(db: &Db) {
    let (web, other) = (world(db, "web").await, world(db, "other").await);
    let mut tx = begin(db).await;
    for (number, seconds) in [10, 20, 30].into_iter().enumerate() {
        let at = after(100 * number as u64);
        let id = web.queue(&mut tx, at).await;
        assert_eq!(claim(&mut tx, &FREE, at).await.map(|build| build.id), Some(id));
        let running = builds::list_running(&mut tx).await.expect("query");
        assert_eq!(running.len(), 1);
        assert_eq!((running[0].account, running[0].repository, running[0].started_at), (web.account, web.repository, at));
        end(&mut tx, id, at.plus(Duration::from_secs(seconds))).await;
    }
    // One that failed says nothing of how long an image takes.
    let id = web.queue(&mut tx, after(900)).await;
    claim(&mut tx, &FREE, after(900)).await.expect("one waits");
    let ending = Ending { state: BuildState::Failed, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, id, &ending, after(901)).await.expect("ends"));
    let took = async |tx: &mut WriteTx, world: &World, limit| {
        let all = builds::list_durations(tx, world.repository, limit).await.expect("query");
        all.into_iter().map(|took| took.as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(took(&mut tx, &web, 10).await, [30, 20, 10]);
    assert_eq!(took(&mut tx, &web, 2).await, [30, 20]);
    assert!(took(&mut tx, &other, 10).await.is_empty());
    assert!(builds::list_running(&mut tx).await.expect("query").is_empty());
}

/// On PostgreSQL the claim waits for the row, and then takes the next build.
async fn a_build_that_is_cancelled_under_a_claim_is_not_handed_out(db: &Db) {
    let world = world(db, "web").await;
    for _ in 0..10 {
        let (first, second) = (world.queued(db).await, world.queued(db).await);
        let cancelled = async {
            let mut tx = begin(db).await;
            end(&mut tx, first, NOW).await;
            tokio::task::yield_now().await;
            done(tx).await;
        };
        let claimed = async {
            let mut tx = begin(db).await;
            let claimed = claim(&mut tx, &FREE, after(1)).await;
            done(tx).await;
            claimed.map(|build| build.id)
        };
        let ((), claimed) = tokio::join!(cancelled, claimed);
        let claimed = claimed.expect("one of them");
        assert!(claimed == second || build(db, first).await.state.is_final());
        let mut tx = begin(db).await;
        for id in [first, second] {
            let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
            builds::finish(&mut tx, id, &ending, NOW).await.expect("writes");
        }
        done(tx).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Something is queued in a namespace.
    Queue(usize),
    /// A builder asks.
    Claim,
    /// One of those that run ends.
    End(usize),
    /// One of those that run comes back, and pauses.
    Again(usize),
    /// Time goes on.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Queue),
        4 => Just(Step::Claim),
        2 => (0..8_usize).prop_map(Step::End),
        1 => (0..8_usize).prop_map(Step::Again),
        1 => Just(Step::Wait),
    ]
}

#[derive(Clone, Debug)]
struct Modelled {
    id: BuildId,
    namespace: usize,
    /// Since when it may be taken, and whether it runs.
    due: u64,
    runs: bool,
}

/// The namespaces' limits, and the installation's.
const LIMITS: [usize; 3] = [2, 2, 1];
const IN_ALL: usize = 4;

#[derive(Default)]
struct Naive {
    open: Vec<Modelled>,
    served: [u64; 3],
}

impl Naive {
    fn running(&self, namespace: usize) -> usize {
        self.open.iter().filter(|build| build.runs && build.namespace == namespace).count()
    }

    /// By looking at every build: the due ones, the namespace that is served the least, its oldest.
    fn next(&self, now: u64) -> Option<BuildId> {
        if self.open.iter().filter(|build| build.runs).count() >= IN_ALL {
            return None;
        }
        let mut best: Option<((usize, u64), &Modelled)> = None;
        for build in self.open.iter().filter(|build| !build.runs && build.due <= now) {
            let (running, served) = (self.running(build.namespace), self.served[build.namespace]);
            if running >= LIMITS[build.namespace] {
                continue;
            }
            let better = match best {
                None => true,
                Some((key, other)) if other.namespace == build.namespace => {
                    (build.due, build.id) < (other.due, other.id) && key == (running, served)
                }
                Some((key, _)) => (running, served) < key,
            };
            if better {
                best = Some(((running, served), build));
            }
        }
        best.map(|(_, build)| build.id)
    }
}

async fn one_case(db: &Db, worlds: &[World], steps: &[Step]) {
    let own = BTreeMap::from([("cc".parse().expect("name"), limit(1))]);
    let limits = QueueLimits { installation: limit(4), namespace: limit(2), namespaces: own };
    let (mut naive, mut now) = (Naive::default(), 1_u64);
    let mut tx = begin(db).await;
    // Served in an order, so that nothing is decided by chance.
    for (number, world) in worlds.iter().enumerate() {
        let id = world.queue(&mut tx, NOW).await;
        assert_eq!(claim(&mut tx, &FREE, after(now)).await.map(|build| build.id), Some(id));
        end(&mut tx, id, after(now)).await;
        naive.served[number] = now;
        now += 1;
    }
    for step in steps {
        now += 1;
        let running: Vec<BuildId> = naive.open.iter().filter(|build| build.runs).map(|build| build.id).collect();
        match *step {
            Step::Queue(namespace) => {
                let id = worlds[namespace].queue(&mut tx, after(now)).await;
                naive.open.push(Modelled { id, namespace, due: now, runs: false });
            }
            Step::Claim => {
                let expected = naive.next(now);
                let claimed = claim(&mut tx, &limits, after(now)).await.map(|build| build.id);
                assert_eq!(claimed, expected);
                if let Some(build) = naive.open.iter_mut().find(|build| Some(build.id) == claimed) {
                    build.runs = true;
                    naive.served[build.namespace] = now;
                }
            }
            Step::End(which) if which < running.len() => {
                end(&mut tx, running[which], after(now)).await;
                naive.open.retain(|build| build.id != running[which]);
            }
            Step::Again(which) if which < running.len() => {
                assert!(builds::requeue(&mut tx, running[which], "again", after(now + 5)).await.expect("writes"));
                let build = naive.open.iter_mut().find(|build| build.id == running[which]).expect("it ran");
                (build.runs, build.due) = (false, now + 5);
            }
            Step::End(_) | Step::Again(_) => {}
            Step::Wait => now += 5,
        }
        let (waiting, runs) = builds::queue_length(&mut tx).await.expect("query");
        assert_eq!((waiting + runs) as usize, naive.open.len(), "nothing is dropped");
    }
}

fn any_sequence_is_as_the_model_says(cases: u32, open: impl AsyncFnOnce() -> Fixture) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let fixture = runtime.block_on(open());
    let worlds = runtime.block_on(async {
        [world_of(&fixture.db, "aa", "web").await, world_of(&fixture.db, "bb", "web").await, world_of(&fixture.db, "cc", "web").await]
    });
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(step(), 1..40), |steps| {
        // A task of its own turns a panic into a case that can be made smaller. What is not committed is gone after it.
        let (db, worlds) = (fixture.db.clone(), worlds.clone());
        let case = runtime.block_on(runtime.spawn(async move { one_case(&db, &worlds, &steps).await }));
        case.map_err(|panic| TestCaseError::fail(panic.to_string()))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(fixture.db.close());
}

mod turns_are_as_a_naive_model_says {
    #[test]
    fn sqlite() {
        super::any_sequence_is_as_the_model_says(64, crate::fixture::sqlite);
    }
    #[test]
    fn postgres() {
        super::any_sequence_is_as_the_model_says(16, crate::fixture::postgres);
    }
}
