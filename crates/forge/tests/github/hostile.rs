//! A GitHub that answers with everything but what was asked for: a clear error each time, and no token sent elsewhere.

use std::sync::Arc;
use std::time::Duration;

use crate::fake::Fake;
use crate::fake::answer;
use crate::world::*;
use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, HookSpec};
use slipway_model::RefName;
use slipway_testkit::github::{Fault, Times};
use url::Url;

/// What stands at the fake before anything goes wrong.
struct Known {
    /// The id of `octo/hello`.
    id: String,
    hook: String,
    delivery: String,
}

/// A hook and a key that nobody made.
const NONE: &str = "424242";

/// Everything that the background and the pages ask of a provider, each with its name. Tokens of installations are tried in `apps`.
async fn everything(client: &Arc<dyn Forge>, token: &SecretString, known: &Known) -> Vec<(&'static str, Option<ForgeError>)> {
    let (url, secret): (Url, SecretString) = ("https://slipway.example/hooks/github/1".parse().unwrap(), "s3cret".into());
    let hook = HookSpec { url: &url, secret: &secret };
    let main: RefName = "refs/heads/main".parse().unwrap();
    vec![
        ("person", client.person(token).await.err()),
        ("namespaces", client.source_namespaces(token).await.err()),
        ("repositories", client.source_repositories(token, "acme", None).await.err()),
        ("repository", client.source_repository(token, "octo/hello").await.err()),
        ("repository by id", client.source_repository_by_id(token, source(&known.id, "octo/hello")).await.err()),
        ("heads", client.heads(token, "octo/hello", None).await.err()),
        ("resolve", client.resolve(token, "octo/hello", &main).await.err()),
        ("hooks", client.hooks(token, "octo/hello").await.err()),
        ("ensure hook", client.ensure_hook(token, "octo/hello", &hook).await.err()),
        ("delete hook", client.delete_hook(token, "octo/hello", NONE).await.err()),
        ("deliveries", client.hook_deliveries(token, "octo/hello", &known.hook, None).await.err()),
        ("redeliver", client.redeliver(token, "octo/hello", &known.hook, &known.delivery).await.err()),
        ("keys", client.deploy_keys(token, "octo/hello").await.err()),
        ("ensure key", client.ensure_deploy_key(token, "octo/hello", "t", &public_key(1)).await.err()),
        ("delete key", client.delete_deploy_key(token, "octo/hello", NONE).await.err()),
    ]
}

async fn ready() -> (Held, Arc<dyn Forge>, SecretString, Known) {
    let (github, client) = world().await;
    github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    let token = token(&github, &client, "octo").await;
    let id = github.repository_id("octo/hello").to_string();
    let url: Url = "https://slipway.example/hooks/github/1".parse().unwrap();
    let hook = client.ensure_hook(&token, "octo/hello", &HookSpec { url: &url, secret: &"s".into() }).await.unwrap();
    github.settle().await;
    let delivery = client.hook_deliveries(&token, "octo/hello", &hook.id, None).await.unwrap().items.remove(0).id;
    (github, client, token, Known { id, hook: hook.id, delivery })
}

#[tokio::test]
async fn pages_for_people_errors_with_200_and_cut_answers_are_errors() {
    let (github, client, token, known) = ready().await;
    for fault in [Fault::Html, Fault::ErrorBody, Fault::Truncated, Fault::Status(500), Fault::Status(503)] {
        github.trouble("/api/v3", fault.clone(), Times::UntilCleared);
        for (name, error) in everything(&client, &token, &known).await {
            // Its status says everything: there is nothing to be cut.
            if name == "redeliver" && fault == Fault::Truncated {
                continue;
            }
            let error = error.unwrap_or_else(|| panic!("{name} took {fault:?} for an answer"));
            assert!(matches!(error, ForgeError::Unexpected { .. }), "{name} {fault:?}: {error:?}");
        }
        github.clear_troubles();
    }
    let sent = everything(&client, &token, &known).await;
    assert!(sent.iter().all(|(_, error)| error.is_none()), "{sent:?}");
}

#[tokio::test]
async fn limits_are_waited_for() {
    let (github, client, token, known) = ready().await;
    for (fault, least) in [
        (Fault::RateLimited(403), 3000),
        (Fault::RateLimited(429), 3000),
        (Fault::SecondaryLimit(403, Some(17)), 17),
        (Fault::SecondaryLimit(429, Some(17)), 17),
        (Fault::SecondaryLimit(403, None), 60),
    ] {
        github.trouble("/api/v3", fault.clone(), Times::UntilCleared);
        for (name, error) in everything(&client, &token, &known).await {
            let waits = matches!(&error, Some(ForgeError::RateLimited { retry_after }) if retry_after.as_secs() >= least);
            assert!(waits, "{name} {fault:?}: {error:?}");
        }
        github.clear_troubles();
    }
}

#[tokio::test]
async fn a_redirect_elsewhere_gets_nothing() {
    let thief = Fake::start(|_, _| answer(200, json!({}))).await;
    let (github, client, token, known) = ready().await;
    github.trouble("/", Fault::RedirectTo(thief.origin.to_string()), Times::UntilCleared);
    for (name, error) in everything(&client, &token, &known).await {
        assert!(matches!(&error, Some(ForgeError::Unexpected { detail, .. }) if detail.contains("another origin")), "{name}: {error:?}");
    }
    let callback: Url = CALLBACK.parse().unwrap();
    assert!(client.exchange_code("code", &callback, &"verifier".into()).await.is_err());
    assert!(client.refresh(&"ghr_old".into()).await.is_err());
    assert!(client.revoke_grant(&token).await.is_err());
    let picture: Url = format!("{}/avatars/u/1", github.web_url()).parse().unwrap();
    assert!(matches!(client.picture(&picture).await, Err(ForgeError::Misconfigured { .. })), "the thief is at no public address");
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn what_is_no_picture_is_an_error() {
    let (github, client, ..) = ready().await;
    let picture: Url = format!("{}/avatars/u/1", github.web_url()).parse().unwrap();
    for (fault, expected) in [
        (Fault::Html, 200),
        (Fault::ErrorBody, 200),
        (Fault::Status(503), 503),
        (Fault::RateLimited(429), 429),
        (Fault::RateLimited(403), 403),
    ] {
        github.trouble("/avatars", fault.clone(), Times::Next(1));
        let error = client.picture(&picture).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unexpected { status, .. } if status == expected), "{fault:?}: {error:?}");
    }
    github.trouble("/avatars", Fault::AnswerLost, Times::Next(1));
    assert!(matches!(client.picture(&picture).await, Err(ForgeError::Unreachable { .. })));
}

#[tokio::test]
async fn lists_without_an_end_end() {
    let (github, client, token, _) = ready().await;
    client.ensure_deploy_key(&token, "octo/hello", "t", &public_key(1)).await.unwrap();
    github.trouble("/api/v3", Fault::EndlessPages, Times::UntilCleared);
    // What is not in a list that could not be read to its end may exist all the same.
    for result in [
        client.hooks(&token, "octo/hello").await.map(drop),
        client.deploy_keys(&token, "octo/hello").await.map(drop),
        client.delete_hook(&token, "octo/hello", "424242").await.map(drop),
        client.delete_deploy_key(&token, "octo/hello", "424242").await.map(drop),
    ] {
        assert!(matches!(&result, Err(ForgeError::Unexpected { detail, .. }) if detail.contains("no end")), "{result:?}");
    }
}

#[tokio::test]
async fn silence_and_lost_answers_are_unreachable() {
    let (github, client, token, _) = ready().await;
    github.trouble("/api/v3/user", Fault::AnswerLost, Times::Next(1));
    github.trouble("/api/v3/user", Fault::Silence(Duration::from_millis(50)), Times::Next(1));
    for _ in 0..2 {
        let error = client.person(&token).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unreachable { .. }) && error.is_temporary(), "{error:?}");
    }
    assert!(client.person(&token).await.is_ok());
}
