//! The configuration: file < environment < flags. The only place of the product that reads files and variables of settings.
//!
//! Invariant: a [`Config`] that exists can be used as it is, and [`Loaded`] says where each of its values came from.
//! Deliberately elsewhere: creating anything (the secret key file, the data folder) is the business of the commands.

mod builder;
mod entry;
mod keys;
mod layers;
mod people;
mod provider;
mod queue;
mod resolve;
mod ssh;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use slipway_app::{BuildHooks, MailConfig, OidcProvider, SignUp};
use slipway_builder::EngineBounds;
use slipway_buildkit::EngineAddress;
use slipway_forge::EgressPolicy;
use slipway_model::QueueLimits;
use url::Url;

pub(crate) use entry::{secret_file, wide_mode};
pub(crate) use keys::nearest;
pub use layers::{Environment, Source};
pub use provider::ProviderSettings;
pub use resolve::Shown;
pub(crate) use resolve::parse_public_url;

use crate::cli::SettingFlags;
use crate::failure::Failure;

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder for everything that Slipway keeps.
    pub data_dir: PathBuf,
    /// Where the listener stands; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The configured public address; see [`Config::public_url`].
    pub public_url: Option<Url>,
    /// `sqlite://PATH` (absolute) or `postgres://...`; may hold a password.
    pub database_url: SecretString,
    /// Folder of image layers and logs.
    pub blobs_dir: PathBuf,
    /// File with the key that encrypts stored tokens.
    pub secret_key_file: PathBuf,
    /// How often refs are compared with the provider's.
    pub reconcile_interval: Duration,
    /// How often a link is looked at.
    pub link_check_interval: Duration,
    /// How often what a used link sees is read anew.
    pub source_sweep_interval: Duration,
    /// How long deliveries are kept.
    pub delivery_retention: Duration,
    /// How long a shutdown waits for running builds.
    pub drain_timeout: Duration,
    /// Filter of log lines.
    pub log: String,
    /// The builder of this process.
    pub builder: BuilderSettings,
    /// How many builds may run at once.
    pub queue: QueueLimits,
    /// How long a builder may be silent before its builds are given to others.
    pub lease: Duration,
    /// How long each try of a build may take.
    pub time_limit: Duration,
    /// How mail leaves, if it does.
    pub mail: Option<MailConfig>,
    /// Whether people may make accounts without an invitation.
    pub sign_up: SignUp,
    /// How many requests one credential or address may send to the API in a minute.
    pub api_per_minute: NonZeroU32,
    /// What of the network that is not public may be reached for addresses that people give.
    pub egress: EgressPolicy,
    /// Configured source code providers.
    pub providers: Vec<ProviderSettings>,
    /// Configured OpenID Connect providers.
    pub oidc: Vec<OidcProvider>,
}

/// `[builder]`.
#[derive(Debug, Clone)]
pub struct BuilderSettings {
    /// Whether `serve` runs one.
    pub enabled: bool,
    /// What it drives.
    pub engine: EngineAddress,
    /// How many builds at once.
    pub parallel: u32,
    /// What each engine that serves hooks and tests may take.
    pub bounds: EngineBounds,
    /// Whose `hooks/` may run, on whichever builder.
    pub hooks: BuildHooks,
}

impl Config {
    /// The public address: the configured one, or plain HTTP at the address that was bound.
    pub fn public_url(&self, bound: SocketAddr) -> Url {
        self.public_url
            .clone()
            .unwrap_or_else(|| Url::parse(&format!("http://{bound}")).expect("an address with a port is a valid authority of a URL"))
    }
}

/// A configuration and what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Every value and its source, in a fixed order.
    pub shown: Vec<Shown>,
    /// Things that work but should not stay so.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// Reads, merges and checks the configuration. `folder` is the working folder.
///
/// # Errors
/// [`Failure::Usage`] for the first value that cannot be used and for every unknown key.
pub fn load(flags: &SettingFlags, environment: &Environment, folder: &Path) -> Result<Loaded, Failure> {
    let layers = layers::read(flags, environment, folder)?;
    resolve::resolve(&layers, folder)
}
