//! Holds JSON bodies against an OpenAPI 3.0 description: types, required fields, formats, and no invented fields.
//! Invariant: a body that passes `check` has nothing that the description does not know. Elsewhere: which operation a request is
//! (`route`).

mod route;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

/// Words of OpenAPI that JSON Schema does not have.
const FOREIGN: &[&str] = &["nullable", "example", "examples", "discriminator", "externalDocs", "xml", "deprecated"];

pub use route::{Operation, Route};

/// An OpenAPI 3.0 description, and the validators that were made of its schemas so far.
pub struct Description(Value, Mutex<HashMap<String, Arc<jsonschema::Validator>>>);

impl Description {
    /// A description that is at hand already.
    pub fn new(document: Value) -> Self {
        Self(document, Mutex::default())
    }

    /// The whole of it.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// Reads a description from a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        Ok(Self::new(serde_json::from_str(&text)?))
    }

    /// Schema of an operation's JSON answer with a status; `None` means that the answer has no body.
    pub fn answer(&self, method: &str, template: &str, status: u16) -> Result<Option<&Value>> {
        let operation = &self.0["paths"][template][method.to_lowercase()];
        ensure!(operation.is_object(), "the description has no `{method} {template}`");
        let response = self.resolved(&operation["responses"][status.to_string()])?;
        ensure!(response.is_object(), "`{method} {template}` never answers {status}");
        let schema = &response["content"]["application/json"]["schema"];
        Ok(Some(schema).filter(|schema| !schema.is_null()))
    }

    /// A schema of the description by its name.
    pub fn schema(&self, name: &str) -> Value {
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Checks a body and that it has no field that the description does not know; the error names every place that is wrong.
    pub fn check(&self, schema: &Value, body: &Value) -> Result<()> {
        self.validate(schema, body)?;
        self.check_no_inventions(schema, body)
    }

    /// Checks a body by the rules of its schema alone.
    pub fn validate(&self, schema: &Value, body: &Value) -> Result<()> {
        let validator = self.validator(schema)?;
        let errors: Vec<String> = validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        ensure!(errors.is_empty(), "{}\n{body:#}", errors.join("\n"));
        Ok(())
    }

    /// Making a validator takes longer than using it, and a fake checks every answer.
    fn validator(&self, schema: &Value) -> Result<Arc<jsonschema::Validator>> {
        let name = schema.to_string();
        let known = |all: &Mutex<HashMap<_, _>>| all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&name).cloned();
        if let Some(validator) = known(&self.1) {
            return Ok(validator);
        }
        let validator = Arc::new(self.compiled(schema)?);
        self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, Arc::clone(&validator));
        Ok(validator)
    }

    fn compiled(&self, schema: &Value) -> Result<jsonschema::Validator> {
        let mut wanted = BTreeSet::new();
        let root = converted(schema, &mut wanted);
        let mut schemas = Map::new();
        while let Some(name) = wanted.pop_first() {
            if schemas.contains_key(&name) {
                continue;
            }
            let found = &self.0["components"]["schemas"][&name];
            ensure!(found.is_object(), "the description has no schema `{name}`");
            let mut more = BTreeSet::new();
            schemas.insert(name, converted(found, &mut more));
            wanted.extend(more);
        }
        let document = json!({ "allOf": [root], "components": { "schemas": schemas } });
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&document)
            .map_err(|error| anyhow::anyhow!("the schema does not compile: {error}"))
    }

    fn check_no_inventions(&self, schema: &Value, body: &Value) -> Result<()> {
        let schema = self.resolved(schema)?;
        let (items, of) = match body {
            Value::Array(items) => (items.iter().collect::<Vec<_>>(), schema.get("items").unwrap_or(schema)),
            other => (vec![other], schema),
        };
        for object in items.into_iter().filter_map(Value::as_object) {
            let Some(known) = self.known_fields(of)? else { continue };
            let invented: Vec<&String> = object.keys().filter(|key| !known.contains(*key)).collect();
            ensure!(invented.is_empty(), "the description does not know the fields {invented:?}");
        }
        Ok(())
    }

    /// What a reference leads to; anything else is itself.
    pub fn resolved<'a>(&'a self, schema: &'a Value) -> Result<&'a Value> {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(name) => self.0.pointer(name.trim_start_matches('#')).with_context(|| format!("`{name}` leads nowhere")),
            None => Ok(schema),
        }
    }

    /// Names of all fields that an object may have; `None` when it may have any.
    fn known_fields(&self, schema: &Value) -> Result<Option<BTreeSet<String>>> {
        let schema = self.resolved(schema)?;
        let mut names: BTreeSet<String> = BTreeSet::new();
        for part in ["oneOf", "anyOf", "allOf"] {
            for one in schema.get(part).and_then(Value::as_array).into_iter().flatten() {
                match self.known_fields(one)? {
                    Some(more) => names.extend(more),
                    None => return Ok(None),
                }
            }
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            names.extend(properties.keys().cloned());
        }
        Ok(Some(names).filter(|names| !names.is_empty()))
    }
}

/// OpenAPI 3.0 to JSON Schema: `nullable` becomes a choice; the names of referenced schemas are collected.
fn converted(schema: &Value, references: &mut BTreeSet<String>) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| converted(item, references)).collect(),
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str) {
                references.extend(name.rsplit('/').next().map(str::to_owned));
            }
            let kept: Map<String, Value> = object
                .iter()
                .filter(|(key, value)| !FOREIGN.contains(&key.as_str()) || is_field(object, value))
                .map(|(key, value)| (key.clone(), converted(value, references)))
                .collect();
            match object.get("nullable") {
                Some(Value::Bool(true)) => json!({ "anyOf": [{ "type": "null" }, kept] }),
                _ => Value::Object(kept),
            }
        }
        other => other.clone(),
    }
}

/// Inside of `properties` a foreign word is the name of a field: its value is a schema and no `type` stands beside it.
fn is_field(object: &Map<String, Value>, value: &Value) -> bool {
    !object.contains_key("type") && (value.get("type").is_some() || value.get("$ref").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_missing_and_invented_fields_are_found() {
        let schema = json!({
            "type": "object", "required": ["id"],
            "properties": { "id": { "type": "integer" }, "at": { "type": "string", "nullable": true, "format": "date-time" } },
        });
        let description = Description::new(json!({}));
        let check = |body: Value| description.check(&schema, &body).is_ok();
        assert!(check(json!({ "id": 1, "at": null })) && check(json!({ "id": 1, "at": "2026-03-03T12:00:00Z" })));
        for wrong in [json!({}), json!({ "id": "1" }), json!({ "id": 1, "at": "today" }), json!({ "id": null }), json!({ "id": 1, "x": 1 })]
        {
            assert!(!check(wrong.clone()), "{wrong}");
        }
    }
}
