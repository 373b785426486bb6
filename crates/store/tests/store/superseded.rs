//! What a newer push does to the builds that wait, by a naive model and case by case.
//! Invariant: the model knows a list of places and states only.

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use slipway_model::{BuildId, BuildState, BuilderId, FailureCode, FailureReason, RefEventId, TokenKind};
use slipway_store::builds::{self, Ending, NewBuild, Terms};
use slipway_store::{Db, WriteTx};

use crate::fixture::{Fixture, NOW, World, after, begin, build, commit, done, provider, ref_name, rule, secret, world};

on_both! {
    only_what_pushes_of_the_same_ref_left_waiting_is_cancelled;
    a_build_that_is_claimed_meanwhile_runs;
}

/// Where a build comes from.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a str,
    source: &'a str,
    cause: &'a str,
    place: u64,
}

const PUSH: Asked<'_> = Asked { name: "refs/heads/main", source: "42", cause: "push", place: 1 };

async fn queue(tx: &mut WriteTx, world: &World, asked: Asked<'_>) -> BuildId {
    let (name, commit, provider) = (ref_name(asked.name), commit('a'), provider());
    let new = NewBuild {
        repository: world.repository,
        autobuild: world.autobuild,
        rule: &world.rule,
        ref_event: RefEventId::new(),
        provider: &provider,
        source_id: asked.source,
        source_name: "acme/source",
        source_ref: &name,
        ref_seq: asked.place,
        commit: &commit,
        commit_message: None,
        commit_author: None,
        tags: &[],
        no_cache: false,
        terms: &Terms::of_push(),
        cause: asked.cause,
        started_by: None,
        retry_of: None,
    };
    builds::insert(tx, &new, NOW).await.expect("inserts").expect("a new event").0
}

fn superseded() -> FailureReason {
    FailureReason::new(FailureCode::Superseded, "superseded by a newer push")
}

async fn only_what_pushes_of_the_same_ref_left_waiting_is_cancelled(db: &Db) {
    let world = world(db, "web").await;
    let other_rule = World { rule: rule(), ..world.clone() };
    let mut tx = begin(db).await;
    let runs = queue(&mut tx, &world, PUSH).await;
    assert_eq!(claim(&mut tx).await, Some(runs));
    let mut stay = vec![runs];
    for asked in [
        Asked { name: "refs/heads/other", ..PUSH },
        Asked { name: "refs/tags/main", ..PUSH },
        Asked { source: "43", ..PUSH },
        Asked { cause: "manual", ..PUSH },
        Asked { cause: "retry", ..PUSH },
        Asked { cause: "replay", ..PUSH },
        // Asked for by a person, it is nobody's newer push either.
        Asked { cause: "manual", place: 9, ..PUSH },
    ] {
        stay.push(queue(&mut tx, &world, asked).await);
    }
    stay.push(queue(&mut tx, &other_rule, PUSH).await);
    let go = [queue(&mut tx, &world, PUSH).await, queue(&mut tx, &world, Asked { cause: "reconcile", place: 2, ..PUSH }).await];
    let newest = queue(&mut tx, &world, Asked { place: 3, ..PUSH }).await;
    stay.push(newest);
    for id in [go[0], newest] {
        let found = builds::newest_pushed(&mut tx, id).await.expect("query").expect("one is the newest");
        assert_eq!(found, (newest, 12), "whichever of them is asked about");
    }
    assert_eq!(builds::newest_pushed(&mut tx, BuildId::new()).await.expect("query"), None);
    let cancelled = builds::cancel_older(&mut tx, newest, &superseded(), after(5)).await.expect("cancels");
    assert_eq!(cancelled, [(go[0], 10), (go[1], 11)]);
    assert_eq!(builds::cancel_older(&mut tx, newest, &superseded(), after(6)).await.expect("cancels"), []);
    done(tx).await;
    for id in go {
        let gone = build(db, id).await;
        assert_eq!((gone.state, gone.reason, gone.finished_at), (BuildState::Cancelled, Some(superseded()), Some(after(5))));
    }
    for id in stay {
        assert_eq!(build(db, id).await.state, if id == runs { BuildState::Running } else { BuildState::Queued });
    }
}

/// Whoever is first has it: a builder, or the newer push.
async fn a_build_that_is_claimed_meanwhile_runs(db: &Db) {
    let world = world(db, "web").await;
    for round in 1..=10 {
        let mut tx = begin(db).await;
        let older = queue(&mut tx, &world, Asked { place: 2 * round, ..PUSH }).await;
        done(tx).await;
        let pushed = async {
            let mut tx = begin(db).await;
            let newer = queue(&mut tx, &world, Asked { place: 2 * round + 1, ..PUSH }).await;
            let cancelled = builds::cancel_older(&mut tx, newer, &superseded(), NOW).await.expect("cancels");
            done(tx).await;
            (newer, cancelled.iter().any(|(id, _)| *id == older))
        };
        let claimed = async {
            let mut tx = begin(db).await;
            let claimed = claim(&mut tx).await;
            done(tx).await;
            claimed
        };
        let ((newer, was_cancelled), claimed) = tokio::join!(pushed, claimed);
        assert!(!was_cancelled || claimed != Some(older), "a build was handed out and cancelled");
        let state = build(db, older).await.state;
        assert_eq!(state, if was_cancelled { BuildState::Cancelled } else { BuildState::Running });
        let mut tx = begin(db).await;
        for id in [older, newer] {
            let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
            builds::finish(&mut tx, id, &ending, NOW).await.expect("writes");
        }
        done(tx).await;
    }
}

async fn claim(tx: &mut WriteTx) -> Option<BuildId> {
    let claimed =
        builds::claim(tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, NOW, after(30)).await.expect("claims");
    claimed.map(|build| build.id)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A push, told at its place in the history.
    Push(u64),
    /// A person asks for a build at that place.
    Person(u64),
    /// A builder takes the oldest that waits.
    Claim,
    /// The first that runs goes back.
    GiveBack,
    /// The first that runs ends.
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..8_u64).prop_map(Step::Push),
        1 => (1..8_u64).prop_map(Step::Person),
        2 => Just(Step::Claim),
        1 => Just(Step::GiveBack),
        1 => Just(Step::End),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Modelled {
    place: u64,
    pushed: bool,
    state: BuildState,
}

#[derive(Debug, Default)]
struct Naive(Vec<Modelled>);

impl Naive {
    fn first(&mut self, state: BuildState) -> Option<&mut Modelled> {
        self.0.iter_mut().find(|build| build.state == state)
    }

    fn newest(&self) -> Option<u64> {
        self.0.iter().filter(|build| build.pushed).map(|build| build.place).max()
    }

    fn step(&mut self, step: Step) {
        let moved = |found: Option<&mut Modelled>, state| found.into_iter().for_each(|build| build.state = state);
        match step {
            Step::Push(place) => {
                self.0.push(Modelled { place, pushed: true, state: BuildState::Queued });
                let newest = self.newest();
                for build in self.0.iter_mut().filter(|build| build.pushed && build.state == BuildState::Queued) {
                    if Some(build.place) < newest {
                        build.state = BuildState::Cancelled;
                    }
                }
            }
            Step::Person(place) => self.0.push(Modelled { place, pushed: false, state: BuildState::Queued }),
            Step::Claim => moved(self.first(BuildState::Queued), BuildState::Running),
            Step::GiveBack => moved(self.first(BuildState::Running), BuildState::Queued),
            Step::End => moved(self.first(BuildState::Running), BuildState::Failed),
        }
    }
}

async fn real_step(tx: &mut WriteTx, world: &World, all: &mut Vec<BuildId>, step: Step) {
    let mut running = None;
    for id in all.iter() {
        let build = builds::get_any(tx, *id).await.expect("query").expect("stands");
        running = running.or((build.state == BuildState::Running).then_some(build.id));
    }
    match (step, running) {
        (Step::Push(place), _) => {
            let id = queue(tx, world, Asked { place, ..PUSH }).await;
            all.push(id);
            let (newest, _) = builds::newest_pushed(tx, id).await.expect("query").expect("one is the newest");
            builds::cancel_older(tx, newest, &superseded(), NOW).await.expect("cancels");
        }
        (Step::Person(place), _) => all.push(queue(tx, world, Asked { place, cause: "manual", ..PUSH }).await),
        (Step::Claim, _) => assert!(claim(tx).await.is_none_or(|id| all.contains(&id))),
        (Step::GiveBack, Some(id)) => assert!(builds::requeue(tx, id, "again", NOW).await.expect("writes")),
        (Step::End, Some(id)) => {
            let ending = Ending { state: BuildState::Failed, reason: None, note: None, digest: None };
            assert!(builds::finish(tx, id, &ending, NOW).await.expect("writes"));
        }
        (Step::GiveBack | Step::End, None) => {}
    }
}

async fn one_case(db: &Db, world: &World, steps: &[Step]) {
    let (mut naive, mut all) = (Naive::default(), Vec::new());
    let mut tx = begin(db).await;
    for step in steps {
        naive.step(*step);
        real_step(&mut tx, world, &mut all, *step).await;
        let mut found = Vec::new();
        for id in &all {
            let build = builds::get_any(&mut tx, *id).await.expect("query").expect("stands");
            found.push(Modelled { place: build.ref_seq, pushed: build.cause == "push", state: build.state });
        }
        assert_eq!(found, naive.0, "after {step:?}");
        let newest = naive.newest();
        let lost = found.iter().find(|build| build.state == BuildState::Cancelled && (!build.pushed || Some(build.place) == newest));
        assert_eq!(lost, None, "only older pushes go");
    }
}

fn any_sequence_is_as_the_model_says(cases: u32, open: impl AsyncFnOnce() -> Fixture) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let fixture = runtime.block_on(open());
    let world = runtime.block_on(world(&fixture.db, "web"));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(step(), 1..30), |steps| {
        // A task of its own turns a panic into a case that can be made smaller.
        let (db, world) = (fixture.db.clone(), world.clone());
        let case = runtime.block_on(runtime.spawn(async move { one_case(&db, &world, &steps).await }));
        case.map_err(|panic| TestCaseError::fail(panic.to_string()))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(fixture.db.close());
}

mod the_newest_push_is_never_cancelled {
    #[test]
    fn sqlite() {
        super::any_sequence_is_as_the_model_says(64, crate::fixture::sqlite);
    }
    #[test]
    fn postgres() {
        super::any_sequence_is_as_the_model_says(16, crate::fixture::postgres);
    }
}
