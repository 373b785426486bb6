//! What an administrator says of a builder node in labels, and the versions of programs that a node needs.
//!
//! Invariant: labels that exist are written in one way only, so that equal ones are equal texts. Deliberately elsewhere: who has which labels
//! (`store::builders`), what a node says of itself (`wire`).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The oldest version of the builder protocol that a server works with. Version 1 had no nodes on other machines.
pub const OLDEST_PROTOCOL: u32 = 2;

/// The label without which a node takes no build.
const BUILDER: &str = "builder";
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 63;
/// More than any machine builds at once.
const MOST_BUILDS: u32 = 1000;

/// Labels of a node: `builder=2 ssd zone=a`. `builder` lets it build, `builder=n` at most n builds at once; the others are for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLabels(BTreeMap<String, Option<String>>);

/// Why labels cannot be these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidLabels(String);

impl NodeLabels {
    /// `builder` alone: as many builds at once as the node itself wants.
    #[must_use]
    pub fn builder() -> Self {
        Self(BTreeMap::from([(BUILDER.to_owned(), None)]))
    }

    /// How many builds a node with these labels may run at once that itself wants so many.
    #[must_use]
    pub fn places(&self, wanted: u32) -> u32 {
        match self.0.get(BUILDER) {
            None => 0,
            Some(None) => wanted,
            // It was looked at when the labels were read.
            Some(Some(most)) => most.parse().map_or(0, |most: u32| most.min(wanted)),
        }
    }

    /// Whether it may build at all.
    #[must_use]
    pub fn may_build(&self) -> bool {
        self.0.contains_key(BUILDER)
    }

    /// One by one, `builder=n` first.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let text = |(key, value): (&String, &Option<String>)| match value {
            None => key.clone(),
            Some(value) => format!("{key}={value}"),
        };
        let first = self.0.get_key_value(BUILDER);
        first.into_iter().chain(self.0.iter().filter(|(key, _)| *key != BUILDER)).map(text)
    }
}

impl fmt::Display for NodeLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, label) in self.iter().enumerate() {
            write!(f, "{}{label}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl FromStr for NodeLabels {
    type Err = InvalidLabels;

    /// Labels divided by spaces or commas; none at all is fine.
    fn from_str(text: &str) -> Result<Self, InvalidLabels> {
        let mut labels = BTreeMap::new();
        for label in text.split(|c: char| c.is_whitespace() || c == ',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
            check(label, key, value)?;
            if labels.insert(key.to_owned(), value.map(str::to_owned)).is_some() {
                return Err(InvalidLabels(format!("the label `{key}` stands there twice, once was expected")));
            }
            if labels.len() > MOST_LABELS {
                return Err(InvalidLabels(format!("a node has at most {MOST_LABELS} labels")));
            }
        }
        Ok(Self(labels))
    }
}

fn check(label: &str, key: &str, value: Option<&str>) -> Result<(), InvalidLabels> {
    let word = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let shown: String = label.chars().take(LONGEST_LABEL).collect();
    if label.len() > LONGEST_LABEL || !word(key) || !value.is_none_or(word) {
        let expected = format!("`name` or `name=value` of letters, digits, `-`, `_` and `.`, at most {LONGEST_LABEL} characters");
        return Err(InvalidLabels(format!("`{shown}` is no label, expected {expected}")));
    }
    let most = value.filter(|_| key == BUILDER);
    // `builder=01` would be another text for the same thing.
    let number = |most: &str| most.parse().ok().filter(|n: &u32| (1..=MOST_BUILDS).contains(n) && n.to_string() == most).is_some();
    if most.is_some_and(|most| !number(most)) {
        return Err(InvalidLabels(format!(
            "`{shown}` is no number of builds, expected `builder=1` to `builder={MOST_BUILDS}`; without the label `builder` a node builds nothing"
        )));
    }
    Ok(())
}

/// A program's version, as much of it as is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first git that takes its settings from the environment alone (2.31) and reads no settings of the machine (2.32).
    pub const OLDEST_GIT: Self = Self { major: 2, minor: 32 };
    /// The first Docker Engine whose BuildKit serves a session over `/grpc`.
    pub const OLDEST_DOCKER: Self = Self { major: 20, minor: 10 };

    /// The first `major.minor` in what a program prints about itself: `git version 2.39.5`, `20.10.24+dfsg1`.
    #[must_use]
    pub fn found_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut numbers = word.trim_start_matches('v').splitn(3, '.');
            let major = numbers.next()?.parse().ok()?;
            let minor: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
            Some(Self { major, minor: minor.parse().ok()? })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Docker counts its months with two digits.
        if self.major >= 17 { write!(f, "{}.{:02}", self.major, self.minor) } else { write!(f, "{}.{}", self.major, self.minor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> NodeLabels {
        text.parse().unwrap()
    }

    #[test]
    fn labels_say_how_much_is_built() {
        assert_eq!(labels("").places(4), 0);
        assert_eq!(labels("ssd").places(4), 0);
        assert_eq!(labels("builder").places(4), 4);
        assert_eq!(labels("builder=3").places(4), 3);
        assert_eq!(labels("builder=30").places(4), 4, "a node is never asked for more than it wants");
        assert_eq!(NodeLabels::builder(), labels("builder"));
        assert!(labels("builder=1").may_build() && !labels("builders").may_build());
    }

    #[test]
    fn labels_have_one_writing() {
        let written = labels("  zone=a,builder=2\n ssd ");
        assert_eq!(written.to_string(), "builder=2 ssd zone=a");
        assert_eq!(labels(&written.to_string()), written);
        assert_eq!(labels("ssd").to_string(), "ssd");
    }

    #[test]
    fn what_is_no_label_is_refused_with_what_was_expected() {
        for (text, expected) in [
            ("builder builder=2", "twice"),
            ("builder=0", "builder=1"),
            ("builder=01", "builder=1"),
            ("builder=x", "builder=1"),
            ("builder=", "no label"),
            ("=x", "no label"),
            ("-x", "no label"),
            ("a=b=c", "no label"),
            ("<script>", "no label"),
            (&"x".repeat(64), "no label"),
            (&(0..33).map(|n| format!("l{n} ")).collect::<String>(), "at most 32"),
        ] {
            let refused = text.parse::<NodeLabels>().unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn versions_are_found_and_compared_as_numbers() {
        let found = |text| Version::found_in(text).map(|version| version.to_string());
        assert_eq!(found("git version 2.39.5 (Apple Git-154)").as_deref(), Some("2.39"));
        assert_eq!(found("20.10.24+dfsg1").as_deref(), Some("20.10"));
        assert_eq!(found("27.05-rc1").as_deref(), Some("27.05"));
        assert_eq!(found("v0.12.3").as_deref(), Some("0.12"));
        assert_eq!(found("dev"), None);
        assert_eq!(found("4294967296.1"), None);
        assert!(Version::found_in("2.9").unwrap() < Version::OLDEST_GIT);
        assert!(Version::found_in("20.10").unwrap() >= Version::OLDEST_DOCKER);
        assert!(Version::found_in("19.03.8").unwrap() < Version::OLDEST_DOCKER);
    }
}
