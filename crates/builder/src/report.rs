//! Reports what happens in a build: numbered batches, each kept once by the server, in the order of events.
//!
//! The invariant: a batch is sent again unchanged until the server has it or the lease is lost; output is masked before it
//! is kept; memory is bounded, and a build waits when the server is away for long. Deliberately elsewhere: heartbeats
//! (`lease`), the end of a build (`worker`).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use slipway_model::{BuildId, Clock, Phase, Step, StepState};
use slipway_wire::{Event, MAX_LOG_CHUNK_BYTES, MAX_REPORT_BYTES, Report};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::api::{Api, ApiError, Backoff};
use crate::lease::{Halt, Stop};
use crate::mask::{Masker, Secrets};
use crate::steps::Steps;

/// A batch leaves at most this often.
const PACE: Duration = Duration::from_millis(250);
/// Unsent events beyond this make the build wait.
const QUEUE_BYTES: usize = 4 * MAX_REPORT_BYTES;
/// Room in a batch for the brackets and numbers around its events.
const BATCH_BYTES: usize = MAX_REPORT_BYTES - 64 * 1024;
/// Output of one build that is kept; the rest is counted as "too much" and dropped.
const LOG_LIMIT: usize = 128 * 1024 * 1024;

enum Input {
    Event(Event),
    Step(Step),
    Log { step: Option<String>, bytes: Bytes },
    Close { open_steps: StepState, done: oneshot::Sender<()> },
}

/// Where the parts of a build report to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    inputs: mpsc::Sender<Input>,
    secrets: Secrets,
    pub(crate) clock: Clock,
}

/// Which attempt of which build is reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) build: BuildId,
    pub(crate) number: u32,
}

impl Reporter {
    /// Starts the reporter of an attempt.
    pub(crate) fn start(api: Api, attempt: Attempt, secrets: Secrets, clock: Clock, halt: Halt) -> Self {
        let (inputs, received) = mpsc::channel(256);
        let state = State::new(secrets.clone(), clock.clone());
        tokio::spawn(work(api, attempt, halt, received, state));
        Self { inputs, secrets, clock }
    }

    /// One that keeps what it is told; given when everybody let go of it.
    #[cfg(test)]
    pub(crate) fn keeping(secrets: Secrets) -> (Self, tokio::task::JoinHandle<Vec<Event>>) {
        let (inputs, mut received) = mpsc::channel(256);
        let clock = Clock::System;
        let mut state = State::new(secrets.clone(), clock.clone());
        let kept = tokio::spawn(async move {
            while let Some(input) = received.recv().await {
                state.take(input);
            }
            let mut events = Vec::new();
            while !state.queue.is_empty() {
                events.extend(state.batch());
            }
            events
        });
        (Self { inputs, secrets, clock }, kept)
    }

    pub(crate) async fn event(&self, event: Event) {
        self.send(Input::Event(event)).await;
    }

    pub(crate) async fn phase_started(&self, phase: Phase) {
        self.event(Event::PhaseStarted { phase, at: self.clock.now() }).await;
    }

    pub(crate) async fn phase_finished(&self, phase: Phase) {
        self.event(Event::PhaseFinished { phase, at: self.clock.now() }).await;
    }

    pub(crate) async fn step(&self, mut step: Step) {
        step.name = self.secrets.mask(&step.name);
        step.error = step.error.map(|error| self.secrets.mask(&error));
        self.send(Input::Step(step)).await;
    }

    /// Ends a step of ours.
    pub(crate) async fn end_step(&self, mut step: Step, error: Option<String>) {
        step.state = if error.is_some() { StepState::Failed } else { StepState::Success };
        step.error = error;
        step.finished_at = Some(self.clock.now());
        self.step(step).await;
    }

    pub(crate) async fn log(&self, step: Option<&str>, bytes: impl Into<Bytes>) {
        self.send(Input::Log { step: step.map(str::to_owned), bytes: bytes.into() }).await;
    }

    pub(crate) async fn line(&self, step: Option<&str>, text: &str) {
        self.log(step, format!("{text}\n")).await;
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        self.secrets.mask(text)
    }

    /// Ends open steps, and returns when everything has reached the server or the lease is lost.
    pub(crate) async fn close(&self, open_steps: StepState) {
        let (done, closed) = oneshot::channel();
        self.send(Input::Close { open_steps, done }).await;
        // An error means that the reporter ended before, because the lease is lost: nothing is left to wait for.
        closed.await.ok();
    }

    async fn send(&self, input: Input) {
        // The reporter ends early only when the lease is lost, and then nobody wants to know.
        self.inputs.send(input).await.ok();
    }
}

/// Events that are not sent yet.
struct State {
    secrets: Secrets,
    clock: Clock,
    steps: Steps,
    streams: HashMap<Option<String>, (Masker, Vec<u8>)>,
    queue: VecDeque<(Event, usize)>,
    queued_bytes: usize,
    log_bytes: usize,
}

impl State {
    fn new(secrets: Secrets, clock: Clock) -> Self {
        let (steps, streams, queue) = (Steps::default(), HashMap::new(), VecDeque::new());
        Self { secrets, clock, steps, streams, queue, queued_bytes: 0, log_bytes: 0 }
    }

    fn take(&mut self, input: Input) -> Option<oneshot::Sender<()>> {
        match input {
            Input::Event(event) => self.push(event),
            Input::Step(step) => {
                if matches!(step.state, StepState::Success | StepState::Failed | StepState::Cancelled) {
                    self.end_stream(&Some(step.id.clone()));
                }
                if let Some(step) = self.steps.put(step) {
                    self.push(Event::Step { step });
                }
            }
            Input::Log { step, bytes } => self.log(step, &bytes),
            Input::Close { open_steps, done } => {
                let keys: Vec<_> = self.streams.keys().cloned().collect();
                keys.iter().for_each(|key| self.end_stream(key));
                for step in self.steps.close(open_steps, &self.clock) {
                    self.push(Event::Step { step });
                }
                return Some(done);
            }
        }
        None
    }

    fn log(&mut self, step: Option<String>, bytes: &[u8]) {
        if self.log_bytes > LOG_LIMIT {
            return;
        }
        self.log_bytes += bytes.len();
        if self.log_bytes > LOG_LIMIT {
            self.text(&None, &format!("\n[the output is longer than {} MiB, the rest is not kept]\n", LOG_LIMIT >> 20));
            return;
        }
        let secrets = &self.secrets;
        let (masker, partial) = self.streams.entry(step.clone()).or_insert_with(|| (Masker::new(secrets.clone()), Vec::new()));
        partial.extend(masker.feed(bytes));
        let text = whole_characters(partial);
        self.text(&step, &text);
    }

    fn end_stream(&mut self, step: &Option<String>) {
        if let Some((mut masker, mut partial)) = self.streams.remove(step) {
            partial.extend(masker.finish());
            self.text(step, &String::from_utf8_lossy(&partial).replace('\0', "\u{fffd}"));
        }
    }

    /// Appends to the last event when that is output of the same step: order stays, and bursts become few events.
    fn text(&mut self, step: &Option<String>, mut text: &str) {
        while !text.is_empty() {
            if let Some((Event::Log { step: last, text: so_far, .. }, size)) = self.queue.back_mut()
                && last == step
                && so_far.len() < MAX_LOG_CHUNK_BYTES
            {
                let end = boundary(text, MAX_LOG_CHUNK_BYTES - so_far.len());
                if end > 0 {
                    so_far.push_str(&text[..end]);
                    let added = json_bytes(&text[..end]);
                    *size += added;
                    self.queued_bytes += added;
                    text = &text[end..];
                    continue;
                }
            }
            let end = boundary(text, MAX_LOG_CHUNK_BYTES);
            let at = self.clock.now();
            self.push(Event::Log { step: step.clone(), text: text[..end].to_owned(), at });
            text = &text[end..];
        }
    }

    fn push(&mut self, event: Event) {
        let size = match &event {
            Event::Log { text, .. } => 256 + json_bytes(text),
            other => serde_json::to_vec(other).map_or(1024, |json| json.len() + 16),
        };
        self.queued_bytes += size;
        self.queue.push_back((event, size));
    }

    fn batch(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some((_, size)) = self.queue.front() {
            if !events.is_empty() && bytes + size > BATCH_BYTES {
                break;
            }
            bytes += size;
            self.queued_bytes -= size;
            events.extend(self.queue.pop_front().map(|(event, _)| event));
        }
        events
    }
}

/// Takes what is complete UTF-8 and leaves the beginning of a character that is still to come.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let end = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => {
            let tail = bytes.len().saturating_sub(3);
            (tail..bytes.len()).find(|at| is_partial(&bytes[*at..])).unwrap_or(bytes.len())
        }
        Ok(_) => bytes.len(),
    };
    // No database of ours keeps NUL in a text.
    let text = String::from_utf8_lossy(&bytes[..end]).replace('\0', "\u{fffd}");
    bytes.drain(..end);
    text
}

fn is_partial(tail: &[u8]) -> bool {
    matches!(std::str::from_utf8(tail), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
}

fn boundary(text: &str, limit: usize) -> usize {
    if text.len() <= limit { text.len() } else { (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0) }
}

/// Bytes of the text inside a JSON string.
fn json_bytes(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

async fn work(api: Api, attempt: Attempt, halt: Halt, mut inputs: mpsc::Receiver<Input>, mut state: State) {
    let mut sequence = 0;
    let mut next_batch = Instant::now();
    let mut closing: Option<oneshot::Sender<()>> = None;
    loop {
        if state.queue.is_empty() {
            if let Some(done) = closing.take() {
                // The builder may have stopped waiting; everything is sent all the same.
                done.send(()).ok();
                return;
            }
            let Some(input) = inputs.recv().await else { return };
            closing = state.take(input);
            continue;
        }
        // More may come until the batch is due, unless the queue is full or this is the end.
        if closing.is_none() && state.queued_bytes < BATCH_BYTES {
            tokio::select! {
                input = inputs.recv() => {
                    if let Some(input) = input {
                        closing = state.take(input);
                        continue;
                    }
                }
                () = tokio::time::sleep_until(next_batch) => {}
            }
        }
        sequence += 1;
        let report = Report { attempt: attempt.number, sequence, events: state.batch() };
        let sending = send(&api, attempt.build, &report, &halt);
        tokio::pin!(sending);
        let kept = loop {
            tokio::select! {
                kept = &mut sending => break kept,
                Some(input) = inputs.recv(), if closing.is_none() && state.queued_bytes < QUEUE_BYTES => closing = state.take(input),
            }
        };
        if kept.is_err() {
            return;
        }
        next_batch = Instant::now() + PACE;
    }
}

/// The lease is lost, or the server refuses the batch for good.
struct Lost;

async fn send(api: &Api, build: BuildId, report: &Report, halt: &Halt) -> Result<(), Lost> {
    let mut backoff = Backoff::new();
    loop {
        match api.report(build, report).await {
            Ok(_) => return Ok(()),
            Err(ApiError::Away(problem)) => {
                tracing::debug!(%build, %problem, "report is sent again");
                if halt.why() == Some(Stop::Fenced) {
                    return Err(Lost);
                }
                backoff.wait().await;
            }
            Err(error) => {
                tracing::warn!(%build, ?error, "the server does not take reports of this attempt any more");
                halt.stop(Stop::Fenced);
                return Err(Lost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(secrets: &[&str]) -> State {
        State::new(Secrets::new(secrets.iter().copied()), Clock::System)
    }

    fn texts(state: &mut State) -> Vec<(Option<String>, String)> {
        let events = state.batch();
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Log { step, text, .. } => Some((step, text)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn output_is_coalesced_in_order_and_masked_over_chunks() {
        let mut state = state(&["s3cret-token"]);
        for (step, text) in [("a", "one "), ("a", "two s3cret-"), ("b", "other "), ("a", "token\n")] {
            state.log(Some(step.to_owned()), text.as_bytes());
        }
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        assert_eq!(texts(&mut state), [(a.clone(), "one two ".into()), (b, "other ".into()), (a, "***\n".into())]);
    }

    #[test]
    fn characters_cut_in_two_are_put_together_and_rubbish_is_replaced() {
        let mut state = state(&[]);
        let text = "wörld ☺\u{10ffff}";
        for byte in text.as_bytes() {
            state.log(None, &[*byte]);
        }
        state.log(None, b"\xff\0x");
        assert_eq!(texts(&mut state), [(None, format!("{text}\u{fffd}\u{fffd}x"))]);
    }

    #[test]
    fn events_and_batches_stay_below_the_limits_of_the_protocol() {
        let mut state = state(&[]);
        state.log(None, "\u{1}".repeat(3 * MAX_REPORT_BYTES / 2).as_bytes());
        let mut batches = 0;
        while !state.queue.is_empty() {
            let report = Report { attempt: 1, sequence: 1, events: state.batch() };
            assert!(serde_json::to_vec(&report).expect("json").len() <= MAX_REPORT_BYTES);
            for event in &report.events {
                assert!(matches!(event, Event::Log { text, .. } if text.len() <= MAX_LOG_CHUNK_BYTES));
            }
            batches += 1;
        }
        assert!(batches > 8, "{batches}");
        assert_eq!(state.queued_bytes, 0);
    }

    #[test]
    fn endless_output_is_cut_with_a_word() {
        let mut state = state(&[]);
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..140 {
            state.log(None, &chunk);
        }
        assert!(state.queued_bytes < LOG_LIMIT + 1024 * 1024);
        let (last, _) = state.queue.back().expect("events");
        assert!(matches!(last, Event::Log { text, .. } if text.ends_with("the rest is not kept]\n")));
    }
}
