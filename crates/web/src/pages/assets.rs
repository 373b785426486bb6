//! Serves the files of [`view::assets`](super::view::assets): for ever cacheable under their hash, revalidated by `ETag` under any other.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::view::assets;
use crate::error::ApiError;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// `/assets/{version}/{name}`. An address of another version answers too: a page that was rendered before a restart still finds its files.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = assets::find(&name) else { return super::error_page(ApiError::not_found()) };
    let etag = format!("\"{}\"", assets::version());
    let caching = if version == assets::version() { FOR_EVER } else { "no-cache" };
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let common = [(header::ETAG, etag), (header::CACHE_CONTROL, caching.to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
}
