//! A small server that answers by a function of the test, and holds every request against Bitbucket's description.

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
use slipway_testkit::openapi::{Description, Route};
use url::Url;

pub const TOKEN: &str = "bb-access-token-0f3a";
pub const CLIENT_SECRET: &str = "consumer-secret-8d1c";

/// Parameters of every list (description, "Pagination", "Partial responses", "Filter and sort").
const EVERYWHERE: &[&str] = &["page", "pagelen", "fields", "q", "sort"];

pub fn token() -> SecretString {
    TOKEN.into()
}

pub fn shared(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path)
}

pub fn fixture(path: &str) -> Value {
    let path = shared("fixtures/bitbucket-cloud").join(path);
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
    raw(status, "application/json; charset=utf-8", body.to_string())
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

/// Bitbucket's error body.
pub fn problem(message: &str) -> Value {
    json!({ "type": "error", "error": { "message": message } })
}

pub fn not_found() -> Answer {
    answer(404, problem("Resource not found"))
}

/// One page of a list; `next` as Bitbucket writes it.
pub fn page(values: Value, next: Option<String>) -> Answer {
    let mut body = json!({ "pagelen": 100, "values": values });
    if let Some(next) = next {
        body["next"] = json!(next);
    }
    answer(200, body)
}

pub struct Scripted {
    pub origin: Url,
    pub requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Scripted {
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

    /// What arrived so far; each request must be one that Bitbucket describes.
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

    pub fn client(&self) -> Arc<dyn Forge> {
        slipway_forge::open(provider(&self.origin)).unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // So that no test has to think of it.
        if !std::thread::panicking() {
            self.requests();
        }
    }
}

pub fn provider(origin: &Url) -> Provider {
    Provider {
        id: "bitbucket".parse().unwrap(),
        kind: ProviderKind::Bitbucket,
        web_url: origin.clone(),
        api_url: origin.clone(),
        client_id: "consumer-key".into(),
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

static DESCRIPTION: LazyLock<Description> =
    LazyLock::new(|| Description::read(&shared("openapi/bitbucket-cloud.swagger.v3.json")).unwrap());

/// Panics unless Bitbucket's description has the operation and the query parameters.
fn described(request: &Recorded) {
    let Some(path) = request.path.strip_prefix("/2.0") else {
        assert!(request.path == "/site/oauth2/access_token" || !request.path.starts_with("/site"), "{}", request.path);
        return;
    };
    let Route::Known(operation) = DESCRIPTION.route(&request.method, path) else {
        panic!("Bitbucket describes no {} {path}", request.method);
    };
    for name in request.query.keys() {
        let known = EVERYWHERE.contains(&name.as_str()) || DESCRIPTION.query_parameter(&operation, name).is_some();
        assert!(known, "{} knows no query parameter {name}", operation.template);
    }
}
