//! A log that is far too long for a page: its end at once, any other part when somebody goes there, all of it searched.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{Browser, PERSON, Stage};

/// More than a hundred megabytes. Colours go on over the ends of lines.
const TEST: &str = r#"echo 'the Needle at the beginning'
busybox seq 1 1350000 | busybox sed 's/$/ of many lines with nothing in them but these words, again and again/'
printf '\033[32mgreen\nstill green\033[0m\nplain\n'
echo 'the needle at the end'
"#;
/// Rows in the page: what is on screen and a little more, however long the log.
const ROWS: &str = "document.querySelectorAll('#log .log-row').length";

/// Goes up from the end until the green lines are there, and gives them.
const SEEK: &str = "(() => { const view = document.querySelector('.log-view'); \
    const green = [...view.querySelectorAll('.log-text .f2')].map((one) => one.textContent); \
    if (green.length === 2) return green; \
    window.seek = ((window.seek ?? 0) + 200) % 4000; view.scrollTop = view.scrollHeight - window.seek; return null; })()";

async fn rows_with(browser: &Browser, text: &str) -> Result<()> {
    let shown = "[...document.querySelectorAll('#log .log-text')].some((one) => one.textContent === arguments[0])";
    browser.until(&format!("the line `{text}`"), shown, &[json!(text)]).await.map(|_| ())
}

#[tokio::test]
async fn a_long_log_is_read_from_its_end_and_found_at_its_beginning() -> Result<()> {
    let stage = Stage::linked().await?;
    let base = stage.push_base().await?;
    stage.repository("hello", "", &json!([{ "source_type": "branch", "source": "main", "tags": "latest" }])).await?;
    let build = stage.push("hello", "main", &borrowed(&files(&base, "echo hello\n", TEST)), "Talk a lot").await?;
    let build = stage.until("hello", &build, "success").await?;
    let page = format!("/demo/hello/builds/{}", build["id"].as_str().context("a build has an id")?);
    let at = build["steps"].as_array().context("steps")?.iter().position(|step| step["phase"] == "test").context("a test")?;

    let browser = Browser::signed_in(&stage, PERSON).await?;
    let mut inspector = Inspector::new(&browser).await?;
    browser.open(&page).await?;
    browser.see("#log .log-part", "the end of a long log").await?;
    let green = browser.until("the last lines of the test", SEEK, &[]).await?;
    assert_eq!(green, json!(["green", "still green"]), "colours go on until they are reset");
    let rows = browser.run(&format!("return {ROWS}"), &[]).await?.as_u64().context("a number")?;
    assert!(rows < 200, "{rows} rows are in the page");

    // All of the log is searched, and a match that is not here is fetched.
    browser.fill("#log-search", "NEEDLE").await?;
    browser.see("#log [data-log=found]", "1 of 2 lines").await?;
    rows_with(&browser, "the Needle at the beginning").await?;
    browser.see("#log .log-part", "a part of a long log").await?;
    assert_eq!(browser.text("#log .log-mark-current").await?, "Needle");
    inspector.page("log-part").await?;
    browser.click("#log [data-log=next]").await?;
    browser.see("#log [data-log=found]", "2 of 2 lines").await?;
    rows_with(&browser, "the needle at the end").await?;
    browser.fill("#log-search", "no such words").await?;
    browser.see("#log [data-log=found]", "not found").await?;
    browser.fill("#log-search", "").await?;

    // Part by part, and to the end again.
    browser.click("#log [data-log=earlier]").await?;
    browser.until("a part in front", "document.querySelector('#log [data-log=later]').hidden === false", &[]).await?;
    browser.click("#log [data-log=newest]").await?;
    browser.see("#log .log-part", "the end of a long log").await?;

    // What one step wrote is downloaded alone, all of it.
    let name = build["steps"][at]["name"].as_str().context("a step has a name")?;
    let link = "(document.querySelector('.log-view').scrollTop = 0, \
        [...document.querySelectorAll('#log .log-download')].find((one) => one.getAttribute('aria-label').endsWith(arguments[0]))?.href)";
    let link = browser.until("the link to the step's log", link, &[json!(name)]).await?;
    let ends = "return fetch(arguments[0]).then((answer) => answer.text()).then((text) => text.trimEnd().split('\\n')) \
        .then((lines) => [lines.filter((line) => line === 'the Needle at the beginning').length, lines.at(-1), lines.length > 1350000])";
    let ends = browser.run(ends, &[link]).await?;
    assert_eq!(ends, json!([1, "the needle at the end", true]));

    // A line has an address, wherever it is.
    let address = format!("{page}?again#s{}-L3000", at + 1);
    browser.open(&address).await?;
    let target = "document.querySelector('#log .log-target .log-text')?.textContent ?? ''";
    let found = browser.until("the line of the address", &format!("({target}).includes('of many lines') && ({target})"), &[]).await?;
    assert!(found.as_str().is_some_and(|text| text.contains("of many lines")), "{found}");
    assert!(browser.run(&format!("return {ROWS}"), &[]).await?.as_u64().is_some_and(|rows| rows < 200));
    inspector.quiet("the long log").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}
