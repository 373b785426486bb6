//! `/api/v1/organizations/{org}/teams/...`: teams, who is in them, and their permissions on repositories.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::TeamChange;
use slipway_app::store::teams;
use slipway_model::{AccountName, Permission, RepositoryName, TeamId, TeamName, Timestamp};
use utoipa::ToSchema;

use super::at::{OrganizationAt, TeamAt, TeamMemberAt, TeamRepositoryAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A team.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Team {
    /// Identity.
    #[schema(value_type = String)]
    id: TeamId,
    #[schema(value_type = String)]
    name: TeamName,
    description: String,
    /// How many people are in it.
    members: u64,
    /// On how many repositories it has a permission; `owners` owns all of them without.
    repositories: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<teams::Team> for Team {
    fn from(team: teams::Team) -> Self {
        Self {
            id: team.id,
            name: team.name,
            description: team.description,
            members: team.members,
            repositories: team.repositories,
            created_at: team.created_at,
        }
    }
}

/// A wish for a team.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamWish {
    name: String,
    #[serde(default)]
    description: String,
}

/// A change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamEdit {
    name: Option<String>,
    description: Option<String>,
}

/// Somebody in a team.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeamMember {
    #[schema(value_type = String)]
    name: AccountName,
    display_name: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    added_at: Timestamp,
}

/// A repository that a team has a permission on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeamRepository {
    #[schema(value_type = String)]
    namespace: AccountName,
    #[schema(value_type = String)]
    name: RepositoryName,
    /// `read`, `write` or `admin`.
    #[schema(value_type = String)]
    permission: Permission,
}

/// A permission.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PermissionWish {
    /// `read`, `write` or `admin`.
    permission: String,
}

/// Teams by name: all of them for owners, one's own for members.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/teams", tag = "teams", params(OrganizationAt, Paging), responses((status = 200, body = List<Team>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Team>>, ApiError> {
    let member = state.app().organization_member(&caller, &at.org).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_teams(&member, after.as_deref(), limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.name.to_string(), Team::from)))
}

/// Makes a team.
#[utoipa::path(post, path = "/api/v1/organizations/{org}/teams", tag = "teams", params(OrganizationAt), request_body = TeamWish, responses((status = 201, body = Team), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Json(wish): Json<TeamWish>,
) -> Result<(StatusCode, Json<Team>), ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let team = state.app().create_team(&owner, &wish.name, &wish.description).await?;
    Ok((StatusCode::CREATED, Json(team.into())))
}

/// A team, for owners and for those who are in it.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/teams/{team}", tag = "teams", params(TeamAt), responses((status = 200, body = Team), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamAt>,
) -> Result<Json<Team>, ApiError> {
    let member = state.app().organization_member(&caller, &at.org).await?;
    Ok(Json(state.app().team(&member, &at.team).await?.into()))
}

/// Renames a team, or describes it otherwise. `owners` keeps its name.
#[utoipa::path(patch, path = "/api/v1/organizations/{org}/teams/{team}", tag = "teams", params(TeamAt), request_body = TeamEdit, responses((status = 200, body = Team), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamAt>,
    Json(edit): Json<TeamEdit>,
) -> Result<Json<Team>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let team = state.app().update_team(&owner, &at.team, &TeamChange { name: edit.name, description: edit.description }).await?;
    Ok(Json(team.into()))
}

/// Deletes a team; its members lose what it gave them. `owners` always stands.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/teams/{team}", tag = "teams", params(TeamAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().delete_team(&owner, &at.team).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is in a team, by name.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/teams/{team}/members", tag = "teams", params(TeamAt, Paging), responses((status = 200, body = List<TeamMember>), Errors))]
pub(crate) async fn members(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<TeamMember>>, ApiError> {
    let member = state.app().organization_member(&caller, &at.org).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_team_members(&member, &at.team, after.as_deref(), limit + 1).await?;
    let view = |row: slipway_app::TeamMember| TeamMember {
        name: row.account.name,
        display_name: row.account.display_name,
        added_at: row.added_at,
    };
    Ok(Json(List::cut(rows, limit, |row| row.account.name.to_string(), view)))
}

/// Adds somebody to a team. Adding them again changes nothing.
#[utoipa::path(put, path = "/api/v1/organizations/{org}/teams/{team}/members/{user}", tag = "teams", params(TeamMemberAt), responses((status = 204), Errors))]
pub(crate) async fn add_member(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamMemberAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().add_team_member(&owner, &at.team, &at.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes somebody out of a team. One's own name: leave it. The last of `owners` stays.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/teams/{team}/members/{user}", tag = "teams", params(TeamMemberAt), responses((status = 204), Errors))]
pub(crate) async fn remove_member(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamMemberAt>,
) -> Result<StatusCode, ApiError> {
    if caller.account().name == at.user {
        state.app().leave_team(&caller, &at.org, &at.team).await?;
    } else {
        let owner = state.app().organization_owner(&caller, &at.org).await?;
        state.app().remove_team_member(&owner, &at.team, &at.user).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The repositories that a team has a permission on, by name.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/teams/{team}/repositories", tag = "teams", params(TeamAt, Paging), responses((status = 200, body = List<TeamRepository>), Errors))]
pub(crate) async fn repositories(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<TeamRepository>>, ApiError> {
    let member = state.app().organization_member(&caller, &at.org).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_team_repositories(&member, &at.team, after.as_deref(), limit + 1).await?;
    let view = |(repository, permission): (slipway_app::store::repositories::Repository, Permission)| TeamRepository {
        namespace: repository.namespace,
        name: repository.name,
        permission,
    };
    Ok(Json(List::cut(rows, limit, |(repository, _)| repository.name.to_string(), view)))
}

/// Gives a team a permission on a repository, instead of the one that it had.
#[utoipa::path(put, path = "/api/v1/organizations/{org}/teams/{team}/repositories/{name}", tag = "teams", params(TeamRepositoryAt), request_body = PermissionWish, responses((status = 204), Errors))]
pub(crate) async fn set_permission(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamRepositoryAt>,
    Json(wish): Json<PermissionWish>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let permission = wish.permission.parse::<Permission>().ok().filter(|permission| *permission != Permission::Owner).ok_or_else(|| {
        let detail = format!("the permission is `{}`, expected `read`, `write` or `admin`", crate::edge::json::cut(&wish.permission));
        ApiError::new(Code::Invalid, detail).field("permission").hint("who owns everything is in the team `owners`")
    })?;
    state.app().set_team_permission(&owner, &at.team, &at.name, permission).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a team's permission on a repository away.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/teams/{team}/repositories/{name}", tag = "teams", params(TeamRepositoryAt), responses((status = 204), Errors))]
pub(crate) async fn remove_permission(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TeamRepositoryAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().remove_team_permission(&owner, &at.team, &at.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
