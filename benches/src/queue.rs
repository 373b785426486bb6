//! The queue with 10,000 builds waiting in 50 namespaces: handing one out, and the page that shows them.
//!
//! Claims are made in this process, on both databases: over HTTP they would vanish in the request. A claim is its whole transaction, with the
//! commit. What a run took is given back before the next, so that as many wait. The page is asked for over HTTP, on SQLite, by the person in
//! whose namespace all 10,000 are.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use slipway_model::{
    AccountId, AutobuildId, BuildRule, BuilderId, Clock, CommitId, QueueLimits, RefEventId, RepositoryId, SecretToken, TokenKind,
    Visibility,
};
use slipway_store::accounts::{self, NewAccount};
use slipway_store::builds::{self, NewBuild, Terms};
use slipway_store::{Db, WriteTx, repositories};
use slipway_testkit::postgres;

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::site::{Builder, PERSON, Site};
use crate::stats::percentile;

const WAITING: usize = 10_000;
const NAMESPACES: usize = 50;
/// Claims of one run.
const CLAIMS: usize = 300;
/// Pages of one run.
const PAGES: usize = 30;
/// What the issue grants a claim, in milliseconds.
const BOUND: f64 = 10.0;

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let sqlite = Db::open(&format!("sqlite://{}", folder.path().join("slipway.db").display())).await?;
    let server = postgres::fresh_database().await?;
    let on_postgres = Db::open(&server.url()).await?;
    let mut rows = Vec::new();
    for (name, what, db) in [("queue-claim-sqlite", "SQLite", &sqlite), ("queue-claim-postgresql", "PostgreSQL", &on_postgres)] {
        let started = Instant::now();
        fill(db).await?;
        eprintln!("  {WAITING} builds of {NAMESPACES} namespaces wait on {what} after {:.1} s", started.elapsed().as_secs_f64());
        let mut runs = Vec::new();
        for run in budget.warmed_up() {
            let found = claim(db).await?;
            eprintln!("  run {run}, {what}: {:.2} ms, p99 {:.2} ms", found.0, found.1);
            if run > 0 {
                runs.push(found);
            }
        }
        rows.push(Row {
            name,
            unit: "ms at p99",
            values: runs.iter().map(|(_, slow)| *slow).collect(),
            target: Target::EachAtMost(BOUND),
            note: format!(
                "{CLAIMS} claims a run on {what} with their commits, {WAITING} builds of {NAMESPACES} namespaces waiting; p50: median {} ms",
                middle(&runs.iter().map(|(middle, _)| *middle).collect::<Vec<_>>(), 2)
            ),
        });
    }
    on_postgres.close().await;
    rows.push(page(budget).await?);
    Ok(rows)
}

async fn fill(db: &Db) -> Result<()> {
    db.migrate().await?;
    let mut tx = db.write().await?;
    for number in 0..NAMESPACES {
        let name = format!("namespace-{number}").parse()?;
        let account = accounts::insert(&mut tx, &NewAccount::user(&name), Clock::System.now()).await?;
        let repository = repository(&mut tx, account).await?;
        queue(&mut tx, repository, WAITING / NAMESPACES).await?;
    }
    Ok(tx.commit().await?)
}

async fn repository(tx: &mut WriteTx, account: AccountId) -> Result<RepositoryId> {
    Ok(repositories::insert(tx, account, &"web".parse()?, "", Visibility::Private, Clock::System.now()).await?)
}

async fn queue(tx: &mut WriteTx, repository: RepositoryId, builds: usize) -> Result<()> {
    let (autobuild, rule) = (AutobuildId::new(), BuildRule::default_for("main".parse()?));
    let (provider, name) = ("github".parse().map_err(|error: String| anyhow::anyhow!(error))?, "refs/heads/main".parse()?);
    for number in 1..=builds {
        let commit: CommitId = format!("{number:040x}").parse()?;
        let new = NewBuild {
            repository,
            autobuild,
            rule: &rule,
            ref_event: RefEventId::new(),
            provider: &provider,
            source_id: "42",
            source_name: "octo/web",
            source_ref: &name,
            ref_seq: number as u64,
            commit: &commit,
            commit_message: Some("A change"),
            commit_author: Some("Octo Cat"),
            tags: &[],
            no_cache: false,
            cause: "push",
            started_by: None,
            retry_of: None,
            terms: &Terms::of_push(),
        };
        builds::insert(tx, &new, Clock::System.now()).await?.context("each event is new")?;
    }
    Ok(())
}

/// Milliseconds of claims: middle and 99 of 100.
async fn claim(db: &Db) -> Result<(f64, f64)> {
    let (builder, limits) = (BuilderId::new(), QueueLimits::default());
    let (mut times, mut taken) = (Vec::with_capacity(CLAIMS), Vec::with_capacity(CLAIMS));
    for _ in 0..CLAIMS {
        let token = SecretToken::generate(TokenKind::Build).hash();
        let now = Clock::System.now();
        let started = Instant::now();
        let mut tx = db.write().await?;
        let claimed = builds::claim(&mut tx, builder, &token, &limits, now, now.plus(std::time::Duration::from_secs(3600))).await?;
        tx.commit().await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        taken.push(claimed.context("10,000 builds wait")?.id);
    }
    let mut tx = db.write().await?;
    let (waiting, running) = builds::queue_length(&mut tx).await?;
    ensure!((waiting, running) == ((WAITING - CLAIMS) as u64, CLAIMS as u64), "{waiting} wait and {running} run");
    for build in taken {
        builds::put_back(&mut tx, build, "measured", Clock::System.now()).await?;
    }
    tx.commit().await?;
    let of = |percent| percentile(&times, percent).context("there were claims");
    Ok((of(50)?, of(99)?))
}

async fn page(budget: Budget) -> Result<Row> {
    let site = Site::start(Builder::Off).await?;
    let db = Db::open(&format!("sqlite://{}", site.folder().join("data").join("slipway.db").display())).await?;
    let mut tx = db.write().await?;
    let account = accounts::get_by_name(&mut tx, &PERSON.parse()?).await?.context("the administrator")?.id;
    let repository = repository(&mut tx, account).await?;
    queue(&mut tx, repository, WAITING).await?;
    tx.commit().await?;
    db.close().await;
    let cookie = site.sign_in().await?;
    let mut runs = Vec::new();
    for run in budget.warmed_up() {
        let mut times = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            let started = Instant::now();
            site.page("/builds", &cookie).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let slow = percentile(&times, 99).context("there were pages")?;
        eprintln!("  run {run}: the page of the queue takes {slow:.1} ms at p99");
        if run > 0 {
            runs.push(slow);
        }
    }
    site.stop().await?;
    Ok(Row {
        name: "queue-page",
        unit: "ms at p99",
        values: runs,
        target: Target::EachAtMost(100.0),
        note: format!("{PAGES} times `/builds` over HTTP, {WAITING} builds waiting in the namespace that is shown, on SQLite"),
    })
}
