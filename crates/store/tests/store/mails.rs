//! The outbox: a mail is claimed once, comes back when it was not sent, and goes when it was.

use slipway_model::MailId;
use slipway_store::{Db, mails};

use crate::fixture::{NOW, ODD, after, begin, done, look};

on_both! {
    a_mail_is_claimed_once_and_comes_back;
    two_claims_at_once_get_two_mails;
}

async fn a_mail_is_claimed_once_and_comes_back(db: &Db) {
    let (first, second) = (MailId::new(), MailId::new());
    let mut tx = begin(db).await;
    mails::insert(&mut tx, first, &[0, 255, 7], NOW).await.expect("inserts");
    mails::insert(&mut tx, second, b"two", after(1)).await.expect("inserts");
    assert_eq!(mails::count_waiting(&mut tx).await.expect("counts"), 2);

    let claimed = mails::claim(&mut tx, NOW, after(60)).await.expect("claims").expect("one is due");
    assert_eq!((claimed.id, claimed.message_sealed.as_slice(), claimed.tries, claimed.created_at), (first, &[0, 255, 7][..], 0, NOW));
    assert_eq!(claimed.error, None);
    assert!(mails::claim(&mut tx, NOW, after(60)).await.expect("claims").is_none(), "the second is not due yet");
    assert_eq!(mails::claim(&mut tx, after(1), after(60)).await.expect("claims").map(|mail| mail.id), Some(second));

    mails::set_failed(&mut tx, first, ODD, after(120)).await.expect("writes");
    assert!(mails::delete(&mut tx, second).await.expect("deletes"));
    assert!(!mails::delete(&mut tx, second).await.expect("deletes"));
    assert!(mails::claim(&mut tx, after(119), after(200)).await.expect("claims").is_none());
    let again = mails::claim(&mut tx, after(120), after(200)).await.expect("claims").expect("due again");
    assert_eq!((again.id, again.tries, again.error.as_deref()), (first, 1, Some(ODD)));
    done(tx).await;
    assert_eq!(mails::count_waiting(&mut look(db).await).await.expect("counts"), 1);
}

async fn two_claims_at_once_get_two_mails(db: &Db) {
    let mut tx = begin(db).await;
    for _ in 0..8 {
        mails::insert(&mut tx, MailId::new(), b"x", NOW).await.expect("inserts");
    }
    done(tx).await;
    let claim = |db: Db| async move {
        let mut found = Vec::new();
        // A claim that lost against another may say "none" while some are left: whoever polls comes back.
        for _ in 0..40 {
            let mut tx = begin(&db).await;
            found.extend(mails::claim(&mut tx, after(1), after(600)).await.expect("claims").map(|mail| mail.id));
            done(tx).await;
        }
        found
    };
    let (one, two) = tokio::join!(tokio::spawn(claim(db.clone())), tokio::spawn(claim(db.clone())));
    let mut all = [one.expect("ends"), two.expect("ends")].concat();
    assert_eq!(all.len(), 8, "each mail was claimed, none twice");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
}
