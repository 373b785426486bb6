//! Transactions: `ReadTx` cannot write by its type's meaning, `WriteTx` is what every changing function demands.
//! `WriteTx` dereferences to `ReadTx`, so each reading function works inside of a change too.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use crate::StoreError;

pub(crate) enum Conn {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// A consistent view of the database.
pub struct ReadTx {
    pub(crate) conn: Conn,
    /// Whether a statement failed: PostgreSQL has then given up the whole, and would answer a commit with a silent rollback.
    pub(crate) failed: bool,
}

impl ReadTx {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn, failed: false }
    }
}

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
    /// [`StoreError::Conflict`]: a statement of it was refused before, or a missing parent shows only now; nothing was changed.
    pub async fn commit(self) -> Result<(), StoreError> {
        if self.0.failed {
            return Err(StoreError::Conflict("a part of the change failed, so nothing of it stands".into()));
        }
        match self.0.conn {
            Conn::Sqlite(tx) => tx.commit().await?,
            Conn::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.0.conn, Conn::Postgres(_))
    }
}

/// A value as both databases can hold it. PostgreSQL's TEXT knows no NUL, but JSON and logs do: it becomes U+FFFD on both,
/// or one hostile push would be tried again for ever.
pub(crate) trait Storable {
    type Stored;
    fn storable(self) -> Self::Stored;
}

fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text }
}

impl<'a> Storable for &'a str {
    type Stored = Cow<'a, str>;
    fn storable(self) -> Cow<'a, str> {
        without_nul(self.into())
    }
}

impl Storable for String {
    type Stored = Cow<'static, str>;
    fn storable(self) -> Cow<'static, str> {
        without_nul(self.into())
    }
}

impl<T: Storable> Storable for Option<T> {
    type Stored = Option<T::Stored>;
    fn storable(self) -> Self::Stored {
        self.map(T::storable)
    }
}

macro_rules! storable_as_it_is {
    ($($kind:ty),*) => {$(
        impl Storable for $kind {
            type Stored = Self;
            fn storable(self) -> Self {
                self
            }
        }
    )*};
}
storable_as_it_is!(i64, bool, &[u8]);

/// Expands one query for each driver: `on!(tx, |c| sqlx::query(SQL).bind(x).execute(c).await)`.
/// Whatever the body returns must not name the driver (map `rows_affected` inside).
macro_rules! on {
    ($tx:expr, |$c:ident| $body:expr) => {{
        let result = match &mut $tx.conn {
            $crate::tx::Conn::Sqlite(tx) => {
                let $c = &mut **tx;
                $body
            }
            $crate::tx::Conn::Postgres(tx) => {
                let $c = &mut **tx;
                $body
            }
        };
        $tx.failed |= result.is_err();
        result
    }};
}

/// Runs a statement and gives the number of rows that it changed.
macro_rules! change {
    ($tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query($sql)$(.bind($crate::tx::Storable::storable($value)))*.execute(c).await.map(|done| done.rows_affected()))
    }};
}

/// Fetches at most one row as `$row`.
macro_rules! fetch_optional {
    ($row:ty, $tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query_as::<_, $row>($sql)$(.bind($crate::tx::Storable::storable($value)))*.fetch_optional(c).await)
    }};
}

/// Fetches all rows as `$row`; the statement carries a LIMIT.
macro_rules! fetch_all {
    ($row:ty, $tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let tx: &mut $crate::ReadTx = &mut *$tx;
        on!(tx, |c| sqlx::query_as::<_, $row>($sql)$(.bind($crate::tx::Storable::storable($value)))*.fetch_all(c).await)
    }};
}
