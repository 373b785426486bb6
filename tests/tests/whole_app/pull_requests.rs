//! Pull requests from the provider's event to the verdict and the lane: whose are tested, with what, and what a new commit, a closing, another
//! base and an approval do. The provider is the fake, which knows nothing of the product; the builder is scripted and shows what it was given.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_model::{FailureCode, FailureReason, Lane};
use slipway_testkit::bitbucket::PullRequestEnd;
use slipway_testkit::gitea::{Gitea, user_password};
use slipway_testkit::github::{ReleaseOrder, Visibility, Webhooks};
use slipway_testkit::registry::{FakeRegistry, May, SignIn};
use slipway_tests::builder::ScriptedBuilder;
use slipway_tests::provider::Request;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Database, Forge, PERSON, Reach, Repository, Setup, TestApp};
use slipway_wire::{Assignment, Base, Outcome};

use super::deliveries::{commit, outcome};

const SOURCE: &str = "octo/hello";
const STRANGER: &str = "mallory";
const FILES: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];
/// What nothing that a stranger wrote may ever see.
const CANARY: &str = "canary-of-a-variable";
const REGISTRY_CANARY: &str = "canary-of-a-registry";

/// Settings with autotest and whatever else; rules, variables.
async fn settle(hello: &Repository<'_>, app: &TestApp, settings: Value) -> Result<()> {
    let mut body = json!({
        "provider": "github", "source": hello.source(), "rules": [{ "source_type": "branch", "source": "main", "tags": "latest" }],
        "env": [{ "name": "PLAIN", "value": CANARY }, { "name": "TOKEN", "value": CANARY, "secret": true }],
    });
    for (name, value) in settings.as_object().context("an object")? {
        body[name] = value.clone();
    }
    app.api.put(&hello.at("/autobuild"), &body).await?;
    Ok(())
}

/// `demo/hello`, built from a public source with a branch `main`, which a stranger has forked.
async fn start(setup: Setup, settings: Value) -> Result<TestApp> {
    let app = TestApp::with(setup).await?;
    {
        let hello = app.linked_repository("hello").await?;
        app.github.set_visibility(SOURCE, Visibility::Public);
        app.github.user(STRANGER);
        let commit = hello.push("main", FILES).await?;
        let pushed = hello.build_of(&commit).await?;
        settle(&hello, &app, settings).await?;
        app.api.post(&hello.at(&format!("/builds/{}/cancel", text(&pushed, "id"))), &Value::Null).await?;
        hello.decided().await?;
    }
    Ok(app)
}

fn hello(app: &TestApp) -> Repository<'_> {
    Repository::new(app, "hello")
}

/// A stranger's fork with one commit on a branch, and the pull request of it.
async fn from_outside(app: &TestApp, branch: &str) -> Result<(String, u64, String)> {
    let fork = app.github.fork(SOURCE, STRANGER).await?;
    let head = app.github.commit(&fork, branch, &[("evil", branch)], "Let me help").await?;
    let number = app.github.open_pull_request(SOURCE, STRANGER, (&fork, branch), "main", "Let me help").await?;
    told(app).await?;
    Ok((fork, number, head))
}

/// A pull request of a branch of the source itself.
async fn from_inside(app: &TestApp, branch: &str) -> Result<(u64, String)> {
    let head = app.github.commit(SOURCE, branch, &[("feature", branch)], "A feature").await?;
    let number = app.github.open_pull_request(SOURCE, AUTHOR, (SOURCE, branch), "main", "A feature").await?;
    told(app).await?;
    Ok((number, head))
}

async fn told(app: &TestApp) -> Result<()> {
    app.github.settle().await;
    hello(app).decided().await.map(|_| ())
}

/// Closed and opened again. The provider's clock has seconds: twice in one of them would be two bodies that are alike.
async fn again(app: &TestApp, number: u64) -> Result<()> {
    app.github.advance_clock(std::time::Duration::from_secs(5));
    app.github.close_pull_request(SOURCE, number);
    told(app).await?;
    app.github.reopen_pull_request(SOURCE, number);
    told(app).await
}

fn name(number: u64) -> String {
    format!("refs/pull/{number}/head")
}

/// The builds of a pull request, newest first.
async fn builds_of(app: &TestApp, number: u64) -> Result<Vec<Value>> {
    let all = hello(app).builds().await?;
    Ok(all.into_iter().filter(|build| build["source_ref"] == name(number).as_str()).collect())
}

/// What the newest delivery of a pull request came to.
async fn verdict(app: &TestApp, number: u64) -> Result<(String, String)> {
    let delivery = hello(app).delivery_of(&name(number)).await?;
    let verdicts = delivery["verdicts"].as_array().context("verdicts")?;
    let last = verdicts.last().context("at least one")?;
    Ok((text(last, "outcome").to_owned(), text(last, "text").to_owned()))
}

async fn approve(app: &TestApp, build: &Value, commit: &str) -> Result<slipway_tests::Answer> {
    let at = format!("/api/v1{}", hello(app).at(&format!("/builds/{}/approve", text(build, "id"))));
    app.api.send(reqwest::Method::POST, &at, Some(&json!({ "commit": commit }))).await
}

async fn claim(builder: &ScriptedBuilder, build: &Value) -> Result<Assignment> {
    let work = builder.claim().await?;
    assert_eq!(work.build.to_string(), text(build, "id"));
    Ok(work)
}

async fn internal_pull_requests_are_tested_and_never_pushed(database: Database) -> Result<()> {
    let app = start(Setup::default().on(database), json!({ "autotest": "internal" })).await?;
    let hello = hello(&app);
    let (number, head) = from_inside(&app, "feature").await?;
    let builds = builds_of(&app, number).await?;
    assert_eq!(builds.len(), 1, "{builds:?}");
    let build = &builds[0];
    assert_eq!((&build["commit"], &build["lane"], &build["publish"]), (&json!(head), &json!("trusted"), &json!(false)));
    assert_eq!((&build["approval"], &build["tags"], &build["cause"]), (&Value::Null, &json!([]), &json!("pull_request")));
    assert_eq!(build["pull_request"], json!({ "number": number, "base": "refs/heads/main", "title": "A feature" }));
    let (said, words) = verdict(&app, number).await?;
    assert_eq!((said.as_str(), words.contains("is tested as #2 for branch `main`")), ("built", true), "{words}");
    assert!(hello.builds().await?.iter().all(|build| build["source_ref"] != "refs/heads/feature"), "no rule builds the branch itself");

    let builder = app.builder("one").await?;
    let work = claim(&builder, build).await?;
    assert_eq!((work.scope.lane, work.publish, work.hooks), (Lane::Trusted, false, true));
    assert_eq!((work.source.source_ref.as_str(), work.source.commit.as_str()), (name(number).as_str(), head.as_str()));
    assert_eq!(work.environment.len(), 2, "whoever may write to the source may use its variables");
    assert!(builder.push(&app, &work, "image").await.is_err(), "the registry takes nothing of it");
    assert_eq!(builder.finish(&work, Outcome::Passed).await?.unwrap().state.as_str(), "success");
    let ended = hello.build(text(build, "id")).await?;
    assert_eq!((&ended["state"], &ended["digest"]), (&json!("success"), &Value::Null));
    assert!(hello.tags().await?.is_empty());
    let check = app.wait_for("the provider to be told", || async {
        let newest = app.github.statuses(SOURCE, &head).pop();
        Ok(newest.filter(|status| status.state == "success").map(|status| (status.context, status.description)))
    });
    let (context, description) = check.await?;
    assert_eq!(context, format!("slipway/{PERSON}/hello/pull-request"));
    assert_eq!(description.as_deref(), Some("build #2 passed its tests (branch main)"));
    assert_eq!(app.github.violations(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn internal_pull_requests_are_tested_and_never_pushed_on_sqlite() -> Result<()> {
    internal_pull_requests_are_tested_and_never_pushed(Database::Sqlite).await
}

#[tokio::test]
async fn internal_pull_requests_are_tested_and_never_pushed_on_postgresql() -> Result<()> {
    internal_pull_requests_are_tested_and_never_pushed(Database::Postgres).await
}

#[tokio::test]
async fn a_rule_of_some_paths_is_compared_with_the_branch_that_a_pull_request_goes_into() -> Result<()> {
    let rules = json!([{ "source_type": "pull_request", "source": "main", "tags": "test", "paths": { "include": ["api"] } }]);
    let app = start(Setup::default(), json!({ "autotest": "internal", "rules": rules })).await?;
    let hello = hello(&app);
    let (number, head) = from_inside(&app, "feature").await?;
    let build = builds_of(&app, number).await?.remove(0);
    let builder = app.builder("one").await?;
    let work = claim(&builder, &build).await?;
    assert_eq!(work.source.base, Some(Base::Branch("refs/heads/main".parse()?)));
    let reason = FailureReason::new(FailureCode::Unchanged, "not tested: the pull request changes nothing under the rule's paths");
    builder.finish(&work, Outcome::Unneeded { reason }).await?.unwrap();
    let ended = hello.build(text(&build, "id")).await?;
    assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("cancelled"), &json!("unchanged")), "{ended}");
    // Whoever requires the check of a pull request can merge it.
    let check = app.wait_for("the provider to be told", || async {
        Ok(app.github.statuses(SOURCE, &head).pop().filter(|status| status.state == "success"))
    });
    let words = check.await?.description;
    assert_eq!(words.as_deref(), Some("build #2 was not needed: none of its paths changed (pull request main)"));
    // Whoever asks by hand has it tested.
    let again = app.api.post(&hello.at(&format!("/builds/{}/retry", text(&build, "id"))), &Value::Null).await?;
    assert_eq!(claim(&builder, &again).await?.source.base, None);
    app.finish().await
}

#[tokio::test]
async fn a_pull_request_that_no_delivery_told_of_is_found_and_its_end_too() -> Result<()> {
    let app = start(Setup::default().quick(), json!({ "autotest": "internal" })).await?;
    let count = async |wanted: usize| {
        let look = || async { Ok(Some(builds_of(&app, 1).await?).filter(|builds| builds.len() == wanted)) };
        app.wait_for(&format!("{wanted} builds of the pull request"), look).await
    };
    // What the first look shows is only learned.
    let looked = || async {
        let looked = app.api.get(&hello(&app).at("/autobuild")).await?["source_state"]["looked_at"].clone();
        Ok((!looked.is_null()).then_some(()))
    };
    app.wait_for("the first look", looked).await?;
    app.github.set_webhooks(Webhooks::Hold);
    let head = app.github.commit(SOURCE, "feature", &[("feature", "1")], "A feature").await?;
    let number = app.github.open_pull_request(SOURCE, AUTHOR, (SOURCE, "feature"), "main", "A feature").await?;
    let builds = count(1).await?;
    assert_eq!((number, &builds[0]["commit"], &builds[0]["lane"]), (1, &json!(head), &json!("trusted")));
    let found = hello(&app).delivery_of(&name(number)).await?;
    assert!(found.to_string().contains("of which no delivery told"), "{found}");

    // Its delivery comes after all.
    app.github.set_webhooks(Webhooks::Drop);
    app.github.release_held_webhooks(ReleaseOrder::OldestFirst).await;
    told(&app).await?;
    let (said, words) = verdict(&app, number).await?;
    assert_eq!((said.as_str(), words.contains("as it was told before")), ("skipped", true), "{words}");
    count(1).await?;

    let newer = app.github.commit(SOURCE, "feature", &[("feature", "2")], "More").await?;
    let builds = count(2).await?;
    assert_eq!((&builds[0]["commit"], &builds[1]["reason"]["code"]), (&json!(newer), &json!("superseded")));
    app.github.close_pull_request(SOURCE, number);
    let code = || async { Ok(Some(builds_of(&app, number).await?[0]["reason"]["code"].clone()).filter(|code| !code.is_null())) };
    assert_eq!(app.wait_for("its end to be found", code).await?, json!("pull_request_closed"));
    count(2).await?;
    assert_eq!(app.github.violations(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn a_pull_request_is_tested_at_its_newest_commit_while_it_is_open_and_where_it_goes() -> Result<()> {
    let app = start(Setup::default(), json!({ "autotest": "internal" })).await?;
    let hello = hello(&app);
    hello.push("dev", FILES).await?;
    let (number, _) = from_inside(&app, "feature").await?;
    let state = async |nth: usize| -> Result<(String, Value)> {
        let build = builds_of(&app, number).await?.into_iter().nth(nth).context("a build")?;
        Ok((text(&build, "state").to_owned(), build["reason"]["code"].clone()))
    };

    // New commits: what waits for the older one goes.
    let newer = app.github.commit(SOURCE, "feature", &[("more", "1")], "More").await?;
    told(&app).await?;
    assert_eq!(state(0).await?, ("queued".to_owned(), Value::Null));
    assert_eq!(state(1).await?, ("cancelled".to_owned(), json!("superseded")));
    assert_eq!(builds_of(&app, number).await?[0]["commit"], newer.as_str());

    // What makes no difference builds nothing.
    for (change, count) in [("retitle", 2), ("label", 2), ("draft", 2), ("ready", 2)] {
        match change {
            "retitle" => app.github.retitle_pull_request(SOURCE, number, "Another title"),
            "label" => app.github.label_pull_request(SOURCE, number),
            "draft" => app.github.draft_pull_request(SOURCE, number),
            _ => app.github.ready_pull_request(SOURCE, number),
        }
        told(&app).await?;
        assert_eq!(builds_of(&app, number).await?.len(), count, "{change}");
    }

    // Into a branch that no rule is for, and back: each time it is decided anew.
    app.github.retarget_pull_request(SOURCE, number, "dev");
    told(&app).await?;
    assert_eq!(state(0).await?, ("cancelled".to_owned(), json!("superseded")));
    let (said, words) = verdict(&app, number).await?;
    assert_eq!((said.as_str(), words.contains("into branch `dev`")), ("no_match", true), "{words}");
    app.github.retarget_pull_request(SOURCE, number, "main");
    told(&app).await?;
    assert_eq!((builds_of(&app, number).await?.len(), state(0).await?.0), (3, "queued".to_owned()));

    // Closed while it waits, and opened again.
    app.github.close_pull_request(SOURCE, number);
    told(&app).await?;
    assert_eq!(state(0).await?, ("cancelled".to_owned(), json!("pull_request_closed")));
    let (said, words) = verdict(&app, number).await?;
    assert_eq!(
        (said.as_str(), words.as_str()),
        ("skipped", "pull request #1 was closed; there is nothing to build; #4 waited still and is cancelled")
    );
    app.github.reopen_pull_request(SOURCE, number);
    told(&app).await?;
    assert_eq!((builds_of(&app, number).await?.len(), state(0).await?.0), (4, "queued".to_owned()));
    app.github.merge_pull_request(SOURCE, number);
    told(&app).await?;
    assert_eq!(state(0).await?, ("cancelled".to_owned(), json!("pull_request_closed")));
    assert!(verdict(&app, number).await?.1.contains("was merged"));

    // A repetition starts nothing; a person's replay of what has ended neither.
    let deliveries = app.github.deliveries(SOURCE);
    let opened = deliveries.iter().find(|one| one.action.as_deref() == Some("opened")).context("it was told")?;
    app.github.redeliver(SOURCE, opened.id).await?;
    let kept = app.api.items(&hello.at("/deliveries")).await?;
    let kept = kept.iter().find(|one| one["delivery_id"] == opened.guid.as_str() && one["status"] == "accepted").context("kept")?;
    app.api.post(&hello.at(&format!("/deliveries/{}/replay", text(kept, "id"))), &Value::Null).await?;
    told(&app).await?;
    assert_eq!(builds_of(&app, number).await?.len(), 4);
    assert_eq!(app.github.violations(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn a_late_delivery_changes_nothing() -> Result<()> {
    let app = start(Setup::default(), json!({ "autotest": "internal" })).await?;
    app.github.commit(SOURCE, "feature", FILES, "A feature").await?;
    told(&app).await?;
    app.github.set_webhooks(Webhooks::Hold);
    let number = app.github.open_pull_request(SOURCE, AUTHOR, (SOURCE, "feature"), "main", "A feature").await?;
    // The provider's clock has seconds.
    app.github.advance_clock(std::time::Duration::from_secs(5));
    let newest = app.github.commit(SOURCE, "feature", &[("more", "1")], "More").await?;
    app.github.release_held_webhooks(ReleaseOrder::NewestFirst).await;
    app.github.set_webhooks(Webhooks::Deliver);
    told(&app).await?;
    let builds = builds_of(&app, number).await?;
    assert_eq!(builds.len(), 1, "{builds:?}");
    assert_eq!((&builds[0]["commit"], &builds[0]["state"]), (&json!(newest), &json!("queued")));
    app.finish().await
}

#[tokio::test]
async fn whose_pull_requests_are_tested_is_a_setting() -> Result<()> {
    let app = start(Setup::default(), json!({ "autotest": "off" })).await?;
    let hello = hello(&app);
    let mut counted = 0;
    for (autotest, inside, outside) in [("off", false, false), ("internal", true, false), ("all", true, true)] {
        settle(&hello, &app, json!({ "autotest": autotest })).await?;
        let (one, _) = from_inside(&app, &format!("in-{autotest}")).await?;
        let (_, two, _) = from_outside(&app, &format!("out-{autotest}")).await?;
        for (number, tested) in [(one, inside), (two, outside)] {
            assert_eq!(builds_of(&app, number).await?.len(), usize::from(tested), "{autotest} {number}");
            let (said, words) = verdict(&app, number).await?;
            assert_eq!(said, if tested { "built" } else { "disabled" }, "{autotest}: {words}");
            counted += usize::from(tested);
        }
    }
    assert_eq!(counted, 3);
    app.finish().await
}

async fn what_a_stranger_wrote_runs_apart_and_only_approved(database: Database) -> Result<()> {
    let app = start(Setup::default().on(database).reaching(Reach::Loopback), json!({ "autotest": "all" })).await?;
    let hello = hello(&app);
    let outside = FakeRegistry::start(SignIn::Basic).await?;
    outside.user("robot", REGISTRY_CANARY, May::Push);
    let wish = json!({ "address": format!("http://{}/team/app", outside.host()), "username": "robot", "password": REGISTRY_CANARY });
    app.api.put(&hello.at("/external"), &wish).await?;
    let builder = app.builder("one").await?;
    let (fork, number, first) = from_outside(&app, "patch").await?;
    let waits = builds_of(&app, number).await?.remove(0);
    assert_eq!((&waits["lane"], &waits["approval"], &waits["publish"]), (&json!("untrusted"), &json!("awaited"), &json!(false)));
    let shown = hello.build(text(&waits, "id")).await?;
    assert_eq!((&shown["position"], text(&shown, "waits_for").contains("approval")), (&Value::Null, true), "{shown}");
    assert!(builder.try_claim().await?.is_none(), "nobody gets what nobody approved of");

    // It is in nobody's way.
    let pushed = hello.push("main", &[("content", "2")]).await?;
    let pushed = hello.build_of(&pushed).await?;
    let work = claim(&builder, &pushed).await?;
    assert!(work.base_registry.is_some(), "the rest would tell nothing");
    builder.succeed(&app, &work, "image").await?;

    // Approved is exactly one commit: not another one, and not one that the pull request has left.
    let other = approve(&app, &waits, &commit(1)).await?;
    assert_eq!((other.status, other.text.contains("other_commit")), (409, true), "{}", other.text);
    let second = app.github.commit(&fork, "patch", &[("evil", "2")], "Even better").await?;
    told(&app).await?;
    let late = approve(&app, &waits, &first).await?;
    assert_eq!((late.status, late.text.contains("not_awaiting_approval")), (409, true), "{}", late.text);
    assert_eq!(hello.build(text(&waits, "id")).await?["reason"]["code"], "superseded");
    assert!(builder.try_claim().await?.is_none());
    // A retry of it would wait for ever.
    let retry = format!("/api/v1{}", hello.at(&format!("/builds/{}/retry", text(&waits, "id"))));
    assert_eq!(app.api.send(reqwest::Method::POST, &retry, None).await?.status, 409);

    let waits = builds_of(&app, number).await?.remove(0);
    assert_eq!((&waits["commit"], &waits["approval"]), (&json!(second), &json!("awaited")), "the push made the approval void");
    let approved = approve(&app, &waits, &second).await?.json()?;
    assert_eq!(approved["approval"], "given");
    let shown = hello.build(text(&waits, "id")).await?;
    assert_eq!(shown["approved_by"], PERSON);
    let entries = app.api.items(&format!("/namespaces/{PERSON}/audit")).await?;
    let entry = entries.iter().find(|entry| entry["action"] == "build.approve").context("it is in the audit log")?;
    assert!(entry.to_string().contains(&second), "{entry}");

    let work = claim(&builder, &waits).await?;
    assert_eq!((work.scope.lane, work.publish, work.hooks), (Lane::Untrusted, false, false));
    assert_eq!((work.source.source_ref.as_str(), work.source.commit.as_str()), (name(number).as_str(), second.as_str()));
    assert!(work.environment.is_empty(), "{:?}", work.environment);
    assert!(work.source.credential.is_none() && work.source.ssh.is_none(), "a public source is read with nothing");
    let given = serde_json::to_string(&work)?;
    let tokens = app.github.oauth_tokens(AUTHOR, &app.oauth.client_id);
    for secret in tokens.iter().map(String::as_str).chain([CANARY, REGISTRY_CANARY, app.token.as_str()]) {
        assert!(!given.contains(secret), "the builder was given {secret}");
    }
    // Its registry credential reads what strangers read: not even the repository that it is made for.
    assert!(builder.push(&app, &work, "image").await.is_err());
    let registry = slipway_tests::registry::Registry::new(&app, &work.registry.credential.username, &work.registry.credential.password);
    assert!(registry.pull("demo/hello", "latest").await.is_err());
    assert!(app.registry().pull("demo/hello", "latest").await.is_ok());
    assert_eq!(builder.finish(&work, Outcome::Passed).await?.unwrap().state.as_str(), "success");
    assert!(app.github.statuses(SOURCE, &second).iter().all(|status| status.context.ends_with("/pull-request")));
    // What was approved of stays approved of.
    let again = app.api.post(&hello.at(&format!("/builds/{}/retry", text(&waits, "id"))), &Value::Null).await?;
    assert_eq!((&again["approval"], &again["lane"]), (&json!("given"), &json!("untrusted")));
    let work = claim(&builder, &again).await?;
    assert!(work.environment.is_empty() && work.scope.lane == Lane::Untrusted);
    let lied = builder.finish(&work, Outcome::Pushed { digest: format!("sha256:{}", "a".repeat(64)) }).await?.unwrap();
    assert_eq!(lied.state.as_str(), "failed", "no tag moves by what was not to be pushed");
    assert_eq!(app.github.violations(), Vec::<String>::new());
    app.finish().await
}

#[tokio::test]
async fn what_a_stranger_wrote_runs_apart_and_only_approved_on_sqlite() -> Result<()> {
    what_a_stranger_wrote_runs_apart_and_only_approved(Database::Sqlite).await
}

#[tokio::test]
async fn what_a_stranger_wrote_runs_apart_and_only_approved_on_postgresql() -> Result<()> {
    what_a_stranger_wrote_runs_apart_and_only_approved(Database::Postgres).await
}

#[tokio::test]
async fn what_waits_for_approval_goes_with_its_pull_request() -> Result<()> {
    let app = start(Setup::default(), json!({ "autotest": "all", "cancel_superseded": false })).await?;
    let hello = hello(&app);
    let (fork, number, first) = from_outside(&app, "patch").await?;
    let waits = builds_of(&app, number).await?.remove(0);
    app.github.close_pull_request(SOURCE, number);
    told(&app).await?;
    assert_eq!(hello.build(text(&waits, "id")).await?["reason"]["code"], "pull_request_closed");
    assert_eq!(approve(&app, &waits, &first).await?.status, 409);

    // Also where every push is built: an approval is never waited for longer than its commit is the newest.
    app.github.reopen_pull_request(SOURCE, number);
    app.github.commit(&fork, "patch", &[("evil", "2")], "More").await?;
    told(&app).await?;
    let states: Vec<Value> = builds_of(&app, number).await?.into_iter().map(|build| build["state"].clone()).collect();
    assert_eq!(states, ["queued", "cancelled", "cancelled"]);

    // The fork is deleted with its branch; what it gave is still at the source, and still nobody's whom we know.
    app.github.delete_repository(&fork);
    app.github.retitle_pull_request(SOURCE, number, "Still here");
    again(&app, number).await?;
    let newest = builds_of(&app, number).await?.remove(0);
    assert_eq!((&newest["lane"], &newest["approval"], &newest["state"]), (&json!("untrusted"), &json!("awaited"), &json!("queued")));
    settle(&hello, &app, json!({ "autotest": "internal" })).await?;
    again(&app, number).await?;
    let (said, words) = verdict(&app, number).await?;
    assert_eq!((said.as_str(), words.contains("a repository that is gone")), ("disabled", true), "{words}");

    // Without the switch it runs at once, in the same lane.
    settle(&hello, &app, json!({ "autotest": "all", "approve_external": false })).await?;
    again(&app, number).await?;
    let newest = builds_of(&app, number).await?.remove(0);
    assert_eq!((&newest["lane"], &newest["approval"]), (&json!("untrusted"), &Value::Null));
    let builder = app.builder("one").await?;
    let work = claim(&builder, &newest).await?;
    assert!(work.scope.lane == Lane::Untrusted && work.environment.is_empty());
    let reason = FailureReason::new(FailureCode::StepFailed, "no");
    builder.finish(&work, Outcome::Failed { reason, retry: false }).await?.unwrap();

    // What waits is not forgotten when the settings that it was made under go.
    settle(&hello, &app, json!({ "autotest": "all", "approve_external": true })).await?;
    again(&app, number).await?;
    let waits = builds_of(&app, number).await?.remove(0);
    app.api.delete(&hello.at("/autobuild")).await?;
    assert_eq!(hello.build(text(&waits, "id")).await?["state"], "cancelled");
    app.finish().await
}

/// Names, people and associations are what anybody may claim; only the id of the repository says where a branch is.
#[tokio::test]
async fn who_a_payload_says_somebody_is_changes_nothing() -> Result<()> {
    let app = start(Setup::default(), json!({ "autotest": "all" })).await?;
    let hello = hello(&app);
    let (_, number, _) = from_outside(&app, "patch").await?;
    let sent = app.github.deliveries(SOURCE).into_iter().rfind(|one| one.event == "pull_request").context("it was told")?;
    let source = app.github.repository_id(SOURCE);
    let mut lies = Vec::new();
    for (digit, change) in (1_u64..).zip([
        json!({ "pull_request": { "author_association": "OWNER", "user": { "login": AUTHOR, "id": app.github.account_id(AUTHOR) } } }),
        json!({ "sender": { "login": AUTHOR, "id": app.github.account_id(AUTHOR) } }),
        json!({ "pull_request": { "head": { "label": format!("{AUTHOR}:main"), "ref": "main", "user": { "login": AUTHOR } } } }),
        json!({ "pull_request": { "head": { "repo": { "full_name": SOURCE, "name": "hello", "fork": false } } } }),
        // As the AGit flow of others has it: the repository itself, and no branch of it.
        json!({ "pull_request": { "head": { "ref": name(number), "label": "", "repo": { "id": source } } } }),
        json!({ "pull_request": { "head": { "repo": null } } }),
        json!({ "pull_request": { "draft": true, "maintainer_can_modify": true } }),
    ]) {
        let mut payload = sent.payload.clone();
        merge(&mut payload, &change);
        let (head, number) = (commit(digit as usize), 100 + digit);
        merge(&mut payload, &json!({ "number": number, "pull_request": { "number": number, "head": { "sha": head } } }));
        let answer = Request::to(&hello, "pull_request", &format!("lie-{digit}"), &payload)?.send(app.http()).await?;
        assert_eq!(answer.status, 202, "{}", answer.text);
        lies.push(number);
    }
    told(&app).await?;
    for number in lies {
        let builds = builds_of(&app, number).await?;
        assert_eq!(builds.len(), 1, "{number}");
        assert_eq!((&builds[0]["lane"], &builds[0]["approval"]), (&json!("untrusted"), &json!("awaited")), "{number}");
    }
    // Of another repository nothing is taken, and what cannot be read is said.
    let mut foreign = sent.payload.clone();
    merge(&mut foreign, &json!({ "repository": { "id": source + 1 }, "pull_request": { "base": { "repo": { "id": source + 1 } } } }));
    let answer = Request::to(&hello, "pull_request", "foreign", &foreign)?.send(app.http()).await?;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let mut odd = sent.payload;
    merge(&mut odd, &json!({ "pull_request": { "head": { "sha": "--upload-pack=x" } } }));
    assert_eq!(Request::to(&hello, "pull_request", "odd", &odd)?.send(app.http()).await?.status, 202);
    let kept = hello.decided().await?;
    let kept = kept.iter().find(|one| one["delivery_id"] == "odd").context("it is kept")?;
    assert_eq!(kept["status"], "rejected");
    app.finish().await
}

/// Writes what `change` has over `value`.
fn merge(value: &mut Value, change: &Value) {
    match change {
        Value::Object(fields) if value.is_object() => fields.iter().for_each(|(name, change)| merge(&mut value[name], change)),
        other => *value = other.clone(),
    }
}

#[tokio::test]
async fn a_rule_without_autobuild_is_tested_where_autotest_is_on() -> Result<()> {
    let quiet = json!([{ "source_type": "branch", "source": "main", "tags": "latest", "autobuild": false }]);
    let app = start(Setup::default(), json!({ "autotest": "internal" })).await?;
    let hello = hello(&app);
    settle(&hello, &app, json!({ "autotest": "off", "rules": quiet })).await?;
    hello.push("main", &[("content", "2")]).await?;
    assert_eq!(outcome(&hello.delivery_of("refs/heads/main").await?), [("refs/heads/main", "disabled")]);
    settle(&hello, &app, json!({ "autotest": "internal", "rules": quiet })).await?;
    let pushed = hello.push("main", &[("content", "3")]).await?;
    let build = hello.build_of(&pushed).await?;
    assert_eq!((&build["publish"], &build["lane"], &build["tags"]), (&json!(false), &json!("trusted"), &json!([])));
    let builder = app.builder("one").await?;
    let work = claim(&builder, &build).await?;
    assert!(!work.publish && work.environment.len() == 2);
    assert!(builder.push(&app, &work, "image").await.is_err());
    assert_eq!(builder.finish(&work, Outcome::Passed).await?.unwrap().state.as_str(), "success");
    assert!(hello.tags().await?.is_empty());
    // By hand it is pushed.
    let made = app.api.post(&hello.at("/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    let work = claim(&builder, &made["items"][0]).await?;
    assert!(work.publish);
    builder.succeed(&app, &work, "image").await?;
    assert_eq!(hello.tags().await?, ["latest"]);
    // And nobody starts a pull request's ref by hand, past its lane.
    let (builds, wish) = (format!("/api/v1{}", hello.at("/builds")), json!({ "ref": "refs/pull/1/head" }));
    assert_eq!(app.api.send(reqwest::Method::POST, &builds, Some(&wish)).await?.status, 422);
    app.finish().await
}

#[tokio::test]
async fn a_rule_of_pull_requests_takes_them_from_those_of_branches() -> Result<()> {
    let rules = json!([
        { "source_type": "branch", "source": "/.*/", "tags": "{sourceref}" },
        { "source_type": "pull_request", "source": "main", "tags": "pr", "dockerfile": "Dockerfile.test" },
        { "source_type": "tag", "source": "/.*/", "tags": "{sourceref}" },
    ]);
    let app = start(Setup::default(), json!({ "autotest": "internal", "rules": rules })).await?;
    let hello = hello(&app);
    hello.push("dev", FILES).await?;
    let (number, _) = from_inside(&app, "feature").await?;
    let delivery = hello.delivery_of(&name(number)).await?;
    let said: Vec<&str> = delivery["verdicts"].as_array().unwrap().iter().map(|one| text(one, "outcome")).collect();
    assert_eq!(said, ["no_match", "built", "no_match"], "{delivery}");
    assert_eq!(builds_of(&app, number).await?[0]["rule"], "pull request main");
    app.github.retarget_pull_request(SOURCE, number, "dev");
    told(&app).await?;
    assert_eq!(builds_of(&app, number).await?[0]["rule"], "branch /.*/");
    app.finish().await
}

/// `demo/hello` built from `octo/hello` at another provider, with autotest for everybody.
async fn start_at(forge: Forge) -> Result<TestApp> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    forge.repository(&app, SOURCE).await?;
    forge.push(&app, SOURCE, "main", FILES).await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", SOURCE).await?;
    let body = json!({ "provider": forge.id(), "source": SOURCE, "autotest": "all", "rules": [] });
    app.api.put(&hello(&app).at("/autobuild"), &body).await?;
    Ok(app)
}

#[tokio::test]
async fn at_bitbucket_those_of_the_source_itself_can_be_fetched() -> Result<()> {
    let app = start_at(Forge::Bitbucket).await?;
    let hello = hello(&app);
    let bitbucket = &app.others.as_ref().context("all")?.bitbucket;
    let head = bitbucket.push(SOURCE, "feature", &[("feature", "1")], "A feature").await?;
    let number = bitbucket.open_pull_request(SOURCE, "feature", "main", "A feature").await?;
    let decided = async || {
        bitbucket.settle().await;
        hello.decided().await
    };
    decided().await?;
    let build = builds_of(&app, number).await?.remove(0);
    assert_eq!((&build["commit"], &build["lane"], &build["publish"]), (&json!(head), &json!("trusted"), &json!(false)), "the whole id");

    // Its own push tells of the new commit; another title of nothing.
    let newer = bitbucket.push(SOURCE, "feature", &[("feature", "2")], "More").await?;
    decided().await?;
    bitbucket.retitle_pull_request(SOURCE, number, "Another title").await?;
    decided().await?;
    let builds = builds_of(&app, number).await?;
    let shown: Vec<_> = builds.iter().map(|build| (text(build, "commit"), text(build, "state"))).collect();
    assert_eq!(shown, [(newer.as_str(), "queued"), (head.as_str(), "cancelled")]);
    let builder = app.builder("one").await?;
    let work = claim(&builder, &builds[0]).await?;
    assert_eq!(work.source.source_ref.as_str(), "refs/heads/feature", "there is no ref of a pull request");
    assert_eq!(builder.finish(&work, Outcome::Passed).await?.unwrap().state.as_str(), "success");

    bitbucket.push(SOURCE, "feature", &[("feature", "3")], "Even more").await?;
    decided().await?;
    bitbucket.end_pull_request(SOURCE, number, PullRequestEnd::Declined).await?;
    decided().await?;
    assert_eq!(builds_of(&app, number).await?[0]["reason"]["code"], "pull_request_closed");

    // Of another repository the source has nothing.
    bitbucket.add_user(STRANGER);
    let fork = format!("{STRANGER}/hello");
    bitbucket.add_repository(&fork, slipway_testkit::bitbucket::Visibility::Public);
    bitbucket.push(&fork, "patch", FILES, "Let me help").await?;
    let number = bitbucket.open_pull_request_from(SOURCE, (&fork, "patch"), "main", "Let me help").await?;
    decided().await?;
    let (said, words) = verdict(&app, number).await?;
    assert_eq!((said.as_str(), words.contains("gives the source no ref of it")), ("refused", true), "{words}");
    bitbucket.delete_repository(&fork);
    bitbucket.retitle_pull_request(SOURCE, number, "Still here").await?;
    decided().await?;
    assert!(verdict(&app, number).await?.1.contains("a repository that is gone"));
    bitbucket.end_pull_request(SOURCE, number, PullRequestEnd::Merged).await?;
    decided().await?;
    assert!(verdict(&app, number).await?.1.contains("was merged"));
    assert!(builds_of(&app, number).await?.is_empty());
    app.finish().await
}

/// The builds of a pull request, once there are so many.
async fn so_many(app: &TestApp, number: u64, count: usize) -> Result<Vec<Value>> {
    app.wait_for("the builds of the pull request", || async move {
        let found = builds_of(app, number).await?;
        Ok((found.len() == count).then_some(found))
    })
    .await
}

/// Opens a pull request at Gitea, which knows of a pushed branch only a moment after it took it; gives its number.
async fn opened(app: &TestApp, path: &str, wish: &Value) -> Result<u64> {
    let gitea = &app.others.as_ref().context("all")?.gitea;
    let last = std::cell::RefCell::new(String::new());
    let made = app.wait_for("Gitea to know the branch", || async {
        match gitea.api(reqwest::Method::POST, path, Some(wish.clone())).await {
            Ok(made) => Ok(Some(made["number"].as_u64().context("a number")?)),
            Err(error) => {
                last.replace(format!("{error:#}"));
                Ok(None)
            }
        }
    });
    made.await.with_context(|| last.borrow().clone())
}

/// A change for review by somebody who may only read: pushed to `refs/for/main` of the source itself.
async fn pushed_for_review(gitea: &Gitea) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = gitea.clone_url(SOURCE).replacen("://", &format!("://{STRANGER}:{}@", user_password(STRANGER)), 1);
    for args in [
        &["clone", "--quiet", &url, "."][..],
        &["checkout", "--quiet", "-b", "mine"],
        &["commit", "--quiet", "--allow-empty", "-m", "For review"],
        &["push", "--quiet", "origin", "HEAD:refs/for/main", "-o", "topic=mine", "-o", "title=For review"],
    ] {
        let mut git = tokio::process::Command::new("git");
        git.args(["-c", "user.name=M", "-c", "user.email=m@users.example"]).args(args).current_dir(folder.path());
        git.env("HOME", folder.path()).env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.output().await?;
        anyhow::ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[tokio::test]
async fn the_real_gitea_tells_whose_a_pull_request_is() -> Result<()> {
    let app = start_at(Forge::Gitea).await?;
    let gitea = &app.others.as_ref().context("all")?.gitea;
    gitea.set_visibility(SOURCE, slipway_testkit::github::Visibility::Public).await?;
    gitea.user(STRANGER).await?;

    let head = gitea.commit(SOURCE, "feature", &[("feature", "1")], "A feature").await?;
    let wish = json!({ "title": "A feature", "head": "feature", "base": "main" });
    let inside = opened(&app, "/repos/octo/hello/pulls?sudo=octo", &wish).await?;
    let build = so_many(&app, inside, 1).await?.remove(0);
    assert_eq!((&build["commit"], &build["lane"], &build["approval"]), (&json!(head), &json!("trusted"), &Value::Null));
    let newer = gitea.commit(SOURCE, "feature", &[("feature", "2")], "More").await?;
    let builds = so_many(&app, inside, 2).await?;
    assert_eq!((&builds[0]["commit"], &builds[1]["reason"]["code"]), (&json!(newer), &json!("superseded")));

    gitea.api(reqwest::Method::POST, "/repos/octo/hello/forks?sudo=mallory", Some(json!({}))).await?;
    let head = gitea.commit("mallory/hello", "patch", &[("evil", "1")], "Let me help").await?;
    let wish = json!({ "title": "Let me help", "head": "mallory:patch", "base": "main" });
    let outside = opened(&app, "/repos/octo/hello/pulls?sudo=mallory", &wish).await?;
    let build = so_many(&app, outside, 1).await?.remove(0);
    assert_eq!((&build["commit"], &build["lane"], &build["approval"]), (&json!(head), &json!("untrusted"), &json!("awaited")));

    // It names the source itself as where this comes from, and whoever reads it may do that.
    pushed_for_review(gitea).await?;
    let build = so_many(&app, outside + 1, 1).await?.remove(0);
    assert_eq!((&build["lane"], &build["approval"]), (&json!("untrusted"), &json!("awaited")));

    let close = json!({ "state": "closed" });
    gitea.api(reqwest::Method::PATCH, &format!("/repos/octo/hello/pulls/{inside}?sudo=octo"), Some(close)).await?;
    let ended = app.wait_for("the closing to be told", || async {
        let newest = builds_of(&app, inside).await?.remove(0);
        Ok(Some(newest).filter(|build| build["state"] == "cancelled"))
    });
    assert_eq!(ended.await?["reason"]["code"], "pull_request_closed");
    app.finish().await
}
