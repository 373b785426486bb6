//! For those who run Slipway: liveness, readiness, metrics.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::error::ApiError;
use crate::state::WebState;

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can do its work: the database can be written, and it is not shutting down.
pub(crate) async fn readyz(State(state): State<WebState>) -> Response {
    if state.options().draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    match state.app().db().check_writable().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(error = %crate::error::chain(&error), "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be written\n").into_response()
        }
    }
}

/// Prometheus text, version 0.0.4.
pub(crate) async fn metrics(State(state): State<WebState>) -> Response {
    match &state.options().metrics {
        Some(handle) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response(),
        None => ApiError::not_found().into_response(),
    }
}
