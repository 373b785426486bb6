//! The deploy keys that we make at GitHub.
//!
//! Invariant: a key of ours can only read. A key is known again by its body, whatever its title says.

use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::wire::{Call, FEW_PAGES};
use super::{FullName, GitHub, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{RemoteKey, Removal};

const MAX_TITLE: usize = 100;
const MAX_KEY: usize = 2048;

#[derive(Deserialize)]
struct Key {
    id: u64,
    key: String,
    title: Option<String>,
    #[serde(default)]
    read_only: bool,
}

impl From<Key> for RemoteKey {
    fn from(key: Key) -> Self {
        Self {
            id: key.id.to_string(),
            title: text::line(&key.title.unwrap_or_default(), 200),
            public_key: body_of(&key.key).unwrap_or_else(|| text::line(&key.key, MAX_KEY)),
        }
    }
}

/// The kind and the body of an OpenSSH public key: what it is without its comment.
fn body_of(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let (kind, body) = (words.next()?, words.next()?);
    let fits = kind.len() + body.len() < MAX_KEY && kind.bytes().chain(body.bytes()).all(|b| b.is_ascii_graphic());
    fits.then(|| format!("{kind} {body}"))
}

impl GitHub {
    fn keys_address(&self, full_name: FullName<'_>, id: Option<&str>) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, "keys"].into_iter().chain(id))
    }

    async fn read_keys(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<Key>, ForgeError> {
        self.list(token, Call::manage(Method::GET, self.keys_address(full_name, None)), FEW_PAGES).await?.list.whole()
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
        let Some(body) = body_of(public_key) else {
            return Err(ForgeError::Misconfigured { detail: "the deploy key is no OpenSSH public key".to_owned() });
        };
        if let Some(adopted) = self.adopt_key(token, full_name, &body).await? {
            return Ok(adopted);
        }
        let wanted = json!({ "title": text::line(title, MAX_TITLE), "key": body, "read_only": true });
        match self.call(token, Call::manage(Method::POST, self.keys_address(full_name, None)).body(&wanted)).await {
            Ok(reply) => reply.json::<Key>().map(RemoteKey::from),
            Err(ForgeError::Unexpected { status: 422, detail }) if forbids_keys(&detail) => Err(ForgeError::Forbidden { detail }),
            // Made since we looked, or GitHub made it and its answer was lost. Otherwise it stands at another repository.
            Err(error @ ForgeError::Unexpected { status: 422, .. }) => self.adopt_key(token, full_name, &body).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The key that stands there already. One that could write goes: GitHub knows no change of a key.
    async fn adopt_key(&self, token: &SecretString, full_name: FullName<'_>, body: &str) -> Result<Option<RemoteKey>, ForgeError> {
        let found = self.read_keys(token, full_name).await?.into_iter().find(|key| body_of(&key.key).as_deref() == Some(body));
        match found {
            Some(key) if !key.read_only => {
                self.remove_key(token, full_name, &key.id.to_string()).await?;
                Ok(None)
            }
            found => Ok(found.map(RemoteKey::from)),
        }
    }

    pub(super) async fn remove_key(&self, token: &SecretString, full_name: FullName<'_>, id: &str) -> Result<Removal, ForgeError> {
        if !is_id(id) {
            return Ok(Removal::AlreadyGone);
        }
        match self.call(token, Call::manage(Method::DELETE, self.keys_address(full_name, Some(id)))).await {
            Ok(reply) => reply.removed(),
            // 404 is also what a person without rights gets. Only who may list the keys can know that one is gone.
            Err(ForgeError::NotFound) => {
                let keys = self.read_keys(token, full_name).await?;
                if keys.iter().any(|key| key.id.to_string() == id) { Err(ForgeError::NotFound) } else { Ok(Removal::AlreadyGone) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether an organization allows no deploy keys; GitHub tells it in words only.
fn forbids_keys(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    detail.contains("deploy keys") && (detail.contains("disabled") || detail.contains("not allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_body() {
        assert_eq!(body_of("ssh-ed25519 AAAA me@there\n").as_deref(), Some("ssh-ed25519 AAAA"));
        assert_eq!(body_of(" ssh-ed25519   AAAA ").as_deref(), Some("ssh-ed25519 AAAA"));
        for odd in ["", "ssh-ed25519", "ü AAAA", &format!("ssh-rsa {}", "A".repeat(3000))] {
            assert_eq!(body_of(odd), None, "{odd}");
        }
        assert!(forbids_keys("Validation Failed; Deploy keys are disabled for this repository"));
        assert!(!forbids_keys("Validation Failed; key is already in use"));
    }
}
