//! The main job as a person sees it: from the setup address to an image, to a failed test, to the receipt of the unlinked provider.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{AUTHOR, Browser, PASSWORD, PERSON, Stage};
use slipway_testkit::github::{Visibility, user_password};

const SOURCE: &str = "octo/hello";
/// Long enough that its log is read while it runs.
const GOOD_TEST: &str = "echo the image says hello\nfor i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 1; done\necho test passed\n";
const BAD_TEST: &str = "echo the image says goodbye\necho expected hello\nexit 3\n";
const LOG: &str = "document.querySelector('#log .log-view')?.textContent.includes(arguments[0])";

#[tokio::test]
async fn from_a_push_to_a_tested_image() -> Result<()> {
    let mut stage = Stage::empty().await?;
    stage.github.repository(SOURCE, Visibility::Private).await?;
    let browser = Browser::start(stage.site()).await?;
    let mut inspector = Inspector::new(&browser).await?;
    inspector.allow(stage.github.web_url());

    set_up(&stage, &browser, &mut inspector).await?;
    stage.take_token()?;
    link(&stage, &browser).await?;
    disable_and_enable(&browser).await?;
    let base = stage.push_base().await?;

    // What the preview shows are the refs of now.
    let first = stage.github.commit(SOURCE, "main", &[("README", "hello\n")], "Begin").await?;
    stage.github.tag(SOURCE, "v1.0", &first).await?;
    set_up_autobuild(&browser).await?;
    hook_stands(&stage).await?;

    let commit = stage.github.commit(SOURCE, "main", &borrowed(&files(&base, "echo building hello\n", GOOD_TEST)), "Say hello").await?;
    watch_success(&browser, &commit).await?;
    let digest = tag_stands(&stage, &browser).await?;
    deliveries_say_why(&browser).await?;

    stage.github.commit(SOURCE, "main", &borrowed(&files(&base, "echo building goodbye\n", BAD_TEST)), "Say goodbye").await?;
    failure_is_explained(&stage, &browser, &digest).await?;
    unlink(&stage, &browser).await?;

    inspector.quiet("the whole story").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}

async fn set_up(stage: &Stage, browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    let address = stage.setup_address().await?;
    inspector.visit("setup", &address).await?;
    browser.fill("#name", PERSON).await?;
    browser.fill("#password", PASSWORD).await?;
    browser.press("Create administrator").await?;
    // Whoever made the account signs in with it.
    browser.until("the way out of the setup", "location.pathname !== '/setup'", &[]).await?;
    if browser.address().await?.path() == "/signin" {
        browser.fill("#name", PERSON).await?;
        browser.fill("#password", PASSWORD).await?;
        browser.press("Sign in").await?;
    }
    browser.see("h2", "From a push to a tested image in three steps").await?;
    // The address works once.
    browser.open(&address).await?;
    assert_eq!(browser.count("#password").await?, 0, "{}", browser.shown().await);
    browser.log("browser").await?;
    Ok(())
}

async fn link(stage: &Stage, browser: &Browser) -> Result<()> {
    browser.open("/").await?;
    browser.press("Link a provider").await?;
    browser.see("#provider-github .card-state", "not linked").await?;
    browser.click("#provider-github .card-actions a.primary").await?;
    browser.see(".scopes", "repo").await?;
    // All that was offered before is asked for, unless the person chooses less.
    assert_eq!(browser.run("return document.querySelector('[name=access]:checked').value", &[]).await?, json!("full"));
    browser.press("Continue to").await?;
    // At the provider.
    browser.fill("#login", AUTHOR).await?;
    browser.fill("#password", &user_password(AUTHOR)).await?;
    browser.click("button.go").await?;
    browser.see("h1", "Authorize Slipway").await?;
    assert!(browser.address().await?.as_str().starts_with(stage.github.web_url()));
    browser.click("#authorize").await?;
    // And back.
    browser.see("#provider-github .card-state", "linked").await?;
    assert!(browser.address().await?.as_str().starts_with(stage.site()));
    assert!(browser.text("#provider-github .link-who").await?.contains(AUTHOR), "{}", browser.shown().await);
    assert_eq!(plug(browser).await?, ("green", false));
    browser.picture("providers").await
}

/// The plug's colour as it is painted, in words, and whether it is struck through.
async fn plug(browser: &Browser) -> Result<(&'static str, bool)> {
    let seen = browser
        .run(
            "const icon = document.querySelector('#provider-github .card-state .plug svg'); \
             return [getComputedStyle(icon).color, icon.innerHTML, icon.querySelector('use')?.getAttribute('href') ?? '']",
            &[],
        )
        .await?;
    let colour = seen[0].as_str().context("a colour")?;
    let parts: Vec<i64> =
        colour.trim_start_matches("rgb(").trim_end_matches(')').split(", ").filter_map(|part| part.parse().ok()).collect();
    let [red, green, blue] = parts[..] else { anyhow::bail!("the colour is `{colour}`") };
    let word = if green > red + 40 && green > blue + 20 {
        "green"
    } else if (red - green).abs() < 30 && (green - blue).abs() < 30 {
        "grey"
    } else {
        "other"
    };
    let class = browser.run("return document.querySelector('#provider-github .card-state .plug svg').getAttribute('class')", &[]).await?;
    Ok((word, class.as_str().is_some_and(|class| class.contains("slash"))))
}

async fn disable_and_enable(browser: &Browser) -> Result<()> {
    browser.press("Disable").await?;
    browser.see("#provider-github .card-state", "disabled").await?;
    assert_eq!(plug(browser).await?, ("grey", true));
    browser.press("Enable").await?;
    browser
        .until(
            "the plug without a slash",
            "!document.querySelector('#provider-github .card-state .plug svg').getAttribute('class').includes('slash')",
            &[],
        )
        .await?;
    assert_eq!(plug(browser).await?, ("green", false));
    Ok(())
}

async fn set_up_autobuild(browser: &Browser) -> Result<()> {
    browser.open("/").await?;
    browser.press("New repository").await?;
    browser.fill("#name", "hello").await?;
    browser.press("Create and set up autobuild").await?;
    browser.see("h2", "Choose a source").await?;
    browser.click("section[aria-labelledby=pick-provider] a").await?;
    browser.press(AUTHOR).await?;
    browser.press(SOURCE).await?;
    assert_eq!(browser.run("return document.querySelector('#rule-0-source').value", &[]).await?, json!("main"));
    browser
        .until("the preview of the first rule", "document.querySelector('#preview .preview-rule')?.textContent.includes('latest')", &[])
        .await?;
    // A second rule, and its preview as it is typed.
    browser.press("Add a rule").await?;
    browser.click("#rule-1-type option[value=tag]").await?;
    browser.fill("#rule-1-source", "/^v([0-9.]+)$/").await?;
    browser.fill("#rule-1-tags", "release-{\\1}").await?;
    let both = "document.querySelectorAll('#preview .preview-rule').length === 2 && document.querySelector('#preview').textContent.includes('release-1.0')";
    browser.until("the preview of both rules", both, &[]).await?;
    let preview = browser.text("#preview").await?;
    for word in ["main", "latest", "v1.0", "release-1.0"] {
        assert!(preview.contains(word), "`{word}` is missing in `{preview}`");
    }
    browser.picture("autobuild").await?;
    browser.click(".save-bar button.primary").await?;
    browser.see("main .notice", "aved").await
}

async fn hook_stands(stage: &Stage) -> Result<()> {
    let hook = stage.wait_for("the webhook at the provider", || async { Ok(stage.github.hooks(SOURCE).into_iter().next()) }).await?;
    assert!(hook.url.starts_with(&format!("{}/hooks/github/", stage.site())), "{}", hook.url);
    stage.github.settle().await;
    Ok(())
}

/// The build appears by itself, and its page tells of it live up to its end.
async fn watch_success(browser: &Browser, commit: &str) -> Result<()> {
    browser.open("/demo/hello").await?;
    browser.run("window.stayed = 'here'", &[]).await?;
    browser.until("the build in the list", "document.querySelector('#latest-builds .build-row')", &[]).await?;
    browser.see("#latest-builds .build-message", "Say hello").await?;
    browser.click("#latest-builds .build-row a.strong").await?;
    browser.see(".build-heading", "Build #1").await?;
    browser.run("window.stayed = 'here'", &[]).await?;
    // Lines of the test arrive while the build runs.
    let running = "document.getElementById('build-top').dataset.state === 'running'";
    browser.until("the test's lines while it runs", &format!("{running} && {LOG}"), &[json!("tick 2")]).await?;
    browser.picture("build-running").await?;
    browser.until("success", "document.getElementById('build-top').dataset.state === 'success'", &[]).await?;
    browser.until("the log's last line", LOG, &[json!("test passed")]).await?;
    assert_eq!(browser.run("return window.stayed", &[]).await?, json!("here"), "the page was loaded again");
    let steps = browser.text(".fall").await?;
    for word in ["checkout", "build", "RUN", "test docker-compose.test.yml", "push"] {
        assert!(steps.contains(word), "`{word}` is missing in the steps: {steps}");
    }
    assert_eq!(browser.count(".fall .state-failed").await?, 0);
    let facts = browser.text(".facts-list").await?;
    assert!(facts.contains(&commit[..7]) && facts.contains("latest") && facts.contains("sha256:"), "{facts}");
    browser.picture("build-success").await
}

async fn tag_stands(stage: &Stage, browser: &Browser) -> Result<String> {
    browser.open("/demo/hello").await?;
    let row = browser.text("#latest-tags .tag-row").await?;
    let tags = stage.get("/repositories/demo/hello/tags").await?;
    let digest = tags["items"][0]["digest"].as_str().context("the tag has a digest")?.to_owned();
    assert!(row.contains("latest") && row.contains(&digest[..15]), "`{row}` does not show {digest}");
    assert!(browser.text(".command").await?.contains(&format!("docker pull {}/demo/hello", stage.host())));
    browser.picture("repository").await?;
    Ok(digest)
}

async fn deliveries_say_why(browser: &Browser) -> Result<()> {
    browser.open("/demo/hello/deliveries").await?;
    browser.see(".delivery-row .verdict", "is built as #1 for latest").await?;
    browser.see(".delivery-row .verdict", "the rule builds").await?;
    browser.picture("deliveries").await?;
    browser.click(".delivery-row a.strong").await?;
    browser.see(".decisions", "is built as #1 for latest").await?;
    browser.see("pre", "refs/heads/main").await
}

async fn failure_is_explained(stage: &Stage, browser: &Browser, digest: &str) -> Result<()> {
    browser.open("/demo/hello/builds").await?;
    browser.until("the second build", "document.querySelectorAll('#builds .build-row').length === 2", &[]).await?;
    browser.click("#builds .build-row a.strong").await?;
    browser.see(".build-heading", "Build #2").await?;
    browser.until("the failure", "document.getElementById('build-top').dataset.state === 'failed'", &[]).await?;
    let reason = browser.text(".reason-text").await?;
    assert!(reason.contains("sut exited with 3"), "{reason}");
    browser.see("pre.tail", "expected hello").await?;
    // Without scrolling, in a window of 900 px.
    let bottom = browser.run("scrollTo(0, 0); return document.querySelector('pre.tail').getBoundingClientRect().bottom", &[]).await?;
    assert!(bottom.as_f64().is_some_and(|bottom| bottom < 900.0), "the reason ends at {bottom} px");
    // The step that failed is open in the log, with its lines.
    browser.until("the failing step's lines", LOG, &[json!("the image says goodbye")]).await?;
    browser.picture("build-failed").await?;
    let tags = stage.get("/repositories/demo/hello/tags").await?;
    assert_eq!(tags["items"][0]["digest"], json!(digest), "the tag moved");
    Ok(())
}

async fn unlink(stage: &Stage, browser: &Browser) -> Result<()> {
    browser.open("/settings/source-providers").await?;
    browser.press("Unlink…").await?;
    browser.see("main", "demo/hello").await?;
    browser.picture("unlink").await?;
    browser.fill("#confirm", AUTHOR).await?;
    browser.click("button.destroy").await?;
    browser.see("h1", "is unlinked").await?;
    assert!(browser.address().await?.path().starts_with("/settings/source-providers/receipts/"), "{}", browser.shown().await);
    browser.see(".receipt li", "ebhook").await?;
    browser.picture("receipt").await?;
    assert_eq!(stage.github.hooks(SOURCE).len(), 0, "the hook still stands");
    // The receipt stays to be read.
    browser.press("All receipts").await?;
    browser.see(".delivery-row", AUTHOR).await?;
    browser.click(".delivery-row a.strong").await?;
    browser.see("h1", "is unlinked").await?;
    browser.press("Source providers").await?;
    browser.see("#provider-github .card-state", "not linked").await
}
