//! `/api/v1/repositories/{ns}[/{name}[/tags]]`.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::store::{images, repositories};
use slipway_model::{AccountName, BuildId, ImageTag, RepositoryName, Scope, Timestamp, Visibility};
use utoipa::ToSchema;

use super::at::{NamespaceAt, RepositoryAt, TagAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// An image repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Repository {
    #[schema(value_type = String)]
    namespace: AccountName,
    #[schema(value_type = String)]
    name: RepositoryName,
    description: String,
    /// `private` or `public`.
    #[schema(value_type = String)]
    visibility: Visibility,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The name for `docker pull`, without a tag.
    image: String,
}

impl Repository {
    pub(crate) fn of(state: &WebState, repository: &repositories::Repository) -> Self {
        Self {
            image: format!("{}/{}/{}", state.app().registry_host(), repository.namespace, repository.name),
            namespace: repository.namespace.clone(),
            name: repository.name.clone(),
            description: repository.description.clone(),
            visibility: repository.visibility,
            created_at: repository.created_at,
        }
    }
}

/// A wish for a repository.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryWish {
    name: String,
    #[serde(default)]
    description: String,
    /// `private` (as when absent) or `public`.
    #[schema(value_type = Option<String>)]
    visibility: Option<Visibility>,
}

/// A change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryChange {
    description: Option<String>,
    /// `private` or `public`.
    #[schema(value_type = Option<String>)]
    visibility: Option<Visibility>,
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tag {
    #[schema(value_type = String)]
    name: ImageTag,
    digest: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The build whose image it names; null when a person pushed.
    #[schema(value_type = Option<String>)]
    build: Option<BuildId>,
    /// Whether a person moved it to that image; what was pushed before stays behind it, and the next push moves it again.
    moved_by_person: bool,
}

impl Tag {
    fn of(tag: images::Tag) -> Self {
        Self {
            name: tag.name,
            digest: tag.digest,
            updated_at: tag.updated_at,
            build: tag.origin.map(|origin| origin.build),
            moved_by_person: tag.moved_by.is_some(),
        }
    }
}

/// Where a tag shall stand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagMove {
    /// Id or number of a build of this repository that ended with an image.
    build: String,
}

/// Repositories of a namespace by name: all for its owners, for members what their teams give, for everybody else the public ones.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}", tag = "repositories", params(NamespaceAt, Paging), responses((status = 200, body = List<Repository>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(at): Path<NamespaceAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Repository>>, ApiError> {
    let view = state.app().namespace_view(caller.as_ref().map(|caller| &caller.0), &at.ns).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_repositories(&view, after.as_deref(), limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.name.to_string(), |row| Repository::of(&state, &row))))
}

/// Makes a repository.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}", tag = "repositories", params(NamespaceAt), request_body = RepositoryWish, responses((status = 201, body = Repository), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<NamespaceAt>,
    Json(wish): Json<RepositoryWish>,
) -> Result<(StatusCode, Json<Repository>), ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    let visibility = wish.visibility.unwrap_or(Visibility::Private);
    let made = state.app().create_repository(&owner, &wish.name, &wish.description, visibility).await?;
    Ok((StatusCode::CREATED, Json(Repository::of(&state, &made))))
}

/// A repository. A public one is shown to everybody.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}", tag = "repositories", params(RepositoryAt), responses((status = 200, body = Repository), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<Repository>, ApiError> {
    let right = state.app().repository_view(caller.as_ref().map(|caller| &caller.0), &at.ns, &at.name).await?;
    Ok(Json(Repository::of(&state, right.repository())))
}

/// Changes description or visibility.
#[utoipa::path(patch, path = "/api/v1/repositories/{ns}/{name}", tag = "repositories", params(RepositoryAt), request_body = RepositoryChange, responses((status = 200, body = Repository), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(change): Json<RepositoryChange>,
) -> Result<Json<Repository>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    let changed = state.app().update_repository(&right, change.description.as_deref(), change.visibility).await?;
    Ok(Json(Repository::of(&state, &changed)))
}

/// Deletes a repository with its images, rules, builds and deliveries. The source and the link stay.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}", tag = "repositories", params(RepositoryAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_owner(&caller, &at.ns, &at.name).await?;
    state.app().delete_repository(&right).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tags by name.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/tags", tag = "repositories", params(RepositoryAt, Paging), responses((status = 200, body = List<Tag>), Errors))]
pub(crate) async fn tags(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(at): Path<RepositoryAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Tag>>, ApiError> {
    let right = state.app().repository_view(caller.as_ref().map(|caller| &caller.0), &at.ns, &at.name).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let mut tx = state.app().db().read().await?;
    let rows = images::list_tags(&mut tx, right.repository().id, after.as_deref(), limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.name.to_string(), Tag::of)))
}

/// Moves a tag to the image of a build, back too. The tag stands, or is one that the build gives.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/tags/{tag}", tag = "repositories", params(TagAt), request_body = TagMove, responses((status = 200, body = Tag), Errors))]
pub(crate) async fn move_tag(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TagAt>,
    Json(wish): Json<TagMove>,
) -> Result<Json<Tag>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(Tag::of(state.app().roll_back(&right, &at.tag, &wish.build).await?)))
}

/// Deletes a tag. The image stays as long as something else refers to it.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}/tags/{tag}", tag = "repositories", params(TagAt), responses((status = 204), Errors))]
pub(crate) async fn remove_tag(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TagAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_push(&caller, &at.ns, &at.name).await?;
    state.app().delete_tag(&right, at.tag.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
