//! Deploy keys; Bitbucket's pages call them access keys. They only ever read.
//!
//! Invariant: a key is known again by its type and its base64, never by its label.
//! Every change of our OAuth consumer at Bitbucket ends the keys that were made through it, and nothing tells us: a clone that is
//! refused is what shows it.

use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{Bitbucket, FullName};
use crate::error::ForgeError;
use crate::text;
use crate::types::{RemoteKey, Removal};

/// 1,000 keys.
const MAX_PAGES: usize = 10;

#[derive(Deserialize)]
struct Key {
    id: u64,
    key: String,
    label: Option<String>,
}

impl From<Key> for RemoteKey {
    fn from(key: Key) -> Self {
        Self { id: key.id.to_string(), title: text::line(&key.label.unwrap_or_default(), 200), public_key: without_comment(&key.key) }
    }
}

/// `ssh-ed25519 AAAA...`
fn without_comment(key: &str) -> String {
    text::line(&key.split_whitespace().take(2).collect::<Vec<_>>().join(" "), 2048)
}

/// Whether the text can be the id of a key.
fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

impl Bitbucket {
    pub(super) async fn list_keys(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteKey>, ForgeError> {
        let url = self.list_address(["repositories", full_name.workspace, full_name.slug, "deploy-keys"]);
        Ok(self.list::<Key>(token, url, MAX_PAGES).await?.whole()?.into_iter().map(RemoteKey::from).collect())
    }

    pub(super) async fn make_key(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        title: &str,
        public_key: &str,
    ) -> Result<RemoteKey, ForgeError> {
        if let Some(found) = self.find_key(token, full_name, public_key).await? {
            return Ok(found);
        }
        let url = self.repository_address([full_name.workspace, full_name.slug, "deploy-keys"]);
        match self.call(token, Method::POST, url, Some(&json!({ "key": public_key, "label": title }))).await {
            Ok(reply) => self.read_object::<Key>(token, &reply).map(RemoteKey::from),
            // Somebody made the same key since we looked, or Bitbucket made it and its answer was lost.
            Err(error @ ForgeError::Unexpected { status: 400 | 409, .. }) => {
                self.find_key(token, full_name, public_key).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn find_key(&self, token: &SecretString, full_name: FullName<'_>, public_key: &str) -> Result<Option<RemoteKey>, ForgeError> {
        let wanted = without_comment(public_key);
        Ok(self.list_keys(token, full_name).await?.into_iter().find(|key| key.public_key == wanted))
    }

    pub(super) async fn remove_key(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_number(id) {
            return Ok(Removal::AlreadyGone);
        }
        let url = self.repository_address([full_name.workspace, full_name.slug, "deploy-keys", id]);
        match self.call(token, Method::DELETE, url, None).await {
            Ok(reply) => reply.removed(),
            // As with webhooks: only who may list the keys can know that one is gone.
            Err(ForgeError::NotFound) => {
                let keys = self.list_keys(token, full_name).await?;
                if keys.iter().any(|key| key.id == id) { Err(ForgeError::NotFound) } else { Ok(Removal::AlreadyGone) }
            }
            Err(error) => Err(error),
        }
    }
}
