//! Lists of repositories and single ones.
//! Invariant: a list never shows what `GET /repos/{owner}/{repo}` would refuse.

use axum::http::StatusCode;

use super::Call;
use super::reply::{ApiError, ApiResult, Reply};
use crate::github::access::Need;
use crate::github::state::{Repo, State};
use crate::github::types::Visibility;

/// Repositories that the caller may see and `wanted` picks, in the order that the query asks for.
pub(super) fn listed<'a>(call: &Call, state: &'a State, wanted: impl Fn(&Repo) -> bool) -> Vec<&'a Repo> {
    let mut found: Vec<&Repo> =
        state.repos.values().filter(|repo| wanted(repo) && state.check(repo, &call.caller, Need::Read).is_ok()).collect();
    let sort = call.query.get("sort").unwrap_or("full_name");
    match sort {
        "created" => found.sort_by_key(|repo| repo.created_ms),
        "pushed" | "updated" => found.sort_by_key(|repo| repo.pushed_ms),
        _ => found.sort_by_cached_key(|repo| state.full_name(repo).to_lowercase()),
    }
    let usual = if sort == "full_name" { "asc" } else { "desc" };
    if call.query.get("direction").unwrap_or(usual) == "desc" {
        found.reverse();
    }
    found
}

/// One page of a list of repositories. Organizations that want SAML of this token are missing from it, and the header says
/// which.
fn page(call: &Call, state: &State, list: Vec<&Repo>) -> ApiResult {
    let reply = call.query.page(&call.url, list, |repo| call.inner.urls().repository(state, repo, call.caller.user()));
    Ok(reply.partial(&state.without_sso(&call.caller)))
}

fn visibility_matches(call: &Call, repo: &Repo) -> bool {
    match call.query.get("visibility").or_else(|| call.query.get("type")) {
        Some("public") => repo.visibility == Visibility::Public,
        Some("private") => repo.visibility == Visibility::Private,
        _ => true,
    }
}

/// `GET /user/repos`: by default what one owns, collaborates on or reaches as a member.
pub(super) fn of_caller(call: &Call) -> ApiResult {
    let user = call.signed_in()?;
    let affiliation = call.query.get("affiliation").unwrap_or("owner,collaborator,organization_member");
    let wants = |word: &str| affiliation.split(',').any(|one| one.trim() == word);
    if !affiliation.split(',').all(|one| ["owner", "collaborator", "organization_member"].contains(&one.trim())) {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed"));
    }
    let state = call.inner.state();
    let list = listed(call, &state, |repo| {
        let member = state.organization(repo.owner).is_some_and(|organization| organization.members.contains_key(&user));
        visibility_matches(call, repo)
            && ((wants("owner") && repo.owner == user)
                || (wants("collaborator") && repo.collaborators.contains_key(&user))
                || (wants("organization_member") && member))
    });
    page(call, &state, list)
}

/// `GET /orgs/{org}/repos` and `GET /users/{username}/repos`; the latter shows public ones only.
pub(super) fn of_account(call: &Call, login: &str) -> ApiResult {
    let state = call.inner.state();
    let account = state.account(login).ok_or_else(ApiError::not_found)?;
    let organization = state.organization(account.id).is_some();
    if call.url.contains("/orgs/") && !organization {
        return Err(ApiError::not_found());
    }
    state.organization_gates(account.id, &call.caller)?;
    let list = listed(call, &state, |repo| {
        repo.owner == account.id && visibility_matches(call, repo) && (organization || repo.visibility == Visibility::Public)
    });
    page(call, &state, list)
}

pub(super) fn one(call: &Call, id: u64) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let state = call.inner.state();
    let repo = state.repos.get(&target.id).ok_or_else(ApiError::not_found)?;
    Ok(Reply::ok(call.inner.urls().full_repository(&state, repo, call.caller.user())))
}
