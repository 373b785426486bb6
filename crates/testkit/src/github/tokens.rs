//! Apps and what they hold: codes, access tokens, refresh tokens, and how each of them dies.
//! Invariant: a token lives in one row; whatever ends it (expiry, refresh, reset, revocation) goes through here, and a
//! revoked OAuth token takes the deploy keys with it that it made.
//! Deliberately elsewhere: pages and the exchange (`oauth`), tokens of installations (`apps`).

use std::collections::BTreeSet;

use super::access::Caller;
use super::apps::GitHubAppSide;
use super::state::{State, random_hex};
use super::types::{CredentialKind, KeyMaker, OAuthApp, TokenLife};

/// How long an authorization code lives (GitHub docs, "Authorizing OAuth apps": 10 minutes).
const CODE_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// GitHub keeps ten tokens for one user, app and scope; the eleventh revokes the oldest.
const TOKENS_PER_GRANT: usize = 10;
/// GitHub docs, "Refreshing user access tokens": eight hours.
pub(crate) const ACCESS_LIFETIME_S: i64 = 8 * 3600;
/// GitHub docs, same page: six months, told as this many seconds.
pub(crate) const REFRESH_LIFETIME_S: i64 = 15_897_600;

/// A registered OAuth app, or a GitHub App, whose people link by the same pages.
pub(crate) struct App {
    pub(crate) public: OAuthApp,
    pub(crate) name: String,
    pub(crate) callback: url::Url,
    pub(crate) life: TokenLife,
    pub(crate) created_ms: i64,
    pub(crate) github_app: Option<GitHubAppSide>,
}

/// An authorization code that waits for its exchange.
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) user: u64,
    pub(crate) scopes: Vec<String>,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<String>,
    pub(crate) life: TokenLife,
    pub(crate) expires_ms: i64,
}

/// What a new token is made for; `app` is empty for a personal one.
pub(crate) struct NewToken {
    pub(crate) user: u64,
    pub(crate) app: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) life: TokenLife,
}

/// An access token with its refresh token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) value: String,
    pub(crate) user: u64,
    pub(crate) app: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) refresh: Option<Refresh>,
    /// Kept over refresh and reset: whose deploy keys these are.
    pub(crate) lineage: u64,
    /// Organizations with SAML that this token was authorized for.
    pub(crate) sso: BTreeSet<u64>,
}

/// A refresh token.
#[derive(Clone)]
pub(crate) struct Refresh {
    pub(crate) value: String,
    pub(crate) expires_ms: i64,
}

impl Token {
    pub(crate) fn lives(&self, now_ms: i64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

impl State {
    /// Stores a new code and returns it.
    pub(crate) fn issue_code(&mut self, mut code: Code) -> String {
        code.expires_ms = self.now_ms() + CODE_LIFETIME_MS;
        let value = random_hex(10);
        self.codes.insert(value.clone(), code);
        value
    }

    fn prefix(&self, app: Option<&str>) -> &'static str {
        match app {
            None => "ghp_",
            Some(id) if self.apps.get(id).is_some_and(|app| app.github_app.is_some()) => "ghu_",
            Some(_) => "gho_",
        }
    }

    /// A new secret, remembered for ever so that a leak of it is found.
    pub(crate) fn new_secret(&mut self, prefix: &str, bytes: usize) -> String {
        let value = format!("{prefix}{}", random_hex(bytes));
        self.secrets.insert(value.clone());
        value
    }

    /// Makes a token and, as GitHub does, revokes the oldest of more than ten for the same scopes.
    pub(crate) fn issue_token(&mut self, new: NewToken) -> Token {
        let (id, now) = (self.next_id(), self.now_ms());
        let value = self.new_secret(self.prefix(new.app.as_deref()), 18);
        let (expires_ms, refresh) = match new.life {
            TokenLife::Unlimited => (None, None),
            TokenLife::EightHours => {
                let refresh = Refresh { value: self.new_secret("ghr_", 38), expires_ms: now + REFRESH_LIFETIME_S * 1000 };
                (Some(now + ACCESS_LIFETIME_S * 1000), Some(refresh))
            }
        };
        let sso = self.saml_sessions.iter().filter(|(user, _)| *user == new.user).map(|(_, organization)| *organization).collect();
        let NewToken { user, app, scopes, .. } = new;
        let token = Token { id, value, user, app, scopes, created_ms: now, updated_ms: now, expires_ms, refresh, lineage: id, sso };
        self.tokens.push(token.clone());
        if token.app.is_some() {
            let same = |other: &&Token| other.user == token.user && other.app == token.app && other.scopes == token.scopes;
            let same: Vec<String> = self.tokens.iter().filter(same).map(|other| other.value.clone()).collect();
            if same.len() > TOKENS_PER_GRANT {
                self.revoke_token(&same[0]);
            }
        }
        token
    }

    /// Exchanges a refresh token: both old tokens die, the grant and its deploy keys stay.
    pub(crate) fn refresh(&mut self, client_id: &str, value: &str) -> Option<Token> {
        let now = self.now_ms();
        let index = self.tokens.iter().position(|token| {
            let alive = token.refresh.as_ref().is_some_and(|refresh| refresh.value == value && now < refresh.expires_ms);
            alive && token.app.as_deref() == Some(client_id)
        })?;
        let old = self.tokens.remove(index);
        let new = NewToken { user: old.user, app: old.app, scopes: old.scopes, life: TokenLife::EightHours };
        let id = self.issue_token(new).id;
        let row = self.tokens.iter_mut().find(|token| token.id == id)?;
        (row.lineage, row.sso) = (old.lineage, old.sso);
        Some(row.clone())
    }

    /// Gives a token a new value; everything else about it stays, its expiry too.
    pub(crate) fn reset_token(&mut self, id: u64) {
        let now = self.now_ms();
        let app = self.tokens.iter().find(|token| token.id == id).and_then(|token| token.app.clone());
        let value = self.new_secret(self.prefix(app.as_deref()), 18);
        if let Some(token) = self.tokens.iter_mut().find(|token| token.id == id) {
            token.value = value;
            token.updated_ms = now;
        }
    }

    /// One token dies, and with it the deploy keys that it made.
    pub(crate) fn revoke_token(&mut self, value: &str) {
        let Some(index) = self.tokens.iter().position(|token| token.value == value) else { return };
        let dead = self.tokens.remove(index);
        self.delete_keys_of(|lineage| lineage == dead.lineage);
    }

    /// All tokens that a person gave an app die, with the grant and with the deploy keys made by them. Hooks stay.
    pub(crate) fn revoke_grant(&mut self, user: u64, client_id: &str) {
        self.tokens.retain(|token| !(token.user == user && token.app.as_deref() == Some(client_id)));
        self.grants.remove(&(user, client_id.to_owned()));
        self.codes.retain(|_, code| !(code.user == user && code.client_id == client_id));
        let maker = KeyMaker::OAuthApp(client_id.to_owned());
        for repo in self.repos.values_mut() {
            repo.keys.retain(|key| !(key.added_by == user && key.public.maker == maker));
        }
    }

    /// The caller behind a token of a person.
    pub(crate) fn caller_by_token(&self, value: &str) -> Option<Caller> {
        let now = self.now_ms();
        let token = self.tokens.iter().find(|token| token.value == value && token.lives(now))?;
        Some(Caller::User { id: token.user, scopes: token.scopes.clone(), app: token.app.clone(), token: Some(token.id) })
    }

    /// What kind of thing a secret is, by what was ever given out.
    pub(crate) fn kind_of(&self, value: &str) -> CredentialKind {
        match value.get(..4) {
            _ if value.split('.').count() == 3 && !value.starts_with("ghs_") => CredentialKind::AppJwt,
            _ if !self.secrets.contains(value) => CredentialKind::Unknown,
            Some("gho_" | "ghu_") => CredentialKind::OAuth,
            Some("ghp_") => CredentialKind::Personal,
            Some("ghs_") => CredentialKind::Installation,
            _ => CredentialKind::Unknown,
        }
    }
}
