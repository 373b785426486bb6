//! The real server beside the fake GitHub, and what a test may do there without a browser.
//! Invariant: the server's log is shown when a test fails, and a test that went well ends it cleanly.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{FakeGitHub, OAuthApp, OrgRole, Visibility};
use slipway_testkit::oidc::{FakeOidc, OidcClient};
use slipway_testkit::wait;

use crate::process::{Group, run};
use crate::{AUTHOR, PASSWORD, PERSON};

const BINARY: &str = "SLIPWAY_BIN";
const DOCKER: &str = "SLIPWAY_DOCKER";
const PATIENCE: Duration = Duration::from_secs(90);
/// One that says very much takes so long.
const BUILD_PATIENCE: Duration = Duration::from_secs(300);

/// A running Slipway with its provider.
pub struct Stage {
    /// The provider that Slipway knows as `github` and as `other`.
    pub github: FakeGitHub,
    server: Option<Group>,
    http: reqwest::Client,
    site: String,
    token: String,
    folder: tempfile::TempDir,
    ended_well: bool,
}

fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os(BINARY) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        // Tests lie in `debug/deps`, programs in `debug`.
        _ => std::env::current_exe()?.parent().and_then(Path::parent).context("the test lies in a folder of the build")?.join("slipway"),
    };
    ensure!(path.is_file(), "`{}` does not stand, expected the built program; hint: `make build`, or set `{BINARY}`", path.display());
    Ok(path)
}

/// PATH on which the engine's own `docker` is the first: the builder calls it by name.
fn path_with_docker() -> Result<OsString> {
    let chosen = std::env::var_os(DOCKER).filter(|path| !path.is_empty()).map_or_else(|| PathBuf::from("/usr/bin/docker"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folder = chosen.parent().filter(|folder| folder.is_absolute()).map(Path::to_path_buf);
    Ok(std::env::join_paths(folder.into_iter().chain(std::env::split_paths(&path)))?)
}

impl Stage {
    /// As after the installation: nobody is there yet. [`Stage::setup_address`] leads on.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn empty() -> Result<Self> {
        let mut stage = Self::prepare().await?;
        stage.serve().await?;
        Ok(stage)
    }

    /// With an administrator.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn with_person() -> Result<Self> {
        let mut stage = Self::prepare().await?;
        stage.add_user(PERSON, &["--admin"])?;
        stage.token = stage.make_token()?;
        stage.serve().await?;
        Ok(stage)
    }

    /// With an administrator, an OpenID Connect provider `corp`, mail into a folder, and accounts for everybody who wants one.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn open_house(oidc: &FakeOidc) -> Result<Self> {
        let mut stage = Self::prepare().await?;
        let OidcClient { client_id, client_secret } =
            oidc.client_with("slipway", "a-secret/with+odd=characters", &format!("{}/oidc/corp/callback", stage.site));
        let mails = stage.mails();
        std::fs::create_dir(&mails)?;
        let file = stage.folder.path().join("slipway.toml");
        let more = format!(
            "\n[mail]\nurl = \"file://{}\"\nfrom = \"Slipway <slipway@slipway.test>\"\n\n[[oidc]]\nid = \"corp\"\nname = \"Acme login\"\nissuer = \"{}\"\n\
             client_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\n",
            mails.display(),
            oidc.issuer()
        );
        std::fs::write(&file, format!("sign_up = \"open\"\n{}{more}", std::fs::read_to_string(&file)?))?;
        stage.add_user(PERSON, &["--admin"])?;
        stage.token = stage.make_token()?;
        stage.serve().await?;
        Ok(stage)
    }

    fn mails(&self) -> PathBuf {
        self.folder.path().join("mails")
    }

    /// Waits for a mail that names an address beginning like this, and gives the address.
    ///
    /// # Errors
    /// When none comes.
    pub async fn mailed_address(&self, beginning: &str) -> Result<String> {
        let prefix = format!("{}{beginning}", self.site);
        wait::until(&format!("a mail with `{prefix}`"), PATIENCE, || async {
            for entry in std::fs::read_dir(self.mails())? {
                // Quoted-printable: a line that goes on ends in `=`, and `=` itself is written `=3D`.
                let text = std::fs::read_to_string(entry?.path())?.replace("=\r\n", "").replace("=3D", "=");
                if let Some((_, rest)) = text.split_once(&prefix) {
                    return Ok(Some(format!("{prefix}{}", rest.split_whitespace().next().unwrap_or_default())));
                }
            }
            Ok(None)
        })
        .await
    }

    /// With an administrator whose namespace is linked.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn linked() -> Result<Self> {
        let stage = Self::with_person().await?;
        stage.link(AUTHOR).await?;
        Ok(stage)
    }

    /// Links the administrator's namespace to somebody at the provider.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn link(&self, login: &str) -> Result<()> {
        let begun = self.post(&format!("/namespaces/{PERSON}/links/github/connect"), &json!({})).await?;
        let back = self.github.approve_oauth(begun["authorize_url"].as_str().context("an address to authorize at")?, login).await?;
        self.http.get(back).bearer_auth(&self.token).send().await?.error_for_status()?;
        Ok(())
    }

    async fn prepare() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let site = format!("http://127.0.0.1:{port}");
        let github = FakeGitHub::start().await?;
        github.user(AUTHOR);
        github.organization("acme", &[(AUTHOR, OrgRole::Admin)]);
        github.organization("walled", &[(AUTHOR, OrgRole::Member)]);
        github.restrict_organization("walled");
        let folder = tempfile::Builder::new().prefix("slipway-e2e-").tempdir()?;
        let mut config = format!(
            "data_dir = \"data\"\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"{site}\"\ndrain_timeout = \"1s\"\n\n[builder]\nparallel = 1\n"
        );
        for id in ["github", "other"] {
            let OAuthApp { client_id, client_secret } = github.oauth_app("Slipway", &format!("{site}/oauth/{id}/callback"))?;
            config.push_str(&format!(
                "\n[[provider]]\nid = \"{id}\"\nkind = \"github\"\nweb_url = \"{}\"\napi_url = \"{}\"\nclient_id = \"{client_id}\"\nclient_secret = \"{client_secret}\"\n",
                github.web_url(),
                github.api_url(),
            ));
        }
        std::fs::write(folder.path().join("slipway.toml"), config)?;
        let http = slipway_testkit::http_client()?;
        Ok(Self { github, server: None, http, site, token: String::new(), folder, ended_well: false })
    }

    async fn serve(&mut self) -> Result<()> {
        let server = Group::start(&binary()?, &["serve".into()], self.folder.path(), &path_with_docker()?)?;
        let server = self.server.insert(server);
        let ready = format!("{}/readyz", self.site);
        server.word_after(" listens on ").await?;
        wait::until("the server to be ready", PATIENCE, || async {
            Ok(self.http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await
    }

    /// Adds somebody with the administrator's password.
    ///
    /// # Errors
    /// When it is refused.
    pub fn add_user(&self, name: &str, more: &[&str]) -> Result<()> {
        let arguments = [&["admin", "user", "add", name, "--password-file", "-"], more].concat();
        run(&binary()?, &arguments, self.folder.path(), &format!("{PASSWORD}\n")).map(|_| ())
    }

    fn make_token(&self) -> Result<String> {
        let printed = run(&binary()?, &["admin", "token", PERSON], self.folder.path(), "")?;
        Ok(String::from_utf8(printed)?.trim().to_owned())
    }

    /// Makes the administrator's token after the story made the administrator.
    ///
    /// # Errors
    /// When it is refused.
    pub fn take_token(&mut self) -> Result<()> {
        self.token = self.make_token()?;
        Ok(())
    }

    /// The one-time address that the server printed.
    ///
    /// # Errors
    /// When it printed none.
    pub async fn setup_address(&self) -> Result<String> {
        let prefix = format!("{}/setup?token=", self.site);
        let token = self.server.as_ref().context("the server runs")?.word_after(&prefix).await?;
        Ok(format!("{prefix}{token}"))
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// `127.0.0.1:PORT`, as image names begin.
    #[must_use]
    pub fn host(&self) -> String {
        self.site.replacen("http://", "", 1)
    }

    /// The administrator's access token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The HTTP client.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}/api/v1{path}", self.site)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path} answered {status}: {text}");
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// `GET` of the API.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.api(Method::GET, path, None).await
    }

    /// `POST` of the API.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.api(Method::POST, path, Some(body)).await
    }

    /// `PUT` of the API.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.api(Method::PUT, path, Some(body)).await
    }

    /// A repository `demo/NAME` that builds from the new private source `octo/NAME` by these rules, and its webhook.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn repository(&self, name: &str, description: &str, rules: &Value) -> Result<()> {
        let source = format!("{AUTHOR}/{name}");
        self.github.repository(&source, Visibility::Private).await?;
        let body = json!({ "name": name, "description": description, "visibility": "private" });
        self.post(&format!("/repositories/{PERSON}"), &body).await?;
        let body = json!({
            "provider": "github", "source": source, "autotest": "off", "rules": rules,
            "env": [{ "name": "GREETING", "value": "hello" }],
        });
        self.api(Method::PUT, &format!("/repositories/{PERSON}/{name}/autobuild"), Some(&body)).await?;
        self.wait_for("the webhook to stand", || async { Ok((!self.github.hooks(&source).is_empty()).then_some(())) }).await?;
        self.github.settle().await;
        Ok(())
    }

    /// Pushes a commit to `octo/NAME` and waits for the build that it becomes; gives the build as the API tells it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn push(&self, name: &str, branch: &str, files: &[(&str, &str)], message: &str) -> Result<Value> {
        let commit = self.github.commit(&format!("{AUTHOR}/{name}"), branch, files, message).await?;
        self.build_of(name, &commit).await
    }

    /// Waits for the build of a commit that the provider has told of, as the API tells it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn build_of(&self, name: &str, commit: &str) -> Result<Value> {
        self.github.settle().await;
        let path = format!("/repositories/{PERSON}/{name}/builds");
        self.wait_for("the build of the commit", || async {
            let list = self.get(&path).await?;
            Ok(list["items"].as_array().and_then(|all| all.iter().find(|build| build["commit"] == commit)).cloned())
        })
        .await
    }

    /// Lets everybody read `demo/NAME`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_public(&self, name: &str) -> Result<()> {
        self.api(Method::PATCH, &format!("/repositories/{PERSON}/{name}"), Some(&json!({ "visibility": "public" }))).await.map(drop)
    }

    /// Waits until a build is in this state.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn until(&self, name: &str, build: &Value, state: &str) -> Result<Value> {
        let path = format!("/repositories/{PERSON}/{name}/builds/{}", build["id"].as_str().context("a build has an id")?);
        wait::until(&format!("a build to be {state}"), BUILD_PATIENCE, || async {
            let build = self.get(&path).await?;
            let ended = ["success", "failed", "cancelled"].iter().any(|end| build["state"] == *end);
            ensure!(!ended || build["state"] == state, "expected a build that is {state}: {build}");
            Ok((build["state"] == state).then_some(build))
        })
        .await
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// What was waited for, when it did not come.
    pub async fn wait_for<T, F>(&self, what: &str, ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        wait::until(what, PATIENCE, ask).await
    }

    /// The end of a test that went well: the server ends cleanly and has logged no error.
    ///
    /// # Errors
    /// Otherwise.
    pub async fn finish(mut self) -> Result<()> {
        let server = self.server.take().context("the server runs")?;
        let bad: Vec<String> = server.lines().into_iter().filter(|line| line.contains(" ERROR ") || line.contains("panicked at")).collect();
        ensure!(bad.is_empty(), "the server's log has errors: {bad:?}");
        let status = server.terminate().await?;
        ensure!(status.success(), "the server ended with {status} after SIGTERM, expected exit code 0");
        self.ended_well = true;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(server) = self.server.as_ref().filter(|_| !self.ended_well) {
            eprintln!("the server's log:\n{}", server.tail());
        }
    }
}

/// Files of a source repository whose image and test are these shell texts.
#[must_use]
pub fn files(base: &str, build: &str, test: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Dockerfile", format!("FROM {base}\nCOPY build.sh test.sh /\nRUN [\"/bin/sh\", \"/build.sh\"]\n")),
        ("docker-compose.test.yml", "services:\n  sut:\n    build: .\n    command: [\"sh\", \"/test.sh\"]\n".to_owned()),
        ("build.sh", build.to_owned()),
        ("test.sh", test.to_owned()),
    ]
}

/// The same as `push` takes them.
#[must_use]
pub fn borrowed<'f>(files: &'f [(&'static str, String)]) -> Vec<(&'static str, &'f str)> {
    files.iter().map(|(path, text)| (*path, text.as_str())).collect()
}
