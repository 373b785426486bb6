//! A link's whole life against the fake GitHub with real git: grant, sources, hook, push, clone, unlink.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{link, world};
use axum::body::Bytes;
use base64::Engine;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use slipway_forge::{
    Coverage, Forge, ForgeError, Fresh, Heads, HookSpec, NamespaceKind, Payload, PullRequestHead, PullRequestOrigin, PullRequestStanding,
    RefChange, Removal, SourceKey,
};
use slipway_model::RefName;
use slipway_testkit::github::{FakeGitHub, Visibility};
use url::Url;

/// The deliveries that arrived at our address, with their exact bytes.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Inbox {
    async fn listen(&self) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/github/0192", listener.local_addr().unwrap()).parse().unwrap();
        let inbox = self.0.clone();
        let app = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            inbox.lock().unwrap().push((headers, body));
            async { http::StatusCode::ACCEPTED }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn take(&self) -> Vec<(HeaderMap, Bytes)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Verifies and reads everything that arrived.
async fn pushes(github: &FakeGitHub, client: &Arc<dyn Forge>, inbox: &Inbox, secret: &SecretString) -> Vec<RefChange> {
    github.settle().await;
    inbox
        .take()
        .into_iter()
        .flat_map(|(headers, body)| {
            let verified = client.verify(&headers, &body, std::slice::from_ref(secret)).unwrap();
            match client.read(&verified.event, &headers, &body).unwrap() {
                Payload::Push { repository_id, events, unusable } => {
                    assert_eq!((repository_id, unusable.len()), (github.repository_id("octo/hello").to_string(), 0));
                    events
                }
                Payload::Ping { repository_id } => {
                    assert_eq!(repository_id, Some(github.repository_id("octo/hello").to_string()));
                    Vec::new()
                }
                other => panic!("nothing but pushes happened here, not {other:?}"),
            }
        })
        .collect()
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
async fn a_person_links_sees_sources_and_unlinks() {
    let (github, client) = world().await;
    let grant = link(&github, &client, "octo").await;
    let token = &grant.access_token;
    let person = client.person(token).await.unwrap();
    assert_eq!((person.id, person.login.as_str()), (github.account_id("octo").to_string(), "octo"));
    for scope in client.offers()[0].scopes {
        assert!(person.scopes.iter().any(|granted| granted == scope) && grant.scopes.iter().any(|granted| granted == scope), "{scope}");
    }
    let namespaces = client.source_namespaces(token).await.unwrap();
    let names: Vec<_> = namespaces.iter().map(|namespace| (namespace.name.as_str(), namespace.kind)).collect();
    assert_eq!(names, [("octo", NamespaceKind::User), ("acme", NamespaceKind::Organization)]);
    for (namespace, expected) in [("octo", "octo/hello"), ("acme", "acme/site")] {
        let page = client.source_repositories(token, namespace, None).await.unwrap();
        assert_eq!(page.items.iter().map(|item| item.full_name.as_str()).collect::<Vec<_>>(), [expected]);
        let found = client.source_repository(token, expected).await.unwrap().unwrap();
        assert_eq!((&found.id, found.private), (&github.repository_id(expected).to_string(), true));
        assert_eq!(client.source_repository_by_id(token, SourceKey { id: &found.id, full_name: expected }).await.unwrap(), Some(found));
    }
    assert_eq!(client.revoke_grant(token).await, Ok(Removal::Removed));
    assert!(matches!(client.person(token).await, Err(ForgeError::Unauthorized { .. })));
    assert_eq!(client.revoke_grant(token).await, Ok(Removal::AlreadyGone));
}

#[tokio::test]
async fn a_push_arrives_signed_and_leads_to_the_commit() {
    let (github, client) = world().await;
    let token = link(&github, &client, "octo").await.access_token;
    let (inbox, secret) = (Inbox::default(), SecretString::from("h00k-secret"));
    let url = inbox.listen().await;
    let hook = client.ensure_hook(&token, "octo/hello", &HookSpec { url: &url, secret: &secret }).await.unwrap();
    let again = client.ensure_hook(&token, "octo/hello", &HookSpec { url: &url, secret: &secret }).await.unwrap();
    assert_eq!(
        (&hook.id, hook.events.as_slice(), github.hooks("octo/hello").len()),
        (&again.id, &["pull_request".to_owned(), "push".to_owned(), "repository".to_owned()][..], 1)
    );
    assert!(pushes(&github, &client, &inbox, &secret).await.is_empty());

    let commit = github.commit("octo/hello", "feature/a#b", &[("Dockerfile", "FROM scratch\n")], "Grüße\n\nbody").await.unwrap();
    let changes = pushes(&github, &client, &inbox, &secret).await;
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].name.as_str(), changes[0].after.as_ref().unwrap().as_str()), ("refs/heads/feature/a#b", commit.as_str()));
    assert_eq!(changes[0].commit_message.as_deref().map(str::trim_end), Some("Grüße\n\nbody"));
    assert_eq!(client.resolve(&token, "octo/hello", &changes[0].name).await.unwrap(), changes[0].after);

    github.annotated_tag("octo/hello", "v1", &commit, "first").await.unwrap();
    let tags = pushes(&github, &client, &inbox, &secret).await;
    assert_eq!(
        (tags[0].name.as_str(), tags[0].before.is_none(), tags[0].after.as_ref().unwrap().as_str()),
        ("refs/tags/v1", true, commit.as_str())
    );
    let Fresh::Changed { value: Heads { refs, coverage: Coverage::Whole }, marker } =
        client.heads(&token, "octo/hello", None).await.unwrap()
    else {
        panic!("expected all heads")
    };
    assert_eq!(client.heads(&token, "octo/hello", marker.as_deref()).await, Ok(Fresh::Unchanged));
    for change in [&changes[0], &tags[0]] {
        assert!(refs.iter().any(|found| found.name == change.name && Some(&found.commit) == change.after.as_ref()), "{}", change.name);
    }

    github.delete_ref("octo/hello", "refs/heads/feature/a#b").await.unwrap();
    let gone = pushes(&github, &client, &inbox, &secret).await;
    assert_eq!((gone[0].before.as_ref().unwrap().as_str(), &gone[0].after), (commit.as_str(), &None));
    assert_eq!(client.resolve(&token, "octo/hello", &gone[0].name).await, Ok(None));

    assert_eq!(client.delete_hook(&token, "octo/hello", &hook.id).await, Ok(Removal::Removed));
    assert_eq!(client.delete_hook(&token, "octo/hello", &hook.id).await, Ok(Removal::AlreadyGone));
    assert!(github.hooks("octo/hello").is_empty());
}

#[tokio::test]
async fn a_commit_is_in_the_history_of_what_came_after_it() {
    let (github, client) = world().await;
    let token = link(&github, &client, "octo").await.access_token;
    let commit = async |text: &str| github.commit("octo/hello", "main", &[("a", text)], text).await.unwrap();
    let (first, second) = (commit("1").await, commit("2").await);
    let side = github.force_commit("octo/hello", "side", Some(&first), &[("a", "3")], "side").await.unwrap();
    let root = github.force_commit("octo/hello", "root", None, &[("a", "4")], "root").await.unwrap();
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
        let found = client.is_in_history(&token, "octo/hello", &commit.parse().unwrap(), &of.parse().unwrap()).await;
        assert_eq!(found, Ok(expected), "{commit} {of}");
    }
}

#[tokio::test]
async fn open_pull_requests_are_listed_with_whose_they_are() {
    let (github, client) = world().await;
    let token = link(&github, &client, "octo").await.access_token;
    github.set_visibility("octo/hello", Visibility::Public);
    github.commit("octo/hello", "main", &[("a", "1")], "1").await.unwrap();
    let inside = github.commit("octo/hello", "feature", &[("a", "2")], "2").await.unwrap();
    let fork = github.fork("octo/hello", "stranger").await.unwrap();
    let outside = github.commit(&fork, "patch", &[("a", "3")], "3").await.unwrap();
    for (author, head) in [("octo", ("octo/hello", "feature")), ("stranger", (fork.as_str(), "patch")), ("octo", ("octo/hello", "feature"))]
    {
        github.advance_clock(Duration::from_secs(5));
        github.open_pull_request("octo/hello", author, head, "main", "A change").await.unwrap();
    }
    github.close_pull_request("octo/hello", 3);
    let id = github.repository_id("octo/hello").to_string();
    let listed = client.open_pull_requests(&token, SourceKey { id: &id, full_name: "octo/hello" }).await.unwrap();
    let shown: Vec<_> = listed.items.iter().map(|one| (one.number, &one.head, one.origin, one.base.to_string())).collect();
    let (inside, outside) = (PullRequestHead::Commit(inside.parse().unwrap()), PullRequestHead::Commit(outside.parse().unwrap()));
    let main = || "refs/heads/main".to_owned();
    assert_eq!(shown, [(2, &outside, PullRequestOrigin::Fork, main()), (1, &inside, PullRequestOrigin::Internal, main())]);
    assert_eq!(listed.coverage, Coverage::Whole);
    // Each by its number, however it stands.
    let key = SourceKey { id: &id, full_name: "octo/hello" };
    github.open_pull_request("octo/hello", "octo", ("octo/hello", "feature"), "main", "A change").await.unwrap();
    github.merge_pull_request("octo/hello", 4);
    let standings = [PullRequestStanding::Open, PullRequestStanding::Open, PullRequestStanding::Closed, PullRequestStanding::Merged];
    for (number, standing) in (1..).zip(standings) {
        let found = client.pull_request(&token, key, number).await.unwrap().unwrap();
        assert_eq!((found.number, found.standing, found.base.to_string()), (number, standing, main()));
        assert_eq!(found.head, if number == 2 { outside.clone() } else { inside.clone() });
    }
    assert_eq!(client.pull_request(&token, key, 5).await, Ok(None));
    // What stands under the name by now is another repository, or none.
    for (id, full_name, number) in [("1", "octo/hello", 1), ("1", "octo/hello", 5), (id.as_str(), "octo/nothing", 1)] {
        let other = client.pull_request(&token, SourceKey { id, full_name }, number).await;
        assert_eq!(other, Err(ForgeError::NotFound), "{id} {full_name} {number}");
    }
    let other = client.open_pull_requests(&token, SourceKey { id: "1", full_name: "octo/hello" }).await.unwrap();
    assert_eq!((other.items.len(), other.coverage), (0, Coverage::Part));
    assert_eq!(github.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn git_takes_the_clone_access_and_a_stranger_gets_nothing() {
    let (github, client) = world().await;
    let commit = github.commit("octo/hello", "main", &[("a", "b")], "c").await.unwrap();
    let token = link(&github, &client, "octo").await.access_token;
    assert!(ls_remote(&client, "octo/hello", Some(&token)).await.unwrap().contains(&commit));
    assert!(ls_remote(&client, "octo/hello", None).await.is_err());
    let stranger = link(&github, &client, "stranger").await.access_token;
    let name: RefName = "refs/heads/main".parse().unwrap();
    assert!(ls_remote(&client, "octo/hello", Some(&stranger)).await.is_err());
    assert_eq!(client.source_repository(&stranger, "octo/hello").await, Ok(None));
    assert_eq!(client.resolve(&stranger, "octo/hello", &name).await, Err(ForgeError::NotFound));
    assert_eq!(client.delete_hook(&stranger, "octo/hello", "1").await, Err(ForgeError::NotFound));
}
