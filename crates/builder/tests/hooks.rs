//! Hooks, tests and untrusted builds in engines of their own: what they can do, and what they cannot reach. Real engines, real git, a registry.

#[allow(dead_code, reason = "`builds` uses the rest")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{BASE, SECRET, World, docker, git, log, phases, process_runs, unique, wait_for};
use slipway_model::{AccountId, EnvironmentVariable, FailureCode, Lane, Phase, Step, StepState};
use slipway_wire::{Assignment, Event, Outcome};

fn steps(events: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for event in events {
        if let Event::Step { step } = event {
            match steps.iter_mut().find(|known| known.id == step.id) {
                Some(known) => *known = step.clone(),
                None => steps.push(step.clone()),
            }
        }
    }
    steps
}

/// Runs one build and gives how it ended, with its log.
async fn run(world: &World, assignment: Assignment) -> (Outcome, String) {
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    (outcome, log(&world.server.events(build)))
}

#[tokio::test]
async fn all_ten_hooks_run_in_order_with_their_variables() {
    let number = unique();
    let all = ["post_checkout", "pre_build", "build", "post_build", "pre_test", "test", "post_test", "pre_push", "push", "post_push"];
    let script = |name: &str| {
        let more = match name {
            // As Docker's documentation has it.
            "build" => "docker build --build-arg CUSTOM=$VAR -f $DOCKERFILE_PATH -t $IMAGE_NAME .",
            "test" => "docker run --rm $IMAGE_NAME /bin/sh -c '/bin/busybox cat /custom'",
            "push" => "docker push $IMAGE_NAME",
            _ => "",
        };
        format!("#!/bin/sh\nset -e\necho \"hook {name} in $(basename \"$PWD\")\" >>../order\n{more}\n")
    };
    let mut files: Vec<(String, String)> = all.iter().map(|name| (format!("app/hooks/{name}"), script(name))).collect();
    let variables = "echo \"<$SOURCE_BRANCH> <$SOURCE_COMMIT> <$COMMIT_MSG> <$DOCKER_REPO> <$DOCKERFILE_PATH> <$DOCKER_TAG> <$CACHE_TAG> <$IMAGE_NAME> <$API_KEY>\"\n";
    let shown = format!(
        "{variables}echo \"key: $(printf %s \"$SSH_KEY\" | sha1sum)\"\nprintf 'x%s' \"$API_KEY\" | base64; printf %s \"$API_KEY\" | od -An -tx1 | tr -d ' \n'; echo; printf %s \"$API_KEY\" | rev\ntouch $HOME/kept\ngit log -1 --format=%s\ndocker-compose version >/dev/null\n"
    );
    files[1].1.push_str(&shown);
    files[9].1.push_str("ls $HOME/kept\ncat ../order\n");
    files.push(("app/Dockerfile".into(), format!("{BASE}ARG CUSTOM\nRUN echo {number} $CUSTOM >/custom\n")));
    files.push(("app/busybox".into(), git::BUSYBOX.into()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start(&files).await;
    let mut assignment = world.assignment("refs/heads/main");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nline 'one'\n  two $x\n-----END OPENSSH PRIVATE KEY-----\n";
    let variable = |name: &str, value: &str| EnvironmentVariable { name: name.into(), value: value.into(), secret: true };
    // It goes into the image, so it is none that may be called secret; its value is not shown all the same.
    let plain = EnvironmentVariable { secret: false, ..variable("VAR", "custom-value") };
    assignment.environment.extend([plain, variable("SSH_KEY", key)]);
    assignment.rule.dockerfile = "app/Dockerfile".parse().expect("path");
    let (build, like) = (assignment.build, assignment.clone());
    let (outcome, text) = run(&world, assignment).await;
    let Outcome::Pushed { digest } = outcome else { panic!("{outcome:?}\n{text}") };
    assert_eq!(Some(&digest), world.registry.digest_of("demo/hello:latest").as_ref(), "`hooks/push` pushed it");
    let host = &world.registry.host;
    let wanted = format!(
        "<main> <{}> <a commit of the test> <{host}/demo/hello> <Dockerfile> <latest,v1> <latest> <{host}/demo/hello:latest> <***>",
        like.source.commit
    );
    assert!(text.contains(&wanted), "{wanted}\n{text}");
    let sum = sha1(key);
    assert!(text.contains(&format!("key: {sum}")), "{text}");
    let order: String = all.iter().map(|name| format!("hook {name} in app\n")).collect();
    assert!(text.contains(&order), "{text}");
    assert!(text.contains(&format!("{number} ***")), "the test hook ran the image: {text}");
    let events = world.server.events(build);
    assert_eq!(phases(&events), [Phase::Checkout, Phase::Build, Phase::Test, Phase::Push]);
    let steps = steps(&events);
    for name in all {
        let step = steps.iter().find(|step| step.id == format!("hook:{name}")).unwrap_or_else(|| panic!("no step of {name}"));
        assert_eq!((step.state, step.name.as_str()), (StepState::Success, format!("hooks/{name}").as_str()));
    }
    let told = serde_json::to_string(&events).expect("json");
    let backwards: String = SECRET.chars().rev().collect();
    for form in [SECRET, &backwards, "dmVyeS1zZWNyZXQ", "eHZlcnktc2VjcmV0", "766572792d736563726574"] {
        assert!(!told.contains(form), "{form} is shown");
    }
    wait_for("the clean-up", Duration::from_secs(20), || world.build_folders() == 0).await;
    assert_eq!(world.own_docker(&like, &["ps", "--all", "--quiet"]), "");
    assert!(!docker(&["images", "--all", "--digests"]).contains(host), "nothing was done in the builder's engine");
    world.stop().await;
}

fn sha1(text: &str) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("sha1sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sha1sum");
    child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("written");
    String::from_utf8_lossy(&child.wait_with_output().expect("ended").stdout).trim().to_owned()
}

#[tokio::test]
async fn two_phases_and_a_second_repository_as_in_dockers_documentation() {
    let number = unique();
    let base = format!("{BASE}RUN echo built-{number} >/artifact\n");
    let world = World::start(&[
        ("Dockerfile.base", &base),
        ("Dockerfile", "FROM first\nCOPY made-by-hook /\nRUN cat /artifact 2>/dev/null || /bin/busybox cat /artifact\n"),
        ("hooks/pre_build", "#!/bin/bash\nset -e\nnames=(first)\ndocker build -t ${names[0]} -f Dockerfile.base .\necho hello >made-by-hook\n"),
        ("hooks/post_push", "#!/bin/bash\nset -e\ndocker tag $IMAGE_NAME ${DOCKER_REPO}-second:$SOURCE_BRANCH\ndocker push ${DOCKER_REPO}-second:$SOURCE_BRANCH\n"),
        ("a.test.yml", "services: {sut: {image: \"$IMAGE_NAME\", command: [\"/bin/sh\", \"-c\", \"/bin/busybox cat /made-by-hook; echo ran-a\"]}}\n"),
        ("b.test.yml", "services: {sut: {image: \"$IMAGE_NAME\", volumes: [\"./hooks:/h:ro\"], command: [\"/bin/sh\", \"-c\", \"/bin/busybox ls /h; echo ran-b\"]}}\n"),
        ("c.test.yml", "services: {sut: {image: \"$IMAGE_NAME\", links: [db], command: [\"/bin/sh\", \"-c\", \"echo ran-c\"]}, db: {image: \"$IMAGE_NAME\", command: [\"/bin/busybox\", \"sleep\", \"600\"]}}\n"),
    ])
    .await;
    let assignment = world.assignment("refs/heads/main");
    let like = assignment.clone();
    let (outcome, text) = run(&world, assignment).await;
    let Outcome::Pushed { digest } = outcome else { panic!("{outcome:?}\n{text}") };
    let own = world.registry.digest_of(&format!("demo/hello:build-{}", like.build));
    assert_eq!((own.as_ref(), world.registry.digest_of("demo/hello-second:main").as_ref()), (Some(&digest), Some(&digest)));
    let places: Vec<_> =
        ["ran-a", "ran-b", "ran-c"].iter().map(|word| text.find(word).unwrap_or_else(|| panic!("no {word}: {text}"))).collect();
    assert!(places.is_sorted() && text.contains("post_push"), "{text}");
    assert_eq!(world.own_docker(&like, &["ps", "--all", "--quiet"]), "");
    assert_eq!(world.own_docker(&like, &["network", "ls", "--filter", "type=custom", "--quiet"]), "");
    world.stop().await;
}

#[tokio::test]
async fn what_hooks_do_wrong_has_a_reason() {
    let number = unique();
    let image = format!("{BASE}LABEL n={number}\n");
    let world = World::start(&[
        ("Dockerfile", &image),
        ("hooks/pre_build", "echo \"no: $API_KEY\"; exit 3\n"),
        ("nothing/Dockerfile", &image),
        ("nothing/hooks/build", "true\n"),
        ("made/busybox", git::BUSYBOX),
        ("made/hooks/pre_build", &format!("printf 'FROM scratch\\nCOPY busybox /bin/sh\\nLABEL n={number}\\n' >Dockerfile\n")),
        ("made/hooks/push", "echo not today\n"),
        ("missing/hooks/pre_build", "true\n"),
    ])
    .await;
    let of = |dockerfile: &str| {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = dockerfile.parse().expect("path");
        assignment
    };
    let (outcome, text) = run(&world, of("Dockerfile")).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason, retry: false } if reason.code == FailureCode::HookFailed && reason.text == "`hooks/pre_build` exited with 3"),
        "{outcome:?}"
    );
    assert!(text.contains("no: ***"), "{text}");
    let refused = world.reason(Assignment { hooks: false, ..of("Dockerfile") }).await;
    assert!(
        refused.code == FailureCode::HooksForbidden && refused.text.contains("`hooks/pre_build`") && refused.text.contains("administrator"),
        "{refused}"
    );
    let nothing = world.reason(of("nothing/Dockerfile")).await;
    assert!(nothing.text.starts_with("`hooks/build` ended well and made no image"), "{nothing}");
    assert_eq!(
        world.reason(of("missing/Dockerfile")).await.to_string(),
        "Dockerfile not found at `missing/Dockerfile`, the rule's Dockerfile location"
    );
    let (outcome, text) = run(&world, of("made/Dockerfile")).await;
    assert!(outcome == Outcome::Passed && text.contains("`hooks/push` did not push"), "{outcome:?} {text}");
    assert_eq!(world.registry.manifests(), 0);
    world.stop().await;
}

/// A server of the machine that counts who came.
async fn listener() -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, came)
}

#[tokio::test]
async fn a_hook_reaches_neither_the_machine_nor_its_network() {
    let number = unique();
    let (port, came) = listener().await;
    let canary = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(canary.path(), "host-canary").expect("written");
    let canary = canary.path().display();
    let own = std::process::Command::new("hostname").arg("-I").output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let addresses: Vec<String> =
        own.unwrap_or_default().split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).collect();
    let targets = [["127.0.0.1", "10.0.2.2", "169.254.169.254", "198.18.0.1", "10.0.2.100"].map(str::to_owned).to_vec(), addresses]
        .concat()
        .join(" ");
    // Root of the engine, with every privilege that it can give, tries what gets out of an ordinary one.
    let hook = format!(
        r#"#!/bin/bash
base=$IMAGE_NAME-x
printf 'FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n' | docker build -q -t $base -f - . >/dev/null || exit 9
try() {{ if "$@" >/dev/null 2>&1; then echo "REACHED: $*"; else echo "refused: ${{*: -1}}"; fi; }}
try cat /etc/shadow
try cat {canary}
try ls /root/.ssh /home/root
[ "$(readlink -f /var/run/docker.sock)" = /api/sock ] || echo "REACHED: another engine"
try cat /seats/../../../{canary}
for target in {targets}; do try timeout 3 bash -c "exec 5<>/dev/tcp/$target/{port}"; done
all='for t in {targets}; do if /bin/busybox nc -w 2 $t {port} </dev/null; then echo "REACHED: $t"; else echo "refused: $t"; fi; done'
docker run --rm --privileged --net=host $base /bin/sh -c "$all" 2>/dev/null
docker run --rm $base /bin/sh -c "$all" 2>/dev/null
inside="docker run --rm --privileged --pid=host --net=host -v /:/h $base /bin/busybox"
$inside true && docker version >/dev/null && touch "$PWD/mine" && echo "CONTROL: it works"
# What the builder relies on: its way to the engine, and the name of the source.
for path in /api/sock "$PWD"; do
    try rm -f "$path/" "$path"
    try mv "$path" "$path-x"
    try $inside rm -f "/h$path"
    try $inside mv "/h$path" "/h$path-x"
    try docker run --rm -v "$(dirname "$path"):/a" $base /bin/busybox mv "/a/$(basename "$path")" /a/x
done
try sh -c 'exec 5<>/dev/tty'
try $inside cat /h/etc/shadow
try $inside cat /h{canary}
try $inside cat /proc/1/root{canary}
try $inside sh -c "for p in /h/proc/[0-9]*; do cat \$p/root{canary} && exit 0; done; exit 1"
try $inside mknod /h/tmp/disk b 254 0
try $inside chroot /h /usr/sbin/iptables -F
try $inside sh -c 'echo 1 >/h/proc/sys/kernel/sysrq'
try $inside sh -c 'echo x >/h/sys/fs/cgroup/cpu/release_agent'
try $inside touch /h/usr/bin/touched
echo "processes: $(ls -d /proc/[0-9]* | wc -l) as $(id -u), on the machine $(cut -d' ' -f1-2 /proc/self/uid_map | tr -s ' ')"
$inside ps | head -n 20
exit 7
"#
    );
    let world = World::start(&[("Dockerfile", &format!("{BASE}LABEL n={number}\n")), ("hooks/post_checkout", &hook)]).await;
    let assignment = world.assignment("refs/heads/main");
    let (outcome, text) = run(&world, assignment).await;
    assert!(
        matches!(&outcome, Outcome::Failed { reason, .. } if reason.text == "`hooks/post_checkout` exited with 7"),
        "{outcome:?}\n{text}"
    );
    let reached: Vec<&str> = text.lines().filter(|line| line.starts_with("REACHED")).collect();
    // Changing rules is within the engine's own network only; who came at the machine's port shows that it opened nothing.
    let reached: Vec<&&str> = reached.iter().filter(|line| !line.contains("iptables")).collect();
    assert!(reached.is_empty() && text.contains("refused: ") && text.contains("CONTROL: it works"), "{text}");
    assert!(!text.contains("host-canary") && !text.contains("slipway"), "{text}");
    assert_eq!(came.load(Ordering::SeqCst), 0, "{text}");
    world.stop().await;
}

#[tokio::test]
async fn nothing_of_a_hook_outlives_its_build() {
    let number = unique();
    let left = format!(
        "#!/bin/sh\nset -e\nsetsid sleep {number} >/dev/null 2>&1 &\nnohup sleep {number} &\n\
         docker build -q -t kept -f Dockerfile . >/dev/null\ndocker volume create kept >/dev/null\ndocker network create kept >/dev/null\n\
         docker run -d --restart always kept /bin/busybox sleep {number} >/dev/null\n"
    );
    let image = format!("{BASE}LABEL n={number}\n");
    // Deep enough to use up the open files of whoever walks it by recursion.
    let left = format!("{left}for i in $(seq 40); do mkdir -p $(printf 'd/%.0s' $(seq 50)); cd $(printf 'd/%.0s' $(seq 50)); done\n");
    let slow = format!("sleep {number}\n");
    let world = World::start(&[
        ("Dockerfile", &image),
        ("hooks/pre_build", &left),
        ("slow/Dockerfile", &image),
        ("slow/hooks/pre_push", &slow),
        ("slow/busybox", git::BUSYBOX),
    ])
    .await;
    let assignment = world.assignment("refs/heads/main");
    let like = assignment.clone();
    let (outcome, text) = run(&world, assignment).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?} {text}");
    let sleep = format!("sleep\0{number}");
    wait_for("the end of everything", Duration::from_secs(10), || !process_runs(&sleep) && world.build_folders() == 0).await;
    for args in [["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"]] {
        assert_eq!(world.own_docker(&like, &args), "", "{args:?}");
    }
    assert_eq!(world.own_docker(&like, &["network", "ls", "--filter", "type=custom", "--quiet"]), "");
    // Cancelled in a hook.
    let mut assignment = Assignment { build: slipway_model::BuildId::new(), ..like };
    assignment.rule.dockerfile = "slow/Dockerfile".parse().expect("path");
    let build = assignment.build;
    world.server.queue(assignment);
    wait_for("the hook", Duration::from_secs(60), || process_runs(&sleep)).await;
    world.server.with(build, |known| known.cancel = true);
    wait_for("the end of the hook", Duration::from_secs(2), || !process_runs(&sleep)).await;
    assert_eq!(world.server.outcome(build).await, Outcome::Cancelled);
    world.stop().await;
}

#[tokio::test]
async fn scopes_share_nothing_and_an_untrusted_build_leaves_nothing() {
    let number = unique();
    let see =
        "RUN --mount=type=cache,id=shared,target=/c [\"/bin/sh\", \"-c\", \"/bin/busybox cat /c/canary; echo canary-NAME >/c/canary\"]\n";
    let dockerfile = |name: &str| format!("{BASE}ENV N={number}{name}\n{}", see.replace("NAME", name));
    let hook = "echo \"images: $(docker images --quiet | wc -l)\"\necho \"secret: <$API_KEY>\"\n";
    let world = World::start(&[("Dockerfile", &dockerfile("first")), ("hooks/pre_build", hook)]).await;
    let first = world.assignment("refs/heads/main");
    let (outcome, text) = run(&world, first.clone()).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }) && !text.contains("canary-first\n"), "{outcome:?} {text}");
    let pushed = world.registry.manifests();
    let again = |change: &dyn Fn(&mut Assignment), name: &str| {
        world.git.push(&[("Dockerfile", &dockerfile(name))]);
        let mut assignment = world.assignment("refs/heads/main");
        (assignment.scope, assignment.repository) = (first.scope, first.repository);
        change(&mut assignment);
        assignment
    };
    let (outcome, text) = run(&world, again(&|_| {}, "second")).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }) && text.contains("canary-first"), "the same repository finds its cache: {text}");
    let (_, text) = run(&world, again(&|assignment| assignment.repository = slipway_model::RepositoryId::new(), "neighbour")).await;
    assert!(!text.contains("canary-first") && !text.contains("canary-second\n"), "another repository of the namespace does not: {text}");
    let (_, text) = run(&world, again(&|assignment| assignment.scope.account = AccountId::new(), "third")).await;
    assert!(!text.contains("canary-first") && !text.contains("canary-second\n"), "{text}");
    let untrusted = again(
        &|assignment| {
            assignment.scope.lane = Lane::Untrusted;
            assignment.publish = false;
            assignment.environment.clear();
        },
        "fourth",
    );
    let (folders, build) = (world.work.path().join("work/engines"), untrusted.build);
    let before = world.registry.manifests();
    let (outcome, text) = run(&world, untrusted).await;
    assert_eq!(outcome, Outcome::Passed, "{text}");
    assert!(!text.contains("canary-second\n") && text.contains("images: 0") && text.contains("secret: <>"), "{text}");
    assert_eq!((before > pushed, world.registry.manifests()), (true, before), "nothing was pushed");
    wait_for("the end of its engine", Duration::from_secs(10), || {
        let names: Vec<String> =
            std::fs::read_dir(&folders).expect("engines").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.len() == 2 && !names.iter().any(|name| name.contains(&build.to_string()))
    })
    .await;
    let (_, text) = run(&world, again(&|_| {}, "fifth")).await;
    assert!(text.contains("canary-second") && !text.contains("canary-fourth\n"), "{text}");
    world.stop().await;
}

/// The process of the engine that a build has its seat in.
fn engine_of(build: slipway_model::BuildId) -> Option<String> {
    std::fs::read_dir("/proc").expect("proc").flatten().find_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let seat = entry.path().join(format!("root/seats/{build}-1"));
        (line.starts_with(b"dockerd\0--rootless") && seat.exists()).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[tokio::test]
async fn an_engine_that_dies_is_no_fault_of_the_source() {
    let number = unique();
    let test = format!("services: {{sut: {{image: \"$IMAGE_NAME\", command: [\"/bin/busybox\", \"sleep\", \"{number}\"]}}}}\n");
    let world = World::start(&[
        ("Dockerfile", &format!("{BASE}LABEL n={number}\n")),
        ("hooks/pre_build", "true\n"),
        ("a.test.yml", &test),
        ("run/busybox", git::BUSYBOX),
        ("run/Dockerfile", &format!("{BASE}RUN [\"/bin/busybox\", \"sleep\", \"{number}\"]\n")),
        ("run/hooks/post_push", "true\n"),
        ("hook/Dockerfile", "FROM scratch\n"),
        ("hook/hooks/pre_build", &format!("sleep {number}; docker ps\n")),
    ])
    .await;
    for dockerfile in ["Dockerfile", "run/Dockerfile", "hook/Dockerfile"] {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = dockerfile.parse().expect("path");
        let (build, like) = (assignment.build, assignment.clone());
        world.server.queue(assignment);
        let sleep = format!("sleep\0{number}");
        wait_for("the sleep", Duration::from_secs(60), || process_runs(&sleep)).await;
        let engine = engine_of(build).expect("the engine runs");
        std::process::Command::new("kill").args(["-KILL", &engine]).status().expect("kill");
        if dockerfile == "hook/Dockerfile" {
            // The hook itself is no part of the engine.
            std::process::Command::new("pkill").args(["-KILL", "-f", &format!("sleep {number}")]).status().expect("pkill");
        }
        let outcome = world.server.outcome(build).await;
        let Outcome::Failed { reason, retry: true } = &outcome else { panic!("{dockerfile}: {outcome:?}") };
        assert_eq!(reason.code, FailureCode::EngineUnavailable, "{dockerfile}: {reason}");
        wait_for("the end of what ran in it", Duration::from_secs(10), || !process_runs(&sleep)).await;
        // The next attempt has an engine again, with the same data.
        let mut next = Assignment { build: slipway_model::BuildId::new(), ..like };
        next.rule.dockerfile = "Dockerfile".parse().expect("path");
        let build = next.build;
        world.server.queue(next);
        wait_for("the next attempt", Duration::from_secs(60), || process_runs(&sleep)).await;
        world.server.with(build, |known| known.cancel = true);
        assert_eq!(world.server.outcome(build).await, Outcome::Cancelled);
    }
    world.stop().await;
}

#[tokio::test]
async fn the_last_lines_of_a_test_that_prints_much_are_there() {
    let lines = 150_000;
    let test = format!(
        "services: {{sut: {{image: \"$IMAGE_NAME\", command: [\"/bin/sh\", \"-c\", \"/bin/busybox seq 1 {lines}; echo the-end\"]}}}}\n"
    );
    let world = World::start(&[("Dockerfile", &format!("{BASE}LABEL n={}\n", unique())), ("a.test.yml", &test)]).await;
    let (outcome, text) = run(&world, world.assignment("refs/heads/main")).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}");
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=lines), "{} lines came, the last is {:?}", numbers.len(), numbers.last());
    assert!(text.contains("the-end"));
    world.stop().await;
}

#[tokio::test]
async fn hooks_and_containers_share_the_bounds_of_their_engine() {
    let eat = "head -c 700m /dev/zero | tail >/dev/null; echo \"ended with $?\"";
    // A hook prints the groups that it is in, then takes more than it may; so does a step of the build, which has another program's memory.
    let hook = format!("#!/bin/sh\ngrep -c slipway/ /proc/self/cgroup\n({eat})\n");
    let dockerfile = format!("{BASE}RUN /bin/busybox head -c 700m /dev/zero | /bin/busybox tail >/dev/null; echo \"step ended with $?\"\n");
    let files = [("Dockerfile", dockerfile.as_str()), ("hooks/pre_build", &hook)];
    let bounds = slipway_builder::EngineBounds { memory: Some(512 << 20) };
    let world = World::start_bounded(&files, common::ENGINE, Duration::from_secs(60), bounds).await;
    let assignment = world.assignment("refs/heads/main");
    let account = assignment.scope.account.to_string();
    let (outcome, text) = run(&world, assignment).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?} {text}");
    assert!(!text.contains("ended with 0") && text.contains("step ended with 137"), "{text}");
    world.stop().await;
    let left = std::process::Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &account]).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "the groups went with the engine");
}
