//! Words of strangers, in commit messages, names of branches, steps and logs: shown as words, by a browser that would run them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_e2e::inspect::Inspector;
use slipway_e2e::stage::{borrowed, files};
use slipway_e2e::{Browser, PERSON, Stage};

const MESSAGE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}gnihton\u{2066}\u{0}";
const BRANCH: &str = "x\"onmouseover=\"alert(3)\"<img/src=x/onerror=alert(4)>";
/// `printf` of the shell understands octal: 033 is escape, 000 is nothing at all.
const TEST: &str = r#"echo '<img src=x onerror=alert(5)><script>alert(6)</script>'
printf '\033]8;;javascript:alert(7)\033\\press me\033]8;;\033\\ after\n'
printf '\033]52;c;c2xpcHdheQ==\007clipboard\n'
printf 'nul[\000]nul\n'
printf 'rtl \342\200\256gnp.exe and \342\201\246isolate\n'
printf 'bad utf-8 [\377\376]\n'
printf '\033[2J\033[H\033[?1049h\033]0;title\007screen\n'
printf '\033[31;1mred\033[0m plain\n'
printf 'progress 1\rprogress 2\n'
echo '${{7*7}} {{ 7*7 }} {% raw %} &lt;b&gt;'
exit 3
"#;

/// Everything in a document that could run or fetch something and is not ours, in words; and what the words have done if they ran.
const ALIVE: &str = "const out = []; \
    for (const one of document.querySelectorAll('*')) { \
      for (const { name } of one.attributes) if (name.startsWith('on')) out.push(`${one.tagName} ${name}`); \
      if (['IMG', 'IFRAME', 'OBJECT', 'EMBED', 'BASE', 'STYLE', 'VIDEO', 'AUDIO', 'FORM'].includes(one.tagName) && !(one.tagName === 'FORM' && (one.getAttribute('action') ?? '/').startsWith('/'))) out.push(one.outerHTML.slice(0, 80)); \
      if (one.tagName === 'SCRIPT' && !(one.src.startsWith(`${location.origin}/assets/`) && !one.textContent)) out.push(one.outerHTML.slice(0, 80)); \
      if (one.tagName === 'A' && !['http:', 'https:'].includes(one.protocol)) out.push(one.href); \
      if (one.tagName === 'META' && one.httpEquiv) out.push(one.outerHTML); \
    } \
    return out";

async fn is_dead(browser: &Browser, place: &str) -> Result<()> {
    assert!(browser.client().get_alert_text().await.is_err(), "{place}: a stranger's words opened a dialogue");
    let alive = browser.run(ALIVE, &[]).await?;
    assert_eq!(alive, json!([]), "{place}: a stranger's words became elements");
    Ok(())
}

#[tokio::test]
async fn words_of_strangers_stay_words() -> Result<()> {
    let stage = Stage::linked().await?;
    let base = stage.push_base().await?;
    let description = "<svg onload=alert(8)>&amp;<a href=javascript:alert(9)>";
    stage.repository("hello", description, &json!([{ "source_type": "branch", "source": "/.*/", "tags": "latest" }])).await?;
    let message = MESSAGE.replace('\0', "");
    let build = stage.push("hello", BRANCH, &borrowed(&files(&base, "echo '<b onclick=alert(10)>bold</b>'\n", TEST)), &message).await?;
    let build = stage.until("hello", &build, "failed").await?;
    let id = build["id"].as_str().context("a build has an id")?;
    assert!(build["reason"]["text"].as_str().is_some_and(|text| text.contains("`sut` exited with 3")), "{build}");

    let browser = Browser::signed_in(&stage, PERSON).await?;
    let mut inspector = Inspector::new(&browser).await?;
    let delivery = stage.get("/repositories/demo/hello/deliveries").await?;
    let delivery =
        delivery["items"].as_array().into_iter().flatten().find(|one| one["event"] == "push").cloned().context("the push's delivery")?;
    let delivery = delivery["id"].as_str().context("a delivery has an id")?.to_owned();
    let search = "/search?q=%3Cscript%3Ealert(11)%3C/script%3E".to_owned();
    let filter = "/demo/hello/builds?ref=%22%3E%3Cscript%3Ealert(12)%3C/script%3E".to_owned();
    for (address, shown) in [
        ("/".to_owned(), "<svg onload=alert(8)>"),
        ("/demo/hello".to_owned(), "<script>alert(1)</script>"),
        ("/demo/hello/builds".to_owned(), "<script>alert(1)</script>"),
        ("/builds".to_owned(), "<img/src=x/onerror=alert(4)>"),
        ("/demo/hello/deliveries".to_owned(), "<img/src=x/onerror=alert(4)>"),
        (format!("/demo/hello/deliveries/{delivery}"), "<script>alert(1)</script>"),
        (search, "<script>alert(11)</script>"),
        (filter, ""),
        ("/demo/hello/settings".to_owned(), ""),
        ("/demo/hello/autobuild".to_owned(), ""),
    ] {
        browser.open(&address).await?;
        is_dead(&browser, &address).await?;
        browser.see("main", shown).await?;
    }
    browser.open(&format!("/demo/hello/builds/{id}")).await?;
    the_log(&browser).await?;
    is_dead(&browser, "the build").await?;
    browser.picture("hostile-build").await?;
    // The mouse goes over everything.
    browser.run("for (const one of document.querySelectorAll('main *')) for (const kind of ['mouseover', 'click']) if (!one.closest('a, form, button')) one.dispatchEvent(new MouseEvent(kind, { bubbles: true }))", &[]).await?;
    is_dead(&browser, "the build under the mouse").await?;
    inspector.quiet("hostile pages").await?;
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{found:#?}");
    browser.close().await?;
    stage.finish().await
}

async fn the_log(browser: &Browser) -> Result<()> {
    browser.see("#log .log-view", "bad utf-8").await?;
    browser.until("the log's end", "document.querySelector('#log .log-view').textContent.includes('raw')", &[]).await?;
    let rows = browser.run("return [...document.querySelectorAll('#log .log-text')].map((one) => one.textContent)", &[]).await?;
    let rows: Vec<&str> = rows.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let row =
        |part: &str| rows.iter().copied().find(|row| row.contains(part)).with_context(|| format!("no line with `{part}` in {rows:#?}"));
    assert!(row("alert(5)")?.contains("<img src=x onerror=alert(5)><script>alert(6)</script>"));
    assert!(row("press me")?.ends_with("press me after"), "{:?}", row("press me")?);
    assert!(row("clipboard")?.ends_with("clipboard"), "{:?}", row("clipboard")?);
    row("nul[")?;
    assert!(row("rtl ")?.contains("U+202Egnp.exe and U+2066isolate"), "{:?}", row("rtl ")?);
    assert!(row("screen")?.ends_with("screen"), "{:?}", row("screen")?);
    row("${{7*7}} {{ 7*7 }} {% raw %} &lt;b&gt;")?;
    assert!(rows.iter().all(|row| !row.contains("progress 1")), "a line that was written over is shown");
    for gone in ["javascript:", "c2xpcHdheQ", "]8;", "]52;", "title", "\u{1b}", "\u{0}", "\u{202e}", "\u{2066}"] {
        assert!(rows.iter().all(|row| !row.contains(gone)), "{gone:?} came through: {rows:#?}");
    }
    let red = browser.run("return [...document.querySelectorAll('#log .log-text .f1.a-bold')].map((one) => one.textContent)", &[]).await?;
    assert_eq!(red, json!(["red"]), "colours are kept");
    Ok(())
}
