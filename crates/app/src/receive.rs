//! Stored deliveries: read and decided.
//!
//! Invariant: a delivery's verdicts, ref events and builds are one transaction with its `processed_at`; a crash before it leaves the delivery
//! open, and the loop reads it again. When the provider has to be asked where a ref stands, that happens outside of the transaction, which
//! then begins anew. Deliberately elsewhere: how deliveries come in (`intake`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, Fresh, Payload, RefChange, UnusableRef};
use slipway_model::{
    AccountId, BuildRule, CommitId, DeliveryId, DeliveryStatus, LinkState, ProviderId, RefName, Timestamp, VerdictOutcome,
};
use slipway_store::deliveries::{self, Delivery, Verdict};
use slipway_store::repositories::Autobuild;
use slipway_store::{ReadTx, StoreError, WriteTx, hooks, links, reconciling, repositories};

use crate::audit::{self, Change, Place};
use crate::history::Truth;
use crate::intake::word;
use crate::links::access::SourceAt;
use crate::matching::{Answer, Decision, Origin, Situation};
use crate::{App, Error, RepositoryWrite};

/// So often the provider is asked for one delivery when other deliveries move the same refs meanwhile.
const ROUNDS: usize = 3;
/// A provider that does not say where a ref stands within this holds up nobody else.
const ASK_TIME: Duration = Duration::from_secs(5);
/// After that it is left alone for a while.
const QUIET: Duration = Duration::from_secs(30);
/// Of more refs than this the whole list is read in one call.
const ASK_EACH: usize = 3;

/// Providers that did not answer, and until when they are not asked again.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<HashMap<(AccountId, ProviderId), Timestamp>>);

impl Quiet {
    fn is_quiet(&self, account: AccountId, provider: &ProviderId, now: Timestamp) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(account, provider.clone())).is_some_and(|until| *until > now)
    }

    fn begin(&self, account: AccountId, provider: &ProviderId, now: Timestamp) {
        let mut quiet = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.retain(|_, until| *until > now);
        quiet.insert((account, provider.clone()), now.plus(QUIET));
    }
}

/// What a delivery says of refs.
struct Pushed<'a> {
    repository_id: &'a str,
    events: &'a [RefChange],
    unusable: &'a [UnusableRef],
}

/// A transaction that decides about a delivery, with the settings under which it does.
pub(crate) struct Begun {
    pub(crate) tx: WriteTx,
    pub(crate) autobuild: Autobuild,
    pub(crate) account: AccountId,
    pub(crate) rules: Vec<BuildRule>,
}

/// Refs of which the provider has to be asked, each with the newest number in its log.
struct Doubts {
    autobuild: Autobuild,
    account: AccountId,
    refs: Vec<(RefName, u64)>,
}

impl App {
    /// Decides about stored deliveries, oldest first; gives how many were decided.
    pub(crate) async fn receive_once(&self) -> Result<usize, Error> {
        let mut tx = self.read().await?;
        let open = deliveries::list_open(&mut tx, 50).await?;
        drop(tx);
        let waits = open.first().map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest.received_at));
        metrics::gauge!("slipway_oldest_open_delivery_seconds").set(waits.as_secs_f64());
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
    /// [`Error::NotFound`] when the repository has no such delivery; a refusal for an entry of the reconciler, which nothing brought.
    pub async fn replay(&self, right: &RepositoryWrite, id: DeliveryId, by: AccountId) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let delivery = deliveries::get(&mut tx, right.repository().id, id).await?.ok_or(Error::NotFound)?;
        // A duplicate kept no body: the first of them is decided again.
        let delivery = match delivery.duplicate_of {
            Some(first) => deliveries::get(&mut tx, right.repository().id, first).await?.ok_or(Error::NotFound)?,
            None => delivery,
        };
        drop(tx);
        if delivery.event == deliveries::RECONCILE {
            let detail = "the reconciler found this, no delivery brought it: there is nothing to decide again";
            return Err(Error::conflict("nothing_to_replay", detail));
        }
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
            Ok(Payload::Repository { what, .. }) => {
                if let Some(autobuild) = hook.and_then(|hook| hook.autobuild) {
                    let mut tx = self.write().await?;
                    reconciling::look_anew(&mut tx, autobuild, self.clock.now()).await?;
                    tx.commit().await?;
                }
                let verdict =
                    self.remark("", VerdictOutcome::Ignored, &format!("{what}: the source is looked at anew, and no build starts"));
                self.decide(delivery, origin, DeliveryStatus::Ignored, None, &[verdict]).await
            }
            Ok(Payload::Other { what }) => {
                let verdict = self.remark("", VerdictOutcome::Ignored, &format!("{what}: not an event that starts builds"));
                self.decide(delivery, origin, DeliveryStatus::Ignored, None, &[verdict]).await
            }
            Ok(Payload::PullRequest { repository_id, change }) => {
                self.process_pull_request(delivery, origin, &repository_id, &change).await
            }
            Ok(Payload::Push { repository_id, events, unusable }) => {
                let pushed = Pushed { repository_id: &repository_id, events: &events, unusable: &unusable };
                self.process_push(delivery, origin, &pushed).await
            }
        }
    }

    async fn process_push(&self, delivery: &Delivery, origin: &Origin, pushed: &Pushed<'_>) -> Result<(), Error> {
        let mut answers = BTreeMap::new();
        for round in 1.. {
            let Some(doubts) = self.try_push(delivery, origin, pushed, &answers).await? else { return Ok(()) };
            if round > ROUNDS {
                // Others move these refs faster than the provider answers. What the logs say has to do.
                answers.extend(doubts.refs.into_iter().map(|(name, _)| (name, Answer { seq: None, truth: Truth::Unknown })));
            } else {
                answers.extend(self.ask(doubts).await);
            }
        }
        Ok(())
    }

    /// Begins the transaction that decides about a delivery, which counts as decided when it is committed; `None` when it was before, or has
    /// nothing to do with the repository's source any more, which is then its decision.
    pub(crate) async fn begin(&self, delivery: &Delivery, origin: &Origin, repository_id: &str) -> Result<Option<Begun>, Error> {
        let reject = |detail: String| async move {
            self.decide(delivery, origin, DeliveryStatus::Rejected, Some(&detail), &[]).await.map(|()| None)
        };
        let mut tx = self.write().await?;
        let Some(autobuild) = repositories::get_autobuild(&mut tx, delivery.repository).await? else {
            drop(tx);
            return reject("the repository is not built automatically any more".to_owned()).await;
        };
        if autobuild.source_id != repository_id {
            drop(tx);
            let (told, expected) = (word(repository_id), &autobuild.source_id);
            return reject(format!("it tells of the source repository with the id `{told}`, expected `{expected}`")).await;
        }
        if matches!(origin, Origin::Delivery)
            && !deliveries::set_processed(&mut tx, delivery.id, DeliveryStatus::Accepted, None, self.clock.now()).await?
        {
            return Ok(None);
        }
        let account = repositories::get(&mut tx, delivery.repository).await?.ok_or(Error::NotFound)?.account;
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        Ok(Some(Begun { tx, autobuild, account, rules }))
    }

    /// Decides in one transaction, or changes nothing and says of which refs the provider has to be asked first.
    async fn try_push(
        &self,
        delivery: &Delivery,
        origin: &Origin,
        pushed: &Pushed<'_>,
        answers: &BTreeMap<RefName, Answer>,
    ) -> Result<Option<Doubts>, Error> {
        let Some(Begun { mut tx, autobuild, account, rules }) = self.begin(delivery, origin, pushed.repository_id).await? else {
            return Ok(None);
        };
        let disabled = no_use_of_links(&mut tx, account, &autobuild.provider).await?;
        let situation = Situation { autobuild: &autobuild, rules: &rules, delivery: delivery.id, origin, disabled };
        let mut verdicts: Vec<Verdict> =
            pushed.unusable.iter().map(|odd| self.remark(&word(&odd.name), VerdictOutcome::Refused, &odd.why)).collect();
        let mut refs = Vec::new();
        for event in pushed.events {
            match self.decide_ref(&mut tx, &situation, event, answers.get(&event.name)).await? {
                Decision::Made(made) => verdicts.extend(made),
                Decision::Ask { seq } => refs.push((event.name.clone(), seq)),
            }
        }
        if !refs.is_empty() {
            return Ok(Some(Doubts { autobuild, account, refs }));
        }
        if verdicts.is_empty() {
            verdicts.push(self.remark("", VerdictOutcome::Skipped, "the push changed no branch and no tag"));
        }
        deliveries::insert_verdicts(&mut tx, delivery.id, &verdicts).await?;
        tx.commit().await?;
        self.announce_builds(&verdicts);
        Ok(None)
    }

    /// Tells everybody who waits of the builds behind these verdicts.
    pub(crate) fn announce_builds(&self, verdicts: &[Verdict]) {
        self.builds_queued(verdicts.iter().filter_map(|verdict| verdict.build));
    }

    /// Asks the provider where refs stand. Whatever goes wrong is an answer, too: nobody knows.
    async fn ask(&self, doubts: Doubts) -> Vec<(RefName, Answer)> {
        let provider = &doubts.autobuild.provider;
        let names: Vec<RefName> = doubts.refs.iter().map(|(name, _)| name.clone()).collect();
        let found = if self.quiet.is_quiet(doubts.account, provider, self.clock.now()) {
            None
        } else {
            metrics::counter!("slipway_doubtful_deliveries_total").increment(1);
            let look = |forge, token| states(forge, token, &doubts.autobuild, &names);
            let source = SourceAt::of(doubts.account, &doubts.autobuild);
            match tokio::time::timeout(ASK_TIME, self.with_source(source, look)).await {
                Ok(Ok(acted)) => Some(acted.value),
                Ok(Err(trouble)) => {
                    tracing::info!(%provider, error = %trouble, "the provider was asked in vain where refs stand");
                    if trouble.is_passing() {
                        self.quiet.begin(doubts.account, provider, self.clock.now());
                    }
                    None
                }
                Err(_) => {
                    // Whoever else would wait for it shall not.
                    self.away.failed(provider, self.clock.now());
                    self.quiet.begin(doubts.account, provider, self.clock.now());
                    None
                }
            }
        };
        let truth = |name: &RefName| match &found {
            Some(states) => states.get(name).map_or(Truth::Unknown, |state| Truth::Is(state.clone())),
            None => Truth::Unknown,
        };
        doubts.refs.iter().map(|(name, seq)| (name.clone(), Answer { seq: Some(*seq), truth: truth(name) })).collect()
    }

    /// A verdict that comes before the rules.
    pub(crate) fn remark(&self, source_ref: &str, outcome: VerdictOutcome, text: &str) -> Verdict {
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

/// Where these refs of the source stand. A ref of which nothing is known is left out.
async fn states(
    forge: Arc<dyn Forge>,
    token: SecretString,
    autobuild: &Autobuild,
    names: &[RefName],
) -> Result<BTreeMap<RefName, Option<CommitId>>, ForgeError> {
    let key = slipway_forge::SourceKey { id: &autobuild.source_id, full_name: &autobuild.source_name };
    // By its id: another repository may have taken the name.
    let source = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
    let mut states = BTreeMap::new();
    if names.len() <= ASK_EACH {
        for name in names {
            states.insert(name.clone(), forge.resolve(&token, &source.full_name, name).await?);
        }
        return Ok(states);
    }
    if let Fresh::Changed { value, .. } = forge.heads(&token, &source.full_name, None).await? {
        if value.coverage == slipway_forge::Coverage::Whole {
            states.extend(names.iter().map(|name| (name.clone(), None)));
        }
        states.extend(value.refs.into_iter().filter(|head| names.contains(&head.name)).map(|head| (head.name, Some(head.commit))));
    }
    Ok(states)
}

/// Why nothing may be sent to or taken from the provider for this account, when that is so: every link is disabled, or there is none.
pub(crate) async fn no_use_of_links(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Option<&'static str>, Error> {
    let links = links::list_by_provider(tx, account, provider).await?;
    let mut usable = links.iter().filter(|link| !link.unlinking).peekable();
    if usable.peek().is_none() {
        return Ok(Some("the provider is not linked any more: link it under Source providers"));
    }
    let disabled = usable.all(|link| link.state == LinkState::Disabled);
    Ok(disabled.then_some("link disabled: enable it under Source providers"))
}

pub(crate) fn stored_headers(json: &str) -> HeaderMap {
    let kept: BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
    kept.into_iter()
        .filter_map(|(name, value)| Some((http::HeaderName::try_from(name).ok()?, http::HeaderValue::try_from(value).ok()?)))
        .collect()
}
