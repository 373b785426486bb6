//! Pushes and clones by the `git` program over HTTP.

use std::path::Path;
use std::process::Output;

use axum::http::StatusCode;
use serde_json::{Value, json};
use slipway_testkit::bitbucket::{OldNames, Permission};

use super::World;
use crate::receiver::Receiver;

/// `git` as a person runs it, with a home of its own.
fn git(folder: &Path, args: &[&str]) -> Output {
    std::process::Command::new("git")
        .args(["-c", "user.name=Emma", "-c", "user.email=emma@users.example", "-c", "init.defaultBranch=main"])
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

fn with_credentials(url: &str, user: &str, password: &str) -> String {
    url.replacen("http://", &format!("http://{user}:{password}@"), 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_pushes_and_the_token_clones() {
    let world = World::new().await;
    let receiver = Receiver::start(StatusCode::OK).await;
    world.bitbucket.add_hook("acme/site", &receiver.url, &["repo:push"], None);
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let own = world.bitbucket.api_token("emma", &["repository:write"]);
    let url = with_credentials(&world.bitbucket.clone_url("acme/site"), "emma", &own);
    good(work, &["init", "--quiet"]);
    std::fs::write(work.join("Dockerfile"), "FROM scratch\n").unwrap();
    good(work, &["add", "."]);
    good(work, &["commit", "--quiet", "--message", "First"]);
    let head = good(work, &["rev-parse", "HEAD"]);
    good(work, &["tag", "--annotate", "v1", "--message", "One"]);
    good(work, &["push", "--quiet", &url, "main", "v1", "HEAD:refs/heads/feature/a"]);
    world.bitbucket.settle().await;
    let received = receiver.all();
    assert_eq!(received.len(), 1, "one push, one delivery");
    let body: Value = serde_json::from_slice(&received[0].body).unwrap();
    let changes = body["push"]["changes"].as_array().unwrap();
    let names: Vec<&Value> = changes.iter().map(|change| &change["new"]["name"]).collect();
    assert_eq!(names, ["feature/a", "main", "v1"]);
    assert!(changes.iter().all(|change| change["new"]["target"]["hash"] == json!(head)));
    assert_eq!(body["actor"]["nickname"], "emma");

    let url = with_credentials(&world.bitbucket.clone_url("acme/site"), "x-token-auth", &world.token);
    good(work, &["clone", "--quiet", "--depth", "1", &url, "clone"]);
    assert_eq!(good(&work.join("clone"), &["rev-parse", "HEAD"]), head);
    let seen = world.bitbucket.requests();
    assert!(seen.iter().any(|one| one.path == "/acme/site.git/git-upload-pack" && one.credentials == "Basic" && one.status == 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_asks_for_credentials_as_bitbucket_does() {
    let world = World::new().await;
    world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    world.bitbucket.push("acme/open", "main", &[("a", "1")], "First").await.unwrap();
    let mallory = world.link("mallory").await;
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (private, public) = (world.bitbucket.clone_url("acme/site"), world.bitbucket.clone_url("acme/open"));
    let list = |url: &str| git(here, &["ls-remote", url]).status.success();
    assert!(!list(&private), "private without credentials");
    assert!(list(&public), "public without credentials");
    assert!(list(&with_credentials(&private, "x-token-auth", &world.token)));
    assert!(!list(&with_credentials(&private, &world.token, "x-oauth-basic")), "not GitHub's way");
    assert!(!list(&with_credentials(&private, "emma", "emma-password")), "passwords do not work");
    assert!(!list(&with_credentials(&private, "x-token-auth", &mallory)), "lost access");
    good(here, &["init", "--quiet"]);
    good(here, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
    let denied = git(here, &["push", &with_credentials(&private, "x-token-auth", &world.token), "HEAD:refs/heads/x"]);
    assert!(String::from_utf8_lossy(&denied.stderr).contains("403"), "the scope is missing");
    world.bitbucket.rename_repository("acme/site", "home");
    let old = with_credentials(&private, "x-token-auth", &world.token);
    assert!(!list(&old), "the old name is gone");
    world.bitbucket.set_old_names(OldNames::Redirect);
    assert!(list(&old), "or leads on, where that is so");
    world.bitbucket.set_permission("acme/home", "mallory", Permission::Read);
    assert!(list(&with_credentials(&world.bitbucket.clone_url("acme/home"), "x-token-auth", &mallory)));
    world.bitbucket.advance_clock(std::time::Duration::from_secs(3600));
    assert!(!list(&with_credentials(&world.bitbucket.clone_url("acme/home"), "x-token-auth", &world.token)), "an hour later");
}
