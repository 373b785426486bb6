//! Accounts: the first administrator, sign-in and sign-out, access tokens.
//!
//! Invariant: an unknown name and a wrong password cost the same and answer the same.

use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use secrecy::{ExposeSecret, SecretString};
use slipway_model::{AccountId, AccountName, Scope, ScopeSet, SecretHash, SecretToken, Timestamp, TokenId, TokenKind};
use slipway_store::StoreError;
use slipway_store::accounts::{self, Account, NewAccount, Token};

use crate::{App, Caller, Error, Refusal, RefusalKind};

const SESSION_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const SETUP_TOKEN: &str = "setup_token";
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// A session that was just made; its token goes into the cookie and nowhere else.
#[derive(Debug)]
pub struct SignIn {
    /// Who.
    pub account: Account,
    /// The cookie's value.
    pub token: SecretToken,
    /// How long the cookie lives.
    pub life: Duration,
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// Identity.
    pub id: TokenId,
    /// The secret, shown once.
    pub secret: SecretToken,
}

fn check_password(password: &SecretString) -> Result<(), Error> {
    let length = password.expose_secret().len();
    if PASSWORD_BYTES.contains(&length) {
        return Ok(());
    }
    Err(Error::invalid("password_length", "password", format!("the password has {length} bytes, expected 8 to 1024")))
}

fn hash(password: &SecretString) -> Result<String, Error> {
    // Defaults of the crate are OWASP's parameters for argon2id: 19 MiB, 2 passes, 1 lane.
    Argon2::default()
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| Error::Internal("the password cannot be hashed"))
}

impl App {
    async fn hash_password(&self, password: &SecretString) -> Result<String, Error> {
        check_password(password)?;
        let _permit = self.hashing.acquire().await.map_err(|_| Error::Internal("the service is shutting down"))?;
        let password = password.clone();
        tokio::task::spawn_blocking(move || hash(&password)).await.map_err(|_| Error::Internal("hashing was interrupted"))?
    }

    async fn verify_password(&self, password: &SecretString, stored: Option<String>) -> Result<bool, Error> {
        let _permit = self.hashing.acquire().await.map_err(|_| Error::Internal("the service is shutting down"))?;
        let password = password.clone();
        let verify = move || match stored {
            Some(stored) => PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()),
            // Nobody of that name: spend the same time.
            None => hash(&password).is_err(),
        };
        tokio::task::spawn_blocking(verify).await.map_err(|_| Error::Internal("hashing was interrupted"))
    }

    /// Makes a new one-time setup token when the installation has no account yet; any earlier one is void.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn begin_setup(&self) -> Result<Option<SecretToken>, Error> {
        let mut tx = self.write().await?;
        if accounts::count_accounts(&mut tx).await? > 0 {
            return Ok(None);
        }
        let token = SecretToken::generate(TokenKind::Setup);
        accounts::set_setting(&mut tx, SETUP_TOKEN, &token.hash().to_hex()).await?;
        tx.commit().await?;
        Ok(Some(token))
    }

    /// Whether a setup token is the one that is waited for.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn setup_waits_for(&self, token: &str) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        let expected: Option<SecretHash> = accounts::get_setting(&mut tx, SETUP_TOKEN).await?.and_then(|hex| hex.parse().ok());
        Ok(expected.zip(SecretToken::presented(TokenKind::Setup, token)).is_some_and(|(expected, token)| expected.matches(&token)))
    }

    /// Creates the first administrator and uses up the setup token.
    ///
    /// # Errors
    /// A refusal when the token is not the one, or a name or password that cannot be.
    pub async fn finish_setup(&self, token: &str, name: &str, email: Option<&str>, password: &SecretString) -> Result<Account, Error> {
        let refused = || {
            Error::from(
                Refusal::new(RefusalKind::Bad, "setup_token", "this setup address was used already or is not ours")
                    .hint("restart slipway to get a new one as long as there is no account"),
            )
        };
        if !self.setup_waits_for(token).await? {
            return Err(refused());
        }
        let name = parse_name(name)?;
        let password = self.hash_password(password).await?;
        let mut tx = self.write().await?;
        if accounts::count_accounts(&mut tx).await? > 0 || !accounts::delete_setting(&mut tx, SETUP_TOKEN).await? {
            return Err(refused());
        }
        let new = NewAccount { name: &name, email: clean_email(email)?, is_admin: true, password_hash: Some(&password) };
        let id = accounts::insert(&mut tx, &new, self.clock.now()).await?;
        let account = accounts::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(account)
    }

    /// Adds a user from the command line.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn add_user(&self, name: &str, role: Role, password: &SecretString) -> Result<AccountId, Error> {
        let name = parse_name(name)?;
        let password = self.hash_password(password).await?;
        let mut tx = self.write().await?;
        let new = NewAccount { name: &name, email: None, is_admin: role == Role::Administrator, password_hash: Some(&password) };
        let id = match accounts::insert(&mut tx, &new, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => return Err(Error::conflict("name_taken", format!("there is an account `{name}` already"))),
            other => other?,
        };
        accounts::delete_setting(&mut tx, SETUP_TOKEN).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Checks name and password and begins a session.
    ///
    /// # Errors
    /// One refusal for every cause.
    pub async fn sign_in(&self, name: &str, password: &SecretString, address: &str) -> Result<SignIn, Error> {
        let refused = || Error::from(Refusal::new(RefusalKind::Unauthenticated, "sign_in", "name or password is wrong"));
        let name: Option<AccountName> = name.parse().ok();
        let mut tx = self.read().await?;
        let account = match &name {
            Some(name) => accounts::get_by_name(&mut tx, name).await?,
            None => None,
        };
        let stored = match &account {
            Some(account) => accounts::get_password_hash(&mut tx, account.id).await?,
            None => None,
        };
        drop(tx);
        if password.expose_secret().len() > *PASSWORD_BYTES.end() || !self.verify_password(password, stored).await? {
            return Err(refused());
        }
        let account = account.ok_or_else(refused)?;
        self.begin_session(account, address).await
    }

    /// Begins a session without a password: after setup, for the person who just proved to be the first administrator.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn begin_session(&self, account: Account, address: &str) -> Result<SignIn, Error> {
        let now = self.clock.now();
        let token = SecretToken::generate(TokenKind::Session);
        let mut tx = self.write().await?;
        accounts::insert_session(&mut tx, account.id, &token.hash(), address, now, now.plus(SESSION_LIFE)).await?;
        tx.commit().await?;
        Ok(SignIn { account, token, life: SESSION_LIFE })
    }

    /// Ends the caller's session; a token's bearer has none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), Error> {
        let Some(session) = caller.session() else { return Ok(()) };
        let mut tx = self.write().await?;
        accounts::delete_session(&mut tx, session).await?;
        Ok(tx.commit().await?)
    }

    /// Makes an access token for the caller. A token cannot make one with scopes it does not have.
    ///
    /// # Errors
    /// A refusal.
    pub async fn create_token(
        &self,
        caller: &Caller,
        name: &str,
        scopes: &ScopeSet,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        caller.demand(Scope::Account)?;
        for scope in scopes.iter() {
            caller.demand(*scope)?;
        }
        self.create_token_for(caller.account().id, name, scopes, expires_at).await
    }

    /// Makes an access token for an account, from the command line.
    ///
    /// # Errors
    /// A refusal when there is no such account.
    pub async fn create_token_by_name(&self, account: &str, name: &str, scopes: &ScopeSet) -> Result<NewToken, Error> {
        let account = parse_name(account)?;
        let mut tx = self.read().await?;
        let found = accounts::get_by_name(&mut tx, &account).await?;
        drop(tx);
        let Some(found) = found else {
            let refusal = Refusal::new(RefusalKind::Invalid, "no_such_account", format!("there is no account `{account}`"));
            return Err(refusal.hint(format!("add it with `slipway admin user add {account} --password-file -`")).into());
        };
        self.create_token_for(found.id, name, scopes, None).await
    }

    async fn create_token_for(
        &self,
        account: AccountId,
        name: &str,
        scopes: &ScopeSet,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        let now = self.clock.now();
        let length = name.chars().count();
        if !(1..=100).contains(&length) || name.chars().any(char::is_control) {
            return Err(Error::invalid(
                "token_name",
                "name",
                format!("the name has {length} characters, expected 1 to 100 without control characters"),
            ));
        }
        if scopes.iter().next().is_none() {
            return Err(Error::invalid("token_scopes", "scopes", "the token has no scope, expected at least one"));
        }
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Error::invalid("token_expiry", "expires_at", "the token would have ended already"));
        }
        let secret = SecretToken::generate(TokenKind::Personal);
        let mut tx = self.write().await?;
        let id = accounts::insert_token(&mut tx, account, name, &secret.hash(), scopes, now, expires_at).await?;
        tx.commit().await?;
        Ok(NewToken { id, secret })
    }

    /// The caller's tokens, without their secrets.
    ///
    /// # Errors
    /// A missing scope.
    pub async fn list_tokens(&self, caller: &Caller) -> Result<Vec<Token>, Error> {
        caller.demand(Scope::Account)?;
        let mut tx = self.read().await?;
        Ok(accounts::list_tokens(&mut tx, caller.account().id).await?)
    }

    /// Revokes a token of the caller, from this moment on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not the caller's.
    pub async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Result<(), Error> {
        caller.demand(Scope::Account)?;
        let mut tx = self.write().await?;
        if !accounts::delete_token(&mut tx, caller.account().id, id).await? {
            return Err(Error::NotFound);
        }
        Ok(tx.commit().await?)
    }
}

/// What a user added from the command line may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Administers the installation.
    Administrator,
    /// Everybody else.
    User,
}

fn parse_name(name: &str) -> Result<AccountName, Error> {
    name.parse().map_err(|error: slipway_model::InvalidName| Error::invalid("name", "name", error.to_string()))
}

fn clean_email(email: Option<&str>) -> Result<Option<&str>, Error> {
    let Some(email) = email.map(str::trim).filter(|email| !email.is_empty()) else { return Ok(None) };
    let plausible = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if plausible { Ok(Some(email)) } else { Err(Error::invalid("email", "email", "this is no e-mail address")) }
}
