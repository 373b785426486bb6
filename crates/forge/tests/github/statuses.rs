//! Statuses of commits, against the fake GitHub.

use crate::world::*;
use secrecy::ExposeSecret;
use slipway_forge::{CommitState, CommitStatus, ForgeError};
use slipway_model::{CommitId, RefName};
use slipway_testkit::github::{Fault, Permission, Times, Visibility};
use url::Url;

const STATUSES: &[(&str, &str)] = &[("contents", "read"), ("statuses", "write")];

fn url() -> Url {
    "http://127.0.0.1:9/acme/app/builds/1".parse().unwrap()
}

fn status<'a>(state: CommitState, description: &'a str, url: &'a Url, name: &'a RefName) -> CommitStatus<'a> {
    CommitStatus { context: "slipway/acme/app", state, description, url, name }
}

#[tokio::test]
async fn a_commit_says_how_its_build_stands() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let commit = github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    let (id, url, main): (CommitId, _, _) = (commit.parse().unwrap(), url(), RefName::branch("main").unwrap());
    let long = "ü".repeat(200);
    for (state, words) in [
        (CommitState::Pending, "build #1 is under way"),
        (CommitState::Success, "build #1 succeeded"),
        (CommitState::Failure, long.as_str()),
        (CommitState::Error, "two\nlines"),
    ] {
        client.set_commit_status(&token, "octo/hello", &id, &status(state, words, &url, &main)).await.unwrap();
    }
    let set = github.statuses("octo/hello", &commit);
    assert_eq!(set.iter().map(|one| one.state.as_str()).collect::<Vec<_>>(), ["pending", "success", "failure", "error"]);
    assert!(set.iter().all(|one| one.context == "slipway/acme/app" && one.target_url.as_deref() == Some(url.as_str())), "{set:?}");
    let words: Vec<_> = set.iter().map(|one| one.description.clone().unwrap()).collect();
    assert_eq!(words, ["build #1 is under way", "build #1 succeeded", &long[..280], "two lines"]);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let (github, client) = world().await;
    github.user("reader");
    github.collaborator("octo/hello", "reader", Permission::Read);
    github.repository("octo/open", Visibility::Public).await.unwrap();
    let mut commits = Vec::new();
    for source in ["octo/hello", "octo/open"] {
        commits.push(github.commit(source, "main", &[("a", "b")], "c").await.unwrap().parse::<CommitId>().unwrap());
    }
    let (url, main) = (url(), RefName::branch("main").unwrap());
    let status = status(CommitState::Pending, "x", &url, &main);
    let octo = token(&github, &client, "octo").await;
    for login in ["reader", "stranger"] {
        let token = token(&github, &client, login).await;
        let refused = client.set_commit_status(&token, "octo/hello", &commits[0], &status).await;
        assert!(matches!(refused, Err(ForgeError::NotFound)), "{login}: {refused:?}");
    }
    let gone: CommitId = "0123456789012345678901234567890123456789".parse().unwrap();
    let refused = client.set_commit_status(&octo, "octo/hello", &gone, &status).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Unexpected { status: 422, detail } if detail.contains("No commit found")), "{refused:?}");
    assert_eq!(client.set_commit_status(&octo, "octo/../x", &commits[0], &status).await, Err(ForgeError::NotFound));
    github.trouble("POST /api/v3/repos/octo/hello/statuses", Fault::Status(502), Times::Next(1));
    assert!(client.set_commit_status(&octo, "octo/hello", &commits[0], &status).await.unwrap_err().is_temporary());

    for login in ["little", "least"] {
        github.user(login);
        github.collaborator("octo/open", login, Permission::Write);
    }
    let little = link_with(&github, &client, "little", client.offers()[1].scopes).await.access_token;
    client.set_commit_status(&little, "octo/open", &commits[1], &status).await.unwrap();
    let least = link_with(&github, &client, "least", client.offers()[2].scopes).await.access_token;
    let refused = client.set_commit_status(&least, "octo/open", &commits[1], &status).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::MissingScope { scopes, .. } if scopes.iter().any(|one| one == "repo:status")), "{refused:?}");
}

/// With an App it is the installation that says it, for those who may push.
#[tokio::test]
async fn an_installation_says_it_for_whoever_may_push() {
    let (github, app, client) = world_with_app(STATUSES).await;
    github.install(&app.client_id, "acme", &[]);
    for (login, permission) in [("writer", Permission::Write), ("reader", Permission::Read)] {
        github.user(login);
        github.collaborator("acme/site", login, permission);
    }
    let commit: CommitId = github.commit("acme/site", "main", &[("a", "b")], "c").await.unwrap().parse().unwrap();
    let id = github.repository_id("acme/site").to_string();
    let (url, main) = (url(), RefName::branch("main").unwrap());
    let status = status(CommitState::Success, "x", &url, &main);
    let mut tokens = Vec::new();
    for (login, may) in [("octo", true), ("writer", true), ("reader", false)] {
        let person = token(&github, &client, login).await;
        let token = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
        let set = client.set_commit_status(&token, "acme/site", &commit, &status).await;
        assert_eq!(set.is_ok(), may, "{login}: {set:?}");
        if !may {
            assert!(matches!(set, Err(ForgeError::MissingScope { .. } | ForgeError::Forbidden { .. })), "{set:?}");
        }
        tokens.push(token.expose_secret().to_owned());
    }
    assert_eq!(github.statuses("acme/site", commit.as_str()).len(), 2);
    tokens.dedup();
    assert_eq!(tokens.len(), 3, "nobody gets what was made for somebody with other rights");
    let writer = token(&github, &client, "writer").await;
    let writer = client.repository_token(&writer, source(&id, "acme/site")).await.unwrap();
    assert!(client.ensure_deploy_key(&writer, "acme/site", "t", &public_key(1)).await.is_err());
}
