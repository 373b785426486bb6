//! Unlinking while the provider fails in the middle: whatever it does, the receipt is complete, stays readable and says no more and no less
//! than what is so at the provider.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{Fault, Times};
use slipway_testkit::{gitea, wait};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Forge, Others, PASSWORD, PERSON, Setup, TestApp};

const DOCKERFILE: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];

/// A process that died holds a receipt for a minute or two, and a provider that wants quiet is waited for.
const FINISHED_WITHIN: Duration = Duration::from_secs(200);

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
            Forge::Bitbucket => others(app).bitbucket.deploy_keys(source).into_iter().map(|key| key.id.to_string()).collect(),
            Forge::Gitea => others(app).gitea.deploy_keys(source).await?.into_iter().map(|key| key["id"].to_string()).collect(),
        };
        Ok(Self { hooks, keys, grant: forge.has_grant(app, AUTHOR).await? })
    }
}

fn others(app: &TestApp) -> &Others {
    app.others.as_ref().unwrap()
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
        Ok((standing.hooks.len() == 1 && standing.keys.len() == 1).then_some(standing))
    })
    .await
}

/// Begins to unlink; what the answer says may not be the end yet.
async fn begin(app: &TestApp, forge: Forge) -> Result<Value> {
    app.api.delete(&format!("/namespaces/{PERSON}/links/{}", forge.id())).await
}

/// The receipt when nothing more is done.
async fn finished(app: &TestApp, receipt: &Value) -> Result<Value> {
    wait::until("the receipt to be complete", FINISHED_WITHIN, || async {
        let receipt = app.api.get(&format!("/namespaces/{PERSON}/receipts/{}", text(receipt, "id"))).await?;
        Ok(receipt["finished_at"].is_string().then_some(receipt))
    })
    .await
}

async fn unlink(app: &TestApp, forge: Forge) -> Result<Value> {
    finished(app, &begin(app, forge).await?).await
}

/// After a receipt: nothing is linked, nothing more is taken from the provider, and the next link takes over what stayed.
async fn is_over(app: &TestApp, forge: Forge, name: &str) -> Result<()> {
    assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "not_linked");
    app.api.try_api(Method::DELETE, &format!("/namespaces/{PERSON}/links/{}", forge.id()), None).await?.problem(404)?;
    let (path, body) = (format!("/repositories/{PERSON}/{name}/builds"), json!({ "ref": "refs/heads/main" }));
    assert_eq!(app.api.try_api(Method::POST, &path, Some(&body)).await?.problem(409)?["code"], "not_linked");
    Ok(())
}

/// What a provider does in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Status(u16),
    Html,
    ErrorBody,
    Truncated,
    EndlessPages,
    Redirect,
    Silence,
    Limited,
    AnswerLost,
}

const FAILURES: [Failure; 11] = [
    Failure::Status(500),
    Failure::Status(403),
    Failure::Status(404),
    Failure::Html,
    Failure::ErrorBody,
    Failure::Truncated,
    Failure::EndlessPages,
    Failure::Redirect,
    Failure::Silence,
    Failure::Limited,
    Failure::AnswerLost,
];

/// Nobody is there.
const ELSEWHERE: &str = "http://127.0.0.1:9";
/// How long a provider that was asked too often wants to be left alone.
const PAUSE: Duration = Duration::from_secs(1);

impl Failure {
    /// At every request whose path begins with `path`; at GitHub, whose other requests have other paths, only at removals.
    fn begin(self, app: &TestApp, forge: Forge, path: &str) {
        if forge == Forge::GitHub {
            let fault = match self {
                Self::Status(status) => Fault::Status(status),
                Self::Html => Fault::Html,
                Self::ErrorBody => Fault::ErrorBody,
                Self::Truncated => Fault::Truncated,
                Self::EndlessPages => Fault::EndlessPages,
                Self::Redirect => Fault::RedirectTo(ELSEWHERE.to_owned()),
                // The client waits ten seconds for an answer.
                Self::Silence => Fault::Silence(Duration::from_secs(30)),
                Self::Limited => Fault::SecondaryLimit(429, Some(PAUSE.as_secs())),
                Self::AnswerLost => Fault::AnswerLost,
            };
            return app.github.trouble(&format!("DELETE {path}"), fault, Times::UntilCleared);
        }
        let fault = match self {
            Self::Status(status) => gitea::Fault::Outage(status),
            Self::Html => gitea::Fault::Html,
            Self::ErrorBody => gitea::Fault::ErrorBody,
            Self::Truncated => gitea::Fault::Truncated,
            Self::EndlessPages => gitea::Fault::EndlessPages,
            Self::Redirect => gitea::Fault::RedirectTo(ELSEWHERE.to_owned()),
            Self::Silence => gitea::Fault::Silence,
            Self::Limited => gitea::Fault::RateLimited(PAUSE),
            Self::AnswerLost => gitea::Fault::AnswerLost,
        };
        match forge {
            Forge::Gitea => others(app).bent.add_fault(path, fault, gitea::Hits::All),
            _ => others(app).bitbucket.add_fault(path, fault, gitea::Hits::All),
        }
    }

    fn end(app: &TestApp, forge: Forge) {
        match forge {
            Forge::GitHub => app.github.clear_troubles(),
            Forge::Bitbucket => others(app).bitbucket.clear_faults(),
            Forge::Gitea => others(app).bent.clear_faults(),
        }
    }
}

/// How many requests there were to a path.
fn asked(app: &TestApp, forge: Forge, path: &str) -> usize {
    match forge {
        Forge::GitHub => app.github.requests().iter().filter(|seen| seen.method == "DELETE" && seen.path.starts_with(path)).count(),
        Forge::Bitbucket => others(app).bitbucket.requests().iter().filter(|seen| seen.path.starts_with(path)).count(),
        Forge::Gitea => others(app).bent.requests().iter().filter(|seen| seen.path.starts_with(path)).count(),
    }
}

/// Unlinks with each failure at an address of the provider; `{source}` and `{client}` stand in it.
async fn each_failure(forge: Forge, at: &str) -> Result<()> {
    let setup = Setup::default().keyed();
    let app = TestApp::with(if forge == Forge::GitHub { setup } else { setup.all_providers() }).await?;
    for (number, failure) in FAILURES.into_iter().enumerate() {
        let (name, source) = (format!("hello-{number}"), format!("{AUTHOR}/hello-{number}"));
        let before = made(&app, forge, &name).await?;
        let path = at.replace("{source}", &source).replace("{client}", &app.oauth.client_id);
        let asked_before = asked(&app, forge, &path);
        failure.begin(&app, forge, &path);
        let begun = begin(&app, forge).await?;
        // A request to GitHub whose caller went away is in no list.
        let met = asked(&app, forge, &path) > asked_before;
        assert!(met || (forge, failure) == (Forge::GitHub, Failure::Silence), "nothing met {failure:?}");
        Failure::end(&app, forge);
        let receipt = finished(&app, &begun).await?;
        let now = Standing::at(&app, forge, &source).await?;
        is_true(&receipt, &before, &now).with_context(|| format!("{failure:?} at {path}: {before:?} became {now:?}"))?;
        assert_eq!(receipt["stopped"], json!([name]), "{receipt}");
        stays_readable(&app, &receipt).await?;
        is_over(&app, forge, &name).await?;
        app.api.delete(&format!("/repositories/{PERSON}/{name}")).await?;
    }
    app.finish().await
}

#[tokio::test]
async fn each_failure_of_github_at_the_webhook_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::GitHub, "/api/v3/repos/{source}/hooks").await
}

#[tokio::test]
async fn each_failure_of_github_at_the_deploy_key_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::GitHub, "/api/v3/repos/{source}/keys").await
}

#[tokio::test]
async fn each_failure_of_github_at_the_grant_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::GitHub, "/api/v3/applications/{client}").await
}

// Neither Bitbucket nor Gitea takes a grant back: that is always left, with the address where the person does it.

#[tokio::test]
async fn each_failure_of_bitbucket_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Bitbucket, "/2.0/repositories").await
}

#[tokio::test]
async fn each_failure_of_bitbucket_at_the_webhook_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Bitbucket, "/2.0/repositories/{source}/hooks").await
}

#[tokio::test]
async fn each_failure_of_bitbucket_at_the_deploy_key_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Bitbucket, "/2.0/repositories/{source}/deploy-keys").await
}

#[tokio::test]
async fn each_failure_of_gitea_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Gitea, "/api/v1/repositories").await
}

#[tokio::test]
async fn each_failure_of_gitea_at_the_webhook_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Gitea, "/api/v1/repos/{source}/hooks").await
}

#[tokio::test]
async fn each_failure_of_gitea_at_the_deploy_key_leaves_a_true_receipt() -> Result<()> {
    each_failure(Forge::Gitea, "/api/v1/repos/{source}/keys").await
}

/// At the real Gitea: what somebody removed before, a right that was lost, and a repository that is gone.
#[tokio::test]
async fn unlinking_gitea_leaves_a_true_receipt() -> Result<()> {
    let app = TestApp::with(Setup::default().keyed().all_providers()).await?;
    let gitea = &others(&app).gitea;
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
    let receipt = finished(&app, &open).await?;
    let now = Standing::at(&app, Forge::GitHub, "octo/hello").await?;
    is_true(&receipt, &before, &now)?;
    assert_eq!(now, Standing { hooks: Vec::new(), keys: Vec::new(), grant: false });
    stays_readable(&app, &receipt).await?;
    Forge::GitHub.link(&app, &app.api, PERSON, AUTHOR).await?;
    app.finish().await
}
