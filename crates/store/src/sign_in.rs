//! Signing in before there is a session: sign-ins that wait for a second factor, and what slows guessing down.
//!
//! Invariant: a try is counted in the same change that allows it, so any number of tries at once, in any number of processes,
//! gets no more than the count gives. Deliberately elsewhere: how long the delays are (`app`).

use slipway_model::{AccountId, PendingSignInId, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

/// A sign-in whose password was right.
#[derive(Debug, Clone)]
pub struct PendingSignIn {
    /// Identity.
    pub id: PendingSignInId,
    /// Who.
    pub account: AccountId,
    /// How many codes were tried, this one included.
    pub tries: u64,
}

/// So many sign-ins of an account wait at once; who knows the password could else make any number.
const MOST_PENDING: i64 = 10;

/// Adds a sign-in that waits for its second factor. Of those before it the newest stay, ten with this one.
pub async fn insert_pending(
    tx: &mut WriteTx,
    account: AccountId,
    token: &SecretHash,
    expires_at: Timestamp,
) -> Result<PendingSignInId, StoreError> {
    change!(
        tx,
        "DELETE FROM pending_sign_ins WHERE account_id = $1
           AND id NOT IN (SELECT id FROM pending_sign_ins WHERE account_id = $1 ORDER BY expires_at DESC, id DESC LIMIT $2)",
        account.to_string(),
        MOST_PENDING - 1,
    )?;
    let id = PendingSignInId::new();
    change!(
        tx,
        "INSERT INTO pending_sign_ins (id, token_hash, account_id, tries, expires_at) VALUES ($1, $2, $3, 0, $4)",
        id.to_string(),
        token.to_hex(),
        account.to_string(),
        expires_at.as_millis(),
    )?;
    Ok(id)
}

/// Whether a sign-in still waits and may be tried again.
pub async fn pending_stands(tx: &mut ReadTx, token: &SecretHash, tries: u64, now: Timestamp) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM pending_sign_ins WHERE token_hash = $1 AND tries < $2 AND expires_at > $3",
        token.to_hex(),
        signed(tries),
        now.as_millis(),
    )?;
    Ok(row.is_some_and(|(n,)| n > 0))
}

/// Whose sign-in it is, whether or not it may still be tried: the account is locked before the try is counted.
pub async fn get_pending_account(tx: &mut ReadTx, token: &SecretHash) -> Result<Option<AccountId>, StoreError> {
    let row = fetch_optional!((String,), tx, "SELECT account_id FROM pending_sign_ins WHERE token_hash = $1", token.to_hex())?;
    row.map(|(account,)| read("pending_sign_ins", &account)).transpose()
}

/// Counts a try and gives whose sign-in it is; `None` when it is unknown, has ended or was tried `tries` times.
pub async fn try_pending(tx: &mut WriteTx, token: &SecretHash, tries: u64, now: Timestamp) -> Result<Option<PendingSignIn>, StoreError> {
    let row = fetch_optional!(
        (String, String, i64),
        tx,
        "UPDATE pending_sign_ins SET tries = tries + 1 WHERE token_hash = $1 AND tries < $2 AND expires_at > $3
         RETURNING id, account_id, tries",
        token.to_hex(),
        signed(tries),
        now.as_millis(),
    )?;
    row.map(|(id, account, tries)| {
        Ok(PendingSignIn { id: read("pending_sign_ins", &id)?, account: read("pending_sign_ins", &account)?, tries: count(tries) })
    })
    .transpose()
}

/// Ends a sign-in that waits; false when another request did so before.
pub async fn delete_pending(tx: &mut WriteTx, id: PendingSignInId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM pending_sign_ins WHERE id = $1", id.to_string())? > 0)
}

/// Ends every sign-in of an account that waits: its password or second factor is another one now.
pub async fn delete_pending_of(tx: &mut WriteTx, account: AccountId) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM pending_sign_ins WHERE account_id = $1", account.to_string())?)
}

/// Until when a key is blocked, if it is now.
pub async fn blocked_until(tx: &mut ReadTx, key: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT blocked_until FROM sign_in_failures WHERE key = $1 AND blocked_until > $2",
        key,
        now.as_millis(),
    )?;
    Ok(row.map(|(until,)| time(until)))
}

/// Counts a try as a failure before its outcome is known, and gives how many failures there are now; `None` when the key is blocked.
/// Failures before `forget` count no longer. The row stays locked until the end of the change.
pub async fn count_failure(tx: &mut WriteTx, key: &str, now: Timestamp, forget: Timestamp) -> Result<Option<u64>, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "INSERT INTO sign_in_failures (key, failures, last_at, blocked_until) VALUES ($1, 1, $2, 0)
         ON CONFLICT (key) DO UPDATE
         SET failures = CASE WHEN sign_in_failures.last_at <= $3 THEN 1 ELSE sign_in_failures.failures + 1 END, last_at = $2
         WHERE sign_in_failures.blocked_until <= $2
         RETURNING failures",
        key,
        now.as_millis(),
        forget.as_millis(),
    )?;
    Ok(row.map(|(failures,)| count(failures)))
}

/// Counts one more of something that is allowed so often in a window of time; gives how many there are now, and since when. A window
/// that began at `over` or before is over, and this is the first of another.
pub async fn count_in_window(tx: &mut WriteTx, key: &str, now: Timestamp, over: Timestamp) -> Result<(u64, Timestamp), StoreError> {
    let row = fetch_optional!(
        (i64, i64),
        tx,
        "INSERT INTO sign_in_failures (key, failures, last_at, blocked_until) VALUES ($1, 1, $2, 0)
         ON CONFLICT (key) DO UPDATE
         SET failures = CASE WHEN sign_in_failures.last_at <= $3 THEN 1 ELSE sign_in_failures.failures + 1 END,
             last_at = CASE WHEN sign_in_failures.last_at <= $3 THEN $2 ELSE sign_in_failures.last_at END
         RETURNING failures, last_at",
        key,
        now.as_millis(),
        over.as_millis(),
    )?;
    Ok(row.map_or((0, now), |(failures, since)| (count(failures), time(since))))
}

/// Blocks a key until a moment.
pub async fn block(tx: &mut WriteTx, key: &str, until: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE sign_in_failures SET blocked_until = $1 WHERE key = $2", until.as_millis(), key)?;
    Ok(())
}

/// Takes back one counted failure that was none, and the block that it brought; what others brought stays.
pub async fn forgive(tx: &mut WriteTx, key: &str, block: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE sign_in_failures
         SET failures = failures - 1, blocked_until = CASE WHEN blocked_until = $1 THEN 0 ELSE blocked_until END
         WHERE key = $2 AND failures > 0",
        block.as_millis(),
        key,
    )?;
    Ok(())
}

/// Forgets a key's failures.
pub async fn clear_failures(tx: &mut WriteTx, key: &str) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM sign_in_failures WHERE key = $1", key)?;
    Ok(())
}

/// Removes sign-ins that have ended, and failures that were last counted before `forget` and block no longer; gives how many rows went.
pub async fn delete_old(tx: &mut WriteTx, now: Timestamp, forget: Timestamp) -> Result<u64, StoreError> {
    let pending = change!(tx, "DELETE FROM pending_sign_ins WHERE expires_at <= $1", now.as_millis())?;
    let failures =
        change!(tx, "DELETE FROM sign_in_failures WHERE last_at <= $1 AND blocked_until <= $2", forget.as_millis(), now.as_millis())?;
    Ok(pending + failures)
}
