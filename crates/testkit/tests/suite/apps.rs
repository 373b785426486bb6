//! GitHub Apps: JSON web tokens, installations, their tokens, what they reach, and what the App's webhook hears.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use serde_json::{Value, json};
use slipway_testkit::github::{CredentialKind, GitHubApp, KeyMaker, NewGitHubApp, sign_sha256};

use crate::receiver::Receiver;
use crate::{CALLBACK, World, key, query};

/// A token as an App signs it: the claims are changed by `bend`.
pub fn jwt(app: &GitHubApp, bend: impl FnOnce(&mut Value)) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut claims = json!({ "iat": now - 60, "exp": now + 540, "iss": app.client_id });
    bend(&mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
    let private = rsa::RsaPrivateKey::from_pkcs1_pem(&app.private_key).unwrap();
    let signature = rsa::pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new(private).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

const PERMISSIONS: &[(&str, &str)] =
    &[("contents", "read"), ("statuses", "write"), ("repository_hooks", "write"), ("administration", "write")];

fn new_app(world: &World, hook_url: Option<&str>) -> GitHubApp {
    let new = NewGitHubApp { owner: "acme", name: "Slip Way", callback: CALLBACK, hook_url, permissions: PERMISSIONS, events: &["push"] };
    world.github.github_app(&new).unwrap()
}

async fn as_app(world: &World, app: &GitHubApp, method: Method, path: &str, body: Option<Value>) -> Response {
    world.call_as(&jwt(app, |_| ()), method, path, body).await
}

async fn token(world: &World, app: &GitHubApp, installation: u64, body: Value) -> Value {
    let path = format!("/app/installations/{installation}/access_tokens");
    let answer = as_app(world, app, Method::POST, &path, Some(body)).await;
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

async fn message(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.unwrap()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_json_web_token_is_judged_as_github_does() {
    let world = World::new().await;
    let (app, other) = (new_app(&world, None), new_app(&world, None));
    let me = async |token: String| message(world.call_as(&token, Method::GET, "/app", None).await).await;
    let good = as_app(&world, &app, Method::GET, "/app", None).await;
    assert_eq!(world.github.requests().last().unwrap().credential, CredentialKind::AppJwt);
    let body = good.json::<Value>().await.unwrap();
    assert_eq!((&body["slug"], &body["id"], &body["client_id"]), (&json!("slip-way"), &json!(app.app_id), &json!(app.client_id)));
    assert_eq!(me(jwt(&app, |claims| claims["iss"] = json!(app.app_id))).await.0, 200, "the number will do");
    assert_eq!(me(jwt(&app, |claims| claims["iss"] = json!(app.app_id.to_string()))).await.0, 200);
    assert_eq!(me(jwt(&app, |claims| claims["iss"] = json!("nobody"))).await, (404, "Integration not found".to_owned()));
    let far = me(jwt(&app, |claims| claims["exp"] = json!(claims["exp"].as_u64().unwrap() + 120))).await;
    assert_eq!(far, (401, "'Expiration time' claim ('exp') is too far in the future".to_owned()));
    let future = me(jwt(&app, |claims| claims["iat"] = json!(claims["iat"].as_u64().unwrap() + 300))).await;
    assert!(future.0 == 401 && future.1.starts_with("'Issued at' claim"), "{future:?}");
    let past = me(jwt(&app, |claims| claims["exp"] = json!(claims["iat"]))).await;
    assert!(past.0 == 401 && past.1.starts_with("'Expiration time' claim"), "{past:?}");
    let stolen = GitHubApp { private_key: other.private_key.clone(), ..app.clone() };
    assert_eq!(me(jwt(&stolen, |_| ())).await, (401, "A JSON web token could not be decoded".to_owned()));
    assert_eq!(me(world.token.clone()).await.0, 401, "a person is no App");
}

#[tokio::test]
async fn an_installation_reaches_what_was_selected() {
    let world = World::new().await;
    let app = new_app(&world, None);
    world.github.repository("acme/second", slipway_testkit::github::Visibility::Private).await.unwrap();
    let id = world.github.install(&app.client_id, "acme", &["acme/site"]);
    let listed = as_app(&world, &app, Method::GET, "/app/installations", None).await.json::<Value>().await.unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["repository_selection"]), (&json!(id), &json!("selected")));
    assert_eq!(as_app(&world, &app, Method::GET, &format!("/app/installations/{id}"), None).await.status(), 200);
    assert_eq!(as_app(&world, &app, Method::GET, "/repos/acme/site/installation", None).await.status(), 200);
    assert_eq!(as_app(&world, &app, Method::GET, "/repos/acme/second/installation", None).await.status(), 404);
    let made = token(&world, &app, id, json!({})).await;
    let value = made["token"].as_str().unwrap().to_owned();
    assert!(value.starts_with(&format!("ghs_{}_", app.app_id)) && value.len() > 100, "{value}");
    let status = async |path: &str| world.call_as(&value, Method::GET, path, None).await.status().as_u16();
    assert_eq!((status("/repos/acme/site").await, status("/repos/acme/second").await, status("/repos/octo/hello").await), (200, 404, 404));
    assert_eq!(status("/repos/acme/open").await, 200, "what is public is public");
    assert_eq!(status("/user").await, 401, "an installation is no person");
    let all = world.call_as(&value, Method::GET, "/installation/repositories", None).await.json::<Value>().await.unwrap();
    assert_eq!((&all["total_count"], &all["repositories"][0]["full_name"]), (&json!(1), &json!("acme/site")));
    world.github.select_repositories(id, &["acme/second"]);
    assert_eq!((status("/repos/acme/site").await, status("/repos/acme/second").await), (404, 200));
    assert_eq!(world.call_as(&value, Method::DELETE, "/installation/token", None).await.status(), 204);
    assert_eq!(status("/repos/acme/second").await, 401);
    assert_eq!(world.github.installation_tokens(id), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_is_narrowed_expires_and_stops_with_its_installation() {
    let world = World::new().await;
    let app = new_app(&world, None);
    let id = world.github.install(&app.client_id, "acme", &[]);
    let site = world.github.repository_id("acme/site");
    let narrow = token(&world, &app, id, json!({ "repository_ids": [site], "permissions": { "contents": "read" } })).await;
    assert_eq!((&narrow["repository_selection"], &narrow["repositories"][0]["id"]), (&json!("selected"), &json!(site)));
    let value = narrow["token"].as_str().unwrap();
    let hook = json!({ "config": { "url": "http://127.0.0.1:9/" } });
    let refused = message(world.call_as(value, Method::POST, "/repos/acme/site/hooks", Some(hook)).await).await;
    assert_eq!(refused, (403, "Resource not accessible by integration".to_owned()));
    let path = format!("/app/installations/{id}/access_tokens");
    for wrong in
        [json!({ "repository_ids": [world.github.repository_id("octo/hello")] }), json!({ "permissions": { "contents": "write" } })]
    {
        assert_eq!(as_app(&world, &app, Method::POST, &path, Some(wrong)).await.status(), 422);
    }
    let wide = token(&world, &app, id, json!({})).await;
    let wide = wide["token"].as_str().unwrap();
    world.github.suspend_installation(id);
    assert_eq!(
        message(as_app(&world, &app, Method::POST, &path, None).await).await,
        (403, "This installation has been suspended".to_owned())
    );
    assert_eq!(world.call_as(wide, Method::GET, "/repos/acme/site", None).await.status(), 403);
    let listed = as_app(&world, &app, Method::GET, "/app/installations", None).await.json::<Value>().await.unwrap();
    assert!(listed[0]["suspended_at"].is_string());
    world.github.unsuspend_installation(id);
    assert_eq!(world.call_as(wide, Method::GET, "/repos/acme/site", None).await.status(), 200);
    world.github.advance_clock(Duration::from_secs(3601));
    assert_eq!(world.call_as(wide, Method::GET, "/repos/acme/site", None).await.status(), 401);
    world.github.uninstall(id);
    let gone = world
        .call_as(
            &jwt(&app, |claims| {
                claims["iat"] = json!(claims["iat"].as_u64().unwrap() + 3600);
                claims["exp"] = json!(claims["exp"].as_u64().unwrap() + 3600);
            }),
            Method::POST,
            &path,
            None,
        )
        .await;
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn keys_of_an_app_outlive_it_and_restrictions_do_not_touch_it() {
    let world = World::new().await;
    let app = new_app(&world, None);
    let id = world.github.install(&app.client_id, "acme", &[]);
    world.github.restrict_organization("acme");
    let made = token(&world, &app, id, json!({})).await;
    let value = made["token"].as_str().unwrap();
    let body = json!({ "title": "Slipway", "key": key(1), "read_only": true });
    assert_eq!(world.call_as(value, Method::POST, "/repos/acme/site/keys", Some(body)).await.status(), 201);
    assert_eq!(world.github.deploy_keys("acme/site")[0].maker, KeyMaker::GitHubApp(app.client_id.clone()));
    world.github.uninstall(id);
    assert!(world.github.deploy_key_access(&key(1)).is_some());
}

#[tokio::test]
async fn git_takes_an_installation_token_as_password() {
    let world = World::new().await;
    let app = new_app(&world, None);
    let id = world.github.install(&app.client_id, "acme", &["acme/site"]);
    world.github.commit("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let made = token(&world, &app, id, json!({})).await;
    let list = async |repo: &str| {
        let user = format!("http://x-access-token:{}@", made["token"].as_str().unwrap());
        let url = world.github.clone_url(repo).replacen("http://", &user, 1);
        tokio::process::Command::new("git")
            .args(["ls-remote", &url])
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .await
            .unwrap()
            .status
            .success()
    };
    assert!(list("acme/site").await && !list("octo/hello").await);
    assert_eq!(world.github.requests().last().unwrap().credential, CredentialKind::Installation);
}

#[tokio::test]
async fn the_apps_hook_hears_of_installations_and_of_their_repositories() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let app = new_app(&world, Some(&receiver.url));
    let id = world.github.install(&app.client_id, "acme", &["acme/site"]);
    world.github.select_repositories(id, &["acme/site", "acme/open"]);
    world.github.settle().await;
    let created = receiver.json_of("installation").pop().unwrap();
    assert_eq!((&created["action"], &created["installation"]["id"]), (&json!("created"), &json!(id)));
    assert_eq!(created["repositories"][0]["full_name"], "acme/site");
    let added = receiver.json_of("installation_repositories").pop().unwrap();
    assert_eq!((&added["action"], &added["repositories_added"][0]["full_name"]), (&json!("added"), &json!("acme/open")));
    let sha = world.github.commit("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.settle().await;
    let pushes = receiver.json_of("push");
    assert_eq!((pushes.len(), &pushes[0]["after"], &pushes[0]["installation"]["id"]), (1, &json!(sha), &json!(id)));
    let raw = receiver.of("push").pop().unwrap();
    assert_eq!(raw.headers["x-github-hook-installation-target-type"], "integration");
    assert_eq!(raw.headers["x-github-hook-installation-target-id"], app.app_id.to_string());
    assert_eq!(raw.headers["x-hub-signature-256"], format!("sha256={}", sign_sha256(&app.webhook_secret, &raw.body)));
    let log = as_app(&world, &app, Method::GET, "/app/hook/deliveries", None).await.json::<Value>().await.unwrap();
    assert_eq!((&log[0]["event"], &log[0]["installation_id"]), (&json!("push"), &json!(id)));
    let again = format!("/app/hook/deliveries/{}/attempts", log[0]["id"]);
    assert_eq!(as_app(&world, &app, Method::POST, &again, None).await.status(), 202);
    world.github.suspend_installation(id);
    world.github.commit("acme/site", "main", &[("a", "2")], "Second").await.unwrap();
    world.github.unsuspend_installation(id);
    world.github.uninstall(id);
    world.github.settle().await;
    let mut actions: Vec<String> = receiver.json_of("installation").iter().map(|one| one["action"].as_str().unwrap().to_owned()).collect();
    actions.sort();
    assert_eq!(actions, ["created", "deleted", "suspend", "unsuspend"]);
    assert_eq!(receiver.of("push").len(), 2, "the redelivery, and nothing while suspended");
}

#[tokio::test]
async fn people_link_through_an_app_and_see_what_both_reach() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let app = new_app(&world, Some(&receiver.url));
    let id = world.github.install(&app.client_id, "acme", &["acme/site"]);
    let url = format!("{}/login/oauth/authorize?client_id={}&state=x", world.github.web_url(), app.client_id);
    let back = world.github.approve_oauth(&url, "octo").await.unwrap();
    let fields = [("client_id", app.client_id.as_str()), ("client_secret", &app.client_secret), ("code", &query(&back, "code"))];
    let answer = world.exchange(&fields).await;
    let value = answer["access_token"].as_str().unwrap();
    assert!(value.starts_with("ghu_") && answer["scope"] == "" && answer["expires_in"] == 28800, "{answer}");
    let get = async |path: &str| world.call_as(value, Method::GET, path, None).await;
    assert_eq!(get("/user").await.json::<Value>().await.unwrap()["login"], "octo");
    let seen = get("/user/installations").await.json::<Value>().await.unwrap();
    assert_eq!((&seen["total_count"], &seen["installations"][0]["id"]), (&json!(1), &json!(id)));
    let repos = get(&format!("/user/installations/{id}/repositories")).await.json::<Value>().await.unwrap();
    assert_eq!(repos["repositories"][0]["full_name"], "acme/site");
    assert_eq!((get("/repos/acme/site").await.status().as_u16(), get("/repos/octo/hello").await.status().as_u16()), (200, 404));
    assert_eq!(get("/user/orgs").await.status(), 200, "permissions, not scopes");
    assert_eq!(world.call(Method::GET, "/user/installations", None).await.status(), 403, "an OAuth app has no installations");
    world.github.revoke_grant("octo", &app.client_id);
    world.github.settle().await;
    let revoked = receiver.json_of("github_app_authorization").pop().unwrap();
    assert_eq!((&revoked["action"], &revoked["sender"]["login"]), (&json!("revoked"), &json!("octo")));
    assert_eq!(get("/user").await.status(), 401);
}

#[tokio::test]
async fn an_owner_installs_on_the_page() {
    let world = World::new().await;
    let app = new_app(&world, None);
    let web = world.github.web_url();
    let url = format!("{web}/apps/{}/installations/new?state=s", app.slug);
    let page = world.github.visit(&url, "octo").await.unwrap();
    assert!(page.contains("acme/site") && page.contains("octo/hello"), "{page}");
    let form = [("login", "octo"), ("password", "octo-password"), ("return_to", "/")];
    let signed_in = world.http.post(format!("{web}/session")).form(&form).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = world.http.get(&url).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    let csrf = page.split("name=\"authenticity_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let (account, site) = (world.github.account_id("acme").to_string(), world.github.repository_id("acme/site").to_string());
    let form = [("authenticity_token", csrf), ("state", "s"), ("account", &account), ("repository", &site)];
    let done = world.http.post(&url).header("cookie", &cookie).form(&form).send().await.unwrap();
    let back = done.headers()["location"].to_str().unwrap().to_owned();
    assert!(back.starts_with(CALLBACK) && query(&back, "setup_action") == "install" && query(&back, "state") == "s", "{back}");
    let path = format!("/app/installations/{}", query(&back, "installation_id"));
    let shown = as_app(&world, &app, Method::GET, &path, None).await.json::<Value>().await.unwrap();
    assert_eq!((&shown["account"]["login"], &shown["repository_selection"]), (&json!("acme"), &json!("selected")));
}
