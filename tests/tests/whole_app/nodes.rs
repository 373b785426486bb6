//! Builders on other machines as real processes: joining, draining, limits, removal; and how an administrator sees them.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::json;
use slipway_model::{FailureCode, FailureReason};
use slipway_tests::remote::Network;
use slipway_tests::repository::text;
use slipway_tests::{Repository, Setup, TestApp};
use slipway_wire::Outcome;

#[tokio::test]
async fn a_machine_joins_once_keeps_its_credential_and_needs_the_token_no_more() -> Result<()> {
    let app = TestApp::start().await?;
    let mut builder = app.remote_builder("one").await?;
    let kept = builder.folder().join("data/builder/node.json");
    assert_eq!(std::fs::metadata(&kept)?.permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(builder.folder().join("token"))?;
    let credential = std::fs::read_to_string(&kept)?;
    ensure!(!credential.contains(&token), "the join token is not kept");

    // The token has been used: another machine gets nowhere with it, and is told what to do.
    let refused = app.try_builder(&app.builder_folder("two", &token)?)?;
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for words in ["was used already by the node", "it works once", "hint: put another join token into the token file"] {
        ensure!(refused.stderr.contains(words), "expected `{words}`: {}", refused.stderr);
    }
    // Tokens of other kinds are told apart before anything is sent.
    let refused = app.try_builder(&app.builder_folder("three", &app.token)?)?;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    ensure!(refused.stderr.contains("found a personal access token"), "{}", refused.stderr);

    // It dies after the server's answer and before it kept it: it asks again with the same, and is the same node.
    builder.kill()?;
    std::fs::rename(&kept, kept.with_file_name("joining.json"))?;
    builder.start()?;
    app.wait_for("the exchange to be repeated", || async { Ok(kept.exists().then_some(())) }).await?;
    assert_eq!(std::fs::read_to_string(&kept)?, credential);

    // With its credential it needs the token no more.
    builder.stop().await?;
    std::fs::remove_file(builder.folder().join("token"))?;
    let before = app.nodes().await?[0]["seen_at"].clone();
    builder.start()?;
    app.wait_for("the builder to speak again", || async {
        let node = app.api.get(&format!("/admin/builders/{}", builder.id)).await?;
        Ok((node["state"] == "idle" && node["seen_at"] != before).then_some(()))
    })
    .await?;
    assert_eq!(app.nodes().await?.len(), 1);

    // Removed, it is nobody at once, and says so.
    let node = app.api.get(&format!("/admin/builders/{}", builder.id)).await?;
    assert_eq!((&node["builtin"], &node["joined_by"], &node["labels"]), (&json!(false), &json!("demo"), &json!(["builder"])));
    ensure!(text(&node, "git").starts_with("git version 2") && text(&node, "engine").starts_with("Docker Engine"), "{node}");
    let path = format!("/admin/builders/{}", builder.id);
    app.api.try_api(Method::DELETE, &path, Some(&json!({ "confirm": "another" }))).await?.problem(422)?;
    let confirm = json!({ "confirm": node["name"] });
    assert_eq!(app.api.try_api(Method::DELETE, &path, Some(&confirm)).await?.status, 204);
    assert_eq!(builder.ended().await?, 1);
    ensure!(builder.said("does not know this builder") && builder.said("makes a join token under Builder nodes"), "{}", builder.log.tail());
    assert!(app.nodes().await?.is_empty());
    app.finish().await
}

#[tokio::test]
async fn without_a_token_or_a_credential_a_machine_is_told_what_to_do() -> Result<()> {
    let app = TestApp::start().await?;
    let folder = app.builder_folder("one", "")?;
    std::fs::remove_file(folder.join("token"))?;
    let refused = app.try_builder(&folder)?;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    ensure!(refused.stderr.contains("has not joined yet") && refused.stderr.contains("under Builder nodes"), "{}", refused.stderr);
    app.finish().await
}

/// Two builders, of which one is drained: the other one gets the build, within the limit of its labels.
#[tokio::test]
async fn drained_and_limited_builders_get_no_more_than_they_may() -> Result<()> {
    let app = TestApp::start().await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let (one, two) = (app.remote_builder("one").await?, app.remote_builder("two").await?);
    assert_eq!(app.drain(&one.id, &json!(true)).await?["state"], "drained");
    app.api.patch(&format!("/admin/builders/{}", two.id), &json!({ "labels": ["ssd"] })).await?;
    let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN sleep 4.2\n"))]).await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    let waiting = hello.build(&id).await?;
    let words = text(&waiting, "waits_for");
    ensure!(words.contains("1 has no label `builder`") && words.contains("1 is draining"), "{waiting}");
    let page = app.sign_in(slipway_tests::PERSON, slipway_tests::PASSWORD).await?.open("/builders").await?;
    ensure!(
        page.text.contains("drained") && page.text.contains("no label") && page.text.contains("no builder takes builds"),
        "{}",
        page.text
    );
    app.api.patch(&format!("/admin/builders/{}", two.id), &json!({ "labels": ["builder=1", "ssd"] })).await?;
    hello.until(&id, "the build to run", |build| build["state"] == "running").await?;
    assert_eq!(app.node_until(&two.id, "full").await?["running"], 1);
    assert_eq!(app.drain(&two.id, &json!(true)).await?["state"], "draining");
    hello.ended(&id, "success").await?;
    app.node_until(&two.id, "drained").await?;
    assert_eq!(app.drain(&one.id, &json!(false)).await?["state"], "idle");
    app.finish().await
}

/// A builder that ends hands its build back, and that uses up none of the tries.
#[tokio::test]
async fn a_builder_that_ends_hands_back_and_costs_no_try() -> Result<()> {
    let app = TestApp::start().await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let mut one = app.remote_builder("one").await?;
    let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN sleep 3.3\n"))]).await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    // More often than a build may be tried.
    for attempt in 1..=4 {
        hello.until(&id, "the build to run", |build| build["attempt"] == attempt && build["phase"] == "build").await?;
        one.stop().await?;
        hello.until(&id, "the build to wait again", |build| build["state"] == "queued").await?;
        one.start()?;
    }
    let ended = hello.ended(&id, "success").await?;
    assert_eq!(ended["attempt"], 5, "{ended}");
    assert_eq!(Repository::new(&app, "hello").tag("latest").await?.as_deref(), ended["digest"].as_str());
    app.finish().await
}

#[tokio::test]
async fn what_is_too_old_is_refused_with_found_and_wanted() -> Result<()> {
    let app = TestApp::start().await?;
    let old = app.builder("old").await?;
    let engine = json!({ "state": "ready", "description": "Docker Engine 20.10.24", "kind": "docker" });
    let claim = |protocol: u32, git: &str| json!({ "protocol": protocol, "git": git, "name": "old", "version": "0.0.1", "parallel": 1, "engine": engine, "wait_seconds": 0 });
    for (claim, expected) in [
        (claim(1, "git version 2.39.5"), "version 1 of the builder protocol, at least 2 is wanted"),
        (claim(2, "git version 2.20.1"), "`git version 2.20.1`, at least 2.32 is wanted"),
    ] {
        let answer = old.send("/claim", &claim).await?;
        let problem = answer.problem(426)?;
        ensure!(text(&problem, "detail").contains(expected) && problem["code"] == "too_old", "{problem}");
        let node = &app.nodes().await?[0];
        ensure!(node["state"] == "too_old" && text(node, "problem").contains(expected), "{node}");
    }
    // What says nothing of its protocol speaks the first.
    let silent = json!({ "name": "old", "version": "0.0.1", "parallel": 1, "engine": engine, "wait_seconds": 0 });
    old.send("/claim", &silent).await?.problem(426)?;
    assert_eq!(old.send("/claim", &claim(2, "git version 2.39.5")).await?.status, 204);
    assert_eq!(app.nodes().await?[0]["state"], "idle");
    app.finish().await
}

/// One node cannot have engines of its own. What needs one goes to the other, and only once from hand to hand.
#[tokio::test]
async fn what_needs_an_engine_of_its_own_is_built_where_there_can_be_one() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.build_every_push().await?;
    let mut hindered = app.builder("hindered").await?;
    hindered.obstacle = Some("the builder does not run as root".to_owned());
    let push = async |content: &str| {
        let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("content", content)]).await?;
        anyhow::Ok(text(&hello.build_of(&commit).await?, "id").to_owned())
    };
    let needs = || Outcome::NeedsOwnEngine {
        reason: FailureReason::new(FailureCode::EngineUnavailable, "it needs an engine of its own: not root"),
    };

    // While no node can, the build fails and says why and what to do.
    let alone = push("1").await?;
    let work = hindered.claim().await?;
    assert_eq!(hindered.finish(&work, needs()).await?.unwrap().state.as_str(), "failed");
    let ended = hello.build(&alone).await?;
    let words = text(&ended["reason"], "text");
    ensure!(words.contains("not root") && words.contains("an administrator mends that on its machine, or adds a builder"), "{ended}");
    assert_eq!(ended["reason"]["code"], "engine_unavailable");
    let node = &app.nodes().await?[0];
    assert_eq!((&node["state"], &node["obstacle"]), (&json!("idle"), &json!("the builder does not run as root")));
    let page = app.sign_in(slipway_tests::PERSON, slipway_tests::PASSWORD).await?.open("/builders").await?;
    ensure!(page.text.contains("It cannot have engines of its own: the builder does not run as root."), "{}", page.text);

    // With another one it waits for that, and the first builder goes on with what it can build.
    let able = app.builder("able").await?;
    ensure!(able.try_claim().await?.is_none());
    let id = push("2").await?;
    let work = hindered.claim().await?;
    assert_eq!(hindered.finish(&work, needs()).await?.unwrap().state.as_str(), "queued");
    ensure!(hindered.try_claim().await?.is_none(), "it is not handed to the same node again");
    let waiting = hello.build(&id).await?;
    assert_eq!(waiting["state"], "queued");
    ensure!(text(&waiting, "note").contains("not built on `hindered`: it needs an engine of its own"), "{waiting}");
    ensure!(
        text(&waiting, "waits_for").ends_with("the builder `hindered` cannot have the engine of its own that this build needs"),
        "{waiting}"
    );
    // A cancelled one goes nowhere.
    let cancelled = push("3").await?;
    let work = hindered.claim().await?;
    assert_eq!(work.build.to_string(), cancelled);
    app.api.post(&hello.at(&format!("/builds/{cancelled}/cancel")), &json!({})).await?;
    assert_eq!(hindered.finish(&work, needs()).await?.unwrap().state.as_str(), "cancelled");
    let work = able.claim().await?;
    assert_eq!((work.build.to_string(), work.attempt), (id, 2));
    let digest = able.succeed(&app, &work, "where there can be one").await?;
    assert_eq!(hello.tag("latest").await?, Some(digest));
    app.finish().await
}

/// The registry stands on another machine than the builder, under an address that only a cable leads to: an engine of its own pulls the base
/// image from it and pushes to it all the same.
#[tokio::test]
async fn a_registry_on_another_machine_is_reached_from_an_engine_of_its_own() -> Result<()> {
    let mut app = TestApp::with(Setup::default().everywhere()).await?;
    let mut network = Network::new()?;
    let provider: url::Url = app.github.web_url().parse()?;
    network.forward(provider.port().context("the provider's port")?)?;
    let port = app.host().rsplit_once(':').context("a port")?.1.to_owned();
    let site = format!("http://{}:{port}", network.address());
    app.push_base().await?;
    app.linked_repository("hello").await?;
    // From now on the server is known by the address on the cable.
    app.stop().await?;
    let config = app.folder().join("slipway.toml");
    let text_of = std::fs::read_to_string(&config)?;
    let moved = text_of.replacen(&format!("public_url = \"{}\"", app.site()), &format!("public_url = \"{site}\""), 1);
    ensure!(moved != text_of, "the configuration says the public address");
    std::fs::write(&config, moved)?;
    app.restart().await?;
    let _one = app.remote_builder_at("one", &site, Some(&network)).await?;
    let dockerfile = format!("FROM {}:{port}/demo/base\nRUN echo far > /number\n", network.address());
    let files = [("Dockerfile", dockerfile.as_str()), ("hooks/pre_build", "true\n")];
    let commit = app.github.commit("octo/hello", "main", &files, "From afar").await?;
    app.github.settle().await;
    {
        let hello = Repository::new(&app, "hello");
        let id = text(&hello.build_of(&commit).await?, "id").to_owned();
        let ended = hello.ended(&id, "success").await?;
        assert_eq!(hello.tag("latest").await?.as_deref(), ended["digest"].as_str());
    }
    app.finish().await
}
