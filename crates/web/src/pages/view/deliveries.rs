//! Deliveries: why there was a build, or none.

use askama::Template;
use slipway_model::{DeliveryStatus, Timestamp, VerdictOutcome};

use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Tone};

/// One rule's decision about one ref.
#[derive(Clone, Debug)]
pub struct VerdictView {
    /// `rule 1`, or empty when it concerns all.
    pub rule: String,
    /// Full ref.
    pub source_ref: Option<String>,
    /// Decision.
    pub outcome: VerdictOutcome,
    /// In words.
    pub text: String,
    /// The build's label and page.
    pub build: Option<(String, String)>,
}

impl VerdictView {
    /// Colour and shape.
    #[must_use]
    pub fn tone(&self) -> Tone {
        ui::verdict_tone(self.outcome)
    }
}

/// A delivery in the list.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its page.
    pub href: String,
    /// The provider's id of it.
    pub delivery_id: String,
    /// When it came.
    pub received_at: Timestamp,
    /// `push`, `ping`, …
    pub event: String,
    /// Full ref.
    pub source_ref: Option<String>,
    /// As a whole.
    pub status: DeliveryStatus,
    /// In words, when there is more to say.
    pub note: Option<String>,
    /// Decisions.
    pub verdicts: Vec<VerdictView>,
}

impl DeliveryRow {
    /// Colour and shape.
    #[must_use]
    pub fn tone(&self) -> Tone {
        match self.status {
            DeliveryStatus::Accepted => Tone::Good,
            DeliveryStatus::Ignored => Tone::Waiting,
            DeliveryStatus::Duplicate => Tone::Stopped,
            DeliveryStatus::Rejected => Tone::Bad,
        }
    }
}

/// `/{ns}/{name}/deliveries`.
#[derive(Template)]
#[template(path = "deliveries.html")]
pub struct DeliveryListPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// One page of them.
    pub rows: Vec<DeliveryRow>,
    /// What is wrong with the webhook.
    pub hook_problem: Option<String>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// `/{ns}/{name}/deliveries/{id}`.
#[derive(Template)]
#[template(path = "delivery.html")]
pub struct DeliveryPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// The delivery.
    pub row: DeliveryRow,
    /// Names and values; secrets are masked before they come here.
    pub headers: Vec<(String, String)>,
    /// Body, made readable and cut.
    pub body: String,
    /// Bytes of the whole body.
    pub body_bytes: u64,
}

impl DeliveryPage {
    /// The body's size in words.
    #[must_use]
    pub fn body_size(&self) -> String {
        ui::size_text(self.body_bytes)
    }
}
