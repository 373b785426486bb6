//! A small GitHub for tests: it records every request, answers by a function of the test, and holds every request against GitHub's
//! OpenAPI description.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use secrecy::SecretString;
use serde_json::{Value, json};
use slipway_forge::{Forge, Provider};
use slipway_model::ProviderKind;
use url::Url;

pub const TOKEN: &str = "gho_16C7e42F292c6912E7710c838347Ae178B4a";
pub const CLIENT_SECRET: &str = "client-secret-8d1c";

pub fn token() -> SecretString {
    TOKEN.into()
}

pub fn shared(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path)
}

pub fn fixture(path: &str) -> Value {
    let path = shared("fixtures/github").join(path);
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    /// As on the wire, percent-encoded.
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Recorded {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// An answer of the test.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

pub fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: vec![("content-type", "application/json; charset=utf-8".into())], body: body.to_string().into_bytes() }
}

pub fn raw(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: vec![("content-type", content_type.into())], body: body.into() }
}

impl Answer {
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub fn not_found() -> Answer {
    answer(404, json!({ "message": "Not Found" }))
}

pub struct Fake {
    pub origin: Url,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Fake {
    /// Serves on a free port; `reply` also gets the server's own origin, for addresses in answers.
    pub async fn start(reply: impl Fn(&Recorded, &Url) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let requests: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let (reply, log, own) = (Arc::new(reply), requests.clone(), origin.clone());
        let app = axum::Router::new().fallback(move |request: Request| {
            let (reply, log, own) = (reply.clone(), log.clone(), own.clone());
            async move {
                let recorded = record(request).await;
                log.lock().unwrap().push(recorded.clone());
                let answer = reply(&recorded, &own);
                let mut response = Response::builder().status(answer.status);
                for (name, value) in answer.headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(answer.body)).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, requests }
    }

    /// What arrived so far; each request must be one that GitHub describes.
    pub fn requests(&self) -> Vec<Recorded> {
        let requests = self.requests.lock().unwrap().clone();
        for request in &requests {
            described(request);
        }
        requests
    }

    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::line).collect()
    }

    /// A client of a GitHub Enterprise Server here: the API has a path of its own.
    pub fn client(&self) -> Arc<dyn Forge> {
        slipway_forge::open(provider(&self.origin)).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // So that no test has to think of it.
        if !std::thread::panicking() {
            self.requests();
        }
    }
}

pub fn provider(origin: &Url) -> Provider {
    Provider {
        id: "ghe-test".parse().unwrap(),
        kind: ProviderKind::GitHub,
        web_url: origin.clone(),
        api_url: origin.join("api/v3").unwrap(),
        client_id: "Iv1.abc".into(),
        client_secret: CLIENT_SECRET.into(),
        app: None,
        ssh: None,
    }
}

async fn record(request: Request) -> Recorded {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&std::fs::read(shared("openapi/github.api.github.com.json")).unwrap()).unwrap());

/// Panics unless GitHub's description has the operation, the query parameters and a body like this.
fn described(request: &Recorded) {
    let Some(path) = request.path.strip_prefix("/api/v3") else {
        assert!(request.path.starts_with("/login/oauth/"), "{}", request.path);
        return;
    };
    // Redirects lead here; the description leaves it out.
    if path.starts_with("/repositories/") {
        return;
    }
    let operations = DESCRIPTION["paths"].as_object().unwrap();
    let method = request.method.to_lowercase();
    let (template, operation) = operations
        .iter()
        .find_map(|(template, item)| {
            (matches_template(template, path)).then(|| item.get(&method).map(|operation| (template, operation))).flatten()
        })
        .unwrap_or_else(|| panic!("GitHub describes no {} {path}", request.method));
    let known: Vec<String> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(resolve)
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect();
    for name in request.query.keys() {
        assert!(known.contains(name), "{template} knows no query parameter {name}, only {known:?}");
    }
    if !request.body.is_empty() {
        let mut schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        assert!(schema.is_object(), "{template} takes no body");
        schema["components"] = DESCRIPTION["components"].clone();
        let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&schema).unwrap();
        let problems: Vec<String> = validator.iter_errors(&request.json()).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{template}: {problems:?}");
    }
}

fn resolve(parameter: &Value) -> &Value {
    match parameter["$ref"].as_str() {
        Some(pointer) => DESCRIPTION.pointer(pointer.trim_start_matches('#')).unwrap(),
        None => parameter,
    }
}

/// Whether a path fits `/repos/{owner}/...`; a `{ref}` at the end may hold slashes.
fn matches_template(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let open_ended = template.last() == Some(&"{ref}");
    (template.len() == path.len() || (open_ended && path.len() > template.len()))
        && template.iter().zip(&path).all(|(part, given)| (part.starts_with('{') && !given.is_empty()) || part == given)
}
