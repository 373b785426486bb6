//! Pushes by the `git` program over HTTP, and the events that come of them.

use std::path::Path;
use std::process::Output;

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{File, Permission, Visibility};

use crate::World;
use crate::receiver::Receiver;

const ZERO: &str = "0000000000000000000000000000000000000000";

/// `git` as a person runs it, with a home of its own.
fn git(folder: &Path, args: &[&str]) -> Output {
    std::process::Command::new("git")
        .args(["-c", "user.name=Octo", "-c", "user.email=octo@users.example", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap()
}

fn good(folder: &Path, args: &[&str]) -> String {
    let output = git(folder, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn bad(folder: &Path, args: &[&str]) -> String {
    let output = git(folder, args);
    assert!(!output.status.success(), "git {args:?} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_credentials(url: &str, user: &str, password: &str) -> String {
    url.replacen("http://", &format!("http://{user}:{password}@"), 1)
}

async fn hooked(world: &World) -> Receiver {
    let receiver = Receiver::start(StatusCode::OK).await;
    let config = json!({ "config": { "url": receiver.url, "content_type": "json" } });
    world.call(Method::POST, "/repos/octo/hello/hooks", Some(config)).await;
    receiver
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_pushes_and_the_hook_hears_it() {
    let world = World::new().await;
    let receiver = hooked(&world).await;
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let token = world.github.personal_token("octo", &["repo"]);
    let url = with_credentials(&world.github.clone_url("octo/hello"), &token, "x-oauth-basic");
    good(work, &["init", "--quiet"]);
    std::fs::write(work.join("Dockerfile"), "FROM scratch\n").unwrap();
    good(work, &["add", "."]);
    good(work, &["commit", "--quiet", "--message", "First\n\nWith a body"]);
    good(work, &["push", "--quiet", &url, "main"]);
    let first = good(work, &["rev-parse", "HEAD"]);
    std::fs::write(work.join("big"), "x".repeat(3_000_000)).unwrap();
    std::fs::remove_file(work.join("Dockerfile")).unwrap();
    good(work, &["add", "--all"]);
    good(work, &["commit", "--quiet", "--message", "Second"]);
    good(work, &["push", "--quiet", &url, "main", "HEAD:refs/heads/feature/ü"]);
    let second = good(work, &["rev-parse", "HEAD"]);
    world.github.settle().await;

    let pushes = receiver.json_of("push");
    assert_eq!(pushes.len(), 3);
    assert_eq!((&pushes[0]["before"], &pushes[0]["after"], &pushes[0]["created"]), (&json!(ZERO), &json!(first), &json!(true)));
    let commit = &pushes[0]["commits"][0];
    assert_eq!((&commit["added"], &commit["message"]), (&json!(["Dockerfile"]), &json!("First\n\nWith a body")));
    assert_eq!(commit["author"], json!({ "name": "Octo", "email": "octo@users.example", "username": "octo" }));
    let main = pushes.iter().find(|one| one["before"] == json!(first)).unwrap();
    assert_eq!((&main["ref"], &main["after"], &main["forced"]), (&json!("refs/heads/main"), &json!(second), &json!(false)));
    assert_eq!((&main["commits"][0]["removed"], &main["commits"][0]["added"]), (&json!(["Dockerfile"]), &json!(["big"])));
    assert_eq!(main["compare"], format!("{}/octo/hello/compare/{}...{}", world.github.web_url(), &first[..12], &second[..12]));
    let branch = pushes.iter().find(|one| one["ref"] == "refs/heads/feature/ü").unwrap();
    assert_eq!(branch["base_ref"], "refs/heads/main");
    assert_eq!((&branch["pusher"]["name"], &branch["sender"]["login"]), (&json!("octo"), &json!("octo")));
    assert_eq!(branch["repository"]["id"], world.github.repository_id("octo/hello"));
    assert!(branch["repository"]["pushed_at"].is_u64() && branch.get("installation").is_none());

    let clone = folder.path().join("clone");
    let url = with_credentials(&world.github.clone_url("octo/hello"), "x-access-token", &world.token);
    good(work, &["clone", "--quiet", "--depth", "1", &url, "clone"]);
    assert_eq!(good(&clone, &["rev-parse", "HEAD"]), second);
    good(&clone, &["fetch", "--quiet", "--depth", "1", "origin", &first]);
    assert_eq!(good(&clone, &["show", "FETCH_HEAD:Dockerfile"]), "FROM scratch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_asks_for_credentials_as_github_does() {
    let world = World::new().await;
    world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.commit("acme/open", "main", &[("a", "1")], "First").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (private, public) = (world.github.clone_url("octo/hello"), world.github.clone_url("acme/open"));
    let list = |url: &str| git(here, &["ls-remote", url]).status.success();
    let (private_url, public_url, token, github) = (private.clone(), public.clone(), world.token.clone(), world.github.clone());
    let hubot = world.link("hubot", "repo").await;
    // The commands wait for the server, which runs in this process.
    tokio::task::block_in_place(move || {
        assert!(!list(&private_url), "private without credentials");
        assert!(list(&public_url), "public without credentials");
        assert!(list(&with_credentials(&private_url, &token, "")), "token as user");
        assert!(list(&with_credentials(&private_url, "anybody", &token)), "token as password");
        assert!(!list(&with_credentials(&private_url, "octo", "octo-password")), "passwords do not work");
        let stranger = bad(here, &["ls-remote", &with_credentials(&private_url, &hubot, "x")]);
        assert!(stranger.contains("not found"), "{stranger}");
        good(here, &["init", "--quiet"]);
        good(here, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
        let denied = bad(here, &["push", &with_credentials(&public_url, &hubot, "x"), "HEAD:refs/heads/x"]);
        assert!(denied.contains("403"), "{denied}");
        github.collaborator("acme/open", "hubot", Permission::Write);
        good(here, &["push", "--quiet", &with_credentials(&public_url, &hubot, "x"), "HEAD:refs/heads/x"]);
        github.rename_repository("octo/hello", "hallo");
        assert!(list(&with_credentials(&private_url, &token, "")), "the old name redirects");
    });
}

#[tokio::test]
async fn tags_deletions_and_forced_pushes() {
    let world = World::new().await;
    let receiver = hooked(&world).await;
    let github = &world.github;
    let first = github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    let second = github.commit("octo/hello", "main", &[("a", "2")], "Second").await.unwrap();
    let object = github.annotated_tag("octo/hello", "v1", &second, "One").await.unwrap();
    github.tag("octo/hello", "v2", &first).await.unwrap();
    let tags: Vec<String> = (0..4).map(|number| format!("refs/tags/many-{number}")).collect();
    let many: Vec<(&str, &str)> = tags.iter().map(|name| (name.as_str(), first.as_str())).collect();
    github.update_refs("octo/hello", &many).await.unwrap();
    let other = github.force_commit("octo/hello", "main", Some(&first), &[("a", "3")], "Other").await.unwrap();
    github.delete_ref("octo/hello", "refs/tags/v2").await.unwrap();
    github.settle().await;

    let pushes = receiver.json_of("push");
    let of = |name: &str| -> Vec<&Value> { pushes.iter().filter(|one| one["ref"] == name).collect() };
    assert!(!pushes.iter().any(|one| one["ref"].as_str().unwrap().contains("many")), "four tags at once are silent");
    let v1 = of("refs/tags/v1")[0];
    assert_eq!((&v1["after"], &v1["head_commit"]["id"], &v1["commits"]), (&json!(object), &json!(second), &json!([])));
    assert_eq!(v1["base_ref"], "refs/heads/main");
    let v2 = of("refs/tags/v2");
    assert_eq!((&v2[1]["deleted"], &v2[1]["after"], &v2[1]["head_commit"]), (&json!(true), &json!(ZERO), &Value::Null));
    let forced = of("refs/heads/main").into_iter().find(|one| one["after"] == json!(other)).unwrap();
    assert_eq!((&forced["forced"], &forced["before"]), (&json!(true), &json!(second)));
    assert_eq!(forced["commits"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn odd_names_survive_git_and_json() {
    let world = World::new().await;
    let receiver = hooked(&world).await;
    let files =
        [("run me.sh", File::Executable("#!/bin/sh\n")), ("quote\"back\\slash", File::Text("x")), ("link", File::Symlink("run me.sh"))];
    world.github.repository("octo/other", Visibility::Private).await.unwrap();
    for branch in ["-h", "--upload-pack=x", "ü/ö", "v1.0"] {
        let sha = world.github.commit_files("octo/hello", branch, &files, "Odd\n\u{1f600}").await.unwrap();
        let listed = world.get("/repos/octo/hello/branches").await;
        assert!(listed.as_array().unwrap().iter().any(|one| one["name"] == branch), "{branch}: {listed}");
        let encoded = percent_encoding::utf8_percent_encode(branch, percent_encoding::NON_ALPHANUMERIC).to_string();
        let found = world.get(&format!("/repos/octo/hello/commits/{encoded}")).await;
        assert_eq!(found["sha"], sha, "{branch}");
        world.github.settle().await;
        let push = receiver.json_of("push").pop().unwrap();
        assert_eq!(push["ref"], format!("refs/heads/{branch}"));
        if branch == "-h" {
            assert_eq!(push["commits"][0]["added"], json!(["link", "quote\"back\\slash", "run me.sh"]));
            assert_eq!(push["commits"][0]["message"], "Odd\n\u{1f600}");
        }
    }
}
