//! Accounts, the names they hold, OAuth flows, settings.

use slipway_model::{AccountId, AccountKind, AccountName, TokenKind};
use slipway_store::accounts::{self, NewAccount, OauthFlow};
use slipway_store::{Db, StoreError, audit, repositories, second_factors, sessions, teams, tokens};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, organization, provider, repository, secret, team, token};

on_both! {
    an_account_is_found_by_id_and_name;
    a_name_is_given_once;
    names_that_look_alike_are_one;
    look_alikes_at_once;
    a_former_name_leads_on;
    a_former_name_is_given_to_nobody_else;
    an_account_goes_back_to_its_former_name;
    a_deleted_account_frees_its_names;
    names_are_counted;
    organizations_are_counted_by_who_made_them;
    everything_of_an_account_goes_with_it;
    accounts_are_listed_by_name_and_kind;
    what_people_see_is_replaced;
    administrators_are_counted;
    two_administrators_do_not_both_give_up;
    a_user_becomes_an_organization;
    a_flow_is_taken_once;
    a_flow_ends;
    flows_that_have_ended_are_removed;
    settings_are_replaced;
}

fn name(text: &str) -> AccountName {
    text.parse().expect("name")
}

async fn add(db: &Db, text: &str) -> Result<AccountId, StoreError> {
    let mut tx = begin(db).await;
    let name = name(text);
    let id = accounts::insert(&mut tx, &NewAccount::user(&name), NOW).await?;
    tx.commit().await?;
    Ok(id)
}

async fn rename(db: &Db, id: AccountId, text: &str) -> Result<(), StoreError> {
    let mut tx = begin(db).await;
    accounts::rename(&mut tx, id, &name(text), after(1)).await?;
    tx.commit().await
}

/// Who is found under a name: the account's id and its current name.
async fn whose(db: &Db, text: &str) -> Option<(AccountId, String)> {
    let found = accounts::find(&mut look(db).await, &name(text)).await.expect("query");
    found.map(|account| (account.id, account.name.as_str().to_owned()))
}

async fn in_the_way(db: &Db, text: &str) -> Option<String> {
    let found = accounts::name_in_the_way(&mut look(db).await, &name(text)).await.expect("query");
    found.map(|name| name.as_str().to_owned())
}

async fn an_account_is_found_by_id_and_name(db: &Db) {
    let mut tx = begin(db).await;
    assert_eq!(accounts::count_accounts(&mut tx).await.expect("query"), 0);
    let ada = name("ada");
    let new = NewAccount {
        kind: AccountKind::Service,
        name: &ada,
        display_name: ODD,
        email: Some(ODD),
        is_admin: true,
        password_hash: Some("$argon2id$x"),
        created_by: None,
    };
    let id = accounts::insert(&mut tx, &new, NOW).await.expect("inserts");
    done(tx).await;
    account(db, "bob").await;
    let mut tx = begin(db).await;
    let found = accounts::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.id, found.kind, found.name.as_str(), found.display_name.as_str()), (id, AccountKind::Service, "ada", ODD));
    assert_eq!((found.email.as_deref(), found.is_admin, found.created_at), (Some(ODD), true, NOW));
    assert_eq!(accounts::get_by_name(&mut tx, &ada).await.expect("query").expect("stands").id, id);
    assert_eq!(accounts::find(&mut tx, &ada).await.expect("query").expect("stands").id, id);
    assert!(accounts::get_by_name(&mut tx, &name("ad")).await.expect("query").is_none());
    assert!(accounts::find(&mut tx, &name("ad")).await.expect("query").is_none());
    assert!(accounts::get(&mut tx, AccountId::new()).await.expect("query").is_none());
    let bob = accounts::get_by_name(&mut tx, &name("bob")).await.expect("query").expect("stands");
    assert_eq!((bob.kind, bob.display_name.as_str(), bob.email, bob.is_admin), (AccountKind::User, "bob", None, false));
    assert_eq!(accounts::get_password_hash(&mut tx, bob.id).await.expect("query"), None);
    accounts::set_password_hash(&mut tx, id, "$argon2id$y").await.expect("writes");
    assert_eq!(accounts::get_password_hash(&mut tx, id).await.expect("query").as_deref(), Some("$argon2id$y"));
    assert_eq!(accounts::get_password_hash(&mut tx, bob.id).await.expect("query"), None, "another's stays");
    assert_eq!(accounts::get_password_hash(&mut tx, AccountId::new()).await.expect("query"), None);
    assert_eq!(accounts::count_accounts(&mut tx).await.expect("query"), 2);
}

async fn a_name_is_given_once(db: &Db) {
    account(db, "ada").await;
    let again = add(db, "ada").await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert_eq!(accounts::count_accounts(&mut look(db).await).await.expect("query"), 1);
}

async fn names_that_look_alike_are_one(db: &Db) {
    let held = ["acme-1", "modern", "vvide", "a0--b"];
    for text in held {
        add(db, text).await.expect("a new name");
    }
    for (alike, held) in
        [("acme_l", held[0]), ("acme--l", held[0]), ("modem", held[1]), ("wide", held[2]), ("ao_b", held[3]), ("a0-b", held[3])]
    {
        assert_eq!(in_the_way(db, alike).await.as_deref(), Some(held), "{alike}");
        let refused = add(db, alike).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{alike}: {refused:?}");
        assert_eq!(whose(db, alike).await, None, "{alike} is no other way to say {held}");
    }
    let bob = add(db, "bob").await.expect("a new name");
    let refused = rename(db, bob, "acme-l").await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(whose(db, "bob").await, Some((bob, "bob".into())), "nothing of a refused rename stands");
    assert_eq!(in_the_way(db, "acme-2").await, None);
    add(db, "acme-2").await.expect("looks otherwise");
    assert_eq!(accounts::count_accounts(&mut look(db).await).await.expect("query"), 6);
}

async fn look_alikes_at_once(db: &Db) {
    for round in 0..5 {
        let mut askers = tokio::task::JoinSet::new();
        for text in ["acme-1", "acme-l", "acme_1", "acme_l"] {
            let (db, text) = (db.clone(), format!("{text}x{round}"));
            askers.spawn(async move { add(&db, &text).await });
        }
        let answers = askers.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(StoreError::Conflict(_)))).count(), 3, "{answers:?}");
    }
}

async fn a_former_name_leads_on(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let web = repository(db, "ada", "web").await;
    rename(db, ada, "eve").await.expect("renames");
    rename(db, ada, "zoe").await.expect("renames");
    for text in ["ada", "eve", "zoe"] {
        assert_eq!(whose(db, text).await, Some((ada, "zoe".into())), "{text}");
        let mut tx = look(db).await;
        let found = repositories::get_by_name(&mut tx, &name(text), &"web".parse().expect("name")).await.expect("query").expect("stands");
        assert_eq!((found.id, found.namespace.as_str()), (web, "zoe"), "{text}");
        let current = accounts::get_by_name(&mut tx, &name(text)).await.expect("query");
        assert_eq!(current.is_some(), text == "zoe", "only the current name is the name: {text}");
    }
    assert_eq!(whose(db, "bob").await, Some((bob, "bob".into())));
    assert_eq!(accounts::get(&mut look(db).await, ada).await.expect("query").expect("stands").created_at, NOW);
}

async fn a_former_name_is_given_to_nobody_else(db: &Db) {
    let (ada, bob) = (account(db, "ada-1").await, account(db, "bob").await);
    rename(db, ada, "zoe").await.expect("renames");
    assert_eq!(in_the_way(db, "ada_l").await.as_deref(), Some("ada-1"));
    for text in ["ada-1", "ada-l", "ada_1", "zoe"] {
        for refused in [add(db, text).await.map(|_| ()), rename(db, bob, text).await] {
            assert!(matches!(refused, Err(StoreError::Conflict(_))), "{text}: {refused:?}");
        }
    }
    assert_eq!(whose(db, "ada-1").await, Some((ada, "zoe".into())));
    assert_eq!(whose(db, "bob").await, Some((bob, "bob".into())));
}

async fn an_account_goes_back_to_its_former_name(db: &Db) {
    let ada = account(db, "ada-1").await;
    rename(db, ada, "zoe").await.expect("renames");
    rename(db, ada, "ada-1").await.expect("goes back");
    assert_eq!(whose(db, "zoe").await, Some((ada, "ada-1".into())), "the way back leads on too");
    rename(db, ada, "ada-1").await.expect("the same once more changes nothing");
    assert_eq!(whose(db, "ada-1").await, Some((ada, "ada-1".into())));
    // Among its own look-alikes the new one stands in for the one before.
    rename(db, ada, "ada_l").await.expect("renames");
    assert_eq!(whose(db, "ada_l").await, Some((ada, "ada_l".into())));
    assert_eq!(whose(db, "ada-1").await, None);
    assert_eq!(whose(db, "zoe").await, Some((ada, "ada_l".into())));
    assert_eq!(in_the_way(db, "ada-1").await.as_deref(), Some("ada_l"), "and is still its own");
}

async fn a_deleted_account_frees_its_names(db: &Db) {
    let ada = account(db, "ada").await;
    repository(db, "ada", "web").await;
    rename(db, ada, "zoe").await.expect("renames");
    let mut tx = begin(db).await;
    assert!(accounts::lock(&mut tx, ada).await.expect("locks"));
    assert!(accounts::delete(&mut tx, ada).await.expect("deletes"));
    assert!(!accounts::delete(&mut tx, ada).await.expect("deletes"));
    assert!(!accounts::lock(&mut tx, ada).await.expect("nothing to lock"));
    done(tx).await;
    for text in ["ada", "zoe"] {
        assert_eq!((whose(db, text).await, in_the_way(db, text).await), (None, None));
        let again = add(db, text).await.expect("free");
        assert_ne!(again, ada);
        assert_eq!(whose(db, text).await, Some((again, text.into())));
        let mut tx = look(db).await;
        assert!(repositories::get_by_name(&mut tx, &name(text), &"web".parse().expect("name")).await.expect("query").is_none());
    }
}

async fn names_are_counted(db: &Db) {
    let ada = account(db, "ada-1").await;
    account(db, "bob").await;
    for (to, names) in [("eve", 2), ("zoe", 3), ("eve", 3), ("ada_l", 3)] {
        rename(db, ada, to).await.expect("renames");
        assert_eq!(accounts::count_names(&mut look(db).await, ada).await.expect("query"), names, "{to}");
    }
    assert_eq!(accounts::count_names(&mut look(db).await, AccountId::new()).await.expect("query"), 0);
}

async fn organizations_are_counted_by_who_made_them(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    organization(db, "nobodys").await;
    let mut made = Vec::new();
    for text in ["acme", "zoo"] {
        let text = name(text);
        let new = NewAccount { kind: AccountKind::Organization, created_by: Some(ada), ..NewAccount::user(&text) };
        let mut tx = begin(db).await;
        made.push(accounts::insert(&mut tx, &new, NOW).await.expect("inserts"));
        done(tx).await;
    }
    let mut tx = begin(db).await;
    assert_eq!(accounts::count_created_by(&mut tx, ada).await.expect("query"), 2);
    assert_eq!(accounts::count_created_by(&mut tx, bob).await.expect("query"), 0);
    assert!(accounts::delete(&mut tx, made[0]).await.expect("deletes"));
    assert_eq!(accounts::count_created_by(&mut tx, ada).await.expect("query"), 1, "only those that stand");
    assert!(accounts::delete(&mut tx, ada).await.expect("deletes"));
    assert!(accounts::get(&mut tx, made[1]).await.expect("query").is_some(), "what somebody made outlives them");
}

async fn everything_of_an_account_goes_with_it(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (acme, owners) = organization(db, "acme").await;
    let (theirs, other) = (repository(db, "acme", "web").await, repository(db, "bob", "web").await);
    let crew = team(db, acme, "crew", &[ada, bob]).await;
    let (goes, goes_hash) = token(db, acme, Some(&[theirs])).await;
    let (_, limited_hash) = token(db, bob, Some(&[theirs, other])).await;
    let mut tx = begin(db).await;
    teams::set_permission(&mut tx, crew, theirs, slipway_model::Permission::Read).await.expect("sets");
    let browser = secret(TokenKind::Session);
    let session = sessions::NewSession { account: acme, token: &browser, address: "", user_agent: "", expires_at: after(60) };
    sessions::insert(&mut tx, &session, NOW).await.expect("inserts");
    let note = crate::audit::entry(Some(acme), "organization.create", NOW);
    audit::insert(&mut tx, &note).await.expect("inserts");
    assert!(accounts::delete(&mut tx, acme).await.expect("deletes"));
    done(tx).await;
    let mut tx = look(db).await;
    assert!(repositories::get(&mut tx, theirs).await.expect("query").is_none());
    for gone in [owners, crew] {
        assert!(teams::get(&mut tx, gone).await.expect("query").is_none());
        assert_eq!(teams::count_members(&mut tx, gone).await.expect("query"), 0);
    }
    assert!(!tokens::stands(&mut tx, goes, NOW).await.expect("query"));
    assert!(tokens::get_by_hash(&mut tx, &goes_hash, NOW).await.expect("query").is_none());
    assert!(teams::organizations_of(&mut tx, ada).await.expect("lists").is_empty());
    assert!(sessions::get_by_token(&mut tx, &browser, NOW).await.expect("query").is_none());
    let left = tokens::get_by_hash(&mut tx, &limited_hash, NOW).await.expect("query").expect("another's stays");
    assert!(left.is_limited);
    assert_eq!(tokens::list_repositories(&mut tx, left.id).await.expect("lists"), ["bob/web"]);
    let log = audit::list(&mut tx, audit::Log::Of(acme), &audit::Filter::default(), None, 10).await.expect("lists");
    assert_eq!(log.iter().map(|entry| entry.id).collect::<Vec<_>>(), [note.id], "the log outlives what it tells of");
    assert_eq!(accounts::count_accounts(&mut tx).await.expect("query"), 2);
}

async fn accounts_are_listed_by_name_and_kind(db: &Db) {
    for text in ["bob", "ada", "a-z", "az", "a0"] {
        account(db, text).await;
    }
    for text in ["acme", "zoo"] {
        organization(db, text).await;
    }
    let mut tx = begin(db).await;
    let robot = name("robot");
    accounts::insert(&mut tx, &NewAccount { kind: AccountKind::Service, ..NewAccount::user(&robot) }, NOW).await.expect("inserts");
    done(tx).await;
    let mut tx = look(db).await;
    for (kind, wanted) in [
        (None, vec!["a-z", "a0", "acme", "ada", "az", "bob", "robot", "zoo"]),
        (Some(AccountKind::User), vec!["a-z", "a0", "ada", "az", "bob"]),
        (Some(AccountKind::Organization), vec!["acme", "zoo"]),
        (Some(AccountKind::Service), vec!["robot"]),
    ] {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let page = accounts::list(&mut tx, kind, seen.last().map(String::as_str), 2).await.expect("lists");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 2 && page.iter().all(|found| kind.is_none_or(|kind| found.kind == kind)));
            seen.extend(page.into_iter().map(|found| found.name.as_str().to_owned()));
        }
        assert_eq!(seen, wanted, "{kind:?}");
    }
    assert!(accounts::list(&mut tx, None, Some(ODD), 0).await.expect("lists").is_empty());
}

async fn what_people_see_is_replaced(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    accounts::set_display_name(&mut tx, ada, &format!("{ODD}\0")).await.expect("writes");
    accounts::set_email(&mut tx, ada, Some("ada@example.org")).await.expect("writes");
    accounts::set_email(&mut tx, bob, Some("ada@example.org")).await.expect("an address is no identity: two may have one");
    let found = accounts::get(&mut tx, ada).await.expect("query").expect("stands");
    assert_eq!((found.display_name, found.email.as_deref()), (format!("{ODD}\u{fffd}"), Some("ada@example.org")));
    assert_eq!(accounts::get(&mut tx, bob).await.expect("query").expect("stands").display_name, "bob");
    accounts::set_email(&mut tx, ada, None).await.expect("writes");
    assert_eq!(accounts::get(&mut tx, ada).await.expect("query").expect("stands").email, None);
    assert!(accounts::get(&mut tx, bob).await.expect("query").expect("stands").email.is_some());
}

async fn administrators_are_counted(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    assert_eq!(accounts::count_administrators(&mut tx).await.expect("query"), 0);
    for (id, admin, left) in [(ada, true, 1), (bob, true, 2), (bob, true, 2), (ada, false, 1), (bob, false, 0)] {
        accounts::set_admin(&mut tx, id, admin).await.expect("writes");
        assert_eq!(accounts::get(&mut tx, id).await.expect("query").expect("stands").is_admin, admin);
        assert_eq!(accounts::count_administrators(&mut tx).await.expect("query"), left);
    }
}

/// As the application does it: wait for the others, count, then give up.
async fn two_administrators_do_not_both_give_up(db: &Db) {
    let both = [account(db, "ada").await, account(db, "bob").await];
    for _ in 0..10 {
        let mut tx = begin(db).await;
        for id in both {
            accounts::set_admin(&mut tx, id, true).await.expect("writes");
        }
        done(tx).await;
        let start = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        let mut askers = tokio::task::JoinSet::new();
        for id in both {
            let (db, start) = (db.clone(), start.clone());
            askers.spawn(async move {
                start.wait().await;
                let mut tx = begin(&db).await;
                accounts::lock_administrators(&mut tx).await.expect("locks");
                if accounts::count_administrators(&mut tx).await.expect("query") < 2 {
                    return false;
                }
                accounts::set_admin(&mut tx, id, false).await.expect("writes");
                done(tx).await;
                true
            });
        }
        let given_up = askers.join_all().await;
        assert_eq!(given_up.iter().filter(|done| **done).count(), 1, "{given_up:?}");
        assert_eq!(accounts::count_administrators(&mut look(db).await).await.expect("query"), 1);
    }
}

async fn a_user_becomes_an_organization(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let web = repository(db, "ada", "web").await;
    let (acme, owners) = organization(db, "acme").await;
    let crew = team(db, acme, "crew", &[ada, bob]).await;
    let ((mine, _), (theirs, _)) = (token(db, ada, None).await, token(db, bob, Some(&[web])).await);
    let (browser, state) = (secret(TokenKind::Session), secret(TokenKind::State));
    let mut tx = begin(db).await;
    let session = sessions::NewSession { account: ada, token: &browser, address: "", user_agent: "", expires_at: after(60) };
    sessions::insert(&mut tx, &session, NOW).await.expect("inserts");
    accounts::insert_flow(&mut tx, &state, &flow(ada), NOW, after(60)).await.expect("inserts");
    accounts::set_admin(&mut tx, ada, true).await.expect("writes");
    accounts::set_email(&mut tx, ada, Some("ada@example.org")).await.expect("writes");
    accounts::set_password_hash(&mut tx, ada, "$argon2id$x").await.expect("writes");
    second_factors::begin(&mut tx, ada, b"sealed", NOW).await.expect("writes");
    teams::add_member(&mut tx, owners, ada, NOW).await.expect("adds");
    accounts::convert(&mut tx, ada).await.expect("converts");
    done(tx).await;
    let mut tx = begin(db).await;
    let found = accounts::get(&mut tx, ada).await.expect("query").expect("stands");
    assert_eq!((found.kind, found.name.as_str(), found.is_admin, found.email), (AccountKind::Organization, "ada", false, None));
    assert_eq!(accounts::get_password_hash(&mut tx, ada).await.expect("query"), None);
    assert_eq!(repositories::get(&mut tx, web).await.expect("query").expect("kept").account, ada);
    assert!(sessions::get_by_token(&mut tx, &browser, NOW).await.expect("query").is_none());
    assert!(accounts::take_flow(&mut tx, &state, NOW).await.expect("query").is_none());
    assert!(second_factors::get(&mut tx, ada).await.expect("query").is_none());
    assert!(!tokens::stands(&mut tx, mine, NOW).await.expect("query"));
    assert!(tokens::covers(&mut tx, theirs, web).await.expect("query"), "another's token stays");
    assert!(teams::organizations_of(&mut tx, ada).await.expect("lists").is_empty());
    assert!(teams::is_member(&mut tx, crew, bob).await.expect("query"), "another's place stays");
}

fn flow(account: AccountId) -> OauthFlow {
    OauthFlow {
        account,
        provider: provider(),
        initiator: "session:x".into(),
        verifier_sealed: vec![0, 1, 255],
        access: slipway_model::AccessLevel::ReadOnly,
        linked_as: slipway_model::LinkedAs::ServiceUser,
    }
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
        assert_eq!((taken[0].access.as_str(), taken[0].linked_as.as_str()), ("read_only", "service_user"));
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

async fn flows_that_have_ended_are_removed(db: &Db) {
    let ada = account(db, "ada").await;
    let (ends, stays) = (secret(TokenKind::State), secret(TokenKind::State));
    let mut tx = begin(db).await;
    for (state, end) in [(&ends, after(10)), (&stays, after(11))] {
        accounts::insert_flow(&mut tx, state, &flow(ada), NOW, end).await.expect("inserts");
    }
    for (second, removed) in [(9, 0), (10, 1), (10, 0)] {
        assert_eq!(accounts::delete_expired_flows(&mut tx, after(second)).await.expect("deletes"), removed);
    }
    // The time before shows that the row is gone, not only over.
    assert!(accounts::take_flow(&mut tx, &ends, NOW).await.expect("query").is_none());
    assert!(accounts::take_flow(&mut tx, &stays, NOW).await.expect("query").is_some());
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
