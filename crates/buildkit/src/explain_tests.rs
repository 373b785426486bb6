//! Texts of real daemons and what becomes of them.

use super::*;
use crate::request::DockerfileText;
use crate::tree::Tree;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};

fn request() -> SolveRequest {
    let tree = Tree::open(std::path::Path::new("/")).expect("root");
    SolveRequest::new(tree, DockerfileText { path: "docker/Nope".into(), content: bytes::Bytes::new(), ignore: None })
}

fn reason(text: &str, steps: &[(&str, &str)]) -> SolveError {
    let mut board = Board::default();
    board.update(StatusResponse {
        vertexes: steps
            .iter()
            .map(|(name, error)| Vertex { digest: (*name).into(), name: (*name).into(), error: (*error).into(), ..Vertex::default() })
            .collect(),
        ..StatusResponse::default()
    });
    explain(&Status::unknown(text), &board, &request())
}

#[test]
fn the_texts_of_engine_20_10_become_reasons() {
    let exit = "executor failed running [/bin/sh -c make test]: exit code: 42";
    assert_eq!(
        reason(exit, &[("[2/2] RUN make test", exit)]),
        SolveError::StepFailed { step: "[2/2] RUN make test".into(), exit_code: 42 }
    );
    assert_eq!(reason(exit, &[]), SolveError::StepFailed { step: "make test".into(), exit_code: 42 });
    assert_eq!(
        reason("failed to read dockerfile: open /var/lib/docker/tmp/buildkit-mount123/Nope: no such file or directory", &[]),
        SolveError::DockerfileNotFound { path: "docker/Nope".into() }
    );
    assert_eq!(
        reason(
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RUNN",
            &[]
        ),
        SolveError::DockerfileSyntax { line: Some(2), message: "unknown instruction: RUNN".into() }
    );
    assert_eq!(reason("failed to solve: target stage zzz could not be found", &[]), SolveError::StageNotFound { stage: "zzz".into() });
}

#[test]
fn what_no_build_may_have_is_the_dockerfiles_mistake() {
    for name in ["security.insecure", "network.host"] {
        let text = format!("failed to load LLB: {name} is not allowed");
        let SolveError::DockerfileSyntax { line: None, message } = reason(&text, &[]) else { panic!("{name}") };
        assert!(message.starts_with(&format!("`{name}` is not allowed")), "{message}");
    }
    let other = "failed to load LLB: runtime error is not allowed";
    assert_eq!(reason(other, &[]), SolveError::Other { message: other.into() });
}

#[test]
fn a_missing_cache_beside_the_failure_is_not_blamed() {
    let exit = "executor failed running [/bin/sh -c false]: exit code: 1";
    let steps = [("importing cache manifest from h/n:t", "h/n:t: not found"), ("[2/2] RUN false", exit)];
    assert_eq!(reason(exit, &steps), SolveError::StepFailed { step: "[2/2] RUN false".into(), exit_code: 1 });
}

#[test]
fn base_images_are_named() {
    let text = "failed to solve: h:5/ns/base:1: failed to resolve source metadata for h:5/ns/base:1: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
    let SolveError::BaseImage { image, message } = reason(text, &[]) else { panic!("a base image") };
    assert_eq!(image, "h:5/ns/base:1");
    assert!(message.starts_with("pull access denied"), "{message}");
    let steps = [("[internal] load metadata for h:5/ns/base:1", "h:5/ns/base:1: not found")];
    assert_eq!(
        reason("failed to solve with frontend dockerfile.v0: failed to create LLB definition: h:5/ns/base:1: not found", &steps),
        SolveError::BaseImage { image: "h:5/ns/base:1".into(), message: "not found".into() }
    );
    let refused = "pulling from host h:5 failed with status code [manifests 1]: 401 Unauthorized";
    let text = format!("failed to solve with frontend dockerfile.v0: failed to create LLB definition: {refused}");
    let steps = [("[internal] load metadata for h:5/ns/base:1", refused)];
    assert_eq!(reason(&text, &steps), SolveError::BaseImage { image: "h:5/ns/base:1".into(), message: refused.into() });
}

/// A Docker Engine takes a minute to give up on a layer, so its words stand here.
#[test]
fn an_image_whose_layers_cannot_be_had_is_named() {
    let words =
        |url: &str| format!("failed to copy: httpReadSeeker: failed open: {url}/v2/ns/base/blobs/sha256:00: 503 Service Unavailable");
    let engine = words("unexpected status code http://h:5");
    let steps = [("[1/2] FROM h:5/ns/base:1@sha256:11", engine.as_str())];
    assert_eq!(reason(&engine, &steps), SolveError::BaseImage { image: "h:5/ns/base:1@sha256:11".into(), message: engine.clone() });
    let buildkitd = words("unexpected status from GET request to http://h:5");
    let steps = [("[2/2] COPY a /", buildkitd.as_str())];
    let error = reason(&format!("failed to solve: {buildkitd}"), &steps);
    assert_eq!(error, SolveError::BaseImage { image: "h:5/ns/base".into(), message: buildkitd });
    assert!(error.is_passing());
}

#[test]
fn host_paths_stacks_and_wrappers_are_removed() {
    assert_eq!(
        scrub("rpc error: code = Unknown desc = failed: rpc error: code = Internal desc = open /var/lib/docker/tmp/buildkit-mount9/a/b: x"),
        "failed: open a/b: x"
    );
    assert_eq!(scrub("mount \"/data/docker/overlay2/abc/merged\": busy"), "mount \"…\": busy");
    assert_eq!(scrub("COPY /app/x https://h/docker/x: no"), "COPY /app/x https://h/docker/x: no");
    assert_eq!(
        scrub("broken\n1 v0.32 buildkitd\ngithub.com/moby/buildkit/solver.(*job).run\n\t/src/solver.go:12"),
        "broken\n1 v0.32 buildkitd"
    );
    assert!(scrub(&"x".repeat(10_000)).chars().count() <= MAX_TEXT + 1);
    assert_eq!(scrub("a / b // c"), "a / b // c");
}

#[test]
fn only_trouble_that_passes_is_tried_again() {
    assert!(push_is_transient("dial tcp 127.0.0.1:5000: connect: connection refused"));
    assert!(push_is_transient("received unexpected HTTP status: 503 Service Unavailable"));
    assert!(push_is_transient("could not find image from tag h/n:t: failed to get digest sha256:00: open …: no such file or directory"));
    assert!(!push_is_transient("denied: requested access to the resource is denied"));
    assert!(!push_is_transient("unauthorized: authentication required"));
    for later in [
        "pulling from host h:5 failed with status code [manifests 1]: 503 Service Unavailable",
        "pulling from host h:5 failed with status code [manifests 1]: 429 Too Many Requests",
        "unexpected status from HEAD request to https://h/v2/ns/base/manifests/1: 503 Service Unavailable",
        "failed to authorize: failed to fetch anonymous token: unexpected status: 503 Service Unavailable",
        "failed to do request: Head \"http://127.0.0.1:1/v2/ns/base/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
        "failed to do request: Head \"https://h/v2/ns/base/manifests/1\": net/http: TLS handshake timeout",
        "failed to do request: Head \"https://h/v2/ns/base/manifests/1\": dial tcp: lookup h on 10.0.0.1:53: read udp 10.0.0.2:1->10.0.0.1:53: i/o timeout",
        "toomanyrequests: You have reached your pull rate limit",
    ] {
        assert!(pull_is_transient(later), "{later}");
    }
    for never in [
        "not found",
        "pulling from host h:5 failed with status code [manifests 1]: 403 Forbidden",
        "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        "failed to do request: Head \"https://nowhere.invalid/v2/ns/base/manifests/1\": dial tcp: lookup nowhere.invalid on 10.0.0.1:53: no such host",
    ] {
        assert!(!pull_is_transient(never), "{never}");
    }
}
