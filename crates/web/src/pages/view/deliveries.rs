//! Deliveries: why there was a build, or none.

use std::borrow::Borrow;

use askama::Template;
use slipway_model::{DeliveryStatus, Timestamp, VerdictOutcome};

use super::form::Field;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Tone};
use super::webhook::HookNotice;

/// Colour and shape of a delivery as a whole.
#[must_use]
pub fn status_tone(status: DeliveryStatus) -> Tone {
    match status {
        DeliveryStatus::Accepted => Tone::Good,
        DeliveryStatus::Ignored => Tone::Waiting,
        DeliveryStatus::Duplicate => Tone::Stopped,
        DeliveryStatus::Rejected => Tone::Bad,
    }
}

/// One rule's decision about one ref.
#[derive(Clone, Debug)]
pub struct VerdictView {
    /// When it was decided.
    pub at: Timestamp,
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

    /// The decision in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        outcome_word(self.outcome)
    }
}

/// A decision in a word for people.
#[must_use]
pub fn outcome_word(outcome: impl Borrow<VerdictOutcome>) -> &'static str {
    match *outcome.borrow() {
        VerdictOutcome::NoMatch => "no match",
        other => other.as_str(),
    }
}

/// What brought an entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Brought {
    /// A request of the provider.
    Delivery,
    /// Nothing: the reconciler found it at the provider.
    Reconciler,
}

/// A delivery in the list.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its page.
    pub href: String,
    /// What brought it.
    pub brought: Brought,
    /// The provider's id of it.
    pub delivery_id: String,
    /// When it came.
    pub received_at: Timestamp,
    /// When it was decided; `None` while it waits.
    pub processed_at: Option<Timestamp>,
    /// `push`, `ping`, …
    pub event: String,
    /// Full ref.
    pub source_ref: Option<String>,
    /// How many refs beside that one.
    pub more_refs: usize,
    /// As a whole.
    pub status: DeliveryStatus,
    /// In words, when there is more to say.
    pub note: Option<String>,
    /// The page of the first delivery of the same content.
    pub duplicate_of: Option<String>,
    /// Decisions.
    pub verdicts: Vec<VerdictView>,
}

impl DeliveryRow {
    /// Colour and shape.
    #[must_use]
    pub fn tone(&self) -> Tone {
        if self.waits() { Tone::Running } else { status_tone(self.status) }
    }

    /// The status in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.waits() { "being decided" } else { self.status.as_str() }
    }

    /// Whether the reconciler found it.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.brought == Brought::Reconciler
    }

    fn waits(&self) -> bool {
        self.processed_at.is_none() && self.duplicate_of.is_none()
    }
}

/// A request that was refused.
#[derive(Clone, Debug)]
pub struct RefusedRow {
    /// When.
    pub at: Timestamp,
    /// From where.
    pub address: String,
    /// Why.
    pub reason: String,
    /// Bytes of its body.
    pub size: u64,
}

impl RefusedRow {
    /// The size in words.
    #[must_use]
    pub fn size_text(&self) -> String {
        ui::size_text(self.size)
    }
}

/// The filter as it was typed.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFields {
    /// As a whole.
    pub status: Field,
    /// The provider's word.
    pub event: Field,
    /// Branch, tag or full ref.
    pub source_ref: Field,
    /// Of a verdict.
    pub outcome: Field,
    /// From this day on, `2026-11-21`.
    pub after: Field,
    /// Up to the end of this day.
    pub before: Field,
}

/// Events that are offered while typing; providers have more.
pub const EVENTS: [&str; 5] = ["push", "repo:push", "repository", "ping", "reconcile"];

impl DeliveryFields {
    fn all(&self) -> [(&'static str, &Field); 6] {
        [
            ("status", &self.status),
            ("event", &self.event),
            ("ref", &self.source_ref),
            ("outcome", &self.outcome),
            ("after", &self.after),
            ("before", &self.before),
        ]
    }

    /// Whether anything is filtered.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.all().iter().any(|(_, field)| !field.value.is_empty())
    }

    /// The messages beside the fields.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, &str)> {
        self.all().into_iter().filter_map(|(name, field)| Some((name, field.error.as_deref()?))).collect()
    }

    /// The filter as a query, for the next page.
    #[must_use]
    pub fn query(&self, cursor: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, field) in self.all().into_iter().filter(|(_, field)| !field.value.is_empty()) {
            query.append_pair(name, &field.value);
        }
        query.append_pair("cursor", cursor);
        query.finish()
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
    /// How people call the provider; empty without a source.
    pub provider: String,
    /// The filter.
    pub filter: DeliveryFields,
    /// One page of them.
    pub rows: Vec<DeliveryRow>,
    /// What is wrong with the webhook.
    pub hook: Option<HookNotice>,
    /// Requests that were refused, newest first.
    pub refused: Vec<RefusedRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A change of a ref that a delivery told of.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Full ref, or what the provider wrote in its place.
    pub source_ref: String,
    /// Where it stood.
    pub before: Option<String>,
    /// Where it went.
    pub after: Option<String>,
    /// Who the commit says wrote it.
    pub author: Option<String>,
}

/// A step of the way from the request to the decision.
#[derive(Clone, Debug)]
pub struct WayStep {
    /// Colour and shape.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// Label and address of what it leads to.
    pub link: Option<(String, String)>,
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
    /// What happened before the rules were asked.
    pub way: Vec<WayStep>,
    /// What was read from it.
    pub events: Vec<EventRow>,
    /// Names and values; secrets are masked before they come here.
    pub headers: Vec<(String, String)>,
    /// Body, made readable and cut.
    pub body: String,
    /// Bytes of the whole body.
    pub body_bytes: u64,
    /// Whether the page shows only the beginning.
    pub shown: Shown,
    /// Where all of the body comes from.
    pub download: String,
}

/// How much of a body is on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// All of it.
    Whole,
    /// Its beginning.
    Beginning,
}

impl DeliveryPage {
    /// The body's size in words.
    #[must_use]
    pub fn body_size(&self) -> String {
        ui::size_text(self.body_bytes)
    }

    /// Whether the page shows only the beginning of the body.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shown == Shown::Beginning
    }

    /// Whether a decision was made again after the first ones: then each says when.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.row.verdicts.iter().any(|verdict| self.row.processed_at.is_some_and(|first| verdict.at.since(first).as_secs() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_goes_into_addresses_whole() {
        let filter = DeliveryFields { source_ref: Field::new("a&b=c"), event: Field::new("repo:push"), ..DeliveryFields::default() };
        assert!(filter.is_filtered() && filter.errors().is_empty());
        assert_eq!(filter.query("x y"), "event=repo%3Apush&ref=a%26b%3Dc&cursor=x+y");
        assert!(!DeliveryFields::default().is_filtered());
    }
}
