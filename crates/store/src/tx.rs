//! Transactions: `ReadTx` cannot write by its type's meaning, `WriteTx` is what every changing function demands.
//! `WriteTx` dereferences to `ReadTx`, so each reading function works inside of a change too.

use std::ops::{Deref, DerefMut};

use crate::StoreError;

pub(crate) enum Conn {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// A consistent view of the database.
pub struct ReadTx(pub(crate) Conn);

/// A change: all of it or nothing. Dropped without [`WriteTx::commit`] it changes nothing.
pub struct WriteTx(pub(crate) ReadTx);

impl Deref for WriteTx {
    type Target = ReadTx;
    fn deref(&self) -> &ReadTx {
        &self.0
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut ReadTx {
        &mut self.0
    }
}

impl WriteTx {
    /// Makes the change durable. After `Ok` it survives a power cut.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was changed, or (only when the connection broke at this moment) it is unknown whether it was.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0.0 {
            Conn::Sqlite(tx) => tx.commit().await?,
            Conn::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.0.0, Conn::Postgres(_))
    }
}

/// Expands one query for each driver: `on!(tx, |c| sqlx::query(SQL).bind(x).execute(c).await)`.
/// Whatever the body returns must not name the driver (map `rows_affected` inside).
macro_rules! on {
    ($tx:expr, |$c:ident| $body:expr) => {
        match &mut $tx.0 {
            $crate::tx::Conn::Sqlite(tx) => {
                let $c = &mut **tx;
                $body
            }
            $crate::tx::Conn::Postgres(tx) => {
                let $c = &mut **tx;
                $body
            }
        }
    };
}

/// Runs a statement and gives the number of rows that it changed.
macro_rules! change {
    ($tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query($sql)$(.bind($value))*.execute(c).await.map(|done| done.rows_affected()))
    }};
}

/// Fetches at most one row as `$row`.
macro_rules! fetch_optional {
    ($row:ty, $tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query_as::<_, $row>($sql)$(.bind($value))*.fetch_optional(c).await)
    }};
}

/// Fetches all rows as `$row`; the statement carries a LIMIT.
macro_rules! fetch_all {
    ($row:ty, $tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query_as::<_, $row>($sql)$(.bind($value))*.fetch_all(c).await)
    }};
}
