//! Source providers: a card for each with its links, connecting, unlinking and its receipts.

use askama::Template;
use slipway_model::{AccessLevel, LinkState, LinkedAs, NamespaceAccess, ProviderKind, Timestamp};

use super::form::Field;
use super::shell::Shell;
use super::ui::{self, Tone};

/// An organization at the provider, or the person itself.
#[derive(Clone, Debug)]
pub struct OrganizationView {
    /// Name.
    pub name: String,
    /// Access.
    pub access: NamespaceAccess,
    /// What that means.
    pub note: String,
    /// Where it is granted, requested or revoked.
    pub grant_url: Option<String>,
}

impl OrganizationView {
    /// Colour and shape.
    #[must_use]
    pub fn tone(&self) -> Tone {
        match self.access {
            NamespaceAccess::Granted => Tone::Good,
            NamespaceAccess::Restricted => Tone::Attention,
            NamespaceAccess::Denied => Tone::Bad,
            NamespaceAccess::Unknown => Tone::Waiting,
        }
    }

    /// Whether it lets us in.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.access == NamespaceAccess::Granted
    }

    /// Whether repositories of it may be in our copy: it lets us in, or the provider did not tell.
    #[must_use]
    pub fn may_be_read(&self) -> bool {
        matches!(self.access, NamespaceAccess::Granted | NamespaceAccess::Unknown)
    }

    /// What the button to the provider's page is for.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self.access {
            NamespaceAccess::Granted => "See or revoke",
            NamespaceAccess::Restricted => "Request access",
            NamespaceAccess::Denied => "Ask again",
            NamespaceAccess::Unknown => "See",
        }
    }
}

/// A scope and what it is for.
#[derive(Clone, Debug)]
pub struct ScopeView {
    /// The provider's word.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A repository that is built through a link.
#[derive(Clone, Debug)]
pub struct UsedBy {
    /// `namespace/name`.
    pub path: String,
    /// Its source.
    pub source: String,
    /// How the link came to serve it.
    pub note: Option<String>,
    /// What is wrong with the source.
    pub problem: Option<String>,
}

/// What a state was concluded from.
#[derive(Clone, Debug)]
pub struct EvidenceView {
    /// In words.
    pub words: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// When.
    pub at: Option<Timestamp>,
}

/// One link of the namespace.
#[derive(Clone, Debug)]
pub struct LinkCard {
    /// Identity.
    pub id: String,
    /// The link's state.
    pub state: LinkState,
    /// Account at the provider.
    pub login: String,
    /// The name that the person shows there.
    pub display_name: Option<String>,
    /// Address of the picture here.
    pub picture: Option<String>,
    /// When it was made.
    pub linked_at: Option<Timestamp>,
    /// Since when the state holds.
    pub since: Option<Timestamp>,
    /// How much was asked for.
    pub access: AccessLevel,
    /// Person or service user.
    pub linked_as: LinkedAs,
    /// What was granted.
    pub scopes: Vec<ScopeView>,
    /// What was asked for and not granted.
    pub missing: Vec<ScopeView>,
    /// How many repositories its state is about.
    pub affected: usize,
    /// Repositories that build through it.
    pub used_by: Vec<UsedBy>,
    /// Last answer of the provider.
    pub checked_at: Option<Timestamp>,
    /// Next question.
    pub next_check_at: Option<Timestamp>,
    /// What the state was concluded from.
    pub evidence: Option<EvidenceView>,
    /// What a person does next.
    pub next_step: Option<String>,
    /// Other things to know.
    pub warnings: Vec<String>,
    /// Organizations.
    pub organizations: Vec<OrganizationView>,
    /// Where the grant is managed at the provider.
    pub grant_url: Option<String>,
}

impl LinkCard {
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

    /// Stands for the picture when there is none.
    #[must_use]
    pub fn initial(&self) -> String {
        self.login.chars().next().map(|c| c.to_uppercase().to_string()).unwrap_or_default()
    }

    /// How much was asked for, in words.
    #[must_use]
    pub fn access_words(&self) -> &'static str {
        level_words(self.access)
    }

    /// Whom it belongs to, in words.
    #[must_use]
    pub fn owner_words(&self) -> &'static str {
        match self.linked_as {
            LinkedAs::Person => "a person",
            LinkedAs::ServiceUser => "a service user",
        }
    }
}

/// A level in a few words.
#[must_use]
pub fn level_words(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Full => "Private and public sources",
        AccessLevel::Public => "Public sources only",
        AccessLevel::ReadOnly => "Read only: I add the webhook myself",
    }
}

/// A provider and the namespace's links to it.
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
    /// None: not linked.
    pub links: Vec<LinkCard>,
}

impl ProviderCard {
    /// Whether there is a link, in whatever state.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        !self.links.is_empty()
    }

    /// Whether something is wrong with a link.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.links.iter().any(LinkCard::needs_attention)
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
    /// Whether anything was ever unlinked.
    pub receipts: bool,
}

impl ProvidersPage {
    /// Whether nothing is linked at all.
    #[must_use]
    pub fn nothing_linked(&self) -> bool {
        self.cards.iter().all(|card| card.links.is_empty())
    }
}

/// A level that can be chosen.
#[derive(Clone, Debug)]
pub struct OfferView {
    /// The level.
    pub level: AccessLevel,
    /// What can be done with it and what not.
    pub words: String,
    /// What is asked for.
    pub scopes: Vec<ScopeView>,
}

impl OfferView {
    /// The level in a few words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        level_words(self.level)
    }
}

/// `/settings/source-providers/{provider}/connect`: what will be asked for, before the redirect.
#[derive(Template)]
#[template(path = "provider_connect.html")]
pub struct ConnectPage {
    /// Frame.
    pub shell: Shell,
    /// Id.
    pub id: String,
    /// Mark.
    pub kind: ProviderKind,
    /// The provider's name.
    pub name: String,
    /// Levels; the first is chosen.
    pub offers: Vec<OfferView>,
    /// Whom to link; set for an organization.
    pub advice: Option<String>,
    /// Who is linked already.
    pub linked: Vec<String>,
    /// Why it cannot be done now.
    pub problem: Option<String>,
}

/// A source of the link that would go.
#[derive(Clone, Debug)]
pub struct UnlinkSourceView {
    /// Repository here.
    pub path: String,
    /// Source at the provider.
    pub source: String,
    /// What stands there: `webhook`, `deploy key`, `2 build rules`.
    pub has: Vec<String>,
    /// The link that serves it from then on.
    pub served_by: Option<String>,
    /// The disabled link that it stays for.
    pub kept_for: Option<String>,
}

/// `/settings/source-providers/{provider}/unlink`: what will be removed and what stops.
#[derive(Template)]
#[template(path = "provider_unlink.html")]
pub struct UnlinkPage {
    /// Frame.
    pub shell: Shell,
    /// Id.
    pub id: String,
    /// The provider's name.
    pub name: String,
    /// The link.
    pub link: LinkCard,
    /// Its sources.
    pub sources: Vec<UnlinkSourceView>,
    /// What becomes of the grant.
    pub grant: String,
    /// What there is to know before.
    pub warnings: Vec<String>,
    /// The login, typed to confirm.
    pub confirm: Field,
}

impl UnlinkPage {
    /// Whether another link serves every source from then on.
    #[must_use]
    pub fn all_served(&self) -> bool {
        self.sources.iter().all(|source| source.served_by.is_some())
    }

    /// How many repositories stop.
    #[must_use]
    pub fn stops(&self) -> usize {
        self.sources.iter().filter(|source| source.served_by.is_none() && source.kept_for.is_none()).count()
    }
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
    /// Who was linked.
    pub login: String,
    /// When it was begun.
    pub at: Timestamp,
    /// When it was complete; `None` while it goes on.
    pub finished_at: Option<Timestamp>,
    /// Removed.
    pub removed: Vec<ReceiptLine>,
    /// Left behind.
    pub left: Vec<ReceiptLine>,
    /// Left on purpose.
    pub kept: Vec<ReceiptLine>,
    /// Repositories that no longer build.
    pub stopped: Vec<String>,
}

/// A receipt in the list.
#[derive(Clone, Debug)]
pub struct ReceiptRow {
    /// Its page.
    pub href: String,
    /// Provider's name.
    pub name: String,
    /// Who was linked.
    pub login: String,
    /// When.
    pub at: Timestamp,
    /// How many things a person has to finish.
    pub left: usize,
    /// Whether it is complete.
    pub finished: bool,
}

/// `/settings/source-providers/receipts`.
#[derive(Template)]
#[template(path = "provider_receipts.html")]
pub struct ReceiptsPage {
    /// Frame.
    pub shell: Shell,
    /// Newest first.
    pub rows: Vec<ReceiptRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
}
