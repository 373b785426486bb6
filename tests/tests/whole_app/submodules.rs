//! Submodules at a real provider: from the settings of a repository to the files in an image.

use anyhow::{Context as _, Result};
use serde_json::json;
use slipway_testkit::github::File;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Forge, PERSON, Repository, Setup, TestApp};

/// A new key pair: the public half and the private one.
fn key_pair() -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"]).arg(&path).status()?;
    anyhow::ensure!(made.success(), "ssh-keygen");
    Ok((std::fs::read_to_string(path.with_extension("pub"))?, std::fs::read_to_string(path)?))
}

#[tokio::test]
async fn a_private_submodule_comes_with_the_key_in_ssh_private() -> Result<()> {
    let app = TestApp::with(Setup::docker().all_providers().keyed()).await?;
    let base = app.push_base().await?;
    let gitea = &app.others.as_ref().context("the other providers")?.gitea;
    Forge::Gitea.link(&app, &app.api, PERSON, AUTHOR).await?;
    Forge::Gitea.repository(&app, "octo/lib").await?;
    let lib = Forge::Gitea.push(&app, "octo/lib", "main", &[("word", "from the library\n")]).await?;
    Forge::Gitea.repository(&app, "octo/app").await?;
    Forge::Gitea.push(&app, "octo/app", "main", &[("README", "soon\n")]).await?;
    Forge::Gitea.build_from(&app, &app.api, PERSON, "app", "octo/app").await?;
    let repository = Repository::new(&app, "app");
    let dockerfile = format!("FROM {base}\nARG SSH_PRIVATE=nothing\nCOPY lib/word /\nRUN echo \"word: $(cat /word), key: $SSH_PRIVATE\"\n");
    let modules = "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n";
    let files = |note| {
        let files = [
            ("Dockerfile", File::Text(&dockerfile)),
            (".gitmodules", File::Text(modules)),
            ("lib", File::Commit(&lib)),
            ("note", File::Text(note)),
        ];
        files.to_vec()
    };
    let build_of = async |commit: String| {
        let found = app.wait_for("the build of a push", async || {
            let found = repository.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str());
            Ok(found.map(|build| text(&build, "id").to_owned()))
        });
        found.await
    };

    // The link's token opens the library, and stays away from it: who may push to the source may not thereby read what its owner reads.
    let id = build_of(gitea.commit_files("octo/app", "main", &files("1"), "A submodule").await?).await?;
    let failed = repository.ended(&id, "failed").await?;
    let reason = text(&failed["reason"], "text");
    assert_eq!(failed["reason"]["code"], "source_unavailable", "{failed}");
    assert!(reason.starts_with("submodule `lib`: ") && reason.contains("into the variable `SSH_PRIVATE`"), "{reason}");

    let (public, private) = key_pair()?;
    gitea.api(reqwest::Method::POST, &format!("/admin/users/{AUTHOR}/keys"), Some(json!({"title": "builds", "key": public}))).await?;
    let mut settings = repository.settings().await?;
    settings["env"] = json!([{"name": "SSH_PRIVATE", "value": private, "secret": true}]);
    let body = json!({"provider": "gitea", "source": "octo/app", "autotest": "off", "rules": settings["rules"], "env": settings["env"]});
    app.api.put(&repository.at("/autobuild"), &body).await?;
    let kept = app.api.get(&repository.at("/autobuild")).await?;
    assert_eq!(kept["env"][0]["value"], private.as_str(), "it survives to the last line end");
    let id = build_of(gitea.commit_files("octo/app", "main", &files("2"), "Again").await?).await?;
    repository.ended(&id, "success").await?;
    let log = repository.log(&id).await?;
    assert!(log.contains("cloned with the key in `SSH_PRIVATE`"), "{log}");
    assert!(log.contains(&format!("submodule `lib` at {} of ", &lib[..7])) && log.contains(", with the key in `SSH_PRIVATE`"), "{log}");
    assert!(log.contains("word: from the library, key: nothing"), "{log}");
    for line in private.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!log.contains(line), "the log shows the key");
    }
    app.finish().await
}
