//! Administration: the accounts of the installation and the invitations to it.

use std::borrow::Borrow;

use askama::Template;
use slipway_model::{AccountKind, Timestamp};

use super::form::Field;
use super::shell::Shell;
use super::tokens::{Expiry, Reach, TokenArea, TokenOwner};
use super::ui;

/// The administration's tab that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminTab {
    /// Accounts.
    Accounts,
    /// Invitations.
    Invitations,
    /// The audit log.
    Audit,
}

impl AdminTab {
    /// `page` when it is that tab, else `false`: the value of `aria-current`.
    #[must_use]
    pub fn current(&self, tab: impl Borrow<Self>) -> &'static str {
        if self == tab.borrow() { "page" } else { "false" }
    }
}

/// Whether an account administers the installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Administers {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// An account in the list.
#[derive(Clone, Debug)]
pub struct AccountRow {
    /// Name.
    pub name: String,
    /// The name that people see.
    pub display_name: String,
    /// Kind.
    pub kind: AccountKind,
    /// Whether it administers the installation.
    pub administers: Administers,
    /// E-mail address.
    pub email: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl AccountRow {
    /// Whether it administers the installation.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.administers == Administers::Yes
    }

    /// Its kind in words.
    #[must_use]
    pub fn kind_text(&self) -> &'static str {
        match self.kind {
            AccountKind::User => "person",
            AccountKind::Organization => "organization",
            AccountKind::Service => "service account",
        }
    }
}

/// `/admin/accounts`.
#[derive(Template)]
#[template(path = "admin_accounts.html")]
pub struct AccountsPage {
    /// Frame.
    pub shell: Shell,
    /// Accounts, by name.
    pub rows: Vec<AccountRow>,
    /// Only of this kind.
    pub kind: Option<AccountKind>,
    /// What the name has to begin with.
    pub query: String,
    /// Where the list goes on.
    pub next: Option<String>,
    /// Name of a service account to be made.
    pub service: Field,
}

impl AccountsPage {
    /// Whether only this kind is shown.
    #[must_use]
    pub fn shows(&self, word: &str) -> bool {
        self.kind.map_or("", |kind| kind.as_str()) == word
    }

    /// The query of the list's next page.
    #[must_use]
    pub fn more(&self, cursor: impl AsRef<str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("cursor", cursor.as_ref());
        if let Some(kind) = self.kind {
            query.append_pair("kind", kind.as_str());
        }
        if !self.query.is_empty() {
            query.append_pair("q", &self.query);
        }
        query.finish()
    }
}

/// `/admin/accounts/{name}`.
#[derive(Template)]
#[template(path = "admin_account.html")]
pub struct AccountManagePage {
    /// Frame.
    pub shell: Shell,
    /// The account.
    pub account: AccountRow,
    /// Whether it is the account of the person who looks.
    pub who: Who,
    /// Why the role was not changed.
    pub role_problem: Option<String>,
    /// Tokens, of a service account.
    pub tokens: Option<TokenArea>,
    /// The name as it was typed.
    pub confirm: Field,
    /// Why it was not deleted, when it is not about the name.
    pub delete_problem: Option<String>,
}

/// Whether an account is the one that looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// It is.
    Oneself,
    /// It is not.
    Other,
}

/// An invitation in the list.
#[derive(Clone, Debug)]
pub struct InvitationRow {
    /// Id.
    pub id: String,
    /// To whom it was mailed.
    pub email: Option<String>,
    /// Who made it.
    pub by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// The invitation that was just made; its address is shown once.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Its address.
    pub url: String,
    /// Until when it is valid.
    pub expires_at: Timestamp,
    /// To whom it was mailed.
    pub mailed_to: Option<String>,
}

/// How long an invitation is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Life {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week.
    #[default]
    Week,
    /// 30 days, the longest.
    Month,
}

impl Life {
    /// Every choice, in the order of the form.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The value in the form.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The words of the choice.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Hour => "1 hour",
            Self::Day => "1 day",
            Self::Week => "7 days",
            Self::Month => "30 days",
        }
    }

    /// How many hours.
    #[must_use]
    pub fn hours(self) -> u64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        }
    }

    /// From the form.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word)
    }
}

/// `/admin/invitations`.
#[derive(Template)]
#[template(path = "admin_invitations.html")]
pub struct InvitationsPage {
    /// Frame.
    pub shell: Shell,
    /// Invitations that are valid, the newest first.
    pub rows: Vec<InvitationRow>,
    /// Where the list goes on.
    pub next: Option<String>,
    /// The one that was just made.
    pub created: Option<NewInvitation>,
    /// The address as it was typed.
    pub email: Field,
    /// How long it is to be valid.
    pub life: Life,
    /// Whether this installation sends mail.
    pub mail: super::settings::Mail,
}

impl InvitationsPage {
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
