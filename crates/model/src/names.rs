//! Names of accounts and repositories: one grammar, one list of reserved words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names that no account may have, because an address of ours begins with them.
pub const RESERVED_NAMES: &[&str] = &[
    "admin",
    "api",
    "assets",
    "auth",
    "builder",
    "builders",
    "builds",
    "explore",
    "healthz",
    "help",
    "hooks",
    "login",
    "logout",
    "metrics",
    "o",
    "oauth",
    "readyz",
    "repositories",
    "search",
    "settings",
    "setup",
    "signin",
    "signout",
    "slipway",
    "static",
    "teams",
    "tokens",
    "v2",
];

const MIN_LENGTH: usize = 2;
const MAX_LENGTH: usize = 64;

/// Why a name was refused; the text is fit for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Too short or too long.
    #[error("`{0}` has {1} characters, expected 2 to 64")]
    Length(String, usize),
    /// A character outside of the grammar.
    #[error("`{0}` has the character `{1}`, expected only `a-z`, `0-9`, `-` and `_`")]
    Character(String, char),
    /// The first or last character is not a letter or digit, or two separators stand together.
    #[error("`{0}` must begin and end with a letter or digit and have no two separators in a row")]
    Shape(String),
    /// A word that Slipway's own addresses use.
    #[error("`{0}` is a reserved word")]
    Reserved(String),
    /// Not of the form `namespace/name`.
    #[error("`{0}` is not of the form `namespace/name`")]
    Path(String),
}

/// Shows at most the beginning of a refused value: the message must not carry a megabyte back.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The grammar is the part of the OCI name grammar that has no dots: every account and repository name is a valid path component of an image.
fn check(text: &str) -> Result<(), InvalidName> {
    let length = text.chars().count();
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
        return Err(InvalidName::Length(shown(text), length));
    }
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
        return Err(InvalidName::Character(shown(text), odd));
    }
    let separator = |c: u8| matches!(c, b'-' | b'_');
    let bytes = text.as_bytes();
    let doubled = bytes.windows(2).any(|pair| separator(pair[0]) && separator(pair[1]));
    if separator(bytes[0]) || separator(bytes[bytes.len() - 1]) || doubled {
        return Err(InvalidName::Shape(shown(text)));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check(text)?;
                let reserved: &[&str] = $reserved;
                if reserved.contains(&text) {
                    return Err(InvalidName::Reserved(text.to_owned()));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> { text.parse() }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self { name.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    };
}

name! {
    /// Name of an account and so of its namespace.
    AccountName, RESERVED_NAMES
}
name! {
    /// Name of a repository inside its namespace.
    RepositoryName, &[]
}

/// `namespace/name`: the path of an image in the registry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RepositoryPath {
    /// The owning account's name.
    pub namespace: AccountName,
    /// The repository's name.
    pub name: RepositoryName,
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for RepositoryPath {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| InvalidName::Path(shown(text)))?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        for good in ["ab", "octo-cat", "a_b", "0x", &"a".repeat(64)] {
            assert!(good.parse::<AccountName>().is_ok(), "{good}");
        }
        for bad in ["a", "", "Octo", "a b", "a/b", "-a", "a-", "a--b", "a_-b", "é2", "..", &"a".repeat(65)] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad}");
        }
        assert_eq!("api".parse::<AccountName>(), Err(InvalidName::Reserved("api".into())));
        assert!("api".parse::<RepositoryName>().is_ok());
        assert_eq!(
            "Ab".parse::<AccountName>().unwrap_err().to_string(),
            "`Ab` has the character `A`, expected only `a-z`, `0-9`, `-` and `_`"
        );
        assert_eq!("demo/hello".parse::<RepositoryPath>().unwrap().to_string(), "demo/hello");
        assert!("demo".parse::<RepositoryPath>().is_err());
        assert!("demo/a/b".parse::<RepositoryPath>().is_err());
    }
}
