//! Statuses of commits at Gitea.
//!
//! Invariant: a status is only ever added; Gitea shows the newest of each context.

use http::Method;
use secrecy::SecretString;
use serde_json::json;
use slipway_model::CommitId;

use super::{FullName, Gitea};
use crate::error::ForgeError;
use crate::text;
use crate::types::CommitStatus;

impl Gitea {
    pub(super) async fn send_status(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        commit: &CommitId,
        status: &CommitStatus<'_>,
    ) -> Result<(), ForgeError> {
        let url = self.api_address(["repos", full_name.owner, full_name.name, "statuses", commit.as_str()]);
        let body = json!({
            "state": status.state.as_str(), "context": status.context, "description": text::description(status.description),
            "target_url": status.url,
        });
        self.call(token, Method::POST, url, Some(&body)).await.map(drop)
    }
}
