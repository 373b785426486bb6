//! Making links: what is asked for, for whom, and what another person or a smaller grant means.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, Error, LinkSwitch, RefusalKind};
use slipway_model::{AccessLevel, LinkState, LinkedAs};
use slipway_store::links;

use crate::place::{Place, on_both, session};

on_both! {
    a_state_works_once_also_at_two_replicas;
    another_person_at_the_consent_page_makes_a_second_link;
    an_equal_login_elsewhere_is_another_person;
    less_than_asked_is_linked_and_says_what_will_not_work;
    offers_say_what_is_asked_and_why;
    an_organization_is_warned_of_a_persons_link;
    links_of_others_are_not_found;
    two_providers_with_the_same_names_and_numbers_are_apart;
    no_endpoint_takes_a_link_of_the_twin;
    a_browser_that_leaves_meanwhile_loses_no_grant;
    linking_gives_the_browser_another_session_id;
}

fn is_bad<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::Bad)
}

async fn a_state_works_once_also_at_two_replicas(place: Place) -> Result<()> {
    let (owner, other) = (place.owner().await?, place.replica().await?);
    let (state, code) = place.approved(&owner, &place.caller, "octo", ConnectWish::default()).await?;
    let here = place.app.finish_connect(&place.caller, &place.provider, &state, Ok(&code));
    let there = other.finish_connect(&place.caller, &place.provider, &state, Ok(&code));
    let (here, there) = tokio::join!(here, there);
    assert!(is_bad(&here) != is_bad(&there), "{here:?} {there:?}");
    assert!(here.is_ok() != there.is_ok());
    assert_eq!(place.app.list_links(&owner).await?.len(), 1);
    Ok(())
}

async fn another_person_at_the_consent_page_makes_a_second_link(place: Place) -> Result<()> {
    let owner = place.owner().await?;
    let first = place.link("octo").await?;
    let second = place.link_as(&place.caller, &owner, "ci-bot", ConnectWish::default()).await?;
    assert!(second.notes.iter().any(|note| note.contains("`octo` stays linked") && note.contains("`ci-bot`")), "{:?}", second.notes);
    let again = place.link_as(&place.caller, &owner, "octo", ConnectWish::default()).await?;
    assert_eq!(again.link.id, Some(first), "the row is adopted");
    assert!(again.notes.iter().any(|note| note.contains("was linked already")), "{:?}", again.notes);
    let logins: Vec<_> = place.app.list_links(&owner).await?.into_iter().filter_map(|link| link.login).collect();
    assert_eq!(logins, ["octo", "ci-bot"]);
    Ok(())
}

/// Identity is the number: whoever got the name of a person who was renamed is not that person.
async fn an_equal_login_elsewhere_is_another_person(place: Place) -> Result<()> {
    let first = place.link("octo").await?;
    place.github.rename_account("octo", "octo-old");
    place.github.user("octo");
    let second = place.link("octo").await?;
    assert_ne!(first, second);
    place.next_round().await?;
    assert_eq!(place.view_of(first).await?.login.as_deref(), Some("octo-old"), "the name follows");
    let ids = links::list(&mut place.app.db().read().await?, place.caller.account().id).await?;
    assert_ne!(ids[0].remote_user_id, ids[1].remote_user_id);
    Ok(())
}

async fn less_than_asked_is_linked_and_says_what_will_not_work(place: Place) -> Result<()> {
    place.github.grant_only_next(&["read:org"]);
    let owner = place.owner().await?;
    let linked = place.link_as(&place.caller, &owner, "octo", ConnectWish::default()).await?;
    assert_eq!(linked.link.state, LinkState::ScopeMissing, "{linked:?}");
    let words = linked.link.evidence.context("evidence")?.words;
    assert!(words.contains("`repo`"), "{words}");
    assert!(linked.notes.iter().any(|note| note.contains("will not work")), "{:?}", linked.notes);
    place.round().await?;
    assert!(place.sent(0).await?.is_empty(), "whoever linked saw it");
    // Asking for less is not lacking anything.
    let wish = ConnectWish { access: AccessLevel::ReadOnly, linked_as: LinkedAs::Person };
    let linked = place.link_as(&place.caller, &owner, "octo", wish).await?;
    assert_eq!((linked.link.state, linked.link.access), (LinkState::Ok, Some(AccessLevel::ReadOnly)), "{linked:?}");
    Ok(())
}

async fn offers_say_what_is_asked_and_why(place: Place) -> Result<()> {
    let owner = place.owner().await?;
    place.link("octo").await?;
    let offers = place.app.offers(&owner, &place.provider).await?;
    assert_eq!(
        offers.offers.iter().map(|offer| offer.level).collect::<Vec<_>>(),
        [AccessLevel::Full, AccessLevel::Public, AccessLevel::ReadOnly]
    );
    assert!(offers.offers.iter().flat_map(|offer| &offer.scopes).all(|scope| scope.words.is_some()), "{offers:?}");
    assert_eq!((offers.advice, offers.linked), (None, vec!["octo".to_owned()]));
    for (access, asked) in [(AccessLevel::Full, "repo"), (AccessLevel::Public, "public_repo")] {
        let wish = ConnectWish { access, linked_as: LinkedAs::Person };
        let url = place.app.begin_connect(&owner, &place.caller, &place.provider, wish).await?;
        let scope = url.query_pairs().find(|(key, _)| key == "scope").context("scope")?.1.into_owned();
        assert!(scope.split(' ').any(|scope| scope == asked), "{scope}");
        assert!(url.query_pairs().any(|(key, value)| key == "code_challenge_method" && value == "S256"));
    }
    Ok(())
}

async fn an_organization_is_warned_of_a_persons_link(place: Place) -> Result<()> {
    place.app.create_organization(&place.caller, "initech", "").await?;
    let owner = place.owner_of(&place.caller, "initech").await?;
    assert!(place.app.offers(&owner, &place.provider).await?.advice.is_some_and(|advice| advice.contains("service user")));
    let linked = place.link_as(&place.caller, &owner, "octo", ConnectWish::default()).await?;
    assert!(linked.link.warnings.iter().any(|warning| warning.contains("`octo` is linked as a person")), "{linked:?}");
    assert!(linked.link.organizations.iter().any(|one| one.name == "acme"), "the page that follows shows organizations: {linked:?}");
    Ok(())
}

async fn links_of_others_are_not_found(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    let ann = place.person("ann").await?;
    let theirs = place.owner_of(&ann, "ann").await?;
    let not_found = |found: bool| assert!(found);
    not_found(matches!(place.app.get_link(&theirs, &place.provider, Some(id)).await, Err(Error::NotFound)));
    not_found(matches!(place.app.check_link(&theirs, &place.provider, Some(id)).await, Err(Error::NotFound)));
    not_found(matches!(place.app.unlink(&theirs, &place.provider, Some(id)).await, Err(Error::NotFound)));
    not_found(matches!(place.app.preview_unlink(&theirs, &place.provider, Some(id)).await, Err(Error::NotFound)));
    not_found(matches!(place.app.link_picture(&theirs, &place.provider, id).await, Err(Error::NotFound)));
    not_found(place.owner_of(&ann, "demo").await.is_err());
    assert_eq!(place.view_of(id).await?.state, LinkState::Ok);
    Ok(())
}

/// The same login, repository name and numbers at two instances: nothing of one is taken for the other.
async fn two_providers_with_the_same_names_and_numbers_are_apart(place: Place) -> Result<()> {
    let (both, twin, elsewhere) = place.beside_a_twin().await?;
    assert_eq!(twin.repository_id("octo/hello"), place.github.repository_id("octo/hello"), "the same number");
    let owner = place.owner().await?;
    let first = place.link("octo").await?;
    let url = both.begin_connect(&owner, &place.caller, &elsewhere, ConnectWish::default()).await?;
    let callback: url::Url = twin.approve_oauth(url.as_str(), "octo").await?.parse()?;
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let (state, code) = (part("state").context("state")?, part("code").context("code")?);
    // An answer of one provider is none of the other, and the state is used up by the try.
    assert!(is_bad(&both.finish_connect(&place.caller, &place.provider, &state, Ok(&code)).await));
    let url = both.begin_connect(&owner, &place.caller, &elsewhere, ConnectWish::default()).await?;
    let callback: url::Url = twin.approve_oauth(url.as_str(), "octo").await?.parse()?;
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let (state, code) = (part("state").context("state")?, part("code").context("code")?);
    let second = both.finish_connect(&place.caller, &elsewhere, &state, Ok(&code)).await?.link.id.context("a link")?;
    assert_ne!(first, second);
    let (right, _) = place.build("hello", "octo/hello").await?;
    let asked = twin.requests().len();
    place.start(&right).await?;
    assert_eq!(twin.requests().len(), asked, "the source is at one of them only");
    assert!(matches!(both.get_link(&owner, &elsewhere, Some(first)).await, Err(Error::NotFound)), "not by the other's address");
    let receipt = both.unlink(&owner, &elsewhere, Some(second)).await?;
    assert!(receipt.stopped.is_empty() && receipt.left.is_empty(), "{receipt:?}");
    assert_eq!(place.github.hooks("octo/hello").len(), 1, "the hook of the same number elsewhere stays");
    assert_eq!(place.view_of(first).await?.affects, ["hello"]);
    Ok(())
}

/// A link is one of its provider only: at another one's address its id is nobody's.
async fn no_endpoint_takes_a_link_of_the_twin(place: Place) -> Result<()> {
    let (both, twin, elsewhere) = place.beside_a_twin().await?;
    let owner = place.owner().await?;
    let first = place.link("octo").await?;
    let (id, asked) = (Some(first), (place.github.requests().len(), twin.requests().len()));
    let answers = [
        ("get_link", both.get_link(&owner, &elsewhere, id).await.err()),
        ("check_link", both.check_link(&owner, &elsewhere, id).await.err()),
        ("disable", both.switch_link(&owner, &elsewhere, id, LinkSwitch::Disable).await.err()),
        ("enable", both.switch_link(&owner, &elsewhere, id, LinkSwitch::Enable).await.err()),
        ("refresh_sources", both.refresh_sources(&owner, &elsewhere, id).await.err()),
        ("preview_unlink", both.preview_unlink(&owner, &elsewhere, id).await.err()),
        ("unlink", both.unlink(&owner, &elsewhere, id).await.err()),
        ("link_picture", both.link_picture(&owner, &elsewhere, first).await.err()),
    ];
    for (endpoint, error) in answers {
        assert!(matches!(error, Some(Error::NotFound)), "{endpoint}: {error:?}");
    }
    let seen = both.source_namespaces(&owner, &elsewhere, id).await;
    assert!(matches!(&seen, Err(Error::NotFound)) || seen.is_ok_and(|seen| seen.namespaces.is_empty()), "nothing of the other's");
    assert_eq!((place.github.requests().len(), twin.requests().len()), asked, "nobody was asked");
    assert_eq!(place.view_of(first).await?.state, LinkState::Ok);
    Ok(())
}

/// The code is used up by the exchange, so what came of it has to be kept whoever still waits.
async fn a_browser_that_leaves_meanwhile_loses_no_grant(place: Place) -> Result<()> {
    let owner = place.owner().await?;
    let (state, code) = place.approved(&owner, &place.caller, "octo", ConnectWish::default()).await?;
    let app = Arc::new(place.replica().await?);
    let (here, caller, provider) = (Arc::clone(&app), place.caller.clone(), place.provider.clone());
    let work = async move { here.finish_connect(&caller, &provider, &state, Ok(&code)).await };
    assert!(tokio::time::timeout(Duration::ZERO, app.to_the_end(work)).await.is_err(), "it was begun and left");
    let linked = async {
        while place.app.list_links(&owner).await?.iter().all(|link| link.id.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), linked).await.context("the link appears")?
}

/// A session id that somebody else had before is worth nothing for what the link brings.
async fn linking_gives_the_browser_another_session_id(place: Place) -> Result<()> {
    let browser = session(&place.app, "demo").await?;
    let caller = place.app.caller_by_session(&browser, "127.0.0.1").await?.context("signed in")?;
    assert!(!caller.session_renewal_due());
    place.link_as(&caller, &place.owner().await?, "octo", ConnectWish::default()).await?;
    let caller = place.app.caller_by_session(&browser, "127.0.0.1").await?.context("still signed in")?;
    assert!(caller.session_renewal_due());
    let renewed = place.app.renew_session(caller.session().context("a browser")?).await?.context("another id")?;
    place.wait(61);
    assert!(place.app.caller_by_session(&browser, "127.0.0.1").await?.is_none(), "the id before is worth nothing");
    assert!(place.app.caller_by_session(&renewed.token, "127.0.0.1").await?.is_some());
    Ok(())
}
