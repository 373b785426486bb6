//! Accounts: the first administrator, users from the command line, one's own name and password.
//!
//! Invariant: a change of how one signs in needs the password, or where there is none a sign-in of just now.
//! Deliberately elsewhere: signing in (`sign_in`), sessions, tokens, deletion, what administrators do with accounts (`people`).

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountId, AccountKind, AccountName, SecretHash, SecretToken, Timestamp, TokenKind, constant_time_eq};
use slipway_store::accounts::{self, Account, NewAccount};
use slipway_store::{ReadTx, StoreError, WriteTx, identities, second_factors, sessions};

use crate::audit::{self, Change, Place};
use crate::mail::MAX_ADDRESS as MAX_EMAIL;
use crate::organizations::{check_display_name, demand_free, taken_meanwhile};
use crate::throttle::{self, Slowed};
use crate::{Actor, App, Caller, ClientInfo, Error, Refusal, RefusalKind, SignIn};

const SETUP_TOKEN: &str = "setup_token";
/// Who has no password proves who they are by a sign-in that is not older.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// What a user may do with the installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Administers the installation.
    Administrator,
    /// Everybody else.
    User,
}

/// That the caller knew the password, or just signed in and has none.
pub(crate) struct Proof(Option<String>);

impl Proof {
    /// Refuses when the password became another one since it was checked.
    pub(crate) async fn demand_still(&self, tx: &mut ReadTx, account: AccountId) -> Result<(), Error> {
        let now = accounts::get_password_hash(tx, account).await?;
        let same = match (&self.0, &now) {
            (Some(checked), Some(now)) => constant_time_eq(checked.as_bytes(), now.as_bytes()),
            (checked, now) => checked.is_none() && now.is_none(),
        };
        if same { Ok(()) } else { Err(Error::conflict("password_changed", "the password was changed at the same moment")) }
    }
}

pub(crate) fn parse_name(name: &str) -> Result<AccountName, Error> {
    name.parse().map_err(|error: slipway_model::InvalidName| Error::invalid("name", "name", error.to_string()))
}

pub(crate) fn clean_email(email: Option<&str>) -> Result<Option<&str>, Error> {
    let Some(email) = email.map(str::trim).filter(|email| !email.is_empty()) else { return Ok(None) };
    if email.len() > MAX_EMAIL {
        let detail = format!("the e-mail address has {} bytes, expected at most {MAX_EMAIL}", email.len());
        return Err(Error::invalid("email", "email", detail));
    }
    let plausible = email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if plausible { Ok(Some(email)) } else { Err(Error::invalid("email", "email", "this is no e-mail address")) }
}

/// Adds an account, whose password is hashed already.
///
/// # Errors
/// A refusal when its name, or one that looks like it, is held by an account.
pub(crate) async fn insert_account(tx: &mut WriteTx, new: &NewAccount<'_>, now: Timestamp) -> Result<Account, Error> {
    demand_free(tx, new.name).await?;
    let id = accounts::insert(tx, new, now).await.map_err(|error| taken_meanwhile(error, new.name))?;
    accounts::get(tx, id).await?.ok_or(Error::NotFound)
}

/// Notes in the installation's log that there is a new account.
pub(crate) async fn note_created(tx: &mut WriteTx, now: Timestamp, actor: &Actor, account: &Account) -> Result<(), StoreError> {
    let facts = json!({"kind": account.kind, "administrator": account.is_admin});
    let change = Change::new("account.create", account.name.as_str()).now(facts);
    audit::write(tx, now, actor, Place::Installation, change).await
}

impl App {
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
        let email = clean_email(email)?;
        let password = self.hash_password(password, "password").await?;
        let mut tx = self.write().await?;
        if accounts::count_accounts(&mut tx).await? > 0 || !accounts::delete_setting(&mut tx, SETUP_TOKEN).await? {
            return Err(refused());
        }
        let new = NewAccount { email, is_admin: true, password_hash: Some(&password), ..NewAccount::user(&name) };
        let now = self.clock.now();
        let account = insert_account(&mut tx, &new, now).await?;
        let actor =
            Actor { account: Some(account.id), name: account.name.to_string(), via: "setup address".into(), address: String::new() };
        note_created(&mut tx, now, &actor, &account).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Adds a user from the command line.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn add_user(&self, name: &str, role: Role, password: &SecretString) -> Result<AccountId, Error> {
        let name = parse_name(name)?;
        let password = self.hash_password(password, "password").await?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let new = NewAccount { is_admin: role == Role::Administrator, password_hash: Some(&password), ..NewAccount::user(&name) };
        let account = insert_account(&mut tx, &new, now).await?;
        accounts::delete_setting(&mut tx, SETUP_TOKEN).await?;
        note_created(&mut tx, now, &Actor::command_line(), &account).await?;
        tx.commit().await?;
        Ok(account.id)
    }

    /// Lets a user in again who has lost the password or the second factor, or whose account somebody else got into, from the command
    /// line: a new password, no second factor, no identity at a provider, every session ended. Tokens stay: they have their own revocation.
    ///
    /// # Errors
    /// A refusal when there is no such user.
    pub async fn recover_user(&self, name: &str, password: &SecretString) -> Result<Account, Error> {
        let name = parse_name(name)?;
        let password = self.hash_password(password, "password").await?;
        let mut tx = self.write().await?;
        let found = accounts::find(&mut tx, &name).await?.filter(|account| account.kind == AccountKind::User);
        let Some(account) = found else {
            return Err(Refusal::new(RefusalKind::Invalid, "no_such_user", format!("there is no user `{name}`")).into());
        };
        Self::end_every_sign_in(&mut tx, account.id).await?;
        accounts::set_password_hash(&mut tx, account.id, &password).await?;
        let factor = second_factors::delete(&mut tx, account.id).await?;
        let identities = identities::delete_all(&mut tx, account.id).await?;
        sessions::delete_all(&mut tx, account.id).await?;
        throttle::clear(&mut tx, &Slowed::name(name.as_str())).await?;
        let change = Change::new("account.recover", account.name.as_str())
            .now(json!({"second_factor_removed": factor, "identities_removed": identities}));
        audit::write(&mut tx, self.clock.now(), &Actor::command_line(), Place::Account(&account), change).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Changes what people call the caller; nothing is the account's name.
    ///
    /// # Errors
    /// A refusal.
    pub async fn update_account(&self, caller: &Caller, display_name: &str) -> Result<Account, Error> {
        caller.own_account()?;
        let before = caller.account();
        let display_name = Some(check_display_name(display_name)?).filter(|text| !text.is_empty()).unwrap_or(before.name.as_str());
        let mut tx = self.write().await?;
        accounts::set_display_name(&mut tx, before.id, display_name).await?;
        let account = accounts::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("account.change", account.name.as_str())
            .old(json!({"display_name": before.display_name}))
            .now(json!({"display_name": account.display_name}));
        audit::write(&mut tx, self.clock.now(), caller.actor(), Place::Account(&account), change).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Whether the caller signs in with a password; pages then ask for it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn has_password(&self, caller: &Caller) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        Ok(accounts::get_password_hash(&mut tx, caller.account().id).await?.is_some())
    }

    /// Replaces the caller's password. Every other session ends; gives a browser's new session.
    ///
    /// # Errors
    /// A refusal: `password_wrong` for the current one, `password_length`; `sign_in_again` for who has none and signed in long ago.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: &SecretString,
        new: &SecretString,
        client: &ClientInfo,
    ) -> Result<Option<SignIn>, Error> {
        caller.own_account()?;
        let account = caller.account();
        let proof = self.prove(caller, Some(current), "current").await?;
        let hash = self.hash_password(new, "new").await?;
        let mut tx = self.write().await?;
        accounts::lock(&mut tx, account.id).await?;
        proof.demand_still(&mut tx, account.id).await?;
        accounts::set_password_hash(&mut tx, account.id, &hash).await?;
        let sign_in = self.restart_sessions(&mut tx, caller, client).await?;
        let change = Change::new("account.password", account.name.as_str());
        audit::write(&mut tx, self.clock.now(), caller.actor(), Place::Account(account), change).await?;
        tx.commit().await?;
        Ok(sign_in)
    }

    /// Demands the caller's password (`field` is what a refusal names), or of who has none a sign-in of just now. Guessing is slowed down.
    pub(crate) async fn prove(&self, caller: &Caller, password: Option<&SecretString>, field: &str) -> Result<Proof, Error> {
        let (account, now) = (caller.account(), self.clock.now());
        let slowed = Slowed::proofs(account.id);
        let mut tx = self.read().await?;
        let stored = accounts::get_password_hash(&mut tx, account.id).await?;
        let Some(stored) = stored else {
            let session = match caller.session() {
                Some(id) => sessions::get(&mut tx, id, now).await?,
                None => None,
            };
            if session.is_some_and(|session| now.since(session.created_at) <= RECENT) && account.kind == AccountKind::User {
                return Ok(Proof(None));
            }
            let detail = "this account has no password, so it needs a sign-in of the last 15 minutes";
            return Err(Refusal::new(RefusalKind::Forbidden, "sign_in_again", detail).hint("sign out, sign in and try again").into());
        };
        throttle::look(&mut tx, std::slice::from_ref(&slowed), now).await?;
        drop(tx);
        let wrong = |detail: &str| Error::invalid("password_wrong", field, detail);
        let password = password.ok_or_else(|| wrong("the password is missing"))?;
        let mut tx = self.write().await?;
        let counted = throttle::count(&mut tx, &slowed, now).await?;
        tx.commit().await?;
        let right = self.verify_password(password, Some(stored.clone())).await;
        let mut tx = self.write().await?;
        match right {
            Ok(true) => throttle::clear(&mut tx, &slowed).await?,
            Ok(false) => return Err(wrong("the password is wrong")),
            Err(error) => {
                throttle::forgive(&mut tx, &counted).await?;
                tx.commit().await?;
                return Err(error);
            }
        }
        tx.commit().await?;
        Ok(Proof(Some(stored)))
    }
}
