//! What acting at a provider for a source shares beside [`App::with_source`]: names of today, and which trouble is which.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError};
use slipway_model::{AccessLevel, AccountId, LinkState, ProviderId};
use slipway_store::{deploy_keys, hooks, links};

use crate::links::access::{SourceAt, SourceTrouble, TroubleKind};
use crate::sources::Heads;
use crate::{App, Error};

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

    /// Whether it may go well later: by waiting alone, or once a person enables the link again or links anew.
    pub(crate) fn may_pass(&self) -> bool {
        let nobody_to_ask = matches!(self, Self::Trouble(SourceTrouble { kind: TroubleKind::Disabled | TroubleKind::NotLinked, .. }));
        self.passes(Duration::ZERO).is_some() || nobody_to_ask
    }
}

impl App {
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
