//! Builds. The row is the queue entry too; there is no second table of the same truth.
//!
//! Invariants: a build in a final state never changes again. Every write of a builder goes through [`hold`], which demands
//! builder, attempt and a lease: a builder that lost its lease changes nothing.
//! Deliberately elsewhere: a repository's builds by filter (`filter`), who gets a build and when (`queue`), what a newer push makes needless
//! (`superseded`), whose work it is and who approved of it (`terms`).

mod filter;
mod queue;
mod superseded;
mod terms;

pub use filter::*;
pub use queue::*;
pub use superseded::*;
pub use terms::*;

use slipway_model::{
    AccountId, AutobuildId, BuildId, BuildRule, BuildState, BuilderId, CommitId, FailureCode, FailureReason, ImageTag, Lane, Phase,
    ProviderId, RefEventId, RefName, RepositoryId, RuleId, SecretHash, Timestamp,
};

use crate::{ReadTx, StoreError, WriteTx, count, read, read_json, read_opt, signed, small, time, to_json};

/// Between two lines of a note.
const NEXT_LINE: &str = "\n";

/// One execution of one rule for one commit.
#[derive(Debug, Clone)]
pub struct Build {
    /// Identity.
    pub id: BuildId,
    /// Of which repository.
    pub repository: RepositoryId,
    /// In whose namespace.
    pub account: AccountId,
    /// Its number in the repository, from 1.
    pub number: u64,
    /// The rule as it was when the build was made.
    pub rule: BuildRule,
    /// The settings whose ref-event log it belongs to.
    pub autobuild: AutobuildId,
    /// The ref event that it answers.
    pub ref_event: RefEventId,
    /// Which provider holds the source.
    pub provider: ProviderId,
    /// The source repository's identity at the provider.
    pub source_id: String,
    /// The source repository's name.
    pub source_name: String,
    /// The ref.
    pub source_ref: RefName,
    /// The number of the ref event within its ref: promotion never goes back behind it.
    pub ref_seq: u64,
    /// The commit.
    pub commit: CommitId,
    /// First line of the commit's message, when known.
    pub commit_message: Option<String>,
    /// The commit's author as git or the payload names it: display only.
    pub commit_author: Option<String>,
    /// The tags that move after success.
    pub tags: Vec<ImageTag>,
    /// Whether the cache must not be used.
    pub no_cache: bool,
    /// Whose work it is, and what may come of it.
    pub terms: Terms,
    /// `push`, `pull_request`, `reconcile`, `replay`, `manual`, `trigger` or `retry`.
    pub cause: String,
    /// Who started it, when a person did.
    pub started_by: Option<AccountId>,
    /// The build that this one repeats.
    pub retry_of: Option<BuildId>,
    /// Where it is.
    pub state: BuildState,
    /// The newest phase that began.
    pub phase: Option<Phase>,
    /// Why it ended without an image.
    pub reason: Option<FailureReason>,
    /// What else there is to say, a line for each: how earlier attempts ended, a tag that did not move.
    pub note: Option<String>,
    /// Digest of the pushed manifest.
    pub digest: Option<String>,
    /// How often it was claimed; the fencing token of the newest claim.
    pub attempt: u32,
    /// How many of these claims were handed back by their builders: they do not count as tries.
    pub handed_back: u32,
    /// Whether it needs an engine of its own, as far as that is known before its checkout.
    pub own_engine: bool,
    /// The builder that holds or held it.
    pub builder: Option<BuilderId>,
    /// When the lease ends.
    pub lease_until: Option<Timestamp>,
    /// Number of the last kept report of the newest attempt.
    pub last_sequence: u64,
    /// How many bytes of log it has.
    pub log_bytes: u64,
    /// Whether a person wants it to end.
    pub cancel_requested: bool,
    /// When it was made.
    pub queued_at: Timestamp,
    /// Before this it is not taken: a pause before another attempt.
    pub available_at: Timestamp,
    /// When its first attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    repository_id: String,
    account_id: String,
    number: i64,
    rule: String,
    autobuild_id: String,
    ref_event_id: String,
    provider: String,
    source_id: String,
    source_name: String,
    source_ref: String,
    ref_seq: i64,
    commit_id: String,
    commit_message: Option<String>,
    commit_author: Option<String>,
    tags: String,
    no_cache: bool,
    lane: String,
    publish: bool,
    pull_request: Option<String>,
    approval: Option<String>,
    approved_by: Option<String>,
    approved_at: Option<i64>,
    cause: String,
    started_by: Option<String>,
    retry_of: Option<String>,
    state: String,
    phase: Option<String>,
    reason_code: Option<String>,
    reason_text: Option<String>,
    note: Option<String>,
    digest: Option<String>,
    attempt: i64,
    handed_back: i64,
    own_engine: bool,
    lease_builder: Option<String>,
    lease_until: Option<i64>,
    last_sequence: i64,
    log_bytes: i64,
    cancel_requested: bool,
    queued_at: i64,
    available_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl Row {
    fn into_build(self) -> Result<Build, StoreError> {
        const T: &str = "builds";
        let code: Option<FailureCode> = read_opt(T, self.reason_code.as_deref())?;
        Ok(Build {
            id: read(T, &self.id)?,
            repository: read(T, &self.repository_id)?,
            account: read(T, &self.account_id)?,
            number: count(self.number),
            rule: read_json(T, &self.rule)?,
            autobuild: read(T, &self.autobuild_id)?,
            ref_event: read(T, &self.ref_event_id)?,
            provider: read(T, &self.provider)?,
            source_id: self.source_id,
            source_name: self.source_name,
            source_ref: read(T, &self.source_ref)?,
            ref_seq: count(self.ref_seq),
            commit: read(T, &self.commit_id)?,
            commit_message: self.commit_message,
            commit_author: self.commit_author,
            tags: read_json(T, &self.tags)?,
            no_cache: self.no_cache,
            terms: Terms {
                lane: read(T, &self.lane)?,
                publish: self.publish,
                pull_request: self.pull_request.as_deref().map(|text| read_json(T, text)).transpose()?,
                approval: approval(self.approval.as_deref(), self.approved_by.as_deref(), self.approved_at)?,
            },
            cause: self.cause,
            started_by: read_opt(T, self.started_by.as_deref())?,
            retry_of: read_opt(T, self.retry_of.as_deref())?,
            state: read(T, &self.state)?,
            phase: read_opt(T, self.phase.as_deref())?,
            reason: code.map(|code| FailureReason { code, text: self.reason_text.unwrap_or_default() }),
            note: self.note,
            digest: self.digest,
            attempt: small(self.attempt),
            handed_back: small(self.handed_back),
            own_engine: self.own_engine,
            builder: read_opt(T, self.lease_builder.as_deref())?,
            lease_until: self.lease_until.map(time),
            last_sequence: count(self.last_sequence),
            log_bytes: count(self.log_bytes),
            cancel_requested: self.cancel_requested,
            queued_at: time(self.queued_at),
            available_at: time(self.available_at),
            started_at: self.started_at.map(time),
            finished_at: self.finished_at.map(time),
        })
    }
}

impl Build {
    /// How often it was tried: what a builder handed back at its own end is no try.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.attempt.saturating_sub(self.handed_back)
    }

    /// The ref of the source repository that has its commit.
    #[must_use]
    pub fn fetched_from(&self) -> &RefName {
        self.terms.pull_request.as_ref().map_or(&self.source_ref, |pull_request| &pull_request.fetched_from)
    }
}

/// A build as it enters the queue.
#[derive(Debug)]
pub struct NewBuild<'a> {
    /// Of which repository.
    pub repository: RepositoryId,
    /// Under which settings.
    pub autobuild: AutobuildId,
    /// By which rule; a copy is kept.
    pub rule: &'a BuildRule,
    /// The ref event that it answers: one build per rule and event.
    pub ref_event: RefEventId,
    /// Which provider holds the source.
    pub provider: &'a ProviderId,
    /// The source repository's identity.
    pub source_id: &'a str,
    /// The source repository's name.
    pub source_name: &'a str,
    /// The ref.
    pub source_ref: &'a RefName,
    /// The event's number within the ref.
    pub ref_seq: u64,
    /// The commit.
    pub commit: &'a CommitId,
    /// First line of the commit's message.
    pub commit_message: Option<&'a str>,
    /// Display only.
    pub commit_author: Option<&'a str>,
    /// The tags that will move.
    pub tags: &'a [ImageTag],
    /// Whether the cache must not be used.
    pub no_cache: bool,
    /// Whose work it is, and what may come of it.
    pub terms: &'a Terms,
    /// `push`, `pull_request`, `reconcile`, `replay`, `manual`, `trigger` or `retry`.
    pub cause: &'a str,
    /// Who started it.
    pub started_by: Option<AccountId>,
    /// Which build it repeats.
    pub retry_of: Option<BuildId>,
}

/// Puts a build into the queue, and the wish to tell its provider of it. `None` when the same rule already answered the same event. One that
/// waits for approval is not available to builders before it is given.
pub async fn insert(tx: &mut WriteTx, new: &NewBuild<'_>, now: Timestamp) -> Result<Option<(BuildId, u64)>, StoreError> {
    let id = BuildId::new();
    let number = crate::repositories::next_build_number(tx, new.repository).await?;
    let inserted = change!(
        tx,
        "INSERT INTO builds (id, repository_id, number, autobuild_id, rule_id, ref_event_id, rule, provider, source_id, source_name, source_ref, ref_seq,
                             commit_id, commit_message, commit_author, tags, no_cache, cause, started_by, retry_of, state, attempt,
                              last_sequence, cancel_requested, queued_at, available_at, lane, publish, pull_request, approval, approved_by, approved_at,
                              account_id, own_engine)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 'queued', 0, 0, $21, $22, $23,
                 $24, $25, $26, $27, $28, $29, COALESCE((SELECT account_id FROM repositories WHERE id = $2), ''), $30)
         ON CONFLICT (rule_id, ref_event_id) DO NOTHING",
        id.to_string(),
        new.repository.to_string(),
        signed(number),
        new.autobuild.to_string(),
        new.rule.id.to_string(),
        new.ref_event.to_string(),
        to_json(new.rule),
        new.provider.as_str(),
        new.source_id,
        new.source_name,
        new.source_ref.as_str(),
        signed(new.ref_seq),
        new.commit.as_str(),
        new.commit_message,
        new.commit_author,
        to_json(&new.tags),
        new.no_cache,
        new.cause,
        new.started_by.map(|id| id.to_string()),
        new.retry_of.map(|id| id.to_string()),
        false,
        now.as_millis(),
        new.terms.available_at(now).as_millis(),
        new.terms.lane.as_str(),
        new.terms.publish,
        new.terms.pull_request.as_ref().map(to_json),
        new.terms.approval_word(),
        new.terms.approved_by(),
        new.terms.approved_at(),
        new.terms.lane == Lane::Untrusted,
    )?;
    if inserted == 0 {
        crate::repositories::return_build_number(tx, new.repository).await?;
        return Ok(None);
    }
    crate::commit_statuses::want(tx, new, id, now).await?;
    Ok(Some((id, number)))
}

/// The build with which a rule answered a ref event.
pub async fn answer_of(tx: &mut ReadTx, rule: RuleId, event: RefEventId) -> Result<Option<(BuildId, u64)>, StoreError> {
    let row = fetch_optional!(
        (String, i64),
        tx,
        "SELECT id, number FROM builds WHERE rule_id = $1 AND ref_event_id = $2",
        rule.to_string(),
        event.to_string(),
    )?;
    row.map(|(id, number)| Ok((read("builds", &id)?, count(number)))).transpose()
}

/// By identity.
pub async fn get_any(tx: &mut ReadTx, id: BuildId) -> Result<Option<Build>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM builds WHERE id = $1", id.to_string())?.map(Row::into_build).transpose()
}

/// By repository and identity: an id of another repository is not found.
pub async fn get(tx: &mut ReadTx, repository: RepositoryId, id: BuildId) -> Result<Option<Build>, StoreError> {
    Ok(get_any(tx, id).await?.filter(|build| build.repository == repository))
}

/// By repository and number.
pub async fn get_by_number(tx: &mut ReadTx, repository: RepositoryId, number: u64) -> Result<Option<Build>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM builds WHERE repository_id = $1 AND number = $2", repository.to_string(), signed(number))?
        .map(Row::into_build)
        .transpose()
}

/// Builds of an account's sources at a provider that ended because no link could serve them, and that nothing has followed: they are the
/// newest of their rule and ref, and the ref has not moved since. Oldest first.
pub async fn list_unserved(tx: &mut ReadTx, account: AccountId, provider: &ProviderId, limit: u32) -> Result<Vec<Build>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT b.* FROM builds b
         JOIN autobuilds a ON a.id = b.autobuild_id AND a.provider = b.provider AND a.source_id = b.source_id
         JOIN repositories r ON r.id = a.repository_id
         WHERE r.account_id = $1 AND b.provider = $2 AND b.state = 'failed' AND b.reason_code = 'link_unavailable'
           AND NOT EXISTS (SELECT 1 FROM builds n WHERE n.rule_id = b.rule_id AND n.source_ref = b.source_ref
                           AND (n.ref_seq > b.ref_seq OR (n.ref_seq = b.ref_seq AND n.id > b.id)))
           AND NOT EXISTS (SELECT 1 FROM ref_events e WHERE e.autobuild_id = b.autobuild_id AND e.ref = b.source_ref AND e.seq > b.ref_seq
                           AND e.origin IN ('delivery', 'reconcile', 'pull_request') AND e.place IS NULL AND e.covered_by IS NULL)
         ORDER BY b.id LIMIT $3",
        account.to_string(),
        provider.as_str(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_build)
    .collect()
}

/// Removes a build that has ended, with its steps and log; false when there is none or it has not ended.
pub async fn delete(tx: &mut WriteTx, repository: RepositoryId, id: BuildId) -> Result<bool, StoreError> {
    let gone = change!(
        tx,
        "DELETE FROM builds WHERE id = $1 AND repository_id = $2 AND state IN ('success', 'failed', 'cancelled')",
        id.to_string(),
        repository.to_string(),
    )?;
    Ok(gone > 0)
}

/// The build, if this builder holds it with this attempt and the lease has not ended. Locks the row for the transaction.
pub async fn hold(tx: &mut WriteTx, id: BuildId, builder: BuilderId, attempt: u32, now: Timestamp) -> Result<Option<Build>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "UPDATE builds SET attempt = attempt WHERE id = $1 AND lease_builder = $2 AND attempt = $3 AND state = 'running' AND lease_until > $4 RETURNING *",
        id.to_string(),
        builder.to_string(),
        i64::from(attempt),
        now.as_millis(),
    )?
    .map(Row::into_build)
    .transpose()
}

/// Extends the lease of a held build.
pub async fn extend_lease(tx: &mut WriteTx, id: BuildId, lease_until: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE builds SET lease_until = $1 WHERE id = $2 AND state = 'running'", lease_until.as_millis(), id.to_string())?;
    Ok(())
}

/// Notes the last kept report of a held build and how many bytes of log it added.
pub async fn set_last_sequence(tx: &mut WriteTx, id: BuildId, sequence: u64, log_bytes: u64) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE builds SET last_sequence = $1, log_bytes = log_bytes + $2 WHERE id = $3 AND state = 'running'",
        signed(sequence),
        signed(log_bytes),
        id.to_string(),
    )?;
    Ok(())
}

/// Notes what git says of the commit.
pub async fn set_commit(tx: &mut WriteTx, id: BuildId, commit: &CommitId, message: &str, author: &str) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE builds SET commit_id = $1, commit_message = $2, commit_author = $3 WHERE id = $4 AND state = 'running'",
        commit.as_str(),
        message,
        author,
        id.to_string(),
    )?;
    Ok(())
}

/// Adds a line to what there is to say of a running build.
pub async fn add_note(tx: &mut WriteTx, id: BuildId, note: &str) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE builds SET note = CASE WHEN note IS NULL THEN $1 ELSE note || $2 || $1 END WHERE id = $3 AND state = 'running'",
        note,
        NEXT_LINE,
        id.to_string(),
    )?;
    Ok(())
}

/// Replaces what there is to say of a running build.
pub async fn set_note(tx: &mut WriteTx, id: BuildId, note: Option<&str>) -> Result<(), StoreError> {
    change!(tx, "UPDATE builds SET note = $1 WHERE id = $2 AND state = 'running'", note, id.to_string())?;
    Ok(())
}

/// How a build ends.
#[derive(Debug)]
pub struct Ending<'a> {
    /// A final state.
    pub state: BuildState,
    /// Why, when not with success.
    pub reason: Option<&'a FailureReason>,
    /// What else there is to say: the line before what was said until then.
    pub note: Option<&'a str>,
    /// Digest of the pushed manifest.
    pub digest: Option<&'a str>,
}

/// Ends a build that is queued or running; false when it had ended before. The lease and the registry credential end with it, and its provider
/// is to be told.
pub async fn finish(tx: &mut WriteTx, id: BuildId, ending: &Ending<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE builds SET state = $1, reason_code = $2, reason_text = $3, note = CASE WHEN $4 IS NULL THEN note WHEN note IS NULL THEN $4 ELSE $4 || $8 || note END, digest = $5, finished_at = $6, lease_until = NULL, registry_token_hash = NULL
         WHERE id = $7 AND state IN ('queued', 'running')",
        ending.state.as_str(),
        ending.reason.map(|reason| reason.code.as_str()),
        ending.reason.map(|reason| reason.text.as_str()),
        ending.note,
        ending.digest,
        now.as_millis(),
        id.to_string(),
        NEXT_LINE,
    )?;
    if changed > 0 {
        crate::commit_statuses::want_again(tx, id, now).await?;
    }
    Ok(changed > 0)
}

/// Notes that a person wants a build to end; false when it has ended.
pub async fn request_cancel(tx: &mut WriteTx, id: BuildId) -> Result<bool, StoreError> {
    Ok(change!(tx, "UPDATE builds SET cancel_requested = $1 WHERE id = $2 AND state IN ('queued', 'running')", true, id.to_string())? > 0)
}

/// The running build of this registry credential.
pub async fn get_by_registry_token(tx: &mut ReadTx, token: &SecretHash, now: Timestamp) -> Result<Option<Build>, StoreError> {
    fetch_optional!(
        Row,
        tx,
        "SELECT * FROM builds WHERE registry_token_hash = $1 AND state = 'running' AND lease_until > $2",
        token.to_hex(),
        now.as_millis(),
    )?
    .map(Row::into_build)
    .transpose()
}
