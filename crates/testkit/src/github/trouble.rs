//! What goes wrong with single requests: told by a test for an address and a number of times, applied around the real
//! answer.
//! Invariant: a fault stands between the provider and its caller; except for `AnswerLost`, `Slow` and the two that bend a
//! true answer, the provider does nothing of what it was asked.
//! Deliberately elsewhere: switches for the whole provider (`knobs`), refusals that a rule makes (`access`, `gates`).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::FakeGitHub;
use super::state::State;

const BODY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How a request goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a page for people, as in an outage.
    Status(u16),
    /// The true answer, this much later.
    Slow(Duration),
    /// 200 with a page for people.
    Html,
    /// 200 with a body that tells of an error.
    ErrorBody,
    /// The true answer, cut in its middle.
    Truncated,
    /// The true first page for every page, with a `Link` to one more for ever.
    EndlessPages,
    /// A redirect to the same path at this base address: 301 for reads, 307 for writes.
    RedirectTo(String),
    /// Nothing for this long; then the connection is dropped.
    Silence(Duration),
    /// The hourly limit is used up: this status (403 or 429), nothing remaining, reset in an hour.
    RateLimited(u16),
    /// Too much at once: this status (403 or 429), with `Retry-After` in seconds when given.
    SecondaryLimit(u16, Option<u64>),
    /// The provider does what it is asked, and the connection is dropped before the answer.
    AnswerLost,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many requests.
    Next(u32),
    /// All of them, until `clear_troubles`.
    UntilCleared,
}

/// A fault that waits for its requests.
pub(crate) struct Trouble {
    method: Option<String>,
    prefix: String,
    fault: Fault,
    left: Option<u32>,
}

/// Marks a response whose connection is dropped in its place.
#[derive(Clone)]
pub(crate) struct Dropped;

impl State {
    fn next_fault(&mut self, method: &str, path: &str) -> Option<Fault> {
        let matches = |one: &Trouble| {
            one.left != Some(0) && path.starts_with(&one.prefix) && one.method.as_ref().is_none_or(|wanted| wanted == method)
        };
        let found = self.troubles.iter_mut().find(|one| matches(one))?;
        found.left = found.left.map(|left| left - 1);
        let fault = found.fault.clone();
        self.troubles.retain(|one| one.left != Some(0));
        Some(fault)
    }
}

impl FakeGitHub {
    /// Lets requests go wrong whose path begins with `at` (`/api/v3/user`), of one method when it stands before the path
    /// (`POST /login/oauth/access_token`). Faults told first come first.
    pub fn trouble(&self, at: &str, fault: Fault, times: Times) {
        let (method, prefix) = match at.split_once(' ') {
            Some((method, prefix)) => (Some(method.to_owned()), prefix.to_owned()),
            None => (None, at.to_owned()),
        };
        let left = match times {
            Times::Next(count) => Some(count),
            Times::UntilCleared => None,
        };
        self.inner.state().troubles.push(Trouble { method, prefix, fault, left });
    }

    /// Ends all faults.
    pub fn clear_troubles(&self) {
        self.inner.state().troubles.clear();
    }

    /// How many requests are still to go wrong; `None` when some fault has no end.
    pub fn troubles_left(&self) -> Option<u32> {
        self.inner.state().troubles.iter().map(|one| one.left).sum()
    }
}

/// The fault that a request meets, if any; it is used up by that.
pub(super) fn of(state: &mut State, request: &Request) -> Option<Fault> {
    state.next_fault(request.method().as_str(), request.uri().path())
}

fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(Dropped);
    response
}

fn json(status: u16, body: &serde_json::Value, headers: &[(HeaderName, String)]) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = (status, axum::Json(body.clone())).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}

fn over_the_limit(status: u16, now_s: i64) -> Response {
    let why = "API rate limit exceeded for user ID 1. If you reach out to GitHub Support for help, please include the request ID.";
    let body =
        serde_json::json!({ "message": why, "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api" });
    let header = |name: &'static str, value: String| (HeaderName::from_static(name), value);
    let headers = [
        header("x-ratelimit-limit", "5000".to_owned()),
        header("x-ratelimit-remaining", "0".to_owned()),
        header("x-ratelimit-used", "5000".to_owned()),
        header("x-ratelimit-reset", (now_s + 3600).to_string()),
        header("x-ratelimit-resource", "core".to_owned()),
    ];
    json(status, &body, &headers)
}

fn too_much_at_once(status: u16, retry_after: Option<u64>) -> Response {
    let why = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let body = serde_json::json!({
        "message": why,
        "documentation_url": "https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
    });
    let headers: Vec<_> = retry_after.map(|seconds| (RETRY_AFTER, seconds.to_string())).into_iter().collect();
    json(status, &body, &headers)
}

fn redirect(base: &str, request: &Request) -> Response {
    let tail = request.uri().path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    let status = if request.method().is_safe() { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    (status, [(LOCATION, format!("{}{tail}", base.trim_end_matches('/')))]).into_response()
}

/// Cuts a true answer in the middle; its length says the same, so that only the body gives it away.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, BODY_MAX_BYTES).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2)))
}

/// Asks for the first page whatever page was wanted, and promises one more.
async fn endless(mut request: Request, next: Next, api: &str) -> Response {
    let query: Vec<(String, String)> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let page = query.iter().find(|(name, _)| name == "page").and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(1);
    let kept = {
        let mut kept = form_urlencoded::Serializer::new(String::new());
        kept.extend_pairs(query.iter().filter(|(name, _)| !["page", "cursor"].contains(&name.as_str())));
        kept.finish()
    };
    let path = request.uri().path().to_owned();
    if let Ok(uri) = format!("{path}?{kept}").parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    let mut response = next.run(request).await;
    let more = if kept.is_empty() { String::new() } else { format!("{kept}&") };
    let link = format!("<{api}{}?{more}page={}>; rel=\"next\"", path.trim_start_matches("/api/v3"), page + 1);
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

/// Answers a request that meets a fault.
pub(super) async fn apply(fault: Fault, request: Request, next: Next, api: &str, now_s: i64) -> Response {
    const PAGE: &str = "<!doctype html><html><body><h1>Unicorn!</h1></body></html>";
    let html = |status: StatusCode| (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response();
    match fault {
        Fault::Status(status) => html(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)),
        Fault::Html => html(StatusCode::OK),
        Fault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Fault::ErrorBody => {
            let body = serde_json::json!({ "message": "Server Error", "error": "server_error", "error_description": "Server Error" });
            json(200, &body, &[])
        }
        Fault::Truncated => cut(next.run(request).await).await,
        Fault::EndlessPages => endless(request, next, api).await,
        Fault::RedirectTo(base) => redirect(&base, &request),
        Fault::Silence(delay) => {
            tokio::time::sleep(delay).await;
            dropped()
        }
        Fault::RateLimited(status) => over_the_limit(status, now_s),
        Fault::SecondaryLimit(status, retry_after) => too_much_at_once(status, retry_after),
        Fault::AnswerLost => {
            next.run(request).await;
            dropped()
        }
    }
}
