//! Deploy keys and the log of deliveries, against the fake GitHub.

use crate::world::*;
use secrecy::SecretString;
use slipway_forge::{ForgeError, HookSpec, Removal};
use slipway_testkit::github::{ContentType, DeployKeyPolicy, Fault, Hook, Times, Visibility};
use url::Url;

#[tokio::test]
async fn a_deploy_key_is_made_once_read_only_and_known_again() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let key = public_key(1);
    let made = client.ensure_deploy_key(&token, "octo/hello", "Slipway", &format!("{key} slipway@host")).await.unwrap();
    assert_eq!((made.title.as_str(), made.public_key.as_str()), ("Slipway", key.as_str()));
    let access = github.deploy_key_access(&key).unwrap();
    assert_eq!((access.full_name.as_str(), access.read_only), ("octo/hello", true));
    assert_eq!(client.ensure_deploy_key(&token, "octo/hello", "Another title", &key).await.unwrap(), made);
    assert_eq!(client.deploy_keys(&token, "octo/hello").await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(client.delete_deploy_key(&token, "octo/hello", &made.id).await, Ok(Removal::Removed));
    assert_eq!(client.delete_deploy_key(&token, "octo/hello", &made.id).await, Ok(Removal::AlreadyGone));
    assert_eq!(client.delete_deploy_key(&token, "octo/hello", "1/../2").await, Ok(Removal::AlreadyGone));
    assert!(github.deploy_key_access(&key).is_none());
    assert!(client.deploy_keys_url("octo/hello").path().ends_with("/octo/hello/settings/keys"));
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_key() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    github.trouble("POST /api/v3/repos/octo/hello/keys", Fault::AnswerLost, Times::Next(1));
    assert!(matches!(client.ensure_deploy_key(&token, "octo/hello", "t", &public_key(1)).await, Err(ForgeError::Unreachable { .. })));
    let made = client.ensure_deploy_key(&token, "octo/hello", "t", &public_key(1)).await.unwrap();
    assert_eq!(github.deploy_keys("octo/hello").iter().map(|key| key.id.to_string()).collect::<Vec<_>>(), [made.id]);
}

#[tokio::test]
async fn a_key_in_use_elsewhere_and_a_forbidden_one_are_refused_with_githubs_words() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    client.ensure_deploy_key(&token, "octo/hello", "t", &public_key(1)).await.unwrap();
    let elsewhere = client.ensure_deploy_key(&token, "acme/site", "t", &public_key(1)).await.unwrap_err();
    assert!(
        matches!(&elsewhere, ForgeError::Unexpected { status: 422, detail } if detail.contains("key is already in use")),
        "{elsewhere}"
    );
    github.set_deploy_key_policy("acme", DeployKeyPolicy::Forbidden);
    let forbidden = client.ensure_deploy_key(&token, "acme/site", "t", &public_key(2)).await.unwrap_err();
    assert!(matches!(&forbidden, ForgeError::Forbidden { detail } if detail.contains("Deploy keys are disabled")), "{forbidden}");
    assert!(client.ensure_deploy_key(&token, "octo/hello", "t", "no key at all!").await.is_err());
    assert!(matches!(client.ensure_deploy_key(&token, "octo/hello", "t", "").await, Err(ForgeError::Misconfigured { .. })));
    let stranger = crate::world::token(&github, &client, "stranger").await;
    assert_eq!(client.ensure_deploy_key(&stranger, "octo/hello", "t", &public_key(3)).await, Err(ForgeError::NotFound));
    assert_eq!(client.delete_deploy_key(&stranger, "octo/hello", "1").await, Err(ForgeError::NotFound));
}

#[tokio::test]
async fn a_key_that_could_write_is_replaced() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let http = slipway_testkit_http();
    let url = format!("{}/repos/octo/hello/keys", github.api_url());
    let body = serde_json::json!({ "title": "by hand", "key": public_key(7), "read_only": false });
    let sent = http
        .post(url)
        .bearer_auth(secrecy::ExposeSecret::expose_secret(&token))
        .header("content-type", "application/json")
        .body(body.to_string());
    assert_eq!(sent.send().await.unwrap().status(), 201);
    assert!(!github.deploy_key_access(&public_key(7)).unwrap().read_only);
    client.ensure_deploy_key(&token, "octo/hello", "Slipway", &public_key(7)).await.unwrap();
    assert!(github.deploy_key_access(&public_key(7)).unwrap().read_only);
    assert_eq!(github.deploy_keys("octo/hello").len(), 1);
}

fn slipway_testkit_http() -> reqwest::Client {
    slipway_testkit::http_client().unwrap()
}

#[tokio::test]
async fn the_log_of_a_hook_is_read_page_by_page_and_a_delivery_is_sent_again() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let (url, secret) = (Url::parse("http://127.0.0.1:9/hooks/github/1").unwrap(), SecretString::from("s3cret"));
    let hook = client.ensure_hook(&token, "octo/hello", &HookSpec { url: &url, secret: &secret }).await.unwrap();
    assert_eq!((hook.signs, hook.active), (Some(true), true));
    for number in 0..120 {
        github.commit("octo/hello", "main", &[("a", &number.to_string())], "c").await.unwrap();
    }
    github.settle().await;
    let first = client.hook_deliveries(&token, "octo/hello", &hook.id, None).await.unwrap();
    let second = client.hook_deliveries(&token, "octo/hello", &hook.id, first.next.as_deref()).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (100, 21, None), "120 pushes and the ping");
    let delivery = &first.items[0];
    assert_eq!((delivery.event.as_str(), delivery.outcome.status), ("push", Some(502)));
    assert!(delivery.outcome.at.is_some() && delivery.outcome.words.contains("connect"), "{:?}", delivery.outcome);
    client.redeliver(&token, "octo/hello", &hook.id, &delivery.id).await.unwrap();
    github.settle().await;
    let again = client.hook_deliveries(&token, "octo/hello", &hook.id, None).await.unwrap().items.remove(0);
    assert_eq!((&again.delivery_id, again.id == delivery.id), (&delivery.delivery_id, false));
    assert!(again.outcome.words.contains("sent again"));
    let last = client.hooks(&token, "octo/hello").await.unwrap().remove(0).last_delivery.unwrap();
    assert_eq!(last.status, Some(502));
    for (hook_id, id) in [("1/../2", "1"), (hook.id.as_str(), "x"), (hook.id.as_str(), "999999999"), ("999999999", "1")] {
        assert_eq!(client.redeliver(&token, "octo/hello", hook_id, id).await, Err(ForgeError::NotFound), "{hook_id} {id}");
    }
    for cursor in ["", "a b", "a\nb"] {
        assert!(client.hook_deliveries(&token, "octo/hello", &hook.id, Some(cursor)).await.is_err());
    }
}

#[tokio::test]
async fn of_several_hooks_with_our_address_one_is_left_and_it_signs() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let url = Url::parse("http://127.0.0.1:9/hooks/github/1").unwrap();
    for (content_type, events) in [(ContentType::Form, "push"), (ContentType::Json, "create")] {
        let hook = Hook {
            id: 0,
            url: url.to_string(),
            content_type,
            secret: None,
            insecure_ssl: "1".into(),
            events: vec![events.into()],
            active: false,
        };
        github.add_hook("octo/hello", hook).unwrap();
    }
    assert!(client.hooks(&token, "octo/hello").await.unwrap().iter().all(|hook| hook.signs == Some(false)));
    let hook = client.ensure_hook(&token, "octo/hello", &HookSpec { url: &url, secret: &"s3cret".into() }).await.unwrap();
    let left = github.hooks("octo/hello");
    assert_eq!(left.iter().map(|hook| hook.id.to_string()).collect::<Vec<_>>(), [hook.id]);
    let left = &left[0];
    assert_eq!(
        (left.secret.as_deref(), left.content_type, left.insecure_ssl.as_str(), left.active),
        (Some("s3cret"), ContentType::Json, "0", true)
    );
    assert_eq!(left.events, ["pull_request", "push", "repository"]);
}

#[tokio::test]
async fn an_archived_repository_refuses_with_words() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    github.repository("octo/old", Visibility::Public).await.unwrap();
    github.archive_repository("octo/old");
    let refused = client.ensure_deploy_key(&token, "octo/old", "t", &public_key(1)).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Forbidden { detail } if detail.contains("archived")), "{refused:?}");
    assert!(client.source_repository(&token, "octo/old").await.unwrap().unwrap().archived);
}
