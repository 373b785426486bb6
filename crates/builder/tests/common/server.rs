//! A server that plays the builder protocol strictly: tokens, fencing, sequences.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use slipway_model::{BuildId, BuildState};
use slipway_wire::{
    Assignment, Claim, Event, Fenced, Finish, FinishAnswer, Heartbeat, HeartbeatAnswer, MAX_REPORT_BYTES, Outcome, Release, Report,
    ReportAnswer,
};
use tokio::task::JoinHandle;

pub const TOKEN: &str = "slb_test";

#[derive(Default)]
pub struct Known {
    pub attempt: u32,
    pub events: Vec<Event>,
    pub sequence: u64,
    pub outcome: Option<Outcome>,
    pub released: bool,
    pub cancel: bool,
    pub fenced: bool,
    pub heartbeats: usize,
    /// Requests after the fence fell.
    pub refused: usize,
}

#[derive(Default)]
pub struct Held {
    pub queue: VecDeque<Assignment>,
    pub builds: HashMap<BuildId, Known>,
    pub claims: Vec<Claim>,
}

pub struct Server {
    port: u16,
    pub held: Mutex<Held>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

type Shared = Arc<Server>;

impl Server {
    pub async fn start() -> Shared {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let server = Arc::new(Self { port, held: Mutex::default(), serving: Mutex::default() });
        server.serve(listener);
        server
    }

    fn serve(self: &Shared, listener: tokio::net::TcpListener) {
        let app = Router::new()
            .route("/builder/v1/claim", post(claim))
            .route("/builder/v1/builds/{id}/heartbeat", post(heartbeat))
            .route("/builder/v1/builds/{id}/report", post(report))
            .route("/builder/v1/builds/{id}/finish", post(finish))
            .route("/builder/v1/builds/{id}/release", post(release))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_REPORT_BYTES))
            .with_state(Arc::clone(self));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        *self.serving.lock().expect("lock") = Some(serving);
    }

    /// Goes away without a word. Open connections answer no more.
    pub fn kill(&self) {
        self.serving.lock().expect("lock").take().expect("running").abort();
    }

    pub async fn restart(self: &Shared) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.expect("bind again");
        self.serve(listener);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub fn queue(&self, assignment: Assignment) {
        let mut held = self.held.lock().expect("lock");
        held.builds.insert(assignment.build, Known { attempt: assignment.attempt, ..Known::default() });
        held.queue.push_back(assignment);
    }

    pub fn with<T>(&self, build: BuildId, look: impl FnOnce(&mut Known) -> T) -> T {
        look(self.held.lock().expect("lock").builds.get_mut(&build).expect("build"))
    }

    pub fn events(&self, build: BuildId) -> Vec<Event> {
        self.with(build, |known| known.events.clone())
    }

    pub async fn outcome(&self, build: BuildId) -> Outcome {
        super::wait_for("the end of the build", Duration::from_secs(120), || self.with(build, |known| known.outcome.is_some())).await;
        self.with(build, |known| known.outcome.clone().expect("just seen"))
    }
}

fn known_token(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) == Some(&format!("Bearer {TOKEN}"))
}

async fn claim(State(server): State<Shared>, headers: HeaderMap, Json(claim): Json<Claim>) -> Response {
    if !known_token(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let wait = Duration::from_secs(u64::from(claim.wait_seconds));
    let ready = matches!(claim.engine, slipway_wire::EngineStatus::Ready { .. });
    server.held.lock().expect("lock").claims.push(claim);
    let begun = std::time::Instant::now();
    loop {
        if ready && let Some(assignment) = server.held.lock().expect("lock").queue.pop_front() {
            return Json(assignment).into_response();
        }
        if begun.elapsed() >= wait {
            return StatusCode::NO_CONTENT.into_response();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn about<T: serde::Serialize>(
    server: &Server,
    headers: &HeaderMap,
    id: BuildId,
    attempt: u32,
    act: impl FnOnce(&mut Known) -> T,
) -> Response {
    if !known_token(headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    server.with(id, |known| {
        if known.fenced || known.attempt != attempt {
            known.refused += 1;
            return (StatusCode::CONFLICT, Json(Fenced { detail: "the lease is lost".into() })).into_response();
        }
        Json(act(known)).into_response()
    })
}

fn id(text: &str) -> BuildId {
    text.parse().expect("build id")
}

async fn heartbeat(State(server): State<Shared>, headers: HeaderMap, Path(build): Path<String>, Json(body): Json<Heartbeat>) -> Response {
    about(&server, &headers, id(&build), body.attempt, |known| {
        known.heartbeats += 1;
        HeartbeatAnswer { cancel: known.cancel, lease_seconds: 30 }
    })
}

async fn report(State(server): State<Shared>, headers: HeaderMap, Path(build): Path<String>, Json(body): Json<Report>) -> Response {
    about(&server, &headers, id(&build), body.attempt, |known| {
        assert!(known.outcome.is_none(), "a report after the end");
        if body.sequence > known.sequence {
            assert_eq!(body.sequence, known.sequence + 1, "no gap");
            known.sequence = body.sequence;
            known.events.extend(body.events);
        }
        ReportAnswer { sequence: known.sequence }
    })
}

async fn finish(State(server): State<Shared>, headers: HeaderMap, Path(build): Path<String>, Json(body): Json<Finish>) -> Response {
    about(&server, &headers, id(&build), body.attempt, |known| {
        known.outcome = Some(body.outcome);
        FinishAnswer { state: BuildState::Success }
    })
}

async fn release(State(server): State<Shared>, headers: HeaderMap, Path(build): Path<String>, Json(body): Json<Release>) -> Response {
    about(&server, &headers, id(&build), body.attempt, |known| {
        known.released = true;
        serde_json::json!({})
    })
}
