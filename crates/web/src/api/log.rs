//! A build's log: whole as text, and live as server-sent events.
//!
//! Events of the live log, each with JSON as its data:
//! - `log`: `{"seq","step","at","text"}`, the event's `id` is `seq`; several pieces of one step may come as one with the last `seq`.
//! - `step`: one step, new or changed. `state`: the build without its steps, whenever it changed.
//! - `reset`: a new attempt begins; what was said of steps and log before belongs to the one before.
//! - `end`: `{"state"}`, the build has ended and all of its log was sent. Nothing follows.
//!
//! A reader that comes back with `Last-Event-ID` goes on behind that piece and misses none; when nothing is left it gets 204, which
//! tells a browser to stop coming back. Invariant: the database is the truth, hints only shorten the wait, and a slow reader costs
//! one page of pieces, never the build.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use slipway_app::store::builds::{self, Build};
use slipway_app::store::progress::{self, LogChunk};
use slipway_app::{Caller, RepositoryRead};
use slipway_model::{BuildId, BuildState, Step, Timestamp};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::at::BuildAt;
use super::builds::BuildSummary;
use crate::edge::json::{Path, Query};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Pieces that are read at once; each has at most 64 KiB.
const PAGE: u32 = 25;
/// Text of one event.
const MAX_EVENT_BYTES: usize = 64 * 1024;
/// Without any hint the database is asked again after this time.
const POLL: Duration = Duration::from_secs(2);
/// Not more often than this, so that a loud build costs its viewers ten events a second.
const COALESCE: Duration = Duration::from_millis(100);
/// How often the right to look is checked again.
const RIGHT: Duration = Duration::from_secs(15);

/// Readers at the same time; each costs a page of pieces.
static READERS: Semaphore = Semaphore::const_new(1000);

/// Where the live log begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Behind this piece; the header `Last-Event-ID` counts first.
    after: Option<u64>,
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

/// The last event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogEnd {
    #[schema(value_type = String)]
    state: BuildState,
}

/// The log up to now as text.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log", tag = "builds", params(BuildAt), responses((status = 200, body = String, content_type = "text/plain"), Errors))]
pub(crate) async fn text(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
) -> Result<Response, ApiError> {
    let (_, build) = build(&state, &caller, &at).await?;
    let file = format!("inline; filename=\"{}-{}-{}.log\"", at.ns, at.name, build.number);
    let body = Body::from_stream(pages(state, build.id));
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, body).into_response())
}

fn pages(state: WebState, build: BuildId) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::try_unfold(Some(0_u64), move |after| {
        let state = state.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let chunks = page(&state, build, after).await.map_err(std::io::Error::other)?;
            let next = chunks.last().map(|chunk| chunk.seq).filter(|_| chunks.len() == PAGE as usize);
            let text: String = chunks.into_iter().map(|chunk| chunk.text).collect();
            Ok(Some((Bytes::from(text), next)))
        }
    })
}

async fn page(state: &WebState, build: BuildId, after: u64) -> Result<Vec<LogChunk>, slipway_app::store::StoreError> {
    let mut tx = state.app().db().read().await?;
    logs::list(&mut tx, build, after, PAGE).await
}

async fn build(state: &WebState, caller: &Caller, at: &BuildAt) -> Result<(RepositoryRead, Build), ApiError> {
    let right = state.app().repository_read(caller, &at.ns, &at.name).await?;
    let mut tx = state.app().db().read().await?;
    let build = builds::get(&mut tx, right.repository().id, at.id).await?.ok_or_else(ApiError::not_found)?;
    Ok((right, build))
}

/// The log as it comes, as server-sent events: `log`, `step`, `state`, `reset`, and `end` at last.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log/stream", tag = "builds", params(BuildAt, From), responses((status = 200, body = LogPiece, content_type = "text/event-stream"), (status = 204, description = "the build has ended and nothing is left"), Errors))]
pub(crate) async fn live(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = READERS
        .try_acquire()
        .map_err(|_| ApiError::new(Code::Unavailable, "too many live logs are being read at this moment").retry_after(10))?;
    // Watched from before the first look, so that nothing falls between.
    let hints = state.app().watch_builds();
    let (right, build) = build(&state, &caller, &at).await?;
    let resumed: Option<u64> = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if let Some(after) = resumed
        && build.state.is_final()
        && page(&state, build.id, after).await?.is_empty()
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let after = resumed.or(from.after).unwrap_or(0);
    // The attempt whose log the reader has already.
    let attempt = match after.checked_sub(1) {
        Some(before) => page(&state, build.id, before).await?.first().map(|chunk| chunk.attempt),
        None => None,
    };
    let known = Known { attempt, ..Known::default() };
    let live = Live {
        state,
        caller,
        right,
        build: build.id,
        hints,
        after,
        known,
        pending: VecDeque::new(),
        ended: false,
        checked: Instant::now(),
        _place: place,
    };
    let events = stream::unfold(live, |mut live| async move { live.next().await.map(|event| (Ok::<_, Infallible>(event), live)) });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("still here")).into_response();
    // A proxy that collects the answer first would make it no live log at all.
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    Ok(response)
}

/// What the reader knows of the build already.
#[derive(Default)]
struct Known {
    attempt: Option<u32>,
    summary: String,
    steps: HashMap<String, Step>,
}

struct Live {
    state: WebState,
    caller: Caller,
    right: RepositoryRead,
    build: BuildId,
    hints: Receiver<BuildId>,
    after: u64,
    known: Known,
    pending: VecDeque<Event>,
    ended: bool,
    checked: Instant,
    _place: SemaphorePermit<'static>,
}

impl Live {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.ended || !self.may_look().await {
                return None;
            }
            match self.look().await {
                Ok(()) if self.pending.is_empty() => self.wait().await?,
                Ok(()) => {}
                Err(error) => {
                    // The reader comes back by itself and goes on where it was.
                    tracing::warn!(%error, build = %self.build, "a live log was cut");
                    return None;
                }
            }
        }
    }

    /// One look at the database: the build first, so that the log that is read after it is whole when the build has ended.
    async fn look(&mut self) -> Result<(), slipway_app::store::StoreError> {
        let mut tx = self.state.app().db().read().await?;
        let Some(build) = builds::get(&mut tx, self.right.repository().id, self.build).await? else {
            self.ended = true;
            return Ok(());
        };
        let steps = progress::list_steps(&mut tx, self.build, build.attempt).await?;
        let chunks = logs::list(&mut tx, self.build, self.after, PAGE).await?;
        drop(tx);
        let more = chunks.len() == PAGE as usize;
        let end = build.state.is_final() && !more;
        let state = build.state;
        self.take(chunks);
        for step in steps {
            if self.known.steps.get(&step.id) != Some(&step) {
                self.pending.extend(json("step", &step));
                self.known.steps.insert(step.id.clone(), step);
            }
        }
        let summary = serde_json::to_string(&BuildSummary::of(build)).unwrap_or_default();
        if summary != self.known.summary {
            self.pending.push_back(Event::default().event("state").data(&summary));
            self.known.summary = summary;
        }
        if end {
            self.pending.extend(json("end", &LogEnd { state }));
            self.ended = true;
        }
        Ok(())
    }

    /// Neighbouring pieces of one step become one event.
    fn take(&mut self, chunks: Vec<LogChunk>) {
        let mut current: Option<LogPiece> = None;
        for chunk in chunks {
            self.after = chunk.seq;
            if self.known.attempt.replace(chunk.attempt).is_some_and(|before| before != chunk.attempt) {
                self.pending.extend(current.take().and_then(|piece| log_event(&piece)));
                self.pending.extend(json("reset", &serde_json::json!({ "attempt": chunk.attempt })));
                self.known.steps.clear();
            }
            match &mut current {
                Some(piece) if piece.step == chunk.step && piece.text.len() + chunk.text.len() <= MAX_EVENT_BYTES => {
                    piece.text.push_str(&chunk.text);
                    piece.seq = chunk.seq;
                }
                _ => {
                    let next = LogPiece { seq: chunk.seq, step: chunk.step, at: chunk.at, text: chunk.text };
                    self.pending.extend(current.replace(next).and_then(|piece| log_event(&piece)));
                }
            }
        }
        self.pending.extend(current.and_then(|piece| log_event(&piece)));
    }

    /// Until there may be something new; `None` when the process shuts down.
    async fn wait(&mut self) -> Option<()> {
        let deadline = Instant::now() + POLL;
        loop {
            tokio::select! {
                () = self.state.options().shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(deadline) => return Some(()),
                hint = self.hints.recv() => match hint {
                    Ok(id) if id != self.build => {}
                    // Lagging behind the hints means that something happened; without hints the poll remains.
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        tokio::time::sleep(COALESCE).await;
                        return Some(());
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                        tokio::time::sleep_until(deadline).await;
                        return Some(());
                    }
                },
            }
        }
    }

    /// A token that was revoked or a right that was taken ends the stream within seconds.
    async fn may_look(&mut self) -> bool {
        if self.checked.elapsed() < RIGHT {
            return true;
        }
        self.checked = Instant::now();
        let repository = self.right.repository();
        let stands = matches!(self.state.app().still_stands(&self.caller).await, Ok(true));
        stands
            && self
                .state
                .app()
                .repository_read(&self.caller, &repository.namespace, &repository.name)
                .await
                .is_ok_and(|right| right.repository().id == repository.id)
    }
}

fn log_event(piece: &LogPiece) -> Option<Event> {
    json("log", piece).map(|event| event.id(piece.seq.to_string()))
}

fn json(name: &str, value: &impl Serialize) -> Option<Event> {
    let event = Event::default().event(name).json_data(value);
    event.inspect_err(|error| tracing::error!(%error, "an event could not be written")).ok()
}
