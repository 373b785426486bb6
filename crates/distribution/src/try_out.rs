//! Trying credentials out before they are saved: whether a push would go well, found out by beginning one.
//!
//! Invariant: nothing stays at the registry; what is begun is cancelled. What cannot be told from a token is asked of the registry itself.

use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use slipway_model::ExternalRepository;

use crate::connection::Ask;
use crate::sign_in::Wanted;
use crate::{Credentials, Distribution, Remote, Trouble};

/// A person waits for it.
const PATIENCE: Duration = Duration::from_secs(40);
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

impl Distribution {
    /// Whether these credentials can push to this repository.
    ///
    /// # Errors
    /// [`Trouble`] says what would not work.
    pub async fn try_out(&self, at: &ExternalRepository, credentials: Option<Credentials>) -> Result<(), Trouble> {
        let late = |_| Trouble::Unreachable(format!("trying it out took longer than {} seconds", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, self.try_each(at, credentials)).await.map_err(late)?
    }

    async fn try_each(&self, at: &ExternalRepository, credentials: Option<Credentials>) -> Result<(), Trouble> {
        let remote = self.open(at, credentials.clone()).await?;
        let refusal = match remote.begins_an_upload().await {
            Err(refusal @ (Trouble::Denied(_) | Trouble::WrongPassword)) => refusal,
            other => return other,
        };
        // Another sign-in: some places give no token at all when it may do less than was asked for.
        let reader = self.open(at, credentials).await?;
        match reader.can_pull().await {
            Ok(true) => Err(Trouble::PullOnly),
            Ok(false) | Err(Trouble::Denied(_)) => Err(refusal),
            Err(other) => Err(other),
        }
    }
}

impl Remote {
    async fn begins_an_upload(&self) -> Result<(), Trouble> {
        self.is_a_registry().await?;
        let begun = self.begin_upload().await;
        // It was let in a moment ago: it is the push that is not wanted.
        let place = begun.map_err(|trouble| match trouble {
            Trouble::WrongPassword => Trouble::Denied("the upload was not let in".to_owned()),
            other => other,
        })?;
        self.cancel_upload(place).await;
        Ok(())
    }

    async fn is_a_registry(&self) -> Result<(), Trouble> {
        let mut url = self.connections.base().clone();
        url.set_path("/v2/");
        let reply = self.connections.send(&Ask::new(Method::GET, url.clone()), None).await?;
        let strange = |what: &str| Err(Trouble::NotARegistry(format!("`/v2/` answered {}, {what}", reply.status.as_u16())));
        match reply.status.as_u16() {
            401 if reply.challenges().is_empty() => strange("without a way to sign in"),
            401 => {
                // With the password every request is one: whoever is not let in here gave a wrong one.
                self.sign_in.answer(&self.connections, &reply, Wanted::Push).await?;
                let authorization = self.sign_in.header(&self.connections).await?;
                let again = self.connections.send(&Ask::new(Method::GET, url), authorization.as_ref()).await?;
                let basic = again.challenges().contains(&slipway_oci::Challenge::Basic);
                if again.status == StatusCode::UNAUTHORIZED && basic { Err(Trouble::WrongPassword) } else { Ok(()) }
            }
            200 if reply.header(API_VERSION).is_some() => Ok(()),
            200 => match serde_json::from_slice::<serde_json::Value>(&reply.body) {
                Ok(serde_json::Value::Object(_)) => Ok(()),
                _ if reply.body.is_empty() => Ok(()),
                _ => strange("but with something that no registry says"),
            },
            408 | 429 | 500..=599 => Err(reply.busy()),
            _ => strange("expected 200 or 401"),
        }
    }

    async fn can_pull(&self) -> Result<bool, Trouble> {
        let mut url = self.url("tags/list");
        url.set_query(Some("n=1"));
        let reply = self.ask_for(&Ask::new(Method::GET, url), Wanted::Pull).await?;
        Ok(reply.status == StatusCode::OK)
    }
}
