//! Branches, tags, refs and commits, as git says they are at this moment.
//! Invariant: refs are what git said after the last push (`push`), commits are asked of git each time; an empty repository
//! answers 409 where GitHub does.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::reply::{ApiError, ApiResult, Reply};
use super::views::encoded;
use super::{Call, Target};
use crate::github::access::Need;
use crate::github::git::{self, CommitInfo, Signature};
use crate::github::state::State;

fn empty() -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "Git Repository is empty.")
}

pub(super) fn branches(call: &Call, id: u64) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let refs = &target.refs;
    let list = refs.iter().filter_map(|one| Some((one.name.strip_prefix("refs/heads/")?, &one.commit))).collect();
    Ok(call.query.page(&call.url, list, |(name, sha)| call.inner.urls().branch(&target.full_name, name, sha)))
}

pub(super) async fn branch(call: &Call, id: u64, name: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let full = format!("refs/heads/{name}");
    let found = target.refs.iter().find(|one| one.name == full);
    let found = found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Branch not found"))?;
    let commit = git::commit(&target.folder, &found.commit).await?;
    let in_url = encoded(name);
    let url = format!("{}/repos/{}/branches/{in_url}", call.inner.urls().api, target.full_name);
    let html = format!("{}/{}/tree/{in_url}", call.inner.urls().web, target.full_name);
    let commit = commit_json(call, &target, &commit);
    Ok(Reply::ok(json!({
        "name": name, "commit": commit, "_links": { "html": html, "self": url }, "protected": false,
        "protection": { "enabled": false, "required_status_checks": { "enforcement_level": "off", "contexts": [], "checks": [] } },
        "protection_url": format!("{url}/protection"),
    })))
}

pub(super) fn tags(call: &Call, id: u64) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let refs = &target.refs;
    let list = refs.iter().rev().filter_map(|one| Some((one.name.strip_prefix("refs/tags/")?, &one.commit))).collect();
    Ok(call.query.page(&call.url, list, |(name, sha)| call.inner.urls().tag(&target.full_name, name, sha)))
}

/// `GET .../pulls`: the open ones, those that changed last first when `sort=updated` and `direction=desc` say so.
pub(super) fn pulls(call: &Call, id: u64) -> ApiResult {
    call.target(id, Need::Read)?;
    let state = call.inner.state();
    let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
    let state_wanted = call.query.get("state").unwrap_or("open");
    let list = state.pulls(call.inner.urls(), repo, state_wanted, call.query.get("sort"), call.query.get("direction"));
    Ok(call.query.page(&call.url, list, |one| one))
}

/// `GET .../pulls/7`: one in whatever state.
pub(super) fn pull(call: &Call, id: u64, number: &str) -> ApiResult {
    call.target(id, Need::Read)?;
    let state = call.inner.state();
    let repo = state.repos.get(&id).ok_or_else(ApiError::not_found)?;
    let number = number.parse().map_err(|_| ApiError::not_found())?;
    state.pull(call.inner.urls(), repo, number).map(Reply::ok).ok_or_else(ApiError::not_found)
}

/// `GET .../git/matching-refs/heads/feat`: every ref that begins with the given text; not paged.
pub(super) fn matching(call: &Call, id: u64, start: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let refs = &target.refs;
    if refs.is_empty() {
        return Err(empty());
    }
    let start = format!("refs/{start}");
    let list: Vec<Value> = refs
        .iter()
        .filter(|one| one.name.starts_with(&start))
        .map(|one| call.inner.urls().git_ref(&target.full_name, &one.name, &one.object, &one.kind))
        .collect();
    Ok(Reply::ok(Value::Array(list)))
}

/// `GET .../git/ref/heads/main`.
pub(super) fn one(call: &Call, id: u64, name: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let refs = &target.refs;
    if refs.is_empty() {
        return Err(empty());
    }
    let name = format!("refs/{name}");
    let found = refs.iter().find(|one| one.name == name).ok_or_else(ApiError::not_found)?;
    Ok(Reply::ok(call.inner.urls().git_ref(&target.full_name, &found.name, &found.object, &found.kind)))
}

/// The commit that a branch, a tag or a full or short commit id means.
pub(super) async fn resolve(target: &Target, name: &str) -> Result<String, ApiError> {
    if target.refs.is_empty() {
        return Err(empty());
    }
    let is_id = (7..=40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut candidates = vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/{name}")];
    if is_id || name == "HEAD" {
        candidates.push(name.to_owned());
    }
    for candidate in candidates {
        if let Some(sha) = git::resolve(&target.folder, &candidate).await? {
            return Ok(sha);
        }
    }
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, format!("No commit found for SHA: {name}")))
}

/// `GET .../commits/{ref}`; with `Accept: application/vnd.github.sha` the id alone.
pub(super) async fn commit(call: &Call, id: u64, name: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let sha = resolve(&target, name).await?;
    let accept = call.parts.headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("vnd.github.sha") || accept.contains("vnd.github.v3.sha") {
        return Ok(Reply::ok(Value::String(sha)));
    }
    let info = git::commit(&target.folder, &sha).await?;
    let lines = git::numstat(&target.folder, &sha).await?;
    let mut body = commit_json(call, &target, &info);
    let files: Vec<Value> = info.files.iter().map(|file| file_json(call, &target, &info, file, &lines)).collect();
    let (added, removed) = lines.iter().fold((0, 0), |sum, line| (sum.0 + line.1, sum.1 + line.2));
    body["stats"] = json!({ "total": added + removed, "additions": added, "deletions": removed });
    body["files"] = Value::Array(files);
    Ok(Reply::ok(body))
}

/// `GET .../compare/BASE...HEAD`: how the head stands to the base. The files are on the first page only, and the fake shows none.
pub(super) async fn compare(call: &Call, id: u64, between: &str) -> ApiResult {
    let target = call.target(id, Need::Read)?;
    let (base, head) = between.split_once("...").ok_or_else(ApiError::not_found)?;
    let find = async |name: &str| resolve(&target, name).await.map_err(|_| ApiError::not_found());
    let (base, head) = (find(base).await?, find(head).await?);
    let common = git::git(&target.folder, &["merge-base", &base, &head], b"").await.map_err(|_| ApiError::not_found())?;
    let common = common.trim().to_owned();
    let range = [format!("{base}..{head}"), format!("{head}..{base}")];
    let mut counts = [0_usize; 2];
    for (count, range) in counts.iter_mut().zip(&range) {
        *count = git::git(&target.folder, &["rev-list", "--count", range], b"").await?.trim().parse().unwrap_or_default();
    }
    let [ahead, behind] = counts;
    let status = match (ahead, behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let commits = git::log(&target.folder, &[&range[0]], 250).await?;
    let commits: Vec<Value> = commits.iter().map(|commit| commit_json(call, &target, commit)).collect();
    let view = async |sha: &str| Ok::<_, ApiError>(commit_json(call, &target, &git::commit(&target.folder, sha).await?));
    let page = call.query.page("", commits, |commit| commit).body.unwrap_or_default();
    let (api, web, name) = (&call.inner.urls().api, &call.inner.urls().web, &target.full_name);
    Ok(Reply::ok(json!({
        "url": format!("{api}/repos/{name}/compare/{between}"), "html_url": format!("{web}/{name}/compare/{between}"),
        "permalink_url": format!("{web}/{name}/compare/{between}"), "diff_url": format!("{web}/{name}/compare/{between}.diff"),
        "patch_url": format!("{web}/{name}/compare/{between}.patch"), "base_commit": view(&base).await?,
        "merge_base_commit": view(&common).await?, "status": status, "ahead_by": ahead, "behind_by": behind, "total_commits": ahead,
        "commits": page, "files": [],
    })))
}

fn file_json(call: &Call, target: &Target, commit: &CommitInfo, file: &(char, String), lines: &[(String, u64, u64)]) -> Value {
    let (letter, path) = file;
    let (added, removed) = lines.iter().find(|line| line.0 == *path).map_or((0, 0), |line| (line.1, line.2));
    let status = match letter {
        'A' => "added",
        'D' => "removed",
        _ => "modified",
    };
    let (web, api, name) = (&call.inner.urls().web, &call.inner.urls().api, &target.full_name);
    let path_in_url = encoded(path);
    json!({
        "sha": git_blob_placeholder(&commit.sha, path), "filename": path, "status": status,
        "additions": added, "deletions": removed, "changes": added + removed,
        "blob_url": format!("{web}/{name}/blob/{}/{path_in_url}", commit.sha),
        "raw_url": format!("{web}/{name}/raw/{}/{path_in_url}", commit.sha),
        "contents_url": format!("{api}/repos/{name}/contents/{path_in_url}?ref={}", commit.sha),
    })
}

/// Forty hex digits in the place of the blob's id, which nobody asks the fake for.
fn git_blob_placeholder(commit: &str, path: &str) -> String {
    super::sha256_hex(format!("{commit}:{path}").as_bytes()).chars().take(40).collect()
}

fn person(state: &State, call: &Call, signature: &Signature) -> Value {
    let found = state.accounts.values().find(|account| state.user(account.id).is_some_and(|user| user.email == signature.email));
    found.map_or(Value::Null, |account| call.inner.urls().simple_user(account))
}

fn commit_json(call: &Call, target: &Target, commit: &CommitInfo) -> Value {
    let state = call.inner.state();
    let (web, api) = (&call.inner.urls().web, format!("{}/repos/{}", call.inner.urls().api, target.full_name));
    let html = format!("{web}/{}/commit", target.full_name);
    let signature = |one: &Signature| json!({ "name": one.name, "email": one.email, "date": one.date });
    let parents: Vec<Value> = commit
        .parents
        .iter()
        .map(|sha| json!({ "sha": sha, "url": format!("{api}/commits/{sha}"), "html_url": format!("{html}/{sha}") }))
        .collect();
    json!({
        "sha": commit.sha, "node_id": format!("C_{}", commit.sha), "url": format!("{api}/commits/{}", commit.sha),
        "html_url": format!("{html}/{}", commit.sha), "comments_url": format!("{api}/commits/{}/comments", commit.sha),
        "commit": {
            "url": format!("{api}/git/commits/{}", commit.sha), "author": signature(&commit.author),
            "committer": signature(&commit.committer), "message": commit.message, "comment_count": 0,
            "tree": { "sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree) },
            "verification": { "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null },
        },
        "author": person(&state, call, &commit.author), "committer": person(&state, call, &commit.committer),
        "parents": parents,
    })
}
