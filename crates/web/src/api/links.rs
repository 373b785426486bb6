//! `/api/v1/namespaces/{ns}/links`: an account's connections to the providers, and what can be seen through them.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use slipway_app::{ConnectWish, LinkSwitch, LinkView, OrganizationView, Receipt, SourceSearch};
use slipway_forge::SourceRepository;
use slipway_model::{LinkState, ProviderId, ProviderKind, Scope, Timestamp};
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
    #[schema(value_type = String)]
    provider: ProviderId,
    #[schema(value_type = String)]
    kind: ProviderKind,
    /// Who is linked, by the provider's name of them.
    login: Option<String>,
    /// `not_linked`, `ok`, `disabled`, `expiring`, `scope_missing`, `restricted`, `suspended`, `revoked` or `error`.
    #[schema(value_type = String)]
    state: LinkState,
    /// Since when the state is so.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// What the state was concluded from.
    evidence: Option<String>,
    /// What was granted.
    scopes: Vec<String>,
    /// Where the grant is seen and changed at the provider.
    grant_url: Option<String>,
    /// Organizations at the provider and whether they let us in.
    organizations: Vec<Organization>,
    /// Repositories that are built through it.
    affects: Vec<String>,
}

/// An organization at the provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    name: String,
    /// `granted`, `restricted`, `denied` or `unknown`.
    access: String,
    grant_url: Option<String>,
}

impl From<OrganizationView> for Organization {
    fn from(view: OrganizationView) -> Self {
        Self { name: view.name, access: view.access.to_string(), grant_url: view.grant_url }
    }
}

impl From<LinkView> for Link {
    fn from(view: LinkView) -> Self {
        Self {
            provider: view.provider,
            kind: view.kind,
            login: view.login,
            state: view.state,
            since: view.since,
            evidence: view.evidence.map(|evidence| evidence.words),
            scopes: view.scopes,
            grant_url: view.grant_url,
            organizations: view.organizations.into_iter().filter(|one| one.kind == "organization").map(Organization::from).collect(),
            affects: view.affects,
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

/// What became of everything that a link had made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkReceipt {
    #[schema(value_type = String)]
    provider: ProviderId,
    login: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What was done.
    done: Vec<UnlinkItem>,
    /// What could not be done, with the address where a person can do it.
    left: Vec<UnlinkItem>,
    /// Repositories that are not built any more.
    stopped: Vec<String>,
}

/// One line of the receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkItem {
    what: String,
    url: Option<String>,
}

impl From<Receipt> for UnlinkReceipt {
    fn from(receipt: Receipt) -> Self {
        let items =
            |all: Vec<slipway_app::ReceiptItem>| all.into_iter().map(|item| UnlinkItem { what: item.what, url: item.url }).collect();
        Self {
            provider: receipt.provider,
            login: receipt.login,
            at: receipt.at,
            done: items(receipt.done),
            left: items(receipt.left),
            stopped: receipt.stopped,
        }
    }
}

/// An owner of source repositories.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SourceNamespace {
    /// The provider's id, which never changes.
    id: String,
    name: String,
    /// `user` or `organization`.
    kind: String,
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

/// Begins to link a provider. The provider's answer must come back from the same session or with the same token.
#[utoipa::path(post, path = "/api/v1/namespaces/{ns}/links/{provider}/connect", tag = "links", params(LinkAt), responses((status = 200, body = Connect), Errors))]
pub(crate) async fn connect(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<Connect>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    let url = state.app().begin_connect(&owner, &caller, &at.provider, ConnectWish::default()).await?;
    Ok(Json(Connect { authorize_url: url.into() }))
}

/// Disables or enables a link.
#[utoipa::path(patch, path = "/api/v1/namespaces/{ns}/links/{provider}", tag = "links", params(LinkAt), request_body = LinkChange, responses((status = 200, body = Link), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Json(change): Json<LinkChange>,
) -> Result<Json<Link>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    let switch = if change.enabled { LinkSwitch::Enable } else { LinkSwitch::Disable };
    Ok(Json(state.app().switch_link(&owner, &at.provider, None, switch).await?.into()))
}

/// Unlinks: removes our webhooks and the grant at the provider, and tells what could not be removed.
#[utoipa::path(delete, path = "/api/v1/namespaces/{ns}/links/{provider}", tag = "links", params(LinkAt), responses((status = 200, body = UnlinkReceipt), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<UnlinkReceipt>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    Ok(Json(state.app().unlink(&owner, &at.provider, None).await?.into()))
}

/// Asks the provider whether the link still works.
#[utoipa::path(post, path = "/api/v1/namespaces/{ns}/links/{provider}/check", tag = "links", params(LinkAt), responses((status = 200, body = Link), Errors))]
pub(crate) async fn check(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<Link>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    Ok(Json(state.app().check_link(&owner, &at.provider, None).await?.into()))
}

/// Owners of source repositories that the linked person sees.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/source-namespaces", tag = "links", params(LinkAt), responses((status = 200, body = List<SourceNamespace>), Errors))]
pub(crate) async fn source_namespaces(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
) -> Result<Json<List<SourceNamespace>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let found = state.app().source_namespaces(&owner, &at.provider, None).await?;
    let view = |namespace: OrganizationView| SourceNamespace { id: namespace.id, name: namespace.name, kind: namespace.kind };
    Ok(Json(List::whole(found.namespaces.into_iter().map(view).collect())))
}

/// Source repositories of one owner, or of all, as our copy has them.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/source-repositories", tag = "links", params(LinkAt, SourceQuery), responses((status = 200, body = List<Source>), Errors))]
pub(crate) async fn source_repositories(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(query): Query<SourceQuery>,
) -> Result<Json<List<Source>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let cursor: Option<String> = Paging { limit: None, cursor: query.cursor }.after()?;
    let namespace = Some(query.namespace.as_str()).filter(|name| !name.is_empty());
    let search = SourceSearch { namespace, text: &query.q, after: cursor.as_deref(), ..SourceSearch::default() };
    let page = state.app().source_repositories(&owner, &at.provider, search).await?;
    Ok(Json(List::part(page.items.into_iter().map(Source::from).collect(), page.next)))
}
