//! The disk that builds share with each other and, on one machine, with the server's images and database.
//!
//! The invariant: builds are stopped and none is begun before the disk is full, and more is left than the server needs to go on. Deliberately
//! elsewhere: what an engine that was there before keeps at its own place, and the server's own reserve (`blobs`, which is smaller).

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Left free, or a tenth of a small disk.
const RESERVE: u64 = 1 << 30;
/// A fast disk takes some hundred megabytes in this time.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to do about it.
pub(crate) const HINT: &str = "free some of it, or give the builder's folder a disk of its own; what its engines keep is beneath `engines`";

/// What lacks on the disk of a folder; `None` when enough is free, or nobody can tell.
pub(crate) fn shortage(folder: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let (free, wanted) = (bytes(disk.f_bavail), RESERVE.min(bytes(disk.f_blocks) / 10));
    (free < wanted).then(|| format!("the builder's disk is nearly full: {} MiB are free, {} MiB have to be", free >> 20, wanted >> 20))
}

/// Ends when something lacks.
pub(crate) async fn watch(folder: PathBuf) -> String {
    loop {
        if let Some(shortage) = shortage(&folder) {
            return shortage;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
