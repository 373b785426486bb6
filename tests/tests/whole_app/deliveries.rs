//! Webhook intake: what is authentic and what is not, what is kept, what is decided, and what happens when nothing can be kept.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_testkit::github::{ContentType, Hook, Webhooks};
use slipway_tests::provider::{Request, Signature, ZERO, push_payload};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Database, Forge, PASSWORD, PERSON, Repository, Setup, TestApp};

use super::link_health::{MAIL, looked_at, with_address};

const COMMIT: &str = "1111111111111111111111111111111111111111";

/// A commit id of one repeated digit.
pub(super) fn commit(digit: usize) -> String {
    digit.to_string().repeat(40)
}

/// What real providers sent, beside the project.
pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures")
}

pub(super) async fn metric(app: &TestApp, line: &str) -> Result<u64> {
    let text = app.stranger().open("/metrics").await?.text;
    let found = text.lines().find_map(|one| one.strip_prefix(line)).and_then(|value| value.trim().parse().ok());
    Ok(found.unwrap_or(0))
}

pub(super) fn outcome(delivery: &Value) -> Vec<(&str, &str)> {
    let verdicts = delivery["verdicts"].as_array().unwrap();
    verdicts.iter().map(|verdict| (verdict["ref"].as_str().unwrap(), verdict["outcome"].as_str().unwrap())).collect()
}

/// Rules that build every branch and every tag under its own name.
pub(super) fn everything() -> Value {
    json!([
        { "source_type": "branch", "source": "/.*/", "tags": "{sourceref}" },
        { "source_type": "tag", "source": "/.*/", "tags": "tag-{sourceref}" },
    ])
}

async fn build_everything(hello: &Repository<'_>) -> Result<()> {
    hello.put_autobuild(everything()).await.map(|_| ())
}

#[tokio::test]
async fn what_is_not_authentic_is_counted_and_not_kept() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let before = hello.decided().await?.len();
    let payload = push_payload(&app, "octo/hello", "refs/heads/main", ZERO, COMMIT);
    let request = Request::to(&hello, "push", "one", &payload)?;
    for (signature, reason) in
        [(Signature::Foreign, "bad_signature"), (Signature::Sha1Only, "weak_signature"), (Signature::None, "missing_signature")]
    {
        let answer = request.clone().signed(signature).send(app.http()).await?;
        assert_eq!(answer.problem(401)?["code"], reason);
        assert_eq!(metric(&app, &format!("slipway_hook_refused_total{{reason=\"{reason}\"}}")).await?, 1, "{reason}");
    }
    let mut changed = request.clone();
    changed.signature = Signature::None;
    let signed = slipway_testkit::github::sign_sha256(&request.secret, &request.body);
    changed.body.push(b' ');
    // The signature of other bytes, of other forms, and with an empty secret.
    for (what, value) in [
        ("other bytes", format!("sha256={signed}")),
        ("no algorithm", signed.clone()),
        ("another algorithm", format!("sha512={signed}")),
        ("short", format!("sha256={}", &signed[..62])),
        ("an empty secret", format!("sha256={}", slipway_testkit::github::sign_sha256("", &changed.body))),
    ] {
        let sent = app.http().post(&changed.url).header("x-github-event", "push").header("x-github-delivery", "two");
        let sent =
            sent.header("content-type", "application/json").header("x-hub-signature-256", value).body(changed.body.clone()).send().await?;
        assert_eq!(sent.status(), 401, "{what}");
    }
    // A hook that does not exist answers as one whose secret is another: nobody learns which ids there are.
    let mut unknown = request.clone();
    for (url, status) in [
        (format!("{}/hooks/github/01977c9d-0000-7000-8000-000000000000", app.site()), 401),
        (format!("{}/hooks/github/nonsense", app.site()), 401),
        (request.url.replace("/hooks/github/", "/hooks/other/"), 401),
        (request.url.replace("/hooks/github/", "/hooks/unknown/"), 404),
        (request.url.replace("/hooks/github/", "/hooks/Nobody!/"), 404),
    ] {
        unknown.url = url;
        unknown.send(app.http()).await?.problem(status)?;
    }
    assert_eq!(hello.decided().await?.len(), before, "something that is not authentic was kept");
    assert!(hello.builds().await?.is_empty());
    assert_eq!(request.send(app.http()).await?.status, 202, "the authentic one is still taken");
    app.finish().await
}

#[tokio::test]
async fn a_body_may_have_25_mib_and_no_byte_more() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let before = hello.decided().await?.len();
    let mut request = Request::to(&hello, "push", "large", &push_payload(&app, "octo/hello", "refs/heads/main", ZERO, COMMIT))?;
    // JSON may end in blanks, so a body of any length can be authentic and readable.
    request.body.resize(25 * 1024 * 1024 + 1, b' ');
    request.send(app.http()).await?.problem(413)?;
    let chunks = futures_chunks(&request.body);
    let streamed = app.http().post(&request.url).header("content-type", "application/json").body(chunks).send().await?;
    assert_eq!(streamed.status(), 413, "a body without a length");
    assert_eq!(hello.decided().await?.len(), before);
    request.body.pop();
    assert_eq!(request.send(app.http()).await?.status, 202);
    assert_eq!(outcome(&hello.delivery_of("refs/heads/main").await?), [("refs/heads/main", "built")]);
    app.finish().await
}

/// A body whose length is not told beforehand.
fn futures_chunks(body: &[u8]) -> reqwest::Body {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let body = body.to_vec();
    tokio::spawn(async move {
        // The server may stop reading: that is what is tested.
        tokio::io::AsyncWriteExt::write_all(&mut near, &body).await.ok();
    });
    reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(far))
}

#[tokio::test]
async fn both_kinds_of_body_are_read_and_a_ping_is_ignored() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let pings = hello.decided().await?;
    assert_eq!(pings.len(), 1, "{pings:?}");
    assert_eq!((&pings[0]["event"], &pings[0]["status"]), (&json!("ping"), &json!("ignored")));
    assert_eq!(outcome(&pings[0]), [("", "ignored")]);

    // GitHub's own default is a form: a person changed the hook by hand.
    let hook = app.github.hooks("octo/hello").pop().unwrap();
    app.github.delete_hook("octo/hello", hook.id);
    app.github.add_hook("octo/hello", Hook { content_type: ContentType::Form, ..hook })?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n# a & b = c + d % e\n")]).await?;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    assert_eq!((&delivery["status"], outcome(&delivery)), (&json!("accepted"), vec![("refs/heads/main", "built")]));
    assert_eq!(hello.build_of(&commit).await?["commit_message"], "A change");
    let raw = app.api.get(&hello.at(&format!("/deliveries/{}", delivery["id"].as_str().unwrap()))).await?;
    assert!(raw["body"].as_str().unwrap().starts_with("payload=%7B"), "the body is kept as it came");
    assert_eq!(raw["headers"]["x-hub-signature-256"], "[masked]");
    assert_eq!(raw["headers"]["x-github-event"], "push");

    // Authentic but unreadable: kept, with the reason in words.
    for (id, body, words) in [
        ("not-json", b"{\"ref\":".to_vec(), "cannot be read"),
        ("no-ref", b"{}".to_vec(), "`ref`"),
        ("array", b"[1]".to_vec(), "no JSON object"),
        ("not-text", vec![0xff, 0xfe, 0x00], "cannot be read"),
    ] {
        let mut request = Request::to(&hello, "push", id, &Value::Null)?;
        request.body = body;
        assert_eq!(request.send(app.http()).await?.status, 202, "{id}");
        let kept = hello.decided().await?;
        let kept = kept.iter().find(|delivery| delivery["delivery_id"] == id).unwrap();
        assert_eq!(kept["status"], "rejected", "{kept}");
        assert!(kept["detail"].as_str().unwrap().contains(words), "{words}: {kept}");
    }
    let star = Request::to(&hello, "star", "star-1", &json!({ "action": "created", "repository": { "id": 1 } }))?;
    assert_eq!(star.send(app.http()).await?.status, 202);
    let ignored = hello.decided().await?;
    assert_eq!(ignored[0]["status"], "ignored");
    assert!(ignored[0]["verdicts"][0]["text"].as_str().unwrap().contains("`star` with action `created`"), "{}", ignored[0]);
    app.finish().await
}

#[tokio::test]
async fn a_repetition_is_kept_as_a_duplicate_and_builds_nothing() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    app.github.set_webhooks(Webhooks::Twice);
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.github.set_webhooks(Webhooks::Deliver);
    let sent: Vec<_> = app.github.deliveries("octo/hello").into_iter().filter(|delivery| delivery.event == "push").collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|delivery| (200..300).contains(&delivery.status_code)), "{sent:?}");
    app.github.redeliver("octo/hello", sent[0].id).await?;
    let build = hello.build_of(&commit).await?;

    // The same bytes under another id: no provider signs the id.
    let body =
        app.api.get(&hello.at(&format!("/deliveries/{}", hello.delivery_of("refs/heads/main").await?["id"].as_str().unwrap()))).await?;
    let body = body["body"].as_str().unwrap().as_bytes().to_vec();
    let replayed = Request { body, ..Request::to(&hello, "push", "made-up", &Value::Null)? };
    let answer = replayed.send(app.http()).await?.json()?;
    assert!(answer["duplicate_of"].is_string(), "{answer}");

    let all = hello.decided().await?;
    let pushes: Vec<&Value> = all.iter().filter(|delivery| delivery["event"] == "push").collect();
    let statuses: Vec<&str> = pushes.iter().filter_map(|delivery| delivery["status"].as_str()).collect();
    assert_eq!(statuses, ["duplicate", "duplicate", "duplicate", "accepted"]);
    assert!(pushes[..3].iter().all(|delivery| delivery["duplicate_of"] == pushes[3]["id"]), "{pushes:?}");
    assert_eq!(hello.builds().await?.len(), 1);
    // To replay a repetition is to replay the first.
    let replay = app.api.post(&hello.at(&format!("/deliveries/{}/replay", pushes[0]["id"].as_str().unwrap())), &json!({})).await?;
    assert_eq!(replay["id"], pushes[0]["id"]);
    let builds = hello.builds().await?;
    assert_eq!(builds.len(), 2, "a replay is a person's word: {builds:?}");
    assert_eq!((&builds[0]["commit"], &builds[0]["cause"]), (&build["commit"], &json!("replay")));
    app.finish().await
}

#[tokio::test]
async fn each_provider_is_refused_a_request_of_another_source_repository() -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers()).await?;
    for forge in Forge::ALL {
        let name = format!("from-{}", forge.id());
        for source in ["octo/hello", "octo/other"] {
            forge.repository(&app, source).await?;
        }
        let target = match forge {
            // The only way to know a secret that it has.
            Forge::Gitea => forge.hook_by_hand(&app, &name, "octo/hello", AUTHOR).await?,
            _ => {
                forge.link(&app, &app.api, PERSON, AUTHOR).await?;
                forge.build_from(&app, &app.api, PERSON, &name, "octo/hello").await?;
                forge.target(&app, "octo/hello")?
            }
        };
        let repository = Repository::new(&app, &name);
        let before = repository.decided().await?.len();
        let (own, other) = (forge.source_id(&app, "octo/hello").await?, forge.source_id(&app, "octo/other").await?);
        let (event, foreign) = forge.push_of(&other, "refs/heads/main", ZERO, COMMIT);
        let refused = Request::by(forge, &target, event, "foreign", &foreign).send(app.http()).await?.problem(403)?;
        assert_eq!(refused["code"], "wrong_repository", "{forge:?}: {refused}");
        assert_eq!(repository.decided().await?.len(), before, "{forge:?}: it was kept as a delivery");
        assert!(repository.builds().await?.is_empty());
        let listed = app.api.items(&repository.at("/refused-requests")).await?;
        let reason = text(listed.first().context("that it came is told")?, "reason").to_owned();
        let word = |id: &Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        assert!(reason.contains(&word(&other)) && reason.contains(&word(&own)), "{forge:?}: {reason}");
        for signature in [Signature::Foreign, Signature::None, Signature::Sha1Only] {
            let (event, payload) = forge.push_of(&own, "refs/heads/main", ZERO, COMMIT);
            Request::by(forge, &target, event, "unsigned", &payload).signed(signature).send(app.http()).await?.problem(401)?;
        }
        let (event, payload) = forge.push_of(&own, "refs/heads/main", ZERO, COMMIT);
        assert_eq!(Request::by(forge, &target, event, "own", &payload).send(app.http()).await?.status, 202, "{forge:?}");
        assert_eq!(repository.build_of(COMMIT).await?["cause"], "push", "{forge:?}");
    }
    app.finish().await
}

#[tokio::test]
async fn a_request_of_another_source_repository_is_refused_and_not_kept() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let other = app.github.repository("octo/other", slipway_testkit::github::Visibility::Public).await?;
    let before = hello.decided().await?.len();
    let request = Request::to(&hello, "push", "foreign", &push_payload(&app, "octo/other", "refs/heads/main", ZERO, COMMIT))?;
    let refused = request.send(app.http()).await?.problem(403)?;
    assert_eq!(refused["code"], "wrong_repository", "{refused}");
    assert_eq!(hello.decided().await?.len(), before, "it was kept as a delivery");
    let listed = app.api.items(&hello.at("/refused-requests")).await?;
    assert_eq!(listed.len(), 1, "that it came is told: {listed:?}");
    let reason = listed[0]["reason"].as_str().unwrap();
    assert!(reason.contains(&other.to_string()) && reason.contains(&app.github.repository_id("octo/hello").to_string()), "{reason}");
    assert!(hello.builds().await?.is_empty());
    app.finish().await
}

/// A signature says that the provider sent it, and nothing of who pushed: anybody writes any name into a commit.
#[tokio::test]
async fn names_in_a_payload_are_words_only() -> Result<()> {
    let app = TestApp::with(Setup::default().mailing()).await?;
    with_address(&app).await?;
    app.add_user("eve", PASSWORD, &[])?;
    let hello = app.linked_repository("hello").await?;
    let written = async || {
        let (own, all) = (app.api.items(&format!("/namespaces/{PERSON}/audit")).await?, app.api.items("/admin/audit").await?);
        anyhow::Ok((own.len(), all.len()))
    };
    // What is pushed below is not at the provider, which the reconciler would find out if it had not looked yet.
    app.wait_for("the source to be looked at", || async { Ok(looked_at(&app, &hello).await?.then_some(())) }).await?;
    let before = written().await?;
    let mut builds = Vec::new();
    let claims = [("eve", "eve@users.example"), (PERSON, MAIL), (AUTHOR, "octo@users.example"), (MAIL, MAIL)];
    for (number, (login, email)) in (1..).zip(claims) {
        let after = commit(number);
        let mut payload = push_payload(&app, "octo/hello", "refs/heads/main", &commit(number - 1), &after);
        let person = json!({ "name": login, "email": email, "username": login });
        payload["pusher"] = person.clone();
        (payload["head_commit"]["author"], payload["head_commit"]["committer"]) = (person.clone(), person);
        let id = app.github.account_id(AUTHOR);
        payload["sender"] = json!({ "login": login, "id": id, "type": "User", "site_admin": true, "email": email });
        assert_eq!(Request::to(&hello, "push", login, &payload)?.send(app.http()).await?.status, 202, "{login}");
        let found = hello.build_of(&after).await?;
        let mut build = hello.build(text(&found, "id")).await?;
        assert_eq!(build["commit_author"], login, "it is shown, as what the commit says");
        assert_eq!((&build["cause"], &build["started_by"]), (&json!("push"), &Value::Null), "{login}");
        for own in ["id", "number", "commit", "commit_author", "queued_at", "position"] {
            build[own] = Value::Null;
        }
        builds.push(build);
    }
    assert!(builds.iter().all(|build| *build == builds[0]), "a name made a difference: {builds:?}");
    assert_eq!(written().await?, before, "a push is nobody's change of the settings");
    app.finish().await
}

/// Where a source is, is known from the link; whatever a body says of it is not even looked up.
#[tokio::test]
async fn addresses_in_a_payload_are_not_followed() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.build_every_push().await?;
    let elsewhere = TcpListener::bind(("127.0.0.1", 0))?;
    elsewhere.set_nonblocking(true)?;
    let address = format!("http://{}", elsewhere.local_addr()?);
    let pushed = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    // The second does not continue from where the ref stands, so the provider is asked about it.
    for (number, before) in [(1, pushed), (2, commit(7))] {
        let mut payload = push_payload(&app, "octo/hello", "refs/heads/main", &before, &commit(number));
        for field in
            ["url", "clone_url", "git_url", "svn_url", "html_url", "hooks_url", "keys_url", "statuses_url", "git_refs_url", "mirror_url"]
        {
            payload["repository"][field] = json!(format!("{address}/octo/hello.git"));
        }
        payload["repository"]["ssh_url"] = json!(format!("ssh://git@{}/octo/hello.git", elsewhere.local_addr()?));
        payload["repository"]["full_name"] = json!(format!("{address}/octo/hello"));
        payload["repository"]["owner"] = json!({ "login": "../..", "url": address });
        (payload["compare"], payload["head_commit"]["url"]) = (json!(address), json!(address));
        assert_eq!(Request::to(&hello, "push", &format!("elsewhere-{number}"), &payload)?.send(app.http()).await?.status, 202);
        hello.decided().await?;
    }
    assert!(metric(&app, "slipway_doubtful_deliveries_total").await? >= 1, "the provider was asked about the second");
    let builder = app.builder("one").await?;
    let mut claimed = 0;
    while let Some(work) = builder.try_claim().await? {
        assert!(work.source.clone_url.starts_with(app.github.web_url()), "{}", work.source.clone_url);
        assert_eq!(work.source.clone_url, app.github.clone_url("octo/hello"));
        assert!(work.source.ssh.is_none());
        claimed += 1;
    }
    assert!(claimed >= 2, "{claimed} builds");
    let heard = elsewhere.accept();
    assert!(heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "somebody came to an address of a payload");
    app.finish().await
}

/// Every recorded event of pull requests and merge queues, and those that nobody recorded: the fork is gone, and the base is another one.
fn pull_requests() -> Result<Vec<(String, String, Value)>> {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv"))?;
    let mut all: Vec<(String, String, Value)> = Vec::new();
    for line in index.lines() {
        let [provider, event, file, ..] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        if provider == "github" && matches!(event, "pull_request" | "merge_group") {
            let body = std::fs::read(fixtures().join("github/webhooks").join(file))?;
            all.push((event.to_owned(), file.to_owned(), serde_json::from_slice(&body)?));
        }
    }
    let recorded = |name: &str| all.iter().find(|(_, file, _)| file == name).map(|(.., body)| body.clone()).context("it is recorded");
    let mut gone = recorded("goscm__pr_sync.json")?;
    gone["pull_request"]["head"]["repo"] = Value::Null;
    let mut absent = recorded("goscm__pr_opened.json")?;
    absent["pull_request"]["head"].as_object_mut().context("a head")?.remove("repo");
    let mut rebased = recorded("goscm__pr_edited.json")?;
    rebased["changes"] = json!({ "base": { "ref": { "from": "main" }, "sha": { "from": COMMIT } } });
    for (what, body) in [("the fork is gone", gone), ("no word of the fork", absent), ("another base", rebased)] {
        all.push(("pull_request".to_owned(), what.to_owned(), body));
    }
    Ok(all)
}

/// Where autotest is for pull requests of the source itself, nothing of a fork is built, nor of one that is gone, nor when its base changes or a
/// merge queue asks.
#[tokio::test]
async fn a_pull_request_of_a_fork_starts_nothing() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let body = json!({
        "provider": "github", "source": "octo/hello", "autotest": "internal", "rules": everything(),
        "env": [{ "name": "SECRET_WORD", "value": "a word for trusted builds alone" }],
    });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    let id = app.github.repository_id("octo/hello");
    let (mut forks, mut disabled, all) = (0, 0, pull_requests()?);
    for (number, (event, file, mut body)) in all.into_iter().enumerate() {
        body["repository"]["id"] = json!(id);
        if event == "pull_request" {
            body["pull_request"]["base"]["repo"]["id"] = json!(id);
            forks += usize::from(body["pull_request"]["head"]["repo"]["id"] != json!(id));
        }
        let delivery = format!("recorded-{number}");
        assert_eq!(Request::to(&hello, &event, &delivery, &body)?.send(app.http()).await?.status, 202, "{file}");
        let all = hello.decided().await?;
        let kept = all.iter().find(|one| one["delivery_id"] == delivery.as_str()).with_context(|| format!("{file} was not kept"))?;
        let verdict = &kept["verdicts"][0];
        assert_eq!((kept["verdicts"].as_array().map(Vec::len), &verdict["build"]), (Some(1), &Value::Null), "{file}: {kept}");
        match text(verdict, "outcome") {
            "ignored" => assert!(text(verdict, "text").contains(&format!("event `{event}`")), "{file}: {kept}"),
            "disabled" => disabled += 1,
            other => assert_eq!(other, "skipped", "{file}: {kept}"),
        }
    }
    assert!(forks > 20 && disabled > 3, "only {forks} were of forks, and {disabled} would have been tested");
    assert!(hello.builds().await?.is_empty());
    assert!(app.builder("one").await?.try_claim().await?.is_none(), "there is nothing to build");
    app.finish().await
}

/// A name is no promise of what it names: whatever is pushed under one is built, however it came there.
#[tokio::test]
async fn a_tag_that_moves_and_a_branch_that_is_forced_are_built_anew() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    build_everything(&hello).await?;
    hello.build_every_push().await?;
    let first = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.github.tag("octo/hello", "v1", &first).await?;
    app.github.settle().await;
    hello.decided().await?;
    // The branch loses what it had, and the tag goes along.
    let second = app.github.force_commit("octo/hello", "main", None, &[("Dockerfile", "FROM scratch\nLABEL a=b\n")], "Other").await?;
    app.github.tag("octo/hello", "v1", &second).await?;
    app.github.settle().await;
    hello.decided().await?;
    let builder = app.builder("one").await?;
    let mut built = Vec::new();
    while let Some(work) = builder.try_claim().await? {
        let (tag, commit) = (work.tags[0].to_string(), work.source.commit.to_string());
        let digest = builder.succeed(&app, &work, &format!("{tag} of {commit}")).await?;
        built.push((tag, commit, digest));
    }
    let of = |tag: &str| built.iter().filter(|(own, ..)| own == tag).map(|(_, commit, _)| commit.clone()).collect::<Vec<_>>();
    assert_eq!((of("main"), of("tag-v1")), (vec![first.clone(), second.clone()], vec![first, second.clone()]), "{built:?}");
    for tag in ["main", "tag-v1"] {
        let newest = built.iter().find(|(own, commit, _)| own == tag && *commit == second).map(|(.., digest)| digest.clone());
        assert_eq!(hello.tag(tag).await?, newest, "`{tag}` stands on what is there now");
    }
    assert_ne!(hello.tag("main").await?, hello.tag("tag-v1").await?);
    app.finish().await
}

#[tokio::test]
async fn branches_tags_and_deletions_are_decided() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    build_everything(&hello).await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.github.tag("octo/hello", "v1", &commit).await?;
    let object = app.github.annotated_tag("octo/hello", "v2", &commit, "Two").await?;
    assert_ne!(object, commit);
    app.github.delete_ref("octo/hello", "refs/tags/v1").await?;
    app.github.settle().await;
    let all = hello.decided().await?;
    let of_tag: Vec<&Value> =
        all.iter().filter(|delivery| delivery["verdicts"][0]["ref"] == "refs/tags/v1" && delivery["event"] == "push").collect();
    assert_eq!(of_tag.len(), 2, "{all:?}");
    assert_eq!(outcome(of_tag[0]), [("refs/tags/v1", "skipped")]);
    assert!(of_tag[0]["verdicts"][0]["text"].as_str().unwrap().contains("deleted"), "{}", of_tag[0]);
    assert_eq!(outcome(of_tag[1]), [("refs/tags/v1", "no_match"), ("refs/tags/v1", "built")]);
    let builds = hello.builds().await?;
    let mut made: Vec<(&str, &str)> =
        builds.iter().map(|build| (build["tags"][0].as_str().unwrap(), build["commit"].as_str().unwrap())).collect();
    made.reverse();
    assert_eq!(made, [("main", &*commit), ("tag-v1", &*commit), ("tag-v2", &*commit)], "an annotated tag is built at its commit");

    // More than three tags in one push: GitHub tells nobody, and a person starts the build by hand.
    let refs: Vec<String> = (0..4).map(|n| format!("refs/tags/many-{n}")).collect();
    let changes: Vec<(&str, &str)> = refs.iter().map(|name| (name.as_str(), commit.as_str())).collect();
    app.github.update_refs("octo/hello", &changes).await?;
    app.github.settle().await;
    assert_eq!(hello.decided().await?.len(), all.len());
    let started = app.api.post(&hello.at("/builds"), &json!({ "ref": "refs/tags/many-3" })).await?;
    assert_eq!((&started["items"][0]["commit"], &started["items"][0]["tags"]), (&json!(commit), &json!(["tag-many-3"])));
    for (bad, code) in
        [("refs/tags/nowhere", "no_such_ref"), ("main", "invalid"), ("refs/heads/a b", "invalid"), ("--upload-pack=x", "invalid")]
    {
        let answer = app.api.try_api(reqwest::Method::POST, &hello.at("/builds"), Some(&json!({ "ref": bad }))).await?;
        let problem = answer.problem(422)?;
        assert_eq!((&problem["code"], &problem["field"]), (&json!(code), &json!("ref")), "{bad}");
    }
    app.finish().await
}

#[tokio::test]
async fn odd_names_of_branches_are_built_or_refused_with_a_clear_verdict() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    build_everything(&hello).await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let mut tags = Vec::new();
    for name in ["-h", "--upload-pack=x", "ü/ö", "a#b", "$(id)", "x;y", "🚀"] {
        let full = format!("refs/heads/{name}");
        app.github.update_ref("octo/hello", &full, &commit).await?;
        app.github.settle().await;
        let delivery = hello.delivery_of(&full).await?;
        assert_eq!(outcome(&delivery)[0], (full.as_str(), "built"), "{delivery}");
        let build = hello.build(delivery["verdicts"][0]["build"].as_str().unwrap()).await?;
        let tag = build["tags"][0].as_str().unwrap().to_owned();
        let first = tag.bytes().next().unwrap();
        assert!(tag.len() <= 128 && (first.is_ascii_alphanumeric() || first == b'_'), "{tag}");
        assert!(tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{tag}");
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 7, "two branches share a tag: {tags:?}");

    // Names that git itself refuses can come only in a payload that is signed but made up.
    let forged =
        ["refs/heads/a b", "refs/heads/a\nb", "refs/heads/..", "refs/heads/x.lock", "main", "refs/pull/1/head", "", "refs/heads/\u{0}"];
    for (number, name) in forged.iter().enumerate() {
        let id = format!("forged-{number}");
        let request = Request::to(&hello, "push", &id, &push_payload(&app, "octo/hello", name, ZERO, COMMIT))?;
        assert_eq!(request.send(app.http()).await?.status, 202, "{name:?}");
        let delivery = hello.decided().await?.remove(0);
        assert_eq!((&delivery["delivery_id"], &delivery["status"]), (&json!(id), &json!("accepted")));
        assert_eq!(delivery["verdicts"].as_array().unwrap().len(), 1, "{delivery}");
        assert_eq!(delivery["verdicts"][0]["outcome"], "refused", "{name:?}: {delivery}");
        assert!(delivery["verdicts"][0]["text"].as_str().unwrap().len() > 20, "{delivery}");
    }
    let queue = "refs/heads/gh-readonly-queue/main/pr-1-1111111111111111111111111111111111111111";
    let request = Request::to(&hello, "push", "merge-queue", &push_payload(&app, "octo/hello", queue, ZERO, COMMIT))?;
    assert_eq!(request.send(app.http()).await?.status, 202);
    assert!(hello.delivery_of(queue).await?["verdicts"][0]["text"].as_str().unwrap().contains("merge queue"));
    // Commits that are none.
    for (number, after) in ["--output=x", "1111", "ZZZZ111111111111111111111111111111111111"].into_iter().enumerate() {
        let mut payload = push_payload(&app, "octo/hello", "refs/heads/main", ZERO, after);
        payload["head_commit"] = Value::Null;
        let request = Request::to(&hello, "push", &format!("commit-{number}"), &payload)?;
        assert_eq!(request.send(app.http()).await?.status, 202);
        assert_eq!(hello.decided().await?.remove(0)["status"], "rejected", "{after}");
    }
    assert_eq!(hello.builds().await?.len(), 8);
    app.finish().await
}

#[tokio::test]
async fn a_full_disk_is_503_and_the_provider_may_send_again() -> Result<()> {
    let mut app = TestApp::start().await?;
    app.expect_error("request failed");
    app.expect_error("a background step failed");
    {
        let hello = app.linked_repository("hello").await?;
        let before = hello.decided().await?.len();
        app.server().limit_files(Some(0))?;
        let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
        refused_for_now(&app, "octo/hello")?;
        assert_eq!(app.stranger().open("/readyz").await?.status, 503);
        assert_eq!(app.stranger().open("/healthz").await?.status, 200);
        app.server().limit_files(None)?;
        app.wait_for("the server to be ready again", || async { Ok((app.stranger().open("/readyz").await?.status == 200).then_some(())) })
            .await?;
        assert_eq!(hello.decided().await?.len(), before, "what was answered 503 must not be kept");
        again(&app, &hello, &commit).await?;
    }
    app.finish().await
}

#[tokio::test]
async fn a_database_that_went_away_is_503_and_comes_back_without_a_restart() -> Result<()> {
    let mut app = TestApp::with(Setup::default().on(Database::Postgres)).await?;
    app.expect_error("request failed");
    app.expect_error("a background step failed");
    {
        let hello = app.linked_repository("hello").await?;
        let proxy = app.proxy.as_ref().unwrap();
        proxy.cut();
        let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
        refused_for_now(&app, "octo/hello")?;
        let answer = app.api.try_api(reqwest::Method::GET, &hello.at("/builds"), None).await?;
        answer.problem(503)?;
        assert_eq!(app.stranger().open("/readyz").await?.status, 503);
        proxy.mend();
        app.wait_for("the server to be ready again", || async { Ok((app.stranger().open("/readyz").await?.status == 200).then_some(())) })
            .await?;
        again(&app, &hello, &commit).await?;
    }
    app.finish().await
}

/// What the provider was told of the last push.
fn refused_for_now(app: &TestApp, source: &str) -> Result<()> {
    let sent = app.github.deliveries(source).pop().unwrap();
    assert_eq!((sent.event.as_str(), sent.status_code), ("push", 503), "{}", sent.response_body);
    assert!(sent.response_headers.iter().any(|(name, _)| name == "retry-after"), "{:?}", sent.response_headers);
    let problem: Value = serde_json::from_str(&sent.response_body)?;
    assert_eq!(problem["code"], "unavailable");
    assert!(!sent.response_body.to_lowercase().contains("sql"), "the cause is ours alone: {problem}");
    Ok(())
}

/// The provider sends the last push once more, and it is built once.
async fn again(app: &TestApp, hello: &Repository<'_>, commit: &str) -> Result<()> {
    let sent = app.github.deliveries("octo/hello").pop().unwrap();
    app.github.redeliver("octo/hello", sent.id).await?;
    assert_eq!(app.github.deliveries("octo/hello").pop().unwrap().status_code, 202);
    assert_eq!(hello.build_of(commit).await?["state"], "queued");
    Ok(())
}

#[tokio::test]
async fn refused_requests_are_listed_with_nothing_of_what_they_carried() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    assert!(app.api.items(&hello.at("/refused-requests")).await?.is_empty());
    let payload = push_payload(&app, "octo/hello", "refs/heads/main", ZERO, COMMIT);
    let request = Request::to(&hello, "push", "one", &payload)?;
    for signature in [Signature::Foreign, Signature::None] {
        request.clone().signed(signature).send(app.http()).await?.problem(401)?;
    }
    let refused = app.api.items(&hello.at("/refused-requests")).await?;
    assert_eq!(refused.len(), 2, "{refused:?}");
    for one in &refused {
        assert_eq!((&one["address"], &one["size"]), (&json!("127.0.0.1"), &json!(request.body.len())), "{one}");
        assert!(!one["reason"].as_str().unwrap().is_empty() && one.as_object().unwrap().len() == 4, "{one}");
    }
    let page = app.sign_in(PERSON, PASSWORD).await?.open(&format!("/{}/deliveries", hello.path())).await?;
    assert!(page.text.contains("Refused requests") && page.text.contains("127.0.0.1"), "{}", page.text);
    app.finish().await
}

#[tokio::test]
async fn the_inbox_is_filtered_and_gives_bodies_as_files() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.push("other", &[("Dockerfile", "FROM scratch\n")]).await?;
    let built = hello.delivery_of("refs/heads/main").await?;
    hello.delivery_of("refs/heads/other").await?;
    for (query, count) in [
        ("event=ping", 1),
        ("ref=main&outcome=built", 1),
        ("ref=other&outcome=built", 0),
        ("event=push&status=accepted", 2),
        ("status=rejected", 0),
    ] {
        assert_eq!(app.api.items(&hello.at(&format!("/deliveries?{query}"))).await?.len(), count, "{query}");
    }
    let at = hello.at(&format!("/deliveries/{}", built["id"].as_str().unwrap()));
    let detail = app.api.get(&at).await?;
    assert_eq!((&detail["events"][0]["ref"], &detail["body_is_cut"]), (&json!("refs/heads/main"), &json!(false)), "{detail}");
    let body = app.api.try_api(reqwest::Method::GET, &format!("{at}/body"), None).await?;
    assert_eq!((body.status, body.text.as_str()), (200, detail["body"].as_str().unwrap()));
    assert_eq!(body.headers["content-type"], "application/octet-stream");
    assert!(body.headers["content-disposition"].to_str()?.starts_with("attachment;"));
    app.finish().await
}

#[tokio::test]
async fn a_webhook_is_looked_at_repaired_and_given_another_secret() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let at = |rest: &str| hello.at(&format!("/hook{rest}"));
    let hook = app.api.get(&at("")).await?;
    assert_eq!((&hook["right"], &hook["manual"], &hook["wrong_since"]), (&json!(true), &json!(false), &Value::Null), "{hook}");

    // The first time it is put up again without a person's word; the second time somebody meant it.
    let delete = || app.github.delete_hook("octo/hello", app.github.hooks("octo/hello")[0].id);
    delete();
    app.api.post(&at("/check"), &Value::Null).await?;
    let hook = app.api.get(&at("")).await?;
    assert_eq!(hook["right"], true, "{hook}");
    assert!(hook["repaired_why"].as_str().unwrap().contains("deleted"), "{hook}");
    delete();
    let hook = app.api.post(&at("/check"), &Value::Null).await?;
    assert_eq!(hook["right"], false, "{hook}");
    assert!(hook["problem"].as_str().unwrap().contains("deleted") && hook["wrong_since"].is_string(), "{hook}");
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open(&format!("/{}/deliveries", hello.path())).await?.text;
    assert!(
        page.contains("webhook was deleted") && page.contains("the reconciler finds pushes") && page.contains("webhook/repair"),
        "{page}"
    );
    let hook = app.api.post(&at("/repair"), &Value::Null).await?;
    assert_eq!((&hook["right"], app.github.hooks("octo/hello").len()), (&json!(true), 1), "{hook}");

    // Another secret: what is signed with the one before is still taken.
    let payload = push_payload(&app, "octo/hello", "refs/heads/main", ZERO, COMMIT);
    let before = Request::to(&hello, "push", "before", &payload)?;
    let rotated = app.api.post(&at("/rotate-secret"), &Value::Null).await?;
    assert_eq!((&rotated["secret"], &rotated["hook"]["right"]), (&Value::Null, &json!(true)), "{rotated}");
    assert!(rotated["hook"]["previous_secret_until"].is_string(), "{rotated}");
    assert_ne!(hello.hook()?.1, before.secret);
    assert_eq!(before.send(app.http()).await?.status, 202);
    app.api.try_api(reqwest::Method::POST, &at("/show-secret"), None).await?.problem(409)?;

    // The provider's log beside ours, and a delivery sent once more.
    hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    hello.delivery_of("refs/heads/main").await?;
    let log = app.api.get(&at("/deliveries")).await?;
    let push = log["items"].as_array().unwrap().iter().find(|entry| entry["event"] == "push").unwrap();
    assert_eq!((&push["outcome"]["status"], &push["here"]["status"]), (&json!(202), &json!("accepted")), "{push}");
    let again = at(&format!("/deliveries/{}/redeliver", push["id"].as_str().unwrap()));
    assert_eq!(app.api.try_api(reqwest::Method::POST, &again, None).await?.status, 202);
    app.github.settle().await;
    assert_eq!(app.api.items(&hello.at("/deliveries?status=duplicate")).await?.len(), 1);
    let page = browser.open(&format!("/{}/deliveries/at-provider", hello.path())).await?.text;
    assert!(page.contains("Ask to send it again") && page.contains(push["delivery_id"].as_str().unwrap()), "{page}");
    app.finish().await
}
