//! What is told of commits: one check for each rule, in one sender's hands, and only ever the newest.

use slipway_model::{BuildId, BuildState, BuilderId, TokenKind};
use slipway_store::builds::{self, Ending};
use slipway_store::commit_statuses::{self, CommitStatus};
use slipway_store::{Db, repositories};

use crate::fixture::{NOW, ODD, World, after, begin, done, look, rule, secret, world, world_of};

on_both! {
    a_status_is_due_when_its_build_begins_and_when_it_ends;
    who_tells_an_older_state_has_told_nothing;
    the_newest_build_of_a_rule_and_a_commit_is_told_of;
    each_rule_has_a_context_of_its_own;
    two_claims_at_once_get_two_statuses;
    what_was_not_told_is_due_again_once_a_link_works;
    a_status_goes_with_its_build;
}

async fn claim(db: &Db, seconds: u64) -> Option<CommitStatus> {
    let mut tx = begin(db).await;
    let claimed = commit_statuses::claim(&mut tx, after(seconds), after(seconds + 60)).await.expect("claims");
    done(tx).await;
    claimed
}

async fn stands(db: &Db, build: BuildId) -> CommitStatus {
    commit_statuses::get(&mut look(db).await, build).await.expect("query").expect("stands")
}

async fn finish(db: &Db, build: BuildId, seconds: u64) {
    let mut tx = begin(db).await;
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, build, &ending, after(seconds)).await.expect("ends"));
    done(tx).await;
}

async fn told(db: &Db, status: &CommitStatus, seconds: u64) {
    let mut tx = begin(db).await;
    commit_statuses::set_told(&mut tx, status, after(seconds)).await.expect("writes");
    done(tx).await;
}

async fn a_status_is_due_when_its_build_begins_and_when_it_ends(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    let claimed = claim(db, 0).await.expect("due");
    assert_eq!((claimed.build, claimed.rule, claimed.context.as_str()), (build, world.rule.id, "slipway/acme/web"));
    assert_eq!((claimed.due_at, claimed.since, claimed.tries, claimed.error.as_deref()), (Some(NOW), NOW, 0, None));
    assert!(claim(db, 59).await.is_none(), "it is in somebody's hands");
    let taken_over = claim(db, 60).await.expect("its sender died");
    // The one that was thought dead ends nobody else's turn.
    told(db, &claimed, 61).await;
    assert!(claim(db, 62).await.is_none());

    let mut tx = begin(db).await;
    commit_statuses::set_failed(&mut tx, &taken_over, ODD, after(100)).await.expect("writes");
    done(tx).await;
    let waits = stands(db, build).await;
    assert_eq!((waits.due_at, waits.tries, waits.error.as_deref()), (Some(after(100)), 1, Some(ODD)));
    assert!(claim(db, 99).await.is_none());
    told(db, &claim(db, 100).await.expect("due again"), 101).await;
    let known = stands(db, build).await;
    assert_eq!((known.due_at, known.error, known.told_at), (None, None, Some(after(101))));

    // A running build is told of already.
    let mut tx = begin(db).await;
    builds::claim(&mut tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, after(200), after(230))
        .await
        .expect("claims")
        .expect("waits");
    done(tx).await;
    assert!(claim(db, 200).await.is_none());
    finish(db, build, 300).await;
    let last = claim(db, 300).await.expect("it ended");
    assert_eq!((last.since, last.tries), (after(300), 0), "what was before does not count");
    let mut tx = begin(db).await;
    commit_statuses::set_refused(&mut tx, &last, "forbidden").await.expect("writes");
    done(tx).await;
    let refused = stands(db, build).await;
    assert_eq!((refused.due_at, refused.error.as_deref(), refused.told_at), (None, Some("forbidden"), Some(after(101))));
    assert!(claim(db, 100_000).await.is_none());
}

async fn who_tells_an_older_state_has_told_nothing(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    let pending = claim(db, 0).await.expect("due");
    finish(db, build, 5).await;
    assert!(claim(db, 6).await.is_none(), "first the one that is on its way");
    told(db, &pending, 7).await;
    let last = claim(db, 7).await.expect("the end is still to be told");
    told(db, &last, 8).await;
    assert_eq!(stands(db, build).await.told_at, Some(after(8)));
    assert!(claim(db, 9).await.is_none());
}

async fn the_newest_build_of_a_rule_and_a_commit_is_told_of(db: &Db) {
    let world = world(db, "web").await;
    let old = world.queued(db).await;
    let pending = claim(db, 0).await.expect("due");
    let new = world.queued(db).await;
    assert!(commit_statuses::get(&mut look(db).await, old).await.expect("query").is_none());
    assert!(claim(db, 1).await.is_none(), "the old one is on its way");
    finish(db, old, 2).await;
    told(db, &pending, 3).await;
    let claimed = claim(db, 4).await.expect("the new one");
    assert_eq!((claimed.build, claimed.context.as_str()), (new, "slipway/acme/web"));
    told(db, &claimed, 5).await;
    assert!(claim(db, 100_000).await.is_none(), "nothing of the old one");
}

async fn each_rule_has_a_context_of_its_own(db: &Db) {
    let first = world(db, "web").await;
    let second = World { rule: rule(), ..first.clone() };
    let mut tx = begin(db).await;
    repositories::replace_rules(&mut tx, first.autobuild, &[second.rule.clone(), first.rule.clone()]).await.expect("writes");
    done(tx).await;
    for round in 0..2 {
        let (one, two) = (first.queued(db).await, second.queued(db).await);
        assert_eq!(stands(db, one).await.context, "slipway/acme/web", "{round}");
        assert_eq!(stands(db, two).await.context, format!("slipway/acme/web/{}", second.rule.id.short()), "{round}");
    }
}

async fn two_claims_at_once_get_two_statuses(db: &Db) {
    let one = world(db, "web").await;
    let rules: Vec<_> = (0..8).map(|_| rule()).collect();
    for rule in rules {
        World { rule, ..one.clone() }.queued(db).await;
    }
    let claims = |db: Db| async move {
        let mut found = Vec::new();
        for _ in 0..8 {
            found.extend(claim(&db, 1).await.map(|status| status.build));
        }
        found
    };
    let (one, two) = tokio::join!(tokio::spawn(claims(db.clone())), tokio::spawn(claims(db.clone())));
    let mut all = [one.expect("ends"), two.expect("ends")].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8, "each was claimed, none twice");
}

async fn try_again(db: &Db, world: &World, queued_since: u64, seconds: u64) {
    let mut tx = begin(db).await;
    let account = repositories::get(&mut tx, world.repository).await.expect("query").expect("stands").account;
    let provider = "github".parse().expect("provider");
    commit_statuses::try_again(&mut tx, account, &provider, after(queued_since), after(seconds)).await.expect("writes");
    done(tx).await;
}

async fn what_was_not_told_is_due_again_once_a_link_works(db: &Db) {
    let (world, other) = (world(db, "web").await, world_of(db, "umbrella", "web").await);
    let refuse = async |status: &CommitStatus| {
        let mut tx = begin(db).await;
        commit_statuses::set_refused(&mut tx, status, ODD).await.expect("writes");
        done(tx).await;
    };
    let build = world.queued(db).await;
    refuse(&claim(db, 0).await.expect("due")).await;
    try_again(db, &world, 1, 10).await;
    assert!(claim(db, 10).await.is_none(), "it is too old");
    try_again(db, &world, 0, 20).await;
    let waits = stands(db, build).await;
    assert_eq!((waits.due_at, waits.since, waits.tries), (Some(after(20)), after(20), 0));
    assert_eq!(waits.error.as_deref(), Some(ODD), "why it was not told stays to be seen");

    // Refused through the link of before, while another one is made.
    let sent = claim(db, 20).await.expect("due");
    try_again(db, &world, 0, 21).await;
    refuse(&sent).await;
    let again = claim(db, 22).await.expect("nothing was noted of that");
    told(db, &again, 23).await;
    try_again(db, &world, 0, 30).await;
    assert!(claim(db, 30).await.is_none(), "what was told is told");

    // What waits after a failure, too, but nobody else's.
    other.queued(db).await;
    finish(db, build, 40).await;
    for _ in 0..2 {
        let status = claim(db, 40).await.expect("due");
        let mut tx = begin(db).await;
        commit_statuses::set_failed(&mut tx, &status, ODD, after(1000)).await.expect("writes");
        done(tx).await;
    }
    try_again(db, &world, 0, 50).await;
    assert_eq!(claim(db, 50).await.map(|status| status.build), Some(build));
    assert!(claim(db, 50).await.is_none());
}

async fn a_status_goes_with_its_build(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    finish(db, build, 1).await;
    let mut tx = begin(db).await;
    assert!(builds::delete(&mut tx, world.repository, build).await.expect("deletes"));
    done(tx).await;
    assert!(claim(db, 100).await.is_none());
}
