//! Webhooks at the real Gitea, and what they deliver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::HeaderMap;
use serde_json::json;
use slipway_forge::{ForgeError, HookSpec, Payload, Refusal, Removal};
use slipway_model::AccessLevel;
use slipway_testkit::gitea::Role;
use slipway_testkit::wait;
use url::Url;

use crate::World;

const HELLO: &str = "octo/hello";

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn sink() -> (Url, Seen) {
    async fn keep(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) {
        seen.lock().unwrap().push((headers, body));
    }
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/gitea/1", listener.local_addr().unwrap()).parse().unwrap();
    let app = Router::new().fallback(keep).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

async fn next(seen: &Seen) -> (HeaderMap, Bytes) {
    let ask = async || Ok(seen.lock().unwrap().pop());
    wait::until("a delivery", Duration::from_secs(20), ask).await.unwrap()
}

#[tokio::test]
async fn a_hook_is_made_once_and_its_secret_is_the_last_one() {
    let world = World::new().await;
    let token = world.token().await;
    let (url, seen) = sink().await;
    let (other_url, _) = sink().await;
    let other = json!({ "type": "gitea", "active": true, "events": ["issues"], "config": { "url": other_url, "content_type": "json" } });
    let other = world.gitea.add_hook(HELLO, other).await.unwrap();
    // One of ours that somebody switched off and pointed at other events.
    let stale = json!({ "type": "gitea", "active": false, "events": ["issues"], "config": { "url": url, "content_type": "form" } });
    let stale = world.gitea.add_hook(HELLO, stale).await.unwrap().to_string();

    let mut ids = vec![stale];
    for secret in ["first", "second"] {
        let made = world.client.ensure_hook(&token, HELLO, &HookSpec { url: &url, secret: &secret.into() }).await.unwrap();
        assert_eq!((made.url.as_str(), made.active), (url.as_str(), true));
        assert_eq!(made.events, ["pull_request", "pull_request_sync", "push"], "and nothing of labels and comments");
        let hooks = world.client.hooks(&token, HELLO).await.unwrap();
        assert_eq!(hooks.len(), 2, "{hooks:?}");
        assert!(hooks.iter().any(|hook| hook.id == other.to_string()) && hooks.contains(&made));
        assert!(!ids.contains(&made.id));
        ids.push(made.id);

        let commit = world.gitea.commit(HELLO, "main", &[("a", secret)], secret).await.unwrap();
        let (headers, body) = next(&seen).await;
        assert_eq!(world.client.verify(&headers, &body, &["another".into()]), Err(Refusal::BadSignature));
        let verified = world.client.verify(&headers, &body, &["another".into(), secret.into()]).unwrap();
        assert_eq!(verified.event, "push");
        let Payload::Push { repository_id, events, unusable } = world.client.read("push", &headers, &body).unwrap() else { panic!() };
        assert_eq!((repository_id.as_str(), events.len(), unusable.len()), (world.hello.as_str(), 1, 0));
        let change = &events[0];
        assert_eq!((change.name.to_string().as_str(), change.after.as_ref().unwrap().as_str()), ("refs/heads/main", commit.as_str()));
        assert_eq!((change.commit_message.as_deref(), change.author.as_deref()), (Some(secret), Some("Octo Cat")));
        assert!(change.before.is_some());
    }

    let last = ids.pop().unwrap();
    assert_eq!(world.client.delete_hook(&token, HELLO, &last).await.unwrap(), Removal::Removed);
    assert_eq!(world.client.delete_hook(&token, HELLO, &last).await.unwrap(), Removal::AlreadyGone);
    assert_eq!(world.client.delete_hook(&token, HELLO, "../1").await.unwrap(), Removal::AlreadyGone);
    assert_eq!(world.client.delete_hook(&token, "octo/none", &last).await.unwrap_err(), ForgeError::NotFound);
    assert_eq!(world.client.hooks(&token, HELLO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn tags_new_branches_and_deletions_are_delivered_as_we_read_them() {
    let world = World::new().await;
    let token = world.token().await;
    let (url, seen) = sink().await;
    world.client.ensure_hook(&token, HELLO, &HookSpec { url: &url, secret: &"s".into() }).await.unwrap();
    let main = world.gitea.ref_head(HELLO, "refs/heads/main").await.unwrap().unwrap();
    let read = async || {
        let (headers, body) = next(&seen).await;
        let verified = world.client.verify(&headers, &body, &["s".into()]).unwrap();
        match world.client.read(&verified.event, &headers, &body).unwrap() {
            Payload::Push { mut events, .. } => events.remove(0),
            other => panic!("{other:?}"),
        }
    };

    let tag_object = world.gitea.annotated_tag(HELLO, "v1", &main, "One").await.unwrap();
    let tag = read().await;
    assert_eq!((tag.name.to_string().as_str(), tag.before.is_none()), ("refs/tags/v1", true));
    assert_eq!(tag.after.unwrap().as_str(), main, "the commit and not {tag_object}");

    world.gitea.delete_ref(HELLO, "refs/tags/v1").await.unwrap();
    let gone = read().await;
    assert_eq!((gone.name.to_string().as_str(), gone.after), ("refs/tags/v1", None));

    let branch = world.gitea.commit(HELLO, "größe/a#b", &[("a", "1")], "new").await.unwrap();
    let new = read().await;
    assert_eq!((new.name.to_string().as_str(), new.before.is_none()), ("refs/heads/größe/a#b", true));
    assert_eq!(new.after.unwrap().as_str(), branch);

    let forced = world.gitea.force_commit(HELLO, "größe/a#b", Some(&main), &[("a", "2")], "forced").await.unwrap();
    let moved = read().await;
    assert_eq!((moved.before.unwrap().as_str(), moved.after.unwrap().as_str()), (branch.as_str(), forced.as_str()));

    // Five at once are five deliveries: Gitea drops none.
    let names: Vec<String> = (0..5).map(|n| format!("refs/tags/t{n}")).collect();
    let refs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), main.as_str())).collect();
    world.gitea.update_refs(HELLO, &refs).await.unwrap();
    let mut told = Vec::new();
    for _ in &names {
        told.push(read().await.name.to_string());
    }
    told.sort();
    assert_eq!(told, names);
}

#[tokio::test]
async fn the_log_of_deliveries_is_on_the_page_only() {
    let world = World::new().await;
    let token = world.token().await;
    let errors = [
        world.client.hook_deliveries(&token, HELLO, "7", None).await.map(drop).unwrap_err(),
        world.client.redeliver(&token, HELLO, "7", "x").await.unwrap_err(),
    ];
    for error in errors {
        let ForgeError::Unsupported { url, .. } = error else { panic!("{error}") };
        assert_eq!(url.unwrap().path(), "/octo/hello/settings/hooks/7");
    }
    assert_eq!(world.client.hook_settings_url(HELLO).path(), "/octo/hello/settings/hooks");
}

#[tokio::test]
async fn who_may_not_manage_a_repository_is_told_so() {
    let world = World::new().await;
    world.gitea.user("hubot").await.unwrap();
    world.gitea.add_member("acme", "hubot", Role::Write).await.unwrap();
    world.gitea.transfer_repository(HELLO, "acme").await.unwrap();
    let token = world.grant("hubot", AccessLevel::Full).await.access_token;
    let url: Url = "http://127.0.0.1:9/hooks".parse().unwrap();
    assert!(world.client.source_repository(&token, "acme/hello").await.unwrap().is_some());
    let errors = [
        world.client.hooks(&token, "acme/hello").await.map(drop).unwrap_err(),
        world.client.ensure_hook(&token, "acme/hello", &HookSpec { url: &url, secret: &"s".into() }).await.map(drop).unwrap_err(),
        world.client.delete_hook(&token, "acme/hello", "1").await.map(drop).unwrap_err(),
        world.client.deploy_keys(&token, "acme/hello").await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ForgeError::Forbidden { .. }), "{error}");
    }
    assert!(world.front.lines().iter().all(|line| !line.starts_with("POST /api")), "nothing was made");
}
