//! Access tokens as every page of them shows them: a person's, an organization's, a service account's. The part `part_tokens.html`
//! renders [`TokenArea`]; a page includes it under the name `tokens`.

use slipway_model::Timestamp;

use super::form::Field;

/// Whether a token still opens anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenLife {
    /// It does.
    Valid,
    /// Its end has passed.
    Ended,
}

/// A token in the table.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Id.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// `namespace/name` of the repositories that it is limited to; `None` when it is not limited.
    pub repositories: Option<Vec<String>>,
    /// Made.
    pub created_at: Timestamp,
    /// Last used.
    pub used_at: Option<Timestamp>,
    /// From which address it was used last.
    pub used_from: Option<String>,
    /// Ends.
    pub expires_at: Option<Timestamp>,
    /// Whether the end has passed.
    pub life: TokenLife,
}

impl TokenRow {
    /// Whether the end has passed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.life == TokenLife::Ended
    }
}

/// A scope to tick.
#[derive(Clone, Debug)]
pub struct ScopeChoice {
    /// The word.
    pub name: &'static str,
    /// What it allows.
    pub text: &'static str,
    /// Whether it is ticked.
    pub ticked: bool,
}

/// The token that was just made; shown once.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it was called.
    pub name: String,
    /// The token.
    pub token: String,
    /// The command that logs in with it.
    pub login: String,
}

/// How far a token reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Every repository that its owner reaches.
    #[default]
    Everything,
    /// The repositories that are listed.
    Listed,
}

impl Reach {
    /// The value in the form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Listed => "listed",
        }
    }
}

/// When a token ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expiry {
    /// After a week.
    Week,
    /// After 30 days.
    Month,
    /// After 90 days.
    #[default]
    Quarter,
    /// After a year.
    Year,
    /// At the end of a day that is named.
    Date,
    /// It does not.
    Never,
}

impl Expiry {
    /// Every choice, in the order of the form.
    pub const ALL: [Self; 6] = [Self::Week, Self::Month, Self::Quarter, Self::Year, Self::Date, Self::Never];

    /// The value in the form.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Week => "7",
            Self::Month => "30",
            Self::Quarter => "90",
            Self::Year => "365",
            Self::Date => "date",
            Self::Never => "never",
        }
    }

    /// The words of the choice.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Week => "in 7 days",
            Self::Month => "in 30 days",
            Self::Quarter => "in 90 days",
            Self::Year => "in a year",
            Self::Date => "after a day that I choose",
            Self::Never => "never",
        }
    }

    /// From the form.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word)
    }
}

/// The form that makes a token, as it was filled in.
#[derive(Clone, Debug, Default)]
pub struct TokenForm {
    /// What it is for.
    pub name: Field,
    /// Scopes to tick.
    pub scopes: Vec<ScopeChoice>,
    /// What is wrong with the scopes.
    pub scopes_error: Option<String>,
    /// How far it reaches.
    pub reach: Reach,
    /// The repositories, one in a line.
    pub repositories: Field,
    /// When it ends.
    pub expiry: Expiry,
    /// The day on which it ends, `2026-12-31`.
    pub until: Field,
}

impl TokenForm {
    /// Whether this choice of an end is taken.
    #[must_use]
    pub fn ends(&self, choice: &Expiry) -> bool {
        self.expiry == *choice
    }
}

/// Whose tokens they are, for the words around them.
#[derive(Clone, Debug)]
pub enum TokenOwner {
    /// The person who looks.
    Person,
    /// A service account.
    Service(String),
    /// An organization.
    Organization(String),
}

/// The table of tokens with the form that makes one.
#[derive(Clone, Debug)]
pub struct TokenArea {
    /// Whose.
    pub owner: TokenOwner,
    /// Where the form is sent; a token is revoked at `{action}/{id}/revoke`.
    pub action: String,
    /// Tokens.
    pub rows: Vec<TokenRow>,
    /// The one that was just made.
    pub created: Option<NewToken>,
    /// The form.
    pub form: TokenForm,
}
