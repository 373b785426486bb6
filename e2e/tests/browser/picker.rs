//! Choosing a source: found while its name is typed, page by page, and what cannot be chosen says why.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::{AUTHOR, Browser, PERSON, Stage};
use slipway_testkit::github::Visibility;

const PICKER: &str = "/demo/base/autobuild/source";
/// More than one page of the picker.
const MANY: usize = 230;

async fn names(browser: &Browser) -> Result<Vec<String>> {
    let script = "return [...document.querySelectorAll('#sources .pick a > span:first-of-type')].map((one) => one.textContent)";
    let found = browser.run(script, &[]).await?;
    found.as_array().context("a list")?.iter().map(|name| Ok(name.as_str().context("a name")?.to_owned())).collect()
}

/// Waits until the list is exactly this.
async fn list(browser: &Browser, expected: &[&str]) -> Result<()> {
    let shown = "JSON.stringify([...document.querySelectorAll('#sources .pick a > span:first-of-type')].map((one) => one.textContent)) === JSON.stringify(arguments[0])";
    browser.until(&format!("the list {expected:?}"), shown, &[json!(expected)]).await.map(|_| ())
}

async fn stage() -> Result<Stage> {
    let stage = Stage::with_person().await?;
    for (name, visibility) in [
        ("octo/hello", Visibility::Private),
        ("octo/world", Visibility::Public),
        ("octo/old", Visibility::Public),
        ("acme/shop", Visibility::Private),
    ] {
        stage.github.repository(name, visibility).await?;
    }
    stage.github.archive_repository("octo/old");
    stage.github.add_many_repositories(AUTHOR, MANY);
    stage.link(AUTHOR).await?;
    stage.post(&format!("/repositories/{PERSON}"), &json!({ "name": "base", "visibility": "private" })).await?;
    Ok(stage)
}

#[tokio::test]
async fn a_source_is_found_while_its_name_is_typed() -> Result<()> {
    let stage = stage().await?;
    let browser = Browser::signed_in(&stage, PERSON).await?;
    let mut inspector = Inspector::new(&browser).await?;
    browser.open(PICKER).await?;
    // The copy was begun when the link was made; until it is whole, the page looks again by itself.
    browser.until("the whole copy", "document.querySelector('#sources:not([data-reading]) .pick-age time')", &[]).await?;
    browser.run("window.stayed = 'here'", &[]).await?;
    inspector.page("picker").await?;

    // A restricted organization is there, grey, with the way to have it opened.
    let shut = browser.text("#source-namespaces .pick-shut").await?;
    assert!(shut.contains("walled") && shut.contains("restricted"), "{shut}");
    let grant = browser.run("return document.querySelector('.pick-shut a').href", &[]).await?;
    assert!(
        grant.as_str().is_some_and(|url| url.starts_with(stage.github.web_url()) && url.contains("/settings/connections/applications/")),
        "{grant}"
    );

    // In all namespaces at once, by a part of the name in any case.
    browser.fill("#pick-q", "HELL").await?;
    list(&browser, &["octo/hello"]).await?;
    browser.until("what was found to be said", "document.getElementById('announcer').textContent === '1 repository'", &[]).await?;
    assert!(browser.text("#sources .pick").await?.contains("private"), "{}", browser.shown().await);
    browser.fill("#pick-q", "old").await?;
    list(&browser, &["octo/old"]).await?;
    browser.see("#sources .pick", "archived").await?;
    browser.fill("#pick-q", "nothing-like-it").await?;
    browser.see("#sources .empty", "No repository").await?;
    assert_eq!(browser.run("return window.stayed", &[]).await?, json!("here"), "the page was loaded again");
    assert_eq!(browser.address().await?.query(), Some("provider=github&q=nothing-like-it"));

    // The address tells the search, and choosing a namespace keeps it.
    browser.fill("#pick-q", "o").await?;
    browser
        .until("the search in the addresses", "document.querySelector('#source-namespaces a[href*=\"namespace=acme&q=o\"]')", &[])
        .await?;
    browser.click("#source-namespaces a[href*=\"namespace=acme\"]").await?;
    list(&browser, &["acme/shop"]).await?;
    inspector.page("picker-namespace").await?;

    pages(&browser).await?;
    not_in_the_copy(&stage, &browser).await?;
    inspector.quiet("the picker").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}

/// Each repository is on exactly one page.
async fn pages(browser: &Browser) -> Result<()> {
    browser.open(&format!("{PICKER}?provider=github&namespace=octo")).await?;
    let mut seen = Vec::new();
    loop {
        seen.extend(names(browser).await?);
        if browser.count("#sources a[rel=next]").await? == 0 {
            break;
        }
        let first = names(browser).await?.swap_remove(0);
        browser.click("#sources a[rel=next]").await?;
        let next = "document.querySelector('#sources .pick a > span:first-of-type')?.textContent !== arguments[0]";
        browser.until("the next page", next, &[json!(first)]).await?;
    }
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!((seen.len(), once.len()), (MANY + 3, MANY + 3), "{seen:?}");
    Ok(())
}

/// A repository of a moment ago: by its whole name, or after a refresh.
async fn not_in_the_copy(stage: &Stage, browser: &Browser) -> Result<()> {
    stage.github.repository("octo/later", Visibility::Private).await?;
    browser.open(&format!("{PICKER}?provider=github")).await?;
    browser.fill("#pick-q", "octo/later").await?;
    browser.see("#sources .pick", "choose it as typed").await?;
    browser.press("octo/later").await?;
    browser.see("h2", "Build rules").await?;
    browser.see(".source-line", "octo/later").await?;

    browser.open(&format!("{PICKER}?provider=github&q=later")).await?;
    browser.see("#sources .empty", "No repository").await?;
    browser.press("Refresh").await?;
    browser.see("main .notice", "read anew").await?;
    list(browser, &["octo/later"]).await?;
    browser.press("octo/later").await?;
    browser.see(".source-line", "octo/later").await
}

#[tokio::test]
async fn the_picker_is_a_form_without_script() -> Result<()> {
    let stage = stage().await?;
    let browser = Browser::signed_in(&stage, PERSON).await?;
    browser.open(PICKER).await?;
    browser.until("the whole copy", "document.querySelector('#sources:not([data-reading]) .pick-age time')", &[]).await?;
    browser.chromium("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await?;
    browser.open(&format!("{PICKER}?provider=github&namespace=octo")).await?;
    browser.fill("#pick-q", "wor").await?;
    browser.press("Search").await?;
    list(&browser, &["octo/world"]).await?;
    assert_eq!(browser.address().await?.query(), Some("provider=github&namespace=octo&q=wor"));
    browser.press("All of them").await?;
    browser.fill("#pick-q", "shop").await?;
    browser.press("Search").await?;
    list(&browser, &["acme/shop"]).await?;
    browser.press("acme/shop").await?;
    browser.see(".source-line", "acme/shop").await?;
    browser.close().await?;
    stage.finish().await
}
