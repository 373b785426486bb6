//! What providers do that surprises: many refs in one delivery or none, two events of one push, bodies that were packed, names that differ
//! by case only, a secret that was changed while deliveries were on their way, and a provider that says nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::CONTENT_ENCODING;
use serde_json::{Value, json};
use slipway_testkit::github::{Fault, Times};
use slipway_tests::provider::{Request, Signature, Target, ZERO, push_payload};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Answer, Forge, PERSON, Repository, Setup, TestApp};

use super::deliveries::{commit, everything, metric, outcome};

/// Longer than any provider waits for an answer.
const TOO_LATE: Duration = Duration::from_secs(10);
/// Longer than we wait for one.
const FOR_EVER: Duration = Duration::from_secs(60);

const ASKED: &str = "slipway_doubtful_deliveries_total";

#[tokio::test]
async fn a_push_of_many_refs_is_one_delivery_with_a_build_for_each() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    let bitbucket = &app.others.as_ref().context("the test wished for all providers")?.bitbucket;
    Forge::Bitbucket.repository(&app, "octo/hello").await?;
    Forge::Bitbucket.link(&app, &app.api, PERSON, AUTHOR).await?;
    Forge::Bitbucket.build_from(&app, &app.api, PERSON, "hello", "octo/hello").await?;
    let hello = Repository::new(&app, "hello");
    let body = json!({ "provider": "bitbucket", "source": "octo/hello", "autotest": "off", "rules": everything() });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    let head = Forge::Bitbucket.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.build_of(&head).await?;

    let before = hello.decided().await?.len();
    let names = ["refs/heads/one", "refs/heads/two", "refs/tags/v1", "refs/tags/v2"];
    bitbucket.push_refs("octo/hello", &names.map(|name| (name, head.as_str()))).await?;
    bitbucket.settle().await;
    let all = hello.decided().await?;
    assert_eq!(all.len(), before + 1, "one push is one delivery: {all:?}");
    let mut built: Vec<&str> = outcome(&all[0]).into_iter().filter(|(_, outcome)| *outcome == "built").map(|(name, _)| name).collect();
    built.sort_unstable();
    assert_eq!(built, names, "{}", all[0]);
    let builds = hello.builds().await?;
    let mut tags: Vec<&str> = builds.iter().map(|build| text(build, "source_ref")).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["refs/heads/main", "refs/heads/one", "refs/heads/two", "refs/tags/v1", "refs/tags/v2"], "{builds:?}");

    // Bitbucket lost track of what was pushed, and says so by telling nothing.
    bitbucket.send_empty_push("octo/hello");
    bitbucket.settle().await;
    let empty = hello.decided().await?.remove(0);
    assert_eq!(outcome(&empty), [("", "skipped")], "{empty}");
    assert!(text(&empty["verdicts"][0], "text").contains("changed no branch and no tag"), "{empty}");
    assert_eq!(hello.builds().await?.len(), 5);
    app.finish().await
}

/// A webhook as the owner of a source at Gitea enters it.
async fn enter_by_hand(app: &TestApp, source: &str, target: &Target, events: &[&str]) -> Result<()> {
    let gitea = &app.others.as_ref().context("the test wished for all providers")?.gitea;
    let config = json!({ "url": target.url, "content_type": "json", "secret": target.secret });
    gitea.add_hook(source, json!({ "type": "gitea", "active": true, "events": events, "config": config })).await?;
    Ok(())
}

/// Waits for this many decided deliveries of an event; gives all deliveries, newest first.
async fn until_delivered(app: &TestApp, hello: &Repository<'_>, event: &str, count: usize) -> Result<Vec<Value>> {
    app.wait_for(&format!("{count} deliveries of `{event}`"), || async {
        let all = hello.decided().await?;
        let came = all.iter().filter(|delivery| delivery["event"] == event).count();
        ensure!(came <= count, "{came} deliveries of `{event}`, expected {count}: {all:?}");
        Ok((came == count).then_some(all))
    })
    .await
}

/// Gitea tells of a new ref twice.
#[tokio::test]
async fn a_new_ref_that_is_told_of_as_created_and_as_pushed_is_built_once() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    Forge::Gitea.repository(&app, "octo/hello").await?;
    let target = Forge::Gitea.hook_by_hand(&app, "hello", "octo/hello", AUTHOR).await?;
    enter_by_hand(&app, "octo/hello", &target, &["create", "push"]).await?;
    let hello = Repository::new(&app, "hello");
    let body = json!({ "provider": "gitea", "source": "octo/hello", "autotest": "off", "rules": everything() });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    let head = Forge::Gitea.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    until_delivered(&app, &hello, "push", 1).await?;
    app.others.as_ref().context("the test wished for all providers")?.gitea.tag("octo/hello", "v1", &head).await?;
    until_delivered(&app, &hello, "push", 2).await?;
    let all = until_delivered(&app, &hello, "create", 2).await?;
    for created in all.iter().filter(|delivery| delivery["event"] == "create") {
        assert_eq!((&created["status"], outcome(created)), (&json!("ignored"), vec![("", "ignored")]), "{created}");
        assert!(text(&created["verdicts"][0], "text").contains("the `push` of the same ref counts"), "{created}");
    }
    let builds = hello.builds().await?;
    let refs: Vec<&str> = builds.iter().map(|build| text(build, "source_ref")).collect();
    assert_eq!(refs, ["refs/tags/v1", "refs/heads/main"], "{builds:?}");
    app.finish().await
}

fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("`gzip` did not start")?;
    child.stdin.take().context("stdin was piped")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success() && output.stdout.starts_with(&[0x1f, 0x8b]), "gzip packed nothing");
    Ok(output.stdout)
}

/// Sends these bytes with the headers of a request, whose signature may be over others.
async fn send_packed(app: &TestApp, request: &Request, body: Vec<u8>) -> Result<Answer> {
    let sent = app.http().post(&request.url).header("content-type", request.content_type).header(CONTENT_ENCODING, "gzip");
    let sent = request.headers().into_iter().fold(sent, |sent, (name, value)| sent.header(name, value));
    Answer::of(sent.body(body).send().await?).await
}

/// No provider packs its bodies; whoever does is judged by the bytes that came, and nothing is unpacked for them.
#[tokio::test]
async fn a_packed_body_is_judged_by_the_bytes_that_came() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let before = hello.decided().await?.len();
    let plain = Request::to(&hello, "push", "packed", &push_payload(&app, "octo/hello", "refs/heads/main", ZERO, &commit(1)))?;
    let body = packed(&plain.body)?;
    // Signed before it was packed: the signature is over other bytes.
    let refused = send_packed(&app, &plain, body.clone()).await?.problem(401)?;
    assert_eq!(refused["code"], "bad_signature", "{refused}");
    assert_eq!(hello.decided().await?.len(), before);
    // Signed as it came: authentic, and nothing that could be read.
    assert_eq!(send_packed(&app, &Request { body: body.clone(), ..plain }, body).await?.status, 202);
    let kept = hello.decided().await?.remove(0);
    assert_eq!((&kept["delivery_id"], &kept["status"]), (&json!("packed"), &json!("rejected")), "{kept}");
    assert!(text(&kept, "detail").contains("cannot be read"), "{kept}");
    assert!(hello.builds().await?.is_empty());
    app.finish().await
}

/// A source with a webhook that the service looks after, and the secret of that webhook.
async fn looked_after(app: &TestApp, forge: Forge, name: &str) -> Result<Target> {
    forge.repository(app, "octo/hello").await?;
    if forge != Forge::Gitea {
        forge.link(app, &app.api, PERSON, AUTHOR).await?;
        forge.build_from(app, &app.api, PERSON, name, "octo/hello").await?;
        return forge.target(app, "octo/hello");
    }
    // Gitea shows nobody a secret, so a person enters the webhook, and a link that may write takes it over.
    let target = forge.hook_by_hand(app, name, "octo/hello", AUTHOR).await?;
    enter_by_hand(app, "octo/hello", &target, &["push"]).await?;
    forge.revoke(app, AUTHOR).await?;
    forge.link(app, &app.api, PERSON, AUTHOR).await?;
    app.wait_for("the webhook to be taken over", || async {
        let hook = app.api.get(&format!("/repositories/{PERSON}/{name}/hook")).await?;
        Ok((hook["right"] == true && hook["manual"] == false).then_some(target.clone()))
    })
    .await
}

#[tokio::test]
async fn both_secrets_are_good_at_each_provider() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    for forge in Forge::ALL {
        let name = format!("from-{}", forge.id());
        let old = looked_after(&app, forge, &name).await?;
        let repository = Repository::new(&app, &name);
        let rotated = app.api.post(&repository.at("/hook/rotate-secret"), &Value::Null).await?;
        assert_eq!((&rotated["secret"], &rotated["hook"]["right"]), (&Value::Null, &json!(true)), "{forge:?}: {rotated}");
        let hooks = forge.hooks(&app, "octo/hello").await?;
        assert_eq!(hooks.iter().map(|hook| hook.url.as_str()).collect::<Vec<_>>(), [old.url.as_str()], "{forge:?}: there is one webhook");
        if forge != Forge::Gitea {
            assert_ne!(forge.target(&app, "octo/hello")?.secret, old.secret, "{forge:?}");
        }
        // What the provider signs with the new one is taken, and so is what was on its way with the old one.
        let pushed = forge.push(&app, "octo/hello", "main", &[("Dockerfile", "FROM scratch\n")]).await?;
        let told = app.wait_for("the push to be delivered", || async {
            let pushes = |delivery: &Value| matches!(delivery["event"].as_str(), Some("push" | "repo:push"));
            Ok(repository.decided().await?.into_iter().find(pushes))
        });
        assert_eq!(outcome(&told.await?), [("refs/heads/main", "built")], "{forge:?}");
        assert_eq!(repository.build_of(&pushed).await?["tags"], json!(["latest"]), "{forge:?}");
        let id = forge.source_id(&app, "octo/hello").await?;
        let (event, payload) = forge.push_of(&id, "refs/heads/late", ZERO, &commit(1));
        let late = Request::by(forge, &old, event, "late", &payload);
        assert_eq!(late.send(app.http()).await?.status, 202, "{forge:?}");
        late.signed(Signature::Foreign).send(app.http()).await?.problem(401)?;
        assert!(repository.decided().await?.iter().any(|delivery| delivery["delivery_id"] == "late"), "{forge:?}");
    }
    app.finish().await
}

/// Providers give up after some seconds, and some of them on the webhook after some refusals.
#[tokio::test]
async fn an_answer_waits_for_no_provider_and_is_the_same_for_what_no_rule_builds() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.push("other", &[("Dockerfile", "FROM scratch\n")]).await?;
    assert_eq!(outcome(&hello.delivery_of("refs/heads/other").await?), [("refs/heads/other", "no_match")]);
    let sent = app.github.deliveries("octo/hello").pop().context("the push was delivered")?;
    assert_eq!((sent.event.as_str(), sent.status_code), ("push", 202));

    app.github.trouble("/api/v3", Fault::Silence(FOR_EVER), Times::UntilCleared);
    let asked = metric(&app, ASKED).await?;
    // It does not continue from where the branch stands, so the provider will be asked.
    let payload = push_payload(&app, "octo/hello", "refs/heads/main", &commit(1), &commit(2));
    let request = Request::to(&hello, "push", "doubtful", &payload)?;
    let answer = tokio::time::timeout(TOO_LATE, request.send(app.http())).await.context("the answer waited for the provider")??;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let decided = hello.decided().await?;
    let doubtful = decided.iter().find(|delivery| delivery["delivery_id"] == "doubtful").context("it is kept")?;
    assert_eq!(outcome(doubtful), [("refs/heads/main", "built")], "nobody can tell more, and a build too many is better than none");
    assert!(metric(&app, ASKED).await? > asked, "the provider was asked");
    app.github.clear_troubles();
    app.finish().await
}

#[tokio::test]
async fn branches_that_differ_by_case_only_are_two() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(everything()).await?;
    let upper = hello.push("Foo", &[("Dockerfile", "FROM scratch\nLABEL is=upper\n")]).await?;
    let lower = hello.push("foo", &[("Dockerfile", "FROM scratch\nLABEL is=lower\n")]).await?;
    let builder = app.builder("one").await?;
    let mut digests = Vec::new();
    for (name, commit) in [("Foo", &upper), ("foo", &lower)] {
        let build = hello.build_of(commit).await?;
        assert_eq!((&build["source_ref"], &build["tags"]), (&json!(format!("refs/heads/{name}")), &json!([name])), "{build}");
        let work = builder.claim().await?;
        assert_eq!(work.source.commit.as_str(), commit);
        digests.push((name, builder.succeed(&app, &work, commit).await?));
    }
    for (name, digest) in digests {
        assert_eq!(hello.tag(name).await?, Some(digest), "{name}");
    }
    assert_eq!(hello.builds().await?.len(), 2);
    app.finish().await
}
