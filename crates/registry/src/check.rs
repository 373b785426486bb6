//! What `fsck` asks of the registry: does every row have its bytes, and are they right.
//!
//! Invariant: looks only, changes nothing, and may run beside a server. Bytes without a row are no fault: an upload that was
//! just stored has none for a moment, and a crash leaves some, which are swept later.

use std::collections::HashSet;

use slipway_blobs::{BlobError, BlobKey, Blobs, Depth, Finding, Generation};
use slipway_oci::{Algorithm, Digest};
use slipway_store::{Db, StoreError, images};

use crate::Registry;

/// Blob rows on a page.
const BLOBS: u32 = 500;
/// Manifests on a page; each may have 4 MiB.
const MANIFESTS: u32 = 4;
/// Faults that are told in words; the rest is counted.
const TOLD: usize = 1000;

/// The check could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs' folder.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs looked at.
    pub blobs: u64,
    /// Manifests looked at; their bytes are always hashed.
    pub manifests: u64,
    /// How many of them are not as they should be.
    pub faults: u64,
    /// The first faults, in words.
    pub told: Vec<String>,
    /// Stored copies that no row names.
    pub unreferenced: u64,
}

impl Report {
    fn fault(&mut self, text: String) {
        self.faults += 1;
        if self.told.len() < TOLD {
            self.told.push(text);
        }
    }
}

impl Registry {
    /// Checks rows against bytes.
    ///
    /// # Errors
    /// [`CheckError`]: what could not be read counts neither as right nor as wrong.
    pub async fn check(&self, depth: Depth) -> Result<Report, CheckError> {
        let (db, mut report) = (self.app.db(), Report::default());
        check_manifests(db, &mut report).await?;
        let current = check_blobs(db, &self.blobs, depth, &mut report).await?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for prefix in 0..=u8::MAX {
                let stored = self.blobs.list(algorithm, prefix).await?;
                report.unreferenced += stored.iter().filter(|stored| !current.contains(&stored.key.generation)).count() as u64;
            }
        }
        Ok(report)
    }
}

async fn check_manifests(db: &Db, report: &mut Report) -> Result<(), CheckError> {
    let mut last = None;
    loop {
        // One short transaction for each page: a long one would keep SQLite's log from being folded in.
        let mut tx = db.read().await?;
        let after = last.as_ref().map(|(repository, digest): &(_, String)| (*repository, digest.as_str()));
        let page = images::list_manifests(&mut tx, after, MANIFESTS).await?;
        drop(tx);
        for (repository, manifest) in &page {
            report.manifests += 1;
            if !manifest.digest.parse::<Digest>().is_ok_and(|digest| digest.matches(&manifest.content)) {
                report.fault(format!("manifest `{}` of repository {repository} has other bytes than its digest says", manifest.digest));
            }
        }
        let Some((repository, manifest)) = page.into_iter().next_back() else { return Ok(()) };
        last = Some((repository, manifest.digest));
    }
}

async fn check_blobs(db: &Db, blobs: &Blobs, depth: Depth, report: &mut Report) -> Result<HashSet<Generation>, CheckError> {
    let (mut current, mut last) = (HashSet::new(), None::<String>);
    loop {
        let mut tx = db.read().await?;
        let page = images::list_blobs(&mut tx, last.as_deref(), BLOBS).await?;
        drop(tx);
        for row in &page {
            report.blobs += 1;
            let (Ok(digest), Ok(generation)) = (row.digest.parse::<Digest>(), row.blob.generation.parse::<Generation>()) else {
                report.fault(format!("the row of blob `{}` cannot be read", row.digest));
                continue;
            };
            let key = BlobKey { digest: digest.clone(), generation };
            match blobs.check(&key, row.blob.size, depth).await? {
                Finding::Sound => {}
                Finding::Missing => report.fault(format!("the bytes of blob `{digest}` are missing")),
                Finding::Length(found) => report.fault(format!("blob `{digest}` has {found} bytes, expected {}", row.blob.size)),
                Finding::Content(found) => report.fault(format!("the bytes of blob `{digest}` hash to `{found}`")),
            }
            current.insert(generation);
        }
        let Some(row) = page.into_iter().next_back() else { return Ok(current) };
        last = Some(row.digest);
    }
}
