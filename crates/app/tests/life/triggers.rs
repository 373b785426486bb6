//! Build triggers: what a call starts, how often, and what the secret is worth.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use slipway_app::{Error, NewTrigger, Refusal, RepositoryAdmin, TriggerCall, TriggerWish};
use slipway_model::BuildState;

use crate::world::{World, commit};

async fn made(world: &World, right: &RepositoryAdmin, source_ref: Option<&str>) -> Result<NewTrigger> {
    let wish = TriggerWish { name: "nightly".into(), source_ref: source_ref.map(str::to_owned) };
    Ok(world.app.create_trigger(right, &wish).await?)
}

/// Calls the address with this body; the numbers of the builds that it started.
async fn call(world: &World, trigger: &NewTrigger, body: serde_json::Value) -> Result<Vec<u64>, Error> {
    let token = trigger.url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()).unwrap_or_default();
    let wish: TriggerCall = serde_json::from_value(body).expect("the body of a call");
    let made = world.app.call_trigger(trigger.trigger.id, &token, &wish, "192.0.2.7").await?;
    Ok(made.iter().map(|build| build.number).collect())
}

fn refusal(answer: Result<Vec<u64>, Error>) -> Result<Refusal> {
    match answer {
        Err(Error::Refused(refusal)) => Ok(refusal),
        other => bail!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_starts_what_the_rules_name_and_a_newer_push_leaves_it_alone() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let trigger = made(&world, &right, None).await?;
    assert!(trigger.url.as_str().starts_with("http://slipway.test:8080/triggers/"), "{}", trigger.url);
    assert_eq!(call(&world, &trigger, json!({})).await?, [1]);
    let build = world.builds(&right).await?.remove(0);
    assert_eq!((build.cause.as_str(), build.source_ref.as_str(), build.started_by), ("trigger", "refs/heads/main", None));
    world.push(&right, &commit('1'), &commit('2')).await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    assert_eq!(world.state(&right, 1).await?, BuildState::Queued);
    Ok(())
}

#[tokio::test]
async fn one_call_in_ten_seconds_gets_through() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let trigger = made(&world, &right, None).await?;
    assert_eq!(call(&world, &trigger, json!({})).await?, [1]);
    world.wait(4);
    let refused = refusal(call(&world, &trigger, json!({})).await)?;
    assert_eq!((refused.code, refused.retry_after), ("trigger_pause", Some(Duration::from_secs(6))));
    world.wait(6);
    // What was refused for its body counts too: the provider may have been asked for it.
    assert_eq!(refusal(call(&world, &trigger, json!({"source_name": "other"})).await)?.code, "no_rule");
    assert_eq!(refusal(call(&world, &trigger, json!({})).await)?.code, "trigger_pause");
    world.wait(10);
    assert_eq!(call(&world, &trigger, json!({"docker_tag": "latest"})).await?, [2]);
    Ok(())
}

#[tokio::test]
async fn a_secret_is_worth_nothing_once_it_was_changed_or_its_trigger_went() -> Result<()> {
    let world = World::new().await?;
    let (_, right) = world.ready().await?;
    let (trigger, other) = (made(&world, &right, None).await?, made(&world, &right, Some("refs/heads/main")).await?);
    let swapped = NewTrigger { trigger: other.trigger.clone(), url: trigger.url.clone() };
    assert!(matches!(call(&world, &swapped, json!({})).await, Err(Error::NotFound)));
    let newer = world.app.rotate_trigger(&right, trigger.trigger.id).await?;
    assert!(matches!(call(&world, &trigger, json!({})).await, Err(Error::NotFound)));
    assert_eq!(call(&world, &newer, json!({})).await?, [1]);
    world.wait(10);
    world.app.delete_trigger(&right, trigger.trigger.id).await?;
    assert!(matches!(call(&world, &newer, json!({})).await, Err(Error::NotFound)));
    assert!(matches!(world.app.delete_trigger(&right, trigger.trigger.id).await, Err(Error::NotFound)));
    let left = world.app.list_triggers(&right).await?;
    assert_eq!(left.first().context("one is left")?.id, other.trigger.id);
    assert_eq!(refusal(call(&world, &other, json!({"source_name": "slow"})).await)?.field.as_deref(), Some("source_name"));
    Ok(())
}
