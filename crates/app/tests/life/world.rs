//! One installation on a throw-away SQLite file beside a fake GitHub.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use secrecy::SecretString;
use serde_json::json;
use slipway_app::{
    App, AutobuildInput, BuildsWanted, Caller, ClientInfo, Config, Intake, Keys, NamespaceOwner, NodeFacts, RegisteredBuilder,
    RepositoryAdmin, RepositoryWrite, Role, SignedIn, TokenWish,
};
use slipway_forge::Provider;
use slipway_model::{
    AccountName, BuildState, Clock, ProviderId, ProviderKind, RepositoryId, Scope, SecretToken, Timestamp, TokenKind, Visibility,
};
use slipway_store::Db;
use slipway_store::builds::Build;
use slipway_store::images::{self, NewManifest};
use slipway_testkit::github::{FakeGitHub, Visibility as Shown, sign_sha256};
use tempfile::TempDir;
use url::Url;

/// Somebody's browser.
pub fn client() -> ClientInfo {
    ClientInfo { address: "127.0.0.1".into(), user_agent: "test".into() }
}

/// A commit id of one repeated digit.
pub fn commit(digit: char) -> String {
    std::iter::repeat_n(digit, 40).collect()
}

pub struct World {
    pub app: Arc<App>,
    pub clock: Clock,
    pub github: FakeGitHub,
    pub provider: ProviderId,
    pub source_id: u64,
    deliveries: std::cell::Cell<u32>,
    _database: Stored,
}

/// What a database stands on; it goes with the world.
#[expect(dead_code, reason = "held, never looked at")]
enum Stored {
    Folder(TempDir),
    Server(slipway_testkit::postgres::Database),
}

impl World {
    pub async fn new() -> Result<Self> {
        Self::with(|_| {}).await
    }

    /// One with another configuration.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = format!("sqlite://{}", folder.path().join("slipway.db").display());
        Self::on(&address, Stored::Folder(folder), change).await
    }

    /// One whose changes run side by side, which those on SQLite never do.
    pub async fn on_postgres(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let server = slipway_testkit::postgres::fresh_database().await?;
        let address = server.url();
        Self::on(&address, Stored::Server(server), change).await
    }

    async fn on(address: &str, database: Stored, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let github = FakeGitHub::start().await?;
        github.user("octo");
        let source_id = github.repository("octo/hello", Shown::Private).await?;
        github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
        let public_url: Url = "http://slipway.test:8080".parse()?;
        let oauth = github.oauth_app("Slipway", "http://slipway.test:8080/oauth/github/callback")?;
        let db = Db::open(address).await?;
        db.migrate().await?;
        let provider: ProviderId = "github".parse().map_err(|e: String| anyhow!(e))?;
        let forge = slipway_forge::open(Provider {
            id: provider.clone(),
            kind: ProviderKind::GitHub,
            web_url: github.web_url().parse()?,
            api_url: github.api_url().parse()?,
            client_id: oauth.client_id,
            client_secret: oauth.client_secret.into(),
            app: None,
            ssh: None,
        })?;
        let mut config = Config::new(public_url);
        change(&mut config);
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let app = Arc::new(App::new(db, clock.clone(), Keys::derive(&[1; 32]), [forge], config));
        Ok(Self { app, clock, github, provider, source_id, deliveries: std::cell::Cell::new(0), _database: database })
    }

    /// A signed-in user; made when there is none of the name.
    pub async fn person(&self, name: &str) -> Result<Caller> {
        self.signed_in(name, Role::User).await
    }

    /// A signed-in administrator of the installation; made when there is none of the name.
    pub async fn administrator(&self, name: &str) -> Result<Caller> {
        self.signed_in(name, Role::Administrator).await
    }

    async fn signed_in(&self, name: &str, role: Role) -> Result<Caller> {
        let password: SecretString = "correct horse".to_owned().into();
        if let Err(error) = self.app.add_user(name, role, &password).await {
            anyhow::ensure!(error.to_string().contains("already"), "{error}");
        }
        let SignedIn::Session(session) = self.app.sign_in(name, &password, &client()).await? else {
            anyhow::bail!("`{name}` has a second factor")
        };
        self.app.caller_by_session(&session.token, "127.0.0.1").await?.context("a new session stands")
    }

    /// The bearer of a new token of the caller's with these scopes.
    pub async fn token(&self, caller: &Caller, scopes: &str) -> Result<Caller> {
        let scopes = scopes.parse().map_err(|error: String| anyhow!(error))?;
        let wish = TokenWish { name: "test".into(), scopes, repositories: None, expires_at: None };
        let made = self.app.create_token(caller, &wish).await?;
        self.bearer(made.secret.expose()).await
    }

    /// Whoever sends this token.
    pub async fn bearer(&self, token: &str) -> Result<Caller> {
        let token = SecretToken::presented(TokenKind::Personal, token).context("a token")?;
        self.app.caller_by_token(&token, "127.0.0.1").await?.context("the token stands")
    }

    pub async fn namespace(&self, caller: &Caller) -> Result<NamespaceOwner> {
        Ok(self.app.namespace(caller, &caller.account().name, Scope::RepoAdmin).await?)
    }

    /// `state` and `code` of the callback after `octo` approved.
    pub async fn approved(&self, caller: &Caller) -> Result<(String, String)> {
        let url =
            self.app.begin_connect(&self.namespace(caller).await?, caller, &self.provider, slipway_app::ConnectWish::default()).await?;
        let callback: Url = self.github.approve_oauth(url.as_str(), "octo").await?.parse()?;
        let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        Ok((part("state").context("state")?, part("code").context("code")?))
    }

    pub async fn link(&self, caller: &Caller) -> Result<()> {
        let (state, code) = self.approved(caller).await?;
        self.app.finish_connect(caller, &self.provider, &state, Ok(&code)).await?;
        Ok(())
    }

    pub async fn repository(&self, caller: &Caller, name: &str) -> Result<RepositoryAdmin> {
        self.app.create_repository(&self.namespace(caller).await?, name, "", Visibility::Private).await?;
        self.right(caller, name).await
    }

    pub async fn right(&self, caller: &Caller, name: &str) -> Result<RepositoryAdmin> {
        let namespace: AccountName = caller.account().name.clone();
        Ok(self.app.repository_admin(caller, &namespace, &name.parse()?).await?)
    }

    /// Linked, with repository `hello` built from `octo/hello` by the default rule.
    pub async fn ready(&self) -> Result<(Caller, RepositoryAdmin)> {
        let caller = self.person("demo").await?;
        self.link(&caller).await?;
        let right = self.repository(&caller, "hello").await?;
        let input: AutobuildInput = serde_json::from_value(json!({"provider": "github", "source": "octo/hello"}))?;
        let settings = self.app.put_autobuild(&right, &input).await?;
        anyhow::ensure!(settings.hook.is_some_and(|hook| hook.standing), "the webhook stands");
        Ok((caller, right))
    }

    /// A signed push of `main` to `after`, through the hook that stands at the fake; decided before this returns.
    pub async fn push(&self, right: &RepositoryAdmin, before: &str, after: &str) -> Result<()> {
        self.told(right, "refs/heads/main", (before, after), "work").await
    }

    /// The same of any ref, with the message of its commit.
    pub async fn told(&self, right: &RepositoryAdmin, name: &str, (before, after): (&str, &str), message: &str) -> Result<()> {
        let body = json!({
            "ref": name, "before": before, "after": after, "created": false, "deleted": false, "forced": false,
            "repository": {"id": self.source_id, "full_name": "octo/hello", "default_branch": "main"},
            "head_commit": {"id": after, "message": message, "author": {"name": "Octo"}}, "commits": [], "pusher": {"name": "octo"},
        })
        .to_string();
        let number = self.deliveries.get() + 1;
        self.deliveries.set(number);
        match self.intake(&body, &format!("delivery-{number}")).await? {
            Intake::Stored(id) => {
                let write = RepositoryWrite::from(right.clone());
                // The loop would decide it; without one running, a replay by hand decides the same way.
                Ok(self.app.replay(&write, id, right.repository().account).await?)
            }
            other => Err(anyhow!("not stored: {other:?}")),
        }
    }

    pub async fn intake(&self, body: &str, id: &str) -> Result<Intake> {
        let hook = self.github.hooks("octo/hello").pop().context("a hook stands")?;
        let secret = hook.secret.context("it has a secret")?;
        let mut headers = http::HeaderMap::new();
        headers.insert("x-github-event", "push".parse()?);
        headers.insert("x-github-delivery", id.parse()?);
        headers.insert("content-type", "application/json".parse()?);
        headers.insert("x-hub-signature-256", format!("sha256={}", sign_sha256(&secret, body.as_bytes())).parse()?);
        let hook_id = hook.url.rsplit('/').next().context("the address ends with the hook's id")?.to_owned();
        Ok(self.app.intake(&self.provider, &hook_id, [192, 0, 2, 7].into(), &headers, body.as_bytes()).await?)
    }

    pub async fn builder(&self, name: &str) -> Result<RegisteredBuilder> {
        let token = self.app.register_builtin_builder(name).await?;
        self.app.builder_by_token(token.expose()).await?.context("a registered builder is known")
    }

    /// What a builder says of itself when it asks for work.
    pub async fn says(&self, builder: &RegisteredBuilder, parallel: u32, engine: &str) -> Result<()> {
        let facts = NodeFacts { version: "1", protocol: 2, git: "git version 2.39.5", parallel, engine, obstacle: None };
        self.app.builder_seen(builder, &facts).await?.map_err(|old| anyhow!(old.detail))
    }

    /// Puts a manifest that needs nothing into the repository, as the registry would for a build's push.
    pub async fn pushed(&self, repository: RepositoryId, digest: &str) -> Result<()> {
        let mut tx = self.app.db().write().await?;
        let new = NewManifest {
            digest,
            media_type: "application/vnd.oci.image.manifest.v1+json",
            artifact_type: None,
            subject: None,
            annotations: None,
            content: digest.as_bytes(),
            refs: &[],
        };
        images::insert_manifest(&mut tx, repository, &new, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    pub async fn builds(&self, right: &RepositoryAdmin) -> Result<Vec<Build>> {
        let read = slipway_app::RepositoryRead::from(RepositoryWrite::from(right.clone()));
        let mut all = self.app.list_builds(&read, &BuildsWanted::default(), None, 100).await?;
        all.reverse();
        Ok(all)
    }

    pub async fn state(&self, right: &RepositoryAdmin, number: usize) -> Result<BuildState> {
        Ok(self.builds(right).await?.get(number - 1).context("the build stands")?.state)
    }

    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}
