//! People as the outside meets them: what is revoked ends, names that come again inherit nothing, the last owner stays, and sign-in gives
//! an attacker nothing to learn.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::registry::Registry;
use slipway_tests::repository::text;
use slipway_tests::stream::Events;
use slipway_tests::{Client, Database, PASSWORD, PERSON, Setup, TestApp};

/// What is revoked stops within this time (the promise is 30 s).
const REVOKED_WITHIN: Duration = Duration::from_secs(30);

/// `acme`, owned by the administrator, with a team `crew`.
async fn organization(app: &TestApp) -> Result<()> {
    app.api.post("/organizations", &json!({ "name": "acme" })).await?;
    app.api.post("/organizations/acme/teams", &json!({ "name": "crew" })).await?;
    Ok(())
}

/// A registry token with every right that the login can have in the repository, as docker gets it.
async fn registry_token(app: &TestApp, user: &str, password: &str, repository: &str) -> Result<String> {
    let answer = Registry::new(app, user, password).ask_token(&[&format!("repository:{repository}:pull,push")]).await?.json()?;
    Ok(text(&answer, "token").to_owned())
}

/// Status of a pull with a registry token that was made before.
async fn pull(app: &TestApp, token: &str, repository: &str) -> Result<u16> {
    Ok(app.client(token).open(&format!("/v2/{repository}/tags/list")).await?.status)
}

/// Reads to the end of a stream; fails when it does not end in time.
async fn ends(mut events: Events) -> Result<()> {
    let to_the_end = async {
        while events.next().await?.is_some() {}
        anyhow::Ok(())
    };
    tokio::time::timeout(REVOKED_WITHIN, to_the_end).await.context("the live log outlived its credential")?
}

/// Who looks, and through what.
struct Viewer {
    client: Client,
    log: Events,
}

#[tokio::test]
async fn what_is_revoked_ends_everywhere() -> Result<()> {
    let app = TestApp::start().await?;
    organization(&app).await?;
    app.add_user("eve", PASSWORD, &[])?;
    app.add_user("bob", PASSWORD, &[])?;
    for user in ["eve", "bob"] {
        app.api.put(&format!("/organizations/acme/teams/crew/members/{user}"), &json!({})).await?;
    }
    app.github.repository("octo/app", slipway_testkit::github::Visibility::Private).await?;
    app.link_as(&app.api, "acme", "octo").await?;
    app.api.post("/repositories/acme", &json!({ "name": "app", "visibility": "private" })).await?;
    app.api.put("/organizations/acme/teams/crew/repositories/app", &json!({ "permission": "write" })).await?;
    app.api.put("/repositories/acme/app/autobuild", &json!({ "provider": "github", "source": "octo/app", "autotest": "off" })).await?;
    app.github.commit("octo/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    app.github.settle().await;
    let started = app.api.post("/repositories/acme/app/builds", &json!({ "ref": "refs/heads/main" })).await?;
    let build = text(started.as_array().and_then(|all| all.first()).unwrap_or(&started["items"][0]), "id").to_owned();

    // Three ways in: a member's token, another's session, an organization's token; each with a live log that waits.
    let stream = format!("/repositories/acme/app/builds/{build}/log/stream");
    let look = async |client: Client| -> Result<Viewer> {
        let mut log = Events::open(&client, &stream, None).await?.context("the build has not ended")?;
        ensure!(log.next().await?.context("the state comes first")?.name == "state");
        Ok(Viewer { client, log })
    };
    let eve_token = app.make_token("eve", &[])?;
    let by_token = look(app.client(&eve_token)).await?;
    let by_session = look(app.sign_in("bob", PASSWORD).await?).await?;
    let made = app.api.post("/organizations/acme/tokens", &json!({ "name": "ci" })).await?;
    let by_organization = look(app.client(text(&made, "token"))).await?;
    let minted = registry_token(&app, "eve", &eve_token, "acme/app").await?;
    let minted_by_organization = registry_token(&app, "acme", text(&made, "token"), "acme/app").await?;
    assert_eq!((pull(&app, &minted, "acme/app").await?, pull(&app, &minted_by_organization, "acme/app").await?), (200, 200));

    // Each loses its right in its own way: out of the team, the session ended, the token revoked.
    app.api.delete("/organizations/acme/teams/crew/members/eve").await?;
    let bob = app.client(&app.make_token("bob", &[])?);
    let sessions = bob.items("/me/sessions").await?;
    bob.delete(&format!("/me/sessions/{}", text(&sessions[0], "id"))).await?;
    app.api.delete(&format!("/organizations/acme/tokens/{}", text(&made, "id"))).await?;
    let began = Instant::now();
    assert_eq!(by_token.client.open("/api/v1/repositories/acme/app").await?.status, 404, "out of the team is out at once");
    assert_eq!(by_session.client.open("/api/v1/me").await?.status, 401);
    assert_eq!(by_organization.client.open("/api/v1/repositories/acme").await?.status, 401);
    assert_eq!((pull(&app, &minted, "acme/app").await?, pull(&app, &minted_by_organization, "acme/app").await?), (401, 401));
    tokio::try_join!(ends(by_token.log), ends(by_session.log), ends(by_organization.log))?;
    assert!(began.elapsed() < REVOKED_WITHIN);
    app.finish().await
}

#[tokio::test]
async fn a_name_that_comes_again_inherits_nothing() -> Result<()> {
    let app = TestApp::start().await?;
    let make = async |name: &str| -> Result<(String, Client)> {
        app.add_user(name, PASSWORD, &[])?;
        let token = app.make_token(name, &[])?;
        app.client(&token).post(&format!("/repositories/{name}"), &json!({ "name": "app" })).await?;
        Ok((token, app.sign_in(name, PASSWORD).await?))
    };
    let (token, browser) = make("eve").await?;
    let minted = registry_token(&app, "eve", &token, "eve/app").await?;
    assert_eq!(pull(&app, &minted, "eve/app").await?, 200);
    app.api.delete("/admin/accounts/eve").await?;
    let (fresh, _) = make("eve").await?;
    assert_eq!(app.client(&token).open("/api/v1/me").await?.status, 401, "a token of the one before");
    assert_eq!(browser.open("/api/v1/me").await?.status, 401, "a session of the one before");
    assert_eq!(pull(&app, &minted, "eve/app").await?, 401, "a registry token of the one before");
    let renewed = registry_token(&app, "eve", &fresh, "eve/app").await?;
    assert_eq!(pull(&app, &renewed, "eve/app").await?, 200);

    let organization = async || -> Result<String> {
        app.api.post("/organizations", &json!({ "name": "acme" })).await?;
        app.api.post("/repositories/acme", &json!({ "name": "app" })).await?;
        Ok(text(&app.api.post("/organizations/acme/tokens", &json!({ "name": "ci" })).await?, "token").to_owned())
    };
    let old = organization().await?;
    let minted = registry_token(&app, "acme", &old, "acme/app").await?;
    app.api.delete("/organizations/acme").await?;
    assert_eq!(app.api.open("/api/v1/organizations/acme").await?.status, 404);
    organization().await?;
    assert_eq!(app.client(&old).open("/api/v1/repositories/acme").await?.status, 401);
    assert_eq!(pull(&app, &minted, "acme/app").await?, 401);

    // A repository of the same name: a token that was limited to the first is no token for the second.
    let wish = json!({ "name": "one", "scopes": ["repo:read"], "repositories": ["acme/app"] });
    let limited = app.client(text(&app.api.post("/tokens", &wish).await?, "token"));
    assert_eq!(limited.open("/api/v1/repositories/acme/app").await?.status, 200);
    app.api.delete("/repositories/acme/app").await?;
    app.api.post("/repositories/acme", &json!({ "name": "app" })).await?;
    assert_eq!(limited.open("/api/v1/repositories/acme/app").await?.status, 404);
    app.finish().await
}

async fn last_owner(database: Database) -> Result<()> {
    let app = TestApp::with(Setup::default().on(database)).await?;
    organization(&app).await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    let alone = app.api.try_api(Method::DELETE, "/organizations/acme/teams/owners/members/demo", None).await?.problem(409)?;
    assert_eq!(alone["code"], "last_owner");
    assert!(text(&alone, "detail").contains("`demo`") && text(&alone, "detail").contains("`acme`"), "{alone}");
    assert!(text(&alone, "hint").contains("/o/acme/teams/owners"), "{alone}");
    for round in 0..10 {
        app.api.put("/organizations/acme/teams/owners/members/eve", &json!({})).await?;
        // Each takes the other out, at the same moment: one of the two wins.
        let (one, two) = tokio::join!(
            app.api.try_api(Method::DELETE, "/organizations/acme/teams/owners/members/eve", None),
            eve.try_api(Method::DELETE, "/organizations/acme/teams/owners/members/demo", None),
        );
        let (one, two) = (one?, two?);
        let owners: Vec<String> = {
            let seer = if one.status == 204 { &app.api } else { &eve };
            let members = seer.items("/organizations/acme/teams/owners/members").await?;
            members.iter().map(|member| text(member, "name").to_owned()).collect()
        };
        assert_eq!(owners.len(), 1, "round {round}: {} {} left {owners:?}", one.status, two.status);
        assert_eq!([one.status, two.status].iter().filter(|status| **status == 204).count(), 1, "round {round}");
        if owners[0] != PERSON {
            eve.put("/organizations/acme/teams/owners/members/demo", &json!({})).await?;
            app.api.delete("/organizations/acme/teams/owners/members/eve").await?;
        }
    }
    app.finish().await
}

#[tokio::test]
async fn two_owners_cannot_take_each_other_out_on_sqlite() -> Result<()> {
    last_owner(Database::Sqlite).await
}

#[tokio::test]
async fn two_owners_cannot_take_each_other_out_on_postgresql() -> Result<()> {
    last_owner(Database::Postgres).await
}

#[tokio::test]
async fn sign_in_tells_nobody_who_is_here_and_slows_guessing_down() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    app.api.post("/organizations", &json!({ "name": "acme" })).await?;
    let try_once =
        async |name: &str, password: &str| app.stranger().form("/signin", &[("name", name), ("password", password), ("next", "/")]).await;
    let shown = |answer: &slipway_tests::Answer, name: &str| {
        let id = answer.header("x-request-id").to_owned();
        (answer.status, answer.text.replace(&format!("\"{name}\""), "NAME").replace(&id, "ID"))
    };
    let known = try_once("eve", "wrong password").await?;
    for name in ["nobody-here", "acme"] {
        let unknown = try_once(name, "wrong password").await?;
        assert_eq!(shown(&known, "eve"), shown(&unknown, name), "`{name}` answers otherwise than a user");
    }
    // The sixth failure and on: wait, whether or not there is such a person; the right password waits too.
    for name in ["eve", "nobody-here"] {
        let mut last = try_once(name, "wrong").await?;
        for _ in 0..8 {
            if last.status == 429 {
                break;
            }
            last = try_once(name, "wrong").await?;
        }
        assert_eq!(last.status, 429, "{name}: {}", last.text);
        let seconds: u64 = last.header("retry-after").parse().context("an answer of 429 says when")?;
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(try_once("eve", PASSWORD).await?.status, 429, "the right password passed through the delay");
    // Others are not slowed down by it.
    assert_eq!(try_once(PERSON, PASSWORD).await?.status, 303);
    app.finish().await
}

#[tokio::test]
async fn a_session_gets_a_new_id_at_sign_in_and_when_rights_change() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    // Fixation: a cookie that an attacker put there is not taken over.
    let attacker = app.sign_in(PERSON, PASSWORD).await?;
    let fixed = format!("slipway_session=sls_{}", "ab".repeat(32));
    for planted in [attacker.cookie(), fixed.as_str()] {
        let victim = app.stranger().with_cookie(planted);
        let answer = victim.form("/signin", &[("name", "eve"), ("password", PASSWORD), ("next", "/")]).await?;
        let cookie = answer.cookie().context("a sign-in sets a cookie")?;
        assert_ne!(cookie, planted);
        let me = app.stranger().with_cookie(&cookie).get("/me").await?;
        assert_eq!(me["name"], "eve");
        assert_ne!(app.stranger().with_cookie(planted).open("/api/v1/me").await?.text, me.to_string());
    }
    assert_eq!(app.stranger().with_cookie(&fixed).open("/api/v1/me").await?.status, 401);

    let browser = app.sign_in("eve", PASSWORD).await?;
    assert!(browser.open("/settings/account").await?.cookie().is_none(), "nothing changed, so the id stays");
    organization(&app).await?;
    app.api.put("/organizations/acme/teams/owners/members/eve", &json!({})).await?;
    let page = browser.open("/settings/account").await?;
    let renewed = page.cookie().context("an owner now: the next page gives another id")?;
    assert_ne!(renewed, browser.cookie());
    let browser = app.stranger().with_cookie(&renewed);
    assert_eq!(browser.get("/me").await?["name"], "eve");
    assert!(browser.open("/settings/account").await?.cookie().is_none(), "once");
    app.finish().await
}

#[tokio::test]
async fn a_locked_out_user_is_let_in_from_the_command_line() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let browser = app.sign_in("eve", PASSWORD).await?;
    let ended = app.command(&["admin", "user", "recover", "eve", "--password-file", "-"], "another long password\n")?;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(browser.open("/api/v1/me").await?.status, 401, "the session before ended");
    assert_eq!(app.sign_in("eve", "another long password").await?.get("/me").await?["name"], "eve");
    assert!(app.sign_in("eve", PASSWORD).await.is_err());
    let nobody = app.command(&["admin", "user", "recover", "nobody", "--password-file", "-"], "another long password\n")?;
    assert_eq!((nobody.code, nobody.stdout.as_str()), (2, ""));
    assert!(nobody.stderr.contains("there is no user `nobody`"), "{}", nobody.stderr);
    let log = app.api.items("/admin/audit?action=account.recover").await?;
    assert_eq!((log.len(), text(&log[0], "actor"), text(&log[0], "object")), (1, "administrator of the machine", "eve"));
    app.finish().await
}

#[tokio::test]
async fn a_renamed_organization_is_found_under_both_names() -> Result<()> {
    let app = TestApp::start().await?;
    organization(&app).await?;
    app.api.post("/repositories/acme", &json!({ "name": "app" })).await?;
    let registry = Registry::new(&app, PERSON, &app.token);
    registry.push("acme/app", Some("latest"), &[b"layer".to_vec()]).await?;
    app.api.patch("/organizations/acme", &json!({ "name": "acme-works" })).await?;
    for name in ["acme", "acme-works"] {
        assert_eq!(app.api.get(&format!("/repositories/{name}/app")).await?["namespace"], "acme-works", "{name}");
        let tags = registry.send(Method::GET, &format!("{name}/app"), "tags/list", "", Vec::new()).await?;
        assert_eq!(tags.json()?["tags"], json!(["latest"]), "{name}");
    }
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let page = browser.open("/acme/app?tab=x").await?;
    assert_eq!((page.status, page.location()), (308, "/acme-works/app?tab=x"));
    assert_eq!(browser.open("/acme-works/app").await?.status, 200);
    // The former name is nobody else's, and neither is one that looks like it.
    for (name, words) in
        [("acme", "former name"), ("acme-w0rks", "easily taken for"), ("Acme", "`A`"), ("api", "reserved"), ("a", "1 characters")]
    {
        let refused: Value = app.api.try_api(Method::POST, "/organizations", Some(&json!({ "name": name }))).await?.json_of_refusal()?;
        assert!(text(&refused, "detail").contains(words) && refused["field"] == "name", "{name}: {refused}");
    }
    app.finish().await
}

/// Every id that something of an organization or an account has, asked for below another one, is unknown there.
#[tokio::test]
async fn ids_of_one_are_unknown_below_another() -> Result<()> {
    let app = TestApp::start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    for (api, name) in [(&app.api, "acme"), (&eve, "evil")] {
        api.post("/organizations", &json!({ "name": name })).await?;
        api.post(&format!("/organizations/{name}/teams"), &json!({ "name": format!("crew-of-{name}") })).await?;
        api.post(&format!("/repositories/{name}"), &json!({ "name": format!("app-of-{name}") })).await?;
    }
    app.api.put("/organizations/acme/teams/crew-of-acme/members/demo", &json!({})).await?;
    app.api.put("/organizations/acme/teams/crew-of-acme/repositories/app-of-acme", &json!({ "permission": "read" })).await?;
    let token = app.api.post("/organizations/acme/tokens", &json!({ "name": "ci" })).await?;
    let invitation = app.api.post("/organizations/acme/invitations", &json!({ "team": "crew-of-acme" })).await?;
    let _browser = app.sign_in(PERSON, PASSWORD).await?;
    let session = app.api.items("/me/sessions").await?;
    let mine = app.api.items("/tokens").await?;
    let (token, invitation) = (text(&token, "id"), text(&invitation, "id"));
    let (session, mine) = (text(&session[0], "id"), text(&mine[0], "id"));
    let at = |rest: &str| format!("/organizations/evil{rest}");
    for (method, path, body) in [
        (Method::GET, at("/teams/crew-of-acme"), None),
        (Method::PATCH, at("/teams/crew-of-acme"), Some(json!({ "description": "mine" }))),
        (Method::DELETE, at("/teams/crew-of-acme"), None),
        (Method::GET, at("/teams/crew-of-acme/members"), None),
        (Method::PUT, at("/teams/crew-of-acme/members/eve"), Some(json!({}))),
        (Method::DELETE, at("/teams/crew-of-acme/members/demo"), None),
        (Method::GET, at("/teams/crew-of-acme/repositories"), None),
        (Method::PUT, at("/teams/crew-of-evil/repositories/app-of-acme"), Some(json!({ "permission": "admin" }))),
        (Method::DELETE, at("/teams/crew-of-evil/repositories/app-of-acme"), None),
        (Method::DELETE, at("/members/demo"), None),
        (Method::DELETE, at(&format!("/tokens/{token}")), None),
        (Method::DELETE, at(&format!("/invitations/{invitation}")), None),
        (Method::DELETE, format!("/tokens/{token}"), None),
        (Method::DELETE, format!("/tokens/{mine}"), None),
        (Method::DELETE, format!("/me/sessions/{session}"), None),
        (Method::DELETE, format!("/admin/invitations/{invitation}"), None),
        (Method::GET, "/organizations/acme".to_owned(), None),
        (Method::GET, "/organizations/acme/teams".to_owned(), None),
        (Method::GET, "/namespaces/acme".to_owned(), None),
        (Method::GET, "/namespaces/acme/audit".to_owned(), None),
        (Method::GET, "/namespaces/acme/audit/export".to_owned(), None),
        (Method::GET, "/admin/accounts".to_owned(), None),
    ] {
        eve.try_api(method.clone(), &path, body.as_ref()).await?.problem(404).with_context(|| format!("{method} {path}"))?;
    }
    // Nothing of it happened.
    assert_eq!(app.api.items("/organizations/acme/tokens").await?.len(), 1);
    assert_eq!(app.api.items("/organizations/acme/invitations").await?.len(), 1);
    assert_eq!(app.api.items("/organizations/acme/teams/crew-of-acme/members").await?.len(), 1);
    assert!(app.api.items("/me/sessions").await?.iter().any(|one| text(one, "id") == session));
    assert!(app.api.items("/tokens").await?.iter().any(|one| text(one, "id") == mine));
    app.finish().await
}

#[tokio::test]
async fn an_account_of_ones_own_is_made_where_sign_up_is_open() -> Result<()> {
    let mut app = TestApp::prepare(Setup::default()).await?;
    let config = app.folder().join("slipway.toml");
    let text_before = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("sign_up = \"open\"\n{text_before}"))?;
    app.add_user(PERSON, PASSWORD, &["--admin"])?;
    app.run().await?;
    let wish = |name: &str, password: &str| json!({ "name": name, "password": password });
    let made = app.stranger().try_api(Method::POST, "/accounts", Some(&wish("eve", PASSWORD))).await?;
    assert_eq!(made.status, 201, "{}", made.text);
    let browser = app.stranger().with_cookie(&made.cookie().context("who makes an account is signed in")?);
    let me = browser.get("/me").await?;
    assert_eq!((&me["name"], &me["admin"]), (&json!("eve"), &json!(false)));
    let taken = app.stranger().try_api(Method::POST, "/accounts", Some(&wish("eve", PASSWORD))).await?.problem(409)?;
    assert_eq!((&taken["code"], &taken["field"]), (&json!("name_taken"), &json!("name")));
    let short = app.stranger().try_api(Method::POST, "/accounts", Some(&wish("ada", "short"))).await?.problem(422)?;
    assert_eq!(short["field"], "password");
    app.finish().await
}
