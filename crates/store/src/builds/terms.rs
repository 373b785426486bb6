//! On which terms a build runs: whose work it is, whether it is pushed, the pull request that it tests, and who approved of it.
//!
//! Invariant: a build whose approval is awaited is not available to any builder ([`NEVER`]), whatever else is asked of the queue; it becomes
//! available in the statement that notes who approved. Deliberately elsewhere: who may approve, and of which commit (`app::pull_requests`).

use slipway_model::{AccountId, Approval, AutobuildId, BuildId, CommitId, FailureReason, Lane, PullRequest, RefName, Timestamp};

use crate::{StoreError, WriteTx, count, read, time};

/// When a build is available that nobody approved of.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// On which terms a build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How far its source is trusted.
    pub lane: Lane,
    /// Whether its image is pushed after the tests.
    pub publish: bool,
    /// The pull request that it tests.
    pub pull_request: Option<PullRequest>,
    /// The word of a writer, where it needs one.
    pub approval: Option<Approval>,
}

impl Terms {
    /// Those of a push: written by somebody who may, and pushed when its tests pass.
    #[must_use]
    pub fn of_push() -> Self {
        Self { lane: Lane::Trusted, publish: true, pull_request: None, approval: None }
    }

    /// Whether nobody has approved of it yet who has to.
    #[must_use]
    pub fn await_approval(&self) -> bool {
        self.approval == Some(Approval::Awaited)
    }

    pub(super) fn available_at(&self, now: Timestamp) -> Timestamp {
        if self.await_approval() { NEVER } else { now }
    }

    pub(super) fn approval_word(&self) -> Option<&'static str> {
        self.approval.as_ref().map(|approval| match approval {
            Approval::Awaited => "awaited",
            Approval::Given { .. } => "given",
        })
    }

    fn given(&self) -> Option<(AccountId, Timestamp)> {
        match self.approval {
            Some(Approval::Given { by, at }) => Some((by, at)),
            _ => None,
        }
    }

    pub(super) fn approved_by(&self) -> Option<String> {
        self.given().map(|(by, _)| by.to_string())
    }

    pub(super) fn approved_at(&self) -> Option<i64> {
        self.given().map(|(_, at)| at.as_millis())
    }
}

pub(super) fn approval(word: Option<&str>, by: Option<&str>, at: Option<i64>) -> Result<Option<Approval>, StoreError> {
    match (word, by, at) {
        (None, ..) => Ok(None),
        (Some("awaited"), ..) => Ok(Some(Approval::Awaited)),
        (Some("given"), Some(by), Some(at)) => Ok(Some(Approval::Given { by: read("builds", by)?, at: time(at) })),
        (Some(other), ..) => Err(StoreError::Corrupt { table: "builds", value: other.to_owned() }),
    }
}

/// Which waiting builds of a pull request are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingOf {
    /// All.
    Everybody,
    /// Those that its deliveries made, and those that nobody approved of.
    Deliveries,
    /// Those of the untrusted lane.
    Untrusted,
    /// Those that nobody approved of.
    Unapproved,
}

/// As many as one statement changes.
pub const AT_ONCE: usize = 1000;

/// Cancels builds of a pull request that wait still, or of all when none is named, at most [`AT_ONCE`]; gives them by their numbers.
pub async fn cancel_waiting(
    tx: &mut WriteTx,
    autobuild: AutobuildId,
    name: Option<&RefName>,
    which: WaitingOf,
    reason: &FailureReason,
    now: Timestamp,
) -> Result<Vec<(BuildId, u64)>, StoreError> {
    // The state is asked twice: a builder may claim one on PostgreSQL while this waits for the row.
    let rows = fetch_all!(
        (String, i64),
        tx,
        "UPDATE builds SET state = 'cancelled', reason_code = $1, reason_text = $2, finished_at = $3
         WHERE state = 'queued' AND id IN (
             SELECT id FROM builds WHERE autobuild_id = $4 AND ($5 = '' OR source_ref = $5) AND state = 'queued' AND pull_request IS NOT NULL
                AND (approval = 'awaited' OR $6 = 'everybody' OR ($6 = 'deliveries' AND cause = 'pull_request')
                     OR ($6 = 'untrusted' AND lane = 'untrusted')) LIMIT 1000)
         RETURNING id, number",
        reason.code.as_str(),
        reason.text.as_str(),
        now.as_millis(),
        autobuild.to_string(),
        name.map_or("", RefName::as_str),
        match which {
            WaitingOf::Everybody => "everybody",
            WaitingOf::Deliveries => "deliveries",
            WaitingOf::Untrusted => "untrusted",
            WaitingOf::Unapproved => "unapproved",
        },
    )?;
    let mut cancelled = rows
        .into_iter()
        .map(|(id, number)| Ok((read("builds", &id)?, count(number))))
        .collect::<Result<Vec<(BuildId, u64)>, StoreError>>()?;
    cancelled.sort_unstable_by_key(|(_, number)| *number);
    for (cancelled, _) in &cancelled {
        crate::commit_statuses::want_again(tx, *cancelled, now).await?;
    }
    Ok(cancelled)
}

/// Makes what waits in the untrusted lane without having been asked for an approval wait for one, at most [`AT_ONCE`]; gives which these are.
pub async fn await_approval(tx: &mut WriteTx, autobuild: AutobuildId, now: Timestamp) -> Result<Vec<BuildId>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "UPDATE builds SET approval = 'awaited', available_at = $1
         WHERE state = 'queued' AND approval IS NULL AND id IN (
             SELECT id FROM builds WHERE autobuild_id = $2 AND state = 'queued' AND lane = 'untrusted' AND approval IS NULL LIMIT 1000)
         RETURNING id",
        NEVER.as_millis(),
        autobuild.to_string(),
    )?;
    let mut waiting = rows.into_iter().map(|(id,)| read("builds", &id)).collect::<Result<Vec<BuildId>, StoreError>>()?;
    waiting.sort_unstable();
    for id in &waiting {
        crate::commit_statuses::want_again(tx, *id, now).await?;
    }
    Ok(waiting)
}

/// Notes that somebody approved of a commit: the builds of it that wait for that are available from now on. Gives which these are.
pub async fn approve(
    tx: &mut WriteTx,
    autobuild: AutobuildId,
    name: &RefName,
    commit: &CommitId,
    by: AccountId,
    now: Timestamp,
) -> Result<Vec<BuildId>, StoreError> {
    let rows = fetch_all!(
        (String,),
        tx,
        "UPDATE builds SET approval = 'given', approved_by = $1, approved_at = $2, available_at = $2
         WHERE state = 'queued' AND approval = 'awaited' AND id IN (
             SELECT id FROM builds WHERE autobuild_id = $3 AND source_ref = $4 AND state = 'queued' AND commit_id = $5 LIMIT 1000)
         RETURNING id",
        by.to_string(),
        now.as_millis(),
        autobuild.to_string(),
        name.as_str(),
        commit.as_str(),
    )?;
    let mut approved = rows.into_iter().map(|(id,)| read("builds", &id)).collect::<Result<Vec<BuildId>, StoreError>>()?;
    approved.sort_unstable();
    for id in &approved {
        crate::commit_statuses::want_again(tx, *id, now).await?;
    }
    Ok(approved)
}
