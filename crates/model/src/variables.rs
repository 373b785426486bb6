//! Variables of a repository and build arguments of a rule: their names, and how much they may hold.
//!
//! Invariant: neither takes the place of what Slipway itself sets, nor steers the engine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::RuleError;

/// Names of the variables that Slipway itself sets for a build; nobody else may set them.
pub const SERVICE_VARIABLES: &[&str] =
    &["SOURCE_BRANCH", "SOURCE_COMMIT", "COMMIT_MSG", "DOCKER_REPO", "DOCKERFILE_PATH", "DOCKER_TAG", "CACHE_TAG", "IMAGE_NAME"];

/// The variable with the private SSH key that takes the place of the deploy key, and opens submodules. It is for the checkout alone.
pub const SSH_PRIVATE: &str = "SSH_PRIVATE";
/// The variable with lines of `known_hosts`: SSH servers of submodules that are at no configured provider.
pub const SSH_KNOWN_HOSTS: &str = "SSH_KNOWN_HOSTS";

/// Values of variables with fewer bytes are not masked in logs: every other word would be.
pub const SHORTEST_MASKED: usize = 6;
/// A secret needs so many bytes: a shorter value stands by chance in any image, so it cannot be looked for there.
pub const SHORTEST_SECRET: usize = 8;

const MAX_VALUE_BYTES: usize = 32 * 1024;
const MAX_ARGUMENTS: usize = 50;
const MAX_ARGUMENT_BYTES: usize = 4096;

/// Build arguments of a rule, in order. Everybody who sees the rule sees them: what is secret is a variable.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<BuildArgument>", into = "Vec<BuildArgument>")]
pub struct BuildArguments(Vec<BuildArgument>);

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BuildArgument {
    /// `[A-Za-z_][A-Za-z0-9_]*`
    pub name: String,
    /// One line.
    pub value: String,
}

impl BuildArguments {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[BuildArgument] {
        &self.0
    }
}

impl TryFrom<Vec<BuildArgument>> for BuildArguments {
    type Error = RuleError;
    fn try_from(all: Vec<BuildArgument>) -> Result<Self, RuleError> {
        let refused = |text: String| Err(RuleError::Argument(text));
        if all.len() > MAX_ARGUMENTS {
            return refused(format!("there are {} build arguments, at most {MAX_ARGUMENTS} are accepted", all.len()));
        }
        for (index, argument) in all.iter().enumerate() {
            let name = &argument.name;
            if let Some(problem) = variable_name_problem(name) {
                return refused(problem);
            }
            if name == SSH_PRIVATE {
                return refused(format!("`{name}` is a variable for the checkout alone: everybody who sees the rule would see the key"));
            }
            if name.starts_with("BUILDKIT_") {
                return refused(format!("`{name}` steers the engine, so no rule may set it"));
            }
            if argument.value.len() > MAX_ARGUMENT_BYTES || argument.value.chars().any(char::is_control) {
                return refused(format!("the value of `{name}` is no line of at most {MAX_ARGUMENT_BYTES} bytes"));
            }
            if all[..index].iter().any(|earlier| earlier.name == *name) {
                return refused(format!("the build argument `{name}` stands twice"));
            }
        }
        Ok(Self(all))
    }
}

impl From<BuildArguments> for Vec<BuildArgument> {
    fn from(arguments: BuildArguments) -> Self {
        arguments.0
    }
}

impl fmt::Display for BuildArguments {
    /// A line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|argument| format!("{}={}", argument.name, argument.value)).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// A build environment variable of a repository. `Debug` never shows the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// `[A-Za-z_][A-Za-z0-9_]*`
    pub name: String,
    /// Any text, several lines too.
    pub value: String,
    /// It reaches the Dockerfile only as a secret of BuildKit (`RUN --mount=type=secret,id=NAME`), never as an argument, and no image may
    /// hold it. Hooks and test files get it like any other.
    #[serde(default)]
    pub secret: bool,
}

impl EnvironmentVariable {
    /// What is wrong with the name, for people; `None` when all is well.
    #[must_use]
    pub fn name_problem(&self) -> Option<String> {
        variable_name_problem(&self.name)
    }

    /// What is wrong with the value's size, for people; `None` when all is well.
    #[must_use]
    pub fn value_problem(&self) -> Option<String> {
        (self.value.len() > MAX_VALUE_BYTES)
            .then(|| format!("the value of `{}` has {} bytes, at most {MAX_VALUE_BYTES} are accepted", self.name, self.value.len()))
    }

    /// Whether it is marked secret and cannot be kept so. An empty one hides nothing.
    #[must_use]
    pub fn is_too_short_a_secret(&self) -> bool {
        self.secret && (1..SHORTEST_SECRET).contains(&self.value.trim().len())
    }
}

impl fmt::Debug for EnvironmentVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=[redacted]", self.name)
    }
}

/// What is wrong with the name of a variable or build argument, for people; `None` when all is well.
fn variable_name_problem(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let first_fits = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let shown: String = name.chars().take(80).collect();
    if !first_fits || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') || name.len() > 128 {
        return Some(format!("`{shown}` is no name of a variable, expected at most 128 of `A-Z a-z 0-9 _`, first no digit"));
    }
    SERVICE_VARIABLES.contains(&name).then(|| format!("`{shown}` is set by Slipway itself for every build"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_typed() {
        let variable = |name: &str| EnvironmentVariable { name: name.into(), value: "s3cret".into(), secret: false };
        assert_eq!(variable("A_1").name_problem(), None);
        assert!(variable("1A").name_problem().is_some());
        assert!(variable("SOURCE_COMMIT").name_problem().is_some());
        let sized = |bytes: usize| EnvironmentVariable { value: "x".repeat(bytes), ..variable("A") };
        assert!(sized(32768).value_problem().is_none() && sized(32769).value_problem().is_some());
        assert!(!format!("{:?}", variable("A")).contains("s3cret"));
    }

    #[test]
    fn a_secret_is_long_enough_to_be_looked_for() {
        let variable = |value: &str, secret| EnvironmentVariable { name: "A".into(), value: value.into(), secret };
        assert!(variable("1234567", true).is_too_short_a_secret() && variable(" 1234567\n", true).is_too_short_a_secret());
        assert!(!variable("1234567", false).is_too_short_a_secret());
        assert!(!variable("12345678", true).is_too_short_a_secret() && !variable("", true).is_too_short_a_secret());
    }

    #[test]
    fn arguments_are_typed() {
        let arguments = |all: &[(&str, &str)]| {
            let argument = |(name, value): &(&str, &str)| BuildArgument { name: (*name).into(), value: (*value).into() };
            BuildArguments::try_from(all.iter().map(argument).collect::<Vec<_>>())
        };
        assert_eq!(arguments(&[("A", "1"), ("B", " two words ="), ("EMPTY", "")]).unwrap().to_string(), "A=1\nB= two words =\nEMPTY=");
        for bad in [
            ("", ""),
            ("1A", "x"),
            ("SOURCE_COMMIT", "x"),
            ("BUILDKIT_SYNTAX", "evil/x"),
            ("SSH_PRIVATE", "x"),
            ("BUILDKIT_CACHE_MOUNT_NS", "x"),
            ("A", "x\ny"),
            ("A", &"x".repeat(4097)),
        ] {
            assert_eq!(arguments(&[bad]).unwrap_err().field(), "args", "{bad:?}");
        }
        assert!(arguments(&[("A", "1"), ("A", "2")]).is_err() && arguments(&[("A", "1"); 51]).is_err());
    }
}
