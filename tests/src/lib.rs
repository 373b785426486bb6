//! The harness of the whole-app tests: the real `slipway serve` beside a fake GitHub, driven from outside as people, git, providers,
//! builders and registry clients drive it.
//!
//! Invariant: nothing of the product runs in the test's own process except where a file says so (`builder`: registering a scripted one as the
//! server registers its own; real ones join, see `remote`). A failing test shows the server's log. Deliberately elsewhere: what a provider does (`testkit`).

pub mod builder;
pub mod client;
pub mod engine;
mod invariants;
pub mod others;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod registry;
pub mod remote;
pub mod replica;
pub mod repository;
pub mod setup;
pub mod stream;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use slipway_testkit::github::{FakeGitHub, OAuthApp, Visibility};
use slipway_testkit::openapi::Description;
use slipway_testkit::postgres;
use slipway_testkit::smtp::SmtpSink;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use engine::OwnBuildkitd;

pub use client::{Answer, Client};
pub use others::{Forge, Others};
pub use process::{Frozen, Process};
pub use remote::RemoteBuilder;
pub use replica::Replica;
pub use repository::Repository;
pub use setup::{Company, Database, DeployKeys, Engine, Listen, Mail, Pace, Providers, Reach, Setup};

/// The administrator at Slipway, whose namespace the repositories are in.
pub const PERSON: &str = "demo";
/// The administrator's password.
pub const PASSWORD: &str = "correct horse battery";
/// The person at the provider.
pub const AUTHOR: &str = "octo";
/// Everything that is waited for comes within this time or not at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// GitHub's own description of its API. It is large, so all apps of the process share it.
static DESCRIPTION: LazyLock<Arc<Description>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/openapi/github.api.github.com.json");
    Arc::new(Description::read(&path).expect("the descriptions of providers' APIs lie beside the project"))
});

/// Held by every app of the process; a test that measures waits until it is the only one.
static COMPANY: RwLock<()> = RwLock::const_new(());

/// A place in the process; what it holds is never looked at.
#[derive(Debug)]
enum Place {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// A running Slipway with its provider. Dropped, everything is gone; a test that went well calls [`TestApp::finish`].
pub struct TestApp {
    /// The provider that Slipway knows as `github` and as `other`.
    pub github: FakeGitHub,
    /// The OAuth app behind `github`.
    pub oauth: OAuthApp,
    /// The other providers, when they were wished.
    pub others: Option<Others>,
    /// Where mail goes, when it was wished.
    pub mail: Option<SmtpSink>,
    /// The engine, when it was wished to be one.
    pub buildkitd: Option<OwnBuildkitd>,
    /// The API as the administrator's token uses it.
    pub api: Client,
    /// That token.
    pub token: String,
    /// The database's way, when it is PostgreSQL.
    pub proxy: Option<proxy::Proxy>,
    /// The database's server, when it is the test's own.
    pub cluster: Option<postgres::Cluster>,
    http: reqwest::Client,
    site: String,
    port: u16,
    database_url: String,
    _database: Option<postgres::Database>,
    server: Option<Process>,
    /// Of all processes of this test.
    log: process::Log,
    expected: Vec<String>,
    /// Whether a server was ready once, so that there is a database to look into.
    served: bool,
    folder: tempfile::TempDir,
    ended_well: bool,
    /// Given back last.
    _place: Place,
}

impl TestApp {
    /// On SQLite, without a builder.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start() -> Result<Self> {
        Self::with(Setup::default()).await
    }

    /// As wished, ready, with an administrator.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn with(setup: Setup) -> Result<Self> {
        let mut app = Self::prepare(setup).await?;
        app.add_user(PERSON, PASSWORD, &["--admin"])?;
        app.token = app.make_token(PERSON, &[])?;
        app.api = app.client(&app.token);
        app.run().await?;
        Ok(app)
    }

    /// Folder, configuration and provider, but no process and nobody in the database.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn prepare(setup: Setup) -> Result<Self> {
        let place = match setup.company {
            Company::Shared => Place::Shared { _guard: COMPANY.read().await },
            Company::Alone => Place::Alone { _guard: COMPANY.write().await },
        };
        let http = slipway_testkit::http_client()?;
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir()?;
        let port = process::free_port();
        let site = format!("http://127.0.0.1:{port}");
        let github = FakeGitHub::start().await?;
        github.hold_against(DESCRIPTION.clone());
        github.user(AUTHOR);
        if setup.pace == Pace::Quick {
            github.set_rate_limit(AUTHOR, others::MANY);
        }
        let oauth = github.oauth_app("Slipway", &format!("{site}/oauth/github/callback"))?;
        let other = github.oauth_app("Other", &format!("{site}/oauth/other/callback"))?;
        let others = match setup.providers {
            Providers::GitHub => None,
            Providers::All => Some(Others::start(&site, setup.deploy_keys).await?),
        };
        let mail = match setup.mail {
            Mail::Off => None,
            Mail::Kept => Some(SmtpSink::start().await?),
        };
        let cluster = if setup.database == Database::Cluster { Some(postgres::Cluster::start().await?) } else { None };
        let (database, proxy, database_url) = match &cluster {
            Some(cluster) => (None, None, cluster.url().to_owned()),
            None => open_database(setup.database, folder.path()).await?,
        };
        let buildkitd = match setup.engine {
            Engine::Buildkitd => Some(OwnBuildkitd::start().await?),
            _ => None,
        };
        let mut config = setup::configuration(setup, port, &database_url, mail.as_ref(), buildkitd.as_ref());
        for (id, app) in [("github", &oauth), ("other", &other)] {
            config.push_str(&setup::provider(id, "github", github.web_url(), github.api_url(), &app.client_id, &app.client_secret));
            config.push_str(setup::ssh(setup.deploy_keys));
        }
        config.push_str(&others.as_ref().map(|others| others.configuration(setup.deploy_keys)).unwrap_or_default());
        std::fs::write(folder.path().join("slipway.toml"), config)?;
        let api = Client::new(&http, &site);
        Ok(Self {
            github,
            oauth,
            others,
            mail,
            buildkitd,
            api,
            token: String::new(),
            proxy,
            cluster,
            http,
            site,
            port,
            database_url,
            _database: database,
            server: None,
            log: process::Log::default(),
            expected: Vec::new(),
            served: false,
            folder,
            ended_well: false,
            _place: place,
        })
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub async fn run(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        let mut server = Process::serve(&self.config(), self.log.clone())?;
        let ready = server.ready(&self.http, &self.site).await;
        self.server = Some(server);
        self.served |= ready.is_ok();
        ready
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// `127.0.0.1:PORT`, as image names begin.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The database's address as the server has it.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The throw-away folder; the server's own is `data` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("slipway.toml")
    }

    /// The HTTP client without redirects, cookies and proxy.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// A client with this access token.
    #[must_use]
    pub fn client(&self, token: &str) -> Client {
        Client::new(&self.http, &self.site).with_token(token)
    }

    /// A client without any credential.
    #[must_use]
    pub fn stranger(&self) -> Client {
        Client::new(&self.http, &self.site)
    }

    /// The running server.
    ///
    /// # Panics
    /// When it does not run: a mistake of the test.
    #[must_use]
    pub fn server(&self) -> &Process {
        self.server.as_ref().expect("the test started the server")
    }

    /// Everything that the server printed so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Runs a command of the binary with this configuration; gives exit code, standard output and standard error.
    ///
    /// # Errors
    /// When it does not start.
    pub fn command(&self, arguments: &[&str], stdin: &str) -> Result<process::Ended> {
        process::command(&self.config(), arguments, stdin)
    }

    /// `slipway admin user add`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn add_user(&self, name: &str, password: &str, more: &[&str]) -> Result<()> {
        let arguments = [&["admin", "user", "add", name, "--password-file", "-"], more].concat();
        let ended = self.command(&arguments, &format!("{password}\n"))?;
        ensure!(ended.code == 0, "`admin user add` ended with {}: {}", ended.code, ended.stderr);
        Ok(())
    }

    /// `slipway admin token`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn make_token(&self, name: &str, more: &[&str]) -> Result<String> {
        let ended = self.command(&[&["admin", "token", name], more].concat(), "")?;
        ensure!(ended.code == 0, "`admin token` ended with {}: {}", ended.code, ended.stderr);
        Ok(ended.stdout.trim().to_owned())
    }

    /// Signs in with the form of the page; gives a client with the session's cookie and our own origin.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn sign_in(&self, name: &str, password: &str) -> Result<Client> {
        let fields = [("name", name), ("password", password), ("next", "/")];
        let answer = self.stranger().form("/signin", &fields).await?;
        let cookie = answer.cookie().with_context(|| format!("the sign-in answered {}: {}", answer.status, answer.text))?;
        Ok(Client::new(&self.http, &self.site).with_cookie(&cookie))
    }

    /// Links `github` as [`AUTHOR`] through the whole flow, with the administrator's token.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn link(&self) -> Result<Value> {
        self.link_as(&self.api, PERSON, AUTHOR).await
    }

    /// Links `github` for a namespace.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn link_as(&self, api: &Client, namespace: &str, login: &str) -> Result<Value> {
        let begun = api.post(&format!("/namespaces/{namespace}/links/github/connect"), &json!({})).await?;
        let authorize = begun["authorize_url"].as_str().context("an address to authorize at")?;
        let back = self.github.approve_oauth(authorize, login).await?;
        api.open(&back).await?.json()
    }

    /// A private repository of the administrator's.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_repository(&self, name: &str) -> Result<Repository<'_>> {
        self.api.post(&format!("/repositories/{PERSON}"), &json!({ "name": name, "visibility": "private" })).await?;
        Ok(Repository::new(self, name))
    }

    /// An empty source repository `octo/NAME` at the provider, a link, a repository `demo/NAME` that builds it by the default rule
    /// (`main` becomes `latest`), and the webhook.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn linked_repository(&self, name: &str) -> Result<Repository<'_>> {
        self.github.repository(&format!("{AUTHOR}/{name}"), Visibility::Private).await?;
        self.link().await?;
        let repository = self.create_repository(name).await?;
        repository.put_autobuild(json!([])).await?;
        Ok(repository)
    }

    /// Asks until there is an answer, for at most a minute.
    ///
    /// # Errors
    /// What was waited for, when it did not come.
    pub async fn wait_for<T, F>(&self, what: &str, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        slipway_testkit::wait::until(what, PATIENCE, ask).await
    }

    /// Kills the server as a power cut would: no word, no wait.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        self.server.take().context("the server runs")?.kill()
    }

    /// Starts it again on the same folder and port.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.run().await
    }

    /// Asks the server to end and waits for it.
    ///
    /// # Errors
    /// When it does not end with exit code 0.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.take().context("the server runs")?.terminate().await
    }

    /// Error lines with this text are part of the test.
    pub fn expect_error(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    /// The end of a test that went well: the server ends cleanly, its log has no error that the test did not expect, the database is whole,
    /// and nothing that Slipway and the providers said to each other is against the providers' own descriptions.
    ///
    /// # Errors
    /// Otherwise.
    pub async fn finish(mut self) -> Result<()> {
        if self.server.is_some() {
            self.stop().await?;
        }
        for line in self.log.lines() {
            let bad = line.contains(" ERROR ") || line.contains("panicked at");
            if bad && !self.expected.iter().any(|text| line.contains(text.as_str())) {
                bail!("the server's log has an error that the test did not expect: {line}");
            }
        }
        if self.served {
            invariants::hold(&self.database_url).await?;
        }
        let mut wrong = self.github.violations();
        wrong.extend(self.others.iter().flat_map(|others| others.bitbucket.violations()));
        ensure!(wrong.is_empty(), "against the providers' descriptions:\n{}", wrong.join("\n"));
        self.ended_well = true;
        Ok(())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if !self.ended_well {
            eprintln!("the server's log:\n{}", self.log.tail());
        }
    }
}

async fn open_database(wished: Database, folder: &Path) -> Result<(Option<postgres::Database>, Option<proxy::Proxy>, String)> {
    if wished == Database::Sqlite {
        return Ok((None, None, format!("sqlite://{}", folder.join("data/slipway.db").display())));
    }
    let database = postgres::fresh_database().await?;
    let mut url: url::Url = database.url().parse()?;
    let target = (url.host_str().context("the database has a host")?.to_owned(), url.port().unwrap_or(5432));
    let proxy = proxy::Proxy::start(target)?;
    url.set_host(Some("127.0.0.1"))?;
    url.set_port(Some(proxy.port())).ok().context("an address of a server has a port")?;
    Ok((Some(database), Some(proxy), url.to_string()))
}
