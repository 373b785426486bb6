//! Build statuses of commits, against the fake Bitbucket.

use slipway_forge::{CommitState, CommitStatus, ForgeError};
use slipway_model::{CommitId, RefName};
use slipway_testkit::bitbucket::Permission;
use url::Url;

use crate::world::World;

#[tokio::test]
async fn a_commit_has_one_status_for_each_context() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let commit = world.bitbucket.push("acme/site", "main", &[("a", "b")], "c").await.unwrap();
    let id: CommitId = commit.parse().unwrap();
    let (url, main): (Url, _) = ("http://127.0.0.1:9/acme/app/builds/1".parse().unwrap(), RefName::branch("main").unwrap());
    let contexts = ["slipway/acme/app".to_owned(), format!("slipway/{}/app", "a".repeat(64))];
    for context in &contexts {
        for (state, word) in [
            (CommitState::Pending, "INPROGRESS"),
            (CommitState::Error, "STOPPED"),
            (CommitState::Failure, "FAILED"),
            (CommitState::Success, "SUCCESSFUL"),
        ] {
            let status = CommitStatus { context, state, description: &"ü".repeat(200), url: &url, name: &main };
            world.client.set_commit_status(&token, "acme/site", &id, &status).await.unwrap();
            let set = world.bitbucket.statuses("acme/site", &commit);
            let one = set.iter().find(|one| one.name.as_ref() == Some(context)).unwrap();
            assert_eq!((one.state.as_str(), one.url.as_deref(), one.refname.as_deref()), (word, Some(url.as_str()), Some("main")));
            assert_eq!(one.description.as_ref().unwrap().chars().count(), 140);
        }
    }
    assert_eq!(world.bitbucket.statuses("acme/site", &commit).len(), contexts.len());
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let world = World::new().await;
    let commit: CommitId = world.bitbucket.push("acme/site", "main", &[("a", "b")], "c").await.unwrap().parse().unwrap();
    world.bitbucket.set_permission("acme/site", "hugo", Permission::Read);
    let (url, main): (Url, _) = ("http://127.0.0.1:9/acme/app/builds/1".parse().unwrap(), RefName::branch("main").unwrap());
    let status = CommitStatus { context: "slipway/acme/app", state: CommitState::Pending, description: "x", url: &url, name: &main };
    for nickname in ["hugo", "mallory"] {
        let token = world.link(nickname).await.access_token;
        let refused = world.client.set_commit_status(&token, "acme/site", &commit, &status).await;
        assert!(matches!(refused, Err(ForgeError::NotFound | ForgeError::Forbidden { .. })), "{nickname}: {refused:?}");
    }
    let emma = world.link("emma").await.access_token;
    let gone: CommitId = "0123456789012345678901234567890123456789".parse().unwrap();
    assert_eq!(world.client.set_commit_status(&emma, "acme/site", &gone, &status).await, Err(ForgeError::NotFound));
    assert_eq!(world.client.set_commit_status(&emma, "acme/{x}", &commit, &status).await, Err(ForgeError::NotFound));
    assert!(world.bitbucket.statuses("acme/site", commit.as_str()).is_empty());
}
