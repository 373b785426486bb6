//! What organizations and the provider put before repositories: approvals, SAML, addresses, suspension, blocks.

use axum::http::StatusCode;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use slipway_testkit::github::{AppAccess, Blocked, OrgRole, Visibility};

use crate::World;
use crate::receiver::Receiver;

async fn message(answer: Response) -> String {
    answer.json::<Value>().await.unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn owners_approve_deny_and_take_back() {
    let world = World::new().await;
    let id = &world.app.client_id;
    let status = async || world.call(Method::GET, "/repos/acme/site", None).await.status().as_u16();
    world.github.restrict_organization("acme");
    world.github.request_app("acme", id);
    assert_eq!((status().await, world.github.app_access("acme", id)), (403, Some(AppAccess::Requested)));
    world.github.approve_app("acme", id);
    assert_eq!(status().await, 200);
    world.github.deny_app("acme", id);
    assert_eq!(status().await, 403);
    world.github.approve_app("acme", id);
    world.github.revoke_app_approval("acme", id);
    assert_eq!((status().await, world.github.app_access("acme", id)), (403, None));
    let personal = world.github.personal_token("octo", &["repo"]);
    assert_eq!(world.call_as(&personal, Method::GET, "/repos/acme/site", None).await.status(), 200, "a person's own token is no app");
    world.github.unrestrict_organization("acme");
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn hooks_of_an_app_that_is_kept_out_are_disabled_and_resume() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    let config = json!({ "config": { "url": receiver.url, "content_type": "json" } });
    for repo in ["acme/site", "acme/open"] {
        assert_eq!(world.call(Method::POST, &format!("/repos/{repo}/hooks"), Some(config.clone())).await.status(), 201);
    }
    let personal = world.github.personal_token("octo", &["repo"]);
    let active = async || {
        let list = world.call_as(&personal, Method::GET, "/repos/acme/site/hooks", None).await.json::<Value>().await.unwrap();
        list[0]["active"].clone()
    };
    assert_eq!(active().await, true);
    world.github.restrict_organization("acme");
    assert_eq!(active().await, false, "disabled, not deleted");
    let push = async |text: &str| {
        for repo in ["acme/site", "acme/open"] {
            world.github.commit(repo, "main", &[("a", text)], text).await.unwrap();
        }
        world.github.settle().await;
    };
    push("1").await;
    let told: Vec<Value> = receiver.json_of("push").iter().map(|one| one["repository"]["name"].clone()).collect();
    assert_eq!(told, ["open"], "public data stays public");
    world.github.approve_app("acme", &world.app.client_id);
    push("2").await;
    assert_eq!((active().await, receiver.of("push").len()), (json!(true), 3));
}

#[tokio::test]
async fn saml_refuses_single_answers_and_shortens_lists() {
    let world = World::new().await;
    world.github.organization("other", &[("octo", OrgRole::Admin)]);
    world.github.enforce_saml("acme");
    let refused = world.call(Method::GET, "/repos/acme/site", None).await;
    assert_eq!(refused.status(), 403);
    let header = refused.headers()["x-github-sso"].to_str().unwrap().to_owned();
    let url = header.strip_prefix("required; url=").unwrap().to_owned();
    let why = "Resource protected by organization SAML enforcement. You must grant your OAuth token access to this organization.";
    assert_eq!(message(refused).await, why);
    let partial = format!("partial-results; organizations={}", world.github.account_id("acme"));
    for (path, left) in [("/user/orgs", "other"), ("/user/repos", "hello")] {
        let list = world.call(Method::GET, path, None).await;
        assert_eq!((list.status().as_u16(), list.headers()["x-github-sso"].to_str().unwrap()), (200, partial.as_str()), "{path}");
        let list = list.json::<Value>().await.unwrap();
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert!(list[0]["login"] == left || list[0]["name"] == left, "{list}");
    }
    assert_eq!(world.call(Method::GET, "/orgs/acme/repos", None).await.status(), 403);
    assert_eq!(world.get("/user/memberships/orgs?state=active").await.as_array().unwrap().len(), 2);
    assert!(world.github.visit(&url, "hubot").await.is_err(), "somebody else's token");
    world.github.visit(&url, "octo").await.unwrap();
    assert_eq!(world.get("/repos/acme/site").await["name"], "site");
    let list = world.call(Method::GET, "/user/orgs", None).await;
    assert!(!list.headers().contains_key("x-github-sso"));
}

#[tokio::test]
async fn a_token_covers_the_saml_sessions_of_its_birth() {
    let world = World::new().await;
    world.github.enforce_saml("acme");
    world.github.saml_sign_in("octo", "acme");
    let status = async |token: &str| world.call_as(token, Method::GET, "/repos/acme/site", None).await.status().as_u16();
    let fresh = world.link("octo", "repo read:org").await;
    assert_eq!((status(&world.token).await, status(&fresh).await), (403, 200));
    world.github.authorize_saml("acme", &world.token);
    assert_eq!(status(&world.token).await, 200);
    let late = world.link("hubot", "repo").await;
    world.github.advance_clock(std::time::Duration::from_secs(0));
    let refused = world.call_as(&late, Method::GET, "/repos/acme/site", None).await;
    let url = refused.headers()["x-github-sso"].to_str().unwrap().split("url=").nth(1).unwrap().to_owned();
    world.github.advance_clock(std::time::Duration::from_secs(3601));
    assert!(world.github.visit(&url, "hubot").await.is_err(), "the address works for an hour");
    world.github.end_saml("acme");
    assert_eq!(status(&late).await, 200);
}

#[tokio::test]
async fn an_address_list_refuses_everybody_who_is_signed_in() {
    let world = World::new().await;
    world.github.limit_addresses("acme");
    for repo in ["acme/site", "acme/open"] {
        let refused = world.call(Method::GET, &format!("/repos/{repo}"), None).await;
        assert_eq!(refused.status(), 403);
        assert!(message(refused).await.contains("`acme` organization has an IP allow list enabled"));
    }
    let anonymous = world.http.get(format!("{}/repos/acme/open", world.github.api_url())).send().await.unwrap();
    assert_eq!(anonymous.status(), 200);
    world.github.allow_all_addresses("acme");
    assert_eq!(world.get("/repos/acme/site").await["name"], "site");
}

#[tokio::test]
async fn suspended_people_and_blocked_repositories_say_so() {
    let world = World::new().await;
    let recorded = |name: &str| -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/github/oauth/");
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}{name}")).unwrap()).unwrap()
    };
    for (why, status, name) in [(Blocked::Tos, 403, "error-403-blocked-tos.json"), (Blocked::Dmca, 451, "error-451-blocked.json")] {
        world.github.block_repository("octo/hello", Some(why));
        let answer = world.call(Method::GET, "/repos/octo/hello", None).await;
        assert_eq!(answer.status(), status);
        let (body, recorded) = (answer.json::<Value>().await.unwrap(), recorded(name));
        assert_eq!((&body["message"], &body["block"]["reason"]), (&recorded["message"], &recorded["block"]["reason"]));
        let names = |value: &Value| value["block"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&body), names(&recorded));
        let hubot = world.link("hubot", "repo").await;
        assert_eq!(world.call_as(&hubot, Method::GET, "/repos/octo/hello", None).await.status(), 404, "nothing is told to strangers");
    }
    world.github.block_repository("octo/hello", None);
    assert_eq!(world.get("/repos/octo/hello").await["name"], "hello");
    world.github.suspend_user("octo");
    let refused = world.call(Method::GET, "/user", None).await;
    assert_eq!((refused.status().as_u16(), message(refused).await.contains("Your account was suspended")), (403, true));
    world.github.unsuspend_user("octo");
    assert_eq!(world.get("/user").await["login"], "octo");
    world.github.set_visibility("octo/hello", Visibility::Public);
}
