//! How a link does: organizations that let us in or not, a grant that is taken back, a second link that takes over, and one that is
//! disabled for a time. The intervals are those of `Pace::Quick`, so what is waited for comes by the server's own timers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_model::{Clock, Timestamp};
use slipway_testkit::github::{OrgRole, Permission, Visibility, Webhooks};
use slipway_tests::repository::text;
use slipway_tests::setup::QUICK;
use slipway_tests::{AUTHOR, Client, Forge, PASSWORD, PERSON, Repository, Setup, TestApp};

pub(super) const MAIL: &str = "demo@users.example";

/// For a machine that does much else at the same time.
const SLACK: Duration = Duration::from_secs(10);

/// What happened at the provider at that time was found by one of the next two checks, by what the link itself says of it.
fn found_in_time(link: &Value, happened: Timestamp) -> Result<()> {
    let since: Timestamp = serde_json::from_value(link["since"].clone())?;
    anyhow::ensure!(since >= happened, "it was found before it happened: {link}");
    let took = since.since(happened);
    anyhow::ensure!(took <= 2 * QUICK + SLACK, "it was found after {took:?}, and a check is due every {QUICK:?}: {link}");
    Ok(())
}

async fn until_state(app: &TestApp, forge: Forge, state: &str) -> Result<Value> {
    app.wait_for(&format!("the link to be `{state}`"), || async {
        Ok(Some(forge.seen(&app.api, PERSON).await?).filter(|link| link["state"] == state))
    })
    .await
}

fn organization(link: &Value, name: &str) -> Option<Value> {
    link["organizations"].as_array()?.iter().find(|one| one["name"] == name).cloned()
}

async fn until_access(app: &TestApp, name: &str, access: &str) -> Result<Value> {
    app.wait_for(&format!("`{name}` to be `{access}`"), || async {
        let found = organization(&Forge::GitHub.seen(&app.api, PERSON).await?, name);
        Ok(found.filter(|one| one["access"] == access))
    })
    .await
}

async fn providers_page(browser: &Client) -> Result<String> {
    let page = browser.open("/settings/source-providers").await?;
    anyhow::ensure!(page.status == 200, "answered {}: {}", page.status, page.text);
    Ok(page.text)
}

/// `acme` with a repository and a rule that keeps apps out.
async fn restricted(app: &TestApp) -> Result<()> {
    app.github.organization("acme", &[(AUTHOR, OrgRole::Admin)]);
    app.github.repository("acme/api", Visibility::Private).await?;
    app.github.commit("acme/api", "main", &[("Dockerfile", "FROM scratch\n")], "A change").await?;
    app.github.restrict_organization("acme");
    Ok(())
}

#[tokio::test]
async fn a_restricted_organization_is_shown_with_its_address_and_appears_when_it_is_refreshed() -> Result<()> {
    let app = TestApp::start().await?;
    restricted(&app).await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let link = app.link().await?;
    assert_eq!(link["state"], "ok", "nothing is built from it: {link}");
    let acme = organization(&link, "acme").context("restricted ones are never hidden")?;
    let address = text(&acme, "grant_url").to_owned();
    assert_eq!(acme["access"], "restricted", "{acme}");
    assert!(address.starts_with(app.github.web_url()) && (address.contains("acme") || address.contains(&app.oauth.client_id)), "{address}");
    assert!(!text(&acme, "note").is_empty(), "{acme}");
    let page = providers_page(&browser).await?;
    assert!(page.contains("organization-shut") && page.contains(&address) && page.contains("Request access"), "{page}");
    let at = format!("/namespaces/{PERSON}/links/github");
    let owners = app.api.items(&format!("{at}/source-namespaces")).await?;
    let shut = owners.iter().find(|one| one["name"] == "acme").context("the picker shows it too")?;
    assert_eq!((&shut["access"], &shut["grant_url"]), (&json!("restricted"), &acme["grant_url"]), "{shut}");

    // What is in it cannot be chosen, and why is said.
    app.create_repository("api").await?;
    let body = json!({ "provider": "github", "source": "acme/api", "autotest": "off", "rules": [] });
    let refused = app.api.try_api(Method::PUT, &format!("/repositories/{PERSON}/api/autobuild"), Some(&body)).await?.json_of_refusal()?;
    assert!(text(&refused, "detail").contains("acme"), "{refused}");

    // Granted at the provider, it is there after the refresh, long before the next check.
    app.github.approve_app("acme", &app.oauth.client_id);
    assert_eq!(app.api.try_api(Method::POST, &format!("{at}/refresh"), Some(&json!({}))).await?.status, 204);
    until_access(&app, "acme", "granted").await?;
    app.wait_for("its repositories to be offered", || async {
        let page = app.api.get(&format!("{at}/source-repositories?namespace=acme")).await?;
        Ok((page["items"][0]["full_name"] == "acme/api").then_some(()))
    })
    .await?;
    Forge::GitHub.build_from(&app, &app.api, PERSON, "granted", "acme/api").await?;
    assert!(!providers_page(&browser).await?.contains("organization-shut"));
    app.finish().await
}

#[tokio::test]
async fn an_approval_shows_within_a_check_interval_and_so_does_its_end() -> Result<()> {
    let app = TestApp::with(Setup::default().quick()).await?;
    restricted(&app).await?;
    app.link().await?;
    until_access(&app, "acme", "restricted").await?;
    app.github.approve_app("acme", &app.oauth.client_id);
    until_access(&app, "acme", "granted").await?;
    Forge::GitHub.build_from(&app, &app.api, PERSON, "api", "acme/api").await?;
    let started = app.api.post(&format!("/repositories/{PERSON}/api/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    let waiting = text(&started["items"][0], "id").to_owned();

    let happened = Clock::System.now();
    app.github.revoke_app_approval("acme", &app.oauth.client_id);
    until_access(&app, "acme", "restricted").await?;
    let link = until_state(&app, Forge::GitHub, "restricted").await?;
    found_in_time(&link, happened)?;
    assert!(text(&link, "evidence").contains("acme") && link["evidence_at"].is_string(), "{link}");
    assert_eq!(link["affects"], json!(["api"]), "{link}");
    let api = Repository::new(&app, "api");
    let page = app.sign_in(PERSON, PASSWORD).await?.open(&format!("/{}", api.path())).await?.text;
    assert!(page.contains("acme") && page.contains("/settings/source-providers"), "{page}");
    assert!(app.builder("remote").await?.try_claim().await?.is_none(), "a source that is shut cannot be built");
    let ended = api.build(&waiting).await?;
    assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("failed"), &json!("link_unavailable")), "{ended}");
    assert!(text(&ended["reason"], "text").contains("acme"), "{ended}");
    let refused = app.api.try_api(Method::POST, &api.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?;
    let refused = refused.json_of_refusal()?;
    assert!(text(&refused, "detail").contains("acme"), "{refused}");

    // And back.
    app.github.approve_app("acme", &app.oauth.client_id);
    until_access(&app, "acme", "granted").await?;
    until_state(&app, Forge::GitHub, "ok").await?;
    app.api.post(&api.at("/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    app.finish().await
}

/// The administrator gets an address, which is confirmed by the mail to it; gives how many mails there are then.
pub(super) async fn with_address(app: &TestApp) -> Result<usize> {
    let mail = app.mail.as_ref().context("the test wished for mail")?;
    app.api.put("/me/email", &json!({ "email": MAIL, "password": PASSWORD })).await?;
    let body = mail.message(1).await?.body();
    let token = body.split("confirm?token=").nth(1).context("the mail has an address")?.split_whitespace().next().unwrap_or_default();
    app.stranger().post("/email-confirmations", &json!({ "token": token })).await?;
    Ok(mail.received().len())
}

async fn a_grant_that_is_taken_back(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick().mailing()).await?;
    let before = with_address(&app).await?;
    let mail = app.mail.as_ref().unwrap();
    forge.repository(&app, "octo/hello").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let commit = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let waiting = app.wait_for("the push to be queued", || async {
        Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str()))
    });
    let waiting = text(&waiting.await?, "id").to_owned();
    let hooks = forge.hooks(&app, "octo/hello").await?;

    let happened = Clock::System.now();
    forge.revoke(&app, AUTHOR).await?;
    let link = until_state(&app, forge, "revoked").await?;
    found_in_time(&link, happened)?;
    assert!(text(&link, "next_step").contains("link it again") && link["evidence"].is_string(), "{link}");
    assert_eq!(link["affects"], json!(["hello"]), "{link}");
    assert!(app.builder("remote").await?.try_claim().await?.is_none(), "no build begins");
    let ended = hello.build(&waiting).await?;
    assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("failed"), &json!("link_unavailable")), "{ended}");
    let why = text(&ended["reason"], "text");
    assert!(why.contains(AUTHOR) && why.contains("revoked since") && why.contains("link it again under Source providers"), "{why}");
    let refused = app.api.try_api(Method::POST, &hello.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?.problem(409)?;
    assert_eq!(refused["code"], "link_unavailable", "{refused}");
    assert!(text(&refused, "detail").contains("revoked since"), "{refused}");

    let told = mail.message(before + 1).await?;
    assert!(told.to.iter().any(|to| to.contains(MAIL)), "{told:?}");
    let words = told.body();
    assert!(told.header("Subject").contains("revoked") && words.contains("demo/hello (from octo/hello)"), "{words}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = providers_page(&browser).await?;
    assert!(page.contains("card-attention") && page.contains("Link again"), "{page}");
    for page in [format!("/{}", hello.path()), format!("/{}/autobuild", hello.path()), format!("/{}/builds", hello.path())] {
        let text = browser.open(&page).await?.text;
        assert!(text.contains("revoked since") && text.contains("link it again"), "{page}: {text}");
    }
    // However often it is looked at, it is told once.
    for _ in 0..3 {
        let link = app.api.post(&format!("/namespaces/{PERSON}/links/{}/check", forge.id()), &json!({})).await?;
        assert_eq!(link["state"], "revoked", "{link}");
    }
    assert_eq!(mail.received().len(), before + 1, "{:?}", mail.received());

    // Linked again, what stands is taken over, what ended for want of it is built, and builds go on.
    let link = forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    assert_eq!(link["state"], "ok", "{link}");
    let (missed, all) = (commit, hello.builds().await?);
    let again: Vec<&Value> = all.iter().filter(|build| build["retry_of"] == waiting.as_str()).collect();
    assert!(again.len() == 1 && again[0]["commit"] == missed.as_str() && again[0]["state"] == "queued", "{all:?}");
    let commit = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]).await?;
    app.wait_for("the next push to be built", || async {
        Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str()))
    })
    .await?;
    app.wait_for("the webhook to be right", || async { Ok((app.api.get(&hello.at("/hook")).await?["right"] == true).then_some(())) })
        .await?;
    assert_eq!(forge.hooks(&app, "octo/hello").await?, hooks, "the webhook is the same, and there is one");
    let builder = app.builder("remote").await?;
    for expected in [missed, commit] {
        assert_eq!(builder.claim().await?.source.commit.to_string(), expected);
    }
    assert_eq!(mail.received().len(), before + 1, "who linked it again knows that it works");
    app.finish().await
}

#[tokio::test]
async fn a_grant_that_is_taken_back_at_github_stops_builds_and_is_mailed_once() -> Result<()> {
    a_grant_that_is_taken_back(Forge::GitHub).await
}

#[tokio::test]
async fn a_grant_that_is_taken_back_at_bitbucket_stops_builds_and_is_mailed_once() -> Result<()> {
    a_grant_that_is_taken_back(Forge::Bitbucket).await
}

#[tokio::test]
async fn a_grant_that_is_taken_back_at_gitea_stops_builds_and_is_mailed_once() -> Result<()> {
    a_grant_that_is_taken_back(Forge::Gitea).await
}

#[tokio::test]
async fn a_second_link_with_access_takes_over_and_says_so() -> Result<()> {
    let app = TestApp::with(Setup::default().quick()).await?;
    let hello = app.linked_repository("hello").await?;
    app.github.user("ci-bot");
    app.github.collaborator("octo/hello", "ci-bot", Permission::Admin);
    app.link_as(&app.api, PERSON, "ci-bot").await?;
    let links = app.api.items(&format!("/namespaces/{PERSON}/links")).await?;
    let of = |links: &[Value], login: &str| links.iter().find(|link| link["login"] == login).cloned();
    assert_eq!(of(&links, AUTHOR).unwrap()["affects"], json!(["hello"]), "{links:?}");
    assert_eq!(of(&links, "ci-bot").unwrap()["affects"], json!([]), "{links:?}");

    app.github.revoke_grant(AUTHOR, &app.oauth.client_id);
    let taken = app.wait_for("the second link to serve", || async {
        let links = app.api.items(&format!("/namespaces/{PERSON}/links")).await?;
        Ok(of(&links, "ci-bot").filter(|link| link["affects"] == json!(["hello"])))
    });
    let taken = taken.await?;
    let note = text(&taken["used_by"][0], "note");
    assert!(note.contains("`ci-bot` took over from `octo`"), "{note}");
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.build_of(&commit).await?;
    let work = app.builder("remote").await?.claim().await?;
    assert_eq!(work.source.commit.to_string(), commit);
    assert_eq!(app.github.hooks("octo/hello").len(), 1);
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    assert!(providers_page(&browser).await?.contains("took over from"));
    let page = browser.open(&format!("/{}/autobuild", hello.path())).await?.text;
    assert!(page.contains("took over from"), "the repository's page says it: {page}");
    assert!(!page.contains("link it again"), "nothing is wrong with the repository: {page}");
    app.finish().await
}

#[tokio::test]
async fn a_disabled_link_sends_nothing_and_enabling_finds_what_was_missed() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(json!([{ "source_type": "branch", "source": "/.*/", "tags": "{sourceref}" }])).await?;
    let before = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.build_of(&before).await?;
    app.wait_for("the source to be looked at", || async { Ok(looked_at(&app, &hello).await?.then_some(())) }).await?;

    let at = format!("/namespaces/{PERSON}/links/github");
    assert_eq!(app.api.patch(&at, &json!({ "enabled": false })).await?["state"], "disabled");
    Forge::Bitbucket.link(&app, &app.api, PERSON, AUTHOR).await?;
    // What had left already comes to its end.
    checks(&app, 1).await?;
    let sent = app.github.requests().len();
    let told = hello.push("main", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]).await?;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    assert_eq!(delivery["verdicts"][0]["outcome"], "disabled", "{delivery}");
    assert!(text(&delivery["verdicts"][0], "text").starts_with("link disabled"), "{delivery}");
    app.github.set_webhooks(Webhooks::Drop);
    let untold = hello.push("other", &[("Dockerfile", "FROM scratch\nLABEL a=c\n")]).await?;
    app.github.set_webhooks(Webhooks::Deliver);
    for commit in [&told, &untold] {
        assert!(hello.builds().await?.iter().all(|build| build["commit"] != commit.as_str()));
    }
    let refused = app.api.try_api(Method::POST, &hello.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?;
    assert_eq!(refused.problem(409)?["code"], "link_disabled");
    for path in ["check", "refresh"] {
        app.api.try_api(Method::POST, &format!("{at}/{path}"), Some(&json!({}))).await?;
    }
    let page = providers_page(&app.sign_in(PERSON, PASSWORD).await?).await?;
    assert!(page.contains("The grant at") && page.contains("Enable"), "{page}");
    // Several intervals go by, as another link shows.
    checks(&app, 3).await?;
    let since = app.github.requests().split_off(sent);
    assert!(since.is_empty(), "something was sent over a disabled link: {since:?}");

    assert_eq!(app.api.patch(&at, &json!({ "enabled": true })).await?["state"], "ok");
    for commit in [&told, &untold] {
        app.wait_for("what was missed to be built", || async {
            Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str()))
        })
        .await?;
    }
    let builds = hello.builds().await?;
    assert_eq!(builds.len(), 3, "each once: {builds:?}");
    app.finish().await
}

pub(super) async fn looked_at(app: &TestApp, hello: &Repository<'_>) -> Result<bool> {
    Ok(app.api.get(&hello.at("/autobuild")).await?["source_state"]["looked_at"].is_string())
}

/// Waits until the link to Bitbucket was looked at so many times by the timer.
async fn checks(app: &TestApp, count: usize) -> Result<()> {
    let seen = &std::cell::RefCell::new(std::collections::BTreeSet::new());
    app.wait_for("the timer to look at a link", || async move {
        let link = Forge::Bitbucket.seen(&app.api, PERSON).await?;
        seen.borrow_mut().insert(text(&link, "checked_at").to_owned());
        Ok((seen.borrow().len() > count).then_some(()))
    })
    .await
}
