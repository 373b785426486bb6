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
