//! Grants: what is sent to the token endpoint, what counts as a grant, and refresh tokens that rotate.

use std::time::Duration;

use base64::Engine;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use slipway_forge::{AuthorizeRequest, ForgeError};
use slipway_model::AccessLevel;
use url::Url;

use crate::scripted::*;
use crate::world::{CALLBACK, SCOPES, World};

fn callback() -> Url {
    CALLBACK.parse().unwrap()
}

fn long_token() -> String {
    "a.B-9_".repeat(2000)
}

#[tokio::test]
async fn a_person_is_sent_with_a_state_and_without_what_bitbucket_does_not_take() {
    let bitbucket = Scripted::start(|_, _| not_found()).await;
    let redirect = callback();
    let request = AuthorizeRequest { redirect_uri: &redirect, state: "s&t=1", challenge: "c", scopes: &["repository"] };
    let url = bitbucket.client().authorize_url(&request);
    assert_eq!((url.origin(), url.path()), (bitbucket.origin.origin(), "/site/oauth2/authorize"));
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [("client_id", "consumer-key"), ("response_type", "code"), ("redirect_uri", CALLBACK), ("state", "s&t=1")];
    assert_eq!(query, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn a_code_is_exchanged_with_basic_credentials_and_long_tokens_are_kept_whole() {
    let bitbucket = Scripted::start(|_, _| {
        let mut body = fixture("oauth/token-response-shape.json");
        body["access_token"] = json!(long_token());
        body["refresh_token"] = json!("r-1");
        body["scopes"] = json!("account webhook repository");
        answer(200, body)
    })
    .await;
    let grant = bitbucket.client().exchange_code("c0de", &callback(), &"a-verifier".into()).await.unwrap();
    assert_eq!((grant.access_token.expose_secret(), grant.refresh_token.unwrap().expose_secret()), (long_token().as_str(), "r-1"));
    assert_eq!(
        (grant.expires_in, grant.scopes),
        (Some(Duration::from_secs(3600)), vec!["account".into(), "webhook".into(), "repository".into()])
    );
    let request = &bitbucket.requests()[0];
    assert_eq!(request.line(), "POST /site/oauth2/access_token");
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("consumer-key:{CLIENT_SECRET}"));
    assert_eq!(request.header("authorization"), format!("Basic {pair}"));
    let form: Vec<(String, String)> = request.form().into_iter().collect();
    let expected = [("code", "c0de"), ("grant_type", "authorization_code"), ("redirect_uri", CALLBACK)];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn only_a_whole_grant_is_one() {
    let refused = |code: &str, detail: &str| ForgeError::Refused { code: code.into(), detail: detail.into() };
    let unexpected = |status, detail: &str| ForgeError::Unexpected { status, detail: detail.into() };
    let no_token = "the token endpoint answered without a usable `access_token`";
    let cases = [
        (
            answer(400, json!({ "error": "invalid_grant", "error_description": "Invalid refresh_token" })),
            refused("invalid_grant", "Invalid refresh_token"),
        ),
        (answer(400, json!({ "error": "unauthorized_client" })), refused("unauthorized_client", "no words came with it")),
        (answer(200, json!({ "error": "invalid_grant", "access_token": "x" })), refused("invalid_grant", "no words came with it")),
        (answer(401, json!({ "error": "invalid_client" })), refused("invalid_client", "no words came with it")),
        // A server that is not well says nothing about the grant.
        (answer(503, json!({ "error": "invalid_grant" })), unexpected(503, "no words came with it")),
        (answer(429, json!({ "error": "invalid_grant" })), ForgeError::RateLimited { retry_after: Duration::from_secs(60) }),
        (answer(401, problem("no")), ForgeError::Unauthorized { detail: "no".into() }),
        (answer(200, problem("oops")), unexpected(200, "the token endpoint answered with an error that is none of OAuth")),
        (answer(200, json!({})), unexpected(200, no_token)),
        (answer(200, json!([{ "access_token": "x" }])), unexpected(200, no_token)),
        (answer(200, json!({ "access_token": "" })), unexpected(200, no_token)),
        (answer(200, json!({ "access_token": "a\r\nb" })), unexpected(200, no_token)),
        (answer(200, json!({ "access_token": "x".repeat(40_000) })), unexpected(200, no_token)),
        (raw(200, "text/html", &b"<html>"[..]), unexpected(200, no_token)),
        (raw(200, "application/json", &b"{\"access_token\": \"x"[..]), unexpected(200, no_token)),
    ];
    for (reply, expected) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        let bitbucket = Scripted::start(move |_, _| reply.lock().unwrap().take().unwrap()).await;
        assert_eq!(bitbucket.client().refresh(&"r-0".into()).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_grant_without_a_time_or_a_refresh_token_is_one() {
    let bitbucket = Scripted::start(|_, _| answer(200, json!({ "access_token": "x", "scope": "account", "expires_in": 0 }))).await;
    let grant = bitbucket.client().refresh(&"r-0".into()).await.unwrap();
    assert!(grant.refresh_token.is_none() && grant.expires_in.is_none());
    assert_eq!(grant.scopes, ["account"]);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_withdrawn_grant_is_told() {
    let world = World::new().await;
    let grant = world.link("emma").await;
    assert!(grant.access_token.expose_secret().len() > 2500);
    assert_eq!(grant.scopes, SCOPES);
    let first = grant.refresh_token.unwrap();
    let second = world.client.refresh(&first).await.unwrap().refresh_token.unwrap();
    assert_ne!(first.expose_secret(), second.expose_secret());
    world.bitbucket.advance_clock(Duration::from_secs(3601));
    let expired = world.client.person(&grant.access_token).await.unwrap_err();
    assert!(matches!(&expired, ForgeError::Unauthorized { detail } if detail.contains("expired")), "{expired}");
    let late = world.client.refresh(&first).await.unwrap_err();
    assert!(matches!(&late, ForgeError::Refused { code, .. } if code == "invalid_grant"), "{late}");
    let living = world.client.refresh(&second).await.unwrap();
    world.client.person(&living.access_token).await.unwrap();
    world.bitbucket.revoke_grant("emma", &world.consumer.key);
    let gone = world.client.refresh(&living.refresh_token.unwrap()).await.unwrap_err();
    assert!(matches!(&gone, ForgeError::Refused { code, .. } if code == "invalid_grant"), "{gone}");
    let gone = world.client.person(&living.access_token).await.unwrap_err();
    assert!(matches!(gone, ForgeError::Unauthorized { .. }), "{gone}");
}

#[tokio::test]
async fn a_code_works_once_and_only_with_our_secret() {
    let world = World::new().await;
    let code = world.code("emma").await;
    world.client.exchange_code(&code, &callback(), &"v".into()).await.unwrap();
    let again = world.client.exchange_code(&code, &callback(), &"v".into()).await.unwrap_err();
    assert!(matches!(&again, ForgeError::Refused { code, .. } if code == "invalid_grant"), "{again}");
    let mut provider = world.client.provider().clone();
    provider.client_secret = "another".into();
    let code = world.code("emma").await;
    let wrong = slipway_forge::open(provider).unwrap().exchange_code(&code, &callback(), &"v".into()).await.unwrap_err();
    assert!(matches!(wrong, ForgeError::Refused { .. } | ForgeError::Unauthorized { .. }), "{wrong}");
}

#[tokio::test]
async fn a_grant_ends_by_hand_and_the_page_is_named() {
    let world = World::new().await;
    let expected: Url = format!("{}/account/settings/app-authorizations/", world.bitbucket.web_url()).parse().unwrap();
    assert_eq!(world.client.app_settings_url(), expected);
    let before = world.bitbucket.requests().len();
    let error = world.client.revoke_grant(&"t".into()).await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unsupported { url: Some(url), detail } if *url == expected && detail.contains("App authorizations")),
        "{error}"
    );
    assert_eq!(world.bitbucket.requests().len(), before);
}

#[tokio::test]
async fn each_offer_says_what_lacks_and_every_scope_has_words() {
    let bitbucket = Scripted::start(|_, _| not_found()).await;
    let client = bitbucket.client();
    let levels: Vec<AccessLevel> = client.offers().iter().map(|offer| offer.level).collect();
    assert_eq!(levels, [AccessLevel::Full, AccessLevel::ReadOnly]);
    let missing = |offer: usize, granted: &[&str]| {
        client.missing_scopes(&client.offers()[offer], &granted.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>())
    };
    for offer in client.offers() {
        assert!(offer.words.contains("consumer"), "{}", offer.words);
        assert!(offer.scopes.iter().all(|scope| client.scope_words(scope).is_some()));
    }
    assert_eq!(client.scope_words("pipeline:write"), None);
    assert_eq!(missing(0, SCOPES), Vec::<String>::new());
    assert_eq!(missing(0, &["account", "pullrequest:write", "webhook"]), ["repository:admin"]);
    for larger in ["repository:write", "pullrequest", "pullrequest:write", "project"] {
        assert_eq!(missing(1, &["account", larger]), Vec::<String>::new(), "{larger}");
    }
    // Administration gives no reading (Bitbucket, "repository:admin"), and writing an account no look at it.
    assert_eq!(
        missing(1, &["repository:admin", "repository:delete", "webhook", "account:write", "project:admin"]),
        ["account", "repository"]
    );
    assert_eq!(missing(0, &[]), SCOPES);
    assert_eq!(Value::from(missing(1, &["issue"])), json!(["account", "repository"]));
}
