//! What holds of the database of every test when its server has ended.
//!
//! Invariant: nothing is changed; both databases are read by the same words. What only one test knows to be true stands in that test.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use slipway_model::{DeliveryId, DeliveryStatus, RepositoryId};
use slipway_store::deliveries::{self, Delivery, Filter};
use slipway_store::repositories::{self, Eyes};
use slipway_store::{Db, ReadTx, accounts};

const PAGE: u32 = 200;
/// As many as `list_verdicts` gives.
const VERDICTS: usize = 5000;

/// Looks at every delivery of every repository.
///
/// # Errors
/// With what does not hold.
pub(crate) async fn hold(database_url: &str) -> Result<()> {
    let db = Db::open(database_url).await?;
    let mut tx = db.read().await?;
    for repository in repositories_of_all(&mut tx).await? {
        every_delivery_has_an_end(&mut tx, repository).await?;
    }
    drop(tx);
    db.close().await;
    Ok(())
}

async fn repositories_of_all(tx: &mut ReadTx) -> Result<Vec<RepositoryId>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = accounts::list(tx, None, Some(&after), PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        last.name.as_str().clone_into(&mut after);
        for account in page {
            let mut after = String::new();
            loop {
                let page = repositories::list(tx, account.id, Eyes::owner(), Some(&after), PAGE).await?;
                let Some(last) = page.last() else { break };
                last.name.as_str().clone_into(&mut after);
                all.extend(page.into_iter().map(|repository| repository.id));
            }
        }
    }
}

/// A delivery, and how many verdicts it got.
struct Kept {
    delivery: Delivery,
    verdicts: usize,
}

/// What was decided says why; what was not decided still waits for it; and what was dropped as a repetition repeats something that is
/// there. A delivery without an end that nobody waits for would be lost for ever, with every repetition of it.
async fn every_delivery_has_an_end(tx: &mut ReadTx, repository: RepositoryId) -> Result<()> {
    let all = deliveries_of(tx, repository).await?;
    for Kept { delivery, verdicts } in all.values() {
        match (&delivery.duplicate_of, delivery.status) {
            (Some(first), DeliveryStatus::Duplicate) => {
                let first = &all.get(first).with_context(|| format!("what this repeats is gone: {delivery:?}"))?.delivery;
                ensure!(first.hook == delivery.hook && first.duplicate_of.is_none(), "{delivery:?} repeats {first:?}");
            }
            (None, status) if status != DeliveryStatus::Duplicate => {
                let says = *verdicts > 0 || delivery.detail.as_ref().is_some_and(|detail| !detail.is_empty());
                ensure!(delivery.processed_at.is_none() || says, "it was decided and nothing says how: {delivery:?}");
            }
            _ => bail!("its status and what it repeats contradict each other: {delivery:?}"),
        }
    }
    Ok(())
}

async fn deliveries_of(tx: &mut ReadTx, repository: RepositoryId) -> Result<BTreeMap<DeliveryId, Kept>> {
    let mut all = BTreeMap::new();
    let mut before = None;
    loop {
        let page = deliveries::list(tx, repository, &Filter::default(), before, PAGE).await?;
        let (Some(newest), Some(oldest)) = (page.first(), page.last()) else { return Ok(all) };
        let verdicts = deliveries::list_verdicts(tx, repository, oldest.id, newest.id).await?;
        ensure!(verdicts.len() < VERDICTS, "there are more verdicts than are given at once");
        before = Some(oldest.id);
        all.extend(page.into_iter().map(|delivery| (delivery.id, Kept { delivery, verdicts: 0 })));
        for (delivery, verdict) in verdicts {
            ensure!(!verdict.text.is_empty(), "a verdict of the delivery {delivery} says nothing: {verdict:?}");
            all.get_mut(&delivery).context("a verdict belongs to a delivery")?.verdicts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_model::{HookId, Timestamp, VerdictOutcome, Visibility};
    use slipway_store::accounts::NewAccount;
    use slipway_store::deliveries::{NewDelivery, Verdict};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[tokio::test]
    async fn a_delivery_without_an_end_is_found() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let address = format!("sqlite://{}", folder.path().join("slipway.db").display());
        let db = Db::open(&address).await?;
        db.migrate().await?;
        let mut tx = db.write().await?;
        let account = accounts::insert(&mut tx, &NewAccount::user(&"demo".parse().unwrap()), NOW).await?;
        let repository = repositories::insert(&mut tx, account, &"hello".parse().unwrap(), "", Visibility::Private, NOW).await?;
        let (hook, body_sha256) = (HookId::new(), "a digest");
        let new = NewDelivery { hook, repository, delivery_id: "one", event: "push", headers: "{}", body: b"{}", body_sha256 };
        let (first, _) = deliveries::insert(&mut tx, &new, NOW).await?;
        let (_, repeats) = deliveries::insert(&mut tx, &new, NOW).await?;
        assert_eq!(repeats, Some(first));
        tx.commit().await?;
        hold(&address).await.context("one waits, and one repeats it")?;

        let mut tx = db.write().await?;
        assert!(deliveries::set_processed(&mut tx, first, DeliveryStatus::Accepted, None, NOW).await?);
        tx.commit().await?;
        assert!(hold(&address).await.unwrap_err().to_string().contains("nothing says how"));

        let mut tx = db.write().await?;
        let (rule, source_ref, text) = (String::new(), String::new(), "because".to_owned());
        let verdict = Verdict { at: NOW, rule_id: None, rule, source_ref, outcome: VerdictOutcome::Skipped, text, build: None };
        deliveries::insert_verdicts(&mut tx, first, &[verdict]).await?;
        tx.commit().await?;
        hold(&address).await
    }
}
