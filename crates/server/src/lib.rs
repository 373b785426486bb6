//! The binary `slipway`: command line, configuration, wiring, shutdown.
//!
//! Invariant: only this room reads the configuration, and it decides nothing that the product does; it builds the other rooms' values
//! and connects them. Deliberately elsewhere: every rule (`slipway-app`), every answer (`slipway-web`, `slipway-registry`).

pub mod cli;
mod commands;
pub mod config;
pub mod failure;
mod instance;
mod listener;
pub mod secret_key;
mod signals;
pub mod telemetry;

use std::io::Write;
use std::process::ExitCode;

use cli::{Asked, Cli, Command};
use config::{Loaded, Source};
use failure::Failure;

/// Runs the process's command line to its end.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed; there is nobody left to tell then.
            writeln!(std::io::stderr(), "{failure}").ok();
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    let cli = match cli::parse(std::env::args_os())? {
        Asked::Run(cli) => *cli,
        Asked::Print(text) => return print(&text),
    };
    if matches!(cli.command, Command::CopyDb { .. }) {
        return Err(Failure::usage(
            "`copy-db` is not in this version",
            "start on PostgreSQL with `database_url = \"postgres://...\"`, or stay on SQLite until the version that copies",
        ));
    }
    let environment: config::Environment = std::env::vars_os().collect();
    let folder = std::env::current_dir()
        .map_err(|error| Failure::failed(format!("the working folder cannot be told: {error}"), "change into a folder that stands"))?;
    let loaded = config::load(&cli.settings, &environment, &folder)?;
    dispatch(cli, loaded)
}

fn dispatch(cli: Cli, loaded: Loaded) -> Result<(), Failure> {
    let Loaded { config, warnings, .. } = &loaded;
    if matches!(cli.command, Command::CheckConfig) {
        return print(&commands::check_config::render(&loaded));
    }
    // A short command's standard error belongs to its one-line errors; who wants its log says so.
    let runs_on = matches!(cli.command, Command::Serve | Command::Builder { .. });
    let chosen = loaded.shown.iter().any(|line| line.name == "log" && line.source != Source::Default);
    telemetry::start(if runs_on || chosen { &config.log } else { "warn" });
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // The one provider of cryptography, for every TLS connection of the process; a second installation would change nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    match cli.command {
        Command::Serve => on_runtime(commands::serve::run(loaded.config)),
        Command::Builder { server, token_file } => {
            let remote = commands::builder::Remote::check(&server, &token_file)?;
            on_runtime(commands::builder::run(config, remote))
        }
        Command::Admin { command } => print(&on_runtime(commands::admin::run(config, &command))?),
        Command::Migrate => print(&on_runtime(commands::migrate(config))?),
        Command::CheckConfig | Command::CopyDb { .. } => Ok(()),
    }
}

/// Runs a command on a small runtime: Slipway waits more than it computes, and each thread has a stack and an arena of its own.
fn on_runtime<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).max_blocking_threads(32).enable_all().build().map_err(
            |error| Failure::failed(format!("threads cannot be started: {error}"), "look at the limits of processes and memory"),
        )?;
    let ended = runtime.block_on(command);
    // A blocking call that hangs (a dead disk) must not hold the end of the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended
}

/// Writes an answer to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed(format!("standard output cannot be written: {error}"), "run it again with an open output"))
}
