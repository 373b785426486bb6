//! A newer push makes the waiting builds of older ones needless.
//!
//! Invariant: the newer push is the one that stands later in the history of the ref. One that is told late is cancelled itself, and cancels
//! nothing. Deliberately elsewhere: what may be cancelled (`store::builds`), and whether the settings want it (`matching`).

use slipway_model::{BuildId, FailureCode, FailureReason, RefName};
use slipway_store::WriteTx;
use slipway_store::builds;

use crate::matching::in_words;
use crate::{App, Error};

/// What a new build changed in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Superseding {
    /// It stays, and these builds, by their numbers, went.
    Older(Vec<u64>),
    /// It went itself, for this reason.
    Itself(String),
}

impl App {
    /// Cancels what waits for the rule and ref of this new build and is not of the newest push. Whoever looks at one of them sees it at the
    /// next poll.
    pub(crate) async fn supersede(&self, tx: &mut WriteTx, build: BuildId, name: &RefName) -> Result<Superseding, Error> {
        let Some((newest, number)) = builds::newest_pushed(tx, build).await? else { return Ok(Superseding::Older(Vec::new())) };
        let reason = FailureReason::new(FailureCode::Superseded, format!("superseded by #{number}, a newer push of {}", in_words(name)));
        let cancelled = builds::cancel_older(tx, newest, &reason, self.clock.now()).await?;
        if cancelled.iter().any(|(id, _)| *id == build) {
            return Ok(Superseding::Itself(reason.text));
        }
        Ok(Superseding::Older(cancelled.into_iter().map(|(_, number)| number).collect()))
    }
}
