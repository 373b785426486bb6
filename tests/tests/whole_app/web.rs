//! The web as an attacker and a flaky network see it: headers, forged writes, redirects, sessions, live logs.

use anyhow::Result;
use reqwest::Method;
use reqwest::header::{CONTENT_SECURITY_POLICY, ORIGIN, SET_COOKIE};
use serde_json::json;
use slipway_model::{Phase, Step, StepState, Timestamp};
use slipway_tests::repository::text;
use slipway_tests::stream::Events;
use slipway_tests::{Client, PASSWORD, PERSON, TestApp};
use slipway_wire::{Event, Outcome};

#[tokio::test]
async fn every_answer_carries_the_security_headers() -> Result<()> {
    let app = TestApp::start().await?;
    app.linked_repository("hello").await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let asset = browser.open("/").await?.text;
    let asset = asset
        .split("href=\"")
        .find_map(|rest| rest.split('"').next().filter(|link| link.starts_with("/assets/")))
        .unwrap_or_default()
        .to_owned();
    assert!(!asset.is_empty(), "the page loads a style sheet of ours");
    let (stranger, hooks) = (app.stranger(), format!("{}/hooks/github/nonsense", app.site()));
    let answers = [
        ("a page", 200, browser.open("/").await?),
        ("a page of a repository", 200, browser.open("/demo/hello").await?),
        ("the sign-in", 200, stranger.open("/signin").await?),
        ("a redirect", 303, stranger.open("/").await?),
        ("a missing page", 404, browser.open("/demo/nothing").await?),
        ("a missing address", 404, stranger.open("/a/b/c/d/e").await?),
        ("a refused form", 403, stranger.clone().with_header("origin", "https://evil.example").form("/signin", &[]).await?),
        ("an asset", 200, stranger.open(&asset).await?),
        ("the API", 200, app.api.open("/api/v1/me").await?),
        ("a problem", 401, stranger.open("/api/v1/me").await?),
        ("the description", 200, stranger.open("/api/openapi.json").await?),
        ("a hook", 401, stranger.send(Method::POST, &hooks, Some(&json!({}))).await?),
        ("a wrong method", 405, stranger.send(Method::DELETE, "/healthz", None).await?),
        ("health", 200, stranger.open("/healthz").await?),
        ("metrics", 200, stranger.open("/metrics").await?),
        ("the callback", 400, stranger.open("/oauth/github/callback?state=x&code=y").await?),
        ("the registry", 401, stranger.open("/v2/").await?),
        ("the token service", 200, stranger.open("/auth/token").await?),
    ];
    for (what, status, answer) in &answers {
        assert_eq!(answer.status, *status, "{what}: {}", answer.text);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        assert!(!answer.header("content-type").is_empty() || answer.text.is_empty(), "{what} has a body without a type");
        if what.starts_with("the registry") || what.starts_with("the token") {
            continue;
        }
        let policy = answer.header(CONTENT_SECURITY_POLICY.as_str());
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"),
            "{what}: `{policy}`"
        );
        assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval") && !policy.contains('*'), "{what}: `{policy}`");
        for (name, value) in
            [("referrer-policy", "same-origin"), ("x-frame-options", "DENY"), ("cross-origin-opener-policy", "same-origin")]
        {
            assert_eq!(answer.header(name), value, "{what}");
        }
        assert!(!answer.header("x-request-id").is_empty(), "{what}");
        let cache = answer.header("cache-control");
        assert!(cache == "no-store" || *what == "an asset", "{what} may be kept by a cache: `{cache}`");
        assert!(!answer.headers.contains_key("server") && !answer.headers.contains_key("access-control-allow-origin"), "{what}");
    }
    // Pages have neither scripts nor styles nor handlers of their own.
    for path in [
        "/",
        "/demo/hello",
        "/demo/hello/autobuild",
        "/demo/hello/deliveries",
        "/demo/hello/builds",
        "/demo/hello/settings",
        "/settings/source-providers",
        "/settings/tokens",
        "/builders",
    ] {
        let page = browser.open(path).await?;
        assert_eq!(page.status, 200, "{path}");
        let lower = page.text.to_lowercase();
        assert!(
            !lower.contains(" style=\"") && !lower.contains("<style") && !lower.contains("javascript:") && !lower.contains(" onclick="),
            "{path}"
        );
        for script in lower.split("<script").skip(1) {
            assert!(
                script.split('>').next().unwrap_or_default().contains("src=\"/assets/"),
                "{path} has a script of its own: {}",
                &script[..60.min(script.len())]
            );
        }
    }
    app.finish().await
}

#[tokio::test]
async fn words_of_strangers_are_shown_as_words() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    app.api.patch("/repositories/demo/hello", &json!({ "description": evil })).await?;
    let commit = app.github.commit("octo/hello", "main", &[("a", "b")], evil).await?;
    app.github.settle().await;
    let build = text(&hello.build_of(&commit).await?, "id").to_owned();
    let builder = app.builder("one").await?;
    let work = builder.claim().await?;
    let at = Timestamp::from_millis(1_800_000_000_000);
    let step = Step {
        id: "s1".into(),
        phase: Phase::Build,
        name: evil.into(),
        state: StepState::Failed,
        cached: false,
        started_at: Some(at),
        finished_at: Some(at),
        error: Some(evil.into()),
    };
    builder
        .report(&work, 1, vec![Event::Step { step }, Event::Log { step: Some("s1".into()), text: format!("{evil}\n"), at }])
        .await?
        .unwrap();
    let reason = slipway_model::FailureReason::new(slipway_model::FailureCode::StepFailed, evil);
    builder.finish(&work, Outcome::Failed { reason, retry: false }).await?.unwrap();
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    for path in [
        "/".to_owned(),
        "/demo/hello".to_owned(),
        "/demo/hello/builds".to_owned(),
        format!("/demo/hello/builds/{build}"),
        "/builds".to_owned(),
        format!("/search?q={}", "%3Cscript%3Ealert(1)%3C/script%3E"),
    ] {
        let page = browser.open(&path).await?;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"), "{path} runs a stranger's words");
    }
    let page = browser.open(&format!("/demo/hello/builds/{build}")).await?;
    assert!(page.text.contains("alert(1)"), "the words are shown");
    let log = browser.open(&format!("/api/v1/repositories/demo/hello/builds/{build}/log")).await?;
    assert_eq!((log.header("content-type"), log.text.as_str()), ("text/plain; charset=utf-8", format!("{evil}\n").as_str()));
    app.finish().await
}

#[tokio::test]
async fn a_write_by_cookie_must_come_from_our_own_pages() -> Result<()> {
    let app = TestApp::start().await?;
    app.create_repository("hello").await?;
    let session = app.sign_in(PERSON, PASSWORD).await?.cookie().to_owned();
    let site = app.site().to_owned();
    let forged: [(&str, Vec<(&str, &str)>); 7] = [
        ("another site", vec![("origin", "https://evil.example")]),
        ("an opaque origin", vec![("origin", "null")]),
        ("another port", vec![("origin", "http://127.0.0.1:1")]),
        ("another scheme", vec![("origin", "https://127.0.0.1")]),
        ("cross-site by the browser's word", vec![("origin", &site), ("sec-fetch-site", "cross-site")]),
        ("same-site by the browser's word", vec![("origin", &site), ("sec-fetch-site", "same-site")]),
        ("a host that the attacker chose", vec![("origin", "http://evil.example"), ("host", "127.0.0.1")]),
    ];
    for (what, headers) in &forged {
        for (method, path, body) in [
            (Method::POST, "/repositories/new", None),
            (Method::POST, "/demo/hello/delete", None),
            (Method::POST, "/settings/tokens", None),
            (Method::POST, "/settings/source-providers/github/connect", None),
            (Method::POST, "/signout", None),
            (Method::POST, "/signin", None),
            (Method::POST, "/api/v1/tokens", Some(json!({ "name": "stolen" }))),
            (Method::DELETE, "/api/v1/repositories/demo/hello", None),
            (Method::PATCH, "/api/v1/repositories/demo/hello", Some(json!({ "visibility": "public" }))),
        ] {
            let mut request = app.http().request(method.clone(), format!("{site}{path}")).header("cookie", &session);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request = match &body {
                Some(body) => request.json(body),
                None => request.form(&[("name", "evil"), ("password", PASSWORD)]),
            };
            assert_eq!(request.send().await?.status(), 403, "{what}: {method} {path}");
        }
    }
    // No proof at all is no proof.
    let bare = app.http().delete(format!("{site}/api/v1/repositories/demo/hello")).header("cookie", &session).send().await?;
    assert_eq!(bare.status(), 403);
    // A form of another site cannot say that it is JSON.
    let browser = Client::new(app.http(), &site).with_cookie(&session);
    let posted = browser.form("/api/v1/tokens", &[("name", "stolen")]).await?;
    assert_eq!(posted.status, 415, "{}", posted.text);
    assert_eq!(app.api.items("/tokens").await?.len(), 1, "a forged request made a token");
    assert_eq!(app.api.get("/repositories/demo/hello").await?["visibility"], "private");
    // A preflight of another site gets no permission.
    let preflight =
        app.http().request(Method::OPTIONS, format!("{site}/api/v1/tokens")).header(ORIGIN, "https://evil.example").send().await?;
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
    // From our own pages it works, and the session is still good after all of that.
    assert_eq!(browser.send(Method::PATCH, "/api/v1/repositories/demo/hello", Some(&json!({ "description": "x" }))).await?.status, 200);
    app.finish().await
}

#[tokio::test]
async fn signing_in_leads_nowhere_else_and_makes_a_new_session() -> Result<()> {
    let app = TestApp::start().await?;
    for next in [
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "https:evil.example",
        " //evil.example",
        "/x\r\nSet-Cookie: a=b",
        "%2f%2fevil.example",
    ] {
        let answer = app.stranger().form("/signin", &[("name", PERSON), ("password", PASSWORD), ("next", next)]).await?;
        assert_eq!((answer.status, answer.location()), (303, "/"), "{next:?}");
        let query = form(&[("next", next)]);
        let page = app.stranger().open(&format!("/signin?{query}")).await?;
        assert!(!page.text.contains("evil.example") && !page.text.contains("javascript:"), "{next:?} stands in the page");
        let signed_in = app.sign_in(PERSON, PASSWORD).await?.open(&format!("/signin?{query}")).await?;
        assert_eq!((signed_in.status, signed_in.location()), (303, "/"), "{next:?}");
    }
    let answer = app.stranger().form("/signin", &[("name", PERSON), ("password", PASSWORD), ("next", "/demo?tab=1")]).await?;
    assert_eq!(answer.location(), "/demo?tab=1");
    let led = app.stranger().open("/demo/hello/builds?state=failed").await?;
    assert_eq!((led.status, led.location()), (303, "/signin?next=%2Fdemo%2Fhello%2Fbuilds%3Fstate%3Dfailed"));

    // The cookie.
    let set = answer.headers.get(SET_COOKIE).unwrap().to_str()?.to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.to_lowercase().contains("domain="), "{set}");
    // A session that was there before does not become the new one (fixation), and two sign-ins are two sessions.
    let planted = format!("slipway_session=sls_{}", "0".repeat(64));
    let fixed = app.stranger().with_cookie(&planted).form("/signin", &[("name", PERSON), ("password", PASSWORD)]).await?;
    assert_ne!(fixed.cookie().unwrap(), planted);
    let (one, two) = (app.sign_in(PERSON, PASSWORD).await?, app.sign_in(PERSON, PASSWORD).await?);
    assert_ne!(one.cookie(), two.cookie());
    assert_eq!(app.stranger().with_cookie(&planted).open("/api/v1/me").await?.status, 401);

    // Signing out ends the session at the server, not only in the browser.
    assert_eq!(one.open("/api/v1/me").await?.status, 200);
    let out = one.form("/signout", &[]).await?;
    assert_eq!((out.status, out.location()), (303, "/signin"));
    assert!(out.headers.get(SET_COOKIE).unwrap().to_str()?.contains("Max-Age=0"));
    assert_eq!(one.open("/api/v1/me").await?.status, 401, "the session survived the sign-out");
    assert_eq!(one.open("/").await?.status, 303);
    assert_eq!(two.open("/api/v1/me").await?.status, 200, "the other session is another one");

    // Name and password: one answer for every mistake.
    let mut shown = Vec::new();
    for (name, password) in
        [(PERSON, "wrong password"), ("nobody", PASSWORD), ("", ""), ("Not A Name", PASSWORD), (PERSON, &"x".repeat(5000))]
    {
        let answer = app.stranger().form("/signin", &[("name", name), ("password", password)]).await?;
        assert!(answer.cookie().is_none() && (400..500).contains(&answer.status), "{name}: {}", answer.status);
        assert!(answer.text.contains("ame or password is wrong"), "{name}");
        shown.push(answer.status);
    }
    shown.dedup();
    assert_eq!(shown.len(), 1, "the answers differ");
    app.finish().await
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = url::Url::parse("http://x/").unwrap();
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap().to_owned()
}

#[tokio::test]
async fn a_live_log_resumes_without_loss_or_repetition() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let build = text(&hello.build_of(&commit).await?, "id").to_owned();
    let stream = hello.at(&format!("/builds/{build}/log/stream"));
    let builder = app.builder("one").await?;
    let work = builder.claim().await?;
    let at = Timestamp::from_millis(1_800_000_000_000);
    let line = |number: usize| format!("line {number} ü 🚀\n");
    let batch = |numbers: std::ops::Range<usize>| -> Vec<Event> {
        numbers.map(|number| Event::Log { step: Some(format!("s{}", number % 2)), text: line(number), at }).collect()
    };
    let expected = |numbers: std::ops::Range<usize>| -> String { numbers.map(line).collect() };

    // The first reader comes before there is anything, and its connection breaks after a while.
    let mut events = Events::open(&app.api, &stream, None).await?.unwrap();
    builder.report(&work, 1, batch(0..40)).await?.unwrap();
    let (mut seen, mut last, mut builds) = (String::new(), String::new(), 0);
    while !seen.contains(&line(25)) {
        let event = events.next().await?.unwrap();
        match event.name.as_str() {
            "log" => {
                seen.push_str(text(&event.data, "text"));
                last = event.id.unwrap();
            }
            "state" => builds += 1,
            other => assert_eq!(other, "step"),
        }
    }
    assert!(builds >= 1, "the build itself is told first");
    drop(events);
    builder.report(&work, 2, batch(40..80)).await?.unwrap();
    // It comes back with the last id and goes on where it was, while the build goes on too.
    let mut events = Events::open(&app.api, &stream, Some(&last)).await?.unwrap();
    let mut ended = None;
    let mut reported = false;
    while ended.is_none() {
        let event = events.next().await?.unwrap();
        match event.name.as_str() {
            "log" => {
                assert!(event.id.as_ref().unwrap().parse::<u64>()? > last.parse::<u64>()?, "a piece came twice");
                seen.push_str(text(&event.data, "text"));
                last = event.id.unwrap();
            }
            "end" => ended = Some(event.data),
            _ => {}
        }
        if !reported && seen.contains(&line(79)) {
            reported = true;
            builder.report(&work, 3, batch(80..100)).await?.unwrap();
            builder.finish(&work, Outcome::Cancelled).await?.unwrap();
        }
    }
    assert_eq!(seen, expected(0..100));
    assert_eq!(ended.unwrap()["state"], "cancelled");
    assert!(events.next().await?.is_none(), "nothing follows the end");
    // When nothing is left, a browser is told not to come back.
    assert!(Events::open(&app.api, &stream, Some(&last)).await?.is_none());
    // Whole, as text, and from the middle.
    assert_eq!(hello.log(&build).await?, expected(0..100));
    let mut events = Events::open(&app.api, &format!("{stream}?after={last}"), None).await?.unwrap();
    while let Some(event) = events.next().await? {
        assert_ne!(event.name, "log", "nothing is behind the last piece");
    }
    app.finish().await
}

#[tokio::test]
async fn a_reader_whose_token_is_revoked_is_cut_off() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let build = text(&hello.build_of(&commit).await?, "id").to_owned();
    let made = app.api.post("/tokens", &json!({ "name": "reader", "scopes": ["repo:read"] })).await?;
    let reader = app.client(text(&made, "token"));
    let mut events = Events::open(&reader, &hello.at(&format!("/builds/{build}/log/stream")), None).await?.unwrap();
    assert_eq!(events.next().await?.unwrap().name, "state");
    app.api.delete(&format!("/tokens/{}", text(&made, "id"))).await?;
    let cut = tokio::time::timeout(std::time::Duration::from_secs(40), events.next()).await;
    assert!(matches!(cut, Ok(Ok(None))), "the stream lived on: {cut:?}");
    app.finish().await
}
