//! Phase build: BuildKit makes the image, in a Docker Engine's store, or pushes it when it has none.
//!
//! The invariant: each vertex becomes one step of the build, and no cache crosses repositories or lanes. Deliberately elsewhere: the client
//! (`slipway-buildkit`), pushing the image of a store (`publish`).

use secrecy::SecretString;
use slipway_buildkit::{
    BaseImages, CacheExport, CacheScope, Client, Export, LayerCache, RegistryAuth, RegistryCredentials, RegistryRef, SolveEvent,
    SolveRequest, Vertex,
};
use slipway_model::{Phase, SSH_PRIVATE, Step, StepState, Timestamp};
use slipway_wire::{Assignment, RegistryTarget};
use tokio::sync::mpsc;

use crate::args::declared;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::report::Reporter;
use crate::variables::Variables;

/// Builds the image and returns its digest: of a push the manifest's, else what the engine calls it.
pub(crate) async fn run(
    client: &Client,
    assignment: &Assignment,
    plan: &Plan,
    variables: &Variables,
    base_images: BaseImages,
    target: Target,
    reporter: &Reporter,
) -> Result<Option<String>, Failure> {
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
    request.export = target.export;
    request.cache_scope = Some(CacheScope::of(&["repository", &assignment.repository.to_string(), assignment.scope.lane.as_str()]));
    if assignment.no_cache || !assignment.rule.cache {
        request.layer_cache = LayerCache::Ignore;
    } else if let Some(cache) = target.cache {
        request.cache_from = vec![cache.clone()];
        request.cache_export = CacheExport::Registry(cache);
    }
    let (events, news) = mpsc::channel(256);
    let (built, ()) = tokio::join!(client.solve(request, events), relay(news, reporter));
    Ok(built?.digest)
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

/// What becomes of an image.
pub(crate) struct Target {
    pub(crate) export: Export,
    /// Where results are kept beside the engine, and looked for.
    pub(crate) cache: Option<RegistryRef>,
}

/// A step that fails no build: a cache that is not there yet, or not any more.
fn is_about_cache(step: &str) -> bool {
    step.starts_with("importing cache manifest from ") || step.starts_with("exporting cache to ")
}

async fn relay(mut news: mpsc::Receiver<SolveEvent>, reporter: &Reporter) {
    while let Some(event) = news.recv().await {
        match event {
            SolveEvent::Vertex(mut vertex) => {
                if is_about_cache(&vertex.name)
                    && let Some(error) = vertex.error.take()
                {
                    reporter.line(Some(&vertex.digest), &format!("the cache in the registry is not used: {error}")).await;
                }
                reporter.step(step(vertex)).await;
            }
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
