//! Files in Git LFS: what the tree holds of them is a pointer of some lines, and a build would take that for the file.
//!
//! The invariant: no pointer is left when the checkout ends, or the checkout fails with words. They are asked for at the repository's own
//! address, with the source's own credential and nothing else; whatever a `.lfsconfig` says, no other place is asked. Deliberately elsewhere:
//! the transfer itself; `git-lfs` does it.

use std::path::{Path, PathBuf};

use slipway_model::FailureCode;
use slipway_wire::Source;
use url::Url;

use crate::access::Way;
use crate::checkout::{SIZE_LIMIT, STEP};
use crate::failure::Failure;
use crate::git::Git;
use crate::gitmodules::is_same;
use crate::home::BuildDir;
use crate::process::Stdout;
use crate::report::Reporter;

/// A pointer is smaller ("Git LFS specification": less than 1024 bytes).
const MAX_POINTER: u64 = 1024;
const VERSIONS: [&str; 2] = ["version https://git-lfs.github.com/spec/v1\n", "version https://hawser.github.com/spec/v1\n"];

/// Settings of `git-lfs` that a `.lfsconfig` may not change, and those by which it looks at files at all.
const SETTINGS: [(&str, &str); 9] = [
    ("lfs.fetchinclude", ""),
    ("lfs.fetchexclude", ""),
    ("lfs.skipdownloaderrors", "false"),
    ("lfs.basictransfersonly", "true"),
    ("lfs.locksverify", "false"),
    FILTERS[0],
    FILTERS[1],
    FILTERS[2],
    FILTERS[3],
];
const FILTERS: [(&str, &str); 4] = [
    ("filter.lfs.clean", "git-lfs clean -- %f"),
    ("filter.lfs.smudge", "git-lfs smudge -- %f"),
    ("filter.lfs.process", "git-lfs filter-process"),
    ("filter.lfs.required", "true"),
];

/// Where the files of a repository are.
pub(crate) enum Store<'a> {
    /// At the source.
    Source(&'a Source),
    /// At a submodule of a configured provider; without a credential.
    Provider(&'a Url),
    /// Nowhere that may be asked: what the server answers with are addresses of its own choice.
    Elsewhere,
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(FailureCode::SourceUnavailable, text)
}

/// Puts the files in the place of their pointers; does nothing where there are none.
pub(crate) async fn fetch(git: &Git, store: &Store<'_>, dir: &BuildDir, reporter: &Reporter) -> Result<(), Failure> {
    let (count, first, size) = match pointers_in(git.folder()).await?.as_slice() {
        [] => return Ok(()),
        all => (all.len(), all[0].0.clone(), all.iter().map(|(_, size)| *size).fold(0, u64::saturating_add)),
    };
    let files = format!("{count} files in Git LFS (for example `{first}`)");
    if size > SIZE_LIMIT {
        return Err(refused(format!("{files} have {} MiB together, at most {} are fetched", size >> 20, SIZE_LIMIT >> 20)));
    }
    let own: Url = match store {
        Store::Source(source) => source.clone_url.parse().map_err(|_| refused("the source's address is none"))?,
        Store::Provider(url) => (*url).clone(),
        Store::Elsewhere => {
            let why = "files in Git LFS of a submodule are fetched from a configured provider over HTTP and from nowhere else";
            return Err(refused(format!("{files} are not fetched: {why}")));
        }
    };
    check_config(git, &own, reporter).await?;
    let version = git.call(&["lfs", "version"], reporter, Stdout::Quiet).await?;
    if !version.succeeded() {
        let what = "this builder has no `git-lfs`; its administrator installs it (Debian's package `git-lfs`)";
        return Err(refused(format!("the source keeps {files}, and {what}")));
    }
    reporter.line(Some(STEP), &format!("{files}, {} KiB", size.div_ceil(1024))).await;
    let way = match store {
        Store::Source(source) => Way::http(source, dir)?,
        _ => Way::anonymous(&own, None, dir)?,
    };
    let endpoint = endpoint(&own);
    let git_lfs = git.with(&SETTINGS).with(&[("lfs.url", &endpoint), ("remote.origin.lfsurl", &endpoint)]);
    let pulled = git_lfs.command_by(&way, ["lfs", "pull", "origin"]).run(reporter, STEP, Stdout::Logged).await;
    let pulled = pulled.map_err(|error| Failure::internal("git cannot be run", error))?;
    if !pulled.succeeded() {
        let text = format!("{files} cannot be fetched from `{endpoint}`: {}", reason(&pulled.stderr));
        return Err(Failure::passing(FailureCode::SourceUnavailable, text));
    }
    drop(way);
    if let Some((left, _)) = pointers_in(git.folder()).await?.first() {
        return Err(refused(format!("`{left}` is still a pointer of Git LFS after all files were fetched from `{endpoint}`")));
    }
    // So that whoever asks this repository whether something changed does not hear that every one of them did.
    for (key, value) in FILTERS {
        git.must(&["config", key, value], reporter).await?;
    }
    Ok(())
}

/// As `git-lfs` makes it of a repository's address.
fn endpoint(own: &Url) -> String {
    let base = own.as_str().trim_end_matches('/');
    format!("{}.git/info/lfs", base.strip_suffix(".git").unwrap_or(base))
}

/// The first line that says something: the last ones only say how to read the log.
fn reason(stderr: &str) -> String {
    let told = |line: &&str| !line.is_empty() && !line.starts_with("hint:");
    stderr.lines().map(str::trim).find(told).unwrap_or("no message").chars().take(300).collect()
}

/// Refuses a repository that keeps its files elsewhere.
async fn check_config(git: &Git, own: &Url, reporter: &Reporter) -> Result<(), Failure> {
    if !git.call(&["cat-file", "-e", "HEAD:.lfsconfig"], reporter, Stdout::Quiet).await?.succeeded() {
        return Ok(());
    }
    let listed = git.call(&["config", "--blob", "HEAD:.lfsconfig", "--no-includes", "--null", "--list"], reporter, Stdout::Kept).await?;
    if !listed.succeeded() {
        return Err(refused(format!("`.lfsconfig` cannot be read: {}", listed.last_words())));
    }
    match elsewhere(&listed.stdout, own) {
        None => Ok(()),
        Some(place) => Err(refused(format!(
            "`.lfsconfig` keeps the files in Git LFS at `{place}`; they are fetched from the source's own address `{own}` and from nowhere else"
        ))),
    }
}

/// The address of a `.lfsconfig`, by git's list of it, that is not the repository's own.
pub(crate) fn elsewhere(listed: &[u8], own: &Url) -> Option<String> {
    let entries = listed.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let is_address = |key: &str| key == "lfs.url" || (key.starts_with("remote.") && key.ends_with(".lfsurl"));
    for entry in entries {
        let Some((key, value)) = entry.split_once('\n') else { continue };
        if !is_address(&key.to_ascii_lowercase()) {
            continue;
        }
        let repository = value.trim_end_matches('/').strip_suffix("/info/lfs").and_then(|base| Url::parse(base).ok());
        let has_name = |url: &Url| !url.username().is_empty() || url.password().is_some();
        if !repository.is_some_and(|url| is_same(&url, own) && !has_name(&url)) {
            return Some(value.chars().filter(|c| !c.is_control()).take(200).collect());
        }
    }
    None
}

/// The files beneath the folder that are pointers, with the sizes that they promise; the repositories within are left out.
async fn pointers_in(folder: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let folder = folder.to_owned();
    let found = tokio::task::spawn_blocking(move || pointers(&folder)).await;
    found.map_err(|error| Failure::internal("the source cannot be looked through", error))
}

fn pointers(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            // Links are not followed.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Some(size) = pointer_file(&entry.path())
            {
                let path: PathBuf = entry.path().strip_prefix(folder).map(Path::to_owned).unwrap_or_default();
                found.push((path.display().to_string(), size));
            }
        }
    }
    found.sort();
    found
}

fn pointer_file(path: &Path) -> Option<u64> {
    let is_small = std::fs::symlink_metadata(path).is_ok_and(|metadata| (1..MAX_POINTER).contains(&metadata.len()));
    if is_small { pointer(&std::fs::read(path).ok()?) } else { None }
}

/// The size that a pointer promises, if this is one.
pub(crate) fn pointer(content: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content).ok()?;
    let rest = VERSIONS.iter().find_map(|version| text.strip_prefix(version))?;
    let value = |key: &str| rest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let is_id = |id: &str| id.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    value("oid").filter(|id| is_id(id))?;
    value("size")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_known_by_what_they_say() {
        let pointer_of = |id: &str| format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 1234\n");
        assert_eq!(pointer(pointer_of(&"a".repeat(64)).as_bytes()), Some(1234));
        let extended = pointer_of(&"a".repeat(64)).replace("\noid", "\next-0-foo sha256:bb\noid");
        assert_eq!(pointer(extended.as_bytes()), Some(1234));
        for other in ["", "version https://git-lfs.github.com/spec/v1\n", "a pointer: version https://git-lfs.github.com/spec/v1\n"] {
            assert_eq!(pointer(other.as_bytes()), None, "{other}");
        }
        assert_eq!(pointer(pointer_of("xyz").as_bytes()), None);
        assert_eq!(pointer(b"version https://git-lfs.github.com/spec/v1\n\xff"), None);
    }

    #[test]
    fn only_the_sources_own_place_is_one_to_ask() {
        let own: Url = "https://git.example/octo/app.git".parse().expect("url");
        let said = |key: &str, value: &str| elsewhere(format!("lfs.locksverify\nfalse\0{key}\n{value}\0").as_bytes(), &own);
        for fine in ["https://git.example/octo/app.git/info/lfs", "https://git.example/octo/app/info/lfs/"] {
            assert_eq!(said("lfs.url", fine), None);
        }
        for place in [
            "https://evil.example/octo/app.git/info/lfs",
            "https://git.example/other/app.git/info/lfs",
            "http://git.example/octo/app.git/info/lfs",
            "https://git.example:444/octo/app.git/info/lfs",
            "https://u:p@git.example/octo/app.git/info/lfs",
            "https://git.example/octo/app.git/../../x/info/lfs",
            "ssh://git@git.example/octo/app.git",
            "file:///etc",
            "",
        ] {
            assert_eq!(said("lfs.url", place).as_deref(), Some(place));
            assert_eq!(said("remote.origin.lfsurl", place).as_deref(), Some(place));
        }
        assert_eq!(said("lfs.fetchexclude", "https://evil.example"), None);
    }

    #[test]
    fn a_place_is_asked_where_git_lfs_would() {
        for address in ["https://h/a/b.git", "https://h/a/b", "https://h/a/b/"] {
            assert_eq!(endpoint(&address.parse().expect("url")), "https://h/a/b.git/info/lfs");
        }
    }
}

#[cfg(test)]
#[path = "lfs_tests.rs"]
mod fetched;
