//! Sessions of browsers: begun, listed, ended, given new ids.
//!
//! Invariant: only a user has sessions. A new id at every sign-in and at every change of rights: a person's own change ends all other
//! sessions and gives this browser a new one at once; a change by others gives each session a new id with its next page.

use std::time::Duration;

use slipway_model::{AccountId, AccountKind, SecretToken, SessionId, TokenKind};
use slipway_store::accounts::{self, Account};
use slipway_store::sessions::{self, NewSession, Session};
use slipway_store::{WriteTx, identities, sign_in};

use crate::audit::{self, Change, Place};
use crate::{Actor, App, Caller, Error, Refusal, RefusalKind};

const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the id before the present one works: for requests that are under way when it changes.
const FORMER_LIFE: Duration = Duration::from_secs(60);
const USER_AGENT_CHARACTERS: usize = 200;

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

/// What is known of whoever signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// From which address.
    pub address: String,
    /// What the browser calls itself.
    pub user_agent: String,
}

impl ClientInfo {
    /// What the browser calls itself, cut and without control characters: people read it in a list.
    fn shown_agent(&self) -> String {
        self.user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARACTERS).collect()
    }
}

impl App {
    /// Begins a session for somebody who proved by other means who they are: the first administrator after setup, an invited person
    /// with their new account. Whoever may have a second factor goes through [`App::sign_in`].
    ///
    /// # Errors
    /// A refusal for an account that is no user's.
    pub async fn begin_session(&self, account: Account, client: &ClientInfo) -> Result<SignIn, Error> {
        let mut tx = self.write().await?;
        let sign_in = self.open_session(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(sign_in)
    }

    /// Begins a session as a part of a larger change.
    pub(crate) async fn open_session(&self, tx: &mut WriteTx, account: Account, client: &ClientInfo) -> Result<SignIn, Error> {
        let (id, sign_in) = self.insert_session(tx, account, client).await?;
        let actor = Actor::signing_in(&sign_in.account, &client.address);
        let change = Change::new("session.begin", id.to_string());
        audit::write(tx, self.clock.now(), &actor, Place::Account(&sign_in.account), change).await?;
        Ok(sign_in)
    }

    async fn insert_session(&self, tx: &mut WriteTx, account: Account, client: &ClientInfo) -> Result<(SessionId, SignIn), Error> {
        if account.kind != AccountKind::User {
            return Err(Refusal::new(RefusalKind::Forbidden, "needs_a_person", format!("nobody signs in as `{}`", account.name)).into());
        }
        let now = self.clock.now();
        let token = SecretToken::generate(TokenKind::Session);
        let user_agent = client.shown_agent();
        let new = NewSession {
            account: account.id,
            token: &token.hash(),
            address: &client.address,
            user_agent: &user_agent,
            expires_at: now.plus(LIFE),
        };
        let id = sessions::insert(tx, &new, now).await?;
        Ok((id, SignIn { account, token, life: LIFE }))
    }

    /// Ends what could still become a session or another way in: sign-ins that wait for their code, identities that are being added.
    /// Before the sessions, and with the account locked: what becomes a session meanwhile is ended with the sessions.
    pub(crate) async fn end_every_sign_in(tx: &mut WriteTx, account: AccountId) -> Result<(), Error> {
        accounts::lock(tx, account).await?;
        sign_in::delete_pending_of(tx, account).await?;
        identities::delete_flows_of(tx, account).await?;
        Ok(())
    }

    /// After a change of how one signs in: every session ends, sign-ins that wait too, and the browser that asked for it gets a new
    /// session. A token's bearer gets none.
    pub(crate) async fn restart_sessions(&self, tx: &mut WriteTx, caller: &Caller, client: &ClientInfo) -> Result<Option<SignIn>, Error> {
        let account = caller.account();
        Self::end_every_sign_in(tx, account.id).await?;
        sessions::delete_all(tx, account.id).await?;
        if caller.session().is_none() {
            return Ok(None);
        }
        let account = accounts::get(tx, account.id).await?.ok_or(Error::NotFound)?;
        let (_, sign_in) = self.insert_session(tx, account, client).await?;
        Ok(Some(sign_in))
    }

    /// Gives a session that is due for one ([`Caller::session_renewal_due`]) a new id; the one before works for another minute.
    /// `None` when another request was quicker.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn renew_session(&self, id: SessionId) -> Result<Option<SignIn>, Error> {
        let now = self.clock.now();
        let token = SecretToken::generate(TokenKind::Session);
        let mut tx = self.write().await?;
        let Some(session) = sessions::get(&mut tx, id, now).await? else { return Ok(None) };
        let Some(account) = accounts::get(&mut tx, session.account).await? else { return Ok(None) };
        if !sessions::renew(&mut tx, id, &token.hash(), now.plus(FORMER_LIFE)).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(SignIn { account, token, life: session.expires_at.since(now) }))
    }

    /// Ends the caller's session; a token's bearer has none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), Error> {
        let Some(session) = caller.session() else { return Ok(()) };
        let mut tx = self.write().await?;
        if sessions::delete(&mut tx, caller.account().id, session).await? {
            self.note_end(&mut tx, caller, &session.to_string()).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn note_end(&self, tx: &mut WriteTx, caller: &Caller, object: &str) -> Result<(), Error> {
        let change = Change::new("session.end", object);
        Ok(audit::write(tx, self.clock.now(), caller.actor(), Place::Account(caller.account()), change).await?)
    }

    /// The browsers that are signed in as the caller, the last begun first, at most 100.
    ///
    /// # Errors
    /// A refusal for whoever is no person or has not the scope.
    pub async fn list_sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        caller.own_account()?;
        let mut tx = self.read().await?;
        Ok(sessions::list(&mut tx, caller.account().id, self.clock.now()).await?)
    }

    /// Ends a session of the caller, from this moment on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not the caller's.
    pub async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), Error> {
        caller.own_account()?;
        let mut tx = self.write().await?;
        if !sessions::delete(&mut tx, caller.account().id, id).await? {
            return Err(Error::NotFound);
        }
        self.note_end(&mut tx, caller, &id.to_string()).await?;
        Ok(tx.commit().await?)
    }

    /// Ends every session of the caller but the one that asks, and sign-ins that wait for their second factor; gives how many sessions
    /// there were.
    ///
    /// # Errors
    /// A refusal for whoever is no person or has not the scope.
    pub async fn end_other_sessions(&self, caller: &Caller) -> Result<u64, Error> {
        caller.own_account()?;
        let account = caller.account().id;
        let mut tx = self.write().await?;
        Self::end_every_sign_in(&mut tx, account).await?;
        let ended = match caller.session() {
            Some(own) => sessions::delete_others(&mut tx, account, own).await?,
            None => sessions::delete_all(&mut tx, account).await?,
        };
        if ended > 0 {
            self.note_end(&mut tx, caller, &format!("{ended} others")).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }
}
