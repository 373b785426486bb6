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
use slipway_model::{CommitId, RefName};
use url::Url;

use crate::error::ForgeError;
use crate::forge::Forge;
use crate::http_client::{HttpClient, check_base, join};
use crate::types::{
    AuthorizeRequest, CloneAccess, Grant, HookSpec, Page, Person, Provider, RemoteHook, Removal, SourceNamespace, SourceRef,
    SourceRepository,
};
use crate::webhook::{Payload, Refusal, Unreadable, Verified};

/// What a full link asks for. `repo` covers private sources and their webhooks (GitHub has no narrower scope that does);
/// `read:org` lists the organizations.
const SCOPES: &[&str] = &["repo", "read:org"];

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

    fn scopes(&self) -> &'static [&'static str] {
        SCOPES
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

    async fn person(&self, token: &SecretString) -> Result<Person, ForgeError> {
        self.read_person(token).await
    }

    async fn source_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        self.list_namespaces(token).await
    }

    async fn source_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        query: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError> {
        self.search_repositories(token, namespace, query, cursor).await
    }

    async fn source_repository(&self, token: &SecretString, full_name: &str) -> Result<Option<SourceRepository>, ForgeError> {
        let Ok(full_name) = FullName::parse(full_name) else { return Ok(None) };
        self.read_repository(token, &["repos", full_name.owner, full_name.name]).await
    }

    async fn source_repository_by_id(&self, token: &SecretString, id: &str) -> Result<Option<SourceRepository>, ForgeError> {
        if !is_id(id) {
            return Ok(None);
        }
        self.read_repository(token, &["repositories", id]).await
    }

    async fn refs(&self, token: &SecretString, full_name: &str) -> Result<Vec<SourceRef>, ForgeError> {
        self.list_refs(token, FullName::parse(full_name)?).await
    }

    async fn resolve(&self, token: &SecretString, full_name: &str, name: &RefName) -> Result<Option<CommitId>, ForgeError> {
        self.resolve_ref(token, FullName::parse(full_name)?, name).await
    }

    async fn hooks(&self, token: &SecretString, full_name: &str) -> Result<Vec<RemoteHook>, ForgeError> {
        self.list_hooks(token, FullName::parse(full_name)?).await
    }

    async fn create_hook(&self, token: &SecretString, full_name: &str, hook: &HookSpec<'_>) -> Result<RemoteHook, ForgeError> {
        self.ensure_hook(token, FullName::parse(full_name)?, hook).await
    }

    async fn delete_hook(&self, token: &SecretString, full_name: &str, id: &str) -> Result<Removal, ForgeError> {
        self.remove_hook(token, FullName::parse(full_name)?, id).await
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
