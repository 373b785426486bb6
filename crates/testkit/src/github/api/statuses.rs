//! Commit statuses.
//! Invariant: the newest status of a context counts; contexts are compared without case.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target, refs};
use crate::github::access::Need;
use crate::github::git;
use crate::github::types::CommitStatus;

/// GitHub REST, "Create a commit status": at most so many for one commit and context.
const STATUSES_OF_CONTEXT: usize = 1000;

fn of_commit(call: &Call, target: &Target, sha: &str) -> Vec<CommitStatus> {
    let state = call.inner.state();
    let all = state.repos.get(&target.id).map(|repo| repo.statuses.as_slice()).unwrap_or_default();
    let mut found: Vec<CommitStatus> = all.iter().filter(|one| one.sha == sha).cloned().collect();
    found.reverse();
    found
}

fn shown(call: &Call, target: &Target, statuses: &[CommitStatus]) -> Vec<Value> {
    let state = call.inner.state();
    let Some(repo) = state.repos.get(&target.id) else { return Vec::new() };
    statuses.iter().map(|one| call.inner.urls().status(&state, repo, one)).collect()
}

pub(super) async fn list(call: &Call, id: u64, name: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let sha = refs::resolve(&target, name).await?;
    let list = shown(call, &target, &of_commit(call, &target, &sha));
    Ok(call.query.page(&call.url, list, |one| one))
}

pub(super) async fn combined(call: &Call, id: u64, name: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let sha = refs::resolve(&target, name).await?;
    let mut latest: Vec<CommitStatus> = Vec::new();
    for status in of_commit(call, &target, &sha) {
        if !latest.iter().any(|one| one.context.eq_ignore_ascii_case(&status.context)) {
            latest.push(status);
        }
    }
    let any = |word: &str| latest.iter().any(|one| one.state == word);
    let state_word = if any("failure") || any("error") {
        "failure"
    } else if latest.is_empty() || any("pending") {
        "pending"
    } else {
        "success"
    };
    let list = shown(call, &target, &latest);
    let state = call.inner.state();
    let repo = state.repos.get(&target.id).ok_or_else(ApiError::not_found)?;
    let urls = call.inner.urls();
    let commit_url = format!("{}/repos/{}/commits/{sha}", urls.api, target.full_name);
    Ok(Reply::ok(json!({
        "state": state_word, "statuses": list, "sha": sha, "total_count": latest.len(),
        "repository": urls.repository(&state, repo, None), "url": format!("{commit_url}/status"), "commit_url": commit_url,
    })))
}

pub(super) async fn create(call: &Call, id: u64, sha: &str) -> ApiResult {
    let target = call.target(id, Need::SetStatus)?;
    let owner = || call.inner.state().repos.get(&id).map_or(0, |repo| repo.owner);
    let creator = call.caller.user().unwrap_or_else(owner);
    let is_id = sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || git::resolve(&target.folder, sha).await?.is_none() {
        let why = format!("No commit found for SHA: {sha}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).map(str::to_owned);
    let state_word = text("state").filter(|word| ["error", "failure", "pending", "success"].contains(&word.as_str()));
    let Some(state_word) = state_word else {
        return Err(ApiError::invalid(vec![
            json!({ "resource": "Status", "field": "state", "code": "custom", "message": "state is not included in the list" }),
        ]));
    };
    let description = text("description");
    if description.as_ref().is_some_and(|words| words.chars().count() > 140) {
        return Err(ApiError::invalid(vec![
            json!({ "resource": "Status", "field": "description", "code": "custom", "message": "description is too long (maximum is 140 characters)" }),
        ]));
    }
    let context = text("context").unwrap_or_else(|| "default".to_owned());
    let same = of_commit(call, &target, sha).iter().filter(|one| one.context.eq_ignore_ascii_case(&context)).count();
    if same >= STATUSES_OF_CONTEXT {
        return Err(ApiError::invalid(vec![
            json!({ "resource": "Status", "code": "custom", "message": "This SHA and context has reached the maximum number of statuses." }),
        ]));
    }
    let mut state = call.inner.state();
    let status = CommitStatus {
        id: state.next_id(),
        sha: sha.to_owned(),
        state: state_word,
        context,
        description,
        target_url: text("target_url"),
        creator,
        created_ms: state.now_ms(),
    };
    state.repos.get_mut(&target.id).ok_or_else(ApiError::not_found)?.statuses.push(status.clone());
    let repo = state.repos.get(&target.id).ok_or_else(ApiError::not_found)?;
    Ok(Reply::created(call.inner.urls().status(&state, repo, &status)))
}
