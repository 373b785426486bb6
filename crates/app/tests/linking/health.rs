//! The health of a link: what the provider says is told apart, shown with evidence, and mailed to the owners once.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_app::{ConnectWish, Intake, LinkSwitch, RepositoryAdmin, RepositoryWrite};
use slipway_model::{BuildState, FailureCode, LinkState, LinkedAs, NamespaceAccess};
use slipway_testkit::github::{Fault, OrgRole, Times, sign_sha256};

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
    a_push_that_was_told_while_the_grant_was_dead_is_built_once_it_is_linked_anew;
    a_build_that_waited_when_its_link_was_disabled_is_built_once_it_is_enabled;
    a_build_that_a_later_push_followed_is_not_repeated;
    a_suspension_that_ends_repeats_what_ended_for_it;
    what_the_provider_once_said_is_as_old_as_it_is;
    a_restricted_organization_concerns_its_sources_only;
    a_mail_says_that_another_link_works;
    a_source_that_is_gone_has_its_link_looked_at_once_a_minute_at_most;
}

/// A push of `main` to `octo/hello` that GitHub tells of at our hook; decided before this returns.
async fn push(place: &Place, right: &RepositoryAdmin, before: &str, after: &str) -> Result<()> {
    let body = json!({
        "ref": "refs/heads/main", "before": before, "after": after, "created": false, "deleted": false, "forced": false,
        "repository": {"id": place.github.repository_id("octo/hello"), "full_name": "octo/hello", "default_branch": "main"},
        "head_commit": {"id": after, "message": "work", "author": {"name": "Octo"}}, "commits": [], "pusher": {"name": "octo"},
    })
    .to_string();
    let hook = place.github.hooks("octo/hello").pop().context("a hook stands")?;
    let signature = format!("sha256={}", sign_sha256(&hook.secret.context("it has a secret")?, body.as_bytes()));
    let mut headers = http::HeaderMap::new();
    for (name, value) in [
        ("x-github-event", "push"),
        ("x-github-delivery", after),
        ("content-type", "application/json"),
        ("x-hub-signature-256", &signature),
    ] {
        headers.insert(name, value.parse()?);
    }
    let id = hook.url.rsplit('/').next().context("the address ends with the hook's id")?;
    match place.app.intake(&place.provider, id, [192, 0, 2, 7].into(), &headers, body.as_bytes()).await? {
        // The loop would decide it; without one running, a replay by hand decides the same way.
        Intake::Stored(id) => Ok(place.app.replay(&RepositoryWrite::from(right.clone()), id, right.repository().account).await?),
        other => anyhow::bail!("not stored: {other:?}"),
    }
}

async fn second_commit(place: &Place) -> Result<(String, String)> {
    let first = place.github.ref_head("octo/hello", "refs/heads/main").await?.context("it has a first commit")?;
    Ok((first, place.github.commit("octo/hello", "main", &[("more", "more")], "second").await?))
}

/// State, commit and what it repeats, oldest first.
async fn story(place: &Place, right: &RepositoryAdmin) -> Result<Vec<(BuildState, String, Option<u64>)>> {
    let all = place.builds(right).await?;
    let number = |id| all.iter().find(|build| build.id == id).map(|build| build.number);
    Ok(all.iter().map(|build| (build.state, build.commit.to_string(), build.retry_of.and_then(number))).collect())
}

async fn a_push_that_was_told_while_the_grant_was_dead_is_built_once_it_is_linked_anew(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    let builder = place.builder().await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.next_round().await?;
    // The hook outlives the grant.
    let (first, second) = second_commit(&place).await?;
    push(&place, &right, &first, &second).await?;
    assert!(place.app.claim(&builder).await?.is_none());
    let ended = (BuildState::Failed, second.clone(), None);
    assert_eq!(story(&place, &right).await?, std::slice::from_ref(&ended));
    place.next_round().await?;
    assert_eq!(story(&place, &right).await?.len(), 1, "a dead grant repeats nothing");

    place.link("octo").await?;
    let again = (BuildState::Queued, second, Some(1));
    assert_eq!(story(&place, &right).await?, [ended, again]);
    assert!(place.audited().await?.contains(&"build.retry by slipway".to_owned()));
    let claimed = place.app.claim(&builder).await?.context("it is built now")?;
    assert_eq!(claimed.build.number, 2);
    // Neither the reconciler, nor the first look, nor linking once more finds anything else to build.
    place.round().await?;
    place.wait(120);
    while place.app.reconcile_once().await? > 0 {}
    place.link("octo").await?;
    assert_eq!(story(&place, &right).await?.len(), 2);
    Ok(())
}

async fn a_build_that_waited_when_its_link_was_disabled_is_built_once_it_is_enabled(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    let (owner, builder) = (place.owner().await?, place.builder().await?);
    let (first, second) = second_commit(&place).await?;
    push(&place, &right, &first, &second).await?;
    place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Disable).await?;
    assert!(place.app.claim(&builder).await?.is_none());
    place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Enable).await?;
    assert_eq!(story(&place, &right).await?, [(BuildState::Failed, second.clone(), None), (BuildState::Queued, second, Some(1))]);
    place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Enable).await?;
    assert_eq!(story(&place, &right).await?.len(), 2, "it waits already");
    assert!(place.app.claim(&builder).await?.is_some());
    Ok(())
}

async fn a_build_that_a_later_push_followed_is_not_repeated(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.next_round().await?;
    let (first, second) = second_commit(&place).await?;
    push(&place, &right, &first, &second).await?;
    // One that waits still would be superseded, and not end for want of a link.
    assert!(place.app.claim(&place.builder().await?).await?.is_none());
    let third = place.github.commit("octo/hello", "main", &[("more", "still more")], "third").await?;
    push(&place, &right, &second, &third).await?;
    assert!(place.app.claim(&place.builder().await?).await?.is_none());
    place.link("octo").await?;
    let failed = |commit: &str| (BuildState::Failed, commit.to_owned(), None);
    assert_eq!(story(&place, &right).await?, [failed(&second), failed(&third), (BuildState::Queued, third, Some(2))]);
    Ok(())
}

async fn a_suspension_that_ends_repeats_what_ended_for_it(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    place.start(&right).await?;
    place.github.suspend_user("octo");
    place.next_round().await?;
    assert!(place.app.claim(&place.builder().await?).await?.is_none());
    place.github.unsuspend_user("octo");
    let other = place.replica().await?;
    place.wait(crate::place::INTERVAL);
    let (here, there) = tokio::join!(place.app.check_links_once(), other.check_links_once());
    assert_eq!(here? + there?, 1);
    assert_eq!(place.view().await?.state, LinkState::Ok);
    let states: Vec<_> = place.builds(&right).await?.into_iter().map(|build| build.state).collect();
    assert_eq!(states, [BuildState::Failed, BuildState::Queued], "what a person started is repeated too");
    Ok(())
}

async fn what_the_provider_once_said_is_as_old_as_it_is(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.round().await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.next_round().await?;
    let said = place.clock.now();
    for outage in [Some(503), Some(502), None] {
        place.github.set_outage(outage);
        place.wait(2 * 3600);
        place.round().await?;
        let view = place.view().await?;
        let evidence = view.evidence.context("evidence")?;
        assert_eq!((view.state, evidence.status, view.checked_at), (LinkState::Revoked, Some(401), Some(place.clock.now())));
        // Once it answers, it says so anew.
        assert_eq!(evidence.at, Some(if outage.is_some() { said } else { place.clock.now() }), "{outage:?}");
    }
    Ok(())
}

async fn a_restricted_organization_concerns_its_sources_only(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("api", "acme/api").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    assert_eq!(place.view().await?.affects, ["api", "hello"]);
    place.github.restrict_organization("acme");
    place.next_round().await?;
    let view = place.view().await?;
    assert_eq!((view.state, view.affects.as_slice(), view.used_by.len()), (LinkState::Restricted, &["api".to_owned()][..], 2));
    let sent = place.sent(0).await?;
    assert!(sent[0].contains("demo/api (from acme/api)") && !sent[0].contains("demo/hello"), "{sent:?}");
    Ok(())
}

async fn a_mail_says_that_another_link_works(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("api", "acme/api").await?;
    place.link("ci-bot").await?;
    place.round().await?;
    place.github.revoke_grant("octo", &place.client_id);
    place.next_round().await?;
    let sent = place.sent(0).await?;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].contains("where no other link takes over (`ci-bot` works):"), "{}", sent[0]);
    Ok(())
}

async fn a_source_that_is_gone_has_its_link_looked_at_once_a_minute_at_most(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.next_round().await?;
    let looks = || place.github.requests().iter().filter(|seen| seen.path == "/api/v3/user/memberships/orgs").count();
    place.github.delete_repository("octo/hello");
    let before = looks();
    for (seconds, more) in [(10, 0), (40, 0), (10, 1), (10, 1), (40, 1), (10, 2)] {
        place.wait(seconds);
        assert!(place.start(&right).await.is_err());
        while place.app.check_links_once().await? > 0 {}
        assert_eq!(looks() - before, more, "after {seconds} seconds more");
    }
    assert_eq!(place.view().await?.state, LinkState::Ok, "the link itself works");
    Ok(())
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
    for (number, fault) in [Fault::Status(503), Fault::Html, Fault::Truncated, Fault::ErrorBody].into_iter().enumerate() {
        // Something new to be told: an answer that says that all is as before has no body to be cut.
        place.github.organization(&format!("new-{number}"), &[("octo", OrgRole::Member)]);
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
