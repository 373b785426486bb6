//! Builder nodes, for administrators.

use askama::Template;
use slipway_model::Timestamp;

use super::form::Field;
use super::shell::Shell;
use super::ui;

/// How a node stands, by colour, shape and word.
#[derive(Clone, Debug)]
pub struct Stand {
    /// Colour and shape.
    pub tone: ui::Tone,
    /// Word.
    pub word: &'static str,
    /// What is wrong, and what to do.
    pub trouble: Option<(String, String)>,
}

/// Where a node came from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// It is part of the server.
    BuiltIn,
    /// It joined by a token of this person's.
    Joined(String),
}

/// A builder node.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// Identity.
    pub id: String,
    /// The machine's name.
    pub name: String,
    /// Where it came from.
    pub origin: Origin,
    /// Version of the builder; empty until it says so.
    pub version: String,
    /// What its git prints; empty until it says so.
    pub git: String,
    /// Its engine, when that answered last.
    pub engine: Option<String>,
    /// Why it cannot have engines of its own, if it cannot.
    pub obstacle: Option<String>,
    /// What an administrator says of it.
    pub labels: Vec<String>,
    /// How many builds at once.
    pub places: u32,
    /// How many now.
    pub busy: u32,
    /// Last heard of.
    pub seen_at: Timestamp,
    /// Since when it takes no new builds.
    pub draining_since: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// How it stands.
    pub stand: Stand,
    /// What it builds, as far as the person may see it: label and address.
    pub builds: Vec<(String, String)>,
    /// How many builds it has besides.
    pub others: usize,
}

impl NodeRow {
    /// Colour, shape and word of the node as a whole.
    #[must_use]
    pub fn state(&self) -> ui::Markup {
        ui::state(self.stand.tone, self.stand.word)
    }
}

/// A join token that may still make a node.
#[derive(Clone, Debug)]
pub struct JoinTokenRow {
    /// Identity.
    pub id: String,
    /// Labels of the node that it makes.
    pub labels: String,
    /// Who made it.
    pub by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The join token that was just made; shown once.
#[derive(Clone, Debug)]
pub struct NewJoin {
    /// Puts it into a file on the other machine.
    pub keep: String,
    /// Starts the builder there.
    pub start: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}

/// `/builders`.
#[derive(Template)]
#[template(path = "nodes.html")]
pub struct NodesPage {
    /// Frame.
    pub shell: Shell,
    /// Nodes.
    pub nodes: Vec<NodeRow>,
    /// How many builds wait.
    pub waiting: usize,
    /// After how many seconds a silent node is called offline.
    pub silence: u64,
    /// Join tokens that may still make a node.
    pub tokens: Vec<JoinTokenRow>,
    /// The one that was just made.
    pub created: Option<NewJoin>,
    /// Labels as they were typed.
    pub labels: Field,
    /// Why no token was made, when it is not about the labels.
    pub problem: Option<String>,
}

/// `/builders/{id}`.
#[derive(Template)]
#[template(path = "node.html")]
pub struct NodePage {
    /// Frame.
    pub shell: Shell,
    /// The node.
    pub node: NodeRow,
    /// Labels as they were typed.
    pub labels: Field,
    /// The name as it was typed.
    pub confirm: Field,
    /// Why it was not removed, when it is not about the name.
    pub remove_problem: Option<String>,
}

impl NodePage {
    /// Whether it is part of the server.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        matches!(self.node.origin, Origin::BuiltIn)
    }
}
