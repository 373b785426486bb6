//! Cases known from moby/patternmatcher and Go's `path.Match`, written as our own table.

use super::*;

fn exact(pattern: &str, path: &str) -> bool {
    Patterns::new(&[pattern]).expect(pattern).list[0].matches(path)
}

fn inherited(patterns: &[&str], path: &str) -> bool {
    let patterns = Patterns::new(patterns).expect("patterns");
    let mut folder: Option<FolderMatch> = None;
    for above in parents(path) {
        folder = Some(patterns.judge(above, folder.as_ref()).1);
    }
    patterns.judge(path, folder.as_ref()).0
}

#[test]
fn single_patterns_match_as_docker_does() {
    for (pattern, path) in [
        ("**", "file"),
        ("**/", "dir/file"),
        ("**/**", "dir/file"),
        ("dir/**", "dir/dir2/file"),
        ("**/dir", "dir"),
        ("**/dir2/*", "dir/dir2/file"),
        ("**/dir2/**", "dir/dir2/dir3/file"),
        ("**file", "dir/dir/file"),
        ("**/file*txt", "dir/dir/file.txt"),
        ("**/**/*.txt", "file.txt"),
        ("a**/*.txt", "a/dir/dir/file.txt"),
        ("a/*.txt**", "a/file.txt"),
        ("a[b-d]e", "ace"),
        ("a[^b-d]e", "aze"),
        (".*", ".foo"),
        ("abc.def", "abc.def"),
        ("abc?def", "abcZdef"),
        ("**/foo/bar", "foo/bar"),
        ("**/foo/bar", "dir/dir2/foo/bar"),
        ("abc/**", "abc/def/ghi"),
        ("**/.foo", ".foo"),
        ("a(b)c/def", "a(b)c/def"),
        ("a.|)$(}+{bc", "a.|)$(}+{bc"),
        ("a\\*b", "a*b"),
        ("a\\\\", "a\\"),
        ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"),
        ("*", "abc"),
        ("*c", "abc"),
        ("a*", "a"),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f"),
        ("a*b?c*x", "abxbbxdbxebxczzx"),
        ("a?b", "a☺b"),
        ("a[^a]b", "a☺b"),
        ("[a-ζ]*", "α"),
        ("[\\]a]", "]"),
        ("[\\-x]", "-"),
        ("**name", "surname"),
        ("./a//b/../c", "a/c"),
    ] {
        assert!(exact(pattern, path), "`{pattern}` must match `{path}`");
        assert!(inherited(&[pattern], path), "`{pattern}` must match `{path}` through its folders");
    }
}

#[test]
fn single_patterns_do_not_match_too_much() {
    for (pattern, path) in [
        ("**/**/*.txt2", "dir/dir/file.txt"),
        ("a/*.txt", "a/dir/file.txt"),
        ("a[b-d]e", "ae"),
        ("a[b-d]e", "aae"),
        (".*", "foo"),
        ("abc.def", "abcZdef"),
        ("abc?def", "abcdef"),
        ("abc/**", "abc"),
        ("**/.foo", "bar.foo"),
        ("a(b)c/def", "a(b)c/xyz"),
        ("a*/b", "a/c/b"),
        ("a*b?c*x", "abxbbxdbxebxczzy"),
        ("a???b", "a☺b"),
        ("a?b", "a/b"),
        ("a*b", "a/b"),
        ("*[a-ζ]", "A"),
        ("[x\\-]", "z"),
        ("", "a"),
        ("a\\*b", "axb"),
    ] {
        let list = Patterns::new(&[pattern]).expect(pattern);
        assert!(!list.matches(path), "`{pattern}` must not match `{path}`");
        assert!(!inherited(&[pattern], path), "`{pattern}` must not match `{path}` through its folders");
    }
}

#[test]
fn a_matched_folder_takes_what_is_below_it() {
    for (pattern, path) in [("**/dir", "dir/file"), ("a*", "ab/c"), ("docs", "docs/a/b")] {
        assert!(!exact(pattern, path));
        assert!(Patterns::new(&[pattern]).expect(pattern).matches(path));
        assert!(inherited(&[pattern], path));
    }
}

#[test]
fn exceptions_count_in_order() {
    for (patterns, path, expected) in [
        (&["!fileutils.go", "*.go"][..], "fileutils.go", true),
        (&["*.go", "!fileutils.go"], "fileutils.go", false),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs/", "!docs/README.md"], "docs/README.md", false),
        (&["docs/*", "!docs/README.md"], "docs/other", true),
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
        (&["**", "!dist/*.whl"], "dist/a+b.whl", false),
        (&["  docs  ", "  !docs/README.md"], "docs/README.md", false),
    ] {
        assert_eq!(Patterns::new(patterns).expect("patterns").matches(path), expected, "{patterns:?} {path}");
        assert_eq!(inherited(patterns, path), expected, "{patterns:?} {path} through its folders");
    }
}

#[test]
fn malformed_patterns_are_refused() {
    for pattern in ["!", "[", "[^", "[^bc", "a[", "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]"] {
        assert!(Patterns::new(&[pattern]).is_err(), "`{pattern}` must be refused");
    }
}

#[test]
fn a_hostile_pattern_stays_cheap() {
    let pattern = "*a".repeat(200);
    let path = "a".repeat(4000);
    let begun = std::time::Instant::now();
    assert!(exact(&pattern, &path));
    assert!(!exact(&format!("{pattern}b"), &path));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_folder_is_only_skipped_when_nothing_below_can_match() {
    let patterns = Patterns::new(&["src/*.rs", "!vendor/**/keep"]).expect("patterns");
    assert!(patterns.may_match_below("src"));
    assert!(!patterns.may_match_below("docs"));
    assert!(patterns.may_except_below("vendor"));
    assert!(patterns.may_except_below("vendor/deep"));
    assert!(!patterns.may_except_below("src"));
    assert!(Patterns::new(&["**/x"]).expect("patterns").may_match_below("any/where"));
}
