//! Whole builds: a real engine, real git over HTTP, a registry, and a server that plays the protocol.

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BASE, SECRET, World, docker, git, log, phases, process_runs, unique, wait_for};
use slipway_model::{BuildArgument, BuildId, EnvironmentVariable, FailureCode, Phase, StepState};
use slipway_wire::{Assignment, Base, EngineStatus, Event, Outcome};

fn sut(command: &str) -> String {
    format!("services:\n  sut:\n    image: ${{IMAGE_NAME}}\n    command: [\"/bin/sh\", \"-c\", \"{command}\"]\n")
}

#[tokio::test]
async fn a_rule_says_stage_and_arguments() {
    let number = unique();
    let first = BASE.replacen("scratch", "scratch AS first", 1);
    let dockerfile = format!(
        "{first}ARG API_KEY\nARG SOURCE_BRANCH\nRUN echo \"{number} first $API_KEY $SOURCE_BRANCH\"\nFROM nowhere.invalid/missing\n"
    );
    let world = World::start(&[("Dockerfile", &dockerfile)]).await;
    let mut assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    assignment.rule.target = "first".parse().expect("stage");
    let argument = |name: &str, value: &str| BuildArgument { name: name.into(), value: value.into() };
    assignment.rule.args = vec![argument("API_KEY", "the-rule's"), argument("NO_PROXY", "undeclared")].try_into().expect("arguments");
    let outcome = world.build(assignment).await;
    let text = log(&world.server.events(build));
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
    assert!(text.contains(&format!("{number} first the-rule's main")), "{text}");

    let mut assignment = world.assignment("refs/heads/main");
    assignment.rule.target = "second".parse().expect("stage");
    let reason = world.reason(assignment).await;
    assert_eq!(reason.code, FailureCode::DockerfileInvalid, "{reason}");
    assert!(reason.text.contains("second"), "{reason}");
    world.stop().await;
}

/// What is in a layer.
fn unpacked(content: &[u8]) -> Vec<u8> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return content.to_vec();
    }
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let (mut stdin, packed) = (gzip.stdin.take().expect("stdin"), content.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&packed).expect("written"));
    let done = gzip.wait_with_output().expect("gzip ends");
    writer.join().expect("written");
    assert!(done.status.success());
    done.stdout
}

#[tokio::test]
async fn a_secret_variable_is_mounted_and_no_argument() {
    let number = unique();
    let dockerfile = format!(
        "# syntax-is-not-needed\n{BASE}ARG API_KEY\nRUN --mount=type=secret,id=API_KEY echo {number} arg=$API_KEY mounted=$(/bin/busybox wc -c < /run/secrets/API_KEY)\n"
    );
    let test = sut("test $$API_KEY").replace("    command", "    environment: {API_KEY: \"${API_KEY}\"}\n    command");
    let world = World::start(&[("Dockerfile", &dockerfile), ("docker-compose.test.yml", &test)]).await;
    let mut assignment = world.assignment("refs/heads/main");
    assignment.environment[0].secret = true;
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    let text = log(&world.server.events(build));
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
    assert!(text.contains(&format!("{number} arg= mounted={}", SECRET.len())), "{text}");
    assert!(text.contains("`ARG API_KEY` gets nothing: the variable is secret"), "{text}");
    // Neither history nor layers of what was pushed hold it; the number of the test is in the history.
    let pushed: Vec<Vec<u8>> = world.registry.contents().iter().map(|content| unpacked(content)).collect();
    let holds = |needle: &str| pushed.iter().any(|content| content.windows(needle.len()).any(|part| part == needle.as_bytes()));
    assert!(holds(&number.to_string()) && !holds(SECRET));
    world.stop().await;
}

#[tokio::test]
async fn the_key_of_the_checkout_reaches_no_build() {
    let number = unique();
    let mount = "--mount=type=secret,id=SSH_PRIVATE";
    let dockerfile = format!(
        "{BASE}ARG SSH_PRIVATE=nothing\nRUN {mount} echo {number} arg=$SSH_PRIVATE mounted=$(/bin/busybox ls /run/secrets | /bin/busybox wc -l)\n"
    );
    let test =
        sut("echo in-test-[$$SSH_PRIVATE]").replace("    command", "    environment: {SSH_PRIVATE: \"${SSH_PRIVATE:-}\"}\n    command");
    let world = World::start(&[("Dockerfile", &dockerfile), ("docker-compose.test.yml", &test)]).await;
    for secret in [true, false] {
        let mut assignment = world.assignment("refs/heads/main");
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\\nc2VjcmV0LWxpbmU=\\n-----END OPENSSH PRIVATE KEY-----";
        assignment.environment.push(EnvironmentVariable { name: "SSH_PRIVATE".into(), value: key.into(), secret });
        assignment.no_cache = true;
        let build = assignment.build;
        let outcome = world.build(assignment).await;
        let text = log(&world.server.events(build));
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
        assert!(text.contains(&format!("{number} arg=nothing mounted=0")), "{text}");
        assert!(text.contains("`ARG SSH_PRIVATE` gets nothing: that key is for the checkout alone"), "{text}");
        assert!(text.contains("in-test-[]") && !text.contains("c2VjcmV0LWxpbmU="), "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_build_that_is_not_needed_ends_before_the_engine() {
    let world = World::start(&[("Dockerfile", BASE), ("docs/a.md", "one")]).await;
    let base = Base::Image { number: 3, commit: world.git.commit("refs/heads/main").parse().expect("commit") };
    world.git.push(&[("Dockerfile", BASE), ("docs/a.md", "two")]);
    let with = |exclude: &str| {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.source.base = Some(base.clone());
        assignment.rule.paths.exclude = exclude.parse().expect("patterns");
        assignment
    };
    let unneeded = with("docs");
    let build = unneeded.build;
    let Outcome::Unneeded { reason } = world.build(unneeded).await else { panic!("built") };
    assert_eq!((reason.code, reason.text.contains("since #3")), (FailureCode::Unchanged, true), "{reason}");
    let events = world.server.events(build);
    assert_eq!(phases(&events), [Phase::Checkout]);
    let ended = events.iter().rev().find_map(|event| if let Event::Step { step } = event { Some(step.state) } else { None });
    assert_eq!(ended, Some(StepState::Success), "the step did what it was there for");
    assert!(matches!(world.build(with("other")).await, Outcome::Pushed { .. }));
    world.stop().await;
}

#[tokio::test]
async fn a_commit_becomes_a_tested_image() {
    let number = unique();
    let dockerfile = format!(
        "{BASE}ARG API_KEY\nARG SOURCE_BRANCH\nARG DOCKER_TAG\nRUN echo \"{number} key=$API_KEY branch=$SOURCE_BRANCH tags=$DOCKER_TAG\"\n"
    );
    let test = sut(&format!("echo in-test-{number} $$API_KEY; test -f /bin/busybox"))
        .replace("    command", "    environment: {API_KEY: \"${API_KEY}\"}\n    command");
    let world = World::start(&[("Dockerfile", &dockerfile), ("docker-compose.test.yml", &test)]).await;
    let assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    let events = world.server.events(build);
    let Outcome::Pushed { digest } = outcome else { panic!("{outcome:?}\n{}", log(&events)) };
    assert_eq!(Some(digest), world.registry.digest_of(&format!("demo/hello:build-{build}")));
    assert_eq!(phases(&events), [Phase::Checkout, Phase::Build, Phase::Test, Phase::Push]);
    let text = log(&events);
    assert!(text.contains(&format!("{number} key=*** branch=main tags=latest,v1")), "{text}");
    assert!(text.contains(&format!("in-test-{number} ***")), "{text}");
    let json = serde_json::to_string(&events).expect("json");
    for secret in [SECRET, git::PASSWORD, common::registry::PASSWORD] {
        assert!(!json.contains(secret), "{secret} is shown");
    }
    let steps: Vec<_> =
        events.iter().filter_map(|event| if let Event::Step { step } = event { Some(step.clone()) } else { None }).collect();
    let last = |id: &str| steps.iter().rfind(|step| step.id == id).unwrap_or_else(|| panic!("no step {id}")).state;
    assert_eq!([last("checkout"), last("test:docker-compose.test.yml"), last("push")], [StepState::Success; 3]);
    assert!(steps.iter().any(|step| step.phase == Phase::Build && step.name.contains("RUN echo")));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Commit { message, author, .. } if message == "a commit of the test" && author == "Ada"))
    );
    wait_for("the clean-up", Duration::from_secs(10), || world.build_folders() == 0).await;
    assert!(!docker(&["ps", "-a", "--format", "{{.Names}}"]).contains(&build.short()));
    assert!(!docker(&["images", "--all", "--digests"]).contains(&world.registry.host), "no name is left in the engine");
    world.stop().await;
}

#[tokio::test]
async fn odd_refs_and_tags_are_built_and_never_read_as_options() {
    let world = World::start(&[("Dockerfile", &format!("{BASE}LABEL n={}\n", unique()))]).await;
    world.git.annotated_tag("v1.0");
    for name in ["refs/heads/-h", "refs/heads/--upload-pack=x", "refs/heads/ü/ö", "refs/tags/v1.0"] {
        if name.starts_with("refs/heads") {
            world.git.set_ref(name);
        }
        let assignment = world.assignment(name);
        let build = assignment.build;
        let begun = Instant::now();
        let outcome = world.build(assignment).await;
        println!("{name}: {:?} from queue to finish", begun.elapsed());
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{name}: {outcome:?}\n{}", log(&world.server.events(build)));
    }
    world.stop().await;
}

#[tokio::test]
async fn failures_have_reasons_of_their_own_and_nothing_is_pushed() {
    let dockerfile = format!("{BASE}LABEL n={}\n", unique());
    let mut files = vec![
        ("fails/docker-compose.test.yml", sut("echo bad; exit 3")),
        ("nosut/a.test.yml", "services: {app: {image: x}}\n".into()),
        ("evil/x.test.yml", "services: {sut: {image: x, privileged: true}}\n".into()),
        ("mount/x.test.yml", "services: {sut: {image: x, volumes: ['/:/host']}}\n".into()),
        ("built/docker-compose.test.yml", "sut:\n  build: .\n  command: ['/bin/sh', '-c', 'exit 4']\n".into()),
        ("etc", "-> /etc".into()),
        ("link/Dockerfile", "-> /etc/passwd".into()),
        ("lfs/.gitattributes", "".into()),
        ("syntax/Dockerfile", "FROM scratch\nRUNN x\n".into()),
        ("frontend/Dockerfile", "# syntax=evil/x\nFROM scratch\n".into()),
        ("step/Dockerfile", format!("{BASE}RUN echo {}; exit 42\n", unique())),
        ("base/Dockerfile", "FROM 127.0.0.1:1/ns/base\n".into()),
    ];
    let folders = ["fails", "nosut", "evil", "mount", "built", "step"];
    let paths: Vec<(String, String)> = folders.iter().map(|folder| (format!("{folder}/busybox"), format!("{folder}/Dockerfile"))).collect();
    for (busybox, plain) in &paths {
        files.push((busybox, git::BUSYBOX.into()));
        if plain != "step/Dockerfile" {
            files.push((plain, dockerfile.clone()));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
    let world = World::start(&files).await;
    let reason = async |context: &str, dockerfile: &str| {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.context = context.parse().expect("context");
        assignment.rule.dockerfile = dockerfile.parse().expect("dockerfile");
        let reason = world.reason(assignment).await;
        (reason.code, reason.text)
    };
    use FailureCode::{BaseImage, ContextNotFound, DockerfileInvalid, DockerfileNotFound, StepFailed, TestFailed, TestInvalid};
    assert_eq!(reason("", "Nope").await, (DockerfileNotFound, "Dockerfile not found at `Nope`, the rule's Dockerfile location".into()));
    assert_eq!(reason("", "link/Dockerfile").await.0, DockerfileNotFound);
    assert_eq!(reason("nope", "Dockerfile").await.0, ContextNotFound);
    assert_eq!(reason("etc", "passwd").await.0, ContextNotFound);
    assert_eq!(reason("", "syntax/Dockerfile").await, (DockerfileInvalid, "Dockerfile line 2: unknown instruction: RUNN".into()));
    assert_eq!(reason("", "frontend/Dockerfile").await.0, DockerfileInvalid);
    assert_eq!(reason("", "base/Dockerfile").await.0, BaseImage);
    let (code, text) = reason("", "step/Dockerfile").await;
    assert!(code == StepFailed && text.ends_with("exited with 42"), "{text}");
    assert_eq!(reason("", "fails/Dockerfile").await, (TestFailed, "test `sut` exited with 3".into()));
    assert_eq!(reason("", "built/Dockerfile").await, (TestFailed, "test `sut` exited with 4".into()));
    assert_eq!(reason("", "nosut/Dockerfile").await, (TestInvalid, "`nosut/a.test.yml` has no service `sut`".into()));
    let refused = "`evil/x.test.yml` cannot be used: service `sut` may not use `privileged`";
    assert_eq!(reason("", "evil/Dockerfile").await, (TestInvalid, refused.into()));
    let (code, text) = reason("", "mount/Dockerfile").await;
    assert!(code == TestInvalid && text.contains("may not mount `/`"), "{text}");
    assert_eq!(world.registry.manifests(), 0, "a failed build pushes nothing");
    world.stop().await;
}

#[tokio::test]
async fn sources_that_cannot_be_had_have_reasons() {
    let world = World::start(&[("Dockerfile", "FROM scratch\nCOPY busybox /\n")]).await;
    let mut wrong = world.assignment("refs/heads/main");
    wrong.source.credential.as_mut().expect("credential").password = "wrong-password".into();
    let reason = world.reason(wrong).await;
    assert_eq!((reason.code, reason.text.as_str()), (FailureCode::SourceUnavailable, "the source refuses the credential of the link"));
    world.git.push(&[("more", "x")]);
    let gone = world.assignment("refs/heads/main");
    world.git.rewind();
    let reason = world.reason(gone).await;
    assert_eq!(reason.code, FailureCode::CommitGone, "{reason}");
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 7\n", "a".repeat(64));
    world.git.push(&[(".gitattributes", "*.bin filter=lfs\n"), ("large.bin", &pointer)]);
    let reason = world.reason(world.assignment("refs/heads/main")).await;
    assert!(reason.text.contains("Git LFS") && reason.text.contains("`large.bin`"), "{reason}");
    let mut elsewhere = world.assignment("refs/heads/main");
    elsewhere.source.clone_url = "ext::sh -c id".into();
    assert_eq!(world.reason(elsewhere).await.code, FailureCode::SourceUnavailable);
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_build_is_gone_within_two_seconds() {
    let number = unique().to_string();
    let dockerfile = format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n");
    let tested = sut(&format!("exec /bin/busybox sleep {number}"));
    let world = World::start(&[
        ("Dockerfile", &dockerfile),
        ("test/Dockerfile", &format!("{BASE}LABEL n={number}\n")),
        ("test/busybox", git::BUSYBOX),
        ("test/docker-compose.test.yml", &tested),
    ])
    .await;
    for dockerfile in ["Dockerfile", "test/Dockerfile"] {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = dockerfile.parse().expect("path");
        let build = assignment.build;
        world.server.queue(assignment);
        let sleep = format!("sleep\0{number}");
        wait_for("the sleep", Duration::from_secs(60), || process_runs(&sleep)).await;
        world.server.with(build, |known| known.cancel = true);
        let took = wait_for("the end of the sleep", Duration::from_secs(2), || !process_runs(&sleep)).await;
        let begun = Instant::now();
        assert_eq!(world.server.outcome(build).await, Outcome::Cancelled);
        println!("{dockerfile}: gone after {took:?}, finished {:?} later", begun.elapsed());
        let events = world.server.events(build);
        let open = events.iter().fold(std::collections::HashMap::new(), |mut steps, event| {
            if let Event::Step { step } = event {
                steps.insert(step.id.clone(), step.state);
            }
            steps
        });
        assert!(
            open.values().any(|state| *state == StepState::Cancelled) && !open.values().any(|state| *state == StepState::Running),
            "{open:?}"
        );
        assert!(!docker(&["ps", "-a", "--format", "{{.Names}}"]).contains(&build.short()));
        assert!(!docker(&["images", "--all", "--digests"]).contains(&world.registry.host));
        assert!(!docker(&["network", "ls", "--format", "{{.Name}}"]).contains(&build.short()));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_build_survives_a_restart_of_the_server() {
    let number = unique();
    let dockerfile = format!("{BASE}RUN for i in 1 2 3 4 5; do echo line-$i-{number}; /bin/busybox sleep 1; done\n");
    let world = World::start(&[("Dockerfile", &dockerfile)]).await;
    let assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    world.server.queue(assignment);
    wait_for("the first line", Duration::from_secs(60), || log(&world.server.events(build)).contains(&format!("line-1-{number}"))).await;
    world.server.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.server.restart().await;
    let outcome = world.server.outcome(build).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    let text = log(&world.server.events(build));
    for line in 1..=5 {
        assert_eq!(text.matches(&format!("line-{line}-{number}\n")).count(), 1, "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_build_without_another_word() {
    let number = unique().to_string();
    let world = World::start(&[("Dockerfile", &format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n"))]).await;
    let assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    world.server.queue(assignment);
    wait_for("the sleep", Duration::from_secs(60), || process_runs(&number)).await;
    world.server.with(build, |known| known.fenced = true);
    wait_for("the end of the sleep", Duration::from_secs(3), || !process_runs(&number)).await;
    wait_for("the clean-up", Duration::from_secs(10), || world.build_folders() == 0).await;
    world.server.with(build, |known| {
        assert!(known.outcome.is_none() && !known.released);
        assert!(known.refused <= 2, "{} requests after the fence", known.refused);
    });
    world.stop().await;
}

#[tokio::test]
async fn a_shutdown_hands_running_builds_back() {
    let number = unique().to_string();
    let files = [("Dockerfile", format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
    let world = World::start_with(&files, common::ENGINE, Duration::from_millis(200)).await;
    let assignment = world.assignment("refs/heads/main");
    let build = assignment.build;
    world.server.queue(assignment);
    wait_for("the sleep", Duration::from_secs(60), || process_runs(&number)).await;
    world.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), world.builder).await.expect("in time").expect("no panic").expect("no error");
    assert!(!process_runs(&number));
    world.server.with(build, |known| assert!(known.released && known.outcome.is_none()));
}

#[tokio::test]
async fn without_an_engine_the_server_is_told_and_an_unknown_token_ends_the_builder() {
    let world = World::start_with(&[("Dockerfile", "FROM scratch\n")], "unix:///nonexistent/docker.sock", Duration::from_secs(1)).await;
    wait_for("a claim", Duration::from_secs(10), || !world.server.held.lock().expect("lock").claims.is_empty()).await;
    let claim = world.server.held.lock().expect("lock").claims[0].clone();
    let EngineStatus::Unavailable { problem, hint } = claim.engine else { panic!("{claim:?}") };
    assert!(problem.starts_with("no engine answers at `unix:///nonexistent/docker.sock`"), "{problem}");
    assert!(hint.contains("docker.io"), "{hint}");
    let config = slipway_builder::BuilderConfig {
        server_url: world.server.url().parse().expect("url"),
        credential: slipway_builder::Credential::Own("slb_wrong".to_owned().into()),
        name: "wrong".into(),
        engine: common::ENGINE.parse().expect("address"),
        bounds: slipway_builder::EngineBounds::default(),
        parallel: 1,
        work_dir: world.work.path().join("other"),
        drain_timeout: Duration::from_secs(1),
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), slipway_builder::run(config.clone(), world.shutdown.child_token())).await;
    assert!(ended.expect("in time").expect_err("refused").to_string().contains("does not know this builder"));
    let shared = slipway_builder::BuilderConfig { work_dir: world.work.path().join("work"), ..config };
    assert!(slipway_builder::run(shared, world.shutdown.child_token()).await.expect_err("locked").to_string().contains("another builder"));
    world.stop().await;
}

#[tokio::test]
async fn what_a_killed_builder_left_is_removed_at_the_next_start() {
    let number = unique();
    let dockerfile = format!("{BASE}LABEL n={number}\n");
    let test = sut(&format!("exec /bin/busybox sleep {number}"));
    let world = World::start(&[("Dockerfile", &dockerfile), ("docker-compose.test.yml", &test)]).await;
    let assignment = world.assignment("refs/heads/main");
    let (build, like) = (assignment.build, assignment.clone());
    world.server.queue(assignment);
    let sleep = format!("sleep\0{number}");
    wait_for("the test", Duration::from_secs(60), || process_runs(&sleep)).await;
    assert!(world.own_docker(&like, &["ps", "--format", "{{.Names}}"]).contains(&build.short()));
    // Dropped without any clean-up, as by a power cut: its engine ends with it.
    let mut world = world;
    world.builder.abort();
    (&mut world.builder).await.expect_err("aborted");
    wait_for("the end of the engine", Duration::from_secs(20), || !process_runs(&sleep)).await;
    let work = world.work.path().join("work");
    let sources = work.join("engines").join(like.scope.account.to_string()).join("seats");
    assert_eq!((work.join("builds").read_dir().expect("builds").count(), sources.read_dir().expect("seats").count()), (1, 1));
    let config = slipway_builder::BuilderConfig {
        server_url: world.server.url().parse().expect("url"),
        credential: slipway_builder::Credential::Own(common::server::TOKEN.to_owned().into()),
        name: "again".into(),
        engine: common::ENGINE.parse().expect("address"),
        bounds: slipway_builder::EngineBounds::default(),
        parallel: 1,
        work_dir: work.clone(),
        drain_timeout: Duration::from_secs(30),
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let again = tokio::spawn(slipway_builder::run(config, shutdown.clone()));
    wait_for("the folders' end", Duration::from_secs(20), || {
        !sources.exists() && work.join("builds").read_dir().expect("builds").count() == 0
    })
    .await;
    // The next build of the scope finds the cache of the dead one, and nothing else.
    let next = Assignment { build: BuildId::new(), ..like.clone() };
    let queued = next.build;
    world.server.queue(next);
    wait_for("the next test", Duration::from_secs(60), || process_runs(&sleep)).await;
    let names = world.own_docker(&like, &["ps", "--all", "--format", "{{.Names}}"]);
    assert!(names.contains(&queued.short()) && !names.contains(&build.short()), "{names}");
    world.server.with(queued, |known| known.cancel = true);
    assert_eq!(world.server.outcome(queued).await, Outcome::Cancelled);
    assert!(!docker(&["images", "--all", "--digests"]).contains(&world.registry.host), "the builder's engine was not used");
    shutdown.cancel();
    again.await.expect("no panic").expect("no error");
}
