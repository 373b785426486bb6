//! Phase build: BuildKit makes the image in the engine's store.
//!
//! The invariant: each vertex becomes one step of the build. Deliberately elsewhere: the client (`slipway-buildkit`),
//! pushing the image (`publish`).

use secrecy::SecretString;
use slipway_buildkit::{BaseImages, Client, Export, LayerCache, RegistryAuth, RegistryCredentials, SolveEvent, SolveRequest, Vertex};
use slipway_model::{Phase, SSH_PRIVATE, Step, StepState, Timestamp};
use slipway_wire::{Assignment, RegistryTarget};
use tokio::sync::mpsc;

use crate::args::declared;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::report::Reporter;
use crate::variables::{Names, Variables};

/// Builds the image under the build's own local name.
pub(crate) async fn run(
    client: &Client,
    assignment: &Assignment,
    plan: &Plan,
    variables: &Variables,
    base_images: BaseImages,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let mut request = SolveRequest::new(plan.context.clone(), plan.dockerfile.clone());
    let declared = declared(&plan.dockerfile.content);
    request.build_args = variables.build_args(&declared);
    request.secrets = variables.secrets();
    for name in request.secrets.keys().filter(|name| declared.contains(*name)) {
        let line = format!("`ARG {name}` gets nothing: the variable is secret, and a step gets it by `RUN --mount=type=secret,id={name}`");
        reporter.line(None, &line).await;
    }
    if declared.contains(SSH_PRIVATE) {
        reporter.line(None, &format!("`ARG {SSH_PRIVATE}` gets nothing: that key is for the checkout alone")).await;
    }
    // Those that a person wrote for this rule go to the engine whether declared or not: a proxy's need not be.
    let own = assignment.rule.args.as_slice().iter().map(|argument| (argument.name.clone(), argument.value.clone()));
    request.build_args.extend(own);
    request.target = Some(assignment.rule.target.as_str().to_owned()).filter(|target| !target.is_empty());
    request.credentials.insert(assignment.registry.host.clone(), auth(&assignment.registry));
    if let Some(base) = assignment.base_registry.as_ref().filter(|base| base.host != assignment.registry.host) {
        // Through the session of this one build: no file, and no program that the source brings along, ever has it.
        let password = SecretString::from(base.credential.password.clone());
        request.credentials.insert(base.host.clone(), RegistryAuth { username: base.credential.username.clone(), password });
    }
    request.base_images = base_images;
    request.export = Export::EngineStore { name: Names::new(assignment).local() };
    if assignment.no_cache || !assignment.rule.cache {
        request.layer_cache = LayerCache::Ignore;
    }
    let (events, news) = mpsc::channel(256);
    let (built, ()) = tokio::join!(client.solve(request, events), relay(news, reporter));
    built.map(drop).map_err(Failure::from)
}

/// The build's credential for its registry.
pub(crate) fn auth(registry: &RegistryTarget) -> RegistryAuth {
    RegistryAuth { username: registry.credential.username.clone(), password: SecretString::from(registry.credential.password.clone()) }
}

/// The same, for programs that read a Docker client's configuration.
pub(crate) fn credentials(registry: &RegistryTarget) -> RegistryCredentials {
    let mut credentials = RegistryCredentials::default();
    credentials.insert(registry.host.clone(), auth(registry));
    credentials
}

async fn relay(mut news: mpsc::Receiver<SolveEvent>, reporter: &Reporter) {
    while let Some(event) = news.recv().await {
        match event {
            SolveEvent::Vertex(vertex) => reporter.step(step(vertex)).await,
            SolveEvent::Log { vertex, bytes, .. } => reporter.log(Some(&vertex), bytes).await,
        }
    }
}

fn step(vertex: Vertex) -> Step {
    let state = match (&vertex.started_ms, &vertex.completed_ms, &vertex.error) {
        (_, Some(_), Some(error)) if error.ends_with("context canceled") => StepState::Cancelled,
        (_, _, Some(_)) => StepState::Failed,
        (_, Some(_), None) => StepState::Success,
        (Some(_), None, None) => StepState::Running,
        (None, None, None) => StepState::Pending,
    };
    Step {
        id: vertex.digest,
        phase: Phase::Build,
        name: vertex.name,
        state,
        cached: vertex.cached,
        started_at: vertex.started_ms.map(Timestamp::from_millis),
        finished_at: vertex.completed_ms.map(Timestamp::from_millis),
        error: vertex.error,
    }
}
