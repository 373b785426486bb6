//! Making an account oneself, where everybody may; and how every account comes to be that nobody made for somebody else.
//!
//! Invariant: a name is looked at again in the change that takes it. Deliberately elsewhere: invitations (`invitations`), accounts through
//! a provider (`oidc`).

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountKind, AccountName, Timestamp};
use slipway_store::accounts::{self, Account, NewAccount};
use slipway_store::{ReadTx, WriteTx};

use crate::accounts::parse_name;
use crate::audit::{self, Change, Place};
use crate::organizations::{demand_free, taken_meanwhile};
use crate::throttle::{self, Slowed};
use crate::{Actor, App, ClientInfo, Error, SignIn};

/// Whether people may make accounts without an invitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SignUp {
    /// Everybody may.
    Open,
    /// Only who was invited.
    #[default]
    Closed,
}

/// A name that somebody chose for their new account, or why it cannot be.
pub(crate) async fn claimed_name(tx: &mut ReadTx, name: &str) -> Result<AccountName, Error> {
    let name = parse_name(name)?;
    demand_free(tx, &name).await?;
    Ok(name)
}

/// Adds an account and the entry of the audit log that says how it came to be.
pub(crate) async fn add_account(
    tx: &mut WriteTx,
    name: &AccountName,
    password_hash: Option<&str>,
    how: (&'static str, String),
    address: &str,
    now: Timestamp,
) -> Result<Account, Error> {
    let new = NewAccount { password_hash, ..NewAccount::user(name) };
    let id = accounts::insert(tx, &new, now).await.map_err(|error| taken_meanwhile(error, name))?;
    let account = accounts::get(tx, id).await?.ok_or(Error::NotFound)?;
    let (key, value) = how;
    let change = Change::new("account.create", name.as_str()).now(json!({"kind": AccountKind::User.as_str(), key: value}));
    audit::write(tx, now, &Actor::signing_in(&account, address), Place::Account(&account), change).await?;
    Ok(account)
}

impl App {
    /// Whether people may make accounts without an invitation.
    #[must_use]
    pub fn sign_up_is_open(&self) -> bool {
        self.config.sign_up == SignUp::Open
    }

    /// Makes an account without an invitation, where everybody may, and signs in.
    ///
    /// # Errors
    /// [`Error::NotFound`] where sign-up is closed; a refusal for a name or password that cannot be;
    /// `too_many_attempts` for an address from which many accounts were made.
    pub async fn sign_up(&self, name: &str, password: &SecretString, client: &ClientInfo) -> Result<SignIn, Error> {
        if !self.sign_up_is_open() {
            return Err(Error::NotFound);
        }
        let slowed = Slowed::sign_ups(&client.address);
        let now = self.clock.now();
        // What is wrong with the name costs nothing to say; the hash costs.
        let mut tx = self.read().await?;
        throttle::look(&mut tx, std::slice::from_ref(&slowed), now).await?;
        claimed_name(&mut tx, name).await?;
        drop(tx);
        let mut tx = self.write().await?;
        throttle::count(&mut tx, &slowed, now).await?;
        tx.commit().await?;
        let hash = self.hash_password(password, "password").await?;
        let mut tx = self.write().await?;
        let name = claimed_name(&mut tx, name).await?;
        let account = add_account(&mut tx, &name, Some(&hash), ("by", "sign-up".to_owned()), &client.address, now).await?;
        let sign_in = self.open_session(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(sign_in)
    }
}
