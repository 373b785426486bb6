//! Log lines: to standard error, never to standard output, which belongs to answers.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// PostgreSQL's remarks, like that a table stands already, are no news to people.
const QUIET: &str = "sqlx::postgres::notice=warn";

/// Starts logging with the configured filter; a second call changes nothing.
pub fn start(filter: &str) {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(filter).with(lines).try_init().ok();
}
