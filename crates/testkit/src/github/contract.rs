//! Holds every request and every answer of the REST API, and every webhook, against GitHub's own OpenAPI description.
//! Invariant: what the fake says and what it is asked are judged by the same document, so that neither side can be
//! written to please the other. An answer that a fault bent is not judged: the true one was.
//! Deliberately elsewhere: JSON Schema (`crate::openapi`).

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use serde_json::{Value, json};

use super::FakeGitHub;
use crate::openapi::Description;

/// Violations that are kept; the first ones say the most.
const KEPT: usize = 200;
/// Parameters whose value may hold slashes.
const WITH_SLASHES: &[&str] = &["{ref}", "{branch}", "{path}"];

/// Here the description writes the installation out by hand and wants its account to be a user and an enterprise at once;
/// the schema `installation` says what every other route says.
const WRITTEN_OUT: &str = "/app/installations";

/// The description with what was found against it.
pub(crate) struct Contract {
    description: Arc<Description>,
    /// Templates cut into segments.
    templates: Vec<(String, Vec<String>)>,
    found: Mutex<Vec<String>>,
}

/// Whether a path fits a template; the number counts the segments that are equal word for word.
fn fits(template: &[String], path: &[&str]) -> Option<usize> {
    let (Some(first), Some(here)) = (template.first(), path.first()) else {
        return (template.is_empty() && path.is_empty()).then_some(0);
    };
    if !first.starts_with('{') {
        return (first == here).then(|| fits(&template[1..], &path[1..])).flatten().map(|equal| equal + 1);
    }
    let longest = if WITH_SLASHES.contains(&first.as_str()) { path.len() } else { 1 };
    (1..=longest).rev().filter_map(|taken| fits(&template[1..], &path[taken..])).max()
}

impl Contract {
    fn new(description: Arc<Description>) -> Self {
        let paths = description.json()["paths"].as_object().into_iter().flatten();
        let cut = |template: &String| template.trim_matches('/').split('/').map(str::to_owned).collect();
        let templates = paths.map(|(template, _)| (template.clone(), cut(template))).collect();
        Self { description, templates, found: Mutex::default() }
    }

    /// The template of a path below the API's base. The id form of a repository stands for its name form.
    fn template(&self, method: &str, path: &str) -> Option<&str> {
        let path = path.trim_matches('/');
        let named = path.strip_prefix("repositories/").and_then(|rest| rest.split_once('/').or(Some((rest, ""))));
        let path = named.map_or_else(|| path.to_owned(), |(id, rest)| format!("repos/{id}/{id}/{rest}"));
        let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let known = |template: &String| self.description.json()["paths"][template][method.to_lowercase()].is_object();
        let fitting = self.templates.iter().filter(|(template, _)| known(template));
        let fitting = fitting.filter_map(|(template, cut)| Some((fits(cut, &segments)?, template)));
        fitting.max_by_key(|(equal, _)| *equal).map(|(_, template)| template.as_str())
    }

    fn report(&self, what: &str, error: &dyn std::fmt::Display) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < KEPT {
            found.push(format!("{what}: {error}"));
        }
    }

    /// Judges one exchange. `path` is below the API's base.
    pub(crate) fn judge(&self, parts: &Parts, path: &str, request: &[u8], status: u16, answer: &[u8]) {
        let what = format!("{} {path} -> {status}", parts.method);
        let Some(template) = self.template(parts.method.as_str(), path) else {
            return self.report(&what, &"no such operation is described");
        };
        let operation = &self.description.json()["paths"][template][parts.method.as_str().to_lowercase()];
        if !parts.headers.contains_key("user-agent") {
            self.report(&what, &"GitHub refuses requests without `User-Agent`");
        }
        if let Err(error) = self.query(operation, parts.uri.query().unwrap_or_default()) {
            self.report(&what, &error);
        }
        if let Err(error) = self.request_body(operation, request) {
            self.report(&what, &format!("request: {error:#}"));
        }
        if let Err(error) = self.answer(template, operation, status, answer) {
            self.report(&what, &format!("answer: {error:#}"));
        }
    }

    fn query(&self, operation: &Value, query: &str) -> Result<(), String> {
        let parameters: Vec<&Value> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| self.description.resolved(one).ok())
            .filter(|one| one["in"] == "query")
            .collect();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = parameters.iter().find(|one| one["name"] == name.as_ref());
            let schema = known.map(|one| &one["schema"]).ok_or_else(|| format!("the query has `{name}`, which is not described"))?;
            let schema = self.description.resolved(schema).map_err(|error| error.to_string())?;
            let number = matches!(schema["type"].as_str(), Some("integer" | "number"));
            let allowed = schema["enum"].as_array();
            if number && value.parse::<u64>().is_err() || allowed.is_some_and(|list| !list.iter().any(|one| one == value.as_ref())) {
                return Err(format!("the query has `{name}={value}`, expected {schema}"));
            }
            if name == "per_page" && value.parse::<u64>().is_ok_and(|count| count > 100) {
                return Err(format!("the query has `per_page={value}`, the most is 100"));
            }
        }
        Ok(())
    }

    fn request_body(&self, operation: &Value, body: &[u8]) -> anyhow::Result<()> {
        let described = &operation["requestBody"];
        let schema = &described["content"]["application/json"]["schema"];
        if body.is_empty() {
            anyhow::ensure!(described["required"] != true, "a body is required");
            return Ok(());
        }
        anyhow::ensure!(schema.is_object(), "no body is described");
        self.description.check(schema, &serde_json::from_slice(body)?)
    }

    fn answer(&self, template: &str, operation: &Value, status: u16, body: &[u8]) -> anyhow::Result<()> {
        if status == 304 {
            anyhow::ensure!(body.is_empty(), "304 has no body");
            return Ok(());
        }
        let response = self.description.resolved(&operation["responses"][status.to_string()])?;
        if response.is_object() {
            let listed = json!({ "type": "array", "items": self.description.schema("installation") });
            let schema = if template == WRITTEN_OUT { &listed } else { &response["content"]["application/json"]["schema"] };
            if schema.is_null() {
                anyhow::ensure!(body.is_empty(), "no body is described");
                return Ok(());
            }
            // `Accept: application/vnd.github.sha` is answered with text.
            let Ok(body) = serde_json::from_slice(body) else { return Ok(()) };
            return if status < 300 { self.description.check(schema, &body) } else { self.description.validate(schema, &body) };
        }
        // What every route may answer is described once: errors, and redirects of what was renamed.
        anyhow::ensure!(status >= 300, "the status is not described");
        self.description.validate(&self.description.schema("basic-error"), &serde_json::from_slice(body)?)
    }

    /// Judges the body of a webhook.
    pub(crate) fn judge_event(&self, event: &str, payload: &Value) {
        let name = match payload["action"].as_str() {
            Some(action) => format!("webhook-{event}-{}", action.replace('_', "-")).replace('_', "-"),
            None => format!("webhook-{event}").replace('_', "-"),
        };
        let schema = self.description.schema(&name);
        if self.description.json()["components"]["schemas"][&name].is_null() {
            return self.report(&format!("webhook {event}"), &format!("there is no schema `{name}`"));
        }
        // The description does not know that the fork of a pull request may be gone, which GitHub tells by `null`.
        let mut payload = payload.clone();
        if event == "pull_request" && payload["pull_request"]["head"]["repo"].is_null() {
            let base = payload["pull_request"]["base"].clone();
            payload["pull_request"]["head"]["repo"] = base["repo"].clone();
            payload["pull_request"]["head"]["user"] = base["user"].clone();
        }
        if let Err(error) = self.description.check(&schema, &payload) {
            self.report(&format!("webhook {event}"), &format!("{error:#}"));
        }
    }
}

impl FakeGitHub {
    /// Holds every exchange from now on against GitHub's description (`github.api.github.com.json`).
    pub fn hold_against(&self, description: Arc<Description>) {
        self.inner.contract.get_or_init(|| Contract::new(description));
    }

    /// What was found against the description, by either side, in the order in which it happened. Panics when nothing was
    /// ever held against one, because an empty list would then prove nothing.
    pub fn violations(&self) -> Vec<String> {
        let contract = self.inner.contract.get().expect("`hold_against` comes first");
        contract.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_templates() {
        let paths = [
            "/user",
            "/user/repos",
            "/repos/{owner}/{repo}",
            "/repos/{owner}/{repo}/commits/{ref}",
            "/repos/{owner}/{repo}/commits/{ref}/status",
            "/repos/{owner}/{repo}/git/ref/{ref}",
        ];
        let get = |path: &&str| ((*path).to_owned(), json!({ "get": {} }));
        let paths: serde_json::Map<String, Value> = paths.iter().map(get).collect();
        let contract = Contract::new(Arc::new(Description::new(json!({ "paths": paths }))));
        let find = |path: &str| contract.template("GET", path);
        assert_eq!(find("/user/repos"), Some("/user/repos"));
        assert_eq!(find("/repos/o/r"), Some("/repos/{owner}/{repo}"));
        assert_eq!(find("/repositories/7"), Some("/repos/{owner}/{repo}"));
        assert_eq!(find("/repositories/7/commits/a"), Some("/repos/{owner}/{repo}/commits/{ref}"));
        assert_eq!(find("/repos/o/r/commits/feature/a/status"), Some("/repos/{owner}/{repo}/commits/{ref}/status"));
        assert_eq!(find("/repos/o/r/git/ref/heads/a/b"), Some("/repos/{owner}/{repo}/git/ref/{ref}"));
        assert_eq!(find("/nowhere"), None);
    }
}
