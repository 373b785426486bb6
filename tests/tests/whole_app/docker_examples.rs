//! The examples of Docker's documentation of automated builds as repositories: "Set up automated builds", "Advanced options for autobuild and
//! autotest", "Automated repository tests". Each is built as it is written there, and what it promises is looked at from outside.
//!
//! Invariant: what stands in a hook or a test file here is Docker's text; only names of images are ours, because there is nothing to pull.
//! Deliberately elsewhere: the submodule with `SSH_PRIVATE` (`submodules`), since it needs a provider with an SSH server.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_testkit::github::Visibility;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, PASSWORD, PERSON, Repository, Setup, TestApp};

/// An example.
struct Example {
    name: &'static str,
    rules: Value,
    env: Value,
    files: Vec<(&'static str, String)>,
    /// The branches and tags that are pushed, each with the tags that come of it. `COMMIT` is the commit.
    refs: &'static [(&'static str, &'static [&'static str])],
    /// In the log, in this order.
    says: &'static [&'static str],
}

/// A test file whose `sut` says a word.
fn sut(base: &str, word: &str) -> String {
    format!("sut:\n  image: {base}\n  command: [\"echo\", \"{word}\"]\n")
}

fn examples(base: &str) -> Vec<Example> {
    let plain = |name: &str| format!("FROM {base}\nLABEL example={name}\n");
    let by_default = json!([{ "source_type": "branch", "source": "main", "tags": "latest" }]);
    let example = |name: &'static str, files: Vec<(&'static str, String)>| Example {
        name,
        rules: by_default.clone(),
        env: json!([]),
        files,
        refs: &[("refs/heads/main", &["latest"])],
        says: &[],
    };
    vec![
        // "Regular expressions and automated builds", and several tags of one build.
        Example {
            rules: json!([
                { "source_type": "branch", "source": "/^[0-9.]+$/", "tags": "version-{sourceref}" },
                { "source_type": "tag", "source": "/^v(([0-9]+)\\.[0-9.]+)$/", "tags": "{\\1},{\\2}" },
            ]),
            refs: &[
                ("refs/heads/1.2", &["version-1.2"]),
                ("refs/heads/10.0.1", &["version-10.0.1"]),
                ("refs/tags/v3.4.5", &["3", "3.4.5"]),
                ("refs/heads/main", &[]),
                ("refs/tags/4.0", &[]),
            ],
            ..example("versions", vec![("Dockerfile", plain("versions"))])
        },
        // "Override the build phase to set variables".
        Example {
            env: json!([{ "name": "VAR", "value": "a-value-of-ours" }]),
            says: &["hooks/build", "custom is ***"],
            ..example(
                "custom",
                vec![
                    ("Dockerfile", format!("FROM {base}\nARG CUSTOM\nRUN echo custom is $CUSTOM && test \"$CUSTOM\" = a-value-of-ours\n")),
                    ("hooks/build", "#!/bin/bash\necho \"hooks/build\"\ndocker build --build-arg CUSTOM=$VAR -f $DOCKERFILE_PATH -t $IMAGE_NAME .\n".into()),
                ],
            )
        },
        // "Two-phase build": the first image compiles into the source's folder, with the engine at hand.
        Example {
            says: &["=> Building the binary", "compiled with an engine", "the binary is in the image"],
            ..example(
                "two-phase",
                vec![
                    ("Dockerfile", format!("FROM {base}\nCOPY binary /binary\nRUN cat /binary\n")),
                    (
                        "hooks/pre_build",
                        format!(
                            "#!/bin/bash\nset -e\necho \"=> Building the binary\"\ndocker run --privileged \\\n  -v $(pwd):/src \\\n  -v /var/run/docker.sock:/var/run/docker.sock \\\n  {base} sh -c 'test -S /var/run/docker.sock && echo compiled with an engine && echo the binary is in the image >/src/binary'\n"
                        ),
                    ),
                ],
            )
        },
        // "Push to multiple repos": the text of that section pushes another tag.
        Example {
            refs: &[("refs/heads/main", &["COMMIT", "latest"])],
            ..example(
                "second-tag",
                vec![
                    ("Dockerfile", plain("second-tag")),
                    ("hooks/post_push", "#!/bin/bash\nset -e\ndocker tag $IMAGE_NAME $DOCKER_REPO:$SOURCE_COMMIT\ndocker push $DOCKER_REPO:$SOURCE_COMMIT\n".into()),
                ],
            )
        },
        // `hooks/push` in the place of the phase, which pushes an image of its own and nothing else.
        Example {
            refs: &[("refs/heads/main", &["edge"])],
            ..example(
                "own-push",
                vec![
                    ("Dockerfile", plain("own-push")),
                    ("Dockerfile.edge", plain("edge")),
                    (
                        "hooks/push",
                        "#!/bin/bash\nset -e\ndocker build -t $DOCKER_REPO:edge -f Dockerfile.edge .\ndocker push $DOCKER_REPO:edge\n".into(),
                    ),
                ],
            )
        },
        // "Source repository or branch clones": a hook that wants the history, of a source that is private.
        Example {
            says: &["a hook asks for more of the source", "commits: 2"],
            ..example(
                "history",
                vec![
                    ("Dockerfile", plain("history")),
                    (
                        "hooks/post_checkout",
                        "#!/bin/bash\nset -e\ngit fetch --unshallow\necho \"commits: $(git rev-list --count HEAD)\"\n! grep -ri authorization .git $HOME\n".into(),
                    ),
                ],
            )
        },
        // "Set up automated test files": each one beside the Dockerfile, in sequence.
        Example {
            says: &["first says so", "second says so", "third says so"],
            ..example(
                "three-tests",
                vec![
                    ("Dockerfile", plain("three-tests")),
                    ("a.test.yml", sut(base, "first says so")),
                    ("docker-compose.test.yml", "sut:\n  build: .\n  command: [\"echo\", \"second says so\"]\n".into()),
                    ("z.test.yml", sut(base, "third says so")),
                ],
            )
        },
    ]
}

/// Saves rules and variables and waits for the webhook.
async fn set_up(app: &TestApp, repository: &Repository<'_>, rules: &Value, env: &Value) -> Result<()> {
    let body = json!({ "provider": "github", "source": repository.source(), "autotest": "off", "rules": rules, "env": env });
    app.api.put(&repository.at("/autobuild"), &body).await?;
    app.wait_for("the webhook to stand", || async {
        let settings = app.api.get(&repository.at("/autobuild")).await?;
        Ok((settings["hook"]["standing"] == true).then_some(()))
    })
    .await
}

#[tokio::test]
async fn each_example_of_dockers_documentation_is_built_as_it_is_written() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    app.link().await?;
    for example in examples(&base) {
        let name = example.name;
        app.github.repository(&format!("{AUTHOR}/{name}"), Visibility::Private).await?;
        let repository = app.create_repository(name).await?;
        set_up(&app, &repository, &example.rules, &example.env).await?;
        let files: Vec<(&str, &str)> = example.files.iter().map(|(path, content)| (*path, content.as_str())).collect();
        app.github.commit(&repository.source(), "start", &[("README", "soon\n")], "Before").await?;
        let commit = app.github.commit(&repository.source(), "start", &files, "The example").await?;
        for (reference, _) in example.refs {
            app.github.update_ref(&repository.source(), reference, &commit).await?;
        }
        app.github.settle().await;
        repository.decided().await?;
        let mut expected: Vec<String> = Vec::new();
        let builds = repository.builds().await?;
        for (reference, tags) in example.refs {
            let build = builds.iter().find(|build| build["source_ref"] == *reference);
            assert_eq!(build.is_some(), !tags.is_empty(), "{name}: {reference}: {builds:?}");
            expected.extend(tags.iter().map(|tag| tag.replace("COMMIT", &commit)));
            let Some(build) = build else { continue };
            let id = text(build, "id");
            let ended = repository.ended(id, "success").await.with_context(|| format!("{name}: {reference}"))?;
            let log = repository.log(id).await?;
            let mut rest = log.as_str();
            for words in example.says {
                let at = rest.find(words).with_context(|| format!("{name}: no `{words}` in\n{log}"))?;
                rest = &rest[at..];
            }
            let stays = example.name == "own-push";
            assert_eq!(
                ended["note"].as_str().is_some_and(|note| note.contains("`hooks/push` did not push them: latest")),
                stays,
                "{ended}"
            );
            for tag in *tags {
                let tag = tag.replace("COMMIT", &commit);
                let digest = app.registry().skopeo_digest(&repository.path(), &tag).await?;
                let of_hook = ended["hook_tags"].as_array().and_then(|all| all.iter().find(|one| one["name"] == tag.as_str()));
                assert_eq!(of_hook.map_or(&ended["digest"], |one| &one["digest"]), &digest, "{name}: {tag}: {ended}");
            }
        }
        expected.sort();
        assert_eq!(repository.tags().await?, expected, "{name}");
    }
    // What hooks pushed is told on the build's page.
    let pushed = Repository::new(&app, "second-tag");
    let build = pushed.builds().await?.remove(0);
    let page = app.sign_in(PERSON, PASSWORD).await?.open(&format!("/{}/builds/{}", pushed.path(), text(&build, "id"))).await?.text;
    assert!(page.contains("Tags of its hooks") && page.contains(text(&build, "commit")), "{page}");
    app.finish().await
}

/// "Push to multiple repos" where it is another repository: with a login of its own, which a secret variable holds.
#[tokio::test]
async fn a_hook_pushes_to_another_repository_with_a_login_of_its_own() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let first = app.linked_repository("first").await?;
    let second = app.create_repository("second").await?;
    let push = |login: &str| {
        format!(
            "#!/bin/bash\nset -e\n{login}\ndocker tag $IMAGE_NAME ${{DOCKER_REPO%/*}}/second:$SOURCE_BRANCH\ndocker push ${{DOCKER_REPO%/*}}/second:$SOURCE_BRANCH\n"
        )
    };
    let dockerfile = format!("FROM {base}\nLABEL example=second\n");
    set_up(&app, &first, &json!([]), &json!([{ "name": "SECOND_TOKEN", "value": app.token, "secret": true }])).await?;
    // The build's own login is for its own repository.
    let commit = first.push("main", &[("Dockerfile", &dockerfile), ("hooks/post_push", &push(""))]).await?;
    let id = text(&first.build_of(&commit).await?, "id").to_owned();
    let failed = first.ended(&id, "failed").await?;
    assert_eq!(
        (&failed["reason"]["code"], first.tags().await?.len(), second.tags().await?.len()),
        (&json!("hook_failed"), 0, 0),
        "{failed}"
    );
    let login = "echo \"$SECOND_TOKEN\" | docker login -u demo --password-stdin ${DOCKER_REPO%%/*}";
    let commit = first.push("main", &[("hooks/post_push", &push(login))]).await?;
    let id = text(&first.build_of(&commit).await?, "id").to_owned();
    let ended = first.ended(&id, "success").await?;
    assert_eq!((first.tags().await?, second.tags().await?), (vec!["latest".to_owned()], vec!["main".to_owned()]));
    assert_eq!(second.tag("main").await?.as_deref(), Some(text(&ended, "digest")));
    assert!(!first.log(&id).await?.contains(&app.token), "the log shows the login");
    app.finish().await
}

/// A tag of a hook goes forward as those of the rule do, and a build that fails behind the push moves none.
#[tokio::test]
async fn a_tag_that_a_hook_pushed_moves_with_the_build_and_never_back() -> Result<()> {
    let app = TestApp::with(Setup::docker()).await?;
    let base = app.push_base().await?;
    let hello = app.linked_repository("hello").await?;
    let dockerfile = |number: u8| format!("FROM {base}\nLABEL number={number}\n");
    let edge = "#!/bin/bash\nset -e\ndocker tag $IMAGE_NAME $DOCKER_REPO:edge\ndocker push $DOCKER_REPO:edge\n";
    let push = async |number: u8, more: &str| {
        let hook = format!("{edge}{more}");
        let commit = hello.push("main", &[("Dockerfile", &dockerfile(number)), ("hooks/post_push", &hook)]).await?;
        anyhow::Ok(text(&hello.build_of(&commit).await?, "id").to_owned())
    };
    let failed = push(1, "exit 3\n").await?;
    assert_eq!(hello.ended(&failed, "failed").await?["reason"]["code"], "hook_failed");
    assert!(hello.tags().await?.is_empty(), "the registry has it, and no tag shows it");
    let second = push(2, "").await?;
    hello.ended(&second, "success").await?;
    let newest = hello.ended(&push(3, "").await?, "success").await?;
    let digest = Some(text(&newest, "digest").to_owned());
    assert_eq!((hello.tag("latest").await?, hello.tag("edge").await?), (digest.clone(), digest.clone()));
    // Once more, it has the place of the push that it repeats.
    let again = app.api.post(&hello.at(&format!("/builds/{second}/retry")), &json!({})).await?;
    let old = hello.ended(text(&again, "id"), "success").await?;
    assert!(text(&old, "note").contains("not moved") && text(&old, "note").contains("edge, latest"), "{old}");
    assert_eq!((hello.tag("latest").await?, hello.tag("edge").await?), (digest.clone(), digest));
    app.finish().await
}
