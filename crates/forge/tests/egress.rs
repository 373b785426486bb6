//! The client for addresses that others give us, over real HTTP: what it connects to, and what it never does.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use slipway_forge::egress::{EgressError, Resolver};
use slipway_forge::{Egress, EgressPolicy};
use url::Url;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";

/// Answers that are still to be given, and what was asked.
type Played = (VecDeque<Vec<IpAddr>>, Vec<String>);

/// Gives each answer once, in order, and counts the questions.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Played>>);

impl Script {
    fn of(answers: &[&[&str]]) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().0 = answers.iter().map(|list| list.iter().map(|text| text.parse().unwrap()).collect()).collect();
        script
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

#[async_trait]
impl Resolver for Script {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut state = self.0.lock().unwrap();
        state.1.push(host.to_owned());
        state.0.pop_front().ok_or_else(|| std::io::Error::other("no such name"))
    }
}

/// A server that answers by a function and remembers what came.
struct Server {
    origin: Url,
    seen: Arc<Mutex<Vec<Request<()>>>>,
}

impl Server {
    async fn start(reply: impl Fn(&str) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let seen: Arc<Mutex<Vec<Request<()>>>> = Arc::default();
        let (log, reply) = (seen.clone(), Arc::new(reply));
        let app = axum::Router::new().fallback(move |request: Request| {
            let response = reply(request.uri().path());
            log.lock().unwrap().push(request.map(drop));
            async { response }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, seen }
    }

    fn named(&self, name: &str, path: &str) -> Url {
        format!("http://{name}:{}{path}", self.origin.port().unwrap()).parse().unwrap()
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn png() -> Response {
    Response::new(Body::from(PNG))
}

fn redirect(to: &str) -> Response {
    Response::builder().status(302).header("location", to).body(Body::empty()).unwrap()
}

fn elsewhere() -> Url {
    "https://github.example".parse().unwrap()
}

fn loopback() -> EgressPolicy {
    EgressPolicy::allowing(["127.0.0.1"]).unwrap()
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, EgressError>) -> bool {
    matches!(result, Err(EgressError::Refused(_)))
}

#[tokio::test]
async fn a_picture_is_what_its_first_bytes_say() {
    for (body, expected) in [
        (PNG, Some("image/png")),
        (b"\xff\xd8\xff\xe0rest", Some("image/jpeg")),
        (b"GIF89a...", Some("image/gif")),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", Some("image/webp")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html><script>", None),
        (b"", None),
        (b"GIF89", None),
    ] {
        let server = Server::start(move |_| Response::builder().header("content-type", "image/png").body(Body::from(body)).unwrap()).await;
        let found = Egress::default().picture(&server.origin, &server.origin).await;
        assert_eq!(found.ok().map(|picture| picture.media_type), expected, "{body:?}");
    }
}

#[tokio::test]
async fn the_providers_own_origin_is_allowed_and_no_other_private_one() {
    let server = Server::start(|_| png()).await;
    let egress = Egress::default();
    let address = server.origin.join("avatars/1").unwrap();
    assert_eq!(egress.picture(&address, &server.origin).await.unwrap().content, PNG);
    assert!(is_refused(egress.picture(&address, &elsewhere()).await));
    assert_eq!(server.seen(), 1);
    let sent = server.seen.lock().unwrap()[0].headers().clone();
    for header in ["authorization", "cookie", "referer"] {
        assert!(!sent.contains_key(header), "{header}");
    }
    assert_eq!(Egress::new(loopback()).picture(&address, &elsewhere()).await.unwrap().content, PNG);
}

#[tokio::test]
async fn what_is_not_plain_http_or_names_a_private_host_is_refused_without_asking_anybody() {
    let script = Script::default();
    let egress = Egress::with_resolver(EgressPolicy::public_only(), Arc::new(script.clone()));
    for bad in [
        "file:///etc/passwd",
        "ftp://example.com/x",
        "data:image/png;base64,AAAA",
        "http://user:pw@example.com/",
        "http://token@example.com/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://metadata.google.internal/",
    ] {
        assert!(is_refused(egress.picture(&bad.parse().unwrap(), &elsewhere()).await), "{bad}");
    }
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn every_address_of_a_name_is_checked() {
    for answers in [&["127.0.0.1"][..], &["8.8.8.8", "10.0.0.1"], &["::1"], &["fd00::1", "2606:50c0::1"], &["169.254.169.254"]] {
        let script = Script::of(&[answers]);
        let egress = Egress::with_resolver(EgressPolicy::public_only(), Arc::new(script));
        assert!(is_refused(egress.picture(&"http://evil.example/a".parse().unwrap(), &elsewhere()).await), "{answers:?}");
    }
    let nothing = Egress::with_resolver(EgressPolicy::public_only(), Arc::new(Script::of(&[&[]])));
    let result = nothing.picture(&"http://evil.example/".parse().unwrap(), &elsewhere()).await;
    assert!(matches!(result, Err(EgressError::Unreachable(_))));
}

/// A name that leads to a public address while it is checked, and to this machine when it is asked again.
#[tokio::test]
async fn a_name_that_changes_its_address_is_asked_only_once() {
    let secret = Server::start(|_| png()).await;
    let script = Script::of(&[&["192.0.0.8"], &["127.0.0.1"], &["127.0.0.1"]]);
    // Somewhere that is not this machine and takes no connection; allowed here so that the check lets it through.
    let egress = Egress::with_resolver(EgressPolicy::allowing(["192.0.0.8"]).unwrap(), Arc::new(script.clone()));
    let result = tokio::time::timeout(Duration::from_secs(20), egress.picture(&secret.named("rebind.example", "/"), &elsewhere())).await;
    assert!(matches!(result.unwrap(), Err(EgressError::Unreachable(_))));
    assert_eq!((script.asked().len(), secret.seen()), (1, 0));

    // The other way round: the connection goes to the very address that was checked.
    let script = Script::of(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let egress = Egress::with_resolver(loopback(), Arc::new(script.clone()));
    assert!(egress.picture(&secret.named("rebind.example", "/"), &elsewhere()).await.is_ok());
    assert_eq!((script.asked(), secret.seen()), (vec!["rebind.example".to_owned()], 1));
    let host = secret.seen.lock().unwrap()[0].headers()["host"].to_str().unwrap().to_owned();
    assert!(host.starts_with("rebind.example:"), "{host}");
}

#[tokio::test]
async fn each_redirect_is_checked_anew() {
    let secret = Server::start(|_| png()).await;
    let inside = secret.origin.to_string().replace("127.0.0.1", "127.0.0.2");
    let front = Server::start(move |path| match path {
        "/private" => redirect(&inside),
        "/metadata" => redirect("http://169.254.169.254/latest/"),
        "/file" => redirect("file:///etc/passwd"),
        "/name" => redirect("http://second.example/"),
        "/loop" => redirect("/loop"),
        "/near" => redirect("/picture"),
        "/nowhere" => Response::builder().status(302).body(Body::empty()).unwrap(),
        _ => png(),
    })
    .await;
    let get = |path: &'static str, answers: &[&[&str]]| {
        let egress = Egress::with_resolver(loopback(), Arc::new(Script::of(answers)));
        let url = front.named("first.example", path);
        async move { egress.picture(&url, &elsewhere()).await }
    };
    for path in ["/private", "/metadata", "/file"] {
        assert!(is_refused(get(path, &[&["127.0.0.1"]]).await), "{path}");
    }
    assert!(is_refused(get("/name", &[&["127.0.0.1"], &["10.0.0.1"]]).await));
    // The same name again is asked, and checked, again.
    assert!(is_refused(get("/near", &[&["127.0.0.1"], &["10.0.0.1"]]).await));
    assert!(get("/near", &[&["127.0.0.1"], &["127.0.0.1"]]).await.is_ok());
    let many: &[&[&str]] = &[&["127.0.0.1"][..]; 9];
    assert!(matches!(get("/loop", many).await, Err(EgressError::Unexpected { detail, .. }) if detail.contains("redirects")));
    assert!(matches!(get("/nowhere", many).await, Err(EgressError::Unexpected { detail, .. }) if detail.contains("usable address")));
    assert_eq!(secret.seen(), 0);
}

#[tokio::test]
async fn size_and_status_are_capped() {
    let server = Server::start(|path| match path {
        "/large" => Response::new(Body::from([PNG, &vec![0; 256 * 1024]].concat())),
        "/fits" => Response::new(Body::from([PNG, &vec![0; 256 * 1024 - PNG.len()]].concat())),
        _ => Response::builder().status(404).body(Body::from(PNG)).unwrap(),
    })
    .await;
    let get = |path: &str| {
        let url = server.origin.join(path).unwrap();
        let own = server.origin.clone();
        async move { Egress::default().picture(&url, &own).await }
    };
    assert_eq!(get("fits").await.unwrap().content.len(), 256 * 1024);
    assert!(matches!(get("large").await, Err(EgressError::Unexpected { detail, .. }) if detail.contains("longer")));
    assert!(matches!(get("none").await, Err(EgressError::Unexpected { status: 404, .. })));
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let began = tokio::time::Instant::now();
    let result = tokio::time::timeout(Duration::from_secs(60), Egress::default().picture(&origin, &origin)).await;
    assert!(matches!(result.expect("a timeout of ours comes first"), Err(EgressError::Unreachable(_))));
    // The clock stands but for what is waited for.
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
}
