//! An engine of its own serves one build at a time: builds of one namespace at once, one after another, and what each leaves.
//! Real engines, real git, a registry. Deliberately elsewhere: what hooks and tests can do (`hooks`), other namespaces (`hooks`).

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::time::Duration;

use common::{BASE, World, git, log, process_runs, unique, wait_for};
use slipway_model::{BuildId, FailureCode, RepositoryId};
use slipway_wire::{Assignment, Event, Outcome};

/// A folder of the source: its own helper image under everybody's name, a server under everybody's name and port, and a wait.
fn folder(name: &str, sleep: u64) -> Vec<(String, String)> {
    let hook = format!(
        "#!/bin/bash\nset -e\ndocker build -q -t helper -f Dockerfile.helper . >/dev/null\n\
         docker run -d --name db -p 18080:80 helper /bin/busybox sleep {sleep} >/dev/null\n\
         while [ ! -e go ]; do sleep 0.05; done\n"
    );
    let file = |path: &str, content: &str| (format!("{name}/{path}"), content.to_owned());
    vec![
        file("busybox", git::BUSYBOX),
        file("Dockerfile.helper", &format!("{BASE}RUN echo {name}-{sleep} >/who\n")),
        file("Dockerfile", &format!("FROM helper\nRUN echo of-$(/bin/busybox cat /who)-{name}\n")),
        file("hooks/pre_build", &hook),
        file("hooks/post_build", "docker run --rm $IMAGE_NAME /bin/busybox cat /who | sed s/^/made-of-/\n"),
        file("a.test.yml", "services: {sut: {image: $IMAGE_NAME, container_name: name, command: [\"/bin/busybox\", \"cat\", \"/who\"]}}\n"),
    ]
}

fn of(like: &Assignment, dockerfile: &str) -> Assignment {
    let mut assignment = Assignment { build: BuildId::new(), repository: RepositoryId::new(), ..like.clone() };
    assignment.rule.dockerfile = dockerfile.parse().expect("path");
    assignment
}

/// Where the checkout of a build lies, whichever engine it is in.
fn source(world: &World, build: BuildId) -> std::path::PathBuf {
    let engines = std::fs::read_dir(world.work.path().join("work/engines")).expect("engines").flatten();
    let seats = engines.map(|engine| engine.path().join(format!("seats/{build}-1/source")));
    seats.into_iter().find(|path| path.exists()).expect("the build has a seat")
}

async fn runs(sleep: u64, yes: bool) {
    let word = format!("sleep\0{sleep}");
    wait_for(&format!("sleep {sleep} is {yes}"), Duration::from_secs(60), || process_runs(&word) == yes).await;
}

#[tokio::test]
async fn two_builds_of_a_namespace_at_once_do_not_meet() {
    let (one, two) = (unique(), unique());
    let files: Vec<(String, String)> = [folder("one", one), folder("two", two)].concat();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start(&files).await;
    let like = world.assignment("refs/heads/main");
    let (first, second) = (of(&like, "one/Dockerfile"), of(&like, "two/Dockerfile"));
    let (a, b) = (first.build, second.build);
    world.server.queue(first);
    runs(one, true).await;
    world.server.queue(second);
    runs(two, true).await;
    // The same name, port and tag at the same time; now each goes on with its own.
    assert!(process_runs(&format!("sleep\0{one}")));
    std::fs::write(source(&world, a).join("one/go"), "").expect("go");
    let Outcome::Pushed { digest } = world.server.outcome(a).await else { panic!("{}", log(&world.server.events(a))) };
    let text = log(&world.server.events(a));
    assert!(
        text.contains(&format!("of-one-{one}-one")) && text.contains(&format!("made-of-one-{one}")) && !text.contains("two-"),
        "{text}"
    );
    // What it started is gone, and the other's is not.
    runs(one, false).await;
    assert!(process_runs(&format!("sleep\0{two}")));
    std::fs::write(source(&world, b).join("two/go"), "").expect("go");
    let Outcome::Pushed { digest: other } = world.server.outcome(b).await else { panic!("{}", log(&world.server.events(b))) };
    let text = log(&world.server.events(b));
    assert!(
        text.contains(&format!("of-two-{two}-two")) && text.contains(&format!("made-of-two-{two}")) && !text.contains("one-"),
        "{text}"
    );
    assert_ne!(digest, other);
    runs(two, false).await;
    wait_for("the clean-up", Duration::from_secs(20), || world.build_folders() == 0).await;
    for args in [["ps", "--all", "--quiet"], ["images", "--all", "--quiet"]] {
        assert_eq!(world.own_docker(&like, &args), "", "{args:?}");
    }
    let names = std::fs::read_dir(world.work.path().join("work/engines")).expect("engines").count();
    assert_eq!(names, 2, "two at once had one each");
    world.stop().await;
}

/// Steps that the build took from the cache, by their names.
fn cached(world: &World, build: BuildId) -> Vec<String> {
    let events = world.server.events(build);
    events.iter().filter_map(|event| if let Event::Step { step } = event { step.cached.then(|| step.name.clone()) } else { None }).collect()
}

#[tokio::test]
async fn the_next_build_finds_the_cache_and_no_name_of_the_last_one() {
    let sleep = unique();
    let mut files = folder("one", sleep);
    files.push(("one/go".into(), "at once".into()));
    for (path, content) in
        [("stale/Dockerfile", "FROM helper\n"), ("stale/hooks/pre_build", "docker images\n"), ("stale/busybox", git::BUSYBOX)]
    {
        files.push((path.into(), content.into()));
    }
    // A registry beside the engine, of which an image is downloaded.
    let download = "#!/bin/bash\nset -e\nname=localhost:5000/downloaded:1\nif docker images | grep slipway-kept; then\n\
        docker images --format 'name: {{.Repository}}'\nelse\n\
        printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: /tmp/registry}}\\nhttp: {addr: 127.0.0.1:5000}\\n' >/tmp/config.yml\n\
        docker-registry serve /tmp/config.yml >/dev/null 2>&1 &\n\
        until (exec 5<>/dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.1; done\n\
        docker build -q -t $name -f Dockerfile.far . >/dev/null\ndocker push -q $name\ndocker rmi $name >/dev/null\ndocker pull -q $name\nfi\n";
    files.extend([
        ("far/Dockerfile".to_owned(), format!("{BASE}LABEL near={sleep}\n")),
        ("far/Dockerfile.far".to_owned(), format!("{BASE}LABEL far={sleep}\n")),
        ("far/busybox".to_owned(), git::BUSYBOX.to_owned()),
        ("far/hooks/pre_build".to_owned(), download.to_owned()),
    ]);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start(&files).await;
    let like = world.assignment("refs/heads/main");
    let first = of(&like, "one/Dockerfile");
    let again = Assignment { build: BuildId::new(), ..first.clone() };
    let warm = again.build;
    for assignment in [first, again] {
        let build = assignment.build;
        let outcome = world.build(assignment).await;
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?} {}", log(&world.server.events(build)));
    }
    assert!(cached(&world, warm).iter().any(|name| name.contains("RUN echo of-")), "{:?}", cached(&world, warm));
    // A name that an earlier build gave stands for nothing: not for an image that its registry has, and the build does not go on with it.
    let stale = of(&like, "stale/Dockerfile");
    let reason = world.reason(stale).await;
    assert!(matches!(reason.code, FailureCode::BaseImage | FailureCode::StepFailed | FailureCode::Internal), "{reason:?}");
    // What was downloaded is there for its layers, and under no name that anybody asks for.
    for _ in 0..2 {
        let assignment = of(&like, "far/Dockerfile");
        let build = assignment.build;
        let outcome = world.build(assignment).await;
        let text = log(&world.server.events(build));
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?} {text}");
        let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("name: ")).collect();
        assert!(named.iter().all(|name| *name == "slipway-kept"), "{text}");
        assert_eq!(world.own_docker(&like, &["images", "--format", "{{.Repository}}"]), "slipway-kept\n", "{text}");
    }
    world.stop().await;
}
