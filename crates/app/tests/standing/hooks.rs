//! Webhooks: looked at, repaired, changed for another secret, left to a person, followed through renames.

use anyhow::{Context as _, Result};
use slipway_app::{ConnectWish, Error, HookStatus, Intake, LinkSwitch, RepositoryAdmin};
use slipway_model::{AccessLevel, LinkedAs};
use slipway_store::hooks;
use slipway_testkit::github::{ContentType, Hook, OrgRole, Permission, Visibility as Shown};

use crate::place::{Place, on_both, read, write};

on_both! {
    a_deleted_hook_comes_back_once_and_is_then_left_to_a_person;
    a_hook_that_was_changed_is_set_right;
    a_provider_in_trouble_says_nothing_of_the_hook;
    both_secrets_are_good_for_a_day;
    a_secret_that_the_provider_did_not_hear_of_is_told_again;
    the_only_secret_that_the_provider_knows_is_kept_until_it_was_told_another;
    a_person_who_changes_the_secret_twice_loses_no_delivery;
    without_rights_a_person_puts_the_hook_up;
    a_link_that_only_reads_asks_for_no_hook;
    a_rename_is_followed_and_the_old_name_gets_nothing;
    a_look_finds_the_hook_under_the_name_of_today;
    a_disabled_link_sends_nothing_and_enabling_looks_at_once;
    the_providers_log_stands_beside_the_inbox;
}

async fn status(place: &Place, right: &RepositoryAdmin) -> Result<HookStatus> {
    Ok(place.app.get_hook(&read(right)).await?)
}

/// A look of the loop, hours later.
async fn look(place: &Place, right: &RepositoryAdmin, hours: u64) -> Result<HookStatus> {
    place.hours(hours);
    place.app.check_hooks_once().await?;
    status(place, right).await
}

fn the_hook(place: &Place, source: &str) -> Result<Hook> {
    let mut hooks = place.github.hooks(source);
    anyhow::ensure!(hooks.len() == 1, "{hooks:?}");
    hooks.pop().context("a hook")
}

async fn a_deleted_hook_comes_back_once_and_is_then_left_to_a_person(place: Place) -> Result<()> {
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let first = look(&place, &right, 2).await?;
    assert!(first.right && first.checked_at.is_some() && first.repaired_at.is_none(), "{first:?}");

    place.github.delete_hook("octo/hello", the_hook(&place, "octo/hello")?.id);
    let repaired = look(&place, &right, 3).await?;
    assert!(repaired.right, "{repaired:?}");
    assert_eq!(repaired.repaired_why.as_deref(), Some("the webhook was deleted at the provider"));
    assert_eq!(the_hook(&place, "octo/hello")?.url, repaired.address);

    place.github.delete_hook("octo/hello", the_hook(&place, "octo/hello")?.id);
    let left = look(&place, &right, 7).await?;
    assert!(left.standing && !left.right, "{left:?}");
    assert_eq!(left.problem.as_deref(), Some("the webhook was deleted at the provider"));
    assert!(!place.app.hook_is_right(settings.id).await?, "the reconciler takes over");
    assert!(place.github.hooks("octo/hello").is_empty(), "a person did it twice, and meant it");

    let back = place.app.repair_hook(&right).await?;
    assert!(back.right && back.repaired_at.is_none(), "{back:?}");
    assert!(place.app.hook_is_right(settings.id).await?);
    the_hook(&place, "octo/hello")?;
    assert!(place.audited().await?.contains(&"webhook.repair".to_owned()));
    Ok(())
}

async fn a_hook_that_was_changed_is_set_right(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let ours = the_hook(&place, "octo/hello")?;
    for words in ["`push`", "secret was removed", "address was changed"] {
        place.github.edit_hook("octo/hello", the_hook(&place, "octo/hello")?.id, |hook| match words {
            "`push`" => hook.events = vec!["issues".into()],
            "secret was removed" => hook.secret = None,
            _ => hook.url = "https://elsewhere.test/hook".into(),
        });
        let repaired = look(&place, &right, 9).await?;
        assert!(repaired.right, "{words}: {repaired:?}");
        assert!(repaired.repaired_why.as_deref().is_some_and(|why| why.contains(words)), "{words}: {repaired:?}");
        let now = the_hook(&place, "octo/hello")?;
        assert_eq!((now.url, now.secret, now.events), (ours.url.clone(), ours.secret.clone(), ours.events.clone()), "{words}");
    }
    // The same again within hours is shown instead of fought over.
    place.github.edit_hook("octo/hello", the_hook(&place, "octo/hello")?.id, |hook| hook.events = vec!["issues".into()]);
    let shown = look(&place, &right, 7).await?;
    assert!(!shown.right && shown.problem.is_some_and(|problem| problem.contains("`push`")));
    Ok(())
}

async fn a_provider_in_trouble_says_nothing_of_the_hook(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.set_outage(Some(503));
    let untold = look(&place, &right, 2).await?;
    assert!(untold.right && untold.checked_at.is_none(), "{untold:?}");
    place.github.set_outage(None);
    let asked = look(&place, &right, 1).await?;
    assert!(asked.right && asked.checked_at.is_some(), "{asked:?}");
    Ok(())
}

async fn both_secrets_are_good_for_a_day(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let old = the_hook(&place, "octo/hello")?;
    let (after, shown) = place.app.rotate_hook_secret(&right).await?;
    assert!(after.right && shown.is_none(), "{after:?}");
    assert!(after.previous_secret_until.is_some());
    let new = the_hook(&place, "octo/hello")?;
    assert_eq!(new.id, old.id);
    let (old, new) = (old.secret.context("old")?, new.secret.context("new")?);
    assert_ne!(old, new);
    assert!(matches!(place.deliver(&after.address, &old, "1").await?, Intake::Stored(_)));
    assert!(matches!(place.deliver(&after.address, &new, "2").await?, Intake::Stored(_)));
    place.hours(25);
    assert!(matches!(place.deliver(&after.address, &old, "3").await?, Intake::Refused(_)));
    assert!(matches!(place.deliver(&after.address, &new, "4").await?, Intake::Stored(_)));
    assert!(status(&place, &right).await?.previous_secret_until.is_none());
    assert!(place.audited().await?.contains(&"webhook.rotate_secret".to_owned()));
    Ok(())
}

async fn a_secret_that_the_provider_did_not_hear_of_is_told_again(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let old = the_hook(&place, "octo/hello")?.secret.context("old")?;
    place.github.set_outage(Some(502));
    let (untold, _) = place.app.rotate_hook_secret(&right).await?;
    assert!(!untold.right && untold.error.is_some(), "{untold:?}");
    assert!(matches!(place.deliver(&untold.address, &old, "1").await?, Intake::Stored(_)), "it signs with the old one still");
    assert!(matches!(place.app.rotate_hook_secret(&right).await, Err(Error::Refused(refusal)) if refusal.code == "hook_not_standing"));
    place.github.set_outage(None);
    place.hours(1);
    place.app.settle_hooks_once().await?;
    assert!(status(&place, &right).await?.right);
    let new = the_hook(&place, "octo/hello")?.secret.context("new")?;
    assert_ne!(old, new);
    for (secret, id) in [(&old, "2"), (&new, "3")] {
        assert!(matches!(place.deliver(&untold.address, secret, id).await?, Intake::Stored(_)));
    }
    Ok(())
}

/// Whatever keeps us from telling it: an outage, a link that is disabled for days.
async fn the_only_secret_that_the_provider_knows_is_kept_until_it_was_told_another(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let old = the_hook(&place, "octo/hello")?.secret.context("old")?;
    place.github.set_outage(Some(502));
    let address = place.app.rotate_hook_secret(&right).await?.0.address;
    place.hours(100);
    let mut tx = place.app.db().write().await?;
    hooks::forget_previous_secrets(&mut tx, place.clock.now()).await?;
    tx.commit().await?;
    assert!(matches!(place.deliver(&address, &old, "1").await?, Intake::Stored(_)), "it signs with the old one still");
    place.github.set_outage(None);
    place.app.settle_hooks_once().await?;
    let new = the_hook(&place, "octo/hello")?.secret.context("new")?;
    assert_ne!(old, new);
    for (secret, id) in [(&old, "2"), (&new, "3")] {
        assert!(matches!(place.deliver(&address, secret, id).await?, Intake::Stored(_)), "{id}: what was under way is good for a while");
    }
    place.hours(2);
    assert!(matches!(place.deliver(&address, &old, "4").await?, Intake::Refused(_)));
    assert!(matches!(place.deliver(&address, &new, "5").await?, Intake::Stored(_)));
    Ok(())
}

async fn a_person_who_changes_the_secret_twice_loses_no_delivery(place: Place) -> Result<()> {
    place.github.set_visibility("octo/hello", Shown::Public);
    place.link(ConnectWish { access: AccessLevel::ReadOnly, linked_as: LinkedAs::Person }).await?;
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let address = settings.hook.context("a hook")?.address;
    let entered = put_up_by_hand(&place, &right, "octo/hello").await?.secret.context("a secret")?;
    assert!(matches!(place.deliver(&address, &entered, "1").await?, Intake::Stored(_)));
    let shown = async || place.app.rotate_hook_secret(&right).await?.1.context("a person has to enter it");
    let (between, last) = (shown().await?, shown().await?);
    assert!(matches!(place.deliver(&address, &entered, "2").await?, Intake::Stored(_)), "the provider knows no other one yet");
    assert!(matches!(place.deliver(&address, between.expose(), "3").await?, Intake::Refused(_)));
    assert!(matches!(place.deliver(&address, last.expose(), "4").await?, Intake::Stored(_)));
    assert!(status(&place, &right).await?.right);
    // That one is entered, so it is the one before from the next change on.
    shown().await?;
    assert!(matches!(place.deliver(&address, last.expose(), "5").await?, Intake::Stored(_)));
    assert!(matches!(place.deliver(&address, &entered, "6").await?, Intake::Refused(_)));
    Ok(())
}

/// As a person enters it, and its first delivery.
async fn put_up_by_hand(place: &Place, right: &RepositoryAdmin, source: &str) -> Result<Hook> {
    let shown = place.app.show_hook_secret(right).await?;
    let hook = Hook {
        id: 0,
        url: shown.address.clone(),
        content_type: ContentType::Json,
        secret: Some(shown.expose().to_owned()),
        insecure_ssl: "0".into(),
        events: shown.events.clone(),
        active: true,
    };
    place.github.add_hook(source, hook)?;
    assert!(shown.settings_url.ends_with(&format!("{source}/settings/hooks")), "{}", shown.settings_url);
    the_hook(place, source)
}

async fn without_rights_a_person_puts_the_hook_up(place: Place) -> Result<()> {
    place.github.user("boss");
    place.github.organization("acme", &[("boss", OrgRole::Admin), ("octo", OrgRole::Member)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.github.collaborator("acme/app", "octo", Permission::Write);
    let (right, settings) = place.build("app", "acme/app").await?;
    let hook = settings.hook.context("a hook")?;
    assert!(hook.manual && !hook.standing && hook.error.is_some(), "{hook:?}");
    assert!(place.github.hooks("acme/app").is_empty());
    // With rights it is put up without a person, at the next try.
    place.github.collaborator("acme/app", "octo", Permission::Admin);
    place.hours(27);
    place.app.settle_hooks_once().await?;
    let hook = status(&place, &right).await?;
    assert!(hook.right && !hook.manual, "{hook:?}");
    the_hook(&place, "acme/app")?;
    Ok(())
}

async fn a_link_that_only_reads_asks_for_no_hook(place: Place) -> Result<()> {
    place.github.set_visibility("octo/hello", Shown::Public);
    place.link(ConnectWish { access: AccessLevel::ReadOnly, linked_as: LinkedAs::Person }).await?;
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let hook = settings.hook.context("a hook")?;
    assert!(hook.manual && !hook.standing, "{hook:?}");
    assert!(!place.github.requests().iter().any(|seen| seen.path.contains("/hooks")), "nothing was tried");
    let by_hand = put_up_by_hand(&place, &right, "octo/hello").await?;
    let secret = by_hand.secret.context("secret")?;
    assert!(matches!(place.deliver(&hook.address, "another secret", "1").await?, Intake::Refused(_)));
    assert!(!status(&place, &right).await?.standing, "only a delivery with the right signature shows it");
    assert!(matches!(place.deliver(&hook.address, &secret, "2").await?, Intake::Stored(_)));
    let stands = status(&place, &right).await?;
    assert!(stands.right && stands.manual && stands.last_delivery.is_some(), "{stands:?}");

    let (changed, new) = place.app.rotate_hook_secret(&right).await?;
    let new = new.context("a person has to enter it")?;
    assert!(!changed.right && changed.problem.is_some_and(|problem| problem.contains("entered at the provider")));
    assert!(matches!(place.deliver(&hook.address, &secret, "3").await?, Intake::Stored(_)));
    assert!(!status(&place, &right).await?.right, "that was the old one");
    assert!(matches!(place.deliver(&hook.address, new.expose(), "4").await?, Intake::Stored(_)));
    assert!(status(&place, &right).await?.right);

    let audited = place.audited().await?;
    assert!(audited.contains(&"webhook.show_secret".to_owned()), "{audited:?}");
    // With a link that may, the same hook is adopted, and nobody is shown its secret any more.
    place.link(ConnectWish::default()).await?;
    assert!(place.app.repair_hook(&right).await?.right);
    assert_eq!(the_hook(&place, "octo/hello")?.id, by_hand.id);
    assert!(matches!(place.app.show_hook_secret(&right).await, Err(Error::Refused(refusal)) if refusal.code == "hook_not_manual"));
    Ok(())
}

async fn a_rename_is_followed_and_the_old_name_gets_nothing(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.rename_repository("octo/hello", "renamed");
    place.github.repository("octo/hello", Shown::Private).await?;
    place.github.delete_hook("octo/renamed", the_hook(&place, "octo/renamed")?.id);
    let repaired = look(&place, &right, 2).await?;
    assert!(repaired.right, "{repaired:?}");
    the_hook(&place, "octo/renamed")?;
    assert!(place.github.hooks("octo/hello").is_empty(), "another repository under the old name gets no trust");
    assert!(repaired.settings_url.contains("octo/renamed"), "{}", repaired.settings_url);
    place.app.delete_autobuild(&right).await?;
    assert!(place.github.hooks("octo/renamed").is_empty(), "and it is found again to be removed");
    Ok(())
}

/// Another repository that took the old name has no webhook of ours: that is no reason to repair the one that stands.
async fn a_look_finds_the_hook_under_the_name_of_today(place: Place) -> Result<()> {
    let (right, settings) = place.build("hello", "octo/hello").await?;
    let before = the_hook(&place, "octo/hello")?;
    place.github.rename_repository("octo/hello", "renamed");
    place.github.repository("octo/hello", Shown::Private).await?;
    let found = look(&place, &right, 2).await?;
    assert!(found.right && found.repaired_at.is_none() && found.settings_url.contains("octo/renamed"), "{found:?}");
    assert_eq!(the_hook(&place, "octo/renamed")?.id, before.id);
    assert_eq!(settings.deploy_key.context("a key")?.state, "standing");
    place.hours(14);
    place.app.settle_deploy_keys_once().await?;
    let key = place.app.get_deploy_key(&read(&right)).await?.context("a key")?;
    assert_eq!((key.state, key.error), ("standing", None));
    Ok(())
}

async fn a_disabled_link_sends_nothing_and_enabling_looks_at_once(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let owner = place.owner().await?;
    place.app.switch_link(&owner, &place.provider, None, LinkSwitch::Disable).await?;
    place.github.delete_hook("octo/hello", the_hook(&place, "octo/hello")?.id);
    let asked = place.github.requests().len();
    look(&place, &right, 30).await?;
    place.app.settle_deploy_keys_once().await?;
    place.app.repair_hook(&right).await?;
    assert_eq!(place.github.requests().len(), asked, "nothing may be sent while the link is disabled");
    place.app.switch_link(&owner, &place.provider, None, LinkSwitch::Enable).await?;
    place.app.check_hooks_once().await?;
    assert!(status(&place, &right).await?.right);
    the_hook(&place, "octo/hello")?;
    Ok(())
}

async fn the_providers_log_stands_beside_the_inbox(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.set_webhooks(slipway_testkit::github::Webhooks::Deliver);
    place.github.commit("octo/hello", "main", &[("more", "x")], "second").await?;
    place.github.settle().await;
    let log = place.app.remote_deliveries(&write(&right), None).await?;
    let push = log.items.iter().find(|entry| entry.event == "push").context("a push")?;
    assert!(push.here.is_none() && push.outcome.status != Some(202), "our address is not to be reached from there: {push:?}");
    // It comes by another way; the same id joins the two.
    let address = status(&place, &right).await?.address;
    let secret = the_hook(&place, "octo/hello")?.secret.context("secret")?;
    let Intake::Stored(id) = place.deliver(&address, &secret, &push.delivery_id).await? else { anyhow::bail!("not stored") };
    let log = place.app.remote_deliveries(&write(&right), None).await?;
    assert!(log.items.iter().any(|entry| entry.here.is_some_and(|(here, _)| here == id)));

    let before = place.github.deliveries("octo/hello").len();
    place.app.redeliver(&write(&right), &push.id).await?;
    place.github.settle().await;
    assert_eq!(place.github.deliveries("octo/hello").len(), before + 1);
    assert!(place.audited().await?.contains(&"webhook.redeliver".to_owned()));

    // What the provider could not deliver is a problem that nothing there would mend.
    let failing = look(&place, &right, 2).await?;
    assert!(failing.problem.as_deref().is_some_and(|problem| problem.contains("last delivery")), "{failing:?}");
    assert!(failing.repaired_at.is_none() && failing.last_there.is_some());
    Ok(())
}
