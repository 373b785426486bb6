//! A fake GitHub that behaves: accounts, OAuth, REST, webhooks and real git over HTTP on one loopback port.
//! Invariant: what it answers comes from its state, and what it sends comes from what happened there; tests change the
//! state (`script`) or bend it (`knobs`) and never stub an answer.
//! Deliberately absent: every type of the product. The fake is written from GitHub's documentation only.

mod access;
mod api;
mod app_events;
mod apps;
mod browser;
mod connections;
mod contract;
mod gates;
mod keys;
mod knobs;
mod moves;
mod oauth;
mod pages;
mod pulls;
mod push;
mod script;
mod settings;
mod smart_http;
mod state;
mod tokens;
mod trouble;
mod types;
mod webhooks;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

pub use crate::provider::sign_sha256;
pub use apps::{GitHubApp, NewGitHubApp, Selection};
pub use script::user_password;
pub use trouble::{Fault, Times};
pub use types::{
    AppAccess, Blocked, CommitStatus, ContentType, CredentialKind, Delivery, DeployKey, DeployKeyPolicy, File, Hook, KeyAccess, KeyMaker,
    OAuthApp, OrgRole, Permission, ReleaseOrder, RequestSeen, TokenLife, Visibility, Webhooks,
};
pub use webhooks::sign_sha1;

use crate::provider::{git, http_backend};
use api::views::Urls;
use state::State;

pub(crate) struct Inner {
    state: Mutex<State>,
    urls: Urls,
    folder: tempfile::TempDir,
    http: reqwest::Client,
    under_way: tokio::sync::watch::Sender<usize>,
    contract: OnceLock<contract::Contract>,
}

impl Inner {
    /// The data. Never held across an await: the guard is not `Send`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn urls(&self) -> &Urls {
        &self.urls
    }
}

/// A running fake GitHub. Clones are handles to the same one; the last handle takes the server down.
#[derive(Clone)]
pub struct FakeGitHub {
    inner: Arc<Inner>,
    _server: Arc<Server>,
}

struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeGitHub {
    /// Starts one on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one on a given address.
    pub async fn start_on(address: SocketAddr) -> Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(address).await.with_context(|| format!("the sample provider cannot listen on `{address}`"))?;
        let web = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(web.clone())),
            urls: Urls { api: format!("{web}/api/v3"), web },
            folder: tempfile::Builder::new().prefix("sample-provider-").tempdir()?,
            http: crate::http_client()?,
            under_way: tokio::sync::watch::Sender::new(0),
            contract: OnceLock::new(),
        });
        let app = router(Arc::clone(&inner));
        let server = tokio::spawn(connections::serve(listener, app));
        Ok(Self { inner, _server: Arc::new(Server(server)) })
    }

    /// Base of its web pages, OAuth and git, without a slash at the end: the provider's `web_url`.
    pub fn web_url(&self) -> &str {
        &self.inner.urls.web
    }

    /// Base of its REST API, without a slash at the end: the provider's `api_url`.
    pub fn api_url(&self) -> &str {
        &self.inner.urls.api
    }

    /// Waits until every webhook under way has been answered or given up; held ones do not count.
    pub async fn settle(&self) {
        let mut count = self.inner.under_way.subscribe();
        // The sender lives in `inner`, which this handle holds.
        count.wait_for(|count| *count == 0).await.ok();
    }
}

fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .merge(oauth::routes())
        .merge(pages::routes())
        .merge(settings::routes())
        .fallback(anything_else)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&inner), weather))
        .with_state(inner)
}

/// The REST API and git have addresses with slashes inside names, so they are told apart here, not by the router.
async fn anything_else(Extract(inner): Extract<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/api/v3" || path.starts_with("/api/v3/") {
        return api::serve(inner, request).await;
    }
    if let Some(git) = http_backend::parse(request.method(), &path) {
        return smart_http::serve(inner, git, request).await;
    }
    pages::serve(inner, request).await
}

/// Outages, slowness and faults, and the record of requests.
async fn weather(Extract(inner): Extract<Arc<Inner>>, request: Request, next: Next) -> Response {
    let (outage, latency, fault, mut seen, now_s) = {
        let mut state = inner.state();
        let fault = trouble::of(&mut state, &request);
        let uri = request.uri();
        let seen = RequestSeen {
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            credential: state.credential_kind(&access::credentials(request.headers())),
            status: 0,
        };
        (state.knobs.outage, state.knobs.latency, fault, seen, state.now_ms() / 1000)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let response = match (outage.map(StatusCode::from_u16), fault) {
        (Some(Ok(status)), _) => (status, Body::from("<html><body>Unicorn!</body></html>")).into_response(),
        (_, Some(fault)) => trouble::apply(fault, request, next, &inner.urls.api, now_s).await,
        _ => next.run(request).await,
    };
    if response.extensions().get::<trouble::Dropped>().is_none() {
        seen.status = response.status().as_u16();
    }
    inner.state().remember_request(seen);
    response
}
