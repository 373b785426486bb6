//! Unlinking: a preview, then hooks, keys, grant and tokens in this order, and a receipt that is true whatever fails in the middle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, Error, LinkSwitch, Receipt};
use slipway_model::LinkState;
use slipway_store::{deploy_keys, hooks, links};
use slipway_testkit::github::{Fault, Times, Visibility};
use slipway_testkit::wait;

use crate::place::{Place, on_both};

on_both! {
    everything_goes_in_order_and_the_receipt_stays;
    each_failure_of_the_provider_leaves_a_true_receipt;
    an_answer_that_was_lost_is_no_lie;
    a_crash_in_the_middle_is_finished_by_a_loop;
    what_another_link_serves_stays;
    a_grant_that_others_here_live_on_stays;
    a_disabled_link_can_be_unlinked;
    a_dead_link_leaves_addresses;
    what_a_crash_left_without_an_id_is_found;
    linking_again_removes_the_deploy_key_that_was_left;
    one_that_takes_long_goes_on_without_its_caller;
    an_organization_goes_when_its_unlink_is_over;
    a_dead_grant_is_presented_once;
    a_provider_that_wants_us_to_wait_is_waited_for;
    an_app_that_stays_installed_is_told;
    a_preview_says_what_will_be_done_beside_a_disabled_link;
    a_webhook_of_a_person_is_told_before_and_left;
    with_several_links_it_is_said_which_one_is_meant;
}

/// The receipt when everything is settled.
async fn complete(place: &Place, receipt: &Receipt) -> Result<Receipt> {
    wait::until("the unlink to end", Duration::from_secs(60), || async {
        Ok(Some(stored(place, receipt).await?).filter(|receipt| receipt.finished_at.is_some()))
    })
    .await
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, Error>, code: &str) -> String {
    match result {
        Err(Error::Refused(refusal)) if refusal.code == code => refusal.detail,
        other => panic!("expected `{code}`: {other:?}"),
    }
}

fn paths(place: &Place, from: usize) -> Vec<String> {
    let requests = place.github.requests();
    requests[from..].iter().filter(|seen| seen.method == "DELETE").map(|seen| seen.path.clone()).collect()
}

fn words(items: &[slipway_app::ReceiptItem]) -> String {
    items.iter().map(|item| format!("{} [{}]\n", item.what, item.url.as_deref().unwrap_or(""))).collect()
}

async fn stored(place: &Place, receipt: &Receipt) -> Result<Receipt> {
    Ok(place.app.receipt(&place.owner().await?, receipt.id).await?)
}

async fn everything_goes_in_order_and_the_receipt_stays(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    let owner = place.owner().await?;
    let preview = place.app.preview_unlink(&owner, &place.provider, Some(id)).await?;
    assert_eq!((preview.hooks.as_slice(), preview.keys.as_slice()), (&["octo/hello".to_owned()][..], &["octo/hello".to_owned()][..]));
    assert_eq!(preview.stops, ["hello"]);
    assert_eq!((preview.sources[0].rules, preview.sources[0].served_by.as_deref()), (1, None));
    assert!(preview.warnings.is_empty(), "{preview:?}");
    let before = place.github.requests().len();
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    assert!(receipt.left.is_empty() && receipt.finished_at.is_some(), "{receipt:?}");
    assert_eq!(receipt.done.len(), 4, "{}", words(&receipt.done));
    assert_eq!(receipt.stopped, ["hello"]);
    let asked = paths(&place, before);
    let position = |part: &str| asked.iter().position(|path| path.contains(part)).with_context(|| format!("{part} in {asked:?}"));
    assert!(position("/hooks/")? < position("/keys/")? && position("/keys/")? < position("/grant")?, "{asked:?}");
    assert!(place.github.hooks("octo/hello").is_empty() && place.github.deploy_keys("octo/hello").is_empty());
    assert!(place.github.oauth_tokens("octo", &place.client_id).is_empty(), "the grant is gone");
    assert_eq!(place.view().await?.state, LinkState::NotLinked);
    assert!(links::get_by_id(&mut place.app.db().read().await?, id).await?.is_none(), "our tokens are gone");
    assert_eq!(words(&stored(&place, &receipt).await?.done), words(&receipt.done));
    assert_eq!(place.app.receipts(&owner, None, 10).await?.len(), 1);
    let ann = place.person("ann").await?;
    let theirs = place.owner_of(&ann, "ann").await?;
    assert!(matches!(place.app.receipt(&theirs, receipt.id).await, Err(Error::NotFound)));
    assert!(place.audited().await?.contains(&"link.unlink by demo".to_owned()));
    Ok(())
}

async fn each_failure_of_the_provider_leaves_a_true_receipt(place: Place) -> Result<()> {
    let api = "DELETE /api/v3";
    let cases = [
        (format!("{api}/repos/octo/hello/hooks"), "webhook", "/octo/hello/settings/hooks"),
        (format!("{api}/repos/octo/hello/keys"), "deploy key", "/octo/hello/settings/keys"),
        (format!("{api}/applications"), "the grant at the provider", "/settings/connections/applications/"),
    ];
    let mut name = 0;
    for (at, what, address) in cases {
        for fault in [Fault::Status(500), Fault::Html, Fault::RateLimited(403), Fault::Silence(Duration::from_millis(50))] {
            let id = place.link("octo").await?;
            name += 1;
            let (right, _) = place.build(&format!("hello-{name}"), "octo/hello").await?;
            place.app.settle_hooks_once().await?;
            place.github.trouble(&at, fault.clone(), Times::UntilCleared);
            let owner = place.owner().await?;
            let mut receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
            if let Fault::RateLimited(_) = fault {
                assert!(receipt.finished_at.is_none() && receipt.left.is_empty(), "it is waited for: {receipt:?}");
                assert!(!place.app.finish_unlinks_once().await?, "not so soon");
                // It lasts longer than an hour.
                place.wait(3601);
                assert!(place.app.finish_unlinks_once().await?);
                receipt = stored(&place, &receipt).await?;
            }
            place.github.clear_troubles();
            let left = words(&receipt.left);
            assert!(left.contains(what) && left.contains(address), "{what} {fault:?}: {left}");
            assert!(words(&receipt.done).contains("our copy of the tokens was deleted"), "{receipt:?}");
            assert!(receipt.finished_at.is_some());
            assert_eq!(place.view().await?.state, LinkState::NotLinked, "{what} {fault:?}");
            // What the receipt says is there is there, and what it does not say is not.
            let hooks = place.github.hooks("octo/hello").len();
            assert_eq!(hooks > 0, left.contains("webhook"), "{what} {fault:?}: {hooks} hooks, {left}");
            place.app.delete_autobuild(&right).await?;
            for hook in place.github.hooks("octo/hello") {
                place.github.delete_hook("octo/hello", hook.id);
            }
        }
    }
    Ok(())
}

/// The provider did it, but its answer never came: the receipt says that it is not known, with the address.
async fn an_answer_that_was_lost_is_no_lie(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.github.trouble("DELETE /api/v3/repos/octo/hello/hooks", Fault::AnswerLost, Times::Next(1));
    let receipt = place.app.unlink(&place.owner().await?, &place.provider, Some(id)).await?;
    let said = format!("{}{}", words(&receipt.left), words(&receipt.done));
    assert!(said.contains("/settings/hooks") || said.contains("was gone already"), "{said}");
    Ok(())
}

async fn a_crash_in_the_middle_is_finished_by_a_loop(place: Place) -> Result<()> {
    let place = Arc::new(place);
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.build("api", "acme/api").await?;
    place.github.trouble("DELETE /api/v3/repos/octo/hello/keys", Fault::Slow(Duration::from_secs(5)), Times::Next(1));
    let owner = place.owner().await?;
    // A process of its own, which dies while it waits for the provider.
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (there, at) = (Arc::clone(&place), owner.clone());
    process
        .spawn(async move { Arc::new(there.replica().await?).unlink(&at, &there.provider, Some(id)).await.map_err(anyhow::Error::from) });
    let asked = || async { Ok((place.github.troubles_left() == Some(0)).then_some(())) };
    wait::until("the key to be asked for", Duration::from_secs(30), asked).await?;
    process.shutdown_background();
    assert_eq!(place.view().await?.state, LinkState::NotLinked, "it serves nothing from the first moment on");
    let open = place.app.receipts(&owner, None, 10).await?.remove(0);
    assert!(open.finished_at.is_none(), "{open:?}");
    assert!(words(&open.done).contains("webhook"), "what was done is written: {open:?}");
    // Whoever links again meanwhile waits for the end of it.
    let (state, code) = place.approved(&owner, &place.caller, "octo", slipway_app::ConnectWish::default()).await?;
    match place.app.finish_connect(&place.caller, &place.provider, &state, Ok(&code)).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.code, "unlinking"),
        other => panic!("{other:?}"),
    }
    assert!(!place.app.finish_unlinks_once().await?, "somebody may still work on it");
    place.wait(121);
    let other = place.replica().await?;
    let (here, there) = tokio::join!(place.app.finish_unlinks_once(), other.finish_unlinks_once());
    assert!(here? != there?, "one goes on with it");
    let receipt = stored(&place, &open).await?;
    assert!(receipt.finished_at.is_some() && receipt.left.is_empty(), "{receipt:?}");
    for repository in ["octo/hello", "acme/api"] {
        assert!(place.github.hooks(repository).is_empty() && place.github.deploy_keys(repository).is_empty(), "{repository}");
    }
    assert!(place.github.oauth_tokens("octo", &place.client_id).is_empty());
    place.link("octo").await?;
    place.app.settle_hooks_once().await?;
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    Ok(())
}

async fn what_another_link_serves_stays(place: Place) -> Result<()> {
    let octo = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.build("api", "acme/api").await?;
    let bot = place.link("ci-bot").await?;
    place.round().await?;
    let owner = place.owner().await?;
    let preview = place.app.preview_unlink(&owner, &place.provider, Some(octo)).await?;
    assert_eq!(preview.stops, ["hello"], "{preview:?}");
    let served: Vec<_> = preview.sources.iter().map(|row| (row.source.as_str(), row.served_by.as_deref())).collect();
    assert_eq!(served, [("acme/api", Some("ci-bot")), ("octo/hello", None)]);
    let receipt = place.app.unlink(&owner, &place.provider, Some(octo)).await?;
    assert!(words(&receipt.kept).contains("`ci-bot` serves `api`"), "{receipt:?}");
    assert_eq!((receipt.stopped.as_slice(), place.github.hooks("acme/api").len()), (&["hello".to_owned()][..], 1));
    assert!(place.github.hooks("octo/hello").is_empty());
    let view = place.view_of(bot).await?;
    assert_eq!((view.state, view.affects), (LinkState::Ok, vec!["api".to_owned()]));
    Ok(())
}

async fn a_grant_that_others_here_live_on_stays(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    let ann = place.person("ann").await?;
    let theirs = place.owner_of(&ann, "ann").await?;
    place.link_as(&ann, &theirs, "octo", slipway_app::ConnectWish::default()).await?;
    let owner = place.owner().await?;
    let preview = place.app.preview_unlink(&owner, &place.provider, Some(id)).await?;
    assert!(preview.grant.contains("the grant stays") && !preview.warnings.is_empty(), "{preview:?}");
    assert!(!format!("{preview:?}").contains("ann"), "whose namespace it is is not told");
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    assert!(words(&receipt.left).contains("another namespace here is linked"), "{receipt:?}");
    assert_eq!(place.app.check_link(&theirs, &place.provider, None).await?.state, LinkState::Ok, "the other link lives");
    // The last one takes the grant with it.
    let receipt = place.app.unlink(&theirs, &place.provider, None).await?;
    assert!(words(&receipt.done).contains("the grant was revoked"), "{receipt:?}");
    Ok(())
}

async fn a_disabled_link_can_be_unlinked(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    let owner = place.owner().await?;
    place.app.switch_link(&owner, &place.provider, Some(id), LinkSwitch::Disable).await?;
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    assert!(receipt.left.is_empty(), "unlinking is the person's word that something shall be sent: {receipt:?}");
    assert!(place.github.hooks("octo/hello").is_empty());
    Ok(())
}

async fn a_dead_link_leaves_addresses(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.github.revoke_grant("octo", &place.client_id);
    let owner = place.owner().await?;
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    let left = words(&receipt.left);
    assert!(left.contains("webhook") && left.contains("/octo/hello/settings/hooks"), "{left}");
    // Linking again finds the hook at its address and adopts it.
    place.link("octo").await?;
    let app = Arc::new(place.replica().await?);
    app.settle_hooks_once().await?;
    assert_eq!(place.github.hooks("octo/hello").len(), 1, "adopted, not duplicated");
    Ok(())
}

/// The provider made hook and key, and we died before we kept their ids.
async fn what_a_crash_left_without_an_id_is_found(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    assert_eq!((place.github.hooks("octo/hello").len(), place.github.deploy_keys("octo/hello").len()), (1, 1));
    let owner = place.owner().await?;
    let (account, now) = (owner.account().id, place.app.clock().now());
    let mut tx = place.app.db().write().await?;
    for hook in hooks::list_by_provider(&mut tx, account, &place.provider).await? {
        hooks::set_wanted(&mut tx, hook.id, now).await?;
    }
    for key in deploy_keys::list_by_provider(&mut tx, account, &place.provider).await? {
        deploy_keys::set_renewed(&mut tx, key.id, "it was lost", now).await?;
    }
    tx.commit().await?;
    let mut tx = place.app.db().read().await?;
    let known = hooks::list_by_provider(&mut tx, account, &place.provider).await?.iter().any(|hook| hook.remote_id.is_some())
        || deploy_keys::list_by_provider(&mut tx, account, &place.provider).await?.iter().any(|key| key.remote_id.is_some());
    drop(tx);
    assert!(!known, "the ids are forgotten");
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    let done = words(&receipt.done);
    assert!(
        done.contains("our webhook of `octo/hello` was removed") && done.contains("our deploy key of `octo/hello` was removed"),
        "{done}"
    );
    assert!(receipt.left.is_empty(), "{}", words(&receipt.left));
    assert!(place.github.hooks("octo/hello").is_empty() && place.github.deploy_keys("octo/hello").is_empty());
    Ok(())
}

/// Its private half is gone, so it cannot be adopted; but it is no second key for ever.
async fn linking_again_removes_the_deploy_key_that_was_left(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.round().await?;
    let old = place.github.deploy_keys("octo/hello");
    assert_eq!(old.len(), 1);
    // With the grant GitHub would remove the key, too.
    for at in ["DELETE /api/v3/repos/octo/hello/keys", "DELETE /api/v3/applications"] {
        place.github.trouble(at, Fault::Status(500), Times::UntilCleared);
    }
    let owner = place.owner().await?;
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    place.github.clear_troubles();
    assert!(words(&receipt.left).contains("deploy key"), "{}", words(&receipt.left));
    let mut tx = place.app.db().read().await?;
    let kept = deploy_keys::list_by_provider(&mut tx, owner.account().id, &place.provider).await?;
    drop(tx);
    assert!(kept.len() == 1 && kept[0].private_key_sealed.is_empty(), "only its public half is known: {kept:?}");
    // Without a link nobody can remove it, however long that lasts.
    for _ in 0..25 {
        place.wait(24 * 3600);
        place.app.settle_deploy_keys_once().await?;
    }
    assert_eq!(place.github.deploy_keys("octo/hello").len(), 1);
    place.link("octo").await?;
    place.wait(60);
    while place.app.settle_deploy_keys_once().await? > 0 {}
    let now = place.github.deploy_keys("octo/hello");
    assert!(now.len() == 1 && now[0].key != old[0].key, "{now:?}");
    Ok(())
}

async fn one_that_takes_long_goes_on_without_its_caller(place: Place) -> Result<()> {
    let place = Arc::new(place);
    let (app, owner) = (place.impatient().await?, place.owner().await?);
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.build("api", "acme/api").await?;
    place.github.trouble("DELETE /api/v3/repos", Fault::Slow(Duration::from_millis(400)), Times::UntilCleared);
    let receipt = app.unlink(&owner, &place.provider, Some(id)).await?;
    assert!(receipt.finished_at.is_none(), "it is not over yet: {receipt:?}");
    assert_eq!(place.view().await?.state, LinkState::NotLinked);
    let receipt = complete(&place, &receipt).await?;
    assert!(receipt.left.is_empty(), "{}", words(&receipt.left));
    assert_eq!(receipt.done.len(), 6, "each thing once: {}", words(&receipt.done));
    for repository in ["octo/hello", "acme/api"] {
        assert!(place.github.hooks(repository).is_empty() && place.github.deploy_keys(repository).is_empty(), "{repository}");
    }
    // Whoever goes away does not stop it either.
    let id = place.link("octo").await?;
    place.app.settle_hooks_once().await?;
    let (there, at) = (Arc::clone(&place), owner.clone());
    let caller = tokio::spawn(async move { there.app.unlink(&at, &there.provider, Some(id)).await });
    let begun = || async { Ok(place.app.receipts(&owner, None, 10).await?.into_iter().find(|open| open.finished_at.is_none())) };
    let open = wait::until("the unlink to begin", Duration::from_secs(30), begun).await?;
    caller.abort();
    assert!(caller.await.is_err(), "the caller has gone");
    assert!(complete(&place, &open).await?.left.is_empty());
    assert!(place.github.hooks("octo/hello").is_empty());
    Ok(())
}

/// Its tokens go with it, so it stays until nothing has to be removed with them any more.
async fn an_organization_goes_when_its_unlink_is_over(place: Place) -> Result<()> {
    let app = place.impatient().await?;
    place.app.create_organization(&place.caller, "initech", "").await?;
    let namespace = place.owner_of(&place.caller, "initech").await?;
    place.link_as(&place.caller, &namespace, "ci-bot", ConnectWish::default()).await?;
    place.github.trouble("DELETE /api/v3/applications", Fault::Slow(Duration::from_secs(2)), Times::Next(1));
    let owner = place.app.organization_owner(&place.caller, &"initech".parse().map_err(|error| anyhow::anyhow!("{error}"))?).await?;
    is_refused(app.delete_organization(&owner, "initech").await, "unlinking");
    let over = || async {
        let receipts = place.app.receipts(&namespace, None, 10).await?;
        Ok(receipts.iter().all(|receipt| receipt.finished_at.is_some()).then_some(()))
    };
    wait::until("the unlink to end", Duration::from_secs(30), over).await?;
    app.delete_organization(&owner, "initech").await?;
    assert!(place.github.oauth_tokens("ci-bot", &place.client_id).is_empty(), "the grant went before it");
    Ok(())
}

async fn a_dead_grant_is_presented_once(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    for n in 0..10 {
        place.github.repository(&format!("octo/r{n}"), Visibility::Private).await?;
        place.build(&format!("r{n}"), &format!("octo/r{n}")).await?;
    }
    place.github.revoke_grant("octo", &place.client_id);
    let asked = place.github.requests().len();
    let receipt = place.app.unlink(&place.owner().await?, &place.provider, Some(id)).await?;
    let asked = place.github.requests().len() - asked;
    // Once for the first webhook; then whether the grant is gone already.
    assert!(asked <= 4, "{asked} requests for ten sources");
    let left = words(&receipt.left);
    for n in 0..10 {
        for address in ["hooks", "keys"] {
            assert!(left.contains(&format!("/octo/r{n}/settings/{address}")), "{address} of {n} in {left}");
        }
    }
    assert!(left.lines().all(|line| line.contains("does not accept the credentials")), "{left}");
    assert!(words(&receipt.done).contains("the grant was gone already"), "{}", words(&receipt.done));
    Ok(())
}

async fn a_provider_that_wants_us_to_wait_is_waited_for(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.build("api", "acme/api").await?;
    let limits = Fault::SecondaryLimit(429, Some(30));
    for at in ["DELETE /api/v3/repos/octo/hello/hooks", "DELETE /api/v3/repos/acme/api/keys", "DELETE /api/v3/applications"] {
        place.github.trouble(at, limits.clone(), Times::Next(2));
    }
    let owner = place.owner().await?;
    let mut receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    let mut waits = 0;
    while receipt.finished_at.is_none() {
        assert!(receipt.left.is_empty() && waits < 10, "{receipt:?}");
        assert!(!place.app.finish_unlinks_once().await?, "not before it may be asked again");
        place.wait(31);
        assert!(place.app.finish_unlinks_once().await?, "the loop goes on with it");
        (receipt, waits) = (stored(&place, &receipt).await?, waits + 1);
    }
    assert_eq!((waits, words(&receipt.left).as_str()), (6, ""), "{}", words(&receipt.done));
    assert_eq!(receipt.done.len(), 6, "each thing once: {}", words(&receipt.done));
    for repository in ["octo/hello", "acme/api"] {
        assert!(place.github.hooks(repository).is_empty() && place.github.deploy_keys(repository).is_empty(), "{repository}");
    }
    assert!(place.github.oauth_tokens("octo", &place.client_id).is_empty());
    Ok(())
}

async fn link_at(place: &Place, app: &slipway_app::App, caller: &slipway_app::Caller, provider: &slipway_model::ProviderId) -> Result<()> {
    let owner = place.owner_of(caller, caller.account().name.as_str()).await?;
    let url = app.begin_connect(&owner, caller, provider, ConnectWish::default()).await?;
    let callback: url::Url = place.github.approve_oauth(url.as_str(), "octo").await?.parse()?;
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    app.finish_connect(caller, provider, &part("state").context("state")?, Ok(&part("code").context("code")?)).await?;
    Ok(())
}

/// The person's grant ends, and the App may go on acting wherever it is installed: that has to be said, with the place.
async fn an_app_that_stays_installed_is_told(place: Place) -> Result<()> {
    let (app, made, provider) = place.beside_a_github_app("github-app").await?;
    let installation = place.github.install(&made.client_id, "octo", &[]);
    let ann = place.person("ann").await?;
    for caller in [&place.caller, &ann] {
        link_at(&place, &app, caller, &provider).await?;
    }
    let receipt = app.unlink(&place.owner().await?, &provider, None).await?;
    assert!(!words(&receipt.left).contains("stays installed"), "another namespace here uses it: {}", words(&receipt.left));
    let receipt = app.unlink(&place.owner_of(&ann, "ann").await?, &provider, None).await?;
    let left = words(&receipt.left);
    let told = format!("the App stays installed for `octo`: it is removed there, not from here [{}", place.github.web_url());
    assert!(left.contains(&told) && left.contains(&format!("/settings/installations/{installation}]")), "{left}");
    assert!(!left.contains("`acme`"), "it is not installed there: {left}");
    assert!(words(&receipt.done).contains("the grant was revoked"), "{}", words(&receipt.done));
    Ok(())
}

async fn a_preview_says_what_will_be_done_beside_a_disabled_link(place: Place) -> Result<()> {
    let octo = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    let bot = place.link("ci-bot").await?;
    place.round().await?;
    let owner = place.owner().await?;
    place.app.switch_link(&owner, &place.provider, Some(bot), LinkSwitch::Disable).await?;
    let preview = place.app.preview_unlink(&owner, &place.provider, Some(octo)).await?;
    assert_eq!((preview.sources[0].kept_for.as_deref(), preview.sources[0].served_by.as_deref()), (Some("ci-bot"), None));
    assert!(preview.stops.is_empty() && preview.hooks.is_empty() && preview.keys.is_empty(), "{preview:?}");
    assert!(preview.warnings.iter().any(|words| words.contains("`ci-bot` is linked too, but disabled")), "{preview:?}");
    let receipt = place.app.unlink(&owner, &place.provider, Some(octo)).await?;
    assert!(words(&receipt.kept).contains("webhook and deploy key of `octo/hello` stay"), "{receipt:?}");
    assert!(receipt.stopped.is_empty(), "{receipt:?}");
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    Ok(())
}

async fn a_webhook_of_a_person_is_told_before_and_left(place: Place) -> Result<()> {
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    let owner = place.owner().await?;
    let mut tx = place.app.db().write().await?;
    for hook in hooks::list_by_provider(&mut tx, owner.account().id, &place.provider).await? {
        hooks::set_wanted(&mut tx, hook.id, place.clock.now()).await?;
        hooks::set_made_by_person(&mut tx, hook.id, "the link only reads", place.clock.now()).await?;
        hooks::set_proven(&mut tx, hook.id, place.clock.now()).await?;
    }
    tx.commit().await?;
    let preview = place.app.preview_unlink(&owner, &place.provider, Some(id)).await?;
    assert!(preview.hooks.is_empty(), "{preview:?}");
    assert!(preview.warnings.iter().any(|words| words.contains("people put up the webhook of `octo/hello`")), "{preview:?}");
    let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
    let left = words(&receipt.left);
    assert!(left.contains("a person put it up") && left.contains("/octo/hello/settings/hooks"), "{left}");
    assert_eq!(place.github.hooks("octo/hello").len(), 1);
    Ok(())
}

async fn with_several_links_it_is_said_which_one_is_meant(place: Place) -> Result<()> {
    let (octo, bot) = (place.link("octo").await?, place.link("ci-bot").await?);
    let (owner, provider) = (place.owner().await?, &place.provider);
    let switch = async |link, switch| place.app.switch_link(&owner, provider, link, switch).await;
    let said = is_refused(place.app.unlink(&owner, provider, None).await, "which_link");
    for part in ["`octo`", "`ci-bot`", &octo.to_string(), &bot.to_string()] {
        assert!(said.contains(part), "{part} in {said}");
    }
    is_refused(switch(None, LinkSwitch::Disable).await, "which_link");
    assert_eq!(place.app.list_links(&owner).await?.len(), 2, "nothing was done");
    switch(Some(octo), LinkSwitch::Disable).await?;
    // Only one of them can be enabled, and only the other one disabled.
    assert_eq!(switch(None, LinkSwitch::Enable).await?.id, Some(octo));
    switch(Some(octo), LinkSwitch::Disable).await?;
    assert_eq!(switch(None, LinkSwitch::Disable).await?.id, Some(bot));
    is_refused(switch(None, LinkSwitch::Enable).await, "which_link");
    place.app.unlink(&owner, provider, Some(bot)).await?;
    assert_eq!(place.app.unlink(&owner, provider, None).await?.link, octo, "the only one that is left");
    Ok(())
}
