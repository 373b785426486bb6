//! Deploy keys: made, adopted, forbidden, lost with a grant, changed, removed.

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, DeployKeyStatus, RepositoryAdmin};
use slipway_testkit::github::{DeployKeyPolicy, OrgRole, Permission, Visibility as Shown};

use crate::place::{Place, on_both, read};

on_both! {
    a_private_source_has_one_key_until_its_last_repository_goes;
    a_public_source_needs_none_until_it_turns_private;
    an_organization_that_forbids_keys_is_asked_again;
    a_key_that_died_with_its_grant_comes_back;
    a_key_that_is_deleted_again_is_left_to_a_person;
    a_new_key_stands_before_the_old_one_goes;
    a_renamed_source_loses_its_key_when_it_shall;
}

async fn status(place: &Place, right: &RepositoryAdmin) -> Result<DeployKeyStatus> {
    place.app.get_deploy_key(&read(right)).await?.context("a key")
}

async fn a_private_source_has_one_key_until_its_last_repository_goes(place: Place) -> Result<()> {
    let (one, settings) = place.build("one", "octo/hello").await?;
    let key = settings.deploy_key.context("a key")?;
    assert_eq!((key.state, key.changing), ("standing", false));
    let there = place.github.deploy_keys("octo/hello");
    assert_eq!(there.len(), 1);
    assert!(there[0].read_only && there[0].title == "Slipway at slipway.test:8080", "{there:?}");
    assert_eq!(place.github.deploy_key_access(&key.public_key).context("it opens the source")?.full_name, "octo/hello");
    assert!(key.fingerprint.starts_with("SHA256:") && key.settings_url.ends_with("octo/hello/settings/keys"), "{key:?}");

    let (two, settings) = place.build("two", "octo/hello").await?;
    assert_eq!(settings.deploy_key.context("the same key")?.public_key, key.public_key);
    place.app.delete_autobuild(&one).await?;
    place.app.settle_deploy_keys_once().await?;
    assert_eq!(place.github.deploy_keys("octo/hello").len(), 1, "the other repository needs it");
    place.app.delete_autobuild(&two).await?;
    place.app.settle_deploy_keys_once().await?;
    assert!(place.github.deploy_keys("octo/hello").is_empty());
    Ok(())
}

async fn a_public_source_needs_none_until_it_turns_private(place: Place) -> Result<()> {
    place.github.repository("octo/open", Shown::Public).await?;
    place.github.commit("octo/open", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    let (right, settings) = place.build("open", "octo/open").await?;
    assert!(settings.deploy_key.is_none());
    place.github.set_visibility("octo/open", Shown::Private);
    assert!(place.save(&right, "octo/open").await?.deploy_key.is_some_and(|key| key.state == "standing"));
    place.github.set_visibility("octo/open", Shown::Public);
    place.save(&right, "octo/open").await?;
    place.app.settle_deploy_keys_once().await?;
    assert!(place.github.deploy_keys("octo/open").is_empty());
    Ok(())
}

async fn an_organization_that_forbids_keys_is_asked_again(place: Place) -> Result<()> {
    place.github.organization("acme", &[("octo", OrgRole::Admin)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.github.collaborator("acme/app", "octo", Permission::Admin);
    place.github.set_deploy_key_policy("acme", DeployKeyPolicy::Forbidden);
    let (right, settings) = place.build("app", "acme/app").await?;
    let key = settings.deploy_key.context("a wish")?;
    assert_eq!(key.state, "forbidden");
    assert!(key.error.as_deref().is_some_and(|error| error.contains("Deploy keys are disabled")), "{key:?}");
    place.github.set_deploy_key_policy("acme", DeployKeyPolicy::Allowed);
    place.app.settle_deploy_keys_once().await?;
    assert_eq!(status(&place, &right).await?.state, "forbidden", "not asked all the time");
    place.hours(27);
    place.app.settle_deploy_keys_once().await?;
    assert_eq!(status(&place, &right).await?.state, "standing");
    Ok(())
}

async fn a_key_that_died_with_its_grant_comes_back(place: Place) -> Result<()> {
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let key = settings.deploy_key.context("a key")?;
    place.github.revoke_grant("octo", &place.client_id);
    assert!(place.github.deploy_keys("octo/hello").is_empty(), "as GitHub does");
    place.link(ConnectWish::default()).await?;
    for _ in 0..2 {
        place.app.settle_deploy_keys_once().await?;
    }
    assert_eq!(status(&place, &right).await?.public_key, key.public_key);
    assert_eq!(place.github.deploy_key_access(&key.public_key).context("it opens the source")?.full_name, "octo/hello");
    Ok(())
}

async fn a_key_that_is_deleted_again_is_left_to_a_person(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    for round in 0..2 {
        let id = place.github.deploy_keys("octo/hello").first().context("a key")?.id;
        place.github.delete_deploy_key("octo/hello", id);
        place.hours(14);
        for _ in 0..2 {
            place.app.settle_deploy_keys_once().await?;
        }
        assert_eq!(place.github.deploy_keys("octo/hello").len(), 1 - round, "round {round}");
    }
    let left = status(&place, &right).await?;
    assert!(left.state == "forbidden" && left.error.is_some_and(|error| error.contains("deleted at the provider again")));
    assert_eq!(place.app.rotate_deploy_key(&right).await?.state, "standing", "a person's word");
    Ok(())
}

async fn a_new_key_stands_before_the_old_one_goes(place: Place) -> Result<()> {
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let old = settings.deploy_key.context("a key")?;
    place.github.set_outage(Some(503));
    let changing = place.app.rotate_deploy_key(&right).await?;
    assert!(changing.changing && changing.public_key == old.public_key && changing.error.is_some(), "{changing:?}");
    place.github.set_outage(None);
    assert!(place.app.rotate_deploy_key(&right).await.is_err(), "one change at a time");
    place.hours(1);
    for _ in 0..2 {
        place.app.settle_deploy_keys_once().await?;
    }
    let new = status(&place, &right).await?;
    assert!(!new.changing && new.public_key != old.public_key, "{new:?}");
    let there: Vec<String> = place.github.deploy_keys("octo/hello").into_iter().map(|key| key.key).collect();
    assert_eq!(there, [new.public_key]);
    let again = place.app.rotate_deploy_key(&right).await?;
    let there: Vec<String> = place.github.deploy_keys("octo/hello").into_iter().map(|key| key.key).collect();
    assert_eq!(there, [again.public_key], "at once, when the provider answers");
    assert!(place.audited().await?.contains(&"deploy_key.rotate".to_owned()));
    Ok(())
}

async fn a_renamed_source_loses_its_key_when_it_shall(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.rename_repository("octo/hello", "renamed");
    place.github.repository("octo/hello", Shown::Private).await?;
    place.app.delete_autobuild(&right).await?;
    place.app.settle_deploy_keys_once().await?;
    assert!(place.github.deploy_keys("octo/renamed").is_empty());
    Ok(())
}
