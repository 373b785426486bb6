//! `/api/v1/organizations[/{org}]`: organizations, what goes when one is deleted, and their access tokens.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::store::accounts::Account;
use slipway_app::{Doomed, OrganizationChange, Receipt, Standing};
use slipway_model::{AccountId, AccountName, ProviderId, Timestamp};
use utoipa::ToSchema;

use super::at::{OrganizationAt, OrganizationTokenAt};
use super::tokens::{MadeToken, Token, TokenWish};
use super::unlinking::UnlinkReceipt;
use crate::edge::json::{Json, Path};
use crate::edge::list::List;
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    /// Identity.
    #[schema(value_type = String)]
    id: AccountId,
    /// The name, which is also the namespace.
    #[schema(value_type = String)]
    name: AccountName,
    /// For people.
    display_name: String,
    /// Since when it exists.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Account> for Organization {
    fn from(account: &Account) -> Self {
        Self { id: account.id, name: account.name.clone(), display_name: account.display_name.clone(), created_at: account.created_at }
    }
}

/// An organization as somebody who is in it sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Membership {
    #[serde(flatten)]
    organization: Organization,
    /// `owner` or `member`.
    standing: &'static str,
}

impl From<slipway_app::Membership> for Membership {
    fn from(membership: slipway_app::Membership) -> Self {
        Self { organization: (&membership.account).into(), standing: standing_word(membership.standing) }
    }
}

pub(super) fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Owner => "owner",
        Standing::Member => "member",
        Standing::Outsider => "outsider",
    }
}

/// A wish for an organization.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationWish {
    /// The name, which is also the namespace.
    name: String,
    /// For people; absent: the name.
    display_name: Option<String>,
}

/// A change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganizationEdit {
    /// The former name leads on to the new one.
    name: Option<String>,
    display_name: Option<String>,
}

/// What goes together with a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deletion {
    /// The first hundred by name.
    repositories: Vec<String>,
    repository_count: u64,
    team_count: u64,
    member_count: u64,
    token_count: u64,
    build_count: u64,
    /// Providers that are linked.
    #[schema(value_type = Vec<String>)]
    links: Vec<ProviderId>,
}

impl From<Doomed> for Deletion {
    fn from(doomed: Doomed) -> Self {
        Self {
            repositories: doomed.repositories,
            repository_count: doomed.repository_count,
            team_count: doomed.team_count,
            member_count: doomed.member_count,
            token_count: doomed.token_count,
            build_count: doomed.build_count,
            links: doomed.links,
        }
    }
}

/// What became of the links of something that was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// One for each provider that was linked, with what has to be removed there by hand.
    unlinked: Vec<UnlinkReceipt>,
}

impl From<Vec<Receipt>> for Deleted {
    fn from(receipts: Vec<Receipt>) -> Self {
        Self { unlinked: receipts.into_iter().map(UnlinkReceipt::from).collect() }
    }
}

/// The organizations that the caller is in, by name; at most 500.
#[utoipa::path(get, path = "/api/v1/organizations", tag = "organizations", responses((status = 200, body = List<Membership>), Errors))]
pub(crate) async fn list(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<Membership>>, ApiError> {
    let found = state.app().list_organizations(&caller).await?;
    Ok(Json(List::whole(found.into_iter().map(Membership::from).collect())))
}

/// Makes an organization; the caller is the first member of its team `owners`.
#[utoipa::path(post, path = "/api/v1/organizations", tag = "organizations", request_body = OrganizationWish, responses((status = 201, body = Organization), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<OrganizationWish>,
) -> Result<(StatusCode, Json<Organization>), ApiError> {
    let display_name = wish.display_name.as_deref().unwrap_or(&wish.name);
    let made = state.app().create_organization(&caller, &wish.name, display_name).await?;
    Ok((StatusCode::CREATED, Json((&made).into())))
}

/// An organization, for those who are in it.
#[utoipa::path(get, path = "/api/v1/organizations/{org}", tag = "organizations", params(OrganizationAt), responses((status = 200, body = Membership), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
) -> Result<Json<Membership>, ApiError> {
    let member = state.app().organization_member(&caller, &at.org).await?;
    Ok(Json(Membership { organization: member.account().into(), standing: standing_word(member.standing()) }))
}

/// Renames an organization, or changes what people call it.
#[utoipa::path(patch, path = "/api/v1/organizations/{org}", tag = "organizations", params(OrganizationAt), request_body = OrganizationEdit, responses((status = 200, body = Organization), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Json(edit): Json<OrganizationEdit>,
) -> Result<Json<Organization>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let change = OrganizationChange { name: edit.name, display_name: edit.display_name };
    let changed = state.app().update_organization(&owner, &change).await?;
    Ok(Json((&changed).into()))
}

/// Deletes an organization with everything in its namespace. It must be called by its current name, which is the confirmation.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}", tag = "organizations", params(OrganizationAt), responses((status = 200, body = Deleted), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
) -> Result<Json<Deleted>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    Ok(Json(state.app().delete_organization(&owner, at.org.as_str()).await?.into()))
}

/// What would go with the organization. Nothing changes.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/deletion", tag = "organizations", params(OrganizationAt), responses((status = 200, body = Deletion), Errors))]
pub(crate) async fn preview_removal(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
) -> Result<Json<Deletion>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    Ok(Json(state.app().preview_delete_organization(&owner).await?.into()))
}

/// The organization's access tokens.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/tokens", tag = "organizations", params(OrganizationAt), responses((status = 200, body = List<Token>), Errors))]
pub(crate) async fn tokens(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
) -> Result<Json<List<Token>>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let found = state.app().list_organization_tokens(&owner).await?;
    Ok(Json(List::whole(found.into_iter().map(Token::from).collect())))
}

/// Makes an access token of the organization.
#[utoipa::path(post, path = "/api/v1/organizations/{org}/tokens", tag = "organizations", params(OrganizationAt), request_body = TokenWish, responses((status = 201, body = MadeToken), Errors))]
pub(crate) async fn create_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Json(wish): Json<TokenWish>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let made = state.app().create_organization_token(&owner, &wish.read()?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revokes an access token of the organization, from this moment on.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/tokens/{id}", tag = "organizations", params(OrganizationTokenAt), responses((status = 204), Errors))]
pub(crate) async fn revoke_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationTokenAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().revoke_organization_token(&owner, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
