//! Acting at a provider for one source.

use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, SourceKey};
use slipway_model::{AccessLevel, AccountId, LinkState, ProviderId};
use slipway_store::{deploy_keys, hooks, links};

use crate::{App, Error, Refusal, RefusalKind};

/// Why nothing could be done at the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// No link can be used.
    #[error("{0}")]
    Unlinked(String),
    /// The repository is gone, or no link shows it.
    #[error("the source repository is gone, or hidden from the link")]
    Hidden,
    /// The provider said no.
    #[error(transparent)]
    Forge(#[from] ForgeError),
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
    /// For a person who asked.
    pub(crate) fn into_error(self, provider: &ProviderId) -> Error {
        let unavailable = |detail: String| Refusal::new(RefusalKind::Conflict, "source_unavailable", detail).hint("see Source providers").into();
        match self {
            Self::Ours(error) => error,
            Self::Forge(ForgeError::Unsupported { detail, url }) => {
                let refusal = Refusal::new(RefusalKind::Conflict, "unsupported", detail);
                match url {
                    Some(url) => refusal.hint(format!("do it at {url}")).into(),
                    None => refusal.into(),
                }
            }
            Self::Forge(error) => Error::forge(provider)(error),
            other => unavailable(other.to_string()),
        }
    }

    /// How long to wait when the same may go well later without anybody's help; `usual` unless the provider names a time.
    pub(crate) fn passes(&self, usual: Duration) -> Option<Duration> {
        match self {
            Self::Forge(ForgeError::RateLimited { retry_after }) => Some((*retry_after).max(usual)),
            Self::Forge(error) if error.is_temporary() => Some(usual),
            Self::Ours(_) => Some(usual),
            _ => None,
        }
    }
}

impl App {
    pub(crate) async fn with_source<T>(
        &self,
        account: AccountId,
        provider: &ProviderId,
        _key: SourceKey<'_>,
        call: impl AsyncFn(&dyn Forge, &SecretString) -> Result<T, ForgeError>,
    ) -> Result<T, Away> {
        let mut tx = self.read().await?;
        let link = links::get(&mut tx, account, provider).await?;
        drop(tx);
        let usable = link.filter(|link| link.state != LinkState::Disabled);
        let (Some(link), Some(forge)) = (usable, self.forges.get(provider)) else {
            return Err(Away::Unlinked("the provider is not linked or its link is disabled".into()));
        };
        let token = self.link_token(&link)?;
        Ok(call(forge.as_ref(), &token).await?)
    }

    /// The name of a source repository today, by its id; a new one is kept for hooks and deploy keys.
    pub(crate) async fn source_name_today(&self, account: AccountId, provider: &ProviderId, key: SourceKey<'_>) -> Result<String, Away> {
        let found = self.with_source(account, provider, key, async |forge, token| forge.source_repository_by_id(token, key).await).await?;
        let name = found.ok_or(Away::Hidden)?.full_name;
        if name != key.full_name {
            let mut tx = self.write().await?;
            hooks::rename_source(&mut tx, provider, key.id, &name).await?;
            deploy_keys::rename_source(&mut tx, provider, key.id, &name).await?;
            tx.commit().await?;
        }
        Ok(name)
    }

    /// Whether every link of the account to the provider that can be used only reads.
    pub(crate) async fn only_reads(&self, account: AccountId, provider: &ProviderId) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        let links = links::list(&mut tx, account).await?;
        let mut usable =
            links.iter().filter(|link| link.provider == *provider && !link.unlinking && link.state != LinkState::Disabled).peekable();
        Ok(usable.peek().is_some() && usable.all(|link| link.access == AccessLevel::ReadOnly))
    }
}
