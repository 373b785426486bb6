//! Statuses of commits at GitHub.
//!
//! Invariant: a status is only ever added; GitHub shows the newest of each context.

use http::Method;
use secrecy::SecretString;
use serde_json::json;
use slipway_model::CommitId;

use super::wire::Call;
use super::{FullName, GitHub};
use crate::error::ForgeError;
use crate::text;
use crate::types::CommitStatus;

impl GitHub {
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
        self.call(token, Call::manage(Method::POST, url).body(&body)).await.map(drop)
    }
}
