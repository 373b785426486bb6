//! A panic in a handler becomes an answer and a log line; the process lives on.

use std::any::Any;

use crate::error::{ApiError, Code};

/// Logs and counts a panic; gives what the client is told.
#[expect(clippy::needless_pass_by_value, reason = "what `catch_panic` hands over")]
pub(crate) fn note(panic: Box<dyn Any + Send + 'static>) -> ApiError {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    tracing::error!(panic = words, "a handler panicked");
    metrics::counter!("slipway_panics_total").increment(1);
    ApiError::new(Code::Internal, "an error of ours, it is in the log under this request id")
}
