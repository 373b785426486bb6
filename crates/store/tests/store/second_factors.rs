//! Second factors and recovery codes: each code works once.

use slipway_store::{Db, second_factors};

use crate::fixture::{NOW, account, after, begin, done};

on_both! {
    a_second_factor_is_set_up_confirmed_and_removed;
    a_step_works_once;
    of_requests_with_one_code_one_is_let_in;
    recovery_codes_work_once;
}

async fn a_second_factor_is_set_up_confirmed_and_removed(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    assert!(second_factors::get(&mut tx, ada).await.expect("query").is_none());
    assert!(!second_factors::confirm(&mut tx, ada, b"", 5, NOW).await.expect("writes"), "nothing to confirm");
    assert!(second_factors::begin(&mut tx, ada, &[0, 1, 255], NOW).await.expect("writes"));
    assert!(second_factors::begin(&mut tx, ada, &[7, 8], after(1)).await.expect("writes"), "begun again");
    let waiting = second_factors::get(&mut tx, ada).await.expect("query").expect("stands");
    assert_eq!((waiting.secret_sealed.as_slice(), waiting.confirmed_at, waiting.last_step), (&[7, 8][..], None, 0));
    assert_eq!(waiting.created_at, after(1));
    assert!(!format!("{waiting:?}").contains("[7, 8]"));
    assert!(!second_factors::use_step(&mut tx, ada, 5).await.expect("writes"), "not on yet");
    assert!(!second_factors::confirm(&mut tx, ada, &[0, 1, 255], 5, after(2)).await.expect("writes"), "that secret was replaced");
    assert!(!second_factors::confirm(&mut tx, bob, &[7, 8], 5, after(2)).await.expect("writes"), "another's");
    assert!(second_factors::confirm(&mut tx, ada, &[7, 8], 5, after(2)).await.expect("writes"));
    assert!(!second_factors::confirm(&mut tx, ada, &[7, 8], 6, after(3)).await.expect("writes"), "on already");
    assert!(!second_factors::begin(&mut tx, ada, &[9], after(4)).await.expect("writes"), "on already");
    let on = second_factors::get(&mut tx, ada).await.expect("query").expect("stands");
    assert_eq!((on.secret_sealed.as_slice(), on.confirmed_at, on.last_step), (&[7, 8][..], Some(after(2)), 5));
    second_factors::replace_recovery_codes(&mut tx, ada, &["a".into()]).await.expect("writes");
    assert!(!second_factors::delete(&mut tx, bob).await.expect("deletes"));
    assert!(second_factors::delete(&mut tx, ada).await.expect("deletes"));
    assert!(second_factors::get(&mut tx, ada).await.expect("query").is_none());
    assert_eq!(second_factors::count_recovery_codes(&mut tx, ada).await.expect("query"), 0);
}

async fn a_step_works_once(db: &Db) {
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    second_factors::begin(&mut tx, ada, b"s", NOW).await.expect("writes");
    second_factors::confirm(&mut tx, ada, b"s", 100, NOW).await.expect("writes");
    for (step, works) in [(100, false), (99, false), (101, true), (101, false), (100, false), (103, true), (102, false)] {
        assert_eq!(second_factors::use_step(&mut tx, ada, step).await.expect("writes"), works, "{step}");
    }
}

async fn of_requests_with_one_code_one_is_let_in(db: &Db) {
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    second_factors::begin(&mut tx, ada, b"s", NOW).await.expect("writes");
    second_factors::confirm(&mut tx, ada, b"s", 1, NOW).await.expect("writes");
    second_factors::replace_recovery_codes(&mut tx, ada, &["code".into()]).await.expect("writes");
    done(tx).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let db = db.clone();
        requests.spawn(async move {
            let mut tx = begin(&db).await;
            let step = second_factors::use_step(&mut tx, ada, 2).await.expect("writes");
            let code = second_factors::use_recovery_code(&mut tx, ada, "code", NOW).await.expect("writes");
            done(tx).await;
            (step, code)
        });
    }
    let outcomes = requests.join_all().await;
    assert_eq!(outcomes.iter().filter(|(step, _)| *step).count(), 1);
    assert_eq!(outcomes.iter().filter(|(_, code)| *code).count(), 1);
}

async fn recovery_codes_work_once(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    second_factors::replace_recovery_codes(&mut tx, ada, &["a".into(), "b".into(), "c".into()]).await.expect("writes");
    assert_eq!(second_factors::count_recovery_codes(&mut tx, ada).await.expect("query"), 3);
    assert_eq!(second_factors::count_recovery_codes(&mut tx, bob).await.expect("query"), 0);
    assert!(!second_factors::use_recovery_code(&mut tx, bob, "a", NOW).await.expect("writes"), "another's");
    assert!(!second_factors::use_recovery_code(&mut tx, ada, "d", NOW).await.expect("writes"), "unknown");
    assert!(second_factors::use_recovery_code(&mut tx, ada, "a", NOW).await.expect("writes"));
    assert!(!second_factors::use_recovery_code(&mut tx, ada, "a", after(1)).await.expect("writes"), "used");
    assert_eq!(second_factors::count_recovery_codes(&mut tx, ada).await.expect("query"), 2);
    second_factors::replace_recovery_codes(&mut tx, ada, &["a".into()]).await.expect("writes");
    assert!(!second_factors::use_recovery_code(&mut tx, ada, "b", NOW).await.expect("writes"), "replaced");
    assert!(second_factors::use_recovery_code(&mut tx, ada, "a", NOW).await.expect("writes"), "a new one, unused");
}
