//! The queue as builders see it: heartbeat, report, finish, release; and the loop that ends dead leases.
//!
//! Every call of a builder is fenced: it demands builder, attempt and a lease that has not ended (`store::builds::hold`).
//! Deliberately elsewhere: handing out builds (`claims`), builders themselves (`nodes`).

use std::time::Duration;

use slipway_model::{BuildId, BuildState, BuilderId, CommitId, FailureCode, FailureReason, Phase, Step, Timestamp};
use slipway_store::builders;
use slipway_store::builds::{self, Build, Ending};
use slipway_store::{WriteTx, deploy_keys, logs, progress, refs, repositories};

use crate::promote::{Known, Promotion};
use crate::{App, Error, notes};

/// A builder whose token was checked.
#[derive(Debug, Clone)]
pub struct RegisteredBuilder {
    /// Identity.
    pub id: BuilderId,
    /// For people.
    pub name: String,
}

/// The attempt no longer holds the lease: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// Why, for the builder's log.
    pub detail: String,
}

/// What a builder reports.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A phase began.
    PhaseStarted(Phase, Timestamp),
    /// A phase ended.
    PhaseFinished(Phase, Timestamp),
    /// A step is new or changed.
    Step(Step),
    /// Output of a step or of the build as a whole.
    Log(Option<String>, String, Timestamp),
    /// The source was fetched: with what, why not with the deploy key, and whether that was refused.
    Cloned(String, Option<String>, KeyUse),
    /// What git says of the commit: id, first line, author.
    Commit(CommitId, String, String),
}

/// What became of the deploy key that a build was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It was used, or there was none.
    Fine,
    /// The provider refused it: it has to be looked at.
    Refused,
}

/// How a build ended on the builder's side.
#[derive(Debug, Clone)]
pub enum BuilderOutcome {
    /// Pushed by this digest.
    Pushed(String),
    /// Built and tested, and not to be pushed.
    Passed,
    /// Ended without an image, for good.
    Failed(FailureReason),
    /// Ended for a cause outside of the source: try again.
    FailedForNow(FailureReason),
    /// It needs an engine of its own, which this builder cannot have, for this reason.
    NeedsOwnEngine(FailureReason),
    /// Stopped because we asked.
    Cancelled,
    /// The last image is what it would give.
    Unneeded(FailureReason),
}

/// What an administrator does about builds that no node can run.
const NO_OTHER_BUILDER: &str =
    "no other builder can have one either: an administrator mends that on its machine, or adds a builder on another one";

/// How far the end of a build came.
enum Finish {
    Done(Result<BuildState, Fenced>),
    /// It has to be known first how the build's commit stands to these.
    Ask(Box<Build>, Vec<CommitId>),
}

pub(crate) fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

impl App {
    /// How many builds wait and how many run.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn queue_length(&self) -> Result<(u64, u64), Error> {
        let mut tx = self.read().await?;
        Ok(builds::queue_length(&mut tx).await?)
    }

    /// Waits until something may be in the queue, or `limit` has passed.
    pub async fn wait_for_work(&self, limit: Duration) {
        // Waking is a hint: whether there is work only the next claim knows.
        tokio::time::timeout(limit, self.wake.queue.notified()).await.ok();
    }

    async fn held(
        &self,
        tx: &mut WriteTx,
        builder: &RegisteredBuilder,
        build: BuildId,
        attempt: u32,
    ) -> Result<Result<Build, Fenced>, Error> {
        if let Some(held) = builds::hold(tx, build, builder.id, attempt, self.clock.now()).await? {
            return Ok(Ok(held));
        }
        metrics::counter!("slipway_fenced_total").increment(1);
        let detail = match builds::get_any(tx, build).await? {
            None => "there is no such build".to_owned(),
            Some(build) if build.state.is_final() => format!("the build has ended: {}", build.state),
            Some(build) if build.attempt != attempt => format!("attempt {} took over from attempt {attempt}", build.attempt),
            Some(_) => "lease lost".to_owned(),
        };
        Ok(Err(Fenced { detail }))
    }

    /// The builder is alive: extends the lease, says whether to cancel.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn heartbeat(&self, builder: &RegisteredBuilder, build: BuildId, attempt: u32) -> Result<Result<bool, Fenced>, Error> {
        let mut tx = self.write().await?;
        let held = match self.held(&mut tx, builder, build, attempt).await? {
            Ok(held) => held,
            Err(fenced) => return Ok(Err(fenced)),
        };
        let until = self.clock.now().plus(self.config.lease);
        // Beats come every second; a row is rewritten when a third of the lease is gone.
        if held.lease_until.is_none_or(|old| until.since(old) > self.config.lease / 3) {
            builds::extend_lease(&mut tx, build, until).await?;
            // A builder with all its places taken claims nothing: its beats are what shows that it lives.
            builders::set_alive(&mut tx, builder.id, self.clock.now()).await?;
            tx.commit().await?;
        }
        Ok(Ok(held.cancel_requested))
    }

    /// Keeps a numbered batch once; gives the highest kept number.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn report(
        &self,
        builder: &RegisteredBuilder,
        build: BuildId,
        attempt: u32,
        sequence: u64,
        events: &[Progress],
    ) -> Result<Result<u64, Fenced>, Error> {
        let mut tx = self.write().await?;
        let held = match self.held(&mut tx, builder, build, attempt).await? {
            Ok(held) => held,
            Err(fenced) => return Ok(Err(fenced)),
        };
        if sequence <= held.last_sequence {
            return Ok(Ok(held.last_sequence));
        }
        let mut chunks: Vec<(Option<&str>, &str, Timestamp)> = Vec::new();
        let mut bytes = 0;
        for event in events {
            match event {
                Progress::PhaseStarted(phase, at) => progress::start_phase(&mut tx, build, attempt, *phase, *at).await?,
                Progress::PhaseFinished(phase, at) => progress::finish_phase(&mut tx, build, attempt, *phase, *at).await?,
                Progress::Step(step) => progress::upsert_step(&mut tx, build, attempt, &bounded(step)).await?,
                Progress::Cloned(with, because, key) => self.cloned(&mut tx, &held, with, because.as_deref(), *key).await?,
                Progress::Commit(commit, message, author) => {
                    builds::set_commit(&mut tx, build, commit, &cut(message, 500), &cut(author, 200)).await?
                }
                Progress::Log(step, text, at) => {
                    let before = held.log_bytes + bytes;
                    bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
                    if before < self.config.log_limit_bytes {
                        chunks.push((step.as_deref(), text, *at));
                    }
                }
            }
        }
        logs::append(&mut tx, build, attempt, &chunks).await?;
        builds::set_last_sequence(&mut tx, build, sequence, bytes).await?;
        if held.log_bytes < self.config.log_limit_bytes && held.log_bytes + bytes >= self.config.log_limit_bytes {
            let text = format!("\n[log cut: more than {} bytes]\n", self.config.log_limit_bytes);
            logs::append(&mut tx, build, attempt, &[(None, &text, self.clock.now())]).await?;
        }
        tx.commit().await?;
        self.build_changed(build);
        Ok(Ok(sequence))
    }

    async fn cloned(&self, tx: &mut WriteTx, build: &Build, with: &str, because: Option<&str>, key: KeyUse) -> Result<(), Error> {
        builds::add_note(tx, build.id, &notes::cloned(with, because)).await?;
        if key == KeyUse::Refused
            && let Some(repository) = repositories::get(tx, build.repository).await?
        {
            deploy_keys::hurry_source(tx, repository.account, &build.provider, &build.source_id, self.clock.now()).await?;
            self.wake.keys.notify_one();
        }
        Ok(())
    }

    /// The build ended on the builder's side: decides the final state and moves the tags, in one transaction. Asking again gives the same answer.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn finish(
        &self,
        builder: &RegisteredBuilder,
        build: BuildId,
        attempt: u32,
        outcome: &BuilderOutcome,
    ) -> Result<Result<BuildState, Fenced>, Error> {
        let mut known = Known::default();
        loop {
            match self.try_finish(builder, build, attempt, outcome, &known).await? {
                Finish::Done(done) => return Ok(done),
                // Outside of the transaction: the provider may be slow. Meanwhile the lease may end, or the tags move, so all is looked at anew.
                Finish::Ask(held, shown) => known.learn(self.ancestry(&held, shown).await),
            }
        }
    }

    async fn try_finish(
        &self,
        builder: &RegisteredBuilder,
        build: BuildId,
        attempt: u32,
        outcome: &BuilderOutcome,
        known: &Known,
    ) -> Result<Finish, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        if let (BuilderOutcome::Pushed(_) | BuilderOutcome::Passed, Some(build)) = (outcome, builds::get_any(&mut tx, build).await?) {
            // Before the build's own row: whoever decides about a push takes them in this order too.
            refs::lock(&mut tx, build.autobuild).await?;
        }
        let held = match self.held(&mut tx, builder, build, attempt).await? {
            Ok(held) => held,
            Err(fenced) => {
                // The answer to the first call may have been lost: the same attempt of the same builder is told what it already did.
                let ended = builds::get_any(&mut tx, build)
                    .await?
                    .filter(|ended| ended.attempt == attempt && ended.builder == Some(builder.id) && ended.state.is_final());
                return Ok(Finish::Done(ended.map(|ended| ended.state).ok_or(fenced)));
            }
        };
        let state = match outcome {
            BuilderOutcome::Passed if !held.terms.publish => {
                builds::finish(&mut tx, build, &Ending { state: BuildState::Success, reason: None, note: None, digest: None }, now).await?;
                BuildState::Success
            }
            BuilderOutcome::Pushed(_) | BuilderOutcome::Passed => {
                let digest = if let BuilderOutcome::Pushed(digest) = outcome { Some(digest.as_str()) } else { None };
                match self.promote(&mut tx, &held, digest, known, now).await? {
                    Promotion::Ended(state) => state,
                    Promotion::Ask(shown) => return Ok(Finish::Ask(Box::new(held), shown)),
                }
            }
            BuilderOutcome::Failed(reason) => self.end(&mut tx, build, BuildState::Failed, reason, now).await?,
            // Nobody wants another try.
            BuilderOutcome::FailedForNow(_) | BuilderOutcome::NeedsOwnEngine(_) if held.cancel_requested => {
                self.end_cancelled(&mut tx, build, "cancelled while it ran", now).await?
            }
            BuilderOutcome::FailedForNow(reason) if held.tries() >= self.config.attempts => {
                self.end(&mut tx, build, BuildState::Failed, reason, now).await?
            }
            BuilderOutcome::FailedForNow(reason) => {
                let note = notes::after_attempt(&held, &format!("ended: {}", reason.text));
                builds::requeue(&mut tx, build, &note, now.plus(Duration::from_secs(5 * u64::from(attempt)))).await?;
                BuildState::Queued
            }
            BuilderOutcome::NeedsOwnEngine(reason) if builders::any_has_engines(&mut tx).await? => {
                let how = format!("was not built on `{}`: {}; another builder takes it", builder.name, reason.text);
                let note = notes::after_attempt(&held, &how);
                builds::hand_on(&mut tx, build, &note, now).await?;
                BuildState::Queued
            }
            BuilderOutcome::NeedsOwnEngine(reason) => {
                let text = format!("{}; {NO_OTHER_BUILDER}", reason.text);
                self.end(&mut tx, build, BuildState::Failed, &FailureReason::new(reason.code, text), now).await?
            }
            BuilderOutcome::Cancelled => self.end_cancelled(&mut tx, build, "cancelled while it ran", now).await?,
            BuilderOutcome::Unneeded(reason) => self.end(&mut tx, build, BuildState::Cancelled, reason, now).await?,
        };
        tx.commit().await?;
        metrics::counter!("slipway_builds_finished_total", "state" => state.as_str()).increment(1);
        self.build_ended(build);
        self.wake.queue.notify_waiters();
        Ok(Finish::Done(Ok(state)))
    }

    pub(crate) async fn end(
        &self,
        tx: &mut WriteTx,
        build: BuildId,
        state: BuildState,
        reason: &FailureReason,
        now: Timestamp,
    ) -> Result<BuildState, Error> {
        builds::finish(tx, build, &Ending { state, reason: Some(reason), note: None, digest: None }, now).await?;
        Ok(state)
    }

    /// A person asked for it, and nobody runs it any more.
    pub(crate) async fn end_cancelled(&self, tx: &mut WriteTx, build: BuildId, text: &str, now: Timestamp) -> Result<BuildState, Error> {
        self.end(tx, build, BuildState::Cancelled, &FailureReason::new(FailureCode::Cancelled, text), now).await
    }

    /// The builder gives a build back, because it shuts down. That is no try of the build. One that a person cancelled meanwhile ends.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn release(
        &self,
        builder: &RegisteredBuilder,
        build: BuildId,
        attempt: u32,
        note: &str,
    ) -> Result<Result<(), Fenced>, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let held = match self.held(&mut tx, builder, build, attempt).await? {
            Ok(held) => held,
            Err(fenced) => return Ok(Err(fenced)),
        };
        if held.cancel_requested {
            self.end_cancelled(&mut tx, build, "cancelled; its builder gave it back", now).await?;
        } else {
            let note = notes::after_attempt(&held, &format!("was given back: {note}"));
            builds::hand_back(&mut tx, build, &note, now).await?;
        }
        tx.commit().await?;
        self.build_ended(build);
        self.wake.queue.notify_waiters();
        Ok(Ok(()))
    }

    /// Gives builds of silent builders to others, or ends them when they were tried often enough; gives how many.
    pub(crate) async fn expire_leases_once(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let expired = builds::list_expired(&mut tx, now, 100).await?;
        for build in &expired {
            if build.cancel_requested {
                self.end_cancelled(&mut tx, build.id, "cancelled; its builder did not answer any more", now).await?;
            } else if build.tries() >= self.config.attempts {
                let text = format!("lease lost: the builder went silent in attempt {} of {}", build.tries(), self.config.attempts);
                self.end(&mut tx, build.id, BuildState::Failed, &FailureReason::new(FailureCode::LeaseLost, text), now).await?;
            } else {
                let note = notes::after_attempt(build, "lost its lease: the builder went silent");
                builds::requeue(&mut tx, build.id, &note, now).await?;
            }
        }
        tx.commit().await?;
        for build in &expired {
            self.build_ended(build.id);
        }
        if !expired.is_empty() {
            self.wake.queue.notify_waiters();
        }
        Ok(expired.len())
    }
}

fn bounded(step: &Step) -> Step {
    let clean = |text: &str, limit| cut(text, limit).replace('\0', "\u{fffd}");
    Step {
        id: clean(&step.id, 128),
        name: clean(&step.name, 1000),
        error: step.error.as_deref().map(|error| clean(error, 2000)),
        ..step.clone()
    }
}
