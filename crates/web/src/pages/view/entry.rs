//! The way in: first administrator, sign in.

use askama::Template;

use super::form::Field;
use super::shell::{Area, Shell};
use super::ui;

/// `/setup`: the first administrator.
#[derive(Template)]
#[template(path = "setup.html")]
pub struct SetupPage {
    /// Frame.
    pub shell: Shell,
    /// The one-time token of the address.
    pub token: String,
    /// Name.
    pub name: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// Why the address does not work.
    pub refused: Option<String>,
}

/// `/signin`.
#[derive(Template)]
#[template(path = "signin.html")]
pub struct SignInPage {
    /// Frame.
    pub shell: Shell,
    /// Name as it was typed.
    pub name: String,
    /// Why it did not work; the same for a wrong name and a wrong password.
    pub error: Option<String>,
    /// Where to go afterwards.
    pub next: String,
}
