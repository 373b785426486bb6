//! Which files of a source a rule is built from: monorepos build only what a push changed.
//!
//! A pattern is a glob from the source's root, as in `.dockerignore`: `*` and `?` stay within one folder, `**` crosses folders, and a pattern
//! that names a folder means everything in it. Deliberately elsewhere: which files changed (the builder asks git, never the payload).

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

const MAX_PATTERN_BYTES: usize = 256;
const MAX_PATTERNS: usize = 50;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPaths {
    /// One pattern is wrong.
    #[error("`{pattern}` is no pattern of paths: {problem}; for example `services/api/**` or `**/*.md`")]
    Pattern {
        /// The pattern, cut at 80 characters.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// There are too many.
    #[error("there are {0} patterns, at most {MAX_PATTERNS} are accepted")]
    TooMany(usize),
}

/// Some patterns, in the order in which they were written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct PathPatterns {
    texts: Vec<String>,
    globs: GlobSet,
}

impl PartialEq for PathPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}
impl Eq for PathPatterns {}

impl fmt::Debug for PathPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

impl fmt::Display for PathPatterns {
    /// A line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts.join("\n"))
    }
}

impl PathPatterns {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The patterns as they were written.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.texts
    }

    /// Whether one of them means this file, by its name or by that of a folder above it.
    #[must_use]
    pub fn contain(&self, path: &str) -> bool {
        let above = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
        above.chain([path]).any(|part| self.globs.is_match(part))
    }
}

fn glob(text: &str) -> Result<Glob, InvalidPaths> {
    let refused = |problem: String| InvalidPaths::Pattern { pattern: text.chars().take(80).collect(), problem };
    if text.len() > MAX_PATTERN_BYTES || text.chars().any(char::is_control) {
        return Err(refused(format!("expected at most {MAX_PATTERN_BYTES} bytes in one line")));
    }
    if text.starts_with('!') {
        return Err(refused("what is not meant stands under `exclude`, without `!`".to_owned()));
    }
    let inner = text.trim_start_matches("./").trim_matches('/');
    if inner.is_empty() || inner.split('/').any(|part| part == "..") {
        return Err(refused("expected a path inside of the source".to_owned()));
    }
    GlobBuilder::new(inner).literal_separator(true).build().map_err(|error| refused(error.kind().to_string()))
}

impl TryFrom<Vec<String>> for PathPatterns {
    type Error = InvalidPaths;
    fn try_from(texts: Vec<String>) -> Result<Self, InvalidPaths> {
        let texts: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect();
        if texts.len() > MAX_PATTERNS {
            return Err(InvalidPaths::TooMany(texts.len()));
        }
        let mut set = GlobSetBuilder::new();
        for text in &texts {
            set.add(glob(text)?);
        }
        let whole = |error: globset::Error| InvalidPaths::Pattern {
            pattern: texts.join(" ").chars().take(80).collect(),
            problem: error.to_string(),
        };
        let globs = set.build().map_err(whole)?;
        Ok(Self { texts, globs })
    }
}

impl From<PathPatterns> for Vec<String> {
    fn from(patterns: PathPatterns) -> Self {
        patterns.texts
    }
}

impl FromStr for PathPatterns {
    type Err = InvalidPaths;
    /// From one pattern a line.
    fn from_str(text: &str) -> Result<Self, InvalidPaths> {
        text.lines().map(str::to_owned).collect::<Vec<_>>().try_into()
    }
}

/// The files that a rule is built from. By default all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PathFilter {
    /// Only these; all when there is none.
    #[serde(default)]
    pub include: PathPatterns,
    /// But not these.
    #[serde(default)]
    pub exclude: PathPatterns,
}

impl PathFilter {
    /// Whether every file counts.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether a change of this file is one of what the rule is built from.
    #[must_use]
    pub fn wants(&self, path: &str) -> bool {
        (self.include.is_empty() || self.include.contain(path)) && !self.exclude.contain(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &str, exclude: &str) -> PathFilter {
        PathFilter { include: include.parse().unwrap(), exclude: exclude.parse().unwrap() }
    }

    #[test]
    fn patterns_mean_files_and_whole_folders() {
        let all = filter("", "");
        assert!(all.is_everything() && all.wants("any/file"));
        let api = filter("services/api\n/shared/\nMakefile\n*.toml", "**/*.md\nservices/api/docs/**");
        for wanted in ["services/api/main.rs", "services/api/src/lib.rs", "shared/x", "Makefile", "Cargo.toml"] {
            assert!(api.wants(wanted), "{wanted}");
        }
        for unwanted in [
            "services/web/main.rs",
            "services/apix/main.rs",
            "services/api/README.md",
            "services/api/docs/a/b",
            "x/Cargo.toml",
            "README.md",
        ] {
            assert!(!api.wants(unwanted), "{unwanted}");
        }
        assert!(filter("", "docs").wants("src/docs.rs") && !filter("", "docs").wants("docs/a/b"));
        assert!(filter("**/Dockerfile", "").wants("Dockerfile"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_an_example() {
        for bad in ["../x", "a/../../b", "/", "./", "a[", "{a", "!docs", "a\u{7}b", &"x".repeat(257)] {
            let error = bad.parse::<PathPatterns>().unwrap_err().to_string();
            assert!(error.contains("for example"), "{error}");
        }
        let many = vec!["a".to_owned(); 51];
        assert_eq!(PathPatterns::try_from(many).unwrap_err(), InvalidPaths::TooMany(51));
        assert_eq!(" a \n\n b".parse::<PathPatterns>().unwrap().as_slice(), ["a", "b"]);
    }
}
