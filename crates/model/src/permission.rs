//! Rights: permissions over repositories, scopes of tokens, visibility.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::build::words;

words! {
    /// What an account may do with a repository or namespace; each includes the ones before it.
    Permission {
        /// See builds and settings, pull.
        Read = "read",
        /// Also start, cancel, retry, push, delete tags.
        Write = "write",
        /// Also change the build settings and see the values of variables.
        Admin = "admin",
        /// Also delete builds and repositories, create repositories, link providers, manage teams.
        Owner = "owner",
    }
}

impl Permission {
    /// 1 for read to 4 for owner: the larger one includes the smaller ones.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 3,
            Self::Owner => 4,
        }
    }

    /// The permission of that rank.
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| i64::from(permission.rank()) == rank)
    }
}

impl Ord for Permission {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Permission {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

words! {
    /// What kind of account it is.
    AccountKind {
        /// A person.
        User = "user",
        /// A group of people with teams; nobody signs in as it.
        Organization = "organization",
        /// A machine: tokens only, it never signs in to the web pages.
        Service = "service",
    }
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
    fn permissions_are_ordered_by_what_they_include() {
        let mut sorted = Permission::ALL.to_vec();
        sorted.sort();
        assert_eq!(sorted, [Permission::Read, Permission::Write, Permission::Admin, Permission::Owner]);
        for permission in Permission::ALL {
            assert_eq!(Permission::from_rank(permission.rank().into()), Some(*permission));
        }
        assert_eq!(Permission::from_rank(0), None);
        assert_eq!(Permission::from_rank(5), None);
    }

    #[test]
    fn scopes_include_smaller_ones_and_nothing_else() {
        let set: ScopeSet = "repo:write".parse().unwrap();
        assert!(set.allows(Scope::RepoRead) && set.allows(Scope::RepoWrite));
        assert!(!set.allows(Scope::RepoAdmin) && !set.allows(Scope::BuildWrite) && !set.allows(Scope::Account));
        assert!("repo:all".parse::<ScopeSet>().is_err());
        assert_eq!(ScopeSet::all().to_string().parse::<ScopeSet>().unwrap(), ScopeSet::all());
    }
}
