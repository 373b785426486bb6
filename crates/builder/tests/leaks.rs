//! Secrets that a build writes into its image: found before anything is promoted, whoever wrote them, in whatever form a log would mask.
//! Real engines, real git, a registry.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{BASE, SECRET, World, log, unique};
use slipway_model::{FailureCode, FailureReason, StepState};
use slipway_wire::{Assignment, Event, Outcome};

/// A build with the secret variable `API_KEY` of a Dockerfile in a folder of the source.
fn with_secret(world: &World, folder: &str) -> Assignment {
    let mut assignment = world.assignment("refs/heads/main");
    assignment.environment[0].secret = true;
    assignment.rule.dockerfile = format!("{folder}/Dockerfile").parse().expect("path");
    assignment
}

/// Why a build was refused; nothing that it told shows the secret.
async fn refused(world: &World, assignment: Assignment) -> FailureReason {
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    let events = world.server.events(build);
    let told = format!("{} {outcome:?}", serde_json::to_string(&events).expect("JSON"));
    let backwards: String = SECRET.chars().rev().collect();
    for form in [SECRET, &backwards, "dmVyeS1zZWNyZXQ", "766572792d736563726574"] {
        assert!(!told.contains(form), "{form} is shown: {told}");
    }
    let Outcome::Failed { reason, retry: false } = outcome else { panic!("{outcome:?}\n{}", log(&events)) };
    assert_eq!(reason.code, FailureCode::SecretInImage, "{reason}\n{}", log(&events));
    assert!(reason.text.starts_with("the image holds what is secret: `API_KEY` in "), "{reason}");
    let step = events.iter().rev().find_map(|event| match event {
        Event::Step { step } if step.id == "secrets" => Some(step.clone()),
        _ => None,
    });
    assert_eq!(step.expect("its step").state, StepState::Failed);
    reason
}

#[tokio::test]
async fn a_step_that_writes_a_mounted_secret_into_a_layer_ends_the_build() {
    let number = unique();
    let mount = "RUN --mount=type=secret,id=API_KEY";
    let head = format!("{BASE}LABEL n={number}\n");
    let copied = format!("{head}{mount} /bin/busybox cp /run/secrets/API_KEY /token\n");
    let removed = format!("{head}{mount} /bin/busybox cp /run/secrets/API_KEY /token\nRUN /bin/busybox rm /token\n");
    let encoded =
        format!("{head}{mount} printf 'user:%s' \"$(/bin/busybox cat /run/secrets/API_KEY)\" | /bin/busybox base64 >/config.json\n");
    let hexed = format!("{head}{mount} /bin/busybox xxd -p -c 1000 /run/secrets/API_KEY >/hex\n");
    let mirrored = format!("{head}{mount} /bin/busybox rev /run/secrets/API_KEY >/mirror\n");
    let named = format!("{head}{mount} echo x >\"/$(/bin/busybox cat /run/secrets/API_KEY)\"\n");
    let right =
        format!("{head}{mount} test \"$(/bin/busybox cat /run/secrets/API_KEY)\" = \"$(/bin/busybox cat /right)\" || echo used >/used\n");
    let folders = [
        ("copied", copied, Some("file `token`")),
        ("removed", removed, Some("file `token`")),
        ("encoded", encoded, Some("file `config.json`")),
        ("hexed", hexed, Some("file `hex`")),
        ("mirrored", mirrored, Some("file `mirror`")),
        // A name is no content.
        ("named", named, None),
        ("right", right, None),
    ];
    let mut files = Vec::new();
    for (folder, dockerfile, _) in &folders {
        files.push((format!("{folder}/Dockerfile"), dockerfile.as_str()));
        files.push((format!("{folder}/busybox"), common::git::BUSYBOX));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let world = World::start(&files).await;
    for (folder, _, place) in folders.iter().filter(|(folder, ..)| *folder != "right") {
        let reason = refused(&world, with_secret(&world, folder)).await;
        if let Some(place) = place {
            assert!(reason.text.contains(&format!("in layer 3, {place}, by `RUN /bin/sh -c ")), "{folder}: {reason}");
        }
    }
    assert_eq!(world.registry.manifests(), 0, "nothing was pushed");
    let assignment = with_secret(&world, "right");
    let build = assignment.build;
    let outcome = world.build(assignment).await;
    let text = log(&world.server.events(build));
    assert!(matches!(outcome, Outcome::Pushed { .. }) && text.contains("not in the image: `API_KEY`"), "{outcome:?} {text}");
    // Without the mark it is meant to be there.
    let mut plain = with_secret(&world, "copied");
    plain.environment[0].secret = false;
    plain.rule.dockerfile = "right/Dockerfile".parse().expect("path");
    assert!(matches!(world.build(plain).await, Outcome::Pushed { .. }));
    world.stop().await;
}

#[tokio::test]
async fn what_hooks_bake_into_an_image_ends_the_build() {
    let number = unique();
    let head = format!("{BASE}LABEL n={number}\n");
    let folders: [(&str, &str, String, &str, &str); 6] = [
        (
            "copied",
            "pre_build",
            "printf %s \"$API_KEY\" >settings\n".into(),
            "COPY settings /etc/settings\n",
            "file `etc/settings`, by `COPY ",
        ),
        (
            "argued",
            "build",
            "docker build --build-arg KEY=$API_KEY -t $IMAGE_NAME .\n".into(),
            "ARG KEY\nENV KEPT=$KEY\n",
            "by `ENV KEPT=***`",
        ),
        ("labelled", "build", "docker build --label key=$API_KEY -t $IMAGE_NAME .\n".into(), "", "in its configuration"),
        (
            "pushed",
            "push",
            format!(
                "docker push $IMAGE_NAME\nprintf 'FROM scratch\\nLABEL n={number} key=%s\\n' \"$API_KEY\" | docker build -t $DOCKER_REPO:other -\ndocker push $DOCKER_REPO:other\n"
            ),
            "",
            "in its configuration",
        ),
        // By a name like that of a build.
        (
            "pretended",
            "post_push",
            format!(
                "printf 'FROM scratch\nLABEL o={number} key=%s\n' \"$API_KEY\" | docker build -t $DOCKER_REPO:build-x -\ndocker push $DOCKER_REPO:build-x\n"
            ),
            "",
            "in its configuration",
        ),
        (
            "exchanged",
            "push",
            format!(
                "printf 'FROM scratch\\nLABEL m={number} key=%s\\n' \"$API_KEY\" | docker build -t $IMAGE_NAME -\ndocker push $IMAGE_NAME\n"
            ),
            "",
            "in its configuration",
        ),
    ];
    let mut files = Vec::new();
    for (folder, hook, script, more, _) in &folders {
        files.push((format!("{folder}/Dockerfile"), format!("{head}{more}")));
        files.push((format!("{folder}/hooks/{hook}"), format!("set -e\n{script}")));
        files.push((format!("{folder}/busybox"), common::git::BUSYBOX.to_owned()));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    let world = World::start(&files).await;
    for (folder, _, _, _, place) in &folders {
        let reason = refused(&world, with_secret(&world, folder)).await;
        assert!(reason.text.contains(place), "{folder}: {reason}");
    }
    // The login that a hook has is looked for too, whatever the variables are.
    world.git.push(&[("copied/hooks/pre_build", "cp $HOME/.docker/config.json settings\n")]);
    let mut assignment = with_secret(&world, "copied");
    assignment.environment.clear();
    let reason = world.reason(assignment).await;
    assert!(reason.code == FailureCode::SecretInImage && reason.text.contains("the build's login to the registry"), "{reason}");
    world.stop().await;
}
