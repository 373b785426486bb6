//! What acting at a provider for a source shares beside [`App::with_source`]: names of today, which trouble is which, and what is left
//! there in the end.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError};
use slipway_model::{AccessLevel, AccountId, LinkState, ProviderId};
use slipway_store::{WriteTx, accounts, deploy_keys, hooks, links};
use url::Url;

use crate::audit::{self, Change, Place};
use crate::links::access::{SourceAt, SourceTrouble};
use crate::sources::Heads;
use crate::{Actor, App, Error};

/// Why something could not be done at a source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// The repository is gone, or no link shows it.
    #[error("the source repository is gone, or hidden from the link")]
    Hidden,
    /// No link could.
    #[error(transparent)]
    Trouble(#[from] SourceTrouble),
    /// Something of ours.
    #[error(transparent)]
    Ours(#[from] Error),
}

impl From<slipway_store::StoreError> for Away {
    fn from(error: slipway_store::StoreError) -> Self {
        Self::Ours(error.into())
    }
}

impl Away {
    /// What the provider said, when it was asked.
    pub(crate) fn forge_error(&self) -> Option<&ForgeError> {
        match self {
            Self::Trouble(trouble) => trouble.forge_error(),
            _ => None,
        }
    }

    /// Whether the repository is there, but no link may change its settings. It was seen by its id just before, so "not found" speaks of
    /// its settings.
    pub(crate) fn lacks_rights(&self) -> bool {
        matches!(self.forge_error(), Some(ForgeError::Forbidden { .. } | ForgeError::NotFound | ForgeError::MissingScope { .. }))
    }

    /// How long to wait when the same may go well later without anybody's help; `usual` unless the provider names a longer time.
    pub(crate) fn passes(&self, usual: Duration) -> Option<Duration> {
        match self {
            Self::Hidden => None,
            Self::Trouble(trouble) => match trouble.forge_error() {
                Some(ForgeError::RateLimited { retry_after }) => Some((*retry_after).max(usual)),
                _ => trouble.is_passing().then_some(usual),
            },
            Self::Ours(_) => Some(usual),
        }
    }

    /// Whether it may go well later: by waiting alone, or once a person enables a link again or links anew. That is so as long as no link
    /// was let in that may see the source: without an answer of the provider nothing is given up.
    pub(crate) fn may_pass(&self) -> bool {
        let nobody_was_let_in = match self {
            Self::Trouble(trouble) => {
                matches!(trouble.forge_error(), None | Some(ForgeError::Unauthorized { .. } | ForgeError::Suspended { .. }))
            }
            _ => false,
        };
        self.passes(Duration::ZERO).is_some() || nobody_was_let_in
    }
}

/// Something of ours that stays at a provider, because nobody lets us remove it.
pub(crate) struct Left<'a> {
    /// What is written of it in the audit log.
    pub(crate) action: &'static str,
    /// Whose it was.
    pub(crate) account: AccountId,
    /// On which source.
    pub(crate) source: &'a str,
    /// Its id there, when it is known.
    pub(crate) remote_id: Option<&'a str>,
    /// Where a person finds it.
    pub(crate) address: Option<Url>,
    /// Why.
    pub(crate) because: &'a str,
}

impl App {
    /// Notes for people that they have to remove something by hand.
    pub(crate) async fn note_left(&self, tx: &mut WriteTx, left: &Left<'_>) -> Result<(), Error> {
        let Left { action, account, source, remote_id, address, because } = left;
        tracing::warn!(action, source, remote_id, because, "something of ours stays at a provider");
        let Some(account) = accounts::get(tx, *account).await? else { return Ok(()) };
        let facts = json!({"remote_id": remote_id, "address": address, "because": because});
        let change = Change::new(action, *source).now(facts);
        Ok(audit::write(tx, self.clock.now(), &Actor::system(), Place::Account(&account), change).await?)
    }

    /// The name of a source repository today, by its id; a new one is kept for hooks and deploy keys.
    pub(crate) async fn source_name_today(&self, source: SourceAt<'_>) -> Result<String, Away> {
        let key = source.key;
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)
        };
        let found = match self.with_source(source, look).await {
            Ok(found) => found.value,
            Err(trouble) if matches!(trouble.forge_error(), Some(ForgeError::NotFound)) => return Err(Away::Hidden),
            Err(trouble) => return Err(trouble.into()),
        };
        if found.full_name != key.full_name {
            let mut tx = self.write().await?;
            self.observe_source(&mut tx, source.account, source.provider, &found, Heads::NotCompared).await?;
            // Those on their way out belong to no settings any more.
            hooks::rename_source(&mut tx, source.provider, key.id, &found.full_name).await?;
            deploy_keys::rename_source(&mut tx, source.provider, key.id, &found.full_name).await?;
            tx.commit().await?;
        }
        Ok(found.full_name)
    }

    /// Whether every link of the account to the provider that can be used only reads.
    pub(crate) async fn only_reads(&self, account: AccountId, provider: &ProviderId) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        let links = links::list_by_provider(&mut tx, account, provider).await?;
        let mut usable = links.iter().filter(|link| link.state != LinkState::Disabled).peekable();
        Ok(usable.peek().is_some() && usable.all(|link| link.access == AccessLevel::ReadOnly))
    }
}
