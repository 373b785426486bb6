//! Repositories: the list, a new one, and the pages of one.

use askama::Template;
use slipway_model::{AccountKind, LinkState, ProviderKind, Timestamp, Visibility};

use super::builds::BuildRow;
use super::external::ExternalRow;
use super::form::Field;
use super::shell::Shell;
use super::ui::{self, Tone};

/// Where a repository's source is and how its link does.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Provider's id.
    pub provider: String,
    /// Its mark.
    pub kind: ProviderKind,
    /// `acme/app` at the provider.
    pub full_name: String,
    /// Its id there; empty for one that was only typed.
    pub id: String,
    /// Its page at the provider.
    pub url: Option<String>,
    /// The link's health.
    pub link: LinkState,
}

/// A repository in a list.
#[derive(Clone, Debug)]
pub struct RepositoryRow {
    /// `namespace/name`.
    pub path: String,
    /// One line.
    pub description: String,
    /// Who may pull.
    pub visibility: Visibility,
    /// Autobuild's source, when there is one.
    pub source: Option<SourceView>,
    /// The latest build.
    pub last_build: Option<BuildRow>,
    /// What the person may do with it. Who may only view it sees neither source nor builds.
    pub may: May,
}

impl RepositoryRow {
    /// Whether source and builds are shown.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.may >= May::Read
    }
}

/// What somebody who looks at a namespace is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looks {
    /// Its owner: sees everything, may create.
    Owner,
    /// A member of an organization: sees what the teams give.
    Member,
    /// Anybody else: sees what is public.
    Outsider,
}

/// `/{ns}`: the repositories of a namespace.
#[derive(Template)]
#[template(path = "repositories.html")]
pub struct RepositoryListPage {
    /// Frame.
    pub shell: Shell,
    /// The namespace.
    pub namespace: String,
    /// The name that people see; empty when it is not set.
    pub display_name: String,
    /// Person, organization or service account.
    pub kind: AccountKind,
    /// Who looks.
    pub looks: Looks,
    /// Filter as it was typed.
    pub query: String,
    /// One page of them.
    pub rows: Vec<RepositoryRow>,
    /// Whether the namespace has any link that works; the empty state teaches by it.
    pub link: LinkState,
    /// Cursor of the next page.
    pub next: Option<String>,
}

impl RepositoryListPage {
    /// Whether the owner looks.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.looks == Looks::Owner
    }

    /// What people call the namespace.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.display_name.is_empty() { &self.namespace } else { &self.display_name }
    }
}

/// `/repositories/new`.
#[derive(Template)]
#[template(path = "repository_new.html")]
pub struct NewRepositoryPage {
    /// Frame.
    pub shell: Shell,
    /// Where it may be made.
    pub namespaces: Vec<String>,
    /// The chosen one.
    pub namespace: String,
    /// Name.
    pub name: Field,
    /// One line.
    pub description: Field,
    /// Who may pull.
    pub visibility: Visibility,
}

/// Which page of a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    /// Description, tags, builds.
    General,
    /// Builds.
    Builds,
    /// Autobuild settings.
    Autobuild,
    /// Tags.
    Tags,
    /// Deliveries.
    Deliveries,
    /// Settings.
    Settings,
}

/// What the person may do with the repository; the pages hide what would be refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum May {
    /// See the general page and tags, pull.
    View,
    /// See builds, deliveries and build settings.
    Read,
    /// Start and cancel builds, delete tags.
    Write,
    /// Change settings.
    Admin,
    /// Delete builds and the repository.
    Owner,
}

/// The head of each page of a repository.
#[derive(Clone, Debug)]
pub struct RepositoryHead {
    /// Owner.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Who may pull.
    pub visibility: Visibility,
    /// Autobuild's source.
    pub source: Option<SourceView>,
    /// Current page.
    pub tab: Tab,
    /// Rights.
    pub may: May,
    /// Where the links of its namespace are; only owners go there.
    pub providers: Option<String>,
    /// Trouble of its source or link: it stands on every page that it affects.
    pub notices: Vec<HeadNotice>,
}

/// Trouble that stands on every page of a repository.
#[derive(Clone, Debug)]
pub struct HeadNotice {
    /// Colour and shape.
    pub tone: Tone,
    /// What is so.
    pub text: String,
    /// Since when, when the text does not say it.
    pub since: Option<Timestamp>,
    /// What that means, and what to do or who can.
    pub next: String,
    /// Where links are mended; only for those who may.
    pub providers: Option<String>,
}

impl RepositoryHead {
    /// `/namespace/name`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("/{}/{}", self.namespace, self.name)
    }

    /// `page` for the current tab, else `false`.
    #[must_use]
    pub fn current(&self, tab: Tab) -> &'static str {
        if self.tab == tab { "page" } else { "false" }
    }

    /// Whether the person may do that much.
    #[must_use]
    pub fn may(&self, wanted: May) -> bool {
        self.may >= wanted
    }
}

/// A tag in a table.
#[derive(Clone, Debug)]
pub struct TagRow {
    /// Name.
    pub name: String,
    /// Manifest.
    pub digest: String,
    /// Size of the image.
    pub size: Option<u64>,
    /// When it moved last.
    pub updated_at: Timestamp,
    /// The build whose image it is: label and address.
    pub build: Option<(String, String)>,
    /// The person who moved it to that image, if one did.
    pub moved_by: Option<String>,
    /// The command that pulls it.
    pub pull: String,
    /// How it stands in the external registry; only for who sees builds.
    pub external: Option<ExternalRow>,
}

/// `/{ns}/{name}`.
#[derive(Template)]
#[template(path = "repository.html")]
pub struct GeneralPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// One line.
    pub description: String,
    /// The command that pulls it.
    pub pull: String,
    /// The command that logs in.
    pub login: String,
    /// The latest tags.
    pub tags: Vec<TagRow>,
    /// The latest builds.
    pub builds: Vec<BuildRow>,
    /// The branch that starts a build, for the empty state.
    pub watched: Option<String>,
    /// How it came that another link serves the source than before.
    pub takeover: Option<String>,
}

/// `/{ns}/{name}/tags`.
#[derive(Template)]
#[template(path = "tags.html")]
pub struct TagsPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// One page of them.
    pub tags: Vec<TagRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// `/{ns}/{name}/settings`.
#[derive(Template)]
#[template(path = "repository_settings.html")]
pub struct RepositorySettingsPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// One line.
    pub description: Field,
    /// Who may pull.
    pub visibility: Visibility,
    /// The name as it was typed to delete.
    pub confirm: Field,
    /// How many tags would go.
    pub tags: usize,
}
