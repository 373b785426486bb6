//! What the tests of checkouts share: real git over HTTP and over a real OpenSSH server, with a store of Git LFS, and a checkout that keeps what
//! it said.
//!
//! Invariant: repositories whose names begin with `open` are everybody's; the password of the link opens all the others, as a person's does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use sha2::Digest as _;
use slipway_model::PathFilter;
use slipway_testkit::sshd::Sshd;
use slipway_wire::{Credential, Event, Network, ProviderHost, Source, SshAccess, SshKey, SshServer};

use crate::checkout::fetch_and_checkout;
use crate::failure::Retry;
use crate::git::Git;
use crate::home::BuildDir;
use crate::mask::Secrets;
use crate::reach::Resolver;
use crate::report::Reporter;
use crate::submodules::Submodules;
use crate::variables::SshVariables;

pub(crate) const PASSWORD: &str = "token-of-the-link-hunter2";
/// `x:` and the password, as HTTP carries them.
pub(crate) const PAIR: &str = "eDp0b2tlbi1vZi10aGUtbGluay1odW50ZXIy";

/// Notes arguments, environment and what its parent shows of itself, then is git.
pub(crate) const RECORDER: &str =
    "#!/bin/sh\n{ printf '%s\\n' \"$@\"; env; tr '\\0' '\\n' < /proc/$$/cmdline; echo; } >> NOTES\nexec git \"$@\"\n";

/// Path and `Authorization` of every request.
pub(crate) type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A folder of bare repositories, `hello.git` with one commit among them, served over HTTP and SSH.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sshd: Sshd,
    /// Of `hello.git`.
    pub(crate) http: String,
    pub(crate) origin: String,
    pub(crate) commit: String,
    pub(crate) seen: Seen,
}

pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let (done, said) = try_git(folder, args, &[]);
    assert!(done, "{args:?}: {said}");
    said
}

/// Git as a person or a hook runs it; what it printed.
pub(crate) fn try_git(folder: &Path, args: &[&str], environment: &[(&str, String)]) -> (bool, String) {
    let done = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "a@b")])
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .output()
        .expect("git");
    let said = if done.status.success() { done.stdout } else { done.stderr };
    (done.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
}

impl Place {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (origin, seen) = serve(folder.path().to_owned(), None).await;
        let http = format!("{origin}/hello.git");
        let sshd = Sshd::start().await.expect("sshd");
        let place = Self { sshd, folder, http, origin, commit: String::new(), seen };
        let bare = place.bare("hello");
        let tree = git(&bare, &["hash-object", "-t", "tree", "-w", "--stdin"]);
        let commit = git(&bare, &["commit-tree", "-m", "a commit of the test", &tree]);
        git(&bare, &["update-ref", "refs/heads/main", &commit]);
        Self { commit, ..place }
    }

    /// A bare repository, made where it is not there.
    pub(crate) fn bare(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.git"));
        if !path.exists() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("name");
            git(self.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", name]);
        }
        path
    }

    /// With a deploy key that was let in, at a configured provider.
    pub(crate) fn source(&self) -> Source {
        let (public, private_key) = self.sshd.new_key().expect("key");
        self.sshd.let_in(&[(public, self.bare("hello"))]).expect("let in");
        let host_keys = vec![self.sshd.host_key().to_owned()];
        let server =
            SshServer { user: self.sshd.user().into(), host: "127.0.0.1".into(), port: self.sshd.port(), host_keys: host_keys.clone() };
        Source {
            clone_url: self.http.clone(),
            credential: Some(Credential { username: "x".into(), password: PASSWORD.into() }),
            ssh: Some(SshAccess { url: self.sshd.url("octo/hello.git"), private_key, host_keys, key: SshKey::Deploy }),
            credential_words: Some("a token of the link".into()),
            because: None,
            source_ref: "refs/heads/main".parse().expect("ref"),
            commit: self.commit.parse().expect("commit"),
            base: None,
            network: Network { providers: vec![ProviderHost { url: self.origin.clone(), ssh: Some(server) }], ..Network::default() },
        }
    }

    /// The same by HTTP alone, at this commit.
    pub(crate) fn source_at(&self, commit: &str) -> Source {
        Source { ssh: None, commit: commit.parse().expect("commit"), ..self.source() }
    }

    /// The private half of a person's key that opens everything here over SSH; it is let in beside what is let in now.
    pub(crate) fn person(&self) -> String {
        let (public, private_key) = self.sshd.new_key().expect("key");
        self.sshd.let_person_in(&public, self.folder.path()).expect("let in");
        private_key
    }

    /// A commit of a repository with these files and these commits of others, on `main`. Nothing checks what it holds.
    pub(crate) fn push(&self, name: &str, parent: Option<&str>, files: &[(&str, &str)], links: &[(&str, &str)]) -> String {
        let bare = self.bare(name);
        let index = self.folder.path().join(format!("{name}.index"));
        std::fs::remove_file(&index).ok();
        let at = [("GIT_INDEX_FILE", index.display().to_string())];
        let run = |args: &[&str]| {
            let (done, said) = try_git(&bare, args, &at);
            assert!(done, "{args:?}: {said}");
            said
        };
        let note = self.folder.path().join(format!("{name}.blob"));
        for (path, content) in files {
            let (mode, content) = content.strip_prefix("-> ").map_or(("100644", *content), |target| ("120000", target));
            let mode = if path.contains("hooks/") { "100755" } else { mode };
            std::fs::write(&note, content).expect("content");
            let blob = run(&["hash-object", "-w", "--no-filters", note.to_str().expect("path")]);
            run(&["update-index", "--add", "--cacheinfo", &format!("{mode},{blob},{path}")]);
        }
        for (path, commit) in links {
            run(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        }
        let tree = run(&["write-tree", "--missing-ok"]);
        let parents = parent.map(|parent| vec!["-p", parent]).unwrap_or_default();
        let commit = run(&[&["commit-tree", "-m", "a change", &tree], parents.as_slice()].concat());
        run(&["update-ref", "refs/heads/main", &commit]);
        commit
    }

    /// A commit with a tree of these modes, names and contents (or commits), which git itself would not make.
    pub(crate) fn push_raw(&self, name: &str, entries: &[(&str, &str, &str)]) -> String {
        let bare = self.bare(name);
        let note = self.folder.path().join(format!("{name}.blob"));
        let mut lines = Vec::new();
        for (mode, path, content) in entries {
            let (kind, id) = if *mode == "160000" {
                ("commit", (*content).to_owned())
            } else {
                std::fs::write(&note, content).expect("content");
                ("blob", git(&bare, &["hash-object", "-w", "--no-filters", note.to_str().expect("path")]))
            };
            lines.extend(format!("{mode} {kind} {id}\t{path}\0").into_bytes());
        }
        std::fs::write(&note, lines).expect("tree");
        let stdin = std::fs::File::open(&note).expect("tree");
        let made = Command::new("git").args(["mktree", "-z", "--missing"]).current_dir(&bare).stdin(stdin).output().expect("git");
        let tree = String::from_utf8(made.stdout).expect("text");
        let commit = git(&bare, &["commit-tree", "-m", "a change", tree.trim()]);
        git(&bare, &["update-ref", "refs/heads/main", &commit]);
        commit
    }

    /// Requests below this path, each with what authorized it.
    pub(crate) fn asked(&self, path: &str) -> Vec<(String, String)> {
        self.seen.lock().expect("lock").iter().filter(|(asked, _)| asked.starts_with(path)).cloned().collect()
    }

    /// Puts a file into the store of Git LFS; the pointer to it.
    pub(crate) fn large_file(&self, content: &str) -> String {
        let id = hex::encode(sha2::Sha256::digest(content));
        std::fs::create_dir_all(self.folder.path().join("large")).expect("folder");
        std::fs::write(self.folder.path().join("large").join(&id), content).expect("file");
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {}\n", content.len())
    }
}

/// Serves a folder: `git http-backend` and Git LFS, whose files lie at `large_at` (here, when none is named). Gives the origin.
pub(crate) async fn serve(folder: PathBuf, large_at: Option<String>) -> (String, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let origin = format!("http://{}", listener.local_addr().expect("address"));
    let seen = Seen::default();
    let (noted, large_at) = (Arc::clone(&seen), large_at.unwrap_or_else(|| origin.clone()));
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let (folder, noted, large_at) = (folder.clone(), Arc::clone(&noted), large_at.clone());
        async move {
            let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            noted.lock().expect("lock").push((uri.path().to_owned(), given.clone()));
            let path = uri.path();
            if let Some(id) = path.strip_prefix("/large/") {
                return match std::fs::read(folder.join("large").join(id)) {
                    Ok(content) => Response::new(Body::from(content)),
                    Err(_) => status(StatusCode::NOT_FOUND),
                };
            }
            if !path.starts_with("/open") && given != format!("Basic {PAIR}") {
                let refused = Response::builder().status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=\"git\"");
                return refused.body(Body::empty()).expect("answer");
            }
            if path.ends_with("/info/lfs/objects/batch") {
                return batch(&folder, &large_at, &body);
            }
            backend(&folder, &method, &uri, &headers, &body).await
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.expect("serve") });
    (origin, seen)
}

fn status(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).expect("answer")
}

/// "Git LFS Batch API".
fn batch(folder: &Path, large_at: &str, body: &Bytes) -> Response {
    let asked: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let objects: Vec<_> = asked["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|object| {
            let id = object["oid"].as_str().expect("oid");
            let mut answer = serde_json::json!({"oid": id, "size": object["size"]});
            if folder.join("large").join(id).exists() {
                answer["actions"] = serde_json::json!({"download": {"href": format!("{large_at}/large/{id}")}});
            } else {
                answer["error"] = serde_json::json!({"code": 404, "message": "no such object"});
            }
            answer
        })
        .collect();
    let answer = serde_json::json!({"transfer": "basic", "objects": objects}).to_string();
    Response::builder().header("content-type", "application/vnd.git-lfs+json").body(Body::from(answer)).expect("answer")
}

async fn backend(folder: &Path, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    use tokio::io::AsyncWriteExt as _;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .envs([("GIT_HTTP_EXPORT_ALL", "1"), ("PATH_INFO", uri.path()), ("QUERY_STRING", uri.query().unwrap_or_default())])
        .envs([("REQUEST_METHOD", method.as_str()), ("CONTENT_TYPE", &text("content-type")), ("GIT_PROTOCOL", &text("git-protocol"))])
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROJECT_ROOT", folder)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(body).await.ok();
    drop(stdin);
    let output = child.wait_with_output().await.expect("output").stdout;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").expect("headers");
    let mut answer = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("header");
        answer = if name == "Status" { answer.status(&value[..3]) } else { answer.header(name, value) };
    }
    answer.body(Body::from(output[end + 4..].to_vec())).expect("answer")
}

/// The folder of one attempt.
pub(crate) fn attempt(place: &Place) -> BuildDir {
    let path = tempfile::tempdir_in(place.folder.path()).expect("folder").keep();
    let dir = BuildDir { path };
    for folder in [dir.source(), dir.home()] {
        std::fs::create_dir(folder).expect("folder");
    }
    dir
}

/// A checkout that ended.
pub(crate) struct Done {
    pub(crate) result: Result<(), String>,
    /// Whether what failed may go well another time.
    pub(crate) passes: bool,
    pub(crate) log: String,
    pub(crate) cloned: Option<(String, Option<String>, bool)>,
    pub(crate) dir: BuildDir,
}

impl Done {
    /// A file of the source.
    pub(crate) fn file(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.source().join(path)).ok()
    }
}

/// With submodules, and nothing in the repository's variables.
pub(crate) async fn check_out(place: &Place, source: &Source, change: impl FnOnce(Git) -> Git) -> Done {
    check_out_with(place, source, Submodules::On(SshVariables::default(), Resolver::System), change).await
}

pub(crate) async fn check_out_with(place: &Place, source: &Source, submodules: Submodules, change: impl FnOnce(Git) -> Git) -> Done {
    let dir = attempt(place);
    let (reporter, kept) = Reporter::keeping(Secrets::default());
    let git = change(Git::new(&dir));
    let paths = PathFilter { include: "api".parse().expect("patterns"), exclude: "**/*.md".parse().expect("patterns") };
    let result = fetch_and_checkout(&git, source, &paths, &submodules, &dir, &reporter).await.map(drop);
    let passes = result.as_ref().is_err_and(|failure| failure.retry == Retry::MayHelp);
    let result = result.map_err(|failure| failure.reason.text);
    drop(reporter);
    let (mut log, mut cloned) = (String::new(), None);
    for event in kept.await.expect("kept") {
        match event {
            Event::Log { text, .. } => log.push_str(&text),
            Event::Cloned { with, because, key_refused } => cloned = Some((with, because, key_refused)),
            _ => {}
        }
    }
    Done { result, passes, log, cloned, dir }
}

/// Files beneath the folder that hold one of the texts.
pub(crate) fn holds(folder: &Path, needles: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
        if entry.file_type().expect("type").is_dir() {
            found.extend(holds(&entry.path(), needles));
        } else {
            let content = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned();
            found.extend(needles.iter().any(|needle| content.contains(needle)).then(|| entry.path()));
        }
    }
    found
}

/// A program in the place of git.
pub(crate) fn program(place: &Place, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = place.folder.path().join(format!("program-{}", hex::encode(&sha2::Sha256::digest(script)[..4])));
    std::fs::write(&path, script).expect("program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}
