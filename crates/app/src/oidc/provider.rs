//! Talking to an OpenID Connect provider: discovery, the exchange of a code, and what an ID token must be before it is believed.
//!
//! Invariants: no redirect is followed, answers are capped in size and time, and a provider whose issuer is `https` is never asked without
//! TLS. A person is believed only after signature, issuer, audience, nonce and times fit.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm,
};
use openidconnect::core::{CoreProviderMetadata, CoreTokenResponse};
use openidconnect::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, DiscoveryError, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use slipway_model::{AccountName, Clock, ProviderId, Timestamp};
use url::Url;

use crate::{Error, Refusal, RefusalKind};

const DISCOVERY_LIFE: Duration = Duration::from_secs(3600);
/// How long a provider that could not be asked is not asked again: strangers begin sign-ins, and each would ask.
const FAILURE_LIFE: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far a provider's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(300);
/// OpenID Connect Core §2: a subject has at most 255 ASCII characters.
const MAX_SUBJECT: usize = 255;

/// Whether somebody whom nobody invited may make an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateAccounts {
    /// Everybody whom the provider knows may.
    Yes,
    /// Only who was invited.
    No,
}

/// A configured OpenID Connect provider.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// As it stands in addresses.
    pub id: ProviderId,
    /// As people know it.
    pub name: String,
    /// Its issuer, letter by letter as it stands in its ID tokens.
    pub issuer: String,
    /// Of the client that was registered for us.
    pub client_id: String,
    /// Of that client.
    pub client_secret: SecretString,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Whether unknown people may make accounts.
    pub create_accounts: CreateAccounts,
}

/// Who somebody is at a provider, after everything was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// What the provider calls the person; for people only.
    pub(crate) label: String,
    /// A name for the account, when one can be made of what the provider says.
    pub(crate) proposed: Option<AccountName>,
}

/// What belongs to one flow and is never shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct FlowSecrets {
    verifier: String,
    nonce: String,
}

/// What providers say about themselves, kept for an hour; and why one could not be asked, kept for half a minute.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    http: OnceLock<reqwest::Client>,
    known: Mutex<HashMap<ProviderId, (Arc<CoreProviderMetadata>, Timestamp)>>,
    failed: Mutex<HashMap<ProviderId, (Refusal, Timestamp)>>,
}

/// Why a request did not get its answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FetchError(String);

fn unavailable(provider: &OidcProvider, problem: &str) -> Error {
    let problem = line(problem, 300);
    tracing::warn!(provider = %provider.id, problem, "an OpenID Connect provider could not be asked");
    Refusal::new(RefusalKind::Unavailable, "oidc_unavailable", format!("{} could not be asked: {problem}", provider.name))
        .hint("try again in a moment, or sign in another way")
        .into()
}

fn distrusted(provider: &OidcProvider, problem: &str) -> Error {
    let problem = line(problem, 300);
    tracing::warn!(provider = %provider.id, problem, "an answer of an OpenID Connect provider was refused");
    Refusal::new(RefusalKind::Bad, "oidc_answer", format!("the answer of {} cannot be trusted: {problem}", provider.name))
        .hint("begin again; if it stays so, tell an administrator")
        .into()
}

/// Text of others on one line, cut.
pub(super) fn line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Over what a provider may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Schemes {
    Tls,
    /// Its issuer has no TLS either: it is on this machine.
    Any,
}

/// A client for one provider. It owns what its requests need, so that they may wait in any thread.
struct Http {
    client: reqwest::Client,
    schemes: Schemes,
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(fetch(self.client.clone(), self.schemes, request))
    }
}

async fn fetch(client: reqwest::Client, schemes: Schemes, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    if schemes == Schemes::Tls && request.uri().scheme_str() != Some("https") {
        return Err(FetchError("it names an address without TLS, though its issuer has TLS".to_owned()));
    }
    let request = reqwest::Request::try_from(request).map_err(|_| FetchError("it names an address that cannot be asked".to_owned()))?;
    // Its own words would repeat the address, and with it what stands in its query.
    let said = |error: reqwest::Error| FetchError(if error.is_timeout() { "no answer in time".to_owned() } else { causes(&error) });
    let mut response = client.execute(request).await.map_err(said)?;
    if response.status().is_redirection() {
        return Err(FetchError("it redirects the request, which is not followed".to_owned()));
    }
    let mut answer = http::Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        *headers = std::mem::take(response.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError(format!("its answer is longer than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    answer.body(body).map_err(|_| FetchError("its answer cannot be read".to_owned()))
}

impl Discovered {
    fn http(&self) -> Result<&reqwest::Client, FetchError> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        // Fails only when there is one already, and then that one is used.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| FetchError(format!("no client of HTTP can be made: {error}")))?;
        Ok(self.http.get_or_init(|| client))
    }

    /// The client for requests of the protocol to this provider.
    fn client(&self, provider: &OidcProvider) -> Result<Http, Error> {
        let client = self.http().map_err(|error| unavailable(provider, &error.0))?.clone();
        let schemes = if provider.issuer.starts_with("https:") { Schemes::Tls } else { Schemes::Any };
        Ok(Http { client, schemes })
    }

    fn cached(&self, provider: &ProviderId, now: Timestamp) -> Option<Arc<CoreProviderMetadata>> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(provider).filter(|(_, at)| now.since(*at) < DISCOVERY_LIFE).map(|(metadata, _)| Arc::clone(metadata))
    }

    /// What the provider says about itself, asked for now.
    async fn discover(&self, provider: &OidcProvider, now: Timestamp) -> Result<Arc<CoreProviderMetadata>, Error> {
        let issuer = IssuerUrl::new(provider.issuer.clone()).map_err(|_| Error::Internal("the issuer of a provider is no address"))?;
        let http = self.client(provider)?;
        let found = CoreProviderMetadata::discover_async(issuer, &http).await;
        let metadata = found.map_err(|error| match error {
            DiscoveryError::Validation(problem) => distrusted(provider, &problem),
            other => unavailable(provider, &causes(&other)),
        })?;
        let authorize = metadata.authorization_endpoint().url();
        let plain = authorize.scheme() == "http" && provider.issuer.starts_with("http:");
        if authorize.scheme() != "https" && !plain {
            return Err(distrusted(provider, "its sign-in page is at an address without TLS"));
        }
        let metadata = Arc::new(metadata);
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.insert(provider.id.clone(), (Arc::clone(&metadata), now));
        Ok(metadata)
    }

    async fn metadata(&self, provider: &OidcProvider, now: Timestamp) -> Result<Arc<CoreProviderMetadata>, Error> {
        if let Some(metadata) = self.cached(&provider.id, now) {
            return Ok(metadata);
        }
        if let Some(refusal) = self.just_failed(&provider.id, now) {
            return Err(refusal.into());
        }
        let found = self.discover(provider, now).await;
        if let Err(Error::Refused(refusal)) = &found {
            let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.insert(provider.id.clone(), (refusal.clone(), now));
        }
        found
    }

    fn just_failed(&self, provider: &ProviderId, now: Timestamp) -> Option<Refusal> {
        let failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.get(provider).filter(|(_, at)| now.since(*at) < FAILURE_LIFE).map(|(refusal, _)| refusal.clone())
    }

    /// Where the browser goes, and what the callback needs of this moment.
    pub(crate) async fn authorize(
        &self,
        provider: &OidcProvider,
        redirect: &Url,
        state: &str,
        now: Timestamp,
    ) -> Result<(Url, FlowSecrets), Error> {
        let metadata = self.metadata(provider, now).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = state.to_owned();
        let client = CoreClient::from_provider_metadata((*metadata).clone(), ClientId::new(provider.client_id.clone()), None)
            .set_redirect_uri(RedirectUrl::from_url(redirect.clone()));
        let (url, _, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || CsrfToken::new(state), Nonce::new_random)
            .add_scopes(provider.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        Ok((url, FlowSecrets { verifier: verifier.into_secret(), nonce: nonce.secret().clone() }))
    }

    /// Who it is that came back with this code.
    pub(crate) async fn person(
        &self,
        provider: &OidcProvider,
        redirect: &Url,
        code: &str,
        secrets: FlowSecrets,
        clock: &Clock,
    ) -> Result<Person, Error> {
        let now = clock.now();
        let metadata = self.metadata(provider, now).await?;
        let answer = self.exchange(provider, &metadata, redirect, code, secrets.verifier).await?;
        let token = answer.id_token().ok_or_else(|| distrusted(provider, "it says nothing about who it is: the ID token is missing"))?;
        let nonce = Nonce::new(secrets.nonce);
        let claims = match verified(provider, &metadata, token, &nonce, clock) {
            // A key that we do not know yet: providers change theirs.
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let metadata = self.discover(provider, now).await?;
                verified(provider, &metadata, token, &nonce, clock).cloned()
            }
            other => other.cloned(),
        };
        let claims = claims.map_err(|error| distrusted(provider, &causes(&error)))?;
        person(provider, &claims)
    }

    async fn exchange(
        &self,
        provider: &OidcProvider,
        metadata: &CoreProviderMetadata,
        redirect: &Url,
        code: &str,
        verifier: String,
    ) -> Result<CoreTokenResponse, Error> {
        let secret = ClientSecret::new(provider.client_secret.expose_secret().to_owned());
        let client = CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(provider.client_id.clone()), Some(secret))
            .set_redirect_uri(RedirectUrl::from_url(redirect.clone()))
            .set_auth_type(authentication(metadata));
        let http = self.client(provider)?;
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| distrusted(provider, "it names no address that exchanges codes"))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier));
        let answer = request.request_async(&http).await;
        answer.map_err(|error| match error {
            RequestTokenError::Request(error) => unavailable(provider, &error.0),
            RequestTokenError::ServerResponse(answer) => {
                let said =
                    answer.error_description().map_or_else(|| answer.error().to_string(), |text| format!("{}: {text}", answer.error()));
                unavailable(provider, &format!("it did not take the code: {said}"))
            }
            // Neither the answer nor what the parser says of it is repeated: tokens may stand in both.
            RequestTokenError::Parse(..) => distrusted(provider, "it cannot be read"),
            RequestTokenError::Other(problem) => unavailable(provider, &problem),
        })
    }
}

/// In the header, as the specification recommends, unless the provider takes it in the body only.
fn authentication(metadata: &CoreProviderMetadata) -> AuthType {
    match metadata.token_endpoint_auth_methods_supported() {
        Some(ways)
            if !ways.contains(&CoreClientAuthMethod::ClientSecretBasic) && ways.contains(&CoreClientAuthMethod::ClientSecretPost) =>
        {
            AuthType::RequestBody
        }
        _ => AuthType::BasicAuth,
    }
}

/// The claims of a token that is what it must be (OpenID Connect Core §3.1.3.7).
fn verified<'a>(
    provider: &OidcProvider,
    metadata: &CoreProviderMetadata,
    token: &'a CoreIdToken,
    nonce: &Nonce,
    clock: &Clock,
) -> Result<&'a CoreIdTokenClaims, ClaimsVerificationError> {
    use CoreJwsSigningAlgorithm as Alg;
    let client = CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(provider.client_id.clone()), None);
    let latest = clock.now().plus(SKEW).as_seconds();
    let now = clock.now().as_seconds();
    let verifier = client
        .id_token_verifier()
        // Whatever the provider says that it may use: only signatures that nobody else can make.
        .set_allowed_algs([
            Alg::RsaSsaPkcs1V15Sha256,
            Alg::RsaSsaPkcs1V15Sha384,
            Alg::RsaSsaPkcs1V15Sha512,
            Alg::RsaSsaPssSha256,
            Alg::RsaSsaPssSha384,
            Alg::RsaSsaPssSha512,
            Alg::EcdsaP256Sha256,
            Alg::EcdsaP384Sha384,
            Alg::EdDsa,
        ])
        .set_time_fn(move || openidconnect_time(now))
        .set_issue_time_verifier_fn(
            move |issued| {
                if issued.timestamp() <= latest { Ok(()) } else { Err("it was issued in the future".to_owned()) }
            },
        );
    let claims = token.claims(&verifier, nonce)?;
    if let Some(party) = claims.authorized_party().filter(|party| party.as_str() != provider.client_id) {
        return Err(ClaimsVerificationError::InvalidAudience(format!("it was issued to `{}`", line(party, 100))));
    }
    Ok(claims)
}

fn openidconnect_time(seconds: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(seconds, 0).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
}

fn person(provider: &OidcProvider, claims: &CoreIdTokenClaims) -> Result<Person, Error> {
    let subject = claims.subject().as_str();
    if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
        return Err(distrusted(provider, "the subject is not of 1 to 255 characters"));
    }
    let username = claims.preferred_username().map(|name| name.as_str());
    let email = claims.email().map(|email| email.as_str());
    let name = claims.name().and_then(|names| names.get(None)).map(|name| name.as_str());
    let label = [username, email, name].into_iter().flatten().map(|text| line(text, 100)).find(|text| !text.is_empty());
    Ok(Person {
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        label: label.unwrap_or_else(|| line(subject, 100)),
        proposed: [username, email, name].into_iter().flatten().find_map(proposal),
    })
}

/// A name of an account that is made of what the provider says; nothing when nothing is left of it.
fn proposal(text: &str) -> Option<AccountName> {
    let local = text.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for c in local.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' => name.push(c),
            _ if !name.is_empty() && !name.ends_with(['-', '_']) => name.push('-'),
            _ => {}
        }
    }
    name.chars().take(64).collect::<String>().trim_matches(['-', '_']).parse().ok()
}

/// The words of an error and its causes, without repetition.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    // What `reqwest` says itself names the address; its causes do not.
    if error.is::<reqwest::Error>() {
        next = error.source();
    }
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = if text.is_empty() { said } else { format!("{text}: {said}") };
        }
        next = cause.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_proposed_from_what_providers_say() {
        let proposed = |text: &str| proposal(text).map(|name| name.to_string());
        assert_eq!(proposed("Ann.Lee@example.com").as_deref(), Some("ann-lee"));
        assert_eq!(proposed("  Zoë  Müller ").as_deref(), Some("zo-m-ller"));
        assert_eq!(proposed("bob_2").as_deref(), Some("bob_2"));
        assert_eq!(proposed(&"x".repeat(200)).map(|name| name.len()), Some(64));
        for nothing in ["", "@", "é", "x", "../..", "admin", "😀😀"] {
            assert_eq!(proposed(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn text_of_others_stays_on_one_line() {
        assert_eq!(line("a\r\nb\u{1b}[31m", 100), "a  b [31m");
        assert_eq!(line("abcdef", 3), "abc");
    }
}
