//! Every page, in both themes and at both widths, in each state that it can be in.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_e2e::inspect::Inspector;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{Browser, PERSON, Stage};

const LONG: &str =
    "A message that goes on and on with averyveryveryveryveryveryveryveryveryveryverylongwordthatnobodycanbreakanywhereatall in it";

fn id(build: &Value) -> Result<String> {
    Ok(build["id"].as_str().context("a build has an id")?.to_owned())
}

#[tokio::test]
async fn every_page_is_good_in_every_look() -> Result<()> {
    let stage = Stage::linked().await?;
    let browser = Browser::start(stage.site()).await?;
    let mut inspector = Inspector::new(&browser).await?;
    strangers(&browser, &mut inspector).await?;
    newcomer(&stage, &browser, &mut inspector).await?;

    let base = stage.push_base().await?;
    let rules = json!([
        { "source_type": "branch", "source": "main", "tags": "latest" },
        { "source_type": "branch", "source": "/^feature\\/(.*)$/", "tags": "{\\1},latest,a-rather-long-name-of-a-tag-{sourceref}" },
        { "source_type": "tag", "source": "/^v([0-9.]+)$/", "tags": "{\\1}" },
    ]);
    stage.repository("hello", LONG, &rules).await?;
    let test = "echo -e '\\033[32mgreen\\033[0m \\033[1;31mred\\033[0m'\n";
    let good = stage.push("hello", "main", &borrowed(&files(&base, "echo hello\n", test)), LONG).await?;
    let good = stage.until("hello", &good, "success").await?;
    let bad = stage.push("hello", "main", &borrowed(&files(&base, "echo hello\n", "echo no; exit 3\n")), "Break it").await?;
    let bad = stage.until("hello", &bad, "failed").await?;
    // One builds until it is cancelled, and one waits behind it.
    let slow = files(&base, "echo begun; sleep 600\n", "true\n");
    let running = stage.push("hello", "feature/one", &borrowed(&slow), "Take long").await?;
    let running = stage.until("hello", &running, "running").await?;
    let queued = stage.push("hello", "feature/two", &borrowed(&slow), "Wait").await?;

    // Somebody else is linked beside the first one.
    stage.github.user("ci-bot");
    stage.link("ci-bot").await?;

    browser.sign_in(PERSON).await?;
    let delivery = stage.get("/repositories/demo/hello/deliveries").await?;
    let delivery = id(&delivery["items"][0])?;
    for (name, address) in [
        ("repositories", "/".to_owned()),
        ("repository", "/demo/hello".to_owned()),
        ("repository-empty", "/demo/base".to_owned()),
        ("builds", "/demo/hello/builds".to_owned()),
        ("builds-empty", "/demo/base/builds".to_owned()),
        ("builds-filtered", "/demo/hello/builds?state=cancelled".to_owned()),
        ("build-running", format!("/demo/hello/builds/{}", id(&running)?)),
        ("build-queued", format!("/demo/hello/builds/{}", id(&queued)?)),
        ("build-success", format!("/demo/hello/builds/{}", id(&good)?)),
        ("build-failed", format!("/demo/hello/builds/{}", id(&bad)?)),
        ("queue", "/builds".to_owned()),
        ("autobuild", "/demo/hello/autobuild".to_owned()),
        ("autobuild-none", "/demo/base/autobuild".to_owned()),
        ("triggers-none", "/demo/base/autobuild/triggers".to_owned()),
        ("source", "/demo/base/autobuild/source".to_owned()),
        ("source-nothing", "/demo/base/autobuild/source?provider=github&q=nothing-like-it".to_owned()),
        ("source-typed", "/demo/base/autobuild/source?provider=github&q=octo/not-yet".to_owned()),
        ("source-repository", "/demo/base/autobuild/source?provider=github&namespace=octo".to_owned()),
        ("tags", "/demo/hello/tags".to_owned()),
        ("deliveries", "/demo/hello/deliveries".to_owned()),
        ("deliveries-none", "/demo/base/deliveries".to_owned()),
        ("delivery", format!("/demo/hello/deliveries/{delivery}")),
        ("repository-settings", "/demo/hello/settings".to_owned()),
        ("external", "/demo/hello/settings/external".to_owned()),
        ("new-repository", "/repositories/new".to_owned()),
        ("search", "/search?q=hel".to_owned()),
        ("search-nothing", "/search?q=nothing".to_owned()),
        ("providers", "/settings/source-providers".to_owned()),
        ("connect", "/settings/source-providers/other/connect".to_owned()),
        ("connect-another", "/settings/source-providers/github/connect".to_owned()),
        ("unlink", "/settings/source-providers/github/unlink".to_owned()),
        ("receipts-none", "/settings/source-providers/receipts".to_owned()),
        ("tokens", "/settings/tokens".to_owned()),
        ("account", "/settings/account".to_owned()),
        ("nodes", "/builders".to_owned()),
    ] {
        inspector.visit(name, &address).await?;
    }
    refused_forms(&browser, &mut inspector).await?;
    menus(&browser, &mut inspector).await?;
    questions(&browser, &mut inspector, &id(&bad)?).await?;
    endings(&stage, &browser, &mut inspector, [&id(&running)?, &id(&queued)?]).await?;

    let (found, seen) = inspector.end();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    assert!(seen >= 40, "only {seen} pages were looked at");
    browser.close().await?;
    stage.finish().await
}

async fn strangers(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    inspector.visit("sign-in", "/signin").await?;
    browser.fill("#name", PERSON).await?;
    browser.fill("#password", "not the password").await?;
    browser.press("Sign in").await?;
    browser.see(".notice-failed", "rong").await?;
    inspector.page("sign-in-refused").await?;
    inspector.visit("setup-refused", "/setup?token=wrong").await?;
    // Refusals are told in the console by the status of the page itself.
    inspector.forgive("the server responded with a status of 4");
    Ok(())
}

async fn newcomer(stage: &Stage, browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    stage.add_user("newcomer", &[])?;
    browser.sign_in("newcomer").await?;
    inspector.page("first-steps").await?;
    inspector.visit("queue-empty", "/builds").await?;
    inspector.visit("providers-none", "/settings/source-providers").await?;
    inspector.visit("not-found", "/demo/hello").await?;
    inspector.forgive("the server responded with a status of 404");
    browser.open("/settings/account").await?;
    browser.press("Sign out").await?;
    browser.see("h1", "Sign in").await
}

async fn refused_forms(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/repositories/new").await?;
    browser.fill("#name", "Not A Name").await?;
    browser.press("Create").await?;
    browser.see(".field-error", "").await?;
    inspector.page("new-repository-refused").await?;
    browser.open("/demo/hello/autobuild").await?;
    browser.fill("#rule-0-source", "/((/").await?;
    browser.click(".save-bar button.primary").await?;
    browser.see(".notice-failed", "Nothing was saved").await?;
    inspector.page("autobuild-refused").await?;
    browser.open("/demo/hello/autobuild").await?;
    browser.click(".rule-more summary").await?;
    browser.fill("#rule-0-target", "runtime").await?;
    browser.fill("#rule-0-args", "BUILDKIT_SYNTAX=evil/x").await?;
    browser.fill("#rule-0-include", "services/api/**").await?;
    inspector.page("autobuild-more").await?;
    browser.click(".save-bar button.primary").await?;
    // What was refused stands open.
    browser.see("#rule-0-errors", "steers the engine").await?;
    browser.see("label[for=rule-0-args]", "Build arguments").await?;
    inspector.page("autobuild-more-refused").await?;
    browser.open("/demo/hello/builds").await?;
    browser.fill("#build-commit", "abc1234").await?;
    browser.click("form[action$='/demo/hello/builds'] button").await?;
    browser.see("#build-commit-error", "is not a commit id").await?;
    inspector.page("builds-refused").await?;
    browser.open("/demo/hello/autobuild/triggers").await?;
    browser.fill("#trigger-name", LONG).await?;
    browser.fill("#trigger-ref", "main").await?;
    browser.press("Make trigger").await?;
    browser.see("#trigger-ref-error", "").await?;
    inspector.page("triggers-refused").await?;
    browser.fill("#trigger-ref", "refs/heads/main").await?;
    browser.press("Make trigger").await?;
    browser.see(".once", "/triggers/").await?;
    inspector.page("triggers").await?;
    browser.open("/demo/hello/settings").await?;
    browser.fill("#confirm", "demo/other").await?;
    browser.click("button.destroy").await?;
    browser.see("#confirm-error", "").await?;
    inspector.page("delete-refused").await?;
    inspector.forgive("the server responded with a status of 4");
    browser.open("/settings/tokens").await?;
    browser.fill("#token-name", "laptop").await?;
    browser.press("Make token").await?;
    browser.see(".once", "laptop").await?;
    inspector.page("token-made").await
}

/// Menus are open, one theme is chosen by hand against the system's wish.
async fn menus(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/demo/hello").await?;
    browser.click(".person > summary").await?;
    inspector.page("menu").await?;
    for theme in ["dark", "light", "auto"] {
        if browser.count("details.person[open]").await? == 0 {
            browser.click(".person > summary").await?;
        }
        browser.click(&format!(".person button[value={theme}]")).await?;
        browser.until("the chosen theme", "document.documentElement.dataset.theme === arguments[0]", &[json!(theme)]).await?;
        inspector.page(&format!("theme-{theme}")).await?;
    }
    Ok(())
}

/// What is deleted without a page of its own asks once more, in place.
async fn questions(browser: &Browser, inspector: &mut Inspector<'_>, build: &str) -> Result<()> {
    browser.open("/demo/hello/tags").await?;
    browser.click("#tags summary").await?;
    inspector.page("tag-delete").await?;
    browser.open(&format!("/demo/hello/builds/{build}")).await?;
    browser.click(".confirm > summary").await?;
    inspector.page("build-delete").await?;
    browser.press("Delete build").await?;
    browser.see("main .notice", "The build is deleted").await?;
    browser.see("#builds", "Take long").await?;
    assert!(!browser.text("#builds").await?.contains("Break it"), "{}", browser.shown().await);
    Ok(())
}

async fn endings(stage: &Stage, browser: &Browser, inspector: &mut Inspector<'_>, builds: [&str; 2]) -> Result<()> {
    for id in builds {
        browser.open(&format!("/demo/hello/builds/{id}")).await?;
        browser.press("Cancel").await?;
        browser.until("the end", "document.getElementById('build-top')?.dataset.state === 'cancelled'", &[]).await?;
    }
    inspector.page("build-cancelled").await?;
    browser.open("/settings/source-providers").await?;
    browser.see("tr.organization-shut", "walled").await?;
    browser.see(".link[aria-label$=\"ci-bot\"]", "ci-bot").await?;
    browser.click(".card-facts summary").await?;
    inspector.page("providers-open").await?;
    // Each form is of one link: the other one stays as it is.
    let octo = ".link[aria-label$=\"octo\"]";
    browser.click(&format!("{octo} form[action$=disable] button")).await?;
    browser.see(&format!("{octo} .card-state"), "disabled").await?;
    browser.see(".link[aria-label$=\"ci-bot\"] .card-state", "linked").await?;
    inspector.page("providers-disabled").await?;
    inspector.visit("source-disabled-one", "/demo/base/autobuild/source?provider=github").await?;
    browser.open("/settings/source-providers").await?;
    browser.click(&format!("{octo} a[href*=\"/unlink\"]")).await?;
    browser.see("h1", "octo").await?;
    inspector.page("unlink-disabled").await?;
    browser.fill("#confirm", "ci-bot").await?;
    browser.click("button.destroy").await?;
    browser.see("#confirm-error", "type octo").await?;
    inspector.page("unlink-refused").await?;
    inspector.forgive("the server responded with a status of 4");
    browser.fill("#confirm", "octo").await?;
    browser.click("button.destroy").await?;
    browser.see("h1", "is unlinked").await?;
    inspector.page("receipt").await?;
    browser.press("All receipts").await?;
    browser.see(".delivery-row", "octo").await?;
    inspector.page("receipts").await?;
    inspector.visit("deliveries-unlinked", "/demo/hello/deliveries").await?;
    assert!(stage.github.hooks("octo/hello").is_empty());
    Ok(())
}
