//! Registry tokens: bound to repository and credential, signed by us alone.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use slipway_app::{BuilderOutcome, RegistryAction, RegistryCaller, RepositoryOwner, TokenWish};
use slipway_model::{FailureCode, FailureReason, RepositoryId, Scope, ScopeSet, Visibility};

use crate::world::{World, commit};

const ALL: [RegistryAction; 3] = [RegistryAction::Pull, RegistryAction::Push, RegistryAction::Delete];

fn wish(scopes: &[Scope]) -> TokenWish {
    TokenWish { name: "test".into(), scopes: ScopeSet::new(scopes.iter().copied()), repositories: None, expires_at: None }
}

async fn token(world: &World, caller: &RegistryCaller, name: &str) -> Result<String> {
    let grant = world.app.registry_grant(caller, name, &ALL).await?;
    Ok(world.app.issue_registry_token(caller, grant.into_iter().collect())?.token.expose_secret().to_owned())
}

async fn allowed(world: &World, token: &str, repository: RepositoryId) -> Result<Vec<RegistryAction>> {
    let access = world.app.registry_access(token).await?;
    let mut allowed = Vec::new();
    for action in ALL {
        if let Some(access) = &access
            && world.app.registry_allows(access, repository, action).await?
        {
            allowed.push(action);
        }
    }
    Ok(allowed)
}

#[tokio::test]
async fn a_token_dies_with_its_credential_and_with_its_repository() -> Result<()> {
    let world = World::new().await?;
    let caller = world.person("demo").await?;
    let right = world.repository(&caller, "hello").await?;
    let made = world.app.create_token(&caller, &wish(&[Scope::RepoWrite])).await?;
    let password: SecretString = made.secret.expose().to_owned().into();
    let person = world.app.registry_caller("demo", &password, "127.0.0.1").await?.context("name and token fit")?;
    assert!(world.app.registry_caller("else", &password, "127.0.0.1").await?.is_none(), "the name counts too");
    assert!(world.app.registry_caller("demo", &"wrong".to_owned().into(), "127.0.0.1").await?.is_none());

    let id = right.repository().id;
    let jwt = token(&world, &person, "demo/hello").await?;
    assert_eq!(allowed(&world, &jwt, id).await?, ALL);
    world.wait(301);
    assert!(allowed(&world, &jwt, id).await?.is_empty(), "five minutes are over");

    let jwt = token(&world, &person, "demo/hello").await?;
    let owner: RepositoryOwner = world.app.repository_owner(&caller, &caller.account().name, &"hello".parse()?).await?;
    world.app.delete_repository(&owner).await?;
    let again = world.repository(&caller, "hello").await?;
    assert!(allowed(&world, &jwt, again.repository().id).await?.is_empty(), "a repository of the same name is another one");

    let jwt = token(&world, &person, "demo/hello").await?;
    world.app.revoke_token(&caller, made.id).await?;
    assert!(allowed(&world, &jwt, again.repository().id).await?.is_empty(), "revoked");
    assert!(world.app.registry_caller("demo", &password, "127.0.0.1").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn strangers_see_public_repositories_only_and_scopes_narrow() -> Result<()> {
    let world = World::new().await?;
    let (demo, eve) = (world.person("demo").await?, world.person("eve").await?);
    let private = world.repository(&demo, "private").await?;
    let public = world.app.create_repository(&world.namespace(&demo).await?, "public", "", Visibility::Public).await?;
    let anonymous = RegistryCaller::anonymous();
    assert_eq!(world.app.registry_grant(&anonymous, "demo/private", &ALL).await?, None);
    assert_eq!(world.app.registry_grant(&anonymous, "demo/nothing", &ALL).await?, None);
    assert_eq!(world.app.registry_grant(&anonymous, "../../etc", &ALL).await?, None);
    assert_eq!(world.app.registry_grant(&anonymous, "demo/public", &ALL).await?.context("public")?.actions, [RegistryAction::Pull]);

    let made = world.app.create_token(&eve, &wish(Scope::ALL)).await?;
    let eve = world.app.registry_caller("eve", &made.secret.expose().to_owned().into(), "").await?.context("eve")?;
    assert_eq!(world.app.registry_grant(&eve, "demo/private", &ALL).await?, None);
    let jwt = token(&world, &eve, "demo/public").await?;
    assert_eq!(allowed(&world, &jwt, public.id).await?, [RegistryAction::Pull]);
    assert!(allowed(&world, &jwt, private.repository().id).await?.is_empty());

    let made = world.app.create_token(&demo, &wish(&[Scope::RepoRead])).await?;
    let reader = world.app.registry_caller("demo", &made.secret.expose().to_owned().into(), "").await?.context("demo")?;
    assert_eq!(world.app.registry_grant(&reader, "demo/private", &ALL).await?.context("own")?.actions, [RegistryAction::Pull]);
    Ok(())
}

#[tokio::test]
async fn a_build_pushes_to_its_own_repository_while_it_holds_its_lease() -> Result<()> {
    let world = World::new().await?;
    let (caller, right) = world.ready().await?;
    let sibling = world.repository(&caller, "base").await?;
    let eve = world.person("eve").await?;
    let foreign = world.repository(&eve, "secret").await?;
    world.push(&right, &commit('1'), &commit('2')).await?;
    let builder = world.builder("one").await?;
    let claimed = world.app.claim(&builder).await?.context("a build")?;
    let password: SecretString = claimed.registry_token.expose().to_owned().into();
    let build = world.app.registry_caller("slipway-build", &password, "").await?.context("the build's credential")?;
    let own = token(&world, &build, "demo/hello").await?;
    assert_eq!(allowed(&world, &own, right.repository().id).await?, [RegistryAction::Pull, RegistryAction::Push]);
    assert_eq!(allowed(&world, &token(&world, &build, "demo/base").await?, sibling.repository().id).await?, [RegistryAction::Pull]);
    assert!(allowed(&world, &token(&world, &build, "eve/secret").await?, foreign.repository().id).await?.is_empty());

    let reason = FailureReason::new(FailureCode::StepFailed, "no");
    world
        .app
        .finish(&builder, claimed.build.id, 1, &BuilderOutcome::Failed(reason))
        .await?
        .map_err(|fenced| anyhow::anyhow!(fenced.detail))?;
    assert!(allowed(&world, &own, right.repository().id).await?.is_empty(), "the build has ended");
    assert!(world.app.registry_caller("slipway-build", &password, "").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn tokens_that_we_did_not_sign_are_nothing() -> Result<()> {
    let world = World::new().await?;
    let jwt = token(&world, &RegistryCaller::anonymous(), "demo/none").await?;
    assert!(world.app.registry_access(&jwt).await?.is_some());
    let parts: Vec<&str> = jwt.split('.').collect();
    let header = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let forged = [
        String::new(),
        "a.b.c".into(),
        format!("{}.{}.", header(r#"{"alg":"none"}"#), parts[1]),
        format!("{}.{}.{}", header(r#"{"alg":"none"}"#), parts[1], parts[2]),
        format!("{}.{}.{}", header(r#"{"alg":"HS512"}"#), parts[1], parts[2]),
        format!("{}.{}.{}", header(r#"{"alg":"RS256","jwk":{"kty":"oct","k":"AA"}}"#), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(r#"{"exp":99999999999}"#), parts[2]),
        format!("{jwt}x"),
    ];
    for token in forged {
        assert!(world.app.registry_access(&token).await?.is_none(), "{token}");
    }
    Ok(())
}
