//! Rotating tokens: a refresh token works once, and killing it loses the grant.

use std::sync::Arc;

use anyhow::Result;
use slipway_app::{Keys, NamespaceOwner};
use slipway_model::LinkState;
use slipway_store::links::{self, Tokens};
use slipway_testkit::github::{Fault, Times, TokenLife};

use crate::place::{Place, on_both};

on_both! {
    two_replicas_refresh_one_rotating_token_200_times_at_once;
    a_grant_survives_200_rotations_by_two_replicas;
    a_refresh_that_is_refused_makes_the_link_revoked;
    a_refresh_that_fails_for_now_uses_the_token_that_still_lives;
    a_caller_that_goes_away_does_not_lose_the_grant;
    a_refresh_whose_answer_was_lost_is_said_to_have_lost_the_grant;
    tokens_that_somebody_else_stored_meanwhile_are_used;
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

/// The provider has rotated the token, and nobody knows the new one: only linking anew helps, and that is said.
async fn a_refresh_whose_answer_was_lost_is_said_to_have_lost_the_grant(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    later(&place, EIGHT_HOURS);
    place.github.trouble("POST /login/oauth/access_token", Fault::AnswerLost, Times::Next(1));
    let view = place.app.check_link(&owner, &place.provider, None).await?;
    assert_eq!(view.state, LinkState::Ok, "one vain call breaks nothing: {view:?}");
    assert!(view.evidence.is_some(), "but it is shown");
    let view = place.app.check_link(&owner, &place.provider, None).await?;
    assert_eq!(view.state, LinkState::Revoked, "{view:?}");
    assert!(view.evidence.is_some_and(|evidence| evidence.words.contains("bad_refresh_token")));
    assert!(view.next_step.is_some_and(|step| step.contains("link it again")));
    Ok(())
}

/// Whoever comes back late with tokens of its own does not write them over newer ones, and uses those.
async fn tokens_that_somebody_else_stored_meanwhile_are_used(place: Place) -> Result<()> {
    let owner = rotating(&place).await?;
    later(&place, EIGHT_HOURS);
    let place = Arc::new(place);
    let id = place.view().await?.id.expect("it is linked");
    let slow = std::time::Duration::from_millis(400);
    place.github.trouble("POST /login/oauth/access_token", Fault::Slow(slow), Times::Next(1));
    let (there, at) = (Arc::clone(&place), owner.clone());
    let caller = tokio::spawn(async move { there.app.check_link(&at, &there.provider, None).await });
    let asked = || async { Ok((place.github.troubles_left() == Some(0)).then_some(())) };
    slipway_testkit::wait::until("the provider to be asked", std::time::Duration::from_secs(30), asked).await?;
    let token = place.github.personal_token("octo", &["repo", "read:org"]);
    let sealed = Keys::derive(&[1; 32]).seal(&["links.access_token", &id.to_string()], token.as_bytes());
    let mut tx = place.app.db().write().await?;
    let before = links::get_by_id(&mut tx, id).await?.expect("it stands");
    let tokens = Tokens { access_token_sealed: &sealed, refresh_token_sealed: None, expires_at: None, scopes: None };
    assert!(links::set_tokens(&mut tx, id, before.token_version, &tokens).await?, "it came first");
    tx.commit().await?;
    let view = caller.await??;
    assert_eq!(view.state, LinkState::Ok, "{view:?}");
    let after = links::get_by_id(&mut place.app.db().read().await?, id).await?.expect("it stands");
    assert_eq!((after.token_version, after.access_token_sealed), (before.token_version + 1, sealed), "the newer one stands");
    assert_eq!(place.app.check_link(&owner, &place.provider, None).await?.state, LinkState::Ok);
    Ok(())
}
