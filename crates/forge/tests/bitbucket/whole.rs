//! A link's whole life against the fake Bitbucket with real git: grant, sources, hook, push, clone, rename, transfer, unlink.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use slipway_forge::{
    Coverage, Forge, ForgeError, Fresh, HookSpec, NamespaceKind, Payload, PullRequestHead, PullRequestOrigin, PullRequestStanding,
    RefChange, Removal, SourceKey,
};
use slipway_model::RefName;
use slipway_testkit::bitbucket::{OldNames, Permission, PullRequestEnd, Visibility};

use crate::world::{Inbox, World};

/// Verifies and reads everything that arrived.
async fn payloads(world: &World, inbox: &Inbox, secret: &SecretString) -> Vec<Payload> {
    world.bitbucket.settle().await;
    let read = |(headers, body): (http::HeaderMap, axum::body::Bytes)| {
        let verified = world.client.verify(&headers, &body, std::slice::from_ref(secret)).unwrap();
        assert!(!verified.delivery_id.is_empty());
        world.client.read(&verified.event, &headers, &body).unwrap()
    };
    inbox.take().into_iter().map(read).collect()
}

async fn changes(world: &World, inbox: &Inbox, secret: &SecretString) -> Vec<RefChange> {
    let mut found = Vec::new();
    for payload in payloads(world, inbox, secret).await {
        let Payload::Push { repository_id, events, unusable } = payload else { panic!("we asked for pushes only, not {payload:?}") };
        assert_eq!((repository_id, unusable.len()), (world.bitbucket.repository_uuid("emma/hello"), 0));
        found.extend(events);
    }
    found
}

/// The refs that git itself sees with what the client hands to a builder.
async fn ls_remote(client: &Arc<dyn Forge>, full_name: &str, token: Option<&SecretString>) -> Result<String, String> {
    let access = client.clone_access(full_name, token);
    let mut git = tokio::process::Command::new("git");
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    if let (Some(username), Some(password)) = (access.username, access.password) {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.expose_secret()));
        git.env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {pair}"));
    }
    let output =
        tokio::time::timeout(Duration::from_secs(30), git.args(["ls-remote", access.url.as_str()]).output()).await.unwrap().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn a_person_links_and_sees_sources() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let person = world.client.person(&token).await.unwrap();
    assert_eq!((person.id, person.login.as_str()), (world.bitbucket.person_uuid("emma"), "emma"));
    for scope in world.client.offers()[0].scopes {
        assert!(person.scopes.iter().any(|granted| granted == scope), "{scope}");
    }
    let namespaces = world.client.source_namespaces(&token).await.unwrap();
    let names: Vec<_> = namespaces.iter().map(|namespace| (namespace.name.as_str(), namespace.kind)).collect();
    assert_eq!(names, [("emma", NamespaceKind::User), ("acme", NamespaceKind::Organization)]);
    assert_eq!(namespaces[1].id, world.bitbucket.workspace_uuid("acme"));
    for (namespace, expected) in [("emma", "emma/hello"), ("acme", "acme/site")] {
        let page = world.client.source_repositories(&token, namespace, None).await.unwrap();
        assert_eq!((page.items.len(), page.items[0].full_name.as_str(), page.next.as_deref()), (1, expected, None));
        let found = world.client.source_repository(&token, expected).await.unwrap().unwrap();
        assert_eq!((&found.id, found.private), (&world.bitbucket.repository_uuid(expected), true));
        let key = SourceKey { id: &found.id, full_name: expected };
        assert_eq!(world.client.source_repository_by_id(&token, key).await.unwrap(), Some(found.clone()));
        assert_eq!(world.client.repository_token(&token, key).await.unwrap().expose_secret(), token.expose_secret());
    }
}

#[tokio::test]
async fn many_repositories_and_refs_come_page_by_page() {
    let world = World::new().await;
    for number in 0..250 {
        world.bitbucket.add_repository(&format!("acme/r{number:03}"), Visibility::Private);
    }
    let commit = world.bitbucket.push("acme/site", "main", &[("a", "b")], "c").await.unwrap();
    let names: Vec<String> = (0..230).map(|number| format!("refs/{}/n{number}", if number % 2 == 0 { "heads" } else { "tags" })).collect();
    let refs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), commit.as_str())).collect();
    world.bitbucket.push_refs("acme/site", &refs).await.unwrap();
    let token = world.link("emma").await.access_token;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = world.client.source_repositories(&token, "acme", cursor.as_deref()).await.unwrap();
        seen.extend(page.items.into_iter().map(|item| item.full_name));
        (cursor, pages) = (page.next, pages + 1);
        if cursor.is_none() {
            break;
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!((seen.len(), pages, &seen), (251, 3, &sorted));
    let Fresh::Changed { value, .. } = world.client.heads(&token, "acme/site", None).await.unwrap() else { panic!() };
    assert_eq!((value.refs.len(), value.coverage), (231, Coverage::Whole));
    assert!(value.refs.iter().all(|found| found.commit.as_str() == commit));
}

#[tokio::test]
async fn a_push_arrives_signed_and_leads_to_the_commit() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let (inbox, secret) = (Inbox::default(), SecretString::from("h00k-secret"));
    let url = inbox.listen().await;
    let hook = world.client.ensure_hook(&token, "emma/hello", &HookSpec { url: &url, secret: &secret }).await.unwrap();
    let commit = world.bitbucket.push("emma/hello", "feature/a#b", &[("Dockerfile", "FROM scratch\n")], "Grüße\n\nbody").await.unwrap();
    let made = changes(&world, &inbox, &secret).await;
    assert_eq!((made.len(), made[0].name.as_str(), made[0].before.as_ref()), (1, "refs/heads/feature/a#b", None));
    assert_eq!(made[0].after.as_ref().unwrap().as_str(), commit);
    assert_eq!(made[0].commit_message.as_deref().map(str::trim_end), Some("Grüße\n\nbody"));
    assert_eq!((made[0].author.as_deref(), made[0].pusher.as_deref()), (Some("emma"), Some("emma")));
    assert_eq!(world.client.resolve(&token, "emma/hello", &made[0].name).await.unwrap(), made[0].after);

    let object = world.bitbucket.push_annotated_tag("emma/hello", "v1", &commit, "first").await.unwrap();
    let tagged = changes(&world, &inbox, &secret).await;
    assert_eq!((tagged[0].name.as_str(), tagged[0].after.as_ref().unwrap().as_str()), ("refs/tags/v1", commit.as_str()));
    assert_ne!(object, commit);
    let Fresh::Changed { value, .. } = world.client.heads(&token, "emma/hello", None).await.unwrap() else { panic!() };
    for change in [&made[0], &tagged[0]] {
        assert!(
            value.refs.iter().any(|found| found.name == change.name && Some(&found.commit) == change.after.as_ref()),
            "{}",
            change.name
        );
        assert_eq!(world.client.resolve(&token, "emma/hello", &change.name).await.unwrap(), change.after);
    }

    // Four tags in one push are one delivery, and one without any change may follow.
    let tags = ["refs/tags/a", "refs/tags/b", "refs/tags/ü", "refs/heads/d"];
    world.bitbucket.push_refs("emma/hello", &tags.map(|name| (name, commit.as_str()))).await.unwrap();
    let mut names: Vec<String> = changes(&world, &inbox, &secret).await.into_iter().map(|change| change.name.to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, ["refs/heads/d", "refs/tags/a", "refs/tags/b", "refs/tags/ü"]);
    world.bitbucket.send_empty_push("emma/hello");
    let empty = payloads(&world, &inbox, &secret).await;
    assert!(matches!(&empty[..], [Payload::Push { events, unusable, .. }] if events.is_empty() && unusable.is_empty()), "{empty:?}");

    world.bitbucket.delete_ref("emma/hello", "refs/heads/feature/a#b").await.unwrap();
    let gone = changes(&world, &inbox, &secret).await;
    assert_eq!((gone[0].before.as_ref().unwrap().as_str(), &gone[0].after), (commit.as_str(), &None));
    assert_eq!(world.client.resolve(&token, "emma/hello", &gone[0].name).await, Ok(None));
    assert_eq!(world.client.delete_hook(&token, "emma/hello", &hook.id).await, Ok(Removal::Removed));
    assert!(world.bitbucket.hooks("emma/hello").is_empty());
}

#[tokio::test]
async fn a_secret_of_before_and_of_now_both_verify_while_it_changes() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let (inbox, old, new) = (Inbox::default(), SecretString::from("old"), SecretString::from("new"));
    let url = inbox.listen().await;
    let mut deliveries = Vec::new();
    for secret in [&old, &new] {
        world.client.ensure_hook(&token, "emma/hello", &HookSpec { url: &url, secret }).await.unwrap();
        world.bitbucket.push("emma/hello", "main", &[("a", secret.expose_secret())], "c").await.unwrap();
        world.bitbucket.settle().await;
        deliveries.extend(inbox.take());
    }
    assert_eq!(deliveries.len(), 2);
    for ((headers, body), known) in deliveries.iter().zip([&old, &new]) {
        assert!(world.client.verify(headers, body, &[new.clone(), old.clone()]).is_ok());
        assert!(world.client.verify(headers, body, std::slice::from_ref(known)).is_ok());
    }
    assert!(world.client.verify(&deliveries[0].0, &deliveries[0].1, std::slice::from_ref(&new)).is_err());
}

#[tokio::test]
async fn renames_and_transfers_are_followed_by_the_uuid_and_a_new_repository_gets_no_trust() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let uuid = world.bitbucket.repository_uuid("emma/hello");
    let key = SourceKey { id: &uuid, full_name: "emma/hello" };
    let name_now = || async { world.client.source_repository_by_id(&token, key).await.unwrap().map(|found| found.full_name) };
    world.bitbucket.rename_repository("emma/hello", "greeting");
    assert_eq!(name_now().await.as_deref(), Some("emma/greeting"));
    assert_eq!(world.client.source_repository(&token, "emma/hello").await, Ok(None));
    world.bitbucket.set_old_names(OldNames::Redirect);
    let followed = world.client.source_repository(&token, "emma/hello").await.unwrap().unwrap();
    assert_eq!((followed.id.as_str(), followed.full_name.as_str()), (uuid.as_str(), "emma/greeting"));
    world.bitbucket.set_old_names(OldNames::Gone);
    world.bitbucket.transfer_repository("emma/greeting", "acme");
    assert_eq!(name_now().await.as_deref(), Some("acme/greeting"));
    // Another repository takes the name.
    let other = world.bitbucket.add_repository("emma/hello", Visibility::Private);
    assert_ne!(other, uuid);
    assert_eq!(name_now().await.as_deref(), Some("acme/greeting"));
    world.bitbucket.delete_repository("acme/greeting");
    assert_eq!(name_now().await, None);
}

#[tokio::test]
async fn what_a_person_may_not_see_is_not_there() {
    let world = World::new().await;
    let commit = world.bitbucket.push("emma/hello", "main", &[("a", "b")], "c").await.unwrap();
    let token = world.link("emma").await.access_token;
    assert!(ls_remote(&world.client, "emma/hello", Some(&token)).await.unwrap().contains(&commit));
    assert!(ls_remote(&world.client, "emma/hello", None).await.is_err());
    let stranger = world.link("mallory").await.access_token;
    let name: RefName = "refs/heads/main".parse().unwrap();
    assert!(ls_remote(&world.client, "emma/hello", Some(&stranger)).await.is_err());
    assert_eq!(world.client.source_repository(&stranger, "emma/hello").await, Ok(None));
    let uuid = world.bitbucket.repository_uuid("emma/hello");
    let key = SourceKey { id: &uuid, full_name: "emma/hello" };
    assert_eq!(world.client.source_repository_by_id(&stranger, key).await, Ok(None));
    assert_eq!(world.client.resolve(&stranger, "emma/hello", &name).await, Err(ForgeError::NotFound));
    assert_eq!(world.client.heads(&stranger, "emma/hello", None).await, Err(ForgeError::NotFound));
    world.bitbucket.set_permission("emma/hello", "mallory", Permission::Read);
    assert!(world.client.resolve(&stranger, "emma/hello", &name).await.unwrap().is_some());
}

#[tokio::test]
async fn addresses_are_built_from_the_configuration() {
    let world = World::new().await;
    let own = |path: &str| format!("{}{path}", world.bitbucket.web_url());
    let access = world.client.clone_access("acme/site", Some(&"t0ken".into()));
    assert_eq!((access.url.as_str(), access.username.as_deref()), (own("/acme/site.git").as_str(), Some("x-token-auth")));
    assert_eq!(access.password.unwrap().expose_secret(), "t0ken");
    let commit = "a".repeat(40).parse().unwrap();
    assert_eq!(world.client.commit_web_url("acme/site", &commit).as_str(), own(&format!("/acme/site/commits/{commit}")));
    assert_eq!(world.client.ssh_url("acme/site"), None);
}

#[tokio::test]
async fn a_commit_is_in_the_history_of_what_came_after_it() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    let push = async |text: &str| world.bitbucket.push("emma/hello", "main", &[("a", text)], text).await.unwrap();
    let (first, second) = (push("1").await, push("2").await);
    let side = world.bitbucket.force_push("emma/hello", "side", Some(&first), &[("a", "3")], "side").await.unwrap();
    let root = world.bitbucket.force_push("emma/hello", "root", None, &[("a", "4")], "root").await.unwrap();
    let gone = "1".repeat(40);
    for (commit, of, expected) in [
        (&first, &second, Some(true)),
        (&second, &second, Some(true)),
        (&second, &first, Some(false)),
        (&second, &side, Some(false)),
        (&side, &second, Some(false)),
        (&first, &side, Some(true)),
        (&root, &second, None),
        (&gone, &second, None),
        (&second, &gone, None),
    ] {
        let found = world.client.is_in_history(&token, "emma/hello", &commit.parse().unwrap(), &of.parse().unwrap()).await;
        assert_eq!(found, Ok(expected), "{commit} {of}");
    }
}

#[tokio::test]
async fn open_pull_requests_are_listed_by_the_first_digits_of_their_heads() {
    let world = World::new().await;
    let token = world.link("emma").await.access_token;
    world.bitbucket.push("emma/hello", "main", &[("a", "1")], "1").await.unwrap();
    let head = world.bitbucket.push("emma/hello", "feature", &[("a", "2")], "2").await.unwrap();
    for title in ["One", "Two"] {
        world.bitbucket.open_pull_request("emma/hello", "feature", "main", title).await.unwrap();
    }
    world.bitbucket.end_pull_request("emma/hello", 2, PullRequestEnd::Declined).await.unwrap();
    let id = world.bitbucket.repository_uuid("emma/hello");
    let listed = world.client.open_pull_requests(&token, SourceKey { id: &id, full_name: "emma/hello" }).await.unwrap();
    assert_eq!((listed.items.len(), listed.coverage), (1, Coverage::Whole));
    let one = &listed.items[0];
    assert_eq!((one.number, one.origin, one.title.as_str()), (1, PullRequestOrigin::Internal, "One"));
    assert_eq!(one.head, PullRequestHead::Abbreviated(head[..12].to_owned()));
    assert_eq!(one.kept_at.as_ref().map(ToString::to_string).as_deref(), Some("refs/heads/feature"));
    assert_eq!(one.base.to_string(), "refs/heads/main");
    // Each by its number, however it stands.
    world.bitbucket.open_pull_request("emma/hello", "feature", "main", "Three").await.unwrap();
    world.bitbucket.end_pull_request("emma/hello", 3, PullRequestEnd::Merged).await.unwrap();
    let key = SourceKey { id: &id, full_name: "emma/hello" };
    for (number, standing) in (1..).zip([PullRequestStanding::Open, PullRequestStanding::Closed, PullRequestStanding::Merged]) {
        let found = world.client.pull_request(&token, key, number).await.unwrap().unwrap();
        assert_eq!((found.number, found.standing, &found.head), (number, standing, &one.head));
    }
    assert_eq!(world.client.pull_request(&token, key, 4).await, Ok(None));
    // What stands under the name by now is another repository.
    let other = SourceKey { id: "{7dd600e6-0d9c-4801-b967-cb4cc17359ff}", full_name: "emma/hello" };
    for number in [1, 4] {
        assert_eq!(world.client.pull_request(&token, other, number).await, Err(ForgeError::NotFound), "{number}");
    }
    assert_eq!(world.bitbucket.violations(), Vec::<String>::new());
}
