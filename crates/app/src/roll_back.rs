//! A person moves a tag to the image of another build.
//!
//! Invariant: it is an event of the ref's history. What was pushed before it stays behind it; the next push moves the tag on.
//! Deliberately elsewhere: what builds do to tags (`promote`).

use serde_json::json;
use slipway_model::{BuildId, BuildState, ImageTag};
use slipway_store::builds::{self, Build};
use slipway_store::images::{self, Tag};
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::{ReadTx, WriteTx, external, repositories};

use crate::audit::{self, Change, Place};
use crate::promote::{origin_of, tags_of};
use crate::{App, Error, Refusal, RefusalKind, RepositoryAdmin};

impl App {
    /// Lets a tag name the image of a build, by its id or number: what the build gave this very tag, else the image of its rule. The tag
    /// stands, or is one that the build gives.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tag; a refusal when there is no such build, it has no image, or the image is gone.
    pub async fn roll_back(&self, right: &RepositoryAdmin, tag: &ImageTag, which: &str) -> Result<Tag, Error> {
        let (now, repository) = (self.clock.now(), right.repository());
        let mut tx = self.write().await?;
        let build = chosen(&mut tx, right, which).await?;
        refs::lock(&mut tx, build.autobuild).await?;
        let before = images::get_tag(&mut tx, repository.id, tag.as_str()).await?;
        // What a hook pushed by a tag is another image than the rule's.
        let given = tags_of(&mut tx, &build, build.digest.as_deref()).await?.remove(tag);
        if before.is_none() && given.is_none() && !build.tags.contains(tag) {
            return Err(Error::NotFound);
        }
        let Some(digest) = given.or(build.digest.clone()).filter(|_| build.state == BuildState::Success) else {
            let what = format!("build #{} is {}: it has no image for `{tag}`", build.number, build.state);
            return Err(Error::conflict("no_image", what));
        };
        let digest = digest.as_str();
        if !images::manifest_exists(&mut tx, repository.id, digest).await? {
            let refusal =
                Refusal::new(RefusalKind::Conflict, "image_gone", format!("the image of build #{} was deleted: {digest}", build.number));
            return Err(refusal.hint("retry the build, which makes it again").into());
        }
        let origin = origin_of(&build, self.append_roll_back(&mut tx, &build).await?);
        images::point_tag(&mut tx, repository.id, tag, digest, &origin, right.actor().account.unwrap_or(repository.account), now).await?;
        external::want(&mut tx, repository.id, std::slice::from_ref(tag), digest, build.id, now).await?;
        let mut change =
            Change::new("tag.move", format!("{}:{tag}", repository.name)).now(json!({"digest": digest, "build": build.number}));
        if let Some(before) = before {
            change = change.old(json!({"digest": before.digest}));
        }
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        let moved = images::get_tag(&mut tx, repository.id, tag.as_str()).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.wake.external.notify_one();
        Ok(moved)
    }

    /// Its place in the history of the build's ref; the build's own where the settings with that history are gone.
    async fn append_roll_back(&self, tx: &mut WriteTx, build: &Build) -> Result<u64, Error> {
        if repositories::get_autobuild_by_id(tx, build.autobuild).await?.is_none() {
            return Ok(build.ref_seq);
        }
        let event = NewRefEvent {
            autobuild: build.autobuild,
            name: &build.source_ref,
            before: None,
            after: Some(&build.commit),
            origin: Origin::RollBack,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        Ok(refs::insert(tx, &event, self.clock.now()).await?.1)
    }
}

async fn chosen(tx: &mut ReadTx, right: &RepositoryAdmin, which: &str) -> Result<Build, Error> {
    let repository = right.repository().id;
    let found = match (which.parse::<BuildId>(), which.trim_start_matches('#').parse::<u64>()) {
        (Ok(id), _) => builds::get(tx, repository, id).await?,
        (_, Ok(number)) => builds::get_by_number(tx, repository, number).await?,
        _ => None,
    };
    let shown: String = which.chars().take(80).collect();
    found.ok_or_else(|| Error::invalid("no_such_build", "build", format!("there is no build `{shown}` in this repository")))
}
