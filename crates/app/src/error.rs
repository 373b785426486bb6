//! What an operation may answer instead of its result: a refusal for people and programs, or trouble of ours or a provider's.

use std::time::Duration;

use slipway_forge::ForgeError;
use slipway_model::ProviderId;
use slipway_store::StoreError;

/// Which kind of "no" it is; each is another HTTP status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// What was sent cannot be used as it is.
    Invalid,
    /// It contradicts what stands.
    Conflict,
    /// Who asks may see it, but not do it.
    Forbidden,
    /// Who asks is not known.
    Unauthenticated,
    /// Something that is needed is not there now.
    Unavailable,
    /// It was tried too often; [`Refusal::retry_after`] says when the next try is welcome.
    TooMany,
    /// A request that is wrong in itself, like a reused `state`.
    Bad,
}

/// A refusal: a code for programs, one sentence for people, and the next step.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Kind.
    pub kind: RefusalKind,
    /// For programs; part of the API.
    pub code: &'static str,
    /// The field that has to change, as the API names it (`rules[0].source`).
    pub field: Option<String>,
    /// What happened and what was expected.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(kind: RefusalKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, field: None, detail: detail.into(), hint: None, retry_after: None }
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the time after which the next try is welcome.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Names the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An operation did not give its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing of that name that the caller may see.
    #[error("not found")]
    NotFound,
    /// A refusal.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A provider.
    #[error("provider `{provider}`: {error}")]
    Forge {
        /// Which.
        provider: ProviderId,
        /// What it said; boxed, because every answer of this room would carry its size.
        #[source]
        error: Box<ForgeError>,
    },
    /// A sealed value does not open: another key file, or a row that was moved.
    #[error("a stored secret cannot be opened with this installation's key")]
    Sealed,
    /// Something of ours that cannot be mended by the caller.
    #[error("{0}")]
    Internal(&'static str),
}

impl Error {
    pub(crate) fn invalid(code: &'static str, field: &str, detail: impl Into<String>) -> Self {
        Refusal::new(RefusalKind::Invalid, code, detail).field(field).into()
    }

    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Refusal::new(RefusalKind::Conflict, code, detail).into()
    }

    pub(crate) fn forge(provider: &ProviderId) -> impl FnOnce(ForgeError) -> Self {
        let provider = provider.clone();
        move |error| Self::Forge { provider, error: Box::new(error) }
    }
}
