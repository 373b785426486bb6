//! The output of builds: whole, in pages, and by line.

use std::collections::BTreeMap;

use slipway_model::BuilderId;
use slipway_store::{Db, logs};

use crate::fixture::{NOW, ODD, after, begin, done, look, world};

on_both! {
    a_log_keeps_every_text;
    tails_are_told_apart_by_step;
    lines_are_found_by_step_and_attempt;
}

async fn a_log_keeps_every_text(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let long = "🦀\u{1b}[31m".repeat(50_000);
    let mut tx = begin(db).await;
    logs::append(&mut tx, running.id, 1, &[]).await.expect("nothing");
    logs::append(&mut tx, running.id, 1, &[(None, ODD, NOW), (Some("s\0"), "before\0after\0", after(1))]).await.expect("appends");
    logs::append(&mut tx, running.id, 2, &[(Some("s"), "", after(2)), (Some("s"), &long, after(3))]).await.expect("appends");
    done(tx).await;
    let mut tx = begin(db).await;
    let log = logs::list(&mut tx, running.id, 0, 100).await.expect("lists");
    let seen: Vec<_> = log.iter().map(|chunk| (chunk.seq, chunk.attempt, chunk.step.as_deref(), chunk.text.as_str(), chunk.at)).collect();
    let wanted = [
        (1, 1, None, ODD, NOW),
        (2, 1, Some("s\u{fffd}"), "before\u{fffd}after\u{fffd}", after(1)),
        (3, 2, Some("s"), "", after(2)),
        (4, 2, Some("s"), long.as_str(), after(3)),
    ];
    assert_eq!(seen, wanted);
    let page = logs::list(&mut tx, running.id, 1, 2).await.expect("lists");
    assert_eq!(page.iter().map(|chunk| chunk.seq).collect::<Vec<_>>(), [2, 3]);
    assert!(logs::list(&mut tx, running.id, 4, 10).await.expect("lists").is_empty());
    assert!(logs::list(&mut tx, running.id, u64::MAX, 10).await.expect("lists").is_empty());
}

async fn tails_are_told_apart_by_step(db: &Db) {
    let running = world(db, "web").await.running(db, BuilderId::new()).await;
    let mut tx = begin(db).await;
    let chunks: Vec<(Option<&str>, &str, _)> =
        vec![(Some("a"), "old ", NOW), (Some("a"), "1 ", NOW), (Some("b"), "2 ", NOW), (None, "3", NOW), (Some("a"), "4", NOW)];
    logs::append(&mut tx, running.id, 1, &chunks).await.expect("appends");
    logs::append(&mut tx, running.id, 2, &[(Some("a"), "another attempt", NOW)]).await.expect("appends");
    let tails: Vec<(String, String)> = logs::tail_by_step(&mut tx, running.id, 1, 4).await.expect("lists").into_iter().collect();
    let wanted = [("", "3"), ("a", "1 4"), ("b", "2 ")].map(|(step, text)| (step.to_owned(), text.to_owned()));
    assert_eq!(tails, wanted);
}

async fn lines_are_found_by_step_and_attempt(db: &Db) {
    let world = world(db, "web").await;
    let (running, other) = (world.running(db, BuilderId::new()).await, world.queued(db).await);
    let mut tx = begin(db).await;
    assert_eq!(logs::last(&mut tx, running.id).await.expect("looks"), None);
    logs::append(&mut tx, running.id, 1, &[(Some("a"), "of an older attempt\n", NOW)]).await.expect("appends");
    let pieces = [
        (Some("a"), "one\ntw", NOW),
        (Some("b"), "🦀\n", NOW),
        (None, "ours\n\n\n", NOW),
        (Some("a"), "o\n", NOW),
        (Some("a"), "three\nfour without an end", NOW),
    ];
    logs::append(&mut tx, running.id, 2, &pieces).await.expect("appends");
    done(tx).await;
    let mut tx = look(db).await;
    assert_eq!(logs::last(&mut tx, running.id).await.expect("looks"), Some((6, 2)));
    let lines = |list: &[(&str, u64)]| list.iter().map(|(step, lines)| ((*step).to_owned(), *lines)).collect::<BTreeMap<_, _>>();
    assert_eq!(logs::lines_before(&mut tx, running.id, 2, 2).await.expect("counts"), lines(&[]), "the older attempt does not count");
    assert_eq!(logs::lines_before(&mut tx, running.id, 2, 6).await.expect("counts"), lines(&[("", 3), ("a", 2), ("b", 1)]));
    for (step, line, piece) in
        [("a", 1, Some(2)), ("a", 2, Some(5)), ("a", 3, Some(6)), ("a", 4, None), ("b", 1, Some(3)), ("", 3, Some(4)), ("c", 1, None)]
    {
        assert_eq!(logs::piece_of_line(&mut tx, running.id, 2, step, line).await.expect("looks"), piece, "{step} {line}");
    }
    assert_eq!(logs::piece_of_line(&mut tx, running.id, 1, "a", 1).await.expect("looks"), Some(1));
    assert_eq!(logs::piece_of_line(&mut tx, other, 2, "a", 1).await.expect("looks"), None, "another build has no part of it");
    let sizes = logs::sizes_before(&mut tx, running.id, 2, 5, 10).await.expect("lists");
    assert_eq!(sizes, [(4, 7), (3, 2), (2, 6)], "in characters, the nearest first");
    assert_eq!(logs::sizes_before(&mut tx, running.id, 2, u64::MAX, 1).await.expect("lists"), [(6, 25)]);
}
