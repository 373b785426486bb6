//! Pages: going through all of them gives each row once, also when rows come in between.

use slipway_model::{BuildId, BuildState, BuilderId, DeliveryId, HookId, Visibility};
use slipway_store::builds::{BuildFilter, Part};
use slipway_store::deliveries::{self, NewDelivery};
use slipway_store::repositories::Eyes;
use slipway_store::{Db, builds, images, repositories};

use crate::fixture::{NOW, account, begin, done, look, repository, tag, world};

on_both! {
    pages_of_builds;
    pages_of_deliveries;
    pages_of_repositories;
    pages_of_tags_and_blobs;
}

async fn pages_of_builds(db: &Db) {
    let (world, noise) = (world(db, "web").await, world(db, "noise").await);
    let mut ids: Vec<BuildId> = Vec::new();
    for _ in 0..23 {
        ids.push(world.queued(db).await);
        noise.queued(db).await;
    }
    ids.reverse();
    for state in [None, Some(BuildState::Queued)] {
        let filter = BuildFilter { state, ..BuildFilter::default() };
        let mut seen: Vec<BuildId> = Vec::new();
        loop {
            let page = builds::list(&mut look(db).await, world.repository, &filter, seen.last().copied(), 5).await.expect("lists");
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 5);
            seen.extend(page.into_iter().map(|build| build.id));
            // New builds come at the front, behind the reader's back.
            world.queued(db).await;
        }
        assert_eq!(seen[seen.len() - 23..], ids, "{state:?}: none is skipped, none comes twice");
        seen.dedup();
        assert_eq!(seen.len(), if state.is_none() { 23 } else { 23 + 5 }, "the second time those that came in between are there too");
    }
    let mut tx = begin(db).await;
    builds::claim(&mut tx, BuilderId::new(), &crate::fixture::secret(slipway_model::TokenKind::Build), &crate::fixture::FREE, NOW, NOW)
        .await
        .expect("claims");
    let of = |state| BuildFilter { state: Some(state), ..BuildFilter::default() };
    let running = builds::list(&mut tx, world.repository, &of(BuildState::Running), None, 50).await.expect("lists");
    assert_eq!(running.iter().map(|build| build.id).collect::<Vec<_>>(), [ids[22]], "the oldest was claimed");
    assert!(builds::list(&mut tx, world.repository, &of(BuildState::Failed), None, 50).await.expect("lists").is_empty());
    done(tx).await;
    let waiting = builds::list_by_account(&mut look(db).await, world.account, Eyes::owner(), Part::Queued, 1000).await.expect("lists");
    let waiting: Vec<BuildId> = waiting.into_iter().map(|build| build.id).collect();
    assert!(waiting.is_sorted_by(|a, b| a < b), "the next one first, each once");
    assert_eq!(waiting.len(), 23 * 2 + 5 + 6 - 1);
    let nobody = account(db, "nobody").await;
    assert!(builds::list_by_account(&mut look(db).await, nobody, Eyes::owner(), Part::Queued, 7).await.expect("lists").is_empty());
}

async fn pages_of_deliveries(db: &Db) {
    let (web, noise) = (repository(db, "acme", "web").await, repository(db, "acme", "noise").await);
    let hook = HookId::new();
    let receive = async |repository, n: u32| {
        let text = format!("{repository}-{n}");
        let new = NewDelivery { hook, repository, delivery_id: &text, event: "push", headers: "{}", body: b"", body_sha256: &text };
        let mut tx = begin(db).await;
        let (id, _) = deliveries::insert(&mut tx, &new, NOW).await.expect("inserts");
        done(tx).await;
        id
    };
    let mut ids = Vec::new();
    for n in 0..17 {
        ids.push(receive(web, n).await);
        receive(noise, n).await;
    }
    ids.reverse();
    let mut seen: Vec<DeliveryId> = Vec::new();
    let mut n = 100;
    loop {
        let page =
            deliveries::list(&mut look(db).await, web, &deliveries::Filter::default(), seen.last().copied(), 4).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 4);
        seen.extend(page.into_iter().map(|delivery| delivery.id));
        receive(web, n).await;
        n += 1;
    }
    assert_eq!(seen, ids);
    let open = deliveries::list_open(&mut look(db).await, 6).await.expect("lists");
    assert!(open.len() == 6 && open.windows(2).all(|pair| pair[0].id < pair[1].id), "oldest first");
    assert_eq!(open[0].id, ids[16]);
}

async fn pages_of_repositories(db: &Db) {
    let names = ["b", "b-b", "bb", "b_b", "b1", "a-z", "az", "aa", "0a", "zz", "z9", "a1", "a-1"];
    for name in names {
        repository(db, "ada", &format!("x{name}")).await;
        repository(db, "bob", &format!("x{name}")).await;
    }
    let ada = account(db, "ada").await;
    let mut sorted: Vec<String> = names.iter().map(|name| format!("x{name}")).collect();
    sorted.sort();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = repositories::list(&mut look(db).await, ada, Eyes::owner(), seen.last().map(String::as_str), 3).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3 && page.iter().all(|found| found.namespace.as_str() == "ada"));
        seen.extend(page.into_iter().map(|found| found.name.as_str().to_owned()));
        // In front of the reader, and again: a name that is taken changes nothing.
        let mut tx = begin(db).await;
        let name = "w0".parse().expect("name");
        if repositories::insert(&mut tx, ada, &name, "", Visibility::Public, NOW).await.is_ok() {
            done(tx).await;
        }
    }
    assert_eq!(seen, sorted);
    let mut wanted: Vec<String> = sorted.iter().flat_map(|name| [format!("ada/{name}"), format!("bob/{name}")]).collect();
    wanted.push("ada/w0".into());
    wanted.sort();
    let mut catalog: Vec<String> = Vec::new();
    loop {
        let page = images::list_catalog(&mut look(db).await, catalog.last().map(String::as_str), 4).await.expect("lists");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 4);
        catalog.extend(page);
    }
    assert_eq!(catalog, wanted);
}

async fn pages_of_tags_and_blobs(db: &Db) {
    let web = repository(db, "acme", "web").await;
    let digest = |n: u32| format!("sha256:{n:064x}");
    let mut tx = begin(db).await;
    for n in 0..11 {
        let blob = images::Blob { generation: n.to_string(), size: 1 };
        assert_eq!(images::put_blob(&mut tx, web, &digest(n * 2), &blob, NOW).await.expect("puts"), None);
    }
    let manifest = images::NewManifest {
        digest: "sha256:m",
        media_type: "m",
        artifact_type: None,
        subject: None,
        annotations: None,
        content: b"",
        refs: &[],
    };
    images::insert_manifest(&mut tx, web, &manifest, NOW).await.expect("inserts");
    let tags: Vec<_> = (0..11).map(|n| tag(&format!("t{n:02}"))).collect();
    images::move_tags(&mut tx, web, &tags, "sha256:m", None, NOW).await.expect("moves");
    done(tx).await;
    let (mut blobs, mut names): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    loop {
        let mut tx = begin(db).await;
        let page = images::list_blobs(&mut tx, blobs.last().map(String::as_str), 3).await.expect("lists");
        let more = images::list_tags(&mut tx, web, names.last().map(String::as_str), 3).await.expect("lists");
        if page.is_empty() && more.is_empty() {
            break;
        }
        blobs.extend(page.into_iter().map(|row| row.digest));
        names.extend(more.into_iter().map(|tag| tag.name.as_str().to_owned()));
        // Behind the reader.
        let blob = images::Blob { generation: "x".into(), size: 1 };
        images::put_blob(&mut tx, web, &digest(1), &blob, NOW).await.expect("puts");
        images::move_tags(&mut tx, web, &[tag("a")], "sha256:m", None, NOW).await.expect("moves");
        done(tx).await;
    }
    assert_eq!(blobs, (0..11).map(|n| digest(n * 2)).collect::<Vec<_>>());
    assert_eq!(names, tags.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>());
}
