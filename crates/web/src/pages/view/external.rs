//! Another registry that images go to as well: its settings, and how a tag stands there.

use askama::Template;
use slipway_model::Timestamp;

use super::form::Field;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Tone};

/// How a tag stands there.
#[derive(Clone, Debug)]
pub struct ExternalRow {
    /// The tag.
    pub tag: String,
    /// Shape and colour.
    pub tone: Tone,
    /// In a sentence or two.
    pub text: String,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    /// Whether it can be tried now.
    pub again: Again,
}

/// Whether there is something to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// It failed before.
    Yes,
    /// It is there, or on its way.
    No,
}

impl ExternalRow {
    /// Whether it can be tried again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.again == Again::Yes
    }
}

/// `/{ns}/{name}/settings/external`.
#[derive(Template, Clone)]
#[template(path = "external.html")]
pub struct ExternalPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// What is saved, and since when.
    pub saved: Option<(String, Timestamp)>,
    /// Where images go.
    pub address: Field,
    /// Who signs in.
    pub username: Field,
    /// What is wrong with the password.
    pub password_error: Option<String>,
    /// What came of trying it out.
    pub tried: Option<(Tone, String)>,
}
