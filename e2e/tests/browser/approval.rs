//! What somebody sees whose project a stranger wants to change: the pull request waits, is looked at, approved of, and tested.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{AUTHOR, Browser, PERSON, Stage};
use slipway_testkit::github::Visibility;

const STRANGER: &str = "mallory";

#[tokio::test]
async fn a_strangers_pull_request_is_approved_of_on_its_page() -> Result<()> {
    let stage = Stage::linked().await?;
    let base = stage.push_base().await?;
    stage.make_public("base").await?;
    let rules = json!([{ "source_type": "branch", "source": "main", "tags": "latest" }]);
    stage.repository("hello", "", &rules).await?;
    let source = format!("{AUTHOR}/hello");
    stage.github.set_visibility(&source, Visibility::Public);
    let first = stage.push("hello", "main", &borrowed(&files(&base, "echo hello\n", "true\n")), "First").await?;
    stage.until("hello", &first, "success").await?;

    // The owner lets strangers' pull requests be tested.
    let browser = Browser::signed_in(&stage, PERSON).await?;
    let mut inspector = Inspector::new(&browser).await?;
    browser.open("/demo/hello/autobuild").await?;
    browser.click("input[name=autotest][value=all]").await?;
    browser.click(".save-bar .primary").await?;
    browser.see("main", "external").await?;

    stage.github.user(STRANGER);
    let fork = stage.github.fork(&source, STRANGER).await?;
    let changed = files(&base, "echo helped\n", "true\n");
    let head = stage.github.commit(&fork, "help", &borrowed(&changed), "Let me help").await?;
    stage.github.open_pull_request(&source, STRANGER, (&fork, "help"), "main", "Let me help").await?;
    stage.github.settle().await;
    let build = stage.build_of("hello", &head).await?;
    assert_eq!((&build["lane"], &build["approval"]), (&json!("untrusted"), &json!("awaited")));

    browser.open("/demo/hello/builds").await?;
    browser.see("main", "pull/1").await?;
    inspector.page("builds-approval").await?;
    let page = format!("/demo/hello/builds/{}", build["id"].as_str().context("an id")?);
    browser.open(&page).await?;
    browser.see("#approval-title", "Waits for approval").await?;
    browser.see("main", &head).await?;
    inspector.page("approval").await?;
    browser.press("Approve this commit").await?;
    browser.see("main", "Approved").await?;
    let tested = stage.until("hello", &build, "success").await?;
    assert_eq!((&tested["approval"], &tested["digest"]), (&json!("given"), &json!(null)));
    browser.until("the end", "document.getElementById('build-top').dataset.state === 'success'", &[]).await?;
    inspector.page("approved").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}
