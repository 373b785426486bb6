//! `make bench`: side-by-side measurements of the real binary, from outside, on loopback; permission checks, claims, and hours of comparing sources, inside of this process.
//!
//! Invariant: every row is a ratio or a count with median, smallest and largest of its runs, for people and as a JSON line. A missed
//! target is printed as missed; only a row that could not be measured makes the exit code 1.
//! Deliberately elsewhere: whether the measured things are right (`tests`).

mod budget;
mod deliveries;
mod distribution;
mod docker;
mod logs;
mod memory;
mod overhead;
mod permissions;
mod queue;
mod registry;
mod report;
mod server;
mod site;
mod sources;
mod stats;
mod warm;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use crate::budget::Budget;
use crate::report::{Row, load, not_measured};

/// Measures the binary that `SLIPWAY_BIN` names, or the one beside this program.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What to measure; everything without one.
    #[arg(value_enum)]
    rows: Vec<Part>,
    /// Runs of each row that are counted.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Delivery to tag, beside docker build and docker push by hand.
    Overhead,
    /// Delivery to running build, and push to tag of an unchanged repository.
    Warm,
    /// Deliveries acknowledged durably per second, and found after kill -9.
    Deliveries,
    /// Pushes and pulls, beside Debian's docker-registry.
    Registry,
    /// Resident memory after the demo and around a layer of 1 GB.
    Memory,
    /// Permission checks in an organization of 1,000 teams and 10,000 repositories.
    Permissions,
    /// Claims and the page of the queue, with 10,000 builds waiting.
    Queue,
    /// Searches in the picker, provider calls and memory of comparing 5,000 sources.
    Sources,
    /// Lag and memory with a thousand viewers of one live log.
    Logs,
}

impl Part {
    /// A part that hangs is given up; a simulated hour of 10,000 repositories takes a minute or two, and so do twenty thousand claims.
    fn within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Sources => 900,
            Self::Queue => 400,
            _ => 180,
        })
    }

    async fn measure(self, budget: Budget) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Overhead => overhead::measure(budget).await,
            Self::Warm => warm::measure(budget).await,
            Self::Deliveries => deliveries::measure(budget).await,
            Self::Registry => registry::measure(budget).await,
            Self::Memory => memory::measure(budget).await,
            Self::Permissions => permissions::measure(budget).await,
            Self::Queue => queue::measure(budget).await,
            Self::Sources => sources::measure(budget).await,
            Self::Logs => logs::measure(budget).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rows = if arguments.rows.is_empty() { Part::value_variants().to_vec() } else { arguments.rows };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    match server::binary() {
        Ok(binary) => println!("{} on {cores} cores; load before {:.2}", binary.display(), load()),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    let mut complete = true;
    for part in rows {
        complete &= measure(part, arguments.runs.into()).await;
    }
    println!("load after {:.2}", load());
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures and prints a part; false when it could not be measured.
async fn measure(part: Part, runs: usize) -> bool {
    let (name, before, started) = (format!("{part:?}").to_lowercase(), load(), Instant::now());
    eprintln!("{name} ...");
    let measured = match tokio::time::timeout(part.within(), part.measure(Budget::new(runs))).await {
        Ok(measured) => measured,
        Err(_) => Err(anyhow::anyhow!("it took longer than {} s", part.within().as_secs())),
    };
    eprintln!("{name} took {:.0} s", started.elapsed().as_secs_f64());
    match measured {
        Ok(rows) => {
            for line in rows.iter().flat_map(|row| row.lines(before)) {
                println!("{line}");
            }
            true
        }
        Err(error) => {
            println!("{}", not_measured(&name, &format!("{error:#}")));
            false
        }
    }
}
