//! Rights by a naive model: whatever sequence of changes came before, the database gives everybody what plain sets and maps give.
//! Invariant: the model knows names and sets only; it shares no code and no idea with the statements that it is compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use slipway_model::{AccountId, AccountKind, AccountName, Permission, RepositoryName, TeamId, TeamName, Visibility};
use slipway_store::accounts::NewAccount;
use slipway_store::repositories::Eyes;
use slipway_store::teams::Membership;
use slipway_store::{Db, ReadTx, WriteTx, accounts, repositories, teams};

use crate::fixture::{Fixture, NOW, begin};

const USERS: [&str; 4] = ["ada", "bob", "eve", "kim"];
const TEAMS: [&str; 4] = ["owners", "crew", "keepers", "ship"];
const REPOSITORIES: [&str; 3] = ["api", "web", "worker"];
const ORGANIZATIONS: usize = 2;
/// Names that organizations have or may take; the first ones are theirs at the beginning.
const NAMES: [&str; 5] = ["acme", "zoo", "north", "south", "west"];
const GIVEN: [Permission; 3] = [Permission::Read, Permission::Write, Permission::Admin];

#[derive(Debug, Clone, Copy)]
enum Change {
    CreateTeam {
        at: usize,
        team: usize,
    },
    RenameTeam {
        at: usize,
        team: usize,
        to: usize,
    },
    DeleteTeam {
        at: usize,
        team: usize,
    },
    AddMember {
        at: usize,
        team: usize,
        user: usize,
    },
    RemoveMember {
        at: usize,
        team: usize,
        user: usize,
    },
    SetPermission {
        at: usize,
        team: usize,
        repository: usize,
        permission: usize,
    },
    RemovePermission {
        at: usize,
        team: usize,
        repository: usize,
    },
    CreateRepository {
        at: usize,
        repository: usize,
        public: bool,
    },
    DeleteRepository {
        at: usize,
        repository: usize,
    },
    Rename {
        at: usize,
        to: usize,
    },
    /// Deleted and made again under the same name.
    ReplaceUser {
        user: usize,
    },
    ReplaceOrganization {
        at: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let (at, team, user, repository) = (0..ORGANIZATIONS, 0..TEAMS.len(), 0..USERS.len(), 0..REPOSITORIES.len());
    let (permission, to, name) = (0..GIVEN.len(), 1..TEAMS.len(), 0..NAMES.len());
    prop_oneof![
        4 => (at.clone(), team.clone()).prop_map(|(at, team)| Change::CreateTeam { at, team }),
        2 => (at.clone(), team.clone(), to).prop_map(|(at, team, to)| Change::RenameTeam { at, team, to }),
        1 => (at.clone(), team.clone()).prop_map(|(at, team)| Change::DeleteTeam { at, team }),
        8 => (at.clone(), team.clone(), user.clone()).prop_map(|(at, team, user)| Change::AddMember { at, team, user }),
        3 => (at.clone(), team.clone(), user.clone()).prop_map(|(at, team, user)| Change::RemoveMember { at, team, user }),
        8 => (at.clone(), team.clone(), repository.clone(), permission)
            .prop_map(|(at, team, repository, permission)| Change::SetPermission { at, team, repository, permission }),
        2 => (at.clone(), team, repository.clone()).prop_map(|(at, team, repository)| Change::RemovePermission { at, team, repository }),
        6 => (at.clone(), repository.clone(), any::<bool>())
            .prop_map(|(at, repository, public)| Change::CreateRepository { at, repository, public }),
        1 => (at.clone(), repository).prop_map(|(at, repository)| Change::DeleteRepository { at, repository }),
        2 => (at.clone(), name).prop_map(|(at, to)| Change::Rename { at, to }),
        1 => user.prop_map(|user| Change::ReplaceUser { user }),
        1 => at.prop_map(|at| Change::ReplaceOrganization { at }),
    ]
}

#[derive(Default, Clone)]
struct Team {
    members: HashSet<usize>,
    permissions: HashMap<&'static str, Permission>,
}

struct Organization {
    name: &'static str,
    former: HashSet<&'static str>,
    teams: HashMap<&'static str, Team>,
    /// Whether it is public.
    repositories: HashMap<&'static str, bool>,
}

impl Organization {
    fn new(name: &'static str) -> Self {
        let teams = HashMap::from([("owners", Team::default())]);
        Self { name, former: HashSet::new(), teams, repositories: HashMap::new() }
    }
}

/// What must be true.
struct Naive(Vec<Organization>);

impl Naive {
    fn holds(&self, at: usize, name: &str) -> bool {
        self.0[at].name == name || self.0[at].former.contains(name)
    }

    fn is_owner(&self, at: usize, user: usize) -> bool {
        self.0[at].teams["owners"].members.contains(&user)
    }

    /// What the teams give, without ownership.
    fn given(&self, at: usize, user: usize, repository: &str) -> Option<Permission> {
        let mine = self.0[at].teams.values().filter(|team| team.members.contains(&user));
        mine.filter_map(|team| team.permissions.get(repository).copied()).max_by_key(|permission| match permission {
            Permission::Read => 1,
            Permission::Write => 2,
            Permission::Admin => 3,
            Permission::Owner => 4,
        })
    }

    fn permission(&self, at: usize, user: usize, repository: &str) -> Option<Permission> {
        if self.is_owner(at, user) { Some(Permission::Owner) } else { self.given(at, user, repository) }
    }

    fn teams_of(&self, at: usize, user: usize) -> BTreeSet<String> {
        let mine = self.0[at].teams.iter().filter(|(_, team)| team.members.contains(&user));
        mine.map(|(name, _)| (*name).to_owned()).collect()
    }

    fn membership(&self, at: usize, user: usize) -> Option<Membership> {
        if self.is_owner(at, user) {
            return Some(Membership::Owner);
        }
        (!self.teams_of(at, user).is_empty()).then_some(Membership::Member)
    }

    /// Does it, or says that it cannot be done.
    fn change(&mut self, change: Change) -> bool {
        match change {
            Change::CreateTeam { at, team } => {
                let free = !self.0[at].teams.contains_key(TEAMS[team]);
                if free {
                    self.0[at].teams.insert(TEAMS[team], Team::default());
                }
                free
            }
            Change::RenameTeam { at, team, to } => {
                let teams = &mut self.0[at].teams;
                if team == 0 || teams.contains_key(TEAMS[to]) {
                    return false;
                }
                let Some(moved) = teams.remove(TEAMS[team]) else { return false };
                teams.insert(TEAMS[to], moved);
                true
            }
            Change::DeleteTeam { at, team } => team != 0 && self.0[at].teams.remove(TEAMS[team]).is_some(),
            Change::AddMember { at, team, user } => self.0[at].teams.get_mut(TEAMS[team]).is_some_and(|team| team.members.insert(user)),
            Change::RemoveMember { at, team, user } => self.0[at].teams.get_mut(TEAMS[team]).is_some_and(|team| team.members.remove(&user)),
            Change::SetPermission { at, team, repository, permission } => {
                let Organization { teams, repositories, .. } = &mut self.0[at];
                let name = REPOSITORIES[repository];
                let Some(team) = teams.get_mut(TEAMS[team]).filter(|_| repositories.contains_key(name)) else { return false };
                team.permissions.insert(name, GIVEN[permission]);
                true
            }
            Change::RemovePermission { at, team, repository } => {
                let team = self.0[at].teams.get_mut(TEAMS[team]);
                team.is_some_and(|team| team.permissions.remove(REPOSITORIES[repository]).is_some())
            }
            Change::CreateRepository { at, repository, public } => {
                let free = !self.0[at].repositories.contains_key(REPOSITORIES[repository]);
                if free {
                    self.0[at].repositories.insert(REPOSITORIES[repository], public);
                }
                free
            }
            Change::DeleteRepository { at, repository } => {
                for team in self.0[at].teams.values_mut() {
                    team.permissions.remove(REPOSITORIES[repository]);
                }
                self.0[at].repositories.remove(REPOSITORIES[repository]).is_some()
            }
            Change::Rename { at, to } => {
                if (0..ORGANIZATIONS).any(|other| other != at && self.holds(other, NAMES[to])) {
                    return false;
                }
                let before = std::mem::replace(&mut self.0[at].name, NAMES[to]);
                self.0[at].former.insert(before);
                self.0[at].former.remove(NAMES[to]);
                true
            }
            Change::ReplaceUser { user } => {
                for team in self.0.iter_mut().flat_map(|organization| organization.teams.values_mut()) {
                    team.members.remove(&user);
                }
                true
            }
            Change::ReplaceOrganization { at } => {
                self.0[at] = Organization::new(self.0[at].name);
                true
            }
        }
    }
}

/// The same in a database: one change that is never committed, so the next case begins with nothing.
struct Real {
    tx: WriteTx,
    users: Vec<AccountId>,
    organizations: Vec<AccountId>,
}

fn account_name(text: &str) -> AccountName {
    text.parse().expect("name")
}

fn repository_name(at: usize) -> RepositoryName {
    REPOSITORIES[at].parse().expect("name")
}

fn team_name(at: usize) -> TeamName {
    TEAMS[at].parse().expect("name")
}

async fn add_organization(tx: &mut WriteTx, name: &str) -> AccountId {
    let name = account_name(name);
    let new = NewAccount { kind: AccountKind::Organization, ..NewAccount::user(&name) };
    let id = accounts::insert(tx, &new, NOW).await.expect("inserts");
    teams::insert(tx, id, &TeamName::owners(), "", NOW).await.expect("inserts");
    id
}

impl Real {
    async fn begin(db: &Db) -> Self {
        let mut tx = begin(db).await;
        let (mut users, mut organizations) = (Vec::new(), Vec::new());
        for name in USERS {
            users.push(accounts::insert(&mut tx, &NewAccount::user(&account_name(name)), NOW).await.expect("inserts"));
        }
        for name in &NAMES[..ORGANIZATIONS] {
            organizations.push(add_organization(&mut tx, name).await);
        }
        Self { tx, users, organizations }
    }

    async fn team(&mut self, at: usize, team: usize) -> Option<TeamId> {
        let found = teams::get_by_name(&mut self.tx, self.organizations[at], &team_name(team)).await.expect("query");
        found.map(|team| team.id)
    }

    async fn repository(&mut self, at: usize, repository: usize) -> Option<slipway_model::RepositoryId> {
        let name = accounts::get(&mut self.tx, self.organizations[at]).await.expect("query").expect("stands").name;
        let found = repositories::get_by_name(&mut self.tx, &name, &repository_name(repository)).await.expect("query");
        found.map(|repository| repository.id)
    }

    /// Does it, or says that it cannot be done. Looks before it writes, as the application does: a failed statement would end the change.
    async fn change(&mut self, change: Change) -> bool {
        match change {
            Change::CreateTeam { at, team } => {
                if self.team(at, team).await.is_some() {
                    return false;
                }
                teams::insert(&mut self.tx, self.organizations[at], &team_name(team), "", NOW).await.expect("inserts");
                true
            }
            Change::RenameTeam { at, team, to } => {
                if team == 0 || self.team(at, to).await.is_some() {
                    return false;
                }
                let Some(id) = self.team(at, team).await else { return false };
                teams::update(&mut self.tx, id, &team_name(to), "").await.expect("writes");
                true
            }
            Change::DeleteTeam { at, team } => match self.team(at, team).await.filter(|_| team != 0) {
                Some(id) => teams::delete(&mut self.tx, id).await.expect("deletes"),
                None => false,
            },
            Change::AddMember { at, team, user } => match self.team(at, team).await {
                Some(id) => teams::add_member(&mut self.tx, id, self.users[user], NOW).await.expect("adds"),
                None => false,
            },
            Change::RemoveMember { at, team, user } => match self.team(at, team).await {
                Some(id) => teams::remove_member(&mut self.tx, id, self.users[user]).await.expect("removes"),
                None => false,
            },
            Change::SetPermission { at, team, repository, permission } => {
                let (Some(id), Some(repository)) = (self.team(at, team).await, self.repository(at, repository).await) else { return false };
                teams::set_permission(&mut self.tx, id, repository, GIVEN[permission]).await.expect("sets");
                true
            }
            Change::RemovePermission { at, team, repository } => {
                let (Some(id), Some(repository)) = (self.team(at, team).await, self.repository(at, repository).await) else { return false };
                teams::remove_permission(&mut self.tx, id, repository).await.expect("removes")
            }
            Change::CreateRepository { .. } | Change::DeleteRepository { .. } => self.change_repository(change).await,
            Change::Rename { .. } | Change::ReplaceUser { .. } | Change::ReplaceOrganization { .. } => self.change_account(change).await,
        }
    }

    async fn change_repository(&mut self, change: Change) -> bool {
        match change {
            Change::CreateRepository { at, repository, public } if self.repository(at, repository).await.is_none() => {
                let visibility = if public { Visibility::Public } else { Visibility::Private };
                let (account, name) = (self.organizations[at], repository_name(repository));
                repositories::insert(&mut self.tx, account, &name, "", visibility, NOW).await.expect("inserts");
                true
            }
            Change::DeleteRepository { at, repository } => match self.repository(at, repository).await {
                Some(id) => repositories::delete(&mut self.tx, id).await.expect("deletes"),
                None => false,
            },
            _ => false,
        }
    }

    async fn change_account(&mut self, change: Change) -> bool {
        match change {
            Change::Rename { at, to } => {
                let (id, name) = (self.organizations[at], account_name(NAMES[to]));
                let held = accounts::find(&mut self.tx, &name).await.expect("query");
                if held.is_some_and(|holder| holder.id != id) {
                    return false;
                }
                accounts::rename(&mut self.tx, id, &name, NOW).await.expect("renames");
                true
            }
            Change::ReplaceUser { user } => {
                assert!(accounts::delete(&mut self.tx, self.users[user]).await.expect("deletes"));
                let name = account_name(USERS[user]);
                self.users[user] = accounts::insert(&mut self.tx, &NewAccount::user(&name), NOW).await.expect("inserts");
                true
            }
            Change::ReplaceOrganization { at } => {
                let id = self.organizations[at];
                let name = accounts::get(&mut self.tx, id).await.expect("query").expect("stands").name;
                assert!(accounts::delete(&mut self.tx, id).await.expect("deletes"));
                self.organizations[at] = add_organization(&mut self.tx, name.as_str()).await;
                true
            }
            _ => false,
        }
    }

    /// Compares everything that a right is read from.
    async fn compare(&mut self, naive: &Naive) {
        for user in 0..USERS.len() {
            for at in 0..ORGANIZATIONS {
                self.compare_organization(naive, at, user).await;
            }
            self.compare_user(naive, user).await;
        }
        for name in NAMES {
            let found = accounts::find(&mut self.tx, &account_name(name)).await.expect("query");
            let holder = (0..ORGANIZATIONS).find(|at| naive.holds(*at, name));
            assert_eq!(found.map(|account| account.id), holder.map(|at| self.organizations[at]), "who is called {name}");
        }
    }

    async fn compare_organization(&mut self, naive: &Naive, at: usize, user: usize) {
        let (id, who) = (self.organizations[at], self.users[user]);
        let place = format!("{} in {}", USERS[user], naive.0[at].name);
        assert_eq!(teams::membership(&mut self.tx, id, who).await.expect("query"), naive.membership(at, user), "{place}");
        let teams_of = teams::teams_of(&mut self.tx, id, who).await.expect("lists");
        let teams_of: Vec<String> = teams_of.into_iter().map(|(_, name)| name.as_str().to_owned()).collect();
        assert_eq!(teams_of, naive.teams_of(at, user).into_iter().collect::<Vec<_>>(), "{place}");
        for (repository, name) in REPOSITORIES.iter().enumerate() {
            let found = self.repository(at, repository).await;
            assert_eq!(found.is_some(), naive.0[at].repositories.contains_key(name), "{place}: {name}");
            if let Some(found) = found {
                let permission = teams::permission(&mut self.tx, who, id, found).await.expect("query");
                assert_eq!(permission, naive.permission(at, user, name), "{place}: {name}");
            }
        }
        let seen = |all: bool, through: &dyn Fn(&str) -> bool| {
            let listed = naive.0[at].repositories.iter().filter(|(name, public)| all || **public || through(name));
            listed.map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        for (eyes, wanted) in [
            (Eyes::account(who), seen(false, &|name| naive.given(at, user, name).is_some())),
            (Eyes::owner(), seen(true, &|_| true)),
            (Eyes::stranger(), seen(false, &|_| false)),
        ] {
            let listed = repositories::list(&mut self.tx, id, eyes, None, 50).await.expect("lists");
            assert_eq!(listed.into_iter().map(|found| found.name.as_str().to_owned()).collect::<Vec<_>>(), wanted, "{place}: {eyes:?}");
        }
    }

    async fn compare_user(&mut self, naive: &Naive, user: usize) {
        let tx: &mut ReadTx = &mut self.tx;
        let found = teams::organizations_of(tx, self.users[user]).await.expect("lists");
        let found: Vec<_> = found.into_iter().map(|(account, membership)| (account.name.as_str().to_owned(), membership)).collect();
        let of = |at| naive.membership(at, user).map(|membership| (naive.0[at].name.to_owned(), membership));
        let wanted: BTreeMap<_, _> = (0..ORGANIZATIONS).filter_map(of).collect();
        assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "the organizations of {}", USERS[user]);
        let paths = repositories::search(tx, self.users[user], "", 50).await.expect("searches");
        let paths: BTreeSet<_> = paths.into_iter().map(|found| format!("{}/{}", found.namespace, found.name)).collect();
        let mut wanted = BTreeSet::new();
        for (at, organization) in naive.0.iter().enumerate() {
            let seen = organization.repositories.iter().filter(|(name, public)| **public || naive.permission(at, user, name).is_some());
            wanted.extend(seen.map(|(name, _)| format!("{}/{name}", organization.name)));
        }
        assert_eq!(paths, wanted, "what {} finds", USERS[user]);
    }
}

async fn one_case(db: &Db, changes: &[Change]) {
    let mut naive = Naive(NAMES[..ORGANIZATIONS].iter().map(|name| Organization::new(name)).collect());
    let mut real = Real::begin(db).await;
    for change in changes {
        let (wanted, found) = (naive.change(*change), real.change(*change).await);
        assert_eq!(found, wanted, "whether {change:?} can be done");
        real.compare(&naive).await;
    }
}

fn any_sequence_gives_what_the_model_gives(cases: u32, open: impl AsyncFnOnce() -> Fixture) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let fixture = runtime.block_on(open());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let changes = proptest::collection::vec(change(), 1..40);
    let outcome = runner.run(&changes, |changes| {
        // A task of its own turns a panic into a case that can be made smaller.
        let (db, changes) = (fixture.db.clone(), changes.clone());
        let case = runtime.block_on(runtime.spawn(async move { one_case(&db, &changes).await }));
        case.map_err(|panic| TestCaseError::fail(panic_text(panic)))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(fixture.db.close());
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let payload = error.into_panic();
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without text".into())
}

mod teams_give_what_a_naive_model_gives {
    #[test]
    fn sqlite() {
        super::any_sequence_gives_what_the_model_gives(64, crate::fixture::sqlite);
    }
    #[test]
    fn postgres() {
        super::any_sequence_gives_what_the_model_gives(8, crate::fixture::postgres);
    }
}
