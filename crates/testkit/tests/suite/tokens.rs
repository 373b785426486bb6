//! Tokens that expire, are refreshed, checked, reset and revoked.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use slipway_testkit::github::{KeyMaker, TokenLife};

use crate::{CALLBACK, World, key, query};

async fn tokens(world: &World, login: &str, extra: &str) -> Value {
    let back = world.github.approve_oauth(&world.authorize_url("repo read:org", extra), login).await.unwrap();
    world.exchange(&[("code", &query(&back, "code"))]).await
}

fn word<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {answer}"))
}

async fn application(world: &World, method: Method, what: &str, token: &str) -> Response {
    let url = format!("{}/applications/{}/{what}", world.github.api_url(), world.app.client_id);
    let request = world.http.request(method, url).basic_auth(&world.app.client_id, Some(&world.app.client_secret));
    request.json(&json!({ "access_token": token })).send().await.unwrap()
}

async fn status(world: &World, token: &str) -> u16 {
    world.call_as(token, Method::GET, "/user", None).await.status().as_u16()
}

#[tokio::test]
async fn a_token_of_eight_hours_is_refreshed_once() {
    let world = World::new().await;
    world.github.set_token_life(&world.app.client_id, TokenLife::EightHours);
    let first = tokens(&world, "octo", "").await;
    assert_eq!((&first["expires_in"], &first["refresh_token_expires_in"]), (&json!(28800), &json!(15_897_600)));
    assert!(word(&first, "refresh_token").starts_with("ghr_"));
    let refresh = async |value: &str| world.exchange(&[("grant_type", "refresh_token"), ("refresh_token", value)]).await;
    let second = refresh(word(&first, "refresh_token")).await;
    assert_eq!((status(&world, word(&first, "access_token")).await, status(&world, word(&second, "access_token")).await), (401, 200));
    assert_eq!(refresh(word(&first, "refresh_token")).await["error"], "bad_refresh_token", "a refresh token works once");
    assert_eq!(second["scope"], "read:org,repo");
    world.github.advance_clock(Duration::from_secs(8 * 3600 + 1));
    assert_eq!(status(&world, word(&second, "access_token")).await, 401);
    assert_eq!(application(&world, Method::POST, "token", word(&second, "access_token")).await.status(), 404);
    let third = refresh(word(&second, "refresh_token")).await;
    assert_eq!(status(&world, word(&third, "access_token")).await, 200);
    world.github.advance_clock(Duration::from_secs(15_897_601));
    assert_eq!(refresh(word(&third, "refresh_token")).await["error"], "bad_refresh_token", "six months are over");
}

#[tokio::test]
async fn an_app_may_ask_for_expiring_tokens_by_scope() {
    let world = World::new().await;
    let back = world.github.approve_oauth(&world.authorize_url("repo offline_access", ""), "octo").await.unwrap();
    let answer = world.exchange(&[("code", &query(&back, "code"))]).await;
    assert_eq!(answer["expires_in"], 28800);
    let url = format!("{}/login/oauth/access_token", world.github.web_url());
    let form = [
        ("client_id", world.app.client_id.as_str()),
        ("client_secret", &world.app.client_secret),
        ("grant_type", "refresh_token"),
        ("refresh_token", word(&answer, "refresh_token")),
    ];
    let answer = world.http.post(url).form(&form).send().await.unwrap().text().await.unwrap();
    assert!(answer.starts_with("access_token=gho_") && answer.contains("&expires_in=28800&refresh_token=ghr_"), "{answer}");
}

#[tokio::test]
async fn a_reset_keeps_the_time_of_expiry() {
    let world = World::new().await;
    world.github.set_token_life(&world.app.client_id, TokenLife::EightHours);
    let first = tokens(&world, "octo", "").await;
    let check = application(&world, Method::POST, "token", word(&first, "access_token")).await.json::<Value>().await.unwrap();
    world.github.advance_clock(Duration::from_secs(3600));
    let reset = application(&world, Method::PATCH, "token", word(&first, "access_token")).await.json::<Value>().await.unwrap();
    assert_eq!(check["expires_at"], reset["expires_at"]);
    assert_eq!((status(&world, word(&first, "access_token")).await, status(&world, word(&reset, "token")).await), (401, 200));
}

#[tokio::test]
async fn a_revoked_grant_takes_its_deploy_keys_but_no_hook() {
    let world = World::new().await;
    let repo = "/repos/octo/hello";
    let hook = world.call(Method::POST, &format!("{repo}/hooks"), Some(json!({ "config": { "url": "http://127.0.0.1:9/" } }))).await;
    assert_eq!(hook.status(), 201);
    let made = world.call(Method::POST, &format!("{repo}/keys"), Some(json!({ "key": key(1), "read_only": true }))).await;
    assert_eq!(made.status(), 201);
    world.github.add_deploy_key("octo/hello", "by hand", &key(2)).unwrap();
    let hubot = world.link("hubot", "repo").await;
    assert_eq!(application(&world, Method::DELETE, "grant", &world.token).await.status(), 204);
    assert_eq!(application(&world, Method::DELETE, "grant", &world.token).await.status(), 404);
    assert_eq!((status(&world, &world.token).await, status(&world, &hubot).await), (401, 200), "another person's grant stands");
    let left = world.github.deploy_keys("octo/hello");
    assert_eq!(left.iter().map(|key| &key.maker).collect::<Vec<_>>(), [&KeyMaker::Person]);
    assert_eq!(world.github.hooks("octo/hello").len(), 1);
    assert!(world.github.deploy_key_access(&key(1)).is_none() && world.github.deploy_key_access(&key(2)).is_some());
}

#[tokio::test]
async fn one_revoked_token_takes_only_its_own_keys_and_a_refresh_takes_none() {
    let world = World::new().await;
    world.github.set_token_life(&world.app.client_id, TokenLife::EightHours);
    let (first, second) = (tokens(&world, "octo", "").await, tokens(&world, "octo", "").await);
    for (number, token) in [(1, &first), (2, &second)] {
        let body = json!({ "key": key(number), "read_only": true });
        let made = world.call_as(word(token, "access_token"), Method::POST, "/repos/octo/hello/keys", Some(body)).await;
        assert_eq!(made.status(), 201);
    }
    let fresh = world.exchange(&[("grant_type", "refresh_token"), ("refresh_token", word(&first, "refresh_token"))]).await;
    assert_eq!(world.github.deploy_keys("octo/hello").len(), 2);
    assert_eq!(application(&world, Method::DELETE, "token", word(&fresh, "access_token")).await.status(), 204);
    let left = world.github.deploy_keys("octo/hello");
    assert_eq!(left.iter().map(|left| left.key.as_str()).collect::<Vec<_>>(), [key(2).as_str()]);
}

#[tokio::test]
async fn people_grant_less_and_switch_accounts_on_the_page() {
    let world = World::new().await;
    world.github.grant_only_next(&["read:org"]);
    assert_eq!(tokens(&world, "octo", "").await["scope"], "read:org", "even of one who granted more before");
    assert_eq!(tokens(&world, "octo", "").await["scope"], "read:org,repo");
    let url = world.authorize_url("repo", &format!("&prompt=select_account&redirect_uri={CALLBACK}"));
    let back = world.github.approve_oauth_as_other(&url, "octo", "hubot").await.unwrap();
    let answer = world.exchange(&[("code", &query(&back, "code"))]).await;
    let user = world.call_as(word(&answer, "access_token"), Method::GET, "/user", None).await.json::<Value>().await.unwrap();
    assert_eq!(user["login"], "hubot");
}
