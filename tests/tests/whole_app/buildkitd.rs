//! A buildkitd as the builder's engine: from a push to a tag, with the registry's own tokens and the cache beside the images; and its death at
//! each point.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::repository::text;
use slipway_tests::{Engine, Repository, Setup, TestApp};

#[tokio::test]
async fn a_push_becomes_a_tag_and_the_cache_is_no_tag() -> Result<()> {
    let mut app = TestApp::with(Setup { engine: Engine::Buildkitd, ..Setup::default() }).await?;
    let base = app.push_base().await?;
    let dockerfile = format!("FROM {base}\nRUN echo made-by-a-buildkitd > /made\nCMD [\"true\"]\n");
    let (first, digest) = {
        let hello = app.linked_repository("hello").await?;
        let commit = hello.push("main", &[("Dockerfile", &dockerfile)]).await?;
        let first = text(&hello.build_of(&commit).await?, "id").to_owned();
        let built = hello.ended(&first, "success").await?;
        let steps = built["steps"].as_array().context("steps")?;
        assert!(steps.iter().all(|step| step["state"] == "success"), "{built}");
        let digest = text(&built, "digest").to_owned();
        assert_eq!(hello.tag("latest").await?.as_deref(), Some(digest.as_str()));
        assert_eq!(hello.tags().await?, ["latest"], "the cache is no tag of people's");
        (first, digest)
    };
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest);
    let listed = app.registry().send(Method::GET, "demo/hello", "tags/list", "", Vec::new()).await?;
    assert!(listed.text.contains("latest") && !listed.text.contains("_slipway-cache"), "{}", listed.text);
    let cache = app.registry().manifest("demo/hello", "_slipway-cache").await?;
    assert_eq!(cache.status, 200, "{}", cache.text);
    // It is builds' alone: what a person puts there would be run by the next build.
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let put = app.registry().send(Method::PUT, "demo/hello", "manifests/_slipway-cache", kind, cache.text.into_bytes()).await?;
    assert_eq!(put.status, 403, "{}", put.text);

    app.buildkitd.as_mut().context("a buildkitd")?.forget().await?;
    let answer = app.api.post(&format!("/repositories/demo/hello/builds/{first}/retry"), &json!({})).await?;
    let again = text(&answer, "id").to_owned();
    let hello = Repository::new(&app, "hello");
    let built = hello.ended(&again, "success").await?;
    let steps = built["steps"].as_array().context("steps")?;
    let step = steps.iter().find(|step| text(step, "name").contains("made-by-a-buildkitd")).context("the step")?;
    assert_eq!(step["cached"], true, "{built}");
    app.finish().await
}

/// The daemon dies under a build, and another one stands at its address.
#[tokio::test]
async fn a_daemon_that_dies_at_each_point_costs_a_try_and_no_build() -> Result<()> {
    let mut app = TestApp::with(Setup { engine: Engine::Buildkitd, ..Setup::default() }).await?;
    let base = app.push_base().await?;
    app.linked_repository("hello")
        .await?
        .put_autobuild(json!([{ "source_type": "branch", "source": "main", "tags": "latest,stable" }]))
        .await?;
    // It pushes as it builds.
    let points = [
        ("during a RUN", "sleep 4.2", "RUN sleep 4.2 && echo 1 > /number\n"),
        ("during the push", "exporting to image", "RUN head -c 500000000 /dev/urandom > /large\n"),
    ];
    for (what, step, run) in points {
        let reached = |build: &Value| {
            let steps = build["steps"].as_array();
            steps.is_some_and(|steps| steps.iter().any(|one| text(one, "name").contains(step) && one["state"] == "running"))
        };
        let id = {
            let hello = Repository::new(&app, "hello");
            let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\n{run}"))]).await?;
            let id = text(&hello.build_of(&commit).await?, "id").to_owned();
            hello.until(&id, what, reached).await?;
            id
        };
        app.buildkitd.as_mut().context("a buildkitd")?.forget().await?;
        let hello = Repository::new(&app, "hello");
        let ended = hello.ended(&id, "success").await.with_context(|| what.to_owned())?;
        assert_eq!(ended["attempt"], 2, "{what}: {ended}");
        for tag in ["latest", "stable"] {
            assert_eq!(hello.tag(tag).await?.as_deref(), Some(text(&ended, "digest")), "{what}");
        }
    }
    app.finish().await
}
