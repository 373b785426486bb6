//! `/api/v1/namespaces/{ns}/links`: an account's connections to the providers, and what can be seen through them.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::{ConnectWish, LinkSwitch, LinkView, OfferView, OrganizationView, ScopeView, SourceSearch, UsedBy};
use slipway_forge::SourceRepository;
use slipway_model::{AccessLevel, LinkId, LinkState, LinkedAs, ProviderId, ProviderKind, Scope, Timestamp};
use utoipa::{IntoParams, ToSchema};

use super::at::{LinkAt, NamespaceAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A provider as the account sees it: linked or not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Link {
    /// Identity of the link; null when the provider is not linked.
    #[schema(value_type = Option<String>)]
    id: Option<LinkId>,
    #[schema(value_type = String)]
    provider: ProviderId,
    #[schema(value_type = String)]
    kind: ProviderKind,
    /// Who is linked, by the provider's name of them.
    login: Option<String>,
    /// The name that the person shows there.
    display_name: Option<String>,
    /// How much was asked for: `full`, `public` or `read_only`.
    #[schema(value_type = Option<String>)]
    access: Option<AccessLevel>,
    /// Whom it belongs to there: `person` or `service_user`.
    #[schema(value_type = Option<String>)]
    linked_as: Option<LinkedAs>,
    /// `not_linked`, `ok`, `disabled`, `expiring`, `scope_missing`, `restricted`, `suspended`, `revoked` or `error`.
    #[schema(value_type = String)]
    state: LinkState,
    /// Since when the state is so.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// What the state was concluded from.
    evidence: Option<String>,
    /// The HTTP status behind it.
    evidence_status: Option<u16>,
    /// When it was seen.
    #[schema(value_type = Option<String>, format = DateTime)]
    evidence_at: Option<Timestamp>,
    /// What a person does next.
    next_step: Option<String>,
    /// Other things to know.
    warnings: Vec<String>,
    /// What was granted.
    scopes: Vec<String>,
    /// The same in plain words.
    scopes_granted: Vec<ScopeWords>,
    /// What was asked for and not granted.
    scopes_missing: Vec<ScopeWords>,
    /// Where the grant is seen and changed at the provider.
    grant_url: Option<String>,
    /// Organizations at the provider and whether they let us in.
    organizations: Vec<Organization>,
    /// When it was last checked.
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    /// When it is checked next.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_check_at: Option<Timestamp>,
    /// Repositories that its state is about: of a restricted link only those of the organizations that do not let us in.
    affects: Vec<String>,
    /// Every repository that is built through it, with its source.
    used_by: Vec<UsedSource>,
}

/// A scope and what it is for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScopeWords {
    scope: String,
    /// What it allows and what we use it for; null for one that we do not ask for.
    words: Option<String>,
}

impl From<ScopeView> for ScopeWords {
    fn from(view: ScopeView) -> Self {
        Self { scope: view.scope, words: view.words }
    }
}

/// A repository that is built through a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsedSource {
    repository: String,
    /// The source's name at the provider.
    source: String,
    /// How the link came to serve it, when it took over from another one.
    note: Option<String>,
    /// What is wrong with the source.
    problem: Option<String>,
}

impl From<UsedBy> for UsedSource {
    fn from(used: UsedBy) -> Self {
        Self { repository: used.repository, source: used.source, note: used.note, problem: used.problem }
    }
}

/// An organization at the provider, or the person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    /// The provider's id, which never changes.
    id: String,
    name: String,
    /// `user` or `organization`.
    kind: String,
    /// `granted`, `restricted`, `denied` or `unknown`.
    access: String,
    grant_url: Option<String>,
    /// What the access means or was concluded from.
    note: String,
}

impl From<OrganizationView> for Organization {
    fn from(view: OrganizationView) -> Self {
        Self { id: view.id, name: view.name, kind: view.kind, access: view.access.to_string(), grant_url: view.grant_url, note: view.note }
    }
}

impl From<LinkView> for Link {
    fn from(view: LinkView) -> Self {
        Self {
            id: view.id,
            provider: view.provider,
            kind: view.kind,
            login: view.login,
            display_name: view.display_name,
            access: view.access,
            linked_as: view.linked_as,
            state: view.state,
            since: view.since,
            evidence_status: view.evidence.as_ref().and_then(|evidence| evidence.status),
            evidence_at: view.evidence.as_ref().and_then(|evidence| evidence.at),
            evidence: view.evidence.map(|evidence| evidence.words),
            next_step: view.next_step,
            warnings: view.warnings,
            scopes: view.scopes,
            scopes_granted: view.scopes_granted.into_iter().map(ScopeWords::from).collect(),
            scopes_missing: view.scopes_missing.into_iter().map(ScopeWords::from).collect(),
            grant_url: view.grant_url,
            organizations: view.organizations.into_iter().filter(|one| one.kind == "organization").map(Organization::from).collect(),
            checked_at: view.checked_at,
            next_check_at: view.next_check_at,
            affects: view.affects,
            used_by: view.used_by.into_iter().map(UsedSource::from).collect(),
        }
    }
}

/// Where to send the person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connect {
    /// An address at the provider; its answer is accepted from the same caller only.
    authorize_url: String,
}

/// A change of a link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkChange {
    /// False: keep the link, but send nothing to the provider and take nothing from it.
    enabled: bool,
}

/// A source repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Source {
    /// The provider's id, which never changes.
    id: String,
    /// `owner/name` today.
    full_name: String,
    default_branch: String,
    private: bool,
    /// Whether it takes no pushes any more.
    archived: bool,
    web_url: String,
}

impl From<SourceRepository> for Source {
    fn from(found: SourceRepository) -> Self {
        Self {
            id: found.id,
            full_name: found.full_name,
            default_branch: found.default_branch,
            private: found.private,
            archived: found.archived,
            web_url: found.web_url.into(),
        }
    }
}

/// Source repositories, and how fresh what we know of them is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sources {
    items: Vec<Source>,
    /// To be handed back as `cursor`; null at the end.
    next: Option<String>,
    /// When the stalest part of them was read from the provider; null when some was never read to its end.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// Whether everything was read at least once.
    complete: bool,
    /// Why some of it could not be read lately.
    error: Option<String>,
}

/// Which source repositories.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SourceQuery {
    /// Name of the owner at the provider; all when it is empty.
    #[serde(default)]
    namespace: String,
    /// Part of the name.
    #[serde(default)]
    q: String,
    /// How many at most, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// The links of a namespace, one entry per configured provider.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links", tag = "links", params(NamespaceAt), responses((status = 200, body = List<Link>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<NamespaceAt>,
) -> Result<Json<List<Link>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let links = state.app().list_links(&owner).await?;
    Ok(Json(List::whole(links.into_iter().map(Link::from).collect())))
}

/// Which of several links to the provider.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The link's id. Without it the one that works best is looked at; a change that several may mean is refused with `which_link`.
    #[param(value_type = Option<String>)]
    pub(super) link: Option<LinkId>,
}

/// What a new link shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLink {
    /// `full` (default), `public` or `read_only`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    access: Option<AccessLevel>,
    /// `person` (default) or `service_user`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    linked_as: Option<LinkedAs>,
}

/// A level of access that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Offer {
    #[schema(value_type = String)]
    access: AccessLevel,
    /// What can be done with it and what not.
    words: String,
    scopes: Vec<ScopeWords>,
}

/// What linking asks for, before anybody is sent to the provider.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/offers", tag = "links", params(LinkAt), responses((status = 200, body = List<Offer>), Errors))]
pub(crate) async fn offers(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<List<Offer>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let offers = state.app().offers(&owner, &at.provider).await?;
    let offer =
        |one: OfferView| Offer { access: one.level, words: one.words, scopes: one.scopes.into_iter().map(ScopeWords::from).collect() };
    Ok(Json(List::whole(offers.offers.into_iter().map(offer).collect())))
}

/// Begins to link a provider. The provider's answer must come back from the same session or with the same token.
#[utoipa::path(post, path = "/api/v1/namespaces/{ns}/links/{provider}/connect", tag = "links", params(LinkAt), request_body = Option<NewLink>, responses((status = 200, body = Connect), Errors))]
pub(crate) async fn connect(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    new: Option<Json<NewLink>>,
) -> Result<Json<Connect>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    let usual = ConnectWish::default();
    let new = new.map(|Json(new)| new).unwrap_or_default();
    let wish = ConnectWish { access: new.access.unwrap_or(usual.access), linked_as: new.linked_as.unwrap_or(usual.linked_as) };
    let url = state.app().begin_connect(&owner, &caller, &at.provider, wish).await?;
    Ok(Json(Connect { authorize_url: url.into() }))
}

/// Disables or enables a link.
#[utoipa::path(patch, path = "/api/v1/namespaces/{ns}/links/{provider}", tag = "links", params(LinkAt, Which), request_body = LinkChange, responses((status = 200, body = Link), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(which): Query<Which>,
    Json(change): Json<LinkChange>,
) -> Result<Json<Link>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    let switch = if change.enabled { LinkSwitch::Enable } else { LinkSwitch::Disable };
    Ok(Json(state.app().switch_link(&owner, &at.provider, which.link, switch).await?.into()))
}

/// Asks the provider whether the link still works.
#[utoipa::path(post, path = "/api/v1/namespaces/{ns}/links/{provider}/check", tag = "links", params(LinkAt, Which), responses((status = 200, body = Link), Errors))]
pub(crate) async fn check(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(which): Query<Which>,
) -> Result<Json<Link>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    Ok(Json(state.app().check_link(&owner, &at.provider, which.link).await?.into()))
}

/// Reads anew what a link sees: its organizations at once, their repositories in the background.
#[utoipa::path(post, path = "/api/v1/namespaces/{ns}/links/{provider}/refresh", tag = "links", params(LinkAt, Which), responses((status = 204), Errors))]
pub(crate) async fn refresh(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(which): Query<Which>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    state.app().refresh_sources(&owner, &at.provider, which.link).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Owners of source repositories that the linked person belongs to, and whether each lets us in.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/source-namespaces", tag = "links", params(LinkAt), responses((status = 200, body = List<Organization>), Errors))]
pub(crate) async fn source_namespaces(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<List<Organization>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let found = state.app().source_namespaces(&owner, &at.provider, None).await?;
    Ok(Json(List::whole(found.namespaces.into_iter().map(Organization::from).collect())))
}

/// Source repositories of one owner, or of all, as our copy has them.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/source-repositories", tag = "links", params(LinkAt, SourceQuery), responses((status = 200, body = Sources), Errors))]
pub(crate) async fn source_repositories(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(query): Query<SourceQuery>,
) -> Result<Json<Sources>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let paging = Paging { limit: query.limit, cursor: query.cursor };
    let (limit, cursor): (u32, Option<String>) = (paging.limit()?, paging.after()?);
    let namespace = Some(query.namespace.as_str()).filter(|name| !name.is_empty());
    let search = SourceSearch { namespace, text: &query.q, after: cursor.as_deref(), limit, ..SourceSearch::default() };
    let page = state.app().source_repositories(&owner, &at.provider, search).await?;
    let whole: List<Source> = List::part(page.items.into_iter().map(Source::from).collect(), page.next);
    Ok(Json(Sources { items: whole.items, next: whole.next, read_at: page.read_at, complete: page.complete, error: page.error }))
}
