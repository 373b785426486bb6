//! The trait that every kind of provider implements.
//!
//! Invariant: every check fails closed. A missing page, a truncated answer or a rate limit is an error, never an empty list.

use async_trait::async_trait;
use http::HeaderMap;
use secrecy::SecretString;
use slipway_model::{CommitId, RefName};
use url::Url;

use crate::error::ForgeError;
use crate::types::{
    AuthorizeRequest, CloneAccess, CommitStatus, Fresh, Grant, Heads, HookSpec, Offer, OpenPullRequests, Page, Person, Picture, Provider,
    RemoteDelivery, RemoteHook, RemoteKey, Removal, SourceKey, SourceNamespace, SourceRepository,
};
use crate::webhook::{Payload, PullRequestChange, Refusal, Unreadable, Verified};

/// A source provider: its sign-in, its API, its webhooks and its addresses.
///
/// A `token` is the person's, unless a method says otherwise. What is done for a source in the background takes the token that
/// [`Forge::repository_token`] gives, so that it can be one of an installation that outlives the person.
#[async_trait]
pub trait Forge: Send + Sync + 'static {
    /// The configuration that it was opened with.
    fn provider(&self) -> &Provider;

    // --- the grant ---

    /// What a person can choose from, the whole first. Never empty.
    fn offers(&self) -> &'static [Offer];

    /// What a scope allows and what we use it for, in plain words; `None` for one that we do not ask for.
    fn scope_words(&self, scope: &str) -> Option<&'static str>;

    /// Which scopes of the offer are not covered by what was granted (a larger scope covers a smaller one).
    fn missing_scopes(&self, offer: &Offer, granted: &[String]) -> Vec<String>;

    /// Where a person is sent to grant us access.
    fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> Url;

    /// Makes a grant of the code that the person came back with.
    async fn exchange_code(&self, code: &str, redirect_uri: &Url, verifier: &SecretString) -> Result<Grant, ForgeError>;

    /// Makes a new grant of a refresh token. The old tokens may be dead afterwards: store the new ones before using them.
    async fn refresh(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError>;

    /// Withdraws everything that the person granted our application. [`ForgeError::Unsupported`] where the provider has no such call.
    async fn revoke_grant(&self, token: &SecretString) -> Result<Removal, ForgeError>;

    /// Where a person sees and withdraws what was granted to our application.
    fn app_settings_url(&self) -> Url;

    // --- people and namespaces ---

    /// Whose token it is, and what it may do today. To be asked after every sign-in: the person may have switched accounts.
    async fn person(&self, token: &SecretString) -> Result<Person, ForgeError> {
        match self.probe(token, None).await? {
            Fresh::Changed { value, .. } => Ok(value),
            Fresh::Unchanged => Err(ForgeError::Unexpected { status: 304, detail: "it says unchanged of what was never asked".to_owned() }),
        }
    }

    /// As [`Forge::person`], but cheap when nothing changed since `known` was given: the probe of a link's health.
    async fn probe(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError>;

    /// The picture of a person; it may lie anywhere on the public internet, and is fetched only from there or from the provider itself.
    async fn picture(&self, url: &Url) -> Result<Picture, ForgeError>;

    /// The person and every organization, workspace or group that the person is in, also those that do not let us in; at most 1,000.
    async fn source_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError>;

    // --- repositories ---

    /// Repositories of the namespace (by name), in an order that stays the same from page to page.
    async fn source_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError>;

    /// A repository by its name today; renames are followed, so compare the id.
    async fn source_repository(&self, token: &SecretString, full_name: &str) -> Result<Option<SourceRepository>, ForgeError>;

    /// A repository by the id that never changes. `None` when it is gone or not shown; never another one under the same name.
    async fn source_repository_by_id(&self, token: &SecretString, key: SourceKey<'_>) -> Result<Option<SourceRepository>, ForgeError>;

    /// The token for background work on one repository: the person's own, or one of an installation that is limited to the repository and
    /// lives for an hour at most. The caller has seen before that the person may use the repository.
    async fn repository_token(&self, token: &SecretString, key: SourceKey<'_>) -> Result<SecretString, ForgeError>;

    /// The token that git fetches one repository with, for whoever runs git: as [`Forge::repository_token`], but where the provider can
    /// limit it so, it reads this one repository and does nothing else.
    async fn clone_token(&self, token: &SecretString, key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        self.repository_token(token, key).await
    }

    /// Where all branches and tags stand, at most 10,000 of each. Refs with names that git would refuse are left out.
    async fn heads(&self, token: &SecretString, full_name: &str, known: Option<&str>) -> Result<Fresh<Heads>, ForgeError>;

    /// The commit that a ref leads to, annotated tags peeled; `None` when the repository has no such ref or it leads to no commit.
    /// A repository that cannot be seen is [`ForgeError::NotFound`].
    async fn resolve(&self, token: &SecretString, full_name: &str, name: &RefName) -> Result<Option<CommitId>, ForgeError>;

    /// The pull requests of a source that are open, those that changed last first. Of another repository under its name nothing is told.
    async fn open_pull_requests(&self, token: &SecretString, key: SourceKey<'_>) -> Result<OpenPullRequests, ForgeError>;

    /// How one pull request of a source stands today, also one that is merged or closed; `None` when the source has none of that number (any
    /// more). What cannot be told, because the source or its name is not seen, is [`ForgeError::NotFound`].
    async fn pull_request(&self, token: &SecretString, key: SourceKey<'_>, number: u64) -> Result<Option<PullRequestChange>, ForgeError>;

    /// Whether a commit is in the history of another one of the repository; each is in its own. `None` where the provider cannot tell, or
    /// does not have both of them (any more).
    async fn is_in_history(
        &self,
        _token: &SecretString,
        _full_name: &str,
        _commit: &CommitId,
        _of: &CommitId,
    ) -> Result<Option<bool>, ForgeError> {
        Ok(None)
    }

    // --- webhooks ---

    /// What a hook of ours must send, and no more.
    fn hook_events(&self) -> &'static [&'static str];

    /// The webhooks of a repository. More than 1,000 are an error: what is not in a part of a list may stand all the same.
    async fn hooks(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteHook>, ForgeError>;

    /// Makes a webhook for pushes. One that has the same address already is adopted: it gets the secret anew, our events, and is switched on;
    /// there is never a second one. So it also repairs a hook and changes its secret.
    async fn ensure_hook(&self, token: &SecretString, full_name: &str, hook: &HookSpec<'_>) -> Result<RemoteHook, ForgeError>;

    /// Removes a webhook. [`ForgeError::NotFound`] means that the repository cannot be seen: nobody knows whether the hook still stands.
    async fn delete_hook(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError>;

    /// The provider's own log of a hook's deliveries, newest first; [`ForgeError::Unsupported`] where it shows none.
    async fn hook_deliveries(
        &self,
        token: &SecretString,
        full_name: &str,
        hook: &str,
        cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError>;

    /// Asks the provider to send a delivery (by [`RemoteDelivery::id`]) once more; [`ForgeError::Unsupported`] where it cannot.
    async fn redeliver(&self, token: &SecretString, full_name: &str, hook: &str, delivery: &str) -> Result<(), ForgeError>;

    /// Where a person sees and makes the webhooks of a repository.
    fn hook_settings_url(&self, full_name: &str) -> Url;

    /// Checks that a request comes from the provider: one of the secrets signed exactly these bytes.
    ///
    /// # Errors
    /// [`Refusal`]; an empty list of secrets verifies nothing.
    fn verify(&self, headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal>;

    /// Reads a verified request.
    ///
    /// # Errors
    /// [`Unreadable`] when the body is not what the provider sends for `event`.
    fn read(&self, event: &str, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable>;

    // --- deploy keys ---

    /// Makes a read-only deploy key of an OpenSSH public key; the same key that stands there already is adopted.
    /// [`ForgeError::Forbidden`] where the organization allows none.
    async fn ensure_deploy_key(
        &self,
        token: &SecretString,
        full_name: &str,
        title: &str,
        public_key: &str,
    ) -> Result<RemoteKey, ForgeError>;

    /// The deploy keys of a repository; as [`Forge::hooks`].
    async fn deploy_keys(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteKey>, ForgeError>;

    /// Removes a deploy key; as [`Forge::delete_hook`].
    async fn delete_deploy_key(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError>;

    /// Where a person sees the deploy keys of a repository.
    fn deploy_keys_url(&self, full_name: &str) -> Url;

    // --- statuses ---

    /// Says how a check of a commit stands. [`ForgeError::NotFound`] is also what some providers say to those who may not.
    async fn set_commit_status(
        &self,
        token: &SecretString,
        full_name: &str,
        commit: &CommitId,
        status: &CommitStatus<'_>,
    ) -> Result<(), ForgeError>;

    // --- git ---

    /// How git reaches the repository over HTTP; built from the configured address, never from a payload.
    fn clone_access(&self, full_name: &str, token: Option<&SecretString>) -> CloneAccess;

    /// Where git reaches the repository with a deploy key: `ssh://git@host:22/owner/name.git`; `None` without [`Provider::ssh`].
    fn ssh_url(&self, full_name: &str) -> Option<Url> {
        let ssh = self.provider().ssh.as_ref()?;
        let mut url = Url::parse("ssh://host").ok()?;
        url.set_host(Some(&ssh.host)).ok()?;
        url.set_username(&ssh.user).ok()?;
        url.set_port(Some(ssh.port)).ok()?;
        url.set_path(&format!("/{full_name}.git"));
        Some(url)
    }

    /// Where people see a commit.
    fn commit_web_url(&self, full_name: &str, commit: &CommitId) -> Url;
}
