//! Addresses that wait for their confirmation: one for each account, once, in time.

use slipway_model::{SecretToken, TokenKind};
use slipway_store::emails::{self, EmailConfirmation};
use slipway_store::{Db, accounts};

use crate::fixture::{NOW, account, after, begin, done, look};

on_both! {
    a_confirmation_works_once_in_time;
    the_newest_one_counts;
}

async fn a_confirmation_works_once_in_time(db: &Db) {
    let ann = account(db, "ann").await;
    let token = SecretToken::generate(TokenKind::Email);
    let wanted = EmailConfirmation { account: ann, email: "ann@example.com".into(), expires_at: after(60) };
    let mut tx = begin(db).await;
    emails::upsert(&mut tx, &token.hash(), &wanted).await.expect("writes");
    assert_eq!(emails::get(&mut tx, ann, after(59)).await.expect("query"), Some(wanted.clone()));
    assert_eq!(emails::get(&mut tx, ann, after(60)).await.expect("query"), None, "it has expired");
    assert_eq!(emails::take(&mut tx, &token.hash(), after(60)).await.expect("query"), None);
    assert_eq!(emails::take(&mut tx, &SecretToken::generate(TokenKind::Email).hash(), NOW).await.expect("query"), None);
    assert_eq!(emails::take(&mut tx, &token.hash(), after(59)).await.expect("query"), Some(wanted.clone()));
    assert_eq!(emails::take(&mut tx, &token.hash(), after(59)).await.expect("query"), None, "used");

    emails::upsert(&mut tx, &token.hash(), &wanted).await.expect("writes");
    assert_eq!(emails::delete_expired(&mut tx, after(59)).await.expect("deletes"), 0);
    assert_eq!(emails::delete_expired(&mut tx, after(60)).await.expect("deletes"), 1);
    emails::upsert(&mut tx, &token.hash(), &wanted).await.expect("writes");
    assert!(emails::delete(&mut tx, ann).await.expect("deletes"));
    assert!(!emails::delete(&mut tx, ann).await.expect("deletes"));

    emails::upsert(&mut tx, &token.hash(), &wanted).await.expect("writes");
    accounts::delete(&mut tx, ann).await.expect("deletes");
    done(tx).await;
    assert_eq!(emails::get(&mut look(db).await, ann, NOW).await.expect("query"), None, "it goes with its account");
}

async fn the_newest_one_counts(db: &Db) {
    let ann = account(db, "ann").await;
    let (old, new) = (SecretToken::generate(TokenKind::Email), SecretToken::generate(TokenKind::Email));
    let wanted = |email: &str| EmailConfirmation { account: ann, email: email.into(), expires_at: after(60) };
    let mut tx = begin(db).await;
    emails::upsert(&mut tx, &old.hash(), &wanted("old@example.com")).await.expect("writes");
    emails::upsert(&mut tx, &new.hash(), &wanted("new@example.com")).await.expect("writes");
    assert_eq!(emails::take(&mut tx, &old.hash(), NOW).await.expect("query"), None);
    assert_eq!(emails::take(&mut tx, &new.hash(), NOW).await.expect("query"), Some(wanted("new@example.com")));
    done(tx).await;
}
