//! People over HTTP: organizations, teams and tokens through the API, what is refused and how, limits, and sessions that are renewed.

use std::num::NonZeroU32;

use axum::body::Body;
use http::{Method, header};
use serde_json::{Value, json};
use slipway_app::Role;
use slipway_app::store::accounts;
use slipway_app::store::identities::Identity;
use slipway_model::{IdentityId, Scope, ScopeSet};

use super::{Answer, JSON, SITE, Site};

/// A person with a token for everything.
struct Person<'a> {
    site: &'a Site,
    bearer: String,
}

impl<'a> Person<'a> {
    async fn octo(site: &'a Site) -> Self {
        Self { site, bearer: format!("Bearer {}", site.token(&ScopeSet::all()).await) }
    }

    async fn new(site: &'a Site, name: &str, role: Role) -> Self {
        site.app.add_user(name, role, &"correct horse".to_owned().into()).await.unwrap();
        Self { site, bearer: format!("Bearer {}", site.token_of(name, &ScopeSet::all()).await) }
    }

    fn with(site: &'a Site, token: &str) -> Self {
        Self { site, bearer: format!("Bearer {token}") }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.site.send(method, &format!("/api/v1{path}"), &[("authorization", &self.bearer), JSON], body).await
    }

    /// It must succeed with this status.
    #[track_caller]
    fn done(answer: &Answer, status: u16) -> Value {
        assert_eq!(answer.status.as_u16(), status, "{}", String::from_utf8_lossy(&answer.body));
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    async fn get(&self, path: &str) -> Value {
        Self::done(&self.send(Method::GET, path, &Value::Null).await, 200)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        Self::done(&self.send(Method::POST, path, &body).await, 201)
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        Self::done(&self.send(Method::PUT, path, &body).await, 204)
    }

    async fn delete(&self, path: &str) -> Value {
        Self::done(&self.send(Method::DELETE, path, &Value::Null).await, 204)
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_organization_from_its_beginning_to_its_end() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    let rita = Person::new(&site, "rita", Role::User).await;
    let eve = Person::new(&site, "eve", Role::User).await;

    assert_eq!(octo.post("/organizations", json!({ "name": "acme", "display_name": "Acme Ltd." })).await["display_name"], "Acme Ltd.");
    octo.post("/repositories/acme", json!({ "name": "hidden" })).await;
    octo.post("/repositories/acme", json!({ "name": "other" })).await;
    octo.post("/organizations/acme/teams", json!({ "name": "readers", "description": "They look." })).await;
    octo.put("/organizations/acme/teams/readers/members/rita", Value::Null).await;
    octo.put("/organizations/acme/teams/readers/repositories/hidden", json!({ "permission": "read" })).await;

    // What the member sees is what the team gives.
    assert_eq!(rita.get("/organizations").await["items"][0]["standing"], "member");
    assert_eq!(names(&rita.get("/me/organizations").await), ["acme"]);
    assert_eq!(names(&rita.get("/repositories/acme").await), ["hidden"]);
    assert_eq!(names(&rita.get("/organizations/acme/teams").await), ["readers"]);
    assert_eq!(names(&octo.get("/organizations/acme/teams").await), ["owners", "readers"]);
    let team = rita.get("/organizations/acme/teams/readers").await;
    assert_eq!((team["members"].as_u64(), team["repositories"].as_u64()), (Some(1), Some(1)), "{team}");
    let seen = rita.get("/organizations/acme/teams/readers/repositories").await;
    assert_eq!((names(&seen), &seen["items"][0]["permission"]), (vec!["hidden"], &json!("read")));
    assert_eq!(names(&rita.get("/organizations/acme/teams/readers/members").await), ["rita"]);
    rita.send(Method::GET, "/organizations/acme/teams/owners", &Value::Null).await.problem(404, "not_found");
    rita.send(Method::GET, "/organizations/acme/members", &Value::Null).await.problem(403, "permission_missing");
    rita.send(Method::PATCH, "/repositories/acme/hidden", &json!({ "description": "mine" })).await.problem(403, "permission_missing");
    rita.send(Method::GET, "/repositories/acme/other", &Value::Null).await.problem(404, "not_found");
    let members = octo.get("/organizations/acme/members").await;
    assert_eq!(names(&members), ["octo", "rita"]);
    assert_eq!(members["items"][1]["teams"], json!(["readers"]));

    // Strangers see neither organization nor people, until something is public, and then only that.
    for path in ["/organizations/acme", "/namespaces/acme", "/repositories/acme", "/organizations/acme/teams", "/namespaces/acme/audit"] {
        eve.send(Method::GET, path, &Value::Null).await.problem(404, "not_found");
    }
    Person::done(&octo.send(Method::PATCH, "/repositories/acme/other", &json!({ "visibility": "public" })).await, 200);
    assert_eq!(eve.get("/namespaces/acme").await["standing"], "outsider");
    assert_eq!(names(&eve.get("/repositories/acme").await), ["other"]);
    assert_eq!(site.get("/api/v1/repositories/acme", &[]).await.json()["items"][0]["name"], "other");
    eve.send(Method::GET, "/organizations/acme", &Value::Null).await.problem(404, "not_found");

    // The last owner stays; a member leaves by their own name.
    octo.send(Method::DELETE, "/organizations/acme/teams/owners/members/octo", &Value::Null).await.problem(409, "last_owner");
    octo.send(Method::DELETE, "/organizations/acme/members/octo", &Value::Null).await.problem(409, "last_owner");
    rita.delete("/organizations/acme/teams/readers/members/rita").await;
    rita.send(Method::GET, "/organizations/acme", &Value::Null).await.problem(404, "not_found");

    // A former name leads on, but does not confirm a deletion.
    let renamed = octo.send(Method::PATCH, "/organizations/acme", &json!({ "name": "initech" })).await;
    assert_eq!(Person::done(&renamed, 200)["name"], "initech");
    assert_eq!(octo.get("/organizations/acme").await["name"], "initech");
    let doomed = octo.get("/organizations/initech/deletion").await;
    assert_eq!((doomed["repository_count"].as_u64(), doomed["team_count"].as_u64()), (Some(2), Some(2)), "{doomed}");
    assert_eq!(octo.send(Method::DELETE, "/organizations/acme", &Value::Null).await.status, 422);
    assert_eq!(Person::done(&octo.send(Method::DELETE, "/organizations/initech", &Value::Null).await, 200)["unlinked"], json!([]));
    octo.send(Method::GET, "/organizations/initech", &Value::Null).await.problem(404, "not_found");
}

#[tokio::test]
async fn tokens_of_organizations_and_of_few_repositories() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    octo.post("/organizations", json!({ "name": "acme" })).await;
    for name in ["one", "two"] {
        octo.post("/repositories/acme", json!({ "name": name })).await;
        octo.post("/repositories/octo", json!({ "name": name })).await;
    }
    let made = octo.post("/organizations/acme/tokens", json!({ "name": "ci" })).await;
    let organization = Person::with(&site, made["token"].as_str().unwrap());
    assert_eq!(organization.get("/me").await["kind"], "organization");
    assert_eq!(names(&organization.get("/repositories/acme").await), ["one", "two"]);
    organization.post("/repositories/acme", json!({ "name": "three" })).await;
    organization.send(Method::GET, "/repositories/octo/one", &Value::Null).await.problem(404, "not_found");
    // What a person is needed for.
    organization.send(Method::DELETE, "/organizations/acme", &Value::Null).await.problem(403, "needs_a_person");
    organization.send(Method::POST, "/organizations/acme/tokens", &json!({ "name": "more" })).await.problem(403, "needs_a_person");
    organization.send(Method::POST, "/organizations", &json!({ "name": "another" })).await.problem(403, "needs_a_person");
    let listed = octo.get("/organizations/acme/tokens").await;
    assert_eq!((&listed["items"][0]["name"], &listed["items"][0]["repositories"]), (&json!("ci"), &Value::Null), "{listed}");
    octo.delete(&format!("/organizations/acme/tokens/{}", made["id"].as_str().unwrap())).await;
    organization.send(Method::GET, "/me", &Value::Null).await.problem(401, "unauthorized");

    let wish = json!({ "name": "few", "scopes": ["repo:admin"], "repositories": ["octo/one", "acme/two"] });
    let made = octo.post("/tokens", wish).await;
    let few = Person::with(&site, made["token"].as_str().unwrap());
    assert_eq!(few.get("/repositories/octo/one").await["name"], "one");
    assert_eq!(few.get("/repositories/acme/two").await["name"], "two");
    assert_eq!(names(&few.get("/repositories/octo").await), ["one"]);
    few.send(Method::GET, "/repositories/octo/two", &Value::Null).await.problem(404, "not_found");
    few.send(Method::POST, "/repositories/octo", &json!({ "name": "four" })).await.problem(403, "token_limited");
    let listed = octo.get("/tokens").await;
    let mine = listed["items"].as_array().unwrap().iter().find(|token| token["name"] == "few").unwrap();
    assert_eq!(mine["repositories"].as_array().unwrap().len(), 2, "{mine}");
    // A repository that one may not see is no repository.
    let foreign = json!({ "name": "x", "scopes": ["repo:read"], "repositories": ["octo/nothing"] });
    octo.send(Method::POST, "/tokens", &foreign).await.problem(422, "no_such_repository");
}

#[tokio::test]
async fn administrators_manage_accounts_and_nothing_of_theirs() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    let root = Person::new(&site, "admiral", Role::Administrator).await;
    octo.post("/repositories/octo", json!({ "name": "hidden" })).await;
    assert_eq!(root.post("/admin/accounts", json!({ "name": "robot" })).await["kind"], "service");
    assert_eq!(names(&root.get("/admin/accounts?kind=service").await), ["robot"]);
    assert_eq!(names(&root.get("/admin/accounts?kind=user").await), ["admiral", "octo"]);
    let made = root.post("/admin/accounts/robot/tokens", json!({ "name": "ci", "scopes": ["repo:read"] })).await;
    let robot = Person::with(&site, made["token"].as_str().unwrap());
    assert_eq!(robot.get("/me").await["name"], "robot");
    assert_eq!(root.get("/admin/accounts/robot/tokens").await["items"][0]["name"], "ci");
    // Tokens of people are their own.
    root.send(Method::POST, "/admin/accounts/octo/tokens", &json!({ "name": "x" })).await.problem(403, "not_a_service_account");
    root.send(Method::GET, "/repositories/octo/hidden", &Value::Null).await.problem(404, "not_found");
    for (method, path) in [(Method::GET, "/admin/accounts"), (Method::GET, "/admin/audit"), (Method::GET, "/admin/invitations")] {
        octo.send(method, path, &Value::Null).await.problem(404, "not_found");
    }
    let raised = root.send(Method::PATCH, "/admin/accounts/octo", &json!({ "admin": true })).await;
    assert_eq!(Person::done(&raised, 200)["admin"], true);
    assert_eq!(names(&octo.get("/admin/accounts?limit=1").await), ["admiral"]);
    Person::done(&root.send(Method::DELETE, "/admin/accounts/robot", &Value::Null).await, 200);
    robot.send(Method::GET, "/me", &Value::Null).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn an_invited_person_makes_an_account() {
    let site = Site::new(SITE).await;
    let root = Person::new(&site, "admiral", Role::Administrator).await;
    let made = root.post("/admin/invitations", json!({ "expires_in": 3600 })).await;
    assert_eq!(made["mailed"], false);
    let token = made["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let look = async |token: &str| site.get(&format!("/api/v1/invitations/{token}"), &[]).await;
    assert_eq!(look(&token).await.json()["makes_account"], true);
    let accept = async |token: &str, body: Value| {
        site.send(Method::POST, &format!("/api/v1/invitations/{token}/accept"), &[JSON], body.to_string()).await
    };
    let wish = json!({ "name": "newcomer", "password": "correct horse" });
    assert_eq!(accept(&token, json!({})).await.status, 422);
    accept("sli_nonsense", wish.clone()).await.problem(404, "not_found");
    let accepted = accept(&token, wish.clone()).await;
    assert_eq!((accepted.status.as_u16(), &accepted.json()["name"]), (201, &json!("newcomer")));
    let cookie = accepted.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(site.get("/api/v1/me", &[("cookie", cookie)]).await.json()["name"], "newcomer");
    // Used, and never known: the same.
    let without_id = |answer: Answer| {
        let mut problem = answer.json();
        problem["request_id"] = Value::Null;
        (answer.status, problem)
    };
    let unknown = format!("sli_{}", "0".repeat(64));
    assert_eq!(without_id(accept(&token, wish.clone()).await), without_id(accept(&unknown, wish).await));
    assert_eq!(without_id(look(&token).await), without_id(look(&unknown).await));
    assert_eq!(root.get("/admin/invitations").await["items"], json!([]));
}

#[tokio::test]
async fn an_audit_log_is_filtered_paged_and_exported() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    octo.post("/organizations", json!({ "name": "acme" })).await;
    // More than two pages of the export.
    for n in 0..450 {
        octo.put("/organizations/acme/teams/owners/members/octo", Value::Null).await;
        if n % 2 == 0 {
            continue;
        }
        octo.post("/organizations/acme/teams", json!({ "name": format!("team-{n}") })).await;
    }
    let export = site.get("/api/v1/namespaces/acme/audit/export?action=team", &[("authorization", &octo.bearer)]).await;
    assert_eq!(export.headers[header::CONTENT_TYPE], "application/x-ndjson");
    assert!(!export.headers.contains_key(header::CONTENT_LENGTH), "it is streamed");
    let lines: Vec<Value> = String::from_utf8(export.body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let created: Vec<&Value> = lines.iter().filter(|line| line["action"] == "team.create").collect();
    assert!(created.len() >= 225, "{}", created.len());
    assert!(lines.windows(2).all(|pair| pair[0]["id"].as_str() > pair[1]["id"].as_str()), "newest first, none twice");
    assert!(created.iter().all(|line| line["actor"] == "octo" && line["via"] == "token `test`" && line["namespace"] == "acme"));
    let first = octo.get("/namespaces/acme/audit?action=team.create&limit=2").await;
    let next = octo.get(&format!("/namespaces/acme/audit?action=team.create&limit=2&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!(first["items"][0]["id"], created[0]["id"]);
    assert_eq!(next["items"][0]["id"], created[2]["id"]);
    for (query, field) in [("since=yesterday", "since"), ("until=1", "until"), ("limit=0", "limit")] {
        let refused = octo.send(Method::GET, &format!("/namespaces/acme/audit?{query}"), &Value::Null).await;
        refused.problem(422, "invalid");
        assert_eq!(refused.json()["field"], field);
    }
    let long = octo.send(Method::GET, &format!("/namespaces/acme/audit?actor={}", "x".repeat(400)), &Value::Null).await;
    assert_eq!((long.status.as_u16(), &long.json()["field"]), (422, &json!("actor")));
}

#[tokio::test]
async fn wrong_input_is_told_by_field_and_limit() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    octo.post("/organizations", json!({ "name": "acme" })).await;
    let long = "x".repeat(10_000);
    for (method, path, body, field) in [
        (Method::PATCH, "/me", json!({ "display_name": long }), "display_name"),
        (Method::POST, "/tokens", json!({ "name": long }), "name"),
        (Method::POST, "/tokens", json!({ "name": "x", "scopes": [long] }), "scopes"),
        (Method::POST, "/tokens", json!({ "name": "x", "scopes": ["repo:read"], "repositories": [long] }), "repositories[0]"),
        (Method::POST, "/organizations", json!({ "name": long }), "name"),
        (Method::POST, "/organizations", json!({ "name": "other", "display_name": long }), "display_name"),
        (Method::PATCH, "/organizations/acme", json!({ "display_name": long }), "display_name"),
        (Method::POST, "/organizations/acme/teams", json!({ "name": long }), "name"),
        (Method::POST, "/organizations/acme/teams", json!({ "name": "team", "description": long }), "description"),
        (Method::POST, "/organizations/acme/invitations", json!({ "team": long }), "team"),
        (Method::POST, "/organizations/acme/invitations", json!({ "team": "owners", "expires_in": 31 * 24 * 3600 }), "expires_in"),
        (Method::POST, "/organizations/acme/invitations", json!({ "team": "owners", "expires_in": 1 }), "expires_in"),
        (Method::POST, "/repositories/octo", json!({ "name": "x1", "description": long }), "description"),
    ] {
        let refused = octo.send(method.clone(), path, &body).await;
        assert_eq!(refused.status.as_u16(), 422, "{method} {path}: {}", String::from_utf8_lossy(&refused.body));
        let problem = refused.json();
        assert_eq!(problem["field"], field, "{method} {path}: {problem}");
        assert!(problem.to_string().len() < 1200, "an answer grows with what was sent: {method} {path}");
    }
    // A field that nobody knows is a mistake of the sender, not something to pass over.
    for (method, path) in [
        (Method::PATCH, "/me"),
        (Method::DELETE, "/me"),
        (Method::PUT, "/me/password"),
        (Method::PUT, "/me/email"),
        (Method::POST, "/email-confirmations"),
        (Method::POST, "/me/second-factor"),
        (Method::POST, "/me/conversion"),
        (Method::POST, "/tokens"),
        (Method::POST, "/organizations"),
        (Method::PATCH, "/organizations/acme"),
        (Method::POST, "/organizations/acme/teams"),
        (Method::PATCH, "/organizations/acme/teams/owners"),
        (Method::PUT, "/organizations/acme/teams/owners/repositories/x1"),
        (Method::POST, "/organizations/acme/invitations"),
        (Method::POST, "/organizations/acme/tokens"),
    ] {
        let refused = octo.send(method.clone(), path, &json!({ "colour": "blue" })).await;
        refused.problem(422, "invalid");
        assert!(refused.json()["detail"].as_str().unwrap().contains("`colour`"), "{method} {path}: {}", refused.json());
    }
    // What cannot be a name is nowhere.
    for path in [
        "/organizations/Acme",
        "/organizations/-acme",
        "/organizations/acme/teams/Owners",
        "/organizations/acme/teams/o",
        "/organizations/acme/teams/owners/repositories/..%2f..",
        "/namespaces/%00",
        "/me/sessions/1",
        "/repositories/octo/hello/tags/-x",
    ] {
        let method = if path.contains("/sessions/") || path.contains("/tags/") { Method::DELETE } else { Method::GET };
        let answer = octo.send(method, path, &Value::Null).await;
        assert!(matches!(answer.status.as_u16(), 404 | 405), "{path}: {}", answer.status);
    }
    octo.send(Method::PUT, "/organizations/acme/teams/owners/repositories/x1", &json!({ "permission": "owner" }))
        .await
        .problem(422, "invalid");
}

#[tokio::test]
async fn who_asks_too_often_waits_and_others_do_not() {
    // A quarter of eight at once.
    let site = Site::limited(SITE, NonZeroU32::new(8).unwrap()).await;
    let (one, two) = (site.token(&ScopeSet::all()).await, site.token(&ScopeSet::new([Scope::RepoRead])).await);
    let cookie = site.cookie().await;
    let me = async |name: &str, value: &str| site.get("/api/v1/me", &[(name, value)]).await;
    let (one, two) = (format!("Bearer {one}"), format!("Bearer {two}"));
    for (name, value) in [("authorization", one.as_str()), ("authorization", two.as_str()), ("cookie", cookie.as_str())] {
        assert_eq!(me(name, value).await.status, 200);
        assert_eq!(me(name, value).await.status, 200);
        let refused = me(name, value).await;
        refused.problem(429, "rate_limited");
        let seconds: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=8).contains(&seconds), "{seconds}");
    }
    // Without a valid credential the address is counted, whatever was tried.
    me("authorization", "Bearer slp_nonsense").await.problem(401, "unauthorized");
    me("x-nothing", "").await.problem(401, "unauthorized");
    me("authorization", "Bearer slp_other").await.problem(429, "rate_limited");
    site.get("/api/v1/repositories/octo/hello", &[]).await.problem(429, "rate_limited");
    site.get(&format!("/api/v1/invitations/sli_{}", "0".repeat(64)), &[]).await.problem(429, "rate_limited");
    // An address behind a proxy is another one only when a proxy on this machine says so; here nobody is connected at all.
    site.get("/api/v1/me", &[("x-forwarded-for", "192.0.2.1")]).await.problem(429, "rate_limited");
    // Never limited: webhooks, builders, health, pages.
    for _ in 0..10 {
        let hook = "/hooks/github/01977c9d-0000-7000-8000-000000000000";
        site.send(Method::POST, hook, &[], "{}").await.problem(404, "not_found");
        site.send(Method::POST, "/builder/v1/claim", &[JSON], "{}").await.problem(401, "unauthorized");
        for path in ["/healthz", "/signin", "/api/openapi.json"] {
            assert_eq!(site.get(path, &[]).await.status, 200, "{path}");
        }
        assert_eq!(site.get("/", &[("cookie", &cookie)]).await.status, 200);
    }
}

#[tokio::test]
async fn a_session_gets_a_new_id_when_rights_change() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    Person::new(&site, "rita", Role::User).await;
    octo.post("/organizations", json!({ "name": "acme" })).await;
    octo.post("/organizations/acme/teams", json!({ "name": "readers" })).await;
    let old = site.cookie_of("rita").await;
    let page = async |cookie: &str| site.get("/", &[("cookie", cookie)]).await;
    assert!(!page(&old).await.headers.contains_key(header::SET_COOKIE), "nothing changed yet");

    octo.put("/organizations/acme/teams/readers/members/rita", Value::Null).await;
    // Neither the API nor an asset renews: only a page whose answer a browser surely reads.
    assert!(!site.get("/api/v1/me", &[("cookie", &old)]).await.headers.contains_key(header::SET_COOKIE));
    let renewed = page(&old).await;
    assert_eq!(renewed.status, 200);
    let set = renewed.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("slipway_session=sls_") && set.contains("; HttpOnly; SameSite=Lax; Max-Age="), "{set}");
    let new = set.split(';').next().unwrap().to_owned();
    assert_ne!(new, old);
    // Requests that were under way with the old one still end well, and do not renew again.
    for cookie in [&new, &old] {
        let again = page(cookie).await;
        assert_eq!(again.status, 200);
        assert!(!again.headers.contains_key(header::SET_COOKIE));
        assert_eq!(site.get("/api/v1/me", &[("cookie", cookie)]).await.json()["name"], "rita");
    }
    // It is one session, not two.
    assert_eq!(site.get("/api/v1/me/sessions", &[("cookie", &new)]).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_password_change_ends_the_other_sessions_and_replaces_this_one() {
    let site = Site::new(SITE).await;
    let (mine, other) = (site.cookie().await, site.cookie().await);
    let change = json!({ "current": "correct horse", "new": "battery staple" }).to_string();
    let headers = [("cookie", mine.as_str()), ("origin", SITE), JSON];
    let wrong = json!({ "current": "wrong horse", "new": "battery staple" }).to_string();
    let refused = site.send(Method::PUT, "/api/v1/me/password", &headers, wrong).await;
    assert!(refused.status.is_client_error() && refused.status != 401, "{}", refused.status);
    let changed = site.send(Method::PUT, "/api/v1/me/password", &headers, change).await;
    assert_eq!(changed.status, 204);
    let new = changed.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    for old in [&mine, &other] {
        site.get("/api/v1/me", &[("cookie", old)]).await.problem(401, "unauthorized");
    }
    let sessions = site.get("/api/v1/me/sessions", &[("cookie", &new)]).await.json();
    assert_eq!((sessions["items"].as_array().unwrap().len(), &sessions["items"][0]["current"]), (1, &json!(true)), "{sessions}");
}

#[tokio::test]
async fn the_list_of_routes_is_the_router() {
    let site = Site::new(SITE).await;
    let routes = slipway_web::routes();
    let mut seen = std::collections::BTreeMap::<&str, Vec<&Method>>::new();
    for (method, path) in &routes {
        let methods = seen.entry(path).or_default();
        assert!(!methods.contains(&method), "{method} {path} stands twice");
        methods.push(method);
    }
    assert!(
        seen.len() > 80 && seen.contains_key("/api/openapi.json") && seen.contains_key("/hooks/{provider}/{hook_id}"),
        "{}",
        seen.len()
    );
    // Each listed address answers to the listed methods and to no other.
    for (path, methods) in seen {
        let concrete = path.split('/').map(|part| if part.starts_with('{') { "zz-nothing" } else { part }).collect::<Vec<_>>().join("/");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = site.send(method.clone(), &concrete, &[JSON, ("origin", SITE)], "{}").await;
            let listed = methods.contains(&&method);
            assert_eq!(answer.status != 405, listed, "{method} {path}: {}", answer.status);
        }
    }
    // Nothing is served beside the list: no other file of this crate can make a route.
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    let mut makers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                if code.into_iter().any(|line| line.contains("axum::routing") || line.contains("Router::new()") || line.contains("nest(")) {
                    makers.push(path.strip_prefix(&source).unwrap().display().to_string());
                }
            }
        }
    }
    assert_eq!(makers, ["edge/routes.rs"]);
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The session that an answer gives, as the browser sends it back.
#[track_caller]
fn session_of(answer: &Answer) -> String {
    let cookies = answer.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    let set = cookies.into_iter().find(|cookie| cookie.starts_with("slipway_session=sls_"));
    set.unwrap_or_else(|| panic!("{} without a session", answer.status)).split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had() {
    let site = Site::new(SITE).await;
    let (mine, elsewhere) = (site.cookie().await, site.cookie().await);
    let form = "name=octo&password=correct+horse";
    let wrong = site.send(Method::POST, "/signin", &[("cookie", &mine), ("origin", SITE), FORM], "name=octo&password=wrong+horse").await;
    assert_eq!(wrong.status, 422);
    assert_eq!(site.get("/api/v1/me", &[("cookie", &mine)]).await.status, 200, "nothing happened");
    let answer = site.send(Method::POST, "/signin", &[("cookie", &mine), ("origin", SITE), FORM], form).await;
    assert_eq!(answer.status, 303);
    let new = session_of(&answer);
    assert_eq!(site.get("/api/v1/me", &[("cookie", &mine)]).await.status, 401);
    for cookie in [&new, &elsewhere] {
        assert_eq!(site.get("/api/v1/me", &[("cookie", cookie)]).await.status, 200);
    }
    // Of another person, too.
    site.app.add_user("rita", Role::User, &"correct horse".to_owned().into()).await.unwrap();
    let form = "name=rita&password=correct+horse";
    let answer = site.send(Method::POST, "/signin", &[("cookie", &new), ("origin", SITE), FORM], form).await;
    assert_eq!(site.get("/api/v1/me", &[("cookie", &new)]).await.status, 401);
    assert_eq!(site.get("/api/v1/me", &[("cookie", &session_of(&answer))]).await.json()["name"], "rita");
}

#[tokio::test]
async fn what_strangers_may_send_and_costs_much_is_counted_by_address() {
    // A quarter of eight at once.
    for path in ["/oidc/corp/begin", "/signup"] {
        let site = Site::limited(SITE, NonZeroU32::new(8).unwrap()).await;
        let cookie = site.cookie().await;
        for _ in 0..2 {
            assert_eq!(site.send(Method::POST, path, &[("origin", SITE), FORM], "name=x").await.status, 404, "{path}");
        }
        // Signed in or not.
        let refused = site.send(Method::POST, path, &[("origin", SITE), ("cookie", &cookie), FORM], "name=x").await;
        assert_eq!(refused.status, 429, "{path}");
        assert!(refused.headers.contains_key(header::RETRY_AFTER), "{path}");
    }
}

#[tokio::test]
async fn what_is_too_long_or_no_moment_is_named() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    for end in [json!("tomorrow"), json!(7), json!("10000-01-01T00:00:00Z"), json!("+010000-01-01T00:00:00Z"), json!({}), json!("")] {
        let wish = json!({ "name": "ci", "scopes": ["repo:read"], "expires_at": end });
        let refused = octo.send(Method::POST, "/tokens", &wish).await;
        refused.problem(422, "invalid");
        assert_eq!(refused.json()["field"], "expires_at", "{end}");
    }
    octo.post("/tokens", json!({ "name": "ci", "scopes": ["repo:read"], "expires_at": "9999-12-30T21:59:59Z" })).await;
    octo.post("/tokens", json!({ "name": "for ever", "scopes": ["repo:read"], "expires_at": null })).await;

    let proof = json!({ "password": "correct horse", "code": "1".repeat(33) });
    let refused = octo.send(Method::DELETE, "/me/second-factor", &proof).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("code")));
    let email = json!({ "email": format!("{}@example.com", "x".repeat(243)), "password": "correct horse" });
    let refused = octo.send(Method::PUT, "/me/email", &email).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!("email")));
    assert!(refused.json()["detail"].as_str().unwrap().contains("254"));

    // A form with more fields than any of ours changes nothing.
    let cookie = site.cookie().await;
    let form = format!("display_name=Octo+Two{}", "&x=1".repeat(2000));
    let refused = site.send(Method::POST, "/settings/account", &[("cookie", &cookie), ("origin", SITE), FORM], form).await;
    assert_eq!(refused.status, 422);
    assert_eq!(octo.get("/me").await["display_name"], "octo");
}

#[tokio::test]
async fn an_export_ends_with_the_right_to_read_it() {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    let site = Site::new(SITE).await;
    let boss = Person::new(&site, "boss", Role::Administrator).await;
    Person::new(&site, "root", Role::Administrator).await;
    for _ in 0..450 {
        site.token_of("octo", &ScopeSet::all()).await;
    }
    for (path, whole) in
        [("/api/v1/admin/audit/export", true), ("/api/v1/namespaces/octo/audit/export", true), ("/api/v1/admin/audit/export", false)]
    {
        let request = http::Request::builder().uri(path).header("authorization", &boss.bearer).body(Body::empty()).unwrap();
        let mut answer = site.router.clone().oneshot(request).await.unwrap().into_body();
        let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.iter().filter(|byte| **byte == b'\n').count(), 200, "{path}");
        if whole {
            assert!(answer.collect().await.unwrap().to_bytes().len() > first.len(), "{path}");
            continue;
        }
        let mut tx = site.app.db().write().await.unwrap();
        let account = accounts::get_by_name(&mut tx, &"boss".parse().unwrap()).await.unwrap().unwrap();
        accounts::set_admin(&mut tx, account.id, false).await.unwrap();
        tx.commit().await.unwrap();
        assert!(answer.frame().await.unwrap().is_err(), "the transfer breaks off");
    }
}

#[tokio::test]
async fn removing_an_identity_asks_for_the_password() {
    let site = Site::new(SITE).await;
    let octo = Person::octo(&site).await;
    let mut tx = site.app.db().write().await.unwrap();
    let account = accounts::get_by_name(&mut tx, &"octo".parse().unwrap()).await.unwrap().unwrap();
    let now = site.app.clock().now();
    let identities: Vec<Identity> = ["one", "two"]
        .into_iter()
        .map(|subject| Identity {
            id: IdentityId::new(),
            account: account.id,
            issuer: "https://id.example.com".into(),
            subject: subject.into(),
            label: subject.into(),
            created_at: now,
            last_used_at: None,
        })
        .collect();
    for identity in &identities {
        slipway_app::store::identities::insert(&mut tx, identity).await.unwrap();
    }
    tx.commit().await.unwrap();

    let path = format!("/me/identities/{}", identities[0].id);
    for body in [Value::Null, json!({ "password": "wrong horse" })] {
        let refused = octo.send(Method::DELETE, &path, &body).await;
        refused.problem(422, "password_wrong");
        assert_eq!(refused.json()["field"], "password");
    }
    let untyped = site
        .send(
            Method::DELETE,
            &format!("/api/v1{path}"),
            &[("authorization", &octo.bearer)],
            json!({ "password": "correct horse" }).to_string(),
        )
        .await;
    untyped.problem(415, "unsupported_media_type");
    Person::done(&octo.send(Method::DELETE, &path, &json!({ "password": "correct horse" })).await, 204);

    let cookie = site.cookie().await;
    let page = site.get("/settings/security", &[("cookie", &cookie)]).await;
    let field = format!("id=\"remove-{}\" name=\"password\" type=\"password\"", identities[1].id);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains(&field) && text.contains("autocomplete=\"current-password\""), "{text}");
    let path = format!("/settings/security/identities/{}/remove", identities[1].id);
    let headers = [("cookie", cookie.as_str()), ("origin", SITE), FORM];
    let refused = site.send(Method::POST, &path, &headers, "password=wrong+horse").await;
    assert_eq!(refused.status, 422);
    let text = String::from_utf8(refused.body).unwrap();
    assert!(text.contains(&format!("id=\"remove-{}-error\"", identities[1].id)), "{text}");
    assert_eq!(octo.get("/me/identities").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(site.send(Method::POST, &path, &headers, "password=correct+horse").await.status, 303);
    assert!(octo.get("/me/identities").await["items"].as_array().unwrap().is_empty());
}
