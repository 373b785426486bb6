//! Builds in a real Docker Engine. They fail, never skip, when none answers.

mod common;

use std::os::unix::fs::symlink;
use std::time::Duration;

use common::registry::{PASSWORD, Registry, USER};
use common::{BASE, address, context, engine, process_runs, request, run, store, unique, wait_for};
use slipway_buildkit::{Client, Engine, EngineError, LayerCache, RegistryAuth, RegistryCredentials, SolveError};
use tokio::sync::mpsc;

fn credentials(host: &str, password: &str) -> RegistryCredentials {
    let mut credentials = RegistryCredentials::default();
    credentials.insert(host, auth(password));
    credentials
}

fn auth(password: &str) -> RegistryAuth {
    RegistryAuth { username: USER.to_owned(), password: password.to_owned().into() }
}

#[tokio::test]
async fn a_build_reports_steps_logs_and_honours_dockerignore() {
    let engine = engine().await;
    let number = unique();
    let folder = context(&[
        ("kept.txt", "k"),
        ("dropped.txt", "d"),
        ("node_modules/a", "a"),
        ("node_modules/keep/b", "b"),
        (".dockerignore", "# comment\n*.txt\n!kept.txt\nnode_modules\n!node_modules/keep\n"),
    ]);
    let text = format!("{BASE}COPY . /src\nARG WHO\nRUN echo \"hello $WHO {number}\"; cd /src; echo * node_modules/*\n");
    let name = format!("slipway-test:{number}");
    let mut asked = request(&folder, &text);
    asked.build_args.insert("WHO".into(), "wörld".into());
    asked.labels.insert("org.example.number".into(), number.to_string());
    asked.export = store(&name);
    let first = run(asked.clone()).await;
    let output = first.result.as_ref().expect("built");
    assert!(output.digest.as_ref().is_some_and(|digest| digest.starts_with("sha256:")), "{output:?}");
    assert!(first.log.contains(&format!("hello wörld {number}")), "{}", first.log);
    assert!(first.log.contains("busybox kept.txt node_modules node_modules/keep\n"), "{}", first.log);
    let step = first.step("RUN echo");
    assert!(!step.cached && step.started_ms <= step.completed_ms && step.completed_ms.is_some(), "{step:?}");

    let second = run(asked.clone()).await;
    assert!(second.step("RUN echo").cached, "{:#?}", second.steps);
    let third = run(slipway_buildkit::SolveRequest { layer_cache: LayerCache::Ignore, ..asked }).await;
    assert!(!third.step("RUN echo").cached && third.log.contains("hello"));

    let inspected = std::process::Command::new("/usr/bin/docker").args(["inspect", &name]).output().expect("docker");
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.contains(&format!("\"org.example.number\": \"{number}\"")), "{inspected}");
    assert!(engine.has_image(&name).await.expect("asked"));
    engine.remove_image(&name).await.expect("removed");
    assert!(!engine.has_image(&name).await.expect("asked"));
    engine.remove_image(&name).await.expect("removing what is gone is fine");
}

#[tokio::test]
async fn builds_of_equal_looking_files_do_not_mix() {
    engine().await;
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    for word in ["aaaa", "bbbb", "cccc"] {
        let folder = context(&[("file", word)]);
        std::fs::File::open(folder.path().join("file")).expect("file").set_modified(epoch).expect("time");
        let text = format!("{BASE}COPY file /\nRUN echo {} {word}; read x < /file; echo \"got $x\"\n", unique());
        let ran = run(request(&folder, &text)).await;
        assert!(ran.log.contains(&format!("got {word}")), "{:?} {}", ran.result, ran.log);
    }
}

#[tokio::test]
async fn failures_have_reasons() {
    engine().await;
    let folder = context(&[("file", "x")]);
    let reason = |text: String| {
        let request = request(&folder, &text);
        async move { run(request).await.result.expect_err("must fail") }
    };
    assert_eq!(
        reason(format!("{BASE}RUN echo {} && exit 42\n", unique())).await.to_string().split_once("exited").map(|(_, end)| end.to_owned()),
        Some(" with 42".to_owned())
    );
    assert_eq!(
        reason(format!("{BASE}\nRUNN echo\n")).await,
        SolveError::DockerfileSyntax { line: Some(5), message: "unknown instruction: RUNN".into() }
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
    assert_eq!(run(staged).await.result, Err(SolveError::StageNotFound { stage: "zzz".into() }));
}

#[tokio::test]
async fn secrets_are_bytes_and_stay_out_of_the_image() {
    engine().await;
    let folder = context(&[]);
    let number = unique();
    let text = format!(
        "{BASE}RUN --mount=type=secret,id=token,required=true echo {number}; /bin/busybox wc -c < /run/secrets/token\nRUN echo {number}; test ! -s /run/secrets/token && echo gone\n"
    );
    let mut asked = request(&folder, &text);
    asked.secrets.insert("token".into(), bytes::Bytes::from_static(b"\x00\xff123"));
    let ran = run(asked.clone()).await;
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert!(ran.log.contains("5\n") && ran.log.contains("gone\n"), "{}", ran.log);
    asked.secrets.clear();
    asked.layer_cache = LayerCache::Ignore;
    let error = run(asked).await.result.expect_err("a required secret is missing");
    assert!(error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn dropping_the_build_stops_its_process() {
    engine().await;
    let folder = context(&[]);
    let number = unique().to_string();
    let asked = request(&folder, &format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n"));
    let (events, mut news) = mpsc::channel(16);
    let build = tokio::spawn(async move { Client::new(address()).solve(asked, events).await });
    let drain = tokio::spawn(async move { while news.recv().await.is_some() {} });
    wait_for("the RUN", Duration::from_secs(30), || process_runs(&number)).await;
    build.abort();
    let took = wait_for("the end of the RUN", Duration::from_secs(2), || !process_runs(&number)).await;
    println!("process gone {took:?} after the drop");
    drain.await.expect("events end with the build");
}

#[tokio::test]
async fn a_base_image_that_may_be_had_later_is_told_apart() {
    common::base_images_pass_or_not(common::address()).await;
}

#[tokio::test]
async fn scopes_share_neither_folders_nor_results() {
    engine().await;
    common::scopes_share_nothing(address()).await;
}

#[tokio::test]
async fn nothing_outside_the_context_is_sent() {
    engine().await;
    let folder = context(&[("sub/inner", "inside")]);
    symlink("/etc/passwd", folder.path().join("passwd")).expect("link");
    symlink("../../../../etc", folder.path().join("up")).expect("link");
    symlink("sub/inner", folder.path().join("good")).expect("link");
    let number = unique();
    let through = run(request(&folder, &format!("{BASE}COPY good /good\nRUN echo {number}; read x < /good; echo \"$x\"\n"))).await;
    assert!(through.log.contains("inside"), "{:?} {}", through.result, through.log);
    for source in ["passwd", "up/passwd", "../outside"] {
        let ran = run(request(&folder, &format!("{BASE}COPY {source} /x\n"))).await;
        assert!(ran.result.is_err(), "COPY {source} must fail");
    }
}

#[tokio::test]
async fn push_and_pull_with_bearer_tokens() {
    let engine = engine().await;
    let registry = Registry::start().await;
    let number = unique();
    let name = format!("{}/ns/base", registry.host);
    let folder = context(&[]);
    let mut base = request(&folder, &format!("{BASE}LABEL n={number}\n"));
    base.export = store(&format!("{name}:{number}"));
    run(base).await.result.expect("built");
    let (progress, mut lines) = mpsc::channel(1000);
    let tag = number.to_string();
    // The engine gives up at once only on an error with a text of its own; the bare code is tried for 50 s.
    let refused = engine.push(&name, &tag, Some(&auth("wrong")), &progress).await.expect_err("wrong password");
    assert!(matches!(refused, EngineError::Push { .. }) && !refused.is_transient(), "{refused:?}");
    let digest = engine.push(&name, &tag, Some(&auth(PASSWORD)), &progress).await.expect("pushed");
    assert_eq!(Some(digest), registry.digest_of(&format!("ns/base:{number}")));
    assert!(lines.try_recv().is_ok(), "progress is reported");
    engine.remove_image(&format!("{name}:{number}")).await.expect("removed");

    let text = format!("FROM {name}:{number}\nRUN echo from-{number}\n");
    let denied = run(request(&folder, &text)).await.result.expect_err("no credentials");
    assert!(matches!(&denied, SolveError::BaseImage { image, .. } if *image == format!("{name}:{number}")), "{denied:?}");
    let mut allowed = request(&folder, &text);
    allowed.credentials = credentials(&registry.host, PASSWORD);
    let pulled = run(allowed).await;
    assert!(pulled.result.is_ok() && pulled.log.contains(&format!("from-{number}")), "{:?}", pulled.result);
    let mut absent = request(&folder, &format!("FROM {name}:absent\n"));
    absent.credentials = credentials(&registry.host, PASSWORD);
    let absent = run(absent).await.result.expect_err("no such tag");
    assert!(
        matches!(&absent, SolveError::BaseImage { image, message } if image.ends_with(":absent") && message.contains("not found")),
        "{absent:?}"
    );
}

/// New enough by its version.
fn app_without_buildkit() -> axum::Router {
    let version = r#"{"Version":"20.10.0","ApiVersion":"1.41"}"#;
    axum::Router::new().route("/version", axum::routing::get(move || async move { version }))
}

#[tokio::test]
async fn an_engine_that_is_absent_or_old_is_told_apart() {
    let absent: slipway_buildkit::EngineAddress = "unix:///nonexistent/docker.sock".parse().expect("address");
    let error = Engine::new(absent.clone()).info().await.expect_err("absent");
    assert_eq!(error.to_string().split(": No").next(), Some("no engine answers at `unix:///nonexistent/docker.sock`"));
    assert!(error.hint().is_some_and(|hint| hint.contains("docker.io")));
    let folder = context(&[]);
    let (events, _news) = mpsc::channel(1);
    let error = Client::new(absent).solve(request(&folder, BASE), events).await.expect_err("absent");
    assert!(matches!(error, SolveError::EngineUnreachable { .. }), "{error:?}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let version = r#"{"Version":"19.03.5","ApiVersion":"1.40","Os":"linux","Arch":"amd64"}"#;
    let app = axum::Router::new().route("/version", axum::routing::get(move || async move { version }));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
    let old: slipway_buildkit::EngineAddress = format!("tcp://127.0.0.1:{port}").parse().expect("address");
    let error = Engine::new(old.clone()).info().await.expect_err("old");
    assert!(error.to_string().contains("`19.03.5`") && error.to_string().contains("20.10"), "{error}");
    let error = Client::new(old).info().await.expect_err("no BuildKit");
    assert!(error.to_string().contains("`19.03.5`"), "{error}");
    let app = app_without_buildkit();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let bare: slipway_buildkit::EngineAddress = format!("tcp://{}", listener.local_addr().expect("address")).parse().expect("address");
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
    let error = Client::new(bare).info().await.expect_err("no BuildKit");
    assert!(error.to_string().contains("BuildKit"), "{error}");
    let info = Client::new(address()).info().await.expect("the real one answers");
    assert!(info.to_string().starts_with("Docker Engine 2"), "{info}");
}

#[tokio::test]
async fn a_project_is_removed_by_its_label() {
    let engine = engine().await;
    let number = unique();
    let folder = context(&[]);
    let image = format!("slipway-test-project:{number}");
    let mut asked = request(&folder, &format!("{BASE}CMD [\"/bin/busybox\", \"sleep\", \"600\"]\n"));
    asked.export = store(&image);
    run(asked).await.result.expect("built");
    let project = format!("slipway-test-{number}");
    let label = format!("com.docker.compose.project={project}");
    let docker = |args: &[&str]| {
        let done = std::process::Command::new("/usr/bin/docker").args(args).output().expect("docker");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let left = || {
        let filter = format!("label={label}");
        ["ps --all", "network ls", "volume ls"]
            .map(|command| docker(&command.split(' ').chain(["--quiet", "--filter", &filter]).collect::<Vec<_>>()).lines().count())
    };
    docker(&["network", "create", "--label", &label, &project]);
    docker(&["volume", "create", "--label", &label, &project]);
    docker(&["run", "-d", "--label", &label, "--network", &project, "-v", &format!("{project}:/v"), &image]);
    assert_eq!(left(), [1, 1, 1]);
    engine.remove_project(&project).await.expect("removed");
    assert_eq!(left(), [0, 0, 0]);
    engine.remove_project(&project).await.expect("nothing left is fine");
    engine.remove_image(&image).await.expect("removed");
}
