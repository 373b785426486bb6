//! A thousand viewers of one live log: how late they see its lines, and what that costs the server.
//!
//! A builder of this bench's own claims a real build and reports a thousand lines a second in batches, as the real one does (four a second at
//! most). Each line carries the moment at which it was written; each viewer is a connection of its own and sees every line. A hundred more
//! open the log and never read. Builder, viewers and server share the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use slipway_app::{App, Config, Keys};
use slipway_model::Clock;
use slipway_store::Db;
use slipway_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::budget::Budget;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, PATIENCE, PERSON, Site};

const NAME: &str = "loud";
const BUILDER: &str = "bench";
const VIEWERS: usize = 1000;
/// Viewers who never read.
const STALLED: usize = 100;
const LINES: u64 = 15_000;
const LINES_PER_SECOND: u64 = 1000;
/// The builder's own pace.
const PACE: Duration = Duration::from_millis(250);
/// Viewers who share a token: a credential may not ask as often as all of them do.
const SHARING: usize = 200;
/// Connections that are opened at once.
const AT_ONCE: usize = 50;
/// Lags are counted in milliseconds up to this.
const LONGEST: usize = 60_000;

struct Run {
    p50: f64,
    p99: f64,
    worst: f64,
    before: f64,
    peak: f64,
    per_second: f64,
}

/// How many lines were seen how late, over all viewers.
struct Lags(Vec<AtomicU64>);

impl Lags {
    fn new() -> Self {
        Self((0..=LONGEST).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, millis: u64) {
        self.0[usize::try_from(millis).unwrap_or(LONGEST).min(LONGEST)].fetch_add(1, Ordering::Relaxed);
    }

    /// The lag that so many of a thousand lines do not exceed.
    fn at(&self, permille: u64) -> f64 {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() * permille).div_ceil(1000);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.unwrap_or(LONGEST) as f64
    }
}

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for number in budget.runs() {
        let site = Site::start(Builder::Off).await?;
        let run = one_run(&site).await.map_err(|error| site.explain(error))?;
        site.stop().await?;
        let Run { p50, p99, worst, before, peak, per_second } = &run;
        eprintln!(
            "  run {number}: lag p50 {p50} ms, p99 {p99} ms, worst {worst} ms; {before:.1} MiB before, peak {peak:.1}; {per_second:.0} lines/s"
        );
        found.push(run);
    }
    let column = |get: fn(&Run) -> f64| found.iter().map(get).collect::<Vec<f64>>();
    let rate = middle(&column(|run| run.per_second), 0);
    Ok(vec![
        Row {
            name: "log-lag-p99",
            unit: "ms",
            values: column(|run| run.p99),
            target: Target::EachAtMost(1000.0),
            note: format!(
                "{VIEWERS} viewers of one log at {rate} lines/s, and {STALLED} more who never read; from writing a line to its arrival (median lag {} ms, worst {} ms)",
                middle(&column(|run| run.p50), 0),
                middle(&column(|run| run.worst), 0)
            ),
        },
        Row {
            name: "log-viewers-memory",
            unit: "MiB resident",
            values: column(|run| run.peak),
            target: Target::EachAtMost(300.0),
            note: format!("VmHWM of the server meanwhile (median {} MiB before the first viewer)", middle(&column(|run| run.before), 1)),
        },
    ])
}

async fn one_run(site: &Site) -> Result<Run> {
    site.link().await?;
    site.build_automatically(NAME, "main").await?;
    let source = format!("{AUTHOR}/{NAME}");
    site.github.commit(&source, "main", &[("Dockerfile", "FROM scratch\n")], "be loud").await?;
    let builds = format!("/repositories/{PERSON}/{NAME}/builds");
    let newest = || async { Ok(site.get(&builds).await?["items"].get(0).cloned()) };
    let build = wait::until("the build", PATIENCE, newest).await?;
    let id = build["id"].as_str().context("a build has an id")?;
    let loud = Loud::claim(site, id).await?;
    let server = site.server()?;
    let memory = |field: &str| Ok::<f64, anyhow::Error>(server.memory_kib(field)? as f64 / 1024.0);
    let before = memory("VmRSS")?;
    server.forget_peak()?;

    let (begin, lags) = (Instant::now(), Arc::new(Lags::new()));
    let path = format!("/api/v1{builds}/{id}/log/stream");
    let mut viewers = JoinSet::new();
    let mut stalled = Vec::new();
    let open = Arc::new(AtomicUsize::new(0));
    let mut token = String::new();
    for number in 0..VIEWERS + STALLED {
        if number % SHARING == 0 {
            let wish = json!({ "name": format!("viewers {number}"), "scopes": ["repo:read"] });
            let made = site.api(reqwest::Method::POST, "/tokens", Some(&wish)).await?;
            token = made["token"].as_str().context("a new token is shown once")?.to_owned();
        }
        let mut connection = connect(site, &path, &token).await?;
        if number >= VIEWERS {
            stalled.push(connection);
            continue;
        }
        let (lags, answered) = (Arc::clone(&lags), Arc::clone(&open));
        viewers.spawn(async move { view(&mut connection, begin, &lags, &answered).await });
        if let Some(ended) = viewers.try_join_next() {
            bail!("a viewer ended before there was a line: {:?}", ended?);
        }
        let enough = || async { Ok((open.load(Ordering::Relaxed) + AT_ONCE > number.min(VIEWERS)).then_some(())) };
        wait::until("the viewers before this one to be answered", PATIENCE, enough).await?;
    }
    let all = || async { Ok((open.load(Ordering::Relaxed) == VIEWERS).then_some(())) };
    wait::until("every viewer to be answered", PATIENCE, all).await?;

    let talked = Instant::now();
    loud.talk(begin).await?;
    let per_second = LINES as f64 / talked.elapsed().as_secs_f64();
    while let Some(viewer) = viewers.join_next().await {
        let seen = viewer??;
        ensure!(seen == LINES, "a viewer saw {seen} lines, expected {LINES}");
    }
    drop(stalled);
    Ok(Run { p50: lags.at(500), p99: lags.at(990), worst: lags.at(1000), before, peak: memory("VmHWM")?, per_second })
}

async fn connect(site: &Site, path: &str, token: &str) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(site.host()).await?;
    let host = site.host();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    Ok(connection)
}

/// Reads a live log to its end and gives the number of lines. A line carries `@` and nine digits: milliseconds since `begin`.
async fn view(connection: &mut TcpStream, begin: Instant, lags: &Lags, open: &AtomicUsize) -> Result<u64> {
    let mut buffer = vec![0_u8; 16 * 1024];
    let (mut seen, mut written, mut digits, mut answered) = (0, 0_u64, None::<u32>, false);
    loop {
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return Ok(seen);
        }
        if !answered {
            ensure!(buffer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
            answered = true;
            open.fetch_add(1, Ordering::Relaxed);
        }
        let now = u64::try_from(begin.elapsed().as_millis())?;
        for byte in &buffer[..length] {
            digits = match (byte, digits) {
                (b'@', _) => {
                    written = 0;
                    Some(0)
                }
                (b'0'..=b'9', Some(count)) => {
                    written = written * 10 + u64::from(byte - b'0');
                    if count == 8 {
                        lags.add(now.saturating_sub(written));
                        seen += 1;
                    }
                    (count < 8).then_some(count + 1)
                }
                _ => None,
            };
        }
    }
}

/// A build in the hands of a builder that only talks.
struct Loud<'s> {
    site: &'s Site,
    token: String,
    build: String,
    attempt: u64,
}

impl<'s> Loud<'s> {
    async fn claim(site: &'s Site, build: &str) -> Result<Self> {
        let address = format!("sqlite://{}", site.folder().join("data/slipway.db").display());
        let db = Db::open(&address).await?;
        // The keys seal nothing here: a builder's token is stored as a hash.
        let app = App::new(db.clone(), Clock::System, Keys::derive(&[0; 32]), [], Config::new(site.address().parse()?));
        let token = app.register_builtin_builder(BUILDER).await?.expose().to_owned();
        db.close().await;
        let mut loud = Self { site, token, build: build.to_owned(), attempt: 0 };
        let engine = json!({ "state": "ready", "description": "a bench" });
        let claim = json!({ "protocol": 2, "name": BUILDER, "version": "1", "parallel": 1, "engine": engine, "wait_seconds": 20 });
        let work = loud.post("/claim", &claim).await?;
        ensure!(work["build"] == build, "another build was handed out: {}", work["build"]);
        loud.attempt = work["attempt"].as_u64().context("an attempt has a number")?;
        Ok(loud)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let address = format!("{}/builder/v1{path}", self.site.address());
        let answer = self.site.http.post(address).bearer_auth(&self.token).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() || text.is_empty() {
            bail!("`{path}` answered {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes all lines at their rate, and ends the build.
    async fn talk(&self, begin: Instant) -> Result<()> {
        let (mut said, mut sequence, mut text) = (0, 0, String::new());
        let (started, mut reported) = (Instant::now(), Instant::now());
        while said < LINES || !text.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let due = u64::try_from(started.elapsed().as_millis())? * LINES_PER_SECOND / 1000;
            while said < due.min(LINES) {
                let now = begin.elapsed().as_millis();
                text.push_str(&format!("@{now:09} line {said} of a test that has a lot to say\n"));
                said += 1;
            }
            if !text.is_empty() && (reported.elapsed() >= PACE || said == LINES) {
                sequence += 1;
                let events: Vec<Value> = std::mem::take(&mut text)
                    .split_inclusive('\n')
                    .collect::<Vec<_>>()
                    .chunks(500)
                    .map(|lines| json!({ "event": "log", "step": "test", "text": lines.concat(), "at": Clock::System.now() }))
                    .collect();
                let report = json!({ "attempt": self.attempt, "sequence": sequence, "events": events });
                self.post(&format!("/builds/{}/report", self.build), &report).await?;
                reported = Instant::now();
            }
        }
        let finish = json!({ "attempt": self.attempt, "outcome": { "outcome": "cancelled" } });
        self.post(&format!("/builds/{}/finish", self.build), &finish).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_ranked() {
        let lags = Lags::new();
        (1..=200).for_each(|millis| lags.add(millis));
        lags.add(u64::MAX);
        assert_eq!([lags.at(500), lags.at(990), lags.at(1000)], [101.0, 199.0, LONGEST as f64]);
    }
}
