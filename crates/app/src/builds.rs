//! Builds as people see and steer them: list, look, start, cancel, retry. Deliberately elsewhere: their output (`build_logs`).

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError};
use slipway_model::{
    AccountId, AccountName, Approval, BuildId, BuildRule, BuildState, CommitId, FailureCode, FailureReason, ImageTag, RefName,
    RepositoryPath, RuleId, Step,
};
use slipway_store::builds::{self, Build, BuildFilter, Ending, NewBuild, Part, Terms};
use slipway_store::progress::{self, CacheUse, PhaseTimes};
use slipway_store::refs::{self, NewRefEvent};
use slipway_store::repositories::Autobuild;
use slipway_store::{ReadTx, StoreError, WriteTx, accounts, build_tags, builders, repositories};

use crate::audit::{self, Change, Place};
use crate::links::access::SourceAt;
use crate::{App, CommitStatusView, Error, ExternalTagView, NamespaceView, Refusal, RefusalKind, RepositoryRead, RepositoryWrite, Waiting};

/// What to build by hand.
#[derive(Debug, Clone)]
pub struct StartBuild {
    /// The ref; rules decide what comes out of it.
    pub source_ref: RefName,
    /// Another commit than the ref's head, in its history.
    pub commit: Option<CommitId>,
    /// Start without cache.
    pub no_cache: bool,
}

/// Which build to make once more.
#[derive(Debug, Clone, Copy)]
pub struct RetryBuild {
    /// The one that ended.
    pub build: BuildId,
    /// This time without cache, whatever its rule says.
    pub no_cache: bool,
}

/// Which builds of a repository are asked for; what is not set does not matter.
#[derive(Debug, Clone, Default)]
pub struct BuildsWanted {
    /// In this state.
    pub state: Option<BuildState>,
    /// Of a ref whose full name contains this.
    pub source_ref: String,
    /// Made by this rule.
    pub rule: Option<RuleId>,
    /// Of this cause: `push`, `manual`, ...
    pub cause: String,
    /// Started by the person of this name.
    pub started_by: Option<AccountName>,
}

/// Builds that somebody wants now, whatever was pushed.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) autobuild: &'a Autobuild,
    pub(crate) source_ref: &'a RefName,
    pub(crate) commit: &'a CommitId,
    /// The rules that match the ref, with the tags that they give.
    pub(crate) rules: &'a [(&'a BuildRule, Vec<ImageTag>)],
    pub(crate) no_cache: bool,
    pub(crate) cause: &'a str,
    pub(crate) by: Option<AccountId>,
}

/// A build with all that a page shows.
#[derive(Debug, Clone)]
pub struct BuildDetail {
    /// The row.
    pub build: Build,
    /// `namespace/name`.
    pub path: RepositoryPath,
    /// Phases of the newest attempt.
    pub phases: Vec<PhaseTimes>,
    /// Steps of the newest attempt.
    pub steps: Vec<Step>,
    /// Tags by which its hooks pushed to its own repository, beside those of its rule, with the digests of what they pushed.
    pub hook_tags: Vec<(ImageTag, String)>,
    /// How it stands in the queue, while it waits.
    pub waiting: Option<Waiting>,
    /// What the cache did for it; `None` when it was off.
    pub cache: Option<CacheUse>,
    /// Name of the builder that holds or held it.
    pub builder: Option<String>,
    /// Name of the person who started it.
    pub started_by: Option<String>,
    /// Name of the person who approved of its commit.
    pub approved_by: Option<String>,
    /// What the provider knows of it; `None` when a newer build of the same rule and commit is told of instead.
    pub commit_status: Option<CommitStatusView>,
    /// What its tags are in the external registry; none when those are a newer build's there, or when there is none.
    pub external: Vec<ExternalTagView>,
}

/// What the cache did for a build; `None` when it was off.
async fn cache_use(tx: &mut ReadTx, build: &Build) -> Result<Option<CacheUse>, StoreError> {
    match build.no_cache || !build.rule.cache {
        true => Ok(None),
        false => progress::cache_use(tx, build.id, build.attempt).await.map(Some),
    }
}

async fn name_of(tx: &mut ReadTx, account: AccountId) -> Result<Option<String>, Error> {
    Ok(accounts::get(tx, account).await?.map(|account| account.name.to_string()))
}

impl App {
    /// A page of a repository's builds, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_builds(
        &self,
        right: &RepositoryRead,
        wanted: &BuildsWanted,
        before: Option<BuildId>,
        limit: u32,
    ) -> Result<Vec<Build>, Error> {
        let mut tx = self.read().await?;
        let started_by = match &wanted.started_by {
            // Nobody of that name has started anything.
            Some(name) => match accounts::get_by_name(&mut tx, name).await? {
                Some(account) => Some(account.id),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let BuildsWanted { state, source_ref, rule, cause, .. } = wanted.clone();
        let filter = BuildFilter { state, source_ref, rule, cause, started_by };
        Ok(builds::list(&mut tx, right.repository().id, &filter, before, limit).await?)
    }

    /// What the cache did for each of these builds; `None` where it was off.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn cache_uses(&self, right: &RepositoryRead, of: &[Build]) -> Result<Vec<Option<CacheUse>>, Error> {
        let mut tx = self.read().await?;
        let mut found = Vec::with_capacity(of.len());
        for build in of.iter().filter(|build| build.repository == right.repository().id) {
            found.push(cache_use(&mut tx, build).await?);
        }
        Ok(found)
    }

    /// The names of the people who started these builds.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn starters(&self, of: &[Build]) -> Result<HashMap<AccountId, String>, Error> {
        let mut tx = self.read().await?;
        let mut names = HashMap::new();
        for id in of.iter().filter_map(|build| build.started_by) {
            if !names.contains_key(&id)
                && let Some(account) = accounts::get(&mut tx, id).await?
            {
                names.insert(id, account.name.to_string());
            }
        }
        Ok(names)
    }

    /// The first builds of a part of a namespace's, over the repositories that the caller has a right over, with their repositories' paths.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_namespace_builds(&self, view: &NamespaceView, part: Part, limit: u32) -> Result<Vec<(RepositoryPath, Build)>, Error> {
        let mut tx = self.read().await?;
        let mut found = Vec::new();
        for build in builds::list_by_account(&mut tx, view.account().id, view.eyes(), part, limit).await? {
            if let Some(repository) = repositories::get(&mut tx, build.repository).await? {
                found.push((RepositoryPath { namespace: repository.namespace, name: repository.name }, build));
            }
        }
        Ok(found)
    }

    /// How many builds of a namespace wait, of those that the caller sees; at most `limit`.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn count_waiting_builds(&self, view: &NamespaceView, limit: u32) -> Result<u64, Error> {
        let mut tx = self.read().await?;
        Ok(builds::count_waiting(&mut tx, view.account().id, view.eyes(), limit).await?)
    }

    /// How a build of a namespace stands in the queue, of the first that the caller sees.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn next_of_namespace(&self, view: &NamespaceView) -> Result<Option<Waiting>, Error> {
        let mut tx = self.read().await?;
        let first = builds::list_by_account(&mut tx, view.account().id, view.eyes(), Part::Queued, 1).await?;
        match first.first() {
            Some(build) => Ok(Some(self.waiting(&mut tx, build).await?)),
            None => Ok(None),
        }
    }

    /// A build with steps and what it waits for. `which` is its id or its number in the repository.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_build(&self, right: &RepositoryRead, which: &str) -> Result<BuildDetail, Error> {
        let repository = right.repository();
        let mut tx = self.read().await?;
        let found = match (which.parse::<BuildId>(), which.parse::<u64>()) {
            (Ok(id), _) => builds::get(&mut tx, repository.id, id).await?,
            (_, Ok(number)) => builds::get_by_number(&mut tx, repository.id, number).await?,
            _ => None,
        };
        let build = found.ok_or(Error::NotFound)?;
        let all = builders::list(&mut tx).await?;
        let started_by = match build.started_by {
            Some(account) => name_of(&mut tx, account).await?,
            None => None,
        };
        Ok(BuildDetail {
            phases: progress::list_phases(&mut tx, build.id, build.attempt).await?,
            steps: progress::list_steps(&mut tx, build.id, build.attempt).await?,
            hook_tags: build_tags::list(&mut tx, build.id, build.attempt)
                .await?
                .into_iter()
                .filter(|(tag, _)| !build.tags.contains(tag))
                .collect(),
            waiting: if build.state == BuildState::Queued { Some(self.waiting(&mut tx, &build).await?) } else { None },
            cache: cache_use(&mut tx, &build).await?,
            approved_by: match build.terms.approval {
                Some(Approval::Given { by, .. }) => name_of(&mut tx, by).await?,
                _ => None,
            },
            builder: build.builder.and_then(|id| all.iter().find(|builder| builder.id == id)).map(|builder| builder.name.clone()),
            path: RepositoryPath { namespace: repository.namespace.clone(), name: repository.name.clone() },
            commit_status: self.commit_status(&mut tx, build.id).await?,
            external: self.external_of_build(&mut tx, repository.id, build.id).await?,
            started_by,
            build,
        })
    }

    /// Starts builds of a ref by hand: one per rule that matches, whether its autobuild is on or not.
    ///
    /// # Errors
    /// A refusal when no rule matches, the ref is not at the provider or does not have the commit, or the link cannot be used.
    pub async fn start_builds(&self, right: &RepositoryWrite, start: &StartBuild, by: AccountId) -> Result<Vec<Build>, Error> {
        let repository = right.repository();
        let (autobuild, rules) = self.settings_for_start(repository.id).await?;
        if !rules.iter().any(|rule| rule.is_for(&start.source_ref)) {
            let refusal =
                Refusal::new(RefusalKind::Invalid, "no_rule", format!("no build rule matches `{}`", start.source_ref)).field("ref");
            return Err(refusal.hint("add a rule for it under Autobuild").into());
        }
        let commit = self.commit_to_build(repository.account, &autobuild, start).await?;
        let now = self.clock.now();
        let matching = rules.iter().filter_map(|rule| Some((rule, rule.matches(&start.source_ref, &commit, now)?.tags)));
        let (matching, tagless): (Vec<_>, Vec<_>) = matching.partition(|(_, tags)| !tags.is_empty());
        if let (true, Some((rule, _))) = (matching.is_empty(), tagless.first()) {
            let detail = format!("the rule {} matches, but {}", rule.describe(), rule.gives_no_tag(&start.source_ref));
            let refusal = Refusal::new(RefusalKind::Invalid, "no_tag", detail).field("ref");
            return Err(refusal.hint("change the rule's docker tags under Autobuild, for example to `{sourceref}`").into());
        }
        let wanted = Wanted {
            autobuild: &autobuild,
            source_ref: &start.source_ref,
            commit: &commit,
            rules: &matching,
            no_cache: start.no_cache,
            cause: "manual",
            by: Some(by),
        };
        let mut tx = self.write().await?;
        let made = self.queue_wanted(&mut tx, &wanted).await?;
        let facts = serde_json::json!({"ref": start.source_ref.to_string(), "commit": commit, "builds": made.iter().map(|build| build.number).collect::<Vec<_>>()});
        let change = Change::new("build.start", repository.name.as_str()).now(facts);
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.builds_queued(made.iter().map(|build| build.id));
        Ok(made)
    }

    /// A build of the commit per rule. Call [`App::builds_queued`] after the commit.
    pub(crate) async fn queue_wanted(&self, tx: &mut WriteTx, wanted: &Wanted<'_>) -> Result<Vec<Build>, Error> {
        let now = self.clock.now();
        let autobuild = wanted.autobuild;
        let event = NewRefEvent {
            autobuild: autobuild.id,
            name: wanted.source_ref,
            before: None,
            after: Some(wanted.commit),
            origin: refs::Origin::Manual,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        let (event, asked) = refs::insert(tx, &event, now).await?;
        // A commit that was pushed keeps the place of that push, so that a build of an older one moves no tag back.
        let place = refs::place_of_commit(tx, autobuild.id, wanted.source_ref, wanted.commit).await?.unwrap_or(asked);
        let mut made = Vec::new();
        for (rule, tags) in wanted.rules {
            let new = NewBuild {
                repository: autobuild.repository,
                autobuild: autobuild.id,
                rule,
                ref_event: event,
                provider: &autobuild.provider,
                source_id: &autobuild.source_id,
                source_name: &autobuild.source_name,
                source_ref: wanted.source_ref,
                ref_seq: place,
                commit: wanted.commit,
                commit_message: None,
                commit_author: None,
                tags,
                no_cache: wanted.no_cache || !rule.cache,
                terms: &Terms::of_push(),
                cause: wanted.cause,
                started_by: wanted.by,
                retry_of: None,
            };
            if let Some((id, _)) = builds::insert(tx, &new, now).await? {
                made.extend(builds::get_any(tx, id).await?);
            }
        }
        Ok(made)
    }

    /// The commit that a build by hand or by a trigger is about: the ref's head, or a commit that the provider says is in its history. A
    /// source serves by their ids commits that are in none of its branches, those of strangers' pull requests too, and what is built here
    /// is trusted: so what nobody can tell is refused.
    pub(crate) async fn commit_to_build(&self, account: AccountId, autobuild: &Autobuild, start: &StartBuild) -> Result<CommitId, Error> {
        let (key, wish) = (SourceAt::of(account, autobuild), &start.commit);
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let source = forge.source_repository_by_id(&token, key.key).await?.ok_or(ForgeError::NotFound)?;
            let Some(head) = forge.resolve(&token, &source.full_name, &start.source_ref).await? else { return Ok(None) };
            let of_ref = match wish {
                Some(commit) if *commit != head => forge.is_in_history(&token, &source.full_name, commit, &head).await?,
                _ => Some(true),
            };
            Ok(Some((wish.clone().unwrap_or(head), of_ref)))
        };
        let (source, name) = (&autobuild.source_name, &start.source_ref);
        let (commit, of_ref) = self
            .with_source(key, look)
            .await?
            .value
            .ok_or_else(|| Error::invalid("no_such_ref", "ref", format!("`{source}` has no `{name}`")))?;
        let why = match of_ref {
            Some(true) => return Ok(commit),
            Some(false) => format!("`{commit}` is not in the history of `{name}` at `{source}`"),
            None => format!("`{source}` does not say that `{commit}` is in the history of `{name}`: it may not have it"),
        };
        let refusal = Refusal::new(RefusalKind::Invalid, "commit_not_in_ref", why).field("commit");
        Err(refusal.hint("name a commit of this branch or tag; one that a forced push replaced is built by a retry of its build").into())
    }

    /// Makes a new build of the same rule, ref and commit. It keeps the place of the first one in the ref's history:
    /// a retry of an old push does not move a tag that a newer push moved.
    ///
    /// # Errors
    /// A refusal while the build has not ended.
    pub async fn retry_build(&self, right: &RepositoryWrite, retry: RetryBuild, by: AccountId) -> Result<Build, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let mut old = builds::get(&mut tx, right.repository().id, retry.build).await?.ok_or(Error::NotFound)?;
        if !old.state.is_final() {
            return Err(Error::conflict(
                "build_not_ended",
                format!("build #{} is {}; it can be retried when it has ended", old.number, old.state),
            ));
        }
        if repositories::get_autobuild_by_id(&mut tx, old.autobuild).await?.is_none() {
            return Err(Error::conflict("no_autobuild", "the settings that this build was made under are gone; start a new build"));
        }
        old.no_cache |= retry.no_cache;
        let build = self.repeat_build(&mut tx, &old, Some(by)).await?;
        let change = Change::new("build.retry", format!("{} #{}", right.repository().name, old.number))
            .now(serde_json::json!({"build": build.number, "no_cache": build.no_cache}));
        audit::write(&mut tx, now, right.actor(), Place::Repository(right.repository()), change).await?;
        tx.commit().await?;
        self.builds_queued([build.id]);
        Ok(build)
    }

    /// A new build of the same rule, ref and commit, in the old one's place in the ref's history. Call [`App::builds_queued`] after the commit.
    ///
    /// # Errors
    /// A refusal when the settings do not have its pull request tested any more ([`App::terms_again`]); nothing is written then.
    pub(crate) async fn repeat_build(&self, tx: &mut WriteTx, old: &Build, by: Option<AccountId>) -> Result<Build, Error> {
        let now = self.clock.now();
        let terms = self.terms_again(tx, old).await?;
        let event = NewRefEvent {
            autobuild: old.autobuild,
            name: &old.source_ref,
            before: None,
            after: Some(&old.commit),
            origin: refs::Origin::Retry,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        let (event, _) = refs::insert(tx, &event, now).await?;
        let new = NewBuild {
            repository: old.repository,
            autobuild: old.autobuild,
            rule: &old.rule,
            ref_event: event,
            provider: &old.provider,
            source_id: &old.source_id,
            source_name: &old.source_name,
            source_ref: &old.source_ref,
            ref_seq: old.ref_seq,
            commit: &old.commit,
            commit_message: old.commit_message.as_deref(),
            commit_author: old.commit_author.as_deref(),
            tags: &old.tags,
            no_cache: old.no_cache,
            terms: &terms,
            cause: "retry",
            started_by: by,
            retry_of: Some(old.id),
        };
        let (id, _) = builds::insert(tx, &new, now).await?.ok_or(Error::Internal("a new ref event has no build yet"))?;
        builds::get_any(tx, id).await?.ok_or(Error::NotFound)
    }

    /// Tells everybody who waits of builds that entered the queue.
    pub(crate) fn builds_queued(&self, builds: impl IntoIterator<Item = BuildId>) {
        for build in builds {
            self.build_changed(build);
        }
        self.wake.queue.notify_waiters();
        self.wake.statuses.notify_one();
    }

    /// Ends a waiting build at once and asks a running one to end; its builder stops within 2 s.
    ///
    /// # Errors
    /// A refusal when it has ended.
    pub async fn cancel_build(&self, right: &RepositoryWrite, id: BuildId, by: &str) -> Result<Build, Error> {
        let mut tx = self.write().await?;
        let build = builds::get(&mut tx, right.repository().id, id).await?.ok_or(Error::NotFound)?;
        if build.state.is_final() {
            return Err(Error::conflict("build_ended", format!("build #{} has ended already: {}", build.number, build.state)));
        }
        if build.state == BuildState::Queued {
            let reason = FailureReason::new(FailureCode::Cancelled, format!("cancelled by {by} while it waited"));
            let ending = Ending { state: BuildState::Cancelled, reason: Some(&reason), note: None, digest: None };
            builds::finish(&mut tx, id, &ending, self.clock.now()).await?;
        } else {
            builds::request_cancel(&mut tx, id).await?;
        }
        let change = Change::new("build.cancel", format!("{} #{}", right.repository().name, build.number));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(right.repository()), change).await?;
        let build = builds::get_any(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.build_ended(id);
        Ok(build)
    }
}
