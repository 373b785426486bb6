//! Repositories that change at the provider: renamed, transferred, deleted, made private or public, archived, another
//! default branch, and accounts with very many of them.
//! Invariant: the id of a repository never changes and is never used again; hooks that listen to `repository` hear of
//! everything but a deletion, as at GitHub.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use super::git::GitData;
use super::state::{AccountKind, Repo, State};
use super::types::Visibility;
use super::{FakeGitHub, Inner, git};

/// The branch that a repository starts with unless a script says otherwise.
pub(crate) const DEFAULT_BRANCH: &str = "main";

impl State {
    /// Adds a repository whose git folder is made when it is first needed.
    pub(crate) fn new_repository(&mut self, owner: u64, name: &str, visibility: Visibility, root: &std::path::Path) -> u64 {
        // Larger than 32 bits, so that a too narrow id type is found out.
        let (id, now) = (5_000_000_000 + self.next_id(), self.now_ms());
        let repo = Repo {
            id,
            owner,
            name: name.to_owned(),
            description: None,
            visibility,
            default_branch: DEFAULT_BRANCH.to_owned(),
            created_ms: now,
            pushed_ms: now,
            collaborators: std::collections::BTreeMap::new(),
            hooks: Vec::new(),
            keys: Vec::new(),
            statuses: Vec::new(),
            pulls: Vec::new(),
            is_fork: false,
            archived: false,
            blocked: None,
            git: GitData { folder: root.join(format!("{id}.git")), like: None, branch: DEFAULT_BRANCH.to_owned(), lock: Arc::default() },
            refs: Arc::default(),
        };
        self.repos.insert(id, repo);
        self.forget_redirect(id);
        id
    }
}

impl State {
    /// A name that is in use leads nowhere else any more, now and after it is free again.
    fn forget_redirect(&mut self, id: u64) {
        let name = self.repos.get(&id).map(|repo| self.full_name(repo).to_lowercase());
        self.old_names.remove(&name.unwrap_or_default());
    }
}

impl Inner {
    /// Tells the hooks of a repository what happened to it.
    fn tell_repository(self: &Arc<Self>, id: u64, action: &str, changes: Option<Value>) {
        let payload = {
            let state = self.state();
            let Some(repo) = state.repos.get(&id) else { return };
            let owner = state.accounts.get(&repo.owner);
            let mut body = json!({
                "action": action, "repository": self.urls().repository(&state, repo, None),
                "sender": owner.map(|owner| self.urls().simple_user(owner)),
            });
            if let Some(changes) = changes {
                body["changes"] = changes;
            }
            if let (Some(_), Some(owner)) = (state.organization(repo.owner), owner) {
                body["organization"] = self.urls().organization(owner);
            }
            body
        };
        self.emit(id, "repository", &payload);
    }
}

impl FakeGitHub {
    /// Adds `count` empty private repositories `owner/many-00000` and so on; their git folders are made when they are
    /// first pushed to. Returns their ids.
    pub fn add_many_repositories(&self, owner: &str, count: usize) -> Vec<u64> {
        let owner = self.account_id(owner);
        let root = self.inner.folder.path().to_owned();
        let mut state = self.inner.state();
        (0..count).map(|number| state.new_repository(owner, &format!("many-{number:05}"), Visibility::Private, &root)).collect()
    }

    /// `add_many_repositories` that all begin with the branches and tags of another repository; its git data is copied
    /// when one of them is first pushed to or cloned.
    pub fn add_many_repositories_like(&self, owner: &str, count: usize, template: &str) -> Vec<u64> {
        let (like, refs, branch) =
            self.with_repo(template, |repo| (repo.git.folder.clone(), Arc::clone(&repo.refs), repo.git.branch.clone()));
        let ids = self.add_many_repositories(owner, count);
        let mut state = self.inner.state();
        for id in &ids {
            if let Some(repo) = state.repos.get_mut(id) {
                (repo.git.like, repo.refs) = (Some(like.clone()), Arc::clone(&refs));
                (repo.git.branch, repo.default_branch) = (branch.clone(), branch.clone());
            }
        }
        ids
    }

    /// Renames a repository within its owner; the old name redirects.
    pub fn rename_repository(&self, full_name: &str, new_name: &str) {
        let (id, old) = self.with_repo(full_name, |repo| (repo.id, std::mem::replace(&mut repo.name, new_name.to_owned())));
        {
            let mut state = self.inner.state();
            state.old_names.insert(full_name.to_lowercase(), id);
            state.forget_redirect(id);
        }
        self.inner.tell_repository(id, "renamed", Some(json!({ "repository": { "name": { "from": old } } })));
    }

    /// Moves a repository to another owner; the old name redirects. Collaborators, keys and hooks move with it.
    pub fn transfer_repository(&self, full_name: &str, new_owner: &str) {
        let owner = self.account_id(new_owner);
        let (id, old) = self.with_repo(full_name, |repo| (repo.id, std::mem::replace(&mut repo.owner, owner)));
        let changes = {
            let mut state = self.inner.state();
            state.old_names.insert(full_name.to_lowercase(), id);
            state.forget_redirect(id);
            let old = state.accounts.get(&old);
            let from = old.map(|old| match old.kind {
                AccountKind::User(_) => json!({ "user": self.inner.urls().simple_user(old) }),
                AccountKind::Organization(_) => json!({ "organization": self.inner.urls().organization(old) }),
            });
            json!({ "owner": { "from": from } })
        };
        self.inner.tell_repository(id, "transferred", Some(changes));
    }

    /// Renames a user or an organization: the old names of all of its repositories redirect.
    pub fn rename_account(&self, login: &str, new_login: &str) {
        let id = self.account_id(login);
        let mut state = self.inner.state();
        let moved: Vec<(String, u64)> = state
            .repos
            .values()
            .filter(|repo| repo.owner == id)
            .map(|repo| (format!("{login}/{}", repo.name).to_lowercase(), repo.id))
            .collect();
        state.old_names.extend(moved);
        if let Some(account) = state.accounts.get_mut(&id) {
            account.login = new_login.to_owned();
        }
    }

    /// Deletes a repository; its hooks are told nothing. The name may be used again, by a repository with a new id.
    pub fn delete_repository(&self, full_name: &str) {
        let id = self.repository_id(full_name);
        let mut state = self.inner.state();
        state.repos.remove(&id);
        state.old_names.retain(|_, target| *target != id);
    }

    /// Makes a repository public or private.
    pub fn set_visibility(&self, full_name: &str, visibility: Visibility) {
        let id = self.with_repo(full_name, |repo| {
            repo.visibility = visibility;
            repo.id
        });
        let action = match visibility {
            Visibility::Public => "publicized",
            Visibility::Private => "privatized",
        };
        self.inner.tell_repository(id, action, None);
    }

    /// Archives a repository: everything in it can only be read.
    pub fn archive_repository(&self, full_name: &str) {
        let id = self.with_repo(full_name, |repo| {
            repo.archived = true;
            repo.id
        });
        self.inner.tell_repository(id, "archived", None);
    }

    /// Makes another branch the default one; there is no push event about it.
    pub async fn set_default_branch(&self, full_name: &str, branch: &str) -> Result<()> {
        let (id, old, data) =
            self.with_repo(full_name, |repo| (repo.id, std::mem::replace(&mut repo.default_branch, branch.to_owned()), repo.git.clone()));
        let _no_push_meanwhile = data.lock.lock().await;
        data.ready().await?;
        git::git(&data.folder, &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], b"").await?;
        self.inner.tell_repository(id, "edited", Some(json!({ "default_branch": { "from": old } })));
        Ok(())
    }
}
