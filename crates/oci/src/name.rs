//! Repository names, tags and references (OCI distribution-spec 1.1 §Pull).
//!
//! Invariant: what is held here matches the specification's grammar byte by byte; no percent escapes, no `..`.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// Longest repository name in bytes.
const MAX_NAME: usize = 255;
/// Longest tag in bytes.
const MAX_TAG: usize = 128;

/// Why a text is no repository name or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "a repository name is lowercase letters, digits and single separators `.`, `_`, `__`, `-` between them, parts divided by `/`, at most 255 bytes"
    )]
    Repository,
    /// Not a tag.
    #[error("a tag is at most 128 letters, digits, `_`, `.`, `-`, and does not start with `.` or `-`")]
    Tag,
}

/// `namespace/name`, or more parts: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Namespace and rest, divided at the first slash; `None` for a name of one part.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.0.split_once('/')
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= MAX_NAME && text.split('/').all(is_component) { Ok(Self(text.to_owned())) } else { Err(NameError::Repository) }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of a name: alphanumeric runs with exactly one separator between two of them.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(alphanumeric)
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let rest = |b: u8| word(b) || b == b'.' || b == b'-';
        let first_ok = text.bytes().next().is_some_and(word);
        if first_ok && text.len() <= MAX_TAG && text.bytes().all(rest) { Ok(Self(text.to_owned())) } else { Err(NameError::Tag) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a manifest is addressed. A tag cannot hold a colon, a digest always does, so the two never overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By name; what it points to may change.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names() {
        let longest = "a".repeat(255);
        for good in ["a", "a/b", "demo/hello", "a.b/c_d/e__f/g---h", "0/9", longest.as_str(), "blobs/uploads"] {
            assert_eq!(good.parse::<RepositoryName>().map(|n| n.to_string()), Ok(good.to_owned()), "{good}");
        }
        let too_long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a.",
            ".a",
            "a..b",
            "a___b",
            "a._b",
            "a_-b",
            "-a",
            "a-",
            "a%2fb",
            "a/../b",
            "ü",
            "a b",
            "a\0",
            "a\n",
            too_long.as_str(),
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
        let name: RepositoryName = "demo/hello/x".parse().expect("valid");
        assert_eq!(name.split(), Some(("demo", "hello/x")));
    }

    #[test]
    fn tags() {
        let longest = format!("_{}", "x".repeat(127));
        for good in ["latest", "v1.0", "_x", "1", "A-b_c.d", longest.as_str()] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        let too_long = format!("{longest}x");
        for bad in ["", ".x", "-x", "a/b", "a:b", "a b", "é", too_long.as_str()] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }
}
