//! Git's fetch of one commit by one way.
//!
//! The invariant: as little as the server gives the commit with, and the commit stands here afterwards or it is said why not. Deliberately
//! elsewhere: which ways there are and in which order (`checkout`, `submodules`).

use slipway_model::{CommitId, RefName};

use crate::access::{SshTrouble, Way, ssh_trouble};
use crate::checkout::STEP;
use crate::failure::Failure;
use crate::git::{Git, refuses_commit_ids};
use crate::process::{Ended, Stdout};
use crate::report::Reporter;

/// A commit, and where it may be found when the server gives none by its id.
pub(crate) struct Wanted<'a> {
    pub(crate) commit: &'a CommitId,
    pub(crate) refspecs: &'a [&'a str],
}

/// How a fetch ended.
pub(crate) enum Fetched {
    /// The commit is here.
    Here,
    /// The server has it no more.
    Gone,
    /// The way itself is closed.
    Closed(SshTrouble),
    /// Git's own words say what is wrong.
    Failed(Ended),
}

const BASE: [&str; 5] = ["fetch", "--quiet", "--no-progress", "--no-tags", "--force"];
const SHALLOW: &str = "--depth=1";

/// By the commit's id, or by refs where the server does not give ids: first their tips alone, then their history.
pub(crate) async fn fetch(git: &Git, way: &Way, wanted: &Wanted<'_>, reporter: &Reporter) -> Result<Fetched, Failure> {
    let by_id: Vec<&str> = BASE.iter().copied().chain([SHALLOW, "--end-of-options", &way.url, wanted.commit.as_str()]).collect();
    let ended = call_by(git, way, &by_id, reporter).await?;
    if ended.succeeded() {
        return Ok(Fetched::Here);
    }
    if let Some(trouble) = closed(way, &ended) {
        return Ok(Fetched::Closed(trouble));
    }
    if !refuses_commit_ids(&ended) {
        return Ok(Fetched::Failed(ended));
    }
    for depth in [Some(SHALLOW), None] {
        let depth = depth.unwrap_or(if is_shallow(git) { "--unshallow" } else { "--no-auto-gc" });
        let refs = [depth, "--end-of-options", &way.url].into_iter().chain(wanted.refspecs.iter().copied());
        let by_ref: Vec<&str> = BASE.iter().copied().chain(refs).collect();
        let ended = call_by(git, way, &by_ref, reporter).await?;
        if !ended.succeeded() {
            return Ok(closed(way, &ended).map_or_else(|| Fetched::Failed(ended), Fetched::Closed));
        }
        if has(git, wanted.commit, reporter).await? {
            return Ok(Fetched::Here);
        }
    }
    Ok(Fetched::Gone)
}

/// How a fetch of all branches and tags ended.
pub(crate) enum Tips {
    Here,
    /// The way itself is closed.
    Closed,
    /// Git's own words say what is wrong.
    Failed(Ended),
}

/// All branches and tags with their history.
pub(crate) async fn fetch_all(git: &Git, way: &Way, reporter: &Reporter) -> Result<Tips, Failure> {
    let refs = ["--end-of-options", &way.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
    let args: Vec<&str> = BASE.into_iter().chain(refs).collect();
    let ended = call_by(git, way, &args, reporter).await?;
    Ok(match ended.succeeded() {
        true => Tips::Here,
        false if closed(way, &ended).is_some() => Tips::Closed,
        false => Tips::Failed(ended),
    })
}

/// Whether the object is here already.
pub(crate) async fn has(git: &Git, commit: &CommitId, reporter: &Reporter) -> Result<bool, Failure> {
    Ok(git.call(&["cat-file", "-e", commit.as_str()], reporter, Stdout::Quiet).await?.succeeded())
}

/// One more commit, where the server gives it.
pub(crate) async fn try_commit(git: &Git, way: &Way, commit: &CommitId, reporter: &Reporter) -> Result<(), Failure> {
    let args = ["fetch", "--quiet", "--no-progress", "--no-tags", "--depth=1", "--end-of-options", &way.url, commit.as_str()];
    let ended = git.command_by(way, args).run(reporter, STEP, Stdout::Quiet).await;
    ended.map(drop).map_err(|error| Failure::internal("git cannot be run", error))
}

/// Where the branch lies that a pull request goes into.
pub(crate) const TARGET: &str = "refs/slipway/target";
/// How far back it is looked for the commit where both parted. Each step costs a fetch, all of them some thousand commits.
const DEEPER: [&str; 3] = ["--deepen=30", "--deepen=300", "--deepen=3000"];

/// The branch that a pull request goes into, with as much history of both as shows where they parted. Where the server does not give that,
/// [`merge_base`] finds nothing, which is no failure.
pub(crate) async fn try_branch(git: &Git, way: &Way, branch: &RefName, wanted: &Wanted<'_>, reporter: &Reporter) -> Result<(), Failure> {
    let target = format!("+{branch}:{TARGET}");
    let refspecs: Vec<&str> = [target.as_str()].into_iter().chain(wanted.refspecs.iter().copied()).collect();
    for depth in [SHALLOW].into_iter().chain(DEEPER) {
        let refspecs = if depth == SHALLOW { &refspecs[..1] } else { &refspecs[..] };
        let refs = [depth, "--end-of-options", &way.url].into_iter().chain(refspecs.iter().copied());
        let args: Vec<&str> = BASE.into_iter().chain(refs).collect();
        let ended = git.command_by(way, args).run(reporter, STEP, Stdout::Quiet).await;
        let ended = ended.map_err(|error| Failure::internal("git cannot be run", error))?;
        if !ended.succeeded() || merge_base(git, wanted.commit, reporter).await?.is_some() {
            break;
        }
    }
    Ok(())
}

/// The last commit that the pull request has in common with the branch that it goes into, as far as history is here. None when there are several
/// that are equally late: no one of them tells all that a merge would change.
pub(crate) async fn merge_base(git: &Git, commit: &CommitId, reporter: &Reporter) -> Result<Option<CommitId>, Failure> {
    commit_of(git, &["merge-base", "--all", TARGET, commit.as_str()], reporter).await
}

/// The commit of a ref that is here.
pub(crate) async fn stands_at(git: &Git, name: &str, reporter: &Reporter) -> Result<Option<CommitId>, Failure> {
    commit_of(git, &["rev-parse", "--verify", "--quiet", name], reporter).await
}

async fn commit_of(git: &Git, args: &[&str], reporter: &Reporter) -> Result<Option<CommitId>, Failure> {
    let ended = git.command(args.iter().copied()).run(reporter, STEP, Stdout::Quiet).await;
    let ended = ended.map_err(|error| Failure::internal("git cannot be run", error))?;
    let text = String::from_utf8_lossy(&ended.stdout);
    Ok(text.trim().parse().ok().filter(|_| ended.succeeded()))
}

fn closed(way: &Way, ended: &Ended) -> Option<SshTrouble> {
    (way.protocols == "ssh").then(|| ssh_trouble(ended)).flatten()
}

fn is_shallow(git: &Git) -> bool {
    git.folder().join(".git/shallow").exists()
}

async fn call_by(git: &Git, way: &Way, args: &[&str], reporter: &Reporter) -> Result<Ended, Failure> {
    let ended = git.command_by(way, args.iter().copied()).run(reporter, STEP, Stdout::Logged).await;
    ended.map_err(|error| Failure::internal("git cannot be run", error))
}
