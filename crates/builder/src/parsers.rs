//! The parsers of this room, for whoever throws hostile input at them.
//! Invariant: each function calls what a build calls and adds nothing; no build goes through here.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use serde_norway::Value;
use slipway_buildkit::Tree;
use slipway_model::{BuildRule, RefName};
use url::Url;

use crate::compose_rules::{Ground, check_reads, check_resolved};
use crate::mask::{Masker, Secrets};
use crate::process::Ended;

/// What would be run of a test file that compose resolved.
///
/// # Errors
/// Why nothing would.
pub fn compose_file(checkout: &Path, resolved: &[u8], project: &str) -> Result<String, String> {
    let source = Tree::open(checkout).map_err(|error| error.to_string())?;
    let value: Value = serde_norway::from_slice(resolved).map_err(|error| error.to_string())?;
    check_resolved(&Ground { source: &source, path: checkout }, &value, project)?;
    serde_norway::to_string(&value).map_err(|error| error.to_string())
}

/// Whether compose may read a test file of the checkout with all that it names.
///
/// # Errors
/// Why it may not.
pub fn compose_reads(checkout: &Path, file: &str) -> Result<(), String> {
    let source = Tree::open(checkout).map_err(|error| error.to_string())?;
    check_reads(&source, file, "sut").map(drop)
}

/// The arguments that a Dockerfile declares.
#[must_use]
pub fn dockerfile_arguments(dockerfile: &[u8]) -> BTreeSet<String> {
    crate::args::declared(dockerfile)
}

/// Whether a Dockerfile asks for no program of its own as its frontend.
///
/// # Errors
/// Which one it asks for.
pub fn dockerfile_frontend(dockerfile: &[u8]) -> Result<(), String> {
    crate::args::check_frontend(dockerfile).map_err(|failure| failure.reason.text)
}

/// Path and content of the Dockerfile that a rule means.
///
/// # Errors
/// Why there is none.
pub fn dockerfile_of(checkout: &Path, rule: &BuildRule) -> Result<(String, Bytes), String> {
    let plan = crate::plan::make(checkout, rule).map_err(|failure| failure.reason.text)?;
    Ok((plan.dockerfile.path, plan.dockerfile.content))
}

/// A source's address as git gets it.
///
/// # Errors
/// Why it gets none.
pub fn ssh_address(address: &str) -> Result<String, String> {
    crate::access::ssh_url(address).map_err(|failure| failure.reason.text)
}

/// The line of a known server.
#[must_use]
pub fn known_host(key: &str) -> Option<String> {
    crate::access::known_host(key)
}

/// Why git could not fetch, by its words.
#[must_use]
pub fn fetch_problem(stderr: &str, source: &RefName) -> String {
    let ended = Ended { code: Some(128), stdout: Vec::new(), stderr: stderr.to_owned() };
    let by_ssh = crate::access::ssh_trouble(&ended).map(|trouble| format!("{trouble:?}"));
    let by_id = crate::git::refuses_commit_ids(&ended);
    format!("{by_ssh:?} {by_id} {}", crate::git::fetch_failure(&ended, source).reason)
}

/// The size that a pointer of Git LFS promises, if this is one.
#[must_use]
pub fn lfs_pointer(content: &[u8]) -> Option<u64> {
    crate::lfs::pointer(content)
}

/// Where a `.lfsconfig` keeps files, by git's list of it, if not at the repository itself.
#[must_use]
pub fn lfs_elsewhere(listed: &[u8], own: &Url) -> Option<String> {
    crate::lfs::elsewhere(listed, own)
}

/// Paths and addresses of submodules, by git's list of a `.gitmodules`.
#[must_use]
pub fn gitmodules(listed: &[u8]) -> Vec<(String, String)> {
    crate::gitmodules::modules(listed).into_iter().map(|module| (module.path, module.url)).collect()
}

/// Paths and commits of submodules, by git's list of a tree.
#[must_use]
pub fn gitlinks(listed: &[u8]) -> Vec<(Vec<u8>, String)> {
    crate::gitmodules::links(listed)
}

/// A submodule's address as git gets it.
///
/// # Errors
/// Why it gets none.
pub fn submodule_address(text: &str, parent: &Url) -> Result<String, String> {
    let parent = crate::gitmodules::Address::Http(parent.clone());
    crate::gitmodules::Address::parse(text, &parent).map(|address| address.to_string())
}

/// How many keys of hosts the lines name.
///
/// # Errors
/// Which line is none.
pub fn known_hosts(text: &str) -> Result<usize, String> {
    crate::reach::known_hosts(text).map(|known| known.len())
}

/// A private key as OpenSSH gets it.
#[must_use]
pub fn private_key(text: &str) -> String {
    crate::access::key_text(text)
}

/// How many of the changed files count for a rule, and how many there are.
#[must_use]
pub fn changed(listed: &[u8], paths: &slipway_model::PathFilter) -> (usize, usize) {
    crate::changes::wanted(listed, paths)
}

/// First line, author and whole message of a commit, by git's words.
#[must_use]
pub fn words_of_commit(log: &[u8]) -> (String, String, String) {
    let words = crate::checkout::Words::of(log);
    (words.subject, words.author, words.message)
}

/// A stream that came in pieces, without the secrets.
#[must_use]
pub fn masked(secrets: &[&str], pieces: &[&[u8]]) -> Vec<u8> {
    let mut masker = Masker::new(Secrets::new(secrets.iter().copied()));
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| masker.feed(piece)).collect();
    out.extend(masker.finish());
    out
}

/// Which of the secrets an image's tar holds that comes in pieces, and where; secrets by what they are called.
///
/// # Errors
/// Why it is no image.
pub fn secrets_in_image(secrets: &[(&str, &str)], pieces: &[&[u8]]) -> Result<Vec<String>, String> {
    let Some(wanted) = crate::leaks::Wanted::new(secrets.iter().copied()) else { return Ok(Vec::new()) };
    let mut search = crate::leaks::Search::new(&wanted);
    pieces.iter().for_each(|piece| search.feed(piece));
    let found = search.finish()?;
    Ok(found.leaks.iter().map(|leak| format!("{leak:?}")).collect())
}
