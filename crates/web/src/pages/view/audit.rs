//! The audit log: of a namespace, or of the installation.
//!
//! Invariant: values come from the application, which leaves secrets out; here they are laid out and cut, nothing else.

use askama::Template;
use serde_json::Value;
use slipway_model::Timestamp;

use super::admin::AdminTab;
use super::form::Field;
use super::shell::Shell;
use super::ui;

/// Characters of one value that are shown; the export has all of it.
const VALUE: usize = 400;
/// Fields of one entry that are shown.
const FIELDS: usize = 40;

/// Whose log it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogOf {
    /// Of the person's own namespace.
    Person,
    /// Of an organization.
    Organization(String),
    /// Of the installation.
    Installation,
}

impl LogOf {
    /// Where the log is.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Person => "/settings/audit".to_owned(),
            Self::Organization(name) => format!("/o/{name}/settings/audit"),
            Self::Installation => "/admin/audit".to_owned(),
        }
    }
}

/// A field of an entry: what changed, or what stayed and says where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its name; empty when the whole value is meant.
    pub field: String,
    /// What it was; `None` when it was not there.
    pub old: Option<String>,
    /// What it is; `None` when it is no longer there.
    pub new: Option<String>,
}

impl Change {
    /// Whether it stayed as it was.
    #[must_use]
    pub fn stayed(&self) -> bool {
        self.old == self.new
    }
}

/// A field's name with its value in words.
type Pair = (String, String);

fn fields(value: Option<&Value>) -> Vec<Pair> {
    match value {
        Some(Value::Object(map)) => map.iter().filter_map(|(name, value)| Some((name.clone(), readable(value)?))).collect(),
        Some(other) => readable(other).map(|text| vec![(String::new(), text)]).unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Two values field by field, those that stayed first: they say what the others belong to. Fields without a value on either side are
/// left out.
#[must_use]
pub fn changes(old: Option<&Value>, new: Option<&Value>) -> Vec<Change> {
    let (old, new) = (fields(old), fields(new));
    let find = |list: &[Pair], name: &str| list.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in old.iter().chain(&new) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let change = |name: &String| Change { field: name.replace('_', " "), old: find(&old, name), new: find(&new, name) };
    let (mut all, changed): (Vec<Change>, Vec<Change>) = names.into_iter().map(change).partition(Change::stayed);
    all.extend(changed);
    all.truncate(FIELDS);
    all
}

/// A JSON value as people read it: texts without quotes, lists with commas, nothing for what is empty.
fn readable(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let apart = if list.iter().any(Value::is_object) { "; " } else { ", " };
            list.iter().filter_map(readable).collect::<Vec<_>>().join(apart)
        }
        Value::Object(map) => {
            let field = |(name, value): (&String, &Value)| Some(format!("{}: {}", name.replace('_', " "), readable(value)?));
            map.iter().filter_map(field).collect::<Vec<_>>().join(", ")
        }
    };
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => Some(format!("{}…", &text[..end])),
        None => Some(text).filter(|text| !text.is_empty()),
    }
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Through what, like `session` or ``token `ci` ``.
    pub via: String,
    /// From where; empty when it came from this machine.
    pub address: String,
    /// What, like `team.create`.
    pub action: String,
    /// On what.
    pub object: String,
    /// In which namespace; shown in the installation's log.
    pub namespace: Option<String>,
    /// Old and new values.
    pub changes: Vec<Change>,
}

/// The filter as it was typed.
#[derive(Clone, Debug, Default)]
pub struct AuditFields {
    /// Who.
    pub actor: Field,
    /// What: an area like `team`, or an action like `team.create`.
    pub action: Field,
    /// On what.
    pub object: Field,
    /// From this day on, `2026-11-21`.
    pub since: Field,
    /// Up to the end of this day.
    pub until: Field,
}

impl AuditFields {
    /// Whether anything is filtered.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        [&self.actor, &self.action, &self.object, &self.since, &self.until].iter().any(|field| !field.value.is_empty())
    }

    /// The messages beside the fields.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, &str)> {
        let fields =
            [("actor", &self.actor), ("action", &self.action), ("object", &self.object), ("since", &self.since), ("until", &self.until)];
        fields.into_iter().filter_map(|(name, field)| Some((name, field.error.as_deref()?))).collect()
    }

    /// The filter as a query, for the next page and the export.
    #[must_use]
    pub fn query(&self, cursor: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let fields =
            [("actor", &self.actor), ("action", &self.action), ("object", &self.object), ("since", &self.since), ("until", &self.until)];
        for (name, field) in fields {
            if !field.value.is_empty() {
                query.append_pair(name, &field.value);
            }
        }
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        query.finish()
    }
}

/// Areas of actions, offered while typing.
pub const AREAS: [&str; 17] = [
    "account",
    "second_factor",
    "recovery_codes",
    "identity",
    "session",
    "token",
    "organization",
    "team",
    "member",
    "team_repository",
    "invitation",
    "link",
    "repository",
    "autobuild",
    "build",
    "delivery",
    "tag",
];

/// `/settings/audit`, `/o/{org}/settings/audit` and `/admin/audit`.
#[derive(Template)]
#[template(path = "audit.html")]
pub struct AuditPage {
    /// Frame.
    pub shell: Shell,
    /// Whose log.
    pub of: LogOf,
    /// The filter.
    pub filter: AuditFields,
    /// One page, the newest first.
    pub rows: Vec<AuditRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// Where the same entries come as JSON lines.
    pub export: String,
}

impl AuditPage {
    /// Whether an administrator looks: at the installation's log, or at that of an organization in which they are nobody.
    #[must_use]
    pub fn is_administration(&self) -> bool {
        match &self.of {
            LogOf::Person => false,
            LogOf::Organization(name) => *name != self.shell.namespace,
            LogOf::Installation => true,
        }
    }

    /// The address of the next page.
    #[must_use]
    pub fn more(&self, cursor: impl AsRef<str>) -> String {
        format!("{}?{}", self.of.address(), self.filter.query(Some(cursor.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stand_beside_each_other_and_empty_ones_are_left_out() {
        let old = json!({ "name": "dev", "description": "", "scopes": ["repo:read", "repo:write"], "gone": true, "expires_at": null });
        let new = json!({ "name": "dev", "description": "Builds it", "scopes": ["repo:read"], "is_admin": false });
        let change = |field: &str, old: Option<&str>, new: Option<&str>| Change {
            field: field.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let found = changes(Some(&old), Some(&new));
        assert_eq!(found[0], change("name", Some("dev"), Some("dev")));
        assert!(found[0].stayed());
        let mut rest = found[1..].to_vec();
        rest.sort_by(|a, b| a.field.cmp(&b.field));
        assert_eq!(
            rest,
            [
                change("description", None, Some("Builds it")),
                change("gone", Some("yes"), None),
                change("is admin", None, Some("no")),
                change("scopes", Some("repo:read, repo:write"), Some("repo:read")),
            ]
        );
        assert_eq!(changes(None, Some(&json!("read"))), [change("", None, Some("read"))]);
        assert!(changes(None, Some(&json!({ "description": "", "list": [] }))).is_empty());
        assert!(changes(None, None).is_empty());
    }

    #[test]
    fn lists_of_things_are_read_as_sentences() {
        let rules = json!({ "rules": [{ "source": "main", "cache": true }, { "source": "v1", "cache": false }] });
        assert_eq!(changes(None, Some(&rules))[0].new.as_deref(), Some("cache: yes, source: main; cache: no, source: v1"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = json!({ "text": "é".repeat(5000) });
        let found = changes(None, Some(&long));
        assert_eq!(found[0].new.as_deref().map(|text| text.chars().count()), Some(VALUE + 1));
    }

    #[test]
    fn the_filter_goes_into_addresses_whole() {
        let filter = AuditFields { actor: Field::new("a&b=c"), action: Field::new("team.create"), ..AuditFields::default() };
        assert_eq!(filter.query(Some("x y")), "actor=a%26b%3Dc&action=team.create&cursor=x+y");
        assert_eq!(LogOf::Organization("acme".into()).address(), "/o/acme/settings/audit");
    }
}
