//! Our application as a GitHub App: its signature, its installations, and their tokens.
//!
//! Invariant: a token of an installation is limited to one repository by id and to what its use needs, is held in memory only, and is
//! handed out no later than five minutes before its end. The installation may do more than most people: hooks and keys are put up only for
//! a person who could put them up by hand, for others its token only reads. A refusal of our own signature is never taken for a person's lost link.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slipway_model::{Clock, Timestamp, constant_time_eq};

use super::wire::Call;
use super::{FullName, GitHub, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{AppCredentials, SourceKey};

/// GitHub takes ten minutes at most; the machine's clock may be ahead.
const SIGNATURE_LIFE: Duration = Duration::from_secs(9 * 60);
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// A token that ends sooner is replaced.
const RESERVE: Duration = Duration::from_secs(5 * 60);
const MAX_CACHED: usize = 10_000;
/// So long it counts what a person may do to a repository.
const RIGHTS_AGE: Duration = Duration::from_secs(10 * 60);
const SMALLEST_KEY_BITS: usize = 2048;

/// What a token of an installation is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum TokenUse {
    /// Fetching with git, reading.
    Clone,
    /// Saying how commits stand, and reading.
    Report,
    /// Webhooks, deploy keys, statuses.
    Manage,
}

impl TokenUse {
    /// The permissions that are asked for, as far as the installation has them.
    fn permissions(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Clone => &[("metadata", "read"), ("contents", "read")],
            Self::Report => &[("metadata", "read"), ("contents", "read"), ("statuses", "write")],
            Self::Manage => &[
                ("metadata", "read"),
                ("contents", "read"),
                ("repository_hooks", "write"),
                ("administration", "write"),
                ("statuses", "write"),
            ],
        }
    }
}

/// A person by the token, which is not kept, and a repository.
type Seen = ([u8; 32], String);

struct Cached {
    token: SecretString,
    until: Timestamp,
}

/// The App itself.
pub(super) struct App {
    key: EncodingKey,
    issuer: String,
    cache: Mutex<HashMap<(String, TokenUse), Cached>>,
    /// What is done for whom, and until when that counts.
    rights: Mutex<HashMap<Seen, (TokenUse, Timestamp)>>,
    slug: Mutex<Option<String>>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
    suspended_at: Option<String>,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: SecretString,
    expires_at: String,
    repositories: Option<Vec<Id>>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Itself {
    slug: Option<String>,
}

impl App {
    pub(super) fn open(credentials: &AppCredentials, client_id: &str) -> Result<Self, ForgeError> {
        Ok(Self {
            key: read_key(&credentials.private_key).map_err(|detail| ForgeError::Misconfigured { detail })?,
            issuer: client_id.to_owned(),
            cache: Mutex::default(),
            rights: Mutex::default(),
            slug: Mutex::default(),
        })
    }

    /// The signature that GitHub knows the App by.
    fn signature(&self) -> Result<SecretString, ForgeError> {
        let now = Clock::System.now();
        let claims = Claims { iat: now.minus(CLOCK_SLACK).as_seconds(), exp: now.plus(SIGNATURE_LIFE).as_seconds(), iss: &self.issuer };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map(SecretString::from)
            .map_err(|error| ForgeError::Misconfigured { detail: format!("the App's private key does not sign: {error}") })
    }

    fn rights(&self) -> MutexGuard<'_, HashMap<Seen, (TokenUse, Timestamp)>> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<(String, TokenUse), Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self, id: &str, purpose: TokenUse) -> Option<SecretString> {
        let now = Clock::System.now();
        self.cache().get(&(id.to_owned(), purpose)).filter(|cached| now.plus(RESERVE) < cached.until).map(|cached| cached.token.clone())
    }

    fn remember(&self, id: &str, purpose: TokenUse, cached: Cached) {
        let now = Clock::System.now();
        let mut cache = self.cache();
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| now < cached.until);
        }
        if cache.len() < MAX_CACHED {
            cache.insert((id.to_owned(), purpose), cached);
        }
    }

    /// What an error of a call with this token means. When the token is an installation's, a refusal of it says nothing of the person's link.
    pub(super) fn after(&self, token: &SecretString, error: ForgeError) -> ForgeError {
        if !matches!(error, ForgeError::Unauthorized { .. } | ForgeError::Suspended { .. }) {
            return error;
        }
        let mut cache = self.cache();
        let before = cache.len();
        cache.retain(|_, cached| !constant_time_eq(cached.token.expose_secret().as_bytes(), token.expose_secret().as_bytes()));
        match error {
            ForgeError::Unauthorized { detail } if cache.len() < before => ForgeError::Unexpected {
                status: 401,
                detail: format!("the token of the installation is no longer valid ({detail}), the next call gets another"),
            },
            error => error,
        }
    }
}

/// An RSA key as GitHub hands it out, or as other tools write it.
fn read_key(pem: &SecretString) -> Result<EncodingKey, String> {
    let pem = pem.expose_secret();
    let key = RsaPrivateKey::from_pkcs1_pem(pem)
        .or_else(|_| RsaPrivateKey::from_pkcs8_pem(pem))
        .map_err(|_| "the private key of the App is no RSA key in PEM".to_owned())?;
    if key.n().bits() < SMALLEST_KEY_BITS {
        return Err(format!("the private key of the App has fewer than {SMALLEST_KEY_BITS} bits"));
    }
    let der = key.to_pkcs1_der().map_err(|_| "the private key of the App cannot be used".to_owned())?;
    Ok(EncodingKey::from_rsa_der(der.as_bytes()))
}

/// Checks that a text is a private key which a GitHub App can sign with.
///
/// # Errors
/// A sentence with what is wrong; it holds nothing of the key.
pub fn check_private_key(pem: &SecretString) -> Result<(), String> {
    read_key(pem).map(drop)
}

impl GitHub {
    /// Sends a request as the App itself.
    async fn call_as_app(&self, app: &App, call: Call<'_>) -> Result<crate::http_client::Reply, ForgeError> {
        match self.call(&app.signature()?, call).await {
            // It is our key or our number that GitHub does not know, not the person's token.
            Err(ForgeError::Unauthorized { detail }) => {
                Err(ForgeError::Misconfigured { detail: format!("GitHub does not accept the App's signature: {detail}") })
            }
            result => result,
        }
    }

    /// What a token may be for that acts for the person: it does no more than the person could do by hand.
    pub(super) async fn use_of(&self, app: &App, token: &SecretString, key: SourceKey<'_>) -> Result<TokenUse, ForgeError> {
        if !is_id(key.id) {
            return Err(ForgeError::NotFound);
        }
        let (now, seen) = (Clock::System.now(), (Sha256::digest(token.expose_secret()).into(), key.id.to_owned()));
        let known = app.rights().get(&seen).filter(|(_, until)| now < *until).map(|(purpose, _)| *purpose);
        match known {
            Some(purpose) => Ok(purpose),
            None => {
                let purpose = self.use_by_rights(token, key.id).await?;
                let mut rights = app.rights();
                if rights.len() >= MAX_CACHED {
                    rights.retain(|_, (_, until)| now < *until);
                }
                if rights.len() < MAX_CACHED {
                    rights.insert(seen, (purpose, now.plus(RIGHTS_AGE)));
                }
                Ok(purpose)
            }
        }
    }

    /// A token for one repository of the installation that reaches it.
    pub(super) async fn installation_token(
        &self,
        app: &App,
        token: &SecretString,
        key: SourceKey<'_>,
        purpose: TokenUse,
    ) -> Result<SecretString, ForgeError> {
        if !is_id(key.id) {
            return Err(ForgeError::NotFound);
        }
        if let Some(cached) = app.cached(key.id, purpose) {
            return Ok(cached);
        }
        match self.token_by_name(app, key, purpose).await {
            Err(ForgeError::NotFound) => {}
            result => return result,
        }
        // Another repository may have the name by now: GitHub finds the installation by name only, so the name of today is needed.
        let today = self.repository_by_id(token, key.id).await?.ok_or(ForgeError::NotFound)?;
        if today.full_name != key.full_name {
            match self.token_by_name(app, SourceKey { id: key.id, full_name: &today.full_name }, purpose).await {
                Err(ForgeError::NotFound) => {}
                result => return result,
            }
        }
        let owner = today.full_name.split('/').next().unwrap_or_default().to_owned();
        Err(ForgeError::Restricted { grant_url: self.install_address(app, None).await.ok(), organization: Some(owner) })
    }

    async fn token_by_name(&self, app: &App, key: SourceKey<'_>, purpose: TokenUse) -> Result<SecretString, ForgeError> {
        let name = FullName::parse(key.full_name)?;
        let address = self.api_address(["repos", name.owner, name.name, "installation"]);
        let installation: Installation = self.call_as_app(app, Call::get(address)).await?.json()?;
        if installation.suspended_at.is_some() {
            return Err(ForgeError::Suspended { detail: format!("the installation of the App for `{}` is suspended", name.owner) });
        }
        let permissions = granted(&installation, purpose);
        if !permissions.contains_key("contents") {
            return Err(ForgeError::MissingScope {
                scopes: vec!["contents=read".to_owned()],
                detail: "the installation of the App does not have it".to_owned(),
            });
        }
        let id: u64 = key.id.parse().map_err(|_| ForgeError::NotFound)?;
        let body = json!({ "repository_ids": [id], "permissions": permissions });
        let address = self.api_address(["app", "installations", &installation.id.to_string(), "access_tokens"]);
        let reply = match self.call_as_app(app, Call::manage(Method::POST, address).body(&body)).await {
            // The repository of that name, today, is not the one with this id, or the App was taken from it meanwhile.
            Err(ForgeError::Unexpected { status: 422, detail }) if !detail.contains("permissions") => return Err(ForgeError::NotFound),
            result => result?,
        };
        let answer: TokenAnswer = reply.json()?;
        if answer.repositories.as_deref().is_none_or(|list| !matches!(list, [only] if only.id == id)) {
            return Err(reply.unexpected("the token of the installation is not limited to the repository that was asked for".to_owned()));
        }
        if let Some(until) = text::timestamp(&answer.expires_at) {
            app.remember(key.id, purpose, Cached { token: answer.token.clone(), until });
        }
        Ok(answer.token)
    }

    /// Where the App gets installed, for one account when that is known.
    pub(super) async fn install_address(&self, app: &App, account: Option<u64>) -> Result<url::Url, ForgeError> {
        let known = app.slug.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let slug = match known {
            Some(slug) => slug,
            None => {
                let reply = self.call_as_app(app, Call::get(self.api_address(["app"]))).await?;
                let itself: Itself = reply.json()?;
                let slug = itself.slug.filter(|slug| super::is_name(slug));
                let slug = slug.ok_or_else(|| reply.unexpected("the App came without a usable `slug`".to_owned()))?;
                *app.slug.lock().unwrap_or_else(PoisonError::into_inner) = Some(slug.clone());
                slug
            }
        };
        // GitHub Enterprise Server has its Apps at another path than github.com and the tenants of ghe.com.
        let host = self.provider.web_url.host_str().unwrap_or_default();
        let folder = if host == "github.com" || host.ends_with(".ghe.com") { "apps" } else { "github-apps" };
        let mut url = self.web_address([folder, &slug, "installations", "new"]);
        if let Some(account) = account {
            url.path_segments_mut().expect("a web address has a path").push("permissions");
            url.query_pairs_mut().append_pair("suggested_target_id", &account.to_string());
        }
        Ok(url)
    }
}

/// What the use needs, as far as the installation has it.
fn granted(installation: &Installation, purpose: TokenUse) -> serde_json::Map<String, Value> {
    let level = |name: &str, wanted: &'static str| match installation.permissions.get(name).map(String::as_str) {
        Some("write" | "admin") => Some(wanted),
        Some("read") => Some("read"),
        _ => None,
    };
    purpose.permissions().iter().filter_map(|(name, wanted)| Some(((*name).to_owned(), json!(level(name, wanted)?)))).collect()
}
