//! Access tokens: of people, of service accounts, of organizations.
//!
//! Invariants: a token never gives more than the account has and never more than whoever made it could give; the secret is shown once
//! and stored as a hash; a revoked token is worth nothing from the next request on.

use serde_json::json;
use slipway_model::{AccountId, AccountKind, Scope, ScopeSet, SecretToken, TeamName, Timestamp, TokenId, TokenKind};
use slipway_store::WriteTx;
use slipway_store::accounts::{self, Account};
use slipway_store::teams::{self, Membership};
use slipway_store::tokens::{self, NewToken as Row, Token};

use crate::audit::{self, Change, Place};
use crate::authorise::Limits;
use crate::{Actor, App, Caller, Error, OrganizationOwner, Refusal, RefusalKind};

const NAME_CHARACTERS: usize = 100;
const REPOSITORIES: usize = 100;
/// An account has at most this many tokens.
const TOKENS: u64 = 500;

/// A wish for a token.
#[derive(Clone, Debug)]
pub struct TokenWish {
    /// For people.
    pub name: String,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// The only repositories it works for, as `namespace/name`; `None` is all that the account has a right over.
    pub repositories: Option<Vec<String>>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// Identity.
    pub id: TokenId,
    /// The secret, shown once.
    pub secret: SecretToken,
}

/// A token without its secret.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// The token.
    pub token: Token,
    /// The only repositories it works for.
    pub repositories: Option<Vec<String>>,
    /// Who made it, by their name now; nobody for the command line and for people who are gone.
    pub created_by: Option<String>,
}

impl TokenWish {
    fn check(&self, now: Timestamp) -> Result<(), Error> {
        let length = self.name.chars().count();
        if !(1..=NAME_CHARACTERS).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(Error::invalid(
                "token_name",
                "name",
                format!("the name has {length} characters, expected 1 to {NAME_CHARACTERS} without control characters"),
            ));
        }
        if self.scopes.iter().next().is_none() {
            return Err(Error::invalid("token_scopes", "scopes", "the token has no scope, expected at least one"));
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::invalid("token_expiry", "expires_at", "the token would have ended already, expected a time to come"));
        }
        let Some(repositories) = &self.repositories else { return Ok(()) };
        if !(1..=REPOSITORIES).contains(&repositories.len()) {
            let detail = format!("the token names {} repositories, expected 1 to {REPOSITORIES}, or none for all", repositories.len());
            return Err(Error::invalid("token_repositories", "repositories", detail));
        }
        if self.scopes.iter().any(|scope| *scope == Scope::Account) {
            let detail = "the scope `account` concerns the whole account, so the token cannot be limited to repositories";
            return Err(Error::invalid("token_repositories", "repositories", detail));
        }
        Ok(())
    }
}

/// Who makes a token, and by which credential; none for the command line.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    actor: &'a Actor,
    limits: Option<Limits>,
}

impl<'a> Maker<'a> {
    /// Refuses a wish for more than the maker's own credential has.
    pub(crate) fn holding(actor: &'a Actor, limits: &Limits, wish: &TokenWish) -> Result<Self, Error> {
        limits.demand_within(&wish.scopes, wish.expires_at)?;
        Ok(Self { actor, limits: Some(limits.clone()) })
    }

    /// Whether the account is still what it was, and the maker still who may. Both are held until the transaction ends.
    async fn demand_still(&self, tx: &mut WriteTx, account: &Account, now: Timestamp) -> Result<(), Error> {
        accounts::lock(tx, account.id).await?;
        let current = accounts::get(tx, account.id).await?.ok_or(Error::NotFound)?;
        if current.kind != account.kind {
            return Err(Error::NotFound);
        }
        let Some(limits) = &self.limits else { return Ok(()) };
        limits.demand_standing(tx, now).await?;
        let maker = self.actor.account.ok_or(Error::NotFound)?;
        let may = match account.kind {
            AccountKind::User => maker == account.id,
            AccountKind::Organization => {
                if let Some(owners) = teams::get_by_name(tx, account.id, &TeamName::owners()).await? {
                    teams::lock(tx, owners.id).await?;
                }
                teams::membership(tx, account.id, maker).await? == Some(Membership::Owner)
            }
            AccountKind::Service => accounts::get(tx, maker).await?.is_some_and(|maker| maker.is_admin),
        };
        if may { Ok(()) } else { Err(Error::NotFound) }
    }
}

impl App {
    /// Makes an access token for the caller. A token cannot make one with scopes it does not have, or one that lives longer.
    ///
    /// # Errors
    /// A refusal.
    pub async fn create_token(&self, caller: &Caller, wish: &TokenWish) -> Result<NewToken, Error> {
        caller.own_account()?;
        let maker = Maker::holding(caller.actor(), &caller.limits(), wish)?;
        self.create_token_for(caller.account(), &maker, Place::Account(caller.account()), wish).await
    }

    /// Makes an access token for an account, from the command line.
    ///
    /// # Errors
    /// A refusal when there is no such account.
    pub async fn create_token_by_name(&self, account: &str, name: &str, scopes: &ScopeSet) -> Result<NewToken, Error> {
        let account = crate::accounts::parse_name(account)?;
        let mut tx = self.read().await?;
        let found = accounts::get_by_name(&mut tx, &account).await?;
        drop(tx);
        let Some(found) = found else {
            let refusal = Refusal::new(RefusalKind::Invalid, "no_such_account", format!("there is no account `{account}`"));
            return Err(refusal.hint(format!("add it with `slipway admin user add {account} --password-file -`")).into());
        };
        let wish = TokenWish { name: name.to_owned(), scopes: scopes.clone(), repositories: None, expires_at: None };
        let actor = Actor::command_line();
        self.create_token_for(&found, &Maker { actor: &actor, limits: None }, Place::Account(&found), &wish).await
    }

    /// Makes a token that acts as `account`. Whoever calls it has checked that the maker may; that it still may is asked again here,
    /// in the transaction: a token that is made while its account is converted or its maker put out would outlive both.
    pub(crate) async fn create_token_for(
        &self,
        account: &Account,
        maker: &Maker<'_>,
        place: Place<'_>,
        wish: &TokenWish,
    ) -> Result<NewToken, Error> {
        let now = self.clock.now();
        wish.check(now)?;
        let repositories = match &wish.repositories {
            Some(paths) => Some(self.repository_ids(account, paths).await?),
            None => None,
        };
        let secret = SecretToken::generate(TokenKind::Personal);
        let mut tx = self.write().await?;
        maker.demand_still(&mut tx, account, now).await?;
        if tokens::count_tokens(&mut tx, account.id).await? >= TOKENS {
            return Err(Error::conflict("too_many_tokens", format!("`{}` has {TOKENS} tokens already; revoke some first", account.name)));
        }
        let row = Row {
            account: account.id,
            created_by: maker.actor.account,
            name: &wish.name,
            hash: &secret.hash(),
            scopes: &wish.scopes,
            repositories: repositories.as_deref(),
            expires_at: wish.expires_at,
        };
        let id = tokens::insert(&mut tx, &row, now).await?;
        let facts = json!({"scopes": wish.scopes.to_string(), "repositories": wish.repositories, "expires_at": wish.expires_at});
        let change = Change::new("token.create", format!("{} of {}", wish.name, account.name)).now(facts);
        audit::write(&mut tx, now, maker.actor, place, change).await?;
        tx.commit().await?;
        Ok(NewToken { id, secret })
    }

    pub(crate) async fn list_tokens_of(&self, account: AccountId) -> Result<Vec<TokenView>, Error> {
        let mut tx = self.read().await?;
        let mut views = Vec::new();
        for token in tokens::list(&mut tx, account).await? {
            let repositories = if token.is_limited { Some(tokens::list_repositories(&mut tx, token.id).await?) } else { None };
            let created_by = match token.created_by {
                Some(by) => accounts::get(&mut tx, by).await?.map(|account| account.name.to_string()),
                None => None,
            };
            views.push(TokenView { token, repositories, created_by });
        }
        Ok(views)
    }

    pub(crate) async fn revoke_token_of(&self, account: &Account, actor: &Actor, place: Place<'_>, id: TokenId) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let name = tokens::delete(&mut tx, account.id, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("token.revoke", format!("{name} of {}", account.name));
        audit::write(&mut tx, self.clock.now(), actor, place, change).await?;
        Ok(tx.commit().await?)
    }

    /// The caller's tokens, without their secrets.
    ///
    /// # Errors
    /// A missing scope.
    pub async fn list_tokens(&self, caller: &Caller) -> Result<Vec<TokenView>, Error> {
        caller.own_account()?;
        self.list_tokens_of(caller.account().id).await
    }

    /// Revokes a token of the caller, from this moment on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not the caller's.
    pub async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Result<(), Error> {
        caller.own_account()?;
        self.revoke_token_of(caller.account(), caller.actor(), Place::Account(caller.account()), id).await
    }

    /// Makes a token that acts as the organization.
    ///
    /// # Errors
    /// A refusal; organizations' tokens make no tokens.
    pub async fn create_organization_token(&self, owner: &OrganizationOwner, wish: &TokenWish) -> Result<NewToken, Error> {
        owner.person()?;
        let maker = Maker::holding(owner.actor(), owner.limits(), wish)?;
        self.create_token_for(owner.account(), &maker, Place::Account(owner.account()), wish).await
    }

    /// The organization's tokens, without their secrets.
    ///
    /// # Errors
    /// A refusal.
    pub async fn list_organization_tokens(&self, owner: &OrganizationOwner) -> Result<Vec<TokenView>, Error> {
        owner.person()?;
        self.list_tokens_of(owner.account().id).await
    }

    /// Revokes a token of the organization, from this moment on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not the organization's.
    pub async fn revoke_organization_token(&self, owner: &OrganizationOwner, id: TokenId) -> Result<(), Error> {
        owner.person()?;
        self.revoke_token_of(owner.account(), owner.actor(), Place::Account(owner.account()), id).await
    }
}
