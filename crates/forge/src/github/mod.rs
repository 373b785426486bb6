//! GitHub: github.com and GitHub Enterprise Server, by an OAuth app.
//!
//! Invariant: a repository's full name goes into a path only after `FullName::parse`; ids only after a check for digits.
//! One file per concern: `oauth` grants, `api` reads, `hooks` manages webhooks, `webhook` verifies and reads deliveries.

mod api;
mod hooks;
mod oauth;
mod webhook;
mod wire;

use async_trait::async_trait;
use http::HeaderMap;
use secrecy::SecretString;
use slipway_model::{AccessLevel, CommitId, RefName};
use url::Url;

use crate::error::ForgeError;
use crate::forge::Forge;
use crate::http_client::{HttpClient, check_base, join};
use crate::types::{
    AuthorizeRequest, CloneAccess, Fresh, Grant, Heads, HookSpec, Offer, Page, Person, Picture, Provider, RemoteDelivery, RemoteHook,
    RemoteKey, Removal, SourceKey, SourceNamespace, SourceRepository,
};
use crate::webhook::{Payload, Refusal, Unreadable, Verified};

/// `repo` covers private sources, their webhooks and deploy keys: GitHub has no narrower scope that does. `read:org` lists the organizations.
const OFFERS: &[Offer] = &[
    Offer {
        level: AccessLevel::Full,
        scopes: &["repo", "read:org"],
        words: "private and public sources; webhooks, deploy keys and commit statuses are made for you",
    },
    Offer {
        level: AccessLevel::Public,
        scopes: &["public_repo", "admin:repo_hook", "read:org"],
        words: "public sources only; webhooks are made for you",
    },
    Offer {
        level: AccessLevel::ReadOnly,
        scopes: &["read:org"],
        words: "reads public sources and writes nothing: you add the webhook yourself (GitHub has no scope that only reads private sources)",
    },
];

/// The client of one GitHub.
#[derive(Debug)]
pub struct GitHub {
    provider: Provider,
    http: HttpClient,
}

impl GitHub {
    /// The client of a configured GitHub.
    ///
    /// # Errors
    /// [`ForgeError::Misconfigured`] when an address cannot be used.
    pub fn open(provider: Provider) -> Result<Self, ForgeError> {
        check_base("`web_url`", &provider.web_url)?;
        check_base("`api_url`", &provider.api_url)?;
        Ok(Self { provider, http: HttpClient::new()? })
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

fn not_yet() -> ForgeError {
    ForgeError::Unsupported { detail: "this is not built yet".to_owned(), url: None }
}

/// Whether the text can be the name of an account or repository.
fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(text, "." | "..")
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

    async fn probe(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        self.read_person(token, known).await
    }

    async fn picture(&self, _url: &Url) -> Result<Picture, ForgeError> {
        Err(not_yet())
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
        self.read_repository(token, &["repositories", key.id]).await
    }

    async fn repository_token(&self, token: &SecretString, _key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        Ok(token.clone())
    }

    async fn heads(&self, token: &SecretString, full_name: &str, _known: Option<&str>) -> Result<Fresh<Heads>, ForgeError> {
        Ok(Fresh::Changed { value: self.list_heads(token, FullName::parse(full_name)?).await?, marker: None })
    }

    async fn resolve(&self, token: &SecretString, full_name: &str, name: &RefName) -> Result<Option<CommitId>, ForgeError> {
        self.resolve_ref(token, FullName::parse(full_name)?, name).await
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
        _full_name: &str,
        _hook: &str,
        _cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError> {
        Err(not_yet())
    }

    async fn redeliver(&self, _token: &SecretString, _full_name: &str, _hook: &str, _delivery: &str) -> Result<(), ForgeError> {
        Err(not_yet())
    }

    fn hook_settings_url(&self, full_name: &str) -> Url {
        self.web_address(full_name.split('/').chain(["settings", "hooks"]))
    }

    async fn ensure_deploy_key(
        &self,
        _token: &SecretString,
        _full_name: &str,
        _title: &str,
        _public_key: &str,
    ) -> Result<RemoteKey, ForgeError> {
        Err(not_yet())
    }

    async fn deploy_keys(&self, _token: &SecretString, _full_name: &str) -> Result<Vec<RemoteKey>, ForgeError> {
        Err(not_yet())
    }

    async fn delete_deploy_key(&self, _token: &SecretString, _full_name: &str, _id: &str) -> Result<Removal, ForgeError> {
        Err(not_yet())
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
        self.web_address(["settings", "connections", "applications", &self.provider.client_id])
    }
}
