//! An idle node: how long a delivered push waits for its build to run, and how long an unchanged repository takes from push to tag.
//!
//! Every push is a new commit of the same files, one after another, so the build finds all of its steps in the cache. The wait is what the
//! API says of it: from the delivery's `received_at` until its builder began with the first phase. A build is `running` before that, from the
//! claim on, while the provider is asked and the builder does not know of it yet; both times are of one clock, the machine's. Deliberately
//! elsewhere: work that is not cached (`overhead`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use slipway_model::Timestamp;

use crate::budget::Budget;
use crate::docker::Docker;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, PERSON, Site};
use crate::stats::percentile;

const NAME: &str = "unchanged";
/// Pushes of one run.
const PUSHES: usize = 20;
const BUILD_WITHIN: Duration = Duration::from_secs(60);
/// More often than this would be more requests a minute than anybody may send.
const POLL: Duration = Duration::from_millis(60);
/// What the issue grants: the wait in milliseconds at the middle and at 99 of 100, and a warm build in seconds.
const MIDDLE: f64 = 300.0;
const SLOW: f64 = 1000.0;
const WARM: f64 = 2.0;

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let site = Site::start(Builder::BuiltIn).await?;
    let docker = Docker::new(&site.folder().join("docker-config")).await?;
    let measured = pushes(&site, &docker, budget).await.map_err(|error| site.explain(error));
    docker.forget(site.host()).await?;
    let runs = measured?;
    site.stop().await?;
    let waits: Vec<f64> = runs.iter().flatten().map(|(wait, _)| *wait).collect();
    let whole: Vec<f64> = runs.iter().flatten().map(|(_, whole)| *whole).collect();
    let pushes = waits.len();
    let of_runs = |percent| -> Result<Vec<f64>> {
        let of = |run: &Vec<(f64, f64)>| percentile(&run.iter().map(|(wait, _)| *wait).collect::<Vec<_>>(), percent);
        runs.iter().map(|run| of(run).context("there were pushes")).collect()
    };
    let slow = percentile(&waits, 99).context("there were pushes")?;
    Ok(vec![
        Row {
            name: "delivery-to-running-p50",
            unit: "ms",
            values: of_runs(50)?,
            target: Target::EachAtMost(MIDDLE),
            note: format!("{PUSHES} pushes a run, from the delivery received to the builder's first phase begun, nothing else to do"),
        },
        Row {
            name: "delivery-to-running-p99",
            unit: "ms",
            values: vec![slow],
            target: Target::EachAtMost(SLOW),
            note: format!("of all {pushes} pushes together"),
        },
        Row {
            name: "warm-build",
            unit: "s",
            target: Target::EachAtMost(WARM),
            note: format!(
                "{pushes} times, from the push of an unchanged repository to its build ended and its tag moved; median {} s",
                middle(&whole, 2)
            ),
            values: whole,
        },
    ])
}

/// Milliseconds until the build ran and seconds until it had ended, of each push of each run.
async fn pushes(site: &Site, docker: &Docker, budget: Budget) -> Result<Vec<Vec<(f64, f64)>>> {
    site.link().await?;
    site.create_repository("base").await?;
    docker.push_base(site.host(), PERSON, &site.token, site.folder()).await?;
    site.build_automatically(NAME, "main").await?;
    let dockerfile = format!("FROM {}/{PERSON}/base\nCOPY . /data/\nRUN cat /data/* > /all\n", site.host());
    let files = [("Dockerfile", dockerfile.as_str()), ("data", "the same each time")];
    push(site, &files).await?;
    let mut runs = Vec::new();
    for run in budget.runs() {
        let mut found = Vec::with_capacity(PUSHES);
        for _ in 0..PUSHES {
            found.push(push(site, &files).await?);
        }
        let slowest = found.iter().map(|(wait, _)| *wait).fold(0.0, f64::max);
        let longest = found.iter().map(|(_, whole)| *whole).fold(0.0, f64::max);
        eprintln!("  run {run}: slowest start {slowest:.0} ms, longest build {longest:.2} s");
        runs.push(found);
    }
    Ok(runs)
}

async fn push(site: &Site, files: &[(&str, &str)]) -> Result<(f64, f64)> {
    let commit = site.github.commit(&format!("{AUTHOR}/{NAME}"), "main", files, "The same again").await?;
    let started = Instant::now();
    let build = loop {
        let ended = site.ended_build(NAME).await?.filter(|build| build["commit"] == commit.as_str());
        match ended {
            Some(build) => break build,
            None => ensure!(started.elapsed() < BUILD_WITHIN, "the build did not end within {} s", BUILD_WITHIN.as_secs()),
        }
        tokio::time::sleep(POLL).await;
    };
    let whole = started.elapsed().as_secs_f64();
    ensure!(build["state"] == "success", "{build}");
    let deliveries = site.get(&format!("/repositories/{PERSON}/{NAME}/deliveries?limit=1")).await?;
    let delivery = &deliveries["items"][0];
    ensure!(delivery["verdicts"][0]["build"] == build["id"], "the newest delivery is not that of the build: {delivery}");
    let build = site.get(&format!("/repositories/{PERSON}/{NAME}/builds/{}", build["id"].as_str().context("a build has an id")?)).await?;
    let began = build["phases"].as_array().context("a build has phases")?.iter().map(|phase| time(&phase["started_at"]));
    let began = began.collect::<Result<Vec<_>>>()?.into_iter().min().context("it has begun")?;
    let wait = began.since(time(&delivery["received_at"])?);
    Ok((wait.as_secs_f64() * 1e3, whole))
}

fn time(value: &Value) -> Result<Timestamp> {
    serde_json::from_value(value.clone()).with_context(|| format!("`{value}` is no time"))
}
