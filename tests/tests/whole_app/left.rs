//! People who leave: a provider says 404 of what they see no more, and not that anything is wrong with them. Another link serves, nothing
//! that stands is taken away; and when the person is gone altogether, that is said as what it is.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::bitbucket::WorkspaceRole;
use slipway_testkit::gitea::Role;
use slipway_testkit::github::OrgRole;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Forge, PERSON, Repository, Setup, TestApp};

const OTHER: &str = "ci-bot";
const DOCKERFILE: &[(&str, &str)] = &[("Dockerfile", "FROM scratch\n")];
/// Requests an hour that no test comes near.
const MANY: u32 = 1_000_000;

/// `acme`, of two owners.
async fn organization_of_two(app: &TestApp, forge: Forge) -> Result<()> {
    let others = app.others.as_ref().context("the test wished for all providers")?;
    match forge {
        Forge::GitHub => {
            app.github.user(OTHER);
            app.github.set_rate_limit(OTHER, MANY.into());
            app.github.organization("acme", &[(AUTHOR, OrgRole::Admin), (OTHER, OrgRole::Admin)]);
        }
        Forge::Bitbucket => {
            others.bitbucket.add_user(OTHER);
            others.bitbucket.set_hourly_limit(OTHER, usize::try_from(MANY)?);
            others.bitbucket.add_workspace("acme", &[(AUTHOR, WorkspaceRole::Owner), (OTHER, WorkspaceRole::Owner)]);
        }
        Forge::Gitea => {
            others.gitea.user(OTHER).await?;
            forge.organization(app, "acme").await?;
            others.gitea.add_member("acme", OTHER, Role::Owner).await?;
        }
    }
    Ok(())
}

async fn leave(app: &TestApp, forge: Forge) -> Result<()> {
    let others = app.others.as_ref().context("the test wished for all providers")?;
    match forge {
        Forge::GitHub => app.github.remove_member("acme", AUTHOR),
        Forge::Bitbucket => others.bitbucket.remove_member("acme", AUTHOR),
        Forge::Gitea => others.gitea.remove_member("acme", AUTHOR).await?,
    }
    Ok(())
}

async fn link_of(app: &TestApp, forge: Forge, login: &str) -> Result<Value> {
    let links = app.api.items(&format!("/namespaces/{PERSON}/links")).await?;
    let found = links.into_iter().find(|link| link["provider"] == forge.id() && link["login"] == login);
    found.with_context(|| format!("`{login}` is linked"))
}

async fn built(hello: &Repository<'_>, commit: &str) -> Result<Option<Value>> {
    Ok(hello.builds().await?.into_iter().find(|build| build["commit"] == commit))
}

async fn a_member_who_leaves(forge: Forge) -> Result<()> {
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    organization_of_two(&app, forge).await?;
    forge.repository(&app, "acme/api").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "api", "acme/api").await?;
    let api = Repository::new(&app, "api");
    let first = forge.push(&app, "acme/api", "main", DOCKERFILE).await?;
    app.wait_for("the push to be built", || built(&api, &first)).await?;
    forge.link(&app, &app.api, PERSON, OTHER).await?;
    assert_eq!(link_of(&app, forge, AUTHOR).await?["affects"], json!(["api"]));
    let hooks = forge.hooks(&app, "acme/api").await?;

    leave(&app, forge).await?;
    let taken = app.wait_for("the second link to serve", || async {
        Ok(Some(link_of(&app, forge, OTHER).await?).filter(|link| link["affects"] == json!(["api"])))
    });
    let taken = taken.await?;
    let note = text(&taken["used_by"][0], "note");
    assert!(note.contains(&format!("`{OTHER}` took over from `{AUTHOR}`")), "{note}");
    assert_eq!(taken["used_by"][0]["problem"], Value::Null, "{taken}");
    // Who left is well, and linked; only the organization is not theirs any more.
    let theirs = app.wait_for("the organization to be theirs no more", || async {
        let link = link_of(&app, forge, AUTHOR).await?;
        let left = !link["organizations"].as_array().context("a list")?.iter().any(|one| one["name"] == "acme");
        Ok(left.then_some(link))
    });
    let theirs = theirs.await?;
    assert_eq!((&theirs["state"], &theirs["affects"]), (&json!("ok"), &json!([])), "{theirs}");
    // Nothing that stands is touched, and a push is heard and built once.
    let second = forge.push(&app, "acme/api", "main", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]).await?;
    app.wait_for("the next push to be built", || built(&api, &second)).await?;
    assert_eq!(forge.hooks(&app, "acme/api").await?, hooks);
    let state = app.api.get(&api.at("/autobuild")).await?["source_state"].clone();
    assert_eq!((&state["problem"], &state["login"]), (&Value::Null, &json!(OTHER)), "{state}");
    assert_eq!(api.builds().await?.len(), 2, "each once");
    app.finish().await
}

#[tokio::test]
async fn a_member_who_leaves_at_github_is_followed_by_the_second_link() -> Result<()> {
    a_member_who_leaves(Forge::GitHub).await
}

#[tokio::test]
async fn a_member_who_leaves_at_bitbucket_is_followed_by_the_second_link() -> Result<()> {
    a_member_who_leaves(Forge::Bitbucket).await
}

#[tokio::test]
async fn a_member_who_leaves_at_gitea_is_followed_by_the_second_link() -> Result<()> {
    a_member_who_leaves(Forge::Gitea).await
}

/// Without a second link nothing can be built, and why is said; what stands at the provider stays as it is.
#[tokio::test]
async fn a_person_whose_account_is_closed_is_told_as_a_link_that_is_no_more() -> Result<()> {
    let forge = Forge::Bitbucket;
    let app = TestApp::with(Setup::default().all_providers().quick()).await?;
    organization_of_two(&app, forge).await?;
    forge.repository(&app, "acme/api").await?;
    forge.link(&app, &app.api, PERSON, AUTHOR).await?;
    forge.build_from(&app, &app.api, PERSON, "api", "acme/api").await?;
    let api = Repository::new(&app, "api");
    let commit = forge.push(&app, "acme/api", "main", DOCKERFILE).await?;
    let waiting = app.wait_for("the push to be queued", || built(&api, &commit)).await?;
    let hooks = forge.hooks(&app, "acme/api").await?;

    app.others.as_ref().unwrap().bitbucket.delete_user(AUTHOR);
    let link = app.wait_for("the link to be `revoked`", || async {
        Ok(Some(link_of(&app, forge, AUTHOR).await?).filter(|link| link["state"] == "revoked"))
    });
    let link = link.await?;
    assert!(text(&link, "next_step").contains("link it again") && !text(&link, "evidence").is_empty(), "{link}");
    assert_eq!(link["affects"], json!(["api"]), "{link}");
    assert!(app.builder("remote").await?.try_claim().await?.is_none(), "no build begins");
    let ended = api.build(text(&waiting, "id")).await?;
    assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("failed"), &json!("link_unavailable")), "{ended}");
    let why = text(&ended["reason"], "text");
    assert!(why.contains(AUTHOR) && why.contains("revoked since") && why.contains("link it again"), "{why}");
    let refused = app.api.try_api(Method::POST, &api.at("/builds"), Some(&json!({ "ref": "refs/heads/main" }))).await?.problem(409)?;
    assert_eq!(refused["code"], "link_unavailable", "{refused}");
    assert_eq!(forge.hooks(&app, "acme/api").await?, hooks, "nothing is deleted because one person is gone");

    // Whoever links next is served by what stands.
    forge.link(&app, &app.api, PERSON, OTHER).await?;
    app.wait_for("the new link to serve", || async {
        Ok(Some(link_of(&app, forge, OTHER).await?).filter(|link| link["affects"] == json!(["api"])))
    })
    .await?;
    app.api.post(&api.at("/builds"), &json!({ "ref": "refs/heads/main" })).await?;
    assert_eq!(forge.hooks(&app, "acme/api").await?.len(), 1);
    app.finish().await
}
