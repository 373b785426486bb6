//! Linking: a state works once, in time, for the one who began it.

use anyhow::Result;
use slipway_app::{Error, LinkSwitch, RefusalKind};
use slipway_model::{LinkState, VerdictOutcome};

use crate::world::{World, commit};

fn is_bad<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(&result, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::Bad), "{result:?}");
}

async fn linked(world: &World, caller: &slipway_app::Caller) -> Result<LinkState> {
    Ok(world.app.get_link(&world.namespace(caller).await?, &world.provider, None).await?.state)
}

#[tokio::test]
async fn a_state_works_once_in_time_for_the_one_who_began_it() -> Result<()> {
    let world = World::new().await?;
    let (ann, bob) = (world.person("ann").await?, world.person("bob").await?);

    let (state, code) = world.approved(&ann).await?;
    is_bad(world.app.finish_connect(&bob, &world.provider, &state, Ok(&code)).await);
    // The foreign attempt used the state up: not even Ann can finish it now.
    is_bad(world.app.finish_connect(&ann, &world.provider, &state, Ok(&code)).await);
    assert_eq!(linked(&world, &ann).await?, LinkState::NotLinked);
    assert_eq!(linked(&world, &bob).await?, LinkState::NotLinked);

    // Another session of the same person did not begin it either.
    let (state, code) = world.approved(&ann).await?;
    let elsewhere = world.person("ann").await?;
    is_bad(world.app.finish_connect(&elsewhere, &world.provider, &state, Ok(&code)).await);

    let (state, code) = world.approved(&ann).await?;
    world.wait(601);
    is_bad(world.app.finish_connect(&ann, &world.provider, &state, Ok(&code)).await);
    assert_eq!(linked(&world, &ann).await?, LinkState::NotLinked);

    let (state, code) = world.approved(&ann).await?;
    world.app.finish_connect(&ann, &world.provider, &state, Ok(&code)).await?;
    assert_eq!(linked(&world, &ann).await?, LinkState::Ok);
    is_bad(world.app.finish_connect(&ann, &world.provider, &state, Ok(&code)).await);
    is_bad(world.app.finish_connect(&ann, &world.provider, "nonsense", Ok("x")).await);
    Ok(())
}

#[tokio::test]
async fn a_person_who_says_no_is_not_linked() -> Result<()> {
    let world = World::new().await?;
    let ann = world.person("ann").await?;
    let (state, _) = world.approved(&ann).await?;
    is_bad(world.app.finish_connect(&ann, &world.provider, &state, Err("access_denied")).await);
    assert_eq!(linked(&world, &ann).await?, LinkState::NotLinked);
    Ok(())
}

#[tokio::test]
async fn a_disabled_link_builds_nothing_and_sends_nothing() -> Result<()> {
    let world = World::new().await?;
    let (caller, right) = world.ready().await?;
    let owner = world.namespace(&caller).await?;
    world.app.switch_link(&owner, &world.provider, None, LinkSwitch::Disable).await?;
    let asked = world.github.requests().len();
    world.push(&right, &commit('1'), &commit('2')).await?;
    assert!(world.builds(&right).await?.is_empty());
    assert_eq!(world.app.check_link(&owner, &world.provider, None).await?.state, LinkState::Disabled);
    assert_eq!(world.github.requests().len(), asked, "nothing may be sent while the link is disabled");
    let read = slipway_app::RepositoryRead::from(slipway_app::RepositoryWrite::from(right.clone()));
    let deliveries = world.app.list_deliveries(&read, &slipway_app::DeliveryFilter::default(), None, 10).await?;
    assert_eq!(deliveries[0].verdicts[0].outcome, VerdictOutcome::Disabled);
    assert!(deliveries[0].verdicts[0].text.contains("link disabled"));

    world.app.switch_link(&owner, &world.provider, None, LinkSwitch::Enable).await?;
    world.push(&right, &commit('2'), &commit('3')).await?;
    assert_eq!(world.builds(&right).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn unlinking_removes_what_was_made_and_says_so() -> Result<()> {
    let world = World::new().await?;
    let (caller, _) = world.ready().await?;
    let owner = world.namespace(&caller).await?;
    let preview = world.app.preview_unlink(&owner, &world.provider, None).await?;
    assert_eq!((preview.hooks, preview.stops), (vec!["octo/hello".to_owned()], vec!["hello".to_owned()]));
    let receipt = world.app.unlink(&owner, &world.provider, None).await?;
    assert!(receipt.left.is_empty(), "{receipt:?}");
    assert_eq!(receipt.done.len(), 3, "{receipt:?}");
    assert!(world.github.hooks("octo/hello").is_empty());
    assert_eq!(linked(&world, &caller).await?, LinkState::NotLinked);

    // Linking again makes the hook again, once.
    world.link(&caller).await?;
    let stop = tokio_util::sync::CancellationToken::new();
    let app = world.app;
    let running = tokio::spawn(std::sync::Arc::clone(&app).run(stop.clone()));
    slipway_testkit::wait::until("the hook stands again", std::time::Duration::from_secs(10), || async {
        Ok((world.github.hooks("octo/hello").len() == 1).then_some(()))
    })
    .await?;
    stop.cancel();
    running.await?;
    Ok(())
}
