//! Signed-in browsers.
//!
//! Invariant: a session is found by the hash of its token and, for a moment after it got a new one, of the token before.
//! Deliberately elsewhere: when a session gets a new token (`app`), cookies (`web`).

use slipway_model::{AccountId, SecretHash, SessionId, TeamId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// More sessions than these has no account: the oldest ones end.
const MOST: i64 = 100;

/// A signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// Identity; stays when the token changes.
    pub id: SessionId,
    /// Who.
    pub account: AccountId,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When it was last used, to within some minutes.
    pub last_seen_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// From which address the person signed in.
    pub address: String,
    /// What the browser calls itself.
    pub user_agent: String,
    /// The person's rights changed: it gets a new token with its next page.
    pub renew: bool,
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    id: String,
    account_id: String,
    created_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    address: String,
    user_agent: String,
    renew: bool,
}

impl SessionRow {
    fn into_session(self) -> Result<Session, StoreError> {
        Ok(Session {
            id: read("sessions", &self.id)?,
            account: read("sessions", &self.account_id)?,
            created_at: time(self.created_at),
            last_seen_at: time(self.last_seen_at),
            expires_at: time(self.expires_at),
            address: self.address,
            user_agent: self.user_agent,
            renew: self.renew,
        })
    }
}

/// A new session as it is written.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Who.
    pub account: AccountId,
    /// Hash of the cookie's value.
    pub token: &'a SecretHash,
    /// From which address.
    pub address: &'a str,
    /// What the browser calls itself.
    pub user_agent: &'a str,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Adds a session. An account has at most 100: the oldest ones end.
pub async fn insert(tx: &mut WriteTx, new: &NewSession<'_>, now: Timestamp) -> Result<SessionId, StoreError> {
    let id = SessionId::new();
    change!(
        tx,
        "INSERT INTO sessions (id, account_id, token_hash, created_at, last_seen_at, expires_at, address, user_agent)
         VALUES ($1, $2, $3, $4, $4, $5, $6, $7)",
        id.to_string(),
        new.account.to_string(),
        new.token.to_hex(),
        now.as_millis(),
        new.expires_at.as_millis(),
        new.address,
        new.user_agent,
    )?;
    change!(
        tx,
        "DELETE FROM sessions WHERE account_id = $1 AND id NOT IN (SELECT id FROM sessions WHERE account_id = $1 ORDER BY id DESC LIMIT $2)",
        new.account.to_string(),
        MOST,
    )?;
    Ok(id)
}

/// The session of this token, unless it has ended. Found by the token before its present one, it is not due for another.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash, now: Timestamp) -> Result<Option<Session>, StoreError> {
    fetch_optional!(
        SessionRow,
        tx,
        "SELECT id, account_id, created_at, last_seen_at, expires_at, address, user_agent, (renew AND token_hash = $1) AS renew FROM sessions
         WHERE (token_hash = $1 OR (former_hash = $1 AND former_until > $2)) AND expires_at > $2",
        token.to_hex(),
        now.as_millis(),
    )?
    .map(SessionRow::into_session)
    .transpose()
}

/// By identity, unless it has ended.
pub async fn get(tx: &mut ReadTx, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
    fetch_optional!(
        SessionRow,
        tx,
        "SELECT id, account_id, created_at, last_seen_at, expires_at, address, user_agent, renew FROM sessions
         WHERE id = $1 AND expires_at > $2",
        id.to_string(),
        now.as_millis(),
    )?
    .map(SessionRow::into_session)
    .transpose()
}

/// An account's sessions, the last begun first, at most 100.
pub async fn list(tx: &mut ReadTx, account: AccountId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
    fetch_all!(
        SessionRow,
        tx,
        "SELECT id, account_id, created_at, last_seen_at, expires_at, address, user_agent, renew FROM sessions
         WHERE account_id = $1 AND expires_at > $2 ORDER BY id DESC LIMIT $3",
        account.to_string(),
        now.as_millis(),
        MOST,
    )?
    .into_iter()
    .map(SessionRow::into_session)
    .collect()
}

/// Notes that a session was used.
pub async fn set_seen(tx: &mut WriteTx, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE sessions SET last_seen_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// The rights of a person changed: each of their sessions gets a new token with its next page.
pub async fn mark_renew(tx: &mut WriteTx, account: AccountId) -> Result<(), StoreError> {
    change!(tx, "UPDATE sessions SET renew = TRUE WHERE account_id = $1", account.to_string())?;
    Ok(())
}

/// Gives a session that is due for one a new token; the one before stands until `former_until`. False when it is not due (any more).
pub async fn renew(tx: &mut WriteTx, id: SessionId, token: &SecretHash, former_until: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE sessions SET former_hash = token_hash, former_until = $1, token_hash = $2, renew = FALSE WHERE id = $3 AND renew",
        former_until.as_millis(),
        token.to_hex(),
        id.to_string(),
    )?;
    Ok(changed > 0)
}

/// Removes sessions that have ended; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE expires_at <= $1", now.as_millis())?)
}

/// Ends a session of an account; false when it has no such one.
pub async fn delete(tx: &mut WriteTx, account: AccountId, id: SessionId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE id = $1 AND account_id = $2", id.to_string(), account.to_string())? > 0)
}

/// Ends every session of an account but one; gives how many there were.
pub async fn delete_others(tx: &mut WriteTx, account: AccountId, keep: SessionId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE account_id = $1 AND id <> $2", account.to_string(), keep.to_string())?)
}

/// The rights of everybody in a team changed.
pub async fn mark_renew_of_team(tx: &mut WriteTx, team: TeamId) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE sessions SET renew = TRUE WHERE account_id IN (SELECT account_id FROM team_members WHERE team_id = $1)",
        team.to_string()
    )?;
    Ok(())
}

/// Ends every session of an account; gives how many there were.
pub async fn delete_all(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM sessions WHERE account_id = $1", account.to_string())?)
}

/// Whether a session still stands.
pub async fn stands(tx: &mut ReadTx, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM sessions WHERE id = $1 AND expires_at > $2", id.to_string(), now.as_millis())?;
    Ok(row.is_some_and(|(n,)| n > 0))
}
