//! Folders, names and free space: the few file system calls whose order makes a commit durable.
//!
//! Invariant: a folder in [`Folders`] was itself synced into its parent by this process.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Kept free for the database, for metadata and for deletes: the smaller of this and a twentieth of the disk.
const RESERVE: u64 = 256 << 20;

/// Makes `folder` and syncs its name into its parent, also if it already stood: an earlier process may have died between
/// making and syncing.
pub(crate) fn make_durable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// Syncs the names in `folder`.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file; one that is already gone is fine.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether `more` bytes fit on the disk of `path` and leave the reserve free.
pub(crate) fn has_room(path: &Path, more: u64) -> io::Result<bool> {
    let disk = rustix::fs::statvfs(path)?;
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free >= more.saturating_add(RESERVE.min(total / 20)))
}

/// Folders that are known to stand durably.
#[derive(Default)]
pub(crate) struct Folders(Mutex<HashSet<PathBuf>>);

impl Folders {
    /// Makes `folder` (below an existing root) durable, once per process.
    pub(crate) fn ensure(&self, root: &Path, folder: &Path) -> io::Result<()> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        let mut path = root.to_path_buf();
        for part in folder {
            path.push(part);
            make_durable(&path)?;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_path_buf());
        Ok(())
    }
}
