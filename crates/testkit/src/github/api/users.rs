//! `GET /user`, organizations and memberships of the caller.
//! Invariant: `/user/orgs` shows only organizations that let the app in; `/user/memberships/orgs` shows all of them.

use axum::http::StatusCode;
use serde_json::json;

use super::Call;
use super::reply::{ApiError, ApiResult, Reply};
use crate::github::state::{Account, State};
use crate::github::types::{OrgRole, Visibility};

const ORG_SCOPES: &[&str] = &["read:org", "write:org", "admin:org"];

pub(super) fn current(call: &Call) -> ApiResult {
    let id = call.signed_in()?;
    let state = call.inner.state();
    let account = state.accounts.get(&id).ok_or_else(ApiError::not_found)?;
    let view = if call.caller.has_any(&["user", "read:user"]) { Visibility::Private } else { Visibility::Public };
    Ok(Reply::ok(call.inner.urls().user(&state, account, view)))
}

pub(super) fn emails(call: &Call) -> ApiResult {
    let id = call.signed_in()?;
    if !call.is_github_app() && !call.caller.has_any(&["user", "user:email"]) {
        return Err(ApiError::not_found());
    }
    let state = call.inner.state();
    let email = state.user(id).map(|user| user.email.clone());
    Ok(Reply::ok(json!([{ "email": email, "primary": true, "verified": true, "visibility": "private" }])))
}

pub(super) fn by_login(call: &Call, login: &str) -> ApiResult {
    let state = call.inner.state();
    let account = state.account(login).ok_or_else(ApiError::not_found)?;
    Ok(Reply::ok(call.inner.urls().user(&state, account, Visibility::Public)))
}

fn member_of(state: &State, user: u64) -> Vec<(&Account, OrgRole)> {
    state.accounts.values().filter_map(|account| Some((account, *state.organization(account.id)?.members.get(&user)?))).collect()
}

pub(super) fn organizations(call: &Call) -> ApiResult {
    let id = call.signed_in()?;
    if !call.is_github_app() && !call.caller.has_any(ORG_SCOPES) && !call.caller.has_any(&["user"]) {
        let why = "You need at least read:org scope or user scope to list your organizations.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, why));
    }
    let state = call.inner.state();
    let list = member_of(&state, id)
        .into_iter()
        .map(|(account, _)| account)
        .filter(|account| state.organization_gates(account.id, &call.caller).is_ok())
        .collect();
    let reply = call.query.page(&call.url, list, |account| call.inner.urls().organization(account));
    Ok(reply.partial(&state.without_sso(&call.caller)))
}

fn may_see_memberships(call: &Call) -> Result<u64, ApiError> {
    let id = call.signed_in()?;
    if call.is_github_app() || call.caller.has_any(ORG_SCOPES) {
        return Ok(id);
    }
    let why = "You need at least read:org scope to list your organization memberships.";
    Err(ApiError::new(StatusCode::FORBIDDEN, why))
}

pub(super) fn memberships(call: &Call) -> ApiResult {
    let id = may_see_memberships(call)?;
    let state = call.inner.state();
    let user = state.accounts.get(&id).ok_or_else(ApiError::not_found)?;
    let list = match call.query.get("state") {
        Some("pending") => Vec::new(),
        _ => member_of(&state, id),
    };
    Ok(call.query.page(&call.url, list, |(account, role)| call.inner.urls().membership(account, user, role)))
}

pub(super) fn membership(call: &Call, name: &str) -> ApiResult {
    let id = may_see_memberships(call)?;
    let state = call.inner.state();
    let user = state.accounts.get(&id).ok_or_else(ApiError::not_found)?;
    let found = member_of(&state, id).into_iter().find(|(account, _)| account.login.eq_ignore_ascii_case(name));
    let (account, role) = found.ok_or_else(ApiError::not_found)?;
    state.organization_gates(account.id, &call.caller)?;
    Ok(Reply::ok(call.inner.urls().membership(account, user, role)))
}
