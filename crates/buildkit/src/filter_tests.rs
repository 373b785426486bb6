//! What the walk sends for which patterns.

use super::*;
use std::os::unix::fs::symlink;

fn sample() -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().expect("folder");
    for path in ["a-b", "a/b", "a/c/d", "node_modules/x/y", "node_modules/keep/me", "src/main.rs", ".git/config", "zz"] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folders");
        std::fs::write(path, "content").expect("file");
    }
    symlink("/etc", folder.path().join("etc")).expect("link");
    let tree = Tree::open(folder.path()).expect("tree");
    (folder, tree)
}

fn sent(tree: &Tree, include: &[&str], exclude: &[&str], followed: &[&str]) -> Vec<String> {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let filter = Filter::new(&owned(include), &owned(exclude), &owned(followed), tree).expect("filter");
    let mut out = Vec::new();
    walk(tree, &filter, &mut |stat| {
        out.push(stat.path);
        true
    })
    .expect("walk");
    out
}

#[test]
fn everything_comes_in_the_engines_order_and_links_are_not_entered() {
    let (_folder, tree) = sample();
    assert_eq!(
        sent(&tree, &[], &[], &[]),
        [
            ".git",
            ".git/config",
            "a",
            "a/b",
            "a/c",
            "a/c/d",
            "a-b",
            "etc",
            "node_modules",
            "node_modules/keep",
            "node_modules/keep/me",
            "node_modules/x",
            "node_modules/x/y",
            "src",
            "src/main.rs",
            "zz"
        ]
    );
}

#[test]
fn exceptions_bring_their_folders_back() {
    let (_folder, tree) = sample();
    assert_eq!(
        sent(&tree, &[], &["node_modules", ".git", "a*", "!node_modules/keep", "etc"], &[]),
        ["node_modules", "node_modules/keep", "node_modules/keep/me", "src", "src/main.rs", "zz"]
    );
    assert_eq!(sent(&tree, &[], &["*", "!src/*.rs"], &[]), ["src", "src/main.rs"]);
}

#[test]
fn includes_and_followed_paths_narrow_the_walk() {
    let (_folder, tree) = sample();
    assert_eq!(sent(&tree, &["a/c"], &[], &[]), ["a", "a/c", "a/c/d"]);
    assert_eq!(sent(&tree, &[], &["**/b"], &["a", "s*"]), ["a", "a/c", "a/c/d", "src", "src/main.rs"]);
    assert_eq!(sent(&tree, &[], &[], &["missing"]), Vec::<String>::new());
}

#[test]
fn kinds_and_modes_are_told_as_go_numbers() {
    let (_folder, tree) = sample();
    let mut stats = std::collections::BTreeMap::new();
    walk(&tree, &Filter::default(), &mut |stat| stats.insert(stat.path.clone(), stat).is_none()).expect("walk");
    assert!(has_content(&stats["zz"]) && stats["zz"].size == 7 && stats["zz"].uid == 0);
    assert!(!has_content(&stats["a"]) && stats["a"].mode & (1 << 31) != 0);
    assert!(!has_content(&stats["etc"]) && stats["etc"].linkname == "/etc");
}

#[test]
fn a_name_that_is_not_utf8_is_refused_unless_it_is_left_out() {
    use std::os::unix::ffi::OsStrExt as _;
    let (folder, tree) = sample();
    let name = std::ffi::OsStr::from_bytes(b"bad\xff");
    std::fs::write(folder.path().join(name), "x").expect("file");
    let Err(WalkError::Refused(text)) = walk(&tree, &Filter::default(), &mut |_| true) else { panic!("must be refused") };
    assert!(text.contains("UTF-8"), "{text}");
    assert!(!sent(&tree, &[], &["bad*"], &[]).is_empty());
}

#[test]
fn a_listener_that_left_ends_the_walk() {
    let (_folder, tree) = sample();
    assert!(matches!(walk(&tree, &Filter::default(), &mut |_| false), Err(WalkError::Gone)));
}
