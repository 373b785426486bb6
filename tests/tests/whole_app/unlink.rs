//! Unlinking while the provider fails in the middle: whatever it does, the receipt is complete, stays readable and says no more and no less
//! than what is so at the provider.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::bitbucket;
use slipway_testkit::github::{Fault, Times};
use slipway_testkit::wait;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Forge, PASSWORD, PERSON, Setup, TestApp};

const DOCKERFILE: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];

/// What stands at the provider of ours: webhooks, deploy keys, the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    hooks: Vec<String>,
    keys: Vec<String>,
    grant: bool,
}

impl Standing {
    async fn at(app: &TestApp, forge: Forge, source: &str) -> Result<Self> {
        let hooks = forge.hooks(app, source).await?.into_iter().map(|hook| hook.id).collect();
        let keys = match forge {
            Forge::GitHub => app.github.deploy_keys(source).into_iter().map(|key| key.id.to_string()).collect(),
            Forge::Bitbucket | Forge::Gitea => Vec::new(),
        };
        Ok(Self { hooks, keys, grant: forge.has_grant(app, AUTHOR).await? })
    }
}

fn items<'r>(receipt: &'r Value, list: &str) -> Vec<(&'r str, &'r str)> {
    let all = receipt[list].as_array().into_iter().flatten();
    all.map(|item| (text(item, "what"), item["url"].as_str().unwrap_or_default())).collect()
}

/// Holds a receipt against what stood before and what stands now.
fn is_true(receipt: &Value, before: &Standing, now: &Standing) -> Result<()> {
    ensure!(receipt["finished_at"].is_string(), "it is not complete: {receipt}");
    let (done, left) = (items(receipt, "done"), items(receipt, "left"));
    let says = |list: &[(&str, &str)], what: &str| list.iter().any(|(words, _)| words.starts_with(what));
    let things = before.hooks.iter().map(|id| (format!("webhook {id} of"), now.hooks.contains(id)));
    let things = things.chain(before.keys.iter().map(|id| (format!("deploy key {id} of"), now.keys.contains(id))));
    for (thing, stands) in things.chain([("the grant".to_owned(), now.grant)]) {
        let (is_done, is_left) = (says(&done, &thing), says(&left, &thing));
        ensure!(is_done != is_left, "`{thing}` has no line or two: {receipt}");
        ensure!(!(stands && is_done), "`{thing}` stands, and the receipt says that it is gone: {receipt}");
    }
    for (what, url) in &left {
        ensure!(url.starts_with("http"), "where can a person finish `{what}`: {receipt}");
    }
    ensure!(says(&done, "our copy of the tokens was deleted"), "{receipt}");
    Ok(())
}

/// The receipt is there to be read, and says the same for ever.
async fn stays_readable(app: &TestApp, receipt: &Value) -> Result<()> {
    let id = text(receipt, "id");
    assert_eq!(&app.api.get(&format!("/namespaces/{PERSON}/receipts/{id}")).await?, receipt);
    let all = app.api.items(&format!("/namespaces/{PERSON}/receipts")).await?;
    assert!(all.contains(receipt), "{all:?}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&format!("/settings/source-providers/receipts/{id}")).await?;
    assert_eq!(page.status, 200, "{}", page.text);
    for (what, url) in items(receipt, "left") {
        assert!(page.text.contains(url), "`{url}` of `{what}`: {}", page.text);
    }
    let list = browser.open("/settings/source-providers/receipts").await?;
    assert!(list.text.contains(id), "{}", list.text);
    Ok(())
}

/// Links, builds a source, and waits for what is made of it.
async fn made(app: &TestApp, forge: Forge, name: &str) -> Result<Standing> {
    let source = format!("{AUTHOR}/{name}");
    forge.repository(app, &source).await?;
    forge.link(app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(app, &app.api, PERSON, name, &source).await?;
    app.wait_for("the deploy key to stand", || async {
        let standing = Standing::at(app, forge, &source).await?;
        let complete = standing.hooks.len() == 1 && (forge != Forge::GitHub || standing.keys.len() == 1);
        Ok(complete.then_some(standing))
    })
    .await
}

async fn unlink(app: &TestApp, forge: Forge) -> Result<Value> {
    app.api.delete(&format!("/namespaces/{PERSON}/links/{}", forge.id())).await
}

/// The receipt, once everything is settled.
async fn complete(app: &TestApp, id: &str) -> Result<Option<Value>> {
    let receipt = app.api.get(&format!("/namespaces/{PERSON}/receipts/{id}")).await?;
    Ok(receipt["finished_at"].is_string().then_some(receipt))
}

/// After a receipt: nothing is linked, nothing more is taken from the provider, and the next link takes over what stayed.
async fn is_over(app: &TestApp, forge: Forge, name: &str) -> Result<()> {
    assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "not_linked");
    app.api.try_api(Method::DELETE, &format!("/namespaces/{PERSON}/links/{}", forge.id()), None).await?.problem(404)?;
    let (path, body) = (format!("/repositories/{PERSON}/{name}/builds"), json!({ "ref": "refs/heads/main" }));
    assert_eq!(app.api.try_api(Method::POST, &path, Some(&body)).await?.problem(409)?["code"], "not_linked");
    Ok(())
}

async fn each_failure_at_github(at: &str) -> Result<()> {
    let app = TestApp::with(Setup::default().keyed()).await?;
    // The client waits ten seconds for an answer.
    let silence = Fault::Silence(Duration::from_secs(30));
    let limited = Fault::SecondaryLimit(429, Some(1));
    let faults = [Fault::Status(500), Fault::Status(403), Fault::Status(404), limited.clone(), Fault::Html, silence, Fault::AnswerLost];
    for (number, fault) in faults.into_iter().enumerate() {
        let (name, source) = (format!("hello-{number}"), format!("{AUTHOR}/hello-{number}"));
        let before = made(&app, Forge::GitHub, &name).await?;
        let path = at.replace("{source}", &source).replace("{client}", &app.oauth.client_id);
        app.github.trouble(&format!("DELETE {path}"), fault.clone(), Times::UntilCleared);
        let mut receipt = unlink(&app, Forge::GitHub).await?;
        // A request whose caller went away is in no list.
        let met = app.github.requests().iter().any(|seen| seen.method == "DELETE" && seen.path.starts_with(&path));
        assert!(met || matches!(fault, Fault::Silence(_)), "nothing met the fault");
        app.github.clear_troubles();
        if fault == limited {
            assert!(receipt["finished_at"].is_null(), "it wants us to wait: {receipt}");
            receipt = app.wait_for("the unlink to go on", || complete(&app, text(&receipt, "id"))).await?;
            assert_eq!(receipt["left"], json!([]), "it was waited for: {receipt}");
        }
        let now = Standing::at(&app, Forge::GitHub, &source).await?;
        is_true(&receipt, &before, &now).with_context(|| format!("{fault:?} at {path}: {before:?} became {now:?}"))?;
        assert_eq!(receipt["stopped"], json!([name]), "{receipt}");
        stays_readable(&app, &receipt).await?;
        is_over(&app, Forge::GitHub, &name).await?;
        app.api.delete(&format!("/repositories/{PERSON}/{name}")).await?;
    }
    app.finish().await
}

#[tokio::test]
async fn each_failure_of_github_at_the_webhook_leaves_a_true_receipt() -> Result<()> {
    each_failure_at_github("/api/v3/repos/{source}/hooks").await
}

#[tokio::test]
async fn each_failure_of_github_at_the_deploy_key_leaves_a_true_receipt() -> Result<()> {
    each_failure_at_github("/api/v3/repos/{source}/keys").await
}

#[tokio::test]
async fn each_failure_of_github_at_the_grant_leaves_a_true_receipt() -> Result<()> {
    each_failure_at_github("/api/v3/applications/{client}").await
}

/// Bitbucket takes no grant back: that is always left, with the address where the person does it.
#[tokio::test]
async fn each_failure_of_bitbucket_leaves_a_true_receipt() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    let bitbucket = &app.others.as_ref().unwrap().bitbucket;
    let faults = [
        bitbucket::Fault::Outage(500),
        bitbucket::Fault::Outage(403),
        bitbucket::Fault::Outage(404),
        bitbucket::Fault::Html,
        bitbucket::Fault::ErrorBody,
        bitbucket::Fault::Truncated,
        bitbucket::Fault::Silence,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let (name, source) = (format!("hello-{number}"), format!("{AUTHOR}/hello-{number}"));
        let before = made(&app, Forge::Bitbucket, &name).await?;
        bitbucket.add_fault("/2.0/repositories", fault.clone(), bitbucket::Hits::All);
        let receipt = unlink(&app, Forge::Bitbucket).await?;
        bitbucket.clear_faults();
        let now = Standing::at(&app, Forge::Bitbucket, &source).await?;
        is_true(&receipt, &before, &now).with_context(|| format!("{fault:?}: {before:?} became {now:?}"))?;
        assert!(items(&receipt, "left").iter().any(|(what, _)| what.starts_with("the grant")), "{receipt}");
        stays_readable(&app, &receipt).await?;
        is_over(&app, Forge::Bitbucket, &name).await?;
        app.api.delete(&format!("/repositories/{PERSON}/{name}")).await?;
    }
    app.finish().await
}

/// At the real Gitea: what somebody removed before, a right that was lost, and a repository that is gone.
#[tokio::test]
async fn unlinking_gitea_leaves_a_true_receipt() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    let gitea = &app.others.as_ref().unwrap().gitea;
    for what in ["nothing", "the webhook is gone", "the repository is gone", "the grant is gone"] {
        let name = what.replace(' ', "-");
        let source = format!("{AUTHOR}/{name}");
        let before = made(&app, Forge::Gitea, &name).await?;
        match what {
            "the webhook is gone" => gitea.delete_hook(&source, before.hooks[0].parse()?).await?,
            "the repository is gone" => gitea.delete_repository(&source).await?,
            "the grant is gone" => Forge::Gitea.revoke(&app, AUTHOR).await?,
            _ => {}
        }
        let receipt = unlink(&app, Forge::Gitea).await?;
        let now = match what {
            "the repository is gone" => {
                Standing { hooks: Vec::new(), keys: Vec::new(), grant: Forge::Gitea.has_grant(&app, AUTHOR).await? }
            }
            _ => Standing::at(&app, Forge::Gitea, &source).await?,
        };
        is_true(&receipt, &before, &now).with_context(|| format!("{what}: {before:?} became {now:?}"))?;
        assert_eq!(now.hooks.is_empty(), what != "the grant is gone", "{what}: {receipt}");
        stays_readable(&app, &receipt).await?;
        is_over(&app, Forge::Gitea, &name).await?;
    }
    app.finish().await
}

/// What a failure left is adopted by the next link, and removed by its end.
#[tokio::test]
async fn what_stayed_is_adopted_by_the_next_link_and_goes_with_it() -> Result<()> {
    let app = TestApp::with(Setup::default().keyed()).await?;
    let before = made(&app, Forge::GitHub, "hello").await?;
    app.github.set_outage(Some(503));
    let receipt = unlink(&app, Forge::GitHub).await?;
    app.github.set_outage(None);
    let now = Standing::at(&app, Forge::GitHub, "octo/hello").await?;
    is_true(&receipt, &before, &now)?;
    assert_eq!(now, before, "nothing could be removed");
    Forge::GitHub.link(&app, &app.api, PERSON, AUTHOR).await?;
    app.wait_for("the webhook to be ours again", || async {
        let autobuild = app.api.get(&format!("/repositories/{PERSON}/hello/autobuild")).await?;
        Ok((autobuild["hook"]["standing"] == true).then_some(()))
    })
    .await?;
    assert_eq!(Standing::at(&app, Forge::GitHub, "octo/hello").await?.hooks, before.hooks, "the same one, and only one");
    let commit = Forge::GitHub.push(&app, "octo/hello", "main", DOCKERFILE).await?;
    app.wait_for("the push to be built", || async {
        let builds = app.api.items(&format!("/repositories/{PERSON}/hello/builds")).await?;
        Ok(builds.into_iter().find(|build| build["commit"] == commit.as_str()))
    })
    .await?;
    let left = now.keys;
    let mut before = Standing::at(&app, Forge::GitHub, "octo/hello").await?;
    // The first receipt has told of that one, and that it opens nothing any more.
    before.keys.retain(|key| !left.contains(key));
    let receipt = unlink(&app, Forge::GitHub).await?;
    let now = Standing::at(&app, Forge::GitHub, "octo/hello").await?;
    is_true(&receipt, &before, &now)?;
    assert!(now.hooks.is_empty() && !now.grant, "{now:?}");
    assert_eq!(app.api.items(&format!("/namespaces/{PERSON}/receipts")).await?.len(), 2);
    app.finish().await
}

/// A process that dies in the middle holds the receipt for two minutes; then the next one goes on with it.
#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_completes_the_receipt_after_its_restart() -> Result<()> {
    let mut app = TestApp::with(Setup::default().keyed()).await?;
    let before = made(&app, Forge::GitHub, "hello").await?;
    let at = "DELETE /api/v3/repos/octo/hello/keys";
    app.github.trouble(at, Fault::Slow(Duration::from_secs(8)), Times::Next(1));
    let cut = {
        let api = app.api.clone();
        tokio::spawn(async move { api.delete(&format!("/namespaces/{PERSON}/links/github")).await })
    };
    // The webhook is gone, and the provider thinks about the key.
    app.wait_for("the unlink to be in its middle", || async { Ok(app.github.hooks("octo/hello").is_empty().then_some(())) }).await?;
    app.wait_for("the key to be asked for", || async { Ok((app.github.troubles_left() == Some(0)).then_some(())) }).await?;
    app.kill9()?;
    assert!(cut.await?.is_err(), "the answer came before the server was killed");
    app.restart().await?;
    let open = app.api.items(&format!("/namespaces/{PERSON}/receipts")).await?.remove(0);
    assert!(open["finished_at"].is_null() && items(&open, "done").iter().any(|(what, _)| what.starts_with("webhook")), "{open}");
    assert_eq!(Forge::GitHub.seen(&app.api, PERSON).await?["state"], "not_linked", "it serves nothing from the first moment on");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&format!("/settings/source-providers/receipts/{}", text(&open, "id"))).await?;
    assert_eq!(page.status, 200, "{}", page.text);
    let receipt = wait::until("the receipt to be complete", Duration::from_secs(200), || complete(&app, text(&open, "id"))).await?;
    let now = Standing::at(&app, Forge::GitHub, "octo/hello").await?;
    is_true(&receipt, &before, &now)?;
    assert_eq!(now, Standing { hooks: Vec::new(), keys: Vec::new(), grant: false });
    stays_readable(&app, &receipt).await?;
    Forge::GitHub.link(&app, &app.api, PERSON, AUTHOR).await?;
    app.finish().await
}
