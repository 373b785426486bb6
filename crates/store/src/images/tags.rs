//! Tags: they name a manifest, and go forward only when builds move them.
//! Deliberately elsewhere: which build may move which tag (`app::promote`); what stands here is that none goes behind a later event.

use std::collections::BTreeSet;

use slipway_model::{AccountId, AutobuildId, BuildId, CACHE_TAG, CommitId, ImageTag, RefName, RepositoryId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, signed, time};

/// Which build put a tag where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagOrigin {
    /// The build.
    pub build: BuildId,
    /// The settings whose log of ref events `ref_seq` counts in.
    pub autobuild: AutobuildId,
    /// The ref that was built.
    pub source_ref: RefName,
    /// The number of the ref event.
    pub ref_seq: u64,
    /// The commit that was built.
    pub commit: CommitId,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: ImageTag,
    /// The manifest it names.
    pub digest: String,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// Which build's image it names, if a build's.
    pub origin: Option<TagOrigin>,
    /// The person who moved it to that image; `None` when the build did.
    pub moved_by: Option<AccountId>,
}

#[derive(sqlx::FromRow)]
struct TagRow {
    name: String,
    digest: String,
    updated_at: i64,
    build_id: Option<String>,
    autobuild_id: Option<String>,
    source_ref: Option<String>,
    ref_seq: Option<i64>,
    commit_id: Option<String>,
    moved_by: Option<String>,
}

impl TagRow {
    fn into_tag(self) -> Result<Tag, StoreError> {
        let (build, autobuild) = (read_opt("tags", self.build_id.as_deref())?, read_opt("tags", self.autobuild_id.as_deref())?);
        let (source_ref, commit) = (read_opt("tags", self.source_ref.as_deref())?, read_opt("tags", self.commit_id.as_deref())?);
        let origin = match (build, autobuild, source_ref, self.ref_seq, commit) {
            (Some(build), Some(autobuild), Some(source_ref), Some(ref_seq), Some(commit)) => {
                Some(TagOrigin { build, autobuild, source_ref, ref_seq: count(ref_seq), commit })
            }
            _ => None,
        };
        let moved_by = read_opt("tags", self.moved_by.as_deref())?;
        Ok(Tag { name: read("tags", &self.name)?, digest: self.digest, updated_at: time(self.updated_at), origin, moved_by })
    }
}

/// A tag by its name.
pub async fn get_tag(tx: &mut ReadTx, repository: RepositoryId, tag: &str) -> Result<Option<Tag>, StoreError> {
    fetch_optional!(
        TagRow,
        tx,
        "SELECT name, digest, updated_at, build_id, autobuild_id, source_ref, ref_seq, commit_id, moved_by FROM tags WHERE repository_id = $1 AND name = $2",
        repository.to_string(),
        tag,
    )?
    .map(TagRow::into_tag)
    .transpose()
}

/// A page of tags in byte order, after `after`, which need not exist. The cache's is none of them.
pub async fn list_tags(tx: &mut ReadTx, repository: RepositoryId, after: Option<&str>, limit: u32) -> Result<Vec<Tag>, StoreError> {
    fetch_all!(
        TagRow,
        tx,
        "SELECT name, digest, updated_at, build_id, autobuild_id, source_ref, ref_seq, commit_id, moved_by FROM tags
         WHERE repository_id = $1 AND name > $2 AND name <> $3 ORDER BY name LIMIT $4",
        repository.to_string(),
        after.unwrap_or(""),
        CACHE_TAG,
        i64::from(limit),
    )?
    .into_iter()
    .map(TagRow::into_tag)
    .collect()
}

/// Lets tags name `digest`, which must be stored. With an origin, a tag that stands on a later event of the same ref stays where it is.
/// Gives the tags that now name `digest` through this call, in the order asked.
///
/// # Errors
/// [`StoreError::Conflict`] (perhaps at commit) when the manifest is not in the repository.
pub async fn move_tags(
    tx: &mut WriteTx,
    repository: RepositoryId,
    tags: &[ImageTag],
    digest: &str,
    origin: Option<&TagOrigin>,
    now: Timestamp,
) -> Result<Vec<ImageTag>, StoreError> {
    let mut moved = BTreeSet::new();
    // In one order for everybody: two builds that move the same tags never wait for each other.
    for tag in tags.iter().collect::<BTreeSet<_>>() {
        let changed = change!(
            tx,
            "INSERT INTO tags (repository_id, name, digest, updated_at, build_id, autobuild_id, source_ref, ref_seq, commit_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (repository_id, name) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at, build_id = excluded.build_id,
                 autobuild_id = excluded.autobuild_id, source_ref = excluded.source_ref, ref_seq = excluded.ref_seq, commit_id = excluded.commit_id,
                 moved_by = NULL
             WHERE excluded.ref_seq IS NULL OR tags.ref_seq IS NULL OR tags.autobuild_id <> excluded.autobuild_id
                 OR tags.source_ref <> excluded.source_ref OR tags.ref_seq <= excluded.ref_seq",
            repository.to_string(),
            tag.as_str(),
            digest,
            now.as_millis(),
            origin.map(|origin| origin.build.to_string()),
            origin.map(|origin| origin.autobuild.to_string()),
            origin.map(|origin| origin.source_ref.as_str().to_owned()),
            origin.map(|origin| signed(origin.ref_seq)),
            origin.map(|origin| origin.commit.as_str().to_owned()),
        )?;
        if changed > 0 {
            moved.insert(tag);
        }
    }
    Ok(tags.iter().filter(|tag| moved.contains(tag)).cloned().collect())
}

/// Lets a tag name the image of a build because a person says so, wherever it stands.
///
/// # Errors
/// As [`move_tags`].
pub async fn point_tag(
    tx: &mut WriteTx,
    repository: RepositoryId,
    tag: &ImageTag,
    digest: &str,
    origin: &TagOrigin,
    by: AccountId,
    now: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO tags (repository_id, name, digest, updated_at, build_id, autobuild_id, source_ref, ref_seq, commit_id, moved_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (repository_id, name) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at, build_id = excluded.build_id,
             autobuild_id = excluded.autobuild_id, source_ref = excluded.source_ref, ref_seq = excluded.ref_seq, commit_id = excluded.commit_id,
             moved_by = excluded.moved_by",
        repository.to_string(),
        tag.as_str(),
        digest,
        now.as_millis(),
        origin.build.to_string(),
        origin.autobuild.to_string(),
        origin.source_ref.as_str(),
        signed(origin.ref_seq),
        origin.commit.as_str(),
        by.to_string(),
    )?;
    Ok(())
}

/// Removes a tag; the manifest stays.
pub async fn delete_tag(tx: &mut WriteTx, repository: RepositoryId, tag: &str) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM tags WHERE repository_id = $1 AND name = $2", repository.to_string(), tag)? > 0)
}
