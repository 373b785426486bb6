//! What the builder's tests share: a server that plays the protocol, git over smart HTTP, a registry, and a running builder.

pub mod git;
#[path = "../../../buildkit/tests/common/registry.rs"]
pub mod registry;
pub mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_builder::{BuilderConfig, BuilderError, EngineBounds};
use slipway_model::{AccountId, BuildId, BuildRule, BuilderId, EnvironmentVariable, FailureReason, Lane, Phase, RepositoryId};
use slipway_wire::{Assignment, Credential, Event, Outcome, RegistryTarget, Source, TrustScope};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use git::GitHost;
use registry::Registry;
use server::Server;

pub const ENGINE: &str = "unix:///var/run/docker.sock";
pub const SECRET: &str = "very-secret-value-1234";
/// The lines every Dockerfile of these tests begins with.
pub const BASE: &str = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n";

/// Everything around one builder, and the builder.
pub struct World {
    pub server: Arc<Server>,
    pub git: GitHost,
    pub registry: Registry,
    pub work: tempfile::TempDir,
    pub shutdown: CancellationToken,
    pub builder: JoinHandle<Result<(), BuilderError>>,
}

impl World {
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let engine = slipway_buildkit::Engine::new(ENGINE.parse().expect("address"));
        if let Err(error) = engine.info().await {
            panic!("{error}\nhint: {}", error.hint().unwrap_or("start a Docker Engine"));
        }
        Self::start_with(files, ENGINE, Duration::from_secs(60)).await
    }

    pub async fn start_with(files: &[(&str, &str)], engine: &str, drain: Duration) -> Self {
        Self::start_bounded(files, engine, drain, EngineBounds::default()).await
    }

    /// With engines of their own that may take no more than this.
    pub async fn start_bounded(files: &[(&str, &str)], engine: &str, drain: Duration, bounds: EngineBounds) -> Self {
        Self::start_within(&std::env::temp_dir(), files, engine, drain, bounds).await
    }

    /// With the builder's folder somewhere.
    pub async fn start_within(folder: &Path, files: &[(&str, &str)], engine: &str, drain: Duration, bounds: EngineBounds) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init().ok();
        }
        let server = Server::start().await;
        let git = GitHost::start(files).await;
        let registry = Registry::start().await;
        let work = tempfile::tempdir_in(folder).expect("folder");
        let config = BuilderConfig {
            server_url: server.url().parse().expect("url"),
            credential: slipway_builder::Credential::Own(server::TOKEN.to_owned().into()),
            name: "test".to_owned(),
            engine: engine.parse().expect("address"),
            bounds,
            parallel: 2,
            work_dir: work.path().join("work"),
            drain_timeout: drain,
        };
        let shutdown = CancellationToken::new();
        let builder = tokio::spawn(slipway_builder::run(config, shutdown.clone()));
        Self { server, git, registry, work, shutdown, builder }
    }

    /// A build of a ref as it stands now.
    pub fn assignment(&self, name: &str) -> Assignment {
        let mut rule = BuildRule::default_for("main".parse().expect("pattern"));
        rule.dockerfile = "Dockerfile".parse().expect("path");
        Assignment {
            builder: BuilderId::new(),
            build: BuildId::new(),
            attempt: 1,
            lease_seconds: 30,
            time_limit_seconds: 300,
            source: Source {
                clone_url: self.git.url(),
                credential: Some(Credential { username: git::USER.into(), password: git::PASSWORD.into() }),
                ssh: None,
                credential_words: Some("a token of the link".into()),
                because: None,
                source_ref: name.parse().expect("ref"),
                commit: self.git.commit(name).parse().expect("commit"),
                base: None,
                network: slipway_wire::Network::default(),
            },
            rule,
            tags: vec!["latest".parse().expect("tag"), "v1".parse().expect("tag")],
            no_cache: false,
            environment: vec![EnvironmentVariable { name: "API_KEY".into(), value: SECRET.into(), secret: false }],
            repository: RepositoryId::new(),
            registry: RegistryTarget {
                host: self.registry.host.clone(),
                insecure: true,
                repository: "demo/hello".parse().expect("path"),
                credential: Credential { username: registry::USER.into(), password: registry::PASSWORD.into() },
            },
            scope: TrustScope { account: AccountId::new(), lane: Lane::Trusted },
            publish: true,
            hooks: true,
            base_registry: None,
        }
    }

    /// Runs a build to its end.
    pub async fn build(&self, assignment: Assignment) -> Outcome {
        let build = assignment.build;
        self.server.queue(assignment);
        self.server.outcome(build).await
    }

    pub async fn reason(&self, assignment: Assignment) -> FailureReason {
        match self.build(assignment).await {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.builder).await.expect("the builder ends").expect("no panic");
        ended.expect("no error");
    }

    /// `docker` against the engine of its own that the assignment's scope has.
    pub fn own_docker(&self, assignment: &Assignment, args: &[&str]) -> String {
        let folder = self.work.path().join("work/engines").join(assignment.scope.account.to_string());
        let socket = format!("unix://{}/api/sock", folder.display());
        docker(&[&["--host", socket.as_str()], args].concat())
    }

    /// Names in the builder's folder of builds.
    pub fn build_folders(&self) -> usize {
        std::fs::read_dir(self.work.path().join("work/builds")).map(Iterator::count).unwrap_or(0)
    }
}

/// Phases in the order of their beginnings.
pub fn phases(events: &[Event]) -> Vec<Phase> {
    events.iter().filter_map(|event| if let Event::PhaseStarted { phase, .. } = event { Some(*phase) } else { None }).collect()
}

pub fn log(events: &[Event]) -> String {
    events.iter().filter_map(|event| if let Event::Log { text, .. } = event { Some(text.as_str()) } else { None }).collect()
}

/// True while a process with this word in its command line runs on the machine.
pub fn process_runs(word: &str) -> bool {
    std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(word.len()).any(|part| part == word.as_bytes())
    })
}

pub async fn wait_for(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "{what} did not happen within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// A number that no other run uses.
pub fn unique() -> u64 {
    uuid::Uuid::new_v4().as_u128() as u64 % 1_000_000_000 + 1_000_000_000
}

pub fn docker(args: &[&str]) -> String {
    let done = std::process::Command::new("/usr/bin/docker").args(args).output().expect("docker");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
