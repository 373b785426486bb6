//! Branches and tags as the real Gitea shows them.

use slipway_forge::{Coverage, ForgeError, Fresh, Heads, PullRequestHead, PullRequestOrigin, PullRequestStanding, SourceKey};
use slipway_model::RefName;
use slipway_testkit::gitea::Contents;
use slipway_testkit::github::Visibility;

use crate::World;

fn tag(short: &str) -> RefName {
    format!("refs/tags/{short}").parse().unwrap()
}

fn seen(fresh: &Fresh<Heads>) -> (Vec<(String, String)>, Option<String>) {
    let Fresh::Changed { value, marker } = fresh else { panic!("it says unchanged") };
    assert_eq!(value.coverage, Coverage::Whole);
    let mut refs: Vec<_> = value.refs.iter().map(|one| (one.name.to_string(), one.commit.as_str().to_owned())).collect();
    refs.sort();
    (refs, marker.clone())
}

#[tokio::test]
async fn heads_are_all_branches_and_peeled_tags() {
    let world = World::new().await;
    let token = world.token().await;
    let (gitea, client) = (&world.gitea, &world.client);
    let main = gitea.ref_head("octo/hello", "refs/heads/main").await.unwrap().unwrap();
    let odd = gitea.commit("octo/hello", "größe/a#b", &[("a", "1")], "odd").await.unwrap();
    gitea.tag("octo/hello", "light", &odd).await.unwrap();
    let tag_object = gitea.annotated_tag("octo/hello", "v1/x", &main, "One").await.unwrap();
    gitea.update_ref("octo/hello", "refs/tags/of-a-tag", &tag_object).await.unwrap();

    let fresh = client.heads(&token, "octo/hello", None).await.unwrap();
    let (refs, marker) = seen(&fresh);
    let expected = [
        ("refs/heads/größe/a#b", &odd),
        ("refs/heads/main", &main),
        ("refs/tags/light", &odd),
        ("refs/tags/of-a-tag", &main),
        ("refs/tags/v1/x", &main),
    ];
    assert_eq!(refs, expected.map(|(name, commit)| (name.to_owned(), commit.clone())));
    assert_ne!(tag_object, main);
    assert_eq!(client.heads(&token, "octo/hello", marker.as_deref()).await.unwrap(), Fresh::Unchanged);
    let forced = gitea.force_commit("octo/hello", "größe/a#b", None, &[("a", "2")], "forced").await.unwrap();
    gitea.delete_ref("octo/hello", "refs/tags/light").await.unwrap();
    let (refs, _) = seen(&client.heads(&token, "octo/hello", marker.as_deref()).await.unwrap());
    assert_eq!((refs.len(), &refs[0].1), (4, &forced));

    for (name, expected) in [
        (RefName::branch("größe/a#b").unwrap(), Some(&forced)),
        (RefName::branch("main").unwrap(), Some(&main)),
        (tag("v1/x"), Some(&main)),
        (tag("light"), None),
        (RefName::branch("mai").unwrap(), None),
        (tag("main"), None),
    ] {
        let found = client.resolve(&token, "octo/hello", &name).await.unwrap();
        assert_eq!(found.as_ref().map(|commit| commit.as_str()), expected.map(String::as_str), "{name}");
    }
}

#[tokio::test]
async fn a_tag_of_a_file_leads_to_no_commit() {
    let world = World::new().await;
    let token = world.token().await;
    let tree = world.gitea.api(http::Method::GET, "/repos/octo/hello/git/trees/main", None).await.unwrap();
    let blob = tree["tree"][0]["sha"].as_str().unwrap();
    world.gitea.tag("octo/hello", "file", blob).await.unwrap();
    let found = world.client.resolve(&token, "octo/hello", &tag("file")).await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn empty_is_not_hidden_and_hidden_is_not_found() {
    let world = World::new().await;
    world.gitea.user("stranger").await.unwrap();
    world.gitea.repository("stranger/hidden", Visibility::Private, Contents::FirstCommit).await.unwrap();
    world.gitea.repository("octo/empty", Visibility::Private, Contents::Empty).await.unwrap();
    let token = world.token().await;
    let main = RefName::branch("main").unwrap();
    assert!(seen(&world.client.heads(&token, "octo/empty", None).await.unwrap()).0.is_empty());
    assert_eq!(world.client.resolve(&token, "octo/empty", &main).await.unwrap(), None);
    for hidden in ["stranger/hidden", "octo/none", "nobody/none", "octo/../x"] {
        assert_eq!(world.client.heads(&token, hidden, None).await.unwrap_err(), ForgeError::NotFound, "{hidden}");
        assert_eq!(world.client.resolve(&token, hidden, &main).await.unwrap_err(), ForgeError::NotFound, "{hidden}");
    }
}

/// More than a page of the API, in one request.
#[tokio::test]
async fn many_refs_are_read_whole() {
    let world = World::new().await;
    let token = world.token().await;
    let main = world.gitea.ref_head("octo/hello", "refs/heads/main").await.unwrap().unwrap();
    let names: Vec<String> = (0..60).flat_map(|n| [format!("refs/heads/b{n}"), format!("refs/tags/t{n}")]).collect();
    let refs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), main.as_str())).collect();
    world.gitea.update_refs("octo/hello", &refs).await.unwrap();
    let before = world.front.requests().len();
    assert_eq!(seen(&world.client.heads(&token, "octo/hello", None).await.unwrap()).0.len(), 121);
    assert_eq!(world.front.requests().len(), before + 1);
}

#[tokio::test]
async fn a_commit_is_in_the_history_of_what_came_after_it() {
    let world = World::new().await;
    let (gitea, client, token) = (&world.gitea, &world.client, world.token().await);
    let commit = async |text: &str| gitea.commit("octo/hello", "main", &[("a", text)], text).await.unwrap();
    let (first, second) = (commit("1").await, commit("2").await);
    let side = gitea.force_commit("octo/hello", "side", Some(&first), &[("a", "3")], "side").await.unwrap();
    // Not the head of any branch any more.
    let replaced = side.clone();
    let side = gitea.force_commit("octo/hello", "side", Some(&first), &[("a", "5")], "side again").await.unwrap();
    // Without a common ancestor.
    let root = gitea.force_commit("octo/hello", "root", None, &[("a", "6")], "root").await.unwrap();
    let gone = "1".repeat(40);
    for (commit, of, expected) in [
        (&root, &second, None),
        (&second, &root, None),
        (&first, &second, Some(true)),
        (&second, &second, Some(true)),
        (&second, &first, Some(false)),
        (&second, &side, Some(false)),
        (&side, &second, Some(false)),
        (&first, &side, Some(true)),
        (&replaced, &side, Some(false)),
        (&gone, &second, None),
        (&second, &gone, None),
    ] {
        let found = client.is_in_history(&token, "octo/hello", &commit.parse().unwrap(), &of.parse().unwrap()).await;
        assert_eq!(found, Ok(expected), "{commit} {of}");
    }
}

#[tokio::test]
async fn open_pull_requests_are_listed_with_whose_they_are() {
    let world = World::new().await;
    let (gitea, client, token) = (&world.gitea, &world.client, world.token().await);
    let head = gitea.commit("octo/hello", "feature", &[("a", "1")], "1").await.unwrap();
    let wish = serde_json::json!({ "base": "main", "head": "feature", "title": "A change" });
    // Gitea knows of a pushed branch only a moment after it took it.
    let mut tries = 0;
    while let Err(error) = gitea.api(http::Method::POST, "/repos/octo/hello/pulls?sudo=octo", Some(wish.clone())).await {
        tries += 1;
        assert!(tries < 100, "{error:#}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let listed = client.open_pull_requests(&token, SourceKey { id: &world.hello, full_name: "octo/hello" }).await.unwrap();
    assert_eq!((listed.items.len(), listed.coverage), (1, Coverage::Whole));
    let one = &listed.items[0];
    assert_eq!((one.number, one.origin, one.base.to_string()), (1, PullRequestOrigin::Internal, "refs/heads/main".to_owned()));
    assert_eq!(one.head, PullRequestHead::Commit(head.parse().unwrap()));
    let other = client.open_pull_requests(&token, SourceKey { id: "7", full_name: "octo/hello" }).await.unwrap();
    assert_eq!((other.items.len(), other.coverage), (0, Coverage::Part));
    // By its number, however it stands.
    let key = SourceKey { id: &world.hello, full_name: "octo/hello" };
    let standing = async || client.pull_request(&token, key, one.number).await.unwrap().map(|found| (found.head, found.standing));
    assert_eq!(standing().await, Some((one.head.clone(), PullRequestStanding::Open)));
    let close = serde_json::json!({ "state": "closed" });
    gitea.api(http::Method::PATCH, &format!("/repos/octo/hello/pulls/{}?sudo=octo", one.number), Some(close)).await.unwrap();
    assert_eq!(standing().await, Some((one.head.clone(), PullRequestStanding::Closed)));
    assert_eq!(client.pull_request(&token, key, 99).await, Ok(None));
    for number in [one.number, 99] {
        let other = client.pull_request(&token, SourceKey { id: "7", full_name: "octo/hello" }, number).await;
        assert_eq!(other, Err(ForgeError::NotFound), "{number}");
    }
}
