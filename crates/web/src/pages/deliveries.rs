//! Deliveries: why there was a build, or none.

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::deliveries::Verdict;
use slipway_app::{DeliveryEntry, DeliveryFilter};
use slipway_model::{AccountName, DeliveryId, RepositoryName};

use super::error::PageError;
use super::fields::{At, Query};
use super::frame::{RepositoryAt, Visit, go, show};
use super::repository::{Opened, open};
use super::view::deliveries::{DeliveryListPage, DeliveryPage, DeliveryRow, VerdictView};
use super::view::repositories::Tab;

const PAGE: u32 = 30;
/// Characters of a body that a page shows; the API has all of it.
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
        rule: verdict.rule,
        source_ref: Some(verdict.source_ref).filter(|name| !name.is_empty()),
        outcome: verdict.outcome,
        text: verdict.text,
        build: verdict.build.map(|id| ("See the build".to_owned(), format!("{base}/builds/{id}"))),
    }
}

fn row(base: &str, detail: DeliveryEntry) -> DeliveryRow {
    let delivery = detail.delivery;
    let duplicate = delivery.duplicate_of.map(|_| "the same delivery came before; it was decided then".to_owned());
    let waits = (delivery.processed_at.is_none() && duplicate.is_none()).then(|| "stored; it is being decided".to_owned());
    DeliveryRow {
        href: format!("{base}/deliveries/{}", delivery.id),
        source_ref: detail.verdicts.iter().map(|verdict| verdict.source_ref.clone()).find(|name| !name.is_empty()),
        verdicts: detail.verdicts.into_iter().map(|one| verdict(base, one)).collect(),
        delivery_id: delivery.delivery_id,
        received_at: delivery.received_at,
        event: delivery.event,
        status: delivery.status,
        note: delivery.detail.or(duplicate).or(waits),
    }
}

/// What is wrong with the webhook, for the banner.
fn hook_problem(opened: &Opened) -> Option<String> {
    let settings = opened.autobuild.as_ref()?;
    match &settings.hook {
        None => Some("There is no webhook for this repository at the provider. Link the provider again under Source providers, or save the autobuild settings again, and it is made.".to_owned()),
        Some(hook) if hook.standing => None,
        Some(hook) => Some(match &hook.error {
            Some(error) => {
                format!("The webhook does not stand at the provider: {error}. It is tried again; until then pushes are not heard.")
            }
            None => "The webhook is being made at the provider.".to_owned(),
        }),
    }
}

/// `/{ns}/{name}/deliveries`.
pub(super) async fn list(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Deliveries).await?;
    let before: Option<DeliveryId> = query.filled("cursor").and_then(|id| id.parse().ok());
    let mut found = visit.app().list_deliveries(opened.rights.read()?, &DeliveryFilter::default(), before, PAGE + 1).await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.delivery.id.to_string());
    let base = opened.base();
    Ok(show(&DeliveryListPage {
        hook_problem: hook_problem(&opened),
        rows: found.into_iter().map(|detail| row(&base, detail)).collect(),
        next,
        shell: opened.shell,
        head: opened.head,
    }))
}

/// `/{ns}/{name}/deliveries/{id}`.
pub(super) async fn page(visit: Visit, At(which): At<DeliveryAt>) -> Result<Response, PageError> {
    let opened = open(&visit, &which.at(), Tab::Deliveries).await?;
    let detail = visit.app().get_delivery(opened.rights.read()?, which.id).await?;
    let body = visit.app().delivery_body(opened.rights.read()?, which.id).await?;
    let base = opened.base();
    Ok(show(&DeliveryPage {
        headers: detail.headers.into_iter().collect(),
        body: readable(&body),
        body_bytes: detail.body.bytes,
        row: row(&base, DeliveryEntry { delivery: detail.delivery, verdicts: detail.verdicts }),
        shell: opened.shell,
        head: opened.head,
    }))
}

/// The body with its JSON laid out, whether it came as JSON or as a form with `payload=`.
fn readable(body: &[u8]) -> String {
    let from_form = || form_urlencoded::parse(body).find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned());
    let json = serde_json::from_slice::<serde_json::Value>(body).ok().or_else(|| serde_json::from_str(&from_form()?).ok());
    let text = match json {
        Some(value) => format!("{value:#}"),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    match text.char_indices().nth(BODY) {
        Some((end, _)) => format!("{}\n… the rest is in the API", &text[..end]),
        None => text,
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
    use super::readable;

    #[test]
    fn bodies_are_laid_out_and_cut() {
        assert_eq!(readable(br#"{"ref":"refs/heads/main"}"#), "{\n  \"ref\": \"refs/heads/main\"\n}");
        assert_eq!(readable(b"payload=%7B%22a%22%3A1%7D"), "{\n  \"a\": 1\n}");
        assert_eq!(readable(b"\xff not json"), "\u{fffd} not json");
        assert!(readable(&vec![b'x'; 200_000]).len() < 101_000);
    }
}
