//! Which link serves a source: another one takes over, says so, and a provider in passing trouble loses no build.

use anyhow::{Context as _, Result};
use slipway_model::{BuildState, FailureCode, LinkState};
use slipway_testkit::github::{Fault, Permission, Times};

use crate::place::{Place, on_both};

on_both! {
    a_second_link_takes_over_and_says_so;
    a_person_who_lost_the_repository_is_replaced_by_one_who_has_it;
    a_build_waits_while_the_provider_is_away_and_is_not_lost;
    a_repository_made_anew_under_the_old_name_is_not_built;
    a_rename_does_not_stop_a_build;
}

async fn a_second_link_takes_over_and_says_so(place: Place) -> Result<()> {
    let first = place.link("octo").await?;
    let (right, _) = place.build("api", "acme/api").await?;
    let second = place.link("ci-bot").await?;
    place.round().await?;
    assert_eq!(place.view_of(first).await?.affects, ["api"]);
    place.start(&right).await?;
    place.github.revoke_grant("octo", &place.client_id);
    let claimed = place.app.claim(&place.builder().await?).await?;
    assert!(claimed.is_some(), "{:?}", place.builds(&right).await?);
    let served = place.view_of(second).await?.used_by;
    let note = served.first().context("it serves now")?.note.clone().context("and says so")?;
    assert!(note.contains("`ci-bot` took over from `octo` on 2027-01-15") && note.contains("because"), "{note}");
    assert!(place.audited().await?.contains(&"link.takeover by slipway".to_owned()), "{:?}", place.audited().await?);
    // The failed call has the first one looked at soon.
    place.wait(60);
    place.round().await?;
    assert_eq!(place.view_of(first).await?.state, LinkState::Revoked);
    assert_eq!(place.view_of(second).await?.state, LinkState::Ok);
    Ok(())
}

async fn a_person_who_lost_the_repository_is_replaced_by_one_who_has_it(place: Place) -> Result<()> {
    place.github.collaborator("octo/hello", "ci-bot", Permission::Admin);
    let bot = place.link("ci-bot").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    let octo = place.link("octo").await?;
    place.github.collaborator("octo/hello", "ci-bot", Permission::None);
    place.start(&right).await?;
    assert_eq!(place.view_of(octo).await?.affects, ["hello"]);
    place.round().await?;
    assert_eq!(place.view_of(bot).await?.state, LinkState::Ok, "the link itself works");
    Ok(())
}

async fn a_build_waits_while_the_provider_is_away_and_is_not_lost(place: Place) -> Result<()> {
    place.link("octo").await?;
    // One of everybody has no deploy key, with which it could be fetched all the same.
    place.github.set_visibility("octo/hello", slipway_testkit::github::Visibility::Public);
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.start(&right).await?;
    let builder = place.builder().await?;
    for fault in [Fault::Status(503), Fault::RateLimited(403), Fault::SecondaryLimit(429, Some(5))] {
        place.github.trouble("/api/v3/repositories", fault.clone(), Times::UntilCleared);
        for _ in 0..5 {
            assert!(place.app.claim(&builder).await?.is_none(), "{fault:?}");
            place.wait(4000);
        }
        let waiting = place.builds(&right).await?.remove(0);
        assert_eq!((waiting.state, waiting.attempt, waiting.started_at), (BuildState::Queued, 0, None), "{fault:?}: {waiting:?}");
        assert!(waiting.note.as_deref().is_some_and(|note| note.contains("waits for it")), "{waiting:?}");
        place.github.clear_troubles();
    }
    let claimed = place.app.claim(&builder).await?.context("the provider is back")?;
    assert_eq!(claimed.build.attempt, 1, "waiting costs no attempt");
    Ok(())
}

async fn a_repository_made_anew_under_the_old_name_is_not_built(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.github.set_visibility("octo/hello", slipway_testkit::github::Visibility::Public);
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    place.start(&right).await?;
    place.github.delete_repository("octo/hello");
    place.github.repository("octo/hello", slipway_testkit::github::Visibility::Public).await?;
    place.github.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "not the same").await?;
    assert!(place.app.claim(&place.builder().await?).await?.is_none());
    let ended = place.builds(&right).await?.remove(0);
    assert_eq!(ended.reason.context("a reason")?.code, FailureCode::LinkUnavailable);
    assert!(place.start(&right).await.is_err());
    Ok(())
}

async fn a_rename_does_not_stop_a_build(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.rename_repository("octo/hello", "world");
    place.start(&right).await?;
    assert!(place.app.claim(&place.builder().await?).await?.is_some());
    Ok(())
}
