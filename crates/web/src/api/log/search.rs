//! Search in a whole log, as its reader sees it: without escape sequences, and whatever the case.
//!
//! Invariant: the log goes through in pages and nothing of it stays but the matches and the beginnings of unfinished lines, both bounded;
//! few searches run at a time.

use std::borrow::Cow;
use std::collections::HashMap;

use axum::extract::State;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::{PAGE, build, page};
use crate::api::at::BuildAt;
use crate::edge::json::{Json, Path, Query};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::pages::view::plain;
use crate::session::ApiCaller;
use crate::state::WebState;

const MAX_QUERY: usize = 200;
const MAX_MATCHES: usize = 1000;
/// Of a longer line only the beginning is searched.
const MAX_LINE: usize = 16 * 1024;
/// Beginnings of lines that are kept until their ends come, over all steps.
const MAX_UNFINISHED: usize = 4 * 1024 * 1024;
const MAX_STEPS: usize = 10_000;
/// Of a match, this much is shown in front of it and behind its beginning.
const SHOWN: (usize, usize) = (80, 220);

/// Searches at the same time: each reads a log from beginning to end.
static SEARCHES: Semaphore = Semaphore::const_new(4);

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The text, at most 200 characters; it is no pattern.
    #[serde(default)]
    q: String,
    /// Only in what this step wrote; empty for what belongs to none.
    step: Option<String>,
}

/// A line that has the text.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LogMatch {
    /// The step that wrote it; empty for none.
    step: String,
    /// Which line of the step, counted from 1.
    line: u64,
    /// The line around the first match.
    text: String,
}

/// The lines that have the text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogMatches {
    /// In the order of the log, at most 1,000.
    items: Vec<LogMatch>,
    /// Whether there are more.
    more: bool,
}

/// Searches the log of the newest attempt.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log/search", tag = "builds", params(BuildAt, Wanted), responses((status = 200, body = LogMatches), Errors))]
pub(crate) async fn search(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<LogMatches>, ApiError> {
    let (_, build) = build(&state, &caller, &at).await?;
    let mut search = Search::of(&wanted)?;
    let _place = SEARCHES
        .try_acquire()
        .map_err(|_| ApiError::new(Code::Unavailable, "too many logs are being searched at this moment").retry_after(2))?;
    let mut after = 0;
    while !search.is_full() {
        let chunks = page(&state, build.id, after).await?;
        let last = chunks.len() < PAGE as usize;
        for chunk in &chunks {
            after = chunk.seq;
            if chunk.attempt == build.attempt {
                search.piece(chunk.step.as_deref().unwrap_or_default(), &chunk.text);
            }
        }
        if last {
            search.end();
            break;
        }
        // A page takes milliseconds; others want to be served too.
        tokio::task::yield_now().await;
    }
    let more = search.is_full();
    search.found.truncate(MAX_MATCHES);
    Ok(Json(LogMatches { items: search.found, more }))
}

struct Search {
    text: Regex,
    step: Option<String>,
    /// By step: how many lines have ended, and the beginning of the next one.
    open: HashMap<String, (u64, String)>,
    unfinished: usize,
    found: Vec<LogMatch>,
}

impl Search {
    fn of(wanted: &Wanted) -> Result<Self, ApiError> {
        let length = wanted.q.chars().count();
        if length == 0 || length > MAX_QUERY {
            return Err(ApiError::new(Code::Invalid, format!("`q` has {length} characters, expected 1 to {MAX_QUERY}")).field("q"));
        }
        let text = RegexBuilder::new(&regex::escape(&wanted.q)).case_insensitive(true).build();
        let text = text.map_err(|_| ApiError::new(Code::Invalid, "`q` cannot be searched for, expected a shorter text").field("q"))?;
        Ok(Self { text, step: wanted.step.clone(), open: HashMap::new(), unfinished: 0, found: Vec::new() })
    }

    /// One more than is given, to know that there are more.
    fn is_full(&self) -> bool {
        self.found.len() > MAX_MATCHES
    }

    fn piece(&mut self, step: &str, text: &str) {
        if self.step.as_deref().is_some_and(|wanted| wanted != step) || (!self.open.contains_key(step) && self.open.len() >= MAX_STEPS) {
            return;
        }
        let (mut ended, mut begun) = self.open.remove(step).unwrap_or_default();
        self.unfinished -= begun.len();
        for part in text.split_inclusive('\n') {
            if self.is_full() {
                return;
            }
            let room = MAX_LINE.saturating_sub(begun.len()).min(MAX_UNFINISHED - self.unfinished);
            match part.strip_suffix('\n') {
                Some(rest) => {
                    ended += 1;
                    if begun.is_empty() {
                        self.line(step, ended, beginning(rest, MAX_LINE));
                    } else {
                        begun.push_str(beginning(rest, room));
                        self.line(step, ended, &begun);
                        begun.clear();
                    }
                }
                None => begun.push_str(beginning(part, room)),
            }
        }
        self.unfinished += begun.len();
        self.open.insert(step.to_owned(), (ended, begun));
    }

    /// What has no end yet is a line too.
    fn end(&mut self) {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().filter(|(_, (_, begun))| !begun.is_empty()).collect();
        open.sort();
        for (step, (ended, begun)) in open {
            self.line(&step, ended + 1, &begun);
        }
    }

    fn line(&mut self, step: &str, number: u64, raw: &str) {
        // Nearly all lines are what they show.
        let shown = match raw.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            true => Cow::Borrowed(raw),
            false => Cow::Owned(plain::text(raw)),
        };
        if let Some(found) = self.text.find(&shown)
            && !self.is_full()
        {
            self.found.push(LogMatch { step: step.to_owned(), line: number, text: around(&shown, found.start()) });
        }
    }
}

/// At most so many bytes, and no half of a character.
fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The text around a place in it.
fn around(text: &str, at: usize) -> String {
    let from = text[..at].char_indices().rev().take(SHOWN.0).last().map_or(at, |(index, _)| index);
    let to = text[at..].char_indices().nth(SHOWN.1).map_or(text.len(), |(index, _)| at + index);
    let (before, behind) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
    format!("{before}{}{behind}", &text[from..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(q: &str, step: Option<&str>, pieces: &[(&str, &str)]) -> Vec<(String, u64, String)> {
        let mut search = Search::of(&Wanted { q: q.to_owned(), step: step.map(str::to_owned) }).unwrap();
        for (step, text) in pieces {
            search.piece(step, text);
        }
        search.end();
        search.found.into_iter().map(|found| (found.step, found.line, found.text)).collect()
    }

    fn found(step: &str, line: u64, text: &str) -> (String, u64, String) {
        (step.to_owned(), line, text.to_owned())
    }

    #[test]
    fn lines_are_put_together_over_pieces_and_steps() {
        let pieces = [("a", "one\nERR"), ("b", "error of b\n"), ("a", "OR two\nthree\n"), ("", "an Error without an end")];
        let all = [found("b", 1, "error of b"), found("a", 2, "ERROR two"), found("", 1, "an Error without an end")];
        assert_eq!(searched("error", None, &pieces), all);
        assert_eq!(searched("error", Some("a"), &pieces), [found("a", 2, "ERROR two")]);
        assert_eq!(searched("error", Some(""), &pieces), [found("", 1, "an Error without an end")]);
    }

    #[test]
    fn what_is_shown_is_searched_and_no_pattern_is_meant() {
        let pieces = [("a", "\u{1b}[31mnot\u{1b}[0m ok\n\u{1b}]52;c;secret\u{7}copied\n10%\rdone (.*)\nÄRGER\n")];
        assert_eq!(searched("not ok", None, &pieces), [found("a", 1, "not ok")]);
        assert_eq!(searched("secret", None, &pieces), []);
        assert_eq!(searched("10%", None, &pieces), [], "it was written over");
        assert_eq!(searched(".*", None, &pieces), [found("a", 3, "done (.*)")]);
        assert_eq!(searched("ärger", None, &pieces), [found("a", 4, "ÄRGER")]);
    }

    #[test]
    fn everything_is_bounded() {
        for q in ["", &"x".repeat(201)] {
            assert!(Search::of(&Wanted { q: q.to_owned(), step: None }).is_err());
        }
        assert!(Search::of(&Wanted { q: "🦀".repeat(200), step: None }).is_ok());
        let mut search = Search::of(&Wanted { q: "x".to_owned(), step: None }).unwrap();
        for _ in 0..100 {
            search.piece("endless", &"🦀x".repeat(10_000));
        }
        assert!(search.unfinished <= MAX_LINE);
        for step in 0..2 * MAX_STEPS {
            search.piece(&step.to_string(), &"y".repeat(1000));
        }
        assert!(search.open.len() <= MAX_STEPS && search.unfinished <= MAX_UNFINISHED);
        search.piece("endless", "\n");
        assert_eq!(search.found.len(), 1, "the beginning of the long line was searched");
        assert_eq!(search.found[0].text.chars().count(), SHOWN.1 + 2);
        search.piece("endless", &"x\n".repeat(2 * MAX_MATCHES));
        assert!(search.is_full() && search.found.len() == MAX_MATCHES + 1);
    }
}
