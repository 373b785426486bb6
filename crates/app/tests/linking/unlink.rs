//! Unlinking: a preview, then hooks, keys, grant and tokens in this order, and a receipt that is true whatever fails in the middle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_app::{Error, LinkSwitch, Receipt};
use slipway_model::LinkState;
use slipway_store::{deploy_keys, hooks, links};
use slipway_testkit::github::{Fault, Times};

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
            let receipt = place.app.unlink(&owner, &place.provider, Some(id)).await?;
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
    let id = place.link("octo").await?;
    place.build("hello", "octo/hello").await?;
    place.build("api", "acme/api").await?;
    let slow = Duration::from_secs(2);
    place.github.trouble("DELETE /api/v3/repos/octo/hello/keys", Fault::Slow(slow), Times::Next(1));
    let owner = place.owner().await?;
    let cut = tokio::time::timeout(slow / 2, place.app.unlink(&owner, &place.provider, Some(id))).await;
    assert!(cut.is_err(), "the process dies while it waits for the provider");
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
    place.github.trouble("DELETE /api/v3/repos/octo/hello/keys", Fault::Status(500), Times::UntilCleared);
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
