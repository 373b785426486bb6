//! The scripts in the folder `hooks/` beside the Dockerfile, as Docker Hub ran them.
//!
//! The invariant: a hook runs beside an engine of the build's own and never on the machine itself; `build`, `test` and `push` take the place
//! of their phases. Deliberately elsewhere: the order of the phases (`phases`), where it runs (`sandbox`), who may run any (the server says it).

use std::collections::BTreeSet;

use slipway_buildkit::{EntryKind, Tree};
use slipway_model::{FailureCode, Phase};

use crate::failure::Failure;
use crate::history;
use crate::process::Stdout;
use crate::report::Reporter;
use crate::sandbox::Seat;
use crate::steps::begun;

const FOLDER: &str = "hooks";
/// A script that is longer is run all the same, and not read before.
const READ_LIMIT: usize = 1024 * 1024;

/// One of the ten, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    PostCheckout,
    PreBuild,
    Build,
    PostBuild,
    PreTest,
    Test,
    PostTest,
    PrePush,
    Push,
    PostPush,
}

impl Hook {
    const ALL: [Self; 10] = [
        Self::PostCheckout,
        Self::PreBuild,
        Self::Build,
        Self::PostBuild,
        Self::PreTest,
        Self::Test,
        Self::PostTest,
        Self::PrePush,
        Self::Push,
        Self::PostPush,
    ];

    /// The name of its file.
    fn name(self) -> &'static str {
        match self {
            Self::PostCheckout => "post_checkout",
            Self::PreBuild => "pre_build",
            Self::Build => "build",
            Self::PostBuild => "post_build",
            Self::PreTest => "pre_test",
            Self::Test => "test",
            Self::PostTest => "post_test",
            Self::PrePush => "pre_push",
            Self::Push => "push",
            Self::PostPush => "post_push",
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::PostCheckout => Phase::Checkout,
            Self::PreBuild | Self::Build | Self::PostBuild => Phase::Build,
            Self::PreTest | Self::Test | Self::PostTest => Phase::Test,
            Self::PrePush | Self::Push | Self::PostPush => Phase::Push,
        }
    }
}

/// The hooks of a source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    /// The Dockerfile's folder, from the root of the source.
    folder: String,
    present: BTreeSet<Hook>,
}

impl Hooks {
    /// Those that stand beside the Dockerfile.
    pub(crate) fn find(source: &Tree, folder: &str) -> Result<Self, Failure> {
        let mut hooks = Self { folder: folder.to_owned(), present: BTreeSet::new() };
        for hook in Hook::ALL {
            let path = hooks.path(hook);
            match source.kind(&path) {
                Ok(Some(EntryKind::File)) => drop(hooks.present.insert(hook)),
                Ok(_) => {}
                Err(_) => {
                    let text = format!("`{path}` cannot be used: it is no file inside of the source");
                    return Err(Failure::new(FailureCode::HookFailed, text));
                }
            }
        }
        Ok(hooks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.present.contains(&hook)
    }

    /// Whether one of them asks for more of the source than the one commit.
    pub(crate) fn want_history(&self, source: &Tree) -> bool {
        let text = |hook: &Hook| source.read(&self.path(*hook), READ_LIMIT).ok().flatten();
        self.present.iter().filter_map(text).any(|text| history::is_wanted(&text))
    }

    fn path(&self, hook: Hook) -> String {
        if self.folder.is_empty() { format!("{FOLDER}/{}", hook.name()) } else { format!("{}/{FOLDER}/{}", self.folder, hook.name()) }
    }

    /// Names of the files, for people.
    pub(crate) fn names(&self) -> String {
        self.present.iter().map(|hook| format!("`{FOLDER}/{}`", hook.name())).collect::<Vec<_>>().join(", ")
    }

    /// Runs one if it is there; `false` when it is not.
    ///
    /// A file that is not executable is run by the shell, as it was on Docker Hub.
    pub(crate) async fn run(&self, hook: Hook, seat: Option<&Seat>, reporter: &Reporter) -> Result<bool, Failure> {
        let Some(seat) = seat.filter(|_| self.has(hook)) else { return Ok(false) };
        let file = format!("{FOLDER}/{}", hook.name());
        let id = format!("hook:{}", hook.name());
        let step = begun(&id, hook.phase(), &file, &reporter.clock);
        reporter.step(step.clone()).await;
        // What lets it work at all comes last: a variable of a person may have the same name.
        let script = format!(
            ". /run/build/variables; . /run/build/environment; if [ -x {file} ]; then exec ./{file}; fi; if command -v bash >/dev/null; then exec bash {file}; fi; exec sh {file}"
        );
        let ended = seat.program(&self.folder, "sh").args(["-c", &script]).run(reporter, &id, Stdout::Logged).await;
        let done = match ended {
            Ok(ended) if ended.succeeded() => Ok(true),
            Ok(ended) => Err(Failure::new(FailureCode::HookFailed, failed(&file, ended.code))),
            Err(error) => Err(Failure::internal(&format!("`{file}` cannot be run"), error)),
        };
        reporter.end_step(step, done.as_ref().err().map(|failure| failure.reason.text.clone())).await;
        done
    }
}

fn failed(file: &str, code: Option<i32>) -> String {
    match code {
        Some(126) => format!("`{file}` cannot be executed: look at its first line and its mode"),
        Some(code) => format!("`{file}` exited with {code}"),
        None => format!("`{file}` was ended by a signal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn hooks_stand_beside_the_dockerfile_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("app/hooks/test")).expect("folders");
        for path in ["app/hooks/pre_build", "app/hooks/build", "app/hooks/notes"] {
            std::fs::write(at(path), "#!/bin/sh\n").expect("file");
        }
        let source = Tree::open(folder.path()).expect("tree");
        assert!(Hooks::find(&source, "").expect("hooks").is_empty());
        let hooks = Hooks::find(&source, "app").expect("hooks");
        assert_eq!(hooks.names(), "`hooks/pre_build`, `hooks/build`");
        assert!(hooks.has(Hook::Build) && !hooks.has(Hook::Test), "a folder is no hook");
        symlink("/etc/passwd", at("app/hooks/push")).expect("link");
        let refused = Hooks::find(&source, "app").expect_err("refused").reason;
        assert_eq!((refused.code, refused.text.contains("app/hooks/push")), (FailureCode::HookFailed, true));
    }

    #[test]
    fn all_ten_run_in_the_order_of_the_phases() {
        let phases: Vec<Phase> = Hook::ALL.iter().map(|hook| hook.phase()).collect();
        let order = |phase: &Phase| Phase::ALL.iter().position(|other| other == phase);
        assert!(phases.is_sorted_by_key(order) && Hook::ALL.is_sorted());
    }
}
