//! A link's life at the real Gitea: granting, seeing, renaming, refreshing, revoking.

use slipway_forge::{ForgeError, NamespaceKind, SourceKey, SourceRepository};
use slipway_model::{AccessLevel, NamespaceAccess};
use slipway_testkit::gitea::{Contents, RefreshTokens, Role, Settings};
use slipway_testkit::github::Visibility;

use crate::{VERIFIER, World, secret};

fn names(repositories: &[SourceRepository]) -> Vec<&str> {
    repositories.iter().map(|repository| repository.full_name.as_str()).collect()
}

#[tokio::test]
async fn a_grant_is_what_was_asked_for_and_belongs_to_the_person() {
    let world = World::new().await;
    let back = world.approve("octo", AccessLevel::Full).await;
    let refused = world.exchange(&back, "another-verifier-another-verifier-another-verifier").await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Refused { code, .. } if code == "unauthorized_client"), "{refused}");

    // A wrong verifier does not use up the code, but its first use does.
    let grant = world.exchange(&back, VERIFIER).await.unwrap();
    let again = world.exchange(&back, VERIFIER).await.unwrap_err();
    assert!(matches!(&again, ForgeError::Refused { .. }), "{again}");
    let offer = world.offer(AccessLevel::Full);
    assert_eq!(grant.scopes, offer.scopes);
    assert!(world.client.missing_scopes(offer, &grant.scopes).is_empty());
    assert_eq!(grant.expires_in.unwrap().as_secs(), 3600);
    assert!(grant.refresh_token.is_some());
    let person = world.client.person(&grant.access_token).await.unwrap();
    assert_eq!((person.login.as_str(), person.scopes.as_slice()), ("octo", grant.scopes.as_slice()));
    assert!(person.id.parse::<u64>().is_ok() && person.avatar_url.is_some());

    // Whoever granted before is sent back with the old grant, whatever is asked for; we see what it is.
    let smaller = world.grant("octo", AccessLevel::ReadOnly).await;
    assert_eq!(smaller.scopes, offer.scopes);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_revoked_grant_is_told_as_such() {
    let world = World::with(Settings { refresh_tokens: RefreshTokens::Rotating, ..Settings::default() }).await;
    let first = world.grant("octo", AccessLevel::Full).await;
    let first_refresh = first.refresh_token.unwrap();
    let second = world.client.refresh(&first_refresh).await.unwrap();
    assert_eq!(second.scopes, first.scopes);
    let second_refresh = second.refresh_token.unwrap();
    assert_ne!(secret(&second_refresh), secret(&first_refresh));
    let invalid = |error: ForgeError| assert!(matches!(&error, ForgeError::Refused { code, .. } if code == "invalid_grant"), "{error}");
    invalid(world.client.refresh(&first_refresh).await.unwrap_err());
    invalid(world.client.refresh(&"no token at all".into()).await.unwrap_err());

    let error = world.client.revoke_grant(&second.access_token).await.unwrap_err();
    let ForgeError::Unsupported { url, .. } = error else { panic!("{error}") };
    assert_eq!(url.unwrap().path(), "/user/settings/applications");
    world.gitea.revoke_grant("octo", &world.app.client_id).await.unwrap();
    let dead = world.client.person(&second.access_token).await.unwrap_err();
    assert!(matches!(dead, ForgeError::Unauthorized { .. }), "{dead}");
    let dead = world.client.heads(&second.access_token, "octo/hello", None).await.unwrap_err();
    assert!(matches!(dead, ForgeError::Unauthorized { .. }), "{dead}");
    invalid(world.client.refresh(&second_refresh).await.unwrap_err());
}

#[tokio::test]
async fn a_person_that_was_locked_out_is_suspended() {
    let world = World::new().await;
    let token = world.token().await;
    world.gitea.prohibit_login("octo").await.unwrap();
    let error = world.client.person(&token).await.unwrap_err();
    assert!(matches!(error, ForgeError::Suspended { .. }), "{error}");
}

#[tokio::test]
async fn namespaces_are_the_person_and_all_organizations() {
    let world = World::new().await;
    for number in 0..55 {
        world.gitea.organization(&format!("team-{number}"), "octo", Visibility::Public).await.unwrap();
    }
    let token = world.token().await;
    let namespaces = world.client.source_namespaces(&token).await.unwrap();
    assert_eq!((namespaces[0].name.as_str(), namespaces[0].kind), ("octo", NamespaceKind::User));
    assert_eq!(namespaces.len(), 57);
    assert!(namespaces[1..].iter().all(|one| one.kind == NamespaceKind::Organization && one.access == NamespaceAccess::Granted));
    assert!(namespaces.iter().any(|one| one.name == "acme") && namespaces.iter().any(|one| one.name == "team-54"));
}

#[tokio::test]
async fn repositories_are_listed_page_by_page_with_what_they_are() {
    let world = World::new().await;
    world.gitea.user("stranger").await.unwrap();
    world.gitea.repository("stranger/hidden", Visibility::Private, Contents::Empty).await.unwrap();
    world.gitea.repository("acme/site", Visibility::Private, Contents::FirstCommit).await.unwrap();
    for number in 0..60 {
        world.gitea.repository(&format!("octo/r{number}"), Visibility::Public, Contents::Empty).await.unwrap();
    }
    world.gitea.archive_repository("octo/r7").await.unwrap();
    let token = world.token().await;
    let first = world.client.source_repositories(&token, "octo", None).await.unwrap();
    let second = world.client.source_repositories(&token, "octo", first.next.as_deref()).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (50, 11, None));
    assert_eq!(names(&first.items)[..2], ["octo/hello", "octo/r0"]);
    assert_eq!(names(&second.items).last(), Some(&"octo/r59"));
    let all: Vec<SourceRepository> = first.items.into_iter().chain(second.items).collect();
    let archived: Vec<&str> = all.iter().filter(|one| one.archived).map(|one| one.full_name.as_str()).collect();
    assert_eq!(archived, ["octo/r7"]);
    assert_eq!(all.iter().filter(|one| one.private).count(), 1);
    let hello = &all[0];
    assert_eq!((hello.id.as_str(), hello.default_branch.as_str()), (world.hello.as_str(), "main"));
    assert_eq!(hello.web_url, world.front.origin.join("octo/hello").unwrap());

    let site = world.client.source_repositories(&token, "acme", None).await.unwrap();
    assert_eq!((names(&site.items), site.next), (vec!["acme/site"], None));
    let of_a_stranger = world.client.source_repositories(&token, "stranger", None).await.unwrap();
    assert!(of_a_stranger.items.is_empty());
    assert_eq!(world.client.source_repositories(&token, "nobody", None).await.unwrap_err(), ForgeError::NotFound);
    assert_eq!(world.client.source_repositories(&token, "../admin", None).await.unwrap_err(), ForgeError::NotFound);
    assert!(world.client.source_repositories(&token, "octo", Some("https://evil.example/")).await.is_err());
}

#[tokio::test]
async fn a_renamed_repository_is_followed_and_a_new_one_under_the_old_name_is_another() {
    let world = World::new().await;
    let token = world.token().await;
    let key = SourceKey { id: &world.hello, full_name: "octo/hello" };
    world.gitea.rename_repository("octo/hello", "world").await.unwrap();
    let by_name = world.client.source_repository(&token, "octo/hello").await.unwrap().unwrap();
    let by_id = world.client.source_repository_by_id(&token, key).await.unwrap().unwrap();
    assert_eq!((by_name.id.as_str(), by_name.full_name.as_str()), (world.hello.as_str(), "octo/world"));
    assert_eq!((by_id.id.as_str(), by_id.full_name.as_str()), (world.hello.as_str(), "octo/world"));

    world.gitea.transfer_repository("octo/world", "acme").await.unwrap();
    assert_eq!(world.client.source_repository_by_id(&token, key).await.unwrap().unwrap().full_name, "acme/world");
    world.gitea.rename_organization("acme", "umbrella").await.unwrap();
    assert_eq!(world.client.source_repository(&token, "acme/world").await.unwrap().unwrap().full_name, "umbrella/world");
    let heads = world.client.heads(&token, "acme/world", None).await;
    assert!(heads.is_ok(), "{heads:?}");

    let anew = world.gitea.repository("octo/hello", Visibility::Private, Contents::Empty).await.unwrap().to_string();
    assert_eq!(world.client.source_repository(&token, "octo/hello").await.unwrap().unwrap().id, anew);
    assert_eq!(world.client.source_repository_by_id(&token, key).await.unwrap().unwrap().full_name, "umbrella/world");
    world.gitea.delete_repository("umbrella/world").await.unwrap();
    assert_eq!(world.client.source_repository_by_id(&token, key).await.unwrap(), None);
    assert_eq!(world.client.source_repository(&token, "octo/none").await.unwrap(), None);
    assert_eq!(world.client.source_repository(&token, "octo/../../admin").await.unwrap(), None);
}

#[tokio::test]
async fn public_only_shows_nothing_private_and_read_only_writes_nothing() {
    let world = World::new().await;
    world.gitea.repository("octo/open", Visibility::Public, Contents::FirstCommit).await.unwrap();
    world.gitea.user("hubot").await.unwrap();
    world.gitea.add_member("acme", "hubot", Role::Admin).await.unwrap();
    world.gitea.repository("acme/site", Visibility::Private, Contents::FirstCommit).await.unwrap();

    let grant = world.grant("octo", AccessLevel::Public).await;
    let token = &grant.access_token;
    assert!(world.client.missing_scopes(world.offer(AccessLevel::Public), &grant.scopes).is_empty());
    assert!(!world.client.missing_scopes(world.offer(AccessLevel::Full), &grant.scopes).is_empty());
    assert_eq!(world.client.person(token).await.unwrap().login, "octo");
    assert!(world.client.source_repository(token, "octo/open").await.unwrap().is_some());
    let private = world.client.source_repository(token, "octo/hello").await.unwrap_err();
    assert!(matches!(private, ForgeError::Forbidden { .. }), "{private}");
    let namespaces = world.client.source_namespaces(token).await.unwrap();
    let acme = namespaces.iter().find(|one| one.name == "acme").unwrap();
    assert_eq!(acme.access, NamespaceAccess::Restricted);
    assert!(acme.grant_url.is_some() && acme.note.is_some());

    let grant = world.grant("hubot", AccessLevel::ReadOnly).await;
    let token = &grant.access_token;
    assert!(world.client.source_repository(token, "acme/site").await.unwrap().is_some());
    assert!(world.client.hooks(token, "acme/site").await.unwrap().is_empty());
    let error = world.client.ensure_deploy_key(token, "acme/site", "t", "ssh-ed25519 AAAA").await.unwrap_err();
    assert!(matches!(&error, ForgeError::MissingScope { scopes, .. } if scopes == &["write:repository"]), "{error}");
}

/// The user name is no secret and the token is the password, so that git prints neither.
#[tokio::test]
async fn git_clones_with_what_clone_access_says() {
    let world = World::new().await;
    let token = world.token().await;
    let access = world.client.clone_access("octo/hello", Some(&token));
    assert_eq!(access.url, world.front.origin.join("octo/hello.git").unwrap());
    let answer = slipway_testkit::http_client()
        .unwrap()
        .get(format!("{}/octo/hello.git/info/refs?service=git-upload-pack", world.gitea.web_url()))
        .basic_auth(access.username.unwrap(), Some(secret(&access.password.unwrap())))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(world.client.clone_access("octo/hello", None).password.is_none());
    assert_eq!(world.client.ssh_url("octo/hello"), None);
}
