//! What can go wrong with the database, as decisions of the caller.

/// An error of the database. "Not found" is no error: it is `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row with this unique value or a missing parent; the text names the constraint.
    #[error("the change conflicts with a row that stands: {0}")]
    Conflict(String),
    /// A row holds what no version of Slipway writes.
    #[error("a row of `{table}` holds `{value}`, which this version cannot read")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Beginning of the value.
        value: String,
    },
    /// The database was migrated by a newer version.
    #[error("the database has schema {0}, which this version of slipway does not know")]
    TooNew(i64),
    /// A setting of the database would lose acknowledged data.
    #[error("{0}")]
    Unsafe(String),
    /// The address is no database's.
    #[error("{0}")]
    Address(String),
    /// The database does not answer, is full or cannot be written. Trying later may help.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.is_unique_violation() || e.is_foreign_key_violation() => Self::Conflict(e.message().to_owned()),
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::TooNew(version),
            other => Self::Unavailable(Box::new(other)),
        }
    }
}
