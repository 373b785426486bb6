//! Bitbucket's description holds for both sides, and says so when it does not.

use reqwest::Method;
use serde_json::{Value, json};

use super::{World, fixture, keys};

#[tokio::test]
async fn what_a_client_does_wrong_is_kept() {
    let world = World::new().await;
    let wrong: &[(Method, &str, Option<Value>, &str)] = &[
        (Method::GET, "/teams/acme", None, "no documented path"),
        (Method::POST, "/user/workspaces", Some(json!({})), "has no such method"),
        (Method::GET, "/repositories/acme?per_page=100", None, "no query parameter `per_page`"),
        (Method::GET, "/repositories/acme?role=boss", None, "`role` cannot be `boss`"),
        (Method::POST, "/repositories/acme/site/hooks", Some(json!({ "url": "https://a.example/", "events": ["push"] })), "/events/0"),
        (Method::POST, "/repositories/acme/site/hooks", Some(json!({ "config": {} })), "does not know the fields [\"config\"]"),
        (Method::POST, "/repositories/acme/site/deploy-keys", Some(json!({ "key": "x", "read_only": true })), "[\"read_only\"]"),
        (Method::POST, "/repositories/acme/site/commit/0123456/statuses/build", Some(json!({ "key": "k" })), "\"state\" is a required"),
        (Method::DELETE, "/repositories/acme/site", None, "does not serve it"),
    ];
    for (count, (method, path, body, why)) in wrong.iter().enumerate() {
        world.call(method.clone(), path, body.clone()).await;
        let kept = world.bitbucket.violations();
        assert_eq!(kept.len(), count + 1, "{path}: {kept:#?}");
        assert!(kept[count].contains(why), "{path}: {}", kept[count]);
    }
    let unknown: Vec<String> = world.bitbucket.requests().into_iter().filter(|one| one.unknown).map(|one| one.path).collect();
    assert_eq!(unknown, ["/2.0/teams/acme", "/2.0/user/workspaces"]);
    let answer = world.call(Method::GET, "/teams/acme", None).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["message"], "Resource not found");
}

/// Fields that neither a recording nor a documented example has are inventions of the fake.
#[tokio::test]
async fn answers_have_only_fields_that_were_recorded_or_documented() {
    let world = World::new().await;
    let sha = world.bitbucket.push("acme/site", "main", &[("a", "1")], "First").await.unwrap();
    world.bitbucket.push_annotated_tag("acme/site", "v1", &sha, "One").await.unwrap();
    let site = "/repositories/acme/site";
    let hook = json!({ "url": "https://ci.example/", "events": ["repo:push"], "description": "x", "active": true });
    world.call(Method::POST, &format!("{site}/hooks"), Some(hook)).await;
    let status = json!({ "key": "k", "state": "STOPPED", "url": "https://ci.example/" });
    world.call(Method::POST, &format!("{site}/commit/{sha}/statuses/build"), Some(status)).await;
    let cases: &[(&str, &str, &[&str])] = &[
        ("/user", "api/goscm__user.json", &["nickname", "account_status"]),
        // `workspace` and `parent` are in the description's words and in every newer answer.
        ("/repositories/acme/site", "api/goscm__repo.json", &["workspace", "parent"]),
        ("/repositories/acme/site/refs/branches/main", "api/goscm__branch.json", &["default_merge_strategy", "merge_strategies"]),
        ("/repositories/acme/site/refs/tags/v1", "api/goscm__tag.json", &[]),
        ("/repositories/acme/site/hooks", "api/goscm__hooks.json", &[]),
    ];
    for (path, recorded, documented) in cases {
        let (answer, recorded) = (world.get(path).await, fixture(recorded));
        let invented: Vec<String> =
            keys(&answer).into_iter().filter(|key| recorded.get(key).is_none() && !documented.contains(&key.as_str())).collect();
        assert_eq!(invented, Vec::<String>::new(), "{path}");
    }
    let lists: &[(String, Value, &[&str])] = &[
        (format!("{site}/hooks"), fixture("api/goscm__hook.json"), &["secret_set", "subject_type"]),
        (format!("{site}/commit/{sha}/statuses"), fixture("api/goscm__status.json"), &[]),
        ("/user/workspaces".to_owned(), fixture("openapi-examples/get.user.workspaces.200.response.json")["values"][0].clone(), &[]),
    ];
    for (path, recorded, documented) in lists {
        let answer = world.get(path).await["values"][0].clone();
        let invented: Vec<String> =
            keys(&answer).into_iter().filter(|key| recorded.get(key).is_none() && !documented.contains(&key.as_str())).collect();
        assert_eq!(invented, Vec::<String>::new(), "{path}");
    }
    world.unviolated();
}
