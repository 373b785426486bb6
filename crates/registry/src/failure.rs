//! Refusals and faults as the specification's error body. Causes of ours are logged here, once, and never sent.

use axum::body::Body;
use axum::http::{HeaderName, Response, StatusCode, header};
use serde_json::Value;
use slipway_blobs::BlobError;
use slipway_oci::{ErrorCode, ManifestError, Refusal, error_body};
use slipway_store::StoreError;

use crate::{answer, set};

/// An answer that is not the one asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    detail: Value,
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    /// A refusal with the code's own status.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, status: code.status(), message: message.into(), detail: Value::Null, headers: Vec::new() }
    }

    /// With another status.
    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With something for programs.
    pub(crate) fn detail(self, detail: Value) -> Self {
        Self { detail, ..self }
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// An address that no action has.
    pub(crate) fn no_such_address() -> Self {
        Self::new(ErrorCode::Unsupported, "the registry has no such address").status(StatusCode::NOT_FOUND)
    }

    /// A blob that is not in this repository, whether or not it is elsewhere.
    pub(crate) fn blob_unknown(digest: &slipway_oci::Digest) -> Self {
        Self::new(ErrorCode::BlobUnknown, format!("the repository has no blob `{digest}`"))
            .detail(serde_json::json!({ "digest": digest.as_str() }))
    }

    /// An upload that is not there for this caller.
    pub(crate) fn upload_unknown() -> Self {
        Self::new(ErrorCode::BlobUploadUnknown, "no such upload, it may have expired")
    }

    /// Something of ours is out of reach: never a 4xx for our own fault.
    pub(crate) fn unavailable(what: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "registry: {what}");
        Self::new(ErrorCode::Unavailable, format!("{what}, try again later")).header(header::RETRY_AFTER, "5")
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let body = error_body(self.code, &self.message, &self.detail);
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, body.len().to_string())];
        let mut response = answer(self.status, headers, Body::from(body));
        for (name, value) in self.headers {
            set(response.headers_mut(), name, &value);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::TooLarge => Self::new(ErrorCode::SizeInvalid, error.to_string()).status(StatusCode::PAYLOAD_TOO_LARGE),
            ManifestError::Invalid(text) => Self::new(ErrorCode::ManifestInvalid, text),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            // What the caller builds on was removed by somebody else between two statements.
            StoreError::Conflict(_) => {
                tracing::info!(%error, "registry: lost a race");
                Self::new(ErrorCode::NameUnknown, "the repository or something in it was removed meanwhile")
            }
            StoreError::Unavailable(_) => Self::unavailable("the database is out of reach", &error),
            error => {
                tracing::error!(%error, "registry: database");
                Self::new(ErrorCode::Unknown, "the registry has a fault, its log says more")
            }
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        let text = error.to_string();
        match &error {
            BlobError::UploadUnknown => Self::upload_unknown(),
            BlobError::Busy => Self::new(ErrorCode::BlobUploadInvalid, text).status(StatusCode::CONFLICT),
            BlobError::OutOfOrder { .. } => Self::new(ErrorCode::BlobUploadInvalid, text).status(StatusCode::RANGE_NOT_SATISFIABLE),
            BlobError::Length { .. } => Self::new(ErrorCode::SizeInvalid, text),
            BlobError::TooLarge { .. } => Self::new(ErrorCode::SizeInvalid, text).status(StatusCode::PAYLOAD_TOO_LARGE),
            BlobError::DigestMismatch { .. } => Self::new(ErrorCode::DigestInvalid, text),
            BlobError::Body(_) => Self::new(ErrorCode::BlobUploadInvalid, text),
            BlobError::NoSpace => {
                tracing::error!("registry: no space is left for blobs");
                metrics::counter!("slipway_registry_no_space_total").increment(1);
                Self::new(ErrorCode::Unavailable, "the registry's disk is full, nothing of this upload was kept")
                    .status(StatusCode::INSUFFICIENT_STORAGE)
            }
            BlobError::Missing(digest) => {
                tracing::error!(%digest, "registry: the bytes of a blob are missing");
                metrics::counter!("slipway_registry_bad_blobs_total").increment(1);
                Self::blob_unknown(digest)
            }
            BlobError::Corrupt(digest) => {
                tracing::error!(%digest, "registry: the bytes of a blob are corrupt");
                metrics::counter!("slipway_registry_bad_blobs_total").increment(1);
                Self::new(ErrorCode::Unknown, format!("the stored bytes of `{digest}` are corrupt, push it again"))
            }
            BlobError::Io(_) => Self::unavailable("the registry's storage failed", &error),
        }
    }
}

impl From<slipway_app::Error> for Failure {
    fn from(error: slipway_app::Error) -> Self {
        match error {
            slipway_app::Error::Store(error) => error.into(),
            error => {
                tracing::error!(%error, "registry: authorisation");
                Self::new(ErrorCode::Unknown, "the registry has a fault, its log says more")
            }
        }
    }
}
