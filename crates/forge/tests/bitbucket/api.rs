//! Reading: people, workspaces, repositories, refs. What recorded answers become, and what is sent for them.

use serde_json::{Value, json};
use slipway_forge::{Coverage, ForgeError, Fresh, NamespaceKind, SourceKey};
use slipway_model::{NamespaceAccess, RefName};

use crate::scripted::*;

const SHA: &str = "a6e5e7d797edf751cbd839d6bd4aef86c941eec9";
const UUID: &str = "{7dd600e6-0d9c-4801-b967-cb4cc17359ff}";
const OTHER_UUID: &str = "{21fa9bf8-b5b2-4891-97ed-d590bad0f871}";

fn repository(uuid: &str, full_name: &str) -> Value {
    let mut body = fixture("api/goscm__repo.json");
    body["uuid"] = json!(uuid);
    body["full_name"] = json!(full_name);
    body
}

#[tokio::test]
async fn a_person_is_a_uuid_and_every_call_carries_the_token_in_its_header() {
    let bitbucket =
        Scripted::start(|_, _| answer(200, fixture("api/goscm__user.json")).with("x-oauth-scopes", "account, repository")).await;
    let person = bitbucket.client().person(&token()).await.unwrap();
    assert_eq!(
        (person.id.as_str(), person.login.as_str(), person.name.as_deref()),
        ("{87bb15eb-47c1-49b3-9f16-ca824a2979a4}", "brydzewski", Some("Brad Rydzewski"))
    );
    assert_eq!(person.scopes, ["account", "repository"]);
    assert_eq!(person.avatar_url.unwrap().as_str(), "https://bitbucket.org/account/brydzewski/avatar/32/");
    let requests = bitbucket.requests();
    assert_eq!((requests.len(), requests[0].line().as_str()), (1, "GET /2.0/user"));
    assert_eq!(requests[0].header("authorization"), format!("Bearer {TOKEN}"));
    assert!(requests[0].query.is_empty() && requests[0].header("user-agent").starts_with("slipway/"));
}

#[tokio::test]
async fn the_version_may_stand_in_the_configured_address() {
    let bitbucket = Scripted::start(|_, _| answer(200, fixture("api/goscm__user.json"))).await;
    for path in ["2.0", "2.0/", ""] {
        let mut provider = provider(&bitbucket.origin);
        provider.api_url = bitbucket.origin.join(path).unwrap();
        slipway_forge::open(provider).unwrap().person(&token()).await.unwrap();
    }
    assert_eq!(bitbucket.lines(), ["GET /2.0/user"; 3]);
}

#[tokio::test]
async fn names_are_display_and_may_be_missing() {
    let uuid = "{87bb15eb-47c1-49b3-9f16-ca824a2979a4}";
    for (body, login) in [
        (json!({ "uuid": uuid, "nickname": "nick", "username": "old", "display_name": "Shown" }), "nick"),
        (json!({ "uuid": uuid, "nickname": "", "username": "old" }), "old"),
        (json!({ "uuid": uuid, "display_name": "Sh\u{0}own", "links": { "avatar": { "href": "file:///etc/passwd" } } }), "Sh own"),
        (json!({ "uuid": uuid, "nickname": null, "links": {} }), uuid),
    ] {
        let bitbucket = Scripted::start(move |_, _| answer(200, body.clone())).await;
        let person = bitbucket.client().person(&token()).await.unwrap();
        assert_eq!((person.id.as_str(), person.login.as_str(), person.avatar_url), (uuid, login, None));
    }
    for odd in [json!({ "uuid": "x" }), json!({ "uuid": 7 }), json!({}), json!([uuid, "nick"])] {
        let bitbucket = Scripted::start(move |_, _| answer(200, odd.clone())).await;
        assert!(matches!(bitbucket.client().person(&token()).await, Err(ForgeError::Unexpected { status: 200, .. })));
    }
}

#[tokio::test]
async fn a_picture_is_fetched_without_the_token_and_only_if_it_is_one() {
    let png = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', 0];
    let bitbucket = Scripted::start(move |request, _| match request.path.as_str() {
        "/avatars/1" => raw(200, "application/octet-stream", png),
        _ => raw(200, "image/png", "<svg onload=\"x\">"),
    })
    .await;
    let client = bitbucket.client();
    let picture = client.picture(&bitbucket.origin.join("avatars/1").unwrap()).await.unwrap();
    assert_eq!((picture.media_type, &picture.content[..]), ("image/png", &png[..]));
    assert!(client.picture(&bitbucket.origin.join("avatars/2").unwrap()).await.is_err());
    assert!(client.picture(&"http://127.0.0.2:1/x".parse().unwrap()).await.is_err(), "it is no public address");
    assert!(bitbucket.requests().iter().all(|request| request.header("authorization").is_empty()));
}

#[tokio::test]
async fn a_probe_is_conditional_where_bitbucket_sends_an_etag() {
    let bitbucket = Scripted::start(|request, _| match request.header("if-none-match") {
        "\"e1\"" => raw(304, "text/plain", ""),
        _ => answer(200, fixture("api/goscm__user.json")).with("etag", "\"e1\""),
    })
    .await;
    let client = bitbucket.client();
    let Fresh::Changed { marker, .. } = client.probe(&token(), None).await.unwrap() else { panic!() };
    assert_eq!(marker.as_deref(), Some("\"e1\""));
    assert_eq!(client.probe(&token(), marker.as_deref()).await.unwrap(), Fresh::Unchanged);
    assert!(matches!(client.probe(&token(), Some("\"e0\"")).await.unwrap(), Fresh::Changed { .. }));

    let without = Scripted::start(|_, _| answer(200, fixture("api/goscm__user.json"))).await;
    assert!(matches!(without.client().probe(&token(), None).await.unwrap(), Fresh::Changed { marker: None, .. }));
    // Unchanged is no answer to who did not ask.
    let liar = Scripted::start(|_, _| raw(304, "text/plain", "")).await;
    assert!(matches!(liar.client().probe(&token(), None).await, Err(ForgeError::Unexpected { status: 304, .. })));
}

#[tokio::test]
async fn namespaces_are_every_page_of_workspaces_and_the_own_one_is_first() {
    let bitbucket = Scripted::start(|request, own| match (request.path.as_str(), request.query.get("page").map(String::as_str)) {
        ("/2.0/user", _) => answer(200, json!({ "uuid": OTHER_UUID, "nickname": "Emma" })),
        ("/2.0/user/workspaces", None) => {
            let mut body = fixture("openapi-examples/get.user.workspaces.200.response.json");
            body["next"] = json!(format!("{own}2.0/user/workspaces?pagelen=100&page=2"));
            answer(200, body)
        }
        ("/2.0/user/workspaces", Some("2")) => {
            let workspace = |uuid: &str, slug: &str, administrator: bool| {
                json!({ "type": "workspace_access", "administrator": administrator, "workspace": { "uuid": uuid, "slug": slug } })
            };
            page(json!([workspace(UUID, "emma", true), workspace(OTHER_UUID, "renamed", true)]), None)
        }
        _ => not_found(),
    })
    .await;
    let client = bitbucket.client();
    let namespaces = client.source_namespaces(&token()).await.unwrap();
    let seen: Vec<_> = namespaces.iter().map(|found| (found.name.as_str(), found.kind, found.access)).collect();
    assert_eq!(
        seen,
        [
            ("emma", NamespaceKind::User, NamespaceAccess::Granted),
            ("renamed", NamespaceKind::User, NamespaceAccess::Granted),
            ("bbworkspace1", NamespaceKind::Organization, NamespaceAccess::Granted),
        ]
    );
    assert_eq!(namespaces[2].id, "{470c176d-3574-44ea-bb41-89e8638bcca4}");
    assert_eq!(namespaces[2].grant_url, Some(client.app_settings_url()));
    assert_eq!(bitbucket.requests()[1].query["pagelen"], "100");
    assert!(bitbucket.lines().iter().all(|line| line == "GET /2.0/user" || line == "GET /2.0/user/workspaces"));
}

#[tokio::test]
async fn an_older_recording_of_workspaces_ends_with_an_empty_next() {
    let bitbucket = Scripted::start(|request, _| match request.path.as_str() {
        "/2.0/user" => answer(200, fixture("api/goscm__user.json")),
        _ => answer(200, fixture("api/goscm__user_workspaces.json")),
    })
    .await;
    let names: Vec<String> = bitbucket.client().source_namespaces(&token()).await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["my-workspace", "team-workspace"]);
}

#[tokio::test]
async fn repositories_are_listed_page_by_page_and_a_cursor_leads_nowhere_else() {
    let bitbucket = Scripted::start(|request, own| match (request.path.as_str(), request.query.get("page").map(String::as_str)) {
        ("/2.0/repositories/acme", None) => page(
            json!([repository(UUID, "acme/api"), repository(OTHER_UUID, "acme/web")]),
            Some(format!("{own}2.0/repositories/acme?role=member&pagelen=100&sort=full_name&page=2")),
        ),
        ("/2.0/repositories/acme", Some("2")) => page(json!([repository(UUID, "acme/zoo")]), None),
        ("/2.0/repositories/mixed", _) => page(json!([]), Some(format!("{own}2.0/repositories/other?page=2"))),
        _ => not_found(),
    })
    .await;
    let client = bitbucket.client();
    let first = client.source_repositories(&token(), "acme", None).await.unwrap();
    let found = &first.items[0];
    assert_eq!((found.id.as_str(), found.full_name.as_str(), found.default_branch.as_str()), (UUID, "acme/api", "master"));
    assert_eq!((found.private, found.archived, found.pushed.as_deref()), (true, false, Some("2018-04-01T16:36:35.970175+00:00")));
    assert_eq!(found.web_url, bitbucket.origin.join("acme/api").unwrap());
    let second = client.source_repositories(&token(), "acme", first.next.as_deref()).await.unwrap();
    assert_eq!((second.items.len(), second.items[0].full_name.as_str(), second.next), (1, "acme/zoo", None));
    let queries: Vec<_> = bitbucket.requests().into_iter().map(|request| request.query).collect();
    for query in &queries {
        assert_eq!((query["role"].as_str(), query["pagelen"].as_str(), query["sort"].as_str()), ("member", "100", "full_name"));
    }
    // What comes back from a browser is only ever the query of the same list.
    for cursor in ["page=2#/../../user", "https://evil.example/?page=2", "/../user?page=2", "page=2 HTTP/1.1\r\nX: y"] {
        client.source_repositories(&token(), "acme", Some(cursor)).await.ok();
    }
    for request in &bitbucket.requests.lock().unwrap()[2..] {
        assert_eq!(request.line(), "GET /2.0/repositories/acme");
        assert_eq!(request.header("x"), "");
    }
    // Bitbucket describes no such queries; nobody but the person who made them up gets anything for them.
    bitbucket.requests.lock().unwrap().clear();
    assert!(client.source_repositories(&token(), "acme", Some(&"x".repeat(3000))).await.is_err());
    let mixed = client.source_repositories(&token(), "mixed", None).await.unwrap_err();
    assert!(mixed.to_string().contains("another list"), "{mixed}");
    for odd in ["", "..", "a/b", "a?b", "{}"] {
        assert_eq!(client.source_repositories(&token(), odd, None).await, Err(ForgeError::NotFound), "{odd}");
    }
}

#[tokio::test]
async fn an_empty_repository_has_a_branch_to_come() {
    let bitbucket = Scripted::start(|request, _| {
        let mut body = repository(UUID, "acme/empty");
        match request.path.ends_with("null") {
            true => body["mainbranch"] = Value::Null,
            false => drop(body.as_object_mut().unwrap().remove("mainbranch")),
        }
        answer(200, body)
    })
    .await;
    for name in ["acme/null", "acme/missing"] {
        assert_eq!(bitbucket.client().source_repository(&token(), name).await.unwrap().unwrap().default_branch, "main");
    }
}

#[tokio::test]
async fn a_repository_is_found_by_its_uuid_and_never_another_one() {
    let id = UUID.replace('{', "%7B").replace('}', "%7D");
    let bitbucket = Scripted::start(move |request, _| {
        let path = request.path.strip_prefix("/2.0/repositories/").unwrap();
        match path.split_once('/').unwrap() {
            ("acme", asked) if asked == id => answer(200, repository(UUID, "acme/renamed")),
            ("old", _) => answer(404, fixture("api/goscm__error.json")),
            // Somebody made a new repository where the old one was.
            ("taken", _) => answer(200, repository(OTHER_UUID, "taken/site")),
            ("%7B%7D", asked) if asked == id => answer(200, repository(UUID, "new-owner/site")),
            _ => not_found(),
        }
    })
    .await;
    let client = bitbucket.client();
    let find = |full_name: &'static str, id: &'static str| {
        let client = client.clone();
        async move { client.source_repository_by_id(&token(), SourceKey { id, full_name }).await.unwrap().map(|found| found.full_name) }
    };
    assert_eq!(find("acme/site", UUID).await.as_deref(), Some("acme/renamed"));
    assert_eq!(bitbucket.requests().len(), 1);
    assert_eq!(find("old/site", UUID).await.as_deref(), Some("new-owner/site"));
    assert_eq!(find("taken/site", UUID).await.as_deref(), Some("new-owner/site"));
    assert_eq!(find("not a name", UUID).await.as_deref(), Some("new-owner/site"));
    assert_eq!(find("taken/site", "{00000000-0000-4000-8000-000000000000}").await, None);
    let before = bitbucket.requests().len();
    for odd in ["7", "", "{}", "../../user", "{7dd600e6-0d9c-4801-b967-cb4cc17359f/}"] {
        assert_eq!(find("acme/site", odd).await, None, "{odd}");
    }
    assert_eq!(bitbucket.requests().len(), before);
}

#[tokio::test]
async fn heads_are_all_pages_of_branches_and_tags_with_their_commits() {
    let bitbucket = Scripted::start(|request, own| match (request.path.as_str(), request.query.get("page").map(String::as_str)) {
        ("/2.0/repositories/acme/site/refs", None) => page(
            fixture("openapi-examples/get.repositories.workspace.repo_slug.refs.branches.200.response.json")["values"].clone(),
            Some(format!("{own}2.0/repositories/acme/site/refs?pagelen=100&page=2")),
        )
        .with("etag", "\"of-the-first-page\""),
        ("/2.0/repositories/acme/site/refs", Some("2")) => page(
            json!([
                fixture("api/goscm__tags.json")["values"][0],
                { "type": "branch", "name": "a..b", "target": { "hash": SHA } },
                { "type": "bookmark", "name": "x", "target": { "hash": SHA } },
                { "type": "tag", "name": "of-a-tree", "target": null },
                { "type": "branch", "name": "feature/a#b ü".replace(' ', "-"), "target": { "hash": SHA } },
            ]),
            None,
        ),
        ("/2.0/repositories/acme/one-page/refs", _) if request.header("if-none-match") == "\"r1\"" => raw(304, "text/plain", ""),
        ("/2.0/repositories/acme/one-page/refs", _) => page(json!([]), None).with("etag", "\"r1\""),
        ("/2.0/repositories/acme/odd/refs", _) => {
            page(json!([{ "type": "branch", "name": "x", "target": { "hash": "--upload-pack" } }]), None)
        }
        _ => not_found(),
    })
    .await;
    let client = bitbucket.client();
    let Fresh::Changed { value, marker } = client.heads(&token(), "acme/site", None).await.unwrap() else { panic!() };
    assert_eq!((value.coverage, marker), (Coverage::Whole, None), "the marker of one page is none of all");
    let expected = fixture("openapi-examples/get.repositories.workspace.repo_slug.refs.branches.200.response.json")["values"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(value.refs.len(), expected + 2);
    let commit_of = |name: &str| value.refs.iter().find(|found| found.name.as_str() == name).map(|found| found.commit.as_str());
    assert_eq!(commit_of("refs/tags/@atlaskit/activity@1.0.3"), Some("ceb01356c3f062579bdfeb15bc53fe151b9e00f0"));
    assert_eq!(commit_of("refs/heads/feature/a#b-ü"), Some(SHA));
    let asked = &bitbucket.requests()[0].query;
    assert_eq!((asked["pagelen"].as_str(), asked["fields"].as_str()), ("100", "next,values.type,values.name,values.target.hash"));

    let Fresh::Changed { value, marker } = client.heads(&token(), "acme/one-page", None).await.unwrap() else { panic!() };
    assert_eq!((value.refs.len(), value.coverage, marker.as_deref()), (0, Coverage::Whole, Some("\"r1\"")));
    assert_eq!(client.heads(&token(), "acme/one-page", marker.as_deref()).await.unwrap(), Fresh::Unchanged);
    assert!(matches!(client.heads(&token(), "acme/odd", None).await, Err(ForgeError::Unexpected { .. })));
    assert_eq!(client.heads(&token(), "acme/gone", None).await, Err(ForgeError::NotFound));
}

#[tokio::test]
async fn a_ref_is_one_encoded_segment_and_its_absence_is_not_the_repositorys() {
    let bitbucket = Scripted::start(|request, _| match request.path.as_str() {
        "/2.0/repositories/acme/site/refs/branches/master" => answer(200, fixture("api/goscm__branch.json")),
        "/2.0/repositories/acme/site/refs/branches/feature%2Fa%23b" => {
            answer(200, json!({ "type": "branch", "name": "feature/a#b", "target": { "hash": SHA } }))
        }
        path if path.starts_with("/2.0/repositories/acme/recorded/refs/tags/") => answer(200, fixture("api/goscm__tag.json")),
        "/2.0/repositories/acme/site/refs/tags/v1" => answer(200, json!({ "type": "tag", "name": "v1", "target": null })),
        "/2.0/repositories/acme/site/refs/tags/v2" => answer(200, json!({ "type": "tag", "name": "v3", "target": { "hash": SHA } })),
        "/2.0/repositories/acme/site" => answer(200, repository(UUID, "acme/site")),
        _ => answer(404, fixture("api/goscm__error.json")),
    })
    .await;
    let client = bitbucket.client();
    let resolve = |full_name: &'static str, name: &str| {
        let (client, name) = (client.clone(), name.parse::<RefName>().unwrap());
        async move { client.resolve(&token(), full_name, &name).await.map(|found| found.map(|commit| commit.to_string())) }
    };
    assert_eq!(resolve("acme/site", "refs/heads/master").await, Ok(Some(SHA.to_owned())));
    assert_eq!(resolve("acme/site", "refs/heads/feature/a#b").await, Ok(Some(SHA.to_owned())));
    let tag = fixture("api/goscm__tag.json");
    let name = format!("refs/tags/{}", tag["name"].as_str().unwrap());
    assert_eq!(resolve("acme/recorded", &name).await, Ok(tag["target"]["hash"].as_str().map(str::to_owned)));
    assert_eq!(resolve("acme/site", "refs/tags/v1").await, Ok(None), "it leads to no commit");
    assert!(resolve("acme/site", "refs/tags/v2").await.unwrap_err().to_string().contains("another branch or tag"));
    assert_eq!(resolve("acme/site", "refs/heads/gone").await, Ok(None));
    assert_eq!(resolve("acme/lost", "refs/heads/master").await, Err(ForgeError::NotFound));
    for name in ["-h", "--upload-pack=x", "a%2e%2e", "ü/ö", "a#b", "a&b=c", "a;b", "a'b\"c", "a@b", "a+b", "<a>", "{a}"] {
        assert_eq!(resolve("acme/site", &format!("refs/heads/{name}")).await, Ok(None));
    }
    for request in bitbucket.requests() {
        let place = request.path.strip_prefix("/2.0/repositories/acme/").unwrap();
        assert!(["site", "lost"].contains(&place) || place.split('/').count() == 4, "{place}");
        assert!(request.query.is_empty());
    }
    assert!(bitbucket.lines().contains(&"GET /2.0/repositories/acme/site/refs/branches/a%252e%252e".to_owned()));
}

#[tokio::test]
async fn recorded_repositories_and_refs_are_read() {
    for (file, path) in [
        ("api/goscm__repos.json", "acme"),
        ("api/goscm__repos-2.json", "acme"),
        ("api/goscm__repos_empty.json", "acme"),
        ("api/goscm__repos_filter.json", "acme"),
    ] {
        let bitbucket = Scripted::start(move |_, _| {
            let mut body = fixture(file);
            body.as_object_mut().unwrap().remove("next");
            answer(200, body)
        })
        .await;
        let found = bitbucket.client().source_repositories(&token(), path, None).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.items.len(), fixture(file)["values"].as_array().unwrap().len(), "{file}");
    }
    for file in ["api/goscm__branches.json", "api/goscm__branches_filter.json", "api/goscm__tags.json"] {
        let bitbucket = Scripted::start(move |_, _| {
            let mut body = fixture(file);
            body.as_object_mut().unwrap().remove("next");
            answer(200, body)
        })
        .await;
        let Fresh::Changed { value, .. } = bitbucket.client().heads(&token(), "acme/site", None).await.unwrap() else { panic!() };
        assert_eq!(value.refs.len(), fixture(file)["values"].as_array().unwrap().len(), "{file}");
    }
}
