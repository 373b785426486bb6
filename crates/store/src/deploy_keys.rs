//! Deploy keys: for each source that an account builds from, a key pair of our own with which the source is read. As with hooks the row
//! is the wish; a loop in `app` makes it so.
//!
//! Invariant: an account has one key for a source; a second row stands only while the key is changed for another one, and is the newer.
//! Deliberately elsewhere: the private keys in the clear (`app`).

use slipway_model::{AccountId, DeployKeyId, ProviderId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

/// What is wanted of a key and how far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployKeyState {
    /// It shall stand, but does not yet.
    Wanted,
    /// It stands: sources are read with it.
    Standing,
    /// It shall stand, but the source's owner allows none.
    Forbidden,
    /// It shall go.
    Unwanted,
}

impl DeployKeyState {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Standing => "standing",
            Self::Forbidden => "forbidden",
            Self::Unwanted => "unwanted",
        }
    }
}

impl std::str::FromStr for DeployKeyState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "wanted" => Ok(Self::Wanted),
            "standing" => Ok(Self::Standing),
            "forbidden" => Ok(Self::Forbidden),
            "unwanted" => Ok(Self::Unwanted),
            _ => Err(()),
        }
    }
}

/// A deploy key.
#[derive(Debug, Clone)]
pub struct DeployKey {
    /// Identity; the associated data of the sealed private key.
    pub id: DeployKeyId,
    /// Whose link puts it up and takes it away.
    pub account: AccountId,
    /// At which provider.
    pub provider: ProviderId,
    /// On which source repository.
    pub source_id: String,
    /// The source repository's name for the address of the call.
    pub source_name: String,
    /// `ssh-ed25519 AAAA...`, without a comment.
    pub public_key: String,
    /// In OpenSSH's form, sealed.
    pub private_key_sealed: Vec<u8>,
    /// Wish and progress.
    pub state: DeployKeyState,
    /// Its id at the provider, once it stands.
    pub remote_id: Option<String>,
    /// What the last try said.
    pub error: Option<String>,
    /// How often it was tried in vain.
    pub tries: u64,
    /// When the next step is due (of one that stands: the next look); a moment ahead while somebody takes it.
    pub next_try_at: Timestamp,
    /// When it was last seen at the provider.
    pub checked_at: Option<Timestamp>,
    /// When it was last put up again without a person's word.
    pub renewed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    account_id: String,
    provider: String,
    source_id: String,
    source_name: String,
    public_key: String,
    private_key_sealed: Vec<u8>,
    state: String,
    remote_id: Option<String>,
    error: Option<String>,
    tries: i64,
    next_try_at: i64,
    checked_at: Option<i64>,
    renewed_at: Option<i64>,
    created_at: i64,
}

impl Row {
    fn into_key(self) -> Result<DeployKey, StoreError> {
        Ok(DeployKey {
            id: read("deploy_keys", &self.id)?,
            account: read("deploy_keys", &self.account_id)?,
            provider: read("deploy_keys", &self.provider)?,
            source_id: self.source_id,
            source_name: self.source_name,
            public_key: self.public_key,
            private_key_sealed: self.private_key_sealed,
            state: read("deploy_keys", &self.state)?,
            remote_id: self.remote_id,
            error: self.error,
            tries: count(self.tries),
            next_try_at: time(self.next_try_at),
            checked_at: self.checked_at.map(time),
            renewed_at: self.renewed_at.map(time),
            created_at: time(self.created_at),
        })
    }
}

/// Writes the wish for a key.
pub async fn insert(tx: &mut WriteTx, key: &DeployKey) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO deploy_keys (id, account_id, provider, source_id, source_name, public_key, private_key_sealed, state, remote_id, error,
                                  tries, next_try_at, checked_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        key.id.to_string(),
        key.account.to_string(),
        key.provider.as_str(),
        key.source_id.as_str(),
        key.source_name.as_str(),
        key.public_key.as_str(),
        key.private_key_sealed.as_slice(),
        key.state.as_str(),
        key.remote_id.as_deref(),
        key.error.as_deref(),
        signed(key.tries),
        key.next_try_at.as_millis(),
        key.checked_at.map(Timestamp::as_millis),
        key.created_at.as_millis(),
    )?;
    Ok(())
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: DeployKeyId) -> Result<Option<DeployKey>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM deploy_keys WHERE id = $1", id.to_string())?.map(Row::into_key).transpose()
}

/// An account's keys for a source, the newest first: the wanted ones and those on their way out.
pub async fn list_by_source(
    tx: &mut ReadTx,
    account: AccountId,
    provider: &ProviderId,
    source_id: &str,
) -> Result<Vec<DeployKey>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM deploy_keys WHERE account_id = $1 AND provider = $2 AND source_id = $3 ORDER BY id DESC LIMIT 100",
        account.to_string(),
        provider.as_str(),
        source_id,
    )?
    .into_iter()
    .map(Row::into_key)
    .collect()
}

/// As [`list_by_source`], when keys may be added: on PostgreSQL two who do this for one account come one after the other.
pub async fn list_by_source_for_change(
    tx: &mut WriteTx,
    account: AccountId,
    provider: &ProviderId,
    source_id: &str,
) -> Result<Vec<DeployKey>, StoreError> {
    if tx.is_postgres() {
        fetch_optional!((String,), tx, "SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account.to_string())?;
    }
    list_by_source(tx, account, provider, source_id).await
}

/// An account's keys at a provider, at most 5,000.
pub async fn list_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<DeployKey>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM deploy_keys WHERE account_id = $1 AND provider = $2 ORDER BY id LIMIT 5000",
        account.to_string(),
        provider.as_str()
    )?
    .into_iter()
    .map(Row::into_key)
    .collect()
}

/// Keys whose next step is due.
pub async fn list_due(tx: &mut ReadTx, now: Timestamp, limit: u32) -> Result<Vec<DeployKey>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM deploy_keys WHERE state IN ('wanted', 'standing', 'forbidden', 'unwanted') AND next_try_at <= $1
         ORDER BY next_try_at LIMIT $2",
        now.as_millis(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_key)
    .collect()
}

/// Private sources at a provider that the account builds from and has no key for: id and name, at most 5,000.
pub async fn list_sources_without(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<(String, String)>, StoreError> {
    Ok(fetch_all!(
        (String, String),
        tx,
        "SELECT a.source_id, MIN(a.source_name) FROM autobuilds a JOIN repositories r ON r.id = a.repository_id
         WHERE r.account_id = $1 AND a.provider = $2 AND a.source_private AND NOT EXISTS (
             SELECT 1 FROM deploy_keys k WHERE k.account_id = r.account_id AND k.provider = a.provider AND k.source_id = a.source_id
                 AND k.state <> 'unwanted')
         GROUP BY a.source_id ORDER BY a.source_id LIMIT 5000",
        account.to_string(),
        provider.as_str(),
    )?)
}

/// Whether the account still builds a private source from there.
pub async fn is_needed(tx: &mut ReadTx, account: AccountId, provider: &ProviderId, source_id: &str) -> Result<bool, StoreError> {
    let found = fetch_optional!(
        (String,),
        tx,
        "SELECT a.id FROM autobuilds a JOIN repositories r ON r.id = a.repository_id
         WHERE r.account_id = $1 AND a.provider = $2 AND a.source_id = $3 AND a.source_private LIMIT 1",
        account.to_string(),
        provider.as_str(),
        source_id,
    )?;
    Ok(found.is_some())
}

/// Takes the step that is due now: until `until` it is nobody else's. False when somebody took it before.
pub async fn claim_step(tx: &mut WriteTx, key: &DeployKey, until: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE deploy_keys SET next_try_at = $1 WHERE id = $2 AND next_try_at = $3 AND state = $4",
        until.as_millis(),
        key.id.to_string(),
        key.next_try_at.as_millis(),
        key.state.as_str(),
    )?;
    Ok(changed > 0)
}

/// The key stands at the provider under this id; the next look is due at `next`. Older ones of the source go. One that is no longer wanted
/// stays unwanted, but its id is kept: it is needed to remove it.
pub async fn set_standing(tx: &mut WriteTx, key: &DeployKey, remote_id: &str, now: Timestamp, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET remote_id = $1, error = NULL, tries = 0, checked_at = $2,
             next_try_at = CASE WHEN state = 'unwanted' THEN $2 ELSE $3 END, state = CASE WHEN state = 'unwanted' THEN state ELSE 'standing' END
         WHERE id = $4",
        remote_id,
        now.as_millis(),
        next.as_millis(),
        key.id.to_string(),
    )?;
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'unwanted', tries = 0, next_try_at = $1
         WHERE account_id = $2 AND provider = $3 AND source_id = $4 AND id < $5 AND state <> 'unwanted'
           AND EXISTS (SELECT 1 FROM deploy_keys k WHERE k.id = $5 AND k.state = 'standing')",
        now.as_millis(),
        key.account.to_string(),
        key.provider.as_str(),
        key.source_id.as_str(),
        key.id.to_string(),
    )?;
    Ok(())
}

/// The key is gone at the provider and is put up again, without a person's word.
pub async fn set_renewed(tx: &mut WriteTx, id: DeployKeyId, why: &str, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'wanted', remote_id = NULL, error = $1, tries = 0, next_try_at = $2, renewed_at = $2
         WHERE id = $3 AND state = 'standing'",
        why,
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// A person wants the key put up now.
pub async fn set_wanted(tx: &mut WriteTx, id: DeployKeyId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'wanted', tries = 0, next_try_at = $1, renewed_at = NULL WHERE id = $2 AND state IN ('wanted', 'forbidden')",
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// The key of a source is looked at now: it did not open the source.
pub async fn hurry_source(
    tx: &mut WriteTx,
    account: AccountId,
    provider: &ProviderId,
    source_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET next_try_at = $1 WHERE account_id = $2 AND provider = $3 AND source_id = $4 AND next_try_at > $1",
        now.as_millis(),
        account.to_string(),
        provider.as_str(),
        source_id,
    )?;
    Ok(())
}

/// The source's owner allows no key; it is asked again at `next`.
pub async fn set_forbidden(tx: &mut WriteTx, id: DeployKeyId, why: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'forbidden', remote_id = NULL, error = $1, tries = 0, next_try_at = $2 WHERE id = $3 AND state <> 'unwanted'",
        why,
        next.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// The keys of a source shall go.
pub async fn set_unwanted_by_source(
    tx: &mut WriteTx,
    account: AccountId,
    provider: &ProviderId,
    source_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'unwanted', tries = 0, next_try_at = $1
         WHERE account_id = $2 AND provider = $3 AND source_id = $4 AND state <> 'unwanted'",
        now.as_millis(),
        account.to_string(),
        provider.as_str(),
        source_id,
    )?;
    Ok(())
}

/// A key shall go.
pub async fn set_unwanted(tx: &mut WriteTx, id: DeployKeyId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE deploy_keys SET state = 'unwanted', tries = 0, next_try_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// It may not be used any more, but stands at its provider still: its private half goes, and a later link removes it there.
pub async fn retire(tx: &mut WriteTx, id: DeployKeyId, why: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET state = 'unwanted', private_key_sealed = $1, error = $2, tries = 0, next_try_at = $3 WHERE id = $4",
        &[] as &[u8],
        why,
        next.as_millis(),
        id.to_string()
    )?;
    Ok(())
}

/// A step failed; the next one is due at `next`.
pub async fn set_failed(tx: &mut WriteTx, id: DeployKeyId, error: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET error = $1, tries = tries + 1, next_try_at = $2 WHERE id = $3",
        error,
        next.as_millis(),
        id.to_string()
    )?;
    Ok(())
}

/// The name of a source repository today, for the addresses of later calls.
pub async fn rename_source(tx: &mut WriteTx, provider: &ProviderId, source_id: &str, name: &str) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET source_name = $1 WHERE provider = $2 AND source_id = $3 AND source_name <> $1",
        name,
        provider.as_str(),
        source_id
    )?;
    Ok(())
}

/// An account's keys at a provider are tried and looked at now: its link was made, enabled or changed.
pub async fn hurry(tx: &mut WriteTx, account: AccountId, provider: &ProviderId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deploy_keys SET next_try_at = $1 WHERE account_id = $2 AND provider = $3",
        now.as_millis(),
        account.to_string(),
        provider.as_str(),
    )?;
    Ok(())
}

/// The key is gone at the provider, and its private half here with it.
pub async fn delete(tx: &mut WriteTx, id: DeployKeyId) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM deploy_keys WHERE id = $1", id.to_string())?;
    Ok(())
}
