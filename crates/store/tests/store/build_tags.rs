//! Tags that hooks push: noted by the attempt that runs, in bounds.

use slipway_model::{BuildState, BuilderId};
use slipway_store::builds::{self, Ending};
use slipway_store::{Db, build_tags};

use crate::fixture::{NOW, begin, done, look, tag, world};

on_both! {
    the_last_push_of_a_tag_counts_and_an_attempt_has_its_own;
    only_the_attempt_that_runs_notes_any;
    there_is_an_end_to_them;
}

async fn the_last_push_of_a_tag_counts_and_an_attempt_has_its_own(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    for (name, digest) in [("v2", "sha256:a"), ("v1", "sha256:a"), ("v2", "sha256:b")] {
        assert!(build_tags::note(&mut tx, running.id, 1, &tag(name), digest).await.expect("notes"));
    }
    done(tx).await;
    let mut tx = look(db).await;
    let listed = build_tags::list(&mut tx, running.id, 1).await.expect("lists");
    assert_eq!(listed, [(tag("v1"), "sha256:a".to_owned()), (tag("v2"), "sha256:b".to_owned())]);
    assert_eq!(build_tags::list(&mut tx, running.id, 2).await.expect("lists"), []);
}

async fn only_the_attempt_that_runs_notes_any(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    assert!(!build_tags::note(&mut tx, running.id, 2, &tag("v1"), "sha256:a").await.expect("notes"), "no such attempt");
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    builds::finish(&mut tx, running.id, &ending, NOW).await.expect("ends");
    assert!(!build_tags::note(&mut tx, running.id, 1, &tag("v1"), "sha256:a").await.expect("notes"), "it has ended");
    done(tx).await;
    assert_eq!(build_tags::list(&mut look(db).await, running.id, 1).await.expect("lists"), []);
}

async fn there_is_an_end_to_them(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    for number in 0..build_tags::MOST_TAGS {
        assert!(build_tags::note(&mut tx, running.id, 1, &tag(&format!("t{number}")), "sha256:a").await.expect("notes"), "{number}");
    }
    assert!(!build_tags::note(&mut tx, running.id, 1, &tag("one-more"), "sha256:a").await.expect("notes"));
    assert!(build_tags::note(&mut tx, running.id, 1, &tag("t7"), "sha256:b").await.expect("notes"), "one that is known moves on");
    done(tx).await;
    assert_eq!(build_tags::list(&mut look(db).await, running.id, 1).await.expect("lists").len(), build_tags::MOST_TAGS as usize);
}
