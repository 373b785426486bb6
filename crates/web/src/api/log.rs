//! A build's log: whole as text, in windows, searched, and live as server-sent events.
//!
//! Events of the live log, each with JSON as its data:
//! - `skipped`: `{"after","lines"}`, first and only when `tail` was asked for: the pieces up to `after` are not sent, and so many lines of
//!   each step stand in them (`""` is the build as a whole).
//! - `log`: `{"seq","step","at","text"}`, the event's `id` is `seq`; several pieces of one step may come as one with the last `seq`.
//! - `step`: one step, new or changed. `state`: the build without its steps, whenever it changed.
//! - `reset`: a new attempt begins; what was said of steps and log before belongs to the one before.
//! - `end`: `{"state"}`, the build has ended and all of its log was sent. Nothing follows.
//!
//! A reader that comes back with `Last-Event-ID` goes on behind that piece and misses none; when nothing is left it gets 204, which
//! tells a browser to stop coming back. Invariant: the database is the truth, hints only shorten the wait; no answer holds a whole log in
//! memory, and a build has one reader of the database however many look at it (`feed`).

mod feed;
mod frames;
mod live;
mod search;
mod window;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use slipway_app::store::StoreError;
use slipway_app::store::builds::{self, Build};
use slipway_app::store::logs::{self, LogChunk};
use slipway_app::{Caller, RepositoryRead};
use slipway_model::{BuildId, BuildState, Timestamp};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

pub(crate) use self::feed::Feeds;
use self::frames::Frames;
use self::live::Viewer;
pub(crate) use self::search::{__path_search, search};
pub(crate) use self::window::{__path_pieces, pieces};
use super::at::BuildAt;
use crate::edge::json::{Path, Query};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Pieces that are read at once; each has at most 64 KiB.
const PAGE: u32 = 25;
/// What `tail` may ask for, in characters.
const TAIL: std::ops::RangeInclusive<u64> = 64 * 1024..=8 * 1024 * 1024;

/// Viewers at the same time. One costs its connection and, while it catches up, a page of pieces.
static VIEWERS: Semaphore = Semaphore::const_new(5000);

/// Where the live log begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Behind this piece; the header `Last-Event-ID` counts first.
    after: Option<u64>,
    /// Only about so many characters of what stands already, 65,536 to 8,388,608: what was left out is told by the event `skipped`.
    #[param(minimum = 65536, maximum = 8388608)]
    tail: Option<u64>,
}

/// Of which step.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfStep {
    /// Only what this step wrote; empty for what belongs to none.
    step: Option<String>,
}

/// A piece of log as an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogPiece {
    seq: u64,
    step: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    text: String,
}

impl LogPiece {
    fn of(chunk: LogChunk) -> Self {
        let LogChunk { seq, step, at, text, .. } = chunk;
        Self { seq, step, at, text }
    }
}

/// The last event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogEnd {
    #[schema(value_type = String)]
    state: BuildState,
}

/// The log up to now as text.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log", tag = "builds", params(BuildAt, OfStep), responses((status = 200, body = String, content_type = "text/plain"), Errors))]
pub(crate) async fn text(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Query(of): Query<OfStep>,
) -> Result<Response, ApiError> {
    let (_, build) = build(&state, &caller, &at).await?;
    let part = if of.step.is_some() { "-step" } else { "" };
    let file = format!("inline; filename=\"{}-{}-{}{part}.log\"", at.ns, at.name, build.number);
    let body = Body::from_stream(pages(state, build.id, of.step));
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, body).into_response())
}

fn pages(state: WebState, build: BuildId, step: Option<String>) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::try_unfold(Some(0_u64), move |after| {
        let (state, step) = (state.clone(), step.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let chunks = page(&state, build, after).await.map_err(std::io::Error::other)?;
            let next = chunks.last().map(|chunk| chunk.seq).filter(|_| chunks.len() == PAGE as usize);
            let of_step = |chunk: &LogChunk| step.as_ref().is_none_or(|step| chunk.step.as_deref().unwrap_or_default() == step);
            let text: String = chunks.into_iter().filter(of_step).map(|chunk| chunk.text).collect();
            Ok(Some((Bytes::from(text), next)))
        }
    })
}

async fn page(state: &WebState, build: BuildId, after: u64) -> Result<Vec<LogChunk>, StoreError> {
    let mut tx = state.app().db().read().await?;
    logs::list(&mut tx, build, after, PAGE).await
}

async fn build(state: &WebState, caller: &Caller, at: &BuildAt) -> Result<(RepositoryRead, Build), ApiError> {
    let right = state.app().repository_read(caller, &at.ns, &at.name).await?;
    let mut tx = state.app().db().read().await?;
    let build = builds::get(&mut tx, right.repository().id, at.id).await?.ok_or_else(ApiError::not_found)?;
    Ok((right, build))
}

/// The log as it comes, as server-sent events: `skipped`, `log`, `step`, `state`, `reset`, and `end` at last.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log/stream", tag = "builds", params(BuildAt, From), responses((status = 200, body = LogPiece, content_type = "text/event-stream"), (status = 204, description = "the build has ended and nothing is left"), Errors))]
pub(crate) async fn live(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = VIEWERS
        .try_acquire()
        .map_err(|_| ApiError::new(Code::Unavailable, "too many live logs are being read at this moment").retry_after(10))?;
    let (right, build) = build(&state, &caller, &at).await?;
    let resumed: Option<u64> = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if let Some(after) = resumed
        && build.state.is_final()
        && page(&state, build.id, after).await?.is_empty()
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // Nobody has more than there is: such a reader would wait for what it believes to have.
    let last = logs::last(&mut state.app().db().read().await?, build.id).await?.map_or(0, |(seq, _)| seq);
    let mut after = resumed.or(from.after).unwrap_or(0).min(last);
    let mut skipped = None;
    if let (None, None, Some(tail)) = (resumed, from.after, from.tail)
        && let Some((end, lines)) = state.app().build_log_end(&right, build.id, tail.clamp(*TAIL.start(), *TAIL.end())).await?
    {
        after = end;
        skipped = Some(serde_json::json!({ "after": after, "lines": lines }));
    }
    // The attempt whose log the reader has already.
    let attempt = match after.checked_sub(1) {
        Some(before) => page(&state, build.id, before).await?.first().map(|chunk| chunk.attempt),
        None => None,
    };
    let mut first = Frames::behind(after, attempt);
    if let Some(skipped) = skipped {
        first.event("skipped", Some(after), &skipped);
    }
    let feed: Arc<_> = state.feeds().join(&state, build.id);
    Ok(Viewer { state, caller, right, build: build.id, after, attempt, first, place }.respond(feed))
}
