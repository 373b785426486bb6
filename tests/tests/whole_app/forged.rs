//! Writes that another site sends with a person's cookie: every route that changes something, taken from the router itself.
//! Invariant: a new route is asked here without anybody listing it.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use slipway_tests::{PASSWORD, PERSON, TestApp};

/// Something that stands, for each part of an address.
fn filled(route: &str) -> String {
    let parts = route.split('/').map(|part| match part {
        "{ns}" | "{user}" => PERSON.to_owned(),
        "{org}" => "acme".to_owned(),
        "{team}" => "owners".to_owned(),
        "{provider}" => "github".to_owned(),
        "{id}" => "0198c0de-0000-7000-8000-000000000000".to_owned(),
        "{name}" => "hello".to_owned(),
        part if part.starts_with('{') => "something".to_owned(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_write_of_another_site_passes_at_any_route() -> Result<()> {
    let app = TestApp::start().await?;
    app.api.post("/organizations", &json!({ "name": "acme" })).await?;
    app.create_repository("hello").await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let site = app.site().to_owned();
    let (mut passed, mut asked) = (Vec::new(), 0);
    for (method, route) in slipway_web::routes() {
        // Hooks prove themselves by signature, triggers and builders by token: no browser's cookie is looked at.
        let machine = ["/hooks/", "/triggers/", "/builder/"].iter().any(|machine| route.starts_with(machine));
        if [Method::GET, Method::HEAD].contains(&method) || machine {
            continue;
        }
        for (how, headers) in [
            ("from another origin", vec![("origin", "https://evil.example".to_owned())]),
            ("by the browser's word", vec![("origin", site.clone()), ("sec-fetch-site", "cross-site".to_owned())]),
        ] {
            for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
                let mut request = app.http().request(method.clone(), format!("{site}{}", filled(&route)));
                request = request.header("cookie", browser.cookie()).header("content-type", kind).body("{}");
                for (name, value) in &headers {
                    request = request.header(*name, value);
                }
                let answer = slipway_tests::Answer::of(request.send().await?).await?;
                asked += 1;
                if !matches!(answer.status, 403 | 415) {
                    passed.push(format!(
                        "{method} {route} {how} as {kind}: {} {}",
                        answer.status,
                        answer.text.chars().take(120).collect::<String>()
                    ));
                }
                assert!(!answer.headers.contains_key("access-control-allow-origin"), "{method} {route}");
            }
        }
    }
    assert!(passed.is_empty(), "{} of {asked} forged writes were not refused:\n{}", passed.len(), passed.join("\n"));
    assert!(asked > 500, "only {asked} requests");
    assert_eq!(app.api.get("/repositories/demo/hello").await?["name"], "hello", "nothing was changed");
    app.finish().await
}
