//! Leases: a builder that lost its lease changes nothing.

use slipway_model::{BuildState, BuilderId, FailureCode, FailureReason, TokenKind};
use slipway_store::builds::{self, Ending};
use slipway_store::{Db, WriteTx};

use crate::fixture::{NOW, ODD, after, begin, build, commit, done, look, secret, world};

on_both! {
    only_the_newest_claim_holds;
    a_lease_ends_at_its_end;
    a_given_back_build_starts_afresh;
    an_expired_build_is_taken_once;
    a_builder_that_beats_is_not_expired;
    leases_of_a_dead_builder_end_at_once;
    a_registry_credential_lives_as_long_as_its_lease;
    what_a_holder_writes_stays;
    notes_are_added_up;
    a_build_that_was_not_handed_out_waits_without_an_attempt;
}

async fn a_build_that_was_not_handed_out_waits_without_an_attempt(db: &Db) {
    let world = world(db, "web").await;
    let builder = BuilderId::new();
    let claimed = world.running(db, builder).await;
    let mut tx = begin(db).await;
    let rule = world.rule.id;
    assert_eq!(builds::answer_of(&mut tx, rule, claimed.ref_event).await.expect("query"), Some((claimed.id, claimed.number)));
    assert_eq!(builds::answer_of(&mut tx, rule, slipway_model::RefEventId::new()).await.expect("query"), None);
    assert!(builds::put_back(&mut tx, claimed.id, "the provider is away", after(60)).await.expect("writes"));
    assert!(!builds::put_back(&mut tx, claimed.id, "again", after(60)).await.expect("writes"), "it does not run any more");
    assert!(!holds(&mut tx, claimed.id, builder, 1, 1).await);
    let claim = async |tx: &mut WriteTx, second| {
        builds::claim(tx, builder, &secret(TokenKind::Build), &crate::fixture::FREE, after(second), after(second + 30)).await
    };
    assert!(claim(&mut tx, 59).await.expect("claims").is_none(), "not before its time");
    let again = claim(&mut tx, 60).await.expect("claims").expect("waits");
    assert_eq!((again.id, again.attempt, again.note.as_deref()), (claimed.id, 1, Some("the provider is away")));
}

async fn holds(tx: &mut WriteTx, id: slipway_model::BuildId, builder: BuilderId, attempt: u32, second: u64) -> bool {
    builds::hold(tx, id, builder, attempt, after(second)).await.expect("query").is_some()
}

async fn only_the_newest_claim_holds(db: &Db) {
    let world = world(db, "web").await;
    let (first, second) = (BuilderId::new(), BuilderId::new());
    let id = world.running(db, first).await.id;
    let mut tx = begin(db).await;
    assert!(holds(&mut tx, id, first, 1, 1).await);
    assert!(!holds(&mut tx, id, second, 1, 1).await, "another builder");
    assert!(!holds(&mut tx, id, first, 2, 1).await, "an attempt to come");
    assert!(!holds(&mut tx, id, first, 0, 1).await);
    assert!(builds::requeue(&mut tx, id, "silent", after(1)).await.expect("writes"));
    assert!(!holds(&mut tx, id, first, 1, 1).await, "given away");
    let again = builds::claim(&mut tx, second, &secret(TokenKind::Build), &crate::fixture::FREE, after(2), after(32))
        .await
        .expect("claims")
        .expect("waits");
    assert_eq!((again.id, again.attempt), (id, 2));
    assert!(!holds(&mut tx, id, first, 1, 3).await, "the builder before");
    assert!(!holds(&mut tx, id, first, 2, 3).await, "the builder before, guessing");
    assert!(!holds(&mut tx, id, second, 1, 3).await);
    assert!(holds(&mut tx, id, second, 2, 3).await);
    // The same builder claims its own build once more: its earlier attempt holds no longer.
    assert!(builds::requeue(&mut tx, id, "silent", after(4)).await.expect("writes"));
    let third = builds::claim(&mut tx, second, &secret(TokenKind::Build), &crate::fixture::FREE, after(4), after(34))
        .await
        .expect("claims")
        .expect("waits");
    assert_eq!(third.attempt, 3);
    assert!(!holds(&mut tx, id, second, 2, 5).await);
    assert!(holds(&mut tx, id, second, 3, 5).await);
}

async fn a_lease_ends_at_its_end(db: &Db) {
    let builder = BuilderId::new();
    let id = world(db, "web").await.running(db, builder).await.id;
    let mut tx = begin(db).await;
    let expired = async |tx: &mut WriteTx, second: u64| !builds::list_expired(tx, after(second), 10).await.expect("lists").is_empty();
    assert!(holds(&mut tx, id, builder, 1, 29).await && !expired(&mut tx, 29).await);
    assert!(!holds(&mut tx, id, builder, 1, 30).await && expired(&mut tx, 30).await, "at every moment exactly one of the two");
    builds::extend_lease(&mut tx, id, after(60)).await.expect("writes");
    assert!(holds(&mut tx, id, builder, 1, 59).await && !expired(&mut tx, 59).await);
    assert!(!holds(&mut tx, id, builder, 1, 60).await && expired(&mut tx, 60).await);
    done(tx).await;
    assert_eq!(build(db, id).await.lease_until, Some(after(60)));
}

async fn a_given_back_build_starts_afresh(db: &Db) {
    let world = world(db, "web").await;
    let id = world.running(db, BuilderId::new()).await.id;
    let mut tx = begin(db).await;
    builds::set_last_sequence(&mut tx, id, 5, 50).await.expect("writes");
    slipway_store::progress::start_phase(&mut tx, id, 1, slipway_model::Phase::Build, after(1)).await.expect("writes");
    assert!(builds::requeue(&mut tx, id, ODD, after(9)).await.expect("writes"));
    assert!(!builds::requeue(&mut tx, id, "twice", after(9)).await.expect("writes"));
    done(tx).await;
    let waiting = build(db, id).await;
    assert_eq!((waiting.state, waiting.builder, waiting.lease_until, waiting.phase), (BuildState::Queued, None, None, None));
    assert_eq!((waiting.note.as_deref(), waiting.attempt), (Some(ODD), 1));
    let mut tx = begin(db).await;
    let again = builds::claim(&mut tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, after(9), after(39))
        .await
        .expect("claims")
        .expect("due");
    assert_eq!((again.attempt, again.last_sequence, again.log_bytes), (2, 0, 50), "reports count anew, the log goes on");
    assert_eq!((again.started_at, again.queued_at), (Some(NOW), NOW), "the first attempt is when it began");
}

async fn an_expired_build_is_taken_once(db: &Db) {
    let world = world(db, "web").await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(world.running(db, BuilderId::new()).await.id);
    }
    let mut sweepers = tokio::task::JoinSet::new();
    for n in 0..4 {
        let db = db.clone();
        sweepers.spawn(async move {
            let mut tx = begin(&db).await;
            let expired = builds::list_expired(&mut tx, after(30), 100).await.expect("lists");
            for build in &expired {
                assert!(builds::requeue(&mut tx, build.id, &format!("sweeper {n}"), after(30)).await.expect("writes"), "taken twice");
            }
            done(tx).await;
            expired.into_iter().map(|build| build.id).collect::<Vec<_>>()
        });
    }
    let mut swept: Vec<_> = sweepers.join_all().await.into_iter().flatten().collect();
    swept.sort();
    assert_eq!(swept, ids);
    let mut tx = begin(db).await;
    assert!(builds::list_expired(&mut tx, after(30), 100).await.expect("lists").is_empty());
}

/// A beat that commits between the look at expired leases and the decision wins, or loses visibly; never both.
async fn a_builder_that_beats_is_not_expired(db: &Db) {
    let world = world(db, "web").await;
    for _ in 0..10 {
        let builder = BuilderId::new();
        let id = world.running(db, builder).await.id;
        let barrier = tokio::sync::Barrier::new(2);
        let beat = async {
            barrier.wait().await;
            let mut tx = begin(db).await;
            let held = holds(&mut tx, id, builder, 1, 29).await;
            if held {
                builds::extend_lease(&mut tx, id, after(90)).await.expect("writes");
            }
            done(tx).await;
            held
        };
        let sweep = async {
            barrier.wait().await;
            let mut tx = begin(db).await;
            let expired = builds::list_expired(&mut tx, after(30), 10).await.expect("lists");
            for build in &expired {
                builds::requeue(&mut tx, build.id, "silent", after(1000)).await.expect("writes");
            }
            done(tx).await;
            !expired.is_empty()
        };
        let (held, swept) = tokio::join!(beat, sweep);
        assert_ne!(held, swept, "one of them decides");
        assert_eq!(build(db, id).await.state, if held { BuildState::Running } else { BuildState::Queued });
        let ending = Ending { state: BuildState::Cancelled, reason: None, note: None, digest: None };
        let mut tx = begin(db).await;
        builds::finish(&mut tx, id, &ending, NOW).await.expect("writes");
        done(tx).await;
    }
}

async fn leases_of_a_dead_builder_end_at_once(db: &Db) {
    let world = world(db, "web").await;
    let (dead, alive) = (BuilderId::new(), BuilderId::new());
    let (first, second, other) = (world.running(db, dead).await, world.running(db, dead).await, world.running(db, alive).await);
    let mut tx = begin(db).await;
    assert_eq!(builds::count_held(&mut tx, dead).await.expect("query"), 2);
    assert_eq!(builds::expire_leases_of(&mut tx, &dead, after(2)).await.expect("writes"), 2);
    assert!(!holds(&mut tx, first.id, dead, 1, 2).await);
    assert!(holds(&mut tx, other.id, alive, 1, 2).await);
    let mut due: Vec<_> = builds::list_expired(&mut tx, after(2), 10).await.expect("lists").into_iter().map(|build| build.id).collect();
    due.sort();
    assert_eq!(due, [first.id, second.id]);
}

async fn a_registry_credential_lives_as_long_as_its_lease(db: &Db) {
    let world = world(db, "web").await;
    let (id, builder, token) = (world.queued(db).await, BuilderId::new(), secret(TokenKind::Build));
    let mut tx = begin(db).await;
    let of = async |tx: &mut WriteTx, token: &slipway_model::SecretHash, second: u64| {
        builds::get_by_registry_token(tx, token, after(second)).await.expect("query").map(|build| build.id)
    };
    assert_eq!(of(&mut tx, &token, 0).await, None);
    builds::claim(&mut tx, builder, &token, &crate::fixture::FREE, NOW, after(30)).await.expect("claims").expect("waits");
    assert_eq!(of(&mut tx, &token, 29).await, Some(id));
    assert_eq!(of(&mut tx, &secret(TokenKind::Build), 29).await, None);
    assert_eq!(of(&mut tx, &token, 30).await, None, "ends with the lease");
    builds::extend_lease(&mut tx, id, after(60)).await.expect("writes");
    assert_eq!(of(&mut tx, &token, 59).await, Some(id));
    builds::requeue(&mut tx, id, "", NOW).await.expect("writes");
    assert_eq!(of(&mut tx, &token, 1).await, None, "given back");
    let newer = secret(TokenKind::Build);
    builds::claim(&mut tx, builder, &newer, &crate::fixture::FREE, NOW, after(30)).await.expect("claims").expect("waits");
    assert_eq!((of(&mut tx, &token, 1).await, of(&mut tx, &newer, 1).await), (None, Some(id)), "each attempt has its own");
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    builds::finish(&mut tx, id, &ending, after(2)).await.expect("writes");
    assert_eq!(of(&mut tx, &newer, 3).await, None, "the build has ended");
}

/// What `app` does for a report: hold, then write. Nothing of a fenced one stands, everything of a held one does.
async fn what_a_holder_writes_stays(db: &Db) {
    let world = world(db, "web").await;
    let (late, newest) = (BuilderId::new(), BuilderId::new());
    let id = world.running(db, late).await.id;
    let mut tx = begin(db).await;
    builds::requeue(&mut tx, id, "silent", after(1)).await.expect("writes");
    builds::claim(&mut tx, newest, &secret(TokenKind::Build), &crate::fixture::FREE, after(1), after(31))
        .await
        .expect("claims")
        .expect("waits");
    done(tx).await;
    let report = async |builder, attempt, digit, now: u64| {
        let mut tx = begin(db).await;
        if !holds(&mut tx, id, builder, attempt, now).await {
            return false;
        }
        builds::set_commit(&mut tx, id, &commit(digit), &format!("by {digit}\0"), ODD).await.expect("writes");
        let reason = FailureReason::new(FailureCode::TestFailed, digit.to_string());
        let ending = Ending { state: BuildState::Failed, reason: Some(&reason), note: None, digest: None };
        let ended = builds::finish(&mut tx, id, &ending, after(now)).await.expect("writes");
        done(tx).await;
        ended
    };
    let before = format!("{:?}", build(db, id).await);
    assert!(!report(late, 1, 'd', 2).await, "the lease is lost");
    assert!(!report(late, 2, 'd', 2).await);
    assert!(!report(newest, 2, 'd', 31).await, "too late");
    assert_eq!(format!("{:?}", build(db, id).await), before);
    assert!(report(newest, 2, 'e', 30).await);
    assert!(!report(newest, 2, 'd', 30).await, "it has ended");
    let found = build(db, id).await;
    assert_eq!(
        (found.commit, found.commit_message.as_deref(), found.commit_author.as_deref()),
        (commit('e'), Some("by e\u{fffd}"), Some(ODD))
    );
    assert_eq!(found.reason.map(|reason| reason.text).as_deref(), Some("e"));
    assert_eq!(builds::count_held(&mut look(db).await, newest).await.expect("query"), 0);
}

async fn notes_are_added_up(db: &Db) {
    let world = world(db, "web").await;
    let id = world.running(db, BuilderId::new()).await.id;
    let mut tx = begin(db).await;
    let note = async |tx: &mut WriteTx| builds::get_any(tx, id).await.expect("query").expect("stands").note;
    builds::add_note(&mut tx, id, ODD).await.expect("writes");
    assert_eq!(note(&mut tx).await.as_deref(), Some(ODD));
    builds::add_note(&mut tx, id, "and more").await.expect("writes");
    assert_eq!(note(&mut tx).await, Some(format!("{ODD}\nand more")));
    builds::set_note(&mut tx, id, None).await.expect("writes");
    assert_eq!(note(&mut tx).await, None);
    builds::set_note(&mut tx, id, Some(&format!("{ODD}\nand more"))).await.expect("writes");
    let ending = builds::Ending { state: slipway_model::BuildState::Success, reason: None, note: Some("no tag moved"), digest: None };
    assert!(builds::finish(&mut tx, id, &ending, after(1)).await.expect("writes"));
    assert_eq!(note(&mut tx).await, Some(format!("no tag moved\n{ODD}\nand more")));
    builds::add_note(&mut tx, id, "too late").await.expect("writes");
    builds::set_note(&mut tx, id, Some("too late")).await.expect("writes");
    assert!(!note(&mut tx).await.expect("a note").contains("too late"), "an ended build does not change");
}
