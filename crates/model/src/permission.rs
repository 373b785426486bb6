//! Rights: permissions over repositories, scopes of tokens, visibility.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::build::words;

/// What an account may do with a repository or namespace; each includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// See builds and settings, pull.
    Read,
    /// Also start, cancel, retry, push.
    Write,
    /// Also change the build settings and see the values of variables.
    Admin,
    /// Also delete, create repositories, link providers.
    Owner,
}

words! {
    /// Who may pull a repository and see its general page.
    Visibility {
        /// Those with a permission.
        Private = "private",
        /// Everybody.
        Public = "public",
    }
}

words! {
    /// What a token may be used for; a token never gives more than its account has.
    Scope {
        /// Read repositories, builds and settings; pull.
        RepoRead = "repo:read",
        /// Push; delete tags.
        RepoWrite = "repo:write",
        /// Change settings, create and delete repositories, link providers.
        RepoAdmin = "repo:admin",
        /// Start, cancel and retry builds.
        BuildWrite = "build:write",
        /// The account itself: its tokens and settings.
        Account = "account",
    }
}

/// A set of scopes, written with blanks between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// All scopes.
    #[must_use]
    pub fn all() -> Self {
        Self(Scope::ALL.to_vec())
    }

    /// These scopes, each once.
    #[must_use]
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut set = Vec::new();
        for scope in scopes {
            if !set.contains(&scope) {
                set.push(scope);
            }
        }
        Self(set)
    }

    /// Whether the set gives the scope. `repo:admin` gives `repo:write`, which gives `repo:read`; `build:write` gives `repo:read`.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        let has = |wanted: Scope| self.0.contains(&wanted);
        match scope {
            Scope::RepoRead => has(Scope::RepoRead) || has(Scope::RepoWrite) || has(Scope::RepoAdmin) || has(Scope::BuildWrite),
            Scope::RepoWrite => has(Scope::RepoWrite) || has(Scope::RepoAdmin),
            other => has(other),
        }
    }

    /// The scopes.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for ScopeSet {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.split_whitespace().map(str::parse).collect::<Result<Vec<Scope>, _>>().map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_include_smaller_ones_and_nothing_else() {
        let set: ScopeSet = "repo:write".parse().unwrap();
        assert!(set.allows(Scope::RepoRead) && set.allows(Scope::RepoWrite));
        assert!(!set.allows(Scope::RepoAdmin) && !set.allows(Scope::BuildWrite) && !set.allows(Scope::Account));
        assert!("repo:all".parse::<ScopeSet>().is_err());
        assert_eq!(ScopeSet::all().to_string().parse::<ScopeSet>().unwrap(), ScopeSet::all());
    }
}
