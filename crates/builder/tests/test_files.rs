//! Sources as people have them: test files of today and of Docker's documentation, contexts, messages; and what is said of wrong ones before
//! anything is built. Real engines, real git, real compose. Deliberately elsewhere: hooks (`hooks`), hostile test files (`src/compose_rules_tests.rs`).

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{BASE, World, git, log, phases, unique};
use slipway_model::{EnvironmentVariable, FailureCode, Lane, Phase};
use slipway_wire::{Assignment, Outcome};

async fn run(world: &World, assignment: Assignment) -> (Outcome, String) {
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    (outcome, log(&world.server.events(build)))
}

const KEY: &str = "-----BEGIN KEY-----\nline 'one' \"two\"\n  $three \\n #four\n-----END KEY-----\n";
const MESSAGE: &str = "the first line\n\nA body with $a 'b' \"c\" `d`\n- and a list\n\nSigned-off-by: Ada <a@example.org>";

/// Each of the value on a line of its own, so that the whole can be looked for.
fn sum(text: &str) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("sha1sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sha1sum");
    child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("written");
    String::from_utf8_lossy(&child.wait_with_output().expect("ended").stdout).split(' ').next().expect("a sum").to_owned()
}

#[tokio::test]
async fn variables_are_whole_in_hooks_tests_and_steps() {
    let number = unique();
    let shown = "for name in KEY COMMIT_MSG; do eval \"value=\\$$name\"; echo \"PLACE $name: $(printf %s \"$value\" | sha1sum)\"; done";
    let hook = format!("#!/bin/bash\n{}\necho \"dockerfile <$DOCKERFILE_PATH>\"\n", shown.replace("PLACE", "hook"));
    // As Docker's documentation has it: names alone.
    let test = "sut:\n  image: $IMAGE_NAME\n  environment:\n    - SOURCE_BRANCH\n    - KEY\n    - COMMIT_MSG\n  command: [\"/bin/sh\", \"/show\"]\n";
    let show =
        format!("echo \"branch <$SOURCE_BRANCH>\"\n{}\n", shown.replace("PLACE", "test").replace("| sha1sum", "| /bin/busybox sha1sum"));
    let dockerfile = format!(
        "{BASE}COPY show /show\nARG COMMIT_MSG\nRUN echo \"step COMMIT_MSG: $(/bin/busybox printf %s \"$COMMIT_MSG\" | /bin/busybox sha1sum)\"\nLABEL n={number}\n"
    );
    let world = World::start(&[]).await;
    let files =
        [("app/Dockerfile", dockerfile.as_str()), ("app/show", &show), ("app/busybox", git::BUSYBOX), ("app/hooks/pre_build", &hook)];
    world.git.push_saying(&[&files[..], &[("app/a.test.yml", test)]].concat(), MESSAGE);
    let mut assignment = world.assignment("refs/heads/main");
    // The rule names the Dockerfile's folder.
    assignment.rule.dockerfile = "app".parse().expect("path");
    assignment.environment.push(EnvironmentVariable { name: "KEY".into(), value: KEY.into(), secret: false });
    let (outcome, text) = run(&world, assignment).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
    for (place, name, value) in [
        ("hook", "KEY", KEY),
        ("hook", "COMMIT_MSG", MESSAGE),
        ("test", "KEY", KEY),
        ("test", "COMMIT_MSG", MESSAGE),
        ("step", "COMMIT_MSG", MESSAGE),
    ] {
        assert!(text.contains(&format!("{place} {name}: {}", sum(value))), "{place} {name}\n{text}");
    }
    assert!(text.contains("branch <main>") && text.contains("dockerfile <Dockerfile>"), "{text}");
    world.stop().await;
}

/// With what only compose of today understands, in a test file and in a hook that calls `docker compose` itself.
#[tokio::test]
async fn test_files_of_today_are_run() {
    let number = unique();
    let test = "include:\n  - parts/db.yml\nservices:\n  sut:\n    build:\n      context: .\n      dockerfile_inline: |\n        FROM $IMAGE_NAME\n        \
        RUN --mount=type=secret,id=file echo \"build $(/bin/busybox cat /run/secrets/file)\" >/built\n      secrets: [file]\n    \
        annotations: {a: b}\n    develop: {watch: [{path: ., action: rebuild}]}\n    volumes_from: [db]\n    \
        depends_on: {db: {condition: service_started, required: true}}\n    \
        env_file:\n      - {path: missing.env, required: false}\n      - {path: there.env, required: false}\n    \
        secrets: [token]\n    configs: [{source: words, target: /words}]\n    \
        command: [\"/bin/sh\", \"-c\", \"/bin/busybox cat /built /run/secrets/token /words /data/mine; echo \\\"env $$THERE\\\"\"]\n\
        secrets:\n  token: {environment: GREETING}\n  file: {file: ./there.env}\nconfigs:\n  words: {content: \"of ${SOURCE_BRANCH}\\n\"}\n";
    let db = "services:\n  db:\n    image: $IMAGE_NAME\n    volumes: [data:/data]\n    command: [\"/bin/sh\", \"-c\", \"echo from-db >/data/mine; exec /bin/busybox sleep 600\"]\n    \
        env_file: more.env\nvolumes:\n  data: {}\n";
    let own = "services:\n  one:\n    image: $IMAGE_NAME\n    command: [\"/bin/sh\", \"-c\", \"echo hook-$$((40+2))\"]\n";
    let world = World::start(&[
        ("Dockerfile", &format!("{BASE}LABEL n={number}\n")),
        ("hooks/pre_test", "#!/bin/bash\nset -e\ndocker compose version\ndocker compose -f own.yml -p own run --rm one\ndocker compose -f own.yml -p own down\n"),
        ("own.yml", own),
        ("a.test.yml", test),
        ("parts/db.yml", db),
        ("parts/more.env", "MORE=1\n"),
        ("there.env", "THERE=was-there\n"),
    ])
    .await;
    let mut assignment = world.assignment("refs/heads/main");
    assignment.environment = vec![EnvironmentVariable { name: "GREETING".into(), value: "a-long-greeting".into(), secret: false }];
    let like = assignment.clone();
    let (outcome, text) = run(&world, assignment).await;
    assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
    // The value of a variable is masked wherever it is printed.
    for wanted in ["hook-42", "build THERE=was-there", "***of main", "from-db", "env was-there"] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert_eq!(world.own_docker(&like, &["volume", "ls", "--quiet"]), "");
    world.stop().await;
}

#[tokio::test]
async fn a_wrong_test_file_is_told_before_anything_is_built() {
    let number = unique();
    let image = format!("{BASE}RUN echo built-{number}\n");
    let mut files = Vec::new();
    for (name, test) in [
        ("none", "services: {web: {image: x}}\n"),
        ("hooked", "services: {web: {image: x}}\n"),
        ("link", "-> /etc/passwd"),
        ("broken", "services: [\n"),
        ("reads", "services: {sut: {image: x, env_file: gone.env}}\n"),
        ("included", "include: [/etc/passwd]\n"),
    ] {
        files.extend([
            (format!("{name}/Dockerfile"), image.clone()),
            (format!("{name}/busybox"), git::BUSYBOX.to_owned()),
            (format!("{name}/a.test.yml"), test.to_owned()),
        ]);
    }
    files.push(("hooked/hooks/pre_build".to_owned(), "true\n".to_owned()));
    files.push(("folder/a.test.yml/x".to_owned(), "x".to_owned()));
    files.push(("folder/Dockerfile".to_owned(), image.clone()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start(&files).await;
    for (name, words) in [
        ("none", "`none/a.test.yml` has no service `sut`"),
        ("hooked", "`hooked/a.test.yml` has no service `sut`"),
        ("link", "the test file `link/a.test.yml` beside the rule's Dockerfile location cannot be used: it leads out of the source"),
        ("folder", "the test file `folder/a.test.yml` beside the rule's Dockerfile location cannot be used: it is a folder"),
        ("broken", "`broken/a.test.yml` cannot be used: `broken/a.test.yml` is no YAML"),
        ("reads", "`reads/a.test.yml` cannot be used: `env_file: gone.env` is refused: it is not in the source"),
        ("included", "`included/a.test.yml` cannot be used: `include: /etc/passwd` is refused"),
    ] {
        let mut assignment = world.assignment("refs/heads/main");
        assignment.rule.dockerfile = format!("{name}/Dockerfile").parse().expect("path");
        let build = assignment.build;
        let reason = world.reason(assignment).await;
        assert!(reason.code == FailureCode::TestInvalid && reason.text.starts_with(words), "{name}: {reason}");
        let events = world.server.events(build);
        assert_eq!(phases(&events), [Phase::Checkout], "{name}");
        assert!(!log(&events).contains("built-"), "{name}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_context_need_not_be_the_dockerfiles_folder() {
    let number = unique();
    let dockerfile =
        |line: &str| format!("FROM scratch\nCOPY bin/busybox /bin/sh\nCOPY bin/busybox /bin/busybox\n{line}\nENV N={number}\n");
    let world = World::start(&[
        ("lib/bin/busybox", git::BUSYBOX),
        ("lib/words", "of-the-context\n"),
        ("lib/.dockerignore", "secret\n"),
        ("lib/secret", "not-this\n"),
        ("lib/deploy/prod/Prod", &dockerfile("COPY . /all\nRUN /bin/busybox cat /all/words; /bin/busybox ls /all")),
        ("lib/deploy/prod/a.test.yml", "sut: {image: $IMAGE_NAME, command: [\"/bin/busybox\", \"echo\", \"tested\"]}\n"),
        ("lib/deploy/prod/words", "of-the-folder\n"),
        ("bin/busybox", git::BUSYBOX),
        ("tools/Dockerfile", &dockerfile("COPY lib/words /words\nRUN /bin/busybox cat /words")),
        ("tools/hooks/pre_build", "echo \"in $(basename \"$PWD\") of <$DOCKERFILE_PATH>\"\n"),
    ])
    .await;
    for (context, path, words) in [
        ("lib", "deploy/prod/Prod", &["of-the-context", "tested"][..]),
        ("/", "tools", &["of-the-context", "in tools of <tools/Dockerfile>"]),
    ] {
        let mut assignment = world.assignment("refs/heads/main");
        (assignment.rule.context, assignment.rule.dockerfile) = (context.parse().expect("path"), path.parse().expect("path"));
        let (outcome, text) = run(&world, assignment).await;
        assert!(matches!(outcome, Outcome::Pushed { .. }), "{outcome:?}\n{text}");
        assert!(words.iter().all(|words| text.contains(words)) && !text.contains("secret\n"), "{text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn hooks_of_other_people_are_passed_over_and_that_is_said() {
    let world = World::start(&[
        ("Dockerfile", &format!("{BASE}LABEL n={}\n", unique())),
        ("hooks/pre_build", "echo hook-$((40+2)); exit 3\n"),
        ("a.test.yml", "sut: {image: $IMAGE_NAME, command: [\"/bin/busybox\", \"echo\", \"tested\"]}\n"),
    ])
    .await;
    let mut assignment = world.assignment("refs/heads/main");
    assignment.scope.lane = Lane::Untrusted;
    (assignment.hooks, assignment.publish) = (false, false);
    assignment.environment.clear();
    let (outcome, text) = run(&world, assignment).await;
    assert_eq!(outcome, Outcome::Passed, "{text}");
    assert!(text.contains("`hooks/pre_build` are not run: this commit comes from outside of the source"), "{text}");
    assert!(text.contains("tested") && !text.contains("hook-42"), "{text}");
    world.stop().await;
}
