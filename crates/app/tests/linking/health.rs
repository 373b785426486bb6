//! The health of a link: what the provider says is told apart, shown with evidence, and mailed to the owners once.

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, LinkSwitch};
use slipway_model::{BuildState, FailureCode, LinkState, LinkedAs, NamespaceAccess};
use slipway_testkit::github::{Fault, Times};

use crate::place::{Place, on_both};

on_both! {
    a_revoked_grant_shows_in_one_round_stops_builds_and_is_mailed_once;
    a_suspended_person_is_told_apart_and_the_end_of_it_is_mailed;
    a_scope_that_was_taken_away_is_named;
    passing_failures_break_a_link_only_in_a_row;
    an_organization_that_restricts_us_shows_and_so_does_its_approval;
    two_replicas_look_at_a_link_once_and_mail_once;
    a_disabled_link_is_not_asked_and_one_that_is_enabled_is_looked_at;
    owners_of_an_organization_are_mailed_and_members_are_not;
}

async fn a_revoked_grant_shows_in_one_round_stops_builds_and_is_mailed_once(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    assert_eq!(place.view().await?.state, LinkState::Ok);
    place.start(&right).await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.next_round().await?;
    let view = place.view().await?;
    let evidence = view.evidence.clone().context("evidence")?;
    assert_eq!((view.state, evidence.status, view.since), (LinkState::Revoked, Some(401), Some(place.clock.now())));
    assert_eq!(evidence.at, Some(place.clock.now()));
    assert!(view.next_step.is_some_and(|step| step.contains("link it again")));
    assert_eq!(view.affects, ["hello"]);

    // The build that waits ends at once, with the reason; and a new one is refused at once.
    let builder = place.builder().await?;
    assert!(place.app.claim(&builder).await?.is_none());
    let ended = place.builds(&right).await?.remove(0);
    let reason = ended.reason.context("a reason")?;
    assert_eq!((ended.state, reason.code), (BuildState::Failed, FailureCode::LinkUnavailable));
    for part in ["`octo`", "revoked since 2027-01-15", "link it again under Source providers"] {
        assert!(reason.text.contains(part), "{part} in {}", reason.text);
    }
    match place.start(&right).await {
        Err(slipway_app::Error::Refused(refusal)) => assert_eq!(refusal.code, "link_unavailable", "{refusal:?}"),
        other => panic!("{other:?}"),
    }

    let sent = place.sent(0).await?;
    assert_eq!(sent.len(), 1, "{sent:?}");
    for part in
        ["demo@example.com", "revoked", "status 401", "demo/hello (from octo/hello)", "http://slipway.test:8080/settings/source-providers"]
    {
        assert!(sent[0].contains(part), "{part} in {}", sent[0]);
    }
    for _ in 0..14 {
        place.next_round().await?;
    }
    assert!(place.sent(1).await?.is_empty(), "told once");

    // Linking again adopts what stands.
    place.link("octo").await?;
    place.app.settle_hooks_once().await?;
    place.round().await?;
    assert_eq!(place.view().await?.state, LinkState::Ok);
    assert_eq!(place.github.hooks("octo/hello").len(), 1, "nothing is there twice");
    place.start(&right).await?;
    assert!(place.app.claim(&builder).await?.is_some());
    assert!(place.sent(1).await?.is_empty(), "a person mended it and knows");
    Ok(())
}

async fn a_suspended_person_is_told_apart_and_the_end_of_it_is_mailed(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.round().await?;
    place.github.suspend_user("octo");
    place.next_round().await?;
    let view = place.view().await?;
    assert_eq!(view.state, LinkState::Suspended, "{view:?}");
    assert_eq!(view.evidence.and_then(|evidence| evidence.status), Some(403));
    place.github.unsuspend_user("octo");
    place.next_round().await?;
    assert_eq!(place.view().await?.state, LinkState::Ok);
    place.next_round().await?;
    let sent = place.sent(0).await?;
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].contains("suspended") && sent[1].contains("works again"), "{sent:?}");
    Ok(())
}

async fn a_scope_that_was_taken_away_is_named(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.github.narrow_scopes("octo", &place.client_id, &["read:org"]);
    place.next_round().await?;
    let view = place.view().await?;
    assert_eq!(view.state, LinkState::ScopeMissing, "{view:?}");
    assert_eq!(view.scopes_missing.iter().map(|scope| scope.scope.as_str()).collect::<Vec<_>>(), ["repo"]);
    let words = view.evidence.context("evidence")?.words;
    assert!(words.contains("`repo`") && words.contains("will not work"), "{words}");
    Ok(())
}

async fn passing_failures_break_a_link_only_in_a_row(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.round().await?;
    for fault in [Fault::Status(503), Fault::Html, Fault::Truncated, Fault::ErrorBody] {
        place.github.trouble("/api/v3/user", fault.clone(), Times::UntilCleared);
        for round in 1..=3 {
            place.next_round().await?;
            let view = place.view().await?;
            assert_eq!(view.state, if round < 3 { LinkState::Ok } else { LinkState::Error }, "{fault:?} round {round}: {view:?}");
            assert!(view.evidence.is_some(), "{fault:?}");
        }
        place.github.clear_troubles();
        place.next_round().await?;
        let view = place.view().await?;
        assert_eq!((view.state, view.evidence), (LinkState::Ok, None), "{fault:?}");
    }
    // A rate limit says nothing about the link, however long it lasts.
    place.github.trouble("/api/v3/user", Fault::RateLimited(403), Times::UntilCleared);
    for _ in 0..4 {
        place.wait(2 * 3600);
        place.round().await?;
        assert_eq!(place.view().await?.state, LinkState::Ok);
    }
    Ok(())
}

async fn an_organization_that_restricts_us_shows_and_so_does_its_approval(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("api", "acme/api").await?;
    place.round().await?;
    let access = |view: &slipway_app::LinkView| {
        view.organizations.iter().find(|one| one.name == "acme").map(|one| (one.access, one.grant_url.is_some()))
    };
    assert_eq!(access(&place.view().await?), Some((NamespaceAccess::Granted, true)));
    place.github.restrict_organization("acme");
    place.next_round().await?;
    let view = place.view().await?;
    assert_eq!(access(&view), Some((NamespaceAccess::Restricted, true)), "shown, never hidden");
    assert_eq!(view.state, LinkState::Restricted, "{view:?}");
    assert!(view.evidence.as_ref().is_some_and(|evidence| evidence.words.contains("`acme`")), "{view:?}");
    place.github.approve_app("acme", &place.client_id);
    place.next_round().await?;
    let view = place.view().await?;
    assert_eq!((view.state, access(&view)), (LinkState::Ok, Some((NamespaceAccess::Granted, true))));
    place.github.revoke_app_approval("acme", &place.client_id);
    place.next_round().await?;
    assert_eq!(place.view().await?.state, LinkState::Restricted);
    assert_eq!(place.sent(0).await?.len(), 3, "broken, mended, broken again");
    Ok(())
}

async fn two_replicas_look_at_a_link_once_and_mail_once(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.round().await?;
    let other = place.replica().await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.wait(crate::place::INTERVAL);
    let (here, there) = tokio::join!(place.app.check_links_once(), other.check_links_once());
    assert_eq!(here? + there?, 1);
    let owner = place.owner().await?;
    for app in [&place.app, &other] {
        assert_eq!(app.check_link(&owner, &place.provider, None).await?.state, LinkState::Revoked);
    }
    assert_eq!(place.sent(0).await?.len(), 1);
    Ok(())
}

async fn a_disabled_link_is_not_asked_and_one_that_is_enabled_is_looked_at(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    place.start(&right).await?;
    let owner = place.owner().await?;
    let view = place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Disable).await?;
    assert_eq!((view.state, view.next_check_at), (LinkState::Disabled, None));
    let asked = place.github.requests().len();
    place.next_round().await?;
    assert!(place.app.claim(&place.builder().await?).await?.is_none());
    place.app.check_link(&owner, &place.provider, Some(id)).await?;
    place.app.refresh_sources(&owner, &place.provider, Some(id)).await?;
    place.round().await?;
    assert_eq!(place.github.requests().len(), asked, "nothing is sent to the provider");
    let reason = place.builds(&right).await?.remove(0).reason.context("a reason")?;
    assert!(reason.text.contains("is disabled since") && reason.text.contains("enable it"), "{}", reason.text);
    place.github.revoke_grant("octo", &place.client_id);
    place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Enable).await?;
    place.round().await?;
    assert_eq!(place.view().await?.state, LinkState::Revoked, "enabling looks at it at once");
    Ok(())
}

async fn owners_of_an_organization_are_mailed_and_members_are_not(place: Place) -> Result<()> {
    let ann = place.person("ann").await?;
    place.mail_of(ann.account().id, "ann@example.com").await?;
    place.app.create_organization(&place.caller, "initech", "").await?;
    let owner = place.owner_of(&place.caller, "initech").await?;
    let wish = ConnectWish { linked_as: LinkedAs::ServiceUser, ..ConnectWish::default() };
    let linked = place.link_as(&place.caller, &owner, "ci-bot", wish).await?;
    assert!(linked.link.warnings.is_empty() && linked.notes.is_empty(), "{linked:?}");
    place.round().await?;
    place.github.revoke_grant("ci-bot", &place.client_id);
    place.next_round().await?;
    let sent = place.sent(0).await?;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].contains("demo@example.com") && sent[0].contains("/o/initech/settings/source-providers"), "{}", sent[0]);
    Ok(())
}
