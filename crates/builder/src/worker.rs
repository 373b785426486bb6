//! The loop of a builder: claim, run, finish.
//!
//! The invariant: a claimed build ends in exactly one of finish, release, or silence after a lost lease; a shutdown ends
//! claims at once and gives running builds the configured time. Deliberately elsewhere: what a build does (`phases`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use slipway_buildkit::{Client, Engine};
use slipway_model::{Clock, FailureCode, FailureReason, StepState};
use slipway_wire::{Assignment, Claim, EngineKind, EngineStatus, Outcome, PROTOCOL};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiError, Backoff};
use crate::cleanup;
use crate::config::{BuilderConfig, BuilderError};
use crate::disk;
use crate::failure::{Failure, Retry};
use crate::home::{BuildDir, Home};
use crate::joining;
use crate::lease::{self, Halt, Stop};
use crate::phases::{self, Tools, Work};
use crate::report::{Attempt, Reporter};
use crate::sandbox::{self, Scopes};

const CLAIM_WAIT_SECONDS: u32 = 20;
/// Between claims without an engine: the server is told, and nothing is handed out.
const ENGINE_PAUSE: Duration = Duration::from_secs(5);
const GIT_LIMIT: Duration = Duration::from_secs(10);
const CLEANUP_LIMIT: Duration = Duration::from_secs(60);
/// How long the last reports and the end of a build may take when the server is away.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The same during a shutdown.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(10);

/// Works until `shutdown`, then lets running builds end, or hands them back after the configured time.
///
/// # Errors
/// When the builder cannot work at all: its settings, its folder, or a token that the server does not know. Neither an
/// absent server nor an absent engine is an error; both are waited for.
pub async fn run(config: BuilderConfig, shutdown: CancellationToken) -> Result<(), BuilderError> {
    let home = Home::open(&config.work_dir)?;
    let git = git_version().await;
    let said = git.as_deref().unwrap_or_default();
    let Some(token) = joining::credential(&config, &home, said, &shutdown).await? else { return Ok(()) };
    let api = Api::new(config.server_url.clone(), token)?;
    let scopes = Scopes::open(home.engines(), Clock::System, config.bounds)
        .map_err(|error| BuilderError::WorkDir { path: home.engines(), problem: error.to_string() })?;
    if let Some(why) = sandbox::obstacle() {
        tracing::warn!(why, "this builder cannot have engines of its own: builds with hooks, tests or other people's commits go to others");
    }
    let address = config.engine.clone();
    let store = address.is_docker().then(|| Engine::new(address.clone()));
    let tools = Tools { scopes, store, client: Client::new(address) };
    let parallel = config.parallel.max(1);
    let name = config.name.clone();
    let builder = Arc::new(Builder { home, api, tools, name, git, parallel, hand_back: CancellationToken::new() });
    let mut running = JoinSet::new();
    let claimed = builder.clone().claim_until(&shutdown, &mut running).await;
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(config.drain_timeout, drained).await.is_err() {
        builder.hand_back.cancel();
        while running.join_next().await.is_some() {}
    }
    builder.tools.scopes.close().await;
    claimed
}

/// What `git version` prints.
async fn git_version() -> Result<String, String> {
    let output = tokio::process::Command::new("git").arg("version").stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(GIT_LIMIT, output).await.map_err(|_| "it does not answer".to_owned())?;
    let output = output.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().chars().take(100).collect();
    if output.status.success() { Ok(text) } else { Err(format!("`git version` ended with {}", output.status)) }
}

struct Builder {
    home: Home,
    api: Api,
    tools: Tools,
    name: String,
    /// What `git version` printed, or why it did not.
    git: Result<String, String>,
    parallel: u32,
    hand_back: CancellationToken,
}

impl Builder {
    async fn claim_until(self: Arc<Self>, shutdown: &CancellationToken, running: &mut JoinSet<()>) -> Result<(), BuilderError> {
        let slots = Arc::new(Semaphore::new(self.parallel as usize));
        let mut backoff = Backoff::new();
        // What lies there now belongs to builds that are dead; new ones get folders of their own names.
        let mut dead = Some(self.home.leftovers());
        while !shutdown.is_cancelled() {
            while running.try_join_next().is_some() {}
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
                () = shutdown.cancelled() => break,
            };
            self.tools.scopes.sweep().await;
            let engine = self.engine_status().await;
            let ready = matches!(engine, EngineStatus::Ready { .. });
            if ready && let Some(folders) = dead.take() {
                cleanup::leftovers(self.tools.store.as_ref(), &folders).await;
            }
            let claim = self.claim(engine);
            let claimed = tokio::select! {
                biased;
                claimed = self.api.claim(&claim) => claimed,
                () = shutdown.cancelled() => break,
            };
            match claimed {
                Ok(Some(assignment)) => {
                    backoff.succeeded();
                    let builder = Arc::clone(&self);
                    running.spawn(async move {
                        builder.run_build(assignment).await;
                        drop(slot);
                    });
                }
                Ok(None) if ready => backoff.succeeded(),
                Ok(None) => pause(ENGINE_PAUSE, shutdown).await,
                Err(ApiError::Token(said)) => return Err(BuilderError::TokenRefused { server: self.api.server().to_owned(), said }),
                Err(ApiError::TooOld(said)) => return Err(BuilderError::TooOld { said }),
                Err(error) => {
                    tracing::warn!(?error, "no answer to a claim");
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn claim(&self, engine: EngineStatus) -> Claim {
        Claim {
            protocol: PROTOCOL,
            git: self.git.clone().unwrap_or_default(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parallel: self.parallel,
            wait_seconds: if matches!(engine, EngineStatus::Ready { .. }) { CLAIM_WAIT_SECONDS } else { 0 },
            engine,
            // Looked at each time: what was missing may have been installed.
            obstacle: sandbox::obstacle(),
        }
    }

    async fn engine_status(&self) -> EngineStatus {
        if let Err(problem) = &self.git {
            let hint = "install git on the builder's machine, and start the builder again".to_owned();
            return EngineStatus::Unavailable { problem: format!("git cannot be run: {problem}"), hint };
        }
        if let Some(problem) = disk::shortage(self.home.path()) {
            return EngineStatus::Unavailable { problem, hint: disk::HINT.to_owned() };
        }
        let kind = if self.tools.store.is_some() { EngineKind::Docker } else { EngineKind::Buildkitd };
        match self.tools.client.info().await {
            Ok(info) => EngineStatus::Ready { description: info.to_string(), kind: Some(kind) },
            Err(error) => EngineStatus::Unavailable {
                problem: error.to_string(),
                hint: error.hint().unwrap_or("look at the engine's own log").to_owned(),
            },
        }
    }

    async fn run_build(&self, assignment: Assignment) {
        let attempt = Attempt { build: assignment.build, number: assignment.attempt };
        tracing::info!(build = %attempt.build, attempt = attempt.number, "build claimed");
        let halt = Halt::default();
        let heart = tokio::spawn(lease::keep(self.api.clone(), attempt, halt.clone()));
        let reporter = Reporter::start(self.api.clone(), attempt, phases::secrets(&assignment), Clock::System, halt.clone());
        let ended = match self.home.build(assignment.build, assignment.attempt) {
            Ok(dir) => self.work(&assignment, &dir, &reporter, &halt).await,
            Err(error) => Ended::Outcome(failed(Failure::internal("no folder for the build", error))),
        };
        tracing::info!(build = %attempt.build, ?ended, "build ended");
        match ended {
            Ended::Outcome(outcome) => {
                let outcome = masked(outcome, &reporter);
                let open = if outcome == Outcome::Cancelled { StepState::Cancelled } else { StepState::Failed };
                let last_words = async {
                    reporter.close(open).await;
                    self.finish(attempt, &outcome, &halt).await;
                };
                let limit = if self.hand_back.is_cancelled() { HAND_BACK_LIMIT } else { LAST_WORDS_LIMIT };
                tokio::select! {
                    () = last_words => {}
                    () = tokio::time::sleep(limit) => tracing::warn!(build = %attempt.build, "the end of the build could not be told"),
                    () = self.hand_back_limit() => tracing::warn!(build = %attempt.build, "shut down before the end of the build was told"),
                }
            }
            Ended::HandedBack => {
                let handing = async {
                    reporter.close(StepState::Cancelled).await;
                    if let Err(error) = self.api.release(attempt.build, attempt.number, "the builder shuts down").await {
                        tracing::warn!(build = %attempt.build, ?error, "the build could not be handed back; its lease will run out");
                    }
                };
                // A server that is away learns it from the lease.
                tokio::time::timeout(HAND_BACK_LIMIT, handing).await.ok();
            }
            Ended::Fenced => {}
        }
        heart.abort();
    }

    async fn hand_back_limit(&self) {
        self.hand_back.cancelled().await;
        tokio::time::sleep(HAND_BACK_LIMIT).await;
    }

    /// Runs the phases until their end or the first reason to stop, and cleans up.
    async fn work(&self, assignment: &Assignment, dir: &BuildDir, reporter: &Reporter, halt: &Halt) -> Ended {
        let project = format!("slipway-{}", assignment.build.short());
        let limit = Duration::from_secs(u64::from(assignment.time_limit_seconds));
        let seat = OnceLock::new();
        let work = Work { tools: &self.tools, assignment, dir, project: &project, seat: &seat, reporter };
        let ended = tokio::select! {
            done = work.run() => Ended::Outcome(match done {
                Ok(Some(digest)) => Outcome::Pushed { digest },
                Ok(None) => Outcome::Passed,
                Err(failure) if failure.reason.code == FailureCode::Unchanged => Outcome::Unneeded { reason: failure.reason },
                Err(failure) => failed(failure),
            }),
            stop = halt.stopped() => match stop {
                Stop::Cancelled => Ended::Outcome(Outcome::Cancelled),
                Stop::Fenced => Ended::Fenced,
                Stop::HandBack => Ended::HandedBack,
            },
            () = self.hand_back.cancelled() => {
                halt.stop(Stop::HandBack);
                Ended::HandedBack
            }
            shortage = disk::watch(self.home.path().to_owned()) => {
                Ended::Outcome(failed(Failure::passing(FailureCode::DiskFull, shortage)))
            }
            () = tokio::time::sleep(limit) => {
                let text = format!("the build did not end within {} s", limit.as_secs());
                Ended::Outcome(failed(Failure::new(FailureCode::TimedOut, text)))
            }
        };
        match (seat.into_inner(), &self.tools.store) {
            (Some(seat), _) => seat.leave().await,
            (None, Some(engine)) => {
                if tokio::time::timeout(CLEANUP_LIMIT, cleanup::image(engine, dir)).await.is_err() {
                    tracing::warn!(build = %assignment.build, "cleaning up took too long");
                }
            }
            (None, None) => {}
        }
        cleanup::remove(&dir.path).await;
        ended
    }

    /// Tells the end until the server has it or the lease is lost.
    async fn finish(&self, attempt: Attempt, outcome: &Outcome, halt: &Halt) {
        let mut backoff = Backoff::new();
        while halt.why() != Some(Stop::Fenced) {
            match self.api.finish(attempt.build, attempt.number, outcome).await {
                Ok(answer) => {
                    tracing::info!(build = %attempt.build, state = %answer.state, "build finished");
                    return;
                }
                Err(ApiError::Away(problem)) => {
                    tracing::debug!(build = %attempt.build, %problem, "the end is told again");
                    backoff.wait().await;
                }
                Err(error) => {
                    tracing::warn!(build = %attempt.build, ?error, "the server does not take the end of this build");
                    return;
                }
            }
        }
    }
}

/// How an attempt ended on this side.
#[derive(Debug)]
enum Ended {
    Outcome(Outcome),
    HandedBack,
    Fenced,
}

fn failed(Failure { reason, retry }: Failure) -> Outcome {
    match retry {
        Retry::Elsewhere => Outcome::NeedsOwnEngine { reason },
        Retry::MayHelp => Outcome::Failed { reason, retry: true },
        Retry::Useless => Outcome::Failed { reason, retry: false },
    }
}

/// An engine's or program's words may hold a variable's value.
fn masked(outcome: Outcome, reporter: &Reporter) -> Outcome {
    match outcome {
        Outcome::Failed { reason, retry } => {
            Outcome::Failed { reason: FailureReason::new(reason.code, reporter.mask(&reason.text)), retry }
        }
        other => other,
    }
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_who_may_try_again() {
        let reason = |failure: &Failure| failure.reason.clone();
        let (here, passing) = (Failure::new(FailureCode::StepFailed, "x"), Failure::passing(FailureCode::BaseImage, "x"));
        let elsewhere = Failure::no_own_engine("the builder does not run as root");
        assert!(
            elsewhere.reason.text.contains("secret variables")
                && elsewhere.reason.text.ends_with("cannot have: the builder does not run as root")
        );
        assert_eq!(failed(here.clone()), Outcome::Failed { reason: reason(&here), retry: false });
        assert_eq!(failed(passing.clone()), Outcome::Failed { reason: reason(&passing), retry: true });
        assert_eq!(failed(elsewhere.clone()), Outcome::NeedsOwnEngine { reason: reason(&elsewhere) });
    }
}
