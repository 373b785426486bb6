//! Who may see what, and how trouble looks.

use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{Permission, Visibility};

use crate::World;

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_restricted_organization_is_missing_and_says_why() {
    let world = World::new().await;
    assert_eq!(names(&world.get("/user/orgs").await, "login"), ["acme"]);
    world.github.restrict_organization("acme");
    assert_eq!(names(&world.get("/user/orgs").await, "login"), Vec::<String>::new());
    assert_eq!(world.get("/user/memberships/orgs").await[0]["organization"]["login"], "acme");
    let refused = world.call(Method::GET, "/repos/acme/site/hooks", None).await;
    assert_eq!(refused.status(), 403);
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/github/oauth/error-403-oauth-app-restrictions.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(recorded).unwrap()).unwrap();
    let message = recorded["message"].as_str().unwrap().replace("unit-mesh", "acme");
    assert_eq!(refused.json::<Value>().await.unwrap()["message"], message);
    assert_eq!(world.get("/repos/acme/open").await["full_name"], "acme/open", "public data stays readable");
    assert_eq!(names(&world.get("/user/repos").await, "full_name"), ["acme/open", "octo/hello"]);
    world.github.approve_app("acme", &world.app.client_id);
    assert_eq!(world.get("/repos/acme/site").await["permissions"]["admin"], true);
}

#[tokio::test]
async fn lost_access_is_404_and_a_dead_token_401() {
    let world = World::new().await;
    let hubot = world.link("hubot", "repo read:org").await;
    let status = async |path: &str| world.call_as(&hubot, Method::GET, path, None).await.status().as_u16();
    assert_eq!(status("/repos/octo/hello").await, 404);
    world.github.collaborator("octo/hello", "hubot", Permission::Write);
    assert_eq!(status("/repos/octo/hello").await, 200);
    assert_eq!(status("/repos/octo/hello/hooks").await, 404, "hooks are for admins");
    world.github.collaborator("octo/hello", "hubot", Permission::None);
    assert_eq!(status("/repos/octo/hello").await, 404);
    assert_eq!(status("/repos/acme/site").await, 200);
    world.github.remove_member("acme", "hubot");
    assert_eq!(status("/repos/acme/site").await, 404);
    world.github.suspend_user("hubot");
    assert_eq!(status("/user").await, 403);
    world.github.revoke_grant("octo", &world.app.client_id);
    let dead = world.call(Method::GET, "/user", None).await;
    assert_eq!(dead.status(), 401);
    assert_eq!(dead.json::<Value>().await.unwrap()["message"], "Bad credentials");
}

#[tokio::test]
async fn scopes_limit_a_token() {
    let world = World::new().await;
    let token = world.link("hubot", "public_repo").await;
    let status = async |path: &str| world.call_as(&token, Method::GET, path, None).await.status().as_u16();
    assert_eq!(status("/repos/acme/open").await, 200);
    assert_eq!(status("/repos/acme/site").await, 404);
    assert_eq!(status("/user/orgs").await, 403);
    world.github.narrow_scopes("octo", &world.app.client_id, &["read:org"]);
    let narrowed = world.call(Method::GET, "/repos/octo/hello", None).await;
    assert_eq!(narrowed.status(), 404);
    assert_eq!(
        (&narrowed.headers()["x-oauth-scopes"], &narrowed.headers()["x-accepted-oauth-scopes"]),
        (&"read:org".parse().unwrap(), &"repo".parse().unwrap())
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    for number in 0..5 {
        world.github.repository(&format!("octo/many-{number}"), Visibility::Private).await.unwrap();
    }
    let first = world.call(Method::GET, "/user/repos?per_page=3&affiliation=owner", None).await;
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    let next = link.split('>').next().unwrap().trim_start_matches('<').to_owned();
    assert!(link.contains("rel=\"next\"") && link.contains("rel=\"last\""), "{link}");
    assert_eq!(names(&first.json().await.unwrap(), "name"), ["hello", "many-0", "many-1"]);
    let second = world.http.get(next).bearer_auth(&world.token).send().await.unwrap();
    assert!(!second.headers()["link"].to_str().unwrap().contains("rel=\"next\""));
    assert_eq!(names(&second.json().await.unwrap(), "name"), ["many-2", "many-3", "many-4"]);
}

#[tokio::test]
async fn unchanged_answers_cost_nothing_and_limits_hold() {
    let world = World::new().await;
    let first = world.call(Method::GET, "/user", None).await;
    let etag = first.headers()["etag"].clone();
    let left = |answer: &reqwest::Response| answer.headers()["x-ratelimit-remaining"].to_str().unwrap().parse::<u64>().unwrap();
    let before = left(&first);
    let url = format!("{}/user", world.github.api_url());
    let again = world.http.get(&url).bearer_auth(&world.token).header("if-none-match", etag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), left(&again)), (304, before));
    world.github.set_rate_remaining("octo", 1);
    assert_eq!(world.call(Method::GET, "/user", None).await.status(), 200);
    let over = world.call(Method::GET, "/user", None).await;
    assert_eq!((over.status().as_u16(), left(&over)), (403, 0));
    assert!(over.json::<Value>().await.unwrap()["message"].as_str().unwrap().starts_with("API rate limit exceeded"));
    world.github.advance_clock(std::time::Duration::from_secs(3601));
    assert_eq!(world.call(Method::GET, "/user", None).await.status(), 200);
}

#[tokio::test]
async fn an_outage_hits_everything_until_it_ends() {
    let world = World::new().await;
    world.github.set_outage(Some(503));
    assert_eq!(world.call(Method::GET, "/user", None).await.status(), 503);
    assert_eq!(world.http.get(world.github.web_url()).send().await.unwrap().status(), 503);
    world.github.set_outage(None);
    assert_eq!(world.call(Method::GET, "/user", None).await.status(), 200);
    assert!(world.github.requests().iter().any(|one| one.path == "/api/v3/user" && one.status == 503));
}

#[tokio::test]
async fn hooks_keep_githubs_limits() {
    let world = World::new().await;
    let create = async |url: &str| {
        let body = json!({ "config": { "url": url } });
        world.call(Method::POST, "/repos/octo/hello/hooks", Some(body)).await
    };
    assert_eq!(create("http://127.0.0.1:9/0").await.status(), 201);
    let twice = create("http://127.0.0.1:9/0").await;
    assert_eq!(twice.status(), 422);
    assert_eq!(twice.json::<Value>().await.unwrap()["errors"][0]["message"], "Hook already exists on this repository");
    for number in 1..20 {
        assert_eq!(create(&format!("http://127.0.0.1:9/{number}")).await.status(), 201);
    }
    let over = create("http://127.0.0.1:9/20").await.json::<Value>().await.unwrap();
    assert_eq!(over["errors"][0]["message"], "The \"push\" event cannot have more than 20 hooks");
}
