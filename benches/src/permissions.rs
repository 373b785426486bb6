//! Permission checks in one large organization: 1,000 teams and 10,000 repositories on SQLite.
//!
//! Not from outside, as the other parts: over HTTP the check would vanish in the request. `App::repository_read` is what every page and every
//! API operation calls (name, permission, refusal); `teams::permission` is the statement inside of it. Both with their transaction.
//! Every second check is of a repository that all the teams have a permission for, the others are of any.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use slipway_app::{App, Caller, Config, Error, Keys};
use slipway_model::{
    AccountId, AccountKind, AccountName, Clock, Permission, RepositoryId, RepositoryName, TeamName, TokenKind, Visibility,
};
use slipway_store::accounts::{self, NewAccount};
use slipway_store::{Db, WriteTx, repositories, teams, tokens};

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::stats::percentile;

const TEAMS: usize = 1_000;
const REPOSITORIES: usize = 10_000;
/// Repositories that every team has a permission for.
const SHARED: usize = 10;
/// Others that a team has a permission for.
const EACH: usize = 50;
const CHECKS: usize = 2_000;
/// What the issue grants, in milliseconds.
const BOUND: f64 = 2.0;

/// Somebody who is asked about.
struct Person {
    /// Names of the rows: of the right, of the statement.
    rows: [&'static str; 2],
    what: &'static str,
    account: AccountId,
    caller: Caller,
}

struct Large {
    app: App,
    organization: AccountId,
    namespace: AccountName,
    repositories: Vec<(RepositoryId, RepositoryName)>,
    people: Vec<Person>,
    /// Goes with the rest.
    _folder: tempfile::TempDir,
}

/// Milliseconds of many checks.
struct Run {
    middle: f64,
    slow: f64,
}

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let started = Instant::now();
    let large = prepare().await?;
    eprintln!("  {TEAMS} teams and {REPOSITORIES} repositories stand after {:.1} s", started.elapsed().as_secs_f64());
    let mut found: Vec<[Vec<Run>; 2]> = large.people.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for run in budget.warmed_up() {
        for (person, found) in large.people.iter().zip(&mut found) {
            let measured = [large.rights(person).await?, large.statements(person).await?];
            let [right, statement] = &measured;
            eprintln!("  run {run}, {}: right {:.3} ms, statement {:.3} ms at p99", person.what, right.slow, statement.slow);
            if run > 0 {
                found.iter_mut().zip(measured).for_each(|(found, run)| found.push(run));
            }
        }
    }
    let mut rows = Vec::new();
    for (person, found) in large.people.iter().zip(found) {
        for ((name, what), runs) in person.rows.into_iter().zip(["App::repository_read", "teams::permission"]).zip(found) {
            let middles: Vec<f64> = runs.iter().map(|run| run.middle).collect();
            rows.push(Row {
                name,
                unit: "ms at p99",
                values: runs.iter().map(|run| run.slow).collect(),
                target: Target::EachAtMost(BOUND),
                note: format!("{what} for a user {}, {CHECKS} checks a run; p50: median {} ms", person.what, middle(&middles, 3)),
            });
        }
    }
    Ok(rows)
}

async fn prepare() -> Result<Large> {
    let folder = tempfile::tempdir()?;
    let db = open(folder.path()).await?;
    let clock = Clock::System;
    let namespace: AccountName = "large".parse()?;
    let mut tx = db.write().await?;
    let new = NewAccount { kind: AccountKind::Organization, ..NewAccount::user(&namespace) };
    let organization = accounts::insert(&mut tx, &new, clock.now()).await?;
    let repositories = add_repositories(&mut tx, organization, &clock).await?;
    let mut accounts = Vec::new();
    for name in ["in-all", "in-one", "in-none"] {
        accounts.push(accounts::insert(&mut tx, &NewAccount::user(&name.parse()?), clock.now()).await?);
    }
    add_teams(&mut tx, organization, &repositories, &accounts, &clock).await?;
    tx.commit().await?;
    let app = App::new(db, clock, Keys::derive(&[1; 32]), [], Config::new("http://127.0.0.1".parse()?));
    let mut people = Vec::new();
    for ((rows, what), account) in [
        (["right-all-teams", "permission-all-teams"], "in all teams"),
        (["right-one-team", "permission-one-team"], "in one team"),
        (["right-no-team", "permission-no-team"], "in no team"),
    ]
    .into_iter()
    .zip(accounts)
    {
        let caller = bearer(&app, account).await?;
        people.push(Person { rows, what, account, caller });
    }
    Ok(Large { app, organization, namespace, repositories, people, _folder: folder })
}

async fn open(folder: &Path) -> Result<Db> {
    let db = Db::open(&format!("sqlite://{}", folder.join("slipway.db").display())).await?;
    db.migrate().await?;
    Ok(db)
}

async fn add_repositories(tx: &mut WriteTx, organization: AccountId, clock: &Clock) -> Result<Vec<(RepositoryId, RepositoryName)>> {
    let mut added = Vec::with_capacity(REPOSITORIES);
    for number in 0..REPOSITORIES {
        let name: RepositoryName = format!("repository-{number}").parse()?;
        added.push((repositories::insert(tx, organization, &name, "", Visibility::Private, clock.now()).await?, name));
    }
    Ok(added)
}

/// `owners` has nobody of those that are asked about: it would end the question early.
async fn add_teams(
    tx: &mut WriteTx,
    organization: AccountId,
    repositories: &[(RepositoryId, RepositoryName)],
    accounts: &[AccountId],
    clock: &Clock,
) -> Result<()> {
    let (in_all, in_one) = (accounts[0], accounts[1]);
    teams::insert(tx, organization, &TeamName::owners(), "", clock.now()).await?;
    for number in 0..TEAMS {
        let team = teams::insert(tx, organization, &format!("team-{number}").parse()?, "", clock.now()).await?;
        teams::add_member(tx, team, in_all, clock.now()).await?;
        if number == TEAMS / 2 {
            teams::add_member(tx, team, in_one, clock.now()).await?;
        }
        let others = (0..EACH).map(|_| rand::rng().random_range(SHARED..REPOSITORIES));
        for (at, repository) in (0..SHARED).chain(others).enumerate() {
            let permission = [Permission::Read, Permission::Write, Permission::Admin][at % 3];
            teams::set_permission(tx, team, repositories[repository].0, permission).await?;
        }
    }
    Ok(())
}

async fn bearer(app: &App, account: AccountId) -> Result<Caller> {
    let secret = slipway_model::SecretToken::generate(TokenKind::Personal);
    let (hash, scopes) = (secret.hash(), "repo:read".parse().map_err(|error: String| anyhow::anyhow!(error))?);
    let new =
        tokens::NewToken { account, created_by: None, name: "bench", hash: &hash, scopes: &scopes, repositories: None, expires_at: None };
    let mut tx = app.db().write().await?;
    tokens::insert(&mut tx, &new, app.clock().now()).await?;
    tx.commit().await?;
    app.caller_by_token(&secret, "127.0.0.1").await?.context("the token stands")
}

impl Large {
    /// Every second one is shared by all teams.
    fn pick(&self, check: usize) -> &(RepositoryId, RepositoryName) {
        let at = if check.is_multiple_of(2) { rand::rng().random_range(0..SHARED) } else { rand::rng().random_range(0..REPOSITORIES) };
        &self.repositories[at]
    }

    async fn rights(&self, person: &Person) -> Result<Run> {
        let (mut times, mut given) = (Vec::with_capacity(CHECKS), 0);
        for check in 0..CHECKS {
            let (_, name) = self.pick(check);
            let started = Instant::now();
            let answer = self.app.repository_read(&person.caller, &self.namespace, name).await;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            match answer {
                Ok(_) => given += 1,
                Err(Error::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        summed_up(person, &times, given)
    }

    async fn statements(&self, person: &Person) -> Result<Run> {
        let (mut times, mut given) = (Vec::with_capacity(CHECKS), 0);
        for check in 0..CHECKS {
            let (id, _) = self.pick(check);
            let started = Instant::now();
            let mut tx = self.app.db().read().await?;
            let permission = teams::permission(&mut tx, person.account, self.organization, *id).await?;
            drop(tx);
            times.push(started.elapsed().as_secs_f64() * 1e3);
            given += usize::from(permission.is_some());
        }
        summed_up(person, &times, given)
    }
}

/// A check that answers something else than it should measures something else.
fn summed_up(person: &Person, times: &[f64], given: usize) -> Result<Run> {
    let expected = if person.what == "in no team" { 0..=0 } else { CHECKS / 2..=CHECKS };
    ensure!(expected.contains(&given), "{given} of {CHECKS} checks gave a right for a user {}", person.what);
    let of = |percent| percentile(times, percent).context("there were checks");
    Ok(Run { middle: of(50)?, slow: of(99)? })
}
