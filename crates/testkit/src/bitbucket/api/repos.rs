//! Repositories: one, and those of a workspace.
//! Invariant: a list shows nothing that its reader could not open.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Call;
use super::filter::{Filter, sort};
use super::reply::{ApiError, ApiResult, Reply};
use crate::bitbucket::state::{Repo, State, date};
use crate::bitbucket::types::Permission;

pub(super) fn one(call: &Call, id: u64) -> ApiResult {
    let target = call.target(id, Permission::Read)?;
    let view = call.look(&target, |state, repo| {
        let reader = call.caller.person().map(|person| state.nickname(person));
        call.inner.urls().repository(state, repo, reader)
    })?;
    Ok(Reply::ok(view))
}

/// What can be filtered and sorted by; whole views are made for one page only.
fn small(state: &State, repo: &Repo) -> Value {
    json!({
        "name": repo.name, "slug": repo.slug, "full_name": state.full_name(repo), "uuid": repo.uuid, "is_private": repo.private,
        "description": repo.description, "created_on": date(repo.created_ms), "updated_on": date(repo.updated_ms),
    })
}

pub(super) fn of_workspace(call: &Call, id: &str) -> ApiResult {
    let filter = Filter::of(&call.query)?;
    let page = call.query.page()?;
    let state = call.inner.state();
    let workspace = state.workspace(id).ok_or_else(|| ApiError::not_found(format!("No workspace with identifier '{id}'.")))?;
    let person = call.caller.person();
    let explicit = |repo: &Repo| person.map_or(Permission::None, |person| state.explicit_permission(repo, person));
    let personal = workspace.personal_of.as_deref().is_some_and(|owner| Some(owner) == person);
    let wanted = |repo: &Repo| match call.query.get("role") {
        None => Ok(!repo.private || explicit(repo) > Permission::None),
        Some("member") => Ok(explicit(repo) >= Permission::Read),
        Some("contributor") => Ok(explicit(repo) >= Permission::Write),
        Some("admin") => Ok(explicit(repo) >= Permission::Admin),
        Some("owner") => Ok(personal),
        Some(other) => Err(ApiError::new(StatusCode::BAD_REQUEST, format!("Invalid role: {other}"))),
    };
    // Nothing to filter and sort by: of ten thousand repositories only one page is looked at closely.
    let plain = call.query.get("q").is_none() && call.query.get("sort").is_none();
    let mut list = Vec::new();
    for repo in state.repos.values().filter(|repo| repo.workspace == workspace.uuid) {
        if wanted(repo)? {
            let small = if plain { Value::Null } else { small(&state, repo) };
            if filter.keeps(&small) {
                list.push((small, repo));
            }
        }
    }
    sort(&call.query, &mut list, |(small, _)| small);
    let reader = person.map(|person| state.nickname(person));
    let shown = list[page.range(list.len())].iter().map(|(_, repo)| call.inner.urls().repository(&state, repo, reader)).collect();
    call.query.paged(&call.url, &page, list.len(), shown)
}
