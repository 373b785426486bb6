//! Source providers: the trait [`Forge`] and what stands behind it, one folder per kind of provider.
//!
//! Invariant: whatever a provider or a webhook says is hostile until it has become one of the types here; addresses are
//! built from the configured [`Provider`], never taken from an answer, and no credential leaves for another origin.
//! Deliberately elsewhere: the rows of links and hooks, the decision what a push starts, and git itself.

mod credentials;
mod delivery;
pub mod egress;
mod error;
mod forge;
mod http_client;
mod listing;
mod pull_requests;
mod text;
mod types;
mod webhook;

pub mod bitbucket;
pub mod gitea;
pub mod github;
#[doc(hidden)]
pub mod scripted;

use std::sync::Arc;

use slipway_model::ProviderKind;

pub use egress::{Egress, EgressPolicy};
pub use error::ForgeError;
pub use forge::Forge;
pub use http_client::counting;
pub use types::{
    AppCredentials, AuthorizeRequest, CloneAccess, CommitState, CommitStatus, Coverage, DeliveryOutcome, Fresh, Grant, Heads, HookSpec,
    NamespaceKind, Offer, OpenPullRequests, Page, Person, Picture, Provider, RemoteDelivery, RemoteHook, RemoteKey, Removal, SourceKey,
    SourceNamespace, SourceRef, SourceRepository, SshAccess,
};
pub use webhook::{
    Payload, PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding, RefChange, Refusal, Unreadable, UnusableRef,
    Verified,
};

/// Opens the client of a configured provider; its kind picks the implementation. Pictures come from the provider and the public internet.
///
/// # Errors
/// [`ForgeError::Misconfigured`] when an address of the provider cannot be used.
pub fn open(provider: Provider) -> Result<Arc<dyn Forge>, ForgeError> {
    open_with(provider, Egress::default())
}

/// As [`open`], with what the administrator allows of the network that is not public.
///
/// # Errors
/// As [`open`].
pub fn open_with(provider: Provider, egress: Egress) -> Result<Arc<dyn Forge>, ForgeError> {
    match provider.kind {
        ProviderKind::GitHub => Ok(Arc::new(github::GitHub::open(provider, egress)?)),
        ProviderKind::Bitbucket => Ok(Arc::new(bitbucket::Bitbucket::open(provider, egress)?)),
        ProviderKind::Gitea => Ok(Arc::new(gitea::Gitea::open(provider, egress)?)),
    }
}
