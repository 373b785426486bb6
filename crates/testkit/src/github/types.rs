//! The words that test scripts and the fake share: what a script passes in and what it looks at.
//! Invariant: data only, no behaviour of the provider.

use serde_json::Value;

/// Who may see a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Its owner, members and collaborators.
    Private,
}

/// What a member is in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgRole {
    /// Owner of the organization: admin of all of its repositories.
    Admin,
    /// Ordinary member: has the organization's base permission.
    Member,
}

/// A right on a repository, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Does not even see that it exists.
    None,
    /// May read and clone.
    Read,
    /// May push and set statuses.
    Write,
    /// May manage hooks and settings.
    Admin,
}

/// An OAuth app as its owner gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthApp {
    /// Public id of the app.
    pub client_id: String,
    /// Secret of the app.
    pub client_secret: String,
}

/// How webhooks leave the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhooks {
    /// At once, one request for each event.
    Deliver,
    /// Never: the event is lost and nothing is recorded, as in a provider's incident.
    Drop,
    /// At once, two requests with the same delivery id.
    Twice,
    /// Kept back until `release_held_webhooks`, in the order that it is told.
    Hold,
}

/// The order in which held webhooks go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOrder {
    /// As they happened.
    OldestFirst,
    /// The other way round: GitHub promises no order.
    NewestFirst,
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

/// A file of a commit that a script makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File<'a> {
    /// An ordinary file with this text.
    Text(&'a str),
    /// An executable file with this text.
    Executable(&'a str),
    /// A symbolic link to this target.
    Symlink(&'a str),
    /// The file goes away.
    Deleted,
}
