//! Answers that no Gitea should give: each becomes a clear error, and no token leaves for another origin.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use slipway_forge::{Forge, ForgeError, HookSpec, Removal, SourceKey};
use slipway_model::RefName;
use slipway_testkit::github::OAuthApp;
use url::Url;

use crate::front::{Answer, Front, answer, raw};
use crate::{provider, secret};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.token-of-octo.c2ln";
const CLIENT_SECRET: &str = "gto_client-secret-8d1c";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAx7D6pXU0Ch5rCPo3aWdB3ywaKPpMlO8jzjx8w4vzsT";
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
    let url: Url = "https://slipway.example/hooks/gitea/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    vec![
        ("person", client.person(&token).await.map(drop).unwrap_err()),
        ("source_namespaces", client.source_namespaces(&token).await.map(drop).unwrap_err()),
        ("source_repositories", client.source_repositories(&token, "o", None).await.map(drop).unwrap_err()),
        ("source_repository_by_id", client.source_repository_by_id(&token, key).await.map(drop).unwrap_err()),
        ("source_repository", client.source_repository(&token, "o/r").await.map(drop).unwrap_err()),
        ("heads", client.heads(&token, "o/r", None).await.map(drop).unwrap_err()),
        ("resolve", client.resolve(&token, "o/r", &main).await.map(drop).unwrap_err()),
        ("hooks", client.hooks(&token, "o/r").await.map(drop).unwrap_err()),
        ("ensure_hook", client.ensure_hook(&token, "o/r", &hook).await.map(drop).unwrap_err()),
        ("deploy_keys", client.deploy_keys(&token, "o/r").await.map(drop).unwrap_err()),
        ("ensure_deploy_key", client.ensure_deploy_key(&token, "o/r", "t", KEY).await.map(drop).unwrap_err()),
        ("delete_hook", client.delete_hook(&token, "o/r", "7").await.map(drop).unwrap_err()),
        ("delete_deploy_key", client.delete_deploy_key(&token, "o/r", "7").await.map(drop).unwrap_err()),
        ("exchange_code", client.exchange_code("code", &callback(), &"verifier".into()).await.map(drop).unwrap_err()),
        ("refresh", client.refresh(&"refresh".into()).await.map(drop).unwrap_err()),
    ]
}

#[tokio::test]
async fn what_is_no_answer_of_gitea_is_unexpected_everywhere() {
    for (status, content_type, body) in [
        (404, "text/html", "<html>no such page</html>"),
        (404, "text/html", "{\"message\":\"not found\"}"),
        (404, "application/json", "{\"message\":\"not f"),
        (502, "text/html", "<html>bad gateway</html>"),
        (500, "application/json", "{\"message\":\"database is locked\"}"),
        (200, "text/html", "<html>hello</html>"),
        (200, "application/json", "{\"id\": 1, \"log"),
        (200, "application/json", ""),
        // An error with the status of a success.
        (200, "application/json", "{\"message\":\"database is locked\",\"url\":\"https://git.example/api/swagger\"}"),
    ] {
        let front = always(raw(status, content_type, body)).await;
        for (call, error) in all_errors(&*client(&front.origin)).await {
            assert!(matches!(error, ForgeError::Unexpected { status: found, .. } if found == status), "{call} {body}: {error:?}");
        }
    }
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

/// Of two commits without a common ancestor some versions say that neither has one that the other lacks.
#[tokio::test]
async fn nothing_between_two_commits_is_no_proof_of_history() {
    let id = |digit: &str| digit.repeat(40);
    let between = [("1", "2", 3), ("2", "1", 0), ("1", "3", 0), ("3", "1", 0), ("1", "1", 0)];
    let paths = between.map(|(from, to, count)| (format!("/api/v1/repos/o/r/compare/{}...{}", id(from), id(to)), count));
    let front = Front::scripted(move |request, _| match paths.iter().find(|(path, _)| *path == request.path) {
        Some((_, count)) => answer(200, &json!({ "total_commits": count, "commits": [] })),
        None => answer(404, &json!({ "message": "not found", "url": "" })),
    })
    .await;
    let client = client(&front.origin);
    for (commit, of, expected) in
        [("1", "2", Some(true)), ("2", "1", Some(false)), ("1", "1", Some(true)), ("3", "1", None), ("1", "3", None)]
    {
        let (commit, of) = (id(commit).parse().unwrap(), id(of).parse().unwrap());
        assert_eq!(client.is_in_history(&TOKEN.into(), "o/r", &commit, &of).await, Ok(expected), "{commit} {of}");
    }
}

/// Fifty that are a hook and a key at once, and none of which is ours.
fn fifty() -> Value {
    (0..50).map(|id| json!({ "id": id, "active": true, "title": format!("t{id}"), "key": format!("ssh-ed25519 {id}") })).collect()
}

/// What is not in a list that was not read to its end may exist all the same: nothing is called gone, and nothing is made a second time.
async fn no_list_is_whole(front: &Front, words: &str) {
    let (client, token) = (client(&front.origin), TOKEN.into());
    let url: Url = "https://slipway.example/hooks/gitea/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    for (call, result) in [
        ("hooks", client.hooks(&token, "o/r").await.map(drop)),
        ("deploy_keys", client.deploy_keys(&token, "o/r").await.map(drop)),
        ("delete_hook", client.delete_hook(&token, "o/r", "77").await.map(drop)),
        ("delete_deploy_key", client.delete_deploy_key(&token, "o/r", "77").await.map(drop)),
        ("ensure_hook", client.ensure_hook(&token, "o/r", &hook).await.map(drop)),
        ("ensure_deploy_key", client.ensure_deploy_key(&token, "o/r", "t", KEY).await.map(drop)),
    ] {
        assert!(matches!(&result, Err(ForgeError::Unexpected { detail, .. }) if detail.contains(words)), "{call}: {result:?}");
    }
    let written: Vec<String> = front.lines().into_iter().filter(|line| !line.starts_with("GET ")).collect();
    assert_eq!(written, ["DELETE /api/v1/repos/o/r/hooks/77"], "only who deletes a hook asks for it before looking");
}

#[tokio::test]
async fn endless_pages_are_no_list() {
    let front = Front::scripted(|request, own| match request.method.as_str() {
        "GET" => answer(200, &fifty()).with("link", format!("<{own}x>; rel=\"next\"")).with("x-total-count", "999999999"),
        _ => answer(404, &json!({ "message": "not found" })),
    })
    .await;
    client(&front.origin).hooks(&TOKEN.into(), "o/r").await.unwrap_err();
    assert_eq!(front.requests().len(), 20);
    no_list_is_whole(&front, "no end").await;
}

#[tokio::test]
async fn a_page_that_is_not_there_is_no_end_of_a_list() {
    for (header, value) in [("x-total-count", "120"), ("link", "</x?page=3>; rel=\"next\"")] {
        let front = Front::scripted(move |request, _| match (request.method.as_str(), request.query.get("page").map(String::as_str)) {
            ("GET", Some("1")) => answer(200, &fifty()).with("link", "</x?page=2>; rel=\"next\"").with("x-total-count", "120"),
            ("GET", _) => answer(200, &json!([])).with(header, value),
            _ => answer(404, &json!({ "message": "not found" })),
        })
        .await;
        no_list_is_whole(&front, "page 2 of the list is empty").await;
    }
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

/// An answer about another repository is none about this one.
#[tokio::test]
async fn a_repository_with_another_id_is_not_the_one_that_was_asked_for() {
    let front = always(answer(200, &json!({ "id": 8, "full_name": "o/r", "private": true }))).await;
    let client = client(&front.origin);
    for (id, found) in [("7", false), ("8", true)] {
        let answered = client.source_repository_by_id(&TOKEN.into(), SourceKey { id, full_name: "o/r" }).await.unwrap();
        assert_eq!(answered.is_some(), found, "{id}");
    }
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

/// Trap 23.
#[tokio::test]
async fn only_a_whole_grant_is_one() {
    let refused = |code: &str, detail: &str| ForgeError::Refused { code: code.into(), detail: detail.into() };
    let unexpected = |status, detail: &str| ForgeError::Unexpected { status, detail: detail.into() };
    let no_token = "the token endpoint answered without a usable `access_token`";
    let no_answer = "the token endpoint did not answer with a JSON object of OAuth";
    let cases = [
        (answer(400, &json!({ "error": "invalid_grant", "error_description": "no" })), refused("invalid_grant", "no")),
        // Gitea's word for a refresh token that is good for nothing.
        (answer(400, &json!({ "error": "unauthorized_client" })), refused("invalid_grant", "no words came with it")),
        (answer(200, &json!({ "error": "invalid_grant", "access_token": "x" })), refused("invalid_grant", "no words came with it")),
        (answer(401, &json!({ "error": "invalid_client" })), refused("invalid_client", "no words came with it")),
        // A server that is not well says nothing about the grant.
        (answer(503, &json!({ "error": "invalid_grant" })), unexpected(503, "no words came with it")),
        (answer(429, &json!({ "error": "invalid_grant" })), ForgeError::RateLimited { retry_after: Duration::from_secs(60) }),
        (answer(401, &json!({ "message": "no" })), ForgeError::Unauthorized { detail: "no".into() }),
        (answer(200, &json!({ "message": "oops" })), unexpected(200, no_token)),
        (answer(200, &json!({})), unexpected(200, no_token)),
        (answer(200, &json!({ "access_token": "" })), unexpected(200, no_token)),
        (answer(200, &json!({ "access_token": "a\r\nb" })), unexpected(200, no_token)),
        (answer(200, &json!({ "access_token": "x".repeat(40_000) })), unexpected(200, no_token)),
        (answer(200, &json!({ "access_token": 7 })), unexpected(200, no_answer)),
        (answer(200, &json!(["x"])), unexpected(200, no_answer)),
        (answer(200, &json!([{ "access_token": "x" }])), unexpected(200, no_answer)),
        (raw(200, "text/html", "<html>"), unexpected(200, no_answer)),
        (raw(200, "application/json", "{\"access_token\": \"x"), unexpected(200, no_answer)),
    ];
    for (reply, expected) in cases {
        let front = always(reply).await;
        let client = client(&front.origin);
        assert_eq!(client.refresh(&"r-0".into()).await.unwrap_err(), expected);
        if !matches!(&expected, ForgeError::Refused { code, .. } if code == "invalid_grant") {
            assert_eq!(client.exchange_code("c0de", &callback(), &"verifier".into()).await.unwrap_err(), expected);
        }
        assert!(front.lines().iter().all(|line| line == "POST /login/oauth/access_token"), "nothing was asked with what is no token");
    }
}

/// What a token may do is asked for separately. Without a true answer a new grant is kept, for its refresh token may be the only good one,
/// and promises nothing; a link that stands is not said to be well.
#[tokio::test]
async fn a_grant_whose_scopes_nobody_tells_has_none() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/gitea/oauth/token-response.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let with = |told: Answer| {
        let recorded = recorded.clone();
        Front::scripted(move |request, _| match request.path.as_str() {
            "/login/oauth/access_token" => answer(200, &recorded),
            "/login/oauth/introspect" => told.clone(),
            _ => answer(200, &json!({ "id": 1, "login": "octo" })),
        })
    };
    for told in [
        raw(200, "text/html", "<html>hello</html>"),
        raw(404, "text/html", "<html>no such page</html>"),
        raw(200, "application/json", "{\"active\": true, \"sco"),
        answer(200, &json!({ "message": "database is locked" })),
        answer(200, &json!({ "error": "server_error", "scope": "all" })),
        answer(500, &json!({ "active": true, "scope": "all" })),
        answer(503, &json!({})),
    ] {
        let front = with(told).await;
        let client = client(&front.origin);
        for grant in
            [client.exchange_code("c0de", &callback(), &"verifier".into()).await.unwrap(), client.refresh(&"r-0".into()).await.unwrap()]
        {
            assert_eq!(secret(&grant.access_token), recorded["access_token"].as_str().unwrap());
            assert_eq!(secret(&grant.refresh_token.unwrap()), recorded["refresh_token"].as_str().unwrap());
            assert_eq!((grant.expires_in, grant.scopes.len()), (Some(Duration::from_secs(3600)), 0));
        }
        let error = client.person(&TOKEN.into()).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unexpected { .. }), "{error}");
        assert!(client.source_namespaces(&TOKEN.into()).await.is_err());
    }
    for (told, scopes) in [
        (json!({ "active": true, "scope": "read:user write:repository" }), &["read:user", "write:repository"][..]),
        (json!({ "active": true }), &["all"]),
        (json!({ "active": false, "scope": "all" }), &[]),
    ] {
        let front = with(answer(200, &told)).await;
        assert_eq!(client(&front.origin).refresh(&"r-0".into()).await.unwrap().scopes, scopes);
    }
}

/// Git has its own answers; the limit of a proxy before it is one all the same.
#[tokio::test]
async fn git_is_waited_for_as_the_api_is() {
    let front = Front::scripted(|request, _| match request.path.as_str() {
        "/o/r.git/info/refs" => raw(429, "text/html", "<html>slow down</html>").with("retry-after", "17"),
        _ => answer(200, &json!({ "id": 7, "full_name": "o/r", "private": true })),
    })
    .await;
    let error = client(&front.origin).heads(&TOKEN.into(), "o/r", None).await.unwrap_err();
    assert_eq!(error, ForgeError::RateLimited { retry_after: Duration::from_secs(17) });
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
    let began = tokio::time::Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(60), client(&origin).person(&TOKEN.into())).await;
    let error = answer.expect("a timeout of ours comes first").unwrap_err();
    assert!(matches!(error, ForgeError::Unreachable { .. }) && error.is_temporary(), "{error}");
    // The clock stands but for what is waited for.
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
}
