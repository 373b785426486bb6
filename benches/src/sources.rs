//! Source providers with many repositories: how long a search in the picker takes, what comparing 5,000 sources costs.
//!
//! The picker is asked over HTTP. Hours cannot be waited for, so provider calls are counted with the loops' own steps on a clock that is moved
//! by hand, in this process, on the database that the server left: every request that the provider received counts, whatever it was for.
//! Memory is the server's own, which then compares on that database everything that its hourly allowance lets it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use slipway_app::{App, AutobuildInput, Caller, Config, Keys};
use slipway_forge::{Forge, Provider};
use slipway_model::{Clock, ProviderId, ProviderKind, Scope, SecretToken, TokenKind, Visibility};
use slipway_store::{Db, reconciling};
use slipway_testkit::github::Webhooks;
use slipway_testkit::wait;
use url::Url;

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, PATIENCE, PERSON, Site};
use crate::stats::percentile;

const REPOSITORIES: usize = 10_000;
const SOURCES: usize = 5_000;
/// Of a hundred sources so many are pushed to in an hour.
const PUSHED: usize = 2;
/// Searches of one run.
const SEARCHES: usize = 100;
/// Between two searches: no credential may ask more than 1,200 times a minute.
const TYPING: Duration = Duration::from_millis(60);
/// The loops look more often; what is due meanwhile is done in the same step.
const STEP: Duration = Duration::from_secs(60);
const STEPS_AN_HOUR: usize = 60;
/// Webhooks are looked at in batches, one every 20 s.
const HOOK_CHECKS_A_STEP: usize = 3;
/// Hours until everything has been looked at once, which are not counted.
const SETTLING: usize = 1;
/// Hours that are counted: each takes long, and the second shows whether the first was one of many.
const COUNTED: usize = 2;
/// So long the server compares while its memory is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let mut site = Site::start(Builder::Off).await?;
    let measured = measure_on(&mut site, budget).await;
    let rows = measured.map_err(|error| site.explain(error))?;
    site.stop().await?;
    Ok(rows)
}

async fn measure_on(site: &mut Site, budget: Budget) -> Result<Vec<Row>> {
    let template = format!("{AUTHOR}/template");
    site.github.repository(&template, slipway_testkit::github::Visibility::Private).await?;
    let first = site.github.commit(&template, "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    for tag in ["v1", "v2", "v3"] {
        site.github.tag(&template, tag, &first).await?;
    }
    site.github.add_many_repositories_like(AUTHOR, REPOSITORIES, &template);
    // The limit of a real account, which this must stay below, would only hide how much is asked.
    site.github.set_rate_limit(AUTHOR, 10_000_000);
    let started = Instant::now();
    site.link().await?;
    let path = format!("/namespaces/{PERSON}/links/github/source-repositories?q=");
    wait::until("all repositories to be read", PATIENCE, || async {
        Ok(site.get(&format!("{path}many-09999")).await?.get("complete").filter(|complete| **complete == true).map(|_| ()))
    })
    .await?;
    eprintln!("  {REPOSITORIES} repositories are read {:.1} s after linking", started.elapsed().as_secs_f64());
    let mut searches = Vec::new();
    for run in budget.warmed_up() {
        let found = search(site, &path).await?;
        eprintln!("  run {run}: a search takes {:.2} ms, p99 {:.2} ms", found.0, found.1);
        if run > 0 {
            searches.push(found);
        }
    }

    site.pause().await?;
    // The server is down: every push has to be found.
    site.github.set_webhooks(Webhooks::Drop);
    let mut hours = Hours::prepare(site, first).await?;
    for hour in 0..SETTLING {
        let calls = hours.one().await?;
        eprintln!("  settling hour {hour}: {calls} calls, {:.1} s", started.elapsed().as_secs_f64());
    }
    let mut calls = Vec::new();
    for number in 0..COUNTED {
        let hour = hours.one().await?;
        eprintln!("  hour {number}: {hour} calls, {:.1} s", started.elapsed().as_secs_f64());
        calls.push(hour as f64);
    }
    hours.everything_is_due().await?;
    drop(hours);

    let before = site.github.count_requests();
    site.run().await?;
    tokio::time::sleep(WATCHED).await;
    let peak = site.server()?.memory_kib("VmHWM")? as f64 / 1024.0;
    let asked = site.github.count_requests() - before;
    ensure!(asked > 1_000, "the server compared next to nothing: {asked} calls");
    Ok(vec![
        Row {
            name: "picker-search",
            unit: "ms at p99",
            values: searches.iter().map(|(_, slow)| *slow).collect(),
            target: Target::EachAtMost(100.0),
            note: format!(
                "{SEARCHES} searches a run over HTTP in {REPOSITORIES} repositories: parts of names, none, pages; p50: median {} ms",
                middle(&searches.iter().map(|(middle, _)| *middle).collect::<Vec<_>>(), 1)
            ),
        },
        Row {
            name: "reconcile-calls-per-hour",
            unit: "calls",
            values: calls,
            target: Target::EachAtMost(5_000.0),
            note: format!(
                "every request at the provider for {SOURCES} sources of one link, {PUSHED} % pushed to each hour without any delivery, webhooks and link checked too; hours by a moved clock after {SETTLING} of settling"
            ),
        },
        Row {
            name: "reconcile-memory",
            unit: "MiB resident",
            values: vec![peak],
            target: Target::EachAtMost(200.0),
            note: format!("VmHWM of the server {} s after a start with all {SOURCES} sources due; {asked} calls made", WATCHED.as_secs()),
        },
    ])
}

/// Milliseconds of searches: middle and 99 of 100.
async fn search(site: &Site, path: &str) -> Result<(f64, f64)> {
    let mut times = Vec::with_capacity(SEARCHES);
    let mut next: Option<String> = None;
    for number in 0..SEARCHES {
        let text = match number % 4 {
            0 => String::new(),
            1 => format!("many-{:05}", rand::rng().random_range(0..REPOSITORIES)),
            2 => format!("{:03}", rand::rng().random_range(0..1000)),
            _ => "no-such-name".to_owned(),
        };
        // Everything is walked through page by page, between the others.
        let cursor = next.as_ref().filter(|_| text.is_empty()).map(|next| format!("&cursor={next}")).unwrap_or_default();
        tokio::time::sleep(TYPING).await;
        let started = Instant::now();
        let page = site.get(&format!("{path}{text}{cursor}")).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if text.is_empty() {
            next = page["next"].as_str().map(str::to_owned);
        }
        let shown = page["items"].as_array().context("a list")?.len();
        ensure!((shown == 0) == (text == "no-such-name"), "a search for `{text}` gave {shown} repositories");
    }
    let of = |percent| percentile(&times, percent).context("there were searches");
    Ok((of(50)?, of(99)?))
}

/// The application on a clock that is moved.
struct Hours<'a> {
    site: &'a Site,
    app: App,
    clock: Clock,
    provider: ProviderId,
    caller: Caller,
    /// What every repository has.
    commit: String,
    hour: usize,
}

impl<'a> Hours<'a> {
    /// 5,000 repositories that are built from as many sources, with their webhooks.
    async fn prepare(site: &'a Site, commit: String) -> Result<Self> {
        let started = Instant::now();
        let clock = Clock::manual(Clock::System.now());
        let data = site.folder().join("data");
        let db = Db::open(&format!("sqlite://{}", data.join("slipway.db").display())).await?;
        let key: [u8; 32] = std::fs::read(data.join("secret.key"))?.try_into().map_err(|_| anyhow!("a key has 32 bytes"))?;
        let provider: ProviderId = "github".parse().map_err(|error: String| anyhow!(error))?;
        let address: Url = site.address().parse()?;
        let app = App::new(db, clock.clone(), Keys::derive(&key), [forge(site, &provider)?], Config::new(address));
        let token = SecretToken::presented(TokenKind::Personal, &site.token).context("an access token")?;
        let caller = app.caller_by_token(&token, "127.0.0.1").await?.context("the token stands")?;
        let hours = Self { site, app, clock, provider, caller, commit, hour: 0 };
        let name = PERSON.parse()?;
        let owner = hours.app.namespace(&hours.caller, &name, Scope::RepoAdmin).await?;
        for number in 0..SOURCES {
            let repository = format!("many-{number:05}");
            hours.app.create_repository(&owner, &repository, "", Visibility::Private).await?;
            let right = hours.app.repository_admin(&hours.caller, &name, &repository.parse()?).await?;
            let source = format!("{AUTHOR}/{repository}");
            let input = AutobuildInput {
                provider: "github".into(),
                source,
                source_id: None,
                autotest: None,
                approve_external: None,
                cancel_superseded: None,
                rules: Vec::new(),
                env: None,
            };
            hours.app.put_autobuild(&right, &input).await?;
        }
        while hours.app.settle_hooks_once().await? > 0 {}
        eprintln!("  {SOURCES} sources with webhooks stand after {:.1} s", started.elapsed().as_secs_f64());
        Ok(hours)
    }

    /// An hour of all that asks a provider by itself; gives how many requests it received.
    async fn one(&mut self) -> Result<usize> {
        self.hour += 1;
        let tag = format!("hour-{}", self.hour);
        let before = self.site.github.count_requests();
        let mut pushed: Vec<usize> = (0..SOURCES).collect();
        pushed.shuffle(&mut rand::rng());
        pushed.truncate(SOURCES * PUSHED / 100);
        for step in 0..STEPS_AN_HOUR {
            for number in pushed.iter().skip(step).step_by(STEPS_AN_HOUR) {
                let source = format!("{AUTHOR}/many-{number:05}");
                self.site.github.tag(&source, &tag, &self.commit).await?;
            }
            self.clock.advance(STEP);
            self.site.github.advance_clock(STEP);
            while self.app.check_links_once().await? > 0 {}
            while self.app.sweep_sources_once().await? {}
            while self.app.reconcile_once().await? > 0 {}
            self.app.settle_hooks_once().await?;
            for _ in 0..HOOK_CHECKS_A_STEP {
                self.app.check_hooks_once().await?;
            }
        }
        Ok(self.site.github.count_requests() - before)
    }

    /// What the server finds when it starts after a long time.
    async fn everything_is_due(&self) -> Result<()> {
        let mut tx = self.app.db().write().await?;
        let due = reconciling::hurry_account(&mut tx, self.caller.account().id, &self.provider, Clock::System.now()).await?;
        ensure!(due as usize == SOURCES, "{due} sources are due");
        Ok(tx.commit().await?)
    }
}

fn forge(site: &Site, provider: &ProviderId) -> Result<Arc<dyn Forge>> {
    Ok(slipway_forge::open(Provider {
        id: provider.clone(),
        kind: ProviderKind::GitHub,
        web_url: site.github.web_url().parse()?,
        api_url: site.github.api_url().parse()?,
        client_id: site.oauth.client_id.clone(),
        client_secret: site.oauth.client_secret.clone().into(),
        app: None,
        ssh: None,
    })?)
}
