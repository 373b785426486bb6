//! Receipts of unlinking: what was removed at the provider, what was left, what stopped. They are kept as long as the account.
//!
//! Invariant: a receipt is written before anything is removed and grows with each step, so after a crash it says the truth, and an open one
//! is the work that is left. What is in the body only `app` knows.

use slipway_model::{AccountId, LinkId, ProviderId, ReceiptId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, time};

/// A receipt.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Identity.
    pub id: ReceiptId,
    /// Whose link it was.
    pub account: AccountId,
    /// Which link it was.
    pub link: LinkId,
    /// To which provider.
    pub provider: ProviderId,
    /// Who was linked.
    pub login: String,
    /// Plan and outcome, as JSON.
    pub body: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When everything was done or given up.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: String,
    link_id: String,
    provider: String,
    login: String,
    body: String,
    begun_at: i64,
    finished_at: Option<i64>,
}

impl Row {
    fn into_receipt(self) -> Result<Receipt, StoreError> {
        Ok(Receipt {
            id: read("receipts", &self.id)?,
            account: read("receipts", &self.account_id)?,
            link: read("receipts", &self.link_id)?,
            provider: read("receipts", &self.provider)?,
            login: self.login,
            body: self.body,
            begun_at: time(self.begun_at),
            finished_at: self.finished_at.map(time),
        })
    }
}

/// Begins a receipt; until `held_until` only whoever began it works on it.
pub async fn insert(tx: &mut WriteTx, receipt: &Receipt, held_until: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO receipts (id, account_id, link_id, provider, login, body, held_until, begun_at, finished_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        receipt.id.to_string(),
        receipt.account.to_string(),
        receipt.link.to_string(),
        receipt.provider.as_str(),
        receipt.login.as_str(),
        receipt.body.as_str(),
        held_until.as_millis(),
        receipt.begun_at.as_millis(),
        receipt.finished_at.map(Timestamp::as_millis),
    )?;
    Ok(())
}

/// Keeps how far it came, and the receipt until `until` for whoever has it until `held_until`; false when somebody else has it by now.
pub async fn set_body(tx: &mut WriteTx, id: ReceiptId, body: &str, held_until: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE receipts SET body = $1, held_until = $2 WHERE id = $3 AND held_until = $4 AND finished_at IS NULL",
        body,
        until.as_millis(),
        id.to_string(),
        held_until.as_millis()
    )?;
    Ok(changed > 0)
}

/// Ends it for whoever has it until `held_until`; false when somebody else has it by now, or it had ended.
pub async fn finish(tx: &mut WriteTx, id: ReceiptId, body: &str, held_until: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE receipts SET body = $1, finished_at = $2 WHERE id = $3 AND held_until = $4 AND finished_at IS NULL",
        body,
        now.as_millis(),
        id.to_string(),
        held_until.as_millis()
    )?;
    Ok(changed > 0)
}

/// Takes an open receipt that nobody works on any more; `None` when there is none.
pub async fn claim(tx: &mut WriteTx, now: Timestamp, held_until: Timestamp) -> Result<Option<Receipt>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "UPDATE receipts SET held_until = $1
         WHERE id = (SELECT id FROM receipts WHERE finished_at IS NULL AND held_until <= $2 ORDER BY id LIMIT 1) AND held_until <= $2
         RETURNING id, account_id, link_id, provider, login, body, begun_at, finished_at",
        held_until.as_millis(),
        now.as_millis(),
    )?
    .map(Row::into_receipt)
    .transpose()
}

/// A receipt of an account.
pub async fn get(tx: &mut ReadTx, account: AccountId, id: ReceiptId) -> Result<Option<Receipt>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, account_id, link_id, provider, login, body, begun_at, finished_at FROM receipts WHERE id = $1 AND account_id = $2",
        id.to_string(),
        account.to_string()
    )?
    .map(Row::into_receipt)
    .transpose()
}

/// An account's receipts, newest first, older than `before`.
pub async fn list(tx: &mut ReadTx, account: AccountId, before: Option<ReceiptId>, limit: u32) -> Result<Vec<Receipt>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, account_id, link_id, provider, login, body, begun_at, finished_at FROM receipts
         WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        account.to_string(),
        before.map_or_else(|| "g".to_owned(), |id| id.to_string()),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_receipt)
    .collect()
}

/// How many of an account's receipts are not complete.
pub async fn count_open(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM receipts WHERE account_id = $1 AND finished_at IS NULL", account.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}
