//! The way in: first administrator, sign-in, second factor, sign-up, the address that confirms an e-mail address.

use askama::Template;

use super::form::Field;
use super::shell::Shell;
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

/// An OpenID Connect provider that one may sign in with.
#[derive(Clone, Debug)]
pub struct ProviderButton {
    /// Id in the configuration.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
}

/// Whether people may make an account themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignUp {
    /// Everybody may.
    Open,
    /// Only with an invitation.
    Closed,
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
    /// Other ways to sign in.
    pub providers: Vec<ProviderButton>,
    /// Whether a link to the sign-up stands below.
    pub sign_up: SignUp,
}

/// `/signin/code`: the password was right, the second factor is asked for.
#[derive(Template)]
#[template(path = "signin_code.html")]
pub struct SignInCodePage {
    /// Frame.
    pub shell: Shell,
    /// Why the code was not taken.
    pub error: Option<String>,
    /// Where to go afterwards.
    pub next: String,
}

/// `/signup`, while it is open.
#[derive(Template)]
#[template(path = "signup.html")]
pub struct SignUpPage {
    /// Frame.
    pub shell: Shell,
    /// Name.
    pub name: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// Why no account was made, when it is not about a field.
    pub error: Option<String>,
    /// Where to go afterwards.
    pub next: String,
    /// Other ways.
    pub providers: Vec<ProviderButton>,
}

/// What an address that confirms an e-mail address leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// The button is to be pressed: programs that look through mail open addresses, they press no buttons.
    Asked {
        /// The one-time token of the address.
        token: String,
    },
    /// Confirmed.
    Done,
    /// Used, expired or not ours.
    Void,
}

/// `/settings/email/confirm?token=`.
#[derive(Template)]
#[template(path = "email_confirmed.html")]
pub struct EmailConfirmPage {
    /// Frame.
    pub shell: Shell,
    /// Where it stands.
    pub state: Confirmation,
}

/// The step between a form of ours and an OpenID Connect provider: a page that leads on by itself.
/// `form-action` of our policy holds redirects after forms to the addresses that it names, and a provider's is known only when asked.
#[derive(Template)]
#[template(path = "oidc_leave.html")]
pub struct LeavePage {
    /// Frame.
    pub shell: Shell,
    /// Name of the provider.
    pub provider: String,
    /// Where to.
    pub url: String,
}

/// Somebody came back from a provider whom no account knows.
#[derive(Template)]
#[template(path = "oidc_unknown.html")]
pub struct UnknownIdentityPage {
    /// Frame.
    pub shell: Shell,
    /// Name of the provider.
    pub provider: String,
}

/// `/oidc/{id}/name`: the account that is made for an identity needs a name.
#[derive(Template)]
#[template(path = "oidc_name.html")]
pub struct ChooseNamePage {
    /// Frame.
    pub shell: Shell,
    /// Id of the provider.
    pub id: String,
    /// Name of the provider.
    pub provider: String,
    /// Who they are there, as the provider shows it.
    pub label: String,
    /// What the form must bring back.
    pub token: String,
    /// Name of the account.
    pub name: Field,
    /// Where to go afterwards.
    pub next: String,
}
