//! Blobs, manifests, tags and uploads: each test on SQLite and on PostgreSQL.

use std::time::Duration;

use slipway_model::{AutobuildId, BuildId, CACHE_TAG, ImageTag, RepositoryId};
use slipway_store::images::{self, Blob, Insertion, NewManifest, NewRef, Removal, Target};
use slipway_store::{Db, StoreError, WriteTx, repositories};

use crate::fixture::{NOW, repository};

on_both! {
    blobs_are_seen_through_their_link_only;
    a_manifest_needs_what_it_names;
    what_a_manifest_needs_stays;
    a_wide_index_with_a_diamond;
    tags_of_builds_go_forward_only;
    a_person_points_a_tag_anywhere;
    tags_are_listed_in_byte_order;
    uploads_belong_to_a_repository_and_an_owner;
    referrers_by_subject;
    a_repository_is_deleted_as_a_whole;
    concurrent_pushes_of_one_image;
    every_replaced_copy_is_named_once;
    builds_that_move_the_same_tags;
    pages_of_manifests;
}

fn digest(n: u32) -> String {
    format!("sha256:{n:064x}")
}

fn blob(n: u32) -> Blob {
    Blob { generation: format!("g{n}"), size: u64::from(n) }
}

async fn put_blob(db: &Db, repository: RepositoryId, n: u32) {
    let mut tx = db.write().await.expect("tx");
    images::put_blob(&mut tx, repository, &digest(n), &blob(n), NOW).await.expect("puts");
    tx.commit().await.expect("commits");
}

/// A manifest `n` of n bytes that names `refs`.
async fn insert(tx: &mut WriteTx, repository: RepositoryId, n: u32, refs: &[(Target, u32)]) -> Insertion {
    let digests: Vec<String> = refs.iter().map(|(_, n)| digest(*n)).collect();
    let refs: Vec<NewRef<'_>> = refs
        .iter()
        .zip(&digests)
        .map(|((target, n), digest)| NewRef { target: *target, role: "layer", digest, size: u64::from(*n) })
        .collect();
    let (digest, content) = (digest(n), vec![0_u8; n as usize]);
    let new = NewManifest {
        digest: &digest,
        media_type: "application/x",
        artifact_type: None,
        subject: None,
        annotations: None,
        content: &content,
        refs: &refs,
    };
    images::insert_manifest(tx, repository, &new, NOW).await.expect("inserts")
}

async fn put_manifest(db: &Db, repository: RepositoryId, n: u32, refs: &[(Target, u32)]) -> Insertion {
    let mut tx = db.write().await.expect("tx");
    let done = insert(&mut tx, repository, n, refs).await;
    tx.commit().await.expect("commits");
    done
}

fn tag(name: &str) -> ImageTag {
    name.parse().expect("tag")
}

async fn blobs_are_seen_through_their_link_only(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    put_blob(db, one, 5).await;
    let mut tx = db.write().await.expect("tx");
    assert_eq!(images::get_blob(&mut tx, one, &digest(5)).await.expect("query"), Some(blob(5)));
    assert_eq!(images::get_blob(&mut tx, two, &digest(5)).await.expect("query"), None);
    images::link_blob(&mut tx, two, &digest(5), NOW).await.expect("links");
    images::link_blob(&mut tx, two, &digest(5), NOW).await.expect("twice is fine");
    assert_eq!(images::unlink_blob(&mut tx, one, &digest(5)).await.expect("unlinks"), Removal::Done);
    assert_eq!(images::unlink_blob(&mut tx, one, &digest(5)).await.expect("unlinks"), Removal::Unknown);
    assert_eq!(images::get_blob(&mut tx, two, &digest(5)).await.expect("query"), Some(blob(5)));
    // A new copy replaces the old one for everybody and says which to remove.
    let newer = Blob { generation: "newer".into(), size: 5 };
    assert_eq!(images::put_blob(&mut tx, one, &digest(5), &newer, NOW).await.expect("puts"), Some("g5".into()));
    assert_eq!(images::put_blob(&mut tx, one, &digest(5), &newer, NOW).await.expect("puts"), None);
    assert_eq!(images::get_blob(&mut tx, two, &digest(5)).await.expect("query"), Some(newer.clone()));
    let rows = images::list_blobs(&mut tx, None, 10).await.expect("lists");
    assert_eq!(rows.into_iter().map(|row| (row.digest, row.blob)).collect::<Vec<_>>(), [(digest(5), newer)]);
    tx.commit().await.expect("commits");
    let mut tx = db.write().await.expect("tx");
    let unknown = images::link_blob(&mut tx, two, &digest(99), NOW).await;
    assert!(matches!(unknown, Err(StoreError::Conflict(_))), "{unknown:?}");
}

async fn a_manifest_needs_what_it_names(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    for n in [1, 2] {
        put_blob(db, one, n).await;
    }
    put_blob(db, two, 3).await;
    let image = [(Target::Blob, 1), (Target::Blob, 2)];
    assert_eq!(put_manifest(db, two, 10, &image).await, Insertion::Missing(digest(1)), "linked elsewhere only");
    assert_eq!(put_manifest(db, one, 10, &image).await, Insertion::Done);
    assert_eq!(put_manifest(db, one, 10, &image).await, Insertion::Done, "again");
    assert_eq!(put_manifest(db, one, 11, &[(Target::Blob, 1), (Target::OptionalBlob, 3)]).await, Insertion::Done, "may be absent");
    assert_eq!(put_manifest(db, one, 12, &[(Target::Manifest, 1)]).await, Insertion::Missing(digest(1)), "a blob is no manifest");
    assert_eq!(put_manifest(db, one, 12, &[(Target::Blob, 10)]).await, Insertion::Missing(digest(10)), "a manifest is no blob");
    assert_eq!(put_manifest(db, one, 12, &[(Target::BlobOrManifest, 1), (Target::BlobOrManifest, 10)]).await, Insertion::Done);
    let mut tx = db.write().await.expect("tx");
    let wrong = [NewRef { target: Target::Blob, role: "layer", digest: &digest(1), size: 7 }];
    let new = NewManifest {
        digest: &digest(13),
        media_type: "x",
        artifact_type: None,
        subject: None,
        annotations: None,
        content: b"x",
        refs: &wrong,
    };
    assert_eq!(images::insert_manifest(&mut tx, one, &new, NOW).await.expect("query"), Insertion::WrongSize(digest(1)));
    drop(tx);
    let mut tx = db.read().await.expect("tx");
    assert!(images::manifest_exists(&mut tx, one, &digest(10)).await.expect("query"));
    assert!(!images::manifest_exists(&mut tx, two, &digest(10)).await.expect("query"));
    let digests =
        |page: Vec<(RepositoryId, images::Manifest)>| page.into_iter().map(|(of, manifest)| (of, manifest.digest)).collect::<Vec<_>>();
    let page = images::list_manifests(&mut tx, None, 2).await.expect("lists");
    assert_eq!(digests(page), [(one, digest(10)), (one, digest(11))]);
    let page = images::list_manifests(&mut tx, Some((one, &digest(11))), 2).await.expect("lists");
    assert_eq!(digests(page), [(one, digest(12))]);
    let stored = images::get_manifest(&mut tx, one, &digest(10)).await.expect("query").expect("stands");
    assert_eq!((stored.media_type.as_str(), stored.content), ("application/x", vec![0; 10]));
}

async fn what_a_manifest_needs_stays(db: &Db) {
    let one = repository(db, "acme", "one").await;
    put_blob(db, one, 1).await;
    put_manifest(db, one, 10, &[(Target::Blob, 1)]).await;
    put_manifest(db, one, 11, &[(Target::Manifest, 10)]).await;
    let mut tx = db.write().await.expect("tx");
    assert_eq!(images::unlink_blob(&mut tx, one, &digest(1)).await.expect("query"), Removal::InUse);
    assert_eq!(images::delete_manifest(&mut tx, one, &digest(10)).await.expect("query"), Removal::InUse);
    images::move_tags(&mut tx, one, &[tag("x")], &digest(11), None, NOW).await.expect("moves");
    assert_eq!(images::delete_manifest(&mut tx, one, &digest(11)).await.expect("query"), Removal::Done);
    assert_eq!(images::get_tag(&mut tx, one, "x").await.expect("query"), None, "its tags go with it");
    assert_eq!(images::delete_manifest(&mut tx, one, &digest(10)).await.expect("query"), Removal::Done);
    assert_eq!(images::unlink_blob(&mut tx, one, &digest(1)).await.expect("query"), Removal::Done);
    tx.commit().await.expect("commits");
}

async fn a_wide_index_with_a_diamond(db: &Db) {
    let one = repository(db, "acme", "one").await;
    let width = 450;
    let mut tx = db.write().await.expect("tx");
    for n in 1..=width {
        images::put_blob(&mut tx, one, &digest(n), &blob(n), NOW).await.expect("puts");
    }
    tx.commit().await.expect("commits");
    // More pointers than one statement takes, each blob twice.
    let refs: Vec<_> = (1..=width).chain(1..=width).map(|n| (Target::Blob, n)).collect();
    assert_eq!(put_manifest(db, one, 1000, &refs).await, Insertion::Done);
    // Each level names the one below twice: 2^8 paths, 8 levels. The ninth is refused.
    for level in 1001..=1007 {
        let below = level - 1;
        assert_eq!(put_manifest(db, one, level, &[(Target::Manifest, below), (Target::Manifest, below)]).await, Insertion::Done, "{level}");
    }
    assert_eq!(put_manifest(db, one, 1008, &[(Target::Manifest, 1007)]).await, Insertion::TooDeep);
}

async fn tags_of_builds_go_forward_only(db: &Db) {
    let one = repository(db, "acme", "one").await;
    for n in 1..=5 {
        put_manifest(db, one, n, &[]).await;
    }
    let (autobuild, other) = (AutobuildId::new(), AutobuildId::new());
    let origin = |autobuild, source_ref: &str, ref_seq| images::TagOrigin {
        build: BuildId::new(),
        autobuild,
        source_ref: source_ref.parse().expect("ref"),
        ref_seq,
        commit: "a".repeat(40).parse().expect("commit"),
    };
    let cases = [
        (2, Some(origin(autobuild, "refs/heads/main", 5)), true),
        (1, Some(origin(autobuild, "refs/heads/main", 4)), false),
        (3, Some(origin(autobuild, "refs/heads/main", 5)), true),
        (4, Some(origin(autobuild, "refs/heads/other", 1)), true),
        (1, Some(origin(other, "refs/heads/other", 1)), true),
        (1, Some(origin(autobuild, "refs/heads/other", 9)), true),
        (5, None, true),
        (2, Some(origin(autobuild, "refs/heads/other", 2)), true),
    ];
    for (step, (n, origin, moves)) in cases.into_iter().enumerate() {
        let now = NOW.plus(Duration::from_secs(step as u64));
        let mut tx = db.write().await.expect("tx");
        let before = images::get_tag(&mut tx, one, "latest").await.expect("query");
        let moved = images::move_tags(&mut tx, one, &[tag("latest")], &digest(n), origin.as_ref(), now).await.expect("moves");
        assert_eq!(!moved.is_empty(), moves, "step {step}");
        let after = images::get_tag(&mut tx, one, "latest").await.expect("query");
        if moves {
            let after = after.expect("stands");
            assert_eq!((after.digest, after.origin, after.updated_at), (digest(n), origin, now), "step {step}");
        } else {
            assert_eq!(after, before, "step {step}");
        }
        tx.commit().await.expect("commits");
    }
    let mut tx = db.write().await.expect("tx");
    let dangling = async {
        images::move_tags(&mut tx, one, &[tag("x")], &digest(77), None, NOW).await?;
        tx.commit().await
    };
    let dangling = dangling.await;
    assert!(matches!(dangling, Err(StoreError::Conflict(_))), "{dangling:?}");
}

async fn a_person_points_a_tag_anywhere(db: &Db) {
    let (one, ada) = (repository(db, "acme", "one").await, crate::fixture::account(db, "ada").await);
    for n in 1..=2 {
        put_manifest(db, one, n, &[]).await;
    }
    let origin = |ref_seq| images::TagOrigin {
        build: BuildId::new(),
        autobuild: AutobuildId::new(),
        source_ref: "refs/heads/main".parse().expect("ref"),
        ref_seq,
        commit: "a".repeat(40).parse().expect("commit"),
    };
    let (newer, mut older) = (origin(5), origin(2));
    older.autobuild = newer.autobuild;
    let mut tx = db.write().await.expect("tx");
    let latest = tag("latest");
    images::move_tags(&mut tx, one, std::slice::from_ref(&latest), &digest(2), Some(&newer), NOW).await.expect("moves");
    assert_eq!(images::get_tag(&mut tx, one, "latest").await.expect("query").expect("stands").moved_by, None);
    images::point_tag(&mut tx, one, &latest, &digest(1), &older, ada, NOW).await.expect("moves");
    let found = images::get_tag(&mut tx, one, "latest").await.expect("query").expect("stands");
    assert_eq!((found.digest, found.origin, found.moved_by), (digest(1), Some(older), Some(ada)));
    // The next build that moves it is no person.
    images::move_tags(&mut tx, one, std::slice::from_ref(&latest), &digest(2), Some(&newer), NOW).await.expect("moves");
    assert_eq!(images::get_tag(&mut tx, one, "latest").await.expect("query").expect("stands").moved_by, None);
    images::point_tag(&mut tx, one, &tag("fresh"), &digest(1), &newer, ada, NOW).await.expect("makes it");
    assert_eq!(images::list_tags(&mut tx, one, None, 10).await.expect("lists").len(), 2);
}

async fn tags_are_listed_in_byte_order(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    for repository in [one, two] {
        put_manifest(db, repository, 1, &[]).await;
    }
    let names = ["a", "B", "_x", "1.0", "1-0", "Z", "ab", "a.b"].map(tag);
    let mut tx = db.write().await.expect("tx");
    assert_eq!(images::move_tags(&mut tx, one, &names, &digest(1), None, NOW).await.expect("moves"), names);
    images::move_tags(&mut tx, two, &[tag("other")], &digest(1), None, NOW).await.expect("moves");
    // The cache of builds is no tag of people's.
    images::move_tags(&mut tx, one, &[tag(CACHE_TAG)], &digest(1), None, NOW).await.expect("moves");
    assert!(images::get_tag(&mut tx, one, CACHE_TAG).await.expect("query").is_some());
    let mut sorted = names.map(|name| name.as_str().to_owned());
    sorted.sort();
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = images::list_tags(&mut tx, one, listed.last().map(String::as_str), 3).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        listed.extend(page.into_iter().map(|tag| tag.name.as_str().to_owned()));
    }
    assert_eq!(listed, sorted);
    assert!(images::delete_tag(&mut tx, one, "Z").await.expect("deletes"));
    assert!(!images::delete_tag(&mut tx, one, "Z").await.expect("deletes"));
    assert!(images::manifest_exists(&mut tx, one, &digest(1)).await.expect("query"));
    let by_tag = images::get_manifest_by_tag(&mut tx, one, "1.0").await.expect("query").expect("stands");
    assert_eq!(by_tag.digest, digest(1));
    assert_eq!(images::list_catalog(&mut tx, None, 10).await.expect("lists"), ["acme/one", "acme/two"]);
    assert_eq!(images::list_catalog(&mut tx, Some("acme/one"), 10).await.expect("lists"), ["acme/two"]);
    assert_eq!(images::list_catalog(&mut tx, Some("b"), 10).await.expect("lists"), Vec::<String>::new());
    tx.commit().await.expect("commits");
}

async fn uploads_belong_to_a_repository_and_an_owner(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    let later = NOW.plus(Duration::from_secs(10));
    let mut tx = db.write().await.expect("tx");
    let id = images::insert_upload(&mut tx, one, "token:a", 2, NOW, later).await.expect("inserts").expect("below the limit");
    for (repository, owner, now, wanted) in
        [(one, "token:a", NOW, true), (two, "token:a", NOW, false), (one, "token:b", NOW, false), (one, "token:a", later, false)]
    {
        let exists = images::upload_exists(&mut tx, id, repository, owner, now).await.expect("query");
        assert_eq!(exists, wanted, "{repository:?} {owner} {now}");
    }
    assert!(images::insert_upload(&mut tx, two, "token:a", 2, NOW, later).await.expect("inserts").is_some());
    assert_eq!(images::insert_upload(&mut tx, one, "token:a", 2, NOW, later).await.expect("inserts"), None, "over the limit");
    assert!(images::insert_upload(&mut tx, one, "token:b", 2, NOW, later).await.expect("inserts").is_some(), "another's limit");
    assert!(images::insert_upload(&mut tx, one, "token:a", 2, later, later).await.expect("inserts").is_some(), "expired ones do not count");
    assert!(images::delete_upload(&mut tx, id).await.expect("deletes"));
    assert!(!images::delete_upload(&mut tx, id).await.expect("deletes"));
    assert!(!images::known_upload(&mut tx, id).await.expect("query"));
    assert_eq!(images::delete_expired_uploads(&mut tx, NOW, 10).await.expect("deletes"), []);
    assert_eq!(images::delete_expired_uploads(&mut tx, later, 2).await.expect("deletes").len(), 2);
    assert_eq!(images::delete_expired_uploads(&mut tx, later, 2).await.expect("deletes").len(), 1);
    tx.commit().await.expect("commits");
}

async fn referrers_by_subject(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    let mut tx = db.write().await.expect("tx");
    for (repository, n, subject, kind) in [(one, 1, 9, "a/x"), (one, 2, 9, "a/y"), (one, 3, 8, "a/x"), (two, 4, 9, "a/x")] {
        let (digest_, subject) = (digest(n), digest(subject));
        let new = NewManifest {
            digest: &digest_,
            media_type: "m",
            artifact_type: Some(kind),
            subject: Some(&subject),
            annotations: Some("{}"),
            content: b"abc",
            refs: &[],
        };
        assert_eq!(images::insert_manifest(&mut tx, repository, &new, NOW).await.expect("inserts"), Insertion::Done);
    }
    let mut found = Vec::new();
    for (kind, after) in [(None, None), (Some("a/y"), None), (None, Some(digest(1))), (Some("none"), None)] {
        let page = images::list_referrers(&mut tx, one, &digest(9), kind, after.as_deref(), 10).await.expect("lists");
        assert!(page.iter().all(|r| r.size == 3 && r.media_type == "m" && r.annotations.as_deref() == Some("{}")));
        found.push(page.into_iter().map(|r| r.digest).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec![digest(1), digest(2)], vec![digest(2)], vec![digest(2)], vec![]]);
}

async fn a_repository_is_deleted_as_a_whole(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    for repository in [one, two] {
        put_blob(db, repository, 1).await;
        // The child's digest sorts before and after its parents'.
        put_manifest(db, repository, 20, &[(Target::Blob, 1)]).await;
        put_manifest(db, repository, 10, &[(Target::Manifest, 20)]).await;
        put_manifest(db, repository, 30, &[(Target::Manifest, 20), (Target::Manifest, 10)]).await;
        let mut tx = db.write().await.expect("tx");
        images::move_tags(&mut tx, repository, &[tag("latest")], &digest(30), None, NOW).await.expect("moves");
        images::insert_upload(&mut tx, repository, "token:a", 9, NOW, NOW).await.expect("inserts");
        tx.commit().await.expect("commits");
    }
    let mut tx = db.write().await.expect("tx");
    assert!(repositories::delete(&mut tx, one).await.expect("deletes"));
    tx.commit().await.expect("commits");
    let mut tx = db.read().await.expect("tx");
    assert!(!images::manifest_exists(&mut tx, one, &digest(20)).await.expect("query"));
    assert_eq!(images::get_blob(&mut tx, one, &digest(1)).await.expect("query"), None);
    assert_eq!(images::get_blob(&mut tx, two, &digest(1)).await.expect("query"), Some(blob(1)));
    assert!(images::get_manifest_by_tag(&mut tx, two, "latest").await.expect("query").is_some());
}

/// Pushers race with somebody who unlinks: whatever was acknowledged is whole.
async fn concurrent_pushes_of_one_image(db: &Db) {
    let one = repository(db, "acme", "one").await;
    let push = async |n: u32| {
        for round in 0..10 {
            // A client whose blob was unlinked in between pushes it again; the unlinker stops some time.
            loop {
                put_blob(db, one, 1).await;
                let mut tx = db.write().await.expect("tx");
                if insert(&mut tx, one, 100 + n * 10 + round, &[(Target::Blob, 1)]).await != Insertion::Done {
                    continue;
                }
                match tx.commit().await {
                    Ok(()) => break,
                    Err(error) => assert!(matches!(error, StoreError::Conflict(_)), "{error}"),
                }
            }
        }
    };
    let unlink = async {
        for _ in 0..20 {
            let mut tx = db.write().await.expect("tx");
            images::unlink_blob(&mut tx, one, &digest(1)).await.expect("unlinks");
            // A manifest that came between the look and the commit wins.
            if let Err(error) = tx.commit().await {
                assert!(matches!(error, StoreError::Conflict(_)), "{error}");
            }
        }
    };
    tokio::join!(push(1), push(2), push(3), unlink);
    let mut tx = db.read().await.expect("tx");
    for n in 110..140 {
        assert!(images::manifest_exists(&mut tx, one, &digest(n)).await.expect("query"), "{n} was acknowledged");
    }
    assert_eq!(images::get_blob(&mut tx, one, &digest(1)).await.expect("query"), Some(blob(1)), "30 manifests need it");
}

/// Whoever replaces a copy removes its bytes: named by nobody they stay for ever, named twice they may be somebody's.
async fn every_replaced_copy_is_named_once(db: &Db) {
    let one = repository(db, "acme", "one").await;
    let mut pushers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let db = db.clone();
        pushers.spawn(async move {
            let copy = Blob { generation: format!("copy-{n:02}"), size: 1 };
            let mut tx = db.write().await.expect("tx");
            let replaced = images::put_blob(&mut tx, one, &digest(1), &copy, NOW).await.expect("puts");
            tx.commit().await.expect("commits");
            replaced
        });
    }
    let mut known: Vec<String> = pushers.join_all().await.into_iter().flatten().collect();
    let current = images::get_blob(&mut db.read().await.expect("tx"), one, &digest(1)).await.expect("query").expect("stands");
    known.push(current.generation);
    known.sort();
    assert_eq!(known, (0..16).map(|n| format!("copy-{n:02}")).collect::<Vec<_>>());
}

async fn builds_that_move_the_same_tags(db: &Db) {
    let one = repository(db, "acme", "one").await;
    put_manifest(db, one, 1, &[]).await;
    let names: Vec<ImageTag> = (0..10).map(|n| tag(&format!("t{n}"))).collect();
    let mut movers = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (db, mut names) = (db.clone(), names.clone());
        if n % 2 == 0 {
            names.reverse();
        }
        movers.spawn(async move {
            for _ in 0..5 {
                let mut tx = db.write().await.expect("tx");
                let moved = images::move_tags(&mut tx, one, &names, &digest(1), None, NOW).await.expect("no deadlock");
                assert_eq!(moved, names, "in the order asked");
                tx.commit().await.expect("commits");
            }
        });
    }
    movers.join_all().await;
    let listed = images::list_tags(&mut db.read().await.expect("tx"), one, None, 50).await.expect("lists");
    assert_eq!(listed.into_iter().map(|tag| tag.name).collect::<Vec<_>>(), names);
}

async fn pages_of_manifests(db: &Db) {
    let (one, two) = (repository(db, "acme", "one").await, repository(db, "acme", "two").await);
    let mut wanted = Vec::new();
    for repository in [one, two] {
        for n in [1, 3, 5, 7] {
            put_manifest(db, repository, n, &[]).await;
            wanted.push((repository, digest(n)));
        }
    }
    let mut seen: Vec<(RepositoryId, String)> = Vec::new();
    loop {
        let last = seen.last().cloned();
        let after = last.as_ref().map(|(repository, digest)| (*repository, digest.as_str()));
        let page = images::list_manifests(&mut db.read().await.expect("tx"), after, 3).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3 && page.iter().all(|(_, manifest)| manifest.media_type == "application/x"));
        seen.extend(page.into_iter().map(|(repository, manifest)| (repository, manifest.digest)));
        // Behind the reader.
        put_manifest(db, one, 0, &[]).await;
    }
    assert_eq!(seen, wanted);
}
