//! Canaries: a secret in every place where one can be, builds that try everything to get them out, and afterwards a search of everything that
//! is kept or shown: database, log of the server, logs of builds, answers, pages, layers and configurations of images, what the provider was
//! told, what lies in the server's folder.
//!
//! Invariant: each place is also searched for a word that must be there, so that a search which looks at nothing fails. A variable that is not
//! marked as secret is no canary: by design its value stands in arguments. Nor is what an engine of a build's own keeps of its cache: it is never
//! shown. Deliberately elsewhere: what the forms of a secret are in the product (`builder::mask`); they are written down here once more.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Engine, Forge, PASSWORD, PERSON, Repository, Setup, TestApp};

/// Printed by builds: wherever outputs are kept, this is.
const MARKER: &str = "marker-of-an-ordinary-output";
/// Stands in a layer that is pushed.
const LAYER_MARKER: &str = "marker-in-a-layer";

/// Values that must be found nowhere, by what they are called.
struct Canaries {
    names: Vec<String>,
    owners: Vec<usize>,
    finder: AhoCorasick,
}

impl Canaries {
    fn new(values: &[(String, String)]) -> Result<Self> {
        let (mut names, mut owners, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in values {
            ensure!(value.len() >= 8, "`{name}` is so short that it would be found in any word");
            for text in
                std::iter::once(value.trim()).chain(value.lines().map(str::trim).filter(|line| line.len() > 30 && !line.contains(' ')))
            {
                for form in forms(text) {
                    all.push(form);
                    owners.push(names.len());
                }
            }
            names.push(name.clone());
        }
        Ok(Self { names, owners, finder: AhoCorasick::new(all)? })
    }

    /// That none is in there.
    fn search(&self, place: &str, bytes: &[u8]) -> Result<()> {
        let Some(found) = self.finder.find(bytes) else { return Ok(()) };
        let from = found.start().saturating_sub(120);
        let around = String::from_utf8_lossy(&bytes[from..bytes.len().min(found.end() + 120)]).into_owned();
        anyhow::bail!("{place} holds {}: ...{around}...", self.names[self.owners[found.pattern().as_usize()]])
    }
}

/// As it is, in base 64 wherever it stands in what was encoded, in hexadecimal digits, in an address, in JSON, backwards.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![
        value.to_owned(),
        hex::encode(value),
        hex::encode_upper(value),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        Value::from(value).to_string().trim_matches('"').to_owned(),
        value.chars().rev().collect(),
    ];
    for before in 0..3_usize {
        let padded = [vec![0; before], value.as_bytes().to_vec()].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        forms.extend([STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)].map(|digits| digits[from..to].to_owned()));
    }
    forms
}

/// The logins to the registry that hooks of running builds have, seen on their disk.
struct Logins {
    seen: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
}

impl Logins {
    fn watch(engines: &Path) -> Self {
        let (seen, stop, engines) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)), engines.to_owned());
        let (noted, told) = (Arc::clone(&seen), Arc::clone(&stop));
        let children =
            |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for seat in children(&engines).iter().flat_map(|engine| children(&engine.join("seats"))) {
                    let Ok(text) = std::fs::read_to_string(seat.join("home/.docker/config.json")) else { continue };
                    let Ok(config) = serde_json::from_str::<Value>(&text) else { continue };
                    for login in config["auths"].as_object().into_iter().flat_map(|auths| auths.values()) {
                        let pair = login["auth"]
                            .as_str()
                            .and_then(|auth| STANDARD.decode(auth).ok())
                            .and_then(|pair| String::from_utf8(pair).ok());
                        if let Some((_, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
                            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(password.to_owned());
                        }
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        Self { seen, stop }
    }

    fn end(&self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs in a shell of whatever has `$TOKEN` and `$KEY`: every way of printing them. `$B` is busybox, or nothing where the machine has the programs.
const LEAK: &str = r#"
echo "marker-of-an-ordinary-output token=[$TOKEN] key=[$KEY]"
printf '%s\n' "$TOKEN" "$KEY" >&2
for value in "$TOKEN" "$KEY"; do
  printf '%s' "$value" | $B base64 -w 0; echo
  printf 'a%s' "$value" | $B base64 -w 0; echo
  printf 'user:%s' "$value" | $B base64 -w 0; echo
  printf '%s' "$value" | $B base64 -w 0 | $B tr '+/' '-_'; echo
  printf '%s' "$value" | $B od -An -v -tx1 | $B tr -d ' \n'; echo
  printf '%s' "$value" | $B od -An -v -tx1 | $B tr -d ' \n' | $B tr a-f A-F; echo
  printf '%s\n' "$value" | $B rev
  printf '%s\n' "$value" | $B sed 's/$/\r/'
done
# One character for each write, and two halves with time in between.
rest=$TOKEN
while [ -n "$rest" ]; do printf '%s' "${rest%"${rest#?}"}"; rest=${rest#?}; done; echo
printf '%s' "${TOKEN%????????????}"; $B sleep 0.4; printf '%s\n' "${TOKEN#"${TOKEN%????????????}"}"
$B env
(set -x; : "$TOKEN"; : "https://user:$TOKEN@example.org/?key=$TOKEN")
"#;

/// A new key pair: the public half and the private one.
fn key_pair() -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "canary", "-f"]).arg(&path).status()?;
    ensure!(made.success(), "ssh-keygen");
    Ok((std::fs::read_to_string(path.with_extension("pub"))?, std::fs::read_to_string(path)?))
}

/// Bytes that are packed, unpacked.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.to_vec());
    }
    let mut child = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut stdin, packed) = (child.stdin.take().context("stdin was piped")?, bytes.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&packed));
    let output = child.wait_with_output()?;
    writing.join().map_err(|_| anyhow::anyhow!("the writer died"))??;
    Ok(output.stdout)
}

/// Every file beneath a folder but those beneath `except`.
fn files(folder: &Path, except: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && path != except {
            files(&path, except, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// How a build has to end, for which reason, and the files of its source.
type Try = (&'static str, &'static str, Vec<(&'static str, String)>);

/// A step that is given both secrets.
const MOUNT: &str = "RUN --mount=type=secret,id=TOKEN --mount=type=secret,id=KEY";

fn head(base: &str) -> String {
    format!("FROM {base}\nARG TOKEN\nARG KEY\nARG PLAIN\n")
}

/// Prints the secrets in every way, and keeps something else.
fn step(base: &str) -> String {
    let given = "TOKEN=$(cat /run/secrets/TOKEN) KEY=$(cat /run/secrets/KEY)";
    let head = head(base);
    format!(
        "{head}COPY leak.sh /leak.sh\nRUN echo arg=[$TOKEN] plain=[$PLAIN]\n{MOUNT} {given} B=/bin/busybox sh /leak.sh\nRUN echo {LAYER_MARKER} >/layer\n"
    )
}

/// Steps alone: into the log, into a layer, into what is kept of a step for the next build.
fn tries_without_hooks(base: &str) -> Vec<Try> {
    let files = |dockerfile: String| vec![("Dockerfile", dockerfile), ("leak.sh", LEAK.to_owned())];
    let head = head(base);
    let into_a_layer = format!("{head}RUN echo {MARKER}\n{MOUNT} cat /run/secrets/TOKEN >/kept\n");
    let into_a_stage = format!(
        "FROM {base} AS other\n{MOUNT} cat /run/secrets/KEY >/kept && echo 7 >/number\n{head}COPY --from=other /number /number\nRUN echo {MARKER}\n"
    );
    vec![
        ("success", "", files(step(base))),
        ("failed", "secret_in_image", files(into_a_layer)),
        // Of the other stage nothing is pushed, the cache included.
        ("success", "", files(into_a_stage)),
    ]
}

fn tries(base: &str) -> Vec<Try> {
    let quiet = "sut:\n  image: $IMAGE_NAME\n  command: [\"true\"]\n";
    let (head, step) = (head(base), step(base));
    let shell = "set -a; B=''; ";
    let everything = format!(
        "{shell}\n. ./leak.sh\ncat $HOME/.docker/config.json; echo; sed 's/.*\"auth\": *\"\\([^\"]*\\)\".*/\\1/' $HOME/.docker/config.json | base64 -d; echo\ncat .git/config; git config --list --show-origin\n(umask 077; touch \"name-$TOKEN\"; ls; rm \"name-$TOKEN\")\ndocker pull -q {base}\ndocker create --name canary -e TOKEN -e KEY -l token=$TOKEN {base} true >/dev/null && docker inspect canary; docker rm canary\n"
    );
    let test = "sut:\n  image: $IMAGE_NAME\n  environment: {TOKEN: \"${TOKEN}\", KEY: \"${KEY}\", B: /bin/busybox}\n  volumes: [\"./leak.sh:/leak.sh:ro\"]\n  command: [\"sh\", \"/leak.sh\"]\n";
    let failing = test.replace("[\"sh\", \"/leak.sh\"]", "[\"sh\", \"-c\", \"sh /leak.sh; echo the last words are $$TOKEN; exit 3\"]");
    let files = |dockerfile: &str, pre_build: &str, build: &str, test: &str| {
        vec![
            ("Dockerfile", dockerfile.to_owned()),
            ("leak.sh", LEAK.to_owned()),
            ("hooks/pre_build", format!("#!/bin/bash\n{pre_build}\n")),
            ("hooks/build", format!("#!/bin/bash\nset -e\n{build}\n")),
            ("docker-compose.test.yml", test.to_owned()),
        ]
    };
    let plainly = "docker build --build-arg PLAIN -t $IMAGE_NAME .";
    // A file is what a secret of the engine's client has to be.
    let with_secrets = "printf %s \"$TOKEN\" >$HOME/token; printf %s \"$KEY\" >$HOME/key\ndocker build --secret id=TOKEN,src=$HOME/token --secret id=KEY,src=$HOME/key --build-arg PLAIN -t $IMAGE_NAME .";
    let small = format!("{head}RUN echo {MARKER}\n");
    vec![
        ("success", "", files(&step, &everything, with_secrets, test)),
        ("failed", "test_failed", files(&small, "true", plainly, &failing)),
        ("failed", "hook_failed", files(&small, &format!("{everything}\nexit 3"), plainly, quiet)),
        // The words of the step are the secret.
        (
            "failed",
            "hook_failed",
            files(&small, "echo \"RUN echo $TOKEN && exit 42\" >>Dockerfile; echo marker-of-an-ordinary-output", plainly, quiet),
        ),
        // Into a layer, by a copy, and into the name of a file.
        (
            "failed",
            "secret_in_image",
            files(
                &format!("{small}COPY settings /settings\n"),
                "echo \"password=$TOKEN\" >settings; echo marker-of-an-ordinary-output",
                plainly,
                quiet,
            ),
        ),
        (
            "failed",
            "secret_in_image",
            files(
                &format!("{small}COPY names /names\n"),
                "mkdir names; touch \"names/$TOKEN\"; echo marker-of-an-ordinary-output",
                plainly,
                quiet,
            ),
        ),
        (
            "failed",
            "secret_in_image",
            files(
                &format!("{small}COPY key /key\n"),
                "printf '%s' \"$KEY\" | tail -n +3 >key; echo marker-of-an-ordinary-output",
                plainly,
                quiet,
            ),
        ),
        // Into arguments, labels, the environment.
        (
            "failed",
            "secret_in_image",
            files(&format!("{small}ENV KEPT=$TOKEN\n"), "true", "docker build --build-arg TOKEN -t $IMAGE_NAME .", quiet),
        ),
        ("failed", "secret_in_image", files(&small, "true", "docker build --label token=$TOKEN -t $IMAGE_NAME .", quiet)),
        ("failed", "secret_in_image", files(&small, "true", "docker build --build-arg TOKEN=$TOKEN -t $IMAGE_NAME .", quiet)),
    ]
}

/// Everything that is answered about a repository and its builds.
async fn shown(app: &TestApp, repository: &Repository<'_>, builds: &[Value]) -> Result<Vec<(String, String)>> {
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let mut all = Vec::new();
    for list in ["/builds", "/deliveries", "/tags"] {
        all.push((format!("the list {list}"), Value::from(app.api.items(&repository.at(list)).await?).to_string()));
    }
    for build in builds {
        let id = text(build, "id");
        all.push((format!("the answer {id}"), app.api.get(&repository.at(&format!("/builds/{id}"))).await?.to_string()));
        all.push((format!("the log {id}"), repository.log(id).await?));
        all.push((format!("the page {id}"), browser.open(&format!("/{}/builds/{id}", repository.path())).await?.text));
    }
    for page in ["", "/builds", "/deliveries"] {
        all.push((format!("the page {page}"), browser.open(&format!("/{}{page}", repository.path())).await?.text));
    }
    Ok(all)
}

#[tokio::test]
async fn canaries_are_found_nowhere_after_builds_that_try_to_get_them_out() -> Result<()> {
    canaries_are_found_nowhere(Setup::docker(), tries).await
}

/// Where images and the cache of builds lie in the registry beside each other.
#[tokio::test]
async fn canaries_are_found_nowhere_where_a_buildkitd_builds() -> Result<()> {
    canaries_are_found_nowhere(Setup { engine: Engine::Buildkitd, ..Setup::default() }, tries_without_hooks).await
}

async fn canaries_are_found_nowhere(setup: Setup, tries: fn(&str) -> Vec<Try>) -> Result<()> {
    let mut app = TestApp::with(setup.all_providers().keyed()).await?;
    // Everything is said to the log that can be.
    app.stop().await?;
    let config = app.folder().join("slipway.toml");
    let settings = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("log = \"trace\"\n{settings}"))?;
    app.restart().await?;
    let base = app.push_base().await?;
    let random =
        |word: &str| format!("{word}-{}", &slipway_tests::registry::digest(format!("{word} {}", app.folder().display()).as_bytes())[7..39]);
    let (token, (_, key), (public, ssh_private)) = (random("canary<&>"), key_pair()?, key_pair()?);
    let gitea = &app.others.as_ref().context("the other providers")?.gitea;
    Forge::Gitea.link(&app, &app.api, PERSON, AUTHOR).await?;
    Forge::Gitea.repository(&app, "octo/app").await?;
    Forge::Gitea.push(&app, "octo/app", "main", &[("README", "soon\n")]).await?;
    Forge::Gitea.build_from(&app, &app.api, PERSON, "app", "octo/app").await?;
    let repository = Repository::new(&app, "app");
    let env = json!([
        { "name": "TOKEN", "value": token, "secret": true },
        { "name": "KEY", "value": key, "secret": true },
        { "name": "SSH_PRIVATE", "value": ssh_private, "secret": true },
        { "name": "PLAIN", "value": "a-plain-value" },
    ]);
    // The deploy key is what a source without `SSH_PRIVATE` is fetched with, so the first build has none.
    let save = async |env: &Value| {
        let body = json!({ "provider": "gitea", "source": "octo/app", "autotest": "off", "rules": [], "env": env });
        app.api.put(&repository.at("/autobuild"), &body).await
    };
    let without = json!(env.as_array().context("a list")?.iter().filter(|one| one["name"] != "SSH_PRIVATE").collect::<Vec<_>>());
    save(&without).await?;
    let browser = app.sign_in(PERSON, PASSWORD).await?;
    let enrolled = browser.send(Method::POST, "/api/v1/me/second-factor", Some(&json!({ "password": PASSWORD }))).await?.json()?;
    let logins = Logins::watch(&app.folder().join("data/builder/engines"));

    let mut commits = Vec::new();
    for (number, (state, code, files)) in tries(&base).into_iter().enumerate() {
        if number == 1 {
            gitea.api(Method::POST, &format!("/admin/users/{AUTHOR}/keys"), Some(json!({"title": "builds", "key": public}))).await?;
            save(&env).await?;
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
        let commit = gitea.commit("octo/app", "main", &files, &format!("Try {number}")).await?;
        let found = app.wait_for("the build of a push", async || {
            Ok(repository.builds().await?.into_iter().find(|build| build["commit"] == commit.as_str()))
        });
        let id = text(&found.await?, "id").to_owned();
        let ended = repository.ended(&id, state).await.with_context(|| format!("try {number}"))?;
        if !code.is_empty() {
            assert_eq!(ended["reason"]["code"], code, "try {number}: {ended}\n{}", repository.log(&id).await?);
        }
        commits.push(commit);
    }

    let mut values = vec![
        ("the secret variable".to_owned(), token.clone()),
        ("the key in a variable".to_owned(), key.clone()),
        ("SSH_PRIVATE".to_owned(), ssh_private.clone()),
        ("the access token".to_owned(), app.token.clone()),
        ("the password".to_owned(), PASSWORD.to_owned()),
        ("the secret of the authenticator".to_owned(), text(&enrolled, "secret").to_owned()),
        ("the session".to_owned(), browser.cookie().split_once('=').context("a cookie")?.1.to_owned()),
    ];
    let others = app.others.as_ref().context("the other providers")?;
    values.extend(others.bent.secrets().into_iter().map(|secret| ("a token of the link".to_owned(), secret)));
    let seen = logins.end();
    assert!(seen.len() >= commits.len() - 1, "the logins of hooks were not seen: {}", seen.len());
    values.extend(seen.into_iter().map(|login| ("a build's login to the registry".to_owned(), login)));
    let canaries = Canaries::new(&values)?;

    // What people and programs are shown.
    let builds = repository.builds().await?;
    let answers = shown(&app, &repository, &builds).await?;
    for (place, content) in &answers {
        canaries.search(place, content.as_bytes())?;
    }
    for build in builds.iter().filter(|build| build["reason"]["code"] == "secret_in_image") {
        assert!(text(&build["reason"], "text").contains("`TOKEN`") || text(&build["reason"], "text").contains("`KEY`"), "{build}");
    }
    let first = answers.iter().rfind(|(place, _)| place.starts_with("the log")).context("a log")?;
    assert!(first.1.contains(MARKER) && first.1.contains("***") && first.1.contains("plain=["), "{}", first.1);
    let mut told = 0;
    for commit in &commits {
        let statuses = gitea.api(Method::GET, &format!("/repos/octo/app/statuses/{commit}"), None).await?;
        told += statuses.as_array().map_or(0, Vec::len);
        canaries.search("a status at the provider", statuses.to_string().as_bytes())?;
    }
    assert!(told > 0, "the provider was told nothing");
    // Everything in the server's folder, while it runs and after its end.
    let folder = app.folder().join("data");
    let (mut all, mut holds_marker, mut holds_layer) = (Vec::new(), false, false);
    let search_files = |all: &[std::path::PathBuf], marker: &mut bool, layer: &mut bool| -> Result<()> {
        for path in all {
            let bytes = std::fs::read(path)?;
            let plain = unpacked(&bytes)?;
            *marker |= contains(&plain, MARKER) && path.to_string_lossy().contains("slipway.db");
            *layer |= contains(&plain, LAYER_MARKER) && path.to_string_lossy().contains("blobs");
            canaries.search(&path.display().to_string(), &plain)?;
            canaries.search(&path.display().to_string(), &bytes)?;
            assert!(!contains(&plain, "PRIVATE KEY-----"), "{} holds a private key", path.display());
        }
        Ok(())
    };
    files(&folder, &folder.join("builder/engines"), &mut all)?;
    search_files(&all, &mut holds_marker, &mut holds_layer)?;
    assert!(holds_marker && holds_layer, "the search saw neither database nor layers: {holds_marker} {holds_layer}: {all:?}");
    app.stop().await?;
    let log = app.log().join("\n");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log says little");
    canaries.search("the server's log", log.as_bytes())?;
    all.clear();
    files(&folder, &folder.join("builder/engines"), &mut all)?;
    search_files(&all, &mut holds_marker, &mut holds_layer)?;
    app.finish().await
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}
