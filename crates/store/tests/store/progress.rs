//! What a builder reports: phases and steps.

use slipway_model::{BuildState, BuilderId, Phase, Step, StepState};
use slipway_store::builds::{self, Ending};
use slipway_store::{Db, progress};

use crate::fixture::{NOW, ODD, after, begin, build, done, world};

on_both! {
    a_report_that_comes_twice_changes_nothing;
    phases_come_in_their_order;
    steps_keep_their_place_and_their_newest_value;
    hits_of_the_cache_are_counted_where_there_was_work;
    progress_of_an_ended_build_stands_still;
}

async fn a_report_that_comes_twice_changes_nothing(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    for _ in 0..2 {
        progress::start_phase(&mut tx, running.id, 1, Phase::Checkout, after(1)).await.expect("writes");
        progress::finish_phase(&mut tx, running.id, 1, Phase::Checkout, after(2)).await.expect("writes");
    }
    progress::start_phase(&mut tx, running.id, 1, Phase::Build, after(2)).await.expect("writes");
    // The first report once more, late and with other times.
    progress::start_phase(&mut tx, running.id, 1, Phase::Checkout, after(8)).await.expect("writes");
    progress::finish_phase(&mut tx, running.id, 1, Phase::Checkout, after(9)).await.expect("writes");
    done(tx).await;
    assert_eq!(build(db, running.id).await.phase, Some(Phase::Build), "the phase does not go back");
    let mut tx = begin(db).await;
    let phases = progress::list_phases(&mut tx, running.id, 1).await.expect("lists");
    let phases: Vec<_> = phases.into_iter().map(|phase| (phase.phase, phase.started_at, phase.finished_at)).collect();
    assert_eq!(phases, [(Phase::Checkout, after(1), Some(after(2))), (Phase::Build, after(2), None)]);
    builds::set_last_sequence(&mut tx, running.id, 7, 100).await.expect("writes");
    builds::set_last_sequence(&mut tx, running.id, 8, 20).await.expect("writes");
    done(tx).await;
    let found = build(db, running.id).await;
    assert_eq!((found.last_sequence, found.log_bytes), (8, 120));
}

async fn phases_come_in_their_order(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    // A fast machine: everything in one millisecond; the words sort otherwise.
    for phase in Phase::ALL {
        progress::start_phase(&mut tx, running.id, 1, *phase, after(1)).await.expect("writes");
    }
    progress::start_phase(&mut tx, running.id, 2, Phase::Checkout, after(9)).await.expect("writes");
    let listed = progress::list_phases(&mut tx, running.id, 1).await.expect("lists");
    assert_eq!(listed.iter().map(|phase| phase.phase).collect::<Vec<_>>(), Phase::ALL);
    assert_eq!(progress::list_phases(&mut tx, running.id, 2).await.expect("lists").len(), 1, "of one attempt only");
}

fn step(id: &str, state: StepState) -> Step {
    Step {
        id: id.into(),
        phase: Phase::Build,
        name: format!("RUN {ODD}"),
        state,
        cached: false,
        started_at: None,
        finished_at: None,
        error: None,
    }
}

async fn steps_keep_their_place_and_their_newest_value(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    let first = step("z", StepState::Running);
    for step in [&first, &step("a", StepState::Pending), &step("m", StepState::Pending)] {
        progress::upsert_step(&mut tx, running.id, 1, step).await.expect("writes");
    }
    let newest = Step {
        state: StepState::Failed,
        cached: true,
        started_at: Some(after(1)),
        finished_at: Some(after(2)),
        error: Some(format!("exit code 1: {ODD}")),
        ..first.clone()
    };
    for _ in 0..2 {
        progress::upsert_step(&mut tx, running.id, 1, &newest).await.expect("writes");
    }
    progress::upsert_step(&mut tx, running.id, 2, &step("other", StepState::Pending)).await.expect("another attempt");
    let listed = progress::list_steps(&mut tx, running.id, 1).await.expect("lists");
    assert_eq!(listed, [newest, step("a", StepState::Pending), step("m", StepState::Pending)], "in order of their first report");
    assert_eq!(progress::list_steps(&mut tx, running.id, 2).await.expect("lists"), [step("other", StepState::Pending)]);
    let nul = Step { id: "nul\0".into(), name: "a\0b".into(), error: Some("\0".into()), ..step("", StepState::Failed) };
    progress::upsert_step(&mut tx, running.id, 3, &nul).await.expect("NUL bytes are no reason to fail");
    let listed = progress::list_steps(&mut tx, running.id, 3).await.expect("lists");
    let clean = Step { id: "nul\u{fffd}".into(), name: "a\u{fffd}b".into(), error: Some("\u{fffd}".into()), ..nul };
    assert_eq!(listed, [clean]);
}

async fn hits_of_the_cache_are_counted_where_there_was_work(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    assert_eq!(progress::cache_use(&mut tx, running.id, 1).await.expect("counts"), progress::CacheUse::default());
    let named = |name: &str, state, cached| Step { name: name.into(), cached, ..step(name, state) };
    use StepState::{Cancelled, Failed, Running, Success};
    for one in [
        named("[1/5] FROM docker.io/library/debian:12", Success, true),
        named("[internal] load metadata for docker.io/library/debian:12", Success, true),
        named("[linux/amd64 internal] load .dockerignore", Success, false),
        named("[2/5] COPY a b", Success, true),
        named("[build 3/5] RUN make", Success, true),
        named("[stage-1 4/5] RUN echo '[x] FROM y'", Success, false),
        named("[5/5] RUN false", Failed, false),
        named("[6/6] RUN later", Running, false),
        named("[7/7] RUN never", Cancelled, false),
        named("exporting to image", Success, false),
        Step { phase: Phase::Test, ..named("[1/2] RUN of the test", Success, true) },
    ] {
        progress::upsert_step(&mut tx, running.id, 1, &one).await.expect("writes");
    }
    progress::upsert_step(&mut tx, running.id, 2, &named("[2/2] RUN x", Success, true)).await.expect("writes");
    let found = progress::cache_use(&mut tx, running.id, 1).await.expect("counts");
    assert_eq!(found, progress::CacheUse { hits: 2, steps: 4 });
    done(tx).await;
}

/// The functions that the caller fences do not rely on it where the end of a build is at stake.
async fn progress_of_an_ended_build_stands_still(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    progress::start_phase(&mut tx, running.id, 1, Phase::Push, NOW).await.expect("writes");
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: Some("sha256:x") };
    assert!(builds::finish(&mut tx, running.id, &ending, after(1)).await.expect("writes"));
    done(tx).await;
    let before = format!("{:?}", build(db, running.id).await);
    let mut tx = begin(db).await;
    progress::start_phase(&mut tx, running.id, 1, Phase::Checkout, after(2)).await.expect("nothing to do");
    done(tx).await;
    assert_eq!(format!("{:?}", build(db, running.id).await), before);
}
