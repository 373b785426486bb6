//! Which waiting builds a newer push made needless.
//!
//! Invariant: newer is what stands later in the history of the ref, whenever it was told. Only what pushes queued is compared or cancelled,
//! and of that only what waits: what a person asked for runs, and what runs is not stopped.

use slipway_model::{BuildId, FailureReason, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read};

/// The build of the newest push among those of the same rule and ref as this one; itself, when none is newer.
pub async fn newest_pushed(tx: &mut ReadTx, build: BuildId) -> Result<Option<(BuildId, u64)>, StoreError> {
    let row = fetch_optional!(
        (String, i64),
        tx,
        "SELECT n.id, n.number FROM builds b
         JOIN builds n ON n.rule_id = b.rule_id AND n.source_ref = b.source_ref AND n.provider = b.provider AND n.source_id = b.source_id
         WHERE b.id = $1 AND n.cause IN ('push', 'reconcile') ORDER BY n.ref_seq DESC, n.id DESC LIMIT 1",
        build.to_string(),
    )?;
    row.map(|(id, number)| Ok((read("builds", &id)?, count(number)))).transpose()
}

/// Cancels builds of older pushes of the same rule and ref that wait still; gives them by their numbers.
pub async fn cancel_older(
    tx: &mut WriteTx,
    build: BuildId,
    reason: &FailureReason,
    now: Timestamp,
) -> Result<Vec<(BuildId, u64)>, StoreError> {
    // The state is asked twice: a builder may claim one on PostgreSQL while this waits for the row.
    let rows = fetch_all!(
        (String, i64),
        tx,
        "UPDATE builds SET state = 'cancelled', reason_code = $1, reason_text = $2, finished_at = $3
         WHERE state = 'queued' AND id IN (
             SELECT o.id FROM builds n
             JOIN builds o ON o.rule_id = n.rule_id AND o.source_ref = n.source_ref AND o.provider = n.provider AND o.source_id = n.source_id
             WHERE n.id = $4 AND o.ref_seq < n.ref_seq AND o.state = 'queued' AND o.cause IN ('push', 'reconcile') LIMIT 1000)
         RETURNING id, number",
        reason.code.as_str(),
        reason.text.as_str(),
        now.as_millis(),
        build.to_string(),
    )?;
    let mut cancelled = rows
        .into_iter()
        .map(|(id, number)| Ok((read("builds", &id)?, count(number))))
        .collect::<Result<Vec<(BuildId, u64)>, StoreError>>()?;
    cancelled.sort_unstable_by_key(|(_, number)| *number);
    for (cancelled, _) in &cancelled {
        crate::commit_statuses::want_again(tx, *cancelled, now).await?;
    }
    Ok(cancelled)
}
