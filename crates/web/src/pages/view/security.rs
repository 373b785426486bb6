//! Settings → Security: password, second factor, recovery codes, sessions, identities at other services.

use askama::Template;
use slipway_model::Timestamp;

use super::entry::ProviderButton;
use super::shell::Shell;
use super::ui::{self, Markup};

/// Whether the account has a password; one that signs in through a provider may have none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Password {
    /// It has one, and changes ask for it.
    Set,
    /// It has none.
    None,
}

/// Messages beside the fields of a form with passwords; the passwords themselves never come back.
#[derive(Clone, Debug, Default)]
pub struct SecretErrors {
    /// Beside the current password.
    pub current: Option<String>,
    /// Beside the new password.
    pub new: Option<String>,
    /// Beside the code.
    pub code: Option<String>,
}

/// The second factor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Factor {
    /// Off.
    Off,
    /// On.
    On {
        /// How many recovery codes are not used yet.
        codes_left: u64,
    },
}

/// A session in the list.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Id.
    pub id: String,
    /// Browser and system, as far as it says.
    pub device: String,
    /// Address it was last seen from.
    pub address: String,
    /// Begun.
    pub created_at: Timestamp,
    /// Last seen.
    pub seen_at: Timestamp,
    /// Whether it is the one that looks.
    pub which: Which,
}

/// Whether a session is the one that looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// This one.
    This,
    /// Another one.
    Other,
}

impl SessionRow {
    /// Whether it is the one that looks.
    #[must_use]
    pub fn is_this(&self) -> bool {
        self.which == Which::This
    }
}

/// An identity at a provider.
#[derive(Clone, Debug)]
pub struct IdentityRow {
    /// Id.
    pub id: String,
    /// Name of the provider, or its address when it is no longer configured.
    pub provider: String,
    /// Who they are there.
    pub label: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Last used.
    pub used_at: Option<Timestamp>,
    /// What is wrong with the password that was typed to remove it.
    pub error: Option<String>,
}

/// `/settings/security`.
#[derive(Template)]
#[template(path = "security.html")]
pub struct SecurityPage {
    /// Frame.
    pub shell: Shell,
    /// Name of the account, for programs that keep passwords.
    pub name: String,
    /// Whether there is a password.
    pub password: Password,
    /// Beside the form that changes the password.
    pub password_errors: SecretErrors,
    /// The second factor.
    pub factor: Factor,
    /// Beside the form that switches the second factor on or off.
    pub factor_errors: SecretErrors,
    /// Beside the form that makes new recovery codes.
    pub codes_errors: SecretErrors,
    /// Sessions, this one first.
    pub sessions: Vec<SessionRow>,
    /// Identities.
    pub identities: Vec<IdentityRow>,
    /// Why an identity was not added or removed, when it is not about a password.
    pub identity_problem: Option<String>,
    /// What is wrong with the password that was typed to add one.
    pub addition_error: Option<String>,
    /// Providers at which an identity can be added.
    pub providers: Vec<ProviderButton>,
}

impl SecurityPage {
    /// Whether a form has to ask for the password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password == Password::Set
    }
}

/// `/settings/security/second-factor`: the code of the app is asked for.
#[derive(Template)]
#[template(path = "second_factor.html")]
pub struct SecondFactorPage {
    /// Frame.
    pub shell: Shell,
    /// What the app scans; `None` after a code that was wrong: the secret is shown once.
    pub enrolment: Option<EnrolmentView>,
    /// Why the code was not taken.
    pub error: Option<String>,
}

/// What the app on the phone has to learn.
#[derive(Clone, Debug)]
pub struct EnrolmentView {
    /// The picture to scan.
    pub picture: Markup,
    /// The secret, in groups of four.
    pub secret: String,
    /// The address that an app on this device opens.
    pub uri: String,
}

/// The recovery codes; shown once.
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodesPage {
    /// Frame.
    pub shell: Shell,
    /// Codes.
    pub codes: Vec<String>,
    /// Whether the second factor was switched on just now.
    pub cause: Cause,
}

/// Why codes are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The second factor was switched on.
    SwitchedOn,
    /// The codes before these are void.
    Renewed,
}

impl RecoveryCodesPage {
    /// All codes, one in a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.codes.join("\n")
    }

    /// The codes as an address that a browser saves as a file, without asking the server for the secrets again.
    #[must_use]
    pub fn file(&self) -> String {
        let text = format!("Recovery codes of Slipway. Each works once.\r\n\r\n{}\r\n", self.codes.join("\r\n"));
        format!("data:text/plain;charset=utf-8,{}", ui::address_part(text))
    }
}

/// The QR code that the application drew, drawn again for a page: only its size and the outline of its dark parts are taken over, each
/// checked, so nothing else of it can reach the page. Dark on light in both themes, as cameras want it. Empty when it is not such a
/// picture; the secret stands beside it as text.
#[must_use]
pub fn qr(svg: &str) -> Markup {
    let attribute = |name: &str| svg.rsplit_once(name).and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value);
    let side = attribute("viewBox=\"").and_then(|value| value.rsplit(' ').next()).and_then(|value| value.parse::<u32>().ok());
    // The light ground is the first path, the dark modules are the last.
    let dark = attribute(" d=\"").filter(|path| path.bytes().all(|b| b.is_ascii_digit() || b"MmHhVvZz -.".contains(&b)));
    let (Some(side), Some(dark)) = (side, dark) else { return Markup::default() };
    Markup::trusted(format!(
        r##"<svg class="qr" viewBox="0 0 {side} {side}" width="208" height="208" role="img" aria-label="QR code for the app" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/><path fill="#000" d="{dark}"/></svg>"##
    ))
}

/// Browser and system out of what a browser says of itself; cut, because anybody may send anything.
#[must_use]
pub fn device(user_agent: &str) -> String {
    let has = |word: &str| user_agent.contains(word);
    // The order matters: Edge also says Chrome and Safari, Chrome also says Safari.
    let browser =
        [("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("CriOS/", "Chrome"), ("Safari/", "Safari")]
            .into_iter()
            .find(|(word, _)| has(word))
            .map(|(_, name)| name);
    let system = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]
    .into_iter()
    .find(|(word, _)| has(word))
    .map(|(_, name)| name);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) if user_agent.trim().is_empty() => "an unknown browser".to_owned(),
        (None, None) => user_agent.chars().filter(|c| !c.is_control()).take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_people_call_them() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        assert_eq!(device(chrome), "Chrome on Linux");
        assert_eq!(device(&format!("{chrome} Edg/131.0")), "Edge on Linux");
        assert_eq!(device("Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:132.0) Gecko/20100101 Firefox/132.0"), "Firefox on macOS");
        assert_eq!(
            device("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1"),
            "Safari on iPhone"
        );
        assert_eq!(device(""), "an unknown browser");
        assert_eq!(device("curl/8.10.1"), "curl/8.10.1");
        assert_eq!(device(&"x".repeat(5000)).len(), 60);
    }

    #[test]
    fn a_qr_code_is_drawn_again_and_nothing_else_of_it_is_taken_over() {
        let drawn = r##"<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="29" height="29" viewBox="0 0 29 29" shape-rendering="crispEdges"><path d="M0 0h29v29H0V0" fill="#fff"/><path d="M4 4h7v1H4zM12 4h1v1H12z" fill="#000"/></svg>"##;
        let picture = qr(drawn).to_string();
        assert!(picture.contains(r#"viewBox="0 0 29 29""#) && picture.contains(r#"d="M4 4h7v1H4zM12 4h1v1H12z""#), "{picture}");
        for hostile in [
            "<script>alert(1)</script>",
            r#"<svg viewBox="0 0 9 9"><path d="M0 0<script>"/></svg>"#,
            r#"<svg viewBox="0 0 x"><path d="M0 0"/>"#,
        ] {
            assert_eq!(qr(hostile).as_str(), "", "{hostile}");
        }
    }
}
