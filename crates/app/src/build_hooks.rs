//! Whose `hooks/` may run: the administrator's switch.

use std::collections::BTreeSet;

use slipway_model::AccountName;

/// Namespaces whose builds may run the scripts in `hooks/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BuildHooks {
    /// All of them.
    #[default]
    Everyone,
    /// These only; with none here, nobody.
    Chosen(BTreeSet<AccountName>),
}

impl BuildHooks {
    /// Reads the names of the configuration; `*` stands for everyone.
    ///
    /// # Errors
    /// The first word that is no name.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut chosen = BTreeSet::new();
        for word in words {
            if word == "*" {
                return Ok(Self::Everyone);
            }
            chosen.insert(word.parse().map_err(|error| format!("`{word}` is no namespace: {error}"))?);
        }
        Ok(Self::Chosen(chosen))
    }

    /// Whether this namespace is among them.
    #[must_use]
    pub fn may_run(&self, namespace: &AccountName) -> bool {
        match self {
            Self::Everyone => true,
            Self::Chosen(names) => names.contains(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_everyone_and_no_word_is_nobody() {
        let name = |text: &str| text.parse::<AccountName>().expect("name");
        let of = |words: &[&str]| BuildHooks::of(words.iter().copied()).expect("words");
        assert!(of(&["*"]).may_run(&name("acme")));
        assert!(!of(&[]).may_run(&name("acme")));
        assert!(of(&["acme", "beta"]).may_run(&name("beta")) && !of(&["acme"]).may_run(&name("beta")));
        assert!(BuildHooks::of(["Not A Name"]).expect_err("refused").starts_with("`Not A Name` is no namespace"));
    }
}
