//! Uploads: start (also mount and single POST), append, status, finish, cancel (OCI distribution-spec 1.1 §Pushing blobs).
//!
//! Invariants: an upload belongs to one repository and one credential; anybody else hears that it does not exist. No layer
//! is ever in memory. The row that makes a blob visible is written after the bytes are durable.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use slipway_blobs::{BlobError, BlobKey, Chunk, Stored};
use slipway_model::UploadId;
use slipway_oci::{Algorithm, ContentRange, Digest, ErrorCode, Mount, RepositoryName};
use slipway_store::images;
use uuid::Uuid;

use crate::access::Permit;
use crate::failure::Failure;
use crate::{CONTENT_DIGEST, Registry, answer};

/// How long an upload may be left alone.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// Most open uploads of one credential.
const OPEN_UPLOADS: u32 = 500;
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// What the start of an upload asks for.
pub(crate) struct Start {
    pub(crate) name: RepositoryName,
    pub(crate) mount: Option<Mount>,
    pub(crate) digest: Option<Digest>,
    pub(crate) algorithm: Algorithm,
}

impl Registry {
    pub(crate) async fn start_upload(&self, permit: &Permit, start: Start, request: Request) -> Result<Response<Body>, Failure> {
        if let Some(mount) = &start.mount
            && self.mount(permit, mount).await?
        {
            return Ok(created(&start.name, &mount.digest));
        }
        if let Some(digest) = &start.digest {
            let chunk = chunk_of(request.headers())?;
            let stored = self.blobs.put(digest, chunk.length, request.into_body().into_data_stream()).await?;
            self.publish(permit, stored, None).await?;
            return Ok(created(&start.name, digest));
        }
        let now = self.app.clock().now();
        let mut tx = self.app.db().write().await?;
        let id = images::insert_upload(&mut tx, permit.repository(), permit.owner(), OPEN_UPLOADS, now, now.plus(EXPIRY)).await?;
        let Some(id) = id else {
            let text = format!("{OPEN_UPLOADS} uploads are open with these credentials, finish or cancel some");
            return Err(Failure::new(ErrorCode::TooManyRequests, text).header(header::RETRY_AFTER, "60"));
        };
        tx.commit().await?;
        if let Err(error) = self.blobs.stage(bytes_id(id), start.algorithm).await {
            self.forget_upload(id).await;
            return Err(error.into());
        }
        Ok(accepted(StatusCode::ACCEPTED, &start.name, id, 0))
    }

    /// Links a blob of another repository that the caller may pull from. Anything else is a miss: the client then uploads, and
    /// learns nothing about what is elsewhere.
    async fn mount(&self, permit: &Permit, mount: &Mount) -> Result<bool, Failure> {
        let Some(from) = &mount.from else { return Ok(false) };
        let Some(source) = self.may_pull(permit, from).await? else { return Ok(false) };
        let Some(found) = self.find_blob(source, &mount.digest).await? else { return Ok(false) };
        if !self.blobs.present(&found.key, found.size).await? {
            return Ok(false);
        }
        let mut tx = self.app.db().write().await?;
        // Looked up again inside the change: the source may have lost it since.
        if images::get_blob(&mut tx, source, mount.digest.as_str()).await?.is_none() {
            return Ok(false);
        }
        images::link_blob(&mut tx, permit.repository(), mount.digest.as_str(), self.app.clock().now()).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(crate) async fn upload_status(
        &self,
        permit: &Permit,
        name: &RepositoryName,
        id: &slipway_oci::UploadId,
    ) -> Result<Response<Body>, Failure> {
        let id = self.own_upload(permit, id).await?;
        let offset = self.blobs.offset(bytes_id(id)).await?;
        Ok(accepted(StatusCode::NO_CONTENT, name, id, offset))
    }

    pub(crate) async fn append_upload(
        &self,
        permit: &Permit,
        name: &RepositoryName,
        id: &slipway_oci::UploadId,
        request: Request,
    ) -> Result<Response<Body>, Failure> {
        let id = self.own_upload(permit, id).await?;
        let offset = self.append(name, id, request).await?;
        Ok(accepted(StatusCode::ACCEPTED, name, id, offset))
    }

    pub(crate) async fn finish_upload(
        &self,
        permit: &Permit,
        name: &RepositoryName,
        id: &slipway_oci::UploadId,
        digest: &Digest,
        request: Request,
    ) -> Result<Response<Body>, Failure> {
        let id = self.own_upload(permit, id).await?;
        if !request.body().is_end_stream() {
            self.append(name, id, request).await?;
        }
        match self.blobs.commit(bytes_id(id), digest).await {
            Ok(stored) => self.publish(permit, stored, Some(id)).await?,
            Err(error) => return Err(self.failed_upload(name, id, error).await),
        }
        Ok(created(name, digest))
    }

    pub(crate) async fn cancel_upload(&self, permit: &Permit, id: &slipway_oci::UploadId) -> Result<Response<Body>, Failure> {
        let id = self.own_upload(permit, id).await?;
        let mut tx = self.app.db().write().await?;
        images::delete_upload(&mut tx, id).await?;
        tx.commit().await?;
        self.blobs.discard(bytes_id(id)).await?;
        Ok(answer(StatusCode::NO_CONTENT, [], Body::empty()))
    }

    async fn append(&self, name: &RepositoryName, id: UploadId, request: Request) -> Result<u64, Failure> {
        let chunk = chunk_of(request.headers())?;
        match self.blobs.append(bytes_id(id), chunk, request.into_body().into_data_stream()).await {
            Ok(offset) => Ok(offset),
            Err(error) => Err(self.failed_upload(name, id, error).await),
        }
    }

    /// The upload, if it is this caller's in this repository.
    async fn own_upload(&self, permit: &Permit, id: &slipway_oci::UploadId) -> Result<UploadId, Failure> {
        let id: UploadId = id.as_str().parse().map_err(|_| Failure::upload_unknown())?;
        let mut tx = self.app.db().read().await?;
        let now = self.app.clock().now();
        if images::upload_exists(&mut tx, id, permit.repository(), permit.owner(), now).await? {
            Ok(id)
        } else {
            Err(Failure::upload_unknown())
        }
    }

    /// Makes stored bytes visible in the repository: the blob's row, its link, the end of the upload, in one transaction. If this
    /// fails the bytes stay without a row, which is swept later; they are not removed here because the commit may have
    /// happened although its answer was lost.
    async fn publish(&self, permit: &Permit, stored: Stored, upload: Option<UploadId>) -> Result<(), Failure> {
        let digest = &stored.key.digest;
        let blob = images::Blob { generation: stored.key.generation.to_string(), size: stored.size };
        let mut tx = self.app.db().write().await?;
        let replaced = images::put_blob(&mut tx, permit.repository(), digest.as_str(), &blob, self.app.clock().now()).await?;
        if let Some(id) = upload {
            images::delete_upload(&mut tx, id).await?;
        }
        tx.commit().await?;
        if let Some(generation) = replaced.and_then(|text| text.parse().ok()) {
            let old = BlobKey { digest: digest.clone(), generation };
            if let Err(error) = self.blobs.remove(&old).await {
                tracing::warn!(%digest, %error, "registry: a replaced copy could not be removed, it will be swept");
            }
        }
        Ok(())
    }

    /// The answer to a failed upload; its row goes if its bytes are gone.
    async fn failed_upload(&self, name: &RepositoryName, id: UploadId, error: BlobError) -> Failure {
        match &error {
            BlobError::TooLarge { .. } | BlobError::NoSpace | BlobError::DigestMismatch { .. } | BlobError::UploadUnknown => {
                self.forget_upload(id).await;
                error.into()
            }
            BlobError::OutOfOrder { offset } => {
                let (location, range) = (location(name, id), range(*offset));
                Failure::from(error).header(header::LOCATION, location).header(header::RANGE, range).header(UPLOAD_ID, id.to_string())
            }
            _ => error.into(),
        }
    }

    /// Ends an upload whose bytes are gone. If the database is out of reach the row expires by itself.
    async fn forget_upload(&self, id: UploadId) {
        let ended = async {
            let mut tx = self.app.db().write().await?;
            images::delete_upload(&mut tx, id).await?;
            tx.commit().await
        };
        if let Err(error) = ended.await {
            tracing::warn!(upload = %id, %error, "registry: a failed upload could not be ended");
        }
    }
}

/// The staged file's name is the upload's id.
pub(crate) fn bytes_id(id: UploadId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// What the headers announce. Clients send a chunk with both headers, with one, or with none (docker: one chunked PATCH).
fn chunk_of(headers: &HeaderMap) -> Result<Chunk, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(Chunk { at: None, length }) };
    let range = range.to_str().ok().and_then(ContentRange::parse).ok_or_else(|| {
        Failure::new(ErrorCode::BlobUploadInvalid, "Content-Range is `first-last` in bytes").status(StatusCode::RANGE_NOT_SATISFIABLE)
    })?;
    if length.is_some_and(|length| length != range.length) {
        return Err(Failure::new(ErrorCode::SizeInvalid, "Content-Range and Content-Length contradict each other"));
    }
    Ok(Chunk { at: Some(range.first), length: Some(range.length) })
}

/// Relative on purpose: it is right behind any proxy.
fn location(name: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// `0-<last>`; docker reads an empty upload as `0-0`.
fn range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn accepted(status: StatusCode, name: &RepositoryName, id: UploadId, offset: u64) -> Response<Body> {
    let headers = [
        (header::LOCATION, location(name, id)),
        (header::RANGE, range(offset)),
        (UPLOAD_ID, id.to_string()),
        (header::CONTENT_LENGTH, "0".to_owned()),
    ];
    // A 204 has no length at all (RFC 9110 §8.6).
    let mut response = answer(status, headers, Body::empty());
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

fn created(name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let headers = [
        (header::LOCATION, format!("/v2/{name}/blobs/{digest}")),
        (CONTENT_DIGEST, digest.to_string()),
        (header::CONTENT_LENGTH, "0".to_owned()),
    ];
    answer(StatusCode::CREATED, headers, Body::empty())
}
