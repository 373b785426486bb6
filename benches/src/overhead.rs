//! Build overhead: from the delivery of a push to the moved tag, beside `docker build` and `docker push` by hand.
//!
//! Both build the same Dockerfile over a context of the same size and shape on the same engine and push to the same registry.
//! Only the data in the context differs from run to run, so that neither finds the other's work in the build cache.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use slipway_testkit::wait;

use crate::budget::Budget;
use crate::docker::Docker;
use crate::report::{Row, Target, middle};
use crate::site::{AUTHOR, Builder, PERSON, Site};

const BY_SLIPWAY: &str = "hello";
const BY_HAND: &str = "byhand";
const DATA_FILES: usize = 8;
const DATA_BYTES: usize = 64 * 1024;
/// What the issue grants: so many times the work by hand, and so many seconds.
const FACTOR: f64 = 1.15;
const SECONDS: f64 = 0.5;
const BUILD_WITHIN: Duration = Duration::from_secs(120);

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let site = Site::start(Builder::BuiltIn).await?;
    let docker = Docker::new(&site.folder().join("docker-config")).await?;
    let measured = pairs(&site, &docker, budget).await.map_err(|error| site.explain(error));
    docker.forget(site.host()).await?;
    let pairs = measured?;
    site.stop().await?;
    let (ours, by_hand): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let allowance = pairs.iter().map(|(ours, by_hand)| ours / (FACTOR * by_hand + SECONDS)).collect();
    let ratios = pairs.iter().map(|(ours, by_hand)| ours / by_hand).collect();
    let medians = format!("medians: {} s from delivery to tag, {} s by hand", middle(&ours, 2), middle(&by_hand, 2));
    Ok(vec![
        Row {
            name: "build-overhead",
            unit: "of allowance",
            values: allowance,
            target: Target::MedianAtMost(1.0),
            note: format!("delivery to tag moved, over {FACTOR} x (docker build + docker push by hand) + {SECONDS} s; {medians}"),
        },
        Row {
            name: "build-overhead-plain",
            unit: "x by hand",
            values: ratios,
            target: Target::None,
            note: format!("the same runs without the allowance: delivery to tag moved, over docker build + docker push; {medians}"),
        },
    ])
}

/// Seconds of each pair: Slipway's, then by hand. The order within a pair alternates; the first pair only warms up.
async fn pairs(site: &Site, docker: &Docker, budget: Budget) -> Result<Vec<(f64, f64)>> {
    site.link().await?;
    site.create_repository("base").await?;
    site.create_repository(BY_HAND).await?;
    docker.push_base(site.host(), PERSON, &site.token, site.folder()).await?;
    site.build_automatically(BY_SLIPWAY, "main").await?;
    let mut pairs = Vec::new();
    for run in budget.warmed_up() {
        let pair = if run % 2 == 0 {
            let ours = by_slipway(site).await?;
            (ours, by_hand(site, docker, run).await?)
        } else {
            let by_hand = by_hand(site, docker, run).await?;
            (by_slipway(site).await?, by_hand)
        };
        eprintln!("  run {run}: slipway {:.2} s, by hand {:.2} s", pair.0, pair.1);
        if run > 0 {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn context(host: &str) -> Vec<(String, String)> {
    let dockerfile = format!(
        "FROM {host}/{PERSON}/base\nCOPY . /data/\nRUN cat /data/*.txt > /all && sha256sum /all > /sum\n\
         RUN echo the sum is $(cat /sum)\nCMD [\"cat\", \"/sum\"]\n"
    );
    let mut files = vec![("Dockerfile".to_owned(), dockerfile)];
    for number in 0..DATA_FILES {
        let mut bytes = vec![0_u8; DATA_BYTES / 2];
        rand::rng().fill(&mut bytes[..]);
        files.push((format!("data-{number}.txt"), hex::encode(bytes)));
    }
    files
}

/// From the delivery of a push until the API shows the tag on another image.
async fn by_slipway(site: &Site) -> Result<f64> {
    let files = context(site.host());
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let before = site.latest(BY_SLIPWAY).await?;
    let source = format!("{AUTHOR}/{BY_SLIPWAY}");
    site.github.commit(&source, "main", &files, "A change").await?;
    // The provider has just begun to send; what git needed for the commit is the person's own time.
    let started = Instant::now();
    let moved = wait::until("the tag to move", BUILD_WITHIN, || async {
        Ok(site.latest(BY_SLIPWAY).await?.filter(|digest| Some(digest) != before.as_ref()))
    });
    if let Err(error) = moved.await {
        let build = site.get(&format!("/repositories/{PERSON}/{BY_SLIPWAY}/builds?limit=1")).await?;
        return Err(error.context(format!("the newest build: {build}")));
    }
    let took = started.elapsed().as_secs_f64();
    let delivery = site.github.deliveries(&source).pop().context("the provider sent a delivery")?;
    ensure!(delivery.status_code == 202, "the delivery was answered {}: {}", delivery.status_code, delivery.response_body);
    Ok(took)
}

async fn by_hand(site: &Site, docker: &Docker, run: usize) -> Result<f64> {
    let folder = site.folder().join(format!("context-{run}"));
    write_context(&folder, site.host())?;
    let image = format!("{}/{PERSON}/{BY_HAND}:run-{run}", site.host());
    let folder = folder.to_str().context("a throw-away folder has a plain name")?;
    let started = Instant::now();
    docker.run(&["build", "--quiet", "--tag", &image, folder], b"").await?;
    docker.run(&["push", "--quiet", &image], b"").await?;
    Ok(started.elapsed().as_secs_f64())
}

fn write_context(folder: &Path, host: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in context(host) {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
