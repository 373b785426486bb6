//! `slipway admin fsck`: does every blob of the database stand on the disk as it should.
//!
//! Bytes without a row are no finding: an upload that was cut leaves them, and garbage collection takes them. Changes nothing.

use std::fmt::Write;

use slipway_blobs::{BlobKey, Blobs, Depth, Finding};
use slipway_oci::Digest;
use slipway_store::images::{self, BlobRow};

use super::open;
use crate::config::Config;
use crate::failure::Failure;

const PAGE: u32 = 500;
/// Findings that are told one by one.
const TOLD: usize = 1000;

#[derive(Default)]
struct Report {
    checked: u64,
    wrong: usize,
    text: String,
}

impl Report {
    fn note(&mut self, digest: &str, what: &str) {
        self.wrong += 1;
        if self.wrong <= TOLD {
            writeln!(self.text, "{digest}: {what}").expect("writing to a String cannot fail");
        }
    }
}

/// Checks every blob; the findings go to standard output, the verdict is the exit code.
pub(crate) async fn run(config: &Config, depth: Depth) -> Result<String, Failure> {
    let db = open::database(config).await?;
    let blobs = open::blobs(config).await?;
    let mut report = Report::default();
    let mut after: Option<String> = None;
    loop {
        let mut tx = db.read().await.map_err(open::store)?;
        let rows = images::list_blobs(&mut tx, after.as_deref(), PAGE).await.map_err(open::store)?;
        drop(tx);
        for row in &rows {
            check(&blobs, row, depth, &mut report).await?;
        }
        match rows.last() {
            Some(last) => after = Some(last.digest.clone()),
            None => break,
        }
    }
    db.close().await;
    if report.wrong == 0 {
        return Ok(format!("clean: {} blobs are as they should be\n", report.checked));
    }
    crate::print(&report.text)?;
    let message = format!("{} of {} blobs are not as they should be", report.wrong, report.checked);
    Err(Failure::failed(message, "push the images that need them again: a push puts a sound copy in their place"))
}

async fn check(blobs: &Blobs, row: &BlobRow, depth: Depth, report: &mut Report) -> Result<(), Failure> {
    report.checked += 1;
    let (Ok(digest), Ok(generation)) = (row.digest.parse::<Digest>(), row.blob.generation.parse()) else {
        report.note(&row.digest, "the row cannot be read");
        return Ok(());
    };
    let found = blobs.check(&BlobKey { digest, generation }, row.blob.size, depth).await;
    match found.map_err(|error| Failure::failed(format!("the blobs cannot be read: {error}"), "look at the disk and at the folder's rights"))? {
        Finding::Sound => {}
        Finding::Missing => report.note(&row.digest, "missing"),
        Finding::Length(length) => report.note(&row.digest, &format!("{length} bytes long, expected {}", row.blob.size)),
        Finding::Content(found) => report.note(&row.digest, &format!("its content hashes to {found}")),
    }
    Ok(())
}
