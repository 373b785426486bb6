//! Build rules: which refs they match and which tags come out. Pure functions; the payload of a delivery never decides more than the ref.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::build::words;
use crate::{
    BuildArguments, CommitId, ImageTag, InvalidPaths, InvalidTag, PathFilter, RefKind, RefName, RuleId, TagFacts, TagTemplates, Timestamp,
};

const MAX_PATTERN_BYTES: usize = 1024;
const MAX_REGEX_PROGRAM_BYTES: usize = 256 * 1024;

words! {
    /// What a rule listens to.
    SourceType {
        /// Pushes of branches; where pull requests are tested, also those into them.
        Branch = "branch",
        /// Pushes of tags.
        Tag = "tag",
        /// Pull requests, by the branch that they go into; they are tested and never pushed.
        PullRequest = "pull_request",
    }
}

/// What a rule's field refused, with the field's name in the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The regular expression does not compile.
    #[error("the regular expression `{pattern}` does not compile at character {position}: {message}")]
    Pattern {
        /// The text between the slashes.
        pattern: String,
        /// Where, counted from 1.
        position: usize,
        /// What the compiler says.
        message: String,
    },
    /// A source name that no ref can have.
    #[error("`{0}` is no possible name of a branch or tag; write a regular expression between slashes, like `/^v[0-9.]+$/`")]
    Source(String),
    /// A tag template that gives no valid tag.
    #[error("docker tag {0}; for example `latest`, `{{sourceref}}` or `version-{{\\1}}`")]
    Tags(#[from] InvalidTag),
    /// A template uses a group that the expression does not have.
    #[error(
        "the docker tag uses `{{\\{used}}}`, but the source name has {available} groups; a group is what stands in parentheses, for example `/^v([0-9.]+)$/` with `{{\\1}}`"
    )]
    Group {
        /// The number in the template.
        used: usize,
        /// How many the expression captures.
        available: usize,
    },
    /// A path that is not beneath the source's root.
    #[error("`{0}` is not a path inside of the source, expected a relative path without `..` of at most 512 characters")]
    Path(String),
    /// No possible name of a stage.
    #[error("`{0}` is no name of a stage, expected at most 128 of `A-Z a-z 0-9 _ . -`, first a letter or a digit")]
    Target(String),
    /// A build argument that cannot be given.
    #[error("{0}")]
    Argument(String),
    /// A pattern of paths.
    #[error(transparent)]
    Paths(#[from] InvalidPaths),
    /// There is no push before it to be compared with.
    #[error("paths are for rules of branches and pull requests: a tag is built whatever changed")]
    PathsOfTag,
}

impl RuleError {
    /// The rule's field that has to change.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Pattern { .. } | Self::Source(_) => "source",
            Self::Tags(_) | Self::Group { .. } => "tags",
            Self::Path(_) => "dockerfile",
            Self::Target(_) => "target",
            Self::Argument(_) => "args",
            Self::Paths(_) | Self::PathsOfTag => "paths",
        }
    }
}

/// A source name: literal, or a regular expression between slashes in linear-time syntax (crate `regex`).
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourcePattern {
    text: String,
    regex: Option<Arc<OnceLock<Regex>>>,
}

impl PartialEq for SourcePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for SourcePattern {}

impl fmt::Debug for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourcePattern({:?})", self.text)
    }
}

fn compile(pattern: &str) -> Result<Regex, RuleError> {
    let refused = |position: usize, message: String| RuleError::Pattern { pattern: pattern.chars().take(200).collect(), position, message };
    // `regex` reports errors as a drawing; its parser knows the position.
    regex_syntax::Parser::new().parse(pattern).map_err(|error| match &error {
        regex_syntax::Error::Parse(e) => refused(e.span().start.column, e.kind().to_string()),
        regex_syntax::Error::Translate(e) => refused(e.span().start.column, e.kind().to_string()),
        _ => refused(1, error.to_string()),
    })?;
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_REGEX_PROGRAM_BYTES)
        .build()
        .map_err(|_| refused(1, format!("the compiled expression is larger than {MAX_REGEX_PROGRAM_BYTES} bytes")))
}

impl SourcePattern {
    /// The text as it was written, with the slashes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a regular expression.
    #[must_use]
    pub fn is_regex(&self) -> bool {
        self.regex.is_some()
    }

    fn regex(&self) -> Option<&Regex> {
        let cell = self.regex.as_ref()?;
        let pattern = &self.text[1..self.text.len() - 1];
        Some(cell.get_or_init(|| compile(pattern).expect("the constructor compiled the same text")))
    }

    /// How many groups `{\n}` may use.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.regex().map_or(0, |regex| regex.captures_len() - 1)
    }

    /// The captured groups when the short name matches; groups that took no part are empty.
    #[must_use]
    pub fn captures(&self, short: &str) -> Option<Vec<String>> {
        match self.regex() {
            None => (self.text == short).then(Vec::new),
            Some(regex) => {
                let captures = regex.captures(short)?;
                Some(captures.iter().skip(1).take(9).map(|group| group.map_or(String::new(), |m| m.as_str().to_owned())).collect())
            }
        }
    }
}

impl FromStr for SourcePattern {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(RuleError::Source(text.chars().take(80).collect()));
        }
        if text.len() > 2 && text.starts_with('/') && text.ends_with('/') {
            let regex = compile(&text[1..text.len() - 1])?;
            let cell = OnceLock::new();
            cell.set(regex).expect("the cell is new");
            return Ok(Self { text: text.to_owned(), regex: Some(Arc::new(cell)) });
        }
        RefName::branch(text).map_err(|_| RuleError::Source(text.chars().take(80).collect()))?;
        Ok(Self { text: text.to_owned(), regex: None })
    }
}

impl TryFrom<String> for SourcePattern {
    type Error = RuleError;
    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<SourcePattern> for String {
    fn from(pattern: SourcePattern) -> Self {
        pattern.text
    }
}

/// A path inside of the source, relative to its root. Empty means "not given"; `/` is the root itself, as on Docker Hub. Other
/// leading `/` and `./` are accepted and dropped.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RulePath(String);

impl RulePath {
    /// The relative path, without `./` and slashes at its ends; `/` for the root; empty when it was not given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RulePath {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if text.len() > 512 || text.chars().any(char::is_control) || parts.contains(&"..") {
            return Err(RuleError::Path(text.chars().take(80).collect()));
        }
        let root = parts.is_empty() && !text.trim().is_empty();
        Ok(Self(if root { "/".to_owned() } else { parts.join("/") }))
    }
}

impl TryFrom<String> for RulePath {
    type Error = RuleError;
    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<RulePath> for String {
    fn from(path: RulePath) -> Self {
        path.0
    }
}

/// A stage of the Dockerfile to end with, by name or number; empty for the last one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetStage(String);

impl TargetStage {
    /// The name; empty for the last stage.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetStage {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let begins = text.bytes().next().is_none_or(|first| first.is_ascii_alphanumeric());
        if text.len() > 128 || !begins || !text.bytes().all(fits) {
            return Err(RuleError::Target(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TargetStage {
    type Error = RuleError;
    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<TargetStage> for String {
    fn from(target: TargetStage) -> Self {
        target.0
    }
}

/// Whether pull requests are tested, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autotest {
    /// No pull requests; an automated build still runs its tests.
    #[default]
    Off,
    /// Pull requests from the same repository.
    Internal,
    /// Pull requests from forks too.
    All,
}

impl Autotest {
    /// The word in the database, the API and the interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Internal => "internal",
            Self::All => "all",
        }
    }
}

impl FromStr for Autotest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "internal" => Ok(Self::Internal),
            "all" => Ok(Self::All),
            other => {
                Err(format!("`{}` is no autotest setting, expected `off`, `internal` or `all`", other.chars().take(40).collect::<String>()))
            }
        }
    }
}

/// A build rule, whole and valid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BuildRule {
    /// Its identity; it stays when the rule is edited.
    pub id: RuleId,
    /// What it listens to.
    pub source_type: SourceType,
    /// Which branches or tags; of pull requests the branches that they go into.
    pub source: SourcePattern,
    /// The tags that come out.
    pub tags: TagTemplates,
    /// Dockerfile, relative to the context (to the source's root when the context is empty).
    pub dockerfile: RulePath,
    /// Build context, relative to the source's root; empty means the Dockerfile's folder.
    pub context: RulePath,
    /// Off: what it builds is not pushed, and a push is built only for its tests, where autotest is on.
    pub autobuild: bool,
    /// Off: every build starts without cache.
    pub cache: bool,
    /// The stage to end with.
    #[serde(default)]
    pub target: TargetStage,
    /// Its own build arguments; they go before variables of the repository.
    #[serde(default)]
    pub args: BuildArguments,
    /// The files that it is built from: a push that changed none of them since the last image is not built, and a pull request that
    /// changes none of them not tested.
    #[serde(default)]
    pub paths: PathFilter,
}

/// What a matching rule makes of a ref.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleMatch {
    /// None, when every template comes out empty: there is nothing to build then ([`BuildRule::gives_no_tag`] says so).
    pub tags: Vec<ImageTag>,
}

impl BuildRule {
    /// The rule that a new autobuild begins with: the source's default branch becomes `latest`.
    #[must_use]
    pub fn default_for(branch: SourcePattern) -> Self {
        Self {
            id: RuleId::new(),
            source_type: SourceType::Branch,
            source: branch,
            tags: "latest".parse().expect("`latest` is a valid template"),
            dockerfile: "Dockerfile".parse().expect("`Dockerfile` is a valid path"),
            context: RulePath::default(),
            autobuild: true,
            cache: true,
            target: TargetStage::default(),
            args: BuildArguments::default(),
            paths: PathFilter::default(),
        }
    }

    /// Checks what no single field can know: that the tags use only groups that the source name has, and that a tag has no paths.
    ///
    /// # Errors
    /// [`RuleError::Group`] with both numbers, [`RuleError::PathsOfTag`].
    pub fn check(&self) -> Result<(), RuleError> {
        if self.source_type == SourceType::Tag && !self.paths.is_everything() {
            return Err(RuleError::PathsOfTag);
        }
        let (used, available) = (self.tags.highest_group(), self.source.groups());
        if used > available { Err(RuleError::Group { used, available }) } else { Ok(()) }
    }

    /// The tags that a ref gives under this rule when it is built at a commit and queued now; `None` when the rule does not match it. The
    /// autobuild toggle is not asked.
    #[must_use]
    pub fn matches(&self, name: &RefName, commit: &CommitId, now: Timestamp) -> Option<RuleMatch> {
        Some(self.rendered(name, &self.captures(name)?, commit, now))
    }

    /// As [`BuildRule::matches`], for a pull request into a branch: its image has the tags that one of the branch itself would have, and is
    /// known by them in its tests.
    #[must_use]
    pub fn matches_pull_request(&self, base: &RefName, commit: &CommitId, now: Timestamp) -> Option<RuleMatch> {
        Some(self.rendered(base, &self.captures_base(base)?, commit, now))
    }

    /// Whether the rule is for pull requests into a branch, at whatever commit.
    #[must_use]
    pub fn listens_to_pull_requests_into(&self, base: &RefName) -> bool {
        self.captures_base(base).is_some()
    }

    fn captures_base(&self, base: &RefName) -> Option<Vec<String>> {
        let listens = base.kind() == RefKind::Branch && self.source_type != SourceType::Tag;
        listens.then(|| self.source.captures(base.short())).flatten()
    }

    fn rendered(&self, name: &RefName, groups: &[String], commit: &CommitId, now: Timestamp) -> RuleMatch {
        let facts = TagFacts { source_ref: name.short(), groups, commit, queued_at: now };
        RuleMatch { tags: self.tags.render(&facts) }
    }

    /// Whether the rule matches a branch or tag, at whatever commit.
    #[must_use]
    pub fn is_for(&self, name: &RefName) -> bool {
        self.captures(name).is_some()
    }

    /// Groups of the source name, when the rule matches a ref.
    fn captures(&self, name: &RefName) -> Option<Vec<String>> {
        match (self.source_type, name.kind()) {
            (SourceType::Branch, RefKind::Branch) | (SourceType::Tag, RefKind::Tag) => self.source.captures(name.short()),
            _ => None,
        }
    }

    /// Why nothing is built of a ref that the rule matches: none of its tags comes out.
    #[must_use]
    pub fn gives_no_tag(&self, name: &RefName) -> String {
        format!("the docker tag `{}` comes out empty for `{}`, so it gives no tag", self.tags.as_str(), name.short())
    }

    /// Whether this rule as it was at another time makes the same image and tags of the same commit.
    #[must_use]
    pub fn builds_like(&self, other: &Self) -> bool {
        self.dockerfile == other.dockerfile
            && self.context == other.context
            && self.target == other.target
            && self.args == other.args
            && self.tags == other.tags
    }

    /// The rule in one line, as verdicts and pages name it.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.source_type.as_str().replace('_', " "), self.source.as_str())
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
