//! Access tokens: their end, their limits, who revokes them.

use slipway_model::{AccountId, RepositoryId, Scope, ScopeSet, TokenId, TokenKind};
use slipway_store::tokens::{self, NewToken};
use slipway_store::{Db, StoreError, accounts, repositories};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, organization, repository, secret, token};

on_both! {
    tokens_end_and_are_revoked_by_their_owner_only;
    a_limited_token_covers_its_repositories_only;
    a_limited_token_stays_limited;
    a_token_without_any_repository_is_limited_too;
    a_limited_token_follows_a_rename;
    who_made_a_token_stays_known;
    all_tokens_of_an_account_end;
    a_hash_stands_once;
}

async fn tokens_end_and_are_revoked_by_their_owner_only(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (short, long) = (secret(TokenKind::Personal), secret(TokenKind::Personal));
    let scopes = ScopeSet::new([Scope::RepoRead, Scope::BuildWrite]);
    let mut tx = begin(db).await;
    let new = NewToken {
        account: ada,
        created_by: Some(ada),
        name: ODD,
        hash: &short,
        scopes: &scopes,
        repositories: None,
        expires_at: Some(after(60)),
    };
    let first = tokens::insert(&mut tx, &new, NOW).await.expect("inserts");
    let forever = NewToken { name: "forever", hash: &long, created_by: None, expires_at: None, ..new };
    let second = tokens::insert(&mut tx, &forever, NOW).await.expect("inserts");
    let token = tokens::get_by_hash(&mut tx, &short, after(59)).await.expect("query").expect("stands");
    assert_eq!((token.id, token.account, token.name.as_str(), &token.scopes), (first, ada, ODD, &scopes));
    assert_eq!((token.is_limited, token.created_by, token.created_at), (false, Some(ada), NOW));
    assert_eq!((token.expires_at, token.last_used_at, token.last_used_from), (Some(after(60)), None, None));
    assert_eq!(tokens::get(&mut tx, first, after(59)).await.expect("query").expect("stands").id, first);
    assert!(tokens::stands(&mut tx, first, after(59)).await.expect("query"));
    assert!(tokens::get_by_hash(&mut tx, &short, after(60)).await.expect("query").is_none());
    assert!(tokens::get(&mut tx, first, after(60)).await.expect("query").is_none());
    assert!(!tokens::stands(&mut tx, first, after(60)).await.expect("query"));
    assert!(tokens::get_by_hash(&mut tx, &long, after(1_000_000_000)).await.expect("query").is_some(), "no end");
    assert!(tokens::get_by_hash(&mut tx, &secret(TokenKind::Personal), NOW).await.expect("query").is_none());
    tokens::set_used(&mut tx, first, after(5), "192.0.2.1").await.expect("writes");
    let listed = tokens::list(&mut tx, ada).await.expect("lists");
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [second, first], "newest first, ended ones too");
    assert_eq!((listed[1].last_used_at, listed[1].last_used_from.as_deref()), (Some(after(5)), Some("192.0.2.1")));
    assert_eq!((listed[0].last_used_at, listed[0].created_by), (None, None));
    assert_eq!(tokens::count_tokens(&mut tx, ada).await.expect("query"), 2);
    assert!(tokens::list(&mut tx, bob).await.expect("lists").is_empty());
    assert_eq!(tokens::count_tokens(&mut tx, bob).await.expect("query"), 0);
    assert_eq!(tokens::delete(&mut tx, bob, first).await.expect("deletes"), None, "another's");
    assert_eq!(tokens::delete(&mut tx, ada, first).await.expect("deletes").as_deref(), Some(ODD));
    assert_eq!(tokens::delete(&mut tx, ada, first).await.expect("deletes"), None);
    assert_eq!(tokens::delete(&mut tx, ada, TokenId::new()).await.expect("deletes"), None);
    assert!(tokens::get_by_hash(&mut tx, &short, NOW).await.expect("query").is_none());
    assert!(tokens::stands(&mut tx, second, NOW).await.expect("query"));
}

async fn a_limited_token_covers_its_repositories_only(db: &Db) {
    let ada = account(db, "ada").await;
    let (web, api, other) = (repository(db, "ada", "web").await, repository(db, "ada", "api").await, repository(db, "bob", "web").await);
    // The same one twice is one.
    let (limited, _) = token(db, ada, Some(&[web, other, web])).await;
    let (second, _) = token(db, ada, Some(&[api])).await;
    let (all, _) = token(db, ada, None).await;
    let mut tx = look(db).await;
    for (id, repository, covered) in [
        (limited, web, true),
        (limited, other, true),
        (limited, api, false),
        (limited, RepositoryId::new(), false),
        (second, api, true),
        (second, web, false),
        (TokenId::new(), web, false),
        // Whether a token is limited at all is to be asked first.
        (all, web, false),
    ] {
        assert_eq!(tokens::covers(&mut tx, id, repository).await.expect("query"), covered);
    }
    assert_eq!(tokens::list_repositories(&mut tx, limited).await.expect("lists"), ["ada/web", "bob/web"]);
    assert!(tokens::list_repositories(&mut tx, all).await.expect("lists").is_empty());
    let found = tokens::list(&mut tx, ada).await.expect("lists");
    assert_eq!(found.iter().map(|token| (token.id, token.is_limited)).collect::<Vec<_>>(), [(all, false), (second, true), (limited, true)]);
    drop(tx);
    let (hash, scopes) = (secret(TokenKind::Personal), ScopeSet::all());
    let nowhere = [RepositoryId::new()];
    let new =
        NewToken { account: ada, created_by: None, name: "", hash: &hash, scopes: &scopes, repositories: Some(&nowhere), expires_at: None };
    let refused = tokens::insert(&mut begin(db).await, &new, NOW).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "a repository that is gone meanwhile: {refused:?}");
}

/// The worst that could be: a token for one repository becomes one for all when that repository goes.
async fn a_limited_token_stays_limited(db: &Db) {
    let ada = account(db, "ada").await;
    let (web, api) = (repository(db, "ada", "web").await, repository(db, "ada", "api").await);
    let (id, hash) = token(db, ada, Some(&[web])).await;
    let mut tx = begin(db).await;
    assert!(repositories::delete(&mut tx, web).await.expect("deletes"));
    done(tx).await;
    let again = repository(db, "ada", "web").await;
    let mut tx = look(db).await;
    let found = tokens::get_by_hash(&mut tx, &hash, NOW).await.expect("query").expect("stands");
    assert!(found.is_limited);
    for repository in [web, api, again] {
        assert!(!tokens::covers(&mut tx, id, repository).await.expect("query"), "another repository of the same name is another");
    }
    assert!(tokens::list_repositories(&mut tx, id).await.expect("lists").is_empty());
}

async fn a_token_without_any_repository_is_limited_too(db: &Db) {
    let ada = account(db, "ada").await;
    let web = repository(db, "ada", "web").await;
    let (id, hash) = token(db, ada, Some(&[])).await;
    let mut tx = look(db).await;
    assert!(tokens::get_by_hash(&mut tx, &hash, NOW).await.expect("query").expect("stands").is_limited);
    assert!(!tokens::covers(&mut tx, id, web).await.expect("query"));
}

async fn a_limited_token_follows_a_rename(db: &Db) {
    let ada = account(db, "ada").await;
    let web = repository(db, "ada", "web").await;
    let (id, _) = token(db, ada, Some(&[web])).await;
    let mut tx = begin(db).await;
    accounts::rename(&mut tx, ada, &"zoe".parse().expect("name"), after(1)).await.expect("renames");
    assert_eq!(tokens::list_repositories(&mut tx, id).await.expect("lists"), ["zoe/web"]);
    assert!(tokens::covers(&mut tx, id, web).await.expect("query"));
}

async fn who_made_a_token_stays_known(db: &Db) {
    let (bob, (acme, _)) = (account(db, "bob").await, organization(db, "acme").await);
    let (hash, scopes) = (secret(TokenKind::Personal), ScopeSet::all());
    let new =
        NewToken { account: acme, created_by: Some(bob), name: "ci", hash: &hash, scopes: &scopes, repositories: None, expires_at: None };
    let mut tx = begin(db).await;
    tokens::insert(&mut tx, &new, NOW).await.expect("inserts");
    assert!(accounts::delete(&mut tx, bob).await.expect("deletes"));
    done(tx).await;
    let found = tokens::get_by_hash(&mut look(db).await, &hash, NOW).await.expect("query").expect("an organization's token is its own");
    assert_eq!((found.account, found.created_by), (acme, Some(bob)));
}

async fn all_tokens_of_an_account_end(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let web = repository(db, "ada", "web").await;
    for limit in [None, Some([web])] {
        token(db, ada, limit.as_ref().map(|limit| limit.as_slice())).await;
    }
    let (other, _) = token(db, bob, Some(&[web])).await;
    let mut tx = begin(db).await;
    for removed in [2, 0] {
        assert_eq!(tokens::delete_all(&mut tx, ada).await.expect("deletes"), removed);
    }
    assert_eq!(tokens::delete_all(&mut tx, AccountId::new()).await.expect("deletes"), 0);
    assert_eq!(tokens::count_tokens(&mut tx, ada).await.expect("query"), 0);
    assert!(tokens::stands(&mut tx, other, NOW).await.expect("query"));
}

async fn a_hash_stands_once(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (hash, scopes) = (secret(TokenKind::Personal), ScopeSet::all());
    let new = NewToken { account: ada, created_by: None, name: "", hash: &hash, scopes: &scopes, repositories: None, expires_at: None };
    let mut tx = begin(db).await;
    tokens::insert(&mut tx, &new, NOW).await.expect("inserts");
    done(tx).await;
    let again = tokens::insert(&mut begin(db).await, &NewToken { account: bob, ..new }, NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let other = secret(TokenKind::Personal);
    let nobody = NewToken { account: AccountId::new(), hash: &other, ..new };
    let nobody = tokens::insert(&mut begin(db).await, &nobody, NOW).await;
    assert!(matches!(nobody, Err(StoreError::Conflict(_))), "{nobody:?}");
}
