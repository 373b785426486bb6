//! Submodules: repositories within the source, each at the commit that the tree names.
//!
//! The invariants: every one is here at its commit, or the checkout fails and says which and why. An address is whoever pushed's, so the
//! source's credential goes to the source's own repository and nowhere else: a token that reads more would hand over what its owner sees. Git's
//! own submodule commands are never run, and names from a `.gitmodules` become no path and no setting. Deliberately elsewhere: what an address
//! may be (`gitmodules`), where it may lead to (`reach`).

use std::path::{Path, PathBuf};

use slipway_model::{CommitId, FailureCode};
use slipway_wire::{ProviderHost, Source};
use url::Url;

use crate::access::{SshTrouble, Way};
use crate::checkout::{STEP, check_out};
use crate::failure::Failure;
use crate::fetch::{Fetched, Wanted, fetch};
use crate::git::{FetchTrouble, Git, fetch_trouble};
use crate::gitmodules::{Address, Module, SshAddress, is_same, links, modules};
use crate::home::BuildDir;
use crate::lfs::{self, Store};
use crate::process::Stdout;
use crate::reach::{Reach, Resolver};
use crate::report::Reporter;
use crate::variables::SshVariables;

/// Of one source, at all depths.
const MAX_COUNT: usize = 200;
const MAX_DEPTH: usize = 8;

/// Whether the submodules of a source are fetched.
#[derive(Debug)]
pub(crate) enum Submodules {
    /// With what the repository's variables say.
    On(SshVariables, Resolver),
    /// Their folders stay empty: for pushes of whoever may not choose where a builder connects to.
    Off,
}

impl Submodules {
    /// Fetches all of a source that is checked out.
    pub(crate) async fn fetch(&self, git: &Git, source: &Source, dir: &BuildDir, reporter: &Reporter) -> Result<(), Failure> {
        let url: Url = source.clone_url.parse().map_err(|_| Failure::internal("the source's address", "it is none"))?;
        let (variables, resolver) = match self {
            Self::On(variables, resolver) => (variables, resolver),
            Self::Off => return tell_left(git, reporter).await,
        };
        let reach = Reach { network: &source.network, known_hosts: &variables.known_hosts, resolver };
        let fetching = Fetching { source, url: &url, key: variables.private.as_deref(), reach, dir, reporter };
        let mut open = vec![Within { git: git.clone(), address: Address::Http(url.clone()), path: String::new(), depth: 0 }];
        let mut count = 0;
        while let Some(within) = open.pop() {
            let links = tree_links(&within.git, reporter).await?;
            count += links.len();
            if count > MAX_COUNT || (within.depth == MAX_DEPTH && !links.is_empty()) {
                let text = format!("the source has more than {MAX_COUNT} submodules, or some more than {MAX_DEPTH} deep");
                return Err(refused(&text));
            }
            for link in fetching.named(&within, links).await? {
                let done = fetching.one(&within, &link).await;
                open.push(done.map_err(|failure| about(&link.shown, failure))?);
            }
        }
        Ok(())
    }
}

/// A repository whose submodules are to be fetched.
struct Within {
    git: Git,
    address: Address,
    /// From the source's root, for people; empty or with a slash at the end.
    path: String,
    depth: usize,
}

/// A place in a tree where another repository belongs.
struct Link {
    /// From the source's root, for people.
    shown: String,
    path: String,
    url: String,
    commit: CommitId,
}

fn refused(text: &str) -> Failure {
    Failure::new(FailureCode::SourceUnavailable, text)
}

fn about(shown: &str, mut failure: Failure) -> Failure {
    failure.reason.text = format!("submodule `{shown}`: {}", failure.reason.text);
    failure
}

async fn tree_links(git: &Git, reporter: &Reporter) -> Result<Vec<(Vec<u8>, String)>, Failure> {
    // Without files, of which there may be more than anybody wants to read.
    let listed = git.call(&["ls-tree", "-r", "-d", "-z", "--full-tree", "HEAD"], reporter, Stdout::Kept).await?;
    if listed.succeeded() { Ok(links(&listed.stdout)) } else { Err(Failure::internal("git ls-tree failed", listed.last_words())) }
}

async fn tell_left(git: &Git, reporter: &Reporter) -> Result<(), Failure> {
    let links = tree_links(git, reporter).await?;
    if let Some((first, _)) = links.first() {
        let first = plain(&String::from_utf8_lossy(first));
        let text = format!(
            "the source has {} submodules (for example `{first}`), which this build does not fetch: their folders are empty",
            links.len()
        );
        reporter.line(Some(STEP), &text).await;
    }
    Ok(())
}

struct Fetching<'a> {
    source: &'a Source,
    url: &'a Url,
    key: Option<&'a str>,
    reach: Reach<'a>,
    dir: &'a BuildDir,
    reporter: &'a Reporter,
}

/// Why one way did not lead to a submodule.
enum Missed {
    /// Another way may.
    Unauthorized(String),
    /// None will.
    Failure(Failure),
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Fetching<'_> {
    /// What the repository's `.gitmodules` says of these places in its tree.
    async fn named(&self, within: &Within, links: Vec<(Vec<u8>, String)>) -> Result<Vec<Link>, Failure> {
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let modules = self
            .modules(&within.git)
            .await
            .map_err(|failure| if within.path.is_empty() { failure } else { about(&within.path, failure) })?;
        let mut found = Vec::new();
        for (path, commit) in links {
            let shown = plain(&format!("{}{}", within.path, String::from_utf8_lossy(&path)));
            let Some(module) = String::from_utf8(path).ok().and_then(|path| modules.iter().find(|module| module.path == path)) else {
                let text =
                    format!("`{shown}` is a commit of another repository of which `.gitmodules` says no address: the folder stays empty");
                self.reporter.line(Some(STEP), &text).await;
                continue;
            };
            let commit = commit.parse().map_err(|_| about(&shown, refused("its commit has no whole id")))?;
            found.push(Link { shown, path: module.path.clone(), url: module.url.clone(), commit });
        }
        Ok(found)
    }

    async fn modules(&self, git: &Git) -> Result<Vec<Module>, Failure> {
        if !git.call(&["cat-file", "-e", "HEAD:.gitmodules"], self.reporter, Stdout::Quiet).await?.succeeded() {
            return Ok(Vec::new());
        }
        let args = ["config", "--blob", "HEAD:.gitmodules", "--no-includes", "--null", "--list"];
        let listed = git.call(&args, self.reporter, Stdout::Kept).await?;
        if listed.succeeded() {
            Ok(modules(&listed.stdout))
        } else {
            Err(refused(&format!("`.gitmodules` cannot be read: {}", listed.last_words())))
        }
    }

    /// Fetches one into its folder.
    async fn one(&self, within: &Within, link: &Link) -> Result<Within, Failure> {
        let address = Address::parse(&link.url, &within.address);
        let address = address.map_err(|why| refused(&format!("its address `{}` {why}", shown(&link.url))))?;
        let git = within.git.within(empty_folder(within.git.folder(), &link.path)?);
        git.init(&link.commit, self.reporter).await?;
        let with = self.by_any_way(&git, &address, &link.commit).await?;
        let kind = git.call(&["cat-file", "-t", link.commit.as_str()], self.reporter, Stdout::Kept).await?;
        if kind.stdout.trim_ascii() != b"commit" {
            return Err(refused(&format!("`{}` is no commit", link.commit)));
        }
        check_out(&git, &link.commit, "it", self.reporter).await?;
        git.must(&["remote", "add", "origin", &address.to_string()], self.reporter).await?;
        let text = format!("submodule `{}` at {} of {address}, {with}", link.shown, link.commit.short());
        self.reporter.line(Some(STEP), &text).await;
        let over_http = self.over_http(&address);
        let store = match &over_http {
            Some(url) if is_same(url, self.url) => Store::Source(self.source),
            Some(url) if self.reach.provider(url).is_some() => Store::Provider(url),
            _ => Store::Elsewhere,
        };
        lfs::fetch(&git, &store, self.dir, self.reporter).await?;
        Ok(Within { git, address, path: format!("{}/", link.shown), depth: within.depth + 1 })
    }

    /// The same repository over HTTP, where its provider is known.
    fn over_http(&self, address: &Address) -> Option<Url> {
        match address {
            Address::Http(url) => Some(url.clone()),
            Address::Ssh(ssh) => {
                let (provider, _) = self.reach.provider_over_ssh(ssh)?;
                format!("{}/{}", provider.url.trim_end_matches('/'), ssh.path.trim_start_matches('/')).parse().ok()
            }
        }
    }

    /// First as it is written, then, at a configured provider, over the other protocol. Gives what it was fetched with.
    async fn by_any_way(&self, git: &Git, address: &Address, commit: &CommitId) -> Result<&'static str, Failure> {
        let over_ssh = match address {
            Address::Http(url) => self.reach.provider(url).and_then(|provider| over_ssh(url, provider)),
            Address::Ssh(ssh) => Some(ssh.clone()),
        };
        let mut refusals = Vec::new();
        // Over HTTP, unless the address is one of SSH and there is a key for it.
        if let Some(url) = self.over_http(address).filter(|_| matches!(address, Address::Http(_)) || self.key.is_none()) {
            match self.by_http(git, &url, commit).await {
                Ok(with) => return Ok(with),
                Err(Missed::Unauthorized(why)) => refusals.push(why),
                Err(Missed::Failure(failure)) => return Err(failure),
            }
        }
        if let (Some(ssh), Some(key)) = (&over_ssh, self.key) {
            match self.by_ssh(git, ssh, key, commit).await {
                Ok(()) => return Ok("with the key in `SSH_PRIVATE`"),
                Err(Missed::Unauthorized(why)) => refusals.push(why),
                Err(Missed::Failure(failure)) => return Err(failure),
            }
        } else {
            refusals.push(
                "a submodule that not everybody may read needs a key of its own: put a private SSH key that may read it into the variable \
                 `SSH_PRIVATE` (the credential of the source opens the source alone)"
                    .to_owned(),
            );
        }
        Err(refused(&refusals.join("; ")))
    }

    async fn by_http(&self, git: &Git, url: &Url, commit: &CommitId) -> Result<&'static str, Missed> {
        let (way, with) = if is_same(url, self.url) {
            (Way::http(self.source, self.dir)?, "with what the source is fetched with over HTTP")
        } else if self.reach.provider(url).is_some() {
            (Way::anonymous(url, None, self.dir)?, "without a credential")
        } else {
            self.can_be_bound(git).await?;
            let host = url.host_str().unwrap_or_default();
            let addresses = self.reach.addresses(host).await.map_err(|why| refused(&format!("`{url}` is not fetched: {why}")))?;
            (Way::anonymous(url, Some(&addresses), self.dir)?, "without a credential")
        };
        match self.by(git, &way, commit).await? {
            Fetched::Here => Ok(with),
            Fetched::Gone => Err(gone(commit, url).into()),
            Fetched::Failed(ended) => Err(match fetch_trouble(&ended) {
                FetchTrouble::Unauthorized | FetchTrouble::NotFound => {
                    Missed::Unauthorized(format!("`{url}` is not there, or not for everybody"))
                }
                trouble => failed(url, trouble).into(),
            }),
            Fetched::Closed(_) => Err(Failure::internal("git over HTTP", "ssh spoke").into()),
        }
    }

    async fn by_ssh(&self, git: &Git, address: &SshAddress, key: &str, commit: &CommitId) -> Result<(), Missed> {
        let host_keys = self.reach.host_keys(address).map_err(|why| refused(&why))?;
        let bound = if self.reach.provider_over_ssh(address).is_some() {
            None
        } else {
            let found = self.reach.addresses(&address.host).await;
            found.map_err(|why| refused(&format!("`{address}` is not fetched: {why}")))?.first().copied()
        };
        let way = Way::with_key(address.to_string(), key, &host_keys, bound, self.dir)?;
        match self.by(git, &way, commit).await? {
            Fetched::Here => Ok(()),
            Fetched::Gone => Err(gone(commit, address).into()),
            Fetched::Failed(ended) => Err(failed(address, fetch_trouble(&ended)).into()),
            Fetched::Closed(SshTrouble::KeyRefused(said)) => {
                Err(Missed::Unauthorized(format!("`{address}` refuses the key in `SSH_PRIVATE`: {said}")))
            }
            Fetched::Closed(SshTrouble::OtherServer) => {
                let text = format!(
                    "the server that answers for `{address}` has none of the keys that it is known by: either it changed them, or somebody stands in between"
                );
                Err(refused(&text).into())
            }
            Fetched::Closed(SshTrouble::Unreachable(said)) => {
                Err(Failure::passing(FailureCode::SourceUnavailable, format!("`{address}` does not answer: {said}")).into())
            }
        }
    }

    async fn by(&self, git: &Git, way: &Way, commit: &CommitId) -> Result<Fetched, Failure> {
        let refspecs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        fetch(git, way, &Wanted { commit, refspecs: &refspecs }, self.reporter).await
    }

    /// An older git would look a name up itself, and get another address than the one that was looked at.
    async fn can_be_bound(&self, git: &Git) -> Result<(), Failure> {
        let version = git.call(&["version"], self.reporter, Stdout::Kept).await?;
        if can_be_bound(&String::from_utf8_lossy(&version.stdout)) {
            return Ok(());
        }
        Err(refused(
            "it is at no configured provider, and the builder's git is older than 2.37, which such hosts need; its administrator updates it",
        ))
    }
}

/// What somebody wrote, for people.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// An address for people, without what may be a password.
fn shown(url: &str) -> String {
    let url = plain(url);
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}...{}", &url[..scheme + 3], &url[at..]),
        _ => url,
    }
}

/// The same repository over SSH.
fn over_ssh(url: &Url, provider: &ProviderHost) -> Option<SshAddress> {
    let ssh = provider.ssh.as_ref()?;
    let own: Url = provider.url.parse().ok()?;
    let path = url.path().strip_prefix(own.path().trim_end_matches('/'))?.trim_start_matches('/');
    let text = format!("ssh://{}@{}:{}/{path}", ssh.user, ssh.host, ssh.port);
    match Address::parse(&text, &Address::Http(own)) {
        Ok(Address::Ssh(address)) => Some(address),
        _ => None,
    }
}

fn can_be_bound(version: &str) -> bool {
    let numbers: Vec<u32> = version.trim_start_matches("git version ").split('.').map_while(|number| number.trim().parse().ok()).collect();
    numbers.as_slice() >= &[2, 37]
}

fn gone(commit: &CommitId, address: impl std::fmt::Display) -> Failure {
    refused(&format!("commit `{commit}` is not at `{address}`: it was never pushed there, or replaced by a forced push"))
}

fn failed(address: impl std::fmt::Display, trouble: FetchTrouble) -> Failure {
    match trouble {
        FetchTrouble::NoRef => refused(&format!("`{address}` has no branch")),
        FetchTrouble::Unauthorized | FetchTrouble::NotFound => refused(&format!("`{address}` is not there, or may not be read")),
        FetchTrouble::Redirect => {
            refused(&format!("`{address}` answers with a redirect, which is not followed: write the address where it leads to"))
        }
        FetchTrouble::Damaged(words) => refused(&format!("`{address}` holds a damaged or hostile object: {words}")),
        FetchTrouble::Other(words) => Failure::passing(FailureCode::SourceUnavailable, format!("`{address}` cannot be fetched: {words}")),
    }
}

/// The folder that git made for a submodule. Git refuses hostile paths itself; a link on the way, or a file within, is no mere mistake.
fn empty_folder(root: &Path, path: &str) -> Result<PathBuf, Failure> {
    let odd = || refused("its path is no plain empty folder of the source");
    let mut folder = root.to_owned();
    for part in path.split('/') {
        if matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git") {
            return Err(odd());
        }
        folder.push(part);
        if !std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            return Err(odd());
        }
    }
    let is_empty = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty { Ok(folder) } else { Err(odd()) }
}

#[cfg(test)]
#[path = "submodules_tests.rs"]
mod tests;
