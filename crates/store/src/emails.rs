//! E-mail addresses that wait for their confirmation: at most one for each account, the newest.

use slipway_model::{AccountId, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// An address that somebody says is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailConfirmation {
    /// Whose.
    pub account: AccountId,
    /// The address.
    pub email: String,
    /// From when on its one-time address is worth nothing.
    pub expires_at: Timestamp,
}

type Row = (String, String, i64);

fn into_confirmation((account, email, expires_at): Row) -> Result<EmailConfirmation, StoreError> {
    Ok(EmailConfirmation { account: read("email_confirmations", &account)?, email, expires_at: time(expires_at) })
}

/// Adds a confirmation; an earlier one of the account is void.
pub async fn upsert(tx: &mut WriteTx, token: &SecretHash, new: &EmailConfirmation) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO email_confirmations (account_id, token_hash, email, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (account_id) DO UPDATE SET token_hash = excluded.token_hash, email = excluded.email, expires_at = excluded.expires_at",
        new.account.to_string(),
        token.to_hex(),
        new.email.as_str(),
        new.expires_at.as_millis(),
    )?;
    Ok(())
}

/// What an account waits for, if it has not expired.
pub async fn get(tx: &mut ReadTx, account: AccountId, now: Timestamp) -> Result<Option<EmailConfirmation>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT account_id, email, expires_at FROM email_confirmations WHERE account_id = $1 AND expires_at > $2",
        account.to_string(),
        now.as_millis(),
    )?
    .map(into_confirmation)
    .transpose()
}

/// Takes a confirmation out: it works once. `None` when unknown, used, replaced or expired.
pub async fn take(tx: &mut WriteTx, token: &SecretHash, now: Timestamp) -> Result<Option<EmailConfirmation>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "DELETE FROM email_confirmations WHERE token_hash = $1 AND expires_at > $2 RETURNING account_id, email, expires_at",
        token.to_hex(),
        now.as_millis(),
    )?
    .map(into_confirmation)
    .transpose()
}

/// Gives up what an account waits for; false when it waits for nothing.
pub async fn delete(tx: &mut WriteTx, account: AccountId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM email_confirmations WHERE account_id = $1", account.to_string())? > 0)
}

/// Removes confirmations that have expired; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM email_confirmations WHERE expires_at <= $1", now.as_millis())?)
}
