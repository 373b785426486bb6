//! Pushes and pull requests by scripts, and what every push tells the hooks.
//! Invariant: a commit made here takes the same way as one pushed over HTTP: real git, then one `repo:push` made from the
//! refs before and after, however many refs changed.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::payloads::{self, Heads};
use super::state::{Folder, PullRequest};
use super::types::{File, PullRequestEnd};
use super::{FakeBitbucket, Inner};
use crate::provider::git::{self, NewCommit, RefChange, RefValue};

/// Whose change of which repository.
pub(super) struct PushBy {
    pub(super) repo: u64,
    /// uuid of the person.
    pub(super) pusher: String,
    pub(super) folder: Folder,
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
}

impl Inner {
    /// Runs something that changes refs and tells the hooks what changed, in one event.
    pub(super) async fn recording_push<T>(self: &Arc<Self>, by: &PushBy, change: impl Future<Output = Result<T>>) -> Result<T> {
        let _one_push_at_a_time = by.lock.lock().await;
        let folder = self.ready(&by.folder).await?;
        let before = git::refs(folder).await?;
        let done = change.await;
        let after = git::refs(folder).await?;
        let changes = git::changes(&before, &after);
        if !changes.is_empty() {
            self.tell(by, folder, &before, &after, changes).await?;
        }
        done
    }

    async fn tell(
        self: &Arc<Self>,
        by: &PushBy,
        folder: &Path,
        before: &[RefValue],
        after: &[RefValue],
        changes: Vec<RefChange>,
    ) -> Result<()> {
        let mut told = Vec::new();
        for change in changes {
            let facts = payloads::facts(folder, &change, before).await?;
            told.push((change, facts));
        }
        let body = {
            let mut state = self.state();
            let now = state.now_ms();
            if let Some(repo) = state.repos.get_mut(&by.repo) {
                repo.updated_ms = now;
                repo.empty = !after.iter().any(|one| one.name.starts_with("refs/heads/"));
            }
            state.repos.get(&by.repo).map(|repo| payloads::push(&state, self.urls(), repo, &by.pusher, &told))
        };
        if let Some(body) = body {
            self.emit(by.repo, "repo:push", &body);
        }
        let comes = |pull: &PullRequest| pull.state == "OPEN" && pull.source_repo.is_none();
        let pushed =
            |pull: &PullRequest| comes(pull) && told.iter().any(|(change, _)| change.name == format!("refs/heads/{}", pull.source));
        let pulls: Vec<u64> = {
            let state = self.state();
            let all = state.repos.get(&by.repo).map(|repo| repo.pull_requests.as_slice()).unwrap_or_default();
            all.iter().filter(|pull| pushed(pull)).map(|pull| pull.id).collect()
        };
        for pull in pulls {
            self.tell_pull_request(by, pull, "pullrequest:updated", after);
        }
        Ok(())
    }

    fn tell_pull_request(self: &Arc<Self>, by: &PushBy, pull: u64, event: &str, refs: &[RefValue]) {
        let body = {
            let state = self.state();
            state.repos.get(&by.repo).and_then(|repo| {
                let pull = repo.pull_requests.iter().find(|one| one.id == pull)?;
                Some(payloads::pull_request(&state, self.urls(), repo, &by.pusher, pull, &Heads::of(pull, refs)))
            })
        };
        if let Some(body) = body {
            self.emit(by.repo, event, &body);
        }
    }
}

impl FakeBitbucket {
    /// A push by an owner of the workspace.
    fn push_by(&self, full_name: &str) -> PushBy {
        let (id, folder, lock) = self.with_repo(full_name, |repo| (repo.id, repo.folder.clone(), Arc::clone(&repo.push_lock)));
        let pusher = self.owner_of(&self.inner.state(), id);
        PushBy { repo: id, pusher, folder, lock }
    }

    /// Commits text files on top of a branch (a new branch starts at the main branch's head), pushes it, and returns the
    /// commit id.
    pub async fn push(&self, repo: &str, branch: &str, files: &[(&str, &str)], message: &str) -> Result<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        self.push_files(repo, branch, &files, message).await
    }

    /// `push` with executable files, links and deletions.
    pub async fn push_files(&self, repo: &str, branch: &str, files: &[(&str, File<'_>)], message: &str) -> Result<String> {
        let by = self.push_by(repo);
        let main = self.with_repo(repo, |repo| repo.main_branch.clone());
        let change = async {
            let folder = &by.folder.path;
            let parent = match git::resolve(folder, &format!("refs/heads/{branch}")).await? {
                Some(head) => Some(head),
                None => git::resolve(folder, &format!("refs/heads/{main}")).await?,
            };
            self.new_commit(&by, branch, parent, files, message).await
        };
        self.inner.recording_push(&by, change).await
    }

    /// Replaces a branch by a commit on top of `parent` (none: a new root): a forced push.
    pub async fn force_push(
        &self,
        repo: &str,
        branch: &str,
        parent: Option<&str>,
        files: &[(&str, &str)],
        message: &str,
    ) -> Result<String> {
        let by = self.push_by(repo);
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        let change = self.new_commit(&by, branch, parent.map(str::to_owned), &files, message);
        self.inner.recording_push(&by, change).await
    }

    async fn new_commit(
        &self,
        by: &PushBy,
        branch: &str,
        parent: Option<String>,
        files: &[(&str, File<'_>)],
        message: &str,
    ) -> Result<String> {
        let (at_s, name, email) = {
            let state = self.inner.state();
            let person = state.people.get(&by.pusher);
            let name = person.map_or("Nobody", |person| person.display_name.as_str()).to_owned();
            let email = person.map_or("nobody@users.example", |person| person.email.as_str()).to_owned();
            (state.now_ms() / 1000, name, email)
        };
        let new = NewCommit { branch, parent, files, message, name: &name, email: &email, at_s };
        git::make_commit(&by.folder.path, &new).await
    }

    /// Points refs (`refs/heads/...`, `refs/tags/...`) at objects in one push, which is one delivery.
    pub async fn push_refs(&self, repo: &str, refs: &[(&str, &str)]) -> Result<()> {
        let by = self.push_by(repo);
        let mut commands = String::new();
        for (name, object) in refs {
            commands.push_str(&format!("update {name}\0{object}\0\0"));
        }
        let change = async {
            git::git(&by.folder.path, &["update-ref", "-z", "--stdin"], commands.as_bytes()).await?;
            Ok(())
        };
        self.inner.recording_push(&by, change).await
    }

    /// Pushes a lightweight tag.
    pub async fn push_tag(&self, repo: &str, tag: &str, commit: &str) -> Result<()> {
        self.push_refs(repo, &[(&format!("refs/tags/{tag}"), commit)]).await
    }

    /// Pushes an annotated tag and returns the id of the tag object; the event names the commit.
    pub async fn push_annotated_tag(&self, repo: &str, tag: &str, commit: &str, message: &str) -> Result<String> {
        let by = self.push_by(repo);
        let folder = self.inner.ready(&by.folder).await?;
        let at_s = self.inner.state().now_ms() / 1000;
        let text = format!("object {commit}\ntype commit\ntag {tag}\ntagger Tagger <tagger@users.example> {at_s} +0000\n\n{message}\n");
        let object = git::git(folder, &["mktag"], text.as_bytes()).await?.trim().to_owned();
        self.push_tag(repo, tag, &object).await?;
        Ok(object)
    }

    /// Deletes a branch or tag (`refs/...`).
    pub async fn delete_ref(&self, repo: &str, name: &str) -> Result<()> {
        let by = self.push_by(repo);
        let change = async {
            git::git(&by.folder.path, &["update-ref", "-d", name], b"").await?;
            Ok(())
        };
        self.inner.recording_push(&by, change).await
    }

    /// A push event without any change, as Bitbucket sends when it lost track of what was pushed (recorded).
    pub fn send_empty_push(&self, repo: &str) {
        let by = self.push_by(repo);
        let body = {
            let state = self.inner.state();
            state.repos.get(&by.repo).map(|repo| payloads::push(&state, self.inner.urls(), repo, &by.pusher, &[]))
        };
        if let Some(body) = body {
            self.inner.emit(by.repo, "repo:push", &body);
        }
    }

    /// The object that a ref (`refs/...`) names now.
    pub async fn ref_head(&self, repo: &str, name: &str) -> Result<Option<String>> {
        let folder = self.with_repo(repo, |repo| repo.folder.clone());
        let refs = git::refs(self.inner.ready(&folder).await?).await?;
        Ok(refs.into_iter().find(|one| one.name == name).map(|one| one.object))
    }

    /// Opens a pull request between two branches of a repository; hooks hear `pullrequest:created`. Returns its number.
    pub async fn open_pull_request(&self, repo: &str, source: &str, destination: &str, title: &str) -> Result<u64> {
        self.open_pull_request_from(repo, (repo, source), destination, title).await
    }

    /// `open_pull_request` of a branch (`from` is its repository and name) that may be in another repository.
    pub async fn open_pull_request_from(&self, repo: &str, from: (&str, &str), destination: &str, title: &str) -> Result<u64> {
        let (from, source) = from;
        let source_head = self.ref_head(from, &format!("refs/heads/{source}")).await?;
        let source_repo = (from != repo).then(|| self.with_repo(from, |repo| repo.id));
        let by = self.push_by(repo);
        let refs = git::refs(self.inner.ready(&by.folder).await?).await?;
        let now = self.inner.state().now_ms();
        let id = self.with_repo(repo, |repo| {
            let id = repo.pull_requests.len() as u64 + 1;
            repo.pull_requests.push(PullRequest {
                id,
                title: title.to_owned(),
                author: by.pusher.clone(),
                source: source.to_owned(),
                source_repo,
                source_head,
                state: "OPEN",
                destination: destination.to_owned(),
                created_ms: now,
                updated_ms: now,
            });
            id
        });
        self.inner.tell_pull_request(&by, id, "pullrequest:created", &refs);
        Ok(id)
    }

    /// Merges a pull request, without the push that goes with it, or declines it; hooks hear `pullrequest:fulfilled` or `:rejected`.
    pub async fn end_pull_request(&self, repo: &str, id: u64, end: PullRequestEnd) -> Result<()> {
        let by = self.push_by(repo);
        let refs = git::refs(self.inner.ready(&by.folder).await?).await?;
        let now = self.inner.state().now_ms();
        let (state, event) = match end {
            PullRequestEnd::Merged => ("MERGED", "pullrequest:fulfilled"),
            PullRequestEnd::Declined => ("DECLINED", "pullrequest:rejected"),
        };
        self.with_repo(repo, |repo| {
            let pull = repo.pull_requests.iter_mut().find(|pull| pull.id == id).unwrap_or_else(|| panic!("no pull request {id}"));
            (pull.state, pull.updated_ms) = (state, now);
        });
        self.inner.tell_pull_request(&by, id, event, &refs);
        Ok(())
    }

    /// Gives a pull request another title; hooks hear `pullrequest:updated`.
    pub async fn retitle_pull_request(&self, repo: &str, id: u64, title: &str) -> Result<()> {
        let by = self.push_by(repo);
        let refs = git::refs(self.inner.ready(&by.folder).await?).await?;
        let now = self.inner.state().now_ms();
        self.with_repo(repo, |repo| {
            let pull = repo.pull_requests.iter_mut().find(|pull| pull.id == id).unwrap_or_else(|| panic!("no pull request {id}"));
            pull.title = title.to_owned();
            pull.updated_ms = now;
        });
        self.inner.tell_pull_request(&by, id, "pullrequest:updated", &refs);
        Ok(())
    }
}
