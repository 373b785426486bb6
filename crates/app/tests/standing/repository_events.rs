//! What a provider tells of the repository itself is seen at the next look, although no ref moved.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_app::{Intake, RepositoryAdmin};
use slipway_testkit::github::Visibility as Shown;

use crate::place::{Place, on_both, read, write};

on_both! {
    a_repository_event_has_the_repository_itself_read;
}

/// The next look of the reconciler, which is due.
async fn look(place: &Place) -> Result<()> {
    anyhow::ensure!(place.app.reconcile_once().await? == 1, "it is due");
    Ok(())
}

/// What the provider says after it has done it.
async fn tell(place: &Place, right: &RepositoryAdmin, name: &str, action: &str) -> Result<()> {
    let hook = place.app.get_hook(&read(right)).await?;
    let secret = place.github.hooks(name).pop().and_then(|hook| hook.secret).context("a secret")?;
    let repository = json!({"id": place.github.repository_id(name), "full_name": name, "default_branch": "main"});
    let body = json!({"action": action, "repository": repository});
    let Intake::Stored(id) = place.deliver_event(&hook.address, &secret, action, "repository", &body).await? else {
        anyhow::bail!("not stored")
    };
    Ok(place.app.replay(&write(right), id, place.caller.account().id).await?)
}

async fn a_repository_event_has_the_repository_itself_read(place: Place) -> Result<()> {
    place.github.set_visibility("octo/hello", Shown::Public);
    let (right, settings) = place.build("hello", "octo/hello").await?;
    assert!(settings.deploy_key.is_none());
    look(&place).await?;
    place.github.set_visibility("octo/hello", Shown::Private);
    place.hours(2);
    look(&place).await?;
    assert!(place.app.get_deploy_key(&read(&right)).await?.is_none(), "the refs stand where they stood, and nothing else was read");
    tell(&place, &right, "octo/hello", "privatized").await?;
    look(&place).await?;
    assert!(place.app.get_deploy_key(&read(&right)).await?.is_some(), "a private source has a key");

    place.hours(2);
    look(&place).await?;
    place.github.rename_repository("octo/hello", "world");
    tell(&place, &right, "octo/world", "renamed").await?;
    look(&place).await?;
    assert_eq!(place.app.get_autobuild(&read(&right)).await?.context("settings")?.source, "octo/world");
    assert!(place.audited().await?.contains(&"source.rename".to_owned()));
    Ok(())
}
