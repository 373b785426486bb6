//! What a builder is given to start with, and why it may refuse to.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use slipway_buildkit::EngineAddress;
use thiserror::Error;
use url::Url;

/// Settings of one builder.
#[derive(Debug, Clone)]
pub struct BuilderConfig {
    /// The server's address, `http://` or `https://`.
    pub server_url: Url,
    /// The builder's token.
    pub token: SecretString,
    /// The builder's name, for people.
    pub name: String,
    /// The engine, with what protects the way to it.
    pub engine: EngineAddress,
    /// What each engine of its own, which serves hooks and tests, may take of the machine.
    pub bounds: EngineBounds,
    /// How many builds may run at once; 0 counts as 1.
    pub parallel: u32,
    /// A folder of the builder's own, made if it is not there. No two builders may share one.
    pub work_dir: PathBuf,
    /// How long running builds may go on after a shutdown was asked for; then they are handed back.
    pub drain_timeout: Duration,
}

/// What one engine of its own may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineBounds {
    /// Bytes of memory, of the engine, its containers and the programs beside it together; `None` is the machine's.
    pub memory: Option<u64>,
}

/// Why a builder cannot work at all. A failed build is not among these.
#[derive(Debug, Error)]
pub enum BuilderError {
    /// The working folder cannot be used.
    #[error("the working folder `{path}` cannot be used: {problem}")]
    WorkDir {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// The server does not know the token.
    #[error("the server at `{server}` does not accept this builder's token")]
    TokenRefused {
        /// The server's address.
        server: String,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}
