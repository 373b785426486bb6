//! Receipts of unlinking: written first, grown, finished once.

use slipway_model::{LinkId, ReceiptId};
use slipway_store::receipts::{self, Receipt};
use slipway_store::{Db, accounts};

use crate::fixture::{NOW, ODD, account, after, begin, done, provider};

on_both! {
    a_receipt_is_worked_on_by_one_and_finished_once;
    receipts_are_listed_newest_first_and_only_to_their_account;
}

fn receipt(account: slipway_model::AccountId) -> Receipt {
    Receipt {
        id: ReceiptId::new(),
        account,
        link: LinkId::new(),
        provider: provider(),
        login: ODD.into(),
        body: "{}".into(),
        begun_at: NOW,
        finished_at: None,
    }
}

async fn a_receipt_is_worked_on_by_one_and_finished_once(db: &Db) {
    let ada = account(db, "ada").await;
    let open = receipt(ada);
    let mut tx = begin(db).await;
    receipts::insert(&mut tx, &open, after(120)).await.expect("inserts");
    assert!(receipts::claim(&mut tx, after(119), after(300)).await.expect("query").is_none(), "who began it works on it");
    assert!(receipts::set_body(&mut tx, open.id, "1", after(120), after(130)).await.expect("writes"));
    assert!(!receipts::set_body(&mut tx, open.id, "2", after(120), after(140)).await.expect("query"), "held by another");
    assert_eq!(receipts::count_open(&mut tx, ada).await.expect("counts"), 1);
    done(tx).await;
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        takers.spawn(async move {
            let mut tx = begin(&db).await;
            let taken = receipts::claim(&mut tx, after(130), after(250)).await.expect("claims");
            done(tx).await;
            taken
        });
    }
    let taken: Vec<Receipt> = takers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].body, "1");
    let mut tx = begin(db).await;
    assert!(!receipts::set_body(&mut tx, open.id, "3", after(130), after(140)).await.expect("query"), "the one before has lost it");
    assert!(!receipts::finish(&mut tx, open.id, "early", after(130), after(200)).await.expect("query"), "the one before has lost it");
    assert!(receipts::finish(&mut tx, open.id, "end", after(250), after(200)).await.expect("writes"));
    assert!(!receipts::finish(&mut tx, open.id, "again", after(250), after(201)).await.expect("query"));
    assert_eq!(receipts::count_open(&mut tx, ada).await.expect("counts"), 0);
    assert!(!receipts::set_body(&mut tx, open.id, "late", after(250), after(300)).await.expect("query"));
    assert!(receipts::claim(&mut tx, after(900), after(999)).await.expect("query").is_none());
    let found = receipts::get(&mut tx, ada, open.id).await.expect("query").expect("stands");
    assert_eq!((found.body.as_str(), found.finished_at, found.login.as_str()), ("end", Some(after(200)), ODD));
}

async fn receipts_are_listed_newest_first_and_only_to_their_account(db: &Db) {
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let (first, second, theirs) = (receipt(ada), receipt(ada), receipt(bob));
    let mut tx = begin(db).await;
    for one in [&first, &second, &theirs] {
        receipts::insert(&mut tx, one, NOW).await.expect("inserts");
    }
    let ids = |all: Vec<Receipt>| all.into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(receipts::list(&mut tx, ada, None, 10).await.expect("lists")), [second.id, first.id]);
    assert_eq!(ids(receipts::list(&mut tx, ada, Some(second.id), 10).await.expect("lists")), [first.id]);
    assert_eq!(receipts::list(&mut tx, ada, None, 1).await.expect("lists").len(), 1);
    assert!(receipts::get(&mut tx, ada, theirs.id).await.expect("query").is_none());
    accounts::delete(&mut tx, bob).await.expect("deletes");
    assert!(receipts::get(&mut tx, bob, theirs.id).await.expect("query").is_none(), "kept as long as the account");
}
