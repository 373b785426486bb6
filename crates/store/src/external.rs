//! Repositories of other registries that images go to as well, and what of them still waits to go.
//!
//! Invariants: a tag's wish is written in the transaction that moves the tag here; one tag is in one sender's hands at a time, known by the
//! number of its claim, which is drawn and never comes again: who was to send a tag elsewhere, before the address was changed or the
//! repository removed, ends nothing here; what is newer takes the place of what waits, so nothing older ever follows something newer.
//! Deliberately elsewhere: the sending (`registry`), and what a failure means (`app`).

use slipway_model::{BuildId, ExternalRepository, ImageTag, RepositoryId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, signed, time};

/// As many tags of one build are told of; a rule gives far fewer.
const TAGS_OF_A_BUILD: u32 = 100;

/// Where the images of a repository go besides here.
#[derive(Debug, Clone)]
pub struct External {
    /// The repository here.
    pub repository: RepositoryId,
    /// The one there.
    pub address: ExternalRepository,
    /// Who signs in; empty where nobody has to.
    pub username: String,
    /// Sealed for the row.
    pub password_sealed: Vec<u8>,
    /// When it was checked and saved.
    pub saved_at: Timestamp,
}

/// What a tag is, or shall be, in the external repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalTag {
    /// The repository here.
    pub repository: RepositoryId,
    /// The tag.
    pub tag: ImageTag,
    /// The manifest that it names.
    pub digest: String,
    /// Whose image that is; `None` when the build was deleted.
    pub build: Option<BuildId>,
    /// When it is to be tried; `None` when nothing waits.
    pub due_at: Option<Timestamp>,
    /// Since when it is to go out.
    pub since: Timestamp,
    /// How often it was tried without success.
    pub tries: u64,
    /// Why it is not there.
    pub error: Option<String>,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    version: u64,
    claim: u64,
}

#[derive(sqlx::FromRow)]
struct Row {
    repository_id: String,
    tag: String,
    digest: String,
    build_id: Option<String>,
    version: i64,
    due_at: Option<i64>,
    since: i64,
    claims: i64,
    tries: i64,
    error: Option<String>,
    delivered_at: Option<i64>,
}

impl Row {
    fn into_tag(self) -> Result<ExternalTag, StoreError> {
        const T: &str = "external_tags";
        Ok(ExternalTag {
            repository: read(T, &self.repository_id)?,
            tag: read(T, &self.tag)?,
            digest: self.digest,
            build: read_opt(T, self.build_id.as_deref())?,
            due_at: self.due_at.map(time),
            since: time(self.since),
            tries: count(self.tries),
            error: self.error,
            delivered_at: self.delivered_at.map(time),
            version: count(self.version),
            claim: count(self.claims),
        })
    }
}

/// Where the images of a repository go besides here.
pub async fn get(tx: &mut ReadTx, repository: RepositoryId) -> Result<Option<External>, StoreError> {
    let row = fetch_optional!(
        (String, String, Vec<u8>, i64),
        tx,
        "SELECT address, username, password_sealed, saved_at FROM external_repositories WHERE repository_id = $1",
        repository.to_string()
    )?;
    let external = |(address, username, password_sealed, saved_at): (String, _, _, _)| {
        let address = read("external_repositories", &address)?;
        Ok(External { repository, address, username, password_sealed, saved_at: time(saved_at) })
    };
    row.map(external).transpose()
}

/// Saves where they go. At another address nothing is known of what was sent to the one before; at the same one, whatever waits or was
/// refused is due now.
pub async fn put(tx: &mut WriteTx, external: &External) -> Result<(), StoreError> {
    let (repository, address) = (external.repository.to_string(), external.address.to_string());
    let now = external.saved_at.as_millis();
    change!(
        tx,
        "DELETE FROM external_tags WHERE repository_id = $1
         AND EXISTS (SELECT 1 FROM external_repositories e WHERE e.repository_id = $1 AND e.address <> $2)",
        repository.as_str(),
        address.as_str(),
    )?;
    change!(
        tx,
        "INSERT INTO external_repositories (repository_id, address, username, password_sealed, saved_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (repository_id) DO UPDATE SET address = excluded.address, username = excluded.username,
             password_sealed = excluded.password_sealed, saved_at = excluded.saved_at",
        repository.as_str(),
        address.as_str(),
        external.username.as_str(),
        external.password_sealed.as_slice(),
        now,
    )?;
    change!(
        tx,
        "UPDATE external_tags SET version = version + 1, due_at = $1, since = $1, tries = 0, error = NULL
         WHERE repository_id = $2 AND delivered_at IS NULL",
        now,
        repository.as_str(),
    )?;
    Ok(())
}

/// Nothing goes out any more; what is out stays.
pub async fn delete(tx: &mut WriteTx, repository: RepositoryId) -> Result<bool, StoreError> {
    Ok(change!(tx, "DELETE FROM external_repositories WHERE repository_id = $1", repository.to_string())? > 0)
}

/// Tags were moved here, and are to be moved there: in the place of what they were to be before. Nothing without an external repository.
pub async fn want(
    tx: &mut WriteTx,
    repository: RepositoryId,
    tags: &[ImageTag],
    digest: &str,
    build: BuildId,
    now: Timestamp,
) -> Result<(), StoreError> {
    // In one order for everybody, as the tags themselves.
    for tag in tags.iter().collect::<std::collections::BTreeSet<_>>() {
        change!(
            tx,
            "INSERT INTO external_tags (repository_id, tag, digest, build_id, version, due_at, since, claims, tries)
             SELECT repository_id, $2, $3, $4, 1, $5, $5, 0, 0 FROM external_repositories WHERE repository_id = $1
             ON CONFLICT (repository_id, tag) DO UPDATE SET digest = excluded.digest, build_id = excluded.build_id,
                 version = external_tags.version + 1, due_at = excluded.due_at, since = excluded.since, tries = 0, error = NULL,
                 delivered_at = NULL",
            repository.to_string(),
            tag.as_str(),
            digest,
            build.to_string(),
            now.as_millis(),
        )?;
    }
    Ok(())
}

/// One tag.
pub async fn get_tag(tx: &mut ReadTx, repository: RepositoryId, tag: &str) -> Result<Option<ExternalTag>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM external_tags WHERE repository_id = $1 AND tag = $2", repository.to_string(), tag)?
        .map(Row::into_tag)
        .transpose()
}

/// The tags that name, or shall name, the image of a build, in byte order.
pub async fn list_of_build(tx: &mut ReadTx, build: BuildId) -> Result<Vec<ExternalTag>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT * FROM external_tags WHERE build_id = $1 ORDER BY tag LIMIT $2",
        build.to_string(),
        i64::from(TAGS_OF_A_BUILD)
    )?
    .into_iter()
    .map(Row::into_tag)
    .collect()
}

/// Takes the tag that is due the longest and that nobody sends, of a repository that nobody sends for: its tags share their layers.
pub async fn claim(tx: &mut WriteTx, now: Timestamp, lease_until: Timestamp) -> Result<Option<ExternalTag>, StoreError> {
    // Drawn, not counted: rows go with their address, and a count would begin anew with the numbers of those before.
    let number = rand::random_range(1..=i64::MAX);
    // As with builds: on PostgreSQL two claimers take two rows and do not wait for each other.
    let sql = if tx.is_postgres() {
        "UPDATE external_tags SET lease_until = $1, claims = $3
         WHERE (repository_id, tag) = (SELECT t.repository_id, t.tag FROM external_tags t
             WHERE t.due_at <= $2 AND (t.lease_until IS NULL OR t.lease_until <= $2)
               AND NOT EXISTS (SELECT 1 FROM external_tags o WHERE o.repository_id = t.repository_id AND o.lease_until > $2)
             ORDER BY t.due_at, t.repository_id, t.tag LIMIT 1 FOR UPDATE OF t SKIP LOCKED) RETURNING *"
    } else {
        "UPDATE external_tags SET lease_until = $1, claims = $3
         WHERE (repository_id, tag) = (SELECT t.repository_id, t.tag FROM external_tags t
             WHERE t.due_at <= $2 AND (t.lease_until IS NULL OR t.lease_until <= $2)
               AND NOT EXISTS (SELECT 1 FROM external_tags o WHERE o.repository_id = t.repository_id AND o.lease_until > $2)
             ORDER BY t.due_at, t.repository_id, t.tag LIMIT 1) RETURNING *"
    };
    fetch_optional!(Row, tx, sql, lease_until.as_millis(), now.as_millis(), number)?.map(Row::into_tag).transpose()
}

/// Goes on sending; false when it was taken by another sender, or when something else is to go out instead.
pub async fn hold(tx: &mut WriteTx, tag: &ExternalTag, lease_until: Timestamp) -> Result<bool, StoreError> {
    let held = change!(
        tx,
        "UPDATE external_tags SET lease_until = $1
         WHERE repository_id = $2 AND tag = $3 AND version = $4 AND claims = $5 AND lease_until IS NOT NULL",
        lease_until.as_millis(),
        tag.repository.to_string(),
        tag.tag.as_str(),
        signed(tag.version),
        signed(tag.claim),
    )?;
    Ok(held > 0)
}

/// The sender stops without a result; whoever is next may begin at once.
pub async fn release(tx: &mut WriteTx, tag: &ExternalTag) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE external_tags SET lease_until = NULL WHERE repository_id = $1 AND tag = $2 AND claims = $3",
        tag.repository.to_string(),
        tag.tag.as_str(),
        signed(tag.claim),
    )?;
    Ok(())
}

/// It arrived.
pub async fn set_delivered(tx: &mut WriteTx, tag: &ExternalTag, now: Timestamp) -> Result<(), StoreError> {
    settle(tx, tag, None, None, Some(now)).await
}

/// It was tried in vain, and is due again then.
pub async fn set_failed(tx: &mut WriteTx, tag: &ExternalTag, error: &str, again_at: Timestamp) -> Result<(), StoreError> {
    settle(tx, tag, Some(again_at), Some(error), None).await
}

/// It will not be taken, because of this.
pub async fn set_refused(tx: &mut WriteTx, tag: &ExternalTag, error: &str) -> Result<(), StoreError> {
    settle(tx, tag, None, Some(error), None).await
}

/// Ends the sender's turn. When something else is to go out meanwhile, that is due, and nothing else is noted.
async fn settle(
    tx: &mut WriteTx,
    tag: &ExternalTag,
    due_at: Option<Timestamp>,
    error: Option<&str>,
    delivered_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE external_tags SET lease_until = NULL,
                due_at = CASE WHEN version = $1 THEN $2 ELSE due_at END,
                error = CASE WHEN version = $1 THEN $3 ELSE error END,
                delivered_at = CASE WHEN version = $1 THEN $4 ELSE delivered_at END,
                tries = CASE WHEN version = $1 THEN tries + 1 ELSE tries END
         WHERE repository_id = $5 AND tag = $6 AND claims = $7",
        signed(tag.version),
        due_at.map(Timestamp::as_millis),
        error,
        delivered_at.map(Timestamp::as_millis),
        tag.repository.to_string(),
        tag.tag.as_str(),
        signed(tag.claim),
    )?;
    Ok(())
}

/// Somebody wants it tried now; false when nothing of that name waits or was refused.
pub async fn try_again(tx: &mut WriteTx, repository: RepositoryId, tag: &str, now: Timestamp) -> Result<bool, StoreError> {
    let due = change!(
        tx,
        "UPDATE external_tags SET due_at = $1, since = $1, tries = 0 WHERE repository_id = $2 AND tag = $3 AND delivered_at IS NULL",
        now.as_millis(),
        repository.to_string(),
        tag,
    )?;
    Ok(due > 0)
}
