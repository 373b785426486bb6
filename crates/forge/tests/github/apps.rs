//! Our application as a GitHub App: whose installations let us in, what their tokens can do, and what becomes of both.

use crate::world::*;
use secrecy::ExposeSecret;
use slipway_forge::{ForgeError, Fresh, HookSpec, NamespaceKind, open};
use slipway_model::NamespaceAccess;
use slipway_testkit::github::{CredentialKind, FakeGitHub, Fault, KeyMaker, NewGitHubApp, OrgRole, Times, Visibility};
use url::Url;

const ALL: &[(&str, &str)] = &[("contents", "read"), ("statuses", "write"), ("repository_hooks", "write"), ("administration", "write")];

fn minted(github: &FakeGitHub) -> usize {
    github.requests().iter().filter(|request| request.path.ends_with("/access_tokens") && request.status == 201).count()
}

#[tokio::test]
async fn a_person_links_without_scopes_and_the_token_ends() {
    let (github, app, client) = world_with_app(ALL).await;
    assert_eq!((client.offers().len(), client.offers()[0].scopes.len()), (1, 0));
    let grant = link(&github, &client, "octo").await;
    assert!(grant.refresh_token.is_some() && grant.expires_in.is_some(), "a GitHub App's tokens live for eight hours");
    let person = client.person(&grant.access_token).await.unwrap();
    assert!(person.scopes.is_empty() && client.missing_scopes(&client.offers()[0], &person.scopes).is_empty());
    let fresh = client.refresh(&grant.refresh_token.unwrap()).await.unwrap();
    assert!(matches!(client.person(&grant.access_token).await, Err(ForgeError::Unauthorized { .. })), "a refresh kills the old token");
    assert!(client.person(&fresh.access_token).await.is_ok());
    github.revoke_grant("octo", &app.client_id);
    assert!(matches!(client.probe(&fresh.access_token, None).await, Err(ForgeError::Unauthorized { .. })));
}

#[tokio::test]
async fn installations_are_what_lets_us_in() {
    let (github, app, client) = world_with_app(ALL).await;
    github.organization("zeta", &[("octo", OrgRole::Admin)]);
    let installation = github.install(&app.client_id, "acme", &["acme/site"]);
    github.repository("acme/hidden", Visibility::Private).await.unwrap();
    let token = token(&github, &client, "octo").await;
    let all = client.source_namespaces(&token).await.unwrap();
    let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.kind, one.access)).collect();
    let (open, shut) = (NamespaceAccess::Granted, NamespaceAccess::Restricted);
    let expected =
        [("octo", NamespaceKind::User, shut), ("acme", NamespaceKind::Organization, open), ("zeta", NamespaceKind::Organization, shut)];
    assert_eq!(seen, expected);
    let pages: Vec<_> = all.iter().map(|one| one.grant_url.clone().unwrap().as_str().replace(github.web_url(), "")).collect();
    let install =
        |login: &str| format!("/github-apps/{}/installations/new/permissions?suggested_target_id={}", app.slug, github.account_id(login));
    assert_eq!(pages, [install("octo"), format!("/organizations/acme/settings/installations/{installation}"), install("zeta")]);

    let page = client.source_repositories(&token, "acme", None).await.unwrap();
    assert_eq!(page.items.iter().map(|one| one.full_name.as_str()).collect::<Vec<_>>(), ["acme/site"], "only what was picked");
    let refused = client.source_repositories(&token, "zeta", None).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Restricted { organization: Some(name), grant_url: Some(_) } if name == "zeta"), "{refused:?}");

    github.suspend_installation(installation);
    let suspended = client.source_namespaces(&token).await.unwrap().remove(1);
    assert_eq!((suspended.name.as_str(), suspended.access), ("acme", NamespaceAccess::Restricted));
    assert!(suspended.note.unwrap().contains("suspended"));
    assert!(matches!(client.source_repositories(&token, "acme", None).await, Err(ForgeError::Suspended { .. })));
    github.uninstall(installation);
    let gone = client.source_namespaces(&token).await.unwrap();
    assert!(gone.iter().all(|one| one.access == NamespaceAccess::Restricted), "{gone:?}");
}

#[tokio::test]
async fn an_installations_token_reaches_one_repository_and_is_kept_for_a_while() {
    let (github, app, client) = world_with_app(ALL).await;
    github.repository("acme/other", Visibility::Private).await.unwrap();
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let id = github.repository_id("acme/site").to_string();
    let site = source(&id, "acme/site");
    let manage = client.repository_token(&person, site).await.unwrap();
    assert!(manage.expose_secret().starts_with("ghs_"));
    assert_eq!(client.repository_token(&person, site).await.unwrap().expose_secret(), manage.expose_secret());
    assert_eq!(minted(&github), 1);

    let url: Url = "http://127.0.0.1:9/hooks/github/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    client.ensure_hook(&manage, "acme/site", &hook).await.unwrap();
    client.ensure_deploy_key(&manage, "acme/site", "t", &public_key(1)).await.unwrap();
    assert_eq!(github.deploy_keys("acme/site")[0].maker, KeyMaker::GitHubApp(app.client_id.clone()), "it outlives the link");
    assert!(matches!(client.heads(&manage, "acme/site", None).await, Ok(Fresh::Changed { .. })));
    assert_eq!(client.source_repository(&manage, "acme/other").await, Ok(None), "no other repository");

    let clone = client.clone_token(&person, site).await.unwrap();
    assert_ne!(clone.expose_secret(), manage.expose_secret());
    assert!(matches!(client.heads(&clone, "acme/site", None).await, Ok(Fresh::Changed { .. })));
    for refused in [
        client.ensure_hook(&clone, "acme/site", &hook).await.map(drop),
        client.ensure_deploy_key(&clone, "acme/site", "t", &public_key(2)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ForgeError::Forbidden { .. } | ForgeError::MissingScope { .. })), "{refused:?}");
    }
    let as_installation = github.requests().iter().filter(|request| request.credential == CredentialKind::Installation).count();
    assert!(as_installation >= 5);
}

/// The installation may put up hooks and keys; whoever may not do that by hand does not get it done by us.
#[tokio::test]
async fn a_person_who_does_not_administer_a_repository_gets_a_token_that_reads() {
    let (github, app, client) = world_with_app(ALL).await;
    github.install(&app.client_id, "acme", &[]);
    github.user("eve");
    github.repository("acme/open", slipway_testkit::github::Visibility::Public).await.unwrap();
    github.commit("acme/open", "main", &[("a", "b")], "c").await.unwrap();
    let id = github.repository_id("acme/open").to_string();
    let open = source(&id, "acme/open");
    let owner = token(&github, &client, "octo").await;
    let manage = client.repository_token(&owner, open).await.unwrap();
    let stranger = token(&github, &client, "eve").await;
    let reads = client.repository_token(&stranger, open).await.unwrap();
    assert_ne!(reads.expose_secret(), manage.expose_secret(), "what was made for the owner is not handed on");
    assert!(matches!(client.heads(&reads, "acme/open", None).await, Ok(Fresh::Changed { .. })));
    let url: Url = "http://127.0.0.1:9/hooks/github/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"s".into() };
    for refused in [
        client.ensure_hook(&reads, "acme/open", &hook).await.map(drop),
        client.ensure_deploy_key(&reads, "acme/open", "t", &public_key(1)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(ForgeError::Forbidden { .. } | ForgeError::MissingScope { .. })), "{refused:?}");
    }
    assert!(github.hooks("acme/open").is_empty() && github.deploy_keys("acme/open").is_empty());
    let asked = github.requests().len();
    client.repository_token(&stranger, open).await.unwrap();
    assert_eq!(github.requests().len(), asked, "both are known for a while");
}

#[tokio::test]
async fn less_is_asked_for_where_the_installation_has_less() {
    let (github, app, client) = world_with_app(&[("contents", "read"), ("repository_hooks", "read")]).await;
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let id = github.repository_id("acme/site").to_string();
    let token = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
    assert!(client.hooks(&token, "acme/site").await.is_ok());
    assert!(client.deploy_keys(&token, "acme/site").await.is_err());

    let new = NewGitHubApp { owner: "acme", name: "Blind", callback: CALLBACK, hook_url: None, permissions: &[], events: &[] };
    let blind = github.github_app(&new).unwrap();
    github.install(&blind.client_id, "acme", &[]);
    let client = client_of(&github, &blind);
    let person = crate::world::token(&github, &client, "octo").await;
    let refused = client.repository_token(&person, source(&id, "acme/site")).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::MissingScope { scopes, .. } if scopes == &["contents=read"]), "{refused:?}");
}

#[tokio::test]
async fn the_token_follows_the_id_through_renames_and_never_the_name() {
    let (github, app, client) = world_with_app(ALL).await;
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let id = github.repository_id("acme/site").to_string();
    github.rename_repository("acme/site", "page");
    assert!(client.repository_token(&person, source(&id, "acme/site")).await.is_ok(), "the old name leads on");
    // Another repository takes the old name; a client that knows nothing yet asks for the first one.
    github.repository("acme/site", Visibility::Private).await.unwrap();
    let client = client_of(&github, &app);
    let token = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
    assert!(client.source_repository(&token, "acme/page").await.unwrap().is_some());
    let taken = client.source_repository(&token, "acme/site").await.unwrap();
    assert!(taken.is_none_or(|found| found.id == id), "the new repository is not reached");
    github.delete_repository("acme/page");
    let client = client_of(&github, &app);
    let gone = client.repository_token(&person, source(&id, "acme/site")).await;
    assert!(matches!(gone, Err(ForgeError::NotFound)), "{gone:?}");
    for odd in ["", "x", "1/2"] {
        assert!(matches!(client.repository_token(&person, source(odd, "acme/site")).await, Err(ForgeError::NotFound)));
    }
}

#[tokio::test]
async fn a_repository_without_the_app_says_where_to_install_it() {
    let (github, app, client) = world_with_app(ALL).await;
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    github.repository("octo/open", Visibility::Public).await.unwrap();
    let id = github.repository_id("octo/open").to_string();
    match client.repository_token(&person, source(&id, "octo/open")).await {
        Err(ForgeError::Restricted { organization, grant_url }) => {
            assert_eq!(organization.as_deref(), Some("octo"));
            assert!(grant_url.unwrap().path().ends_with("/installations/new"));
        }
        other => panic!("{other:?}"),
    }
}

/// A check that fails gives nothing: the person's token, which reaches more, is never the way out.
#[tokio::test]
async fn without_an_installations_token_there_is_none() {
    let (github, app, client) = world_with_app(ALL).await;
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let id = github.repository_id("acme/site").to_string();
    let site = source(&id, "acme/site");
    for at in ["POST /api/v3/app/installations", "GET /api/v3/repos/acme/site/installation"] {
        for fault in [Fault::Html, Fault::ErrorBody, Fault::Truncated, Fault::Status(503), Fault::RateLimited(429)] {
            github.trouble(at, fault.clone(), Times::UntilCleared);
            for result in [client.repository_token(&person, site).await, client.clone_token(&person, site).await] {
                let told = match fault {
                    Fault::RateLimited(_) => matches!(result, Err(ForgeError::RateLimited { .. })),
                    _ => matches!(result, Err(ForgeError::Unexpected { .. })),
                };
                assert!(told, "{at} {fault:?}: {result:?}");
            }
            github.clear_troubles();
        }
    }
    for result in [client.repository_token(&person, site).await, client.clone_token(&person, site).await] {
        assert!(result.unwrap().expose_secret().starts_with("ghs_"));
    }
}

#[tokio::test]
async fn a_suspended_or_removed_installation_says_nothing_of_the_link() {
    let (github, app, client) = world_with_app(ALL).await;
    let installation = github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let id = github.repository_id("acme/site").to_string();
    let token = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
    github.suspend_installation(installation);
    assert!(matches!(client.hooks(&token, "acme/site").await, Err(ForgeError::Suspended { .. })));
    assert!(matches!(client.repository_token(&person, source(&id, "acme/site")).await, Err(ForgeError::Suspended { .. })));
    assert!(client.person(&person).await.is_ok());
    github.unsuspend_installation(installation);
    let token = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
    github.uninstall(installation);
    let ended = client.hooks(&token, "acme/site").await.unwrap_err();
    assert!(matches!(&ended, ForgeError::Unexpected { status: 401, .. }), "{ended:?}");
    assert!(!matches!(client.repository_token(&person, source(&id, "acme/site")).await, Err(ForgeError::Unauthorized { .. })));
    github.install(&app.client_id, "acme", &[]);
    let again = client.repository_token(&person, source(&id, "acme/site")).await.unwrap();
    assert_ne!(again.expose_secret(), token.expose_secret(), "the dead token was forgotten");
    assert!(client.hooks(&again, "acme/site").await.is_ok());
}

#[tokio::test]
async fn a_key_that_github_does_not_know_is_our_fault_and_nobody_elses() {
    let (github, app, client) = world_with_app(ALL).await;
    github.install(&app.client_id, "acme", &[]);
    let person = token(&github, &client, "octo").await;
    let new = NewGitHubApp { owner: "acme", name: "Other", callback: CALLBACK, hook_url: None, permissions: ALL, events: &[] };
    let other = github.github_app(&new).unwrap();
    let stolen = client_of(&github, &slipway_testkit::github::GitHubApp { private_key: other.private_key, ..app.clone() });
    let id = github.repository_id("acme/site").to_string();
    let refused = stolen.repository_token(&person, source(&id, "acme/site")).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Misconfigured { detail } if detail.contains("signature")), "{refused:?}");
    for bad in ["", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "hush-hush"] {
        let mut provider = client.provider().clone();
        provider.app.as_mut().unwrap().private_key = bad.into();
        match open(provider).map(drop) {
            Err(ForgeError::Misconfigured { detail }) => assert!(!detail.contains("hush"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    let debug = format!("{:?} {:?}", client.provider(), stolen.provider());
    assert!(!debug.contains("PRIVATE KEY"));
}
