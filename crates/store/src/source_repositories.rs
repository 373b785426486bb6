//! The picker's copy of the repositories that links see, so that ten thousand of them are searched without asking a provider.
//!
//! Invariant: rows are what a provider said at `seen_at`, nothing more: no right and no build follows from one.

use slipway_model::{AccountId, LinkId, ProviderId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, time};

/// A repository at a provider, as a link saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Whose eyes.
    pub link: LinkId,
    /// The id that never changes.
    pub remote_id: String,
    /// Of which namespace, by its id.
    pub namespace_id: String,
    /// `owner/name`.
    pub full_name: String,
    /// The default branch.
    pub default_branch: String,
    /// Whether a stranger cannot see it.
    pub private: bool,
    /// Whether it takes no pushes any more.
    pub archived: bool,
    /// Changes whenever something is pushed.
    pub pushed: Option<String>,
    /// When it was seen.
    pub seen_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    link_id: String,
    remote_id: String,
    namespace_id: String,
    full_name: String,
    default_branch: String,
    private: bool,
    archived: bool,
    pushed: Option<String>,
    seen_at: i64,
}

impl Row {
    fn into_source(self) -> Result<SourceRow, StoreError> {
        Ok(SourceRow {
            link: read("source_repositories", &self.link_id)?,
            remote_id: self.remote_id,
            namespace_id: self.namespace_id,
            full_name: self.full_name,
            default_branch: self.default_branch,
            private: self.private,
            archived: self.archived,
            pushed: self.pushed,
            seen_at: time(self.seen_at),
        })
    }
}

/// How names are compared: what is typed and what stands, both in lower case.
#[must_use]
fn search_name(full_name: &str) -> String {
    full_name.to_lowercase()
}

/// Writes a repository as it was seen.
pub async fn upsert(tx: &mut WriteTx, row: &SourceRow) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO source_repositories (link_id, remote_id, namespace_id, full_name, search_name, default_branch, private, archived, pushed, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (link_id, remote_id) DO UPDATE SET namespace_id = excluded.namespace_id, full_name = excluded.full_name,
             search_name = excluded.search_name, default_branch = excluded.default_branch, private = excluded.private,
             archived = excluded.archived, pushed = excluded.pushed, seen_at = excluded.seen_at",
        row.link.to_string(),
        row.remote_id.as_str(),
        row.namespace_id.as_str(),
        row.full_name.as_str(),
        search_name(&row.full_name),
        row.default_branch.as_str(),
        row.private,
        row.archived,
        row.pushed.as_deref(),
        row.seen_at.as_millis(),
    )?;
    Ok(())
}

/// Removes what a sweep of a namespace that began at `began` did not show; gives how many.
pub async fn delete_unseen(tx: &mut WriteTx, link: LinkId, namespace_id: &str, began: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "DELETE FROM source_repositories WHERE link_id = $1 AND namespace_id = $2 AND seen_at < $3",
        link.to_string(),
        namespace_id,
        began.as_millis()
    )?)
}

/// Where is looked for repositories.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// Of whose links.
    pub account: AccountId,
    /// To which provider.
    pub provider: &'a ProviderId,
    /// Only what this link sees.
    pub link: Option<LinkId>,
    /// Only in the namespace of this name.
    pub namespace: Option<&'a str>,
}

/// Repositories whose name holds `text`, by name, after the name `after`; each once, however many links see it.
pub async fn search(
    tx: &mut ReadTx,
    within: Within<'_>,
    text: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<SourceRow>, StoreError> {
    let text = search_name(text.trim());
    let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    fetch_all!(
        Row,
        tx,
        "WITH mine AS (SELECT id FROM links WHERE account_id = $1 AND provider = $2 AND NOT unlinking AND ($3 = '' OR id = $3))
         SELECT s.link_id, s.remote_id, s.namespace_id, s.full_name, s.default_branch, s.private, s.archived, s.pushed, s.seen_at
         FROM source_repositories s
         WHERE s.link_id IN (SELECT id FROM mine) AND s.search_name LIKE $4 ESCAPE '\\' AND s.search_name > $5
           AND ($6 = '' OR s.namespace_id IN (SELECT n.remote_id FROM source_namespaces n WHERE n.link_id = s.link_id AND LOWER(n.name) = $6))
           AND NOT EXISTS (SELECT 1 FROM source_repositories o
                           WHERE o.remote_id = s.remote_id AND o.link_id IN (SELECT id FROM mine) AND o.link_id < s.link_id)
         ORDER BY s.search_name LIMIT $7",
        within.account.to_string(),
        within.provider.as_str(),
        within.link.map_or_else(String::new, |id| id.to_string()),
        pattern,
        after.map_or_else(String::new, search_name),
        within.namespace.map_or_else(String::new, str::to_lowercase),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_source)
    .collect()
}

/// Whether a link saw a repository when it was last swept.
pub async fn contains(tx: &mut ReadTx, link: LinkId, remote_id: &str) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (String,),
        tx,
        "SELECT remote_id FROM source_repositories WHERE link_id = $1 AND remote_id = $2",
        link.to_string(),
        remote_id
    )?;
    Ok(row.is_some())
}

/// How many repositories a link sees.
pub async fn count_by_link(tx: &mut ReadTx, link: LinkId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM source_repositories WHERE link_id = $1", link.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}
