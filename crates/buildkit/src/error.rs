//! What can go wrong, as the caller has to tell it apart.
//!
//! The invariant: no text in here holds a path of the daemon's host, a stack of the daemon or a credential.
//! Deliberately elsewhere: how a daemon's text becomes one of these (`explain`).

use thiserror::Error;

/// An engine address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{given}` is no engine address, expected `unix:///path`, `tcp://host:port`, `buildkit+unix:///path` or `buildkit+tcp://host:port`"
)]
pub struct AddressError {
    pub(crate) given: String,
}

/// A failed call of the Engine's HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// Nothing answers, or the connection broke.
    #[error("no engine answers at `{address}`: {cause}")]
    Unreachable {
        /// The configured address.
        address: String,
        /// The operating system's words.
        cause: String,
    },
    /// Something answers, but it cannot build.
    #[error("the engine at `{address}` cannot be used: {reason}")]
    Unsuitable {
        /// The configured address.
        address: String,
        /// What is missing, and what was expected.
        reason: String,
    },
    /// The engine answered with an error of its own.
    #[error("the engine answered {status}: {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The engine's text, scrubbed.
        message: String,
    },
    /// The registry refused the push or broke it off.
    #[error("push failed: {message}")]
    Push {
        /// The registry's text as the engine passes it on, scrubbed.
        message: String,
    },
}

impl EngineError {
    /// The next step for a person, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { cause, .. } if cause.contains("ermission denied") => {
                Some("the socket stands but this user may not open it: add the user to the group `docker`, or set `[builder] engine`")
            }
            Self::Unreachable { cause, .. } if cause.contains("certificate") || cause.contains("TLS") => {
                Some("look at `[builder] engine_ca_file`, `engine_cert_file` and `engine_key_file`, and at the engine's own certificates")
            }
            Self::Unreachable { address, .. } if address.starts_with("buildkit+") => {
                Some("start a buildkitd there, or set `[builder] engine` to the address of another engine")
            }
            Self::Unreachable { .. } => {
                Some("install and start a Docker Engine (Debian: `apt install docker.io`), or set `[builder] engine` to the address of one")
            }
            Self::Unsuitable { reason, .. } if reason.contains("plain TCP") => {
                Some("set `[builder] engine_ca_file`, `engine_cert_file` and `engine_key_file`")
            }
            Self::Unsuitable { .. } => Some("Docker Engine 20.10 or newer with BuildKit is needed, or a buildkitd 0.28.1 or newer"),
            _ => None,
        }
    }

    /// True when the same call may succeed later: the network, a registry that is overloaded or restarting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unsuitable { .. } => false,
            Self::Answer { status, .. } => *status >= 500 || *status == 429,
            Self::Push { message } => crate::explain::push_is_transient(message),
        }
    }
}

/// Why a build ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SolveError {
    /// The Dockerfile is not in the source.
    #[error("Dockerfile not found at `{path}`")]
    DockerfileNotFound {
        /// The path as the caller gave it.
        path: String,
    },
    /// The Dockerfile cannot be read as one.
    #[error("Dockerfile{}: {message}", line.map(|n| format!(" line {n}")).unwrap_or_default())]
    DockerfileSyntax {
        /// The line, where the frontend names one.
        line: Option<u32>,
        /// What is wrong with it.
        message: String,
    },
    /// The target names a stage that is not there.
    #[error("the Dockerfile has no stage `{stage}`")]
    StageNotFound {
        /// The stage that was asked for.
        stage: String,
    },
    /// A step ended with an exit code.
    #[error("step `{step}` exited with {exit_code}")]
    StepFailed {
        /// The step as the progress shows it.
        step: String,
        /// The exit code of its process.
        exit_code: i32,
    },
    /// A step failed without running a process, for example a COPY of a missing file.
    #[error("step `{step}`: {message}")]
    StepRefused {
        /// The step as the progress shows it.
        step: String,
        /// The engine's words, scrubbed.
        message: String,
    },
    /// A base image cannot be had.
    #[error("base image `{image}`: {message}")]
    BaseImage {
        /// The image reference, normalised by the engine.
        image: String,
        /// Not found, denied, or the registry's words.
        message: String,
    },
    /// The registry refused the image that a buildkitd pushed, or broke it off.
    #[error("push failed: {message}")]
    Push {
        /// The registry's text as the engine passes it on, scrubbed.
        message: String,
    },
    /// The build context holds something that cannot be sent.
    #[error("build context: {message}")]
    Context {
        /// Which entry, and why.
        message: String,
    },
    /// Nothing answers at the address, or the engine went away during the build.
    #[error("no engine answers at `{address}`: {cause}")]
    EngineUnreachable {
        /// The configured address.
        address: String,
        /// The operating system's words.
        cause: String,
    },
    /// Somebody stopped the build inside the engine.
    #[error("the engine cancelled the build")]
    Cancelled,
    /// Anything else, scrubbed.
    #[error("{message}")]
    Other {
        /// The engine's words.
        message: String,
    },
}

impl SolveError {
    /// True when the registry may take the same image, or give the base image, later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Push { message } => crate::explain::push_is_transient(message),
            Self::BaseImage { message, .. } => crate::explain::pull_is_transient(message),
            _ => false,
        }
    }
}

impl From<EngineError> for SolveError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unreachable { address, cause } => Self::EngineUnreachable { address, cause },
            other => Self::Other { message: other.to_string() },
        }
    }
}
