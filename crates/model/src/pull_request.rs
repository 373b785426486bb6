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
    /// The ref of the source repository that has its commits.
    pub fetched_from: RefName,
    /// Its title when the build was made. For display only.
    pub title: String,
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
