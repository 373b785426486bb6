//! `/api/v1/me`: the account that a request belongs to, its organizations, its end, and its conversion into an organization;
//! and `/api/v1/accounts`: how it begins where sign-up is open.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slipway_app::DoomedAccount;
use slipway_app::store::accounts::Account;
use slipway_model::{AccountId, AccountKind, AccountName, ProviderId, Scope, Timestamp};
use utoipa::ToSchema;

use super::organizations::{Deleted, Membership, Organization};
use crate::edge::json::Json;
use crate::edge::list::List;
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::{ApiCaller, Client, session_cookie};
use crate::state::WebState;

/// The account that a request belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// Identity.
    #[schema(value_type = String)]
    id: AccountId,
    /// `user`, `service`, or `organization` for a token of an organization.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// The name, which is also the namespace.
    #[schema(value_type = String)]
    name: AccountName,
    /// For people.
    display_name: String,
    /// Where notifications go; told with the scope `account` only.
    email: Option<String>,
    /// Whether this credential may administer the server: the scope `account` is part of it.
    admin: bool,
    /// Since when it exists.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&Account> for Me {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id,
            kind: account.kind,
            name: account.name.clone(),
            display_name: account.display_name.clone(),
            email: account.email.clone(),
            admin: account.is_admin,
            created_at: account.created_at,
        }
    }
}

/// A change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeChange {
    display_name: Option<String>,
}

/// The proof that somebody means it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeDeletion {
    /// The account's name, typed.
    confirm: String,
    /// The password, when the account has one.
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
}

/// What goes with the account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeDeletionPreview {
    /// The first hundred by name.
    repositories: Vec<String>,
    repository_count: u64,
    token_count: u64,
    /// Builds that wait or run.
    build_count: u64,
    /// Providers that are linked.
    #[schema(value_type = Vec<String>)]
    links: Vec<ProviderId>,
    /// Organizations that it leaves.
    #[schema(value_type = Vec<String>)]
    organizations: Vec<AccountName>,
    /// Organizations that have no other owner: as long as there is one, the account cannot be deleted.
    #[schema(value_type = Vec<String>)]
    sole_owner_of: Vec<AccountName>,
    /// Nobody else administers this server: then it cannot be deleted either.
    last_administrator: bool,
}

impl From<DoomedAccount> for MeDeletionPreview {
    fn from(doomed: DoomedAccount) -> Self {
        Self {
            repositories: doomed.repositories,
            repository_count: doomed.repository_count,
            token_count: doomed.token_count,
            build_count: doomed.build_count,
            links: doomed.links,
            organizations: doomed.organizations,
            sole_owner_of: doomed.sole_owner_of,
            last_administrator: doomed.last_administrator,
        }
    }
}

/// What becomes of the account when it is made an organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConversionPreview {
    /// What the person should know before.
    warnings: Vec<String>,
    /// Why it cannot be done now; null when it can.
    refused: Option<String>,
}

/// The wish to make an organization of the account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConversionWish {
    /// The user who becomes the first owner: another account than this one.
    first_owner: String,
    /// The account's name, typed.
    confirm: String,
    /// The password, when the account has one.
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
}

/// The account that the request belongs to.
#[utoipa::path(get, path = "/api/v1/me", tag = "account", responses((status = 200, body = Me), Errors))]
pub(crate) async fn get(ApiCaller(caller): ApiCaller) -> Json<Me> {
    // Address and rights are the account's own business; a token for repositories alone learns the name.
    let own = caller.demand(Scope::Account).is_ok();
    let me = Me::from(caller.account());
    Json(if own { me } else { Me { email: None, admin: false, ..me } })
}

/// Changes what people call the account.
#[utoipa::path(patch, path = "/api/v1/me", tag = "account", request_body = MeChange, responses((status = 200, body = Me), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(change): Json<MeChange>,
) -> Result<Json<Me>, ApiError> {
    let display_name = change.display_name.unwrap_or_else(|| caller.account().display_name.clone());
    let changed = state.app().update_account(&caller, &display_name).await?;
    Ok(Json((&changed).into()))
}

/// Deletes the account with everything in its namespace. Refused while an organization has no other owner.
#[utoipa::path(delete, path = "/api/v1/me", tag = "account", request_body = MeDeletion, responses((status = 200, body = Deleted), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<MeDeletion>,
) -> Result<Json<Deleted>, ApiError> {
    Ok(Json(state.app().delete_account(&caller, &wish.confirm, wish.password.as_ref()).await?.into()))
}

/// What would go with the account, and what is in the way. Nothing changes.
#[utoipa::path(get, path = "/api/v1/me/deletion", tag = "account", responses((status = 200, body = MeDeletionPreview), Errors))]
pub(crate) async fn preview_removal(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
) -> Result<Json<MeDeletionPreview>, ApiError> {
    Ok(Json(state.app().preview_delete_account(&caller).await?.into()))
}

/// The organizations that the account is in, by name; at most 500.
#[utoipa::path(get, path = "/api/v1/me/organizations", tag = "account", responses((status = 200, body = List<Membership>), Errors))]
pub(crate) async fn organizations(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<Membership>>, ApiError> {
    let found = state.app().list_organizations(&caller).await?;
    Ok(Json(List::whole(found.into_iter().map(Membership::from).collect())))
}

/// What would become of the account as an organization. Nothing changes.
#[utoipa::path(get, path = "/api/v1/me/conversion", tag = "account", responses((status = 200, body = ConversionPreview), Errors))]
pub(crate) async fn preview_conversion(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
) -> Result<Json<ConversionPreview>, ApiError> {
    let preview = state.app().preview_conversion(&caller).await?;
    Ok(Json(ConversionPreview { warnings: preview.warnings, refused: preview.refused.map(|refusal| refusal.detail) }))
}

/// Makes an organization of the account: repositories, rules and links stay, nobody signs in as it any more. It cannot be taken back.
#[utoipa::path(post, path = "/api/v1/me/conversion", tag = "account", request_body = ConversionWish, responses((status = 200, body = Organization), Errors))]
pub(crate) async fn convert(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<ConversionWish>,
) -> Result<Json<Organization>, ApiError> {
    let made = state.app().convert_to_organization(&caller, &wish.first_owner, &wish.confirm, wish.password.as_ref()).await?;
    Ok(Json((&made).into()))
}

/// The wish for an account of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountWish {
    /// The name, which is also the namespace.
    name: String,
    /// 8 to 1024 bytes.
    #[schema(value_type = String)]
    password: SecretString,
}

/// Makes an account where sign-up is open, and signs it in by cookie. Where it is closed there is no such address.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "account", security(), request_body = AccountWish, responses((status = 201, body = Me), Errors))]
pub(crate) async fn sign_up(
    State(state): State<WebState>,
    _caller: Option<ApiCaller>,
    Client(client): Client,
    Json(wish): Json<AccountWish>,
) -> Result<Response, ApiError> {
    let sign_in = state.app().sign_up(&wish.name, &wish.password, &client).await?;
    let cookie = session_cookie(&state, &sign_in);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(Me::from(&sign_in.account))).into_response())
}
