//! From a change of refs to `push`, `create` and `delete` events, with the bodies that GitHub sends.
//! Invariant: an event is made only from what git says before and after; nothing is taken from the pusher's words.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use super::Inner;
use super::api::views::Urls;
use super::git::{self, CommitInfo, GitData, RefChange, RefValue, ZERO, changes};
use super::state::State;

/// GitHub lists at most so many commits in one event.
const COMMITS_IN_EVENT: usize = 2048;
/// GitHub makes no event for tags when more than three are pushed at once.
const TAGS_IN_PUSH: usize = 3;

/// The changes that GitHub tells hooks about.
fn announced(changes: Vec<RefChange>) -> Vec<RefChange> {
    let is_tag = |change: &RefChange| change.name.starts_with("refs/tags/");
    let tags = changes.iter().filter(|change| is_tag(change)).count();
    changes.into_iter().filter(|change| !is_tag(change) || tags <= TAGS_IN_PUSH).collect()
}

/// What git says about a change: read before the state is locked.
struct PushFacts {
    commits: Vec<CommitInfo>,
    head: Option<CommitInfo>,
    forced: bool,
    base_ref: Option<String>,
}

async fn facts(folder: &Path, change: &RefChange, before: &[RefValue], after: &[RefValue]) -> Result<PushFacts> {
    let Some(new) = &change.after else {
        return Ok(PushFacts { commits: Vec::new(), head: None, forced: false, base_ref: None });
    };
    let is_branch = change.name.starts_with("refs/heads/");
    let head = match new.kind.as_str() {
        "commit" | "tag" => Some(git::commit(folder, &new.commit).await?),
        _ => None,
    };
    let (commits, forced) = match &change.before {
        _ if !is_branch => (Vec::new(), change.before.is_some()),
        Some(old) => {
            let range = format!("{}..{}", old.object, new.object);
            let ancestor = ["merge-base", "--is-ancestor", &old.object, &new.object];
            let forced = !git::succeeds(folder, &ancestor).await?;
            (git::log(folder, &[&range], COMMITS_IN_EVENT).await?, forced)
        }
        None => {
            // A new branch shows the commits that no branch had before it.
            let mut range = vec![new.object.clone(), "--not".to_owned()];
            let known = before.iter().filter(|one| one.name.starts_with("refs/heads/"));
            range.extend(known.map(|one| one.object.clone()));
            let range: Vec<&str> = range.iter().map(String::as_str).collect();
            (git::log(folder, &range, COMMITS_IN_EVENT).await?, false)
        }
    };
    let base_ref = match change.before {
        Some(_) => None,
        None => after
            .iter()
            .find(|one| one.name != change.name && one.name.starts_with("refs/heads/") && one.commit == new.commit)
            .map(|one| one.name.clone()),
    };
    Ok(PushFacts { commits, head, forced, base_ref })
}

fn commit_json(state: &State, urls: &Urls, full_name: &str, commit: &CommitInfo) -> Value {
    let person = |signature: &git::Signature| {
        let username = state
            .accounts
            .values()
            .find(|account| state.user(account.id).is_some_and(|user| user.email == signature.email))
            .map(|account| account.login.clone());
        let mut value = json!({ "name": signature.name, "email": signature.email });
        if let Some(username) = username {
            value["username"] = json!(username);
        }
        value
    };
    let files = |letter: char| -> Vec<&String> {
        commit.files.iter().filter(|(status, _)| *status == letter || (letter == 'M' && *status == 'T')).map(|(_, path)| path).collect()
    };
    json!({
        "id": commit.sha, "tree_id": commit.tree, "distinct": true, "message": commit.message,
        "timestamp": commit.committer.date, "url": format!("{}/{full_name}/commit/{}", urls.web, commit.sha),
        "author": person(&commit.author), "committer": person(&commit.committer),
        "added": files('A'), "removed": files('D'), "modified": files('M'),
    })
}

/// Body of a `push` event (GitHub docs, "Webhook events and payloads": push).
fn payload(state: &State, urls: &Urls, repo: u64, pusher: u64, change: &RefChange, facts: &PushFacts) -> Option<Value> {
    let repo = state.repos.get(&repo)?;
    let sender = state.accounts.get(&pusher)?;
    let full_name = state.full_name(repo);
    let object = |value: &Option<RefValue>| value.as_ref().map_or_else(|| ZERO.to_owned(), |one| one.object.clone());
    let (before, after) = (object(&change.before), object(&change.after));
    let short = change.name.splitn(3, '/').nth(2).unwrap_or_default();
    let compare = match change.before {
        Some(_) => format!("{}...{}", &before[..12], &after[..12]),
        None => short.to_owned(),
    };
    let commits: Vec<Value> = facts.commits.iter().map(|commit| commit_json(state, urls, &full_name, commit)).collect();
    let mut body = json!({
        "ref": change.name, "before": before, "after": after,
        "repository": urls.pushed_repository(state, repo),
        "pusher": { "name": sender.login, "email": state.user(pusher).map(|user| user.email.clone()) },
        "sender": urls.simple_user(sender),
        "created": change.before.is_none(), "deleted": change.after.is_none(), "forced": facts.forced,
        "base_ref": facts.base_ref,
        "compare": format!("{}/{full_name}/compare/{compare}", urls.web),
        "commits": commits,
        "head_commit": facts.head.as_ref().map(|commit| commit_json(state, urls, &full_name, commit)),
    });
    if state.organization(repo.owner).is_some() {
        body["organization"] = state.accounts.get(&repo.owner).map(|owner| urls.organization(owner))?;
    }
    Some(body)
}

/// Event name and body of the `create` or `delete` event that goes with a new or removed ref.
fn ref_event(state: &State, urls: &Urls, repo: u64, pusher: u64, change: &RefChange) -> Option<(&'static str, Value)> {
    let event = match (&change.before, &change.after) {
        (None, Some(_)) => "create",
        (Some(_), None) => "delete",
        _ => return None,
    };
    let repo = state.repos.get(&repo)?;
    let short = change.name.splitn(3, '/').nth(2)?;
    let kind = if change.name.starts_with("refs/tags/") { "tag" } else { "branch" };
    let mut body = json!({
        "ref": short, "ref_type": kind, "pusher_type": "user",
        "repository": urls.repository(state, repo, None),
        "sender": urls.simple_user(state.accounts.get(&pusher)?),
    });
    if event == "create" {
        body["master_branch"] = json!(repo.default_branch);
        body["description"] = json!(repo.description);
    }
    Some((event, body))
}

/// Whose change of which repository.
pub(super) struct PushBy {
    pub(super) repo: u64,
    pub(super) pusher: u64,
    pub(super) git: GitData,
}

impl PushBy {
    /// Makes the git folder if nobody needed it before.
    pub(super) async fn make_ready(&self) -> Result<()> {
        let _one_at_a_time = self.git.lock.lock().await;
        self.git.ready().await
    }
}

impl Inner {
    /// Runs something that changes refs and tells the hooks what changed.
    pub(super) async fn recording_push<T>(self: &Arc<Self>, by: &PushBy, change: impl Future<Output = Result<T>>) -> Result<T> {
        let _one_push_at_a_time = by.git.lock.lock().await;
        by.git.ready().await?;
        let before = git::refs(&by.git.folder).await?;
        let done = change.await;
        let after = git::refs(&by.git.folder).await?;
        let mut found = changes(&before, &after);
        if !found.is_empty() {
            let mut state = self.state();
            let now = state.now_ms();
            if let Some(repo) = state.repos.get_mut(&by.repo) {
                repo.pushed_ms = now;
                repo.refs = Arc::new(after.clone());
            }
        }
        let moved = found.clone();
        found = announced(found);
        for change in &found {
            let facts = facts(&by.git.folder, change, &before, &after).await?;
            let (body, extra) = {
                let state = self.state();
                (
                    payload(&state, self.urls(), by.repo, by.pusher, change, &facts),
                    ref_event(&state, self.urls(), by.repo, by.pusher, change),
                )
            };
            if let Some(body) = body {
                self.emit(by.repo, "push", &body);
            }
            if let Some((event, body)) = extra {
                self.emit(by.repo, event, &body);
            }
        }
        self.move_pulls(by.repo, &moved).await?;
        done
    }
}
