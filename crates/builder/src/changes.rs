//! Whether a push or a pull request changed anything that its rule is built from.
//!
//! The invariant: git compares two trees, and no list of files from a payload is ever asked; what cannot be compared counts as changed, so
//! doubt builds. Deliberately elsewhere: with what it is compared (the server says it), and how that comes here (`fetch`).

use slipway_model::{CommitId, FailureCode, PathFilter};
use slipway_wire::Base;

use crate::failure::Failure;
use crate::fetch::{TARGET, merge_base, stands_at};
use crate::git::Git;
use crate::process::Stdout;
use crate::report::Reporter;

/// What the rule is compared by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison<'a> {
    pub(crate) base: &'a Base,
    pub(crate) paths: &'a PathFilter,
}

/// What was found to compare with.
struct Since {
    /// None when it is not here.
    commit: Option<CommitId>,
    /// "#3", "`main`"
    what: String,
    unneeded: &'static str,
}

impl Comparison<'_> {
    /// Ends the build when no file that counts differs between the base and the commit, both already fetched.
    pub(crate) async fn check(self, git: &Git, commit: &CommitId, reporter: &Reporter, step: &str) -> Result<(), Failure> {
        let since = self.since(git, commit, reporter).await?;
        let at = since.words();
        let Some(listed) = since.listed(git, commit, reporter, step).await else {
            reporter.line(Some(step), &format!("it cannot be compared with {at}: it is built whatever changed")).await;
            return Ok(());
        };
        let (counted, all) = wanted(&listed, self.paths);
        reporter.line(Some(step), &format!("since {at} {all} files changed, {counted} of them under the rule's paths")).await;
        if counted > 0 {
            return Ok(());
        }
        Err(Failure::new(FailureCode::Unchanged, since.unneeded.replace("{at}", &at)))
    }

    async fn since(&self, git: &Git, commit: &CommitId, reporter: &Reporter) -> Result<Since, Failure> {
        Ok(match self.base {
            Base::Image { number, commit } => Since {
                commit: Some(commit.clone()),
                what: format!("#{number}"),
                unneeded: "not built: nothing under the rule's paths changed since {at}, whose image stays",
            },
            // Without a common commit near enough, the branch itself: more may differ than the pull request changes, never less than a merge would.
            Base::Branch(name) => Since {
                commit: match merge_base(git, commit, reporter).await? {
                    Some(parted) => Some(parted),
                    None => stands_at(git, TARGET, reporter).await?,
                },
                what: format!("`{}`", name.short()),
                unneeded: "not tested: the pull request changes nothing under the rule's paths, compared with {at}",
            },
        })
    }
}

impl Since {
    fn words(&self) -> String {
        self.commit.as_ref().map_or_else(|| self.what.clone(), |commit| format!("{} at {}", self.what, commit.short()))
    }

    /// The names of all files that differ, each ended by a zero; `None` when git cannot tell.
    async fn listed(&self, git: &Git, commit: &CommitId, reporter: &Reporter, step: &str) -> Option<Vec<u8>> {
        let base = self.commit.as_ref()?;
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--end-of-options", base.as_str(), commit.as_str()];
        let ended = git.command(args).run(reporter, step, Stdout::Quiet).await.ok()?;
        ended.succeeded().then_some(ended.stdout)
    }
}

/// How many of the names, each ended by a zero, count; and how many there are.
pub(crate) fn wanted(listed: &[u8], paths: &PathFilter) -> (usize, usize) {
    let names = || listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let counted = names().filter(|name| paths.wants(&String::from_utf8_lossy(name))).count();
    (counted, names().count())
}
