//! What is due to go to an external registry, who sends it, and what came of it.
//!
//! Invariants: nothing goes out before its tag stands here; one tag is in one sender's hands, who asks before the last step whether it still
//! is; a failure that passes is tried again for some days, any other is kept as a refusal, and both can be read at the build and the tag.

use std::time::Duration;

use serde::Serialize;
use slipway_distribution::{Credentials, Remote, Trouble};
use slipway_model::{BuildId, ExternalRepository, ImageTag, RepositoryId, Timestamp};
use slipway_store::ReadTx;
use slipway_store::external::{self, ExternalTag};

use super::refusal;
use crate::hooks::{back_off, jittered};
use crate::{App, Error};

/// So long a sender has a tag without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// A registry that is away for a weekend is no reason to give up.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);

/// What a tag is in the external repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalTagView {
    /// The tag.
    pub tag: ImageTag,
    /// What it names there, or shall name.
    pub digest: String,
    /// Where: `registry.example.com/team/app`.
    pub repository: String,
    /// `waiting`, `delivered` or `refused`.
    pub state: &'static str,
    /// How often it was tried without success.
    pub attempts: u64,
    /// Why it is not there.
    pub error: Option<String>,
    /// When it is tried again.
    pub next_try_at: Option<Timestamp>,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
}

fn view(tag: ExternalTag, at: &ExternalRepository) -> ExternalTagView {
    let state = match (&tag.due_at, &tag.delivered_at) {
        (Some(_), _) => "waiting",
        (None, Some(_)) => "delivered",
        (None, None) => "refused",
    };
    ExternalTagView {
        digest: tag.digest,
        repository: at.to_string(),
        state,
        attempts: tag.tries,
        error: tag.error,
        next_try_at: tag.due_at,
        delivered_at: tag.delivered_at,
        tag: tag.tag,
    }
}

/// One tag on its way, in the hands of whoever has this.
#[derive(Debug)]
pub struct Sending {
    tag: ExternalTag,
    at: ExternalRepository,
    credentials: Option<Credentials>,
}

impl Sending {
    /// The repository here.
    #[must_use]
    pub fn repository(&self) -> RepositoryId {
        self.tag.repository
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &ImageTag {
        &self.tag.tag
    }

    /// The manifest that it shall name.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.tag.digest
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Sent {
    /// The tag names the image there.
    Delivered,
    /// Nothing: something else is to go out instead, or the process ends.
    Stopped,
    /// It failed.
    Failed(Trouble),
}

impl App {
    /// Takes the tag that is due the longest; `None` when none is.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn claim_external(&self) -> Result<Option<Sending>, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let Some(tag) = external::claim(&mut tx, now, now.plus(LEASE)).await? else { return Ok(None) };
        let saved = external::get(&mut tx, tag.repository).await?.ok_or(Error::Internal("an external tag goes with its repository"))?;
        match self.external_credentials(&saved) {
            Ok(credentials) => {
                tx.commit().await?;
                Ok(Some(Sending { tag, at: saved.address, credentials }))
            }
            Err(error) => {
                // One that cannot be opened must not hold up the others.
                tracing::error!(repository = %tag.repository, %error, "a password for an external registry cannot be opened");
                let why = "the stored password cannot be opened with this installation's key: give it again in the settings";
                external::set_refused(&mut tx, &tag, why).await?;
                tx.commit().await?;
                self.wake.external.notify_one();
                Ok(None)
            }
        }
    }

    /// Opens the repository that a tag goes to.
    ///
    /// # Errors
    /// [`Trouble`] when its host may not be reached now.
    pub async fn open_external(&self, sending: &Sending) -> Result<Remote, Trouble> {
        self.distribution.open(&sending.at, sending.credentials.clone()).await
    }

    /// How long a sender may go on without asking again.
    #[must_use]
    pub fn external_lease(&self) -> Duration {
        LEASE
    }

    /// Goes on sending; false when that is no longer this sender's to do.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn hold_external(&self, sending: &Sending) -> Result<bool, Error> {
        let mut tx = self.write().await?;
        let held = external::hold(&mut tx, &sending.tag, self.clock.now().plus(LEASE)).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Writes what came of it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn settle_external(&self, sending: &Sending, sent: Sent) -> Result<(), Error> {
        let (now, tag) = (self.clock.now(), &sending.tag);
        let mut tx = self.write().await?;
        match sent {
            Sent::Delivered => external::set_delivered(&mut tx, tag, now).await?,
            Sent::Stopped => external::release(&mut tx, tag).await?,
            Sent::Failed(trouble) if trouble.passes() && now.since(tag.since) < GIVE_UP => {
                external::set_failed(&mut tx, tag, &trouble.to_string(), now.plus(pause(&trouble, tag.tries))).await?;
            }
            Sent::Failed(trouble) => external::set_refused(&mut tx, tag, &final_words(&sending.at, &trouble)).await?,
        }
        tx.commit().await?;
        if let Some(build) = tag.build {
            self.build_changed(build);
        }
        Ok(())
    }

    /// Waits until something may be due, but no longer than this.
    pub async fn external_due(&self, limit: Duration) {
        // Running out of time is the usual case.
        tokio::time::timeout(limit, self.wake.external.notified()).await.ok();
    }

    /// What the tags of a build are in the external repository.
    pub(crate) async fn external_of_build(
        &self,
        tx: &mut ReadTx,
        repository: RepositoryId,
        build: BuildId,
    ) -> Result<Vec<ExternalTagView>, Error> {
        let Some(saved) = external::get(tx, repository).await? else { return Ok(Vec::new()) };
        Ok(external::list_of_build(tx, build).await?.into_iter().map(|tag| view(tag, &saved.address)).collect())
    }

    /// What a tag of a repository is in the external one. The caller has the right to read the repository.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn external_tag(&self, tx: &mut ReadTx, repository: RepositoryId, tag: &str) -> Result<Option<ExternalTagView>, Error> {
        let Some(saved) = external::get(tx, repository).await? else { return Ok(None) };
        Ok(external::get_tag(tx, repository, tag).await?.map(|tag| view(tag, &saved.address)))
    }
}

/// What the registry asks for, else ever longer.
fn pause(trouble: &Trouble, tries: u64) -> Duration {
    let usual = back_off(tries);
    match trouble {
        // Never before the time that it named, and not every second because it named none.
        Trouble::Busy { wait: Some(wait), .. } => (*wait).max(usual / 5) + usual.mul_f64(0.1),
        _ => jittered(usual),
    }
}

fn final_words(at: &ExternalRepository, trouble: &Trouble) -> String {
    if trouble.passes() {
        return format!("given up after three days: {trouble}");
    }
    let refusal = refusal(at, trouble);
    match refusal.hint {
        Some(hint) => format!("{}; {hint}", refusal.detail),
        None => refusal.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_s_own_wait_is_kept() {
        let busy = |seconds: u64| Trouble::Busy { status: 429, detail: String::new(), wait: Some(Duration::from_secs(seconds)) };
        assert!(pause(&busy(120), 0) >= Duration::from_secs(120) && pause(&busy(120), 0) < Duration::from_secs(130));
        assert!(pause(&busy(0), 0) >= Duration::from_secs(1) && pause(&busy(0), 9) > pause(&busy(0), 1));
        assert!(pause(&Trouble::Unreachable(String::new()), 2) >= Duration::from_secs(18));
    }
}
