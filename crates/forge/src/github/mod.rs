//! GitHub: github.com and GitHub Enterprise Server, by an OAuth app or a GitHub App.
//!
//! Invariant: a repository's full name goes into a path only after `FullName::parse`; ids only after a check for digits.
//! One file per concern: `oauth` grants and `scopes`; `people`, `namespaces` and `repositories`; `refs`; `hooks` and their `deliveries`;
//! deploy `keys`; `statuses` of commits; the `app` and its `installations`; `webhook` verifies and reads deliveries; `wire` asks, `refusals` judges answers, `remembered` keeps some.

mod app;
mod deliveries;
mod hooks;
mod installations;
mod keys;
mod namespaces;
mod oauth;
mod people;
mod refs;
mod refusals;
mod remembered;
mod repositories;
mod scopes;
mod statuses;
mod webhook;
mod wire;

use async_trait::async_trait;
use http::HeaderMap;
use secrecy::SecretString;
use slipway_model::{CommitId, RefName};
use url::Url;

use self::app::{App, TokenUse};
use self::remembered::Remembered;
use crate::egress::Egress;
use crate::error::ForgeError;
use crate::forge::Forge;
use crate::http_client::{HttpClient, check_base, join};
use crate::types::{
    AuthorizeRequest, CloneAccess, CommitStatus, Fresh, Grant, Heads, HookSpec, Offer, OpenPullRequests, Page, Person, Picture, Provider,
    RemoteDelivery, RemoteHook, RemoteKey, Removal, SourceKey, SourceNamespace, SourceRepository,
};
use crate::webhook::{Payload, PullRequestChange, Refusal, Unreadable, Verified};

pub use app::check_private_key;

/// The client of one GitHub.
#[derive(Debug)]
pub struct GitHub {
    provider: Provider,
    http: HttpClient,
    egress: Egress,
    app: Option<App>,
    remembered: Remembered,
}

impl GitHub {
    /// The client of a configured GitHub; pictures are fetched with `egress`.
    ///
    /// # Errors
    /// [`ForgeError::Misconfigured`] when an address or the App's key cannot be used.
    pub fn open(provider: Provider, egress: Egress) -> Result<Self, ForgeError> {
        check_base("`web_url`", &provider.web_url)?;
        check_base("`api_url`", &provider.api_url)?;
        let app = provider.app.as_ref().map(|credentials| App::open(credentials, &provider.client_id)).transpose()?;
        Ok(Self { provider, http: HttpClient::new()?, egress, app, remembered: Remembered::new() })
    }

    fn web_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        join(&self.provider.web_url, parts)
    }
}

/// `owner/name`, of characters that GitHub allows in them: neither part can leave its place in a path.
#[derive(Clone, Copy)]
struct FullName<'a> {
    owner: &'a str,
    name: &'a str,
}

impl<'a> FullName<'a> {
    /// A name that GitHub cannot have is one that it does not know.
    fn parse(text: &'a str) -> Result<Self, ForgeError> {
        match text.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => Ok(Self { owner, name }),
            _ => Err(ForgeError::NotFound),
        }
    }
}

/// Whether the text can be the name of an account or repository.
fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(text, "." | "..")
}

/// Whether a full ref name is a branch of the merge queue. Such a branch vanishes within minutes and has no name that a person gave, so no
/// rule sees it, whichever way we learn of it; who asks for one by its name is told where it stands.
fn is_queued(full_name: &str) -> bool {
    full_name.starts_with("refs/heads/gh-readonly-queue/")
}

/// Whether the text can be an id that GitHub gave.
fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[async_trait]
impl Forge for GitHub {
    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn offers(&self) -> &'static [Offer] {
        if self.app.is_some() { scopes::APP_OFFERS } else { scopes::OFFERS }
    }

    fn scope_words(&self, scope: &str) -> Option<&'static str> {
        scopes::words(scope)
    }

    fn missing_scopes(&self, offer: &Offer, granted: &[String]) -> Vec<String> {
        scopes::missing(offer, granted)
    }

    fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> Url {
        self.authorization_address(request)
    }

    async fn exchange_code(&self, code: &str, redirect_uri: &Url, verifier: &SecretString) -> Result<Grant, ForgeError> {
        self.grant_for_code(code, redirect_uri, verifier).await
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError> {
        self.grant_for_refresh_token(refresh_token).await
    }

    async fn probe(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        self.read_person(token, known).await
    }

    async fn picture(&self, url: &Url) -> Result<Picture, ForgeError> {
        Ok(self.egress.picture(url, &self.provider.web_url).await?)
    }

    async fn source_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        self.list_namespaces(token).await
    }

    async fn source_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError> {
        self.list_repositories(token, namespace, cursor).await
    }

    async fn source_repository(&self, token: &SecretString, full_name: &str) -> Result<Option<SourceRepository>, ForgeError> {
        let Ok(full_name) = FullName::parse(full_name) else { return Ok(None) };
        self.repository_by_name(token, full_name).await
    }

    async fn source_repository_by_id(&self, token: &SecretString, key: SourceKey<'_>) -> Result<Option<SourceRepository>, ForgeError> {
        self.repository_by_id(token, key.id).await
    }

    async fn repository_token(&self, token: &SecretString, key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        match &self.app {
            Some(app) => {
                let purpose = self.use_of(app, token, key).await?;
                self.installation_token(app, token, key, purpose).await
            }
            None => Ok(token.clone()),
        }
    }

    async fn clone_token(&self, token: &SecretString, key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        match &self.app {
            Some(app) => self.installation_token(app, token, key, TokenUse::Clone).await,
            None => Ok(token.clone()),
        }
    }

    async fn heads(&self, token: &SecretString, full_name: &str, known: Option<&str>) -> Result<Fresh<Heads>, ForgeError> {
        self.list_heads(token, FullName::parse(full_name)?, known).await
    }

    async fn resolve(&self, token: &SecretString, full_name: &str, name: &RefName) -> Result<Option<CommitId>, ForgeError> {
        self.resolve_ref(token, FullName::parse(full_name)?, name).await
    }

    async fn open_pull_requests(&self, token: &SecretString, key: SourceKey<'_>) -> Result<OpenPullRequests, ForgeError> {
        self.list_pull_requests(token, FullName::parse(key.full_name)?, key.id).await
    }

    async fn pull_request(&self, token: &SecretString, key: SourceKey<'_>, number: u64) -> Result<Option<PullRequestChange>, ForgeError> {
        self.read_pull_request(token, key, number).await
    }

    async fn is_in_history(
        &self,
        token: &SecretString,
        full_name: &str,
        commit: &CommitId,
        of: &CommitId,
    ) -> Result<Option<bool>, ForgeError> {
        self.find_in_history(token, FullName::parse(full_name)?, commit, of).await
    }

    fn hook_events(&self) -> &'static [&'static str] {
        hooks::EVENTS
    }

    async fn hooks(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteHook>, ForgeError> {
        self.list_hooks(token, FullName::parse(full_name)?).await
    }

    async fn ensure_hook(&self, token: &SecretString, full_name: &str, hook: &HookSpec<'_>) -> Result<RemoteHook, ForgeError> {
        self.make_hook(token, FullName::parse(full_name)?, hook).await
    }

    async fn delete_hook(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError> {
        self.remove_hook(token, FullName::parse(full_name)?, id).await
    }

    async fn hook_deliveries(
        &self,
        token: &SecretString,
        full_name: &str,
        hook: &str,
        cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError> {
        self.list_deliveries(token, FullName::parse(full_name)?, hook, cursor).await
    }

    async fn redeliver(&self, token: &SecretString, full_name: &str, hook: &str, delivery: &str) -> Result<(), ForgeError> {
        self.send_again(token, FullName::parse(full_name)?, hook, delivery).await
    }

    fn hook_settings_url(&self, full_name: &str) -> Url {
        self.web_address(full_name.split('/').chain(["settings", "hooks"]))
    }

    async fn ensure_deploy_key(
        &self,
        token: &SecretString,
        full_name: &str,
        title: &str,
        public_key: &str,
    ) -> Result<RemoteKey, ForgeError> {
        self.make_key(token, FullName::parse(full_name)?, title, public_key).await
    }

    async fn deploy_keys(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteKey>, ForgeError> {
        self.list_keys(token, FullName::parse(full_name)?).await
    }

    async fn delete_deploy_key(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError> {
        self.remove_key(token, FullName::parse(full_name)?, id).await
    }

    fn deploy_keys_url(&self, full_name: &str) -> Url {
        self.web_address(full_name.split('/').chain(["settings", "keys"]))
    }

    async fn revoke_grant(&self, token: &SecretString) -> Result<Removal, ForgeError> {
        self.withdraw_grant(token).await
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
        webhook::verify(headers, body, secrets)
    }

    fn read(&self, event: &str, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable> {
        webhook::read(event, headers, body)
    }

    async fn set_commit_status(
        &self,
        token: &SecretString,
        full_name: &str,
        commit: &CommitId,
        status: &CommitStatus<'_>,
    ) -> Result<(), ForgeError> {
        self.send_status(token, FullName::parse(full_name)?, commit, status).await
    }

    fn clone_access(&self, full_name: &str, token: Option<&SecretString>) -> CloneAccess {
        // As the password the token stays out of what git prints; GitHub takes any user name with it.
        CloneAccess {
            url: self.web_address(format!("{full_name}.git").split('/')),
            username: token.map(|_| "x-access-token".to_owned()),
            password: token.cloned(),
        }
    }

    fn commit_web_url(&self, full_name: &str, commit: &CommitId) -> Url {
        self.web_address(full_name.split('/').chain(["commit", commit.as_str()]))
    }

    fn app_settings_url(&self) -> Url {
        self.connection_page()
    }
}
