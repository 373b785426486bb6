//! Who may do what: the token service, challenges, private and public, recreated repositories, builds.

mod common;

use common::{Client, Harness, Login, body_json, code, header};
use slipway_model::{Permission, Scope, ScopeSet, Visibility};
use slipway_oci::Digest;
use slipway_store::{accounts, repositories, teams};

const SERVICE: &str = "/auth/token";

#[tokio::test(flavor = "multi_thread")]
async fn the_challenge_leads_to_a_token() {
    let harness = Harness::start().await;
    let ann = harness.user("ann").await;
    harness.repository("ann/app", Visibility::Private).await;
    let host = &harness.address;
    for (path, scope) in [
        ("/v2/", String::new()),
        ("/v2/ann/app/manifests/latest", ",scope=\"repository:ann/app:pull\"".to_owned()),
        ("/v2/_catalog", ",scope=\"registry:catalog:*\"".to_owned()),
    ] {
        let response = harness.request("GET", path).send().await.expect("answers");
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(header(response.headers(), "docker-distribution-api-version"), "registry/2.0");
        let wanted = format!("Bearer realm=\"http://{host}/auth/token\",service=\"{host}\"{scope}");
        assert_eq!(header(response.headers(), "www-authenticate"), wanted);
        assert_eq!(code(response).await.1, "UNAUTHORIZED");
    }
    let push = harness.request("POST", "/v2/ann/app/blobs/uploads/").send().await.expect("answers");
    assert!(header(push.headers(), "www-authenticate").contains("scope=\"repository:ann/app:pull,push\""));
    let client = harness.client(Some(&ann), &["ann/app"]).await;
    assert_eq!(client.status("GET", "/v2/").await, 200);
    assert_eq!(client.status("GET", "/v2/ann/app/tags/list").await, 200);
    assert_eq!(harness.request("GET", "/v2/ann/app/nothing").send().await.expect("answers").status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_service_knows_its_people() {
    let harness = Harness::start().await;
    let ann = harness.user("ann").await;
    harness.user("bob").await;
    harness.repository("ann/app", Visibility::Private).await;
    // Wrong credentials never fall back to nobody.
    for (username, password) in [
        ("ann", "wrong"),
        ("bob", ann.password.as_str()),
        ("", ann.password.as_str()),
        ("ann", ""),
        ("slipway-build", ann.password.as_str()),
    ] {
        let get = harness.request("GET", SERVICE).basic_auth(username, Some(password)).send().await.expect("answers");
        assert_eq!(code(get).await, (401, "UNAUTHORIZED".to_owned()), "{username}");
        let form = format!("grant_type=password&username={username}&password={password}");
        let post = harness.request("POST", SERVICE).body(form).send().await.expect("answers");
        let nobody = username.is_empty() && password.is_empty();
        assert_eq!(post.status() == 401, !nobody, "{username}");
    }
    for bad in ["Basic !", "Basic YQ==", "Bearer x", "Basic"] {
        let get = harness.request("GET", SERVICE).header("authorization", bad).send().await.expect("answers");
        assert_eq!(get.status(), 401, "{bad}");
    }
    // Empty Basic is nobody: docker sends it.
    let empty = harness.request("GET", SERVICE).basic_auth("", Some("")).send().await.expect("answers");
    assert_eq!(empty.status(), 200);
    assert_eq!(header(empty.headers(), "cache-control"), "no-store");
    // POST gives the same.
    let form = format!(
        "grant_type=password&service=x&client_id=c&username=ann&password={}&scope=repository:ann/app:pull+repository:x/y:pull",
        ann.password
    );
    let post = harness.request("POST", SERVICE).body(form).send().await.expect("answers");
    assert_eq!(post.status(), 200);
    let token = body_json(post).await["access_token"].as_str().expect("token").to_owned();
    let client = Client { harness: &harness, token };
    assert_eq!(client.status("GET", "/v2/ann/app/tags/list").await, 200);
    assert_eq!(client.status("POST", "/v2/ann/app/blobs/uploads/").await, 401, "asked to pull only");
    let refresh = harness.request("POST", SERVICE).body("grant_type=refresh_token&refresh_token=x").send().await.expect("answers");
    assert_eq!(refresh.status(), 400);
    let many: Vec<(&str, &str)> = vec![("scope", "repository:a/b:pull"); 51];
    assert_eq!(harness.request("GET", SERVICE).query(&many).send().await.expect("answers").status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_and_unknown_look_the_same() {
    let harness = Harness::start().await;
    let (ann, bob) = (harness.user("ann").await, harness.user("bob").await);
    harness.repository("ann/app", Visibility::Private).await;
    harness.repository("ann/open", Visibility::Public).await;
    let owner = harness.client(Some(&ann), &["ann/app", "ann/open"]).await;
    let (digest, _) = owner.push_image("ann/app", b"secret layer", Some("latest")).await;
    let layer = Digest::sha256(b"secret layer");
    let (open, _) = owner.push_image("ann/open", b"open layer", Some("latest")).await;
    let stranger = harness.client(Some(&bob), &["ann/app", "ann/none", "ann/open"]).await;
    let nobody = harness.client(None, &["ann/app", "ann/none", "ann/open"]).await;
    for client in [&stranger, &nobody] {
        for (method, tail) in [
            ("GET", "manifests/latest".to_owned()),
            ("HEAD", "manifests/latest".to_owned()),
            ("GET", format!("manifests/{digest}")),
            ("HEAD", format!("blobs/{layer}")),
            ("GET", format!("blobs/{layer}")),
            ("GET", "tags/list".to_owned()),
            ("GET", format!("referrers/{digest}")),
            ("POST", "blobs/uploads/".to_owned()),
            ("POST", format!("blobs/uploads/?mount={layer}&from=ann/app")),
            ("PUT", "manifests/latest".to_owned()),
            ("DELETE", "manifests/latest".to_owned()),
            ("DELETE", format!("blobs/{layer}")),
        ] {
            let mut answers = Vec::new();
            for name in ["ann/app", "ann/none"] {
                let response =
                    client.request(method, &format!("/v2/{name}/{tail}")).header("range", "bytes=0-1").send().await.expect("answers");
                let mut headers = response.headers().clone();
                headers.remove("date");
                let status = response.status();
                let text = format!("{status} {headers:?} {}", response.text().await.expect("body"));
                answers.push(text.replace(name, "NAME"));
                assert_eq!(status, 401, "{method} {name}/{tail}");
            }
            assert_eq!(answers[0], answers[1]);
        }
        assert_eq!(client.status("GET", "/v2/ann/open/manifests/latest").await, 200);
        assert_eq!(client.status("GET", &format!("/v2/ann/open/manifests/{open}")).await, 200);
        assert_eq!(client.status("PUT", "/v2/ann/open/manifests/latest").await, 401);
        assert_eq!(client.status("GET", &format!("/v2/ann/open/blobs/{layer}")).await, 404, "a blob is seen through its link only");
        assert_eq!(code(client.send("GET", "/v2/_catalog").await).await, (403, "DENIED".to_owned()));
    }
    let root = harness.administrator("root").await;
    let root = harness.client(Some(&root), &[]).await;
    let catalog = body_json(root.send("GET", "/v2/_catalog").await).await;
    assert_eq!(catalog["repositories"], serde_json::json!(["ann/app", "ann/open"]));
    let page = root.send("GET", "/v2/_catalog?n=1").await;
    assert_eq!(header(page.headers(), "link"), "</v2/_catalog?n=1&last=ann%2Fapp>; rel=\"next\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_its_repository_its_time_and_its_credential() {
    let harness = Harness::start().await;
    let ann = harness.user("ann").await;
    let bob = harness.user("bob").await;
    let first = harness.repository("ann/app", Visibility::Private).await;
    harness.repository("ann/other", Visibility::Private).await;
    let client = harness.client(Some(&ann), &["ann/app", "ann/other"]).await;
    let blob = client.push_blob("ann/app", b"one").await;
    harness.delete_repository(first).await;
    assert_eq!(client.status("GET", "/v2/ann/app/tags/list").await, 401);
    harness.repository("ann/app", Visibility::Private).await;
    for (method, path) in [
        ("GET", "/v2/ann/app/tags/list".to_owned()),
        ("POST", "/v2/ann/app/blobs/uploads/".to_owned()),
        ("GET", format!("/v2/ann/app/blobs/{blob}")),
    ] {
        assert_eq!(client.status(method, &path).await, 401, "{method} {path}: the token is for the repository before");
    }
    let fresh = harness.client(Some(&ann), &["ann/app", "ann/other"]).await;
    assert_eq!(fresh.status("HEAD", &format!("/v2/ann/app/blobs/{blob}")).await, 404, "nothing is inherited");
    // Nor as the source of a mount, now that the new repository holds the very same bytes.
    assert_eq!(fresh.push_blob("ann/app", b"one").await, blob);
    let mount = format!("/v2/ann/other/blobs/uploads/?mount={blob}&from=ann/app");
    assert_eq!(client.status("POST", &mount).await, 202, "an upload begins, and nothing is mounted");
    for known in [&client, &fresh] {
        assert_eq!(known.status("HEAD", &format!("/v2/ann/other/blobs/{blob}")).await, 404);
    }
    assert_eq!(client.status("GET", &format!("/v2/ann/app/blobs/{blob}")).await, 401);
    assert_eq!(fresh.status("POST", &mount).await, 201);
    assert_eq!(fresh.status("HEAD", &format!("/v2/ann/other/blobs/{blob}")).await, 200);
    // Forged and foreign tokens.
    let parts: Vec<&str> = fresh.token.split('.').collect();
    let none = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{}.", parts[1]);
    for token in [none, format!("{}.{}.", parts[0], parts[1]), format!("{}x", fresh.token), "x".to_owned(), bob.password.clone()] {
        let forged = Client { harness: &harness, token };
        assert_eq!(forged.status("GET", "/v2/").await, 401, "{}", forged.token);
    }
    // Five minutes.
    harness.clock.advance(std::time::Duration::from_secs(299));
    assert_eq!(fresh.status("GET", "/v2/ann/app/tags/list").await, 200);
    harness.clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(fresh.status("GET", "/v2/ann/app/tags/list").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_its_repository_and_its_credential() {
    let harness = Harness::start().await;
    let (ann, bob) = (harness.user("ann").await, harness.user("bob").await);
    for name in ["ann/app", "ann/two", "bob/app"] {
        harness.repository(name, Visibility::Private).await;
    }
    let owner = harness.client(Some(&ann), &["ann/app", "ann/two"]).await;
    let other = harness.client(Some(&bob), &["bob/app"]).await;
    let location = owner.start("ann/app").await;
    let id = location.rsplit('/').next().expect("id");
    let digest = Digest::sha256(b"");
    for (client, name) in [(&other, "bob/app"), (&owner, "ann/two")] {
        let path = format!("/v2/{name}/blobs/uploads/{id}");
        for (method, path) in [("GET", path.clone()), ("PATCH", path.clone()), ("PUT", format!("{path}?digest={digest}")), ("DELETE", path)]
        {
            let answer = client.request(method, &path).body("x").send().await.expect("answers");
            assert_eq!(code(answer).await, (404, "BLOB_UPLOAD_UNKNOWN".to_owned()), "{method} {path}");
        }
    }
    let status = owner.send("GET", &location).await;
    assert_eq!((status.status().as_u16(), header(status.headers(), "range")), (204, "0-0".to_owned()), "untouched");
    let (_, login) = harness.build(harness.repository("ann/built", Visibility::Private).await).await;
    let build = harness.client(Some(&login), &["ann/app"]).await;
    assert_eq!(build.status("GET", &location).await, 401, "a build pulls from its namespace, it does not push there");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounting_reveals_nothing_and_never_refuses() {
    let harness = Harness::start().await;
    let (ann, bob) = (harness.user("ann").await, harness.user("bob").await);
    for name in ["ann/app", "ann/two", "bob/app"] {
        harness.repository(name, Visibility::Private).await;
    }
    let owner = harness.client(Some(&ann), &["ann/app", "ann/two"]).await;
    let digest = owner.push_blob("ann/app", b"layer").await;
    let thief = harness.client(Some(&bob), &["bob/app", "ann/app"]).await;
    let unknown = Digest::sha256(b"unknown");
    for query in [
        format!("mount={digest}&from=ann/app"),
        format!("mount={digest}&from=ann/none"),
        format!("mount={digest}&from=NOT%20A%20NAME"),
        format!("mount={digest}"),
        format!("mount={unknown}&from=bob/app"),
        "mount=sha256:1&from=ann/app".to_owned(),
    ] {
        let response = thief.send("POST", &format!("/v2/bob/app/blobs/uploads/?{query}")).await;
        assert_eq!(response.status(), 202, "{query}");
        assert!(header(response.headers(), "location").starts_with("/v2/bob/app/blobs/uploads/"));
        assert_eq!(thief.status("HEAD", &format!("/v2/bob/app/blobs/{digest}")).await, 404);
    }
    let mounted = owner.send("POST", &format!("/v2/ann/two/blobs/uploads/?mount={digest}&from=ann/app")).await;
    assert_eq!(mounted.status(), 201);
    assert_eq!(header(mounted.headers(), "location"), format!("/v2/ann/two/blobs/{digest}"));
    assert_eq!(owner.status("DELETE", &format!("/v2/ann/app/blobs/{digest}")).await, 202);
    assert_eq!(owner.status("GET", &format!("/v2/ann/two/blobs/{digest}")).await, 200);
    assert_eq!(owner.status("GET", &format!("/v2/ann/app/blobs/{digest}")).await, 404, "reading it elsewhere does not revive it");
    assert_eq!(owner.status("DELETE", &format!("/v2/ann/app/blobs/{digest}")).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_pushes_by_digest_to_its_own_repository() {
    let harness = Harness::start().await;
    let (ann, _) = (harness.user("ann").await, harness.user("bob").await);
    let own = harness.repository("ann/app", Visibility::Private).await;
    for (name, visibility) in [("ann/base", Visibility::Private), ("bob/base", Visibility::Private), ("bob/open", Visibility::Public)] {
        harness.repository(name, visibility).await;
    }
    let person = harness.client(Some(&ann), &["ann/app"]).await;
    let (before, _) = person.push_image("ann/app", b"old", Some("latest")).await;
    let (_, login) = harness.build(own).await;
    let build = harness.client(Some(&login), &["ann/app", "ann/base", "bob/base", "bob/open"]).await;
    let (digest, manifest) = build.push_image("ann/app", b"new", Some("latest")).await;
    assert_ne!(before, digest);
    let latest = person.send("HEAD", "/v2/ann/app/manifests/latest").await;
    assert_eq!(header(latest.headers(), "docker-content-digest"), before.as_str(), "the tag did not move");
    let put = build
        .request("PUT", &format!("/v2/ann/app/manifests/{digest}?tag=other"))
        .header("content-type", slipway_oci::media_type::OCI_MANIFEST);
    assert_eq!(put.body(manifest).send().await.expect("answers").status(), 201);
    assert_eq!(person.status("GET", "/v2/ann/app/manifests/other").await, 404);
    assert_eq!(person.status("GET", &format!("/v2/ann/app/manifests/{digest}")).await, 200, "it is stored by digest");
    for (method, path, wanted) in [
        ("GET", "/v2/ann/base/tags/list", 200),
        ("POST", "/v2/ann/base/blobs/uploads/", 401),
        ("GET", "/v2/bob/open/tags/list", 200),
        ("GET", "/v2/bob/base/tags/list", 401),
        ("POST", "/v2/bob/open/blobs/uploads/", 401),
        ("DELETE", "/v2/ann/app/manifests/latest", 401),
        ("GET", "/v2/_catalog", 403),
    ] {
        assert_eq!(build.status(method, path).await, wanted, "{method} {path}");
    }
    harness.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(build.status("GET", "/v2/ann/app/tags/list").await, 401, "the lease ended");
    let again = harness.request("GET", SERVICE).basic_auth(&login.username, Some(&login.password)).send().await.expect("answers");
    assert_eq!(again.status(), 401);
}

/// What one registry token, minted once, may do now: read, and begin a push.
async fn may(client: &Client<'_>, name: &str) -> (bool, bool) {
    let read = client.status("GET", &format!("/v2/{name}/tags/list")).await;
    let push = client.status("POST", &format!("/v2/{name}/blobs/uploads/")).await;
    assert!([200, 401].contains(&read.as_u16()) && [202, 401].contains(&push.as_u16()), "{read} {push}");
    (read == 200, push == 202)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_follows_the_rights_of_teams_at_once() {
    let harness = Harness::start().await;
    let eve = harness.user("eve").await;
    let (_, team) = harness.organization("acme", &["eve"]).await;
    let app = harness.repository("acme/app", Visibility::Private).await;
    assert!(harness.may_not(&eve, "acme/app").await, "a member without a permission");
    let change = async |permission: Option<Permission>| {
        let mut tx = harness.app.db().write().await.expect("tx");
        match permission {
            Some(permission) => assert!(teams::set_permission(&mut tx, team, app, permission).await.is_ok()),
            None => assert!(teams::remove_permission(&mut tx, team, app).await.expect("removes")),
        }
        tx.commit().await.expect("commits");
    };
    change(Some(Permission::Read)).await;
    let reader = harness.client(Some(&eve), &["acme/app"]).await;
    assert_eq!(may(&reader, "acme/app").await, (true, false));
    change(Some(Permission::Write)).await;
    assert_eq!(may(&reader, "acme/app").await, (true, false), "a token never grows");
    let writer = harness.client(Some(&eve), &["acme/app"]).await;
    assert_eq!(may(&writer, "acme/app").await, (true, true));
    change(Some(Permission::Read)).await;
    assert_eq!(may(&writer, "acme/app").await, (true, false), "a right that was taken is taken from the token too");
    change(None).await;
    assert_eq!(may(&writer, "acme/app").await, (false, false));
    change(Some(Permission::Admin)).await;
    assert_eq!(may(&writer, "acme/app").await, (true, true));
    let mut tx = harness.app.db().write().await.expect("tx");
    assert!(teams::remove_member(&mut tx, team, harness.account_id("eve").await).await.expect("removes"));
    tx.commit().await.expect("commits");
    assert_eq!(may(&writer, "acme/app").await, (false, false), "out of the team");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_public_is_no_longer_pulled() {
    let harness = Harness::start().await;
    harness.user("ann").await;
    let open = harness.repository("ann/open", Visibility::Public).await;
    let nobody = harness.client(None, &["ann/open"]).await;
    assert_eq!(may(&nobody, "ann/open").await, (true, false));
    let mut tx = harness.app.db().write().await.expect("tx");
    repositories::update(&mut tx, open, None, Some(Visibility::Private)).await.expect("changes");
    tx.commit().await.expect("commits");
    assert_eq!(may(&nobody, "ann/open").await, (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_limits_and_tokens_of_organizations() {
    let harness = Harness::start().await;
    harness.user("ann").await;
    let one = harness.repository("ann/one", Visibility::Private).await;
    harness.repository("ann/two", Visibility::Private).await;
    let ann = harness.account_id("ann").await;
    let limited = Login { username: "ann".into(), password: harness.token_of(ann, &ScopeSet::all(), Some(&[one])).await };
    let client = harness.client(Some(&limited), &["ann/one", "ann/two"]).await;
    assert_eq!(may(&client, "ann/one").await, (true, true));
    assert_eq!(may(&client, "ann/two").await, (false, false));
    let scopes = ScopeSet::new([Scope::RepoRead]);
    let reader = Login { username: "ann".into(), password: harness.token_of(ann, &scopes, None).await };
    assert_eq!(may(&harness.client(Some(&reader), &["ann/one"]).await, "ann/one").await, (true, false));
    let account = Login { username: "ann".into(), password: harness.token_of(ann, &ScopeSet::new([Scope::Account]), None).await };
    assert_eq!(may(&harness.client(Some(&account), &["ann/one"]).await, "ann/one").await, (false, false));

    let (acme, _) = harness.organization("acme", &["ann"]).await;
    harness.repository("acme/app", Visibility::Private).await;
    let robot = Login { username: "acme".into(), password: harness.token_of(acme, &ScopeSet::all(), None).await };
    let client = harness.client(Some(&robot), &["acme/app", "ann/one"]).await;
    assert_eq!(may(&client, "acme/app").await, (true, true), "an organization's token acts as the organization");
    assert_eq!(may(&client, "ann/one").await, (false, false));
    let wrong = Login { username: "ann".into(), ..robot.clone() };
    assert!(harness.refused(&wrong).await, "its name is the organization's");

    let mut tx = harness.app.db().write().await.expect("tx");
    accounts::rename(&mut tx, acme, &"acme-works".parse().expect("name"), harness.clock.now()).await.expect("renames");
    tx.commit().await.expect("commits");
    for (name, path) in [("acme", "acme/app"), ("acme-works", "acme/app"), ("acme", "acme-works/app")] {
        let login = Login { username: name.into(), ..robot.clone() };
        let client = harness.client(Some(&login), &[path]).await;
        assert_eq!(may(&client, path).await, (true, true), "{name} {path}: the former name leads on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_reads_no_more_than_those_who_write_its_settings() {
    let harness = Harness::start().await;
    harness.user("eve").await;
    let (acme, team) = harness.organization("acme", &["eve"]).await;
    let app = harness.repository("acme/app", Visibility::Private).await;
    let base = harness.repository("acme/base", Visibility::Private).await;
    let (_, build) = harness.build(app).await;
    let pulls = async || {
        let client = harness.client(Some(&build), &["acme/app", "acme/base"]).await;
        assert_eq!(client.status("GET", "/v2/acme/app/tags/list").await, 200, "its own always");
        client.status("GET", "/v2/acme/base/tags/list").await == 200
    };
    let set = async |repository, permission| {
        let mut tx = harness.app.db().write().await.expect("tx");
        teams::set_permission(&mut tx, team, repository, permission).await.expect("writes");
        tx.commit().await.expect("commits");
    };
    assert!(pulls().await, "only owners write the settings");
    set(app, Permission::Write).await;
    assert!(pulls().await, "who may start builds writes no settings");
    set(app, Permission::Admin).await;
    assert!(!pulls().await, "the team's admins may not read the base");
    set(base, Permission::Read).await;
    assert!(pulls().await);
    assert_eq!(harness.account_id("acme").await, acme);
}
