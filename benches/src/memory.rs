//! Resident memory of `slipway serve`: after a run like the demo's, and while a layer of 1 GB goes in and out.
//!
//! Each run has a new server. `VmRSS` is what is resident at that moment; `VmHWM` is the kernel's own record of the peak, reset before each
//! measured piece, so that no sampling can miss it. Children of the server (git, docker-compose) have memory of their own.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use slipway_testkit::wait;

use crate::budget::Budget;
use crate::distribution::{Login, Remote};
use crate::docker::Docker;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, PATIENCE, PERSON, Site};

const NAME: &str = "hello";
const LAYER: u64 = 1 << 30;
const PIECE: usize = 64 << 10;
const PAGE_VIEWS: usize = 5;
const COMPOSE: &str = "services:\n  sut:\n    build: .\n    command: [\"sh\", \"/test.sh\"]\n";

/// MiB in one run.
struct Run {
    after_demo: f64,
    before: f64,
    push_peak: f64,
    pull_peak: f64,
    after: f64,
}

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for number in budget.runs() {
        let site = Site::start(Builder::BuiltIn).await?;
        let docker = Docker::new(&site.folder().join("docker-config")).await?;
        let run = one_run(&site, &docker).await.map_err(|error| site.explain(error));
        docker.forget(site.host()).await?;
        let run = run?;
        site.stop().await?;
        let Run { after_demo, before, push_peak, pull_peak, after } = &run;
        eprintln!(
            "  run {number}: {after_demo:.1} MiB after the demo; 1 GB: {before:.1} before, peak {push_peak:.1} pushed, {pull_peak:.1} pulled, {after:.1} after"
        );
        found.push(run);
    }
    let column = |get: fn(&Run) -> f64| found.iter().map(get).collect::<Vec<f64>>();
    let before = middle(&column(|run| run.before), 1);
    let grown = |name, get: fn(&Run) -> f64, what: &str| Row {
        name,
        unit: "MiB more",
        values: column(get),
        target: Target::EachAtMost(16.0),
        note: format!("{what}, over VmRSS just before (median {before} MiB)"),
    };
    Ok(vec![
        Row {
            name: "memory-after-demo",
            unit: "MiB resident",
            values: column(|run| run.after_demo),
            target: Target::EachAtMost(80.0),
            note: "VmRSS after link, two pushes with tests (one fails), builds, page views, docker pull".to_owned(),
        },
        grown("memory-1GB-push-peak", |run| run.push_peak - run.before, "VmHWM while a layer of 1 GB is pushed"),
        grown("memory-1GB-pull-peak", |run| run.pull_peak - run.before, "VmHWM while it is pulled"),
        grown("memory-1GB-after", |run| run.after - run.before, "VmRSS after both"),
    ])
}

async fn one_run(site: &Site, docker: &Docker) -> Result<Run> {
    like_the_demo(site, docker).await?;
    let server = site.server()?;
    let now = |field: &str| Ok::<f64, anyhow::Error>(server.memory_kib(field)? as f64 / 1024.0);
    let after_demo = now("VmRSS")?;

    site.create_repository("large").await?;
    let login = Login { user: PERSON.to_owned(), password: site.token.clone() };
    let mut remote = Remote::new(&site.address(), &format!("{PERSON}/large"), Some(login))?;
    remote.log_in().await?;
    let before = now("VmRSS")?;
    server.forget_peak()?;
    let digest = push_large(&remote).await?;
    let push_peak = now("VmHWM")?;
    remote.log_in().await?;
    server.forget_peak()?;
    let pulled = remote.pull_counted(&digest).await?;
    ensure!(pulled == LAYER, "a pull gave {pulled} bytes, expected {LAYER}");
    Ok(Run { after_demo, before, push_peak, pull_peak: now("VmHWM")?, after: now("VmRSS")? })
}

async fn like_the_demo(site: &Site, docker: &Docker) -> Result<()> {
    site.link().await?;
    site.create_repository("base").await?;
    docker.push_base(site.host(), PERSON, &site.token, site.folder()).await?;
    site.build_automatically(NAME, "main").await?;
    push_and_build(site, "hello world", "success").await?;
    push_and_build(site, "goodbye", "failed").await?;
    let cookie = site.sign_in().await?;
    let repository = format!("/{PERSON}/{NAME}");
    let newest = site.ended_build(NAME).await?.context("there is a build")?;
    let build = format!("{repository}/builds/{}", newest["id"].as_str().context("a build has an id")?);
    let pages = ["/", "/settings/source-providers", "/builds", "/builders"].map(str::to_owned);
    let more = ["", "/tags", "/builds", "/autobuild", "/deliveries", "/settings"].map(|rest| format!("{repository}{rest}"));
    for page in pages.iter().chain(&more).chain([&build]).cycle().take(PAGE_VIEWS * 11) {
        site.page(page, &cookie).await?;
    }
    let image = format!("{}/{PERSON}/{NAME}:latest", site.host());
    docker.run(&["pull", "--quiet", &image], b"").await?;
    Ok(())
}

async fn push_and_build(site: &Site, word: &str, expected: &str) -> Result<()> {
    let dockerfile = format!("FROM {}/{PERSON}/base\nCOPY hello test.sh /\nRUN echo building $(cat /hello)\n", site.host());
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        ("docker-compose.test.yml", COMPOSE),
        ("hello", word),
        ("test.sh", "echo \"the image says: $(cat /hello)\"\ngrep -q hello /hello || exit 3\n"),
    ];
    let commit = site.github.commit(&format!("{AUTHOR}/{NAME}"), "main", &files, word).await?;
    let ended = wait::until("the build's end", PATIENCE, || async {
        Ok(site.ended_build(NAME).await?.filter(|build| build["commit"] == commit.as_str()))
    });
    let build = ended.await?;
    ensure!(build["state"] == expected, "the build ended as {}, expected {expected}: {build}", build["state"]);
    Ok(())
}

/// A layer that is made while it is sent: random pieces, each stamped with its number, hashed on the way.
async fn push_large(remote: &Remote) -> Result<String> {
    let mut random = vec![0_u8; PIECE];
    rand::rng().fill(&mut random[..]);
    let (hashed, digest) = tokio::sync::oneshot::channel();
    let state = (random, Sha256::new(), 0_u64, Some(hashed));
    let pieces = futures_util::stream::unfold(state, |(mut random, mut hasher, sent, mut hashed)| async move {
        if sent == LAYER {
            let digest = format!("sha256:{}", hex::encode(hasher.finalize()));
            // Nobody listens any more only when the push has failed.
            hashed.take()?.send(digest).ok();
            return None;
        }
        random[..8].copy_from_slice(&sent.to_be_bytes());
        hasher.update(&random);
        let piece = Bytes::copy_from_slice(&random);
        Some((Ok(piece), (random, hasher, sent + PIECE as u64, hashed)))
    });
    let location = remote.push_stream(pieces.boxed()).await?;
    let digest = digest.await.context("the layer was sent to its end")?;
    remote.finish(location, &digest).await?;
    Ok(digest)
}
