//! With what a builder is sent to the source.

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use slipway_app::{BuildsWanted, Claimed, KeyOf, KeyUse, LinkSwitch, Progress, RepositoryAdmin, StartBuild};
use slipway_model::{BuildState, FailureCode};
use slipway_testkit::github::{DeployKeyPolicy, OrgRole, Permission, Visibility as Shown};

use crate::place::{Place, on_both, read, write};

on_both! {
    a_builder_gets_the_key_and_the_token;
    a_source_without_a_key_is_cloned_with_the_token_and_says_why;
    a_key_alone_is_not_used;
    nothing_is_fetched_through_a_disabled_link;
    the_repositorys_own_key_takes_the_place_of_the_deploy_key;
    a_refused_key_is_looked_at_and_the_build_says_so;
}

async fn claim(place: &Place, right: &RepositoryAdmin) -> Result<Option<Claimed>> {
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    place.app.start_builds(&write(right), &start, place.caller.account().id).await?;
    claim_again(place).await
}

async fn claim_again(place: &Place) -> Result<Option<Claimed>> {
    let token = place.app.register_builtin_builder("test").await?;
    let builder = place.app.builder_by_token(token.expose()).await?.context("a builder")?;
    Ok(place.app.claim(&builder).await?)
}

async fn a_builder_gets_the_key_and_the_token(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let source = claim(&place, &right).await?.context("a build")?.source;
    let ssh = source.ssh.context("a key")?;
    assert_eq!(ssh.url.as_str(), "ssh://git@github.test:22/octo/hello.git");
    assert!(ssh.private_key.expose_secret().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(ssh.host_keys.len(), 1);
    assert!(source.http.password.is_some() || source.http.username.is_some());
    let words = "a token of the link, which does not end by itself";
    assert_eq!((source.http_words.as_str(), source.because), (words, None), "an OAuth app's");
    assert!(!source.http.url.as_str().contains('@'));
    Ok(())
}

async fn a_source_without_a_key_is_cloned_with_the_token_and_says_why(place: Place) -> Result<()> {
    place.github.organization("acme", &[("octo", OrgRole::Admin)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.github.collaborator("acme/app", "octo", Permission::Admin);
    place.github.set_deploy_key_policy("acme", DeployKeyPolicy::Forbidden);
    let (right, _) = place.build("app", "acme/app").await?;
    let source = claim(&place, &right).await?.context("a build")?.source;
    assert!(source.ssh.is_none());
    assert!(source.because.as_deref().is_some_and(|because| because.contains("Deploy keys are disabled")), "{:?}", source.because);
    Ok(())
}

/// Without a link nobody tells whether the repository at this name is still the one that was linked.
async fn a_key_alone_is_not_used(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    place.app.start_builds(&write(&right), &start, place.caller.account().id).await?;
    place.github.suspend_user("octo");
    assert!(claim_again(&place).await?.is_none());
    let build = place.app.list_builds(&read(&right), &BuildsWanted::default(), None, 1).await?.pop().context("the build")?;
    let reason = build.reason.context("a reason")?;
    assert_eq!((build.state, reason.code), (BuildState::Failed, FailureCode::LinkUnavailable));
    assert!(reason.text.contains("octo"), "{}", reason.text);
    Ok(())
}

async fn nothing_is_fetched_through_a_disabled_link(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    place.app.start_builds(&write(&right), &start, place.caller.account().id).await?;
    place.app.switch_link(&place.owner().await?, &place.provider, None, LinkSwitch::Disable).await?;
    assert!(claim_again(&place).await?.is_none());
    let build = place.app.list_builds(&read(&right), &BuildsWanted::default(), None, 1).await?.pop().context("the build")?;
    let code = build.reason.as_ref().map(|reason| reason.code);
    assert_eq!((build.state, code), (BuildState::Failed, Some(FailureCode::LinkUnavailable)));
    Ok(())
}

async fn the_repositorys_own_key_takes_the_place_of_the_deploy_key(place: Place) -> Result<()> {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n";
    let save = async |name: &str, source: &str| {
        let right = place.build(name, source).await?.0;
        let env = serde_json::json!([{"name": "SSH_PRIVATE", "value": key, "secret": true}]);
        let input = serde_json::from_value(serde_json::json!({"provider": "github", "source": source, "env": env}))?;
        place.app.put_autobuild(&right, &input).await?;
        anyhow::Ok(right)
    };
    let right = save("hello", "octo/hello").await?;
    let claimed = claim(&place, &right).await?.context("a build")?;
    let ssh = claimed.source.ssh.context("a key")?;
    assert_eq!((ssh.key, ssh.private_key.expose_secret()), (KeyOf::Repository, key), "to the last line end");
    assert_eq!((ssh.url.as_str(), ssh.host_keys.len()), ("ssh://git@github.test:22/octo/hello.git", 1));
    assert_eq!(claimed.environment[0].value, key);
    // It also opens what no deploy key may be made for.
    place.github.organization("acme", &[("octo", OrgRole::Admin)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.github.collaborator("acme/app", "octo", Permission::Admin);
    place.github.set_deploy_key_policy("acme", DeployKeyPolicy::Forbidden);
    let right = save("app", "acme/app").await?;
    let source = claim(&place, &right).await?.context("a build")?.source;
    assert_eq!((source.ssh.map(|ssh| ssh.key), source.because), (Some(KeyOf::Repository), None));
    Ok(())
}

async fn a_refused_key_is_looked_at_and_the_build_says_so(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let id = place.github.deploy_keys("octo/hello").first().context("a key")?.id;
    place.github.delete_deploy_key("octo/hello", id);
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    place.app.start_builds(&write(&right), &start, place.caller.account().id).await?;
    let token = place.app.register_builtin_builder("test").await?;
    let builder = place.app.builder_by_token(token.expose()).await?.context("a builder")?;
    let claimed = place.app.claim(&builder).await?.context("a build")?;
    place.app.settle_deploy_keys_once().await?;
    assert!(place.github.deploy_keys("octo/hello").is_empty(), "its next look is hours away");
    let told = Progress::Cloned("a token of the link".into(), Some("the source refuses the deploy key".into()), KeyUse::Refused);
    place
        .app
        .report(&builder, claimed.build.id, claimed.build.attempt, 1, &[told])
        .await?
        .map_err(|fenced| anyhow::anyhow!(fenced.detail))?;
    for _ in 0..2 {
        place.app.settle_deploy_keys_once().await?;
    }
    assert_eq!(place.github.deploy_keys("octo/hello").len(), 1, "it was looked at now");
    let build = place.app.list_builds(&read(&right), &BuildsWanted::default(), None, 1).await?.pop().context("the build")?;
    assert_eq!(build.note.as_deref(), Some("cloned with a token of the link, because the source refuses the deploy key"));
    Ok(())
}
