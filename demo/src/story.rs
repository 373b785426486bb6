//! The story: what the demo does, in order, and what it checks after each step.
//! Invariant: a step is told as done only after something outside of the server showed it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{ContentType, FakeGitHub, OAuthApp, Visibility};

use crate::api::{Api, text};
use crate::browser::Browser;
use crate::docker::Docker;
use crate::live_log;
use crate::narrator::Narrator;
use crate::registry;
use crate::server::{Server, free_port};
use crate::source::{Checkout, Content};

const PERSON: &str = "demo";
const PASSWORD: &str = "sail-away-tonight";
const AUTHOR: &str = "octo";
const SOURCE: &str = "octo/hello";
const IMAGE: &str = "demo/hello";
const GREETING: &str = "Hello from Slipway";
/// Exit code of the failing test, so that the reason can be checked to the digit.
const TEST_EXIT: &str = "3";
/// A build of this size takes seconds; this is for a machine that is very busy.
const BUILD_WITHIN: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(20);
/// Ports that are wished for when everything is left running.
const KEPT_PORT: u16 = 8080;

/// Everything that stands while the story is told.
pub struct Stage {
    /// The server.
    pub server: Server,
    github: FakeGitHub,
    docker: Docker,
    http: reqwest::Client,
    setup: String,
    host: String,
    oauth: OAuthApp,
    folder: tempfile::TempDir,
    told: std::cell::RefCell<Vec<String>>,
}

impl Stage {
    /// Starts the sample provider and the server.
    pub async fn set(narrator: &Narrator) -> Result<Self> {
        narrator.chapter("Slipway: from a git push to an image that runs");
        narrator.begin("a Docker Engine");
        let folder = tempfile::Builder::new().prefix("slipway-demo-").tempdir()?;
        let docker = Docker::new(&folder.path().join("docker-config"));
        let version = docker.engine().await?;
        narrator.done(&format!("a Docker Engine answers: {version}"));

        narrator.begin("the sample provider");
        let github = FakeGitHub::start().await?;
        github.user(AUTHOR);
        github.repository(SOURCE, Visibility::Private).await?;
        narrator.done(&format!("the sample provider stands at {} with the private repository {SOURCE}", github.web_url()));

        narrator.begin("slipway serve");
        let http = slipway_testkit::http_client()?;
        let host = format!("127.0.0.1:{}", free_port(Some(KEPT_PORT))?);
        let public_url = format!("http://{host}");
        let oauth = github.oauth_app("Slipway", &format!("{public_url}/oauth/github/callback"))?;
        let config = write_config(folder.path(), &host, &github, &oauth)?;
        let mut server = Server::start(&config, &public_url).await?;
        let setup = server.setup_address(&http).await;
        let setup = setup.map_err(|error| anyhow::anyhow!("slipway serve: {error:#}\nits log:\n{}", server.log_tail()))?;
        narrator.done(&format!("slipway serve is ready at {public_url} and has printed its one-time setup address"));
        Ok(Self { server, github, docker, http, setup, host, oauth, folder, told: std::cell::RefCell::default() })
    }

    fn site(&self) -> &str {
        self.server.public_url()
    }

    fn remember(&self, line: String) {
        self.told.borrow_mut().push(line);
    }

    /// Tells it all.
    pub async fn tell(&self, narrator: &Narrator) -> Result<()> {
        narrator.chapter("A person and a link");
        let browser = self.sign_in(narrator).await?;
        let token = self.token(&browser, narrator).await?;
        let api = Api::new(&self.http, self.site(), &token);
        self.link(&browser, &api, narrator).await?;

        narrator.chapter("A repository that builds itself");
        self.push_base(&api, &token, narrator).await?;
        self.create_repository(&api, narrator).await?;
        self.set_up_autobuild(&api, narrator).await?;

        narrator.chapter("A push becomes a tested image");
        let checkout = self.checkout().await?;
        let good = self.push_and_build(&api, &checkout, GREETING, "success", narrator).await?;
        let digest = self.tag_stands(&api, &token, &good, narrator).await?;
        self.pull_and_run(&digest, narrator).await?;

        narrator.chapter("A push whose test fails");
        let bad = self.push_and_build(&api, &checkout, "Goodbye", "failed", narrator).await?;
        self.tag_did_not_move(&api, &token, &bad, &digest, narrator).await
    }

    /// The one-time address makes the first administrator; then a fresh browser signs in.
    async fn sign_in(&self, narrator: &Narrator) -> Result<Browser> {
        narrator.begin("the first administrator");
        let setup = self.setup.strip_prefix(self.site()).context("the setup address is ours")?;
        let first = Browser::new(&self.http, self.site());
        first.submit(setup, "/setup", &[("name", PERSON), ("password", PASSWORD)]).await?;
        let again = Browser::new(&self.http, self.site()).submit(setup, "/setup", &[("name", "second"), ("password", PASSWORD)]).await;
        ensure!(again.is_err(), "the setup address worked twice");
        narrator.done(&format!("the setup address made the administrator `{PERSON}`, once"));

        narrator.begin("signing in");
        let browser = Browser::new(&self.http, self.site());
        browser.submit("/signin", "/signin", &[("name", PERSON), ("password", PASSWORD)]).await?;
        let me = browser.api(Method::GET, "/api/v1/me", None).await?;
        ensure!(text(&me, "name")? == PERSON, "signed in as {me}, expected `{PERSON}`");
        narrator.done(&format!("signed in as `{PERSON}` with a name and a password"));
        Ok(browser)
    }

    async fn token(&self, browser: &Browser, narrator: &Narrator) -> Result<String> {
        narrator.begin("an access token");
        let made = browser.api(Method::POST, "/api/v1/tokens", Some(&json!({ "name": "demo" }))).await?;
        let token = text(&made, "token")?.to_owned();
        narrator.done("made a personal access token for the API and for docker login");
        Ok(token)
    }

    async fn link(&self, browser: &Browser, api: &Api, narrator: &Narrator) -> Result<()> {
        narrator.begin("linking the provider");
        let connect = "/settings/source-providers/github/connect";
        let authorize = browser.submit(connect, connect, &[]).await?;
        let asked: url::Url = authorize.parse().context("the connect form leads to the provider")?;
        ensure!(authorize.starts_with(self.github.web_url()), "`{authorize}` is not the provider's");
        let parameter = |name: &str| asked.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        ensure!(parameter("state").is_some_and(|state| state.len() >= 32), "the state is missing or short: {authorize}");
        ensure!(parameter("code_challenge").is_some_and(|value| value.len() == 43), "no PKCE challenge: {authorize}");
        ensure!(parameter("code_challenge_method").as_deref() == Some("S256"), "the PKCE method is not S256: {authorize}");
        let back = self.github.approve_oauth(&authorize, AUTHOR).await?;
        let stranger = Browser::new(&self.http, self.site()).open(&back).await?;
        ensure!(!stranger.status().is_success() && self.link_state(api).await?["state"] != "ok", "a stranger could finish the link");
        // The stranger's attempt may have used up the state; then the person starts anew, which is what a person would do.
        let mut answer = browser.open(&back).await?;
        if !answer.status().is_redirection() {
            let authorize = browser.submit(connect, connect, &[]).await?;
            answer = browser.open(&self.github.approve_oauth(&authorize, AUTHOR).await?).await?;
        }
        ensure!(answer.status().is_redirection(), "the callback answered {}", answer.status());
        let link = self.link_state(api).await?;
        ensure!(text(&link, "state")? == "ok" && text(&link, "login")? == AUTHOR, "the link is {link}");
        let reused = browser.open(&back).await?.status();
        ensure!(reused == 400, "the callback's address answered {reused} the second time, expected 400");
        narrator.done(&format!("linked as `{AUTHOR}` by OAuth with state and PKCE; a stranger's callback and a second use were refused"));
        narrator.detail(&format!("scopes {}", link["scopes"]));
        Ok(())
    }

    async fn link_state(&self, api: &Api) -> Result<Value> {
        let links = api.items(&format!("/namespaces/{PERSON}/links")).await?;
        links.into_iter().find(|link| link["provider"] == "github").context("the list of links names the provider")
    }

    /// A base image made from busybox, because there is no network to pull one from.
    async fn push_base(&self, api: &Api, token: &str, narrator: &Narrator) -> Result<()> {
        narrator.begin("a base image");
        api.post(&format!("/repositories/{PERSON}"), &json!({ "name": "base", "visibility": "private" })).await?;
        let name = format!("{}/demo/base:latest", self.host);
        self.docker.import_busybox(&name, self.folder.path()).await?;
        self.docker.run(&["login", "--username", PERSON, "--password-stdin", &self.host], token.as_bytes()).await?;
        self.docker.run(&["push", &name], b"").await?;
        narrator.done(&format!("pushed {name}, made from busybox, with docker login and docker push"));
        Ok(())
    }

    async fn create_repository(&self, api: &Api, narrator: &Narrator) -> Result<()> {
        narrator.begin("the repository");
        let body = json!({ "name": "hello", "description": "Says hello", "visibility": "private" });
        api.post(&format!("/repositories/{PERSON}"), &body).await?;
        let found = api.get(&format!("/repositories/{IMAGE}")).await?;
        ensure!(found["visibility"] == "private", "the repository is {found}");
        narrator.done(&format!("created the private repository {IMAGE}"));
        Ok(())
    }

    async fn set_up_autobuild(&self, api: &Api, narrator: &Narrator) -> Result<()> {
        narrator.begin("autobuild");
        let sources = api.items(&format!("/namespaces/{PERSON}/links/github/source-repositories?namespace={AUTHOR}&q=hello")).await?;
        ensure!(sources.iter().any(|source| source.to_string().contains(SOURCE)), "the picker shows {sources:?}, expected {SOURCE}");
        let rule = json!({
            "source_type": "branch", "source": "main", "tags": "latest", "dockerfile": "Dockerfile", "context": "/",
            "autobuild": true, "cache": true,
        });
        let body = json!({ "provider": "github", "source": SOURCE, "autotest": "off", "rules": [rule], "env": [] });
        api.put(&format!("/repositories/{IMAGE}/autobuild"), &body).await?;
        narrator.done(&format!("{IMAGE} builds from {SOURCE}: branch main becomes tag latest"));

        narrator.begin("the webhook");
        let hook = slipway_testkit::wait::until("the webhook at the provider", SOON, || async {
            Ok(self.github.hooks(SOURCE).into_iter().next())
        });
        let hook = hook.await?;
        ensure!(hook.url.starts_with(&format!("{}/hooks/github/", self.site())), "the hook goes to {}", hook.url);
        ensure!(hook.active && hook.content_type == ContentType::Json, "the hook is {hook:?}");
        ensure!(hook.secret.is_some_and(|secret| secret.len() >= 32), "the hook has no good secret");
        ensure!(hook.events.iter().any(|event| event == "push"), "the hook hears {:?}", hook.events);
        self.github.settle().await;
        let ping = self.github.deliveries(SOURCE).pop().context("the provider pinged the hook")?;
        ensure!((200..300).contains(&ping.status_code), "the ping was answered {} {}", ping.status_code, ping.response_body);
        narrator.done(&format!("the webhook stands at the provider, its ping was answered {}", ping.status_code));
        Ok(())
    }

    async fn checkout(&self) -> Result<Checkout> {
        let token = self.github.personal_token(AUTHOR, &["repo"]);
        let url = self.github.clone_url(SOURCE).replacen("http://", &format!("http://{AUTHOR}:{token}@"), 1);
        Checkout::new(&self.folder.path().join("hello"), &url).await
    }

    fn files(&self, greeting: &str) -> [String; 4] {
        [
            format!(
                "FROM {}/demo/base\nCOPY hello.sh test.sh /\nRUN [\"/bin/sh\", \"-c\", \"echo building the image of: $(sh /hello.sh)\"]\nCMD [\"sh\", \"/hello.sh\"]\n",
                self.host
            ),
            "services:\n  sut:\n    build: .\n    command: [\"sh\", \"/test.sh\"]\n".to_owned(),
            format!("echo \"{greeting}\"\n"),
            format!(
                "found=\"$(sh /hello.sh)\"\necho \"the image says: $found\"\nif test \"$found\" = \"{GREETING}\"; then echo \"test passed\"; \
                 else echo \"test failed, expected: {GREETING}\"; exit {TEST_EXIT}; fi\n"
            ),
        ]
    }

    /// Pushes a commit, then follows delivery, verdict, queue and log to the build's end.
    async fn push_and_build(&self, api: &Api, checkout: &Checkout, greeting: &str, expected: &str, narrator: &Narrator) -> Result<Value> {
        narrator.begin("git push");
        let [dockerfile, compose, hello, test] = self.files(greeting);
        let files = [
            Content("Dockerfile", &dockerfile),
            Content("docker-compose.test.yml", &compose),
            Content("hello.sh", &hello),
            Content("test.sh", &test),
        ];
        let commit = checkout.push(&files, &format!("Say {greeting}")).await?;
        narrator.done(&format!("git push of commit {} to {SOURCE}", &commit[..7]));

        narrator.begin("delivery and verdict");
        let deliveries = format!("/repositories/{IMAGE}/deliveries");
        self.github.settle().await;
        let sent = self.github.deliveries(SOURCE).into_iter().rev().find(|delivery| delivery.payload["after"] == commit.as_str());
        let sent = sent.context("the provider sent a webhook for the push")?;
        ensure!((200..300).contains(&sent.status_code), "the webhook was answered {} {}", sent.status_code, sent.response_body);
        let judged = |delivery: &Value| {
            delivery["delivery_id"] == sent.guid.as_str() && delivery["verdicts"].as_array().is_some_and(|all| !all.is_empty())
        };
        let delivery = api.item(&deliveries, "the verdict of the delivery", SOON, judged).await?;
        let verdict = &delivery["verdicts"][0];
        ensure!(delivery["status"] == "accepted" && verdict["outcome"] == "built", "the verdict is {delivery}");
        let build = text(verdict, "build")?;
        let took = format!("answered {} after {} ms", sent.status_code, (sent.duration * 1000.0).round());
        narrator.done(&format!("webhook {took}; verdict: {}", verdict["text"].as_str().unwrap_or("built")));

        let path = format!("/repositories/{IMAGE}/builds/{build}");
        narrator.begin("the live log");
        let queued = api.get(&path).await?;
        let place = queued["position"].as_u64().map_or_else(String::new, |place| format!(", place {place}"));
        narrator.detail(&format!("{}{place}: {}", text(&queued, "state")?, waiting(&queued)));
        let seen =
            tokio::time::timeout(BUILD_WITHIN, live_log::follow(api, &path, narrator)).await.context("the build takes too long")??;
        let final_states = ["success", "failed", "cancelled"];
        let done = api
            .until(&path, "the end of the build", SOON, |build| build["state"].as_str().is_some_and(|state| final_states.contains(&state)))
            .await?;
        if done["state"] != expected {
            bail!("the build ended as {} because `{}`, expected {expected}: {done}", done["state"], reason(&done));
        }
        ensure!(done["commit"] == commit.as_str(), "the build is of {}", done["commit"]);
        ensure!(
            seen.lines.iter().any(|line| line.contains(&format!("the image says: {greeting}"))),
            "the log does not show the test `sut`"
        );
        narrator.done(&format!(
            "build {} ended: {expected}; live log with {} lines of {} steps",
            done["number"],
            seen.lines.len(),
            seen.steps.len()
        ));
        Ok(done)
    }

    async fn latest(&self, api: &Api) -> Result<Value> {
        let tags = api.items(&format!("/repositories/{IMAGE}/tags")).await?;
        tags.into_iter().find(|tag| tag["name"] == "latest").context("the tag `latest` stands")
    }

    async fn tag_stands(&self, api: &Api, token: &str, build: &Value, narrator: &Narrator) -> Result<String> {
        narrator.begin("the tag");
        let tag = self.latest(api).await?;
        let digest = text(&tag, "digest")?.to_owned();
        ensure!(build["digest"] == digest.as_str(), "the tag is {digest}, the build's is {}", build["digest"]);
        let served = registry::digest(&self.http, self.site(), IMAGE, "latest", PERSON, token).await?;
        ensure!(served == digest, "the registry serves {served}, the tag is {digest}");
        narrator.done(&format!("tag latest is {}… in the API and in the registry", &digest[..19]));
        self.remember(format!("{IMAGE}:latest    {digest}"));
        Ok(digest)
    }

    async fn pull_and_run(&self, digest: &str, narrator: &Narrator) -> Result<()> {
        narrator.begin("docker pull and run");
        let name = format!("{}/{IMAGE}:latest", self.host);
        self.docker.forget(&[&name]).await;
        self.docker.run(&["pull", "--quiet", &name], b"").await?;
        let digests = self.docker.run(&["image", "inspect", "--format", "{{join .RepoDigests \" \"}}", &name], b"").await?;
        ensure!(digests.contains(digest), "docker pulled {digests}, expected {digest}");
        let said = self.docker.run(&["run", "--rm", "--network", "none", &name], b"").await?;
        ensure!(said == GREETING, "the image says `{said}`, expected `{GREETING}`");
        narrator.done(&format!("docker pull of {name} by token; it runs and says: {said}"));
        self.remember(format!("docker run {name} says: {said}"));
        Ok(())
    }

    async fn tag_did_not_move(&self, api: &Api, token: &str, build: &Value, digest: &str, narrator: &Narrator) -> Result<()> {
        narrator.begin("the tag stays");
        let reason = reason(build);
        ensure!(reason.contains(&format!("`sut` exited with {TEST_EXIT}")), "the reason is `{reason}`");
        let tag = self.latest(api).await?;
        ensure!(tag["digest"] == digest, "the tag moved to {}", tag["digest"]);
        let served = registry::digest(&self.http, self.site(), IMAGE, "latest", PERSON, token).await?;
        ensure!(served == digest, "the registry serves {served}, expected {digest}");
        narrator.done(&format!("tag latest did not move: {reason}"));
        self.remember(format!("the second push: {reason}; latest is still {}…", &digest[..19]));
        Ok(())
    }

    /// The end's lines.
    pub fn summary(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// Where everything is.
    pub fn addresses(&self) -> Vec<(String, String)> {
        let provider = self.github.web_url();
        [
            ("Slipway", self.site().to_owned()),
            ("name, password", format!("{PERSON}, {PASSWORD}")),
            ("repository", format!("{}/{IMAGE}", self.site())),
            ("sample provider", provider.to_owned()),
            ("name, password", format!("{AUTHOR}, {}", slipway_testkit::github::user_password(AUTHOR))),
            ("its repository", format!("{provider}/{SOURCE}")),
            ("checkout to push", self.folder.path().join("hello").display().to_string()),
            ("granted access", format!("{provider}/settings/connections/applications/{}", self.oauth.client_id)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Takes the demo's images out of the engine.
    pub async fn clear_images(&self) {
        let images = [format!("{}/{IMAGE}:latest", self.host), format!("{}/demo/base:latest", self.host)];
        self.docker.forget(&images.each_ref().map(String::as_str)).await;
    }

    /// After a failure: images away, server down; how it ends is no matter any more.
    pub async fn clear_away(self) {
        self.clear_images().await;
        self.server.stop().await.ok();
    }
}

/// What a build waits for, in the server's words.
fn waiting(build: &Value) -> &str {
    build["waits_for"].as_str().unwrap_or("a builder takes it at once")
}

/// Why a build ended so, in the server's words.
fn reason(build: &Value) -> &str {
    build["reason"]["text"].as_str().or(build["reason"].as_str()).unwrap_or_default()
}

fn write_config(folder: &Path, host: &str, github: &FakeGitHub, oauth: &OAuthApp) -> Result<std::path::PathBuf> {
    let secret = folder.join("github.secret");
    write_private(&secret, &oauth.client_secret)?;
    let config = folder.join("slipway.toml");
    let text = format!(
        "data_dir = \"data\"\nlisten = \"{host}\"\npublic_url = \"http://{host}\"\n\n\
         [[provider]]\nid = \"github\"\nkind = \"github\"\nweb_url = \"{}\"\napi_url = \"{}\"\n\
         client_id = \"{}\"\nclient_secret_file = \"github.secret\"\n",
        github.web_url(),
        github.api_url(),
        oauth.client_id,
    );
    std::fs::write(&config, text)?;
    Ok(config)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
