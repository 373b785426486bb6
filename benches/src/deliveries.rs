//! Deliveries acknowledged durably per second on SQLite and PostgreSQL, and how many of them are found after `kill -9`.
//!
//! Real HTTP with real signatures, bodies of 10 kB of which 30 in a hundred come a second time, eight senders. The branches that they tell of match no rule:
//! each delivery gets its verdict in words, and no builds pile up. The server is killed while the senders are still sending.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use serde_json::{Value, json};
use slipway_testkit::github::sign_sha256;
use slipway_testkit::wait;

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, Database, PATIENCE, PERSON, Site};
use crate::stats::percentile;

const NAME: &str = "hooked";
const SENDERS: u64 = 8;
const BODY_BYTES: usize = 10_000;
/// Of a hundred deliveries so many were sent before.
const DUPLICATES: u32 = 30;
/// Of those that a sender may send again it keeps the newest.
const REMEMBERED: usize = 100;
/// Branches of each sender.
const BRANCHES: usize = 6;
const NOTHING: &str = "0000000000000000000000000000000000000000";
/// A run ends after so many acknowledgements, or after so long.
const DELIVERIES: usize = 2_000;
const LONGEST: Duration = Duration::from_secs(10);

/// What one run gave.
struct Run {
    per_second: f64,
    p50: f64,
    p99: f64,
    acknowledged: usize,
    lost: usize,
}

/// Measures it, on both databases.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (database, names, what) in [
        (Database::Sqlite, ["deliveries-per-second", "deliveries-p99", "deliveries-lost"], "SQLite with synchronous=FULL"),
        (
            Database::Postgres,
            ["deliveries-per-second-postgres", "deliveries-p99-postgres", "deliveries-lost-postgres"],
            "PostgreSQL with synchronous_commit=on",
        ),
    ] {
        rows.extend(measure_on(database, names, what, budget).await?);
    }
    Ok(rows)
}

async fn measure_on(database: Database, [rate, slow, lost]: [&'static str; 3], database_words: &str, budget: Budget) -> Result<Vec<Row>> {
    let mut site = Site::start_on(Builder::Off, database).await?;
    site.link().await?;
    site.build_automatically(NAME, "release").await?;
    let mut found = Vec::new();
    for number in budget.runs() {
        let run = one_run(&mut site, number).await;
        let run = run.map_err(|error| site.explain(error))?;
        let Run { per_second, p50, p99, acknowledged, lost } = &run;
        eprintln!(
            "  {database:?}, run {number}: {per_second:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, {acknowledged} acknowledged, {lost} lost"
        );
        found.push(run);
    }
    site.stop().await?;
    let column = |get: fn(&Run) -> f64| found.iter().map(get).collect::<Vec<f64>>();
    let acknowledged: usize = found.iter().map(|run| run.acknowledged).sum();
    let what = format!(
        "{SENDERS} senders, signed bodies of {BODY_BYTES} bytes, {DUPLICATES} % of them sent before, {database_words}, no rule matches"
    );
    Ok(vec![
        Row {
            name: rate,
            unit: "/s",
            values: column(|run| run.per_second),
            target: Target::MedianAtLeast(1_500.0),
            note: format!("{what}; p50 of the medians {} ms", middle(&column(|run| run.p50), 1)),
        },
        Row {
            name: slow,
            unit: "ms",
            values: column(|run| run.p99),
            target: Target::MedianAtMost(100.0),
            note: "from the request to the whole answer, as the sender sees it".to_owned(),
        },
        Row {
            name: lost,
            unit: "lost",
            values: column(|run| run.lost as f64),
            target: Target::EachAtMost(0.0),
            note: format!(
                "kill -9 among {SENDERS} sending senders, restart, every acknowledged id asked for over the API; {acknowledged} acknowledged in all"
            ),
        },
    ])
}

/// What the senders share.
struct Load {
    http: reqwest::Client,
    url: String,
    secret: String,
    source_id: u64,
    run: usize,
    stop: AtomicBool,
    next: AtomicU64,
    count: AtomicUsize,
    /// Acknowledged: Slipway's id and milliseconds until the answer.
    acknowledged: Mutex<Vec<(String, f64)>>,
}

async fn one_run(site: &mut Site, number: usize) -> Result<Run> {
    let source = format!("{AUTHOR}/{NAME}");
    let hook = site.github.hooks(&source).pop().context("the webhook stands at the provider")?;
    let load = Arc::new(Load {
        http: slipway_testkit::http_client()?,
        url: hook.url,
        secret: hook.secret.context("it has a secret")?,
        source_id: site.github.repository_id(&source),
        run: number,
        stop: AtomicBool::new(false),
        next: AtomicU64::new(0),
        count: AtomicUsize::new(0),
        acknowledged: Mutex::default(),
    });
    let started = Instant::now();
    let senders: Vec<_> = (0..SENDERS).map(|sender| tokio::spawn(send(Arc::clone(&load), run_sender(number, sender)))).collect();
    while load.count.load(Ordering::Acquire) < DELIVERIES && started.elapsed() < LONGEST && !senders.iter().all(|one| one.is_finished()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (measured, took) = (load.count.load(Ordering::Acquire), started.elapsed().as_secs_f64());
    let killed = site.kill().await;
    load.stop.store(true, Ordering::Release);
    for sender in senders {
        sender.await??;
    }
    killed?;
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    site.run().await?;
    let lost = lost(site, acknowledged.iter().map(|(id, _)| id.clone()).collect()).await?;
    let times: Vec<f64> = acknowledged.iter().map(|(_, milliseconds)| *milliseconds).collect();
    settle(site).await?;
    Ok(Run {
        per_second: measured as f64 / took,
        p50: percentile(&times, 50).context("something was acknowledged")?,
        p99: percentile(&times, 99).context("something was acknowledged")?,
        acknowledged: acknowledged.len(),
        lost,
    })
}

/// No two runs push to the same branches.
fn run_sender(run: usize, sender: u64) -> u64 {
    run as u64 * SENDERS + sender
}

/// A signed delivery as it went out, to be sent again.
struct Sent {
    id: String,
    body: Vec<u8>,
}

/// Sends until it is told to stop or the server is gone. Each sender pushes to branches of its own, every push from where the one before
/// went: what a provider tells of is a history.
async fn send(load: Arc<Load>, sender: u64) -> Result<()> {
    let mut heads = vec![None; BRANCHES];
    let mut sent: VecDeque<Sent> = VecDeque::new();
    while !load.stop.load(Ordering::Acquire) {
        let again = !sent.is_empty() && rand::rng().random_range(0..100) < DUPLICATES;
        let delivery = if again {
            let which = rand::rng().random_range(0..sent.len());
            sent.swap_remove_back(which).context("it was sent before")?
        } else {
            let number = load.next.fetch_add(1, Ordering::Relaxed);
            let branch = rand::rng().random_range(0..BRANCHES);
            let (body, after) = body(&load, &format!("work-{sender}-{branch}"), heads[branch].take());
            heads[branch] = Some(after);
            Sent { id: format!("run-{}-{number}", load.run), body }
        };
        let request = load
            .http
            .post(&load.url)
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-delivery", &delivery.id)
            .header("x-hub-signature-256", format!("sha256={}", sign_sha256(&load.secret, &delivery.body)))
            .body(delivery.body.clone());
        let started = Instant::now();
        // After the kill there is no answer, or half of one: then nothing was acknowledged.
        let Ok(answer) = request.send().await else { return Ok(()) };
        let status = answer.status();
        let Ok(text) = answer.text().await else { return Ok(()) };
        let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        ensure!(status == 202, "a delivery was answered {status}: {text}");
        let answer: Value = serde_json::from_str(&text)?;
        let id = answer["id"].as_str().context("an acknowledgement has an id")?.to_owned();
        ensure!(answer["duplicate_of"].is_null() != again, "what was new and what was not were mixed up: {text}");
        load.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((id, milliseconds));
        load.count.fetch_add(1, Ordering::Release);
        sent.push_back(delivery);
        if sent.len() > REMEMBERED {
            sent.pop_front();
        }
    }
    Ok(())
}

/// A push event of a branch that no rule names, as long as GitHub's are, and where it went.
fn body(load: &Load, branch: &str, before: Option<String>) -> (Vec<u8>, String) {
    let mut random = [0_u8; 40];
    rand::rng().fill(&mut random[..]);
    let after = hex::encode(&random[..20]);
    let mut event = json!({
        "ref": format!("refs/heads/{branch}"), "before": before.as_deref().unwrap_or(NOTHING), "after": after,
        "created": before.is_none(), "deleted": false, "forced": false,
        "head_commit": { "id": after, "message": "A change", "author": { "name": "Octo Cat" } },
        "repository": { "id": load.source_id, "full_name": format!("{AUTHOR}/{NAME}") },
        "pusher": { "name": AUTHOR },
        "note": "",
    });
    let missing = BODY_BYTES.saturating_sub(event.to_string().len());
    event["note"] = json!(hex::encode(&random[20..]).repeat(missing / 40 + 1)[..missing]);
    (event.to_string().into_bytes(), after)
}

/// How many of these ids the API does not show.
async fn lost(site: &Site, mut missing: HashSet<String>) -> Result<usize> {
    let mut cursor = String::new();
    while !missing.is_empty() {
        let page = site.get(&format!("/repositories/{PERSON}/{NAME}/deliveries?limit=100{cursor}")).await?;
        for delivery in page["items"].as_array().context("a list of deliveries")? {
            if let Some(id) = delivery["id"].as_str() {
                missing.remove(id);
            }
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    Ok(missing.len())
}

/// Waits until what was stored has its verdicts, so that the next run does not pay for this one.
async fn settle(site: &Site) -> Result<()> {
    wait::until("the verdicts of all deliveries", PATIENCE, || async {
        let newest = site.get(&format!("/repositories/{PERSON}/{NAME}/deliveries?limit=100")).await?;
        let open = newest["items"].as_array().context("a list of deliveries")?.iter().any(|one| one["processed_at"].is_null());
        Ok((!open).then_some(()))
    })
    .await
}
