//! The words that test scripts and the fake share: what a script passes in and what it looks at.
//! Invariant: data only, no behaviour of the provider. A uuid is written as Bitbucket writes it, with braces.

use serde_json::Value;

pub use crate::provider::faults::{Fault, Hits};
pub use crate::provider::words::{File, Permission, ReleaseOrder, Visibility, Webhooks};

/// What a member is in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceRole {
    /// Administrates the workspace and all of its repositories.
    Owner,
    /// May make repositories; deprecated at Bitbucket, still met.
    Collaborator,
    /// Has what groups and repositories give.
    Member,
}

/// An OAuth consumer as its owner gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Public key: the `client_id`.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

/// A webhook as it stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its uuid.
    pub uuid: String,
    /// Where deliveries go.
    pub url: String,
    /// What people read.
    pub description: String,
    /// The secret, readable by tests only.
    pub secret: Option<String>,
    /// Event keys.
    pub events: Vec<String>,
    /// Whether it fires.
    pub active: bool,
}

/// A deploy key of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployKey {
    /// Its number.
    pub id: u64,
    /// Type and base64, without the comment.
    pub key: String,
    /// What people read.
    pub label: String,
    /// What stood behind the key.
    pub comment: String,
    /// Whether git over SSH would still take it: a change of the consumer that made it ends that, silently.
    pub accepted: bool,
}

/// A build status of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStatus {
    /// The commit.
    pub sha: String,
    /// What tells statuses of a commit apart.
    pub key: String,
    /// `SUCCESSFUL`, `FAILED`, `INPROGRESS` or `STOPPED`.
    pub state: String,
    /// Name of the build.
    pub name: Option<String>,
    /// One line for people.
    pub description: Option<String>,
    /// Where the build can be seen.
    pub url: Option<String>,
    /// Branch whose pull requests show it.
    pub refname: Option<String>,
    /// Epoch milliseconds of the provider.
    pub created_ms: i64,
    /// Epoch milliseconds of the provider.
    pub updated_ms: i64,
}

/// One request that was made to a hook, with its answer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The hook that it went to.
    pub hook: String,
    /// Id of the event, the same in all attempts (`X-Request-UUID`).
    pub request_uuid: String,
    /// 1, 2 or 3.
    pub attempt: u32,
    /// Event key.
    pub event: String,
    /// When it was sent, epoch milliseconds of the provider.
    pub sent_ms: i64,
    /// The answer's status; `None` when there was no answer in time.
    pub status_code: Option<u16>,
    /// Headers of the request.
    pub request_headers: Vec<(String, String)>,
    /// The event's payload.
    pub payload: Value,
}

/// A request that the API, the OAuth endpoints or git answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path without the query, still encoded.
    pub path: String,
    /// The query, still encoded; empty without one.
    pub query: String,
    /// Status of the answer.
    pub status: u16,
    /// Scheme of the credentials that came along (`Bearer`, `Basic`); empty without.
    pub credentials: String,
    /// Whether no documented path of the API takes it.
    pub unknown: bool,
}

/// What stands under the name that a repository had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldNames {
    /// Nothing: 404.
    Gone,
    /// A redirect to the new name, while no other repository has taken the old one.
    Redirect,
}

/// Which addresses a hook may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAddresses {
    /// Any, so that tests can receive on loopback.
    Any,
    /// Only what is no internal address, as at Bitbucket.
    Public,
}

/// How a pull request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullRequestEnd {
    /// It goes in.
    Merged,
    /// It does not.
    Declined,
}
