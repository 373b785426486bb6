//! Source providers: a card for each, connecting, unlinking and its receipt.

use askama::Template;
use slipway_model::{LinkState, ProviderKind, Timestamp};

use super::shell::Shell;
use super::ui::{self, Tone};

/// An organization at the provider.
#[derive(Clone, Debug)]
pub struct OrganizationView {
    /// Name.
    pub name: String,
    /// Access.
    pub access: Access,
    /// Where its owner can grant it.
    pub grant_url: Option<String>,
}

/// What Slipway may see of an organization.
#[cfg_attr(not(test), expect(dead_code, reason = "the health of links will tell it; until then the list is empty"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// All that the person may.
    Granted,
    /// An owner must approve.
    Restricted,
    /// An owner refused.
    Denied,
    /// Not known.
    Unknown,
}

impl OrganizationView {
    /// Colour and shape.
    #[must_use]
    pub fn tone(&self) -> Tone {
        match self.access {
            Access::Granted => Tone::Good,
            Access::Restricted => Tone::Attention,
            Access::Denied => Tone::Bad,
            Access::Unknown => Tone::Waiting,
        }
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        match self.access {
            Access::Granted => "granted".to_owned(),
            Access::Restricted => format!("restricted — an owner of {} must approve Slipway", self.name),
            Access::Denied => format!("denied by an owner of {}", self.name),
            Access::Unknown => "not known yet".to_owned(),
        }
    }
}

/// A provider and the namespace's link to it.
#[derive(Clone, Debug)]
pub struct ProviderCard {
    /// Id.
    pub id: String,
    /// Mark.
    pub kind: ProviderKind,
    /// `GitHub`, or the host of an instance.
    pub name: String,
    /// Its web address.
    pub web_url: String,
    /// The link's state.
    pub state: LinkState,
    /// Account at the provider.
    pub login: Option<String>,
    /// Since when the state holds.
    pub since: Option<Timestamp>,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Repositories that build through the link, `namespace/name`.
    pub used_by: Vec<String>,
    /// Last answer of the provider.
    pub checked_at: Option<Timestamp>,
    /// What the provider said, when something is wrong.
    pub evidence: Option<String>,
    /// Organizations.
    pub organizations: Vec<OrganizationView>,
    /// Where the grant is managed at the provider.
    pub grant_url: Option<String>,
}

impl ProviderCard {
    /// Whether there is a link, in whatever state.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.state != LinkState::NotLinked
    }

    /// Whether a person disabled it.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.state == LinkState::Disabled
    }

    /// Whether it works.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == LinkState::Ok
    }

    /// Whether something is wrong with it.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        !matches!(self.state, LinkState::Ok | LinkState::NotLinked | LinkState::Disabled)
    }
}

/// `/settings/source-providers`.
#[derive(Template)]
#[template(path = "providers.html")]
pub struct ProvidersPage {
    /// Frame.
    pub shell: Shell,
    /// One for each configured provider.
    pub cards: Vec<ProviderCard>,
}

/// A scope that connecting asks for and what it is for.
#[derive(Clone, Debug)]
pub struct ScopeView {
    /// The provider's word.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// `/settings/source-providers/{provider}/connect`: what will be asked for, before the redirect.
#[derive(Template)]
#[template(path = "provider_connect.html")]
pub struct ConnectPage {
    /// Frame.
    pub shell: Shell,
    /// The provider.
    pub card: ProviderCard,
    /// Scopes.
    pub scopes: Vec<ScopeView>,
    /// Why it cannot be done now.
    pub problem: Option<String>,
}

/// `/settings/source-providers/{provider}/unlink`: what will be removed and what stops.
#[derive(Template)]
#[template(path = "provider_unlink.html")]
pub struct UnlinkPage {
    /// Frame.
    pub shell: Shell,
    /// The provider.
    pub card: ProviderCard,
    /// What will be removed at the provider, in words.
    pub removes: Vec<String>,
    /// Repositories that stop to build.
    pub stops: Vec<String>,
}

/// A line of the receipt.
#[derive(Clone, Debug)]
pub struct ReceiptLine {
    /// What, like `webhook of acme/app`.
    pub what: String,
    /// Why it is still there; `None` when it was removed.
    pub left: Option<String>,
    /// Where to remove it by hand.
    pub url: Option<String>,
}

/// What unlinking did.
#[derive(Template)]
#[template(path = "provider_receipt.html")]
pub struct ReceiptPage {
    /// Frame.
    pub shell: Shell,
    /// Provider's name.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Removed.
    pub removed: Vec<ReceiptLine>,
    /// Left behind.
    pub left: Vec<ReceiptLine>,
    /// Repositories that no longer build.
    pub stopped: Vec<String>,
}
