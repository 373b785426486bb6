//! The one client for addresses that users, or the answers of providers, give us.
//!
//! Invariant: a name is resolved once per hop, every address that it has is checked, and the connection goes to exactly these. No
//! credential, cookie or proxy is ever involved. What is fetched is capped in size, time and hops.
//! Deliberately elsewhere: requests to the configured providers (`http_client`): their hosts are the administrator's word.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, LOCATION};
use http::{HeaderValue, StatusCode};
use url::{Host, Url};

pub use slipway_model::{AddressRefused, EgressPolicy};

use crate::error::ForgeError;
use crate::http_client::{client_builder, describe};
use crate::types::Picture;

const MAX_PICTURE: usize = 256 * 1024;
const MAX_REDIRECTS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// All of them, in the order of preference.
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Why nothing came of a fetch.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EgressError {
    /// It leads where nobody may send us.
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    /// No answer.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// An answer that is not what was asked for.
    #[error("it answered {status}: {detail}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// What was wrong.
        detail: String,
    },
}

impl From<EgressError> for ForgeError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Refused(refused) => Self::Misconfigured { detail: refused.to_string() },
            EgressError::Unreachable(detail) => Self::Unreachable { detail },
            EgressError::Unexpected { status, detail } => Self::Unexpected { status, detail },
        }
    }
}

/// The client.
#[derive(Clone)]
pub struct Egress {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn Resolver>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self::new(EgressPolicy::public_only())
    }
}

impl Egress {
    /// A client that asks the machine's resolver.
    #[must_use]
    pub fn new(policy: EgressPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// A client that asks this resolver.
    #[must_use]
    pub fn with_resolver(policy: EgressPolicy, resolver: Arc<dyn Resolver>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    /// What it was told to allow.
    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// A small picture. The origin `own` (the provider's, by the configuration) is allowed wherever it is.
    ///
    /// # Errors
    /// [`EgressError`]; what is no picture by its first bytes is one of them.
    pub async fn picture(&self, url: &Url, own: &Url) -> Result<Picture, EgressError> {
        let content = tokio::time::timeout(TIMEOUT, self.fetch(url, own, MAX_PICTURE))
            .await
            .map_err(|_| EgressError::Unreachable(format!("no answer within {} seconds", TIMEOUT.as_secs())))??;
        match picture_type(&content) {
            Some(media_type) => Ok(Picture { media_type, content }),
            None => Err(EgressError::Unexpected { status: 200, detail: "this is no picture in PNG, JPEG, GIF or WebP".to_owned() }),
        }
    }

    async fn fetch(&self, url: &Url, own: &Url, max: usize) -> Result<Bytes, EgressError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut response = self.get(&url, own).await?;
            let status = response.status();
            if status.is_redirection() {
                let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|text| url.join(text).ok());
                url = target.ok_or_else(|| unexpected(status, "it redirects without a usable address"))?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(unexpected(status, "expected 200"));
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| EgressError::Unreachable(describe(&error)))? {
                if body.len() + chunk.len() > max {
                    return Err(unexpected(status, &format!("it is longer than {max} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            return Ok(body.freeze());
        }
        Err(EgressError::Unexpected { status: 302, detail: format!("more than {MAX_REDIRECTS} redirects in a row") })
    }

    /// One request, to addresses that were checked. The client is made for it alone, so no other connection is used.
    async fn get(&self, url: &Url, own: &Url) -> Result<reqwest::Response, EgressError> {
        let mut builder = client_builder(TIMEOUT).no_proxy();
        if url.origin() != own.origin() {
            let addresses = self.addresses(url).await?;
            if let Some(Host::Domain(name)) = url.host() {
                builder = builder.resolve_to_addrs(name, &addresses);
            }
        }
        let client = builder.build().map_err(|error| EgressError::Unreachable(describe(&error)))?;
        let request = client.get(url.clone()).header(ACCEPT, HeaderValue::from_static("image/*"));
        request.send().await.map_err(|error| EgressError::Unreachable(describe(&error)))
    }

    /// Where a connection for this address may go to, after the check of each.
    ///
    /// # Errors
    /// [`EgressError::Refused`] when it is no plain `http` or `https` address, or when one of its addresses may not be reached: who gives
    /// a name both addresses wants to be asked twice.
    pub async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, EgressError> {
        let refuse = |why: &str| Err(AddressRefused(format!("the address {why}")).into());
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("is neither `http` nor `https`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("has a user name or password in it");
        }
        self.policy.check_host(url)?;
        let port = url.port_or_known_default().unwrap_or(443);
        let name = match url.host() {
            Some(Host::Domain(name)) => name,
            Some(Host::Ipv4(address)) => return Ok(vec![SocketAddr::new(address.into(), port)]),
            Some(Host::Ipv6(address)) => return Ok(vec![SocketAddr::new(address.into(), port)]),
            None => return refuse("has no host"),
        };
        let found =
            self.resolver.resolve(name).await.map_err(|error| EgressError::Unreachable(crate::text::line(&error.to_string(), 200)))?;
        if found.is_empty() {
            return Err(EgressError::Unreachable("its name has no address".to_owned()));
        }
        if found.iter().any(|address| !self.policy.permits(name.trim_end_matches('.'), *address)) {
            return Err(AddressRefused::host(url).into());
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

fn unexpected(status: StatusCode, detail: &str) -> EgressError {
    EgressError::Unexpected { status: status.as_u16(), detail: detail.to_owned() }
}

/// What a picture is by its first bytes.
fn picture_type(content: &[u8]) -> Option<&'static str> {
    match content {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
