//! Linking: the OAuth flow with its state and PKCE, disabling, unlinking.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_app::{App, Config, ConnectWish, Error, Keys, RefusalKind, Role};
use slipway_model::{Clock, Scope, ScopeSet, TokenKind};
use slipway_store::Db;
use slipway_tests::{AUTHOR, Client, PASSWORD, PERSON, TestApp};
use url::Url;

/// Begins to link and gives the address at the provider.
async fn connect(client: &Client, namespace: &str, provider: &str) -> Result<String> {
    let begun = client.post(&format!("/namespaces/{namespace}/links/{provider}/connect"), &json!({})).await?;
    Ok(begun["authorize_url"].as_str().context("an address to authorize at")?.to_owned())
}

async fn link_of(client: &Client, namespace: &str, provider: &str) -> Result<Value> {
    let links = client.items(&format!("/namespaces/{namespace}/links")).await?;
    links.into_iter().find(|link| link["provider"] == provider).context("every provider has an entry")
}

fn parameter(url: &str, name: &str) -> String {
    let url: Url = url.parse().unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The same address with another value of a parameter; an empty one takes it out.
fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let mut changed: Url = url.parse().unwrap();
    let kept: Vec<(String, String)> =
        changed.query_pairs().filter(|(key, _)| key != name).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    changed.query_pairs_mut().clear().extend_pairs(kept);
    if !value.is_empty() {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed.into()
}

#[tokio::test]
async fn a_provider_is_linked_by_oauth_with_state_and_pkce() -> Result<()> {
    let app = TestApp::start().await?;
    assert_eq!(link_of(&app.api, PERSON, "github").await?["state"], "not_linked");
    let authorize = connect(&app.api, PERSON, "github").await?;
    assert!(authorize.starts_with(&format!("{}/login/oauth/authorize?", app.github.web_url())), "{authorize}");
    assert_eq!(parameter(&authorize, "client_id"), app.oauth.client_id);
    assert_eq!(parameter(&authorize, "redirect_uri"), format!("{}/oauth/github/callback", app.site()));
    assert!(parameter(&authorize, "state").len() >= 32, "{authorize}");
    assert_eq!(parameter(&authorize, "code_challenge_method"), "S256");
    assert_eq!(parameter(&authorize, "code_challenge").len(), 43);
    let second = connect(&app.api, PERSON, "github").await?;
    for fresh in ["state", "code_challenge"] {
        assert_ne!(parameter(&authorize, fresh), parameter(&second, fresh), "`{fresh}` must be new each time");
    }

    let back = app.github.approve_oauth(&authorize, AUTHOR).await?;
    let link = app.api.open(&back).await?.json()?;
    assert_eq!((&link["state"], &link["login"]), (&json!("ok"), &json!(AUTHOR)));
    assert_eq!(link["grant_url"], format!("{}/settings/connections/applications/{}", app.github.web_url(), app.oauth.client_id));
    assert!(link["since"].is_string());
    // The loop looks at a new link at once, so when it was looked at may differ.
    let now = link_of(&app.api, PERSON, "github").await?;
    for field in ["id", "provider", "login", "state", "since", "scopes", "access", "grant_url", "affects"] {
        assert_eq!(now[field], link[field], "{field}");
    }

    // At rest the token is sealed: neither the database nor its log shows it.
    let token = app.github.oauth_tokens(AUTHOR, &app.oauth.client_id).pop().context("the provider gave a token")?;
    let mut looked = 0;
    for entry in std::fs::read_dir(app.folder().join("data"))? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{} holds the token in clear", path.display());
            looked += bytes.len();
        }
    }
    assert!(looked > 10_000, "the database was not looked at");
    assert!(!app.log().iter().any(|line| line.contains(&token)), "the log shows the token");

    // The browser's way, by session and page.
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let begun = browser.form("/settings/source-providers/other/connect", &[]).await?;
    assert_eq!(begun.status, 303, "{}", begun.text);
    let back = app.github.approve_oauth(begun.location(), AUTHOR).await?;
    let led = browser.open(&back).await?;
    assert_eq!((led.status, led.location()), (303, "/settings/source-providers?done=linked"));
    assert_eq!(link_of(&app.api, PERSON, "other").await?["state"], "ok");
    app.finish().await
}

#[tokio::test]
async fn a_callback_that_nobody_waits_for_is_400_and_leaves_no_row() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let other_browser = app.sign_in(PERSON, PASSWORD).await?;
    let same_person_other_token = app.client(&app.make_token(PERSON, &[])?);

    // Whoever comes with it: each time a new flow of the first token, answered by somebody or something else.
    let strangers = [
        ("another account", &eve),
        ("nobody", &app.stranger()),
        ("a session of the same person", &browser),
        ("another token", &same_person_other_token),
    ];
    for (who, client) in strangers {
        let back = app.github.approve_oauth(&connect(&app.api, PERSON, "github").await?, AUTHOR).await?;
        let answer = client.open(&back).await?;
        assert_eq!(answer.status, 400, "{who}: {}", answer.text);
        if who != "nobody" {
            // A state works once, whoever used it.
            assert_eq!(app.api.open(&back).await?.status, 400, "after {who} the state was still good");
        }
    }
    let back = app.github.approve_oauth(begin_in(&browser).await?.as_str(), AUTHOR).await?;
    assert_eq!(other_browser.open(&back).await?.status, 400, "another session of the same person");

    // Parameters that are missing, made up or of another provider.
    let back = app.github.approve_oauth(&connect(&app.api, PERSON, "github").await?, AUTHOR).await?;
    let elsewhere = back.replace("/oauth/github/", "/oauth/other/");
    let made_up = format!("{}{}", TokenKind::State.prefix(), "0".repeat(64));
    for (what, address) in [
        ("no state", with_parameter(&back, "state", "")),
        ("an empty state", with_parameter(&back, "state", " ")),
        ("a made-up state", with_parameter(&back, "state", &made_up)),
        ("a long state", with_parameter(&back, "state", &"x".repeat(5000))),
        ("no code", with_parameter(&back, "code", "")),
    ] {
        app.api.open(&address).await?.problem(400).context(what)?;
    }
    assert_eq!(app.api.open(&elsewhere).await?.status, 400, "the other provider's callback");

    for (client, namespace) in [(&app.api, PERSON), (&eve, "eve")] {
        for provider in ["github", "other"] {
            assert_eq!(link_of(client, namespace, provider).await?["state"], "not_linked", "{namespace} {provider}");
        }
    }
    assert!(app.github.oauth_tokens(AUTHOR, &app.oauth.client_id).is_empty(), "a code was exchanged for somebody who did not ask");

    // A state that was used once is used up, also by its owner.
    let back = app.github.approve_oauth(&connect(&app.api, PERSON, "github").await?, AUTHOR).await?;
    assert_eq!(app.api.open(&back).await?.status, 200);
    assert_eq!(app.api.open(&back).await?.problem(400)?["code"], "oauth_state");
    assert_eq!(app.github.oauth_tokens(AUTHOR, &app.oauth.client_id).len(), 1);
    app.finish().await
}

async fn begin_in(browser: &Client) -> Result<String> {
    let begun = browser.form("/settings/source-providers/github/connect", &[]).await?;
    ensure!(begun.status == 303, "answered {}: {}", begun.status, begun.text);
    Ok(begun.location().to_owned())
}

#[tokio::test]
async fn who_says_no_at_the_provider_is_told_so() -> Result<()> {
    let app = TestApp::start().await?;
    let back = app.github.deny_oauth(&connect(&app.api, PERSON, "github").await?, AUTHOR).await?;
    let problem = app.api.open(&back).await?.problem(400)?;
    assert_eq!(problem["code"], "oauth_denied", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("access_denied"), "{problem}");
    assert!(problem["hint"].is_string(), "{problem}");
    assert_eq!(link_of(&app.api, PERSON, "github").await?["state"], "not_linked");
    // The page says it too, and it is a page.
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&app.github.deny_oauth(&begin_in(&browser).await?, AUTHOR).await?).await?;
    assert_eq!(page.status, 400);
    assert!(page.header("content-type").starts_with("text/html") && page.text.contains("access_denied"), "{}", page.text);
    app.finish().await
}

/// The binary's clock is the machine's, so this one runs the application in this process, on a clock that is moved by hand.
#[tokio::test]
async fn a_state_is_good_for_ten_minutes() -> Result<()> {
    let world = TestApp::prepare(slipway_tests::Setup::default()).await?;
    std::fs::create_dir_all(world.folder().join("data"))?;
    let db = Db::open(world.database_url()).await?;
    db.migrate().await?;
    let clock = Clock::manual(slipway_model::Timestamp::from_millis(1_800_000_000_000));
    let forge = slipway_forge::open(slipway_forge::Provider {
        id: "github".parse().unwrap(),
        kind: slipway_model::ProviderKind::GitHub,
        web_url: world.github.web_url().parse()?,
        api_url: world.github.api_url().parse()?,
        client_id: world.oauth.client_id.clone(),
        client_secret: world.oauth.client_secret.clone().into(),
        app: None,
        ssh: None,
    })?;
    let app = App::new(db, clock.clone(), Keys::derive(&[7; 32]), [forge], Config::new(world.site().parse()?));
    app.add_user(PERSON, Role::User, &PASSWORD.to_owned().into()).await?;
    let token = app.create_token_by_name(PERSON, "test", &ScopeSet::all()).await?;
    let caller = app.caller_by_token(&token.secret, "test").await?.context("the token is good")?;
    let owner = app.namespace(&caller, &PERSON.parse()?, Scope::RepoAdmin).await?;
    let provider = "github".parse().unwrap();
    for (wait, good) in [(Duration::from_secs(599), true), (Duration::from_secs(600), false), (Duration::from_secs(86_400), false)] {
        let authorize = app.begin_connect(&owner, &caller, &provider, ConnectWish::default()).await?;
        let back = world.github.approve_oauth(authorize.as_str(), AUTHOR).await?;
        clock.advance(wait);
        let (state, code) = (parameter(&back, "state"), parameter(&back, "code"));
        let answer = app.finish_connect(&caller, &provider, &state, Ok(&code)).await;
        match answer {
            Ok(_) => assert!(good, "after {wait:?} the state was still good"),
            Err(Error::Refused(refusal)) => {
                assert!(!good && refusal.kind == RefusalKind::Bad && refusal.code == "oauth_state", "after {wait:?}: {refusal:?}");
            }
            Err(error) => panic!("after {wait:?}: {error}"),
        }
    }
    world.finish().await
}

#[tokio::test]
async fn a_disabled_link_sends_nothing_and_a_replay_builds_what_came_meanwhile() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let link = app.api.patch(&format!("/namespaces/{PERSON}/links/github"), &json!({ "enabled": false })).await?;
    assert_eq!(link["state"], "disabled");
    assert!(link["evidence"].as_str().unwrap().contains(PERSON), "{link}");
    assert_eq!(link["affects"], json!(["hello"]));

    let requests = app.github.requests().len();
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    let verdicts = delivery["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 1, "{delivery}");
    assert_eq!(verdicts[0]["outcome"], "disabled");
    assert!(verdicts[0]["text"].as_str().unwrap().starts_with("link disabled"), "{delivery}");
    assert!(hello.builds().await?.is_empty());
    // The picker shows what we know of before, and says so.
    app.api.get(&format!("/namespaces/{PERSON}/links/github/source-namespaces")).await?;
    let seen = app.api.get(&format!("/namespaces/{PERSON}/links/github/source-repositories?namespace=octo")).await?;
    assert!(seen["error"].as_str().is_some_and(|text| text.contains("is disabled")), "{seen}");
    app.api.post(&format!("/namespaces/{PERSON}/links/github/check"), &json!({})).await?;
    assert_eq!(app.github.requests().len(), requests, "something was sent over a disabled link: {:?}", &app.github.requests()[requests..]);

    assert_eq!(app.api.patch(&format!("/namespaces/{PERSON}/links/github"), &json!({ "enabled": true })).await?["state"], "ok");
    let id = delivery["id"].as_str().unwrap();
    let replayed = app.api.post(&hello.at(&format!("/deliveries/{id}/replay")), &json!({})).await?;
    let verdicts = replayed["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 2, "the first verdict stays: {replayed}");
    assert_eq!(verdicts[1]["outcome"], "built", "{replayed}");
    let build = hello.build_of(&commit).await?;
    assert_eq!((&build["id"], &build["state"], &build["cause"]), (&verdicts[1]["build"], &json!("queued"), &json!("replay")));
    app.finish().await
}

#[tokio::test]
async fn unlinking_removes_what_the_link_made_and_gives_a_receipt() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    assert_eq!(app.github.hooks("octo/hello").len(), 1);
    let hook = app.github.hooks("octo/hello")[0].id;
    let receipt = app.api.delete(&format!("/namespaces/{PERSON}/links/github")).await?;
    assert!(app.github.hooks("octo/hello").is_empty(), "the webhook stands still");
    assert!(app.github.oauth_tokens(AUTHOR, &app.oauth.client_id).is_empty(), "the grant stands still");
    assert_eq!((&receipt["login"], &receipt["stopped"]), (&json!(AUTHOR), &json!(["hello"])));
    assert_eq!(receipt["left"], json!([]), "{receipt}");
    let done: Vec<&str> = receipt["done"].as_array().unwrap().iter().filter_map(|item| item["what"].as_str()).collect();
    assert_eq!(done.len(), 3, "{done:?}");
    assert!(done[0].contains(&hook.to_string()) && done[0].contains("octo/hello"), "{done:?}");
    assert!(done[1].contains("grant") && done[2].contains("tokens"), "{done:?}");
    assert_eq!(link_of(&app.api, PERSON, "github").await?["state"], "not_linked");
    let again = app.api.try_api(Method::DELETE, &format!("/namespaces/{PERSON}/links/github"), None).await?;
    again.problem(404)?;

    // Linked again, the repository has its webhook back and builds.
    app.link().await?;
    app.wait_for("the webhook to stand again", || async { Ok(app.github.hooks("octo/hello").pop()) }).await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    assert_eq!(hello.build_of(&commit).await?["state"], "queued");
    app.finish().await
}

#[tokio::test]
async fn what_an_unlink_could_not_remove_is_in_the_receipt_with_its_address() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    app.github.set_outage(Some(503));
    let receipt = app.api.delete(&format!("/namespaces/{PERSON}/links/github")).await?;
    app.github.set_outage(None);
    let left = receipt["left"].as_array().unwrap();
    assert_eq!(left.len(), 2, "{receipt}");
    assert_eq!(left[0]["url"], format!("{}/octo/hello/settings/hooks", app.github.web_url()));
    assert!(left[1]["url"].as_str().unwrap().contains(&app.oauth.client_id), "{receipt}");
    assert_eq!(link_of(&app.api, PERSON, "github").await?["state"], "not_linked");
    // The hook that stayed keeps its address, so that a later link can adopt it: what it tells is kept and builds nothing.
    assert_eq!(app.github.hooks("octo/hello").len(), 1);
    let commit = hello.push("main", &[("a", "b")]).await?;
    assert_eq!(app.github.deliveries("octo/hello").pop().unwrap().status_code, 202);
    let delivery = hello.delivery_of("refs/heads/main").await?;
    assert_eq!(delivery["verdicts"][0]["outcome"], "disabled", "{delivery}");
    assert!(delivery["verdicts"][0]["text"].as_str().unwrap().contains("not linked any more"), "{delivery}");
    assert!(hello.builds().await?.iter().all(|build| build["commit"] != commit.as_str()));
    app.finish().await
}

#[tokio::test]
async fn a_grant_that_was_withdrawn_is_seen() -> Result<()> {
    let app = TestApp::start().await?;
    app.link().await?;
    let check = format!("/namespaces/{PERSON}/links/github/check");
    assert_eq!(app.api.post(&check, &json!({})).await?["state"], "ok");
    app.github.revoke_grant(AUTHOR, &app.oauth.client_id);
    let link = app.api.post(&check, &json!({})).await?;
    assert_eq!(link["state"], "revoked", "{link}");
    assert!(link["evidence"].as_str().is_some_and(|text| !text.is_empty()), "{link}");
    app.link().await?;
    assert_eq!(app.api.post(&check, &json!({})).await?["state"], "ok");
    app.finish().await
}
