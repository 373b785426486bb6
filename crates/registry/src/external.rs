//! Copying images out to external registries: what is missing there blob by blob, children before what needs them, the tag last.
//!
//! Invariants: a tag moves there only after everything that its image needs was seen there, and only while this sender still has it in its
//! hands; each step may be done twice, so a copy that was cut off goes on where it stood. A layer is streamed from the disk, never held.
//! Deliberately elsewhere: what is due and what a failure means (`app::external`), the protocol (`distribution`), who pulls here (`blob`).

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use slipway_app::{Error, Sending, Sent};
use slipway_blobs::{BlobError, BlobKey, Content};
use slipway_distribution::{Content as Pieces, Remote, Trouble};
use slipway_model::RepositoryId;
use slipway_oci::{Child, Digest, Manifest, Reference, Role};
use slipway_store::{StoreError, images};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Registry;

/// So many registries are sent to at once: one that is slow must not hold up the others.
const SENDERS: usize = 4;
const POLL: Duration = Duration::from_secs(5);
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// Most manifests of one image, and most that wait to be looked at.
const MOST: usize = 20_000;

/// A manifest as it is stored here.
struct Stored {
    digest: Digest,
    media_type: String,
    content: Vec<u8>,
    manifest: Manifest,
}

fn hindered(error: &StoreError) -> Trouble {
    Trouble::Hindered(format!("the database does not answer: {error}"))
}

/// What is gone or damaged here does not come back by waiting.
fn unreadable(error: &BlobError) -> Trouble {
    match error {
        BlobError::Missing(digest) | BlobError::Corrupt(digest) => {
            Trouble::Ours(format!("the stored bytes of `{digest}` are missing or damaged"))
        }
        other => Trouble::Hindered(other.to_string()),
    }
}

impl Registry {
    /// Sends what is due until `stop`. What is under way then is taken up by the next process.
    pub async fn run_external(self, stop: CancellationToken) {
        join_all((0..SENDERS).map(|_| self.external_loop(&stop))).await;
    }

    async fn external_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.send_external_once(stop).await {
                Ok(true) => continue,
                Ok(false) => self.app.external_due(POLL).boxed(),
                Err(error) => {
                    tracing::error!(r#loop = "external registries", %error, "a background step failed; it is tried again");
                    metrics::counter!("slipway_loop_errors_total", "loop" => "external registries").increment(1);
                    tokio::time::sleep(AFTER_ERROR).boxed()
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = wait => {}
            }
        }
    }

    /// Sends one tag, the one that is due the longest; false when none is.
    ///
    /// # Errors
    /// Only the database's: what a registry says is kept with the tag.
    pub async fn send_external_once(&self, stop: &CancellationToken) -> Result<bool, Error> {
        let Some(sending) = self.app.claim_external().await? else { return Ok(false) };
        let sent = tokio::select! {
            sent = self.copy(&sending) => sent.unwrap_or_else(Sent::Failed),
            () = self.lost(&sending) => Sent::Stopped,
            () = stop.cancelled() => Sent::Stopped,
        };
        tracing::info!(repository = %sending.repository(), tag = %sending.tag(), digest = sending.digest(), ?sent, "sent to an external registry");
        self.app.settle_external(&sending, sent).await?;
        Ok(true)
    }

    /// Holds the tag, and ends when it is no longer this sender's.
    async fn lost(&self, sending: &Sending) {
        let lease = self.app.external_lease();
        let mut held = Instant::now();
        loop {
            tokio::time::sleep(lease / 3).await;
            match self.app.hold_external(sending).await {
                Ok(true) => held = Instant::now(),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "a tag on its way to an external registry could not be held");
                    if held.elapsed() >= lease / 2 {
                        return;
                    }
                }
            }
        }
    }

    async fn copy(&self, sending: &Sending) -> Result<Sent, Trouble> {
        let unknown = |_| Trouble::Ours(format!("`{}` is no name that a registry takes", sending.tag()));
        let tag = Reference::Tag(sending.tag().as_str().parse().map_err(unknown)?);
        let root: Digest = sending.digest().parse().map_err(|_| Trouble::Ours("the image's digest cannot be read".to_owned()))?;
        let remote = self.app.open_external(sending).await?;
        let order = self.manifests_of(sending.repository(), &root).await?;
        for digest in &order {
            let stored = self.stored(sending.repository(), digest).await?;
            for child in &stored.manifest.children {
                self.send_child(&remote, sending.repository(), child).await?;
            }
            if *digest == root {
                return self.send_tag(&remote, sending, &tag, &stored).await;
            }
            let by_digest = Reference::Digest(digest.clone());
            if remote.manifest(&by_digest, &stored.media_type).await?.is_none() {
                remote.push_manifest(&by_digest, &stored.media_type, &stored.content).await?;
            }
        }
        Err(Trouble::Ours("the image has no manifest".to_owned()))
    }

    /// The last step. Whoever takes over must never meet a request of ours that is still under way, so it has less time than the lease.
    async fn send_tag(&self, remote: &Remote, sending: &Sending, tag: &Reference, image: &Stored) -> Result<Sent, Trouble> {
        match self.app.hold_external(sending).await {
            Ok(true) => {}
            Ok(false) => return Ok(Sent::Stopped),
            Err(error) => return Err(Trouble::Hindered(error.to_string())),
        }
        let push = async {
            if remote.manifest(tag, &image.media_type).await?.as_ref() != Some(&image.digest) {
                remote.push_manifest(tag, &image.media_type, &image.content).await?;
            }
            match remote.manifest(tag, &image.media_type).await? {
                Some(found) if found == image.digest => Ok(Sent::Delivered),
                _ => Err(Trouble::Hindered("the tag names another image there than the one that was sent".to_owned())),
            }
        };
        let late = |_| Trouble::Unreachable("the tag was not taken in time".to_owned());
        tokio::time::timeout(self.app.external_lease() / 2, push).await.map_err(late)?
    }

    async fn send_child(&self, remote: &Remote, repository: RepositoryId, child: &Child) -> Result<(), Trouble> {
        let digest = &child.target.digest;
        let mut tx = self.app.db().read().await.map_err(|error| hindered(&error))?;
        let found = images::get_blob(&mut tx, repository, digest.as_str()).await.map_err(|error| hindered(&error))?;
        drop(tx);
        let Some(blob) = found else {
            return match child.role {
                // Its manifest was sent before, and a layer that may not be pushed need not be here.
                Role::Manifest | Role::Other | Role::ForeignLayer => Ok(()),
                Role::Config | Role::Layer => Err(Trouble::Ours(format!("the image needs `{digest}`, which was deleted here"))),
            };
        };
        if child.role == Role::Manifest || remote.has_blob(digest, blob.size).await? {
            return Ok(());
        }
        let generation = blob.generation.parse().map_err(|_| Trouble::Ours(format!("the row of `{digest}` cannot be read")))?;
        let key = BlobKey { digest: digest.clone(), generation };
        remote.push_blob(digest, blob.size, &|| self.pieces(key.clone(), blob.size).boxed()).await?;
        if remote.has_blob(digest, blob.size).await? {
            return Ok(());
        }
        Err(Trouble::Hindered(format!("it took `{digest}` and does not have it")))
    }

    async fn pieces(&self, key: BlobKey, size: u64) -> Result<Pieces, Trouble> {
        match self.blobs.read(&key, size, None).await.map_err(|error| unreadable(&error))? {
            Content::Small(bytes) => Ok(stream::once(async { Ok(bytes) }).boxed()),
            Content::Large(pieces) => Ok(pieces.map_err(|error| unreadable(&error)).boxed()),
        }
    }

    /// All manifests of an image, each behind those that it needs.
    async fn manifests_of(&self, repository: RepositoryId, root: &Digest) -> Result<Vec<Digest>, Trouble> {
        let (mut order, mut seen, mut open) = (Vec::new(), BTreeSet::new(), vec![(root.clone(), false)]);
        while let Some((digest, children_are_done)) = open.pop() {
            if children_are_done {
                order.push(digest);
                continue;
            }
            if !seen.insert(digest.clone()) {
                continue;
            }
            let stored = self.stored(repository, &digest).await?;
            open.push((digest, true));
            for child in stored.manifest.children {
                let is_manifest = match child.role {
                    Role::Manifest => true,
                    Role::Other => self.is_manifest(repository, &child.target.digest).await?,
                    Role::Config | Role::Layer | Role::ForeignLayer => false,
                };
                if is_manifest && !seen.contains(&child.target.digest) {
                    open.push((child.target.digest, false));
                }
            }
            if open.len() + order.len() > MOST {
                return Err(Trouble::Ours(format!("the image has more than {MOST} manifests")));
            }
        }
        Ok(order)
    }

    async fn is_manifest(&self, repository: RepositoryId, digest: &Digest) -> Result<bool, Trouble> {
        let mut tx = self.app.db().read().await.map_err(|error| hindered(&error))?;
        images::manifest_exists(&mut tx, repository, digest.as_str()).await.map_err(|error| hindered(&error))
    }

    async fn stored(&self, repository: RepositoryId, digest: &Digest) -> Result<Stored, Trouble> {
        let mut tx = self.app.db().read().await.map_err(|error| hindered(&error))?;
        let found = images::get_manifest(&mut tx, repository, digest.as_str()).await.map_err(|error| hindered(&error))?;
        drop(tx);
        let found = found.ok_or_else(|| Trouble::Ours(format!("the image was deleted here: `{digest}`")))?;
        if !digest.matches(&found.content) {
            return Err(Trouble::Ours(format!("the stored bytes of `{digest}` are damaged")));
        }
        let manifest = Manifest::parse(&found.content, Some(&found.media_type))
            .map_err(|error| Trouble::Ours(format!("the manifest `{digest}` cannot be read: {error}")))?;
        Ok(Stored { digest: digest.clone(), media_type: found.media_type, content: found.content, manifest })
    }
}
