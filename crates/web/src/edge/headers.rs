//! Security headers of every answer of the web room.
//!
//! Invariant: no page may run an inline script or style, be framed, or load anything from elsewhere.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use url::Url;

/// The headers, made once.
#[derive(Debug, Clone)]
pub(crate) struct SecurityHeaders(Arc<Vec<(HeaderName, HeaderValue)>>);

impl SecurityHeaders {
    /// `form_targets` are the origins that a form of ours may end at by a redirect: the providers' sign-in pages.
    pub(crate) fn new(public_url: &Url, form_targets: &[Url]) -> Self {
        // Chromium holds `form-action` against every redirect that follows a form, so the providers must be named.
        let mut targets: Vec<String> = form_targets.iter().map(|url| url.origin().ascii_serialization()).collect();
        targets.sort();
        targets.dedup();
        let csp = format!(
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
            targets.join(" ")
        );
        let mut all = vec![
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            // Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
            (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
            (
                HeaderName::from_static("permissions-policy"),
                HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=()"),
            ),
        ];
        if let Ok(csp) = HeaderValue::from_str(csp.trim_end()) {
            all.push((header::CONTENT_SECURITY_POLICY, csp));
        }
        if public_url.scheme() == "https" {
            all.push((header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")));
        }
        Self(Arc::new(all))
    }
}

/// Adds the headers; an answer that set one itself keeps its own.
pub(crate) async fn add(State(headers): State<SecurityHeaders>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let map = response.headers_mut();
    for (name, value) in headers.0.iter() {
        map.entry(name).or_insert_with(|| value.clone());
    }
    // What is not said to be cacheable belongs to one person.
    map.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
