//! Linking each of the three providers, for a person and for an organization: the whole way over the providers' own pages, what is
//! refused on it, and from the picker to a queued build.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_app::{App, Config, ConnectWish, Error, Keys, RefusalKind, Role};
use slipway_model::{Clock, ProviderKind, Scope, ScopeSet, Timestamp, TokenKind};
use slipway_store::Db;
use slipway_testkit::bitbucket::Consumer;
use slipway_testkit::github::OAuthApp;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Client, Forge, PASSWORD, PERSON, Setup, TestApp};
use url::Url;

const ORGANIZATION: &str = "initech";

async fn start() -> Result<TestApp> {
    TestApp::with(Setup::default().all_providers()).await
}

fn texts(list: &Value) -> Vec<&str> {
    let mut all: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    all.sort_unstable();
    all
}

/// The build of a commit, with the delivery that made it.
async fn built(app: &TestApp, api: &Client, repository: &str, commit: &str) -> Result<(Value, Value)> {
    let at = format!("/repositories/{repository}");
    let build = app.wait_for("the push to be built", || async {
        let builds = api.items(&format!("{at}/builds")).await?;
        Ok(builds.into_iter().find(|build| build["commit"] == commit))
    });
    let build = build.await?;
    let deliveries = api.items(&format!("{at}/deliveries")).await?;
    let by = |delivery: &Value| delivery["verdicts"].as_array().is_some_and(|all| all.iter().any(|one| one["build"] == build["id"]));
    let delivery = deliveries.iter().find(|delivery| by(delivery)).with_context(|| format!("no delivery made it: {deliveries:?}"))?;
    Ok((build.clone(), delivery.clone()))
}

/// Everything from a link to a queued build.
async fn from_link_to_build(app: &TestApp, api: &Client, namespace: &str, forge: Forge) -> Result<()> {
    let (owner, name) = (format!("acme-{namespace}"), format!("from-{}", forge.id()));
    forge.organization(app, &owner).await?;
    let mine = format!("{AUTHOR}/{name}-{namespace}");
    for source in [mine.clone(), format!("{owner}/other")] {
        forge.repository(app, &source).await?;
    }
    let link = forge.link(app, api, namespace, AUTHOR).await?;
    assert_eq!((&link["state"], &link["login"], &link["access"]), (&json!("ok"), &json!(AUTHOR), &json!("full")), "{link}");
    assert_eq!(texts(&link["scopes"]), forge.scopes(), "{link}");
    let granted = link["scopes_granted"].as_array().unwrap();
    assert!(granted.iter().all(|scope| scope["words"].is_string()) && link["scopes_missing"] == json!([]), "{link}");
    assert!(text(&link, "grant_url").starts_with(&forge.web_url(app)?), "{link}");
    let organizations = link["organizations"].as_array().unwrap();
    let acme = organizations.iter().find(|one| one["name"] == owner).with_context(|| format!("`{owner}` in {link}"))?;
    assert_eq!(acme["access"], "granted", "{link}");
    assert_eq!(forge.seen(api, namespace).await?["id"], link["id"]);

    // The picker: whose there are, all of one owner, and a part of a name.
    let at = format!("/namespaces/{namespace}/links/{}", forge.id());
    let owners = api.items(&format!("{at}/source-namespaces")).await?;
    let owners: Vec<&str> = owners.iter().map(|one| text(one, "name")).collect();
    assert!(owners.contains(&AUTHOR) && owners.contains(&owner.as_str()), "{owners:?}");
    let search = async |query: String| {
        let query = query.as_str();
        app.wait_for("the picker to have read everything", || async {
            let page = api.get(&format!("{at}/source-repositories?{query}")).await?;
            Ok((page["complete"] == true).then_some(page))
        })
        .await
    };
    let first = search("limit=1".to_owned()).await?;
    assert_eq!(first["items"].as_array().unwrap().len(), 1, "{first}");
    let rest = search(format!("cursor={}", text(&first, "next"))).await?;
    assert!(!rest["items"].as_array().unwrap().contains(&first["items"][0]), "{rest}");
    let refused = api.try_api(Method::GET, &format!("{at}/source-repositories?limit=0"), None).await?.json_of_refusal()?;
    assert_eq!(refused["field"], "limit", "{refused}");
    let found = search(format!("namespace={owner}")).await?;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(
        (&found["items"][0]["full_name"], &found["items"][0]["private"]),
        (&json!(format!("{owner}/other")), &json!(true)),
        "{found}"
    );
    let found = search(format!("q={}-{}", &name[2..], namespace)).await?;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["items"][0]["full_name"], mine);
    assert_eq!(search("q=nothing-is-called-so".to_owned()).await?["items"], json!([]));

    forge.build_from(app, api, namespace, &name, &mine).await?;
    let hooks = forge.hooks(app, &mine).await?;
    assert_eq!(hooks.len(), 1, "{hooks:?}");
    assert!(hooks[0].url.starts_with(&format!("{}/hooks/{}/", app.site(), forge.id())), "{hooks:?}");
    let commit = forge.push(app, &mine, "main", &[("Dockerfile", "FROM scratch\n")]).await?;
    let (build, delivery) = built(app, api, &format!("{namespace}/{name}"), &commit).await?;
    assert_eq!((&build["state"], &build["tags"]), (&json!("queued"), &json!(["latest"])), "{build}");
    assert_eq!((&delivery["status"], &delivery["verdicts"][0]["outcome"]), (&json!("accepted"), &json!("built")), "{delivery}");
    assert_eq!(forge.seen(api, namespace).await?["affects"], json!([name]));
    Ok(())
}

async fn as_user_and_as_organization_owner(forge: Forge) -> Result<()> {
    let app = start().await?;
    from_link_to_build(&app, &app.api, PERSON, forge).await?;
    app.add_user("olga", PASSWORD, &[])?;
    let olga = app.client(&app.make_token("olga", &[])?);
    olga.post("/organizations", &json!({ "name": ORGANIZATION, "display_name": "Initech" })).await?;
    from_link_to_build(&app, &olga, ORGANIZATION, forge).await?;
    let link = forge.seen(&olga, ORGANIZATION).await?;
    let warning = link["warnings"][0].as_str().with_context(|| format!("a person's link warns an organization: {link}"))?;
    assert!(warning.contains(AUTHOR) && warning.contains("service user"), "{warning}");
    assert!(forge.seen(&app.api, PERSON).await?["warnings"].as_array().unwrap().is_empty());
    assert_eq!(forge.seen(&olga, "olga").await?["state"], "not_linked", "the link is the organization's");
    app.finish().await
}

#[tokio::test]
async fn github_is_linked_by_a_person_and_by_an_owner_of_an_organization() -> Result<()> {
    as_user_and_as_organization_owner(Forge::GitHub).await
}

#[tokio::test]
async fn bitbucket_is_linked_by_a_person_and_by_an_owner_of_an_organization() -> Result<()> {
    as_user_and_as_organization_owner(Forge::Bitbucket).await
}

#[tokio::test]
async fn gitea_is_linked_by_a_person_and_by_an_owner_of_an_organization() -> Result<()> {
    as_user_and_as_organization_owner(Forge::Gitea).await
}

#[tokio::test]
async fn the_pages_link_each_provider() -> Result<()> {
    let app = start().await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    browser.post("/organizations", &json!({ "name": ORGANIZATION })).await?;
    for forge in Forge::ALL {
        for (base, namespace) in
            [("/settings/source-providers".to_owned(), PERSON), (format!("/o/{ORGANIZATION}/settings/source-providers"), ORGANIZATION)]
        {
            // What will be asked is said before anybody leaves.
            let page = browser.open(&format!("{base}/{}/connect", forge.id())).await?;
            assert_eq!(page.status, 200, "{}", page.text);
            for scope in forge.scopes() {
                assert!(page.text.contains(scope), "{forge:?} {scope}: {}", page.text);
            }
            let begun =
                browser.form(&format!("{base}/{}/connect", forge.id()), &[("access", "full"), ("linked_as", "service_user")]).await?;
            assert_eq!(begun.status, 303, "{forge:?}: {}", begun.text);
            let back = forge.approve(&app, begun.location(), AUTHOR).await?;
            let led = browser.open(&back).await?;
            assert_eq!((led.status, led.location()), (303, format!("{base}?done=linked").as_str()), "{forge:?}");
            let page = browser.open(&format!("{base}?done=linked")).await?;
            assert!(page.text.contains(&format!("linked as {AUTHOR}")), "{forge:?}: {}", page.text);
            let link = forge.seen(&browser_api(&app)?, namespace).await?;
            assert_eq!(
                (&link["state"], &link["linked_as"], &link["warnings"]),
                (&json!("ok"), &json!("service_user"), &json!([])),
                "{link}"
            );
        }
    }
    app.finish().await
}

/// The administrator with a token: what the browser did is looked at from beside.
fn browser_api(app: &TestApp) -> Result<Client> {
    Ok(app.client(&app.make_token(PERSON, &[])?))
}

#[tokio::test]
async fn a_member_of_an_organization_cannot_link_look_or_unlink() -> Result<()> {
    let app = start().await?;
    for name in ["olga", "mia", "eve"] {
        app.add_user(name, PASSWORD, &[])?;
    }
    let olga = app.client(&app.make_token("olga", &[])?);
    olga.post("/organizations", &json!({ "name": ORGANIZATION })).await?;
    olga.post(&format!("/organizations/{ORGANIZATION}/teams"), &json!({ "name": "everyone" })).await?;
    olga.put(&format!("/organizations/{ORGANIZATION}/teams/everyone/members/mia"), &Value::Null).await?;
    let (mia, mias_browser) = (app.client(&app.make_token("mia", &[])?), app.sign_in("mia", PASSWORD).await?);
    for forge in Forge::ALL {
        forge.link(&app, &olga, ORGANIZATION, AUTHOR).await?;
        let at = format!("/namespaces/{ORGANIZATION}/links/{}", forge.id());
        for (method, path, body) in [
            (Method::POST, format!("{at}/connect"), Some(json!({}))),
            (Method::POST, format!("{at}/check"), Some(json!({}))),
            (Method::POST, format!("{at}/refresh"), Some(json!({}))),
            (Method::PATCH, at.clone(), Some(json!({ "enabled": false }))),
            (Method::DELETE, at.clone(), None),
            (Method::GET, format!("{at}/offers"), None),
            (Method::GET, format!("{at}/unlink-preview"), None),
            (Method::GET, format!("/namespaces/{ORGANIZATION}/links"), None),
        ] {
            let answer = mia.try_api(method.clone(), &path, body.as_ref()).await?;
            answer.problem(403).with_context(|| format!("{method} {path} of a member"))?;
        }
        let base = format!("/o/{ORGANIZATION}/settings/source-providers");
        for page in [base.clone(), format!("{base}/{}/connect", forge.id()), format!("{base}/{}/unlink", forge.id())] {
            assert_eq!(mias_browser.open(&page).await?.status, 403, "{page}");
        }
        for button in ["connect", "disable", "check", "refresh", "unlink"] {
            let answer = mias_browser.form(&format!("{base}/{}/{button}", forge.id()), &[]).await?;
            assert_eq!(answer.status, 403, "{button}: {}", answer.text);
        }
        assert_eq!(forge.seen(&olga, ORGANIZATION).await?["state"], "ok", "{forge:?}");
        // Whoever lost the right while at the provider links nothing.
        olga.put(&format!("/organizations/{ORGANIZATION}/teams/owners/members/eve"), &Value::Null).await?;
        let eve = app.client(&app.make_token("eve", &[])?);
        let authorize = forge.connect(&eve, ORGANIZATION).await?;
        let back = forge.approve(&app, &authorize, AUTHOR).await?;
        olga.delete(&format!("/organizations/{ORGANIZATION}/teams/owners/members/eve")).await?;
        assert_eq!(eve.open(&back).await?.problem(400)?["code"], "oauth_state");
    }
    app.finish().await
}

/// The same address with another value of a parameter; none takes it out.
fn with_parameter(url: &str, name: &str, value: Option<&str>) -> Result<String> {
    let mut changed: Url = url.parse()?;
    let kept: Vec<(String, String)> =
        changed.query_pairs().filter(|(key, _)| key != name).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    changed.query_pairs_mut().clear().extend_pairs(kept);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    Ok(changed.into())
}

/// As `link::a_callback_that_nobody_waits_for_is_400_and_leaves_no_row`, at each provider.
#[tokio::test]
async fn a_wrong_state_is_400_and_leaves_no_row_at_each_provider() -> Result<()> {
    let app = start().await?;
    app.add_user("eve", PASSWORD, &[])?;
    let eve = app.client(&app.make_token("eve", &[])?);
    let (browser, other_browser) = (app.sign_in(PERSON, PASSWORD).await?, app.sign_in(PERSON, PASSWORD).await?);
    for forge in Forge::ALL {
        let begin = async || forge.approve(&app, &forge.connect(&app.api, PERSON).await?, AUTHOR).await;
        for (who, client) in [("another account", &eve), ("nobody", &app.stranger()), ("a session", &browser)] {
            assert_eq!(client.open(&begin().await?).await?.status, 400, "{forge:?}: {who}");
        }
        let begun = browser.form(&format!("/settings/source-providers/{}/connect", forge.id()), &[]).await?;
        let back = forge.approve(&app, begun.location(), AUTHOR).await?;
        assert_eq!(other_browser.open(&back).await?.status, 400, "{forge:?}: another session of the same person");
        assert_eq!(browser.open(&back).await?.status, 400, "{forge:?}: a state works once, whoever used it");

        let made_up = format!("{}{}", TokenKind::State.prefix(), "0".repeat(64));
        for (what, name, value) in [
            ("no state", "state", None),
            ("an empty state", "state", Some("")),
            ("a made-up state", "state", Some(made_up.as_str())),
            ("no code", "code", None),
        ] {
            let back = with_parameter(&begin().await?, name, value)?;
            app.api.open(&back).await?.problem(400).with_context(|| format!("{forge:?}: {what}"))?;
        }
        let back = begin().await?;
        let other = if forge == Forge::GitHub { "gitea" } else { "github" };
        let elsewhere = back.replace(&format!("/oauth/{}/", forge.id()), &format!("/oauth/{other}/"));
        assert_eq!(app.api.open(&elsewhere).await?.status, 400, "{forge:?}: at another provider's callback");
        for client in [(&app.api, PERSON), (&eve, "eve")] {
            for provider in Forge::ALL {
                assert_eq!(provider.seen(client.0, client.1).await?["state"], "not_linked", "{forge:?}");
            }
        }
        // A code that the provider did not give.
        let answer = app.api.open(&with_parameter(&begin().await?, "code", Some("0123456789abcdef"))?).await?;
        assert!((400..500).contains(&answer.status) || answer.status == 502, "{forge:?}: {} {}", answer.status, answer.text);
        assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "not_linked", "{forge:?}");
        // The right way still works, once.
        let back = begin().await?;
        assert_eq!(app.api.open(&back).await?.status, 200, "{forge:?}");
        assert_eq!(app.api.open(&back).await?.problem(400)?["code"], "oauth_state", "{forge:?}");
        app.api.delete(&format!("/namespaces/{PERSON}/links/{}", forge.id())).await?;
    }
    app.finish().await
}

/// The binary's clock is the machine's, so this one runs the application in this process, on a clock that is moved by hand.
#[tokio::test]
async fn an_expired_state_is_refused_at_each_provider() -> Result<()> {
    let world = TestApp::prepare(Setup::default().all_providers()).await?;
    std::fs::create_dir_all(world.folder().join("data"))?;
    let db = Db::open(world.database_url()).await?;
    db.migrate().await?;
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let forges = Forge::ALL.into_iter().map(|forge| client(&world, forge)).collect::<Result<Vec<_>>>()?;
    let app = App::new(db, clock.clone(), Keys::derive(&[7; 32]), forges, Config::new(world.site().parse()?));
    app.add_user(PERSON, Role::User, &PASSWORD.to_owned().into()).await?;
    let token = app.create_token_by_name(PERSON, "test", &ScopeSet::all()).await?;
    let caller = app.caller_by_token(&token.secret, "test").await?.context("the token is good")?;
    let owner = app.namespace(&caller, &PERSON.parse()?, Scope::RepoAdmin).await?;
    for forge in Forge::ALL {
        let provider = forge.id().parse().unwrap();
        for (wait, good) in [(600, false), (86_400, false), (599, true)] {
            let authorize = app.begin_connect(&owner, &caller, &provider, ConnectWish::default()).await?;
            let back: Url = forge.approve(&world, authorize.as_str(), AUTHOR).await?.parse()?;
            let part = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            clock.advance(Duration::from_secs(wait));
            let (state, code) = (part("state").context("a state")?, part("code").context("a code")?);
            match app.finish_connect(&caller, &provider, &state, Ok(&code)).await {
                Ok(_) => assert!(good, "{forge:?}: after {wait} s the state was still good"),
                Err(Error::Refused(refusal)) => {
                    assert!(!good && refusal.kind == RefusalKind::Bad && refusal.code == "oauth_state", "{forge:?} {wait} s: {refusal:?}");
                }
                Err(error) => panic!("{forge:?} after {wait} s: {error}"),
            }
            assert_eq!(app.get_link(&owner, &provider, None).await?.id.is_some(), good, "{forge:?}: a row after {wait} s");
        }
    }
    world.finish().await
}

fn client(world: &TestApp, forge: Forge) -> Result<std::sync::Arc<dyn slipway_forge::Forge>> {
    let others = world.others.as_ref().context("the test wished for all providers")?;
    let (kind, web_url, api_url, client_id, client_secret) = match forge {
        Forge::GitHub => {
            let OAuthApp { client_id, client_secret } = world.oauth.clone();
            (ProviderKind::GitHub, world.github.web_url().to_owned(), world.github.api_url().to_owned(), client_id, client_secret)
        }
        Forge::Bitbucket => {
            let Consumer { key, secret } = others.consumer.clone();
            (ProviderKind::Bitbucket, others.bitbucket.web_url().to_owned(), others.bitbucket.api_url().to_owned(), key, secret)
        }
        Forge::Gitea => {
            let OAuthApp { client_id, client_secret } = others.gitea_app.clone();
            (ProviderKind::Gitea, others.gitea.web_url().to_owned(), others.gitea.api_url(), client_id, client_secret)
        }
    };
    Ok(slipway_forge::open(slipway_forge::Provider {
        id: forge.id().parse().map_err(anyhow::Error::msg)?,
        kind,
        web_url: web_url.parse()?,
        api_url: api_url.parse()?,
        client_id,
        client_secret: client_secret.into(),
        app: None,
        ssh: None,
    })?)
}

#[tokio::test]
async fn who_says_no_at_a_provider_is_told_so() -> Result<()> {
    let app = start().await?;
    let others = app.others.as_ref().unwrap();
    for forge in Forge::ALL {
        let authorize = forge.connect(&app.api, PERSON).await?;
        let back = match forge {
            Forge::GitHub => app.github.deny_oauth(&authorize, AUTHOR).await?,
            Forge::Bitbucket => others.bitbucket.deny_oauth(&authorize, AUTHOR).await?,
            Forge::Gitea => others.gitea.deny_oauth(&authorize, AUTHOR).await?,
        };
        let problem = app.api.open(&back).await?.problem(400)?;
        assert_eq!(problem["code"], "oauth_denied", "{forge:?}: {problem}");
        assert!(text(&problem, "detail").contains("access_denied"), "{forge:?}: {problem}");
        assert_eq!(forge.seen(&app.api, PERSON).await?["state"], "not_linked", "{forge:?}");
    }
    app.finish().await
}
