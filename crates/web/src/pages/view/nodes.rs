//! Builder nodes, for administrators.

use askama::Template;
use slipway_model::Timestamp;

use super::shell::Shell;
use super::ui;

/// State of a node's engine.
#[derive(Clone, Debug)]
pub enum EngineView {
    /// It answers, like `Docker Engine 20.10.24`.
    Ready(String),
    /// It does not.
    Unavailable {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
}

/// A builder node.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// The machine's name.
    pub name: String,
    /// Version of the builder.
    pub version: String,
    /// How many builds at once.
    pub parallel: u32,
    /// How many now.
    pub busy: u32,
    /// Last heard of.
    pub seen_at: Timestamp,
    /// Whether it still speaks.
    pub contact: Contact,
    /// Its engine.
    pub engine: EngineView,
    /// What it builds: label and address.
    pub builds: Vec<(String, String)>,
}

/// Whether a builder was heard of lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contact {
    /// Yes.
    Fresh,
    /// No; its builds go back to the queue.
    Lost,
}

impl NodeRow {
    /// Colour, shape and word of the node as a whole.
    #[must_use]
    pub fn state(&self) -> ui::Markup {
        match (&self.engine, self.contact) {
            (_, Contact::Lost) => ui::state(ui::Tone::Bad, "silent"),
            (EngineView::Unavailable { .. }, _) => ui::state(ui::Tone::Attention, "no engine"),
            (EngineView::Ready(_), _) if self.busy > 0 => ui::state(ui::Tone::Running, "building"),
            (EngineView::Ready(_), _) => ui::state(ui::Tone::Good, "idle"),
        }
    }
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
}
