//! Builds that a person starts: of a branch's commits and of nobody else's, without cache, once more; and what the pages say of them. The
//! builder is scripted and shows what it was given.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_model::{FailureCode, FailureReason, Lane};
use slipway_testkit::github::Visibility;
use slipway_tests::builder::ScriptedBuilder;
use slipway_tests::repository::text;
use slipway_tests::{Answer, Database, Forge, PASSWORD, PERSON, Repository, Setup, TestApp};
use slipway_wire::{Assignment, Outcome};

use super::pull_requests::{SOURCE, STRANGER, from_outside, opened, start_at};

const MAIN: &str = "refs/heads/main";

async fn start(app: &TestApp, hello: &Repository<'_>, commit: &str) -> Result<Answer> {
    let wish = json!({ "ref": MAIN, "commit": commit });
    app.api.send(Method::POST, &format!("/api/v1{}", hello.at("/builds")), Some(&wish)).await
}

/// How many builds people have started; deliveries make others meanwhile.
async fn started(hello: &Repository<'_>) -> Result<usize> {
    Ok(hello.builds().await?.iter().filter(|build| build["cause"] == "manual").count())
}

/// It is refused with this field and word for programs, and nothing was started.
async fn refused(app: &TestApp, hello: &Repository<'_>, commit: &str, code: &str) -> Result<Value> {
    let before = started(hello).await?;
    let problem = start(app, hello, commit).await?.problem(422)?;
    assert_eq!((&problem["field"], &problem["code"]), (&json!("commit"), &json!(code)), "{commit}: {problem}");
    assert_eq!(started(hello).await?, before, "{commit}");
    Ok(problem)
}

/// The older commit of two is built, trusted and pushed.
async fn older_is_built(app: &TestApp, hello: &Repository<'_>, older: &str) -> Result<Value> {
    let made = start(app, hello, older).await?.json()?["items"][0].clone();
    assert_eq!((&made["commit"], &made["lane"], &made["publish"]), (&json!(older), &json!("trusted"), &json!(true)), "{made}");
    Ok(made)
}

async fn end_all(app: &TestApp, hello: &Repository<'_>) -> Result<()> {
    // A push that is still to be decided would cancel the builds of older ones meanwhile.
    hello.decided().await?;
    for build in hello.builds().await? {
        if build["state"] == "queued" {
            app.api.post(&hello.at(&format!("/builds/{}/cancel", text(&build, "id"))), &Value::Null).await?;
        }
    }
    Ok(())
}

async fn claim(builder: &ScriptedBuilder, build: &Value) -> Result<Assignment> {
    let work = builder.claim().await?;
    assert_eq!(work.build.to_string(), text(build, "id"));
    Ok(work)
}

/// A source serves by its id what strangers wrote, too: none of that is built as if it had been pushed.
async fn a_commit_that_is_not_in_the_branch_is_not_built(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::default().on(database)).await?;
    let hello = app.linked_repository("hello").await?;
    app.github.set_visibility(SOURCE, Visibility::Public);
    app.github.user(STRANGER);
    let older = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let head = hello.push("main", &[("text", "2")]).await?;
    let feature = hello.push("feature", &[("text", "3")]).await?;
    let (_, _, evil) = from_outside(&app, "patch").await?;
    end_all(&app, &hello).await?;

    // Not in the branch, which is more than that the source does not have it.
    let problem = refused(&app, &hello, &evil, "commit_not_in_ref").await?;
    let words = format!("`{evil}` is not in the history of `{MAIN}` at `{SOURCE}`");
    assert_eq!(problem["detail"], json!(words));
    assert!(text(&problem, "hint").starts_with("name a commit of this branch or tag"), "{problem}");
    refused(&app, &hello, &feature, "commit_not_in_ref").await?;
    let problem = refused(&app, &hello, &"1".repeat(40), "commit_not_in_ref").await?;
    assert!(text(&problem, "detail").contains("may not have it"), "{problem}");
    for odd in ["", "HEAD", &older[..7], &older.to_uppercase(), &"0".repeat(40), "--upload-pack=x"] {
        refused(&app, &hello, odd, "invalid").await?;
    }
    // Who cannot be asked says no yes.
    app.github.set_outage(Some(502));
    for commit in [&older, &evil] {
        let answer = start(&app, &hello, commit).await?;
        assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text);
    }
    app.github.set_outage(None);
    assert!(hello.builds().await?.iter().all(|build| build["state"] == "cancelled"));

    let builder = app.builder("one").await?;
    let made = older_is_built(&app, &hello, &older).await?;
    let work = claim(&builder, &made).await?;
    assert_eq!((work.source.commit.as_str(), work.scope.lane), (older.as_str(), Lane::Trusted));
    builder.succeed(&app, &work, "older").await?;
    assert_eq!(start(&app, &hello, &head).await?.json()?["items"][0]["commit"], json!(head));
    // What was merged is the branch's own.
    app.github.update_ref(SOURCE, MAIN, &evil).await?;
    app.github.settle().await;
    app.github.commit(SOURCE, "main", &[("text", "4")], "On top of it").await?;
    assert_eq!(start(&app, &hello, &evil).await?.status, 201);
    app.finish().await
}

#[tokio::test]
async fn a_commit_that_is_not_in_the_branch_is_not_built_on_sqlite() -> Result<()> {
    a_commit_that_is_not_in_the_branch_is_not_built(Database::Sqlite).await
}

#[tokio::test]
async fn a_commit_that_is_not_in_the_branch_is_not_built_on_postgresql() -> Result<()> {
    a_commit_that_is_not_in_the_branch_is_not_built(Database::Postgres).await
}

#[tokio::test]
async fn nor_at_bitbucket() -> Result<()> {
    let app = start_at(Forge::Bitbucket).await?;
    let hello = Repository::new(&app, "hello");
    let bitbucket = &app.others.as_ref().context("all")?.bitbucket;
    let older = bitbucket.push(SOURCE, "main", &[("text", "1")], "1").await?;
    bitbucket.push(SOURCE, "main", &[("text", "2")], "2").await?;
    let feature = bitbucket.push(SOURCE, "feature", &[("text", "3")], "3").await?;
    let root = bitbucket.force_push(SOURCE, "root", None, &[("text", "4")], "4").await?;
    bitbucket.add_user(STRANGER);
    let fork = format!("{STRANGER}/hello");
    bitbucket.add_repository(&fork, slipway_testkit::bitbucket::Visibility::Public);
    let evil = bitbucket.push(&fork, "patch", &[("evil", "1")], "Let me help").await?;
    bitbucket.open_pull_request_from(SOURCE, (&fork, "patch"), "main", "Let me help").await?;
    bitbucket.settle().await;
    hello.decided().await?;
    end_all(&app, &hello).await?;
    for commit in [&evil, &feature, &root] {
        refused(&app, &hello, commit, "commit_not_in_ref").await?;
    }
    older_is_built(&app, &hello, &older).await?;
    app.finish().await
}

#[tokio::test]
async fn nor_at_the_real_gitea() -> Result<()> {
    let app = start_at(Forge::Gitea).await?;
    let hello = Repository::new(&app, "hello");
    let gitea = &app.others.as_ref().context("all")?.gitea;
    gitea.set_visibility(SOURCE, Visibility::Public).await?;
    gitea.user(STRANGER).await?;
    let older = gitea.commit(SOURCE, "main", &[("text", "1")], "1").await?;
    gitea.commit(SOURCE, "main", &[("text", "2")], "2").await?;
    gitea.api(Method::POST, "/repos/octo/hello/forks?sudo=mallory", Some(json!({}))).await?;
    let evil = gitea.commit("mallory/hello", "patch", &[("evil", "1")], "Let me help").await?;
    let wish = json!({ "title": "Let me help", "head": "mallory:patch", "base": "main" });
    let number = opened(&app, "/repos/octo/hello/pulls?sudo=mallory", &wish).await?;
    let kept = format!("refs/pull/{number}/head");
    let served = |commit: String| {
        let kept = &kept;
        app.wait_for("the source to serve the stranger's commit", move || {
            let commit = commit.clone();
            async move { Ok((gitea.ref_head(SOURCE, kept).await?.as_deref() == Some(commit.as_str())).then_some(())) }
        })
    };
    served(evil.clone()).await?;
    refused(&app, &hello, &evil, "commit_not_in_ref").await?;
    // One without a common ancestor.
    let root = gitea.force_commit("mallory/hello", "patch", None, &[("evil", "2")], "Let me help again").await?;
    served(root.clone()).await?;
    refused(&app, &hello, &root, "commit_not_in_ref").await?;
    older_is_built(&app, &hello, &older).await?;
    app.finish().await
}

#[tokio::test]
async fn a_build_is_made_once_more_without_cache() -> Result<()> {
    let app = TestApp::with(Setup::default()).await?;
    let hello = app.linked_repository("hello").await?;
    let first = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let builder = app.builder("one").await?;
    let build = hello.build_of(&first).await?;
    builder.succeed(&app, &claim(&builder, &build).await?, "one").await?;
    // The branch has gone on.
    let second = hello.push("main", &[("text", "2")]).await?;
    builder.succeed(&app, &claim(&builder, &hello.build_of(&second).await?).await?, "two").await?;

    let at = |id: &str| hello.at(&format!("/builds/{id}/retry"));
    let retry = at(text(&build, "id"));
    for (wish, no_cache) in [(json!({}), false), (Value::Null, false), (json!({ "no_cache": true }), true)] {
        let again = app.api.post(&retry, &wish).await?;
        assert_eq!((&again["commit"], &again["rule_id"], &again["cause"]), (&json!(first), &build["rule_id"], &json!("retry")));
        assert_eq!((&again["no_cache"], &again["retry_of"]), (&json!(no_cache), &build["id"]), "{wish}");
        let work = claim(&builder, &again).await?;
        assert_eq!(work.no_cache, no_cache, "{wish}");
        builder.succeed(&app, &work, "again").await?;
    }
    for wish in [json!({ "no_cache": 1 }), json!({ "cache": false }), json!("no_cache")] {
        assert_eq!(app.api.try_api(Method::POST, &retry, Some(&wish)).await?.status, 422, "{wish}");
    }

    // The button of the page.
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = format!("/{}/builds/{}", hello.path(), build["number"]);
    assert!(browser.open(&page).await?.text.contains("<button>Retry without cache</button>"));
    let answer = browser.form(&format!("{page}/retry"), &[("no_cache", "true")]).await?;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let newest = hello.builds().await?.remove(0);
    assert_eq!((&newest["commit"], &newest["no_cache"]), (&json!(first), &json!(true)));
    app.finish().await
}

#[tokio::test]
async fn what_cannot_be_started_comes_back_in_the_form() -> Result<()> {
    let app = TestApp::with(Setup::default()).await?;
    let hello = app.linked_repository("hello").await?;
    let older = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.push("main", &[("text", "2")]).await?;
    end_all(&app, &hello).await?;
    let before = started(&hello).await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = format!("/{}/builds", hello.path());
    let unknown = "1".repeat(40);
    for (kind, name, commit, field, words) in [
        ("heads", "main", "abc1234", "commit", "<code dir=\"ltr\">abc1234</code> is not a commit id"),
        ("heads", "main", unknown.as_str(), "commit", "does not say that"),
        ("tags", "main", "", "ref", "No build rule matches <code dir=\"ltr\">refs/tags/main</code>"),
        ("heads", "a b", "", "ref", "it has a blank"),
    ] {
        let answer = browser.form(&page, &[("kind", kind), ("name", name), ("commit", commit), ("no_cache", "true")]).await?;
        assert_eq!(answer.status, 422, "{name} {commit}");
        let html = answer.text;
        assert!(html.contains(&format!("id=\"build-{field}-error\"")) && html.contains(words), "{name} {commit}: {html}");
        assert!(html.contains("Nothing was started.") && html.contains(&format!("value=\"{name}\"")), "{name} {commit}: {html}");
        assert!(html.contains(&format!("value=\"{commit}\"")) && html.contains("value=\"true\" checked"), "{name} {commit}: {html}");
        assert_eq!(html.contains("<option value=\"tags\" selected>"), kind == "tags");
    }
    assert_eq!(started(&hello).await?, before);
    let answer = browser.form(&page, &[("kind", "heads"), ("name", "main"), ("commit", &format!(" {older} "))]).await?;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let made = hello.builds().await?.remove(0);
    assert_eq!((&made["commit"], answer.location()), (&json!(older), format!("{page}/{}", made["number"]).as_str()));
    app.finish().await
}

#[tokio::test]
async fn a_build_says_how_its_earlier_attempts_ended_however_it_ends() -> Result<()> {
    let app = TestApp::with(Setup::default()).await?;
    let hello = app.linked_repository("hello").await?;
    let builder = app.builder("one").await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    for failing in [true, false] {
        let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("text", &failing.to_string())]).await?;
        let build = hello.build_of(&commit).await?;
        for _ in 0..2 {
            let work = claim(&builder, &build).await?;
            builder.release(&work).await?.map_err(anyhow::Error::msg)?;
        }
        let work = claim(&builder, &build).await?;
        if failing {
            let reason = FailureReason::new(FailureCode::StepFailed, "exit code 1");
            builder.finish(&work, Outcome::Failed { reason, retry: false }).await?.map_err(anyhow::Error::msg)?;
        } else {
            builder.succeed(&app, &work, "image").await?;
        }
        let html = browser.open(&format!("/{}/builds/{}", hello.path(), build["number"])).await?.text;
        for attempt in 1..=2 {
            assert!(html.contains(&format!("<li>Attempt {attempt} was given back: the builder shuts down.</li>")), "{html}");
        }
        assert!(!html.contains("notice-attention"), "that is nobody's trouble: {html}");
    }
    app.finish().await
}

#[tokio::test]
async fn the_queue_says_how_many_wait() -> Result<()> {
    let app = TestApp::with(Setup::default()).await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.build_of(&commit).await?;
    let rules: Vec<Value> = (0..40).map(|n| json!({ "source_type": "branch", "source": "main", "tags": format!("t{n}") })).collect();
    hello.put_autobuild(json!(rules)).await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let shown = async || browser.open("/builds").await.map(|page| page.text);
    assert!(shown().await?.contains("Waiting <span class=\"muted\">1</span>"));
    for _ in 0..3 {
        app.api.post(&hello.at("/builds"), &json!({ "ref": MAIN })).await?;
    }
    assert!(shown().await?.contains("Waiting <span class=\"muted\">100 of 121</span>"), "{}", shown().await?);
    app.finish().await
}
