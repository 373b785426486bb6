//! The e-mail address of an account: changed by who has the password, and theirs only when they read mail there.
//!
//! Invariant: an address stands with an account only after its one-time address was opened. It is for mail alone: nobody signs in with
//! it, nobody is found by it.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountKind, Scope, SecretToken, TokenKind};
use slipway_store::accounts::{self, Account};
use slipway_store::emails::{self, EmailConfirmation};

use crate::audit::{self, Change, Place};
use crate::mail::{self, Letter};
use crate::{Actor, App, Caller, Error, Refusal, RefusalKind};

const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Between two mails of one account to addresses that are not proven to be its own.
const PAUSE: Duration = Duration::from_secs(60);

impl App {
    /// Sends a one-time address to the new e-mail address; it becomes the account's when that is opened. The password is demanded of who
    /// has one.
    ///
    /// # Errors
    /// A refusal.
    pub async fn change_email(&self, caller: &Caller, email: &str, password: Option<&SecretString>) -> Result<(), Error> {
        caller.own_account()?;
        let address = mail::address(email)?.to_string();
        self.demand_mail()?;
        let proof = self.prove(caller, password, "password").await?;
        let (now, account) = (self.clock.now(), caller.account());
        let token = SecretToken::generate(TokenKind::Email);
        let mut tx = self.write().await?;
        proof.demand_still(&mut tx, account.id).await?;
        if let Some(waiting) = emails::get(&mut tx, account.id, now).await? {
            let again_at = waiting.expires_at.minus(LIFE).plus(PAUSE);
            if now < again_at {
                return Err(Refusal::new(RefusalKind::TooMany, "email_just_sent", "a mail was sent less than a minute ago")
                    .hint("look into the inbox, or try again in a minute")
                    .retry_after(again_at.since(now))
                    .into());
            }
        }
        let expires_at = now.plus(LIFE);
        emails::upsert(&mut tx, &token.hash(), &EmailConfirmation { account: account.id, email: address.clone(), expires_at }).await?;
        let link = self.address(&format!("/settings/email/confirm?token={}", token.expose()));
        let letter = Letter {
            to: address,
            subject: "Confirm your e-mail address for Slipway".to_owned(),
            text: format!(
                "Hello,\n\nthe account `{}` at {} wants to use this e-mail address.\n\nIf that was you, open this address within 24 hours:\n\n\
                 {link}\n\nIf it was not you, do nothing; then nothing changes.\n",
                account.name, self.config.public_url
            ),
            until: Some(expires_at),
            invitation: None,
        };
        self.post(&mut tx, &letter).await?;
        tx.commit().await?;
        self.mail_waits();
        Ok(())
    }

    /// Makes a confirmed address the account's, and tells the address before.
    ///
    /// # Errors
    /// One refusal for a token that is unknown, used, replaced or expired.
    pub async fn confirm_email(&self, token: &str) -> Result<Account, Error> {
        let refused = || {
            Error::from(
                Refusal::new(RefusalKind::Bad, "email_token", "this address was used already, has expired or is not ours")
                    .hint("change the e-mail address again under Settings"),
            )
        };
        let token = SecretToken::presented(TokenKind::Email, token).ok_or_else(refused)?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let confirmed = emails::take(&mut tx, &token.hash(), now).await?.ok_or_else(refused)?;
        let account = accounts::get(&mut tx, confirmed.account).await?.filter(|account| account.kind == AccountKind::User);
        let account = account.ok_or_else(refused)?;
        accounts::set_email(&mut tx, account.id, Some(&confirmed.email)).await?;
        let actor =
            Actor { account: Some(account.id), name: account.name.to_string(), via: "confirmed by mail".into(), address: String::new() };
        let change = Change::new("account.email", account.name.as_str()).old(json!(account.email)).now(json!(confirmed.email));
        audit::write(&mut tx, now, &actor, Place::Account(&account), change).await?;
        if let Some(former) = account.email.clone().filter(|former| *former != confirmed.email && self.sends_mail()) {
            let letter = Letter {
                to: former,
                subject: "Your e-mail address for Slipway was changed".to_owned(),
                text: format!(
                    "Hello,\n\nthe account `{}` at {} has another e-mail address now, so this was the last mail to this one.\n\n\
                     If that was not you, sign in, change your password and look at your sessions:\n\n{}\n",
                    account.name,
                    self.config.public_url,
                    self.address("/settings/security")
                ),
                until: None,
                invitation: None,
            };
            self.post(&mut tx, &letter).await?;
        }
        let account = accounts::get(&mut tx, account.id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.mail_waits();
        Ok(account)
    }

    /// The address that waits for its confirmation, if one does.
    ///
    /// # Errors
    /// A missing scope.
    pub async fn waiting_email(&self, caller: &Caller) -> Result<Option<EmailConfirmation>, Error> {
        caller.demand(Scope::Account)?;
        let mut tx = self.read().await?;
        Ok(emails::get(&mut tx, caller.account().id, self.clock.now()).await?)
    }
}
