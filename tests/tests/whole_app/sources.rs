//! What deliveries do not tell: the reconciler finds it, each push is built once however late its delivery comes, and a source is followed
//! where it goes, by its id and never by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_model::{Clock, Timestamp};
use slipway_testkit::gitea::ADMINISTRATOR;
use slipway_testkit::github::{OrgRole, ReleaseOrder, Visibility, Webhooks};
use slipway_tests::others::HookThere;
use slipway_tests::repository::text;
use slipway_tests::setup::QUICK;
use slipway_tests::{AUTHOR, Forge, PASSWORD, PERSON, Repository, Setup, TestApp};

/// What a look takes beside the interval (give or take a fifth) that it waits for: less than what a look that left something waits
/// for the next one.
const LOOK: Duration = Duration::from_secs(12);

const DOCKERFILE: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];

/// Every branch and tag under its own name.
fn everything() -> Value {
    json!([
        { "source_type": "branch", "source": "/.*/", "tags": "{sourceref}" },
        { "source_type": "tag", "source": "/.*/", "tags": "tag-{sourceref}" },
    ])
}

/// `demo/hello` from `octo/hello`, every branch and tag under its own name, looked at once.
async fn everything_is_built(app: &TestApp) -> Result<(Repository<'_>, String)> {
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(everything()).await?;
    let commit = hello.push("main", DOCKERFILE).await?;
    hello.build_of(&commit).await?;
    app.wait_for("the source to be looked at", || async { Ok(state(app, &hello).await?["looked_at"].as_str().map(drop)) }).await?;
    Ok((hello, commit))
}

async fn state(app: &TestApp, repository: &Repository<'_>) -> Result<Value> {
    Ok(app.api.get(&repository.at("/autobuild")).await?["source_state"].clone())
}

/// The refs of all builds, in order of their names.
async fn built(hello: &Repository<'_>) -> Result<Vec<String>> {
    let mut all: Vec<String> = hello.builds().await?.iter().map(|build| text(build, "source_ref").to_owned()).collect();
    all.sort();
    Ok(all)
}

async fn until_built(app: &TestApp, hello: &Repository<'_>, refs: &[String]) -> Result<()> {
    let mut wanted = refs.to_vec();
    wanted.sort();
    let (last, wanted) = (&std::cell::RefCell::new(Vec::new()), &wanted);
    let waited = app.wait_for("everything to be built", || async move {
        let all = built(hello).await?;
        let done = all.len() >= wanted.len();
        last.replace(all);
        Ok(done.then_some(()))
    });
    waited.await.with_context(|| format!("built at last: {:?}", last.borrow().len()))?;
    assert_eq!(*last.borrow(), *wanted, "each once");
    Ok(())
}

/// Each ref was built within one interval after its push, by the times that stand in the rows.
async fn within_one_interval(hello: &Repository<'_>, pushed: &BTreeMap<String, Timestamp>) -> Result<()> {
    let most = QUICK.mul_f64(1.2) + LOOK;
    for build in hello.builds().await? {
        let Some(at) = pushed.get(text(&build, "source_ref")) else { continue };
        let queued: Timestamp = serde_json::from_value(build["queued_at"].clone())?;
        ensure!(queued.since(*at) <= most, "{} was built {:?} after its push", build["source_ref"], queued.since(*at));
    }
    Ok(())
}

/// What deliveries say that came too late.
fn is_known(delivery: &Value) -> Result<()> {
    ensure!(delivery["status"] == "accepted", "{delivery}");
    let known = |verdict: &Value| verdict["outcome"] != "built" || text(verdict, "text").starts_with("the reconciler had found this push");
    ensure!(delivery["verdicts"].as_array().is_some_and(|all| all.iter().all(known)), "{delivery}");
    Ok(())
}

async fn two_hundred_refs_without_deliveries(order: ReleaseOrder) -> Result<()> {
    let app = TestApp::with(Setup::default().quick().alone()).await?;
    let (hello, commit) = everything_is_built(&app).await?;
    let mut refs = vec!["refs/heads/main".to_owned()];
    let mut pushed = BTreeMap::new();
    app.github.set_webhooks(Webhooks::Hold);
    // The last ones are tags: of more than three at once GitHub tells nobody.
    for push in 0..50 {
        let name = |n| if push < 49 { format!("refs/heads/branch-{push}-{n}") } else { format!("refs/tags/v{n}") };
        let names: Vec<String> = (0..4).map(name).collect();
        let changes: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), commit.as_str())).collect();
        app.github.update_refs("octo/hello", &changes).await?;
        pushed.extend(names.iter().map(|name| (name.clone(), Clock::System.now())));
        refs.extend(names);
    }
    assert_eq!((refs.len(), pushed.len()), (201, 200));
    until_built(&app, &hello, &refs).await?;
    within_one_interval(&hello, &pushed).await?;
    let found = app.api.items(&hello.at("/deliveries?event=reconcile")).await?;
    assert!(!found.is_empty(), "the inbox shows what the reconciler found");

    // Now the deliveries come, and then each of them once more.
    let before = hello.decided().await?.len();
    app.github.release_held_webhooks(order).await;
    app.github.set_webhooks(Webhooks::Deliver);
    app.github.settle().await;
    let all = hello.decided().await?;
    let late: Vec<&Value> = all.iter().take(all.len() - before).collect();
    assert_eq!(late.len(), 196, "every branch has its delivery");
    late.into_iter().try_for_each(is_known)?;
    until_built(&app, &hello, &refs).await?;
    let sent = app.github.deliveries("octo/hello");
    for delivery in &sent {
        app.github.redeliver("octo/hello", delivery.id).await?;
    }
    assert!(sent.len() >= 196, "{}", sent.len());
    hello.decided().await?;
    until_built(&app, &hello, &refs).await?;
    // And the next looks find nothing more, of pushes that are told twice at once either.
    let looked = state(&app, &hello).await?["looked_at"].clone();
    app.github.set_webhooks(Webhooks::Twice);
    let again = hello.push("main", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]).await?;
    hello.build_of(&again).await?;
    refs.push("refs/heads/main".to_owned());
    app.wait_for("another look", || async { Ok((state(&app, &hello).await?["looked_at"] != looked).then_some(())) }).await?;
    until_built(&app, &hello, &refs).await?;
    app.finish().await
}

#[tokio::test]
async fn two_hundred_refs_whose_deliveries_came_late_are_built_once() -> Result<()> {
    two_hundred_refs_without_deliveries(ReleaseOrder::OldestFirst).await
}

#[tokio::test]
async fn two_hundred_refs_whose_deliveries_came_late_and_turned_round_are_built_once() -> Result<()> {
    two_hundred_refs_without_deliveries(ReleaseOrder::NewestFirst).await
}

/// Refs of one push, pushed now.
async fn push_refs(app: &TestApp, forge: Forge, names: &[String], commit: &str) -> Result<Timestamp> {
    let changes: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), commit)).collect();
    let others = app.others.as_ref().context("the test wished for all providers")?;
    match forge {
        Forge::GitHub => app.github.update_refs("octo/hello", &changes).await?,
        Forge::Bitbucket => others.bitbucket.push_refs("octo/hello", &changes).await?,
        Forge::Gitea => others.gitea.update_refs("octo/hello", &changes).await?,
    }
    Ok(Clock::System.now())
}

/// The webhook's address at Gitea, which holds deliveries back as a provider does whose way to us is cut.
async fn set_gitea_hook(app: &TestApp, hook: &HookThere, url: &str) -> Result<()> {
    let path = format!("/repos/octo/hello/hooks/{}", hook.id);
    let body = json!({ "config": { "url": url, "content_type": "json" } });
    let gitea = &app.others.as_ref().context("the test wished for all providers")?.gitea;
    gitea.api(Method::PATCH, &path, Some(body)).await.map(drop)
}

/// Lets the deliveries go that did not come; gives how many.
async fn deliver_late(app: &TestApp, forge: Forge, hook: &HookThere) -> Result<usize> {
    let others = app.others.as_ref().context("the test wished for all providers")?;
    if forge == Forge::Bitbucket {
        others.bitbucket.release_held_webhooks(ReleaseOrder::NewestFirst).await;
        return Ok(others.bitbucket.deliveries("octo/hello").len());
    }
    let number = hook.id.parse()?;
    // All of them have failed before the way is open again: one that still waits would come by itself and once more by the button.
    let failed = app.wait_for("the deliveries to fail", || async {
        let shown = others.gitea.deliveries("octo/hello", number, ADMINISTRATOR).await?;
        Ok(Some(shown).filter(|all| all.len() >= 10 && all.iter().all(|one| one.succeeded == Some(false))))
    });
    let failed = failed.await?;
    set_gitea_hook(app, hook, &hook.url).await?;
    for delivery in &failed {
        others.gitea.redeliver("octo/hello", number, &delivery.id, ADMINISTRATOR).await?;
    }
    Ok(failed.len())
}

async fn forty_refs_without_deliveries(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick().alone()).await?;
    forge.repository(&app, "octo/hello").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let body = json!({ "provider": forge.id(), "source": "octo/hello", "autotest": "off", "rules": everything() });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    let commit = forge.push(&app, "octo/hello", "main", DOCKERFILE).await?;
    app.wait_for("the push to be built", || find(&hello, &commit)).await?;
    app.wait_for("the source to be looked at", || async { Ok(state(&app, &hello).await?["looked_at"].as_str().map(drop)) }).await?;

    let hook = forge.hooks(&app, "octo/hello").await?.remove(0);
    match forge {
        Forge::Gitea => set_gitea_hook(&app, &hook, "http://127.0.0.1:9/").await?,
        _ => app.others.as_ref().unwrap().bitbucket.set_webhooks(Webhooks::Hold),
    }
    let (mut refs, mut pushed) = (vec!["refs/heads/main".to_owned()], BTreeMap::new());
    for push in 0..10 {
        let names = ["heads/a", "heads/b", "tags/c", "tags/d"].map(|name| format!("refs/{name}-{push}"));
        let at = push_refs(&app, forge, &names, &commit).await?;
        pushed.extend(names.iter().map(|name| (name.clone(), at)));
        refs.extend(names);
    }
    until_built(&app, &hello, &refs).await?;
    within_one_interval(&hello, &pushed).await?;

    // Late, and of no use any more.
    let before = hello.decided().await?.len();
    let number = deliver_late(&app, forge, &hook).await?;
    assert!(number >= 10, "{number}");
    let come = app.wait_for("the deliveries to come", || async {
        let all = hello.decided().await?;
        Ok((all.len() >= before + 10).then_some(all))
    });
    let come = come.await?;
    come.iter().take(come.len() - before).try_for_each(is_known)?;
    until_built(&app, &hello, &refs).await?;

    // A webhook that is gone tells of nothing at all.
    match forge {
        Forge::Gitea => app.others.as_ref().unwrap().gitea.delete_hook("octo/hello", hook.id.parse()?).await?,
        _ => app.others.as_ref().unwrap().bitbucket.delete_hook("octo/hello", &hook.id),
    }
    let last = ["refs/heads/last".to_owned(), "refs/tags/last".to_owned()];
    let at = push_refs(&app, forge, &last, &commit).await?;
    refs.extend(last.clone());
    until_built(&app, &hello, &refs).await?;
    within_one_interval(&hello, &last.into_iter().map(|name| (name, at)).collect()).await?;
    app.finish().await
}

#[tokio::test]
async fn forty_refs_of_bitbucket_whose_deliveries_came_late_are_built_once() -> Result<()> {
    forty_refs_without_deliveries(Forge::Bitbucket).await
}

#[tokio::test]
async fn forty_refs_of_gitea_whose_deliveries_came_late_are_built_once() -> Result<()> {
    forty_refs_without_deliveries(Forge::Gitea).await
}

/// A merge queue's branches are GitHub's own: no rule is for them, whoever finds them.
#[tokio::test]
async fn a_branch_of_the_merge_queue_that_the_reconciler_sees_is_not_built() -> Result<()> {
    let app = TestApp::with(Setup::default().quick()).await?;
    let (hello, commit) = everything_is_built(&app).await?;
    app.github.set_webhooks(Webhooks::Drop);
    let queue = format!("refs/heads/gh-readonly-queue/main/pr-7-{commit}");
    app.github.update_refs("octo/hello", &[(queue.as_str(), commit.as_str()), ("refs/heads/next", commit.as_str())]).await?;
    until_built(&app, &hello, &["refs/heads/main".to_owned(), "refs/heads/next".to_owned()]).await?;
    // It goes away as it came.
    let looked = state(&app, &hello).await?["looked_at"].clone();
    app.github.delete_ref("octo/hello", &queue).await?;
    app.github.update_refs("octo/hello", &[("refs/heads/other", commit.as_str())]).await?;
    app.wait_for("another look", || async { Ok((state(&app, &hello).await?["looked_at"] != looked).then_some(())) }).await?;
    until_built(&app, &hello, &["refs/heads/main", "refs/heads/next", "refs/heads/other"].map(str::to_owned)).await?;
    let told = hello.decided().await?;
    let named = |delivery: &Value| delivery["verdicts"].as_array().is_some_and(|all| all.iter().any(|one| one["ref"] == queue.as_str()));
    assert!(!told.iter().any(named), "{told:?}");
    app.finish().await
}

#[tokio::test]
async fn a_webhook_that_was_deleted_is_seen_repaired_and_its_load_is_carried() -> Result<()> {
    let app = TestApp::with(Setup::default().quick()).await?;
    let (hello, _) = everything_is_built(&app).await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let delete = || app.github.delete_hook("octo/hello", app.github.hooks("octo/hello")[0].id);
    let press = async |button: &'static str| app.api.post(&hello.at(&format!("/hook/{button}")), &Value::Null).await;
    delete();
    let unheard = hello.push("while-it-was-gone", DOCKERFILE).await?;
    app.wait_for("the push to be found", || find(&hello, &unheard)).await?;
    press("check").await?;
    let hook = app.api.get(&hello.at("/hook")).await?;
    assert_eq!((&hook["right"], app.github.hooks("octo/hello").len()), (&json!(true), 1), "{hook}");
    assert!(text(&hook, "repaired_why").contains("deleted"), "{hook}");

    // The second time somebody meant it: it is shown, and until a person says otherwise the reconciler does the hook's work.
    delete();
    let hook = press("check").await?;
    assert_eq!((&hook["right"], app.github.hooks("octo/hello").len()), (&json!(false), 0), "{hook}");
    let page = browser.open(&format!("/{}/deliveries", hello.path())).await?.text;
    assert!(page.contains("webhook was deleted") && page.contains("webhook/repair"), "{page}");
    let unheard = hello.push("without-a-hook", &[("Dockerfile", "FROM scratch\nLABEL c=d\n")]).await?;
    app.wait_for("the push to be found", || find(&hello, &unheard)).await?;
    assert_eq!(press("repair").await?["right"], true);
    let heard = hello.push("with-a-hook", &[("Dockerfile", "FROM scratch\nLABEL e=f\n")]).await?;
    hello.delivery_of("refs/heads/with-a-hook").await?;
    hello.build_of(&heard).await?;
    assert_eq!(hello.builds().await?.len(), 4, "each once");
    app.finish().await
}

async fn find(hello: &Repository<'_>, commit: &str) -> Result<Option<Value>> {
    Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == commit))
}

async fn made_anew_under_the_old_name(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    forge.repository(&app, "octo/hello").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let commit = forge.push(&app, "octo/hello", "main", DOCKERFILE).await?;
    let waiting = app.wait_for("the push to be built", || find(&hello, &commit)).await?;

    forge.delete_repository(&app, "octo/hello").await?;
    forge.repository(&app, "octo/hello").await?;
    let foreign = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\nLABEL evil=yes\n")]).await?;
    let problem = app.wait_for("the problem to be shown", || async {
        let state = state(&app, &hello).await?;
        Ok(state["problem"].as_object().is_some().then_some(state["problem"].clone()))
    });
    let problem = problem.await?;
    assert_eq!(problem["code"], "gone", "{problem}");
    assert!(text(&problem, "text").contains("octo/hello") && problem["since"].is_string(), "{problem}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    for page in [format!("/{}", hello.path()), "/settings/source-providers".to_owned()] {
        let text = browser.open(&page).await?.text;
        assert!(text.contains("another one and is not built") || text.contains("does not show"), "{page}: {text}");
    }
    // Nothing of the new one is built: not by the reconciler, not by hand, and not the build that waited for the old one.
    assert!(app.builder("remote").await?.try_claim().await?.is_none());
    let ended = hello.build(text(&waiting, "id")).await?;
    assert_eq!(ended["state"], "failed", "{ended}");
    let refused = app.api.try_api(Method::POST, &hello.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?;
    refused.json_of_refusal()?;
    assert!(forge.hooks(&app, "octo/hello").await?.is_empty(), "the new one gets no webhook");
    assert!(find(&hello, &foreign).await?.is_none());
    // Saving the settings once more does not choose it: neither by the name, nor by the page, which sends the id of the one that is gone.
    let body = json!({ "provider": forge.id(), "source": "octo/hello", "autotest": "off", "rules": [] });
    let refused = app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&body)).await?.problem(409)?;
    assert_eq!(refused["code"], "source_changed", "{refused}");
    let before = app.api.get(&hello.at("/autobuild")).await?["source_id"].clone();
    let page = browser.open(&format!("/{}/autobuild", hello.path())).await?.text;
    assert!(page.contains(&format!(r#"name="source_id" value="{}""#, before.as_str().context("an id")?)), "{page}");
    // Chosen by a person it is a source like any other.
    let links = format!("/namespaces/{PERSON}/links/{}", forge.id());
    app.api.post(&format!("{links}/refresh"), &Value::Null).await?;
    let chosen = app.wait_for("the new one to be listed", || async {
        let listed = app.api.get(&format!("{links}/source-repositories?q=octo/hello")).await?;
        Ok(listed["items"].as_array().into_iter().flatten().map(|one| one["id"].clone()).find(|id| *id != before))
    });
    let body = json!({ "provider": forge.id(), "source": "octo/hello", "source_id": chosen.await?, "autotest": "off", "rules": [] });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    app.wait_for("the webhook to stand", || async { Ok((forge.hooks(&app, "octo/hello").await?.len() == 1).then_some(())) }).await?;
    app.wait_for("nothing to be wrong", || async { Ok(state(&app, &hello).await?["problem"].is_null().then_some(())) }).await?;
    let trusted = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\nLABEL good=yes\n")]).await?;
    app.wait_for("its next push to be built", || find(&hello, &trusted)).await?;
    app.finish().await
}

#[tokio::test]
async fn a_repository_that_is_made_anew_at_github_gets_no_trust() -> Result<()> {
    made_anew_under_the_old_name(Forge::GitHub).await
}

#[tokio::test]
async fn a_repository_that_is_made_anew_at_bitbucket_gets_no_trust() -> Result<()> {
    made_anew_under_the_old_name(Forge::Bitbucket).await
}

#[tokio::test]
async fn a_repository_that_is_made_anew_at_gitea_gets_no_trust() -> Result<()> {
    made_anew_under_the_old_name(Forge::Gitea).await
}

async fn a_source_that_changes(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    forge.organization(&app, "acme").await?;
    forge.repository(&app, "octo/hello").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.push(&app, "octo/hello", "main", DOCKERFILE).await?;
    forge.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let hooks = forge.hooks(&app, "octo/hello").await?;
    let settings = async |field: &'static str, wanted: &'static str| {
        app.wait_for(&format!("`{field}` to be `{wanted}`"), || async {
            Ok((app.api.get(&hello.at("/autobuild")).await?[field] == wanted).then_some(()))
        })
        .await
    };
    let builds = async |name: &str, branch: &str, label: &str| {
        let commit = forge.push(&app, name, branch, &[("Dockerfile", &format!("FROM scratch\nLABEL {label}=1\n"))]).await?;
        app.wait_for("a push to be built", || find(&hello, &commit)).await
    };

    forge.rename(&app, "octo/hello", "hola").await?;
    settings("source", "octo/hola").await?;
    builds("octo/hola", "main", "renamed").await?;
    forge.transfer(&app, "octo/hola", "acme").await?;
    settings("source", "acme/hola").await?;
    builds("acme/hola", "main", "transferred").await?;
    assert_eq!(forge.hooks(&app, "acme/hola").await?, hooks, "the webhook went along, and there is one");

    forge.publish(&app, "acme/hola").await?;
    forge.push(&app, "acme/hola", "trunk", &[("Dockerfile", "FROM scratch\nLABEL trunk=0\n")]).await?;
    forge.set_default_branch(&app, "acme/hola", "trunk").await?;
    settings("default_branch", "trunk").await?;
    let audit = app.wait_for("the visibility to be seen", || async {
        let audit = app.api.items(&format!("/namespaces/{PERSON}/audit")).await?;
        let actions: Vec<String> = audit.iter().map(|entry| text(entry, "action").to_owned()).collect();
        Ok(actions.contains(&"source.visibility".to_owned()).then_some(actions))
    });
    let audit = audit.await?;
    for action in ["source.rename", "source.transfer", "source.default_branch"] {
        assert!(audit.iter().any(|entry| entry == action), "{action}: {audit:?}");
    }
    assert!(state(&app, &hello).await?["problem"].is_null());
    app.finish().await
}

#[tokio::test]
async fn a_source_at_github_is_followed() -> Result<()> {
    a_source_that_changes(Forge::GitHub).await
}

#[tokio::test]
async fn a_source_at_bitbucket_is_followed() -> Result<()> {
    a_source_that_changes(Forge::Bitbucket).await
}

#[tokio::test]
async fn a_source_at_gitea_is_followed() -> Result<()> {
    a_source_that_changes(Forge::Gitea).await
}

/// Who takes the old name after a rename gets nothing of what was the old one's.
#[tokio::test]
async fn a_name_that_became_free_by_a_transfer_gets_no_trust() -> Result<()> {
    let app = TestApp::with(Setup::default().quick()).await?;
    app.github.organization("acme", &[(AUTHOR, OrgRole::Admin)]);
    let (hello, _) = everything_is_built(&app).await?;
    app.github.transfer_repository("octo/hello", "acme");
    app.github.repository("octo/hello", Visibility::Private).await?;
    let foreign = app.github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\nLABEL evil=yes\n")], "A change").await?;
    app.wait_for("the source to be followed", || async {
        Ok((app.api.get(&hello.at("/autobuild")).await?["source"] == "acme/hello").then_some(()))
    })
    .await?;
    let own = app.github.commit("acme/hello", "next", &[("Dockerfile", "FROM scratch\nLABEL own=yes\n")], "A change").await?;
    app.wait_for("its own push to be built", || find(&hello, &own)).await?;
    assert!(find(&hello, &foreign).await?.is_none());
    assert!(app.github.hooks("octo/hello").is_empty());
    app.finish().await
}
