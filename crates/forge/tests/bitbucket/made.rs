//! What we make at Bitbucket: webhooks and deploy keys. Made once, known again, repaired, and removed.

use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::SecretString;
use serde_json::{Value, json};
use slipway_forge::{ForgeError, HookSpec, Removal};
use slipway_testkit::bitbucket::{HookAddresses, Permission};
use url::Url;

use crate::scripted::*;
use crate::world::World;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAx7D6pXU0Ch5rCPo3aWdB3ywaKPpMlO8jzjx8w4vzsT";

const EVENTS: &[&str] = &["repo:push", "pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected"];

fn ours() -> Url {
    "https://slipway.example/hooks/bitbucket/0192?x=1".parse().unwrap()
}

#[tokio::test]
async fn a_hook_is_made_once_with_a_secret_and_only_for_what_is_built() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let (url, first, second) = (ours(), SecretString::from("s-1"), SecretString::from("s-2"));
    let made = world.client.ensure_hook(&token, "acme/site", &HookSpec { url: &url, secret: &first }).await.unwrap();
    let mut events = EVENTS.to_vec();
    assert_eq!((world.client.hook_events(), made.last_delivery.as_ref()), (EVENTS, None));
    events.sort_unstable();
    assert_eq!((made.active, made.signs, made.url.as_str()), (true, Some(true), url.as_str()));
    assert_eq!(made.events, events);
    let stands = || world.bitbucket.hooks("acme/site");
    assert_eq!((stands().len(), stands()[0].secret.as_deref(), stands()[0].uuid == made.id), (1, Some("s-1"), true));
    // Somebody broke it by hand: without a secret, off, with other events.
    world.bitbucket.edit_hook("acme/site", &made.id, |hook| {
        (hook.active, hook.secret) = (false, None);
        hook.events = vec!["repo:fork".to_owned()];
    });
    let seen = world.client.hooks(&token, "acme/site").await.unwrap();
    assert_eq!((seen[0].active, seen[0].signs, seen[0].events.as_slice()), (false, Some(false), &["repo:fork".to_owned()][..]));
    let repaired = world.client.ensure_hook(&token, "acme/site", &HookSpec { url: &url, secret: &second }).await.unwrap();
    assert_eq!((repaired.id.as_str(), repaired.active, repaired.signs), (made.id.as_str(), true, Some(true)));
    assert_eq!((stands().len(), stands()[0].secret.as_deref()), (1, Some("s-2")));
    assert_eq!(stands()[0].events, events);
    // Those of others stay.
    world.bitbucket.add_hook("acme/site", "https://other.example/", &["repo:push"], None);
    assert_eq!(world.client.delete_hook(&token, "acme/site", &made.id).await, Ok(Removal::Removed));
    assert_eq!(world.client.delete_hook(&token, "acme/site", &made.id).await, Ok(Removal::AlreadyGone));
    assert_eq!((stands().len(), stands()[0].url.as_str()), (1, "https://other.example/"));
}

#[tokio::test]
async fn of_several_hooks_with_our_address_one_is_left() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    for _ in 0..3 {
        world.bitbucket.add_hook("acme/site", ours().as_str(), &["repo:fork"], Some("old"));
    }
    let made = world.client.ensure_hook(&token, "acme/site", &HookSpec { url: &ours(), secret: &"new".into() }).await.unwrap();
    let left = world.bitbucket.hooks("acme/site");
    assert_eq!((left.len(), left[0].uuid.as_str(), left[0].secret.as_deref()), (1, made.id.as_str(), Some("new")));
}

#[tokio::test]
async fn two_that_make_a_hook_at_once_settle_on_one() {
    let (mine, theirs) = ("{d53603cc-3f67-45ea-b310-aaa5ef6ec061}", "{11111111-3f67-45ea-b310-aaa5ef6ec061}");
    let hook = |uuid: &str| json!({ "uuid": uuid, "url": ours(), "active": true, "events": ["repo:push"], "secret_set": true });
    let lists = AtomicUsize::new(0);
    let bitbucket = Scripted::start(move |request, _| match request.method.as_str() {
        "GET" if lists.fetch_add(1, Ordering::SeqCst) == 0 => page(json!([]), None),
        "GET" => page(json!([hook(mine), hook(theirs)]), None),
        "POST" => answer(201, hook(mine)),
        "PUT" => answer(200, hook(theirs)),
        _ => raw(204, "text/plain", ""),
    })
    .await;
    let made = bitbucket.client().ensure_hook(&token(), "acme/site", &HookSpec { url: &ours(), secret: &"s".into() }).await.unwrap();
    assert_eq!(made.id, theirs);
    let lines = bitbucket.lines();
    let place = "/2.0/repositories/acme/site/hooks";
    let braced = |uuid: &str| uuid.replace('{', "%7B").replace('}', "%7D");
    assert_eq!(lines[lines.len() - 2..], [format!("PUT {place}/{}", braced(theirs)), format!("DELETE {place}/{}", braced(mine))]);
    for request in bitbucket.requests().iter().filter(|request| matches!(request.method.as_str(), "POST" | "PUT")) {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body, json!({ "description": "Slipway", "url": ours(), "active": true, "secret": "s", "events": EVENTS }));
    }
}

#[tokio::test]
async fn a_hook_that_cannot_be_seen_is_not_called_gone() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let hook = world.client.ensure_hook(&token, "acme/site", &HookSpec { url: &ours(), secret: &"s".into() }).await.unwrap();
    let stranger = world.link("mallory").await.access_token;
    assert_eq!(world.client.delete_hook(&stranger, "acme/site", &hook.id).await, Err(ForgeError::NotFound));
    assert_eq!(world.client.delete_hook(&token, "acme/nothing", &hook.id).await, Err(ForgeError::NotFound));
    let member = world.link("hugo").await.access_token;
    let refused = world.client.delete_hook(&member, "acme/site", &hook.id).await.unwrap_err();
    assert!(matches!(refused, ForgeError::Forbidden { .. }), "{refused}");
    let before = world.bitbucket.requests().len();
    for odd in ["", "7", "{}", "../hooks", "{d53603cc-3f67-45ea-b310-aaa5ef6ec06/}"] {
        assert_eq!(world.client.delete_hook(&token, "acme/site", odd).await, Ok(Removal::AlreadyGone), "{odd}");
    }
    assert_eq!(world.bitbucket.requests().len(), before);
    assert_eq!(world.bitbucket.hooks("acme/site").len(), 1);
}

#[tokio::test]
async fn a_refused_hook_comes_with_bitbuckets_words() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    world.bitbucket.set_hook_addresses(HookAddresses::Public);
    let url = "http://127.0.0.1:8080/hooks/x".parse().unwrap();
    let error = world.client.ensure_hook(&token, "acme/site", &HookSpec { url: &url, secret: &"s".into() }).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Unexpected { status: 400, detail } if detail.contains("must be a public address")), "{error}");
}

#[tokio::test]
async fn the_log_of_deliveries_is_looked_at_by_hand() {
    let world = World::new().await;
    let before = world.bitbucket.requests().len();
    let page: Url = format!("{}/acme/site/admin/webhooks/", world.bitbucket.web_url()).parse().unwrap();
    assert_eq!(world.client.hook_settings_url("acme/site"), page);
    for error in [
        world.client.hook_deliveries(&token(), "acme/site", "{x}", None).await.unwrap_err(),
        world.client.redeliver(&token(), "acme/site", "{x}", "d").await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, ForgeError::Unsupported { url: Some(url), detail } if *url == page && detail.contains("View requests")),
            "{error}"
        );
    }
    assert_eq!(world.bitbucket.requests().len(), before);
}

#[tokio::test]
async fn a_deploy_key_is_made_once_and_known_by_itself() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let made = world.client.ensure_deploy_key(&token, "acme/site", "Slipway acme/site", &format!("{KEY} slipway")).await.unwrap();
    assert_eq!((made.public_key.as_str(), made.title.as_str()), (KEY, "Slipway acme/site"));
    let again = world.client.ensure_deploy_key(&token, "acme/site", "another label", KEY).await.unwrap();
    assert_eq!((again.id.as_str(), world.bitbucket.deploy_keys("acme/site").len()), (made.id.as_str(), 1));
    assert_eq!(world.client.deploy_keys(&token, "acme/site").await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(world.client.delete_deploy_key(&token, "acme/site", &made.id).await, Ok(Removal::Removed));
    assert_eq!(world.client.delete_deploy_key(&token, "acme/site", &made.id).await, Ok(Removal::AlreadyGone));
    assert_eq!(world.client.delete_deploy_key(&token, "acme/site", "1/../2").await, Ok(Removal::AlreadyGone));
    let page: Url = format!("{}/acme/site/admin/access-keys/", world.bitbucket.web_url()).parse().unwrap();
    assert_eq!(world.client.deploy_keys_url("acme/site"), page);
}

#[tokio::test]
async fn who_administrates_nothing_makes_no_key() {
    let world = World::new().await;
    let owner = world.link("emma").await.access_token;
    let made = world.client.ensure_deploy_key(&owner, "acme/site", "t", KEY).await.unwrap();
    let member = world.link("hugo").await.access_token;
    for error in [
        world.client.ensure_deploy_key(&member, "acme/site", "t", KEY).await.map(drop).unwrap_err(),
        world.client.delete_deploy_key(&member, "acme/site", &made.id).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, ForgeError::Forbidden { .. }), "{error}");
    }
    let stranger = world.link("mallory").await.access_token;
    assert_eq!(world.client.delete_deploy_key(&stranger, "acme/site", &made.id).await, Err(ForgeError::NotFound));
    world.bitbucket.set_permission("acme/site", "hugo", Permission::Admin);
    assert_eq!(world.client.delete_deploy_key(&member, "acme/site", &made.id).await, Ok(Removal::Removed));
}

#[tokio::test]
async fn a_key_that_bitbucket_has_already_is_adopted_and_one_it_refuses_is_an_error() {
    let recorded = fixture("openapi-examples/get.repositories.workspace.repo_slug.deploy-keys.200.response.json");
    let key = recorded["values"][0]["key"].as_str().unwrap().to_owned();
    let lists = AtomicUsize::new(0);
    let bitbucket = Scripted::start(move |request, _| match request.method.as_str() {
        "GET" if lists.fetch_add(1, Ordering::SeqCst) == 0 => page(json!([]), None),
        "GET" => answer(200, recorded.clone()),
        _ => answer(400, problem("Someone has already registered that SSH key.")),
    })
    .await;
    let client = bitbucket.client();
    // The list did not have it, making it is refused, and then it stands there: an answer of ours was lost.
    let adopted = client.ensure_deploy_key(&token(), "mleu/test", "t", &key).await.unwrap();
    assert_eq!((adopted.id.as_str(), adopted.title.as_str(), adopted.public_key), ("123", "mykey", key));
    let elsewhere = client.ensure_deploy_key(&token(), "mleu/test", "t", KEY).await.unwrap_err();
    assert!(matches!(&elsewhere, ForgeError::Unexpected { status: 400, detail } if detail.contains("already registered")), "{elsewhere}");
}

#[tokio::test]
async fn recorded_hooks_and_keys_are_read() {
    let bitbucket = Scripted::start(|request, _| match (request.method.as_str(), request.path.rsplit('/').next().unwrap()) {
        ("GET", "hooks") => answer(200, fixture("api/goscm__hooks.json")),
        ("PUT", _) => answer(200, fixture("api/goscm__hook.json")),
        ("POST", "hooks") => answer(201, fixture("api/goscm__hook.json")),
        ("GET", _) => answer(200, fixture("openapi-examples/get.repositories.workspace.repo_slug.deploy-keys.200.response.json")),
        ("POST", _) => answer(200, fixture("openapi-examples/post.repositories.workspace.repo_slug.deploy-keys.200.response.json")),
        _ => not_found(),
    })
    .await;
    let client = bitbucket.client();
    let hooks = client.hooks(&token(), "atlassian/stash-example-plugin").await.unwrap();
    assert_eq!((hooks.len(), hooks[0].url.as_str(), hooks[0].signs), (1, "http://example.com/webhook", None));
    assert_eq!(hooks[0].events, ["pullrequest:created", "pullrequest:updated", "repo:push"]);
    for url in ["http://example.com/webhook", "http://example.com/other"] {
        let url: Url = url.parse().unwrap();
        let made =
            client.ensure_hook(&token(), "atlassian/stash-example-plugin", &HookSpec { url: &url, secret: &"s".into() }).await.unwrap();
        assert_eq!(made, hooks[0]);
    }
    let methods: Vec<String> = bitbucket.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["GET", "GET", "PUT", "GET", "POST", "GET"], "adopted by its address, or made");
    assert_eq!(client.deploy_keys(&token(), "mleu/test").await.unwrap()[0].id, "123");
    let made = client.ensure_deploy_key(&token(), "mleu/test", "t", KEY).await.unwrap();
    assert_eq!((made.id.as_str(), made.title.as_str(), made.public_key.starts_with("ssh-rsa AAAA")), ("123", "mydeploykey", true));
}
