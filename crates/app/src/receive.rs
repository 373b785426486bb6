//! Deliveries: checked and stored before they are acknowledged (`intake`), read and decided afterwards (`process`).
//!
//! A delivery's verdicts, ref events and builds are one transaction with its `processed_at`; a crash before it leaves the
//! delivery open, and the loop reads it again.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use slipway_forge::{Payload, Refusal as SignatureRefusal};
use slipway_model::{DeliveryId, DeliveryStatus, HookId, LinkState, ProviderId, VerdictOutcome};
use slipway_store::deliveries::{self, Delivery, NewDelivery, Verdict};
use slipway_store::{StoreError, hooks, links, repositories};

use crate::audit::{self, Change, Place};
use crate::matching::{Origin, Situation};
use crate::{App, Error, RepositoryWrite};

/// Header values that must not be kept.
const MASKED: [&str; 6] = ["authorization", "cookie", "proxy-authorization", "x-hub-signature", "x-hub-signature-256", "x-gitlab-token"];
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_ID_BYTES: usize = 200;

/// What became of a request at a hook's address.
#[derive(Debug)]
pub enum Intake {
    /// Stored.
    Stored(DeliveryId),
    /// Stored as a repetition of an earlier one.
    Duplicate(DeliveryId, DeliveryId),
    /// There is no such hook.
    UnknownHook,
    /// It is not authentic; nothing was stored.
    Refused(SignatureRefusal),
}

fn kept_headers(headers: &HeaderMap) -> String {
    let mut kept = serde_json::Map::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let text =
            if MASKED.contains(&name.as_str()) { "[masked]".to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
        bytes += name.as_str().len() + text.len();
        if bytes > MAX_HEADER_BYTES {
            break;
        }
        kept.insert(name.as_str().to_owned(), text.into());
    }
    serde_json::Value::Object(kept).to_string()
}

fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_ID_BYTES).collect()
}

impl App {
    /// Takes a request at a hook's address: authentic ones are stored durably before this returns.
    ///
    /// # Errors
    /// [`Error::Store`] when it could not be stored: the provider must not be told that it was.
    pub async fn intake(&self, provider: &ProviderId, hook: &str, headers: &HeaderMap, body: &[u8]) -> Result<Intake, Error> {
        let (Ok(id), Some(forge)) = (hook.parse::<HookId>(), self.forges.get(provider)) else { return Ok(Intake::UnknownHook) };
        let mut tx = self.read().await?;
        let found = hooks::get_receiving(&mut tx, id, provider).await?;
        drop(tx);
        let Some((hook, repository)) = found else { return Ok(Intake::UnknownHook) };
        let verified = match forge.verify(headers, body, &self.hook_secrets(&hook, self.clock.now())?) {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Intake::Refused(refusal)),
        };
        let body_sha256 = hex::encode(Sha256::digest(body));
        let headers = kept_headers(headers);
        let (delivery_id, event) = (word(&verified.delivery_id), word(&verified.event));
        let new = NewDelivery {
            hook: hook.id,
            repository,
            delivery_id: &delivery_id,
            event: &event,
            headers: &headers,
            body,
            body_sha256: &body_sha256,
        };
        let mut tx = self.write().await?;
        let (id, first) = deliveries::insert(&mut tx, &new, self.clock.now()).await?;
        tx.commit().await?;
        self.wake.deliveries.notify_one();
        Ok(match first {
            None => Intake::Stored(id),
            Some(first) => Intake::Duplicate(id, first),
        })
    }

    /// Decides about stored deliveries, oldest first; gives how many were decided.
    pub(crate) async fn receive_once(&self) -> Result<usize, Error> {
        let mut tx = self.read().await?;
        let open = deliveries::list_open(&mut tx, 50).await?;
        drop(tx);
        for delivery in &open {
            match self.process(delivery, &Origin::Delivery).await {
                Ok(()) => {}
                Err(Error::Store(error @ StoreError::Unavailable(_))) => return Err(error.into()),
                // One that cannot be decided must not hold up the others; it stays readable and can be replayed.
                Err(error) => {
                    tracing::error!(delivery = %delivery.id, %error, "a delivery could not be decided");
                    let detail = format!("it could not be decided: {error}");
                    self.decide(delivery, &Origin::Delivery, DeliveryStatus::Rejected, Some(&detail), &[]).await?;
                }
            }
        }
        Ok(open.len())
    }

    /// Decides about a delivery once more, under the rules as they are now. Its new verdicts stand behind the old ones.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the repository has no such delivery.
    pub async fn replay(&self, right: &RepositoryWrite, id: DeliveryId, by: slipway_model::AccountId) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let delivery = deliveries::get(&mut tx, right.repository().id, id).await?.ok_or(Error::NotFound)?;
        // A duplicate kept no body: the first of them is decided again.
        let delivery = match delivery.duplicate_of {
            Some(first) => deliveries::get(&mut tx, right.repository().id, first).await?.ok_or(Error::NotFound)?,
            None => delivery,
        };
        drop(tx);
        let mut tx = self.write().await?;
        let change = Change::new("delivery.replay", format!("{} {}", right.repository().name, delivery.id));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(right.repository()), change).await?;
        tx.commit().await?;
        // One that still waits for its first decision gets that one: the loop and the person must not both build it.
        let origin = if delivery.processed_at.is_none() { Origin::Delivery } else { Origin::Replay(by) };
        self.process(&delivery, &origin).await
    }

    async fn process(&self, delivery: &Delivery, origin: &Origin) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let raw = deliveries::get_raw(&mut tx, delivery.id).await?;
        let hook = hooks::get(&mut tx, delivery.hook).await?;
        drop(tx);
        let Some(raw) = raw else { return Ok(()) };
        let headers = stored_headers(&raw.headers);
        let payload = match hook.as_ref().and_then(|hook| self.forges.get(&hook.provider)) {
            Some(forge) => forge.read(&delivery.event, &headers, &raw.body),
            None => return self.decide(delivery, origin, DeliveryStatus::Rejected, Some("its webhook or provider is gone"), &[]).await,
        };
        match payload {
            Err(unreadable) => {
                let detail = format!("it cannot be read: {}", unreadable.reason);
                self.decide(delivery, origin, DeliveryStatus::Rejected, Some(&detail), &[]).await
            }
            Ok(Payload::Ping { .. }) => {
                let verdict = self.remark("", VerdictOutcome::Ignored, "the provider says that the webhook stands");
                self.decide(delivery, origin, DeliveryStatus::Ignored, None, &[verdict]).await
            }
            Ok(Payload::Repository { what, .. } | Payload::Other { what }) => {
                let verdict = self.remark("", VerdictOutcome::Ignored, &format!("{what}: not an event that starts builds"));
                self.decide(delivery, origin, DeliveryStatus::Ignored, None, &[verdict]).await
            }
            Ok(Payload::Push { repository_id, events, unusable }) => {
                self.process_push(delivery, origin, &repository_id, &events, &unusable).await
            }
        }
    }

    async fn process_push(
        &self,
        delivery: &Delivery,
        origin: &Origin,
        repository_id: &str,
        events: &[slipway_forge::RefChange],
        unusable: &[slipway_forge::UnusableRef],
    ) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let Some(autobuild) = repositories::get_autobuild(&mut tx, delivery.repository).await? else {
            drop(tx);
            return self
                .decide(delivery, origin, DeliveryStatus::Rejected, Some("the repository is not built automatically any more"), &[])
                .await;
        };
        if autobuild.source_id != repository_id {
            drop(tx);
            let detail =
                format!("it tells of the source repository with the id `{}`, expected `{}`", word(repository_id), autobuild.source_id);
            return self.decide(delivery, origin, DeliveryStatus::Rejected, Some(&detail), &[]).await;
        }
        if matches!(origin, Origin::Delivery)
            && !deliveries::set_processed(&mut tx, delivery.id, DeliveryStatus::Accepted, None, self.clock.now()).await?
        {
            return Ok(());
        }
        let repository = repositories::get(&mut tx, delivery.repository).await?.ok_or(Error::NotFound)?;
        let link = links::get(&mut tx, repository.account, &autobuild.provider).await?;
        let disabled = match link.map(|link| link.state) {
            Some(LinkState::Disabled) => Some("link disabled: enable it under Source providers, then replay this delivery"),
            None => Some("the provider is not linked any more: link it under Source providers, then replay this delivery"),
            Some(_) => None,
        };
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        let situation = Situation { autobuild: &autobuild, rules: &rules, delivery: delivery.id, origin, disabled };
        let mut verdicts: Vec<Verdict> =
            unusable.iter().map(|odd| self.remark(&word(&odd.name), VerdictOutcome::Refused, &odd.why)).collect();
        for event in events {
            verdicts.extend(self.decide_ref(&mut tx, &situation, event).await?);
        }
        if verdicts.is_empty() {
            verdicts.push(self.remark("", VerdictOutcome::Skipped, "the push changed no branch and no tag"));
        }
        deliveries::insert_verdicts(&mut tx, delivery.id, &verdicts).await?;
        tx.commit().await?;
        for build in verdicts.iter().filter_map(|verdict| verdict.build) {
            self.build_changed(build);
        }
        self.wake.queue.notify_waiters();
        Ok(())
    }

    /// A verdict that comes before the rules.
    fn remark(&self, source_ref: &str, outcome: VerdictOutcome, text: &str) -> Verdict {
        Verdict {
            at: self.clock.now(),
            rule_id: None,
            rule: String::new(),
            source_ref: source_ref.to_owned(),
            outcome,
            text: text.to_owned(),
            build: None,
        }
    }

    async fn decide(
        &self,
        delivery: &Delivery,
        origin: &Origin,
        status: DeliveryStatus,
        detail: Option<&str>,
        verdicts: &[Verdict],
    ) -> Result<(), Error> {
        let mut tx = self.write().await?;
        if matches!(origin, Origin::Delivery) && !deliveries::set_processed(&mut tx, delivery.id, status, detail, self.clock.now()).await? {
            return Ok(());
        }
        deliveries::insert_verdicts(&mut tx, delivery.id, verdicts).await?;
        Ok(tx.commit().await?)
    }
}

fn stored_headers(json: &str) -> HeaderMap {
    let kept: std::collections::BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
    kept.into_iter()
        .filter_map(|(name, value)| Some((http::HeaderName::try_from(name).ok()?, http::HeaderValue::try_from(value).ok()?)))
        .collect()
}
