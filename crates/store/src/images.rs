//! The built-in registry's memory: blobs and who may see them, manifests and what they need, tags, uploads.
//!
//! Invariants: a blob exists for a repository only through its link. What a manifest needs is linked in the same repository
//! for as long as the manifest stands (foreign keys hold it also between concurrent changes). A tag that a build set
//! never goes back behind a later event of the same ref. Digests are text here: `oci` gave them their form.
//! Deliberately elsewhere: bytes (`blobs`), rights (`app`), the form of manifests (`oci`).

mod blobs;
mod manifests;
mod tags;
mod uploads;

pub use blobs::{Blob, BlobRow, get_blob, link_blob, list_blobs, put_blob, unlink_blob};
pub use manifests::{
    Insertion, Manifest, NewManifest, NewRef, Referrer, Target, delete_manifest, get_manifest, get_manifest_by_tag, insert_manifest,
    list_manifests, list_referrers, manifest_exists,
};
pub use tags::{Tag, TagOrigin, delete_tag, get_tag, list_tags, move_tags, point_tag};
pub use uploads::{delete_expired_uploads, delete_upload, insert_upload, known_upload, upload_exists};

use crate::{ReadTx, StoreError};

/// How a removal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone from this repository.
    Done,
    /// It was not there.
    Unknown,
    /// A manifest needs it.
    InUse,
}

/// A page of all repositories as `namespace/name`, after `after`; for administrators.
pub async fn list_catalog(tx: &mut ReadTx, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
    let (namespace, name) = after.map_or(("", ""), |after| after.split_once('/').unwrap_or((after, "")));
    let rows = fetch_all!(
        (String, String),
        tx,
        "SELECT a.name, r.name FROM repositories r JOIN accounts a ON a.id = r.account_id
         WHERE a.name > $1 OR (a.name = $1 AND r.name > $2) ORDER BY a.name, r.name LIMIT $3",
        namespace,
        name,
        i64::from(limit),
    )?;
    Ok(rows.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect())
}
