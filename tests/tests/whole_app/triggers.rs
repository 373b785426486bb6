//! Build triggers: a secret address starts builds, for whoever knows it and nobody else.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::repository::text;
use slipway_tests::{PASSWORD, PERSON, TestApp};

/// The part of a trigger's address behind the host.
fn address(made: &Value) -> Result<&str> {
    let url = text(made, "url");
    Ok(&url[url.find("/triggers/").with_context(|| format!("no trigger's address: {url}"))?..])
}

#[tokio::test]
async fn a_secret_address_starts_builds() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = app.github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "A change [skip ci]").await?;
    app.github.settle().await;
    let made = app.api.post(&hello.at("/triggers"), &json!({ "name": "nightly" })).await?;
    let secret = address(&made)?.to_owned();
    let stranger = app.stranger();
    let started = stranger.send(Method::POST, &secret, None).await?;
    assert_eq!(started.status, 202, "{}", started.text);
    let build = started.json()?["builds"][0].clone();
    assert_eq!((&build["commit"], &build["cause"], &build["state"]), (&json!(commit), &json!("trigger"), &json!("queued")), "{build}");
    assert_eq!(hello.build(text(&build, "id")).await?["number"], 1);

    let again = stranger.send(Method::POST, &secret, Some(&json!({ "source_type": "Branch", "source_name": "main" }))).await?;
    let seconds: u64 = again.header("retry-after").parse()?;
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(again.problem(429)?["code"], "trigger_pause");
    for unknown in [format!("{secret}0"), secret.split('?').next().unwrap_or_default().to_owned(), "/triggers/1?token=x".to_owned()] {
        stranger.send(Method::POST, &unknown, None).await?.problem(404)?;
    }
    stranger.send(Method::GET, &secret, None).await?.problem(405)?;
    let large = json!({ "source_name": "x".repeat(100_000) });
    stranger.send(Method::POST, &secret, Some(&large)).await?.problem(413)?;

    // It is shown once, and nowhere else.
    let token = secret.rsplit('=').next().context("the secret stands last")?;
    let listed = app.api.items(&hello.at("/triggers")).await?;
    assert!(listed[0]["called_at"].is_string() && !format!("{listed:?}").contains(token), "{listed:?}");
    let log = app.api.items(&format!("/namespaces/{PERSON}/audit")).await?;
    let call = log.iter().find(|entry| entry["action"] == "trigger.call").with_context(|| format!("the call is in the log: {log:?}"))?;
    assert_eq!((&call["via"], &call["new"]["builds"]), (&json!("trigger `nightly`"), &json!([1])), "{call}");
    assert!(log.iter().any(|entry| entry["action"] == "trigger.create") && !format!("{log:?}").contains(token));
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&format!("/{}/autobuild/triggers", hello.path())).await?.text;
    assert!(page.contains("nightly") && !page.contains(token), "{page}");

    let newer = app.api.post(&hello.at(&format!("/triggers/{}/rotate", text(&made, "id"))), &Value::Null).await?;
    stranger.send(Method::POST, &secret, None).await?.problem(404)?;
    app.api.delete(&hello.at(&format!("/triggers/{}", text(&made, "id")))).await?;
    stranger.send(Method::POST, address(&newer)?, None).await?.problem(404)?;
    assert_eq!(hello.builds().await?.len(), 1);
    app.finish().await
}
