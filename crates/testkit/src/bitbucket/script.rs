//! What test scripts do at the provider: people, workspaces, repositories, consumers, and looking at what came of them.
//! Invariant: a script that names what is not there panics, because it is a mistake of the test. Pushes stand in `pushes`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::FakeBitbucket;
use super::payloads::{self, RenamedFrom};
use super::state::{AccessToken, ConsumerRow, Folder, HookRow, Person, Repo, Workspace, new_uuid, slugified};
use super::types::{BuildStatus, Consumer, Delivery, DeployKey, Hook, Permission, RequestSeen, Visibility, WorkspaceRole};
use crate::provider::random_hex;

/// Requests of one person in a rolling hour.
const HOURLY_LIMIT: usize = 1000;

/// The password of a person that `FakeBitbucket::add_user` made.
pub fn user_password(nickname: &str) -> String {
    format!("{nickname}-password")
}

impl FakeBitbucket {
    /// Adds a person with a personal workspace of the same name; returns the person's uuid. The password is
    /// `user_password(nickname)`, the e-mail address `nickname@users.example`.
    pub fn add_user(&self, nickname: &str) -> String {
        let uuid = new_uuid();
        let mut state = self.inner.state();
        assert!(state.person_by_nickname(nickname).is_none(), "the nickname `{nickname}` is taken");
        let now = state.now_ms();
        let person = Person {
            uuid: uuid.clone(),
            account_id: format!("557058:{}", uuid::Uuid::new_v4()),
            nickname: nickname.to_owned(),
            display_name: nickname.to_owned(),
            email: format!("{nickname}@users.example"),
            password: user_password(nickname),
            suspended: false,
            created_ms: now,
            hourly_limit: HOURLY_LIMIT,
            asked_ms: VecDeque::new(),
        };
        state.people.insert(uuid.clone(), person);
        let personal = Workspace {
            uuid: new_uuid(),
            slug: nickname.to_lowercase(),
            name: nickname.to_owned(),
            members: BTreeMap::from([(uuid.clone(), WorkspaceRole::Owner)]),
            base: Permission::None,
            personal_of: Some(uuid.clone()),
            created_ms: now,
        };
        state.workspaces.insert(personal.uuid.clone(), personal);
        uuid
    }

    /// Adds a workspace; members read its repositories, owners administrate them. Returns its uuid.
    pub fn add_workspace(&self, slug: &str, members: &[(&str, WorkspaceRole)]) -> String {
        let members = members.iter().map(|(nickname, role)| (self.person_uuid(nickname), *role)).collect();
        let mut state = self.inner.state();
        assert!(state.workspace(slug).is_none(), "the workspace `{slug}` is taken");
        let uuid = new_uuid();
        let created_ms = state.now_ms();
        let workspace = Workspace {
            uuid: uuid.clone(),
            slug: slug.to_owned(),
            name: format!("Workspace {slug}"),
            members,
            base: Permission::Read,
            personal_of: None,
            created_ms,
        };
        state.workspaces.insert(uuid.clone(), workspace);
        uuid
    }

    /// Puts a person into a workspace or gives them another role there.
    pub fn add_member(&self, workspace: &str, nickname: &str, role: WorkspaceRole) {
        let person = self.person_uuid(nickname);
        let workspace = self.workspace_uuid(workspace);
        if let Some(workspace) = self.inner.state().workspaces.get_mut(&workspace) {
            workspace.members.insert(person, role);
        }
    }

    /// What members of a workspace who are no owners may do with each of its repositories.
    pub fn set_base_permission(&self, workspace: &str, permission: Permission) {
        let workspace = self.workspace_uuid(workspace);
        if let Some(workspace) = self.inner.state().workspaces.get_mut(&workspace) {
            workspace.base = permission;
        }
    }

    /// Another name and address for a workspace; all of its repositories move with it.
    pub fn rename_workspace(&self, workspace: &str, slug: &str) {
        let uuid = self.workspace_uuid(workspace);
        let mut state = self.inner.state();
        let moved: Vec<(String, u64)> = state
            .repos
            .values()
            .filter(|repo| repo.workspace == uuid)
            .map(|repo| (state.full_name(repo).to_lowercase(), repo.id))
            .collect();
        state.old_names.extend(moved);
        if let Some(workspace) = state.workspaces.get_mut(&uuid) {
            workspace.slug = slug.to_owned();
        }
    }

    /// uuid of a person.
    pub fn person_uuid(&self, nickname: &str) -> String {
        self.with_person(nickname, |person| person.uuid.clone())
    }

    /// account id of a person.
    pub fn account_id(&self, nickname: &str) -> String {
        self.with_person(nickname, |person| person.account_id.clone())
    }

    /// uuid of a workspace.
    pub fn workspace_uuid(&self, slug: &str) -> String {
        let state = self.inner.state();
        state.workspace(slug).unwrap_or_else(|| panic!("no workspace `{slug}`")).uuid.clone()
    }

    pub(super) fn with_person<T>(&self, nickname: &str, act: impl FnOnce(&mut Person) -> T) -> T {
        let mut state = self.inner.state();
        let found = state.people.values_mut().find(|person| person.nickname == nickname);
        act(found.unwrap_or_else(|| panic!("no person `{nickname}`")))
    }

    pub(super) fn with_repo<T>(&self, full_name: &str, act: impl FnOnce(&mut Repo) -> T) -> T {
        let mut state = self.inner.state();
        let found = full_name.split_once('/').and_then(|(workspace, name)| state.repo(workspace, name)).map(|repo| repo.id);
        let found = found.and_then(|id| state.repos.get_mut(&id));
        act(found.unwrap_or_else(|| panic!("no repository `{full_name}`")))
    }

    /// Registers an OAuth consumer with its scopes; `redirect_uri` values must begin with `callback`.
    pub fn add_consumer(&self, name: &str, callback: &str, scopes: &[&str]) -> Result<Consumer> {
        let public = Consumer { key: random_hex(9), secret: random_hex(16) };
        let callback = callback.parse().with_context(|| format!("`{callback}` is no address"))?;
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let row = ConsumerRow { public: public.clone(), name: name.to_owned(), callback, scopes };
        self.inner.state().consumers.insert(public.key.clone(), row);
        Ok(public)
    }

    /// Makes an empty repository `workspace/name` whose main branch will be `main`; returns its uuid. Costs nothing until
    /// git is needed, so that ten thousand are no matter.
    pub fn add_repository(&self, full_name: &str, visibility: Visibility) -> String {
        let (workspace, name) = full_name.split_once('/').unwrap_or_else(|| panic!("`{full_name}` is no `workspace/name`"));
        let workspace = self.workspace_uuid(workspace);
        let mut state = self.inner.state();
        let slug = slugified(name);
        assert!(state.repo(&workspace, &slug).is_none(), "the repository `{full_name}` stands already");
        let (id, now) = (state.next_id(), state.now_ms());
        let path = self.inner.folder.path().join(format!("{id}.git"));
        let repo = Repo {
            id,
            uuid: new_uuid(),
            workspace,
            name: name.to_owned(),
            slug,
            description: String::new(),
            private: visibility == Visibility::Private,
            main_branch: "main".to_owned(),
            empty: true,
            created_ms: now,
            updated_ms: now,
            permissions: BTreeMap::new(),
            hooks: Vec::new(),
            keys: Vec::new(),
            statuses: Vec::new(),
            pull_requests: Vec::new(),
            folder: Folder { path, main_branch: "main".to_owned(), made: Arc::default() },
            push_lock: Arc::default(),
        };
        let uuid = repo.uuid.clone();
        state.repos.insert(id, repo);
        uuid
    }

    /// uuid of a repository.
    pub fn repository_uuid(&self, full_name: &str) -> String {
        self.with_repo(full_name, |repo| repo.uuid.clone())
    }

    /// Gives a person a right on a repository; `Permission::None` takes it away.
    pub fn set_permission(&self, full_name: &str, nickname: &str, permission: Permission) {
        let person = self.person_uuid(nickname);
        self.with_repo(full_name, |repo| {
            repo.permissions.remove(&person);
            if permission != Permission::None {
                repo.permissions.insert(person, permission);
            }
        });
    }

    /// Makes a repository public or private; hooks hear nothing of it.
    pub fn set_visibility(&self, full_name: &str, visibility: Visibility) {
        self.with_repo(full_name, |repo| repo.private = visibility == Visibility::Private);
    }

    /// Another main branch; hooks hear nothing of it.
    pub fn set_main_branch(&self, full_name: &str, branch: &str) {
        self.with_repo(full_name, |repo| repo.main_branch = branch.to_owned());
    }

    /// Gives a repository another name and so another slug; hooks hear `repo:updated`.
    pub fn rename_repository(&self, full_name: &str, name: &str) {
        let slug = slugified(name);
        let old = self.with_repo(full_name, |repo| {
            let old = (repo.id, std::mem::replace(&mut repo.name, name.to_owned()));
            repo.slug = slug;
            old
        });
        let (id, old_name) = old;
        let payload = {
            let mut state = self.inner.state();
            state.old_names.insert(full_name.to_lowercase(), id);
            let actor = self.owner_of(&state, id);
            let from = RenamedFrom { name: old_name, full_name: full_name.to_owned() };
            state.repos.get(&id).map(|repo| payloads::renamed(&state, self.inner.urls(), repo, &actor, &from))
        };
        if let Some(payload) = payload {
            self.inner.emit(id, "repo:updated", &payload);
        }
    }

    /// Moves a repository to another workspace; hooks and uuid stay, rights of people do not.
    pub fn transfer_repository(&self, full_name: &str, workspace: &str) {
        let workspace = self.workspace_uuid(workspace);
        let id = self.with_repo(full_name, |repo| {
            repo.workspace = workspace;
            repo.permissions.clear();
            repo.id
        });
        self.inner.state().old_names.insert(full_name.to_lowercase(), id);
    }

    /// Some owner of the workspace that a repository is in: who does what no script names a person for.
    pub(super) fn owner_of(&self, state: &super::state::State, repo: u64) -> String {
        let workspace = state.repos.get(&repo).and_then(|repo| state.workspaces.get(&repo.workspace));
        let owner = workspace.and_then(|workspace| workspace.members.iter().find(|(_, role)| **role == WorkspaceRole::Owner));
        owner.map(|(person, _)| person.clone()).unwrap_or_default()
    }

    /// The address for `git clone`, without credentials.
    pub fn clone_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.web_url())
    }

    /// A person's own API token, for their own `git push` (Basic with nickname or e-mail address).
    pub fn api_token(&self, nickname: &str, scopes: &[&str]) -> String {
        let person = self.person_uuid(nickname);
        let mut state = self.inner.state();
        let value = format!("ATATT{}", random_hex(40));
        let (issued, expires_ms) = (state.next_id(), i64::MAX);
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        state.access.insert(value.clone(), AccessToken { person, consumer: None, scopes, issued, expires_ms });
        value
    }

    /// Access tokens of a person for a consumer that still work, oldest first.
    pub fn access_tokens(&self, nickname: &str, consumer: &str) -> Vec<String> {
        let person = self.person_uuid(nickname);
        let state = self.inner.state();
        let now = state.now_ms();
        let ours = |token: &AccessToken| token.person == person && token.consumer.as_deref() == Some(consumer) && now < token.expires_ms;
        let mut found: Vec<_> = state.access.iter().filter(|(_, token)| ours(token)).collect();
        found.sort_by_key(|(_, token)| token.issued);
        found.into_iter().map(|(value, _)| value.clone()).collect()
    }

    /// Refresh tokens of a person for a consumer that still work, oldest first, each with how often it was used.
    pub fn refresh_tokens(&self, nickname: &str, consumer: &str) -> Vec<(String, u32)> {
        let person = self.person_uuid(nickname);
        let state = self.inner.state();
        let now = state.now_ms();
        let mut found: Vec<_> =
            state.refresh.iter().filter(|(_, token)| token.person == person && token.consumer == consumer && now < token.dies_ms).collect();
        found.sort_by_key(|(_, token)| token.issued);
        found.into_iter().map(|(value, token)| (value.clone(), token.used)).collect()
    }

    /// Whether a person lets a consumer in.
    pub fn has_grant(&self, nickname: &str, consumer: &str) -> bool {
        let person = self.person_uuid(nickname);
        self.inner.state().grants.contains(&(person, consumer.to_owned()))
    }

    /// The hooks of a repository, with their secrets.
    pub fn hooks(&self, full_name: &str) -> Vec<Hook> {
        self.with_repo(full_name, |repo| repo.hooks.iter().map(|row| row.public.clone()).collect())
    }

    /// Puts a hook on a repository as its owner would by hand; returns its uuid.
    pub fn add_hook(&self, full_name: &str, url: &str, events: &[&str], secret: Option<&str>) -> String {
        let public = Hook {
            uuid: new_uuid(),
            url: url.to_owned(),
            description: "by hand".to_owned(),
            secret: secret.map(str::to_owned),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            active: true,
        };
        let uuid = public.uuid.clone();
        let created_ms = self.inner.state().now_ms();
        self.with_repo(full_name, |repo| repo.hooks.push(HookRow { public, created_ms, deliveries: Vec::new() }));
        uuid
    }

    /// Changes a hook as the repository's owner would by hand.
    pub fn edit_hook(&self, full_name: &str, uuid: &str, edit: impl FnOnce(&mut Hook)) {
        self.with_repo(full_name, |repo| {
            let row = repo.hooks.iter_mut().find(|row| row.public.uuid == uuid);
            edit(&mut row.unwrap_or_else(|| panic!("no hook `{uuid}`")).public);
        });
    }

    /// Deletes a hook as the repository's owner would by hand.
    pub fn delete_hook(&self, full_name: &str, uuid: &str) {
        self.with_repo(full_name, |repo| repo.hooks.retain(|row| row.public.uuid != uuid));
    }

    /// Deploy keys of a repository.
    pub fn deploy_keys(&self, full_name: &str) -> Vec<DeployKey> {
        self.with_repo(full_name, |repo| repo.keys.iter().map(|row| row.public.clone()).collect())
    }

    /// Deletes a deploy key as the repository's owner would by hand.
    pub fn delete_deploy_key(&self, full_name: &str, id: u64) {
        self.with_repo(full_name, |repo| repo.keys.retain(|row| row.public.id != id));
    }

    /// Build statuses of a commit, oldest first.
    pub fn statuses(&self, full_name: &str, sha: &str) -> Vec<BuildStatus> {
        self.with_repo(full_name, |repo| repo.statuses.iter().filter(|status| status.sha == sha).cloned().collect())
    }

    /// Every attempt at the repository's hooks, hook by hook, oldest first.
    pub fn deliveries(&self, full_name: &str) -> Vec<Delivery> {
        self.with_repo(full_name, |repo| repo.hooks.iter().flat_map(|row| row.deliveries.clone()).collect())
    }

    /// Every request that was answered, oldest first (the last ten thousand).
    pub fn requests(&self) -> Vec<RequestSeen> {
        self.inner.state().requests.iter().cloned().collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.inner.state().requests.clear();
    }

    /// Where a request or an answer of the API broke Bitbucket's description; faults on purpose do not count.
    pub fn violations(&self) -> Vec<String> {
        self.inner.contract.violations()
    }
}
