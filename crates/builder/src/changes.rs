//! Whether a push changed anything that its rule is built from.
//!
//! The invariant: git compares two trees, and no list of files from a payload is ever asked; what cannot be compared counts as changed, so
//! doubt builds. Deliberately elsewhere: what a push is compared with (the server says it).

use slipway_model::{CommitId, FailureCode, PathFilter};
use slipway_wire::Base;

use crate::failure::Failure;
use crate::git::Git;
use crate::report::Reporter;

/// What the rule is compared by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison<'a> {
    pub(crate) base: &'a Base,
    pub(crate) paths: &'a PathFilter,
}

impl Comparison<'_> {
    /// Ends the build when no file that counts differs between the base and the commit, both already fetched.
    pub(crate) async fn check(self, git: &Git, commit: &CommitId, reporter: &Reporter, step: &str) -> Result<(), Failure> {
        let (number, base) = (self.base.number, self.base.commit.short());
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--end-of-options", self.base.commit.as_str(), commit.as_str()];
        let listed = match git.command(args).run(reporter, step, crate::process::Stdout::Quiet).await {
            Ok(ended) if ended.succeeded() => ended.stdout,
            _ => {
                reporter.line(Some(step), &format!("it cannot be compared with #{number} at {base}: it is built whatever changed")).await;
                return Ok(());
            }
        };
        let (counted, all) = wanted(&listed, self.paths);
        let changed = format!("since #{number} at {base} {all} files changed, {counted} of them under the rule's paths");
        reporter.line(Some(step), &changed).await;
        if counted > 0 {
            return Ok(());
        }
        let text = format!("not built: nothing under the rule's paths changed since #{number} at {base}, whose image stays");
        Err(Failure::new(FailureCode::Unchanged, text))
    }
}

/// How many of the names, each ended by a zero, count; and how many there are.
pub(crate) fn wanted(listed: &[u8], paths: &PathFilter) -> (usize, usize) {
    let names = || listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let counted = names().filter(|name| paths.wants(&String::from_utf8_lossy(name))).count();
    (counted, names().count())
}
