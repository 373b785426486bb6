//! The edge of the web room over a real database: who may ask how, and what refusals look like.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

#[path = "http/inbox.rs"]
mod inbox;
#[path = "http/people.rs"]
mod people;
#[path = "http/reports.rs"]
mod reports;

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use slipway_app::{App, ClientInfo, Config, Keys, Role, SignedIn, store::Db};
use slipway_forge::Forge;
use slipway_model::{Clock, Scope, ScopeSet};
use slipway_web::{Options, WebState};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;

struct Site {
    router: Router,
    app: Arc<App>,
    draining: CancellationToken,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that it is a problem of this status and code, complete and without anything of the inside.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        assert_eq!(problem["request_id"].as_str().unwrap(), self.headers["x-request-id"].to_str().unwrap());
    }
}

impl Site {
    async fn new(public_url: &str) -> Self {
        Self::limited(public_url, NonZeroU32::new(1_000_000).unwrap()).await
    }

    async fn limited(public_url: &str, api_per_minute: NonZeroU32) -> Self {
        Self::beside(public_url, api_per_minute, []).await
    }

    /// A site with source providers.
    async fn beside(public_url: &str, api_per_minute: NonZeroU32, forges: impl IntoIterator<Item = Arc<dyn Forge>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}/slipway.db", folder.path().display())).await.unwrap();
        db.migrate().await.unwrap();
        let app = Arc::new(App::new(db, Clock::System, Keys::derive(&[7; 32]), forges, Config::new(Url::parse(public_url).unwrap())));
        app.add_user("octo", Role::User, &"correct horse".to_owned().into()).await.unwrap();
        let draining = CancellationToken::new();
        let options =
            Options { version: "test", api_per_minute, metrics: None, draining: draining.clone(), shutdown: CancellationToken::new() };
        let router = slipway_web::router(WebState::new(Arc::clone(&app), options));
        Self { router, app, draining, _folder: folder }
    }

    async fn token(&self, scopes: &ScopeSet) -> String {
        self.token_of("octo", scopes).await
    }

    async fn token_of(&self, name: &str, scopes: &ScopeSet) -> String {
        self.app.create_token_by_name(name, "test", scopes).await.unwrap().secret.expose().to_owned()
    }

    async fn cookie(&self) -> String {
        self.cookie_of("octo").await
    }

    async fn cookie_of(&self, name: &str) -> String {
        let client = ClientInfo { address: "127.0.0.1".into(), user_agent: "test".into() };
        let SignedIn::Session(sign_in) = self.app.sign_in(name, &"correct horse".to_owned().into(), &client).await.unwrap() else {
            panic!("there is no second factor");
        };
        let name = if self.app.config().public_url.scheme() == "https" { "__Host-slipway" } else { "slipway_session" };
        format!("{name}={}", sign_in.token.expose())
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, Body::empty()).await
    }
}

const SITE: &str = "http://127.0.0.1:8080";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let site = Site::new("https://slipway.example").await;
    for path in ["/", "/signin", "/healthz", "/api/v1/me", "/api/nowhere", "/nowhere/at/all/there"] {
        let answer = site.get(path, &[]).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "same-origin", "{path}");
        assert!(answer.headers.contains_key("strict-transport-security"), "{path}");
        assert_eq!(answer.headers["x-request-id"].len(), 32, "{path}");
    }
    assert!(!Site::new(SITE).await.get("/healthz", &[]).await.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn a_request_id_of_the_client_is_not_taken() {
    let site = Site::new(SITE).await;
    let answer = site.get("/healthz", &[("x-request-id", "mine")]).await;
    assert_ne!(answer.headers["x-request-id"], "mine");
}

#[tokio::test]
async fn unknown_addresses_answer_as_their_neighbours_do() {
    let site = Site::new(SITE).await;
    site.get("/api/v1/nowhere", &[]).await.problem(404, "not_found");
    site.get("/builder/v1/nowhere", &[]).await.problem(404, "not_found");
    site.get("/hooks/github/x", &[]).await.problem(405, "method_not_allowed");
    site.send(Method::POST, "/api/v1/me", &[], Body::empty()).await.problem(405, "method_not_allowed");
    let page = site.get("/nowhere/at/all/there", &[]).await;
    assert_eq!(page.status, 404);
    assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn tokens_and_cookies_are_told_apart() {
    let site = Site::new(SITE).await;
    let (token, cookie) = (site.token(&ScopeSet::all()).await, site.cookie().await);
    let bearer = format!("Bearer {token}");
    let anonymous = site.get("/api/v1/me", &[]).await;
    anonymous.problem(401, "unauthorized");
    assert!(anonymous.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    assert_eq!(site.get("/api/v1/me", &[("authorization", &bearer)]).await.json()["name"], "octo");
    assert_eq!(site.get("/api/v1/me", &[("authorization", &bearer.replace("Bearer", "bearer"))]).await.json()["name"], "octo");
    assert_eq!(site.get("/api/v1/me", &[("cookie", &cookie)]).await.json()["name"], "octo");
    // A wrong token is never forgiven because of the cookie beside it.
    site.get("/api/v1/me", &[("cookie", &cookie), ("authorization", "Bearer slp_nonsense")]).await.problem(401, "unauthorized");
    site.get("/api/v1/me", &[("cookie", &cookie), ("authorization", "Basic b2N0bzp4")]).await.problem(401, "unauthorized");
    // Neither carrier takes the other's secret.
    site.get("/api/v1/me", &[("cookie", &format!("slipway_session={token}"))]).await.problem(401, "unauthorized");
    let session = cookie.split_once('=').unwrap().1;
    site.get("/api/v1/me", &[("authorization", &format!("Bearer {session}"))]).await.problem(401, "unauthorized");
    site.get(&format!("/api/v1/me?access_token={token}"), &[]).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn over_tls_only_the_host_cookie_counts() {
    let site = Site::new("https://slipway.example").await;
    let cookie = site.cookie().await;
    assert_eq!(site.get("/api/v1/me", &[("cookie", &cookie)]).await.status, 200);
    site.get("/api/v1/me", &[("cookie", &cookie.replace("__Host-slipway", "slipway_session"))]).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_write_by_cookie_needs_to_come_from_our_pages() {
    let site = Site::new(SITE).await;
    let cookie = site.cookie().await;
    let wish = json!({ "name": "hello" }).to_string();
    let write = async |headers: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> = [("cookie", cookie.as_str()), JSON].iter().chain(headers).copied().collect();
        site.send(Method::POST, "/api/v1/repositories/octo", &all, wish.clone()).await
    };
    write(&[]).await.problem(403, "cross_origin");
    write(&[("origin", "https://evil.example")]).await.problem(403, "cross_origin");
    write(&[("origin", "null")]).await.problem(403, "cross_origin");
    write(&[("sec-fetch-site", "cross-site"), ("origin", SITE)]).await.problem(403, "cross_origin");
    assert_eq!(write(&[("sec-fetch-site", "same-origin")]).await.status, 201);
    write(&[("origin", SITE)]).await.problem(409, "name_taken");
    // Pages: nobody may be signed in, or out, by another site either.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(site.send(Method::POST, "/signin", &form, "name=octo&password=correct+horse").await.status, 403);
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which_one() {
    let site = Site::new(SITE).await;
    let bearer = format!("Bearer {}", site.token(&ScopeSet::new([Scope::RepoRead])).await);
    let headers = [("authorization", bearer.as_str()), JSON];
    assert_eq!(site.get("/api/v1/repositories/octo", &headers).await.status, 200);
    let refused = site.send(Method::POST, "/api/v1/repositories/octo", &headers, r#"{"name":"hello"}"#).await;
    refused.problem(403, "scope_missing");
    assert!(refused.json()["detail"].as_str().unwrap().contains("repo:admin"));
    site.get("/api/v1/tokens", &headers).await.problem(403, "scope_missing");
}

#[tokio::test]
async fn bodies_are_judged_by_type_form_and_size() {
    let site = Site::new(SITE).await;
    let bearer = format!("Bearer {}", site.token(&ScopeSet::all()).await);
    let post = async |kind: &str, body: String| {
        site.send(Method::POST, "/api/v1/repositories/octo", &[("authorization", &bearer), ("content-type", kind)], body).await
    };
    post("text/plain", r#"{"name":"hello"}"#.into()).await.problem(415, "unsupported_media_type");
    post("application/x-www-form-urlencoded", "name=hello".into()).await.problem(415, "unsupported_media_type");
    post("application/json", "{".into()).await.problem(400, "bad_request");
    post("application/json", r#"{"name":"hello","colour":1}"#.into()).await.problem(422, "invalid");
    post("application/json", r#"{"name":"Hello World"}"#.into()).await.problem(422, "name");
    post("application/json", format!(r#"{{"name":"hello","description":"{}"}}"#, "x".repeat(5 << 20))).await.problem(413, "too_large");
    assert_eq!(post("application/json; charset=utf-8", r#"{"name":"hello"}"#.into()).await.status, 201);
}

#[tokio::test]
async fn lists_have_limits_and_cursors() {
    let site = Site::new(SITE).await;
    let bearer = format!("Bearer {}", site.token(&ScopeSet::all()).await);
    let headers = [("authorization", bearer.as_str()), JSON];
    for name in ["aa", "bb", "cc"] {
        assert_eq!(site.send(Method::POST, "/api/v1/repositories/octo", &headers, json!({ "name": name }).to_string()).await.status, 201);
    }
    let names =
        |list: &Value| list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let first = site.get("/api/v1/repositories/octo?limit=2", &headers).await.json();
    assert_eq!(names(&first), ["aa", "bb"]);
    let second = site.get(&format!("/api/v1/repositories/octo?limit=2&cursor={}", first["next"].as_str().unwrap()), &headers).await.json();
    assert_eq!((names(&second), &second["next"]), (vec!["cc".to_owned()], &Value::Null));
    for query in ["limit=0", "limit=101", "cursor=%25"] {
        site.get(&format!("/api/v1/repositories/octo?{query}"), &headers).await.problem(422, "invalid");
    }
    site.get("/api/v1/repositories/octo?limit=x", &headers).await.problem(400, "bad_request");
}

#[tokio::test]
async fn what_is_not_yours_looks_like_what_is_not_there() {
    let site = Site::new(SITE).await;
    site.app.add_user("mallory", Role::Administrator, &"correct horse".to_owned().into()).await.unwrap();
    let octo = format!("Bearer {}", site.token(&ScopeSet::all()).await);
    let other = site.app.create_token_by_name("mallory", "test", &ScopeSet::all()).await.unwrap();
    let other = format!("Bearer {}", other.secret.expose());
    assert_eq!(
        site.send(Method::POST, "/api/v1/repositories/octo", &[("authorization", &octo), JSON], r#"{"name":"hello"}"#).await.status,
        201
    );
    for path in ["octo", "octo/hello", "octo/hello/tags", "octo/hello/builds", "octo/hello/autobuild", "octo/hello/deliveries"] {
        let path = format!("/api/v1/repositories/{path}");
        let (theirs, nowhere) = (
            site.get(&path, &[("authorization", &other)]).await,
            site.get(&path.replace("octo", "nobody"), &[("authorization", &other)]).await,
        );
        theirs.problem(404, "not_found");
        assert_eq!(
            (theirs.json()["detail"].clone(), theirs.json()["hint"].clone()),
            (nowhere.json()["detail"].clone(), nowhere.json()["hint"].clone()),
            "{path}"
        );
    }
    for bad in ["octo/hello/builds/1%00", "octo/hello/builds/../../me", "OCTO/hello", "octo/hello/deliveries/x"] {
        site.get(&format!("/api/v1/repositories/{bad}"), &[("authorization", &octo)]).await.problem(404, "not_found");
    }
    // A public repository is shown to everybody, its builds are not.
    let change =
        site.send(Method::PATCH, "/api/v1/repositories/octo/hello", &[("authorization", &octo), JSON], r#"{"visibility":"public"}"#).await;
    assert_eq!(change.json()["visibility"], "public");
    assert_eq!(site.get("/api/v1/repositories/octo/hello", &[]).await.status, 200);
    site.get("/api/v1/repositories/octo/hello/builds", &[]).await.problem(401, "unauthorized");
    site.get("/api/v1/repositories/octo/hello/builds", &[("authorization", &other)]).await.problem(404, "not_found");
}

#[tokio::test]
async fn hooks_callbacks_and_builders_refuse_strangers() {
    let site = Site::new(SITE).await;
    let hook = "/hooks/github/01977c9d-0000-7000-8000-000000000000";
    site.send(Method::POST, hook, &[], "{}").await.problem(404, "not_found");
    site.send(Method::POST, "/hooks/Git%20Hub/x", &[], "{}").await.problem(404, "not_found");
    site.send(Method::POST, hook, &[("content-length", "26214401")], Body::empty()).await.problem(413, "too_large");
    site.send(Method::POST, hook, &[], vec![b'x'; (25 << 20) + 1]).await.problem(413, "too_large");
    let callback = site.get("/oauth/github/callback?state=slo_x&code=y", &[]).await;
    assert_eq!(callback.status, 400);
    let bearer = format!("Bearer {}", site.token(&ScopeSet::all()).await);
    let callback = site.get("/oauth/github/callback?state=slo_x", &[("authorization", &bearer)]).await;
    callback.problem(400, "bad_state");
    for verb in ["claim", "builds/01977c9d-0000-7000-8000-000000000000/heartbeat"] {
        let path = format!("/builder/v1/{verb}");
        site.send(Method::POST, &path, &[JSON], "{}").await.problem(401, "unauthorized");
        // A person's token is no builder's.
        site.send(Method::POST, &path, &[JSON, ("authorization", &bearer)], "{}").await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_drain_is_told_and_hands_nothing_out() {
    let site = Site::new(SITE).await;
    let builder = site.app.register_builtin_builder("test").await.unwrap();
    let bearer = format!("Bearer {}", builder.expose());
    let credentials = [("authorization", bearer.as_str()), JSON];
    let claim =
        json!({ "protocol": 2, "name": "b", "version": "1", "parallel": 1, "engine": { "state": "ready", "description": "x" }, "wait_seconds": 20 })
            .to_string();
    assert_eq!(site.get("/readyz", &[]).await.status, 200);
    let waiting = site.send(Method::POST, "/builder/v1/claim", &credentials, claim);
    let drain = async {
        // The claim is held open until the drain begins: its 20 s are far from over.
        tokio::task::yield_now().await;
        site.draining.cancel();
    };
    let (answer, ()) = tokio::time::timeout(std::time::Duration::from_secs(10), async { tokio::join!(waiting, drain) }).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(site.get("/readyz", &[]).await.status, 503);
    assert_eq!(site.get("/healthz", &[]).await.status, 200);
}

#[tokio::test]
async fn the_description_is_served() {
    let site = Site::new(SITE).await;
    let answer = site.get("/api/openapi.json", &[]).await;
    assert_eq!(String::from_utf8(answer.body).unwrap(), slipway_web::document());
}
