//! Which repository at a provider a person means by a name, an id or both.
//!
//! Invariant: settings are bound to another repository only by somebody who names that one: by its id, or by a name that is not the stored
//! one. Whoever takes the name of a repository that is gone gets nothing of its settings. Deliberately elsewhere: the settings
//! (`autobuilds`), what is followed once they stand (`sources`).

use std::sync::Arc;

use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, SourceKey, SourceRepository};
use slipway_model::{AccountId, ProviderId};
use slipway_store::links::Link;
use slipway_store::repositories::{self, Repository};

use crate::{App, AutobuildInput, Error, Refusal, RefusalKind};

/// As much of what a person sent as is said again.
fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

fn not_shown(provider: &ProviderId, name: &str) -> Error {
    Error::invalid("source", "source", format!("`{provider}` shows no repository `{}` to the linked account", shown(name)))
}

fn source_changed(detail: String, hint: String) -> Error {
    Refusal::new(RefusalKind::Conflict, "source_changed", detail).field("source").hint(hint).into()
}

/// The stored one is gone, and another one has its name.
fn another_one(provider: &ProviderId, stored_id: &str, found: &SourceRepository) -> Error {
    let SourceRepository { id, full_name, .. } = found;
    source_changed(
        format!(
            "`{full_name}` at `{provider}` is another repository (id `{id}`) than the one that is built under this name (id `{stored_id}`), \
             which is gone or hidden from the linked account"
        ),
        format!("to build the other one from now on choose it anew, or send its id `{id}` as `source_id`"),
    )
}

/// Name and id do not belong together: nobody knows which of the two repositories is meant.
fn another_name(provider: &ProviderId, name: &str, found: &SourceRepository) -> Error {
    let SourceRepository { id, full_name, .. } = found;
    source_changed(
        format!("the repository with the id `{id}` at `{provider}` is called `{full_name}`, not `{}`", shown(name)),
        "choose the source anew, or send its name of today with its id".to_owned(),
    )
}

impl App {
    /// The source repository that is meant for the settings of `at`, and the link that sees it.
    pub(crate) async fn find_source(
        &self,
        at: &Repository,
        provider: &ProviderId,
        input: &AutobuildInput,
    ) -> Result<(SourceRepository, Link), Error> {
        let name = input.source.trim();
        let called = |full_name: &str| full_name.eq_ignore_ascii_case(name);
        let mut tx = self.read().await?;
        let stored = repositories::get_autobuild(&mut tx, at.id).await?.filter(|stored| stored.provider == *provider);
        drop(tx);
        if let Some(id) = input.source_id.as_deref().filter(|id| !id.is_empty()) {
            let found = self.see_chosen(at.account, provider, Some(id), name).await?.ok_or_else(|| not_shown(provider, name))?;
            // The stored one keeps its settings under whatever name.
            let kept = stored.is_some_and(|stored| stored.source_id == found.0.id);
            return if kept || called(&found.0.full_name) { Ok(found) } else { Err(another_name(provider, name, &found.0)) };
        }
        let stored = stored.filter(|stored| called(&stored.source_name));
        if let Some(stored) = &stored
            && let Some(found) = self.see_chosen(at.account, provider, Some(&stored.source_id), name).await?
        {
            return Ok(found);
        }
        let found = self.see_chosen(at.account, provider, None, name).await?.ok_or_else(|| not_shown(provider, name))?;
        match stored.filter(|stored| stored.source_id != found.0.id) {
            Some(stored) => Err(another_one(provider, &stored.source_id, &found.0)),
            None => Ok(found),
        }
    }

    /// What the links of an account see under an id, or without one under a name; `None` when all say that there is nothing.
    async fn see_chosen(
        &self,
        account: AccountId,
        provider: &ProviderId,
        id: Option<&str>,
        name: &str,
    ) -> Result<Option<(SourceRepository, Link)>, Error> {
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let found = match id {
                Some(id) => forge.source_repository_by_id(&token, SourceKey { id, full_name: name }).await?,
                None => forge.source_repository(&token, name).await?,
            };
            found.ok_or(ForgeError::NotFound)
        };
        match self.with_link(account, provider, None, look).await {
            Ok(found) => Ok(Some((found.value, found.link))),
            Err(trouble) if matches!(trouble.forge_error(), Some(ForgeError::NotFound)) => Ok(None),
            Err(trouble) => Err(trouble.into()),
        }
    }
}
