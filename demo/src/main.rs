//! `make demo`: starts the real `slipway serve` with a throw-away folder beside a sample provider and goes the whole way,
//! from a `git push` to an image that runs, printing each step with its time.
//! Invariant: everything is done from outside, by HTTP, git and docker, and every step is verified; exit 0 means that
//! each of them was. Deliberately absent: every type of the product.

mod api;
mod browser;
mod docker;
mod live_log;
mod narrator;
mod registry;
mod server;
mod source;
mod story;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::narrator::Narrator;
use crate::story::Stage;

/// Set to `1` to leave everything running at the end.
const KEEP: &str = "KEEP";

#[tokio::main]
async fn main() -> ExitCode {
    let narrator = Narrator::new();
    let stage = match Stage::set(&narrator).await {
        Ok(stage) => stage,
        Err(error) => {
            narrator.failed(&error);
            return ExitCode::FAILURE;
        }
    };
    let told = tokio::select! {
        told = stage.tell(&narrator) => told,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let ended = match told {
        Ok(()) => end(stage, &narrator).await,
        Err(error) => {
            narrator.failed(&error);
            narrator.server_log(&stage.server);
            stage.clear_away().await;
            return ExitCode::FAILURE;
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrator.failed(&error);
            ExitCode::FAILURE
        }
    }
}

/// Leaves everything running when asked to, then takes it down and checks that the server ends well.
async fn end(stage: Stage, narrator: &Narrator) -> Result<()> {
    let keep = std::env::var(KEEP).is_ok_and(|value| !value.is_empty() && value != "0");
    narrator.summary(&stage.summary());
    if keep {
        narrator.addresses(&stage.addresses());
        interrupted().await;
    }
    stage.clear_images().await;
    narrator.begin("the server shuts down");
    let log = stage.server.log_tail();
    stage.server.stop().await.with_context(|| format!("the end of its log:\n{log}"))?;
    narrator.done("the server shut down on SIGTERM, exit 0");
    Ok(())
}

async fn interrupted() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        // Without the handler SIGTERM ends the process by itself.
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending::<()>().await },
        _ = terminate.recv() => {}
    }
}
