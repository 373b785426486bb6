//! Access tokens with their limits and ends, and the audit log: a row for every change, never a secret.

use std::time::Duration;

use anyhow::{Context as _, Result};
use slipway_app::{AuditEntry, AuditFilter, Caller, NewToken, OrganizationChange, TeamChange, TokenWish};
use slipway_model::{AuditId, Permission, RepositoryName, Scope, Timestamp, TokenId, Visibility};

use crate::organizations::{is_missing, log, organization, owner, repository, wish};
use crate::sign_in::{PASSWORD, code, name, refusal, secret};
use crate::world::{World, client};

fn limited(scopes: &str, repositories: &[&str]) -> TokenWish {
    TokenWish { repositories: Some(repositories.iter().map(|path| (*path).to_owned()).collect()), ..wish(scopes) }
}

#[tokio::test]
async fn a_limited_token_works_for_what_it_names() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    world.repository(&ada, "web").await?;
    world.repository(&ada, "api").await?;
    organization(&world, &ada, "acme", &[]).await?;
    repository(&world, &ada, "acme", "shop").await?;
    let open = world.app.namespace(&ada, &name("ada")?, Scope::RepoAdmin).await?;
    world.app.create_repository(&open, "open", "", Visibility::Public).await?;
    world.repository(&bob, "secret").await?;
    let made = world.app.create_token(&ada, &limited("repo:admin build:write", &["ada/web", "acme/shop"])).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    let (app, me, acme) = (&world.app, name("ada")?, name("acme")?);
    let at = |text: &str| text.parse::<RepositoryName>();
    app.repository_owner(&bearer, &me, &at("web")?).await?;
    app.repository_owner(&bearer, &acme, &at("shop")?).await?;
    // Everything else looks as it does to a stranger.
    for (namespace, repository) in [(&me, "api"), (&name("bob")?, "secret"), (&me, "nothing")] {
        is_missing(app.repository_view(Some(&bearer), namespace, &at(repository)?).await)?;
        is_missing(app.repository_read(&bearer, namespace, &at(repository)?).await)?;
        is_missing(app.repository_owner(&bearer, namespace, &at(repository)?).await)?;
    }
    app.repository_view(Some(&bearer), &me, &at("open")?).await?;
    is_missing(app.repository_read(&bearer, &me, &at("open")?).await)?;
    let seen = app.list_repositories(&app.namespace_view(Some(&bearer), &me).await?, None, 10).await?;
    assert_eq!(seen.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["open", "web"]);
    let seen = app.list_repositories(&app.namespace_view(Some(&bearer), &acme).await?, None, 10).await?;
    assert_eq!(seen.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["shop"]);
    // What concerns a whole namespace or account is refused.
    for refused in [
        code(app.namespace(&bearer, &me, Scope::RepoAdmin).await)?,
        code(app.namespace(&bearer, &acme, Scope::RepoAdmin).await)?,
        code(app.search_repositories(&bearer, "a", 10).await)?,
    ] {
        assert_eq!(refused, "token_limited");
    }
    for refused in [
        code(app.organization_owner(&bearer, &acme).await)?,
        code(app.audit_reader(&bearer, &me).await)?,
        code(app.list_organizations(&bearer).await)?,
        code(app.create_organization(&bearer, "more", "").await)?,
        code(app.create_token(&bearer, &wish("repo:read")).await)?,
        code(app.list_tokens(&bearer).await)?,
        code(app.revoke_token(&bearer, made.id).await)?,
    ] {
        assert!(["scope_missing", "token_limited"].contains(&refused), "{refused}");
    }
    // A right that the person loses, the token loses.
    let right = owner(&world, &ada, "acme").await?;
    app.add_team_member(&right, &slipway_model::TeamName::owners(), &bob.account().name).await?;
    app.leave_team(&ada, &acme, &slipway_model::TeamName::owners()).await?;
    is_missing(app.repository_read(&bearer, &acme, &at("shop")?).await)?;
    let listed = app.list_tokens(&ada).await?;
    assert_eq!(listed[0].repositories.as_deref(), Some(&["acme/shop".to_owned(), "ada/web".to_owned()][..]));
    Ok(())
}

#[tokio::test]
async fn a_wish_that_cannot_be_is_refused_by_its_field() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    world.repository(&ada, "web").await?;
    world.repository(&bob, "secret").await?;
    let now = world.clock.now();
    let many: Vec<&str> = std::iter::repeat_n("ada/web", 101).collect();
    let named = |text: &str| TokenWish { name: text.into(), ..wish("repo:read") };
    let ends = |at: Timestamp| TokenWish { expires_at: Some(at), ..wish("repo:read") };
    for (wish, code, field) in [
        (named(""), "token_name", "name"),
        (named(&"x".repeat(101)), "token_name", "name"),
        (named("a\nb"), "token_name", "name"),
        (named("a\0b"), "token_name", "name"),
        (wish(""), "token_scopes", "scopes"),
        (ends(now), "token_expiry", "expires_at"),
        (ends(Timestamp::from_millis(-1)), "token_expiry", "expires_at"),
        (limited("repo:read", &[]), "token_repositories", "repositories"),
        (limited("repo:read", &many), "token_repositories", "repositories"),
        (limited("repo:read account", &["ada/web"]), "token_repositories", "repositories"),
        (limited("repo:read", &["ada/web", "ada/nothing"]), "no_such_repository", "repositories[1]"),
        // What somebody may not see is not there.
        (limited("repo:read", &["bob/secret"]), "no_such_repository", "repositories[0]"),
        (limited("repo:read", &["no path"]), "repository", "repositories[0]"),
        (limited("repo:read", &["../../etc"]), "repository", "repositories[0]"),
        (limited("repo:read", &[&"x".repeat(100_000)]), "repository", "repositories[0]"),
    ] {
        let refused = refusal(world.app.create_token(&ada, &wish).await)?;
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            (code, Some(field)),
            "{}",
            refused.detail.chars().take(200).collect::<String>()
        );
        assert!(refused.detail.len() < 400, "a megabyte is not sent back");
    }
    assert!(world.app.list_tokens(&ada).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_token_ends_and_gives_no_more_than_it_has() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let ends = TokenWish { expires_at: Some(world.clock.now().plus(Duration::from_secs(60))), ..wish("account repo:read") };
    let made = world.app.create_token(&ada, &ends).await?;
    let bearer = world.bearer(made.secret.expose()).await?;
    assert_eq!(code(world.app.create_token(&bearer, &wish("repo:read repo:write")).await)?, "scope_missing");
    assert_eq!(code(world.app.create_token(&bearer, &wish("build:write")).await)?, "scope_missing");
    let shorter = TokenWish { scopes: "repo:read".parse().expect("scopes"), ..ends };
    world.app.create_token(&bearer, &shorter).await?;
    organization(&world, &ada, "acme", &[]).await?;
    let through = owner(&world, &bearer, "acme").await?;
    assert_eq!(code(world.app.create_organization_token(&through, &wish("repo:admin")).await)?, "scope_missing");
    world.app.create_organization_token(&through, &shorter).await?;
    world.wait(59);
    assert!(world.app.still_stands(&bearer).await?);
    world.wait(1);
    assert!(!world.app.still_stands(&bearer).await?, "at its end");
    assert!(world.app.caller_by_token(&made.secret, "").await?.is_none());
    // Used when and from where, shown to its owner alone.
    let listed = world.app.list_tokens(&ada).await?;
    let used = listed.iter().find(|view| view.token.id == made.id).context("listed until it is revoked")?;
    assert_eq!((used.token.last_used_from.as_deref(), used.created_by.as_deref()), (Some("127.0.0.1"), Some("ada")));
    assert_eq!(used.token.last_used_at, Some(world.clock.now().minus(Duration::from_secs(60))));
    assert!(world.app.list_tokens(&bob).await?.is_empty());
    is_missing(world.app.revoke_token(&bob, made.id).await)?;
    is_missing(world.app.revoke_token(&ada, TokenId::new()).await)?;
    world.app.revoke_token(&ada, made.id).await?;
    is_missing(world.app.revoke_token(&ada, made.id).await)?;
    Ok(())
}

/// Every change that people make to themselves, organizations, teams and tokens, once.
async fn change_everything(world: &World, ada: &Caller, bob: &Caller) -> Result<Vec<NewToken>> {
    let app = &world.app;
    let right = organization(world, ada, "acme", &[bob]).await?;
    let crew = app.create_team(&right, "crew", "first").await?;
    let ship = app.update_team(&right, &crew.name, &TeamChange { name: Some("ship".into()), description: None }).await?;
    app.add_team_member(&right, &ship.name, &bob.account().name).await?;
    repository(world, ada, "acme", "web").await?;
    let path = (name("acme")?, "web".parse()?);
    app.set_team_permission(&right, &ship.name, &path.1, Permission::Read).await?;
    app.set_team_permission(&right, &ship.name, &path.1, Permission::Admin).await?;
    app.remove_team_permission(&right, &ship.name, &path.1).await?;
    app.remove_team_member(&right, &ship.name, &bob.account().name).await?;
    app.delete_team(&right, &ship.name).await?;
    app.leave_team(bob, &path.0, &slipway_model::TeamName::owners()).await?;
    let of_acme = app.create_organization_token(&right, &limited("repo:read", &["acme/web"])).await?;
    app.revoke_organization_token(&right, of_acme.id).await?;
    app.update_organization(&right, &OrganizationChange { name: Some("north".into()), display_name: Some("North".into()) }).await?;
    let admin = app.repository_admin(ada, &path.0, &path.1).await?;
    app.update_repository(&admin, Some("text"), Some(Visibility::Public)).await?;
    app.delete_repository(&app.repository_owner(ada, &path.0, &path.1).await?).await?;
    let personal = app.create_token(ada, &wish("repo:read")).await?;
    app.revoke_token(ada, personal.id).await?;
    app.update_account(ada, "Ada L.").await?;
    app.change_password(ada, &secret(PASSWORD), &secret("battery staple"), &client()).await?;
    Ok(vec![of_acme, personal])
}

#[tokio::test]
async fn every_change_is_told_and_no_secret_is() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let root = world.administrator("root").await?;
    let made = change_everything(&world, &ada, &bob).await?;
    let actions = |entries: &[AuditEntry]| entries.iter().map(|entry| entry.action.clone()).collect::<Vec<_>>();
    let told = log(&world, &root, "north").await?;
    assert_eq!(
        actions(&told),
        [
            "organization.create",
            "member.add",
            "team.create",
            "team.change",
            "member.add",
            "repository.create",
            "team_repository.set",
            "team_repository.set",
            "team_repository.remove",
            "member.remove",
            "team.delete",
            "member.leave",
            "token.create",
            "token.revoke",
            "organization.change",
            "organization.rename",
            "repository.change",
            "repository.delete",
        ]
    );
    let mine = log(&world, &root, "ada").await?;
    let wanted = ["token.create", "token.revoke", "account.change", "account.password"];
    assert_eq!(actions(&mine).into_iter().filter(|action| !action.starts_with("session.")).collect::<Vec<_>>(), wanted);
    for entry in told.iter().chain(&mine) {
        let who = if entry.action == "member.leave" { "bob" } else { "ada" };
        assert_eq!((entry.actor.as_str(), entry.at), (who, world.clock.now()), "{entry:?}");
        assert!(["session", "sign-in"].contains(&entry.via.as_str()) && entry.address == "127.0.0.1", "{entry:?}");
    }
    let permissions: Vec<_> = told.iter().filter(|entry| entry.action == "team_repository.set").collect();
    let values = |entry: &AuditEntry| {
        (entry.old.as_ref().map(|old| old["permission"].clone()), entry.new.as_ref().map(|new| new["permission"].clone()))
    };
    assert_eq!(values(permissions[0]), (Some(serde_json::Value::Null), Some("read".into())));
    assert_eq!(values(permissions[1]), (Some("read".into()), Some("admin".into())));
    // No secret, in whatever form, anywhere in any log.
    let whole = world.app.list_audit(&world.app.installation_audit(&root)?, &AuditFilter::default(), None, 500).await?;
    assert!(whole.len() > told.len() + mine.len());
    let text = format!("{whole:?}");
    for new in &made {
        assert!(!text.contains(new.secret.expose()) && !text.contains(&new.secret.hash().to_hex()));
    }
    for word in [PASSWORD, "battery staple", "argon2", "slp_", "sls_"] {
        assert!(!text.contains(word), "`{word}` is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_log_is_filtered_and_read_by_pages() -> Result<()> {
    let world = World::new().await?;
    let (ada, bob) = (world.person("ada").await?, world.person("bob").await?);
    let right = organization(&world, &ada, "acme", &[&bob]).await?;
    for number in 0..7 {
        world.wait(10);
        world.app.create_team(&right, &format!("team-{number}"), "").await?;
    }
    let of_bob = owner(&world, &bob, "acme").await?;
    world.app.delete_team(&of_bob, &"team-3".parse()?).await?;
    let reader = world.app.audit_reader(&bob, &name("acme")?).await?;
    let read = async |filter: AuditFilter| {
        let mut seen: Vec<AuditEntry> = Vec::new();
        loop {
            let page = world.app.list_audit(&reader, &filter, seen.last().map(|entry| entry.id), 2).await?;
            if page.is_empty() {
                return anyhow::Ok(seen);
            }
            assert!(page.len() <= 2);
            seen.extend(page);
        }
    };
    let all = AuditFilter::default();
    let seen = read(all.clone()).await?;
    assert_eq!(seen.len(), 10);
    assert!(seen.windows(2).all(|pair| pair[0].id > pair[1].id && pair[0].at >= pair[1].at), "newest first");
    let count = async |filter| anyhow::Ok(read(filter).await?.len());
    assert_eq!(count(AuditFilter { action: Some("team".into()), ..all.clone() }).await?, 8);
    assert_eq!(count(AuditFilter { action: Some("team.delete".into()), ..all.clone() }).await?, 1);
    assert_eq!(count(AuditFilter { actor: Some("bob".into()), ..all.clone() }).await?, 1);
    assert_eq!(count(AuditFilter { object: Some("team-3".into()), ..all.clone() }).await?, 2);
    assert_eq!(count(AuditFilter { object: Some("team-%".into()), ..all.clone() }).await?, 0);
    let now = world.clock.now();
    let since = AuditFilter { since: Some(now.minus(Duration::from_secs(20))), ..all.clone() };
    assert_eq!(count(since).await?, 4);
    assert_eq!(count(AuditFilter { until: Some(now), ..all.clone() }).await?, 8);
    for filter in [
        AuditFilter { actor: Some("x".repeat(201)), ..all.clone() },
        AuditFilter { action: Some("x".repeat(201)), ..all.clone() },
        AuditFilter { object: Some("🦀".repeat(201)), ..all.clone() },
    ] {
        let refused = refusal(world.app.list_audit(&reader, &filter, None, 10).await)?;
        assert!(refused.code == "filter" && refused.field.is_some() && refused.detail.contains("201"), "{refused:?}");
    }
    assert!(world.app.list_audit(&reader, &all, Some("00000000-0000-0000-0000-000000000000".parse::<AuditId>()?), 10).await?.is_empty());
    Ok(())
}
