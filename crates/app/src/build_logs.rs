//! The output of a build as people read it: from a place on, its last lines, or a window of it around a line.
//!
//! Invariant: one answer holds a bounded part of the log, whatever its size; a window belongs to the newest attempt.

use std::collections::BTreeMap;

use slipway_model::{BuildId, BuildState};
use slipway_store::logs::{self, LogChunk};
use slipway_store::{ReadTx, StoreError, builds};

use crate::{App, Error, RepositoryRead};

/// Characters of one window, when its pieces are not larger.
const WINDOW: u64 = 1024 * 1024;
/// Pieces that are looked at in one step while a window grows.
const STRIDE: u32 = 64;
/// Pieces of one window at most.
const MAX_PIECES: u32 = 4096;

/// Where a window of a log stands.
#[derive(Debug, Clone)]
pub enum LogPlace {
    /// It ends in front of this piece.
    Before(u64),
    /// It begins behind this piece.
    After(u64),
    /// It shows this line of this step; `""` is the build as a whole.
    Line(String, u64),
}

/// A part of the newest attempt's log.
#[derive(Debug, Clone)]
pub struct LogWindow {
    /// The pieces, in order.
    pub pieces: Vec<LogChunk>,
    /// How many lines of each step stand in front of them.
    pub lines_before: BTreeMap<String, u64>,
    /// Whether there are earlier pieces.
    pub earlier: bool,
    /// Whether there are later pieces by now.
    pub later: bool,
}

/// The first of the pieces in front of `before` that together have about so many characters; `before` when there is none.
async fn first_within(tx: &mut ReadTx, build: BuildId, attempt: u32, before: u64, characters: u64) -> Result<u64, StoreError> {
    let (mut first, mut sum, mut seen) = (before, 0, 0);
    while sum < characters && seen < MAX_PIECES {
        let sizes = logs::sizes_before(tx, build, attempt, first, STRIDE).await?;
        for (seq, length) in &sizes {
            if sum > 0 && sum + length > characters {
                return Ok(first);
            }
            (first, sum, seen) = (*seq, sum + length, seen + 1);
        }
        if sizes.len() < STRIDE as usize {
            break;
        }
    }
    Ok(first)
}

/// The pieces behind `after` in front of `end`, as long as they have no more than so many bytes; one in any case.
async fn pieces_between(tx: &mut ReadTx, build: BuildId, after: u64, end: u64, bytes: u64) -> Result<Vec<LogChunk>, StoreError> {
    let (mut pieces, mut size): (Vec<LogChunk>, u64) = (Vec::new(), 0);
    loop {
        let from = pieces.last().map_or(after, |piece: &LogChunk| piece.seq);
        let page = logs::list(tx, build, from, STRIDE).await?;
        let last_page = page.len() < STRIDE as usize;
        for piece in page {
            size += piece.text.len() as u64;
            if piece.seq >= end || (!pieces.is_empty() && size > bytes) || pieces.len() >= MAX_PIECES as usize {
                return Ok(pieces);
            }
            pieces.push(piece);
        }
        if last_page {
            return Ok(pieces);
        }
    }
}

impl App {
    /// Pieces of a build's log behind `after`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn build_log(
        &self,
        right: &RepositoryRead,
        build: BuildId,
        after: u64,
        limit: u32,
    ) -> Result<(BuildState, Vec<LogChunk>), Error> {
        let mut tx = self.read().await?;
        let state = builds::get(&mut tx, right.repository().id, build).await?.ok_or(Error::NotFound)?.state;
        Ok((state, logs::list(&mut tx, build, after, limit).await?))
    }

    /// The last lines of each step of the newest attempt.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn build_log_tails(&self, right: &RepositoryRead, build: BuildId) -> Result<BTreeMap<String, String>, Error> {
        let mut tx = self.read().await?;
        let build = builds::get(&mut tx, right.repository().id, build).await?.ok_or(Error::NotFound)?;
        Ok(logs::tail_by_step(&mut tx, build.id, build.attempt, 50).await?)
    }

    /// Behind which piece the last `characters` of the newest attempt's log begin, with the lines of each step in front of them; `None` when
    /// that is all of it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn build_log_end(
        &self,
        right: &RepositoryRead,
        build: BuildId,
        characters: u64,
    ) -> Result<Option<(u64, BTreeMap<String, u64>)>, Error> {
        let mut tx = self.read().await?;
        let build = builds::get(&mut tx, right.repository().id, build).await?.ok_or(Error::NotFound)?;
        let first = first_within(&mut tx, build.id, build.attempt, i64::MAX as u64, characters).await?;
        if logs::sizes_before(&mut tx, build.id, build.attempt, first, 1).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some((first - 1, logs::lines_before(&mut tx, build.id, build.attempt, first).await?)))
    }

    /// A window of a build's log; `None` when there is no such line.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn build_log_window(&self, right: &RepositoryRead, build: BuildId, place: &LogPlace) -> Result<Option<LogWindow>, Error> {
        let mut tx = self.read().await?;
        let build = builds::get(&mut tx, right.repository().id, build).await?.ok_or(Error::NotFound)?;
        let (id, attempt) = (build.id, build.attempt);
        // A character has four bytes at most: what was chosen by characters always fits.
        let (first, end, bytes) = match place {
            LogPlace::Before(seq) => (first_within(&mut tx, id, attempt, *seq, WINDOW).await?, *seq, 4 * WINDOW),
            LogPlace::After(seq) => (seq.saturating_add(1), u64::MAX, WINDOW),
            LogPlace::Line(step, line) => {
                let Some(seq) = logs::piece_of_line(&mut tx, id, attempt, step, *line).await? else { return Ok(None) };
                // What led there is read more often than what followed.
                (first_within(&mut tx, id, attempt, seq, WINDOW / 4).await?, u64::MAX, 2 * WINDOW)
            }
        };
        let mut pieces = pieces_between(&mut tx, id, first.saturating_sub(1), end, bytes).await?;
        pieces.retain(|piece| piece.attempt == attempt);
        let first = pieces.first().map_or(first, |piece| piece.seq);
        let last = pieces.last().map_or(first.saturating_sub(1), |piece| piece.seq);
        Ok(Some(LogWindow {
            lines_before: logs::lines_before(&mut tx, id, attempt, first).await?,
            earlier: !logs::sizes_before(&mut tx, id, attempt, first, 1).await?.is_empty(),
            later: logs::last(&mut tx, id).await?.is_some_and(|(seq, _)| seq > last),
            pieces,
        }))
    }
}
