//! `/api/v1/repositories/{ns}/{name}/autobuild`: source, rules, variables, and the preview.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::{AutobuildInput, AutobuildSettings, PathsInput, PreviewRef, RepositoryRead, RepositoryWrite, RuleInput, SourceState};
use slipway_forge::Coverage;
use slipway_model::{Autotest, BuildRule, LinkState, ProviderId, RuleId, SourceType, Timestamp};
use utoipa::ToSchema;

use super::at::RepositoryAt;
use super::webhook::{DeployKeyView, HookView};
use crate::edge::json::{Json, Path};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// How a repository is built from its source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Autobuild {
    #[schema(value_type = String)]
    provider: ProviderId,
    /// `owner/name` at the provider.
    source: String,
    /// The source's id there, which never changes.
    source_id: String,
    default_branch: String,
    /// `off`, `internal` or `all`.
    #[schema(value_type = String)]
    autotest: Autotest,
    /// Whether external pull requests wait until somebody who may write approves of their commit.
    approve_external: bool,
    /// Whether a newer push cancels builds of older ones, of the same rule and ref, that wait still.
    cancel_superseded: bool,
    rules: Vec<Rule>,
    env: Vec<Variable>,
    /// How the webhook stands; null while there is none.
    hook: Option<HookView>,
    /// How the source's deploy key stands; null for a source that needs none.
    deploy_key: Option<DeployKeyView>,
    /// How the source itself does, and the link that serves it.
    source_state: Option<SourceStateView>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A build rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rule {
    #[schema(value_type = String)]
    id: RuleId,
    /// `branch`, `tag` or `pull_request`.
    #[schema(value_type = String)]
    source_type: SourceType,
    /// Of a branch or tag, or of the branch that a pull request goes into: a name, or a regular expression between slashes.
    source: String,
    /// Templates separated by commas.
    tags: String,
    dockerfile: String,
    context: String,
    autobuild: bool,
    cache: bool,
    /// Stage of the Dockerfile to end with; empty for the last one.
    target: String,
    args: Vec<Argument>,
    paths: Paths,
}

impl From<BuildRule> for Rule {
    fn from(rule: BuildRule) -> Self {
        Self {
            id: rule.id,
            source_type: rule.source_type,
            source: rule.source.as_str().to_owned(),
            tags: rule.tags.as_str().to_owned(),
            dockerfile: rule.dockerfile.as_str().to_owned(),
            context: rule.context.as_str().to_owned(),
            autobuild: rule.autobuild,
            cache: rule.cache,
            target: rule.target.as_str().to_owned(),
            args: rule
                .args
                .as_slice()
                .iter()
                .map(|argument| Argument { name: argument.name.clone(), value: argument.value.clone() })
                .collect(),
            paths: Paths { include: rule.paths.include.as_slice().to_vec(), exclude: rule.paths.exclude.as_slice().to_vec() },
        }
    }
}

/// A build argument of a rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Argument {
    name: String,
    value: String,
}

/// The files that a rule is built from, as globs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paths {
    /// Only these; all when there is none.
    include: Vec<String>,
    /// But not these.
    exclude: Vec<String>,
}

/// A build environment variable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Variable {
    name: String,
    /// Null for callers below admin.
    value: Option<String>,
    /// Whether it reaches the Dockerfile only as a secret (`RUN --mount=type=secret,id=NAME`), never as an argument. Hooks and test files
    /// get it like any other.
    secret: bool,
}

/// How a source does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceStateView {
    /// What is wrong with the source itself.
    problem: Option<SourceProblemView>,
    /// How it came that another link serves it than before.
    takeover: Option<String>,
    /// Who is linked at the provider.
    login: Option<String>,
    /// The state of the link that serves it.
    #[schema(value_type = String)]
    link: LinkState,
    /// What is wrong with the link, in words.
    link_problem: Option<String>,
    /// When the refs were last compared with the provider's.
    #[schema(value_type = Option<String>, format = DateTime)]
    looked_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    next_look_at: Timestamp,
}

/// What is wrong with a source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceProblemView {
    /// For programs: `gone`, `no_access`.
    code: String,
    text: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

impl From<SourceState> for SourceStateView {
    fn from(state: SourceState) -> Self {
        Self {
            problem: state.problem.map(|found| SourceProblemView { code: found.code, text: found.text, since: found.since }),
            takeover: state.takeover,
            login: state.login,
            link: state.link,
            link_problem: state.link_problem,
            looked_at: state.looked_at,
            next_look_at: state.next_look_at,
        }
    }
}

/// Whether the values of variables may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    Shown,
    Hidden,
}

impl Autobuild {
    fn of(settings: AutobuildSettings, state: Option<SourceState>, values: Values) -> Self {
        let env = settings.environment.into_iter().map(|variable| Variable {
            name: variable.name,
            value: (values == Values::Shown).then_some(variable.value),
            secret: variable.secret,
        });
        Self {
            provider: settings.provider,
            source: settings.source,
            source_id: settings.source_id,
            default_branch: settings.default_branch,
            autotest: settings.autotest,
            approve_external: settings.approve_external,
            cancel_superseded: settings.cancel_superseded,
            rules: settings.rules.into_iter().map(Rule::from).collect(),
            env: env.collect(),
            hook: settings.hook.map(HookView::from),
            deploy_key: settings.deploy_key.map(DeployKeyView::from),
            source_state: state.map(SourceStateView::from),
            updated_at: settings.updated_at,
        }
    }
}

/// How a repository shall be built from its source.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes `AutobuildInput` of the application for OpenAPI")]
pub(crate) struct AutobuildWish {
    provider: String,
    /// `owner/name` at the provider.
    source: String,
    /// The repository's id there. Absent: the name counts; the stored name means the stored repository, and is refused (`source_changed`)
    /// once another one has it.
    source_id: Option<String>,
    /// `off` (as when absent), `internal` or `all`.
    autotest: Option<String>,
    /// Whether external pull requests wait until somebody who may write approves of their commit. Absent: as it is stored, else on.
    approve_external: Option<bool>,
    /// Whether a newer push cancels builds of older ones, of the same rule and ref, that wait still. Absent: as it is stored, else on.
    cancel_superseded: Option<bool>,
    /// Empty: one rule, default branch to `latest`.
    rules: Option<Vec<RuleWish>>,
    /// Absent: the stored ones stay. A variable without a value keeps the stored one.
    env: Option<Vec<VariableWish>>,
}

/// A build rule as it shall be.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes `RuleInput` of the application for OpenAPI")]
pub(crate) struct RuleWish {
    /// Keeps its identity when given.
    id: Option<String>,
    /// `branch`, `tag` or `pull_request`.
    source_type: String,
    source: String,
    tags: String,
    dockerfile: Option<String>,
    context: Option<String>,
    autobuild: Option<bool>,
    cache: Option<bool>,
    /// Stage of the Dockerfile to end with; absent: the last one.
    target: Option<String>,
    /// Build arguments of this rule alone.
    args: Option<Vec<Argument>>,
    /// The files that it is built from; absent: every file. For rules of branches.
    paths: Option<Paths>,
}

/// A variable as it shall be.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes `VariableInput` of the application for OpenAPI")]
pub(crate) struct VariableWish {
    name: String,
    value: Option<String>,
    /// Absent: as it is stored; a new one is none. A secret has at least 8 bytes: a shorter value could not be looked for in images.
    secret: Option<bool>,
}

/// Rules to try on the source's refs; absent fields: as they are stored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewWish {
    provider: Option<String>,
    /// `owner/name` at the provider.
    source: Option<String>,
    #[schema(value_type = Option<Vec<RuleWish>>)]
    rules: Option<Vec<RuleInput>>,
}

/// A ref that matches a rule, and what comes out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Match {
    #[serde(rename = "ref")]
    source_ref: String,
    commit: String,
    /// Position of the rule in the list, from 0.
    rule: usize,
    /// None, when every docker tag of the rule comes out empty: such a ref is not built.
    tags: Vec<String>,
    /// Whether a push gives them. Where the rule's autobuild is off only a start by hand does.
    on_push: bool,
    /// Tags that pushes of another ref, or another rule, give too.
    collisions: Vec<String>,
}

/// All refs that match.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Matches {
    items: Vec<Match>,
    /// Always null.
    next: Option<String>,
    /// How many branches and tags of the source were looked at.
    looked_at: usize,
    /// Whether these are all that it has. Of very many only the first are looked at, and others may match too.
    complete: bool,
}

impl From<PreviewRef> for Match {
    fn from(found: PreviewRef) -> Self {
        Self {
            source_ref: found.source_ref.as_str().to_owned(),
            commit: found.commit,
            rule: found.rule,
            tags: found.tags.into_iter().map(String::from).collect(),
            on_push: found.on_push,
            collisions: found.collisions.into_iter().map(String::from).collect(),
        }
    }
}

/// The settings. 404 when the repository is not built automatically.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/autobuild", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = Autobuild), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<Autobuild>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let settings =
        state.app().get_autobuild(&right).await?.ok_or_else(|| ApiError::not_found().hint("`PUT` the settings to this address"))?;
    let admin = state.app().repository_admin(&caller, &at.ns, &at.name).await.is_ok();
    let source = state.app().get_source_state(&right).await?;
    Ok(Json(Autobuild::of(settings, source, if admin { Values::Shown } else { Values::Hidden })))
}

/// Writes the settings and makes the webhook at the provider.
#[utoipa::path(put, path = "/api/v1/repositories/{ns}/{name}/autobuild", tag = "autobuild", params(RepositoryAt), request_body = AutobuildWish, responses((status = 200, body = Autobuild), Errors))]
pub(crate) async fn put(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(wish): Json<AutobuildInput>,
) -> Result<Json<Autobuild>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    let settings = state.app().put_autobuild(&right, &wish).await?;
    let source = state.app().get_source_state(&RepositoryRead::from(RepositoryWrite::from(right))).await?;
    Ok(Json(Autobuild::of(settings, source, Values::Shown)))
}

/// Stops building automatically: the rules go, and the webhook.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}/autobuild", tag = "autobuild", params(RepositoryAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    state.app().delete_autobuild(&right).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which refs match which rule now, and the tags that come out. Nothing is saved.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/autobuild/preview", tag = "autobuild", params(RepositoryAt), request_body = PreviewWish, responses((status = 200, body = Matches), Errors))]
pub(crate) async fn preview(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(wish): Json<PreviewWish>,
) -> Result<Json<Matches>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    // Looking at a source that is not saved uses the link's token for a name that the caller chose: a right of admins.
    if wish.source.is_some() || wish.provider.is_some() {
        state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    }
    let stored = state.app().get_autobuild(&right).await?;
    let missing =
        |field: &str| ApiError::new(crate::error::Code::Invalid, format!("`{field}` is missing and nothing is stored")).field(field);
    let provider =
        wish.provider.or_else(|| stored.as_ref().map(|stored| stored.provider.to_string())).ok_or_else(|| missing("provider"))?;
    let source = wish.source.or_else(|| stored.as_ref().map(|stored| stored.source.clone())).ok_or_else(|| missing("source"))?;
    let rules = wish.rules.unwrap_or_else(|| stored.map(|stored| stored.rules.iter().map(as_input).collect()).unwrap_or_default());
    let found = state.app().preview_rules(&right, &provider, &source, &rules).await?;
    Ok(Json(Matches {
        items: found.refs.into_iter().map(Match::from).collect(),
        next: None,
        looked_at: found.looked_at,
        complete: found.coverage == Coverage::Whole,
    }))
}

fn as_input(rule: &BuildRule) -> RuleInput {
    RuleInput {
        id: Some(rule.id.to_string()),
        source_type: rule.source_type.as_str().to_owned(),
        source: rule.source.as_str().to_owned(),
        tags: rule.tags.as_str().to_owned(),
        dockerfile: Some(rule.dockerfile.as_str().to_owned()),
        context: Some(rule.context.as_str().to_owned()),
        autobuild: Some(rule.autobuild),
        cache: Some(rule.cache),
        target: Some(rule.target.as_str().to_owned()),
        args: rule.args.clone().into(),
        paths: PathsInput { include: rule.paths.include.clone().into(), exclude: rule.paths.exclude.clone().into() },
    }
}
