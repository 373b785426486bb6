//! When each source is looked at next, and what the last look found wrong.
//!
//! Invariant: a look begins with [`claim`], one UPDATE that moves the time of the next look, so no two replicas look at a source at once
//! and a crash costs one interval. Whoever wants a look sooner only ever makes the time earlier ([`hurry`]).

use slipway_model::{AccountId, AutobuildId, ProviderId, RepositoryId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, read, time};

/// A source as the reconciler sees it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The settings.
    pub autobuild: AutobuildId,
    /// For which repository.
    pub repository: RepositoryId,
    /// Whose links serve it.
    pub account: AccountId,
    /// At which provider.
    pub provider: ProviderId,
    /// The source's identity there.
    pub source_id: String,
    /// The source's name when it was last read.
    pub source_name: String,
    /// Since when the settings stand.
    pub created_at: Timestamp,
    /// What the list of the namespace's repositories said of the last push; `None` where no list tells.
    pub pushed: Option<String>,
    /// What makes the next look cheap.
    pub marker: Option<String>,
    /// When its refs were last read; `None` before the first time.
    pub checked_at: Option<Timestamp>,
    /// When the next look is due.
    pub due_at: Timestamp,
    /// Whether its webhook stands, as far as we know.
    pub hook: HookHealth,
    /// What was wrong with it at last, for programs.
    pub problem: Option<String>,
}

/// Whether pushes can be expected to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookHealth {
    /// The webhook stands and the last check found nothing wrong.
    Right,
    /// It does not, or something is wrong with it.
    Wrong,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    repository_id: String,
    account_id: String,
    provider: String,
    source_id: String,
    source_name: String,
    created_at: i64,
    pushed: Option<String>,
    heads_marker: Option<String>,
    heads_checked_at: Option<i64>,
    next_reconcile_at: i64,
    problem: Option<String>,
    right_hooks: i64,
}

impl Row {
    fn into_watched(self) -> Result<Watched, StoreError> {
        const T: &str = "autobuilds";
        Ok(Watched {
            autobuild: read(T, &self.id)?,
            repository: read(T, &self.repository_id)?,
            account: read(T, &self.account_id)?,
            provider: read(T, &self.provider)?,
            source_id: self.source_id,
            source_name: self.source_name,
            created_at: time(self.created_at),
            pushed: self.pushed,
            marker: self.heads_marker,
            checked_at: self.heads_checked_at.map(time),
            due_at: time(self.next_reconcile_at),
            hook: if self.right_hooks > 0 { HookHealth::Right } else { HookHealth::Wrong },
            problem: self.problem,
        })
    }
}

/// Sources whose look is due, the longest waiting first.
pub async fn list_due(tx: &mut ReadTx, now: Timestamp, limit: u32) -> Result<Vec<Watched>, StoreError> {
    fetch_all!(
        Row,
        tx,
        "SELECT b.id, b.repository_id, r.account_id, b.provider, b.source_id, b.source_name, b.created_at, b.pushed, b.heads_marker,
                b.heads_checked_at, b.next_reconcile_at, b.problem,
                (SELECT COUNT(*) FROM hooks h WHERE h.autobuild_id = b.id AND h.state = 'standing' AND h.problem IS NULL) AS right_hooks
         FROM autobuilds b JOIN repositories r ON r.id = b.repository_id
         WHERE b.next_reconcile_at <= $1 ORDER BY b.next_reconcile_at LIMIT $2",
        now.as_millis(),
        i64::from(limit),
    )?
    .into_iter()
    .map(Row::into_watched)
    .collect()
}

/// Takes the look that is due at `due_at`; false when another one took it. Without a word of [`settle`] the next one is due at `next`.
pub async fn claim(tx: &mut WriteTx, id: AutobuildId, due_at: Timestamp, next: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE autobuilds SET next_reconcile_at = $1 WHERE id = $2 AND next_reconcile_at = $3",
        next.as_millis(),
        id.to_string(),
        due_at.as_millis(),
    )?;
    Ok(changed > 0)
}

/// The look is over: the next one is due at `next`, unless somebody wanted it sooner since it was claimed.
pub async fn settle(tx: &mut WriteTx, id: AutobuildId, claimed: Timestamp, next: Timestamp) -> Result<(), StoreError> {
    claim(tx, id, claimed, next).await?;
    Ok(())
}

/// The refs were read at `at`; `marker` makes the next look cheap, when everything that this one showed was taken over. It is not kept when
/// somebody wanted a look since this one was claimed (`due_at` is when the next is due without that): there may be more to see. Settings
/// that name another source by now were not looked at.
pub async fn set_checked(tx: &mut WriteTx, watched: &Watched, marker: Option<&str>, at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE autobuilds SET heads_marker = CASE WHEN next_reconcile_at = $6 THEN $1 ELSE NULL END, heads_checked_at = $2
         WHERE id = $3 AND provider = $4 AND source_id = $5",
        marker,
        at.as_millis(),
        watched.autobuild.to_string(),
        watched.provider.as_str(),
        watched.source_id.as_str(),
        watched.due_at.as_millis(),
    )?;
    Ok(())
}

/// The next look at a source shall not be later than `at`.
pub async fn hurry(tx: &mut WriteTx, id: AutobuildId, at: Timestamp) -> Result<(), StoreError> {
    change!(tx, "UPDATE autobuilds SET next_reconcile_at = $1 WHERE id = $2 AND next_reconcile_at > $1", at.as_millis(), id.to_string(),)?;
    Ok(())
}

/// As [`hurry`], and the next look reads the repository itself too, although its refs may stand where they stood.
pub async fn look_anew(tx: &mut WriteTx, id: AutobuildId, at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE autobuilds SET heads_marker = NULL, next_reconcile_at = CASE WHEN next_reconcile_at > $1 THEN $1 ELSE next_reconcile_at END
         WHERE id = $2",
        at.as_millis(),
        id.to_string(),
    )?;
    Ok(())
}

/// The next look at each source that an account has at a provider shall not be later than `at`.
pub async fn hurry_account(tx: &mut WriteTx, account: AccountId, provider: &ProviderId, at: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "UPDATE autobuilds SET next_reconcile_at = $1
         WHERE provider = $2 AND next_reconcile_at > $1 AND repository_id IN (SELECT id FROM repositories WHERE account_id = $3)",
        at.as_millis(),
        provider.as_str(),
        account.to_string(),
    )?)
}

/// The sources behind `after` whose next look is later than `later_than` and that no list of repositories tells of, in order of identity.
pub async fn list_later(
    tx: &mut ReadTx,
    later_than: Timestamp,
    after: Option<AutobuildId>,
    limit: u32,
) -> Result<Vec<AutobuildId>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "SELECT id FROM autobuilds WHERE next_reconcile_at > $1 AND pushed IS NULL AND id > $2 ORDER BY id LIMIT $3",
        later_than.as_millis(),
        after.map_or_else(String::new, |id| id.to_string()),
        i64::from(limit),
    )?;
    rows.into_iter().map(|(id,)| read("autobuilds", &id)).collect()
}

/// What is wrong with a source, for programs and in words; `None` when it is right again. Since when moves only with the code.
pub async fn set_problem(tx: &mut WriteTx, id: AutobuildId, problem: Option<(&str, &str)>, now: Timestamp) -> Result<(), StoreError> {
    match problem {
        Some((code, text)) => change!(
            tx,
            "UPDATE autobuilds SET problem_since = CASE WHEN problem = $2 THEN problem_since ELSE $4 END, problem = $2, problem_text = $3
             WHERE id = $1",
            id.to_string(),
            code,
            text,
            now.as_millis(),
        )?,
        None => change!(
            tx,
            "UPDATE autobuilds SET problem = NULL, problem_text = NULL, problem_since = NULL WHERE id = $1 AND problem IS NOT NULL",
            id.to_string(),
        )?,
    };
    Ok(())
}

/// What is wrong with a source: code, words, since when.
pub async fn problem(tx: &mut ReadTx, id: AutobuildId) -> Result<Option<(String, String, Timestamp)>, StoreError> {
    let row = fetch_optional!(
        (Option<String>, Option<String>, Option<i64>),
        tx,
        "SELECT problem, problem_text, problem_since FROM autobuilds WHERE id = $1",
        id.to_string(),
    )?;
    Ok(row.and_then(|(code, text, since)| Some((code?, text.unwrap_or_default(), time(since.unwrap_or(0))))))
}

/// Since when the longest waiting look is due; `None` when none is.
pub async fn oldest_due(tx: &mut ReadTx, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let row = fetch_optional!(
        (Option<i64>,),
        tx,
        // 0: it was never looked at, and nobody knows how long it waits.
        "SELECT MIN(next_reconcile_at) FROM autobuilds WHERE next_reconcile_at > 0 AND next_reconcile_at <= $1",
        now.as_millis(),
    )?;
    Ok(row.and_then(|(at,)| at).map(time))
}

/// Whether the refs of a source were ever read.
pub async fn checked_at(tx: &mut ReadTx, id: AutobuildId) -> Result<Option<Timestamp>, StoreError> {
    let row = fetch_optional!((Option<i64>,), tx, "SELECT heads_checked_at FROM autobuilds WHERE id = $1", id.to_string())?;
    Ok(row.and_then(|(at,)| at).map(time))
}

/// When the refs of a source were last read, and when the next look at it is due.
pub async fn looks(tx: &mut ReadTx, id: AutobuildId) -> Result<Option<(Option<Timestamp>, Timestamp)>, StoreError> {
    let row = fetch_optional!(
        (Option<i64>, i64),
        tx,
        "SELECT heads_checked_at, next_reconcile_at FROM autobuilds WHERE id = $1",
        id.to_string()
    )?;
    Ok(row.map(|(last, next)| (last.map(time), time(next))))
}
