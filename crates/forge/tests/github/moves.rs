//! Repositories that are renamed, moved, deleted, made anew under an old name, empty, or very many.

use crate::world::*;
use slipway_forge::{Coverage, ForgeError, Fresh, Heads};
use slipway_model::RefName;
use slipway_testkit::github::{Blocked, Fault, Times, Visibility};

#[tokio::test]
async fn a_repository_is_followed_by_its_id_and_a_new_one_under_the_old_name_is_not_it() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let id = github.repository_id("octo/hello").to_string();
    let by_id = async || client.source_repository_by_id(&token, source(&id, "octo/hello")).await.unwrap();
    github.rename_repository("octo/hello", "hallo");
    assert_eq!(by_id().await.unwrap().full_name, "octo/hallo");
    assert_eq!(client.source_repository(&token, "octo/hello").await.unwrap().unwrap().id, id, "the old name leads on");
    github.transfer_repository("octo/hallo", "acme");
    assert_eq!(by_id().await.unwrap().full_name, "acme/hallo");
    // Work under the old name goes on at the same repository.
    github.commit("acme/hallo", "main", &[("a", "b")], "c").await.unwrap();
    let main: RefName = "refs/heads/main".parse().unwrap();
    assert!(client.resolve(&token, "octo/hello", &main).await.unwrap().is_some());
    client.ensure_deploy_key(&token, "octo/hello", "t", &public_key(1)).await.unwrap();
    assert_eq!(github.deploy_key_access(&public_key(1)).unwrap().full_name, "acme/hallo");

    github.repository("octo/hello", Visibility::Private).await.unwrap();
    let other = client.source_repository(&token, "octo/hello").await.unwrap().unwrap();
    assert_ne!(other.id, id);
    assert_eq!(by_id().await.unwrap().full_name, "acme/hallo");
    github.delete_repository("acme/hallo");
    assert_eq!(by_id().await, None, "never another one under the same name");
}

#[tokio::test]
async fn deleted_and_made_anew_is_another_repository() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let id = github.repository_id("octo/hello").to_string();
    github.delete_repository("octo/hello");
    assert_eq!(client.source_repository(&token, "octo/hello").await, Ok(None));
    github.repository("octo/hello", Visibility::Private).await.unwrap();
    assert_ne!(client.source_repository(&token, "octo/hello").await.unwrap().unwrap().id, id);
    assert_eq!(client.source_repository_by_id(&token, source(&id, "octo/hello")).await, Ok(None));
}

#[tokio::test]
async fn visibility_default_branch_pushes_and_blocks_are_seen() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let read = async || client.source_repository(&token, "octo/hello").await;
    let before = read().await.unwrap().unwrap();
    github.advance_clock(std::time::Duration::from_secs(60));
    github.commit("octo/hello", "trunk", &[("a", "b")], "c").await.unwrap();
    github.set_default_branch("octo/hello", "trunk").await.unwrap();
    github.set_visibility("octo/hello", Visibility::Public);
    let after = read().await.unwrap().unwrap();
    assert_eq!((before.private, after.private, after.default_branch.as_str()), (true, false, "trunk"));
    assert!(before.pushed.is_some() && before.pushed != after.pushed, "{before:?} {after:?}");
    for (block, word) in [(Blocked::Dmca, "dmca"), (Blocked::Tos, "tos")] {
        github.block_repository("octo/hello", Some(block));
        assert!(matches!(read().await, Err(ForgeError::Forbidden { detail }) if detail.contains(word)));
    }
}

#[tokio::test]
async fn heads_are_whole_peeled_and_cheap_while_nothing_changes() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let heads = async |known: Option<String>| client.heads(&token, "octo/hello", known.as_deref()).await.unwrap();
    let Fresh::Changed { value: empty, marker: nothing } = heads(None).await else { panic!() };
    assert_eq!(empty, Heads { refs: Vec::new(), coverage: Coverage::Whole });
    let commit = github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    github.annotated_tag("octo/hello", "v1", &commit, "first").await.unwrap();
    let Fresh::Changed { value: two, marker: Some(marker) } = heads(nothing).await else { panic!() };
    let seen: Vec<_> = two.refs.iter().map(|one| (one.name.as_str(), one.commit.as_str())).collect();
    assert_eq!(seen, [("refs/heads/main", commit.as_str()), ("refs/tags/v1", commit.as_str())]);
    let asked = github.requests().len();
    assert_eq!(heads(Some(marker.clone())).await, Fresh::Unchanged);
    assert_eq!(github.requests()[asked..].iter().map(|request| request.status).collect::<Vec<_>>(), [304, 304]);
    // Only a tag changed: both lists come all the same.
    github.tag("octo/hello", "v2", &commit).await.unwrap();
    let Fresh::Changed { value: three, .. } = heads(Some(marker.clone())).await else { panic!() };
    assert_eq!(three.refs.len(), 3);
    for odd in ["", " ", "x y", "\u{1} \u{2}"] {
        assert!(matches!(heads(Some(odd.to_owned())).await, Fresh::Changed { .. }), "{odd:?}");
    }
}

/// Trap 13: nothing is built from what vanishes within minutes, so the reconciler may not see it either.
#[tokio::test]
async fn branches_of_the_merge_queue_are_no_heads() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let commit = github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    let queued = format!("refs/heads/gh-readonly-queue/main/pr-1-{commit}");
    github.update_refs("octo/hello", &[(&queued, &commit), ("refs/heads/gh-readonly", &commit)]).await.unwrap();
    let Fresh::Changed { value, .. } = client.heads(&token, "octo/hello", None).await.unwrap() else { panic!() };
    let mut names: Vec<&str> = value.refs.iter().map(|head| head.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((names.as_slice(), value.coverage), (&["refs/heads/gh-readonly", "refs/heads/main"][..], Coverage::Whole));
    // Who asks for it by its name is told where it stands.
    let found = client.resolve(&token, "octo/hello", &queued.parse().unwrap()).await.unwrap();
    assert_eq!(found.unwrap().as_str(), commit);
}

#[tokio::test]
async fn many_refs_come_whole_and_an_endless_list_is_a_part() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let commit = github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    let names: Vec<String> = (0..230).map(|number| format!("refs/heads/b{number}")).collect();
    let refs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), commit.as_str())).collect();
    github.update_refs("octo/hello", &refs).await.unwrap();
    let before = github.requests().len();
    let (heads, sent) = slipway_forge::counting(client.heads(&token, "octo/hello", None)).await;
    let Fresh::Changed { value, marker } = heads.unwrap() else { panic!() };
    assert_eq!((value.refs.len(), value.coverage, marker), (231, Coverage::Whole, None), "no page tells of the others");
    assert_eq!(sent as usize, github.requests().len() - before, "every page counts");
    assert!(sent >= 4, "{sent}");
    github.trouble("/api/v3/repos/octo/hello/branches", Fault::EndlessPages, Times::UntilCleared);
    let Fresh::Changed { value, marker } = client.heads(&token, "octo/hello", None).await.unwrap() else { panic!() };
    assert_eq!((value.coverage, marker), (Coverage::Part, None));
}

#[tokio::test]
async fn ten_thousand_repositories_come_in_a_hundred_pages() {
    let (github, client) = world().await;
    let ids = github.add_many_repositories("acme", 10_000);
    let token = token(&github, &client, "octo").await;
    let (mut cursor, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = client.source_repositories(&token, "acme", cursor.as_deref()).await.unwrap();
        found.extend(page.items.into_iter().map(|repository| repository.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, found.len()), (101, 10_001), "with `acme/site`");
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 10_001);
    assert!(ids.iter().all(|id| found.binary_search(&id.to_string()).is_ok()));
}
