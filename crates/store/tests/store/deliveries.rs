//! Deliveries, verdicts, and the log of ref events.

use slipway_model::{AutobuildId, BuildId, DeliveryId, DeliveryStatus, HookId, RepositoryId, RuleId, VerdictOutcome};
use slipway_store::deliveries::{self, Filter, NewDelivery, Verdict};
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::{Db, StoreError, WriteTx};

use crate::fixture::{NOW, ODD, after, begin, commit, done, look, ref_name, repository, world};

on_both! {
    a_delivery_comes_back_as_it_came;
    the_same_id_or_the_same_body_is_a_duplicate;
    many_copies_at_once_are_kept_once;
    one_processor_wins;
    verdicts_keep_their_order;
    the_log_of_a_ref_has_no_gap_and_no_double;
    two_pushes_in_opposite_order;
    old_ones_are_removed;
    a_delivery_needs_its_repository;
}

fn delivery<'a>(hook: HookId, repository: RepositoryId, delivery_id: &'a str, body: &'a str) -> NewDelivery<'a> {
    // Any text does for the hash: the store compares it and nothing more.
    NewDelivery { hook, repository, delivery_id, event: "push", headers: "{}", body: body.as_bytes(), body_sha256: body }
}

async fn insert(tx: &mut WriteTx, new: &NewDelivery<'_>) -> (DeliveryId, Option<DeliveryId>) {
    deliveries::insert(tx, new, NOW).await.expect("inserts")
}

async fn a_delivery_comes_back_as_it_came(db: &Db) {
    let (web, other) = (repository(db, "acme", "web").await, repository(db, "acme", "other").await);
    let hook = HookId::new();
    let body: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let headers = serde_json::json!({ "x-github-event": ODD }).to_string();
    let new = NewDelivery { hook, repository: web, delivery_id: ODD, event: ODD, headers: &headers, body: &body, body_sha256: "aa" };
    let mut tx = begin(db).await;
    let (id, first) = insert(&mut tx, &new).await;
    assert_eq!(first, None);
    done(tx).await;
    let mut tx = look(db).await;
    let found = deliveries::get(&mut tx, web, id).await.expect("query").expect("stands");
    assert_eq!((found.id, found.hook, found.repository, found.delivery_id.as_str(), found.event.as_str()), (id, hook, web, ODD, ODD));
    assert_eq!((found.status, found.duplicate_of, found.received_at, found.processed_at), (DeliveryStatus::Accepted, None, NOW, None));
    assert!(deliveries::get(&mut tx, other, id).await.expect("query").is_none(), "another repository's");
    let raw = deliveries::get_raw(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((raw.headers == headers, raw.body == body), (true, true));
    assert!(deliveries::get_raw(&mut tx, DeliveryId::new()).await.expect("query").is_none());
    assert_eq!(deliveries::backlog(&mut tx).await.expect("query"), (1, Some(NOW)));
    let open = deliveries::list_open(&mut tx, 10).await.expect("lists");
    assert_eq!(open.iter().map(|open| open.id).collect::<Vec<_>>(), [id]);
}

async fn the_same_id_or_the_same_body_is_a_duplicate(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let (hook, other_hook) = (HookId::new(), HookId::new());
    let mut tx = begin(db).await;
    let (first, none) = insert(&mut tx, &delivery(hook, web, "id-1", "body-1")).await;
    assert_eq!(none, None);
    for (id, body) in [("id-1", "body-1"), ("id-1", "body-2"), ("id-2", "body-1")] {
        let (copy, of) = insert(&mut tx, &delivery(hook, web, id, body)).await;
        assert_eq!(of, Some(first), "{id} {body}");
        let found = deliveries::get(&mut tx, web, copy).await.expect("query").expect("is kept");
        assert_eq!((found.status, found.duplicate_of, found.processed_at), (DeliveryStatus::Duplicate, Some(first), Some(NOW)));
        assert_eq!((found.delivery_id.as_str(), found.event.as_str()), (id, "push"));
        assert!(deliveries::get_raw(&mut tx, copy).await.expect("query").expect("is kept").body.is_empty(), "its body is kept once");
    }
    assert_eq!(deliveries::get_raw(&mut tx, first).await.expect("query").expect("stands").body, b"body-1");
    // What a duplicate brought does not make others duplicates: id-2 and body-2 were never read.
    let (_, fresh) = insert(&mut tx, &delivery(hook, web, "id-2", "body-2")).await;
    assert_eq!(fresh, None, "both were seen only beside something known");
    let (_, elsewhere) = insert(&mut tx, &delivery(other_hook, web, "id-1", "body-1")).await;
    assert_eq!(elsewhere, None, "another hook's delivery");
    assert_eq!(deliveries::backlog(&mut tx).await.expect("query").0, 3, "duplicates wait for nobody");
}

async fn many_copies_at_once_are_kept_once(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let hook = HookId::new();
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..16 {
        let db = db.clone();
        senders.spawn(async move {
            // Half repeat the id, half the body.
            let (id, body) = if n % 2 == 0 { ("id".to_owned(), format!("body-{n}")) } else { (format!("id-{n}"), "body".to_owned()) };
            let mut tx = begin(&db).await;
            let kept = insert(&mut tx, &delivery(hook, web, &id, &body)).await;
            done(tx).await;
            (n % 2, kept)
        });
    }
    let kept = senders.join_all().await;
    for half in 0..2 {
        let firsts: Vec<DeliveryId> = kept.iter().filter(|(of, kept)| *of == half && kept.1.is_none()).map(|(_, kept)| kept.0).collect();
        assert_eq!(firsts.len(), 1, "{kept:?}");
        assert!(kept.iter().filter(|(of, _)| *of == half).all(|(_, kept)| kept.1.is_none() || kept.1 == Some(firsts[0])));
    }
    let listed = deliveries::list(&mut look(db).await, web, &Filter::default(), None, 100).await.expect("lists");
    assert_eq!(listed.len(), 16, "every copy is kept for people to see");
}

fn verdict(text: &str) -> Verdict {
    Verdict {
        at: after(1),
        rule_id: Some(RuleId::new()),
        rule: format!("branch {ODD}"),
        source_ref: "refs/heads/main".into(),
        outcome: VerdictOutcome::Built,
        text: text.into(),
        build: Some(BuildId::new()),
    }
}

async fn one_processor_wins(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let (id, _) = insert(&mut tx, &delivery(HookId::new(), world.repository, "id", "body")).await;
    done(tx).await;
    let mut processors = tokio::task::JoinSet::new();
    for n in 0..6_u64 {
        let (db, world) = (db.clone(), world.clone());
        processors.spawn(async move {
            let mut tx = begin(&db).await;
            if !deliveries::set_processed(&mut tx, id, DeliveryStatus::Ignored, Some(&n.to_string()), after(n)).await.expect("writes") {
                return None;
            }
            deliveries::insert_verdicts(&mut tx, id, &[verdict(&n.to_string())]).await.expect("writes");
            world.queue(&mut tx, NOW).await;
            done(tx).await;
            Some(n)
        });
    }
    let winners: Vec<u64> = processors.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let mut tx = begin(db).await;
    let found = deliveries::get(&mut tx, world.repository, id).await.expect("query").expect("stands");
    assert_eq!(
        (found.status, found.detail, found.processed_at),
        (DeliveryStatus::Ignored, Some(winners[0].to_string()), Some(after(winners[0])))
    );
    let verdicts = deliveries::list_verdicts(&mut tx, world.repository, id, id).await.expect("lists");
    assert_eq!(verdicts.len(), 1);
    assert_eq!(slipway_store::builds::queue_length(&mut tx).await.expect("query"), (1, 0), "one push, one build");
    assert_eq!(deliveries::backlog(&mut tx).await.expect("query"), (0, None));
    assert!(!deliveries::set_processed(&mut tx, DeliveryId::new(), DeliveryStatus::Ignored, None, NOW).await.expect("writes"));
}

async fn verdicts_keep_their_order(db: &Db) {
    let (web, other) = (repository(db, "acme", "web").await, repository(db, "acme", "other").await);
    let mut tx = begin(db).await;
    let (one, _) = insert(&mut tx, &delivery(HookId::new(), web, "1", "1")).await;
    let (foreign, _) = insert(&mut tx, &delivery(HookId::new(), other, "1", "1")).await;
    let (two, _) = insert(&mut tx, &delivery(HookId::new(), web, "2", "2")).await;
    let text = |n: u32| format!("{n} {ODD}");
    let batch = |range: std::ops::Range<u32>| range.map(|n| verdict(&text(n))).collect::<Vec<_>>();
    deliveries::insert_verdicts(&mut tx, two, &batch(20..22)).await.expect("writes");
    deliveries::insert_verdicts(&mut tx, one, &batch(0..12)).await.expect("writes");
    deliveries::insert_verdicts(&mut tx, foreign, &batch(90..91)).await.expect("writes");
    deliveries::insert_verdicts(&mut tx, one, &[]).await.expect("nothing");
    let general = Verdict { rule_id: None, build: None, outcome: VerdictOutcome::Refused, ..verdict(&text(12)) };
    deliveries::insert_verdicts(&mut tx, one, std::slice::from_ref(&general)).await.expect("behind those that stand");
    let listed = deliveries::list_verdicts(&mut tx, web, one, two).await.expect("lists");
    let texts: Vec<(DeliveryId, String)> = listed.iter().map(|(id, verdict)| (*id, verdict.text.clone())).collect();
    let wanted: Vec<(DeliveryId, String)> = (0..13).map(|n| (one, text(n))).chain((20..22).map(|n| (two, text(n)))).collect();
    assert_eq!(texts, wanted);
    assert_eq!(format!("{:?}", listed[12].1), format!("{general:?}"), "every field comes back");
    assert_eq!(deliveries::list_verdicts(&mut tx, web, two, two).await.expect("lists").len(), 2);
    assert!(deliveries::list_verdicts(&mut tx, other, one, one).await.expect("lists").is_empty(), "another repository's");
}

async fn the_log_of_a_ref_has_no_gap_and_no_double(db: &Db) {
    let (one, two) = (world(db, "one").await, world(db, "two").await);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..24_u32 {
        let (db, autobuild) = (db.clone(), one.autobuild);
        writers.spawn(async move {
            let name = ref_name(if n % 3 == 0 { "refs/tags/v1" } else { "refs/heads/main" });
            let (before, after) = (commit('a'), commit('b'));
            let event = NewRefEvent {
                autobuild,
                name: &name,
                before: Some(&before),
                after: Some(&after),
                origin: Origin::Delivery,
                delivery: None,
                place: None,
                covered_by: None,
                skips: false,
            };
            let mut tx = begin(&db).await;
            let (_, seq) = refs::insert(&mut tx, &event, NOW).await.expect("waits for its turn");
            done(tx).await;
            (n % 3 == 0, seq)
        });
    }
    let mut seqs = writers.join_all().await;
    seqs.sort_unstable();
    let wanted: Vec<(bool, u64)> = (1..=16).map(|seq| (false, seq)).chain((1..=8).map(|seq| (true, seq))).collect();
    assert_eq!(seqs, wanted);
    let mut tx = begin(db).await;
    let main = ref_name("refs/heads/main");
    assert_eq!(refs::last_seq(&mut tx, one.autobuild, &main).await.expect("query"), 16);
    assert_eq!(refs::last_seq(&mut tx, two.autobuild, &main).await.expect("query"), 0);
    let event = NewRefEvent {
        autobuild: AutobuildId::new(),
        name: &main,
        before: None,
        after: None,
        origin: Origin::Delivery,
        delivery: None,
        place: None,
        covered_by: None,
        skips: false,
    };
    let nowhere = refs::insert(&mut tx, &event, NOW).await;
    assert!(matches!(nowhere, Err(StoreError::Conflict(_))), "{nowhere:?}");
}

/// Two deliveries that name the same refs in another order must not wait for each other.
async fn two_pushes_in_opposite_order(db: &Db) {
    let world = world(db, "web").await;
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let mut writers = tokio::task::JoinSet::new();
    for names in [["refs/heads/a", "refs/heads/b"], ["refs/heads/b", "refs/heads/a"]] {
        let (db, autobuild, barrier) = (db.clone(), world.autobuild, barrier.clone());
        writers.spawn(async move {
            barrier.wait().await;
            for _ in 0..20 {
                let mut tx = begin(&db).await;
                for name in names {
                    let name = ref_name(name);
                    let event = NewRefEvent {
                        autobuild,
                        name: &name,
                        before: None,
                        after: None,
                        origin: Origin::Delivery,
                        delivery: None,
                        place: None,
                        covered_by: None,
                        skips: false,
                    };
                    refs::insert(&mut tx, &event, NOW).await.expect("no deadlock");
                }
                done(tx).await;
            }
        });
    }
    writers.join_all().await;
    let mut tx = look(db).await;
    for name in ["refs/heads/a", "refs/heads/b"] {
        assert_eq!(refs::last_seq(&mut tx, world.autobuild, &ref_name(name)).await.expect("query"), 40);
    }
}

async fn old_ones_are_removed(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let hook = HookId::new();
    let mut tx = begin(db).await;
    let mut ids = Vec::new();
    for n in 0..5_u64 {
        let text = n.to_string();
        let (id, _) = deliveries::insert(&mut tx, &delivery(hook, web, &text, &text), after(n)).await.expect("inserts");
        deliveries::insert_verdicts(&mut tx, id, &[verdict("x")]).await.expect("writes");
        // The first was never processed.
        if n > 0 {
            assert!(deliveries::set_processed(&mut tx, id, DeliveryStatus::Accepted, None, after(n)).await.expect("writes"));
        }
        ids.push(id);
    }
    assert_eq!(deliveries::delete_old(&mut tx, after(4), 2).await.expect("deletes"), 2, "at most that many");
    assert_eq!(deliveries::delete_old(&mut tx, after(4), 2).await.expect("deletes"), 1);
    assert_eq!(deliveries::delete_old(&mut tx, after(4), 2).await.expect("deletes"), 0);
    let left: Vec<DeliveryId> =
        deliveries::list(&mut tx, web, &Filter::default(), None, 10).await.expect("lists").into_iter().map(|left| left.id).collect();
    assert_eq!(left, [ids[4], ids[0]], "what is open or young stays");
    assert_eq!(deliveries::list_verdicts(&mut tx, web, ids[0], ids[4]).await.expect("lists").len(), 2, "verdicts go too");
}

async fn a_delivery_needs_its_repository(db: &Db) {
    let mut tx = begin(db).await;
    let nowhere = deliveries::insert(&mut tx, &delivery(HookId::new(), RepositoryId::new(), "1", "1"), NOW).await;
    assert!(matches!(nowhere, Err(StoreError::Conflict(_))), "{nowhere:?}");
}
