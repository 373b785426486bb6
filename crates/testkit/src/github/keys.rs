//! Deploy keys: one key on one repository, forbidden by some organizations, some of them dying with the token that made
//! them.
//! Invariant: a key opens a repository only while its organization allows deploy keys and lets the maker's app in.
//! Deliberately elsewhere: the routes (`api::keys`).

use base64::Engine as _;

use super::FakeGitHub;
use super::access::Caller;
use super::state::{Repo, State};
use super::types::{DeployKey, DeployKeyPolicy, KeyAccess, KeyMaker};

/// The kinds that GitHub takes.
const KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A deploy key with what the API does not show.
pub(crate) struct KeyRow {
    pub(crate) public: DeployKey,
    pub(crate) added_by: u64,
    pub(crate) created_ms: i64,
    /// The line of tokens that made it, when they were an OAuth app's.
    pub(crate) lineage: Option<u64>,
}

/// Why a key is not taken: field and message of GitHub's 422.
pub(crate) struct KeyRefusal(pub(crate) Option<&'static str>, pub(crate) String);

/// Kind and body of a public key without its comment, when it is one.
pub(crate) fn normalised(key: &str) -> Option<String> {
    let mut words = key.split_whitespace();
    let (kind, body) = (words.next()?, words.next()?);
    let bytes = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    // The body names its kind too: a length of four bytes, then the word.
    let named = bytes.get(4..4 + kind.len())? == kind.as_bytes();
    (KINDS.contains(&kind) && named).then(|| format!("{kind} {body}"))
}

impl State {
    pub(crate) fn delete_keys_of(&mut self, dead: impl Fn(u64) -> bool) {
        for repo in self.repos.values_mut() {
            repo.keys.retain(|key| !key.lineage.is_some_and(&dead));
        }
    }

    pub(crate) fn deploy_keys_allowed(&self, repo: &Repo) -> bool {
        self.organization(repo.owner).is_none_or(|organization| organization.deploy_keys == DeployKeyPolicy::Allowed)
    }

    fn key_works(&self, repo: &Repo, key: &KeyRow) -> bool {
        let let_in = match &key.public.maker {
            KeyMaker::OAuthApp(app) => !self.keeps_app_out(repo.owner, app),
            KeyMaker::Person | KeyMaker::GitHubApp(_) => true,
        };
        self.deploy_keys_allowed(repo) && let_in && repo.blocked.is_none()
    }

    /// Adds a key for whoever asks, after GitHub's checks.
    pub(crate) fn add_key(&mut self, repo: u64, caller: &Caller, mut key: DeployKey) -> Result<u64, KeyRefusal> {
        let Some(body) = normalised(&key.key) else {
            let kinds = KINDS.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
            let why = format!("key is invalid. You must supply a key in OpenSSH public key format. It must begin with one of {kinds}");
            return Err(KeyRefusal(Some("key"), why));
        };
        if self.repos.get(&repo).is_some_and(|repo| !self.deploy_keys_allowed(repo)) {
            return Err(KeyRefusal(None, "Deploy keys are disabled for this repository".to_owned()));
        }
        if self.repos.values().any(|repo| repo.keys.iter().any(|other| other.public.key == body)) {
            return Err(KeyRefusal(Some("key"), "key is already in use".to_owned()));
        }
        let (id, now) = (90_000_000 + self.next_id(), self.now_ms());
        let token = caller.token().and_then(|id| self.tokens.iter().find(|token| token.id == id));
        let (maker, lineage) = match caller.app() {
            None => (KeyMaker::Person, None),
            Some(app) if self.is_github_app(app) => (KeyMaker::GitHubApp(app.to_owned()), None),
            Some(app) => (KeyMaker::OAuthApp(app.to_owned()), token.map(|token| token.lineage)),
        };
        let Some(repo) = self.repos.get_mut(&repo) else {
            return Err(KeyRefusal(None, "Repository is gone".to_owned()));
        };
        let added_by = caller.user().unwrap_or(repo.owner);
        (key.id, key.key, key.maker) = (id, body, maker);
        repo.keys.push(KeyRow { public: key, added_by, created_ms: now, lineage });
        Ok(id)
    }
}

impl FakeGitHub {
    /// The deploy keys of a repository.
    pub fn deploy_keys(&self, repo: &str) -> Vec<DeployKey> {
        self.with_repo(repo, |repo| repo.keys.iter().map(|row| row.public.clone()).collect())
    }

    /// Puts a read-only deploy key on a repository as its owner would by hand; GitHub's rules hold.
    pub fn add_deploy_key(&self, repo: &str, title: &str, key: &str) -> anyhow::Result<u64> {
        let (id, owner) = self.with_repo(repo, |repo| (repo.id, repo.owner));
        let new = DeployKey { id: 0, title: title.to_owned(), key: key.to_owned(), read_only: true, maker: KeyMaker::Person };
        self.inner.state().add_key(id, &Caller::person(owner), new).map_err(|refused| anyhow::Error::msg(refused.1))
    }

    /// Deletes a deploy key as the repository's owner would by hand.
    pub fn delete_deploy_key(&self, repo: &str, key: u64) {
        self.with_repo(repo, |repo| repo.keys.retain(|row| row.public.id != key));
    }

    /// What a public key opens at this moment, as the provider's SSH server would decide; nothing when it is unknown,
    /// forbidden by the organization, or made by an app that the organization keeps out.
    pub fn deploy_key_access(&self, key: &str) -> Option<KeyAccess> {
        let key = normalised(key)?;
        let state = self.inner.state();
        state.repos.values().find_map(|repo| {
            let row = repo.keys.iter().find(|row| row.public.key == key).filter(|row| state.key_works(repo, row))?;
            Some(KeyAccess { full_name: state.full_name(repo), repository: repo.id, read_only: row.public.read_only })
        })
    }

    /// Sets the organization's rule about deploy keys.
    pub fn set_deploy_key_policy(&self, organization: &str, policy: DeployKeyPolicy) {
        self.with_organization(organization, |organization| organization.deploy_keys = policy);
    }
}
