//! What providers are told of commits, and what still waits to be told.
//!
//! Invariants: a wish is written in the transaction that makes or ends the build; one check of a commit (a rule's) is in one sender's hands
//! at a time, and belongs to the newest build of rule and commit, so nothing older ever follows something newer. What a pull request makes of a
//! commit is a check of its own.
//! Deliberately elsewhere: the sending (`app`).

use slipway_model::{AccountId, BuildId, CommitId, ProviderId, RuleId, Timestamp};

use crate::builds::NewBuild;
use crate::{ReadTx, StoreError, WriteTx, count, read, signed, time};

/// What a commit is, or shall be, said to be like.
#[derive(Debug, Clone)]
pub struct CommitStatus {
    /// Whose check of the commit it is.
    pub rule: RuleId,
    /// Of which commit.
    pub commit: CommitId,
    /// Which build it tells of.
    pub build: BuildId,
    /// The name of the check at the provider.
    pub context: String,
    /// When it is to be tried; `None` when nothing waits to be told.
    pub due_at: Option<Timestamp>,
    /// Since when it is to be told.
    pub since: Timestamp,
    /// How often it was tried without success.
    pub tries: u64,
    /// Why it was not told.
    pub error: Option<String>,
    /// When the provider took one of this build the last time.
    pub told_at: Option<Timestamp>,
    checks: String,
    version: u64,
    lease_until: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    rule_id: String,
    commit_id: String,
    checks: String,
    build_id: String,
    context: String,
    version: i64,
    due_at: Option<i64>,
    since: i64,
    lease_until: Option<i64>,
    tries: i64,
    error: Option<String>,
    told_at: Option<i64>,
}

impl Row {
    fn into_status(self) -> Result<CommitStatus, StoreError> {
        const T: &str = "commit_statuses";
        Ok(CommitStatus {
            rule: read(T, &self.rule_id)?,
            commit: read(T, &self.commit_id)?,
            build: read(T, &self.build_id)?,
            context: self.context,
            due_at: self.due_at.map(time),
            since: time(self.since),
            tries: count(self.tries),
            error: self.error,
            told_at: self.told_at.map(time),
            checks: self.checks,
            version: count(self.version),
            lease_until: self.lease_until.map(time),
        })
    }
}

/// A new build is to be told of, in the place of an older one of the same rule and commit. The check is named after the repository, that of
/// pull requests with an addition; only the first rule has it without another one, so that several rules do not overwrite each other.
pub(crate) async fn want(tx: &mut WriteTx, new: &NewBuild<'_>, build: BuildId, now: Timestamp) -> Result<(), StoreError> {
    let (checks, addition) = if new.terms.pull_request.is_some() { ("pull_request", "/pull-request") } else { ("push", "") };
    change!(
        tx,
        "INSERT INTO commit_statuses (rule_id, commit_id, build_id, checks, context, version, due_at, since, tries)
         SELECT $1, $2, $3, $8, 'slipway/' || a.name || '/' || r.name || $9
                || CASE WHEN EXISTS (SELECT 1 FROM rules o WHERE o.autobuild_id = $4 AND o.id < $1) THEN '/' || $5 ELSE '' END, 1, $6, $6, 0
         FROM repositories r JOIN accounts a ON a.id = r.account_id WHERE r.id = $7
         ON CONFLICT (rule_id, commit_id, checks) DO UPDATE SET build_id = excluded.build_id, version = commit_statuses.version + 1,
             due_at = excluded.due_at, since = excluded.since, tries = 0, error = NULL, told_at = NULL",
        new.rule.id.to_string(),
        new.commit.as_str(),
        build.to_string(),
        new.autobuild.to_string(),
        new.rule.id.short(),
        now.as_millis(),
        new.repository.to_string(),
        checks,
        addition,
    )?;
    Ok(())
}

/// A build has changed in a way that is to be told.
pub(crate) async fn want_again(tx: &mut WriteTx, build: BuildId, now: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE commit_statuses SET version = version + 1, due_at = $1, since = $1, tries = 0, error = NULL WHERE build_id = $2",
        now.as_millis(),
        build.to_string(),
    )?;
    Ok(())
}

/// What the account could not tell the provider of builds that were queued since then is due again: a link works (again) that may be let in.
/// That is what was refused or waits after a failure, with its reason until it is told, and what is on its way in this moment, since nobody
/// knows through which link.
pub async fn try_again(
    tx: &mut WriteTx,
    account: AccountId,
    provider: &ProviderId,
    queued_since: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE commit_statuses SET version = version + 1, due_at = $1, since = $1, tries = 0
         WHERE (error IS NOT NULL OR lease_until IS NOT NULL)
           AND build_id IN (SELECT b.id FROM builds b JOIN repositories r ON r.id = b.repository_id
                            WHERE r.account_id = $2 AND b.provider = $3 AND b.queued_at >= $4)",
        now.as_millis(),
        account.to_string(),
        provider.as_str(),
        queued_since.as_millis(),
    )?;
    Ok(())
}

/// What the provider is told of a build; `None` when a newer build of the same rule and commit is told of instead.
pub async fn get(tx: &mut ReadTx, build: BuildId) -> Result<Option<CommitStatus>, StoreError> {
    fetch_optional!(Row, tx, "SELECT * FROM commit_statuses WHERE build_id = $1", build.to_string())?.map(Row::into_status).transpose()
}

/// Takes the status that is due the longest and that nobody sends; it is the caller's alone until `lease_until`.
pub async fn claim(tx: &mut WriteTx, now: Timestamp, lease_until: Timestamp) -> Result<Option<CommitStatus>, StoreError> {
    // As with builds: on PostgreSQL two claimers take two rows and do not wait for each other.
    let sql = if tx.is_postgres() {
        "UPDATE commit_statuses SET lease_until = $1
         WHERE build_id = (SELECT build_id FROM commit_statuses WHERE due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)
                           ORDER BY due_at, build_id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *"
    } else {
        "UPDATE commit_statuses SET lease_until = $1
         WHERE build_id = (SELECT build_id FROM commit_statuses WHERE due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)
                           ORDER BY due_at, build_id LIMIT 1) RETURNING *"
    };
    fetch_optional!(Row, tx, sql, lease_until.as_millis(), now.as_millis())?.map(Row::into_status).transpose()
}

/// The provider took it.
pub async fn set_told(tx: &mut WriteTx, status: &CommitStatus, now: Timestamp) -> Result<(), StoreError> {
    settle(tx, status, None, None, Some(now)).await
}

/// It was tried in vain, and is due again then.
pub async fn set_failed(tx: &mut WriteTx, status: &CommitStatus, error: &str, again_at: Timestamp) -> Result<(), StoreError> {
    settle(tx, status, Some(again_at), Some(error), status.told_at).await
}

/// It is given up, because of this.
pub async fn set_refused(tx: &mut WriteTx, status: &CommitStatus, error: &str) -> Result<(), StoreError> {
    settle(tx, status, None, Some(error), status.told_at).await
}

/// Ends the sender's turn. When there is something else to tell meanwhile, that is due, and nothing else is noted.
async fn settle(
    tx: &mut WriteTx,
    status: &CommitStatus,
    due_at: Option<Timestamp>,
    error: Option<&str>,
    told_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE commit_statuses SET lease_until = NULL,
                due_at = CASE WHEN version = $1 THEN $2 ELSE due_at END,
                error = CASE WHEN version = $1 THEN $3 ELSE error END,
                told_at = CASE WHEN version = $1 THEN $4 ELSE told_at END,
                tries = CASE WHEN version = $1 THEN tries + 1 ELSE tries END
         WHERE rule_id = $5 AND commit_id = $6 AND lease_until = $7 AND checks = $8",
        signed(status.version),
        due_at.map(Timestamp::as_millis),
        error,
        told_at.map(Timestamp::as_millis),
        status.rule.to_string(),
        status.commit.as_str(),
        status.lease_until.map(Timestamp::as_millis),
        status.checks.as_str(),
    )?;
    Ok(())
}
