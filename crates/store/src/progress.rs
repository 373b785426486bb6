//! What a builder reports of a running build: phases, steps, log. Every write is fenced by the caller in the same transaction
//! (see `builds::hold`); batches are kept once by their sequence number.

use std::collections::BTreeMap;

use slipway_model::{BuildId, Phase, Step, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, signed, small, time};

/// How long a phase of an attempt took.
#[derive(Debug, Clone)]
pub struct PhaseTimes {
    /// Which.
    pub phase: Phase,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it did.
    pub finished_at: Option<Timestamp>,
}

/// Notes that a phase began. The same report again changes nothing.
pub async fn start_phase(tx: &mut WriteTx, build: BuildId, attempt: u32, phase: Phase, at: Timestamp) -> Result<(), StoreError> {
    let began = change!(
        tx,
        "INSERT INTO build_phases (build_id, attempt, phase, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        build.to_string(),
        i64::from(attempt),
        phase.as_str(),
        at.as_millis(),
    )?;
    if began > 0 {
        change!(tx, "UPDATE builds SET phase = $1 WHERE id = $2 AND state = 'running'", phase.as_str(), build.to_string())?;
    }
    Ok(())
}

/// Notes that a phase ended; the first report counts.
pub async fn finish_phase(tx: &mut WriteTx, build: BuildId, attempt: u32, phase: Phase, at: Timestamp) -> Result<(), StoreError> {
    change!(
        tx,
        "UPDATE build_phases SET finished_at = $1 WHERE build_id = $2 AND attempt = $3 AND phase = $4 AND finished_at IS NULL",
        at.as_millis(),
        build.to_string(),
        i64::from(attempt),
        phase.as_str(),
    )?;
    Ok(())
}

/// The phases of the newest attempt, in order of their beginning.
pub async fn list_phases(tx: &mut ReadTx, build: BuildId, attempt: u32) -> Result<Vec<PhaseTimes>, StoreError> {
    let rows = fetch_all!(
        (String, i64, Option<i64>),
        tx,
        "SELECT phase, started_at, finished_at FROM build_phases WHERE build_id = $1 AND attempt = $2 ORDER BY started_at LIMIT 100",
        build.to_string(),
        i64::from(attempt),
    )?;
    let phases = rows.into_iter().map(|(phase, started, finished)| {
        Ok(PhaseTimes { phase: read("build_phases", &phase)?, started_at: time(started), finished_at: finished.map(time) })
    });
    let mut phases = phases.collect::<Result<Vec<_>, StoreError>>()?;
    // Two phases may begin in one millisecond; then their natural order decides.
    phases.sort_by_key(|times| (times.started_at, Phase::ALL.iter().position(|phase| *phase == times.phase)));
    Ok(phases)
}

/// Writes a step: new, or the newest value of one that stands.
pub async fn upsert_step(tx: &mut WriteTx, build: BuildId, attempt: u32, step: &Step) -> Result<(), StoreError> {
    change!(
        tx,
        "INSERT INTO build_steps (build_id, attempt, step_id, position, phase, name, state, cached, started_at, finished_at, error)
         VALUES ($1, $2, $3, (SELECT COUNT(*) FROM build_steps WHERE build_id = $1 AND attempt = $2), $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (build_id, attempt, step_id) DO UPDATE SET name = excluded.name, state = excluded.state, cached = excluded.cached,
             started_at = excluded.started_at, finished_at = excluded.finished_at, error = excluded.error",
        build.to_string(),
        i64::from(attempt),
        step.id.as_str(),
        step.phase.as_str(),
        step.name.as_str(),
        step.state.as_str(),
        step.cached,
        step.started_at.map(Timestamp::as_millis),
        step.finished_at.map(Timestamp::as_millis),
        step.error.as_deref(),
    )?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct StepRow {
    step_id: String,
    phase: String,
    name: String,
    state: String,
    cached: bool,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    error: Option<String>,
}

/// The steps of an attempt in the order of their first report, at most 5,000.
pub async fn list_steps(tx: &mut ReadTx, build: BuildId, attempt: u32) -> Result<Vec<Step>, StoreError> {
    fetch_all!(
        StepRow,
        tx,
        "SELECT step_id, phase, name, state, cached, started_at, finished_at, error FROM build_steps
         WHERE build_id = $1 AND attempt = $2 ORDER BY position LIMIT 5000",
        build.to_string(),
        i64::from(attempt),
    )?
    .into_iter()
    .map(|row| {
        Ok(Step {
            id: row.step_id,
            phase: read("build_steps", &row.phase)?,
            name: row.name,
            state: read("build_steps", &row.state)?,
            cached: row.cached,
            started_at: row.started_at.map(time),
            finished_at: row.finished_at.map(time),
            error: row.error,
        })
    })
    .collect()
}

/// A piece of log.
#[derive(Debug, Clone)]
pub struct LogChunk {
    /// Its place in the build's log, from 1.
    pub seq: u64,
    /// Of which attempt.
    pub attempt: u32,
    /// Of which step; `None` for the build as a whole.
    pub step: Option<String>,
    /// When it came.
    pub at: Timestamp,
    /// Already masked.
    pub text: String,
}

/// Appends pieces of log.
pub async fn append_log(
    tx: &mut WriteTx,
    build: BuildId,
    attempt: u32,
    chunks: &[(Option<&str>, &str, Timestamp)],
) -> Result<(), StoreError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let last = fetch_optional!((i64,), tx, "SELECT COALESCE(MAX(seq), 0) FROM build_logs WHERE build_id = $1", build.to_string())?
        .map_or(0, |(n,)| n);
    for (seq, (step, text, at)) in (last + 1..).zip(chunks) {
        change!(
            tx,
            "INSERT INTO build_logs (build_id, seq, attempt, step_id, at, text) VALUES ($1, $2, $3, $4, $5, $6)",
            build.to_string(),
            seq,
            i64::from(attempt),
            *step,
            at.as_millis(),
            *text,
        )?;
    }
    Ok(())
}

/// Pieces of log behind `after`, at most `limit`.
pub async fn list_log(tx: &mut ReadTx, build: BuildId, after: u64, limit: u32) -> Result<Vec<LogChunk>, StoreError> {
    let rows = fetch_all!(
        (i64, i64, Option<String>, i64, String),
        tx,
        "SELECT seq, attempt, step_id, at, text FROM build_logs WHERE build_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        build.to_string(),
        signed(after),
        i64::from(limit),
    )?;
    Ok(rows
        .into_iter()
        .map(|(seq, attempt, step, at, text)| LogChunk { seq: count(seq), attempt: small(attempt), step, at: time(at), text })
        .collect())
}

/// Groups the last lines of log by step: for the reason above the fold. At most `limit` pieces are read.
pub async fn tail_by_step(tx: &mut ReadTx, build: BuildId, attempt: u32, limit: u32) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = fetch_all!(
        (Option<String>, String),
        tx,
        "SELECT step_id, text FROM (SELECT seq, step_id, text FROM build_logs WHERE build_id = $1 AND attempt = $2 ORDER BY seq DESC LIMIT $3) AS tail ORDER BY seq",
        build.to_string(),
        i64::from(attempt),
        i64::from(limit),
    )?;
    let mut tails = BTreeMap::new();
    for (step, text) in rows {
        tails.entry(step.unwrap_or_default()).or_insert_with(String::new).push_str(&text);
    }
    Ok(tails)
}
