//! Phase test: each test file runs as a compose project, and the exit code of its service `sut` decides.
//!
//! The invariant: after a test, passed, failed or dropped, nothing of its project is left in the engine; a dropped test is
//! cleaned up by `cleanup`. Deliberately elsewhere: what a test file may contain (`compose_rules`).

use bytes::Bytes;
use slipway_buildkit::{Engine, LogStream, Tree};
use slipway_model::{FailureCode, Phase};
use tokio::sync::mpsc;

use crate::cleanup;
use crate::compose::{Compose, Flavour, SUT};
use crate::compose_rules::builds;
use crate::failure::Failure;
use crate::plan;
use crate::report::Reporter;
use crate::sandbox::Seat;
use crate::steps::begun;
use crate::variables::Variables;

/// What all test files of a build share.
pub(crate) struct Tests<'a> {
    pub(crate) seat: &'a Seat,
    pub(crate) source: &'a Tree,
    /// Where the files stand, from the root of the source.
    pub(crate) folder: &'a str,
    /// Their names, in order.
    pub(crate) files: &'a [String],
    pub(crate) variables: &'a Variables,
    pub(crate) project: &'a str,
    pub(crate) reporter: &'a Reporter,
}

impl Tests<'_> {
    /// Runs all files in the order of their names; the first failure ends the phase.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let first = self.files.first().map_or_else(String::new, |file| step_id(file));
        let program = Compose::find(self.seat, self.reporter, &first).await?;
        for file in self.files {
            let id = step_id(file);
            let step = begun(&id, Phase::Test, &format!("test {file}"), &self.reporter.clock);
            self.reporter.step(step.clone()).await;
            let outcome = self.run_file(file, &id, program).await;
            cleanup::project(self.engine(), self.project).await;
            self.reporter.end_step(step, outcome.as_ref().err().map(|failure| failure.reason.text.clone())).await;
            outcome?;
        }
        Ok(())
    }

    async fn run_file(&self, file: &str, step: &str, program: Flavour) -> Result<(), Failure> {
        let compose = Compose { seat: self.seat, project: self.project, reporter: self.reporter, step, program };
        let path = plan::beside(self.folder, file);
        let resolved = compose.resolve(self.source, &path, self.variables).await?;
        if builds(&resolved.value) {
            let built = compose.run(&resolved, &["build"]).await?;
            if !built.succeeded() {
                return Err(Failure::new(
                    FailureCode::TestFailed,
                    format!("the images of `{file}` were not built: {}", built.last_words()),
                ));
            }
        }
        let up = compose.run(&resolved, &["up", "-d", SUT]).await?;
        if !up.succeeded() {
            return Err(Failure::new(FailureCode::TestFailed, format!("`{file}` did not start: {}", up.last_words())));
        }
        let container = self.engine().containers(self.project, SUT).await?.into_iter().next();
        let container =
            container.ok_or_else(|| Failure::new(FailureCode::TestInvalid, format!("`{file}` started no container for `{SUT}`")))?;
        match self.watch(&container, step).await? {
            0 => Ok(()),
            code => Err(Failure::new(FailureCode::TestFailed, format!("test `{SUT}` exited with {code}"))),
        }
    }

    fn engine(&self) -> &Engine {
        &self.seat.sandbox.engine
    }

    async fn watch(&self, container: &str, step: &str) -> Result<i64, Failure> {
        let (out, lines) = mpsc::channel(64);
        let engine = self.engine();
        let (code, logged, known) = tokio::join!(engine.wait(container), engine.follow_logs(container, out), self.relay(lines, step));
        let code = code?;
        // What is left when the engine stopped following too soon.
        let (out, lines) = mpsc::channel(64);
        let (rest, _) = tokio::join!(engine.rest_of_logs(container, known, out), self.relay(lines, step));
        if let Err(error) = logged.and(rest) {
            self.reporter.line(Some(step), &format!("[the test's output ends early: {error}]")).await;
        }
        Ok(code)
    }

    /// Gives how many bytes came.
    async fn relay(&self, mut lines: mpsc::Receiver<(LogStream, Bytes)>, step: &str) -> u64 {
        let mut count = 0;
        while let Some((_, bytes)) = lines.recv().await {
            count += bytes.len() as u64;
            self.reporter.log(Some(step), bytes).await;
        }
        count
    }
}

fn step_id(file: &str) -> String {
    format!("test:{file}")
}
