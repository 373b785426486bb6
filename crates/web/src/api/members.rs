//! `/api/v1/organizations/{org}/members`: everybody who is in a team of an organization.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use slipway_model::{AccountKind, AccountName, TeamName};
use utoipa::ToSchema;

use super::at::{MemberAt, OrganizationAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Somebody in an organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    #[schema(value_type = String)]
    name: AccountName,
    display_name: String,
    /// `user` or `service`.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// The teams that they are in.
    #[schema(value_type = Vec<String>)]
    teams: Vec<TeamName>,
}

/// Everybody who is in a team, by name; owners see it.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/members", tag = "organizations", params(OrganizationAt, Paging), responses((status = 200, body = List<Member>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Member>>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let (limit, after) = (paging.limit()?, paging.after::<String>()?);
    let rows = state.app().list_members(&owner, after.as_deref(), limit + 1).await?;
    let view = |row: slipway_app::Member| Member {
        name: row.account.name,
        display_name: row.account.display_name,
        kind: row.account.kind,
        teams: row.teams,
    };
    Ok(Json(List::cut(rows, limit, |row| row.account.name.to_string(), view)))
}

/// Takes somebody out of every team. The last of `owners` stays.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/members/{user}", tag = "organizations", params(MemberAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<MemberAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().remove_member(&owner, &at.user).await?;
    Ok(StatusCode::NO_CONTENT)
}
