//! The client of other registries (OCI distribution 1.1): sign in, look what is there, upload what is not.
//!
//! Invariants: every connection goes to addresses that [`slipway_forge::Egress`] looked at, encrypted unless the administrator named the
//! host; credentials go to the registry's own origin and to the place where it says that tokens are given out, never behind a redirect; a
//! layer is streamed, never held; what is answered is capped, and its words are made fit to be shown.
//! Deliberately elsewhere: what is sent and in which order (`registry`), what a failure means for the future (`app`).

mod answer;
mod connection;
mod sign_in;
mod trouble;
mod try_out;
mod upload;

use std::sync::Arc;

use http::Method;
use http::header::ACCEPT;
use secrecy::SecretString;
use slipway_forge::Egress;
use slipway_model::ExternalRepository;
use slipway_oci::{Digest, MAX_MANIFEST_BYTES, Reference};
use url::Url;

use answer::CONTENT_DIGEST;
use connection::{Ask, Connections};
use sign_in::SignIn;

pub use trouble::Trouble;
pub use upload::{Content, Source};

/// Who signs in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password, or an access token.
    pub password: SecretString,
}

/// Opens repositories of other registries.
#[derive(Clone, Debug)]
pub struct Distribution {
    egress: Arc<Egress>,
}

impl Distribution {
    /// A client that reaches what this one permits.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress: Arc::new(egress) }
    }

    /// Looks at the host's addresses and keeps to them; nothing is asked yet.
    ///
    /// # Errors
    /// [`Trouble`] when the host may not be reached or has no address.
    pub async fn open(&self, at: &ExternalRepository, credentials: Option<Credentials>) -> Result<Remote, Trouble> {
        let sign_in = SignIn::new(at.path(), credentials);
        let connections = Connections::open(Arc::clone(&self.egress), at.base(), sign_in.secrets()).await?;
        Ok(Remote { sign_in, connections, path: at.path().to_owned() })
    }
}

/// A repository of another registry, for as long as one thing is sent there.
pub struct Remote {
    connections: Connections,
    sign_in: SignIn,
    path: String,
}

impl Remote {
    fn url(&self, rest: &str) -> Url {
        let mut url = self.connections.base().clone();
        url.set_path(&format!("/v2/{}/{rest}", self.path));
        url
    }

    /// Whether the blob is there, with the length that it has here.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, Trouble> {
        let reply = self.ask(&Ask::new(Method::HEAD, self.url(&format!("blobs/{digest}")))).await?;
        match reply.status.as_u16() {
            200 => match reply.length() {
                Some(length) if length != size => Err(reply.unexpected(&format!("it has {length} bytes of `{digest}`, expected {size}"))),
                _ => Ok(true),
            },
            // Where its bytes lie is known, so it is there. The address is for whoever downloads.
            301 | 302 | 303 | 307 | 308 => Ok(true),
            404 => Ok(false),
            _ => Err(reply.unexpected("a layer was asked for")),
        }
    }

    /// The digest of the manifest of this name; `None` when there is none.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn manifest(&self, reference: &Reference, media_type: &str) -> Result<Option<Digest>, Trouble> {
        let mut ask = Ask::new(Method::HEAD, self.url(&format!("manifests/{reference}")));
        ask.set(ACCEPT, media_type);
        let reply = self.ask(&ask).await?;
        match reply.status.as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(reply.unexpected("a manifest was asked for")),
        }
        if let Some(digest) = reply.header(CONTENT_DIGEST).and_then(|text| text.parse().ok()) {
            return Ok(Some(digest));
        }
        // Old registries do not say it, so it is computed of what they give.
        ask.method = Method::GET;
        ask.most = MAX_MANIFEST_BYTES;
        let reply = self.ask(&ask).await?;
        match reply.status.as_u16() {
            200 => Ok(Some(Digest::sha256(&reply.body))),
            404 => Ok(None),
            _ => Err(reply.unexpected("a manifest was asked for")),
        }
    }

    /// Stores a manifest under this name. Everything that it needs is there.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn push_manifest(&self, reference: &Reference, media_type: &str, content: &[u8]) -> Result<(), Trouble> {
        let mut ask = Ask::new(Method::PUT, self.url(&format!("manifests/{reference}")));
        ask.set(http::header::CONTENT_TYPE, media_type);
        ask.body = Some(bytes::Bytes::copy_from_slice(content));
        let reply = self.ask(&ask).await?;
        match reply.status.as_u16() {
            200..=202 => Ok(()),
            _ => Err(reply.refused("the manifest was sent")),
        }
    }
}
