//! Invitations: once, in time, and only seen by whose they are.

use slipway_model::{AccountId, InvitationId, SecretToken, TokenKind};
use slipway_store::invitations::{self, Invitation};
use slipway_store::{Db, StoreError};

use crate::fixture::{NOW, ODD, account, after, begin, done, look};

on_both! {
    an_invitation_works_once_in_time;
    a_list_is_of_one_owner_in_pages;
    the_organization_must_stand;
}

fn invitation(account: Option<AccountId>, by: AccountId) -> Invitation {
    Invitation {
        id: InvitationId::new(),
        account,
        team: None,
        email: Some("ann@example.com".into()),
        makes_account: account.is_none(),
        created_by: by,
        created_by_name: ODD.into(),
        created_at: NOW,
        expires_at: after(60),
    }
}

fn token() -> SecretToken {
    SecretToken::generate(TokenKind::Invitation)
}

async fn an_invitation_works_once_in_time(db: &Db) {
    let root = account(db, "root").await;
    let (secret, new) = (token(), invitation(None, root));
    let mut tx = begin(db).await;
    invitations::insert(&mut tx, &secret.hash(), &new).await.expect("inserts");
    assert_eq!(invitations::get_by_token(&mut tx, &secret.hash(), after(59)).await.expect("query"), Some(new.clone()));
    assert_eq!(invitations::get_by_token(&mut tx, &secret.hash(), after(60)).await.expect("query"), None);
    assert_eq!(invitations::get_by_token(&mut tx, &token().hash(), NOW).await.expect("query"), None);
    assert_eq!(invitations::get(&mut tx, new.id, after(59)).await.expect("query"), Some(new.clone()));
    assert_eq!(invitations::get(&mut tx, new.id, after(60)).await.expect("query"), None);
    assert!(!invitations::take(&mut tx, new.id, after(60)).await.expect("takes"), "too late");
    assert!(invitations::take(&mut tx, new.id, after(59)).await.expect("takes"));
    assert!(!invitations::take(&mut tx, new.id, after(59)).await.expect("takes"), "used");

    invitations::insert(&mut tx, &secret.hash(), &new).await.expect("inserts");
    assert_eq!(invitations::delete_expired(&mut tx, after(59)).await.expect("deletes"), 0);
    assert_eq!(invitations::delete_expired(&mut tx, after(60)).await.expect("deletes"), 1);
    done(tx).await;
    assert_eq!(invitations::get(&mut look(db).await, new.id, NOW).await.expect("query"), None);
}

async fn a_list_is_of_one_owner_in_pages(db: &Db) {
    let (acme, other) = (account(db, "acme").await, account(db, "other").await);
    let mut tx = begin(db).await;
    let mut ids = Vec::new();
    for owner in [Some(acme), Some(acme), Some(acme), Some(other), None] {
        let new = invitation(owner, acme);
        ids.push(new.id);
        invitations::insert(&mut tx, &token().hash(), &new).await.expect("inserts");
    }
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = invitations::list(&mut tx, Some(acme), before, NOW, 2).await.expect("lists");
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        found.extend(page.iter().map(|invitation| invitation.id));
    }
    assert_eq!(found, [ids[2], ids[1], ids[0]]);
    let installation = invitations::list(&mut tx, None, None, NOW, 10).await.expect("lists");
    assert_eq!(installation.iter().map(|invitation| invitation.id).collect::<Vec<_>>(), [ids[4]]);
    assert!(invitations::list(&mut tx, Some(acme), None, after(60), 10).await.expect("lists").is_empty(), "expired ones are not shown");
    assert_eq!(invitations::count_standing(&mut tx, Some(acme), NOW).await.expect("counts"), 3);
    assert_eq!(invitations::count_standing(&mut tx, None, NOW).await.expect("counts"), 1);
    assert_eq!(invitations::count_standing(&mut tx, None, after(60)).await.expect("counts"), 0);

    assert_eq!(invitations::delete(&mut tx, Some(other), ids[0]).await.expect("deletes"), None, "of somebody else");
    assert_eq!(invitations::delete(&mut tx, None, ids[0]).await.expect("deletes"), None);
    assert_eq!(invitations::delete(&mut tx, Some(acme), ids[0]).await.expect("deletes").map(|gone| gone.id), Some(ids[0]));
    assert_eq!(invitations::delete(&mut tx, None, ids[4]).await.expect("deletes").map(|gone| gone.id), Some(ids[4]));
    done(tx).await;
}

async fn the_organization_must_stand(db: &Db) {
    let mut tx = begin(db).await;
    let nobody = AccountId::new();
    let inserted = invitations::insert(&mut tx, &token().hash(), &invitation(Some(nobody), nobody)).await;
    // PostgreSQL and SQLite both look at once.
    assert!(matches!(inserted, Err(StoreError::Conflict(_))), "{inserted:?}");
}
