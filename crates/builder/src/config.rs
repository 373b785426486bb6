//! What a builder is given to start with, and why it may refuse to.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use slipway_buildkit::EngineAddress;
use slipway_model::SecretToken;
use thiserror::Error;
use url::Url;

/// Settings of one builder.
#[derive(Debug, Clone)]
pub struct BuilderConfig {
    /// The server's address, `http://` or `https://`.
    pub server_url: Url,
    /// How the server knows it.
    pub credential: Credential,
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

/// How the server knows a builder.
#[derive(Debug, Clone)]
pub enum Credential {
    /// By this token, as the built-in one.
    Own(SecretString),
    /// By a credential of this machine's own that is kept beneath `work_dir`.
    Kept {
        /// With what it gets one when it has none, or none by this token.
        join_token: Option<SecretToken>,
        /// Where that token was looked for.
        token_file: PathBuf,
    },
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
    /// The server does not know the builder's own credential.
    #[error("the server at `{server}` does not know this builder: {said}")]
    TokenRefused {
        /// The server's address.
        server: String,
        /// What it said.
        said: String,
    },
    /// The server does not take the join token.
    #[error("the server at `{server}` does not let this machine join: {said}")]
    JoinRefused {
        /// The server's address.
        server: String,
        /// What it said.
        said: String,
    },
    /// This machine is no node yet, and there is nothing to become one with.
    #[error("this machine has not joined yet, and the token file `{token_file}` is not there")]
    NoToken {
        /// Where a join token was looked for.
        token_file: PathBuf,
    },
    /// This program, its git or its engine is older than what the server works with.
    #[error("the server does not work with this builder: {said}")]
    TooOld {
        /// What was found and what is wanted.
        said: String,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}
