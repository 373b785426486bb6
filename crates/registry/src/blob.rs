//! Reading, linking and unlinking blobs. A blob is looked up through its link to the repository, never by digest alone.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use slipway_blobs::{BlobError, BlobKey, Content};
use slipway_model::RepositoryId;
use slipway_oci::{Digest, ErrorCode, Fetch, Selected, parse_range};
use slipway_store::images::{self, Removal};

use crate::access::Permit;
use crate::failure::Failure;
use crate::{CONTENT_DIGEST, Registry, answer, set};

/// A blob that a repository shows.
pub(crate) struct Found {
    pub(crate) key: BlobKey,
    pub(crate) size: u64,
}

impl Registry {
    /// The current copy of a blob of this repository.
    pub(crate) async fn find_blob(&self, repository: RepositoryId, digest: &Digest) -> Result<Option<Found>, Failure> {
        let mut tx = self.app.db().read().await?;
        let Some(blob) = images::get_blob(&mut tx, repository, digest.as_str()).await? else { return Ok(None) };
        let generation = blob.generation.parse().map_err(|error| Failure::unavailable("a blob's row cannot be read", &error))?;
        Ok(Some(Found { key: BlobKey { digest: digest.clone(), generation }, size: blob.size }))
    }

    pub(crate) async fn read_blob(
        &self,
        permit: &Permit,
        digest: &Digest,
        fetch: Fetch,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let unknown = || Failure::blob_unknown(digest);
        let mut found = self.find_blob(permit.repository(), digest).await?.ok_or_else(unknown)?;
        if fetch == Fetch::Head {
            // A client that hears 200 does not push, so a copy that is gone must not be promised.
            if !self.blobs.present(&found.key, found.size).await? {
                return Err(BlobError::Missing(digest.clone()).into());
            }
            return Ok(blob_answer(StatusCode::OK, digest, found.size, Body::empty()));
        }
        let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
        let part = match range.map(|range| range.select(found.size)) {
            None => None,
            Some(Selected::Part(first, count)) => Some((first, count)),
            Some(Selected::Unsatisfiable) => {
                return Err(Failure::new(ErrorCode::SizeInvalid, format!("the blob has {} bytes, the range lies outside", found.size))
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(header::CONTENT_RANGE, format!("bytes */{}", found.size)));
            }
        };
        let content = match self.blobs.read(&found.key, found.size, part).await {
            // Somebody pushed the same digest between the look at the row and the look at the disk; the row has the new copy.
            Err(BlobError::Missing(_)) => {
                found = self.find_blob(permit.repository(), digest).await?.ok_or_else(unknown)?;
                self.blobs.read(&found.key, found.size, part).await?
            }
            other => other?,
        };
        let body = match content {
            Content::Small(bytes) => Body::from(bytes),
            Content::Large(pieces) => Body::from_stream(pieces),
        };
        let Some((first, count)) = part else { return Ok(blob_answer(StatusCode::OK, digest, found.size, body)) };
        let mut response = blob_answer(StatusCode::PARTIAL_CONTENT, digest, count, body);
        set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {first}-{}/{}", first + count - 1, found.size));
        Ok(response)
    }

    pub(crate) async fn unlink_blob(&self, permit: &Permit, digest: &Digest) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().write().await?;
        match images::unlink_blob(&mut tx, permit.repository(), digest.as_str()).await? {
            Removal::Done => tx.commit().await?,
            Removal::Unknown => return Err(Failure::blob_unknown(digest)),
            Removal::InUse => return Err(in_use("blob")),
        }
        Ok(answer(StatusCode::ACCEPTED, [], Body::empty()))
    }
}

/// Why something stays: an image that is there must stay pullable.
pub(crate) fn in_use(what: &str) -> Failure {
    Failure::new(ErrorCode::Unsupported, format!("a manifest of this repository needs the {what}, delete that manifest first"))
}

fn blob_answer(status: StatusCode, digest: &Digest, length: u64, body: Body) -> Response<Body> {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable".to_owned()),
        (CONTENT_DIGEST, digest.to_string()),
    ];
    answer(status, headers, body)
}
