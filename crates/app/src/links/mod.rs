//! Links of accounts to providers: what people see of them, and switching one off and on.
//!
//! Invariants: a link belongs to one account and one person at the provider (its id there, never the name); a disabled link sends nothing
//! and takes nothing. One file per concern: `access` acts through links, `refresh` renews tokens, `connect` makes links, `health` looks after
//! them, `mended` makes up for what they missed, `tell` writes to owners, `unlink` ends them with a receipt, `picker` knows what they see.

pub(crate) mod access;
mod away;
mod connect;
mod health;
mod mended;
mod picker;
mod plan;
mod receipt;
mod refresh;
mod removal;
mod tell;
mod unlink;
mod view;
pub(crate) mod words;

use std::sync::Arc;

use serde_json::json;
use slipway_forge::Forge;
use slipway_model::{AccountId, LinkId, LinkState, ProviderId};
use slipway_store::links::{self, Link, Picture};
use slipway_store::{ReadTx, source_namespaces};

use crate::audit::{self, Change, Place};
use crate::{App, Error, NamespaceOwner, Refusal, RefusalKind};

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

/// The link that a change is meant for: by its id, or the only one that it `may` mean.
async fn find_one(
    tx: &mut ReadTx,
    account: AccountId,
    provider: &ProviderId,
    id: Option<LinkId>,
    may: impl Fn(&Link) -> bool,
) -> Result<Link, Error> {
    if id.is_none() {
        let mut meant = links::list_by_provider(tx, account, provider).await?;
        meant.retain(may);
        if meant.len() > 1 {
            return Err(which_link(provider, &meant));
        }
        if let Some(only) = meant.pop() {
            return Ok(only);
        }
    }
    find(tx, account, provider, id).await
}

fn which_link(provider: &ProviderId, meant: &[Link]) -> Error {
    let each = meant.iter().map(|link| format!("`{}` (`{}`)", link.login, link.id)).collect::<Vec<_>>().join(", ");
    Refusal::new(RefusalKind::Conflict, "which_link", format!("there is more than one link to `{provider}`: {each}"))
        .hint("say which one with `?link=` and its id")
        .into()
}

/// Whether builds go through a link in this state.
fn works(state: LinkState) -> bool {
    matches!(state, LinkState::Ok | LinkState::Expiring)
}

/// Whether a source lies in a namespace, by their names at the provider.
fn is_in(source_name: &str, namespace: &str) -> bool {
    source_name.rsplit_once('/').is_some_and(|(owner, _)| owner.eq_ignore_ascii_case(namespace))
}

impl App {
    pub(crate) fn forge(&self, provider: &ProviderId) -> Result<&Arc<dyn Forge>, Error> {
        self.forges.get(provider).ok_or(Error::NotFound)
    }

    /// Disables a link without revoking it, or enables it again. What was missed while it was disabled is looked for after enabling.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link; the refusal `which_link` when none is named and several may be meant.
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
        let switches = |link: &Link| (link.state == LinkState::Disabled) == (switch == LinkSwitch::Enable);
        let link = find_one(&mut tx, account, provider, id, switches).await?;
        let (action, state, evidence) = match switch {
            LinkSwitch::Enable if link.state == LinkState::Disabled => ("link.enable", LinkState::Ok, None),
            LinkSwitch::Enable => ("link.enable", link.state, link.evidence.clone()),
            LinkSwitch::Disable => ("link.disable", LinkState::Disabled, Some(format!("disabled by {}", owner.actor().name))),
        };
        links::set_state(&mut tx, link.id, state, evidence.as_deref(), now).await?;
        let mut again = Vec::new();
        if switch == LinkSwitch::Enable {
            links::check_by(&mut tx, link.id, now).await?;
            source_namespaces::sweep_now(&mut tx, link.id, now).await?;
            again = self.mended(&mut tx, account, provider).await?;
            self.want_missing_hooks(&mut tx, account, provider).await?;
        }
        let change =
            Change::new(action, provider.as_str()).old(json!({"login": link.login, "state": link.state})).now(json!({"state": state}));
        audit::write(&mut tx, now, owner.actor(), Place::Account(owner.account()), change).await?;
        tx.commit().await?;
        self.builds_queued(again);
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
