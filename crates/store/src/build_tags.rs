//! Tags that a build pushed to its own repository with its own credential: noted here until the build has ended well.
//!
//! The invariant: only the attempt that runs notes any, and a bounded number of them. Deliberately elsewhere: when they move (`app::promote`).

use slipway_model::{BuildId, ImageTag};

use crate::{ReadTx, StoreError, WriteTx, read};

/// More than any build needs; each is looked at when the build ends.
pub const MOST_TAGS: u32 = 100;

/// Notes that an attempt pushed a manifest by a tag; the last push of a tag counts. `false` when the attempt does not run (any more), or has
/// noted [`MOST_TAGS`] others.
pub async fn note(tx: &mut WriteTx, build: BuildId, attempt: u32, tag: &ImageTag, digest: &str) -> Result<bool, StoreError> {
    let noted = change!(
        tx,
        "INSERT INTO build_tags (build_id, attempt, tag, digest)
         SELECT b.id, b.attempt, $3, $4 FROM builds b
         WHERE b.id = $1 AND b.attempt = $2 AND b.state = 'running'
             AND (SELECT COUNT(*) FROM build_tags t WHERE t.build_id = b.id AND t.attempt = b.attempt AND t.tag <> $3) < $5
         ON CONFLICT (build_id, attempt, tag) DO UPDATE SET digest = excluded.digest",
        build.to_string(),
        i64::from(attempt),
        tag.as_str(),
        digest,
        i64::from(MOST_TAGS),
    )?;
    Ok(noted > 0)
}

/// Tags that an attempt pushed, each with the digest of what it pushed last by it, in byte order.
pub async fn list(tx: &mut ReadTx, build: BuildId, attempt: u32) -> Result<Vec<(ImageTag, String)>, StoreError> {
    let rows = fetch_all!(
        (String, String),
        tx,
        "SELECT tag, digest FROM build_tags WHERE build_id = $1 AND attempt = $2 ORDER BY tag LIMIT $3",
        build.to_string(),
        i64::from(attempt),
        i64::from(MOST_TAGS),
    )?;
    rows.into_iter().map(|(tag, digest)| Ok((read("build_tags", &tag)?, digest))).collect()
}
