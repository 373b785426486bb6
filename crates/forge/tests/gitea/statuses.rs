//! Statuses of commits at the real Gitea.

use slipway_forge::{CommitState, CommitStatus, ForgeError};
use slipway_model::{AccessLevel, CommitId, RefName};
use slipway_testkit::github::Permission;
use url::Url;

use crate::World;

const HELLO: &str = "octo/hello";

#[tokio::test]
async fn a_commit_says_how_its_build_stands_to_those_who_may_write() {
    let world = World::new().await;
    let token = world.token().await;
    let commit = world.gitea.ref_head(HELLO, "refs/heads/main").await.unwrap().unwrap();
    let id: CommitId = commit.parse().unwrap();
    let (url, main): (Url, _) = ("http://127.0.0.1:9/acme/app/builds/1".parse().unwrap(), RefName::branch("main").unwrap());
    let long = "ü".repeat(200);
    let status = |state| CommitStatus { context: "slipway/acme/app", state, description: &long, url: &url, name: &main };
    for (state, word) in [
        (CommitState::Pending, "pending"),
        (CommitState::Error, "error"),
        (CommitState::Failure, "failure"),
        (CommitState::Success, "success"),
    ] {
        world.client.set_commit_status(&token, HELLO, &id, &status(state)).await.unwrap();
        let shown = world.gitea.api(http::Method::GET, &format!("/repos/{HELLO}/commits/{commit}/status"), None).await.unwrap();
        let shown = shown["statuses"].as_array().unwrap();
        assert_eq!(shown.len(), 1, "the newest of the context: {shown:?}");
        assert_eq!((&shown[0]["status"], &shown[0]["context"]), (&word.into(), &"slipway/acme/app".into()));
        assert_eq!((&shown[0]["target_url"], &shown[0]["description"]), (&url.as_str().into(), &long[..280].into()));
    }

    let set = async |token, source, id: &CommitId| world.client.set_commit_status(token, source, id, &status(CommitState::Pending)).await;
    for (login, permission) in [("writer", Permission::Write), ("reader", Permission::Read)] {
        world.gitea.user(login).await.unwrap();
        world.gitea.collaborator(HELLO, login, permission).await.unwrap();
    }
    let reads = world.grant("writer", AccessLevel::ReadOnly).await.access_token;
    let refused = set(&reads, HELLO, &id).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::MissingScope { scopes, .. } if scopes == &["write:repository"]), "{refused:?}");
    let reader = world.grant("reader", AccessLevel::Full).await.access_token;
    let refused = set(&reader, HELLO, &id).await.unwrap_err();
    assert!(matches!(refused, ForgeError::Forbidden { .. }), "{refused:?}");
    assert_eq!(set(&token, "octo/none", &id).await, Err(ForgeError::NotFound));
    // Gitea has no better word for a commit that it does not know.
    let gone = set(&token, HELLO, &"0123456789012345678901234567890123456789".parse().unwrap()).await.unwrap_err();
    assert!(matches!(gone, ForgeError::NotFound | ForgeError::Unexpected { status: 500, .. }), "{gone:?}");
}
