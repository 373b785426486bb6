//! Deliveries of one moment in one commit: each for itself, and none acknowledged that is not stored.

use std::sync::Arc;
use std::time::Duration;

use slipway_model::{DeliveryId, DeliveryStatus, HookId, RepositoryId};
use slipway_store::deliveries::{self, Filter};
use slipway_store::inbox::{Inbox, Incoming};
use slipway_store::{Db, StoreError};

use crate::fixture::{NOW, after, begin, done, empty_sqlite, look, repository};

on_both! {
    many_at_once_are_all_stored_and_duplicates_are_known;
    one_that_cannot_be_stored_fails_alone;
    a_rejected_one_is_decided_again_when_it_is_sent_again;
    the_inbox_is_filtered;
}

fn incoming(hook: HookId, repository: RepositoryId, id: &str, body: &str) -> Incoming {
    Incoming {
        hook,
        repository,
        delivery_id: id.to_owned(),
        event: "push".to_owned(),
        headers: "{}".to_owned(),
        body: body.as_bytes().to_vec(),
        body_sha256: body.to_owned(),
        received_at: NOW,
    }
}

async fn many_at_once_are_all_stored_and_duplicates_are_known(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let (hook, inbox) = (HookId::new(), Arc::new(Inbox::new(db.clone())));
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..200_u32 {
        let inbox = inbox.clone();
        // Every third repeats the one before it.
        let of = if n % 3 == 2 { n - 1 } else { n };
        senders.spawn(
            async move { (of, inbox.store(incoming(hook, web, &format!("id-{of}"), &format!("body-{of}"))).await.expect("stored")) },
        );
    }
    let stored = senders.join_all().await;
    let mut tx = look(db).await;
    for (of, (id, first)) in &stored {
        let found = deliveries::get(&mut tx, web, *id).await.expect("query").expect("what is acknowledged is there");
        assert_eq!(found.duplicate_of, *first);
        let firsts: Vec<DeliveryId> =
            stored.iter().filter(|(other, (_, first))| other == of && first.is_none()).map(|(_, (id, _))| *id).collect();
        assert_eq!(firsts.len(), 1, "{of} is kept once");
        assert!(first.is_none_or(|first| first == firsts[0]));
    }
}

async fn one_that_cannot_be_stored_fails_alone(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let inbox = Arc::new(Inbox::new(db.clone()));
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..40_u32 {
        let inbox = inbox.clone();
        let repository = if n % 10 == 0 { RepositoryId::new() } else { web };
        senders.spawn(async move { (n, inbox.store(incoming(HookId::new(), repository, &n.to_string(), &n.to_string())).await) });
    }
    for (n, stored) in senders.join_all().await {
        match stored {
            Ok(_) => assert!(n % 10 != 0, "{n}"),
            Err(StoreError::Conflict(_)) => assert!(n % 10 == 0, "{n}"),
            Err(other) => panic!("{n}: {other:?}"),
        }
    }
    let kept = deliveries::list(&mut look(db).await, web, &Filter::default(), None, 100).await.expect("lists");
    assert_eq!(kept.len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_answer_is_no_within_five_seconds() {
    let fixture = empty_sqlite().await;
    fixture.db.migrate().await.expect("migrates");
    let web = repository(&fixture.db, "acme", "web").await;
    let inbox = Inbox::new(fixture.db.clone());
    // Somebody else writes and does not end.
    let held = begin(&fixture.db).await;
    let began = tokio::time::Instant::now();
    let stored = inbox.store(incoming(HookId::new(), web, "1", "1")).await;
    assert!(matches!(stored, Err(StoreError::Unavailable(_))), "{stored:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(held);
    inbox.store(incoming(HookId::new(), web, "2", "2")).await.expect("it goes on without a restart");
    fixture.db.close().await;
    let stored = inbox.store(incoming(HookId::new(), web, "3", "3")).await;
    assert!(matches!(stored, Err(StoreError::Unavailable(_))), "{stored:?}");
}

async fn a_rejected_one_is_decided_again_when_it_is_sent_again(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let (hook, inbox) = (HookId::new(), Inbox::new(db.clone()));
    let send = |id: &'static str| inbox.store(incoming(hook, web, id, "body"));
    let (first, _) = send("id").await.expect("stored");
    for (status, id, again) in
        [(DeliveryStatus::Accepted, "id", false), (DeliveryStatus::Rejected, "other", false), (DeliveryStatus::Rejected, "id", true)]
    {
        let mut tx = begin(db).await;
        assert!(deliveries::set_processed(&mut tx, first, status, Some("why"), NOW).await.expect("writes"));
        done(tx).await;
        assert_eq!(send(id).await.expect("stored").1, Some(first));
        let found = deliveries::get(&mut look(db).await, web, first).await.expect("query").expect("stands");
        assert_eq!(found.processed_at.is_none(), again, "{status} {id}");
        if !again {
            let mut tx = begin(db).await;
            reopen(&mut tx, first).await;
            done(tx).await;
        }
    }
}

/// As if it had just come: what a rejected one that is sent again becomes.
async fn reopen(tx: &mut slipway_store::WriteTx, id: DeliveryId) {
    deliveries::reopen(tx, id).await.expect("writes");
}

async fn the_inbox_is_filtered(db: &Db) {
    use slipway_model::VerdictOutcome;
    use slipway_store::deliveries::Verdict;
    let web = repository(db, "acme", "web").await;
    let inbox = Inbox::new(db.clone());
    let mut ids = Vec::new();
    for (n, event, source_ref, outcome) in [
        (0, "push", "refs/heads/main", VerdictOutcome::Built),
        (1, "push", "refs/tags/v1", VerdictOutcome::NoMatch),
        (2, "ping", "", VerdictOutcome::Ignored),
    ] {
        let text = n.to_string();
        let new = Incoming { event: event.to_owned(), received_at: after(n), ..incoming(HookId::new(), web, &text, &text) };
        let (id, _) = inbox.store(new).await.expect("stored");
        let verdict = Verdict {
            at: NOW,
            rule_id: None,
            rule: String::new(),
            source_ref: source_ref.to_owned(),
            outcome,
            text: "x".to_owned(),
            build: None,
        };
        let mut tx = begin(db).await;
        let status = if event == "ping" { DeliveryStatus::Ignored } else { DeliveryStatus::Accepted };
        deliveries::set_processed(&mut tx, id, status, None, NOW).await.expect("writes");
        deliveries::insert_verdicts(&mut tx, id, &[verdict]).await.expect("writes");
        done(tx).await;
        ids.push(id);
    }
    let some = |text: &str| Some(text.to_owned());
    for (filter, found) in [
        (Filter::default(), vec![2, 1, 0]),
        (Filter { status: Some(DeliveryStatus::Accepted), ..Filter::default() }, vec![1, 0]),
        (Filter { event: some("ping"), ..Filter::default() }, vec![2]),
        (Filter { source_ref: some("main"), ..Filter::default() }, vec![0]),
        (Filter { source_ref: some("refs/tags/v1"), ..Filter::default() }, vec![1]),
        (Filter { source_ref: some("v1"), outcome: Some(VerdictOutcome::Built), ..Filter::default() }, vec![]),
        (Filter { outcome: Some(VerdictOutcome::NoMatch), ..Filter::default() }, vec![1]),
        (Filter { since: Some(after(1)), ..Filter::default() }, vec![2, 1]),
        (Filter { until: Some(after(1)), ..Filter::default() }, vec![0]),
    ] {
        let listed = deliveries::list(&mut look(db).await, web, &filter, None, 10).await.expect("lists");
        let listed: Vec<usize> = listed.iter().filter_map(|one| ids.iter().position(|id| *id == one.id)).collect();
        assert_eq!(listed, found, "{filter:?}");
    }
}
