//! What a push does to the queue: it asks to be skipped, it makes older ones needless, or it comes too late itself.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_app::{
    AutobuildInput, BuilderOutcome, DeliveryFilter, RepositoryAdmin, RepositoryRead, RepositoryWrite, RetryBuild, StartBuild,
};
use slipway_model::{BuildState, FailureCode, FailureReason, VerdictOutcome};

use crate::world::{World, commit};

use BuildState::{Cancelled, Failed, Queued, Running};

fn read(right: &RepositoryAdmin) -> RepositoryRead {
    RepositoryRead::from(RepositoryWrite::from(right.clone()))
}

/// The states of all builds, oldest first.
async fn states(world: &World, right: &RepositoryAdmin) -> Result<Vec<BuildState>> {
    Ok(world.builds(right).await?.iter().map(|build| build.state).collect())
}

/// The verdict of the newest delivery.
async fn verdict(world: &World, right: &RepositoryAdmin) -> Result<(VerdictOutcome, String)> {
    let newest = world.app.list_deliveries(&read(right), &DeliveryFilter::default(), None, 1).await?;
    let verdict = newest.first().and_then(|found| found.verdicts.first()).context("it was decided")?;
    Ok((verdict.outcome, verdict.text.clone()))
}

async fn superseding(world: &World, right: &RepositoryAdmin, wish: Option<bool>) -> Result<bool> {
    let input: AutobuildInput = serde_json::from_value(json!({"provider": "github", "source": "octo/hello", "cancel_superseded": wish}))?;
    Ok(world.app.put_autobuild(right, &input).await?.cancel_superseded)
}

#[tokio::test]
async fn a_newer_push_cancels_the_one_that_waits_and_both_say_so() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    assert_eq!(states(&world, &right).await?, [Cancelled, Queued]);
    let (outcome, text) = verdict(&world, &right).await?;
    assert_eq!(outcome, VerdictOutcome::Built);
    assert_eq!(text, "branch `main` at 3333333 is built as #2 for latest; #1 waited still and is cancelled");
    let why = FailureReason::new(FailureCode::Superseded, "superseded by #2, a newer push of branch `main`");
    assert_eq!(world.builds(&right).await?[0].reason, Some(why));
    let builder = world.builder("one").await?;
    assert_eq!(world.app.claim(&builder).await?.context("the newer one")?.build.number, 2);
    assert!(world.app.claim(&builder).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_push_that_is_told_late_is_cancelled_itself() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    assert_eq!(states(&world, &right).await?, [Queued, Cancelled]);
    let (outcome, text) = verdict(&world, &right).await?;
    assert_eq!(outcome, VerdictOutcome::Skipped);
    assert_eq!(text, "branch `main` at 2222222 came late, #2 is superseded by #1, a newer push of branch `main`");
    Ok(())
}

#[tokio::test]
async fn what_runs_and_what_a_person_asked_for_is_not_cancelled() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let (write, account) = (RepositoryWrite::from(right.clone()), right.repository().account);
    let builder = world.builder("one").await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let running = world.app.claim(&builder).await?.context("the first")?.build;
    let wish = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    world.app.start_builds(&write, &wish, account).await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    assert_eq!(states(&world, &right).await?, [Running, Queued, Queued]);
    let failed = BuilderOutcome::Failed(FailureReason::new(FailureCode::StepFailed, "no"));
    assert_eq!(world.app.finish(&builder, running.id, 1, &failed).await?, Ok(Failed));
    world.app.retry_build(&write, RetryBuild { build: running.id, no_cache: false }, account).await?;
    world.push(&right, &commit('3'), &commit('4')).await?;
    assert_eq!(states(&world, &right).await?, [Failed, Queued, Cancelled, Queued, Queued]);
    Ok(())
}

#[tokio::test]
async fn with_the_switch_off_every_push_is_built() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    assert!(superseding(&world, &right, None).await?, "on, when nobody said anything");
    assert!(!superseding(&world, &right, Some(false)).await?);
    assert!(!superseding(&world, &right, None).await?, "who does not name it leaves it");
    world.push(&right, &commit('1'), &commit('2')).await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    assert_eq!(states(&world, &right).await?, [Queued, Queued]);
    Ok(())
}

#[tokio::test]
async fn a_push_that_asks_to_be_skipped_is_not_built_and_cancels_nothing() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    world.told(&right, "refs/heads/main", (&commit('2'), &commit('3')), "words\n\n[CI SKIP]").await?;
    assert_eq!(states(&world, &right).await?, [Queued]);
    let (outcome, text) = verdict(&world, &right).await?;
    assert_eq!(outcome, VerdictOutcome::Skipped);
    assert_eq!(text, "branch `main` at 3333333 is not built: its commit's message says `[ci skip]`");
    // The next one continues from it.
    world.push(&right, &commit('3'), &commit('4')).await?;
    assert_eq!(states(&world, &right).await?, [Cancelled, Queued]);
    Ok(())
}
