//! Identities at OpenID Connect providers, and the flows that make them.

use slipway_model::{AccountId, IdentityId, InvitationId, SecretToken, TokenKind};
use slipway_store::identities::{self, Identity, OidcFlow};
use slipway_store::{Db, StoreError, accounts};

use crate::fixture::{NOW, ODD, account, after, begin, done, look};

on_both! {
    an_identity_belongs_to_one_account;
    a_flow_works_once_in_time;
    two_removals_at_once_see_each_other;
}

const ISSUER: &str = "https://id.example.com";

fn identity(account: AccountId, issuer: &str, subject: &str) -> Identity {
    Identity {
        id: IdentityId::new(),
        account,
        issuer: issuer.into(),
        subject: subject.into(),
        label: ODD.into(),
        created_at: NOW,
        last_used_at: None,
    }
}

async fn an_identity_belongs_to_one_account(db: &Db) {
    let (ann, bob) = (account(db, "ann").await, account(db, "bob").await);
    let first = identity(ann, ISSUER, "1");
    let mut tx = begin(db).await;
    identities::insert(&mut tx, &first).await.expect("inserts");
    assert_eq!(identities::get(&mut tx, ISSUER, "1").await.expect("query"), Some(first.clone()));
    for (issuer, subject) in [(ISSUER, "2"), ("https://id.example.com/", "1"), ("https://other.example.com", "1")] {
        assert_eq!(identities::get(&mut tx, issuer, subject).await.expect("query"), None, "{issuer} {subject}");
    }
    // The same subject at another issuer is somebody else.
    let second = identity(bob, "https://other.example.com", "1");
    identities::insert(&mut tx, &second).await.expect("inserts");
    identities::set_used(&mut tx, first.id, "ann of id", after(9)).await.expect("writes");
    let used = identities::get(&mut tx, ISSUER, "1").await.expect("query").expect("stands");
    assert_eq!((used.label.as_str(), used.last_used_at), ("ann of id", Some(after(9))));
    assert_eq!(identities::list(&mut tx, ann).await.expect("lists"), [used]);
    assert_eq!(identities::count_of(&mut tx, ann).await.expect("counts"), 1);

    assert_eq!(identities::delete(&mut tx, ann, second.id).await.expect("deletes"), None, "Bob's is not Ann's to remove");
    assert_eq!(identities::delete(&mut tx, bob, second.id).await.expect("deletes"), Some(second));
    assert_eq!(identities::delete_all(&mut tx, bob).await.expect("deletes"), 0);
    done(tx).await;

    let mut tx = begin(db).await;
    let taken = identities::insert(&mut tx, &identity(bob, ISSUER, "1")).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    drop(tx);
    let mut tx = begin(db).await;
    assert_eq!(identities::delete_all(&mut tx, ann).await.expect("deletes"), 1);
    done(tx).await;
    assert_eq!(identities::count_of(&mut look(db).await, ann).await.expect("counts"), 0);
}

async fn two_removals_at_once_see_each_other(db: &Db) {
    let ann = account(db, "ann").await;
    let (one, two) = (identity(ann, ISSUER, "1"), identity(ann, ISSUER, "2"));
    let mut tx = begin(db).await;
    identities::insert(&mut tx, &one).await.expect("inserts");
    identities::insert(&mut tx, &two).await.expect("inserts");
    done(tx).await;
    let remove = |db: Db, id: IdentityId| async move {
        let mut tx = begin(&db).await;
        assert!(accounts::lock(&mut tx, ann).await.expect("locks"));
        identities::delete(&mut tx, ann, id).await.expect("deletes").expect("stands");
        let left = identities::count_of(&mut tx, ann).await.expect("counts");
        if left > 0 {
            done(tx).await;
        }
        left
    };
    let (first, second) = tokio::join!(tokio::spawn(remove(db.clone(), one.id)), tokio::spawn(remove(db.clone(), two.id)));
    let mut left = [first.expect("ends"), second.expect("ends")];
    left.sort();
    assert_eq!(left, [0, 1], "the second one sees what the first one left");
    assert_eq!(identities::count_of(&mut look(db).await, ann).await.expect("counts"), 1);
}

async fn a_flow_works_once_in_time(db: &Db) {
    let ann = account(db, "ann").await;
    let (state, browser) = (SecretToken::generate(TokenKind::State), SecretToken::generate(TokenKind::Browser));
    let third = SecretToken::generate(TokenKind::State);
    let invitation = InvitationId::new();
    let flow = OidcFlow {
        provider: "corp".into(),
        browser: browser.hash(),
        secrets_sealed: vec![0, 255, 1],
        account: Some(ann),
        invitation: Some(invitation),
        next: "/acme/web?tab=tags".into(),
    };
    let mut tx = begin(db).await;
    identities::insert_flow(&mut tx, &state.hash(), &flow, after(60)).await.expect("inserts");
    assert!(identities::take_flow(&mut tx, &state.hash(), after(60)).await.expect("query").is_none(), "expired");
    assert!(identities::take_flow(&mut tx, &browser.hash(), NOW).await.expect("query").is_none(), "unknown");
    let taken = identities::take_flow(&mut tx, &state.hash(), after(59)).await.expect("query").expect("stands");
    assert!(taken.browser.matches(&browser));
    assert_eq!((taken.provider.as_str(), taken.secrets_sealed.as_slice()), ("corp", &[0, 255, 1][..]));
    assert_eq!((taken.account, taken.invitation, taken.next.as_str()), (Some(ann), Some(invitation), "/acme/web?tab=tags"));
    assert!(identities::take_flow(&mut tx, &state.hash(), NOW).await.expect("query").is_none(), "used");
    done(tx).await;

    // Those of one account end together; others stay.
    let bob = account(db, "bob").await;
    let others = OidcFlow { account: Some(bob), ..flow.clone() };
    let nobodys = OidcFlow { account: None, ..flow.clone() };
    let mut tx = begin(db).await;
    for (token, flow) in [(&state, &flow), (&browser, &others), (&third, &nobodys)] {
        identities::insert_flow(&mut tx, &token.hash(), flow, after(60)).await.expect("inserts");
    }
    assert_eq!(identities::delete_flows_of(&mut tx, ann).await.expect("deletes"), 1);
    assert!(identities::take_flow(&mut tx, &state.hash(), NOW).await.expect("query").is_none(), "ended");
    for token in [&browser, &third] {
        assert!(identities::take_flow(&mut tx, &token.hash(), NOW).await.expect("query").is_some(), "another's");
    }

    identities::insert_flow(&mut tx, &state.hash(), &flow, after(60)).await.expect("inserts");
    assert_eq!(identities::delete_expired_flows(&mut tx, after(59)).await.expect("deletes"), 0);
    assert_eq!(identities::delete_expired_flows(&mut tx, after(60)).await.expect("deletes"), 1);
    done(tx).await;
}
