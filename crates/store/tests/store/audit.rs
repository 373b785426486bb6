//! The audit log: what is written comes back, in order, filtered, by pages.

use serde_json::json;
use slipway_model::{AccountId, AuditId, Timestamp};
use slipway_store::audit::{self, Entry, Filter, Log};
use slipway_store::{Db, accounts};

use crate::fixture::{NOW, ODD, account, after, begin, done, look};

on_both! {
    an_entry_comes_back_as_it_was_written;
    entries_are_filtered;
    pages_of_entries;
    an_entry_goes_with_its_change;
    a_log_outlives_its_accounts;
    what_is_personal_goes_to_the_installation;
    old_entries_are_removed;
}

pub fn entry(account: Option<AccountId>, action: &str, at: Timestamp) -> Entry {
    Entry {
        id: AuditId::new(),
        account,
        namespace: "acme".into(),
        actor_id: None,
        actor: "ada".into(),
        via: "session".into(),
        address: "192.0.2.1".into(),
        action: action.into(),
        object: "acme/web".into(),
        at,
        old: None,
        new: None,
    }
}

async fn write(db: &Db, entries: &[&Entry]) {
    let mut tx = begin(db).await;
    for entry in entries {
        audit::insert(&mut tx, entry).await.expect("inserts");
    }
    done(tx).await;
}

async fn read(db: &Db, log: Log, filter: &Filter) -> Vec<AuditId> {
    let found = audit::list(&mut look(db).await, log, filter, None, 100).await.expect("lists");
    found.into_iter().map(|entry| entry.id).collect()
}

async fn an_entry_comes_back_as_it_was_written(db: &Db) {
    let (acme, ada) = (AccountId::new(), AccountId::new());
    let full = Entry {
        namespace: ODD.into(),
        actor_id: Some(ada),
        actor: ODD.into(),
        via: format!("token `{ODD}`"),
        address: "2001:db8::1".into(),
        object: format!("a\0b {ODD}"),
        old: Some(json!({ "name": ODD, "nothing": null, "list": [1, -2.5, true], "zero": "\0" })),
        new: Some(json!("🦀".repeat(50_000))),
        ..entry(Some(acme), "team.change", after(7))
    };
    let bare = entry(None, "account.create", Timestamp::from_millis(-1));
    write(db, &[&full, &bare]).await;
    let found = audit::list(&mut look(db).await, Log::Everything, &Filter::default(), None, 10).await.expect("lists");
    assert_eq!(found.len(), 2);
    let clean = Entry { object: full.object.replace('\0', "\u{fffd}"), ..full };
    for (found, wanted) in found.iter().zip([&bare, &clean]) {
        assert_eq!(format!("{found:?}"), format!("{wanted:?}"));
    }
}

async fn entries_are_filtered(db: &Db) {
    let (acme, zoo) = (AccountId::new(), AccountId::new());
    let add = entry(Some(acme), "team.create", NOW);
    let share = Entry { object: ODD.into(), ..entry(Some(acme), "team_repository.set", after(1)) };
    let change = Entry { actor: "bob".into(), ..entry(Some(acme), "team.change", after(2)) };
    let other = entry(Some(zoo), "team.create", after(3));
    let installation = entry(None, "account.create", after(4));
    write(db, &[&add, &share, &change, &other, &installation]).await;
    let all = Filter::default();
    assert_eq!(read(db, Log::Of(acme), &all).await, [change.id, share.id, add.id], "newest first");
    assert_eq!(read(db, Log::Of(zoo), &all).await, [other.id]);
    assert_eq!(read(db, Log::Of(AccountId::new()), &all).await, []);
    assert_eq!(read(db, Log::Everything, &all).await, [installation.id, other.id, change.id, share.id, add.id]);
    let action = |text: &str| Filter { action: Some(text.into()), ..all.clone() };
    let actor = |text: &str| Filter { actor: Some(text.into()), ..all.clone() };
    let object = |text: &str| Filter { object: Some(text.into()), ..all.clone() };
    let time = |since: Option<u64>, until: Option<u64>| Filter { since: since.map(after), until: until.map(after), ..all.clone() };
    for (filter, wanted) in [
        (action("team.create"), vec![add.id]),
        (action("team"), vec![change.id, add.id]),
        (action("team_repository"), vec![share.id]),
        // What a pattern would mean stands for itself.
        (action("team%"), vec![]),
        (action("tea"), vec![]),
        (action("t_am"), vec![]),
        (action("team."), vec![]),
        (action(ODD), vec![]),
        (actor("bob"), vec![change.id]),
        (actor("ada"), vec![share.id, add.id]),
        (actor("a%"), vec![]),
        (actor("' OR 1=1 --"), vec![]),
        (object(ODD), vec![share.id]),
        (object("acme/web"), vec![change.id, add.id]),
        (object("acme/%"), vec![]),
        (time(Some(1), None), vec![change.id, share.id]),
        (time(None, Some(1)), vec![add.id]),
        (time(Some(1), Some(2)), vec![share.id]),
        (time(Some(2), Some(1)), vec![]),
        (Filter { actor: Some("bob".into()), action: Some("team".into()), ..time(Some(2), Some(3)) }, vec![change.id]),
        (Filter { actor: Some("bob".into()), action: Some("team.create".into()), ..all.clone() }, vec![]),
    ] {
        assert_eq!(read(db, Log::Of(acme), &filter).await, wanted, "{filter:?}");
    }
}

async fn pages_of_entries(db: &Db) {
    let (acme, zoo) = (AccountId::new(), AccountId::new());
    let mut ids = Vec::new();
    for n in 0..11 {
        // The clock may stand still or go back; the order of writing stays.
        let mine = entry(Some(acme), if n % 2 == 0 { "team.create" } else { "team.change" }, NOW);
        write(db, &[&mine, &entry(Some(zoo), "team.create", NOW)]).await;
        ids.push(mine.id);
    }
    ids.reverse();
    let filter = Filter { action: Some("team".into()), ..Filter::default() };
    let mut seen: Vec<AuditId> = Vec::new();
    loop {
        let page = audit::list(&mut look(db).await, Log::Of(acme), &filter, seen.last().copied(), 3).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        seen.extend(page.into_iter().map(|entry| entry.id));
        // At the front, behind the reader's back.
        write(db, &[&entry(Some(acme), "team.delete", NOW)]).await;
    }
    assert_eq!(seen, ids);
    let half = audit::list(&mut look(db).await, Log::Everything, &filter, Some(ids[5]), 100).await.expect("lists");
    assert!(half.len() >= 10 && half.iter().all(|entry| entry.id < ids[5]));
}

async fn an_entry_goes_with_its_change(db: &Db) {
    let ada = account(db, "ada").await;
    let mut tx = begin(db).await;
    audit::insert(&mut tx, &entry(Some(ada), "account.change", NOW)).await.expect("inserts");
    drop(tx);
    assert_eq!(read(db, Log::Everything, &Filter::default()).await, [], "what was not done is not told");
}

async fn a_log_outlives_its_accounts(db: &Db) {
    let ada = account(db, "ada").await;
    let told = Entry { actor_id: Some(ada), ..entry(Some(ada), "account.delete", NOW) };
    let mut tx = begin(db).await;
    audit::insert(&mut tx, &told).await.expect("inserts");
    assert!(accounts::delete(&mut tx, ada).await.expect("deletes"));
    done(tx).await;
    let again = account(db, "ada").await;
    assert_eq!(read(db, Log::Of(ada), &Filter::default()).await, [told.id]);
    assert_eq!(read(db, Log::Of(again), &Filter::default()).await, [], "a new account of the name has a log of its own");
}

async fn what_is_personal_goes_to_the_installation(db: &Db) {
    let (ada, bob) = (AccountId::new(), AccountId::new());
    let personal = [
        "account.password",
        "account.email",
        "session.begin",
        "second_factor.on",
        "recovery_codes.new",
        "identity.add",
        "token.create",
        "invitation.accept",
    ];
    let stays = ["repository.create", "link.connect", "build.start", "team.create", "tokens.other", "accounts"];
    let mut entries = Vec::new();
    for (n, action) in (0..).zip(personal.iter().chain(&stays)) {
        entries.push(entry(Some(ada), action, after(n)));
    }
    let other = entry(Some(bob), "account.password", NOW);
    write(db, &entries.iter().chain([&other]).collect::<Vec<_>>()).await;
    let mut tx = begin(db).await;
    for moved in [8, 0] {
        assert_eq!(audit::detach_personal(&mut tx, ada).await.expect("writes"), moved);
    }
    done(tx).await;
    let ids = |entries: &[Entry]| entries.iter().rev().map(|entry| entry.id).collect::<Vec<_>>();
    assert_eq!(read(db, Log::Of(ada), &Filter::default()).await, ids(&entries[personal.len()..]));
    assert_eq!(read(db, Log::Of(bob), &Filter::default()).await, [other.id]);
    let all = audit::list(&mut look(db).await, Log::Everything, &Filter::default(), None, 100).await.expect("lists");
    assert_eq!(all.len(), entries.len() + 1, "nothing is lost");
    let mut moved: Vec<Entry> = all.into_iter().filter(|entry| entry.account.is_none()).collect();
    moved.reverse();
    for (found, before) in moved.iter().zip(&entries) {
        assert_eq!(format!("{found:?}"), format!("{:?}", Entry { account: None, ..before.clone() }), "the rest of it stays");
    }
    assert_eq!(moved.len(), personal.len());
}

async fn old_entries_are_removed(db: &Db) {
    let (old, kept) = (entry(None, "account.create", NOW), entry(Some(AccountId::new()), "team.create", after(1)));
    write(db, &[&old, &kept]).await;
    let mut tx = begin(db).await;
    for (second, removed) in [(0, 0), (1, 1), (1, 0)] {
        assert_eq!(audit::delete_before(&mut tx, after(second)).await.expect("deletes"), removed);
    }
    done(tx).await;
    assert_eq!(read(db, Log::Everything, &Filter::default()).await, [kept.id]);
}
