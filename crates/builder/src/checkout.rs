//! Phase checkout: the source's commit becomes a folder.
//!
//! The invariant: exactly the asked commit is checked out or the phase fails with a reason; size and time are limited.
//! Deliberately elsewhere: the environment of git (`git`), what is built of the folder (`plan`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use slipway_model::{CommitId, FailureCode, PathFilter, Phase, Step};
use slipway_wire::{Event, Source};

use crate::access::{SshTrouble, Way, ssh_trouble};
use crate::changes::Comparison;
use crate::failure::Failure;
use crate::git::{Git, fetch_failure, refuses_commit_ids};
use crate::home::BuildDir;
use crate::process::{Ended, Stdout};
use crate::report::Reporter;
use crate::steps::{begun, cut};

const STEP: &str = "checkout";
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);
const SIZE_LIMIT: u64 = 16 << 30;
const ENTRY_LIMIT: u64 = 2_000_000;

/// What was checked out.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    /// First line of the commit's message.
    pub(crate) message: String,
}

/// Checks the commit out into the build's folder.
pub(crate) async fn run(source: &Source, paths: &PathFilter, dir: &BuildDir, reporter: &Reporter) -> Result<Checkout, Failure> {
    let name = format!("fetch {} of {}", source.commit.short(), source.source_ref.short());
    let step = begun(STEP, Phase::Checkout, &name, &reporter.clock);
    reporter.step(step.clone()).await;
    let git = Git::new(dir);
    let work = async {
        tokio::select! {
            done = fetch_and_checkout(&git, source, paths, dir, reporter) => done,
            failure = watch(dir.source()) => Err(failure),
            () = tokio::time::sleep(TIME_LIMIT) => {
                Err(Failure::passing(FailureCode::SourceUnavailable, format!("the source was not fetched within {} minutes", TIME_LIMIT.as_secs() / 60)))
            }
        }
    };
    let done = work.await;
    end(step, done.as_ref().err(), reporter).await;
    done
}

async fn end(step: Step, failure: Option<&Failure>, reporter: &Reporter) {
    // That nothing changed is what the step found out.
    let failure = failure.filter(|failure| failure.reason.code != FailureCode::Unchanged);
    reporter.end_step(step, failure.map(|failure| failure.reason.text.clone())).await;
}

async fn fetch_and_checkout(
    git: &Git,
    source: &Source,
    paths: &PathFilter,
    dir: &BuildDir,
    reporter: &Reporter,
) -> Result<Checkout, Failure> {
    let format = if source.commit.as_str().len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    let init = call(git, &["init", "--quiet", "--template=", format], reporter, Stdout::Logged).await?;
    if !init.succeeded() {
        return Err(Failure::internal("git init failed", init.last_words()));
    }
    let cloned = fetch(git, source, dir, reporter).await?;
    reporter.line(Some(STEP), &cloned.line()).await;
    reporter.event(cloned.into_event()).await;
    let peeled = format!("{}^{{commit}}", source.commit);
    let commit = call(git, &["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled], reporter, Stdout::Kept).await?;
    let commit: CommitId = String::from_utf8_lossy(&commit.stdout).trim().parse().map_err(|_| gone(source))?;
    if let Some(base) = &source.base {
        Comparison { base, paths }.check(git, &commit, reporter, STEP).await?;
    }
    let done = call(git, &["checkout", "--quiet", "--force", "--detach", commit.as_str()], reporter, Stdout::Logged).await?;
    if !done.succeeded() {
        return Err(Failure::new(FailureCode::SourceUnavailable, format!("the source cannot be checked out: {}", done.last_words())));
    }
    refuse_lfs(git, reporter).await?;
    tell_submodules(git, reporter).await?;
    describe(git, commit, reporter).await
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

/// With the deploy key where there is one; where that is refused, or nobody answers, with the credential where there is one.
async fn fetch(git: &Git, source: &Source, dir: &BuildDir, reporter: &Reporter) -> Result<Cloned, Failure> {
    let (mut because, mut key_refused) = (source.because.clone(), false);
    if let Some(ssh) = &source.ssh {
        let way = Way::ssh(ssh, dir)?;
        let Some(trouble) = fetch_by(git, &way, source, reporter).await? else {
            fetch_base(git, &way, source, reporter).await?;
            return Ok(Cloned { with: "the deploy key".into(), because: None, key_refused });
        };
        drop(way);
        let why = match trouble {
            SshTrouble::OtherServer => return Err(other_server()),
            SshTrouble::KeyRefused(said) => {
                key_refused = true;
                format!("the source refuses the deploy key: {said}")
            }
            SshTrouble::Unreachable(said) => format!("the source does not answer over SSH: {said}"),
        };
        if source.credential.is_none() {
            let rest = because.map(|because| format!("; there is no other way: {because}")).unwrap_or_default();
            reporter.event(Cloned { with: "nothing".into(), because: None, key_refused }.into_event()).await;
            return Err(Failure::new(FailureCode::SourceUnavailable, format!("{why}{rest}")));
        }
        because = Some(why);
    }
    let way = Way::http(source, dir)?;
    fetch_by(git, &way, source, reporter).await?;
    fetch_base(git, &way, source, reporter).await?;
    let with = match (&source.credential, &source.credential_words) {
        (None, _) => "no credential".to_owned(),
        (Some(_), Some(words)) => words.clone(),
        (Some(_), None) => "a credential".to_owned(),
    };
    Ok(Cloned { with, because, key_refused })
}

fn other_server() -> Failure {
    let text = "the server that answers for the source over SSH has none of the host keys that are configured for its provider: either the provider \
                changed them, or somebody stands in between; an administrator compares them";
    Failure::new(FailureCode::SourceUnavailable, text)
}

/// By the commit's id, or by its ref where the server does not give ids: first the tip alone, then its history. `Some` when the way itself is
/// closed.
async fn fetch_by(git: &Git, way: &Way, source: &Source, reporter: &Reporter) -> Result<Option<SshTrouble>, Failure> {
    let base = ["fetch", "--quiet", "--no-progress", "--no-tags", "--force"];
    let shallow = "--depth=1";
    let by_id: Vec<&str> = base.iter().copied().chain([shallow, "--end-of-options", &way.url, source.commit.as_str()]).collect();
    let ended = call_by(git, way, &by_id, reporter).await?;
    if ended.succeeded() {
        return Ok(None);
    }
    if let Some(trouble) = closed(way, &ended) {
        return Ok(Some(trouble));
    }
    if !refuses_commit_ids(&ended) {
        return Err(fetch_failure(&ended, &source.source_ref));
    }
    let refspec = format!("+{}:refs/slipway/source", source.source_ref);
    for depth in [Some(shallow), None] {
        let depth = depth.unwrap_or(if is_shallow(git) { "--unshallow" } else { "--no-auto-gc" });
        let by_ref: Vec<&str> = base.iter().copied().chain([depth, "--end-of-options", &way.url, &refspec]).collect();
        let ended = call_by(git, way, &by_ref, reporter).await?;
        if !ended.succeeded() {
            return match closed(way, &ended) {
                Some(trouble) => Ok(Some(trouble)),
                None => Err(fetch_failure(&ended, &source.source_ref)),
            };
        }
        let here = call(git, &["cat-file", "-e", source.commit.as_str()], reporter, Stdout::Kept).await?;
        if here.succeeded() {
            return Ok(None);
        }
    }
    Err(gone(source))
}

/// What the commit is compared with; without it the build is made.
async fn fetch_base(git: &Git, way: &Way, source: &Source, reporter: &Reporter) -> Result<(), Failure> {
    let Some(base) = &source.base else { return Ok(()) };
    if call(git, &["cat-file", "-e", base.commit.as_str()], reporter, Stdout::Quiet).await?.succeeded() {
        return Ok(());
    }
    let args = ["fetch", "--quiet", "--no-progress", "--no-tags", "--depth=1", "--end-of-options", &way.url, base.commit.as_str()];
    let ended = git.command_by(way, args).run(reporter, STEP, Stdout::Quiet).await;
    ended.map(drop).map_err(|error| Failure::internal("git cannot be run", error))
}

fn closed(way: &Way, ended: &Ended) -> Option<SshTrouble> {
    (way.protocols == "ssh").then(|| ssh_trouble(ended)).flatten()
}

fn is_shallow(git: &Git) -> bool {
    git.folder().join(".git/shallow").exists()
}

fn gone(source: &Source) -> Failure {
    let text = format!(
        "commit `{}` is no longer in `{}` at the source: it was replaced by a forced push",
        source.commit,
        source.source_ref.short()
    );
    Failure::new(FailureCode::CommitGone, text)
}

/// Files in Git LFS would be built as pointers of 130 bytes: better to say so.
async fn refuse_lfs(git: &Git, reporter: &Reporter) -> Result<(), Failure> {
    let listed = call(git, &["ls-files", "-z", "--", ":(attr:filter=lfs)"], reporter, Stdout::Kept).await?;
    match lfs_problem(&listed.stdout) {
        None => Ok(()),
        Some(text) => Err(Failure::new(FailureCode::SourceUnavailable, text)),
    }
}

/// Their folders stay empty, which a build would otherwise only show by what it misses.
async fn tell_submodules(git: &Git, reporter: &Reporter) -> Result<(), Failure> {
    // Not beneath a link: git itself refuses a `.gitmodules` that is one.
    if !std::fs::symlink_metadata(git.folder().join(".gitmodules")).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let args = ["config", "--file", ".gitmodules", "--null", "--get-regexp", r"^submodule\..*\.path$"];
    let listed = call(git, &args, reporter, Stdout::Quiet).await?;
    if let Some(text) = submodules(&listed.stdout) {
        reporter.line(Some(STEP), &text).await;
    }
    Ok(())
}

/// By a key and a path for each, between them a line end, behind them a zero.
pub(crate) fn submodules(listed: &[u8]) -> Option<String> {
    let mut paths =
        listed.split(|byte| *byte == 0).filter_map(|entry| String::from_utf8_lossy(entry).split_once('\n').map(|(_, path)| cut(path, 200)));
    let first = paths.next()?;
    Some(format!(
        "the source has {} submodules (for example `{first}`), which are not fetched yet: their folders are empty",
        paths.count() + 1
    ))
}

/// By names that each end with a zero.
pub(crate) fn lfs_problem(listed: &[u8]) -> Option<String> {
    let mut names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let first = String::from_utf8_lossy(names.next()?);
    Some(format!("the source keeps {} files in Git LFS (for example `{first}`), which is not supported yet", names.count() + 1))
}

async fn describe(git: &Git, commit: CommitId, reporter: &Reporter) -> Result<Checkout, Failure> {
    let log = call(git, &["log", "-1", "--format=%s%x00%an", commit.as_str()], reporter, Stdout::Kept).await?;
    let (message, author) = message_and_author(&log.stdout);
    reporter.line(Some(STEP), &format!("{} {message}", commit.short())).await;
    reporter.event(Event::Commit { commit, message: message.clone(), author }).await;
    Ok(Checkout { message })
}

/// By the two with a zero between them.
pub(crate) fn message_and_author(log: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(log);
    let (message, author) = text.trim_end().split_once('\0').unwrap_or((text.trim(), ""));
    (cut(message, 500), cut(author, 200))
}

async fn call(git: &Git, args: &[&str], reporter: &Reporter, stdout: Stdout) -> Result<Ended, Failure> {
    let ended = git.command(args.iter().copied()).run(reporter, STEP, stdout).await;
    ended.map_err(|error| Failure::internal("git cannot be run", error))
}

async fn call_by(git: &Git, way: &Way, args: &[&str], reporter: &Reporter) -> Result<Ended, Failure> {
    let ended = git.command_by(way, args.iter().copied()).run(reporter, STEP, Stdout::Logged).await;
    ended.map_err(|error| Failure::internal("git cannot be run", error))
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
