//! What is there: the API version, tags, referrers, and for administrators the catalog. Pages by key, with `Link`.

use axum::body::Body;
use axum::http::{HeaderName, Response, header};
use serde_json::{Value, json};
use slipway_oci::{Digest, Page, RepositoryName, media_type};
use slipway_store::images;
use url::form_urlencoded;

use crate::access::Permit;
use crate::failure::Failure;
use crate::{Registry, json as json_answer, set};

/// Referrers on one page.
const REFERRERS: u32 = 100;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// `GET /v2/`: this is a registry, and the credentials are good.
pub(crate) fn pong() -> Response<Body> {
    json_answer(&json!({}))
}

impl Registry {
    pub(crate) async fn list_tags(&self, permit: &Permit, name: &RepositoryName, page: &Page) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().read().await?;
        let mut tags = images::list_tags(&mut tx, permit.repository(), page.after.as_deref(), page.limit.saturating_add(1)).await?;
        let more = page.limit > 0 && tags.len() > page.limit as usize;
        tags.truncate(page.limit as usize);
        let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
        let mut response = json_answer(&json!({ "name": name.as_str(), "tags": names }));
        if let (true, Some(last)) = (more, names.last()) {
            link(&mut response, &format!("/v2/{name}/tags/list"), &[("n", &page.limit.to_string()), ("last", last)]);
        }
        Ok(response)
    }

    pub(crate) async fn catalog(&self, page: &Page) -> Result<Response<Body>, Failure> {
        let mut tx = self.app.db().read().await?;
        let mut names = images::list_catalog(&mut tx, page.after.as_deref(), page.limit.saturating_add(1)).await?;
        let more = page.limit > 0 && names.len() > page.limit as usize;
        names.truncate(page.limit as usize);
        let mut response = json_answer(&json!({ "repositories": names }));
        if let (true, Some(last)) = (more, names.last()) {
            link(&mut response, "/v2/_catalog", &[("n", &page.limit.to_string()), ("last", last)]);
        }
        Ok(response)
    }

    /// An index of the manifests about `subject`; empty, never 404, when there are none.
    pub(crate) async fn list_referrers(
        &self,
        permit: &Permit,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        query: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let after = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(key, _)| key == "last")
            .map(|(_, value)| value.into_owned());
        let mut tx = self.app.db().read().await?;
        let mut found =
            images::list_referrers(&mut tx, permit.repository(), subject.as_str(), artifact_type, after.as_deref(), REFERRERS + 1).await?;
        let more = found.len() > REFERRERS as usize;
        found.truncate(REFERRERS as usize);
        let manifests: Vec<Value> = found.iter().map(descriptor).collect();
        let mut response = json_answer(&json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests }));
        set(response.headers_mut(), header::CONTENT_TYPE, media_type::OCI_INDEX);
        if artifact_type.is_some() {
            set(response.headers_mut(), FILTERS_APPLIED, "artifactType");
        }
        if let (true, Some(last)) = (more, found.last()) {
            let kind = artifact_type.map(|kind| ("artifactType", kind));
            let query: Vec<(&str, &str)> = kind.into_iter().chain([("last", last.digest.as_str())]).collect();
            link(&mut response, &format!("/v2/{name}/referrers/{subject}"), &query);
        }
        Ok(response)
    }
}

fn descriptor(referrer: &images::Referrer) -> Value {
    let mut value = json!({ "mediaType": referrer.media_type, "digest": referrer.digest, "size": referrer.size });
    if let Some(kind) = &referrer.artifact_type {
        value["artifactType"] = json!(kind);
    }
    if let Some(annotations) = referrer.annotations.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        value["annotations"] = annotations;
    }
    value
}

/// The address of the next page (RFC 5988).
fn link(response: &mut Response<Body>, path: &str, query: &[(&str, &str)]) {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    set(response.headers_mut(), header::LINK, &format!("<{path}?{query}>; rel=\"next\""));
}
