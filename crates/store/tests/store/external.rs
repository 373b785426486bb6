//! What goes to another registry: in one sender's hands, the newest in the place of what waits, and nothing of the place before.

use slipway_model::{BuildId, RepositoryId};
use slipway_store::external::{self, External, ExternalTag};
use slipway_store::{Db, builds};

use crate::fixture::{NOW, ODD, after, begin, done, look, tag, world};

on_both! {
    what_is_saved_is_read_again;
    a_tag_is_wanted_only_with_a_place_to_go;
    a_sender_has_a_tag_alone_until_its_lease_ends;
    what_is_newer_takes_the_place_of_what_waits;
    one_repository_has_one_sender;
    another_address_knows_nothing_of_the_one_before;
    who_was_to_send_it_elsewhere_changes_nothing_here;
    a_deleted_build_s_image_goes_out_all_the_same;
}

fn place(repository: RepositoryId, address: &str, seconds: u64) -> External {
    let address = address.parse().expect("address");
    External { repository, address, username: ODD.into(), password_sealed: b"\0sealed".to_vec(), saved_at: after(seconds) }
}

async fn save(db: &Db, repository: RepositoryId, address: &str, seconds: u64) {
    let mut tx = begin(db).await;
    external::put(&mut tx, &place(repository, address, seconds)).await.expect("writes");
    done(tx).await;
}

async fn want(db: &Db, repository: RepositoryId, names: &[&str], digest: &str, build: BuildId, seconds: u64) {
    let mut tx = begin(db).await;
    let tags: Vec<_> = names.iter().map(|name| tag(name)).collect();
    external::want(&mut tx, repository, &tags, digest, build, after(seconds)).await.expect("writes");
    done(tx).await;
}

async fn claim(db: &Db, seconds: u64) -> Option<ExternalTag> {
    let mut tx = begin(db).await;
    let claimed = external::claim(&mut tx, after(seconds), after(seconds + 60)).await.expect("claims");
    done(tx).await;
    claimed
}

async fn hold(db: &Db, tag: &ExternalTag, until: u64) -> bool {
    let mut tx = begin(db).await;
    let held = external::hold(&mut tx, tag, after(until)).await.expect("holds");
    done(tx).await;
    held
}

async fn delivered(db: &Db, tag: &ExternalTag, seconds: u64) {
    let mut tx = begin(db).await;
    external::set_delivered(&mut tx, tag, after(seconds)).await.expect("writes");
    done(tx).await;
}

async fn stands(db: &Db, repository: RepositoryId, name: &str) -> ExternalTag {
    external::get_tag(&mut look(db).await, repository, name).await.expect("query").expect("stands")
}

async fn what_is_saved_is_read_again(db: &Db) {
    let world = world(db, "web").await;
    assert!(external::get(&mut look(db).await, world.repository).await.expect("query").is_none());
    save(db, world.repository, "registry.example.com:5000/team/app", 3).await;
    let read = external::get(&mut look(db).await, world.repository).await.expect("query").expect("stands");
    assert_eq!((read.address.to_string().as_str(), read.username.as_str()), ("registry.example.com:5000/team/app", ODD));
    assert_eq!((read.password_sealed.as_slice(), read.saved_at), (&b"\0sealed"[..], after(3)));
    for gone in [true, false] {
        let mut tx = begin(db).await;
        assert_eq!(external::delete(&mut tx, world.repository).await.expect("deletes"), gone);
        done(tx).await;
    }
}

async fn a_tag_is_wanted_only_with_a_place_to_go(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    want(db, world.repository, &["latest"], "sha256:1", build, 0).await;
    assert!(claim(db, 0).await.is_none());
    save(db, world.repository, "registry.example.com/app", 0).await;
    assert!(claim(db, 0).await.is_none(), "what was moved before stays here");
    want(db, world.repository, &["v1", "latest"], "sha256:1", build, 1).await;
    let shown = external::list_of_build(&mut look(db).await, build).await.expect("query");
    assert_eq!(shown.iter().map(|tag| tag.tag.as_str()).collect::<Vec<_>>(), ["latest", "v1"]);
    assert!(shown.iter().all(|tag| tag.due_at == Some(after(1)) && tag.since == after(1) && tag.digest == "sha256:1"));
}

async fn a_sender_has_a_tag_alone_until_its_lease_ends(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    save(db, world.repository, "registry.example.com/app", 0).await;
    want(db, world.repository, &["latest"], "sha256:1", build, 0).await;
    let first = claim(db, 0).await.expect("due");
    assert!(claim(db, 59).await.is_none());
    assert!(hold(db, &first, 100).await);
    assert!(claim(db, 99).await.is_none(), "it was held");
    let second = claim(db, 100).await.expect("its sender died");
    assert!(!hold(db, &first, 200).await, "the one that was thought dead is told so");
    delivered(db, &first, 101).await;
    assert!(stands(db, world.repository, "latest").await.delivered_at.is_none(), "and it ends nobody else's turn");
    assert!(hold(db, &second, 160).await);

    let mut tx = begin(db).await;
    external::set_failed(&mut tx, &second, ODD, after(300)).await.expect("writes");
    done(tx).await;
    let waits = stands(db, world.repository, "latest").await;
    assert_eq!((waits.due_at, waits.tries, waits.error.as_deref()), (Some(after(300)), 1, Some(ODD)));
    assert!(claim(db, 299).await.is_none());
    let third = claim(db, 300).await.expect("due again");
    let mut tx = begin(db).await;
    external::release(&mut tx, &third).await.expect("writes");
    done(tx).await;
    let fourth = claim(db, 300).await.expect("at once");
    let mut tx = begin(db).await;
    external::set_refused(&mut tx, &fourth, "denied").await.expect("writes");
    done(tx).await;
    let refused = stands(db, world.repository, "latest").await;
    assert_eq!((refused.due_at, refused.error.as_deref(), refused.delivered_at), (None, Some("denied"), None));
    assert!(claim(db, 100_000).await.is_none());

    for (name, found) in [("latest", true), ("other", false)] {
        let mut tx = begin(db).await;
        assert_eq!(external::try_again(&mut tx, world.repository, name, after(400)).await.expect("writes"), found);
        done(tx).await;
    }
    let fifth = claim(db, 400).await.expect("somebody wants it now");
    assert_eq!((fifth.since, fifth.tries, fifth.error.as_deref()), (after(400), 0, Some("denied")), "why it failed stays to be seen");
    delivered(db, &fifth, 401).await;
    let there = stands(db, world.repository, "latest").await;
    assert_eq!((there.due_at, there.error, there.delivered_at), (None, None, Some(after(401))));
    let mut tx = begin(db).await;
    assert!(!external::try_again(&mut tx, world.repository, "latest", after(402)).await.expect("writes"), "what is there is there");
    done(tx).await;
}

async fn what_is_newer_takes_the_place_of_what_waits(db: &Db) {
    let world = world(db, "web").await;
    let (old, new) = (world.queued(db).await, world.queued(db).await);
    save(db, world.repository, "registry.example.com/app", 0).await;
    want(db, world.repository, &["latest"], "sha256:1", old, 0).await;
    let sent = claim(db, 0).await.expect("due");
    want(db, world.repository, &["latest"], "sha256:2", new, 1).await;
    assert!(!hold(db, &sent, 90).await, "its sender stops");
    assert!(claim(db, 2).await.is_none(), "first it has to stop");
    delivered(db, &sent, 3).await;
    let last = claim(db, 4).await.expect("the newer one is due");
    assert_eq!((last.digest.as_str(), last.build, last.delivered_at), ("sha256:2", Some(new), None));
    assert!(external::list_of_build(&mut look(db).await, old).await.expect("query").is_empty());
    delivered(db, &last, 5).await;
    assert!(claim(db, 100_000).await.is_none(), "nothing of the old one");
}

async fn one_repository_has_one_sender(db: &Db) {
    let (web, api) = (world(db, "web").await, world(db, "api").await);
    for world in [&web, &api] {
        let build = world.queued(db).await;
        save(db, world.repository, "registry.example.com/app", 0).await;
        want(db, world.repository, &["latest", "v1"], "sha256:1", build, 0).await;
    }
    let (one, two) = (claim(db, 0).await.expect("due"), claim(db, 0).await.expect("due"));
    assert_ne!(one.repository, two.repository);
    assert!(claim(db, 1).await.is_none());
    delivered(db, &one, 2).await;
    assert_eq!(claim(db, 2).await.map(|tag| (tag.repository, tag.tag)), Some((one.repository, tag("v1"))));
}

async fn another_address_knows_nothing_of_the_one_before(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    save(db, world.repository, "registry.example.com/app", 0).await;
    want(db, world.repository, &["latest", "v1"], "sha256:1", build, 0).await;
    let first = claim(db, 0).await.expect("due");
    delivered(db, &first, 1).await;
    let second = claim(db, 1).await.expect("due");
    let mut tx = begin(db).await;
    external::set_refused(&mut tx, &second, "denied").await.expect("writes");
    done(tx).await;
    save(db, world.repository, "registry.example.com/app", 10).await;
    assert_eq!(claim(db, 10).await.map(|tag| (tag.tag, tag.error)), Some((second.tag, None)), "with what was refused it is tried again");
    assert!(claim(db, 1000).await.is_some_and(|tag| tag.tag != first.tag), "what is there stays there");
    save(db, world.repository, "other.example.com/app", 2000).await;
    assert!(external::list_of_build(&mut look(db).await, build).await.expect("query").is_empty());
    assert!(claim(db, 3000).await.is_none());
}

async fn who_was_to_send_it_elsewhere_changes_nothing_here(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    save(db, world.repository, "registry.example.com/app", 0).await;
    want(db, world.repository, &["latest"], "sha256:1", build, 0).await;
    let mut before = claim(db, 0).await.expect("due");
    for (seconds, address) in [(10, "other.example.com/app"), (20, "third.example.com/app"), (30, "third.example.com/app")] {
        if seconds == 30 {
            // Removed and saved again is another one too, whatever its address.
            let mut tx = begin(db).await;
            assert!(external::delete(&mut tx, world.repository).await.expect("deletes"));
            done(tx).await;
        }
        save(db, world.repository, address, seconds).await;
        assert!(!hold(db, &before, seconds + 60).await, "it is gone");
        want(db, world.repository, &["latest"], "sha256:1", build, seconds).await;
        assert!(!hold(db, &before, seconds + 60).await, "what waits here is not what that sender has");
        let now = claim(db, seconds).await.expect("due");
        assert!(!hold(db, &before, seconds + 60).await, "{address}");
        delivered(db, &before, seconds).await;
        let mut tx = begin(db).await;
        external::release(&mut tx, &before).await.expect("writes");
        done(tx).await;
        let shown = stands(db, world.repository, "latest").await;
        assert_eq!((shown.due_at, shown.delivered_at, shown.tries), (Some(after(seconds)), None, 0), "{address}");
        assert!(claim(db, seconds).await.is_none(), "it is in the hands of whoever sends it there: {address}");
        assert!(hold(db, &now, seconds + 60).await, "{address}");
        before = now;
    }
    delivered(db, &before, 40).await;
    assert_eq!(stands(db, world.repository, "latest").await.delivered_at, Some(after(40)));
}

async fn a_deleted_build_s_image_goes_out_all_the_same(db: &Db) {
    let world = world(db, "web").await;
    let build = world.queued(db).await;
    save(db, world.repository, "registry.example.com/app", 0).await;
    want(db, world.repository, &["latest"], "sha256:1", build, 0).await;
    let mut tx = begin(db).await;
    let ending = builds::Ending { state: slipway_model::BuildState::Success, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, build, &ending, NOW).await.expect("ends"));
    assert!(builds::delete(&mut tx, world.repository, build).await.expect("deletes"));
    done(tx).await;
    assert_eq!(claim(db, 1).await.map(|tag| (tag.digest, tag.build)), Some(("sha256:1".to_owned(), None)));
}
