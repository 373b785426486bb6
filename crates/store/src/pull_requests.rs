//! Pull requests as the newest delivery told of them.
//!
//! Deliberately elsewhere: their builds (`builds`), the log of what happened to them (`refs`).

use slipway_model::{AutobuildId, CommitId, RefName, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

/// How a pull request stands, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestState {
    /// Its number.
    pub number: u64,
    /// The commit that it wants to have merged.
    pub head: CommitId,
    /// The branch that it goes into.
    pub base: RefName,
    /// Whether it is neither merged nor closed.
    pub is_open: bool,
    /// When it changed last, by the provider's word.
    pub changed_at: Timestamp,
}

/// By its number.
pub async fn get(tx: &mut ReadTx, autobuild: AutobuildId, number: u64) -> Result<Option<PullRequestState>, StoreError> {
    const T: &str = "pull_requests";
    let row = fetch_optional!(
        (String, String, bool, i64),
        tx,
        "SELECT head_id, base, is_open, changed_at FROM pull_requests WHERE autobuild_id = $1 AND number = $2",
        autobuild.to_string(),
        signed(number),
    )?;
    row.map(|(head, base, is_open, changed_at)| {
        Ok(PullRequestState { number, head: read(T, &head)?, base: read(T, &base)?, is_open, changed_at: time(changed_at) })
    })
    .transpose()
}

/// Those that are open as far as we know, the highest numbers first.
pub async fn list_open(tx: &mut ReadTx, autobuild: AutobuildId, limit: u32) -> Result<Vec<PullRequestState>, StoreError> {
    const T: &str = "pull_requests";
    let rows = fetch_all!(
        (i64, String, String, i64),
        tx,
        "SELECT number, head_id, base, changed_at FROM pull_requests WHERE autobuild_id = $1 AND is_open ORDER BY number DESC LIMIT $2",
        autobuild.to_string(),
        i64::from(limit),
    )?;
    rows.into_iter()
        .map(|(number, head, base, changed_at)| {
            let (head, base, changed_at) = (read(T, &head)?, read(T, &base)?, time(changed_at));
            Ok(PullRequestState { number: count(number), head, base, is_open: true, changed_at })
        })
        .collect()
}

/// Writes how one stands.
pub async fn set(tx: &mut WriteTx, autobuild: AutobuildId, state: &PullRequestState) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO pull_requests (autobuild_id, number, head_id, base, is_open, changed_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (autobuild_id, number) DO UPDATE SET head_id = excluded.head_id, base = excluded.base, is_open = excluded.is_open,
             changed_at = excluded.changed_at",
        autobuild.to_string(),
        signed(state.number),
        state.head.as_str(),
        state.base.as_str(),
        state.is_open,
        state.changed_at.as_millis(),
    )?;
    Ok(())
}
