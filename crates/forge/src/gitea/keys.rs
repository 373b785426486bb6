//! The deploy keys that we make at Gitea.
//!
//! Invariant: a key of ours can read and nothing else; one that stands there with the right to write is replaced.

use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{FullName, Gitea, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{RemoteKey, Removal};

/// Longer titles are cut by Gitea or refused.
const MAX_TITLE: usize = 50;

#[derive(Deserialize)]
struct Key {
    id: u64,
    title: String,
    key: String,
    #[serde(default)]
    read_only: bool,
}

impl From<Key> for RemoteKey {
    fn from(key: Key) -> Self {
        Self { id: key.id.to_string(), title: text::line(&key.title, 200), public_key: text::line(bare(&key.key), 4096) }
    }
}

/// A public key without its comment.
fn bare(key: &str) -> &str {
    let key = key.trim();
    let end = key.match_indices(' ').nth(1).map_or(key.len(), |(end, _)| end);
    &key[..end]
}

impl Gitea {
    fn keys_address(&self, full_name: FullName<'_>, id: Option<&str>) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, "keys"].into_iter().chain(id))
    }

    async fn read_keys(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<Key>, ForgeError> {
        self.list(token, &self.keys_address(full_name, None)).await?.whole()
    }

    pub(super) async fn list_keys(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<RemoteKey>, ForgeError> {
        Ok(self.read_keys(token, full_name).await?.into_iter().map(RemoteKey::from).collect())
    }

    pub(super) async fn make_key(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        title: &str,
        public_key: &str,
    ) -> Result<RemoteKey, ForgeError> {
        let mut keys = self.read_keys(token, full_name).await?;
        if let Some(at) = keys.iter().position(|key| bare(&key.key) == bare(public_key)) {
            let found = keys.swap_remove(at);
            if found.read_only {
                return Ok(found.into());
            }
            self.call(token, Method::DELETE, self.keys_address(full_name, Some(&found.id.to_string())), None).await?;
        }
        let title = free_title(title, bare(public_key), &keys);
        let body = json!({ "title": title, "key": bare(public_key), "read_only": true });
        match self.call(token, Method::POST, self.keys_address(full_name, None), Some(&body)).await {
            Ok(reply) => reply.json::<Key>().map(RemoteKey::from),
            Err(ForgeError::Unexpected { status: 422, detail }) if detail.contains("SSH is disabled") => {
                Err(ForgeError::Unsupported { detail: "this Gitea has SSH switched off, so it takes no deploy keys".to_owned(), url: None })
            }
            // Somebody made the same key since we looked.
            Err(error @ ForgeError::Unexpected { status: 422, .. }) => {
                let keys = self.read_keys(token, full_name).await?;
                let found = keys.into_iter().find(|key| key.read_only && bare(&key.key) == bare(public_key));
                found.map(RemoteKey::from).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_key(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_id(id) {
            return Ok(Removal::AlreadyGone);
        }
        // Gitea answers 204 for a key that is not there, so what went must be looked up before.
        let keys = self.read_keys(token, full_name).await?;
        if !keys.iter().any(|key| key.id.to_string() == id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Method::DELETE, self.keys_address(full_name, Some(id)), None).await {
            Ok(reply) => reply.removed(),
            Err(error) => Err(error),
        }
    }
}

/// Two keys of a repository cannot have one title, and while a key is being replaced there are two of ours.
fn free_title(title: &str, public_key: &str, keys: &[Key]) -> String {
    let title = text::line(title, MAX_TITLE);
    if !keys.iter().any(|key| key.title == title) {
        return title;
    }
    let last: String = public_key.chars().rev().take(8).collect();
    format!("{} {}", text::line(&title, MAX_TITLE - 9), last.chars().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_by_its_type_and_its_bytes() {
        assert_eq!(bare(" ssh-ed25519 AAAA you@host two words\n"), "ssh-ed25519 AAAA");
        assert_eq!(bare("ssh-ed25519 AAAA"), "ssh-ed25519 AAAA");
        assert_eq!(bare(""), "");
    }

    #[test]
    fn a_title_that_is_taken_gets_the_end_of_the_key() {
        let key = Key { id: 1, title: "Slipway".to_owned(), key: "ssh-ed25519 AAAA".to_owned(), read_only: true };
        assert_eq!(free_title("Slipway", "ssh-ed25519 AAAAC3NzaC1l", &[]), "Slipway");
        assert_eq!(free_title("Slipway", "ssh-ed25519 AAAAC3NzaC1l", &[key]), "Slipway C3NzaC1l");
    }
}
