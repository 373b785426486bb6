//! Forks and pull requests: what people do with them, and the `pull_request` events that come of it.
//! Invariant: the head of an open pull request is where its branch stands, kept in the base repository as `refs/pull/N/head` by real git; a
//! fork that is deleted takes the branch with it and leaves that ref. A push to the branch is told by `synchronize` after its `push`.
//! Deliberately absent: the REST API of pull requests but for the list of them (`api::refs`); reviews, labels beyond their event, merge commits.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::api::views::{insert, node_id};
use super::git::{self, RefChange};
use super::state::{Repo, State, rfc3339};
use super::types::Visibility;
use super::{FakeGitHub, Inner};

/// A pull request of the repository that it goes into.
#[derive(Clone)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    id: u64,
    title: String,
    author: u64,
    /// The repository and branch that it comes from.
    head: (u64, String),
    head_sha: String,
    base: String,
    base_sha: String,
    standing: Standing,
    draft: bool,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Closed,
    Merged,
}

/// What happened to a pull request, as its event says it.
enum Happened {
    Plain(&'static str),
    Synchronized { before: String },
    Retargeted { from: String, sha: String },
    Retitled { from: String },
    Labelled,
}

impl State {
    fn side(&self, urls: &super::Urls, repo: Option<&Repo>, branch: &str, sha: &str) -> Value {
        let owner = repo.and_then(|repo| self.accounts.get(&repo.owner));
        json!({
            "label": format!("{}:{branch}", owner.map_or("unknown repository", |owner| owner.login.as_str())),
            "ref": branch, "sha": sha,
            "repo": repo.map(|repo| urls.repository(self, repo, None)),
            "user": owner.map(|owner| urls.simple_user(owner)),
        })
    }

    /// GitHub's word for what the author is to the repository. It is about the person and says nothing about where the commits come from.
    fn association(&self, repo: &Repo, author: u64) -> &'static str {
        match self.organization(repo.owner) {
            _ if repo.owner == author => "OWNER",
            Some(organization) if organization.members.contains_key(&author) => "MEMBER",
            _ if repo.collaborators.contains_key(&author) => "COLLABORATOR",
            _ => "NONE",
        }
    }

    /// `pull-request`, as webhooks carry it.
    fn pull_request(&self, urls: &super::Urls, repo: &Repo, pull: &Pull) -> Option<Value> {
        let full_name = self.full_name(repo);
        let number = pull.number;
        let api = format!("{}/repos/{full_name}", urls.api);
        let (url, html) = (format!("{api}/pulls/{number}"), format!("{}/{full_name}/pull/{number}", urls.web));
        let author = self.accounts.get(&pull.author)?;
        let ended = (pull.standing != Standing::Open).then(|| rfc3339(pull.updated_ms));
        let merged = pull.standing == Standing::Merged;
        let link = |address: String| json!({ "href": address });
        let mut value = json!({
            "url": url, "id": pull.id, "node_id": node_id("PR", pull.id), "html_url": html,
            "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "issue_url": format!("{api}/issues/{number}"),
            "number": number, "state": if pull.standing == Standing::Open { "open" } else { "closed" }, "locked": false,
            "title": pull.title, "user": urls.simple_user(author), "body": null,
            "created_at": rfc3339(pull.created_ms), "updated_at": rfc3339(pull.updated_ms),
            "closed_at": ended, "merged_at": merged.then(|| rfc3339(pull.updated_ms)), "merge_commit_sha": null,
            "assignee": null, "assignees": [], "requested_reviewers": [], "requested_teams": [], "labels": [], "milestone": null,
            "draft": pull.draft,
            "commits_url": format!("{url}/commits"), "review_comments_url": format!("{url}/comments"),
            "review_comment_url": format!("{api}/pulls/comments{{/number}}"), "comments_url": format!("{api}/issues/{number}/comments"),
            "statuses_url": format!("{api}/statuses/{}", pull.head_sha),
            "head": self.side(urls, self.repos.get(&pull.head.0), &pull.head.1, &pull.head_sha),
            "base": self.side(urls, Some(repo), &pull.base, &pull.base_sha),
            "author_association": self.association(repo, pull.author), "auto_merge": null, "active_lock_reason": null,
        });
        insert(
            &mut value,
            json!({
                "_links": {
                    "self": link(url.clone()), "html": link(html), "issue": link(format!("{api}/issues/{number}")),
                    "comments": link(format!("{api}/issues/{number}/comments")), "review_comments": link(format!("{url}/comments")),
                    "review_comment": link(format!("{api}/pulls/comments{{/number}}")), "commits": link(format!("{url}/commits")),
                    "statuses": link(format!("{api}/statuses/{}", pull.head_sha)),
                },
                "merged": merged, "mergeable": null, "rebaseable": null, "mergeable_state": "unknown",
                "merged_by": merged.then(|| self.accounts.get(&repo.owner).map(|owner| urls.simple_user(owner))).flatten(),
                "comments": 0, "review_comments": 0, "maintainer_can_modify": false, "commits": 1, "additions": 1, "deletions": 0,
                "changed_files": 1,
            }),
        );
        Some(value)
    }

    /// `pull-request`, as it is told to who asks for one.
    pub(crate) fn pull(&self, urls: &super::Urls, repo: &Repo, number: u64) -> Option<Value> {
        self.pull_request(urls, repo, repo.pulls.iter().find(|pull| pull.number == number)?)
    }

    /// `pull-request-simple`, as lists carry it.
    pub(crate) fn pulls(&self, urls: &super::Urls, repo: &Repo, state: &str, sort: Option<&str>, direction: Option<&str>) -> Vec<Value> {
        let wanted = |pull: &&Pull| match state {
            "all" => true,
            "closed" => pull.standing != Standing::Open,
            _ => pull.standing == Standing::Open,
        };
        let mut pulls: Vec<&Pull> = repo.pulls.iter().filter(wanted).collect();
        pulls.sort_by_key(|pull| if sort == Some("updated") { pull.updated_ms } else { pull.created_ms });
        // Without `sort` the newest come first.
        if direction.unwrap_or(if sort.is_none() { "desc" } else { "asc" }) == "desc" {
            pulls.reverse();
        }
        let simple = |pull: &Pull| {
            let mut value = self.pull_request(urls, repo, pull)?;
            let whole = ["merged", "mergeable", "rebaseable", "mergeable_state", "merged_by", "comments", "review_comments"];
            let more = ["maintainer_can_modify", "commits", "additions", "deletions", "changed_files"];
            for only_of_one in whole.into_iter().chain(more) {
                value.as_object_mut()?.remove(only_of_one);
            }
            Some(value)
        };
        pulls.into_iter().filter_map(simple).collect()
    }
}

impl Inner {
    fn with_pull<T>(&self, repo: u64, number: u64, act: impl FnOnce(&mut Pull) -> T) -> Option<T> {
        let mut state = self.state();
        let pull = state.repos.get_mut(&repo)?.pulls.iter_mut().find(|pull| pull.number == number)?;
        Some(act(pull))
    }

    fn tell_pull(self: &Arc<Self>, repo: u64, number: u64, happened: &Happened) {
        let payload = {
            let mut state = self.state();
            let now = state.now_ms();
            if let Some(pull) = state.repos.get_mut(&repo).and_then(|repo| repo.pulls.iter_mut().find(|pull| pull.number == number)) {
                pull.updated_ms = now;
            }
            let Some(repo) = state.repos.get(&repo) else { return };
            let Some(pull) = repo.pulls.iter().find(|pull| pull.number == number) else { return };
            let sender = state.accounts.get(&pull.author).map(|author| self.urls().simple_user(author));
            let mut body = json!({
                "number": number, "pull_request": state.pull_request(self.urls(), repo, pull),
                "repository": self.urls().repository(&state, repo, None), "sender": sender,
            });
            body["action"] = match happened {
                Happened::Plain(action) => json!(action),
                Happened::Synchronized { before } => {
                    insert(&mut body, json!({ "before": before, "after": pull.head_sha }));
                    json!("synchronize")
                }
                Happened::Retargeted { from, sha } => {
                    body["changes"] = json!({ "base": { "ref": { "from": from }, "sha": { "from": sha } } });
                    json!("edited")
                }
                Happened::Retitled { from } => {
                    body["changes"] = json!({ "title": { "from": from } });
                    json!("edited")
                }
                Happened::Labelled => {
                    body["label"] = json!({
                        "id": 208_045_946, "node_id": "MDU6TGFiZWwyMDgwNDU5NDY=", "name": "bug", "color": "f29513", "default": true,
                        "description": null, "url": format!("{}/repos/{}/labels/bug", self.urls().api, state.full_name(repo)),
                    });
                    json!("labeled")
                }
            };
            if let (Some(_), Some(owner)) = (state.organization(repo.owner), state.accounts.get(&repo.owner)) {
                body["organization"] = self.urls().organization(owner);
            }
            body
        };
        self.emit(repo, "pull_request", &payload);
    }

    /// Keeps the head of a pull request in the repository that it goes into.
    async fn keep_head(&self, base: &std::path::Path, head: &std::path::Path, number: u64, sha: &str) -> Result<()> {
        let from = head.to_str().context("folders have plain names")?;
        git::git(base, &["fetch", "--quiet", "--no-tags", from, &format!("+{sha}:refs/pull/{number}/head")], b"").await.map(drop)
    }

    /// Moves the open pull requests that come from branches which were pushed.
    pub(super) async fn move_pulls(self: &Arc<Self>, pushed: u64, changes: &[RefChange]) -> Result<()> {
        for change in changes {
            let (Some(branch), Some(after)) = (change.name.strip_prefix("refs/heads/"), &change.after) else { continue };
            let moved: Vec<(u64, u64, std::path::PathBuf, std::path::PathBuf)> = {
                let state = self.state();
                let Some(head) = state.repos.get(&pushed) else { return Ok(()) };
                let comes = |pull: &&Pull| pull.standing == Standing::Open && pull.head == (pushed, branch.to_owned());
                let of = |repo: &Repo| -> Vec<_> {
                    repo.pulls
                        .iter()
                        .filter(comes)
                        .map(|pull| (repo.id, pull.number, repo.git.folder.clone(), head.git.folder.clone()))
                        .collect()
                };
                state.repos.values().flat_map(of).collect()
            };
            for (repo, number, base, head) in moved {
                self.keep_head(&base, &head, number, &after.commit).await?;
                let before = self.with_pull(repo, number, |pull| std::mem::replace(&mut pull.head_sha, after.commit.clone()));
                self.tell_pull(repo, number, &Happened::Synchronized { before: before.context("the pull request stands")? });
            }
        }
        Ok(())
    }
}

impl FakeGitHub {
    /// A person's copy of a repository, `login/name`, with all of its branches and tags; the one that stands, when there is one.
    pub async fn fork(&self, full_name: &str, login: &str) -> Result<String> {
        let (name, visibility, like, branch) =
            self.with_repo(full_name, |repo| (repo.name.clone(), repo.visibility, repo.git.folder.clone(), repo.default_branch.clone()));
        ensure!(visibility == Visibility::Public, "strangers fork what they see");
        let fork = format!("{login}/{name}");
        if self.inner.state().repo(login, &name).is_some() {
            return Ok(fork);
        }
        self.repository_with_branch(&fork, visibility, &branch).await?;
        let data = self.with_repo(&fork, |repo| repo.git.clone());
        let from = like.to_str().context("folders have plain names")?;
        git::git(&data.folder, &["fetch", "--quiet", from, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], b"").await?;
        let refs = git::refs(&data.folder).await?;
        self.with_repo(&fork, |repo| {
            repo.refs = Arc::new(refs);
            repo.is_fork = true;
        });
        Ok(fork)
    }

    /// Opens a pull request of a branch (`head` is the repository and the branch) into a branch of `repo`; gives its number.
    pub async fn open_pull_request(&self, repo: &str, author: &str, head: (&str, &str), base: &str, title: &str) -> Result<u64> {
        let author = self.account_id(author);
        let (from, from_folder, head_sha) = self.with_repo(head.0, |repo| (repo.id, repo.git.folder.clone(), sha_of(repo, head.1)));
        let (base_folder, base_sha, number) =
            self.with_repo(repo, |repo| (repo.git.folder.clone(), sha_of(repo, base), repo.pulls.len() as u64 + 1));
        let head_sha = head_sha.with_context(|| format!("no branch `{}`", head.1))?;
        self.inner.keep_head(&base_folder, &from_folder, number, &head_sha).await?;
        let (id, now) = {
            let mut state = self.inner.state();
            (2_100_000_000 + state.next_id(), state.now_ms())
        };
        let pull = Pull {
            number,
            id,
            title: title.to_owned(),
            author,
            head: (from, head.1.to_owned()),
            head_sha,
            base: base.to_owned(),
            base_sha: base_sha.with_context(|| format!("no branch `{base}`"))?,
            standing: Standing::Open,
            draft: false,
            created_ms: now,
            updated_ms: now,
        };
        let id = self.with_repo(repo, |repo| {
            repo.pulls.push(pull);
            repo.id
        });
        self.inner.tell_pull(id, number, &Happened::Plain("opened"));
        Ok(number)
    }

    fn change_pull(&self, repo: &str, number: u64, happened: impl FnOnce(&mut Pull) -> Happened) {
        let id = self.repository_id(repo);
        let happened = self.inner.with_pull(id, number, happened).unwrap_or_else(|| panic!("no pull request {number} in `{repo}`"));
        self.inner.tell_pull(id, number, &happened);
    }

    /// Closes a pull request without merging it.
    pub fn close_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |pull| {
            pull.standing = Standing::Closed;
            Happened::Plain("closed")
        });
    }

    /// Marks a pull request as merged. The push of the base branch that goes with it is the script's to make.
    pub fn merge_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |pull| {
            pull.standing = Standing::Merged;
            Happened::Plain("closed")
        });
    }

    /// Opens a closed pull request again.
    pub fn reopen_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |pull| {
            pull.standing = Standing::Open;
            Happened::Plain("reopened")
        });
    }

    /// Has a pull request go into another branch.
    pub fn retarget_pull_request(&self, repo: &str, number: u64, base: &str) {
        let sha = self.with_repo(repo, |repo| sha_of(repo, base)).unwrap_or_else(|| panic!("no branch `{base}`"));
        self.change_pull(repo, number, |pull| Happened::Retargeted {
            from: std::mem::replace(&mut pull.base, base.to_owned()),
            sha: std::mem::replace(&mut pull.base_sha, sha),
        });
    }

    /// Gives a pull request another title.
    pub fn retitle_pull_request(&self, repo: &str, number: u64, title: &str) {
        self.change_pull(repo, number, |pull| Happened::Retitled { from: std::mem::replace(&mut pull.title, title.to_owned()) });
    }

    /// Puts a label on a pull request.
    pub fn label_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |_| Happened::Labelled);
    }

    /// Says that a pull request is not ready.
    pub fn draft_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |pull| {
            pull.draft = true;
            Happened::Plain("converted_to_draft")
        });
    }

    /// Says that a draft is ready.
    pub fn ready_pull_request(&self, repo: &str, number: u64) {
        self.change_pull(repo, number, |pull| {
            pull.draft = false;
            Happened::Plain("ready_for_review")
        });
    }
}

fn sha_of(repo: &Repo, branch: &str) -> Option<String> {
    repo.refs.iter().find(|one| one.name.strip_prefix("refs/heads/") == Some(branch)).map(|one| one.commit.clone())
}
