//! Accounts, sessions, tokens, OAuth flows, settings.

use slipway_model::{AccountId, Scope, ScopeSet, SessionId, TokenId, TokenKind};
use slipway_store::accounts::{self, NewAccount, OauthFlow};
use slipway_store::{Db, StoreError};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, provider, secret};

on_both! {
    an_account_is_found_by_id_and_name;
    a_name_is_given_once;
    sessions_end;
    tokens_end_and_are_revoked_by_their_owner_only;
    a_flow_is_taken_once;
    a_flow_ends;
    what_has_ended_is_removed;
    settings_are_replaced;
    a_hash_stands_once;
}

async fn an_account_is_found_by_id_and_name(db: &Db) {
    let mut tx = begin(db).await;
    assert_eq!(accounts::count_accounts(&mut tx).await.expect("query"), 0);
    let name = "ada".parse().expect("name");
    let new = NewAccount { name: &name, email: Some(ODD), is_admin: true, password_hash: Some("$argon2id$x") };
    let id = accounts::insert(&mut tx, &new, NOW).await.expect("inserts");
    done(tx).await;
    account(db, "bob").await;
    let mut tx = begin(db).await;
    let found = accounts::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.id, found.name.as_str(), found.display_name.as_str()), (id, "ada", "ada"));
    assert_eq!((found.email.as_deref(), found.is_admin, found.created_at), (Some(ODD), true, NOW));
    assert_eq!(accounts::get_by_name(&mut tx, &name).await.expect("query").expect("stands").id, id);
    assert!(accounts::get_by_name(&mut tx, &"ad".parse().expect("name")).await.expect("query").is_none());
    assert!(accounts::get(&mut tx, AccountId::new()).await.expect("query").is_none());
    let bob = accounts::get_by_name(&mut tx, &"bob".parse().expect("name")).await.expect("query").expect("stands");
    assert_eq!((bob.email, bob.is_admin), (None, false));
    assert_eq!(accounts::get_password_hash(&mut tx, bob.id).await.expect("query"), None);
    accounts::set_password_hash(&mut tx, id, "$argon2id$y").await.expect("writes");
    assert_eq!(accounts::get_password_hash(&mut tx, id).await.expect("query").as_deref(), Some("$argon2id$y"));
    assert_eq!(accounts::get_password_hash(&mut tx, bob.id).await.expect("query"), None, "another's stays");
    assert_eq!(accounts::count_accounts(&mut tx).await.expect("query"), 2);
}

async fn a_name_is_given_once(db: &Db) {
    account(db, "ada").await;
    let mut tx = begin(db).await;
    let new = NewAccount { name: &"ada".parse().expect("name"), email: None, is_admin: true, password_hash: None };
    let again = accounts::insert(&mut tx, &new, NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    drop(tx);
    assert_eq!(accounts::count_accounts(&mut look(db).await).await.expect("query"), 1);
}

async fn sessions_end(db: &Db) {
    let ada = account(db, "ada").await;
    let (one, two) = (secret(TokenKind::Session), secret(TokenKind::Session));
    let mut tx = begin(db).await;
    let id = accounts::insert_session(&mut tx, ada, &one, ODD, NOW, after(60)).await.expect("inserts");
    let other = accounts::insert_session(&mut tx, ada, &two, "::1", NOW, after(600)).await.expect("inserts");
    let session = accounts::get_session(&mut tx, &one, after(59)).await.expect("query").expect("stands");
    assert_eq!((session.id, session.account, session.expires_at, session.last_seen_at), (id, ada, after(60), NOW));
    assert!(accounts::session_stands(&mut tx, id, after(59)).await.expect("query"));
    assert!(accounts::get_session(&mut tx, &one, after(60)).await.expect("query").is_none(), "ends at its end");
    assert!(!accounts::session_stands(&mut tx, id, after(60)).await.expect("query"));
    assert!(!accounts::session_stands(&mut tx, SessionId::new(), NOW).await.expect("query"));
    assert!(accounts::get_session(&mut tx, &secret(TokenKind::Session), NOW).await.expect("query").is_none());
    accounts::set_session_seen(&mut tx, id, after(30)).await.expect("writes");
    let seen = accounts::get_session(&mut tx, &one, after(31)).await.expect("query").expect("stands");
    assert_eq!((seen.last_seen_at, seen.expires_at), (after(30), after(60)), "being seen makes it no longer");
    accounts::delete_session(&mut tx, id).await.expect("deletes");
    assert!(accounts::get_session(&mut tx, &one, NOW).await.expect("query").is_none());
    assert!(accounts::session_stands(&mut tx, other, NOW).await.expect("query"), "another's stays");
}

async fn tokens_end_and_are_revoked_by_their_owner_only(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (short, long) = (secret(TokenKind::Personal), secret(TokenKind::Personal));
    let scopes = ScopeSet::new([Scope::RepoRead, Scope::BuildWrite]);
    let mut tx = begin(db).await;
    let first = accounts::insert_token(&mut tx, ada, ODD, &short, &scopes, NOW, Some(after(60))).await.expect("inserts");
    let second = accounts::insert_token(&mut tx, ada, "forever", &long, &ScopeSet::all(), NOW, None).await.expect("inserts");
    let token = accounts::get_token(&mut tx, &short, after(59)).await.expect("query").expect("stands");
    assert_eq!((token.id, token.account, token.name.as_str(), &token.scopes), (first, ada, ODD, &scopes));
    assert_eq!((token.created_at, token.expires_at, token.last_used_at, token.last_used_from), (NOW, Some(after(60)), None, None));
    assert!(accounts::token_stands(&mut tx, first, after(59)).await.expect("query"));
    assert!(accounts::get_token(&mut tx, &short, after(60)).await.expect("query").is_none());
    assert!(!accounts::token_stands(&mut tx, first, after(60)).await.expect("query"));
    assert!(accounts::get_token(&mut tx, &long, after(1_000_000_000)).await.expect("query").is_some(), "no end");
    accounts::set_token_used(&mut tx, first, after(5), "192.0.2.1").await.expect("writes");
    let listed = accounts::list_tokens(&mut tx, ada).await.expect("lists");
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [second, first], "newest first, ended ones too");
    assert_eq!((listed[1].last_used_at, listed[1].last_used_from.as_deref()), (Some(after(5)), Some("192.0.2.1")));
    assert_eq!(listed[0].last_used_at, None);
    assert!(accounts::list_tokens(&mut tx, bob).await.expect("lists").is_empty());
    assert!(!accounts::delete_token(&mut tx, bob, first).await.expect("deletes"), "another's");
    assert!(accounts::delete_token(&mut tx, ada, first).await.expect("deletes"));
    assert!(!accounts::delete_token(&mut tx, ada, first).await.expect("deletes"));
    assert!(!accounts::delete_token(&mut tx, ada, TokenId::new()).await.expect("deletes"));
    assert!(accounts::get_token(&mut tx, &short, NOW).await.expect("query").is_none());
    assert!(accounts::token_stands(&mut tx, second, NOW).await.expect("query"));
}

fn flow(account: AccountId) -> OauthFlow {
    OauthFlow { account, provider: provider(), initiator: "session:x".into(), verifier_sealed: vec![0, 1, 255] }
}

async fn a_flow_is_taken_once(db: &Db) {
    let ada = account(db, "ada").await;
    for _ in 0..5 {
        let state = secret(TokenKind::State);
        let mut tx = begin(db).await;
        accounts::insert_flow(&mut tx, &state, &flow(ada), NOW, after(600)).await.expect("inserts");
        done(tx).await;
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (db, state) = (db.clone(), state.clone());
            takers.spawn(async move {
                let mut tx = begin(&db).await;
                let taken = accounts::take_flow(&mut tx, &state, after(1)).await.expect("query");
                done(tx).await;
                taken
            });
        }
        let taken: Vec<OauthFlow> = takers.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].account, &taken[0].provider, taken[0].initiator.as_str()), (ada, &provider(), "session:x"));
        assert_eq!(taken[0].verifier_sealed, [0, 1, 255]);
    }
}

async fn a_flow_ends(db: &Db) {
    let ada = account(db, "ada").await;
    let state = secret(TokenKind::State);
    let mut tx = begin(db).await;
    accounts::insert_flow(&mut tx, &state, &flow(ada), NOW, after(600)).await.expect("inserts");
    assert!(accounts::take_flow(&mut tx, &state, after(600)).await.expect("query").is_none(), "too late");
    assert!(accounts::take_flow(&mut tx, &secret(TokenKind::State), NOW).await.expect("query").is_none(), "unknown");
    assert!(accounts::take_flow(&mut tx, &state, after(599)).await.expect("query").is_some());
    assert!(accounts::take_flow(&mut tx, &state, after(599)).await.expect("query").is_none(), "used");
}

async fn what_has_ended_is_removed(db: &Db) {
    let ada = account(db, "ada").await;
    let (ends, stays) = (secret(TokenKind::Session), secret(TokenKind::Session));
    let (state_ends, state_stays) = (secret(TokenKind::State), secret(TokenKind::State));
    let mut tx = begin(db).await;
    for (token, state, end) in [(&ends, &state_ends, after(10)), (&stays, &state_stays, after(11))] {
        accounts::insert_session(&mut tx, ada, token, "", NOW, end).await.expect("inserts");
        accounts::insert_flow(&mut tx, state, &flow(ada), NOW, end).await.expect("inserts");
    }
    assert_eq!(accounts::delete_expired(&mut tx, after(9)).await.expect("deletes"), 0);
    assert_eq!(accounts::delete_expired(&mut tx, after(10)).await.expect("deletes"), 2);
    assert_eq!(accounts::delete_expired(&mut tx, after(10)).await.expect("deletes"), 0);
    // The time before shows that the rows are gone, not only over.
    assert!(accounts::get_session(&mut tx, &ends, NOW).await.expect("query").is_none());
    assert!(accounts::take_flow(&mut tx, &state_ends, NOW).await.expect("query").is_none());
    assert!(accounts::get_session(&mut tx, &stays, NOW).await.expect("query").is_some());
    assert!(accounts::take_flow(&mut tx, &state_stays, NOW).await.expect("query").is_some());
}

async fn settings_are_replaced(db: &Db) {
    let mut tx = begin(db).await;
    assert_eq!(accounts::get_setting(&mut tx, "k").await.expect("query"), None);
    accounts::set_setting(&mut tx, "k", "1").await.expect("writes");
    accounts::set_setting(&mut tx, "k", ODD).await.expect("writes");
    accounts::set_setting(&mut tx, "other", "2").await.expect("writes");
    assert_eq!(accounts::get_setting(&mut tx, "k").await.expect("query").as_deref(), Some(ODD));
    assert!(accounts::delete_setting(&mut tx, "k").await.expect("deletes"));
    assert!(!accounts::delete_setting(&mut tx, "k").await.expect("deletes"));
    assert_eq!(accounts::get_setting(&mut tx, "other").await.expect("query").as_deref(), Some("2"));
}

async fn a_hash_stands_once(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let hash = secret(TokenKind::Personal);
    let mut tx = begin(db).await;
    accounts::insert_token(&mut tx, ada, "", &hash, &ScopeSet::all(), NOW, None).await.expect("inserts");
    accounts::insert_session(&mut tx, ada, &hash, "", NOW, after(1)).await.expect("another table");
    done(tx).await;
    let mut tx = begin(db).await;
    let again = accounts::insert_token(&mut tx, bob, "", &hash, &ScopeSet::all(), NOW, None).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    drop(tx);
    let mut tx = begin(db).await;
    let nobody = accounts::insert_session(&mut tx, AccountId::new(), &secret(TokenKind::Session), "", NOW, after(1)).await;
    assert!(matches!(nobody, Err(StoreError::Conflict(_))), "{nobody:?}");
}
