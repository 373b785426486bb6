//! `/api/v1/admin/accounts`: every account of the installation, service accounts and their tokens.
//!
//! Invariant: administrators manage accounts; that gives them no right over anybody's repositories.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use slipway_app::Role;
use slipway_model::AccountKind;
use utoipa::{IntoParams, ToSchema};

use super::at::{AccountAt, AccountTokenAt};
use super::me::Me;
use super::organizations::Deleted;
use super::tokens::{MadeToken, Token, TokenWish};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountQuery {
    /// Only `user`, `organization` or `service`.
    #[param(value_type = Option<String>)]
    kind: Option<AccountKind>,
    /// How many items at most, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// A wish for a service account: it has access tokens and never signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceAccountWish {
    name: String,
}

/// A change of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountEdit {
    /// Whether it administers this server. One administrator always stays.
    admin: bool,
}

/// All accounts by name.
#[utoipa::path(get, path = "/api/v1/admin/accounts", tag = "administration", params(AccountQuery), responses((status = 200, body = List<Me>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Query(query): Query<AccountQuery>,
) -> Result<Json<List<Me>>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let paging = Paging { limit: query.limit, cursor: query.cursor };
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_accounts(&administrator, query.kind, after.as_deref(), limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.name.to_string(), |row| Me::from(&row))))
}

/// Makes a service account.
#[utoipa::path(post, path = "/api/v1/admin/accounts", tag = "administration", request_body = ServiceAccountWish, responses((status = 201, body = Me), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<ServiceAccountWish>,
) -> Result<(StatusCode, Json<Me>), ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let made = state.app().create_service_account(&administrator, &wish.name).await?;
    Ok((StatusCode::CREATED, Json(Me::from(&made))))
}

/// Gives or takes the right over the installation.
#[utoipa::path(patch, path = "/api/v1/admin/accounts/{name}", tag = "administration", params(AccountAt), request_body = AccountEdit, responses((status = 200, body = Me), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<AccountAt>,
    Json(edit): Json<AccountEdit>,
) -> Result<Json<Me>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let role = if edit.admin { Role::Administrator } else { Role::User };
    let changed = state.app().set_administrator(&administrator, &at.name, role).await?;
    Ok(Json(Me::from(&changed)))
}

/// Deletes an account with everything in its namespace. It must be called by its current name, which is the confirmation.
#[utoipa::path(delete, path = "/api/v1/admin/accounts/{name}", tag = "administration", params(AccountAt), responses((status = 200, body = Deleted), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<AccountAt>,
) -> Result<Json<Deleted>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    Ok(Json(state.app().delete_other_account(&administrator, &at.name, at.name.as_str()).await?.into()))
}

/// The access tokens of a service account.
#[utoipa::path(get, path = "/api/v1/admin/accounts/{name}/tokens", tag = "administration", params(AccountAt), responses((status = 200, body = List<Token>), Errors))]
pub(crate) async fn tokens(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<AccountAt>,
) -> Result<Json<List<Token>>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let found = state.app().list_service_tokens(&administrator, &at.name).await?;
    Ok(Json(List::whole(found.into_iter().map(Token::from).collect())))
}

/// Makes an access token of a service account.
#[utoipa::path(post, path = "/api/v1/admin/accounts/{name}/tokens", tag = "administration", params(AccountAt), request_body = TokenWish, responses((status = 201, body = MadeToken), Errors))]
pub(crate) async fn create_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<AccountAt>,
    Json(wish): Json<TokenWish>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let made = state.app().create_service_token(&administrator, &at.name, &wish.read()?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revokes an access token of a service account, from this moment on.
#[utoipa::path(delete, path = "/api/v1/admin/accounts/{name}/tokens/{id}", tag = "administration", params(AccountTokenAt), responses((status = 204), Errors))]
pub(crate) async fn revoke_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<AccountTokenAt>,
) -> Result<StatusCode, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    state.app().revoke_service_token(&administrator, &at.name, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
