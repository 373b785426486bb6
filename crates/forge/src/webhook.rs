//! What a webhook request becomes: first [`Verified`], then a [`Payload`].
//!
//! Invariant: nothing here is read from a body before its signature held; every ref and commit is a checked type.
//! Deliberately elsewhere: the cap on the size of a body, the deduplication of deliveries, and the match of repository ids.

use slipway_model::{CommitId, ForkRepository, RefName, Timestamp};

use crate::error::ForgeError;

/// The sender knows the hook's secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The provider's word for what happened.
    pub event: String,
    /// The provider's id of the delivery; a redelivery repeats it.
    pub delivery_id: String,
}

/// Why a pushed ref of that name is not looked at.
pub(crate) const PUSHED_PULL_REQUEST: &str = "it belongs to a pull request, whose own event counts";

/// Why a request is not taken for the provider's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No signature at all.
    #[error("the request has no signature")]
    MissingSignature,
    /// A signature by none of the hook's secrets.
    #[error("the signature was made with another secret or over another body")]
    BadSignature,
    /// Only a signature by SHA-1, which is not proof enough.
    #[error("the request has only a `sha1` signature, expected `sha256`")]
    WeakSignature,
    /// A header is missing or is nothing that the provider sends.
    #[error("the header `{0}` is missing or unusable")]
    MissingHeader(&'static str),
}

/// What a delivery says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Refs changed.
    Push {
        /// The provider's id of the source repository; the caller checks it against the hook's.
        repository_id: String,
        /// The changes that a rule can look at.
        events: Vec<RefChange>,
        /// Refs that no rule can match, with the reason.
        unusable: Vec<UnusableRef>,
    },
    /// Something happened to a pull request.
    PullRequest {
        /// The provider's id of the source repository that it goes into; the caller checks it against the hook's.
        repository_id: String,
        /// What happened, and how it stands.
        change: Box<PullRequestChange>,
    },
    /// The provider tries the hook.
    Ping {
        /// The provider's id of the source repository, when the hook belongs to one.
        repository_id: Option<String>,
    },
    /// The repository itself changed: its name, owner, visibility, default branch, or it was deleted. What exactly is never taken from the
    /// delivery: the caller reads it anew by the id.
    Repository {
        /// The provider's id of the source repository.
        repository_id: String,
        /// Words for the verdict.
        what: String,
    },
    /// Something that starts nothing.
    Other {
        /// Words for the verdict.
        what: String,
    },
}

/// One change of one ref.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefChange {
    /// Branch or tag.
    pub name: RefName,
    /// What it led to; `None` for a new ref. For an annotated tag this is the tag object, not its commit.
    pub before: Option<CommitId>,
    /// The commit that it leads to now (that of an annotated tag, where the provider tells it); `None` when the ref was deleted.
    pub after: Option<CommitId>,
    /// The message of that commit, at most 4,096 characters.
    pub commit_message: Option<String>,
    /// Who the commit says wrote it. For display only: anybody can claim any name in a commit.
    pub author: Option<String>,
    /// Who pushed, by the provider's word. For display only.
    pub pusher: Option<String>,
}

/// How a pull request stands after something happened to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullRequestChange {
    /// Its number.
    pub number: u64,
    /// Whether it is open.
    pub standing: PullRequestStanding,
    /// The commit that it wants to have merged.
    pub head: PullRequestHead,
    /// Whose branch has that commit.
    pub origin: PullRequestOrigin,
    /// The ref that has that commit, of the source repository or of `fork`; `None` where there is none.
    pub kept_at: Option<RefName>,
    /// Whose ref that is, if not the source repository's.
    pub fork: Option<ForkRepository>,
    /// The branch that it goes into.
    pub base: RefName,
    /// When it changed last, by the provider's clock.
    pub changed_at: Timestamp,
    /// At most 200 characters. For display only.
    pub title: String,
}

/// Whether a pull request is still to be merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullRequestStanding {
    /// It is.
    Open,
    /// It was merged.
    Merged,
    /// It was closed without being merged.
    Closed,
}

/// The commit of a pull request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PullRequestHead {
    /// The whole id.
    Commit(CommitId),
    /// The first digits of it, at least 7: some providers write no more.
    Abbreviated(String),
}

/// Whose branch a pull request comes from. By the provider's ids of repositories, never by names or people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullRequestOrigin {
    /// A branch of the source repository itself: whoever pushed it may write there.
    Internal,
    /// Anything else, by anybody.
    Fork,
    /// A fork that is gone.
    DeletedFork,
}

/// A ref that was changed but cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnusableRef {
    /// As it came, cut at 200 characters and without control characters.
    pub name: String,
    /// Why.
    pub why: String,
}

/// A delivery with a valid signature that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// What was expected and missing.
    pub reason: String,
}

impl Unreadable {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The same of what was asked for, and not delivered.
    pub(crate) fn of_answer(self) -> ForgeError {
        ForgeError::Unexpected { status: 200, detail: self.reason }
    }
}
