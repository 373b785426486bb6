//! Housekeeping: uploads that nobody finished. Called now and then by whoever drives the process's loops.
//!
//! Deliberately elsewhere: garbage collection of blobs, which needs reviews and grace times of its own.

use slipway_store::images;

use crate::Registry;
use crate::failure::Failure;
use crate::upload::bytes_id;

/// Uploads ended in one go.
const BATCH: u32 = 200;

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads past their time.
    pub expired: usize,
    /// Staged bytes that no upload knows, left over from a crash or a deleted repository.
    pub orphaned: usize,
}

impl Registry {
    /// Ends expired uploads and drops staged bytes without a row. Failures are logged and tried again at the next call.
    pub async fn sweep_uploads(&self) -> Swept {
        let mut swept = Swept::default();
        if let Err(failure) = self.sweep_into(&mut swept).await {
            tracing::warn!(?failure, ?swept, "registry: sweeping uploads stopped half-way");
        }
        swept
    }

    async fn sweep_into(&self, swept: &mut Swept) -> Result<(), Failure> {
        loop {
            let mut tx = self.app.db().write().await?;
            let ended = images::delete_expired_uploads(&mut tx, self.app.clock().now(), BATCH).await?;
            tx.commit().await?;
            for id in &ended {
                self.blobs.discard(bytes_id(*id)).await?;
            }
            swept.expired += ended.len();
            if ended.len() < BATCH as usize {
                break;
            }
        }
        for staged in self.blobs.staged().await? {
            let Ok(id) = staged.to_string().parse() else { continue };
            let mut tx = self.app.db().read().await?;
            if !images::known_upload(&mut tx, id).await? {
                drop(tx);
                self.blobs.discard(staged).await?;
                swept.orphaned += 1;
            }
        }
        Ok(())
    }
}
