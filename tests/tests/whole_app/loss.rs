//! Loss of parts: builders that die, stand still or are cut off, a server and a database that go away under running builds. Whatever is lost,
//! a build comes to exactly one result, its tag stands on the old image or on the new one, and who lost the lease changes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_tests::remote::Network;
use slipway_tests::repository::text;
use slipway_tests::{Database, Frozen, RemoteBuilder, Repository, Setup, TestApp};

/// So that a lost builder costs a test seconds.
const LEASE: Duration = Duration::from_secs(5);

/// An app with `hello` and an image in it that stands from before; gives the base image.
async fn ready(app: &TestApp, builder: &RemoteBuilder) -> Result<String> {
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN echo 0 > /number\n"))]).await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    hello.ended(&id, "success").await.with_context(|| builder.log.tail())?;
    Ok(base)
}

/// Pushes a Dockerfile and waits until its build is at a point; gives the build's id and the digest of before.
async fn begin(app: &TestApp, what: &str, dockerfile: &str, reached: impl Fn(&Value) -> bool) -> Result<(String, String)> {
    let hello = Repository::new(app, "hello");
    let before = hello.tag("latest").await?.context("an image stands from before")?;
    let commit = app.github.commit("octo/hello", "main", &[("Dockerfile", dockerfile)], what).await?;
    app.github.settle().await;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    hello.until(&id, what, reached).await?;
    Ok((id, before))
}

/// One build, one result, and a tag that was never anything but old or new.
async fn one_result(app: &TestApp, id: &str, before: &str, what: &str) -> Result<Value> {
    let hello = Repository::new(app, "hello");
    let now = hello.tag("latest").await?.context("the tag stands")?;
    let ended = hello.ended(id, "success").await.with_context(|| what.to_owned())?;
    let digest = text(&ended, "digest");
    ensure!(now == before || now == digest, "{what}: the tag stood on {now}, expected {before} or {digest}");
    ensure!(digest != before, "{what}: nothing new was built");
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest, "{what}");
    let same = hello.builds().await?.into_iter().filter(|build| build["commit"] == ended["commit"]).count();
    assert_eq!(same, 1, "{what}");
    Ok(ended)
}

fn phase(name: &'static str) -> impl Fn(&Value) -> bool {
    move |build| build["state"] == "running" && build["phase"] == name
}

fn step(name: &'static str) -> impl Fn(&Value) -> bool {
    move |build| {
        let steps = build["steps"].as_array();
        steps.is_some_and(|steps| steps.iter().any(|step| text(step, "name").contains(name) && step["state"] == "running"))
    }
}

/// Whether a build is at a point.
type Reached = Box<dyn Fn(&Value) -> bool>;

/// Three Dockerfiles, each with the point at which something is lost.
fn points(base: &str) -> [(&'static str, String, Reached); 3] {
    [
        ("during the checkout", format!("FROM {base}\nRUN echo 1 > /number\n"), Box::new(phase("checkout"))),
        ("during a RUN", format!("FROM {base}\nRUN sleep 4.7 && echo 2 > /number\n"), Box::new(step("sleep 4.7"))),
        (
            "during the push",
            format!("FROM {base}\nRUN head -c 40000000 /dev/urandom > /large && echo 3 > /number\n"),
            Box::new(phase("push")),
        ),
    ]
}

/// Slow enough to be caught in the checkout.
fn slow(app: &TestApp, what: &str) {
    app.github.set_latency(if what == "during the checkout" { Duration::from_millis(1500) } else { Duration::ZERO });
}

#[tokio::test]
async fn a_builder_killed_at_each_point_is_followed_by_another() -> Result<()> {
    let app = TestApp::with(Setup::default().leased_for(LEASE)).await?;
    let (mut one, two) = (app.remote_builder("one").await?, app.remote_builder("two").await?);
    let base = ready(&app, &one).await?;
    for (what, dockerfile, reached) in points(&base) {
        app.drain(&two.id, &json!(true)).await?;
        slow(&app, what);
        let (id, before) = begin(&app, what, &dockerfile, reached).await?;
        one.kill()?;
        app.github.set_latency(Duration::ZERO);
        app.drain(&two.id, &json!(false)).await?;
        let ended = one_result(&app, &id, &before, what).await?;
        assert_eq!(ended["attempt"], 2, "{what}: {ended}");
        app.node_until(&one.id, "offline").await?;
        one.start()?;
        app.node_until(&one.id, "idle").await?;
    }
    app.finish().await
}

/// It stands still until its lease is over, and then goes on as if nothing were.
#[tokio::test]
async fn a_builder_that_stood_still_is_refused_and_stops_its_build() -> Result<()> {
    let app = TestApp::with(Setup::default().leased_for(LEASE)).await?;
    let (one, two) = (app.remote_builder("one").await?, app.remote_builder("two").await?);
    let base = ready(&app, &one).await?;
    app.drain(&two.id, &json!(true)).await?;
    let dockerfile = format!("FROM {base}\nRUN sleep 8.1 && echo 9 > /number\n");
    let (id, before) = begin(&app, "during a RUN", &dockerfile, step("sleep 8.1")).await?;
    one.process()?.freeze(Frozen::Yes)?;
    app.drain(&two.id, &json!(false)).await?;
    let hello = Repository::new(&app, "hello");
    hello.until(&id, "the other one to take it", |build| build["attempt"] == 2 && build["state"] == "running").await?;
    one.process()?.freeze(Frozen::No)?;
    app.wait_for("the zombie to be told", || async { Ok(one.said("lease lost").then_some(())) }).await?;
    app.wait_for("the zombie to stop its build", || async { Ok(one.said("ended=Fenced").then_some(())) }).await?;
    let ended = one_result(&app, &id, &before, "after the zombie woke").await?;
    assert_eq!(ended["attempt"], 2, "{ended}");
    app.node_until(&one.id, "idle").await?;
    app.finish().await
}

/// The cable is pulled for less than the lease, and for more.
#[tokio::test]
async fn a_builder_that_is_cut_off_goes_on_or_is_tried_again() -> Result<()> {
    let app = TestApp::with(Setup::default().everywhere().leased_for(Duration::from_secs(8))).await?;
    let mut network = Network::new()?;
    let provider: url::Url = app.github.web_url().parse()?;
    network.forward(provider.port().context("the provider's port")?)?;
    let port = app.host().rsplit_once(':').context("a port")?.1.to_owned();
    let server = format!("http://{}:{port}", network.address());
    let one = app.remote_builder_at("one", &server, Some(&network)).await?;
    let base = ready(&app, &one).await?;

    let dockerfile = format!("FROM {base}\nRUN sleep 5.3 && echo 1 > /number\n");
    let (id, before) = begin(&app, "during a RUN", &dockerfile, step("sleep 5.3")).await?;
    network.plug("down")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    network.plug("up")?;
    let ended = one_result(&app, &id, &before, "cut for a moment").await?;
    assert_eq!(ended["attempt"], 1, "it re-attached: {ended}");

    let dockerfile = format!("FROM {base}\nRUN sleep 5.4 && echo 2 > /number\n");
    let (id, before) = begin(&app, "during a RUN", &dockerfile, step("sleep 5.4")).await?;
    network.plug("down")?;
    let hello = Repository::new(&app, "hello");
    hello.until(&id, "the lease to end", |build| build["state"] == "queued").await?;
    network.plug("up")?;
    let ended = one_result(&app, &id, &before, "cut for longer than the lease").await?;
    assert_eq!(ended["attempt"], 2, "{ended}");
    app.finish().await
}

/// The server dies at each point while the builder goes on: it finds the builder again where it is.
#[tokio::test]
async fn a_server_killed_at_each_point_is_found_again_by_the_builder() -> Result<()> {
    let mut app = TestApp::start().await?;
    let one = app.remote_builder("one").await?;
    let base = ready(&app, &one).await?;
    for (what, dockerfile, reached) in points(&base) {
        slow(&app, what);
        let (id, before) = begin(&app, what, &dockerfile, reached).await?;
        app.kill9()?;
        app.github.set_latency(Duration::ZERO);
        app.restart().await?;
        let ended = one_result(&app, &id, &before, what).await?;
        // The push went to the registry that died: that one is trouble outside of the source, and tried again.
        let most = if what == "during the push" { 2 } else { 1 };
        ensure!(ended["attempt"].as_u64() <= Some(most), "{what}: {ended}");
    }
    let fsck = app.command(&["admin", "fsck", "--deep"], "")?;
    assert_eq!(fsck.code, 0, "{}{}", fsck.stdout, fsck.stderr);
    app.finish().await
}

#[tokio::test]
async fn a_database_killed_under_running_builds_loses_nothing() -> Result<()> {
    let mut app = TestApp::with(Setup::default().on(Database::Cluster)).await?;
    for words in ["request failed", "a background step failed", "not available"] {
        app.expect_error(words);
    }
    let one = app.remote_builder("one").await?;
    let base = ready(&app, &one).await?;
    for (what, dockerfile, reached) in points(&base) {
        slow(&app, what);
        let (id, before) = begin(&app, what, &dockerfile, reached).await?;
        let mut cluster = app.cluster.take().context("the database is the test's own")?;
        cluster.kill()?;
        app.github.set_latency(Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.restart()?;
        app.cluster = Some(cluster);
        app.wait_for("the server to be ready again", || async {
            let answer = app.http().get(format!("{}/readyz", app.site())).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await?;
        let ended = one_result(&app, &id, &before, what).await?;
        let most = if what == "during the push" { 2 } else { 1 };
        ensure!(ended["attempt"].as_u64() <= Some(most), "{what}: {ended}");
    }
    app.finish().await
}
