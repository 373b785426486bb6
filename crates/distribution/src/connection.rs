//! Connections: to the registry itself, to where it gives out tokens, and to where it has uploads sent.
//!
//! Invariant: each goes to addresses that were looked at a moment before, encrypted unless the administrator named the host. No redirect is
//! followed here, and no proxy, cookie or credential is added.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use slipway_forge::Egress;
use slipway_model::AddressRefused;
use url::{Host, Url};

use crate::answer::Reply;
use crate::trouble::{Trouble, unreachable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For everything but an upload, which takes as long as it moves.
const TIMEOUT: Duration = Duration::from_secs(30);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Errors, tokens and lists of one tag.
const MOST: usize = 64 * 1024;

/// A request with a small body, or none.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// Longest body of the answer.
    pub(crate) most: usize,
}

impl Ask {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, most: MOST }
    }

    /// A value that no header can hold is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

pub(crate) struct Connections {
    egress: Arc<Egress>,
    base: Url,
    own: reqwest::Client,
    /// What no words of an answer may repeat.
    secrets: Arc<[SecretString]>,
}

impl Connections {
    pub(crate) async fn open(egress: Arc<Egress>, base: Url, secrets: Arc<[SecretString]>) -> Result<Self, Trouble> {
        let own = bound(&egress, &base).await?;
        Ok(Self { egress, base, own, secrets })
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Whether an address is the registry's own, where credentials may go.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// A client for an address that the registry named.
    pub(crate) async fn to(&self, url: &Url) -> Result<reqwest::Client, Trouble> {
        if self.is_own(url) { Ok(self.own.clone()) } else { bound(&self.egress, url).await }
    }

    /// Sends one request and reads the whole answer.
    pub(crate) async fn send(&self, ask: &Ask, authorization: Option<&HeaderValue>) -> Result<Reply, Trouble> {
        let client = self.to(&ask.url).await?;
        let mut request = client.request(ask.method.clone(), ask.url.clone()).headers(ask.headers.clone());
        if let Some(value) = authorization {
            request = request.header(http::header::AUTHORIZATION, value);
        }
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        } else if ask.method == Method::POST {
            // Some proxies want to be told that nothing comes.
            request = request.header(http::header::CONTENT_LENGTH, 0);
        }
        match tokio::time::timeout(TIMEOUT, self.whole(request, ask.most)).await {
            Ok(reply) => reply,
            Err(_) => Err(Trouble::Unreachable(format!("no answer within {} seconds", TIMEOUT.as_secs()))),
        }
    }

    /// The answer to a request, with at most this much of body.
    pub(crate) async fn whole(&self, request: reqwest::RequestBuilder, most: usize) -> Result<Reply, Trouble> {
        let mut response = request.send().await.map_err(|error| unreachable(&error))?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + piece.len() > most {
                let detail = format!("the answer is longer than {most} bytes");
                return Err(Trouble::Unexpected { status: response.status().as_u16(), detail });
            }
            body.extend_from_slice(&piece);
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Reply { status: response.status(), headers, body: body.freeze(), secrets: Arc::clone(&self.secrets) })
    }
}

/// What an answer to an upload may say.
pub(crate) const MOST_OF_UPLOAD: usize = MOST;

/// A client that connects to nothing but the addresses that the host has now.
async fn bound(egress: &Egress, url: &Url) -> Result<reqwest::Client, Trouble> {
    let addresses = tokio::time::timeout(RESOLVE_TIMEOUT, egress.addresses(url))
        .await
        .map_err(|_| Trouble::Unreachable("its name could not be looked up in time".to_owned()))??;
    let host = url.host_str().unwrap_or_default();
    if url.scheme() == "http" && !addresses.iter().all(|address| egress.policy().names(host, address.ip())) {
        let shown: String = host.chars().take(100).collect();
        let why = format!("`http://{shown}` is not encrypted, and the administrator has not named that host");
        return Err(AddressRefused(why).into());
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was faster, and then there is one.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy();
    if let Some(Host::Domain(name)) = url.host() {
        builder = builder.resolve_to_addrs(name, &addresses);
    }
    builder.build().map_err(|error| unreachable(&error))
}
