//! The person behind the token, and workspaces as that person sees them.
//! Invariant: a workspace that the person has nothing to do with is not there.

use axum::http::StatusCode;
use serde_json::json;

use super::Call;
use super::filter::{Filter, sort};
use super::reply::{ApiError, ApiResult, Reply};
use crate::bitbucket::state::{State, Workspace};
use crate::bitbucket::types::{Permission, WorkspaceRole};

pub(super) fn current(call: &Call) -> ApiResult {
    let uuid = call.caller.signed_in()?;
    let state = call.inner.state();
    let person = state.people.get(uuid).ok_or_else(ApiError::bad_token)?;
    Ok(Reply::ok(call.inner.urls().current_person(person)))
}

/// Members, and people who were invited to one of its repositories.
fn accessible(state: &State, workspace: &Workspace, person: &str) -> bool {
    workspace.members.contains_key(person)
        || state.repos.values().any(|repo| {
            repo.workspace == workspace.uuid && repo.permissions.get(person).is_some_and(|permission| *permission > Permission::None)
        })
}

pub(super) fn workspaces(call: &Call) -> ApiResult {
    let person = call.caller.signed_in()?;
    let filter = Filter::of(&call.query)?;
    let state = call.inner.state();
    let administrator = call.query.get("administrator").and_then(|text| text.parse::<bool>().ok());
    let mut list: Vec<_> = state
        .workspaces
        .values()
        .filter(|workspace| accessible(&state, workspace, person))
        .map(|workspace| (workspace, workspace.members.get(person) == Some(&WorkspaceRole::Owner)))
        .filter(|(_, administrates)| administrator.is_none_or(|wanted| wanted == *administrates))
        .map(|(workspace, administrates)| {
            json!({ "type": "workspace_access", "administrator": administrates, "workspace": call.inner.urls().workspace_base(workspace) })
        })
        .filter(|one| filter.keeps(&one["workspace"]))
        .collect();
    list.sort_by(|left, right| left["workspace"]["slug"].as_str().cmp(&right["workspace"]["slug"].as_str()));
    sort(&call.query, &mut list, |one| &one["workspace"]);
    call.query.page_of(&call.url, list)
}

fn own_workspace<'a>(call: &Call, state: &'a State, id: &str) -> Result<&'a Workspace, ApiError> {
    let person = call.caller.signed_in()?;
    let found = state.workspace(id).filter(|workspace| accessible(state, workspace, person));
    found.ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, "You do not have access to this workspace."))
}

pub(super) fn workspace_permission(call: &Call, id: &str) -> ApiResult {
    let state = call.inner.state();
    let workspace = own_workspace(call, &state, id)?;
    let person = call.caller.signed_in()?;
    let role = match workspace.members.get(person) {
        Some(WorkspaceRole::Owner) => "owner",
        Some(WorkspaceRole::Collaborator) => "collaborator",
        Some(WorkspaceRole::Member) | None => "member",
    };
    Ok(Reply::ok(json!({
        "type": "workspace_membership", "permission": role,
        "user": state.people.get(person).map(|person| call.inner.urls().person(person)),
        "workspace": call.inner.urls().workspace(workspace),
    })))
}

pub(super) fn workspace(call: &Call, id: &str) -> ApiResult {
    let state = call.inner.state();
    let missing = || ApiError::not_found(format!("No workspace with identifier '{id}'."));
    let found = state.workspace(id).ok_or_else(missing)?;
    let public = state.repos.values().any(|repo| repo.workspace == found.uuid && !repo.private);
    match public || call.caller.person().is_some_and(|person| accessible(&state, found, person)) {
        true => Ok(Reply::ok(call.inner.urls().workspace(found))),
        false => Err(missing()),
    }
}

/// Repositories of a workspace in which the person was given something; being public does not count.
pub(super) fn permissions(call: &Call, id: &str) -> ApiResult {
    let filter = Filter::of(&call.query)?;
    let state = call.inner.state();
    let workspace = own_workspace(call, &state, id)?;
    let person = state.people.get(call.caller.signed_in()?).ok_or_else(ApiError::bad_token)?;
    let mut list = Vec::new();
    for repo in state.repos.values().filter(|repo| repo.workspace == workspace.uuid) {
        let permission = match state.explicit_permission(repo, &person.uuid) {
            Permission::None => continue,
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Admin => "admin",
        };
        let small = json!({
            "permission": permission,
            "repository": { "name": repo.name, "full_name": state.full_name(repo), "uuid": repo.uuid },
        });
        if filter.keeps(&small) {
            list.push((small, repo));
        }
    }
    sort(&call.query, &mut list, |(small, _)| small);
    let page = call.query.page()?;
    let shown = list[page.range(list.len())]
        .iter()
        .map(|(small, repo)| {
            json!({
                "type": "repository_permission", "permission": small["permission"],
                "user": call.inner.urls().person(person), "repository": call.inner.urls().repository_short(&state, repo),
            })
        })
        .collect();
    call.query.paged(&call.url, &page, list.len(), shown)
}
