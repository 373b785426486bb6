//! Signed-in browsers.

use slipway_model::{AccountId, SecretHash, SessionId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// A signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Who.
    pub account: AccountId,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was last used, to within some minutes.
    pub last_seen_at: Timestamp,
}

/// Adds a session.
pub async fn insert(
    tx: &mut WriteTx,
    account: AccountId,
    token: &SecretHash,
    address: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<SessionId, StoreError> {
    let id = SessionId::new();
    change!(
        tx,
        "INSERT INTO sessions (id, account_id, token_hash, created_at, last_seen_at, expires_at, address) VALUES ($1, $2, $3, $4, $4, $5, $6)",
        id.to_string(),
        account.to_string(),
        token.to_hex(),
        now.as_millis(),
        expires_at.as_millis(),
        address,
    )?;
    Ok(id)
}

/// The session of this token, unless it has ended.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let row = fetch_optional!(
        (String, String, i64, i64),
        tx,
        "SELECT id, account_id, expires_at, last_seen_at FROM sessions WHERE token_hash = $1 AND expires_at > $2",
        token.to_hex(),
        now.as_millis(),
    )?;
    row.map(|(id, account, expires_at, last_seen_at)| {
        Ok(Session {
            id: read("sessions", &id)?,
            account: read("sessions", &account)?,
            expires_at: time(expires_at),
            last_seen_at: time(last_seen_at),
        })
    })
    .transpose()
}

/// Notes that a session was used.
pub async fn set_seen(tx: &mut WriteTx, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE sessions SET last_seen_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// Removes sessions that have ended; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE expires_at <= $1", now.as_millis())?)
}

/// Ends a session.
pub async fn delete(tx: &mut WriteTx, id: SessionId) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM sessions WHERE id = $1", id.to_string())?;
    Ok(())
}

/// Whether a session still stands.
pub async fn stands(tx: &mut ReadTx, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM sessions WHERE id = $1 AND expires_at > $2", id.to_string(), now.as_millis())?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// The rights of a person changed: each of their sessions gets a new id with its next page.
pub async fn mark_renew(tx: &mut WriteTx, account: AccountId) -> Result<(), StoreError> {
    change!(tx, "UPDATE sessions SET renew = TRUE WHERE account_id = $1", account.to_string())?;
    Ok(())
}

/// Ends every session of an account; gives how many there were.
pub async fn delete_all(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE account_id = $1", account.to_string())?)
}
