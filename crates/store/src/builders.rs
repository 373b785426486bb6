//! Builder nodes: what they last said of themselves, and what administrators decided about them.
//!
//! Invariant: a node is known by the hash of its own credential; without its row that credential is worth nothing.
//! Deliberately elsewhere: how a machine becomes a node (`join_tokens`), what a node holds (`builds`).

use slipway_model::{BuilderId, NodeLabels, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, small, time};

/// A node.
#[derive(Debug, Clone)]
pub struct Builder {
    /// Identity.
    pub id: BuilderId,
    /// The machine's name, for people.
    pub name: String,
    /// Whether it runs inside of `slipway serve`.
    pub builtin: bool,
    /// Version of its program.
    pub version: String,
    /// Version of the builder protocol that it speaks; 0 until it says so.
    pub protocol: u32,
    /// Version of its git; empty until it says so.
    pub git: String,
    /// How many builds it wants to run at once; 0 until it says so.
    pub parallel: u32,
    /// State of its engine as JSON of the builder protocol's `EngineStatus`.
    pub engine: String,
    /// Why it cannot have engines of its own; `None` when it can, or has not said so.
    pub obstacle: Option<String>,
    /// What an administrator says of it.
    pub labels: NodeLabels,
    /// Since when it takes no new builds.
    pub draining_since: Option<Timestamp>,
    /// The name of who made its join token; `None` for the built-in one.
    pub joined_by: Option<String>,
    /// When it last asked for work or sent a heartbeat.
    pub last_seen_at: Timestamp,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl Builder {
    /// How many builds it may run at once: what it wants, unless its labels say less. One that said nothing yet wants no less than it may.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.labels.places(if self.parallel == 0 { u32::MAX } else { self.parallel })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    builtin: bool,
    version: String,
    protocol: i64,
    git: String,
    parallel: i64,
    engine: String,
    obstacle: Option<String>,
    labels: String,
    draining_since: Option<i64>,
    joined_by: Option<String>,
    last_seen_at: i64,
    created_at: i64,
}

impl Row {
    fn into_builder(self) -> Result<Builder, StoreError> {
        Ok(Builder {
            id: read("builders", &self.id)?,
            name: self.name,
            builtin: self.builtin,
            version: self.version,
            protocol: small(self.protocol),
            git: self.git,
            parallel: small(self.parallel),
            engine: self.engine,
            obstacle: self.obstacle,
            labels: read("builders", &self.labels)?,
            draining_since: self.draining_since.map(time),
            joined_by: self.joined_by,
            last_seen_at: time(self.last_seen_at),
            created_at: time(self.created_at),
        })
    }
}

/// A machine that becomes a node.
#[derive(Debug)]
pub struct NewNode<'a> {
    /// The machine's name.
    pub name: &'a str,
    /// The hash of the credential that it made for itself.
    pub credential: &'a SecretHash,
    /// As its join token says.
    pub labels: &'a NodeLabels,
    /// The name of who made that token.
    pub joined_by: &'a str,
}

/// Adds a node on another machine.
///
/// # Errors
/// [`StoreError::Conflict`] when another node has that credential.
pub async fn insert(tx: &mut WriteTx, new: &NewNode<'_>, now: Timestamp) -> Result<BuilderId, StoreError> {
    let id = BuilderId::new();
    change!(
        tx,
        "INSERT INTO builders (id, name, token_hash, builtin, version, parallel, engine, labels, joined_by, last_seen_at, created_at)
         VALUES ($1, $2, $3, $4, '', 0, '', $5, $6, $7, $7)",
        id.to_string(),
        new.name,
        new.credential.to_hex(),
        false,
        new.labels.to_string(),
        new.joined_by,
        now.as_millis(),
    )?;
    Ok(id)
}

/// Registers the worker inside of a `slipway serve` of this name. It stays the node that it was, with its labels; the credential of the process
/// before is worth nothing any more, and what that process held has to be given to others (`builds::expire_leases_of`).
pub async fn register_builtin(tx: &mut WriteTx, name: &str, token: &SecretHash, now: Timestamp) -> Result<BuilderId, StoreError> {
    let again = fetch_optional!(
        (String,),
        tx,
        "UPDATE builders SET token_hash = $1, last_seen_at = $2 WHERE id = (SELECT id FROM builders WHERE builtin = $3 AND name = $4 ORDER BY id DESC LIMIT 1)
         RETURNING id",
        token.to_hex(),
        now.as_millis(),
        true,
        name,
    )?;
    if let Some((id,)) = again {
        return read("builders", &id);
    }
    let id = BuilderId::new();
    change!(
        tx,
        "INSERT INTO builders (id, name, token_hash, builtin, version, parallel, engine, last_seen_at, created_at) VALUES ($1, $2, $3, $4, '', 0, '', $5, $5)",
        id.to_string(),
        name,
        token.to_hex(),
        true,
        now.as_millis(),
    )?;
    Ok(id)
}

/// The node of this credential.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash) -> Result<Option<Builder>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM builders WHERE token_hash = $1", token.to_hex())?.map(Row::into_builder).transpose()
}

/// By identity.
pub async fn get(tx: &mut ReadTx, id: BuilderId) -> Result<Option<Builder>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM builders WHERE id = $1", id.to_string())?.map(Row::into_builder).transpose()
}

/// Whether there is a node, connected or not, of which nothing is known that keeps it from having engines of its own.
pub async fn any_has_engines(tx: &mut ReadTx) -> Result<bool, StoreError> {
    Ok(fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builders WHERE obstacle IS NULL")?.is_some_and(|(nodes,)| nodes > 0))
}

/// All nodes by name, at most 1,000.
pub async fn list(tx: &mut ReadTx) -> Result<Vec<Builder>, StoreError> {
    fetch_all!(Row, tx, "SELECT * FROM builders ORDER BY name, id LIMIT 1000")?.into_iter().map(Row::into_builder).collect()
}

/// Removes a node; its credential is worth nothing from now on. False when it was gone.
pub async fn delete(tx: &mut WriteTx, id: BuilderId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM builders WHERE id = $1", id.to_string())? > 0)
}

/// Gives a node other labels.
pub async fn set_labels(tx: &mut WriteTx, id: BuilderId, labels: &NodeLabels) -> Result<(), StoreError> {
    change!(tx, "UPDATE builders SET labels = $1 WHERE id = $2", labels.to_string(), id.to_string())?;
    Ok(())
}

/// Since when a node takes no new builds; `None` lets it take them again.
pub async fn set_draining(tx: &mut WriteTx, id: BuilderId, since: Option<Timestamp>) -> Result<(), StoreError> {
    change!(tx, "UPDATE builders SET draining_since = $1 WHERE id = $2", since.map(Timestamp::as_millis), id.to_string())?;
    Ok(())
}

/// Notes that a node is alive.
pub async fn set_alive(tx: &mut WriteTx, id: BuilderId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE builders SET last_seen_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Version of its program.
    pub version: &'a str,
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of its git.
    pub git: &'a str,
    /// How many builds it wants to run at once.
    pub parallel: u32,
    /// State of its engine as JSON.
    pub engine: &'a str,
    /// Why it cannot have engines of its own, if it cannot.
    pub obstacle: Option<&'a str>,
}

/// Notes what a node said of itself.
pub async fn set_seen(tx: &mut WriteTx, id: BuilderId, said: &Said<'_>, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE builders SET version = $1, protocol = $2, git = $3, parallel = $4, engine = $5, obstacle = $6, last_seen_at = $7 WHERE id = $8",
        said.version,
        i64::from(said.protocol),
        said.git,
        i64::from(said.parallel),
        said.engine,
        said.obstacle,
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}
