//! Checkouts with real git over HTTP and over a real OpenSSH server, and what git is given on the way.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::*;
use crate::test_place::{PAIR, PASSWORD, Place, RECORDER, check_out, git, holds, program, try_git};

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

/// A commit that changes some files, with many others between it and its parent.
fn far(place: &Place, parent: &str, commits: usize, last: &[(&str, &str)]) -> String {
    let mut tip = parent.to_owned();
    for number in 0..commits {
        tip = commit(place, &tip, &[("docs/diary", &number.to_string())]);
    }
    commit(place, &tip, last)
}

#[tokio::test]
async fn a_pull_request_is_compared_with_where_it_left_its_branch() {
    let place = Place::new().await;
    let parted = commit(&place, &place.commit, &[("api/a.rs", "1"), ("web/b.ts", "1")]);
    let web = far(&place, &parted, 40, &[("web/b.ts", "2")]);
    let api = commit(&place, &parted, &[("api/a.rs", "2")]);
    // The branch went on, under the rule's paths too: that is no change of the pull request's.
    let main = far(&place, &parted, 40, &[("api/a.rs", "3"), ("api/new.rs", "3")]);
    let unrelated = place.push("hello", None, &[("api/a.rs", "3"), ("api/new.rs", "3"), ("web/b.ts", "1")], &[]);
    git(&place.bare("hello"), &["update-ref", "refs/heads/main", &main]);
    let from = |commit: &str, into: &str, over_ssh: bool| {
        git(&place.bare("hello"), &["update-ref", "refs/pull/1/head", commit]);
        let source = place.source();
        let base = Some(Base::Branch(into.parse().expect("ref")));
        let ssh = source.ssh.clone().filter(|_| over_ssh);
        Source { base, ssh, commit: commit.parse().expect("commit"), source_ref: "refs/pull/1/head".parse().expect("ref"), ..source }
    };
    for over_ssh in [true, false] {
        let unchanged = check_out(&place, &from(&web, "refs/heads/main", over_ssh), |git| git).await;
        let text = unchanged.result.expect_err("nothing of `api` changed");
        let wanted =
            format!("not tested: the pull request changes nothing under the rule's paths, compared with `main` at {}", &parted[..7]);
        assert_eq!(text, wanted, "{}", unchanged.log);
        assert!(unchanged.log.contains("2 files changed, 0 of them under the rule's paths"), "{}", unchanged.log);
        let changed = check_out(&place, &from(&api, "refs/heads/main", over_ssh), |git| git).await;
        assert_eq!(changed.result, Ok(()), "{}", changed.log);
        assert!(changed.log.contains("1 files changed, 1 of them under the rule's paths"), "{}", changed.log);
        assert_eq!(git(&changed.dir.source(), &["for-each-ref"]), "", "what was only compared with is gone");
    }
    // Each went into the other: which of the two commits that they have in common is meant nobody can say.
    let other = commit(&place, &parted, &[("web/b.ts", "4")]);
    let bare = place.bare("hello");
    let tree = |of: &str| git(&bare, &["rev-parse", &format!("{of}^{{tree}}")]);
    let merge = |one: &str, two: &str, tree: &str| git(&bare, &["commit-tree", "-m", "a merge", "-p", one, "-p", two, tree]);
    let (into, head) = (merge(&api, &other, &tree(&api)), merge(&other, &api, &tree(&api)));
    git(&bare, &["update-ref", "refs/heads/main", &into]);
    let crossed = check_out(&place, &from(&head, "refs/heads/main", false), |git| git).await;
    assert!(crossed.result.is_err_and(|text| text.ends_with(&format!("compared with `main` at {}", &into[..7]))), "{}", crossed.log);
    git(&bare, &["update-ref", "refs/heads/main", &main]);
    // Nothing in common: the branch itself is compared with, and a branch that is gone is no reason to test nothing.
    let nothing = check_out(&place, &from(&unrelated, "refs/heads/main", false), |git| git).await;
    let text = nothing.result.expect_err("it holds what the branch holds");
    assert!(text.ends_with(&format!("compared with `main` at {}", &main[..7])), "{text}");
    let gone = check_out(&place, &from(&web, "refs/heads/gone", true), |git| git).await;
    assert_eq!(gone.result, Ok(()), "{}", gone.log);
    assert!(gone.log.contains("it cannot be compared with `gone`: it is built whatever changed"), "{}", gone.log);
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
        let base = Some(Base::Image { number: 7, commit: base.parse().expect("commit") });
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
    assert!(!done.passes, "the key has to be mended first");
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

    source.credential = None;
    let done = check_out(&place, &source, |git| git).await;
    let text = done.result.expect_err("no way is left");
    assert!(text.starts_with("the source does not answer over SSH: ") && text.contains("Connection refused"), "{text}");
    assert!(done.passes, "it may be back soon");
}

#[tokio::test]
async fn without_a_key_it_is_said_why() {
    let place = Place::new().await;
    let source = Source { ssh: None, because: Some("there may be no deploy key: forbidden by `acme`".into()), ..place.source() };
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert!(done.log.contains("cloned with a token of the link, because there may be no deploy key: forbidden by `acme`"), "{}", done.log);
}

#[tokio::test]
async fn no_secret_is_in_an_argument_the_environment_or_what_is_left() {
    let place = Place::new().await;
    let over_ssh = place.source();
    let over_http = Source { ssh: None, ..over_ssh.clone() };
    let key = over_ssh.ssh.as_ref().expect("ssh").private_key.lines().nth(2).expect("a line of the key").to_owned();
    let secrets = [PASSWORD, PAIR, key.as_str(), "PRIVATE KEY"];
    let notes = place.folder.path().join("notes");
    let recorder = program(&place, &RECORDER.replace("NOTES", notes.to_str().expect("path")));
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
        git(&place.bare("hello"), &["update-ref", name, "refs/heads/main"]);
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
    let place = Place::new().await;
    let notes = place.folder.path().join("notes");
    let refuser = program(&place, &REFUSER.replace("NOTES", notes.to_str().expect("path")));
    for name in ["refs/heads/--upload-pack=x", "refs/heads/-uid", "refs/heads/$(touch_x)", "refs/heads/;id", "refs/heads/a'b"] {
        git(&place.bare("hello"), &["update-ref", name, "refs/heads/main"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_left_as_git_clone_leaves_it() {
    let place = Place::new().await;
    let second = place.push("open", None, &[("a", "1")], &[]);
    let third = place.push("open", Some(&second), &[("a", "2")], &[]);
    git(&place.bare("open"), &["tag", "-a", "-m", "a tag", "v1", &third]);
    let tag = git(&place.bare("open"), &["rev-parse", "v1"]);
    let at = |name: &str, commit: &str| {
        let clone_url = format!("{}/open.git", place.origin);
        Source { clone_url, credential: None, source_ref: name.parse().expect("ref"), ..place.source_at(commit) }
    };
    let branch = check_out(&place, &at("refs/heads/main", &third), |git| git).await;
    assert_eq!(branch.result, Ok(()), "{}", branch.log);
    let folder = branch.dir.source();
    assert_eq!(git(&folder, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(git(&folder, &["for-each-ref", "--format=%(refname)"]), "refs/heads/main\nrefs/remotes/origin/main");
    assert_eq!(git(&folder, &["remote", "get-url", "origin"]), format!("{}/open.git", place.origin));
    assert_eq!((git(&folder, &["rev-list", "--count", "HEAD"]), git(&folder, &["status", "--porcelain"])), ("1".into(), String::new()));
    git(&folder, &["fetch", "--quiet", "--unshallow"]);
    assert_eq!(git(&folder, &["rev-list", "--count", "HEAD"]), "2", "the whole history");
    let tagged = check_out(&place, &at("refs/tags/v1", &tag), |git| git).await;
    assert_eq!(tagged.result, Ok(()), "{}", tagged.log);
    let folder = tagged.dir.source();
    assert!(!try_git(&folder, &["symbolic-ref", "-q", "HEAD"], &[]).0, "detached");
    assert_eq!((git(&folder, &["describe"]), git(&folder, &["rev-parse", "HEAD"])), ("v1".into(), third));
}

#[tokio::test]
async fn the_repositorys_own_key_takes_the_place_of_the_deploy_key() {
    let place = Place::new().await;
    let mut source = place.source();
    let ssh = source.ssh.as_mut().expect("ssh");
    ssh.key = SshKey::Variable;
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.cloned, Some(("the key in `SSH_PRIVATE`".into(), None, false)));
    place.sshd.let_in(&[]).expect("nobody");
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    let (with, because, refused) = done.cloned.expect("cloned");
    assert_eq!((with.as_str(), refused), ("a token of the link", false), "the deploy key is not to blame");
    assert!(because.is_some_and(|because| because.starts_with("the source refuses the key in `SSH_PRIVATE`: ")));
}
