//! Phase checkout: the source's commit becomes a folder.
//!
//! The invariant: exactly the asked commit is checked out or the phase fails with a reason; size and time are limited.
//! Deliberately elsewhere: the environment of git (`git`), one fetch (`fetch`), what a source leads to beside itself (`submodules`, `lfs`),
//! what is built of the folder (`plan`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use slipway_model::{CommitId, FailureCode, PathFilter, Phase, RefKind, Step};
use slipway_wire::{Base, Event, Source, SshKey};

use crate::access::{SshTrouble, Way};
use crate::changes::Comparison;
use crate::failure::Failure;
use crate::fetch::{self, Fetched, Wanted};
use crate::git::{Git, fetch_failure};
use crate::home::BuildDir;
use crate::lfs::{self, Store};
use crate::process::Stdout;
use crate::report::Reporter;
use crate::steps::{begun, cut};
use crate::submodules::Submodules;

pub(crate) const STEP: &str = "checkout";
/// Where a ref lies between its fetch and the checkout.
const FETCHED: &str = "refs/slipway/source";
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);
pub(crate) const SIZE_LIMIT: u64 = 16 << 30;
/// Of a commit's message, in bytes: a program takes no variable of 128 KiB.
const MESSAGE_LIMIT: usize = 64 * 1024;
const ENTRY_LIMIT: u64 = 2_000_000;

/// What was checked out.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    /// The commit's whole message, as far as a variable takes it.
    pub(crate) message: String,
}

/// Checks the commit out into the build's folder.
pub(crate) async fn run(
    source: &Source,
    paths: &PathFilter,
    submodules: &Submodules,
    dir: &BuildDir,
    reporter: &Reporter,
) -> Result<Checkout, Failure> {
    let name = format!("fetch {} of {}", source.commit.short(), source.source_ref.short());
    let step = begun(STEP, Phase::Checkout, &name, &reporter.clock);
    reporter.step(step.clone()).await;
    let git = Git::new(dir);
    let done = limited(dir.source(), fetch_and_checkout(&git, source, paths, submodules, dir, reporter)).await;
    end(step, done.as_ref().err(), reporter).await;
    done
}

/// What fills a folder from a source, for as long and as large as a source may be.
pub(crate) async fn limited<T>(folder: PathBuf, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        failure = watch(folder) => Err(failure),
        () = tokio::time::sleep(TIME_LIMIT) => {
            Err(Failure::passing(FailureCode::SourceUnavailable, format!("the source was not fetched within {} minutes", TIME_LIMIT.as_secs() / 60)))
        }
    }
}

async fn end(step: Step, failure: Option<&Failure>, reporter: &Reporter) {
    // That nothing changed is what the step found out.
    let failure = failure.filter(|failure| failure.reason.code != FailureCode::Unchanged);
    reporter.end_step(step, failure.map(|failure| failure.reason.text.clone())).await;
}

pub(crate) async fn fetch_and_checkout(
    git: &Git,
    source: &Source,
    paths: &PathFilter,
    submodules: &Submodules,
    dir: &BuildDir,
    reporter: &Reporter,
) -> Result<Checkout, Failure> {
    git.init(&source.commit, reporter).await?;
    let cloned = fetch_source(git, source, dir, reporter).await?;
    reporter.line(Some(STEP), &cloned.line()).await;
    reporter.event(cloned.into_event()).await;
    let peeled = format!("{}^{{commit}}", source.commit);
    let commit = git.call(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled], reporter, Stdout::Kept).await?;
    let commit: CommitId = String::from_utf8_lossy(&commit.stdout).trim().parse().map_err(|_| gone(source))?;
    if let Some(base) = &source.base {
        Comparison { base, paths }.check(git, &commit, reporter, STEP).await?;
    }
    check_out(git, &commit, "the source", reporter).await?;
    name_refs(git, source, &commit, reporter).await?;
    lfs::fetch(git, &Store::Source(source), dir, reporter).await?;
    submodules.fetch(git, source, dir, reporter).await?;
    describe(git, commit, reporter).await
}

/// The commit's files become the folder's, without a branch.
pub(crate) async fn check_out(git: &Git, commit: &CommitId, what: &str, reporter: &Reporter) -> Result<(), Failure> {
    let done = git.call(&["checkout", "--quiet", "--force", "--detach", commit.as_str()], reporter, Stdout::Logged).await?;
    if done.succeeded() {
        return Ok(());
    }
    Err(Failure::new(FailureCode::SourceUnavailable, format!("{what} cannot be checked out: {}", done.last_words())))
}

/// The repository as `git clone` leaves it, so that hooks may `git fetch --unshallow` (of a private source from what `history` fetched) or ask which branch it is: on the branch
/// that was pushed, detached for everything else, with an `origin` that has no credential. Full names of refs are no options.
async fn name_refs(git: &Git, source: &Source, commit: &CommitId, reporter: &Reporter) -> Result<(), Failure> {
    git.must(&["remote", "add", "origin", &source.clone_url], reporter).await?;
    for ours in [FETCHED, fetch::TARGET] {
        git.must(&["update-ref", "-d", ours], reporter).await?;
    }
    let name = source.source_ref.as_str();
    if source.source_ref.kind() == RefKind::Branch {
        let there = format!("refs/remotes/origin/{}", source.source_ref.short());
        git.must(&["update-ref", &there, commit.as_str()], reporter).await?;
        git.must(&["update-ref", name, commit.as_str()], reporter).await?;
        git.must(&["symbolic-ref", "HEAD", name], reporter).await?;
    } else if source.source_ref.kind() == RefKind::Tag {
        git.must(&["update-ref", name, source.commit.as_str()], reporter).await?;
    }
    Ok(())
}

/// Which way the source came, and why.
struct Cloned {
    with: String,
    because: Option<String>,
    key_refused: bool,
}

impl Cloned {
    fn line(&self) -> String {
        match &self.because {
            Some(because) => format!("cloned with {}, because {because}", self.with),
            None => format!("cloned with {}", self.with),
        }
    }

    fn into_event(self) -> Event {
        Event::Cloned { with: self.with, because: self.because, key_refused: self.key_refused }
    }
}

/// Over SSH where there is a key; where that is refused, or nobody answers, with the credential where there is one.
async fn fetch_source(git: &Git, source: &Source, dir: &BuildDir, reporter: &Reporter) -> Result<Cloned, Failure> {
    let (mut because, mut key_refused) = (source.because.clone(), false);
    if let Some(ssh) = &source.ssh {
        let key = key_words(ssh.key);
        let way = Way::ssh(ssh, dir)?;
        let Some(trouble) = fetch_by(git, &way, source, reporter).await? else {
            return Ok(Cloned { with: key.into(), because: None, key_refused });
        };
        drop(way);
        let (why, failure): (String, fn(FailureCode, String) -> Failure) = match trouble {
            SshTrouble::OtherServer => return Err(other_server()),
            SshTrouble::KeyRefused(said) => {
                // Of its own keys the server wants to know; the one in a variable is its writer's to mend.
                key_refused = ssh.key == SshKey::Deploy;
                (format!("the source refuses {key}: {said}"), Failure::new)
            }
            SshTrouble::Unreachable(said) => (format!("the source does not answer over SSH: {said}"), Failure::passing),
        };
        if source.credential.is_none() {
            let rest = because.map(|because| format!("; there is no other way: {because}")).unwrap_or_default();
            reporter.event(Cloned { with: "nothing".into(), because: None, key_refused }.into_event()).await;
            return Err(failure(FailureCode::SourceUnavailable, format!("{why}{rest}")));
        }
        because = Some(why);
    }
    let way = Way::http(source, dir)?;
    fetch_by(git, &way, source, reporter).await?;
    let with = match (&source.credential, &source.credential_words) {
        (None, _) => "no credential".to_owned(),
        (Some(_), Some(words)) => words.clone(),
        (Some(_), None) => "a credential".to_owned(),
    };
    Ok(Cloned { with, because, key_refused })
}

fn key_words(key: SshKey) -> &'static str {
    match key {
        SshKey::Deploy => "the deploy key",
        SshKey::Variable => "the key in `SSH_PRIVATE`",
    }
}

fn other_server() -> Failure {
    let text = "the server that answers for the source over SSH has none of the host keys that are configured for its provider: either the provider \
                changed them, or somebody stands in between; an administrator compares them";
    Failure::new(FailureCode::SourceUnavailable, text)
}

/// The commit, and what it is compared with: without that the build is made. `Some` when the way itself is closed.
async fn fetch_by(git: &Git, way: &Way, source: &Source, reporter: &Reporter) -> Result<Option<SshTrouble>, Failure> {
    let refspec = format!("+{}:{FETCHED}", source.source_ref);
    let wanted = Wanted { commit: &source.commit, refspecs: &[&refspec] };
    match fetch::fetch(git, way, &wanted, reporter).await? {
        Fetched::Here => {}
        Fetched::Gone => return Err(gone(source)),
        Fetched::Closed(trouble) => return Ok(Some(trouble)),
        Fetched::Failed(ended) => return Err(fetch_failure(&ended, &source.source_ref)),
    }
    match &source.base {
        Some(Base::Image { commit, .. }) if !fetch::has(git, commit, reporter).await? => {
            fetch::try_commit(git, way, commit, reporter).await?
        }
        Some(Base::Branch(name)) => fetch::try_branch(git, way, name, &wanted, reporter).await?,
        _ => {}
    }
    Ok(None)
}

fn gone(source: &Source) -> Failure {
    let text = format!(
        "commit `{}` is no longer in `{}` at the source: it was replaced by a forced push",
        source.commit,
        source.source_ref.short()
    );
    Failure::new(FailureCode::CommitGone, text)
}

async fn describe(git: &Git, commit: CommitId, reporter: &Reporter) -> Result<Checkout, Failure> {
    let log = git.call(&["log", "-1", "--format=%s%x00%an%x00%B", commit.as_str()], reporter, Stdout::Kept).await?;
    let Words { subject, author, message } = Words::of(&log.stdout);
    reporter.line(Some(STEP), &format!("{} {subject}", commit.short())).await;
    reporter.event(Event::Commit { commit, message: subject, author }).await;
    Ok(Checkout { message })
}

/// What git says of a commit.
pub(crate) struct Words {
    /// The message's first line.
    pub(crate) subject: String,
    pub(crate) author: String,
    /// All of it.
    pub(crate) message: String,
}

impl Words {
    /// By the three with zeros between them.
    pub(crate) fn of(log: &[u8]) -> Self {
        let text = String::from_utf8_lossy(log);
        let mut parts = text.splitn(3, '\0');
        let mut next = || parts.next().unwrap_or_default().trim_end();
        let (subject, author, whole) = (cut(next(), 500), cut(next(), 200), next());
        let mut end = whole.len().min(MESSAGE_LIMIT);
        while !whole.is_char_boundary(end) {
            end -= 1;
        }
        // No variable can have a zero in it.
        Self { subject, author, message: whole[..end].replace('\0', "") }
    }
}

/// Ends with a failure when the folder grows beyond the limits: a small pack can hold an endless tree.
async fn watch(folder: PathBuf) -> Failure {
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let folder = folder.clone();
        let over = tokio::task::spawn_blocking(move || over_limits(&folder, SIZE_LIMIT, ENTRY_LIMIT)).await;
        match over {
            Ok(None) => {}
            Ok(Some(text)) => return Failure::new(FailureCode::SourceUnavailable, text),
            Err(error) => return Failure::internal("the source's size cannot be watched", error),
        }
    }
}

fn over_limits(folder: &Path, size_limit: u64, entry_limit: u64) -> Option<String> {
    let (mut size, mut entries) = (0_u64, 0_u64);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // Git works in it at the same time: what vanished is of no size.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            entries += 1;
            size = size.saturating_add(metadata.len());
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            if size > size_limit {
                return Some(format!("the source is larger than {} MiB", size_limit >> 20));
            }
            if entries > entry_limit {
                return Some(format!("the source holds more than {entry_limit} files"));
            }
        }
    }
    None
}

#[cfg(test)]
#[path = "checkout_tests.rs"]
mod tests;
