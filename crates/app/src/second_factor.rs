//! The second factor of an account: set up with a picture, confirmed with a code, asked for at every sign-in, with codes for the day
//! on which the telephone is gone.
//!
//! Invariants: the secret is stored sealed for its account and shown once; recovery codes are stored hashed and shown once; each code
//! works once; whoever changes any of it proves the password, and what is on also by a code.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway_model::{AccountId, Timestamp};
use slipway_store::{ReadTx, StoreError, WriteTx, accounts, second_factors};

use crate::audit::{self, Change, Place};
use crate::sign_in::wrong_code;
use crate::throttle::{self, Slowed};
use crate::totp::{self, TotpSecret};
use crate::{App, Caller, ClientInfo, Error, Refusal, RefusalKind, SignIn};

const SECRET: &str = "second_factors.secret";
const RECOVERY_CODES: usize = 10;
/// 80 bits: 16 characters in base 32.
const RECOVERY_BYTES: usize = 10;
const RECOVERY_CHARACTERS: usize = 16;
/// As it may be typed, with blanks and dashes.
const MAX_CODE: usize = 32;

/// How the second factor stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecondFactorState {
    /// Nothing is asked for.
    Off,
    /// It was begun and waits for its first code; nothing is asked for yet.
    Waiting,
    /// A code is asked for at every sign-in.
    On,
}

/// The second factor of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecondFactor {
    /// How it stands.
    pub state: SecondFactorState,
    /// How many recovery codes were not used yet.
    pub codes_left: u32,
}

/// What goes into the authenticator, shown once.
pub struct Enrolment {
    /// To be typed.
    pub secret_base32: String,
    /// The same as an `otpauth://` address.
    pub uri: String,
    /// The same as a picture: an `<svg>` element.
    pub qr_svg: String,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enrolment([redacted])")
    }
}

/// What a code turned out to be; it is used up unless it was wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CodeUse {
    Wrong,
    Authenticator,
    Recovery,
}

/// Codes as people type them: blanks, dashes and capital letters do not matter.
fn typed(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').take(MAX_CODE).collect::<String>().to_ascii_lowercase()
}

/// Refuses what is longer than any code with all its blanks and dashes, before it counts as a try.
pub(crate) fn demand_code_length(code: &str) -> Result<(), Error> {
    match code.chars().count() {
        0..=MAX_CODE => Ok(()),
        length => {
            let detail = format!("the code has {length} characters, expected at most {MAX_CODE}");
            Err(Error::invalid("code_length", "code", detail))
        }
    }
}

/// Bound to the account, so that equal hashes would not even tell of equal codes.
fn recovery_hash(account: AccountId, code: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"slipway recovery code v1");
    hash.update(account.as_bytes());
    hash.update(code.as_bytes());
    hex::encode(hash.finalize())
}

/// `abcd-efgh-ijkl-mnop`, as it is shown.
fn generate_recovery_code() -> String {
    let mut bytes = [0_u8; RECOVERY_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    let code = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
    let groups: Vec<&str> = (0..RECOVERY_CHARACTERS).step_by(4).map(|at| &code[at..at + 4]).collect();
    groups.join("-")
}

fn not_on() -> Error {
    Refusal::new(RefusalKind::Conflict, "second_factor_off", "no second factor is on").into()
}

fn on_already() -> Error {
    Refusal::new(RefusalKind::Conflict, "second_factor_on", "a second factor is on already")
        .hint("turn it off first to move to another authenticator")
        .into()
}

async fn is_on(tx: &mut ReadTx, account: AccountId) -> Result<bool, StoreError> {
    Ok(second_factors::get(tx, account).await?.is_some_and(|factor| factor.confirmed_at.is_some()))
}

impl App {
    /// Uses a code of an account, of the authenticator or for recovery.
    pub(crate) async fn use_code(&self, tx: &mut WriteTx, account: AccountId, code: &str, now: Timestamp) -> Result<CodeUse, Error> {
        let code = typed(code);
        let Some(factor) = second_factors::get(tx, account).await?.filter(|factor| factor.confirmed_at.is_some()) else {
            return Ok(CodeUse::Wrong);
        };
        if totp::is_code(&code) {
            let secret = self.open_secret(account, &factor.secret_sealed)?;
            let Some(step) = secret.step_of(&code, now) else { return Ok(CodeUse::Wrong) };
            let fresh = second_factors::use_step(tx, account, step).await?;
            return Ok(if fresh { CodeUse::Authenticator } else { CodeUse::Wrong });
        }
        if code.len() == RECOVERY_CHARACTERS && second_factors::use_recovery_code(tx, account, &recovery_hash(account, &code), now).await? {
            return Ok(CodeUse::Recovery);
        }
        Ok(CodeUse::Wrong)
    }

    fn open_secret(&self, account: AccountId, sealed: &[u8]) -> Result<TotpSecret, Error> {
        Ok(TotpSecret::from_bytes(self.keys.open(&[SECRET, &account.to_string()], sealed)?))
    }

    /// Ten new recovery codes; the ones before are void.
    async fn write_recovery_codes(tx: &mut WriteTx, account: AccountId) -> Result<Vec<String>, StoreError> {
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| generate_recovery_code()).collect();
        let hashes: Vec<String> = codes.iter().map(|code| recovery_hash(account, &typed(code))).collect();
        second_factors::replace_recovery_codes(tx, account, &hashes).await?;
        Ok(codes)
    }

    /// How the caller's second factor stands.
    ///
    /// # Errors
    /// A refusal for whoever is no person or has not the scope.
    pub async fn second_factor(&self, caller: &Caller) -> Result<SecondFactor, Error> {
        caller.own_account()?;
        let account = caller.account().id;
        let mut tx = self.read().await?;
        let state = match second_factors::get(&mut tx, account).await? {
            None => SecondFactorState::Off,
            Some(factor) if factor.confirmed_at.is_none() => SecondFactorState::Waiting,
            Some(_) => SecondFactorState::On,
        };
        let codes_left = second_factors::count_recovery_codes(&mut tx, account).await?;
        Ok(SecondFactor { state, codes_left: u32::try_from(codes_left).unwrap_or(u32::MAX) })
    }

    /// Makes a secret for the authenticator. It asks for nothing until [`App::confirm_second_factor`]; beginning again makes another one.
    ///
    /// # Errors
    /// A refusal: `password_wrong`, `second_factor_on`.
    pub async fn begin_second_factor(&self, caller: &Caller, password: &SecretString) -> Result<Enrolment, Error> {
        caller.own_account()?;
        let proof = self.prove(caller, Some(password), "password").await?;
        let account = caller.account();
        let secret = TotpSecret::generate();
        let issuer = format!("Slipway {}", self.config.public_url.host_str().unwrap_or_default());
        let uri = secret.uri(issuer.trim(), account.name.as_str());
        let picture = totp::qr_svg(&uri)?;
        let sealed = self.keys.seal(&[SECRET, &account.id.to_string()], secret.bytes());
        let mut tx = self.write().await?;
        proof.demand_still(&mut tx, account.id).await?;
        if !second_factors::begin(&mut tx, account.id, &sealed, self.clock.now()).await? {
            return Err(on_already());
        }
        tx.commit().await?;
        Ok(Enrolment {
            secret_base32: secret.base32().expose_secret().to_owned(),
            uri: uri.expose_secret().to_owned(),
            qr_svg: picture.expose_secret().to_owned(),
        })
    }

    /// Turns the second factor on with a first code. All other sessions end. Gives the recovery codes, shown once, and a browser's new session.
    ///
    /// # Errors
    /// A refusal: `second_factor` for a wrong code, `second_factor_off` when none was begun, `second_factor_on`.
    pub async fn confirm_second_factor(
        &self,
        caller: &Caller,
        code: &str,
        client: &ClientInfo,
    ) -> Result<(Vec<String>, Option<SignIn>), Error> {
        caller.own_account()?;
        let (account, now) = (caller.account(), self.clock.now());
        demand_code_length(code)?;
        let slowed = Slowed::codes(account.id);
        let mut tx = self.write().await?;
        accounts::lock(&mut tx, account.id).await?;
        throttle::count(&mut tx, &slowed, now).await?;
        let factor = second_factors::get(&mut tx, account.id).await?.ok_or_else(not_on)?;
        if factor.confirmed_at.is_some() {
            return Err(on_already());
        }
        let secret = self.open_secret(account.id, &factor.secret_sealed)?;
        let Some(step) = secret.step_of(&typed(code), now) else {
            tx.commit().await?;
            return Err(wrong_code(RefusalKind::Invalid));
        };
        if !second_factors::confirm(&mut tx, account.id, &factor.secret_sealed, step, now).await? {
            return Err(on_already());
        }
        throttle::clear(&mut tx, &slowed).await?;
        let codes = Self::write_recovery_codes(&mut tx, account.id).await?;
        let sign_in = self.restart_sessions(&mut tx, caller, client).await?;
        let change = Change::new("second_factor.on", account.name.as_str());
        audit::write(&mut tx, now, caller.actor(), Place::Account(account), change).await?;
        tx.commit().await?;
        Ok((codes, sign_in))
    }

    /// Turns the second factor off. All other sessions end; gives a browser's new session.
    ///
    /// # Errors
    /// A refusal: `password_wrong`, `second_factor` for a wrong code, `second_factor_off`.
    pub async fn end_second_factor(
        &self,
        caller: &Caller,
        password: &SecretString,
        code: &str,
        client: &ClientInfo,
    ) -> Result<Option<SignIn>, Error> {
        caller.own_account()?;
        let (account, now) = (caller.account(), self.clock.now());
        let mut tx = self.prove_fully(caller, password, code).await?;
        second_factors::delete(&mut tx, account.id).await?;
        let sign_in = self.restart_sessions(&mut tx, caller, client).await?;
        let change = Change::new("second_factor.off", account.name.as_str());
        audit::write(&mut tx, now, caller.actor(), Place::Account(account), change).await?;
        tx.commit().await?;
        Ok(sign_in)
    }

    /// Makes ten new recovery codes, shown once; the ones before are void.
    ///
    /// # Errors
    /// As [`App::end_second_factor`].
    pub async fn new_recovery_codes(&self, caller: &Caller, password: &SecretString, code: &str) -> Result<Vec<String>, Error> {
        caller.own_account()?;
        let (account, now) = (caller.account(), self.clock.now());
        let mut tx = self.prove_fully(caller, password, code).await?;
        let codes = Self::write_recovery_codes(&mut tx, account.id).await?;
        let change = Change::new("recovery_codes.new", account.name.as_str()).now(json!({"codes": codes.len()}));
        audit::write(&mut tx, now, caller.actor(), Place::Account(account), change).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Proves the password and a code; gives the change in which the code was used, to go on with.
    async fn prove_fully(&self, caller: &Caller, password: &SecretString, code: &str) -> Result<WriteTx, Error> {
        demand_code_length(code)?;
        let proof = self.prove(caller, Some(password), "password").await?;
        let (account, now) = (caller.account().id, self.clock.now());
        let slowed = Slowed::codes(account);
        let mut tx = self.write().await?;
        accounts::lock(&mut tx, account).await?;
        proof.demand_still(&mut tx, account).await?;
        if !is_on(&mut tx, account).await? {
            return Err(not_on());
        }
        throttle::count(&mut tx, &slowed, now).await?;
        if self.use_code(&mut tx, account, code, now).await? == CodeUse::Wrong {
            tx.commit().await?;
            return Err(wrong_code(RefusalKind::Invalid));
        }
        throttle::clear(&mut tx, &slowed).await?;
        Ok(tx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recovery_codes_are_random_and_typed_in_many_ways() {
        let (one, other) = (generate_recovery_code(), generate_recovery_code());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.matches('-').count()), (19, 3));
        let shouted = one.to_uppercase().replace('-', " ");
        assert_eq!(typed(&one), typed(&shouted));
        assert_eq!(typed(&one).len(), RECOVERY_CHARACTERS);
        assert_eq!(typed(" 123 456\n"), "123456");
        assert_eq!(typed(&"9".repeat(10_000)).len(), MAX_CODE);
    }

    #[test]
    fn a_recovery_code_is_hashed_for_its_account() {
        let (ada, bob) = (AccountId::new(), AccountId::new());
        assert_eq!(recovery_hash(ada, "x"), recovery_hash(ada, "x"));
        assert_ne!(recovery_hash(ada, "x"), recovery_hash(bob, "x"));
        assert_ne!(recovery_hash(ada, "x"), recovery_hash(ada, "y"));
    }

    fn account() -> impl Strategy<Value = AccountId> {
        // Ids whose last bytes are those with which a code begins.
        "[0-9a-f]{24}(61|62){4}".prop_map(|digits| digits.parse().expect("32 digits are an id"))
    }

    proptest! {
        #[test]
        fn what_is_hashed_tells_account_and_code_apart(one in account(), other in account(), a in "[ab]{0,6}", b in "[ab]{0,6}") {
            prop_assert_eq!(recovery_hash(one, &a) == recovery_hash(other, &b), (one, &a) == (other, &b));
            prop_assert_eq!(recovery_hash(one, &a) == recovery_hash(one, &b), a == b);
        }
    }
}
