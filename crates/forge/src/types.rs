//! What is said to and heard from a provider, in words that every kind of provider shares.
//!
//! Invariant: ids of a provider are text here, because not every provider counts; names of refs and commits are checked types.
//! Deliberately elsewhere: webhooks (`webhook`), errors (`error`).

use std::time::Duration;

use secrecy::SecretString;
use slipway_model::{AccessLevel, CommitId, NamespaceAccess, ProviderId, ProviderKind, RefName, Timestamp};
use url::Url;

use crate::webhook::PullRequestChange;

/// A configured provider instance with the credentials of our application there.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its id in our addresses.
    pub id: ProviderId,
    /// Which API it speaks.
    pub kind: ProviderKind,
    /// Where people see it: `https://github.com`.
    pub web_url: Url,
    /// Where programs reach it: `https://api.github.com`, `https://HOST/api/v3`.
    pub api_url: Url,
    /// The public id of our application.
    pub client_id: String,
    /// The secret of our application.
    pub client_secret: SecretString,
    /// Set when our application is a GitHub App.
    pub app: Option<AppCredentials>,
    /// How git reaches it over SSH; without it there are no deploy keys.
    pub ssh: Option<SshAccess>,
}

/// What makes our application a GitHub App.
#[derive(Clone, Debug)]
pub struct AppCredentials {
    /// Its number.
    pub app_id: String,
    /// RSA, PEM.
    pub private_key: SecretString,
}

/// How git reaches a provider over SSH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshAccess {
    /// `git`, nearly everywhere.
    pub user: String,
    /// Its name or address.
    pub host: String,
    /// 22, nearly everywhere.
    pub port: u16,
    /// Its public keys, `ssh-ed25519 AAAA...`: pinned, never learned.
    pub host_keys: Vec<String>,
}

/// What a person can choose to grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// How much it is.
    pub level: AccessLevel,
    /// What is asked for; empty where the provider takes no scopes.
    pub scopes: &'static [&'static str],
    /// What can be done with it and what not, in a sentence.
    pub words: &'static str,
}

/// Names a repository in a call: by what never changes and by what it was called last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceKey<'a> {
    /// The id that never changes.
    pub id: &'a str,
    /// The last known `owner/name`.
    pub full_name: &'a str,
}

/// An answer to a question that was asked before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fresh<T> {
    /// As it was when the marker was given.
    Unchanged,
    /// This is how it is.
    Changed {
        /// The answer.
        value: T,
        /// To be handed back the next time, where the provider gives such.
        marker: Option<String>,
    },
}

/// Where all branches and tags stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heads {
    /// Branches and tags; annotated tags are peeled.
    pub refs: Vec<SourceRef>,
    /// What the list is good for.
    pub coverage: Coverage,
}

/// The pull requests of a source that are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenPullRequests {
    /// As they stand; those that cannot be used (a base that git would refuse, say) are left out.
    pub items: Vec<PullRequestChange>,
    /// What the list is good for.
    pub coverage: Coverage,
}

/// Whether a list is known to hold everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coverage {
    /// What is not in it does not exist.
    Whole,
    /// It was too long to be read to its end.
    Part,
}

/// What a person is sent to the provider with, to link an account.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizeRequest<'a> {
    /// Where the provider sends the person back.
    pub redirect_uri: &'a Url,
    /// Comes back unchanged; ties the answer to the browser session that asked.
    pub state: &'a str,
    /// PKCE challenge, method S256.
    pub challenge: &'a str,
    /// What is asked for.
    pub scopes: &'a [&'a str],
}

/// What a provider granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// For requests in the person's name.
    pub access_token: SecretString,
    /// For the next access token, where the provider issues such.
    pub refresh_token: Option<SecretString>,
    /// How long the access token lives; `None` when the provider says nothing: until it is revoked.
    pub expires_in: Option<Duration>,
    /// What was granted, which may be less than what was asked for.
    pub scopes: Vec<String>,
}

/// The person to whom a token belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The id that never changes: the identity. Never the login, never an e-mail address.
    pub id: String,
    /// The name at the provider today.
    pub login: String,
    /// The name that the person shows.
    pub name: Option<String>,
    /// A picture of the person.
    pub avatar_url: Option<Url>,
    /// What the token may do, as the provider told with this answer.
    pub scopes: Vec<String>,
}

/// What owns repositories at a provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NamespaceKind {
    /// A person.
    User,
    /// An organization, group or workspace.
    Organization,
}

/// An owner of repositories that the token can see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceNamespace {
    /// The id that never changes.
    pub id: String,
    /// The name today; what [`crate::Forge::source_repositories`] takes.
    pub name: String,
    /// Person or organization.
    pub kind: NamespaceKind,
    /// Whether it lets us in.
    pub access: NamespaceAccess,
    /// The page at the provider where that is granted, requested or revoked.
    pub grant_url: Option<Url>,
    /// What the access was concluded from, when it is not plain.
    pub note: Option<String>,
}

/// A repository of source code at a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRepository {
    /// The id that never changes. A repository made anew under an old name has another one.
    pub id: String,
    /// The name today: `owner/name`.
    pub full_name: String,
    /// The short name of the default branch; it may not exist yet in an empty repository.
    pub default_branch: String,
    /// Whether a stranger cannot see it.
    pub private: bool,
    /// Whether it takes no pushes any more.
    pub archived: bool,
    /// Where people see it; built from the provider's configured address.
    pub web_url: Url,
    /// Changes whenever something is pushed (the time of the last push, as the provider writes it); `None` where the provider tells none.
    pub pushed: Option<String>,
}

/// A branch or tag and the commit that it leads to; annotated tags are peeled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceRef {
    /// The full name.
    pub name: RefName,
    /// The commit.
    pub commit: CommitId,
}

/// Some items and the way to the next ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// In the provider's order. May be empty although `next` is set, when a search looked through many items in vain.
    pub items: Vec<T>,
    /// To be handed back as it is; `None` at the end.
    pub next: Option<String>,
}

/// A webhook as we want it.
#[derive(Clone, Copy, Debug)]
pub struct HookSpec<'a> {
    /// Where deliveries go; also how we know the hook again.
    pub url: &'a Url,
    /// What deliveries are signed with.
    pub secret: &'a SecretString,
}

/// A webhook as it stands at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteHook {
    /// The provider's id of it.
    pub id: String,
    /// Where its deliveries go.
    pub url: String,
    /// Whether it sends at all.
    pub active: bool,
    /// What it sends.
    pub events: Vec<String>,
    /// Whether it signs; `None` where the provider does not tell.
    pub signs: Option<bool>,
    /// Its last delivery, where the provider tells of it.
    pub last_delivery: Option<DeliveryOutcome>,
}

/// What the provider says became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryOutcome {
    /// When, where it is told.
    pub at: Option<Timestamp>,
    /// The status that we answered, as the provider saw it; `None` when it got no answer.
    pub status: Option<u16>,
    /// In the provider's words.
    pub words: String,
}

/// An entry of the provider's own log of deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteDelivery {
    /// The provider's id of the entry: what [`crate::Forge::redeliver`] takes.
    pub id: String,
    /// The id that the request carried: [`crate::Verified::delivery_id`].
    pub delivery_id: String,
    /// The provider's word for what happened.
    pub event: String,
    /// How it went.
    pub outcome: DeliveryOutcome,
}

/// A deploy key as it stands at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteKey {
    /// The provider's id of it.
    pub id: String,
    /// How people see it.
    pub title: String,
    /// `ssh-ed25519 AAAA...`, without a comment.
    pub public_key: String,
}

/// What a commit is said to be like: one check in the provider's list of them.
#[derive(Clone, Copy, Debug)]
pub struct CommitStatus<'a> {
    /// Which check: a newer status of the same context takes the place of the one before.
    pub context: &'a str,
    /// How it stands.
    pub state: CommitState,
    /// For people; providers cut or refuse long ones, so more than 140 characters are never sent.
    pub description: &'a str,
    /// Where people see more.
    pub url: &'a Url,
    /// The branch or tag that was built.
    pub name: &'a RefName,
}

/// How a check of a commit stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitState {
    /// It has not ended.
    Pending,
    /// It ended well.
    Success,
    /// It ended badly.
    Failure,
    /// It ended without saying anything of the commit.
    Error,
}

impl CommitState {
    /// GitHub's word, which others took over.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// A small picture of a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`, by its first bytes and not by what was said.
    pub media_type: &'static str,
    /// At most 256 KiB.
    pub content: bytes::Bytes,
}

/// How a removal at the provider went. That it was gone already is no error: the wish is fulfilled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// It stood there and is gone now.
    Removed,
    /// It was not there any more.
    AlreadyGone,
}

/// How git reaches a repository. The credentials are apart from the address, so that they never land in a log or a git configuration.
#[derive(Clone, Debug)]
pub struct CloneAccess {
    /// Without credentials.
    pub url: Url,
    /// For HTTP basic authentication.
    pub username: Option<String>,
    /// For HTTP basic authentication.
    pub password: Option<SecretString>,
}
