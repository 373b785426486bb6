//! What organizations let us do, as the fake GitHub with its rules answers: each state of a namespace, and the page that changes it.

use std::sync::Arc;

use crate::world::*;
use secrecy::SecretString;
use slipway_forge::{Forge, ForgeError, Fresh, NamespaceKind, SourceNamespace};
use slipway_model::NamespaceAccess;
use slipway_testkit::github::{FakeGitHub, Fault, OrgRole, Times};

async fn namespace(client: &Arc<dyn Forge>, token: &SecretString, name: &str) -> SourceNamespace {
    let all = client.source_namespaces(token).await.unwrap();
    all.into_iter().find(|namespace| namespace.name == name).unwrap_or_else(|| panic!("`{name}` is hidden"))
}

fn page(github: &FakeGitHub, path: &str) -> Option<url::Url> {
    Some(format!("{}/{path}", github.web_url()).parse().unwrap())
}

#[tokio::test]
async fn the_person_comes_first_and_everything_open_is_granted() {
    let (github, client) = world().await;
    github.organization("zeta", &[("octo", OrgRole::Member)]);
    github.organization("elsewhere", &[("stranger", OrgRole::Member)]);
    let token = token(&github, &client, "octo").await;
    let all = client.source_namespaces(&token).await.unwrap();
    let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.kind, one.access)).collect();
    let granted = NamespaceAccess::Granted;
    let expected = [
        ("octo", NamespaceKind::User, granted),
        ("acme", NamespaceKind::Organization, granted),
        ("zeta", NamespaceKind::Organization, granted),
    ];
    assert_eq!(seen, expected);
    assert_eq!(all[0].id, github.account_id("octo").to_string());
    // An organization's own settings are shown to its owners only; everybody else is led to what everybody sees.
    let policy = |name: &str| page(&github, &format!("organizations/{name}/settings/oauth_application_policy"));
    let connection = Some(client.app_settings_url());
    assert_eq!(all.iter().map(|one| one.grant_url.clone()).collect::<Vec<_>>(), [connection.clone(), policy("acme"), connection]);
    assert_eq!((&all[0].note, &all[1].note), (&None, &None));
    assert!(all[2].note.as_ref().unwrap().contains(policy("zeta").unwrap().as_str()), "{:?}", all[2].note);
}

#[tokio::test]
async fn what_did_not_change_is_asked_for_by_its_etag_and_what_did_is_seen() {
    let (github, client) = world().await;
    github.organization("zeta", &[("octo", OrgRole::Member)]);
    github.restrict_organization("zeta");
    let octo = token(&github, &client, "octo").await;
    let first = client.source_namespaces(&octo).await.unwrap();
    let statuses = |since: usize| github.requests()[since..].iter().map(|seen| seen.status).collect::<Vec<_>>();
    let before = github.count_requests();
    assert_eq!(client.source_namespaces(&octo).await.unwrap(), first);
    // Person, organizations, memberships; a refusal has no ETag.
    assert_eq!(statuses(before), [304, 304, 304, 403]);
    // Somebody else's answers are their own.
    let before = github.count_requests();
    let other = token(&github, &client, "stranger").await;
    assert_ne!(client.source_namespaces(&other).await.unwrap(), first);
    assert!(!statuses(before).contains(&304), "{:?}", statuses(before));

    github.organization("omega", &[("octo", OrgRole::Member)]);
    assert_eq!(namespace(&client, &octo, "omega").await.access, NamespaceAccess::Granted);
    github.remove_member("omega", "octo");
    assert_eq!(client.source_namespaces(&octo).await.unwrap(), first);
    // What depends on a session is read anew each time.
    github.enforce_saml("acme");
    for _ in 0..2 {
        assert_eq!(namespace(&client, &octo, "acme").await.access, NamespaceAccess::Restricted);
    }
    github.end_saml("acme");
    assert_eq!(client.source_namespaces(&octo).await.unwrap(), first);
    // A dead token is refused, whatever is remembered of it.
    github.revoke_grant("octo", &client.provider().client_id);
    assert!(matches!(client.source_namespaces(&octo).await.unwrap_err(), ForgeError::Unauthorized { .. }));
}

#[tokio::test]
async fn a_restricted_organization_is_shown_until_it_is_approved_and_again_when_it_is_taken_back() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let client_id = client.provider().client_id.clone();
    github.restrict_organization("acme");
    let restricted = namespace(&client, &token, "acme").await;
    assert_eq!(restricted.access, NamespaceAccess::Restricted);
    assert_eq!(restricted.grant_url, page(&github, &format!("settings/connections/applications/{client_id}")));
    let note = restricted.note.unwrap();
    assert!(note.contains("GitHub does not tell which"), "{note}");
    assert!(note.contains(page(&github, "organizations/acme/settings/oauth_application_policy").unwrap().as_str()), "{note}");
    let refused = client.source_repositories(&token, "acme", None).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::Restricted { organization: Some(name), grant_url: Some(_) } if name == "acme"), "{refused:?}");
    // Denied looks the same: it is never said to be more than is known.
    github.deny_app("acme", &client_id);
    assert_eq!(namespace(&client, &token, "acme").await.access, NamespaceAccess::Restricted);
    github.approve_app("acme", &client_id);
    let granted = namespace(&client, &token, "acme").await;
    assert_eq!(granted.access, NamespaceAccess::Granted);
    assert_eq!(granted.grant_url, page(&github, "organizations/acme/settings/oauth_application_policy"), "where it is revoked");
    github.revoke_app_approval("acme", &client_id);
    assert_eq!(namespace(&client, &token, "acme").await.access, NamespaceAccess::Restricted);
}

#[tokio::test]
async fn single_sign_on_is_told_with_the_address_that_authorizes() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    github.enforce_saml("acme");
    let found = namespace(&client, &token, "acme").await;
    let address = found.grant_url.unwrap();
    assert_eq!((found.access, address.path()), (NamespaceAccess::Restricted, "/orgs/acme/sso"));
    assert!(found.note.unwrap().contains("single sign-on"));
    let expected =
        |error: &ForgeError| matches!(error, ForgeError::Restricted { organization: Some(name), grant_url: Some(_) } if name == "acme");
    let refused = client.hooks(&token, "acme/site").await.unwrap_err();
    assert!(expected(&refused), "{refused:?}");
    github.visit(address.as_str(), "octo").await.unwrap();
    assert_eq!(namespace(&client, &token, "acme").await.access, NamespaceAccess::Granted);
    assert!(client.hooks(&token, "acme/site").await.is_ok());
}

#[tokio::test]
async fn a_list_of_allowed_addresses_is_its_own_reason() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    github.limit_addresses("acme");
    let found = namespace(&client, &token, "acme").await;
    assert_eq!((found.access, found.grant_url), (NamespaceAccess::Restricted, page(&github, "organizations/acme/settings/security")));
    assert!(found.note.unwrap().contains("IP addresses"));
    github.allow_all_addresses("acme");
    assert_eq!(namespace(&client, &token, "acme").await.access, NamespaceAccess::Granted);
}

#[tokio::test]
async fn what_could_not_be_asked_is_unknown_and_what_is_not_allowed_fails() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    github.restrict_organization("acme");
    github.trouble("/api/v3/user/memberships/orgs/acme", Fault::Status(503), Times::Next(1));
    let found = namespace(&client, &token, "acme").await;
    assert_eq!(found.access, NamespaceAccess::Unknown);
    assert!(found.note.unwrap().contains("503"));
    for list in ["/api/v3/user/orgs", "/api/v3/user/memberships/orgs"] {
        // After a page for people nothing is remembered, so that there is an answer to be cut.
        for fault in [Fault::Status(500), Fault::Html, Fault::Truncated, Fault::Truncated, Fault::ErrorBody, Fault::RateLimited(403)] {
            github.trouble(list, fault.clone(), Times::Next(1));
            assert!(client.source_namespaces(&token).await.is_err(), "{list} {fault:?}");
        }
    }
    github.trouble("/api/v3/user/orgs", Fault::EndlessPages, Times::UntilCleared);
    let all = client.source_namespaces(&token).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["octo", "acme"], "none comes twice");
    github.clear_troubles();
    github.narrow_scopes("octo", &client.provider().client_id, &["repo"]);
    let refused = client.source_namespaces(&token).await.unwrap_err();
    assert!(matches!(&refused, ForgeError::MissingScope { scopes, .. } if scopes.iter().any(|scope| scope == "read:org")), "{refused:?}");
}

#[tokio::test]
async fn a_probe_is_unchanged_until_the_person_or_the_scopes_change() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let Fresh::Changed { value: person, marker: Some(marker) } = client.probe(&token, None).await.unwrap() else { panic!("no marker") };
    assert_eq!((person.login.as_str(), person.scopes.as_slice()), ("octo", &["read:org".to_owned(), "repo".to_owned()][..]));
    let asked = github.requests().len();
    assert_eq!(client.probe(&token, Some(&marker)).await, Ok(Fresh::Unchanged));
    let seen = &github.requests()[asked..];
    assert_eq!(seen.iter().map(|request| request.status).collect::<Vec<_>>(), [304]);
    // GitHub answers 304 with the scopes of today.
    github.narrow_scopes("octo", &client.provider().client_id, &["read:org"]);
    let Fresh::Changed { value: narrowed, marker: Some(narrower) } = client.probe(&token, Some(&marker)).await.unwrap() else {
        panic!("the scopes changed")
    };
    assert_eq!((&narrowed.id, narrowed.scopes.as_slice()), (&person.id, &["read:org".to_owned()][..]));
    assert_eq!(client.missing_scopes(&client.offers()[0], &narrowed.scopes), ["repo"]);
    assert_eq!(client.probe(&token, Some(&narrower)).await, Ok(Fresh::Unchanged));
    for odd in ["", " ", "x", "repo ", "\u{1} \u{2}", "repo \"no such\""] {
        assert!(matches!(client.probe(&token, Some(odd)).await, Ok(Fresh::Changed { .. })), "{odd:?}");
    }
    github.rename_account("octo", "octopus");
    let Fresh::Changed { value: renamed, .. } = client.probe(&token, Some(&narrower)).await.unwrap() else { panic!("renamed") };
    assert_eq!((renamed.id, renamed.login.as_str()), (person.id, "octopus"));
}

#[tokio::test]
async fn revoked_and_suspended_are_told_apart() {
    let (github, client) = world().await;
    let token = token(&github, &client, "octo").await;
    let marker = match client.probe(&token, None).await.unwrap() {
        Fresh::Changed { marker, .. } => marker,
        Fresh::Unchanged => panic!(),
    };
    github.suspend_user("octo");
    assert!(matches!(client.probe(&token, marker.as_deref()).await, Err(ForgeError::Suspended { .. })));
    github.unsuspend_user("octo");
    assert_eq!(client.probe(&token, marker.as_deref()).await, Ok(Fresh::Unchanged));
    github.set_rate_remaining("octo", 0);
    assert!(matches!(client.probe(&token, None).await, Err(ForgeError::RateLimited { retry_after }) if retry_after.as_secs() > 3000));
    github.set_rate_remaining("octo", 100);
    github.revoke_grant("octo", &client.provider().client_id);
    assert!(matches!(client.probe(&token, marker.as_deref()).await, Err(ForgeError::Unauthorized { .. })));
}
