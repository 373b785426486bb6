//! Webhooks on the wire: signatures, many refs in one delivery, attempts, and the ways in which they go wrong.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slipway_testkit::bitbucket::{ReleaseOrder, Webhooks};

use super::{World, fixture, keys};
use crate::receiver::{Received, Receiver};

/// HMAC-SHA256 by its definition (RFC 2104), so that the fake's own cannot be wrong on both sides.
fn hmac_sha256(key: &[u8], text: &[u8]) -> String {
    assert!(key.len() <= 64, "longer keys are hashed first");
    let pad = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    hex::encode(Sha256::digest([pad(0x5c), inner.to_vec()].concat()))
}

fn header<'a>(received: &'a Received, name: &str) -> &'a str {
    received.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn bodies(receiver: &Receiver) -> Vec<Value> {
    receiver.all().iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect()
}

fn hooked(world: &World, receiver: &Receiver, events: &[&str]) -> String {
    world.bitbucket.add_hook("acme/site", &receiver.url, events, Some("It's a Secret to Everybody"))
}

#[tokio::test]
async fn a_delivery_is_signed_over_its_bytes() {
    assert_eq!(
        hmac_sha256(b"It's a Secret to Everybody", b"Hello World!"),
        "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
        "the vector of Atlassian's documentation"
    );
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let hook = hooked(&world, &receiver, &["repo:push"]);
    let sha = world.bitbucket.push("acme/site", "main", &[("a", "ü")], "Größe").await.unwrap();
    world.bitbucket.settle().await;
    let received = receiver.all();
    assert_eq!(received.len(), 1, "there is no ping");
    let push = &received[0];
    assert_eq!(header(push, "x-hub-signature"), format!("sha256={}", hmac_sha256(b"It's a Secret to Everybody", &push.body)));
    assert_eq!((header(push, "x-event-key"), header(push, "x-attempt-number")), ("repo:push", "1"));
    assert_eq!(header(push, "user-agent"), "Bitbucket-Webhooks/2.0");
    assert_eq!(format!("{{{}}}", header(push, "x-hook-uuid")), hook);
    let body = &bodies(&receiver)[0];
    assert_eq!(body["repository"]["uuid"], world.bitbucket.repository_uuid("acme/site"));
    assert_eq!(body["actor"]["uuid"], world.bitbucket.person_uuid("emma"));
    let change = &body["push"]["changes"][0];
    assert_eq!((&change["old"], &change["created"], &change["new"]["target"]["hash"]), (&Value::Null, &json!(true), &json!(sha)));
    let delivery = &world.bitbucket.deliveries("acme/site")[0];
    assert_eq!((delivery.status_code, delivery.request_uuid.as_str()), (Some(200), header(push, "x-request-uuid")));
    world.bitbucket.edit_hook("acme/site", &hook, |hook| hook.secret = None);
    world.bitbucket.push("acme/site", "main", &[("a", "2")], "Second").await.unwrap();
    world.bitbucket.settle().await;
    assert_eq!(header(&receiver.all()[1], "x-hub-signature"), "", "no secret, no signature");
}

#[tokio::test]
async fn four_tags_in_one_push_are_one_delivery_with_four_changes() {
    let world = World::new().await;
    let sha = world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let receiver = Receiver::start(StatusCode::OK).await;
    hooked(&world, &receiver, &["repo:push"]);
    let tags: Vec<String> = (1..=4).map(|number| format!("refs/tags/v{number}")).collect();
    let refs: Vec<(&str, &str)> = tags.iter().map(|name| (name.as_str(), sha.as_str())).collect();
    world.bitbucket.push_refs("acme/site", &refs).await.unwrap();
    world.bitbucket.settle().await;
    let bodies = bodies(&receiver);
    assert_eq!(bodies.len(), 1);
    let changes = bodies[0]["push"]["changes"].as_array().unwrap();
    let names: Vec<&Value> = changes.iter().map(|change| &change["new"]["name"]).collect();
    assert_eq!(names, ["v1", "v2", "v3", "v4"]);
    assert!(changes.iter().all(|change| change["new"]["type"] == "tag" && change["new"]["target"]["hash"] == json!(sha)));
}

#[tokio::test]
async fn changes_say_what_happened_to_each_ref() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    hooked(&world, &receiver, &["repo:push"]);
    let fake = &world.bitbucket;
    let first = fake.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let second = fake.push("acme/site", "main", &[("a", "2")], "Second").await.unwrap();
    let forced = fake.force_push("acme/site", "main", Some(&first), &[("a", "3")], "Other").await.unwrap();
    fake.push_annotated_tag("acme/site", "v1", &second, "One").await.unwrap();
    fake.push_tag("acme/site", "v1", &first).await.unwrap();
    fake.delete_ref("acme/site", "refs/tags/v1").await.unwrap();
    fake.send_empty_push("acme/site");
    fake.settle().await;
    let mut bodies = bodies(&receiver);
    let recorded = fixture("webhooks/goscm__push.json");
    assert_eq!(keys(&bodies[0]), keys(&recorded));
    let change = |value: &Value| value["push"]["changes"][0].clone();
    let update = bodies.iter().map(change).find(|one| one["new"]["target"]["hash"] == json!(second)).unwrap();
    assert_eq!(keys(&update), keys(&change(&recorded)));
    let target = change(&recorded)["new"]["target"].clone();
    assert!(keys(&target).iter().all(|key| update["new"]["target"].get(key).is_some()), "{update:#}");
    assert_eq!((&update["old"]["target"]["hash"], &update["forced"]), (&json!(first), &json!(false)));
    let force = bodies.iter().map(change).find(|one| one["new"]["target"]["hash"] == json!(forced)).unwrap();
    assert_eq!((&force["forced"], &force["commits"][0]["hash"]), (&json!(true), &json!(forced)));
    let tag = bodies.iter().map(change).find(|one| one["new"]["message"] == json!("One\n")).unwrap();
    assert_eq!((&tag["new"]["target"]["hash"], tag.get("commits")), (&json!(second), None), "the commit, not the tag object");
    let moved = bodies.iter().map(change).find(|one| one["new"]["type"] == "tag" && !one["old"].is_null()).unwrap();
    assert_eq!((&moved["old"]["target"]["hash"], &moved["forced"]), (&json!(second), &json!(true)));
    let deleted = bodies.iter().map(change).find(|one| one["closed"] == json!(true)).unwrap();
    assert_eq!((&deleted["new"], &deleted["old"]["name"]), (&Value::Null, &json!("v1")));
    bodies.retain(|body| body["push"]["changes"] == json!([]));
    assert_eq!(bodies.len(), 1, "a push without any change");
}

#[tokio::test]
async fn at_most_five_commits_are_listed() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let mut head = String::new();
    for number in 0..7 {
        head = world.bitbucket.push("acme/site", "work", &[("a", &number.to_string())], "Work").await.unwrap();
    }
    world.bitbucket.delete_ref("acme/site", "refs/heads/work").await.unwrap();
    hooked(&world, &receiver, &["repo:push"]);
    world.bitbucket.push_refs("acme/site", &[("refs/heads/main", &head)]).await.unwrap();
    world.bitbucket.settle().await;
    let change = &bodies(&receiver)[0]["push"]["changes"][0];
    assert_eq!((&change["truncated"], change["commits"].as_array().unwrap().len()), (&json!(true), 5));
    assert_eq!(change["commits"][0]["hash"], json!(head), "the newest first");
}

#[tokio::test]
async fn a_5xx_is_tried_twice_more_and_nothing_else_is() {
    for (status, attempts) in [(503, 3), (404, 1), (200, 1)] {
        let world = World::new().await;
        let receiver = Receiver::start(StatusCode::from_u16(status).unwrap()).await;
        hooked(&world, &receiver, &["repo:push"]);
        world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
        world.bitbucket.settle().await;
        let seen = receiver.all();
        let numbers: Vec<&str> = seen.iter().map(|one| header(one, "x-attempt-number")).collect();
        assert_eq!(numbers, ["1", "2", "3"][..attempts], "{status}");
        assert!(seen.iter().all(|one| header(one, "x-request-uuid") == header(&seen[0], "x-request-uuid")));
        let kept = world.bitbucket.deliveries("acme/site");
        assert!(kept.len() == attempts && kept.iter().all(|one| one.status_code == Some(status)));
    }
    let world = World::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    world.bitbucket.add_hook("acme/site", &url, &["repo:push"], None);
    world.bitbucket.set_hook_timeout(Duration::from_millis(50));
    world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    world.bitbucket.settle().await;
    let kept = world.bitbucket.deliveries("acme/site");
    assert_eq!((kept.len(), kept[0].status_code), (1, None), "a timeout is not tried again");
}

#[tokio::test]
async fn a_large_payload_is_silently_not_sent() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    hooked(&world, &receiver, &["repo:push"]);
    world.bitbucket.push("acme/site", "main", &[("a", "1")], &"long ".repeat(60_000)).await.unwrap();
    world.bitbucket.settle().await;
    assert_eq!((receiver.all().len(), world.bitbucket.deliveries("acme/site").len()), (0, 0));
}

#[tokio::test]
async fn webhooks_get_lost_doubled_and_late() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    hooked(&world, &receiver, &["repo:push"]);
    let push = async |text: &str| world.bitbucket.push("acme/site", "main", &[("a", text)], text).await.unwrap();
    world.bitbucket.set_webhooks(Webhooks::Drop);
    push("lost").await;
    world.bitbucket.settle().await;
    assert_eq!(receiver.all().len(), 0);
    world.bitbucket.set_webhooks(Webhooks::Twice);
    push("twice").await;
    world.bitbucket.settle().await;
    let twice = receiver.all();
    assert_eq!(header(&twice[0], "x-request-uuid"), header(&twice[1], "x-request-uuid"));
    world.bitbucket.set_webhooks(Webhooks::Hold);
    let (first, second) = (push("first").await, push("second").await);
    world.bitbucket.settle().await;
    assert_eq!(receiver.all().len(), 2, "held");
    world.bitbucket.release_held_webhooks(ReleaseOrder::NewestFirst).await;
    let heads: Vec<Value> = bodies(&receiver)[2..].iter().map(|body| body["push"]["changes"][0]["new"]["target"]["hash"].clone()).collect();
    assert_eq!(heads, [json!(second), json!(first)]);
}

#[tokio::test]
async fn renames_and_pull_requests_are_told_to_who_listens() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let fake = &world.bitbucket;
    fake.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let head = fake.push("acme/site", "feature", &[("a", "2")], "Second").await.unwrap();
    hooked(&world, &receiver, &["repo:updated", "pullrequest:created", "pullrequest:updated"]);
    let pull = fake.open_pull_request("acme/site", "feature", "main", "Feature").await.unwrap();
    fake.settle().await;
    let new_head = fake.push("acme/site", "feature", &[("a", "3")], "Third").await.unwrap();
    fake.settle().await;
    fake.retitle_pull_request("acme/site", pull, "Better").await.unwrap();
    fake.settle().await;
    fake.rename_repository("acme/site", "Home");
    fake.settle().await;
    let events: Vec<String> = receiver.all().iter().map(|one| header(one, "x-event-key").to_owned()).collect();
    assert_eq!(events, ["pullrequest:created", "pullrequest:updated", "pullrequest:updated", "repo:updated"], "no repo:push");
    let bodies = bodies(&receiver);
    let recorded = fixture("webhooks/goscm__pr_created.json");
    let known = |value: &Value, recorded: &Value| keys(recorded).iter().filter(|key| value.get(key).is_none()).cloned().collect::<Vec<_>>();
    assert_eq!(keys(&bodies[0]), keys(&recorded));
    assert_eq!(known(&bodies[0]["pullrequest"], &recorded["pullrequest"]), ["summary"], "all but the rendered summary");
    let source = |body: &Value| body["pullrequest"]["source"]["commit"]["hash"].as_str().unwrap().to_owned();
    assert_eq!((source(&bodies[0]), source(&bodies[1])), (head[..12].to_owned(), new_head[..12].to_owned()), "twelve digits, as recorded");
    assert_eq!(bodies[2]["pullrequest"]["title"], "Better");
    assert_eq!(bodies[3]["changes"]["full_name"], json!({ "old": "acme/site", "new": "acme/home" }));
    assert_eq!(bodies[3]["changes"]["name"], json!({ "old": "site", "new": "Home" }));
}
