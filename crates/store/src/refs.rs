//! The log of every ref, and where each ref stood last.
//!
//! Invariants: an event is never changed after it was written, and its number within the ref is never given twice. An event *in order*
//! (told by a delivery or found by the reconciler, with neither [`LogEntry::place`] nor [`LogEntry::covered_by`]) moves the ref's head in
//! the same transaction; no other event does.
//! Deliberately elsewhere: the decision which of these an event is (`app::history`).

use slipway_model::{AutobuildId, CommitId, DeliveryId, RefEventId, RefName, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, signed, time};

/// One change of one ref, however it was learned.
#[derive(Debug)]
pub struct NewRefEvent<'a> {
    /// Of which source.
    pub autobuild: AutobuildId,
    /// Which ref.
    pub name: &'a RefName,
    /// Where it stood.
    pub before: Option<&'a CommitId>,
    /// Where it stands; `None` when it was deleted.
    pub after: Option<&'a CommitId>,
    /// How it was learned.
    pub origin: Origin,
    /// The delivery that told of it, or the reconciler's entry beside them.
    pub delivery: Option<DeliveryId>,
    /// Where it belongs in the history of the ref, when that is not here.
    pub place: Option<u64>,
    /// The reconciler's event that had found it before.
    pub covered_by: Option<RefEventId>,
    /// Whether it does not continue from where the ref was known to stand.
    pub skips: bool,
}

/// How a change of a ref was learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The provider told it.
    Delivery,
    /// The reconciler found it.
    Reconcile,
    /// A person wants a delivery decided again.
    Replay,
    /// A person or a trigger started a build.
    Manual,
    /// A person wants a build once more.
    Retry,
    /// A person moved a tag to the image of an older build.
    RollBack,
    /// The provider told what happened to a pull request: where it stands is no head of the source.
    PullRequest,
}

impl Origin {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Reconcile => "reconcile",
            Self::Replay => "replay",
            Self::Manual => "manual",
            Self::Retry => "retry",
            Self::RollBack => "roll_back",
            Self::PullRequest => "pull_request",
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Delivery, Self::Reconcile, Self::Replay, Self::Manual, Self::Retry, Self::RollBack, Self::PullRequest]
            .into_iter()
            .find(|origin| origin.as_str() == text)
            .ok_or(())
    }
}

/// Lets nobody else append to the logs of a source until the transaction ends: what is read after this stays so.
pub async fn lock(tx: &mut WriteTx, autobuild: AutobuildId) -> Result<(), StoreError> {
    if tx.is_postgres() {
        // Two pushes at once: the second waits here and then sees the number of the first. SQLite has one writer anyway.
        fetch_optional!((String,), tx, "SELECT id FROM autobuilds WHERE id = $1 FOR NO KEY UPDATE", autobuild.to_string())?;
    }
    Ok(())
}

/// Appends to the ref's log, and moves the ref's head when the event is in order; gives the event's id and its number within the ref.
pub async fn insert(tx: &mut WriteTx, event: &NewRefEvent<'_>, now: Timestamp) -> Result<(RefEventId, u64), StoreError> {
    let id = RefEventId::new();
    lock(tx, event.autobuild).await?;
    let seq = last_seq(tx, event.autobuild, event.name).await? + 1;
    change!(
        tx,
        "INSERT INTO ref_events (id, autobuild_id, ref, seq, before_id, after_id, origin, delivery_id, created_at, covered_by, place, skips)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        id.to_string(),
        event.autobuild.to_string(),
        event.name.as_str(),
        signed(seq),
        event.before.map(CommitId::as_str),
        event.after.map(CommitId::as_str),
        event.origin.as_str(),
        event.delivery.map(|id| id.to_string()),
        now.as_millis(),
        event.covered_by.map(|id| id.to_string()),
        event.place.map(signed),
        event.skips,
    )?;
    let in_order = event.place.is_none() && event.covered_by.is_none();
    if in_order && matches!(event.origin, Origin::Delivery | Origin::Reconcile) {
        set_head(tx, event.autobuild, event.name, event.after, now).await?;
    }
    Ok((id, seq))
}

/// The number of the newest event of a ref; 0 when there is none.
pub async fn last_seq(tx: &mut ReadTx, autobuild: AutobuildId, name: &RefName) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT COALESCE(MAX(seq), 0) FROM ref_events WHERE autobuild_id = $1 AND ref = $2",
        autobuild.to_string(),
        name.as_str(),
    )?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// An event of a ref's log that was told by a delivery or found by the reconciler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Identity.
    pub id: RefEventId,
    /// Its number within the ref.
    pub seq: u64,
    /// Where the ref stood.
    pub before: Option<CommitId>,
    /// Where it went.
    pub after: Option<CommitId>,
    /// How it was learned.
    pub origin: Origin,
    /// When it was written.
    pub at: Timestamp,
    /// The reconciler's event that had found it before.
    pub covered_by: Option<RefEventId>,
    /// Where it belongs in the history of the ref, when that is not where it was told.
    pub place: Option<u64>,
    /// Whether it does not continue from where the ref was known to stand: what happened in between was not told, or not yet.
    pub skips: bool,
}

#[derive(sqlx::FromRow)]
struct LogRow {
    id: String,
    seq: i64,
    before_id: Option<String>,
    after_id: Option<String>,
    origin: String,
    created_at: i64,
    covered_by: Option<String>,
    place: Option<i64>,
    skips: bool,
}

impl LogRow {
    fn into_entry(self) -> Result<LogEntry, StoreError> {
        const T: &str = "ref_events";
        Ok(LogEntry {
            id: read(T, &self.id)?,
            seq: count(self.seq),
            before: read_opt(T, self.before_id.as_deref())?,
            after: read_opt(T, self.after_id.as_deref())?,
            origin: read(T, &self.origin)?,
            at: time(self.created_at),
            covered_by: read_opt(T, self.covered_by.as_deref())?,
            place: self.place.map(count),
            skips: self.skips,
        })
    }
}

/// The newest events of a ref that deliveries told or the reconciler found, oldest first.
pub async fn log(tx: &mut ReadTx, autobuild: AutobuildId, name: &RefName, limit: u32) -> Result<Vec<LogEntry>, StoreError> {
    let mut rows = fetch_all!(
        LogRow,
        tx,
        "SELECT id, seq, before_id, after_id, origin, created_at, covered_by, place, skips FROM ref_events
         WHERE autobuild_id = $1 AND ref = $2 AND origin IN ('delivery', 'reconcile') ORDER BY seq DESC LIMIT $3",
        autobuild.to_string(),
        name.as_str(),
        i64::from(limit),
    )?;
    rows.reverse();
    rows.into_iter().map(LogRow::into_entry).collect()
}

/// What a delivery's own event of a ref says of its place in the ref's history: a replay keeps it.
pub async fn place_of_delivery(
    tx: &mut ReadTx,
    delivery: DeliveryId,
    autobuild: AutobuildId,
    name: &RefName,
) -> Result<Option<u64>, StoreError> {
    let row = fetch_optional!(
        (Option<i64>,),
        tx,
        "SELECT MIN(COALESCE(place, seq)) FROM ref_events WHERE delivery_id = $1 AND autobuild_id = $2 AND ref = $3 AND origin = 'delivery'",
        delivery.to_string(),
        autobuild.to_string(),
        name.as_str(),
    )?;
    Ok(row.and_then(|(place,)| place).map(count))
}

/// The place in a ref's history of the last push that led to a commit; `None` when none is known.
pub async fn place_of_commit(
    tx: &mut ReadTx,
    autobuild: AutobuildId,
    name: &RefName,
    commit: &CommitId,
) -> Result<Option<u64>, StoreError> {
    let row = fetch_optional!(
        (Option<i64>,),
        tx,
        "SELECT MAX(COALESCE(place, seq)) FROM ref_events
         WHERE autobuild_id = $1 AND ref = $2 AND after_id = $3 AND origin IN ('delivery', 'reconcile')",
        autobuild.to_string(),
        name.as_str(),
        commit.as_str(),
    )?;
    Ok(row.and_then(|(place,)| place).map(count))
}

/// Where the refs that a delivery told of stood and went, in order; at most 1,000.
pub async fn list_of_delivery(
    tx: &mut ReadTx,
    delivery: DeliveryId,
) -> Result<Vec<(RefName, Option<CommitId>, Option<CommitId>)>, StoreError> {
    const T: &str = "ref_events";
    let rows = fetch_all!(
        (String, Option<String>, Option<String>),
        tx,
        "SELECT ref, before_id, after_id FROM ref_events WHERE delivery_id = $1 AND origin IN ('delivery', 'reconcile', 'pull_request')
         ORDER BY id LIMIT 1000",
        delivery.to_string(),
    )?;
    rows.into_iter()
        .map(|(name, before, after)| Ok((read(T, &name)?, read_opt(T, before.as_deref())?, read_opt(T, after.as_deref())?)))
        .collect()
}

/// Where a ref stands, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: CommitId,
    /// When that was told or seen first.
    pub seen_at: Timestamp,
}

/// Where a ref stands; `None` when it does not exist, or was never told of.
pub async fn head(tx: &mut ReadTx, autobuild: AutobuildId, name: &RefName) -> Result<Option<Head>, StoreError> {
    let row = fetch_optional!(
        (String, i64),
        tx,
        "SELECT commit_id, seen_at FROM ref_heads WHERE autobuild_id = $1 AND ref = $2",
        autobuild.to_string(),
        name.as_str(),
    )?;
    row.map(|(commit, at)| Ok(Head { commit: read("ref_heads", &commit)?, seen_at: time(at) })).transpose()
}

/// Where all refs of a source stand, at most 25,000.
pub async fn list_heads(tx: &mut ReadTx, autobuild: AutobuildId) -> Result<Vec<(RefName, Head)>, StoreError> {
    let rows = fetch_all!(
        (String, String, i64),
        tx,
        "SELECT ref, commit_id, seen_at FROM ref_heads WHERE autobuild_id = $1 ORDER BY ref LIMIT 25000",
        autobuild.to_string(),
    )?;
    rows.into_iter()
        .map(|(name, commit, at)| Ok((read("ref_heads", &name)?, Head { commit: read("ref_heads", &commit)?, seen_at: time(at) })))
        .collect()
}

/// Writes where a ref stands; `None` when it is gone.
pub async fn set_head(
    tx: &mut WriteTx,
    autobuild: AutobuildId,
    name: &RefName,
    commit: Option<&CommitId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match commit {
        Some(commit) => change!(
            tx,
            "INSERT INTO ref_heads (autobuild_id, ref, commit_id, seen_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (autobuild_id, ref) DO UPDATE SET commit_id = excluded.commit_id, seen_at = excluded.seen_at",
            autobuild.to_string(),
            name.as_str(),
            commit.as_str(),
            now.as_millis(),
        )?,
        None => change!(tx, "DELETE FROM ref_heads WHERE autobuild_id = $1 AND ref = $2", autobuild.to_string(), name.as_str(),)?,
    };
    Ok(())
}

/// Forgets where the refs and pull requests stood, because the settings name another source now. The events before keep their places, but none of them is
/// in order any more, so nothing of the new source is compared with them.
pub async fn forget(tx: &mut WriteTx, autobuild: AutobuildId) -> Result<(), StoreError> {
    lock(tx, autobuild).await?;
    change!(tx, "DELETE FROM ref_heads WHERE autobuild_id = $1", autobuild.to_string())?;
    change!(tx, "DELETE FROM pull_requests WHERE autobuild_id = $1", autobuild.to_string())?;
    change!(
        tx,
        "UPDATE ref_events SET place = seq WHERE autobuild_id = $1 AND place IS NULL AND origin IN ('delivery', 'reconcile')",
        autobuild.to_string()
    )?;
    Ok(())
}

/// The refs of a source that an event in order moved since `since`, and when last.
pub async fn list_young(tx: &mut ReadTx, autobuild: AutobuildId, since: Timestamp) -> Result<Vec<(RefName, Timestamp)>, StoreError> {
    let rows = fetch_all!(
        (String, i64),
        tx,
        "SELECT ref, MAX(created_at) FROM ref_events
         WHERE autobuild_id = $1 AND created_at >= $2 AND origin IN ('delivery', 'reconcile') AND place IS NULL AND covered_by IS NULL
         GROUP BY ref LIMIT 25000",
        autobuild.to_string(),
        since.as_millis(),
    )?;
    rows.into_iter().map(|(name, at)| Ok((read("ref_events", &name)?, time(at)))).collect()
}

/// When a push of the source was last told or found.
pub async fn last_push_at(tx: &mut ReadTx, autobuild: AutobuildId) -> Result<Option<Timestamp>, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT created_at FROM ref_events WHERE autobuild_id = $1 AND origin IN ('delivery', 'reconcile') ORDER BY created_at DESC LIMIT 1",
        autobuild.to_string(),
    )?;
    Ok(row.map(|(at,)| time(at)))
}
