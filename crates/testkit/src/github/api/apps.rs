//! Routes of GitHub Apps: as the App itself (JSON web token), as an installation, and as a person through the App.
//! Invariant: a token is never wider than its installation; a suspended installation is listed and gives no token.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, hooks, repos, views};
use crate::github::access::Caller;
use crate::github::apps::Installation;
use crate::github::state::{HookOf, State};
use crate::github::types::Permission;

fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

/// `/app/...`, for which only a JSON web token will do.
pub(super) fn as_app(call: &Call, rest: &[&str]) -> ApiResult {
    let Caller::App(client_id) = &call.caller else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded"));
    };
    match (&call.parts.method, rest) {
        (&Method::GET, []) => {
            let state = call.inner.state();
            let (app, side) = state.github_app(client_id).ok_or_else(ApiError::not_found)?;
            Ok(Reply::ok(call.inner.urls().integration(&state, app, side)))
        }
        (&Method::GET, ["installations"]) => {
            let state = call.inner.state();
            let list = state.installations.values().filter(|one| one.app == *client_id).collect();
            Ok(call.query.page(&call.url, list, |row| call.inner.urls().installation(&state, row)))
        }
        (&Method::GET, ["installations", id]) => shown(call, number(id)?, client_id),
        (&Method::DELETE, ["installations", id]) => {
            let id = number(id)?;
            shown(call, id, client_id)?;
            call.inner.tell_installation(id, "deleted");
            let mut state = call.inner.state();
            state.installations.remove(&id);
            state.installation_tokens.retain(|token| token.installation != id);
            Ok(Reply::no_content())
        }
        (&Method::POST, ["installations", id, "access_tokens"]) => new_token(call, number(id)?, client_id),
        (&Method::GET, ["hook", "config"]) => {
            let mut state = call.inner.state();
            let row = state.hook_mut(&HookOf::App(client_id.clone())).ok_or_else(ApiError::not_found)?;
            Ok(Reply::ok(views::hook_config(row)))
        }
        (&Method::GET, ["hook", "deliveries"]) => {
            let deliveries = call.inner.state().hook_mut(&HookOf::App(client_id.clone())).map(|row| row.deliveries.clone());
            hooks::delivery_page(call, deliveries.ok_or_else(ApiError::not_found)?)
        }
        (&Method::GET, ["hook", "deliveries", id]) => {
            let id = number(id)?;
            let mut state = call.inner.state();
            let row = state.hook_mut(&HookOf::App(client_id.clone())).ok_or_else(ApiError::not_found)?;
            let delivery = row.deliveries.iter().find(|one| one.id == id).ok_or_else(ApiError::not_found)?;
            Ok(Reply::ok(views::delivery(&row.public.url, delivery)))
        }
        (&Method::POST, ["hook", "deliveries", id, "attempts"]) => {
            call.inner.redeliver(HookOf::App(client_id.clone()), number(id)?).ok_or_else(ApiError::not_found)?;
            Ok(Reply::with(StatusCode::ACCEPTED, serde_json::json!({})))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn find<'a>(state: &'a State, id: u64, client_id: &str) -> Result<&'a Installation, ApiError> {
    state.installations.get(&id).filter(|one| one.app == client_id).ok_or_else(ApiError::not_found)
}

fn shown(call: &Call, id: u64, client_id: &str) -> ApiResult {
    let state = call.inner.state();
    Ok(Reply::ok(call.inner.urls().installation(&state, find(&state, id, client_id)?)))
}

/// The repositories that a new token is narrowed to: by id, by name, or none named.
fn narrowed(call: &Call, state: &State, id: u64) -> Result<Option<BTreeSet<u64>>, ApiError> {
    let reachable = state.installed_repositories(id);
    let list = |name: &str| call.body.get(name).and_then(Value::as_array).cloned();
    let (ids, names) = (list("repository_ids"), list("repositories"));
    if ids.is_none() && names.is_none() {
        return Ok(None);
    }
    let missing = || {
        let why = "There is at least one repository that does not exist or is not accessible to the parent installation.";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    };
    let mut wanted = BTreeSet::new();
    for one in ids.into_iter().flatten() {
        wanted.insert(one.as_u64().filter(|id| reachable.contains(id)).ok_or_else(missing)?);
    }
    for name in names.into_iter().flatten() {
        let found = reachable.iter().filter_map(|id| state.repos.get(id)).find(|repo| name == repo.name.as_str());
        wanted.insert(found.ok_or_else(missing)?.id);
    }
    Ok(Some(wanted))
}

fn new_token(call: &Call, id: u64, client_id: &str) -> ApiResult {
    let mut state = call.inner.state();
    let row = find(&state, id, client_id)?;
    if row.suspended.is_some() {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "This installation has been suspended"));
    }
    let mut permissions = row.permissions.clone();
    if let Some(asked) = call.body.get("permissions").and_then(Value::as_object) {
        let asked: BTreeMap<String, String> =
            asked.iter().filter_map(|(name, level)| Some((name.clone(), level.as_str()?.to_owned()))).collect();
        let granted = |name: &String, level: &String| {
            permissions.get(name).is_some_and(|granted| granted == level || (granted == "write" && level == "read"))
        };
        if !asked.iter().all(|(name, level)| granted(name, level)) {
            let why = "The permissions requested are not granted to this installation.";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why));
        }
        permissions = asked;
        permissions.insert("metadata".to_owned(), "read".to_owned());
    }
    let repositories = narrowed(call, &state, id)?;
    let token = state.issue_installation_token(id, repositories, permissions).ok_or_else(ApiError::not_found)?;
    Ok(Reply::created(call.inner.urls().installation_token(&state, &token)))
}

/// `/installation/...`, with a token of an installation.
pub(super) fn as_installation(call: &Call, rest: &[&str]) -> ApiResult {
    let Caller::Installation(token) = &call.caller else {
        let why = "You must authenticate with an installation access token in order to list repositories for an installation.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, why));
    };
    let mut state = call.inner.state();
    match (&call.parts.method, rest) {
        (&Method::GET, ["repositories"]) => {
            let list = repos::listed(call, &state, |repo| token.reaches(&state, repo));
            Ok(call.query.page_in(&call.url, "repositories", list, |repo| call.inner.urls().repository(&state, repo, None)))
        }
        (&Method::DELETE, ["token"]) => {
            state.installation_tokens.retain(|one| one.value != token.value);
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::not_found()),
    }
}

/// `/user/installations/...`, with a person's token of the App: what the person and the App both reach.
pub(super) fn as_user(call: &Call, rest: &[&str]) -> ApiResult {
    let user = call.signed_in()?;
    let app = call.caller.app().filter(|app| call.inner.state().is_github_app(app));
    let app = app.ok_or_else(|| {
        let why = "You must authenticate with an access token authorized to a GitHub App in order to list installations";
        ApiError::new(StatusCode::FORBIDDEN, why)
    })?;
    let state = call.inner.state();
    let member =
        |account: u64| account == user || state.organization(account).is_some_and(|organization| organization.members.contains_key(&user));
    let sees = |row: &Installation| {
        let reaches_some = || state.repos.values().any(|repo| row.covers(repo) && state.permission(repo, user) > Permission::Read);
        row.app == app && (member(row.account) || reaches_some())
    };
    match rest {
        [] => {
            let list = state.installations.values().filter(|row| sees(row)).collect();
            Ok(call.query.page_in(&call.url, "installations", list, |row| call.inner.urls().installation(&state, row)))
        }
        [id, "repositories"] => {
            let row = find(&state, number(id)?, app)?;
            if !sees(row) {
                return Err(ApiError::not_found());
            }
            let list = repos::listed(call, &state, |repo| row.covers(repo));
            let view = |repo| call.inner.urls().repository(&state, repo, Some(user));
            Ok(call.query.page_in(&call.url, "repositories", list, view))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn installed(call: &Call, wanted: impl Fn(&State, &Installation) -> bool) -> ApiResult {
    let Caller::App(client_id) = &call.caller else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded"));
    };
    let state = call.inner.state();
    let found = state.installations.values().find(|row| row.app == *client_id && wanted(&state, row));
    Ok(Reply::ok(call.inner.urls().installation(&state, found.ok_or_else(ApiError::not_found)?)))
}

/// `GET /users/{login}/installation` and `GET /orgs/{login}/installation`.
pub(super) fn of_account(call: &Call, login: &str) -> ApiResult {
    installed(call, |state, row| state.login(row.account).eq_ignore_ascii_case(login))
}

/// `GET /repos/{owner}/{repo}/installation`.
pub(super) fn of_repository(call: &Call, id: u64) -> ApiResult {
    installed(call, |state, row| state.repos.get(&id).is_some_and(|repo| row.covers(repo)))
}
