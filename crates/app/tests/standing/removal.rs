//! What is to go at a provider: it goes, or it is kept until somebody can be asked, or people are told that it stays.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_app::ConnectWish;
use slipway_store::{deploy_keys, hooks};
use slipway_testkit::github::{Fault, OrgRole, Permission, Times, Visibility as Shown};

use crate::place::{Place, on_both};

on_both! {
    what_nobody_can_be_asked_to_remove_waits_for_somebody;
    what_the_provider_lets_nobody_remove_is_told_to_people;
    a_hook_whose_row_went_while_it_was_put_up_goes_again;
}

/// More tries than are made of what the provider refuses.
async fn many_tries(place: &Place) -> Result<()> {
    for _ in 0..25 {
        place.hours(1);
        place.app.settle_hooks_once().await?;
        place.app.settle_deploy_keys_once().await?;
    }
    Ok(())
}

async fn rows(place: &Place) -> Result<(usize, usize)> {
    let mut tx = place.app.db().read().await?;
    let account = place.caller.account().id;
    let hooks = hooks::list_by_provider(&mut tx, account, &place.provider).await?;
    let id = place.github.repository_id("octo/hello").to_string();
    Ok((hooks.len(), deploy_keys::list_by_source(&mut tx, account, &place.provider, &id).await?.len()))
}

async fn what_nobody_can_be_asked_to_remove_waits_for_somebody(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.revoke_grant("octo", &place.client_id);
    while place.app.check_links_once().await? > 0 {}
    place.app.delete_autobuild(&right).await?;
    many_tries(&place).await?;
    assert_eq!(rows(&place).await?, (1, 1));
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    place.link(ConnectWish::default()).await?;
    place.app.settle_hooks_once().await?;
    place.app.settle_deploy_keys_once().await?;
    assert_eq!(rows(&place).await?, (0, 0));
    assert!(place.github.hooks("octo/hello").is_empty() && place.github.deploy_keys("octo/hello").is_empty());
    assert!(place.audited_as("webhook.left").await?.is_empty());
    Ok(())
}

async fn what_the_provider_lets_nobody_remove_is_told_to_people(place: Place) -> Result<()> {
    place.github.user("boss");
    place.github.organization("acme", &[("boss", OrgRole::Admin)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.github.collaborator("acme/app", "octo", Permission::Admin);
    let (right, settings) = place.build("app", "acme/app").await?;
    assert!(settings.hook.is_some_and(|hook| hook.right) && settings.deploy_key.is_some_and(|key| key.state == "standing"));
    place.github.collaborator("acme/app", "octo", Permission::None);
    place.app.delete_autobuild(&right).await?;
    many_tries(&place).await?;
    for (action, page) in [("webhook.left", "hooks"), ("deploy_key.left", "keys")] {
        let entry = place.audited_as(action).await?.pop().with_context(|| format!("`{action}`"))?;
        let facts = entry.new.context("facts")?;
        assert_eq!((entry.object.as_str(), entry.actor.as_str(), entry.namespace.as_str()), ("acme/app", "slipway", "demo"));
        let address = format!("{}/acme/app/settings/{page}", place.github.web_url());
        assert_eq!((&facts["address"], facts["remote_id"].is_string()), (&json!(address), true), "{facts}");
        assert!(facts["because"].as_str().is_some_and(|because| because.contains("gone, or hidden")), "{facts}");
    }
    assert_eq!(place.github.hooks("acme/app").len(), 1, "it is there, as was said");
    let mut tx = place.app.db().read().await?;
    assert!(hooks::list_by_provider(&mut tx, place.caller.account().id, &place.provider).await?.is_empty());
    Ok(())
}

/// As when the link is unlinked at that moment: nobody would ever take the hook down.
async fn a_hook_whose_row_went_while_it_was_put_up_goes_again(place: Place) -> Result<()> {
    let account = place.caller.account().id;
    place.github.trouble("POST /api/v3/repos/octo/hello/hooks", Fault::Slow(Duration::from_secs(2)), Times::Next(1));
    let row_goes = async {
        while place.github.troubles_left() != Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut tx = place.app.db().write().await?;
        for hook in hooks::list_by_provider(&mut tx, account, &place.provider).await? {
            hooks::delete(&mut tx, hook.id).await?;
        }
        anyhow::Ok(tx.commit().await?)
    };
    let (built, gone) = tokio::join!(place.build("hello", "octo/hello"), row_goes);
    gone?;
    assert!(built?.1.hook.is_none());
    let asked = place.github.requests();
    assert!(asked.iter().any(|seen| seen.method == "POST" && seen.path.ends_with("/hooks") && seen.status == 201), "it was put up");
    assert!(place.github.hooks("octo/hello").is_empty());
    Ok(())
}
