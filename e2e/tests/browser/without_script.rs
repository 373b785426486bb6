//! The pages of a person whose browser runs no script: complete, and the live parts say how to see them.

use anyhow::Result;
use fantoccini::key::Key;
use serde_json::json;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{Browser, PERSON, Stage};

#[tokio::test]
async fn the_main_pages_are_complete_without_script() -> Result<()> {
    let stage = Stage::linked().await?;
    let base = stage.push_base().await?;
    stage.repository("hello", "Says hello", &json!([])).await?;
    let good = stage.push("hello", "main", &borrowed(&files(&base, "echo built\n", "echo tested\n")), "Say hello").await?;
    let good = stage.until("hello", &good, "success").await?;
    let bad = stage.push("hello", "main", &borrowed(&files(&base, "echo built\n", "echo wrong; exit 3\n")), "Say goodbye").await?;
    stage.until("hello", &bad, "failed").await?;
    let page = |build: &serde_json::Value| format!("/demo/hello/builds/{}", build["id"].as_str().unwrap_or_default());

    let browser = Browser::start(stage.site()).await?;
    browser.chromium("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await?;
    browser.open("/signin").await?;
    // `noscript` is shown only when nothing runs.
    browser.fill("#name", PERSON).await?;
    browser.fill("#password", slipway_e2e::PASSWORD).await?;
    browser.key(Key::Enter).await?;
    browser.see("h1", "Repositories").await?;

    for (address, css, text) in [
        ("/".to_owned(), ".repository-row", "demo/hello"),
        ("/demo/hello".to_owned(), "#latest-builds", "Say hello"),
        ("/demo/hello".to_owned(), "#latest-tags", "latest"),
        ("/demo/hello/builds".to_owned(), "#builds", "Say goodbye"),
        ("/demo/hello/tags".to_owned(), "#tags", "sha256:"),
        ("/demo/hello/deliveries".to_owned(), ".verdict", "is built as #1"),
        ("/demo/hello/autobuild".to_owned(), "#preview", "Renew shows it"),
        ("/builds".to_owned(), "#queue", "demo/hello"),
        ("/builds".to_owned(), "noscript a[href=\"/builds\"]", "Reload"),
        ("/settings/source-providers".to_owned(), "#provider-github .link-who", "octo"),
        ("/builders".to_owned(), "#nodes", "idle"),
        (page(&good), ".fall", "test docker-compose.test.yml"),
        (page(&good), "#log noscript a", "read it as text"),
        (page(&good), "#log noscript a", "reload this page"),
        (page(&bad), ".reason-text", "sut exited with 3"),
        (page(&bad), "pre.tail", "wrong"),
    ] {
        browser.open(&address).await?;
        browser.see(css, text).await?;
    }
    // What needs script is not shown as if it worked.
    browser.open(&page(&good)).await?;
    for css in [".log-tools", ".log-view", ".copy"] {
        let shown = browser
            .run("return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility()).length", &[json!(css)])
            .await?;
        assert_eq!(shown, json!(0), "`{css}` is shown");
    }
    browser.picture("without-script").await?;
    browser.press("read it as text").await?;
    browser.see("body", "tested").await?;

    // Rules are added and previewed by the server.
    browser.open("/demo/hello/autobuild").await?;
    // The last row is blank, for the next rule.
    let rows = browser.count("#rules [data-rule]").await?;
    let last = rows - 1;
    browser.fill(&format!("#rule-{last}-source"), "/^ma(.*)$/").await?;
    browser.fill(&format!("#rule-{last}-tags"), "x-{\\1}").await?;
    browser.press("Add a rule").await?;
    browser.until("one more row", "document.querySelectorAll('#rules [data-rule]').length > arguments[0]", &[json!(rows)]).await?;
    browser.press("Renew").await?;
    browser.see("#preview", "x-in").await?;
    browser.click(".save-bar button.primary").await?;
    browser.see("main .notice", "aved").await?;

    // A build is retried, and the page is reloaded by its link until it is over.
    browser.open(&page(&bad)).await?;
    browser.press("Retry").await?;
    browser.see(".build-heading", "Build #3").await?;
    for state in ["disabled", "linked"] {
        browser.open("/settings/source-providers").await?;
        browser.press(if state == "disabled" { "Disable" } else { "Enable" }).await?;
        browser.see("#provider-github .card-state", state).await?;
    }
    browser.close().await?;
    stage.finish().await
}
