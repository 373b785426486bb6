//! The builder protocol (`slipway-wire`) under `/builder/v1/`.
//!
//! Invariant: every request but `join` carries a builder's token, and every one about a build its attempt; a fenced one changes nothing and is 409.
//! Deliberately elsewhere: leases, fencing and what becomes of a build (`slipway-app`).

use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret;
use slipway_app::{
    BUILD_USER, BuilderOutcome, Claimed, ComparedWith, Joined, Joining, KeyOf, KeyUse, NodeFacts, Progress, RegisteredBuilder,
    SourceAccess, TooOld,
};
use slipway_model::BuildId;
use slipway_wire::{
    Assignment, Base, BaseRegistry, Claim, Credential, EngineStatus, Event, Fenced, Finish, FinishAnswer, Heartbeat, HeartbeatAnswer, Join,
    JoinAnswer, MAX_LOG_CHUNK_BYTES, MAX_REPORT_BYTES, Network, Outcome, ProviderHost, RegistryTarget, Release, Report, ReportAnswer,
    Source, SshAccess, SshKey, SshServer, TrustScope,
};
use tokio::time::Instant;

use crate::edge::json::{Json, Path};
use crate::edge::routes::{Routes, post};
use crate::error::{ApiError, Code};
use crate::session::{Client, bearer};
use crate::state::WebState;

/// The longest that a claim is held open.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// A lost wake-up costs no more than this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The routes.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .route("/builder/v1/join", post(join))
        .route("/builder/v1/claim", post(claim))
        .route("/builder/v1/builds/{id}/heartbeat", post(heartbeat))
        .route("/builder/v1/builds/{id}/finish", post(finish))
        .route("/builder/v1/builds/{id}/release", post(release))
        .within(|routes| routes.layer(DefaultBodyLimit::max(64 * 1024)))
        .merge(
            Routes::new()
                .route("/builder/v1/builds/{id}/report", post(report))
                .within(|routes| routes.layer(DefaultBodyLimit::max(MAX_REPORT_BYTES))),
        )
}

/// A builder by its token.
pub(crate) struct Builder(RegisteredBuilder);

impl FromRequestParts<WebState> for Builder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, ApiError> {
        let found = match bearer(&parts.headers) {
            Some(token) => state.app().builder_by_token(token).await.map_err(trouble)?,
            None => None,
        };
        found.map(Self).ok_or_else(|| {
            ApiError::new(Code::Unauthorized, "this is no builder's token")
                .hint("an administrator makes a join token under Builder nodes, with which a machine becomes one")
        })
    }
}

/// Trouble of ours is always 5xx here: a builder takes 409 for a lost lease, and must try again instead.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn trouble(error: slipway_app::Error) -> ApiError {
    ApiError::unavailable(&error)
}

fn fenced(fenced: slipway_app::Fenced) -> Response {
    (StatusCode::CONFLICT, JsonBody(Fenced { detail: fenced.detail })).into_response()
}

fn outdated(old: TooOld) -> ApiError {
    ApiError::new(Code::TooOld, old.detail).hint(old.hint)
}

/// The one request of the protocol that comes with a join token.
async fn join(
    State(state): State<WebState>,
    Client(client): Client,
    headers: HeaderMap,
    Json(join): Json<Join>,
) -> Result<Response, ApiError> {
    let joining = Joining {
        name: &join.name,
        credential: &join.credential_sha256,
        version: &join.version,
        protocol: join.protocol,
        git: &join.git,
        address: &client.address,
    };
    let refused = |detail, hint: &'static str| ApiError::new(Code::Unauthorized, detail).hint(hint);
    let Some(token) = bearer(&headers) else {
        return Err(refused("a join token was expected".to_owned(), "an administrator makes one under Builder nodes"));
    };
    match state.app().join(token, &joining).await {
        Ok(Joined::Node(builder)) => Ok(JsonBody(JoinAnswer { builder }).into_response()),
        Ok(Joined::TooOld(old)) => Err(outdated(old)),
        Ok(Joined::Refused(why)) => Err(refused(why.detail, why.hint)),
        Err(error @ slipway_app::Error::Refused(_)) => Err(error.into()),
        Err(error) => Err(trouble(error)),
    }
}

async fn claim(State(state): State<WebState>, Builder(builder): Builder, Json(claim): Json<Claim>) -> Result<Response, ApiError> {
    let engine = serde_json::to_string(&claim.engine).expect("an enum of texts always serializes");
    let facts = NodeFacts {
        version: &claim.version,
        protocol: claim.protocol,
        git: &claim.git,
        parallel: claim.parallel,
        engine: &engine,
        obstacle: claim.obstacle.as_deref(),
    };
    state.app().builder_seen(&builder, &facts).await.map_err(trouble)?.map_err(outdated)?;
    let ready = matches!(claim.engine, EngineStatus::Ready { .. });
    // A builder that waits here has to speak again before it is called offline.
    let longest = MAX_WAIT.min(state.app().config().lease);
    let deadline = Instant::now() + Duration::from_secs(claim.wait_seconds.into()).min(longest);
    let draining = &state.options().draining;
    loop {
        if ready
            && !draining.is_cancelled()
            && let Some(claimed) = state.app().claim(&builder).await.map_err(trouble)?
        {
            return Ok(JsonBody(assignment(&state, &builder, claimed)).into_response());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || draining.is_cancelled() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        tokio::select! {
            () = state.app().wait_for_work(left.min(LOOK_AGAIN)) => {}
            () = draining.cancelled() => {}
        }
    }
}

fn assignment(state: &WebState, builder: &RegisteredBuilder, claimed: Claimed) -> Assignment {
    let Claimed { build, path, registry_token, source, environment, base, account, hooks, base_registry } = claimed;
    let SourceAccess { ssh, http: clone, http_words, because } = source;
    let config = state.app().config();
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let credential = clone.username.map(|username| Credential {
        username,
        password: clone.password.as_ref().map(|password| password.expose_secret().to_owned()).unwrap_or_default(),
    });
    Assignment {
        builder: builder.id,
        build: build.id,
        attempt: build.attempt,
        lease_seconds: seconds(config.lease),
        time_limit_seconds: seconds(config.time_limit),
        source: Source {
            clone_url: clone.url.into(),
            credential,
            ssh: ssh.map(|ssh| SshAccess {
                url: ssh.url.into(),
                private_key: ssh.private_key.expose_secret().to_owned(),
                host_keys: ssh.host_keys,
                key: match ssh.key {
                    KeyOf::Source => SshKey::Deploy,
                    KeyOf::Repository => SshKey::Variable,
                },
            }),
            credential_words: Some(http_words),
            because,
            source_ref: build.fetched_from().clone(),
            commit: build.commit,
            base: base.map(|base| match base {
                ComparedWith::Image { number, commit } => Base::Image { number, commit },
                ComparedWith::Branch(name) => Base::Branch(name),
            }),
            network: network(state),
        },
        rule: build.rule,
        tags: build.tags,
        no_cache: build.no_cache,
        environment,
        repository: build.repository,
        registry: RegistryTarget {
            host: state.app().registry_host(),
            insecure: config.public_url.scheme() == "http",
            repository: path,
            credential: Credential { username: BUILD_USER.to_owned(), password: registry_token.expose().to_owned() },
        },
        scope: TrustScope { account, lane: build.terms.lane },
        publish: build.terms.publish,
        hooks,
        base_registry: base_registry.map(|registry| BaseRegistry {
            host: registry.host,
            credential: Credential { username: registry.username, password: registry.password.expose_secret().to_owned() },
        }),
    }
}

fn network(state: &WebState) -> Network {
    let providers = state.app().providers().map(|forge| forge.provider()).map(|provider| ProviderHost {
        url: provider.web_url.to_string(),
        ssh: provider.ssh.as_ref().map(|ssh| SshServer {
            user: ssh.user.clone(),
            host: ssh.host.clone(),
            port: ssh.port,
            host_keys: ssh.host_keys.clone(),
        }),
    });
    Network { providers: providers.collect(), egress: state.app().config().egress.clone() }
}

async fn heartbeat(
    State(state): State<WebState>,
    Builder(builder): Builder,
    Path(id): Path<BuildId>,
    Json(beat): Json<Heartbeat>,
) -> Result<Response, ApiError> {
    Ok(match state.app().heartbeat(&builder, id, beat.attempt).await.map_err(trouble)? {
        Ok(cancel) => {
            let lease_seconds = u32::try_from(state.app().config().lease.as_secs()).unwrap_or(u32::MAX);
            JsonBody(HeartbeatAnswer { cancel, lease_seconds }).into_response()
        }
        Err(reason) => fenced(reason),
    })
}

async fn report(
    State(state): State<WebState>,
    Builder(builder): Builder,
    Path(id): Path<BuildId>,
    Json(report): Json<Report>,
) -> Result<Response, ApiError> {
    let events = report.events.into_iter().map(progress).collect::<Result<Vec<_>, _>>()?;
    Ok(match state.app().report(&builder, id, report.attempt, report.sequence, &events).await.map_err(trouble)? {
        Ok(sequence) => JsonBody(ReportAnswer { sequence }).into_response(),
        Err(reason) => fenced(reason),
    })
}

fn progress(event: Event) -> Result<Progress, ApiError> {
    Ok(match event {
        Event::PhaseStarted { phase, at } => Progress::PhaseStarted(phase, at),
        Event::PhaseFinished { phase, at } => Progress::PhaseFinished(phase, at),
        Event::Step { step } => Progress::Step(step),
        Event::Log { text, .. } if text.len() > MAX_LOG_CHUNK_BYTES => {
            let detail = format!("a piece of log has {} bytes, at most {MAX_LOG_CHUNK_BYTES} are accepted", text.len());
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        Event::Log { step, text, at } => Progress::Log(step.map(|step| step.chars().take(128).collect()), text, at),
        Event::Cloned { with, because, key_refused } => {
            Progress::Cloned(with, because, if key_refused { KeyUse::Refused } else { KeyUse::Fine })
        }
        Event::Commit { commit, message, author } => Progress::Commit(commit, message, author),
    })
}

async fn finish(
    State(state): State<WebState>,
    Builder(builder): Builder,
    Path(id): Path<BuildId>,
    Json(finish): Json<Finish>,
) -> Result<Response, ApiError> {
    let outcome = match finish.outcome {
        Outcome::Pushed { digest } => BuilderOutcome::Pushed(digest),
        Outcome::Passed => BuilderOutcome::Passed,
        Outcome::Failed { reason, retry: false } => BuilderOutcome::Failed(reason),
        Outcome::Failed { reason, retry: true } => BuilderOutcome::FailedForNow(reason),
        Outcome::NeedsOwnEngine { reason } => BuilderOutcome::NeedsOwnEngine(reason),
        Outcome::Cancelled => BuilderOutcome::Cancelled,
        Outcome::Unneeded { reason } => BuilderOutcome::Unneeded(reason),
    };
    Ok(match state.app().finish(&builder, id, finish.attempt, &outcome).await.map_err(trouble)? {
        Ok(state) => JsonBody(FinishAnswer { state }).into_response(),
        Err(reason) => fenced(reason),
    })
}

async fn release(
    State(state): State<WebState>,
    Builder(builder): Builder,
    Path(id): Path<BuildId>,
    Json(release): Json<Release>,
) -> Result<Response, ApiError> {
    Ok(match state.app().release(&builder, id, release.attempt, &release.note).await.map_err(trouble)? {
        Ok(()) => JsonBody(serde_json::json!({})).into_response(),
        Err(reason) => fenced(reason),
    })
}
