//! Manifests and tags: stored if everything they need is here, served byte for byte.
//!
//! Invariant: a manifest and the tags that a person moves with it are one transaction. A build's credential moves no tag but its cache's:
//! those that its hooks push by are noted, and promotion moves them, after the tests have passed (`app`).

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use slipway_model::{BuildId, ImageTag, RepositoryId};
use slipway_oci::{Child, Digest, ErrorCode, Fetch, MAX_MANIFEST_BYTES, Manifest, ManifestError, Reference, RepositoryName, Role, Tag};
use slipway_store::build_tags;
use slipway_store::images::{self, Insertion, NewManifest, NewRef, Removal, Target};
use slipway_store::{StoreError, WriteTx};

use crate::access::Permit;
use crate::blob::in_use;
use crate::failure::Failure;
use crate::{CONTENT_DIGEST, Registry, answer, set};

/// How long a manifest's body may take.
const BODY_TIME: Duration = Duration::from_secs(60);
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

impl Registry {
    pub(crate) async fn read_manifest(&self, permit: &Permit, reference: &Reference, fetch: Fetch) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().read().await?;
        let found = match reference {
            Reference::Digest(digest) => images::get_manifest(&mut tx, permit.repository(), digest.as_str()).await?,
            Reference::Tag(tag) => images::get_manifest_by_tag(&mut tx, permit.repository(), tag.as_str()).await?,
        };
        let manifest = found.ok_or_else(|| manifest_unknown(reference))?;
        let digest: Digest = manifest.digest.parse().map_err(|error| Failure::unavailable("a manifest's row cannot be read", &error))?;
        if !digest.matches(&manifest.content) {
            tracing::error!(%digest, "registry: the stored bytes of a manifest are corrupt");
            metrics::counter!("slipway_registry_bad_blobs_total").increment(1);
            return Err(Failure::new(ErrorCode::Unknown, format!("the stored bytes of `{digest}` are corrupt, push it again")));
        }
        let headers = [
            (header::CONTENT_TYPE, manifest.media_type),
            (header::CONTENT_LENGTH, manifest.content.len().to_string()),
            (header::ETAG, format!("\"{digest}\"")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        let body = if fetch == Fetch::Head { Body::empty() } else { Body::from(manifest.content) };
        Ok(answer(StatusCode::OK, headers, body))
    }

    pub(crate) async fn write_manifest(
        &self,
        permit: &Permit,
        name: &RepositoryName,
        reference: Reference,
        mut tags: Vec<Tag>,
        request: Request,
    ) -> Result<Response<Body>, Failure> {
        let content_type = media_type(request.headers())?;
        let bytes = body(request.into_body()).await?;
        let digest = match reference {
            Reference::Digest(digest) if digest.matches(&bytes) => digest,
            Reference::Digest(digest) => {
                return Err(Failure::new(ErrorCode::DigestInvalid, format!("the manifest does not hash to `{digest}`")));
            }
            Reference::Tag(tag) => {
                tags = vec![tag];
                Digest::sha256(&bytes)
            }
        };
        let (moving, kept): (Vec<&Tag>, Vec<&Tag>) = tags.iter().partition(|tag| permit.moves(tag));
        if let (Some(tag), None) = (kept.first(), permit.build()) {
            return Err(Failure::new(ErrorCode::Denied, format!("`{tag}` holds the cache of builds, which builds alone write")));
        }
        let manifest = Manifest::parse(&bytes, content_type.as_deref())?;
        let mut tx = self.app.db().write().await?;
        insert(&mut tx, permit.repository(), &digest, &bytes, &manifest, self.app.clock().now()).await?;
        let names = |tags: Vec<&Tag>| tags.into_iter().map(image_tag).collect::<Result<Vec<_>, _>>();
        let (moving, kept) = (names(moving)?, names(kept)?);
        if !moving.is_empty() {
            images::move_tags(&mut tx, permit.repository(), &moving, digest.as_str(), None, self.app.clock().now()).await?;
        }
        if let Some((build, attempt)) = permit.build() {
            note_tags(&mut tx, build, attempt, &kept, &digest).await?;
        }
        tx.commit().await.map_err(needed_went_away)?;
        let headers = [
            (header::LOCATION, format!("/v2/{name}/manifests/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
            (header::CONTENT_LENGTH, "0".to_owned()),
        ];
        let mut response = answer(StatusCode::CREATED, headers, Body::empty());
        if let Some(subject) = &manifest.subject {
            set(response.headers_mut(), OCI_SUBJECT, subject.digest.as_str());
        }
        for tag in tags {
            if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
                response.headers_mut().append(OCI_TAG, value);
            }
        }
        Ok(response)
    }

    pub(crate) async fn delete_manifest(&self, permit: &Permit, digest: &Digest) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().write().await?;
        match images::delete_manifest(&mut tx, permit.repository(), digest.as_str()).await? {
            Removal::Done => tx.commit().await?,
            Removal::Unknown => return Err(manifest_unknown(&Reference::Digest(digest.clone()))),
            Removal::InUse => return Err(in_use("manifest")),
        }
        Ok(answer(StatusCode::ACCEPTED, [], Body::empty()))
    }

    pub(crate) async fn delete_tag(&self, permit: &Permit, tag: &Tag) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().write().await?;
        if !images::delete_tag(&mut tx, permit.repository(), tag.as_str()).await? {
            return Err(manifest_unknown(&Reference::Tag(tag.clone())));
        }
        tx.commit().await?;
        Ok(answer(StatusCode::ACCEPTED, [], Body::empty()))
    }
}

/// The tag by which the builder pushes is the build's own name for its image and no tag of anybody's.
async fn note_tags(tx: &mut WriteTx, build: BuildId, attempt: u32, tags: &[ImageTag], digest: &Digest) -> Result<(), Failure> {
    let own = format!("build-{build}");
    for tag in tags.iter().filter(|tag| tag.as_str() != own) {
        if !build_tags::note(tx, build, attempt, tag, digest.as_str()).await? {
            let text = format!("a build that runs may push by {} tags beside its own, and this is one more", build_tags::MOST_TAGS);
            return Err(Failure::new(ErrorCode::Denied, text));
        }
    }
    Ok(())
}

async fn insert(
    tx: &mut WriteTx,
    repository: RepositoryId,
    digest: &Digest,
    bytes: &Bytes,
    manifest: &Manifest,
    now: slipway_model::Timestamp,
) -> Result<(), Failure> {
    let refs: Vec<NewRef<'_>> = manifest.children.iter().map(new_ref).collect();
    // Only the referrers list shows annotations, and only manifests with a subject are in it.
    let annotations = match (&manifest.subject, manifest.annotations.is_empty()) {
        (Some(_), false) => serde_json::to_string(&manifest.annotations).ok(),
        _ => None,
    };
    let new = NewManifest {
        digest: digest.as_str(),
        media_type: &manifest.media_type,
        artifact_type: manifest.artifact_type.as_deref(),
        subject: manifest.subject.as_ref().map(|subject| subject.digest.as_str()),
        annotations: annotations.as_deref(),
        content: bytes,
        refs: &refs,
    };
    match images::insert_manifest(tx, repository, &new, now).await? {
        Insertion::Done => Ok(()),
        Insertion::Missing(digest) => {
            Err(Failure::new(ErrorCode::ManifestBlobUnknown, format!("the manifest needs `{digest}`, which is not in the repository"))
                .detail(serde_json::json!({ "digest": digest })))
        }
        Insertion::WrongSize(digest) => {
            Err(Failure::new(ErrorCode::ManifestInvalid, format!("the manifest gives a wrong size for `{digest}`")))
        }
        Insertion::TooDeep => Err(Failure::new(ErrorCode::ManifestInvalid, "indexes are nested too deeply, at most 8 levels are taken")),
    }
}

fn new_ref(child: &Child) -> NewRef<'_> {
    let target = match child.role {
        Role::Config | Role::Layer => Target::Blob,
        Role::ForeignLayer => Target::OptionalBlob,
        Role::Manifest => Target::Manifest,
        Role::Other => Target::BlobOrManifest,
    };
    NewRef { target, role: child.role.as_str(), digest: child.target.digest.as_str(), size: child.target.size }
}

/// Foreign keys are checked at commit: something that was there a moment ago was unlinked by somebody else.
fn needed_went_away(error: StoreError) -> Failure {
    match error {
        StoreError::Conflict(_) => Failure::new(ErrorCode::ManifestBlobUnknown, "something that the manifest needs was removed meanwhile"),
        other => other.into(),
    }
}

fn manifest_unknown(reference: &Reference) -> Failure {
    Failure::new(ErrorCode::ManifestUnknown, format!("the repository has no manifest `{reference}`"))
}

fn image_tag(tag: &Tag) -> Result<ImageTag, Failure> {
    tag.as_str().parse().map_err(|error| Failure::new(ErrorCode::ManifestInvalid, format!("{error}")))
}

/// `Content-Type` without parameters.
fn media_type(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Failure::new(ErrorCode::ManifestInvalid, "Content-Type is not readable"))?;
    let bare = text.split(';').next().unwrap_or_default().trim();
    Ok((!bare.is_empty()).then(|| bare.to_owned()))
}

async fn body(body: Body) -> Result<Bytes, Failure> {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_MANIFEST_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(ManifestError::TooLarge.into()),
        Ok(Err(error)) => Err(Failure::new(ErrorCode::ManifestInvalid, format!("the body ended early: {error}"))),
        Err(_) => Err(Failure::new(ErrorCode::ManifestInvalid, "the body took too long").status(StatusCode::REQUEST_TIMEOUT)),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>())
}
