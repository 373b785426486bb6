//! Checkouts with real git over HTTP and over a real OpenSSH server, and what git is given on the way.

use std::path::PathBuf;
use std::process::Command;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use slipway_testkit::sshd::Sshd;
use slipway_wire::{Credential, SshAccess};

use super::*;
use crate::mask::Secrets;

const PASSWORD: &str = "token-of-the-link-hunter2";
/// `x:` and the password, as HTTP carries them.
const PAIR: &str = "eDp0b2tlbi1vZi10aGUtbGluay1odW50ZXIy";

/// A bare repository with one commit, served over HTTP with a password and over SSH.
struct Place {
    folder: tempfile::TempDir,
    sshd: Sshd,
    http: String,
    commit: String,
}

fn git(folder: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "a@b")])
        .output()
        .expect("git");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        git(folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "hello.git"]);
        let bare = folder.path().join("hello.git");
        let tree = git(&bare, &["hash-object", "-t", "tree", "-w", "--stdin"]);
        let commit = git(&bare, &["commit-tree", "-m", "a commit of the test", &tree]);
        git(&bare, &["update-ref", "refs/heads/main", &commit]);
        let http = serve(folder.path().to_owned()).await;
        Self { sshd: Sshd::start().await.expect("sshd"), folder, http, commit }
    }

    fn bare(&self) -> PathBuf {
        self.folder.path().join("hello.git")
    }

    /// With a deploy key that was let in.
    fn source(&self) -> Source {
        let (public, private_key) = self.sshd.new_key().expect("key");
        self.sshd.let_in(&[(public, self.bare())]).expect("let in");
        Source {
            clone_url: self.http.clone(),
            credential: Some(Credential { username: "x".into(), password: PASSWORD.into() }),
            ssh: Some(SshAccess { url: self.sshd.url("octo/hello.git"), private_key, host_keys: vec![self.sshd.host_key().to_owned()] }),
            credential_words: Some("a token of the link".into()),
            because: None,
            source_ref: "refs/heads/main".parse().expect("ref"),
            commit: self.commit.parse().expect("commit"),
            message: None,
            base: None,
        }
    }
}

/// `git http-backend` with a password.
async fn serve(folder: PathBuf) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/hello.git", listener.local_addr().expect("address"));
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let folder = folder.clone();
        async move { backend(&folder, &method, &uri, &headers, &body).await }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.expect("serve") });
    url
}

async fn backend(folder: &Path, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    use tokio::io::AsyncWriteExt as _;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if text("authorization") != format!("Basic {PAIR}") {
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=\"git\"");
        return refused.body(Body::empty()).expect("answer");
    }
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
fn attempt(place: &Place) -> BuildDir {
    let path = tempfile::tempdir_in(place.folder.path()).expect("folder").keep();
    let dir = BuildDir { path };
    for folder in [dir.source(), dir.home()] {
        std::fs::create_dir(folder).expect("folder");
    }
    dir
}

struct Done {
    result: Result<(), String>,
    log: String,
    cloned: Option<(String, Option<String>, bool)>,
    dir: BuildDir,
}

async fn check_out(place: &Place, source: &Source, change: impl FnOnce(Git) -> Git) -> Done {
    let dir = attempt(place);
    let (reporter, kept) = Reporter::keeping(Secrets::default());
    let git = change(Git::new(&dir));
    let paths = PathFilter { include: "api".parse().expect("patterns"), exclude: "**/*.md".parse().expect("patterns") };
    let result = fetch_and_checkout(&git, source, &paths, &dir, &reporter).await.map(drop).map_err(|failure| failure.reason.text);
    drop(reporter);
    let (mut log, mut cloned) = (String::new(), None);
    for event in kept.await.expect("kept") {
        match event {
            Event::Log { text, .. } => log.push_str(&text),
            Event::Cloned { with, because, key_refused } => cloned = Some((with, because, key_refused)),
            _ => {}
        }
    }
    Done { result, log, cloned, dir }
}

fn holds(folder: &Path, needles: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry")) {
        if entry.file_type().expect("type").is_dir() {
            found.extend(holds(&entry.path(), needles));
        } else {
            let content = String::from_utf8_lossy(&std::fs::read(entry.path()).expect("file")).into_owned();
            found.extend(needles.iter().any(|needle| content.contains(needle)).then(|| entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn a_source_is_cloned_with_its_deploy_key() {
    let place = Place::new().await;
    let source = place.source();
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.cloned, Some(("the deploy key".into(), None, false)));
    assert!(done.log.contains("cloned with the deploy key\n"), "{}", done.log);
    assert_eq!(git(&done.dir.source(), &["rev-parse", "HEAD"]), place.commit);
}

/// A commit on top of another one with these files, on `main`.
fn commit(place: &Place, parent: &str, files: &[(&str, &str)]) -> String {
    let work = place.folder.path().join("work");
    if !work.exists() {
        git(place.folder.path(), &["clone", "--quiet", "hello.git", "work"]);
    }
    git(&work, &["checkout", "--quiet", "--detach", parent]);
    for (path, content) in files {
        let path = work.join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, content).expect("file");
    }
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "--message", "a change"]);
    git(&work, &["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main"]);
    git(&work, &["rev-parse", "HEAD"])
}

#[tokio::test]
async fn a_push_that_changed_nothing_of_the_rule_is_not_built() {
    let place = Place::new().await;
    let base = commit(&place, &place.commit, &[("api/a.rs", "1"), ("web/b.ts", "1")]);
    let elsewhere = commit(&place, &base, &[("web/b.ts", "2"), ("api/README.md", "2")]);
    let there = commit(&place, &elsewhere, &[("api/a.rs", "3"), ("api/c\td\u{e9}.rs", "3")]);
    let back = commit(&place, &there, &[("api/a.rs", "1")]);
    let from = |base: &str, commit: &str, over_ssh: bool| {
        let source = place.source();
        let base = Some(slipway_wire::Base { number: 7, commit: base.parse().expect("commit") });
        let ssh = source.ssh.clone().filter(|_| over_ssh);
        Source { base, ssh, commit: commit.parse().expect("commit"), ..source }
    };
    for over_ssh in [true, false] {
        let unchanged = check_out(&place, &from(&base, &elsewhere, over_ssh), |git| git).await;
        let text = unchanged.result.expect_err("nothing of `api` but a text changed");
        assert!(text.starts_with("not built: nothing under the rule's paths changed since #7 at ") && text.contains(&base[..7]), "{text}");
        assert!(unchanged.log.contains("2 files changed, 0 of them under the rule's paths"), "{}", unchanged.log);
        let changed = check_out(&place, &from(&base, &there, over_ssh), |git| git).await;
        assert_eq!(changed.result, Ok(()), "{}", changed.log);
        assert!(changed.log.contains("4 files changed, 2 of them under the rule's paths"), "{}", changed.log);
    }
    // Two trees are compared, not what lies between them: a forced push backwards is a change, a change that was taken back is none.
    assert_eq!(check_out(&place, &from(&there, &base, false), |git| git).await.result, Ok(()));
    let taken_back = check_out(&place, &from(&elsewhere, &back, false), |git| git).await;
    assert!(taken_back.log.contains("1 files changed, 1 of them"), "{}", taken_back.log);
    assert!(check_out(&place, &from(&base, &base, false), |git| git).await.result.is_err());
    // What git cannot compare is built.
    let unknown = check_out(&place, &from(&"ab".repeat(20), &elsewhere, true), |git| git).await;
    assert_eq!(unknown.result, Ok(()), "{}", unknown.log);
    assert!(unknown.log.contains("it cannot be compared with #7 at abababa: it is built whatever changed"), "{}", unknown.log);
}

#[tokio::test]
async fn submodules_are_told_of() {
    let place = Place::new().await;
    let plain = commit(&place, &place.commit, &[("a", "1")]);
    let list = "[submodule \"x\"]\n\tpath = libs/x\n\turl = ../x.git\n[submodule \"y\"]\n\tpath = libs/y\n\turl = ../y.git\n";
    let with = commit(&place, &plain, &[(".gitmodules", list)]);
    for (commit, expected) in [(&plain, false), (&with, true)] {
        let source = Source { ssh: None, commit: commit.parse().expect("commit"), ..place.source() };
        let done = check_out(&place, &source, |git| git).await;
        assert_eq!(done.result, Ok(()), "{}", done.log);
        assert_eq!(
            done.log.contains("the source has 2 submodules (for example `libs/x`), which are not fetched yet"),
            expected,
            "{}",
            done.log
        );
    }
}

#[tokio::test]
async fn another_server_is_refused_and_no_other_way_is_taken() {
    let place = Place::new().await;
    let mut source = place.source();
    let other = place.sshd.new_key().expect("key").0;
    source.ssh.as_mut().expect("ssh").host_keys = vec![other];
    let done = check_out(&place, &source, |git| git).await;
    let text = done.result.expect_err("another host key");
    assert!(text.contains("none of the host keys") && text.contains("somebody stands in between"), "{text}");
    assert!(!place.sshd.log().contains("Accepted publickey"), "the key was not even shown");
}

#[tokio::test]
async fn a_refused_key_gives_way_to_the_token_where_there_is_one() {
    let place = Place::new().await;
    let mut source = place.source();
    place.sshd.let_in(&[]).expect("nobody");
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    let (with, because, refused) = done.cloned.expect("cloned");
    assert_eq!((with.as_str(), refused), ("a token of the link", true));
    assert!(
        because.is_some_and(|because| because.starts_with("the source refuses the deploy key: ") && because.contains("Permission denied"))
    );
    assert!(done.log.contains("cloned with a token of the link, because the source refuses the deploy key"), "{}", done.log);

    source.credential = None;
    source.because = Some("the link is revoked".into());
    let done = check_out(&place, &source, |git| git).await;
    let text = done.result.expect_err("no way is left");
    assert!(text.contains("refuses the deploy key") && text.ends_with("there is no other way: the link is revoked"), "{text}");
    assert!(done.cloned.is_some_and(|(_, _, refused)| refused), "the server learns that the key is bad");
}

#[tokio::test]
async fn a_server_that_does_not_answer_gives_way_to_the_token() {
    let place = Place::new().await;
    let mut source = place.source();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    source.ssh.as_mut().expect("ssh").url = format!("ssh://git@{closed}/octo/hello.git");
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    let (with, because, refused) = done.cloned.expect("cloned");
    assert_eq!((with.as_str(), refused), ("a token of the link", false), "{because:?}");
    assert!(because.is_some_and(|because| because.contains("Connection refused")));
}

#[tokio::test]
async fn without_a_key_it_is_said_why() {
    let place = Place::new().await;
    let source = Source { ssh: None, because: Some("there may be no deploy key: forbidden by `acme`".into()), ..place.source() };
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert!(done.log.contains("cloned with a token of the link, because there may be no deploy key: forbidden by `acme`"), "{}", done.log);
}

/// Notes arguments, environment and what its parent shows of itself, then is git.
const RECORDER: &str = "#!/bin/sh\n{ printf '%s\\n' \"$@\"; env; tr '\\0' '\\n' < /proc/$$/cmdline; echo; } >> NOTES\nexec git \"$@\"\n";

#[tokio::test]
async fn no_secret_is_in_an_argument_the_environment_or_what_is_left() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new().await;
    let over_ssh = place.source();
    let over_http = Source { ssh: None, ..over_ssh.clone() };
    let key = over_ssh.ssh.as_ref().expect("ssh").private_key.lines().nth(2).expect("a line of the key").to_owned();
    let secrets = [PASSWORD, PAIR, key.as_str(), "PRIVATE KEY"];
    let (notes, recorder) = (place.folder.path().join("notes"), place.folder.path().join("recorder"));
    std::fs::write(&recorder, RECORDER.replace("NOTES", notes.to_str().expect("path"))).expect("recorder");
    std::fs::set_permissions(&recorder, std::fs::Permissions::from_mode(0o755)).expect("mode");
    for source in [over_ssh, over_http] {
        let done = check_out(&place, &source, |git| git.with_program(&recorder)).await;
        assert_eq!(done.result, Ok(()), "{}", done.log);
        let noted = std::fs::read_to_string(&notes).expect("notes");
        assert!(noted.contains("GIT_ALLOW_PROTOCOL=") && noted.contains("--end-of-options"), "{noted}");
        for secret in secrets {
            assert!(!noted.contains(secret), "{secret} in {noted}");
            assert!(!done.log.contains(secret), "{secret} in {}", done.log);
        }
        assert_eq!(holds(&done.dir.path, &secrets), Vec::<PathBuf>::new(), "what is left on the disk");
    }
    let noted = std::fs::read_to_string(&notes).expect("notes");
    let allowed: std::collections::BTreeSet<_> = noted.lines().filter(|line| line.starts_with("GIT_ALLOW_PROTOCOL=")).collect();
    assert_eq!(allowed.into_iter().collect::<Vec<_>>(), ["GIT_ALLOW_PROTOCOL=http", "GIT_ALLOW_PROTOCOL=none", "GIT_ALLOW_PROTOCOL=ssh"]);
}

#[tokio::test]
async fn hostile_names_and_addresses_reach_neither_a_shell_nor_another_place() {
    let place = Place::new().await;
    let mark = place.folder.path().join("mark");
    let touch = format!("touch {}", mark.display());
    for name in ["refs/heads/--upload-pack=x", "refs/heads/-uid", "refs/heads/$(touch_x)", "refs/heads/;id"] {
        git(&place.bare(), &["update-ref", name, "refs/heads/main"]);
        let source = Source { source_ref: name.parse().expect("git takes the name"), ..place.source() };
        assert_eq!(check_out(&place, &source, |git| git).await.result, Ok(()), "{name}");
    }
    for url in
        [format!("ext::sh -c {touch}"), format!("EXT::{touch}"), "file:///etc".into(), "fd::7".into(), format!("--upload-pack={touch}")]
    {
        let source = Source { clone_url: url.clone(), ssh: None, ..place.source() };
        assert!(check_out(&place, &source, |git| git).await.result.is_err(), "{url}");
    }
    for url in [format!("ssh://-oProxyCommand={}/x", touch.replace(' ', "%20")), format!("ssh://git@h$({touch})/x"), "ext::ssh".into()] {
        let mut source = place.source();
        source.ssh.as_mut().expect("ssh").url = url.clone();
        assert!(check_out(&place, &source, |git| git).await.result.is_err(), "{url}");
    }
    assert!(!mark.exists(), "nothing was run");
}

/// Notes each call's arguments, one a line in brackets, and gives no commit by its id: then it is git.
const REFUSER: &str = "#!/bin/sh
{ printf '<%s>\\n' \"$@\"; echo; } >> NOTES
for last; do :; done
case \"$1 $last\" in
*' +'*) ;;
fetch*) echo \"fatal: remote error: upload-pack: not our ref $last\" >&2; exit 128 ;;
esac
exec git \"$@\"
";

#[tokio::test]
async fn a_hostile_ref_is_one_argument_behind_the_end_of_options() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new().await;
    let (notes, refuser) = (place.folder.path().join("notes"), place.folder.path().join("refuser"));
    std::fs::write(&refuser, REFUSER.replace("NOTES", notes.to_str().expect("path"))).expect("refuser");
    std::fs::set_permissions(&refuser, std::fs::Permissions::from_mode(0o755)).expect("mode");
    for name in ["refs/heads/--upload-pack=x", "refs/heads/-uid", "refs/heads/$(touch_x)", "refs/heads/;id", "refs/heads/a'b"] {
        git(&place.bare(), &["update-ref", name, "refs/heads/main"]);
        let over_ssh = Source { source_ref: name.parse().expect("git takes the name"), ..place.source() };
        for source in [Source { ssh: None, ..over_ssh.clone() }, over_ssh] {
            std::fs::write(&notes, "").expect("notes");
            let done = check_out(&place, &source, |git| git.with_program(&refuser)).await;
            assert_eq!(done.result, Ok(()), "{name}: {}", done.log);
            let url = source.ssh.as_ref().map_or(&source.clone_url, |ssh| &ssh.url);
            let noted = std::fs::read_to_string(&notes).expect("notes");
            let fetches: Vec<&str> = noted.split("\n\n").filter(|call| call.starts_with("<fetch>")).collect();
            let [by_id, by_ref] = fetches[..] else { panic!("{name}: {noted}") };
            assert!(by_id.ends_with(&format!("\n<--end-of-options>\n<{url}>\n<{}>", source.commit)), "{by_id}");
            assert!(by_ref.ends_with(&format!("\n<--end-of-options>\n<{url}>\n<+{name}:refs/slipway/source>")), "{by_ref}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let place = Place::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let (address, target) = (listener.local_addr().expect("address"), place.http.clone());
    let redirect = move |uri: Uri| async move {
        let to = format!("{target}{}", uri.path_and_query().map(ToString::to_string).unwrap_or_default().replace("/hello.git", ""));
        Response::builder().status(StatusCode::MOVED_PERMANENTLY).header("location", to).body(Body::empty()).expect("answer")
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(redirect)).await.expect("serve") });
    let source = Source { clone_url: format!("http://{address}/hello.git"), ssh: None, ..place.source() };
    let text = check_out(&place, &source, |git| git).await.result.expect_err("a redirect");
    assert!(text.contains("redirect"), "{text}");
}

#[test]
fn a_source_that_grows_too_large_is_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::create_dir(folder.path().join("sub")).expect("sub");
    for name in ["a", "sub/b", "sub/c"] {
        std::fs::write(folder.path().join(name), vec![0; 1000]).expect("file");
    }
    assert_eq!(over_limits(folder.path(), 1 << 20, 100), None);
    assert!(over_limits(folder.path(), 2000, 100).is_some_and(|text| text.contains("larger")));
    assert!(over_limits(folder.path(), 1 << 20, 3).is_some_and(|text| text.contains("more than 3")));
}
