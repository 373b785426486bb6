//! Engines over TCP with certificates on both sides: a real buildkitd, and the real Docker Engine behind a listener that asks for certificates.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{BASE, context, request, run_at, store, unique};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use slipway_buildkit::{Client, ClientIdentity, Engine, EngineAddress, EngineTls, TlsError};
use slipway_testkit::buildkitd::{Buildkitd, Listen};
use slipway_testkit::certificates::{Authority, Issued, Validity};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the test")
}

fn identity(issued: &Issued) -> ClientIdentity {
    ClientIdentity { certificate: text(&issued.certificate), key: text(&issued.key).into() }
}

fn tls(authority: &Authority, client: Option<&Issued>) -> EngineTls {
    EngineTls::new(&text(&authority.certificate()), client.map(identity).as_ref()).expect("certificates")
}

/// What a client says of the engine.
async fn problem(address: &EngineAddress, tls: EngineTls) -> String {
    let error = Client::new(address.clone().with_tls(tls)).info().await.expect_err("must be refused");
    assert!(error.hint().is_some_and(|hint| hint.contains("engine_ca_file")), "{error}: {:?}", error.hint());
    error.to_string()
}

async fn each_mistake_has_its_words(address: &EngineAddress, ours: &Authority) {
    let other = Authority::new().expect("authority");
    let stranger = other.issue("stranger", Validity::Good).expect("issued");
    let expired = ours.issue("expired", Validity::Expired).expect("issued");
    for (tls, words) in [
        (tls(ours, None), "client certificate"),
        (tls(ours, Some(&stranger)), "client certificate"),
        (tls(ours, Some(&expired)), "client certificate"),
        (tls(&other, Some(&stranger)), "not of the configured authority"),
    ] {
        let said = problem(address, tls).await;
        assert!(said.contains(words) && said.contains("127.0.0.1"), "expected `{words}`: {said}");
    }
}

#[tokio::test]
async fn a_buildkitd_and_its_builder_know_each_other() {
    let ours = Authority::new().expect("authority");
    let server = ours.issue("server", Validity::Good).expect("issued");
    let daemon = Buildkitd::start(Listen::Tls { server: &server, clients: &ours.certificate() }).await.expect("buildkitd");
    let address: EngineAddress = daemon.address().parse().expect("address");
    each_mistake_has_its_words(&address, &ours).await;
    // Without any certificate nobody is understood.
    Client::new(address.clone()).info().await.expect_err("plain");
    let client = ours.issue("client", Validity::Good).expect("issued");
    let address = address.with_tls(tls(&ours, Some(&client)));
    let info = Client::new(address.clone()).info().await.expect("known to each other");
    assert_eq!(info.name, "buildkitd");
    let folder = context(&[]);
    let ran = run_at(address, request(&folder, &format!("{BASE}RUN echo over-tls-{}\n", unique()))).await;
    assert!(ran.result.is_ok() && ran.log.contains("over-tls-"), "{:?}", ran.result);
}

#[tokio::test]
async fn an_expired_certificate_of_the_engine_is_named() {
    let ours = Authority::new().expect("authority");
    let server = ours.issue("server", Validity::Expired).expect("issued");
    let daemon = Buildkitd::start(Listen::Tls { server: &server, clients: &ours.certificate() }).await.expect("buildkitd");
    let client = ours.issue("client", Validity::Good).expect("issued");
    let said = problem(&daemon.address().parse().expect("address"), tls(&ours, Some(&client))).await;
    assert!(said.contains("has expired"), "{said}");
}

/// Passes what comes by TLS on to the machine's Docker Engine.
async fn docker_over_tls(ours: &Authority, server: &Issued) -> EngineAddress {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ours.certificate()).expect("pem")).expect("root");
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().expect("verifier");
    let chain = vec![CertificateDer::from_pem_file(&server.certificate).expect("pem")];
    let key = PrivateKeyDer::from_pem_file(&server.key).expect("pem");
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_client_cert_verifier(clients).with_single_cert(chain, key).expect("config");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = format!("tcp://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut engine = UnixStream::connect("/var/run/docker.sock").await.expect("the engine");
                tokio::io::copy_bidirectional(&mut outside, &mut engine).await.ok();
            });
        }
    });
    address.parse().expect("address")
}

#[tokio::test]
async fn a_docker_engine_and_its_builder_know_each_other() {
    common::engine().await;
    let ours = Authority::new().expect("authority");
    let server = ours.issue("server", Validity::Good).expect("issued");
    let address = docker_over_tls(&ours, &server).await;
    each_mistake_has_its_words(&address, &ours).await;
    let client = ours.issue("client", Validity::Good).expect("issued");
    let address = address.with_tls(tls(&ours, Some(&client)));
    assert_eq!(Client::new(address.clone()).info().await.expect("known to each other").name, "Docker Engine");
    let name = format!("slipway-test-tls:{}", unique());
    let folder = context(&[]);
    let mut asked = request(&folder, &format!("{BASE}RUN echo over-tls\n"));
    asked.export = store(&name);
    run_at(address.clone(), asked).await.result.expect("built");
    let engine = Engine::new(address);
    assert!(engine.has_image(&name).await.expect("asked"));
    engine.remove_image(&name).await.expect("removed");
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_before_anything_is_dialled() {
    let (ours, other) = (Authority::new().expect("authority"), Authority::new().expect("authority"));
    let (one, two) = (ours.issue("one", Validity::Good).expect("issued"), other.issue("two", Validity::Good).expect("issued"));
    let authority = text(&ours.certificate());
    assert!(matches!(EngineTls::new("no PEM", None), Err(TlsError::Authority(_))));
    let bad = ClientIdentity { certificate: "no PEM".into(), ..identity(&one) };
    assert!(matches!(EngineTls::new(&authority, Some(&bad)), Err(TlsError::Certificate(_))));
    let bad = ClientIdentity { key: "no PEM".to_owned().into(), ..identity(&one) };
    assert!(matches!(EngineTls::new(&authority, Some(&bad)), Err(TlsError::Key(_))));
    let mixed = ClientIdentity { key: identity(&two).key, ..identity(&one) };
    assert_eq!(EngineTls::new(&authority, Some(&mixed)).err(), Some(TlsError::Key("does not belong to the certificate".into())));
    let exposed: EngineAddress = "tcp://192.0.2.1:2375".parse().expect("address");
    let error = Engine::new(exposed).info().await.expect_err("not dialled");
    assert!(error.to_string().contains("plain TCP"), "{error}");
}
