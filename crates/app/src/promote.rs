//! Promotion: after the test passed and the image is durable, its tags move in the transaction that ends the build.
//!
//! The rule. A tag that shows a commit of the same ref moves only when the build is older by neither measure:
//! - *the order of the ref's pushes*: a force push makes its commit the newest of the ref, whatever it was before, and what was pushed
//!   earlier stays behind it, however late it ends. A retry has the place of what it repeats; a build by hand or by a trigger has the place of
//!   the push that led to its commit, and when no push did, that of the moment when it was asked for.
//! - *ancestry*: a commit in the history of the one that the tag shows is older, even when a push led back to it. The provider is asked,
//!   since a builder's clone has no history. When it cannot tell, the order alone decides, and the build says so.
//!
//! Whoever administrates the repository may move a tag anywhere (`roll_back`); what was pushed before that stays behind it, and the next push
//! moves the tag again. A tag that shows another ref, or what somebody pushed, moves with any build that gives it.
//! Each tag of a build moves or stays for itself, all of them in one step; the build says which stayed and why. That goes for the tags of its
//! rule, and for those by which its hooks pushed to its own repository.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, SourceKey};
use slipway_model::{BuildId, BuildState, CommitId, FailureCode, FailureReason, ImageTag, Timestamp};
use slipway_store::WriteTx;
use slipway_store::build_tags;
use slipway_store::builds::{self, Build, Ending};
use slipway_store::external;
use slipway_store::images::{self, Tag, TagOrigin};

use crate::links::access::SourceAt;
use crate::{App, Error};

/// So often the provider is asked about tags that move meanwhile.
const ROUNDS: u8 = 3;

/// How the commit of a build stands to one that a tag shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ancestry {
    /// It is in the other's history.
    Older,
    /// It is not.
    NotOlder,
    /// Nobody can tell, for this reason.
    Unknown(String),
}

/// What was found out of a build's commit before its tags move.
#[derive(Debug)]
pub(crate) struct Known {
    answers: BTreeMap<CommitId, Ancestry>,
    rounds: u8,
}

impl Default for Known {
    fn default() -> Self {
        Self { answers: BTreeMap::new(), rounds: ROUNDS }
    }
}

impl Known {
    fn of(&self, shown: &CommitId) -> Option<Ancestry> {
        let moving = || Ancestry::Unknown("the tag moved each time that the provider was asked".to_owned());
        self.answers.get(shown).cloned().or_else(|| (self.rounds == 0).then(moving))
    }

    /// Keeps the answers of one round.
    pub(crate) fn learn(&mut self, answers: impl IntoIterator<Item = (CommitId, Ancestry)>) {
        self.answers.extend(answers);
        self.rounds = self.rounds.saturating_sub(1);
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    /// The build has ended.
    Ended(BuildState),
    /// Nothing is written: first it has to be known how the build's commit stands to these.
    Ask(Vec<CommitId>),
}

/// Why a tag stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stays {
    /// A push that came later moved it.
    NewerPush,
    /// A person moved it to the image of this build, after the push.
    Person(BuildId),
    /// It shows a commit that this one is in the history of.
    Older(CommitId),
}

/// What becomes of one tag.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Moves,
    /// By the order alone: this is why nobody can tell more.
    MovesUnsure(String),
    Stays(Stays),
    Ask(CommitId),
}

/// The rule for one tag.
fn fate(build: &Build, tag: Option<&Tag>, known: &Known) -> Fate {
    let shown = tag.and_then(|tag| Some((tag, tag.origin.as_ref()?)));
    let Some((tag, shown)) = shown.filter(|(_, shown)| shown.autobuild == build.autobuild && shown.source_ref == build.source_ref) else {
        return Fate::Moves;
    };
    if shown.ref_seq > build.ref_seq {
        return Fate::Stays(if tag.moved_by.is_some() { Stays::Person(shown.build) } else { Stays::NewerPush });
    }
    if shown.commit == build.commit {
        return Fate::Moves;
    }
    match known.of(&shown.commit) {
        None => Fate::Ask(shown.commit.clone()),
        Some(Ancestry::Older) => Fate::Stays(Stays::Older(shown.commit.clone())),
        Some(Ancestry::NotOlder) => Fate::Moves,
        Some(Ancestry::Unknown(why)) => Fate::MovesUnsure(format!(
            "whether {} is older than {} could not be known ({why}): the order of pushes decided",
            build.commit.short(),
            shown.commit.short()
        )),
    }
}

impl App {
    /// Ends the build with success and moves its tags, or says what has to be known first. The caller holds the build, and the logs of its
    /// source are locked: nobody else of the same source moves a tag meanwhile.
    pub(crate) async fn promote(
        &self,
        tx: &mut WriteTx,
        build: &Build,
        digest: Option<&str>,
        known: &Known,
        now: Timestamp,
    ) -> Result<Promotion, Error> {
        if !build.terms.publish {
            let reason = FailureReason::new(FailureCode::Internal, "the builder says that it pushed what was not to be pushed");
            return self.end(tx, build.id, BuildState::Failed, &reason, now).await.map(Promotion::Ended);
        }
        let tags = tags_of(tx, build, digest).await?;
        if tags.is_empty() && digest.is_none() {
            let text = "nothing was pushed to this repository: `hooks/push` has to push what `$IMAGE_NAME` names, or another tag of the same repository";
            return self
                .end(tx, build.id, BuildState::Failed, &FailureReason::new(FailureCode::HookFailed, text), now)
                .await
                .map(Promotion::Ended);
        }
        for digest in tags.values().map(String::as_str).chain(digest).collect::<BTreeSet<_>>() {
            if !images::manifest_exists(tx, build.repository, digest).await? {
                let shown: String = digest.chars().take(80).collect();
                let text = format!("the builder says that it pushed `{shown}`, but the registry has no such manifest");
                let reason = FailureReason::new(FailureCode::PushFailed, text);
                return self.end(tx, build.id, BuildState::Failed, &reason, now).await.map(Promotion::Ended);
            }
        }
        let (mut moving, mut staying, mut unsure, mut open) = (Vec::new(), BTreeMap::<Stays, Vec<&str>>::new(), Vec::new(), Vec::new());
        for (tag, digest) in &tags {
            match fate(build, images::get_tag(tx, build.repository, tag.as_str()).await?.as_ref(), known) {
                Fate::Moves => moving.push((tag, digest)),
                Fate::MovesUnsure(why) => {
                    moving.push((tag, digest));
                    unsure.push(why);
                }
                Fate::Stays(why) => staying.entry(why).or_default().push(tag.as_str()),
                Fate::Ask(shown) => open.push(shown),
            }
        }
        if !open.is_empty() {
            open.sort();
            open.dedup();
            return Ok(Promotion::Ask(open));
        }
        let origin = origin_of(build, build.ref_seq);
        // In byte order, as everybody who moves several.
        for (tag, digest) in moving {
            let moved = images::move_tags(tx, build.repository, std::slice::from_ref(tag), digest, Some(&origin), now).await?;
            external::want(tx, build.repository, &moved, digest, build.id, now).await?;
            // Only where the settings are gone, and with them what is locked, another build can have been in between.
            if moved.is_empty() {
                staying.entry(Stays::NewerPush).or_default().push(tag.as_str());
            }
        }
        unsure.dedup();
        let mut notes = Vec::new();
        for (why, tags) in &staying {
            notes.push(format!("not moved, because {}: {}", self.stays_in_words(tx, build, why).await?, tags.join(", ")));
        }
        let unpushed: Vec<&str> = build.tags.iter().filter(|tag| !tags.contains_key(*tag)).map(ImageTag::as_str).collect();
        if !unpushed.is_empty() {
            notes.push(format!("not moved, because `hooks/push` did not push them: {}", unpushed.join(", ")));
        }
        notes.extend(unsure);
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        let ending = Ending { state: BuildState::Success, reason: None, note: note.as_deref(), digest };
        builds::finish(tx, build.id, &ending, now).await?;
        Ok(Promotion::Ended(BuildState::Success))
    }

    async fn stays_in_words(&self, tx: &mut WriteTx, build: &Build, why: &Stays) -> Result<String, Error> {
        Ok(match why {
            Stays::NewerPush => format!("a newer push of `{}` moved it before", build.source_ref.short()),
            Stays::Person(shown) => {
                let shown =
                    builds::get_any(tx, *shown).await?.map_or_else(|| "another build".to_owned(), |shown| format!("#{}", shown.number));
                format!("a person moved it to the image of {shown} after this push")
            }
            Stays::Older(shown) => {
                format!(
                    "{} is older than {}, which it shows; who may change the settings can move it back",
                    build.commit.short(),
                    shown.short()
                )
            }
        })
    }

    /// Asks the provider how the commit of a build stands to others.
    pub(crate) async fn ancestry(&self, build: &Build, shown: Vec<CommitId>) -> Vec<(CommitId, Ancestry)> {
        let mut answers = Vec::new();
        for shown in shown {
            // The builder waits, and its lease goes on only while it does.
            let answer = tokio::time::timeout(self.config.lease / 2, self.is_older(build, &shown)).await;
            let answer = answer.unwrap_or_else(|_| Ancestry::Unknown("the provider did not answer in time".to_owned()));
            answers.push((shown, answer));
        }
        answers
    }

    async fn is_older(&self, build: &Build, shown: &CommitId) -> Ancestry {
        let key = SourceKey { id: &build.source_id, full_name: &build.source_name };
        let source = SourceAt { account: build.account, provider: &build.provider, key, autobuild: Some(build.autobuild) };
        let ask = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let source = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
            forge.is_in_history(&token, &source.full_name, &build.commit, shown).await
        };
        match self.with_source(source, ask).await {
            Ok(answer) => match answer.value {
                Some(true) => Ancestry::Older,
                Some(false) => Ancestry::NotOlder,
                None => Ancestry::Unknown("the provider does not say".to_owned()),
            },
            Err(trouble) => Ancestry::Unknown(trouble.words),
        }
    }
}

/// The tags that a build gives, each with the manifest that it is to show: of its rule what the builder pushed, and of its hooks what these
/// pushed by other tags themselves.
pub(crate) async fn tags_of(tx: &mut WriteTx, build: &Build, digest: Option<&str>) -> Result<BTreeMap<ImageTag, String>, Error> {
    let mut tags: BTreeMap<ImageTag, String> = build_tags::list(tx, build.id, build.attempt).await?.into_iter().collect();
    if let Some(digest) = digest {
        tags.extend(build.tags.iter().map(|tag| (tag.clone(), digest.to_owned())));
    }
    Ok(tags)
}

/// What a tag shows that is moved to the image of a build, at this place of the ref's history.
pub(crate) fn origin_of(build: &Build, ref_seq: u64) -> TagOrigin {
    TagOrigin { build: build.id, autobuild: build.autobuild, source_ref: build.source_ref.clone(), ref_seq, commit: build.commit.clone() }
}

#[cfg(test)]
#[path = "promote_tests.rs"]
mod tests;
