//! Loss of parts: builders that die, stand still or are cut off, a server and a database that go away under running builds. Whatever is lost,
//! a build comes to exactly one result, its two tags stand both on the old image or both on the new one, and who lost the lease changes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_tests::remote::Network;
use slipway_tests::repository::text;
use slipway_tests::{Database, Frozen, RemoteBuilder, Repository, Setup, TestApp};

/// So that a lost builder costs a test seconds.
const LEASE: Duration = Duration::from_secs(5);
/// Of one build; they move together.
const TAGS: [&str; 2] = ["latest", "stable"];

/// An app with `hello` and an image in it that stands from before; gives the base image.
async fn ready(app: &TestApp, builder: &RemoteBuilder) -> Result<String> {
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(json!([{ "source_type": "branch", "source": "main", "tags": TAGS.join(",") }])).await?;
    let commit = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN echo 0 > /number\n"))]).await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    hello.ended(&id, "success").await.with_context(|| builder.log.tail())?;
    Ok(base)
}

/// The image that both tags stand on, as one answer tells of them.
async fn stands(app: &TestApp) -> Result<String> {
    let tags = app.api.items(&Repository::new(app, "hello").at("/tags")).await?;
    let digest = |name: &str| tags.iter().find(|tag| tag["name"] == name).map(|tag| text(tag, "digest").to_owned());
    let [first, second] = TAGS.map(digest);
    ensure!(first.is_some() && first == second, "the tags stand on two images: {first:?}, {second:?}");
    first.context("both tags stand")
}

/// Pushes what a point needs and waits until the build is there; gives the build's id and the digest of before.
async fn begin(app: &TestApp, point: &Point) -> Result<(String, String)> {
    let hello = Repository::new(app, "hello");
    let before = stands(app).await?;
    let files = [("Dockerfile", point.dockerfile.as_str()), ("a.test.yml", point.test)];
    let commit = app.github.commit("octo/hello", "main", &files, point.what).await?;
    app.github.settle().await;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    hello.until(&id, point.what, &point.reached).await?;
    Ok((id, before))
}

/// One build, one result, and a tag that was never anything but old or new.
async fn one_result(app: &TestApp, id: &str, before: &str, what: &str) -> Result<Value> {
    let hello = Repository::new(app, "hello");
    let now = stands(app).await.with_context(|| what.to_owned())?;
    let ended = hello.ended(id, "success").await.with_context(|| what.to_owned())?;
    let digest = text(&ended, "digest");
    ensure!(now == before || now == digest, "{what}: the tag stood on {now}, expected {before} or {digest}");
    ensure!(digest != before, "{what}: nothing new was built");
    assert_eq!(stands(app).await?, digest, "{what}");
    for tag in TAGS {
        assert_eq!(app.registry().pull("demo/hello", tag).await?, digest, "{what}");
    }
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

/// Where something is lost, and what is pushed to come there.
struct Point {
    what: &'static str,
    dockerfile: String,
    /// Each decides at once but the one at whose run something is lost.
    test: &'static str,
    reached: Box<dyn Fn(&Value) -> bool>,
}

const QUICK_TEST: &str = "sut:\n  image: $IMAGE_NAME\n  command: [\"true\"]\n";
const SLOW_TEST: &str = "sut:\n  image: $IMAGE_NAME\n  command: [\"sh\", \"-c\", \"echo testing; /bin/busybox sleep 5.2\"]\n";

fn point(what: &'static str, dockerfile: String, test: &'static str, reached: impl Fn(&Value) -> bool + 'static) -> Point {
    Point { what, dockerfile, test, reached: Box::new(reached) }
}

fn during_a_run(base: &str, seconds: &'static str) -> Point {
    point("during a RUN", format!("FROM {base}\nRUN sleep {seconds} && echo {seconds} > /number\n"), QUICK_TEST, step(seconds))
}

fn points(base: &str) -> [Point; 4] {
    [
        point("during the checkout", format!("FROM {base}\nRUN echo 1 > /number\n"), QUICK_TEST, phase("checkout")),
        during_a_run(base, "4.7"),
        point("during a test", format!("FROM {base}\nRUN echo 2 > /number\n"), SLOW_TEST, phase("test")),
        point(
            "during the push",
            format!("FROM {base}\nRUN head -c 40000000 /dev/urandom > /large && echo 3 > /number\n"),
            QUICK_TEST,
            phase("push"),
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
    for point in points(&base) {
        let what = point.what;
        app.drain(&two.id, &json!(true)).await?;
        slow(&app, what);
        let (id, before) = begin(&app, &point).await?;
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
    let (id, before) = begin(&app, &during_a_run(&base, "8.1")).await?;
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
    let port: u16 = app.host().rsplit_once(':').context("a port")?.1.parse()?;
    // The registry's name leads there beside the cable too, as it does for the machine's engine.
    network.forward(port)?;
    let server = format!("http://{}:{port}", network.address());
    let one = app.remote_builder_at("one", &server, Some(&network)).await?;
    let base = ready(&app, &one).await?;

    let (id, before) = begin(&app, &during_a_run(&base, "5.3")).await?;
    network.plug("down")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    network.plug("up")?;
    let ended = one_result(&app, &id, &before, "cut for a moment").await?;
    assert_eq!(ended["attempt"], 1, "it re-attached: {ended}");

    let hello = Repository::new(&app, "hello");
    for point in points(&base) {
        slow(&app, point.what);
        let (id, before) = begin(&app, &point).await?;
        network.plug("down")?;
        app.github.set_latency(Duration::ZERO);
        hello.until(&id, "the lease to end", |build| build["state"] == "queued").await?;
        network.plug("up")?;
        let ended = one_result(&app, &id, &before, point.what).await?;
        assert_eq!(ended["attempt"], 2, "{}: {ended}", point.what);
    }
    app.finish().await
}

/// The server dies at each point while the builder goes on: it finds the builder again where it is.
#[tokio::test]
async fn a_server_killed_at_each_point_is_found_again_by_the_builder() -> Result<()> {
    let mut app = TestApp::start().await?;
    let one = app.remote_builder("one").await?;
    let base = ready(&app, &one).await?;
    for point in points(&base) {
        let what = point.what;
        slow(&app, what);
        let (id, before) = begin(&app, &point).await?;
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
    for point in points(&base) {
        let what = point.what;
        slow(&app, what);
        let (id, before) = begin(&app, &point).await?;
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
