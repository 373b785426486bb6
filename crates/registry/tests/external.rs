//! Copying out to another registry, step by step with a clock that stands still: whatever breaks, the image ends up there whole, under the
//! newest digest, and nothing is built for it.

mod common;

use std::time::Duration;

use common::{Client, Harness, Login};
use slipway_app::{Error, ExternalTagView, ExternalWish, RepositoryAdmin, RepositoryWrite};
use slipway_model::{AccountName, BuildId, ImageTag, RepositoryId, RepositoryName, SecretToken, TokenKind, Visibility};
use slipway_oci::{Digest, media_type};
use slipway_store::{external, images};
use slipway_testkit::registry::{FakeRegistry, Fault, May, SignIn};
use tokio_util::sync::CancellationToken;

const NAME: &str = "ann/app";
const THERE: &str = "team/app";

/// A repository that is sent to a fake registry, as the loop would.
struct Place {
    harness: Harness,
    outside: FakeRegistry,
    login: Login,
    repository: RepositoryId,
}

impl Place {
    async fn start(sign_in: SignIn) -> Self {
        let harness = Harness::start().await;
        let login = harness.user("ann").await;
        let repository = harness.repository(NAME, Visibility::Private).await;
        let outside = FakeRegistry::start(sign_in).await.expect("starts");
        outside.user("robot", "secret", May::Push);
        let place = Self { harness, outside, login, repository };
        place.save("secret").await.expect("a push would go well");
        place
    }

    async fn right(&self) -> RepositoryAdmin {
        let token = SecretToken::presented(TokenKind::Personal, &self.login.password).expect("a token");
        let caller = self.harness.app.caller_by_token(&token, "127.0.0.1").await.expect("query").expect("known");
        let (namespace, name): (AccountName, RepositoryName) = ("ann".parse().expect("name"), "app".parse().expect("name"));
        self.harness.app.repository_admin(&caller, &namespace, &name).await.expect("its owner")
    }

    async fn save(&self, password: &str) -> Result<(), Error> {
        let address = format!("http://{}/{THERE}", self.outside.host());
        let wish = ExternalWish { address, username: "robot".to_owned(), password: Some(password.into()) };
        self.harness.app.save_external(&self.right().await, &wish).await.map(drop)
    }

    async fn client(&self) -> Client<'_> {
        self.harness.client(Some(&self.login), &[NAME]).await
    }

    /// An image of a layer, pushed by digest as builds do.
    async fn image(&self, layer: &[u8]) -> Digest {
        self.client().await.push_image(NAME, layer, None).await.0
    }

    /// What promotion writes.
    async fn promote(&self, tag: &str, digest: &Digest) -> BuildId {
        let (build, _) = self.harness.build(self.repository).await;
        let tags: [ImageTag; 1] = [tag.parse().expect("tag")];
        let now = self.harness.clock.now();
        let mut tx = self.harness.app.db().write().await.expect("tx");
        images::move_tags(&mut tx, self.repository, &tags, digest.as_str(), None, now).await.expect("moves");
        external::want(&mut tx, self.repository, &tags, digest.as_str(), build, now).await.expect("writes");
        tx.commit().await.expect("commits");
        build
    }

    async fn send(&self) -> bool {
        self.harness.registry.send_external_once(&CancellationToken::new()).await.expect("the database answers")
    }

    async fn stands(&self, tag: &str) -> ExternalTagView {
        let mut tx = self.harness.app.db().read().await.expect("tx");
        self.harness.app.external_tag(&mut tx, self.repository, tag).await.expect("query").expect("wanted")
    }

    fn wait(&self, seconds: u64) {
        self.harness.clock.advance(Duration::from_secs(seconds));
    }

    fn there(&self, tag: &str) -> Option<String> {
        self.outside.tag(THERE, tag)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_arrives_whole_with_one_move_of_the_tag() {
    for sign_in in [SignIn::Open, SignIn::Basic, SignIn::Token] {
        let place = Place::start(sign_in).await;
        let client = place.client().await;
        let mut entries = Vec::new();
        for layer in [b"for one".to_vec(), vec![7; 3 << 20]] {
            let (digest, manifest) = client.push_image(NAME, &layer, None).await;
            entries.push(format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#, media_type::OCI_MANIFEST, manifest.len()));
        }
        let entries = entries.join(",");
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}]}}"#, media_type::OCI_INDEX);
        let digest = Digest::sha256(index.as_bytes());
        let put =
            client.request("PUT", &format!("/v2/{NAME}/manifests/{digest}")).header("content-type", media_type::OCI_INDEX).body(index);
        assert_eq!(put.send().await.expect("answers").status(), 201);
        place.promote("latest", &digest).await;
        assert!(place.send().await);
        let there = place.stands("latest").await;
        assert_eq!((there.state, there.error.as_deref()), ("delivered", None), "{sign_in:?}: {there:?}");
        assert!(place.outside.is_whole(THERE, digest.as_str()));
        assert_eq!(place.outside.moves(), [("latest".to_owned(), digest.to_string())]);
        assert!(!place.send().await, "nothing is left");
        // The same once more sends nothing that is there.
        let uploads = place.outside.count("PUT /v2/team/app/blobs/");
        place.promote("latest", &digest).await;
        assert!(place.send().await);
        assert_eq!((place.outside.count("PUT /v2/team/app/blobs/"), place.outside.moves().len()), (uploads, 1));
    }
}

/// P10: the registry goes away at every step; each time it comes back, the same digest arrives and nothing is sent twice that it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_breaks_at_any_step_gets_the_image_in_the_end() {
    let steps = ["HEAD /v2/team/app/blobs", "POST ", "PUT /v2/team/app/blobs", "HEAD /v2/team/app/manifests", "PUT /v2/team/app/manifests"];
    for fault in [Fault::Status(503), Fault::Cut] {
        for (step, skips) in steps.iter().flat_map(|step| [(step, 0), (step, 1)]) {
            if fault == Fault::Cut && step.starts_with("HEAD") {
                // An answer without a body has nothing that could break.
                continue;
            }
            let place = Place::start(SignIn::Basic).await;
            let digest = place.image(b"a layer").await;
            let build = place.promote("latest", &digest).await;
            place.outside.trouble(step, skips, 1, fault);
            assert!(place.send().await);
            let first = place.stands("latest").await;
            if (step.starts_with("PUT /v2/team/app/manifests"), skips) == (true, 1) {
                assert_eq!(first.state, "delivered", "there is no second manifest");
                continue;
            }
            assert_eq!((first.state, first.attempts), ("waiting", 1), "{step} {skips}: {first:?}");
            assert!(first.error.is_some() && first.next_try_at.is_some());
            assert!(!place.send().await, "it is not due yet");
            place.wait(60);
            assert!(place.send().await);
            let second = place.stands("latest").await;
            assert_eq!((second.state, second.digest.as_str(), second.error.as_deref()), ("delivered", digest.as_str(), None), "{step}");
            assert!(place.outside.is_whole(THERE, digest.as_str()));
            assert!(place.outside.count("PUT /v2/team/app/blobs") <= 3, "what it had is not sent again");
            let mut tx = place.harness.app.db().read().await.expect("tx");
            let (later, other) = (external::list_of_build(&mut tx, build).await.expect("query"), place.there("latest"));
            assert_eq!((later.len(), other.as_deref()), (1, Some(digest.as_str())), "it is still that build's");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_that_a_registry_asks_for_is_kept() {
    let place = Place::start(SignIn::Token).await;
    let digest = place.image(b"a layer").await;
    place.promote("latest", &digest).await;
    place.outside.trouble("POST ", 0, 1, Fault::Later(429, "600"));
    assert!(place.send().await);
    let waits = place.stands("latest").await;
    assert_eq!((waits.state, waits.error.as_deref()), ("waiting", Some("it answered 429: TOOMANYREQUESTS: says the fake registry")));
    place.wait(599);
    assert!(!place.send().await, "it asked for ten minutes");
    place.wait(10);
    assert!(place.send().await);
    assert_eq!(place.there("latest").as_deref(), Some(digest.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_between_two_layers_is_no_failure() {
    let place = Place::start(SignIn::Token).await;
    let digest = place.image(b"a layer").await;
    place.promote("latest", &digest).await;
    place.outside.tokens_last(2);
    assert!(place.send().await);
    assert_eq!(place.stands("latest").await.state, "delivered");
    assert!(place.outside.count("GET /token") > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_waits_gives_way_to_the_newer_one() {
    let place = Place::start(SignIn::Basic).await;
    let (old, new) = (place.image(b"old").await, place.image(b"new").await);
    place.outside.trouble("POST ", 0, 1, Fault::Status(503));
    place.promote("latest", &old).await;
    assert!(place.send().await);
    place.promote("latest", &new).await;
    assert!(place.send().await, "the newer one does not wait for the older one's time");
    place.wait(7200);
    assert!(!place.send().await);
    assert_eq!(place.outside.moves(), [("latest".to_owned(), new.to_string())], "the older one never was there");
    // A person moves it back, which is newer.
    place.promote("latest", &old).await;
    assert!(place.send().await);
    assert_eq!(place.there("latest"), Some(old.to_string()));
}

/// A copy whose tag is wanted otherwise meanwhile ends before its last step.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_overtaken_moves_nothing() {
    let place = Place::start(SignIn::Basic).await;
    let (old, new) = (place.image(b"old").await, place.image(b"new").await);
    place.promote("latest", &old).await;
    // The first layer does not get through before the newer image is there.
    place.outside.trouble("PUT /v2/team/app/blobs", 0, 1, Fault::Hang);
    let registry = place.harness.registry.clone();
    let sending =
        tokio::spawn(async move { registry.send_external_once(&CancellationToken::new()).await.map_err(|error| error.to_string()) });
    while place.outside.count("PUT /v2/team/app/blobs") == 0 {
        tokio::task::yield_now().await;
    }
    place.promote("latest", &new).await;
    assert!(!place.send().await, "one sender at a time");
    // It asks every ten seconds whether the tag is still its own.
    assert_eq!(sending.await.expect("ends"), Ok(true));
    assert!(place.send().await);
    assert_eq!(place.outside.moves(), [("latest".to_owned(), new.to_string())]);
}

/// Its process dies in the middle; whoever is next begins when the lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_off_is_taken_up() {
    let place = Place::start(SignIn::Basic).await;
    let digest = place.image(b"a layer").await;
    place.promote("latest", &digest).await;
    place.outside.trouble("PUT /v2/team/app/blobs", 1, 1, Fault::Hang);
    let registry = place.harness.registry.clone();
    let sending =
        tokio::spawn(async move { registry.send_external_once(&CancellationToken::new()).await.map_err(|error| error.to_string()) });
    while place.outside.count("PUT /v2/team/app/blobs") < 2 {
        tokio::task::yield_now().await;
    }
    sending.abort();
    assert!(sending.await.is_err());
    assert!(!place.send().await, "it may still live");
    place.wait(31);
    assert!(place.send().await);
    assert_eq!((place.stands("latest").await.state, place.outside.blobs()), ("delivered", 2));

    // One that is told to stop leaves it to the next at once.
    let other = place.image(b"another layer").await;
    place.promote("latest", &other).await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(place.harness.registry.send_external_once(&stop).await.expect("the database answers"));
    assert!(place.send().await);
    assert_eq!(place.there("latest"), Some(other.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_kept_in_words_until_somebody_tries_again() {
    let place = Place::start(SignIn::Basic).await;
    let digest = place.image(b"a layer").await;
    place.outside.user("robot", "secret", May::Pull);
    place.promote("latest", &digest).await;
    assert!(place.send().await);
    let refused = place.stands("latest").await;
    assert_eq!((refused.state, refused.next_try_at), ("refused", None));
    let words = refused.error.expect("a reason");
    assert!(words.contains("does not let these credentials push to `team/app`: DENIED"), "{words}");
    assert!(words.contains("let this user push there, or give other credentials"), "{words}");
    place.wait(100_000);
    assert!(!place.send().await);
    match place.save("secret").await {
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.code, "external_pull_only");
            assert!(refusal.detail.contains("can pull from") && refusal.detail.contains("but not push"), "{}", refusal.detail);
        }
        other => panic!("{other:?}"),
    }
    place.outside.user("robot", "secret", May::Push);
    let right: RepositoryWrite = place.right().await.into();
    place.harness.app.try_external_again(&right, "latest").await.expect("it was refused");
    assert!(matches!(place.harness.app.try_external_again(&right, "none").await, Err(Error::NotFound)));
    assert!(place.send().await);
    assert!(matches!(place.harness.app.try_external_again(&right, "latest").await, Err(Error::NotFound)), "it is there");

    // Another password is another reason, and a new one sends at once what was refused for want of it.
    let next = place.image(b"another layer").await;
    place.outside.user("robot", "changed", May::Push);
    place.promote("latest", &next).await;
    assert!(place.send().await);
    let words = place.stands("latest").await.error.expect("a reason");
    assert!(words.contains("does not accept the user name and password"), "{words}");
    assert!(matches!(place.save("secret").await, Err(Error::Refused(refusal)) if refusal.code == "external_wrong_password"));
    place.save("changed").await.expect("a push would go well");
    assert!(place.send().await);
    assert_eq!(place.there("latest"), Some(next.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_lost_here_are_said_to_be() {
    let place = Place::start(SignIn::Basic).await;
    let digest = place.image(b"a layer").await;
    place.promote("latest", &digest).await;
    let mut folders = vec![place.harness.folder.path().join("blobs/sha256")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { std::fs::remove_file(path).expect("removes") }
        }
    }
    assert!(place.send().await);
    let lost = place.stands("latest").await;
    assert!(lost.state == "refused" && lost.error.as_ref().is_some_and(|words| words.contains("missing or damaged")), "{lost:?}");
    assert_eq!(place.there("latest"), None);
}

/// A password is sent to no other address than the one that it was given for.
#[tokio::test(flavor = "multi_thread")]
async fn another_address_needs_its_password() {
    let place = Place::start(SignIn::Basic).await;
    let other = FakeRegistry::start(SignIn::Basic).await.expect("starts");
    other.user("robot", "secret", May::Push);
    let wish = |host: String, username: &str| ExternalWish {
        address: format!("http://{host}/{THERE}"),
        username: username.to_owned(),
        password: None,
    };
    for wish in [wish(other.host(), "robot"), wish(place.outside.host(), "somebody")] {
        let refused = place.harness.app.save_external(&place.right().await, &wish).await;
        assert!(matches!(&refused, Err(Error::Refused(refusal)) if refusal.field.as_deref() == Some("password")), "{refused:?}");
    }
    assert!(other.seen().is_empty());
    place.harness.app.save_external(&place.right().await, &wish(place.outside.host(), "robot")).await.expect("the same as before");
}
