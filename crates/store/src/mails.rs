//! The outbox: mails that wait to be sent.
//!
//! Invariant: a mail is written in the transaction of what it tells, and a sender claims it (moves `next_try_at`) before it sends, so two
//! replicas do not send the same one. What a mail says is sealed: it carries one-time addresses. Deliberately elsewhere: sending (`app`).

use slipway_model::{MailId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, small, time};

/// A mail that waits.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Identity, and associated data of the sealed message.
    pub id: MailId,
    /// What is to be sent, sealed.
    pub message_sealed: Vec<u8>,
    /// How often it was tried without success.
    pub tries: u32,
    /// Why the last try failed.
    pub error: Option<String>,
    /// Since when it waits.
    pub created_at: Timestamp,
}

/// Adds a mail that is due at once.
pub async fn insert(tx: &mut WriteTx, id: MailId, message_sealed: &[u8], now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO mails (id, message_sealed, tries, next_try_at, error, created_at) VALUES ($1, $2, 0, $3, NULL, $3)",
        id.to_string(),
        message_sealed,
        now.as_millis(),
    )?;
    Ok(())
}

/// Takes the mail that is due the longest and makes it due again only at `again_at`; `None` when none is due.
pub async fn claim(tx: &mut WriteTx, now: Timestamp, again_at: Timestamp) -> Result<Option<Mail>, StoreError> {
    // The outer condition is looked at again when another replica's claim was waited for: then the row is theirs.
    let row = fetch_optional!(
        (String, Vec<u8>, i64, Option<String>, i64),
        tx,
        "UPDATE mails SET next_try_at = $1
         WHERE id = (SELECT id FROM mails WHERE next_try_at <= $2 ORDER BY next_try_at, id LIMIT 1) AND next_try_at <= $2
         RETURNING id, message_sealed, tries, error, created_at",
        again_at.as_millis(),
        now.as_millis(),
    )?;
    row.map(|(id, message_sealed, tries, error, created_at)| {
        Ok(Mail { id: read("mails", &id)?, message_sealed, tries: small(tries), error, created_at: time(created_at) })
    })
    .transpose()
}

/// Notes a try that failed, and when the next one is.
pub async fn set_failed(tx: &mut WriteTx, id: MailId, error: &str, again_at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE mails SET tries = tries + 1, error = $1, next_try_at = $2 WHERE id = $3",
        error,
        again_at.as_millis(),
        id.to_string()
    )?;
    Ok(())
}

/// Removes a mail that was sent or given up; false when it was gone.
pub async fn delete(tx: &mut WriteTx, id: MailId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM mails WHERE id = $1", id.to_string())? > 0)
}

/// How many mails wait.
pub async fn count_waiting(tx: &mut ReadTx) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM mails")?;
    Ok(row.map_or(0, |(n,)| count(n)))
}
