//! The command line: configuration, the first start, users and tokens, the check of the registry.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_tests::{Database, PASSWORD, PERSON, Setup, TestApp};

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_one() -> Result<()> {
    let app = TestApp::prepare(Setup::default()).await?;
    let config = app.folder().join("slipway.toml");
    let good = std::fs::read_to_string(&config)?;
    for (line, near) in [("lisen = \"127.0.0.1:1\"", "listen"), ("data-dir = \"x\"", "data_dir"), ("[buidler]", "builder")] {
        std::fs::write(&config, format!("{line}\n{}", if line.starts_with('[') { "" } else { good.as_str() }))?;
        for command in ["serve", "check-config", "migrate"] {
            let ended = app.command(&[command], "")?;
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{command} {line}: {}", ended.stderr);
            let lines: Vec<&str> = ended.stderr.lines().collect();
            assert_eq!(lines.len(), 2, "{command} {line}: {}", ended.stderr);
            assert!(lines[0].contains("line 1") && lines[0].contains("unknown"), "{}", ended.stderr);
            assert_eq!(lines[1], format!("hint: did you mean `{near}`?"));
        }
    }
    assert!(!app.folder().join("data").exists(), "a refused configuration made something");
    std::fs::write(&config, good)?;
    let ended = app.command(&["check-config"], "")?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let listen = ended.stdout.lines().find(|line| line.starts_with("listen ")).context("every value is told")?;
    assert!(listen.contains(&app.host()) && listen.contains("slipway.toml line 2"), "{listen}");
    assert!(!ended.stdout.contains(&app.oauth.client_secret), "a secret is shown");
    assert!(!app.folder().join("data").exists(), "`check-config` changed something");
    app.finish().await
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_lets_one_administrator_in() -> Result<()> {
    let mut app = TestApp::prepare(Setup::default()).await?;
    app.run().await?;
    let key = app.folder().join("data/secret.key");
    assert_eq!(std::fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(app.folder().join("data"))?.permissions().mode() & 0o077, 0, "others may look into the data folder");
    let prefix = format!("{}/setup?token=", app.site());
    let address =
        |log: Vec<String>| log.iter().rev().find_map(|line| Some(line[line.find(&prefix)?..].split_whitespace().next()?.to_owned()));
    let first = app.wait_for("the setup address", || async { Ok(address(app.log())) }).await?;
    // A restart makes a new address; the old one is void.
    let key_before = std::fs::read(&key)?;
    app.stop().await?;
    app.restart().await?;
    assert_eq!(std::fs::read(&key)?, key_before, "the key was made anew");
    let second = app.wait_for("the new setup address", || async { Ok(address(app.log()).filter(|found| *found != first)) }).await?;
    let token = |address: &str| address.split_once("token=").unwrap().1.to_owned();
    let fields = |token: &str, name: &str, password: &str| {
        [("token".to_owned(), token.to_owned()), ("name".to_owned(), name.to_owned()), ("password".to_owned(), password.to_owned())]
    };
    let send = async |token: &str, name: &str, password: &str| {
        let fields = fields(token, name, password);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        app.stranger().form("/setup", &fields).await
    };
    for (what, token, name, password) in [
        ("the old address", token(&first), PERSON, PASSWORD),
        ("no token", String::new(), PERSON, PASSWORD),
        ("a name that cannot be", token(&second), "Not A Name", PASSWORD),
        ("a reserved name", token(&second), "api", PASSWORD),
        ("a short password", token(&second), PERSON, "short"),
    ] {
        let answer = send(&token, name, password).await?;
        assert!((400..500).contains(&answer.status) && answer.cookie().is_none(), "{what}: {} {}", answer.status, answer.text);
    }
    assert_eq!(app.stranger().open(second.as_str()).await?.status, 200);
    let made = send(&token(&second), PERSON, PASSWORD).await?;
    assert_eq!((made.status, made.location()), (303, "/"), "{}", made.text);
    let browser = app.stranger().with_cookie(&made.cookie().context("who sets up is signed in")?);
    let me = browser.get("/me").await?;
    assert_eq!((&me["name"], &me["admin"]), (&json!(PERSON), &json!(true)));
    let again = send(&token(&second), "second", PASSWORD).await?;
    assert!((400..500).contains(&again.status) && again.cookie().is_none(), "the address worked twice");
    // With an account there is no address any more.
    let lines = app.log().len();
    app.stop().await?;
    app.restart().await?;
    assert!(!app.log()[lines..].iter().any(|line| line.contains("/setup?token=")), "a setup address although there is an account");
    app.finish().await
}

#[tokio::test]
async fn users_and_tokens_come_from_the_command_line_beside_a_running_server() -> Result<()> {
    for database in [Database::Sqlite, Database::Postgres] {
        let app = TestApp::with(Setup::default().on(database)).await?;
        app.add_user("eve", PASSWORD, &[])?;
        let token = app.make_token("eve", &["--scope", "repo:read"])?;
        let eve = app.client(&token);
        assert_eq!((&eve.get("/me").await?["name"], &eve.get("/me").await?["admin"]), (&json!("eve"), &json!(false)));
        assert_eq!(app.sign_in("eve", PASSWORD).await?.get("/me").await?["name"], "eve");
        for (arguments, stdin, code, words) in [
            (&["admin", "user", "add", "eve", "--password-file", "-"][..], "long enough\n", 1, "already"),
            (&["admin", "user", "add", "Eve", "--password-file", "-"], "long enough\n", 2, "`E`"),
            (&["admin", "user", "add", "mallory", "--password-file", "-"], "short\n", 2, "8"),
            (&["admin", "user", "add", "mallory", "--password-file", "-"], "\n", 2, "empty"),
            (&["admin", "user", "add", "mallory", "--password-file", "nowhere"], "", 2, "nowhere"),
            (&["admin", "token", "nobody"], "", 2, "nobody"),
            (&["admin", "token", "eve", "--scope", "repo:al"], "", 2, "repo:al"),
        ] {
            let ended = app.command(arguments, stdin)?;
            assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{arguments:?}: {}", ended.stderr);
            let lines: Vec<&str> = ended.stderr.lines().collect();
            assert!(lines.len() == 2 && lines[0].contains(words) && lines[1].starts_with("hint: "), "{arguments:?}: {}", ended.stderr);
        }
        let migrated = app.command(&["migrate"], "")?;
        assert_eq!(migrated.code, 0, "{}", migrated.stderr);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_check_finds_what_is_missing_and_what_is_changed() -> Result<()> {
    let app = TestApp::start().await?;
    app.create_repository("hello").await?;
    app.registry().push("demo/hello", Some("latest"), &[b"first layer".to_vec(), b"second layer".to_vec()]).await?;
    for depth in [&["admin", "fsck"][..], &["admin", "fsck", "--deep"]] {
        let ended = app.command(depth, "")?;
        assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.starts_with("clean"), "{}", ended.stdout);
    }
    let layer = file_with(&app.folder().join("data/blobs"), b"second layer")?.context("the layer lies in a file")?;
    std::fs::write(&layer, b"Second layer")?;
    let shallow = app.command(&["admin", "fsck"], "")?;
    assert_eq!(shallow.code, 0, "the length is right: {}", shallow.stdout);
    let deep = app.command(&["admin", "fsck", "--deep"], "")?;
    assert_eq!(deep.code, 1, "{}{}", deep.stdout, deep.stderr);
    assert!(deep.stdout.contains(&slipway_tests::registry::digest(b"second layer")), "{}", deep.stdout);
    std::fs::remove_file(&layer)?;
    let gone = app.command(&["admin", "fsck"], "")?;
    assert_eq!(gone.code, 1, "{}{}", gone.stdout, gone.stderr);
    app.finish().await
}

fn file_with(folder: &std::path::Path, content: &[u8]) -> Result<Option<std::path::PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = file_with(&path, content)? {
                return Ok(Some(found));
            }
        } else if std::fs::read(&path)? == content {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() -> Result<()> {
    let app = TestApp::start().await?;
    let port = slipway_tests::process::free_port();
    let ended =
        app.command(&["serve", "--listen", &format!("127.0.0.1:{port}"), "--public-url", &format!("http://127.0.0.1:{port}")], "")?;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
    assert_eq!(app.api.get("/me").await?["name"], PERSON, "the first one goes on");
    app.finish().await
}
