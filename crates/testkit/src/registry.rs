//! A registry for tests: it keeps what it is sent, asks for passwords or tokens, and fails when it is told to.
//! Invariants: what it answered 201 to it has, and nothing else; a manifest is taken only when it has everything that the manifest names.
//! Source: OCI distribution specification 1.1, Docker's token authentication.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Request, State as AxumState};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Most bytes of one request.
const MOST: usize = 64 << 20;

/// How it wants people to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Not at all.
    Open,
    /// With the password in every request.
    Basic,
    /// With a token.
    Token,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum May {
    /// Sign in.
    Nothing,
    /// Pull.
    Pull,
    /// Push too.
    Push,
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered so, without doing anything.
    Status(u16),
    /// As well, with this `Retry-After`.
    Later(u16, &'static str),
    /// The connection breaks instead of an answer.
    Cut,
    /// It is not done and not answered before [`FakeRegistry::release`].
    Hang,
    /// It is sent on to the same path at [`Place::Storage`].
    SentOn,
}

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The registry's address.
    Registry,
    /// Another origin, where its uploads can be sent.
    Storage,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where.
    pub place: Place,
    /// `PUT /v2/a/manifests/latest`.
    pub what: String,
    /// Its `Authorization`.
    pub authorization: Option<String>,
}

struct Trouble {
    pattern: String,
    skips: usize,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, (String, May)>,
    /// Whose, and for how many requests.
    tokens: BTreeMap<String, (May, usize)>,
    uses_of_a_token: Option<usize>,
    realm: Option<String>,
    uploads_elsewhere: bool,
    uploads: BTreeSet<String>,
    blobs: BTreeMap<String, Bytes>,
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    tags: BTreeMap<(String, String), String>,
    moves: Vec<(String, String)>,
    troubles: Vec<Trouble>,
    seen: Vec<Seen>,
    count: usize,
}

/// A running registry; it goes with its last handle.
#[derive(Clone)]
pub struct FakeRegistry {
    shared: Arc<Shared>,
    _servers: Arc<Servers>,
}

struct Shared {
    state: Mutex<State>,
    released: Notify,
    sign_in: SignIn,
    registry: SocketAddr,
    storage: SocketAddr,
}

struct Servers(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &self.0 {
            server.abort();
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl FakeRegistry {
    /// Starts one on free loopback ports.
    pub async fn start(sign_in: SignIn) -> Result<Self> {
        let mut listeners = Vec::new();
        for _ in 0..2 {
            listeners.push(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?);
        }
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            released: Notify::new(),
            sign_in,
            registry: listeners[0].local_addr()?,
            storage: listeners[1].local_addr()?,
        });
        let mut servers = Vec::new();
        for (listener, place) in listeners.into_iter().zip([Place::Registry, Place::Storage]) {
            let router = Router::new().fallback(answer).layer(Extension(place)).with_state(Arc::clone(&shared));
            servers.push(tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "the fake registry ended");
                }
            }));
        }
        Ok(Self { shared, _servers: Arc::new(Servers(servers)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.shared.registry.to_string()
    }

    /// Lets somebody in.
    pub fn user(&self, name: &str, password: &str, may: May) {
        self.state().users.insert(name.to_owned(), (password.to_owned(), may));
    }

    /// Each token is good for so many requests from now on.
    pub fn tokens_last(&self, requests: usize) {
        self.state().uses_of_a_token = Some(requests);
    }

    /// Says that tokens are given out elsewhere.
    pub fn name_realm(&self, realm: &str) {
        self.state().realm = Some(realm.to_owned());
    }

    /// Uploads go to another origin from now on.
    pub fn send_uploads_elsewhere(&self) {
        self.state().uploads_elsewhere = true;
    }

    /// Requests whose method and path begin so go wrong: `times` of them, after `skips`.
    pub fn trouble(&self, pattern: &str, skips: usize, times: usize, fault: Fault) {
        self.state().troubles.push(Trouble { pattern: pattern.to_owned(), skips, times, fault });
    }

    /// All is well again.
    pub fn clear_troubles(&self) {
        self.state().troubles.clear();
    }

    /// What hangs goes on, as if nothing had been wrong.
    pub fn release(&self) {
        self.shared.released.notify_waiters();
    }

    /// What a tag names.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.state().tags.get(&(repository.to_owned(), tag.to_owned())).cloned()
    }

    /// Every move of any tag, as tag and digest, in order.
    pub fn moves(&self) -> Vec<(String, String)> {
        self.state().moves.clone()
    }

    /// How many blobs it has.
    pub fn blobs(&self) -> usize {
        self.state().blobs.len()
    }

    /// Whether a manifest is here with everything that it names, manifests among it too.
    pub fn is_whole(&self, repository: &str, digest: &str) -> bool {
        let state = self.state();
        let mut open = vec![digest.to_owned()];
        while let Some(digest) = open.pop() {
            let Some((_, content)) = state.manifests.get(&(repository.to_owned(), digest)) else { return false };
            let (blobs, manifests) = named(content);
            if !blobs.iter().all(|digest| state.blobs.contains_key(digest)) {
                return false;
            }
            open.extend(manifests);
        }
        true
    }

    /// What came in so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many requests came in that begin so.
    pub fn count(&self, pattern: &str) -> usize {
        self.state().seen.iter().filter(|seen| seen.what.starts_with(pattern)).count()
    }
}

/// Blobs and manifests that a manifest names.
fn named(content: &[u8]) -> (Vec<String>, Vec<String>) {
    let document: Value = serde_json::from_slice(content).unwrap_or_default();
    let digests = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|one| one["digest"].as_str().map(str::to_owned)).collect()
    };
    let mut blobs = digests(&document["layers"]);
    blobs.extend(document["config"]["digest"].as_str().map(str::to_owned));
    (blobs, digests(&document["manifests"]))
}

fn plain(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of this file or of a test");
    response
}

fn error(status: u16, code: &str) -> Response {
    plain(status, json!({ "errors": [{ "code": code, "message": "says the fake registry" }] }).to_string())
}

fn with(mut response: Response, name: header::HeaderName, value: &str) -> Response {
    response.headers_mut().insert(name, value.parse().expect("a header of this file"));
    response
}

impl Fault {
    fn response(self) -> Response {
        match self {
            Self::Status(status) => error(status, "UNAVAILABLE"),
            Self::Later(status, wait) => with(error(status, "TOOMANYREQUESTS"), header::RETRY_AFTER, wait),
            // The head comes, and then nothing of what it promised.
            Self::Cut | Self::Hang | Self::SentOn => {
                let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
                with(plain(201, Body::from_stream(broken)), header::CONTENT_LENGTH, "10")
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test of the registry panics while it holds the state")
    }

    /// Name and password of a Basic header, when they are right.
    fn user(&self, headers: &HeaderMap) -> Option<May> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
        let decoded = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(value).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        self.state().users.get(name).filter(|(known, _)| known == password).map(|(_, may)| *may)
    }

    /// What the request may do, or the challenge.
    fn signed_in(&self, headers: &HeaderMap) -> Result<May, String> {
        match self.sign_in {
            SignIn::Open => Ok(May::Push),
            SignIn::Basic => self.user(headers).ok_or_else(|| "Basic realm=\"fake\"".to_owned()),
            SignIn::Token => {
                let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
                let mut state = self.state();
                if let Some((may, left)) = token.and_then(|token| state.tokens.get_mut(token))
                    && *left > 0
                {
                    *left -= 1;
                    return Ok(*may);
                }
                let realm = state.realm.clone().unwrap_or_else(|| format!("http://{}/token", self.registry));
                Err(format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"repository:x:pull\""))
            }
        }
    }

    fn give_token(&self, headers: &HeaderMap) -> Response {
        let Some(may) = self.user(headers) else { return error(401, "UNAUTHORIZED") };
        let mut state = self.state();
        state.count += 1;
        let (token, uses) = (format!("token-{}", state.count), state.uses_of_a_token.unwrap_or(usize::MAX));
        state.tokens.insert(token.clone(), (may, uses));
        plain(200, json!({ "token": token, "expires_in": 300 }).to_string())
    }

    fn serve(&self, method: &Method, path: &str, query: &str, headers: &HeaderMap, body: Bytes, may: May) -> Response {
        let Some(rest) = path.strip_prefix("/v2/") else { return error(404, "NOT_FOUND") };
        if rest.is_empty() {
            return plain(200, "{}");
        }
        let needed = if matches!(*method, Method::GET | Method::HEAD) { May::Pull } else { May::Push };
        if may < needed {
            return error(403, "DENIED");
        }
        if let Some((name, _)) = rest.split_once("/blobs/uploads/") {
            return self.upload(method, name, path, query, body);
        }
        if let Some((_, digest)) = rest.split_once("/blobs/") {
            return match self.state().blobs.get(digest) {
                Some(blob) => with(plain(200, ""), header::CONTENT_LENGTH, &blob.len().to_string()),
                None => error(404, "BLOB_UNKNOWN"),
            };
        }
        if let Some((name, reference)) = rest.split_once("/manifests/") {
            return if *method == Method::PUT { self.put_manifest(name, reference, headers, body) } else { self.manifest(name, reference) };
        }
        if rest.ends_with("/tags/list") { plain(200, "{\"tags\":[]}") } else { error(404, "NOT_FOUND") }
    }

    fn upload(&self, method: &Method, name: &str, path: &str, query: &str, body: Bytes) -> Response {
        let mut state = self.state();
        if *method == Method::POST {
            state.count += 1;
            let place = format!("/v2/{name}/blobs/uploads/{}", state.count);
            state.uploads.insert(place.clone());
            let origin = if state.uploads_elsewhere { format!("http://{}", self.storage) } else { String::new() };
            return with(plain(202, ""), header::LOCATION, &format!("{origin}{place}?state=kept"));
        }
        if !state.uploads.remove(path) || !query.contains("state=kept") {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        if *method == Method::DELETE {
            return plain(204, "");
        }
        let found = digest(&body);
        if !query.contains(&format!("digest={}", found.replace(':', "%3A"))) {
            return error(400, "DIGEST_INVALID");
        }
        state.blobs.insert(found, body);
        plain(201, "")
    }

    fn put_manifest(&self, name: &str, reference: &str, headers: &HeaderMap, body: Bytes) -> Response {
        let mut state = self.state();
        let (blobs, manifests) = named(&body);
        let found = digest(&body);
        let lacks = blobs.iter().any(|digest| !state.blobs.contains_key(digest))
            || manifests.iter().any(|digest| !state.manifests.contains_key(&(name.to_owned(), digest.clone())));
        if lacks {
            return error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        state.manifests.insert((name.to_owned(), found.clone()), (media_type, body));
        if !reference.starts_with("sha256:") {
            state.tags.insert((name.to_owned(), reference.to_owned()), found.clone());
            state.moves.push((reference.to_owned(), found));
        }
        plain(201, "")
    }

    fn manifest(&self, name: &str, reference: &str) -> Response {
        let state = self.state();
        let key = (name.to_owned(), reference.to_owned());
        let digest = state.tags.get(&key).cloned().unwrap_or(key.1);
        match state.manifests.get(&(key.0, digest.clone())) {
            Some((media_type, content)) => {
                let response = with(plain(200, content.clone()), header::CONTENT_TYPE, media_type);
                with(response, header::HeaderName::from_static("docker-content-digest"), &digest)
            }
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }
}

impl State {
    /// The first trouble that is about this request, and counts it there.
    fn goes_wrong(&mut self, what: &str) -> Option<Fault> {
        let trouble = self.troubles.iter_mut().find(|trouble| what.starts_with(&trouble.pattern) && trouble.times > 0)?;
        if trouble.skips > 0 {
            trouble.skips -= 1;
            return None;
        }
        trouble.times -= 1;
        Some(trouble.fault)
    }
}

async fn answer(AxumState(shared): AxumState<Arc<Shared>>, Extension(place): Extension<Place>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let what = format!("{} {}", parts.method, parts.uri.path());
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // Listened for from now on: a release that comes before the body is read counts.
    let released = shared.released.notified();
    let fault = {
        let mut state = shared.state();
        state.seen.push(Seen { place, what: what.clone(), authorization });
        state.goes_wrong(&what)
    };
    let Ok(body) = to_bytes(body, MOST).await else { return error(400, "SIZE_INVALID") };
    if fault == Some(Fault::Hang) {
        released.await;
    } else if let Some(fault) = fault {
        if fault == Fault::SentOn {
            let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            return with(plain(307, ""), header::LOCATION, &format!("http://{}{target}", shared.storage));
        }
        return fault.response();
    }
    if parts.uri.path() == "/token" {
        return shared.give_token(&parts.headers);
    }
    let may = match (place, shared.signed_in(&parts.headers)) {
        // The address of an upload there is its own secret.
        (Place::Storage, _) if parts.method == Method::PUT => May::Push,
        (_, Ok(may)) => may,
        (_, Err(challenge)) => return with(error(401, "UNAUTHORIZED"), header::WWW_AUTHENTICATE, &challenge),
    };
    shared.serve(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &parts.headers, body, may)
}
