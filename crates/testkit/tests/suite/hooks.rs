//! Webhooks on the wire: signatures, encodings, redelivery, and the ways in which they go wrong.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{ReleaseOrder, Webhooks, sign_sha1, sign_sha256};

use crate::World;
use crate::receiver::Receiver;

async fn hooked(world: &World, receiver: &Receiver, content_type: &str) -> u64 {
    let config = json!({ "url": receiver.url, "content_type": content_type, "secret": "key" });
    let answer = world.call(Method::POST, "/repos/octo/hello/hooks", Some(json!({ "config": config }))).await;
    assert_eq!(answer.status(), 201);
    let hook: Value = answer.json().await.unwrap();
    assert_eq!(hook["config"]["secret"], "********");
    hook["id"].as_u64().unwrap()
}

#[tokio::test]
async fn a_delivery_is_signed_over_its_bytes() {
    for content_type in ["json", "form"] {
        let world = World::new().await;
        let receiver = Receiver::start(StatusCode::ACCEPTED).await;
        let hook = hooked(&world, &receiver, content_type).await;
        let sha = world.github.commit("octo/hello", "main", &[("a", "ü")], "Größe").await.unwrap();
        world.github.settle().await;
        assert_eq!(receiver.of("ping").len(), 1);
        let push = receiver.of("push").pop().unwrap();
        let header = |name: &str| push.headers[name].to_str().unwrap();
        assert_eq!(header("x-hub-signature-256"), format!("sha256={}", sign_sha256("key", &push.body)));
        assert_eq!(header("x-hub-signature"), format!("sha1={}", sign_sha1("key", &push.body)));
        assert_eq!(header("x-github-hook-id"), hook.to_string());
        assert_eq!(header("x-github-hook-installation-target-type"), "repository");
        assert_eq!(header("x-github-hook-installation-target-id"), world.github.repository_id("octo/hello").to_string());
        assert!(header("user-agent").starts_with("GitHub-Hookshot/"));
        let text = match content_type {
            "json" => {
                assert_eq!(header("content-type"), "application/json");
                String::from_utf8(push.body.clone()).unwrap()
            }
            _ => {
                assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
                let mut pairs = form_urlencoded::parse(&push.body);
                let (name, value) = pairs.next().unwrap();
                assert_eq!(name, "payload");
                value.into_owned()
            }
        };
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&body["after"], &body["head_commit"]["message"]), (&json!(sha), &json!("Größe")));
        let delivery = world.github.deliveries("octo/hello").pop().unwrap();
        assert_eq!((delivery.status_code, delivery.status.as_str(), delivery.response_body.as_str()), (202, "OK", "thank you"));
        assert_eq!(delivery.guid, header("x-github-delivery"));
    }
}

#[tokio::test]
async fn a_redelivery_repeats_the_guid() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let hook = hooked(&world, &receiver, "json").await;
    world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.settle().await;
    let failed = world.github.deliveries("octo/hello").pop().unwrap();
    assert_eq!((failed.status_code, failed.status.as_str()), (503, "Invalid HTTP Response: 503"));
    assert_eq!(receiver.of("push").len(), 1, "nothing is retried by itself");
    let path = format!("/repos/octo/hello/hooks/{hook}/deliveries/{}/attempts", failed.id);
    assert_eq!(world.call(Method::POST, &path, None).await.status(), 202);
    world.github.settle().await;
    let again = world.github.deliveries("octo/hello").pop().unwrap();
    assert!(again.redelivery && again.id != failed.id && again.guid == failed.guid);
    let seen = receiver.of("push");
    assert_eq!(seen[0].body, seen[1].body);
    let page = world.call(Method::GET, &format!("/repos/octo/hello/hooks/{hook}/deliveries?per_page=1"), None).await;
    let link = page.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("cursor=v1_") && link.contains("rel=\"next\""), "{link}");
    let next = link.split('>').next().unwrap().trim_start_matches('<').to_owned();
    let next: Value = world.http.get(next).bearer_auth(&world.token).send().await.unwrap().json().await.unwrap();
    assert_eq!(next[0]["id"], failed.id);
}

#[tokio::test]
async fn webhooks_get_lost_doubled_and_late() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    hooked(&world, &receiver, "json").await;
    let commit = async |text: &str| world.github.commit("octo/hello", "main", &[("a", text)], text).await.unwrap();
    world.github.set_webhooks(Webhooks::Drop);
    commit("lost").await;
    world.github.settle().await;
    assert_eq!(receiver.of("push").len(), 0);
    world.github.set_webhooks(Webhooks::Twice);
    commit("twice").await;
    world.github.settle().await;
    let twice = receiver.of("push");
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].headers["x-github-delivery"], twice[1].headers["x-github-delivery"]);
    world.github.set_webhooks(Webhooks::Hold);
    let (first, second) = (commit("first").await, commit("second").await);
    world.github.settle().await;
    assert_eq!(receiver.of("push").len(), 2, "held");
    world.github.release_held_webhooks(ReleaseOrder::NewestFirst).await;
    let after: Vec<Value> = receiver.json_of("push")[2..].iter().map(|body| body["after"].clone()).collect();
    assert_eq!(after, [json!(second), json!(first)]);
}

#[tokio::test]
async fn a_patch_without_secret_removes_it_and_config_does_not() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let hook = hooked(&world, &receiver, "json").await;
    let path = format!("/repos/octo/hello/hooks/{hook}");
    world.call(Method::PATCH, &format!("{path}/config"), Some(json!({ "content_type": "form" }))).await;
    assert_eq!(world.github.hooks("octo/hello")[0].secret.as_deref(), Some("key"));
    world.call(Method::PATCH, &path, Some(json!({ "config": { "url": receiver.url } }))).await;
    assert_eq!(world.github.hooks("octo/hello")[0].secret, None);
    world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.settle().await;
    assert!(!receiver.of("push")[0].headers.contains_key("x-hub-signature-256"));
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_recorded_and_private_hooks_stop_under_restriction() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = json!({ "config": { "url": format!("http://{free}/") } });
    world.call(Method::POST, "/repos/acme/site/hooks", Some(config)).await;
    world.github.settle().await;
    let ping = world.github.deliveries("acme/site").pop().unwrap();
    assert_eq!((ping.status_code, ping.status.as_str()), (502, "failed to connect to host"));
    world.github.restrict_organization("acme");
    world.github.commit("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    world.github.settle().await;
    assert_eq!(world.github.deliveries("acme/site").len(), 1, "no delivery while the app is not approved");
    world.github.approve_app("acme", &world.app.client_id);
    world.github.commit("acme/site", "main", &[("a", "2")], "Second").await.unwrap();
    world.github.settle().await;
    assert_eq!(world.github.deliveries("acme/site").len(), 2);
}

#[tokio::test]
async fn a_person_deactivates_changes_and_deletes_a_hook() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let hook = hooked(&world, &receiver, "json").await;
    let path = format!("/repos/octo/hello/hooks/{hook}");
    let push = async |text: &str| {
        world.github.commit("octo/hello", "main", &[("a", text)], text).await.unwrap();
        world.github.settle().await;
        receiver.of("push").len()
    };
    world.github.edit_hook("octo/hello", hook, |hook| hook.active = false);
    assert_eq!((world.get(&path).await["active"].clone(), push("1").await), (json!(false), 0));
    assert_eq!(world.call(Method::PATCH, &path, Some(json!({ "active": true }))).await.status(), 200);
    assert_eq!(world.github.hooks("octo/hello")[0].secret.as_deref(), Some("key"), "a PATCH without `config` leaves the secret");
    assert_eq!(push("2").await, 1);
    world.github.edit_hook("octo/hello", hook, |hook| hook.events = vec!["create".to_owned()]);
    assert_eq!(push("3").await, 1);
    world.github.delete_hook("octo/hello", hook);
    for (method, path) in [(Method::GET, path.clone()), (Method::POST, format!("{path}/pings")), (Method::GET, format!("{path}/config"))] {
        assert_eq!(world.call(method, &path, None).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn payloads_over_the_limit_are_not_delivered_and_leave_no_trace() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let hook = hooked(&world, &receiver, "json").await;
    world.github.settle().await;
    world.github.set_payload_limit(12_000);
    world.github.commit("octo/hello", "main", &[("a", "1")], &"long ".repeat(4000)).await.unwrap();
    world.github.commit("octo/hello", "main", &[("a", "2")], "short").await.unwrap();
    world.github.settle().await;
    let heads: Vec<Value> = receiver.json_of("push").iter().map(|one| one["head_commit"]["message"].clone()).collect();
    assert_eq!(heads, ["short"]);
    let log = world.get(&format!("/repos/octo/hello/hooks/{hook}/deliveries")).await;
    let events: Vec<&Value> = log.as_array().unwrap().iter().map(|one| &one["event"]).collect();
    assert_eq!(events, ["push", "ping"]);
}

#[tokio::test]
async fn the_log_is_paged_by_cursor_and_filtered_by_status() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let hook = hooked(&world, &receiver, "json").await;
    for number in 0..4 {
        world.github.commit("octo/hello", "main", &[("a", &number.to_string())], "x").await.unwrap();
    }
    world.github.settle().await;
    let mut next = Some(format!("{}/repos/octo/hello/hooks/{hook}/deliveries?per_page=2&status=failure", world.github.api_url()));
    let mut ids = Vec::new();
    while let Some(url) = next {
        let page = world.http.get(url).bearer_auth(&world.token).send().await.unwrap();
        let link = page.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.split('>').next().unwrap().trim_start_matches('<').to_owned());
        ids.extend(page.json::<Value>().await.unwrap().as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()));
    }
    assert_eq!(ids.len(), 5, "a ping and four pushes");
    assert!(ids.is_sorted_by(|one, other| one > other), "{ids:?}");
    assert_eq!(world.get(&format!("/repos/octo/hello/hooks/{hook}/deliveries?status=success")).await, json!([]));
}
