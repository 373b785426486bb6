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
    AuthorizeRequest, CloneAccess, Grant, HookSpec, Page, Person, Provider, RemoteHook, Removal, SourceNamespace, SourceRef,
    SourceRepository,
};
use crate::webhook::{Payload, Refusal, Unreadable, Verified};

/// A source provider: its sign-in, its API, its webhooks and its addresses.
#[async_trait]
pub trait Forge: Send + Sync + 'static {
    /// The configuration that it was opened with.
    fn provider(&self) -> &Provider;

    /// What a full link asks for.
    fn scopes(&self) -> &'static [&'static str];

    /// Where a person is sent to grant us access.
    fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> Url;

    /// Makes a grant of the code that the person came back with.
    async fn exchange_code(&self, code: &str, redirect_uri: &Url, verifier: &SecretString) -> Result<Grant, ForgeError>;

    /// Makes a new grant of a refresh token. The old tokens are dead afterwards: store the new ones before using them.
    async fn refresh(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError>;

    /// Whose token it is, and what it may do today. To be asked after every sign-in: the person may have switched accounts.
    async fn person(&self, token: &SecretString) -> Result<Person, ForgeError>;

    /// The person and the organizations whose repositories the token can see, at most 1,000.
    async fn source_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError>;

    /// Repositories of the namespace (by name) whose name contains `query` in any case; an empty query finds all.
    async fn source_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        query: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError>;

    /// A repository by its name today; renames are followed, so compare the id.
    async fn source_repository(&self, token: &SecretString, full_name: &str) -> Result<Option<SourceRepository>, ForgeError>;

    /// A repository by the id that never changes.
    async fn source_repository_by_id(&self, token: &SecretString, id: &str) -> Result<Option<SourceRepository>, ForgeError>;

    /// Branches and tags, at most 1,000 of each. That a ref is missing here is no proof that it is gone: ask [`Forge::resolve`].
    /// Refs with names that git would refuse are left out.
    async fn refs(&self, token: &SecretString, full_name: &str) -> Result<Vec<SourceRef>, ForgeError>;

    /// The commit that a ref leads to, annotated tags peeled; `None` when the repository has no such ref or it leads to no commit.
    /// A repository that cannot be seen is [`ForgeError::NotFound`].
    async fn resolve(&self, token: &SecretString, full_name: &str, name: &RefName) -> Result<Option<CommitId>, ForgeError>;

    /// The webhooks of a repository, at most 1,000.
    async fn hooks(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteHook>, ForgeError>;

    /// Makes a webhook for pushes. One that has the same address already is adopted and gets the secret anew; there is never a second one.
    async fn create_hook(&self, token: &SecretString, full_name: &str, hook: &HookSpec<'_>) -> Result<RemoteHook, ForgeError>;

    /// Removes a webhook. [`ForgeError::NotFound`] means that the repository cannot be seen: nobody knows whether the hook still stands.
    async fn delete_hook(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError>;

    /// Withdraws everything that the person granted our application.
    async fn revoke_grant(&self, token: &SecretString) -> Result<Removal, ForgeError>;

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

    /// How git reaches the repository; built from the configured address, never from a payload.
    fn clone_access(&self, full_name: &str, token: Option<&SecretString>) -> CloneAccess;

    /// Where people see a commit.
    fn commit_web_url(&self, full_name: &str, commit: &CommitId) -> Url;

    /// Where a person sees and withdraws what was granted to our application.
    fn app_settings_url(&self) -> Url;
}
