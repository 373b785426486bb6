//! Submodules from real git servers: the ways to them, whom a credential reaches, and sources that were made to do harm.

use std::net::IpAddr;

use slipway_model::EgressPolicy;

use super::*;
use crate::test_place::{Done, PAIR, PASSWORD, Place, RECORDER, check_out, check_out_with, git, holds, program, serve};

fn on(private: Option<String>, known_hosts: &str) -> Submodules {
    Submodules::On(SshVariables { private, known_hosts: known_hosts.to_owned() }, Resolver::System)
}

/// A `.gitmodules` with these paths and addresses.
fn list(modules: &[(&str, &str)]) -> String {
    modules.iter().map(|(path, url)| format!("[submodule \"{path}\"]\n\tpath = \"{path}\"\n\turl = \"{url}\"\n")).collect()
}

fn refusal(done: &Done) -> String {
    done.result.clone().expect_err(&done.log)
}

#[tokio::test]
async fn private_submodules_are_read_with_the_key_in_ssh_private() {
    let place = Place::new().await;
    let inner = place.push("inner", None, &[("inner.txt", "innermost")], &[]);
    let lib =
        place.push("lib", None, &[("lib.txt", "library"), (".gitmodules", &list(&[("in/ner", "../inner.git")]))], &[("in/ner", &inner)]);
    let old = place.push("other", None, &[("other.txt", "old")], &[]);
    place.push("other", Some(&old), &[("other.txt", "new")], &[]);
    let modules = list(&[("libs/lib", "../lib.git"), ("other", &place.sshd.url("other.git"))]);
    let commit = place.push("hello", None, &[("a", "1"), (".gitmodules", &modules)], &[("libs/lib", &lib), ("other", &old)]);
    let source = place.source_at(&commit);
    let key = place.person();
    let notes = place.folder.path().join("notes");
    let recorder = program(&place, &RECORDER.replace("NOTES", notes.to_str().expect("path")));
    for saved in [key.clone(), key.replace('\n', "\\n")] {
        let done = check_out_with(&place, &source, on(Some(saved), ""), |git| git.with_program(&recorder)).await;
        assert_eq!(done.result, Ok(()), "{}", done.log);
        for (path, content) in [("libs/lib/lib.txt", "library"), ("libs/lib/in/ner/inner.txt", "innermost"), ("other/other.txt", "old")] {
            assert_eq!(done.file(path).as_deref(), Some(content), "{path}: {}", done.log);
        }
        let told = format!("submodule `libs/lib` at {} of {}/lib.git, with the key in `SSH_PRIVATE`", &lib[..7], place.origin);
        assert!(done.log.contains(&told), "{}", done.log);
        assert_eq!(git(&done.dir.source(), &["status", "--porcelain"]), "", "an ordinary checkout");
        let line = key.lines().nth(2).expect("a line of the key");
        assert_eq!(holds(&done.dir.path, &[PASSWORD, PAIR, line, "PRIVATE KEY"]), Vec::<PathBuf>::new(), "what is left");
        let noted = std::fs::read_to_string(&notes).expect("notes");
        assert!(noted.contains("GIT_ALLOW_PROTOCOL=ssh") && noted.contains("GIT_ALLOW_PROTOCOL=http"), "{noted}");
        for secret in [PASSWORD, PAIR, line, "PRIVATE KEY"] {
            assert!(!noted.contains(secret) && !done.log.contains(secret), "{secret} is in an argument, the environment or the log");
        }
        assert!(!noted.lines().any(|argument| argument == "submodule"), "git's own commands for submodules");
    }
    assert!(
        place.asked("/lib.git").iter().chain(&place.asked("/inner.git")).all(|(_, given)| given.is_empty()),
        "the link's token opens them, and is not used"
    );
}

#[tokio::test]
async fn a_server_at_no_provider_is_known_by_a_line_of_the_repository() {
    let place = Place::new().await;
    let lib = place.push("lib", None, &[("lib.txt", "library")], &[]);
    let modules = list(&[("lib", &place.sshd.url("lib.git"))]);
    let commit = place.push("hello", None, &[(".gitmodules", &modules)], &[("lib", &lib)]);
    let mut source = place.source_at(&commit);
    source.network.providers.clear();
    source.network.egress = EgressPolicy::allowing(["127.0.0.1"]).expect("policy");
    let key = place.person();
    let line = |key: &str| format!("[127.0.0.1]:{} {key}\n", place.sshd.port());
    let accepted = || place.sshd.log().matches("Accepted publickey").count();
    let unknown = refusal(&check_out_with(&place, &source, on(Some(key.clone()), ""), |git| git).await);
    assert!(unknown.contains("submodule `lib`: nobody knows the SSH server") && unknown.contains("`SSH_KNOWN_HOSTS`"), "{unknown}");
    let other = place.sshd.new_key().expect("key").0;
    let other = refusal(&check_out_with(&place, &source, on(Some(key.clone()), &line(&other)), |git| git).await);
    assert!(other.contains("somebody stands in between"), "{other}");
    let keyless = refusal(&check_out_with(&place, &source, on(None, &line(place.sshd.host_key())), |git| git).await);
    assert!(keyless.contains("`SSH_PRIVATE`"), "{keyless}");
    let foreign = place.sshd.new_key().expect("key").1;
    let foreign = refusal(&check_out_with(&place, &source, on(Some(foreign), &line(place.sshd.host_key())), |git| git).await);
    assert!(foreign.contains("refuses the key in `SSH_PRIVATE`") && foreign.contains("Permission denied"), "{foreign}");
    assert_eq!(accepted(), 0, "the key was shown to nobody");
    let done = check_out_with(&place, &source, on(Some(key.clone()), &line(place.sshd.host_key())), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!((done.file("lib/lib.txt").as_deref(), accepted()), (Some("library"), 1));
    // Without the administrator's word the machine itself is nowhere to go, whatever key it has.
    source.network.egress = EgressPolicy::public_only();
    let inside = refusal(&check_out_with(&place, &source, on(Some(key), &line(place.sshd.host_key())), |git| git).await);
    assert!(inside.contains("`127.0.0.1` is not on the public internet"), "{inside}");
    assert_eq!(accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn public_submodules_need_no_key_and_private_ones_say_so() {
    let place = Place::new().await;
    let old = place.push("open-lib", None, &[("lib.txt", "old")], &[]);
    let new = place.push("open-lib", Some(&old), &[("lib.txt", "new")], &[]);
    place.push("open-lib", Some(&new), &[("lib.txt", "newest")], &[]);
    let modules = list(&[
        ("relative", "../open-lib.git"),
        ("ssh", &place.sshd.url("open-lib.git")),
        ("absolute", &format!("{}/open-lib.git", place.origin)),
    ]);
    let links = [("relative", new.as_str()), ("ssh", &old), ("absolute", &new), ("stray", &new)];
    let commit = place.push("hello", None, &[(".gitmodules", &modules)], &links);
    let done = check_out(&place, &place.source_at(&commit), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    let contents = ["relative", "ssh", "absolute"].map(|path| done.file(&format!("{path}/lib.txt")).expect(path));
    assert_eq!(contents, ["new", "old", "new"], "each at its own commit");
    assert!(done.log.contains("`stray` is a commit of another repository of which `.gitmodules` says no address"), "{}", done.log);
    assert!(place.asked("/open-lib.git").iter().all(|(_, given)| given.is_empty()));
    let within = done.dir.source().join("relative");
    assert_eq!(git(&within, &["rev-list", "--count", "HEAD"]), "1");
    git(&within, &["fetch", "--quiet", "--unshallow"]);
    assert_eq!(git(&within, &["rev-list", "--count", "HEAD"]), "2");

    // A server that gives no commit by its id is asked for everything.
    let refuser = program(
        &place,
        "#!/bin/sh\nfor last; do :; done\ncase \"$1 $last\" in\n*' +'*) ;;\nfetch*) echo \"fatal: remote error: upload-pack: not our ref $last\" >&2; exit 128 ;;\nesac\nexec git \"$@\"\n",
    );
    let slow = check_out(&place, &place.source_at(&commit), |git| git.with_program(&refuser)).await;
    assert_eq!(slow.result, Ok(()), "{}", slow.log);
    assert_eq!(slow.file("ssh/lib.txt").as_deref(), Some("old"));

    let secret = place.push("secret", None, &[("s", "1")], &[]);
    let with = |url: &str, commit: &str| place.push("hello", None, &[(".gitmodules", &list(&[("a/b", url)]))], &[("a/b", commit)]);
    let private = refusal(&check_out(&place, &place.source_at(&with("../secret.git", &secret)), |git| git).await);
    assert!(
        private.starts_with(&format!("submodule `a/b`: `{}/secret.git` is not there, or not for everybody; ", place.origin)),
        "{private}"
    );
    assert!(private.contains("`SSH_PRIVATE`"), "{private}");
    assert!(place.asked("/secret.git").iter().all(|(_, given)| given.is_empty()), "the link's token would have opened it");
    let gone = refusal(&check_out(&place, &place.source_at(&with("../open-lib.git", &"ab".repeat(20))), |git| git).await);
    assert!(gone.contains(&format!("commit `{}` is not at", "ab".repeat(20))), "{gone}");
    // The source itself, as a submodule of itself, is read with what the source is read with.
    let itself = with("./", &place.commit);
    assert!(refusal(&check_out(&place, &place.source_at(&itself), |git| git).await).contains("no plain relative one"));
    let done = check_out(&place, &place.source_at(&with("../hello.git", &place.commit)), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
}

#[tokio::test]
async fn another_host_gets_no_credential_and_is_where_its_name_was_found() {
    let place = Place::new().await;
    let lib = place.push("open-lib", None, &[("lib.txt", "library")], &[]);
    let (elsewhere, seen) = serve(place.folder.path().to_owned(), None).await;
    let port = elsewhere.rsplit(':').next().expect("port");
    let named = |name: &str| format!("http://{name}:{port}/open-lib.git");
    let commit = |url: &str| place.push("hello", None, &[(".gitmodules", &list(&[("lib", url)]))], &[("lib", &lib)]);
    let address = |text: &str| text.parse::<IpAddr>().expect("address");
    // No DNS knows these names: who connects was told where to.
    let names =
        [("git.example", vec!["127.0.0.1"]), ("both.example", vec!["127.0.0.1", "169.254.169.254"]), ("inside.example", vec!["127.0.0.2"])];
    let names = names.map(|(name, found)| (name.to_owned(), found.into_iter().map(address).collect::<Vec<_>>()));
    let submodules = || Submodules::On(SshVariables::default(), Resolver::Fixed(names.clone().into_iter().collect()));
    let at = |commit: &str, allowed: &[&str]| {
        let mut source = place.source_at(commit);
        source.network.egress = EgressPolicy::allowing(allowed.iter().copied()).expect("policy");
        source
    };
    let good = commit(&named("git.example"));
    let done = check_out_with(&place, &at(&good, &["127.0.0.1"]), submodules(), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.file("lib/lib.txt").as_deref(), Some("library"));
    let asked = seen.lock().expect("lock").drain(..).collect::<Vec<_>>();
    assert!(!asked.is_empty() && asked.iter().all(|(_, given)| given.is_empty()), "{asked:?}");
    let inside = |name: &str| format!("`{name}` is not on the public internet");
    for (url, allowed, refused) in [
        (named("git.example"), &[][..], inside("git.example")),
        (named("both.example"), &["127.0.0.1"], inside("both.example")),
        (named("inside.example"), &["127.0.0.1"], inside("inside.example")),
        (named("127.0.0.1"), &[], inside("127.0.0.1")),
        (named("127.1"), &[], inside("127.0.0.1")),
        (named("localhost"), &[], inside("localhost")),
        ("http://169.254.169.254/latest".into(), &[], inside("169.254.169.254")),
        ("https://[::1]/x".into(), &[], inside("[::1]")),
    ] {
        let text = refusal(&check_out_with(&place, &at(&commit(&url), allowed), submodules(), |git| git).await);
        assert!(text.contains(&refused), "{url}: {text}");
    }
    assert_eq!(seen.lock().expect("lock").len(), 0, "nobody was asked");
    // An older git cannot be told.
    let old = program(&place, "#!/bin/sh\n[ \"$1\" = version ] && { echo git version 2.36.6; exit; }\nexec git \"$@\"\n");
    let text = refusal(&check_out_with(&place, &at(&good, &["127.0.0.1"]), submodules(), |git| git.with_program(&old)).await);
    assert!(text.contains("older than 2.37"), "{text}");
    assert!(
        can_be_bound("git version 2.39.5\n") && can_be_bound("git version 3.0") && can_be_bound("git version 2.37.1 (Apple Git-137.1)")
    );
    assert!(!can_be_bound("git version 2.9.0") && !can_be_bound("git") && !can_be_bound("git version 1.99"));
}

#[tokio::test]
async fn a_source_that_is_not_trusted_leads_nowhere() {
    let place = Place::new().await;
    let lib = place.push("open-lib", None, &[("lib.txt", "library")], &[]);
    let commit = place.push("hello", None, &[(".gitmodules", &list(&[("libs/x", "../open-lib.git")]))], &[("libs/x", &lib)]);
    let done = check_out_with(&place, &place.source_at(&commit), Submodules::Off, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert!(done.log.contains("the source has 1 submodules (for example `libs/x`), which this build does not fetch"), "{}", done.log);
    assert_eq!(place.asked("/open-lib.git"), []);
}

#[tokio::test]
async fn depth_and_number_have_an_end() {
    let place = Place::new().await;
    let mut deepest = place.push("open", None, &[("a", "1")], &[]);
    let modules = list(&[("s", "../open.git")]);
    let mut depths = Vec::new();
    for _ in 0..=MAX_DEPTH {
        deepest = place.push("open", None, &[(".gitmodules", &modules)], &[("s", &deepest)]);
        depths.push(deepest.clone());
    }
    let source = |commit: &str| Source { clone_url: format!("{}/open.git", place.origin), ..place.source_at(commit) };
    let done = check_out(&place, &source(&depths[MAX_DEPTH - 1]), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.file(&format!("{}a", "s/".repeat(MAX_DEPTH))).as_deref(), Some("1"));
    let text = refusal(&check_out(&place, &source(&depths[MAX_DEPTH]), |git| git).await);
    assert!(text.contains(&format!("more than {MAX_DEPTH} deep")), "{text}");
    let leaf = place.push("open-leaf", None, &[("a", "1")], &[]);
    let paths: Vec<String> = (0..=MAX_COUNT).map(|number| format!("n/{number:03}")).collect();
    let many: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "../open-leaf.git")).collect();
    let links: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), leaf.as_str())).collect();
    let commit = place.push("open", None, &[(".gitmodules", &list(&many))], &links);
    let text = refusal(&check_out(&place, &source(&commit), |git| git).await);
    assert!(text.contains(&format!("more than {MAX_COUNT} submodules")), "{text}");
    assert_eq!(place.asked("/open-leaf.git"), [], "none of them was begun");
}

/// Everything beneath a folder but the source's own tree and its repositories.
fn around(done: &Done) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![done.dir.path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            let path = entry.path();
            if path == done.dir.source() {
                continue;
            }
            found.push(path.strip_prefix(&done.dir.path).expect("below").display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn sources_that_were_made_to_do_harm_do_none() {
    let place = Place::new().await;
    let mark = place.folder.path().join("mark");
    let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
    // A library whose files are hooks, wherever somebody might take them for some.
    let hooks = ["hooks/post-checkout", "y/hooks/post-checkout", "modules/x/hooks/post-checkout"];
    let files: Vec<(&str, &str)> = hooks.iter().map(|path| (*path, script.as_str())).collect();
    let lib = place.push("open-lib", None, &files, &[]);
    let good = "../open-lib.git";
    let named = |name: &str, path: &str, url: &str| format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n");
    let ext = format!("\"ext::sh -c touch% {}\"", mark.display());
    let (hostile, odd, transport) =
        ("the source holds a damaged or hostile object: error: object ", "has blanks, control characters", "nor SSH");
    let own = place.folder.path().display();
    let evil = [
        // Addresses that are options, programs and places of this machine.
        ("x", named("x", "x", "-u./payload"), vec![], hostile),
        ("x", named("x", "x", &format!("\"--upload-pack=touch {}\"", mark.display())), vec![], hostile),
        ("x", named("x", "x", &ext), vec![], odd),
        ("x", named("x", "x", &ext.replace("ext", "EXT")), vec![], odd),
        ("x", named("x", "x", &format!("ext::{}", mark.display())), vec![], transport),
        ("x", named("x", "x", &format!("file://{own}/open-lib.git")), vec![], transport),
        ("x", named("x", "x", &format!("{own}/open-lib.git")), vec![], transport),
        ("x", named("x", "x", "fd::7"), vec![], transport),
        ("x", named("x", "x", "ssh://-oProxyCommand=id/x"), vec![], "odd user, host or path"),
        ("x", named("x", "x", "https://u:hunter2@git.example/x.git"), vec![], "its address `https://...@git.example/x.git` has a password"),
        // Names and settings that would become paths and programs, were they used.
        ("x", named("../../hooks", "x", good), vec![], hostile),
        ("x", format!("{}\tupdate = !touch {}\n", named("x", "x", good), mark.display()), vec![], hostile),
        (
            "x",
            format!("{}\tbranch = -x\n[core]\n\tfsmonitor = touch {}\n[include]\n\tpath = ../x\n", named("x", "x", good), mark.display()),
            vec![],
            "",
        ),
        // Links and letter case on the way to the repository's own folder (CVE-2024-32002, CVE-2025-48384).
        ("A/modules/x", named("x", "A/modules/x", good), vec![("a", "-> .git")], ""),
        ("a/modules/x", named("x", "a/modules/x", good), vec![("A", "-> .git")], ""),
        ("x", named("x", "x\r", good), vec![("x\r", "-> .git/modules")], ""),
        ("x", named("x", "\"x\\r\"", good), vec![], "cannot be read"),
        ("deep/x", named("x", "deep/x", good), vec![("link", "-> deep"), ("out", "-> ../../..")], ""),
        // Lists that are none, and that say other paths than the tree.
        ("x", "[submodule \"x\n".to_owned(), vec![], "cannot be read"),
        ("x", named("x", "../x", good), vec![], ""),
        ("x", named("x", ".git/x", good), vec![], ""),
    ];
    let mut commits = Vec::new();
    for (link, modules, files, expected) in evil {
        let files: Vec<(&str, &str)> =
            files.into_iter().chain([(".gitmodules", modules.as_str()), ("hooks/post-checkout", script.as_str())]).collect();
        commits.push((modules.clone(), place.push("hello", None, &files, &[(link, &lib)]), expected));
    }
    // Trees that git itself would not make: the repository's own folder, the folder above, one name twice, a list that is a link.
    for entries in [
        [("160000", ".git", lib.as_str()), ("100644", ".gitmodules", &named("x", ".git", good))],
        [("160000", "..", &lib), ("100644", ".gitmodules", &named("x", "..", good))],
        [("120000", "a", ".git"), ("160000", "a", &lib)],
        [("120000", ".gitmodules", ".git/config"), ("160000", "x", &lib)],
    ] {
        commits.push((format!("{entries:?}"), place.push_raw("hello", &entries), hostile));
    }
    for (what, commit, expected) in commits {
        let done = check_out_with(&place, &place.source_at(&commit), on(Some("a key".into()), ""), |git| git).await;
        assert!(!mark.exists(), "{what}: something was run");
        let left = around(&done);
        assert!(left.iter().all(|path| path == "home" || path == "access"), "{what}: {left:?}");
        let repository = done.dir.source().join(".git");
        assert!(!repository.join("hooks").exists() && !repository.join("modules").exists(), "{what}: {}", done.log);
        assert!(place.asked("/open-lib.git").iter().all(|(_, given)| given.is_empty()), "{what}");
        let text = done.result.as_ref().err().map_or("", String::as_str);
        assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{what}: {text}");
        assert!(!text.contains("hunter2") && !done.log.contains("hunter2"), "{what}: {}", done.log);
        // What a hook of the source would start with its next git command.
        crate::test_place::try_git(&done.dir.source(), &["status", "--porcelain"], &[]);
        assert!(!mark.exists(), "{what}: something was run afterwards");
    }
    for (path, why) in [
        ("a/b", "no plain empty folder"),
        ("a/../x", "no plain empty folder"),
        (".GIT/x", "no plain"),
        ("l/x", "no plain"),
        ("full", "no plain"),
    ] {
        let root = tempfile::tempdir().expect("folder");
        std::fs::create_dir(root.path().join("full")).expect("folder");
        std::fs::write(root.path().join("full/file"), "").expect("file");
        std::fs::create_dir_all(root.path().join(".GIT/x")).expect("folder");
        std::fs::create_dir_all(root.path().join("x")).expect("folder");
        std::os::unix::fs::symlink(root.path(), root.path().join("l")).expect("link");
        let refused = empty_folder(root.path(), path).map_err(|failure| failure.reason.text);
        assert!(refused.as_ref().is_err_and(|text| text.contains(why)), "{path}: {refused:?}");
        assert!(empty_folder(root.path(), "x").is_ok());
    }
}
