//! The fake GitHub's truth: plain data under one mutex, and questions about it that need no I/O.
//! Invariant: every route is a view of this data and every webhook is made from it; no route keeps state of its own.
//! Deliberately elsewhere: git objects (`git`), JSON shapes (`api::views`), what a token may do (`access`), how tokens,
//! deploy keys and installations live and die (`tokens`, `keys`, `apps`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub(crate) use crate::provider::{random_hex, wall_clock_ms};

use super::access::Caller;
use super::apps::{Installation, InstallationToken};
use super::gates::AppAccesses;
use super::git::{GitData, RefValue};
use super::keys::KeyRow;
use super::pulls::Pull;
use super::tokens::{App, Code, Token};
use super::trouble::Trouble;
use super::types::{Blocked, CommitStatus, Delivery, DeployKeyPolicy, Hook, OrgRole, Permission, RequestSeen, Visibility, Webhooks};

/// Requests kept for `requests()`; older ones are forgotten.
const REQUESTS_KEPT: usize = 10_000;
/// GitHub docs, "Webhook events and payloads": payloads are capped at 25 MB.
const PAYLOAD_MAX_BYTES: usize = 25 * 1024 * 1024;

/// A user or an organization: GitHub has one space of logins for both.
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) login: String,
    pub(crate) kind: AccountKind,
    pub(crate) created_ms: i64,
}

/// What only one kind of account has.
pub(crate) enum AccountKind {
    User(User),
    Organization(Organization),
}

/// A person.
pub(crate) struct User {
    pub(crate) password: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) suspended: bool,
    pub(crate) rate: Rate,
}

/// An organization with its rules about third-party applications, sign-in, addresses and deploy keys.
pub(crate) struct Organization {
    pub(crate) members: BTreeMap<u64, OrgRole>,
    pub(crate) base_permission: Permission,
    pub(crate) restricted: bool,
    pub(crate) app_access: AppAccesses,
    pub(crate) deploy_keys: DeployKeyPolicy,
    pub(crate) saml: bool,
    pub(crate) addresses_limited: bool,
}

/// The hourly allowance of one user, shared by all of their tokens, or of one installation.
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) reset_s: i64,
}

/// A browser session of a person.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) user: u64,
    pub(crate) csrf: String,
}

/// A repository; its git data lies in a folder named by id, so that a rename moves nothing.
pub(crate) struct Repo {
    pub(crate) id: u64,
    pub(crate) owner: u64,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) visibility: Visibility,
    pub(crate) default_branch: String,
    pub(crate) created_ms: i64,
    pub(crate) pushed_ms: i64,
    pub(crate) collaborators: BTreeMap<u64, Permission>,
    pub(crate) hooks: Vec<HookRow>,
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) statuses: Vec<CommitStatus>,
    /// Those that go into it.
    pub(crate) pulls: Vec<Pull>,
    pub(crate) is_fork: bool,
    pub(crate) archived: bool,
    pub(crate) blocked: Option<(Blocked, i64)>,
    pub(crate) git: GitData,
    /// What git said of branches and tags after the last push; nothing else changes them.
    pub(crate) refs: Arc<Vec<RefValue>>,
}

/// A webhook with the parts that the API never shows.
pub(crate) struct HookRow {
    pub(crate) public: Hook,
    pub(crate) made_by_app: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) last_response: (Option<u16>, String, Option<String>),
    pub(crate) deliveries: Vec<Delivery>,
}

impl HookRow {
    pub(crate) fn new(public: Hook, now_ms: i64) -> Self {
        let last_response = (None, "unused".to_owned(), None);
        Self { public, made_by_app: None, created_ms: now_ms, updated_ms: now_ms, last_response, deliveries: Vec::new() }
    }
}

/// Where a hook hangs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum HookOf {
    /// On a repository: its id and the hook's.
    Repository(u64, u64),
    /// On a GitHub App: its client id.
    App(String),
}

/// One request to a hook that still has to be made.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) to: HookOf,
    pub(crate) repository: Option<u64>,
    pub(crate) installation: Option<u64>,
    pub(crate) delivery: u64,
    pub(crate) guid: String,
    pub(crate) event: String,
    pub(crate) payload: Value,
    pub(crate) redelivery: bool,
}

/// What a test may bend.
pub(crate) struct Knobs {
    pub(crate) webhooks: Webhooks,
    pub(crate) outage: Option<u16>,
    pub(crate) latency: Duration,
    pub(crate) clock_skew_ms: i64,
    /// The next person who is asked grants only these.
    pub(crate) next_scopes: Option<Vec<String>>,
    /// Payloads over this are not delivered.
    pub(crate) payload_max_bytes: usize,
}

/// Everything the fake knows.
pub(crate) struct State {
    /// Base of its pages.
    pub(crate) web: String,
    pub(crate) accounts: BTreeMap<u64, Account>,
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) tokens: Vec<Token>,
    /// What a user has allowed an app, kept when single tokens die.
    pub(crate) grants: BTreeMap<(u64, String), Vec<String>>,
    pub(crate) installations: BTreeMap<u64, Installation>,
    pub(crate) installation_tokens: Vec<InstallationToken>,
    /// Who is signed in at which organization's identity provider.
    pub(crate) saml_sessions: BTreeSet<(u64, u64)>,
    /// Every secret that was ever given out.
    pub(crate) secrets: HashSet<String>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) repos: BTreeMap<u64, Repo>,
    /// Lower-case `owner/name` that a repository had before.
    pub(crate) old_names: HashMap<String, u64>,
    pub(crate) knobs: Knobs,
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) requests: VecDeque<RequestSeen>,
    /// Of all, also those that are kept no more.
    pub(crate) requests_ever: usize,
    pub(crate) held: Vec<Outgoing>,
    next: u64,
}

impl State {
    pub(crate) fn new(web: String) -> Self {
        Self {
            web,
            accounts: BTreeMap::new(),
            apps: BTreeMap::new(),
            codes: HashMap::new(),
            tokens: Vec::new(),
            grants: BTreeMap::new(),
            installations: BTreeMap::new(),
            installation_tokens: Vec::new(),
            saml_sessions: BTreeSet::new(),
            secrets: HashSet::new(),
            sessions: HashMap::new(),
            repos: BTreeMap::new(),
            old_names: HashMap::new(),
            knobs: Knobs {
                webhooks: Webhooks::Deliver,
                outage: None,
                latency: Duration::ZERO,
                clock_skew_ms: 0,
                next_scopes: None,
                payload_max_bytes: PAYLOAD_MAX_BYTES,
            },
            troubles: Vec::new(),
            requests: VecDeque::new(),
            requests_ever: 0,
            held: Vec::new(),
            next: 1000,
        }
    }

    /// A number never used before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The provider's own time in epoch milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        wall_clock_ms() + self.knobs.clock_skew_ms
    }

    pub(crate) fn account(&self, login: &str) -> Option<&Account> {
        self.accounts.values().find(|account| account.login.eq_ignore_ascii_case(login))
    }

    pub(crate) fn user(&self, id: u64) -> Option<&User> {
        match &self.accounts.get(&id)?.kind {
            AccountKind::User(user) => Some(user),
            AccountKind::Organization(_) => None,
        }
    }

    pub(crate) fn user_mut(&mut self, id: u64) -> Option<&mut User> {
        match &mut self.accounts.get_mut(&id)?.kind {
            AccountKind::User(user) => Some(user),
            AccountKind::Organization(_) => None,
        }
    }

    pub(crate) fn organization(&self, id: u64) -> Option<&Organization> {
        match &self.accounts.get(&id)?.kind {
            AccountKind::Organization(organization) => Some(organization),
            AccountKind::User(_) => None,
        }
    }

    pub(crate) fn organization_mut(&mut self, id: u64) -> Option<&mut Organization> {
        match &mut self.accounts.get_mut(&id)?.kind {
            AccountKind::Organization(organization) => Some(organization),
            AccountKind::User(_) => None,
        }
    }

    /// The allowance that a caller's requests count against; anonymous ones and those of an App itself count nowhere.
    pub(crate) fn rate_mut(&mut self, caller: &Caller) -> Option<&mut Rate> {
        match caller {
            Caller::User { id, .. } => self.user_mut(*id).map(|user| &mut user.rate),
            Caller::Installation(token) => self.installations.get_mut(&token.installation).map(|row| &mut row.rate),
            Caller::Anonymous | Caller::App(_) => None,
        }
    }

    pub(crate) fn login(&self, id: u64) -> &str {
        self.accounts.get(&id).map_or("ghost", |account| account.login.as_str())
    }

    /// The repository that is called `owner/name` now.
    pub(crate) fn repo(&self, owner: &str, name: &str) -> Option<&Repo> {
        self.repos.values().find(|repo| repo.name.eq_ignore_ascii_case(name) && self.login(repo.owner).eq_ignore_ascii_case(owner))
    }

    /// The id behind `owner/name`, also when that is a former name.
    pub(crate) fn repo_id_by_any_name(&self, owner: &str, name: &str) -> Option<u64> {
        self.repo(owner, name).map(|repo| repo.id).or_else(|| {
            let key = format!("{owner}/{name}").to_lowercase();
            self.old_names.get(&key).copied()
        })
    }

    pub(crate) fn full_name(&self, repo: &Repo) -> String {
        format!("{}/{}", self.login(repo.owner), repo.name)
    }

    /// What `user` may do with `repo` by being its owner, a member or a collaborator.
    pub(crate) fn permission(&self, repo: &Repo, user: u64) -> Permission {
        if repo.owner == user {
            return Permission::Admin;
        }
        let by_organization = self.organization(repo.owner).and_then(|organization| {
            organization.members.get(&user).map(|role| match role {
                OrgRole::Admin => Permission::Admin,
                OrgRole::Member => organization.base_permission,
            })
        });
        let by_invitation = repo.collaborators.get(&user).copied();
        let by_everyone = match repo.visibility {
            Visibility::Public => Permission::Read,
            Visibility::Private => Permission::None,
        };
        by_organization.into_iter().chain(by_invitation).fold(by_everyone, Permission::max)
    }

    pub(crate) fn hook_mut(&mut self, of: &HookOf) -> Option<&mut HookRow> {
        match of {
            HookOf::Repository(repo, hook) => self.repos.get_mut(repo)?.hooks.iter_mut().find(|row| row.public.id == *hook),
            HookOf::App(client_id) => self.apps.get_mut(client_id)?.github_app.as_mut()?.hook.as_mut(),
        }
    }

    pub(crate) fn remember_request(&mut self, request: RequestSeen) {
        if self.requests.len() >= REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        self.requests_ever += 1;
    }
}

/// `2026-03-03T12:00:00Z`, the form of every time in GitHub's REST API.
pub(crate) fn rfc3339(epoch_ms: i64) -> String {
    jiff::Timestamp::from_second(epoch_ms.div_euclid(1000)).map_or_else(|_| String::from("1970-01-01T00:00:00Z"), |at| at.to_string())
}
