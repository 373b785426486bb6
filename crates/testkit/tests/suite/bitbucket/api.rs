//! Scopes, rights, paging, names, and the objects of the API.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::bitbucket::{HookAddresses, OldNames, Permission, Visibility, WorkspaceRole};

use super::{World, encoded, error, fixture};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbq0vQ0bTqk2nZ5c3mVQ8o7iVZ9mZ4oV0Yy9fD8cL1a slipway@example";

fn not_found(full_name: &str) -> (u16, Value) {
    (404, error(&format!("Repository {full_name} not found")))
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let mut world = World::new().await;
    world.consumer = world.bitbucket.add_consumer("Small", super::CALLBACK, &["account", "webhook"]).unwrap();
    world.token = world.link("emma").await;
    let lack = |required: &[&str]| {
        let detail = json!({ "required": required, "granted": ["account", "webhook"] });
        let message = "Your credentials lack one or more required privilege scopes.";
        (403, json!({ "type": "error", "error": { "message": message, "detail": detail } }))
    };
    world.get("/user/workspaces").await;
    assert_eq!(world.refused(Method::GET, "/repositories/acme/site", None).await, lack(&["repository"]));
    let keys = "/repositories/acme/site/deploy-keys";
    assert_eq!(world.refused(Method::GET, keys, None).await, lack(&["repository", "repository:admin"]));
    world.get("/repositories/acme/site/hooks").await;
    let hook = |events: &[&str]| Some(json!({ "url": "https://ci.example/", "events": events, "description": "x" }));
    let hooks = "/repositories/acme/site/hooks";
    assert_eq!(world.refused(Method::POST, hooks, hook(&["repo:push"])).await, lack(&["repository"]), "the scope of the event");
    world.bitbucket.change_consumer(&world.consumer.key, &["account", "webhook", "pullrequest"]);
    world.token = world.link("emma").await;
    world.get("/repositories/acme/site").await;
    let answer = world.call(Method::POST, hooks, hook(&["repo:push", "pullrequest:created"])).await;
    assert_eq!(answer.status(), 201, "pullrequest implies repository");
    world.unviolated();
}

#[tokio::test]
async fn lost_access_reads_as_missing() {
    let world = World::new().await;
    let mallory = world.link("mallory").await;
    let see = async |token: &str, path: &str| world.call_as(token, Method::GET, path, None).await.status().as_u16();
    assert_eq!(see(&mallory, "/repositories/acme/site").await, 404);
    assert_eq!(see(&mallory, "/repositories/acme/open").await, 200);
    assert_eq!(see(&mallory, "/repositories/acme/open/hooks").await, 403);
    assert_eq!(see(&mallory, "/user/workspaces/acme/permissions/repositories").await, 403);
    assert_eq!(see("made-up", "/user").await, 401);
    let anonymous = async |path: &str| {
        let url = format!("{}/2.0{path}", world.bitbucket.api_url());
        world.http.get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(anonymous("/repositories/acme/open").await, 200);
    assert_eq!(anonymous("/repositories/acme/site").await, 404);
    assert_eq!(anonymous("/user").await, 401);
    let hugo = world.link("hugo").await;
    assert_eq!(see(&hugo, "/repositories/acme/site").await, 200);
    assert_eq!(see(&hugo, "/repositories/acme/site/hooks").await, 403, "only who administrates sees hooks");
    world.bitbucket.set_permission("acme/site", "hugo", Permission::Admin);
    assert_eq!(see(&hugo, "/repositories/acme/site/hooks").await, 200);
    world.bitbucket.remove_member("acme", "hugo");
    assert_eq!(see(&hugo, "/repositories/acme/site").await, 404);
    world.bitbucket.suspend_user("hugo");
    assert_eq!(see(&hugo, "/user").await, 403);
    world.bitbucket.delete_user("hugo");
    assert_eq!(see(&hugo, "/user").await, 401);
    world.unviolated();
}

#[tokio::test]
async fn workspaces_and_permissions_are_those_of_the_person() {
    let world = World::new().await;
    let list = world.get("/user/workspaces").await;
    let slugs: Vec<&Value> = list["values"].as_array().unwrap().iter().map(|one| &one["workspace"]["slug"]).collect();
    assert_eq!(slugs, ["acme", "emma"]);
    world.bitbucket.add_workspace("guests", &[("hugo", WorkspaceRole::Owner)]);
    world.bitbucket.add_repository("guests/lib", Visibility::Private);
    world.bitbucket.set_permission("guests/lib", "emma", Permission::Write);
    let guest = world.get("/user/workspaces?administrator=false").await;
    assert_eq!((&guest["size"], &guest["values"][0]["workspace"]["slug"]), (&json!(1), &json!("guests")));
    let permissions = world.get("/user/workspaces/guests/permissions/repositories").await;
    assert_eq!(permissions["values"][0]["permission"], "write");
    let by = world.get("/user/workspaces/acme/permissions/repositories?q=repository.name%3D%22site%22").await;
    assert_eq!((&by["size"], &by["values"][0]["repository"]["full_name"]), (&json!(1), &json!("acme/site")));
    assert_eq!(world.get("/user/workspaces/acme/permission").await["permission"], "owner");
    assert_eq!(world.get("/workspaces/acme").await["uuid"], world.bitbucket.workspace_uuid("acme"));
    for gone in ["/workspaces", "/repositories", "/user/permissions/workspaces", "/user/permissions/repositories"] {
        assert_eq!(world.refused(Method::GET, gone, None).await, (410, fixture("oauth/error-410-gone.json")), "{gone}");
    }
    world.unviolated();
}

#[tokio::test]
async fn lists_are_paged_by_next_and_filtered() {
    let world = World::new().await;
    for number in 0..45 {
        world.bitbucket.add_repository(&format!("acme/project-{number:02}"), Visibility::Private);
    }
    let mut names = Vec::new();
    let mut next = Some("/repositories/acme?role=member&pagelen=20".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let page = world.get(&path).await;
        names.extend(page["values"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(|url| url.strip_prefix(&format!("{}/2.0", world.bitbucket.api_url())).unwrap().to_owned());
        pages += 1;
        assert_eq!(page["size"], 47);
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), pages), (47, 3));
    let query = async |query: &str| world.get(&format!("/repositories/acme?role=member&{query}")).await;
    assert_eq!(query("q=name+~+%22PROJECT-1%22").await["size"], 10);
    assert_eq!(query("q=is_private+%3D+false").await["values"][0]["full_name"], "acme/open");
    assert_eq!(query("sort=-name").await["values"][0]["name"], "site");
    assert_eq!(query("pagelen=1").await["pagelen"], 10, "never fewer than ten");
    let refused = async |query: &str| world.refused(Method::GET, &format!("/repositories/acme?{query}"), None).await;
    assert_eq!(refused("pagelen=101").await, (400, error("Invalid pagelen")));
    assert_eq!(refused("page=9").await, (404, error("Invalid page")));
    assert_eq!(refused("q=name+is+x").await.0, 400);
    let hugo = world.link("hugo").await;
    let count = async |role: &str| {
        let answer = world.call_as(&hugo, Method::GET, &format!("/repositories/acme?role={role}"), None).await;
        answer.json::<Value>().await.unwrap()["size"].clone()
    };
    assert_eq!((count("member").await, count("contributor").await), (json!(47), json!(0)));
    world.bitbucket.set_permission("acme/site", "hugo", Permission::Write);
    assert_eq!((count("contributor").await, count("admin").await), (json!(1), json!(0)));
    world.unviolated();
}

#[tokio::test]
async fn a_repository_keeps_its_uuid_through_names() {
    let world = World::new().await;
    let uuid = world.bitbucket.repository_uuid("acme/site");
    let by_uuid = format!("/repositories/{}/{}", encoded(&world.bitbucket.workspace_uuid("acme")), encoded(&uuid));
    assert_eq!(world.get(&by_uuid).await["full_name"], "acme/site");
    world.bitbucket.rename_repository("acme/site", "New Site");
    assert_eq!(world.refused(Method::GET, "/repositories/acme/site", None).await, not_found("acme/site"));
    let renamed = world.get(&by_uuid).await;
    assert_eq!((&renamed["slug"], &renamed["name"]), (&json!("new-site"), &json!("New Site")));
    world.bitbucket.set_old_names(OldNames::Redirect);
    let moved = world.call(Method::GET, "/repositories/acme/site/hooks", None).await;
    assert_eq!(moved.status(), 301);
    let target = format!("{}/2.0/repositories/acme/new-site/hooks", world.bitbucket.api_url());
    assert_eq!(moved.headers()["location"], target);
    world.bitbucket.add_repository("acme/site", Visibility::Private);
    let other = world.get("/repositories/acme/site").await;
    assert_ne!(other["uuid"], json!(uuid), "a new one under the old name");
    world.bitbucket.transfer_repository("acme/new-site", "emma");
    assert_eq!(world.get(&format!("/repositories/%7B%7D/{}", encoded(&uuid))).await["full_name"], "emma/new-site");
    assert_eq!(world.refused(Method::GET, &by_uuid, None).await.0, 404, "it is not in that workspace any more");
    world.bitbucket.rename_workspace("acme", "ajax");
    assert_eq!(world.get(&format!("/repositories/ajax/{}", encoded(other["uuid"].as_str().unwrap()))).await["slug"], "site");
    world.bitbucket.delete_repository("ajax/site");
    world.bitbucket.add_repository("ajax/site", Visibility::Private);
    assert_ne!(world.get("/repositories/ajax/site").await["uuid"], other["uuid"]);
    world.unviolated();
}

#[tokio::test]
async fn the_hour_rolls() {
    let world = World::new().await;
    world.bitbucket.set_hourly_limit("emma", 2);
    world.get("/user").await;
    world.bitbucket.advance_clock(Duration::from_secs(1800));
    world.get("/user").await;
    let over = world.call(Method::GET, "/user", None).await;
    assert_eq!(over.status(), 429);
    let wait: u64 = over.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1790..=1801).contains(&wait), "{wait}");
    assert_eq!(over.text().await.unwrap(), "Rate limit for this resource has been exceeded");
    world.bitbucket.advance_clock(Duration::from_secs(wait));
    let expired = world.call(Method::GET, "/user", None).await;
    assert_eq!(expired.status(), 401, "the token's hour is over too");
    let fresh = world.link("emma").await;
    assert_eq!(world.call_as(&fresh, Method::GET, "/user", None).await.status(), 200);
    world.unviolated();
}

#[tokio::test]
async fn refs_and_commits_are_gits() {
    let world = World::new().await;
    let site = "/repositories/acme/site";
    assert_eq!(world.get(&format!("{site}/refs")).await["values"], json!([]));
    assert_eq!(world.get(site).await["mainbranch"], Value::Null);
    let first = world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let second = world.bitbucket.push("acme/site", "feature/ä#1", &[("a", "2")], "Second\n\nBody").await.unwrap();
    world.bitbucket.push_tag("acme/site", "v1", &first).await.unwrap();
    let object = world.bitbucket.push_annotated_tag("acme/site", "v2", &second, "Two").await.unwrap();
    assert_eq!(world.get(site).await["mainbranch"]["name"], "main");
    let names: Vec<Value> =
        world.get(&format!("{site}/refs")).await["values"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["feature/ä#1", "main", "v1", "v2"]);
    let branches = world.get(&format!("{site}/refs/branches?q=name+~+%22FEATURE%22")).await;
    assert_eq!((&branches["size"], &branches["values"][0]["target"]["hash"]), (&json!(1), &json!(second)));
    let branch = world.get(&format!("{site}/refs/branches/{}", encoded("feature/ä#1"))).await;
    assert_eq!((&branch["type"], &branch["target"]["message"]), (&json!("branch"), &json!("Second\n\nBody\n")));
    assert_eq!(branch["target"]["author"]["user"]["nickname"], "emma");
    let light = world.get(&format!("{site}/refs/tags/v1")).await;
    assert_eq!((&light["target"]["hash"], &light["message"], &light["tagger"]), (&json!(first), &Value::Null, &Value::Null));
    let annotated = world.get(&format!("{site}/refs/tags/v2")).await;
    assert_eq!((&annotated["target"]["hash"], &annotated["message"]), (&json!(second), &json!("Two\n")));
    assert_eq!(annotated["tagger"]["raw"], "Tagger <tagger@users.example>");
    let commit = world.get(&format!("{site}/commit/{second}")).await;
    assert_eq!((&commit["parents"][0]["hash"], &commit["summary"]["raw"]), (&json!(first), &json!("Second\n\nBody\n")));
    for missing in [format!("refs/branches/{}", encoded("no/such")), "commit/0000000000000000000000000000000000000000".to_owned()] {
        assert_eq!(world.refused(Method::GET, &format!("{site}/{missing}"), None).await.0, 404, "{missing}");
    }
    assert_ne!(object, second);
    world.unviolated();
}

#[tokio::test]
async fn a_hooks_secret_is_kept_removed_and_never_shown() {
    let world = World::new().await;
    let hooks = "/repositories/acme/site/hooks";
    let secret = |world: &World| world.bitbucket.hooks("acme/site")[0].secret.clone();
    let new = json!({ "description": "CI", "url": "https://ci.example/1", "active": true, "secret": "key", "events": ["repo:push"] });
    let made = world.call(Method::POST, hooks, Some(new)).await;
    assert_eq!(made.status(), 201);
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let hook: Value = made.json().await.unwrap();
    assert_eq!((&hook["secret_set"], hook.get("secret")), (&json!(true), None));
    assert_eq!(hook["links"]["self"]["href"], location);
    let one = format!("{hooks}/{}", encoded(hook["uuid"].as_str().unwrap()));
    let put = async |body: Value| world.call(Method::PUT, &one, Some(body)).await.json::<Value>().await.unwrap();
    let changed = put(json!({ "url": "https://ci.example/2", "events": ["repo:push", "pullrequest:created"] })).await;
    assert_eq!((&changed["url"], &changed["secret_set"]), (&json!("https://ci.example/2"), &json!(true)));
    assert_eq!(secret(&world).as_deref(), Some("key"), "a PUT without a secret keeps it");
    assert_eq!(put(json!({ "secret": "" })).await["secret_set"], false);
    put(json!({ "secret": "new" })).await;
    assert_eq!(secret(&world).as_deref(), Some("new"));
    assert_eq!(put(json!({ "secret": null })).await["secret_set"], false);
    assert_eq!(secret(&world), None);
    assert_eq!(world.get(hooks).await["values"][0]["uuid"], hook["uuid"]);
    world.unviolated();
    let refused = async |body: Value| world.refused(Method::POST, hooks, Some(body)).await;
    let long = json!({ "url": "https://ci.example/", "events": ["repo:push"], "secret": "x".repeat(129) });
    for wrong in [json!({ "url": "ftp://x/", "events": ["repo:push"] }), json!({ "url": "https://ci.example/", "events": [] }), long] {
        assert_eq!(refused(wrong.clone()).await.0, 400, "{wrong}");
    }
    world.bitbucket.set_hook_addresses(HookAddresses::Public);
    let internal = refused(json!({ "url": "http://10.0.0.1/", "events": ["repo:push"] })).await;
    assert_eq!((internal.0, &internal.1["error"]["fields"]["url"][0]), (400, &json!("The URL must be a public address.")));
    assert_eq!(world.call(Method::DELETE, &one, None).await.status(), 204);
    assert_eq!(world.refused(Method::DELETE, &one, None).await.0, 404);
    assert_eq!(world.bitbucket.hooks("acme/site"), []);
}

#[tokio::test]
async fn deploy_keys_end_with_the_consumer() {
    let world = World::new().await;
    let keys = "/repositories/acme/site/deploy-keys";
    let made = world.call(Method::POST, keys, Some(json!({ "key": KEY, "label": "slipway" }))).await;
    assert_eq!(made.status(), 200, "Bitbucket answers 200 here");
    let key: Value = made.json().await.unwrap();
    assert_eq!((&key["label"], &key["comment"]), (&json!("slipway"), &json!("slipway@example")));
    assert!(!key["key"].as_str().unwrap().contains("slipway@"));
    let again = world.refused(Method::POST, "/repositories/acme/open/deploy-keys", Some(json!({ "key": KEY }))).await;
    assert_eq!(again, (400, error("Someone has already registered that SSH key.")));
    assert_eq!(world.refused(Method::POST, keys, Some(json!({ "key": "ssh-rsa nonsense" }))).await.0, 400);
    assert!(world.bitbucket.deploy_keys("acme/site")[0].accepted);
    world.bitbucket.change_consumer(&world.consumer.key, super::ALL_SCOPES);
    assert!(!world.bitbucket.deploy_keys("acme/site")[0].accepted);
    let one = format!("{keys}/{}", key["id"]);
    assert_eq!(world.get(keys).await["values"][0], world.get(&one).await);
    assert_eq!(world.call(Method::DELETE, &one, None).await.status(), 204);
    assert_eq!(world.get(keys).await["size"], 0);
    world.unviolated();
}

#[tokio::test]
async fn a_status_of_the_same_key_overwrites() {
    let world = World::new().await;
    let sha = world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    let commit = format!("/repositories/acme/site/commit/{sha}");
    let set = async |state: &str| {
        let body = json!({ "key": "slipway/1", "state": state, "url": "https://ci.example/1", "name": "Build", "refname": "main" });
        let answer = world.call(Method::POST, &format!("{commit}/statuses/build"), Some(body)).await;
        assert_eq!(answer.status(), 201);
        answer.json::<Value>().await.unwrap()
    };
    set("INPROGRESS").await;
    assert_eq!(set("SUCCESSFUL").await["commit"]["hash"], json!(sha));
    let list = world.get(&format!("{commit}/statuses?refname=main")).await;
    assert_eq!((&list["size"], &list["values"][0]["state"]), (&json!(1), &json!("SUCCESSFUL")));
    assert_eq!(world.get(&format!("{commit}/statuses/build/{}", encoded("slipway/1"))).await["key"], "slipway/1");
    assert_eq!(world.bitbucket.statuses("acme/site", &sha).len(), 1);
    world.unviolated();
    let wrong = json!({ "key": "k", "state": "DONE" });
    assert_eq!(world.refused(Method::POST, &format!("{commit}/statuses/build"), Some(wrong)).await.0, 400);
}
