//! Answers to what every check of a link asks for, with their ETags: a request that GitHub answers with 304 costs nothing of the allowance.
//!
//! Invariant: an answer is used again only when GitHub has just said, to the same token, that it still holds. What depends on a single
//! sign-on session is not kept: its header may change while the ETag stays.
//! Deliberately elsewhere: markers that outlive the process (`people`, `refs`); these are forgotten with it, and then asked for plainly.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use lru::LruCache;
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use url::Url;

use crate::http_client::Reply;

const MOST: NonZeroUsize = NonZeroUsize::new(1000).expect("a positive number");
/// Some thirty organizations. Longer answers are read plainly.
const MAX_BODY: usize = 32 * 1024;
/// The header in which GitHub tells of organizations that it left out, or of the session that they want.
pub(super) const SSO: &str = "x-github-sso";

/// SHA-256 of token and address: nothing in here is a secret.
type Key = [u8; 32];

/// The last answers of one provider, all tokens together; the least recently used goes.
pub(super) struct Remembered(Mutex<LruCache<Key, Reply>>);

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Remembered")
    }
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }

    pub(super) fn key(token: &SecretString, url: &Url) -> Key {
        Sha256::new().chain_update(token.expose_secret()).chain_update([0]).chain_update(url.as_str()).finalize().into()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Reply> {
        self.lock().get(key).cloned()
    }

    /// Keeps an answer that can be asked for by its ETag, instead of the one before.
    pub(super) fn keep(&self, key: Key, reply: &Reply) {
        let fits = reply.status == StatusCode::OK && reply.etag().is_some() && reply.header(SSO).is_none() && reply.body.len() <= MAX_BODY;
        // One that was cut on its way would be taken for whole for ever.
        if fits && serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok() {
            self.lock().put(key, reply.clone());
        } else {
            self.lock().pop(&key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Key, Reply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
