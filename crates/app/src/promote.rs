//! Promotion: after the test passed and the image is durable, its tags move in the transaction that ends the build. Forward only.

use slipway_model::{BuildState, FailureCode, FailureReason, ImageTag, Timestamp};
use slipway_store::WriteTx;
use slipway_store::builds::{self, Build, Ending};
use slipway_store::images::{self, TagOrigin};

use crate::{App, Error};

impl App {
    pub(crate) async fn promote(&self, tx: &mut WriteTx, build: &Build, digest: &str, now: Timestamp) -> Result<BuildState, Error> {
        if !build.terms.publish {
            let reason = FailureReason::new(FailureCode::Internal, "the builder says that it pushed what was not to be pushed");
            return self.end(tx, build.id, BuildState::Failed, &reason, now).await;
        }
        if !images::manifest_exists(tx, build.repository, digest).await? {
            let shown: String = digest.chars().take(80).collect();
            let reason = FailureReason::new(
                FailureCode::PushFailed,
                format!("the builder says that it pushed `{shown}`, but the registry has no such manifest"),
            );
            builds::finish(tx, build.id, &Ending { state: BuildState::Failed, reason: Some(&reason), note: None, digest: None }, now)
                .await?;
            return Ok(BuildState::Failed);
        }
        let origin = TagOrigin {
            build: build.id,
            autobuild: build.autobuild,
            source_ref: build.source_ref.clone(),
            ref_seq: build.ref_seq,
            commit: build.commit.clone(),
        };
        let moved = images::move_tags(tx, build.repository, &build.tags, digest, Some(&origin), now).await?;
        let kept: Vec<&str> = build.tags.iter().filter(|tag| !moved.contains(tag)).map(ImageTag::as_str).collect();
        let note = (!kept.is_empty())
            .then(|| format!("not moved, because a newer push of `{}` moved it before: {}", build.source_ref.short(), kept.join(", ")));
        builds::finish(
            tx,
            build.id,
            &Ending { state: BuildState::Success, reason: None, note: note.as_deref(), digest: Some(digest) },
            now,
        )
        .await?;
        Ok(BuildState::Success)
    }
}
