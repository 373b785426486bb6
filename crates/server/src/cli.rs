//! The command line: what can be said, and how a mistake in it is told.
//!
//! Invariant: values of settings stay text here; `config` alone parses them, whatever layer they came from.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

use crate::failure::Failure;

/// A push to a linked source becomes a tested image.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, about, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Settings that win over the file and the environment.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One flag for each key of the configuration; every command takes them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings (flags win over the environment, which wins over the file)")]
pub struct SettingFlags {
    /// Configuration file [default: ./slipway.toml if it stands]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for everything that Slipway keeps
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address and port to listen on
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// The address that browsers, providers and docker use
    #[arg(long, global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// Database, `sqlite://PATH` or `postgres://...`
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Image layers and logs, `file://PATH`
    #[arg(long, global = true, value_name = "URL")]
    pub storage_url: Option<String>,
    /// File with the key that encrypts stored tokens
    #[arg(long, global = true, value_name = "FILE")]
    pub secret_key_file: Option<String>,
    /// How often refs are compared with the provider's
    #[arg(long, global = true, value_name = "TIME")]
    pub reconcile_interval: Option<String>,
    /// How often each link to a provider is looked at, give or take a fifth
    #[arg(long, global = true, value_name = "TIME")]
    pub link_check_interval: Option<String>,
    /// How often what a used link sees at the provider is read anew, give or take a fifth
    #[arg(long, global = true, value_name = "TIME")]
    pub source_sweep_interval: Option<String>,
    /// How long deliveries are kept, from `1d`
    #[arg(long, global = true, value_name = "TIME")]
    pub delivery_retention: Option<String>,
    /// How long a shutdown waits for running builds
    #[arg(long, global = true, value_name = "TIME")]
    pub drain_timeout: Option<String>,
    /// Who may make an account: `closed` (by invitation) or `open` (everybody)
    #[arg(long, global = true, value_name = "WORD")]
    pub sign_up: Option<String>,
    /// What is logged, for example `info` or `slipway_app=debug,info`
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// Whether `serve` runs the built-in builder
    #[arg(long, global = true, value_name = "BOOL")]
    pub builder_enabled: Option<String>,
    /// Docker Engine or buildkitd that the builder drives
    #[arg(long, global = true, value_name = "URL")]
    pub builder_engine: Option<String>,
    /// Authority that signed the certificate of an engine at `tcp://` or `buildkit+tcp://`
    #[arg(long, global = true, value_name = "FILE")]
    pub builder_engine_ca_file: Option<String>,
    /// The certificate that this builder shows to such an engine
    #[arg(long, global = true, value_name = "FILE")]
    pub builder_engine_cert_file: Option<String>,
    /// That certificate's private key
    #[arg(long, global = true, value_name = "FILE")]
    pub builder_engine_key_file: Option<String>,
    /// How many builds run at once
    #[arg(long, global = true, value_name = "N")]
    pub builder_parallel: Option<String>,
    /// Memory of each engine that serves hooks and tests, for example `4G`; `none` is the machine's
    #[arg(long, global = true, value_name = "SIZE")]
    pub builder_memory: Option<String>,
    /// Namespaces whose `hooks/` may run, divided by commas; `*` is everyone
    #[arg(long, global = true, value_name = "LIST")]
    pub builder_hooks: Option<String>,
    /// How many builds may run at once on all builders; 0 is no limit
    #[arg(long, global = true, value_name = "N")]
    pub queue_running: Option<String>,
    /// How many builds of one namespace may run at once; 0 is no limit
    #[arg(long, global = true, value_name = "N")]
    pub queue_per_namespace: Option<String>,
    /// After how much silence of a builder its builds are given to others
    #[arg(long, global = true, value_name = "TIME")]
    pub queue_lease: Option<String>,
    /// How long each try of a build may take
    #[arg(long, global = true, value_name = "TIME")]
    pub queue_time_limit: Option<String>,
    /// Where mail goes, `smtp://`, `smtps://` or `file:///FOLDER`
    #[arg(long, global = true, value_name = "URL")]
    pub mail_url: Option<String>,
    /// The sender of mail
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub mail_from: Option<String>,
    /// Requests to the API in a minute, of one token, session or address
    #[arg(long, global = true, value_name = "N")]
    pub limits_api_per_minute: Option<String>,
    /// Private networks and hosts that may be reached for pictures, registries and addresses that people give, divided by commas
    #[arg(long, global = true, value_name = "LIST")]
    pub egress_allow: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process: web, API, registry, webhooks, and a built-in builder
    Serve,
    /// A builder on another machine; dials out only
    Builder {
        /// The server's public address
        #[arg(long, value_name = "URL")]
        server: String,
        /// File that holds a join token alone; needed until this machine has joined
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Work on the database and the blobs, beside a running server or without one
    Admin {
        /// What to do.
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Read the configuration and say every value and where it came from
    CheckConfig,
    /// Bring the database's schema up to this version
    Migrate,
    /// Copy everything from SQLite to PostgreSQL (not in this version)
    CopyDb {
        /// The PostgreSQL database
        #[arg(long, value_name = "URL")]
        to: String,
    },
}

/// Commands for administrators.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Users
    User {
        /// What to do.
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Print a new personal access token, once
    Token {
        /// The user
        name: String,
        /// A scope of the token, can be given several times [default: all]
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
    },
    /// Check the database against the blobs; exit 0 means clean
    Fsck {
        /// Read every blob and compare its digest
        #[arg(long)]
        deep: bool,
    },
}

/// Commands about users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user
    Add {
        /// The user's name, which is also the namespace
        name: String,
        /// The user administers this server
        #[arg(long)]
        admin: bool,
        /// File whose first line is the password, `-` for standard input
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Let a user in again: a new password, no second factor, every session ended
    Recover {
        /// The user's name
        name: String,
        /// File whose first line is the new password, `-` for standard input
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
}

/// What the command line asks for: a command, or a text such as the help.
#[derive(Debug)]
pub enum Asked {
    /// Run this.
    Run(Box<Cli>),
    /// Print this and end well.
    Print(String),
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`] with the nearest known word as the hint.
pub fn parse<I, T>(arguments: I) -> Result<Asked, Failure>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(Asked::Run(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Asked::Print(error.render().to_string())),
            _ => Err(refusal(&error)),
        },
    }
}

/// Clap's own report is several lines with colours; ours is one line and a hint.
fn refusal(error: &clap::Error) -> Failure {
    let said = |kind: ContextKind| error.get(kind).map(plain).unwrap_or_default();
    let help = "`slipway --help` lists the commands and flags".to_owned();
    let (argument, value) = (said(ContextKind::InvalidArg), said(ContextKind::InvalidValue));
    let (message, hint) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let near = said(ContextKind::SuggestedSubcommand);
            let hint = if near.is_empty() { help } else { format!("did you mean `{near}`?") };
            (format!("unknown command `{}`", said(ContextKind::InvalidSubcommand)), hint)
        }
        ErrorKind::UnknownArgument => {
            let near = said(ContextKind::SuggestedArg);
            let hint = if near.is_empty() { help } else { format!("did you mean `{near}`?") };
            (format!("unknown argument `{argument}`"), hint)
        }
        ErrorKind::MissingRequiredArgument => (format!("missing `{argument}`"), usage(error)),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => (
            "a command was expected".to_owned(),
            "`slipway serve` starts the server; `--help` lists the commands that can stand here".to_owned(),
        ),
        ErrorKind::InvalidValue if value.is_empty() => (format!("`{argument}` needs a value"), usage(error)),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => (format!("`{value}` is no value for `{argument}`"), usage(error)),
        ErrorKind::TooManyValues => (format!("`{argument}` takes no value, `{value}` was given"), usage(error)),
        ErrorKind::ArgumentConflict => {
            let prior = said(ContextKind::PriorArg);
            let what = if prior == argument {
                format!("`{argument}` was given more than once")
            } else {
                format!("`{argument}` cannot stand beside `{prior}`")
            };
            (what, usage(error))
        }
        other => (format!("the command line cannot be read: {other}"), help),
    };
    Failure::usage(message, hint)
}

fn plain(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join("`, `"),
        other => other.to_string(),
    }
}

fn usage(error: &clap::Error) -> String {
    let text = error.get(ContextKind::Usage).map(plain).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim_start_matches("Usage:").trim().to_owned();
    if line.is_empty() { "`slipway --help` lists the commands and flags".to_owned() } else { format!("usage: {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
