//! The queue with 10,000 builds waiting in 50 namespaces: handing one out, and the page that shows them.
//!
//! A claim is `App::claim`, in this process and on both databases, from the builder's wish until the build is its own with all that it needs:
//! the transaction that looks at the node and takes a build, what is read and opened for it, and the transaction that hands it out. Only the
//! network is left out: over HTTP a claim would vanish in the request, and the provider, which is asked between the two transactions, answers
//! from memory. One builder claims alone, which is what has a target; and four do nothing but claim, more than builders ever do: claims come
//! one after another, so that is mostly the wait for the other three, and says how many a second are handed out. What a run took is given back before the next, so that as many wait. The page is asked for over HTTP, on SQLite, by the
//! person in whose namespace all 10,000 are.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use slipway_app::{App, Config, Keys, RegisteredBuilder};
use slipway_forge::Provider;
use slipway_forge::scripted::{Answer, Asked, Script, answering};
use slipway_model::{
    AccessLevel, AccountId, AutobuildId, Autotest, BuildId, BuildRule, Clock, CommitId, LinkId, LinkState, LinkedAs, ProviderId,
    ProviderKind, RefEventId, RepositoryId, Visibility,
};
use slipway_store::accounts::{self, NewAccount};
use slipway_store::builds::{self, NewBuild, Terms};
use slipway_store::links::{self, Link};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::{Db, WriteTx, sources};
use slipway_testkit::postgres;

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::site::{Builder, PERSON, Site};
use crate::stats::percentile;

const WAITING: usize = 10_000;
const NAMESPACES: usize = 50;
/// Claims of one run: 99 of 100 leave out the ten longest.
const CLAIMS: usize = 1_000;
/// Builders that claim at the same moment.
const AT_ONCE: usize = 4;
/// Pages of one run.
const PAGES: usize = 30;
/// What the issue grants a claim, in milliseconds.
const BOUND: f64 = 10.0;
const KEY: [u8; 32] = [1; 32];
const SOURCE: &str = "octo/web";
const SOURCE_ID: &str = "42";

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let mut rows = vec![page(budget).await?];
    let folder = tempfile::tempdir()?;
    let sqlite = Db::open(&format!("sqlite://{}", folder.path().join("slipway.db").display())).await?;
    let server = postgres::fresh_database().await?;
    let on_postgres = Db::open(&server.url()).await?;
    for (names, what, db) in [
        (["queue-claim-sqlite", "queue-claim-at-once-sqlite"], "SQLite", &sqlite),
        (["queue-claim-postgresql", "queue-claim-at-once-postgresql"], "PostgreSQL", &on_postgres),
    ] {
        rows.extend(claims(budget, names, what, db).await?);
    }
    on_postgres.close().await;
    Ok(rows)
}

async fn claims(budget: Budget, names: [&'static str; 2], what: &str, db: &Db) -> Result<Vec<Row>> {
    let started = Instant::now();
    fill(db).await?;
    eprintln!("  {WAITING} builds of {NAMESPACES} namespaces wait on {what} after {:.1} s", started.elapsed().as_secs_f64());
    let config = Config::new("http://127.0.0.1".parse()?);
    let app = Arc::new(App::new(db.clone(), Clock::System, Keys::derive(&KEY), [forge()?], config));
    let mut builders = Vec::new();
    for number in 0..AT_ONCE {
        let token = app.register_builtin_builder(&format!("builder-{number}")).await?;
        builders.push(app.builder_by_token(token.expose()).await?.context("it was just registered")?);
    }
    let mut found = [Vec::new(), Vec::new()];
    for run in budget.warmed_up() {
        for (found, builders) in found.iter_mut().zip([&builders[..1], &builders[..]]) {
            let times = claim(&app, builders).await?;
            let of = |percent| percentile(&times, percent).context("there were claims");
            let (middle, slow) = (of(50)?, of(99)?);
            eprintln!("  run {run}, {what}, {} at once: {middle:.2} ms, p99 {slow:.2} ms", builders.len());
            if run > 0 {
                found.push((middle, slow));
            }
        }
    }
    let [alone, together] = found;
    let [name_alone, name_together] = names;
    let wait = format!("by {AT_ONCE} builders at the same time, the wait for each other within");
    Ok(vec![
        row(name_alone, &alone, &format!("by one builder on {what}"), Target::EachAtMost(BOUND)),
        row(name_together, &together, &format!("{wait} on {what}"), Target::None),
    ])
}

/// Of each run the middle claim and the slow one, in milliseconds.
fn row(name: &'static str, runs: &[(f64, f64)], who: &str, target: Target) -> Row {
    let middle = middle(&runs.iter().map(|(middle, _)| *middle).collect::<Vec<_>>(), 2);
    Row {
        name,
        unit: "ms at p99",
        values: runs.iter().map(|(_, slow)| *slow).collect(),
        target,
        note: format!(
            "{CLAIMS} times `App::claim` a run {who}, the provider answering from memory, {WAITING} builds of {NAMESPACES} namespaces waiting; p50: median {middle} ms"
        ),
    }
}

fn provider() -> Result<ProviderId> {
    "github".parse().map_err(|error: String| anyhow!(error))
}

fn forge() -> Result<Arc<dyn slipway_forge::Forge>> {
    Ok(slipway_forge::open(Provider {
        id: provider()?,
        kind: ProviderKind::GitHub,
        web_url: "https://github.com".parse()?,
        api_url: "https://api.github.com".parse()?,
        client_id: "bench".to_owned(),
        client_secret: "bench".to_owned().into(),
        app: None,
        ssh: None,
    })?)
}

/// A provider that knows one repository.
fn script() -> Script {
    let repository = format!(r#"{{"id":{SOURCE_ID},"full_name":"{SOURCE}","default_branch":"main","private":true}}"#);
    let repository = Bytes::from(repository);
    Arc::new(move |asked: &Asked<'_>| {
        let is_known = asked.url.path() == format!("/repositories/{SOURCE_ID}");
        let (status, body) = if is_known { (200, repository.clone()) } else { (404, Bytes::from_static(b"{}")) };
        Answer { status: reqwest::StatusCode::from_u16(status).expect("a status"), headers: reqwest::header::HeaderMap::new(), body }
    })
}

async fn fill(db: &Db) -> Result<()> {
    db.migrate().await?;
    let mut tx = db.write().await?;
    for number in 0..NAMESPACES {
        let name = format!("namespace-{number}").parse()?;
        let account = accounts::insert(&mut tx, &NewAccount::user(&name), Clock::System.now()).await?;
        let repository = repository(&mut tx, account).await?;
        let autobuild = build_from_link(&mut tx, account, repository).await?;
        queue(&mut tx, repository, autobuild, WAITING / NAMESPACES).await?;
    }
    Ok(tx.commit().await?)
}

async fn repository(tx: &mut WriteTx, account: AccountId) -> Result<RepositoryId> {
    Ok(repositories::insert(tx, account, &"web".parse()?, "", Visibility::Private, Clock::System.now()).await?)
}

/// Settings without variables, and a link that serves them.
async fn build_from_link(tx: &mut WriteTx, account: AccountId, repository: RepositoryId) -> Result<AutobuildId> {
    let (keys, now, provider) = (Keys::derive(&KEY), Clock::System.now(), provider()?);
    let (autobuild, link) = (AutobuildId::new(), LinkId::new());
    let settings = Autobuild {
        id: autobuild,
        repository,
        provider: provider.clone(),
        source_id: SOURCE_ID.to_owned(),
        source_name: SOURCE.to_owned(),
        default_branch: "main".to_owned(),
        autotest: Autotest::Off,
        approve_external: true,
        cancel_superseded: true,
        environment_sealed: keys.seal(&["autobuilds.environment", &autobuild.to_string()], b"[]"),
        updated_at: now,
    };
    repositories::upsert_autobuild(tx, &settings).await?;
    let row = Link {
        id: link,
        account,
        provider: provider.clone(),
        remote_user_id: "1".to_owned(),
        login: "octo".to_owned(),
        display_name: None,
        access: AccessLevel::Full,
        linked_as: LinkedAs::Person,
        scopes: Vec::new(),
        access_token_sealed: keys.seal(&["links.access_token", &link.to_string()], b"token"),
        refresh_token_sealed: None,
        token_expires_at: None,
        token_version: 1,
        state: LinkState::Ok,
        since: now,
        evidence: None,
        evidence_status: None,
        failures: 0,
        probe_marker: None,
        told_since: None,
        checked_at: Some(now),
        next_check_at: now,
        unlinking: false,
        avatar_url: None,
        linked_at: now,
        created_at: now,
    };
    ensure!(links::upsert(tx, &row).await?, "the link is new");
    sources::adopt_unserved(tx, account, &provider, link).await?;
    Ok(autobuild)
}

async fn queue(tx: &mut WriteTx, repository: RepositoryId, autobuild: AutobuildId, builds: usize) -> Result<()> {
    let rule = BuildRule::default_for("main".parse()?);
    let (provider, name) = (provider()?, "refs/heads/main".parse()?);
    for number in 1..=builds {
        let commit: CommitId = format!("{number:040x}").parse()?;
        let new = NewBuild {
            repository,
            autobuild,
            rule: &rule,
            ref_event: RefEventId::new(),
            provider: &provider,
            source_id: SOURCE_ID,
            source_name: SOURCE,
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

/// Milliseconds of every claim, shared among these builders, which claim at the same time.
async fn claim(app: &Arc<App>, builders: &[RegisteredBuilder]) -> Result<Vec<f64>> {
    let each = builders.iter().map(|builder| {
        let (app, builder) = (Arc::clone(app), builder.clone());
        async move { tokio::spawn(answering(script(), claim_some(app, builder, CLAIMS / builders.len()))).await? }
    });
    let (mut times, mut taken) = (Vec::with_capacity(CLAIMS), Vec::with_capacity(CLAIMS));
    for some in try_join_all(each).await? {
        for (time, build) in some {
            times.push(time);
            taken.push(build);
        }
    }
    let mut tx = app.db().write().await?;
    let (waiting, running) = builds::queue_length(&mut tx).await?;
    ensure!((waiting, running) == ((WAITING - CLAIMS) as u64, CLAIMS as u64), "{waiting} wait and {running} run");
    for build in taken {
        builds::put_back(&mut tx, build, "measured", Clock::System.now()).await?;
    }
    tx.commit().await?;
    Ok(times)
}

async fn claim_some(app: Arc<App>, builder: RegisteredBuilder, count: usize) -> Result<Vec<(f64, BuildId)>> {
    let mut claimed = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let handed = app.claim(&builder).await?;
        let time = started.elapsed().as_secs_f64() * 1e3;
        claimed.push((time, handed.context("10,000 builds wait")?.build.id));
    }
    Ok(claimed)
}

async fn page(budget: Budget) -> Result<Row> {
    let site = Site::start(Builder::Off).await?;
    let db = Db::open(&format!("sqlite://{}", site.folder().join("data").join("slipway.db").display())).await?;
    let mut tx = db.write().await?;
    let account = accounts::get_by_name(&mut tx, &PERSON.parse()?).await?.context("the administrator")?.id;
    let repository = repository(&mut tx, account).await?;
    queue(&mut tx, repository, AutobuildId::new(), WAITING).await?;
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
