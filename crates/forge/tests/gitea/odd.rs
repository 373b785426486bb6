//! Answers that no Gitea should give: each becomes a clear error, and no token leaves for another origin.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use slipway_forge::{Forge, ForgeError, Removal, SourceKey};
use slipway_model::RefName;
use slipway_testkit::github::OAuthApp;
use url::Url;

use crate::front::{Answer, Front, answer, raw};
use crate::provider;

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.token-of-octo.c2ln";
const CLIENT_SECRET: &str = "gto_client-secret-8d1c";
const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";

fn client(origin: &Url) -> Arc<dyn Forge> {
    let app = OAuthApp { client_id: "3c9f".to_owned(), client_secret: CLIENT_SECRET.to_owned() };
    slipway_forge::open(provider(origin, &app)).unwrap()
}

fn callback() -> Url {
    crate::CALLBACK.parse().unwrap()
}

async fn always(reply: Answer) -> Front {
    Front::scripted(move |_, _| reply.clone()).await
}

/// Everything that asks for something, each as the error that it came to.
async fn all_errors(client: &dyn Forge) -> Vec<(&'static str, ForgeError)> {
    let token = TOKEN.into();
    let key = SourceKey { id: "7", full_name: "o/r" };
    let main = RefName::branch("main").unwrap();
    vec![
        ("person", client.person(&token).await.map(drop).unwrap_err()),
        ("source_namespaces", client.source_namespaces(&token).await.map(drop).unwrap_err()),
        ("source_repositories", client.source_repositories(&token, "o", None).await.map(drop).unwrap_err()),
        ("source_repository_by_id", client.source_repository_by_id(&token, key).await.map(drop).unwrap_err()),
        ("source_repository", client.source_repository(&token, "o/r").await.map(drop).unwrap_err()),
        ("heads", client.heads(&token, "o/r", None).await.map(drop).unwrap_err()),
        ("resolve", client.resolve(&token, "o/r", &main).await.map(drop).unwrap_err()),
        ("hooks", client.hooks(&token, "o/r").await.map(drop).unwrap_err()),
        ("deploy_keys", client.deploy_keys(&token, "o/r").await.map(drop).unwrap_err()),
        ("delete_hook", client.delete_hook(&token, "o/r", "7").await.map(drop).unwrap_err()),
        ("delete_deploy_key", client.delete_deploy_key(&token, "o/r", "7").await.map(drop).unwrap_err()),
        ("exchange_code", client.exchange_code("code", &callback(), &"verifier".into()).await.map(drop).unwrap_err()),
        ("refresh", client.refresh(&"refresh".into()).await.map(drop).unwrap_err()),
    ]
}

#[tokio::test]
async fn what_is_no_answer_of_gitea_is_unexpected_everywhere() {
    let nonsense = [
        raw(404, "text/html", "<html>no such page</html>"),
        raw(502, "text/html", "<html>bad gateway</html>"),
        raw(500, "application/json", "{\"message\":\"database is locked\"}"),
    ];
    for reply in nonsense {
        let front = always(reply).await;
        for (call, error) in all_errors(&*client(&front.origin)).await {
            assert!(matches!(error, ForgeError::Unexpected { .. }), "{call}: {error:?}");
        }
    }
    // A delete has no body to be read, so here the status alone speaks.
    let half =
        [raw(200, "text/html", "<html>hello</html>"), raw(200, "application/json", "{\"id\": 1, \"log"), raw(200, "application/json", "")];
    for reply in half {
        let front = always(reply).await;
        for (call, error) in all_but_delete(&*client(&front.origin)).await {
            assert!(matches!(error, ForgeError::Unexpected { status: 200, .. }), "{call}: {error:?}");
        }
    }
}

async fn all_but_delete(client: &dyn Forge) -> Vec<(&'static str, ForgeError)> {
    let token = TOKEN.into();
    vec![
        ("person", client.person(&token).await.map(drop).unwrap_err()),
        ("source_namespaces", client.source_namespaces(&token).await.map(drop).unwrap_err()),
        ("source_repositories", client.source_repositories(&token, "o", None).await.map(drop).unwrap_err()),
        ("source_repository", client.source_repository(&token, "o/r").await.map(drop).unwrap_err()),
        ("heads", client.heads(&token, "o/r", None).await.map(drop).unwrap_err()),
        ("hooks", client.hooks(&token, "o/r").await.map(drop).unwrap_err()),
        ("delete_deploy_key", client.delete_deploy_key(&token, "o/r", "7").await.map(drop).unwrap_err()),
        ("exchange_code", client.exchange_code("code", &callback(), &"verifier".into()).await.map(drop).unwrap_err()),
    ]
}

#[tokio::test]
async fn a_redirect_elsewhere_never_gets_the_token() {
    let thief = always(answer(200, &json!([]))).await;
    for to in [thief.origin.join("api/v1/user").unwrap().to_string(), "//127.0.0.2/api/v1/user".to_owned()] {
        let front = always(answer(307, &json!({})).with("location", to)).await;
        for (call, error) in all_errors(&*client(&front.origin)).await {
            assert!(matches!(&error, ForgeError::Unexpected { detail, .. } if detail.contains("another origin")), "{call}: {error:?}");
        }
    }
    assert!(thief.requests().is_empty());
}

/// Behind a proxy Gitea's own addresses differ from ours, so its `Link` says only that there is more.
#[tokio::test]
async fn the_addresses_in_an_answer_are_not_followed() {
    let elsewhere = always(answer(200, &json!([]))).await;
    let link = format!("<{}api/v1/x?page=2>; rel=\"next\"", elsewhere.origin);
    let front = Front::scripted(move |request, _| match (request.path.as_str(), request.query.get("page").map(String::as_str)) {
        ("/api/v1/repos/o/r/hooks", Some("1")) => answer(200, &json!([{ "id": 1, "active": true }])).with("link", link.clone()),
        ("/api/v1/repos/o/r/hooks", Some("2")) => answer(200, &json!([{ "id": 2, "active": true }])),
        _ => answer(404, &json!({})),
    })
    .await;
    let hooks = client(&front.origin).hooks(&TOKEN.into(), "o/r").await.unwrap();
    assert_eq!(hooks.iter().map(|hook| hook.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn endless_pages_end() {
    let front = Front::scripted(|_, own| {
        let hooks: Vec<_> = (0..50).map(|id| json!({ "id": id, "active": true })).collect();
        answer(200, &json!(hooks)).with("link", format!("<{own}x>; rel=\"next\"")).with("x-total-count", "999999999")
    })
    .await;
    assert_eq!(client(&front.origin).hooks(&TOKEN.into(), "o/r").await.unwrap().len(), 1000);
    assert_eq!(front.requests().len(), 20);
}

#[tokio::test]
async fn each_refusal_becomes_the_decision_that_it_asks_for() {
    let message = |text: &str| json!({ "message": text, "url": "https://git.example/api/swagger" });
    let scope = "token does not have at least one of required scope(s), required=[read:organization read:user], token scope=read:user";
    let prohibited = "This account is prohibited from signing in, please contact your site administrator.";
    let wait = |seconds| ForgeError::RateLimited { retry_after: Duration::from_secs(seconds) };
    let cases = [
        (answer(401, &message("user does not exist [uid: 0]")), ForgeError::Unauthorized { detail: "user does not exist [uid: 0]".into() }),
        (
            answer(403, &message(scope)),
            ForgeError::MissingScope { scopes: vec!["read:organization".into(), "read:user".into()], detail: scope.into() },
        ),
        (answer(403, &message(prohibited)), ForgeError::Suspended { detail: prohibited.into() }),
        (answer(403, &message("no")), ForgeError::Forbidden { detail: "no".into() }),
        (answer(404, &message("not found")), ForgeError::NotFound),
        (raw(404, "text/plain", ""), ForgeError::NotFound),
        (answer(423, &message("archived")), ForgeError::Forbidden { detail: "archived".into() }),
        (answer(429, &message("slow down")).with("retry-after", "17"), wait(17)),
        (answer(429, &json!({})).with("retry-after", "999999999"), wait(3600)),
        (raw(503, "text/html", "<html>"), ForgeError::Unexpected { status: 503, detail: "no words came with it".into() }),
    ];
    for (reply, expected) in cases {
        let front = always(reply).await;
        assert_eq!(client(&front.origin).person(&TOKEN.into()).await.unwrap_err(), expected);
    }
}

/// Nobody knows whether a hook of a repository that is not shown still stands.
#[tokio::test]
async fn what_cannot_be_seen_is_not_called_gone() {
    let front = Front::scripted(|request, _| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/v1/repos/o/listed/hooks") => answer(200, &json!([{ "id": 8, "active": true }])),
        ("GET", "/api/v1/repos/o/odd/hooks") => answer(200, &json!([{ "id": 7, "active": true }])),
        _ => answer(404, &json!({ "message": "not found" })),
    })
    .await;
    let client = client(&front.origin);
    assert_eq!(client.delete_hook(&TOKEN.into(), "o/listed", "7").await.unwrap(), Removal::AlreadyGone);
    assert_eq!(client.delete_hook(&TOKEN.into(), "o/odd", "7").await.unwrap_err(), ForgeError::NotFound);
    assert_eq!(client.delete_hook(&TOKEN.into(), "o/hidden", "7").await.unwrap_err(), ForgeError::NotFound);
    assert_eq!(client.delete_deploy_key(&TOKEN.into(), "o/hidden", "7").await.unwrap_err(), ForgeError::NotFound);
}

/// Forgejo and older Giteas refuse keys where nobody could use them; Gitea 1.26 takes them all the same.
#[tokio::test]
async fn a_server_without_ssh_takes_no_deploy_keys() {
    let front = Front::scripted(|request, _| match request.method.as_str() {
        "GET" => answer(200, &json!([])),
        _ => answer(422, &json!({ "message": "SSH is disabled" })),
    })
    .await;
    let error = client(&front.origin).ensure_deploy_key(&TOKEN.into(), "o/r", "t", "ssh-ed25519 AAAA").await.unwrap_err();
    assert!(matches!(&error, ForgeError::Unsupported { detail, .. } if detail.contains("SSH")), "{error}");
}

#[tokio::test]
async fn a_list_of_refs_that_is_cut_off_is_an_error() {
    let sha = "aa218f56b14c9653891f9e74264a383fa43fefbd";
    let line = format!("{sha} refs/heads/main\0x\n");
    let whole = format!("001e# service=git-upload-pack\n0000{:04x}{line}", line.len() + 4);
    let cut = always(raw(200, ADVERTISEMENT, whole.clone())).await;
    let error = client(&cut.origin).heads(&TOKEN.into(), "o/r", None).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Unexpected { detail, .. } if detail.contains("too early")), "{error}");
    let front = always(raw(200, ADVERTISEMENT, whole + "0000")).await;
    assert!(client(&front.origin).heads(&TOKEN.into(), "o/r", None).await.is_ok());
    let request = &front.requests()[0];
    assert_eq!(request.query["service"], "git-upload-pack");
    assert!(request.header("authorization").starts_with("Basic "));
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_in_debug() {
    let front = Front::scripted(|request, _| {
        let repeated = format!("{} {} {}", request.header("authorization"), request.body, CLIENT_SECRET);
        match request.path.as_str() {
            "/login/oauth/access_token" => answer(400, &json!({ "error": "bad", "error_description": repeated })),
            _ => answer(401, &json!({ "message": repeated })),
        }
    })
    .await;
    let client = client(&front.origin);
    let mut words = format!("{:?} {:?}", client.provider(), client.clone_access("o/r", Some(&TOKEN.into())));
    for (_, error) in all_errors(&*client).await {
        words.push_str(&format!("{error} {error:?}"));
    }
    for secret in [TOKEN, CLIENT_SECRET] {
        assert!(!words.contains(secret), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), client(&origin).person(&TOKEN.into())).await;
    let error = answer.expect("a timeout of ours comes first").unwrap_err();
    assert!(matches!(error, ForgeError::Unreachable { .. }) && error.is_temporary(), "{error}");
}
