//! Blobs and their links to repositories. Here are rows only; the bytes are `blobs`'s business.

use slipway_model::{RepositoryId, Timestamp};

use super::Removal;
use crate::{ReadTx, StoreError, WriteTx, count, signed};

/// A blob that is visible in some repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Which physical copy is current.
    pub generation: String,
    /// Its length.
    pub size: u64,
}

/// The blob of this digest in this repository.
pub async fn get_blob(tx: &mut ReadTx, repository: RepositoryId, digest: &str) -> Result<Option<Blob>, StoreError> {
    let row = fetch_optional!(
        (String, i64),
        tx,
        "SELECT b.generation, b.size FROM repository_blobs l JOIN blobs b ON b.digest = l.digest WHERE l.repository_id = $1 AND l.digest = $2",
        repository.to_string(),
        digest,
    )?;
    Ok(row.map(|(generation, size)| Blob { generation, size: count(size) }))
}

/// Records a copy that was just stored durably and links it to the repository. It becomes the current copy: it was verified a
/// moment ago, the one before perhaps long ago. Gives the generation that it replaces, which the caller removes after the commit.
pub async fn put_blob(
    tx: &mut WriteTx,
    repository: RepositoryId,
    digest: &str,
    blob: &Blob,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let added = change!(
        tx,
        "INSERT INTO blobs (digest, generation, size, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING",
        digest,
        blob.generation.as_str(),
        signed(blob.size),
        now.as_millis(),
    )?;
    let before = if added > 0 { None } else { replace_copy(tx, digest, blob).await? };
    link_blob(tx, repository, digest, now).await?;
    Ok(before.map(|(generation,)| generation).filter(|before| *before != blob.generation))
}

/// Two pushers of one blob replace one copy each: the second waits until it sees the copy of the first, or that one's bytes would
/// stay for ever.
async fn replace_copy(tx: &mut WriteTx, digest: &str, blob: &Blob) -> Result<Option<(String,)>, StoreError> {
    let sql = if tx.is_postgres() {
        "SELECT generation FROM blobs WHERE digest = $1 FOR NO KEY UPDATE"
    } else {
        "SELECT generation FROM blobs WHERE digest = $1"
    };
    let before = fetch_optional!((String,), tx, sql, digest)?;
    change!(tx, "UPDATE blobs SET generation = $1, size = $2 WHERE digest = $3", blob.generation.as_str(), signed(blob.size), digest)?;
    Ok(before)
}

/// Makes a blob that exists visible in a repository. The caller has checked that whoever asks may read it where it is.
pub async fn link_blob(tx: &mut WriteTx, repository: RepositoryId, digest: &str, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO repository_blobs (repository_id, digest, linked_at) VALUES ($1, $2, $3) ON CONFLICT (repository_id, digest) DO NOTHING",
        repository.to_string(),
        digest,
        now.as_millis(),
    )?;
    Ok(())
}

/// Takes a blob out of a repository. Its bytes stay for others, and for garbage collection.
pub async fn unlink_blob(tx: &mut WriteTx, repository: RepositoryId, digest: &str) -> Result<Removal, StoreError> {
    let needed = fetch_optional!(
        (i64,),
        tx,
        "SELECT position FROM manifest_refs WHERE repository_id = $1 AND blob = $2 LIMIT 1",
        repository.to_string(),
        digest
    )?;
    if needed.is_some() {
        return Ok(Removal::InUse);
    }
    let gone = change!(tx, "DELETE FROM repository_blobs WHERE repository_id = $1 AND digest = $2", repository.to_string(), digest)?;
    Ok(if gone > 0 { Removal::Done } else { Removal::Unknown })
}

/// A blob row, for the check of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// Its digest.
    pub digest: String,
    /// The current copy.
    pub blob: Blob,
}

/// A page of all blobs by digest, after `after`; for `fsck`.
pub async fn list_blobs(tx: &mut ReadTx, after: Option<&str>, limit: u32) -> Result<Vec<BlobRow>, StoreError> {
    let rows = fetch_all!(
        (String, String, i64),
        tx,
        "SELECT digest, generation, size FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2",
        after.unwrap_or(""),
        i64::from(limit),
    )?;
    Ok(rows.into_iter().map(|(digest, generation, size)| BlobRow { digest, blob: Blob { generation, size: count(size) } }).collect())
}
