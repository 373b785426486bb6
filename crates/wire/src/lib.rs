//! The builder protocol, version [`PROTOCOL`]: what a builder and the server say to each other, as JSON over HTTP. Data only.
//!
//! Every request carries `Authorization: Bearer <builder token>`. Every request about a build carries the `attempt` number that
//! the claim gave: it is the fencing token. A request with an attempt that no longer holds the lease changes nothing and is
//! answered 409 with [`Fenced`]; the builder then stops that build without another word.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /builder/v1/join` | [`Join`] | 200 [`JoinAnswer`]; with a join token instead; idempotent for the same credential |
//! | `POST /builder/v1/claim` | [`Claim`] | 200 [`Assignment`], or 204 when `wait_seconds` passed without work |
//! | `POST /builder/v1/builds/{id}/heartbeat` | [`Heartbeat`] | 200 [`HeartbeatAnswer`]; extends the lease |
//! | `POST /builder/v1/builds/{id}/report` | [`Report`] | 200 [`ReportAnswer`]; idempotent by `sequence` |
//! | `POST /builder/v1/builds/{id}/finish` | [`Finish`] | 200 [`FinishAnswer`]; idempotent for the same attempt |
//! | `POST /builder/v1/builds/{id}/release` | [`Release`] | 200 `{}`; hands the build back to the queue |
//!
//! Answers other than these: 401 unknown token, 409 [`Fenced`], 413 too large, 426 the builder, its git or its engine is too old ([`Refused`]
//! says what was found and wanted), 5xx try again with back-off.
//!
//! A builder makes its own credential and keeps it before it asks to join; the server gets to know its hash, and nobody else ever has it.

use serde::{Deserialize, Serialize};
use slipway_model::{
    AccountId, BuildId, BuildRule, BuilderId, CommitId, EgressPolicy, EnvironmentVariable, FailureReason, ImageTag, Lane, Phase, RefName,
    RepositoryId, RepositoryPath, Step, Timestamp,
};

/// Version of the protocol that this program speaks. The oldest that a server works with is `slipway_model::OLDEST_PROTOCOL`.
pub const PROTOCOL: u32 = 2;
/// Largest text of one [`Event::Log`] in bytes.
pub const MAX_LOG_CHUNK_BYTES: usize = 64 * 1024;
/// Largest body of one [`Report`] in bytes.
pub const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// So long after `wait_seconds` a [`Claim`] may still be answered with work: the source's provider is asked first, and may be slow. Whoever
/// stops listening before that has taken the build without knowing.
pub const MAX_PREPARE_SECONDS: u32 = 60;

/// A machine asks to become a builder node, with a join token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Join {
    /// For people: the machine's name.
    pub name: String,
    /// SHA-256 of the credential that the machine made for itself, in hexadecimal.
    pub credential_sha256: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// What `git version` prints.
    pub git: String,
    /// Version of the builder's program.
    pub version: String,
}

/// The machine is a node: its credential counts from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The node as the server knows it.
    pub builder: BuilderId,
}

/// Why a builder is not worked with, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// What was found and what was wanted.
    pub detail: String,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// A builder asks for work and says who it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    /// Version of the protocol; builders that do not say it speak version 1.
    #[serde(default = "first")]
    pub protocol: u32,
    /// What `git version` prints.
    #[serde(default)]
    pub git: String,
    /// For people: the machine's name.
    pub name: String,
    /// Version of the builder's program.
    pub version: String,
    /// How many builds it may run at once.
    pub parallel: u32,
    /// Whether its engine answers; without one nothing is handed out.
    pub engine: EngineStatus,
    /// How long the server may hold the request open while there is no work, at most 20. What it hands out it prepares first: the answer comes
    /// within [`MAX_PREPARE_SECONDS`] more.
    pub wait_seconds: u32,
    /// Why it cannot have engines of its own, which hooks, tests and other people's commits need; `None` when it can.
    #[serde(default)]
    pub obstacle: Option<String>,
}

fn first() -> u32 {
    1
}

/// Whether the builder's engine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EngineStatus {
    /// It answers.
    Ready {
        /// `Docker Engine 20.10.24`.
        description: String,
        /// Which, for the oldest version that is worked with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<EngineKind>,
    },
    /// It does not.
    Unavailable {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
}

/// What kind of engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// A Docker Engine.
    Docker,
    /// BuildKit by itself.
    Buildkitd,
}

/// One build, with all that its builder needs and nothing more. `Debug` of the secrets inside is redacted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The builder as the server knows it.
    pub builder: BuilderId,
    /// Which build.
    pub build: BuildId,
    /// The fencing token.
    pub attempt: u32,
    /// The lease ends this many seconds after the answer unless a heartbeat extends it.
    pub lease_seconds: u32,
    /// The build is ended after this many seconds.
    pub time_limit_seconds: u32,
    /// Where the source is.
    pub source: Source,
    /// The rule as it was when the build was made.
    pub rule: BuildRule,
    /// The tags that will move after success.
    pub tags: Vec<ImageTag>,
    /// Whether this build must not use the cache.
    pub no_cache: bool,
    /// Variables of the repository; none in the untrusted lane.
    pub environment: Vec<EnvironmentVariable>,
    /// Whose image it becomes. Unlike its name, this is never another's: what is kept of its builds is kept under it.
    pub repository: RepositoryId,
    /// Where the image goes.
    pub registry: RegistryTarget,
    /// Whose engine, cache and hooks it may use.
    pub scope: TrustScope,
    /// Whether the image is pushed after its tests; without, the build ends as [`Outcome::Passed`].
    pub publish: bool,
    /// Whether the installation's administrator lets this namespace run `hooks/`.
    pub hooks: bool,
    /// Another registry whose private images a Dockerfile may name; none in the untrusted lane.
    #[serde(default)]
    pub base_registry: Option<BaseRegistry>,
}

/// A registry that base images are pulled from with a password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BaseRegistry {
    /// `host[:port]` as it stands in the images' names.
    pub host: String,
    /// Who pulls.
    pub credential: Credential,
}

/// What builds share an engine of their own with each other, and with nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrustScope {
    /// The namespace's account.
    pub account: AccountId,
    /// In the untrusted lane an engine serves one build and goes with its data.
    pub lane: Lane,
}

/// The source of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// Address for `git fetch`, without any credential in it.
    pub clone_url: String,
    /// HTTP Basic credential for that address alone.
    pub credential: Option<Credential>,
    /// Another way, to be tried first; where it is refused the one above follows, if it has a credential.
    #[serde(default)]
    pub ssh: Option<SshAccess>,
    /// What the log says of a clone by the address above: `a short-lived token of the link`.
    #[serde(default)]
    pub credential_words: Option<String>,
    /// Why there is no deploy key; beside one, why there is no credential.
    #[serde(default)]
    pub because: Option<String>,
    /// The ref that has the commit: the branch or tag that was pushed, or the head of a pull request.
    pub source_ref: RefName,
    /// The commit to build; an annotated tag's own id is allowed and is peeled after the fetch.
    pub commit: CommitId,
    /// What it is compared with: when no file that the rule is built from differs, the build is not needed.
    #[serde(default)]
    pub base: Option<Base>,
    /// Where its submodules may be.
    #[serde(default)]
    pub network: Network,
}

/// What submodules may lead to beside the public internet: their addresses are whoever pushed's, these are the administrator's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// The configured providers, wherever they stand.
    pub providers: Vec<ProviderHost>,
    /// Networks and hosts besides.
    pub egress: EgressPolicy,
}

/// Where a configured provider serves git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderHost {
    /// Over HTTP: `https://git.example.com`; repositories are below it.
    pub url: String,
    /// Over SSH; repositories have the same paths there.
    pub ssh: Option<SshServer>,
}

/// An SSH server that is known by its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshServer {
    /// `git`, nearly everywhere.
    pub user: String,
    /// Its name or address.
    pub host: String,
    /// 22, nearly everywhere.
    pub port: u16,
    /// Its public keys, `ssh-ed25519 AAAA...`.
    pub host_keys: Vec<String>,
}

/// What a build of a rule of some paths is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The last image of the rule and ref.
    Image {
        /// Number of its build.
        number: u64,
        /// The commit that it was built from.
        commit: CommitId,
    },
    /// Where a pull request left the branch that it goes into.
    Branch(RefName),
}

/// How a source is read over SSH; `Debug` never shows the private key.
#[derive(Clone, Serialize, Deserialize)]
pub struct SshAccess {
    /// `ssh://git@host:22/owner/name.git`.
    pub url: String,
    /// In OpenSSH's form.
    pub private_key: String,
    /// The server's public keys, `ssh-ed25519 AAAA...`: any other server is refused.
    pub host_keys: Vec<String>,
    /// Whose key it is.
    #[serde(default)]
    pub key: SshKey,
}

/// Which key a source is read with over SSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshKey {
    /// The source's deploy key, which the server made.
    #[default]
    Deploy,
    /// The one in the repository's variable `SSH_PRIVATE`.
    Variable,
}

impl std::fmt::Debug for SshAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshAccess({}, [redacted])", self.url)
    }
}

/// Where the image goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistryTarget {
    /// `host[:port]` as the engine reaches it.
    pub host: String,
    /// Whether it speaks plain HTTP.
    pub insecure: bool,
    /// `namespace/name`.
    #[serde(with = "as_text")]
    pub repository: RepositoryPath,
    /// A credential for this build alone: pushes to its repository by digest, pulls from its namespace and from public repositories. One that
    /// is not published pushes nothing; in the untrusted lane it pulls what strangers pull.
    pub credential: Credential,
}

/// Name and password; `Debug` never shows the password.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credential {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}, [redacted])", self.username)
    }
}

/// The builder is alive and still works on this attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Fencing token.
    pub attempt: u32,
}

/// What the builder should know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// A person wants it to end: stop within 2 s and finish with [`Outcome::Cancelled`].
    pub cancel: bool,
    /// The lease ends this many seconds from now.
    pub lease_seconds: u32,
}

/// A numbered batch of events. The server keeps a batch once: one whose `sequence` is not higher than the last kept is acknowledged and dropped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Fencing token.
    pub attempt: u32,
    /// 1 for the attempt's first batch, then one more each.
    pub sequence: u64,
    /// In order.
    pub events: Vec<Event>,
}

/// The server has kept everything up to this batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// Highest kept batch of this attempt.
    pub sequence: u64,
}

/// Something that happened in a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A phase ended, well or not.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A step is new or has changed; the last value of an id counts.
    Step {
        /// The whole step.
        step: Step,
    },
    /// Output.
    Log {
        /// The step that it belongs to; `None` for the build as a whole.
        step: Option<String>,
        /// Already masked. At most [`MAX_LOG_CHUNK_BYTES`].
        text: String,
        /// When it came.
        at: Timestamp,
    },
    /// The source was fetched.
    Cloned {
        /// With what: `the deploy key`.
        with: String,
        /// Why not with the deploy key.
        because: Option<String>,
        /// Whether the provider refused the deploy key.
        key_refused: bool,
    },
    /// What git said of the commit that is built.
    Commit {
        /// The commit itself (an annotated tag is peeled).
        commit: CommitId,
        /// First line of its message, at most 500 characters.
        message: String,
        /// Its author's name, at most 200 characters. Display only: authors can be forged.
        author: String,
    },
}

/// The build has ended on the builder's side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finish {
    /// Fencing token.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
}

/// How a build ended on the builder's side. The server decides what becomes of the tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Built, tested and pushed by digest.
    Pushed {
        /// Manifest digest, `sha256:...`.
        digest: String,
    },
    /// Built and tested, and not to be pushed.
    Passed,
    /// Ended without an image; `retry` is for causes that lie outside of the source (engine gone, registry away).
    Failed {
        /// Why.
        reason: FailureReason,
        /// Whether trying again may help.
        retry: bool,
    },
    /// It needs an engine of its own, which this builder cannot have: another one may.
    NeedsOwnEngine {
        /// Why, in words.
        reason: FailureReason,
    },
    /// Stopped because the server asked for it.
    Cancelled,
    /// The last image is what it would give; nothing was built.
    Unneeded {
        /// Why, in words.
        reason: FailureReason,
    },
}

/// What became of the build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FinishAnswer {
    /// The build's final state, or `queued` when it is tried again.
    pub state: slipway_model::BuildState,
}

/// The builder gives the build back, because it shuts down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// Fencing token.
    pub attempt: u32,
    /// For the build's log.
    pub note: String,
}

/// The attempt no longer holds the lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fenced {
    /// Why, for the builder's log.
    pub detail: String,
}

mod as_text {
    //! Serde by `Display` and `FromStr`.
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
