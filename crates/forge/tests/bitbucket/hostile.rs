//! Refusals and answers that are none: each becomes the decision that it asks for, and no token leaves for another place.

use std::time::Duration;

use serde_json::{Value, json};
use slipway_forge::{Coverage, ForgeError, Fresh, HookSpec, SourceKey};
use slipway_testkit::bitbucket::{FakeBitbucket, Fault, Hits};
use url::Url;

use crate::scripted::*;
use crate::world::{CALLBACK, World};

/// A hook that nobody made.
const NONE: &str = "{00000000-0000-4000-8000-000000000000}";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAx7D6pXU0Ch5rCPo3aWdB3ywaKPpMlO8jzjx8w4vzsT";

#[tokio::test]
async fn each_refusal_becomes_the_decision_that_it_asks_for() {
    let lacking = json!({ "type": "error", "error": {
        "message": "Your credentials lack one or more required privilege scopes.",
        "detail": { "required": ["webhook"], "granted": ["account"] },
    } });
    let forbidden = |detail: &str| ForgeError::Forbidden { detail: detail.into() };
    let restricted = || ForgeError::Restricted { organization: Some("acme".into()), grant_url: None };
    let wait = |seconds| ForgeError::RateLimited { retry_after: Duration::from_secs(seconds) };
    let unexpected = |status, detail: &str| ForgeError::Unexpected { status, detail: detail.into() };
    let gone = "CHANGE-2770 - Functionality has been deprecated; Please read the changelog entry for more details.";
    let cases: Vec<(Answer, ForgeError)> = vec![
        (
            answer(401, problem("Token is invalid, expired, or not supported for this endpoint.")),
            ForgeError::Unauthorized { detail: "Token is invalid, expired, or not supported for this endpoint.".into() },
        ),
        (
            answer(403, lacking),
            ForgeError::MissingScope {
                scopes: vec!["webhook".into()],
                detail: "Your credentials lack one or more required privilege scopes.".into(),
            },
        ),
        (answer(403, problem("Access denied. You must have admin access.")), forbidden("Access denied. You must have admin access.")),
        (answer(403, problem("To access this repository, an admin must whitelist your IP.")), restricted()),
        (answer(403, problem("To access this repository, enable two-step authentication.")), restricted()),
        (raw(403, "text/html", "<html>no</html>"), forbidden("no words came with it")),
        (answer(402, problem("The plan's user limit is exceeded.")), forbidden("The plan's user limit is exceeded.")),
        (answer(451, json!({})), forbidden("no words came with it")),
        (answer(404, fixture("api/goscm__error.json")), ForgeError::NotFound),
        (raw(404, "text/html", "<html>no such page</html>"), unexpected(404, "this is no answer of the API, expected a JSON object")),
        (raw(404, "application/json", "{\"type\": \"err"), unexpected(404, "this is no answer of the API, expected a JSON object")),
        (answer(410, fixture("oauth/error-410-gone.json")), unexpected(410, gone)),
        (raw(429, "text/plain", "Rate limit for this resource has been exceeded"), wait(60)),
        (raw(429, "text/plain", "no").with("retry-after", "17"), wait(17)),
        (raw(429, "text/plain", "no").with("retry-after", "999999999"), wait(3600)),
        (raw(429, "text/plain", "no").with("retry-after", "soon"), wait(60)),
        (
            answer(400, json!({ "type": "error", "error": { "message": "Bad request", "fields": { "url": ["Enter a valid URL."] } } })),
            unexpected(400, "Bad request; Enter a valid URL."),
        ),
        (answer(502, Value::Null), unexpected(502, "no words came with it")),
        (answer(500, json!({ "type": "error", "error": "a text" })), unexpected(500, "no words came with it")),
        (answer(200, problem("Something went wrong")), unexpected(200, "Something went wrong")),
        (answer(200, json!({ "error": { "message": "no type" } })), unexpected(200, "no type")),
        (answer(200, json!([{ "uuid": "x" }])), unexpected(200, "the body is no JSON object")),
        (raw(200, "text/html", "<html>"), unexpected(200, "the body is no JSON object")),
        (raw(200, "application/json", &b"{\"uuid\": \"{"[..]), unexpected(200, "the body ends too early (line 1, column 11)")),
        (raw(204, "text/plain", ""), unexpected(204, "the body ends too early (line 1, column 0)")),
        (answer(200, json!({})), unexpected(200, "the body lacks an expected field or has it in another type (line 1, column 2)")),
    ];
    for (reply, expected) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        let bitbucket = Scripted::start(move |_, _| reply.lock().unwrap().take().unwrap_or_else(not_found)).await;
        let found = bitbucket.client().hooks(&token(), "acme/site").await.unwrap_err();
        assert_eq!(found, expected);
    }
    assert!(
        wait(1).is_temporary() && unexpected(502, "").is_temporary() && !restricted().is_temporary() && !unexpected(410, "").is_temporary()
    );
}

#[tokio::test]
async fn who_is_shut_out_is_suspended_and_who_is_gone_unauthorized() {
    let world = World::new().await;
    let token = world.link("hugo").await.access_token;
    world.bitbucket.suspend_user("hugo");
    let error = world.client.person(&token).await.unwrap_err();
    assert!(matches!(error, ForgeError::Suspended { .. }), "{error}");
    world.bitbucket.delete_user("hugo");
    let error = world.client.person(&token).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let world = World::with_scopes(&["account", "repository"]).await;
    let grant = world.link("emma").await;
    let (full, less) = (&world.client.offers()[0], &world.client.offers()[1]);
    assert_eq!(world.client.missing_scopes(less, &grant.scopes), Vec::<String>::new());
    assert_eq!(world.client.missing_scopes(full, &grant.scopes), ["pullrequest", "repository:admin", "webhook"]);
    let url: Url = "https://slipway.example/hooks/1".parse().unwrap();
    let error = world.client.ensure_hook(&grant.access_token, "acme/site", &HookSpec { url: &url, secret: &"s".into() }).await.unwrap_err();
    assert!(matches!(&error, ForgeError::MissingScope { scopes, .. } if scopes == &["webhook"]), "{error}");
    let error = world.client.deploy_keys(&grant.access_token, "acme/site").await.unwrap_err();
    assert!(matches!(&error, ForgeError::MissingScope { scopes, .. } if scopes.contains(&"repository:admin".to_owned())), "{error}");
    world.client.source_repositories(&grant.access_token, "acme", None).await.unwrap();
}

#[tokio::test]
async fn too_many_requests_are_told_as_such() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    world.bitbucket.set_hourly_limit("emma", 1);
    let mut last = Ok(vec![]);
    for _ in 0..3 {
        last = world.client.hooks(&token, "acme/site").await;
    }
    assert!(matches!(last, Err(ForgeError::RateLimited { .. })), "{last:?}");
}

#[tokio::test]
async fn a_next_page_or_redirect_elsewhere_never_gets_the_token() {
    let thief = Scripted::start(|_, _| page(json!([]), None)).await;
    let elsewhere = thief.origin.clone();
    let bitbucket = Scripted::start(move |request, _| match request.path.as_str() {
        "/2.0/user" => answer(200, fixture("api/goscm__user.json")),
        "/2.0/user/workspaces" | "/2.0/repositories/acme" | "/2.0/repositories/acme/site/refs" => {
            page(json!([]), Some(format!("{elsewhere}{}?page=2", request.path.trim_start_matches('/'))))
        }
        "/2.0/repositories/acme/moved" => answer(301, json!({})).with("location", format!("{elsewhere}2.0/repositories/x/y")),
        "/2.0/repositories/acme/moved/hooks" => answer(307, json!({})).with("location", "//127.0.0.2/2.0/repositories/x/y/hooks"),
        "/site/oauth2/access_token" => answer(307, json!({})).with("location", format!("{elsewhere}site/oauth2/access_token")),
        _ => not_found(),
    })
    .await;
    let client = bitbucket.client();
    let redirect: Url = "https://slipway.example/cb".parse().unwrap();
    for error in [
        client.source_namespaces(&token()).await.map(drop).unwrap_err(),
        client.source_repositories(&token(), "acme", None).await.map(drop).unwrap_err(),
        client.heads(&token(), "acme/site", None).await.map(drop).unwrap_err(),
        client.source_repository(&token(), "acme/moved").await.map(drop).unwrap_err(),
        client.hooks(&token(), "acme/moved").await.map(drop).unwrap_err(),
        client.exchange_code("code", &redirect, &"verifier".into()).await.map(drop).unwrap_err(),
        client.refresh(&"refresh".into()).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(&error, ForgeError::Unexpected { detail, .. } if detail.contains("another origin")), "{error}");
    }
    assert!(thief.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_fault_of_a_provider_fails_closed() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let thief = FakeBitbucket::start().await.unwrap();
    let uuid = world.bitbucket.repository_uuid("acme/site");
    for fault in [Fault::Outage(503), Fault::Html, Fault::ErrorBody, Fault::Truncated, Fault::RedirectTo(thief.web_url().to_owned())] {
        world.bitbucket.add_fault("/", fault.clone(), Hits::All);
        let (client, url) = (&world.client, "https://slipway.example/hooks/1".parse().unwrap());
        let callback: Url = CALLBACK.parse().unwrap();
        let key = SourceKey { id: &uuid, full_name: "acme/site" };
        for (what, result) in [
            ("person", client.person(&token).await.map(drop)),
            ("namespaces", client.source_namespaces(&token).await.map(drop)),
            ("repositories", client.source_repositories(&token, "acme", None).await.map(drop)),
            ("repository", client.source_repository(&token, "acme/site").await.map(drop)),
            ("by id", client.source_repository_by_id(&token, key).await.map(drop)),
            ("heads", client.heads(&token, "acme/site", None).await.map(drop)),
            ("resolve", client.resolve(&token, "acme/site", &"refs/heads/main".parse().unwrap()).await.map(drop)),
            ("hooks", client.hooks(&token, "acme/site").await.map(drop)),
            ("hook", client.ensure_hook(&token, "acme/site", &HookSpec { url: &url, secret: &"s".into() }).await.map(drop)),
            ("delete hook", client.delete_hook(&token, "acme/site", NONE).await.map(drop)),
            ("keys", client.deploy_keys(&token, "acme/site").await.map(drop)),
            ("key", client.ensure_deploy_key(&token, "acme/site", "t", KEY).await.map(drop)),
            ("delete key", client.delete_deploy_key(&token, "acme/site", "424242").await.map(drop)),
            ("code", client.exchange_code("c", &callback, &"v".into()).await.map(drop)),
            ("refresh", client.refresh(&"r".into()).await.map(drop)),
        ] {
            // A refused refresh token is cut in its middle, too, and then it is no refusal.
            assert!(matches!(result, Err(ForgeError::Unexpected { .. })), "{what} under {fault:?}: {result:?}");
        }
        let picture = client.picture(&format!("{}/avatars/1", world.bitbucket.web_url()).parse().unwrap()).await;
        match fault {
            Fault::RedirectTo(_) => assert!(matches!(picture, Err(ForgeError::Misconfigured { .. })), "{picture:?}"),
            _ => assert!(matches!(picture, Err(ForgeError::Unexpected { .. })), "{fault:?}: {picture:?}"),
        }
        world.bitbucket.clear_faults();
    }
    assert!(thief.requests().is_empty());
    assert!(world.bitbucket.hooks("acme/site").is_empty() && world.bitbucket.deploy_keys("acme/site").is_empty());
}

/// A source is not gone because a proxy says 404.
#[tokio::test]
async fn a_404_that_is_not_the_apis_is_no_absence() {
    let bitbucket = Scripted::start(|_, _| raw(404, "text/html", "<html>no such page</html>")).await;
    let (client, key) = (bitbucket.client(), SourceKey { id: NONE, full_name: "acme/site" });
    for (call, result) in [
        ("repository", client.source_repository(&token(), "acme/site").await.map(drop)),
        ("by id", client.source_repository_by_id(&token(), key).await.map(drop)),
        ("heads", client.heads(&token(), "acme/site", None).await.map(drop)),
        ("resolve", client.resolve(&token(), "acme/site", &"refs/heads/main".parse().unwrap()).await.map(drop)),
        ("delete hook", client.delete_hook(&token(), "acme/site", NONE).await.map(drop)),
        ("delete key", client.delete_deploy_key(&token(), "acme/site", "7").await.map(drop)),
    ] {
        assert!(matches!(result, Err(ForgeError::Unexpected { status: 404, .. })), "{call}: {result:?}");
    }
}

#[tokio::test]
async fn endless_pages_have_an_end() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    world.bitbucket.push("acme/site", "main", &[("a", "b")], "c").await.unwrap();
    world.bitbucket.add_fault("/2.0/", Fault::EndlessPages, Hits::All);
    world.bitbucket.forget_requests();
    let Fresh::Changed { value, .. } = world.client.heads(&token, "acme/site", None).await.unwrap() else { panic!() };
    assert_eq!((value.coverage, world.bitbucket.requests().len()), (Coverage::Part, 200));
    world.bitbucket.forget_requests();
    let url = "https://slipway.example/hooks/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    // What is not in a list that could not be read to its end may exist all the same.
    for (call, result) in [
        ("hooks", world.client.hooks(&token, "acme/site").await.map(drop)),
        ("keys", world.client.deploy_keys(&token, "acme/site").await.map(drop)),
        ("hook", world.client.ensure_hook(&token, "acme/site", &hook).await.map(drop)),
        ("key", world.client.ensure_deploy_key(&token, "acme/site", "t", KEY).await.map(drop)),
        ("delete hook", world.client.delete_hook(&token, "acme/site", NONE).await.map(drop)),
        ("delete key", world.client.delete_deploy_key(&token, "acme/site", "424242").await.map(drop)),
    ] {
        assert!(matches!(&result, Err(ForgeError::Unexpected { detail, .. }) if detail.contains("no end")), "{call}: {result:?}");
    }
    assert_eq!(world.bitbucket.requests().len(), 62, "ten pages each, and two attempts to delete");
    assert!(world.bitbucket.hooks("acme/site").is_empty() && world.bitbucket.deploy_keys("acme/site").is_empty());
    let circle = Scripted::start(|request, own| page(json!([]), Some(own.join(&request.path).unwrap().to_string() + "?pagelen=100"))).await;
    let error = circle.client().hooks(&crate::scripted::token(), "acme/site").await.unwrap_err();
    assert!(error.to_string().contains("followed by itself"), "{error}");
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_in_debug() {
    let bitbucket = Scripted::start(|request, _| match request.path.as_str() {
        "/site/oauth2/access_token" => {
            answer(400, json!({ "error": "bad", "error_description": request.body.clone() + " " + CLIENT_SECRET }))
        }
        _ => answer(401, problem(&format!("no such {}", request.header("authorization")))),
    })
    .await;
    let client = bitbucket.client();
    let redirect: Url = "https://slipway.example/cb".parse().unwrap();
    let mut words = format!("{:?}", client.provider());
    for error in [
        client.person(&token()).await.unwrap_err(),
        client.exchange_code("the-code", &redirect, &"the-verifier".into()).await.unwrap_err(),
        client.refresh(&"the-refresh-token".into()).await.unwrap_err(),
    ] {
        words.push_str(&format!("{error} {error:?}"));
    }
    let access = client.clone_access("o/r", Some(&token()));
    words.push_str(&format!("{access:?}"));
    for secret in [TOKEN, CLIENT_SECRET, "the-code", "the-verifier", "the-refresh-token"] {
        assert!(!words.contains(secret), "{secret} is in: {words}");
    }
    assert!(words.contains("no such Bearer [redacted]"));
}
