//! Which link serves a source: another one takes over, says so, and a provider in passing trouble loses no build.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use slipway_app::{Error, LinkSwitch};
use slipway_model::{BuildState, FailureCode, LinkState};
use slipway_testkit::github::{Fault, Permission, Times};

use crate::place::{Place, on_both};

on_both! {
    a_second_link_takes_over_and_says_so;
    a_person_who_lost_the_repository_is_replaced_by_one_who_has_it;
    a_build_waits_while_the_provider_is_away_and_is_not_lost;
    a_repository_made_anew_under_the_old_name_is_not_built;
    a_rename_does_not_stop_a_build;
    an_app_gives_builders_a_token_that_only_reads;
    with_an_app_a_link_without_access_does_not_take_over;
    a_source_is_not_gone_while_a_link_that_may_see_it_is_not_asked;
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

/// What a builder gets is in the hands of whatever a Dockerfile runs.
async fn an_app_gives_builders_a_token_that_only_reads(place: Place) -> Result<()> {
    let place = place.with_github_app().await?;
    let installation = place.github.install(&place.client_id, "octo", &[]);
    place.link("octo").await?;
    let (right, settings) = place.build("hello", "octo/hello").await?;
    assert!(settings.hook.is_some_and(|hook| hook.right), "the App may manage");
    place.start(&right).await?;
    let source = place.app.claim(&place.builder().await?).await?.context("a build")?.source;
    let token = source.http.password.context("a token")?;
    let may = place.github.installation_token_permissions(token.expose_secret()).context("it is an installation's")?;
    let expected = [("contents", "read"), ("metadata", "read")].map(|(name, level)| (name.to_owned(), level.to_owned()));
    assert_eq!(may, BTreeMap::from(expected));
    assert_eq!(place.github.installation_tokens(installation).len(), 2, "one manages, one clones");
    Ok(())
}

/// The App's installation lets everybody in who is linked, so the person is asked for first.
async fn with_an_app_a_link_without_access_does_not_take_over(place: Place) -> Result<()> {
    let place = place.with_github_app().await?;
    place.github.install(&place.client_id, "octo", &[]);
    let octo = place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    let bot = place.link("ci-bot").await?;
    place.start(&right).await?;
    place.github.revoke_grant("octo", &place.client_id);
    let builder = place.builder().await?;
    assert!(place.app.claim(&builder).await?.is_none());
    let ended = place.builds(&right).await?.remove(0);
    assert_eq!((ended.state, ended.reason.context("a reason")?.code), (BuildState::Failed, FailureCode::LinkUnavailable));
    place.round().await?;
    assert_eq!(place.view_of(octo).await?.state, LinkState::Revoked);
    // Nor does one that is made when no other works.
    place.github.user("late");
    let late = place.link("late").await?;
    assert!(place.start(&right).await.is_err());
    for link in [bot, late] {
        assert!(place.view_of(link).await?.used_by.is_empty());
    }
    assert!(!place.audited().await?.contains(&"link.takeover by slipway".to_owned()));

    place.github.collaborator("octo/hello", "ci-bot", Permission::Write);
    place.start(&right).await?;
    assert!(place.app.claim(&builder).await?.is_some(), "{:?}", place.builds(&right).await?);
    let note = place.view_of(bot).await?.used_by.first().and_then(|used| used.note.clone()).context("it serves and says so")?;
    assert!(note.contains("`ci-bot` took over from `octo`"), "{note}");
    assert!(place.audited().await?.contains(&"link.takeover by slipway".to_owned()));
    Ok(())
}

async fn a_source_is_not_gone_while_a_link_that_may_see_it_is_not_asked(place: Place) -> Result<()> {
    place.link("ci-bot").await?;
    let octo = place.link("octo").await?;
    let owner = place.owner().await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    let look = async |place: &Place| {
        place.wait(2 * 3600);
        place.round().await?;
        anyhow::ensure!(place.app.reconcile_once().await? == 1, "it was due");
        Ok(place.source_state(&right).await?.problem)
    };
    assert!(look(&place).await?.is_none());
    for words in ["disabled", "revoked"] {
        if words == "disabled" {
            place.app.switch_link(&owner, &place.provider, Some(octo), LinkSwitch::Disable).await?;
        } else {
            place.github.revoke_grant("octo", &place.client_id);
        }
        let problem = look(&place).await?.context("the pages say it")?;
        assert_eq!(problem.code, "no_access", "{problem:?}");
        assert!(problem.text.contains(&format!("the link of `octo` to `github` is {words}")), "{problem:?}");
        assert!(matches!(place.start(&right).await, Err(Error::Refused(refusal)) if refusal.code == "link_unavailable"));
        assert!(!place.audited().await?.contains(&"source.gone by slipway".to_owned()));
        if words == "disabled" {
            place.app.switch_link(&owner, &place.provider, Some(octo), LinkSwitch::Enable).await?;
        } else {
            place.link("octo").await?;
        }
        assert!(look(&place).await?.is_none(), "{words}: the next look ends it, although no ref moved");
    }
    // One that both are asked for and neither sees is gone.
    place.github.delete_repository("octo/hello");
    assert_eq!(look(&place).await?.context("a problem")?.code, "gone");
    Ok(())
}
