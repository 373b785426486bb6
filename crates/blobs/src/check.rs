//! What `fsck` asks: is a copy there, and is it right; and which copies are there at all.
//!
//! Deliberately elsewhere: which copies should be there (`store`), and what to do about a finding (`server`).

use std::fs::{self, File};
use std::io;

use slipway_oci::{Algorithm, Digest};

use crate::stage::hash_file;
use crate::{BlobError, BlobKey, Blobs, Stored, blocking};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Existence and length.
    Shallow,
    /// Also the hash, read from the disk whatever is remembered.
    Deep,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Sound,
    /// No such file.
    Missing,
    /// Another length.
    Length(u64),
    /// Another content.
    Content(Digest),
}

impl Blobs {
    /// Looks at one copy. Changes nothing.
    pub async fn check(&self, key: &BlobKey, size: u64, depth: Depth) -> Result<Finding, BlobError> {
        let (inner, key) = (self.0.clone(), key.clone());
        blocking(move || {
            let file = match File::open(inner.root.join(key.path())) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Finding::Missing),
                Err(error) => return Err(BlobError::Io(error)),
            };
            let length = file.metadata()?.len();
            if length != size {
                return Ok(Finding::Length(length));
            }
            if depth == Depth::Shallow {
                return Ok(Finding::Sound);
            }
            let found = hash_file(&file, length, key.digest.algorithm())?.finish();
            Ok(if found == key.digest { Finding::Sound } else { Finding::Content(found) })
        })
        .await
    }

    /// All copies whose digest begins with the byte `prefix`: 256 calls per algorithm see everything, each bounded.
    pub async fn list(&self, algorithm: Algorithm, prefix: u8) -> Result<Vec<Stored>, BlobError> {
        let inner = self.0.clone();
        blocking(move || {
            let folder = inner.root.join(algorithm.as_str()).join(format!("{prefix:02x}"));
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(BlobError::Io(error)),
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if let Some(key) = name.to_str().and_then(|name| key_of(algorithm, name)) {
                    found.push(Stored { key, size: entry.metadata()?.len() });
                }
            }
            Ok(found)
        })
        .await
    }
}

fn key_of(algorithm: Algorithm, name: &str) -> Option<BlobKey> {
    let (hex, generation) = name.split_once('.')?;
    let digest = format!("{}:{hex}", algorithm.as_str()).parse().ok()?;
    Some(BlobKey { digest, generation: generation.parse().ok()? })
}
