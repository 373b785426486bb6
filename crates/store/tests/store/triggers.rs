//! Build triggers: what their secrets open, and how often.

use slipway_model::{RepositoryId, SecretHash, TokenKind, TriggerId};
use slipway_store::triggers::{self, Trigger};
use slipway_store::{Db, repositories};

use crate::fixture::{NOW, ODD, after, begin, done, look, ref_name, repository, secret};

on_both! {
    a_trigger_comes_back_and_goes;
    a_secret_opens_its_own_trigger_alone;
    one_call_at_a_time_gets_through;
}

async fn made(db: &Db, repository: RepositoryId, name: &str) -> (Trigger, SecretHash) {
    let (id, token) = (TriggerId::new(), secret(TokenKind::Trigger));
    let trigger = Trigger { id, repository, name: name.into(), source_ref: None, created_at: NOW, called_at: None };
    let mut tx = begin(db).await;
    triggers::insert(&mut tx, &trigger, &token).await.expect("inserts");
    done(tx).await;
    (trigger, token)
}

async fn a_trigger_comes_back_and_goes(db: &Db) {
    let (web, other) = (repository(db, "ada", "web").await, repository(db, "ada", "other").await);
    let (first, _) = made(db, web, ODD).await;
    let second = Trigger { id: TriggerId::new(), source_ref: Some(ref_name("refs/heads/ü/'x'")), name: "nightly".into(), ..first.clone() };
    let mut tx = begin(db).await;
    triggers::insert(&mut tx, &second, &secret(TokenKind::Trigger)).await.expect("inserts");
    assert_eq!(triggers::list(&mut tx, web).await.expect("lists"), [first.clone(), second.clone()]);
    assert_eq!(triggers::list(&mut tx, other).await.expect("lists"), []);
    assert_eq!(triggers::delete(&mut tx, other, first.id).await.expect("deletes"), None, "of another repository");
    assert_eq!(triggers::delete(&mut tx, web, first.id).await.expect("deletes"), Some(first.clone()));
    assert_eq!(triggers::delete(&mut tx, web, first.id).await.expect("deletes"), None);
    assert_eq!(triggers::list(&mut tx, web).await.expect("lists"), [second]);
    assert!(repositories::delete(&mut tx, web).await.expect("deletes"));
    assert_eq!(triggers::list(&mut tx, web).await.expect("lists"), [], "they go with their repository");
}

async fn a_secret_opens_its_own_trigger_alone(db: &Db) {
    let (web, other) = (repository(db, "ada", "web").await, repository(db, "ada", "other").await);
    let ((one, of_one), (two, of_two)) = (made(db, web, "one").await, made(db, web, "two").await);
    let mut tx = begin(db).await;
    assert_eq!(triggers::get_by_token(&mut tx, one.id, &of_one).await.expect("query"), Some(one.clone()));
    for (id, token) in [(one.id, &of_two), (two.id, &of_one), (TriggerId::new(), &of_one)] {
        assert_eq!(triggers::get_by_token(&mut tx, id, token).await.expect("query"), None);
    }
    let newer = secret(TokenKind::Trigger);
    assert_eq!(triggers::set_token(&mut tx, other, one.id, &newer).await.expect("writes"), None, "of another repository");
    assert_eq!(triggers::set_token(&mut tx, web, one.id, &newer).await.expect("writes"), Some(one.clone()));
    assert_eq!(triggers::get_by_token(&mut tx, one.id, &of_one).await.expect("query"), None, "the one before is worth nothing");
    assert_eq!(triggers::get_by_token(&mut tx, one.id, &newer).await.expect("query"), Some(one));
}

async fn one_call_at_a_time_gets_through(db: &Db) {
    let (trigger, token) = made(db, repository(db, "ada", "web").await, "one").await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (db, id) = (db.clone(), trigger.id);
        callers.spawn(async move {
            let mut tx = begin(&db).await;
            let called = triggers::call(&mut tx, id, after(20), after(10)).await.expect("writes");
            done(tx).await;
            called
        });
    }
    assert_eq!(callers.join_all().await.into_iter().filter(|called| *called).count(), 1);
    let found = triggers::get_by_token(&mut look(db).await, trigger.id, &token).await.expect("query").expect("stands");
    assert_eq!(found.called_at, Some(after(20)));
    let mut tx = begin(db).await;
    assert!(!triggers::call(&mut tx, trigger.id, after(29), after(19)).await.expect("writes"));
    assert!(triggers::call(&mut tx, trigger.id, after(30), after(20)).await.expect("writes"));
    assert!(!triggers::call(&mut tx, TriggerId::new(), after(99), after(98)).await.expect("writes"));
}
