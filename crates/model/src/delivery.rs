//! What became of a delivery, and of each rule's look at it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::build::words;

words! {
    /// What became of a stored delivery as a whole.
    DeliveryStatus {
        /// Authentic and stored; its verdicts follow.
        Accepted = "accepted",
        /// Authentic, but of an event that Slipway has no use for.
        Ignored = "ignored",
        /// The same delivery was stored before.
        Duplicate = "duplicate",
        /// Authentic, but it cannot be read or belongs to another repository.
        Rejected = "rejected",
    }
}

words! {
    /// What a rule, or Slipway as a whole, decided about one ref of a delivery.
    VerdictOutcome {
        /// A build was made.
        Built = "built",
        /// The rule does not match the ref.
        NoMatch = "no_match",
        /// The rule or the link is switched off.
        Disabled = "disabled",
        /// The ref matched, but there is nothing to build: deleted, or the commit asks to be skipped.
        Skipped = "skipped",
        /// The ref's name or commit cannot be used, or the rule makes no tag of it.
        Refused = "refused",
        /// The event tells of no push, like `ping`.
        Ignored = "ignored",
    }
}
