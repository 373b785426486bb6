//! The API under `/2.0`: who asks, which route, what it costs, and the headers that every answer has.
//! Invariant: one `match` names every route and one names the scopes that each needs; a route is a view of the state or a
//! change of it. Every request and every answer passes the `contract`.

mod filter;
mod hooks;
mod keys;
mod refs;
pub(crate) mod reply;
mod repos;
mod statuses;
mod users;
pub(crate) mod views;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::Value;

use self::reply::{ApiError, ApiResult, Query};
use super::Inner;
use super::access::Caller;
use super::contract::Place;
use super::state::{Folder, Repo, State};
use super::types::Permission;
use crate::provider::credentials::{Credentials, credentials};

const BODY_MAX_BYTES: usize = 1024 * 1024;
/// The window of the rate limit.
const HOUR_MS: i64 = 3600 * 1000;

/// A request that no documented path takes, as an extension of its answer.
#[derive(Clone)]
pub(super) struct UnknownPath;

/// One request with everything that a route needs.
struct Call {
    inner: Arc<Inner>,
    method: Method,
    query: Query,
    caller: Caller,
    body: Value,
    /// The address asked for, without the query: paging builds on it.
    url: String,
}

/// A repository that the caller may see, as routes pass it on.
struct Target {
    id: u64,
    folder: Folder,
}

/// Answers a request; the path begins with `/2.0`.
pub(super) async fn serve(inner: Arc<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_MAX_BYTES).await else {
        return render(Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Request entity too large")));
    };
    let path = parts.uri.path().strip_prefix("/2.0").unwrap_or_default().to_owned();
    let operation = match inner.contract.request(&parts, &path, &bytes) {
        Place::Known(operation) => operation,
        Place::Unknown => {
            let mut response = render(Err(ApiError::no_resource()));
            response.extensions_mut().insert(UnknownPath);
            return response;
        }
    };
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let found = credentials(&parts.headers);
    let kind = match &found {
        Credentials::None => None,
        Credentials::Token(_) => Some("oauth2"),
        Credentials::Basic(..) => Some("apitoken"),
    };
    let (result, caller) = answer(&inner, &parts, &path, &segments, &bytes, &found).await;
    if let Some(operation) = &operation {
        let (status, body) = match &result {
            Ok(reply) => (reply.status, reply.body.clone()),
            Err(error) => (error.status, Some(error.body())),
        };
        inner.contract.answer(operation, status.as_u16(), body.as_ref());
    }
    let mut response = render(result);
    if let (Some(kind), Some(caller)) = (kind, caller) {
        let scopes = caller.scopes().join(", ");
        let accepted = scopes_of(&parts.method, &segments).join(", ");
        for (name, value) in [("x-credential-type", kind), ("x-oauth-scopes", &scopes), ("x-accepted-oauth-scopes", &accepted)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
    response
}

/// The answer, and who asked if that was found out.
async fn answer(
    inner: &Arc<Inner>,
    parts: &Parts,
    path: &str,
    segments: &[&str],
    bytes: &[u8],
    found: &Credentials,
) -> (ApiResult, Option<Caller>) {
    let caller = match inner.state().caller(found) {
        Ok(caller) => caller,
        Err(error) => return (Err(error), None),
    };
    let body = match bytes {
        [] => Value::Null,
        bytes => match serde_json::from_slice(bytes) {
            Ok(body) => body,
            Err(_) => return (Err(ApiError::new(StatusCode::BAD_REQUEST, "Bad request")), Some(caller)),
        },
    };
    let url = format!("{}{path}", inner.urls().api());
    let query = Query::parse(parts.uri.query());
    let call = Call { inner: Arc::clone(inner), method: parts.method.clone(), query, caller, body, url };
    let result = match call.within_limit().and_then(|()| call.caller.require(scopes_of(&parts.method, segments))) {
        Ok(()) => call.route(segments).await,
        Err(error) => Err(error),
    };
    (result, Some(call.caller))
}

/// The scopes that a route needs, all of them; a test holds this against the description.
pub(super) fn scopes_of(method: &Method, segments: &[&str]) -> &'static [&'static str] {
    match segments {
        ["user", "workspaces", _, "permissions", "repositories"] => &["account", "repository"],
        ["user", "emails", ..] => &["email"],
        ["user", ..] | ["workspaces"] | ["workspaces", _, "members"] => &["account"],
        ["repositories", _, _, "hooks", ..] => &["webhook"],
        ["repositories", _, _, "deploy-keys", ..] => &["repository", "repository:admin"],
        ["repositories", ..] if *method == Method::GET || segments.contains(&"statuses") => &["repository"],
        ["repositories", ..] => &["repository:admin"],
        _ => &[],
    }
}

fn render(result: ApiResult) -> Response {
    let (status, body, headers) = match result {
        Ok(reply) => (reply.status, reply.body, reply.headers),
        Err(error) => (error.status, Some(error.body()), error.headers),
    };
    let (kind, text) = match body {
        Some(Value::String(text)) => ("text/plain", text),
        Some(body) => ("application/json; charset=utf-8", body.to_string()),
        None => ("", String::new()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    if !kind.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

impl Call {
    async fn route(&self, segments: &[&str]) -> ApiResult {
        match (&self.method, segments) {
            // "Cross-workspace" lists, taken away in 2026.
            (&Method::GET, ["workspaces"] | ["repositories"] | ["user", "permissions", "workspaces" | "repositories"]) => {
                Err(ApiError::gone())
            }
            (&Method::GET, ["user"]) => users::current(self),
            (&Method::GET, ["user", "workspaces"]) => users::workspaces(self),
            (&Method::GET, ["user", "workspaces", workspace, "permission"]) => users::workspace_permission(self, workspace),
            (&Method::GET, ["user", "workspaces", workspace, "permissions", "repositories"]) => users::permissions(self, workspace),
            (&Method::GET, ["workspaces", workspace]) => users::workspace(self, workspace),
            (&Method::GET, ["repositories", workspace]) => repos::of_workspace(self, workspace),
            (_, ["repositories", workspace, repo, rest @ ..]) => {
                let id = self.locate(workspace, repo, rest)?;
                self.repo_route(id, rest).await
            }
            _ => Err(self.not_served(segments)),
        }
    }

    async fn repo_route(&self, id: u64, rest: &[&str]) -> ApiResult {
        match (&self.method, rest) {
            (&Method::GET, []) => repos::one(self, id),
            (&Method::GET, ["refs"]) => refs::list(self, id, &["refs/heads/", "refs/tags/"]).await,
            (&Method::GET, ["pullrequests"]) => refs::pull_requests(self, id).await,
            (&Method::GET, ["pullrequests", number]) => refs::pull_request(self, id, number).await,
            (&Method::GET, ["refs", "branches"]) => refs::list(self, id, &["refs/heads/"]).await,
            (&Method::GET, ["refs", "tags"]) => refs::list(self, id, &["refs/tags/"]).await,
            (&Method::GET, ["refs", "branches", name @ ..]) => refs::one(self, id, "heads", &name.join("/")).await,
            (&Method::GET, ["refs", "tags", name @ ..]) => refs::one(self, id, "tags", &name.join("/")).await,
            (&Method::GET, ["commit", sha]) => refs::commit(self, id, sha).await,
            (&Method::GET, ["merge-base", both]) => refs::merge_base(self, id, both).await,
            (_, ["commit", sha, "statuses", rest @ ..]) => statuses::route(self, id, sha, rest).await,
            (_, ["hooks", rest @ ..]) => hooks::route(self, id, rest),
            (_, ["deploy-keys", rest @ ..]) => keys::route(self, id, rest),
            _ => Err(self.not_served(rest)),
        }
    }

    /// Documented, but not part of this fake: a hole that a test should hear of.
    fn not_served(&self, segments: &[&str]) -> ApiError {
        self.inner.contract.violated(format!("request {} {}: this fake does not serve it", self.method, segments.join("/")));
        ApiError::no_resource()
    }

    /// The number behind an address; a former name is a redirect where the knob says so.
    fn locate(&self, workspace: &str, repo: &str, rest: &[&str]) -> Result<u64, ApiError> {
        let state = self.inner.state();
        if let Some(found) = state.repo(workspace, repo) {
            return Ok(found.id);
        }
        let missing = || ApiError::no_repository(&format!("{workspace}/{repo}"));
        let found = state.moved(workspace, repo).ok_or_else(missing)?;
        state.check(found, &self.caller, Permission::Read).map_err(|_| missing())?;
        let tail: String = rest.iter().map(|segment| format!("/{}", views::encoded(segment))).collect();
        Err(ApiError::moved(format!("{}{tail}", self.inner.urls().repository_api(&state.full_name(found)))))
    }

    /// Checks a right and hands out what the route needs of the repository.
    fn target(&self, id: u64, need: Permission) -> Result<Target, ApiError> {
        let state = self.inner.state();
        let repo = state.repos.get(&id).ok_or_else(|| ApiError::no_repository("gone"))?;
        if need > Permission::Read {
            self.caller.signed_in()?;
        }
        state.check(repo, &self.caller, need)?;
        Ok(Target { id, folder: repo.folder.clone() })
    }

    /// Lets a closure look at the target and the whole state.
    fn look<T>(&self, target: &Target, look: impl FnOnce(&State, &Repo) -> T) -> Result<T, ApiError> {
        let state = self.inner.state();
        let repo = state.repos.get(&target.id).ok_or_else(|| ApiError::no_repository("gone"))?;
        Ok(look(&state, repo))
    }

    /// Lets a closure change the target.
    fn change<T>(&self, target: &Target, change: impl FnOnce(&mut Repo) -> T) -> Result<T, ApiError> {
        let mut state = self.inner.state();
        Ok(change(state.repos.get_mut(&target.id).ok_or_else(|| ApiError::no_repository("gone"))?))
    }

    /// A rolling hour for each person.
    fn within_limit(&self) -> Result<(), ApiError> {
        let mut state = self.inner.state();
        let now = state.now_ms();
        let Some(person) = self.caller.person().and_then(|uuid| state.people.get_mut(uuid)) else { return Ok(()) };
        while person.asked_ms.front().is_some_and(|at| *at <= now - HOUR_MS) {
            person.asked_ms.pop_front();
        }
        if person.asked_ms.len() < person.hourly_limit {
            person.asked_ms.push_back(now);
            return Ok(());
        }
        let oldest = person.asked_ms.front().copied().unwrap_or(now);
        // Rounded up: whoever waits as long as told is let in.
        let seconds = (oldest + HOUR_MS - now) / 1000 + 1;
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit for this resource has been exceeded");
        error.headers.push(("retry-after", seconds.to_string()));
        error.headers.push(("x-ratelimit-limit", person.hourly_limit.to_string()));
        Err(error)
    }
}

/// A text member of a body.
fn text(body: &Value, name: &str) -> Option<String> {
    body.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::openapi::{Description, Route};

    const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/openapi/bitbucket-cloud.swagger.v3.json");

    #[test]
    fn scopes_are_those_of_the_description() {
        let description = Description::read(Path::new(DESCRIPTION)).unwrap();
        let paths = [
            ("GET", "user"),
            ("GET", "user/workspaces"),
            ("GET", "user/workspaces/w/permission"),
            ("GET", "user/workspaces/w/permissions/repositories"),
            ("GET", "workspaces/w"),
            ("GET", "repositories/w"),
            ("GET", "repositories/w/r"),
            ("GET", "repositories/w/r/refs"),
            ("GET", "repositories/w/r/refs/branches"),
            ("GET", "repositories/w/r/refs/branches/a"),
            ("GET", "repositories/w/r/refs/tags/a"),
            ("GET", "repositories/w/r/commit/c"),
            ("GET", "repositories/w/r/merge-base/a..b"),
            ("GET", "repositories/w/r/commit/c/statuses"),
            ("POST", "repositories/w/r/commit/c/statuses/build"),
            ("GET", "repositories/w/r/hooks"),
            ("POST", "repositories/w/r/hooks"),
            ("PUT", "repositories/w/r/hooks/h"),
            ("DELETE", "repositories/w/r/hooks/h"),
            ("GET", "repositories/w/r/deploy-keys"),
            ("POST", "repositories/w/r/deploy-keys"),
            ("DELETE", "repositories/w/r/deploy-keys/1"),
        ];
        for (method, path) in paths {
            let Route::Known(operation) = description.route(method, path) else { panic!("{method} {path}") };
            let segments: Vec<&str> = path.split('/').collect();
            assert_eq!(scopes_of(&method.parse().unwrap(), &segments), description.scopes(&operation), "{method} {path}");
        }
    }
}
