//! Single requests that go wrong, and the record of all of them.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{CredentialKind, Fault, Times, Visibility};

use crate::{World, key};

const USER: &str = "/api/v3/user";

async fn user(world: &World) -> reqwest::Result<reqwest::Response> {
    world.http.get(format!("{}/user", world.github.api_url())).bearer_auth(&world.token).send().await
}

#[tokio::test]
async fn a_fault_hits_its_path_so_many_times() {
    let world = World::new().await;
    world.github.trouble(USER, Fault::Status(502), Times::Next(2));
    world.github.trouble(USER, Fault::Html, Times::Next(1));
    assert_eq!(world.get("/repos/octo/hello").await["name"], "hello", "another path is untouched");
    let seen = [user(&world).await.unwrap(), user(&world).await.unwrap(), user(&world).await.unwrap(), user(&world).await.unwrap()];
    assert_eq!(seen.each_ref().map(|answer| answer.status().as_u16()), [502, 502, 200, 200]);
    assert_eq!(seen[2].headers()["content-type"], "text/html; charset=utf-8");
    world.github.trouble("POST /api/v3/repos", Fault::Status(500), Times::UntilCleared);
    assert_eq!(world.get("/repos/octo/hello").await["name"], "hello", "only one method");
    let key_of = json!({ "key": key(1) });
    assert_eq!(world.call(Method::POST, "/repos/octo/hello/keys", Some(key_of)).await.status(), 500);
    assert_eq!(world.github.troubles_left(), None);
    world.github.clear_troubles();
    assert!(world.github.deploy_keys("octo/hello").is_empty(), "nothing of it happened");
}

#[tokio::test]
async fn answers_are_bent_in_every_way() {
    let world = World::new().await;
    let next = |fault: Fault| world.github.trouble(USER, fault, Times::Next(1));
    next(Fault::Slow(Duration::from_millis(120)));
    let begun = Instant::now();
    assert_eq!(user(&world).await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(120));
    next(Fault::ErrorBody);
    let body: Value = user(&world).await.unwrap().json().await.unwrap();
    assert!(body["message"].is_string() && body["id"].is_null());
    next(Fault::Truncated);
    let text = user(&world).await.unwrap().text().await.unwrap();
    assert!(text.starts_with("{\"") && serde_json::from_str::<Value>(&text).is_err());
    next(Fault::RedirectTo("http://other.example".to_owned()));
    let moved = user(&world).await.unwrap();
    assert_eq!((moved.status().as_u16(), &moved.headers()["location"]), (301, &"http://other.example/api/v3/user".parse().unwrap()));
    for status in [403, 429] {
        next(Fault::RateLimited(status));
        let over = user(&world).await.unwrap();
        assert_eq!((over.status().as_u16(), &over.headers()["x-ratelimit-remaining"]), (status, &"0".parse().unwrap()));
    }
    next(Fault::SecondaryLimit(403, Some(7)));
    let slow_down = user(&world).await.unwrap();
    assert_eq!((slow_down.status().as_u16(), &slow_down.headers()["retry-after"]), (403, &"7".parse().unwrap()));
    assert!(slow_down.json::<Value>().await.unwrap()["message"].as_str().unwrap().contains("secondary rate limit"));
    next(Fault::Silence(Duration::from_millis(50)));
    assert!(user(&world).await.unwrap_err().is_request(), "dropped without an answer");
    assert_eq!(world.github.requests().last().unwrap().status, 0);
}

#[tokio::test]
async fn pages_never_end() {
    let world = World::new().await;
    world.github.trouble("/api/v3/user/repos", Fault::EndlessPages, Times::UntilCleared);
    let mut next = format!("{}/user/repos?per_page=1", world.github.api_url());
    let mut names = Vec::new();
    for _ in 0..5 {
        let page = world.http.get(&next).bearer_auth(&world.token).send().await.unwrap();
        let link = page.headers()["link"].to_str().unwrap().to_owned();
        next = link.split('>').next().unwrap().trim_start_matches('<').to_owned();
        names.push(page.json::<Value>().await.unwrap()[0]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, vec![names[0].clone(); 5]);
    assert!(next.ends_with("page=6"), "{next}");
}

#[tokio::test]
async fn an_answer_is_lost_after_its_effect() {
    let world = World::new().await;
    world.github.trouble("POST /api/v3/repos/octo/hello/keys", Fault::AnswerLost, Times::Next(1));
    let url = format!("{}/repos/octo/hello/keys", world.github.api_url());
    let create = || world.http.post(&url).bearer_auth(&world.token).json(&json!({ "key": key(1), "read_only": true })).send();
    assert!(create().await.unwrap_err().is_request());
    assert_eq!(world.github.deploy_keys("octo/hello").len(), 1);
    assert_eq!(create().await.unwrap().status(), 422, "it happened");
}

#[tokio::test]
async fn the_record_names_credentials_and_finds_secrets_in_addresses() {
    let world = World::new().await;
    world.get("/user/repos?per_page=2").await;
    let seen = world.github.requests().pop().unwrap();
    assert_eq!((seen.address().as_str(), seen.credential), ("/api/v3/user/repos?per_page=2", CredentialKind::OAuth));
    let url = format!("{}/applications/{}/token", world.github.api_url(), world.app.client_id);
    let basic = world.http.post(url).basic_auth(&world.app.client_id, Some(&world.app.client_secret));
    basic.json(&json!({ "access_token": world.token })).send().await.unwrap();
    world.call_as("gho_made_up", Method::GET, "/user", None).await;
    world.http.get(world.github.web_url()).send().await.unwrap();
    let personal = world.github.personal_token("octo", &["repo"]);
    world.call_as(&personal, Method::GET, "/user", None).await;
    let kinds: Vec<CredentialKind> = world.github.requests().iter().rev().take(4).map(|one| one.credential).collect();
    assert_eq!(kinds, [CredentialKind::Personal, CredentialKind::None, CredentialKind::Unknown, CredentialKind::Basic]);
    assert_eq!(world.github.secrets_in_addresses(), []);
    world.http.get(format!("{}/user?access_token={}", world.github.api_url(), world.token)).send().await.unwrap();
    let leaked = world.github.secrets_in_addresses();
    assert_eq!(leaked.len(), 1);
    assert!(leaked[0].query.contains(&world.token));
}

#[tokio::test]
async fn every_answer_tells_the_rate_limit_and_limits_can_be_set() {
    let world = World::new().await;
    let left = |answer: &reqwest::Response| answer.headers()["x-ratelimit-remaining"].to_str().unwrap().parse::<u64>().unwrap();
    world.github.set_rate_limit("octo", 10);
    let first = left(&user(&world).await.unwrap());
    assert!(first < 10);
    let missing = world.call(Method::GET, "/repos/octo/none", None).await;
    assert_eq!((missing.status().as_u16(), left(&missing)), (404, first - 1));
    let dead = world.call_as("gho_dead", Method::GET, "/user", None).await;
    assert_eq!((dead.status().as_u16(), &dead.headers()["x-ratelimit-limit"]), (401, &"60".parse().unwrap()));
    world.github.repository("octo/second", Visibility::Private).await.unwrap();
    let list = world.call(Method::GET, "/user/repos", None).await;
    let etag = list.headers()["etag"].clone();
    let before = left(&list);
    let again = async || {
        let url = format!("{}/user/repos", world.github.api_url());
        world.http.get(url).bearer_auth(&world.token).header("if-none-match", &etag).send().await.unwrap()
    };
    let unchanged = again().await;
    assert_eq!((unchanged.status().as_u16(), left(&unchanged)), (304, before));
    world.github.repository("octo/third", Visibility::Private).await.unwrap();
    let changed = again().await;
    assert_eq!((changed.status().as_u16(), left(&changed)), (200, before - 1));
}
