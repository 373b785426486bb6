//! The built-in registry: `/v2/` (OCI distribution 1.1, Docker Registry v2) and its token service `/auth/token`; and what goes from it to others.
//!
//! Invariants: every request becomes one [`slipway_oci::Action`], its right is checked in one place (`access`), and only then
//! is it dispatched. What a caller may not see answers like what does not exist. A 201 means durable: bytes first
//! (`blobs`), then the row (`store`). A build's credential stores manifests by digest and never moves a tag.
//! Deliberately elsewhere: who somebody is and what they may do (`app`), SQL (`store`), bytes (`blobs`), grammar (`oci`).

mod access;
mod blob;
mod check;
mod external;
mod failure;
mod listing;
mod manifest;
mod sweep;
mod token;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::{any, get};
use slipway_app::App;
use slipway_blobs::Blobs;
use slipway_oci::{Action, parse};

use access::{Permit, Right};
use failure::Failure;

pub use check::{CheckError, Report};
pub use slipway_blobs::Depth;
pub use sweep::Swept;

/// Says which digest the body has.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Old clients look for it before they take a 401 for a registry's.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    app: Arc<App>,
    blobs: Blobs,
}

impl Registry {
    /// Puts the parts together.
    #[must_use]
    pub fn new(app: Arc<App>, blobs: Blobs) -> Self {
        Self { app, blobs }
    }

    /// The routes `/v2`, `/v2/...` and `/auth/token`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v2", any(registry))
            .route("/v2/", any(registry))
            .route("/v2/{*rest}", any(registry))
            .route("/auth/token", get(token::by_get).post(token::by_post))
            .with_state(self)
    }

    /// Answers a request that was understood.
    async fn dispatch(&self, action: Action, request: Request) -> Result<Response<Body>, Failure> {
        match (self.authorise(&action, request.headers()).await?, action) {
            (Right::Repository(permit), action) => self.in_repository(&permit, action, request).await,
            (Right::Registry, Action::Ping) => Ok(listing::pong()),
            (Right::Registry, Action::Catalog(page)) => self.catalog(&page).await,
            // `authorise` gives this right to the two above only.
            (Right::Registry, _) => Err(Failure::no_such_address()),
        }
    }

    async fn in_repository(&self, permit: &Permit, action: Action, request: Request) -> Result<Response<Body>, Failure> {
        match action {
            Action::BlobRead(_, digest, fetch) => self.read_blob(permit, &digest, fetch, request.headers()).await,
            Action::BlobDelete(_, digest) => self.unlink_blob(permit, &digest).await,
            Action::UploadStart { name, mount, digest, algorithm } => {
                self.start_upload(permit, upload::Start { name, mount, digest, algorithm }, request).await
            }
            Action::UploadStatus(name, id) => self.upload_status(permit, &name, &id).await,
            Action::UploadAppend(name, id) => self.append_upload(permit, &name, &id, request).await,
            Action::UploadFinish(name, id, digest) => self.finish_upload(permit, &name, &id, &digest, request).await,
            Action::UploadCancel(_, id) => self.cancel_upload(permit, &id).await,
            Action::ManifestRead(_, reference, fetch) => self.read_manifest(permit, &reference, fetch).await,
            Action::ManifestWrite(name, reference, tags) => self.write_manifest(permit, &name, reference, tags, request).await,
            Action::ManifestDelete(_, digest) => self.delete_manifest(permit, &digest).await,
            Action::TagDelete(_, tag) => self.delete_tag(permit, &tag).await,
            Action::TagList(name, page) => self.list_tags(permit, &name, &page).await,
            Action::Referrers { name, subject, artifact_type } => {
                self.list_referrers(permit, &name, &subject, artifact_type.as_deref(), request.uri().query()).await
            }
            Action::Ping | Action::Catalog(_) => Err(Failure::no_such_address()),
        }
    }
}

async fn registry(State(registry): State<Registry>, request: Request) -> Response<Body> {
    let uri = request.uri();
    let answer = match parse(request.method(), uri.path(), uri.query().unwrap_or_default()) {
        Ok(Some(action)) => registry.dispatch(action, request).await,
        Ok(None) => Err(Failure::no_such_address()),
        Err(refusal) => Err(refusal.into()),
    };
    let mut response = answer.unwrap_or_else(Failure::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// An answer with these headers. Values are digests, numbers, grammatical names or checked before.
pub(crate) fn answer<const N: usize>(status: StatusCode, headers: [(HeaderName, String); N], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // What people push lies on the origin of the pages: no browser may take it for a script.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in headers {
        set(response.headers_mut(), name, &value);
    }
    response
}

/// Sets a header; a value that no header can hold is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A JSON answer.
pub(crate) fn json(value: &serde_json::Value) -> Response<Body> {
    let body = value.to_string();
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, body.len().to_string())];
    answer(StatusCode::OK, headers, Body::from(body))
}
