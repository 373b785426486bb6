//! Build statuses of commits at Bitbucket.
//!
//! Invariant: one context has one key, whatever its length: the same key overwrites, so an answer that was lost makes no second status.

use http::Method;
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use slipway_model::CommitId;

use super::{Bitbucket, FullName};
use crate::error::ForgeError;
use crate::text;
use crate::types::{CommitState, CommitStatus};

/// Bitbucket refuses longer ones.
const MAX_KEY: usize = 40;

fn word(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "INPROGRESS",
        CommitState::Success => "SUCCESSFUL",
        CommitState::Failure => "FAILED",
        CommitState::Error => "STOPPED",
    }
}

/// `slipway-` and half of a hash: contexts are longer than keys may be.
fn key(context: &str) -> String {
    let mut key = format!("slipway-{}", hex::encode(Sha256::digest(context)));
    key.truncate(MAX_KEY);
    key
}

impl Bitbucket {
    pub(super) async fn send_status(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        commit: &CommitId,
        status: &CommitStatus<'_>,
    ) -> Result<(), ForgeError> {
        let url = self.repository_address([full_name.workspace, full_name.slug, "commit", commit.as_str(), "statuses", "build"]);
        // Without `refname` a pull request does not show it.
        let body = json!({
            "key": key(status.context), "name": status.context, "state": word(status.state), "url": status.url,
            "description": text::description(status.description), "refname": status.name.short(),
        });
        let reply = self.call(token, Method::POST, url, Some(&body)).await?;
        self.read_object::<serde_json::Value>(token, &reply).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_of_any_length_has_a_key_of_its_own() {
        let (short, long) = (key("slipway/a/b"), key(&"x".repeat(500)));
        assert!(short.len() == MAX_KEY && long.len() == MAX_KEY && short != long, "{short} {long}");
        assert_eq!(short, key("slipway/a/b"));
        assert_ne!(short, key("slipway/a/c"));
    }
}
