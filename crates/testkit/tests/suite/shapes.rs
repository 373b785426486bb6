//! Every JSON answer and every webhook body against GitHub's own OpenAPI description.

use std::path::Path;
use std::sync::OnceLock;

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::openapi::Description;

use crate::World;
use crate::receiver::Receiver;

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/openapi/github.api.github.com.json");

fn description() -> &'static Description {
    static READ: OnceLock<Description> = OnceLock::new();
    READ.get_or_init(|| Description::read(Path::new(DESCRIPTION)).unwrap())
}

fn assert_matches(what: &str, schema: &Value, body: &Value) {
    if let Err(error) = description().check(schema, body) {
        panic!("{what}: {error}");
    }
}

/// Calls a route and holds its answer against the description of that route and status.
async fn check(world: &World, method: Method, path: &str, template: &str, body: Option<Value>) -> Value {
    let answer = world.call(method.clone(), path, body).await;
    let status = answer.status();
    let what = format!("{method} {path} -> {status}");
    let schema = description().answer(method.as_str(), template, status.as_u16()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = answer.text().await.unwrap();
    let Some(schema) = schema else {
        assert_eq!(text, "", "{what}: has no body");
        return Value::Null;
    };
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    if value.as_array().is_some_and(Vec::is_empty) {
        panic!("{what}: an empty list proves nothing");
    }
    assert_matches(&what, schema, &value);
    value
}

#[tokio::test]
async fn every_route_answers_in_githubs_shape() {
    let world = World::new().await;
    let sha = world.github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "First").await.unwrap();
    world.github.commit("octo/hello", "main", &[("a b/ü.txt", "x\n"), ("Dockerfile", "FROM a\n")], "Second").await.unwrap();
    world.github.tag("octo/hello", "v1", &sha).await.unwrap();
    world.github.annotated_tag("octo/hello", "v2", &sha, "Two").await.unwrap();
    let full = world.link("octo", "repo user read:org").await;
    let world = World { token: full, ..world };

    let get = |path: &'static str, template: &'static str| check(&world, Method::GET, path, template, None);
    get("/user", "/user").await;
    get("/user/emails", "/user/emails").await;
    get("/user/orgs", "/user/orgs").await;
    get("/user/memberships/orgs", "/user/memberships/orgs").await;
    get("/user/memberships/orgs/acme", "/user/memberships/orgs/{org}").await;
    get("/user/repos", "/user/repos").await;
    get("/orgs/acme/repos", "/orgs/{org}/repos").await;
    get("/users/acme/repos", "/users/{username}/repos").await;
    get("/users/hubot", "/users/{username}").await;
    get("/rate_limit", "/rate_limit").await;
    get("/repos/octo/hello", "/repos/{owner}/{repo}").await;
    get("/repos/octo/hello/branches", "/repos/{owner}/{repo}/branches").await;
    get("/repos/octo/hello/branches/main", "/repos/{owner}/{repo}/branches/{branch}").await;
    get("/repos/octo/hello/tags", "/repos/{owner}/{repo}/tags").await;
    get("/repos/octo/hello/git/matching-refs/tags/v", "/repos/{owner}/{repo}/git/matching-refs/{ref}").await;
    get("/repos/octo/hello/git/ref/heads/main", "/repos/{owner}/{repo}/git/ref/{ref}").await;
    let commit = get("/repos/octo/hello/commits/main", "/repos/{owner}/{repo}/commits/{ref}").await;
    assert_eq!(commit["commit"]["message"], "Second");
    assert_eq!(commit["files"].as_array().unwrap().len(), 2);
    assert_eq!(commit["stats"], json!({ "total": 3, "additions": 2, "deletions": 1 }));
}

#[tokio::test]
async fn hooks_and_statuses_answer_in_githubs_shape() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::ACCEPTED).await;
    let sha = world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    let (hooks, hook_path) = ("/repos/{owner}/{repo}/hooks", "/repos/octo/hello/hooks");
    let new = json!({ "name": "web", "events": ["push"], "config": { "url": receiver.url, "content_type": "json", "secret": "s" } });
    let hook = check(&world, Method::POST, hook_path, hooks, Some(new)).await;
    let one_path = format!("{hook_path}/{}", hook["id"]);
    let one = format!("{hooks}/{{hook_id}}");
    world.github.commit("octo/hello", "main", &[("a", "2")], "Second").await.unwrap();
    world.github.settle().await;

    check(&world, Method::GET, hook_path, hooks, None).await;
    check(&world, Method::GET, &one_path, &one, None).await;
    check(&world, Method::PATCH, &one_path, &one, Some(json!({ "add_events": ["create"] }))).await;
    let (config_path, config) = (format!("{one_path}/config"), format!("{one}/config"));
    check(&world, Method::GET, &config_path, &config, None).await;
    check(&world, Method::PATCH, &config_path, &config, Some(json!({ "secret": "t" }))).await;
    check(&world, Method::POST, &format!("{one_path}/pings"), &format!("{one}/pings"), None).await;
    check(&world, Method::POST, &format!("{one_path}/tests"), &format!("{one}/tests"), None).await;
    let list = check(&world, Method::GET, &format!("{one_path}/deliveries"), &format!("{one}/deliveries"), None).await;
    let (delivery_path, delivery) = (format!("{one_path}/deliveries/{}", list[0]["id"]), format!("{one}/deliveries/{{delivery_id}}"));
    check(&world, Method::GET, &delivery_path, &delivery, None).await;
    check(&world, Method::POST, &format!("{delivery_path}/attempts"), &format!("{delivery}/attempts"), None).await;

    let status = json!({ "state": "success", "context": "slipway", "description": "done", "target_url": "http://127.0.0.1/1" });
    let create = "/repos/{owner}/{repo}/statuses/{sha}";
    check(&world, Method::POST, &format!("/repos/octo/hello/statuses/{sha}"), create, Some(status)).await;
    let commits = "/repos/{owner}/{repo}/commits/{ref}";
    let commit = format!("/repos/octo/hello/commits/{sha}");
    check(&world, Method::GET, &format!("{commit}/statuses"), &format!("{commits}/statuses"), None).await;
    let combined = check(&world, Method::GET, &format!("{commit}/status"), &format!("{commits}/status"), None).await;
    assert_eq!((&combined["state"], &combined["total_count"]), (&json!("success"), &json!(1)));
    check(&world, Method::DELETE, &one_path, &one, None).await;
    assert_eq!(world.github.hooks("octo/hello"), []);
}

#[tokio::test]
async fn errors_answer_in_githubs_shape() {
    let world = World::new().await;
    let hooks = "/repos/{owner}/{repo}/hooks";
    check(&world, Method::GET, "/repos/octo/gone", "/repos/{owner}/{repo}", None).await;
    check(&world, Method::POST, "/repos/octo/hello/hooks", hooks, Some(json!({ "config": {} }))).await;
    let refs = "/repos/{owner}/{repo}/git/ref/{ref}";
    let empty = check(&world, Method::GET, "/repos/octo/hello/git/ref/heads/main", refs, None).await;
    assert_eq!(empty["message"], "Git Repository is empty.");
    world.github.rename_repository("octo/hello", "hallo");
    let moved = check(&world, Method::GET, "/repos/octo/hello", "/repos/{owner}/{repo}", None).await;
    let id = world.github.repository_id("octo/hallo");
    assert_eq!(moved["url"], format!("{}/repositories/{id}", world.github.api_url()));
    assert_eq!(world.get(&format!("/repositories/{id}")).await["full_name"], "octo/hallo");
    let answer = world.call(Method::POST, "/repos/octo/hello/hooks", Some(json!({}))).await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], format!("{}/repositories/{id}/hooks", world.github.api_url()));
}

#[tokio::test]
async fn applications_answer_in_githubs_shape() {
    let world = World::new().await;
    let url = format!("{}/applications/{}", world.github.api_url(), world.app.client_id);
    let call = |method: Method, what: &str, token: &str| {
        world
            .http
            .request(method, format!("{url}/{what}"))
            .basic_auth(&world.app.client_id, Some(&world.app.client_secret))
            .json(&json!({ "access_token": token }))
            .send()
    };
    let schema = description().schema("authorization");
    let body: Value = call(Method::POST, "token", &world.token).await.unwrap().json().await.unwrap();
    assert_matches("check", &schema, &body);
    assert_eq!(body["scopes"], json!(["read:org", "repo"]));
    let reset: Value = call(Method::PATCH, "token", &world.token).await.unwrap().json().await.unwrap();
    assert_matches("reset", &schema, &reset);
    let new = reset["token"].as_str().unwrap();
    assert_ne!(new, world.token);
    assert_eq!(call(Method::POST, "token", &world.token).await.unwrap().status(), 404);
    assert_eq!(call(Method::DELETE, "token", new).await.unwrap().status(), 204);
    assert_eq!(call(Method::DELETE, "token", new).await.unwrap().status(), 404);
    let (first, second) = (world.link("octo", "repo").await, world.link("octo", "repo").await);
    assert_eq!(call(Method::DELETE, "grant", &first).await.unwrap().status(), 204);
    assert_eq!(world.call_as(&second, Method::GET, "/user", None).await.status(), 401);
    let stranger = world.http.delete(format!("{url}/grant")).basic_auth(&world.app.client_id, Some("wrong")).send();
    assert_eq!(stranger.await.unwrap().status(), 401);
}

#[tokio::test]
async fn push_bodies_have_githubs_shape() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let new = json!({ "events": ["push", "create", "delete"], "config": { "url": receiver.url, "content_type": "json" } });
    for repo in ["octo/hello", "acme/site"] {
        world.call(Method::POST, &format!("/repos/{repo}/hooks"), Some(new.clone())).await;
        let sha = world.github.commit(repo, "main", &[("a", "1")], "First").await.unwrap();
        world.github.commit(repo, "main", &[("a", "2"), ("b", "1")], "Second").await.unwrap();
        world.github.annotated_tag(repo, "v1", &sha, "One").await.unwrap();
        world.github.delete_ref(repo, "refs/tags/v1").await.unwrap();
    }
    world.github.settle().await;
    for (event, count) in [("push", 8), ("create", 4), ("delete", 2), ("ping", 2)] {
        let bodies = receiver.json_of(event);
        assert_eq!(bodies.len(), count, "{event}");
        for body in bodies {
            assert_matches(event, &description().schema(&format!("webhook-{event}")), &body);
        }
    }
}
