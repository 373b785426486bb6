//! Blobs on a real folder: staging, resuming, committing, corruption, ranges.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use slipway_blobs::{BlobError, Blobs, Chunk, Content, Depth, Finding, Limits, Stored};
use slipway_oci::{Algorithm, Digest, Hasher};
use uuid::Uuid;

const LARGE: usize = (3 << 20) + 12_345;

async fn open(root: &Path) -> Blobs {
    Blobs::open(root, Limits { blob: 8 << 20 }).await.expect("opens")
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i as u64).wrapping_mul(2_654_435_761).to_le_bytes()[1] ^ seed).collect()
}

fn frames(bytes: &[u8], size: usize) -> impl futures_util::Stream<Item = Result<Bytes, String>> + Unpin {
    stream::iter(bytes.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect::<Vec<_>>())
}

async fn put(blobs: &Blobs, bytes: &[u8]) -> Stored {
    blobs.put(&Digest::sha256(bytes), Some(bytes.len() as u64), frames(bytes, 100_000)).await.expect("stored")
}

async fn read(blobs: &Blobs, stored: &Stored, part: Option<(u64, u64)>) -> Result<Vec<u8>, BlobError> {
    match blobs.read(&stored.key, stored.size, part).await? {
        Content::Small(bytes) => Ok(bytes.to_vec()),
        Content::Large(mut pieces) => {
            let mut all = Vec::new();
            while let Some(piece) = pieces.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all)
        }
    }
}

fn file_of(root: &Path, stored: &Stored) -> PathBuf {
    let hex = stored.key.digest.hex();
    root.join("sha256").join(&hex[..2]).join(format!("{hex}.{}", stored.key.generation))
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Flips one byte; writes until the kernel's coarse clock shows it in the file's times, as any later moment would.
fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::MetadataExt;
    let times = |path: &Path| fs::metadata(path).map(|m| (m.mtime(), m.mtime_nsec())).expect("stands");
    let before = times(path);
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    while times(path) == before {
        fs::write(path, &bytes).expect("writable");
    }
}

#[tokio::test]
async fn what_is_put_is_read() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    for length in [0, 1, 4096, 1 << 20, (1 << 20) + 1, LARGE] {
        let bytes = content(length, 1);
        let stored = put(&blobs, &bytes).await;
        assert_eq!(stored.size, length as u64);
        assert_eq!(read(&blobs, &stored, None).await.expect("reads"), bytes, "{length}");
        // The same after a restart, when nothing is known to be verified.
        let again = open(root.path()).await;
        assert!(again.present(&stored.key, stored.size).await.expect("stat"));
        assert_eq!(read(&again, &stored, None).await.expect("reads"), bytes, "{length}");
        assert_eq!(again.check(&stored.key, stored.size, Depth::Deep).await.expect("checks"), Finding::Sound);
    }
    assert!(files(&root.path().join("uploads")).is_empty());
}

#[tokio::test]
async fn parts_of_small_and_large() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    for length in [1000_usize, LARGE] {
        let bytes = content(length, 2);
        let stored = put(&blobs, &bytes).await;
        for fresh in [false, true] {
            for (first, count) in [(0, 1), (10, 990), (length as u64 - 1, 1), (1, length as u64 - 1)] {
                let reader = if fresh { open(root.path()).await } else { blobs.clone() };
                let part = read(&reader, &stored, Some((first, count))).await.expect("reads");
                assert!(part == bytes[first as usize..(first + count) as usize], "{length} {first} {count} {fresh}");
            }
        }
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let root = tempfile::tempdir().expect("folder");
    let bytes = content(LARGE, 3);
    let (id, middle) = (Uuid::now_v7(), 1_500_000_usize);
    let first = open(root.path()).await;
    first.stage(id, Algorithm::Sha256).await.expect("staged");
    let chunk = |at: usize| Chunk { at: Some(at as u64), length: None };
    assert_eq!(first.append(id, chunk(0), frames(&bytes[..middle], 70_000)).await.expect("appends"), middle as u64);
    drop(first);
    let second = open(root.path()).await;
    assert_eq!(second.staged().await.expect("lists"), [id]);
    assert_eq!(second.offset(id).await.expect("offset"), middle as u64);
    let wrong = second.append(id, chunk(middle - 1), frames(&bytes[middle..], 70_000)).await;
    assert!(matches!(wrong, Err(BlobError::OutOfOrder { offset }) if offset == middle as u64), "{wrong:?}");
    second.append(id, chunk(middle), frames(&bytes[middle..], 70_000)).await.expect("appends");
    let stored = second.commit(id, &Digest::sha256(&bytes)).await.expect("commits");
    assert!(read(&second, &stored, None).await.expect("reads") == bytes);
    assert!(matches!(second.offset(id).await, Err(BlobError::UploadUnknown)));
    assert!(matches!(second.commit(id, &stored.key.digest).await, Err(BlobError::UploadUnknown)));
}

#[tokio::test]
async fn a_broken_body_keeps_what_came() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    let (id, bytes) = (Uuid::now_v7(), content(2_000_000, 4));
    blobs.stage(id, Algorithm::Sha512).await.expect("staged");
    let cut = frames(&bytes[..1_300_000], 50_000).chain(stream::iter([Err("connection reset".to_owned())]));
    let broken = blobs.append(id, Chunk { at: None, length: Some(2_000_000) }, Box::pin(cut)).await;
    assert!(matches!(&broken, Err(BlobError::Body(text)) if text == "connection reset"), "{broken:?}");
    assert_eq!(blobs.offset(id).await.expect("offset"), 1_300_000);
    blobs.append(id, Chunk::default(), frames(&bytes[1_300_000..], 50_000)).await.expect("goes on");
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let stored = blobs.commit(id, &hasher.finish()).await.expect("sha512");
    assert!(read(&blobs, &stored, None).await.expect("reads") == bytes);
    assert_eq!(
        blobs.list(Algorithm::Sha512, u8::from_str_radix(&stored.key.digest.hex()[..2], 16).expect("hex")).await.expect("lists"),
        [stored]
    );
}

#[tokio::test]
async fn a_dropped_request_leaves_no_writer_behind() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    let (id, bytes) = (Uuid::now_v7(), content(LARGE, 5));
    blobs.stage(id, Algorithm::Sha256).await.expect("staged");
    let endless = Box::pin(frames(&bytes, 60_000).chain(stream::pending()));
    let dropped = tokio::time::timeout(Duration::from_millis(200), blobs.append(id, Chunk::default(), endless)).await;
    assert!(dropped.is_err(), "the request was cut off while it waited for more");
    let offset = blobs.offset(id).await.expect("the turn is free again") as usize;
    assert!(offset > 0 && offset <= LARGE);
    blobs.append(id, Chunk::default(), frames(&bytes[offset..], 60_000)).await.expect("goes on");
    blobs.commit(id, &Digest::sha256(&bytes)).await.expect("nothing twice, nothing missing");
    // A whole body that breaks off leaves nothing.
    let endless = Box::pin(frames(&bytes, 60_000).chain(stream::pending()));
    let put = tokio::time::timeout(Duration::from_millis(200), blobs.put(&Digest::sha256(b"x"), None, endless)).await;
    assert!(put.is_err());
    for _ in 0..100 {
        if files(&root.path().join("uploads")).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the partial file stays: {:?}", files(&root.path().join("uploads")));
}

#[tokio::test]
async fn wrong_digest_length_and_size_are_dropped() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    let bytes = content(100_000, 6);
    let other = Digest::sha256(b"other");
    let put = blobs.put(&other, None, frames(&bytes, 9_000)).await;
    assert!(matches!(&put, Err(BlobError::DigestMismatch { expected, found }) if *expected == other && *found == Digest::sha256(&bytes)));
    let short = blobs.put(&other, Some(100_001), frames(&bytes, 9_000)).await;
    assert!(matches!(short, Err(BlobError::Length { announced: 100_001, found: 100_000 })));
    for announced in [Some(9 << 20), None] {
        let large = blobs.put(&other, announced, frames(&content(9 << 20, 0), 1 << 20)).await;
        assert!(matches!(large, Err(BlobError::TooLarge { limit }) if limit == 8 << 20));
    }
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    // In an upload, a chunk of another length than announced is taken back, the upload goes on.
    let id = Uuid::now_v7();
    blobs.stage(id, Algorithm::Sha256).await.expect("staged");
    blobs.append(id, Chunk::default(), frames(&bytes[..10], 10)).await.expect("appends");
    let short = blobs.append(id, Chunk { at: None, length: Some(20) }, frames(&bytes[10..25], 10)).await;
    assert!(matches!(short, Err(BlobError::Length { announced: 20, found: 15 })));
    assert_eq!(blobs.offset(id).await.expect("offset"), 10);
    blobs.append(id, Chunk::default(), frames(&bytes[10..], 1000)).await.expect("appends");
    blobs.commit(id, &Digest::sha256(&bytes)).await.expect("commits");
    let unknown = blobs.append(Uuid::now_v7(), Chunk::default(), frames(b"x", 1)).await;
    assert!(matches!(unknown, Err(BlobError::UploadUnknown)));
}

#[tokio::test]
async fn corrupt_bytes_are_never_read_to_the_end_and_a_push_heals() {
    let root = tempfile::tempdir().expect("folder");
    for length in [5000, LARGE] {
        let bytes = content(length, 7);
        for at in [0, length - 1] {
            for part in [None, Some((1, 10))] {
                // The process that wrote the blob, and one that never saw it.
                for restart in [false, true] {
                    let mut blobs = open(root.path()).await;
                    let stored = put(&blobs, &bytes).await;
                    flip(&file_of(root.path(), &stored), at);
                    if restart {
                        blobs = open(root.path()).await;
                    }
                    let shallow = blobs.check(&stored.key, stored.size, Depth::Shallow).await.expect("checks");
                    assert_eq!(shallow, Finding::Sound);
                    let deep = blobs.check(&stored.key, stored.size, Depth::Deep).await.expect("checks");
                    assert!(matches!(deep, Finding::Content(_)), "{deep:?}");
                    let wrong = read(&blobs, &stored, part).await;
                    assert!(matches!(&wrong, Err(BlobError::Corrupt(d)) if *d == stored.key.digest), "{length} {at} {part:?} {restart}");
                    assert!(!blobs.present(&stored.key, stored.size).await.expect("stat"), "so that a push is not skipped");
                    let healed = put(&blobs, &bytes).await;
                    assert!(read(&blobs, &healed, None).await.expect("reads") == bytes);
                    blobs.remove(&healed.key).await.expect("removes");
                    blobs.remove(&healed.key).await.expect("twice is fine");
                    assert!(matches!(read(&blobs, &healed, None).await, Err(BlobError::Missing(_))));
                }
            }
        }
    }
}

#[tokio::test]
async fn truncated_bytes_are_refused() {
    let root = tempfile::tempdir().expect("folder");
    for length in [5000, LARGE] {
        let blobs = open(root.path()).await;
        let bytes = content(length, 8);
        let stored = put(&blobs, &bytes).await;
        let file = fs::OpenOptions::new().write(true).open(file_of(root.path(), &stored)).expect("opens");
        file.set_len(length as u64 - 1).expect("truncates");
        let finding = blobs.check(&stored.key, stored.size, Depth::Shallow).await.expect("checks");
        assert_eq!(finding, Finding::Length(length as u64 - 1));
        assert!(matches!(read(&blobs, &stored, None).await, Err(BlobError::Corrupt(_))));
        // Cut while it is being sent.
        let stored = put(&blobs, &content(LARGE, 9)).await;
        let Content::Large(mut pieces) = blobs.read(&stored.key, stored.size, None).await.expect("opens") else { panic!("large") };
        assert!(pieces.next().await.expect("a piece").is_ok());
        let file = fs::OpenOptions::new().write(true).open(file_of(root.path(), &stored)).expect("opens");
        file.set_len(10).expect("truncates");
        let mut failed = false;
        while let Some(piece) = pieces.next().await {
            failed |= piece.is_err();
            if failed {
                break;
            }
        }
        assert!(failed, "the end was never reached");
    }
}

#[tokio::test]
async fn two_pushes_of_one_digest_are_two_generations() {
    let root = tempfile::tempdir().expect("folder");
    let blobs = open(root.path()).await;
    let bytes = content(70_000, 10);
    let (one, two) = tokio::join!(put(&blobs, &bytes), put(&blobs, &bytes));
    assert_ne!(one.key.generation, two.key.generation);
    blobs.remove(&one.key).await.expect("removes");
    assert!(read(&blobs, &two, None).await.expect("the other stands") == bytes);
}
