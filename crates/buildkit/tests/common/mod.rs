//! What the tests against a real engine share: the engine, contexts made of busybox, and a recorder of progress.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod registry;

use std::path::Path;
use std::time::Duration;

use slipway_buildkit::{
    Client, DockerfileText, Engine, EngineAddress, Export, SolveError, SolveEvent, SolveOutput, SolveRequest, Tree, Vertex,
};
use tokio::sync::mpsc;

/// The engine that must answer: these tests are never skipped.
pub fn address() -> EngineAddress {
    "unix:///var/run/docker.sock".parse().expect("address")
}

pub async fn engine() -> Engine {
    let engine = Engine::new(address());
    if let Err(error) = engine.info().await {
        panic!("{error}\nhint: {}", error.hint().unwrap_or("start a Docker Engine"));
    }
    engine
}

/// A context with busybox as its shell, and these files.
pub fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists()).expect("busybox-static");
    std::fs::copy(busybox, folder.path().join("busybox")).expect("busybox");
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folders");
        std::fs::write(path, content).expect("file");
    }
    folder
}

/// The lines every Dockerfile of these tests begins with.
pub const BASE: &str = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n";

pub fn request(folder: &tempfile::TempDir, dockerfile: &str) -> SolveRequest {
    let tree = Tree::open(folder.path()).expect("tree");
    let text = DockerfileText { path: "Dockerfile".into(), content: dockerfile.to_owned().into(), ignore: None };
    SolveRequest::new(tree, text)
}

/// What a build reported and how it ended.
pub struct Run {
    pub steps: Vec<Vertex>,
    pub log: String,
    pub result: Result<SolveOutput, SolveError>,
}

impl Run {
    pub fn step(&self, name: &str) -> &Vertex {
        self.steps.iter().rfind(|step| step.name.contains(name)).unwrap_or_else(|| panic!("no step `{name}` in {:#?}", self.steps))
    }
}

pub async fn run(request: SolveRequest) -> Run {
    run_at(address(), request).await
}

pub async fn run_at(address: EngineAddress, request: SolveRequest) -> Run {
    let (events, mut news) = mpsc::channel(16);
    let collect = async {
        let (mut steps, mut log) = (Vec::<Vertex>::new(), String::new());
        while let Some(event) = news.recv().await {
            match event {
                SolveEvent::Vertex(step) => steps.push(step),
                SolveEvent::Log { bytes, .. } => log.push_str(&String::from_utf8_lossy(&bytes)),
            }
        }
        (steps, log)
    };
    let client = Client::new(address);
    let (result, (steps, log)) = tokio::join!(client.solve(request, events), collect);
    Run { steps, log, result }
}

/// Builds of two scopes on one engine: each finds what it left itself, in folders of `--mount=type=cache` and in results of steps.
pub async fn scopes_share_nothing(address: EngineAddress) {
    let folder = context(&[]);
    let number = unique();
    let build = |scope: &'static str, round: u32| {
        // The mount's folder is named alike in all of them; the step prints what lies there and adds a word. A build without cache would begin
        // with empty folders.
        let run = format!("echo {round} \"found:$(/bin/busybox cat /c/* 2>/dev/null)\"; echo {scope} >> /c/{scope}");
        let mut asked = request(&folder, &format!("{BASE}RUN --mount=type=cache,id=shared-{number},target=/c {run}\n"));
        asked.cache_scope = Some(slipway_buildkit::CacheScope::of(&[scope]));
        // What a person says cannot choose another one.
        asked.build_args.insert("BUILDKIT_CACHE_MOUNT_NS".into(), "chosen".into());
        run_at(address.clone(), asked)
    };
    for (round, scope, found) in [(1, "one", "found:\n"), (2, "two", "found:\n"), (3, "one", "found:one\n")] {
        let ran = build(scope, round).await;
        assert!(ran.result.is_ok() && ran.log.contains(found), "{scope}: {:?} {}", ran.result, ran.log);
    }
    // The same words in two scopes are two steps: the result of one may hold what the other may not see.
    let same = |scope: &str| {
        let mut asked = request(&folder, &format!("{BASE}RUN echo step-{number}\n"));
        asked.cache_scope = Some(slipway_buildkit::CacheScope::of(&[scope]));
        run_at(address.clone(), asked)
    };
    assert!(!same("one").await.step("RUN echo").cached);
    assert!(!same("two").await.step("RUN echo").cached, "a result crossed scopes");
    assert!(same("one").await.step("RUN echo").cached);
}

/// True while a process with this word in its command line runs on the machine.
pub fn process_runs(word: &str) -> bool {
    std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let own = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) == Some(std::process::id());
        !own && line.windows(word.len()).any(|part| part == word.as_bytes())
    })
}

/// Waits until the condition holds.
pub async fn wait_for(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "{what} did not happen within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// A number that no other test run uses, for command lines and image names.
pub fn unique() -> u64 {
    let nanos = uuid::Uuid::new_v4().as_u128() as u64;
    nanos % 1_000_000_000 + 1_000_000_000
}

pub fn store(name: &str) -> Export {
    Export::EngineStore { name: name.to_owned() }
}

/// A registry that is ill; the name of the image says how.
async fn ill_registry() -> String {
    use axum::http::{StatusCode, Uri, header};
    use axum::response::{IntoResponse as _, Response};
    use sha2::Digest as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = format!("127.0.0.1:{}", listener.local_addr().expect("address").port());
    let digest = |bytes: &str| format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)));
    let diff = digest("a layer");
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff] }, "history": [{ "created_by": "x" }] });
    let (config, kind) = (config.to_string(), "application/vnd.docker.distribution.manifest.v2+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": kind,
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config) },
        "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1000, "digest": diff }] });
    let (manifest, challenge) = (manifest.to_string(), format!("Bearer realm=\"http://{host}/token\",service=\"x\""));
    let answer = move |uri: Uri| -> Response {
        let path = uri.path();
        let error = |status: u16, code: &str| {
            (
                StatusCode::from_u16(status).expect("status"),
                format!(r#"{{"errors":[{{"code":"{code}","message":"words of the registry"}}]}}"#),
            )
                .into_response()
        };
        match path.trim_start_matches("/v2/ns/").split('/').next().unwrap_or_default() {
            "busy" => error(503, "UNAVAILABLE"),
            "limited" => error(429, "TOOMANYREQUESTS"),
            "gone" => error(404, "MANIFEST_UNKNOWN"),
            "denied" => error(403, "DENIED"),
            "asks" => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge.clone())]).into_response(),
            "layers" if path.contains("/manifests/") => (
                [(header::CONTENT_TYPE, kind.to_owned()), ("docker-content-digest".parse().expect("name"), digest(&manifest))],
                manifest.clone(),
            )
                .into_response(),
            "layers" if path.ends_with(&digest(&config)) => config.clone().into_response(),
            // The token service among them.
            _ => error(503, "UNAVAILABLE"),
        }
    };
    let app = axum::Router::new().fallback(move |uri: Uri| std::future::ready(answer(uri)));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
    host
}

/// Of base images that cannot be had, those that may be had later are told apart.
pub async fn base_images_pass_or_not(address: EngineAddress) {
    // A Docker Engine tries to get a layer for a minute before it says anything.
    let layers = address.to_string().starts_with("buildkit+");
    let (folder, host) = (context(&[]), ill_registry().await);
    let images = [
        (format!("{host}/ns/busy:1"), true),
        (format!("{host}/ns/limited:1"), true),
        (format!("{host}/ns/asks:1"), true),
        (format!("{host}/ns/layers:1"), true),
        ("127.0.0.1:1/ns/base:1".to_owned(), true),
        (format!("{host}/ns/gone:1"), false),
        (format!("{host}/ns/denied:1"), false),
        ("nowhere.invalid/ns/base:1".to_owned(), false),
    ];
    for (image, passes) in images.into_iter().filter(|(image, _)| layers || !image.contains("/layers:")) {
        let error = run_at(address.clone(), request(&folder, &format!("FROM {image}\nCOPY busybox /\n"))).await.result.expect_err(&image);
        let name = image.trim_end_matches(":1");
        assert!(matches!(&error, SolveError::BaseImage { image: named, .. } if named.starts_with(name)), "{image}: {error:?}");
        assert_eq!(error.is_passing(), passes, "{image}: {error:?}");
    }
}
