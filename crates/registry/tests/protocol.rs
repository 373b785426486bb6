//! What clients rely on: uploads in every way they push, reads with ranges, manifests byte for byte, lists, deletes, faults.

mod common;

use common::{Client, Harness, body_json, code, header, image};
use slipway_blobs::Limits;
use slipway_model::{RepositoryId, Visibility};
use slipway_oci::Digest;

async fn harness() -> (Harness, common::Login, RepositoryId) {
    let harness = Harness::start_with(Limits { blob: 16 << 20 }).await;
    let ann = harness.user("ann").await;
    let id = harness.repository("ann/app", Visibility::Private).await;
    (harness, ann, id)
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u64).wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

async fn get(client: &Client<'_>, path: &str) -> Vec<u8> {
    let response = client.send("GET", path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.bytes().await.expect("body").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_push_a_blob() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    let uploads = "/v2/ann/app/blobs/uploads/";
    let mut pushed = Vec::new();
    // docker: POST, one PATCH without ranges, PUT without a body.
    pushed.push((client.push_blob("ann/app", &content(3_000_000)).await, content(3_000_000)));
    // One POST.
    let bytes = content(100);
    let digest = Digest::sha256(&bytes);
    let post = client.request("POST", &format!("{uploads}?digest={digest}")).body(bytes.clone()).send().await.expect("answers");
    assert_eq!(post.status(), 201);
    assert_eq!(header(post.headers(), "location"), format!("/v2/ann/app/blobs/{digest}"));
    pushed.push((digest, bytes));
    // POST, then PUT with the body.
    let bytes = content(2_000_001);
    let digest = Digest::sha256(&bytes);
    let location = client.start("ann/app").await;
    let put = client.request("PUT", &format!("{location}?digest={digest}")).body(bytes.clone()).send().await.expect("answers");
    assert_eq!(put.status(), 201);
    pushed.push((digest, bytes));
    // Chunks with Content-Range, the last one in the PUT; status in between.
    let bytes = content(2_500_000);
    let digest = Digest::sha256(&bytes);
    let location = client.start("ann/app").await;
    let range = |from: usize, to: usize| format!("{from}-{}", to - 1);
    for (from, to) in [(0, 1_000_000), (1_000_000, 1_000_001)] {
        let patch = client.request("PATCH", &location).header("content-range", range(from, to)).body(bytes[from..to].to_vec());
        let patch = patch.send().await.expect("answers");
        assert_eq!((patch.status().as_u16(), header(patch.headers(), "range")), (202, format!("0-{}", to - 1)));
        let status = client.send("GET", &location).await;
        assert_eq!((status.status().as_u16(), header(status.headers(), "range")), (204, format!("0-{}", to - 1)));
    }
    for wrong in [range(0, 10), range(1_000_000, 1_000_010), range(1_000_002, 1_000_012)] {
        let patch =
            client.request("PATCH", &location).header("content-range", wrong).body(bytes[..10].to_vec()).send().await.expect("answers");
        assert_eq!(header(patch.headers(), "range"), "0-1000000");
        assert_eq!(code(patch).await, (416, "BLOB_UPLOAD_INVALID".to_owned()));
    }
    let malformed = client.request("PATCH", &location).header("content-range", "x-y").body("x").send().await.expect("answers");
    assert_eq!(malformed.status(), 416);
    let lying = client.request("PATCH", &location).header("content-range", "1000001-1000010").body("x").send().await.expect("answers");
    assert_eq!(code(lying).await, (400, "SIZE_INVALID".to_owned()));
    let put = client.request("PUT", &format!("{location}?digest={digest}")).header("content-range", range(1_000_001, bytes.len()));
    assert_eq!(put.body(bytes[1_000_001..].to_vec()).send().await.expect("answers").status(), 201);
    pushed.push((digest, bytes));
    // The empty blob, and sha512.
    let digest = Digest::sha256(b"");
    let location = client.start("ann/app").await;
    assert_eq!(client.status("PUT", &format!("{location}?digest={digest}")).await, 201);
    pushed.push((digest, Vec::new()));
    for (digest, bytes) in pushed {
        assert!(get(&client, &format!("/v2/ann/app/blobs/{digest}")).await == bytes, "{digest}");
        let head = client.send("HEAD", &format!("/v2/ann/app/blobs/{digest}")).await;
        assert_eq!(header(head.headers(), "content-length"), bytes.len().to_string());
        assert_eq!(header(head.headers(), "docker-content-digest"), digest.as_str());
    }
    let left: Vec<_> = std::fs::read_dir(harness.folder.path().join("blobs/uploads")).expect("folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_upload_is_said_and_dropped() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    let other = Digest::sha256(b"other");
    let location = client.start("ann/app").await;
    let mismatch = client.request("PUT", &format!("{location}?digest={other}")).body("bytes").send().await.expect("answers");
    assert_eq!(code(mismatch).await, (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(client.status("GET", &location).await, 404);
    assert_eq!(client.status("HEAD", &format!("/v2/ann/app/blobs/{other}")).await, 404);
    let location = client.start("ann/app").await;
    for bad in ["", "?digest=", "?digest=sha256:12", "?digest=md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let put = client.send("PUT", &format!("{location}{bad}")).await;
        assert_eq!(code(put).await, (400, "DIGEST_INVALID".to_owned()), "{bad}");
    }
    assert_eq!(client.status("DELETE", &location).await, 204);
    assert_eq!(client.status("DELETE", &location).await, 404);
    assert_eq!(client.status("PATCH", "/v2/ann/app/blobs/uploads/not-an-id").await, 404);
    // Over the limit, announced or not.
    let large = content((16 << 20) + 1);
    let location = client.start("ann/app").await;
    let announced = client.request("PATCH", &location).body(large.clone()).send().await;
    assert!(announced.is_err() || announced.expect("answered").status() == 413);
    assert_eq!(client.status("GET", &location).await, 404, "dropped");
    // Nobody else's time is spent on what nobody finishes.
    let location = client.start("ann/app").await;
    client.request("PATCH", &location).body("abc").send().await.expect("answers");
    assert_eq!(harness.registry.sweep_uploads().await, slipway_registry::Swept { expired: 0, orphaned: 0 });
    harness.clock.advance(std::time::Duration::from_secs(25 * 3600));
    assert_eq!(harness.registry.sweep_uploads().await, slipway_registry::Swept { expired: 1, orphaned: 0 });
    std::fs::write(harness.folder.path().join("blobs/uploads/018f2b3c-aaaa-7bbb-8ccc-0123456789ab"), "left over").expect("writes");
    assert_eq!(harness.registry.sweep_uploads().await, slipway_registry::Swept { expired: 0, orphaned: 1 });
    assert!(std::fs::read_dir(harness.folder.path().join("blobs/uploads")).expect("folder").next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    for bytes in [content(1000), content(3_000_000)] {
        let digest = client.push_blob("ann/app", &bytes).await;
        let path = format!("/v2/ann/app/blobs/{digest}");
        let n = bytes.len();
        let full = 0..n;
        for (range, status, part) in [
            ("bytes=0-0", 206, 0..1),
            ("bytes=10-19", 206, 10..20),
            ("bytes=-5", 206, n - 5..n),
            ("bytes=1-", 206, 1..n),
            ("bytes=0-1,4-5", 200, full.clone()),
            ("bytes=x", 200, full.clone()),
        ] {
            let response = client.request("GET", &path).header("range", range).send().await.expect("answers");
            assert_eq!(response.status(), status, "{range}");
            if status == 206 {
                assert_eq!(header(response.headers(), "content-range"), format!("bytes {}-{}/{n}", part.start, part.end - 1));
            }
            assert!(response.bytes().await.expect("body") == bytes[part], "{range}");
        }
        let beyond = client.request("GET", &path).header("range", format!("bytes={n}-")).send().await.expect("answers");
        assert_eq!((beyond.status().as_u16(), header(beyond.headers(), "content-range")), (416, format!("bytes */{n}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_served_as_they_came() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    let (digest, manifest) = client.push_image("ann/app", b"layer", Some("v1")).await;
    for reference in ["v1", digest.as_str()] {
        for method in ["GET", "HEAD"] {
            let response = client.send(method, &format!("/v2/ann/app/manifests/{reference}")).await;
            assert_eq!(response.status(), 200);
            assert_eq!(header(response.headers(), "content-type"), slipway_oci::media_type::OCI_MANIFEST);
            assert_eq!(header(response.headers(), "content-length"), manifest.len().to_string());
            assert_eq!(header(response.headers(), "docker-content-digest"), digest.as_str());
            let body = response.text().await.expect("body");
            assert_eq!(body, if method == "GET" { manifest.as_str() } else { "" });
        }
    }
    let wrong = Digest::sha256(b"wrong");
    assert_eq!(code(client.put_manifest("ann/app", wrong.as_str(), &manifest).await).await, (400, "DIGEST_INVALID".to_owned()));
    let config = Digest::sha256(b"{}");
    let layer = Digest::sha256(b"layer");
    let missing = Digest::sha256(b"missing");
    for (bad, wanted) in [
        (image(&config, 2, &missing, 7), "MANIFEST_BLOB_UNKNOWN"),
        (image(&config, 3, &layer, 5), "MANIFEST_INVALID"),
        (manifest.replace("\"layers\"", "\"layers\": [], \"layers\""), "MANIFEST_INVALID"),
        (manifest.replace("image.manifest.v1", "image.index.v1"), "MANIFEST_INVALID"),
        ("not json".to_owned(), "MANIFEST_INVALID"),
        (String::new(), "MANIFEST_INVALID"),
    ] {
        assert_eq!(code(client.put_manifest("ann/app", "v2", &bad).await).await, (400, wanted.to_owned()), "{bad}");
    }
    assert_eq!(client.status("GET", "/v2/ann/app/manifests/v2").await, 404);
    assert_eq!(code(client.put_manifest("ann/app", ".bad", &manifest).await).await.0, 400);
    assert_eq!(code(client.send("GET", "/v2/ann/app/manifests/.bad").await).await, (404, "MANIFEST_UNKNOWN".to_owned()));
    // Large ones: 4 MiB are taken, more are not.
    let pad = |n: usize| format!("{{\"annotations\":{{\"x\":\"{}\"}},{}", "x".repeat(n), &manifest[1..]);
    let base = pad(0).len();
    assert_eq!(client.put_manifest("ann/app", "large", &pad((4 << 20) - base)).await.status(), 201);
    let over = client.put_manifest("ann/app", "over", &pad((4 << 20) - base + 1)).await;
    assert_eq!(code(over).await, (413, "SIZE_INVALID".to_owned()));
    // An index of them, and several tags at once.
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":{}}}]}}",
        slipway_oci::media_type::OCI_INDEX,
        slipway_oci::media_type::OCI_MANIFEST,
        manifest.len()
    );
    let index_digest = Digest::sha256(index.as_bytes());
    let put = client.request("PUT", &format!("/v2/ann/app/manifests/{index_digest}?tag=a&tag=b")).body(index.clone());
    let put = put.header("content-type", slipway_oci::media_type::OCI_INDEX).send().await.expect("answers");
    assert_eq!(put.status(), 201);
    let tags: Vec<_> = put.headers().get_all("oci-tag").iter().map(|v| v.to_str().expect("text").to_owned()).collect();
    assert_eq!(tags, ["a", "b"]);
    assert_eq!(get(&client, "/v2/ann/app/manifests/b").await, index.as_bytes());
    // What something needs stays; what nothing needs goes, with its tags.
    let delete = async |path: String| code(client.send("DELETE", &path).await).await;
    assert_eq!(delete(format!("/v2/ann/app/manifests/{digest}")).await, (405, "UNSUPPORTED".to_owned()));
    assert_eq!(delete(format!("/v2/ann/app/blobs/{layer}")).await, (405, "UNSUPPORTED".to_owned()));
    assert_eq!(client.status("DELETE", "/v2/ann/app/manifests/a").await, 202);
    assert_eq!(client.status("GET", "/v2/ann/app/manifests/a").await, 404);
    assert_eq!(client.status("GET", "/v2/ann/app/manifests/b").await, 200);
    assert_eq!(client.status("DELETE", &format!("/v2/ann/app/manifests/{index_digest}")).await, 202);
    assert_eq!(client.status("GET", "/v2/ann/app/manifests/b").await, 404);
    assert_eq!(client.status("DELETE", &format!("/v2/ann/app/manifests/{digest}")).await, 202);
    assert_eq!(delete(format!("/v2/ann/app/manifests/{digest}")).await, (404, "MANIFEST_UNKNOWN".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_referrers_come_in_pages() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    let empty = body_json(client.send("GET", "/v2/ann/app/tags/list").await).await;
    assert_eq!(empty, serde_json::json!({ "name": "ann/app", "tags": [] }));
    let (digest, manifest) = client.push_image("ann/app", b"layer", Some("a")).await;
    for tag in ["B", "c", "_d"] {
        assert_eq!(client.put_manifest("ann/app", tag, &manifest).await.status(), 201);
    }
    let mut path = "/v2/ann/app/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let response = client.send("GET", &path).await;
        let link = response.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
        pages.push(body_json(response).await["tags"].clone());
        let Some(link) = link else { break };
        path = link.strip_prefix('<').and_then(|l| l.split_once(">; rel=\"next\"")).expect("form").0.to_owned();
    }
    assert_eq!(pages, [serde_json::json!(["B", "_d"]), serde_json::json!(["a", "c"])]);
    let none = client.send("GET", "/v2/ann/app/tags/list?n=0").await;
    assert!(none.headers().get("link").is_none());
    assert_eq!(body_json(none).await["tags"], serde_json::json!([]));
    let after = body_json(client.send("GET", "/v2/ann/app/tags/list?last=Z").await).await;
    assert_eq!(after["tags"], serde_json::json!(["_d", "a", "c"]));
    // Referrers: a manifest with a subject, which needs not exist.
    let path = format!("/v2/ann/app/referrers/{digest}");
    let response = client.send("GET", &path).await;
    assert_eq!(header(response.headers(), "content-type"), slipway_oci::media_type::OCI_INDEX);
    assert_eq!(body_json(response).await["manifests"], serde_json::json!([]));
    let subject = format!(
        "{{\"subject\":{{\"mediaType\":\"x/y\",\"digest\":\"{digest}\",\"size\":1}},\"artifactType\":\"test/sbom\",\"annotations\":{{\"k\":\"v\"}},{}",
        &manifest.trim_start()[1..]
    );
    let put = client.put_manifest("ann/app", Digest::sha256(subject.as_bytes()).as_str(), &subject).await;
    assert_eq!((put.status().as_u16(), header(put.headers(), "oci-subject")), (201, digest.to_string()));
    for (query, count) in [("", 1), ("?artifactType=test%2Fsbom", 1), ("?artifactType=other", 0)] {
        let response = client.send("GET", &format!("{path}{query}")).await;
        assert_eq!(response.headers().contains_key("oci-filters-applied"), !query.is_empty());
        let list = body_json(response).await["manifests"].clone();
        assert_eq!(list.as_array().expect("list").len(), count, "{query}");
        if count == 1 {
            assert_eq!((list[0]["artifactType"].as_str(), list[0]["annotations"]["k"].as_str()), (Some("test/sbom"), Some("v")));
            assert_eq!(list[0]["size"], subject.len());
        }
    }
}

/// A 200 always has its digest; what is broken is never served whole, and a push heals it.
#[tokio::test(flavor = "multi_thread")]
async fn broken_bytes_are_not_served_and_a_push_heals() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    for (length, large) in [(5000, false), (3_000_000, true)] {
        let bytes = content(length);
        for fault in ["corrupt", "truncate", "remove"] {
            let digest = client.push_blob("ann/app", &bytes).await;
            let path = format!("/v2/ann/app/blobs/{digest}");
            assert!(get(&client, &path).await == bytes);
            let folder = harness.folder.path().join("blobs/sha256").join(&digest.hex()[..2]);
            let files: Vec<_> = std::fs::read_dir(folder).expect("folder").map(|f| f.expect("entry").path()).collect();
            assert_eq!(files.len(), 1, "a replaced copy is removed");
            let file = &files[0];
            match fault {
                "corrupt" => {
                    use std::os::unix::fs::MetadataExt;
                    let before = std::fs::metadata(file).expect("stands").mtime_nsec();
                    let mut wrong = bytes.clone();
                    wrong[length - 1] ^= 1;
                    while std::fs::metadata(file).expect("stands").mtime_nsec() == before {
                        std::fs::write(file, &wrong).expect("writes");
                    }
                }
                "truncate" => std::fs::write(file, &bytes[..length - 1]).expect("writes"),
                _ => std::fs::remove_file(file).expect("removes"),
            }
            let response = client.send("GET", &path).await;
            let status = response.status();
            let body = response.bytes().await;
            if large && fault == "corrupt" {
                assert!(body.is_err(), "the connection breaks before the last byte");
            } else {
                assert!(status == 500 || status == 404, "{status} {fault}");
            }
            assert_eq!(client.status("HEAD", &path).await, 404, "so that a client pushes it again");
            assert_eq!(client.push_blob("ann/app", &bytes).await, digest);
            assert!(get(&client, &path).await == bytes, "healed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_and_pulls_of_one_blob() {
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    let bytes = content(1_500_000);
    let digest = client.push_blob("ann/app", &bytes).await;
    let path = format!("/v2/ann/app/blobs/{digest}");
    let push = async || {
        for _ in 0..8 {
            client.push_blob("ann/app", &bytes).await;
        }
    };
    let pull = async || {
        for _ in 0..20 {
            assert!(get(&client, &path).await == bytes);
        }
    };
    tokio::join!(push(), push(), pull(), pull());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_finds_what_is_broken() {
    use slipway_registry::{Depth, Report};
    let (harness, ann, _) = harness().await;
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    client.push_image("ann/app", b"layer one", Some("v1")).await;
    client.push_image("ann/app", b"layer two", Some("v2")).await;
    let clean = Report { blobs: 3, manifests: 2, ..Report::default() };
    for depth in [Depth::Shallow, Depth::Deep] {
        assert_eq!(harness.registry.check(depth).await.expect("checks"), clean);
    }
    let file = |digest: &Digest| {
        let folder = harness.folder.path().join("blobs/sha256").join(&digest.hex()[..2]);
        let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
        entries.into_iter().find(|path| path.to_string_lossy().contains(digest.hex())).expect("stands")
    };
    let (one, two) = (Digest::sha256(b"layer one"), Digest::sha256(b"layer two"));
    std::fs::write(file(&one), b"layer 0ne").expect("writes");
    assert_eq!(harness.registry.check(Depth::Shallow).await.expect("checks").faults, 0, "length is right");
    let deep = harness.registry.check(Depth::Deep).await.expect("checks");
    assert_eq!((deep.faults, deep.told.len()), (1, 1));
    assert!(deep.told[0].contains(one.as_str()) && deep.told[0].contains("hash to"), "{:?}", deep.told);
    std::fs::remove_file(file(&two)).expect("removes");
    let shallow = harness.registry.check(Depth::Shallow).await.expect("checks");
    assert_eq!((shallow.faults, shallow.unreferenced), (1, 0));
    assert!(shallow.told[0].contains(two.as_str()) && shallow.told[0].contains("missing"), "{:?}", shallow.told);
    // A copy without a row is counted, not blamed.
    let stray = Digest::sha256(b"stray");
    let folder = harness.folder.path().join("blobs/sha256").join(&stray.hex()[..2]);
    std::fs::create_dir_all(&folder).expect("folder");
    std::fs::write(folder.join(format!("{}.018f2b3caaaa7bbb8ccc0123456789ab", stray.hex())), "stray").expect("writes");
    assert_eq!(harness.registry.check(Depth::Shallow).await.expect("checks").unreferenced, 1);
}
