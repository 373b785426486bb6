//! GitHub Apps: the key that signs for them, where they are installed, and the tokens of installations.
//! Invariant: an installation reaches what its account owns and the person selected, no more; its token lives for an hour
//! and dies with the installation; keys and hooks that were made with it stay.
//! Deliberately elsewhere: routes (`api::apps`), webhooks about installations (`app_events`), user tokens (`tokens`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::signature::Verifier as _;
use serde_json::{Value, json};

use super::access::Caller;
use super::api::reply::ApiError;
use super::state::{HookRow, Rate, Repo, State, random_hex};
use super::tokens::App;
use super::types::{ContentType, Hook, OAuthApp, TokenLife};
use super::{FakeGitHub, Inner};

/// GitHub docs, "Generating a JSON web token": no more than ten minutes into the future.
const JWT_MAX_S: i64 = 600;
const TOKEN_LIFETIME_MS: i64 = 3600 * 1000;
/// Requests an hour of one installation.
const RATE_LIMIT: u64 = 5000;

/// What a new GitHub App is to be.
#[derive(Debug, Clone, Copy)]
pub struct NewGitHubApp<'a> {
    /// Login of the account that owns it.
    pub owner: &'a str,
    /// Its name; the slug is made from it.
    pub name: &'a str,
    /// Where people come back to after they authorized it.
    pub callback: &'a str,
    /// Where its webhooks go; it has none without.
    pub hook_url: Option<&'a str>,
    /// Permissions: name and `read` or `write`. `metadata` is always read.
    pub permissions: &'a [(&'a str, &'a str)],
    /// Events about repositories that it hears of.
    pub events: &'a [&'a str],
}

/// A GitHub App as its owner gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHubApp {
    /// Its number.
    pub app_id: u64,
    /// Its name in addresses.
    pub slug: String,
    /// Public id for the pages that people authorize it at.
    pub client_id: String,
    /// Secret for the same.
    pub client_secret: String,
    /// The RSA key that signs its JSON web tokens, PKCS #1 in PEM.
    pub private_key: String,
    /// Secret of its webhooks.
    pub webhook_secret: String,
}

/// Which repositories an installation reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of the account, also those to come.
    All,
    /// These, by id.
    Selected(BTreeSet<u64>),
}

/// What only a GitHub App has.
pub(crate) struct GitHubAppSide {
    pub(crate) id: u64,
    pub(crate) slug: String,
    pub(crate) owner: u64,
    pub(crate) key: rsa::RsaPublicKey,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) hook: Option<HookRow>,
}

/// An App on an account.
pub(crate) struct Installation {
    pub(crate) id: u64,
    pub(crate) app: String,
    pub(crate) account: u64,
    pub(crate) selection: Selection,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) created_ms: i64,
    pub(crate) suspended: Option<(u64, i64)>,
    pub(crate) rate: Rate,
}

impl Installation {
    pub(crate) fn covers(&self, repo: &Repo) -> bool {
        let selected = match &self.selection {
            Selection::All => true,
            Selection::Selected(ids) => ids.contains(&repo.id),
        };
        repo.owner == self.account && selected
    }
}

/// A token of an installation.
#[derive(Clone)]
pub(crate) struct InstallationToken {
    pub(crate) value: String,
    pub(crate) app: String,
    pub(crate) installation: u64,
    pub(crate) repositories: Option<BTreeSet<u64>>,
    pub(crate) permissions: BTreeMap<String, String>,
    pub(crate) expires_ms: i64,
}

impl InstallationToken {
    pub(crate) fn reaches(&self, state: &State, repo: &Repo) -> bool {
        let installed = state.installations.get(&self.installation).is_some_and(|one| one.covers(repo));
        installed && self.repositories.as_ref().is_none_or(|ids| ids.contains(&repo.id))
    }
}

fn unauthorized(why: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, why)
}

fn json_part(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl State {
    /// The App and its half behind a client id.
    pub(crate) fn github_app(&self, client_id: &str) -> Option<(&App, &GitHubAppSide)> {
        let app = self.apps.get(client_id)?;
        Some((app, app.github_app.as_ref()?))
    }

    /// Checks a JSON web token as GitHub docs say: RS256, `iat` in the past, `exp` within ten minutes, `iss` the client id
    /// or the App's number.
    pub(crate) fn caller_by_jwt(&self, token: &str) -> Result<Caller, ApiError> {
        let undecodable = || unauthorized("A JSON web token could not be decoded");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(undecodable)?;
        let (header, claims) = signed.split_once('.').ok_or_else(undecodable)?;
        let (header, claims) = json_part(header).zip(json_part(claims)).ok_or_else(undecodable)?;
        if header["alg"] != "RS256" {
            return Err(undecodable());
        }
        let number = claims["iss"].as_u64().or_else(|| claims["iss"].as_str()?.parse().ok());
        let issued_by = |(id, app): (&String, &App)| {
            let by_number = app.github_app.as_ref().is_some_and(|side| Some(side.id) == number);
            (by_number || claims["iss"] == id.as_str()).then(|| id.clone())
        };
        let client_id = self.apps.iter().find_map(issued_by);
        let client_id = client_id.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Integration not found"))?;
        let (_, side) = self.github_app(&client_id).ok_or_else(undecodable)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| undecodable())?;
        let signature = rsa::pkcs1v15::Signature::try_from(signature.as_slice()).map_err(|_| undecodable())?;
        let key = rsa::pkcs1v15::VerifyingKey::<rsa::sha2::Sha256>::new(side.key.clone());
        key.verify(signed.as_bytes(), &signature).map_err(|_| undecodable())?;
        let now_s = self.now_ms() / 1000;
        if claims["iat"].as_i64().is_none_or(|issued| issued > now_s) {
            let why = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
            return Err(unauthorized(why));
        }
        match claims["exp"].as_i64() {
            Some(expires) if expires > now_s + JWT_MAX_S => Err(unauthorized("'Expiration time' claim ('exp') is too far in the future")),
            Some(expires) if expires > now_s => Ok(Caller::App(client_id)),
            _ => {
                let why = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
                           assertion expires";
                Err(unauthorized(why))
            }
        }
    }

    /// The caller behind a token of an installation, when it is one.
    pub(crate) fn caller_by_installation_token(&self, value: &str) -> Option<Result<Caller, ApiError>> {
        let token = self.installation_tokens.iter().find(|token| token.value == value)?;
        let installation = self.installations.get(&token.installation)?;
        Some(if installation.suspended.is_some() {
            Err(ApiError::new(StatusCode::FORBIDDEN, "This installation has been suspended"))
        } else if token.expires_ms <= self.now_ms() {
            Err(unauthorized("Bad credentials"))
        } else {
            Ok(Caller::Installation(token.clone()))
        })
    }

    /// The permissions that a GitHub App has on a repository: outer `None` when no App asks, inner when it is not
    /// installed there.
    #[expect(clippy::option_option, reason = "no App and an App that is not installed are two things")]
    pub(crate) fn app_permissions<'a>(&'a self, repo: &Repo, caller: &'a Caller) -> Option<Option<&'a BTreeMap<String, String>>> {
        match caller {
            Caller::Installation(token) => Some(token.reaches(self, repo).then_some(&token.permissions)),
            Caller::App(_) => Some(None),
            Caller::User { app: Some(app), .. } if self.is_github_app(app) => {
                let mut installed = self.installations.values().filter(|one| one.app == *app && one.suspended.is_none());
                Some(installed.find(|one| one.covers(repo)).map(|one| &one.permissions))
            }
            Caller::Anonymous | Caller::User { .. } => None,
        }
    }

    /// Makes a token of an installation; it looks like one that no server has to remember, and is longer than forty
    /// characters.
    pub(crate) fn issue_installation_token(
        &mut self,
        installation: u64,
        repositories: Option<BTreeSet<u64>>,
        permissions: BTreeMap<String, String>,
    ) -> Option<InstallationToken> {
        let app = self.installations.get(&installation)?.app.clone();
        let number = self.github_app(&app)?.1.id;
        let expires_ms = self.now_ms() + TOKEN_LIFETIME_MS;
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "typ": "JWT", "alg": "ES256", "kid": random_hex(8) }));
        let claims = part(json!({ "iss": "github", "ins": installation, "exp": expires_ms / 1000, "jti": random_hex(16) }));
        let value = format!("ghs_{number}_{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(random_hex(32)));
        self.secrets.insert(value.clone());
        let token = InstallationToken { value, app, installation, repositories, permissions, expires_ms };
        self.installation_tokens.push(token.clone());
        Some(token)
    }
}

impl FakeGitHub {
    /// Registers a GitHub App with a fresh RSA key.
    pub fn github_app(&self, new: &NewGitHubApp<'_>) -> Result<GitHubApp> {
        let owner = self.account_id(new.owner);
        let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048)?;
        let pem = private.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF)?.to_string();
        let callback = new.callback.parse().with_context(|| format!("`{}` is no address", new.callback))?;
        let mut state = self.inner.state();
        let (id, now) = (state.next_id(), state.now_ms());
        let client_secret = state.new_secret("", 20);
        let webhook_secret = state.new_secret("", 16);
        let public = OAuthApp { client_id: format!("Iv23li{}", random_hex(7)), client_secret };
        let slug = new.name.to_lowercase().replace(' ', "-");
        let hook = new.hook_url.map(|url| {
            let events = new.events.iter().map(|event| (*event).to_owned()).collect();
            let secret = Some(webhook_secret.clone());
            let content_type = ContentType::Json;
            HookRow::new(Hook { id: 0, url: url.to_owned(), content_type, secret, insecure_ssl: "0".to_owned(), events, active: true }, now)
        });
        let mut permissions: BTreeMap<String, String> =
            new.permissions.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect();
        permissions.entry("metadata".to_owned()).or_insert_with(|| "read".to_owned());
        let side = GitHubAppSide { id, slug: slug.clone(), owner, key: private.to_public_key(), permissions, hook };
        let app = GitHubApp {
            app_id: id,
            slug,
            client_id: public.client_id.clone(),
            client_secret: public.client_secret.clone(),
            private_key: pem,
            webhook_secret,
        };
        let (name, life) = (new.name.to_owned(), TokenLife::EightHours);
        let row = App { public, name, callback, life, created_ms: now, github_app: Some(side) };
        state.apps.insert(app.client_id.clone(), row);
        Ok(app)
    }

    /// A person installs an App on an account (`repositories` empty: on all of them); returns the installation's id.
    pub fn install(&self, client_id: &str, account: &str, repositories: &[&str]) -> u64 {
        let ids: BTreeSet<u64> = repositories.iter().map(|name| self.repository_id(name)).collect();
        let account = self.account_id(account);
        let selection = if ids.is_empty() { Selection::All } else { Selection::Selected(ids) };
        self.inner.install(client_id, account, selection).unwrap_or_else(|| panic!("`{client_id}` is no GitHub App"))
    }

    /// A person uninstalls the App: its tokens die, keys and hooks made with them stay.
    pub fn uninstall(&self, installation: u64) {
        self.inner.tell_installation(installation, "deleted");
        let mut state = self.inner.state();
        state.installations.remove(&installation);
        state.installation_tokens.retain(|token| token.installation != installation);
    }

    /// An owner suspends the App: it is still listed, and every token is refused with 403.
    pub fn suspend_installation(&self, installation: u64) {
        {
            let mut state = self.inner.state();
            let now = state.now_ms();
            let row = state.installations.get_mut(&installation).unwrap_or_else(|| panic!("no installation `{installation}`"));
            row.suspended = Some((row.account, now));
        }
        self.inner.tell_installation(installation, "suspend");
    }

    /// An owner lets the App work again.
    pub fn unsuspend_installation(&self, installation: u64) {
        if let Some(row) = self.inner.state().installations.get_mut(&installation) {
            row.suspended = None;
        }
        self.inner.tell_installation(installation, "unsuspend");
    }

    /// A person selects these repositories in place of what was selected.
    pub fn select_repositories(&self, installation: u64, repositories: &[&str]) {
        let new: BTreeSet<u64> = repositories.iter().map(|name| self.repository_id(name)).collect();
        let before = {
            let mut state = self.inner.state();
            let before = state.installed_repositories(installation);
            if let Some(row) = state.installations.get_mut(&installation) {
                row.selection = Selection::Selected(new.clone());
            }
            before
        };
        self.inner.tell_selection(installation, &before, &new);
    }

    /// Tokens of an installation that were not revoked, oldest first.
    pub fn installation_tokens(&self, installation: u64) -> Vec<String> {
        let state = self.inner.state();
        let theirs = state.installation_tokens.iter().filter(|token| token.installation == installation);
        theirs.map(|token| token.value.clone()).collect()
    }

    /// What a token of an installation may do: permissions with their levels; `None` for one that is none of these.
    pub fn installation_token_permissions(&self, token: &str) -> Option<BTreeMap<String, String>> {
        let state = self.inner.state();
        state.installation_tokens.iter().find(|known| known.value == token).map(|known| known.permissions.clone())
    }
}

impl Inner {
    /// Installs an App and tells it.
    pub(super) fn install(self: &Arc<Self>, client_id: &str, account: u64, selection: Selection) -> Option<u64> {
        let id = {
            let mut state = self.state();
            let permissions = state.github_app(client_id)?.1.permissions.clone();
            let (id, created_ms) = (60_000_000 + state.next_id(), state.now_ms());
            let rate = Rate { limit: RATE_LIMIT, used: 0, reset_s: 0 };
            let app = client_id.to_owned();
            state.installations.insert(id, Installation { id, app, account, selection, permissions, created_ms, suspended: None, rate });
            id
        };
        self.tell_installation(id, "created");
        Some(id)
    }
}

impl State {
    /// Ids of the repositories that an installation reaches.
    pub(crate) fn installed_repositories(&self, installation: u64) -> BTreeSet<u64> {
        let Some(row) = self.installations.get(&installation) else { return BTreeSet::new() };
        self.repos.values().filter(|repo| row.covers(repo)).map(|repo| repo.id).collect()
    }
}
