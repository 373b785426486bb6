//! A repository's builds: all of them, or those that a person asks for.
//!
//! Invariant: a page of filtered builds is as long as a page of all, so paging never ends before the builds do.

use slipway_model::{AccountId, BuildId, BuildState, RepositoryId, RuleId};

use super::{Build, Row};
use crate::{ReadTx, StoreError};

/// Which builds are wanted; what is not set does not matter.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// In this state.
    pub state: Option<BuildState>,
    /// Of a ref whose full name contains this.
    pub source_ref: String,
    /// Made by this rule.
    pub rule: Option<RuleId>,
    /// Of this cause: `push`, `manual`, ...
    pub cause: String,
    /// Started by this person.
    pub started_by: Option<AccountId>,
}

/// A page of a repository's builds, newest first, older than `before`.
pub async fn list(
    tx: &mut ReadTx,
    repository: RepositoryId,
    filter: &BuildFilter,
    before: Option<BuildId>,
    limit: u32,
) -> Result<Vec<Build>, StoreError> {
    // REPLACE finds a part without its characters meaning anything, and with the same eye for case on both databases; LIKE does neither.
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM builds WHERE repository_id = $1 AND ($2 = '' OR state = $2) AND ($3 = '' OR REPLACE(source_ref, $3, '') <> source_ref)
           AND ($4 = '' OR rule_id = $4) AND ($5 = '' OR cause = $5) AND ($6 = '' OR started_by = $6)
           AND id < $7 ORDER BY id DESC LIMIT $8",
        repository.to_string(),
        filter.state.map_or("", BuildState::as_str),
        filter.source_ref.as_str(),
        filter.rule.map(|id| id.to_string()).unwrap_or_default(),
        filter.cause.as_str(),
        filter.started_by.map(|id| id.to_string()).unwrap_or_default(),
        before.map_or_else(|| "g".to_owned(), |id| id.to_string()),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_build)
    .collect()
}
