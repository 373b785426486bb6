//! The judge of exchanges: silent about true ones, loud about wrong ones, and about everything that the other tests of
//! shapes do not ask for.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::json;
use slipway_testkit::github::{Blocked, Fault, NewGitHubApp, Times, Visibility};
use slipway_testkit::openapi::Description;

use crate::receiver::Receiver;
use crate::{CALLBACK, World, key};

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/openapi/github.api.github.com.json");

fn description() -> Arc<Description> {
    static READ: OnceLock<Arc<Description>> = OnceLock::new();
    Arc::clone(READ.get_or_init(|| Arc::new(Description::read(std::path::Path::new(DESCRIPTION)).unwrap())))
}

#[tokio::test]
async fn a_whole_life_of_a_link_has_no_violation() {
    let world = World::new().await;
    let github = &world.github;
    github.hold_against(description());
    let receiver = Receiver::start(StatusCode::OK).await;
    let call = async |method: Method, path: &str, body: Option<serde_json::Value>| world.call(method, path, body).await;
    for path in ["/user", "/user/orgs?per_page=100", "/user/memberships/orgs?state=active", "/user/repos?per_page=1&page=2&sort=pushed"] {
        assert_eq!(call(Method::GET, path, None).await.status(), 200, "{path}");
    }
    for repo in ["octo/hello", "acme/site"] {
        let at = format!("/repos/{repo}");
        call(Method::GET, &format!("{at}/git/matching-refs/heads"), None).await;
        let config = json!({ "url": receiver.url, "content_type": "json", "secret": "s" });
        let hook = json!({ "name": "web", "config": config, "events": ["push", "create", "delete", "repository"] });
        let hook = call(Method::POST, &format!("{at}/hooks"), Some(hook)).await.json::<serde_json::Value>().await.unwrap();
        let hook = format!("{at}/hooks/{}", hook["id"]);
        let made =
            call(Method::POST, &format!("{at}/keys"), Some(json!({ "title": "t", "key": key(at.len() as u8), "read_only": true }))).await;
        assert_eq!(made.status(), 201);
        call(Method::POST, &format!("{at}/keys"), Some(json!({ "key": "no key" }))).await;
        call(Method::GET, &format!("{at}/keys"), None).await;
        let sha = github.commit(repo, "main", &[("a", "1")], "First").await.unwrap();
        github.annotated_tag(repo, "v1", &sha, "One").await.unwrap();
        github.delete_ref(repo, "refs/tags/v1").await.unwrap();
        github.commit(repo, "feature/ü", &[("a", "2")], "Second").await.unwrap();
        github.set_default_branch(repo, "feature/ü").await.unwrap();
        github.set_visibility(repo, Visibility::Public);
        github.set_visibility(repo, Visibility::Private);
        github.settle().await;
        for path in
            ["", "/branches", "/tags", "/git/matching-refs/heads", "/git/ref/heads/main", "/commits/feature%2F%C3%BC/status", "/hooks"]
        {
            assert_eq!(call(Method::GET, &format!("{at}{path}"), None).await.status(), 200, "{path}");
        }
        call(Method::PATCH, &format!("{hook}/config"), Some(json!({ "secret": "t" }))).await;
        call(Method::POST, &format!("{hook}/pings"), None).await;
        call(Method::GET, &format!("{hook}/deliveries?per_page=2"), None).await;
        call(Method::DELETE, &hook, None).await;
    }
    github.rename_repository("octo/hello", "hallo");
    github.transfer_repository("octo/hallo", "acme");
    github.transfer_repository("acme/site", "octo");
    github.archive_repository("acme/hallo");
    for path in ["/repos/octo/hello", "/repos/octo/none"] {
        call(Method::GET, path, None).await;
    }
    github.enforce_saml("acme");
    call(Method::GET, "/repos/acme/open", None).await;
    github.end_saml("acme");
    github.restrict_organization("acme");
    call(Method::GET, "/repos/acme/hallo/hooks", None).await;
    github.block_repository("octo/site", Some(Blocked::Dmca));
    call(Method::GET, "/repos/octo/site", None).await;
    call(Method::GET, &format!("/repositories/{}/branches", github.repository_id("acme/open")), None).await;
    let url = format!("{}/applications/{}/grant", github.api_url(), world.app.client_id);
    for _ in 0..2 {
        let request = world.http.delete(&url).basic_auth(&world.app.client_id, Some(&world.app.client_secret));
        request.json(&json!({ "access_token": world.token })).send().await.unwrap();
    }
    call(Method::GET, "/user", None).await;
    github.settle().await;
    assert_eq!(github.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn an_apps_life_has_no_violation() {
    let world = World::new().await;
    let github = &world.github;
    github.hold_against(description());
    let receiver = Receiver::start(StatusCode::OK).await;
    let permissions = &[("contents", "read"), ("statuses", "write")];
    let hook_url = Some(receiver.url.as_str());
    let new = NewGitHubApp { owner: "acme", name: "Slipway", callback: CALLBACK, hook_url, permissions, events: &["push"] };
    let app = github.github_app(&new).unwrap();
    let id = github.install(&app.client_id, "acme", &["acme/site"]);
    let jwt = crate::apps::jwt(&app, |_| ());
    let path = format!("/app/installations/{id}/access_tokens");
    let site = github.repository_id("acme/site");
    let made = world.call_as(&jwt, Method::POST, &path, Some(json!({ "repository_ids": [site] }))).await;
    let token = made.json::<serde_json::Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    github.commit("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    github.select_repositories(id, &["acme/open"]);
    github.settle().await;
    for path in [
        "/app",
        "/app/installations",
        "/app/hook/config",
        "/app/hook/deliveries",
        "/repos/acme/open/installation",
        "/orgs/acme/installation",
    ] {
        assert_eq!(world.call_as(&jwt, Method::GET, path, None).await.status(), 200, "{path}");
    }
    world.call_as(&token, Method::GET, "/installation/repositories", None).await;
    world.call_as(&token, Method::GET, "/repos/acme/open", None).await;
    world.call_as(&token, Method::POST, "/repos/acme/open/keys", Some(json!({ "key": key(1) }))).await;
    github.suspend_installation(id);
    world.call_as(&jwt, Method::POST, &path, None).await;
    github.unsuspend_installation(id);
    world.call_as(&token, Method::DELETE, "/installation/token", None).await;
    github.uninstall(id);
    github.settle().await;
    assert_eq!(github.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_requests_are_found_and_bent_answers_are_not_blamed() {
    let world = World::new().await;
    world.github.hold_against(description());
    world.github.trouble("/api/v3/user", Fault::Truncated, Times::Next(1));
    world.call(Method::GET, "/user", None).await;
    assert_eq!(world.github.violations(), Vec::<String>::new());
    world.call(Method::GET, "/user/repos?per_page=many", None).await;
    world.call(Method::GET, "/user/repos?pages=2", None).await;
    world.call(Method::GET, "/no/such/thing", None).await;
    world.call(Method::POST, "/repos/octo/hello/keys", Some(json!({ "title": "no key" }))).await;
    world.call(Method::POST, "/repos/octo/hello/hooks", Some(json!({ "url": "http://127.0.0.1:9/" }))).await;
    let found = world.github.violations();
    assert_eq!(found.len(), 5, "{found:#?}");
}
