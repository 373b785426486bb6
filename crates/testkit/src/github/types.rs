//! The words that test scripts and the fake share: what a script passes in and what it looks at.
//! Invariant: data only, no behaviour of the provider.
//! Deliberately elsewhere: the words about what goes wrong (`trouble`) and about GitHub Apps (`apps`).

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

/// How long the access tokens of an app live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLife {
    /// Until they are revoked, as an OAuth app's do by default.
    Unlimited,
    /// Eight hours, with a refresh token that works once and lives for six months.
    EightHours,
}

/// What an organization says to deploy keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployKeyPolicy {
    /// They work.
    Allowed,
    /// None can be made, and those that stand do not work; GitHub's default for new organizations.
    Forbidden,
}

/// What an organization's owners said of an OAuth app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppAccess {
    /// A member asked for it.
    Requested,
    /// It may use the organization's data.
    Approved,
    /// It may not.
    Denied,
}

/// With what a deploy key was made; it decides whether the key outlives a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaker {
    /// A person, by hand or with a personal token.
    Person,
    /// A token of this OAuth app: the key dies with it.
    OAuthApp(String),
    /// A token of this GitHub App: the key stays.
    GitHubApp(String),
}

/// A deploy key as it stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployKey {
    /// Its id at the provider.
    pub id: u64,
    /// Its name.
    pub title: String,
    /// Kind and key, without a comment.
    pub key: String,
    /// Whether it may only read.
    pub read_only: bool,
    /// With what it was made.
    pub maker: KeyMaker,
}

/// What a deploy key opens at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAccess {
    /// `owner/name` of the one repository.
    pub full_name: String,
    /// Its numeric id.
    pub repository: u64,
    /// Whether pushing is refused.
    pub read_only: bool,
}

/// Why the provider shows a repository to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// A copyright notice: 451.
    Dmca,
    /// Against the terms of service: 403.
    Tos,
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
    /// The repository that the event is about.
    pub repository_id: Option<u64>,
    /// The installation that an App's event belongs to.
    pub installation_id: Option<u64>,
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

/// What a request showed to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// Nothing.
    None,
    /// A token of a person, by an OAuth app or a GitHub App (`gho_`, `ghu_`).
    OAuth,
    /// A person's own token (`ghp_`).
    Personal,
    /// A token of an installation (`ghs_`).
    Installation,
    /// A JSON web token signed with an App's key.
    AppJwt,
    /// Id and secret of an app.
    Basic,
    /// Something that this provider never gave out.
    Unknown,
}

/// A request that the REST API, the OAuth endpoints or git answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The query as it came, without the question mark; empty without one.
    pub query: String,
    /// What it showed to say who it is.
    pub credential: CredentialKind,
    /// Status of the answer; 0 when the connection was dropped without one.
    pub status: u16,
}

impl RequestSeen {
    /// Path and query, as they stood in the request line.
    pub fn address(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}
