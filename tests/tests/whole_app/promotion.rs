//! Which builds move a tag, over HTTP: builds by hand of older commits, force pushes, and a person who moves it back. The builder is scripted.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::builder::ScriptedBuilder;
use slipway_tests::repository::text;
use slipway_tests::{Database, PASSWORD, PERSON, Repository, Setup, TestApp};

async fn built(app: &TestApp, hello: &Repository<'_>, builder: &ScriptedBuilder, what: &str) -> Result<(Value, String)> {
    let work = builder.claim().await?;
    let digest = builder.succeed(app, &work, what).await?;
    Ok((hello.build(&work.build.to_string()).await?, digest))
}

async fn a_tag_goes_back_by_a_person_only(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::default().on(database)).await?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;
    let push = async |text: &str| hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("text", text)]).await;
    push("1").await?;
    let (first, first_digest) = built(&app, &hello, &builder, "one").await?;
    push("2").await?;
    let (second, second_digest) = built(&app, &hello, &builder, "two").await?;
    assert_eq!((&second["note"], hello.tag("latest").await?.as_ref()), (&Value::Null, Some(&second_digest)));

    // The same commit as the first push, by hand: its place is that push's.
    let wish = json!({ "ref": "refs/heads/main", "commit": first["commit"] });
    app.api.post(&hello.at("/builds"), &wish).await?;
    let (by_hand, _) = built(&app, &hello, &builder, "one again").await?;
    assert!(text(&by_hand, "note").contains("not moved, because a newer push of `main` moved it before: latest"), "{by_hand}");
    assert_eq!(hello.tag("latest").await?.as_ref(), Some(&second_digest));

    // A person moves it, and is told where it stands.
    let address = hello.at("/tags/latest");
    let moved = app.api.post(&address, &json!({ "build": first["id"] })).await?;
    assert_eq!((&moved["digest"], &moved["build"], &moved["moved_by_person"]), (&json!(first_digest), &first["id"], &json!(true)));
    assert_eq!(app.registry().pull("demo/hello", "latest").await?, first_digest);
    app.api.post(&hello.at(&format!("/builds/{}/retry", text(&second, "id"))), &json!({})).await?;
    let (retried, _) = built(&app, &hello, &builder, "two again").await?;
    assert!(text(&retried, "note").contains("a person moved it to the image of #1 after this push: latest"), "{retried}");
    for (body, status) in
        [(json!({ "build": "99" }), 422), (json!({ "build": 1 }), 422), (json!({}), 422), (json!({ "build": "1", "x": 1 }), 422)]
    {
        let refused = app.api.try_api(Method::POST, &address, Some(&body)).await?;
        assert_eq!(refused.status, status, "{body}: {}", refused.text);
    }
    let audit = app.api.items("/namespaces/demo/audit?action=tag.move").await?;
    assert_eq!((audit.len(), &audit[0]["object"]), (1, &json!("hello:latest")), "{audit:?}");

    // The same on the page, which says who did it; another site's form does nothing.
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let tags = format!("/{}/tags", hello.path());
    assert!(browser.open(&tags).await?.text.contains("moved by demo"));
    let answer = browser.form(&format!("{tags}/latest/move"), &[("build", "2")]).await?;
    assert_eq!((answer.status, answer.location()), (303, format!("{tags}?done=tag-moved").as_str()));
    assert_eq!(hello.tag("latest").await?.as_ref(), Some(&second_digest));
    let foreign = browser.clone().with_header("origin", "http://elsewhere.example");
    assert_eq!(foreign.form(&format!("{tags}/latest/move"), &[("build", "1")]).await?.status, 403);
    assert_eq!(browser.form(&format!("{tags}/latest/move"), &[("build", "77")]).await?.status, 422);
    assert_eq!(hello.tag("latest").await?.as_ref(), Some(&second_digest));

    // The next push moves it on.
    push("3").await?;
    let (third, third_digest) = built(&app, &hello, &builder, "three").await?;
    assert_eq!((&third["note"], hello.tag("latest").await?.as_ref()), (&Value::Null, Some(&third_digest)));
    assert!(!browser.open(&tags).await?.text.contains("moved by demo"));
    // One that replaces it is newer; one that leads back is not.
    app.github.force_commit(&hello.source(), "main", first["commit"].as_str(), &[("text", "4")], "forced").await?;
    app.github.settle().await;
    hello.decided().await?;
    let (_, forced) = built(&app, &hello, &builder, "forced").await?;
    assert_eq!(hello.tag("latest").await?.as_ref(), Some(&forced));
    app.github.update_ref(&hello.source(), "refs/heads/main", first["commit"].as_str().unwrap_or_default()).await?;
    app.github.settle().await;
    hello.decided().await?;
    let (back, _) = built(&app, &hello, &builder, "back").await?;
    assert!(text(&back, "note").contains("is older than"), "{back}");
    assert_eq!(hello.tag("latest").await?.as_ref(), Some(&forced));
    app.finish().await
}

#[tokio::test]
async fn a_tag_goes_back_by_a_person_only_on_sqlite() -> Result<()> {
    a_tag_goes_back_by_a_person_only(Database::Sqlite).await
}

#[tokio::test]
async fn a_tag_goes_back_by_a_person_only_on_postgresql() -> Result<()> {
    a_tag_goes_back_by_a_person_only(Database::Postgres).await
}
