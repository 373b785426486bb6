//! Which operation of a description a request is, and what the description says about its query and body.
//! Invariant: a request that no documented path takes is `Unknown`; literal segments win over parameters.

use serde_json::Value;

use super::Description;

/// Where a request belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The description has it.
    Known(Operation),
    /// The path is documented, the method is not.
    WrongMethod(String),
    /// No documented path takes it.
    Unknown,
}

/// One operation of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Lower-case method.
    pub method: String,
    /// Path with `{parameters}`.
    pub template: String,
}

impl Description {
    /// The operation behind a request; `path` is still percent-encoded and has no server prefix.
    pub fn route(&self, method: &str, path: &str) -> Route {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let templates = self.0["paths"].as_object().into_iter().flatten().map(|(template, _)| template);
        let best = templates.filter_map(|template| Some((literals(template, &segments)?, template))).max();
        let Some((_, template)) = best else { return Route::Unknown };
        let method = method.to_lowercase();
        match self.0["paths"][template][&method].is_object() {
            true => Route::Known(Operation { method, template: template.clone() }),
            false => Route::WrongMethod(template.clone()),
        }
    }

    fn operation(&self, operation: &Operation) -> &Value {
        &self.0["paths"][&operation.template][&operation.method]
    }

    /// Schema of the JSON body that the operation takes, if the description gives one.
    pub fn request_body(&self, operation: &Operation) -> Option<&Value> {
        Some(&self.operation(operation)["requestBody"]["content"]["application/json"]["schema"]).filter(|schema| schema.is_object())
    }

    /// Schema of a query parameter, if the operation has one of that name.
    pub fn query_parameter(&self, operation: &Operation, name: &str) -> Option<&Value> {
        let shared = self.0["paths"][&operation.template]["parameters"].as_array();
        let own = self.operation(operation)["parameters"].as_array();
        let mut all = shared.into_iter().flatten().chain(own.into_iter().flatten());
        all.find(|one| one["in"] == "query" && one["name"] == name).map(|one| &one["schema"])
    }

    /// Scopes that the operation needs by OAuth, all of them.
    pub fn scopes(&self, operation: &Operation) -> Vec<&str> {
        let ways = self.operation(operation)["security"].as_array();
        let oauth = ways.into_iter().flatten().find_map(|way| way["oauth2"].as_array());
        oauth.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

/// How many segments of a matching template are literal; `None` when it does not match. The last parameter may be a ref's
/// name and take slashes with it.
fn literals(template: &str, segments: &[&str]) -> Option<usize> {
    let wanted: Vec<&str> = template.trim_matches('/').split('/').collect();
    let takes_rest = matches!(wanted.last(), Some(&"{name}" | &"{path}"));
    if segments.len() != wanted.len() && !(takes_rest && segments.len() > wanted.len()) {
        return None;
    }
    let mut count = 0;
    for (want, have) in wanted.iter().zip(segments) {
        if want.starts_with('{') && want.ends_with('}') {
            if have.is_empty() {
                return None;
            }
        } else if want == have {
            count += 1;
        } else {
            return None;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literal_segments_win_and_names_may_have_slashes() {
        let description = Description::new(json!({ "paths": {
            "/r/{w}": { "get": {} }, "/r/mine": { "get": {} }, "/r/{w}/refs/{name}": { "get": {}, "delete": {} },
        } }));
        let known = |template: &str| Route::Known(Operation { method: "get".to_owned(), template: template.to_owned() });
        assert_eq!(description.route("GET", "/r/mine"), known("/r/mine"));
        assert_eq!(description.route("GET", "/r/%7Bx%7D"), known("/r/{w}"));
        assert_eq!(description.route("GET", "/r/x/refs/feature/a"), known("/r/{w}/refs/{name}"));
        assert_eq!(description.route("POST", "/r/x"), Route::WrongMethod("/r/{w}".to_owned()));
        assert_eq!(description.route("GET", "/r"), Route::Unknown);
        assert_eq!(description.route("GET", "/r/x/y"), Route::Unknown);
    }
}
