//! Holds every request and every answer of the API against Bitbucket's own description.
//! Invariant: what is wrong is kept and never swallowed; without the description, `violations()` says so instead of nothing.
//! Where recorded answers contradict the description, the recording wins; all such places are in `as_described`.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use axum::http::request::Parts;
use serde_json::Value;

use crate::openapi::{Description, Operation, Route};

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/openapi/bitbucket-cloud.swagger.v3.json");
/// Query parameters that every list takes (description, "Pagination", "Partial responses").
const EVERYWHERE: &[&str] = &["page", "pagelen", "fields", "q", "sort"];

/// The description and what broke it.
pub(crate) struct Contract {
    description: Option<&'static Description>,
    violations: Mutex<Vec<String>>,
}

/// What the description says about a request.
pub(crate) enum Place {
    /// An operation; `None` without a description.
    Known(Option<Operation>),
    /// Nothing: such a request gets 404.
    Unknown,
}

impl Contract {
    /// The description is read once for all fakes of the process, with the validators that are made of it.
    pub(crate) fn read() -> Self {
        static READ: OnceLock<Result<Description, String>> = OnceLock::new();
        match READ.get_or_init(|| Description::read(Path::new(DESCRIPTION)).map_err(|error| format!("{error:#}"))) {
            Ok(description) => Self { description: Some(description), violations: Mutex::default() },
            Err(error) => {
                Self { description: None, violations: Mutex::new(vec![format!("nothing is held against the description: {error}")]) }
            }
        }
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn violated(&self, what: String) {
        self.violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
    }

    /// Finds the operation and checks query and body.
    pub(crate) fn request(&self, parts: &Parts, path: &str, body: &[u8]) -> Place {
        let Some(description) = self.description else { return Place::Known(None) };
        let what = format!("request {} {path}", parts.method);
        let operation = match description.route(parts.method.as_str(), path) {
            Route::Known(operation) => operation,
            Route::WrongMethod(template) => {
                self.violated(format!("{what}: `{template}` has no such method"));
                return Place::Unknown;
            }
            Route::Unknown => {
                self.violated(format!("{what}: no documented path"));
                return Place::Unknown;
            }
        };
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            if let Err(why) = query_is_right(description, &operation, &name, &value) {
                self.violated(format!("{what}: {why}"));
            }
        }
        if let Err(why) = body_is_right(description, &operation, parts, body) {
            self.violated(format!("{what}: {why}"));
        }
        Place::Known(Some(operation))
    }

    /// Checks an answer of an operation.
    pub(crate) fn answer(&self, operation: &Operation, status: u16, body: Option<&Value>) {
        let Some(description) = self.description else { return };
        // Bitbucket answers 429 with a line of text, which no operation describes; a redirect has no body that means anything.
        if status == 429 || (300..400).contains(&status) {
            return;
        }
        let what = format!("answer {status} of {} {}", operation.method.to_uppercase(), operation.template);
        let schema = match description.answer(&operation.method, &operation.template, status) {
            Ok(schema) => schema.cloned(),
            // "Standardized error responses": every error has this shape, also where an operation does not list its status.
            Err(_) if status >= 400 => Some(description.schema("error")),
            Err(error) => return self.violated(format!("{what}: {error:#}")),
        };
        match (schema, body) {
            (Some(schema), Some(body)) => {
                if let Err(error) = description.validate(&schema, &as_described(body)) {
                    self.violated(format!("{what}: {error:#}"));
                }
            }
            (Some(_), None) => self.violated(format!("{what}: has a body by the description")),
            (None, Some(_)) if status < 400 => self.violated(format!("{what}: has no body by the description")),
            (None, _) => {}
        }
    }
}

fn query_is_right(description: &Description, operation: &Operation, name: &str, value: &str) -> Result<(), String> {
    let Some(schema) = description.query_parameter(operation, name) else {
        return if EVERYWHERE.contains(&name) { Ok(()) } else { Err(format!("no query parameter `{name}`")) };
    };
    let allowed = schema["enum"].as_array();
    match allowed.is_none_or(|allowed| allowed.iter().any(|one| one == value)) {
        true => Ok(()),
        false => Err(format!("`{name}` cannot be `{value}`")),
    }
}

fn body_is_right(description: &Description, operation: &Operation, parts: &Parts, body: &[u8]) -> Result<(), String> {
    let schema = match (description.request_body(operation), operation.template.as_str()) {
        (Some(schema), _) => schema.clone(),
        // These take what they answer, says their text; the description gives no schema for it.
        (None, template) if template.contains("/hooks") => description.schema("webhook_subscription"),
        (None, template) if template.contains("/deploy-keys") => description.schema("deploy_key"),
        (None, _) if body.is_empty() => return Ok(()),
        (None, _) => return Err("has a body, but takes none".to_owned()),
    };
    if body.is_empty() {
        let writes = ["post", "put"].contains(&operation.method.as_str());
        return if writes { Err("has no body".to_owned()) } else { Ok(()) };
    }
    let kind = parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(format!("the body is `{kind}`, not JSON"));
    }
    let mut body: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    // `type` is what Bitbucket calls the object in its answers; its own examples of requests leave it out.
    if let Some(object) = body.as_object_mut() {
        object.entry("type").or_insert_with(|| Value::String(String::new()));
    }
    description.check(&schema, &without_nulls(&body)).map_err(|error| format!("{error:#}"))
}

/// The description knows no `nullable` at all, while recorded bodies have nulls and its text speaks of them.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Object(object) => {
            let kept = object.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}

/// A body as the description would have it. Recorded or described in words, but not in its schemas: nulls; `detail` of a
/// missing scope as an object; `fields` and `id` of an error.
fn as_described(body: &Value) -> Value {
    let mut body = without_nulls(body);
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("fields");
        error.remove("id");
        if let Some(detail) = error.get_mut("detail").filter(|detail| detail.is_object()) {
            *detail = Value::String(detail.to_string());
        }
    }
    body
}
