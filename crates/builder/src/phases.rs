//! One build from checkout to push.
//!
//! The invariant: phases run in order, a failed one ends the build, and a failed test means no push. Dropping the future at
//! any point leaves only what `cleanup` removes. Deliberately elsewhere: leases, time limits, cancelling (`worker`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_buildkit::{Client, Engine};
use slipway_model::Phase;
use slipway_wire::Assignment;

use crate::access::key_text;
use crate::failure::Failure;
use crate::home::BuildDir;
use crate::mask::Secrets;
use crate::reach::Resolver;
use crate::report::Reporter;
use crate::submodules::Submodules;
use crate::sut::Tests;
use crate::variables::{Names, SshVariables, Variables};
use crate::{checkout, compose, git, image, plan, publish};

/// What the builds of a builder share.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) engine_url: String,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) names: NameLocks,
}

/// Public image names that a test uses at the moment: two builds of one repository may not swap images under a test.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameLocks {
    held: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl NameLocks {
    async fn hold(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // A lock that only this map knows is free.
            held.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(held.entry(name.to_owned()).or_default())
        };
        lock.lock_owned().await
    }
}

/// What of an assignment must not be printed.
pub(crate) fn secrets(assignment: &Assignment) -> Secrets {
    let credentials = assignment.source.credential.iter().chain([&assignment.registry.credential]);
    let forms: Vec<String> = credentials.flat_map(git::forms).collect();
    let key = assignment.source.ssh.iter().map(|ssh| ssh.private_key.as_str());
    let values = assignment.environment.iter().map(|variable| variable.value.as_str());
    // Its lines are secret too, however it was saved.
    let own_key = SshVariables::of(&assignment.environment).private.map(|key| key_text(&key));
    Secrets::new(forms.iter().map(String::as_str).chain(key).chain(values).chain(own_key.as_deref()))
}

/// Runs all phases and returns the digest that was pushed.
pub(crate) async fn run(
    tools: &Tools,
    assignment: &Assignment,
    dir: &BuildDir,
    project: &str,
    reporter: &Reporter,
) -> Result<String, Failure> {
    let submodules = Submodules::On(SshVariables::of(&assignment.environment), Resolver::System);
    let checkout = checkout::run(&assignment.source, &assignment.rule.paths, &submodules, dir, reporter);
    let checked_out = phase(reporter, Phase::Checkout, checkout).await?;
    let variables = Variables::new(assignment, &checked_out.message);
    let names = Names::new(assignment);
    let plan = phase(reporter, Phase::Build, async {
        let plan = plan::make(&dir.source(), &assignment.rule)?;
        note(dir, &[&names.local()])?;
        image::run(&tools.client, assignment, &plan, &variables, reporter).await?;
        Ok(plan)
    })
    .await?;
    phase(reporter, Phase::Test, async {
        if plan.tests.is_empty() {
            let place = if plan.folder.is_empty() { "the source's root" } else { &plan.folder };
            reporter.line(None, &format!("no `*.test.yml` in `{place}`: nothing to test")).await;
            return Ok(());
        }
        let _held = tools.names.hold(&names.image()).await;
        note(dir, &[&names.local(), &names.image()])?;
        tools.engine.tag(&names.local(), &names.repository, &names.first_tag).await?;
        let configured = compose::write_docker_config(dir, &image::credentials(&assignment.registry));
        configured.map_err(|error| Failure::internal("the Docker client's configuration", error))?;
        let (engine, engine_url) = (&tools.engine, tools.engine_url.as_str());
        let tested = Tests { engine, engine_url, dir, plan: &plan, variables: &variables, project, reporter }.run().await;
        // The public name was for the test; the build's own name holds the image.
        tools.engine.remove_image(&names.image()).await.ok();
        tested
    })
    .await?;
    phase(reporter, Phase::Push, async {
        let digest = publish::run(&tools.engine, assignment, reporter).await?;
        // The engine keeps a pushed image under its digest even when its last tag goes.
        note(dir, &[&names.local(), &format!("{}@{digest}", names.repository)])?;
        Ok(digest)
    })
    .await
}

async fn phase<T>(reporter: &Reporter, phase: Phase, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    reporter.phase_started(phase).await;
    let done = work.await;
    reporter.phase_finished(phase).await;
    done
}

/// Before the name exists: a crash after this line leaves a note of what to remove.
fn note(dir: &BuildDir, names: &[&str]) -> Result<(), Failure> {
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    BuildDir::write_private(&dir.image_note(), &text).map_err(|error| Failure::internal("the note of the image's name", error))
}
