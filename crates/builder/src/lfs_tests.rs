//! Files in Git LFS by the real `git-lfs`, from a store that the tests serve.

use super::*;
use crate::reach::Resolver;
use crate::submodules::Submodules;
use crate::test_place::{Place, check_out, check_out_with, git, program, serve};
use crate::variables::SshVariables;

const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

#[tokio::test]
async fn files_take_the_place_of_their_pointers() {
    let place = Place::new().await;
    let (one, other) = (place.large_file("the first large file"), place.large_file("another large file"));
    // The second is one whatever the attributes say; what the source's settings leave out is fetched all the same.
    let config =
        format!("[lfs]\n\turl = {}/info/lfs\n\tfetchexclude = *\n\tskipdownloaderrors = true\n\tconcurrenttransfers = 1\n", place.http);
    let files =
        [(".gitattributes", ATTRIBUTES), (".lfsconfig", &config), ("a/large.bin", &one), ("plain", &other), ("small.bin", "no pointer")];
    let commit = place.push("hello", None, &files, &[]);
    let done = check_out(&place, &place.source_at(&commit), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.file("a/large.bin").as_deref(), Some("the first large file"));
    assert_eq!(done.file("plain").as_deref(), Some("another large file"));
    assert_eq!(done.file("small.bin").as_deref(), Some("no pointer"));
    assert!(done.log.contains("2 files in Git LFS (for example `a/large.bin`)"), "{}", done.log);
    let changed = git(&done.dir.source(), &["-c", "core.safecrlf=false", "status", "--porcelain", "a"]);
    assert_eq!(changed, "", "to git nothing changed");
}

#[tokio::test]
async fn the_credential_goes_to_the_sources_own_place_alone() {
    let place = Place::new().await;
    let (elsewhere, seen) = serve(place.folder.path().to_owned(), None).await;
    let pointer = place.large_file("a large file");
    let with = |config: &str| place.push("hello", None, &[(".lfsconfig", config), ("large.bin", &pointer)], &[]);
    for config in [
        format!("[lfs]\n\turl = {elsewhere}/hello.git/info/lfs\n"),
        format!("[remote \"origin\"]\n\tlfsurl = {elsewhere}/hello.git/info/lfs\n"),
        format!("[LFS]\n\tURL = {}/other.git/info/lfs\n", place.origin),
    ] {
        let text = check_out(&place, &place.source_at(&with(&config)), |git| git).await.result.expect_err("another place");
        assert!(text.contains("`.lfsconfig` keeps the files in Git LFS at `http://127.0.0.1:") && text.contains("nowhere else"), "{text}");
    }
    let odd = check_out(&place, &place.source_at(&with("[lfs\n")), |git| git).await.result.expect_err("no config");
    assert!(odd.contains("`.lfsconfig` cannot be read"), "{odd}");
    assert_eq!(seen.lock().expect("lock").len(), 0, "nobody there was asked");

    // A store that answers with addresses of another host, as the large providers' do: it gets none either.
    let (origin, own) = serve(place.folder.path().to_owned(), Some(elsewhere.clone())).await;
    let commit = place.push("hello", None, &[("large.bin", &pointer)], &[]);
    let source = Source { clone_url: format!("{origin}/hello.git"), ..place.source_at(&commit) };
    let done = check_out(&place, &source, |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.file("large.bin").as_deref(), Some("a large file"));
    let there = seen.lock().expect("lock").clone();
    assert!(there.len() == 1 && there.iter().all(|(path, given)| path.starts_with("/large/") && given.is_empty()), "{there:?}");
    assert!(own.lock().expect("lock").iter().any(|(path, given)| path.ends_with("/batch") && !given.is_empty()));
}

#[tokio::test]
async fn no_pointer_is_left_in_silence() {
    let place = Place::new().await;
    let pointer = place.large_file("a large file");
    let commit = place.push("hello", None, &[("large.bin", &pointer)], &[]);
    let without =
        program(&place, "#!/bin/sh\n[ \"$1\" = lfs ] && { echo \"git: 'lfs' is not a git command.\" >&2; exit 1; }\nexec git \"$@\"\n");
    let text = check_out(&place, &place.source_at(&commit), |git| git.with_program(&without)).await.result.expect_err("no git-lfs");
    assert!(
        text.contains("1 files in Git LFS (for example `large.bin`)") && text.contains("installs it (Debian's package `git-lfs`)"),
        "{text}"
    );
    let idle = program(&place, "#!/bin/sh\n[ \"$1 $2\" = 'lfs pull' ] && exit 0\nexec git \"$@\"\n");
    let text = check_out(&place, &place.source_at(&commit), |git| git.with_program(&idle)).await.result.expect_err("nothing was done");
    assert!(text.contains("`large.bin` is still a pointer"), "{text}");
    std::fs::remove_dir_all(place.folder.path().join("large")).expect("store");
    let done = check_out(&place, &place.source_at(&commit), |git| git).await;
    let text = done.result.expect_err("the store lost it");
    assert!(text.contains("cannot be fetched from `http://127.0.0.1:") && text.contains("/hello.git/info/lfs`"), "{text}");
    let huge = pointer.replace("size 12", "size 99999999999999");
    let commit = place.push("hello", None, &[("large.bin", &huge)], &[]);
    let text = check_out(&place, &place.source_at(&commit), |git| git).await.result.expect_err("too large");
    assert!(text.contains("at most 16384 are fetched"), "{text}");
}

#[tokio::test]
async fn submodules_have_large_files_too() {
    let place = Place::new().await;
    let pointer = place.large_file("a large file");
    let open = place.push("open-lib", None, &[("large.bin", &pointer)], &[]);
    let modules = "[submodule \"x\"]\n\tpath = x\n\turl = ../open-lib.git\n";
    let commit = place.push("hello", None, &[(".gitmodules", modules)], &[("x", &open)]);
    let done = check_out(&place, &place.source_at(&commit), |git| git).await;
    assert_eq!(done.result, Ok(()), "{}", done.log);
    assert_eq!(done.file("x/large.bin").as_deref(), Some("a large file"));
    // At a host of nobody's, an answer could send `git-lfs` anywhere.
    let (elsewhere, _) = serve(place.folder.path().to_owned(), None).await;
    let modules = modules.replace("..", &elsewhere);
    let commit = place.push("hello", None, &[(".gitmodules", &modules)], &[("x", &open)]);
    let mut source = place.source_at(&commit);
    source.network.egress = slipway_model::EgressPolicy::allowing(["127.0.0.1"]).expect("policy");
    let submodules = Submodules::On(SshVariables::default(), Resolver::System);
    let text = check_out_with(&place, &source, submodules, |git| git).await.result.expect_err("a store of nobody's");
    assert!(text.starts_with("submodule `x`: 1 files in Git LFS") && text.contains("from a configured provider"), "{text}");
}
