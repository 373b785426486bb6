//! `/api/v1/organizations/{org}/invitations`, `/api/v1/admin/invitations` and `/api/v1/invitations/{token}`: inviting, and being invited.
//!
//! Invariant: an invitation that is unknown, used, or has ended is one and the same answer; its secret is shown once, when it is made.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slipway_app::{InvitationEntry, InvitationView, InvitationWish, Mailed, NewInvitation};
use slipway_model::{InvitationId, TeamName, Timestamp};
use utoipa::ToSchema;

use super::at::{InvitationAt, InvitationTokenAt, OrganizationAt, OrganizationInvitationAt};
use super::me::Me;
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::{ApiCaller, Client, session_cookie};
use crate::state::WebState;

/// A wish for an invitation to the installation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountInvitationWish {
    /// Where it is sent; absent: only its address is shown.
    email: Option<String>,
    /// In seconds, an hour to 30 days; absent: 7 days.
    expires_in: Option<u64>,
}

/// A wish for an invitation to a team.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamInvitationWish {
    team: String,
    /// Where it is sent; absent: only its address is shown.
    email: Option<String>,
    /// In seconds, an hour to 30 days; absent: 7 days.
    expires_in: Option<u64>,
}

fn wish(email: Option<String>, expires_in: Option<u64>) -> InvitationWish {
    InvitationWish { email, expires_in: expires_in.map_or(InvitationWish::DEFAULT_LIFE, Duration::from_secs) }
}

/// An invitation that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeInvitation {
    /// Identity.
    #[schema(value_type = String)]
    id: InvitationId,
    /// The address that the invited person opens; shown this once.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether a mail is on its way.
    mailed: bool,
}

impl From<NewInvitation> for MadeInvitation {
    fn from(made: NewInvitation) -> Self {
        Self { id: made.id, url: made.url.into(), expires_at: made.expires_at, mailed: made.mailed == Mailed::Yes }
    }
}

/// An invitation that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invitation {
    /// Identity.
    #[schema(value_type = String)]
    id: InvitationId,
    /// The team that it leads to; null for the installation.
    #[schema(value_type = Option<String>)]
    team: Option<TeamName>,
    /// Whom it was meant for.
    email: Option<String>,
    /// Whether an account can be made with it.
    makes_account: bool,
    /// The name of who made it.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<InvitationEntry> for Invitation {
    fn from(entry: InvitationEntry) -> Self {
        Self {
            id: entry.id,
            team: entry.team,
            email: entry.email,
            makes_account: entry.makes_account,
            created_by: entry.created_by,
            created_at: entry.created_at,
            expires_at: entry.expires_at,
        }
    }
}

/// An invitation as the invited person sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invited {
    /// The organization that it leads to; null when it is only for an account.
    organization: Option<String>,
    /// The team that it leads to.
    team: Option<String>,
    /// Whether an account can be made with it.
    makes_account: bool,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<InvitationView> for Invited {
    fn from(view: InvitationView) -> Self {
        Self {
            organization: view.organization.map(|organization| organization.to_string()),
            team: view.team.map(|team| team.to_string()),
            makes_account: view.makes_account,
            expires_at: view.expires_at,
        }
    }
}

/// The account that is made with an invitation. With a credential none is made, and the fields stay away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acceptance {
    name: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
}

/// Invitations to an organization's teams that wait, newest first.
#[utoipa::path(get, path = "/api/v1/organizations/{org}/invitations", tag = "organizations", params(OrganizationAt, Paging), responses((status = 200, body = List<Invitation>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Invitation>>, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let (limit, before) = (paging.limit()?, paging.after::<InvitationId>()?);
    let rows = state.app().list_organization_invitations(&owner, before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.id.to_string(), Invitation::from)))
}

/// Invites somebody to a team. The answer is the same whether somebody has that e-mail or not.
#[utoipa::path(post, path = "/api/v1/organizations/{org}/invitations", tag = "organizations", params(OrganizationAt), request_body = TeamInvitationWish, responses((status = 201, body = MadeInvitation), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationAt>,
    Json(wished): Json<TeamInvitationWish>,
) -> Result<(StatusCode, Json<MadeInvitation>), ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    let team: TeamName =
        wished.team.parse().map_err(|error: slipway_model::InvalidName| ApiError::new(Code::Invalid, error.to_string()).field("team"))?;
    let made = state.app().invite_to_team(&owner, &team, &wish(wished.email, wished.expires_in)).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revokes an invitation to a team.
#[utoipa::path(delete, path = "/api/v1/organizations/{org}/invitations/{id}", tag = "organizations", params(OrganizationInvitationAt), responses((status = 204), Errors))]
pub(crate) async fn revoke(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<OrganizationInvitationAt>,
) -> Result<StatusCode, ApiError> {
    let owner = state.app().organization_owner(&caller, &at.org).await?;
    state.app().revoke_organization_invitation(&owner, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invitations to the installation that wait, newest first.
#[utoipa::path(get, path = "/api/v1/admin/invitations", tag = "administration", params(Paging), responses((status = 200, body = List<Invitation>), Errors))]
pub(crate) async fn list_all(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Invitation>>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let (limit, before) = (paging.limit()?, paging.after::<InvitationId>()?);
    let rows = state.app().list_invitations(&administrator, before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.id.to_string(), Invitation::from)))
}

/// Invites somebody to make an account.
#[utoipa::path(post, path = "/api/v1/admin/invitations", tag = "administration", request_body = AccountInvitationWish, responses((status = 201, body = MadeInvitation), Errors))]
pub(crate) async fn invite(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wished): Json<AccountInvitationWish>,
) -> Result<(StatusCode, Json<MadeInvitation>), ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let made = state.app().invite(&administrator, &wish(wished.email, wished.expires_in)).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revokes an invitation to the installation.
#[utoipa::path(delete, path = "/api/v1/admin/invitations/{id}", tag = "administration", params(InvitationAt), responses((status = 204), Errors))]
pub(crate) async fn revoke_any(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<InvitationAt>,
) -> Result<StatusCode, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    state.app().revoke_invitation(&administrator, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an invitation leads to. Whoever has its address may look; no credential is needed.
#[utoipa::path(get, path = "/api/v1/invitations/{token}", tag = "account", security(), params(InvitationTokenAt), responses((status = 200, body = Invited), Errors))]
pub(crate) async fn look(
    State(state): State<WebState>,
    _counted: Option<ApiCaller>,
    Path(at): Path<InvitationTokenAt>,
) -> Result<Json<Invited>, ApiError> {
    Ok(Json(state.app().invitation(&at.token).await?.into()))
}

/// Accepts an invitation: the caller joins the team; without a credential a new account is made first, and signed in by cookie.
#[utoipa::path(post, path = "/api/v1/invitations/{token}/accept", tag = "account", security((), ("token" = [])), params(InvitationTokenAt), request_body = Acceptance, responses((status = 200, body = Me), (status = 201, body = Me), Errors))]
pub(crate) async fn accept(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(at): Path<InvitationTokenAt>,
    Client(client): Client,
    Json(wish): Json<Acceptance>,
) -> Result<Response, ApiError> {
    let refused = |field: &str, detail: &str| ApiError::new(Code::Invalid, detail).field(field);
    if let Some(ApiCaller(caller)) = caller {
        if wish.name.is_some() || wish.password.is_some() {
            return Err(refused("name", "the request has a credential, so no account is made, but `name` or `password` was given"));
        }
        state.app().accept_invitation(&at.token, &caller).await?;
        return Ok(Json(Me::from(caller.account())).into_response());
    }
    // An unknown invitation is told first, as it is when somebody only looks.
    state.app().invitation(&at.token).await?;
    let name = wish.name.ok_or_else(|| refused("name", "`name` is missing: the name of the account that is made"))?;
    let password = wish.password.ok_or_else(|| refused("password", "`password` is missing: that of the account that is made"))?;
    let sign_in = state.app().accept_invitation_with_account(&at.token, &name, &password, &client).await?;
    let cookie = session_cookie(&state, &sign_in);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(Me::from(&sign_in.account))).into_response())
}
