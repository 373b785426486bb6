//! What people see of a webhook and do about it: its state, repair, another secret, and the provider's own log of its deliveries.
//!
//! Invariant: a secret is shown only to administrators of the repository, only of a hook that a person has to put up, and every showing
//! is in the audit log.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use slipway_forge::{DeliveryOutcome, Forge, ForgeError};
use slipway_model::{DeliveryId, DeliveryStatus, SecretToken, Timestamp, TokenKind};
use slipway_store::ReadTx;
use slipway_store::hooks::{self, Hook, HookState, MadeBy};
use slipway_store::repositories::{self, Repository};

use super::{PREVIOUS_SECRET, STEP, source_of};
use crate::audit::{self, Change, Place};
use crate::{Actor, App, Error, Refusal, RefusalKind, RepositoryAdmin, RepositoryRead, RepositoryWrite};

/// How a webhook stands.
#[derive(Clone, Debug, Serialize)]
pub struct HookStatus {
    /// Whether it stands at the provider.
    pub standing: bool,
    /// Whether it stands and nothing is wrong with it.
    pub right: bool,
    /// Whether a person has to put it up, because the link may not.
    pub manual: bool,
    /// Where its deliveries go.
    pub address: String,
    /// What it has to send.
    pub events: Vec<String>,
    /// Its id at the provider.
    pub remote_id: Option<String>,
    /// What the last try to put it up said.
    pub error: Option<String>,
    /// What the last look found wrong.
    pub problem: Option<String>,
    /// Since when it does not stand, or something is wrong with it; `None` when it is right.
    pub wrong_since: Option<Timestamp>,
    /// When it was last looked at.
    pub checked_at: Option<Timestamp>,
    /// When it is looked at, or tried to be put up, next.
    pub next_look_at: Timestamp,
    /// When it was last repaired without a person, and why.
    pub repaired_at: Option<Timestamp>,
    /// What was wrong then.
    pub repaired_why: Option<String>,
    /// Until when the secret before this one is accepted.
    pub previous_secret_until: Option<Timestamp>,
    /// When its newest delivery came to us.
    pub last_delivery: Option<Timestamp>,
    /// What the provider said of its last delivery at the last look.
    pub last_there: Option<LastDelivery>,
    /// Where a person sees it at the provider.
    pub settings_url: String,
}

/// What a provider says of a hook's last delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastDelivery {
    /// When, where it tells.
    pub at: Option<Timestamp>,
    /// What we answered, as it saw it.
    pub status: Option<u16>,
    /// In its words.
    pub words: String,
}

impl From<&DeliveryOutcome> for LastDelivery {
    fn from(outcome: &DeliveryOutcome) -> Self {
        Self { at: outcome.at, status: outcome.status, words: outcome.words.clone() }
    }
}

impl LastDelivery {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text always serialize")
    }
}

/// What a person needs to put a webhook up.
#[derive(Clone, Debug)]
pub struct HookSecret {
    /// Where deliveries go.
    pub address: String,
    /// What they are signed with.
    pub secret: SecretString,
    /// What has to be sent.
    pub events: Vec<String>,
    /// The page at the provider.
    pub settings_url: String,
}

/// A page of a provider's own log of a hook's deliveries.
#[derive(Clone, Debug, Serialize)]
pub struct HookDeliveries {
    /// Newest first.
    pub items: Vec<HookDelivery>,
    /// To be handed back for the next page.
    pub next: Option<String>,
    /// Why there is none, when the provider shows none.
    pub unsupported: Option<String>,
    /// Where a person sees it at the provider.
    pub settings_url: String,
}

/// A delivery as the provider logged it, and what it is here.
#[derive(Clone, Debug, Serialize)]
pub struct HookDelivery {
    /// The provider's id of the entry: what [`App::redeliver`] takes.
    pub id: String,
    /// The id that the request carried.
    pub delivery_id: String,
    /// The provider's word for what happened.
    pub event: String,
    /// How it went there.
    pub outcome: LastDelivery,
    /// The entry of our inbox; `None` when it never came.
    pub here: Option<(DeliveryId, DeliveryStatus)>,
}

impl App {
    pub(crate) async fn hook_status(&self, tx: &mut ReadTx, hook: &Hook) -> Result<HookStatus, Error> {
        let now = self.clock.now();
        let forge = self.forges.get(&hook.provider);
        let standing = hook.state == HookState::Standing;
        let right = standing && hook.problem.is_none();
        // What no look found began when its secret was changed, or when it was wanted.
        let changed = hook.previous.as_ref().map(|(_, until)| until.minus(PREVIOUS_SECRET));
        Ok(HookStatus {
            standing,
            right,
            wrong_since: hook.problem_since.or(changed).or(Some(hook.created_at)).filter(|_| !right),
            next_look_at: if standing { hook.next_check_at } else { hook.next_try_at },
            manual: hook.made_by == MadeBy::Person,
            address: self.hook_address(&hook.provider, hook.id).into(),
            events: forge.map(|forge| owned(forge.hook_events())).unwrap_or_default(),
            remote_id: hook.remote_id.clone(),
            error: hook.error.clone(),
            problem: hook.problem.clone(),
            checked_at: hook.checked_at,
            repaired_at: hook.repaired_at,
            repaired_why: hook.repaired_why.clone(),
            previous_secret_until: hook.previous.as_ref().map(|(_, until)| *until).filter(|until| now < *until),
            last_delivery: hooks::last_delivery(tx, hook.id).await?.map(|(at, _)| at),
            last_there: hook.last_there.as_deref().and_then(|json| serde_json::from_str(json).ok()),
            settings_url: forge.map(|forge| forge.hook_settings_url(&hook.source_name).into()).unwrap_or_default(),
        })
    }

    async fn hook_of(&self, repository: &Repository) -> Result<Hook, Error> {
        let mut tx = self.read().await?;
        let autobuild = repositories::get_autobuild(&mut tx, repository.id).await?.ok_or(Error::NotFound)?;
        hooks::get_by_autobuild(&mut tx, autobuild.id).await?.ok_or(Error::NotFound)
    }

    /// How the webhook of a repository stands.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn get_hook(&self, right: &RepositoryRead) -> Result<HookStatus, Error> {
        let hook = self.hook_of(right.repository()).await?;
        let mut tx = self.read().await?;
        self.hook_status(&mut tx, &hook).await
    }

    /// Looks at the webhook at the provider now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none. What the provider says is in the status.
    pub async fn look_at_hook(&self, right: &RepositoryWrite) -> Result<HookStatus, Error> {
        let hook = self.hook_of(right.repository()).await?;
        if hook.state == HookState::Standing && hook.made_by == MadeBy::Service {
            self.check_hook(&hook).await?;
        }
        self.get_hook(&RepositoryRead::from(right.clone())).await
    }

    /// Puts the webhook up again, or sets right what is wrong with it, now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none. What the provider says is in the status.
    pub async fn repair_hook(&self, right: &RepositoryAdmin) -> Result<HookStatus, Error> {
        let hook = self.hook_of(right.repository()).await?;
        let change = Change::new("webhook.repair", right.repository().name.as_str())
            .old(json!({"problem": hook.problem.as_deref().or(hook.error.as_deref())}));
        let mut tx = self.write().await?;
        hooks::forget_repair(&mut tx, hook.id).await?;
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(right.repository()), change).await?;
        tx.commit().await?;
        match hook.state {
            HookState::Standing => self.repair_standing(&hook).await?,
            HookState::Wanted | HookState::Unwanted => self.settle_hook(&hook).await?,
        }
        self.get_hook(&RepositoryRead::from(RepositoryWrite::from(right.clone()))).await
    }

    async fn repair_standing(&self, hook: &Hook) -> Result<(), Error> {
        if self.only_reads(hook.account, &hook.provider).await? {
            return Ok(());
        }
        let Err(away) = self.renew_hook(hook).await? else { return Ok(()) };
        if hook.made_by == MadeBy::Person && away.lacks_rights() {
            return Ok(());
        }
        let now = self.clock.now();
        let problem = format!("repairing the webhook failed: {away}");
        let look = hooks::Look { remote_id: None, problem: Some(&problem), last_there: hook.last_there.as_deref(), next: now.plus(STEP) };
        let mut tx = self.write().await?;
        hooks::set_checked(&mut tx, hook.id, &look, now).await?;
        Ok(tx.commit().await?)
    }

    /// Gives the webhook another secret. Both are accepted for a day; the provider is told at once, and again until it has heard. A person
    /// who put the hook up gets the new secret to enter it there.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; a refusal while the provider does not know the last new secret yet.
    pub async fn rotate_hook_secret(&self, right: &RepositoryAdmin) -> Result<(HookStatus, Option<HookSecret>), Error> {
        let hook = self.hook_of(right.repository()).await?;
        if hook.made_by == MadeBy::Service && hook.state == HookState::Wanted {
            let refusal = Refusal::new(RefusalKind::Conflict, "hook_not_standing", "the provider does not know the secret of now yet");
            return Err(refusal.hint("repair the webhook first").into());
        }
        let now = self.clock.now();
        let (secret, until) = (SecretToken::generate(TokenKind::Hook), now.plus(PREVIOUS_SECRET));
        let problem = (hook.made_by == MadeBy::Person && hook.state == HookState::Standing)
            .then_some("the new secret has to be entered at the provider within a day");
        let change = Change::new("webhook.rotate_secret", right.repository().name.as_str());
        let mut tx = self.write().await?;
        if !hooks::rotate(&mut tx, &hook, &self.seal_hook_secret(hook.id, &secret), until, problem, now.plus(STEP)).await? {
            return Err(Error::conflict("hook_changed", "the webhook was changed by somebody else at the same moment"));
        }
        audit::write(&mut tx, now, right.actor(), Place::Repository(right.repository()), change).await?;
        tx.commit().await?;
        let hook = self.hook_of(right.repository()).await?;
        let shown = match hook.made_by {
            MadeBy::Person => Some(self.reveal(&hook)?),
            MadeBy::Service => {
                self.settle_hook(&hook).await?;
                None
            }
        };
        Ok((self.get_hook(&RepositoryRead::from(RepositoryWrite::from(right.clone()))).await?, shown))
    }

    fn reveal(&self, hook: &Hook) -> Result<HookSecret, Error> {
        let forge = self.forge(&hook.provider)?;
        Ok(HookSecret {
            address: self.hook_address(&hook.provider, hook.id).into(),
            secret: self.hook_secret(hook)?,
            events: owned(forge.hook_events()),
            settings_url: forge.hook_settings_url(&hook.source_name).into(),
        })
    }

    /// Address and secret of a webhook that a person has to put up.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; a refusal for one that we put up: nobody needs its secret.
    pub async fn show_hook_secret(&self, right: &RepositoryAdmin) -> Result<HookSecret, Error> {
        let hook = self.hook_of(right.repository()).await?;
        if hook.made_by == MadeBy::Service {
            return Err(Error::conflict("hook_not_manual", "the webhook is put up by Slipway, so nobody needs its secret"));
        }
        let shown = self.reveal(&hook)?;
        self.note(right.actor(), right.repository(), Change::new("webhook.show_secret", right.repository().name.as_str())).await?;
        Ok(shown)
    }

    async fn note(&self, actor: &Actor, repository: &Repository, change: Change) -> Result<(), Error> {
        let mut tx = self.write().await?;
        audit::write(&mut tx, self.clock.now(), actor, Place::Repository(repository), change).await?;
        Ok(tx.commit().await?)
    }

    /// The provider's own log of the webhook's deliveries beside our inbox, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no webhook; the provider's trouble. That it shows no log is no error.
    pub async fn remote_deliveries(&self, right: &RepositoryWrite, cursor: Option<&str>) -> Result<HookDeliveries, Error> {
        let hook = self.hook_of(right.repository()).await?;
        let settings_url = self.forge(&hook.provider)?.hook_settings_url(&hook.source_name).to_string();
        let none =
            |why: String| HookDeliveries { items: Vec::new(), next: None, unsupported: Some(why), settings_url: settings_url.clone() };
        let Some(remote) = hook.remote_id.as_deref() else {
            return Ok(none("the webhook was not put up by Slipway, so its log is only at the provider".into()));
        };
        let name = hook.source_name.as_str();
        let list = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.hook_deliveries(&token, name, remote, cursor).await };
        let page = match self.with_source(source_of(&hook), list).await {
            Ok(page) => page.value,
            Err(trouble) => match trouble.forge_error() {
                Some(ForgeError::Unsupported { detail, .. }) => return Ok(none(detail.clone())),
                _ => return Err(trouble.into()),
            },
        };
        let mut tx = self.read().await?;
        let mut items = Vec::new();
        for delivery in page.items {
            let here = hooks::find_delivery(&mut tx, hook.id, &delivery.delivery_id).await?;
            let outcome = LastDelivery::from(&delivery.outcome);
            items.push(HookDelivery { id: delivery.id, delivery_id: delivery.delivery_id, event: delivery.event, outcome, here });
        }
        Ok(HookDeliveries { items, next: page.next, unsupported: None, settings_url })
    }

    /// Asks the provider to send a delivery of its log once more.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no webhook; the provider's trouble, or that it cannot.
    pub async fn redeliver(&self, right: &RepositoryWrite, id: &str) -> Result<(), Error> {
        let hook = self.hook_of(right.repository()).await?;
        let remote = hook.remote_id.as_deref().ok_or(Error::NotFound)?;
        let shown: String = id.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
        let change = Change::new("webhook.redeliver", format!("{} {shown}", right.repository().name));
        self.note(right.actor(), right.repository(), change).await?;
        let name = hook.source_name.as_str();
        let ask = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.redeliver(&token, name, remote, id).await };
        match self.with_source(source_of(&hook), ask).await {
            Ok(_) => Ok(()),
            Err(trouble) => match trouble.forge_error() {
                Some(ForgeError::Unsupported { detail, url }) => {
                    let place = url.as_ref().map_or_else(|| "at the provider".to_owned(), |url| format!("at {url}"));
                    Err(Refusal::new(RefusalKind::Conflict, "unsupported", detail.clone()).hint(format!("do it {place}")).into())
                }
                Some(ForgeError::NotFound) => {
                    let detail = format!(
                        "`{}` does not know `{shown}` in the log of this webhook: it keeps entries for some days only",
                        hook.provider
                    );
                    Err(Error::invalid("no_such_entry", "id", detail))
                }
                _ => Err(trouble.into()),
            },
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl HookSecret {
    /// The secret as text, for the one page that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}
