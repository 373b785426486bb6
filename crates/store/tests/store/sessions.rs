//! Sessions: found by their token, ended, listed, given new tokens.

use slipway_model::{AccountId, SecretHash, SessionId, Timestamp, TokenKind};
use slipway_store::sessions::{self, NewSession};
use slipway_store::{Db, StoreError, WriteTx};

use crate::fixture::{NOW, ODD, account, after, begin, done, secret};

on_both! {
    sessions_end;
    an_account_ends_its_own_sessions_only;
    a_session_gets_a_new_token_once;
    of_pages_at_once_one_renews;
    an_account_has_no_more_than_so_many;
    what_has_ended_is_removed;
    a_token_stands_once;
}

async fn add(tx: &mut WriteTx, account: AccountId, token: &SecretHash, expires_at: Timestamp) -> SessionId {
    let new = NewSession { account, token, address: "::1", user_agent: ODD, expires_at };
    sessions::insert(tx, &new, NOW).await.expect("inserts")
}

async fn found(tx: &mut WriteTx, token: &SecretHash, now: Timestamp) -> Option<SessionId> {
    sessions::get_by_token(tx, token, now).await.expect("query").map(|session| session.id)
}

async fn sessions_end(db: &Db) {
    let ada = account(db, "ada").await;
    let (one, two) = (secret(TokenKind::Session), secret(TokenKind::Session));
    let mut tx = begin(db).await;
    let id = add(&mut tx, ada, &one, after(60)).await;
    let other = add(&mut tx, ada, &two, after(600)).await;
    let session = sessions::get_by_token(&mut tx, &one, after(59)).await.expect("query").expect("stands");
    assert_eq!((session.id, session.account, session.created_at, session.last_seen_at), (id, ada, NOW, NOW));
    assert_eq!((session.expires_at, session.address.as_str(), session.user_agent.as_str()), (after(60), "::1", ODD));
    assert!(!session.renew);
    assert_eq!(sessions::get(&mut tx, id, after(59)).await.expect("query").expect("stands").id, id);
    assert!(sessions::get(&mut tx, id, after(60)).await.expect("query").is_none());
    assert!(sessions::stands(&mut tx, id, after(59)).await.expect("query"));
    assert_eq!(found(&mut tx, &one, after(60)).await, None, "over");
    assert!(!sessions::stands(&mut tx, id, after(60)).await.expect("query"));
    assert_eq!(found(&mut tx, &secret(TokenKind::Session), NOW).await, None, "unknown");
    sessions::set_seen(&mut tx, id, after(7)).await.expect("writes");
    let listed = sessions::list(&mut tx, ada, after(8)).await.expect("lists");
    assert_eq!(listed.iter().map(|s| (s.id, s.last_seen_at)).collect::<Vec<_>>(), [(other, NOW), (id, after(7))]);
    assert_eq!(sessions::list(&mut tx, ada, after(60)).await.expect("lists").len(), 1, "only what stands");
}

async fn an_account_ends_its_own_sessions_only(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    let mut ids = Vec::new();
    for owner in [ada, ada, ada, bob] {
        ids.push(add(&mut tx, owner, &secret(TokenKind::Session), after(60)).await);
    }
    assert!(!sessions::delete(&mut tx, bob, ids[0]).await.expect("deletes"), "another's");
    assert!(sessions::stands(&mut tx, ids[0], NOW).await.expect("query"));
    assert!(sessions::delete(&mut tx, ada, ids[0]).await.expect("deletes"));
    assert!(!sessions::delete(&mut tx, ada, ids[0]).await.expect("deletes"));
    assert!(!sessions::stands(&mut tx, ids[0], NOW).await.expect("query"));
    assert_eq!(sessions::delete_others(&mut tx, ada, ids[1]).await.expect("deletes"), 1);
    assert!(sessions::stands(&mut tx, ids[1], NOW).await.expect("query") && !sessions::stands(&mut tx, ids[2], NOW).await.expect("query"));
    assert_eq!(sessions::delete_all(&mut tx, ada).await.expect("deletes"), 1);
    assert!(sessions::list(&mut tx, ada, NOW).await.expect("lists").is_empty());
    assert!(sessions::stands(&mut tx, ids[3], NOW).await.expect("query"), "another's stays");
}

async fn a_session_gets_a_new_token_once(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (one, two, three, others) =
        (secret(TokenKind::Session), secret(TokenKind::Session), secret(TokenKind::Session), secret(TokenKind::Session));
    let mut tx = begin(db).await;
    let id = add(&mut tx, ada, &one, after(600)).await;
    add(&mut tx, bob, &others, after(600)).await;
    assert!(!sessions::renew(&mut tx, id, &two, after(60)).await.expect("writes"), "not due");
    sessions::mark_renew(&mut tx, ada).await.expect("writes");
    assert!(sessions::get_by_token(&mut tx, &one, NOW).await.expect("query").expect("stands").renew);
    assert!(!sessions::get_by_token(&mut tx, &others, NOW).await.expect("query").expect("stands").renew, "another's");
    assert!(sessions::renew(&mut tx, id, &two, after(60)).await.expect("writes"));
    assert!(!sessions::renew(&mut tx, id, &three, after(60)).await.expect("writes"), "done");
    assert!(!sessions::get_by_token(&mut tx, &two, NOW).await.expect("query").expect("stands").renew);
    assert_eq!(found(&mut tx, &one, after(59)).await, Some(id), "for requests under way");
    assert_eq!(found(&mut tx, &one, after(60)).await, None);
    assert_eq!(found(&mut tx, &two, after(60)).await, Some(id));
    // Rights change again while the former token lives: only the present one asks for a new one.
    sessions::mark_renew(&mut tx, ada).await.expect("writes");
    assert!(!sessions::get_by_token(&mut tx, &one, NOW).await.expect("query").expect("stands").renew);
    assert!(sessions::get_by_token(&mut tx, &two, NOW).await.expect("query").expect("stands").renew);
}

async fn of_pages_at_once_one_renews(db: &Db) {
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    let id = add(&mut tx, ada, &secret(TokenKind::Session), after(600)).await;
    sessions::mark_renew(&mut tx, ada).await.expect("writes");
    done(tx).await;
    let mut pages = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        pages.spawn(async move {
            let mut tx = begin(&db).await;
            let renewed = sessions::renew(&mut tx, id, &secret(TokenKind::Session), after(60)).await.expect("writes");
            done(tx).await;
            renewed
        });
    }
    assert_eq!(pages.join_all().await.into_iter().filter(|renewed| *renewed).count(), 1);
}

async fn an_account_has_no_more_than_so_many(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    let others = add(&mut tx, bob, &secret(TokenKind::Session), after(60)).await;
    let mut ids = Vec::new();
    for _ in 0..102 {
        ids.push(add(&mut tx, ada, &secret(TokenKind::Session), after(60)).await);
    }
    let mut listed: Vec<SessionId> = sessions::list(&mut tx, ada, NOW).await.expect("lists").iter().map(|s| s.id).collect();
    listed.reverse();
    assert_eq!(listed, ids[2..]);
    assert!(!sessions::stands(&mut tx, ids[1], NOW).await.expect("query"));
    assert!(sessions::stands(&mut tx, others, NOW).await.expect("query"), "another's stays");
}

async fn what_has_ended_is_removed(db: &Db) {
    let ada = account(db, "ada").await;
    let (ends, stays) = (secret(TokenKind::Session), secret(TokenKind::Session));
    let mut tx = begin(db).await;
    add(&mut tx, ada, &ends, after(10)).await;
    add(&mut tx, ada, &stays, after(11)).await;
    assert_eq!(sessions::delete_expired(&mut tx, after(9)).await.expect("deletes"), 0);
    assert_eq!(sessions::delete_expired(&mut tx, after(10)).await.expect("deletes"), 1);
    // The time before shows that the row is gone, not only over.
    assert_eq!(found(&mut tx, &ends, NOW).await, None);
    assert!(found(&mut tx, &stays, NOW).await.is_some());
}

async fn a_token_stands_once(db: &Db) {
    let ada = account(db, "ada").await;
    let token = secret(TokenKind::Session);
    let mut tx = begin(db).await;
    add(&mut tx, ada, &token, after(1)).await;
    done(tx).await;
    for owner in [ada, AccountId::new()] {
        let mut tx = begin(db).await;
        let fresh = secret(TokenKind::Session);
        let new = NewSession {
            account: owner,
            token: if owner == ada { &token } else { &fresh },
            address: "",
            user_agent: "",
            expires_at: after(1),
        };
        let refused = sessions::insert(&mut tx, &new, NOW).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    }
}
