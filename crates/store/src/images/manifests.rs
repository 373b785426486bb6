//! Manifests with what they need, and the manifests about others.

use slipway_model::{RepositoryId, Timestamp};

use super::Removal;
use crate::{ReadTx, StoreError, WriteTx, count, read, signed, small};

/// Deepest nesting of indexes.
const MAX_DEPTH: u32 = 8;
/// Rows per statement; SQLite and PostgreSQL both bound the number of values.
const CHUNK: usize = 200;

/// What a manifest points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A blob that must be linked.
    Blob,
    /// A blob that may be absent, because its licence forbids to push it.
    OptionalBlob,
    /// A manifest that must be stored.
    Manifest,
    /// Either; it must be there.
    BlobOrManifest,
}

/// One pointer of a manifest.
#[derive(Debug, Clone)]
pub struct NewRef<'a> {
    /// At what.
    pub target: Target,
    /// Its place in the manifest, as a word.
    pub role: &'static str,
    /// Its digest.
    pub digest: &'a str,
    /// Its length as the manifest says.
    pub size: u64,
}

/// A manifest as it is written.
#[derive(Debug)]
pub struct NewManifest<'a> {
    /// Digest of `content`.
    pub digest: &'a str,
    /// How it is served.
    pub media_type: &'a str,
    /// For the referrers list.
    pub artifact_type: Option<&'a str>,
    /// The manifest that it is about.
    pub subject: Option<&'a str>,
    /// Annotations as JSON, kept for manifests with a subject.
    pub annotations: Option<&'a str>,
    /// The bytes as they were received.
    pub content: &'a [u8],
    /// Everything it points at, except the subject.
    pub refs: &'a [NewRef<'a>],
}

/// How storing a manifest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion {
    /// It stands.
    Done,
    /// It needs this, which is not in the repository.
    Missing(String),
    /// It gives a length for this that is not the true one.
    WrongSize(String),
    /// Indexes are nested too deeply.
    TooDeep,
}

/// What of a manifest's children is in the repository.
#[derive(Default)]
struct Present {
    blobs: std::collections::HashMap<String, u64>,
    manifests: std::collections::HashMap<String, (u64, u32)>,
}

/// Stores a manifest with its pointers if everything it needs is in the repository. The same manifest again is fine.
pub async fn insert_manifest(
    tx: &mut WriteTx,
    repository: RepositoryId,
    new: &NewManifest<'_>,
    now: Timestamp,
) -> Result<Insertion, StoreError> {
    let present = find_children(tx, repository, new.refs).await?;
    let mut depth = 1;
    let mut rows = Vec::with_capacity(new.refs.len());
    for (position, target) in (0_u64..).zip(new.refs) {
        let blob = present.blobs.get(target.digest).filter(|_| target.target != Target::Manifest);
        let manifest = present.manifests.get(target.digest).filter(|_| matches!(target.target, Target::Manifest | Target::BlobOrManifest));
        let size = match (manifest, blob) {
            (Some((size, below)), _) => {
                depth = depth.max(below + 1);
                *size
            }
            (None, Some(size)) => *size,
            (None, None) if target.target == Target::OptionalBlob => target.size,
            (None, None) => return Ok(Insertion::Missing(target.digest.to_owned())),
        };
        if size != target.size {
            return Ok(Insertion::WrongSize(target.digest.to_owned()));
        }
        let as_blob = (manifest.is_none() && blob.is_some()).then_some(target.digest);
        rows.push((signed(position), target.role, target.digest, as_blob, manifest.map(|_| target.digest)));
    }
    if depth > MAX_DEPTH {
        return Ok(Insertion::TooDeep);
    }
    if insert_manifest_row(tx, repository, new, depth, now).await? {
        for chunk in rows.chunks(CHUNK) {
            let tx: &mut ReadTx = tx;
            on!(tx, |c| {
                let mut query =
                    sqlx::QueryBuilder::new("INSERT INTO manifest_refs (repository_id, digest, position, role, child, blob, manifest) ");
                query.push_values(chunk, |mut row, (position, role, child, blob, manifest)| {
                    row.push_bind(repository.to_string()).push_bind(new.digest).push_bind(*position).push_bind(*role);
                    row.push_bind(*child).push_bind(*blob).push_bind(*manifest);
                });
                query.build().execute(c).await.map(|_| ())
            })?;
        }
    }
    Ok(Insertion::Done)
}

/// Whether the row is new.
async fn insert_manifest_row(
    tx: &mut WriteTx,
    repository: RepositoryId,
    new: &NewManifest<'_>,
    depth: u32,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let added = change!(
        tx,
        "INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, annotations, depth, size, content, pushed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (repository_id, digest) DO NOTHING",
        repository.to_string(),
        new.digest,
        new.media_type,
        new.artifact_type,
        new.subject,
        new.annotations,
        i64::from(depth),
        signed(new.content.len() as u64),
        new.content,
        now.as_millis(),
    )?;
    Ok(added > 0)
}

async fn find_children(tx: &mut ReadTx, repository: RepositoryId, refs: &[NewRef<'_>]) -> Result<Present, StoreError> {
    let mut present = Present::default();
    for chunk in refs.chunks(CHUNK) {
        let blobs: Vec<(String, i64)> = on!(tx, |c| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT l.digest, b.size FROM repository_blobs l JOIN blobs b ON b.digest = l.digest WHERE l.repository_id = ",
            );
            query.push_bind(repository.to_string()).push(" AND l.digest IN (");
            let mut list = query.separated(", ");
            for target in chunk {
                list.push_bind(target.digest);
            }
            query.push(")");
            query.build_query_as().fetch_all(c).await
        })?;
        present.blobs.extend(blobs.into_iter().map(|(digest, size)| (digest, count(size))));
        if chunk.iter().all(|target| matches!(target.target, Target::Blob | Target::OptionalBlob)) {
            continue;
        }
        let manifests: Vec<(String, i64, i64)> = on!(tx, |c| {
            let mut query = sqlx::QueryBuilder::new("SELECT digest, size, depth FROM manifests WHERE repository_id = ");
            query.push_bind(repository.to_string()).push(" AND digest IN (");
            let mut list = query.separated(", ");
            for target in chunk {
                list.push_bind(target.digest);
            }
            query.push(")");
            query.build_query_as().fetch_all(c).await
        })?;
        present.manifests.extend(manifests.into_iter().map(|(digest, size, depth)| (digest, (count(size), small(depth)))));
    }
    Ok(present)
}

/// A stored manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Digest of `content`.
    pub digest: String,
    /// How it is served.
    pub media_type: String,
    /// The bytes as they were received.
    pub content: Vec<u8>,
}

/// A manifest of this repository by its digest.
pub async fn get_manifest(tx: &mut ReadTx, repository: RepositoryId, digest: &str) -> Result<Option<Manifest>, StoreError> {
    let row = fetch_optional!(
        (String, String, Vec<u8>),
        tx,
        "SELECT digest, media_type, content FROM manifests WHERE repository_id = $1 AND digest = $2",
        repository.to_string(),
        digest,
    )?;
    Ok(row.map(|(digest, media_type, content)| Manifest { digest, media_type, content }))
}

/// The manifest that a tag of this repository names, in one query: the tag cannot move in between.
pub async fn get_manifest_by_tag(tx: &mut ReadTx, repository: RepositoryId, tag: &str) -> Result<Option<Manifest>, StoreError> {
    let row = fetch_optional!(
        (String, String, Vec<u8>),
        tx,
        "SELECT m.digest, m.media_type, m.content FROM tags t JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest
         WHERE t.repository_id = $1 AND t.name = $2",
        repository.to_string(),
        tag,
    )?;
    Ok(row.map(|(digest, media_type, content)| Manifest { digest, media_type, content }))
}

/// Whether the repository holds this manifest, and so everything that it needs.
pub async fn manifest_exists(tx: &mut ReadTx, repository: RepositoryId, digest: &str) -> Result<bool, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT depth FROM manifests WHERE repository_id = $1 AND digest = $2",
        repository.to_string(),
        digest
    )?;
    Ok(row.is_some())
}

/// A page of all manifests, after `after` (repository and digest as text); for `fsck`. Small pages: each carries its content.
pub async fn list_manifests(
    tx: &mut ReadTx,
    after: Option<(RepositoryId, &str)>,
    limit: u32,
) -> Result<Vec<(RepositoryId, Manifest)>, StoreError> {
    let (repository, digest) = after.map_or((String::new(), ""), |(repository, digest)| (repository.to_string(), digest));
    let rows = fetch_all!(
        (String, String, String, Vec<u8>),
        tx,
        "SELECT repository_id, digest, media_type, content FROM manifests
         WHERE repository_id > $1 OR (repository_id = $1 AND digest > $2) ORDER BY repository_id, digest LIMIT $3",
        repository,
        digest,
        i64::from(limit),
    )?;
    let manifest = |(repository, digest, media_type, content): (String, _, _, _)| {
        Ok((read("manifests", &repository)?, Manifest { digest, media_type, content }))
    };
    rows.into_iter().map(manifest).collect()
}

/// Removes a manifest and every tag on it. Its blobs stay linked.
pub async fn delete_manifest(tx: &mut WriteTx, repository: RepositoryId, digest: &str) -> Result<Removal, StoreError> {
    let needed = fetch_optional!(
        (i64,),
        tx,
        "SELECT position FROM manifest_refs WHERE repository_id = $1 AND manifest = $2 LIMIT 1",
        repository.to_string(),
        digest,
    )?;
    if needed.is_some() {
        return Ok(Removal::InUse);
    }
    let gone = change!(tx, "DELETE FROM manifests WHERE repository_id = $1 AND digest = $2", repository.to_string(), digest)?;
    Ok(if gone > 0 { Removal::Done } else { Removal::Unknown })
}

/// A manifest about another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Its length.
    pub size: u64,
    /// What kind of artifact it is.
    pub artifact_type: Option<String>,
    /// Its annotations as JSON.
    pub annotations: Option<String>,
}

/// A page of the manifests about `subject`, by digest, after `after`.
pub async fn list_referrers(
    tx: &mut ReadTx,
    repository: RepositoryId,
    subject: &str,
    artifact_type: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Referrer>, StoreError> {
    let rows = fetch_all!(
        (String, String, i64, Option<String>, Option<String>),
        tx,
        "SELECT digest, media_type, size, artifact_type, annotations FROM manifests
         WHERE repository_id = $1 AND subject = $2 AND digest > $3 AND (CAST($4 AS TEXT) IS NULL OR artifact_type = $4) ORDER BY digest LIMIT $5",
        repository.to_string(),
        subject,
        after.unwrap_or(""),
        artifact_type,
        i64::from(limit),
    )?;
    let referrer = |(digest, media_type, size, artifact_type, annotations)| Referrer {
        digest,
        media_type,
        size: count(size),
        artifact_type,
        annotations,
    };
    Ok(rows.into_iter().map(referrer).collect())
}
