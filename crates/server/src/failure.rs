//! How a command ends when it does not end well: one line for people, one hint, one exit code.
//!
//! Invariant: everything that a command prints about a refusal goes through [`Failure`], so the form is the same everywhere.

use std::fmt;
use std::process::ExitCode;

/// Why a command ended; each variant is another exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the configuration cannot be used: exit code 2.
    #[error("{0}")]
    Usage(Notice),
    /// Everything else: exit code 1.
    #[error("{0}")]
    Failed(Notice),
}

/// What was wrong and what was expected, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One line: what was wrong and what was expected.
    pub message: String,
    /// One line: the next step.
    pub hint: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", one_line(&self.message), one_line(&self.hint))
    }
}

impl Failure {
    /// A refusal of the command line or the configuration.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Notice { message: message.into(), hint: hint.into() })
    }

    /// Any other end.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed(Notice { message: message.into(), hint: hint.into() })
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}

/// Text of others (an operating system's error, a value of the configuration) must not break the one-line form or drive the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(1000).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_two_lines_whatever_is_in_it() {
        let failure = Failure::usage("a\nb\u{1b}[31m", "c\r\nd");
        assert_eq!(failure.to_string(), "a b [31m\nhint: c  d");
    }
}
