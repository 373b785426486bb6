//! Build triggers: secret addresses that start builds of a repository.
//! Invariant: the secret is here only as a hash, and one call at a time gets through ([`call`]).

use slipway_model::{RefName, RepositoryId, SecretHash, Timestamp, TriggerId};

use crate::{ReadTx, StoreError, WriteTx, read, read_opt, time};

/// A trigger without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Identity; part of its address.
    pub id: TriggerId,
    /// What it builds.
    pub repository: RepositoryId,
    /// What its owner calls it.
    pub name: String,
    /// The only ref that it builds.
    pub source_ref: Option<RefName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last called.
    pub called_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    repository_id: String,
    name: String,
    source_ref: Option<String>,
    created_at: i64,
    called_at: Option<i64>,
}

impl Row {
    fn into_trigger(self) -> Result<Trigger, StoreError> {
        const T: &str = "triggers";
        Ok(Trigger {
            id: read(T, &self.id)?,
            repository: read(T, &self.repository_id)?,
            name: self.name,
            source_ref: read_opt(T, self.source_ref.as_deref())?,
            created_at: time(self.created_at),
            called_at: self.called_at.map(time),
        })
    }
}

/// Adds a trigger.
pub async fn insert(tx: &mut WriteTx, trigger: &Trigger, token: &SecretHash) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO triggers (id, repository_id, name, source_ref, token_hash, created_at, called_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        trigger.id.to_string(),
        trigger.repository.to_string(),
        trigger.name.as_str(),
        trigger.source_ref.as_ref().map(RefName::as_str),
        token.to_hex(),
        trigger.created_at.as_millis(),
        trigger.called_at.map(Timestamp::as_millis),
    )?;
    Ok(())
}

/// A repository's triggers, oldest first, at most 100.
pub async fn list(tx: &mut ReadTx, repository: RepositoryId) -> Result<Vec<Trigger>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, repository_id, name, source_ref, created_at, called_at FROM triggers WHERE repository_id = $1 ORDER BY id LIMIT 100",
        repository.to_string(),
    )?
    .into_iter()
    .map(Row::into_trigger)
    .collect()
}

/// The trigger that this secret opens.
pub async fn get_by_token(tx: &mut ReadTx, id: TriggerId, token: &SecretHash) -> Result<Option<Trigger>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, repository_id, name, source_ref, created_at, called_at FROM triggers WHERE id = $1 AND token_hash = $2",
        id.to_string(),
        token.to_hex(),
    )?
    .map(Row::into_trigger)
    .transpose()
}

/// Notes a call; false when the one before came after `since`.
pub async fn call(tx: &mut WriteTx, id: TriggerId, now: Timestamp, since: Timestamp) -> Result<bool, StoreError> {
    let called = change!(
        tx,
        "UPDATE triggers SET called_at = $1 WHERE id = $2 AND (called_at IS NULL OR called_at <= $3)",
        now.as_millis(),
        id.to_string(),
        since.as_millis(),
    )?;
    Ok(called > 0)
}

/// Gives a trigger another secret; `None` when the repository has no such trigger.
pub async fn set_token(
    tx: &mut WriteTx,
    repository: RepositoryId,
    id: TriggerId,
    token: &SecretHash,
) -> Result<Option<Trigger>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "UPDATE triggers SET token_hash = $1 WHERE id = $2 AND repository_id = $3
         RETURNING id, repository_id, name, source_ref, created_at, called_at",
        token.to_hex(),
        id.to_string(),
        repository.to_string(),
    )?
    .map(Row::into_trigger)
    .transpose()
}

/// Removes a trigger and gives what it was; `None` when the repository has no such trigger.
pub async fn delete(tx: &mut WriteTx, repository: RepositoryId, id: TriggerId) -> Result<Option<Trigger>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "DELETE FROM triggers WHERE id = $1 AND repository_id = $2 RETURNING id, repository_id, name, source_ref, created_at, called_at",
        id.to_string(),
        repository.to_string(),
    )?
    .map(Row::into_trigger)
    .transpose()
}
