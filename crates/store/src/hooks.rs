//! Webhooks as they should stand at the providers. The row is the wish; a loop in `app` makes it so.
//! A hook outlives its autobuild (state `unwanted`) until the provider has removed it.

use slipway_model::{AccountId, AutobuildId, HookId, ProviderId, RepositoryId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, signed, time};

/// What is wanted of a hook and how far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookState {
    /// It shall stand, but does not yet.
    Wanted,
    /// It stands.
    Standing,
    /// It shall go.
    Unwanted,
}

impl HookState {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Standing => "standing",
            Self::Unwanted => "unwanted",
        }
    }
}

impl std::str::FromStr for HookState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "wanted" => Ok(Self::Wanted),
            "standing" => Ok(Self::Standing),
            "unwanted" => Ok(Self::Unwanted),
            _ => Err(()),
        }
    }
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Identity, part of its public address, associated data of its sealed secret.
    pub id: HookId,
    /// For which settings; `None` when they are gone.
    pub autobuild: Option<AutobuildId>,
    /// Whose link makes and removes it.
    pub account: AccountId,
    /// At which provider.
    pub provider: ProviderId,
    /// On which source repository.
    pub source_id: String,
    /// The source repository's name for the address of the call.
    pub source_name: String,
    /// Sealed.
    pub secret_sealed: Vec<u8>,
    /// Wish and progress.
    pub state: HookState,
    /// Its id at the provider, once it stands.
    pub remote_id: Option<String>,
    /// What the last try said.
    pub error: Option<String>,
    /// How often it was tried in vain.
    pub tries: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    autobuild_id: Option<String>,
    account_id: String,
    provider: String,
    source_id: String,
    source_name: String,
    secret_sealed: Vec<u8>,
    state: String,
    remote_id: Option<String>,
    error: Option<String>,
    tries: i64,
    created_at: i64,
}

impl Row {
    fn into_hook(self) -> Result<Hook, StoreError> {
        Ok(Hook {
            id: read("hooks", &self.id)?,
            autobuild: read_opt("hooks", self.autobuild_id.as_deref())?,
            account: read("hooks", &self.account_id)?,
            provider: read("hooks", &self.provider)?,
            source_id: self.source_id,
            source_name: self.source_name,
            secret_sealed: self.secret_sealed,
            state: read("hooks", &self.state)?,
            remote_id: self.remote_id,
            error: self.error,
            tries: count(self.tries),
            created_at: time(self.created_at),
        })
    }
}

/// Writes the wish for a hook.
pub async fn insert(tx: &mut WriteTx, hook: &Hook) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO hooks (id, autobuild_id, account_id, provider, source_id, source_name, secret_sealed, state, remote_id, error, next_try_at, tries, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $11)",
        hook.id.to_string(),
        hook.autobuild.map(|id| id.to_string()),
        hook.account.to_string(),
        hook.provider.as_str(),
        hook.source_id.as_str(),
        hook.source_name.as_str(),
        hook.secret_sealed.as_slice(),
        hook.state.as_str(),
        hook.remote_id.as_deref(),
        hook.error.as_deref(),
        hook.created_at.as_millis(),
        signed(hook.tries),
    )?;
    Ok(())
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: HookId) -> Result<Option<Hook>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM hooks WHERE id = $1", id.to_string())?.map(Row::into_hook).transpose()
}

/// A hook that receives deliveries, with the repository whose settings it serves.
pub async fn get_receiving(tx: &mut ReadTx, id: HookId, provider: &ProviderId) -> Result<Option<(Hook, RepositoryId)>, StoreError> {
    let Some(hook) = get(tx, id).await? else { return Ok(None) };
    let Some(autobuild) = hook.autobuild.filter(|_| hook.provider == *provider && hook.state != HookState::Unwanted) else {
        return Ok(None);
    };
    let row = fetch_optional!((String,), tx, "SELECT repository_id FROM autobuilds WHERE id = $1", autobuild.to_string())?;
    row.map(|(repository,)| Ok((hook, read("autobuilds", &repository)?))).transpose()
}

/// The hook that serves these settings.
pub async fn get_by_autobuild(tx: &mut ReadTx, autobuild: AutobuildId) -> Result<Option<Hook>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT * FROM hooks WHERE autobuild_id = $1 AND state <> 'unwanted' ORDER BY id DESC LIMIT 1",
        autobuild.to_string()
    )?
    .map(Row::into_hook)
    .transpose()
}

/// An account's hooks at a provider, at most 5,000.
pub async fn list_by_provider(tx: &mut ReadTx, account: AccountId, provider: &ProviderId) -> Result<Vec<Hook>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM hooks WHERE account_id = $1 AND provider = $2 ORDER BY id LIMIT 5000",
        account.to_string(),
        provider.as_str()
    )?
    .into_iter()
    .map(Row::into_hook)
    .collect()
}

/// Hooks whose wish is not fulfilled and whose next try is due.
pub async fn list_due(tx: &mut ReadTx, now: Timestamp, limit: u32) -> Result<Vec<Hook>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM hooks WHERE state IN ('wanted', 'unwanted') AND next_try_at <= $1 ORDER BY next_try_at LIMIT $2",
        now.as_millis(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_hook)
    .collect()
}

/// The hook stands at the provider under this id. One that is no longer wanted stays unwanted, but its id is kept: it is needed to
/// remove it. False when there is no such hook.
pub async fn set_standing(tx: &mut WriteTx, id: HookId, remote_id: &str) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE hooks SET remote_id = $1, error = NULL, tries = 0, state = CASE WHEN state = 'wanted' THEN 'standing' ELSE state END WHERE id = $2",
        remote_id,
        id.to_string(),
    )?;
    Ok(changed > 0)
}

/// The hook stands no more and is wanted: it will be made again.
pub async fn set_wanted(tx: &mut WriteTx, id: HookId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET state = 'wanted', remote_id = NULL, next_try_at = $1 WHERE id = $2 AND state = 'standing'",
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// The hook shall go.
pub async fn set_unwanted(tx: &mut WriteTx, id: HookId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET state = 'unwanted', tries = 0, next_try_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// A try failed; the next one is due at `next`.
pub async fn set_failed(tx: &mut WriteTx, id: HookId, error: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET error = $1, tries = tries + 1, next_try_at = $2 WHERE id = $3", error, next.as_millis(), id.to_string())?;
    Ok(())
}

/// The hook is gone at the provider.
pub async fn delete(tx: &mut WriteTx, id: HookId) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM hooks WHERE id = $1", id.to_string())?;
    Ok(())
}
