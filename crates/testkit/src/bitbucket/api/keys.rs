//! Deploy keys of a repository: list, add, look at, delete. Read-only by nature.
//! Invariant: a key is on one repository once; who made it through which consumer is kept, because a change of the consumer
//! ends it.

use axum::http::{Method, StatusCode};
use base64::Engine as _;

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target, text};
use crate::bitbucket::state::KeyRow;
use crate::bitbucket::types::{DeployKey, Permission};

/// Kinds of keys that Bitbucket takes.
const KINDS: &[&str] = &["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-dss"];

pub(super) fn route(call: &Call, id: u64, rest: &[&str]) -> ApiResult {
    let target = call.target(id, Permission::Admin)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| missing());
    match (&call.method, rest) {
        (&Method::GET, []) => list(call, &target),
        (&Method::POST, []) => add(call, &target),
        (&Method::GET, [key]) => show(call, &target, number(key)?),
        (&Method::DELETE, [key]) => delete(call, &target, number(key)?),
        _ => Err(call.not_served(rest)),
    }
}

fn missing() -> ApiError {
    ApiError::not_found("Not found")
}

fn list(call: &Call, target: &Target) -> ApiResult {
    let all = call.look(target, |state, repo| repo.keys.iter().map(|row| call.inner.urls().deploy_key(state, repo, row)).collect())?;
    call.query.page_of(&call.url, all)
}

fn show(call: &Call, target: &Target, id: u64) -> ApiResult {
    let view = call.look(target, |state, repo| {
        repo.keys.iter().find(|row| row.public.id == id).map(|row| call.inner.urls().deploy_key(state, repo, row))
    })?;
    Ok(Reply::ok(view.ok_or_else(missing)?))
}

/// Key without comment, and the comment.
fn parsed(text: &str) -> Option<(String, String)> {
    let mut words = text.trim().splitn(3, char::is_whitespace);
    let (kind, blob) = (words.next()?, words.next()?);
    let comment = words.next().unwrap_or_default().trim().to_owned();
    let bytes = base64::engine::general_purpose::STANDARD.decode(blob).ok()?;
    // The blob begins with the length and the name of its own kind.
    let named = bytes.get(4..4 + kind.len()) == Some(kind.as_bytes());
    (KINDS.contains(&kind) && named).then(|| (format!("{kind} {blob}"), comment))
}

fn add(call: &Call, target: &Target) -> ApiResult {
    let given = text(&call.body, "key").ok_or_else(|| ApiError::fields(&[("key", "This field is required.")]))?;
    let (key, comment) = parsed(&given).ok_or_else(|| ApiError::fields(&[("key", "Invalid SSH key.")]))?;
    let mut state = call.inner.state();
    if state.repos.values().flat_map(|repo| &repo.keys).any(|row| row.public.key == key) {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Someone has already registered that SSH key."));
    }
    let (id, created_ms) = (state.next_id(), state.now_ms());
    let label = text(&call.body, "label").unwrap_or_default();
    let public = DeployKey { id, key, label, comment, accepted: true };
    let row = KeyRow { public, made_by: call.caller.consumer().map(str::to_owned), created_ms };
    let repo = state.repos.get(&target.id).ok_or_else(missing)?;
    let view = call.inner.urls().deploy_key(&state, repo, &row);
    state.repos.get_mut(&target.id).ok_or_else(missing)?.keys.push(row);
    Ok(Reply::ok(view))
}

fn delete(call: &Call, target: &Target, id: u64) -> ApiResult {
    let gone = call.change(target, |repo| {
        let before = repo.keys.len();
        repo.keys.retain(|row| row.public.id != id);
        repo.keys.len() < before
    })?;
    if gone { Ok(Reply::no_content()) } else { Err(missing()) }
}
