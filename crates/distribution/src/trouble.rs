//! Why something did not come about at another registry: each variant is another thing to do.

use std::time::Duration;

use slipway_forge::egress::EgressError;
use slipway_model::AddressRefused;

/// Why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// It leads where nobody may send us.
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    /// No answer, or an upload that broke; it may pass.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It wants us to wait, or is in trouble itself; it passes.
    #[error("it answered {status}: {detail}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// Its words.
        detail: String,
        /// For how long it asked us to be quiet.
        wait: Option<Duration>,
    },
    /// What answers is something else.
    #[error("no registry answers there: {0}")]
    NotARegistry(String),
    /// The user name and password are not accepted.
    #[error("it does not accept the user name and password")]
    WrongPassword,
    /// Nobody comes in without.
    #[error("it asks for a user name and a password")]
    NeedsPassword,
    /// Known, and allowed to pull.
    #[error("these credentials can pull, but not push")]
    PullOnly,
    /// Known, and not allowed.
    #[error("these credentials may not push there: {0}")]
    Denied(String),
    /// There is no repository of this name, and it is not made by a push.
    #[error("it has no such repository: {0}")]
    NoRepository(String),
    /// An answer that nobody expected and that will not change by itself.
    #[error("it answered {status}: {detail}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// What was wrong.
        detail: String,
    },
    /// Something between here and there that may pass.
    #[error("it could not be sent: {0}")]
    Hindered(String),
    /// What was to be sent cannot be read here.
    #[error("{0}")]
    Ours(String),
}

impl Trouble {
    /// Whether the same may go well later without anybody's doing.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy { .. } | Self::Hindered(_))
    }
}

impl From<EgressError> for Trouble {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Refused(refused) => Self::Refused(refused),
            EgressError::Unreachable(detail) => Self::Unreachable(detail),
            EgressError::Unexpected { status, detail } => Self::Unexpected { status, detail },
        }
    }
}

/// One line of at most 200 characters, without control characters.
pub(crate) fn line(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The words of a network error with their causes, without the address, which may hold a secret.
pub(crate) fn unreachable(error: &reqwest::Error) -> Trouble {
    let mut words = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    Trouble::Unreachable(if words.is_empty() { "the request failed".to_owned() } else { line(&words) })
}
