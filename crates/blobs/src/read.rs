//! Reading blobs: what the page cache has at once, the rest in large pieces ahead of the sender, and never wrong to the end.
//!
//! Invariant: a read that ends without an error gave exactly the bytes that the digest names. A copy that this process
//! has hashed since the file last changed (see `facts`) is sent as it is; any other is hashed first when it is small or
//! only a part is wanted, and while it is sent when it is large: then the last piece is held back until the hash is right.

use std::fs::{File, Metadata};
use std::io::IoSliceMut;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use slipway_oci::Hasher;
use tokio::task::JoinHandle;

use crate::stage::hash_file;
use crate::{BlobError, BlobKey, Blobs, Inner, blocking};

/// Up to this length a blob is read and verified before the first byte is sent.
const SMALL: u64 = 1 << 20;
/// Length of one piece of a large blob. Two are in memory per reader: the one that is sent and the next.
const PIECE: u64 = 512 << 10;
/// Length of one piece that the page cache has: sent while the processor's own cache still holds it.
const CACHED_PIECE: u64 = 128 << 10;

/// Pieces of a large blob. An error instead of the last piece means that the bytes sent before are not to be trusted.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, BlobError>> + Send>>;

/// The bytes asked for.
pub enum Content {
    /// All of them.
    Small(Bytes),
    /// Piece by piece.
    Large(BlobStream),
}

/// A file opened for reading, of the right length.
struct Opened {
    inner: Arc<Inner>,
    key: BlobKey,
    file: File,
    size: u64,
    /// From before the first read.
    metadata: Metadata,
    /// Hashed before, and not changed since.
    known: bool,
}

impl Blobs {
    /// Whether the copy is there with this length. Does not read it.
    pub async fn present(&self, key: &BlobKey, size: u64) -> Result<bool, BlobError> {
        let (inner, key) = (self.0.clone(), key.clone());
        blocking(move || match std::fs::metadata(inner.root.join(key.path())) {
            Ok(file) => Ok(file.len() == size),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BlobError::Io(error)),
        })
        .await
    }

    /// Reads a copy of `size` bytes: all of it, or `part` = first byte and count, which must lie inside.
    pub async fn read(&self, key: &BlobKey, size: u64, part: Option<(u64, u64)>) -> Result<Content, BlobError> {
        let (inner, key) = (self.0.clone(), key.clone());
        let (first, count) = part.unwrap_or((0, size));
        debug_assert!(first + count <= size, "the caller selects within the blob");
        if size <= SMALL {
            return blocking(move || {
                let bytes = Opened::open(inner, key, size)?.read_verified()?;
                let (first, end) = (to_index(first), to_index(first + count));
                Ok(Content::Small(bytes.slice(first..end)))
            })
            .await;
        }
        let mut opened = blocking(move || Opened::open(inner, key, size)).await?;
        let whole = count == size;
        if !opened.known && !whole {
            opened = opened.verify_first().await?;
        }
        if count <= SMALL && !whole {
            return blocking(move || Ok(Content::Small(opened.piece(first, count)?))).await;
        }
        let hasher = (!opened.known).then(|| Hasher::new(opened.key.digest.algorithm()));
        Ok(Content::Large(Box::pin(stream(opened, first, first + count, hasher))))
    }
}

fn to_index(n: u64) -> usize {
    usize::try_from(n).expect("a small blob fits into memory")
}

impl Opened {
    fn open(inner: Arc<Inner>, key: BlobKey, size: u64) -> Result<Self, BlobError> {
        let file = match File::open(inner.root.join(key.path())) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(BlobError::Missing(key.digest)),
            Err(error) => return Err(BlobError::Io(error)),
        };
        let metadata = file.metadata()?;
        if metadata.len() != size {
            inner.quarantine(&key);
            return Err(BlobError::Corrupt(key.digest));
        }
        let known = inner.facts.knows(&key, &metadata);
        Ok(Self { inner, key, file, size, metadata, known })
    }

    fn piece(&self, first: u64, count: u64) -> Result<Bytes, BlobError> {
        let mut bytes = Vec::with_capacity(to_index(count));
        while (bytes.len() as u64) < count {
            // Into the spare capacity: zeroing half a megabyte first would cost half as much as reading it.
            let at = first + bytes.len() as u64;
            match pread(&self.file, spare_capacity(&mut bytes), at) {
                // Cut short since it was opened.
                Ok(0) => return Err(self.condemn()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(BlobError::Io(error.into())),
            }
        }
        // The allocator may have given more room than asked for.
        bytes.truncate(to_index(count));
        Ok(bytes.into())
    }

    /// Whether a piece can be read without waiting for the disk. Asks for its last byte only: readers go forward, and the kernel
    /// reads ahead. A hole before it costs one short wait, not a wrong byte.
    fn is_cached(&self, first: u64, count: u64) -> bool {
        let mut last = [0];
        let asked = preadv2(&self.file, &mut [IoSliceMut::new(&mut last)], first + count - 1, ReadWriteFlags::NOWAIT);
        asked == Ok(1)
    }

    fn read_verified(self) -> Result<Bytes, BlobError> {
        let bytes = self.piece(0, self.size)?;
        if !self.known {
            if !self.key.digest.matches(&bytes) {
                return Err(self.condemn());
            }
            self.learn();
        }
        Ok(bytes)
    }

    /// Hashes the whole file before anything is sent. Few at a time; whoever waited may find it done.
    async fn verify_first(self) -> Result<Self, BlobError> {
        let inner = self.inner.clone();
        let _turn = inner.verifying.acquire().await.map_err(|closed| BlobError::Io(std::io::Error::other(closed)))?;
        blocking(move || {
            if !self.inner.facts.knows(&self.key, &self.file.metadata()?) {
                let hash = hash_file(&self.file, self.size, self.key.digest.algorithm())?;
                self.conclude(hash)?;
            }
            Ok(Self { known: true, ..self })
        })
        .await
    }

    fn conclude(&self, hash: Hasher) -> Result<(), BlobError> {
        if hash.finish() != self.key.digest {
            return Err(self.condemn());
        }
        self.learn();
        Ok(())
    }

    /// Of the file as it was before it was read: if it changed meanwhile, the fact will never apply.
    fn learn(&self) {
        self.inner.facts.learn(&self.key, &self.metadata);
    }

    fn condemn(&self) -> BlobError {
        self.inner.quarantine(&self.key);
        BlobError::Corrupt(self.key.digest.clone())
    }
}

/// What one read hands to the next.
struct Ahead {
    opened: Opened,
    next: u64,
    end: u64,
    hasher: Option<Hasher>,
}

impl Ahead {
    /// Reads the next piece; hashes it; after the last one, compares.
    fn step(mut self) -> Result<(Bytes, Self), BlobError> {
        let piece = self.opened.piece(self.next, PIECE.min(self.end - self.next))?;
        self.next += piece.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.next == self.end
            && let Some(hasher) = self.hasher.take()
        {
            self.opened.conclude(hasher)?;
        }
        Ok((piece, self))
    }

    /// The next piece, if nothing but copying is to be done for it.
    fn cached_step(&mut self) -> Result<Option<Bytes>, BlobError> {
        let count = CACHED_PIECE.min(self.end - self.next);
        if self.hasher.is_some() || !self.opened.is_cached(self.next, count) {
            return Ok(None);
        }
        let piece = self.opened.piece(self.next, count)?;
        self.next += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Reads the next piece on a thread that may wait.
    fn spawn(self) -> JoinHandle<Result<(Bytes, Self), BlobError>> {
        tokio::task::spawn_blocking(move || self.step())
    }
}

/// How a large blob goes on.
enum Reading {
    /// The page cache had everything so far.
    Cached(Box<Ahead>),
    /// The next piece is being read while the one before it is sent. It stays so to the end: who has to wait once will have to again.
    Started(JoinHandle<Result<(Bytes, Ahead), BlobError>>),
}

/// The pieces from `first` to `end`.
fn stream(opened: Opened, first: u64, end: u64, hasher: Option<Hasher>) -> impl Stream<Item = Result<Bytes, BlobError>> + Send {
    let all = Box::new(Ahead { opened, next: first, end, hasher });
    futures_util::stream::try_unfold(Some(Reading::Cached(all)), move |reading| async move {
        let Some(reading) = reading else { return Ok(None) };
        let started = match reading {
            Reading::Started(started) => started,
            Reading::Cached(mut ahead) => match ahead.cached_step()? {
                Some(piece) => {
                    let following = (ahead.next < ahead.end).then_some(Reading::Cached(ahead));
                    return Ok(Some((piece, following)));
                }
                None => ahead.spawn(),
            },
        };
        let (piece, ahead) = match started.await {
            Ok(step) => step?,
            Err(stopped) => return Err(BlobError::Io(std::io::Error::other(stopped))),
        };
        let following = (ahead.next < ahead.end).then(|| Reading::Started(ahead.spawn()));
        Ok(Some((piece, following)))
    })
}
