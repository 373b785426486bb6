//! The frame around every page: navigation, the person, the theme, the builders' state.

use slipway_model::Timestamp;

use super::ui::Tone;

/// Light, dark, or whatever the device prefers. Kept in the cookie `slipway_theme`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Theme {
    /// As the device prefers.
    #[default]
    Auto,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// Every value, in the order of the menu.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// The word in the cookie and in the page's `data-theme`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The word on the button.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Auto => "As the device",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }

    /// From the cookie; anything odd means [`Theme::Auto`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }
}

/// The entry of the navigation that is marked as the current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// Repositories and everything beneath one.
    Repositories,
    /// Queue and builds of the namespace.
    Builds,
    /// Source providers.
    Providers,
    /// Teams of an organization.
    Teams,
    /// Members of an organization.
    Members,
    /// Settings.
    Settings,
    /// People, invitations and the log of the installation.
    Administration,
    /// Builder nodes.
    Nodes,
    /// None of them.
    Elsewhere,
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Account name.
    pub name: String,
    /// Whether the page shows what only administrators may use.
    pub role: Role,
}

/// What the navigation offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The usual entries.
    Member,
    /// What administrators use, too.
    Administrator,
}

/// What a person is in a namespace that they may switch to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is their own.
    Own,
    /// An organization that they own.
    Owner,
    /// An organization in which they are a member of teams.
    Member,
}

/// A namespace that the person may switch to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What the person is there.
    pub place: Place,
}

impl Namespace {
    /// Whether it is an organization.
    #[must_use]
    pub fn is_organization(&self) -> bool {
        self.place != Place::Own
    }

    /// Whether the person may create repositories in it and link providers to it.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.place != Place::Member
    }
}

/// How much stands around a page that strangers see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One narrow column: signing in, errors before it is known who asks.
    Alone,
    /// The bar at the top, and with a person the navigation at the left.
    Framed,
}

/// On which screens an entry of the navigation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Also in the bar at the bottom of a small screen.
    Everywhere,
    /// Only where there is room; on a small screen it stands in the person's menu or beside its neighbour.
    Wide,
}

/// An entry of the navigation.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it leads.
    pub href: String,
    /// Its icon.
    pub icon: &'static str,
    /// Its words.
    pub wide: &'static str,
    /// The same, where there is little room.
    pub narrow: &'static str,
    /// What it is the entry of.
    pub area: Area,
    /// Where it is shown.
    pub reach: Reach,
}

/// A message at the top of the page, about what was just done.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Its colour and shape.
    pub tone: Tone,
    /// One sentence.
    pub text: String,
}

/// Everything that the frame shows.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The moment of rendering; relative times count from it.
    pub now: Timestamp,
    /// Light or dark.
    pub theme: Theme,
    /// How much stands around the page.
    pub layout: Layout,
    /// Who is signed in.
    pub person: Option<Person>,
    /// The namespaces that the person may switch to, their own first.
    pub namespaces: Vec<Namespace>,
    /// The chosen one: that of the address, else the person's own.
    pub namespace: String,
    /// Which entry is current.
    pub area: Area,
    /// `2 builders idle`, with its colour and shape.
    pub builders: Notice,
    /// Version of Slipway.
    pub version: &'static str,
    /// Path of this page, to come back to.
    pub path: String,
    /// The request's id, shown with errors.
    pub request_id: String,
    /// What was just done.
    pub notice: Option<Notice>,
}

impl Shell {
    /// `page` for the current entry, else nothing: the value of `aria-current`.
    #[must_use]
    pub fn current(&self, area: &Area) -> &'static str {
        if self.area == *area { "page" } else { "false" }
    }

    /// Whether the navigation shows what administrators use.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.person.as_ref().is_some_and(|person| person.role == Role::Administrator)
    }

    /// Whether the page stands alone, without bar and navigation.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.layout == Layout::Alone
    }

    /// Where a stranger signs in and comes back from.
    #[must_use]
    pub fn sign_in(&self) -> String {
        format!("/signin?next={}", super::ui::address_part(&self.path))
    }

    /// What the person is in the chosen namespace.
    #[must_use]
    pub fn place(&self) -> Place {
        self.namespaces.iter().find(|one| one.name == self.namespace).map_or(Place::Own, |one| one.place)
    }

    /// Whether the chosen namespace is an organization.
    #[must_use]
    pub fn in_organization(&self) -> bool {
        self.place() != Place::Own
    }

    /// Whether the person owns the chosen namespace: themselves, or their organization.
    #[must_use]
    pub fn owns(&self) -> bool {
        self.place() != Place::Member
    }

    /// Whether it is the chosen one: the value of `aria-current`.
    #[must_use]
    pub fn chosen(&self, name: &str) -> &'static str {
        if self.namespace == name { "true" } else { "false" }
    }

    /// Where the settings of the chosen namespace begin: `/settings` or `/o/acme/settings`.
    #[must_use]
    pub fn settings(&self) -> String {
        if self.in_organization() { format!("/o/{}/settings", self.namespace) } else { "/settings".to_owned() }
    }

    /// Where the source providers of the chosen namespace are.
    #[must_use]
    pub fn providers(&self) -> String {
        format!("{}/source-providers", self.settings())
    }

    /// Where the builds of the chosen namespace are.
    #[must_use]
    pub fn builds(&self) -> String {
        if self.in_organization() { format!("/o/{}/builds", self.namespace) } else { "/builds".to_owned() }
    }

    /// The navigation at the left, or at the bottom of a small screen: what the person may use and nothing else.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |area, href: String, icon, wide, narrow| Entry { href, icon, wide, narrow, area, reach: Reach::Everywhere };
        let organization = format!("/o/{}", self.namespace);
        let mut all = vec![
            entry(Area::Repositories, format!("/{}", self.namespace), "repositories", "Repositories", "Images"),
            entry(Area::Builds, self.builds(), "builds", "Builds", "Builds"),
        ];
        if self.owns() {
            all.push(entry(Area::Providers, self.providers(), "plug-hollow", "Source providers", "Sources"));
        }
        if self.in_organization() {
            all.push(entry(Area::Teams, format!("{organization}/teams"), "teams", "Teams", "Teams"));
        }
        if self.place() == Place::Owner {
            all.push(Entry {
                reach: Reach::Wide,
                ..entry(Area::Members, format!("{organization}/members"), "members", "Members", "Members")
            });
        }
        if self.owns() {
            let settings = if self.in_organization() { self.settings() } else { "/settings/account".to_owned() };
            all.push(entry(Area::Settings, settings, "settings", "Settings", "Settings"));
        }
        all
    }

    /// What administrators use, beneath the rest.
    #[must_use]
    pub fn administration(&self) -> Vec<Entry> {
        if !self.is_administrator() {
            return Vec::new();
        }
        let entry = |area, href: &str, icon, wide, narrow| Entry { href: href.to_owned(), icon, wide, narrow, area, reach: Reach::Wide };
        vec![
            entry(Area::Administration, "/admin/accounts", "shield", "Administration", "Admin"),
            entry(Area::Nodes, "/builders", "nodes", "Builder nodes", "Nodes"),
        ]
    }

    /// The first letter of a name, for its avatar.
    #[must_use]
    pub fn initial(&self, name: &str) -> String {
        name.chars().take(1).flat_map(char::to_uppercase).collect()
    }
}

impl Shell {
    /// The frame of a page that stands alone: before signing in, or when it is not known who asks.
    #[must_use]
    pub fn outside() -> Self {
        Self {
            now: Timestamp::from_millis(0),
            theme: Theme::Auto,
            layout: Layout::Alone,
            person: None,
            namespaces: Vec::new(),
            namespace: String::new(),
            area: Area::Elsewhere,
            builders: Notice { tone: Tone::Waiting, text: String::new() },
            version: "",
            path: "/".to_owned(),
            request_id: String::new(),
            notice: None,
        }
    }
}

impl Entry {
    /// Whether a small screen leaves it out.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.reach == Reach::Wide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(namespace: &str, role: Role) -> Shell {
        let namespaces = [("ada", Place::Own), ("acme", Place::Owner), ("club", Place::Member)];
        Shell {
            layout: Layout::Framed,
            person: Some(Person { name: "ada".into(), role }),
            namespaces: namespaces.map(|(name, place)| Namespace { name: name.into(), place }).to_vec(),
            namespace: namespace.into(),
            ..Shell::outside()
        }
    }

    fn words(shell: &Shell) -> Vec<&'static str> {
        shell.entries().iter().chain(&shell.administration()).map(|entry| entry.wide).collect()
    }

    #[test]
    fn the_navigation_offers_what_one_may_use() {
        assert_eq!(words(&shell("ada", Role::Member)), ["Repositories", "Builds", "Source providers", "Settings"]);
        let owner = ["Repositories", "Builds", "Source providers", "Teams", "Members", "Settings"];
        assert_eq!(words(&shell("acme", Role::Member)), owner);
        assert_eq!(words(&shell("club", Role::Administrator)), ["Repositories", "Builds", "Teams", "Administration", "Builder nodes"]);
        assert!(words(&Shell::outside()).iter().all(|word| *word != "Administration"));
    }

    #[test]
    fn addresses_follow_the_chosen_namespace() {
        assert_eq!(shell("ada", Role::Member).providers(), "/settings/source-providers");
        assert_eq!(shell("acme", Role::Member).providers(), "/o/acme/settings/source-providers");
        assert_eq!(shell("club", Role::Member).builds(), "/o/club/builds");
        assert_eq!(Shell { path: "/a/b".into(), ..Shell::outside() }.sign_in(), "/signin?next=%2Fa%2Fb");
    }
}
