//! The source picker: provider, then account or organization, then repository; searched in our copy of what the links see.
//!
//! Invariant: what cannot be chosen is shown with the reason and the way on, never left out. Elsewhere: rules (`autobuild`).

use askama::Template;
use slipway_model::{LinkState, ProviderKind, Timestamp, Visibility};

use super::providers::OrganizationView;
use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui;

/// A provider to choose.
#[derive(Clone, Debug)]
pub struct PickProvider {
    /// Id.
    pub id: String,
    /// Mark.
    pub kind: ProviderKind,
    /// Name.
    pub name: String,
    /// Health of the link that works best.
    pub link: LinkState,
}

impl PickProvider {
    /// Whether there is a link, in whatever state.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.link != LinkState::NotLinked
    }
}

/// Why nothing can be read through the chosen provider's link now.
#[derive(Clone, Debug)]
pub struct PickTrouble {
    /// Who is linked.
    pub login: String,
    /// How the link is.
    pub state: LinkState,
    /// What that was concluded from.
    pub evidence: Option<String>,
    /// What a person does next.
    pub next_step: Option<String>,
}

impl PickTrouble {
    /// The rest of the sentence that begins with the link: its state, and what that means here.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.state {
            LinkState::Disabled => "is disabled: nothing is read or built through it. What it saw before is below.",
            LinkState::Restricted => "is restricted by an organization. What is shown grey has to let Slipway in first.",
            LinkState::Suspended => "is suspended at the provider. What it saw before is below; nothing of it is built until that ends.",
            LinkState::Revoked => {
                "is revoked at the provider. What it saw before is below; nothing of it is built until it is linked again."
            }
            LinkState::Error | LinkState::NotLinked | LinkState::Ok | LinkState::Expiring | LinkState::ScopeMissing => {
                "is answered with errors. What was read before is below."
            }
        }
    }
}

/// A source repository to choose.
#[derive(Clone, Debug)]
pub struct PickRepository {
    /// Its id at the provider.
    pub id: String,
    /// `acme/app`.
    pub full_name: String,
    /// Who may see it at the provider.
    pub visibility: Visibility,
    /// Whether it takes pushes.
    pub pushes: Pushes,
    /// Default branch.
    pub default_branch: String,
}

/// Whether anything new can come from a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushes {
    /// It takes pushes.
    Taken,
    /// It is archived.
    Archived,
}

impl PickRepository {
    /// Whether it takes no pushes any more.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        self.pushes == Pushes::Archived
    }

    /// Whether a stranger cannot see it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.visibility == Visibility::Private
    }
}

/// How far the copy is that was searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyState {
    /// Nothing of it was read yet, or not all: more may come by itself.
    Reading,
    /// All of it was read; the stalest part then.
    Read(Timestamp),
    /// Not all of it was read, and nobody reads it now.
    Partial,
}

/// What the search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// By name.
    pub repositories: Vec<PickRepository>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// How far the copy is.
    pub copy: CopyState,
    /// Why some of it could not be read.
    pub problem: Option<String>,
    /// `owner/name` as it was typed, when the copy does not hold it.
    pub typed: Option<String>,
}

impl Found {
    /// Whether more may come by itself.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.copy == CopyState::Reading
    }

    /// When the stalest part was read.
    #[must_use]
    pub fn read_at(&self) -> Option<Timestamp> {
        match self.copy {
            CopyState::Read(at) => Some(at),
            CopyState::Reading | CopyState::Partial => None,
        }
    }

    /// How many there are on this page, for those who do not see it.
    #[must_use]
    pub fn said(&self) -> String {
        let count = ui::count(self.repositories.len(), "repository", "repositories");
        if self.next.is_some() { format!("{count}, and there are more") } else { count }
    }
}

/// `/{ns}/{name}/autobuild/source`.
#[derive(Template)]
#[template(path = "source_picker.html")]
pub struct SourcePickerPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// Choices of the first step.
    pub providers: Vec<PickProvider>,
    /// The chosen provider; empty when none is.
    pub provider: String,
    /// What is wrong with its link.
    pub trouble: Option<PickTrouble>,
    /// Choices of the second step, also those that do not let us in.
    pub namespaces: Vec<OrganizationView>,
    /// The chosen one; empty for all.
    pub namespace: String,
    /// Choices of the third step; `None` until a provider is chosen.
    pub found: Option<Found>,
    /// What is searched for.
    pub query: String,
}

impl SourcePickerPage {
    /// The chosen provider's name.
    #[must_use]
    pub fn provider_name(&self) -> &str {
        self.providers.iter().find(|choice| choice.id == self.provider).map_or("", |choice| &choice.name)
    }

    /// This page for a namespace, with the same search.
    #[must_use]
    pub fn within(&self, namespace: &str) -> String {
        let mut address = format!("?provider={}", ui::address_part(&self.provider));
        for (name, value) in [("namespace", namespace), ("q", &self.query)] {
            if !value.is_empty() {
                address.push_str(&format!("&{name}={}", ui::address_part(value)));
            }
        }
        address
    }

    /// The next page of the same search.
    #[must_use]
    pub fn further(&self, cursor: &str) -> String {
        format!("{}&cursor={}", self.within(&self.namespace), ui::address_part(cursor))
    }

    /// The settings with a source of the list.
    #[must_use]
    pub fn choose(&self, choice: &PickRepository) -> String {
        let (id, branch) = (ui::address_part(&choice.id), ui::address_part(&choice.default_branch));
        format!("{}&source_id={id}&branch={branch}", self.choose_typed(&choice.full_name))
    }

    /// The settings with a source of which only the name is known.
    #[must_use]
    pub fn choose_typed(&self, full_name: &str) -> String {
        let (provider, source) = (ui::address_part(&self.provider), ui::address_part(full_name));
        format!("{}/autobuild?provider={provider}&source={source}", self.head.base())
    }
}
