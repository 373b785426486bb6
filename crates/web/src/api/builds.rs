//! `/api/v1/repositories/{ns}/{name}/builds`: list, look, start, approve, cancel, retry.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::store::builds::Build;
use slipway_app::store::progress::{CacheUse, PhaseTimes};
use slipway_app::{BuildDetail, BuildsWanted, CommitStatusView, RetryBuild, StartBuild};
use slipway_model::{
    AccountName, Approval, BuildId, BuildState, CommitId, FailureReason, ImageTag, Lane, Phase, ProviderId, RefName, RuleId, Step,
    StepState, Timestamp,
};
use utoipa::{IntoParams, ToSchema};

use super::at::{BuildAt, RepositoryAt};
use super::external::ExternalTag;
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A build without its steps.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct BuildSummary {
    #[schema(value_type = String)]
    id: BuildId,
    /// Counted in the repository from 1.
    number: u64,
    /// `queued`, `running`, `success`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: BuildState,
    /// `checkout`, `build`, `test` or `push`; null before the first.
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    /// Why it ended without an image.
    reason: Option<Reason>,
    /// What else there is to know, a line for each: how earlier attempts ended, how the source was cloned, a tag that stayed where it was.
    note: Option<String>,
    /// The rule in words.
    rule: String,
    #[schema(value_type = String)]
    rule_id: RuleId,
    /// The id of the provider that holds the source.
    #[schema(value_type = String)]
    provider: ProviderId,
    /// The source repository, as it was called when the build was made.
    source: String,
    #[schema(value_type = String)]
    source_ref: RefName,
    #[schema(value_type = String)]
    commit: CommitId,
    commit_message: Option<String>,
    commit_author: Option<String>,
    /// The pull request that it tests.
    pull_request: Option<PullRequestView>,
    /// `trusted`, or `untrusted` for what anybody may have written: such a build gets no variables, no private images and no cache.
    #[schema(value_type = String)]
    lane: Lane,
    /// `awaited` until somebody who may write approves of its commit, then `given`; null where nobody has to.
    approval: Option<&'static str>,
    /// Whether the image is pushed after its tests.
    publish: bool,
    /// The tags that move after success; none of a build that is not pushed.
    #[schema(value_type = Vec<String>)]
    tags: Vec<ImageTag>,
    /// Of the image, once it is pushed.
    digest: Option<String>,
    /// `push`, `pull_request`, `manual`, `trigger`, `retry`, ...
    cause: String,
    #[schema(value_type = Option<String>)]
    retry_of: Option<BuildId>,
    attempt: u32,
    no_cache: bool,
    /// Somebody asked to end it, and it has not ended yet.
    cancel_requested: bool,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// The pull request that a build tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PullRequestView {
    number: u64,
    /// The branch that it goes into, `refs/heads/main`.
    #[schema(value_type = String)]
    base: RefName,
    title: String,
}

/// Why a build ended without an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reason {
    /// For programs: `test_failed`, `dockerfile_not_found`, ...
    code: &'static str,
    /// For people.
    text: String,
}

impl From<FailureReason> for Reason {
    fn from(reason: FailureReason) -> Self {
        Self { code: reason.code.as_str(), text: reason.text }
    }
}

impl BuildSummary {
    /// Where it is.
    pub(crate) fn state(&self) -> BuildState {
        self.state
    }

    pub(crate) fn of(build: Build) -> Self {
        Self {
            cancel_requested: build.cancel_requested && !build.state.is_final(),
            id: build.id,
            number: build.number,
            state: build.state,
            phase: build.phase,
            reason: build.reason.map(Reason::from),
            note: build.note,
            rule: build.rule.describe(),
            rule_id: build.rule.id,
            provider: build.provider,
            source: build.source_name,
            source_ref: build.source_ref,
            commit: build.commit,
            commit_message: build.commit_message,
            commit_author: build.commit_author,
            lane: build.terms.lane,
            approval: build.terms.approval.as_ref().map(|approval| match approval {
                Approval::Awaited => "awaited",
                Approval::Given { .. } => "given",
            }),
            publish: build.terms.publish,
            tags: if build.terms.publish { build.tags } else { Vec::new() },
            pull_request: build.terms.pull_request.map(|found| PullRequestView {
                number: found.number,
                base: found.base,
                title: found.title,
            }),
            digest: build.digest,
            cause: build.cause,
            retry_of: build.retry_of,
            attempt: build.attempt,
            no_cache: build.no_cache,
            queued_at: build.queued_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
        }
    }
}

/// A build with its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildView {
    #[serde(flatten)]
    summary: BuildSummary,
    steps: Vec<StepView>,
    phases: Vec<PhaseView>,
    /// Tags by which its hooks pushed to its own repository, beside those of its rule: they move with these.
    hook_tags: Vec<HookTag>,
    /// While it waits: how many builds will be taken before it. Namespaces take turns; none is taken to end or come, and no limit to hold one back.
    position: Option<u64>,
    /// What it waits for, while it waits: a limit, a place on a builder, the end of a pause.
    waits_for: Option<String>,
    /// When it may begin, while it waits and the last builds of the repository tell.
    #[schema(value_type = Option<String>, format = DateTime)]
    estimated_start: Option<Timestamp>,
    /// What the cache spared it; null when the cache was off.
    cache: Option<CacheHits>,
    /// The builder that holds or held it.
    builder: Option<String>,
    /// Who started it by hand.
    started_by: Option<String>,
    /// Who approved of its commit.
    approved_by: Option<String>,
    /// What the provider knows of it; null when a newer build of the same rule and commit is told of instead.
    commit_status: Option<CommitStatus>,
    /// What its tags are in the external registry; none where they are a newer build's, or where there is no such registry.
    external: Vec<ExternalTag>,
}

/// What a hook pushed by a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HookTag {
    #[schema(value_type = String)]
    name: ImageTag,
    digest: String,
}

/// How many steps came from the build cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheHits {
    /// Steps that came from the cache.
    hits: u64,
    /// Steps that could have: instructions of the Dockerfile that make layers, and ended.
    steps: u64,
}

impl From<CacheUse> for CacheHits {
    fn from(CacheUse { hits, steps }: CacheUse) -> Self {
        Self { hits, steps }
    }
}

/// The status of a build's commit at its provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommitStatus {
    /// `told`, `waiting` or `not_told`.
    state: &'static str,
    /// The name of the check at the provider.
    context: String,
    /// Why it was not told (yet).
    error: Option<String>,
    /// When the provider took one the last time.
    #[schema(value_type = Option<String>, format = DateTime)]
    told_at: Option<Timestamp>,
}

impl From<CommitStatusView> for CommitStatus {
    fn from(status: CommitStatusView) -> Self {
        Self { state: status.state, context: status.context, error: status.error, told_at: status.told_at }
    }
}

/// A step of a build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    id: String,
    #[schema(value_type = String)]
    phase: Phase,
    name: String,
    /// `pending`, `running`, `success`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: StepState,
    cached: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    error: Option<String>,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            id: step.id,
            phase: step.phase,
            name: step.name,
            state: step.state,
            cached: step.cached,
            started_at: step.started_at,
            finished_at: step.finished_at,
            error: step.error,
        }
    }
}

/// A phase of a build.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PhaseView {
    #[schema(value_type = String)]
    phase: Phase,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<PhaseTimes> for PhaseView {
    fn from(times: PhaseTimes) -> Self {
        Self { phase: times.phase, started_at: times.started_at, finished_at: times.finished_at }
    }
}

impl From<BuildDetail> for BuildView {
    fn from(detail: BuildDetail) -> Self {
        let waiting = detail.waiting;
        Self {
            position: waiting.as_ref().and_then(|waiting| waiting.position),
            estimated_start: waiting.as_ref().and_then(|waiting| waiting.starts_at),
            waits_for: waiting.map(|waiting| waiting.waits_for),
            summary: BuildSummary::of(detail.build),
            steps: detail.steps.into_iter().map(StepView::from).collect(),
            phases: detail.phases.into_iter().map(PhaseView::from).collect(),
            hook_tags: detail.hook_tags.into_iter().map(|(name, digest)| HookTag { name, digest }).collect(),
            cache: detail.cache.map(CacheHits::from),
            builder: detail.builder,
            started_by: detail.started_by,
            approved_by: detail.approved_by,
            commit_status: detail.commit_status.map(CommitStatus::from),
            external: detail.external.into_iter().map(ExternalTag::from).collect(),
        }
    }
}

/// What to build by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildWish {
    /// `refs/heads/main`, `refs/tags/v1`; the rules decide what comes out of it.
    #[serde(rename = "ref")]
    source_ref: String,
    /// Another commit than the ref's head, by its whole id. It has to be in the ref's history.
    commit: Option<String>,
    /// Start without cache.
    #[serde(default)]
    no_cache: bool,
}

/// How to build once more.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryWish {
    /// This time without cache, whatever the rule says.
    #[serde(default)]
    no_cache: bool,
}

/// What somebody approves of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalWish {
    /// The whole id of the commit that was looked at.
    commit: String,
}

/// Which builds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BuildQuery {
    /// Only builds in this state.
    #[param(value_type = Option<String>)]
    state: Option<BuildState>,
    /// Only builds of refs whose full name contains this, like `refs/tags/` or `main`.
    #[serde(rename = "ref")]
    source_ref: Option<String>,
    /// Only builds of the rule with this id.
    #[param(value_type = Option<String>)]
    rule: Option<RuleId>,
    /// Only builds of this cause: `push`, `manual`, `trigger`, ...
    cause: Option<String>,
    /// Only builds that the person of this name started.
    #[param(value_type = Option<String>)]
    started_by: Option<AccountName>,
    /// How many items at most, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// Builds of a repository, newest first.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds", tag = "builds", params(RepositoryAt, BuildQuery), responses((status = 200, body = List<BuildSummary>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Query(query): Query<BuildQuery>,
) -> Result<Json<List<BuildSummary>>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let paging = Paging { limit: query.limit, cursor: query.cursor };
    let (limit, before) = (paging.limit()?, paging.after()?);
    let wanted = BuildsWanted {
        state: query.state,
        source_ref: query.source_ref.unwrap_or_default(),
        rule: query.rule,
        cause: query.cause.unwrap_or_default(),
        started_by: query.started_by,
    };
    let rows = state.app().list_builds(&right, &wanted, before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.id.to_string(), BuildSummary::of)))
}

/// Starts builds of a ref, or of a commit in its history: one for each rule that matches it, and they are pushed whether its autobuild is on or not.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/builds", tag = "builds", params(RepositoryAt), request_body = BuildWish, responses((status = 201, body = List<BuildSummary>), Errors))]
pub(crate) async fn start(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(wish): Json<BuildWish>,
) -> Result<(StatusCode, Json<List<BuildSummary>>), ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    let refused = |field: &str, error: String| ApiError::new(Code::Invalid, error).field(field);
    let start = StartBuild {
        source_ref: wish.source_ref.parse::<RefName>().map_err(|error| refused("ref", error.to_string()))?,
        commit: wish.commit.map(|text| text.parse::<CommitId>()).transpose().map_err(|error| refused("commit", error.to_string()))?,
        no_cache: wish.no_cache,
    };
    let made = state.app().start_builds(&right, &start, caller.account().id).await?;
    Ok((StatusCode::CREATED, Json(List::whole(made.into_iter().map(BuildSummary::of).collect()))))
}

/// A build with its steps.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}", tag = "builds", params(BuildAt), responses((status = 200, body = BuildView), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
) -> Result<Json<BuildView>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().get_build(&right, &at.id.to_string()).await?.into()))
}

/// Lets a build of what somebody without write access wrote run: exactly this commit of its pull request, with all its builds that wait for
/// that. Refused once the pull request has another commit, or is closed.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/approve", tag = "builds", params(BuildAt), request_body = ApprovalWish, responses((status = 200, body = BuildSummary), Errors))]
pub(crate) async fn approve(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Json(wish): Json<ApprovalWish>,
) -> Result<Json<BuildSummary>, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    let commit = wish.commit.parse::<CommitId>().map_err(|error| ApiError::new(Code::Invalid, error.to_string()).field("commit"))?;
    let build = state.app().approve_build(&right, at.id, &commit, caller.account().id).await?;
    Ok(Json(BuildSummary::of(build)))
}

/// Ends a waiting build at once, and asks a running one to end.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/cancel", tag = "builds", params(BuildAt), responses((status = 200, body = BuildSummary), Errors))]
pub(crate) async fn cancel(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
) -> Result<Json<BuildSummary>, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    let build = state.app().cancel_build(&right, at.id, caller.account().name.as_str()).await?;
    Ok(Json(BuildSummary::of(build)))
}

/// Makes a new build of the same rule, ref and commit.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/retry", tag = "builds", params(BuildAt), request_body = Option<RetryWish>, responses((status = 201, body = BuildSummary), Errors))]
pub(crate) async fn retry(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    wish: Option<Json<Option<RetryWish>>>,
) -> Result<(StatusCode, Json<BuildSummary>), ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    let RetryWish { no_cache } = wish.and_then(|Json(wish)| wish).unwrap_or_default();
    let build = state.app().retry_build(&right, RetryBuild { build: at.id, no_cache }, caller.account().id).await?;
    Ok((StatusCode::CREATED, Json(BuildSummary::of(build))))
}

/// Deletes a build that has ended, with its log. The image stays.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}/builds/{id}", tag = "builds", params(BuildAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_owner(&caller, &at.ns, &at.name).await?;
    state.app().delete_build(&right, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
