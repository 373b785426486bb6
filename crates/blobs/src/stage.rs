//! Uploads: bytes are hashed while they are written, in order, into one staged file per upload, then committed.
//!
//! Invariants: the staged file is the truth about an upload's offset; the running hash is only a shortcut and is made again
//! from the file after a restart. One request at a time writes to an upload: the lock travels with the disk work, so a
//! request that is dropped half-way cannot leave a writer behind that races with the next one.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use slipway_oci::{Algorithm, Digest, Hasher};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{BlobError, BlobKey, Blobs, Generation, Inner, Stored, blocking, disk};

/// Bytes handed to the disk in one go.
const BATCH: usize = 1 << 20;
/// Frames in one go; a sender of tiny frames must not make the batch's bookkeeping larger than its bytes.
const BATCH_FRAMES: usize = 256;
/// After so many bytes the kernel is told to begin writing back, so that the sync at the end has little left to do.
const WRITE_BACK: u64 = 32 << 20;
/// A sender that is silent for so long has gone away.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request waits for the one before it on the same upload, which may be about to notice that its sender left.
const TURN: Duration = Duration::from_secs(5);
/// Buffer for hashing a file again.
const REHASH: usize = 256 << 10;

/// What a request announces about the bytes it brings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunk {
    /// Where its first byte belongs, if it says so.
    pub at: Option<u64>,
    /// Its length, if it says so.
    pub length: Option<u64>,
}

/// What is known about an upload between two requests.
pub(crate) struct Session {
    hash: Option<(Hasher, u64)>,
    algorithm: Algorithm,
    /// Set when writing back failed: the kernel reports such a failure once, so it must not be forgotten.
    write_back_failed: Arc<AtomicBool>,
}

type Turn = OwnedMutexGuard<Session>;

/// Uploads that this process has touched.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Uuid, Arc<AsyncMutex<Session>>>>);

impl Sessions {
    async fn turn(&self, id: Uuid, algorithm: Algorithm) -> Result<Turn, BlobError> {
        let session = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Session { hash: None, algorithm, write_back_failed: Arc::default() };
            all.entry(id).or_insert_with(|| Arc::new(AsyncMutex::new(new()))).clone()
        };
        timeout(TURN, session.lock_owned()).await.map_err(|_| BlobError::Busy)
    }

    fn is_idle(&self, id: Uuid) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).is_none_or(|session| session.try_lock().is_ok())
    }

    fn end(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// The open staged file of the request whose turn it is.
struct Writer {
    inner: Arc<Inner>,
    id: Uuid,
    turn: Turn,
    file: File,
    hasher: Hasher,
    offset: u64,
    /// Bytes written since the last write-back began.
    dirty: u64,
    on_drop: OnDrop,
}

/// What becomes of the staged file when its writer goes, perhaps because the request was dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    /// The upload goes on later.
    Keep,
    /// Nobody else knows of it.
    Remove,
    /// It was committed or dropped.
    Nothing,
}

impl Blobs {
    /// Begins an upload: an empty staged file. `id` is the caller's and must be new.
    pub async fn stage(&self, id: Uuid, algorithm: Algorithm) -> Result<(), BlobError> {
        let inner = self.0.clone();
        let turn = inner.sessions.turn(id, algorithm).await?;
        blocking(move || {
            let (_turn, path) = (turn, inner.staged(id));
            let made = room(&inner, 0).and_then(|()| Ok(OpenOptions::new().write(true).create_new(true).open(path)?));
            if made.is_err() {
                inner.sessions.end(id);
            }
            made.map(|_file| ())
        })
        .await
    }

    /// How many bytes of an upload are staged.
    pub async fn offset(&self, id: Uuid) -> Result<u64, BlobError> {
        let inner = self.0.clone();
        let turn = inner.sessions.turn(id, Algorithm::Sha256).await?;
        blocking(move || {
            let _turn = turn;
            match std::fs::metadata(inner.staged(id)) {
                Ok(file) => Ok(file.len()),
                Err(error) => Err(unknown(&inner, id, error)),
            }
        })
        .await
    }

    /// Appends a body to an upload and returns the new offset. If the body breaks off, what arrived is kept.
    pub async fn append<S, E>(&self, id: Uuid, chunk: Chunk, body: S) -> Result<u64, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let inner = self.0.clone();
        let turn = inner.sessions.turn(id, Algorithm::Sha256).await?;
        let writer = blocking(move || Writer::open(inner, id, turn, chunk, OnDrop::Keep)).await?;
        Ok(writer.take(chunk, body).await?.offset)
    }

    /// Ends an upload: verifies that it has `digest` and stores it durably. The upload is gone afterwards, also when the
    /// digest did not match.
    pub async fn commit(&self, id: Uuid, digest: &Digest) -> Result<Stored, BlobError> {
        let (inner, digest) = (self.0.clone(), digest.clone());
        let turn = inner.sessions.turn(id, digest.algorithm()).await?;
        blocking(move || Writer::open(inner, id, turn, Chunk::default(), OnDrop::Keep)?.commit(&digest)).await
    }

    /// Stores a whole body in one step, without an upload that anybody else could see.
    pub async fn put<S, E>(&self, digest: &Digest, length: Option<u64>, body: S) -> Result<Stored, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let (inner, digest, id) = (self.0.clone(), digest.clone(), Uuid::now_v7());
        let turn = inner.sessions.turn(id, digest.algorithm()).await?;
        let chunk = Chunk { at: None, length };
        let writer = blocking(move || Writer::open(inner, id, turn, chunk, OnDrop::Remove)).await?;
        let writer = writer.take(chunk, body).await?;
        blocking(move || writer.commit(&digest)).await
    }

    /// Drops an upload and its bytes. One that is already gone is fine.
    pub async fn discard(&self, id: Uuid) -> Result<(), BlobError> {
        let inner = self.0.clone();
        let turn = inner.sessions.turn(id, Algorithm::Sha256).await?;
        blocking(move || {
            let _turn = turn;
            inner.drop_staged(id);
            Ok(())
        })
        .await
    }

    /// Ids of the staged uploads that no request of this process is writing to now, so that those without a row can be swept.
    pub async fn staged(&self) -> Result<Vec<Uuid>, BlobError> {
        let inner = self.0.clone();
        blocking(move || {
            let mut ids = Vec::new();
            for entry in std::fs::read_dir(inner.root.join("uploads"))? {
                ids.extend(entry?.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok()));
            }
            ids.retain(|id| inner.sessions.is_idle(*id));
            Ok(ids)
        })
        .await
    }
}

impl Inner {
    fn drop_staged(&self, id: Uuid) {
        self.sessions.end(id);
        if let Err(error) = disk::remove_if_there(&self.staged(id)) {
            tracing::warn!(upload = %id, %error, "staged upload could not be removed");
        }
    }
}

/// An upload whose file is not there leaves no session behind either.
fn unknown(inner: &Inner, id: Uuid, error: std::io::Error) -> BlobError {
    if error.kind() == std::io::ErrorKind::NotFound {
        inner.sessions.end(id);
        return BlobError::UploadUnknown;
    }
    BlobError::Io(error)
}

fn room(inner: &Inner, more: u64) -> Result<(), BlobError> {
    if disk::has_room(&inner.root, more)? { Ok(()) } else { Err(BlobError::NoSpace) }
}

impl Writer {
    /// Opens the staged file, checks the chunk against it, and makes the running hash stand at its end. A file that
    /// nobody knows of yet ([`OnDrop::Remove`]) is made new, any other must stand.
    fn open(inner: Arc<Inner>, id: Uuid, mut turn: Turn, chunk: Chunk, on_drop: OnDrop) -> Result<Self, BlobError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(on_drop == OnDrop::Remove);
        let file = options.open(inner.staged(id)).map_err(|error| unknown(&inner, id, error))?;
        let offset = file.metadata()?.len();
        if chunk.at.is_some_and(|at| at != offset) {
            return Err(BlobError::OutOfOrder { offset });
        }
        let (limit, length) = (inner.limits.blob, chunk.length.unwrap_or(0));
        let refused = match offset.saturating_add(length) > limit {
            true => Err(BlobError::TooLarge { limit }),
            false if length > 0 => room(&inner, length),
            false => Ok(()),
        };
        if let Err(refusal) = refused {
            inner.drop_staged(id);
            return Err(refusal);
        }
        let hasher = match turn.hash.take() {
            Some((hasher, at)) if at == offset => hasher,
            _ => hash_file(&file, offset, turn.algorithm)?,
        };
        Ok(Self { inner, id, turn, file, hasher, offset, dirty: 0, on_drop })
    }

    /// Takes a body to its end. While one batch is written and hashed, the next one is received.
    async fn take<S, E>(self, chunk: Chunk, mut body: S) -> Result<Self, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let began = self.offset;
        let mut writer = self;
        let mut batch = gather(&mut body).await;
        let end = loop {
            let work = blocking(move || writer.write(&batch.frames));
            if let Some(end) = batch.end {
                writer = work.await?;
                break end;
            }
            let (next, written) = tokio::join!(gather(&mut body), work);
            (batch, writer) = (next, written?);
        };
        end?;
        let found = writer.offset - began;
        match chunk.length {
            Some(announced) if announced != found => {
                writer.file.set_len(began)?;
                Err(BlobError::Length { announced, found })
            }
            _ => Ok(writer),
        }
    }

    /// Writes and hashes a batch. What cannot be finished for want of room is dropped: a partial upload must not be what
    /// keeps the disk full.
    fn write(mut self, frames: &[Bytes]) -> Result<Self, BlobError> {
        let more: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        let limit = self.inner.limits.blob;
        let fits = match self.offset.saturating_add(more) > limit {
            true => Err(BlobError::TooLarge { limit }),
            false => room(&self.inner, more),
        };
        match fits.and_then(|()| self.write_frames(frames)) {
            Ok(()) => {
                self.begin_write_back(more);
                Ok(self)
            }
            Err(error) => {
                if matches!(error, BlobError::NoSpace | BlobError::TooLarge { .. }) {
                    self.abandon();
                }
                Err(error)
            }
        }
    }

    fn write_frames(&mut self, frames: &[Bytes]) -> Result<(), BlobError> {
        for frame in frames {
            self.file.write_all_at(frame, self.offset)?;
            self.hasher.update(frame);
            self.offset += frame.len() as u64;
        }
        Ok(())
    }

    /// Lets the kernel write back beside us. Its failure is remembered in the session.
    fn begin_write_back(&mut self, more: u64) {
        self.dirty += more;
        if self.dirty < WRITE_BACK {
            return;
        }
        let Ok(file) = self.file.try_clone() else { return };
        self.dirty = 0;
        let failed = self.turn.write_back_failed.clone();
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = file.sync_data() {
                tracing::error!(%error, "staged upload could not be written back");
                failed.store(true, Ordering::Release);
            }
        }));
    }

    /// Verifies and stores. The order is the promise: bytes, then name, then the folder that holds the name.
    fn commit(mut self, digest: &Digest) -> Result<Stored, BlobError> {
        let result = self.verify(digest).and_then(|()| self.store(digest));
        self.abandon();
        result
    }

    fn verify(&self, digest: &Digest) -> Result<(), BlobError> {
        let found = match self.hasher.algorithm() == digest.algorithm() {
            true => self.hasher.clone().finish(),
            false => hash_file(&self.file, self.offset, digest.algorithm())?.finish(),
        };
        if found == *digest { Ok(()) } else { Err(BlobError::DigestMismatch { expected: digest.clone(), found }) }
    }

    fn store(&self, digest: &Digest) -> Result<Stored, BlobError> {
        self.file.sync_all()?;
        if self.turn.write_back_failed.load(Ordering::Acquire) {
            return Err(BlobError::Io(std::io::Error::other("staged bytes were lost on their way to the disk")));
        }
        let key = BlobKey { digest: digest.clone(), generation: Generation::next() };
        let path = key.path();
        let folder = path.parent().expect("a blob key has a folder");
        self.inner.folders.ensure(&self.inner.root, folder)?;
        std::fs::rename(self.inner.staged(self.id), self.inner.root.join(&path))?;
        disk::sync_folder(&self.inner.root.join(folder))?;
        // Learned after the rename, which changes the file's times.
        self.inner.facts.learn(&key, &self.file.metadata()?);
        Ok(Stored { key, size: self.offset })
    }

    /// Drops the staged file, if it still bears its staged name, and the session.
    fn abandon(&mut self) {
        self.on_drop = OnDrop::Nothing;
        self.inner.drop_staged(self.id);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        match self.on_drop {
            OnDrop::Keep => self.turn.hash = Some((self.hasher.clone(), self.offset)),
            OnDrop::Remove => self.inner.drop_staged(self.id),
            OnDrop::Nothing => {}
        }
    }
}

/// A run of frames, and how the body ended if it did.
struct Batch {
    frames: Vec<Bytes>,
    end: Option<Result<(), BlobError>>,
}

async fn gather<S, E>(body: &mut S) -> Batch
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Display,
{
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH && frames.len() < BATCH_FRAMES {
        let end = match timeout(IDLE, body.next()).await {
            Ok(Some(Ok(frame))) => {
                bytes += frame.len();
                frames.push(frame);
                continue;
            }
            Ok(Some(Err(error))) => Err(BlobError::Body(error.to_string())),
            Ok(None) => Ok(()),
            Err(_) => Err(BlobError::Body(format!("nothing came for {} s", IDLE.as_secs()))),
        };
        return Batch { frames, end: Some(end) };
    }
    Batch { frames, end: None }
}

/// Hashes the first `length` bytes of a file.
pub(crate) fn hash_file(file: &File, length: u64, algorithm: Algorithm) -> Result<Hasher, BlobError> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; REHASH];
    let mut at = 0;
    while at < length {
        let want = usize::try_from(length - at).unwrap_or(REHASH).min(REHASH);
        file.read_exact_at(&mut buffer[..want], at)?;
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    Ok(hasher)
}
