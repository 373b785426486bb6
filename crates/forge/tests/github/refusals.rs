//! Each refusal of GitHub becomes the decision that it asks for.

use std::time::Duration;

use crate::fake::*;
use serde_json::{Value, json};
use slipway_forge::{ForgeError, HookSpec, SourceKey};
use url::Url;

const SAML: &str = "Resource protected by organization SAML enforcement. You must grant your OAuth token access to this organization.";
const ALLOW_LIST: &str = "Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list enabled, and your IP address is not permitted to access this resource.";
const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";

fn message(text: &str) -> Value {
    json!({ "message": text })
}

fn wait(seconds: u64) -> ForgeError {
    ForgeError::RateLimited { retry_after: Duration::from_secs(seconds) }
}

fn forbidden(detail: &str) -> ForgeError {
    ForgeError::Forbidden { detail: detail.into() }
}

fn suspended(detail: &str) -> ForgeError {
    ForgeError::Suspended { detail: detail.into() }
}

fn missing(scopes: &[&str], detail: &str) -> ForgeError {
    ForgeError::MissingScope { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), detail: detail.into() }
}

/// What a read becomes when GitHub answers so. The answer may need the server's own address.
async fn outcome(reply: impl Fn(&Url) -> Answer + Send + Sync + 'static) -> (ForgeError, Url) {
    let github = Fake::start(move |_, own| reply(own)).await;
    (github.client().person(&token()).await.unwrap_err(), github.origin.clone())
}

#[tokio::test]
async fn what_only_the_words_tell_is_told_apart() {
    let cases: Vec<(Answer, ForgeError)> = vec![
        (
            answer(403, fixture("oauth/error-403-blocked-tos.json")).with("x-ratelimit-remaining", "0"),
            forbidden("Repository access blocked (reason `tos`)"),
        ),
        (answer(451, fixture("oauth/error-451-blocked.json")), forbidden("Repository access blocked (reason `dmca`)")),
        (answer(403, message("Sorry. Your account was suspended.")), suspended("Sorry. Your account was suspended.")),
        (answer(403, message("This installation has been suspended")), suspended("This installation has been suspended")),
        (answer(403, message("Repository was archived so is read-only.")), forbidden("Repository was archived so is read-only.")),
        (answer(401, message("Bad credentials")), ForgeError::Unauthorized { detail: "Bad credentials".into() }),
        (answer(403, message("Maximum number of login attempts exceeded. Please try again later.")), wait(60)),
        (answer(404, message("Not Found")), ForgeError::NotFound),
        (answer(403, message(SECONDARY)), wait(60)),
        (answer(403, message(SECONDARY)).with("x-ratelimit-remaining", "4000").with("x-ratelimit-reset", "99999999999"), wait(60)),
        (answer(403, message("no")).with("retry-after", "17"), wait(17)),
        (answer(429, message("no")).with("retry-after", "999999999"), wait(3600)),
        (answer(403, message("API rate limit exceeded")).with("x-ratelimit-remaining", "0").with("x-ratelimit-reset", "1"), wait(1)),
        (answer(403, message("no")).with("x-ratelimit-remaining", "0").with("x-ratelimit-reset", "1"), wait(1)),
        (answer(502, Value::Null), ForgeError::Unexpected { status: 502, detail: "no words came with it".into() }),
    ];
    for (reply, expected) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        assert_eq!(outcome(move |_| reply.lock().unwrap().take().unwrap()).await.0, expected);
    }
    assert!(wait(1).is_temporary() && !suspended("a").is_temporary() && !ForgeError::NotFound.is_temporary());
}

#[tokio::test]
async fn an_organization_that_keeps_us_out_is_named_with_the_page_that_changes_it() {
    let restricted =
        |organization: &str, page: Option<Url>| ForgeError::Restricted { organization: Some(organization.into()), grant_url: page };
    let recorded = |_: &Url| answer(403, fixture("oauth/error-403-oauth-app-restrictions.json")).with("x-ratelimit-remaining", "0");
    let (error, own) = outcome(recorded).await;
    assert_eq!(error, restricted("unit-mesh", own.join("settings/connections/applications/Iv1.abc").ok()));
    let (error, own) = outcome(|_| answer(403, message(ALLOW_LIST))).await;
    assert_eq!(error, restricted("acme", own.join("organizations/acme/settings/security").ok()));
    let (error, own) =
        outcome(|own| answer(403, message(SAML)).with("x-github-sso", format!("required; url={own}orgs/acme/sso?authorization_request=x")))
            .await;
    assert_eq!(error, restricted("acme", own.join("orgs/acme/sso?authorization_request=x").ok()));
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_elsewhere() {
    for address in ["https://evil.example/orgs/acme/sso?x=1", "//evil.example/orgs/acme", "javascript:alert(1)", "", "\u{1}"] {
        let (error, _) =
            outcome(move |_| answer(403, message(SAML)).with("x-github-sso", format!("required; url={}", address.trim_matches('\u{1}'))))
                .await;
        assert_eq!(error, ForgeError::Restricted { organization: None, grant_url: None }, "{address}");
    }
    let (error, _) = outcome(|own| {
        let user = own.as_str().replacen("http://", "http://user@", 1);
        answer(403, message(SAML)).with("x-github-sso", format!("required; url={user}orgs/acme/sso"))
    })
    .await;
    assert_eq!(error, ForgeError::Restricted { organization: None, grant_url: None });
    assert_eq!(outcome(|_| answer(403, message(SAML))).await.0, ForgeError::Restricted { organization: None, grant_url: None });
}

#[tokio::test]
async fn a_scope_is_missing_only_where_the_headers_say_so() {
    let words = "You need at least read:org scope or user scope to list your organizations.";
    let with =
        |reply: Answer, granted: &str, accepted: &str| reply.with("x-oauth-scopes", granted).with("x-accepted-oauth-scopes", accepted);
    let cases = [
        (
            with(answer(403, message(words)), "repo, gist", "admin:org, read:org, repo, user, write:org"),
            missing(&["read:org", "user"], words),
        ),
        (with(answer(403, message("no")), "", "read:org, user"), missing(&["read:org", "user"], "no")),
        (with(answer(403, message("no")), "admin:org", "read:org"), forbidden("no")),
        (with(answer(403, message("no")), "gist", ""), forbidden("no")),
        (answer(403, message("no")).with("x-accepted-oauth-scopes", "repo"), forbidden("no")),
        (with(answer(403, message(SECONDARY)), "gist", "repo"), wait(60)),
        // A read of what is not there says nothing of scopes.
        (with(answer(404, message("Not Found")), "gist", "repo"), ForgeError::NotFound),
    ];
    for (reply, expected) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        assert_eq!(outcome(move |_| reply.lock().unwrap().take().unwrap()).await.0, expected);
    }
}

#[tokio::test]
async fn what_github_hides_for_want_of_a_scope_is_a_missing_scope() {
    let github = Fake::start(|request, _| {
        let granted = if request.path.contains("/covered/") { "repo" } else { "read:org" };
        not_found().with("x-oauth-scopes", granted).with("x-accepted-oauth-scopes", "admin:repo_hook, public_repo, repo")
    })
    .await;
    let client = github.client();
    let url: Url = "https://slipway.example/hooks/github/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    let expected = missing(&["admin:repo_hook", "public_repo", "repo"], "Not Found");
    assert_eq!(client.ensure_hook(&token(), "o/r", &hook).await, Err(expected.clone()));
    assert_eq!(client.hooks(&token(), "o/r").await, Err(expected.clone()));
    assert_eq!(client.deploy_keys(&token(), "o/r").await, Err(expected.clone()));
    assert_eq!(client.delete_hook(&token(), "o/r", "1").await, Err(expected));
    assert_eq!(client.hooks(&token(), "covered/r").await, Err(ForgeError::NotFound));
    // A public link sees that a source is gone for it, whatever became of it.
    assert_eq!(client.source_repository(&token(), "o/r").await, Ok(None));
    assert_eq!(client.source_repository_by_id(&token(), SourceKey { id: "7", full_name: "o/r" }).await, Ok(None));
}

/// The page of a proxy says nothing of what was asked for: nothing is called gone because of it.
#[tokio::test]
async fn a_404_that_is_not_the_apis_is_no_absence() {
    for (content_type, body) in [
        ("text/html; charset=utf-8", "<html><h1>404</h1></html>"),
        ("text/html", "{\"message\":\"Not Found\"}"),
        ("text/plain", ""),
        ("application/json", ""),
        ("application/json; charset=utf-8", "{\"message\":\"Not F"),
        ("application/json", "[]"),
    ] {
        let github = Fake::start(move |_, _| {
            raw(404, content_type, body).with("x-oauth-scopes", "read:org").with("x-accepted-oauth-scopes", "repo")
        })
        .await;
        let (client, key) = (github.client(), SourceKey { id: "7", full_name: "o/r" });
        for (call, result) in [
            ("repository", client.source_repository(&token(), "o/r").await.map(drop)),
            ("by id", client.source_repository_by_id(&token(), key).await.map(drop)),
            ("heads", client.heads(&token(), "o/r", None).await.map(drop)),
            ("resolve", client.resolve(&token(), "o/r", &"refs/heads/main".parse().unwrap()).await.map(drop)),
            ("repositories", client.source_repositories(&token(), "o", None).await.map(drop)),
            ("hooks", client.hooks(&token(), "o/r").await.map(drop)),
            ("delete hook", client.delete_hook(&token(), "o/r", "7").await.map(drop)),
            ("delete key", client.delete_deploy_key(&token(), "o/r", "7").await.map(drop)),
            ("revoke", client.revoke_grant(&token()).await.map(drop)),
        ] {
            let told = matches!(&result, Err(ForgeError::Unexpected { status: 404, detail }) if detail.contains("no answer of the API"));
            assert!(told, "{call} {content_type} {body}: {result:?}");
        }
    }
    let github = Fake::start(|_, _| raw(404, "application/vnd.github+json", "{\"message\":\"Not Found\"}")).await;
    assert_eq!(github.client().source_repository(&token(), "o/r").await, Ok(None));
}

#[tokio::test]
async fn answers_that_make_no_sense_are_said_so() {
    for (reply, status, words) in [
        (raw(200, "application/json", &b"{\"id\": 1, \"log"[..]), 200, "ends too early (line 1, column 14)"),
        (raw(200, "text/html", &b"<html>"[..]), 200, "is no JSON (line 1, column 1)"),
        (answer(200, json!({ "message": "Server Error" })), 200, "lacks an expected field"),
        (answer(200, json!([])), 200, "lacks an expected field"),
        (answer(204, Value::Null), 204, "ends too early"),
        (answer(304, Value::Null), 304, "no words"),
        (raw(500, "text/html", &b"<html>Unicorn!</html>"[..]), 500, "no words"),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        match outcome(move |_| reply.lock().unwrap().take().unwrap()).await.0 {
            ForgeError::Unexpected { status: found, detail } => assert!(found == status && detail.contains(words), "{found} {detail}"),
            other => panic!("{other:?}"),
        }
    }
}
