//! Builds by the real builder on a real engine: each way to fail has its own reason, and none moves a tag.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_model::Timestamp;
use slipway_tests::repository::text;
use slipway_tests::{Engine, Repository, Setup, TestApp};

fn time(build: &Value, field: &str) -> Timestamp {
    serde_json::from_value(build[field].clone()).unwrap_or_else(|_| panic!("no time `{field}` in {build}"))
}

async fn push(hello: &Repository<'_>, branch: &str, files: &[(&str, &str)]) -> Result<String> {
    let commit = hello.push(branch, files).await?;
    Ok(text(&hello.build_of(&commit).await?, "id").to_owned())
}

/// Waits until a step of this name runs.
async fn runs(hello: &Repository<'_>, id: &str, name: &str) -> Result<Value> {
    hello
        .until(id, &format!("the step `{name}` to run"), |build| {
            assert_ne!(build["state"], "failed", "{build}");
            build["steps"]
                .as_array()
                .is_some_and(|steps| steps.iter().any(|step| text(step, "name").contains(name) && step["state"] == "running"))
        })
        .await
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason_and_moves_no_tag() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let good = format!("FROM {base}\nCMD [\"true\"]\n");
    let id = push(&hello, "main", &[("Dockerfile", &good)]).await?;
    let digest = text(&hello.ended(&id, "success").await?, "digest").to_owned();
    let sut = |command: &str| format!("services:\n  sut:\n    image: {base}\n    command: {command}\n");
    let run = format!("FROM {base}\nRUN echo before && exit 42\n");
    let syntax = format!("FROM {base}\nRUNN echo\n");
    let missing_copy = format!("FROM {base}\nCOPY nothing /\n");
    let foreign = format!("FROM {}/eve/secret\n", app.host());
    let (failing, odd) = (sut("[\"sh\", \"-c\", \"echo testing; exit 3\"]"), "services:\n  web:\n    image: x\n".to_owned());
    for (what, files, code, words) in [
        (
            "a failing test",
            vec![("Dockerfile", good.as_str()), ("docker-compose.test.yml", failing.as_str())],
            "test_failed",
            "test `sut` exited with 3",
        ),
        ("a test without sut", vec![("docker-compose.test.yml", odd.as_str())], "test_invalid", "sut"),
        (
            "a failing step",
            vec![("docker-compose.test.yml", "services:\n  sut:\n    image: x\n"), ("Dockerfile", run.as_str())],
            "step_failed",
            "42",
        ),
        ("a Dockerfile that does not parse", vec![("Dockerfile", syntax.as_str())], "dockerfile_invalid", "RUNN"),
        ("a file that is not there", vec![("Dockerfile", missing_copy.as_str())], "step_failed", "nothing"),
        ("a base image of somebody else", vec![("Dockerfile", foreign.as_str())], "base_image", "eve/secret"),
    ] {
        let id = push(&hello, "main", &files).await?;
        let failed = hello.ended(&id, "failed").await?;
        assert_eq!(failed["reason"]["code"], code, "{what}: {failed}");
        assert!(text(&failed["reason"], "text").contains(words), "{what}: {failed}");
        assert!(failed["steps"].as_array().unwrap().iter().all(|step| step["state"] != "running"), "{what} left a step open: {failed}");
        assert_eq!(failed["attempt"], 1, "{what} was tried again");
        assert_eq!(hello.tag("latest").await?.as_deref(), Some(digest.as_str()), "{what} moved the tag");
    }
    // Without a Dockerfile at the rule's place.
    let rules = json!([{ "source_type": "branch", "source": "main", "tags": "latest", "dockerfile": "deploy/Dockerfile" }]);
    hello.put_autobuild(rules).await?;
    let id = push(&hello, "main", &[("Dockerfile", &good)]).await?;
    let failed = hello.ended(&id, "failed").await?;
    assert_eq!(
        (&failed["reason"]["code"], &failed["reason"]["text"]),
        (&json!("dockerfile_not_found"), &json!("Dockerfile not found at `deploy/Dockerfile`, the rule's Dockerfile location"))
    );
    assert_eq!(hello.tag("latest").await?, Some(digest));
    app.finish().await
}

#[tokio::test]
async fn cancelling_stops_a_running_build_within_two_seconds_and_a_retry_is_a_new_build() -> Result<()> {
    let app = TestApp::with(Setup::docker().alone()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "main", &[("Dockerfile", &format!("FROM {base}\nRUN sleep 55.5\n"))]).await?;
    runs(&hello, &id, "RUN sleep 55.5").await?;
    let asked = slipway_model::Clock::System.now();
    app.api.post(&hello.at(&format!("/builds/{id}/cancel")), &json!({})).await?;
    let cancelled = hello.ended(&id, "cancelled").await?;
    let took = time(&cancelled, "finished_at").since(asked);
    assert!(took <= Duration::from_millis(2500), "it took {took:?}, expected 2 s: {cancelled}");
    assert_eq!(cancelled["reason"]["code"], "cancelled");
    assert!(cancelled["steps"].as_array().unwrap().iter().all(|step| step["state"] != "running"), "{cancelled}");
    app.wait_for("the process of the step to end", || async { Ok((!a_process_runs("sleep 55.5")?).then_some(())) }).await?;

    let again = app.api.post(&hello.at(&format!("/builds/{id}/retry")), &json!({})).await?;
    let second = text(&again, "id");
    assert_ne!(second, id);
    assert_eq!((&again["number"], &again["retry_of"]), (&json!(2), &json!(id)));
    runs(&hello, second, "RUN sleep 55.5").await?;
    app.api.post(&hello.at(&format!("/builds/{second}/cancel")), &json!({})).await?;
    hello.ended(second, "cancelled").await?;
    assert_eq!(hello.tags().await?.len(), 0);
    app.finish().await
}

/// Whether a process with these arguments runs on this machine, in a container or not.
fn a_process_runs(arguments: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let Ok(line) = std::fs::read(entry?.path().join("cmdline")) else { continue };
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if String::from_utf8_lossy(&line.join(&b' ')).trim_end() == arguments {
            return Ok(true);
        }
    }
    Ok(false)
}

#[tokio::test]
async fn an_older_push_that_ends_later_does_not_take_the_tag_back() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let slow = push(&hello, "main", &[("Dockerfile", &format!("FROM {base}\nRUN sleep 6 && echo slow > /word\n"))]).await?;
    runs(&hello, &slow, "sleep 6").await?;
    let quick = push(&hello, "main", &[("Dockerfile", &format!("FROM {base}\nRUN echo quick > /word\n"))]).await?;
    let newest = text(&hello.ended(&quick, "success").await?, "digest").to_owned();
    assert_eq!(hello.build(&slow).await?["state"], "running", "two builds run at once");
    let old = hello.ended(&slow, "success").await?;
    assert!(text(&old, "note").contains("not moved"), "{old}");
    assert_ne!(old["digest"], newest);
    assert_eq!(app.registry().skopeo_digest("demo/hello", "latest").await?, newest);
    app.finish().await
}

#[tokio::test]
async fn odd_branches_and_tags_are_checked_out() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let rules = json!([
        { "source_type": "branch", "source": "/^[^m].*/", "tags": "{sourceref}" },
        { "source_type": "tag", "source": "/^v(.*)$/", "tags": "{\\1}" },
    ]);
    hello.put_autobuild(rules).await?;
    let dockerfile = format!("FROM {base}\nCOPY which /\n");
    let first = hello.push("main", &[("Dockerfile", &dockerfile), ("which", "first\n")]).await?;
    hello.push("main", &[("which", "second\n")]).await?;
    for name in ["-h", "--upload-pack=x", "ü/ö"] {
        app.github.update_ref("octo/hello", &format!("refs/heads/{name}"), &first).await?;
    }
    let object = app.github.annotated_tag("octo/hello", "v1.0", &first, "One").await?;
    app.github.settle().await;
    hello.decided().await?;
    let builds = hello.builds().await?;
    assert_eq!(builds.len(), 4, "{builds:?}");
    for build in &builds {
        let ended = hello.ended(text(build, "id"), "success").await?;
        assert_eq!(ended["commit"], first, "the commit itself is built, not the tag object {object}");
        let tag = ended["tags"][0].as_str().context("a build has a tag")?.to_owned();
        assert_eq!(app.registry().skopeo_digest("demo/hello", &tag).await?, text(&ended, "digest"));
    }
    assert!(hello.tag("1.0").await?.is_some());
    app.finish().await
}

#[tokio::test]
async fn variables_reach_the_build_and_their_values_stay_out_of_the_log() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let secret = "a-value-that-nobody-may-read";
    let body = json!({ "provider": "github", "source": "octo/hello", "env": [{ "name": "SECRET_WORD", "value": secret }] });
    app.api.put(&hello.at("/autobuild"), &body).await?;
    let dockerfile = format!(
        "FROM {base}\nARG SECRET_WORD\nARG SOURCE_BRANCH\nARG DOCKER_TAG\nRUN echo \"branch $SOURCE_BRANCH tag $DOCKER_TAG word $SECRET_WORD end\" && test \"$SECRET_WORD\" = {secret}\n"
    );
    let id = push(&hello, "main", &[("Dockerfile", &dockerfile)]).await?;
    hello.ended(&id, "success").await?;
    let log = hello.log(&id).await?;
    assert!(log.contains("branch main tag latest word "), "{log}");
    assert!(!log.contains(secret), "the log shows the value:\n{log}");
    let build = hello.build(&id).await?;
    assert!(!build.to_string().contains(secret), "a step's name shows the value: {build}");
    app.finish().await
}

#[tokio::test]
async fn without_an_engine_a_build_waits_and_says_what_to_do() -> Result<()> {
    let app = TestApp::with(Setup { engine: Engine::Missing, ..Setup::default() }).await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let build = hello.until(&id, "the build to say what it waits for", |build| text(build, "waits_for").contains("docker.sock")).await?;
    assert_eq!(build["state"], "queued");
    let browser = app.sign_in(slipway_tests::PERSON, slipway_tests::PASSWORD).await?;
    let page = browser.open("/builders").await?;
    assert!(page.status == 200 && page.text.contains("/nonexistent/docker.sock"), "{}", page.text);
    let page = browser.open(&format!("/demo/hello/builds/{id}")).await?;
    assert!(page.status == 200 && page.text.contains("/nonexistent/docker.sock"), "the build's page does not say why");
    assert_eq!(app.stranger().open("/readyz").await?.status, 200, "without an engine the server serves");
    app.finish().await
}

#[tokio::test]
async fn a_disabled_link_ends_a_waiting_build_with_its_reason() -> Result<()> {
    let app = TestApp::start().await?;
    let hello = app.linked_repository("hello").await?;
    let id = push(&hello, "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    app.api.patch("/namespaces/demo/links/github", &json!({ "enabled": false })).await?;
    let builder = app.builder("one").await?;
    assert!(builder.try_claim().await?.is_none());
    let ended = hello.ended(&id, "failed").await?;
    assert_eq!(ended["reason"]["code"], "link_unavailable");
    text(&ended["reason"], "text").find("disabled").context("the reason says so")?;
    app.finish().await
}
