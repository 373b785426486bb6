//! What is found of webhooks that stand: looks at the provider, repairs, deliveries.
//! Invariant: what a look found is kept only of a hook that still stands.

use slipway_model::{DeliveryId, DeliveryStatus, HookId, Timestamp};

use super::{Hook, Row};
use crate::{ReadTx, StoreError, WriteTx, read, time};

/// Standing hooks of ours whose look is due.
pub async fn list_checks_due(tx: &mut ReadTx, now: Timestamp, limit: u32) -> Result<Vec<Hook>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM hooks WHERE state = 'standing' AND made_by = 'service' AND next_check_at <= $1 ORDER BY next_check_at LIMIT $2",
        now.as_millis(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_hook)
    .collect()
}

/// Takes the look that is due now: until `until` it is nobody else's. False when somebody took it before.
pub async fn claim_check(tx: &mut WriteTx, hook: &Hook, until: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE hooks SET next_check_at = $1 WHERE id = $2 AND next_check_at = $3 AND state = 'standing'",
        until.as_millis(),
        hook.id.to_string(),
        hook.next_check_at.as_millis(),
    )?;
    Ok(changed > 0)
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The hook's id at the provider, which may be another one than before.
    pub remote_id: Option<&'a str>,
    /// What is wrong; `None` when all is right.
    pub problem: Option<&'a str>,
    /// What the provider says of its last delivery, as JSON.
    pub last_there: Option<&'a str>,
    /// When the next look is due.
    pub next: Timestamp,
}

/// Keeps what a look found. A hook whose wish changed meanwhile is left as it is.
pub async fn set_checked(tx: &mut WriteTx, id: HookId, look: &Look<'_>, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET problem_since = CASE WHEN $1 IS NULL THEN NULL ELSE COALESCE(problem_since, $4) END, problem = $1, last_there = $2,
             remote_id = COALESCE($3, remote_id), checked_at = $4, next_check_at = $5
         WHERE id = $6 AND state = 'standing'",
        look.problem,
        look.last_there,
        look.remote_id,
        now.as_millis(),
        look.next.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// A look could not be taken; the next one is due at `next`.
pub async fn put_off_check(tx: &mut WriteTx, id: HookId, next: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET next_check_at = $1 WHERE id = $2", next.as_millis(), id.to_string())?;
    Ok(())
}

/// Notes that the hook was repaired without a person's word, and what was wrong.
pub async fn set_repaired(tx: &mut WriteTx, id: HookId, why: &str, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET repaired_at = $1, repaired_why = $2 WHERE id = $3", now.as_millis(), why, id.to_string())?;
    Ok(())
}

/// A person had the hook repaired: the next time it is repaired on its own again.
pub async fn forget_repair(tx: &mut WriteTx, id: HookId) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET repaired_at = NULL, repaired_why = NULL WHERE id = $1", id.to_string())?;
    Ok(())
}

/// When the hook's newest delivery came, and what became of it.
pub async fn last_delivery(tx: &mut ReadTx, id: HookId) -> Result<Option<(Timestamp, DeliveryStatus)>, StoreError> {
    let row = fetch_optional!(
        (i64, String),
        tx,
        "SELECT d.received_at, d.status FROM hooks h JOIN autobuilds a ON a.id = h.autobuild_id JOIN deliveries d ON d.repository_id = a.repository_id
         WHERE h.id = $1 AND d.hook_id = h.id ORDER BY d.id DESC LIMIT 1",
        id.to_string()
    )?;
    row.map(|(at, status)| Ok((time(at), read("deliveries", &status)?))).transpose()
}

/// The first delivery of the hook with this id of the provider's, as it stands in the inbox.
pub async fn find_delivery(tx: &mut ReadTx, id: HookId, delivery_id: &str) -> Result<Option<(DeliveryId, DeliveryStatus)>, StoreError> {
    let row = fetch_optional!(
        (String, String),
        tx,
        "SELECT id, status FROM deliveries WHERE hook_id = $1 AND delivery_id = $2 AND duplicate_of IS NULL",
        id.to_string(),
        delivery_id,
    )?;
    row.map(|(id, status)| Ok((read("deliveries", &id)?, read("deliveries", &status)?))).transpose()
}
