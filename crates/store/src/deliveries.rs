//! Deliveries with their verdicts, and beside them what the reconciler found.
//!
//! A delivery is inserted before it is acknowledged. Its verdicts, its ref events and its builds are written in one
//! transaction together with `processed_at`: a crash before it leaves the delivery open, and it is read again.
//! Deliberately elsewhere: the log of the refs (`refs`), many inserts in one commit (`inbox`), requests that were refused (`refused`).

use slipway_model::{AutobuildId, BuildId, DeliveryId, DeliveryStatus, HookId, RepositoryId, RuleId, Timestamp, VerdictOutcome};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_opt, time};

/// What the reconciler's entries have as their event.
pub const RECONCILE: &str = "reconcile";

/// A received webhook request.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Identity.
    pub id: DeliveryId,
    /// Through which hook.
    pub hook: HookId,
    /// For which repository.
    pub repository: RepositoryId,
    /// The provider's id of it.
    pub delivery_id: String,
    /// The provider's word for the event.
    pub event: String,
    /// What became of it.
    pub status: DeliveryStatus,
    /// Why, when the status alone does not say.
    pub detail: Option<String>,
    /// The first delivery with the same id or body.
    pub duplicate_of: Option<DeliveryId>,
    /// When it came.
    pub received_at: Timestamp,
    /// When its verdicts were written.
    pub processed_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    hook_id: String,
    repository_id: String,
    delivery_id: String,
    event: String,
    status: String,
    detail: Option<String>,
    duplicate_of: Option<String>,
    received_at: i64,
    processed_at: Option<i64>,
}

impl Row {
    fn into_delivery(self) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            id: read("deliveries", &self.id)?,
            hook: read("deliveries", &self.hook_id)?,
            repository: read("deliveries", &self.repository_id)?,
            delivery_id: self.delivery_id,
            event: self.event,
            status: read("deliveries", &self.status)?,
            detail: self.detail,
            duplicate_of: read_opt("deliveries", self.duplicate_of.as_deref())?,
            received_at: time(self.received_at),
            processed_at: self.processed_at.map(time),
        })
    }
}

/// An authentic request as it is stored.
#[derive(Debug)]
pub struct NewDelivery<'a> {
    /// Through which hook.
    pub hook: HookId,
    /// For which repository.
    pub repository: RepositoryId,
    /// The provider's id of it.
    pub delivery_id: &'a str,
    /// The provider's word for the event.
    pub event: &'a str,
    /// Headers as a JSON object, secrets removed.
    pub headers: &'a str,
    /// The raw body.
    pub body: &'a [u8],
    /// Hexadecimal SHA-256 of the body.
    pub body_sha256: &'a str,
}

/// Stores a request. The second value names the earlier delivery when this one repeats it (same id, or same body under
/// another id: no provider signs the id); a repetition is kept without its body and is already processed. When the same id comes again
/// after the first one was rejected, somebody asked for that: the first is open again.
pub async fn insert(tx: &mut WriteTx, new: &NewDelivery<'_>, now: Timestamp) -> Result<(DeliveryId, Option<DeliveryId>), StoreError> {
    let id = DeliveryId::new();
    let inserted = change!(
        tx,
        "INSERT INTO deliveries (id, hook_id, repository_id, delivery_id, event, headers, body, body_sha256, status, received_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'accepted', $9) ON CONFLICT DO NOTHING",
        id.to_string(),
        new.hook.to_string(),
        new.repository.to_string(),
        new.delivery_id,
        new.event,
        new.headers,
        new.body,
        new.body_sha256,
        now.as_millis(),
    )?;
    if inserted > 0 {
        return Ok((id, None));
    }
    // Two lookups in two indexes: with OR and the order both databases read the whole table.
    let first = fetch_optional!(
        (String, String, String, Option<i64>),
        tx,
        "SELECT id, delivery_id, status, processed_at FROM (
             SELECT id, delivery_id, status, processed_at FROM deliveries WHERE hook_id = $1 AND delivery_id = $2 AND duplicate_of IS NULL
             UNION ALL
             SELECT id, delivery_id, status, processed_at FROM deliveries WHERE hook_id = $1 AND body_sha256 = $3 AND duplicate_of IS NULL
         ) AS found ORDER BY id LIMIT 1",
        new.hook.to_string(),
        new.delivery_id,
        new.body_sha256,
    )?;
    let Some((first, first_delivery_id, status, processed_at)) = first else {
        return Err(StoreError::Conflict("the first delivery of a duplicate is gone".into()));
    };
    let first: DeliveryId = read("deliveries", &first)?;
    let was_rejected = status == DeliveryStatus::Rejected.as_str() && processed_at.is_some();
    change!(
        tx,
        "INSERT INTO deliveries (id, hook_id, repository_id, delivery_id, event, headers, body, body_sha256, status, duplicate_of, received_at, processed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'duplicate', $9, $10, $10)",
        id.to_string(),
        new.hook.to_string(),
        new.repository.to_string(),
        new.delivery_id,
        new.event,
        new.headers,
        [].as_slice() as &[u8],
        new.body_sha256,
        first.to_string(),
        now.as_millis(),
    )?;
    if was_rejected && first_delivery_id == new.delivery_id {
        reopen(tx, first).await?;
    }
    Ok((id, Some(first)))
}

/// Lets a delivery be decided as if it had just come.
pub async fn reopen(tx: &mut WriteTx, id: DeliveryId) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE deliveries SET status = 'accepted', detail = NULL, processed_at = NULL WHERE id = $1 AND duplicate_of IS NULL",
        id.to_string(),
    )?;
    Ok(())
}

/// The entry of a run of the reconciler that found something, beside the deliveries: it is decided already and has no body.
pub async fn insert_found(
    tx: &mut WriteTx,
    autobuild: AutobuildId,
    repository: RepositoryId,
    detail: &str,
    now: Timestamp,
) -> Result<DeliveryId, StoreError> {
    let id = DeliveryId::new();
    change!(
        tx,
        // No hook brought it: the settings stand in its place. Its own id keeps it apart from every other one.
        "INSERT INTO deliveries (id, hook_id, repository_id, delivery_id, event, headers, body, body_sha256, status, detail, received_at, processed_at)
         VALUES ($1, $2, $3, $1, $4, '{}', $5, $1, 'accepted', $6, $7, $7)",
        id.to_string(),
        autobuild.to_string(),
        repository.to_string(),
        RECONCILE,
        [].as_slice() as &[u8],
        detail,
        now.as_millis(),
    )?;
    Ok(id)
}

/// Headers (JSON object) and body as they came.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Raw {
    /// JSON object.
    pub headers: String,
    /// Raw bytes; empty for a duplicate.
    pub body: Vec<u8>,
}

/// What a delivery brought.
pub async fn get_raw(tx: &mut ReadTx, id: DeliveryId) -> Result<Option<Raw>, StoreError> {
    Ok(fetch_optional!(Raw, tx, "SELECT headers, body FROM deliveries WHERE id = $1", id.to_string())?)
}

/// Deliveries whose verdicts are not written yet, oldest first.
pub async fn list_open(tx: &mut ReadTx, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, hook_id, repository_id, delivery_id, event, status, detail, duplicate_of, received_at, processed_at
         FROM deliveries WHERE processed_at IS NULL ORDER BY id LIMIT $1",
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_delivery)
    .collect()
}

/// By repository and identity: an id of another repository is not found.
pub async fn get(tx: &mut ReadTx, repository: RepositoryId, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT id, hook_id, repository_id, delivery_id, event, status, detail, duplicate_of, received_at, processed_at
         FROM deliveries WHERE id = $1 AND repository_id = $2",
        id.to_string(),
        repository.to_string(),
    )?
    .map(Row::into_delivery)
    .transpose()
}

/// Which deliveries are looked for; empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What became of it.
    pub status: Option<DeliveryStatus>,
    /// The provider's word for the event; `reconcile` for what the reconciler found.
    pub event: Option<String>,
    /// A ref with a verdict: its full name, or that of a branch or tag.
    pub source_ref: Option<String>,
    /// A verdict of this kind (of that ref, when both are given).
    pub outcome: Option<VerdictOutcome>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Received before then.
    pub until: Option<Timestamp>,
}

/// A page of a repository's deliveries, newest first, older than `before`.
pub async fn list(
    tx: &mut ReadTx,
    repository: RepositoryId,
    filter: &Filter,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Delivery>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT id, hook_id, repository_id, delivery_id, event, status, detail, duplicate_of, received_at, processed_at
         FROM deliveries
         WHERE repository_id = $1 AND id < $2 AND ($3 = '' OR status = $3) AND ($4 = '' OR event = $4)
           AND received_at >= $5 AND received_at < $6
           AND (($7 = '' AND $8 = '') OR EXISTS (
               SELECT 1 FROM verdicts v WHERE v.delivery_id = deliveries.id AND ($8 = '' OR v.outcome = $8)
                  AND ($7 = '' OR v.ref = $7 OR v.ref = 'refs/heads/' || $7 OR v.ref = 'refs/tags/' || $7)))
         ORDER BY id DESC LIMIT $9",
        repository.to_string(),
        before.map_or_else(|| "g".to_owned(), |id| id.to_string()),
        filter.status.map_or("", DeliveryStatus::as_str),
        filter.event.as_deref().unwrap_or(""),
        filter.since.map_or(i64::MIN, Timestamp::as_millis),
        filter.until.map_or(i64::MAX, Timestamp::as_millis),
        filter.source_ref.as_deref().unwrap_or(""),
        filter.outcome.map_or("", VerdictOutcome::as_str),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_delivery)
    .collect()
}

/// Marks a delivery as processed; false when somebody else did it before, and then nothing else of this transaction may stand.
pub async fn set_processed(
    tx: &mut WriteTx,
    id: DeliveryId,
    status: DeliveryStatus,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE deliveries SET status = $1, detail = $2, processed_at = $3 WHERE id = $4 AND processed_at IS NULL",
        status.as_str(),
        detail,
        now.as_millis(),
        id.to_string(),
    )?;
    Ok(changed > 0)
}

/// How many deliveries wait and since when the oldest does.
pub async fn backlog(tx: &mut ReadTx) -> Result<(u64, Option<Timestamp>), StoreError> {
    let row = fetch_optional!((i64, Option<i64>), tx, "SELECT COUNT(*), MIN(received_at) FROM deliveries WHERE processed_at IS NULL")?;
    Ok(row.map_or((0, None), |(n, oldest)| (count(n), oldest.map(time))))
}

/// What one rule (or Slipway as a whole) decided about one ref.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// When it was decided.
    pub at: Timestamp,
    /// Which rule; `None` when the decision came before the rules.
    pub rule_id: Option<RuleId>,
    /// The rule in words.
    pub rule: String,
    /// The ref as the delivery names it; empty when the event names none.
    pub source_ref: String,
    /// Decision.
    pub outcome: VerdictOutcome,
    /// Why, in words.
    pub text: String,
    /// The build that was made.
    pub build: Option<BuildId>,
}

#[derive(sqlx::FromRow)]
struct VerdictRow {
    delivery_id: String,
    at: i64,
    rule_id: Option<String>,
    rule: String,
    source_ref: String,
    outcome: String,
    text: String,
    build_id: Option<String>,
}

/// Appends verdicts behind those that stand.
pub async fn insert_verdicts(tx: &mut WriteTx, delivery: DeliveryId, verdicts: &[Verdict]) -> Result<(), StoreError> {
    let start =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM verdicts WHERE delivery_id = $1", delivery.to_string())?.map_or(0, |(n,)| n);
    for (position, verdict) in (start..).zip(verdicts) {
        change!(
            tx,
            "INSERT INTO verdicts (delivery_id, position, at, rule_id, rule, ref, outcome, text, build_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            delivery.to_string(),
            position,
            verdict.at.as_millis(),
            verdict.rule_id.map(|id| id.to_string()),
            verdict.rule.as_str(),
            verdict.source_ref.as_str(),
            verdict.outcome.as_str(),
            verdict.text.as_str(),
            verdict.build.map(|id| id.to_string()),
        )?;
    }
    Ok(())
}

/// The verdicts of some deliveries of one repository between two ids (both included), in order; at most 5,000.
pub async fn list_verdicts(
    tx: &mut ReadTx,
    repository: RepositoryId,
    oldest: DeliveryId,
    newest: DeliveryId,
) -> Result<Vec<(DeliveryId, Verdict)>, StoreError> {
    let rows = fetch_all!(
        VerdictRow,
        tx,
        "SELECT v.delivery_id, v.at, v.rule_id, v.rule, v.ref AS source_ref, v.outcome, v.text, v.build_id
         FROM verdicts v JOIN deliveries d ON d.id = v.delivery_id
         WHERE d.repository_id = $1 AND d.id >= $2 AND d.id <= $3 ORDER BY v.delivery_id, v.position LIMIT 5000",
        repository.to_string(),
        oldest.to_string(),
        newest.to_string(),
    )?;
    rows.into_iter()
        .map(|row| {
            let verdict = Verdict {
                at: time(row.at),
                rule_id: read_opt("verdicts", row.rule_id.as_deref())?,
                rule: row.rule,
                source_ref: row.source_ref,
                outcome: read("verdicts", &row.outcome)?,
                text: row.text,
                build: read_opt("verdicts", row.build_id.as_deref())?,
            };
            Ok((read("verdicts", &row.delivery_id)?, verdict))
        })
        .collect()
}

/// Removes deliveries received before `before`, at most `limit`; gives how many went.
pub async fn delete_old(tx: &mut WriteTx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE received_at < $1 AND processed_at IS NOT NULL ORDER BY received_at LIMIT $2)",
        before.as_millis(),
        i64::from(limit),
    )?)
}
