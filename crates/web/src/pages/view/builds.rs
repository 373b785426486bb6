//! Builds in tables: those of a repository, and the queue of a namespace.

use askama::Template;
use slipway_model::{BuildState, Timestamp};

use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Markup};

/// A build in a table.
#[derive(Clone, Debug)]
pub struct BuildRow {
    /// Its page.
    pub href: String,
    /// What people call it, like `#42`.
    pub label: String,
    /// `namespace/name`.
    pub repository: String,
    /// State.
    pub state: BuildState,
    /// Phase while it runs, reason when it failed, what it waits for while it is queued.
    pub detail: Option<String>,
    /// Full ref.
    pub source_ref: String,
    /// Commit.
    pub commit: String,
    /// First line of the commit's message.
    pub message: Option<String>,
    /// Tags that it moves.
    pub tags: Vec<String>,
    /// What started it, like `push` or `ada`.
    pub cause: String,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When a builder took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// `/{ns}/{name}/builds`.
#[derive(Template)]
#[template(path = "builds.html")]
pub struct BuildListPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// Bar chart.
    pub chart: Markup,
    /// One page of them.
    pub rows: Vec<BuildRow>,
    /// Only this state.
    pub state: Option<BuildState>,
    /// Only refs that contain this.
    pub source_ref: String,
    /// The branch that starts a build, for the empty state.
    pub watched: Option<String>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

impl BuildListPage {
    /// Whether the list shows less than all.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.state.is_some() || !self.source_ref.is_empty()
    }

    /// `selected` mark of the filter.
    #[must_use]
    pub fn is_state(&self, state: &BuildState) -> bool {
        self.state == Some(*state)
    }
}

/// `/builds`: what builds and waits in a namespace.
#[derive(Template)]
#[template(path = "queue.html")]
pub struct QueuePage {
    /// Frame.
    pub shell: Shell,
    /// Running.
    pub running: Vec<BuildRow>,
    /// Waiting, the next one first.
    pub queued: Vec<BuildRow>,
    /// Whether more wait than are shown.
    pub more: bool,
    /// How the first of them stands among all namespaces: place, cause, beginning.
    pub stands: Option<String>,
    /// Ended, newest first.
    pub ended: Vec<BuildRow>,
}
