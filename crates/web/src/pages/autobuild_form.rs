//! The autobuild form between browser and application: rows as they were typed, and refusals beside the fields that they name.
//!
//! Invariant: input `n` of the application stands for row `rules[n]` or `variables[n]` of what was kept, so a refusal finds its row.

use slipway_app::{AutobuildInput, PathsInput, Refusal, RuleInput, VariableInput};
use slipway_model::{Autotest, BuildArgument, BuildRule, EnvironmentVariable, SourceType};

use super::error::sentence;
use super::fields::Fields;
use super::view::autobuild::{RuleRow, Stored, VariableRow};
use super::view::form::Field;

/// What was typed.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) provider: String,
    pub(super) source: String,
    pub(super) source_id: String,
    pub(super) autotest: Autotest,
    pub(super) approve_external: bool,
    pub(super) cancel_superseded: bool,
    /// Rows with a source that are not to be removed.
    pub(super) rules: Vec<RuleRow>,
    /// Rows with a name or value that are not to be removed.
    pub(super) variables: Vec<VariableRow>,
    /// What concerns neither rule nor variable.
    pub(super) error: Option<String>,
}

impl Typed {
    pub(super) fn of(form: &Fields) -> Self {
        let rules = form.rows("rules").into_iter().map(|n| rule(form, n)).filter(|(row, removed)| !removed && !row.source.value.is_empty());
        let variables = form
            .rows("env")
            .into_iter()
            .map(|n| variable(form, n))
            .filter(|(row, removed)| !(*removed || row.name.value.is_empty() && row.value.value.is_empty()));
        Self {
            provider: form.text("provider").to_owned(),
            source: form.text("source").to_owned(),
            source_id: form.text("source_id").to_owned(),
            autotest: form.text("autotest").parse().unwrap_or_default(),
            approve_external: form.ticked("approve_external"),
            cancel_superseded: form.ticked("cancel_superseded"),
            rules: rules.map(|(row, _)| row).collect(),
            variables: variables.map(|(row, _)| row).collect(),
            error: None,
        }
    }

    /// For the application.
    pub(super) fn input(&self) -> AutobuildInput {
        AutobuildInput {
            provider: self.provider.clone(),
            source: self.source.clone(),
            source_id: Some(self.source_id.clone()).filter(|id| !id.is_empty()),
            autotest: Some(self.autotest.as_str().to_owned()),
            approve_external: Some(self.approve_external),
            cancel_superseded: Some(self.cancel_superseded),
            rules: self.rule_inputs(),
            env: Some(
                self.variables
                    .iter()
                    .map(|row| VariableInput {
                        name: row.name.value.clone(),
                        value: (!row.value.value.is_empty() || !row.is_stored()).then(|| row.value.value.clone()),
                        secret: Some(row.secret),
                    })
                    .collect(),
            ),
        }
    }

    /// The rules alone, for the preview.
    pub(super) fn rule_inputs(&self) -> Vec<RuleInput> {
        self.rules
            .iter()
            .map(|row| RuleInput {
                id: Some(row.id.clone()).filter(|id| !id.is_empty()),
                source_type: row.source_type.as_str().to_owned(),
                source: row.source.value.clone(),
                tags: row.tags.value.clone(),
                dockerfile: Some(row.dockerfile.value.clone()),
                context: Some(row.context.value.clone()),
                autobuild: Some(row.autobuild),
                cache: Some(row.cache),
                target: Some(row.target.value.clone()),
                args: arguments(&row.args.value),
                paths: PathsInput { include: lines(&row.include.value), exclude: lines(&row.exclude.value) },
            })
            .collect()
    }

    /// Puts a refusal beside the field that it names.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let text = [Some(sentence(&refusal.detail)), refusal.hint.as_deref().map(sentence)].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let place = refusal.field.as_deref().and_then(place);
        let field = match place {
            Some(("rules", n, name)) => self.rules.get_mut(n).map(|row| match name {
                "tags" => &mut row.tags,
                "dockerfile" => &mut row.dockerfile,
                "context" => &mut row.context,
                "target" => &mut row.target,
                "args" => &mut row.args,
                "paths" | "paths.include" => &mut row.include,
                "paths.exclude" => &mut row.exclude,
                _ => &mut row.source,
            }),
            Some(("env", n, "value")) => self.variables.get_mut(n).map(|row| &mut row.value),
            Some(("env", n, _)) => self.variables.get_mut(n).map(|row| &mut row.name),
            _ => None,
        };
        match field {
            Some(field) => field.error = Some(text),
            None => self.error = Some(text),
        }
    }
}

/// `rules[2].tags` as its list, number and name.
pub(super) fn place(field: &str) -> Option<(&str, usize, &str)> {
    let (list, rest) = field.split_once('[')?;
    let (number, name) = rest.split_once(']')?;
    Some((list, number.parse().ok()?, name.trim_start_matches('.')))
}

/// What is written, a line each.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// `NAME=value` a line; without `=` the value is empty.
fn arguments(text: &str) -> Vec<BuildArgument> {
    let argument = |line: String| match line.split_once('=') {
        Some((name, value)) => BuildArgument { name: name.trim().to_owned(), value: value.to_owned() },
        None => BuildArgument { name: line, value: String::new() },
    };
    lines(text).into_iter().map(argument).collect()
}

fn rule(form: &Fields, n: usize) -> (RuleRow, bool) {
    let text = |name: &str| form.text(&format!("rules.{n}.{name}")).trim().to_owned();
    let row = RuleRow {
        index: n,
        id: text("id"),
        source_type: text("source_type").parse().unwrap_or(SourceType::Branch),
        source: Field::new(text("source")),
        tags: Field::new(text("tags")),
        dockerfile: Field::new(text("dockerfile")),
        context: Field::new(text("context")),
        autobuild: form.ticked(&format!("rules.{n}.autobuild")),
        cache: form.ticked(&format!("rules.{n}.cache")),
        target: Field::new(text("target")),
        args: Field::new(text("args")),
        include: Field::new(text("include")),
        exclude: Field::new(text("exclude")),
    };
    (row, form.ticked(&format!("rules.{n}.remove")))
}

fn variable(form: &Fields, n: usize) -> (VariableRow, bool) {
    let name = form.text(&format!("env.{n}.name")).trim();
    let stored = if form.ticked(&format!("env.{n}.stored")) { Stored::Yes } else { Stored::No };
    // Browsers send line ends as CR LF; keys and certificates want LF.
    let value = form.text(&format!("env.{n}.value")).replace("\r\n", "\n");
    let secret = form.ticked(&format!("env.{n}.secret"));
    (VariableRow { index: n, name: Field::new(name), value: Field::new(value), stored, secret }, form.ticked(&format!("env.{n}.remove")))
}

/// A stored rule as a row.
pub(super) fn rule_row(index: usize, rule: &BuildRule) -> RuleRow {
    RuleRow {
        index,
        id: rule.id.to_string(),
        source_type: rule.source_type,
        source: Field::new(rule.source.as_str()),
        tags: Field::new(rule.tags.as_str()),
        dockerfile: Field::new(rule.dockerfile.as_str()),
        context: Field::new(rule.context.as_str()),
        autobuild: rule.autobuild,
        cache: rule.cache,
        target: Field::new(rule.target.as_str()),
        args: Field::new(rule.args.to_string()),
        include: Field::new(rule.paths.include.to_string()),
        exclude: Field::new(rule.paths.exclude.to_string()),
    }
}

/// A stored variable as a row, without its value.
pub(super) fn variable_row(index: usize, variable: &EnvironmentVariable) -> VariableRow {
    VariableRow { index, name: Field::new(&variable.name), value: Field::default(), stored: Stored::Yes, secret: variable.secret }
}

/// The same rows with the stored values, for who may see them and asked for them.
pub(super) fn with_values(mut rows: Vec<VariableRow>, stored: &[EnvironmentVariable]) -> Vec<VariableRow> {
    for row in &mut rows {
        if let Some(variable) = stored.iter().find(|variable| variable.name == row.name.value) {
            row.value = Field::new(&variable.value);
        }
    }
    rows
}

/// Adds one empty row behind the others, so that a rule can be added without JavaScript.
pub(super) fn with_empty_rule(mut rules: Vec<RuleRow>) -> Vec<RuleRow> {
    let next = rules.iter().map(|row| row.index + 1).max().unwrap_or(0);
    rules.push(RuleRow::empty(next));
    rules
}

/// The same for variables.
pub(super) fn with_empty_variable(mut variables: Vec<VariableRow>) -> Vec<VariableRow> {
    let next = variables.iter().map(|row| row.index + 1).max().unwrap_or(0);
    variables.push(VariableRow { index: next, name: Field::default(), value: Field::default(), stored: Stored::No, secret: false });
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_app::RefusalKind;

    fn typed(query: &str) -> Typed {
        Typed::of(&Fields::of(query))
    }

    #[test]
    fn empty_and_removed_rows_are_left_out() {
        let form = typed(
            "provider=github&source=a/b&autotest=internal&rules.0.source=main&rules.0.tags=latest&rules.0.cache=true&rules.1.source=&rules.2.source=x&rules.2.remove=true&env.0.name=A&env.0.stored=true&env.1.name=B&env.1.value=1%0D%0A2&env.1.secret=true&env.2.name=",
        );
        let input = form.input();
        assert_eq!(input.rules.len(), 1);
        assert_eq!((input.rules[0].autobuild, input.rules[0].cache), (Some(false), Some(true)));
        let env = input.env.unwrap();
        assert_eq!((env[0].value.as_deref(), env[1].value.as_deref()), (None, Some("1\n2")));
        assert_eq!((env.len(), env[0].secret, env[1].secret), (2, Some(false), Some(true)));
        assert_eq!((input.autotest.as_deref(), input.cancel_superseded), (Some("internal"), Some(false)));
        assert_eq!(input.source_id, None, "only a name");
        assert_eq!(typed("provider=github&source=a/b&source_id=7").input().source_id.as_deref(), Some("7"));
    }

    #[test]
    fn a_refusal_finds_its_field() {
        let mut form = typed("rules.0.source=&rules.7.source=main&rules.9.source=/(/&rules.9.tags=x&env.4.name=DOCKER_TAG");
        let refusal = |field: &str| Refusal::new(RefusalKind::Invalid, "x", "it is wrong").field(field);
        form.refuse(&refusal("rules[1].source"));
        form.refuse(&refusal("env[0]"));
        assert_eq!(form.rules[1].source.error.as_deref(), Some("It is wrong."));
        assert!(form.rules[0].errors().is_empty() && form.variables[0].name.is_refused() && form.error.is_none());
        form.refuse(&refusal("env[0].value").hint("make it right"));
        assert_eq!(form.variables[0].value.error.as_deref(), Some("It is wrong. Make it right."));
        form.refuse(&refusal("source"));
        assert!(form.error.is_some());
    }
}
