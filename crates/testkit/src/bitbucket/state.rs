//! The fake Bitbucket's truth: plain data under one mutex, and questions about it that need no I/O.
//! Invariant: every route is a view of this data and every webhook is made from it; no route keeps state of its own.
//! Deliberately elsewhere: git objects (`provider::git`), JSON shapes (`api::views`), what a token may do (`access`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::types::{
    BuildStatus, Consumer, Delivery, DeployKey, Hook, HookAddresses, OldNames, Permission, RequestSeen, Webhooks, WorkspaceRole,
};
use crate::provider::faults::Faults;
use crate::provider::{random_hex, wall_clock_ms};

/// Requests kept for `requests()`; older ones are forgotten.
const REQUESTS_KEPT: usize = 10_000;
/// How long an authorization code lives.
const CODE_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// How long an access token lives (`expires_in`).
pub(crate) const ACCESS_LIFETIME_S: i64 = 3600;
/// How long a refresh token works on after its first use.
const REFRESH_GRACE_MS: i64 = 10 * 60 * 1000;
/// How long a refresh token lives that nobody uses: three months.
const REFRESH_UNUSED_MS: i64 = 90 * 24 * 3600 * 1000;
/// Bytes of randomness in a token; tokens at Bitbucket are longer than 2,500 characters.
const TOKEN_BYTES: usize = 1300;

/// A person.
pub(crate) struct Person {
    pub(crate) uuid: String,
    pub(crate) account_id: String,
    pub(crate) nickname: String,
    pub(crate) display_name: String,
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) suspended: bool,
    pub(crate) created_ms: i64,
    pub(crate) hourly_limit: usize,
    /// Times of the requests of the last hour.
    pub(crate) asked_ms: VecDeque<i64>,
}

/// A workspace; a personal one names its person.
pub(crate) struct Workspace {
    pub(crate) uuid: String,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) members: BTreeMap<String, WorkspaceRole>,
    /// What a member who is no owner may do with each repository.
    pub(crate) base: Permission,
    pub(crate) personal_of: Option<String>,
    pub(crate) created_ms: i64,
}

/// A repository; its git data lies in `folder`, named by number so that a rename moves nothing.
pub(crate) struct Repo {
    pub(crate) id: u64,
    pub(crate) uuid: String,
    pub(crate) workspace: String,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) description: String,
    pub(crate) private: bool,
    pub(crate) main_branch: String,
    /// Whether any branch stands; without one Bitbucket names no main branch.
    pub(crate) empty: bool,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) permissions: BTreeMap<String, Permission>,
    pub(crate) hooks: Vec<HookRow>,
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) statuses: Vec<BuildStatus>,
    pub(crate) pull_requests: Vec<PullRequest>,
    pub(crate) folder: Folder,
    /// Held while refs change, so that a ref change is laid at the door of the push that made it.
    pub(crate) push_lock: Arc<tokio::sync::Mutex<()>>,
}

/// Where a repository's git data lies. It is made when it is first needed: ten thousand repositories cost nothing.
#[derive(Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) main_branch: String,
    pub(crate) made: Arc<tokio::sync::OnceCell<()>>,
}

/// A webhook with the parts that the API never shows.
pub(crate) struct HookRow {
    pub(crate) public: Hook,
    pub(crate) created_ms: i64,
    pub(crate) deliveries: Vec<Delivery>,
}

/// A deploy key with the consumer that made it.
pub(crate) struct KeyRow {
    pub(crate) public: DeployKey,
    pub(crate) made_by: Option<String>,
    pub(crate) created_ms: i64,
}

/// A pull request, as much as its events need.
pub(crate) struct PullRequest {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) author: String,
    /// The branch that it comes from, and the repository that has it when that is another one.
    pub(crate) source: String,
    pub(crate) source_repo: Option<u64>,
    /// Where that branch stood when it was opened.
    pub(crate) source_head: Option<String>,
    /// `OPEN`, `MERGED` or `DECLINED`.
    pub(crate) state: &'static str,
    pub(crate) destination: String,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// A registered consumer: fixed scopes and one callback.
pub(crate) struct ConsumerRow {
    pub(crate) public: Consumer,
    pub(crate) name: String,
    pub(crate) callback: url::Url,
    pub(crate) scopes: Vec<String>,
}

/// An authorization code that waits for its exchange.
pub(crate) struct Code {
    pub(crate) consumer: String,
    pub(crate) person: String,
    pub(crate) expires_ms: i64,
}

/// An access token; `consumer` is empty for a person's own API token.
#[derive(Clone)]
pub(crate) struct AccessToken {
    pub(crate) person: String,
    pub(crate) consumer: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) issued: u64,
    pub(crate) expires_ms: i64,
}

/// A refresh token; its first use starts its end.
pub(crate) struct RefreshToken {
    pub(crate) person: String,
    pub(crate) consumer: String,
    pub(crate) issued: u64,
    pub(crate) dies_ms: i64,
    pub(crate) used: u32,
}

/// A browser session of a person.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) person: String,
    pub(crate) csrf: String,
}

/// One event on its way to one hook.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) repo: u64,
    pub(crate) hook: String,
    pub(crate) request_uuid: String,
    pub(crate) event: String,
    pub(crate) payload: Value,
}

/// What a test may bend.
pub(crate) struct Knobs {
    pub(crate) webhooks: Webhooks,
    pub(crate) outage: Option<u16>,
    pub(crate) latency: Duration,
    pub(crate) clock_skew_ms: i64,
    pub(crate) faults: Faults,
    pub(crate) old_names: OldNames,
    pub(crate) hook_addresses: HookAddresses,
    pub(crate) hook_timeout: Duration,
}

/// Everything the fake knows.
pub(crate) struct State {
    pub(crate) people: BTreeMap<String, Person>,
    pub(crate) workspaces: BTreeMap<String, Workspace>,
    pub(crate) repos: BTreeMap<u64, Repo>,
    /// Lower-case `workspace/slug` that a repository had before.
    pub(crate) old_names: HashMap<String, u64>,
    pub(crate) consumers: BTreeMap<String, ConsumerRow>,
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) access: HashMap<String, AccessToken>,
    pub(crate) refresh: HashMap<String, RefreshToken>,
    /// Who has let which consumer in.
    pub(crate) grants: BTreeSet<(String, String)>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) knobs: Knobs,
    pub(crate) requests: VecDeque<RequestSeen>,
    pub(crate) held: Vec<Outgoing>,
    next: u64,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            people: BTreeMap::new(),
            workspaces: BTreeMap::new(),
            repos: BTreeMap::new(),
            old_names: HashMap::new(),
            consumers: BTreeMap::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            grants: BTreeSet::new(),
            sessions: HashMap::new(),
            knobs: Knobs {
                webhooks: Webhooks::Deliver,
                outage: None,
                latency: Duration::ZERO,
                clock_skew_ms: 0,
                faults: Faults::default(),
                old_names: OldNames::Gone,
                hook_addresses: HookAddresses::Any,
                hook_timeout: Duration::from_secs(10),
            },
            requests: VecDeque::new(),
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

    pub(crate) fn person_by_nickname(&self, nickname: &str) -> Option<&Person> {
        self.people.values().find(|person| person.nickname == nickname)
    }

    pub(crate) fn nickname(&self, person: &str) -> &str {
        self.people.get(person).map_or("ghost", |person| person.nickname.as_str())
    }

    /// A workspace by slug or by uuid.
    pub(crate) fn workspace(&self, id: &str) -> Option<&Workspace> {
        self.workspaces.get(id).or_else(|| self.workspaces.values().find(|one| one.slug.eq_ignore_ascii_case(id)))
    }

    pub(crate) fn workspace_slug(&self, uuid: &str) -> &str {
        self.workspaces.get(uuid).map_or("gone", |workspace| workspace.slug.as_str())
    }

    /// A repository by slug or uuid in a workspace by slug, by uuid or, for a repository's uuid, `{}`.
    pub(crate) fn repo(&self, workspace: &str, repo: &str) -> Option<&Repo> {
        if workspace == "{}" {
            return self.repos.values().find(|one| one.uuid == repo);
        }
        let workspace = &self.workspace(workspace)?.uuid;
        self.repos.values().find(|one| one.workspace == *workspace && (one.uuid == repo || one.slug.eq_ignore_ascii_case(repo)))
    }

    /// The repository that had this name before, if old names redirect.
    pub(crate) fn moved(&self, workspace: &str, repo: &str) -> Option<&Repo> {
        match self.knobs.old_names {
            OldNames::Gone => None,
            OldNames::Redirect => self.repos.get(self.old_names.get(&format!("{workspace}/{repo}").to_lowercase())?),
        }
    }

    pub(crate) fn full_name(&self, repo: &Repo) -> String {
        format!("{}/{}", self.workspace_slug(&repo.workspace), repo.slug)
    }

    /// What `person` may do with `repo` by role, by group or by invitation; being public does not count.
    pub(crate) fn explicit_permission(&self, repo: &Repo, person: &str) -> Permission {
        let workspace = self.workspaces.get(&repo.workspace);
        let by_role = match workspace.and_then(|workspace| Some((workspace.members.get(person)?, workspace.base))) {
            Some((WorkspaceRole::Owner, _)) => Permission::Admin,
            Some((WorkspaceRole::Collaborator | WorkspaceRole::Member, base)) => base,
            None => Permission::None,
        };
        by_role.max(repo.permissions.get(person).copied().unwrap_or(Permission::None))
    }

    pub(crate) fn hook_mut(&mut self, repo: u64, hook: &str) -> Option<&mut HookRow> {
        self.repos.get_mut(&repo)?.hooks.iter_mut().find(|row| row.public.uuid == hook)
    }

    /// Stores a new code and returns it.
    pub(crate) fn issue_code(&mut self, consumer: &str, person: &str) -> String {
        let expires_ms = self.now_ms() + CODE_LIFETIME_MS;
        let value = random_hex(9);
        self.codes.insert(value.clone(), Code { consumer: consumer.to_owned(), person: person.to_owned(), expires_ms });
        value
    }

    /// Makes an access and a refresh token for a person who let the consumer in.
    pub(crate) fn issue_tokens(&mut self, person: &str, consumer: &str) -> (String, String, Vec<String>) {
        let scopes = self.consumers.get(consumer).map(|row| row.scopes.clone()).unwrap_or_default();
        let (access, refresh, issued, now) = (random_hex(TOKEN_BYTES), random_hex(TOKEN_BYTES), self.next_id(), self.now_ms());
        let token = AccessToken {
            person: person.to_owned(),
            consumer: Some(consumer.to_owned()),
            scopes: scopes.clone(),
            issued,
            expires_ms: now + ACCESS_LIFETIME_S * 1000,
        };
        self.access.insert(access.clone(), token);
        let dies_ms = now + REFRESH_UNUSED_MS;
        let row = RefreshToken { person: person.to_owned(), consumer: consumer.to_owned(), issued, dies_ms, used: 0 };
        self.refresh.insert(refresh.clone(), row);
        (access, refresh, scopes)
    }

    /// Uses a refresh token of a consumer: the person behind it, or `None` when it is no good (any more).
    pub(crate) fn use_refresh(&mut self, value: &str, consumer: &str) -> Option<String> {
        let now = self.now_ms();
        let row = self.refresh.get_mut(value).filter(|row| row.consumer == consumer && now < row.dies_ms)?;
        if row.used == 0 {
            row.dies_ms = now + REFRESH_GRACE_MS;
        }
        row.used += 1;
        Some(row.person.clone())
    }

    /// All tokens of the person for the consumer die; hooks and keys stay.
    pub(crate) fn revoke_grant(&mut self, person: &str, consumer: &str) {
        self.access.retain(|_, token| !(token.person == person && token.consumer.as_deref() == Some(consumer)));
        self.refresh.retain(|_, token| !(token.person == person && token.consumer == consumer));
        self.codes.retain(|_, code| !(code.person == person && code.consumer == consumer));
        self.grants.remove(&(person.to_owned(), consumer.to_owned()));
    }

    pub(crate) fn remember_request(&mut self, request: RequestSeen) {
        if self.requests.len() >= REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

/// A new uuid as Bitbucket writes them.
pub(crate) fn new_uuid() -> String {
    format!("{{{}}}", uuid::Uuid::new_v4())
}

/// The part of a repository's address that is made of its name (Bitbucket docs, "What is a slug?").
pub(crate) fn slugified(name: &str) -> String {
    let mut slug = String::new();
    for character in name.to_lowercase().chars() {
        match character {
            'a'..='z' | '0'..='9' | '_' | '.' => slug.push(character),
            _ if character.is_alphanumeric() => {}
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// `2018-04-01T16:36:35.970000+00:00`, the form of every time in Bitbucket's API.
pub(crate) fn date(epoch_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(epoch_ms).unwrap_or_default();
    format!("{}.{:03}000+00:00", at.strftime("%Y-%m-%dT%H:%M:%S"), epoch_ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs_and_times_have_microseconds() {
        for (name, slug) in [("foo bar", "foo-bar"), ("føøbar", "fbar"), ("A  B!", "a-b"), ("api_v1.0", "api_v1.0")] {
            assert_eq!(slugified(name), slug);
        }
        assert_eq!(date(1_522_600_595_970), "2018-04-01T16:36:35.970000+00:00");
    }
}
