//! `/api/v1/repositories/{ns}/{name}/external`: another registry that images go to as well, and what of them is there.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use slipway_app::{Error, ExternalTagView, ExternalView};
use slipway_model::Timestamp;
use utoipa::ToSchema;

use super::at::{RepositoryAt, TagAt};
use crate::edge::json::{Json, Path};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Another registry that images go to as well. The password is never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExternalRepository {
    /// `registry.example.com/team/app`.
    address: String,
    /// Who signs in; empty where nobody has to.
    username: String,
    /// When it was tried out and saved.
    #[schema(value_type = String, format = DateTime)]
    saved_at: Timestamp,
}

impl From<ExternalView> for ExternalRepository {
    fn from(view: ExternalView) -> Self {
        Self { address: view.address.to_string(), username: view.username, saved_at: view.saved_at }
    }
}

/// A wish for an external registry.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes `ExternalWish` of the application for OpenAPI")]
pub(crate) struct ExternalWish {
    /// `registry.example.com[:port]/team/app`; `docker.io/team/app` is Docker Hub. `http://` in front only for hosts that the administrator
    /// of the installation has named.
    address: String,
    /// Empty where the registry asks for none.
    username: Option<String>,
    /// A password or access token that may push; absent: the stored one stays, as long as address and user name do.
    password: Option<String>,
}

/// What a tag is in the external registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExternalTag {
    tag: String,
    /// What it names there, or shall name.
    digest: String,
    /// `registry.example.com/team/app`.
    repository: String,
    /// `waiting`, `delivered` or `refused`.
    state: &'static str,
    /// How often it was tried without success.
    attempts: u64,
    /// Why it is not there (yet).
    error: Option<String>,
    /// When it is tried (again).
    #[schema(value_type = Option<String>, format = DateTime)]
    next_try_at: Option<Timestamp>,
    /// When it arrived.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
}

impl From<ExternalTagView> for ExternalTag {
    fn from(view: ExternalTagView) -> Self {
        Self {
            tag: view.tag.to_string(),
            digest: view.digest,
            repository: view.repository,
            state: view.state,
            attempts: view.attempts,
            error: view.error,
            next_try_at: view.next_try_at,
            delivered_at: view.delivered_at,
        }
    }
}

/// The external registry of a repository.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/external", tag = "repositories", params(RepositoryAt), responses((status = 200, body = ExternalRepository), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<ExternalRepository>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().get_external(&right).await?.ok_or(Error::NotFound)?.into()))
}

/// Signs in there, begins a push and cancels it; saved when that went well, so images of later builds go there too.
#[utoipa::path(put, path = "/api/v1/repositories/{ns}/{name}/external", tag = "repositories", params(RepositoryAt), request_body = ExternalWish, responses((status = 200, body = ExternalRepository), Errors))]
pub(crate) async fn put(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(wish): Json<slipway_app::ExternalWish>,
) -> Result<Json<ExternalRepository>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().save_external(&right, &wish).await?.into()))
}

/// Forgets the external registry and its password. What was pushed there stays there.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}/external", tag = "repositories", params(RepositoryAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    state.app().delete_external(&right).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries out what is saved: 200 when a push would go well, else a refusal that says what would not work.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/external/test", tag = "repositories", params(RepositoryAt), responses((status = 200, body = ExternalRepository), Errors))]
pub(crate) async fn test(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<ExternalRepository>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().test_external(&right).await?.into()))
}

/// What a tag is in the external registry; 404 when no build moved it since that was saved.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/tags/{tag}/external", tag = "repositories", params(TagAt), responses((status = 200, body = ExternalTag), Errors))]
pub(crate) async fn tag(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TagAt>,
) -> Result<Json<ExternalTag>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let mut tx = state.app().db().read().await?;
    let found = state.app().external_tag(&mut tx, right.repository().id, at.tag.as_str()).await?;
    Ok(Json(found.ok_or(Error::NotFound)?.into()))
}

/// Sends a tag now that waits or was refused.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/tags/{tag}/external", tag = "repositories", params(TagAt), responses((status = 204), Errors))]
pub(crate) async fn try_again(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TagAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    state.app().try_external_again(&right, at.tag.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
