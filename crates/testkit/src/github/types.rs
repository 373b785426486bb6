//! The words that test scripts and the fake share: what a script passes in and what it looks at.
//! Invariant: data only, no behaviour of the provider.

use serde_json::Value;

pub use crate::provider::words::{File, Permission, ReleaseOrder, Visibility, Webhooks};

/// What a member is in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgRole {
    /// Owner of the organization: admin of all of its repositories.
    Admin,
    /// Ordinary member: has the organization's base permission.
    Member,
}

/// An OAuth app as its owner gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthApp {
    /// Public id of the app.
    pub client_id: String,
    /// Secret of the app.
    pub client_secret: String,
}

/// What a webhook's body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// `application/x-www-form-urlencoded`, GitHub's default.
    Form,
    /// `application/json`.
    Json,
}

/// A webhook as it stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its id at the provider.
    pub id: u64,
    /// Where deliveries go.
    pub url: String,
    /// How bodies are written.
    pub content_type: ContentType,
    /// The secret, readable by tests only.
    pub secret: Option<String>,
    /// `0` or `1`.
    pub insecure_ssl: String,
    /// Event names, or `*`.
    pub events: Vec<String>,
    /// Whether it fires.
    pub active: bool,
}

/// One request that was made to a hook, with its answer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Id of this request.
    pub id: u64,
    /// Id of the event: a redelivery repeats it (`X-GitHub-Delivery`).
    pub guid: String,
    /// The hook that it went to.
    pub hook_id: u64,
    /// Event name.
    pub event: String,
    /// `action` of the payload, if it has one.
    pub action: Option<String>,
    /// When it was sent, epoch milliseconds of the provider.
    pub delivered_ms: i64,
    /// Whether it repeats an older one.
    pub redelivery: bool,
    /// Seconds until the answer.
    pub duration: f64,
    /// `OK`, `Invalid HTTP Response: 503`, `timed out`, `failed to connect to host`.
    pub status: String,
    /// The answer's status, 502 without a connection, 504 after ten seconds.
    pub status_code: u16,
    /// Headers of the request.
    pub request_headers: Vec<(String, String)>,
    /// The event's payload.
    pub payload: Value,
    /// Headers of the answer.
    pub response_headers: Vec<(String, String)>,
    /// The answer's body, cut.
    pub response_body: String,
}

/// A commit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// Its id at the provider.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// `error`, `failure`, `pending` or `success`.
    pub state: String,
    /// Name of the check.
    pub context: String,
    /// One line for people.
    pub description: Option<String>,
    /// Where the check can be seen.
    pub target_url: Option<String>,
    /// Account id of who set it.
    pub creator: u64,
    /// Epoch milliseconds of the provider.
    pub created_ms: i64,
}

/// A request that the REST API, the OAuth endpoints or git answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
}
