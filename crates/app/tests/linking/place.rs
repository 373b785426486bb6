//! One installation beside a fake GitHub; its database is SQLite or PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use slipway_app::{
    App, AuditFilter, AutobuildInput, AutobuildSettings, BuildsWanted, Caller, ClientInfo, Config, ConnectWish, Keys, LinkView, Linked,
    MailConfig, MailTransport, NamespaceOwner, RegisteredBuilder, RepositoryAdmin, RepositoryRead, RepositoryWrite, Role, SignedIn,
    SourceState, StartBuild,
};
use slipway_forge::{AppCredentials, Forge, Provider, SshAccess};
use slipway_model::{AccountId, Clock, LinkId, ProviderId, ProviderKind, Scope, SecretToken, Timestamp, Visibility};
use slipway_store::builds::Build;
use slipway_store::{Db, accounts};
use slipway_testkit::github::{FakeGitHub, GitHubApp, NewGitHubApp, OAuthApp, OrgRole, Visibility as Shown, Webhooks};
use slipway_testkit::smtp::SmtpSink;
use url::Url;

pub const INTERVAL: u64 = 400;
const PASSWORD: &str = "correct horse";
const CALLBACK: &str = "http://slipway.test:8080/oauth/github/callback";

pub struct Place {
    pub app: Arc<App>,
    pub clock: Clock,
    pub github: FakeGitHub,
    pub provider: ProviderId,
    pub client_id: String,
    pub mails: SmtpSink,
    pub caller: Caller,
    address: String,
    registered: Registered,
    _folder: tempfile::TempDir,
    _server: Option<slipway_testkit::postgres::Database>,
}

/// Slipway as GitHub knows it.
#[derive(Clone)]
struct Registered {
    client_id: String,
    client_secret: String,
    app: Option<GitHubApp>,
}

impl From<OAuthApp> for Registered {
    fn from(app: OAuthApp) -> Self {
        Self { client_id: app.client_id, client_secret: app.client_secret, app: None }
    }
}

impl From<GitHubApp> for Registered {
    fn from(app: GitHubApp) -> Self {
        Self { client_id: app.client_id.clone(), client_secret: app.client_secret.clone(), app: Some(app) }
    }
}

/// Makes of each `async fn name(place: Place) -> Result<()>` the tests `name::sqlite` and `name::postgres`.
macro_rules! on_both {
    ($($name:ident;)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() -> anyhow::Result<()> {
                super::$name(crate::place::Place::on_sqlite().await?).await
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() -> anyhow::Result<()> {
                super::$name(crate::place::Place::on_postgres().await?).await
            }
        }
    )*};
}
pub(crate) use on_both;

impl Place {
    pub async fn on_sqlite() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = format!("sqlite://{}", folder.path().join("slipway.db").display());
        Self::new(address, folder, None).await
    }

    pub async fn on_postgres() -> Result<Self> {
        let server = slipway_testkit::postgres::fresh_database().await?;
        Self::new(server.url(), tempfile::tempdir()?, Some(server)).await
    }

    /// The user `demo`, who reads mail; nothing is linked yet.
    async fn new(address: String, folder: tempfile::TempDir, server: Option<slipway_testkit::postgres::Database>) -> Result<Self> {
        let github = fake().await?;
        let registered = Registered::from(github.oauth_app("Slipway", CALLBACK)?);
        let mails = SmtpSink::start().await?;
        let provider: ProviderId = "github".parse().map_err(|error: String| anyhow!(error))?;
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let app = Arc::new(replica(&address, &clock, &github, &provider, &registered, &mails).await?);
        let caller = person(&app, "demo").await?;
        let client_id = registered.client_id.clone();
        let place = Self { app, clock, github, provider, client_id, mails, caller, address, registered, _folder: folder, _server: server };
        place.mail_of(place.caller.account().id, "demo@example.com").await?;
        Ok(place)
    }

    /// The same with a GitHub App in place of the OAuth app; nothing may be linked before.
    pub async fn with_github_app(mut self) -> Result<Self> {
        let permissions = &[("contents", "read"), ("statuses", "write"), ("repository_hooks", "write"), ("administration", "write")];
        let new = NewGitHubApp { owner: "acme", name: "Slipway App", callback: CALLBACK, hook_url: None, permissions, events: &["push"] };
        let app = self.github.github_app(&new)?;
        self.client_id.clone_from(&app.client_id);
        self.registered = app.into();
        self.app = Arc::new(self.replica().await?);
        Ok(self)
    }

    /// Another process on the same database.
    pub async fn replica(&self) -> Result<App> {
        replica(&self.address, &self.clock, &self.github, &self.provider, &self.registered, &self.mails).await
    }

    /// Another process that knows a second GitHub too, in which everything is called and numbered alike.
    pub async fn beside_a_twin(&self) -> Result<(Arc<App>, FakeGitHub, ProviderId)> {
        let twin = fake().await?;
        let oauth = twin.oauth_app("Slipway", "http://slipway.test:8080/oauth/ghe-acme/callback")?;
        let elsewhere: ProviderId = "ghe-acme".parse().map_err(|error: String| anyhow!(error))?;
        let forges = [forge(&self.github, &self.provider, &self.registered)?, forge(&twin, &elsewhere, &oauth.into())?];
        let config = Config::new("http://slipway.test:8080".parse()?);
        let app = App::new(Db::open(&self.address).await?, self.clock.clone(), Keys::derive(&[1; 32]), forges, config);
        Ok((Arc::new(app), twin, elsewhere))
    }

    /// Another process whose callers wait half a second for the end of an unlink.
    pub async fn impatient(&self) -> Result<Arc<App>> {
        let forge = forge(&self.github, &self.provider, &self.registered)?;
        let mut config = Config::new("http://slipway.test:8080".parse()?);
        config.unlink_wait = Duration::from_millis(500);
        Ok(Arc::new(App::new(Db::open(&self.address).await?, self.clock.clone(), Keys::derive(&[1; 32]), [forge], config)))
    }

    /// Another process for which the provider of this id is the same GitHub, where it is a GitHub App.
    pub async fn beside_a_github_app(&self, id: &str) -> Result<(Arc<App>, GitHubApp, ProviderId)> {
        let permissions = &[("contents", "read"), ("repository_hooks", "write"), ("administration", "write"), ("members", "read")];
        let callback = format!("http://slipway.test:8080/oauth/{id}/callback");
        let new = NewGitHubApp { owner: "octo", name: "Slipway App", callback: &callback, hook_url: None, permissions, events: &["push"] };
        let made = self.github.github_app(&new)?;
        let provider: ProviderId = id.parse().map_err(|error: String| anyhow!(error))?;
        let forge = forge(&self.github, &provider, &made.clone().into())?;
        let config = Config::new("http://slipway.test:8080".parse()?);
        let app = App::new(Db::open(&self.address).await?, self.clock.clone(), Keys::derive(&[1; 32]), [forge], config);
        Ok((Arc::new(app), made, provider))
    }

    pub async fn mail_of(&self, account: AccountId, email: &str) -> Result<()> {
        let mut tx = self.app.db().write().await?;
        accounts::set_email(&mut tx, account, Some(email)).await?;
        Ok(tx.commit().await?)
    }

    pub async fn person(&self, name: &str) -> Result<Caller> {
        person(&self.app, name).await
    }

    pub async fn owner(&self) -> Result<NamespaceOwner> {
        self.owner_of(&self.caller, self.caller.account().name.as_str()).await
    }

    pub async fn owner_of(&self, caller: &Caller, namespace: &str) -> Result<NamespaceOwner> {
        let name = namespace.parse().map_err(|error| anyhow!("{error}"))?;
        Ok(self.app.namespace(caller, &name, Scope::RepoAdmin).await?)
    }

    /// `state` and `code` of the callback after that person approved everything.
    pub async fn approved(&self, owner: &NamespaceOwner, caller: &Caller, login: &str, wish: ConnectWish) -> Result<(String, String)> {
        let url = self.app.begin_connect(owner, caller, &self.provider, wish).await?;
        let callback: Url = self.github.approve_oauth(url.as_str(), login).await?.parse()?;
        let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        Ok((part("state").context("state")?, part("code").context("code")?))
    }

    pub async fn link_as(&self, caller: &Caller, owner: &NamespaceOwner, login: &str, wish: ConnectWish) -> Result<Linked> {
        let (state, code) = self.approved(owner, caller, login, wish).await?;
        Ok(self.app.finish_connect(caller, &self.provider, &state, Ok(&code)).await?)
    }

    /// Links that person for the user `demo`.
    pub async fn link(&self, login: &str) -> Result<LinkId> {
        let linked = self.link_as(&self.caller, &self.owner().await?, login, ConnectWish::default()).await?;
        linked.link.id.context("a link has an id")
    }

    pub async fn view(&self) -> Result<LinkView> {
        Ok(self.app.get_link(&self.owner().await?, &self.provider, None).await?)
    }

    pub async fn view_of(&self, id: LinkId) -> Result<LinkView> {
        Ok(self.app.get_link(&self.owner().await?, &self.provider, Some(id)).await?)
    }

    /// Everything that is due: looks at links, then sweeps, until nothing is.
    pub async fn round(&self) -> Result<()> {
        while self.app.check_links_once().await? > 0 {}
        while self.app.sweep_sources_once().await? {}
        Ok(())
    }

    /// The next round of the timer.
    pub async fn next_round(&self) -> Result<()> {
        self.wait(INTERVAL);
        self.round().await
    }

    /// Bodies of the mails that went out since the last call began at `from`.
    pub async fn sent(&self, from: usize) -> Result<Vec<String>> {
        self.app.send_mails_once().await?;
        Ok(self.mails.received()[from..]
            .iter()
            .map(|mail| format!("{}\n{}\n{}", mail.to.join(","), mail.header("subject"), mail.body()))
            .collect())
    }

    /// A repository `name` that is built from `source`.
    pub async fn build(&self, name: &str, source: &str) -> Result<(RepositoryAdmin, AutobuildSettings)> {
        self.app.create_repository(&self.owner().await?, name, "", Visibility::Private).await?;
        let right = self.app.repository_admin(&self.caller, &self.caller.account().name, &name.parse()?).await?;
        let settings = self.save(&right, json!({"provider": "github", "source": source})).await?;
        self.app.settle_deploy_keys_once().await?;
        Ok((right, settings))
    }

    pub async fn save(&self, right: &RepositoryAdmin, input: Value) -> Result<AutobuildSettings, slipway_app::Error> {
        let input: AutobuildInput = serde_json::from_value(input).expect("an input");
        self.app.put_autobuild(right, &input).await
    }

    pub async fn source_state(&self, right: &RepositoryAdmin) -> Result<SourceState> {
        let read = RepositoryRead::from(RepositoryWrite::from(right.clone()));
        self.app.get_source_state(&read).await?.context("a source")
    }

    /// A build of `main` by hand.
    pub async fn start(&self, right: &RepositoryAdmin) -> Result<Build, slipway_app::Error> {
        let start = StartBuild { source_ref: "refs/heads/main".parse().expect("a ref"), commit: None, no_cache: false };
        let made = self.app.start_builds(&RepositoryWrite::from(right.clone()), &start, self.caller.account().id).await?;
        Ok(made.into_iter().next().expect("the default rule matches"))
    }

    pub async fn builds(&self, right: &RepositoryAdmin) -> Result<Vec<Build>> {
        let read = RepositoryRead::from(RepositoryWrite::from(right.clone()));
        let mut all = self.app.list_builds(&read, &BuildsWanted::default(), None, 100).await?;
        all.reverse();
        Ok(all)
    }

    pub async fn builder(&self) -> Result<RegisteredBuilder> {
        let token = self.app.register_builtin_builder("one").await?;
        self.app.builder_by_token(token.expose()).await?.context("a registered builder is known")
    }

    /// Actions in the installation's audit log, newest first.
    pub async fn audited(&self) -> Result<Vec<String>> {
        let reader = self.app.installation_audit(&self.caller)?;
        let entries = self.app.list_audit(&reader, &AuditFilter::default(), None, 500).await?;
        Ok(entries.into_iter().map(|entry| format!("{} by {}", entry.action, entry.actor)).collect())
    }

    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// How often the token endpoint was asked.
    pub fn token_requests(&self) -> usize {
        self.github.requests().iter().filter(|seen| seen.path.ends_with("/login/oauth/access_token")).count()
    }
}

async fn replica(
    address: &str,
    clock: &Clock,
    github: &FakeGitHub,
    provider: &ProviderId,
    registered: &Registered,
    mails: &SmtpSink,
) -> Result<App> {
    let db = Db::open(address).await?;
    db.migrate().await?;
    let forge = forge(github, provider, registered)?;
    let mut config = Config::new("http://slipway.test:8080".parse()?);
    let transport = MailTransport::parse(&format!("smtp://slipway:hush@{}", mails.address())).map_err(|error| anyhow!(error))?;
    let from = "Slipway <slipway@slipway.test>".parse().map_err(|error: &str| anyhow!(error))?;
    config.mail = Some(MailConfig { transport, from });
    Ok(App::new(db, clock.clone(), Keys::derive(&[1; 32]), [forge], config))
}

async fn person(app: &App, name: &str) -> Result<Caller> {
    let role = if name == "demo" { Role::Administrator } else { Role::User };
    app.add_user(name, role, &PASSWORD.to_owned().into()).await?;
    app.caller_by_session(&session(app, name).await?, "127.0.0.1").await?.context("a new session stands")
}

/// A browser of a person.
pub async fn session(app: &App, name: &str) -> Result<SecretToken> {
    let client = ClientInfo { address: "127.0.0.1".into(), user_agent: "test".into() };
    let SignedIn::Session(session) = app.sign_in(name, &PASSWORD.to_owned().into(), &client).await? else {
        anyhow::bail!("a second factor")
    };
    Ok(session.token)
}

/// A GitHub with two people, their organization and a repository of each kind.
async fn fake() -> Result<FakeGitHub> {
    let github = FakeGitHub::start().await?;
    github.set_webhooks(Webhooks::Drop);
    for login in ["octo", "ci-bot"] {
        github.user(login);
    }
    github.organization("acme", &[("octo", OrgRole::Admin), ("ci-bot", OrgRole::Admin)]);
    for name in ["octo/hello", "acme/api"] {
        github.repository(name, Shown::Private).await?;
        github.commit(name, "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    }
    Ok(github)
}

fn forge(github: &FakeGitHub, provider: &ProviderId, registered: &Registered) -> Result<Arc<dyn Forge>> {
    let credentials = |app: &GitHubApp| AppCredentials { app_id: app.app_id.to_string(), private_key: app.private_key.clone().into() };
    let host_keys = vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".to_owned()];
    Ok(slipway_forge::open(Provider {
        id: provider.clone(),
        kind: ProviderKind::GitHub,
        web_url: github.web_url().parse()?,
        api_url: github.api_url().parse()?,
        client_id: registered.client_id.clone(),
        client_secret: registered.client_secret.clone().into(),
        app: registered.app.as_ref().map(credentials),
        ssh: Some(SshAccess { user: "git".into(), host: "github.test".into(), port: 22, host_keys }),
    })?)
}
