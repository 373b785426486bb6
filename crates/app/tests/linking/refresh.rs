//! Rotating tokens: a refresh token works once, and killing it loses the grant.

use std::sync::Arc;

use anyhow::Result;
use slipway_app::NamespaceOwner;
use slipway_model::LinkState;
use slipway_testkit::github::{Fault, Times, TokenLife};

use crate::place::{Place, on_both};

on_both! {
    two_replicas_refresh_one_rotating_token_200_times_at_once;
    a_grant_survives_200_rotations_by_two_replicas;
    a_refresh_that_is_refused_makes_the_link_revoked;
    a_refresh_that_fails_for_now_uses_the_token_that_still_lives;
    a_caller_that_goes_away_does_not_lose_the_grant;
}

const EIGHT_HOURS: u64 = 8 * 3600;

async fn rotating(place: &Place) -> Result<NamespaceOwner> {
    place.github.set_token_life(&place.client_id, TokenLife::EightHours);
    place.link("octo").await?;
    place.owner().await
}

fn later(place: &Place, seconds: u64) {
    place.wait(seconds);
    place.github.advance_clock(std::time::Duration::from_secs(seconds));
}

async fn two_replicas_refresh_one_rotating_token_200_times_at_once(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    let before = place.token_requests();
    later(&place, EIGHT_HOURS);
    let (provider, other) = (place.provider.clone(), Arc::new(place.replica().await?));
    let place = Arc::new(place);
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (place, other, owner, provider) = (Arc::clone(&place), Arc::clone(&other), owner.clone(), provider.clone());
        callers.spawn(async move {
            let app = if n % 2 == 0 { &place.app } else { other.as_ref() };
            app.offers(&owner, &provider).await?;
            app.check_link(&owner, &provider, None).await.map(|view| view.state)
        });
    }
    for state in callers.join_all().await {
        assert_eq!(state?, LinkState::Ok);
    }
    assert_eq!(place.token_requests(), before + 1, "one refresh for one rotation");
    Ok(())
}

async fn a_grant_survives_200_rotations_by_two_replicas(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    let (before, other) = (place.token_requests(), place.replica().await?);
    for round in 1..=200 {
        later(&place, EIGHT_HOURS - 60);
        let here = place.app.check_link(&owner, &place.provider, None);
        let there = other.check_link(&owner, &place.provider, None);
        let (here, there) = tokio::join!(here, there);
        assert_eq!((here?.state, there?.state), (LinkState::Ok, LinkState::Ok), "round {round}");
        assert_eq!(place.token_requests(), before + round, "round {round}");
    }
    Ok(())
}

async fn a_refresh_that_is_refused_makes_the_link_revoked(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    place.github.revoke_grant("octo", &place.client_id);
    later(&place, EIGHT_HOURS);
    let view = place.app.check_link(&owner, &place.provider, None).await?;
    assert_eq!(view.state, LinkState::Revoked, "{view:?}");
    assert!(view.evidence.is_some_and(|evidence| evidence.words.contains("bad_refresh_token")));
    Ok(())
}

async fn a_refresh_that_fails_for_now_uses_the_token_that_still_lives(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    later(&place, EIGHT_HOURS - 60);
    place.github.trouble("POST /login/oauth/access_token", Fault::Status(502), Times::UntilCleared);
    let view = place.app.check_link(&owner, &place.provider, None).await?;
    assert_eq!(view.state, LinkState::Ok, "{view:?}");
    later(&place, 120);
    for round in 0..3 {
        let view = place.app.check_link(&owner, &place.provider, None).await?;
        assert_eq!(view.state, if round < 2 { LinkState::Ok } else { LinkState::Error }, "{view:?}");
    }
    place.github.clear_troubles();
    assert_eq!(place.app.check_link(&owner, &place.provider, None).await?.state, LinkState::Ok, "nothing was lost");
    Ok(())
}

async fn a_caller_that_goes_away_does_not_lose_the_grant(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    later(&place, EIGHT_HOURS);
    let slow = std::time::Duration::from_millis(400);
    place.github.trouble("POST /login/oauth/access_token", Fault::Slow(slow), Times::Next(1));
    let gone = tokio::time::timeout(slow / 4, place.app.check_link(&owner, &place.provider, None)).await;
    assert!(gone.is_err(), "the caller left in the middle of the exchange");
    let before = place.token_requests();
    let view = place.app.check_link(&owner, &place.provider, None).await?;
    assert_eq!(view.state, LinkState::Ok, "{view:?}");
    assert!(place.token_requests() <= before + 1, "the one that was under way was waited for");
    later(&place, EIGHT_HOURS);
    assert_eq!(place.app.check_link(&owner, &place.provider, None).await?.state, LinkState::Ok);
    Ok(())
}
