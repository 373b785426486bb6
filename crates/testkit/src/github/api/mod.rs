//! The REST API: who asks, which route, what it costs, and the headers that every answer has.
//! Invariant: one `match` names every route; each is a view of the state or a change of it.
//! Source of names and shapes: GitHub's OpenAPI description; a test holds the bodies against it.

mod app_views;
mod applications;
mod apps;
mod hooks;
mod keys;
mod refs;
pub(crate) mod reply;
mod repos;
mod statuses;
mod users;
pub(crate) mod views;

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::reply::{ApiError, ApiResult, Query, Reply};
use super::Inner;
use super::access::{Caller, Need, credentials};
use super::git::RefValue;
use super::state::State;

const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Requests an hour without a token.
const ANONYMOUS_LIMIT: u64 = 60;

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// One request with everything that a route needs.
struct Call {
    inner: Arc<Inner>,
    parts: Parts,
    query: Query,
    caller: Caller,
    raw: Bytes,
    body: Value,
    /// The address asked for, without the query: paging builds on it.
    url: String,
}

/// A repository that the caller may see, as routes pass it on.
struct Target {
    id: u64,
    full_name: String,
    folder: PathBuf,
    refs: Arc<Vec<RefValue>>,
}

pub(super) async fn serve(inner: Arc<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/api/v3").unwrap_or_default().to_owned();
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let url = format!("{}{path}", inner.urls().api);
    let query = Query::parse(parts.uri.query());
    let mut call = Call { query, inner, parts, caller: Caller::Anonymous, raw: Bytes::new(), body: Value::Null, url };
    let result = call.answer(&segments, body).await;
    let mut response = render(result, &call.parts);
    // Only answers that carry something new count.
    if response.status() != StatusCode::NOT_MODIFIED && segments != ["rate_limit"] {
        call.count();
    }
    call.add_headers(&mut response, accepted_scopes(&segments));
    call.judged(&path, response).await
}

/// The scopes that would do for a route, any one of them (`X-Accepted-OAuth-Scopes`).
fn accepted_scopes(segments: &[&str]) -> &'static str {
    match segments {
        ["user", "orgs"] => "admin:org, read:org, repo, user, write:org",
        ["user", "memberships", ..] => "admin:org, read:org, write:org",
        ["repos", _, _, "hooks", ..] | ["repositories", _, "hooks", ..] => {
            "admin:repo_hook, public_repo, read:repo_hook, repo, write:repo_hook"
        }
        ["repos", _, _, "statuses", ..] => "repo, repo:status",
        ["user", "emails"] => "user, user:email",
        ["user", "repos"] | ["repos", ..] | ["repositories", ..] => "repo",
        _ => "",
    }
}

fn render(result: ApiResult, parts: &Parts) -> Response {
    let (status, body, headers) = match result {
        Ok(reply) => (reply.status, reply.body, reply.headers),
        Err(error) => (error.status, Some(error.body()), error.headers),
    };
    // A text body is what `Accept: application/vnd.github.sha` asks for.
    let (kind, text) = match body {
        Some(Value::String(text)) => ("application/vnd.github.sha; charset=utf-8", text),
        Some(body) => ("application/json; charset=utf-8", body.to_string()),
        None => ("", String::new()),
    };
    let etag = format!("W/\"{}\"", sha256_hex(text.as_bytes()));
    let cacheable = parts.method == Method::GET && status == StatusCode::OK;
    let known = parts.headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    if cacheable && let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, value);
    }
    if cacheable && known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    if !kind.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        *response.body_mut() = Body::from(text);
    }
    response
}

impl Call {
    /// Reads the request, finds out who asks, and answers.
    async fn answer(&mut self, segments: &[&str], body: Body) -> ApiResult {
        let too_large = |_| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large");
        let bytes = axum::body::to_bytes(body, BODY_MAX_BYTES).await.map_err(too_large)?;
        self.raw = bytes.clone();
        // These are asked with the app's own credentials, not with a token.
        if let ["applications", client_id, what] = segments {
            return applications::route(&self.inner, &self.parts, client_id, what, &bytes);
        }
        if !bytes.is_empty() {
            let unreadable = |_| ApiError::new(StatusCode::BAD_REQUEST, "Problems parsing JSON");
            self.body = serde_json::from_slice(&bytes).map_err(unreadable)?;
        }
        let caller = self.inner.state().caller(&credentials(&self.parts.headers))?;
        self.caller = caller;
        self.within_rate_limit()?;
        self.route(segments).await
    }

    /// Holds the exchange against GitHub's description, where a test wants that.
    async fn judged(&self, path: &str, response: Response) -> Response {
        let Some(contract) = self.inner.contract.get() else { return response };
        let (parts, body) = response.into_parts();
        let answer = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        contract.judge(&self.parts, path, &self.raw, parts.status.as_u16(), &answer);
        Response::from_parts(parts, Body::from(answer))
    }

    async fn route(&self, segments: &[&str]) -> ApiResult {
        let method = &self.parts.method;
        match (method, segments) {
            (&Method::GET, ["user"]) => users::current(self),
            (&Method::GET, ["user", "emails"]) => users::emails(self),
            (&Method::GET, ["user", "orgs"]) => users::organizations(self),
            (&Method::GET, ["user", "memberships", "orgs"]) => users::memberships(self),
            (&Method::GET, ["user", "memberships", "orgs", name]) => users::membership(self, name),
            (&Method::GET, ["user", "repos"]) => repos::of_caller(self),
            (&Method::GET, ["users", login]) => users::by_login(self, login),
            (&Method::GET, ["users" | "orgs", login, "repos"]) => repos::of_account(self, login),
            (&Method::GET, ["rate_limit"]) => Ok(self.rate_limit()),
            (_, ["app", rest @ ..]) => apps::as_app(self, rest),
            (_, ["installation", rest @ ..]) => apps::as_installation(self, rest),
            (&Method::GET, ["user", "installations", rest @ ..]) => apps::as_user(self, rest),
            (&Method::GET, ["users" | "orgs", login, "installation"]) => apps::of_account(self, login),
            (_, ["repos", owner, name, rest @ ..]) => {
                let id = self.locate(owner, name, rest)?;
                self.repo_route(id, rest).await
            }
            (_, ["repositories", id, rest @ ..]) => {
                let id = id.parse().map_err(|_| ApiError::not_found())?;
                self.repo_route(id, rest).await
            }
            _ => Err(ApiError::not_found()),
        }
    }

    /// The id behind a name; a former name is a redirect to the id's address.
    fn locate(&self, owner: &str, name: &str, rest: &[&str]) -> Result<u64, ApiError> {
        let state = self.inner.state();
        if let Some(repo) = state.repo(owner, name) {
            return Ok(repo.id);
        }
        let id = state.repo_id_by_any_name(owner, name).ok_or_else(ApiError::not_found)?;
        let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
        state.check(repo, &self.caller, Need::Read)?;
        let status = match self.parts.method {
            Method::GET => StatusCode::MOVED_PERMANENTLY,
            _ => StatusCode::TEMPORARY_REDIRECT,
        };
        let tail: String = rest.iter().map(|segment| format!("/{segment}")).collect();
        let query = self.parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        Err(ApiError::moved(status, format!("{}/repositories/{id}{tail}{query}", self.inner.urls().api)))
    }

    /// Checks a right and hands out what the route needs of the repository.
    fn target(&self, id: u64, need: Need) -> Result<Target, ApiError> {
        let state = self.inner.state();
        let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
        state.check(repo, &self.caller, need)?;
        let (full_name, folder) = (state.full_name(repo), repo.git.readable().to_owned());
        Ok(Target { id, full_name, folder, refs: Arc::clone(&repo.refs) })
    }

    async fn repo_route(&self, id: u64, rest: &[&str]) -> ApiResult {
        let method = &self.parts.method;
        match (method, rest) {
            (&Method::GET, []) => repos::one(self, id),
            (&Method::GET, ["branches"]) => refs::branches(self, id),
            (&Method::GET, ["branches", name @ ..]) => refs::branch(self, id, &name.join("/")).await,
            (&Method::GET, ["tags"]) => refs::tags(self, id),
            (&Method::GET, ["git", "matching-refs", name @ ..]) => refs::matching(self, id, &name.join("/")),
            (&Method::GET, ["git", "ref", name @ ..]) => refs::one(self, id, &name.join("/")),
            (&Method::GET, ["commits", name @ .., "status"]) => statuses::combined(self, id, &name.join("/")).await,
            (&Method::GET, ["commits", name @ .., "statuses"]) => statuses::list(self, id, &name.join("/")).await,
            (&Method::GET, ["commits", name @ ..]) if !name.is_empty() => refs::commit(self, id, &name.join("/")).await,
            (&Method::GET, ["pulls"]) => refs::pulls(self, id),
            (&Method::GET, ["pulls", number]) => refs::pull(self, id, number),
            (&Method::GET, ["compare", between]) => refs::compare(self, id, between).await,
            (&Method::POST, ["statuses", sha]) => statuses::create(self, id, sha).await,
            (_, ["hooks", hook @ ..]) => hooks::route(self, id, hook),
            (_, ["keys", key @ ..]) => keys::route(self, id, key),
            (&Method::GET, ["installation"]) => apps::of_repository(self, id),
            _ => Err(ApiError::not_found()),
        }
    }

    /// Whether a person asks through a GitHub App, which has no scopes.
    fn is_github_app(&self) -> bool {
        self.caller.app().is_some_and(|app| self.inner.state().is_github_app(app))
    }

    fn signed_in(&self) -> Result<u64, ApiError> {
        self.caller.user().ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Requires authentication"))
    }

    /// Limit, used and reset of whoever asks.
    fn rate(&self, state: &mut State) -> (u64, u64, i64) {
        let reset = state.now_ms() / 1000 + 3600;
        let anonymous = (ANONYMOUS_LIMIT, 0, reset);
        state.rate_mut(&self.caller).map_or(anonymous, |rate| (rate.limit, rate.used, if rate.reset_s == 0 { reset } else { rate.reset_s }))
    }

    fn within_rate_limit(&self) -> Result<(), ApiError> {
        let mut state = self.inner.state();
        let now_s = state.now_ms() / 1000;
        let Some(rate) = state.rate_mut(&self.caller) else { return Ok(()) };
        if rate.reset_s <= now_s {
            rate.used = 0;
            rate.reset_s = now_s + 3600;
        }
        if rate.used < rate.limit {
            return Ok(());
        }
        let whose = match &self.caller {
            Caller::Installation(token) => format!("installation ID {}", token.installation),
            caller => format!("user ID {}", caller.user().unwrap_or_default()),
        };
        Err(ApiError::new(StatusCode::FORBIDDEN, format!("API rate limit exceeded for {whose}.")))
    }

    fn count(&self) {
        if let Some(rate) = self.inner.state().rate_mut(&self.caller) {
            rate.used = (rate.used + 1).min(rate.limit);
        }
    }

    fn rate_limit(&self) -> Reply {
        let (limit, used, reset) = self.rate(&mut self.inner.state());
        let rate = serde_json::json!({ "limit": limit, "used": used, "remaining": limit - used, "reset": reset });
        let resources = serde_json::json!({ "core": rate, "search": rate });
        Reply::ok(serde_json::json!({ "resources": resources, "rate": rate }))
    }

    fn add_headers(&self, response: &mut Response, accepted: &'static str) {
        let (limit, used, reset) = self.rate(&mut self.inner.state());
        let mut pairs = vec![
            ("x-ratelimit-limit", limit.to_string()),
            ("x-ratelimit-remaining", (limit - used).to_string()),
            ("x-ratelimit-used", used.to_string()),
            ("x-ratelimit-reset", reset.to_string()),
            ("x-ratelimit-resource", "core".to_owned()),
            ("x-github-media-type", "github.v3; format=json".to_owned()),
            ("x-github-api-version-selected", "2022-11-28".to_owned()),
            ("x-github-request-id", uuid::Uuid::new_v4().simple().to_string()),
        ];
        if self.caller.user().is_some() {
            pairs.push(("x-oauth-scopes", self.caller.scopes().join(", ")));
            pairs.push(("x-accepted-oauth-scopes", accepted.to_owned()));
        }
        if let (Some(app), Some(_)) = (self.caller.app(), self.caller.user()) {
            pairs.push(("x-oauth-client-id", app.to_owned()));
        }
        for (name, value) in pairs {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
}
