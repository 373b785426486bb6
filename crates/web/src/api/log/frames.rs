//! Server-sent events as bytes that many viewers can share.
//!
//! Invariant: an event is whole within its frame, and a frame knows the last piece of log that was told with it.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use slipway_app::store::logs::LogChunk;

use super::LogPiece;

/// Text of one event, and of one frame unless a single event is larger.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Some events.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// The last piece of log that a reader of this frame has.
    pub(super) seq: u64,
    /// The attempt that a reader of this frame knows of.
    pub(super) attempt: Option<u32>,
}

/// Events on their way into frames.
#[derive(Debug)]
pub(super) struct Frames {
    done: Vec<Frame>,
    open: String,
    seq: u64,
    attempt: Option<u32>,
}

impl Frames {
    /// Nothing yet, for readers who have everything up to this piece and know of this attempt.
    pub(super) fn behind(seq: u64, attempt: Option<u32>) -> Self {
        Self { done: Vec::new(), open: String::new(), seq, attempt }
    }

    /// The attempt that readers know of by now.
    pub(super) fn attempt(&self) -> Option<u32> {
        self.attempt
    }

    /// Adds an event; `id` is what a reader comes back with.
    pub(super) fn event(&mut self, name: &str, id: Option<u64>, value: &impl Serialize) {
        // JSON of serde has no line feed outside of its strings, and there it is escaped: one line of data is all of it.
        let json = match serde_json::to_string(value) {
            Ok(json) => json,
            Err(error) => return tracing::error!(%error, name, "an event could not be written"),
        };
        if self.open.len() + json.len() > MAX_BYTES {
            self.close();
        }
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        write!(self.open, "event: {name}\n{id}data: {json}\n\n").expect("a string takes every text");
    }

    /// Adds pieces of log. Neighbours of one step become one event; another attempt than the reader knows of is told as `reset`.
    pub(super) fn log(&mut self, chunks: Vec<LogChunk>) -> Reset {
        let mut current: Option<LogPiece> = None;
        let mut reset = Reset::No;
        for chunk in chunks {
            if self.attempt.is_some_and(|known| known != chunk.attempt) {
                self.piece(current.take());
                self.reset(chunk.attempt);
                reset = Reset::Yes;
            }
            self.attempt = Some(chunk.attempt);
            match &mut current {
                Some(piece) if piece.step == chunk.step && piece.text.len() + chunk.text.len() <= MAX_BYTES => {
                    piece.text.push_str(&chunk.text);
                    piece.seq = chunk.seq;
                }
                _ => {
                    let next = LogPiece::of(chunk);
                    self.piece(current.replace(next));
                }
            }
        }
        self.piece(current);
        reset
    }

    /// Says that another attempt begins.
    pub(super) fn reset(&mut self, attempt: u32) {
        self.close();
        self.attempt = Some(attempt);
        self.event("reset", None, &serde_json::json!({ "attempt": attempt }));
    }

    fn piece(&mut self, piece: Option<LogPiece>) {
        if let Some(piece) = piece {
            self.event("log", Some(piece.seq), &piece);
            self.seq = piece.seq;
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(Frame { bytes: std::mem::take(&mut self.open).into(), seq: self.seq, attempt: self.attempt });
        }
    }

    /// The frames.
    pub(super) fn finish(mut self) -> Vec<Frame> {
        self.close();
        self.done
    }
}

/// Whether what was said of steps belongs to an attempt before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use slipway_model::Timestamp;

    use super::*;

    fn chunk(seq: u64, attempt: u32, step: &str, text: &str) -> LogChunk {
        LogChunk { seq, attempt, step: Some(step.to_owned()), at: Timestamp::from_millis(0), text: text.to_owned() }
    }

    fn text(frames: &[Frame]) -> String {
        frames.iter().map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn neighbours_become_one_event_and_attempts_are_told_apart() {
        let mut frames = Frames::behind(3, None);
        let chunks =
            vec![chunk(4, 1, "a", "one\n"), chunk(5, 1, "a", "two"), chunk(6, 1, "b", "\n\ndata: x\r\n"), chunk(7, 2, "b", "again")];
        assert_eq!(frames.log(chunks), Reset::Yes);
        assert_eq!(frames.attempt(), Some(2));
        let frames = frames.finish();
        assert_eq!(frames.iter().map(|frame| (frame.seq, frame.attempt)).collect::<Vec<_>>(), [(6, Some(1)), (7, Some(2))]);
        let all = text(&frames);
        assert_eq!(all.matches("\n\n").count(), 4, "each event ends once: {all}");
        assert!(all.starts_with("event: log\nid: 5\ndata: {") && all.contains(r#""text":"one\ntwo""#), "{all}");
        assert!(all.contains(r#""text":"\n\ndata: x\r\n""#), "a line feed of the log ends no event: {all}");
        let (reset, again) = (all.find("event: reset\ndata: {\"attempt\":2}").unwrap(), all.find("again").unwrap());
        assert!(reset < again);
    }

    #[test]
    fn frames_stay_small_and_say_how_far_they_go() {
        let mut frames = Frames::behind(0, None);
        let big = "x".repeat(40 * 1024);
        frames.log((1..=5).map(|seq| chunk(seq, 1, "a", &big)).collect());
        let frames = frames.finish();
        assert_eq!(frames.iter().map(|frame| frame.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(frames.iter().all(|frame| frame.bytes.len() < MAX_BYTES + 1024));
        assert_eq!(text(&frames).matches("event: log").count(), 5);
    }
}
