//! A Slipway that is measured: a throw-away folder, a sample provider, a person with a link, a token and repositories.
//! Invariant: everything goes through the program's own commands and HTTP addresses, on loopback.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use serde_json::{Value, json};
use slipway_testkit::github::{FakeGitHub, OAuthApp, Visibility};
use slipway_testkit::{postgres, wait};

use crate::server::{Server, admin, free_port};

/// The administrator, in whose namespace the repositories are.
pub const PERSON: &str = "demo";
const PASSWORD: &str = "correct horse battery";
/// The person at the provider.
pub const AUTHOR: &str = "octo";
/// Everything that is waited for comes within this time or not at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What builds are run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// The built-in one, on the machine's engine.
    BuiltIn,
    /// None.
    Off,
}

/// Where the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file, with `synchronous=FULL`.
    Sqlite,
    /// A throw-away database of a real server that waits for the disk.
    Postgres,
}

/// A running Slipway.
pub struct Site {
    /// The provider.
    pub github: FakeGitHub,
    /// What we are there.
    pub oauth: OAuthApp,
    /// Follows no redirects.
    pub http: reqwest::Client,
    /// The administrator's access token.
    pub token: String,
    host: String,
    server: Option<Server>,
    folder: tempfile::TempDir,
    /// Goes with the rest.
    _database: Option<postgres::Database>,
}

impl Site {
    /// A new one on SQLite, ready, with an administrator.
    pub async fn start(builder: Builder) -> Result<Self> {
        Self::start_on(builder, Database::Sqlite).await
    }

    /// A new one, ready, with an administrator.
    pub async fn start_on(builder: Builder, database: Database) -> Result<Self> {
        let database = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(postgres::fresh_database().await?),
        };
        let http = slipway_testkit::http_client()?;
        let folder = tempfile::Builder::new().prefix("slipway-bench-").tempdir()?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let github = FakeGitHub::start().await?;
        github.user(AUTHOR);
        let oauth = github.oauth_app("Slipway", &format!("http://{host}/oauth/github/callback"))?;
        let config = folder.path().join("slipway.toml");
        let rows = database.as_ref().map(|database| format!("database_url = \"{}\"\n", database.url())).unwrap_or_default();
        std::fs::write(&config, rows + &configuration(&host, builder, &github, &oauth))?;
        admin(&config, &["admin", "user", "add", PERSON, "--admin", "--password-file", "-"], &format!("{PASSWORD}\n")).await?;
        let token = admin(&config, &["admin", "token", PERSON], "").await?;
        let mut site = Self { github, oauth, http, token, host, server: None, folder, _database: database };
        site.run().await?;
        Ok(site)
    }

    /// Starts the server on its folder, also after [`Site::kill`].
    pub async fn run(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        self.server = Some(Server::slipway(&self.config(), &self.address(), &self.http).await?);
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("slipway.toml")
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("http://{}", self.host)
    }

    /// The throw-away folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The running server.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the server runs")
    }

    /// SIGKILL: no word, no wait.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.take().context("the server runs")?.kill().await
    }

    /// Ends the server as an administrator would, until [`Site::run`].
    pub async fn pause(&mut self) -> Result<()> {
        self.server.take().context("the server runs")?.stop().await
    }

    /// Ends it as an administrator would.
    pub async fn stop(mut self) -> Result<()> {
        self.pause().await
    }

    /// Adds what the server printed to an error.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let tail = self.server.as_ref().map(Server::log_tail).unwrap_or_default();
        error.context(format!("the server's log ends:\n{tail}"))
    }

    /// A request to the API that must succeed.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}/api/v1{path}", self.address())).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "`{method} {path}` answered {status}: {text}");
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("`{method} {path}` answered no JSON: {text}"))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.api(Method::GET, path, None).await
    }

    /// Links the provider through the whole OAuth flow.
    pub async fn link(&self) -> Result<()> {
        let begun = self.api(Method::POST, &format!("/namespaces/{PERSON}/links/github/connect"), Some(&json!({}))).await?;
        let authorize = begun["authorize_url"].as_str().context("an address to authorize at")?;
        let back = self.github.approve_oauth(authorize, AUTHOR).await?;
        let answer = self.http.get(&back).bearer_auth(&self.token).send().await?;
        ensure!(!answer.status().is_client_error() && !answer.status().is_server_error(), "the callback answered {}", answer.status());
        Ok(())
    }

    /// A private repository `demo/NAME`.
    pub async fn create_repository(&self, name: &str) -> Result<()> {
        let body = json!({ "name": name, "visibility": "private" });
        self.api(Method::POST, &format!("/repositories/{PERSON}"), Some(&body)).await?;
        Ok(())
    }

    /// `demo/NAME`, built from an empty `octo/NAME` by one rule: that branch becomes `latest`. The webhook stands afterwards.
    pub async fn build_automatically(&self, name: &str, branch: &str) -> Result<()> {
        let source = format!("{AUTHOR}/{name}");
        self.github.repository(&source, Visibility::Private).await?;
        self.create_repository(name).await?;
        let rule = json!({
            "source_type": "branch", "source": branch, "tags": "latest", "dockerfile": "Dockerfile", "context": "/",
            "autobuild": true, "cache": true,
        });
        let body = json!({ "provider": "github", "source": source, "autotest": "off", "rules": [rule], "env": [] });
        self.api(Method::PUT, &format!("/repositories/{PERSON}/{name}/autobuild"), Some(&body)).await?;
        wait::until("the webhook at the provider", PATIENCE, || async { Ok(self.github.hooks(&source).into_iter().next()) }).await?;
        self.github.settle().await;
        Ok(())
    }

    /// The digest of `demo/NAME:latest`, when it stands.
    pub async fn latest(&self, name: &str) -> Result<Option<String>> {
        let tags = self.get(&format!("/repositories/{PERSON}/{name}/tags")).await?;
        let tag = tags["items"].as_array().and_then(|tags| tags.iter().find(|tag| tag["name"] == "latest"));
        Ok(tag.and_then(|tag| tag["digest"].as_str()).map(str::to_owned))
    }

    /// The newest build of `demo/NAME`, when it has ended.
    pub async fn ended_build(&self, name: &str) -> Result<Option<Value>> {
        let builds = self.get(&format!("/repositories/{PERSON}/{name}/builds?limit=1")).await?;
        let newest = builds["items"].get(0).cloned();
        Ok(newest.filter(|build| matches!(build["state"].as_str(), Some("success" | "failed" | "cancelled"))))
    }

    /// Signs in by the form and gives the session's cookie.
    pub async fn sign_in(&self) -> Result<String> {
        let fields = [("name", PERSON), ("password", PASSWORD), ("next", "/")];
        let request = self.http.post(format!("{}/signin", self.address())).header(ORIGIN, self.address()).form(&fields);
        let answer = request.send().await?;
        let cookie = answer.headers().get(SET_COOKIE).with_context(|| format!("the sign-in answered {}", answer.status()))?;
        Ok(cookie.to_str()?.split(';').next().unwrap_or_default().to_owned())
    }

    /// Opens a page that must be there.
    pub async fn page(&self, path: &str, cookie: &str) -> Result<()> {
        let answer = self.http.get(format!("{}{path}", self.address())).header(COOKIE, cookie).send().await?;
        ensure!(answer.status().is_success(), "the page `{path}` answered {}", answer.status());
        answer.bytes().await?;
        Ok(())
    }
}

fn configuration(host: &str, builder: Builder, github: &FakeGitHub, oauth: &OAuthApp) -> String {
    let enabled = builder == Builder::BuiltIn;
    format!(
        "data_dir = \"data\"\nlisten = \"{host}\"\npublic_url = \"http://{host}\"\n\n[builder]\nenabled = {enabled}\n\n\
         [[provider]]\nid = \"github\"\nkind = \"github\"\nweb_url = \"{}\"\napi_url = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
        github.web_url(),
        github.api_url(),
        oauth.client_id,
        oauth.client_secret,
    )
}
