//! Rights that are handed on: nothing gives more than it has, lives longer than itself, or outlives what it was made from.

use std::time::Duration;

use anyhow::Result;
use slipway_app::{AuditFilter, OrganizationChange, Role, TokenWish};
use slipway_model::{Scope, Visibility};

use crate::organizations::{is_missing, organization, wish};
use crate::sign_in::{PASSWORD, code, name, refusal, secret};
use crate::world::World;

#[tokio::test]
async fn a_token_makes_none_that_outlives_it() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    let now = world.clock.now();
    let soon = TokenWish { expires_at: Some(now.plus(Duration::from_secs(600))), ..wish("repo:read account") };
    let bearer = world.bearer(world.app.create_token(&ada, &soon).await?.secret.expose()).await?;
    let until = |seconds| TokenWish { expires_at: Some(now.plus(Duration::from_secs(seconds))), ..wish("repo:read") };
    let acme = world.app.organization_owner(&bearer, &name("acme")?).await?;
    for longer in [wish("repo:read"), until(601)] {
        let refused = refusal(world.app.create_token(&bearer, &longer).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("token_expiry", Some("expires_at")));
        assert_eq!(code(world.app.create_organization_token(&acme, &longer).await)?, "token_expiry");
    }
    world.app.create_token(&bearer, &until(600)).await?;
    world.app.create_organization_token(&acme, &until(300)).await?;
    // A session has no end that a token could outlive.
    world.app.create_organization_token(&right, &wish("repo:read")).await?;
    Ok(())
}

#[tokio::test]
async fn what_hands_rights_on_needs_every_scope() -> Result<()> {
    let world = World::new().await?;
    let (root, bob) = (world.administrator("root").await?, world.person("bob").await?);
    organization(&world, &root, "acme", &[]).await?;
    let small = world.token(&root, "account").await?;
    let whole = world.token(&root, "repo:admin repo:write repo:read build:write account").await?;
    let owners = "owners".parse()?;
    let acme = name("acme")?;
    let weak = world.app.organization_owner(&small, &acme).await?;
    assert_eq!(code(world.app.add_team_member(&weak, &owners, &bob.account().name).await)?, "scope_missing");
    let admin = world.app.administrator(&small)?;
    assert_eq!(code(world.app.set_administrator(&admin, &bob.account().name, Role::Administrator).await)?, "scope_missing");
    let bobs = world.token(&bob, "account").await?;
    let converted = world.app.convert_to_organization(&bobs, "root", "bob", Some(&secret(PASSWORD))).await;
    assert_eq!(code(converted)?, "scope_missing");
    is_missing(world.app.organization_owner(&bob, &acme).await)?;
    let strong = world.app.organization_owner(&whole, &acme).await?;
    world.app.add_team_member(&strong, &owners, &bob.account().name).await?;
    world.app.organization_owner(&bob, &acme).await?;
    Ok(())
}

#[tokio::test]
async fn only_people_own() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let right = organization(&world, &root, "acme", &[]).await?;
    let robot = world.app.create_service_account(&world.app.administrator(&root)?, "robot").await?;
    let refused = refusal(world.app.add_team_member(&right, &"owners".parse()?, &robot.name).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("owners_are_people", Some("user")));
    let crew = world.app.create_team(&right, "crew", "").await?;
    world.app.add_team_member(&right, &crew.name, &robot.name).await?;
    Ok(())
}

/// A right that was checked a moment ago makes no token any more when what it stood on is gone.
#[tokio::test]
async fn no_token_is_made_by_who_may_no_longer() -> Result<()> {
    let world = World::new().await?;
    let (root, ada) = (world.administrator("root").await?, world.person("ada").await?);
    let right = organization(&world, &root, "acme", &[&ada]).await?;
    let (acme, owners) = (name("acme")?, "owners".parse()?);
    world.app.add_team_member(&right, &owners, &ada.account().name).await.ok();
    let adas = world.app.organization_owner(&ada, &acme).await?;
    world.app.remove_team_member(&right, &owners, &ada.account().name).await?;
    is_missing(world.app.create_organization_token(&adas, &wish("repo:read")).await)?;

    let robot = world.app.create_service_account(&world.app.administrator(&root)?, "robot").await?;
    let bob = world.administrator("bob").await?;
    let bobs = world.app.administrator(&bob)?;
    world.app.set_administrator(&world.app.administrator(&root)?, &bob.account().name, Role::User).await?;
    is_missing(world.app.create_service_token(&bobs, &robot.name, &wish("repo:read")).await)?;

    let before = world.token(&ada, "account repo:read").await?;
    world.app.convert_to_organization(&ada, "root", "ada", Some(&secret(PASSWORD))).await?;
    is_missing(world.app.create_token(&ada, &wish("repo:read")).await)?;
    assert!(world.app.create_token(&before, &wish("repo:read")).await.is_err());
    let ada_works = world.app.organization_owner(&root, &name("ada")?).await?;
    assert!(world.app.list_organization_tokens(&ada_works).await?.is_empty(), "no token of the person is left");
    Ok(())
}

#[tokio::test]
async fn a_revoked_credential_makes_nothing() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let made = world.app.create_token(&ada, &wish("account repo:read")).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    world.app.revoke_token(&ada, made.id).await?;
    assert_eq!(code(world.app.create_token(&bearer, &wish("repo:read")).await)?, "credential_ended");
    Ok(())
}

#[tokio::test]
async fn the_log_of_a_person_is_not_the_organizations() -> Result<()> {
    let world = World::new().await?;
    let (ada, root) = (world.person("ada").await?, world.administrator("root").await?);
    world.repository(&ada, "web").await?;
    world.app.create_token(&ada, &wish("repo:read")).await?;
    world.app.convert_to_organization(&ada, "root", "ada", Some(&secret(PASSWORD))).await?;
    let reader = world.app.audit_reader(&root, &name("ada")?).await?;
    let seen = world.app.list_audit(&reader, &AuditFilter::default(), None, 100).await?;
    let actions: Vec<&str> = seen.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["account.convert", "repository.create"]);
    let all = world.app.list_audit(&world.app.installation_audit(&root)?, &AuditFilter::default(), None, 100).await?;
    assert!(all.iter().any(|entry| entry.action == "session.begin" && entry.actor == "ada"), "the installation keeps it: {all:?}");
    Ok(())
}

#[tokio::test]
async fn names_are_not_collected() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    organization(&world, &ada, "acme", &[]).await?;
    let rename = async |from: &str, to: &str| {
        let right = world.app.organization_owner(&ada, &name(from)?).await?;
        let change = OrganizationChange { name: Some(to.to_owned()), display_name: None };
        anyhow::Ok(world.app.update_organization(&right, &change).await)
    };
    let names = ["acme", "bravo", "cargo", "delta", "echoes", "foxtrot", "golf", "hotel", "india", "juliet"];
    for pair in names.windows(2) {
        rename(pair[0], pair[1]).await??;
    }
    let refused = refusal(rename("juliet", "kilo").await?)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("too_many_names", Some("name")));
    assert_eq!(rename("juliet", "acme").await??.name.as_str(), "acme", "back to one of its own");
    Ok(())
}

#[tokio::test]
async fn a_change_writes_what_it_names_alone() -> Result<()> {
    let world = World::new().await?;
    let ada = world.person("ada").await?;
    let own = world.app.namespace(&ada, &name("ada")?, Scope::RepoAdmin).await?;
    world.app.create_repository(&own, "web", "", Visibility::Public).await?;
    // Two people look at the settings; the one makes it private, the other saves a description a moment later.
    let (one, two) = (world.right(&ada, "web").await?, world.right(&ada, "web").await?);
    world.app.update_repository(&one, None, Some(Visibility::Private)).await?;
    let saved = world.app.update_repository(&two, Some("Words"), None).await?;
    assert_eq!((saved.visibility, saved.description.as_str()), (Visibility::Private, "Words"));
    Ok(())
}
