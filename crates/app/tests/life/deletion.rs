//! Accounts that go, accounts that must not go, and what administrators do with accounts.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use slipway_app::{AuditEntry, AuditFilter, Caller, Error, OrganizationOwner, Role, TokenWish};
use slipway_model::{AccountKind, Scope, TeamName, Visibility};

use crate::sign_in::{PASSWORD, caller, code, enter, name, refusal, secret};
use crate::world::{World, client, commit};

async fn owner(world: &World, caller: &Caller, organization: &str) -> Result<OrganizationOwner> {
    Ok(world.app.organization_owner(caller, &name(organization)?).await?)
}

async fn log(world: &World, reader: &Caller) -> Result<Vec<AuditEntry>> {
    Ok(world.app.list_audit(&world.app.installation_audit(reader)?, &AuditFilter::default(), None, 200).await?)
}

fn wish(scopes: &str) -> TokenWish {
    TokenWish { name: "ci".into(), scopes: scopes.parse().expect("scopes"), repositories: None, expires_at: None }
}

#[tokio::test]
async fn an_account_goes_with_all_that_is_its_own() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let ada = world.person("ada").await?;
    let session = enter(&world.app, "ada", PASSWORD, &client()).await?;
    world.repository(&ada, "hello").await?;
    let token = world.app.create_token(&ada, &wish("repo:read")).await?.secret;
    let preview = world.app.preview_delete_account(&ada).await?;
    assert_eq!((preview.repositories.as_slice(), preview.repository_count, preview.token_count), (&["hello".to_owned()][..], 1, 1));
    assert!(preview.sole_owner_of.is_empty() && !preview.last_administrator && preview.organizations.is_empty());

    let delete = |confirm: &'static str, password: Option<&'static str>| {
        let (app, ada) = (&world.app, &ada);
        async move { app.delete_account(ada, confirm, password.map(secret).as_ref()).await }
    };
    assert_eq!(code(delete("adA", Some(PASSWORD)).await)?, "confirm");
    assert_eq!(code(delete("ada", None).await)?, "password_wrong");
    let refused = refusal(delete("ada", Some("wrong password")).await)?;
    assert_eq!((refused.code, refused.field.as_deref()), ("password_wrong", Some("password")));
    assert!(world.app.still_stands(&ada).await?);
    delete("ada", Some(PASSWORD)).await?;

    assert!(!world.app.still_stands(&ada).await?);
    assert!(world.app.caller_by_session(&session.token, "::1").await?.is_none());
    assert!(world.app.caller_by_token(&token, "::1").await?.is_none());
    assert_eq!(code(world.app.sign_in("ada", &secret(PASSWORD), &client()).await)?, "sign_in");
    let entry = log(&world, &root).await?.into_iter().find(|entry| entry.action == "account.delete").context("written")?;
    assert_eq!((entry.actor.as_str(), entry.object.as_str(), entry.namespace.as_str()), ("ada", "ada", ""));

    // Somebody else of the name has nothing of the former one's.
    let again = world.person("ada").await?;
    assert_ne!(again.account().id, ada.account().id);
    assert!(world.app.caller_by_session(&session.token, "::1").await?.is_none());
    assert!(world.app.caller_by_token(&token, "::1").await?.is_none());
    assert!(!world.app.still_stands(&ada).await?);
    assert_eq!(world.app.preview_delete_account(&again).await?.repository_count, 0);
    Ok(())
}

#[tokio::test]
async fn webhooks_and_the_grant_are_removed_at_the_provider_first() -> Result<()> {
    let world = World::new().await?;
    let (caller, _) = world.ready().await?;
    assert_eq!(world.github.hooks("octo/hello").len(), 1);
    assert_eq!(world.app.preview_delete_account(&caller).await?.links, std::slice::from_ref(&world.provider));
    let receipts = world.app.delete_account(&caller, "demo", Some(&secret(PASSWORD))).await?;
    assert_eq!(receipts.len(), 1);
    assert!(receipts[0].left.is_empty() && receipts[0].done.len() == 3, "{receipts:?}");
    assert!(world.github.hooks("octo/hello").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_refused_deletion_leaves_the_provider_alone() -> Result<()> {
    let world = World::new().await?;
    let (caller, _) = world.ready().await?;
    world.app.create_organization(&caller, "acme", "").await?;
    assert_eq!(code(world.app.delete_account(&caller, "demo", Some(&secret(PASSWORD))).await)?, "last_owner");
    assert_eq!(world.github.hooks("octo/hello").len(), 1);
    assert_eq!(world.app.preview_delete_account(&caller).await?.links, std::slice::from_ref(&world.provider));
    Ok(())
}

#[tokio::test]
async fn the_last_owner_stays_and_is_told_of_what() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    for organization in ["acme", "beta", "gamma"] {
        world.app.create_organization(&ada, organization, "").await?;
    }
    let bobs = bob.account().name.clone();
    world.app.add_team_member(&owner(&world, &ada, "gamma").await?, &TeamName::owners(), &bobs).await?;
    let refused = refusal(world.app.delete_account(&ada, "ada", Some(&secret(PASSWORD))).await)?;
    assert_eq!(refused.code, "last_owner");
    assert!(refused.detail.contains("`acme`") && refused.detail.contains("`beta`") && !refused.detail.contains("gamma"), "{refused:?}");
    let hint = refused.hint.context("where to mend it")?;
    assert!(hint.contains("/o/acme/teams/owners") && hint.contains("/o/beta/teams/owners"), "{hint}");
    assert_eq!(world.app.preview_delete_account(&ada).await?.sole_owner_of, [name("acme")?, name("beta")?]);
    let administrator = world.app.administrator(&root)?;
    assert_eq!(code(world.app.delete_other_account(&administrator, &name("ada")?, "ada").await)?, "last_owner");

    world.app.add_team_member(&owner(&world, &ada, "acme").await?, &TeamName::owners(), &bobs).await?;
    world.app.delete_organization(&owner(&world, &ada, "beta").await?, "beta").await?;
    world.app.delete_account(&ada, "ada", Some(&secret(PASSWORD))).await?;
    let left: Vec<String> = log(&world, &root)
        .await?
        .into_iter()
        .filter(|entry| entry.action == "member.leave" && entry.object == "ada")
        .map(|entry| entry.namespace)
        .collect();
    assert_eq!(left.iter().collect::<std::collections::BTreeSet<_>>(), [&"acme".to_owned(), &"gamma".to_owned()].into());
    owner(&world, &bob, "acme").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_go_at_once_one_stays() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    world.app.create_organization(&ada, "acme", "").await?;
    world.app.add_team_member(&owner(&world, &ada, "acme").await?, &TeamName::owners(), &bob.account().name).await?;
    let (one, two) = (secret(PASSWORD), secret(PASSWORD));
    let outcomes = tokio::join!(world.app.delete_account(&ada, "ada", Some(&one)), world.app.delete_account(&bob, "bob", Some(&two)));
    let outcomes = [outcomes.0, outcomes.1];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let refused = outcomes.into_iter().find(Result::is_err).context("one")?;
    assert_eq!(code(refused)?, "last_owner");
    Ok(())
}

#[tokio::test]
async fn the_last_administrator_stays() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    world.person("ada").await?;
    let administrator = world.app.administrator(&root)?;
    assert!(world.app.preview_delete_account(&root).await?.last_administrator);
    assert_eq!(code(world.app.delete_account(&root, "root", Some(&secret(PASSWORD))).await)?, "last_administrator");
    assert_eq!(code(world.app.set_administrator(&administrator, &name("root")?, Role::User).await)?, "last_administrator");
    let ada = world.app.set_administrator(&administrator, &name("ada")?, Role::Administrator).await?;
    assert!(ada.is_admin);
    assert!(world.app.set_administrator(&administrator, &name("ada")?, Role::Administrator).await?.is_admin, "as it is");
    assert!(!world.app.set_administrator(&administrator, &name("root")?, Role::User).await?.is_admin);
    assert_eq!(log(&world, &world.person("ada").await?).await?.iter().filter(|entry| entry.action == "account.admin").count(), 2);
    // The right is asked for anew with each request.
    let session = enter(&world.app, "root", PASSWORD, &client()).await?;
    assert!(matches!(world.app.administrator(&caller(&world.app, &session.token).await?), Err(Error::NotFound)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_administrators_who_go_at_once_one_stays() -> Result<()> {
    let world = World::new().await?;
    let mut people = Vec::new();
    for who in ["ada", "bob", "eve"] {
        people.push((who, world.administrator(who).await?));
    }
    let app = world.app;
    let mut going = tokio::task::JoinSet::new();
    for (who, caller) in people {
        let app = Arc::clone(&app);
        going.spawn(async move { app.delete_account(&caller, who, Some(&secret(PASSWORD))).await });
    }
    let outcomes = going.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2, "{outcomes:?}");
    Ok(())
}

#[tokio::test]
async fn an_account_stays_while_a_build_runs() -> Result<()> {
    let world = World::new().await?;
    let (demo, right) = world.ready().await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    world.app.claim(&builder).await?.context("a build waits")?;
    assert_eq!(code(world.app.delete_account(&demo, "demo", Some(&secret(PASSWORD))).await)?, "build_running");
    assert_eq!(world.github.hooks("octo/hello").len(), 1, "nothing was undone");
    Ok(())
}

#[tokio::test]
async fn service_accounts_have_tokens_and_no_door() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let administrator = world.app.administrator(&root)?;
    let robot = world.app.create_service_account(&administrator, "robot").await?;
    assert_eq!((robot.kind, robot.is_admin), (AccountKind::Service, false));
    for (taken, expected) in [("robot", "name_taken"), ("rob0t", "name_taken"), ("x", "name"), ("admin", "name")] {
        assert_eq!(code(world.app.create_service_account(&administrator, taken).await)?, expected, "{taken}");
    }
    assert_eq!(code(world.app.begin_session(robot.clone(), &client()).await)?, "needs_a_person");
    let made = world.app.create_service_token(&administrator, &name("robot")?, &wish("repo:admin account")).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    assert_eq!(bearer.account().id, robot.id);
    // It works in its own namespace, and is no person.
    let namespace = world.app.namespace(&bearer, &name("robot")?, Scope::RepoAdmin).await?;
    world.app.create_repository(&namespace, "hello", "", Visibility::Private).await?;
    assert_eq!(code(world.app.change_password(&bearer, &secret(""), &secret("battery staple"), &client()).await)?, "needs_a_person");
    assert_eq!(code(world.app.begin_second_factor(&bearer, &secret("")).await)?, "needs_a_person");
    assert_eq!(code(world.app.list_sessions(&bearer).await)?, "needs_a_person");
    assert_eq!(code(world.app.delete_account(&bearer, "robot", None).await)?, "needs_a_person");
    assert_eq!(code(world.app.set_administrator(&administrator, &name("robot")?, Role::Administrator).await)?, "not_a_user");

    let listed = world.app.list_service_tokens(&administrator, &name("robot")?).await?;
    assert_eq!((listed.len(), listed[0].created_by.as_deref()), (1, Some("root")));
    world.app.revoke_service_token(&administrator, &name("robot")?, made.id).await?;
    assert!(!world.app.still_stands(&bearer).await?);
    assert!(matches!(world.app.revoke_service_token(&administrator, &name("robot")?, made.id).await, Err(Error::NotFound)));
    let actions: Vec<String> = log(&world, &root).await?.into_iter().filter(|e| e.namespace.is_empty()).map(|e| e.action).collect();
    assert_eq!(
        actions.iter().rev().map(String::as_str).collect::<Vec<_>>(),
        ["account.create", "account.create", "token.create", "token.revoke"]
    );
    Ok(())
}

#[tokio::test]
async fn administrators_have_no_hand_in_other_peoples_tokens() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let ada = world.person("ada").await?;
    world.app.create_organization(&ada, "acme", "").await?;
    let administrator = world.app.administrator(&root)?;
    for who in ["ada", "acme", "root"] {
        let who = name(who)?;
        assert_eq!(code(world.app.create_service_token(&administrator, &who, &wish("repo:read")).await)?, "not_a_service_account");
        assert_eq!(code(world.app.list_service_tokens(&administrator, &who).await)?, "not_a_service_account");
    }
    assert!(matches!(world.app.list_service_tokens(&administrator, &name("nobody")?).await, Err(Error::NotFound)));
    // A token gives no more than it has.
    world.app.create_service_account(&administrator, "robot").await?;
    let narrow = world.app.administrator(&world.token(&root, "account repo:read").await?)?;
    assert_eq!(code(world.app.create_service_token(&narrow, &name("robot")?, &wish("repo:admin")).await)?, "scope_missing");
    world.app.create_service_token(&narrow, &name("robot")?, &wish("repo:read")).await?;
    assert!(matches!(world.app.administrator(&ada), Err(Error::NotFound)));
    assert_eq!(code(world.app.administrator(&world.token(&root, "repo:admin").await?))?, "scope_missing");
    Ok(())
}

#[tokio::test]
async fn administrators_list_and_delete_accounts() -> Result<()> {
    let world = World::new().await?;
    let root = world.administrator("root").await?;
    let ada = world.person("ada").await?;
    let administrator = world.app.administrator(&root)?;
    world.app.create_service_account(&administrator, "robot").await?;
    world.app.create_organization(&ada, "acme", "").await?;
    let listed = |kind, after: Option<&'static str>| {
        let (app, administrator) = (&world.app, &administrator);
        async move {
            let page = app.list_accounts(administrator, kind, after, 2).await?;
            Ok::<_, Error>(page.into_iter().map(|account| account.name.to_string()).collect::<Vec<_>>())
        }
    };
    assert_eq!(listed(None, None).await?, ["acme", "ada"]);
    assert_eq!(listed(None, Some("ada")).await?, ["robot", "root"]);
    assert_eq!(listed(Some(AccountKind::Service), None).await?, ["robot"]);
    assert_eq!(listed(Some(AccountKind::User), Some("ada")).await?, ["root"]);

    let delete = |who: &'static str, confirm: &'static str| {
        let (app, administrator) = (&world.app, &administrator);
        async move { app.delete_other_account(administrator, &who.parse().expect("name"), confirm).await }
    };
    assert_eq!(code(delete("root", "root").await)?, "own_account");
    assert_eq!(code(delete("robot", "rob").await)?, "confirm");
    assert!(matches!(delete("nobody", "nobody").await, Err(Error::NotFound)));
    for who in ["robot", "acme", "ada"] {
        delete(who, who).await?;
    }
    assert_eq!(listed(None, None).await?, ["root"]);
    assert!(!world.app.still_stands(&ada).await?);
    let deleted: Vec<String> =
        log(&world, &root).await?.into_iter().filter(|entry| entry.action == "account.delete").map(|entry| entry.object).collect();
    assert_eq!(deleted, ["ada", "acme", "robot"]);
    Ok(())
}
