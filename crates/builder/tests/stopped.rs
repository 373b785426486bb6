//! Builds that are stopped in phases in which nothing of the source runs, and builds that take too long: each leaves nothing.

#[allow(dead_code, reason = "`builds` uses the rest")]
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{BASE, World, docker, phases, process_runs, unique, wait_for};
use slipway_model::{BuildId, FailureCode, Phase, StepState};
use slipway_wire::{Assignment, Event, Outcome};

/// The first of the machine's users that an engine of its own runs as; a builder's first engine gets it.
const FIRST_USER: u32 = 0x7000_0000;

async fn cancel(world: &World, build: BuildId) {
    world.server.with(build, |known| known.cancel = true);
    assert_eq!(world.server.outcome(build).await, Outcome::Cancelled);
}

/// What the machine has of a build that ended.
async fn nothing_is_left(world: &World, assignment: &Assignment) {
    let short = assignment.build.short();
    wait_for("the clean-up", Duration::from_secs(20), || world.build_folders() == 0).await;
    let mut open = std::collections::HashMap::new();
    for event in world.server.events(assignment.build) {
        if let Event::Step { step } = event {
            open.insert(step.id.clone(), step.state);
        }
    }
    assert!(!open.values().any(|state| matches!(state, StepState::Running)), "{open:?}");
    assert!(!docker(&["ps", "--all", "--format", "{{.Names}}"]).contains(&short));
    assert!(!docker(&["network", "ls", "--format", "{{.Name}}"]).contains(&short));
    assert!(!docker(&["images", "--all", "--digests"]).contains(&world.registry.host), "no name is left in the engine");
}

/// Whether a process has this in its environment.
fn lives(word: &str) -> bool {
    std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.windows(word.len()).any(|part| part == word.as_bytes())
    })
}

#[tokio::test]
async fn a_checkout_that_hangs_is_cancelled() {
    let world = World::start(&[("Dockerfile", BASE)]).await;
    let assignment = world.assignment("refs/heads/main");
    let address = world.git.url();
    world.git.hangs.store(true, Ordering::Relaxed);
    world.server.queue(assignment.clone());
    // Our own requests to it are in no command line.
    wait_for("git", Duration::from_secs(60), || process_runs(&address) && !world.git.seen.lock().expect("lock").is_empty()).await;
    cancel(&world, assignment.build).await;
    wait_for("the end of git", Duration::from_secs(5), || !process_runs(&address)).await;
    assert_eq!(phases(&world.server.events(assignment.build)), [Phase::Checkout]);
    nothing_is_left(&world, &assignment).await;
    world.stop().await;
}

#[tokio::test]
async fn a_push_that_hangs_is_cancelled() {
    let world = World::start(&[("Dockerfile", &format!("{BASE}LABEL n={}\n", unique()))]).await;
    let assignment = world.assignment("refs/heads/main");
    world.registry.hangs.store(true, Ordering::Relaxed);
    world.server.queue(assignment.clone());
    wait_for("the push", Duration::from_secs(60), || world.registry.hanging.load(Ordering::Relaxed) > 0).await;
    cancel(&world, assignment.build).await;
    assert_eq!(phases(&world.server.events(assignment.build)).last(), Some(&Phase::Push));
    assert_eq!(world.registry.manifests(), 0);
    nothing_is_left(&world, &assignment).await;
    // The registry is as it was, and so is the engine: the same commit goes through.
    world.registry.hangs.store(false, Ordering::Relaxed);
    let again = Assignment { build: BuildId::new(), ..assignment };
    assert!(matches!(world.build(again).await, Outcome::Pushed { .. }));
    world.stop().await;
}

/// A file of the engine's data that somebody else has locked: the engine waits for it before it answers anybody.
fn locked(data: &Path) -> std::fs::File {
    let folder = data.join("buildkit");
    std::fs::create_dir_all(&folder).expect("folders");
    let file = std::fs::File::create(folder.join("cache.db")).expect("file");
    for path in [data.to_owned(), folder.clone(), folder.join("cache.db")] {
        std::os::unix::fs::chown(&path, Some(FIRST_USER), Some(FIRST_USER)).expect("owner");
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711)).expect("mode");
    file.lock().expect("a lock");
    file
}

#[tokio::test]
async fn an_engine_of_its_own_that_does_not_start_is_cancelled() {
    let world = World::start(&[("Dockerfile", BASE), ("hooks/pre_build", "#!/bin/sh\ntrue\n")]).await;
    let assignment = world.assignment("refs/heads/main");
    let folder = world.work.path().join("work/engines").join(assignment.scope.account.to_string());
    let home = format!("SLIPWAY_HOME={}", folder.display());
    wait_for("the builder", Duration::from_secs(10), || folder.parent().is_some_and(Path::exists)).await;
    let lock = locked(&folder.join("data"));
    world.server.queue(assignment.clone());
    wait_for("the engine", Duration::from_secs(60), || lives(&home)).await;
    cancel(&world, assignment.build).await;
    assert_eq!(phases(&world.server.events(assignment.build)), [Phase::Checkout], "it was still to start");
    nothing_is_left(&world, &assignment).await;
    // It goes on for the namespace's next build, which does not have to wait for it.
    let again = Assignment { build: BuildId::new(), ..assignment };
    let outcome = world.build(again).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    drop(lock);
    world.stop().await;
    wait_for("the end of both engines", Duration::from_secs(20), || !lives(&home)).await;
}

#[tokio::test]
async fn a_build_that_takes_too_long_fails_with_that_reason_and_leaves_nothing() {
    let number = unique().to_string();
    let sleep = format!("[\"/bin/busybox\", \"sleep\", \"{number}\"]");
    let service = |name: &str| format!("  {name}:\n    image: ${{IMAGE_NAME}}\n    command: {sleep}\n");
    let world = World::start(&[
        ("Dockerfile", &format!("{BASE}RUN {sleep}\n")),
        ("test/Dockerfile", &format!("{BASE}LABEL n={number}\n")),
        ("test/busybox", common::git::BUSYBOX),
        ("test/docker-compose.test.yml", &format!("services:\n{}{}", service("sut"), service("beside"))),
    ])
    .await;
    // Time enough to come as far as what is to be stopped.
    for (dockerfile, limit) in [("Dockerfile", 10), ("test/Dockerfile", 25)] {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = dockerfile.parse().expect("path");
        assignment.time_limit_seconds = limit;
        world.server.queue(assignment.clone());
        let running = format!("sleep\0{number}");
        wait_for("the sleep", Duration::from_secs(60), || process_runs(&running)).await;
        let Outcome::Failed { reason, retry: false } = world.server.outcome(assignment.build).await else { panic!("it ended otherwise") };
        assert_eq!((reason.code, reason.text), (FailureCode::TimedOut, format!("the build did not end within {limit} s")));
        wait_for("the end of what ran", Duration::from_secs(10), || !process_runs(&running)).await;
        nothing_is_left(&world, &assignment).await;
        if dockerfile == "test/Dockerfile" {
            assert_eq!(world.own_docker(&assignment, &["ps", "--all", "--quiet"]), "");
            assert!(!world.own_docker(&assignment, &["network", "ls", "--format", "{{.Name}}"]).contains(&assignment.build.short()));
            let seats = world.work.path().join("work/engines").join(assignment.scope.account.to_string()).join("seats");
            assert_eq!(seats.read_dir().expect("seats").count(), 0);
        }
    }
    assert_eq!(world.registry.manifests(), 0);
    world.stop().await;
}
