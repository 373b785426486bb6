//! The fake GitHub's truth: plain data under one mutex, and questions about it that need no I/O.
//! Invariant: every route is a view of this data and every webhook is made from it; no route keeps state of its own.
//! Deliberately elsewhere: git objects (`git`), JSON shapes (`api::views`), what a token may do (`access`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub(crate) use crate::provider::{random_hex, wall_clock_ms};

use super::types::{CommitStatus, Delivery, Hook, OAuthApp, OrgRole, Permission, RequestSeen, Visibility, Webhooks};

/// How long an authorization code lives (GitHub docs, "Authorizing OAuth apps": 10 minutes).
const CODE_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// Requests kept for `requests()`; older ones are forgotten.
const REQUESTS_KEPT: usize = 10_000;
/// GitHub keeps ten tokens for one user, app and scope; the eleventh revokes the oldest.
const TOKENS_PER_GRANT: usize = 10;

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

/// An organization with its rule about third-party applications.
pub(crate) struct Organization {
    pub(crate) members: BTreeMap<u64, OrgRole>,
    pub(crate) base_permission: Permission,
    pub(crate) restricted: bool,
    pub(crate) approved_apps: BTreeSet<String>,
}

/// The hourly allowance of one user, shared by all of their tokens.
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) reset_s: i64,
}

/// A registered OAuth app.
pub(crate) struct App {
    pub(crate) public: OAuthApp,
    pub(crate) name: String,
    pub(crate) callback: url::Url,
}

/// An authorization code that waits for its exchange.
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) user: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) expires_ms: i64,
}

/// An access token; `app` is empty for a personal one.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) value: String,
    pub(crate) user: u64,
    pub(crate) app: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// A browser session of a person.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) user: u64,
    pub(crate) csrf: String,
}

/// A repository; its git data lies in `folder`, named by id so that a rename moves nothing.
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
    pub(crate) statuses: Vec<CommitStatus>,
    pub(crate) folder: PathBuf,
    /// Held while refs change, so that a ref change is laid at the door of the push that made it.
    pub(crate) push_lock: Arc<tokio::sync::Mutex<()>>,
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

/// One request to a hook that still has to be made.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) repo: u64,
    pub(crate) hook: u64,
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
}

/// Everything the fake knows.
pub(crate) struct State {
    pub(crate) accounts: BTreeMap<u64, Account>,
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) tokens: Vec<Token>,
    /// What a user has allowed an app, kept when single tokens die.
    pub(crate) grants: BTreeMap<(u64, String), Vec<String>>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) repos: BTreeMap<u64, Repo>,
    /// Lower-case `owner/name` that a repository had before.
    pub(crate) old_names: HashMap<String, u64>,
    pub(crate) knobs: Knobs,
    pub(crate) requests: Vec<RequestSeen>,
    pub(crate) held: Vec<Outgoing>,
    next: u64,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            accounts: BTreeMap::new(),
            apps: BTreeMap::new(),
            codes: HashMap::new(),
            tokens: Vec::new(),
            grants: BTreeMap::new(),
            sessions: HashMap::new(),
            repos: BTreeMap::new(),
            old_names: HashMap::new(),
            knobs: Knobs { webhooks: Webhooks::Deliver, outage: None, latency: Duration::ZERO, clock_skew_ms: 0 },
            requests: Vec::new(),
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

    pub(crate) fn hook_mut(&mut self, repo: u64, hook: u64) -> Option<&mut HookRow> {
        self.repos.get_mut(&repo)?.hooks.iter_mut().find(|row| row.public.id == hook)
    }

    /// Stores a new code and returns it.
    pub(crate) fn issue_code(&mut self, mut code: Code) -> String {
        code.expires_ms = self.now_ms() + CODE_LIFETIME_MS;
        let value = random_hex(10);
        self.codes.insert(value.clone(), code);
        value
    }

    /// Makes an OAuth token and, as GitHub does, revokes the oldest of more than ten for the same scopes.
    pub(crate) fn issue_token(&mut self, user: u64, app: Option<String>, scopes: Vec<String>) -> Token {
        let prefix = if app.is_some() { "gho_" } else { "ghp_" };
        let now = self.now_ms();
        let token =
            Token { id: self.next_id(), value: format!("{prefix}{}", random_hex(18)), user, app, scopes, created_ms: now, updated_ms: now };
        self.tokens.push(token.clone());
        if token.app.is_some() {
            let same: Vec<u64> = self
                .tokens
                .iter()
                .filter(|other| other.user == token.user && other.app == token.app && other.scopes == token.scopes)
                .map(|other| other.id)
                .collect();
            if same.len() > TOKENS_PER_GRANT {
                let oldest = same[0];
                self.tokens.retain(|other| other.id != oldest);
            }
        }
        token
    }

    pub(crate) fn remember_request(&mut self, request: RequestSeen) {
        if self.requests.len() >= REQUESTS_KEPT {
            self.requests.remove(0);
        }
        self.requests.push(request);
    }
}

/// `2026-03-03T12:00:00Z`, the form of every time in GitHub's REST API.
pub(crate) fn rfc3339(epoch_ms: i64) -> String {
    jiff::Timestamp::from_second(epoch_ms.div_euclid(1000)).map_or_else(|_| String::from("1970-01-01T00:00:00Z"), |at| at.to_string())
}
