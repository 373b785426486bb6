//! The client against a registry that keeps what it gets: who is let in, where credentials go, and which addresses are never dialled.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use slipway_distribution::{Credentials, Distribution, Remote, Trouble};
use slipway_forge::egress::Resolver;
use slipway_forge::{Egress, EgressPolicy};
use slipway_model::ExternalRepository;
use slipway_oci::{Digest, Reference};
use slipway_testkit::registry::{FakeRegistry, Fault, May, Place, SignIn};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn loopback() -> Distribution {
    Distribution::new(Egress::new(EgressPolicy::allowing(["127.0.0.0/8"]).expect("a policy")))
}

fn at(registry: &FakeRegistry) -> ExternalRepository {
    format!("http://{}/team/app", registry.host()).parse().expect("an address")
}

fn ada(password: &str) -> Option<Credentials> {
    Some(Credentials { username: "ada".to_owned(), password: password.into() })
}

async fn registry(sign_in: SignIn, may: May) -> FakeRegistry {
    let registry = FakeRegistry::start(sign_in).await.expect("starts");
    registry.user("ada", "secret", may);
    registry
}

async fn push(remote: &Remote, bytes: &'static [u8]) -> Result<Digest, Trouble> {
    let digest = Digest::sha256(bytes);
    let pieces = || async move { Ok(stream::iter(bytes.chunks(7)).map(|piece| Ok(piece.into())).boxed()) }.boxed();
    remote.push_blob(&digest, bytes.len() as u64, &pieces).await?;
    Ok(digest)
}

#[tokio::test]
async fn what_would_not_work_is_told_apart() {
    for sign_in in [SignIn::Basic, SignIn::Token] {
        let tried = async |may: May, credentials| {
            let registry = registry(sign_in, may).await;
            let outcome = loopback().try_out(&at(&registry), credentials).await;
            assert_eq!((registry.blobs(), registry.moves()), (0, vec![]), "nothing stays there");
            outcome
        };
        assert_eq!(tried(May::Push, ada("secret")).await, Ok(()), "{sign_in:?}");
        assert_eq!(tried(May::Push, ada("wrong")).await, Err(Trouble::WrongPassword), "{sign_in:?}");
        assert_eq!(tried(May::Pull, ada("secret")).await, Err(Trouble::PullOnly), "{sign_in:?}");
        assert!(matches!(tried(May::Nothing, ada("secret")).await, Err(Trouble::Denied(_))), "{sign_in:?}");
        assert_eq!(tried(May::Push, None).await, Err(Trouble::NeedsPassword), "{sign_in:?}");
    }
    let open = registry(SignIn::Open, May::Push).await;
    assert_eq!(loopback().try_out(&at(&open), None).await, Ok(()));
    assert_eq!(open.count("DELETE /v2/team/app/blobs/uploads/"), 1, "the upload that was begun is cancelled");
    for (status, is_expected) in [
        (404, (|trouble| matches!(trouble, Trouble::NoRepository(_))) as fn(&Trouble) -> bool),
        (405, |trouble| matches!(trouble, Trouble::PullOnly)),
        (503, |trouble| matches!(trouble, Trouble::Busy { status: 503, .. })),
        (418, |trouble| matches!(trouble, Trouble::Unexpected { status: 418, .. })),
    ] {
        open.clear_troubles();
        open.trouble("POST ", 0, 1, Fault::Status(status));
        let refused = loopback().try_out(&at(&open), None).await.unwrap_err();
        assert!(is_expected(&refused), "{status}: {refused:?}");
    }
    open.clear_troubles();
    open.trouble("GET /v2/", 0, 1, Fault::Status(404));
    assert!(matches!(loopback().try_out(&at(&open), None).await, Err(Trouble::NotARegistry(_))));
}

/// The administrator named nothing, or another network.
#[tokio::test]
async fn what_is_not_public_is_never_dialled() {
    let registry = registry(SignIn::Basic, May::Push).await;
    let port = registry.host().split_once(':').unwrap().1.to_owned();
    for (host, policy) in [
        (format!("http://127.0.0.1:{port}"), EgressPolicy::public_only()),
        (format!("http://127.0.0.1:{port}"), EgressPolicy::allowing(["10.0.0.0/8"]).unwrap()),
        (format!("http://localhost:{port}"), EgressPolicy::allowing(["10.0.0.0/8"]).unwrap()),
        ("http://169.254.169.254".to_owned(), EgressPolicy::public_only()),
        ("169.254.169.254".to_owned(), EgressPolicy::allowing(["127.0.0.0/8"]).unwrap()),
        ("metadata.google.internal".to_owned(), EgressPolicy::public_only()),
        (format!("[::1]:{port}"), EgressPolicy::public_only()),
        // Public, but not encrypted.
        ("http://8.8.8.8".to_owned(), EgressPolicy::allowing(["127.0.0.0/8"]).unwrap()),
    ] {
        let at: ExternalRepository = format!("{host}/team/app").parse().unwrap();
        let refused = Distribution::new(Egress::new(policy)).try_out(&at, ada("secret")).await;
        assert!(matches!(refused, Err(Trouble::Refused(_))), "{host}: {refused:?}");
    }
    assert!(registry.seen().is_empty());
}

/// A name that had a good address when it was saved.
struct Turncoat(Mutex<VecDeque<IpAddr>>);

impl std::fmt::Debug for Turncoat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turncoat")
    }
}

#[async_trait::async_trait]
impl Resolver for Turncoat {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.0.lock().expect("no panic").pop_front().into_iter().collect())
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_later_is_refused_then() {
    let registry = registry(SignIn::Open, May::Push).await;
    let port = registry.host().split_once(':').unwrap().1.to_owned();
    let answers = ["127.0.0.1", "127.0.0.1", "10.0.0.1"].map(|text| text.parse().unwrap());
    let policy = EgressPolicy::allowing(["127.0.0.1"]).unwrap();
    let client = Distribution::new(Egress::with_resolver(policy, Arc::new(Turncoat(Mutex::new(answers.into())))));
    let at: ExternalRepository = format!("http://registry.example.com:{port}/team/app").parse().unwrap();
    assert_eq!(client.try_out(&at, None).await, Ok(()));
    let remote = client.open(&at, None).await.unwrap();
    assert!(matches!(client.open(&at, None).await, Err(Trouble::Refused(_))));
    // Whoever was opened before keeps to the address that was looked at.
    push(&remote, b"bytes").await.unwrap();
    assert_eq!(registry.blobs(), 1);
}

#[tokio::test]
async fn an_upload_elsewhere_carries_no_credentials() {
    for sign_in in [SignIn::Basic, SignIn::Token] {
        let registry = registry(sign_in, May::Push).await;
        registry.send_uploads_elsewhere();
        let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
        let digest = push(&remote, b"a layer of some bytes").await.unwrap();
        assert!(remote.has_blob(&digest, 21).await.unwrap());
        let (there, here): (Vec<_>, Vec<_>) = registry.seen().into_iter().partition(|seen| seen.place == Place::Storage);
        assert!(there.len() == 1 && there[0].what.starts_with("PUT "), "{there:?}");
        assert!(there.iter().all(|seen| seen.authorization.is_none()), "{there:?}");
        assert!(here.iter().any(|seen| seen.authorization.is_some()), "the test would tell nothing");
    }
}

#[tokio::test]
async fn a_redirect_of_an_upload_carries_no_credentials() {
    for sign_in in [SignIn::Basic, SignIn::Token] {
        let registry = registry(sign_in, May::Push).await;
        registry.trouble("PUT ", 0, 1, Fault::SentOn);
        let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
        push(&remote, b"a layer of some bytes").await.unwrap();
        let puts: Vec<_> = registry.seen().into_iter().filter(|seen| seen.what.starts_with("PUT ")).collect();
        let shown: Vec<_> = puts.iter().map(|put| (put.place, put.authorization.is_some())).collect();
        assert_eq!(shown, [(Place::Registry, true), (Place::Storage, false)]);
        assert_eq!(registry.blobs(), 1);
        // Of anything else none is followed.
        for what in ["POST ", "PUT /v2/team/app/manifests"] {
            registry.trouble(what, 0, 1, Fault::SentOn);
        }
        assert!(matches!(push(&remote, b"more").await, Err(Trouble::Unexpected { status: 307, .. })));
        let tag = Reference::Tag("latest".parse().unwrap());
        assert!(matches!(remote.push_manifest(&tag, OCI, b"{}").await, Err(Trouble::Unexpected { status: 307, .. })));
        assert_eq!(registry.seen().iter().filter(|seen| seen.place == Place::Storage).count(), 1);
    }
}

/// Where tokens are given out is the registry's word, and held to the same rules.
#[tokio::test]
async fn a_password_goes_to_no_realm_that_may_not_be_reached() {
    let registry = registry(SignIn::Token, May::Push).await;
    for realm in [
        "http://169.254.169.254/token",
        "https://10.0.0.1/token",
        "http://8.8.8.8/token",
        "ftp://example.com/token",
        "https://a:b@example.com/token",
    ] {
        registry.name_realm(realm);
        let refused = loopback().try_out(&at(&registry), ada("secret")).await;
        assert!(matches!(refused, Err(Trouble::Refused(_))), "{realm}: {refused:?}");
    }
    registry.name_realm("nonsense");
    assert!(matches!(loopback().try_out(&at(&registry), ada("secret")).await, Err(Trouble::NotARegistry(_))));
    assert!(registry.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_asked_for_anew() {
    let registry = registry(SignIn::Token, May::Push).await;
    registry.tokens_last(2);
    let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
    for bytes in [&b"one"[..], b"two", b"three", b"four"] {
        let digest = push(&remote, bytes).await.unwrap();
        assert!(remote.has_blob(&digest, bytes.len() as u64).await.unwrap());
    }
    assert_eq!(registry.blobs(), 4);
    assert!(registry.count("GET /token") > 3, "{:?}", registry.seen());
    // One that is never good enough is no reason to go on for ever.
    registry.tokens_last(0);
    assert!(matches!(push(&remote, b"five").await, Err(Trouble::Denied(_))));
}

#[tokio::test]
async fn troubles_that_pass_are_told_from_those_that_do_not() {
    let registry = registry(SignIn::Basic, May::Push).await;
    let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
    registry.trouble("POST ", 0, 1, Fault::Later(429, "17"));
    match push(&remote, b"bytes").await {
        Err(trouble @ Trouble::Busy { status: 429, wait: Some(wait), .. }) => {
            assert!(trouble.passes() && wait == Duration::from_secs(17));
        }
        other => panic!("{other:?}"),
    }
    registry.trouble("PUT ", 0, 1, Fault::Cut);
    assert!(matches!(push(&remote, b"bytes").await, Err(Trouble::Unreachable(_))));
    registry.trouble("PUT ", 0, 1, Fault::Status(404));
    assert!(push(&remote, b"bytes").await.unwrap_err().passes(), "the upload was forgotten there, another one may do");
    registry.trouble("PUT ", 0, 1, Fault::Status(403));
    assert!(matches!(push(&remote, b"bytes").await, Err(Trouble::Denied(_))));
    registry.user("ada", "another", May::Push);
    assert_eq!(push(&remote, b"bytes").await, Err(Trouble::WrongPassword));
}

#[tokio::test]
async fn bytes_that_cannot_be_read_are_our_trouble() {
    let registry = registry(SignIn::Basic, May::Push).await;
    let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
    let broken = || {
        let pieces = [Ok((&b"half"[..]).into()), Err(Trouble::Ours("the layer is damaged".to_owned()))];
        async move { Ok(stream::iter(pieces).boxed()) }.boxed()
    };
    let failed = remote.push_blob(&Digest::sha256(b"half and more"), 13, &broken).await;
    assert_eq!(failed, Err(Trouble::Ours("the layer is damaged".to_owned())));
    assert_eq!(registry.blobs(), 0);
}

#[tokio::test]
async fn a_manifest_is_found_under_its_tag() {
    let registry = registry(SignIn::Token, May::Push).await;
    let remote = loopback().open(&at(&registry), ada("secret")).await.unwrap();
    let content = br#"{"schemaVersion":2,"layers":[]}"#;
    let tag = Reference::Tag("latest".parse().unwrap());
    assert_eq!(remote.manifest(&tag, OCI).await, Ok(None));
    remote.push_manifest(&tag, OCI, content).await.unwrap();
    assert_eq!(remote.manifest(&tag, OCI).await, Ok(Some(Digest::sha256(content))));
    registry.trouble("PUT ", 0, 1, Fault::Status(400));
    assert!(matches!(remote.push_manifest(&tag, OCI, content).await, Err(Trouble::Unexpected { status: 400, .. })));
}
