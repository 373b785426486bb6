//! The parsers of this room that are not public otherwise, for whoever throws hostile input at them.
//! Invariant: as `slipway-builder`'s file of this name: what a build calls, and nothing added.

use crate::details::Details;
use crate::error::EngineError;
use crate::push::{Lines, PushProgress};

/// What a push said, and how it ended, whose stream came in these pieces.
///
/// # Errors
/// The engine's refusal, or that it named no digest.
pub fn push_stream(pieces: &[&[u8]]) -> Result<(Vec<PushProgress>, String), EngineError> {
    let (mut lines, mut said) = (Lines::default(), Vec::new());
    for piece in pieces {
        said.extend(lines.feed(piece)?);
    }
    Ok((said, lines.end()?))
}

/// The exit code and the step that an engine's failure names in its details.
pub fn failure_details(details: &[u8]) -> (Option<i32>, Option<String>) {
    let Details { exit_code, step } = Details::of(&tonic::Status::with_details(tonic::Code::Unknown, "", details.to_vec().into()));
    (exit_code, step)
}

/// An engine's text of a failure, as people get it.
pub fn scrubbed(text: &str) -> String {
    crate::explain::scrub(text)
}
