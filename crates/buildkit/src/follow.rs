//! Which paths a COPY source needs when it is, or passes through, a symbolic link.
//!
//! The invariant: resolution is textual inside the context (an absolute link starts at the context's root, as in a
//! container) and ends after a bounded number of steps. Deliberately elsewhere: opening what was found.

use std::collections::BTreeSet;
use std::io;

use crate::patterns::{Patterns, clean};
use crate::tree::{Tree, is_absent};

/// More links than any honest context has; the rest is left out and the engine reports the missing file.
const MAX_STEPS: usize = 20_000;

/// The paths and the targets of all links on them, sorted. `None`: one of them is the whole folder.
pub(crate) fn follow(tree: &Tree, paths: &[String]) -> io::Result<Option<Vec<String>>> {
    let mut found = BTreeSet::new();
    let mut todo: Vec<String> = paths.to_vec();
    let mut steps = 0;
    while let Some(path) = todo.pop() {
        steps += 1;
        if steps > MAX_STEPS {
            break;
        }
        resolve(tree, &path, &mut found, &mut todo)?;
    }
    if found.contains(".") {
        return Ok(None);
    }
    let mut kept: Vec<String> = Vec::new();
    for path in found {
        let covered = kept.last().is_some_and(|last: &String| path.starts_with(last) && path[last.len()..].starts_with('/'));
        if !covered {
            kept.push(path);
        }
    }
    Ok(Some(kept))
}

fn resolve(tree: &Tree, path: &str, found: &mut BTreeSet<String>, todo: &mut Vec<String>) -> io::Result<()> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut current = ".".to_owned();
    for (index, part) in parts.iter().enumerate() {
        current = clean(&format!("{current}/{part}"));
        let rest = parts[index + 1..].join("/");
        let targets = targets(tree, &current)?;
        if targets.is_empty() {
            if rest.is_empty() {
                found.insert(current);
                return Ok(());
            }
            continue;
        }
        if found.insert(current) {
            todo.extend(targets.iter().map(|target| clean(&format!("{target}/{rest}"))));
        }
        return Ok(());
    }
    Ok(())
}

/// The targets of the link at this path, or of all links that its last part matches.
fn targets(tree: &Tree, path: &str) -> io::Result<Vec<String>> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if !name.contains(['*', '?', '[']) {
        return Ok(target(tree, path)?.into_iter().collect());
    }
    let Ok(pattern) = Patterns::new(&[name]) else { return Ok(Vec::new()) };
    let names = match tree.names(folder) {
        Ok(names) => names,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut out = Vec::new();
    for name in names.into_iter().filter_map(|name| String::from_utf8(name).ok()) {
        if pattern.matches(&name) {
            out.extend(target(tree, clean(&format!("{folder}/{name}")).trim_start_matches('/'))?);
        }
    }
    Ok(out)
}

fn target(tree: &Tree, path: &str) -> io::Result<Option<String>> {
    let link = match tree.link_target(path) {
        Ok(Some(link)) => link,
        // A path that leaves the folder, or leads through a link, has nothing to add: the engine reports it.
        Ok(None) | Err(_) => return Ok(None),
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let absolute = if link.starts_with('/') { clean(&link) } else { clean(&format!("/{folder}/{link}")) };
    Ok(Some(absolute.trim_start_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_resolved_as_in_a_container_and_loops_end() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("real/deep")).expect("folders");
        std::fs::write(at("real/deep/file"), "x").expect("file");
        symlink("real", at("link")).expect("link");
        symlink("/real/deep/file", at("absolute")).expect("absolute");
        symlink("loop", at("loop")).expect("loop");
        symlink("grow/grow", at("grow")).expect("grow");
        symlink("../../../etc", at("escape")).expect("escape");
        let tree = Tree::open(folder.path()).expect("tree");
        let of = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
            follow(&tree, &paths).expect("follow").map(|found| found.join(" ")).unwrap_or_else(|| "all".to_owned())
        };
        assert_eq!(of(&["link/deep/file"]), "link real/deep/file");
        assert_eq!(of(&["absolute"]), "absolute real/deep/file");
        assert_eq!(of(&["abs*", "missing"]), "abs* missing real/deep/file");
        assert_eq!(of(&["loop"]), "loop");
        assert_eq!(of(&["grow"]), "grow");
        assert_eq!(of(&["escape"]), "escape etc");
        assert_eq!(of(&["real", "real/deep"]), "real");
        assert_eq!(of(&["/"]), "all");
        assert_eq!(of(&["../outside"]), "../outside");
    }
}
