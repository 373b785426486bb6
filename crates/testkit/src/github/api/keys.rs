//! Deploy keys of a repository: list, show, add, delete. There is no change of one.
//! Invariant: what GitHub refuses is refused in its words (`keys` decides).

use axum::http::Method;
use serde_json::{Value, json};

use super::Call;
use super::reply::{ApiError, ApiResult, Reply};
use crate::github::access::Need;
use crate::github::keys::KeyRow;
use crate::github::state::{Repo, State, rfc3339};
use crate::github::types::{DeployKey, KeyMaker};

pub(super) fn route(call: &Call, id: u64, rest: &[&str]) -> ApiResult {
    let number = |text: &str| text.parse::<u64>().map_err(|_| ApiError::not_found());
    match (&call.parts.method, rest) {
        (&Method::GET, []) => list(call, id),
        (&Method::POST, []) => create(call, id),
        (&Method::GET, [key]) => show(call, id, number(key)?),
        (&Method::DELETE, [key]) => delete(call, id, number(key)?),
        _ => Err(ApiError::not_found()),
    }
}

fn shown(call: &Call, state: &State, repo: &Repo, row: &KeyRow) -> Value {
    let key = &row.public;
    json!({
        "id": key.id, "key": key.key, "title": key.title, "verified": true, "read_only": key.read_only,
        "url": format!("{}/repos/{}/keys/{}", call.inner.urls().api, state.full_name(repo), key.id),
        "created_at": rfc3339(row.created_ms), "added_by": state.login(row.added_by), "last_used": null,
        "enabled": state.deploy_keys_allowed(repo),
    })
}

fn list(call: &Call, id: u64) -> ApiResult {
    call.target(id, Need::ReadKeys)?;
    let state = call.inner.state();
    let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
    Ok(call.query.page(&call.url, repo.keys.iter().collect(), |row| shown(call, &state, repo, row)))
}

fn show(call: &Call, id: u64, key: u64) -> ApiResult {
    call.target(id, Need::ReadKeys)?;
    let state = call.inner.state();
    let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
    let row = repo.keys.iter().find(|row| row.public.id == key).ok_or_else(ApiError::not_found)?;
    Ok(Reply::ok(shown(call, &state, repo, row)))
}

fn create(call: &Call, id: u64) -> ApiResult {
    call.target(id, Need::WriteKeys)?;
    let text = |name: &str| call.body.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let new = DeployKey {
        id: 0,
        title: text("title"),
        key: text("key"),
        read_only: call.body.get("read_only").and_then(Value::as_bool).unwrap_or(false),
        maker: KeyMaker::Person,
    };
    let added = call.inner.state().add_key(id, &call.caller, new).map_err(|refused| {
        let mut error = json!({ "resource": "PublicKey", "code": "custom", "message": refused.1 });
        if let Some(field) = refused.0 {
            error["field"] = json!(field);
        }
        ApiError::invalid(vec![error])
    })?;
    let reply = show(call, id, added)?;
    let location = reply.body.as_ref().and_then(|body| body["url"].as_str()).unwrap_or_default().to_owned();
    Ok(Reply { status: axum::http::StatusCode::CREATED, ..reply }.header("location", location))
}

fn delete(call: &Call, id: u64, key: u64) -> ApiResult {
    call.target(id, Need::WriteKeys)?;
    let mut state = call.inner.state();
    let repo = state.repos.get_mut(&id).ok_or_else(ApiError::not_found)?;
    let before = repo.keys.len();
    repo.keys.retain(|row| row.public.id != key);
    if repo.keys.len() == before { Err(ApiError::not_found()) } else { Ok(Reply::no_content()) }
}
