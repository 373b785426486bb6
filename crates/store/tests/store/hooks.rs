//! Webhooks: from a wish to a hook that stands, and away again.

use slipway_model::{HookId, ProviderId};
use slipway_store::hooks::{self, Hook, HookState};
use slipway_store::{Db, WriteTx, repositories};

use crate::fixture::{NOW, ODD, World, after, begin, done, provider, world};

on_both! {
    a_wish_becomes_a_hook_and_goes;
    an_unwanted_hook_never_comes_back;
    a_hook_outlives_its_settings;
    only_the_right_hook_receives;
    a_failed_try_waits;
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
        created_at: NOW,
    }
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
    assert!(hooks::set_standing(&mut tx, hook.id, "remote-1").await.expect("writes"));
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Standing, Some("remote-1".into())));
    assert!(due(&mut tx, 1000).await.is_empty(), "nothing to do");
    hooks::set_wanted(&mut tx, hook.id, after(5)).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Wanted, None), "somebody removed it at the provider");
    assert!(due(&mut tx, 4).await.is_empty());
    assert_eq!(due(&mut tx, 5).await, [hook.id]);
    hooks::set_standing(&mut tx, hook.id, "remote-2").await.expect("writes");
    hooks::set_unwanted(&mut tx, hook.id, after(6)).await.expect("writes");
    assert_eq!(state(&mut tx, hook.id).await, (HookState::Unwanted, Some("remote-2".into())), "its id is needed to remove it");
    assert_eq!(due(&mut tx, 6).await, [hook.id]);
    hooks::delete(&mut tx, hook.id).await.expect("deletes");
    assert!(hooks::get(&mut tx, hook.id).await.expect("query").is_none());
    assert!(!hooks::set_standing(&mut tx, hook.id, "late").await.expect("writes"));
}

/// The wish may change while a call to the provider is under way.
async fn an_unwanted_hook_never_comes_back(db: &Db) {
    let world = world(db, "web").await;
    let hook = hook(&world);
    let mut tx = begin(db).await;
    hooks::insert(&mut tx, &hook).await.expect("inserts");
    hooks::set_unwanted(&mut tx, hook.id, NOW).await.expect("writes");
    hooks::set_standing(&mut tx, hook.id, "remote").await.expect("writes");
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
    assert_eq!(hooks::get_by_autobuild(&mut tx, one.autobuild).await.expect("query").map(|hook| hook.id), Some(newer.id));
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
    hooks::set_standing(&mut tx, hook.id, "remote").await.expect("writes");
    let stands = hooks::get(&mut tx, hook.id).await.expect("query").expect("stands");
    assert_eq!((stands.error, stands.tries), (None, 0), "what was wrong is over");
}
