//! Uploading a blob: one POST for the place, one PUT with all bytes (OCI distribution 1.1, "Single POST then PUT").
//!
//! Invariant: the bytes are streamed, and whoever sends them to a place outside of the registry's origin sends no credentials with them.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use slipway_oci::Digest;
use url::Url;

use crate::Remote;
use crate::answer::Reply;
use crate::connection::{Ask, MOST_OF_UPLOAD};
use crate::sign_in::Wanted;
use crate::trouble::Trouble;

/// An upload that moves nothing for so long is given up; also how long a registry may think about what it got.
const STALL: Duration = Duration::from_secs(120);
/// Places that an upload is sent on to.
const MAX_HOPS: usize = 3;

/// The bytes of a blob. With an error in them the upload fails, for that reason.
pub type Content = Pin<Box<dyn Stream<Item = Result<Bytes, Trouble>> + Send>>;

/// Opens a blob's bytes, from the first one on, as often as they have to be sent.
pub type Source<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<Content, Trouble>> + Send + Sync);

impl Remote {
    /// Begins an upload; gives its place.
    pub(crate) async fn begin_upload(&self) -> Result<Url, Trouble> {
        let reply = self.ask(&Ask::new(Method::POST, self.url("blobs/uploads/"))).await?;
        match reply.status {
            StatusCode::ACCEPTED => {}
            // A mirror of another registry.
            StatusCode::METHOD_NOT_ALLOWED => return Err(Trouble::Denied(reply.words())),
            _ => return Err(reply.refused("an upload was begun")),
        }
        self.place(self.connections.base(), &reply)
    }

    /// Where an answer says that the upload is. Names in the address would be sent as credentials.
    fn place(&self, from: &Url, reply: &Reply) -> Result<Url, Trouble> {
        let place = reply.header(LOCATION).and_then(|text| from.join(text).ok());
        place
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| reply.unexpected("it does not say where the upload is"))
    }

    /// Ends an upload that nothing was sent to. Not every registry can, and each forgets it some time.
    pub(crate) async fn cancel_upload(&self, place: Url) {
        if self.connections.is_own(&place) {
            self.ask(&Ask::new(Method::DELETE, place)).await.ok();
        }
    }

    /// Uploads a blob of this length.
    ///
    /// # Errors
    /// [`Trouble`]; [`Trouble::Ours`] when its bytes cannot be read.
    pub async fn push_blob<'a>(&self, digest: &Digest, size: u64, source: Source<'a>) -> Result<(), Trouble> {
        let mut place = self.begin_upload().await?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut signed_in = false;
        for _ in 0..=MAX_HOPS {
            let own = self.connections.is_own(&place);
            let authorization = if own { self.sign_in.header(&self.connections).await? } else { None };
            let reply = self.put(&place, authorization, size, source().await?).await?;
            match reply.status.as_u16() {
                200 | 201 | 204 => return Ok(()),
                307 | 308 => place = self.place(&place, &reply)?,
                401 if own && !signed_in => {
                    signed_in = true;
                    self.sign_in.answer(&self.connections, &reply, Wanted::Push).await?;
                }
                // The upload is no longer known, which a new one mends.
                404 | 416 => return Err(reply.busy()),
                _ => return Err(reply.checked()?.refused("a layer was sent")),
            }
        }
        Err(Trouble::Unexpected { status: 307, detail: format!("it sends an upload on more than {MAX_HOPS} times") })
    }

    async fn put(&self, place: &Url, authorization: Option<HeaderValue>, size: u64, content: Content) -> Result<Reply, Trouble> {
        let (moved, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let pieces = {
            let (moved, broken) = (Arc::clone(&moved), Arc::clone(&broken));
            content.map(move |piece| {
                let piece = piece.map_err(|trouble| {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
                    std::io::Error::other("the bytes cannot be read")
                })?;
                moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok::<_, std::io::Error>(piece)
            })
        };
        let mut request = self.connections.to(place).await?.put(place.clone()).header(CONTENT_LENGTH, size);
        request = request.header(CONTENT_TYPE, "application/octet-stream").body(reqwest::Body::wrap_stream(pieces));
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = self.connections.whole(request, MOST_OF_UPLOAD);
        tokio::pin!(sent);
        let mut seen = 0;
        let answer = loop {
            tokio::select! {
                answer = &mut sent => break answer,
                () = tokio::time::sleep(STALL) => {
                    let now = moved.load(Ordering::Relaxed);
                    if now == seen {
                        break Err(Trouble::Unreachable(format!("an upload did not move for {} seconds", STALL.as_secs())));
                    }
                    seen = now;
                }
            }
        };
        let ours = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        ours.map_or(answer, Err)
    }
}
