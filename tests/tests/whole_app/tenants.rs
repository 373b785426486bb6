//! Two people on one Slipway: nothing of the one is to be seen, changed or pulled by the other.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::registry::{Registry, challenge};
use slipway_tests::repository::text;
use slipway_tests::{PASSWORD, PERSON, Repository, TestApp};

/// Every address below `/api/v1` that names something of `ns`, with a body that would be accepted from its owner.
fn addresses(ns: &str, name: &str, build: &str, delivery: &str) -> Vec<(Method, String, Option<Value>)> {
    let (get, post, put, patch, delete) = (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let repository = format!("/repositories/{ns}/{name}");
    let none = json!({});
    let settings = json!({ "provider": "github", "source": "octo/hello" });
    vec![
        (get.clone(), format!("/namespaces/{ns}/links"), None),
        (post.clone(), format!("/namespaces/{ns}/links/github/connect"), Some(none.clone())),
        (post.clone(), format!("/namespaces/{ns}/links/github/check"), Some(none.clone())),
        (patch.clone(), format!("/namespaces/{ns}/links/github"), Some(json!({ "enabled": false }))),
        (delete.clone(), format!("/namespaces/{ns}/links/github"), None),
        (get.clone(), format!("/namespaces/{ns}/links/github/source-namespaces"), None),
        (get.clone(), format!("/namespaces/{ns}/links/github/source-repositories?namespace=octo"), None),
        (get.clone(), format!("/repositories/{ns}"), None),
        (post.clone(), format!("/repositories/{ns}"), Some(json!({ "name": "mine-now" }))),
        (get.clone(), repository.clone(), None),
        (patch, repository.clone(), Some(json!({ "visibility": "public" }))),
        (get.clone(), format!("{repository}/tags"), None),
        (get.clone(), format!("{repository}/autobuild"), None),
        (put, format!("{repository}/autobuild"), Some(settings)),
        (post.clone(), format!("{repository}/autobuild/preview"), Some(none.clone())),
        (delete.clone(), format!("{repository}/autobuild"), None),
        (get.clone(), format!("{repository}/builds"), None),
        (post.clone(), format!("{repository}/builds"), Some(json!({ "ref": "refs/heads/main" }))),
        (get.clone(), format!("{repository}/builds/{build}"), None),
        (get.clone(), format!("{repository}/builds/{build}/log"), None),
        (get.clone(), format!("{repository}/builds/{build}/log/stream"), None),
        (post.clone(), format!("{repository}/builds/{build}/cancel"), Some(none.clone())),
        (post.clone(), format!("{repository}/builds/{build}/retry"), Some(none.clone())),
        (get.clone(), format!("{repository}/deliveries"), None),
        (get, format!("{repository}/deliveries/{delivery}"), None),
        (post, format!("{repository}/deliveries/{delivery}/replay"), Some(none)),
        (delete, repository, None),
    ]
}

#[tokio::test]
async fn what_belongs_to_one_does_not_exist_for_another() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    let hello = app.linked_repository("hello").await?;
    let commit = hello.push("main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let build = text(&hello.build_of(&commit).await?, "id").to_owned();
    let delivery = text(&hello.delivery_of("refs/heads/main").await?, "id").to_owned();
    eve.post("/repositories/eve", &json!({ "name": "hello" })).await?;
    let before = snapshot(&app, &build).await?;

    // Straight at the other's namespace; and with ids of the other's things below a repository of one's own.
    for (method, path, body) in addresses(PERSON, "hello", &build, &delivery) {
        let seen = eve.try_api(method.clone(), &path, body.as_ref()).await?;
        assert_eq!(seen.status, 404, "{method} {path}: {}", seen.text);
        let nowhere = path.replace("/demo", "/nobody");
        let missing = eve.try_api(method.clone(), &nowhere, body.as_ref()).await?;
        let without_id = |answer: &slipway_tests::Answer| -> Result<Value> {
            let mut problem = answer.problem(404)?;
            problem["request_id"] = Value::Null;
            Ok(problem)
        };
        assert_eq!(without_id(&seen)?, without_id(&missing)?, "{method} {path}: it differs from what does not exist");
        let anonymous = app.stranger().try_api(method.clone(), &path, body.as_ref()).await?;
        let hidden = if matches!(
            (&method, path.as_str()),
            (&Method::GET, "/repositories/demo" | "/repositories/demo/hello" | "/repositories/demo/hello/tags")
        ) {
            404
        } else {
            401
        };
        assert_eq!(anonymous.status, hidden, "anonymous {method} {path}");
    }
    for (method, path) in [
        (Method::GET, format!("/repositories/eve/hello/builds/{build}")),
        (Method::GET, format!("/repositories/eve/hello/builds/{build}/log")),
        (Method::GET, format!("/repositories/eve/hello/builds/{build}/log/stream")),
        (Method::POST, format!("/repositories/eve/hello/builds/{build}/cancel")),
        (Method::POST, format!("/repositories/eve/hello/builds/{build}/retry")),
        (Method::GET, format!("/repositories/eve/hello/deliveries/{delivery}")),
        (Method::POST, format!("/repositories/eve/hello/deliveries/{delivery}/replay")),
    ] {
        eve.try_api(method.clone(), &path, None).await?.problem(404).with_context(|| format!("{method} {path}"))?;
    }
    // Tokens: one's own alone.
    let tokens = app.api.items("/tokens").await?;
    let token = text(&tokens[0], "id");
    eve.try_api(Method::DELETE, &format!("/tokens/{token}"), None).await?.problem(404)?;
    assert!(eve.items("/tokens").await?.iter().all(|mine| mine["id"] != token));
    assert_eq!(snapshot(&app, &build).await?, before, "something of the other's was changed");
    // Pages: the same.
    let browser = app.sign_in("eve", PASSWORD).await?;
    for path in
        ["", "/tags", "/settings", "/builds", "/autobuild", "/deliveries", &format!("/builds/{build}"), &format!("/deliveries/{delivery}")]
    {
        assert_eq!(browser.open(&format!("/demo/hello{path}")).await?.status, 404, "page {path}");
    }
    assert_eq!(browser.open("/demo").await?.status, 404);
    for path in ["/", "/builds", "/search?q=hello"] {
        let page = browser.open(path).await?;
        assert!(page.status == 200 && !page.text.contains("demo/hello"), "{path} shows the other's repository");
    }
    assert_eq!(browser.form("/demo/hello/delete", &[("confirm", "demo/hello"), ("name", "demo/hello")]).await?.status, 404);
    assert_eq!(browser.form(&format!("/demo/hello/builds/{build}/cancel"), &[]).await?.status, 404);
    assert_eq!(snapshot(&app, &build).await?, before, "something of the other's was changed through a page");
    app.finish().await
}

async fn snapshot(app: &TestApp, build: &str) -> Result<Vec<Value>> {
    let api = &app.api;
    let mut links = api.items("/namespaces/demo/links").await?;
    for link in &mut links {
        // By the timer.
        (link["checked_at"], link["next_check_at"]) = (Value::Null, Value::Null);
    }
    let paths = ["/repositories/demo/hello".to_owned(), format!("/repositories/demo/hello/builds/{build}")];
    let settings = Repository::new(app, "hello").settings().await?;
    let mut all = vec![json!(links), settings, json!(api.items("/repositories/demo/hello/builds").await?)];
    for path in &paths {
        all.push(api.get(path).await?);
    }
    all.push(json!(api.items("/tokens").await?.iter().map(|token| token["id"].clone()).collect::<Vec<_>>()));
    Ok(all)
}

#[tokio::test]
async fn the_registry_shows_a_private_image_to_its_owner_alone() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve_token = app.make_token("eve", &[])?;
    app.create_repository("hidden").await?;
    let blob = b"a private layer".to_vec();
    let owner = app.registry();
    let digest = owner.push("demo/hidden", Some("latest"), std::slice::from_ref(&blob)).await?;
    assert_eq!(owner.pull("demo/hidden", "latest").await?, digest);
    let eve = Registry::new(&app, "eve", &eve_token);
    let anonymous = Registry::new(&app, "", "");
    let layer = slipway_tests::registry::digest(&blob);

    for (who, registry) in [("another person", &eve), ("nobody", &anonymous)] {
        for (method, rest) in [
            (Method::GET, "manifests/latest".to_owned()),
            (Method::HEAD, "manifests/latest".to_owned()),
            (Method::GET, format!("manifests/{digest}")),
            (Method::GET, format!("blobs/{layer}")),
            (Method::HEAD, format!("blobs/{layer}")),
            (Method::GET, "tags/list".to_owned()),
            (Method::GET, format!("referrers/{digest}")),
            (Method::POST, "blobs/uploads/".to_owned()),
            (Method::PUT, "manifests/latest".to_owned()),
            (Method::DELETE, "manifests/latest".to_owned()),
            (Method::DELETE, format!("blobs/{layer}")),
        ] {
            let seen = registry.send(method.clone(), "demo/hidden", &rest, "application/octet-stream", Vec::new()).await?;
            assert_eq!(seen.status, 401, "{who}: {method} {rest}: {}", seen.text);
            let missing = registry.send(method.clone(), "demo/nothing", &rest, "application/octet-stream", Vec::new()).await?;
            assert_eq!(seen.status, missing.status, "{who}: {method} {rest} differs from what does not exist");
            assert_eq!(seen.text, missing.text, "{who}: {method} {rest} differs from what does not exist");
        }
        assert!(registry.skopeo_digest("demo/hidden", "latest").await.is_err(), "{who} pulled a private image");
    }
    // The other's blob does not come into one's own repository: neither by mounting nor by asking for its digest.
    let eve_api = app.client(&eve_token);
    eve_api.post("/repositories/eve", &json!({ "name": "own" })).await?;
    let mounted = eve.send(Method::POST, "eve/own", &format!("blobs/uploads/?mount={layer}&from=demo/hidden"), "", Vec::new()).await?;
    assert_eq!(mounted.status, 202, "an upload instead of a mount: {}", mounted.text);
    assert_eq!(eve.send(Method::HEAD, "eve/own", &format!("blobs/{layer}"), "", Vec::new()).await?.status, 404);
    assert_eq!(eve.send(Method::POST, "eve/own", &format!("blobs/uploads/?mount={layer}"), "", Vec::new()).await?.status, 202);

    // Without a token: a challenge that says where to get one and for what.
    let bare = app.stranger().open("/v2/demo/hidden/manifests/latest").await?;
    assert_eq!(bare.status, 401);
    let asked = challenge(&bare)?;
    assert_eq!(asked["realm"], format!("{}/auth/token", app.site()));
    assert_eq!((asked["service"].as_str(), asked["scope"].as_str()), (app.host().as_str(), "repository:demo/hidden:pull"));
    // Wrong credentials are never anonymous ones.
    for (user, password) in [("demo", "wrong"), ("eve", app.token.as_str()), ("demo", PASSWORD), ("nobody", app.token.as_str())] {
        assert_eq!(Registry::new(&app, user, password).ask_token(&["repository:demo/hidden:pull"]).await?.status, 401, "{user}");
    }
    app.finish().await
}

#[tokio::test]
async fn a_public_repository_is_pulled_by_everybody_and_pushed_by_its_owner() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = Registry::new(&app, "eve", &app.make_token("eve", &[])?);
    app.create_repository("open").await?;
    let digest = app.registry().push("demo/open", Some("latest"), &[b"for everybody".to_vec()]).await?;
    let anonymous = Registry::new(&app, "", "");
    assert!(anonymous.pull("demo/open", "latest").await.is_err(), "it is private until its owner says otherwise");
    app.api.patch("/repositories/demo/open", &json!({ "visibility": "public" })).await?;
    for registry in [&anonymous, &eve] {
        assert_eq!(registry.pull("demo/open", "latest").await?, digest);
        assert!(registry.push("demo/open", Some("latest"), &[b"evil".to_vec()]).await.is_err(), "a stranger pushed");
    }
    assert_eq!(anonymous.skopeo_digest("demo/open", "latest").await?, digest);
    assert_eq!(app.stranger().get("/repositories/demo/open").await?["visibility"], "public");
    assert_eq!(app.stranger().items("/repositories/demo/open/tags").await?[0]["digest"], digest);
    // Its builds, settings and deliveries are not public.
    for private in ["builds", "autobuild", "deliveries"] {
        assert_eq!(
            app.stranger().try_api(Method::GET, &format!("/repositories/demo/open/{private}"), None).await?.status,
            401,
            "{private}"
        );
    }
    // A token that may only read does not push.
    let reader = Registry::new(&app, PERSON, &app.make_token(PERSON, &["--scope", "repo:read"])?);
    assert_eq!(reader.pull("demo/open", "latest").await?, digest);
    assert!(reader.push("demo/open", Some("latest"), &[b"evil".to_vec()]).await.is_err(), "a reading token pushed");

    // Deleted and made again under its name: an old token is worth nothing, and nothing of the old one is left.
    let old = app.registry().ask_token(&["repository:demo/open:pull,push"]).await?.json()?;
    app.api.delete("/repositories/demo/open").await?;
    app.create_repository("open").await?;
    let stale = app.client(text(&old, "token")).open("/v2/demo/open/manifests/latest").await?;
    assert_eq!(stale.status, 401, "{}", stale.text);
    assert_eq!(app.registry().manifest("demo/open", "latest").await?.status, 404);
    app.finish().await
}

#[tokio::test]
async fn a_token_may_do_what_it_was_given_and_ends_when_it_is_revoked() -> Result<()> {
    let app = TestApp::start().await?;
    app.create_repository("hello").await?;
    let reader = app.client(&app.make_token(PERSON, &["--scope", "repo:read"])?);
    assert_eq!(reader.get("/repositories/demo/hello").await?["name"], "hello");
    for (method, path, body, scope) in [
        (Method::POST, "/repositories/demo", json!({ "name": "second" }), "repo:admin"),
        (Method::PATCH, "/repositories/demo/hello", json!({ "description": "x" }), "repo:admin"),
        (Method::DELETE, "/repositories/demo/hello", Value::Null, "repo:admin"),
        (Method::POST, "/repositories/demo/hello/builds", json!({ "ref": "refs/heads/main" }), "build:write"),
        (Method::POST, "/namespaces/demo/links/github/connect", json!({}), "repo:admin"),
        (Method::GET, "/tokens", Value::Null, "account"),
        (Method::POST, "/tokens", json!({ "name": "more" }), "account"),
    ] {
        let problem = reader.try_api(method.clone(), path, Some(&body)).await?.problem(403).with_context(|| format!("{method} {path}"))?;
        assert_eq!(problem["code"], "scope_missing", "{method} {path}: {problem}");
        assert!(text(&problem, "detail").contains(scope), "{method} {path}: {problem}");
    }
    // A token cannot make one that may do more than itself.
    let account = app.client(&app.make_token(PERSON, &["--scope", "account"])?);
    let wish = json!({ "name": "more", "scopes": ["repo:admin"] });
    account.try_api(Method::POST, "/tokens", Some(&wish)).await?.problem(403)?;
    let made = account.post("/tokens", &json!({ "name": "same", "scopes": ["account"] })).await?;
    let same = app.client(text(&made, "token"));
    assert!(same.get("/tokens").await?["items"].as_array().unwrap().iter().all(|token| token["token"].is_null()), "a secret is shown once");
    account.delete(&format!("/tokens/{}", text(&made, "id"))).await?;
    assert_eq!(same.open("/api/v1/me").await?.status, 401, "a revoked token still works");
    app.finish().await
}
