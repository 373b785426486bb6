//! Whole builds with a buildkitd as the builder's engine; hooks and tests go on in engines of their own.

#[allow(dead_code, reason = "`builds` uses the rest")]
mod common;

use std::time::Duration;

use common::{BASE, SECRET, World, log, phases, process_runs, unique, wait_for};
use slipway_model::{FailureCode, Lane, Phase, Step, StepState};
use slipway_testkit::buildkitd::{Buildkitd, Listen};
use slipway_wire::{Assignment, EngineStatus, Event, Outcome, TrustScope};

async fn world(files: &[(&str, &str)]) -> (Buildkitd, World) {
    let daemon = Buildkitd::start(Listen::Socket).await.expect("buildkitd");
    let world = World::start_with(files, daemon.address(), Duration::from_secs(60)).await;
    (daemon, world)
}

/// Each step as it was told of last.
fn steps(events: &[Event]) -> Vec<Step> {
    let mut steps = std::collections::BTreeMap::new();
    for event in events {
        if let Event::Step { step } = event {
            steps.insert(step.id.clone(), step.clone());
        }
    }
    steps.into_values().collect()
}

#[tokio::test]
async fn a_commit_becomes_an_image_that_the_daemon_pushed_by_its_digest() {
    let number = unique();
    let dockerfile = format!("{BASE}ARG API_KEY\nARG DOCKER_TAG\nRUN echo \"{number} key=$API_KEY tags=$DOCKER_TAG\"\n");
    let (_daemon, world) = world(&[("Dockerfile", &dockerfile)]).await;
    let assignment = world.assignment("refs/heads/main");
    let (build, like) = (assignment.build, assignment.clone());
    let outcome = world.build(assignment).await;
    let events = world.server.events(build);
    let text = log(&events);
    let Outcome::Pushed { digest } = outcome else { panic!("{outcome:?}\n{text}") };
    assert_eq!(Some(&digest), world.registry.digest_of(&format!("demo/hello:{digest}")).as_ref());
    assert!(world.registry.digest_of(&format!("demo/hello:build-{build}")).is_none(), "under no tag");
    assert_eq!(phases(&events), [Phase::Checkout, Phase::Build, Phase::Test, Phase::Push]);
    assert!(text.contains(&format!("{number} key=*** tags=latest,v1")), "{text}");
    let json = serde_json::to_string(&events).expect("json");
    for secret in [SECRET, common::registry::PASSWORD, "slipway-buildkitd-"] {
        assert!(!json.contains(secret), "{secret} is shown");
    }
    let told = steps(&events);
    assert!(told.iter().all(|step| step.state == StepState::Success && step.error.is_none()), "a cache that is not there yet: {told:#?}");
    assert!(told.iter().any(|step| step.id == "push" && step.phase == Phase::Push));
    let claim = world.server.held.lock().expect("lock").claims[0].clone();
    assert!(
        matches!(&claim.engine, EngineStatus::Ready { description, kind: Some(slipway_wire::EngineKind::Buildkitd) } if description.starts_with("buildkitd 0.")),
        "{claim:?}"
    );
    wait_for("the clean-up", Duration::from_secs(10), || world.build_folders() == 0).await;

    // What is not to be published leaves nothing in the registry.
    let before = world.registry.manifests();
    let quiet = Assignment { build: slipway_model::BuildId::new(), publish: false, ..like };
    assert_eq!(world.build(quiet).await, Outcome::Passed);
    assert_eq!(world.registry.manifests(), before);
    world.stop().await;
}

#[tokio::test]
async fn the_cache_in_the_registry_outlives_the_daemons_own() {
    let number = unique();
    let (mut daemon, world) = world(&[("Dockerfile", &format!("{BASE}RUN echo {number}\n"))]).await;
    let first = world.assignment("refs/heads/main");
    let next = |change: fn(&mut Assignment)| {
        let mut next = Assignment { build: slipway_model::BuildId::new(), ..first.clone() };
        change(&mut next);
        next
    };
    let cached = async |assignment: Assignment| {
        let build = assignment.build;
        let outcome = world.build(assignment).await;
        let events = world.server.events(build);
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?} {}", log(&events));
        let steps = steps(&events);
        steps.iter().find(|step| step.name.contains("RUN echo")).expect("the step").cached
    };
    let off = next(|next| next.rule.cache = false);
    assert!(!cached(off).await);
    assert!(world.registry.digest_of("demo/hello:_slipway-cache").is_none(), "a rule without caching keeps none");
    assert!(cached(first.clone()).await, "the daemon has it");
    assert!(world.registry.digest_of("demo/hello:_slipway-cache").is_some());
    daemon.forget().await.expect("again");
    assert!(cached(next(|_| {})).await, "the registry has it");
    daemon.forget().await.expect("again");
    assert!(!cached(next(|next| next.no_cache = true)).await, "asked for without cache");
    assert!(!cached(next(|next| next.repository = slipway_model::RepositoryId::new())).await, "another repository has caches of its own");
    world.stop().await;
}

#[tokio::test]
async fn failures_and_a_cancel_are_as_with_any_engine() {
    let number = unique().to_string();
    let (_daemon, world) = world(&[
        ("Dockerfile", &format!("{BASE}RUN exit 42\n")),
        ("Slow", &format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n")),
        ("Evil", "# syntax=evil/frontend\nFROM scratch\n"),
        ("Good", BASE),
    ])
    .await;
    let of = |dockerfile: &str| {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = dockerfile.parse().expect("path");
        assignment
    };
    let reason = world.reason(of("Dockerfile")).await;
    assert!(reason.code == FailureCode::StepFailed && reason.text.ends_with("exited with 42"), "{reason}");
    let reason = world.reason(of("Evil")).await;
    assert!(reason.code == FailureCode::DockerfileInvalid && reason.text.contains("docker/dockerfile"), "{reason}");
    let mut refused = of("Good");
    refused.registry.credential.password = "wrong".into();
    let reason = world.reason(refused).await;
    assert_eq!(reason.code, FailureCode::PushFailed, "{reason}");
    let slow = of("Slow");
    let build = slow.build;
    world.server.queue(slow);
    let sleep = format!("sleep\0{number}");
    wait_for("the sleep", Duration::from_secs(60), || process_runs(&sleep)).await;
    world.server.with(build, |known| known.cancel = true);
    wait_for("the end of the sleep", Duration::from_secs(5), || !process_runs(&sleep)).await;
    assert_eq!(world.server.outcome(build).await, Outcome::Cancelled);
    world.stop().await;
}

#[tokio::test]
async fn hooks_tests_and_the_untrusted_lane_have_engines_of_their_own() {
    let number = unique();
    let test = "services:\n  sut:\n    image: ${IMAGE_NAME}\n    command: [\"/bin/sh\", \"-c\", \"echo tested\"]\n";
    let (_daemon, world) = world(&[
        ("Dockerfile", &format!("{BASE}RUN echo {number}\n")),
        ("docker-compose.test.yml", test),
        ("hooks/pre_build", "#!/bin/sh\ndocker version --format 'hook-at-{{.Server.Version}}'\n"),
    ])
    .await;
    let assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    let text = log(&world.server.events(build));
    let Outcome::Pushed { digest } = outcome else { panic!("{outcome:?}\n{text}") };
    assert_eq!(Some(digest), world.registry.digest_of(&format!("demo/hello:build-{build}")));
    assert!(text.contains("tested") && text.contains("hook-at-2"), "{text}");
    let like = world.assignment("refs/heads/main");
    let scope = TrustScope { lane: Lane::Untrusted, ..like.scope };
    let untrusted = Assignment { scope, publish: false, hooks: false, environment: Vec::new(), ..like };
    let build = untrusted.build;
    assert_eq!(world.build(untrusted).await, Outcome::Passed, "{}", log(&world.server.events(build)));
    world.stop().await;
}
