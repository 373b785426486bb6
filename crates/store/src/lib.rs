//! The only SQL of Slipway: one file per aggregate, one SQL text for SQLite and PostgreSQL.
//!
//! Invariant: every change happens in a [`WriteTx`]; what a `WriteTx` committed survives a power cut.
//! Driver types never leave this room: callers see [`StoreError`], ids and rows of their own.
//! Deliberately absent: rules of the product (they live in `app`), network calls, the time of day (callers pass it).

#[macro_use]
mod tx;

pub mod accounts;
pub mod audit;
pub mod build_tags;
pub mod builders;
pub mod builds;
pub mod commit_statuses;
pub mod deliveries;
pub mod deploy_keys;
pub mod emails;
pub mod external;
pub mod hooks;
pub mod identities;
pub mod images;
pub mod inbox;
pub mod invitations;
pub mod join_tokens;
pub mod last_images;
pub mod links;
pub mod logs;
pub mod mails;
pub mod progress;
pub mod pull_requests;
pub mod receipts;
pub mod reconciling;
pub mod refs;
pub mod refused;
pub mod repositories;
pub mod second_factors;
pub mod sessions;
pub mod sign_in;
pub mod source_namespaces;
pub mod source_repositories;
pub mod sources;
pub mod teams;
pub mod tokens;
pub mod triggers;

mod db;
mod error;

pub use db::{Backend, Db};
pub use error::StoreError;
pub use tx::{ReadTx, WriteTx};

use slipway_model::Timestamp;

/// Reads a value of the model out of a column; a value that does not parse is corruption, never a panic.
pub(crate) fn read<T: std::str::FromStr>(table: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { table, value: text.chars().take(80).collect() })
}

pub(crate) fn read_opt<T: std::str::FromStr>(table: &'static str, text: Option<&str>) -> Result<Option<T>, StoreError> {
    text.map(|text| read(table, text)).transpose()
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(table: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt { table, value: text.chars().take(80).collect() })
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("types of the model have string keys and no failing serializer")
}

pub(crate) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Numbers that are never negative in the database.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
