//! Our registry beside Debian's `docker-registry`: the same client, the same random bytes, the same disk, in turn.
//!
//! Ours asks for a token and checks it in every request; Debian's runs without any authentication, with the cache that its package
//! configures. The order alternates from run to run, and the disk is synced before each measured piece, so that neither pays for the
//! other's dirty pages. Both read from a warm page cache.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use crate::budget::Budget;
use crate::distribution::{Blob, Login, Remote, What};
use crate::report::{Row, Target, middle};
use crate::server::{Server, free_port};
use crate::site::{Builder, PERSON, Site};

const LARGE: usize = 256 << 20;
const SMALL: usize = 4 << 10;
const MANY: usize = 200;
const AT_ONCE: usize = 8;

/// One measured piece: name, what is done, to which of a run's sets of blobs, so many at once.
struct Piece {
    name: &'static str,
    what: What,
    set: usize,
    at_once: usize,
}

/// Sets of blobs: 0 the large one, 1 small ones in sequence, 2 small ones in parallel.
const PIECES: [Piece; 6] = [
    Piece { name: "registry-push-256MB", what: What::Push, set: 0, at_once: 1 },
    Piece { name: "registry-push-200x4KiB", what: What::Push, set: 1, at_once: 1 },
    Piece { name: "registry-push-200x4KiB-8-parallel", what: What::Push, set: 2, at_once: AT_ONCE },
    Piece { name: "registry-pull-200x4KiB", what: What::Pull, set: 1, at_once: 1 },
    Piece { name: "registry-pull-200x4KiB-8-parallel", what: What::Pull, set: 2, at_once: AT_ONCE },
    Piece { name: "registry-pull-256MB", what: What::Pull, set: 0, at_once: 1 },
];

/// Measures it.
pub async fn measure(budget: Budget) -> Result<Vec<Row>> {
    let site = Site::start(Builder::Off).await?;
    site.create_repository("blobs").await?;
    let login = Login { user: PERSON.to_owned(), password: site.token.clone() };
    let ours = Remote::new(&site.address(), &format!("{PERSON}/blobs"), Some(login))?;
    let (_server, theirs) = debian(&site).await?;
    let measured = all_runs(&ours, &theirs, budget).await.map_err(|error| site.explain(error));
    let measured = measured?;
    site.stop().await?;
    Ok(PIECES.iter().map(|piece| row(piece.name, measured.get(piece.name).map_or(&[], Vec::as_slice))).collect())
}

fn row(name: &'static str, pairs: &[(f64, f64)]) -> Row {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    Row {
        name,
        unit: "x as fast",
        values: pairs.iter().map(|(ours, theirs)| theirs / ours).collect(),
        target: Target::MedianAtLeast(1.0),
        note: format!("medians: {} s ours with tokens, {} s docker-registry without", middle(&ours, 3), middle(&theirs, 3)),
    }
}

/// Debian's registry with a folder on the same disk.
async fn debian(site: &Site) -> Result<(Server, Remote)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let config = site.folder().join("docker-registry.yml");
    let root = site.folder().join("docker-registry");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        root.display()
    );
    std::fs::write(&config, text)?;
    let http = slipway_testkit::http_client()?;
    let server = Server::debian(&config, &format!("http://{address}"), &http).await?;
    let remote = Remote::new(&format!("http://{address}"), "bench/blobs", None)?;
    Ok((server, remote))
}

type Measured = BTreeMap<&'static str, Vec<(f64, f64)>>;

/// The first run warms both up and is not counted; in it, what was pushed is pulled and compared.
async fn all_runs(ours: &Remote, theirs: &Remote, budget: Budget) -> Result<Measured> {
    let mut measured = Measured::new();
    for run in budget.warmed_up() {
        let large = if run == 0 { LARGE / 16 } else { LARGE };
        let small = || (0..MANY).map(|_| Blob::random(SMALL)).collect::<Vec<_>>();
        let sets = [vec![Blob::random(large)], small(), small()];
        for piece in &PIECES {
            let blobs = &sets[piece.set];
            let pair = if run % 2 == 0 {
                let ours = timed(ours, piece, blobs).await?;
                (ours, timed(theirs, piece, blobs).await?)
            } else {
                let theirs = timed(theirs, piece, blobs).await?;
                (timed(ours, piece, blobs).await?, theirs)
            };
            eprintln!("  run {run}: {} ours {:.3} s, docker-registry {:.3} s", piece.name, pair.0, pair.1);
            if run > 0 {
                measured.entry(piece.name).or_default().push(pair);
            } else if piece.what == What::Pull {
                check(ours, blobs).await?;
                check(theirs, blobs).await?;
            }
        }
    }
    Ok(measured)
}

/// Seconds of one piece of work at one registry, the request for a token included.
async fn timed(remote: &Remote, piece: &Piece, blobs: &[Blob]) -> Result<f64> {
    tokio::task::spawn_blocking(rustix::fs::sync).await?;
    let mut remote = remote.clone();
    let started = Instant::now();
    remote.log_in().await?;
    remote.each(blobs, piece.at_once, piece.what).await?;
    Ok(started.elapsed().as_secs_f64())
}

async fn check(remote: &Remote, blobs: &[Blob]) -> Result<()> {
    let mut remote = remote.clone();
    remote.log_in().await?;
    for blob in blobs {
        remote.verify(blob).await?;
    }
    Ok(())
}
