//! Keeps the lease of a build alive, and stops the build when the server says so.
//!
//! The invariant: the first reason to stop wins, and it reaches every part of the build at once. A server that is away is
//! no reason: it may be restarting, and whoever holds the lease then is for the server to say. Deliberately elsewhere: what
//! stopping means (`worker`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiError};
use crate::report::Attempt;

const BEAT: Duration = Duration::from_millis(1000);
/// A server that was away this long has given the build to somebody else.
const LONGEST_SILENCE: Duration = Duration::from_secs(15 * 60);

/// Why a build stops before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A person asked for it.
    Cancelled,
    /// The lease is lost: change nothing any more.
    Fenced,
    /// The builder shuts down.
    HandBack,
}

/// A stop signal with its reason. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Halt {
    token: CancellationToken,
    why: Arc<OnceLock<Stop>>,
}

impl Halt {
    pub(crate) fn stop(&self, why: Stop) {
        // Only the first reason is kept.
        self.why.set(why).ok();
        self.token.cancel();
    }

    pub(crate) fn why(&self) -> Option<Stop> {
        self.why.get().copied()
    }

    pub(crate) async fn stopped(&self) -> Stop {
        self.token.cancelled().await;
        self.why().unwrap_or(Stop::Fenced)
    }
}

/// Beats until dropped or until the lease is lost.
pub(crate) async fn keep(api: Api, attempt: Attempt, halt: Halt) {
    let mut heard = Instant::now();
    loop {
        tokio::time::sleep(BEAT).await;
        match api.heartbeat(attempt.build, attempt.number).await {
            Ok(answer) => {
                heard = Instant::now();
                if answer.cancel {
                    halt.stop(Stop::Cancelled);
                }
            }
            Err(ApiError::Away(problem)) => {
                tracing::debug!(build = %attempt.build, %problem, "heartbeat not heard");
                if heard.elapsed() > LONGEST_SILENCE {
                    halt.stop(Stop::Fenced);
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(build = %attempt.build, ?error, "lease lost");
                halt.stop(Stop::Fenced);
                return;
            }
        }
    }
}
