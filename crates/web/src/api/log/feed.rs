//! What the viewers of one build share: a single reader of the database, and the events that it made last.
//!
//! Invariant: events are made once and in the order of the build; a viewer either follows them without a gap or begins anew from the
//! database. A viewer that is too slow costs itself, never the others: the feed waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use slipway_app::store::builds::{self, Build};
use slipway_app::store::logs::{self, LogChunk};
use slipway_app::store::{StoreError, progress};
use slipway_model::{BuildId, Step};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frames::{Frame, Frames, Reset};
use super::{LogEnd, PAGE};
use crate::api::builds::BuildSummary;
use crate::state::WebState;

/// Without any hint the database is asked again after this time.
const POLL: Duration = Duration::from_secs(2);
/// Not more often than this, so that a loud build costs its viewers ten frames a second.
const COALESCE: Duration = Duration::from_millis(100);
/// Events that are kept for viewers who are a little behind.
const KEPT_BYTES: usize = 2 * 1024 * 1024;
const KEPT_FRAMES: usize = 256;

/// The feeds of this process.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<HashMap<BuildId, Weak<Feed>>>);

impl Feeds {
    /// The feed of a build; it is there as long as somebody holds it.
    pub(super) fn join(&self, state: &WebState, build: BuildId) -> Arc<Feed> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = feeds.get(&build).and_then(Weak::upgrade).filter(|feed| feed.shown().stage != Stage::Cut);
        if let Some(feed) = standing {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed { build, shown: Mutex::default(), changed: watch::Sender::new(()) });
        feeds.insert(build, Arc::downgrade(&feed));
        // Watched from before the first look, so that nothing falls between.
        let hints = state.app().watch_builds();
        tokio::spawn(keep(Arc::downgrade(&feed), state.clone(), hints));
        feed
    }
}

/// The events of one build.
#[derive(Debug)]
pub(super) struct Feed {
    build: BuildId,
    shown: Mutex<Shown>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was read yet.
    #[default]
    Starting,
    /// More may come.
    Live,
    /// Everything was told.
    Ended,
    /// The database could not be read; whoever comes next begins anew.
    Cut,
}

#[derive(Debug, Default)]
struct Shown {
    stage: Stage,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The number of the next frame, counted from 0.
    next: u64,
    /// The last piece of log that was told.
    seq: u64,
    attempt: Option<u32>,
    state: Option<BuildSummary>,
    known: HashMap<String, usize>,
    steps: Vec<Step>,
    /// Where a new viewer begins, made when the first one asks.
    snapshot: Option<Bytes>,
}

/// What a viewer finds who has the log up to some piece.
pub(super) enum Found {
    /// The feed is further: the pieces up to this one are to be read from the database.
    Behind(u64),
    /// The feed is not there yet.
    Wait,
    /// State and steps as they are, and the number of the frame that follows.
    Entered { snapshot: Bytes, next: u64, attempt: Option<u32> },
    /// There is nothing to wait for.
    Over,
}

/// What a viewer finds who follows.
pub(super) enum Next {
    /// Frames from the asked one on.
    Frames(Vec<Frame>),
    /// None yet.
    Wait,
    /// The asked frame is no longer kept.
    Lost,
    /// Nothing follows.
    Over,
}

impl Feed {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Enters with the log up to `after`.
    pub(super) fn enter(&self, after: u64) -> Found {
        let mut shown = self.shown();
        match shown.stage {
            Stage::Starting => Found::Wait,
            Stage::Cut => Found::Over,
            _ if after < shown.seq => Found::Behind(shown.seq),
            Stage::Live if after > shown.seq => Found::Wait,
            _ => Found::Entered { snapshot: shown.snapshot(), next: shown.next, attempt: shown.attempt },
        }
    }

    /// The frames from this number on, up to a few.
    pub(super) fn next(&self, number: u64) -> Next {
        const AT_ONCE: usize = 16;
        let shown = self.shown();
        let first = shown.next - shown.frames.len() as u64;
        match number.checked_sub(first) {
            None => Next::Lost,
            Some(skipped) => {
                let frames: Vec<Frame> =
                    shown.frames.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)).take(AT_ONCE).cloned().collect();
                match (frames.is_empty(), shown.stage) {
                    (false, _) => Next::Frames(frames),
                    (true, Stage::Ended | Stage::Cut) => Next::Over,
                    (true, _) => Next::Wait,
                }
            }
        }
    }

    /// One look at the database; true when more is there at once. The build is read first, so that the log that is read after it is whole
    /// when the build has ended.
    async fn look(&self, state: &WebState) -> Result<bool, StoreError> {
        let (stage, seq) = {
            let shown = self.shown();
            (shown.stage, shown.seq)
        };
        let mut tx = state.app().db().read().await?;
        let Some(build) = builds::get_any(&mut tx, self.build).await? else {
            self.change(|shown| shown.stage = Stage::Ended);
            return Ok(false);
        };
        let steps = progress::list_steps(&mut tx, self.build, build.attempt).await?;
        if stage == Stage::Starting {
            // What is there already, each viewer reads for itself.
            let last = logs::last(&mut tx, self.build).await?;
            drop(tx);
            self.change(|shown| shown.start(build, steps, last));
            return Ok(false);
        }
        let chunks = logs::list(&mut tx, self.build, seq, PAGE).await?;
        drop(tx);
        let more = chunks.len() == PAGE as usize;
        self.change(|shown| shown.take(build, steps, chunks));
        Ok(more)
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        let before = {
            let mut shown = self.shown();
            let before = (shown.stage, shown.next);
            change(&mut shown);
            before == (shown.stage, shown.next)
        };
        if !before {
            self.changed.send_replace(());
        }
    }
}

impl Shown {
    fn start(&mut self, build: Build, steps: Vec<Step>, last: Option<(u64, u32)>) {
        self.stage = if build.state.is_final() { Stage::Ended } else { Stage::Live };
        self.seq = last.map_or(0, |(seq, _)| seq);
        self.attempt = Some(build.attempt).filter(|attempt| *attempt > 0);
        self.known = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        self.steps = steps;
        self.state = Some(BuildSummary::of(build));
    }

    fn take(&mut self, build: Build, steps: Vec<Step>, chunks: Vec<LogChunk>) {
        let end = build.state.is_final() && chunks.len() < PAGE as usize;
        let seq = chunks.last().map_or(self.seq, |chunk| chunk.seq);
        let mut frames = Frames::behind(self.seq, self.attempt);
        let mut reset = frames.log(chunks);
        if frames.attempt().is_some_and(|known| known < build.attempt) {
            frames.reset(build.attempt);
            reset = Reset::Yes;
        }
        if reset == Reset::Yes {
            (self.steps, self.known) = (Vec::new(), HashMap::new());
        }
        self.attempt = frames.attempt().max(Some(build.attempt).filter(|attempt| *attempt > 0));
        for step in steps {
            let known = self.known.get(&step.id).copied();
            if known.is_some_and(|at| self.steps[at] == step) {
                continue;
            }
            frames.event("step", None, &step);
            match known {
                Some(at) => self.steps[at] = step,
                None => {
                    self.known.insert(step.id.clone(), self.steps.len());
                    self.steps.push(step);
                }
            }
        }
        let state = build.state;
        let summary = BuildSummary::of(build);
        if self.state.as_ref() != Some(&summary) {
            frames.event("state", None, &summary);
            self.state = Some(summary);
        }
        if end {
            frames.event("end", None, &LogEnd { state });
            self.stage = Stage::Ended;
        }
        self.push(frames.finish());
        self.seq = seq;
    }

    fn push(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.snapshot = None;
            self.next += 1;
            self.bytes += frame.bytes.len();
            self.frames.push_back(frame);
            while self.frames.len() > 1 && (self.bytes > KEPT_BYTES || self.frames.len() > KEPT_FRAMES) {
                self.bytes -= self.frames.pop_front().map_or(0, |old| old.bytes.len());
            }
        }
    }

    fn snapshot(&mut self) -> Bytes {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        let mut frames = Frames::behind(self.seq, self.attempt);
        if let Some(state) = &self.state {
            frames.event("state", None, state);
        }
        for step in &self.steps {
            frames.event("step", None, step);
        }
        if let (Stage::Ended, Some(state)) = (self.stage, &self.state) {
            frames.event("end", None, &LogEnd { state: state.state() });
        }
        let snapshot: Bytes = frames.finish().iter().flat_map(|frame| frame.bytes.iter().copied()).collect::<Vec<u8>>().into();
        self.snapshot.insert(snapshot).clone()
    }
}

/// Reads for a feed until the build has ended, nobody looks any more, or the process shuts down.
async fn keep(feed: Weak<Feed>, state: WebState, mut hints: Receiver<BuildId>) {
    loop {
        let Some(held) = feed.upgrade() else { return };
        let build = held.build;
        let more = match held.look(&state).await {
            Ok(more) => more,
            Err(error) => {
                // The viewers come back by themselves and go on where they were.
                tracing::warn!(%error, %build, "live logs were cut");
                held.change(|shown| shown.stage = Stage::Cut);
                return;
            }
        };
        if held.shown().stage == Stage::Ended {
            return;
        }
        drop(held);
        if more {
            tokio::task::yield_now().await;
        } else if wait(&state, &mut hints, build).await.is_none() {
            return;
        }
    }
}

/// Until there may be something new; `None` when the process shuts down.
async fn wait(state: &WebState, hints: &mut Receiver<BuildId>, build: BuildId) -> Option<()> {
    let deadline = Instant::now() + POLL;
    loop {
        tokio::select! {
            () = state.options().shutdown.cancelled() => return None,
            () = tokio::time::sleep_until(deadline) => return Some(()),
            hint = hints.recv() => match hint {
                Ok(id) if id != build => {}
                // Lagging behind the hints means that something happened; without hints the poll remains.
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    tokio::time::sleep(COALESCE).await;
                    return Some(());
                }
                Err(RecvError::Closed) => {
                    tokio::time::sleep_until(deadline).await;
                    return Some(());
                }
            },
        }
    }
}
