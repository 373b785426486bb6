//! When a source is looked at next, and the bounded list of refused requests.

use slipway_model::{DeliveryStatus, HookId, LinkId};
use slipway_store::deliveries::{self, Filter};
use slipway_store::reconciling::{self, HookHealth};
use slipway_store::refused::{self, KEPT, RefusedRequest};
use slipway_store::{Db, refs, repositories, sources};

use crate::fixture::{NOW, account, after, begin, done, look, provider, ref_name, world};

on_both! {
    a_look_is_taken_once;
    a_look_at_one_source_is_none_at_the_next;
    a_look_anew_reads_the_repository_itself;
    only_sooner_is_heard;
    a_problem_keeps_its_beginning;
    what_the_reconciler_found_stands_beside_the_deliveries_and_outlives_them;
    a_hook_that_is_gone_keeps_no_refused_requests;
}

async fn a_look_is_taken_once(db: &Db) {
    let world = world(db, "web").await;
    let due = reconciling::list_due(&mut look(db).await, NOW, 10).await.expect("lists");
    assert_eq!(due.len(), 1, "new settings are due at once");
    let watched = &due[0];
    assert_eq!((watched.autobuild, watched.account, watched.hook), (world.autobuild, world.account, HookHealth::Wrong));
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (db, watched) = (db.clone(), watched.clone());
        takers.spawn(async move {
            let mut tx = begin(&db).await;
            let taken = reconciling::claim(&mut tx, watched.autobuild, watched.due_at, after(300)).await.expect("writes");
            done(tx).await;
            taken
        });
    }
    assert_eq!(takers.join_all().await.into_iter().filter(|taken| *taken).count(), 1);
    let mut tx = begin(db).await;
    assert!(reconciling::list_due(&mut tx, after(299), 10).await.expect("lists").is_empty());
    assert_eq!(reconciling::list_due(&mut tx, after(300), 10).await.expect("lists").len(), 1);
    // Somebody wanted it sooner while the look was on its way: its end does not put that off.
    reconciling::hurry(&mut tx, world.autobuild, after(5)).await.expect("writes");
    reconciling::settle(&mut tx, world.autobuild, after(300), after(900)).await.expect("writes");
    assert_eq!(reconciling::list_due(&mut tx, after(5), 10).await.expect("lists").len(), 1);
    assert_eq!(reconciling::oldest_due(&mut tx, after(9)).await.expect("query"), Some(after(5)));
    assert_eq!(reconciling::looks(&mut tx, world.autobuild).await.expect("query"), Some((None, after(5))));
    assert_eq!(reconciling::looks(&mut tx, slipway_model::AutobuildId::new()).await.expect("query"), None);
}

/// The settings may be given another source while a look is under way. Its first look has to learn, not to find every ref new.
async fn a_look_at_one_source_is_none_at_the_next(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let watched = reconciling::list_due(&mut tx, NOW, 10).await.expect("lists").remove(0);
    let mut settings = repositories::get_autobuild_by_id(&mut tx, world.autobuild).await.expect("query").expect("stands");
    settings.source_id = "43".into();
    repositories::upsert_autobuild(&mut tx, &settings).await.expect("writes");
    sources::set_source(&mut tx, world.autobuild, LinkId::new()).await.expect("writes");
    reconciling::set_checked(&mut tx, &watched, Some("etag"), NOW).await.expect("writes");
    let next = reconciling::list_due(&mut tx, NOW, 10).await.expect("lists").remove(0);
    assert_eq!((next.source_id.as_str(), next.checked_at, next.marker.as_deref()), ("43", None, None));
    reconciling::set_checked(&mut tx, &next, Some("etag"), NOW).await.expect("writes");
    assert_eq!(reconciling::checked_at(&mut tx, world.autobuild).await.expect("query"), Some(NOW));
}

/// A provider says that something about the repository changed: its refs may well stand where they stood.
async fn a_look_anew_reads_the_repository_itself(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let watched = reconciling::list_due(&mut tx, NOW, 10).await.expect("lists").remove(0);
    assert!(reconciling::claim(&mut tx, watched.autobuild, watched.due_at, after(100)).await.expect("writes"));
    let watched = reconciling::Watched { due_at: after(100), ..watched };
    reconciling::set_checked(&mut tx, &watched, Some("etag"), NOW).await.expect("writes");
    let again = reconciling::list_due(&mut tx, after(100), 10).await.expect("lists").remove(0);
    assert_eq!(again.marker.as_deref(), Some("etag"));
    reconciling::look_anew(&mut tx, world.autobuild, after(5)).await.expect("writes");
    let anew = reconciling::list_due(&mut tx, after(5), 10).await.expect("lists").remove(0);
    assert_eq!((anew.marker, anew.due_at), (None, after(5)));
    // One that was under way may have read the repository before that.
    reconciling::set_checked(&mut tx, &watched, Some("etag"), after(6)).await.expect("writes");
    reconciling::look_anew(&mut tx, world.autobuild, after(50)).await.expect("writes");
    let still = reconciling::list_due(&mut tx, after(5), 10).await.expect("lists").remove(0);
    assert_eq!((still.marker, still.checked_at, still.due_at), (None, Some(after(6)), after(5)));
}

async fn only_sooner_is_heard(db: &Db) {
    let world = world(db, "web").await;
    let stranger = account(db, "stranger").await;
    let mut tx = begin(db).await;
    assert!(reconciling::claim(&mut tx, world.autobuild, slipway_model::Timestamp::from_millis(0), after(100)).await.expect("writes"));
    reconciling::hurry(&mut tx, world.autobuild, after(200)).await.expect("writes");
    assert!(!reconciling::claim(&mut tx, world.autobuild, after(200), after(100)).await.expect("writes"));
    assert_eq!(reconciling::hurry_account(&mut tx, stranger, &provider(), NOW).await.expect("writes"), 0);
    assert_eq!(reconciling::hurry_account(&mut tx, world.account, &provider(), after(50)).await.expect("writes"), 1);
    assert_eq!(reconciling::list_later(&mut tx, NOW, None, 10).await.expect("lists"), [world.autobuild]);
    assert!(reconciling::list_later(&mut tx, after(50), None, 10).await.expect("lists").is_empty());
    assert!(reconciling::list_later(&mut tx, NOW, Some(world.autobuild), 10).await.expect("lists").is_empty());
}

async fn a_problem_keeps_its_beginning(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let problem = |code: &str, text: &str, at| Some((code.to_owned(), text.to_owned(), at));
    reconciling::set_problem(&mut tx, world.autobuild, Some(("gone", "it is gone")), NOW).await.expect("writes");
    reconciling::set_problem(&mut tx, world.autobuild, Some(("gone", "still")), after(5)).await.expect("writes");
    assert_eq!(reconciling::problem(&mut tx, world.autobuild).await.expect("query"), problem("gone", "still", NOW));
    reconciling::set_problem(&mut tx, world.autobuild, Some(("moved", "away")), after(6)).await.expect("writes");
    assert_eq!(reconciling::problem(&mut tx, world.autobuild).await.expect("query"), problem("moved", "away", after(6)));
    assert_eq!(reconciling::list_due(&mut tx, NOW, 10).await.expect("lists")[0].problem.as_deref(), Some("moved"));
    reconciling::set_problem(&mut tx, world.autobuild, None, after(7)).await.expect("writes");
    assert_eq!(reconciling::problem(&mut tx, world.autobuild).await.expect("query"), None);
}

async fn what_the_reconciler_found_stands_beside_the_deliveries_and_outlives_them(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let mut entries = Vec::new();
    for _ in 0..2 {
        entries.push(deliveries::insert_found(&mut tx, world.autobuild, world.repository, "a change", NOW).await.expect("inserts"));
    }
    world.queue(&mut tx, NOW).await;
    done(tx).await;
    let mut tx = begin(db).await;
    let filter = Filter { event: Some("reconcile".to_owned()), ..Filter::default() };
    let listed = deliveries::list(&mut tx, world.repository, &filter, None, 10).await.expect("lists");
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [entries[1], entries[0]], "each of its own");
    assert_eq!(
        (listed[0].status, listed[0].processed_at, listed[0].detail.as_deref()),
        (DeliveryStatus::Accepted, Some(NOW), Some("a change"))
    );
    assert!(deliveries::list_open(&mut tx, 10).await.expect("lists").is_empty());
    assert_eq!(deliveries::delete_old(&mut tx, after(1), 10).await.expect("deletes"), 2);
    assert_eq!(refs::last_seq(&mut tx, world.autobuild, &ref_name("refs/heads/main")).await.expect("query"), 1, "the log stays");
}

async fn a_hook_that_is_gone_keeps_no_refused_requests(db: &Db) {
    let world = world(db, "web").await;
    let request = RefusedRequest { at: NOW, address: [192, 0, 2, 1].into(), reason: "why".to_owned(), size: 5 };
    let mut tx = begin(db).await;
    refused::keep(&mut tx, HookId::new(), &vec![request; KEPT + 5]).await.expect("nothing");
    assert!(refused::list(&mut tx, world.repository).await.expect("lists").is_empty());
}
