//! Teams: who sees them, what they give, that everybody has the most that any of their teams gives and nothing else.

use anyhow::{Context as _, Result, ensure};
use slipway_app::{Caller, Error, OrganizationOwner, TeamChange};
use slipway_model::{Permission, RepositoryName, SecretToken, TeamName, Visibility};
use slipway_store::teams::Team;

use crate::organizations::{is_missing, log, organization, repository, wish};
use crate::sign_in::{PASSWORD, code, enter, name, refusal};
use crate::world::{World, client};

async fn team(world: &World, right: &OrganizationOwner, text: &str, members: &[&Caller]) -> Result<Team> {
    let team = world.app.create_team(right, text, "").await?;
    for member in members {
        world.app.add_team_member(right, &team.name, &member.account().name).await?;
    }
    Ok(team)
}

/// `a`llowed, `r`efused or `m`issing, for each right from the smallest to the largest.
async fn may(world: &World, caller: &Caller, namespace: &str, repository: &str) -> Result<String> {
    fn letter<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<char> {
        Ok(match result {
            Ok(_) => 'a',
            Err(Error::NotFound) => 'm',
            refused => {
                let code = code(refused)?;
                ensure!(code == "permission_missing", "{code}");
                'r'
            }
        })
    }
    let (namespace, repository): (_, RepositoryName) = (name(namespace)?, repository.parse()?);
    let app = &world.app;
    Ok([
        letter(app.repository_view(Some(caller), &namespace, &repository).await)?,
        letter(app.repository_read(caller, &namespace, &repository).await)?,
        letter(app.repository_write(caller, &namespace, &repository).await)?,
        letter(app.repository_push(caller, &namespace, &repository).await)?,
        letter(app.repository_admin(caller, &namespace, &repository).await)?,
        letter(app.repository_owner(caller, &namespace, &repository).await)?,
    ]
    .into_iter()
    .collect())
}

const NOTHING: &str = "mmmmmm";
const READ: &str = "aarrrr";
const WRITE: &str = "aaaarr";
const ADMIN: &str = "aaaaar";
const OWNER: &str = "aaaaaa";

#[tokio::test]
async fn the_table_of_permissions() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob, eve) = (world.person("ada").await?, world.person("bob").await?, world.person("eve").await?);
    let root = world.administrator("root").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    for text in ["web", "api"] {
        repository(&world, &ada, "acme", text).await?;
    }
    let (first, second) = (team(&world, &right, "first", &[&bob]).await?, team(&world, &right, "second", &[&bob]).await?);
    let web: RepositoryName = "web".parse()?;
    for caller in [&bob, &eve, &root] {
        assert_eq!(may(&world, caller, "acme", "web").await?, NOTHING, "also for the installation's administrators");
    }
    assert_eq!(may(&world, &ada, "acme", "web").await?, OWNER);
    for (given, expected) in [(Permission::Read, READ), (Permission::Write, WRITE), (Permission::Admin, ADMIN), (Permission::Read, READ)] {
        world.app.set_team_permission(&right, &first.name, &web, given).await?;
        assert_eq!(may(&world, &bob, "acme", "web").await?, expected);
        assert_eq!(may(&world, &bob, "acme", "api").await?, NOTHING, "no other repository");
        assert_eq!(may(&world, &eve, "acme", "web").await?, NOTHING, "nobody else");
    }
    // The most that any team gives.
    world.app.set_team_permission(&right, &second.name, &web, Permission::Write).await?;
    assert_eq!(may(&world, &bob, "acme", "web").await?, WRITE);
    world.app.set_team_permission(&right, &first.name, &web, Permission::Admin).await?;
    assert_eq!(may(&world, &bob, "acme", "web").await?, ADMIN);
    world.app.remove_team_permission(&right, &first.name, &web).await?;
    assert_eq!(may(&world, &bob, "acme", "web").await?, WRITE);
    world.app.delete_team(&right, &second.name).await?;
    assert_eq!(may(&world, &bob, "acme", "web").await?, NOTHING);
    // Everybody sees the general page of what is public, and nothing more.
    let admin = world.app.repository_admin(&ada, &name("acme")?, &web).await?;
    world.app.update_repository(&admin, None, Some(Visibility::Public)).await?;
    for caller in [&bob, &eve, &root] {
        assert_eq!(may(&world, caller, "acme", "web").await?, "ammmmm");
    }
    Ok(())
}

/// The token that the next page gives the browser, when it gives one.
async fn renewed(world: &World, session: &SecretToken) -> Result<Option<SecretToken>> {
    let caller = world.app.caller_by_session(session, "").await?.context("the session stands")?;
    if !caller.session_renewal_due() {
        return Ok(None);
    }
    let renewed = world.app.renew_session(caller.session().context("a browser")?).await?.context("a new token")?;
    Ok(Some(renewed.token))
}

#[tokio::test]
async fn a_right_ends_with_the_membership() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let right = organization(&world, &ada, "acme", &[]).await?;
    repository(&world, &ada, "acme", "web").await?;
    let (crew, ship) = (team(&world, &right, "crew", &[]).await?, team(&world, &right, "ship", &[&bob]).await?);
    world.app.set_team_permission(&right, &crew.name, &"web".parse()?, Permission::Write).await?;
    let mut session = enter(&world.app, "bob", PASSWORD, &client()).await?.token;
    assert!(renewed(&world, &session).await?.is_none(), "nothing has changed since the sign-in");
    for way in ["removed", "left", "removed from all"] {
        world.app.add_team_member(&right, &crew.name, &bob.account().name).await?;
        assert_eq!(may(&world, &bob, "acme", "web").await?, WRITE);
        session = renewed(&world, &session).await?.context("more rights: another id")?;
        match way {
            "removed" => world.app.remove_team_member(&right, &crew.name, &bob.account().name).await?,
            "left" => world.app.leave_team(&bob, &name("acme")?, &crew.name).await?,
            _ => world.app.remove_member(&right, &bob.account().name).await?,
        }
        assert_eq!(may(&world, &bob, "acme", "web").await?, NOTHING, "{way}");
        session = renewed(&world, &session).await?.context("fewer rights: another id")?;
        assert!(renewed(&world, &session).await?.is_none(), "once for each change");
    }
    is_missing(world.app.remove_team_member(&right, &ship.name, &bob.account().name).await)?;
    is_missing(world.app.remove_member(&right, &bob.account().name).await)?;
    is_missing(world.app.leave_team(&bob, &name("acme")?, &crew.name).await)?;
    is_missing(world.app.organization_member(&bob, &name("acme")?).await)?;
    let told: Vec<String> =
        log(&world, &ada, "acme").await?.into_iter().map(|entry| entry.action).filter(|a| a.starts_with("member.")).collect();
    assert_eq!(told, ["member.add", "member.add", "member.remove", "member.add", "member.leave", "member.add", "member.remove"]);
    Ok(())
}

#[tokio::test]
async fn members_see_their_own_teams_only() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob, eve) = (world.person("ada").await?, world.person("bob").await?, world.person("eve").await?);
    let right = organization(&world, &ada, "acme", &[]).await?;
    for text in ["web", "api"] {
        repository(&world, &ada, "acme", text).await?;
    }
    let mine = team(&world, &right, "mine", &[&bob, &eve]).await?;
    let other = team(&world, &right, "other", &[&eve]).await?;
    world.app.set_team_permission(&right, &mine.name, &"web".parse()?, Permission::Read).await?;
    world.app.set_team_permission(&right, &other.name, &"api".parse()?, Permission::Admin).await?;
    let (app, member) = (&world.app, world.app.organization_member(&bob, &name("acme")?).await?);
    let names = |teams: Vec<Team>| teams.into_iter().map(|team| team.name.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(app.list_teams(&member, None, 10).await?), ["mine"]);
    assert_eq!(names(app.list_teams(&right.clone().into(), None, 10).await?), ["mine", "other", "owners"]);
    assert_eq!(names(app.list_teams(&right.clone().into(), Some("mine"), 1).await?), ["other"]);
    let found = app.team(&member, &mine.name).await?;
    assert_eq!((found.members, found.repositories), (2, 1));
    let members = app.list_team_members(&member, &mine.name, None, 10).await?;
    assert_eq!(members.iter().map(|row| row.account.name.as_str()).collect::<Vec<_>>(), ["bob", "eve"]);
    let given = app.list_team_repositories(&member, &mine.name, None, 10).await?;
    assert_eq!(given.iter().map(|(found, given)| (found.name.as_str(), *given)).collect::<Vec<_>>(), [("web", Permission::Read)]);
    for hidden in [other.name.clone(), TeamName::owners(), "nothing".parse()?] {
        is_missing(app.team(&member, &hidden).await)?;
        is_missing(app.list_team_members(&member, &hidden, None, 10).await)?;
        is_missing(app.list_team_repositories(&member, &hidden, None, 10).await)?;
        is_missing(app.leave_team(&bob, &name("acme")?, &hidden).await)?;
    }
    let everybody = app.list_members(&right, None, 10).await?;
    let everybody: Vec<_> =
        everybody.iter().map(|row| (row.account.name.as_str(), row.teams.iter().map(TeamName::as_str).collect::<Vec<_>>())).collect();
    assert_eq!(everybody, [("ada", vec!["owners"]), ("bob", vec!["mine"]), ("eve", vec!["mine", "other"])]);
    assert_eq!(app.list_members(&right, Some("ada"), 1).await?[0].account.name.as_str(), "bob");
    // What a member sees of the namespace is what the teams give.
    let view = app.namespace_view(Some(&bob), &name("acme")?).await?;
    let seen = app.list_repositories(&view, None, 10).await?;
    assert_eq!(seen.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["web"]);
    let found = app.search_repositories(&bob, "ACME/", 10).await?;
    assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["web"]);
    Ok(())
}

#[tokio::test]
async fn owners_stays_as_it_is() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    repository(&world, &ada, "acme", "web").await?;
    let owners = TeamName::owners();
    let crew = team(&world, &right, "crew", &[]).await?;
    let renamed = |to: &str| TeamChange { name: Some(to.into()), description: None };
    assert_eq!(code(world.app.update_team(&right, &owners, &renamed("kings")).await)?, "owners_stays");
    assert_eq!(code(world.app.delete_team(&right, &owners).await)?, "owners_stays");
    assert_eq!(code(world.app.update_team(&right, &crew.name, &renamed("owners")).await)?, "name_taken");
    assert_eq!(code(world.app.create_team(&right, "owners", "").await)?, "name_taken");
    assert_eq!(code(world.app.set_team_permission(&right, &owners, &"web".parse()?, Permission::Read).await)?, "owners_have_all");
    let refused = refusal(world.app.set_team_permission(&right, &crew.name, &"web".parse()?, Permission::Owner).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("permission", Some("permission")));
    let told = TeamChange { name: None, description: Some("We own it".into()) };
    assert_eq!(world.app.update_team(&right, &owners, &told).await?.description, "We own it");
    Ok(())
}

#[tokio::test]
async fn names_and_texts_of_teams_are_checked() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    let crew = team(&world, &right, "crew", &[]).await?;
    let long = "a".repeat(65);
    for (text, expected) in
        [("crew", "name_taken"), ("Crew", "name"), ("new", "name"), ("a", "name"), ("a b", "name"), ("", "name"), (&long, "name")]
    {
        for refused in [
            refusal(world.app.create_team(&right, text, "").await)?,
            refusal(world.app.update_team(&right, &TeamName::owners(), &TeamChange { name: Some(text.into()), description: None }).await)?,
        ] {
            // `owners` says that it stays before anything about names that could be.
            let allowed = [expected, "owners_stays"].contains(&refused.code);
            assert!(allowed && (refused.code == "owners_stays" || refused.field.as_deref() == Some("name")), "{text}: {refused:?}");
        }
    }
    for text in ["x".repeat(501), "a\0b".into()] {
        let refused = refusal(world.app.create_team(&right, "fresh", &text).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("description", Some("description")));
    }
    let change = TeamChange { name: Some("ship-crew".into()), description: Some("  on \"deck\" 🦀 ".into()) };
    let changed = world.app.update_team(&right, &crew.name, &change).await?;
    assert_eq!((changed.id, changed.name.as_str(), changed.description.as_str()), (crew.id, "ship-crew", "on \"deck\" 🦀"));
    let unchanged = world.app.update_team(&right, &changed.name, &TeamChange::default()).await?;
    assert_eq!((unchanged.name.as_str(), unchanged.description.as_str()), ("ship-crew", "on \"deck\" 🦀"));
    is_missing(world.app.update_team(&right, &crew.name, &TeamChange::default()).await)?;
    is_missing(world.app.delete_team(&right, &crew.name).await)?;
    Ok(())
}

#[tokio::test]
async fn people_and_service_accounts_are_members_and_nobody_else() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let root = world.administrator("root").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    organization(&world, &ada, "zoo", &[]).await?;
    repository(&world, &ada, "acme", "web").await?;
    let crew = team(&world, &right, "crew", &[]).await?;
    world.app.set_team_permission(&right, &crew.name, &"web".parse()?, Permission::Write).await?;
    for nobody in ["nobody", "zoo", "acme"] {
        let refused = refusal(world.app.add_team_member(&right, &crew.name, &name(nobody)?).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("no_such_user", Some("user")), "{nobody}");
    }
    let administrator = world.app.administrator(&root)?;
    world.app.create_service_account(&administrator, "robot").await?;
    world.app.add_team_member(&right, &crew.name, &name("robot")?).await?;
    world.app.add_team_member(&right, &crew.name, &name("robot")?).await?;
    assert_eq!(world.app.team(&right.clone().into(), &crew.name).await?.members, 1, "twice is once");
    let made = world.app.create_service_token(&administrator, &name("robot")?, &wish("repo:write build:write")).await?;
    let robot = world.bearer(made.secret.expose()).await?;
    world.app.repository_push(&robot, &name("acme")?, &"web".parse()?).await?;
    assert_eq!(code(world.app.repository_admin(&robot, &name("acme")?, &"web".parse()?).await)?, "scope_missing");
    assert_eq!(may(&world, &ada, "acme", "web").await?, OWNER);
    Ok(())
}

#[tokio::test]
async fn what_is_another_organizations_is_nothing_here() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob, eve) = (world.person("ada").await?, world.person("bob").await?, world.person("eve").await?);
    let acme = organization(&world, &ada, "acme", &[]).await?;
    let zoo = organization(&world, &bob, "zoo", &[]).await?;
    repository(&world, &ada, "acme", "web").await?;
    repository(&world, &bob, "zoo", "theirs").await?;
    let (crew, keepers) = (team(&world, &acme, "crew", &[]).await?, team(&world, &zoo, "keepers", &[&eve]).await?);
    let theirs: RepositoryName = "theirs".parse()?;
    is_missing(world.app.set_team_permission(&acme, &crew.name, &theirs, Permission::Read).await)?;
    is_missing(world.app.remove_team_permission(&acme, &crew.name, &theirs).await)?;
    is_missing(world.app.set_team_permission(&acme, &keepers.name, &"web".parse()?, Permission::Read).await)?;
    is_missing(world.app.add_team_member(&acme, &keepers.name, &ada.account().name).await)?;
    is_missing(world.app.remove_team_member(&acme, &keepers.name, &eve.account().name).await)?;
    is_missing(world.app.remove_member(&acme, &eve.account().name).await)?;
    is_missing(world.app.delete_team(&acme, &keepers.name).await)?;
    is_missing(world.app.team(&acme.clone().into(), &keepers.name).await)?;
    is_missing(world.app.list_team_members(&acme.clone().into(), &keepers.name, None, 10).await)?;
    // Teams of one name in both: what one gives says nothing in the other.
    let twin = team(&world, &zoo, "crew", &[&eve]).await?;
    assert_ne!(twin.id, crew.id);
    world.app.set_team_permission(&acme, &crew.name, &"web".parse()?, Permission::Admin).await?;
    assert_eq!(may(&world, &eve, "acme", "web").await?, NOTHING);
    is_missing(world.app.organization_owner(&bob, &name("acme")?).await)?;
    Ok(())
}
