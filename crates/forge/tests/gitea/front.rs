//! What stands between the client and the provider: it keeps every request, holds it against the descriptions, and passes it on to a
//! real server or answers by a function of the test.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};
use slipway_testkit::gitea::{Bent, Recorded};
use url::Url;

/// An answer of the test.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

pub fn answer(status: u16, body: &Value) -> Answer {
    raw(status, "application/json; charset=utf-8", body.to_string())
}

pub fn raw(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
}

impl Answer {
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub struct Front {
    pub origin: Url,
    behind: Behind,
}

enum Behind {
    Server(Bent),
    Test(Arc<Mutex<Vec<Recorded>>>),
}

impl Front {
    /// Before a real server.
    pub async fn to(server: &str) -> Self {
        let bent = Bent::before(server).await.unwrap();
        Self { origin: bent.origin().parse().unwrap(), behind: Behind::Server(bent) }
    }

    /// Instead of one; `reply` also gets the front's own origin, for addresses in answers.
    pub async fn scripted(reply: impl Fn(&Recorded, &Url) -> Answer + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let requests: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let (log, own) = (Arc::clone(&requests), origin.clone());
        let app = axum::Router::new().fallback(move |request: Request| {
            let (reply, log, own) = (Arc::clone(&reply), Arc::clone(&log), own.clone());
            async move {
                let (recorded, _) = Recorded::of(request).await.unwrap();
                log.lock().unwrap().push(recorded.clone());
                let Answer { status, headers, body } = reply(&recorded, &own);
                let response =
                    headers.into_iter().fold(Response::builder().status(status), |response, (name, value)| response.header(name, value));
                response.body(Body::from(body)).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, behind: Behind::Test(requests) }
    }

    /// What arrived so far; each request must be one that Gitea and Forgejo describe.
    pub fn requests(&self) -> Vec<Recorded> {
        let requests = match &self.behind {
            Behind::Server(bent) => bent.requests(),
            Behind::Test(requests) => requests.lock().unwrap().clone(),
        };
        for request in &requests {
            described(request);
        }
        requests
    }

    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::line).collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // So that no test has to think of it.
        if !std::thread::panicking() {
            self.requests();
        }
    }
}

static DESCRIPTIONS: LazyLock<[(&str, Value); 2]> = LazyLock::new(|| {
    [("Gitea", "gitea-sdk-0.6.3.swagger.json"), ("Forgejo", "forgejo.swagger.v1.json")].map(|(name, file)| {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/openapi")).join(file);
        (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    })
});

/// Panics unless both descriptions have the operation, its query parameters and a body like this.
fn described(request: &Recorded) {
    let Some(path) = request.path.strip_prefix("/api/v1") else {
        // OAuth and git have standards of their own, and pages are a person's.
        assert!(request.path.starts_with("/login/oauth/") || request.path.ends_with(".git/info/refs"), "{}", request.path);
        return;
    };
    for (name, description) in DESCRIPTIONS.iter() {
        let method = request.method.to_lowercase();
        let found = description["paths"].as_object().unwrap().iter().find_map(|(template, item)| {
            let operation = item.get(&method).filter(|_| matches_template(template, path))?;
            Some((template, operation))
        });
        let (template, operation) = found.unwrap_or_else(|| panic!("{name} describes no {} {path}", request.method));
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        for given in request.query.keys() {
            assert!(parameters.iter().any(|one| one["in"] == "query" && one["name"] == **given), "{name}: {template} knows no `{given}`");
        }
        let body = parameters.iter().find(|one| one["in"] == "body");
        assert_eq!(body.is_some(), !request.body.is_empty(), "{name}: {template}");
        if let Some(body) = body {
            check_body(name, description, &body["schema"], &serde_json::from_str(&request.body).unwrap());
        }
    }
}

fn check_body(name: &str, description: &Value, schema: &Value, body: &Value) {
    let document = json!({ "allOf": [schema], "definitions": description["definitions"] });
    let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&document).unwrap();
    let problems: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{name}: {problems:?}");
    let known = &description.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap()["properties"];
    for field in body.as_object().unwrap().keys() {
        assert!(known.get(field).is_some(), "{name} knows no field `{field}`");
    }
}

fn matches_template(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(part, given)| (part.starts_with('{') && !given.is_empty()) || part == given)
}
