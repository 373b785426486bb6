//! GitHub's API against a small server: what we send, what we make of answers, and what never leaves for another origin.

use std::time::Duration;

use crate::fake::*;
use serde_json::{Value, json};
use slipway_forge::{Coverage, ForgeError, Fresh, Heads, HookSpec, Removal, SourceKey, open};
use slipway_model::RefName;
use url::Url;

const SHA: &str = "aa218f56b14c9653891f9e74264a383fa43fefbd";
const OTHER_SHA: &str = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc";

fn key(id: &str) -> SourceKey<'_> {
    SourceKey { id, full_name: "octocat/Hello-World" }
}

fn branch(name: &str) -> RefName {
    RefName::branch(name).unwrap()
}

fn repository(id: u64, full_name: &str) -> Value {
    let mut body = fixture("openapi-examples/get.repos.owner.repo.200.default-response.json");
    body["id"] = json!(id);
    body["full_name"] = json!(full_name);
    body
}

fn hook(id: u64, url: &str) -> Value {
    let mut body = fixture("openapi-examples/get.repos.owner.repo.hooks.hook_id.200.default.json");
    body["id"] = json!(id);
    body["config"]["url"] = json!(url);
    body
}

#[tokio::test]
async fn a_person_is_its_number_and_every_call_has_the_right_headers() {
    let github = Fake::start(|_, _| {
        answer(200, fixture("openapi-examples/get.user.200.response-with-public-and-private-profile-information.json"))
            .with("x-oauth-scopes", "read:org, repo")
    })
    .await;
    let person = github.client().person(&token()).await.unwrap();
    assert_eq!((person.id.as_str(), person.login.as_str(), person.name.as_deref()), ("1", "octocat", Some("monalisa octocat")));
    assert_eq!(person.scopes, ["read:org", "repo"]);
    assert_eq!(person.avatar_url.unwrap().scheme(), "https");
    let requests = github.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line(), "GET /api/v3/user");
    assert_eq!(requests[0].header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(requests[0].header("accept"), "application/vnd.github+json");
    assert_eq!(requests[0].header("x-github-api-version"), "2022-11-28");
    assert!(requests[0].header("user-agent").starts_with("slipway/"));
}

#[tokio::test]
async fn a_next_page_or_redirect_elsewhere_never_gets_the_token() {
    let thief = Fake::start(|_, _| answer(200, json!([]))).await;
    let elsewhere = thief.origin.clone();
    let github = Fake::start(move |request, own| match request.path.as_str() {
        "/api/v3/user" => answer(200, fixture("api/goscm__user.json")),
        "/api/v3/user/orgs" => answer(200, json!([])).with("link", format!("<{elsewhere}api/v3/user/orgs?page=2>; rel=\"next\"")),
        "/api/v3/repos/o/paged/hooks/1/deliveries" => {
            answer(200, json!([])).with("link", format!("<{elsewhere}api/v3/repos/o/paged/hooks/1/deliveries?cursor=v1_2>; rel=\"next\""))
        }
        "/api/v3/repos/o/moved" => answer(301, json!({})).with("location", format!("{elsewhere}api/v3/repositories/1")),
        "/api/v3/repos/o/moved/hooks" => answer(307, json!({})).with("location", "//127.0.0.2/api/v3/repositories/1/hooks"),
        // At the same origin, but with credentials that would take the place of ours.
        "/api/v3/repos/o/named" => {
            answer(301, json!({})).with("location", own.join("api/v3/repositories/1").unwrap().as_str().replacen("//", "//u:p@", 1))
        }
        "/login/oauth/access_token" => answer(307, json!({})).with("location", format!("{elsewhere}login/oauth/access_token")),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    let redirect: Url = "https://slipway.example/cb".parse().unwrap();
    let results = [
        client.source_namespaces(&token()).await.map(drop),
        client.source_repository(&token(), "o/moved").await.map(drop),
        client.source_repository(&token(), "o/named").await.map(drop),
        client.hooks(&token(), "o/moved").await.map(drop),
        client.hook_deliveries(&token(), "o/paged", "1", None).await.map(drop),
        client.exchange_code("code", &redirect, &"verifier".into()).await.map(drop),
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(&error, ForgeError::Unexpected { detail, .. } if detail.contains("another origin")), "{error}");
    }
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn renames_are_followed_with_method_and_body() {
    let github = Fake::start(|request, own| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/api/v3/repos/o/old") => {
            answer(301, json!({ "message": "Moved Permanently" })).with("location", format!("{own}api/v3/repositories/1296269"))
        }
        ("GET", "/api/v3/repositories/1296269") => answer(200, repository(1_296_269, "o/new")),
        ("GET", "/api/v3/repos/o/old/hooks") => answer(301, json!({})).with("location", "/api/v3/repositories/1296269/hooks"),
        ("GET", "/api/v3/repositories/1296269/hooks") => answer(200, json!([])),
        ("POST", "/api/v3/repos/o/old/hooks") => answer(307, json!({})).with("location", "/api/v3/repositories/1296269/hooks"),
        ("POST", "/api/v3/repositories/1296269/hooks") => answer(201, hook(12, "https://slipway.example/hooks/github/1")),
        ("GET", path) if path.starts_with("/api/v3/repos/o/loop") => answer(302, json!({})).with("location", "/api/v3/repos/o/loop"),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    let found = client.source_repository(&token(), "o/old").await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.full_name.as_str()), ("1296269", "o/new"));
    assert_eq!(found.web_url, github.origin.join("o/new").unwrap());
    let url = "https://slipway.example/hooks/github/1".parse().unwrap();
    let made = client.ensure_hook(&token(), "o/old", &HookSpec { url: &url, secret: &"s3cret".into() }).await.unwrap();
    assert_eq!(made.id, "12");
    let requests = github.requests();
    let last = requests.last().unwrap();
    assert_eq!((last.line().as_str(), &last.json()["config"]["secret"]), ("POST /api/v3/repositories/1296269/hooks", &json!("s3cret")));
    assert_eq!(last.header("authorization"), format!("Bearer {TOKEN}"));
    let error = client.source_repository(&token(), "o/loop").await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(github.lines().iter().filter(|line| line.contains("loop")).count(), 4);
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let github = Fake::start(|_, _| raw(200, "application/json", vec![b' '; 8 * 1024 * 1024 + 1])).await;
    let error = github.client().person(&token()).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Unexpected { detail, .. } if detail.contains("longer than")), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = open(provider(&origin)).unwrap().person(&token()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unreachable { .. }) && error.is_temporary(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let client = open(provider(&origin)).unwrap();
    let began = tokio::time::Instant::now();
    let error =
        tokio::time::timeout(Duration::from_secs(60), client.person(&token())).await.expect("a timeout of ours comes first").unwrap_err();
    assert!(matches!(error, ForgeError::Unreachable { .. }), "{error}");
    // The clock stands but for what is waited for.
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_in_debug() {
    let github = Fake::start(|request, _| match request.path.as_str() {
        "/login/oauth/access_token" => {
            answer(200, json!({ "error": "bad", "error_description": request.body.clone() + " " + CLIENT_SECRET }))
        }
        _ => answer(401, json!({ "message": format!("no such {}", request.header("authorization")) })),
    })
    .await;
    let client = github.client();
    let redirect: Url = "https://slipway.example/cb".parse().unwrap();
    let mut words = format!("{:?}", client.provider());
    for error in
        [client.person(&token()).await.unwrap_err(), client.exchange_code("the-code", &redirect, &"the-verifier".into()).await.unwrap_err()]
    {
        words.push_str(&format!("{error} {error:?}"));
    }
    words.push_str(&format!("{:?}", client.clone_access("o/r", Some(&token()))));
    for secret in [TOKEN, CLIENT_SECRET, "the-code", "the-verifier"] {
        assert!(!words.contains(secret), "{secret} is in: {words}");
    }
    assert!(words.contains("no such Bearer [redacted]"));
}

#[tokio::test]
async fn repositories_come_page_by_page() {
    let github = Fake::start(|request, own| {
        let page: u32 = request.query.get("page").map_or(0, |page| page.parse().unwrap());
        let next = format!("<{own}x?page={}>; rel=\"next\"", page + 1);
        match (request.path.as_str(), page) {
            ("/api/v3/user", _) => answer(200, fixture("api/goscm__user.json")),
            ("/api/v3/user/repos", 1) => {
                answer(200, json!([repository(1, "octocat/one"), repository(2, "octocat/two")])).with("link", next)
            }
            ("/api/v3/user/repos", 2) => answer(200, json!([repository(3, "octocat/three")])),
            ("/api/v3/orgs/acme/repos", 1) => answer(200, json!([])).with("link", next),
            ("/api/v3/orgs/acme/repos", 2) => answer(200, json!([repository(5, "acme/WebSite")])),
            ("/api/v3/orgs/odd/repos", 1) => answer(200, json!([repository(6, "../../x")])),
            _ => not_found(),
        }
    })
    .await;
    let client = github.client();
    let names = |page: &slipway_forge::Page<slipway_forge::SourceRepository>| {
        page.items.iter().map(|item| item.full_name.clone()).collect::<Vec<_>>()
    };
    let first = client.source_repositories(&token(), "Octocat", None).await.unwrap();
    assert_eq!(names(&first), ["octocat/one", "octocat/two"]);
    assert_eq!(first.items[0].pushed.as_deref(), Some("2011-01-26T19:06:43Z"));
    let second = client.source_repositories(&token(), "octocat", first.next.as_deref()).await.unwrap();
    assert_eq!((names(&second), second.next), (vec!["octocat/three".to_owned()], None));
    let empty = client.source_repositories(&token(), "acme", None).await.unwrap();
    assert!(empty.items.is_empty());
    let found = client.source_repositories(&token(), "acme", empty.next.as_deref()).await.unwrap();
    assert_eq!((names(&found), found.next), (vec!["acme/WebSite".to_owned()], None));
    assert!(matches!(client.source_repositories(&token(), "odd", None).await, Err(ForgeError::Unexpected { .. })));
    assert_eq!(client.source_repositories(&token(), "nobody", None).await, Err(ForgeError::NotFound));
    let before = github.requests().len();
    for cursor in ["organization.1/../../user", "2", ""] {
        assert!(client.source_repositories(&token(), "acme", Some(cursor)).await.is_err());
    }
    for name in ["..", "a/b", "", "a?b", "a b"] {
        assert_eq!(client.source_repositories(&token(), name, None).await, Err(ForgeError::NotFound));
    }
    assert_eq!(github.requests().len(), before);
}

#[tokio::test]
async fn a_repository_is_found_by_name_and_by_id_or_is_none() {
    let github = Fake::start(|request, _| match request.path.as_str() {
        "/api/v3/repos/octocat/Hello-World" | "/api/v3/repositories/1296269" => answer(200, repository(1_296_269, "octocat/Hello-World")),
        "/api/v3/repos/o/odd" => answer(200, repository(1, "../../etc/passwd")),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    let by_name = client.source_repository(&token(), "octocat/Hello-World").await.unwrap().unwrap();
    assert_eq!(Some(by_name.clone()), client.source_repository_by_id(&token(), key("1296269")).await.unwrap());
    assert_eq!((by_name.default_branch.as_str(), by_name.private, by_name.archived), ("master", false, false));
    assert_eq!(client.source_repository(&token(), "o/none").await, Ok(None));
    assert_eq!(client.source_repository_by_id(&token(), key("404")).await, Ok(None));
    assert!(matches!(client.source_repository(&token(), "o/odd").await, Err(ForgeError::Unexpected { .. })));
    let before = github.requests().len();
    for name in ["o", "o/", "/r", "../user", "o/..", "o/r/hooks", "o/r?x", "o/r%2F..", "o\n/r", "."] {
        assert_eq!(client.source_repository(&token(), name).await, Ok(None), "{name:?}");
        assert_eq!(client.heads(&token(), name, None).await, Err(ForgeError::NotFound), "{name:?}");
    }
    for id in ["", "-1", "1/hooks", "..", "0x1", "123456789012345678901"] {
        assert_eq!(client.source_repository_by_id(&token(), key(id)).await, Ok(None), "{id}");
    }
    assert_eq!(github.requests().len(), before);
}

#[tokio::test]
async fn refs_are_branches_and_tags_with_their_commits() {
    let github = Fake::start(|request, own| match request.path.as_str() {
        "/api/v3/repos/o/r/branches" if request.query.contains_key("page") => {
            answer(200, json!([{ "name": "feature/a#b", "commit": { "sha": OTHER_SHA } }]))
        }
        "/api/v3/repos/o/r/branches" => {
            answer(200, json!([{ "name": "main", "commit": { "sha": SHA } }, { "name": "a..b", "commit": { "sha": SHA } }]))
                .with("link", format!("<{own}api/v3/repos/o/r/branches?page=2>; rel=\"next\""))
        }
        "/api/v3/repos/o/r/tags" => answer(200, fixture("openapi-examples/get.repos.owner.repo.tags.200.default.json")),
        "/api/v3/repos/o/lost/branches" if request.query.contains_key("page") => answer(500, json!({})),
        "/api/v3/repos/o/lost/branches" => answer(200, json!([])).with("link", "</api/v3/repos/o/lost/branches?page=2>; rel=next"),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    let Fresh::Changed { value: Heads { refs, coverage }, marker } = client.heads(&token(), "o/r", None).await.unwrap() else { panic!() };
    assert_eq!((coverage, marker), (Coverage::Whole, None));
    let seen: Vec<_> = refs.iter().map(|item| (item.name.as_str(), item.commit.as_str())).collect();
    assert_eq!(seen, [("refs/heads/main", SHA), ("refs/heads/feature/a#b", OTHER_SHA), ("refs/tags/v0.1", OTHER_SHA)]);
    assert_eq!(github.requests()[0].query["per_page"], "100");
    assert!(matches!(client.heads(&token(), "o/lost", None).await, Err(ForgeError::Unexpected { status: 500, .. })));
}

#[tokio::test]
async fn a_ref_is_resolved_to_its_commit() {
    let pointer = |kind: &str, sha: &str| answer(200, json!({ "ref": "x", "object": { "type": kind, "sha": sha } }));
    let github = Fake::start(move |request, _| match request.path.as_str() {
        "/api/v3/repos/o/r" => answer(200, repository(1, "o/r")),
        "/api/v3/repos/o/r/git/ref/heads/main" => {
            answer(200, fixture("openapi-examples/get.repos.owner.repo.git.ref.ref.200.default.json"))
        }
        "/api/v3/repos/o/r/git/ref/heads/feature/a%23b%252F%C3%BC" => pointer("commit", OTHER_SHA),
        "/api/v3/repos/o/r/git/ref/tags/v1" => pointer("tag", "940bd336248efae0f9ee5bc7b2d5c985887b16ac"),
        "/api/v3/repos/o/r/git/tags/940bd336248efae0f9ee5bc7b2d5c985887b16ac" => {
            answer(200, fixture("openapi-examples/get.repos.owner.repo.git.tags.tag_sha.200.default.json"))
        }
        "/api/v3/repos/o/r/git/ref/tags/tree" => pointer("tree", SHA),
        "/api/v3/repos/o/r/git/ref/tags/self" | "/api/v3/repos/o/r/git/tags/aa218f56b14c9653891f9e74264a383fa43fefbd" => {
            pointer("tag", SHA)
        }
        "/api/v3/repos/o/empty/git/ref/heads/main" => answer(409, json!({ "message": "Git Repository is empty." })),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    let resolve = |full_name: &'static str, name: &str| {
        let (client, name) = (client.clone(), name.parse::<RefName>().unwrap());
        async move { client.resolve(&token(), full_name, &name).await.map(|commit| commit.map(|id| id.as_str().to_owned())) }
    };
    assert_eq!(resolve("o/r", "refs/heads/main").await, Ok(Some(SHA.into())));
    assert_eq!(resolve("o/r", "refs/heads/feature/a#b%2Fü").await, Ok(Some(OTHER_SHA.into())));
    assert_eq!(resolve("o/r", "refs/tags/v1").await, Ok(Some("c3d0be41ecbe669545ee3e94d31ed9a4bc91ee3c".into())));
    assert_eq!(resolve("o/r", "refs/tags/tree").await, Ok(None));
    assert_eq!(resolve("o/r", "refs/tags/self").await, Ok(None));
    assert_eq!(resolve("o/r", "refs/heads/none").await, Ok(None));
    assert_eq!(resolve("o/empty", "refs/heads/main").await, Ok(None));
    assert_eq!(resolve("o/invisible", "refs/heads/main").await, Err(ForgeError::NotFound));
}

#[tokio::test]
async fn a_hook_is_made_once_and_adopted_afterwards() {
    let ours: Url = "https://slipway.example/hooks/github/0192".parse().unwrap();
    let hooks: std::sync::Mutex<Vec<Value>> = std::sync::Mutex::new(vec![hook(1, "https://other.example/")]);
    let github = Fake::start(move |request, _| {
        let mut hooks = hooks.lock().unwrap();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/api/v3/repos/o/r/hooks") => answer(200, Value::Array(hooks.clone())),
            ("POST", "/api/v3/repos/o/r/hooks") => {
                let made = hook(2, request.json()["config"]["url"].as_str().unwrap());
                hooks.push(made.clone());
                answer(201, made)
            }
            ("PATCH", "/api/v3/repos/o/r/hooks/2") => answer(200, hooks[1].clone()),
            _ => not_found(),
        }
    })
    .await;
    let client = github.client();
    for secret in ["first", "second"] {
        let made = client.ensure_hook(&token(), "o/r", &HookSpec { url: &ours, secret: &secret.into() }).await.unwrap();
        assert_eq!((made.id.as_str(), made.url.as_str(), made.active), ("2", ours.as_str(), true));
    }
    let writes: Vec<_> = github.requests().into_iter().filter(|request| request.method != "GET").collect();
    assert_eq!(writes.iter().map(Recorded::line).collect::<Vec<_>>(), ["POST /api/v3/repos/o/r/hooks", "PATCH /api/v3/repos/o/r/hooks/2"]);
    for (write, secret) in writes.iter().zip(["first", "second"]) {
        let body = write.json();
        assert_eq!(body["config"], json!({ "url": ours, "content_type": "json", "secret": secret, "insecure_ssl": "0" }));
        assert_eq!((&body["events"], &body["active"]), (&json!(["pull_request", "push", "repository"]), &json!(true)));
    }
    assert_eq!(client.hooks(&token(), "o/r").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_hook_that_another_made_meanwhile_is_adopted_and_a_refusal_has_words() {
    let ours: Url = "https://slipway.example/hooks/github/0192".parse().unwrap();
    let posted = std::sync::atomic::AtomicBool::new(false);
    let github = Fake::start(move |request, _| {
        let exists = posted.load(std::sync::atomic::Ordering::SeqCst);
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/api/v3/repos/o/race/hooks") if exists => answer(200, json!([hook(3, "https://slipway.example/hooks/github/0192")])),
            ("GET", _) => answer(200, json!([])),
            ("POST", "/api/v3/repos/o/race/hooks") => {
                posted.store(true, std::sync::atomic::Ordering::SeqCst);
                answer(422, json!({ "message": "Validation Failed", "errors": [{ "resource": "Hook", "code": "custom", "message": "Hook already exists on this repository" }] }))
            }
            ("PATCH", "/api/v3/repos/o/race/hooks/3") => answer(200, hook(3, "https://slipway.example/hooks/github/0192")),
            ("POST", "/api/v3/repos/o/full/hooks") => answer(422, json!({ "message": "Validation Failed", "errors": [{ "message": "The \"push\" event cannot have more than 20 hooks" }] })),
            _ => not_found(),
        }
    }).await;
    let client = github.client();
    let spec = HookSpec { url: &ours, secret: &"s".into() };
    assert_eq!(client.ensure_hook(&token(), "o/race", &spec).await.unwrap().id, "3");
    let error = client.ensure_hook(&token(), "o/full", &spec).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Unexpected { status: 422, detail } if detail.contains("20 hooks")), "{error}");
    assert_eq!(client.ensure_hook(&token(), "o/reader", &spec).await, Err(ForgeError::NotFound));
}

#[tokio::test]
async fn a_hook_counts_as_gone_only_when_we_may_know() {
    let github = Fake::start(|request, _| match (request.method.as_str(), request.path.as_str()) {
        ("DELETE", "/api/v3/repos/o/r/hooks/2") => raw(204, "text/plain", ""),
        ("GET", "/api/v3/repos/o/r/hooks") => answer(200, json!([hook(1, "https://other.example/"), hook(5, "https://x.example/")])),
        _ => not_found(),
    })
    .await;
    let client = github.client();
    assert_eq!(client.delete_hook(&token(), "o/r", "2").await, Ok(Removal::Removed));
    assert_eq!(client.delete_hook(&token(), "o/r", "3").await, Ok(Removal::AlreadyGone));
    assert_eq!(client.delete_hook(&token(), "o/r", "5").await, Err(ForgeError::NotFound));
    assert_eq!(client.delete_hook(&token(), "o/lost", "2").await, Err(ForgeError::NotFound));
    let before = github.requests().len();
    assert_eq!(client.delete_hook(&token(), "o/r", "1/../2").await, Ok(Removal::AlreadyGone));
    assert_eq!(github.requests().len(), before);
}

#[tokio::test]
async fn branch_names_of_any_kind_stay_in_their_place() {
    let github = Fake::start(|_, _| not_found()).await;
    for name in ["-h", "--upload-pack=x", "a%2e%2e", "ü/ö", "a#b", "a&b=c", "a;b", "a'b\"c", "a@b", "a+b", "<a>"] {
        github.client().resolve(&token(), "o/r", &branch(name)).await.unwrap_err();
    }
    for request in github.requests() {
        assert!(request.path == "/api/v3/repos/o/r" || request.path.starts_with("/api/v3/repos/o/r/git/ref/heads/"), "{}", request.path);
        assert!(request.query.is_empty());
    }
    assert!(github.lines().contains(&"GET /api/v3/repos/o/r/git/ref/heads/a%252e%252e".to_owned()));
}
