//! Sign-ins that wait for a second factor, and the counting of failures.

use slipway_model::{PendingSignInId, TokenKind};
use slipway_store::{Db, sign_in};

use crate::fixture::{NOW, ODD, account, after, begin, done, secret};

on_both! {
    a_pending_sign_in_is_tried_so_often_and_in_time;
    tries_at_once_get_no_more_than_the_count;
    the_newest_ten_of_an_account_wait;
    a_window_counts_from_its_first;
    failures_block_and_are_forgotten;
    a_failure_that_was_none_is_taken_back;
    of_tries_at_once_one_meets_an_open_door;
    what_is_old_goes;
}

async fn a_pending_sign_in_is_tried_so_often_and_in_time(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (first, second, others) = (secret(TokenKind::SignIn), secret(TokenKind::SignIn), secret(TokenKind::SignIn));
    let mut tx = begin(db).await;
    let id = sign_in::insert_pending(&mut tx, ada, &first, after(600)).await.expect("inserts");
    sign_in::insert_pending(&mut tx, ada, &second, after(600)).await.expect("inserts");
    sign_in::insert_pending(&mut tx, bob, &others, after(600)).await.expect("inserts");
    assert!(sign_in::pending_stands(&mut tx, &first, 2, after(599)).await.expect("query"));
    assert!(!sign_in::pending_stands(&mut tx, &first, 2, after(600)).await.expect("query"));
    assert!(sign_in::try_pending(&mut tx, &first, 2, after(600)).await.expect("query").is_none(), "too late");
    for expected in [1, 2] {
        let found = sign_in::try_pending(&mut tx, &first, 2, after(599)).await.expect("query").expect("waits");
        assert_eq!((found.id, found.account, found.tries), (id, ada, expected));
    }
    assert!(sign_in::try_pending(&mut tx, &first, 2, after(1)).await.expect("query").is_none(), "tried twice");
    assert!(!sign_in::pending_stands(&mut tx, &first, 2, after(1)).await.expect("query"));
    assert!(sign_in::try_pending(&mut tx, &secret(TokenKind::SignIn), 2, NOW).await.expect("query").is_none(), "unknown");
    assert!(sign_in::delete_pending(&mut tx, id).await.expect("deletes"));
    assert!(!sign_in::delete_pending(&mut tx, id).await.expect("deletes"), "once");
    assert!(!sign_in::delete_pending(&mut tx, PendingSignInId::new()).await.expect("deletes"));
    assert_eq!(sign_in::delete_pending_of(&mut tx, ada).await.expect("deletes"), 1);
    assert!(!sign_in::pending_stands(&mut tx, &second, 5, NOW).await.expect("query"));
    assert!(sign_in::pending_stands(&mut tx, &others, 5, NOW).await.expect("query"), "another's stays");
}

async fn the_newest_ten_of_an_account_wait(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let tokens: Vec<_> = (0..25).map(|_| secret(TokenKind::SignIn)).collect();
    let others = secret(TokenKind::SignIn);
    let mut tx = begin(db).await;
    sign_in::insert_pending(&mut tx, bob, &others, after(1)).await.expect("inserts");
    for (token, at) in tokens.iter().zip(600..) {
        sign_in::insert_pending(&mut tx, ada, token, after(at)).await.expect("inserts");
        assert_eq!(sign_in::get_pending_account(&mut tx, token).await.expect("query"), Some(ada), "the one just made stays");
    }
    for (at, token) in tokens.iter().enumerate() {
        let stands = sign_in::pending_stands(&mut tx, token, 5, NOW).await.expect("query");
        assert_eq!(stands, at >= 15, "{at}");
    }
    assert_eq!(sign_in::get_pending_account(&mut tx, &tokens[0]).await.expect("query"), None);
    assert_eq!(sign_in::get_pending_account(&mut tx, &others).await.expect("query"), Some(bob), "another's stays");
}

async fn a_window_counts_from_its_first(db: &Db) {
    let mut tx = begin(db).await;
    for (second, expected) in [(0, (1, 0)), (10, (2, 0)), (59, (3, 0)), (60, (1, 60)), (61, (2, 60))] {
        let over = after(second).minus(std::time::Duration::from_secs(60));
        let (count, since) = sign_in::count_in_window(&mut tx, "mails:x", after(second), over).await.expect("counts");
        assert_eq!((count, since), (expected.0, after(expected.1)), "{second}");
    }
    let fresh = sign_in::count_in_window(&mut tx, "mails:y", after(61), after(1)).await.expect("counts");
    assert_eq!(fresh, (1, after(61)), "another key has a window of its own");
}

async fn tries_at_once_get_no_more_than_the_count(db: &Db) {
    let ada = account(db, "ada").await;
    let token = secret(TokenKind::SignIn);
    let mut tx = begin(db).await;
    sign_in::insert_pending(&mut tx, ada, &token, after(600)).await.expect("inserts");
    done(tx).await;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (db, token) = (db.clone(), token.clone());
        tries.spawn(async move {
            let mut tx = begin(&db).await;
            let found = sign_in::try_pending(&mut tx, &token, 5, NOW).await.expect("query");
            done(tx).await;
            found
        });
    }
    let mut counted: Vec<u64> = tries.join_all().await.into_iter().flatten().map(|found| found.tries).collect();
    counted.sort_unstable();
    assert_eq!(counted, [1, 2, 3, 4, 5]);
}

async fn failures_block_and_are_forgotten(db: &Db) {
    let mut tx = begin(db).await;
    assert_eq!(sign_in::blocked_until(&mut tx, ODD, NOW).await.expect("query"), None);
    assert_eq!(sign_in::count_failure(&mut tx, ODD, NOW, NOW).await.expect("counts"), Some(1));
    assert_eq!(
        sign_in::count_failure(&mut tx, ODD, after(1), NOW.minus(std::time::Duration::from_secs(1))).await.expect("counts"),
        Some(2)
    );
    assert_eq!(sign_in::count_failure(&mut tx, "other", NOW, NOW).await.expect("counts"), Some(1), "another key");
    sign_in::block(&mut tx, ODD, after(10)).await.expect("blocks");
    assert_eq!(sign_in::blocked_until(&mut tx, ODD, after(9)).await.expect("query"), Some(after(10)));
    assert_eq!(sign_in::blocked_until(&mut tx, ODD, after(10)).await.expect("query"), None);
    assert_eq!(sign_in::blocked_until(&mut tx, "other", NOW).await.expect("query"), None);
    assert_eq!(sign_in::count_failure(&mut tx, ODD, after(9), NOW).await.expect("counts"), None, "blocked");
    assert_eq!(sign_in::count_failure(&mut tx, ODD, after(10), NOW).await.expect("counts"), Some(3), "the blocked try was not counted");
    assert_eq!(sign_in::count_failure(&mut tx, ODD, after(30), after(10)).await.expect("counts"), Some(1), "forgotten");
    sign_in::clear_failures(&mut tx, ODD).await.expect("clears");
    assert_eq!(sign_in::count_failure(&mut tx, ODD, after(31), NOW).await.expect("counts"), Some(1));
}

async fn a_failure_that_was_none_is_taken_back(db: &Db) {
    let mut tx = begin(db).await;
    for seconds in 0..3 {
        sign_in::count_failure(&mut tx, "k", after(seconds), NOW.minus(std::time::Duration::from_secs(1))).await.expect("counts");
    }
    sign_in::block(&mut tx, "k", after(10)).await.expect("blocks");
    sign_in::forgive(&mut tx, "k", after(9)).await.expect("forgives");
    assert_eq!(sign_in::blocked_until(&mut tx, "k", after(5)).await.expect("query"), Some(after(10)), "another try's block stays");
    sign_in::forgive(&mut tx, "k", after(10)).await.expect("forgives");
    assert_eq!(sign_in::blocked_until(&mut tx, "k", after(5)).await.expect("query"), None);
    assert_eq!(sign_in::count_failure(&mut tx, "k", after(5), NOW).await.expect("counts"), Some(2), "3 - 2 + 1");
    for _ in 0..5 {
        sign_in::forgive(&mut tx, "k", after(10)).await.expect("forgives");
    }
    assert_eq!(sign_in::count_failure(&mut tx, "k", after(5), NOW).await.expect("counts"), Some(1), "never below none");
    sign_in::forgive(&mut tx, "unknown", after(10)).await.expect("nothing to forgive");
}

async fn of_tries_at_once_one_meets_an_open_door(db: &Db) {
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let db = db.clone();
        tries.spawn(async move {
            let mut tx = begin(&db).await;
            let counted = sign_in::count_failure(&mut tx, "k", NOW, NOW).await.expect("counts");
            if counted.is_some() {
                sign_in::block(&mut tx, "k", after(1)).await.expect("blocks");
            }
            done(tx).await;
            counted
        });
    }
    let counted: Vec<u64> = tries.join_all().await.into_iter().flatten().collect();
    assert_eq!(counted, [1]);
}

async fn what_is_old_goes(db: &Db) {
    let ada = account(db, "ada").await;
    let (ends, stays) = (secret(TokenKind::SignIn), secret(TokenKind::SignIn));
    let mut tx = begin(db).await;
    sign_in::insert_pending(&mut tx, ada, &ends, after(10)).await.expect("inserts");
    sign_in::insert_pending(&mut tx, ada, &stays, after(11)).await.expect("inserts");
    for (key, at) in [("old", 1), ("blocking", 1), ("new", 2)] {
        sign_in::count_failure(&mut tx, key, after(at), NOW).await.expect("counts");
    }
    sign_in::block(&mut tx, "blocking", after(11)).await.expect("blocks");
    assert_eq!(sign_in::delete_old(&mut tx, after(9), NOW).await.expect("deletes"), 0);
    assert_eq!(sign_in::delete_old(&mut tx, after(10), after(1)).await.expect("deletes"), 2);
    assert!(sign_in::pending_stands(&mut tx, &stays, 5, NOW).await.expect("query"));
    assert!(!sign_in::pending_stands(&mut tx, &ends, 5, NOW).await.expect("query"));
    assert_eq!(sign_in::count_failure(&mut tx, "old", after(3), NOW).await.expect("counts"), Some(1));
    assert_eq!(sign_in::count_failure(&mut tx, "new", after(3), NOW).await.expect("counts"), Some(2));
    assert_eq!(sign_in::blocked_until(&mut tx, "blocking", after(3)).await.expect("query"), Some(after(11)));
}
