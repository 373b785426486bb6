//! The words of Slipway as types: ids, names, refs, build rules, states, permissions, time.
//!
//! Invariant: a value that exists is valid; every constructor of a name or a ref checks it.
//! Deliberately absent: I/O of any kind, databases, HTTP. Every other room may use this one.

mod build;
mod clock;
mod delivery;
mod egress;
mod external;
mod git;
mod ids;
mod names;
mod nodes;
mod paths;
mod permission;
mod provider;
mod pull_request;
mod queue;
mod rule;
mod secret;
mod tag;
mod variables;

pub use build::{BuildState, FailureCode, FailureReason, Lane, Phase, Step, StepState};
pub use clock::{Clock, Timestamp};
pub use delivery::{DeliveryStatus, VerdictOutcome};
pub use egress::{AddressRefused, EgressPolicy};
pub use external::{ExternalRepository, InvalidExternalRepository};
pub use git::{CommitId, RefKind, RefName};
pub use ids::{
    AccountId, AuditId, AutobuildId, BuildId, BuilderId, DeliveryId, DeployKeyId, HookId, IdentityId, InvitationId, JoinTokenId, LinkId,
    MailId, PendingSignInId, ReceiptId, RefEventId, RepositoryId, RuleId, SessionId, TeamId, TokenId, TriggerId, UploadId,
};
pub use names::{AccountName, InvalidName, RESERVED_NAMES, RepositoryName, RepositoryPath, TeamName, skeleton};
pub use nodes::{InvalidLabels, NodeLabels, OLDEST_PROTOCOL, Version};
pub use paths::{InvalidPaths, PathFilter, PathPatterns};
pub use permission::{AccountKind, Permission, Scope, ScopeSet, Visibility};
pub use provider::{AccessLevel, LinkState, LinkedAs, NamespaceAccess, ProviderId, ProviderKind};
pub use pull_request::{Approval, ForkRepository, PullRequest};
pub use queue::{Held, QueueLimits, Turn, in_front};
pub use rule::{Autotest, BuildRule, RuleError, RuleMatch, RulePath, SourcePattern, SourceType, TargetStage};
pub use secret::{SecretHash, SecretToken, TokenKind, constant_time_eq};
pub use tag::{CACHE_TAG, ImageTag, InvalidTag, TagFacts, TagTemplate, TagTemplates};
pub use variables::{
    BuildArgument, BuildArguments, EnvironmentVariable, SERVICE_VARIABLES, SHORTEST_MASKED, SHORTEST_SECRET, SSH_KNOWN_HOSTS, SSH_PRIVATE,
};
