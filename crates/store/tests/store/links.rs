//! Links of accounts to providers.

use slipway_model::{AccountId, LinkId, LinkState};
use slipway_store::links::{self, Link};
use slipway_store::{Db, StoreError};

use crate::fixture::{NOW, ODD, account, after, begin, done, provider};

on_both! {
    linking_again_replaces;
    a_state_keeps_the_moment_it_began;
    a_link_needs_an_account;
}

fn link(account: AccountId, login: &str) -> Link {
    Link {
        id: LinkId::new(),
        account,
        provider: provider(),
        remote_user_id: "583231".into(),
        login: login.into(),
        scopes: vec!["repo".into(), "admin:repo_hook".into()],
        access_token_sealed: vec![0, 159, 146, 150],
        refresh_token_sealed: None,
        token_expires_at: None,
        state: LinkState::Ok,
        since: NOW,
        evidence: None,
        checked_at: None,
        created_at: NOW,
    }
}

async fn linking_again_replaces(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    links::upsert(&mut tx, &link(ada, "octocat")).await.expect("writes");
    let elsewhere = Link { provider: "ghe-acme".parse().expect("provider"), ..link(ada, "octocat") };
    links::upsert(&mut tx, &elsewhere).await.expect("writes");
    let again = Link {
        refresh_token_sealed: Some(vec![7]),
        token_expires_at: Some(after(3600)),
        scopes: vec![],
        evidence: Some(ODD.into()),
        checked_at: Some(after(1)),
        ..link(ada, ODD)
    };
    links::upsert(&mut tx, &again).await.expect("writes");
    let found = links::get(&mut tx, ada, &provider()).await.expect("query").expect("stands");
    assert_eq!(format!("{found:?}"), format!("{again:?}"), "every field comes back");
    let listed = links::list(&mut tx, ada).await.expect("lists");
    assert_eq!(listed.iter().map(|link| link.id).collect::<Vec<_>>(), [elsewhere.id, again.id], "by provider, one for each");
    assert!(links::get(&mut tx, bob, &provider()).await.expect("query").is_none());
    assert!(links::delete(&mut tx, again.id).await.expect("deletes"));
    assert!(!links::delete(&mut tx, again.id).await.expect("deletes"));
    assert!(links::get(&mut tx, ada, &provider()).await.expect("query").is_none());
    assert_eq!(links::list(&mut tx, ada).await.expect("lists").len(), 1);
}

async fn a_state_keeps_the_moment_it_began(db: &Db) {
    let ada = account(db, "ada").await;
    let link = link(ada, "octocat");
    let mut tx = begin(db).await;
    links::upsert(&mut tx, &link).await.expect("writes");
    let steps = [
        (LinkState::Ok, None, 1, NOW),
        (LinkState::Revoked, Some("401"), 2, after(2)),
        (LinkState::Revoked, Some("401 again"), 3, after(2)),
        (LinkState::Ok, None, 4, after(4)),
    ];
    for (state, evidence, second, since) in steps {
        assert!(links::set_state(&mut tx, link.id, state, evidence, after(second)).await.expect("writes"));
        let found = links::get(&mut tx, ada, &provider()).await.expect("query").expect("stands");
        assert_eq!((found.state, found.evidence.as_deref(), found.since), (state, evidence, since), "second {second}");
        assert_eq!(found.checked_at, Some(after(second)));
    }
    assert!(!links::set_state(&mut tx, LinkId::new(), LinkState::Ok, None, NOW).await.expect("writes"));
}

async fn a_link_needs_an_account(db: &Db) {
    let mut tx = begin(db).await;
    let dangling = links::upsert(&mut tx, &link(AccountId::new(), "x")).await;
    assert!(matches!(dangling, Err(StoreError::Conflict(_))), "{dangling:?}");
    drop(tx);
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    links::upsert(&mut tx, &link(ada, "x")).await.expect("writes");
    done(tx).await;
}
