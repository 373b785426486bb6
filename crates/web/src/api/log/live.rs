//! One viewer of a live log: catches up from the database, then follows the build's feed.
//!
//! Invariant: a viewer that comes back with the last id misses no piece and gets none twice; one that does not read costs a page of pieces
//! and the bytes that it shares with the others.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use slipway_app::store::{StoreError, logs};
use slipway_app::{Caller, RepositoryRead};
use slipway_model::BuildId;
use tokio::sync::{SemaphorePermit, watch};
use tokio::time::Instant;

use super::feed::{Feed, Found, Next};
use super::frames::{Frame, Frames, MAX_BYTES};
use crate::state::WebState;

/// How often the right to look is checked again.
const RIGHT: Duration = Duration::from_secs(15);
/// Pieces that are read at once while catching up: few, because what does not fit into a frame is read again.
const AT_ONCE: u32 = 4;
/// A word now and then keeps proxies from ending a silent connection.
const SILENCE: Duration = Duration::from_secs(15);

/// A viewer before the first word.
pub(super) struct Viewer {
    pub(super) state: WebState,
    pub(super) caller: Caller,
    pub(super) right: RepositoryRead,
    pub(super) build: BuildId,
    /// The last piece that it has, and that piece's attempt.
    pub(super) after: u64,
    pub(super) attempt: Option<u32>,
    /// What is said first.
    pub(super) first: Frames,
    pub(super) place: SemaphorePermit<'static>,
}

impl Viewer {
    /// The answer that goes on until the build has ended.
    pub(super) fn respond(self, feed: Arc<Feed>) -> Response {
        let Self { state, caller, right, build, after, attempt, first, place } = self;
        let changes = feed.changes();
        let pending = first.finish().into();
        let at = At::Entering;
        let live = Live { state, caller, right, build, feed, changes, after, attempt, at, pending, checked: Instant::now(), _place: place };
        let bytes = stream::unfold(live, |mut live| async move { live.next().await.map(|bytes| (Ok::<Bytes, Infallible>(bytes), live)) });
        // A proxy that collects the answer first would make it no live log at all.
        let headers = [
            (header::CONTENT_TYPE.as_str(), "text/event-stream"),
            (header::CACHE_CONTROL.as_str(), "no-cache"),
            ("x-accel-buffering", "no"),
        ];
        (headers, Body::from_stream(bytes)).into_response()
    }
}

enum At {
    /// On its way to where the feed is.
    Entering,
    /// In the feed, in front of the frame of this number.
    Following(u64),
}

struct Live {
    state: WebState,
    caller: Caller,
    right: RepositoryRead,
    build: BuildId,
    feed: Arc<Feed>,
    changes: watch::Receiver<()>,
    after: u64,
    attempt: Option<u32>,
    at: At,
    pending: VecDeque<Frame>,
    checked: Instant,
    _place: SemaphorePermit<'static>,
}

impl Live {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                self.after = frame.seq.max(self.after);
                self.attempt = frame.attempt.or(self.attempt);
                return Some(frame.bytes);
            }
            if !self.may_look().await {
                return None;
            }
            // Before looking, so that what comes while looking is not slept over.
            self.changes.mark_unchanged();
            match self.at {
                At::Entering => match self.feed.enter(self.after) {
                    Found::Over => return None,
                    Found::Wait => {}
                    Found::Behind(end) => {
                        if let Err(error) = self.catch_up(end).await {
                            tracing::warn!(%error, build = %self.build, "a live log was cut");
                            return None;
                        }
                        continue;
                    }
                    Found::Entered { snapshot, next, attempt } => {
                        self.at = At::Following(next);
                        if let (Some(known), Some(newest)) = (self.attempt, attempt)
                            && known < newest
                        {
                            let mut frames = Frames::behind(self.after, self.attempt);
                            frames.reset(newest);
                            self.pending.extend(frames.finish());
                        }
                        self.pending.push_back(Frame { bytes: snapshot, seq: self.after, attempt });
                        continue;
                    }
                },
                At::Following(number) => match self.feed.next(number) {
                    Next::Over => return None,
                    Next::Wait => {}
                    Next::Lost => {
                        self.at = At::Entering;
                        continue;
                    }
                    Next::Frames(frames) => {
                        self.at = At::Following(number + frames.len() as u64);
                        self.pending.extend(frames);
                        continue;
                    }
                },
            }
            tokio::select! {
                () = self.state.options().shutdown.cancelled() => return None,
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep(SILENCE) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    /// Reads a little of what lies between the viewer and the feed.
    async fn catch_up(&mut self, end: u64) -> Result<(), StoreError> {
        let mut tx = self.state.app().db().read().await?;
        let mut chunks = logs::list(&mut tx, self.build, self.after, AT_ONCE).await?;
        drop(tx);
        let mut size = 0;
        let fitting = chunks.iter().take_while(|chunk| {
            size += chunk.text.len();
            chunk.seq <= end && (size <= MAX_BYTES || size == chunk.text.len())
        });
        let fitting = fitting.count();
        chunks.truncate(fitting);
        // Pieces that are gone, with the build: there is nothing to catch up with.
        self.after = chunks.last().map_or(end, |chunk| chunk.seq);
        let mut frames = Frames::behind(self.after, self.attempt);
        frames.log(chunks);
        self.pending.extend(frames.finish());
        Ok(())
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
