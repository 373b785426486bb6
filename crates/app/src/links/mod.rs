//! Links of accounts to providers: what people see of them, and switching one off and on.
//!
//! Invariants: a link belongs to one account and one person at the provider (its id there, never the name); a disabled link sends nothing
//! and takes nothing. One file per concern: `access` acts through links, `refresh` renews tokens, `connect` makes links, `health` looks after
//! them, `tell` writes to owners, `unlink` ends them with a receipt, `picker` knows what they see.

pub(crate) mod access;
mod away;
mod connect;
mod health;
mod picker;
mod plan;
mod receipt;
mod refresh;
mod tell;
mod unlink;
mod view;
pub(crate) mod words;

use std::sync::Arc;

use serde_json::json;
use slipway_forge::Forge;
use slipway_model::{AccountId, LinkId, LinkState, ProviderId};
use slipway_store::links::{self, Link, Picture};
use slipway_store::{ReadTx, reconciling, source_namespaces};

use crate::audit::{self, Change, Place};
use crate::{App, Error, NamespaceOwner};

pub(crate) use away::Away;
pub use connect::{ConnectWish, Linked, OfferView, Offers};
pub use picker::{SourceNamespaces, SourcePage, SourceSearch};
pub use plan::{UnlinkPreview, UnlinkSource};
pub use receipt::{Receipt, ReceiptItem};
pub use view::{Evidence, LinkView, OrganizationView, ScopeView, UsedBy};

const ACCESS_TOKEN: &str = "links.access_token";
const REFRESH_TOKEN: &str = "links.refresh_token";
const VERIFIER: &str = "oauth_flows.verifier";

/// Whether a link shall be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkSwitch {
    /// Use it.
    Enable,
    /// Keep it, but send nothing to the provider and take nothing from it.
    Disable,
}

/// The link that is meant: by its id, or the one that works best when none is named.
async fn find(tx: &mut ReadTx, account: AccountId, provider: &ProviderId, id: Option<LinkId>) -> Result<Link, Error> {
    let found = match id {
        None => links::get(tx, account, provider).await?,
        // By account and id: the id of another account's link is not found.
        Some(id) => links::list_by_provider(tx, account, provider).await?.into_iter().find(|link| link.id == id),
    };
    found.ok_or(Error::NotFound)
}

impl App {
    pub(crate) fn forge(&self, provider: &ProviderId) -> Result<&Arc<dyn Forge>, Error> {
        self.forges.get(provider).ok_or(Error::NotFound)
    }

    /// Disables a link without revoking it, or enables it again. What was missed while it was disabled is looked for after enabling.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link.
    pub async fn switch_link(
        &self,
        owner: &NamespaceOwner,
        provider: &ProviderId,
        id: Option<LinkId>,
        switch: LinkSwitch,
    ) -> Result<LinkView, Error> {
        let account = owner.account().id;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let link = find(&mut tx, account, provider, id).await?;
        let (action, state, evidence) = match switch {
            LinkSwitch::Enable if link.state == LinkState::Disabled => ("link.enable", LinkState::Ok, None),
            LinkSwitch::Enable => ("link.enable", link.state, link.evidence.clone()),
            LinkSwitch::Disable => ("link.disable", LinkState::Disabled, Some(format!("disabled by {}", owner.actor().name))),
        };
        links::set_state(&mut tx, link.id, state, evidence.as_deref(), now).await?;
        if switch == LinkSwitch::Enable {
            links::check_by(&mut tx, link.id, now).await?;
            source_namespaces::sweep_now(&mut tx, link.id, now).await?;
            reconciling::hurry_account(&mut tx, account, provider, now).await?;
            self.want_missing_hooks(&mut tx, account, provider).await?;
        }
        let change =
            Change::new(action, provider.as_str()).old(json!({"login": link.login, "state": link.state})).now(json!({"state": state}));
        audit::write(&mut tx, now, owner.actor(), Place::Account(owner.account()), change).await?;
        tx.commit().await?;
        self.wake_links();
        self.get_link(owner, provider, Some(link.id)).await
    }

    /// The picture of the person behind a link, as we fetched it; no browser asks the provider.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link or no picture.
    pub async fn link_picture(&self, owner: &NamespaceOwner, provider: &ProviderId, id: LinkId) -> Result<Picture, Error> {
        let mut tx = self.read().await?;
        let link = find(&mut tx, owner.account().id, provider, Some(id)).await?;
        links::get_picture(&mut tx, link.id).await?.ok_or(Error::NotFound)
    }

    /// Tells the loops that a link, what it sees and what hangs on it are to be looked at.
    pub(crate) fn wake_links(&self) {
        for wake in [&self.wake.links, &self.wake.sources, &self.wake.hooks, &self.wake.checks, &self.wake.keys, &self.wake.reconcile] {
            wake.notify_one();
        }
    }
}

#[cfg(test)]
pub(crate) fn sample(state: LinkState) -> Link {
    use slipway_model::{AccessLevel, LinkedAs, Timestamp};
    let at = Timestamp::from_millis(1_700_000_000_000);
    Link {
        id: LinkId::new(),
        account: AccountId::new(),
        provider: "github".parse().unwrap(),
        remote_user_id: "1".into(),
        login: "octo".into(),
        display_name: None,
        access: AccessLevel::Full,
        linked_as: LinkedAs::Person,
        scopes: Vec::new(),
        access_token_sealed: Vec::new(),
        refresh_token_sealed: None,
        token_expires_at: None,
        token_version: 1,
        state,
        since: at,
        evidence: None,
        evidence_status: None,
        failures: 0,
        probe_marker: None,
        told_since: None,
        checked_at: None,
        next_check_at: at,
        unlinking: false,
        avatar_url: None,
        linked_at: at,
        created_at: at,
    }
}
