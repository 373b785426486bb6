//! Why a build failed, in the words of the model, and whether another try may help.
//!
//! Deliberately elsewhere: the engine's own texts (`slipway-buildkit` turns them into `SolveError`).

use slipway_buildkit::{EngineError, SolveError};
use slipway_model::{FailureCode, FailureReason};

/// The end of a build without an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: FailureReason,
    pub(crate) retry: Retry,
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The cause lies in the source or its settings.
    Useless,
    /// The cause lies outside.
    MayHelp,
    /// On a builder that can have engines of its own.
    Elsewhere,
}

impl Failure {
    /// The cause lies in the source or its settings.
    pub(crate) fn new(code: FailureCode, text: impl Into<String>) -> Self {
        Self { reason: FailureReason::new(code, text), retry: Retry::Useless }
    }

    /// The cause lies outside of the source.
    pub(crate) fn passing(code: FailureCode, text: impl Into<String>) -> Self {
        Self { reason: FailureReason::new(code, text), retry: Retry::MayHelp }
    }

    /// The build needs an engine of its own, and this builder cannot have one.
    pub(crate) fn no_own_engine(why: &str) -> Self {
        let text = format!(
            "hooks, tests, builds of other people's commits and, with a buildkitd, builds with secret variables need an engine of their own, \
             which this builder cannot have: {why}"
        );
        Self { reason: FailureReason::new(FailureCode::EngineUnavailable, text), retry: Retry::Elsewhere }
    }

    pub(crate) fn internal(what: &str, error: impl std::fmt::Display) -> Self {
        Self::passing(FailureCode::Internal, format!("{what}: {error}"))
    }
}

impl From<SolveError> for Failure {
    fn from(error: SolveError) -> Self {
        let text = error.to_string();
        let code = match error {
            SolveError::Push { .. } if error.is_passing() => return Self::passing(FailureCode::PushFailed, text),
            SolveError::BaseImage { .. } if error.is_passing() => return Self::passing(FailureCode::BaseImage, text),
            SolveError::Push { .. } => FailureCode::PushFailed,
            SolveError::DockerfileNotFound { .. } => FailureCode::DockerfileNotFound,
            SolveError::DockerfileSyntax { .. } | SolveError::StageNotFound { .. } => FailureCode::DockerfileInvalid,
            SolveError::StepFailed { .. } | SolveError::StepRefused { .. } => FailureCode::StepFailed,
            SolveError::BaseImage { .. } => FailureCode::BaseImage,
            SolveError::Context { .. } => FailureCode::ContextNotFound,
            SolveError::EngineUnreachable { .. } | SolveError::Cancelled => {
                return Self::passing(FailureCode::EngineUnavailable, text);
            }
            SolveError::Other { .. } => FailureCode::Internal,
        };
        Self::new(code, text)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::Unreachable { .. } | EngineError::Unsuitable { .. } => Self::passing(FailureCode::EngineUnavailable, text),
            EngineError::Push { .. } if error.is_transient() => Self::passing(FailureCode::PushFailed, text),
            EngineError::Push { .. } => Self::new(FailureCode::PushFailed, text),
            EngineError::Answer { .. } if error.is_transient() => Self::passing(FailureCode::Internal, text),
            EngineError::Answer { .. } => Self::new(FailureCode::Internal, text),
        }
    }
}
