//! Build statuses of a commit.
//! Invariant: one status for a key; the same key overwrites it.

use axum::http::Method;
use serde_json::Value;

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target, refs, text};
use crate::bitbucket::types::{BuildStatus, Permission};

const MAX_KEY: usize = 40;
const STATES: &[&str] = &["FAILED", "INPROGRESS", "STOPPED", "SUCCESSFUL"];

pub(super) async fn route(call: &Call, id: u64, sha: &str, rest: &[&str]) -> ApiResult {
    let need = if call.method == Method::GET { Permission::Read } else { Permission::Write };
    let target = call.target(id, need)?;
    let sha = refs::resolved(call, &target, sha).await?;
    match (&call.method, rest) {
        (&Method::GET, []) => list(call, &target, &sha),
        (&Method::POST, ["build"]) => set(call, &target, &sha),
        (&Method::GET, ["build", key]) => show(call, &target, &sha, key),
        _ => Err(call.not_served(rest)),
    }
}

fn list(call: &Call, target: &Target, sha: &str) -> ApiResult {
    let refname = call.query.get("refname");
    let all: Vec<Value> = call.look(target, |state, repo| {
        repo.statuses
            .iter()
            .filter(|one| one.sha == sha && refname.is_none_or(|name| one.refname.as_deref() == Some(name)))
            .map(|one| call.inner.urls().build_status(state, repo, one))
            .collect()
    })?;
    call.query.page_of(&call.url, all)
}

fn show(call: &Call, target: &Target, sha: &str, key: &str) -> ApiResult {
    let view = call.look(target, |state, repo| {
        let found = repo.statuses.iter().find(|one| one.sha == sha && one.key == key);
        found.map(|one| call.inner.urls().build_status(state, repo, one))
    })?;
    Ok(Reply::ok(view.ok_or_else(|| ApiError::not_found(format!("Build status {key} not found")))?))
}

fn set(call: &Call, target: &Target, sha: &str) -> ApiResult {
    let body = &call.body;
    let required = |name: &'static str| text(body, name).ok_or_else(|| ApiError::fields(&[(name, "This field is required.")]));
    let (key, state) = (required("key")?, required("state")?);
    if !STATES.contains(&state.as_str()) {
        return Err(ApiError::fields(&[("state", "Invalid state.")]));
    }
    if key.chars().count() > MAX_KEY {
        return Err(ApiError::fields(&[("key", "Ensure this value has at most 40 characters.")]));
    }
    let now = call.inner.state().now_ms();
    call.change(target, |repo| {
        let before = repo.statuses.iter().position(|one| one.sha == sha && one.key == key);
        let created_ms = before.map_or(now, |index| repo.statuses.remove(index).created_ms);
        repo.statuses.push(BuildStatus {
            sha: sha.to_owned(),
            key: key.clone(),
            state,
            name: text(body, "name"),
            description: text(body, "description"),
            url: text(body, "url"),
            refname: text(body, "refname"),
            created_ms,
            updated_ms: now,
        });
    })?;
    let mut reply = show(call, target, sha, &key)?;
    reply.status = axum::http::StatusCode::CREATED;
    Ok(reply)
}
