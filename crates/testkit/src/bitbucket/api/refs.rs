//! Branches, tags and commits, as git says they are at this moment.
//! Invariant: nothing is cached; a list asks git once for all of its page.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::filter::{Filter, sort};
use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target};
use crate::bitbucket::payloads;
use crate::bitbucket::types::Permission;
use crate::provider::git::{self, CommitInfo, RefValue};

/// Refs below some prefixes, in the order of git.
pub(super) async fn list(call: &Call, id: u64, prefixes: &[&str]) -> ApiResult {
    let target = call.target(id, Permission::Read)?;
    let filter = Filter::of(&call.query)?;
    let page = call.query.page()?;
    let folder = call.inner.ready(&target.folder).await?;
    let mut all: Vec<(Value, RefValue)> = git::refs(folder)
        .await?
        .into_iter()
        .filter_map(|one| {
            let short = prefixes.iter().find_map(|prefix| one.name.strip_prefix(prefix))?;
            Some((json!({ "name": short, "target": { "hash": one.commit } }), one))
        })
        .filter(|(small, _)| filter.keeps(small))
        .collect();
    sort(&call.query, &mut all, |(small, _)| small);
    let size = all.len();
    let shown: Vec<RefValue> = all[page.range(size)].iter().map(|(_, one)| one.clone()).collect();
    let values = views(call, &target, &shown).await?;
    call.query.paged(&call.url, &page, size, values)
}

async fn views(call: &Call, target: &Target, shown: &[RefValue]) -> Result<Vec<Value>, ApiError> {
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let folder = &target.folder.path;
    let mut range = vec!["--no-walk", "--end-of-options"];
    range.extend(shown.iter().map(|one| one.commit.as_str()));
    let commits = git::log(folder, &range, shown.len()).await?;
    let tags = git::annotated_tags(folder).await?;
    let commit = |sha: &str| commits.iter().find(|commit: &&CommitInfo| commit.sha == sha);
    call.look(target, |state, repo| {
        let view = |one: &RefValue| Some(call.inner.urls().reference(state, repo, &one.name, commit(&one.commit)?, tags.get(&one.name)));
        shown.iter().filter_map(view).collect()
    })
}

/// One branch (`heads`) or tag (`tags`).
pub(super) async fn one(call: &Call, id: u64, kind: &str, name: &str) -> ApiResult {
    let target = call.target(id, Permission::Read)?;
    let full = format!("refs/{kind}/{name}");
    let folder = call.inner.ready(&target.folder).await?;
    let found = git::refs(folder).await?.into_iter().find(|one| one.name == full);
    let what = if kind == "tags" { "Tag" } else { "Branch" };
    let found = found.ok_or_else(|| ApiError::not_found(format!("{what} {name} does not exist")))?;
    let mut view = views(call, &target, &[found]).await?;
    Ok(Reply::ok(view.pop().ok_or_else(|| ApiError::not_found("Commit not found"))?))
}

/// The API describes a commit as its hash alone, events tell more.
fn as_described(mut pull_request: Value) -> Value {
    for side in ["source", "destination"] {
        let commit = &mut pull_request[side]["commit"];
        *commit = commit.get("hash").map_or(Value::Null, |hash| json!({ "hash": hash }));
    }
    pull_request
}

/// Pull requests in a state, the open ones without one. At most 50 a page.
pub(super) async fn pull_requests(call: &Call, id: u64) -> ApiResult {
    call.caller.require(&["pullrequest"])?;
    let target = call.target(id, Permission::Read)?;
    if call.query.page()?.length > 50 {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Invalid pagelen"));
    }
    let state_wanted = call.query.get("state").unwrap_or("OPEN");
    let refs = git::refs(call.inner.ready(&target.folder).await?).await?;
    let mut all: Vec<(Value, Value)> = call.look(&target, |state, repo| {
        let pulls = repo.pull_requests.iter().filter(|pull| pull.state == state_wanted);
        let view = |pull| {
            let heads = payloads::Heads::of(pull, &refs);
            let body = as_described(payloads::pull_request_view(state, call.inner.urls(), repo, pull, &heads));
            (json!({ "updated_on": body["updated_on"] }), body)
        };
        pulls.map(view).collect()
    })?;
    sort(&call.query, &mut all, |(small, _)| small);
    call.query.page_of(&call.url, all.into_iter().map(|(_, body)| body).collect())
}

/// One pull request, in whatever state.
pub(super) async fn pull_request(call: &Call, id: u64, number: &str) -> ApiResult {
    call.caller.require(&["pullrequest"])?;
    let target = call.target(id, Permission::Read)?;
    let refs = git::refs(call.inner.ready(&target.folder).await?).await?;
    let found = call.look(&target, |state, repo| {
        let pull = repo.pull_requests.iter().find(|pull| pull.id.to_string() == number)?;
        Some(as_described(payloads::pull_request_view(state, call.inner.urls(), repo, pull, &payloads::Heads::of(pull, &refs))))
    })?;
    found.map(Reply::ok).ok_or_else(|| ApiError::not_found("No such pull request"))
}

/// The full id of a commit that the repository has.
pub(super) async fn resolved(call: &Call, target: &Target, sha: &str) -> Result<String, ApiError> {
    let missing = || ApiError::not_found(format!("Commit not found: {sha}"));
    if !(7..=64).contains(&sha.len()) || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let folder = call.inner.ready(&target.folder).await?;
    git::resolve(folder, sha).await?.ok_or_else(missing)
}

/// The newest commit that is in the history of both; without one there is nothing to show.
pub(super) async fn merge_base(call: &Call, id: u64, both: &str) -> ApiResult {
    let target = call.target(id, Permission::Read)?;
    let (one, other) = both.split_once("..").ok_or_else(|| ApiError::not_found("no such range"))?;
    let (one, other) = (resolved(call, &target, one).await?, resolved(call, &target, other).await?);
    let missing = |_| ApiError::not_found("no common ancestor");
    let base = git::git(&target.folder.path, &["merge-base", &one, &other], b"").await.map_err(missing)?;
    commit(call, id, base.trim()).await
}

pub(super) async fn commit(call: &Call, id: u64, sha: &str) -> ApiResult {
    let target = call.target(id, Permission::Read)?;
    let sha = resolved(call, &target, sha).await?;
    let commit = git::commit(&target.folder.path, &sha).await?;
    let view = call.look(&target, |state, repo| {
        let mut view = call.inner.urls().commit(state, &state.full_name(repo), &commit);
        view["repository"] = call.inner.urls().repository_short(state, repo);
        view["participants"] = json!([]);
        view
    })?;
    Ok(Reply::ok(view))
}
