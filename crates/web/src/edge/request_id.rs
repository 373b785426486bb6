//! One id per request: in the answer's `x-request-id`, in every log line and in every error.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task answers; empty outside of one.
#[must_use]
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Gives the request an id of ours; one that a client sends could be a lie in our log.
pub(crate) async fn assign(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().simple().to_string();
    // The path goes into the log without its query: queries carry one-time codes.
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path = %request.uri().path());
    let value = HeaderValue::from_str(&id).expect("hexadecimal digits are a valid header value");
    let answer = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = CURRENT.scope(id, answer.instrument(span)).await;
    response.headers_mut().insert(HEADER, value);
    response
}
