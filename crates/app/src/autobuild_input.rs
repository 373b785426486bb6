//! Autobuild settings as a person wrote them, and what is checked of them.
//!
//! Invariant: a refusal names the place of what it refuses, `rules[2].tags`. Deliberately elsewhere: the fields' own grammar (`slipway-model`),
//! the source (`chosen`), storing (`autobuilds`).

use serde::{Deserialize, Serialize};
use slipway_model::{
    BuildArgument, BuildRule, EnvironmentVariable, InvalidPaths, PathFilter, PathPatterns, RuleError, RuleId, SHORTEST_SECRET, SourceType,
};

use crate::{Error, Refusal, RefusalKind};

const MAX_RULES: usize = 50;
const MAX_VARIABLES: usize = 100;

/// A rule as a person wrote it: nothing of it is checked yet.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleInput {
    /// Keeps its identity when given.
    #[serde(default)]
    pub id: Option<String>,
    /// `branch`, `tag` or `pull_request`.
    pub source_type: String,
    /// Literal or `/regex/`.
    pub source: String,
    /// Templates separated by commas.
    pub tags: String,
    /// Default `Dockerfile`.
    #[serde(default)]
    pub dockerfile: Option<String>,
    /// Default: the Dockerfile's folder.
    #[serde(default)]
    pub context: Option<String>,
    /// Default: on.
    #[serde(default)]
    pub autobuild: Option<bool>,
    /// Default: on.
    #[serde(default)]
    pub cache: Option<bool>,
    /// Default: the last stage.
    #[serde(default)]
    pub target: Option<String>,
    /// Build arguments of this rule alone.
    #[serde(default)]
    pub args: Vec<BuildArgument>,
    /// Default: every file.
    #[serde(default)]
    pub paths: PathsInput,
}

/// The files that a rule is built from, as globs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PathsInput {
    /// Only these; all when there is none.
    #[serde(default)]
    pub include: Vec<String>,
    /// But not these.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A variable as a person wrote it; without a value the stored one stays.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableInput {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: Option<String>,
    /// Whether it reaches the Dockerfile only as a secret; absent: as it is stored, and a new one is none.
    #[serde(default)]
    pub secret: Option<bool>,
}

impl std::fmt::Debug for VariableInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=[redacted]", self.name)
    }
}

/// Settings as a person wrote them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutobuildInput {
    /// Which provider.
    pub provider: String,
    /// `owner/name` at the provider.
    pub source: String,
    /// The repository's id there. Without one the name counts; the name that is stored means the repository that is stored, and is refused
    /// (`source_changed`) once another one has it.
    #[serde(default)]
    pub source_id: Option<String>,
    /// `off`, `internal` or `all`.
    #[serde(default)]
    pub autotest: Option<String>,
    /// Absent: as it is stored, else on.
    #[serde(default)]
    pub approve_external: Option<bool>,
    /// Absent: as it is stored, else on.
    #[serde(default)]
    pub cancel_superseded: Option<bool>,
    /// Empty: the default rule.
    #[serde(default)]
    pub rules: Vec<RuleInput>,
    /// Absent: the stored ones stay.
    #[serde(default)]
    pub env: Option<Vec<VariableInput>>,
}

pub(crate) fn rule_error(index: usize, error: &RuleError) -> Error {
    Error::invalid("rule", &format!("rules[{index}].{}", error.field()), error.to_string())
}

impl RuleInput {
    fn check(&self, index: usize) -> Result<BuildRule, Error> {
        let field = |name: &str| format!("rules[{index}].{name}");
        let source_type: SourceType =
            self.source_type.parse().map_err(|detail: String| Error::invalid("rule", &field("source_type"), detail))?;
        let id = match self.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => id.parse().map_err(|_| Error::invalid("rule", &field("id"), "this is not the id of a rule"))?,
            None => RuleId::new(),
        };
        let path =
            |name: &str, text: &str| text.parse().map_err(|error: RuleError| Error::invalid("rule", &field(name), error.to_string()));
        let dockerfile = self.dockerfile.as_deref().filter(|path| !path.trim().is_empty()).unwrap_or("Dockerfile");
        let rule = BuildRule {
            id,
            source_type,
            source: self.source.trim().parse().map_err(|error| rule_error(index, &error))?,
            tags: self.tags.parse().map_err(|error: slipway_model::InvalidTag| rule_error(index, &RuleError::from(error)))?,
            dockerfile: path("dockerfile", dockerfile)?,
            context: path("context", self.context.as_deref().unwrap_or(""))?,
            autobuild: self.autobuild.unwrap_or(true),
            cache: self.cache.unwrap_or(true),
            target: self.target.as_deref().unwrap_or("").parse().map_err(|error| rule_error(index, &error))?,
            args: self.args.clone().try_into().map_err(|error| rule_error(index, &error))?,
            paths: PathFilter {
                include: patterns(index, "include", &self.paths.include)?,
                exclude: patterns(index, "exclude", &self.paths.exclude)?,
            },
        };
        rule.check().map_err(|error| rule_error(index, &error))?;
        Ok(rule)
    }
}

fn patterns(index: usize, field: &str, texts: &[String]) -> Result<PathPatterns, Error> {
    texts
        .to_vec()
        .try_into()
        .map_err(|error: InvalidPaths| Error::invalid("rule", &format!("rules[{index}].paths.{field}"), error.to_string()))
}

pub(crate) fn check_rules(inputs: &[RuleInput]) -> Result<Vec<BuildRule>, Error> {
    if inputs.len() > MAX_RULES {
        return Err(Error::invalid("rules", "rules", format!("there are {} rules, at most {MAX_RULES} are accepted", inputs.len())));
    }
    let rules: Vec<BuildRule> = inputs.iter().enumerate().map(|(index, input)| input.check(index)).collect::<Result<_, _>>()?;
    for (index, rule) in rules.iter().enumerate() {
        if rules[..index].iter().any(|earlier| earlier.id == rule.id) {
            return Err(Error::invalid("rule", &format!("rules[{index}].id"), "two rules have the same id"));
        }
    }
    Ok(rules)
}

pub(crate) fn check_variables(inputs: &[VariableInput], stored: &[EnvironmentVariable]) -> Result<Vec<EnvironmentVariable>, Error> {
    if inputs.len() > MAX_VARIABLES {
        return Err(Error::invalid("env", "env", format!("there are {} variables, at most {MAX_VARIABLES} are accepted", inputs.len())));
    }
    let mut variables: Vec<EnvironmentVariable> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let kept = stored.iter().find(|variable| variable.name == input.name);
        let field = format!("env[{index}]");
        let Some(value) = input.value.clone().or_else(|| kept.map(|variable| variable.value.clone())) else {
            return Err(Error::invalid("env", &format!("{field}.value"), "a new variable needs a value"));
        };
        let variable = EnvironmentVariable {
            name: input.name.clone(),
            value,
            secret: input.secret.unwrap_or_else(|| kept.is_some_and(|variable| variable.secret)),
        };
        if let Some(problem) = variable.name_problem() {
            return Err(Error::invalid("env", &field, problem));
        }
        if let Some(problem) = variable.value_problem() {
            return Err(Error::invalid("env", &format!("{field}.value"), problem));
        }
        // One that is stored is left as it is: whoever saves something else has not chosen it now.
        if variable.is_too_short_a_secret() && kept != Some(&variable) {
            let detail = format!(
                "the secret `{}` is shorter than {SHORTEST_SECRET} characters: by chance it stands in any image, so nobody could tell whether it leaked",
                variable.name
            );
            let refusal = Refusal::new(RefusalKind::Invalid, "env", detail).field(format!("{field}.value"));
            return Err(refusal.hint("make it longer, or take the mark away: it is then a build argument, which stays readable in the image").into());
        }
        if variables.iter().any(|earlier| earlier.name == variable.name) {
            return Err(Error::invalid("env", &field, format!("the variable `{}` stands twice", variable.name)));
        }
        variables.push(variable);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(source: &str, tags: &str) -> RuleInput {
        RuleInput { source_type: "branch".into(), source: source.into(), tags: tags.into(), ..RuleInput::default() }
    }

    #[test]
    fn rules_are_refused_with_their_field() {
        let field = |rules: &[RuleInput]| match check_rules(rules) {
            Err(Error::Refused(refusal)) => refusal.field.unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(&[input("main", "latest"), input("/(/", "x")]), "rules[1].source");
        assert_eq!(field(&[input("main", "a b")]), "rules[0].tags");
        assert_eq!(field(&[RuleInput { dockerfile: Some("../x".into()), ..input("main", "x") }]), "rules[0].dockerfile");
        assert_eq!(field(&[RuleInput { context: Some("a/../../b".into()), ..input("main", "x") }]), "rules[0].context");
        assert_eq!(field(&[RuleInput { source_type: "pr".into(), ..input("main", "x") }]), "rules[0].source_type");
        assert_eq!(field(&[RuleInput { target: Some("a b".into()), ..input("main", "x") }]), "rules[0].target");
        let argument = BuildArgument { name: "BUILDKIT_SYNTAX".into(), value: "evil/x".into() };
        assert_eq!(field(&[RuleInput { args: vec![argument], ..input("main", "x") }]), "rules[0].args");
        let paths = PathsInput { exclude: vec!["a[".into()], ..PathsInput::default() };
        assert_eq!(field(&[RuleInput { paths, ..input("main", "x") }]), "rules[0].paths.exclude");
        let paths = PathsInput { include: vec!["api".into()], ..PathsInput::default() };
        assert_eq!(field(&[RuleInput { source_type: "tag".into(), paths, ..input("v1", "x") }]), "rules[0].paths");
        assert!(check_rules(&[input("main", "latest")]).is_ok());
    }

    #[test]
    fn a_short_secret_is_refused_unless_it_stands() {
        let stored = [EnvironmentVariable { name: "PIN".into(), value: "1234".into(), secret: true }];
        let given = |value: Option<&str>, secret| VariableInput { name: "PIN".into(), value: value.map(str::to_owned), secret };
        for kept in [given(None, None), given(Some("1234"), Some(true)), given(Some("1"), Some(false)), given(Some(""), Some(true))] {
            assert!(check_variables(&[kept], &stored).is_ok());
        }
        for (refused, stored) in [(given(Some("4321"), None), &stored[..]), (given(Some("1234"), Some(true)), &[])] {
            let Err(Error::Refused(refusal)) = check_variables(&[refused], stored) else { panic!("it is too short") };
            assert_eq!(refusal.field.as_deref(), Some("env[0].value"));
            assert!(refusal.detail.contains("8 characters") && refusal.hint.is_some());
        }
        let open = [EnvironmentVariable { secret: false, ..stored[0].clone() }];
        assert!(check_variables(&[given(None, Some(true))], &open).is_err(), "it was none");
    }

    #[test]
    fn a_variable_without_value_keeps_the_stored_one() {
        let stored = [EnvironmentVariable { name: "A".into(), value: "kept".into(), secret: true }];
        let given = |name: &str, value: Option<&str>| VariableInput { name: name.into(), value: value.map(str::to_owned), secret: None };
        assert_eq!(check_variables(&[given("A", None)], &stored).unwrap(), stored);
        assert!(
            check_variables(&[given("A", Some("newer-one"))], &stored).unwrap()[0].secret,
            "what is secret stays so until somebody says otherwise"
        );
        let open = VariableInput { secret: Some(false), ..given("A", None) };
        assert!(!check_variables(&[open], &stored).unwrap()[0].secret);
        assert!(!check_variables(&[given("B", Some("x"))], &stored).unwrap()[0].secret);
        assert!(check_variables(&[given("B", None)], &stored).is_err());
        assert!(check_variables(&[given("A", Some("x")), given("A", Some("y"))], &stored).is_err());
        assert!(check_variables(&[given("DOCKER_TAG", Some("x"))], &stored).is_err());
    }
}
