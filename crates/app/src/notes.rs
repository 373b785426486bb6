//! What is noted of a build beside its state: one line for each thing.
//!
//! Invariants: lines are written and read here only. How an attempt ended stays noted to the build's end; for what its provider made it wait,
//! and how its source was cloned, is true of the newest attempt alone. Deliberately elsewhere: what becomes of tags (`promote`), in words.

use slipway_store::builds::Build;

const ATTEMPT: &str = "attempt ";
const CLONED: &str = "cloned with ";
/// Of a builder that ends again and again the last words do.
const ATTEMPTS: usize = 20;
const CHARACTERS: usize = 500;

/// What was noted of a build, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes<'a> {
    /// How earlier attempts ended, in order.
    pub attempts: Vec<&'a str>,
    /// With what the source was cloned, and why not otherwise.
    pub cloned: Option<&'a str>,
    /// All else, like tags that did not move.
    pub others: Vec<&'a str>,
}

impl<'a> Notes<'a> {
    /// Of this build.
    #[must_use]
    pub fn of(build: &'a Build) -> Self {
        Self::read(build.note.as_deref().unwrap_or_default())
    }

    fn read(note: &'a str) -> Self {
        let mut notes = Self::default();
        for line in note.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix(CLONED) {
                Some(with) => notes.cloned = Some(with),
                None if line.starts_with(ATTEMPT) => notes.attempts.push(line),
                None => notes.others.push(line),
            }
        }
        notes
    }
}

/// Words of builders and providers are one line.
fn line(text: &str) -> String {
    text.chars().take(CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The note of a build that goes on: how its earlier attempts ended, and one more line.
fn with_line(build: &Build, text: &str) -> String {
    let earlier = Notes::of(build).attempts;
    let text = line(text);
    let kept = &earlier[earlier.len().saturating_sub(ATTEMPTS)..];
    kept.iter().copied().chain([text.as_str()]).collect::<Vec<_>>().join("\n")
}

/// After the running attempt ended like this (`lost its lease: ...`), and another one follows.
pub(crate) fn after_attempt(build: &Build, how: &str) -> String {
    with_line(build, &format!("{ATTEMPT}{} {how}", build.attempt))
}

/// While a build waits for what is no attempt.
pub(crate) fn while_it_waits(build: &Build, why: &str) -> String {
    with_line(build, why)
}

/// When a builder gets it: what it waited for is over.
pub(crate) fn when_it_runs(build: &Build) -> Option<String> {
    let attempts = Notes::of(build).attempts;
    (!attempts.is_empty()).then(|| attempts.join("\n"))
}

/// How the source was cloned.
pub(crate) fn cloned(with: &str, because: Option<&str>) -> String {
    let because = because.map(|because| format!(", because {because}")).unwrap_or_default();
    line(&format!("{CLONED}{with}{because}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let token = "a token of the link, because there may be no deploy key: 403; ask an owner";
        let note = format!("not moved: latest; `x` too\nattempt 1 ended: no\nattempt 2 lost its lease\n{}", cloned(token, None));
        let read = Notes::read(&note);
        assert_eq!(read.others, ["not moved: latest; `x` too"]);
        assert_eq!(read.attempts, ["attempt 1 ended: no", "attempt 2 lost its lease"]);
        assert_eq!(read.cloned, Some(token));
        assert_eq!(Notes::read(""), Notes::default());
        assert_eq!(Notes::read("the image was cloned with care").others, ["the image was cloned with care"]);
        assert_eq!(cloned("x", Some("a\nattempt 9\u{1b}")), "cloned with x, because a attempt 9 ", "nobody's words make another line");
    }
}
