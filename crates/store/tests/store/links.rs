//! Links of accounts to providers: several of them, their tokens, their health.

use std::time::Duration;

use slipway_model::{AccessLevel, AccountId, LinkId, LinkState, LinkedAs};
use slipway_store::links::{self, Finding, Link, Picture, Tokens};
use slipway_store::{Db, StoreError, teams};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, organization, provider};

on_both! {
    linking_again_replaces_in_the_same_row;
    an_account_has_links_of_several_people;
    a_row_being_unlinked_or_of_another_identity_is_not_replaced;
    a_state_keeps_the_moment_it_began;
    a_link_needs_an_account;
    one_of_many_refreshes_a_token;
    tokens_of_an_older_version_are_not_written;
    a_due_link_is_looked_at_once;
    what_was_found_of_an_older_grant_is_not_written;
    owners_are_told_of_a_state_once;
    a_picture_is_fetched_when_due;
    owners_emails_are_those_of_the_owners;
}

pub fn link(account: AccountId, login: &str) -> Link {
    Link {
        id: LinkId::new(),
        account,
        provider: provider(),
        remote_user_id: "583231".into(),
        login: login.into(),
        display_name: Some(ODD.into()),
        access: AccessLevel::Full,
        linked_as: LinkedAs::Person,
        scopes: vec!["repo".into(), "admin:repo_hook".into()],
        access_token_sealed: vec![0, 159, 146, 150],
        refresh_token_sealed: None,
        token_expires_at: None,
        token_version: 1,
        state: LinkState::Ok,
        since: NOW,
        evidence: None,
        evidence_status: None,
        failures: 0,
        probe_marker: None,
        told_since: None,
        checked_at: None,
        next_check_at: NOW,
        unlinking: false,
        avatar_url: None,
        linked_at: NOW,
        created_at: NOW,
    }
}

async fn get(db: &Db, id: LinkId) -> Link {
    links::get_by_id(&mut look(db).await, id).await.expect("query").expect("stands")
}

async fn put(db: &Db, link: &Link) {
    let mut tx = begin(db).await;
    assert!(links::upsert(&mut tx, link).await.expect("writes"));
    done(tx).await;
}

async fn linking_again_replaces_in_the_same_row(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    let first = link(ada, "octocat");
    assert!(links::upsert(&mut tx, &first).await.expect("writes"));
    let elsewhere = Link { provider: "ghe-acme".parse().expect("provider"), ..link(ada, "octocat") };
    assert!(links::upsert(&mut tx, &elsewhere).await.expect("writes"));
    let id = links::identity(&mut tx, ada, &provider(), "583231").await.expect("query").expect("stands");
    assert_eq!(id, first.id);
    let again = Link {
        id,
        refresh_token_sealed: Some(vec![7]),
        token_expires_at: Some(after(3600)),
        token_version: 2,
        scopes: vec![],
        evidence: Some(ODD.into()),
        access: AccessLevel::Public,
        linked_as: LinkedAs::ServiceUser,
        checked_at: Some(after(1)),
        next_check_at: after(2),
        avatar_url: Some("https://example.com/x.png".into()),
        linked_at: after(1),
        told_since: Some(NOW),
        ..link(ada, ODD)
    };
    assert!(links::upsert(&mut tx, &again).await.expect("writes"));
    let found = links::get(&mut tx, ada, &provider()).await.expect("query").expect("stands");
    assert_eq!(format!("{found:?}"), format!("{again:?}"), "every field comes back");
    let listed = links::list(&mut tx, ada).await.expect("lists");
    assert_eq!(listed.iter().map(|link| link.id).collect::<Vec<_>>(), [elsewhere.id, again.id], "by provider");
    assert!(links::get(&mut tx, bob, &provider()).await.expect("query").is_none());
    assert!(links::delete(&mut tx, again.id).await.expect("deletes"));
    assert!(!links::delete(&mut tx, again.id).await.expect("deletes"));
    assert!(links::get(&mut tx, ada, &provider()).await.expect("query").is_none());
    assert_eq!(links::list(&mut tx, ada).await.expect("lists").len(), 1);
}

async fn an_account_has_links_of_several_people(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let person = Link { state: LinkState::Disabled, ..link(ada, "octo") };
    let broken = Link { remote_user_id: "7".into(), state: LinkState::Restricted, ..link(ada, "hubot") };
    let robot = Link { remote_user_id: "8".into(), ..link(ada, "ci-bot") };
    let theirs = link(bob, "octo");
    for link in [&person, &broken, &robot, &theirs] {
        put(db, link).await;
    }
    let mut tx = look(db).await;
    let of = |all: Vec<Link>| all.into_iter().map(|link| link.id).collect::<Vec<_>>();
    assert_eq!(of(links::list_by_provider(&mut tx, ada, &provider()).await.expect("lists")), [person.id, broken.id, robot.id], "by age");
    assert_eq!(of(links::list_by_person(&mut tx, &provider(), "583231").await.expect("lists")), [person.id, theirs.id]);
    assert_eq!(links::get(&mut tx, ada, &provider()).await.expect("query").expect("one").id, robot.id, "the one that works");
    drop(tx);
    let mut tx = begin(db).await;
    assert!(links::set_unlinking(&mut tx, robot.id).await.expect("writes"));
    assert!(!links::set_unlinking(&mut tx, robot.id).await.expect("writes"), "once");
    assert_eq!(
        links::get(&mut tx, ada, &provider()).await.expect("query").expect("one").id,
        broken.id,
        "a disabled one is the last choice"
    );
    assert_eq!(of(links::list_by_provider(&mut tx, ada, &provider()).await.expect("lists")), [person.id, broken.id]);
    assert_eq!(of(links::list(&mut tx, ada).await.expect("lists")), [person.id, broken.id]);
}

async fn a_row_being_unlinked_or_of_another_identity_is_not_replaced(db: &Db) {
    let ada = account(db, "ada").await;
    let first = link(ada, "octo");
    put(db, &first).await;
    let mut tx = begin(db).await;
    assert!(!links::upsert(&mut tx, &link(ada, "octo")).await.expect("query"), "its tokens were sealed for another row");
    assert!(links::set_unlinking(&mut tx, first.id).await.expect("writes"));
    assert!(!links::upsert(&mut tx, &first).await.expect("query"));
    done(tx).await;
    assert!(get(db, first.id).await.unlinking);
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
    put(db, &link(ada, "x")).await;
}

async fn one_of_many_refreshes_a_token(db: &Db) {
    let ada = account(db, "ada").await;
    let link = link(ada, "octo");
    put(db, &link).await;
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (db, id) = (db.clone(), link.id);
        claims.spawn(async move {
            let mut tx = begin(&db).await;
            let won = links::claim_refresh(&mut tx, id, 1, &format!("replica {n}"), NOW, after(60)).await.expect("claims");
            done(tx).await;
            won.then_some(n)
        });
    }
    let winners: Vec<i32> = claims.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let winner = format!("replica {}", winners[0]);
    let mut tx = begin(db).await;
    links::release_refresh(&mut tx, link.id, "somebody else").await.expect("writes");
    assert!(!links::claim_refresh(&mut tx, link.id, 1, "late", after(59), after(90)).await.expect("claims"), "it is held");
    assert!(!links::claim_refresh(&mut tx, link.id, 2, "wrong", after(60), after(90)).await.expect("claims"), "another version");
    assert!(links::claim_refresh(&mut tx, link.id, 1, "heir", after(60), after(90)).await.expect("claims"), "the winner died");
    links::release_refresh(&mut tx, link.id, &winner).await.expect("writes");
    assert!(!links::claim_refresh(&mut tx, link.id, 1, "late", after(61), after(90)).await.expect("claims"), "not its to give back");
    links::release_refresh(&mut tx, link.id, "heir").await.expect("writes");
    assert!(links::claim_refresh(&mut tx, link.id, 1, "next", after(61), after(90)).await.expect("claims"));
}

async fn tokens_of_an_older_version_are_not_written(db: &Db) {
    let ada = account(db, "ada").await;
    let link = Link { refresh_token_sealed: Some(vec![9]), ..link(ada, "octo") };
    put(db, &link).await;
    let mut tx = begin(db).await;
    assert!(links::claim_refresh(&mut tx, link.id, 1, "me", NOW, after(60)).await.expect("claims"));
    let new = Tokens { access_token_sealed: &[1], refresh_token_sealed: None, expires_at: Some(after(3600)), scopes: None };
    assert!(links::set_tokens(&mut tx, link.id, 1, &new).await.expect("writes"));
    let late = Tokens { access_token_sealed: &[2], refresh_token_sealed: Some(&[2]), expires_at: None, scopes: Some(&[]) };
    assert!(!links::set_tokens(&mut tx, link.id, 1, &late).await.expect("query"));
    done(tx).await;
    let found = get(db, link.id).await;
    assert_eq!(
        (found.access_token_sealed, found.refresh_token_sealed),
        (vec![1], Some(vec![9])),
        "an answer without one keeps the old one"
    );
    assert_eq!((found.token_version, found.token_expires_at), (2, Some(after(3600))));
    assert_eq!(found.scopes, link.scopes);
    let mut tx = begin(db).await;
    assert!(links::claim_refresh(&mut tx, link.id, 2, "next", NOW, after(60)).await.expect("claims"), "the claim ended with the write");
}

async fn a_due_link_is_looked_at_once(db: &Db) {
    let ada = account(db, "ada").await;
    let (mine, robot) = (link(ada, "octo"), Link { remote_user_id: "8".into(), next_check_at: after(10), ..link(ada, "ci-bot") });
    let disabled = Link { remote_user_id: "9".into(), state: LinkState::Disabled, ..link(ada, "off") };
    for link in [&mine, &robot, &disabled] {
        put(db, link).await;
    }
    let mut looks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        looks.spawn(async move {
            let mut tx = begin(&db).await;
            let claimed = links::claim_check(&mut tx, NOW, after(180)).await.expect("claims");
            done(tx).await;
            claimed.map(|link| link.id)
        });
    }
    assert_eq!(
        looks.join_all().await.into_iter().flatten().collect::<Vec<_>>(),
        [mine.id],
        "once, and neither the later nor the disabled one"
    );
    let mut tx = begin(db).await;
    links::check_by(&mut tx, robot.id, after(1)).await.expect("writes");
    links::check_by(&mut tx, robot.id, after(5)).await.expect("writes");
    assert!(links::claim_check(&mut tx, NOW, after(180)).await.expect("claims").is_none());
    assert_eq!(
        links::claim_check(&mut tx, after(1), after(180)).await.expect("claims").expect("due").id,
        robot.id,
        "never later than before"
    );
    // Both are due again at 180; one was never looked at, the other a moment ago.
    links::doubt_by(&mut tx, robot.id, after(20), Duration::from_secs(60)).await.expect("writes");
    links::set_state(&mut tx, mine.id, LinkState::Ok, None, after(10)).await.expect("writes");
    links::doubt_by(&mut tx, mine.id, after(30), Duration::from_secs(60)).await.expect("writes");
    links::doubt_by(&mut tx, mine.id, after(90), Duration::from_secs(60)).await.expect("writes");
    done(tx).await;
    assert_eq!((get(db, robot.id).await.next_check_at, get(db, mine.id).await.next_check_at), (after(20), after(70)));
}

fn finding(state: LinkState) -> Finding<'static> {
    Finding {
        state,
        evidence: Some(ODD),
        evidence_status: Some(401),
        failures: 3,
        login: Some("renamed"),
        display_name: None,
        avatar_url: Some("https://example.com/y.png"),
        scopes: None,
        probe_marker: Some("etag"),
        next_check_at: after(300),
    }
}

async fn what_was_found_of_an_older_grant_is_not_written(db: &Db) {
    let ada = account(db, "ada").await;
    let link = link(ada, "octo");
    put(db, &link).await;
    let mut tx = begin(db).await;
    let found = links::set_finding(&mut tx, link.id, NOW, &finding(LinkState::Revoked), after(3))
        .await
        .expect("writes")
        .expect("it is the same grant");
    assert_eq!((found.state, found.since, found.checked_at), (LinkState::Revoked, after(3), Some(after(3))));
    assert_eq!((found.evidence.as_deref(), found.evidence_status, found.failures), (Some(ODD), Some(401), 3));
    assert_eq!((found.login.as_str(), found.display_name.as_deref(), found.scopes.len()), ("renamed", Some(ODD), 2));
    assert_eq!((found.probe_marker.as_deref(), found.next_check_at), (Some("etag"), after(300)));
    let again = links::set_finding(&mut tx, link.id, NOW, &finding(LinkState::Revoked), after(9)).await.expect("writes").expect("the same");
    assert_eq!(again.since, after(3), "since when stays");
    // Linked anew: what a slow look at the grant before says is about what is no more.
    assert!(links::upsert(&mut tx, &Link { linked_at: after(10), ..link.clone() }).await.expect("writes"));
    assert!(links::set_finding(&mut tx, link.id, NOW, &finding(LinkState::Revoked), after(11)).await.expect("query").is_none());
    assert!(links::set_state(&mut tx, link.id, LinkState::Disabled, None, after(12)).await.expect("writes"));
    assert!(
        links::set_finding(&mut tx, link.id, after(10), &finding(LinkState::Ok), after(13)).await.expect("query").is_none(),
        "disabled"
    );
}

async fn owners_are_told_of_a_state_once(db: &Db) {
    let ada = account(db, "ada").await;
    let link = link(ada, "octo");
    put(db, &link).await;
    let mut tx = begin(db).await;
    for (since, news) in [(Some(NOW), true), (Some(NOW), false), (Some(after(1)), true), (None, true), (None, false)] {
        assert_eq!(links::set_told(&mut tx, link.id, since).await.expect("writes"), news, "{since:?}");
    }
}

async fn a_picture_is_fetched_when_due(db: &Db) {
    let ada = account(db, "ada").await;
    let link = Link { avatar_url: Some("https://example.com/x.png".into()), ..link(ada, "octo") };
    put(db, &link).await;
    let mut tx = begin(db).await;
    assert!(links::claim_picture(&mut tx, link.id, NOW, after(100)).await.expect("claims"));
    assert!(!links::claim_picture(&mut tx, link.id, after(99), after(100)).await.expect("claims"));
    let picture = Picture { media_type: "image/png".into(), content: vec![0, 255], fetched_at: NOW };
    links::set_picture(&mut tx, link.id, &picture).await.expect("writes");
    let newer = Picture { content: vec![1], fetched_at: after(1), ..picture };
    links::set_picture(&mut tx, link.id, &newer).await.expect("writes");
    assert_eq!(links::get_picture(&mut tx, link.id).await.expect("query"), Some(newer));
    assert_eq!(links::list_pictured(&mut tx, ada).await.expect("lists"), [link.id]);
    // The person has another picture since.
    links::set_finding(&mut tx, link.id, NOW, &finding(LinkState::Ok), after(3)).await.expect("writes").expect("stands");
    assert!(links::claim_picture(&mut tx, link.id, after(4), after(200)).await.expect("claims"));
    links::set_finding(&mut tx, link.id, NOW, &finding(LinkState::Ok), after(5)).await.expect("writes").expect("stands");
    assert!(!links::claim_picture(&mut tx, link.id, after(6), after(200)).await.expect("claims"), "the same picture");
    links::delete(&mut tx, link.id).await.expect("deletes");
    assert!(links::get_picture(&mut tx, link.id).await.expect("query").is_none(), "it goes with the link");
}

async fn owners_emails_are_those_of_the_owners(db: &Db) {
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    let (acme, owners) = organization(db, "acme").await;
    let mut tx = begin(db).await;
    for (id, email) in [(ada, Some("ada@example.com")), (bob, None), (eve, Some("eve@example.com"))] {
        slipway_store::accounts::set_email(&mut tx, id, email).await.expect("writes");
    }
    for owner in [ada, bob] {
        assert!(teams::add_member(&mut tx, owners, owner, NOW).await.expect("adds"));
    }
    done(tx).await;
    crate::fixture::team(db, acme, "crew", &[eve]).await;
    let mut tx = look(db).await;
    assert_eq!(teams::owner_emails(&mut tx, acme).await.expect("lists"), ["ada@example.com"], "members of other teams own nothing");
    assert_eq!(teams::owner_emails(&mut tx, eve).await.expect("lists"), ["eve@example.com"]);
    assert!(teams::owner_emails(&mut tx, bob).await.expect("lists").is_empty());
}
