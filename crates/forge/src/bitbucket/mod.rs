//! Bitbucket Cloud, by an OAuth consumer.
//!
//! Invariant: a repository's full name goes into a path only after `FullName::parse`; ids only after `is_uuid`. A path holds nothing else
//! of an answer: braces, slashes and `#` in it are percent-encoded.
//! One file per concern: `oauth` grants, `people` persons and workspaces, `repositories`, `refs`, `hooks`, `keys` and `statuses` what we make there,
//! `webhook` verifies and reads deliveries, `wire` speaks HTTP.

mod hooks;
mod keys;
mod oauth;
mod people;
mod pull_requests;
mod refs;
mod repositories;
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

/// Bitbucket asks for what stands at our consumer, whatever a request says. So these differ in what we demand and do, and the words say so.
const OFFERS: &[Offer] = &[
    Offer {
        level: AccessLevel::Full,
        scopes: &["account", "repository", "pullrequest", "repository:admin", "webhook"],
        words: "private and public sources; webhooks, deploy keys and commit statuses are made for you (what Bitbucket asks you to grant is fixed at \
                the OAuth consumer of this installation)",
    },
    Offer {
        level: AccessLevel::ReadOnly,
        scopes: &["account", "repository"],
        words: "reads private and public sources and writes nothing: you add the webhook yourself (Bitbucket cannot be asked for less \
                than the OAuth consumer of this installation has: what is more is granted, but not used)",
    },
];

/// The client of Bitbucket Cloud.
#[derive(Debug)]
pub struct Bitbucket {
    provider: Provider,
    http: HttpClient,
    egress: Egress,
}

impl Bitbucket {
    /// The client of a configured Bitbucket; pictures are fetched with `egress`.
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

    /// A page of a repository's settings; their addresses end with a slash.
    fn settings_address(&self, full_name: &str, page: &str) -> Url {
        self.web_address(full_name.split('/').chain(["admin", page, ""]))
    }

    /// Where a person can do what Bitbucket has no call for.
    fn by_hand<T>(what: &str, url: Url) -> Result<T, ForgeError> {
        Err(ForgeError::Unsupported { detail: what.to_owned(), url: Some(url) })
    }
}

/// `workspace/repository`, of characters that Bitbucket allows in them: neither part can leave its place in a path.
#[derive(Clone, Copy)]
struct FullName<'a> {
    workspace: &'a str,
    slug: &'a str,
}

impl<'a> FullName<'a> {
    /// A name that Bitbucket cannot have is one that it does not know.
    fn parse(text: &'a str) -> Result<Self, ForgeError> {
        match text.split_once('/') {
            Some((workspace, slug)) if is_name(workspace) && is_name(slug) => Ok(Self { workspace, slug }),
            _ => Err(ForgeError::NotFound),
        }
    }
}

/// Whether the text can be the short name of a workspace or repository.
fn is_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(text, "." | "..")
}

/// Whether the text can be an id that Bitbucket gave: `{8-4-4-4-12}`, hexadecimal, in braces.
fn is_uuid(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    inner.len() == 36
        && inner.bytes().enumerate().all(|(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

#[async_trait]
impl Forge for Bitbucket {
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

    async fn exchange_code(&self, code: &str, redirect_uri: &Url, _verifier: &SecretString) -> Result<Grant, ForgeError> {
        self.grant_for_code(code, redirect_uri).await
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<Grant, ForgeError> {
        self.grant_for_refresh_token(refresh_token).await
    }

    async fn revoke_grant(&self, _token: &SecretString) -> Result<Removal, ForgeError> {
        Self::by_hand(
            "Bitbucket has no call that withdraws a grant: remove it under Personal settings, App authorizations",
            self.app_settings_url(),
        )
    }

    fn app_settings_url(&self) -> Url {
        self.web_address(["account", "settings", "app-authorizations", ""])
    }

    async fn probe(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        self.read_person(token, known).await
    }

    async fn picture(&self, url: &Url) -> Result<Picture, ForgeError> {
        Ok(self.egress.picture(url, &self.provider.web_url).await?)
    }

    async fn source_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        self.list_workspaces(token).await
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
        self.read_repository(token, full_name.workspace, full_name.slug).await
    }

    async fn source_repository_by_id(&self, token: &SecretString, key: SourceKey<'_>) -> Result<Option<SourceRepository>, ForgeError> {
        self.find_repository(token, key).await
    }

    async fn repository_token(&self, token: &SecretString, _key: SourceKey<'_>) -> Result<SecretString, ForgeError> {
        Ok(token.clone())
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
        _token: &SecretString,
        full_name: &str,
        _hook: &str,
        _cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError> {
        Self::by_hand(
            "Bitbucket shows what became of deliveries only on its own page: Repository settings, Webhooks, View requests",
            self.hook_settings_url(full_name),
        )
    }

    async fn redeliver(&self, _token: &SecretString, full_name: &str, _hook: &str, _delivery: &str) -> Result<(), ForgeError> {
        Self::by_hand(
            "Bitbucket has no call that sends a delivery once more: Repository settings, Webhooks, View requests, Resend",
            self.hook_settings_url(full_name),
        )
    }

    fn hook_settings_url(&self, full_name: &str) -> Url {
        self.settings_address(full_name, "webhooks")
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
        webhook::verify(headers, body, secrets)
    }

    fn read(&self, event: &str, _headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable> {
        webhook::read(event, body)
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
        self.settings_address(full_name, "access-keys")
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
        // The user name is literally this one (Bitbucket, "Repository cloning").
        CloneAccess {
            url: self.web_address(format!("{full_name}.git").split('/')),
            username: token.map(|_| "x-token-auth".to_owned()),
            password: token.cloned(),
        }
    }

    fn commit_web_url(&self, full_name: &str, commit: &CommitId) -> Url {
        self.web_address(full_name.split('/').chain(["commits", commit.as_str()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bitbucket_can_give_is_an_id_or_a_name() {
        assert!(is_uuid("{d53603cc-3f67-45ea-b310-aaa5ef6ec061}") && is_uuid("{D53603CC-3F67-45EA-B310-AAA5EF6EC061}"));
        for odd in [
            "",
            "{}",
            "d53603cc-3f67-45ea-b310-aaa5ef6ec061",
            "{d53603cc-3f67-45ea-b310-aaa5ef6ec06}",
            "{../../user/emails/aaaaaaaaaaaaaaaaaaaa}",
        ] {
            assert!(!is_uuid(odd), "{odd}");
        }
        assert!(FullName::parse("team_name/repo.name-1").is_ok());
        for odd in ["", "a", "a/", "/b", "a/..", "./b", "a/b/c", "a/b?c", "a/b#c", "a/%2e", "ä/b", "{x}/b"] {
            assert!(FullName::parse(odd).is_err(), "{odd}");
        }
    }
}
