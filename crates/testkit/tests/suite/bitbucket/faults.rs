//! What may come instead of the truth.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use slipway_testkit::bitbucket::{FakeBitbucket, Fault, Hits};

use super::World;

#[tokio::test]
async fn faults_hit_the_paths_and_the_count_that_they_name() {
    let world = World::new().await;
    let fake = &world.bitbucket;
    let text = async |path: &str| {
        let answer = world.call(Method::GET, path, None).await;
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap().to_owned(), answer.text().await.unwrap())
    };
    let right = text("/user").await;
    fake.add_fault("/2.0/user", Fault::Html, Hits::Next(1));
    let (status, kind, page) = text("/user").await;
    assert!(status == 200 && kind.starts_with("text/html") && page.starts_with("<!doctype html>"), "{kind}");
    assert_eq!(text("/user").await, right, "only once");
    fake.add_fault("/2.0/user", Fault::Truncated, Hits::Next(1));
    let (status, kind, half) = text("/user").await;
    assert!(status == 200 && kind.starts_with("application/json") && right.2.starts_with(&half) && half.len() < right.2.len());
    fake.add_fault("/2.0/user", Fault::ErrorBody, Hits::All);
    for _ in 0..3 {
        let (status, _, body) = text("/user").await;
        assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["type"].as_str()), (200, Some("error")));
    }
    assert_eq!(text("/repositories/acme/site").await.0, 200, "another path");
    fake.clear_faults();
    fake.add_fault("/2.0/repositories/acme/site", Fault::Outage(502), Hits::All);
    assert_eq!(text("/repositories/acme/site").await.0, 502);
    fake.clear_faults();
    fake.set_outage(Some(503));
    assert_eq!(text("/user").await.0, 503);
    fake.set_outage(None);
    fake.add_fault("/2.0/user", Fault::Latency(Duration::from_millis(80)), Hits::Next(1));
    let started = Instant::now();
    assert_eq!(text("/user").await, right);
    assert!(started.elapsed() >= Duration::from_millis(80));
    world.unviolated();
}

#[tokio::test]
async fn pages_never_end() {
    let world = World::new().await;
    world.bitbucket.add_fault("/2.0/repositories/acme", Fault::EndlessPages, Hits::All);
    let mut url = format!("{}/2.0/repositories/acme?role=member", world.bitbucket.api_url());
    for _ in 0..20 {
        let page: Value = world.http.get(&url).bearer_auth(&world.token).send().await.unwrap().json().await.unwrap();
        assert_eq!(page["values"].as_array().unwrap().len(), 2);
        let next = page["next"].as_str().unwrap().to_owned();
        assert_ne!(next, url);
        url = next;
    }
    assert!(url.contains("role=member") && url.ends_with("page=21"), "{url}");
}

#[tokio::test]
async fn a_redirect_leads_to_another_host_and_silence_leads_nowhere() {
    let world = World::new().await;
    let elsewhere = FakeBitbucket::start().await.unwrap();
    world.bitbucket.add_fault("/2.0/user", Fault::RedirectTo(elsewhere.web_url().to_owned()), Hits::Next(1));
    let moved = world.call(Method::GET, "/user/workspaces?sort=slug", None).await;
    assert_eq!(moved.status(), 302);
    assert_eq!(moved.headers()["location"], format!("{}/2.0/user/workspaces?sort=slug", elsewhere.web_url()));
    world.bitbucket.add_fault("/2.0/user", Fault::Silence, Hits::Next(1));
    let url = format!("{}/2.0/user", world.bitbucket.api_url());
    let silent = world.http.get(&url).timeout(Duration::from_millis(100)).send().await;
    assert!(silent.unwrap_err().is_timeout());
    let last = world.bitbucket.requests().pop().unwrap();
    assert_eq!((last.path.as_str(), last.status), ("/2.0/user", 0), "taken, never answered");
    world.bitbucket.forget_requests();
    assert_eq!(world.bitbucket.requests(), []);
}
