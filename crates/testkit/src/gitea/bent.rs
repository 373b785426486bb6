//! What stands between the product and the real Gitea, so that a test can let the provider go wrong: it keeps every request and passes
//! it on, unless a fault is in its way.
//! Invariant: without a fault the answer is Gitea's own. Deliberately elsewhere: what a fault answers (`provider::faults`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::provider::credentials::{Credentials, credentials};
use crate::provider::faults::{self, Faults};
pub use crate::provider::faults::{Fault, Hits};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `GET` and so on.
    pub method: String,
    /// As on the wire, percent-encoded.
    pub path: String,
    /// Its parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; bytes that are no text are replaced.
    pub body: String,
}

impl Recorded {
    /// Reads a request to its end; gives what to keep of it, and the same request again.
    pub async fn of(request: Request) -> Result<(Self, Request)> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await?;
        let recorded = Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
            headers: parts.headers.clone(),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        Ok((recorded, Request::from_parts(parts, Body::from(body))))
    }

    /// A header's value, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// `GET /api/v1/user`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The token or password that it shows.
    fn secret(&self) -> Option<String> {
        match credentials(&self.headers) {
            Credentials::Token(value) | Credentials::Basic(_, value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// As `secret`, but not our application's own.
    fn token(&self) -> Option<String> {
        if self.path.starts_with("/login/oauth/") { None } else { self.secret() }
    }
}

/// A Gitea that can be bent, at an address of its own. Dropped, nothing listens there any more.
#[derive(Debug)]
pub struct Bent {
    origin: String,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    server: String,
    http: reqwest::Client,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    requests: Vec<Recorded>,
    /// Tokens that are not good any more.
    ended: BTreeSet<String>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bent {
    /// Before the server at this origin.
    pub async fn before(server: &str) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Inner { server: server.to_owned(), http: crate::http_client()?, state: Mutex::default() });
        let app = Router::new()
            .fallback(forward)
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&inner), weather))
            .with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "what stands before Gitea stopped");
            }
        });
        Ok(Self { origin, inner, server })
    }

    /// Its own address, without a slash at the end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Puts a fault on requests whose path begins with `prefix`, as on the wire.
    pub fn add_fault(&self, prefix: &str, fault: Fault, hits: Hits) {
        self.inner.state().faults.add(prefix, fault, hits);
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.inner.state().faults.clear();
    }

    /// Every access token that was shown so far is refused from now on, as one is whose life is over.
    pub fn end_tokens(&self) {
        let mut state = self.inner.state();
        let shown: Vec<String> = state.requests.iter().filter_map(Recorded::token).collect();
        state.ended.extend(shown);
    }

    /// What arrived so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.state().requests.clone()
    }

    /// Every token and password that was shown so far.
    pub fn secrets(&self) -> BTreeSet<String> {
        self.inner.state().requests.iter().filter_map(Recorded::secret).collect()
    }
}

impl Drop for Bent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Keeps the request, and lets the fault or the end of its token answer.
async fn weather(Extract(inner): Extract<Arc<Inner>>, request: Request, next: Next) -> Response {
    let Ok((recorded, request)) = Recorded::of(request).await else { return StatusCode::BAD_REQUEST.into_response() };
    let (fault, ended) = {
        let mut state = inner.state();
        let fault = state.faults.draw(&recorded.path);
        let ended = recorded.token().is_some_and(|secret| state.ended.contains(&secret));
        state.requests.push(recorded);
        (fault, ended)
    };
    match fault {
        Some(fault) => faults::answer(fault, request, next).await,
        None if ended => (StatusCode::UNAUTHORIZED, axum::Json(json!({ "message": "token is expired" }))).into_response(),
        None => next.run(request).await,
    }
}

async fn forward(Extract(inner): Extract<Arc<Inner>>, request: Request) -> Response {
    match pass_on(&inner, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn pass_on(inner: &Inner, request: Request) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let tail = parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    let url = format!("{}{tail}", inner.server);
    // They are of this connection and not of the message.
    for name in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let body = axum::body::to_bytes(body, usize::MAX).await?;
    let reply = inner.http.request(parts.method, url).headers(parts.headers).body(body).send().await?;
    let (status, mut headers) = (reply.status(), reply.headers().clone());
    for name in [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let mut response = Response::new(Body::from(reply.bytes().await?));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}
