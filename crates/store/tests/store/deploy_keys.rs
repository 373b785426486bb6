//! Deploy keys: from a wish to a key that stands, changed for another one, and away again.

use slipway_model::{DeployKeyId, ProviderId};
use slipway_store::deploy_keys::{self, DeployKey, DeployKeyState};
use slipway_store::{Db, WriteTx, repositories, sources};

use crate::fixture::{NOW, ODD, World, after, begin, provider, world};

on_both! {
    a_wish_becomes_a_key_and_goes;
    the_old_key_goes_when_the_new_one_stands;
    a_key_that_is_gone_or_forbidden_is_asked_for_again;
    a_key_that_was_left_is_known_by_its_public_half;
    only_private_sources_without_a_key_want_one;
    a_step_is_one_replicas_alone;
    a_renamed_source_and_a_new_link_reach_every_key;
}

fn key(world: &World) -> DeployKey {
    DeployKey {
        id: DeployKeyId::new(),
        account: world.account,
        provider: provider(),
        source_id: "42".into(),
        source_name: ODD.into(),
        public_key: "ssh-ed25519 AAAA".into(),
        private_key_sealed: vec![0, 255, 3],
        state: DeployKeyState::Wanted,
        remote_id: None,
        error: None,
        tries: 0,
        next_try_at: NOW,
        checked_at: None,
        renewed_at: None,
        created_at: NOW,
    }
}

async fn read(tx: &mut WriteTx, id: DeployKeyId) -> DeployKey {
    deploy_keys::get(tx, id).await.expect("query").expect("stands")
}

async fn due(tx: &mut WriteTx, second: u64) -> Vec<DeployKeyId> {
    deploy_keys::list_due(tx, after(second), 10).await.expect("lists").into_iter().map(|key| key.id).collect()
}

async fn a_wish_becomes_a_key_and_goes(db: &Db) {
    for state in [DeployKeyState::Wanted, DeployKeyState::Standing, DeployKeyState::Forbidden, DeployKeyState::Unwanted] {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    let world = world(db, "web").await;
    let key = key(&world);
    let mut tx = begin(db).await;
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    assert_eq!(format!("{:?}", read(&mut tx, key.id).await), format!("{key:?}"), "every field comes back");
    assert_eq!(due(&mut tx, 0).await, [key.id]);
    deploy_keys::set_failed(&mut tx, key.id, "503", after(10)).await.expect("writes");
    assert_eq!((read(&mut tx, key.id).await.tries, due(&mut tx, 9).await), (1, Vec::new()));
    deploy_keys::set_standing(&mut tx, &key, "7", after(10), after(100)).await.expect("writes");
    let stands = read(&mut tx, key.id).await;
    assert_eq!((stands.state, stands.remote_id.as_deref(), stands.error, stands.tries), (DeployKeyState::Standing, Some("7"), None, 0));
    assert_eq!((stands.checked_at, stands.next_try_at), (Some(after(10)), after(100)), "it is looked at later");
    deploy_keys::set_unwanted_by_source(&mut tx, world.account, &provider(), "42", after(20)).await.expect("writes");
    assert_eq!((read(&mut tx, key.id).await.remote_id.as_deref(), due(&mut tx, 20).await), (Some("7"), vec![key.id]));
    // The wish may change while a call to the provider is under way.
    deploy_keys::set_standing(&mut tx, &key, "7", after(21), after(100)).await.expect("writes");
    deploy_keys::set_forbidden(&mut tx, key.id, "no", after(100)).await.expect("writes");
    assert_eq!(read(&mut tx, key.id).await.state, DeployKeyState::Unwanted);
    deploy_keys::delete(&mut tx, key.id).await.expect("deletes");
    assert!(deploy_keys::get(&mut tx, key.id).await.expect("query").is_none());
}

async fn the_old_key_goes_when_the_new_one_stands(db: &Db) {
    let world = world(db, "web").await;
    let (old, new) = (key(&world), key(&world));
    let elsewhere = DeployKey { source_id: "43".into(), ..key(&world) };
    let mut tx = begin(db).await;
    for key in [&old, &new, &elsewhere] {
        deploy_keys::insert(&mut tx, key).await.expect("inserts");
    }
    for key in [&old, &elsewhere] {
        deploy_keys::set_standing(&mut tx, key, "1", NOW, after(100)).await.expect("writes");
    }
    assert_eq!(read(&mut tx, new.id).await.state, DeployKeyState::Wanted, "an older one that stands changes nothing of a newer one");
    let listed = deploy_keys::list_by_source_for_change(&mut tx, world.account, &provider(), "42").await.expect("lists");
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [new.id, old.id], "the newest first");
    let read_only = deploy_keys::list_by_source(&mut tx, world.account, &provider(), "42").await.expect("lists");
    assert_eq!(format!("{read_only:?}"), format!("{listed:?}"));
    deploy_keys::set_standing(&mut tx, &new, "2", after(1), after(100)).await.expect("writes");
    assert_eq!(read(&mut tx, new.id).await.state, DeployKeyState::Standing);
    assert_eq!(read(&mut tx, old.id).await.state, DeployKeyState::Unwanted);
    assert_eq!(read(&mut tx, elsewhere.id).await.state, DeployKeyState::Standing, "another source's");
    assert_eq!(due(&mut tx, 1).await, [old.id]);
    let all = deploy_keys::list_by_provider(&mut tx, world.account, &provider()).await.expect("lists");
    assert_eq!(all.iter().map(|key| key.id).collect::<Vec<_>>(), [old.id, new.id, elsewhere.id]);
}

async fn a_key_that_is_gone_or_forbidden_is_asked_for_again(db: &Db) {
    let world = world(db, "web").await;
    let key = key(&world);
    let mut tx = begin(db).await;
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    deploy_keys::set_standing(&mut tx, &key, "1", NOW, after(100)).await.expect("writes");
    deploy_keys::hurry_source(&mut tx, world.account, &provider(), "42", after(1)).await.expect("writes");
    assert_eq!(due(&mut tx, 1).await, [key.id], "it did not open the source");
    deploy_keys::set_renewed(&mut tx, key.id, "gone", after(2)).await.expect("writes");
    let gone = read(&mut tx, key.id).await;
    assert_eq!((gone.state, gone.remote_id, gone.renewed_at), (DeployKeyState::Wanted, None, Some(after(2))));
    deploy_keys::set_forbidden(&mut tx, key.id, ODD, after(500)).await.expect("writes");
    let forbidden = read(&mut tx, key.id).await;
    assert_eq!((forbidden.state, forbidden.error.as_deref(), forbidden.tries), (DeployKeyState::Forbidden, Some(ODD), 0));
    assert_eq!((due(&mut tx, 499).await, due(&mut tx, 500).await), (vec![], vec![key.id]));
    deploy_keys::set_wanted(&mut tx, key.id, after(3)).await.expect("writes");
    let wanted = read(&mut tx, key.id).await;
    assert_eq!((wanted.state, wanted.renewed_at, wanted.next_try_at), (DeployKeyState::Wanted, None, after(3)));
}

async fn a_key_that_was_left_is_known_by_its_public_half(db: &Db) {
    let world = world(db, "web").await;
    let key = key(&world);
    let mut tx = begin(db).await;
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    deploy_keys::set_standing(&mut tx, &key, "7", NOW, after(100)).await.expect("writes");
    deploy_keys::retire(&mut tx, key.id, ODD, after(500)).await.expect("writes");
    let left = read(&mut tx, key.id).await;
    assert_eq!((left.state, left.remote_id.as_deref(), left.error.as_deref()), (DeployKeyState::Unwanted, Some("7"), Some(ODD)));
    assert_eq!((left.public_key, left.private_key_sealed), (key.public_key, Vec::new()));
    assert_eq!((due(&mut tx, 499).await, due(&mut tx, 500).await), (vec![], vec![key.id]));
    deploy_keys::hurry(&mut tx, world.account, &provider(), after(2)).await.expect("writes");
    assert_eq!(due(&mut tx, 2).await, [key.id], "a new link may remove it");
}

async fn only_private_sources_without_a_key_want_one(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let without = async |tx: &mut WriteTx| deploy_keys::list_sources_without(tx, world.account, &provider()).await.expect("lists").len();
    let needed = async |tx: &mut WriteTx| deploy_keys::is_needed(tx, world.account, &provider(), "42").await.expect("query");
    sources::set_look(&mut tx, world.autobuild, false, false).await.expect("writes");
    assert_eq!((without(&mut tx).await, needed(&mut tx).await), (0, false), "public");
    sources::set_look(&mut tx, world.autobuild, true, false).await.expect("writes");
    assert_eq!((without(&mut tx).await, needed(&mut tx).await), (1, true));
    let key = key(&world);
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    assert_eq!(without(&mut tx).await, 0);
    deploy_keys::set_unwanted(&mut tx, key.id, NOW).await.expect("writes");
    assert_eq!(without(&mut tx).await, 1, "the one on its way out does not count");
    let other: ProviderId = "gitlab".parse().expect("provider");
    assert!(!deploy_keys::is_needed(&mut tx, world.account, &other, "42").await.expect("query"), "the same id elsewhere");
    repositories::delete_autobuild(&mut tx, world.autobuild).await.expect("deletes");
    assert!(!needed(&mut tx).await);
}

async fn a_step_is_one_replicas_alone(db: &Db) {
    let world = world(db, "web").await;
    let key = key(&world);
    let mut tx = begin(db).await;
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    assert!(deploy_keys::claim_step(&mut tx, &key, after(120)).await.expect("writes"));
    assert!(!deploy_keys::claim_step(&mut tx, &key, after(120)).await.expect("writes"));
    assert_eq!((due(&mut tx, 119).await, due(&mut tx, 120).await), (vec![], vec![key.id]), "whoever took it died");
}

async fn a_renamed_source_and_a_new_link_reach_every_key(db: &Db) {
    let world = world(db, "web").await;
    let key = key(&world);
    let mut tx = begin(db).await;
    deploy_keys::insert(&mut tx, &key).await.expect("inserts");
    deploy_keys::set_failed(&mut tx, key.id, "no link", after(500)).await.expect("writes");
    deploy_keys::rename_source(&mut tx, &provider(), "42", "new/name").await.expect("writes");
    deploy_keys::hurry(&mut tx, world.account, &provider(), after(3)).await.expect("writes");
    let read = read(&mut tx, key.id).await;
    assert_eq!((read.source_name.as_str(), read.next_try_at), ("new/name", after(3)));
}
