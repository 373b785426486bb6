//! Linking as an app and a person do it.

use base64::Engine as _;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use crate::{CALLBACK, World, query};

fn fixture(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/github/oauth/");
    serde_json::from_str(&std::fs::read_to_string(format!("{folder}{name}")).unwrap()).unwrap()
}

fn challenge(verifier: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[tokio::test]
async fn a_link_ends_with_a_token_for_the_person() {
    let world = World::new().await;
    let verifier = "v".repeat(64);
    let extra = format!("&code_challenge={}&code_challenge_method=S256&redirect_uri={CALLBACK}", challenge(&verifier));
    let back = world.github.approve_oauth(&world.authorize_url("repo read:org", &extra), "octo").await.unwrap();
    assert!(back.starts_with(CALLBACK), "{back}");
    assert_eq!(query(&back, "state"), "s3cret");
    let code = query(&back, "code");
    let answer = world.exchange(&[("code", &code), ("code_verifier", &verifier), ("redirect_uri", CALLBACK)]).await;
    let recorded = fixture("token-response.json");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(&recorded));
    assert_eq!(answer["scope"], "read:org,repo");
    let token = answer["access_token"].as_str().unwrap();
    assert!(token.starts_with("gho_") && token.len() == 40, "{token}");
    let user = world.call_as(token, Method::GET, "/user", None).await;
    assert_eq!(user.headers()["x-oauth-scopes"], "read:org, repo");
    assert_eq!(user.json::<Value>().await.unwrap()["login"], "octo");
    let again = world.exchange(&[("code", &code), ("code_verifier", &verifier)]).await;
    assert_eq!(again, fixture("error-bad_verification_code.json"), "a code works once");
}

#[tokio::test]
async fn wrong_exchanges_are_refused_in_githubs_words() {
    let world = World::new().await;
    let verifier = "v".repeat(64);
    let extra = format!("&code_challenge={}&code_challenge_method=S256", challenge(&verifier));
    let url = world.authorize_url("repo", &extra);
    let code = async || query(&world.github.approve_oauth(&url, "octo").await.unwrap(), "code");
    let bad_code = fixture("error-bad_verification_code.json");
    assert_eq!(world.exchange(&[("code", "made-up")]).await, bad_code);
    assert_eq!(world.exchange(&[("code", &code().await)]).await, bad_code, "verifier missing");
    assert_eq!(world.exchange(&[("code", &code().await), ("code_verifier", "other")]).await, bad_code);
    let wrong_secret = world.exchange(&[("code", &code().await), ("client_secret", "x")]).await;
    assert_eq!(wrong_secret, fixture("error-incorrect_client_credentials.json"));
    let elsewhere = format!("{CALLBACK}/other");
    let mismatch = world.exchange(&[("code", &code().await), ("code_verifier", &verifier), ("redirect_uri", &elsewhere)]).await;
    assert_eq!(mismatch, fixture("error-redirect_uri_mismatch.json"));
    let refresh = world.exchange(&[("grant_type", "refresh_token"), ("refresh_token", "x")]).await;
    assert_eq!(refresh, fixture("error-200-bad_refresh_token.json"));
    let late = code().await;
    world.github.advance_clock(Duration::from_secs(601));
    assert_eq!(world.exchange(&[("code", &late), ("code_verifier", &verifier)]).await, bad_code, "ten minutes are over");
}

#[tokio::test]
async fn answers_are_form_encoded_unless_json_is_asked_for() {
    let world = World::new().await;
    let url = format!("{}/login/oauth/access_token", world.github.web_url());
    let answer = world.http.post(url).form(&[("client_id", "nobody")]).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-www-form-urlencoded; charset=utf-8");
    assert!(answer.text().await.unwrap().starts_with("error=incorrect_client_credentials&"));
}

#[tokio::test]
async fn a_person_may_deny_or_grant_less() {
    let world = World::new().await;
    let url = world.authorize_url("repo read:org", "");
    let denied = world.github.deny_oauth(&url, "hubot").await.unwrap();
    assert_eq!((query(&denied, "error").as_str(), query(&denied, "state").as_str()), ("access_denied", "s3cret"));
    let back = world.github.approve_oauth_only(&url, "hubot", &["read:org"]).await.unwrap();
    let answer = world.exchange(&[("code", &query(&back, "code"))]).await;
    assert_eq!(answer["scope"], "read:org");
}

#[tokio::test]
async fn wrong_requests_never_reach_a_foreign_address() {
    let world = World::new().await;
    let get = |url: String| world.http.get(url).send();
    let location = |answer: &reqwest::Response| answer.headers()["location"].to_str().unwrap().to_owned();
    let foreign = get(world.authorize_url("repo", "&redirect_uri=http://evil.example/callback")).await.unwrap();
    assert!(location(&foreign).starts_with(CALLBACK));
    assert_eq!(query(&location(&foreign), "error"), "redirect_uri_mismatch");
    let plain = get(world.authorize_url("repo", "&code_challenge=abc&code_challenge_method=plain")).await.unwrap();
    assert_eq!(query(&location(&plain), "error"), "invalid_request");
    let unknown = get(format!("{}/login/oauth/authorize?client_id=nobody", world.github.web_url())).await.unwrap();
    assert_eq!(unknown.status(), 404);
    let nobody = get(world.authorize_url("repo", "")).await.unwrap();
    assert!(location(&nobody).starts_with("/login?return_to=%2Flogin%2Foauth%2Fauthorize"), "{}", location(&nobody));
}

#[tokio::test]
async fn consent_needs_the_token_of_the_page() {
    let world = World::new().await;
    let web = world.github.web_url();
    let form = [("login", "hubot"), ("password", "hubot-password"), ("return_to", "/")];
    let signed_in = world.http.post(format!("{web}/session")).form(&form).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let form = [("client_id", world.app.client_id.as_str()), ("scope", "repo"), ("authorize", "1"), ("authenticity_token", "guess")];
    let forged = world.http.post(format!("{web}/login/oauth/authorize")).header("cookie", &cookie).form(&form).send();
    assert_eq!(forged.await.unwrap().status(), 422);
    assert_eq!(world.github.oauth_tokens("hubot", &world.app.client_id), Vec::<String>::new());
    let wrong = [("login", "hubot"), ("password", "x")];
    let refused = world.http.post(format!("{web}/session")).form(&wrong).send().await.unwrap();
    assert_eq!(refused.status(), 422);
}

#[tokio::test]
async fn the_eleventh_token_revokes_the_first() {
    let world = World::new().await;
    let mut tokens = Vec::new();
    for _ in 0..11 {
        tokens.push(world.link("hubot", "repo").await);
    }
    assert_eq!(world.github.oauth_tokens("hubot", &world.app.client_id), tokens[1..]);
    assert_eq!(world.call_as(&tokens[0], Method::GET, "/user", None).await.status(), 401);
}

#[tokio::test]
async fn pages_escape_what_people_name() {
    let world = World::new().await;
    let app = world.github.oauth_app("<script>alert(1)</script>", CALLBACK).unwrap();
    let web = world.github.web_url();
    let form = [("login", "octo"), ("password", "octo-password"), ("return_to", "/")];
    let signed_in = world.http.post(format!("{web}/session")).form(&form).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let url = format!("{web}/login/oauth/authorize?client_id={}&scope=repo&state=%22%3E%3Cb%3E", app.client_id);
    let page = world.http.get(url).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>") && !page.contains("\"><b>"), "{page}");
    world.github.commit("octo/hello", "main", &[("a", "1")], "<b>bold</b>").await.unwrap();
    let page = world.http.get(format!("{web}/octo/hello")).header("cookie", &cookie).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("&lt;b&gt;bold&lt;/b&gt;"), "{page}");
    let stranger = world.http.get(format!("{web}/octo/hello")).send().await.unwrap();
    assert_eq!(stranger.status(), 404);
}
