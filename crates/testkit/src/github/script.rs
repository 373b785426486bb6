//! What test scripts do at the provider: accounts, repositories, commits, and looking at what came of them.
//! Invariant: a commit made here takes the same way as one pushed over HTTP: real git, then events from the refs.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::git::{self, NewCommit};
use super::push::PushBy;
use super::state::{Account, AccountKind, HookOf, Organization, Rate, Repo, User, random_hex};
use super::tokens::{App, NewToken};
use super::types::{
    CommitStatus, Delivery, DeployKeyPolicy, File, Hook, OAuthApp, OrgRole, Permission, RequestSeen, TokenLife, Visibility,
};
use super::{FakeGitHub, webhooks};

/// Requests an hour of one user.
const RATE_LIMIT: u64 = 5000;

/// The password of a user that `FakeGitHub::user` made.
pub fn user_password(login: &str) -> String {
    format!("{login}-password")
}

impl FakeGitHub {
    fn add_account(&self, login: &str, kind: AccountKind) {
        let mut state = self.inner.state();
        assert!(state.account(login).is_none(), "the login `{login}` is taken");
        let (id, created_ms) = (state.next_id(), state.now_ms());
        state.accounts.insert(id, Account { id, login: login.to_owned(), kind, created_ms });
    }

    /// Adds a person; the password is `user_password(login)`, the e-mail `login@users.example`.
    pub fn user(&self, login: &str) {
        self.user_with_password(login, &user_password(login));
    }

    /// Adds a person with a password of your own.
    pub fn user_with_password(&self, login: &str, password: &str) {
        let rate = Rate { limit: RATE_LIMIT, used: 0, reset_s: 0 };
        let user =
            User { password: password.to_owned(), name: login.to_owned(), email: format!("{login}@users.example"), suspended: false, rate };
        self.add_account(login, AccountKind::User(user));
    }

    /// Adds an organization; members read its repositories, admins administrate them.
    pub fn organization(&self, login: &str, members: &[(&str, OrgRole)]) {
        let members = members.iter().map(|(member, role)| (self.account_id(member), *role)).collect();
        let organization = Organization {
            members,
            base_permission: Permission::Read,
            restricted: false,
            app_access: std::collections::BTreeMap::new(),
            deploy_keys: DeployKeyPolicy::Allowed,
            saml: false,
            addresses_limited: false,
        };
        self.add_account(login, AccountKind::Organization(organization));
    }

    /// Numeric id of a user or an organization; panics when there is none, which is a mistake of the script.
    pub fn account_id(&self, login: &str) -> u64 {
        let state = self.inner.state();
        state.account(login).unwrap_or_else(|| panic!("no account `{login}`")).id
    }

    /// Registers an OAuth app; `redirect_uri` values must start with `callback`.
    pub fn oauth_app(&self, name: &str, callback: &str) -> Result<OAuthApp> {
        let callback = callback.parse().with_context(|| format!("`{callback}` is no address"))?;
        let mut state = self.inner.state();
        let client_secret = state.new_secret("", 20);
        let app = OAuthApp { client_id: format!("Ov23li{}", random_hex(7)), client_secret };
        let (name, life, created_ms) = (name.to_owned(), TokenLife::Unlimited, state.now_ms());
        let row = App { public: app.clone(), name, callback, life, created_ms, github_app: None };
        state.apps.insert(app.client_id.clone(), row);
        Ok(app)
    }

    /// Makes an empty repository `owner/name` whose default branch is `main`; returns its numeric id.
    pub async fn repository(&self, full_name: &str, visibility: Visibility) -> Result<u64> {
        self.repository_with_branch(full_name, visibility, "main").await
    }

    /// Makes an empty repository with a default branch of your own.
    pub async fn repository_with_branch(&self, full_name: &str, visibility: Visibility, branch: &str) -> Result<u64> {
        let (owner, name) = full_name.split_once('/').context("a repository is `owner/name`")?;
        let owner = self.account_id(owner);
        let root = self.inner.folder.path().to_owned();
        let id = self.inner.state().new_repository(owner, name, visibility, &root);
        let data = self.with_repo(full_name, |repo| {
            (repo.default_branch, repo.git.branch) = (branch.to_owned(), branch.to_owned());
            repo.git.clone()
        });
        data.ready().await?;
        Ok(id)
    }

    /// Gives a person a right on a repository; `Permission::None` takes it away.
    pub fn collaborator(&self, repo: &str, login: &str, permission: Permission) {
        let user = self.account_id(login);
        self.with_repo(repo, |repo| {
            repo.collaborators.retain(|id, _| *id != user);
            if permission != Permission::None {
                repo.collaborators.insert(user, permission);
            }
        });
    }

    pub(super) fn with_repo<T>(&self, full_name: &str, act: impl FnOnce(&mut Repo) -> T) -> T {
        let mut state = self.inner.state();
        let id = full_name
            .split_once('/')
            .and_then(|(owner, name)| state.repo(owner, name))
            .unwrap_or_else(|| panic!("no repository `{full_name}`"))
            .id;
        act(state.repos.get_mut(&id).expect("the id was just found"))
    }

    /// Numeric id of a repository; panics when there is none, which is a mistake of the script.
    pub fn repository_id(&self, full_name: &str) -> u64 {
        self.with_repo(full_name, |repo| repo.id)
    }

    /// The address for `git clone`, without credentials.
    pub fn clone_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.web_url())
    }

    /// A personal access token, for a person's own `git push`.
    pub fn personal_token(&self, login: &str, scopes: &[&str]) -> String {
        let user = self.account_id(login);
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.inner.state().issue_token(NewToken { user, app: None, scopes, life: TokenLife::Unlimited }).value
    }

    /// Live OAuth tokens of a person for an app, oldest first.
    pub fn oauth_tokens(&self, login: &str, client_id: &str) -> Vec<String> {
        let user = self.account_id(login);
        let state = self.inner.state();
        let now = state.now_ms();
        state
            .tokens
            .iter()
            .filter(|token| token.user == user && token.app.as_deref() == Some(client_id) && token.lives(now))
            .map(|token| token.value.clone())
            .collect()
    }

    fn push_by(&self, full_name: &str, pusher: Option<&str>) -> PushBy {
        let pusher = pusher.map(|login| self.account_id(login));
        self.with_repo(full_name, |repo| PushBy { repo: repo.id, pusher: pusher.unwrap_or(repo.owner), git: repo.git.clone() })
    }

    /// Commits text files on top of a branch (a new branch starts at the default branch's head) and returns the commit id.
    pub async fn commit(&self, repo: &str, branch: &str, files: &[(&str, &str)], message: &str) -> Result<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        self.commit_files(repo, branch, &files, message).await
    }

    /// `commit` with executable files, links and deletions.
    pub async fn commit_files(&self, repo: &str, branch: &str, files: &[(&str, File<'_>)], message: &str) -> Result<String> {
        let by = self.push_by(repo, None);
        let folder = by.git.folder.clone();
        let default = self.with_repo(repo, |repo| repo.default_branch.clone());
        let change = async {
            let parent = match git::resolve(&folder, &format!("refs/heads/{branch}")).await? {
                Some(head) => Some(head),
                None => git::resolve(&folder, &format!("refs/heads/{default}")).await?,
            };
            self.new_commit(&folder, branch, parent, files, message).await
        };
        self.inner.recording_push(&by, change).await
    }

    /// Replaces a branch by a commit on top of `parent` (none: a new root): a forced push.
    pub async fn force_commit(
        &self,
        repo: &str,
        branch: &str,
        parent: Option<&str>,
        files: &[(&str, &str)],
        message: &str,
    ) -> Result<String> {
        let by = self.push_by(repo, None);
        let folder = by.git.folder.clone();
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, File::Text(text))).collect();
        let change = self.new_commit(&folder, branch, parent.map(str::to_owned), &files, message);
        self.inner.recording_push(&by, change).await
    }

    async fn new_commit(
        &self,
        folder: &std::path::Path,
        branch: &str,
        parent: Option<String>,
        files: &[(&str, File<'_>)],
        message: &str,
    ) -> Result<String> {
        let at_s = self.inner.state().now_ms() / 1000;
        let new = NewCommit { branch, parent, files, message, name: "Octo Cat", email: "octo@users.example", at_s };
        git::make_commit(folder, &new).await
    }

    /// Points a ref (`refs/heads/...`, `refs/tags/...`) at an object, by real git, and tells the hooks.
    pub async fn update_ref(&self, repo: &str, name: &str, object: &str) -> Result<()> {
        self.update_refs(repo, &[(name, object)]).await
    }

    /// Several refs in one push: more than three tags at once make no events.
    pub async fn update_refs(&self, repo: &str, refs: &[(&str, &str)]) -> Result<()> {
        let by = self.push_by(repo, None);
        let folder = by.git.folder.clone();
        let mut commands = String::new();
        for (name, object) in refs {
            commands.push_str(&format!("update {name}\0{object}\0\0"));
        }
        let change = async {
            git::git(&folder, &["update-ref", "-z", "--stdin"], commands.as_bytes()).await?;
            Ok(())
        };
        self.inner.recording_push(&by, change).await
    }

    /// Pushes a lightweight tag.
    pub async fn tag(&self, repo: &str, tag: &str, commit: &str) -> Result<()> {
        self.update_ref(repo, &format!("refs/tags/{tag}"), commit).await
    }

    /// Pushes an annotated tag and returns the id of the tag object, which is what the event calls `after`.
    pub async fn annotated_tag(&self, repo: &str, tag: &str, commit: &str, message: &str) -> Result<String> {
        let by = self.push_by(repo, None);
        by.make_ready().await?;
        let folder = by.git.folder;
        let at_s = self.inner.state().now_ms() / 1000;
        let text = format!("object {commit}\ntype commit\ntag {tag}\ntagger Octo Cat <octo@users.example> {at_s} +0000\n\n{message}\n");
        let object = git::git(&folder, &["mktag"], text.as_bytes()).await?.trim().to_owned();
        self.update_ref(repo, &format!("refs/tags/{tag}"), &object).await?;
        Ok(object)
    }

    /// Deletes a branch or tag (`refs/...`).
    pub async fn delete_ref(&self, repo: &str, name: &str) -> Result<()> {
        let by = self.push_by(repo, None);
        let folder = by.git.folder.clone();
        let change = async {
            git::git(&folder, &["update-ref", "-d", name], b"").await?;
            Ok(())
        };
        self.inner.recording_push(&by, change).await
    }

    /// The object that a ref (`refs/...`) names now.
    pub async fn ref_head(&self, repo: &str, name: &str) -> Result<Option<String>> {
        let refs = self.with_repo(repo, |repo| Arc::clone(&repo.refs));
        Ok(refs.iter().find(|one| one.name == name).map(|one| one.object.clone()))
    }

    /// The hooks of a repository, with their secrets.
    pub fn hooks(&self, repo: &str) -> Vec<Hook> {
        self.with_repo(repo, |repo| repo.hooks.iter().map(|row| row.public.clone()).collect())
    }

    /// Puts a hook on a repository as its owner would by hand; GitHub's limits hold.
    pub fn add_hook(&self, repo: &str, hook: Hook) -> Result<u64> {
        let id = self.repository_id(repo);
        let mut state = self.inner.state();
        webhooks::add_hook(&mut state, id, hook, None).map_err(anyhow::Error::msg)
    }

    /// Changes a hook as a person would by hand: deactivates it, gives it another address or secret.
    pub fn edit_hook(&self, repo: &str, hook: u64, edit: impl FnOnce(&mut Hook)) {
        let row = self.with_repo(repo, |repo| repo.hooks.iter_mut().find(|row| row.public.id == hook).map(|row| edit(&mut row.public)));
        assert!(row.is_some(), "no hook `{hook}` on `{repo}`");
    }

    /// Deletes a hook as the repository's owner would by hand.
    pub fn delete_hook(&self, repo: &str, hook: u64) {
        self.with_repo(repo, |repo| repo.hooks.retain(|row| row.public.id != hook));
    }

    /// Every request to the repository's hooks, oldest first.
    pub fn deliveries(&self, repo: &str) -> Vec<Delivery> {
        let mut all: Vec<Delivery> = self.with_repo(repo, |repo| repo.hooks.iter().flat_map(|row| row.deliveries.clone()).collect());
        all.sort_by_key(|delivery| delivery.id);
        all
    }

    /// Sends a delivery once more: same GUID, same payload, and waits for the answer.
    pub async fn redeliver(&self, repo: &str, delivery: u64) -> Result<()> {
        let id = self.repository_id(repo);
        let hook = self.deliveries(repo).into_iter().find(|one| one.id == delivery);
        let Some(hook) = hook else { bail!("no delivery `{delivery}`") };
        self.inner.redeliver(HookOf::Repository(id, hook.hook_id), delivery).context("hook and delivery stand")?;
        self.settle().await;
        Ok(())
    }

    /// Commit statuses of a commit, oldest first.
    pub fn statuses(&self, repo: &str, sha: &str) -> Vec<CommitStatus> {
        self.with_repo(repo, |repo| repo.statuses.iter().filter(|status| status.sha == sha).cloned().collect())
    }

    /// Every request that was answered, oldest first (the last ten thousand).
    pub fn requests(&self) -> Vec<RequestSeen> {
        self.inner.state().requests.iter().cloned().collect()
    }

    /// How many requests were answered since the start.
    pub fn count_requests(&self) -> usize {
        self.inner.state().requests_ever
    }

    /// Requests in whose address a secret stood: a token, a refresh token or an app's secret that this provider gave out,
    /// or the secret of a hook.
    pub fn secrets_in_addresses(&self) -> Vec<RequestSeen> {
        let state = self.inner.state();
        let hooks = state.repos.values().flat_map(|repo| repo.hooks.iter().filter_map(|row| row.public.secret.as_deref()));
        // A secret of a few letters would be found in any word.
        let secrets: Vec<&str> = state.secrets.iter().map(String::as_str).chain(hooks).filter(|secret| secret.len() >= 8).collect();
        let leaks = |one: &&RequestSeen| {
            let address = one.address();
            secrets.iter().any(|secret| address.contains(secret))
        };
        state.requests.iter().filter(leaks).cloned().collect()
    }
}
