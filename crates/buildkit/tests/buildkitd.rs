//! Builds in a real buildkitd. They fail, never skip, when there is no program.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::registry::{PASSWORD, Registry, USER};
use common::{BASE, Run, context, process_runs, request, run_at, unique, wait_for};
use slipway_buildkit::{
    CacheExport, Client, EngineAddress, Export, LayerCache, RegistryAuth, RegistryCredentials, RegistryRef, SolveError, SolveRequest,
};
use slipway_testkit::buildkitd::{Buildkitd, Listen};
use tokio::sync::mpsc;

async fn start() -> (Buildkitd, EngineAddress) {
    let daemon = Buildkitd::start(Listen::Socket).await.expect("buildkitd");
    let address = daemon.address().parse().expect("address");
    (daemon, address)
}

fn credentials(registry: &Registry, password: &str) -> RegistryCredentials {
    let mut credentials = RegistryCredentials::default();
    credentials.insert(registry.host.clone(), RegistryAuth { username: USER.to_owned(), password: password.to_owned().into() });
    credentials
}

fn pushed(registry: &Registry, mut asked: SolveRequest) -> SolveRequest {
    asked.export = Export::Push { repository: format!("{}/ns/app", registry.host), insecure: true };
    asked.credentials = credentials(registry, PASSWORD);
    asked
}

fn ran(run: &Run, step: &str) -> bool {
    assert!(run.result.is_ok(), "{:?} {}", run.result, run.log);
    !run.step(step).cached
}

#[tokio::test]
async fn a_build_has_steps_arguments_secrets_and_honours_dockerignore() {
    let (_daemon, address) = start().await;
    let info = Client::new(address.clone()).info().await.expect("info");
    assert!(info.to_string().starts_with("buildkitd 0."), "{info}");
    let number = unique();
    let folder = context(&[("kept.txt", "k"), ("dropped.txt", "d"), (".dockerignore", "*.txt\n!kept.txt\n")]);
    let text = format!(
        "{}FROM first AS wanted\nCOPY . /src\nARG WHO\nRUN --mount=type=secret,id=token,required=true echo \"hello $WHO {number}\"; \
         cd /src; echo *; /bin/busybox wc -c < /run/secrets/token\nFROM first\nRUN exit 1\n",
        BASE.replacen("scratch", "scratch AS first", 1)
    );
    let mut asked = request(&folder, &text);
    asked.target = Some("wanted".into());
    asked.build_args.insert("WHO".into(), "wörld".into());
    asked.secrets.insert("token".into(), Bytes::from_static(b"\x00\xff123"));
    let first = run_at(address.clone(), asked.clone()).await;
    assert!(ran(&first, "RUN --mount"), "the first time it runs");
    for words in [format!("hello wörld {number}"), "busybox kept.txt\n".to_owned(), "5\n".to_owned()] {
        assert!(first.log.contains(&words), "no `{words}` in {}", first.log);
    }
    assert!(!ran(&run_at(address.clone(), asked.clone()).await, "RUN --mount"));
    let again = SolveRequest { layer_cache: LayerCache::Ignore, ..asked.clone() };
    assert!(ran(&run_at(address.clone(), again).await, "RUN --mount"));
    asked.secrets.clear();
    asked.layer_cache = LayerCache::Ignore;
    let error = run_at(address, asked).await.result.expect_err("a required secret is missing");
    assert!(error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn failures_have_reasons_without_anything_of_the_daemon() {
    let (_daemon, address) = start().await;
    let folder = context(&[("file", "x")]);
    let reason = |text: String| {
        let (address, request) = (address.clone(), request(&folder, &text));
        async move {
            let ran = run_at(address, request).await;
            let error = ran.result.expect_err("must fail");
            let steps: String = ran.steps.iter().filter_map(|step| step.error.clone()).collect();
            for hidden in [".go:", "--root", "slipway-buildkitd-", "runc", "goroutine"] {
                assert!(!format!("{error:?} {steps}").contains(hidden), "`{hidden}` in {error:?} {steps}");
            }
            error
        }
    };
    let exit = reason(format!("{BASE}RUN echo {} && exit 42\n", unique())).await;
    assert!(matches!(&exit, SolveError::StepFailed { step, exit_code: 42 } if step.contains("exit 42")), "{exit:?}");
    let syntax = reason(format!("{BASE}\nRUNN echo\n")).await;
    assert!(
        matches!(&syntax, SolveError::DockerfileSyntax { line: Some(5), message } if message.contains("unknown instruction: RUNN")),
        "{syntax:?}"
    );
    assert!(matches!(reason(String::new()).await, SolveError::DockerfileSyntax { .. }));
    assert!(matches!(reason("RUN true\n".into()).await, SolveError::DockerfileSyntax { .. }));
    let missing = reason(format!("{BASE}COPY absent.txt /\n")).await;
    assert!(
        matches!(&missing, SolveError::StepRefused { step, message } if step.contains("COPY absent.txt") && message.contains("absent.txt")),
        "{missing:?}"
    );
    let nowhere = reason("FROM 127.0.0.1:1/ns/base:1\n".into()).await;
    assert!(matches!(&nowhere, SolveError::BaseImage { image, .. } if image == "127.0.0.1:1/ns/base:1"), "{nowhere:?}");
    let mut staged = request(&folder, &format!("{BASE}FROM scratch AS other\nCOPY file /\n"));
    staged.target = Some("zzz".into());
    assert_eq!(run_at(address.clone(), staged).await.result, Err(SolveError::StageNotFound { stage: "zzz".into() }));
}

#[tokio::test]
async fn an_image_is_pushed_by_its_digest_with_bearer_tokens() {
    let (_daemon, address) = start().await;
    let registry = Registry::start().await;
    let folder = context(&[]);
    let asked = pushed(&registry, request(&folder, &format!("{BASE}LABEL n={}\n", unique())));
    let refused = run_at(address.clone(), SolveRequest { credentials: credentials(&registry, "wrong"), ..asked.clone() }).await;
    let refused = refused.result.expect_err("wrong password");
    assert!(matches!(&refused, SolveError::Push { .. }) && !refused.is_passing(), "{refused:?}");
    let digest = run_at(address.clone(), asked).await.result.expect("pushed").digest.expect("a digest");
    assert_eq!(Some(&digest), registry.digest_of(&format!("ns/app:{digest}")).as_ref());
    assert_eq!(registry.manifests(), 1, "by its digest alone");
    let from = format!("FROM {}/ns/app@{digest}\nRUN echo from-it\n", registry.host);
    let denied = run_at(address.clone(), request(&folder, &from)).await.result.expect_err("no credentials");
    assert!(matches!(&denied, SolveError::BaseImage { .. }), "{denied:?}");
    let allowed = SolveRequest { credentials: credentials(&registry, PASSWORD), ..request(&folder, &from) };
    assert!(ran(&run_at(address.clone(), allowed).await, "RUN echo"));
    let mut away = request(&folder, BASE);
    away.export = Export::Push { repository: "127.0.0.1:1/ns/app".into(), insecure: true };
    let away = run_at(address, away).await.result.expect_err("nobody there");
    assert!(away.is_passing(), "{away:?}");
}

#[tokio::test]
async fn dropping_the_build_stops_its_process() {
    let (_daemon, address) = start().await;
    let folder = context(&[]);
    let number = unique().to_string();
    let asked = request(&folder, &format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n"));
    let (events, mut news) = mpsc::channel(16);
    let build = tokio::spawn(async move { Client::new(address).solve(asked, events).await });
    let drain = tokio::spawn(async move { while news.recv().await.is_some() {} });
    wait_for("the RUN", Duration::from_secs(30), || process_runs(&number)).await;
    build.abort();
    wait_for("the end of the RUN", Duration::from_secs(5), || !process_runs(&number)).await;
    drain.await.expect("events end with the build");
}

#[tokio::test]
async fn a_base_image_that_may_be_had_later_is_told_apart() {
    let (_daemon, address) = start().await;
    common::base_images_pass_or_not(address).await;
}

#[tokio::test]
async fn scopes_share_neither_folders_nor_results() {
    let (_daemon, address) = start().await;
    common::scopes_share_nothing(address).await;
}

#[tokio::test]
async fn a_cache_in_the_registry_serves_a_daemon_that_knows_nothing() {
    let registry = Registry::start().await;
    let folder = context(&[]);
    let cache = RegistryRef { name: format!("{}/ns/app:cache", registry.host), insecure: true };
    let first = BASE.replacen("scratch", "scratch AS first", 1);
    // The stage whose step is looked at is no part of the image.
    let text =
        format!("{first}RUN echo first > /made-{}\nFROM scratch\nCOPY --from=first /bin/sh /x\nCOPY --from=first /made-* /\n", unique());
    let mut asked = pushed(&registry, request(&folder, &text));
    asked.cache_from = vec![cache.clone()];
    asked.cache_export = CacheExport::Registry(cache.clone());
    {
        let (_daemon, address) = start().await;
        assert!(ran(&run_at(address, asked.clone()).await, "RUN echo"), "a cache that is not there yet is no error");
        assert!(registry.digest_of("ns/app:cache").is_some());
    }
    let (_daemon, address) = start().await;
    let second = run_at(address.clone(), asked.clone()).await;
    assert!(!ran(&second, "RUN echo"), "{:#?}", second.steps);
    // A registry that refuses the cache fails no build.
    let mut refused = request(&folder, &format!("{BASE}RUN echo {}\n", unique()));
    let nobody = RegistryRef { name: "127.0.0.1:1/ns/app:cache".into(), insecure: true };
    refused.cache_from = vec![nobody.clone()];
    refused.cache_export = CacheExport::Registry(nobody);
    assert!(ran(&run_at(address, refused).await, "RUN echo"));
}

/// Says that it is a buildkitd of this version, in gRPC.
async fn claims_to_be(version: &str) -> EngineAddress {
    use bollard_buildkit_proto::moby::buildkit::v1::InfoResponse;
    use bollard_buildkit_proto::moby::buildkit::v1::types::BuildkitVersion;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use prost::Message as _;
    let version = BuildkitVersion { version: version.to_owned(), ..BuildkitVersion::default() };
    let message = InfoResponse { buildkit_version: Some(version) }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    framed.extend(message);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = format!("buildkit+tcp://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let framed = Bytes::from(framed.clone());
            let answer = hyper::service::service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
                let ended =
                    hyper::HeaderMap::from_iter([(hyper::header::HeaderName::from_static("grpc-status"), "0".parse().expect("value"))]);
                let frames = [Ok::<_, std::convert::Infallible>(Frame::data(framed.clone())), Ok(Frame::trailers(ended))];
                let answer = hyper::Response::builder().header("content-type", "application/grpc");
                let answer = answer.body(StreamBody::new(futures_util::stream::iter(frames)));
                async move { answer }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(hyper::server::conn::http2::Builder::new(executor).serve_connection(io, answer));
        }
    });
    address.parse().expect("address")
}

#[tokio::test]
async fn a_buildkitd_that_is_too_old_is_refused_with_both_versions() {
    let info = Client::new(claims_to_be("v0.28.1").await).info().await.expect("new enough");
    assert_eq!(info.to_string(), "buildkitd 0.28.1");
    for old in ["v0.28.0", "v0.9.3", ""] {
        let error = Client::new(claims_to_be(old).await).info().await.expect_err(old);
        let found = if old.is_empty() { "unknown" } else { old };
        assert!(error.to_string().contains(&format!("`{found}`")) && error.to_string().contains("0.28.1"), "{error}");
        assert!(!error.is_transient());
    }
}
