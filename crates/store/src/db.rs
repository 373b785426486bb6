//! Opening a database: safe settings, migrations, pools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use crate::tx::Conn;
use crate::{ReadTx, StoreError, WriteTx};

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// Which database a [`Db`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

#[derive(Clone)]
enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool, file: PathBuf },
    Postgres(PgPool),
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db(Pools);

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

impl Db {
    /// Opens `sqlite://PATH` or `postgres://...` with settings under which a commit survives a power cut. Does not migrate.
    ///
    /// # Errors
    /// [`StoreError::Address`] for another address, [`StoreError::Unsafe`] when the settings cannot be had.
    pub async fn open(address: &str) -> Result<Self, StoreError> {
        if let Some(path) = address.strip_prefix("sqlite://") {
            return Self::open_sqlite(Path::new(path)).await;
        }
        if address.starts_with("postgres://") || address.starts_with("postgresql://") {
            return Self::open_postgres(address).await;
        }
        let scheme: String = address.chars().take_while(|c| *c != ':').take(20).collect();
        Err(StoreError::Address(format!("the database address begins with `{scheme}:`, expected `sqlite://` or `postgres://`")))
    }

    async fn open_sqlite(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-4096");
        let write = sqlite_pool().max_connections(1).connect_with(options.clone()).await?;
        let (level,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(&write).await?;
        if level < 2 {
            return Err(StoreError::Unsafe(format!("sqlite runs with `synchronous={level}`, expected 2 (FULL)")));
        }
        let read = sqlite_pool().max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self(Pools::Sqlite { write, read, file: file.to_owned() }))
    }

    async fn open_postgres(address: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            address.parse().map_err(|_| StoreError::Address("the address of the PostgreSQL database cannot be read".into()))?;
        let pool = PgPoolOptions::new().max_connections(12).acquire_timeout(Duration::from_secs(5)).connect_with(options).await?;
        let (level,): (String,) = sqlx::query_as("SELECT current_setting('synchronous_commit')").fetch_one(&pool).await?;
        if level == "off" {
            return Err(StoreError::Unsafe(
                "postgresql runs with `synchronous_commit=off`, which loses acknowledged deliveries; expected `on`".into(),
            ));
        }
        Ok(Self(Pools::Postgres(pool)))
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.0 {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres(_) => Backend::Postgres,
        }
    }

    /// Brings the schema up to this version. A SQLite file that already holds data is first copied beside itself (`<file>.before-<version>`).
    ///
    /// # Errors
    /// [`StoreError::TooNew`] when a newer version wrote it.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match &self.0 {
            Pools::Sqlite { write, file, .. } => {
                let (tables,): (i64,) =
                    sqlx::query_as("SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'").fetch_one(write).await?;
                if tables > 0 {
                    let (applied,): (i64,) =
                        sqlx::query_as("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations").fetch_one(write).await?;
                    let newest = SQLITE_MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
                    if applied > newest {
                        return Err(StoreError::TooNew(applied));
                    }
                    if applied < newest {
                        backup(write, file, newest).await?;
                    }
                }
                SQLITE_MIGRATIONS.run(write).await?;
            }
            Pools::Postgres(pool) => POSTGRES_MIGRATIONS.run(pool).await?,
        }
        Ok(())
    }

    /// Begins a view that stays the same from its first question to its last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        Ok(ReadTx::new(match &self.0 {
            Pools::Sqlite { read, .. } => Conn::Sqlite(read.begin().await?),
            Pools::Postgres(pool) => Conn::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?),
        }))
    }

    /// Begins a change. On SQLite it is IMMEDIATE: it waits for the one writer before it, and never fails half-way as "locked".
    /// On PostgreSQL a statement sees what was committed before it: whoever waited for a row sees its newest value.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        Ok(WriteTx(ReadTx::new(match &self.0 {
            Pools::Sqlite { write, .. } => Conn::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Pools::Postgres(pool) => Conn::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?),
        })))
    }

    /// Whether the database takes a change now; for `/readyz`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        // The value must change: SQLite writes nothing for a row that stays as it is.
        change!(
            tx,
            "INSERT INTO settings (key, value) VALUES ('probe', '1')
             ON CONFLICT (key) DO UPDATE SET value = CASE settings.value WHEN '1' THEN '0' ELSE '1' END",
        )?;
        tx.commit().await
    }

    /// Closes every connection; SQLite folds its write-ahead log into the file.
    pub async fn close(&self) {
        match &self.0 {
            Pools::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// A full disk ends a transaction inside of SQLite, and the driver goes on to believe in it: such a connection begins nothing any more,
/// so it is replaced before somebody gets it.
fn sqlite_pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .acquire_timeout(Duration::from_secs(5))
        .before_acquire(|connection, _| Box::pin(async move { Ok(!sqlx::Connection::is_in_transaction(&*connection)) }))
}

/// `VACUUM INTO` writes a consistent copy while others read.
async fn backup(write: &SqlitePool, file: &Path, version: i64) -> Result<(), StoreError> {
    let mut copy = file.as_os_str().to_owned();
    copy.push(format!(".before-{version}"));
    let copy = PathBuf::from(copy);
    if copy.exists() {
        std::fs::remove_file(&copy).map_err(unavailable)?;
    }
    sqlx::query("VACUUM INTO $1").bind(copy.to_string_lossy().into_owned()).execute(write).await?;
    tracing::info!(copy = %copy.display(), "database copied before migration");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every connection of a pool says to a PRAGMA.
    async fn ask(pool: &SqlitePool, pragma: &'static str) -> Vec<String> {
        let mut connections = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            connections.push(pool.acquire().await.unwrap());
        }
        let mut answers = Vec::new();
        for connection in &mut connections {
            let (answer,): (String,) = sqlx::query_as(pragma).fetch_one(&mut **connection).await.unwrap();
            answers.push(answer);
        }
        answers
    }

    #[tokio::test]
    async fn every_connection_has_the_safe_settings() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}", folder.path().join("x.db").display())).await.unwrap();
        let Pools::Sqlite { write, read, .. } = &db.0 else { panic!("a SQLite address") };
        for (pool, connections) in [(write, 1), (read, 4)] {
            for (pragma, answer) in [
                ("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous", "2"),
                ("SELECT journal_mode FROM pragma_journal_mode", "wal"),
                ("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys", "1"),
            ] {
                assert_eq!(ask(pool, pragma).await, vec![answer; connections], "{pragma}");
            }
        }
        let forbidden = sqlx::query("CREATE TABLE x (y TEXT)").execute(read).await;
        assert!(forbidden.is_err(), "a reader cannot write");
    }

    #[tokio::test]
    async fn old_deliveries_are_found_without_reading_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}", folder.path().join("x.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let Pools::Sqlite { read, .. } = &db.0 else { panic!("a SQLite address") };
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(
            "EXPLAIN QUERY PLAN SELECT id FROM deliveries WHERE received_at < $1 AND processed_at IS NOT NULL ORDER BY received_at LIMIT $2",
        )
        .bind(1_i64)
        .bind(1_i64)
        .fetch_all(read)
        .await
        .unwrap();
        let plan: Vec<&str> = plan.iter().map(|step| step.3.as_str()).collect();
        assert!(plan.len() == 1 && plan[0].contains("deliveries_age"), "{plan:?}");
    }
}
