//! Passwords: argon2id at OWASP's parameters, off the async threads, bounded in number and in waiting.
//!
//! Invariant: a hash that began keeps its place until it ends, also when nobody waits for it any more; so connections that are
//! dropped and begun again cannot take more of the machine than the bound.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::{App, Error, Refusal, RefusalKind};

/// At once: each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 2;
/// In all, with those that wait: the last of them waits about a second.
const WAITING: usize = 48;
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(2);
const BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// The hash of nobody's password, with the parameters of every other: who has no password costs what everybody costs.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The places for work that takes much of the machine.
#[derive(Debug)]
pub(crate) struct Hashing {
    places: Arc<Semaphore>,
    queue: Semaphore,
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), queue: Semaphore::new(WAITING) }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _queued = self.queue.try_acquire().map_err(|_| {
            Refusal::new(RefusalKind::Unavailable, "sign_in_busy", "too many passwords are being checked at this moment")
                .hint("try again in a few seconds")
                .retry_after(RETRY_AFTER)
        })?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Error::Internal("the service is shutting down"))?;
        let work = move || {
            let result = work();
            drop(place);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal("hashing was interrupted"))
    }
}

fn check(password: &SecretString, field: &str) -> Result<(), Error> {
    let length = password.expose_secret().len();
    if BYTES.contains(&length) {
        return Ok(());
    }
    Err(Error::invalid("password_length", field, format!("the password has {length} bytes, expected 8 to 1024")))
}

fn hash(password: &SecretString) -> Result<String, Error> {
    // Defaults of the crate are OWASP's parameters for argon2id: 19 MiB, 2 passes, 1 lane.
    Argon2::default()
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| Error::Internal("the password cannot be hashed"))
}

fn verify(password: &SecretString, stored: Option<&str>) -> bool {
    let nobody = || PasswordHash::new(NOBODY).expect("a constant that a test parses");
    let (hash, is_somebody) = match stored.map(PasswordHash::new) {
        Some(Ok(hash)) => (hash, true),
        _ => (nobody(), false),
    };
    let matches = Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
    matches && is_somebody
}

impl App {
    /// The PHC string of a new password; `field` is what a refusal names.
    pub(crate) async fn hash_password(&self, password: &SecretString, field: &str) -> Result<String, Error> {
        check(password, field)?;
        let password = password.clone();
        self.hashing.run(move || hash(&password)).await?
    }

    /// Whether a password is the stored one. Without a stored one: never, at the same cost.
    pub(crate) async fn verify_password(&self, password: &SecretString, stored: Option<String>) -> Result<bool, Error> {
        // Nobody has such a one, so there is nothing to hide by hashing a megabyte.
        if password.expose_secret().len() > *BYTES.end() {
            return Ok(false);
        }
        let password = password.clone();
        self.hashing.run(move || verify(&password, stored.as_deref())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_costs_what_everybody_costs() {
        let somebody = hash(&"correct horse".to_owned().into()).unwrap();
        let parameters = |phc: &str| phc.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(parameters(NOBODY), parameters(&somebody));
        let (one, other) = (PasswordHash::new(NOBODY).unwrap(), PasswordHash::new(&somebody).unwrap());
        assert_eq!(one.hash.map(|hash| hash.len()), other.hash.map(|hash| hash.len()));
    }

    #[test]
    fn only_the_right_password_of_somebody_is_right() {
        let stored = hash(&"correct horse".to_owned().into()).unwrap();
        assert!(verify(&"correct horse".to_owned().into(), Some(&stored)));
        assert!(!verify(&"correct hors".to_owned().into(), Some(&stored)));
        assert!(!verify(&"correct horse".to_owned().into(), None));
        assert!(!verify(&"correct horse".to_owned().into(), Some("no hash")));
    }

    #[test]
    fn lengths() {
        assert!(check(&"1234567".to_owned().into(), "password").is_err());
        assert!(check(&"12345678".to_owned().into(), "password").is_ok());
        assert!(check(&"x".repeat(1024).into(), "password").is_ok());
        assert!(check(&"x".repeat(1025).into(), "password").is_err());
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_what_began_keeps_its_place() {
        let hashing = Arc::new(Hashing::new());
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let (hashing, gate) = (hashing.clone(), gate.clone());
            waiting.spawn(async move { hashing.run(move || gate.lock().unwrap().recv().unwrap()).await });
        }
        while hashing.queue.available_permits() > 0 || hashing.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = hashing.run(|| ()).await;
        assert!(matches!(&refused, Err(Error::Refused(refusal)) if refusal.code == "sign_in_busy"), "{refused:?}");
        // Everybody goes away; the two that began hold their places until they end.
        waiting.shutdown().await;
        assert_eq!((hashing.queue.available_permits(), hashing.places.available_permits()), (WAITING, 0));
        release.send(()).unwrap();
        release.send(()).unwrap();
        hashing.run(|| ()).await.unwrap();
        drop(release);
    }
}
