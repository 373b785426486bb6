//! Statuses of commits at each of the three providers: from a push to its end, over a provider that is away and a server that dies.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_model::{FailureCode, FailureReason};
use slipway_testkit::github::{Fault, Times, Visibility};
use slipway_tests::{AUTHOR, Forge, PERSON, Setup, TestApp};
use slipway_wire::Outcome;

/// A status as a provider shows it: state in the provider's word, description, address, name of the check.
type Shown = (String, String, String, String);

/// The newest status of a commit.
async fn shown(app: &TestApp, forge: Forge, source: &str, commit: &str) -> Result<Option<Shown>> {
    let others = || app.others.as_ref().context("the test wished for all");
    let text = |text: Option<String>| text.unwrap_or_default();
    Ok(match forge {
        Forge::GitHub => {
            let newest = app.github.statuses(source, commit).pop();
            newest.map(|one| (one.state, text(one.description), text(one.target_url), one.context))
        }
        Forge::Bitbucket => {
            let newest = others()?.bitbucket.statuses(source, commit).pop();
            newest.map(|one| (one.state, text(one.description), text(one.url), text(one.name)))
        }
        Forge::Gitea => {
            let all = others()?.gitea.api(reqwest::Method::GET, &format!("/repos/{source}/commits/{commit}/status"), None).await?;
            let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
            let newest = all["statuses"].as_array().and_then(|all| all.first()).cloned();
            newest.map(|one| (word(&one, "status"), word(&one, "description"), word(&one, "target_url"), word(&one, "context")))
        }
    })
}

async fn becomes(app: &TestApp, forge: Forge, source: &str, commit: &str, expected: &Shown) -> Result<()> {
    let last = std::cell::RefCell::new(None);
    let told = app.wait_for("the provider to be told", || async {
        let shown = shown(app, forge, source, commit).await?;
        last.replace(shown.clone());
        Ok((shown.as_ref() == Some(expected)).then_some(()))
    });
    told.await.with_context(|| format!("{forge:?} at last: {:?}, expected {expected:?}", last.borrow()))
}

#[tokio::test]
async fn each_provider_is_told_from_the_push_to_the_end() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    for forge in Forge::ALL {
        let (name, words) = (format!("told-{}", forge.id()), if forge == Forge::Bitbucket { BITBUCKET } else { GITHUB });
        let source = format!("{AUTHOR}/{name}");
        forge.repository(&app, &source).await?;
        forge.link(&app, &app.api, PERSON, AUTHOR).await?;
        forge.build_from(&app, &app.api, PERSON, &name, &source).await?;
        let said = |word: &str, number: u64, how: &str| -> Shown {
            let address = format!("{}/{PERSON}/{name}/builds/{number}", app.site());
            (word.to_owned(), format!("build #{number} {how} (branch main)"), address, format!("slipway/{PERSON}/{name}"))
        };
        let builder = app.builder("remote").await?;

        let good = forge.push(&app, &source, "main", &[("Dockerfile", "FROM scratch\n")]).await?;
        becomes(&app, forge, &source, &good, &said(words[0], 1, "is under way")).await?;
        builder.succeed(&app, &builder.claim().await?, "an image").await?;
        becomes(&app, forge, &source, &good, &said(words[1], 1, "succeeded")).await?;

        let bad = forge.push(&app, &source, "main", &[("Dockerfile", "FROM nothing\n")]).await?;
        let work = builder.claim().await?;
        let reason = FailureReason::new(FailureCode::TestFailed, "exited with 3");
        builder.finish(&work, Outcome::Failed { reason, retry: false }).await?.map_err(anyhow::Error::msg)?;
        becomes(&app, forge, &source, &bad, &said(words[2], 2, "failed: test failed")).await?;
        let at = format!("/repositories/{PERSON}/{name}/builds/{}", work.build);
        let told = async || {
            let status = app.api.get(&at).await?["commit_status"].clone();
            Ok((status["state"] == "told").then_some(status))
        };
        let status = app.wait_for("the build to say so", told).await?;
        assert_eq!((&status["context"], &status["error"]), (&json!(format!("slipway/{PERSON}/{name}")), &Value::Null), "{status}");

        let stopped = forge.push(&app, &source, "main", &[("Dockerfile", "FROM scratch AS x\n")]).await?;
        becomes(&app, forge, &source, &stopped, &said(words[0], 3, "is under way")).await?;
        let builds = app.api.items(&format!("/repositories/{PERSON}/{name}/builds")).await?;
        let id = builds[0]["id"].as_str().context("the newest build")?;
        app.api.post(&format!("/repositories/{PERSON}/{name}/builds/{id}/cancel"), &Value::Null).await?;
        becomes(&app, forge, &source, &stopped, &said(words[3], 3, "was cancelled")).await?;

        let older = forge.push(&app, &source, "main", &[("Dockerfile", "FROM scratch AS y\n")]).await?;
        becomes(&app, forge, &source, &older, &said(words[0], 4, "is under way")).await?;
        let newer = forge.push(&app, &source, "main", &[("Dockerfile", "FROM scratch AS z\n")]).await?;
        becomes(&app, forge, &source, &older, &said(words[3], 4, "was superseded by a newer push")).await?;
        let reason = FailureReason::new(FailureCode::Unchanged, "nothing changed");
        builder.finish(&builder.claim().await?, Outcome::Unneeded { reason }).await?.map_err(anyhow::Error::msg)?;
        becomes(&app, forge, &source, &newer, &said(words[1], 5, "was not needed: none of its paths changed")).await?;
    }
    app.finish().await
}

/// Pending, success, failure, error.
const GITHUB: [&str; 4] = ["pending", "success", "failure", "error"];
const BITBUCKET: [&str; 4] = ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"];

/// The end of a build is committed, the provider is away, the server dies: the status comes all the same, and nothing after it.
#[tokio::test]
async fn an_end_is_told_after_an_outage_and_a_crash() -> Result<()> {
    let mut app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let id = hello.build_of(&commit).await?["id"].as_str().context("an id")?.to_owned();
    app.github.trouble("POST /api/v3/repos/octo/hello/statuses", Fault::Status(500), Times::UntilCleared);
    let builder = app.builder("remote").await?;
    builder.succeed(&app, &builder.claim().await?, "an image").await?;
    let refused = app.wait_for("a try in vain", || async {
        let status = app.api.get(&format!("/repositories/{PERSON}/hello/builds/{id}")).await?["commit_status"].clone();
        Ok(status["error"].is_string().then_some(status))
    });
    assert_eq!(refused.await?["state"], "waiting");
    app.kill9()?;
    app.github.clear_troubles();
    app.restart().await?;
    let ended = ("success", "build #1 succeeded (branch main)".to_owned());
    app.wait_for("the end to be told", || async {
        let newest = app.github.statuses("octo/hello", &commit).pop();
        Ok(newest.filter(|one| (one.state.as_str(), one.description.clone().unwrap_or_default()) == ended))
    })
    .await?;
    app.finish().await
}

/// The person takes back the right to set statuses: they are refused, with the reason at the build, and come once the link is renewed.
#[tokio::test]
async fn what_a_link_may_not_tell_is_told_once_it_is_renewed() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    app.github.set_visibility("octo/hello", Visibility::Public);
    app.github.narrow_scopes(AUTHOR, &app.oauth.client_id, &["read:org", "admin:repo_hook"]);
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let id = hello.build_of(&commit).await?["id"].as_str().context("an id")?.to_owned();
    let builder = app.builder("remote").await?;
    builder.succeed(&app, &builder.claim().await?, "an image").await?;
    let at = format!("/repositories/{PERSON}/hello/builds/{id}");
    let is = async |state: &str| {
        let look = || async {
            let status = app.api.get(&at).await?["commit_status"].clone();
            Ok((status["state"] == state).then_some(status))
        };
        app.wait_for(&format!("the status to be `{state}`"), look).await
    };
    let refused = is("not_told").await?;
    assert!(refused["error"].is_string() && app.github.statuses("octo/hello", &commit).is_empty(), "{refused}");

    app.link().await?;
    assert_eq!(is("told").await?["error"], Value::Null);
    let newest = app.github.statuses("octo/hello", &commit).pop().context("it was told")?;
    assert_eq!((newest.state.as_str(), newest.description.as_deref()), ("success", Some("build #1 succeeded (branch main)")));
    app.finish().await
}
