//! A git host: `git http-backend` behind a small CGI, with a password.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use base64::Engine as _;
use tokio::io::AsyncWriteExt as _;

pub const USER: &str = "x-access-token";
/// A file's content that stands for the program busybox.
pub const BUSYBOX: &str = "@busybox";
pub const PASSWORD: &str = "git-credential-of-the-link";

#[derive(Clone)]
pub struct GitHost {
    port: u16,
    folder: Arc<tempfile::TempDir>,
    /// `Authorization` of every request.
    pub seen: Arc<Mutex<Vec<String>>>,
    /// While it stands, requests are taken and not answered.
    pub hangs: Arc<AtomicBool>,
}

impl GitHost {
    /// A repository whose `refs/heads/main` holds these files and busybox; a content `-> x` makes a symbolic link.
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let folder = Arc::new(tempfile::tempdir().expect("folder"));
        let host = Self { port, folder, seen: Arc::default(), hangs: Arc::default() };
        host.git(&["init", "--quiet", "--initial-branch=main", "work"], "");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists()).expect("busybox-static");
        std::fs::copy(busybox, host.work().join("busybox")).expect("busybox");
        host.push(files);
        let app = Router::new().fallback(answer).with_state(host.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        host
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hello.git", self.port)
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Commits these files to `main`, and gives a ref of another name the same commit where one is named.
    pub fn push(&self, files: &[(&str, &str)]) {
        self.push_saying(files, "a commit of the test");
    }

    /// With a message of its own.
    pub fn push_saying(&self, files: &[(&str, &str)], message: &str) {
        for (path, content) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folders");
            if std::fs::symlink_metadata(&path).is_ok() {
                std::fs::remove_file(&path).expect("old file");
            }
            match (content.strip_prefix("-> "), *content) {
                (Some(target), _) => std::os::unix::fs::symlink(target, &path).expect("link"),
                (None, BUSYBOX) => std::fs::copy(self.work().join("busybox"), &path).map(drop).expect("busybox"),
                (None, content) => std::fs::write(&path, content).expect("file"),
            }
        }
        self.git(&["add", "--all"], "work");
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message], "work");
        self.git(&["clone", "--quiet", "--bare", "work", "new.git"], "");
        let bare = self.folder.path().join("hello.git");
        if bare.exists() {
            std::fs::remove_dir_all(&bare).expect("old repository");
        }
        std::fs::rename(self.folder.path().join("new.git"), bare).expect("rename");
    }

    /// Forgets the last commit as a forced push does, with the object itself.
    pub fn rewind(&self) {
        self.git(&["reset", "--quiet", "--hard", "HEAD~1"], "work");
        self.git(&["reflog", "expire", "--expire=now", "--all"], "work");
        self.git(&["gc", "--quiet", "--prune=now"], "work");
        self.push(&[]);
    }

    pub fn set_ref(&self, name: &str) {
        self.git(&["update-ref", name, "refs/heads/main"], "hello.git");
    }

    pub fn annotated_tag(&self, name: &str) {
        self.git(&["tag", "--annotate", "--message", "text", name, "main"], "hello.git");
    }

    pub fn commit(&self, name: &str) -> String {
        self.git(&["rev-parse", "--verify", "--end-of-options", name], "hello.git").trim().to_owned()
    }

    fn git(&self, args: &[&str], folder: &str) -> String {
        let done = std::process::Command::new("git")
            .args(args)
            .current_dir(self.folder.path().join(folder))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "Ada"),
                ("GIT_AUTHOR_EMAIL", "a@example.org"),
                ("GIT_COMMITTER_NAME", "Ada"),
                ("GIT_COMMITTER_EMAIL", "a@example.org"),
            ])
            .output()
            .expect("git");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

async fn answer(State(host): State<GitHost>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let given = text("authorization");
    host.seen.lock().expect("lock").push(given.clone());
    if host.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if given != expected {
        let answer = Response::builder().status(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"");
        return answer.body(Body::empty()).expect("answer");
    }
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", host.folder.path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_USER", USER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("stdin");
    tokio::spawn(async move {
        stdin.write_all(&body).await.ok();
    });
    let output = child.wait_with_output().await.expect("output").stdout;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").expect("headers");
    let mut answer = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("header");
        answer = match name {
            "Status" => answer.status(value.split(' ').next().expect("status")),
            name => answer.header(name, value),
        };
    }
    answer.body(Body::from(output[end + 4..].to_vec())).expect("answer")
}
