//! Pull requests, as far as a build knows of them, and the approval of what strangers wrote.
//!
//! Invariant: nothing in a [`PullRequest`] decides how far its build is trusted; that is the build's [`crate::Lane`].

use serde::{Deserialize, Serialize};

use crate::{AccountId, RefName, Timestamp};

/// The pull request that a build tests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number at the provider.
    pub number: u64,
    /// The branch that it goes into.
    pub base: RefName,
    /// The ref that has its commits: of the source repository, or of the fork.
    pub fetched_from: RefName,
    /// Where they are, if not in the source repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkRepository>,
    /// Its title when the build was made. For display only.
    pub title: String,
}

/// The repository that a pull request comes from, where the provider gives the source no ref of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkRepository {
    /// The provider's id.
    pub id: String,
    /// `owner/name` when it was told of.
    pub full_name: String,
}

/// The word of a writer that a build of what somebody else wrote needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Approval {
    /// Nobody gave it; the build runs nowhere.
    Awaited,
    /// Given for the commit of the build and for no other.
    Given {
        /// By whom.
        by: AccountId,
        /// When.
        at: Timestamp,
    },
}
