//! Uploads under way: who may continue them, and until when. How far they are is told by the staged bytes.

use slipway_model::{RepositoryId, Timestamp, UploadId};

use crate::{ReadTx, StoreError, WriteTx, read};

/// Begins an upload, unless the owner has `limit` open ones.
pub async fn insert_upload(
    tx: &mut WriteTx,
    repository: RepositoryId,
    owner: &str,
    limit: u32,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Option<UploadId>, StoreError> {
    let open = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM uploads WHERE owner = $1 AND expires_at > $2", owner, now.as_millis())?;
    if open.is_some_and(|(open,)| open >= i64::from(limit)) {
        return Ok(None);
    }
    let id = UploadId::new();
    change!(
        tx,
        "INSERT INTO uploads (id, repository_id, owner, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        id.to_string(),
        repository.to_string(),
        owner,
        now.as_millis(),
        expires_at.as_millis(),
    )?;
    Ok(Some(id))
}

/// Whether this upload is open, of this repository and of this owner. Whoever asks for another's learns nothing.
pub async fn upload_exists(
    tx: &mut ReadTx,
    id: UploadId,
    repository: RepositoryId,
    owner: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT created_at FROM uploads WHERE id = $1 AND repository_id = $2 AND owner = $3 AND expires_at > $4",
        id.to_string(),
        repository.to_string(),
        owner,
        now.as_millis(),
    )?;
    Ok(row.is_some())
}

/// Ends an upload.
pub async fn delete_upload(tx: &mut WriteTx, id: UploadId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM uploads WHERE id = $1", id.to_string())? > 0)
}

/// Ends uploads that have expired and gives at most `limit` of them; their bytes are dropped after the commit.
pub async fn delete_expired_uploads(tx: &mut WriteTx, now: Timestamp, limit: u32) -> Result<Vec<UploadId>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING id",
        now.as_millis(),
        i64::from(limit),
    )?;
    rows.iter().map(|(id,)| read("uploads", id)).collect()
}

/// Whether an upload has a row. Staged bytes without one are left over from a crash.
pub async fn known_upload(tx: &mut ReadTx, id: UploadId) -> Result<bool, StoreError> {
    Ok(fetch_optional!((i64,), tx, "SELECT created_at FROM uploads WHERE id = $1", id.to_string())?.is_some())
}
