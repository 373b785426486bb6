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
    /// Settings.
    Settings,
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
    /// Builder nodes too.
    Administrator,
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
    /// Who is signed in; `None` renders the frame without navigation.
    pub person: Option<Person>,
    /// The namespaces that the person may switch to.
    pub namespaces: Vec<String>,
    /// The current one.
    pub namespace: String,
    /// Which entry is current.
    pub area: Area,
    /// `2 builders idle`, with its colour and shape.
    pub builders: Notice,
    /// Version of Slipway.
    pub version: &'static str,
    /// Path and query of this page, to come back to.
    pub path: String,
    /// The request's id, shown with errors.
    pub request_id: String,
    /// What was just done.
    pub notice: Option<Notice>,
}

impl Shell {
    /// `page` for the current entry, else nothing: the value of `aria-current`.
    #[must_use]
    pub fn current(&self, area: Area) -> &'static str {
        if self.area == area { "page" } else { "false" }
    }

    /// Whether the navigation shows what administrators use.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.person.as_ref().is_some_and(|person| person.role == Role::Administrator)
    }

    /// The first letter of a name, for its avatar.
    #[must_use]
    pub fn initial(&self, name: &str) -> String {
        name.chars().take(1).flat_map(char::to_uppercase).collect()
    }
}

impl Shell {
    /// The frame without a person: before signing in, or when it is not known who asks.
    #[must_use]
    pub fn outside() -> Self {
        Self {
            now: Timestamp::from_millis(0),
            theme: Theme::Auto,
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
