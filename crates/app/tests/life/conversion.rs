//! A user becomes an organization: what stays, what goes, and when it is refused.

use anyhow::{Context as _, Result};
use slipway_app::store::accounts::Account;
use slipway_app::{Caller, Error, RepositoryAdmin, RepositoryRead, RepositoryWrite, Standing, TokenWish};
use slipway_model::{AccountKind, BuildState, Scope, TeamName};

use crate::organizations::{is_missing, log, organization, owner, wish};
use crate::sign_in::{PASSWORD, code, enter, name, refusal, secret};
use crate::world::{World, client, commit};

async fn convert(world: &World, caller: &Caller, first_owner: &str, confirm: &str) -> Result<Account, Error> {
    world.app.convert_to_organization(caller, first_owner, confirm, Some(&secret(PASSWORD))).await
}

fn read(right: &RepositoryAdmin) -> RepositoryRead {
    RepositoryWrite::from(right.clone()).into()
}

#[tokio::test]
async fn what_it_built_goes_on_and_the_sign_in_is_gone() -> Result<()> {
    let world = World::new().await?;
    let (demo, right) = world.ready().await?;
    let (ada, eve) = (world.person("ada").await?, world.person("eve").await?);
    let elsewhere = organization(&world, &eve, "zoo", &[]).await?;
    let crew = world.app.create_team(&elsewhere, "crew", "").await?;
    world.app.add_team_member(&elsewhere, &crew.name, &demo.account().name).await?;
    let token = world.app.create_token(&demo, &wish("repo:admin account")).await?.secret;
    let session = enter(&world.app, "demo", PASSWORD, &client()).await?.token;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let rules = world.app.get_autobuild(&read(&right)).await?.context("settings")?.rules;

    let preview = world.app.preview_conversion(&demo).await?;
    assert_eq!(preview.refused, None);
    let warnings = preview.warnings.join("\n");
    for word in [
        "sign in as demo",
        "Repositories",
        "links",
        "password",
        "session",
        "tokens (1)",
        "its teams in 1 organization:",
        "cannot be undone",
    ] {
        assert!(warnings.contains(word), "`{word}` is missing:\n{warnings}");
    }
    assert!(!warnings.contains("administers"), "{warnings}");
    assert_eq!(world.app.preview_conversion(&ada).await?.warnings.len(), 6, "only what concerns the account");

    let made = convert(&world, &demo, " ada ", "demo").await?;
    assert_eq!((made.id, made.kind, made.name.as_str()), (demo.account().id, AccountKind::Organization, "demo"));
    assert_eq!((made.is_admin, made.email), (false, None));
    // The way in is gone.
    assert_eq!(code(world.app.sign_in("demo", &secret(PASSWORD), &client()).await)?, "sign_in");
    assert!(world.app.caller_by_session(&session, "").await?.is_none());
    assert!(world.app.caller_by_token(&token, "").await?.is_none());
    assert!(!world.app.still_stands(&demo).await?);
    // So is its place in the teams of others.
    let left = world.app.list_team_members(&elsewhere.clone().into(), &crew.name, None, 10).await?;
    assert!(left.is_empty(), "{left:?}");
    // The first owner has all of it.
    let of_ada = owner(&world, &ada, "demo").await?;
    let listed = world.app.list_organizations(&ada).await?;
    assert_eq!(listed.iter().map(|row| (row.account.id, row.standing)).collect::<Vec<_>>(), [(made.id, Standing::Owner)]);
    assert_eq!(world.app.list_members(&of_ada, None, 10).await?[0].teams, [TeamName::owners()]);
    is_missing(world.app.organization_member(&eve, &name("demo")?).await)?;
    let hello = world.app.repository_admin(&ada, &name("demo")?, &"hello".parse()?).await?;
    assert_eq!(hello.repository().id, right.repository().id);
    let kept = world.app.get_autobuild(&read(&hello)).await?.context("settings")?;
    assert_eq!(format!("{:?}", kept.rules), format!("{rules:?}"));
    assert!(kept.hook.is_some_and(|hook| hook.standing));
    let namespace = world.app.namespace(&ada, &name("demo")?, Scope::RepoAdmin).await?;
    let links = world.app.list_links(&namespace).await?;
    assert_eq!(links.iter().map(|link| link.login.as_deref()).collect::<Vec<_>>(), [Some("octo")]);
    // What waited is built, and the next push starts the next build.
    assert_eq!(world.state(&hello, 1).await?, BuildState::Queued);
    world.push(&hello, &commit('2'), &commit('3')).await?;
    assert_eq!(world.state(&hello, 2).await?, BuildState::Queued);
    let told = log(&world, &ada, "demo").await?;
    let personal: Vec<_> = told.iter().filter(|entry| ["session.begin", "token.create"].contains(&entry.action.as_str())).collect();
    assert!(personal.is_empty(), "what was the person's own business: {personal:?}");
    assert!(told.iter().any(|entry| entry.action == "repository.create"), "what was the namespace's stays");
    let entry = told.iter().find(|entry| entry.action == "account.convert").context("written")?;
    assert_eq!((entry.actor.as_str(), entry.object.as_str()), ("demo", "demo"));
    assert_eq!(entry.new.as_ref().context("what is now")?["first_owner"], "ada");
    Ok(())
}

async fn refused(world: &World, caller: &Caller, first_owner: &str) -> Result<(&'static str, Option<String>, String)> {
    let confirm = caller.account().name.to_string();
    let refused = refusal(convert(world, caller, first_owner, &confirm).await)?;
    Ok((refused.code, refused.field, refused.detail))
}

#[tokio::test]
async fn a_refused_conversion_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    world.app.create_service_account(&world.app.administrator(&root)?, "robot").await?;
    for confirm in ["", "Ada", "bob", "ada bob"] {
        let wrong = refusal(convert(&world, &ada, "bob", confirm).await)?;
        assert_eq!((wrong.code, wrong.field.as_deref()), ("confirm", Some("confirm")), "{confirm}");
    }
    for wrong in [None, Some(secret("wrong password"))] {
        let refused = refusal(world.app.convert_to_organization(&ada, "bob", "ada", wrong.as_ref()).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("password_wrong", Some("password")));
    }
    // Only another user that there is.
    world.app.create_organization(&bob, "zoo", "").await?;
    for wrong in ["ada", "nobody", "zoo", "robot", "", "No Name!", "a/b"] {
        let (code, field, detail) = refused(&world, &ada, wrong).await?;
        assert_eq!((code, field.as_deref()), ("first_owner", Some("first_owner")), "{wrong}: {detail}");
    }
    // The last administrator.
    let (code_, _, detail) = refused(&world, &root, "ada").await?;
    assert_eq!(code_, "last_administrator");
    assert!(detail.contains("`root`"), "{detail}");
    let preview = world.app.preview_conversion(&root).await?;
    assert_eq!(preview.refused.context("said before")?.code, "last_administrator");
    // The last owner elsewhere, with who and where.
    let (code_, _, detail) = refused(&world, &bob, "ada").await?;
    assert_eq!(code_, "last_owner");
    assert!(detail.contains("`bob`") && detail.contains("`zoo`"), "{detail}");
    let said = world.app.preview_conversion(&bob).await?.refused.context("said before")?;
    assert!(said.hint.context("where to mend it")?.contains("/o/zoo/teams/owners"));
    // Nothing happened to any of them.
    for who in ["ada", "bob", "root"] {
        let session = enter(&world.app, who, PASSWORD, &client()).await?;
        let account = world.app.caller_by_session(&session.token, "").await?.context("signs in")?.account().clone();
        assert_eq!((account.kind, account.is_admin), (AccountKind::User, who == "root"));
    }
    owner(&world, &bob, "zoo").await?;
    // With another owner it can go.
    let zoo = owner(&world, &bob, "zoo").await?;
    world.app.add_team_member(&zoo, &TeamName::owners(), &ada.account().name).await?;
    convert(&world, &bob, "ada", "bob").await?;
    is_missing(world.app.organization_member(&bob, &name("zoo")?).await)?;
    owner(&world, &ada, "zoo").await?;
    owner(&world, &ada, "bob").await?;
    Ok(())
}

#[tokio::test]
async fn only_a_person_with_the_whole_account_converts_it() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let root = world.administrator("root").await?;
    world.repository(&ada, "web").await?;
    let narrow = world.token(&ada, "repo:admin build:write").await?;
    assert_eq!(refused(&world, &narrow, "bob").await?.0, "scope_missing");
    let limited = TokenWish { repositories: Some(vec!["ada/web".into()]), ..wish("repo:admin") };
    let limited = world.bearer(world.app.create_token(&ada, &limited).await?.secret.expose()).await?;
    assert!(["scope_missing", "token_limited"].contains(&refused(&world, &limited, "bob").await?.0));
    let administrator = world.app.administrator(&root)?;
    world.app.create_service_account(&administrator, "robot").await?;
    let made = world.app.create_service_token(&administrator, &name("robot")?, &wish("account")).await?;
    assert_eq!(refused(&world, &world.bearer(made.secret.expose()).await?, "bob").await?.0, "needs_a_person");
    let acme = organization(&world, &ada, "acme", &[]).await?;
    let made = world.app.create_organization_token(&acme, &wish("account")).await?;
    assert_eq!(refused(&world, &world.bearer(made.secret.expose()).await?, "bob").await?.0, "needs_a_person");
    // The session from before a conversion proves nothing any more.
    convert(&world, &bob, "ada", "bob").await?;
    let again = refused(&world, &bob, "ada").await?;
    assert_eq!(again.0, "sign_in_again");
    assert_eq!(owner(&world, &ada, "bob").await?.account().kind, AccountKind::Organization);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_convert_at_once_one_stays() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    world.person("eve").await?;
    organization(&world, &ada, "acme", &[&bob]).await?;
    let outcomes = tokio::join!(convert(&world, &ada, "eve", "ada"), convert(&world, &bob, "eve", "bob"));
    let outcomes = [outcomes.0, outcomes.1];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(code(outcomes.into_iter().find(Result::is_err).context("one")?)?, "last_owner");
    Ok(())
}
