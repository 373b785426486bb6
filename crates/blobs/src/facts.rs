//! Which copies this process has hashed and found right.
//!
//! Invariant: only an immutable fact is kept, "this very file (inode, length, times) hashed to its digest", never
//! existence or membership. A file that is written to, replaced or truncated has other times or another inode, so the
//! fact no longer applies and it is hashed again. What this cannot see is a disk that changes bits without the kernel
//! knowing: that is what a deep check is for.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use crate::BlobKey;

/// Most facts kept (about 4 MiB). When full, all are dropped: hashing again is cheap beside keeping an order.
const MOST: usize = 16_384;

/// What identifies an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Facts(Mutex<HashMap<BlobKey, Identity>>);

impl Facts {
    /// Remembers that the file with this metadata hashes to the key's digest.
    pub(crate) fn learn(&self, key: &BlobKey, file: &Metadata) {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= MOST {
            facts.clear();
        }
        facts.insert(key.clone(), Identity::of(file));
    }

    /// Whether the file with this metadata is known to hash to the key's digest.
    pub(crate) fn knows(&self, key: &BlobKey, file: &Metadata) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key) == Some(&Identity::of(file))
    }

    /// Drops what is known about a key.
    pub(crate) fn forget(&self, key: &BlobKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
