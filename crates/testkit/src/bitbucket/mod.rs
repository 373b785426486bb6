//! A fake Bitbucket Cloud that behaves: people, workspaces, OAuth with rotating refresh tokens, API, webhooks and real git
//! over HTTP, on one loopback port that is `bitbucket.org` and `api.bitbucket.org` at once.
//! Invariant: what it answers comes from its state, and what it sends comes from what happened there; tests change the
//! state (`script`, `pushes`) or bend it (`knobs`) and never stub an answer. The `contract` holds every request and every
//! answer of the API against Bitbucket's own description.
//! Deliberately absent: every type of the product, git over SSH, what Bitbucket took away (PKCE was never there).

mod access;
mod api;
mod browser;
mod contract;
mod knobs;
mod oauth;
mod pages;
mod payloads;
mod pushes;
mod script;
mod smart_http;
mod state;
mod types;
mod webhooks;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::middleware::Next;
use axum::response::Response;

pub use crate::provider::sign_sha256;
pub use script::user_password;
pub use types::{
    BuildStatus, Consumer, Delivery, DeployKey, Fault, File, Hits, Hook, HookAddresses, OldNames, Permission, PullRequestEnd, ReleaseOrder,
    RequestSeen, Visibility, Webhooks, WorkspaceRole,
};

use crate::provider::{faults, git, http_backend};
use api::views::Urls;
use contract::Contract;
use state::{Folder, State};

pub(crate) struct Inner {
    state: Mutex<State>,
    contract: Contract,
    urls: Urls,
    folder: tempfile::TempDir,
    http: reqwest::Client,
    under_way: tokio::sync::watch::Sender<usize>,
}

impl Inner {
    /// The data. Never held across an await: the guard is not `Send`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn urls(&self) -> &Urls {
        &self.urls
    }

    /// A repository's git data, made now if nobody needed it before.
    async fn ready<'a>(&self, folder: &'a Folder) -> Result<&'a Path> {
        folder.made.get_or_try_init(|| git::init(&folder.path, &folder.main_branch)).await?;
        Ok(&folder.path)
    }
}

/// A running fake Bitbucket. Clones are handles to the same one; the last handle takes the server down.
#[derive(Clone)]
pub struct FakeBitbucket {
    inner: Arc<Inner>,
    _server: Arc<Server>,
}

struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeBitbucket {
    /// Starts one on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one on a given address.
    pub async fn start_on(address: SocketAddr) -> Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(address).await.with_context(|| format!("the fake Bitbucket cannot listen on `{address}`"))?;
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new()),
            contract: Contract::read(),
            urls: Urls { web: format!("http://{}", listener.local_addr()?) },
            folder: tempfile::Builder::new().prefix("sample-provider-").tempdir()?,
            http: crate::http_client()?,
            under_way: tokio::sync::watch::Sender::new(0),
        });
        let app = router(Arc::clone(&inner));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the fake Bitbucket stopped");
            }
        });
        Ok(Self { inner, _server: Arc::new(Server(server)) })
    }

    /// Base of web pages, OAuth and git, without a slash at the end: what `https://bitbucket.org` is.
    pub fn web_url(&self) -> &str {
        &self.inner.urls.web
    }

    /// Base of the API without `/2.0`, without a slash at the end: what `https://api.bitbucket.org` is.
    pub fn api_url(&self) -> &str {
        &self.inner.urls.web
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
        .fallback(anything_else)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&inner), weather))
        .with_state(inner)
}

/// The API and git have addresses with slashes inside names, so they are told apart here, not by the router.
async fn anything_else(Extract(inner): Extract<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/2.0" || path.starts_with("/2.0/") {
        return api::serve(inner, request).await;
    }
    if let Some(git) = http_backend::parse(request.method(), &path) {
        return smart_http::serve(inner, git, request).await;
    }
    pages::not_found()
}

/// Faults on purpose, slowness, and the record of requests.
async fn weather(Extract(inner): Extract<Arc<Inner>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (fault, latency) = {
        let mut state = inner.state();
        let outage = state.knobs.outage.map(Fault::Outage);
        (outage.or_else(|| state.knobs.faults.draw(&path)), state.knobs.latency)
    };
    let credentials = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut seen = RequestSeen {
        method: request.method().to_string(),
        path,
        query: request.uri().query().unwrap_or_default().to_owned(),
        status: 0,
        credentials: credentials.split(' ').next().unwrap_or_default().to_owned(),
        unknown: false,
    };
    if fault == Some(Fault::Silence) {
        // It is never answered, so it is recorded when it comes.
        inner.state().remember_request(seen.clone());
    }
    if latency > Duration::ZERO {
        tokio::time::sleep(latency).await;
    }
    let response = match fault {
        Some(fault) => faults::answer(fault, request, next).await,
        None => next.run(request).await,
    };
    seen.status = response.status().as_u16();
    seen.unknown = response.extensions().get::<api::UnknownPath>().is_some();
    inner.state().remember_request(seen);
    response
}
