//! What the person behind a link belongs to at the provider, and when its repositories were last listed (a sweep).
//!
//! Invariant: `swept_at` is the end of the last sweep that saw every page; a sweep that failed changes only `sweep_error`.

use slipway_model::{LinkId, NamespaceAccess, ProviderId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// A person, organization or workspace at a provider, as one link sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Whose eyes.
    pub link: LinkId,
    /// The id that never changes.
    pub remote_id: String,
    /// The name today.
    pub name: String,
    /// `user` or `organization`.
    pub kind: String,
    /// Whether it lets us in.
    pub access: NamespaceAccess,
    /// Where that is granted, requested or revoked.
    pub grant_url: Option<String>,
    /// What the access was concluded from, when it is not plain.
    pub note: Option<String>,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// When all of its repositories were last read.
    pub swept_at: Option<Timestamp>,
    /// When they are read next.
    pub next_sweep_at: Timestamp,
    /// Why the last sweep did not come to its end.
    pub sweep_error: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    link_id: String,
    remote_id: String,
    name: String,
    kind: String,
    access: String,
    grant_url: Option<String>,
    note: Option<String>,
    seen_at: i64,
    swept_at: Option<i64>,
    next_sweep_at: i64,
    sweep_error: Option<String>,
}

impl Row {
    fn into_namespace(self) -> Result<Namespace, StoreError> {
        Ok(Namespace {
            link: read("source_namespaces", &self.link_id)?,
            remote_id: self.remote_id,
            name: self.name,
            kind: self.kind,
            access: read("source_namespaces", &self.access)?,
            grant_url: self.grant_url,
            note: self.note,
            seen_at: time(self.seen_at),
            swept_at: self.swept_at.map(time),
            next_sweep_at: time(self.next_sweep_at),
            sweep_error: self.sweep_error,
        })
    }
}

/// What a link sees: the person first, then by name; at most 1,000.
pub async fn list(tx: &mut ReadTx, link: LinkId) -> Result<Vec<Namespace>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM source_namespaces WHERE link_id = $1 ORDER BY CASE WHEN kind = 'user' THEN 0 ELSE 1 END, name LIMIT 1000",
        link.to_string()
    )?
    .into_iter()
    .map(Row::into_namespace)
    .collect()
}

/// Writes what a link sees now; of one that stands already the sweeps stay. One that lets us in since now is swept at once.
pub async fn upsert(tx: &mut WriteTx, namespace: &Namespace) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO source_namespaces (link_id, remote_id, name, kind, access, grant_url, note, seen_at, swept_at, next_sweep_at, sweep_error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9, NULL)
         ON CONFLICT (link_id, remote_id) DO UPDATE SET
             next_sweep_at = CASE WHEN source_namespaces.access <> excluded.access THEN excluded.next_sweep_at ELSE source_namespaces.next_sweep_at END,
             name = excluded.name, kind = excluded.kind, access = excluded.access, grant_url = excluded.grant_url, note = excluded.note,
             seen_at = excluded.seen_at",
        namespace.link.to_string(),
        namespace.remote_id.as_str(),
        namespace.name.as_str(),
        namespace.kind.as_str(),
        namespace.access.as_str(),
        namespace.grant_url.as_deref(),
        namespace.note.as_deref(),
        namespace.seen_at.as_millis(),
        namespace.next_sweep_at.as_millis(),
    )?;
    Ok(())
}

/// Removes a namespace that the person is in no more, with the copy of its repositories.
pub async fn delete(tx: &mut WriteTx, link: LinkId, remote_id: &str) -> Result<(), StoreError> {
    change!(tx, "DELETE FROM source_repositories WHERE link_id = $1 AND namespace_id = $2", link.to_string(), remote_id)?;
    change!(tx, "DELETE FROM source_namespaces WHERE link_id = $1 AND remote_id = $2", link.to_string(), remote_id)?;
    Ok(())
}

/// Takes the namespace that is due to be swept the longest, and makes it due again only at `again_at`. Those of links that may not be used,
/// and those that do not let us in, are never due.
pub async fn claim_sweep(tx: &mut WriteTx, now: Timestamp, again_at: Timestamp) -> Result<Option<Namespace>, StoreError> {
    // The outer condition is looked at again when another replica's claim was waited for: then the row is theirs.
    fetch_optional!(
        Row,
        tx,
        "UPDATE source_namespaces SET next_sweep_at = $1
         WHERE (link_id, remote_id) IN (
             SELECT n.link_id, n.remote_id FROM source_namespaces n JOIN links l ON l.id = n.link_id
             WHERE n.next_sweep_at <= $2 AND n.access IN ('granted', 'unknown')
               AND l.state NOT IN ('disabled', 'revoked', 'suspended') AND NOT l.unlinking
             ORDER BY n.next_sweep_at LIMIT 1)
           AND next_sweep_at <= $2
         RETURNING *",
        again_at.as_millis(),
        now.as_millis(),
    )?
    .map(Row::into_namespace)
    .transpose()
}

/// A sweep saw every page.
pub async fn set_swept(tx: &mut WriteTx, link: LinkId, remote_id: &str, at: Timestamp, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE source_namespaces SET swept_at = $1, sweep_error = NULL, next_sweep_at = $2 WHERE link_id = $3 AND remote_id = $4",
        at.as_millis(),
        next.as_millis(),
        link.to_string(),
        remote_id,
    )?;
    Ok(())
}

/// A sweep did not come to its end: what was read before stays.
pub async fn set_sweep_failed(tx: &mut WriteTx, link: LinkId, remote_id: &str, error: &str, next: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE source_namespaces SET sweep_error = $1, next_sweep_at = $2 WHERE link_id = $3 AND remote_id = $4",
        error,
        next.as_millis(),
        link.to_string(),
        remote_id,
    )?;
    Ok(())
}

/// Nobody could be asked: the sweep waits, and what is said of the last one stays.
pub async fn put_off(tx: &mut WriteTx, link: LinkId, remote_id: &str, until: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE source_namespaces SET next_sweep_at = $1 WHERE link_id = $2 AND remote_id = $3",
        until.as_millis(),
        link.to_string(),
        remote_id,
    )?;
    Ok(())
}

/// Whether another link of anybody here to the provider sees the namespace.
pub async fn is_seen_by_others(tx: &mut ReadTx, provider: &ProviderId, remote_id: &str, link: LinkId) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (String,),
        tx,
        "SELECT n.link_id FROM source_namespaces n JOIN links l ON l.id = n.link_id
         WHERE l.provider = $1 AND n.remote_id = $2 AND l.id <> $3 AND NOT l.unlinking LIMIT 1",
        provider.as_str(),
        remote_id,
        link.to_string(),
    )?;
    Ok(row.is_some())
}

/// A source of this owner is built from now on: its namespace is swept at `at`, unless that comes sooner anyway.
pub async fn sweep_by(tx: &mut WriteTx, link: LinkId, name: &str, at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE source_namespaces SET next_sweep_at = $1 WHERE link_id = $2 AND LOWER(name) = LOWER($3) AND next_sweep_at > $1",
        at.as_millis(),
        link.to_string(),
        name
    )?;
    Ok(())
}

/// All that a link sees is swept again at once.
pub async fn sweep_now(tx: &mut WriteTx, link: LinkId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE source_namespaces SET next_sweep_at = $1 WHERE link_id = $2 AND next_sweep_at > $1",
        now.as_millis(),
        link.to_string()
    )?;
    Ok(())
}
