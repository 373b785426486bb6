//! Build triggers of a repository.

use askama::Template;
use slipway_model::Timestamp;

use super::form::Field;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui;

/// A trigger in the table.
#[derive(Clone, Debug)]
pub struct TriggerRow {
    /// Id, for its addresses.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// The only ref that it builds.
    pub source_ref: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last called.
    pub called_at: Option<Timestamp>,
}

/// A trigger's address, shown this once.
#[derive(Clone, Debug)]
pub struct ShownTrigger {
    /// What its owner calls it.
    pub name: String,
    /// The whole address.
    pub url: String,
}

/// `/{ns}/{name}/autobuild/triggers`.
#[derive(Template, Clone)]
#[template(path = "triggers.html")]
pub struct TriggersPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// All of them.
    pub rows: Vec<TriggerRow>,
    /// The one that was just made, or got another secret.
    pub shown: Option<ShownTrigger>,
    /// Name of the next one.
    pub name: Field,
    /// The ref of the next one.
    pub source_ref: Field,
}
