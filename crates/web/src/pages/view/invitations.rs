//! `/invitations/{token}`: what somebody sees who was sent an invitation.

use askama::Template;
use slipway_model::Timestamp;

use super::entry::ProviderButton;
use super::form::Field;
use super::shell::Shell;
use super::ui;

/// Whether the invitation may be answered by making an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MakesAccount {
    /// It may.
    Yes,
    /// It needs an account that stands.
    No,
}

/// An invitation that is valid.
#[derive(Template)]
#[template(path = "invitation.html")]
pub struct InvitationPage {
    /// Frame. With a person: they may join as that person.
    pub shell: Shell,
    /// The one-time token of the address.
    pub token: String,
    /// The organization that one joins.
    pub organization: Option<String>,
    /// The team of it.
    pub team: Option<String>,
    /// Whether an account may be made.
    pub makes_account: MakesAccount,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// Name of the account to be made.
    pub name: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// Why it was not accepted, when it is not about a field.
    pub problem: Option<String>,
    /// Other ways to make the account.
    pub providers: Vec<ProviderButton>,
}

impl InvitationPage {
    /// What one is invited to, for the heading.
    #[must_use]
    pub fn to(&self) -> &str {
        self.organization.as_deref().unwrap_or("Slipway")
    }

    /// Where the sign-in leads back to.
    #[must_use]
    pub fn here(&self) -> String {
        format!("/invitations/{}", ui::address_part(&self.token))
    }
}

/// Unknown, used, revoked or expired: one and the same page.
#[derive(Template)]
#[template(path = "invitation_void.html")]
pub struct InvitationVoidPage {
    /// Frame.
    pub shell: Shell,
}
