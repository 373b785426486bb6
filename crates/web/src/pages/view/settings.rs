//! Settings of an account: the account itself, its end, its access tokens.

use askama::Template;
use slipway_model::Timestamp;

use super::form::Field;
use super::providers::ReceiptLine;
use super::security::Password;
use super::shell::Shell;
use super::tokens::{Expiry, Reach, TokenArea, TokenOwner};
use super::ui;

/// `/settings/tokens`.
#[derive(Template)]
#[template(path = "tokens.html")]
pub struct TokensPage {
    /// Frame.
    pub shell: Shell,
    /// Tokens and the form.
    pub tokens: TokenArea,
}

/// Whether this installation sends mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mail {
    /// It does.
    Sent,
    /// No mail is configured, so no address can be confirmed.
    Off,
}

/// An e-mail address that waits for its confirmation.
#[derive(Clone, Debug)]
pub struct WaitingEmail {
    /// The address.
    pub address: String,
    /// Until when the mail's address is valid.
    pub expires_at: Timestamp,
}

/// `/settings/account`.
#[derive(Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Frame.
    pub shell: Shell,
    /// Name; also the namespace.
    pub name: String,
    /// How images of the namespace are called: `registry.example/ada`.
    pub images: String,
    /// When the account was made.
    pub created_at: Timestamp,
    /// The name that people see.
    pub display_name: Field,
    /// The confirmed e-mail address.
    pub email: Option<String>,
    /// The address that waits for its confirmation.
    pub waiting: Option<WaitingEmail>,
    /// The form's address, as it was typed.
    pub new_email: Field,
    /// What is wrong with the password beside it.
    pub password_error: Option<String>,
    /// Whether the change asks for the password.
    pub password: Password,
    /// Whether mail is sent.
    pub mail: Mail,
}

/// `/settings/account/delete`: what goes.
#[derive(Template)]
#[template(path = "account_delete.html")]
pub struct AccountDeletePage {
    /// Frame.
    pub shell: Shell,
    /// Name of the account, to be typed.
    pub name: String,
    /// The first repositories.
    pub repositories: Vec<String>,
    /// What goes, each as a sentence part: `3 repositories with their images`.
    pub goes: Vec<String>,
    /// How many repositories are not listed.
    pub more: u64,
    /// Organizations whose last owner they are; while there is one the account stays.
    pub sole_owner_of: Vec<String>,
    /// Whether they are the last administrator; then the account stays too.
    pub last_administrator: bool,
    /// Why it was refused, when it is not about a field.
    pub problem: Option<String>,
    /// The name as it was typed.
    pub confirm: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// Whether the password is asked for.
    pub password: Password,
}

impl AccountDeletePage {
    /// Whether nothing stands in the way.
    #[must_use]
    pub fn may_go(&self) -> bool {
        self.sole_owner_of.is_empty() && !self.last_administrator
    }
}

/// After an account was deleted: what is left at the source providers. Shown once.
#[derive(Template)]
#[template(path = "account_deleted.html")]
pub struct AccountDeletedPage {
    /// Frame: alone for whoever deleted their own account.
    pub shell: Shell,
    /// Name of the account that was.
    pub name: String,
    /// What could not be removed.
    pub left: Vec<ReceiptLine>,
}

/// `/settings/account/convert`: from a person to an organization.
#[derive(Template)]
#[template(path = "account_convert.html")]
pub struct AccountConvertPage {
    /// Frame.
    pub shell: Shell,
    /// Name of the account, to be typed; the organization keeps it.
    pub name: String,
    /// What changes.
    pub warnings: Vec<String>,
    /// Why it cannot be done now, with the next step.
    pub refused: Option<(String, Option<String>)>,
    /// Who will own the organization.
    pub first_owner: Field,
    /// The name as it was typed.
    pub confirm: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// Whether the password is asked for.
    pub password: Password,
    /// Why it was refused, when it is not about a field.
    pub problem: Option<String>,
}
