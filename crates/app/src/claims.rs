//! Handing out builds: which one, with what, and what becomes of one that cannot be started.
//!
//! Invariant: a claim is committed before the provider is asked, so nobody waits behind a slow one; if this process dies meanwhile the lease
//! ends, and the build is anybody's again. Deliberately elsewhere: all that follows the claim (`queue`), with what the source is fetched
//! (`source_access`).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, SourceKey};
use slipway_model::{
    AccountId, BuildId, BuildState, BuilderId, CommitId, EnvironmentVariable, FailureCode, FailureReason, Lane, RefName, RepositoryPath,
    SecretToken, TokenKind,
};
use slipway_store::builds::{self, Build};
use slipway_store::{ReadTx, WriteTx, builders, last_images, repositories};
use tokio::time::Instant;

use crate::external::BaseRegistry;
use crate::links::access::{SourceAt, SourceTrouble, TroubleKind};
use crate::source_access::SourceAccess;
use crate::{App, Error, RegisteredBuilder, notes};

/// So long a build waits when its provider cannot be reached.
const PASSING_TROUBLE: Duration = Duration::from_secs(30);
/// So long a provider may take before the build waits instead: its builder listens no longer than the protocol says.
const LONGEST_PREPARATION: Duration = Duration::from_secs(15);
/// After so long no other build is looked at in the same claim.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// So long at most, whatever the provider says.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A build with all that its builder needs.
#[derive(Debug)]
pub struct Claimed {
    /// The row.
    pub build: Build,
    /// Whose namespace it is.
    pub account: AccountId,
    /// Whether its `hooks/` may run.
    pub hooks: bool,
    /// Where the image goes.
    pub path: RepositoryPath,
    /// The build's own credential for the registry.
    pub registry_token: SecretToken,
    /// How to fetch the source.
    pub source: SourceAccess,
    /// Variables of the repository; none for what anybody may have written.
    pub environment: Vec<EnvironmentVariable>,
    /// What it has to be compared with before it is built.
    pub base: Option<ComparedWith>,
    /// Where private base images may come from; none for what anybody may have written.
    pub base_registry: Option<BaseRegistry>,
}

/// What decides whether a build of a rule of some paths is needed.
#[derive(Debug)]
pub enum ComparedWith {
    /// The last image of the rule and ref.
    Image {
        /// Number of its build.
        number: u64,
        /// Its commit.
        commit: CommitId,
    },
    /// The branch that the pull request goes into.
    Branch(RefName),
}

/// Why a claimed build is not handed out.
enum Unready {
    /// It ends.
    Never(FailureReason),
    /// It waits so long, and the claim does not count.
    Later(String, Duration),
}

impl Unready {
    fn sealed() -> Self {
        let text = "a stored secret cannot be opened with this installation's key; link the provider again and save the variables and the external registry again";
        Self::Never(FailureReason::new(FailureCode::Internal, text))
    }

    /// What trouble at the source means for a build. Only trouble of the database is an error: then nothing is decided.
    fn of(trouble: SourceTrouble) -> Result<Self, Error> {
        if let Some(ForgeError::RateLimited { retry_after }) = trouble.forge_error() {
            let wait = (*retry_after).clamp(PASSING_TROUBLE, LONGEST_WAIT);
            return Ok(Self::Later(format!("{}; the build waits for it", trouble.words), wait));
        }
        match trouble.kind {
            TroubleKind::Ours(Error::Sealed) => Ok(Self::sealed()),
            TroubleKind::Ours(error) => Err(error),
            TroubleKind::Passing => Ok(Self::Later(format!("{}; the build waits for it", trouble.words), PASSING_TROUBLE)),
            _ => Ok(Self::Never(FailureReason::new(FailureCode::LinkUnavailable, trouble.whole()))),
        }
    }
}

impl App {
    /// Hands a waiting build to a builder, of the namespace whose turn it is. A build that cannot be started (its link is broken) ends at once with its reason, one whose
    /// provider is in passing trouble waits a while, and the next one is looked at. All of that takes half a minute at most.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn claim(&self, builder: &RegisteredBuilder) -> Result<Option<Claimed>, Error> {
        let preparation = LONGEST_PREPARATION.min(self.config.lease / 2);
        let begun = Instant::now();
        while begun.elapsed() < LONGEST_LOOK {
            let now = self.clock.now();
            let token = SecretToken::generate(TokenKind::Build);
            let mut tx = self.write().await?;
            if !takes_another(&mut tx, builder.id).await? {
                return Ok(None);
            }
            let Some(build) =
                builds::claim(&mut tx, builder.id, &token.hash(), &self.config.queue, now, now.plus(self.config.lease)).await?
            else {
                return Ok(None);
            };
            // The provider is asked after the commit: it may be slow, and nobody else must wait for it. If this process dies meanwhile the
            // lease ends, and the build is anybody's again.
            tx.commit().await?;
            let id = build.id;
            let attempt = build.attempt;
            let prepared = tokio::time::timeout(preparation, self.prepare(build, token)).await;
            let prepared = prepared.unwrap_or_else(|_| {
                Ok(Err(Unready::Later("the provider did not answer in time; the build waits for it".to_owned(), PASSING_TROUBLE)))
            });
            if let Some(claimed) = self.settle_claim(builder, id, attempt, prepared?).await? {
                self.build_changed(id);
                return Ok(Some(claimed));
            }
            self.build_ended(id);
        }
        Ok(None)
    }

    /// Keeps what became of a claim; `None` when the build is not handed out, or somebody else has it by now.
    async fn settle_claim(
        &self,
        builder: &RegisteredBuilder,
        id: BuildId,
        attempt: u32,
        prepared: Result<Claimed, Unready>,
    ) -> Result<Option<Claimed>, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let Some(held) = builds::hold(&mut tx, id, builder.id, attempt, now).await? else { return Ok(None) };
        let handed = match prepared {
            _ if held.cancel_requested => {
                self.end_cancelled(&mut tx, id, "cancelled before it was handed out", now).await?;
                None
            }
            Ok(claimed) => {
                builds::extend_lease(&mut tx, id, now.plus(self.config.lease)).await?;
                let note = notes::when_it_runs(&held);
                if note != held.note {
                    builds::set_note(&mut tx, id, note.as_deref()).await?;
                }
                Some(claimed)
            }
            Err(Unready::Never(reason)) => {
                self.end(&mut tx, id, BuildState::Failed, &reason, now).await?;
                metrics::counter!("slipway_builds_finished_total", "state" => BuildState::Failed.as_str()).increment(1);
                None
            }
            Err(Unready::Later(note, wait)) => {
                builds::put_back(&mut tx, id, &notes::while_it_waits(&held, &note), now.plus(wait)).await?;
                None
            }
        };
        tx.commit().await?;
        Ok(handed)
    }

    async fn prepare(&self, build: Build, registry_token: SecretToken) -> Result<Result<Claimed, Unready>, Error> {
        let unavailable = |text: &str| Ok(Err(Unready::Never(FailureReason::new(FailureCode::LinkUnavailable, text))));
        let mut tx = self.read().await?;
        let Some(repository) = repositories::get(&mut tx, build.repository).await? else { return unavailable("the repository is gone") };
        let Some(autobuild) = repositories::get_autobuild_by_id(&mut tx, build.autobuild).await? else {
            return unavailable("the autobuild settings that this build was made under are gone");
        };
        let base = base(&mut tx, &build).await?;
        let trusted = build.terms.lane == Lane::Trusted;
        let base_registry = if trusted { self.base_registry(&mut tx, build.repository).await } else { Ok(None) };
        drop(tx);
        // An error here would put the build back in front of the queue, and everybody else would wait behind it for ever. What anybody may
        // have written gets no variable at all, whether it is called a secret or not.
        let opened = if trusted { self.open_environment(&autobuild) } else { Ok(Vec::new()) };
        let Ok(environment) = opened else { return Ok(Err(Unready::sealed())) };
        let base_registry = match base_registry {
            Ok(registry) => registry,
            Err(Error::Sealed) => return Ok(Err(Unready::sealed())),
            Err(error) => return Err(error),
        };
        match self.clone_of(repository.account, &build, &environment).await {
            Ok(source) => {
                let (account, hooks) = (repository.account, trusted && self.config.hooks.may_run(&repository.namespace));
                let path = RepositoryPath { namespace: repository.namespace, name: repository.name };
                Ok(Ok(Claimed { build, account, hooks, path, registry_token, source, environment, base, base_registry }))
            }
            Err(trouble) => Ok(Err(Unready::of(trouble)?)),
        }
    }

    /// How the builder fetches the source: with a token that was made for it just now and, where the provider can limit it so, reads this
    /// source and does nothing else. The source is looked for by its id, so a build never gets another repository under the old name, and
    /// a rename does not stop it; the person has to see it today. What anybody may have written is fetched from a public source without any
    /// credential.
    async fn clone_of(
        &self,
        account: AccountId,
        build: &Build,
        environment: &[EnvironmentVariable],
    ) -> Result<SourceAccess, SourceTrouble> {
        let source = SourceAt {
            account,
            provider: &build.provider,
            key: SourceKey { id: &build.source_id, full_name: &build.source_name },
            autobuild: Some(build.autobuild),
        };
        let fork = build.terms.pull_request.as_ref().and_then(|pull_request| pull_request.fork.as_ref());
        let access = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let key = fork.map_or(source.key, |fork| SourceKey { id: &fork.id, full_name: &fork.full_name });
            let found = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
            if build.terms.lane == Lane::Untrusted && !found.private {
                return Ok(forge.clone_access(&found.full_name, None));
            }
            let token = forge.clone_token(&token, SourceKey { full_name: &found.full_name, ..key }).await?;
            Ok(forge.clone_access(&found.full_name, Some(&token)))
        };
        let http = self.with_source_in_person(source, access).await;
        self.source_access(account, build, http, environment).await
    }
}

/// Whether a node may take one more build: what an administrator decided about it last counts, and more than its places it never gets,
/// whatever it asks for.
async fn takes_another(tx: &mut WriteTx, builder: BuilderId) -> Result<bool, Error> {
    builds::lock_claims(tx).await?;
    // None: it was removed in this moment.
    let Some(node) = builders::get(tx, builder).await? else { return Ok(false) };
    Ok(node.draining_since.is_none() && builds::count_held(tx, builder).await? < u64::from(node.places()))
}

/// With what a build of a rule that is built from some files only is compared. Whoever asks for a build by hand gets one, and a rule that was
/// changed since gives another image from the same files.
async fn base(tx: &mut ReadTx, build: &Build) -> Result<Option<ComparedWith>, Error> {
    if build.rule.paths.is_everything() || !matches!(build.cause.as_str(), "push" | "reconcile" | "pull_request") {
        return Ok(None);
    }
    if let Some(pull_request) = &build.terms.pull_request {
        // A fork has that branch as it was some time ago, or not at all.
        return Ok(pull_request.fork.is_none().then(|| ComparedWith::Branch(pull_request.base.clone())));
    }
    let last = last_images::get(tx, build.rule.id, &build.source_ref, build.ref_seq).await?;
    Ok(last.filter(|last| last.rule.builds_like(&build.rule)).map(|last| ComparedWith::Image { number: last.number, commit: last.commit }))
}
