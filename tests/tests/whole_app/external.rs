//! External registries, over HTTP: Debian's own registry with a password file beside the real binary, and a fake one for what breaks.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::registry::{FakeRegistry, Fault, May, SignIn};
use slipway_tests::process::free_port;
use slipway_tests::repository::text;
use slipway_tests::{Database, PASSWORD, PERSON, Reach, Repository, Setup, TestApp};

const ROBOT: &str = "robot";
const SECRET: &str = "s3cret-push";
/// Of [`SECRET`]; the registry takes nothing but bcrypt.
const SECRET_HASH: &str = "$2b$04$OaQRnTGB9AMOhPU7Pd.fVekw2XqCmyGdwS2IWiE9KlhX6GF0FQe2a";

/// Debian's `docker-registry` (distribution 2.8) on a loopback port; it goes when this goes, its folder stays with the test's.
struct Debian {
    process: Option<Child>,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Debian {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Debian {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-registry-").tempdir()?;
        let port = free_port();
        std::fs::write(folder.path().join("passwords"), format!("{ROBOT}:{SECRET_HASH}\n"))?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            at("storage"),
            at("passwords")
        );
        std::fs::write(folder.path().join("config.yml"), config)?;
        let mut registry = Self { process: None, port, folder };
        registry.run()?;
        Ok(registry)
    }

    fn run(&mut self) -> Result<()> {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.folder.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().context("`docker-registry` did not start; hint: scripts/install-test-parts")?);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    async fn up(&self, app: &TestApp) -> Result<()> {
        let url = format!("http://{}/v2/", self.host());
        app.wait_for("the registry to answer", || async { Ok(app.http().get(&url).send().await.ok().map(drop)) }).await
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The digest that skopeo sees, once it has fetched the whole image.
    async fn pull(&self, repository: &str, tag: &str, into: &Path) -> Result<String> {
        let image = format!("docker://{}/{repository}:{tag}", self.host());
        let creds = format!("{ROBOT}:{SECRET}");
        let copy = ["copy", "--src-tls-verify=false", "--src-creds", &creds, &image, &format!("dir:{}", into.display())];
        skopeo(&["--insecure-policy"].into_iter().chain(copy).collect::<Vec<_>>()).await?;
        skopeo(&["inspect", "--tls-verify=false", "--creds", &creds, "--format", "{{.Digest}}", &image]).await
    }
}

async fn skopeo(arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new("skopeo").args(arguments).stdin(Stdio::null()).output().await?;
    ensure!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn wish(host: &str, password: &str) -> Value {
    json!({ "address": format!("http://{host}/team/app"), "username": ROBOT, "password": password })
}

/// What a build says of its tag outside, once that is so.
async fn becomes(app: &TestApp, hello: &Repository<'_>, build: &str, state: &str) -> Result<Value> {
    let last = std::cell::RefCell::new(Value::Null);
    let found = app.wait_for("a tag to be so outside", || async {
        let build = app.api.get(&hello.at(&format!("/builds/{build}"))).await?;
        let row = build["external"][0].clone();
        last.replace(row.clone());
        Ok((row["state"] == state).then_some(row))
    });
    found.await.with_context(|| format!("at last: {}", last.borrow()))
}

async fn what_builds_push_is_pulled_from_another_registry(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::default().on(database).reaching(Reach::Loopback)).await?;
    let mut debian = Debian::start()?;
    debian.up(&app).await?;
    let pulled = tempfile::tempdir()?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;

    // What would not work is said, and nothing is saved.
    for (body, code) in [
        (wish(&debian.host(), "wrong"), "external_wrong_password"),
        (json!({ "address": format!("http://{}/team/app", debian.host()) }), "external_needs_password"),
        (wish(&format!("127.0.0.1:{}", free_port()), SECRET), "external_unreachable"),
        (wish(app.github.web_url().trim_start_matches("http://"), SECRET), "external_no_registry"),
        (json!({ "address": "169.254.169.254/latest/meta-data", "username": ROBOT, "password": SECRET }), "external_address_refused"),
        (json!({ "address": "http://10.0.0.1/team/app", "username": ROBOT, "password": SECRET }), "external_address_refused"),
        (json!({ "address": "registry.example.com/app:latest", "username": ROBOT, "password": SECRET }), "external_invalid"),
    ] {
        let refused = app.api.try_api(Method::PUT, &hello.at("/external"), Some(&body)).await?;
        assert_eq!(refused.problem(422)?["code"], code, "{body}: {}", refused.text);
        assert!(!refused.text.contains(SECRET), "{}", refused.text);
    }
    assert_eq!(app.api.try_api(Method::GET, &hello.at("/external"), None).await?.status, 404);
    let saved = app.api.put(&hello.at("/external"), &wish(&debian.host(), SECRET)).await?;
    assert_eq!((&saved["address"], &saved["username"]), (&json!(format!("http://{}/team/app", debian.host())), &json!(ROBOT)));
    app.api.post(&hello.at("/external/test"), &Value::Null).await?;

    // It goes out, is the same to another program, and the build says so.
    let push = async |text: &str| hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("text", text)]).await;
    push("1").await?;
    let work = builder.claim().await?;
    let base = work.base_registry.clone().context("a trusted build may pull from there")?;
    assert_eq!((base.host, base.credential.username, base.credential.password), (debian.host(), ROBOT.to_owned(), SECRET.to_owned()));
    let first = builder.succeed(&app, &work, "an image").await?;
    let first_build = work.build.to_string();
    let there = becomes(&app, &hello, &first_build, "delivered").await?;
    assert_eq!((&there["tag"], &there["digest"], &there["error"]), (&json!("latest"), &json!(first), &Value::Null));
    assert_eq!(debian.pull("team/app", "latest", pulled.path()).await?, first);

    // It is away: the build has succeeded, and waits to go out.
    debian.stop();
    push("2").await?;
    let work = builder.claim().await?;
    let second = builder.succeed(&app, &work, "another image").await?;
    let second_build = work.build.to_string();
    let waits = app.wait_for("a try in vain", || async {
        let build = app.api.get(&hello.at(&format!("/builds/{second_build}"))).await?;
        Ok(Some(build).filter(|build| build["external"][0]["attempts"].as_u64().is_some_and(|n| n > 0)))
    });
    let waits = waits.await?;
    assert_eq!((&waits["state"], &waits["external"][0]["state"]), (&json!("success"), &json!("waiting")), "{waits}");
    assert!(text(&waits["external"][0], "error").contains("cannot be reached"), "{waits}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    for page in [format!("/{}/builds/{second_build}", hello.path()), format!("/{}/tags", hello.path())] {
        let shown = browser.open(&page).await?.text;
        assert!(shown.contains("Pushed. Waiting for") && shown.contains("Try again") && shown.contains("next try at"), "{shown}");
    }
    debian.run()?;
    debian.up(&app).await?;
    let again = browser.form(&format!("/{}/tags/latest/external", hello.path()), &[("build", &second_build)]).await?;
    assert_eq!((again.status, again.location()), (303, format!("/{}/builds/{second_build}?done=external-again", hello.path()).as_str()));
    becomes(&app, &hello, &second_build, "delivered").await?;
    assert_eq!(debian.pull("team/app", "latest", pulled.path()).await?, second);
    assert_eq!(hello.builds().await?.len(), 2, "nothing was built for it");

    // A person moves the tag back, there too.
    app.api.post(&hello.at("/tags/latest"), &json!({ "build": first_build })).await?;
    becomes(&app, &hello, &first_build, "delivered").await?;
    assert_eq!(debian.pull("team/app", "latest", pulled.path()).await?, first);

    // Whose it is not sees nothing of it, and whose it is sees no password, in no answer, page, entry or log.
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    for (method, rest) in [
        (Method::GET, "/external"),
        (Method::PUT, "/external"),
        (Method::DELETE, "/external"),
        (Method::POST, "/external/test"),
        (Method::GET, "/tags/latest/external"),
        (Method::POST, "/tags/latest/external"),
    ] {
        let body = (method == Method::PUT).then(|| wish(&debian.host(), SECRET));
        assert_eq!(eve.try_api(method.clone(), &hello.at(rest), body.as_ref()).await?.status, 404, "{method} {rest}");
    }
    let audit = app.api.items("/namespaces/demo/audit?action=external.save").await?;
    assert_eq!((audit.len(), &audit[0]["object"]), (1, &json!("hello")), "{audit:?}");
    let page = browser.open(&format!("/{}/settings/external", hello.path())).await?.text;
    for shown in [page, json!(audit).to_string(), app.log().join("\n"), app.api.get(&hello.at("/external")).await?.to_string()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    app.api.delete(&hello.at("/external")).await?;
    assert_eq!(app.api.get(&hello.at(&format!("/builds/{first_build}"))).await?["external"], json!([]));
    app.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_builds_push_is_pulled_from_another_registry_sqlite() -> Result<()> {
    what_builds_push_is_pulled_from_another_registry(Database::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_builds_push_is_pulled_from_another_registry_postgres() -> Result<()> {
    what_builds_push_is_pulled_from_another_registry(Database::Postgres).await
}

/// Real builds: an image that is private there is the base of the next one, and of nobody's who has no credentials for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_there_is_a_base_image() -> Result<()> {
    let app = TestApp::with(Setup::docker().reaching(Reach::Loopback)).await?;
    let debian = Debian::start()?;
    debian.up(&app).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    app.api.put(&hello.at("/external"), &wish(&debian.host(), SECRET)).await?;
    let first = hello.push("main", &[("Dockerfile", &format!("FROM {base}\nRUN echo first > /first\n"))]).await?;
    let first = text(&hello.build_of(&first).await?, "id").to_owned();
    hello.ended(&first, "success").await?;
    becomes(&app, &hello, &first, "delivered").await?;

    let dockerfile = format!("FROM {}/team/app\nRUN cat /first\n", debian.host());
    let second = hello.push("main", &[("Dockerfile", &dockerfile)]).await?;
    let second = text(&hello.build_of(&second).await?, "id").to_owned();
    hello.ended(&second, "success").await?;
    becomes(&app, &hello, &second, "delivered").await?;
    assert!(!hello.log(&second).await?.contains(SECRET));

    // Who has no credentials gets none of it, though the engine has its layers.
    let other = app.linked_repository("other").await?;
    let third = other.push("main", &[("Dockerfile", &dockerfile.replace("cat /first", "cat  /first"))]).await?;
    let third = text(&other.build_of(&third).await?, "id").to_owned();
    let failed = other.ended(&third, "failed").await?;
    assert!(failed["reason"].to_string().contains("team/app"), "{failed}");
    app.finish().await
}

/// The server is killed between two layers; the next one ends the copy, with the same digest.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_after_a_crash() -> Result<()> {
    let mut app = TestApp::with(Setup::default().reaching(Reach::Loopback)).await?;
    let outside = FakeRegistry::start(SignIn::Token).await?;
    outside.user(ROBOT, SECRET, May::Push);
    let hello = app.linked_repository("hello").await?;
    app.api.put(&hello.at("/external"), &wish(&outside.host(), SECRET)).await?;
    let builder = app.builder("one").await?;
    outside.trouble("PUT /v2/team/app/blobs", 1, 1, Fault::Hang);
    hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let work = builder.claim().await?;
    let digest = builder.succeed(&app, &work, "an image").await?;
    app.wait_for("the second layer to be on its way", || async { Ok((outside.count("PUT /v2/team/app/blobs") == 2).then_some(())) })
        .await?;
    app.kill9()?;
    app.restart().await?;
    becomes(&app, &Repository::new(&app, "hello"), &work.build.to_string(), "delivered").await?;
    assert!(outside.is_whole("team/app", &digest));
    assert_eq!(outside.moves(), [("latest".to_owned(), digest)]);
    app.finish().await
}

/// The address is changed in the middle of a copy. The sender of before, whose layer then arrives after all, moves nothing and ends nothing:
/// neither there, nor here for the one that sends to the new address.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_the_address_of_before_ends_nothing_of_the_new_one() -> Result<()> {
    let app = TestApp::with(Setup::default().reaching(Reach::Loopback)).await?;
    let (before, now) = (FakeRegistry::start(SignIn::Token).await?, FakeRegistry::start(SignIn::Token).await?);
    let layers = "PUT /v2/team/app/blobs";
    for registry in [&before, &now] {
        registry.user(ROBOT, SECRET, May::Push);
        registry.trouble(layers, 0, 1, Fault::Hang);
    }
    let on_its_way = async |registry: &FakeRegistry| {
        app.wait_for("a layer to be on its way", || async { Ok((registry.count(layers) == 1).then_some(())) }).await
    };
    let hello = app.linked_repository("hello").await?;
    app.api.put(&hello.at("/external"), &wish(&before.host(), SECRET)).await?;
    let builder = app.builder("one").await?;
    hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    builder.succeed(&app, &builder.claim().await?, "an image").await?;
    on_its_way(&before).await?;

    app.api.put(&hello.at("/external"), &wish(&now.host(), SECRET)).await?;
    hello.push("main", &[("text", "2")]).await?;
    let work = builder.claim().await?;
    let digest = builder.succeed(&app, &work, "another image").await?;
    on_its_way(&now).await?;
    before.release();
    let stopped = || async { Ok(app.log().iter().any(|line| line.contains("sent to an external registry")).then_some(())) };
    app.wait_for("the sender of before to end", stopped).await?;
    let said: Vec<_> = app.log().into_iter().filter(|line| line.contains("sent to an external registry")).collect();
    assert!(said.len() == 1 && said[0].contains("Stopped"), "{said:?}");
    assert!(before.moves().is_empty(), "{:?}", before.moves());
    let row = app.api.get(&hello.at(&format!("/builds/{}", work.build))).await?["external"][0].clone();
    assert_eq!((&row["state"], &row["delivered_at"], &row["attempts"]), (&json!("waiting"), &Value::Null, &json!(0)), "{row}");

    now.release();
    becomes(&app, &hello, &work.build.to_string(), "delivered").await?;
    assert_eq!((now.moves(), now.is_whole("team/app", &digest)), (vec![("latest".to_owned(), digest)], true));
    assert!(before.moves().is_empty(), "{:?}", before.moves());
    app.finish().await
}
