//! A small registry with bearer tokens: enough for an engine to push to and pull from, and strict about who asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use sha2::Digest as _;

#[derive(Default)]
pub struct Held {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    /// Scopes that were asked for at the token service.
    pub scopes: Vec<String>,
}

#[derive(Clone)]
pub struct Registry {
    pub host: String,
    pub held: Arc<Mutex<Held>>,
    /// While it stands, uploads are taken and not answered.
    #[allow(dead_code, reason = "not every test that shares this file lets it hang")]
    pub hangs: Arc<AtomicBool>,
    /// How many are in that state.
    #[allow(dead_code, reason = "as above")]
    pub hanging: Arc<AtomicUsize>,
}

pub const USER: &str = "build";
pub const PASSWORD: &str = "correct-horse-battery";
const TOKEN: &str = "token-of-the-test";

impl Registry {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let host = format!("127.0.0.1:{}", listener.local_addr().expect("address").port());
        let registry = Self { host, held: Arc::default(), hangs: Arc::default(), hanging: Arc::default() };
        let app = Router::new().route("/token", axum::routing::get(token)).fallback(answer).with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        registry
    }

    pub fn manifests(&self) -> usize {
        self.held.lock().expect("lock").manifests.len()
    }

    /// Everything that was pushed: manifests, configurations, layers.
    #[allow(dead_code, reason = "not every test that shares this file looks into it")]
    pub fn contents(&self) -> Vec<Bytes> {
        let held = self.held.lock().expect("lock");
        held.blobs.values().cloned().chain(held.manifests.values().map(|(_, bytes)| bytes.clone())).collect()
    }

    pub fn digest_of(&self, name: &str) -> Option<String> {
        let held = self.held.lock().expect("lock");
        held.manifests.get(name).map(|(_, bytes)| digest(bytes))
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

async fn token(State(registry): State<Registry>, headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let mut held = registry.held.lock().expect("lock");
    held.scopes.extend(query.into_iter().filter(|(key, _)| key == "scope").map(|(_, scope)| scope));
    if given != Some(&expected) {
        return (StatusCode::UNAUTHORIZED, r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong name or password","detail":null}]}"#)
            .into_response();
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], format!(r#"{{"token":"{TOKEN}"}}"#)).into_response()
}

async fn answer(State(registry): State<Registry>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(&format!("Bearer {TOKEN}")) {
        let scope = uri.path().trim_start_matches("/v2/").split("/manifests").next().unwrap_or_default();
        let scope = scope.split("/blobs").next().unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\",scope=\"repository:{scope}:pull,push\"", registry.host);
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#,
        )
            .into_response();
    }
    if uri.path().contains("/blobs/uploads/") && registry.hangs.load(Ordering::Relaxed) {
        registry.hanging.fetch_add(1, Ordering::Relaxed);
        // An engine may go on with such a request when nobody waits for its push any more, and the next push waits for it too.
        while registry.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let mut held = registry.held.lock().expect("lock");
    let path = uri.path().trim_start_matches("/v2/").to_owned();
    if let Some((name, reference)) = path.split_once("/manifests/") {
        return manifest(&mut held, &method, &format!("{name}:{reference}"), name, &headers, body);
    }
    if let Some((name, id)) = path.split_once("/blobs/uploads/") {
        return upload(&mut held, &method, &uri, name, id, &body);
    }
    if let Some((_, wanted)) = path.split_once("/blobs/") {
        return match held.blobs.get(wanted) {
            Some(blob) => (StatusCode::OK, [("Docker-Content-Digest", wanted.to_owned())], blob.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    StatusCode::OK.into_response()
}

fn manifest(held: &mut Held, method: &Method, key: &str, name: &str, headers: &HeaderMap, body: Bytes) -> Response {
    if method == Method::PUT {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let digest = digest(&body);
        held.manifests.insert(format!("{name}:{digest}"), (kind.clone(), body.clone()));
        held.manifests.insert(key.to_owned(), (kind, body));
        return (StatusCode::CREATED, [("Docker-Content-Digest", digest)]).into_response();
    }
    match held.manifests.get(key) {
        Some((kind, body)) => {
            let headers = [("Content-Type", kind.clone()), ("Docker-Content-Digest", digest(body))];
            (StatusCode::OK, headers, body.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#).into_response(),
    }
}

fn upload(held: &mut Held, method: &Method, uri: &Uri, name: &str, id: &str, body: &[u8]) -> Response {
    if method == Method::POST {
        let id = uuid::Uuid::new_v4().to_string();
        let location = format!("/v2/{name}/blobs/uploads/{id}");
        held.uploads.insert(id.clone(), Vec::new());
        return (StatusCode::ACCEPTED, [("Location", location), ("Docker-Upload-UUID", id), ("Range", "0-0".into())]).into_response();
    }
    let Some(so_far) = held.uploads.get_mut(id) else { return StatusCode::NOT_FOUND.into_response() };
    so_far.extend_from_slice(body);
    if method == Method::PATCH {
        let range = format!("0-{}", so_far.len().saturating_sub(1));
        let location = format!("/v2/{name}/blobs/uploads/{id}");
        return (StatusCode::ACCEPTED, [("Location", location), ("Docker-Upload-UUID", id.to_owned()), ("Range", range)]).into_response();
    }
    let blob = Bytes::from(held.uploads.remove(id).expect("just seen"));
    let digest = digest(&blob);
    if !uri.query().unwrap_or_default().replace("%3A", ":").contains(&digest) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    held.blobs.insert(digest.clone(), blob);
    (StatusCode::CREATED, [("Docker-Content-Digest", digest)]).into_response()
}
