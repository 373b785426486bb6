//! The rooms of the workspace and who may use whom, checked against what `cargo metadata` says.
//! Invariant: a dependency between two rooms stands in [`ARROWS`], or the test fails and names it.
//! Deliberately elsewhere: what is inside of a room (its own tests).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Room, and the rooms that it may use. A new arrow is a decision: it changes ARCHITECTURE.md in the same commit.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("oci", &[]),
    ("wire", &["model"]),
    ("store", &["model"]),
    ("blobs", &["oci"]),
    ("forge", &["model"]),
    ("distribution", &["model", "oci", "forge"]),
    ("buildkit", &["oci"]),
    ("builder", &["wire", "buildkit", "oci", "model"]),
    ("app", &["model", "store", "forge", "distribution"]),
    ("registry", &["oci", "blobs", "store", "app", "distribution", "model"]),
    ("web", &["app", "store", "forge", "wire", "blobs", "model"]),
    ("server", &["model", "oci", "wire", "store", "blobs", "forge", "distribution", "buildkit", "builder", "app", "registry", "web"]),
    ("testkit", &[]),
];

/// These drive the whole from outside: they may use any room, and no room uses them.
const OUTSIDE: &[&str] = &["demo", "tests", "e2e", "benches", "fuzz"];

/// What is compiled into the binary.
const PRODUCT: &str = "server";

/// Longest file of a room, tests not counted.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace").to_owned()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps().other_options(["--offline".to_owned()]);
    command.exec().expect("`cargo metadata` describes the workspace")
}

fn room(package: &Package) -> &str {
    package.name.strip_prefix("slipway-").unwrap_or_else(|| panic!("package `{}` is not named `slipway-<room>`", package.name))
}

/// For each room the rooms that it uses by dependencies of these kinds.
fn used(metadata: &Metadata, kinds: &[DependencyKind]) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata.workspace_packages();
    let rooms: BTreeSet<&str> = packages.iter().map(|package| room(package)).collect();
    let uses = |package: &&Package| {
        let ours = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
        let ours = ours.filter_map(|dependency| dependency.name.strip_prefix("slipway-")).filter(|name| rooms.contains(name));
        (room(package).to_owned(), ours.map(str::to_owned).collect())
    };
    packages.iter().map(uses).collect()
}

const BUILT_IN: &[DependencyKind] = &[DependencyKind::Normal, DependencyKind::Build];

/// What `ARROWS` says about one arrow, in words, when it does not allow it.
fn refusal(from: &str, to: &str) -> Option<String> {
    if OUTSIDE.contains(&to) {
        return Some(format!("`{from}` uses `{to}`, which nobody may use"));
    }
    if OUTSIDE.contains(&from) {
        return None;
    }
    match ARROWS.iter().find(|(room, _)| *room == from) {
        None => Some(format!("the room `{from}` has no row in ARROWS")),
        Some((_, allowed)) if !allowed.contains(&to) => Some(format!("`{from}` uses `{to}`; it may use {allowed:?}")),
        Some(_) => None,
    }
}

#[test]
fn arrows_run_only_as_listed() {
    let used = used(&metadata(), BUILT_IN);
    let known: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).chain(OUTSIDE.iter().copied()).collect();
    let rooms: BTreeSet<&str> = used.keys().map(String::as_str).collect();
    assert_eq!(rooms, known, "rooms of the workspace (left) and rooms of the table (right)");
    let refused: Vec<String> = used.iter().flat_map(|(from, to)| to.iter().filter_map(|to| refusal(from, to))).collect();
    assert!(refused.is_empty(), "arrows that are not listed:\n{}", refused.join("\n"));
}

#[test]
fn the_table_refuses_what_it_must() {
    for (from, to) in [("builder", "store"), ("model", "store"), ("store", "app"), ("web", "registry"), ("web", "testkit"), ("app", "demo")]
    {
        assert!(refusal(from, to).is_some(), "{from} -> {to}");
    }
    assert!(refusal("new-room", "model").is_some());
    for (from, to) in [("app", "store"), ("demo", "testkit"), ("tests", "server")] {
        assert_eq!(refusal(from, to), None, "{from} -> {to}");
    }
}

#[test]
fn the_testkit_is_no_part_of_the_product() {
    let used = used(&metadata(), BUILT_IN);
    let mut seen = BTreeSet::new();
    let mut open = vec![PRODUCT.to_owned()];
    while let Some(next) = open.pop() {
        if seen.insert(next.clone()) {
            open.extend(used[&next].iter().cloned());
        }
    }
    assert!(seen.contains("app") && seen.contains("builder"), "the product's rooms were not found: {seen:?}");
    assert!(!seen.contains("testkit"), "`testkit` is compiled into the product");
    // Untrusted code runs beside the builder; what it cannot reach at all needs no rule. (`server` holds both.)
    let mut open = vec!["builder".to_owned()];
    while let Some(next) = open.pop() {
        assert_ne!(next, "store", "the builder reaches the database");
        open.extend(used[&next].iter().cloned());
    }
}

#[test]
fn tests_of_a_room_make_no_circle() {
    let (built, with_tests) = (used(&metadata(), BUILT_IN), used(&metadata(), &[DependencyKind::Development]));
    for (room, used) in with_tests {
        let mut open: Vec<String> = used.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            assert_ne!(next, room, "the tests of `{room}` use a room that uses `{room}`: write them in `tests`");
            if seen.insert(next.clone()) {
                open.extend(built[&next].iter().cloned());
            }
        }
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file of the workspace, `src`, `tests`, `benches` and `build.rs` alike.
fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates"].iter().chain(OUTSIDE) {
        rust_files(&root().join(folder), &mut found);
    }
    found.retain(|path| !path.components().any(|part| part.as_os_str() == "target"));
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn every_file_opens_with_what_lives_in_it() {
    let files = all_files();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let without: Vec<String> = files.iter().filter(|path| !text(path).starts_with("//! ")).map(|path| shown(path)).collect();
    assert!(without.is_empty(), "these files do not open with `//! `:\n{}", without.join("\n"));
}

/// What a file is without its test modules: its number of lines, and the paths of test modules in files of their own.
fn without_tests(path: &Path, text: &str) -> (usize, Vec<PathBuf>) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut count, mut position, mut elsewhere) = (0, 0, Vec::new());
    while position < lines.len() {
        if lines[position].trim() != "#[cfg(test)]" {
            count += 1;
            position += 1;
            continue;
        }
        position += 1;
        let mut file = None;
        while lines.get(position).is_some_and(|line| line.trim_start().starts_with("#[")) {
            file = lines[position].trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")).or(file);
            position += 1;
        }
        let Some(line) = lines.get(position) else { break };
        let module = line.trim().trim_start_matches("pub(crate) ").strip_prefix("mod ");
        if let Some(name) = module.and_then(|rest| rest.strip_suffix(';')) {
            let folder = path.parent().expect("a file is in a folder");
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("our file names are UTF-8");
            let below = if matches!(stem, "mod" | "lib" | "main") { folder.to_owned() } else { folder.join(stem) };
            elsewhere.push(file.map_or_else(|| below.join(format!("{name}.rs")), |file| folder.join(file)));
            position += 1;
        } else if module.is_some_and(|rest| rest.ends_with('{')) {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            position += 1 + lines[position..].iter().take_while(|line| **line != end).count();
        }
    }
    (count, elsewhere)
}

#[test]
fn no_file_of_a_room_is_long_without_a_reason() {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root().join("crates")).expect("rooms").flatten().map(|entry| entry.path().join("src")).collect();
    folders.sort();
    for folder in folders {
        rust_files(&folder, &mut files);
    }
    let (mut long, mut tests) = (Vec::new(), BTreeSet::new());
    for path in &files {
        let content = text(path);
        let (lines, elsewhere) = without_tests(path, &content);
        tests.extend(elsewhere);
        let mut header = content.lines().take_while(|line| line.starts_with("//!"));
        if lines > MAX_LINES && !header.any(|line| line.contains("longer because")) {
            long.push((path, lines));
        }
    }
    let long: Vec<String> = long
        .into_iter()
        .filter(|(path, _)| !tests.contains(*path))
        .map(|(path, lines)| format!("{} has {lines} lines", shown(path)))
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines, and the header does not say `longer because`:\n{}", long.join("\n"));
}

#[test]
fn lines_of_tests_do_not_count() {
    let text = "//! x\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod more;\n";
    assert_eq!(without_tests(Path::new("src/x.rs"), text), (3, vec![PathBuf::from("src/x_tests.rs")]));
    assert_eq!(without_tests(Path::new("src/x.rs"), "#[cfg(test)]\nmod tests;\n"), (0, vec![PathBuf::from("src/x/tests.rs")]));
    assert_eq!(without_tests(Path::new("src/x/mod.rs"), "#[cfg(test)]\nmod tests;\n"), (0, vec![PathBuf::from("src/x/tests.rs")]));
}

/// Whether a text names a folder as `room/`, and not only another one that ends alike.
fn names_folder(text: &str, room: &str) -> bool {
    let needle = format!("{room}/");
    text.match_indices(&needle).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-')))
        || text.contains(&format!("`crates/{room}`"))
        || text.contains(&format!("`{room}`"))
}

#[test]
fn the_map_names_every_room() {
    assert!(names_folder("crates/\n  web/   axum", "web") && names_folder("see `crates/web`", "web"));
    assert!(!names_folder("cobweb/ webs/", "web"));
    let path = root().join("ARCHITECTURE.md");
    let map =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("ARCHITECTURE.md cannot be read ({error}); it must name every room"));
    let metadata = metadata();
    let missing: Vec<&str> = metadata.workspace_packages().into_iter().map(room).filter(|room| !names_folder(&map, room)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name these rooms (as `room/`): {missing:?}");
}

/// Whether a line compares what a secret exposes, or brings a comparison of its own.
fn compares_a_secret(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let exposes = ["expose()", "expose_secret()", "to_hex()", "expose().as_bytes()", "expose_secret().as_bytes()"];
    let compared = exposes.iter().any(|call| {
        code.contains(&format!("{call} ==")) || code.contains(&format!("{call} !=")) || (code.contains("== ") && code.ends_with(call))
    });
    compared || code.contains("ct_eq(") || code.contains("use subtle")
}

#[test]
fn secrets_are_compared_by_one_function() {
    assert!(compares_a_secret("if token.expose() == other {") && compares_a_secret("a.ct_eq(b)") && !compares_a_secret("a == b"));
    let home = root().join("crates/model/src/secret.rs");
    let mut found = Vec::new();
    let mut uses = 0;
    for path in
        all_files().iter().filter(|path| path.starts_with(root().join("crates")) && !path.starts_with(root().join("crates/testkit")))
    {
        let source = text(path);
        uses += source.matches("constant_time_eq(").count();
        if *path == home || path.components().any(|part| part.as_os_str() == "tests") || path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let product = source.split("#[cfg(test)]").next().unwrap_or_default();
        found.extend(product.lines().filter(|line| compares_a_secret(line)).map(|line| format!("{}: {}", shown(path), line.trim())));
    }
    assert!(found.is_empty(), "compare secrets by `model::constant_time_eq`:\n{}", found.join("\n"));
    assert!(uses > 3, "the one function is used: {uses}");
    // The types of secrets cannot be compared at all.
    let secrets = text(&home);
    for kind in ["SecretToken", "SecretHash"] {
        let at = secrets.find(&format!("pub struct {kind}(")).expect("the type stands");
        let derived = secrets[..at].rsplit("#[derive(").next().unwrap_or_default();
        assert!(!derived.split(')').next().unwrap_or_default().contains("PartialEq"), "{kind} can be compared by ==");
        assert!(!secrets.contains(&format!("PartialEq for {kind}")), "{kind} can be compared by ==");
    }
}
