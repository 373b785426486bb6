//! Progress of a build: steps and their output.
//!
//! The invariant: for each step the last value that the engine sent counts, because `cached` and `completed` come late and
//! steps repeat; an unchanged step is not reported again. Deliberately elsewhere: phases, and storing any of it.

use std::collections::HashMap;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex as WireVertex};
use bytes::Bytes;

use crate::explain::scrub;

/// More steps than any Dockerfile makes; later ones are not reported.
const MAX_STEPS: usize = 20_000;
const MAX_NAME: usize = 4096;

/// One piece of news from a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SolveEvent {
    /// A step is new or has changed.
    Vertex(Vertex),
    /// A step printed something.
    Log {
        /// The step's digest.
        vertex: String,
        /// Where it was printed.
        stream: LogStream,
        /// The bytes as they came.
        bytes: Bytes,
    },
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// Its identity within the build.
    pub digest: String,
    /// Its name, for example `[2/3] RUN make`.
    pub name: String,
    /// When it began, in milliseconds since 1970 by the engine's clock.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub completed_ms: Option<i64>,
    /// Whether an earlier result was used.
    pub cached: bool,
    /// What went wrong; an error here does not always fail the build (a missing cache is one).
    pub error: Option<String>,
}

/// An output stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The steps as they are known so far.
#[derive(Debug, Default)]
pub(crate) struct Board {
    steps: HashMap<String, Vertex>,
}

impl Board {
    /// Takes an update in and returns what is new in it.
    pub(crate) fn update(&mut self, update: StatusResponse) -> Vec<SolveEvent> {
        let mut news = Vec::new();
        for wire in update.vertexes {
            let known = self.steps.len();
            let vertex = vertex(wire);
            let old = self.steps.get(&vertex.digest);
            if old == Some(&vertex) || (old.is_none() && known >= MAX_STEPS) {
                continue;
            }
            self.steps.insert(vertex.digest.clone(), vertex.clone());
            news.push(SolveEvent::Vertex(vertex));
        }
        news.extend(update.logs.into_iter().map(|log| SolveEvent::Log {
            vertex: log.vertex,
            stream: if log.stream == 2 { LogStream::Stderr } else { LogStream::Stdout },
            bytes: Bytes::from(log.msg),
        }));
        news
    }

    /// The step with this digest.
    pub(crate) fn step(&self, digest: &str) -> Option<&Vertex> {
        self.steps.get(digest)
    }

    /// Steps that ended with an error, those that ran a process first.
    pub(crate) fn failed(&self) -> Vec<&Vertex> {
        let mut failed: Vec<&Vertex> = self.steps.values().filter(|step| step.error.is_some()).collect();
        failed.sort_by_key(|step| (!step.error.as_deref().is_some_and(|e| e.contains("exit code: ")), step.completed_ms));
        failed
    }
}

fn vertex(wire: WireVertex) -> Vertex {
    let mut name = wire.name;
    if let Some((end, _)) = name.char_indices().find(|(at, _)| *at >= MAX_NAME) {
        name.truncate(end);
    }
    Vertex {
        digest: wire.digest,
        name,
        started_ms: wire.started.map(milliseconds),
        completed_ms: wire.completed.map(milliseconds),
        cached: wire.cached,
        error: (!wire.error.is_empty()).then(|| scrub(&wire.error)),
    }
}

fn milliseconds(time: Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(digest: &str, cached: bool, completed: Option<i64>) -> WireVertex {
        WireVertex {
            digest: digest.to_owned(),
            name: "step".to_owned(),
            cached,
            completed: completed.map(|seconds| Timestamp { seconds, nanos: 5_000_000 }),
            ..WireVertex::default()
        }
    }

    #[test]
    fn the_last_value_counts_and_repeats_are_silent() {
        let mut board = Board::default();
        let of = |list: Vec<WireVertex>| StatusResponse { vertexes: list, ..StatusResponse::default() };
        assert_eq!(board.update(of(vec![wire("a", false, None)])).len(), 1);
        assert_eq!(board.update(of(vec![wire("a", false, None)])).len(), 0);
        let news = board.update(of(vec![wire("b", false, None), wire("a", true, Some(7))]));
        assert_eq!(news.len(), 2);
        let SolveEvent::Vertex(step) = &news[1] else { panic!("a step") };
        assert!(step.cached && step.completed_ms == Some(7005));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let mut long = wire("a", false, None);
        long.name = "ö".repeat(MAX_NAME);
        assert_eq!(vertex(long).name.len(), MAX_NAME);
    }
}
