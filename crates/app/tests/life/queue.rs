//! Leases, fencing, attempts, and tags that only go forward.

use anyhow::{Context as _, Result};
use slipway_app::{BuilderOutcome, BuildsWanted, NodeState, Progress, RepositoryRead, RepositoryWrite, RetryBuild};
use slipway_model::{BuildState, Clock, FailureCode, FailureReason};
use slipway_store::images;
use tokio_util::sync::CancellationToken;

use crate::world::{World, commit};

fn digest(letter: char) -> String {
    format!("sha256:{}", std::iter::repeat_n(letter, 64).collect::<String>())
}

/// Runs the loops until a condition on the database holds.
async fn run_until<F, Fut>(world: World, mut done: F) -> Result<()>
where
    F: FnMut(std::sync::Arc<slipway_app::App>, Clock) -> Fut,
    Fut: Future<Output = Option<()>>,
{
    let stop = CancellationToken::new();
    let app = world.app;
    let running = tokio::spawn(std::sync::Arc::clone(&app).run(stop.clone()));
    let outcome = slipway_testkit::wait::until("the loops did it", std::time::Duration::from_secs(15), || {
        let step = done(std::sync::Arc::clone(&app), world.clock.clone());
        async { Ok(step.await) }
    })
    .await;
    stop.cancel();
    running.await?;
    outcome
}

#[tokio::test]
async fn a_silent_builder_loses_its_build_and_can_change_nothing_any_more() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let (first, second) = (world.builder("one").await?, world.builder("two").await?);
    let held = world.app.claim(&first).await?.context("a build waits")?.build;
    assert!(world.app.claim(&second).await?.is_none(), "a build is handed out once");
    assert_eq!(world.app.heartbeat(&first, held.id, 1).await?, Ok(false));
    assert!(world.app.heartbeat(&second, held.id, 1).await?.is_err(), "only the holder may beat");
    assert!(world.app.heartbeat(&first, held.id, 2).await?.is_err(), "only with its own attempt");

    world.wait(31);
    let late = FailureReason::new(FailureCode::StepFailed, "too late");
    assert!(world.app.report(&first, held.id, 1, 1, &[]).await?.is_err());
    assert!(world.app.finish(&first, held.id, 1, &BuilderOutcome::Failed(late.clone())).await?.is_err());
    assert_eq!(world.state(&right, 1).await?, BuildState::Running);
    let id = held.id;
    let read = RepositoryRead::from(RepositoryWrite::from(right));
    run_until(world, |app, _| {
        let (read, second, first, late) = (read.clone(), second.clone(), first.clone(), late.clone());
        async move {
            let detail = app.get_build(&read, &id.to_string()).await.ok()?;
            if detail.build.state != BuildState::Queued {
                return None;
            }
            assert!(detail.build.note.as_deref()?.contains("lost its lease"));
            let again = app.claim(&second).await.ok()??;
            assert_eq!(again.build.attempt, 2);
            let fenced = app.finish(&first, id, 1, &BuilderOutcome::Failed(late)).await.ok()?;
            assert!(fenced.unwrap_err().detail.contains("attempt 2 took over"));
            Some(())
        }
    })
    .await
}

#[tokio::test]
async fn a_builder_with_all_its_places_taken_is_not_called_silent() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let held = world.app.claim(&builder).await?.context("a build waits")?.build;
    for _ in 0..12 {
        world.wait(10);
        assert_eq!(world.app.heartbeat(&builder, held.id, 1).await?, Ok(false));
    }
    assert!(world.app.list_nodes().await?[0].state != NodeState::Offline, "it beat ten seconds ago");
    world.wait(61);
    assert_eq!(world.app.list_nodes().await?[0].state, NodeState::Offline);
    Ok(())
}

#[tokio::test]
async fn after_three_lost_leases_the_build_fails_with_that_reason() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let read = RepositoryRead::from(RepositoryWrite::from(right));
    run_until(world, |app, clock| {
        let (builder, read) = (builder.clone(), read.clone());
        async move {
            if app.claim(&builder).await.ok()?.is_some() {
                clock.advance(std::time::Duration::from_secs(31));
            }
            let build = app.get_build(&read, "1").await.ok()?.build;
            let reason = build.reason.filter(|_| build.state == BuildState::Failed)?;
            assert_eq!((reason.code, build.attempt), (FailureCode::LeaseLost, 3));
            Some(())
        }
    })
    .await
}

#[tokio::test]
async fn an_older_push_that_ends_later_does_not_move_the_tag_back() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let repository = right.repository().id;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let older = world.app.claim(&builder).await?.context("the older build")?.build;
    world.push(&right, &commit('2'), &commit('3')).await?;
    let newer = world.app.claim(&builder).await?.context("the newer build")?.build;
    assert!(older.ref_seq < newer.ref_seq);
    world.pushed(repository, &digest('a')).await?;
    world.pushed(repository, &digest('b')).await?;

    assert_eq!(world.app.finish(&builder, newer.id, 1, &BuilderOutcome::Pushed(digest('b'))).await?, Ok(BuildState::Success));
    assert_eq!(world.app.finish(&builder, older.id, 1, &BuilderOutcome::Pushed(digest('a'))).await?, Ok(BuildState::Success));
    let mut tx = world.app.db().read().await?;
    assert_eq!(images::get_tag(&mut tx, repository, "latest").await?.context("latest")?.digest, digest('b'));
    drop(tx);
    assert!(world.builds(&right).await?[0].note.as_deref().context("a note")?.contains("not moved"));

    // A retry of the old push keeps its place and does not move it either; a new start by hand does.
    let write = RepositoryWrite::from(right.clone());
    let account = right.repository().account;
    let retried = world.app.retry_build(&write, RetryBuild { build: older.id, no_cache: false }, account).await?;
    assert_eq!(retried.ref_seq, older.ref_seq);
    let claimed = world.app.claim(&builder).await?.context("the retry")?.build;
    world
        .app
        .finish(&builder, claimed.id, 1, &BuilderOutcome::Pushed(digest('a')))
        .await?
        .map_err(|fenced| anyhow::anyhow!(fenced.detail))?;
    let mut tx = world.app.db().read().await?;
    assert_eq!(images::get_tag(&mut tx, repository, "latest").await?.context("latest")?.digest, digest('b'));
    Ok(())
}

#[tokio::test]
async fn a_digest_that_the_registry_does_not_have_is_no_success() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let build = world.app.claim(&builder).await?.context("a build")?.build;
    assert_eq!(world.app.finish(&builder, build.id, 1, &BuilderOutcome::Pushed(digest('c'))).await?, Ok(BuildState::Failed));
    // The lost answer is given again, and nothing changes.
    assert_eq!(world.app.finish(&builder, build.id, 1, &BuilderOutcome::Pushed(digest('c'))).await?, Ok(BuildState::Failed));
    let ended = &world.builds(&right).await?[0];
    assert_eq!(ended.reason.as_ref().map(|reason| reason.code), Some(FailureCode::PushFailed));
    Ok(())
}

#[tokio::test]
async fn reports_are_kept_once_and_the_log_is_capped() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let build = world.app.claim(&builder).await?.context("a build")?.build;
    let now = world.clock.now();
    let line = |text: &str| vec![Progress::Log(None, text.to_owned(), now)];
    assert_eq!(world.app.report(&builder, build.id, 1, 1, &line("one\0\n")).await?, Ok(1));
    assert_eq!(world.app.report(&builder, build.id, 1, 1, &line("one again\n")).await?, Ok(1));
    assert_eq!(world.app.report(&builder, build.id, 1, 2, &line("two\n")).await?, Ok(2));
    let read = RepositoryRead::from(RepositoryWrite::from(right));
    let (_, chunks) = world.app.build_log(&read, build.id, 0, 100).await?;
    assert_eq!(chunks.iter().map(|chunk| chunk.text.as_str()).collect::<Vec<_>>(), ["one\u{fffd}\n", "two\n"]);
    let (_, rest) = world.app.build_log(&read, build.id, chunks[0].seq, 100).await?;
    assert_eq!(rest.len(), 1);
    Ok(())
}

#[tokio::test]
async fn cancelling_ends_a_waiting_build_and_tells_the_builder_of_a_running_one() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let running = world.app.claim(&builder).await?.context("a build")?.build;
    world.push(&right, &commit('2'), &commit('3')).await?;
    let waiting = world.builds(&right).await?[1].clone();
    let write = RepositoryWrite::from(right.clone());
    assert_eq!(world.app.cancel_build(&write, waiting.id, "demo").await?.state, BuildState::Cancelled);
    assert_eq!(world.app.cancel_build(&write, running.id, "demo").await?.state, BuildState::Running);
    assert_eq!(world.app.heartbeat(&builder, running.id, 1).await?, Ok(true));
    assert_eq!(world.app.finish(&builder, running.id, 1, &BuilderOutcome::Cancelled).await?, Ok(BuildState::Cancelled));
    assert!(world.app.cancel_build(&write, running.id, "demo").await.is_err(), "an ended build cannot be cancelled");
    Ok(())
}

#[tokio::test]
async fn a_captured_delivery_starts_nothing_under_any_id() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let body = serde_json::json!({"ref": "refs/heads/main", "before": commit('1'), "after": commit('2'), "repository": {"id": world.source_id}, "commits": []}).to_string();
    let first = match world.intake(&body, "same").await? {
        slipway_app::Intake::Stored(id) => id,
        other => anyhow::bail!("{other:?}"),
    };
    // A day later, and four: after that no delivery counts as late any more.
    for days in [1, 3] {
        world.wait(days * 24 * 3600);
        for id in ["same", "other"] {
            match world.intake(&body, id).await? {
                slipway_app::Intake::Duplicate(_, of) => assert_eq!(of, first),
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
    let read = RepositoryRead::from(RepositoryWrite::from(right));
    run_until(world, |app, _| {
        let read = read.clone();
        async move {
            let decided = app.get_delivery(&read, first).await.ok()?;
            decided.delivery.processed_at?;
            assert_eq!(app.list_builds(&read, &BuildsWanted::default(), None, 10).await.ok()?.len(), 1);
            Some(())
        }
    })
    .await
}
