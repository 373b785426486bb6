//! GitHub's OAuth against a small server, and the addresses that are built from the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fake::*;
use base64::Engine;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use slipway_forge::{AuthorizeRequest, ForgeError, Grant, Removal, open};
use slipway_model::CommitId;
use url::Url;

fn redirect() -> Url {
    "https://slipway.example/link/github/callback?x=1".parse().unwrap()
}

async fn exchange(answer: Answer) -> (Result<Grant, ForgeError>, Recorded) {
    let answer = std::sync::Mutex::new(Some(answer));
    let github = Fake::start(move |_, _| answer.lock().unwrap().take().unwrap()).await;
    let result = github.client().exchange_code("c0de&x", &redirect(), &"the+verifier".into()).await;
    (result, github.requests().remove(0))
}

#[tokio::test]
async fn a_code_becomes_a_grant() {
    let (grant, request) = exchange(answer(200, fixture("oauth/token-response.json"))).await;
    let grant = grant.unwrap();
    assert_eq!(grant.access_token.expose_secret(), TOKEN);
    assert_eq!(grant.scopes, ["repo", "gist"]);
    assert!(grant.refresh_token.is_none() && grant.expires_in.is_none());
    assert!(!format!("{grant:?}").contains(TOKEN));
    assert_eq!(request.line(), "POST /login/oauth/access_token");
    assert_eq!(request.header("accept"), "application/json");
    assert_eq!(request.header("authorization"), "");
    let redirect = redirect();
    let expected = [
        ("client_id", "Iv1.abc"),
        ("client_secret", CLIENT_SECRET),
        ("code", "c0de&x"),
        ("redirect_uri", redirect.as_str()),
        ("code_verifier", "the+verifier"),
    ];
    assert_eq!(request.form(), BTreeMap::from_iter(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))));
}

#[tokio::test]
async fn tokens_that_end_come_with_a_refresh_token_in_json_or_as_a_form() {
    let json = json!({ "access_token": "ghu_a", "expires_in": 28800, "refresh_token": "ghr_b", "refresh_token_expires_in": 15811200, "scope": "", "token_type": "bearer" });
    let form = "access_token=ghu_a&expires_in=28800&refresh_token=ghr_b&scope=&token_type=bearer";
    for reply in [answer(200, json), raw(200, "application/x-www-form-urlencoded; charset=utf-8", form)] {
        let grant = exchange(reply).await.0.unwrap();
        assert_eq!((grant.access_token.expose_secret(), grant.refresh_token.unwrap().expose_secret()), ("ghu_a", "ghr_b"));
        assert_eq!((grant.expires_in, grant.scopes.len()), (Some(Duration::from_secs(28800)), 0));
    }
}

#[tokio::test]
async fn errors_with_status_200_are_refusals() {
    for code in ["bad_verification_code", "incorrect_client_credentials", "redirect_uri_mismatch", "200-bad_refresh_token"] {
        let body = fixture(&format!("oauth/error-{code}.json"));
        let expected = ForgeError::Refused {
            code: code.trim_start_matches("200-").to_owned(),
            detail: body["error_description"].as_str().unwrap().to_owned(),
        };
        assert_eq!(exchange(answer(200, body.clone())).await.0.unwrap_err(), expected);
        assert_eq!(exchange(answer(401, body)).await.0.unwrap_err(), expected);
    }
    let form = raw(200, "application/x-www-form-urlencoded", "error=bad_verification_code&error_description=gone&access_token=gho_x");
    assert_eq!(exchange(form).await.0.unwrap_err(), ForgeError::Refused { code: "bad_verification_code".into(), detail: "gone".into() });
}

#[tokio::test]
async fn an_answer_without_a_usable_token_is_no_grant() {
    for body in [
        json!({}),
        json!({ "access_token": "" }),
        json!({ "access_token": "a\r\nX: y" }),
        json!({ "access_token": 7 }),
        json!([]),
        json!(["gho_x"]),
        Value::Null,
        json!({ "access_token": "x".repeat(40_000) }),
    ] {
        let error = exchange(answer(200, body)).await.0.unwrap_err();
        assert!(matches!(error, ForgeError::Unexpected { status: 200, .. }), "{error}");
    }
    assert!(matches!(exchange(raw(200, "text/html", "<html>")).await.0.unwrap_err(), ForgeError::Unexpected { status: 200, .. }));
    assert!(matches!(exchange(raw(503, "text/html", "<html>")).await.0.unwrap_err(), ForgeError::Unexpected { status: 503, .. }));
    assert!(matches!(exchange(raw(404, "text/html", "")).await.0.unwrap_err(), ForgeError::Unexpected { status: 404, .. }));
}

#[tokio::test]
async fn a_server_that_is_not_well_says_nothing_about_the_grant() {
    let refused = fixture("oauth/error-200-bad_refresh_token.json");
    for status in [500, 503] {
        let error = exchange(answer(status, refused.clone())).await.0.unwrap_err();
        assert!(matches!(&error, ForgeError::Unexpected { status: found, .. } if *found == status) && error.is_temporary(), "{error:?}");
    }
    let error = exchange(answer(429, refused).with("retry-after", "17")).await.0.unwrap_err();
    assert_eq!(error, ForgeError::RateLimited { retry_after: Duration::from_secs(17) });
}

#[tokio::test]
async fn a_refresh_token_becomes_a_grant() {
    let github =
        Fake::start(|_, _| answer(200, json!({ "access_token": "ghu_new", "refresh_token": "ghr_new", "expires_in": 28800 }))).await;
    let grant = github.client().refresh(&"ghr_old".into()).await.unwrap();
    assert_eq!((grant.access_token.expose_secret(), grant.refresh_token.unwrap().expose_secret()), ("ghu_new", "ghr_new"));
    let form = github.requests().remove(0).form();
    assert_eq!((form["grant_type"].as_str(), form["refresh_token"].as_str(), form.get("code")), ("refresh_token", "ghr_old", None));
}

#[tokio::test]
async fn a_grant_is_withdrawn_with_our_own_credentials() {
    // The status of the answer; whether the token opens something afterwards.
    for (status, lives, expected) in [
        (204, false, Ok(Removal::Removed)),
        (404, false, Ok(Removal::AlreadyGone)),
        (422, false, Ok(Removal::AlreadyGone)),
        (404, true, Err(ForgeError::NotFound)),
        (401, true, Err(ForgeError::Unauthorized { detail: "no".into() })),
        (503, true, Err(ForgeError::Unexpected { status: 503, detail: "no".into() })),
    ] {
        let github = Fake::start(move |request, _| match (request.method.as_str(), status, lives) {
            ("GET", _, true) => answer(200, json!({ "id": 1, "login": "octo" })),
            ("GET", _, false) => answer(401, json!({ "message": "Bad credentials" })),
            (_, 204, _) => raw(204, "text/plain", ""),
            _ => answer(status, json!({ "message": "no" })),
        })
        .await;
        assert_eq!(github.client().revoke_grant(&token()).await, expected);
        let request = github.requests().remove(0);
        assert_eq!(request.line(), "DELETE /api/v3/applications/Iv1.abc/grant");
        assert_eq!(request.json(), json!({ "access_token": TOKEN }));
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("Iv1.abc:{CLIENT_SECRET}"));
        assert_eq!(request.header("authorization"), format!("Basic {pair}"));
    }
}

#[test]
fn addresses_are_built_from_the_configuration() {
    for (web, prefix) in [("https://github.com", "https://github.com/"), ("https://ghe.acme.example/git/", "https://ghe.acme.example/git/")]
    {
        let client = open(provider(&web.parse().unwrap())).unwrap();
        let redirect = redirect();
        let url = client.authorize_url(&AuthorizeRequest {
            redirect_uri: &redirect,
            state: "s t&",
            challenge: "ch",
            scopes: client.offers()[0].scopes,
        });
        assert!(url.as_str().starts_with(&format!("{prefix}login/oauth/authorize?")), "{url}");
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let expected = [
            ("client_id", "Iv1.abc"),
            ("redirect_uri", redirect.as_str()),
            ("scope", "repo read:org"),
            ("state", "s t&"),
            ("code_challenge", "ch"),
            ("code_challenge_method", "S256"),
        ];
        assert_eq!(query, BTreeMap::from_iter(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))));
        let access = client.clone_access("octocat/Hello.World", Some(&token()));
        assert_eq!(access.url.as_str(), format!("{prefix}octocat/Hello.World.git"));
        assert_eq!((access.username.as_deref(), access.password.unwrap().expose_secret()), (Some("x-access-token"), TOKEN));
        let public = client.clone_access("octocat/Hello.World", None);
        assert!(public.username.is_none() && public.password.is_none());
        let commit: CommitId = "a".repeat(40).parse().unwrap();
        assert_eq!(client.commit_web_url("o/r", &commit).as_str(), format!("{prefix}o/r/commit/{commit}"));
        assert_eq!(client.app_settings_url().as_str(), format!("{prefix}settings/connections/applications/Iv1.abc"));
    }
    let client = open(provider(&"https://github.com".parse().unwrap())).unwrap();
    for odd in ["../../x", "o/r?x#y", "//evil.example/x", "o/../../..", "https://evil.example/x", "o\\r/@evil"] {
        let url = client.clone_access(odd, None).url;
        assert_eq!((url.host_str(), url.query(), url.fragment(), url.username()), (Some("github.com"), None, None, ""), "{url}");
    }
}

#[test]
fn unusable_addresses_of_a_provider_are_refused() {
    for bad in [
        "ftp://github.com/",
        "file:///etc/passwd",
        "mailto:a@b",
        "https://user:pw@github.com/",
        "https://github.com/?a=b",
        "https://github.com/#x",
    ] {
        let mut wrong = provider(&"https://github.com".parse().unwrap());
        wrong.api_url = bad.parse().unwrap();
        assert!(matches!(open(wrong).map(drop), Err(ForgeError::Misconfigured { .. })), "{bad}");
    }
}
