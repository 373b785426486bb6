//! Build rules: the default one, regular expressions with groups, refusals that say where, the preview.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_model::{BuildState, FailureCode, FailureReason};
use slipway_testkit::github::Visibility;
use slipway_tests::repository::text;
use slipway_tests::{PASSWORD, PERSON, TestApp};
use slipway_wire::{Base, Outcome};

fn rule(source_type: &str, source: &str, tags: &str) -> Value {
    json!({ "source_type": source_type, "source": source, "tags": tags })
}

#[tokio::test]
async fn without_rules_the_default_branch_becomes_latest() -> Result<()> {
    let app = TestApp::start().await?;
    app.link().await?;
    app.github.repository_with_branch("octo/odd", Visibility::Public, "trunk").await?;
    let odd = app.create_repository("odd").await?;
    let settings = odd.put_autobuild(json!([])).await?;
    let rules = settings["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1, "{settings}");
    for (field, expected) in
        [("source_type", json!("branch")), ("source", json!("trunk")), ("tags", json!("latest")), ("autobuild", json!(true))]
    {
        assert_eq!(rules[0][field], expected, "{field}");
    }
    let commit = odd.push("trunk", &[("Dockerfile", "FROM scratch\n")]).await?;
    let build = odd.build_of(&commit).await?;
    assert_eq!((&build["tags"], &build["source_ref"]), (&json!(["latest"]), &json!("refs/heads/trunk")));
    odd.push("other", &[("a", "b")]).await?;
    let verdict = &odd.delivery_of("refs/heads/other").await?["verdicts"][0];
    assert_eq!(verdict["outcome"], "no_match");
    assert!(verdict["text"].as_str().unwrap().contains("`other`"), "{verdict}");
    assert_eq!(odd.builds().await?.len(), 1);
    app.finish().await
}

#[tokio::test]
async fn a_regular_expression_gives_its_groups_to_the_tags() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let rules = json!([
        rule("tag", r"/^v([0-9]+)\.([0-9]+)$/", r"{\1}.{\2},{\1},release-{sourceref}"),
        rule("branch", "/^feature\\/(.+)$/", r"f-{\1}"),
        json!({ "source_type": "branch", "source": "main", "tags": "latest", "autobuild": false }),
    ]);
    hello.put_autobuild(rules).await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    let outcomes: Vec<&str> = delivery["verdicts"].as_array().unwrap().iter().filter_map(|verdict| verdict["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["no_match", "no_match", "disabled"], "one verdict per rule: {delivery}");

    app.github.tag("octo/hello", "v1.2", &commit).await?;
    app.github.tag("octo/hello", "v1.2.3", &commit).await?;
    hello.push("feature/shiny", &[("a", "b")]).await?;
    hello.decided().await?;
    let mut tags: Vec<Value> = hello.builds().await?.iter().map(|build| build["tags"].clone()).collect();
    tags.reverse();
    assert_eq!(tags, [json!(["1.2", "1", "release-v1.2"]), json!(["f-shiny"])]);
    app.finish().await
}

#[tokio::test]
async fn a_commit_that_asks_to_be_skipped_is_built_only_when_somebody_wants_it() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    hello.put_autobuild(json!([rule("branch", "main", "latest"), rule("tag", "/.*/", "{sourceref}")])).await?;
    let files = [("Dockerfile", "FROM scratch\n")];
    let commit = app.github.commit("octo/hello", "main", &files, "Mend the words\n\n[Skip CI]").await?;
    app.github.settle().await;
    let delivery = hello.delivery_of("refs/heads/main").await?;
    let verdicts = delivery["verdicts"].as_array().unwrap();
    let outcomes: Vec<&Value> = verdicts.iter().map(|verdict| &verdict["outcome"]).collect();
    assert_eq!(outcomes, ["skipped", "no_match"], "{delivery}");
    assert!(text(&verdicts[0], "text").ends_with("its commit's message says `[skip ci]`"), "{delivery}");
    assert!(hello.builds().await?.is_empty());

    // Its tag is a word of its own; so is a person's start, and a replay.
    app.github.tag("octo/hello", "v1", &commit).await?;
    app.github.settle().await;
    assert_eq!(hello.delivery_of("refs/tags/v1").await?["verdicts"][1]["outcome"], "built");
    app.api.post(&hello.at("/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    app.api.post(&hello.at(&format!("/deliveries/{}/replay", text(&delivery, "id"))), &json!({})).await?;
    let causes: Vec<Value> = hello.builds().await?.iter().map(|build| build["cause"].clone()).collect();
    assert_eq!(causes, ["replay", "manual", "push"]);
    app.finish().await
}

#[tokio::test]
async fn a_rule_that_cannot_be_is_refused_with_its_field_and_position() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let before = hello.settings().await?;
    for (bad, field, words) in [
        (rule("branch", "/^ab(c/", "latest"), "rules[1].source", "at character 4"),
        (rule("branch", "/a{2,1}/", "latest"), "rules[1].source", "at character"),
        (rule("branch", "/(a{1000}){1000}/", "latest"), "rules[1].source", "larger than"),
        (rule("branch", "a b", "latest"), "rules[1].source", "`a b`"),
        (rule("branch", "main", "not valid"), "rules[1].tags", "not valid"),
        (rule("branch", "/(x)/", r"{\2}"), "rules[1].tags", "1 groups"),
        (rule("commit", "main", "latest"), "rules[1].source_type", "`commit`"),
        (json!({ "source_type": "branch", "source": "main", "tags": "x", "dockerfile": "../Dockerfile" }), "rules[1].dockerfile", ".."),
        (json!({ "source_type": "branch", "source": "main", "tags": "x", "context": "a/../../b" }), "rules[1].context", ".."),
        (json!({ "source_type": "branch", "source": "main", "tags": "x", "target": "a b" }), "rules[1].target", "`a b`"),
        (
            json!({ "source_type": "branch", "source": "main", "tags": "x", "args": [{ "name": "BUILDKIT_SYNTAX", "value": "evil/x" }] }),
            "rules[1].args",
            "`BUILDKIT_SYNTAX`",
        ),
        (
            json!({ "source_type": "branch", "source": "main", "tags": "x", "paths": { "include": ["a["] } }),
            "rules[1].paths.include",
            "`a[`",
        ),
        (
            json!({ "source_type": "branch", "source": "main", "tags": "x", "paths": { "exclude": ["../a"] } }),
            "rules[1].paths.exclude",
            "for example",
        ),
        (json!({ "source_type": "tag", "source": "v1", "tags": "x", "paths": { "include": ["a"] } }), "rules[1].paths", "a tag is built"),
    ] {
        let body = json!({ "provider": "github", "source": "octo/hello", "rules": [rule("branch", "main", "latest"), bad] });
        let problem = app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&body)).await?.problem(422)?;
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{words}: {problem}");
    }
    for (field, body) in [
        ("source", json!({ "provider": "github", "source": "octo/nothing" })),
        ("provider", json!({ "provider": "gitlab", "source": "octo/hello" })),
        ("autotest", json!({ "provider": "github", "source": "octo/hello", "autotest": "sometimes" })),
    ] {
        let problem = app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&body)).await?.problem(422)?;
        assert_eq!(problem["field"], field, "{problem}");
    }
    let misspelt = json!({ "provider": "github", "source": "octo/hello", "rule": [] });
    app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&misspelt)).await?.problem(422)?;
    assert_eq!(hello.settings().await?, before, "a refused change changed something");
    app.finish().await
}

#[tokio::test]
async fn the_preview_shows_refs_and_tags_and_saves_nothing() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("a", "b")]).await?;
    app.github.tag("octo/hello", "v1.0", &commit).await?;
    app.github.annotated_tag("octo/hello", "v1.1", &commit, "One").await?;
    app.github.update_ref("octo/hello", "refs/heads/ü/ö", &commit).await?;
    let before = hello.settings().await?;
    let body = json!({ "rules": [rule("branch", "/.*/", "{sourceref}"), rule("tag", "/^v([0-9])/", "v{\\1}")] });
    let found = app.api.post(&hello.at("/autobuild/preview"), &body).await?;
    let found = found["items"].as_array().unwrap();
    let of = |name: &str| found.iter().find(|entry| entry["ref"] == name).unwrap_or_else(|| panic!("no `{name}` in {found:?}"));
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!((&of("refs/heads/main")["tags"], &of("refs/heads/main")["rule"]), (&json!(["main"]), &json!(0)));
    assert_eq!(of("refs/heads/main")["commit"], commit);
    assert_eq!(of("refs/heads/main")["collisions"], json!([]));
    for both in ["refs/tags/v1.0", "refs/tags/v1.1"] {
        assert_eq!((&of(both)["tags"], &of(both)["collisions"]), (&json!(["v1"]), &json!(["v1"])), "two refs give one tag");
    }
    let odd = of("refs/heads/ü/ö")["tags"][0].as_str().unwrap();
    assert!(odd.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{odd}");
    let bad = json!({ "rules": [rule("branch", "/(/", "x")] });
    let problem = app.api.try_api(Method::POST, &hello.at("/autobuild/preview"), Some(&bad)).await?.problem(422)?;
    assert_eq!(problem["field"], "rules[0].source");
    assert_eq!(hello.settings().await?, before);
    app.finish().await
}

#[tokio::test]
async fn variables_are_kept_and_their_webhook_survives_a_change_of_source() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    app.github.repository("octo/second", Visibility::Private).await?;
    let env = json!([{ "name": "COLOUR", "value": "midnight blue" }, { "name": "EMPTY", "value": "" }]);
    let body = json!({ "provider": "github", "source": "octo/hello", "env": env });
    let shown = |name: &str, value: &str, secret: bool| json!({ "name": name, "value": value, "secret": secret });
    let stored = app.api.put(&hello.at("/autobuild"), &body).await?["env"].clone();
    assert_eq!(stored, json!([shown("COLOUR", "midnight blue", false), shown("EMPTY", "", false)]));
    // A name without a value keeps the value; one that is left out goes.
    for (secret, is_secret) in [(json!(null), false), (json!(true), true), (json!(null), true), (json!(false), false)] {
        let body = json!({ "provider": "github", "source": "octo/hello", "env": [{ "name": "COLOUR", "secret": secret }] });
        let stored = app.api.put(&hello.at("/autobuild"), &body).await?["env"].clone();
        assert_eq!(stored, json!([shown("COLOUR", "midnight blue", is_secret)]), "{secret}");
    }
    for bad in [json!([{ "name": "1X", "value": "" }]), json!([{ "name": "NEW" }]), json!([{ "name": "DOCKER_TAG", "value": "x" }])] {
        let body = json!({ "provider": "github", "source": "octo/hello", "env": bad });
        app.api.try_api(Method::PUT, &hello.at("/autobuild"), Some(&body)).await?.problem(422)?;
    }
    // Another source: the old webhook goes, a new one stands there.
    let body = json!({ "provider": "github", "source": "octo/second" });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    app.wait_for("the webhook to move", || async {
        let moved = app.github.hooks("octo/hello").is_empty() && app.github.hooks("octo/second").len() == 1;
        Ok(moved.then_some(()))
    })
    .await?;
    app.api.delete(&hello.at("/autobuild")).await?;
    app.wait_for("the webhook to go", || async { Ok(app.github.hooks("octo/second").is_empty().then_some(())) }).await?;
    app.api.try_api(Method::GET, &hello.at("/autobuild"), None).await?.problem(404)?;
    app.finish().await
}

#[tokio::test]
async fn a_rule_of_some_paths_is_compared_with_its_last_image() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let api = json!({
        "source_type": "branch", "source": "main", "tags": "api-{shortsha}", "target": "api", "args": [{ "name": "LEVEL", "value": "2" }],
        "paths": { "include": ["api/**"], "exclude": ["**/*.md"] },
    });
    let mut rules = hello.put_autobuild(json!([api])).await?["rules"].clone();
    for (field, kept) in [("target", json!("api")), ("args", api["args"].clone()), ("paths", api["paths"].clone())] {
        assert_eq!(rules[0][field], kept, "{rules}");
    }
    let builder = app.builder("remote").await?;
    let pushed = async |text: &str| {
        let commit = hello.push("main", &[("Dockerfile", "FROM scratch AS api\n"), ("docs/a.md", text)]).await?;
        anyhow::Ok((builder.claim().await?, commit))
    };
    // Nothing came before the first one.
    let (first, commit) = pushed("one").await?;
    assert_eq!(
        (&first.source.base, first.rule.target.as_str(), first.tags[0].as_str()),
        (&None, "api", format!("api-{}", &commit[..7]).as_str())
    );
    builder.succeed(&app, &first, "one").await?;

    let (second, _) = pushed("two").await?;
    let base = Base::Image { number: 1, commit: commit.parse()? };
    assert_eq!(second.source.base.as_ref(), Some(&base), "the image before");
    let reason = FailureReason::new(FailureCode::Unchanged, "not built: nothing under the rule's paths changed since #1");
    assert_eq!(builder.finish(&second, Outcome::Unneeded { reason }).await?.unwrap().state, BuildState::Cancelled);
    let ended = hello.build(&second.build.to_string()).await?;
    assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("cancelled"), &json!("unchanged")), "{ended}");
    let page = app.sign_in(PERSON, PASSWORD).await?.open(&format!("/{}/builds/{}", hello.path(), second.build)).await?.text;
    assert!(page.contains("since #1") && page.contains("Start a build by hand"), "{page}");

    // What was not built is compared again with the image that stands, and so is what comes after a failure.
    let (third, _) = pushed("three").await?;
    assert_eq!(third.source.base.as_ref(), Some(&base));
    let failed = Outcome::Failed { reason: FailureReason::new(FailureCode::StepFailed, "exit code 1"), retry: false };
    builder.finish(&third, failed).await?.unwrap();
    let (fourth, _) = pushed("four").await?;
    assert_eq!(fourth.source.base.as_ref(), Some(&base));
    builder.succeed(&app, &fourth, "four").await?;

    // Whoever asks by hand gets a build, and another stage is another image of the same files.
    app.api.post(&hello.at("/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    let by_hand = builder.claim().await?;
    assert_eq!(by_hand.source.base, None);
    builder.succeed(&app, &by_hand, "four").await?;
    rules[0]["target"] = json!("");
    hello.put_autobuild(rules).await?;
    let (other, _) = pushed("five").await?;
    assert_eq!(other.source.base, None);
    builder.succeed(&app, &other, "five").await?;
    let (after, _) = pushed("six").await?;
    assert!(matches!(after.source.base, Some(Base::Image { number: 6, .. })), "{:?}", after.source.base);
    app.finish().await
}
