//! Webhooks: from a wish to a hook that stands, and away again.

use slipway_model::{HookId, ProviderId};
use slipway_store::deliveries::{self, NewDelivery};
use slipway_store::hooks::{self, Hook, HookState, Look, MadeBy};
use slipway_store::{Db, WriteTx, repositories};

use crate::fixture::{NOW, ODD, World, after, begin, done, provider, world};

on_both! {
    a_wish_becomes_a_hook_and_goes;
    an_unwanted_hook_never_comes_back;
    a_hook_outlives_its_settings;
    only_the_right_hook_receives;
    a_failed_try_waits;
    a_step_and_a_look_are_one_replicas_alone;
    a_secret_is_changed_and_the_one_before_is_forgotten_in_time;
    a_secret_that_was_not_told_does_not_end_the_one_before;
    a_look_is_kept_with_its_repairs;
    a_hook_of_a_person_stands_by_its_delivery;
    a_renamed_source_and_a_new_link_reach_every_hook;
    the_provider_s_delivery_is_found_in_the_inbox;
}

fn hook(world: &World) -> Hook {
    Hook {
        id: HookId::new(),
        autobuild: Some(world.autobuild),
        account: world.account,
        provider: provider(),
        source_id: "42".into(),
        source_name: ODD.into(),
        secret_sealed: vec![0, 255, 3],
        state: HookState::Wanted,
        remote_id: None,
        error: None,
        tries: 0,
        next_try_at: NOW,
        previous: None,
        made_by: MadeBy::Service,
        checked_at: None,
        next_check_at: NOW,
        problem: None,
        problem_since: None,
        repaired_at: None,
        repaired_why: None,
        last_there: None,
        created_at: NOW,
    }
}

async fn read(tx: &mut WriteTx, id: HookId) -> Hook {
    hooks::get(tx, id).await.expect("query").expect("stands")
}

async fn state(tx: &mut WriteTx, id: HookId) -> (HookState, Option<String>) {
    let hook = hooks::get(tx, id).await.expect("query").expect("stands");
    (hook.state, hook.remote_id)
}

async fn due(tx: &mut WriteTx, second: u64) -> Vec<HookId> {
    hooks::list_due(tx, after(second), 10).await.expect("lists").into_iter().map(|hook| hook.id).collect()
}

async fn a_wish_becomes_a_hook_and_goes(db: &Db) {
    for state in [HookState::Wanted, HookState::Standing, HookState::Unwanted] {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    let found = hooks::get(&mut tx, hook.id).await.expect("query").expect("stands");
    assert_eq!(format!("{found:?}"), format!("{hook:?}"), "every field comes back");
    assert_eq!(due(&mut tx, 0).await, [hook.id]);
    assert!(hooks::set_standing(&mut tx, &hook, "remote-1", after(60)).await.expect("writes"));
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Standing, Some("remote-1".into())));
    assert!(due(&mut tx, 1000).await.is_empty(), "nothing to do");
    hooks::set_wanted(&mut tx, hook.id, after(5)).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Wanted, None), "somebody removed it at the provider");
    assert!(due(&mut tx, 4).await.is_empty());
    assert_eq!(due(&mut tx, 5).await, [hook.id]);
    hooks::set_standing(&mut tx, &hook, "remote-2", after(60)).await.expect("writes");
    hooks::set_unwanted(&mut tx, hook.id, after(6)).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Unwanted, Some("remote-2".into())), "its id is needed to remove it");
    assert_eq!(due(&mut tx, 6).await, [hook.id]);
    hooks::delete(&mut tx, hook.id).await.expect("deletes");
    assert!(hooks::get(&mut tx, hook.id).await.expect("query").is_none());
    assert!(!hooks::set_standing(&mut tx, &hook, "late", after(60)).await.expect("writes"));
}

/// The wish may change while a call to the provider is under way.
async fn an_unwanted_hook_never_comes_back(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    hooks::set_unwanted(&mut tx, hook.id, NOW).await.expect("writes");
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Unwanted, Some("remote".into())), "stays unwanted, and can now be removed");
    hooks::set_wanted(&mut tx, hook.id, NOW).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Unwanted, Some("remote".into())));
    assert_eq!(due(&mut tx, 0).await, [hook.id]);
}

async fn a_hook_outlives_its_settings(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    assert_eq!(hooks::get_by_autobuild(&mut tx, world.autobuild).await.expect("query").map(|hook| hook.id), Some(hook.id));
    assert!(repositories::delete(&mut tx, world.repository).await.expect("deletes"));
    done(tx).await;
    let mut tx = begin(db).await;
    let left = hooks::get(&mut tx, hook.id).await.expect("query").expect("stands");
    assert_eq!((left.autobuild, left.account, left.source_id.as_str()), (None, world.account, "42"));
    assert!(hooks::get_by_autobuild(&mut tx, world.autobuild).await.expect("query").is_none());
    assert!(hooks::get_receiving(&mut tx, hook.id, &provider()).await.expect("query").is_none());
}

async fn only_the_right_hook_receives(db: &Db) {
    let (one, two) = (world(db, "one").await, world(db, "two").await);
    let (first, second) = (hook(&one), hook(&two));
    let other: ProviderId = "gitlab".parse().expect("provider");
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &first).await.expect("inserts");
    hooks::insert(&mut tx, &second).await.expect("inserts");
    for (hook, world) in [(&first, &one), (&second, &two)] {
        let (found, repository) = hooks::get_receiving(&mut tx, hook.id, &provider()).await.expect("query").expect("receives");
        assert_eq!((found.id, repository), (hook.id, world.repository));
    }
    assert!(hooks::get_receiving(&mut tx, first.id, &other).await.expect("query").is_none(), "another provider's address");
    assert!(hooks::get_receiving(&mut tx, HookId::new(), &provider()).await.expect("query").is_none());
    let of = |hooks: Vec<Hook>| hooks.into_iter().map(|hook| hook.id).collect::<Vec<_>>();
    assert_eq!(of(hooks::list_by_provider(&mut tx, one.account, &provider()).await.expect("lists")), [first.id, second.id]);
    assert!(hooks::list_by_provider(&mut tx, one.account, &other).await.expect("lists").is_empty());
    hooks::set_unwanted(&mut tx, first.id, NOW).await.expect("writes");
    assert!(hooks::get_receiving(&mut tx, first.id, &provider()).await.expect("query").is_none(), "unwanted");
    assert!(hooks::get_by_autobuild(&mut tx, one.autobuild).await.expect("query").is_none(), "unwanted");
    let newer = hook(&one);
    hooks::insert(&mut tx, &newer).await.expect("the old one is still on its way out");
    // Two replicas may find at once that there is none.
    hooks::insert(&mut tx, &hook(&one)).await.expect("is no error");
    assert_eq!(hooks::get_by_autobuild(&mut tx, one.autobuild).await.expect("query").map(|hook| hook.id), Some(newer.id));
    let mine = hooks::list_by_provider(&mut tx, one.account, &provider()).await.expect("lists");
    assert_eq!(mine.iter().filter(|hook| hook.autobuild == Some(one.autobuild)).count(), 2, "the unwanted one and one more");
}

async fn a_failed_try_waits(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    hooks::set_failed(&mut tx, hook.id, ODD, after(10)).await.expect("writes");
    hooks::set_failed(&mut tx, hook.id, "403", after(20)).await.expect("writes");
    let failed = hooks::get(&mut tx, hook.id).await.expect("query").expect("stands");
    assert_eq!((failed.state, failed.error.as_deref(), failed.tries), (HookState::Wanted, Some("403"), 2));
    assert!(due(&mut tx, 19).await.is_empty());
    assert_eq!(due(&mut tx, 20).await, [hook.id]);
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    let stands = hooks::get(&mut tx, hook.id).await.expect("query").expect("stands");
    assert_eq!((stands.error, stands.tries), (None, 0), "what was wrong is over");
}

async fn a_step_and_a_look_are_one_replicas_alone(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    assert!(hooks::claim_step(&mut tx, &hook, after(120)).await.expect("writes"));
    assert!(!hooks::claim_step(&mut tx, &hook, after(120)).await.expect("writes"), "the other one read the row before");
    assert!(due(&mut tx, 119).await.is_empty());
    assert_eq!(due(&mut tx, 120).await, [hook.id], "whoever took it died");
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    assert!(hooks::list_checks_due(&mut tx, after(59), 10).await.expect("lists").is_empty());
    let stands = hooks::list_checks_due(&mut tx, after(60), 10).await.expect("lists").remove(0);
    assert!(hooks::claim_check(&mut tx, &stands, after(180)).await.expect("writes"));
    assert!(!hooks::claim_check(&mut tx, &stands, after(180)).await.expect("writes"));
    assert!(hooks::list_checks_due(&mut tx, after(179), 10).await.expect("lists").is_empty());
}

async fn a_secret_is_changed_and_the_one_before_is_forgotten_in_time(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    assert!(hooks::rotate(&mut tx, &hook, &[9], after(100), None, NOW).await.expect("writes"));
    assert!(!hooks::rotate(&mut tx, &hook, &[8], after(100), None, NOW).await.expect("writes"), "it is another secret by now");
    let changed = read(&mut tx, hook.id).await;
    assert_eq!((changed.state, changed.remote_id.as_deref()), (HookState::Wanted, Some("remote")), "the provider has to hear of it");
    assert_eq!((changed.secret_sealed.as_slice(), changed.previous), ([9].as_slice(), Some((hook.secret_sealed.clone(), after(100)))));
    // Somebody told the provider the old one at the same moment: it does not count.
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.state, HookState::Wanted);
    let changed = read(&mut tx, hook.id).await;
    hooks::set_standing(&mut tx, &changed, "remote", after(60)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.state, HookState::Standing);
    // A repair that began before the change tells the provider the old one after it: the new one has to be told again.
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.state, HookState::Wanted);
    assert_eq!(due(&mut tx, 0).await, [hook.id]);
    hooks::set_standing(&mut tx, &changed, "remote", after(60)).await.expect("writes");
    assert_eq!(hooks::forget_previous_secrets(&mut tx, after(99)).await.expect("writes"), 0);
    assert_eq!(hooks::forget_previous_secrets(&mut tx, after(100)).await.expect("writes"), 1);
    assert_eq!(read(&mut tx, hook.id).await.previous, None);
}

/// While the provider was not told another one, the secret before is the only one that it knows.
async fn a_secret_that_was_not_told_does_not_end_the_one_before(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    assert!(!hook.signs_with_previous());
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    let standing = read(&mut tx, hook.id).await;
    assert!(!standing.signs_with_previous());
    assert!(hooks::rotate(&mut tx, &standing, &[9], after(100), None, NOW).await.expect("writes"));
    let untold = read(&mut tx, hook.id).await;
    assert!(untold.signs_with_previous());
    assert_eq!(hooks::forget_previous_secrets(&mut tx, after(1000)).await.expect("writes"), 0);
    hooks::set_standing(&mut tx, &untold, "remote", after(1060)).await.expect("writes");
    let told = read(&mut tx, hook.id).await;
    assert_eq!(told.previous, Some((hook.secret_sealed.clone(), after(1060))), "deliveries may be under way");
    hooks::set_standing(&mut tx, &told, "remote", after(2000)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.previous, told.previous, "a repair does not make it longer");
    assert_eq!(hooks::forget_previous_secrets(&mut tx, after(1060)).await.expect("writes"), 1);
}

async fn a_look_is_kept_with_its_repairs(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    let look = Look { remote_id: Some("other"), problem: Some(ODD), last_there: Some("{}"), next: after(50) };
    hooks::set_checked(&mut tx, hook.id, &look, after(5)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.checked_at, None, "it does not stand, so it was another one that was looked at");
    hooks::set_standing(&mut tx, &hook, "remote", after(60)).await.expect("writes");
    hooks::set_checked(&mut tx, hook.id, &look, after(5)).await.expect("writes");
    hooks::set_repaired(&mut tx, hook.id, "gone", after(6)).await.expect("writes");
    let looked = read(&mut tx, hook.id).await;
    assert_eq!(
        (looked.remote_id.as_deref(), looked.problem.as_deref(), looked.last_there.as_deref()),
        (Some("other"), Some(ODD), Some("{}"))
    );
    assert_eq!((looked.checked_at, looked.next_check_at), (Some(after(5)), after(50)));
    assert_eq!((looked.repaired_at, looked.repaired_why.as_deref()), (Some(after(6)), Some("gone")));
    hooks::set_checked(&mut tx, hook.id, &Look { remote_id: None, problem: None, ..look }, after(7)).await.expect("writes");
    hooks::put_off_check(&mut tx, hook.id, after(70)).await.expect("writes");
    hooks::forget_repair(&mut tx, hook.id).await.expect("writes");
    let looked = read(&mut tx, hook.id).await;
    assert_eq!((looked.remote_id.as_deref(), looked.problem, looked.repaired_at), (Some("other"), None, None));
    assert_eq!((looked.checked_at, looked.next_check_at), (Some(after(7)), after(70)));
}

async fn a_hook_of_a_person_stands_by_its_delivery(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    hooks::set_proven(&mut tx, hook.id, NOW).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.state, HookState::Wanted, "ours stands when the provider says so");
    hooks::set_made_by_person(&mut tx, hook.id, "the link only reads", after(500)).await.expect("writes");
    let left = read(&mut tx, hook.id).await;
    assert_eq!((left.made_by, left.error.as_deref()), (MadeBy::Person, Some("the link only reads")));
    assert!(left.waits_for_proof());
    assert_eq!(due(&mut tx, 500).await, [hook.id], "it is asked again whether the link may");
    hooks::set_proven(&mut tx, hook.id, after(7)).await.expect("writes");
    let proven = read(&mut tx, hook.id).await;
    assert_eq!((proven.state, proven.error.as_deref(), proven.checked_at), (HookState::Standing, None, Some(after(7))));
    assert!(!proven.waits_for_proof());
    assert!(hooks::list_checks_due(&mut tx, after(1000), 10).await.expect("lists").is_empty(), "nobody can look at it");
    assert!(hooks::rotate(&mut tx, &proven, &[9], after(100), Some("enter it"), NOW).await.expect("writes"));
    let changed = read(&mut tx, hook.id).await;
    assert_eq!((changed.state, changed.problem.as_deref()), (HookState::Standing, Some("enter it")));
    assert!(hooks::rotate(&mut tx, &changed, &[8], after(200), Some("enter it"), NOW).await.expect("writes"));
    let twice = read(&mut tx, hook.id).await;
    assert_eq!(twice.secret_sealed, [8]);
    assert_eq!(twice.previous, Some((hook.secret_sealed.clone(), after(200))), "what is entered there is the one before both");
    hooks::set_proven(&mut tx, hook.id, after(8)).await.expect("writes");
    assert_eq!(read(&mut tx, hook.id).await.problem, None, "the new one was entered");
}

async fn a_renamed_source_and_a_new_link_reach_every_hook(db: &Db) {
    let (one, two) = (world(db, "one").await, world(db, "two").await);
    let (first, second) = (hook(&one), Hook { source_id: "43".into(), ..hook(&two) });
    let mut tx = begin(db).await;
    for hook in [&first, &second] {
        hooks::insert(&mut tx, hook).await.expect("inserts");
    }
    hooks::rename_source(&mut tx, &provider(), "42", "new/name").await.expect("writes");
    assert_eq!(read(&mut tx, first.id).await.source_name, "new/name");
    assert_eq!(read(&mut tx, second.id).await.source_name, ODD, "another source");
    hooks::set_failed(&mut tx, first.id, "no link", after(500)).await.expect("writes");
    hooks::hurry(&mut tx, one.account, &provider(), after(3)).await.expect("writes");
    let hurried = read(&mut tx, first.id).await;
    assert_eq!((hurried.next_try_at, hurried.next_check_at), (after(3), after(3)));
}

async fn the_provider_s_delivery_is_found_in_the_inbox(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    assert_eq!(hooks::last_delivery(&mut tx, hook.id).await.expect("query"), None);
    let new = |delivery_id: &'static str, body_sha256: &'static str| NewDelivery {
        hook: hook.id,
        repository: world.repository,
        delivery_id,
        event: "push",
        headers: "{}",
        body: b"{}",
        body_sha256,
    };
    let (first, _) = deliveries::insert(&mut tx, &new("one", "1"), after(1)).await.expect("inserts");
    deliveries::insert(&mut tx, &new("one", "2"), after(2)).await.expect("a repetition");
    let last = hooks::last_delivery(&mut tx, hook.id).await.expect("query").map(|(at, status)| (at, status.as_str()));
    assert_eq!(last, Some((after(2), "duplicate")));
    let found = hooks::find_delivery(&mut tx, hook.id, "one").await.expect("query").map(|(id, _)| id);
    assert_eq!(found, Some(first));
    assert_eq!(hooks::find_delivery(&mut tx, HookId::new(), "one").await.expect("query"), None, "another hook's");
}
