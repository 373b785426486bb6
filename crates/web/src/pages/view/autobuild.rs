//! Autobuild settings: source, autotest, rules, variables, preview.

use askama::Template;
use slipway_model::{Autotest, SourceType};

use super::form::Field;
use super::repositories::{May, RepositoryHead, SourceView, Tab};
use super::shell::Shell;
use super::ui;
use super::webhook::AtProvider;

/// A rule in the table, as it was typed.
#[derive(Clone, Debug)]
pub struct RuleRow {
    /// Place in the form: `rules.{index}.…`.
    pub index: usize,
    /// Id, empty for a new one.
    pub id: String,
    /// Branch or tag.
    pub source_type: SourceType,
    /// Name or `/regex/`.
    pub source: Field,
    /// Templates.
    pub tags: Field,
    /// Path.
    pub dockerfile: Field,
    /// Path.
    pub context: Field,
    /// A push starts a build.
    pub autobuild: bool,
    /// Builds use the cache.
    pub cache: bool,
    /// Stage to end with.
    pub target: Field,
    /// `NAME=value`, one a line.
    pub args: Field,
    /// Patterns, one a line.
    pub include: Field,
    /// Patterns, one a line.
    pub exclude: Field,
}

impl RuleRow {
    /// An empty row at that place, with the two toggles on.
    #[must_use]
    pub fn empty(index: usize) -> Self {
        Self {
            index,
            id: String::new(),
            source_type: SourceType::Branch,
            source: Field::default(),
            tags: Field::default(),
            dockerfile: Field::new("Dockerfile"),
            context: Field::new("/"),
            autobuild: true,
            cache: true,
            target: Field::default(),
            args: Field::default(),
            include: Field::default(),
            exclude: Field::default(),
        }
    }

    /// Its fields with their names in addresses of refusals, in the order in which they stand on the page.
    fn fields(&self) -> [(&'static str, &Field); 8] {
        [
            ("source", &self.source),
            ("tags", &self.tags),
            ("dockerfile", &self.dockerfile),
            ("context", &self.context),
            ("target", &self.target),
            ("args", &self.args),
            ("include", &self.include),
            ("exclude", &self.exclude),
        ]
    }

    /// What is set beyond the first row, in words.
    #[must_use]
    pub fn more(&self) -> String {
        let lines = |field: &Field| field.value.lines().filter(|line| !line.trim().is_empty()).count();
        let mut set = Vec::new();
        if !self.target.value.is_empty() {
            set.push(format!("stage {}", self.target.value));
        }
        let counts = [
            (&self.args, "build argument", "build arguments"),
            (&self.include, "path", "paths"),
            (&self.exclude, "path left out", "paths left out"),
        ];
        set.extend(counts.into_iter().filter(|(field, ..)| lines(field) > 0).map(|(field, one, many)| ui::count(lines(field), one, many)));
        set.join(", ")
    }

    /// Whether one of the fields beyond the first row was refused.
    #[must_use]
    pub fn more_is_refused(&self) -> bool {
        self.fields()[4..].iter().any(|(_, field)| field.is_refused())
    }

    /// `selected` mark of the source type.
    #[must_use]
    pub fn is_of(&self, source_type: &SourceType) -> bool {
        self.source_type == *source_type
    }

    /// Every message of the row, in the order of its fields.
    #[must_use]
    pub fn errors(&self) -> Vec<&str> {
        self.fields().into_iter().filter_map(|(_, field)| field.error.as_deref()).collect()
    }
}

/// A variable in the table.
#[derive(Clone, Debug)]
pub struct VariableRow {
    /// Place in the form.
    pub index: usize,
    /// Name.
    pub name: Field,
    /// The value as it was typed just now, or the stored one when somebody who may see it asked for it.
    pub value: Field,
    /// Whether an empty value keeps a stored one.
    pub stored: Stored,
    /// It reaches a build as a secret alone.
    pub secret: bool,
}

/// Whether a variable has a value in the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It has; the field may stay empty.
    Yes,
    /// It is new.
    No,
}

impl VariableRow {
    /// Its fields with their names in addresses of refusals, in the order in which they stand on the page.
    fn fields(&self) -> [(&'static str, &Field); 2] {
        [("name", &self.name), ("value", &self.value)]
    }

    /// Every message of the row, in the order of its fields.
    #[must_use]
    pub fn errors(&self) -> Vec<&str> {
        self.fields().into_iter().filter_map(|(_, field)| field.error.as_deref()).collect()
    }

    /// Whether a value is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored == Stored::Yes
    }
}

/// A ref that matches now.
#[derive(Clone, Debug)]
pub struct PreviewMatch {
    /// Full ref.
    pub source_ref: String,
    /// Tags that come out; none when each comes out empty.
    pub tags: Vec<PreviewTag>,
}

/// A tag that would come out.
#[derive(Clone, Debug)]
pub struct PreviewTag {
    /// Name.
    pub name: String,
    /// Whether another ref gives the same.
    pub collides: Option<String>,
}

/// What one rule does now.
#[derive(Clone, Debug)]
pub struct PreviewRule {
    /// `Rule 1`.
    pub label: String,
    /// The pattern.
    pub source: String,
    /// What it listens to.
    pub source_type: SourceType,
    /// Refs that match, at most 20.
    pub matches: Vec<PreviewMatch>,
    /// How many more.
    pub more: usize,
    /// Its autobuild is off: no push gives these tags.
    pub by_hand: bool,
    /// Why the rule cannot be used.
    pub error: Option<String>,
}

impl PreviewRule {
    /// Whether it listens to pull requests, of which nothing stands at the provider's list of refs.
    #[must_use]
    pub fn is_of_pull_requests(&self) -> bool {
        self.source_type == SourceType::PullRequest
    }
}

/// The live preview; also an answer of its own for the page's script.
#[derive(Template, Clone, Debug, Default)]
#[template(path = "autobuild_preview.html")]
pub struct Preview {
    /// One for each rule.
    pub rules: Vec<PreviewRule>,
    /// Tags that come from more than one ref.
    pub collisions: Vec<String>,
    /// How many refs were looked at, when the source has more.
    pub part: Option<usize>,
    /// Why the refs could not be read.
    pub problem: Option<String>,
}

/// `/{ns}/{name}/autobuild`.
#[derive(Template)]
#[template(path = "autobuild.html")]
pub struct AutobuildPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// Chosen source; `None` shows the first step only.
    pub source: Option<SourceView>,
    /// What is wrong with the source.
    pub source_error: Option<String>,
    /// Pull requests.
    pub autotest: Autotest,
    /// Pull requests from outside wait for a writer's word.
    pub approve_external: bool,
    /// A newer push cancels builds of older ones that wait still.
    pub cancel_superseded: bool,
    /// Rules, the last one empty.
    pub rules: Vec<RuleRow>,
    /// Variables, the last one empty.
    pub variables: Vec<VariableRow>,
    /// Preview.
    pub preview: Preview,
    /// Whether the settings are in the database.
    pub stored: Stored,
    /// What stands at the provider; `None` while nothing is stored, or another source was just chosen.
    pub at_provider: Option<AtProvider>,
}

impl AutobuildPage {
    /// Whether autobuild is set up.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored == Stored::Yes
    }

    /// Whether the person may choose another source: the owner, whose link it is read through.
    #[must_use]
    pub fn may_pick(&self) -> bool {
        self.head.may(May::Owner)
    }

    /// The rules without the empty row, for those who may only look.
    #[must_use]
    pub fn stored_rules(&self) -> Vec<&RuleRow> {
        self.rules.iter().filter(|row| !row.source.value.is_empty()).collect()
    }

    /// The names of the variables, for those who may only look.
    #[must_use]
    pub fn stored_variables(&self) -> Vec<&str> {
        self.variables.iter().map(|row| row.name.value.as_str()).filter(|name| !name.is_empty()).collect()
    }

    /// Whether stored values could be shown and are not.
    #[must_use]
    pub fn hides_values(&self) -> bool {
        self.variables.iter().any(|row| row.is_stored() && row.value.value.is_empty())
    }

    /// Whether that choice is the current one.
    #[must_use]
    pub fn is_autotest(&self, word: &str) -> bool {
        self.autotest.as_str() == word
    }

    /// The row that the script copies for a new rule; its index is replaced.
    #[must_use]
    pub fn blank_rule(&self) -> RuleRow {
        RuleRow::empty(9999)
    }

    /// Messages that stand above the form, with the field that each belongs to.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let rules = self.rules.iter().enumerate().flat_map(|(n, row)| {
            row.fields().into_iter().filter_map(move |(name, field)| {
                field.error.as_ref().map(|error| (format!("rule-{}-{name}", row.index), format!("Rule {}: {error}", n + 1)))
            })
        });
        let variables = self.variables.iter().flat_map(|row| {
            row.fields().into_iter().filter_map(|(name, field)| {
                field.error.as_ref().map(|error| (format!("variable-{}-{name}", row.index), error.clone()))
            })
        });
        rules.chain(variables).collect()
    }
}
