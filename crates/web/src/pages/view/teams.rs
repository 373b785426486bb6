//! Teams of an organization: the list, a new one, and the pages of one.

use askama::Template;
use slipway_model::{Permission, Timestamp};

use super::form::Field;
use super::shell::Shell;
use super::ui;

/// A team in the list.
#[derive(Clone, Debug)]
pub struct TeamRow {
    /// Name.
    pub name: String,
    /// One line.
    pub description: String,
    /// How many members.
    pub members: usize,
    /// How many repositories it gives a permission on.
    pub repositories: usize,
}

impl TeamRow {
    /// Whether it is the team whose members own the organization.
    #[must_use]
    pub fn is_owners(&self) -> bool {
        self.name == "owners"
    }
}

/// `/o/{org}/teams`: owners see all of them, members their own.
#[derive(Template)]
#[template(path = "teams.html")]
pub struct TeamsPage {
    /// Frame.
    pub shell: Shell,
    /// One page of them.
    pub rows: Vec<TeamRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// `/o/{org}/teams/new`.
#[derive(Template)]
#[template(path = "team_new.html")]
pub struct NewTeamPage {
    /// Frame.
    pub shell: Shell,
    /// Name.
    pub name: Field,
    /// One line.
    pub description: Field,
}

/// Which page of a team.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TeamTab {
    /// Members.
    Members,
    /// Repositories.
    Repositories,
    /// Name, description, deletion.
    Settings,
}

/// The head of each page of a team.
#[derive(Clone, Debug)]
pub struct TeamHead {
    /// The organization.
    pub organization: String,
    /// Numbers and name.
    pub team: TeamRow,
    /// Current page.
    pub tab: TeamTab,
}

impl TeamHead {
    /// `/o/acme/teams/dev`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("/o/{}/teams/{}", self.organization, self.team.name)
    }

    /// `page` for the current tab, else `false`.
    #[must_use]
    pub fn current(&self, tab: TeamTab) -> &'static str {
        if self.tab == tab { "page" } else { "false" }
    }
}

/// A member of a team.
#[derive(Clone, Debug)]
pub struct TeamMemberRow {
    /// Account name.
    pub name: String,
    /// The name that people see; empty when it is not set.
    pub display_name: String,
    /// Since when.
    pub added_at: Timestamp,
}

/// `/o/{org}/teams/{team}`.
#[derive(Template)]
#[template(path = "team.html")]
pub struct TeamPage {
    /// Frame.
    pub shell: Shell,
    /// Team.
    pub head: TeamHead,
    /// One page of its members.
    pub rows: Vec<TeamMemberRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// The name of who is to be added, as it was typed.
    pub user: Field,
    /// Why somebody was not removed or could not leave.
    pub problem: Option<String>,
}

impl TeamPage {
    /// Whether the row is the person who looks.
    #[must_use]
    pub fn is_me(&self, row: &TeamMemberRow) -> bool {
        self.shell.person.as_ref().is_some_and(|person| person.name == row.name)
    }
}

/// A repository on which a team gives a permission.
#[derive(Clone, Debug)]
pub struct TeamRepositoryRow {
    /// Name without the organization.
    pub name: String,
    /// What the team may do.
    pub permission: Permission,
}

impl TeamRepositoryRow {
    /// Whether it is this permission.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.permission.as_str() == word
    }
}

/// A permission that a team can give, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The word.
    pub word: &'static str,
    /// What it allows.
    pub text: &'static str,
}

/// The permissions that teams give, the smallest first; each includes those before it.
pub const GRANTS: [Grant; 3] = [
    Grant { word: "read", text: "See builds and settings; pull." },
    Grant { word: "write", text: "Also push, start, cancel and retry builds, delete tags." },
    Grant { word: "admin", text: "Also change the build settings and see the values of variables." },
];

/// `/o/{org}/teams/{team}/repositories`.
#[derive(Template)]
#[template(path = "team_repositories.html")]
pub struct TeamRepositoriesPage {
    /// Frame.
    pub shell: Shell,
    /// Team.
    pub head: TeamHead,
    /// One page of its repositories.
    pub rows: Vec<TeamRepositoryRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// Names of the organization's repositories, offered while typing.
    pub offered: Vec<String>,
    /// The name of the repository to be added, as it was typed.
    pub repository: Field,
    /// The chosen permission.
    pub permission: Permission,
}

impl TeamRepositoriesPage {
    /// Whether this permission is chosen for the repository to be added.
    #[must_use]
    pub fn chooses(&self, word: &str) -> bool {
        self.permission.as_str() == word
    }
}

/// `/o/{org}/teams/{team}/settings`, for owners.
#[derive(Template)]
#[template(path = "team_settings.html")]
pub struct TeamSettingsPage {
    /// Frame.
    pub shell: Shell,
    /// Team.
    pub head: TeamHead,
    /// Name.
    pub name: Field,
    /// One line.
    pub description: Field,
    /// The name as it was typed to delete.
    pub confirm: Field,
}
