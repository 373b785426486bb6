//! The picker's copy of what links see, and what sweeps find out about sources.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, SourcePage, SourceSearch};
use slipway_model::Timestamp;
use slipway_store::{links, source_namespaces, sources};
use slipway_testkit::github::{Fault, Times, Visibility};

use crate::place::{Place, on_both};

on_both! {
    thousands_are_read_once_and_searched_in_our_copy;
    a_sweep_that_fails_keeps_what_was_read_and_says_so;
    renames_transfers_and_visibility_are_followed_and_audited;
    a_source_that_is_gone_is_said_to_be_gone_and_its_name_gives_no_trust;
    a_push_that_a_sweep_sees_wakes_the_reconciler;
    restricted_organizations_are_shown_and_not_swept;
    a_namespace_of_which_nothing_is_built_is_read_rarely;
    a_provider_that_does_not_answer_is_left_alone_by_sweeps;
    a_provider_that_is_slow_holds_up_no_sweep_of_another;
}

async fn search(place: &Place, search: SourceSearch<'_>) -> Result<SourcePage> {
    Ok(place.app.source_repositories(&place.owner().await?, &place.provider, search).await?)
}

fn names(page: &SourcePage) -> Vec<&str> {
    page.items.iter().map(|found| found.full_name.as_str()).collect()
}

async fn source(place: &Place) -> Result<sources::Source> {
    let mut tx = place.app.db().read().await?;
    let all = sources::list(&mut tx, place.caller.account().id, &place.provider, None).await?;
    all.into_iter().next().context("one source")
}

async fn thousands_are_read_once_and_searched_in_our_copy(place: Place) -> Result<()> {
    place.github.add_many_repositories("octo", 1234);
    place.github.archive_repository("acme/api");
    place.link("octo").await?;
    place.round().await?;
    let asked = place.github.requests().len();
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = search(&place, SourceSearch { namespace: Some("octo"), after: after.as_deref(), ..SourceSearch::default() }).await?;
        assert!(page.complete && page.read_at == Some(place.clock.now()) && page.error.is_none(), "{:?}", page.error);
        all.extend(names(&page).into_iter().map(str::to_owned));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 1235);
    assert!(all.iter().all(|name| name.starts_with("octo/")));
    let hit = search(&place, SourceSearch { text: "HELL", ..SourceSearch::default() }).await?;
    assert_eq!(names(&hit), ["octo/hello"]);
    assert!(hit.items[0].private);
    let archived = search(&place, SourceSearch { text: "acme/", ..SourceSearch::default() }).await?;
    assert!(archived.items[0].archived && archived.items[0].web_url.as_str().ends_with("/acme/api"), "{archived:?}");
    assert_eq!(place.github.requests().len(), asked, "no search asks the provider");
    let owner = place.owner().await?;
    let seen = place.app.source_namespaces(&owner, &place.provider, None).await?;
    assert_eq!(seen.namespaces.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["octo", "acme"]);
    // A new one appears when it is asked for.
    place.github.repository("octo/brand-new", Visibility::Public).await?;
    place.wait(1);
    place.app.refresh_sources(&owner, &place.provider, None).await?;
    place.round().await?;
    assert_eq!(names(&search(&place, SourceSearch { text: "brand", ..SourceSearch::default() }).await?), ["octo/brand-new"]);
    Ok(())
}

async fn a_sweep_that_fails_keeps_what_was_read_and_says_so(place: Place) -> Result<()> {
    place.github.add_many_repositories("octo", 250);
    place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    let read_at = place.clock.now();
    for fault in [Fault::Status(502), Fault::Truncated, Fault::EndlessPages, Fault::RateLimited(403)] {
        place.github.trouble("/api/v3/user/repos", fault.clone(), Times::UntilCleared);
        place.wait(3 * 3600);
        while place.app.sweep_sources_once().await? {}
        let page = search(&place, SourceSearch { namespace: Some("octo"), ..SourceSearch::default() }).await?;
        assert_eq!((page.items.len(), page.read_at), (100, Some(read_at)), "{fault:?}");
        assert!(page.error.as_deref().is_some_and(|error| error.contains("`octo` could not be read lately")), "{fault:?} {:?}", page.error);
        assert_eq!(source(&place).await?.problem, None, "{fault:?}: what was not read is not gone");
        place.github.clear_troubles();
    }
    Ok(())
}

async fn renames_transfers_and_visibility_are_followed_and_audited(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    let before = source(&place).await?;
    place.github.rename_repository("octo/hello", "world");
    place.github.set_visibility("octo/world", Visibility::Public);
    place.wait(3 * 3600);
    place.round().await?;
    let seen = source(&place).await?;
    assert_eq!((seen.source_id.as_str(), seen.source_name.as_str(), seen.private), (before.source_id.as_str(), "octo/world", false));
    place.github.transfer_repository("octo/world", "acme");
    place.wait(3 * 3600);
    place.round().await?;
    assert_eq!(source(&place).await?.source_name, "acme/world");
    let audited = place.audited().await?;
    for action in ["source.rename by slipway", "source.transfer by slipway", "source.visibility by slipway"] {
        assert!(audited.contains(&action.to_owned()), "{action} in {audited:?}");
    }
    assert_eq!(source(&place).await?.problem, None);
    Ok(())
}

async fn a_source_that_is_gone_is_said_to_be_gone_and_its_name_gives_no_trust(place: Place) -> Result<()> {
    place.link("octo").await?;
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.round().await?;
    let before = source(&place).await?;
    place.github.delete_repository("octo/hello");
    place.github.repository("octo/hello", Visibility::Private).await?;
    place.wait(3 * 3600);
    place.round().await?;
    let gone = source(&place).await?;
    assert_eq!((gone.source_id.as_str(), gone.problem.as_deref()), (before.source_id.as_str(), Some("gone")), "{gone:?}");
    assert_eq!(gone.problem_since, Some(place.clock.now()));
    assert!(gone.problem_text.as_deref().is_some_and(|text| text.contains("octo/hello") && text.contains("another one")), "{gone:?}");
    assert!(place.start(&right).await.is_err());
    let since = gone.problem_since;
    place.wait(3 * 3600);
    place.round().await?;
    assert_eq!(source(&place).await?.problem_since, since, "said once");
    let view = place.view().await?;
    assert!(view.used_by[0].problem.is_some(), "{view:?}");
    Ok(())
}

async fn a_push_that_a_sweep_sees_wakes_the_reconciler(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    let before = source(&place).await?.pushed.context("the provider tells when something was pushed")?;
    place.wait(3 * 3600);
    place.github.advance_clock(std::time::Duration::from_secs(3 * 3600));
    place.github.commit("octo/hello", "main", &[("x", "y")], "second").await?;
    place.round().await?;
    assert_ne!(source(&place).await?.pushed, Some(before));
    Ok(())
}

async fn restricted_organizations_are_shown_and_not_swept(place: Place) -> Result<()> {
    place.github.restrict_organization("acme");
    place.link("octo").await?;
    place.round().await?;
    let owner = place.owner().await?;
    let seen = place.app.source_namespaces(&owner, &place.provider, None).await?;
    assert!(seen.namespaces.iter().any(|one| one.name == "acme" && one.access.as_str() == "restricted"), "{seen:?}");
    assert!(names(&search(&place, SourceSearch { text: "acme/", ..SourceSearch::default() }).await?).is_empty());
    place.github.approve_app("acme", &place.client_id);
    place.next_round().await?;
    assert_eq!(names(&search(&place, SourceSearch { text: "acme/", ..SourceSearch::default() }).await?), ["acme/api"]);
    Ok(())
}

/// The names of the namespaces that are read for the link of `octo`, and when.
async fn swept(place: &Place) -> Result<Vec<(String, Option<Timestamp>)>> {
    let mut tx = place.app.db().read().await?;
    let link = links::list(&mut tx, place.caller.account().id).await?.into_iter().next().context("a link")?;
    Ok(source_namespaces::list(&mut tx, link.id).await?.into_iter().map(|one| (one.name, one.swept_at)).collect())
}

async fn a_namespace_of_which_nothing_is_built_is_read_rarely(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.build("api", "acme/api").await?;
    place.round().await?;
    let first = place.clock.now();
    place.wait(3600);
    place.round().await?;
    let names = |octo, acme| [("octo".to_owned(), Some(octo)), ("acme".to_owned(), Some(acme))];
    assert_eq!(swept(&place).await?, names(first, place.clock.now()));
    place.wait(12 * 3600);
    place.round().await?;
    assert_eq!(swept(&place).await?, names(place.clock.now(), place.clock.now()));
    Ok(())
}

async fn a_provider_that_does_not_answer_is_left_alone_by_sweeps(place: Place) -> Result<()> {
    place.link("octo").await?;
    place.round().await?;
    let owner = place.owner().await?;
    let again = async || -> Result<usize> {
        let asked = place.github.requests().len();
        place.wait(1);
        place.app.refresh_sources(&owner, &place.provider, None).await?;
        while place.app.sweep_sources_once().await? {}
        Ok(place.github.requests().len() - asked)
    };
    for at in ["/api/v3/user/repos", "/api/v3/orgs/acme/repos"] {
        place.github.trouble(at, Fault::Silence(std::time::Duration::from_millis(20)), Times::UntilCleared);
    }
    for _ in 0..2 {
        assert!(again().await? > 0);
    }
    let words = search(&place, SourceSearch::default()).await?.error.context("why")?;
    assert_eq!(again().await?, 0, "it is not asked");
    place.github.clear_troubles();
    assert_eq!(again().await?, 0, "it is left alone for a while");
    assert_eq!(search(&place, SourceSearch::default()).await?.error, Some(words), "what is said stays");
    place.wait(60);
    assert!(again().await? > 0);
    let page = search(&place, SourceSearch::default()).await?;
    assert_eq!((page.error, page.read_at), (None, Some(place.clock.now())));
    Ok(())
}

async fn a_provider_that_is_slow_holds_up_no_sweep_of_another(place: Place) -> Result<()> {
    let (both, twin, elsewhere) = place.beside_a_twin().await?;
    let owner = place.owner().await?;
    place.link("octo").await?;
    let url = both.begin_connect(&owner, &place.caller, &elsewhere, ConnectWish::default()).await?;
    let callback: url::Url = twin.approve_oauth(url.as_str(), "octo").await?.parse()?;
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    both.finish_connect(&place.caller, &elsewhere, &part("state").context("state")?, Ok(&part("code").context("code")?)).await?;
    let slow = ["/api/v3/user/repos", "/api/v3/orgs/acme/repos"];
    for at in slow {
        place.github.trouble(at, Fault::Slow(std::time::Duration::from_secs(9)), Times::UntilCleared);
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&both).run(stop.clone()));
    // Round after round of the one, while the other has not answered a single time.
    for _ in 0..3 {
        let read_at = || async {
            let page = both.source_repositories(&owner, &elsewhere, SourceSearch::default()).await?;
            Ok(page.read_at.filter(|at| *at == place.clock.now()))
        };
        slipway_testkit::wait::until("the quick one to be read", std::time::Duration::from_secs(30), read_at).await?;
        place.wait(1);
        both.refresh_sources(&owner, &elsewhere, None).await?;
    }
    assert!(!place.github.requests().iter().any(|seen| slow.contains(&seen.path.as_str())), "the slow one has not answered yet");
    stop.cancel();
    running.await?;
    Ok(())
}
