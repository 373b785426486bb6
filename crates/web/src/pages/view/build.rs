//! One build: header, waterfall, log.

use askama::Template;
use slipway_model::{FailureCode, FailureReason, Step, Timestamp};

use super::builds::BuildRow;
use super::external::ExternalRow;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Markup};

/// The next step that a reason suggests, for people.
#[must_use]
pub fn hint(code: FailureCode) -> &'static str {
    match code {
        FailureCode::SourceUnavailable => "Check that the link to the provider works and may still read this repository, then retry.",
        FailureCode::CommitGone => "The commit was removed by a forced push. The next push builds again.",
        FailureCode::DockerfileNotFound => "Set the Dockerfile's path in the rule; it is relative to the build context.",
        FailureCode::ContextNotFound => "Set the build context in the rule; it is relative to the root of the source.",
        FailureCode::DockerfileInvalid => "Mend the Dockerfile at the line above and push again.",
        FailureCode::BaseImage => "Check the name in FROM. Private images must be in the same namespace.",
        FailureCode::StepFailed => "The step's last lines are below. Run the same command locally, or look further up in the log.",
        FailureCode::HookFailed => "The tags did not move. The script's last lines are below; `hooks/` stands beside the Dockerfile.",
        FailureCode::HooksForbidden => {
            "An administrator lets namespaces run hooks, by `hooks` under `[builder]`. Without the folder `hooks/` the source is built as it is."
        }
        FailureCode::TestFailed => "The tags did not move. Mend the code or the test and push again; the test's last lines are below.",
        FailureCode::TestInvalid => {
            "Nothing was pushed. Test files stand beside the Dockerfile; the exit code of the service `sut` decides."
        }
        FailureCode::SecretInImage => {
            "No tag moved. Give the step its secret by `RUN --mount=type=secret` and write it nowhere; a variable that is no secret needs no mark."
        }
        FailureCode::PushFailed => "The image was built, but the registry did not take it. Retry; if it stays, see the server's log.",
        FailureCode::EngineUnavailable => {
            "An administrator starts the builder's engine, or gives its machine what an engine of its own needs; Builder nodes says what. Then retry."
        }
        FailureCode::DiskFull => {
            "Free some of the builder's disk, or give its folder a disk of its own; then retry. If this build alone fills it, make it smaller."
        }
        FailureCode::LeaseLost => "The builder went silent. Look at Builder nodes, then retry.",
        FailureCode::TimedOut => {
            "The build took longer than it may. Make it smaller, or let an administrator raise `time_limit` under `[queue]`."
        }
        FailureCode::Cancelled => "Retry starts it again on the same commit.",
        FailureCode::Unchanged => "What is there stays. Start a build by hand, or retry this one, to have it whatever changed.",
        FailureCode::Superseded => {
            "What came since is built instead. Retry builds this one too; under Autobuild you choose whether every push is built."
        }
        FailureCode::SettingsChanged => "Nothing is wrong with the commit. What is tested, and who has to approve, is set under Autobuild.",
        FailureCode::PullRequestClosed => "Nothing is to be tested any more. Should it be opened again, it is tested again.",
        FailureCode::LinkUnavailable => "Enable or renew the link under Source providers, then retry.",
        FailureCode::Internal => "Retry. If it happens again, tell an administrator the build's id.",
    }
}

/// `/{ns}/{name}/builds/{id}`.
#[derive(Template)]
#[template(path = "build.html")]
pub struct BuildPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// The build.
    pub build: BuildRow,
    /// Its id, as the API has it.
    pub id: String,
    /// The source repository and the provider that holds it.
    pub source: String,
    /// What the cache did for it, in words.
    pub cache: String,
    /// The rule in words, like `branch main → latest`.
    pub rule: String,
    /// Tags by which its hooks pushed to its own repository.
    pub hook_tags: Vec<String>,
    /// The builder that has it.
    pub builder: Option<String>,
    /// Author of the commit; display only.
    pub author: Option<String>,
    /// The commit's page at the provider.
    pub commit_url: Option<String>,
    /// How often it was tried.
    pub attempt: u32,
    /// How often it is tried at most, when what ends it lies outside of the source.
    pub attempts: u32,
    /// Manifest.
    pub digest: Option<String>,
    /// Why it ended without an image.
    pub reason: Option<FailureReason>,
    /// Last lines of the step that failed, without control characters.
    pub tail: Vec<String>,
    /// The step that failed.
    pub failed_step: Option<String>,
    /// Waterfall.
    pub waterfall: Markup,
    /// Steps, for the log's headings.
    pub steps: Vec<Step>,
    /// What else there is to know, like a tag that stayed where it was.
    pub note: Option<String>,
    /// How attempts before this one ended.
    pub earlier: Vec<String>,
    /// With what the source was cloned; when that was not the deploy key, why.
    pub cloned: Option<String>,
    /// What the provider was told of it.
    pub commit_status: Option<String>,
    /// How its tags stand in the external registry.
    pub external: Vec<ExternalRow>,
    /// Whether a cancellation is on its way.
    pub cancelling: Option<String>,
    /// The pull request that it tests, like `#7 into main: Mend the basket`.
    pub pull_request: Option<String>,
    /// What a build may not that anybody may have written.
    pub lane: Option<&'static str>,
    /// Who approved of its commit.
    pub approval: Option<String>,
    /// Whether it waits for the approval of its commit.
    pub approvable: Approvable,
}

/// Whether a build waits for an approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Approvable {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl BuildPage {
    /// Whether somebody is asked to approve of its commit.
    #[must_use]
    pub fn awaits_approval(&self) -> bool {
        self.approvable == Approvable::Yes
    }

    /// What the person should do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.reason.as_ref().map_or("", |reason| hint(reason.code))
    }

    /// When the build was queued, as the beginning of its wait.
    #[must_use]
    pub fn queued(&self) -> Option<Timestamp> {
        Some(self.build.queued_at)
    }

    /// When it no longer waited.
    #[must_use]
    pub fn taken(&self) -> Option<Timestamp> {
        self.build.started_at.or(self.build.finished_at)
    }

    /// The steps for the log viewer, as JSON in an attribute: enough to begin with, the stream brings all of them.
    #[must_use]
    pub fn steps_json(&self) -> String {
        const FIRST: usize = 500;
        let steps: Vec<_> = self
            .steps
            .iter()
            .take(FIRST)
            .map(|step| {
                serde_json::json!({"id": step.id, "name": step.name, "phase": step.phase, "state": step.state, "cached": step.cached,
                "started_at": step.started_at, "finished_at": step.finished_at})
            })
            .collect();
        serde_json::Value::Array(steps).to_string()
    }
}
