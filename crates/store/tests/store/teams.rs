//! Teams, their members, what they give, and that the last owner is seen as the last.

use std::sync::Arc;
use std::time::Duration;

use slipway_model::{AccountId, Permission, RepositoryId, TeamId, TeamName, TokenKind};
use slipway_store::sessions::NewSession;
use slipway_store::teams::{self, Membership};
use slipway_store::{Db, ReadTx, StoreError, accounts, repositories, sessions};
use tokio::sync::{Barrier, oneshot};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, organization, repository, secret, team};

on_both! {
    a_team_comes_back_as_it_was_made;
    a_team_name_is_given_once_per_organization;
    a_team_goes_with_what_it_gave;
    teams_are_listed_by_name;
    members_come_and_go;
    people_are_counted_once;
    permissions_are_set_and_taken_away;
    the_most_that_a_team_gives_counts;
    a_right_ends_with_what_gave_it;
    what_somebody_is_in_an_organization;
    organizations_are_listed_by_name;
    an_account_leaves_every_team;
    sessions_of_a_team_are_renewed;
    sole_owners_are_told_of;
    admins_of_one_read_the_other_or_not;
    two_owners_do_not_both_leave;
    two_owners_do_not_both_delete_their_accounts;
    who_becomes_the_last_owner_meanwhile_is_seen_as_the_last;
}

fn name(text: &str) -> TeamName {
    text.parse().expect("name")
}

async fn a_team_comes_back_as_it_was_made(db: &Db) {
    let (acme, owners) = organization(db, "acme").await;
    let (ada, web) = (account(db, "ada").await, repository(db, "acme", "web").await);
    let mut tx = begin(db).await;
    let id = teams::insert(&mut tx, acme, &name("crew"), ODD, after(3)).await.expect("inserts");
    teams::add_member(&mut tx, id, ada, NOW).await.expect("adds");
    teams::set_permission(&mut tx, id, web, Permission::Read).await.expect("sets");
    let found = teams::get_by_name(&mut tx, acme, &name("crew")).await.expect("query").expect("stands");
    assert_eq!((found.id, found.organization, found.name.as_str(), found.description.as_str()), (id, acme, "crew", ODD));
    assert_eq!((found.created_at, found.members, found.repositories, found.is_owners()), (after(3), 1, 1, false));
    let found = teams::get(&mut tx, owners).await.expect("query").expect("stands");
    assert_eq!((found.name.as_str(), found.members, found.repositories, found.is_owners()), ("owners", 0, 0, true));
    teams::update(&mut tx, id, &name("ship-crew"), "new").await.expect("writes");
    let found = teams::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.name.as_str(), found.description.as_str(), found.members, found.repositories), ("ship-crew", "new", 1, 1));
    assert!(teams::get_by_name(&mut tx, acme, &name("crew")).await.expect("query").is_none());
    assert!(teams::get_by_name(&mut tx, ada, &name("ship-crew")).await.expect("query").is_none(), "of another account");
    assert!(teams::get(&mut tx, TeamId::new()).await.expect("query").is_none());
    assert!(teams::lock(&mut tx, id).await.expect("locks"));
    assert!(!teams::lock(&mut tx, TeamId::new()).await.expect("nothing to lock"));
}

async fn a_team_name_is_given_once_per_organization(db: &Db) {
    let ((acme, _), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let crew = team(db, acme, "crew", &[]).await;
    team(db, zoo, "crew", &[]).await;
    let other = team(db, acme, "other", &[]).await;
    for taken in ["crew", "owners"] {
        let mut tx = begin(db).await;
        let refused = teams::insert(&mut tx, acme, &name(taken), "", NOW).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
        drop(tx);
        let mut tx = begin(db).await;
        let refused = teams::update(&mut tx, other, &name(taken), "").await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    }
    let mut tx = begin(db).await;
    teams::update(&mut tx, crew, &name("crew"), "its own name is no obstacle").await.expect("writes");
    assert_eq!(teams::count_teams(&mut tx, acme).await.expect("query"), 3);
    assert_eq!(teams::count_teams(&mut tx, zoo).await.expect("query"), 2);
    let nowhere = teams::insert(&mut tx, AccountId::new(), &name("crew"), "", NOW).await;
    assert!(matches!(nowhere, Err(StoreError::Conflict(_))), "{nowhere:?}");
}

async fn a_team_goes_with_what_it_gave(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let (ada, web) = (account(db, "ada").await, repository(db, "acme", "web").await);
    let crew = team(db, acme, "crew", &[ada]).await;
    let mut tx = begin(db).await;
    teams::set_permission(&mut tx, crew, web, Permission::Admin).await.expect("sets");
    assert!(teams::delete(&mut tx, crew).await.expect("deletes"));
    assert!(!teams::delete(&mut tx, crew).await.expect("deletes"));
    done(tx).await;
    // A team made again under the name gives nothing of what the one before gave.
    let again = team(db, acme, "crew", &[ada]).await;
    let mut tx = look(db).await;
    for id in [crew, again] {
        assert_eq!(teams::team_permission(&mut tx, id, web).await.expect("query"), None);
    }
    assert_eq!(teams::permission(&mut tx, ada, acme, web).await.expect("query"), None);
}

async fn teams_are_listed_by_name(db: &Db) {
    let ((acme, owners), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (names, both) = (["b-b", "bb", "b_b", "b1", "zz", "a1", "0a"], [ada, bob]);
    for (n, text) in names.iter().enumerate() {
        team(db, acme, text, if n % 2 == 0 { &both } else { &both[1..] }).await;
        team(db, zoo, text, &[ada]).await;
    }
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, bob, NOW).await.expect("adds");
    done(tx).await;
    let sorted = |mut list: Vec<&'static str>| {
        list.sort_unstable();
        list
    };
    let all = sorted([&names[..], &["owners"]].concat());
    for (member, wanted) in
        [(None, all.clone()), (Some(bob), all), (Some(ada), sorted(vec!["b-b", "b_b", "zz", "0a"])), (Some(AccountId::new()), vec![])]
    {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let mut tx = look(db).await;
            let page = teams::list(&mut tx, acme, member, seen.last().map(String::as_str), 3).await.expect("lists");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 3 && page.iter().all(|team| team.organization == acme));
            seen.extend(page.into_iter().map(|team| team.name.as_str().to_owned()));
        }
        assert_eq!(seen, wanted);
    }
    let counted = teams::list(&mut look(db).await, acme, Some(ada), None, 1).await.expect("lists");
    assert_eq!((counted[0].name.as_str(), counted[0].members, counted[0].repositories), ("0a", 2, 0));
}

async fn members_come_and_go(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let (crew, other) = (team(db, acme, "crew", &[]).await, team(db, acme, "other", &[]).await);
    let mut ids = Vec::new();
    for text in ["zoe", "ada", "bob", "a-a", "aa"] {
        ids.push(account(db, text).await);
    }
    let mut tx = begin(db).await;
    for (n, id) in (0..).zip(&ids) {
        assert!(teams::add_member(&mut tx, crew, *id, after(n)).await.expect("adds"));
    }
    assert!(!teams::add_member(&mut tx, crew, ids[0], after(99)).await.expect("is one already"));
    assert!(teams::add_member(&mut tx, other, ids[0], NOW).await.expect("adds"));
    let mut seen: Vec<(String, u64)> = Vec::new();
    loop {
        let page = teams::list_members(&mut tx, crew, seen.last().map(|(name, _)| name.as_str()), 2).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        for (account, added) in page {
            let second = (0..9).find(|n| after(*n) == added).expect("when it was added first");
            seen.push((account.name.as_str().to_owned(), second));
        }
    }
    assert_eq!(seen, [("a-a", 3), ("aa", 4), ("ada", 1), ("bob", 2), ("zoe", 0)].map(|(name, n)| (name.to_owned(), n)));
    assert_eq!(teams::count_members(&mut tx, crew).await.expect("query"), 5);
    assert!(teams::is_member(&mut tx, crew, ids[0]).await.expect("query"));
    assert!(!teams::is_member(&mut tx, other, ids[1]).await.expect("query"));
    assert!(teams::remove_member(&mut tx, crew, ids[0]).await.expect("removes"));
    assert!(!teams::remove_member(&mut tx, crew, ids[0]).await.expect("is none any more"));
    assert!(!teams::remove_member(&mut tx, TeamId::new(), ids[1]).await.expect("no team"));
    assert!(!teams::is_member(&mut tx, crew, ids[0]).await.expect("query"));
    assert!(teams::is_member(&mut tx, other, ids[0]).await.expect("query"), "of the other team still");
    assert_eq!(teams::count_members(&mut tx, crew).await.expect("query"), 4);
    done(tx).await;
    for (team, member) in [(crew, AccountId::new()), (TeamId::new(), ids[0])] {
        let nobody = teams::add_member(&mut begin(db).await, team, member, NOW).await;
        assert!(matches!(nobody, Err(StoreError::Conflict(_))), "{nobody:?}");
    }
}

async fn people_are_counted_once(db: &Db) {
    let ((acme, owners), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    let (crew, ship) = (team(db, acme, "crew", &[ada, bob]).await, team(db, acme, "ship", &[ada]).await);
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
    done(tx).await;
    team(db, zoo, "crew", &[eve, ada]).await;
    let mut tx = look(db).await;
    let names = async |tx: &mut ReadTx, organization, after, limit| {
        let page = teams::list_people(tx, organization, after, limit).await.expect("lists");
        page.into_iter().map(|account| account.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut tx, acme, None, 10).await, ["ada", "bob"]);
    assert_eq!(names(&mut tx, acme, None, 1).await, ["ada"]);
    assert_eq!(names(&mut tx, acme, Some("ada"), 1).await, ["bob"]);
    assert_eq!(names(&mut tx, zoo, None, 10).await, ["ada", "eve"]);
    for (organization, count) in [(acme, 2), (zoo, 2), (AccountId::new(), 0)] {
        assert_eq!(teams::count_people(&mut tx, organization).await.expect("query"), count);
    }
    let teams_of = teams::teams_of(&mut tx, acme, ada).await.expect("lists");
    assert_eq!(teams_of, [(crew, name("crew")), (owners, name("owners")), (ship, name("ship"))]);
    assert_eq!(teams::teams_of(&mut tx, acme, bob).await.expect("lists"), [(crew, name("crew"))]);
    assert_eq!(teams::teams_of(&mut tx, acme, eve).await.expect("lists"), []);
}

async fn permissions_are_set_and_taken_away(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let (crew, other) = (team(db, acme, "crew", &[]).await, team(db, acme, "other", &[]).await);
    let mut ids = Vec::new();
    for text in ["web", "api", "w-b"] {
        ids.push(repository(db, "acme", text).await);
    }
    let web = ids[0];
    let mut tx = begin(db).await;
    for (before, permission) in [(None, Permission::Write), (Some(Permission::Write), Permission::Read)] {
        assert_eq!(teams::set_permission(&mut tx, crew, web, permission).await.expect("sets"), before);
        assert_eq!(teams::team_permission(&mut tx, crew, web).await.expect("query"), Some(permission), "less than before is less");
    }
    assert_eq!(teams::set_permission(&mut tx, other, web, Permission::Admin).await.expect("sets"), None);
    for id in &ids[1..] {
        teams::set_permission(&mut tx, crew, *id, Permission::Admin).await.expect("sets");
    }
    let mut seen: Vec<(String, Permission)> = Vec::new();
    loop {
        let page = teams::list_repositories(&mut tx, crew, seen.last().map(|(name, _)| name.as_str()), 2).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2 && page.iter().all(|(found, _)| found.namespace.as_str() == "acme" && found.account == acme));
        seen.extend(page.into_iter().map(|(found, permission)| (found.name.as_str().to_owned(), permission)));
    }
    let wanted = [("api", Permission::Admin), ("w-b", Permission::Admin), ("web", Permission::Read)];
    assert_eq!(seen, wanted.map(|(name, permission)| (name.to_owned(), permission)));
    assert!(teams::remove_permission(&mut tx, crew, web).await.expect("removes"));
    assert!(!teams::remove_permission(&mut tx, crew, web).await.expect("had none"));
    assert_eq!(teams::team_permission(&mut tx, crew, web).await.expect("query"), None);
    assert_eq!(teams::team_permission(&mut tx, other, web).await.expect("query"), Some(Permission::Admin), "the other team's stays");
    done(tx).await;
    for (team, repository) in [(crew, RepositoryId::new()), (TeamId::new(), web)] {
        let nothing = teams::set_permission(&mut begin(db).await, team, repository, Permission::Read).await;
        assert!(matches!(nothing, Err(StoreError::Conflict(_))), "{nothing:?}");
    }
}

async fn permission(db: &Db, account: AccountId, organization: AccountId, repository: RepositoryId) -> Option<Permission> {
    teams::permission(&mut look(db).await, account, organization, repository).await.expect("query")
}

async fn the_most_that_a_team_gives_counts(db: &Db) {
    let ((acme, owners), (zoo, keepers)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    let (web, api, theirs) = (repository(db, "acme", "web").await, repository(db, "acme", "api").await, repository(db, "zoo", "web").await);
    let (first, second) = (team(db, acme, "first", &[ada, bob]).await, team(db, acme, "second", &[ada]).await);
    assert_eq!(permission(db, ada, acme, web).await, None, "a team alone gives nothing");
    let sets = async |id, repository, permission| {
        let mut tx = begin(db).await;
        teams::set_permission(&mut tx, id, repository, permission).await.expect("sets");
        done(tx).await;
    };
    sets(first, web, Permission::Read).await;
    assert_eq!(
        (permission(db, ada, acme, web).await, permission(db, bob, acme, web).await),
        (Some(Permission::Read), Some(Permission::Read))
    );
    sets(second, web, Permission::Admin).await;
    assert_eq!(
        (permission(db, ada, acme, web).await, permission(db, bob, acme, web).await),
        (Some(Permission::Admin), Some(Permission::Read))
    );
    sets(first, web, Permission::Write).await;
    assert_eq!(
        (permission(db, ada, acme, web).await, permission(db, bob, acme, web).await),
        (Some(Permission::Admin), Some(Permission::Write))
    );
    for nothing in [permission(db, ada, acme, api).await, permission(db, eve, acme, web).await, permission(db, ada, zoo, theirs).await] {
        assert_eq!(nothing, None);
    }
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, bob, NOW).await.expect("adds");
    teams::add_member(&mut tx, keepers, eve, NOW).await.expect("adds");
    done(tx).await;
    for (who, organization, repository, wanted) in [
        (bob, acme, web, Some(Permission::Owner)),
        (bob, acme, api, Some(Permission::Owner)),
        (bob, zoo, theirs, None),
        (eve, zoo, theirs, Some(Permission::Owner)),
        (eve, acme, web, None),
    ] {
        assert_eq!(permission(db, who, organization, repository).await, wanted);
    }
}

async fn a_right_ends_with_what_gave_it(db: &Db) {
    let (acme, owners) = organization(db, "acme").await;
    let (ada, web) = (account(db, "ada").await, repository(db, "acme", "web").await);
    let crew = team(db, acme, "crew", &[ada]).await;
    let mut tx = begin(db).await;
    teams::set_permission(&mut tx, crew, web, Permission::Write).await.expect("sets");
    teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
    for (wanted, change) in [(Some(Permission::Owner), 0), (Some(Permission::Write), 1), (None, 2)] {
        match change {
            0 => {}
            1 => assert!(teams::remove_member(&mut tx, owners, ada).await.expect("removes")),
            _ => assert!(teams::remove_permission(&mut tx, crew, web).await.expect("removes")),
        }
        assert_eq!(teams::permission(&mut tx, ada, acme, web).await.expect("query"), wanted);
    }
    teams::set_permission(&mut tx, crew, web, Permission::Write).await.expect("sets");
    assert!(repositories::delete(&mut tx, web).await.expect("deletes"));
    done(tx).await;
    let again = repository(db, "acme", "web").await;
    assert_eq!(permission(db, ada, acme, again).await, None, "a repository of the same name is another");
    let mut tx = begin(db).await;
    teams::set_permission(&mut tx, crew, again, Permission::Write).await.expect("sets");
    assert!(accounts::delete(&mut tx, ada).await.expect("deletes"));
    done(tx).await;
    let other = account(db, "ada").await;
    assert_eq!(permission(db, other, acme, again).await, None, "a person of the same name is another");
    assert_eq!(teams::count_members(&mut look(db).await, crew).await.expect("query"), 0);
}

async fn what_somebody_is_in_an_organization(db: &Db) {
    let ((acme, owners), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    team(db, acme, "a-team", &[ada, bob]).await;
    team(db, acme, "z-team", &[ada]).await;
    team(db, zoo, "crew", &[bob]).await;
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
    for (organization, who, wanted) in [
        (acme, ada, Some(Membership::Owner)),
        (acme, bob, Some(Membership::Member)),
        (acme, eve, None),
        (zoo, ada, None),
        (zoo, bob, Some(Membership::Member)),
        (acme, acme, None),
        (AccountId::new(), ada, None),
    ] {
        assert_eq!(teams::membership(&mut tx, organization, who).await.expect("query"), wanted);
    }
}

async fn organizations_are_listed_by_name(db: &Db) {
    let ada = account(db, "ada").await;
    for (text, owner) in [("zoo", true), ("acme", false), ("a-1", true), ("a0", false)] {
        let (id, owners) = organization(db, text).await;
        team(db, id, "crew", &[ada]).await;
        if owner {
            let mut tx = begin(db).await;
            teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
            done(tx).await;
        }
    }
    organization(db, "other").await;
    let found = teams::organizations_of(&mut look(db).await, ada).await.expect("lists");
    let found: Vec<_> = found.iter().map(|(account, membership)| (account.name.as_str(), *membership)).collect();
    let wanted = [("a-1", Membership::Owner), ("a0", Membership::Member), ("acme", Membership::Member), ("zoo", Membership::Owner)];
    assert_eq!(found, wanted, "each once");
    assert!(teams::organizations_of(&mut look(db).await, AccountId::new()).await.expect("lists").is_empty());
}

async fn an_account_leaves_every_team(db: &Db) {
    let ((acme, _), (zoo, _)) = (organization(db, "acme").await, organization(db, "zoo").await);
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (crew, keepers) = (team(db, acme, "crew", &[ada, bob]).await, team(db, zoo, "keepers", &[ada]).await);
    let mut tx = begin(db).await;
    for removed in [2, 0] {
        assert_eq!(teams::remove_everywhere(&mut tx, ada).await.expect("removes"), removed);
    }
    assert_eq!(teams::count_members(&mut tx, crew).await.expect("query"), 1);
    assert_eq!(teams::count_members(&mut tx, keepers).await.expect("query"), 0);
}

async fn sessions_of_a_team_are_renewed(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let (ada, bob, eve) = (account(db, "ada").await, account(db, "bob").await, account(db, "eve").await);
    let crew = team(db, acme, "crew", &[ada, bob]).await;
    team(db, acme, "other", &[bob, eve]).await;
    let mut tx = begin(db).await;
    let mut ids = Vec::new();
    for who in [ada, bob, eve, ada] {
        let token = secret(TokenKind::Session);
        let new = NewSession { account: who, token: &token, address: "", user_agent: "", expires_at: after(60) };
        ids.push(sessions::insert(&mut tx, &new, NOW).await.expect("inserts"));
    }
    sessions::mark_renew_of_team(&mut tx, crew).await.expect("writes");
    for (id, renew) in ids.into_iter().zip([true, true, false, true]) {
        assert_eq!(sessions::get(&mut tx, id, NOW).await.expect("query").expect("stands").renew, renew);
    }
}

async fn sole_owners_are_told_of(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    for (text, owners) in [("zoo", vec![ada]), ("acme", vec![ada]), ("both", vec![ada, bob]), ("theirs", vec![bob])] {
        let (id, team_id) = organization(db, text).await;
        let mut tx = begin(db).await;
        for owner in owners {
            teams::add_member(&mut tx, team_id, owner, NOW).await.expect("adds");
        }
        done(tx).await;
        // Being the only one in another team is nothing.
        team(db, id, "crew", &[ada]).await;
    }
    let mut tx = begin(db).await;
    teams::lock_owned(&mut tx, ada).await.expect("locks");
    let named = async |tx: &mut ReadTx, who| {
        let found = teams::solely_owned(tx, who).await.expect("lists");
        found.into_iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(named(&mut tx, ada).await, ["acme", "zoo"]);
    assert_eq!(named(&mut tx, bob).await, ["theirs"]);
    assert!(named(&mut tx, AccountId::new()).await.is_empty());
}

/// An organization with two owners.
async fn owned_by_two(db: &Db, text: &str) -> (TeamId, [AccountId; 2]) {
    let (_, owners) = organization(db, text).await;
    let both = [account(db, &format!("{text}-ada")).await, account(db, &format!("{text}-bob")).await];
    let mut tx = begin(db).await;
    for id in both {
        teams::add_member(&mut tx, owners, id, NOW).await.expect("adds");
    }
    done(tx).await;
    (owners, both)
}

/// As the application does it: hold the team, count, then take away.
async fn two_owners_do_not_both_leave(db: &Db) {
    for round in 0..20 {
        let (owners, both) = owned_by_two(db, &format!("acme{round}")).await;
        let start = Arc::new(Barrier::new(2));
        let mut leaving = tokio::task::JoinSet::new();
        for id in both {
            let (db, start) = (db.clone(), start.clone());
            leaving.spawn(async move {
                start.wait().await;
                let mut tx = begin(&db).await;
                assert!(teams::lock(&mut tx, owners).await.expect("locks"));
                if teams::count_members(&mut tx, owners).await.expect("query") < 2 {
                    return false;
                }
                assert!(teams::remove_member(&mut tx, owners, id).await.expect("removes"));
                done(tx).await;
                true
            });
        }
        let left = leaving.join_all().await;
        assert_eq!(left.iter().filter(|left| **left).count(), 1, "{left:?}");
        assert_eq!(teams::count_members(&mut look(db).await, owners).await.expect("query"), 1);
    }
}

async fn two_owners_do_not_both_delete_their_accounts(db: &Db) {
    for round in 0..10 {
        let (owners, both) = owned_by_two(db, &format!("acme{round}")).await;
        let start = Arc::new(Barrier::new(2));
        let mut leaving = tokio::task::JoinSet::new();
        for id in both {
            let (db, start) = (db.clone(), start.clone());
            leaving.spawn(async move {
                start.wait().await;
                let mut tx = begin(&db).await;
                assert!(accounts::lock(&mut tx, id).await.expect("locks"));
                teams::lock_owned(&mut tx, id).await.expect("locks");
                if !teams::solely_owned(&mut tx, id).await.expect("lists").is_empty() {
                    return false;
                }
                assert!(accounts::delete(&mut tx, id).await.expect("deletes"));
                done(tx).await;
                true
            });
        }
        let left = leaving.join_all().await;
        assert_eq!(left.iter().filter(|left| **left).count(), 1, "{left:?}");
        assert_eq!(teams::count_members(&mut look(db).await, owners).await.expect("query"), 1);
    }
}

/// Bob deletes his account while ada hands the organization over to him: he is no owner yet when he begins, and the only one when he ends.
async fn who_becomes_the_last_owner_meanwhile_is_seen_as_the_last(db: &Db) {
    let (_, owners) = organization(db, "acme").await;
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
    done(tx).await;
    let mut handing_over = begin(db).await;
    assert!(teams::lock(&mut handing_over, owners).await.expect("locks"));
    teams::add_member(&mut handing_over, owners, bob, NOW).await.expect("adds");
    teams::remove_member(&mut handing_over, owners, ada).await.expect("removes");
    let (looked, mut has_looked) = oneshot::channel();
    let deleting = tokio::spawn({
        let db = db.clone();
        async move {
            let mut tx = begin(&db).await;
            // Whoever is being put into a team is held by it; so this waits, and what comes after sees it.
            assert!(accounts::lock(&mut tx, bob).await.expect("locks"));
            teams::lock_owned(&mut tx, bob).await.expect("locks");
            let owned = teams::solely_owned(&mut tx, bob).await.expect("lists");
            looked.send(()).ok();
            if owned.is_empty() {
                assert!(accounts::delete(&mut tx, bob).await.expect("deletes"));
                done(tx).await;
            }
            owned
        }
    });
    // Whoever waits, as it should be, says nothing until the hand-over is done.
    let early = tokio::time::timeout(Duration::from_millis(500), &mut has_looked).await;
    done(handing_over).await;
    let owned = deleting.await.expect("no panic");
    assert!(early.is_err(), "it looked before it could know");
    assert_eq!(owned, ["acme".parse().expect("name")]);
    assert_eq!(teams::count_members(&mut look(db).await, owners).await.expect("query"), 1);
}

async fn admins_of_one_read_the_other_or_not(db: &Db) {
    let (acme, _) = organization(db, "acme").await;
    let (app, base) = (repository(db, "acme", "app").await, repository(db, "acme", "base").await);
    let mut tx = begin(db).await;
    let one = teams::insert(&mut tx, acme, &name("one"), "", NOW).await.expect("inserts");
    let two = teams::insert(&mut tx, acme, &name("two"), "", NOW).await.expect("inserts");
    assert!(teams::admins_read(&mut tx, app, base).await.expect("query"), "no team writes the settings");
    for (team, of, permission, all_read) in [
        (one, app, Permission::Write, true),
        (one, app, Permission::Admin, false),
        (one, base, Permission::Read, true),
        (two, app, Permission::Admin, false),
        (two, base, Permission::Admin, true),
    ] {
        teams::set_permission(&mut tx, team, of, permission).await.expect("sets");
        assert_eq!(teams::admins_read(&mut tx, app, base).await.expect("query"), all_read, "{permission}");
    }
    assert!(teams::remove_permission(&mut tx, one, base).await.expect("removes"));
    assert!(!teams::admins_read(&mut tx, app, base).await.expect("query"));
}
