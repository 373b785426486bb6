//! Telling providers how the builds of their commits stand: pending from the queue on, and in the end success, failure or error.
//!
//! Invariants: what is to be told is stored with the build's change (`store::commit_statuses`); one check of a commit is in one sender's
//! hands at a time, so nothing goes back from an end to pending; a status is given up only when the provider refuses it, or after some days,
//! and the build says why; what was given up is tried again when a link of the account works again (`links::mended`). A link that only reads
//! writes nothing here either.
//! Deliberately elsewhere: which link is asked (`links::access`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use slipway_forge::{CommitState, CommitStatus as Told, Forge, ForgeError, SourceKey};
use slipway_model::{BuildId, BuildState, FailureCode, Timestamp};
use slipway_store::ReadTx;
use slipway_store::builds::{self, Build};
use slipway_store::commit_statuses::{self, CommitStatus};
use slipway_store::repositories::{self, Repository};

use crate::at_source::Away;
use crate::hooks::{STEP, back_off, jittered};
use crate::links::access::SourceAt;
use crate::{App, Error};

/// A provider that is away for a weekend is no reason to give up.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);
/// Nobody waits any more for the check of a build that is older than this.
pub(crate) const WORTH_TELLING: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the provider knows of a build.
#[derive(Clone, Debug, Serialize)]
pub struct CommitStatusView {
    /// `told`, `waiting` or `not_told`.
    pub state: &'static str,
    /// The name of the check at the provider.
    pub context: String,
    /// Why it was not told (yet).
    pub error: Option<String>,
    /// When the provider took one the last time.
    pub told_at: Option<Timestamp>,
}

impl From<CommitStatus> for CommitStatusView {
    fn from(status: CommitStatus) -> Self {
        let state = match (&status.due_at, &status.error) {
            (Some(_), _) => "waiting",
            (None, Some(_)) => "not_told",
            (None, None) => "told",
        };
        Self { state, context: status.context, error: status.error, told_at: status.told_at }
    }
}

/// What became of a try.
enum Outcome {
    Told,
    Later(String, Duration),
    Never(String),
}

impl Outcome {
    fn of(away: &Away, status: &CommitStatus, now: Timestamp) -> Self {
        let words = away.to_string();
        if is_final(away) {
            return Self::Never(words);
        }
        if now.since(status.since) >= GIVE_UP {
            return Self::Never(format!("given up after three days: {words}"));
        }
        let usual = back_off(status.tries);
        Self::Later(words, jittered(away.passes(usual).unwrap_or(usual)))
    }
}

/// Whether the provider was asked and will not say anything else while the links are as they are.
fn is_final(away: &Away) -> bool {
    match away.forge_error() {
        Some(
            ForgeError::Forbidden { .. }
            | ForgeError::NotFound
            | ForgeError::MissingScope { .. }
            | ForgeError::Restricted { .. }
            | ForgeError::Unsupported { .. },
        ) => true,
        // The commit is gone there, or the text of the status is not to its liking.
        Some(ForgeError::Unexpected { status, .. }) => matches!(status, 400 | 413 | 422),
        _ => false,
    }
}

fn state_of(build: &Build) -> CommitState {
    match build.state {
        BuildState::Queued | BuildState::Running => CommitState::Pending,
        BuildState::Success => CommitState::Success,
        // Nothing is wrong with a commit that gives the image that stands.
        BuildState::Cancelled if is_unneeded(build) => CommitState::Success,
        BuildState::Failed => CommitState::Failure,
        BuildState::Cancelled => CommitState::Error,
    }
}

fn is_unneeded(build: &Build) -> bool {
    build.reason.as_ref().is_some_and(|reason| reason.code == FailureCode::Unchanged)
}

/// In our words and without those of the build's log: everybody who sees the commit reads it.
fn description(build: &Build) -> String {
    let how = match (build.state, &build.reason) {
        (BuildState::Queued, _) if build.terms.await_approval() => "waits for approval".to_owned(),
        (BuildState::Queued | BuildState::Running, _) => "is under way".to_owned(),
        (BuildState::Success, _) if !build.terms.publish => "passed its tests".to_owned(),
        (BuildState::Success, _) => "succeeded".to_owned(),
        (BuildState::Cancelled, _) if is_unneeded(build) => "was not needed: none of its paths changed".to_owned(),
        (BuildState::Cancelled, Some(reason)) if reason.code == FailureCode::Superseded => "was superseded by a newer push".to_owned(),
        (BuildState::Cancelled, Some(reason)) if reason.code == FailureCode::PullRequestClosed => {
            "was not needed: the pull request was closed".to_owned()
        }
        (BuildState::Cancelled, Some(reason)) if reason.code == FailureCode::SettingsChanged => {
            "was cancelled: the settings are not for it any more".to_owned()
        }
        (BuildState::Cancelled, _) => "was cancelled".to_owned(),
        (BuildState::Failed, None) => "failed".to_owned(),
        (BuildState::Failed, Some(reason)) => format!("failed: {}", reason.code.as_str().replace('_', " ")),
    };
    format!("build #{} {how} ({})", build.number, build.rule.describe())
}

impl App {
    /// Tells a provider of one build, the one that waits the longest; false when none is due.
    ///
    /// # Errors
    /// Only the database's: what a provider says is kept in the row.
    pub async fn tell_status_once(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let Some(status) = commit_statuses::claim(&mut tx, now, now.plus(STEP)).await? else { return Ok(false) };
        let build = builds::get_any(&mut tx, status.build).await?.ok_or(Error::Internal("a status goes with its build"))?;
        let repository = repositories::get(&mut tx, build.repository).await?;
        tx.commit().await?;
        let repository = repository.ok_or(Error::Internal("a build goes with its repository"))?;
        // Half of the lease: whoever takes over must never meet a request of ours that is still under way.
        let outcome = match tokio::time::timeout(STEP / 2, self.tell_status(&status, &build, &repository)).await {
            Ok(Ok(())) => Outcome::Told,
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::Later("the provider did not answer in time".to_owned(), back_off(status.tries)),
        };
        let now = self.clock.now();
        let mut tx = self.write().await?;
        match &outcome {
            Outcome::Told => commit_statuses::set_told(&mut tx, &status, now).await?,
            Outcome::Later(why, wait) => commit_statuses::set_failed(&mut tx, &status, why, now.plus(*wait)).await?,
            Outcome::Never(why) => commit_statuses::set_refused(&mut tx, &status, why).await?,
        }
        tx.commit().await?;
        self.build_changed(build.id);
        Ok(true)
    }

    async fn tell_status(&self, status: &CommitStatus, build: &Build, repository: &Repository) -> Result<(), Outcome> {
        let failed = |away: Away| Outcome::of(&away, status, self.clock.now());
        if self.only_reads(repository.account, &build.provider).await.map_err(|error| failed(error.into()))? {
            return Err(Outcome::Never("the link only reads".to_owned()));
        }
        // Without the settings: a link that may only read the source is no reason that another one takes over.
        let key = SourceKey { id: &build.source_id, full_name: &build.source_name };
        let source = SourceAt { account: repository.account, provider: &build.provider, key, autobuild: None };
        let url = self.address(&format!("/{}/{}/builds/{}", repository.namespace, repository.name, build.number));
        let description = description(build);
        let told =
            Told { context: &status.context, state: state_of(build), description: &description, url: &url, name: build.fetched_from() };
        let tell = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let found = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
            forge.set_commit_status(&token, &found.full_name, &build.commit, &told).await
        };
        self.with_source(source, tell).await.map(drop).map_err(|trouble| failed(trouble.into()))
    }

    pub(crate) async fn commit_status(&self, tx: &mut ReadTx, build: BuildId) -> Result<Option<CommitStatusView>, Error> {
        Ok(commit_statuses::get(tx, build).await?.map(CommitStatusView::from))
    }
}
