//! Builds in tables: those of a repository, and the queue of a namespace.

use askama::Template;
use slipway_model::{BuildState, Timestamp};

use super::chart;
use super::form::Field;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::timeline::Day;
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

/// What the list is narrowed to; empty is no wish.
#[derive(Clone, Debug, Default)]
pub struct BuildsFilter {
    /// Only this state.
    pub state: Option<BuildState>,
    /// Only refs that contain this.
    pub source_ref: String,
    /// Only this rule, by its id.
    pub rule: String,
    /// Only this cause, or `by:` and the name of who started it.
    pub started: String,
}

impl BuildsFilter {
    /// Whether the list shows less than all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.state.is_some() || [&self.source_ref, &self.rule, &self.started].into_iter().any(|text| !text.is_empty())
    }

    /// The filter as the rest of a query, for the next page.
    #[must_use]
    pub fn rest(&self) -> String {
        let state = self.state.map_or("", BuildState::as_str);
        let fields = [("state", state), ("ref", &self.source_ref), ("rule", &self.rule), ("started", &self.started)];
        let filled = fields.into_iter().filter(|(_, value)| !value.is_empty());
        filled.map(|(name, value)| format!("&{name}={}", ui::address_part(value))).collect()
    }
}

/// Starting builds by hand: what was typed, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct StartForm {
    /// A tag is meant, and no branch.
    pub is_tag: bool,
    /// Name of the branch or tag.
    pub name: Field,
    /// Another commit than its newest; empty is no wish.
    pub commit: Field,
    /// This time without cache.
    pub no_cache: bool,
}

impl StartForm {
    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.name.error.as_deref().or(self.commit.error.as_deref())
    }
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
    /// What the cache did for the builds of the chart, in words.
    pub cache: Option<String>,
    /// One page of them, by day.
    pub days: Vec<Day>,
    /// What the list is narrowed to.
    pub filter: BuildsFilter,
    /// Rules that can be chosen: id and words.
    pub rules: Vec<(String, String)>,
    /// Causes and people that can be chosen: value and words.
    pub starters: Vec<(String, String)>,
    /// The branch that starts a build, for the empty state.
    pub watched: Option<String>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// The form with which builds are started by hand.
    pub start: StartForm,
}

impl BuildListPage {
    /// `selected` mark of the filter.
    #[must_use]
    pub fn is_state(&self, state: &BuildState) -> bool {
        self.filter.state == Some(*state)
    }

    /// Whether the rule of the filter is one of those that can be chosen.
    #[must_use]
    pub fn is_rule_known(&self) -> bool {
        self.rules.iter().any(|(id, _)| *id == self.filter.rule)
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
    /// How many wait, in words: more than are shown, maybe.
    pub waiting: String,
    /// How the first of them stands among all namespaces: place, cause, beginning.
    pub stands: Option<String>,
    /// Ended, newest first.
    pub ended: Vec<BuildRow>,
}
