//! Image layers in a folder: uploads are staged, verified, committed durably, and read back.
//!
//! Invariants: [`Blobs::commit`] and [`Blobs::put`] return only after the file, its name and its folder are on disk; a read
//! never ends well with bytes that do not hash to the digest asked for. Which repository may see which blob, and which
//! [`Generation`] is the current one, is the database's business (`store`), never decided here: bytes without a row
//! are allowed and swept later, a row without bytes is not.
//!
//! Layout below the root, the same keys that an object store will use:
//! `sha256/ab/<hex>.<generation>` committed blobs · `uploads/<id>` staged · `quarantine/` blobs found corrupt.

mod check;
mod disk;
mod facts;
mod read;
mod stage;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slipway_oci::Digest;
use uuid::Uuid;

pub use check::{Depth, Finding};
pub use read::{BlobStream, Content};
pub use stage::Chunk;

/// One physical copy of a digest's content. A copy that is removed and pushed again gets another generation, so a late
/// removal of the old one can never hit the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(Uuid);

impl Generation {
    /// A new one; later in order than those before it.
    fn next() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl std::str::FromStr for Generation {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

/// Where a blob's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobKey {
    /// What the bytes hash to.
    pub digest: Digest,
    /// Which copy.
    pub generation: Generation,
}

impl BlobKey {
    /// The key below the root: `sha256/ab/<hex>.<generation>`.
    fn path(&self) -> PathBuf {
        let hex = self.digest.hex();
        Path::new(self.digest.algorithm().as_str()).join(&hex[..2]).join(self.file_name())
    }

    fn file_name(&self) -> String {
        format!("{}.{}", self.digest.hex(), self.generation)
    }
}

/// A blob that is durably stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub key: BlobKey,
    /// Its length in bytes.
    pub size: u64,
}

/// Bounds set by the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest blob in bytes.
    pub blob: u64,
}

impl Default for Limits {
    /// 32 GiB per blob.
    fn default() -> Self {
        Self { blob: 32 << 30 }
    }
}

/// Why an operation on blobs failed; each variant is another decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No such staged upload: never begun, finished, dropped or swept.
    #[error("no such upload")]
    UploadUnknown,
    /// Another request is writing to this upload.
    #[error("another request is writing to this upload")]
    Busy,
    /// The chunk does not follow the bytes that are here.
    #[error("the upload stands at byte {offset}, the chunk begins elsewhere")]
    OutOfOrder {
        /// Bytes staged so far.
        offset: u64,
    },
    /// The body had another length than announced; nothing of it was kept.
    #[error("the body has {found} bytes, {announced} were announced")]
    Length {
        /// By `Content-Length` or `Content-Range`.
        announced: u64,
        /// Received.
        found: u64,
    },
    /// Over the limit; the upload was dropped.
    #[error("the blob is larger than the limit of {limit} bytes")]
    TooLarge {
        /// [`Limits::blob`].
        limit: u64,
    },
    /// The content hashes to something else; the upload was dropped.
    #[error("the content has digest `{found}`, expected `{expected}`")]
    DigestMismatch {
        /// Asked for.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// The disk is full, or nearly; the upload was dropped.
    #[error("no space is left for blobs")]
    NoSpace,
    /// The sender stopped; what arrived before is kept and the upload can go on.
    #[error("the body ended early: {0}")]
    Body(String),
    /// The bytes are not there.
    #[error("the bytes of blob `{0}` are missing")]
    Missing(Digest),
    /// The bytes are not what they should be; they were put into quarantine.
    #[error("the bytes of blob `{0}` are corrupt")]
    Corrupt(Digest),
    /// The disk failed.
    #[error("storage: {0}")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io(error),
        }
    }
}

/// The blobs of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    root: PathBuf,
    limits: Limits,
    sessions: stage::Sessions,
    facts: facts::Facts,
    folders: disk::Folders,
    /// Whole-file verifications at once; more would only starve everything else of the disk.
    verifying: tokio::sync::Semaphore,
}

impl Blobs {
    /// Opens the folder `root` and makes what is missing in it.
    pub async fn open(root: impl Into<PathBuf>, limits: Limits) -> Result<Self, BlobError> {
        let root = root.into();
        blocking(move || {
            disk::make_durable(&root)?;
            for folder in ["uploads", "quarantine", "sha256"] {
                disk::make_durable(&root.join(folder))?;
            }
            Ok(Self(Arc::new(Inner {
                root,
                limits,
                sessions: stage::Sessions::default(),
                facts: facts::Facts::default(),
                folders: disk::Folders::default(),
                verifying: tokio::sync::Semaphore::new(2),
            })))
        })
        .await
    }

    /// Removes one copy. Absent is fine.
    pub async fn remove(&self, key: &BlobKey) -> Result<(), BlobError> {
        let (inner, key) = (self.0.clone(), key.clone());
        blocking(move || {
            inner.facts.forget(&key);
            disk::remove_if_there(&inner.root.join(key.path()))?;
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn staged(&self, id: Uuid) -> PathBuf {
        self.root.join("uploads").join(id.hyphenated().to_string())
    }

    /// Takes a corrupt copy out of the way, so that the next push of the digest heals it.
    fn quarantine(&self, key: &BlobKey) {
        self.facts.forget(key);
        tracing::error!(digest = %key.digest, generation = %key.generation, "blob is corrupt, moved to quarantine");
        let target = self.root.join("quarantine").join(key.file_name());
        if let Err(error) = std::fs::rename(self.root.join(key.path()), target) {
            tracing::error!(digest = %key.digest, %error, "corrupt blob could not be moved");
        }
    }
}

/// Runs disk work off the async threads. Called with large units of work only.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, BlobError> + Send + 'static) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(BlobError::Io(std::io::Error::other(stopped))),
    }
}
