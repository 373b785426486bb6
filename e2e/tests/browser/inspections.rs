//! The inspections themselves: a page with every defect must be refused for each of them.

use anyhow::Result;
use slipway_e2e::Browser;
use slipway_e2e::inspect::Inspector;

const BAD: &str = "data:text/html,<!doctype html><html><head><title>Bad</title>\
    <meta http-equiv='content-security-policy' content=\"script-src 'none'\"></head><body style='background:white'>\
    <p style='color:rgb(220,220,220)'>pale</p><img src='http://127.0.0.1:9/elsewhere.png'><div style='width:2000px'>wide</div>\
    <button onclick='alert(1)'></button><script>alert(1)</script></body></html>";

#[tokio::test]
async fn each_kind_of_defect_is_found() -> Result<()> {
    let browser = Browser::start("http://127.0.0.1:8").await?;
    let mut inspector = Inspector::new(&browser).await?;
    inspector.visit("bad", BAD).await?;
    let (found, seen) = inspector.end();
    assert_eq!(seen, 1);
    for wanted in [
        "light 390 px: critical image-alt",
        "light 1280 px: serious color-contrast",
        "dark 390 px: critical button-name",
        "light 390 px: can be scrolled sideways: 20",
        "console: ",
        "Content Security Policy",
        "a request left the origin: http://127.0.0.1:9/elsewhere.png",
    ] {
        assert!(found.iter().any(|text| text.contains(wanted)), "`{wanted}` was not found in {found:#?}");
    }
    browser.close().await
}
