//! Builders as they last showed themselves.

use slipway_model::{BuilderId, SecretHash, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, small, time};

/// A worker.
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
    /// How many builds it runs at once.
    pub parallel: u32,
    /// State of its engine as JSON of the builder protocol's `EngineStatus`.
    pub engine: String,
    /// When it last asked for work or sent a heartbeat.
    pub last_seen_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    builtin: bool,
    version: String,
    parallel: i64,
    engine: String,
    last_seen_at: i64,
}

impl Row {
    fn into_builder(self) -> Result<Builder, StoreError> {
        Ok(Builder {
            id: read("builders", &self.id)?,
            name: self.name,
            builtin: self.builtin,
            version: self.version,
            parallel: small(self.parallel),
            engine: self.engine,
            last_seen_at: time(self.last_seen_at),
        })
    }
}

/// The workers inside of a `slipway serve` of this name; after a restart they are dead.
pub async fn list_builtin(tx: &mut ReadTx, name: &str) -> Result<Vec<BuilderId>, StoreError> {
    let rows = fetch_all!((String,), tx, "SELECT id FROM builders WHERE builtin = $1 AND name = $2 LIMIT 100", true, name)?;
    rows.into_iter().map(|(id,)| read("builders", &id)).collect()
}

/// Registers the worker inside of `slipway serve`; the one of the process before is gone with its token.
pub async fn replace_builtin(tx: &mut WriteTx, name: &str, token: &SecretHash, now: Timestamp) -> Result<BuilderId, StoreError> {
    let id = BuilderId::new();
    change!(tx, "DELETE FROM builders WHERE builtin = $1 AND name = $2", true, name)?;
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

/// The worker of this token.
pub async fn get_by_token(tx: &mut ReadTx, token: &SecretHash) -> Result<Option<Builder>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, name, builtin, version, parallel, engine, last_seen_at FROM builders WHERE token_hash = $1",
        token.to_hex()
    )?
    .map(Row::into_builder)
    .transpose()
}

/// All workers, at most 1,000.
pub async fn list(tx: &mut ReadTx) -> Result<Vec<Builder>, StoreError> {
    fetch_all!(Row, tx, "SELECT id, name, builtin, version, parallel, engine, last_seen_at FROM builders ORDER BY name LIMIT 1000")?
        .into_iter()
        .map(Row::into_builder)
        .collect()
}

/// Notes that a worker is alive.
pub async fn set_alive(tx: &mut WriteTx, id: BuilderId, now: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE builders SET last_seen_at = $1 WHERE id = $2", now.as_millis(), id.to_string())?;
    Ok(())
}

/// Notes what a worker said of itself.
pub async fn set_seen(
    tx: &mut WriteTx,
    id: BuilderId,
    version: &str,
    parallel: u32,
    engine: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE builders SET version = $1, parallel = $2, engine = $3, last_seen_at = $4 WHERE id = $5",
        version,
        i64::from(parallel),
        engine,
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}
