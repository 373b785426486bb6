//! Second factors: the sealed TOTP secret of an account and the hashes of its recovery codes.
//!
//! Invariant: a code works once. `last_step` only rises and a recovery code is used by an UPDATE that finds it unused,
//! so of any number of requests with one code one is let in. Deliberately elsewhere: what a code is (`app`).

use slipway_model::{AccountId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, time};

/// An account's second factor.
#[derive(Clone)]
pub struct SecondFactor {
    /// Sealed.
    pub secret_sealed: Vec<u8>,
    /// Since when it is asked for; `None` while it is being set up.
    pub confirmed_at: Option<Timestamp>,
    /// The time step of the last code that was used.
    pub last_step: i64,
    /// When its secret was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecondFactor").field("confirmed_at", &self.confirmed_at).field("last_step", &self.last_step).finish_non_exhaustive()
    }
}

/// Begins to set one up; a secret that was not confirmed is replaced. False when one is on already.
pub async fn begin(tx: &mut WriteTx, account: AccountId, secret_sealed: &[u8], now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "INSERT INTO second_factors (account_id, secret_sealed, confirmed_at, last_step, created_at) VALUES ($1, $2, NULL, 0, $3)
         ON CONFLICT (account_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, last_step = 0, created_at = excluded.created_at
         WHERE second_factors.confirmed_at IS NULL",
        account.to_string(),
        secret_sealed,
        now.as_millis(),
    )?;
    Ok(changed > 0)
}

/// An account's second factor, on or being set up.
pub async fn get(tx: &mut ReadTx, account: AccountId) -> Result<Option<SecondFactor>, StoreError> {
    let row = fetch_optional!(
        (Vec<u8>, Option<i64>, i64, i64),
        tx,
        "SELECT secret_sealed, confirmed_at, last_step, created_at FROM second_factors WHERE account_id = $1",
        account.to_string(),
    )?;
    Ok(row.map(|(secret_sealed, confirmed_at, last_step, created_at)| SecondFactor {
        secret_sealed,
        confirmed_at: confirmed_at.map(time),
        last_step,
        created_at: time(created_at),
    }))
}

/// Turns on the second factor with this secret; its first code is used with it. False when it is on already or the secret is another one now.
pub async fn confirm(tx: &mut WriteTx, account: AccountId, secret_sealed: &[u8], step: i64, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE second_factors SET confirmed_at = $1, last_step = $2 WHERE account_id = $3 AND secret_sealed = $4 AND confirmed_at IS NULL",
        now.as_millis(),
        step,
        account.to_string(),
        secret_sealed,
    )?;
    Ok(changed > 0)
}

/// Uses the code of a time step; false when it, or a later one, was used before, or no second factor is on.
pub async fn use_step(tx: &mut WriteTx, account: AccountId, step: i64) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE second_factors SET last_step = $1 WHERE account_id = $2 AND last_step < $1 AND confirmed_at IS NOT NULL",
        step,
        account.to_string(),
    )?;
    Ok(changed > 0)
}

/// Removes an account's second factor and its recovery codes; false when there was none.
pub async fn delete(tx: &mut WriteTx, account: AccountId) -> Result<bool, StoreError> {
    change!(tx, "DELETE FROM recovery_codes WHERE account_id = $1", account.to_string())?;
    Ok(change!(tx, "DELETE FROM second_factors WHERE account_id = $1", account.to_string())? > 0)
}

/// Replaces all recovery codes of an account by these hashes.
pub async fn replace_recovery_codes(tx: &mut WriteTx, account: AccountId, hashes: &[String]) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM recovery_codes WHERE account_id = $1", account.to_string())?;
    for hash in hashes {
        change!(tx, "INSERT INTO recovery_codes (account_id, code_hash) VALUES ($1, $2)", account.to_string(), hash.as_str())?;
    }
    Ok(())
}

/// Uses a recovery code; false when there is none of this hash or it was used before.
pub async fn use_recovery_code(tx: &mut WriteTx, account: AccountId, hash: &str, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE recovery_codes SET used_at = $1 WHERE account_id = $2 AND code_hash = $3 AND used_at IS NULL",
        now.as_millis(),
        account.to_string(),
        hash,
    )?;
    Ok(changed > 0)
}

/// How many recovery codes are not used yet.
pub async fn count_recovery_codes(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM recovery_codes WHERE account_id = $1 AND used_at IS NULL", account.to_string(),)?;
    Ok(row.map_or(0, |(n,)| count(n)))
}
