//! The inbox as people see it: "why was there no build?"
//!
//! Deliberately elsewhere: taking deliveries in (`intake`), deciding about them (`receive`).

use std::collections::BTreeMap;

use slipway_forge::Payload;
use slipway_model::DeliveryId;
use slipway_store::deliveries::{self, Delivery, Filter, Raw, Verdict};
use slipway_store::{ReadTx, hooks, refs, repositories};

use crate::receive::stored_headers;
use crate::{App, Error, RepositoryRead};

/// As much of a body is shown as text; all of it is there to be fetched.
const SHOWN_BYTES: usize = 256 * 1024;

/// A delivery, or what the reconciler found (its event is `reconcile`), in the list.
#[derive(Debug, Clone)]
pub struct DeliveryEntry {
    /// The row.
    pub delivery: Delivery,
    /// Verdicts in order; those of replays stand behind the first ones.
    pub verdicts: Vec<Verdict>,
}

/// A delivery with all that came with it.
#[derive(Debug, Clone)]
pub struct DeliveryDetail {
    /// The row.
    pub delivery: Delivery,
    /// Verdicts in order; those of replays stand behind the first ones.
    pub verdicts: Vec<Verdict>,
    /// As they came; secrets and signatures are masked.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: DeliveryBody,
    /// What was read from it: the changes of refs.
    pub events: Vec<DeliveryEvent>,
}

/// A body, made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryBody {
    /// Its beginning; bytes that are no text are replaced. [`App::delivery_body`] gives the bytes themselves.
    pub text: String,
    /// How long all of it is.
    pub bytes: u64,
    /// Whether `text` is only a part.
    pub is_cut: bool,
}

/// A change of a ref that a delivery told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEvent {
    /// The ref; for one that cannot be used, as it came.
    pub source_ref: String,
    /// Where it stood.
    pub before: Option<String>,
    /// Where it went; `None` when it was deleted.
    pub after: Option<String>,
    /// Who the commit says wrote it. For display only.
    pub author: Option<String>,
}

impl DeliveryBody {
    fn new(body: &[u8]) -> Self {
        let shown = &body[..body.len().min(SHOWN_BYTES)];
        Self { text: String::from_utf8_lossy(shown).into_owned(), bytes: body.len() as u64, is_cut: shown.len() < body.len() }
    }
}

impl App {
    /// A page of a repository's deliveries with their verdicts, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_deliveries(
        &self,
        right: &RepositoryRead,
        filter: &Filter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryEntry>, Error> {
        let repository = right.repository().id;
        let mut tx = self.read().await?;
        let mut entries = Vec::new();
        for delivery in deliveries::list(&mut tx, repository, filter, before, limit).await? {
            let verdicts = deliveries::list_verdicts(&mut tx, repository, delivery.id, delivery.id).await?;
            entries.push(DeliveryEntry { delivery, verdicts: verdicts.into_iter().map(|(_, verdict)| verdict).collect() });
        }
        Ok(entries)
    }

    /// One delivery with verdicts, headers, body and what was read from it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_delivery(&self, right: &RepositoryRead, id: DeliveryId) -> Result<DeliveryDetail, Error> {
        let repository = right.repository().id;
        let mut tx = self.read().await?;
        let delivery = deliveries::get(&mut tx, repository, id).await?.ok_or(Error::NotFound)?;
        let raw = deliveries::get_raw(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let verdicts = deliveries::list_verdicts(&mut tx, repository, id, id).await?.into_iter().map(|(_, verdict)| verdict).collect();
        let events = self.events_of(&mut tx, &delivery, &raw).await?;
        let headers = serde_json::from_str(&raw.headers).unwrap_or_default();
        Ok(DeliveryDetail { delivery, verdicts, headers, body: DeliveryBody::new(&raw.body), events })
    }

    /// The whole body of a delivery, byte by byte.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delivery_body(&self, right: &RepositoryRead, id: DeliveryId) -> Result<Vec<u8>, Error> {
        let mut tx = self.read().await?;
        deliveries::get(&mut tx, right.repository().id, id).await?.ok_or(Error::NotFound)?;
        Ok(deliveries::get_raw(&mut tx, id).await?.ok_or(Error::NotFound)?.body)
    }

    /// Read from the body; when there is none, or nobody can read it any more, from the log of the refs.
    async fn events_of(&self, tx: &mut ReadTx, delivery: &Delivery, raw: &Raw) -> Result<Vec<DeliveryEvent>, Error> {
        let provider = match hooks::get(tx, delivery.hook).await? {
            Some(hook) => Some(hook.provider),
            None => repositories::get_autobuild(tx, delivery.repository).await?.map(|autobuild| autobuild.provider),
        };
        let forge = provider.and_then(|provider| self.forges.get(&provider)).filter(|_| !raw.body.is_empty());
        let payload = forge.map(|forge| forge.read(&delivery.event, &stored_headers(&raw.headers), &raw.body));
        if let Some(Ok(payload)) = payload {
            return Ok(events_in(payload));
        }
        let logged = refs::list_of_delivery(tx, delivery.id).await?;
        Ok(logged
            .into_iter()
            .map(|(name, before, after)| DeliveryEvent {
                source_ref: name.to_string(),
                before: before.map(|commit| commit.to_string()),
                after: after.map(|commit| commit.to_string()),
                author: None,
            })
            .collect())
    }
}

fn events_in(payload: Payload) -> Vec<DeliveryEvent> {
    let Payload::Push { events, unusable, .. } = payload else { return Vec::new() };
    let usable = events.into_iter().map(|change| DeliveryEvent {
        source_ref: change.name.to_string(),
        before: change.before.map(|commit| commit.to_string()),
        after: change.after.map(|commit| commit.to_string()),
        author: change.author,
    });
    let odd = unusable.into_iter().map(|odd| DeliveryEvent { source_ref: odd.name, before: None, after: None, author: None });
    usable.chain(odd).collect()
}
