//! Autobuild settings and what they reach: builds of pull requests that wait, refs of which a rule makes no tag, variables, "Save and build",
//! and whose hooks may run.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::Visibility;
use slipway_tests::repository::text;
use slipway_tests::{Answer, Database, PASSWORD, PERSON, Repository, Setup, TestApp};
use slipway_wire::Outcome;

use super::pull_requests::{SOURCE, approve, builds_of, from_inside, from_outside, hello, settle, start, told};

const FILES: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];

async fn retry(app: &TestApp, build: &Value) -> Result<Answer> {
    let at = format!("/api/v1{}", hello(app).at(&format!("/builds/{}/retry", text(build, "id"))));
    app.api.send(Method::POST, &at, None).await
}

fn reason(build: &Value) -> (&str, &str) {
    (text(&build["reason"], "code"), text(&build["reason"], "text"))
}

async fn what_waits_follows_autotest(database: Database) -> Result<()> {
    let app = start(Setup::default().on(database), json!({ "autotest": "all" })).await?;
    let hello = hello(&app);
    let (inside, head) = from_inside(&app, "feature").await?;
    let (_, outside, patch) = from_outside(&app, "patch").await?;
    let only = async |number| anyhow::Ok(builds_of(&app, number).await?.pop().context("a build")?);

    settle(&hello, &app, json!({ "autotest": "internal" })).await?;
    let cancelled = only(outside).await?;
    assert_eq!(text(&cancelled, "state"), "cancelled");
    let why = "cancelled while it waited: autotest is by now for pull requests of the source repository itself alone";
    assert_eq!(reason(&cancelled), ("settings_changed", why));
    assert_eq!(approve(&app, &cancelled, &patch).await?.problem(409)?["code"], "not_awaiting_approval");
    let refused = retry(&app, &cancelled).await?.problem(409)?;
    assert_eq!((text(&refused, "code"), text(&refused, "hint").contains("Autobuild")), ("not_tested", true), "{refused}");
    assert_eq!(text(&only(inside).await?, "state"), "queued", "those of the source itself are tested still");

    settle(&hello, &app, json!({ "autotest": "off" })).await?;
    assert_eq!(reason(&only(inside).await?), ("settings_changed", "cancelled while it waited: autotest is off by now"));
    assert_eq!(retry(&app, &only(inside).await?).await?.problem(409)?["code"], "not_tested");
    let status = app.wait_for("the provider to be told", || async {
        Ok(app.github.statuses(SOURCE, &head).pop().filter(|status| status.state == "error"))
    });
    let words = status.await?.description.unwrap_or_default();
    assert!(words.contains("the settings are not for it any more"), "{words}");

    settle(&hello, &app, json!({ "autotest": "all" })).await?;
    let again = retry(&app, &only(outside).await?).await?.json()?;
    assert_eq!((&again["state"], &again["approval"]), (&json!("queued"), &json!("awaited")), "{again}");
    app.finish().await
}

#[tokio::test]
async fn what_waits_follows_autotest_on_sqlite() -> Result<()> {
    what_waits_follows_autotest(Database::Sqlite).await
}

#[tokio::test]
async fn what_waits_follows_autotest_on_postgresql() -> Result<()> {
    what_waits_follows_autotest(Database::Postgres).await
}

async fn what_waits_follows_the_approval_that_is_asked_for(database: Database) -> Result<()> {
    let every = |approve: bool| json!({ "autotest": "all", "approve_external": approve, "cancel_superseded": false });
    let app = start(Setup::default().on(database), every(false)).await?;
    let hello = hello(&app);
    let builder = app.builder("one").await?;
    let (_, running, _) = from_outside(&app, "first").await?;
    let work = builder.claim().await?;
    let (fork, number, _) = from_outside(&app, "second").await?;
    let newer = app.github.commit(&fork, "second", &[("evil", "2")], "More").await?;
    told(&app).await?;
    let (_, _) = from_inside(&app, "feature").await?;

    settle(&hello, &app, every(true)).await?;
    let [waits, stale] = &builds_of(&app, number).await?[..] else { anyhow::bail!("two builds") };
    assert_eq!((&waits["state"], &waits["approval"], &waits["commit"]), (&json!("queued"), &json!("awaited"), &json!(newer)));
    let (code, words) = reason(stale);
    assert_eq!((code, words.contains("wait for approval by now, and pull request #2 stands at")), ("settings_changed", true), "{words}");
    let inside = builder.claim().await?;
    assert_eq!(inside.source.source_ref.pull_request_number(), Some(3), "what needs no approval waits for none");
    assert!(builder.try_claim().await?.is_none(), "nobody gets what nobody approved of");
    approve(&app, waits, &newer).await?.json()?;
    assert_eq!(builder.claim().await?.build.to_string(), text(waits, "id"));

    // What ran goes on; once more it needs the word that it did not need then.
    assert_eq!(builder.finish(&work, Outcome::Passed).await?.unwrap().state.as_str(), "success");
    let ran = builds_of(&app, running).await?.remove(0);
    assert_eq!(ran["approval"], Value::Null);
    assert_eq!(retry(&app, &ran).await?.json()?["approval"], "awaited");
    app.finish().await
}

#[tokio::test]
async fn what_waits_follows_the_approval_that_is_asked_for_on_sqlite() -> Result<()> {
    what_waits_follows_the_approval_that_is_asked_for(Database::Sqlite).await
}

#[tokio::test]
async fn what_waits_follows_the_approval_that_is_asked_for_on_postgresql() -> Result<()> {
    what_waits_follows_the_approval_that_is_asked_for(Database::Postgres).await
}

#[tokio::test]
async fn of_what_a_rule_makes_no_tag_nothing_is_built_and_that_is_said() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(json!([{ "source_type": "branch", "source": "/^v(.*)$/", "tags": r"{\1}" }])).await?;
    hello.push("v", FILES).await?;
    let verdict = hello.delivery_of("refs/heads/v").await?["verdicts"][0].clone();
    let words = r"the rule matches branch `v`, but the docker tag `{\1}` comes out empty for `v`, so it gives no tag";
    assert_eq!((text(&verdict, "outcome"), text(&verdict, "text")), ("refused", words));
    let by_hand = json!({ "ref": "refs/heads/v" });
    let refused = app.api.try_api(Method::POST, &hello.at("/builds"), Some(&by_hand)).await?.problem(422)?;
    assert_eq!((text(&refused, "code"), text(&refused, "field")), ("no_tag", "ref"), "{refused}");
    assert!(text(&refused, "detail").ends_with("so it gives no tag") && text(&refused, "hint").contains("{sourceref}"), "{refused}");
    let preview = app.api.post(&hello.at("/autobuild/preview"), &json!({})).await?;
    assert_eq!((&preview["items"][0]["tags"], &preview["complete"]), (&json!([]), &json!(true)), "{preview}");
    assert!(hello.builds().await?.is_empty());
    hello.push("v2", FILES).await?;
    hello.decided().await?;
    assert_eq!(hello.builds().await?[0]["tags"], json!(["2"]));
    app.finish().await
}

#[tokio::test]
async fn a_variable_that_cannot_be_is_refused_with_its_place() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let good = json!({ "name": "GOOD", "value": "x" });
    for (bad, field, words) in [
        (json!({ "name": "LARGE", "value": "x".repeat(32769) }), "env[1].value", "has 32769 bytes, at most 32768"),
        (json!({ "name": "NEW" }), "env[1].value", "needs a value"),
        (json!({ "name": "PIN", "value": "1234567", "secret": true }), "env[1].value", "shorter than 8 characters"),
        (json!({ "name": "1A", "value": "x" }), "env[1]", "`1A` is no name"),
        (json!({ "name": "DOCKER_TAG", "value": "x" }), "env[1]", "set by Slipway itself"),
        (json!({ "name": "GOOD", "value": "y" }), "env[1]", "stands twice"),
        (json!({ "name": "A", "value": "x", "kind": "file" }), "env[1].kind", "unknown field `kind`"),
        (json!({ "name": "A", "value": 1 }), "env[1].value", "invalid type"),
        (json!({ "name": "A", "value": "x", "secret": "yes" }), "env[1].secret", "invalid type"),
    ] {
        let body = json!({ "provider": "github", "source": hello.source(), "env": [good, bad] });
        let refused = app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&body)).await?.problem(422)?;
        assert_eq!(text(&refused, "field"), field, "{refused}");
        assert!(text(&refused, "detail").contains(words), "{words}: {refused}");
    }
    assert_eq!(hello.settings().await?["env"], json!([]), "a refused change changed something");
    app.finish().await
}

#[tokio::test]
async fn values_of_variables_are_for_who_may_change_them() -> Result<()> {
    let app = TestApp::start().await?;
    app.github.repository("octo/hello", Visibility::Private).await?;
    app.api.post("/organizations", &json!({ "name": "acme" })).await?;
    app.link_as(&app.api, "acme", slipway_tests::AUTHOR).await?;
    app.api.post("/repositories/acme", &json!({ "name": "app" })).await?;
    let env = json!([{ "name": "PLAIN", "value": "in-the-open" }, { "name": "TOKEN", "value": "quite-a-secret", "secret": true }]);
    let at = "/repositories/acme/app/autobuild";
    app.api.put(at, &json!({ "provider": "github", "source": "octo/hello", "env": env })).await?;
    for (name, permission, shown) in [("rita", "read", false), ("will", "write", false), ("ada", "admin", true)] {
        app.add_user(name, PASSWORD, &[])?;
        app.api.post("/organizations/acme/teams", &json!({ "name": permission })).await?;
        let team = format!("/organizations/acme/teams/{permission}");
        app.api.put(&format!("{team}/members/{name}"), &json!({})).await?;
        app.api.put(&format!("{team}/repositories/app"), &json!({ "permission": permission })).await?;
        let api = app.client(&app.make_token(name, &[])?);
        let settings = api.get(at).await?;
        let told: Vec<(&str, &Value)> =
            settings["env"].as_array().context("variables")?.iter().map(|one| (text(one, "name"), &one["value"])).collect();
        let (plain, token) = if shown { (json!("in-the-open"), json!("quite-a-secret")) } else { (Value::Null, Value::Null) };
        assert_eq!(told, [("PLAIN", &plain), ("TOKEN", &token)], "{name}");
        for page in ["/acme/app/autobuild", "/acme/app/autobuild?values=shown"] {
            let page = app.sign_in(name, PASSWORD).await?.open(page).await?.text;
            assert!(page.contains("TOKEN"), "{name} sees the names");
            assert!(shown || !(page.contains("in-the-open") || page.contains("quite-a-secret")), "{name} sees a value");
        }
    }
    app.finish().await
}

#[tokio::test]
async fn whose_hooks_may_run_is_in_the_configuration() -> Result<()> {
    let mut app = TestApp::start().await?;
    {
        app.linked_repository("hello").await?;
    }
    let config = app.folder().join("slipway.toml");
    let plain = std::fs::read_to_string(&config)?;
    for (line, may) in [("", true), ("hooks = [\"acme\", \"demo\"]", true), ("hooks = [\"acme\"]", false), ("hooks = []", false)] {
        app.stop().await?;
        std::fs::write(&config, plain.replace("[builder]\n", &format!("[builder]\n{line}\n")))?;
        app.restart().await?;
        let hello = Repository::new(&app, "hello");
        hello.push("main", &[("Dockerfile", "FROM scratch\n"), ("line", line)]).await?;
        let builder = app.builder(&format!("builder-{}", line.len())).await?;
        let work = builder.claim().await?;
        assert_eq!(work.hooks, may, "`{line}`");
        builder.succeed(&app, &work, "image").await?;
    }
    app.finish().await
}

/// What the form of the Autobuild page sends, with these rules: type, source, tags, autobuild.
async fn save_and_build(app: &TestApp, rules: &[(&str, &str, &str, bool)]) -> Result<Answer> {
    let mut fields = vec![
        ("provider".to_owned(), "github".to_owned()),
        ("source".to_owned(), "octo/hello".to_owned()),
        ("autotest".to_owned(), "off".to_owned()),
        ("cancel_superseded".to_owned(), "true".to_owned()),
        ("action".to_owned(), "save-and-build".to_owned()),
    ];
    for (n, (source_type, source, tags, autobuild)) in rules.iter().enumerate() {
        let mut field = |name: &str, value: &str| fields.push((format!("rules.{n}.{name}"), value.to_owned()));
        field("source_type", source_type);
        field("source", source);
        field("tags", tags);
        if *autobuild {
            field("autobuild", "true");
        }
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    app.sign_in(PERSON, PASSWORD).await?.form("/demo/hello/autobuild", &fields).await
}

#[tokio::test]
async fn save_and_build_builds_what_the_rules_are_for_and_says_what_not() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", FILES).await?;
    hello.push("release-1", FILES).await?;
    let pushed = hello.decided().await.map(|_| hello.builds())?.await?.len();
    let newest = async || anyhow::Ok(hello.builds().await?.into_iter().next().context("a build")?);

    let one = save_and_build(&app, &[("branch", "/.*/", "{sourceref}", true)]).await?;
    let build = newest().await?;
    assert_eq!((one.status, one.location()), (303, format!("/demo/hello/builds/{}", build["number"]).as_str()), "{}", one.text);
    assert_eq!((&build["commit"], &build["tags"], &build["cause"]), (&json!(commit), &json!(["main"]), &json!("manual")));

    // Each rule at what it names, or at the one ref that it matches; the one without autobuild is only saved.
    let rules =
        [("branch", "main", "latest", true), ("branch", "/^release-(.*)$/", r"{\1}", true), ("branch", "main", "slow", false)];
    let some = save_and_build(&app, &rules).await?;
    assert_eq!(some.status, 200, "{}", some.text);
    let words = "Saved. Queued: #3 (branch main), #4 (branch /^release-(.*)$/). Not built now: the rule branch main has its autobuild off.";
    assert_eq!(pushed, 1);
    assert!(some.text.contains(words), "{}", some.text);
    let made: Vec<Value> = hello.builds().await?.iter().take(2).map(|build| build["tags"].clone()).collect();
    assert_eq!(made, [json!(["1"]), json!(["latest"])]);

    // Which of several is meant only a person knows.
    for tag in ["v1", "v2"] {
        app.github.tag("octo/hello", tag, &commit).await?;
    }
    app.github.settle().await;
    hello.decided().await?;
    let before = hello.builds().await?.len();
    let none = save_and_build(&app, &[("tag", "/^v/", "{sourceref}", true), ("branch", "gone", "gone", true)]).await?;
    let told = "Saved, but nothing was built: the rule tag /^v/ matches 2 tags: start the one that you want under Builds;";
    assert!(none.status == 200 && none.text.contains(told) && none.text.contains("refs/heads/gone"), "{}", none.text);
    assert_eq!(hello.builds().await?.len(), before);
    assert_eq!(hello.settings().await?["rules"][1]["source"], "gone", "it is saved all the same");
    app.finish().await
}
