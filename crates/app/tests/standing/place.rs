//! One installation beside a fake GitHub; its database is SQLite or PostgreSQL.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};
use slipway_app::{
    App, AuditEntry, AuditFilter, AutobuildInput, AutobuildSettings, Caller, ClientInfo, Config, ConnectWish, Intake, Keys, NamespaceOwner,
    RepositoryAdmin, RepositoryRead, RepositoryWrite, Role, SignedIn,
};
use slipway_forge::{Provider, SshAccess};
use slipway_model::{Clock, ProviderId, ProviderKind, Scope, Timestamp, Visibility};
use slipway_store::Db;
use slipway_testkit::github::{FakeGitHub, Visibility as Shown, Webhooks, sign_sha256};
use url::Url;

pub struct Place {
    pub app: App,
    pub clock: Clock,
    pub github: FakeGitHub,
    pub provider: ProviderId,
    pub client_id: String,
    pub caller: Caller,
    _folder: tempfile::TempDir,
    _server: Option<slipway_testkit::postgres::Database>,
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
        Self::new(&address, folder, None).await
    }

    pub async fn on_postgres() -> Result<Self> {
        let server = slipway_testkit::postgres::fresh_database().await?;
        Self::new(&server.url(), tempfile::tempdir()?, Some(server)).await
    }

    /// `octo` is linked for the user `demo`; nothing is built yet.
    async fn new(address: &str, folder: tempfile::TempDir, server: Option<slipway_testkit::postgres::Database>) -> Result<Self> {
        let github = FakeGitHub::start().await?;
        github.set_webhooks(Webhooks::Drop);
        github.user("octo");
        github.repository("octo/hello", Shown::Private).await?;
        github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
        let oauth = github.oauth_app("Slipway", "http://slipway.test:8080/oauth/github/callback")?;
        let db = Db::open(address).await?;
        db.migrate().await?;
        let provider: ProviderId = "github".parse().map_err(|error: String| anyhow!(error))?;
        let host_keys = vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".to_owned()];
        let forge = slipway_forge::open(Provider {
            id: provider.clone(),
            kind: ProviderKind::GitHub,
            web_url: github.web_url().parse()?,
            api_url: github.api_url().parse()?,
            client_id: oauth.client_id.clone(),
            client_secret: oauth.client_secret.into(),
            app: None,
            ssh: Some(SshAccess { user: "git".into(), host: "github.test".into(), port: 22, host_keys }),
        })?;
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let app = App::new(db, clock.clone(), Keys::derive(&[1; 32]), [forge], Config::new("http://slipway.test:8080".parse()?));
        let password: SecretString = "correct horse".to_owned().into();
        app.add_user("demo", Role::Administrator, &password).await?;
        let client = ClientInfo { address: "127.0.0.1".into(), user_agent: "test".into() };
        let SignedIn::Session(session) = app.sign_in("demo", &password, &client).await? else { anyhow::bail!("a second factor") };
        let caller = app.caller_by_session(&session.token, "127.0.0.1").await?.context("a new session stands")?;
        let place = Self { app, clock, github, provider, client_id: oauth.client_id, caller, _folder: folder, _server: server };
        place.link(ConnectWish::default()).await?;
        Ok(place)
    }

    pub async fn owner(&self) -> Result<NamespaceOwner> {
        Ok(self.app.namespace(&self.caller, &self.caller.account().name, Scope::RepoAdmin).await?)
    }

    pub async fn link(&self, wish: ConnectWish) -> Result<()> {
        let url = self.app.begin_connect(&self.owner().await?, &self.caller, &self.provider, wish).await?;
        let callback: Url = self.github.approve_oauth(url.as_str(), "octo").await?.parse()?;
        let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let (state, code) = (part("state").context("state")?, part("code").context("code")?);
        self.app.finish_connect(&self.caller, &self.provider, &state, Ok(&code)).await?;
        Ok(())
    }

    /// A repository `name` that is built from `source`.
    pub async fn build(&self, name: &str, source: &str) -> Result<(RepositoryAdmin, AutobuildSettings)> {
        self.app.create_repository(&self.owner().await?, name, "", Visibility::Private).await?;
        let right = self.app.repository_admin(&self.caller, &self.caller.account().name, &name.parse()?).await?;
        let settings = self.save(&right, source).await?;
        Ok((right, settings))
    }

    pub async fn save(&self, right: &RepositoryAdmin, source: &str) -> Result<AutobuildSettings> {
        let input: AutobuildInput = serde_json::from_value(json!({"provider": "github", "source": source}))?;
        Ok(self.app.put_autobuild(right, &input).await?)
    }

    pub fn hours(&self, hours: u64) {
        self.clock.advance(Duration::from_secs(hours * 3600));
    }

    /// A push of `main` to `octo/hello` at our hook's address, signed with this secret.
    pub async fn deliver(&self, address: &str, secret: &str, id: &str) -> Result<Intake> {
        let source_id = self.github.repository_id("octo/hello");
        let push = json!({
            "ref": "refs/heads/main", "before": "1".repeat(40), "after": "2".repeat(40), "created": false, "deleted": false,
            "forced": false, "repository": {"id": source_id, "full_name": "octo/hello", "default_branch": "main"},
            "head_commit": {"id": "2".repeat(40), "message": id, "author": {"name": "Octo"}}, "commits": [], "pusher": {"name": "octo"},
        });
        self.deliver_event(address, secret, id, "push", &push).await
    }

    /// Any event at our hook's address, signed with this secret.
    pub async fn deliver_event(&self, address: &str, secret: &str, id: &str, event: &str, body: &Value) -> Result<Intake> {
        let body = body.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", event.parse()?);
        headers.insert("x-github-delivery", id.parse()?);
        headers.insert("content-type", "application/json".parse()?);
        headers.insert("x-hub-signature-256", format!("sha256={}", sign_sha256(secret, body.as_bytes())).parse()?);
        let hook = address.rsplit('/').next().context("the address ends with the hook's id")?;
        Ok(self.app.intake(&self.provider, hook, [192, 0, 2, 7].into(), &headers, body.as_bytes()).await?)
    }

    /// Actions in the installation's audit log, newest first.
    pub async fn audited(&self) -> Result<Vec<String>> {
        Ok(self.audit(AuditFilter::default()).await?.into_iter().map(|entry| entry.action).collect())
    }

    /// Entries of one action, newest first.
    pub async fn audited_as(&self, action: &str) -> Result<Vec<AuditEntry>> {
        self.audit(AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() }).await
    }

    async fn audit(&self, filter: AuditFilter) -> Result<Vec<AuditEntry>> {
        let reader = self.app.installation_audit(&self.caller)?;
        Ok(self.app.list_audit(&reader, &filter, None, 500).await?)
    }
}

pub fn read(right: &RepositoryAdmin) -> RepositoryRead {
    RepositoryRead::from(write(right))
}

pub fn write(right: &RepositoryAdmin) -> RepositoryWrite {
    RepositoryWrite::from(right.clone())
}
