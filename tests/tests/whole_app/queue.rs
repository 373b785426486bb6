//! The queue as builders see it: leases, fencing, batches, cancelling, retrying, tags that only go forward. The builder is scripted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_model::{FailureCode, FailureReason, Phase, Step, StepState, Timestamp};
use slipway_testkit::wait;
use slipway_tests::repository::text;
use slipway_tests::{Database, PASSWORD, PERSON, Repository, Setup, TestApp};
use slipway_wire::{EngineStatus, Event, MAX_LOG_CHUNK_BYTES, Outcome};

const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn log(text: &str) -> Event {
    Event::Log { step: Some("s1".to_owned()), text: text.to_owned(), at: AT }
}

fn step(state: StepState) -> Event {
    let name = "[1/1] FROM scratch".to_owned();
    Event::Step {
        step: Step {
            id: "s1".to_owned(),
            phase: Phase::Build,
            name,
            state,
            cached: false,
            started_at: Some(AT),
            finished_at: None,
            error: None,
        },
    }
}

async fn push(hello: &Repository<'_>, content: &str) -> Result<String> {
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("content", content)]).await?;
    Ok(text(&hello.build_of(&commit).await?, "id").to_owned())
}

async fn a_build_goes_through(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::default().on(database)).await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let queued = hello.build(&id).await?;
    assert_eq!((&queued["state"], &queued["position"]), (&json!("queued"), &json!(0)));
    assert!(text(&queued, "waits_for").starts_with("a builder: there is none"), "{queued}");

    let builder = app.builder("one").await?;
    let work = builder.claim().await?;
    assert_eq!((work.build.to_string(), work.attempt), (id.clone(), 1));
    assert_eq!(work.source.source_ref.as_str(), "refs/heads/main");
    assert!(!work.source.clone_url.contains('@'), "no credential stands in an address: {}", work.source.clone_url);
    assert_eq!(work.source.clone_url, app.github.clone_url("octo/hello"));
    assert!(work.source.credential.is_some());
    assert!(builder.try_claim().await?.is_none(), "a build is handed out once");

    let events = vec![Event::PhaseStarted { phase: Phase::Build, at: AT }, step(StepState::Running), log("first\n")];
    assert_eq!(builder.report(&work, 1, events.clone()).await?.unwrap().sequence, 1);
    // The answer was lost, the builder sends the batch again: it is kept once.
    assert_eq!(builder.report(&work, 1, events).await?.unwrap().sequence, 1);
    let running = hello.build(&id).await?;
    assert_eq!((&running["state"], &running["phase"], &running["builder"]), (&json!("running"), &json!("build"), &json!("one")));
    assert_eq!((&running["steps"][0]["name"], &running["steps"][0]["state"]), (&json!("[1/1] FROM scratch"), &json!("running")));
    assert_eq!(builder.report(&work, 2, vec![step(StepState::Success), log("second\n")]).await?.unwrap().sequence, 2);
    assert_eq!(builder.report(&work, 1, vec![log("from before\n")]).await?.unwrap().sequence, 2);
    assert_eq!(hello.log(&id).await?, "first\nsecond\n");
    let beat = builder.heartbeat(&work).await?.unwrap();
    assert!(!beat.cancel && beat.lease_seconds >= 10, "{beat:?}");

    let digest = builder.push(&app, &work, "image one").await?;
    assert_eq!(hello.tag("latest").await?, None, "a build's push moves no tag before its end");
    for _ in 0..2 {
        let ended = builder.finish(&work, Outcome::Pushed { digest: digest.clone() }).await?.unwrap();
        assert_eq!(ended.state.as_str(), "success", "the second answer is the first one");
    }
    let ended = hello.build(&id).await?;
    assert_eq!((&ended["state"], &ended["digest"], &ended["steps"][0]["state"]), (&json!("success"), &json!(digest), &json!("success")));
    assert_eq!(hello.tag("latest").await?.as_deref(), Some(digest.as_str()));
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest);
    // It is over: nothing changes it any more.
    assert!(builder.report(&work, 3, vec![log("late\n")]).await?.unwrap_err().contains("ended"));
    assert!(builder.heartbeat(&work).await?.is_err());
    let contradiction = Outcome::Failed { reason: FailureReason::new(FailureCode::Internal, "no"), retry: false };
    assert_eq!(builder.finish(&work, contradiction).await?.unwrap().state.as_str(), "success");
    assert_eq!(hello.build(&id).await?, ended);
    assert_eq!(hello.log(&id).await?, "first\nsecond\n");
    let denied = builder.push(&app, &work, "image two").await;
    assert!(denied.is_err(), "the build's credential outlived the build");
    app.finish().await
}

#[tokio::test]
async fn a_build_goes_through_on_sqlite() -> Result<()> {
    a_build_goes_through(Database::Sqlite).await
}

#[tokio::test]
async fn a_build_goes_through_on_postgresql() -> Result<()> {
    a_build_goes_through(Database::Postgres).await
}

#[tokio::test]
async fn who_lost_the_lease_changes_nothing() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let (first, second) = (app.builder("first").await?, app.builder("second").await?);
    let old = first.claim().await?;
    let old_digest = first.push(&app, &old, "of the first").await?;
    assert!(first.release(&old).await?.is_ok());
    assert_eq!(hello.build(&id).await?["state"], "queued");
    let new = second.claim().await?;
    assert_eq!((new.build, new.attempt), (old.build, 2));
    let before = hello.build(&id).await?;

    // Same builder, same build, but another attempt holds it now.
    for verb in ["heartbeat", "report", "finish", "release"] {
        let body =
            json!({ "attempt": 1, "sequence": 1, "events": [], "outcome": { "outcome": "pushed", "digest": old_digest }, "note": "" });
        let answer = first.send(&format!("/builds/{id}/{verb}"), &body).await?;
        assert_eq!(answer.status, 409, "{verb}: {}", answer.text);
        assert!(answer.text.contains("attempt 2 took over"), "{verb}: {}", answer.text);
    }
    // Another builder with the right number of the attempt is not the holder either.
    let mut stolen = new.clone();
    stolen.builder = old.builder;
    assert!(first.finish(&stolen, Outcome::Pushed { digest: old_digest.clone() }).await?.is_err());
    assert_eq!(hello.build(&id).await?, before, "a fenced call changed something");
    assert_eq!(hello.tag("latest").await?, None);
    assert!(first.push(&app, &old, "later").await.is_err(), "the first attempt's registry credential is still good");

    let digest = second.succeed(&app, &new, "of the second").await?;
    assert_eq!(hello.tag("latest").await?, Some(digest));
    let fenced: u64 = app
        .stranger()
        .open("/metrics")
        .await?
        .text
        .lines()
        .find_map(|line| line.strip_prefix("slipway_fenced_total ")?.parse().ok())
        .context("fenced calls are counted")?;
    assert!(fenced >= 5, "{fenced}");
    app.finish().await
}

/// The attempt's number is no secret: the builder that holds the build is known by its token.
#[tokio::test]
async fn a_builder_that_holds_nothing_changes_nothing_of_a_build_that_runs_or_has_ended() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let (holder, foreign) = (app.builder("holder").await?, app.builder("foreign").await?);
    let work = holder.claim().await?;
    assert_eq!(holder.report(&work, 1, vec![step(StepState::Running), log("of the holder\n")]).await?.unwrap().sequence, 1);
    let digest = holder.push(&app, &work, "an image").await?;
    let change_nothing = async |when: &str| {
        let (build, text) = (hello.build(&id).await?, hello.log(&id).await?);
        let pushed = json!({ "outcome": "pushed", "digest": digest });
        let failed = json!({ "outcome": "failed", "reason": FailureReason::new(FailureCode::Internal, "no"), "retry": false });
        for (verb, outcome) in [("heartbeat", &pushed), ("report", &pushed), ("release", &pushed), ("finish", &pushed), ("finish", &failed)]
        {
            let body = json!({
                "attempt": work.attempt, "sequence": 2, "events": [step(StepState::Failed), log("of another\n")], "outcome": outcome,
                "note": "of another",
            });
            let answer = foreign.send(&format!("/builds/{id}/{verb}"), &body).await?;
            assert_eq!(answer.status, 409, "`{verb}` {when}: {}", answer.text);
        }
        assert_eq!(hello.build(&id).await?, build, "{when}");
        assert_eq!(hello.log(&id).await?, text, "{when}");
        anyhow::Ok(())
    };
    change_nothing("while it runs").await?;
    assert_eq!(hello.tag("latest").await?, None);
    assert!(!holder.heartbeat(&work).await?.unwrap().cancel, "the holder holds it still");
    assert_eq!(holder.report(&work, 2, vec![log("and its end\n")]).await?.unwrap().sequence, 2);
    assert_eq!(holder.finish(&work, Outcome::Pushed { digest: digest.clone() }).await?.unwrap().state.as_str(), "success");
    assert_eq!(hello.log(&id).await?, "of the holder\nand its end\n");
    change_nothing("after it ended").await?;
    assert_eq!(hello.tag("latest").await?, Some(digest));
    assert!(foreign.try_claim().await?.is_none());
    app.finish().await
}

#[tokio::test]
async fn a_silent_builder_loses_its_build_to_another() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let (silent, other) = (app.builder("silent").await?, app.builder("other").await?);
    let lost = silent.claim().await?;
    silent.report(&lost, 1, vec![log("before the silence\n")]).await?.unwrap();
    let digest = silent.push(&app, &lost, "of the silent one").await?;
    let taken = app.wait_for("the lease to end", || async { other.try_claim().await }).await?;
    assert_eq!((taken.build, taken.attempt), (lost.build, 2));
    assert!(text(&hello.build(&id).await?, "note").contains("went silent"));
    assert!(silent.finish(&lost, Outcome::Pushed { digest }).await?.unwrap_err().contains("took over"));
    assert!(silent.heartbeat(&lost).await?.is_err());
    let digest = other.succeed(&app, &taken, "of the other").await?;
    assert_eq!(hello.tag("latest").await?, Some(digest));
    assert_eq!(hello.builds().await?.len(), 1);
    app.finish().await
}

#[tokio::test]
async fn cancelling_and_retrying() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let waiting = push(&hello, "1").await?;
    let cancelled = app.api.post(&hello.at(&format!("/builds/{waiting}/cancel")), &json!({})).await?;
    assert_eq!((&cancelled["state"], &cancelled["reason"]["code"]), (&json!("cancelled"), &json!("cancelled")));
    assert!(text(&cancelled["reason"], "text").contains("demo while it waited"), "{cancelled}");
    let builder = app.builder("one").await?;
    assert!(builder.try_claim().await?.is_none());
    app.api.try_api(Method::POST, &hello.at(&format!("/builds/{waiting}/cancel")), Some(&json!({}))).await?.problem(409)?;

    let id = push(&hello, "2").await?;
    app.api.try_api(Method::POST, &hello.at(&format!("/builds/{id}/retry")), Some(&json!({}))).await?.problem(409)?;
    let work = builder.claim().await?;
    assert!(!builder.heartbeat(&work).await?.unwrap().cancel);
    assert_eq!(app.api.post(&hello.at(&format!("/builds/{id}/cancel")), &json!({})).await?["cancel_requested"], true);
    assert!(builder.heartbeat(&work).await?.unwrap().cancel, "the next heartbeat says so");
    assert_eq!(builder.finish(&work, Outcome::Cancelled).await?.unwrap().state.as_str(), "cancelled");

    let again = app.api.post(&hello.at(&format!("/builds/{id}/retry")), &json!({})).await?;
    assert_ne!(again["id"], id);
    assert_eq!((&again["retry_of"], &again["cause"], &again["state"]), (&json!(id), &json!("retry"), &json!("queued")));
    for same in ["commit", "source_ref", "tags", "rule_id"] {
        assert_eq!(again[same], hello.build(&id).await?[same], "{same}");
    }
    let work = builder.claim().await?;
    assert_eq!(work.build.to_string(), text(&again, "id"));
    let digest = builder.succeed(&app, &work, "again").await?;
    assert_eq!(hello.tag("latest").await?, Some(digest));
    assert_eq!(hello.build(&id).await?["state"], "cancelled", "the first one stays as it was");
    app.finish().await
}

/// Whatever its builder says last: a cancelled build does not wait for another one.
#[tokio::test]
async fn a_cancelled_build_never_comes_back_to_the_queue() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;
    for (content, last) in [("1", "release"), ("2", "finish")] {
        let id = push(&hello, content).await?;
        let work = builder.claim().await?;
        assert_eq!(app.api.post(&hello.at(&format!("/builds/{id}/cancel")), &json!({})).await?["cancel_requested"], true);
        if last == "release" {
            builder.release(&work).await?.unwrap();
        } else {
            let passing = FailureReason::new(FailureCode::EngineUnavailable, "no engine answers");
            let answer = builder.finish(&work, Outcome::Failed { reason: passing, retry: true }).await?.unwrap();
            assert_eq!(answer.state.as_str(), "cancelled");
        }
        let ended = hello.build(&id).await?;
        assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("cancelled"), &json!("cancelled")), "{last}: {ended}");
        assert!(builder.try_claim().await?.is_none());
    }
    app.finish().await
}

#[tokio::test]
async fn tags_only_go_forward() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;
    let (first, older) = (push(&hello, "1").await?, builder.claim().await?);
    let (second, newer) = (push(&hello, "2").await?, builder.claim().await?);
    assert_eq!((older.build.to_string(), newer.build.to_string()), (first.clone(), second));
    let newest = builder.succeed(&app, &newer, "of the second push").await?;
    let old = builder.succeed(&app, &older, "of the first push").await?;
    assert_eq!(hello.tag("latest").await?, Some(newest.clone()), "an older push took the tag back");
    let ended = hello.build(&first).await?;
    assert_eq!((&ended["state"], &ended["digest"]), (&json!("success"), &json!(old)));
    assert!(text(&ended, "note").contains("not moved") && text(&ended, "note").contains("latest"), "{ended}");
    assert_eq!(app.registry().pull("demo/hello", &old).await?, old, "its image is there by digest");

    // A retry of the first push stands where the first push stood.
    app.api.post(&hello.at(&format!("/builds/{first}/retry")), &json!({})).await?;
    let retried = builder.claim().await?;
    builder.succeed(&app, &retried, "of the first push, again").await?;
    assert_eq!(hello.tag("latest").await?, Some(newest));
    // A new push moves it.
    push(&hello, "3").await?;
    let third = builder.claim().await?;
    let third = builder.succeed(&app, &third, "of the third push").await?;
    assert_eq!(hello.tag("latest").await?, Some(third));
    app.finish().await
}

#[tokio::test]
async fn pushes_that_are_told_out_of_order_end_at_the_newest() -> Result<()> {
    use slipway_testkit::github::{ReleaseOrder, Webhooks};
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.build_every_push().await?;
    app.github.set_webhooks(Webhooks::Hold);
    let old = app.github.commit("octo/hello", "main", &[("a", "1")], "First").await?;
    let new = app.github.commit("octo/hello", "main", &[("a", "2")], "Second").await?;
    app.github.release_held_webhooks(ReleaseOrder::NewestFirst).await;
    hello.decided().await?;
    let builder = app.builder("one").await?;
    let mut digests = std::collections::BTreeMap::new();
    while let Some(work) = builder.try_claim().await? {
        let digest = builder.succeed(&app, &work, work.source.commit.as_str()).await?;
        digests.insert(work.source.commit.to_string(), digest);
    }
    assert_eq!(digests.len(), 2, "both were pushed, both are built");
    assert_eq!(hello.tag("latest").await?.as_ref(), digests.get(&new), "the tag stands on the older push {old}");
    app.finish().await
}

/// A newer push makes an older one that waits needless, whichever of the two is told first.
#[tokio::test]
async fn the_newest_push_is_built_and_older_ones_that_wait_are_not() -> Result<()> {
    use slipway_testkit::github::{ReleaseOrder, Webhooks};
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;
    let (running, work) = (push(&hello, "1").await?, builder.claim().await?);
    let (waiting, newest) = (push(&hello, "2").await?, push(&hello, "3").await?);
    let number = hello.build(&newest).await?["number"].clone();
    let why = json!({ "code": "superseded", "text": format!("superseded by #{number}, a newer push of branch `main`") });
    let gone = hello.build(&waiting).await?;
    assert_eq!((&gone["state"], &gone["reason"]), (&json!("cancelled"), &why), "{gone}");
    let verdict = hello.decided().await?.remove(0)["verdicts"][0].clone();
    assert!(text(&verdict, "text").ends_with(&format!("; #{} waited still and is cancelled", gone["number"])), "{verdict}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&format!("/{}/builds/{}", hello.path(), gone["number"])).await?.text;
    assert!(page.contains("a newer push of branch") && page.contains("What came since is built instead"), "{page}");

    // Two more, the newer of them told first: the older one is gone before it waits.
    app.github.set_webhooks(Webhooks::Hold);
    let old = app.github.commit("octo/hello", "main", &[("a", "1")], "First").await?;
    let new = app.github.commit("octo/hello", "main", &[("a", "2")], "Second").await?;
    app.github.release_held_webhooks(ReleaseOrder::NewestFirst).await;
    app.github.set_webhooks(Webhooks::Deliver);
    let (old, new) = (hello.build_of(&old).await?, hello.build_of(&new).await?);
    assert_eq!((&old["state"], &new["state"]), (&json!("cancelled"), &json!("queued")), "{old}");
    assert_eq!(text(&old["reason"], "text"), format!("superseded by #{}, a newer push of branch `main`", new["number"]));
    assert_eq!(hello.build(&newest).await?["state"], "cancelled");
    assert_eq!(hello.build(&running).await?["state"], "running", "what runs goes on");
    builder.succeed(&app, &work, "of the first push").await?;
    let last = builder.claim().await?;
    assert_eq!(json!(last.build.to_string()), new["id"]);
    assert!(builder.try_claim().await?.is_none());

    // Who wants every push built says so, and a change that does not name it leaves it.
    let ticked = async || {
        let page = browser.open(&format!("/{}/autobuild", hello.path())).await?.text;
        anyhow::Ok(page.contains(r#"name="cancel_superseded" value="true" checked"#))
    };
    assert!(ticked().await?);
    hello.build_every_push().await?;
    hello.put_autobuild(json!([])).await?;
    assert!(!ticked().await?);
    let every = [push(&hello, "4").await?, push(&hello, "5").await?];
    for id in every {
        assert_eq!(hello.build(&id).await?["state"], "queued");
    }
    app.finish().await
}

#[tokio::test]
async fn a_builder_without_engine_gets_nothing_and_the_build_says_why() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let builder = app.builder("one").await?;
    let unavailable = EngineStatus::Unavailable { problem: "no engine at `x`".to_owned(), hint: "start docker".to_owned() };
    assert!(builder.claim_with(unavailable, 0).await?.is_none());
    let build = hello.build(&id).await?;
    assert_eq!((&build["state"], &build["waits_for"]), (&json!("queued"), &json!("no engine at `x`: start docker")));
    assert_eq!(builder.claim().await?.build.to_string(), id, "with an engine it gets it");
    app.finish().await
}

#[tokio::test]
async fn a_failure_outside_of_the_source_is_tried_again_and_one_inside_is_not() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let builder = app.builder("one").await?;
    let work = builder.claim().await?;
    let gone = FailureReason::new(FailureCode::EngineUnavailable, "the engine went away");
    assert_eq!(builder.finish(&work, Outcome::Failed { reason: gone, retry: true }).await?.unwrap().state.as_str(), "queued");
    let build = hello.build(&id).await?;
    assert!(text(&build, "note").contains("the engine went away"), "{build}");
    let again = wait::until("the build to be due again", Duration::from_secs(20), || builder.try_claim()).await?;
    assert_eq!((again.build, again.attempt), (work.build, 2));
    let reason = FailureReason::new(FailureCode::StepFailed, "step `RUN false` exited with 1");
    assert_eq!(builder.finish(&again, Outcome::Failed { reason, retry: false }).await?.unwrap().state.as_str(), "failed");
    let build = hello.build(&id).await?;
    assert_eq!((&build["reason"]["code"], &build["reason"]["text"]), (&json!("step_failed"), &json!("step `RUN false` exited with 1")));

    // A builder that says it pushed what the registry does not have.
    push(&hello, "2").await?;
    let work = builder.claim().await?;
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(builder.finish(&work, Outcome::Pushed { digest }).await?.unwrap().state.as_str(), "failed");
    assert_eq!(hello.build(&work.build.to_string()).await?["reason"]["code"], "push_failed");
    assert_eq!(hello.tags().await?.len(), 0);
    app.finish().await
}

#[tokio::test]
async fn the_protocol_refuses_what_it_should() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "1").await?;
    let builder = app.builder("one").await?;
    let claim = json!({ "protocol": 2, "name": "x", "version": "x", "parallel": 1, "engine": { "state": "ready", "description": "x" }, "wait_seconds": 0 });
    let foreign = format!("slb_{}", "0".repeat(64));
    for (who, client) in [("nobody", app.stranger()), ("a person", app.api.clone()), ("an unknown token", app.client(&foreign))] {
        let answer = client.send(Method::POST, "/builder/v1/claim", Some(&claim)).await?;
        assert_eq!(answer.status, 401, "{who}");
    }
    let work = builder.claim().await?;
    let long = "x".repeat(MAX_LOG_CHUNK_BYTES + 1);
    let report = format!("/builds/{id}/report");
    assert_eq!(builder.send(&report, &json!({ "attempt": 1, "sequence": 1, "events": [log(&long)] })).await?.status, 413);
    let huge: Vec<Event> = (0..20).map(|_| log(&long[..MAX_LOG_CHUNK_BYTES])).collect();
    assert_eq!(builder.send_apart(&report, &json!({ "attempt": 1, "sequence": 1, "events": huge })).await?.status, 413);
    assert_eq!(builder.send("/builds/01977c9d-0000-7000-8000-000000000000/heartbeat", &json!({ "attempt": 1 })).await?.status, 409);
    assert_eq!(hello.log(&id).await?, "");
    // Bytes that a database may not like.
    let odd = "NUL \u{0} escape \u{1b}[31m end\n";
    builder.report(&work, 1, vec![log(odd)]).await?.unwrap();
    assert!(hello.log(&id).await?.starts_with("NUL "));
    // The build's own credential is for its repository alone.
    app.create_repository("second").await?;
    let credential = &work.registry.credential;
    let registry = slipway_tests::registry::Registry::new(&app, &credential.username, &credential.password);
    assert!(registry.push("demo/second", None, &[b"x".to_vec()]).await.is_err(), "a build pushed to another repository");
    let by_tag = registry.push("demo/hello", Some("latest"), &[b"x".to_vec()]).await;
    assert_eq!(hello.tag("latest").await?, None, "a build's push by tag moved the tag ({by_tag:?})");
    let _: Value = app.api.get("/me").await?;
    assert_eq!(app.client(&credential.password).open("/api/v1/me").await?.status, 401, "a build's credential is none for the API");
    app.finish().await
}
