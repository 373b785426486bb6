//! Webhooks as they should stand at the providers. The row is the wish; loops in `app` make it so and look whether it still is.
//! A hook outlives its autobuild (state `unwanted`) until the provider has removed it.
//!
//! Deliberately elsewhere: what is found of a hook that stands (`looks`).
//!
//! Invariant: a step at the provider begins with a claim ([`claim_step`], [`claim_check`]), so no two replicas take the same one at once;
//! what became of it is written only for the secret that it was taken with.

mod looks;

pub use looks::*;

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
        [Self::Wanted, Self::Standing, Self::Unwanted].into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// Who puts a hook up at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    /// We do, with the account's link.
    Service,
    /// A person does: the link may not. It stands once a delivery with the right signature came.
    Person,
}

impl MadeBy {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Person => "person",
        }
    }
}

impl std::str::FromStr for MadeBy {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Service, Self::Person].into_iter().find(|by| by.as_str() == text).ok_or(())
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
    /// The secret before this one, sealed, and until when it is accepted.
    pub previous: Option<(Vec<u8>, Timestamp)>,
    /// Wish and progress.
    pub state: HookState,
    /// Its id at the provider, once it stands.
    pub remote_id: Option<String>,
    /// What the last try said.
    pub error: Option<String>,
    /// How often it was tried in vain.
    pub tries: u64,
    /// When the next try is due; a moment ahead while somebody tries.
    pub next_try_at: Timestamp,
    /// Who puts it up.
    pub made_by: MadeBy,
    /// When it was last looked at.
    pub checked_at: Option<Timestamp>,
    /// When it is looked at next.
    pub next_check_at: Timestamp,
    /// What the last look found wrong.
    pub problem: Option<String>,
    /// Since when looks find something wrong.
    pub problem_since: Option<Timestamp>,
    /// When it was last repaired without a person's word.
    pub repaired_at: Option<Timestamp>,
    /// What was wrong then.
    pub repaired_why: Option<String>,
    /// What the provider said of its last delivery, as JSON.
    pub last_there: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Hook {
    /// Whether only a delivery with its secret of now shows that it stands as it should.
    #[must_use]
    pub fn waits_for_proof(&self) -> bool {
        self.made_by == MadeBy::Person && (self.state == HookState::Wanted || self.problem.is_some())
    }

    /// Whether it stands at the provider with the secret before: the one of now was not told there yet.
    #[must_use]
    pub fn signs_with_previous(&self) -> bool {
        self.state == HookState::Wanted && self.remote_id.is_some()
    }
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
    next_try_at: i64,
    previous_secret_sealed: Option<Vec<u8>>,
    previous_until: Option<i64>,
    made_by: String,
    checked_at: Option<i64>,
    next_check_at: i64,
    problem: Option<String>,
    problem_since: Option<i64>,
    repaired_at: Option<i64>,
    repaired_why: Option<String>,
    last_there: Option<String>,
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
            previous: self.previous_secret_sealed.zip(self.previous_until.map(time)),
            state: read("hooks", &self.state)?,
            remote_id: self.remote_id,
            error: self.error,
            tries: count(self.tries),
            next_try_at: time(self.next_try_at),
            made_by: read("hooks", &self.made_by)?,
            checked_at: self.checked_at.map(time),
            next_check_at: time(self.next_check_at),
            problem: self.problem,
            problem_since: self.problem_since.map(time),
            repaired_at: self.repaired_at.map(time),
            repaired_why: self.repaired_why,
            last_there: self.last_there,
            created_at: time(self.created_at),
        })
    }
}

/// Writes the wish for a hook, unless its settings have one.
pub async fn insert(tx: &mut WriteTx, hook: &Hook) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO hooks (id, autobuild_id, account_id, provider, source_id, source_name, secret_sealed, state, remote_id, error, tries,
                            next_try_at, next_check_at, made_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
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
        signed(hook.tries),
        hook.next_try_at.as_millis(),
        hook.next_check_at.as_millis(),
        hook.made_by.as_str(),
        hook.created_at.as_millis(),
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

/// Takes the step that is due now: until `until` it is nobody else's. False when somebody took it before.
pub async fn claim_step(tx: &mut WriteTx, hook: &Hook, until: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE hooks SET next_try_at = $1 WHERE id = $2 AND next_try_at = $3 AND state = $4",
        until.as_millis(),
        hook.id.to_string(),
        hook.next_try_at.as_millis(),
        hook.state.as_str(),
    )?;
    Ok(changed > 0)
}

/// The hook stands at the provider under this id, with the secret that `hook` was read with; its first check is due at `check_at`. One
/// whose secret was changed meanwhile is wanted: the provider was told the secret before. One whose new secret was told late keeps the
/// one before until the check: deliveries may be under way. One that is no longer wanted stays unwanted, but its id is kept: it is needed
/// to remove it. False when there is no such hook.
pub async fn set_standing(tx: &mut WriteTx, hook: &Hook, remote_id: &str, check_at: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE hooks SET remote_id = $1, error = NULL, tries = 0, problem = NULL, problem_since = NULL, made_by = 'service', next_check_at = $2,
             state = CASE WHEN state = 'unwanted' THEN state WHEN secret_sealed = $3 THEN 'standing' ELSE 'wanted' END,
             previous_until = CASE WHEN state = 'wanted' AND remote_id IS NOT NULL AND secret_sealed = $3 AND previous_until < $2 THEN $2
                                   ELSE previous_until END,
             next_try_at = CASE WHEN state <> 'unwanted' AND secret_sealed = $3 THEN next_try_at ELSE 0 END
         WHERE id = $4",
        remote_id,
        check_at.as_millis(),
        hook.secret_sealed.as_slice(),
        hook.id.to_string(),
    )?;
    Ok(changed > 0)
}

/// A person has to put the hook up: `why` the link may not. It is tried again at `next`.
pub async fn set_made_by_person(tx: &mut WriteTx, id: HookId, why: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET made_by = 'person', error = $1, next_try_at = $2, tries = 0 WHERE id = $3 AND state = 'wanted'",
        why,
        next.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// A delivery came that was signed with the hook's own secret of now: one that a person put up stands.
pub async fn set_proven(tx: &mut WriteTx, id: HookId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET state = 'standing', error = NULL, problem = NULL, problem_since = NULL, tries = 0, checked_at = $1, next_check_at = $1
         WHERE id = $2 AND made_by = 'person' AND (state = 'wanted' OR problem IS NOT NULL) AND state <> 'unwanted'",
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
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

/// Gives the hook another secret; the one of now is accepted until `previous_until`. Ours has to be told to the provider again; of a
/// person's the provider knows when the person does, which `problem` says. While it does not know the one of now either, the one before
/// that is kept: the hook signs with it.
pub async fn rotate(
    tx: &mut WriteTx,
    hook: &Hook,
    secret_sealed: &[u8],
    previous_until: Timestamp,
    problem: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE hooks SET
             previous_secret_sealed = CASE WHEN made_by = 'person' AND (state = 'wanted' OR problem IS NOT NULL)
                                           THEN COALESCE(previous_secret_sealed, secret_sealed) ELSE secret_sealed END,
             previous_until = $1, secret_sealed = $2,
             problem_since = CASE WHEN $3 IS NULL THEN problem_since ELSE COALESCE(problem_since, $4) END, problem = COALESCE($3, problem),
             state = CASE WHEN made_by = 'service' THEN 'wanted' ELSE state END, tries = 0, next_try_at = $4
         WHERE id = $5 AND secret_sealed = $6 AND state <> 'unwanted'",
        previous_until.as_millis(),
        secret_sealed,
        problem,
        now.as_millis(),
        hook.id.to_string(),
        hook.secret_sealed.as_slice(),
    )?;
    Ok(changed > 0)
}

/// Forgets secrets that are accepted no more; not those of [`Hook::signs_with_previous`].
pub async fn forget_previous_secrets(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "UPDATE hooks SET previous_secret_sealed = NULL, previous_until = NULL
         WHERE previous_until <= $1 AND NOT (state = 'wanted' AND remote_id IS NOT NULL)",
        now.as_millis(),
    )?)
}

/// A try failed; the next one is due at `next`.
pub async fn set_failed(tx: &mut WriteTx, id: HookId, error: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE hooks SET error = $1, tries = tries + 1, next_try_at = $2 WHERE id = $3", error, next.as_millis(), id.to_string())?;
    Ok(())
}

/// The name of a source repository today, for the addresses of later calls.
pub async fn rename_source(tx: &mut WriteTx, provider: &ProviderId, source_id: &str, name: &str) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET source_name = $1 WHERE provider = $2 AND source_id = $3 AND source_name <> $1",
        name,
        provider.as_str(),
        source_id
    )?;
    Ok(())
}

/// An account's hooks at a provider are looked at and tried now: its link was made, enabled or changed.
pub async fn hurry(tx: &mut WriteTx, account: AccountId, provider: &ProviderId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE hooks SET next_check_at = $1, next_try_at = CASE WHEN state = 'standing' THEN next_try_at ELSE $1 END
         WHERE account_id = $2 AND provider = $3",
        now.as_millis(),
        account.to_string(),
        provider.as_str(),
    )?;
    Ok(())
}

/// The hook is gone at the provider.
pub async fn delete(tx: &mut WriteTx, id: HookId) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM hooks WHERE id = $1", id.to_string())?;
    Ok(())
}
