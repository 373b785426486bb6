//! Link, rule and build by the keyboard alone; wherever the focus goes, it can be seen.

use anyhow::{Result, bail};
use fantoccini::key::Key;
use serde_json::json;
use slipway_e2e::inspect::Inspector;
use slipway_e2e::{AUTHOR, Browser, PASSWORD, PERSON, Stage};
use slipway_testkit::github::{Visibility, user_password};

/// Stops of the tabulator until a control must have come.
const STOPS: usize = 60;

/// Tabs on until the focus is on an element for which the expression (of `one`) holds.
async fn tab_to(browser: &Browser, expression: &str) -> Result<()> {
    let script = format!(
        "const one = document.activeElement; const style = getComputedStyle(one); const box = one.getBoundingClientRect(); \
         const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1; \
         const ours = location.origin === arguments[0] && one !== document.body; \
         return [`${{one.tagName}}#${{one.id}}.${{one.className}} ${{one.textContent.trim().slice(0, 40)}}`, \
         !ours || ring, !ours || (box.width > 0 && box.height > 0), Boolean({expression})]"
    );
    let mut passed = Vec::new();
    for _ in 0..STOPS {
        browser.key(Key::Tab).await?;
        let seen = browser.run(&script, &[json!(browser.site())]).await?;
        let name = seen[0].as_str().unwrap_or_default().to_owned();
        assert_eq!(seen[1], true, "the focus cannot be seen on {name}");
        assert_eq!(seen[2], true, "the focus is on something without a size: {name}");
        if seen[3] == true {
            return Ok(());
        }
        passed.push(name);
    }
    bail!("`{expression}` was not reached; the focus was on {passed:#?}\n{}", browser.shown().await)
}

/// Tabs to a link or button of the page's content with this text, and presses it.
async fn press(browser: &Browser, text: &str, key: Key) -> Result<()> {
    let text = json!(text).to_string();
    tab_to(browser, &format!("one.matches('main a, main button') && one.textContent.includes({text})")).await?;
    browser.key(key).await
}

#[tokio::test]
async fn link_rule_and_build_without_a_mouse() -> Result<()> {
    let stage = Stage::with_person().await?;
    stage.github.repository("octo/hello", Visibility::Private).await?;
    stage.github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")], "Begin").await?;
    let browser = Browser::start(stage.site()).await?;
    let mut inspector = Inspector::new(&browser).await?;
    inspector.allow(stage.github.web_url());

    browser.open("/").await?;
    tab_to(&browser, "one.id === 'name'").await?;
    browser.keys(PERSON).await?;
    tab_to(&browser, "one.id === 'password'").await?;
    browser.keys(PASSWORD).await?;
    browser.key(Key::Enter).await?;
    browser.see("h1", "Repositories").await?;

    // The first stop skips the navigation.
    tab_to(&browser, "one.matches('.skip')").await?;
    browser.key(Key::Enter).await?;
    browser.until("the content", "document.activeElement.id === 'main'", &[]).await?;
    press(&browser, "Link a provider", Key::Enter).await?;
    browser.see("#provider-github", "not linked").await?;
    tab_to(&browser, "one.closest('#provider-github .card-actions')").await?;
    browser.key(Key::Enter).await?;
    browser.see("h1", "Link").await?;
    press(&browser, "Continue to", Key::Space).await?;
    browser.see("h1", "Sign in").await?;
    // The provider's page puts the focus into the first field.
    browser.until("the focus", "document.activeElement.id === 'login'", &[]).await?;
    browser.keys(AUTHOR).await?;
    tab_to(&browser, "one.id === 'password'").await?;
    browser.keys(&user_password(AUTHOR)).await?;
    browser.key(Key::Enter).await?;
    browser.see("h1", "Authorize").await?;
    tab_to(&browser, "one.id === 'authorize'").await?;
    browser.key(Key::Space).await?;
    browser.see("#provider-github .link-who", AUTHOR).await?;

    // `/` leads to the search, and Escape closes a menu.
    browser.key(Key::Escape).await?;
    browser.keys("/").await?;
    browser.until("the search", "document.activeElement.id === 'search'", &[]).await?;
    tab_to(&browser, "one.matches('.person > summary')").await?;
    browser.key(Key::Enter).await?;
    browser.until("the menu", "document.querySelector('.person').open", &[]).await?;
    browser.key(Key::Escape).await?;
    browser.until("no menu", "!document.querySelector('.person').open && document.activeElement.matches('.person > summary')", &[]).await?;

    rule(&browser).await?;
    build(&browser).await?;
    inspector.quiet("by keyboard").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}

async fn rule(browser: &Browser) -> Result<()> {
    browser.open("/").await?;
    press(browser, "New repository", Key::Enter).await?;
    browser.see("h1", "New repository").await?;
    tab_to(browser, "one.id === 'name'").await?;
    browser.keys("hello").await?;
    press(browser, "Create and set up autobuild", Key::Space).await?;
    browser.see("h2", "Choose a source").await?;
    tab_to(browser, "one.closest('section[aria-labelledby=pick-provider]')").await?;
    browser.key(Key::Enter).await?;
    browser.see("section[aria-labelledby=pick-namespace]", AUTHOR).await?;
    press(browser, AUTHOR, Key::Enter).await?;
    browser.see("section[aria-labelledby=pick-repository]", "octo/hello").await?;
    press(browser, "octo/hello", Key::Enter).await?;
    browser.see("h2", "Build rules").await?;
    tab_to(browser, "one.id === 'rule-0-tags'").await?;
    browser.keys("{sourceref}-").await?;
    let typed = browser.run("return document.activeElement.value", &[]).await?;
    let typed = typed.as_str().unwrap_or_default().to_owned();
    assert!(typed.contains("{sourceref}-"), "the tags are `{typed}`");
    browser.until("the preview", "document.querySelector('#preview').textContent.includes('main-')", &[]).await?;
    // A switch by the space bar, there and back.
    tab_to(browser, "one.id === 'rule-0-cache'").await?;
    for on in [false, true] {
        browser.key(Key::Space).await?;
        assert_eq!(browser.run("return document.activeElement.checked", &[]).await?, json!(on));
    }
    press(browser, "Add a rule", Key::Enter).await?;
    browser
        .until(
            "the focus in the new row",
            "document.activeElement === [...document.querySelectorAll('#rules [data-rule]')].at(-1).querySelector('select')",
            &[],
        )
        .await?;
    tab_to(browser, "one.matches('.save-bar button') && one.textContent.trim() === 'Save'").await?;
    browser.key(Key::Enter).await?;
    browser.see("main .notice", "aved").await
}

async fn build(browser: &Browser) -> Result<()> {
    browser.open("/demo/hello/builds").await?;
    browser.see("main", "No builds yet").await?;
    press(browser, "Build now", Key::Space).await?;
    browser.see(".build-heading", "Build #1").await?;
    browser.until("the end", "document.getElementById('build-top').dataset.state === 'success'", &[]).await?;
    // The log is a stop of its own, and its steps fold by key.
    tab_to(browser, "one.matches('.log-view')").await?;
    tab_to(browser, "one.matches('.log-fold')").await?;
    let open = "return document.activeElement.getAttribute('aria-expanded')";
    let before = browser.run(open, &[]).await?;
    browser.key(Key::Enter).await?;
    browser
        .until(
            "the step to fold",
            "document.activeElement.matches('.log-fold') && document.activeElement.getAttribute('aria-expanded') !== arguments[0]",
            &[before],
        )
        .await
        .map(|_| ())
}
