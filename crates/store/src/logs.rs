//! The output of builds, in numbered pieces as it came. Every write is fenced by the caller in the same transaction (see `builds::hold`).
//!
//! Invariant: nothing here reads more than a page of pieces into memory; where a line stands is counted by the database.
//! A line is what ends with a line feed, counted from 1 within its step and attempt.

use std::collections::BTreeMap;

use slipway_model::{BuildId, Timestamp};

use crate::{ReadTx, StoreError, WriteTx, count, signed, small, time};

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
pub async fn append(tx: &mut WriteTx, build: BuildId, attempt: u32, chunks: &[(Option<&str>, &str, Timestamp)]) -> Result<(), StoreError> {
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
pub async fn list(tx: &mut ReadTx, build: BuildId, after: u64, limit: u32) -> Result<Vec<LogChunk>, StoreError> {
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

/// The number of the last piece, and its attempt; `None` while there is none.
pub async fn last(tx: &mut ReadTx, build: BuildId) -> Result<Option<(u64, u32)>, StoreError> {
    let row = fetch_optional!(
        (i64, i64),
        tx,
        "SELECT seq, attempt FROM build_logs WHERE build_id = $1 ORDER BY seq DESC LIMIT 1",
        build.to_string(),
    )?;
    Ok(row.map(|(seq, attempt)| (count(seq), small(attempt))))
}

/// Numbers and characters of an attempt's pieces in front of `before`, the nearest first, at most `limit`.
pub async fn sizes_before(tx: &mut ReadTx, build: BuildId, attempt: u32, before: u64, limit: u32) -> Result<Vec<(u64, u64)>, StoreError> {
    let rows = fetch_all!(
        (i64, i64),
        tx,
        "SELECT seq, CAST(LENGTH(text) AS BIGINT) FROM build_logs WHERE build_id = $1 AND attempt = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4",
        build.to_string(),
        i64::from(attempt),
        signed(before),
        i64::from(limit),
    )?;
    Ok(rows.into_iter().map(|(seq, length)| (count(seq), count(length))).collect())
}

/// How many lines of each step end in front of a piece of an attempt. What belongs to no step stands under the empty name.
pub async fn lines_before(tx: &mut ReadTx, build: BuildId, attempt: u32, seq: u64) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows = fetch_all!(
        (String, i64),
        tx,
        "SELECT COALESCE(step_id, ''), CAST(SUM(LENGTH(text) - LENGTH(REPLACE(text, $1, ''))) AS BIGINT) FROM build_logs
         WHERE build_id = $2 AND attempt = $3 AND seq < $4 GROUP BY COALESCE(step_id, '') LIMIT 10000",
        "\n",
        build.to_string(),
        i64::from(attempt),
        signed(seq),
    )?;
    Ok(rows.into_iter().map(|(step, lines)| (step, count(lines))).collect())
}

/// The piece in which a line of a step ends; `None` when there is no such line.
pub async fn piece_of_line(tx: &mut ReadTx, build: BuildId, attempt: u32, step: &str, line: u64) -> Result<Option<u64>, StoreError> {
    let row = fetch_optional!(
        (i64,),
        tx,
        "SELECT seq FROM (SELECT seq, SUM(LENGTH(text) - LENGTH(REPLACE(text, $1, ''))) OVER (ORDER BY seq) AS lines FROM build_logs
                          WHERE build_id = $2 AND attempt = $3 AND COALESCE(step_id, '') = $4) AS ends
         WHERE lines >= $5 ORDER BY seq LIMIT 1",
        "\n",
        build.to_string(),
        i64::from(attempt),
        step,
        signed(line),
    )?;
    Ok(row.map(|(seq,)| count(seq)))
}
