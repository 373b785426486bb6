//! One-time tokens with which machines become builder nodes.
//!
//! Invariant: a token makes one node. A used one stays beside its node, so that the machine may repeat the exchange after a crash, and goes
//! with it. Deliberately elsewhere: nodes (`builders`).

use slipway_model::{AccountId, BuilderId, JoinTokenId, NodeLabels, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, time};

/// A join token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Identity.
    pub id: JoinTokenId,
    /// The labels of the node that it makes.
    pub labels: NodeLabels,
    /// Who made it.
    pub created_by: AccountId,
    /// Their name at that time.
    pub created_by_name: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it makes a node.
    pub expires_at: Timestamp,
    /// The node that it made.
    pub used_by: Option<BuilderId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    labels: String,
    created_by: String,
    created_by_name: String,
    created_at: i64,
    expires_at: i64,
    builder_id: Option<String>,
}

impl Row {
    fn into_token(self) -> Result<JoinToken, StoreError> {
        const T: &str = "builder_join_tokens";
        Ok(JoinToken {
            id: read(T, &self.id)?,
            labels: read(T, &self.labels)?,
            created_by: read(T, &self.created_by)?,
            created_by_name: self.created_by_name,
            created_at: time(self.created_at),
            expires_at: time(self.expires_at),
            used_by: read_opt(T, self.builder_id.as_deref())?,
        })
    }
}

/// Adds a token.
pub async fn insert(tx: &mut WriteTx, token: &SecretHash, new: &JoinToken) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO builder_join_tokens (id, token_hash, labels, created_by, created_by_name, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.id.to_string(),
        token.to_hex(),
        new.labels.to_string(),
        new.created_by.to_string(),
        new.created_by_name.as_str(),
        new.created_at.as_millis(),
        new.expires_at.as_millis(),
    )?;
    Ok(())
}

/// By its secret, used and expired ones too.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash) -> Result<Option<JoinToken>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, labels, created_by, created_by_name, created_at, expires_at, builder_id FROM builder_join_tokens WHERE token_hash = $1",
        token.to_hex(),
    )?
    .map(Row::into_token)
    .transpose()
}

/// Notes which node it made; false when it made another one meanwhile, was revoked, or has expired.
pub async fn take(tx: &mut WriteTx, id: JoinTokenId, builder: BuilderId, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE builder_join_tokens SET builder_id = $1 WHERE id = $2 AND builder_id IS NULL AND expires_at > $3",
        builder.to_string(),
        id.to_string(),
        now.as_millis(),
    )?;
    Ok(changed > 0)
}

/// Tokens that may still make a node, newest first, at most 100.
pub async fn list_standing(tx: &mut ReadTx, now: Timestamp) -> Result<Vec<JoinToken>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, labels, created_by, created_by_name, created_at, expires_at, builder_id FROM builder_join_tokens
         WHERE builder_id IS NULL AND expires_at > $1 ORDER BY id DESC LIMIT 100",
        now.as_millis(),
    )?
    .into_iter()
    .map(Row::into_token)
    .collect()
}

/// How many tokens may still make a node.
pub async fn count_standing(tx: &mut ReadTx, now: Timestamp) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COUNT(*) FROM builder_join_tokens WHERE builder_id IS NULL AND expires_at > $1",
        now.as_millis()
    )?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// Revokes a token that made no node yet; gives it back as it was.
pub async fn delete_standing(tx: &mut WriteTx, id: JoinTokenId) -> Result<Option<JoinToken>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "DELETE FROM builder_join_tokens WHERE id = $1 AND builder_id IS NULL
         RETURNING id, labels, created_by, created_by_name, created_at, expires_at, builder_id",
        id.to_string(),
    )?
    .map(Row::into_token)
    .transpose()
}

/// Removes tokens that expired before this time without having made a node; gives how many rows went.
pub async fn delete_expired(tx: &mut WriteTx, before: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(tx, "DELETE FROM builder_join_tokens WHERE builder_id IS NULL AND expires_at <= $1", before.as_millis())?)
}
