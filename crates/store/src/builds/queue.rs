//! The queue: who gets which build, how it comes back, and where one stands. It is the builds' own rows; there is no second table.
//!
//! Invariants: only [`claim`] lets a build begin to run, and claims come one after another, so no build is handed out twice and no limit is
//! exceeded. Whose turn it is costs a few steps for each namespace that waits, however many builds wait in it.
//! Deliberately elsewhere: the rule itself (`model::QueueLimits`), leases and writes of a builder (`builds`).

use slipway_model::{AccountId, BuildId, BuilderId, QueueLimits, RepositoryId, SecretHash, Timestamp, Turn, in_front};

use super::{Build, Row};
use crate::repositories::Eyes;
use crate::{ReadTx, StoreError, WriteTx, builders, count, read, read_opt, time};

/// As many namespaces are looked at for a turn, those with the fewest running builds first.
const MOST_NAMESPACES: i64 = 10_000;
/// Any number that no other lock of ours has.
const CLAIM_LOCK: i64 = 0x736c_6970_7761_7901;

/// Part of a namespace's builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that run, newest first.
    Running,
    /// Those that wait, the next one first.
    Queued,
    /// Those that have ended, newest first.
    Ended,
}

/// Builds of an account (`$1`) in a state, over the repositories that eyes (`$2` to `$4`) have a right over.
macro_rules! those {
    ($select:literal, $state:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM builds b WHERE b.account_id = $1 AND b.state ",
            $state,
            " AND ($2 OR EXISTS (SELECT 1 FROM team_repositories p JOIN team_members m ON m.team_id = p.team_id
                                 WHERE p.repository_id = b.repository_id AND m.account_id = $3))
               AND ($4 = '' OR EXISTS (SELECT 1 FROM token_repositories t WHERE t.repository_id = b.repository_id AND t.token_id = $4)) ",
            $rest
        )
    };
}

/// The first builds of a part of an account's builds, over the repositories that those eyes have a right over. What is only public is left
/// out: strangers see no builds.
pub async fn list_by_account(tx: &mut ReadTx, account: AccountId, eyes: Eyes, part: Part, limit: u32) -> Result<Vec<Build>, StoreError> {
    let sql = match part {
        Part::Running => those!("SELECT b.*", "= 'running'", "ORDER BY b.id DESC LIMIT $5"),
        Part::Queued => those!("SELECT b.*", "= 'queued'", "ORDER BY b.available_at, b.id LIMIT $5"),
        Part::Ended => those!("SELECT b.*", "IN ('success', 'failed', 'cancelled')", "ORDER BY b.id DESC LIMIT $5"),
    };
    let (all, viewer, token) = eyes.values();
    fetch_all!(Row, tx, sql, account.to_string(), all, viewer, token, i64::from(limit))?.into_iter().map(Row::into_build).collect()
}

/// How many of an account's builds wait, of those that [`list_by_account`] shows these eyes; at most `limit`.
pub async fn count_waiting(tx: &mut ReadTx, account: AccountId, eyes: Eyes, limit: u32) -> Result<u64, StoreError> {
    let (all, viewer, token) = eyes.values();
    let sql = those!("SELECT COUNT(*) FROM (SELECT 1", "= 'queued'", "LIMIT $5) waiting");
    let row = fetch_optional!((i64,), tx, sql, account.to_string(), all, viewer, token, i64::from(limit))?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// How many of an account's builds are not final.
pub async fn count_open(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let waiting =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builds WHERE account_id = $1 AND state = 'queued'", account.to_string())?;
    Ok(waiting.map_or(0, |(n,)| count(n)) + count_running(tx, account).await?)
}

/// How many of an account's builds run.
pub async fn count_running(tx: &mut ReadTx, account: AccountId) -> Result<u64, StoreError> {
    let row = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builds WHERE account_id = $1 AND state = 'running'", account.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

/// How many builds wait and how many run, over all repositories.
pub async fn queue_length(tx: &mut ReadTx) -> Result<(u64, u64), StoreError> {
    let queued = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builds WHERE state = 'queued'")?;
    Ok((queued.map_or(0, |(n,)| count(n)), running(tx).await?))
}

/// How many builds run, over all repositories.
async fn running(tx: &mut ReadTx) -> Result<u64, StoreError> {
    let running = fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builds WHERE state = 'running'")?;
    Ok(running.map_or(0, |(n,)| count(n)))
}

/// How many running builds a builder holds.
pub async fn count_held(tx: &mut ReadTx, builder: BuilderId) -> Result<u64, StoreError> {
    let row =
        fetch_optional!((i64,), tx, "SELECT COUNT(*) FROM builds WHERE state = 'running' AND lease_builder = $1", builder.to_string())?;
    Ok(row.map_or(0, |(n,)| count(n)))
}

#[derive(sqlx::FromRow)]
struct TurnRow {
    account_id: String,
    name: String,
    served_at: i64,
    running: i64,
    first: Option<String>,
}

impl TurnRow {
    fn into_turn(self) -> Result<Turn, StoreError> {
        Ok(Turn {
            account: read("builds", &self.account_id)?,
            namespace: read("accounts", &self.name)?,
            running: count(self.running),
            served_at: time(self.served_at),
            first: read_opt("builds", self.first.as_deref())?,
        })
    }
}

/// Which builds are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// A node that runs anything.
    Anything,
    /// One that cannot have engines of its own, while another one can.
    NoOwnEngine,
}

/// The namespaces in which something waits.
pub async fn list_turns(tx: &mut ReadTx, now: Timestamp) -> Result<Vec<Turn>, StoreError> {
    turns(tx, For::Anything, now).await
}

async fn turns(tx: &mut ReadTx, node: For, now: Timestamp) -> Result<Vec<Turn>, StoreError> {
    // From one account to the next along the index: its queued builds are not read, only the first of them.
    fetch_all!(
        TurnRow,
        tx,
        "WITH RECURSIVE waiting (account_id) AS (
             SELECT (SELECT account_id FROM builds WHERE state = 'queued' ORDER BY account_id LIMIT 1)
             UNION ALL
             SELECT (SELECT b.account_id FROM builds b WHERE b.state = 'queued' AND b.account_id > w.account_id ORDER BY b.account_id LIMIT 1)
             FROM waiting w WHERE w.account_id IS NOT NULL)
         SELECT w.account_id, a.name, a.served_at,
                (SELECT COUNT(*) FROM builds r WHERE r.account_id = w.account_id AND r.state = 'running') AS running,
                (SELECT b.id FROM builds b WHERE b.account_id = w.account_id AND b.state = 'queued' AND b.available_at <= $1
                   AND (NOT b.own_engine OR $3) ORDER BY b.available_at, b.id LIMIT 1) AS first
         FROM waiting w JOIN accounts a ON a.id = w.account_id ORDER BY running, a.served_at LIMIT $2",
        now.as_millis(),
        MOST_NAMESPACES,
        node == For::Anything,
    )?
    .into_iter()
    .map(TurnRow::into_turn)
    .collect()
}

/// How many builds will be taken before this one: of all namespaces in turn, if none ends, none comes, and no limit holds one back. 0 for one
/// that does not wait.
pub async fn queue_position(tx: &mut ReadTx, id: BuildId, now: Timestamp) -> Result<u64, StoreError> {
    let row = fetch_optional!(
        (String, i64),
        tx,
        "SELECT me.account_id, (SELECT COUNT(*) FROM builds b WHERE b.account_id = me.account_id AND b.state = 'queued'
                                AND (b.available_at < me.available_at OR (b.available_at = me.available_at AND b.id < me.id)))
         FROM builds me WHERE me.id = $1 AND me.state = 'queued'",
        id.to_string(),
    )?;
    let Some((account, before)) = row else { return Ok(0) };
    let account: AccountId = read("builds", &account)?;
    let waiting = fetch_all!(
        (String, i64),
        tx,
        "SELECT account_id, COUNT(*) FROM builds WHERE state = 'queued' AND available_at <= $1 GROUP BY account_id LIMIT $2",
        now.as_millis(),
        MOST_NAMESPACES,
    )?;
    let waiting: std::collections::BTreeMap<String, i64> = waiting.into_iter().collect();
    let (mine, others): (Vec<Turn>, Vec<Turn>) = list_turns(tx, now).await?.into_iter().partition(|turn| turn.account == account);
    let others: Vec<(Turn, u64)> = others
        .into_iter()
        .map(|turn| {
            let due = waiting.get(&turn.account.to_string()).copied().map_or(0, count);
            (turn, due)
        })
        .collect();
    Ok(mine.first().map_or(0, |mine| in_front(mine, count(before), &others)))
}

/// Lets claims come one after another until the end of the transaction: two that count what runs at the same moment would both find a place
/// free. SQLite has one writer anyway.
pub async fn lock_claims(tx: &mut WriteTx) -> Result<(), StoreError> {
    if tx.is_postgres() {
        change!(tx, "SELECT pg_advisory_xact_lock($1)", CLAIM_LOCK)?;
    }
    Ok(())
}

/// What a node may be handed. While no node can have engines of its own, each gets builds that need one: there is nobody to wait for, and the
/// one that gets it says why it cannot be.
async fn fits(tx: &mut ReadTx, node: BuilderId) -> Result<For, StoreError> {
    let hindered = builders::get(tx, node).await?.is_some_and(|node| node.obstacle.is_some());
    Ok(if hindered && builders::any_has_engines(tx).await? { For::NoOwnEngine } else { For::Anything })
}

/// Hands a build to a builder, of the namespace whose turn it is, unless a limit is reached: state, lease, attempt and its registry credential
/// at once. One that needs an engine of its own goes to a node that can have it. The caller commits soon: other claims wait.
pub async fn claim(
    tx: &mut WriteTx,
    builder: BuilderId,
    registry_token: &SecretHash,
    limits: &QueueLimits,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<Build>, StoreError> {
    lock_claims(tx).await?;
    let node = fits(tx, builder).await?;
    loop {
        let turns = turns(tx, node, now).await?;
        if turns.is_empty() {
            return Ok(None);
        }
        let in_all = running(tx).await?;
        let Some((account, first)) = limits.next(&turns, in_all).and_then(|turn| Some((turn.account, turn.first?))) else {
            return Ok(None);
        };
        change!(tx, "UPDATE accounts SET served_at = $1 WHERE id = $2", now.as_millis(), account.to_string())?;
        let claimed = fetch_optional!(
            Row,
            tx,
            "UPDATE builds SET state = 'running', lease_builder = $1, lease_until = $2, registry_token_hash = $3, attempt = attempt + 1,
                    last_sequence = 0, phase = NULL, started_at = COALESCE(started_at, $4)
             WHERE id = $5 AND state = 'queued' RETURNING *",
            builder.to_string(),
            lease_until.as_millis(),
            registry_token.to_hex(),
            now.as_millis(),
            first.to_string(),
        )?;
        // None: on PostgreSQL somebody ended it in between, and the next look does not find it any more.
        if let Some(claimed) = claimed {
            return claimed.into_build().map(Some);
        }
    }
}

/// Gives a running build back to the queue, available at `available_at`.
pub async fn requeue(tx: &mut WriteTx, id: BuildId, note: &str, available_at: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE builds SET state = 'queued', lease_builder = NULL, lease_until = NULL, registry_token_hash = NULL, phase = NULL, note = $1, available_at = $2
         WHERE id = $3 AND state = 'running'",
        note,
        available_at.as_millis(),
        id.to_string(),
    )?;
    Ok(changed > 0)
}

/// Gives back a build whose builder did not end it and is not to blame on it: it ends itself, or was removed. The claim stays in the number of
/// attempts, which fences it off, and does not count as a try.
pub async fn hand_back(tx: &mut WriteTx, id: BuildId, note: &str, available_at: Timestamp) -> Result<bool, StoreError> {
    change!(tx, "UPDATE builds SET handed_back = handed_back + 1 WHERE id = $1 AND state = 'running'", id.to_string())?;
    requeue(tx, id, note, available_at).await
}

/// Gives back a build whose builder cannot have the engine of its own that it needs: from now on such nodes do not get it.
pub async fn hand_on(tx: &mut WriteTx, id: BuildId, note: &str, available_at: Timestamp) -> Result<bool, StoreError> {
    change!(tx, "UPDATE builds SET own_engine = $1 WHERE id = $2 AND state = 'running'", true, id.to_string())?;
    hand_back(tx, id, note, available_at).await
}

/// The running builds that a builder holds, at most 1,000. They are locked for the transaction.
pub async fn list_held(tx: &mut WriteTx, builder: BuilderId) -> Result<Vec<Build>, StoreError> {
    let sql = if tx.is_postgres() {
        "SELECT * FROM builds WHERE state = 'running' AND lease_builder = $1 ORDER BY id LIMIT 1000 FOR UPDATE"
    } else {
        "SELECT * FROM builds WHERE state = 'running' AND lease_builder = $1 ORDER BY id LIMIT 1000"
    };
    fetch_all!(Row, tx, sql, builder.to_string(),)?.into_iter().map(Row::into_build).collect()
}

/// Gives back a build that was claimed but not handed to its builder: the claim does not count as an attempt.
pub async fn put_back(tx: &mut WriteTx, id: BuildId, note: &str, available_at: Timestamp) -> Result<bool, StoreError> {
    let changed = change!(
        tx,
        "UPDATE builds SET state = 'queued', lease_builder = NULL, lease_until = NULL, registry_token_hash = NULL, phase = NULL, note = $1,
                available_at = $2, attempt = attempt - 1, started_at = CASE WHEN attempt > 1 THEN started_at ELSE NULL END
         WHERE id = $3 AND state = 'running'",
        note,
        available_at.as_millis(),
        id.to_string(),
    )?;
    Ok(changed > 0)
}

/// Running builds whose lease has ended. They are locked for the transaction: whatever it decides, no heartbeat comes in between.
pub async fn list_expired(tx: &mut WriteTx, now: Timestamp, limit: u32) -> Result<Vec<Build>, StoreError> {
    let sql = if tx.is_postgres() {
        "SELECT * FROM builds WHERE state = 'running' AND lease_until <= $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED"
    } else {
        "SELECT * FROM builds WHERE state = 'running' AND lease_until <= $1 ORDER BY lease_until LIMIT $2"
    };
    fetch_all!(Row, tx, sql, now.as_millis(), i64::from(limit),)?.into_iter().map(Row::into_build).collect()
}

/// Ends the leases of a builder that is known to be dead (the built-in one of the process before): its builds are due at once.
pub async fn expire_leases_of(tx: &mut WriteTx, builder: &BuilderId, now: Timestamp) -> Result<u64, StoreError> {
    Ok(change!(
        tx,
        "UPDATE builds SET lease_until = $1 WHERE state = 'running' AND lease_builder = $2",
        now.as_millis(),
        builder.to_string()
    )?)
}

/// A running build, as much as the end of it is guessed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// In whose namespace.
    pub account: AccountId,
    /// Of which repository.
    pub repository: RepositoryId,
    /// When its first attempt was claimed.
    pub started_at: Timestamp,
}

/// What runs, at most 1,000.
pub async fn list_running(tx: &mut ReadTx) -> Result<Vec<Running>, StoreError> {
    let rows = fetch_all!(
        (String, String, i64),
        tx,
        "SELECT account_id, repository_id, COALESCE(started_at, queued_at) FROM builds WHERE state = 'running' LIMIT 1000"
    )?;
    let running = |(account, repository, started): (String, String, i64)| {
        Ok(Running { account: read("builds", &account)?, repository: read("builds", &repository)?, started_at: time(started) })
    };
    rows.into_iter().map(running).collect()
}

/// How long the last builds of a repository took that ended with an image, at most `limit` of them, from the first claim on.
pub async fn list_durations(tx: &mut ReadTx, repository: RepositoryId, limit: u32) -> Result<Vec<std::time::Duration>, StoreError> {
    let rows = fetch_all!(
        (i64, i64),
        tx,
        "SELECT started_at, finished_at FROM builds WHERE repository_id = $1 AND state = 'success' AND started_at IS NOT NULL
           AND finished_at IS NOT NULL ORDER BY number DESC LIMIT $2",
        repository.to_string(),
        i64::from(limit),
    )?;
    Ok(rows.into_iter().map(|(started, finished)| time(finished).since(time(started))).collect())
}
