//! Gitea and Forgejo, by their OAuth2 provider and their API (they differ in nothing that is used here).
//!
//! Invariant: a repository's full name goes into a path only after `FullName::parse`; ids only after a check for digits.
//! One file per concern: `oauth` grants, `api` people and repositories, `refs` where branches and tags stand, `hooks`, `keys`
//! and `statuses` what we make there, `webhook` verifies and reads deliveries.

mod api;
mod hooks;
mod keys;
mod oauth;
mod refs;
mod statuses;
mod webhook;
mod wire;

use async_trait::async_trait;
use http::HeaderMap;
use secrecy::SecretString;
use slipway_model::{AccessLevel, CommitId, RefName};
use url::Url;

use crate::egress::Egress;
use crate::error::ForgeError;
use crate::forge::Forge;
use crate::http_client::{HttpClient, check_base, join};
use crate::types::{
    AuthorizeRequest, CloneAccess, CommitStatus, Fresh, Grant, Heads, HookSpec, Offer, OpenPullRequests, Page, Person, Picture, Provider,
    RemoteDelivery, RemoteHook, RemoteKey, Removal, SourceKey, SourceNamespace, SourceRepository,
};
use crate::webhook::{Payload, PullRequestChange, Refusal, Unreadable, Verified};

/// Webhooks, deploy keys and commit statuses want `write:repository`: there is no narrower scope for them.
const OFFERS: &[Offer] = &[
    Offer {
        level: AccessLevel::Full,
        scopes: &["read:user", "read:organization", "write:repository"],
        words: "private and public sources; webhooks, deploy keys and commit statuses are made for you \
                (Forgejo, and Gitea before 1.23, limit no grant: there it is your whole account)",
    },
    Offer {
        level: AccessLevel::Public,
        scopes: &["public-only", "read:user", "read:organization", "write:repository"],
        words: "sources and organizations that everybody sees; webhooks, deploy keys and commit statuses are made for you \
                (Forgejo, and Gitea before 1.23, limit no grant: there it is your whole account)",
    },
    Offer {
        level: AccessLevel::ReadOnly,
        scopes: &["read:user", "read:organization", "read:repository"],
        words: "reads private and public sources and writes nothing: you add the webhook yourself \
                (Forgejo, and Gitea before 1.23, limit no grant: there it is your whole account)",
    },
];

/// The client of one Gitea or Forgejo.
#[derive(Debug)]
pub struct Gitea {
    provider: Provider,
    http: HttpClient,
    egress: Egress,
}

impl Gitea {
    /// The client of a configured Gitea or Forgejo.
    ///
    /// # Errors
    /// [`ForgeError::Misconfigured`] when an address cannot be used.
    pub fn open(provider: Provider, egress: Egress) -> Result<Self, ForgeError> {
        check_base("`web_url`", &provider.web_url)?;
        check_base("`api_url`", &provider.api_url)?;
        Ok(Self { provider, http: HttpClient::new()?, egress })
    }

    fn web_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        join(&self.provider.web_url, parts)
    }
}

/// `owner/name`, of characters that Gitea allows in them: neither part can leave its place in a path.
#[derive(Clone, Copy)]
struct FullName<'a> {
    owner: &'a str,
    name: &'a str,
}

impl<'a> FullName<'a> {
    /// A name that Gitea cannot have is one that it does not know.
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

/// Whether the text can be an id that Gitea gave.
fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[async_trait]
impl Forge for Gitea {
    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn offers(&self) -> &'static [Offer] {
        OFFERS
    }

    fn scope_words(&self, scope: &str) -> Option<&'static str> {
        oauth::scope_words(scope)
    }

    fn missing_scopes(&self, offer: &Offer, granted: &[String]) -> Vec<String> {
        oauth::missing_scopes(offer, granted)
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

    async fn revoke_grant(&self, _token: &SecretString) -> Result<Removal, ForgeError> {
        let detail = "Gitea has no call that withdraws a grant: press Revoke at Settings > Applications there";
        Err(ForgeError::Unsupported { detail: detail.to_owned(), url: Some(self.app_settings_url()) })
    }

    fn app_settings_url(&self) -> Url {
        self.web_address(["user", "settings", "applications"])
    }

    async fn probe(&self, token: &SecretString, _known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        Ok(Fresh::Changed { value: self.read_person(token).await?, marker: None })
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
        self.read_repository(token, &["repos", full_name.owner, full_name.name]).await
    }

    async fn source_repository_by_id(&self, token: &SecretString, key: SourceKey<'_>) -> Result<Option<SourceRepository>, ForgeError> {
        if !is_id(key.id) {
            return Ok(None);
        }
        let found = self.read_repository(token, &["repositories", key.id]).await?;
        Ok(found.filter(|repository| repository.id == key.id))
    }

    async fn repository_token(&self, token: &SecretString, _key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        Ok(token.clone())
    }

    async fn heads(&self, token: &SecretString, full_name: &str, known: Option<&str>) -> Result<Fresh<Heads>, ForgeError> {
        self.read_heads(token, FullName::parse(full_name)?, known).await
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
        _token: &SecretString,
        full_name: &str,
        hook: &str,
        _cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError> {
        Err(self.only_on_the_page("Gitea lists a webhook's deliveries on its page only", full_name, hook))
    }

    async fn redeliver(&self, _token: &SecretString, full_name: &str, hook: &str, _delivery: &str) -> Result<(), ForgeError> {
        Err(self.only_on_the_page("Gitea sends a delivery once more by a button of the webhook's page only", full_name, hook))
    }

    fn hook_settings_url(&self, full_name: &str) -> Url {
        self.web_address(full_name.split('/').chain(["settings", "hooks"]))
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
        webhook::verify(headers, body, secrets)
    }

    fn read(&self, event: &str, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable> {
        webhook::read(event, headers, body)
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
        CloneAccess {
            url: self.web_address(format!("{full_name}.git").split('/')),
            username: token.map(|_| wire::GIT_USER.to_owned()),
            password: token.cloned(),
        }
    }

    fn commit_web_url(&self, full_name: &str, commit: &CommitId) -> Url {
        self.web_address(full_name.split('/').chain(["commit", commit.as_str()]))
    }
}
