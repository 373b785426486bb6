//! Who asks: a session or a token as a [`Caller`], and who they are for the audit log.
//!
//! Invariant: only `authorise` makes a caller, from a credential that the database knows at this moment.

use slipway_model::{AccountId, AccountKind, Scope, ScopeSet, SessionId, Timestamp, TokenId};
use slipway_store::accounts::Account;
use slipway_store::tokens::Token;
use slipway_store::{ReadTx, sessions, tokens};

use crate::{Error, Refusal, RefusalKind};

/// Through what a caller came.
#[derive(Clone, Debug)]
pub(super) enum Via {
    Session { id: SessionId, renewal: Renewal },
    Token { id: TokenId, scopes: ScopeSet, reach: Reach, expires_at: Option<Timestamp> },
}

/// Whether a session shall get a new id with its next page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Renewal {
    Due,
    NotDue,
}

/// For which repositories a token works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// For all that its account has a right over.
    All,
    /// For those that it names.
    Limited,
}

/// Who does something, as the audit log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account, when it is one.
    pub account: Option<AccountId>,
    /// Its name.
    pub name: String,
    /// Through what: `session`, ``token `ci` ``, `command line`.
    pub via: String,
    /// From which address; empty when there is none.
    pub address: String,
}

impl Actor {
    /// Whoever uses the program's commands on the machine itself.
    #[must_use]
    pub fn command_line() -> Self {
        Self { account: None, name: "administrator of the machine".into(), via: "command line".into(), address: String::new() }
    }

    /// Slipway itself, where nobody asked: what it found at a provider, or mended there.
    #[must_use]
    pub fn system() -> Self {
        Self { account: None, name: "slipway".into(), via: "by itself".into(), address: String::new() }
    }

    /// Somebody who is about to sign in, or just did.
    #[must_use]
    pub fn signing_in(account: &Account, address: &str) -> Self {
        Self { account: Some(account.id), name: account.name.to_string(), via: "sign-in".into(), address: address.to_owned() }
    }

    /// Whoever knows the secret address of a build trigger.
    #[must_use]
    pub(crate) fn trigger(name: &str, address: &str) -> Self {
        Self { account: None, name: "whoever has the address".into(), via: format!("trigger `{name}`"), address: address.to_owned() }
    }

    pub(super) fn stranger() -> Self {
        Self { account: None, name: "nobody".into(), via: "anonymous".into(), address: String::new() }
    }
}

/// A signed-in person or a token's bearer.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) account: Account,
    pub(super) via: Via,
    pub(super) actor: Actor,
}

/// What began an OAuth flow; only the same may finish it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Initiator(pub(crate) String);

impl Caller {
    /// The account: a user, a service account, or for an organization's token the organization.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The one who asks, for the audit log.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The session, when it is a browser.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.via {
            Via::Session { id, .. } => Some(id),
            Via::Token { .. } => None,
        }
    }

    /// The token, when it is a program.
    #[must_use]
    pub fn token(&self) -> Option<TokenId> {
        match self.via {
            Via::Session { .. } => None,
            Via::Token { id, .. } => Some(id),
        }
    }

    /// Whether the session shall get a new id with the next page, because the person's rights changed.
    #[must_use]
    pub fn session_renewal_due(&self) -> bool {
        matches!(self.via, Via::Session { renewal: Renewal::Due, .. })
    }

    /// What an OAuth flow is bound to.
    #[must_use]
    pub fn initiator(&self) -> Initiator {
        Initiator(match &self.via {
            Via::Session { id, .. } => format!("session:{id}"),
            Via::Token { id, .. } => format!("token:{id}"),
        })
    }

    /// Refuses a token that was not given the scope; a session has every scope.
    ///
    /// # Errors
    /// A refusal that names the scope.
    pub fn demand(&self, scope: Scope) -> Result<(), Error> {
        match &self.via {
            Via::Token { scopes, .. } if !scopes.allows(scope) => {
                let detail = format!("this token was not given the scope `{scope}`, it has `{scopes}`");
                Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail)
                    .hint("make a token with that scope under Settings, Access tokens")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses whoever is not a person: tokens of organizations, service accounts.
    ///
    /// # Errors
    /// A refusal.
    pub fn person(&self) -> Result<(), Error> {
        if self.account.kind == AccountKind::User {
            return Ok(());
        }
        let detail = format!("`{}` is no person, and this is left to people", self.account.name);
        Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", detail).hint("sign in, or use a personal access token").into())
    }

    /// The right of a person over their own account: its settings, tokens, sessions.
    ///
    /// # Errors
    /// A refusal for a missing scope, a limited token, and whoever is no person.
    pub(crate) fn own_account(&self) -> Result<(), Error> {
        self.demand(Scope::Account)?;
        self.demand_unlimited()?;
        self.person()
    }

    /// Refuses a token that works for some repositories only: what is asked for concerns all of a namespace.
    pub(crate) fn demand_unlimited(&self) -> Result<(), Error> {
        match self.limited_token() {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::new(RefusalKind::Forbidden, "token_limited", "this token works for the repositories that it names only")
                    .hint("make a token without a list of repositories")
                    .into())
            }
        }
    }

    /// What the credential could hand on: a session everything.
    pub(crate) fn limits(&self) -> Limits {
        match &self.via {
            Via::Session { id, .. } => Limits { scopes: ScopeSet::all(), until: None, credential: Credential::Session(*id) },
            Via::Token { id, scopes, expires_at, .. } => {
                Limits { scopes: scopes.clone(), until: *expires_at, credential: Credential::Token(*id) }
            }
        }
    }

    pub(super) fn limited_token(&self) -> Option<TokenId> {
        match self.via {
            Via::Token { id, reach: Reach::Limited, .. } => Some(id),
            _ => None,
        }
    }

    pub(super) fn of_token(account: Account, token: Token, address: &str) -> Self {
        let actor = Actor {
            account: Some(account.id),
            name: account.name.to_string(),
            via: format!("token `{}`", token.name),
            address: address.to_owned(),
        };
        let reach = if token.is_limited { Reach::Limited } else { Reach::All };
        Self { account, actor, via: Via::Token { id: token.id, scopes: token.scopes, reach, expires_at: token.expires_at } }
    }
}

/// What a credential could hand on: a token makes none that is stronger or lives longer than itself.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    scopes: ScopeSet,
    until: Option<Timestamp>,
    credential: Credential,
}

#[derive(Clone, Copy, Debug)]
enum Credential {
    Session(SessionId),
    Token(TokenId),
}

impl Limits {
    /// Refuses a new token that would be stronger or live longer than the credential that makes it.
    pub(crate) fn demand_within(&self, scopes: &ScopeSet, expires_at: Option<Timestamp>) -> Result<(), Error> {
        if let Some(scope) = scopes.iter().find(|scope| !self.scopes.allows(**scope)) {
            let detail =
                format!("a token cannot make one with the scope `{scope}`, which it does not have itself; it has `{}`", self.scopes);
            return Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail).hint("sign in and make the token there").into());
        }
        match self.until {
            Some(until) if expires_at.is_none_or(|at| at > until) => {
                let detail = format!("a token cannot make one that lives longer than itself; it ends at {until}");
                Err(Refusal::new(RefusalKind::Forbidden, "token_expiry", detail)
                    .field("expires_at")
                    .hint("name an earlier end, or sign in")
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a token that lacks a scope: what is asked for would give others, or another account, rights that it has not.
    pub(crate) fn demand_everything(&self) -> Result<(), Error> {
        if Scope::ALL.iter().all(|scope| self.scopes.allows(*scope)) {
            return Ok(());
        }
        let detail = format!("this hands rights on, so it needs a session or a token with every scope; the token has `{}`", self.scopes);
        Err(Refusal::new(RefusalKind::Forbidden, "scope_missing", detail).hint("sign in and do it there").into())
    }

    /// Refuses when the credential was revoked meanwhile.
    pub(crate) async fn demand_standing(&self, tx: &mut ReadTx, now: Timestamp) -> Result<(), Error> {
        let stands = match self.credential {
            Credential::Session(id) => sessions::stands(tx, id, now).await?,
            Credential::Token(id) => tokens::stands(tx, id, now).await?,
        };
        if stands {
            return Ok(());
        }
        Err(Refusal::new(RefusalKind::Unauthenticated, "credential_ended", "the session or token was ended a moment ago")
            .hint("sign in")
            .into())
    }
}
