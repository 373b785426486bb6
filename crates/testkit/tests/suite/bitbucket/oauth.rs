//! Linking as an app and a person do it, and refresh tokens that rotate.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{ALL_SCOPES, CALLBACK, World, error, fixture, keys};
use crate::query;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_link_ends_with_long_tokens_for_the_person() {
    let world = World::new().await;
    let extra = format!("&redirect_uri={CALLBACK}/1");
    let back = world.bitbucket.approve_oauth(&world.authorize_url(&extra), "hugo").await.unwrap();
    assert!(back.starts_with(&format!("{CALLBACK}/1?")), "{back}");
    assert_eq!(query(&back, "state"), "s3cret");
    let fields = [("grant_type", "authorization_code"), ("code", &query(&back, "code"))];
    let (status, answer) = world.exchange(&fields).await;
    assert_eq!((status, keys(&answer)), (200, keys(&fixture("oauth/token-response-shape.json"))));
    assert_eq!((&answer["expires_in"], &answer["token_type"]), (&Value::from(3600), &Value::from("bearer")));
    assert_eq!(answer["scopes"], ALL_SCOPES.join(" "));
    for name in ["access_token", "refresh_token"] {
        assert!(answer[name].as_str().unwrap().len() > 2500, "{name}");
    }
    let user = world.call_as(answer["access_token"].as_str().unwrap(), Method::GET, "/user", None).await;
    assert_eq!(user.headers()["x-oauth-scopes"], ALL_SCOPES.join(", "));
    assert_eq!(user.headers()["x-accepted-oauth-scopes"], "account");
    let user: Value = user.json().await.unwrap();
    assert_eq!(user["uuid"], world.bitbucket.person_uuid("hugo"));
    assert_eq!(user["account_id"], world.bitbucket.account_id("hugo"));
    let (status, again) = world.exchange(&fields).await;
    assert_eq!((status, &again["error"]), (400, &Value::from("invalid_grant")), "a code works once");
    world.unviolated();
}

#[tokio::test]
async fn a_used_refresh_token_works_ten_minutes_more() {
    let world = World::new().await;
    let first = world.tokens("hugo").await;
    let (status, second) = world.refresh(&first["refresh_token"]).await;
    assert_eq!(status, 200);
    assert_ne!(first["refresh_token"], second["refresh_token"], "rotates");
    world.bitbucket.advance_clock(9 * MINUTE);
    let (status, late) = world.refresh(&first["refresh_token"]).await;
    assert_eq!(status, 200, "nine minutes after its first use");
    world.bitbucket.advance_clock(2 * MINUTE);
    let (status, refused) = world.refresh(&first["refresh_token"]).await;
    assert_eq!((status, &refused["error"]), (400, &Value::from("invalid_grant")), "the second use did not prolong it");
    for living in [&second, &late] {
        assert_eq!(world.refresh(&living["refresh_token"]).await.0, 200);
    }
    assert_eq!(world.bitbucket.refresh_tokens("hugo", &world.consumer.key).len(), 4, "two used ones, two new ones");
}

#[tokio::test]
async fn access_lasts_an_hour_and_an_unused_refresh_token_three_months() {
    let world = World::new().await;
    let tokens = world.tokens("hugo").await;
    let access = tokens["access_token"].as_str().unwrap();
    world.bitbucket.advance_clock(59 * MINUTE);
    assert_eq!(world.call_as(access, Method::GET, "/user", None).await.status(), 200);
    world.bitbucket.advance_clock(MINUTE);
    let expired = world.call_as(access, Method::GET, "/user", None).await;
    assert_eq!(expired.status(), 401);
    let words = "Access token expired. Use your refresh token to obtain a new access token.";
    assert_eq!(expired.json::<Value>().await.unwrap(), error(words));
    world.bitbucket.advance_clock(91 * 24 * 60 * MINUTE);
    assert_eq!(world.refresh(&tokens["refresh_token"]).await.0, 400);
}

#[tokio::test]
async fn a_revoked_grant_ends_every_token_and_asks_again() {
    let world = World::new().await;
    let tokens = world.tokens("hugo").await;
    assert!(world.bitbucket.has_grant("hugo", &world.consumer.key));
    world.bitbucket.revoke_grant("hugo", &world.consumer.key);
    let (status, refused) = world.refresh(&tokens["refresh_token"]).await;
    assert_eq!((status, &refused["error"]), (400, &Value::from("invalid_grant")));
    let access = tokens["access_token"].as_str().unwrap();
    let dead = world.call_as(access, Method::GET, "/user", None).await;
    assert_eq!(dead.status(), 401);
    let denied = world.bitbucket.deny_oauth(&world.authorize_url(""), "hugo").await.unwrap();
    assert_eq!((query(&denied, "error").as_str(), query(&denied, "state").as_str()), ("access_denied", "s3cret"));
    world.link("hugo").await;
    assert_eq!(world.bitbucket.access_tokens("hugo", &world.consumer.key).len(), 1);
}

#[tokio::test]
async fn wrong_exchanges_are_refused() {
    let world = World::new().await;
    let url = format!("{}/site/oauth2/access_token", world.bitbucket.web_url());
    let send = async |key: Option<(&str, &str)>, form: &[(&str, &str)]| {
        let mut request = world.http.post(&url).form(form);
        if let Some((user, password)) = key {
            request = request.basic_auth(user, Some(password));
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned())
    };
    let (key, secret) = (world.consumer.key.as_str(), world.consumer.secret.as_str());
    let code = [("grant_type", "authorization_code"), ("code", "made-up")];
    assert_eq!(send(None, &code).await, (400, "unauthorized_client".to_owned()));
    assert_eq!(send(Some((key, "wrong")), &code).await, (400, "unauthorized_client".to_owned()));
    assert_eq!(send(Some((key, secret)), &code).await, (400, "invalid_grant".to_owned()));
    assert_eq!(send(Some((key, secret)), &[("grant_type", "password")]).await, (400, "unsupported_grant_type".to_owned()));
    let other = world.bitbucket.add_consumer("Other", CALLBACK, &["account"]).unwrap();
    let tokens = world.tokens("hugo").await;
    let stolen = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    assert_eq!(send(Some((&other.key, &other.secret)), &stolen).await, (400, "invalid_grant".to_owned()), "another consumer's");
}

#[tokio::test]
async fn wrong_requests_never_reach_a_foreign_address() {
    let world = World::new().await;
    let get = async |url: String| world.http.get(url).send().await.unwrap();
    let foreign = get(world.authorize_url("&redirect_uri=http://evil.example/callback")).await;
    assert_eq!(foreign.status(), 400);
    assert!(!foreign.headers().contains_key("location"));
    let unknown = get(format!("{}/site/oauth2/authorize?client_id=nobody&response_type=code", world.bitbucket.web_url())).await;
    assert_eq!(unknown.status(), 400);
    let nobody = get(world.authorize_url("")).await;
    assert!(nobody.headers()["location"].to_str().unwrap().starts_with("/account/signin/?next=%2Fsite%2Foauth2%2Fauthorize"));
    let form = [("username", "hugo"), ("password", "hugo-password"), ("next", "//evil.example")];
    let signin = format!("{}/account/signin/", world.bitbucket.web_url());
    let signed_in = world.http.post(&signin).form(&form).send().await.unwrap();
    assert_eq!(signed_in.headers()["location"], "/");
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let form = [("client_id", world.consumer.key.as_str()), ("response_type", "code"), ("action", "grant")];
    let url = format!("{}/site/oauth2/authorize", world.bitbucket.web_url());
    let forged = world.http.post(url).header("cookie", &cookie).form(&form).send().await.unwrap();
    assert_eq!(forged.status(), 403, "the form needs the token of the page");
    assert!(!world.bitbucket.has_grant("hugo", &world.consumer.key));
    let wrong = world.http.post(signin).form(&[("username", "hugo"), ("password", "x")]).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
}
