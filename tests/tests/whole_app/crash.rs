//! Power cuts: nothing that was acknowledged is lost, and no build runs to two results.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_testkit::wait;
use slipway_tests::provider::{Request, ZERO, push_payload};
use slipway_tests::repository::{is_final, text};
use slipway_tests::{Database, PATIENCE, Repository, Setup, TestApp};
use slipway_wire::Outcome;

const DELIVERIES: usize = 50;

/// New branches, one for each delivery: whether a push that contradicts what is known of its branch was overtaken is asked at the provider.
fn branch(number: usize) -> String {
    format!("refs/heads/branch-{number}")
}

async fn every_branch_is_built(app: &TestApp, name: &str) -> Result<()> {
    let rules = json!([{ "source_type": "branch", "source": "/.*/", "tags": "{sourceref}" }]);
    app.linked_repository(name).await?.put_autobuild(rules).await.map(drop)
}

async fn acknowledged_deliveries_survive(database: Database) -> Result<()> {
    let mut app = TestApp::with(Setup::default().on(database)).await?;
    let name = "hello";
    every_branch_is_built(&app, name).await?;
    let requests = {
        let hello = Repository::new(&app, name);
        let request = |number: usize| {
            let payload = push_payload(&app, "octo/hello", &branch(number), ZERO, &format!("{:040x}", number + 1));
            Request::to(&hello, "push", &format!("delivery-{number}"), &payload)
        };
        (0..DELIVERIES).map(request).collect::<Result<Vec<_>>>()?
    };
    let mut sending = tokio::task::JoinSet::new();
    for request in requests {
        let http = app.http().clone();
        sending.spawn(async move { request.send(&http).await });
    }
    while let Some(answer) = sending.join_next().await {
        let answer = answer??;
        ensure!(answer.status == 202, "a delivery was answered {}: {}", answer.status, answer.text);
    }
    // Some are decided by now, some are not.
    app.kill9()?;
    app.restart().await?;
    {
        let hello = Repository::new(&app, name);
        let all = hello.decided().await?;
        let pushes: Vec<&Value> = all.iter().filter(|delivery| delivery["event"] == "push").collect();
        assert_eq!(pushes.len(), DELIVERIES, "acknowledged deliveries are lost");
        for delivery in &pushes {
            assert_eq!(delivery["verdicts"].as_array().map(Vec::len), Some(1), "{delivery}");
            assert_eq!(delivery["verdicts"][0]["outcome"], "built", "{delivery}");
        }
        let builds = hello.builds().await?;
        let mut commits: Vec<&str> = builds.iter().map(|build| text(build, "commit")).collect();
        commits.sort_unstable();
        commits.dedup();
        assert_eq!((builds.len(), commits.len()), (DELIVERIES, DELIVERIES), "each is built once");
        let mut numbers: Vec<u64> = builds.iter().filter_map(|build| build["number"].as_u64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=DELIVERIES as u64).collect::<Vec<_>>());
    }
    app.finish().await
}

#[tokio::test]
async fn acknowledged_deliveries_survive_on_sqlite() -> Result<()> {
    acknowledged_deliveries_survive(Database::Sqlite).await
}

#[tokio::test]
async fn acknowledged_deliveries_survive_on_postgresql() -> Result<()> {
    acknowledged_deliveries_survive(Database::Postgres).await
}

/// The provider is told nothing when the server dies before its answer; it was not acknowledged, so it may be there or not, but whole.
#[tokio::test]
async fn a_cut_in_the_middle_of_intake_leaves_whole_deliveries() -> Result<()> {
    let mut app = TestApp::start().await?;
    every_branch_is_built(&app, "hello").await?;
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..200_usize {
        let payload = push_payload(&app, "octo/hello", &branch(number), ZERO, &format!("{:040x}", number + 1));
        let request = Request::to(&Repository::new(&app, "hello"), "push", &format!("delivery-{number}"), &payload)?;
        let http = app.http().clone();
        sending.spawn(async move { (number, request.send(&http).await.is_ok_and(|answer| answer.status == 202)) });
    }
    let mut acknowledged = Vec::new();
    while let Some(done) = sending.join_next().await {
        let (number, kept) = done?;
        acknowledged.extend(kept.then(|| format!("delivery-{number}")));
        if kept && acknowledged.len() == 40 {
            app.kill9()?;
        }
    }
    ensure!((40..200).contains(&acknowledged.len()), "the cut came too late: {}", acknowledged.len());
    app.restart().await?;
    {
        let hello = Repository::new(&app, "hello");
        let all = hello.decided().await?;
        for id in &acknowledged {
            let found = all
                .iter()
                .find(|delivery| delivery["delivery_id"] == id.as_str())
                .with_context(|| format!("`{id}` was acknowledged and is lost"))?;
            assert_eq!(found["verdicts"][0]["outcome"], "built", "{found}");
        }
        let pushes = all.iter().filter(|delivery| delivery["event"] == "push").count();
        assert_eq!(hello.builds().await?.len(), pushes, "a delivery without its build, or a build without its delivery");
    }
    app.finish().await
}

/// Kills the server while a build is where `reached` says, starts it again, and holds the outcome against what is promised.
async fn cut_at(app: &mut TestApp, what: &str, files: &[(&str, &str)], reached: impl Fn(&Value) -> bool) -> Result<()> {
    let (id, before) = {
        let hello = Repository::new(app, "hello");
        let before = hello.tag("latest").await?.context("an image stands from before")?;
        let commit = app.github.commit("octo/hello", "main", files, what).await?;
        app.github.settle().await;
        let id = text(&hello.build_of(&commit).await?, "id").to_owned();
        let seen = wait::until(what, PATIENCE, || async {
            let build = hello.build(&id).await?;
            ensure!(!is_final(&build["state"]), "the build ended before the cut: {build}");
            Ok(reached(&build).then_some(build))
        });
        seen.await?;
        (id, before)
    };
    app.kill9()?;
    app.github.set_latency(Duration::ZERO);
    app.restart().await?;
    let hello = Repository::new(app, "hello");
    // At no time the tag is anything but the old image or the new one, and it is pullable.
    let at_once = app.registry().skopeo_digest("demo/hello", "latest").await?;
    let ended = hello.ended(&id, "success").await.with_context(|| format!("after the cut: {what}"))?;
    let digest = text(&ended, "digest").to_owned();
    assert!(at_once == before || at_once == digest, "{what}: the tag stood on {at_once}, expected {before} or {digest}");
    assert_eq!(app.registry().skopeo_digest("demo/hello", "latest").await?, digest, "{what}");
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest, "{what}");
    assert_ne!(digest, before, "{what}: nothing new was built");
    assert_eq!(ended["attempt"], 2, "{what}: the first attempt died with the server: {ended}");
    let same: Vec<Value> = hello.builds().await?.into_iter().filter(|build| build["commit"] == ended["commit"]).collect();
    assert_eq!(same.len(), 1, "{what}: {same:?}");
    Ok(())
}

#[tokio::test]
async fn a_cut_at_each_point_of_a_build_ends_in_one_result() -> Result<()> {
    let mut app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    {
        let hello = app.linked_repository("hello").await?;
        let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN echo 0 > /number\n"))]).await?;
        let first = text(&hello.build_of(&commit).await?, "id").to_owned();
        hello.ended(&first, "success").await?;
    }
    let phase = |name: &'static str| move |build: &Value| build["state"] == "running" && build["phase"] == name;

    app.github.set_latency(Duration::from_millis(1500));
    let dockerfile = format!("FROM {base}\nRUN echo 1 > /number\n");
    cut_at(&mut app, "during the checkout", &[("Dockerfile", &dockerfile)], phase("checkout")).await?;

    let dockerfile = format!("FROM {base}\nRUN sleep 4.4 && echo 2 > /number\n");
    let sleeping = |build: &Value| {
        build["steps"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|step| text(step, "name").contains("sleep 4.4") && step["state"] == "running"))
    };
    cut_at(&mut app, "during a RUN", &[("Dockerfile", &dockerfile)], sleeping).await?;

    let dockerfile = format!("FROM {base}\nRUN head -c 40000000 /dev/urandom > /large && echo 3 > /number\n");
    cut_at(&mut app, "during the push", &[("Dockerfile", &dockerfile)], phase("push")).await?;

    let dockerfile = format!("FROM {base}\nRUN echo 4 > /number\n");
    let files = [("Dockerfile", dockerfile.as_str()), ("hooks/pre_build", "sleep 4.3\n")];
    let in_step = |id: &'static str| {
        move |build: &Value| {
            build["steps"].as_array().is_some_and(|steps| steps.iter().any(|step| step["id"] == id && step["state"] == "running"))
        }
    };
    cut_at(&mut app, "during a hook", &files, in_step("hook:pre_build")).await?;

    let dockerfile = format!("FROM {base}\nRUN echo 5 > /number\n");
    let test = "services: {sut: {image: \"$IMAGE_NAME\", command: sleep 4.3}}\n";
    let files = [("Dockerfile", dockerfile.as_str()), ("hooks/pre_build", "true\n"), ("a.test.yml", test)];
    cut_at(&mut app, "during a test", &files, in_step("test:a.test.yml")).await?;

    let fsck = app.command(&["admin", "fsck", "--deep"], "")?;
    assert_eq!(fsck.code, 0, "{}{}", fsck.stdout, fsck.stderr);
    app.wait_for("the builder to clean up after the dead attempts", || async { Ok(app.left_behind()?.is_empty().then_some(())) }).await?;
    app.finish().await
}

/// The last moment: the image is in the registry, the builder has not said so yet. And the one after it: it has, and did not hear the answer.
#[tokio::test]
async fn a_cut_between_push_and_finish_and_one_after_finish() -> Result<()> {
    let mut app = TestApp::start().await?;
    app.linked_repository("hello").await?;
    let commit = app.github.commit("octo/hello", "main", &[("a", "b")], "A change").await?;
    app.github.settle().await;
    let id = text(&Repository::new(&app, "hello").build_of(&commit).await?, "id").to_owned();
    let builder = app.builder("remote").await?;
    let work = builder.claim().await?;
    let digest = builder.push(&app, &work, "the image").await?;
    app.kill9()?;
    app.restart().await?;
    // A builder on another machine did not die: its lease stands, and its word counts.
    assert_eq!(Repository::new(&app, "hello").build(&id).await?["state"], "running");
    let finish = Outcome::Pushed { digest: digest.clone() };
    assert_eq!(builder.finish(&work, finish.clone()).await?.unwrap().state.as_str(), "success");
    app.kill9()?;
    app.restart().await?;
    assert_eq!(builder.finish(&work, finish).await?.unwrap().state.as_str(), "success", "asked again it gives the same answer");
    {
        let hello = Repository::new(&app, "hello");
        let build = hello.build(&id).await?;
        assert_eq!((&build["state"], &build["digest"], &build["attempt"]), (&json!("success"), &json!(digest), &json!(1)));
        assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest);
    }
    app.finish().await
}

#[tokio::test]
async fn asked_to_end_it_hands_a_running_build_back() -> Result<()> {
    let mut app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    app.linked_repository("hello").await?;
    let dockerfile = format!("FROM {base}\nRUN test -e /never || sleep 9.9\n");
    let commit = app.github.commit("octo/hello", "main", &[("Dockerfile", &dockerfile)], "A change").await?;
    app.github.settle().await;
    let id = {
        let hello = Repository::new(&app, "hello");
        let id = text(&hello.build_of(&commit).await?, "id").to_owned();
        hello.until(&id, "the build to run", |build| build["phase"] == "build").await?;
        id
    };
    // The configured time is 5 s, the step takes longer.
    app.stop().await?;
    app.restart().await?;
    {
        let hello = Repository::new(&app, "hello");
        let ended = hello.ended(&id, "success").await?;
        assert_eq!(ended["attempt"], 2, "{ended}");
        assert_eq!(app.registry().skopeo_digest("demo/hello", "latest").await?, text(&ended, "digest"));
    }
    app.finish().await
}
