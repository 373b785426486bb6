//! Signing in with name and password, and where it is on with a code.
//!
//! Invariants: an unknown name, a wrong password, an organization, a service account and an account without password cost the same and
//! answer the same. Every try is counted before it is made (`throttle`). A session exists only after the last factor.

use std::time::Duration;

use secrecy::SecretString;
use slipway_model::{AccountId, AccountKind, AccountName, SecretToken, TokenKind, constant_time_eq};
use slipway_store::accounts::{self, Account};
use slipway_store::sign_in::{self, PendingSignIn as Waiting};
use slipway_store::{ReadTx, WriteTx, second_factors};

use crate::second_factor::{self, CodeUse};
use crate::throttle::{self, Counted, Slowed};
use crate::{App, ClientInfo, Error, Refusal, RefusalKind, SignIn};

/// How long the code may take after the password.
const PENDING_LIFE: Duration = Duration::from_secs(600);
/// So many codes may be tried after one password.
const PENDING_TRIES: u64 = 5;

/// A right password of an account whose second factor is still to come; the token goes into a cookie of its own.
#[derive(Debug)]
pub struct PendingSignIn {
    /// The cookie's value, for [`App::finish_sign_in`].
    pub token: SecretToken,
    /// How long the cookie lives.
    pub life: Duration,
}

/// How far a sign-in came.
#[derive(Debug)]
pub enum SignedIn {
    /// To its end.
    Session(SignIn),
    /// To the question for a code.
    SecondFactor(PendingSignIn),
}

fn refused() -> Error {
    Refusal::new(RefusalKind::Unauthenticated, "sign_in", "name or password is wrong").into()
}

fn no_such_sign_in() -> Error {
    Refusal::new(RefusalKind::Unauthenticated, "sign_in_expired", "this sign-in has expired or was tried too often")
        .hint("begin again with name and password")
        .into()
}

/// Whom a name stands for, as far as signing in goes.
struct Claimed {
    account: Option<Account>,
    password: Option<String>,
}

impl Claimed {
    /// Asks the same questions whether there is somebody of the name or not.
    async fn find(tx: &mut ReadTx, name: &str) -> Result<Self, Error> {
        let name: Option<AccountName> = name.parse().ok();
        let account = match &name {
            Some(name) => accounts::get_by_name(tx, name).await?,
            None => None,
        };
        let account = account.filter(|account| account.kind == AccountKind::User);
        let id = account.as_ref().map_or_else(AccountId::new, |account| account.id);
        let password = accounts::get_password_hash(tx, id).await?;
        Ok(Self { account, password })
    }

    /// Whether the password is still the one that was checked.
    async fn still_stands(&self, tx: &mut ReadTx) -> Result<bool, Error> {
        let (Some(account), Some(checked)) = (&self.account, &self.password) else { return Ok(false) };
        let now = accounts::get_password_hash(tx, account.id).await?;
        Ok(now.is_some_and(|now| constant_time_eq(now.as_bytes(), checked.as_bytes())))
    }
}

impl App {
    /// Checks name and password and begins a session, or asks for the second factor.
    ///
    /// # Errors
    /// One refusal for every cause (`sign_in`); `too_many_attempts` for whoever has to wait first; `sign_in_busy` in a flood.
    pub async fn sign_in(&self, name: &str, password: &SecretString, client: &ClientInfo) -> Result<SignedIn, Error> {
        let (by_address, by_name) = (Slowed::address(&client.address), Slowed::name(name));
        let mut tx = self.read().await?;
        throttle::look(&mut tx, &[by_address.clone(), by_name.clone()], self.clock.now()).await?;
        let claimed = Claimed::find(&mut tx, name).await?;
        drop(tx);
        let counted = self.count_try(&by_address, &by_name).await?;
        let right = match self.verify_password(password, claimed.password.clone()).await {
            Ok(right) => right,
            Err(error) => {
                // Nothing was tried: the flood that this is about must not bar whoever came in good faith.
                self.take_back(&[counted.0, counted.1]).await?;
                return Err(error);
            }
        };
        if !right {
            metrics::counter!("slipway_sign_ins_failed_total").increment(1);
            tracing::info!(address = %client.address, "a sign-in failed");
            return Err(refused());
        }
        let account = claimed.account.clone().ok_or_else(refused)?;
        let mut tx = self.write().await?;
        // Held: a password or second factor that changes now either is seen here, or ends the session that begins here.
        accounts::lock(&mut tx, account.id).await?;
        if !claimed.still_stands(&mut tx).await? {
            return Err(refused());
        }
        throttle::forgive(&mut tx, &counted.0).await?;
        throttle::clear(&mut tx, &by_name).await?;
        let signed_in = self.sign_in_proven(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Counts a try for the address and for the name, always in this order: two tries never wait for each other in a ring.
    async fn count_try(&self, by_address: &Slowed, by_name: &Slowed) -> Result<(Counted, Counted), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let counted = (throttle::count(&mut tx, by_address, now).await?, throttle::count(&mut tx, by_name, now).await?);
        tx.commit().await?;
        Ok(counted)
    }

    async fn take_back(&self, counted: &[Counted]) -> Result<(), Error> {
        let mut tx = self.write().await?;
        for one in counted {
            throttle::forgive(&mut tx, one).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Goes on with somebody whose first factor was right, a password or an identity at a provider: to the second where it is on, else
    /// to a session. The account is locked already.
    pub(crate) async fn sign_in_proven(&self, tx: &mut WriteTx, account: Account, client: &ClientInfo) -> Result<SignedIn, Error> {
        let on = second_factors::get(tx, account.id).await?.is_some_and(|factor| factor.confirmed_at.is_some());
        if !on {
            return Ok(SignedIn::Session(self.open_session(tx, account, client).await?));
        }
        let token = SecretToken::generate(TokenKind::SignIn);
        sign_in::insert_pending(tx, account.id, &token.hash(), self.clock.now().plus(PENDING_LIFE)).await?;
        Ok(SignedIn::SecondFactor(PendingSignIn { token, life: PENDING_LIFE }))
    }

    /// Whether a sign-in waits for its code: a page asks before it shows the field.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sign_in_waits(&self, pending: &SecretToken) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        Ok(sign_in::pending_stands(&mut tx, &pending.hash(), PENDING_TRIES, self.clock.now()).await?)
    }

    /// Finishes what [`App::sign_in`] left open, with a code of the authenticator or a recovery code.
    ///
    /// # Errors
    /// `second_factor` for a wrong or used code, `code_length` for what is no code, `sign_in_expired` when the sign-in waits no more (the person begins again),
    /// `too_many_attempts` for an account whose codes are being guessed.
    pub async fn finish_sign_in(&self, pending: &SecretToken, code: &str, client: &ClientInfo) -> Result<SignIn, Error> {
        second_factor::demand_code_length(code)?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        // The account before the sign-in, as whoever ends all of them does: neither waits for the other in a ring.
        let account = sign_in::get_pending_account(&mut tx, &pending.hash()).await?.ok_or_else(no_such_sign_in)?;
        accounts::lock(&mut tx, account).await?;
        let found = sign_in::try_pending(&mut tx, &pending.hash(), PENDING_TRIES, now).await?;
        let Waiting { id, account, tries } = found.ok_or_else(no_such_sign_in)?;
        let slowed = Slowed::codes(account);
        throttle::count(&mut tx, &slowed, now).await?;
        let account = accounts::get(&mut tx, account).await?.ok_or_else(no_such_sign_in)?;
        match self.use_code(&mut tx, account.id, code, now).await? {
            CodeUse::Wrong => {
                tx.commit().await?;
                metrics::counter!("slipway_sign_ins_failed_total").increment(1);
                tracing::info!(address = %client.address, "the code of a sign-in was wrong");
                return Err(if tries >= PENDING_TRIES { no_such_sign_in() } else { wrong_code(RefusalKind::Unauthenticated) });
            }
            CodeUse::Authenticator | CodeUse::Recovery => {}
        }
        if !sign_in::delete_pending(&mut tx, id).await? {
            return Err(no_such_sign_in());
        }
        throttle::clear(&mut tx, &slowed).await?;
        let sign_in = self.open_session(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(sign_in)
    }
}

pub(crate) fn wrong_code(kind: RefusalKind) -> Error {
    Refusal::new(kind, "second_factor", "the code is wrong, too old or was used before")
        .field("code")
        .hint("type the code that the authenticator shows now, or a recovery code")
        .into()
}
