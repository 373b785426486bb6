//! Organizations from the first owner to the end: names that lead on, the last owner, tokens of their own, names that come again.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use slipway_app::{
    App, AuditEntry, AuditFilter, AutobuildInput, BuilderOutcome, Caller, Error, OrganizationChange, OrganizationOwner, RegistryAction,
    RepositoryAdmin, Standing, TokenWish,
};
use slipway_model::{AccountKind, AccountName, FailureCode, FailureReason, RepositoryId, Scope, TeamName, Visibility};
use url::Url;

use crate::sign_in::{PASSWORD, code, enter, name, refusal, secret};
use crate::world::{World, client, commit};

pub async fn owner(world: &World, caller: &Caller, organization: &str) -> Result<OrganizationOwner> {
    Ok(world.app.organization_owner(caller, &name(organization)?).await?)
}

pub fn wish(scopes: &str) -> TokenWish {
    TokenWish { name: "ci".into(), scopes: scopes.parse().expect("scopes"), repositories: None, expires_at: None }
}

/// The log of a namespace, oldest first.
pub async fn log(world: &World, reader: &Caller, namespace: &str) -> Result<Vec<AuditEntry>> {
    let reader = world.app.audit_reader(reader, &name(namespace)?).await?;
    let mut entries = world.app.list_audit(&reader, &AuditFilter::default(), None, 200).await?;
    entries.reverse();
    Ok(entries)
}

/// An organization with these owners besides `ada`, who makes it.
pub async fn organization(world: &World, ada: &Caller, text: &str, others: &[&Caller]) -> Result<OrganizationOwner> {
    world.app.create_organization(ada, text, "").await?;
    let right = owner(world, ada, text).await?;
    for other in others {
        world.app.add_team_member(&right, &TeamName::owners(), &other.account().name).await?;
    }
    Ok(right)
}

/// A private repository of the organization.
pub async fn repository(world: &World, caller: &Caller, organization: &str, text: &str) -> Result<RepositoryId> {
    let namespace = world.app.namespace(caller, &name(organization)?, Scope::RepoAdmin).await?;
    Ok(world.app.create_repository(&namespace, text, "", Visibility::Private).await?.id)
}

/// Linked to the provider, with the repository `hello` built from `octo/hello`.
async fn linked(world: &World, caller: &Caller, organization: &str) -> Result<RepositoryAdmin> {
    let path = (name(organization)?, "hello".parse()?);
    let namespace = world.app.namespace(caller, &path.0, Scope::RepoAdmin).await?;
    let url = world.app.begin_connect(&namespace, caller, &world.provider, slipway_app::ConnectWish::default()).await?;
    let callback: Url = world.github.approve_oauth(url.as_str(), "octo").await?.parse()?;
    let part = |name: &str| callback.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).context("a part");
    world.app.finish_connect(caller, &world.provider, &part("state")?, Ok(&part("code")?)).await?;
    repository(world, caller, organization, "hello").await?;
    let right = world.app.repository_admin(caller, &path.0, &path.1).await?;
    let input: AutobuildInput = serde_json::from_value(json!({"provider": "github", "source": "octo/hello"}))?;
    world.app.put_autobuild(&right, &input).await?;
    Ok(right)
}

/// Nothing that the caller may know of.
pub fn is_missing<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<()> {
    ensure!(matches!(result, Err(Error::NotFound)), "not missing: {result:?}");
    Ok(())
}

#[tokio::test]
async fn whoever_makes_one_owns_it() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let made = world.app.create_organization(&ada, "acme-1", "  Acme & Söhne ").await?;
    assert_eq!(
        (made.kind, made.name.as_str(), made.display_name.as_str(), made.is_admin),
        (AccountKind::Organization, "acme-1", "Acme & Söhne", false)
    );
    let listed = world.app.list_organizations(&ada).await?;
    assert_eq!(listed.iter().map(|row| (row.account.id, row.standing)).collect::<Vec<_>>(), [(made.id, Standing::Owner)]);
    assert!(world.app.list_organizations(&bob).await?.is_empty());
    assert_eq!(world.app.create_organization(&ada, "plain", "").await?.display_name, "plain");
    for (text, expected) in [
        ("acme-1", "name_taken"),
        ("acme_l", "name_taken"),
        ("acme--1", "name_taken"),
        ("bob", "name_taken"),
        ("b0b", "name_taken"),
        ("Acme", "name"),
        ("a", "name"),
        ("teams", "name"),
        ("t0kens", "name"),
        ("a/b", "name"),
        ("", "name"),
    ] {
        let refused = refusal(world.app.create_organization(&ada, text, "").await)?;
        assert_eq!((refused.code, refused.field.as_deref()), (expected, Some("name")), "{text}: {}", refused.detail);
    }
    let long = refusal(world.app.create_organization(&ada, &"a".repeat(100_000), "").await)?;
    assert_eq!(long.field.as_deref(), Some("name"));
    assert!(long.detail.contains("100000") && long.detail.len() < 300, "{}", long.detail.chars().take(400).collect::<String>());
    let long = refusal(world.app.create_organization(&ada, "fresh", &"x".repeat(101)).await)?;
    assert_eq!(long.field.as_deref(), Some("display_name"));
    assert!(long.detail.contains("101") && long.detail.contains("100"), "{}", long.detail);
    let told = log(&world, &ada, "acme-1").await?;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].action.as_str(), told[0].actor.as_str(), told[0].via.as_str(), told[0].address.as_str()),
        ("organization.create", "ada", "session", "127.0.0.1")
    );
    Ok(())
}

#[tokio::test]
async fn outsiders_see_neither_it_nor_its_members() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob, eve) = (world.person("ada").await?, world.person("bob").await?, world.person("eve").await?);
    let root = world.administrator("root").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    let crew = world.app.create_team(&right, "crew", "").await?;
    world.app.add_team_member(&right, &crew.name, &bob.account().name).await?;
    repository(&world, &ada, "acme", "secret").await?;
    let acme = name("acme")?;
    for outsider in [&eve, &root] {
        is_missing(world.app.organization_member(outsider, &acme).await)?;
        is_missing(world.app.organization_owner(outsider, &acme).await)?;
        is_missing(world.app.namespace(outsider, &acme, Scope::RepoAdmin).await)?;
        is_missing(world.app.namespace_view(Some(outsider), &acme).await)?;
        is_missing(world.app.repository_view(Some(outsider), &acme, &"secret".parse()?).await)?;
        is_missing(world.app.repository_read(outsider, &acme, &"secret".parse()?).await)?;
    }
    is_missing(world.app.namespace_view(None, &acme).await)?;
    is_missing(world.app.audit_reader(&eve, &acme).await)?;
    world.app.audit_reader(&root, &acme).await?;
    assert_eq!(world.app.organization_member(&bob, &acme).await?.standing(), Standing::Member);
    for refused in [
        code(world.app.organization_owner(&bob, &acme).await)?,
        code(world.app.namespace(&bob, &acme, Scope::RepoAdmin).await)?,
        code(world.app.audit_reader(&bob, &acme).await)?,
    ] {
        assert_eq!(refused, "permission_missing");
    }
    let view = world.app.namespace_view(Some(&bob), &acme).await?;
    assert!(world.app.list_repositories(&view, None, 10).await?.is_empty(), "a team without a permission shows nothing");
    is_missing(world.app.repository_read(&bob, &acme, &"secret".parse()?).await)?;
    // Something public shows the namespace, not who is in it.
    let namespace = world.app.namespace(&ada, &acme, Scope::RepoAdmin).await?;
    world.app.create_repository(&namespace, "open", "", Visibility::Public).await?;
    for outsider in [None, Some(&eve)] {
        let view = world.app.namespace_view(outsider, &acme).await?;
        assert_eq!(view.standing(), Standing::Outsider);
        let seen = world.app.list_repositories(&view, None, 10).await?;
        assert_eq!(seen.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["open"]);
    }
    is_missing(world.app.organization_member(&eve, &acme).await)?;
    // A user's namespace is no organization.
    is_missing(world.app.organization_owner(&ada, &name("ada")?).await)?;
    Ok(())
}

async fn rename(world: &World, right: &OrganizationOwner, to: &str) -> Result<slipway_app::store::accounts::Account, Error> {
    world.app.update_organization(right, &OrganizationChange { name: Some(to.into()), display_name: None }).await
}

#[tokio::test]
async fn a_former_name_leads_on() -> Result<()> {
    let world = World::new().await?;
    let (ada, eve) = (world.person("ada").await?, world.person("eve").await?);
    let right = organization(&world, &ada, "acme", &[]).await?;
    let web = repository(&world, &ada, "acme", "web").await?;
    let token = world.app.create_organization_token(&right, &wish("repo:write")).await?.secret;
    assert_eq!(rename(&world, &right, "north").await?.name.as_str(), "north");
    for at in ["acme", "north"] {
        let read = world.app.repository_read(&ada, &name(at)?, &"web".parse()?).await?;
        assert_eq!((read.repository().id, read.repository().namespace.as_str()), (web, "north"), "{at}");
        assert_eq!(owner(&world, &ada, at).await?.account().name.as_str(), "north");
        let password: SecretString = token.expose().to_owned().into();
        let bearer = world.app.registry_caller(at, &password, "").await?.context("scripts outlive a rename")?;
        let grant = world.app.registry_grant(&bearer, &format!("{at}/web"), &[RegistryAction::Push]).await?.context("its own")?;
        assert_eq!(grant.repository, web);
    }
    for taken in ["acme", "acme_", "north", "n0rth", "acnne", "acrne"] {
        // Look-alikes and former names are given to nobody else.
        let refused = world.app.create_organization(&eve, taken, "").await;
        match taken {
            "acme_" => assert_eq!(code(refused)?, "name"),
            "acnne" => assert!(refused.is_ok(), "{refused:?}"),
            _ => assert_eq!(code(refused)?, "name_taken", "{taken}"),
        }
    }
    let other = organization(&world, &eve, "zoo", &[]).await?;
    for taken in ["acme", "north", "ada"] {
        assert_eq!(code(rename(&world, &other, taken).await)?, "name_taken", "{taken}");
    }
    let right = owner(&world, &ada, "north").await?;
    assert_eq!(rename(&world, &right, "acme").await?.name.as_str(), "acme", "the way back is free");
    let right = owner(&world, &ada, "north").await?;
    assert_eq!(right.account().name.as_str(), "acme");
    assert_eq!(rename(&world, &right, "acme").await?.name.as_str(), "acme", "as it is");
    let told = log(&world, &ada, "acme").await?;
    let renames: Vec<_> = told.iter().filter(|entry| entry.action == "organization.rename").collect();
    assert_eq!(
        renames.iter().map(|entry| (entry.old.clone(), entry.new.clone())).collect::<Vec<_>>(),
        [(Some(json!({"name": "acme"})), Some(json!({"name": "north"}))), (Some(json!({"name": "north"})), Some(json!({"name": "acme"}))),]
    );
    Ok(())
}

#[tokio::test]
async fn one_ends_with_all_that_is_in_it() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let root = world.administrator("root").await?;
    let right = organization(&world, &ada, "acme", &[]).await?;
    let hello = linked(&world, &ada, "acme").await?;
    let crew = world.app.create_team(&right, "crew", "").await?;
    world.app.add_team_member(&right, &crew.name, &bob.account().name).await?;
    let token = world.app.create_organization_token(&right, &wish("repo:admin account")).await?.secret;
    let bearer = world.bearer(token.expose()).await?;
    let goes = world.app.preview_delete_organization(&right).await?;
    assert_eq!((goes.repositories.as_slice(), goes.repository_count, goes.team_count), (&["hello".to_owned()][..], 1, 2));
    assert_eq!((goes.member_count, goes.token_count, goes.links, goes.build_count), (2, 1, vec![world.provider.clone()], 0));

    for typed in ["", "Acme", "acm", "acme/hello"] {
        let refused = refusal(world.app.delete_organization(&right, typed).await)?;
        assert_eq!((refused.code, refused.field.as_deref()), ("confirm", Some("confirm")), "{typed}");
    }
    let of_token = world.app.organization_owner(&bearer, &name("acme")?).await?;
    assert_eq!(code(world.app.delete_organization(&of_token, "acme").await)?, "needs_a_person");
    world.push(&hello, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let claimed = world.app.claim(&builder).await?.context("a build waits")?;
    assert_eq!(code(world.app.delete_organization(&right, "acme").await)?, "build_running");
    assert_eq!(world.github.hooks("octo/hello").len(), 1, "nothing was undone");
    let failed = BuilderOutcome::Failed(FailureReason::new(FailureCode::StepFailed, "no"));
    world.app.finish(&builder, claimed.build.id, 1, &failed).await?.map_err(|fenced| anyhow::anyhow!(fenced.detail))?;

    let receipts = world.app.delete_organization(&right, "acme").await?;
    assert!(receipts.len() == 1 && receipts[0].left.is_empty(), "{receipts:?}");
    assert!(world.github.hooks("octo/hello").is_empty());
    assert!(!world.app.still_stands(&bearer).await?);
    for caller in [&ada, &bob] {
        is_missing(world.app.organization_member(caller, &name("acme")?).await)?;
        assert!(world.app.list_organizations(caller).await?.is_empty());
    }
    is_missing(world.app.repository_read(&ada, &name("acme")?, &"hello".parse()?).await)?;
    let whole = world.app.list_audit(&world.app.installation_audit(&root)?, &AuditFilter::default(), None, 10).await?;
    assert_eq!((whole[0].action.as_str(), whole[0].object.as_str(), whole[0].actor.as_str()), ("organization.delete", "acme", "ada"));
    // The right of before is worth nothing on what is gone.
    is_missing(world.app.delete_organization(&right, "acme").await)?;
    Ok(())
}

#[tokio::test]
async fn the_last_owner_stays_and_is_told_where_to_mend_it() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let right = organization(&world, &ada, "acme", &[]).await?;
    let crew = world.app.create_team(&right, "crew", "").await?;
    for member in [&ada, &bob] {
        world.app.add_team_member(&right, &crew.name, &member.account().name).await?;
    }
    let (owners, acme) = (TeamName::owners(), name("acme")?);
    for refused in [
        refusal(world.app.remove_team_member(&right, &owners, &ada.account().name).await)?,
        refusal(world.app.remove_member(&right, &ada.account().name).await)?,
        refusal(world.app.leave_team(&ada, &acme, &owners).await)?,
    ] {
        assert_eq!((refused.code, refused.kind), ("last_owner", slipway_app::RefusalKind::Conflict));
        assert!(refused.detail.contains("`ada`") && refused.detail.contains("`acme`"), "{}", refused.detail);
        assert!(refused.hint.as_deref().unwrap_or_default().contains("/o/acme/teams/owners"), "{:?}", refused.hint);
    }
    let members = world.app.list_members(&right, None, 10).await?;
    assert_eq!(members[0].teams, [crew.name.clone(), owners.clone()], "nothing of a refused removal stands");
    world.app.add_team_member(&right, &owners, &bob.account().name).await?;
    world.app.leave_team(&ada, &acme, &owners).await?;
    assert_eq!(code(world.app.organization_owner(&ada, &acme).await)?, "permission_missing");
    assert_eq!(world.app.organization_member(&ada, &acme).await?.standing(), Standing::Member);
    let right = owner(&world, &bob, "acme").await?;
    assert_eq!(code(world.app.remove_member(&right, &bob.account().name).await)?, "last_owner");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_removals_at_once_one_is_refused() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let mut rights = Vec::new();
    for round in 0..10 {
        let text = format!("acme-x{round}");
        organization(&world, &ada, &text, &[&bob]).await?;
        rights.push((owner(&world, &ada, &text).await?, owner(&world, &bob, &text).await?));
    }
    let app = world.app;
    for (round, (of_ada, of_bob)) in rights.into_iter().enumerate() {
        let organization = of_ada.account().name.clone();
        let mut going = tokio::task::JoinSet::new();
        // Each removes the other, or each leaves.
        for (right, caller, other) in [(of_ada, &ada, &bob), (of_bob, &bob, &ada)] {
            let (app, caller, other, organization) = (Arc::clone(&app), caller.clone(), other.account().name.clone(), organization.clone());
            going.spawn(async move {
                match round % 3 {
                    0 => app.remove_team_member(&right, &TeamName::owners(), &other).await,
                    1 => app.remove_member(&right, &other).await,
                    _ => app.leave_team(&caller, &organization, &TeamName::owners()).await,
                }
            });
        }
        let outcomes = going.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert_eq!(code(outcomes.into_iter().find(Result::is_err).context("one")?)?, "last_owner");
        let left = usize::from(app.organization_owner(&ada, &organization).await.is_ok())
            + usize::from(app.organization_owner(&bob, &organization).await.is_ok());
        assert_eq!(left, 1);
    }
    Ok(())
}

#[tokio::test]
async fn its_own_token_does_what_needs_no_person() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let right = organization(&world, &ada, "acme", &[&bob]).await?;
    organization(&world, &ada, "zoo", &[]).await?;
    repository(&world, &ada, "zoo", "secret").await?;
    repository(&world, &ada, "ada", "own").await?;
    let made = world.app.create_organization_token(&right, &wish("repo:admin build:write account")).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    assert_eq!(bearer.account().name.as_str(), "acme");
    let acme = name("acme")?;
    let own = world.app.organization_owner(&bearer, &acme).await?;
    let web = repository(&world, &bearer, "acme", "web").await?;
    let crew = world.app.create_team(&own, "crew", "").await?;
    world.app.add_team_member(&own, &crew.name, &bob.account().name).await?;
    world.app.set_team_permission(&own, &crew.name, &"web".parse()?, slipway_model::Permission::Read).await?;
    assert_eq!(world.app.repository_owner(&bearer, &acme, &"web".parse()?).await?.repository().id, web);
    // Elsewhere it is a stranger, also where its maker is none.
    is_missing(world.app.repository_read(&bearer, &name("zoo")?, &"secret".parse()?).await)?;
    is_missing(world.app.repository_read(&bearer, &name("ada")?, &"own".parse()?).await)?;
    is_missing(world.app.organization_member(&bearer, &name("zoo")?).await)?;
    let owners = TeamName::owners();
    for refused in [
        code(rename(&world, &own, "north").await)?,
        code(world.app.delete_organization(&own, "acme").await)?,
        code(world.app.add_team_member(&own, &owners, &bob.account().name).await)?,
        code(world.app.remove_team_member(&own, &owners, &bob.account().name).await)?,
        code(world.app.remove_member(&own, &bob.account().name).await)?,
        code(world.app.create_organization_token(&own, &wish("repo:read")).await)?,
        code(world.app.list_organization_tokens(&own).await)?,
        code(world.app.revoke_organization_token(&own, made.id).await)?,
        code(world.app.create_organization(&bearer, "more", "").await)?,
        code(world.app.create_token(&bearer, &wish("repo:read")).await)?,
        code(world.app.list_tokens(&bearer).await)?,
        code(world.app.preview_conversion(&bearer).await)?,
        code(world.app.delete_account(&bearer, "acme", None).await)?,
        code(world.app.update_account(&bearer, "x").await)?,
    ] {
        assert_eq!(refused, "needs_a_person");
    }
    assert_eq!(world.app.list_members(&right, None, 10).await?.len(), 2, "nobody was removed");
    let listed = world.app.list_organization_tokens(&right).await?;
    assert_eq!((listed.len(), listed[0].created_by.as_deref(), listed[0].token.id), (1, Some("ada"), made.id));
    let told = log(&world, &ada, "acme").await?;
    let entry = told.iter().find(|entry| entry.action == "team.create").context("written")?;
    assert_eq!((entry.actor.as_str(), entry.via.as_str()), ("acme", "token `ci`"));
    // Another organization's owner does not reach it, its own revokes it at once.
    let zoo = owner(&world, &ada, "zoo").await?;
    is_missing(world.app.revoke_organization_token(&zoo, made.id).await)?;
    is_missing(world.app.revoke_token(&ada, made.id).await)?;
    world.app.revoke_organization_token(&right, made.id).await?;
    assert!(!world.app.still_stands(&bearer).await?);
    Ok(())
}

/// What was given for an account or repository before it went.
struct Credentials {
    session: Option<slipway_model::SecretToken>,
    token: slipway_model::SecretToken,
    caller: Caller,
    registry: String,
}

async fn registry_token(app: &App, user: &str, token: &slipway_model::SecretToken, path: &str) -> Result<String> {
    let password: SecretString = token.expose().to_owned().into();
    let bearer = app.registry_caller(user, &password, "").await?.context("name and token fit")?;
    let grant = app.registry_grant(&bearer, path, &[RegistryAction::Pull, RegistryAction::Push]).await?;
    Ok(app.issue_registry_token(&bearer, grant.into_iter().collect())?.token.expose_secret().to_owned())
}

impl Credentials {
    /// Nothing of it opens anything.
    async fn are_worth_nothing(&self, app: &App, user: &AccountName, now: RepositoryId) -> Result<()> {
        if let Some(session) = &self.session {
            ensure!(app.caller_by_session(session, "").await?.is_none(), "a session lives on");
        }
        ensure!(app.caller_by_token(&self.token, "").await?.is_none(), "a token lives on");
        ensure!(!app.still_stands(&self.caller).await?, "a stream lives on");
        let password: SecretString = self.token.expose().to_owned().into();
        ensure!(app.registry_caller(user.as_str(), &password, "").await?.is_none(), "the registry lets it in");
        self.reaches_not(app, now).await
    }

    async fn reaches_not(&self, app: &App, repository: RepositoryId) -> Result<()> {
        if let Some(access) = app.registry_access(&self.registry).await? {
            for action in [RegistryAction::Pull, RegistryAction::Push] {
                ensure!(!app.registry_allows(&access, repository, action).await?, "a registry token lives on");
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_account_of_a_name_that_was_somebodys_inherits_nothing() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    // A user.
    world.repository(&bob, "web").await?;
    let token = world.app.create_token(&bob, &wish("repo:admin account")).await?.secret;
    let session = enter(&world.app, "bob", PASSWORD, &client()).await?.token;
    let registry = registry_token(&world.app, "bob", &token, "bob/web").await?;
    let of_bob = Credentials { session: Some(session), caller: world.bearer(token.expose()).await?, token, registry };
    let right = organization(&world, &ada, "acme", &[]).await?;
    let crew = world.app.create_team(&right, "crew", "").await?;
    world.app.add_team_member(&right, &crew.name, &bob.account().name).await?;
    let web = repository(&world, &ada, "acme", "web").await?;
    world.app.set_team_permission(&right, &crew.name, &"web".parse()?, slipway_model::Permission::Admin).await?;
    world.app.delete_account(&bob, "bob", Some(&secret(PASSWORD))).await?;
    let again = world.person("bob").await?;
    assert_ne!(again.account().id, bob.account().id);
    let theirs = world.repository(&again, "web").await?.repository().id;
    of_bob.are_worth_nothing(&world.app, &again.account().name, theirs).await?;
    is_missing(world.app.repository_read(&again, &name("acme")?, &"web".parse()?).await)?;
    is_missing(world.app.repository_read(&bob, &name("acme")?, &"web".parse()?).await)?;
    is_missing(world.app.repository_read(&bob, &name("bob")?, &"web".parse()?).await)?;
    assert!(world.app.list_tokens(&again).await?.is_empty());
    // An organization.
    let token = world.app.create_organization_token(&right, &wish("repo:admin account")).await?.secret;
    let registry = registry_token(&world.app, "acme", &token, "acme/web").await?;
    let of_acme = Credentials { session: None, caller: world.bearer(token.expose()).await?, token, registry };
    let personal = world.app.create_token(&ada, &wish("repo:write")).await?.secret;
    let of_ada = registry_token(&world.app, "ada", &personal, "acme/web").await?;
    world.app.delete_organization(&right, "acme").await?;
    let eve = world.person("eve").await?;
    organization(&world, &eve, "acme", &[]).await?;
    let theirs = repository(&world, &eve, "acme", "web").await?;
    assert_ne!(theirs, web);
    of_acme.are_worth_nothing(&world.app, &name("acme")?, theirs).await?;
    let of_ada = Credentials { registry: of_ada, ..of_acme };
    of_ada.reaches_not(&world.app, theirs).await?;
    is_missing(world.app.organization_member(&ada, &name("acme")?).await)?;
    // The right from before is over the organization that is gone, not over the one of its name.
    is_missing(world.app.update_organization(&right, &OrganizationChange { display_name: Some("mine".into()), name: None }).await)?;
    assert_eq!(owner(&world, &eve, "acme").await?.account().display_name, "acme");
    Ok(())
}

#[tokio::test]
async fn a_repository_of_a_name_that_was_another_inherits_nothing() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let right = organization(&world, &ada, "acme", &[]).await?;
    let crew = world.app.create_team(&right, "crew", "").await?;
    world.app.add_team_member(&right, &crew.name, &bob.account().name).await?;
    let path = (name("acme")?, "web".parse()?);
    repository(&world, &ada, "acme", "web").await?;
    world.app.set_team_permission(&right, &crew.name, &path.1, slipway_model::Permission::Write).await?;
    let limited = TokenWish { repositories: Some(vec!["acme/web".into()]), ..wish("repo:write") };
    let token = world.app.create_token(&bob, &limited).await?.secret;
    let bearer = world.bearer(token.expose()).await?;
    let registry = registry_token(&world.app, "bob", &token, "acme/web").await?;
    world.app.repository_push(&bearer, &path.0, &path.1).await?;
    world.app.delete_repository(&world.app.repository_owner(&ada, &path.0, &path.1).await?).await?;
    let again = repository(&world, &ada, "acme", "web").await?;
    Credentials { session: None, token: token.clone(), caller: bearer.clone(), registry }.reaches_not(&world.app, again).await?;
    is_missing(world.app.repository_read(&bob, &path.0, &path.1).await)?;
    // Also with the permission given anew: the token named the one that is gone.
    world.app.set_team_permission(&right, &crew.name, &path.1, slipway_model::Permission::Write).await?;
    world.app.repository_push(&bob, &path.0, &path.1).await?;
    is_missing(world.app.repository_read(&bearer, &path.0, &path.1).await)?;
    let listed = world.app.list_tokens(&bob).await?;
    assert_eq!(listed[0].repositories.as_deref(), Some(&[][..]), "it stays limited, to nothing");
    Ok(())
}
