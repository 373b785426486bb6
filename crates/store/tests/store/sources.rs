//! What links see at providers, and what is known of the sources of autobuilds.

use slipway_model::{LinkId, LinkState, NamespaceAccess};
use slipway_store::links::{self, Link};
use slipway_store::source_namespaces::{self, Namespace};
use slipway_store::source_repositories::{self, SourceRow, Within};
use slipway_store::{Db, WriteTx, sources};

use crate::fixture::{NOW, ODD, account, after, begin, done, look, provider, world};
use crate::links::link;

on_both! {
    namespaces_keep_their_sweeps;
    a_namespace_is_swept_by_one;
    whether_others_see_a_namespace_is_known;
    names_are_searched_by_parts_page_by_page;
    a_repository_that_two_links_see_is_found_once;
    what_a_sweep_did_not_show_goes;
    a_source_is_written_with_its_hooks_and_keys;
    a_takeover_is_written_once;
    a_new_link_serves_what_nobody_serves;
}

async fn linked(db: &Db, name: &str) -> Link {
    let link = link(account(db, name).await, "octo");
    let mut tx = begin(db).await;
    assert!(links::upsert(&mut tx, &link).await.expect("writes"));
    done(tx).await;
    link
}

fn namespace(link: LinkId, name: &str) -> Namespace {
    Namespace {
        link,
        remote_id: format!("id of {name}"),
        name: name.into(),
        kind: "organization".into(),
        access: NamespaceAccess::Granted,
        grant_url: Some("https://example.com".into()),
        note: Some(ODD.into()),
        seen_at: NOW,
        swept_at: None,
        next_sweep_at: NOW,
        sweep_error: None,
    }
}

fn row(link: LinkId, id: &str, full_name: &str) -> SourceRow {
    SourceRow {
        link,
        remote_id: id.into(),
        namespace_id: format!("id of {}", full_name.split('/').next().expect("owner")),
        full_name: full_name.into(),
        default_branch: "main".into(),
        private: true,
        archived: false,
        pushed: Some("2026".into()),
        seen_at: NOW,
    }
}

async fn namespaces_keep_their_sweeps(db: &Db) {
    let link = linked(db, "ada").await;
    let (acme, me) = (namespace(link.id, "acme"), Namespace { kind: "user".into(), ..namespace(link.id, "zoe") });
    let mut tx = begin(db).await;
    for one in [&acme, &me] {
        source_namespaces::upsert(&mut tx, one).await.expect("writes");
    }
    assert_eq!(source_namespaces::list(&mut tx, link.id).await.expect("lists"), [me.clone(), acme.clone()], "the person first");
    source_namespaces::set_swept(&mut tx, link.id, &acme.remote_id, after(5), after(900)).await.expect("writes");
    let renamed = Namespace { name: "acme-corp".into(), seen_at: after(9), next_sweep_at: after(9), ..acme.clone() };
    source_namespaces::upsert(&mut tx, &renamed).await.expect("writes");
    let found = source_namespaces::list(&mut tx, link.id).await.expect("lists").remove(1);
    assert_eq!((found.name.as_str(), found.swept_at, found.next_sweep_at), ("acme-corp", Some(after(5)), after(900)));
    // It let us in a moment ago: that is looked at at once.
    source_namespaces::upsert(&mut tx, &Namespace { access: NamespaceAccess::Restricted, ..renamed }).await.expect("writes");
    assert_eq!(source_namespaces::list(&mut tx, link.id).await.expect("lists")[1].next_sweep_at, after(9));
    source_namespaces::set_sweep_failed(&mut tx, link.id, &acme.remote_id, ODD, after(60)).await.expect("writes");
    let found = source_namespaces::list(&mut tx, link.id).await.expect("lists").remove(1);
    assert_eq!((found.sweep_error.as_deref(), found.swept_at), (Some(ODD), Some(after(5))), "what was read stays");
    source_namespaces::put_off(&mut tx, link.id, &acme.remote_id, after(90)).await.expect("writes");
    let found = source_namespaces::list(&mut tx, link.id).await.expect("lists").remove(1);
    assert_eq!((found.sweep_error.as_deref(), found.next_sweep_at), (Some(ODD), after(90)), "what is said of it stays too");
    source_repositories::upsert(&mut tx, &row(link.id, "1", "acme/x")).await.expect("writes");
    source_namespaces::delete(&mut tx, link.id, &acme.remote_id).await.expect("deletes");
    assert_eq!(source_namespaces::list(&mut tx, link.id).await.expect("lists"), [me]);
    assert_eq!(source_repositories::count_by_link(&mut tx, link.id).await.expect("counts"), 0, "its repositories go with it");
}

async fn a_namespace_is_swept_by_one(db: &Db) {
    let link = linked(db, "ada").await;
    let shut = Namespace { access: NamespaceAccess::Restricted, ..namespace(link.id, "shut") };
    let mut tx = begin(db).await;
    for one in [&namespace(link.id, "acme"), &shut] {
        source_namespaces::upsert(&mut tx, one).await.expect("writes");
    }
    done(tx).await;
    let mut sweepers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        sweepers.spawn(async move {
            let mut tx = begin(&db).await;
            let claimed = source_namespaces::claim_sweep(&mut tx, NOW, after(600)).await.expect("claims");
            done(tx).await;
            claimed.map(|one| one.name)
        });
    }
    assert_eq!(sweepers.join_all().await.into_iter().flatten().collect::<Vec<_>>(), ["acme"], "once; the shut one never");
    let mut tx = begin(db).await;
    source_namespaces::sweep_now(&mut tx, link.id, after(1)).await.expect("writes");
    links::set_state(&mut tx, link.id, LinkState::Disabled, None, NOW).await.expect("writes");
    assert!(source_namespaces::claim_sweep(&mut tx, after(1), after(600)).await.expect("claims").is_none(), "disabled: nothing is taken");
    links::set_state(&mut tx, link.id, LinkState::Ok, None, NOW).await.expect("writes");
    assert!(source_namespaces::claim_sweep(&mut tx, after(1), after(600)).await.expect("claims").is_some());
    // Something of it is built from now on; another namespace does not matter, and what is due sooner stays so.
    for (name, at) in [("ACME", 100), ("other", 50), ("acme", 300)] {
        source_namespaces::sweep_by(&mut tx, link.id, name, after(at)).await.expect("writes");
    }
    assert!(source_namespaces::claim_sweep(&mut tx, after(99), after(600)).await.expect("claims").is_none());
    assert!(source_namespaces::claim_sweep(&mut tx, after(100), after(600)).await.expect("claims").is_some());
}

async fn whether_others_see_a_namespace_is_known(db: &Db) {
    let (mine, theirs) = (linked(db, "ada").await, linked(db, "bob").await);
    let (acme, github) = (namespace(mine.id, "acme"), provider());
    let mut tx = begin(db).await;
    source_namespaces::upsert(&mut tx, &acme).await.expect("writes");
    let seen = async |tx: &mut WriteTx| source_namespaces::is_seen_by_others(tx, &github, &acme.remote_id, mine.id).await.expect("query");
    assert!(!seen(&mut tx).await, "only by itself");
    source_namespaces::upsert(&mut tx, &Namespace { link: theirs.id, ..acme.clone() }).await.expect("writes");
    assert!(seen(&mut tx).await);
    links::set_unlinking(&mut tx, theirs.id).await.expect("writes");
    assert!(!seen(&mut tx).await, "not by one that goes");
    let elsewhere = "elsewhere".parse().expect("provider");
    assert!(!source_namespaces::is_seen_by_others(&mut tx, &elsewhere, &acme.remote_id, LinkId::new()).await.expect("query"));
}

async fn names_are_searched_by_parts_page_by_page(db: &Db) {
    let (link, bob) = (linked(db, "ada").await, account(db, "bob").await);
    let mut tx = begin(db).await;
    for name in ["acme", "octo"] {
        source_namespaces::upsert(&mut tx, &namespace(link.id, name)).await.expect("writes");
    }
    for (id, name) in [("1", "acme/Web_App"), ("2", "acme/webXapp"), ("3", "acme/api"), ("4", "octo/100%"), ("5", "octo/web")] {
        source_repositories::upsert(&mut tx, &row(link.id, id, name)).await.expect("writes");
    }
    let github = provider();
    let all = Within { account: link.account, provider: &github, link: None, namespace: None };
    let acme = Within { namespace: Some("ACME"), ..all };
    for (within, text, after, limit, names) in [
        (all, "", None, 10, vec!["acme/api", "acme/Web_App", "acme/webXapp", "octo/100%", "octo/web"]),
        (all, "WEB", None, 10, vec!["acme/Web_App", "acme/webXapp", "octo/web"]),
        (all, "web_", None, 10, vec!["acme/Web_App"]),
        (all, "0%", None, 10, vec!["octo/100%"]),
        (all, "web", None, 2, vec!["acme/Web_App", "acme/webXapp"]),
        (all, "web", Some("acme/webXapp"), 2, vec!["octo/web"]),
        (acme, " web ", None, 10, vec!["acme/Web_App", "acme/webXapp"]),
        (acme, ODD, None, 10, vec![]),
        (Within { link: Some(LinkId::new()), ..all }, "", None, 10, vec![]),
        (Within { account: bob, ..all }, "", None, 10, vec![]),
    ] {
        let found = source_repositories::search(&mut tx, within, text, after, limit).await.expect("searches");
        assert_eq!(found.iter().map(|row| row.full_name.as_str()).collect::<Vec<_>>(), names, "`{text}` {within:?}");
    }
    let found = source_repositories::search(&mut tx, all, "api", None, 1).await.expect("searches");
    assert_eq!(found, [row(link.id, "3", "acme/api")], "every field comes back");
}

async fn a_repository_that_two_links_see_is_found_once(db: &Db) {
    let first = linked(db, "ada").await;
    let second = Link { remote_user_id: "8".into(), ..link(first.account, "ci-bot") };
    let mut tx = begin(db).await;
    assert!(links::upsert(&mut tx, &second).await.expect("writes"));
    for (link, id, name) in [(first.id, "1", "acme/both"), (second.id, "1", "acme/both"), (second.id, "2", "acme/only")] {
        source_repositories::upsert(&mut tx, &row(link, id, name)).await.expect("writes");
    }
    let github = provider();
    let all = Within { account: first.account, provider: &github, link: None, namespace: None };
    let of = |rows: Vec<SourceRow>| rows.into_iter().map(|row| (row.remote_id, row.link)).collect::<Vec<_>>();
    let found = of(source_repositories::search(&mut tx, all, "", None, 10).await.expect("searches"));
    assert_eq!(found, [("1".to_owned(), first.id), ("2".to_owned(), second.id)]);
    let of_second =
        of(source_repositories::search(&mut tx, Within { link: Some(second.id), ..all }, "", None, 10).await.expect("searches"));
    assert_eq!(of_second.len(), 2);
    assert!(source_repositories::contains(&mut tx, second.id, "2").await.expect("query"));
    assert!(!source_repositories::contains(&mut tx, first.id, "2").await.expect("query"));
    assert!(links::set_unlinking(&mut tx, first.id).await.expect("writes"));
    let found = of(source_repositories::search(&mut tx, all, "", None, 10).await.expect("searches"));
    assert_eq!(found, [("1".to_owned(), second.id), ("2".to_owned(), second.id)], "what is being unlinked shows nothing");
}

async fn what_a_sweep_did_not_show_goes(db: &Db) {
    let link = linked(db, "ada").await;
    let mut tx = begin(db).await;
    for (id, name) in [("1", "acme/stays"), ("2", "acme/goes"), ("3", "octo/elsewhere")] {
        source_repositories::upsert(&mut tx, &row(link.id, id, name)).await.expect("writes");
    }
    let seen = SourceRow { seen_at: after(60), full_name: "acme/renamed".into(), ..row(link.id, "1", "acme/stays") };
    source_repositories::upsert(&mut tx, &seen).await.expect("writes");
    assert_eq!(source_repositories::delete_unseen(&mut tx, link.id, "id of acme", after(60)).await.expect("deletes"), 1);
    assert_eq!(source_repositories::count_by_link(&mut tx, link.id).await.expect("counts"), 2);
}

async fn a_source_is_written_with_its_hooks_and_keys(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let mut found = sources::list(&mut tx, world.account, &provider(), Some("42")).await.expect("lists");
    assert_eq!(found.len(), 1);
    assert!(sources::list(&mut tx, world.account, &provider(), Some("43")).await.expect("lists").is_empty());
    let before = found.remove(0);
    assert_eq!((before.autobuild, before.source_name.as_str(), before.link), (world.autobuild, "acme/source", None));
    let seen = sources::Source {
        source_name: "moved/source".into(),
        default_branch: "trunk".into(),
        private: true,
        archived: true,
        pushed: Some("now".into()),
        problem: Some("gone".into()),
        problem_text: Some(ODD.into()),
        problem_since: Some(after(1)),
        ..before
    };
    sources::set_seen(&mut tx, world.account, &provider(), &seen).await.expect("writes");
    assert_eq!(sources::list(&mut tx, world.account, &provider(), None).await.expect("lists"), [seen]);
}

async fn a_takeover_is_written_once(db: &Db) {
    let world = world(db, "web").await;
    let (first, second) = (LinkId::new(), LinkId::new());
    let mut tx = begin(db).await;
    assert!(sources::set_served(&mut tx, world.autobuild, None, first, None).await.expect("writes"));
    assert!(!sources::set_served(&mut tx, world.autobuild, None, second, Some("late")).await.expect("query"), "somebody was quicker");
    assert!(sources::set_served(&mut tx, world.autobuild, Some(first), second, Some(ODD)).await.expect("writes"));
    let served = sources::served(&mut tx, world.autobuild).await.expect("query").expect("stands");
    assert_eq!((served.link, served.note.as_deref()), (Some(second), Some(ODD)));
    sources::set_source(&mut tx, world.autobuild, first).await.expect("writes");
    let served = sources::served(&mut tx, world.autobuild).await.expect("query").expect("stands");
    assert_eq!((served.link, served.note), (Some(first), None));
}

async fn a_new_link_serves_what_nobody_serves(db: &Db) {
    let (served, dead, unserved) = (world(db, "served").await, world(db, "dead").await, world(db, "unserved").await);
    let works = linked(db, "acme").await;
    let revoked = Link { remote_user_id: "8".into(), state: LinkState::Revoked, ..link(works.account, "gone") };
    let new = Link { remote_user_id: "9".into(), ..link(works.account, "new") };
    let mut tx = begin(db).await;
    for link in [&revoked, &new] {
        assert!(links::upsert(&mut tx, link).await.expect("writes"));
    }
    assert!(sources::set_served(&mut tx, served.autobuild, None, works.id, None).await.expect("writes"));
    assert!(sources::set_served(&mut tx, dead.autobuild, None, revoked.id, None).await.expect("writes"));
    assert_eq!(sources::adopt_unserved(&mut tx, works.account, &provider(), new.id).await.expect("writes"), 2);
    done(tx).await;
    let mut tx = look(db).await;
    for (world, link) in [(&served, works.id), (&dead, new.id), (&unserved, new.id)] {
        assert_eq!(sources::served(&mut tx, world.autobuild).await.expect("query").expect("stands").link, Some(link));
    }
}
