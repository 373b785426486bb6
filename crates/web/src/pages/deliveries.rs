//! Deliveries: why there was a build, or none.
//!
//! Deliberately elsewhere: the webhook that brings them, and the provider's own log (`webhook`).

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::deliveries::{Delivery, RECONCILE, Verdict};
use slipway_app::{DeliveryBody, DeliveryDetail, DeliveryEntry, DeliveryFilter};
use slipway_model::{AccountName, DeliveryId, DeliveryStatus, RepositoryName, Timestamp};

use super::audit::begin_of_day;
use super::error::{PageError, sentence};
use super::fields::{At, Fields, Query};
use super::frame::{RepositoryAt, Visit, go, show, show_refused};
use super::repository::open;
use super::token_form::end_of_day;
use super::view::deliveries::{
    Brought, DeliveryFields, DeliveryListPage, DeliveryPage, DeliveryRow, EventRow, RefusedRow, Shown, VerdictView, WayStep,
};
use super::view::form::Field;
use super::view::repositories::Tab;
use super::view::ui::{self, Tone};
use super::webhook::{called, hook_notice};

const PAGE: u32 = 30;
/// Characters of a body that a page shows; the download has all of it.
const BODY: usize = 100_000;

/// A delivery's address.
#[derive(Debug, Deserialize)]
pub(super) struct DeliveryAt {
    ns: AccountName,
    name: RepositoryName,
    id: DeliveryId,
}

impl DeliveryAt {
    fn at(&self) -> RepositoryAt {
        RepositoryAt { ns: self.ns.clone(), name: self.name.clone() }
    }
}

fn verdict(base: &str, verdict: Verdict) -> VerdictView {
    VerdictView {
        at: verdict.at,
        rule: verdict.rule,
        source_ref: Some(verdict.source_ref).filter(|name| !name.is_empty()),
        outcome: verdict.outcome,
        text: verdict.text,
        build: verdict.build.map(|id| ("See the build".to_owned(), format!("{base}/builds/{id}"))),
    }
}

fn row(base: &str, entry: DeliveryEntry) -> DeliveryRow {
    let DeliveryEntry { delivery, verdicts } = entry;
    let mut refs: Vec<String> = Vec::new();
    for verdict in &verdicts {
        if !verdict.source_ref.is_empty() && !refs.contains(&verdict.source_ref) {
            refs.push(verdict.source_ref.clone());
        }
    }
    let duplicate = delivery.duplicate_of.map(|_| "the same delivery came before; it was decided then.".to_owned());
    let waits = (delivery.processed_at.is_none() && duplicate.is_none()).then(|| "stored; it is being decided.".to_owned());
    DeliveryRow {
        href: format!("{base}/deliveries/{}", delivery.id),
        brought: if delivery.event == RECONCILE { Brought::Reconciler } else { Brought::Delivery },
        more_refs: refs.len().saturating_sub(1),
        source_ref: refs.into_iter().next(),
        verdicts: verdicts.into_iter().map(|one| verdict(base, one)).collect(),
        delivery_id: delivery.delivery_id,
        received_at: delivery.received_at,
        processed_at: delivery.processed_at,
        event: delivery.event,
        status: delivery.status,
        note: delivery.detail.or(duplicate).or(waits),
        duplicate_of: delivery.duplicate_of.map(|first| format!("{base}/deliveries/{first}")),
    }
}

/// What was typed, and the filter that it makes. A word that is none stands beside its field and filters nothing.
fn read(query: &Fields) -> (DeliveryFields, DeliveryFilter) {
    fn known<T: std::str::FromStr<Err = String>>(field: &mut Field) -> Option<T> {
        match field.value.parse() {
            Ok(word) => Some(word),
            Err(expected) => {
                field.error = Some(sentence(&expected)).filter(|_| !field.value.is_empty());
                None
            }
        }
    }
    let day = |field: &mut Field, read: fn(&str) -> Option<Timestamp>| {
        let moment = read(&field.value);
        field.error = (moment.is_none() && !field.value.is_empty()).then(|| "Expected a day like `2026-11-21`.".to_owned());
        moment
    };
    let field = |name: &str| Field::new(query.text(name).trim().chars().take(200).collect::<String>());
    let mut fields = DeliveryFields {
        status: field("status"),
        event: field("event"),
        source_ref: field("ref"),
        outcome: field("outcome"),
        after: field("after"),
        before: field("before"),
    };
    let text = |field: &Field| Some(field.value.clone()).filter(|text| !text.is_empty());
    let filter = DeliveryFilter {
        status: known(&mut fields.status),
        event: text(&fields.event),
        source_ref: text(&fields.source_ref),
        outcome: known(&mut fields.outcome),
        since: day(&mut fields.after, begin_of_day),
        // The day is meant to its end, and the filter stops before its moment.
        until: day(&mut fields.before, end_of_day).map(|end| end.plus(std::time::Duration::from_secs(1))),
    };
    (fields, filter)
}

/// `/{ns}/{name}/deliveries`.
pub(super) async fn list(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Deliveries).await?;
    let right = opened.rights.read()?;
    let (fields, filter) = read(&query);
    let refused_filter = !fields.errors().is_empty();
    let before: Option<DeliveryId> = query.filled("cursor").and_then(|id| id.parse().ok());
    let mut found = visit.app().list_deliveries(right, &filter, before, PAGE + 1).await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.delivery.id.to_string());
    let refused = visit.app().list_refused_requests(right).await?;
    let base = opened.base();
    let page = DeliveryListPage {
        provider: called(visit.app(), &opened),
        hook: hook_notice(visit.app(), &opened),
        filter: fields,
        rows: found.into_iter().map(|detail| row(&base, detail)).collect(),
        refused: refused
            .into_iter()
            .map(|one| RefusedRow { at: one.at, address: one.address.to_string(), reason: sentence(&one.reason), size: one.size })
            .collect(),
        next,
        shell: opened.shell,
        head: opened.head,
    };
    Ok(if refused_filter { show_refused(&page) } else { show(&page) })
}

/// `/{ns}/{name}/deliveries/{id}`.
pub(super) async fn page(visit: Visit, At(which): At<DeliveryAt>) -> Result<Response, PageError> {
    let opened = open(&visit, &which.at(), Tab::Deliveries).await?;
    let DeliveryDetail { delivery, verdicts, headers, body, events } = visit.app().get_delivery(opened.rights.read()?, which.id).await?;
    let base = opened.base();
    let (text, shown) = readable(&body);
    Ok(show(&DeliveryPage {
        way: way(&base, &delivery, events.len()),
        events: events
            .into_iter()
            .map(|event| EventRow { source_ref: event.source_ref, before: event.before, after: event.after, author: event.author })
            .collect(),
        headers: headers.into_iter().collect(),
        body: text,
        body_bytes: body.bytes,
        shown,
        download: format!("/api/v1/repositories{base}/deliveries/{}/body", which.id),
        row: row(&base, DeliveryEntry { delivery, verdicts }),
        shell: opened.shell,
        head: opened.head,
    }))
}

/// What happened before the rules were asked.
fn way(base: &str, delivery: &Delivery, changes: usize) -> Vec<WayStep> {
    let step = |tone, text: String| WayStep { tone, text, link: None };
    let count = |what: &str| format!("{what} {}", ui::count(changes, "change of a ref", "changes of refs"));
    if delivery.event == RECONCILE {
        let found = delivery.detail.as_deref().map_or_else(|| count("Compared the refs with those at the provider:"), sentence);
        return vec![step(Tone::Good, found)];
    }
    let came = "Came with a valid signature, and was stored before it was acknowledged.";
    let mut steps = vec![step(Tone::Good, came.to_owned())];
    if let Some(first) = delivery.duplicate_of {
        let link = Some(("See the first one".to_owned(), format!("{base}/deliveries/{first}")));
        steps.push(WayStep {
            link,
            ..step(Tone::Stopped, "The same delivery came before: it was decided then, and builds nothing twice.".to_owned())
        });
        return steps;
    }
    if changes > 0 {
        steps.push(step(Tone::Good, count("Read:")));
    }
    match (&delivery.detail, delivery.processed_at) {
        (Some(detail), _) if delivery.status == DeliveryStatus::Rejected => steps.push(step(Tone::Bad, sentence(detail))),
        (Some(detail), _) => steps.push(step(Tone::Waiting, sentence(detail))),
        (None, None) => steps.push(step(Tone::Running, "It is being decided.".to_owned())),
        (None, Some(_)) => {}
    }
    steps
}

/// The beginning of the body with its JSON laid out, whether it came as JSON or as a form with `payload=`.
fn readable(body: &DeliveryBody) -> (String, Shown) {
    let from_form =
        || form_urlencoded::parse(body.text.as_bytes()).find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned());
    let json = serde_json::from_str::<serde_json::Value>(&body.text).ok().or_else(|| serde_json::from_str(&from_form()?).ok());
    let text = json.map_or_else(|| body.text.clone(), |value| format!("{value:#}"));
    match text.char_indices().nth(BODY) {
        Some((end, _)) => (format!("{}\n…", &text[..end]), Shown::Beginning),
        None if body.is_cut => (format!("{text}\n…"), Shown::Beginning),
        None => (text, Shown::Whole),
    }
}

/// `POST …/replay`: decides again under the rules of now.
pub(super) async fn replay(visit: Visit, At(which): At<DeliveryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    visit.app().replay(rights.write()?, which.id, visit.caller.account().id).await?;
    Ok(go(&format!("/{}/{}/deliveries/{}?done=replayed", which.ns, which.name, which.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_model::VerdictOutcome;

    #[test]
    fn bodies_are_laid_out_and_cut() {
        let of = |text: &str| readable(&DeliveryBody { text: text.to_owned(), bytes: text.len() as u64, is_cut: false });
        assert_eq!(of(r#"{"ref":"refs/heads/main"}"#), ("{\n  \"ref\": \"refs/heads/main\"\n}".to_owned(), Shown::Whole));
        assert_eq!(of("payload=%7B%22a%22%3A1%7D").0, "{\n  \"a\": 1\n}");
        assert_eq!(of("\u{fffd} not json").0, "\u{fffd} not json");
        let (long, shown) = of(&"x".repeat(200_000));
        assert!(long.len() < 101_000 && shown == Shown::Beginning);
        let part = readable(&DeliveryBody { text: "{\"a\":".to_owned(), bytes: 9_000_000, is_cut: true });
        assert_eq!(part, ("{\"a\":\n…".to_owned(), Shown::Beginning));
    }

    #[test]
    fn the_filter_is_read_whole_and_odd_words_are_said() {
        let (fields, filter) =
            read(&Fields::of("status=accepted&event=+push+&ref=main&outcome=no_match&after=2026-11-21&before=2026-11-21"));
        assert!(fields.errors().is_empty() && fields.is_filtered());
        assert_eq!((filter.status, filter.outcome), (Some(DeliveryStatus::Accepted), Some(VerdictOutcome::NoMatch)));
        assert_eq!((filter.event.as_deref(), filter.source_ref.as_deref()), (Some("push"), Some("main")));
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        assert_eq!(text(filter.since).as_deref(), Some("2026-11-21T00:00:00.000Z"));
        assert_eq!(text(filter.until).as_deref(), Some("2026-11-22T00:00:00.000Z"));
        let (fields, filter) = read(&Fields::of("status=lost&outcome=%3Cb%3E&after=yesterday"));
        assert_eq!(fields.errors().len(), 3);
        assert_eq!(filter, DeliveryFilter::default());
        let (fields, filter) = read(&Fields::of(""));
        assert!(!fields.is_filtered() && fields.errors().is_empty() && filter == DeliveryFilter::default());
    }
}
