//! What a builder reports of a running build: phases and steps. Every write is fenced by the caller in the same transaction
//! (see `builds::hold`); batches are kept once by their sequence number. Deliberately elsewhere: its output (`logs`).

use slipway_model::{BuildId, Phase, Step, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, read, time};

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

/// How far a build was spared work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Steps that came from the cache.
    pub hits: u64,
    /// Steps that could have: instructions of the Dockerfile that make layers, and ended.
    pub steps: u64,
}

/// How many steps of an attempt came from the cache. BuildKit names an instruction `[stage 2/5] RUN ...`, its own work `[internal] ...`.
pub async fn cache_use(tx: &mut ReadTx, build: BuildId, attempt: u32) -> Result<CacheUse, StoreError> {
    let found = fetch_optional!(
        (i64, i64),
        tx,
        "SELECT COALESCE(SUM(CASE WHEN cached THEN 1 ELSE 0 END), 0), COUNT(*) FROM build_steps
         WHERE build_id = $1 AND attempt = $2 AND phase = 'build' AND state IN ('success', 'failed')
           AND (name LIKE '[%/%] RUN %' OR name LIKE '[%/%] COPY %' OR name LIKE '[%/%] ADD %' OR name LIKE '[%/%] WORKDIR %')",
        build.to_string(),
        i64::from(attempt),
    )?;
    Ok(found.map_or_else(CacheUse::default, |(hits, steps)| CacheUse { hits: count(hits), steps: count(steps) }))
}
