//! A registry on a loopback port over a throw-away SQLite file and folder, and a client that speaks to it by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use reqwest::Response;
use serde_json::Value;
use slipway_app::{App, Config, Keys};
use slipway_blobs::{Blobs, Limits};
use slipway_model::{
    AccountId, AccountKind, AutobuildId, BuildId, BuildRule, Clock, EgressPolicy, QueueLimits, RefEventId, RepositoryId, ScopeSet,
    SecretToken, TeamId, Timestamp, TokenKind, Visibility,
};
use slipway_oci::Digest;
use slipway_registry::Registry;
use slipway_store::{Db, accounts, builders, builds, repositories, teams, tokens};

/// A running registry.
pub struct Harness {
    pub app: Arc<App>,
    pub registry: Registry,
    pub address: String,
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    client: reqwest::Client,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Who asks: name and password for the token service.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl Harness {
    pub async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub async fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("address").to_string();
        let db = Db::open(&format!("sqlite://{}", folder.path().join("test.db").display())).await.expect("opens");
        db.migrate().await.expect("migrates");
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let mut config = Config::new(format!("http://{address}").parse().expect("url"));
        config.egress = EgressPolicy::allowing(["127.0.0.1"]).expect("a policy");
        let app = Arc::new(App::new(db, clock.clone(), Keys::derive(&[7; 32]), [], config));
        let blobs = Blobs::open(folder.path().join("blobs"), limits).await.expect("opens");
        let registry = Registry::new(app.clone(), blobs);
        let router = registry.clone().router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        let client = slipway_testkit::http_client().expect("client");
        Self { app, registry, address, folder, clock, client, server }
    }

    /// A user with a personal access token of all scopes.
    pub async fn user(&self, name: &str) -> Login {
        self.account(name, false).await
    }

    pub async fn administrator(&self, name: &str) -> Login {
        self.account(name, true).await
    }

    async fn account(&self, name: &str, is_admin: bool) -> Login {
        let mut tx = self.app.db().write().await.expect("tx");
        let account_name = name.parse().expect("name");
        let new = accounts::NewAccount { is_admin, ..accounts::NewAccount::user(&account_name) };
        let id = accounts::insert(&mut tx, &new, self.clock.now()).await.expect("inserts");
        tx.commit().await.expect("commits");
        let password = self.token_of(id, &ScopeSet::all(), None).await;
        Login { username: name.to_owned(), password }
    }

    /// An access token that acts as the account.
    pub async fn token_of(&self, account: AccountId, scopes: &ScopeSet, repositories: Option<&[RepositoryId]>) -> String {
        let token = SecretToken::generate(TokenKind::Personal);
        let (created_by, expires_at) = (None, None);
        let new = tokens::NewToken { account, created_by, name: "test", hash: &token.hash(), scopes, repositories, expires_at };
        let mut tx = self.app.db().write().await.expect("tx");
        tokens::insert(&mut tx, &new, self.clock.now()).await.expect("inserts");
        tx.commit().await.expect("commits");
        token.expose().to_owned()
    }

    /// An organization with a team `crew` of these members; gives both identities.
    pub async fn organization(&self, name: &str, members: &[&str]) -> (AccountId, TeamId) {
        let now = self.clock.now();
        let mut tx = self.app.db().write().await.expect("tx");
        let account_name = name.parse().expect("name");
        let new = accounts::NewAccount { kind: AccountKind::Organization, ..accounts::NewAccount::user(&account_name) };
        let id = accounts::insert(&mut tx, &new, now).await.expect("inserts");
        let team = teams::insert(&mut tx, id, &"crew".parse().expect("name"), "", now).await.expect("inserts");
        tx.commit().await.expect("commits");
        for member in members {
            let account = self.account_id(member).await;
            let mut tx = self.app.db().write().await.expect("tx");
            assert!(teams::add_member(&mut tx, team, account, now).await.expect("adds"));
            tx.commit().await.expect("commits");
        }
        (id, team)
    }

    pub async fn account_id(&self, name: &str) -> AccountId {
        let mut tx = self.app.db().read().await.expect("tx");
        accounts::get_by_name(&mut tx, &name.parse().expect("name")).await.expect("query").expect("stands").id
    }

    pub async fn repository(&self, path: &str, visibility: Visibility) -> RepositoryId {
        let (namespace, name) = path.split_once('/').expect("path");
        let account = self.account_id(namespace).await;
        let mut tx = self.app.db().write().await.expect("tx");
        let now = self.clock.now();
        let id = repositories::insert(&mut tx, account, &name.parse().expect("name"), "", visibility, now).await.expect("inserts");
        tx.commit().await.expect("commits");
        id
    }

    pub async fn delete_repository(&self, id: RepositoryId) {
        let mut tx = self.app.db().write().await.expect("tx");
        assert!(repositories::delete(&mut tx, id).await.expect("deletes"));
        tx.commit().await.expect("commits");
    }

    /// A running build of a repository and its registry credential.
    pub async fn build(&self, repository: RepositoryId) -> (BuildId, Login) {
        let rule = BuildRule::default_for("main".parse().expect("source"));
        let token = SecretToken::generate(TokenKind::Build);
        let now = self.clock.now();
        let mut tx = self.app.db().write().await.expect("tx");
        let new = builds::NewBuild {
            repository,
            autobuild: AutobuildId::new(),
            rule: &rule,
            ref_event: RefEventId::new(),
            provider: &"github".parse().expect("provider"),
            source_id: "1",
            source_name: "a/b",
            source_ref: &"refs/heads/main".parse().expect("ref"),
            ref_seq: 1,
            commit: &"a".repeat(40).parse().expect("commit"),
            commit_message: None,
            commit_author: None,
            tags: &[],
            no_cache: false,
            terms: &builds::Terms::of_push(),
            cause: "push",
            started_by: None,
            retry_of: None,
        };
        let (id, _) = builds::insert(&mut tx, &new, now).await.expect("inserts").expect("new");
        let builder_token = SecretToken::generate(TokenKind::Builder);
        let builder = builders::register_builtin(&mut tx, "test", &builder_token.hash(), now).await.expect("inserts");
        let lease = now.plus(Duration::from_secs(30));
        let build =
            builds::claim(&mut tx, builder, &token.hash(), &QueueLimits::default(), now, lease).await.expect("claims").expect("queued");
        assert_eq!(build.id, id, "one build at a time in these tests");
        tx.commit().await.expect("commits");
        (id, Login { username: "slipway-build".to_owned(), password: token.expose().to_owned() })
    }

    /// A raw request.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("http://{}{path}", self.address) };
        self.client.request(Method::from_bytes(method.as_bytes()).expect("method"), url)
    }

    /// A registry token for these scopes.
    pub async fn token(&self, login: Option<&Login>, scopes: &[&str]) -> String {
        let query: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        let mut request = self.request("GET", "/auth/token").query(&query);
        if let Some(login) = login {
            request = request.basic_auth(&login.username, Some(&login.password));
        }
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), StatusCode::OK);
        let answer: Value = body_json(response).await;
        assert_eq!(answer["token"], answer["access_token"]);
        assert_eq!(answer["expires_in"], 300);
        answer["token"].as_str().expect("token").to_owned()
    }

    /// Whether the token service refuses the login.
    pub async fn refused(&self, login: &Login) -> bool {
        let request = self.request("GET", "/auth/token").basic_auth(&login.username, Some(&login.password));
        request.send().await.expect("answers").status() == StatusCode::UNAUTHORIZED
    }

    /// Whether a fresh token of the login gives nothing in the repository.
    pub async fn may_not(&self, login: &Login, name: &str) -> bool {
        let client = self.client(Some(login), &[name]).await;
        client.status("GET", &format!("/v2/{name}/tags/list")).await == StatusCode::UNAUTHORIZED
    }

    /// A client of one login for these repositories, with every right that it can have there.
    pub async fn client(&self, login: Option<&Login>, repositories: &[&str]) -> Client<'_> {
        let scopes: Vec<String> = repositories.iter().map(|name| format!("repository:{name}:*")).collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        Client { harness: self, token: self.token(login, &scopes).await }
    }
}

/// Requests with one token.
pub struct Client<'h> {
    pub harness: &'h Harness,
    pub token: String,
}

impl Client<'_> {
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.harness.request(method, path).bearer_auth(&self.token)
    }

    pub async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.expect("answers")
    }

    pub async fn status(&self, method: &str, path: &str) -> StatusCode {
        self.send(method, path).await.status()
    }

    /// Starts an upload and gives its location.
    pub async fn start(&self, name: &str) -> String {
        let response = self.send("POST", &format!("/v2/{name}/blobs/uploads/")).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{:?}", response.text().await);
        header(response.headers(), "location")
    }

    /// Pushes a blob as docker does: POST, one PATCH without headers, PUT.
    pub async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let location = self.start(name).await;
        let patch = self.request("PATCH", &location).body(bytes.to_vec()).send().await.expect("answers");
        assert_eq!(patch.status(), StatusCode::ACCEPTED);
        let location = header(patch.headers(), "location");
        let put = self.send("PUT", &format!("{location}?digest={digest}")).await;
        assert_eq!(put.status(), StatusCode::CREATED);
        assert_eq!(header(put.headers(), "docker-content-digest"), digest.as_str());
        digest
    }

    /// Pushes an image of one layer under a reference; gives the manifest's bytes.
    pub async fn push_image(&self, name: &str, layer: &[u8], reference: Option<&str>) -> (Digest, String) {
        let config = self.push_blob(name, b"{}").await;
        let layer_digest = self.push_blob(name, layer).await;
        let manifest = image(&config, 2, &layer_digest, layer.len());
        let digest = Digest::sha256(manifest.as_bytes());
        let put = self.put_manifest(name, reference.unwrap_or(digest.as_str()), &manifest).await;
        assert_eq!(put.status(), StatusCode::CREATED, "{:?}", put.text().await);
        (digest, manifest)
    }

    pub async fn put_manifest(&self, name: &str, reference: &str, manifest: &str) -> Response {
        self.request("PUT", &format!("/v2/{name}/manifests/{reference}"))
            .header("content-type", slipway_oci::media_type::OCI_MANIFEST)
            .body(manifest.to_owned())
            .send()
            .await
            .expect("answers")
    }
}

/// An image manifest with odd white space, so that a rewrite would show.
pub fn image(config: &Digest, config_size: usize, layer: &Digest, layer_size: usize) -> String {
    format!(
        "{{ \"schemaVersion\": 2,\n \"mediaType\": \"{}\",\n \"config\": {{\"mediaType\": \"application/vnd.oci.image.config.v1+json\", \"digest\": \"{config}\", \"size\": {config_size}}},\n \
         \"layers\": [ {{\"mediaType\": \"application/vnd.oci.image.layer.v1.tar\", \"digest\": \"{layer}\", \"size\": {layer_size}}} ] }}\n",
        slipway_oci::media_type::OCI_MANIFEST
    )
}

pub fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).unwrap_or_else(|| panic!("no header {name} in {headers:?}")).to_str().expect("text").to_owned()
}

pub async fn body_json(response: Response) -> Value {
    let text = response.text().await.expect("body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Code of a refusal.
pub async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = body_json(response).await;
    (status, body["errors"][0]["code"].as_str().unwrap_or_else(|| panic!("no code in {body}")).to_owned())
}
