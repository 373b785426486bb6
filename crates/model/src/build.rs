//! States of a build, its phases, its steps and the reasons why it ended.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the database, the API and the interface.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $word,)* } }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text { $($word => Ok(Self::$variant),)* other => Err(format!("`{}` is not one of: {}", other.chars().take(40).collect::<String>(), [$($word),*].join(", "))) }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Where a build is in its life. The last three are final: a build that reached one never changes again.
    BuildState {
        /// Waits for a builder.
        Queued = "queued",
        /// Held by a builder with a lease.
        Running = "running",
        /// Its image is in the registry, or passed its tests and was not to be pushed.
        Success = "success",
        /// It ended without an image, with a reason.
        Failed = "failed",
        /// A person ended it, or it was not needed.
        Cancelled = "cancelled",
    }
}

impl BuildState {
    /// Whether the build has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

words! {
    /// How far the source of a build is trusted. Builds of different lanes never share an engine, a cache or a secret.
    Lane {
        /// Written by someone who may write to the source repository.
        Trusted = "trusted",
        /// Written by anybody, as the pull request of a fork is.
        Untrusted = "untrusted",
    }
}

words! {
    /// The part of a build's work, in order.
    Phase {
        /// The source is fetched.
        Checkout = "checkout",
        /// BuildKit makes the image.
        Build = "build",
        /// Each `*.test.yml` runs; its `sut` decides.
        Test = "test",
        /// The image goes to the registry by digest.
        Push = "push",
    }
}

words! {
    /// Why a build ended without an image. Each is a different decision for the reader.
    FailureCode {
        /// The source could not be fetched.
        SourceUnavailable = "source_unavailable",
        /// The commit is no longer at the provider.
        CommitGone = "commit_gone",
        /// No Dockerfile at the rule's path.
        DockerfileNotFound = "dockerfile_not_found",
        /// The rule's context is not a folder of the source.
        ContextNotFound = "context_not_found",
        /// The Dockerfile does not parse or names a stage that is missing.
        DockerfileInvalid = "dockerfile_invalid",
        /// The base image could not be had.
        BaseImage = "base_image",
        /// A step of the Dockerfile failed.
        StepFailed = "step_failed",
        /// A script in `hooks/` ended with an error, or cannot run.
        HookFailed = "hook_failed",
        /// The source has `hooks/`, and the administrator lets its namespace run none.
        HooksForbidden = "hooks_forbidden",
        /// `sut` exited with another code than 0.
        TestFailed = "test_failed",
        /// A test file cannot be run as it is.
        TestInvalid = "test_invalid",
        /// The image holds a secret that the build was given.
        SecretInImage = "secret_in_image",
        /// The registry did not take the image.
        PushFailed = "push_failed",
        /// No engine answers at the builder.
        EngineUnavailable = "engine_unavailable",
        /// The builder's disk was nearly full.
        DiskFull = "disk_full",
        /// The builder went silent more often than the build may be tried.
        LeaseLost = "lease_lost",
        /// The time limit was reached.
        TimedOut = "timed_out",
        /// A person cancelled it.
        Cancelled = "cancelled",
        /// Nothing that its rule is built from changed since the last image, or in the pull request.
        Unchanged = "unchanged",
        /// A newer push of the same ref came while it waited.
        Superseded = "superseded",
        /// Its pull request was closed or merged while it waited.
        PullRequestClosed = "pull_request_closed",
        /// The settings are not for it any more, which they became while it waited.
        SettingsChanged = "settings_changed",
        /// The link to the provider is disabled or gone.
        LinkUnavailable = "link_unavailable",
        /// Something of ours failed; the log says what.
        Internal = "internal",
    }
}

/// Why a build ended, for programs (`code`) and people (`text`, one sentence without full stop).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailureReason {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub text: String,
}

impl FailureReason {
    /// A reason; the text is cut at 2,000 characters.
    #[must_use]
    pub fn new(code: FailureCode, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self { code, text: text.chars().take(2000).collect() }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

words! {
    /// Where a step is.
    StepState {
        /// Known, not begun.
        Pending = "pending",
        /// At work.
        Running = "running",
        /// Done.
        Success = "success",
        /// Ended with an error.
        Failed = "failed",
        /// Ended by a cancellation.
        Cancelled = "cancelled",
    }
}

/// One step of a build: a vertex of BuildKit's graph, or one of our own ("fetch the source", "test x.test.yml", "push").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the attempt: BuildKit's vertex digest or a word of ours. At most 128 characters.
    pub id: String,
    /// The phase that it belongs to.
    pub phase: Phase,
    /// As the Dockerfile has it. At most 1,000 characters.
    pub name: String,
    /// Where it is.
    pub state: StepState,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// When work began.
    pub started_at: Option<Timestamp>,
    /// When work ended.
    pub finished_at: Option<Timestamp>,
    /// What went wrong, when it failed.
    pub error: Option<String>,
}
