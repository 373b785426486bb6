//! Heads follow what is in order, and nothing else.

use slipway_model::{CommitId, RefName};
use slipway_store::deliveries;
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::{Db, WriteTx};

use crate::fixture::{NOW, World, after, begin, commit, done, look, ref_name, world};

on_both! {
    a_head_follows_what_is_in_order;
    the_log_comes_back_as_it_was_written;
    another_source_forgets_the_heads_and_keeps_the_numbers;
    young_refs_are_those_that_moved;
    what_a_delivery_told_is_found_by_it;
    the_last_push_of_a_commit_is_found;
}

async fn the_last_push_of_a_commit_is_found(db: &Db) {
    let world = world(db, "web").await;
    let (main, other) = (ref_name("refs/heads/main"), ref_name("refs/heads/other"));
    let mut tx = begin(db).await;
    let place = async |tx: &mut WriteTx, name: &RefName, digit| {
        refs::place_of_commit(tx, world.autobuild, name, &commit(digit)).await.expect("query")
    };
    assert_eq!(place(&mut tx, &main, 'a').await, None);
    append(&mut tx, &world, &main, ('9', Some('a')), Origin::Delivery).await;
    append(&mut tx, &world, &main, ('a', Some('b')), Origin::Reconcile).await;
    // What a person asks for is no push.
    for origin in [Origin::Manual, Origin::Retry, Origin::Replay, Origin::RollBack] {
        append(&mut tx, &world, &main, ('b', Some('a')), origin).await;
        append(&mut tx, &world, &main, ('b', Some('c')), origin).await;
    }
    assert_eq!(
        (place(&mut tx, &main, 'a').await, place(&mut tx, &main, 'b').await, place(&mut tx, &main, 'c').await),
        (Some(1), Some(2), None)
    );
    assert_eq!(place(&mut tx, &other, 'a').await, None, "of this ref");
    append(&mut tx, &world, &main, ('b', Some('a')), Origin::Delivery).await;
    assert_eq!(place(&mut tx, &main, 'a').await, Some(11), "the ref came back to it");
    let (before, after) = (commit('9'), commit('d'));
    let late = NewRefEvent {
        autobuild: world.autobuild,
        name: &main,
        before: Some(&before),
        after: Some(&after),
        origin: Origin::Delivery,
        delivery: None,
        place: Some(1),
        covered_by: None,
        skips: false,
    };
    refs::insert(&mut tx, &late, NOW).await.expect("appends");
    assert_eq!(place(&mut tx, &main, 'd').await, Some(1), "where it belongs, and not where it was told");
}

async fn what_a_delivery_told_is_found_by_it(db: &Db) {
    let world = world(db, "web").await;
    let (main, tag) = (ref_name("refs/heads/main"), ref_name("refs/tags/v1"));
    let (first, second) = (commit('1'), commit('2'));
    let mut tx = begin(db).await;
    refs::lock(&mut tx, world.autobuild).await.expect("locks");
    let delivery = deliveries::insert_found(&mut tx, world.autobuild, world.repository, "a change", NOW).await.expect("inserts");
    append(&mut tx, &world, &main, ('9', Some('1')), Origin::Delivery).await;
    for (name, place) in [(&main, Some(1)), (&tag, None)] {
        let event = NewRefEvent {
            autobuild: world.autobuild,
            name,
            before: Some(&first),
            after: Some(&second),
            origin: Origin::Delivery,
            delivery: Some(delivery),
            place,
            covered_by: None,
            skips: false,
        };
        refs::insert(&mut tx, &event, NOW).await.expect("appends");
    }
    let place = |name| (delivery, world.autobuild, name);
    for ((delivery, autobuild, name), expected) in [(place(&main), Some(1)), (place(&tag), Some(1))] {
        assert_eq!(refs::place_of_delivery(&mut tx, delivery, autobuild, name).await.expect("query"), expected, "{name}");
    }
    assert_eq!(refs::place_of_delivery(&mut tx, slipway_model::DeliveryId::new(), world.autobuild, &main).await.expect("query"), None);
    let told = refs::list_of_delivery(&mut tx, delivery).await.expect("lists");
    let change = |name: &RefName| (name.clone(), Some(first.clone()), Some(second.clone()));
    assert_eq!(told, [change(&main), change(&tag)]);
    // An event that is out of order moved no head; one may be written by hand, and taken away.
    assert_eq!(stands(&mut tx, &world, &main).await, Some(first.clone()));
    refs::set_head(&mut tx, world.autobuild, &main, Some(&second), after(1)).await.expect("writes");
    assert_eq!(stands(&mut tx, &world, &main).await, Some(second.clone()));
    refs::set_head(&mut tx, world.autobuild, &main, None, after(2)).await.expect("writes");
    assert_eq!(stands(&mut tx, &world, &main).await, None);
}

async fn append(tx: &mut WriteTx, world: &World, name: &RefName, change: (char, Option<char>), origin: Origin) -> u64 {
    let (before, after) = (commit(change.0), change.1.map(commit));
    let event = NewRefEvent {
        autobuild: world.autobuild,
        name,
        before: Some(&before),
        after: after.as_ref(),
        origin,
        delivery: None,
        place: None,
        covered_by: None,
        skips: false,
    };
    refs::insert(tx, &event, NOW).await.expect("appends").1
}

async fn stands(tx: &mut WriteTx, world: &World, name: &RefName) -> Option<CommitId> {
    refs::head(tx, world.autobuild, name).await.expect("query").map(|head| head.commit)
}

async fn a_head_follows_what_is_in_order(db: &Db) {
    let world = world(db, "web").await;
    let (main, tag) = (ref_name("refs/heads/main"), ref_name("refs/tags/v1"));
    let mut tx = begin(db).await;
    assert_eq!(stands(&mut tx, &world, &main).await, None);
    append(&mut tx, &world, &main, ('a', Some('b')), Origin::Delivery).await;
    assert_eq!(stands(&mut tx, &world, &main).await, Some(commit('b')));
    append(&mut tx, &world, &main, ('b', Some('c')), Origin::Reconcile).await;
    for origin in [Origin::Manual, Origin::Replay, Origin::Retry] {
        append(&mut tx, &world, &main, ('c', Some('d')), origin).await;
    }
    assert_eq!(stands(&mut tx, &world, &main).await, Some(commit('c')), "a build by hand says nothing of where the ref stands");
    let found = refs::log(&mut tx, world.autobuild, &main, 10).await.expect("lists")[1].id;
    for (place, covered_by) in [(Some(1), None), (Some(2), Some(found)), (None, Some(found))] {
        let (before, after) = (commit('b'), commit('e'));
        let event = NewRefEvent {
            autobuild: world.autobuild,
            name: &main,
            before: Some(&before),
            after: Some(&after),
            origin: Origin::Delivery,
            delivery: None,
            place,
            covered_by,
            skips: false,
        };
        refs::insert(&mut tx, &event, NOW).await.expect("appends");
        assert_eq!(stands(&mut tx, &world, &main).await, Some(commit('c')), "{place:?} {covered_by:?}");
    }
    append(&mut tx, &world, &tag, ('a', Some('a')), Origin::Delivery).await;
    append(&mut tx, &world, &main, ('c', None), Origin::Delivery).await;
    assert_eq!((stands(&mut tx, &world, &main).await, stands(&mut tx, &world, &tag).await), (None, Some(commit('a'))));
    let heads = refs::list_heads(&mut tx, world.autobuild).await.expect("lists");
    assert_eq!(heads.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [tag]);
}

async fn the_log_comes_back_as_it_was_written(db: &Db) {
    let world = world(db, "web").await;
    let main = ref_name("refs/heads/main");
    let mut tx = begin(db).await;
    append(&mut tx, &world, &main, ('a', Some('b')), Origin::Delivery).await;
    append(&mut tx, &world, &main, ('a', Some('b')), Origin::Manual).await;
    append(&mut tx, &world, &main, ('b', None), Origin::Reconcile).await;
    done(tx).await;
    let mut tx = look(db).await;
    let log = refs::log(&mut tx, world.autobuild, &main, 10).await.expect("lists");
    let shown: Vec<_> = log.iter().map(|entry| (entry.seq, entry.before.clone(), entry.after.clone(), entry.origin)).collect();
    assert_eq!(
        shown,
        [(1, Some(commit('a')), Some(commit('b')), Origin::Delivery), (3, Some(commit('b')), None, Origin::Reconcile)],
        "a build by hand is no change of the ref"
    );
    assert_eq!(log.iter().map(|entry| (entry.at, entry.place, entry.covered_by)).collect::<Vec<_>>(), [(NOW, None, None); 2]);
    assert_eq!(refs::log(&mut tx, world.autobuild, &main, 1).await.expect("lists"), log[1..], "the newest");
}

async fn another_source_forgets_the_heads_and_keeps_the_numbers(db: &Db) {
    let (world, other) = (world(db, "web").await, world(db, "other").await);
    let main = ref_name("refs/heads/main");
    let mut tx = begin(db).await;
    for of in [&world, &other] {
        append(&mut tx, of, &main, ('a', Some('b')), Origin::Delivery).await;
    }
    refs::forget(&mut tx, world.autobuild).await.expect("forgets");
    assert_eq!((stands(&mut tx, &world, &main).await, stands(&mut tx, &other, &main).await), (None, Some(commit('b'))));
    let log = refs::log(&mut tx, world.autobuild, &main, 10).await.expect("lists");
    assert_eq!(log.iter().map(|entry| entry.place).collect::<Vec<_>>(), [Some(1)], "it is out of the order of the new source");
    assert_eq!(append(&mut tx, &world, &main, ('c', Some('d')), Origin::Delivery).await, 2, "tags of before must not win");
}

async fn young_refs_are_those_that_moved(db: &Db) {
    let world = world(db, "web").await;
    let (main, tag) = (ref_name("refs/heads/main"), ref_name("refs/tags/v1"));
    let mut tx = begin(db).await;
    assert_eq!(refs::last_push_at(&mut tx, world.autobuild).await.expect("query"), None);
    append(&mut tx, &world, &main, ('a', Some('b')), Origin::Delivery).await;
    append(&mut tx, &world, &tag, ('a', Some('b')), Origin::Manual).await;
    let young = refs::list_young(&mut tx, world.autobuild, NOW).await.expect("lists");
    assert_eq!(young, [(main, NOW)]);
    assert!(refs::list_young(&mut tx, world.autobuild, after(1)).await.expect("lists").is_empty());
    assert_eq!(refs::last_push_at(&mut tx, world.autobuild).await.expect("query"), Some(NOW));
}
