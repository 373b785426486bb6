//! Names of git objects as they may come from a hostile payload: full ref names and commit ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MAX_REF_BYTES: usize = 1024;

/// What a ref is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefKind {
    /// `refs/heads/...`
    Branch,
    /// `refs/tags/...`
    Tag,
    /// `refs/pull/N/head`: what a pull request wants to have merged.
    PullRequest,
}

/// A full, valid name of a branch or tag (`refs/heads/...` or `refs/tags/...`), by the rules of `git check-ref-format`, or of a pull request
/// (`refs/pull/N/head`).
///
/// It always begins with `refs/`, so as an argument it can never be read as an option. Of a pull request it is also our name where the
/// provider keeps no such ref.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);

/// Why a ref name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not the full name of a branch or tag: {why}")]
pub struct InvalidRefName {
    shown: String,
    why: &'static str,
}

impl RefName {
    /// The full name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Branch, tag or pull request.
    #[must_use]
    pub fn kind(&self) -> RefKind {
        if self.0.starts_with("refs/heads/") {
            RefKind::Branch
        } else if self.0.starts_with("refs/tags/") {
            RefKind::Tag
        } else {
            RefKind::PullRequest
        }
    }

    /// The name without `refs/heads/` or `refs/tags/`, what people call the branch or tag; `pull/N` of a pull request.
    #[must_use]
    pub fn short(&self) -> &str {
        let branch_or_tag = self.0.strip_prefix("refs/heads/").or_else(|| self.0.strip_prefix("refs/tags/"));
        branch_or_tag
            .or_else(|| self.0.strip_prefix("refs/")?.strip_suffix("/head"))
            .expect("the constructor demands one of the three forms")
    }

    /// The pull request of this number.
    #[must_use]
    pub fn pull_request(number: u64) -> Self {
        Self(format!("refs/pull/{number}/head"))
    }

    /// The number of a pull request.
    #[must_use]
    pub fn pull_request_number(&self) -> Option<u64> {
        self.0.strip_prefix("refs/pull/")?.strip_suffix("/head")?.parse().ok()
    }

    /// The branch of this short name.
    ///
    /// # Errors
    /// When git would refuse the name.
    pub fn branch(short: &str) -> Result<Self, InvalidRefName> {
        format!("refs/heads/{short}").parse()
    }
}

impl FromStr for RefName {
    type Err = InvalidRefName;
    fn from_str(text: &str) -> Result<Self, InvalidRefName> {
        let refuse = |why| Err(InvalidRefName { shown: text.chars().take(80).collect(), why });
        if text.len() > MAX_REF_BYTES {
            return refuse("it is longer than 1024 bytes");
        }
        if let Some(number) = text.strip_prefix("refs/pull/").and_then(|rest| rest.strip_suffix("/head")) {
            // As it would be written here: one pull request has one name.
            return match number.parse::<u64>() {
                Ok(parsed) if parsed.to_string() == number => Ok(Self(text.to_owned())),
                _ => refuse("it has no number of a pull request"),
            };
        }
        let Some(short) = text.strip_prefix("refs/heads/").or_else(|| text.strip_prefix("refs/tags/")) else {
            return refuse("it begins neither with `refs/heads/` nor with `refs/tags/`");
        };
        if short.is_empty() || short.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock")) {
            return refuse("a part of it is empty, begins with a dot or ends with `.lock`");
        }
        if short.contains("..") || short.contains("@{") || short.ends_with('.') {
            return refuse("it has `..`, `@{` or a dot at the end");
        }
        if short.chars().any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')) {
            return refuse("it has a blank, a control character or one of `~^:?*[\\`");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RefName {
    type Error = InvalidRefName;
    fn try_from(text: String) -> Result<Self, InvalidRefName> {
        text.parse()
    }
}

impl From<RefName> for String {
    fn from(name: RefName) -> Self {
        name.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a git object: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits, not all zero.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// The text was not the id of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a commit id, expected 40 or 64 hexadecimal digits")]
pub struct InvalidCommitId(String);

impl CommitId {
    /// All digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, as people read them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// Reads an id where all zeros stand for "no object": the `before` of a new ref, the `after` of a deleted one.
    ///
    /// # Errors
    /// When the text is neither an id nor all zeros.
    pub fn parse_or_zero(text: &str) -> Result<Option<Self>, InvalidCommitId> {
        if matches!(text.len(), 40 | 64) && text.bytes().all(|b| b == b'0') { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for CommitId {
    type Err = InvalidCommitId;
    fn from_str(text: &str) -> Result<Self, InvalidCommitId> {
        let hexadecimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !matches!(text.len(), 40 | 64) || !hexadecimal || text.bytes().all(|b| b == b'0') {
            return Err(InvalidCommitId(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CommitId {
    type Error = InvalidCommitId;
    fn try_from(text: String) -> Result<Self, InvalidCommitId> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_that_git_accepts_and_refuses() {
        for good in ["refs/heads/main", "refs/heads/-h", "refs/heads/--upload-pack=x", "refs/heads/ü/ö", "refs/tags/v1.0", "refs/heads/a@b"]
        {
            assert_eq!(good.parse::<RefName>().unwrap().as_str(), good);
        }
        for bad in [
            "main",
            "refs/heads/",
            "refs/heads/a b",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a/",
            "refs/heads//a",
            "refs/heads/a\nb",
            "refs/heads/a~1",
            "refs/heads/@{x",
            "refs/pull/1",
            "refs/pull/01/head",
            "refs/pull/+1/head",
            "refs/pull/x/head",
            "refs/pull/1/merge",
            "--upload-pack=x",
            "refs/heads/a\0b",
            "refs/heads/a.",
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad:?}");
        }
        assert_eq!("refs/tags/v1".parse::<RefName>().unwrap().kind(), RefKind::Tag);
        assert_eq!("refs/heads/f/x".parse::<RefName>().unwrap().short(), "f/x");
        let pull: RefName = "refs/pull/12/head".parse().unwrap();
        assert_eq!((pull.kind(), pull.short(), &pull), (RefKind::PullRequest, "pull/12", &RefName::pull_request(12)));
        assert_eq!(pull.pull_request_number(), Some(12));
    }

    #[test]
    fn commit_ids() {
        let sha1 = "a".repeat(40);
        assert_eq!(sha1.parse::<CommitId>().unwrap().short(), "aaaaaaa");
        assert!("b".repeat(64).parse::<CommitId>().is_ok());
        assert!("0".repeat(40).parse::<CommitId>().is_err());
        assert_eq!(CommitId::parse_or_zero(&"0".repeat(64)), Ok(None));
        assert!(CommitId::parse_or_zero("0").is_err());
        assert!("A".repeat(40).parse::<CommitId>().is_err());
        assert!("-".repeat(40).parse::<CommitId>().is_err());
    }
}
