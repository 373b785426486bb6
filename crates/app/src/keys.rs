//! The installation's key, and what is derived from it: sealing of stored secrets (AES-256-GCM-SIV) and signing of registry tokens.
//!
//! Invariant: a sealed value opens only in the row and column it was sealed for. The associated data is length-prefixed and
//! begins with its purpose, so two different places never share it.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hkdf::Hkdf;
use rand::Rng;
use sha2::Sha256;

use crate::Error;

/// Sealed bytes as the database holds them: version, nonce, ciphertext with tag.
pub type Sealed = Vec<u8>;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// Keys derived from the secret key file.
pub struct Keys {
    sealing: Aes256GcmSiv,
    registry: [u8; 32],
}

fn associated_data(place: &[&str]) -> Vec<u8> {
    let mut data = b"slipway sealed value v1".to_vec();
    for part in place {
        data.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

impl Keys {
    /// Derives all keys from the 32 bytes of the key file.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(b"slipway"), secret);
        let derive = |purpose: &[u8]| {
            let mut key = [0_u8; 32];
            hkdf.expand(purpose, &mut key).expect("32 bytes are a valid length for HKDF with SHA-256");
            key
        };
        Self { sealing: Aes256GcmSiv::new(&derive(b"sealing v1").into()), registry: derive(b"registry tokens v1") }
    }

    /// Seals a secret for one place: table and column, then the row's identity.
    #[must_use]
    pub fn seal(&self, place: &[&str], secret: &[u8]) -> Sealed {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self
            .sealing
            .encrypt(&Nonce::from(nonce), Payload { msg: secret, aad: &associated_data(place) })
            .expect("AES-GCM-SIV refuses only messages over 64 GiB");
        [&[VERSION][..], &nonce, &sealed].concat()
    }

    /// Opens what was sealed for the same place with the same key.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let body = sealed.strip_prefix(&[VERSION]).ok_or(Error::Sealed)?;
        let (nonce, ciphertext) = body.split_first_chunk::<NONCE_BYTES>().ok_or(Error::Sealed)?;
        self.sealing.decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: &associated_data(place) }).map_err(|_| Error::Sealed)
    }

    pub(crate) fn open_text(&self, place: &[&str], sealed: &[u8]) -> Result<secrecy::SecretString, Error> {
        String::from_utf8(self.open(place, sealed)?).map(Into::into).map_err(|_| Error::Sealed)
    }

    pub(crate) fn registry_key(&self) -> &[u8; 32] {
        &self.registry
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sealed_value_opens_only_at_its_place_with_its_key() {
        let keys = Keys::derive(&[7; 32]);
        let sealed = keys.seal(&["links.access_token", "row-1"], b"secret");
        assert_eq!(keys.open(&["links.access_token", "row-1"], &sealed).unwrap(), b"secret");
        assert!(keys.open(&["links.access_token", "row-2"], &sealed).is_err());
        assert!(keys.open(&["links.refresh_token", "row-1"], &sealed).is_err());
        // The same characters, divided otherwise, are another place.
        assert!(keys.open(&["links.access_tokenr", "ow-1"], &sealed).is_err());
        assert!(Keys::derive(&[8; 32]).open(&["links.access_token", "row-1"], &sealed).is_err());
        for cut in [0, 1, 5, 13, sealed.len() - 1] {
            assert!(keys.open(&["links.access_token", "row-1"], &sealed[..cut]).is_err());
        }
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, keys.seal(&["links.access_token", "row-1"], b"secret"));
    }

    /// Short parts of few characters, zeros and lengths among them: what one place ends with, another may begin with.
    fn place() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[ab\\x00\\x01]{0,3}", 0..5)
    }

    fn bytes_of(place: &[String]) -> Vec<u8> {
        associated_data(&place.iter().map(String::as_str).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn no_two_places_share_their_associated_data(one in place(), other in place()) {
            prop_assert_eq!(bytes_of(&one) == bytes_of(&other), one == other);
        }

        /// The same characters, divided otherwise.
        #[test]
        fn where_a_place_is_divided_counts(text in "[ab\\x00]{0,12}", one in 0..13_usize, other in 0..13_usize) {
            let divided = |at: usize| { let (left, right) = text.split_at(at.min(text.len())); vec![left.to_owned(), right.to_owned()] };
            let (one, other) = (divided(one), divided(other));
            prop_assert_eq!(bytes_of(&one) == bytes_of(&other), one == other);
            prop_assert_ne!(bytes_of(&one), bytes_of(std::slice::from_ref(&text)));
        }
    }
}
