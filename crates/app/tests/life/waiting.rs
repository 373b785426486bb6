//! What a waiting build says: its place, the limit or place that it waits for, when it may begin; and how often it is tried.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_app::{BuilderOutcome, RepositoryAdmin, RepositoryRead, RepositoryWrite, Waiting};
use slipway_model::{BuildState, FailureCode, FailureReason};

use crate::world::{World, commit};

const ENGINE: &str = r#"{"state":"ready","description":"Docker Engine 20.10.24"}"#;

async fn waiting(world: &World, right: &RepositoryAdmin, number: u64) -> Result<Waiting> {
    let read = RepositoryRead::from(RepositoryWrite::from(right.clone()));
    world.app.get_build(&read, &number.to_string()).await?.waiting.context("it waits")
}

#[tokio::test]
async fn a_build_says_what_it_waits_for_and_when_it_may_begin() -> Result<()> {
    let world = World::with(|config| {
        config.queue.namespace = NonZeroU32::new(2);
        config.queue.installation = NonZeroU32::new(3);
    })
    .await?;
    let (_, right) = world.ready().await?;
    let digits = ['1', '2', '3', '4', '5', '6'];
    let push = async |n: usize| world.push(&right, &commit(digits[n]), &commit(digits[n + 1])).await;
    push(0).await?;
    assert!(waiting(&world, &right, 1).await?.waits_for.starts_with("a builder: there is none"));
    let builder = world.builder("one").await?;
    world.says(&builder, 1, r#"{"state":"unavailable","problem":"no engine","hint":"start it"}"#).await?;
    assert_eq!(waiting(&world, &right, 1).await?.waits_for, "no engine: start it");
    world.says(&builder, 1, ENGINE).await?;
    let told = waiting(&world, &right, 1).await?;
    assert_eq!(
        (told.position, told.waits_for.as_str(), told.starts_at),
        (Some(0), "a builder to take it", None),
        "nothing was built before"
    );

    // The first takes a minute, from which the others are reckoned.
    let build = world.app.claim(&builder).await?.context("a build")?.build;
    world.pushed(build.repository, "sha256:a").await?;
    for _ in 0..6 {
        world.wait(10);
        assert_eq!(world.app.heartbeat(&builder, build.id, 1).await?, Ok(false));
    }
    let pushed = BuilderOutcome::Pushed("sha256:a".to_owned());
    assert_eq!(world.app.finish(&builder, build.id, 1, &pushed).await?, Ok(BuildState::Success));
    push(1).await?;
    world.app.claim(&builder).await?.context("the second")?;
    push(2).await?;
    world.wait(20);
    world.says(&builder, 1, ENGINE).await?;
    let told = waiting(&world, &right, 3).await?;
    assert_eq!((told.position, told.waits_for.as_str()), (Some(0), "a free place on a builder; all 1 are taken"));
    assert_eq!(told.starts_at, Some(world.clock.now().plus(Duration::from_secs(40))), "a minute, of which 20 s are over");

    // Three places, of which the namespace may have two.
    world.says(&builder, 3, ENGINE).await?;
    world.app.claim(&builder).await?.context("the third")?;
    push(3).await?;
    let told = waiting(&world, &right, 4).await?;
    assert_eq!(told.waits_for, "the limit of the namespace `demo`: 2 at once, and so many run");
    assert_eq!(told.starts_at, Some(world.clock.now().plus(Duration::from_secs(40))), "when the first of its two ends");
    assert!(world.app.claim(&builder).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn trouble_outside_of_the_source_is_tried_three_times_and_a_failed_step_once() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    world.says(&builder, 1, ENGINE).await?;
    let trouble = BuilderOutcome::FailedForNow(FailureReason::new(FailureCode::Internal, "the engine went away"));
    for attempt in 1..=3 {
        world.says(&builder, 1, ENGINE).await?;
        let build = world.app.claim(&builder).await?.context("it waits again")?.build;
        assert_eq!(build.attempt, attempt);
        let after = if attempt < 3 { BuildState::Queued } else { BuildState::Failed };
        assert_eq!(world.app.finish(&builder, build.id, attempt, &trouble).await?, Ok(after));
        if attempt < 3 {
            assert!(world.app.claim(&builder).await?.is_none(), "it pauses");
            let told = waiting(&world, &right, 1).await?;
            assert!(told.waits_for.starts_with("the pause before the next attempt, until "), "{told:?}");
            let note = world.builds(&right).await?[0].note.clone().unwrap_or_default();
            let lines: Vec<String> = (1..=attempt).map(|nth| format!("attempt {nth} ended: the engine went away")).collect();
            assert_eq!(note, lines.join("\n"), "every attempt has its line");
            world.wait(60);
        }
    }
    assert!(world.app.claim(&builder).await?.is_none());
    world.push(&right, &commit('2'), &commit('3')).await?;
    let build = world.app.claim(&builder).await?.context("another build")?.build;
    let failed = BuilderOutcome::Failed(FailureReason::new(FailureCode::StepFailed, "exit code 1"));
    assert_eq!(world.app.finish(&builder, build.id, 1, &failed).await?, Ok(BuildState::Failed), "never a second time");
    assert!(world.app.claim(&builder).await?.is_none());
    Ok(())
}
