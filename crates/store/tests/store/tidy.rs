//! No function of the store is without a test on both databases.

use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a text")
}

/// Public functions as tests name them: `module::name(` for free ones, `.name(` or `::name(` for methods.
fn functions() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for path in files("src") {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8").to_owned();
        // A folder's files are one module to others.
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        let module = if folder == "src" { stem } else { folder };
        for line in read(&path).lines() {
            let signature = line.trim_start().trim_start_matches("pub async fn ").trim_start_matches("pub fn ");
            if signature == line.trim_start() {
                continue;
            }
            let name: String = signature.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let free = !line.starts_with(' ');
            let calls = if free { vec![format!("{module}::{name}(")] } else { vec![format!(".{name}("), format!("::{name}(")] };
            found.push((format!("{module}::{name}"), calls));
        }
    }
    found
}

#[test]
fn every_public_function_is_called_by_a_test() {
    let tests: String = files("tests").iter().map(|path| read(path)).collect();
    let functions = functions();
    assert!(functions.len() > 100 && functions.iter().any(|(name, _)| name == "builds::claim"), "{functions:?}");
    let untested: Vec<&str> =
        functions.iter().filter(|(_, calls)| !calls.iter().any(|call| tests.contains(call))).map(|(name, _)| name.as_str()).collect();
    assert!(untested.is_empty(), "no test calls: {untested:#?}");
}

#[test]
fn every_query_that_lists_has_a_limit() {
    for path in files("src") {
        let text = read(&path);
        for (at, _) in text.match_indices("fetch_all!(") {
            let statement: String = text[at..].split(";\n").next().expect("one piece at least").to_owned();
            let before = &text[..at];
            // The statement may stand above, in a variable of the same function.
            let function = before.rfind("pub async fn ").map_or("", |start| &before[start..]);
            let bounded = statement.contains("LIMIT") || (statement.contains(" sql,") && function.contains("LIMIT"));
            assert!(bounded, "{}: {}", path.display(), statement.chars().take(300).collect::<String>());
        }
    }
}
