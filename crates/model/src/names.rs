//! Names of accounts and repositories: one grammar, one list of reserved words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names that no account may have, because an address of ours begins with them.
pub const RESERVED_NAMES: &[&str] = &[
    "admin",
    "anonymous",
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
    "invitations",
    "login",
    "logout",
    "metrics",
    "o",
    "oauth",
    "oidc",
    "organizations",
    "readyz",
    "repositories",
    "search",
    "settings",
    "setup",
    "signin",
    "signout",
    "signup",
    "slipway",
    "slipway-build",
    "static",
    "teams",
    "tokens",
    "triggers",
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
    /// The first or last character is not a letter or digit, or separators are mixed.
    #[error("`{0}` must begin and end with a letter or digit; between them stand `_`, `__` or any number of `-`")]
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

/// The grammar is the part of the OCI name grammar that has no dots (OCI distribution 1.1, "Pulling manifests": separators are `_`, `__`
/// or `-`s): every account and repository name is a valid path component of an image.
fn check(text: &str) -> Result<(), InvalidName> {
    let length = text.chars().count();
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
        return Err(InvalidName::Length(shown(text), length));
    }
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
        return Err(InvalidName::Character(shown(text), odd));
    }
    let separator = |c: char| matches!(c, '-' | '_');
    // Between two separators stands something or nothing: what is left of `a-_b` has a run of both kinds.
    let mut runs = text.split(|c: char| !separator(c)).filter(|run| !run.is_empty());
    let mixed = runs.any(|run| !(run == "_" || run == "__" || run.chars().all(|c| c == '-')));
    if text.starts_with(separator) || text.ends_with(separator) || mixed {
        return Err(InvalidName::Shape(shown(text)));
    }
    Ok(())
}

/// What a name looks like at a glance: two names with one skeleton are easily taken for each other (`acme-1`, `acme_l`).
/// Names of accounts are unique by it. The same stands in SQL (`0003_people.sql`).
#[must_use]
pub fn skeleton(name: &str) -> String {
    let mut text = name.replace('_', "-").replace('0', "o").replace('1', "l").replace("rn", "m").replace("vv", "w");
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    text
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
                if reserved.iter().any(|word| skeleton(word) == skeleton(text)) {
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
name! {
    /// Name of a team inside its organization. `new` is an address of ours beside the teams.
    TeamName, &["new"]
}

impl TeamName {
    /// The team whose members own the organization; it always stands and always has a member.
    #[must_use]
    pub fn owners() -> Self {
        Self("owners".to_owned())
    }
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
    fn names_that_look_alike_have_one_skeleton() {
        for (one, two) in [("acme-1", "acme_l"), ("modern", "modem"), ("g00gle", "google"), ("vvide", "wide"), ("a--b", "a_b")] {
            assert_eq!(skeleton(one), skeleton(two), "{one} {two}");
        }
        assert_ne!(skeleton("octo"), skeleton("acto"));
        for alike in ["he1p", "t0kens", "0auth", "1ogin"] {
            assert_eq!(alike.parse::<AccountName>(), Err(InvalidName::Reserved(alike.into())));
        }
        assert_eq!(TeamName::owners(), "owners".parse().unwrap());
        assert!("new".parse::<TeamName>().is_err());
    }

    #[test]
    fn the_grammar() {
        for good in ["ab", "octo-cat", "a_b", "a--b", "a__b-c", "0x", &"a".repeat(64)] {
            assert!(good.parse::<AccountName>().is_ok(), "{good}");
        }
        for bad in ["a", "", "Octo", "a b", "a/b", "-a", "a-", "a___b", "a_-b", "é2", "..", &"a".repeat(65)] {
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
