//! Organizations: a new one, its members, and its settings. Its repositories are shown by `repositories`, its teams by `teams`.

use askama::Template;
use slipway_model::Timestamp;

use super::admin::{Life, NewInvitation};
use super::form::Field;
use super::providers::ReceiptLine;
use super::shell::Shell;
use super::tokens::{Expiry, Reach, TokenArea, TokenOwner};
use super::ui;

/// `/organizations/new`.
#[derive(Template)]
#[template(path = "organization_new.html")]
pub struct NewOrganizationPage {
    /// Frame.
    pub shell: Shell,
    /// Name.
    pub name: Field,
    /// The name that people see.
    pub display_name: Field,
    /// How image names begin, without the organization: `slipway.example.com/`.
    pub image_prefix: String,
}

/// A member of an organization.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// Account name.
    pub name: String,
    /// The name that people see; empty when it is not set.
    pub display_name: String,
    /// The teams that make them a member.
    pub teams: Vec<String>,
}

/// `/o/{org}/members`, for owners.
#[derive(Template)]
#[template(path = "members.html")]
pub struct MembersPage {
    /// Frame.
    pub shell: Shell,
    /// Members by name.
    pub rows: Vec<MemberRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// Why somebody was not removed.
    pub problem: Option<String>,
}

/// `/o/{org}/settings`.
#[derive(Template)]
#[template(path = "organization_settings.html")]
pub struct OrganizationSettingsPage {
    /// Frame.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// The name that people see.
    pub display_name: Field,
    /// The new name, as it was typed.
    pub new_name: Field,
    /// How image names begin, without the organization: `slipway.example.com/`.
    pub image_prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a deletion takes with it.
#[derive(Clone, Debug, Default)]
pub struct DoomedView {
    /// The first of its repositories, `namespace/name`.
    pub repositories: Vec<String>,
    /// How many repositories.
    pub repository_count: usize,
    /// How many builds wait or run; the deletion waits for their end.
    pub open_builds: usize,
    /// How many teams.
    pub team_count: usize,
    /// How many members lose their access.
    pub member_count: usize,
    /// How many access tokens.
    pub token_count: usize,
    /// Providers that are linked.
    pub links: Vec<String>,
}

impl DoomedView {
    /// How many repositories are not named.
    #[must_use]
    pub fn unnamed(&self) -> usize {
        self.repository_count.saturating_sub(self.repositories.len())
    }
}

/// `/o/{org}/settings/delete`: what goes, and the name to type.
#[derive(Template)]
#[template(path = "organization_delete.html")]
pub struct OrganizationDeletePage {
    /// Frame.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// What goes.
    pub doomed: DoomedView,
    /// The name as it was typed.
    pub confirm: Field,
}

/// After the deletion of an organization that was linked: what became of its links. Shown once.
#[derive(Template)]
#[template(path = "organization_deleted.html")]
pub struct OrganizationDeletedPage {
    /// Frame.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// What was removed at the providers.
    pub removed: Vec<ReceiptLine>,
    /// What is left there.
    pub left: Vec<ReceiptLine>,
}

/// `/o/{org}/settings/tokens`.
#[derive(Template)]
#[template(path = "organization_tokens.html")]
pub struct OrganizationTokensPage {
    /// Frame.
    pub shell: Shell,
    /// Tokens and the form that makes one.
    pub tokens: TokenArea,
}

/// An invitation in the list.
#[derive(Clone, Debug)]
pub struct TeamInvitationRow {
    /// Id.
    pub id: String,
    /// The team that one joins.
    pub team: String,
    /// To whom it was mailed.
    pub email: Option<String>,
    /// Who made it.
    pub by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// `/o/{org}/settings/invitations`.
#[derive(Template)]
#[template(path = "organization_invitations.html")]
pub struct OrganizationInvitationsPage {
    /// Frame.
    pub shell: Shell,
    /// Invitations that are valid, the newest first.
    pub rows: Vec<TeamInvitationRow>,
    /// The one that was just made.
    pub created: Option<NewInvitation>,
    /// Teams to choose from.
    pub teams: Vec<String>,
    /// The chosen one.
    pub team: Field,
    /// The address as it was typed.
    pub email: Field,
    /// How long it is to be valid.
    pub life: Life,
    /// Whether this installation sends mail.
    pub mail: super::settings::Mail,
    /// Why it was not made, when it is not about a field.
    pub problem: Option<String>,
}

impl OrganizationInvitationsPage {
    /// Whether this choice is taken.
    #[must_use]
    pub fn lasts(&self, choice: &Life) -> bool {
        self.life == *choice
    }

    /// Whether invitations can be mailed.
    #[must_use]
    pub fn mails(&self) -> bool {
        self.mail == super::settings::Mail::Sent
    }
}
