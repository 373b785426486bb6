//! Bodies of webhooks: `repo:push`, `repo:updated`, `pullrequest:*`.
//! Source: recorded payloads. Invariant: a payload is made only from the state and from what git said before and after.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::api::views::{Urls, merge};
use super::state::{PullRequest, Repo, State, date};
use crate::provider::git::{self, CommitInfo, RefChange, RefValue, TagInfo};

/// Bitbucket lists at most so many commits of one change.
const COMMITS_IN_CHANGE: usize = 5;

/// What git says about a change: read before the state is locked.
pub(crate) struct ChangeFacts {
    commits: Vec<CommitInfo>,
    old: Option<CommitInfo>,
    new: Option<CommitInfo>,
    tag: Option<TagInfo>,
    forced: bool,
}

pub(crate) async fn facts(folder: &Path, change: &RefChange, before: &[RefValue]) -> Result<ChangeFacts> {
    let commit = async |value: &Option<RefValue>| match value {
        Some(value) => git::commit(folder, &value.commit).await.map(Some),
        None => Ok(None),
    };
    let (old, new) = (commit(&change.before).await?, commit(&change.after).await?);
    let is_branch = change.name.starts_with("refs/heads/");
    let mut range: Vec<String> = new.iter().map(|new| new.sha.clone()).collect();
    match &old {
        Some(old) => range.push(format!("^{}", old.sha)),
        // A new branch shows the commits that no branch had before it.
        None => range.extend(before.iter().filter(|one| one.name.starts_with("refs/heads/")).map(|one| format!("^{}", one.commit))),
    }
    let commits = if is_branch && new.is_some() {
        let range: Vec<&str> = range.iter().map(String::as_str).collect();
        git::log(folder, &range, COMMITS_IN_CHANGE + 1).await?
    } else {
        Vec::new()
    };
    let forced = match (&old, &new) {
        (Some(old), Some(new)) => !git::succeeds(folder, &["merge-base", "--is-ancestor", &old.sha, &new.sha]).await?,
        _ => false,
    };
    let tag = git::annotated_tags(folder).await?.remove(&change.name);
    Ok(ChangeFacts { commits, old, new, tag, forced })
}

fn change_json(state: &State, urls: &Urls, repo: &Repo, change: &RefChange, facts: &ChangeFacts) -> Value {
    let full_name = state.full_name(repo);
    let side = |commit: &Option<CommitInfo>, tag| commit.as_ref().map(|commit| urls.reference(state, repo, &change.name, commit, tag));
    let mut value = json!({
        "old": side(&facts.old, None), "new": side(&facts.new, facts.tag.as_ref()),
        "created": facts.old.is_none(), "closed": facts.new.is_none(), "forced": facts.forced,
        "truncated": facts.commits.len() > COMMITS_IN_CHANGE,
    });
    let Some(new) = &facts.new else { return value };
    let own = urls.repository_api(&full_name);
    let exclude = facts.old.as_ref().map_or_else(String::new, |old| format!("&exclude={}", old.sha));
    value["links"] = json!({ "commits": { "href": format!("{own}/commits?include={}{exclude}", new.sha) } });
    if let Some(old) = &facts.old {
        let span = format!("{}..{}", new.sha, old.sha);
        value["links"]["diff"] = json!({ "href": format!("{own}/diff/{span}") });
        value["links"]["html"] = json!({ "href": format!("{}/{full_name}/branches/compare/{span}", urls.web) });
    }
    if change.name.starts_with("refs/heads/") {
        // Newest first, as recorded.
        let commits = facts.commits.iter().rev().take(COMMITS_IN_CHANGE);
        value["commits"] = commits.map(|commit| urls.commit(state, &full_name, commit)).collect();
    }
    value
}

/// What every event has.
fn event(state: &State, urls: &Urls, repo: &Repo, actor: &str) -> Value {
    let mut repository = urls.repository_short(state, repo);
    let full = urls.repository(state, repo, None);
    for name in ["scm", "website", "owner", "workspace", "project", "is_private"] {
        repository[name] = full[name].clone();
    }
    json!({ "actor": state.people.get(actor).map(|person| urls.person(person)), "repository": repository })
}

pub(crate) fn push(state: &State, urls: &Urls, repo: &Repo, actor: &str, changes: &[(RefChange, ChangeFacts)]) -> Value {
    let mut body = event(state, urls, repo, actor);
    let changes: Vec<Value> = changes.iter().map(|(change, facts)| change_json(state, urls, repo, change, facts)).collect();
    body["push"] = json!({ "changes": changes });
    body
}

/// A renamed repository: names and addresses before and after.
pub(crate) fn renamed(state: &State, urls: &Urls, repo: &Repo, actor: &str, old: &RenamedFrom) -> Value {
    let mut body = event(state, urls, repo, actor);
    let full_name = state.full_name(repo);
    let links = |full_name: &str| {
        json!({
            "self": { "href": urls.repository_api(full_name) }, "html": { "href": format!("{}/{full_name}", urls.web) },
            "avatar": { "href": format!("{}/ravatar/{}?ts=default", urls.web, super::api::views::encoded(&repo.uuid)) },
        })
    };
    body["changes"] = json!({
        "name": { "old": old.name, "new": repo.name },
        "full_name": { "old": old.full_name, "new": full_name },
        "links": { "old": links(&old.full_name), "new": links(&full_name) },
    });
    body
}

/// What a repository was called.
pub(crate) struct RenamedFrom {
    pub(crate) name: String,
    pub(crate) full_name: String,
}

/// Heads of a pull request's branches, as far as they stand.
pub(crate) struct Heads {
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
}

impl Heads {
    /// Where the branches stand among the repository's refs. Of a fork it is where the branch stood when the pull request was opened.
    pub(crate) fn of(pull: &PullRequest, refs: &[RefValue]) -> Self {
        let head = |branch: &str| refs.iter().find(|one| one.name == format!("refs/heads/{branch}")).map(|one| one.commit.clone());
        let source = if pull.source_repo.is_some() { pull.source_head.clone() } else { head(&pull.source) };
        Self { source, destination: head(&pull.destination) }
    }
}

/// The body of an event of a pull request.
pub(crate) fn pull_request(state: &State, urls: &Urls, repo: &Repo, actor: &str, pull: &PullRequest, heads: &Heads) -> Value {
    let mut body = event(state, urls, repo, actor);
    merge(&mut body, json!({ "pullrequest": pull_request_view(state, urls, repo, pull, heads) }));
    body
}

/// A pull request, as events and lists show it.
pub(crate) fn pull_request_view(state: &State, urls: &Urls, repo: &Repo, pull: &PullRequest, heads: &Heads) -> Value {
    let full_name = state.full_name(repo);
    let own = format!("{}/pullrequests/{}", urls.repository_api(&full_name), pull.id);
    let side = |branch: &str, head: &Option<String>, repo: Option<&Repo>| {
        let commit = head.as_ref().map(|sha| {
            let short = sha.get(..12).unwrap_or(sha);
            json!({ "type": "commit", "hash": short, "links": { "self": { "href": format!("{}/commit/{short}", urls.repository_api(&full_name)) } } })
        });
        json!({ "branch": { "name": branch }, "commit": commit, "repository": repo.map(|repo| urls.repository_short(state, repo)) })
    };
    // A fork that was deleted is told as `null`.
    let from = pull.source_repo.map_or(Some(repo), |id| state.repos.get(&id));
    json!({
            "type": "pullrequest", "id": pull.id, "title": pull.title, "description": "", "state": pull.state, "reason": "",
            "source": side(&pull.source, &heads.source, from), "destination": side(&pull.destination, &heads.destination, Some(repo)),
            "author": state.people.get(&pull.author).map(|person| urls.person(person)),
            "created_on": date(pull.created_ms), "updated_on": date(pull.updated_ms),
            "merge_commit": null, "closed_by": null, "close_source_branch": false, "comment_count": 0, "task_count": 0,
            "reviewers": [], "participants": [],
            "links": { "self": { "href": own }, "html": { "href": format!("{}/{full_name}/pull-requests/{}", urls.web, pull.id) } },
    })
}
