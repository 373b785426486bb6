//! Settings of an account: access tokens, the account itself.

use askama::Template;
use slipway_model::Timestamp;

use super::form::Field;
use super::shell::{Area, Shell};
use super::ui;

/// A token in the table.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Id.
    pub id: String,
    /// What the person called it.
    pub name: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Made.
    pub created_at: Timestamp,
    /// Last used.
    pub used_at: Option<Timestamp>,
    /// Ends.
    pub expires_at: Option<Timestamp>,
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
    /// What the person called it.
    pub name: String,
    /// The token.
    pub token: String,
    /// The command that logs in with it.
    pub login: String,
}

/// `/settings/tokens`.
#[derive(Template)]
#[template(path = "tokens.html")]
pub struct TokensPage {
    /// Frame.
    pub shell: Shell,
    /// Tokens.
    pub tokens: Vec<TokenRow>,
    /// The one that was just made.
    pub created: Option<NewToken>,
    /// Name as it was typed.
    pub name: Field,
    /// Scopes to tick.
    pub scopes: Vec<ScopeChoice>,
    /// What is wrong with the scopes.
    pub scopes_error: Option<String>,
}

/// `/settings/account`.
#[derive(Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// Frame.
    pub shell: Shell,
    /// When the account was made.
    pub created_at: Option<Timestamp>,
    /// Mail address.
    pub email: Option<String>,
}
