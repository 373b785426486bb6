//! The main job on both databases: a push to a linked source becomes a tested image that another program pulls.

use anyhow::Result;
use serde_json::json;
use slipway_tests::repository::text;
use slipway_tests::stream::Events;
use slipway_tests::{Database, Setup, TestApp};

const COMPOSE: &str = "services:\n  sut:\n    build: .\n    command: [\"sh\", \"/test.sh\"]\n";

async fn a_push_becomes_a_tested_image(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::docker().on(database)).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let dockerfile = format!("FROM {base}\nCOPY hello test.sh /\nRUN echo building $(cat /hello)\n");
    let files = |word: &'static str| {
        [
            ("Dockerfile", dockerfile.clone()),
            ("docker-compose.test.yml", COMPOSE.to_owned()),
            ("hello", format!("{word}\n")),
            ("test.sh", "echo \"the image says: $(cat /hello)\"\ngrep -q hello /hello || exit 3\n".to_owned()),
        ]
    };
    let push = async |word: &'static str| {
        let files = files(word);
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        hello.push("main", &files).await
    };

    let commit = push("hello world").await?;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    assert_eq!((&delivery["status"], &delivery["verdicts"][0]["outcome"]), (&json!("accepted"), &json!("built")));
    let id = text(&delivery["verdicts"][0], "build").to_owned();
    // The log is followed while the build runs.
    let mut events = Events::open(&app.api, &hello.at(&format!("/builds/{id}/log/stream")), None).await?.unwrap();
    let mut log = String::new();
    while let Some(event) = events.next().await? {
        if event.name == "log" {
            log.push_str(text(&event.data, "text"));
        }
    }
    let built = hello.ended(&id, "success").await?;
    assert!(log.contains("building hello world") && log.contains("the image says: hello world"), "{log}");
    assert_eq!(log, hello.log(&id).await?, "what was sent live is what is kept");
    assert!(!log.contains(&app.github.oauth_tokens("octo", &app.oauth.client_id)[0]), "the log shows the provider's token");
    assert_eq!((&built["commit"], &built["tags"], &built["attempt"]), (&json!(commit), &json!(["latest"]), &json!(1)));
    let phases: Vec<&str> = built["phases"].as_array().unwrap().iter().map(|phase| text(phase, "phase")).collect();
    assert_eq!(phases, ["checkout", "build", "test", "push"]);
    assert!(built["phases"].as_array().unwrap().iter().all(|phase| phase["finished_at"].is_string()), "{built}");
    let steps = built["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["state"] == "success"), "{steps:?}");
    assert!(steps.iter().any(|step| text(step, "name").contains("RUN echo building")), "{steps:?}");

    let digest = text(&built, "digest").to_owned();
    let tags = app.api.items(&hello.at("/tags")).await?;
    assert_eq!((&tags[0]["name"], &tags[0]["digest"], &tags[0]["build"]), (&json!("latest"), &json!(digest), &json!(id)));
    assert_eq!(app.registry().skopeo_digest("demo/hello", "latest").await?, digest);
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, digest);

    // The second push fails its test: the tag stays, and the reason says why.
    let commit = push("goodbye").await?;
    let id = text(&hello.build_of(&commit).await?, "id").to_owned();
    let failed = hello.ended(&id, "failed").await?;
    assert_eq!(failed["reason"]["code"], "test_failed");
    assert!(text(&failed["reason"], "text").contains("`sut` exited with 3"), "{failed}");
    assert_eq!(hello.tag("latest").await?, Some(digest.clone()));
    assert_eq!(failed["digest"], json!(null));

    let fsck = app.command(&["admin", "fsck", "--deep"], "")?;
    assert_eq!(fsck.code, 0, "{}{}", fsck.stdout, fsck.stderr);
    app.wait_for("the builder to clean up", || async { Ok(app.left_behind()?.is_empty().then_some(())) }).await?;
    app.finish().await
}

#[tokio::test]
async fn a_push_becomes_a_tested_image_on_sqlite() -> Result<()> {
    a_push_becomes_a_tested_image(Database::Sqlite).await
}

#[tokio::test]
async fn a_push_becomes_a_tested_image_on_postgresql() -> Result<()> {
    a_push_becomes_a_tested_image(Database::Postgres).await
}
