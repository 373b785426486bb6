//! Repositories that are renamed, moved, deleted, made public, archived, empty, and very many.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::Visibility;

use crate::World;
use crate::receiver::Receiver;

async fn listening(world: &World, repo: &str) -> Receiver {
    let receiver = Receiver::start(StatusCode::OK).await;
    let config = json!({ "url": receiver.url, "content_type": "json" });
    let hook = json!({ "config": config, "events": ["push", "repository"] });
    let made = world.call(Method::POST, &format!("/repos/{repo}/hooks"), Some(hook)).await;
    assert_eq!(made.status(), 201);
    receiver
}

#[tokio::test]
async fn a_repository_that_changes_tells_its_hooks() {
    let world = World::new().await;
    let receiver = listening(&world, "octo/hello").await;
    let github = &world.github;
    github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    github.commit("octo/hello", "next", &[("a", "2")], "Second").await.unwrap();
    let id = github.repository_id("octo/hello");
    let told = async || {
        github.settle().await;
        receiver.json_of("repository").pop().unwrap()
    };
    github.rename_repository("octo/hello", "hallo");
    let renamed = told().await;
    assert_eq!((&renamed["action"], &renamed["changes"]), (&json!("renamed"), &json!({ "repository": { "name": { "from": "hello" } } })));
    assert_eq!((&renamed["repository"]["full_name"], &renamed["repository"]["id"]), (&json!("octo/hallo"), &json!(id)));
    github.set_default_branch("octo/hallo", "next").await.unwrap();
    let edited = told().await;
    assert_eq!((&edited["action"], &edited["changes"]["default_branch"]["from"]), (&json!("edited"), &json!("main")));
    assert_eq!(world.get("/repos/octo/hallo").await["default_branch"], "next");
    github.set_visibility("octo/hallo", Visibility::Public);
    assert_eq!(told().await["action"], "publicized");
    github.set_visibility("octo/hallo", Visibility::Private);
    assert_eq!(told().await["action"], "privatized");
    github.transfer_repository("octo/hallo", "acme");
    let moved = told().await;
    assert_eq!((&moved["action"], &moved["changes"]["owner"]["from"]["user"]["login"]), (&json!("transferred"), &json!("octo")));
    assert_eq!((&moved["repository"]["full_name"], &moved["organization"]["login"]), (&json!("acme/hallo"), &json!("acme")));
    let pushes = receiver.of("push").len();
    github.archive_repository("acme/hallo");
    assert_eq!(told().await["repository"]["archived"], true);
    assert_eq!(receiver.of("push").len(), pushes, "none of this is a push");
    let refused = world.call(Method::POST, "/repos/acme/hallo/hooks", Some(json!({ "config": { "url": "http://127.0.0.1:9/" } }))).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.json::<Value>().await.unwrap()["message"], "Repository was archived so is read-only.");
}

#[tokio::test]
async fn old_names_lead_to_the_id_until_somebody_takes_them() {
    let world = World::new().await;
    let id = world.github.repository_id("octo/hello");
    world.github.transfer_repository("octo/hello", "acme");
    world.github.rename_repository("acme/hello", "welcome");
    let by_id = format!("{}/repositories/{id}", world.github.api_url());
    for old in ["/repos/octo/hello", "/repos/acme/hello"] {
        let answer = world.call(Method::GET, old, None).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (301, by_id.as_str()));
        let answer = world.call(Method::POST, &format!("{old}/keys"), Some(json!({}))).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (307, format!("{by_id}/keys").as_str()));
    }
    assert_eq!(world.get(&format!("/repositories/{id}/branches")).await, json!([]));
    let new = world.github.repository("octo/hello", Visibility::Private).await.unwrap();
    assert_ne!(new, id);
    assert_eq!(world.get("/repos/octo/hello").await["id"], new, "a new repository under the old name has an id of its own");
    world.github.delete_repository("octo/hello");
    assert_eq!(world.call(Method::GET, "/repos/octo/hello", None).await.status(), 404);
    let again = world.github.repository("octo/hello", Visibility::Private).await.unwrap();
    assert!(again != new && world.get(&format!("/repositories/{id}")).await["full_name"] == "acme/welcome");
    world.github.rename_account("octo", "octopus");
    assert_eq!(world.call(Method::GET, "/repos/octo/hello", None).await.status(), 301);
    assert_eq!(world.get("/repos/octopus/hello").await["id"], again);
}

#[tokio::test]
async fn refs_are_found_by_prefix_and_an_empty_repository_has_none() {
    let world = World::new().await;
    for path in ["git/matching-refs/heads", "git/matching-refs/tags", "git/ref/heads/main"] {
        let empty = world.call(Method::GET, &format!("/repos/octo/hello/{path}"), None).await;
        assert_eq!(empty.status(), 409, "{path}");
        assert_eq!(empty.json::<Value>().await.unwrap()["message"], "Git Repository is empty.");
    }
    let sha = world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.update_ref("octo/hello", "refs/heads/feature/ü#1", &sha).await.unwrap();
    let object = world.github.annotated_tag("octo/hello", "v1", &sha, "One").await.unwrap();
    let heads = world.get("/repos/octo/hello/git/matching-refs/heads/").await;
    let names: Vec<&str> = heads.as_array().unwrap().iter().map(|one| one["ref"].as_str().unwrap()).collect();
    assert_eq!(names, ["refs/heads/feature/ü#1", "refs/heads/main"]);
    let tags = world.get("/repos/octo/hello/git/matching-refs/tags").await;
    assert_eq!((&tags[0]["object"]["sha"], &tags[0]["object"]["type"]), (&json!(object), &json!("tag")));
    assert_eq!(world.get("/repos/octo/hello/git/ref/heads/feature%2F%C3%BC%231").await["object"]["sha"], sha);
    assert_eq!(world.get("/repos/octo/hello/git/matching-refs/heads/none").await, json!([]));
}

#[tokio::test]
async fn ten_thousand_repositories_come_in_pages_of_a_hundred() {
    let world = World::new().await;
    let ids = world.github.add_many_repositories("octo", 10_000);
    let first = world.call(Method::GET, "/user/repos?per_page=1000&affiliation=owner", None).await;
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("page=2>; rel=\"next\"") && link.contains("page=101>; rel=\"last\""), "{link}");
    assert_eq!(first.json::<Value>().await.unwrap().as_array().unwrap().len(), 100);
    let last = world.get("/user/repos?per_page=100&page=101&affiliation=owner").await;
    assert_eq!(last[0]["name"], "many-09999");
    assert_eq!(last[0]["id"], *ids.last().unwrap());
    assert_eq!(world.get("/repos/octo/many-00007/branches").await, json!([]), "nobody needed its git folder yet");
    let sha = world.github.commit("octo/many-00007", "main", &[("a", "1")], "First").await.unwrap();
    assert_eq!(world.get("/repos/octo/many-00007/branches").await[0]["commit"]["sha"], sha);
    let folder = tempfile::tempdir().unwrap();
    let url = world.github.clone_url("octo/many-00008").replacen("http://", &format!("http://x-access-token:{}@", world.token), 1);
    let clone = tokio::process::Command::new("git").args(["clone", "--quiet", &url, "."]).current_dir(folder.path()).output().await;
    let clone = clone.unwrap();
    assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stderr));
}

#[tokio::test]
async fn many_repositories_begin_like_one_and_go_their_own_ways() {
    let world = World::new().await;
    let sha = world.github.commit("octo/hello", "main", &[("a", "1")], "First").await.unwrap();
    world.github.add_many_repositories_like("octo", 5_000, "octo/hello");
    let heads = async |repo: &str| {
        let list = world.get(&format!("/repos/{repo}/git/matching-refs/heads")).await;
        list.as_array().unwrap().iter().map(|one| one["object"]["sha"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(heads("octo/many-04999").await, [sha.as_str()]);
    assert_eq!(world.get("/repos/octo/many-00001/commits/main").await["sha"], sha);
    let receiver = listening(&world, "octo/many-00001").await;
    let second = world.github.commit("octo/many-00001", "main", &[("a", "2")], "Second").await.unwrap();
    world.github.settle().await;
    let push = receiver.json_of("push").pop().unwrap();
    assert_eq!((&push["before"], &push["after"]), (&json!(sha), &json!(second)));
    assert_eq!(
        (heads("octo/many-00001").await, heads("octo/many-00002").await, heads("octo/hello").await),
        (vec![second], vec![sha.clone()], vec![sha])
    );
}
