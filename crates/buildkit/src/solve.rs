//! One build from request to result.
//!
//! The invariant: dropping the future of [`Client::solve`] ends the build in the engine, its running process included,
//! and closes the session. Deliberately elsewhere: retrying, phases, the push of an image in an Engine's store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{SolveResponse, StatusRequest};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::address::EngineAddress;
use crate::auth::Answers;
use crate::connect::{channel, root_cause};
use crate::error::SolveError;
use crate::explain::explain;
use crate::filesync::{Files, Source, Trouble};
use crate::progress::{Board, SolveEvent};
use crate::request::{SolveOutput, SolveRequest, wire};
use crate::session;

const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// A client of the BuildKit at one address. Cheap to clone; each build has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) address: EngineAddress,
}

impl Client {
    /// The BuildKit at the address; nothing is dialled yet.
    pub fn new(address: EngineAddress) -> Self {
        Self { address }
    }

    /// Runs a build and reports its progress to `events` as it comes.
    ///
    /// Events are awaited: a reader that stops reading stops the reports, not the build. A dropped reader is fine.
    pub async fn solve(&self, request: SolveRequest, events: mpsc::Sender<SolveEvent>) -> Result<SolveOutput, SolveError> {
        let channel = channel(&self.address).await?;
        let mut control = ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let trouble = Trouble::default();
        let sources = HashMap::from([
            ("context", Source::Folder(request.context.clone())),
            ("dockerfile", Source::Files(request.dockerfile.files())),
        ]);
        let files = Files::new(sources, Arc::clone(&trouble));
        let answers = Answers { credentials: Arc::new(request.credentials.clone()), secrets: Arc::new(request.secrets.clone()) };
        let session = session::open(&mut control, files, answers).await.map_err(|status| self.lost(&status))?;

        let build = uuid::Uuid::new_v4().simple().to_string();
        let board = Arc::new(Mutex::new(Board::default()));
        let (finished, done) = oneshot::channel();
        let mut solver = control.clone();
        let solving = async {
            let answer = solver.solve(wire(&request, &build, &session.id)).await;
            // The follower may have ended before: nobody has to be told then.
            finished.send(()).ok();
            answer
        };
        let following = follow(control, &build, Arc::clone(&board), events, done, request.log_grace);
        let (answer, ()) = tokio::join!(solving, following);
        drop(session);
        let board = board.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.map(output).map_err(|status| match (is_lost(&status), trouble) {
            (true, _) => self.lost(&status),
            (false, Some(message)) => SolveError::Context { message },
            (false, None) => explain(&status, &board, &request),
        })
    }

    fn lost(&self, status: &Status) -> SolveError {
        if !is_lost(status) {
            return SolveError::Other { message: crate::explain::scrub(status.message()) };
        }
        let cause = std::error::Error::source(status).map_or_else(|| status.message().to_owned(), root_cause);
        SolveError::EngineUnreachable { address: self.address.to_string(), cause: format!("the connection ended: {cause}") }
    }
}

/// True when the connection broke, as opposed to an answer of the engine.
pub(crate) fn is_lost(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.code() == Code::Unavailable
}

fn output(response: Response<SolveResponse>) -> SolveOutput {
    SolveOutput { digest: response.into_inner().exporter_response.remove("containerimage.digest") }
}

/// Reports progress until the engine ends the stream, or `grace` after the result.
async fn follow(
    mut control: ControlClient<Channel>,
    build: &str,
    board: Arc<Mutex<Board>>,
    events: mpsc::Sender<SolveEvent>,
    done: oneshot::Receiver<()>,
    grace: Duration,
) {
    let reading = async {
        // An engine that has not registered the build yet says so; the result ends the attempts.
        loop {
            let Ok(answer) = control.status(StatusRequest { r#ref: build.to_owned() }).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut stream = answer.into_inner();
            let mut heard = false;
            while let Ok(Some(update)) = stream.message().await {
                heard = true;
                let news = board.lock().unwrap_or_else(PoisonError::into_inner).update(update);
                for event in news {
                    // A reader that left wants no more news; the board is still kept for the error text.
                    events.send(event).await.ok();
                }
            }
            if heard {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let deadline = async {
        // An error here means that the solver is gone, which ends the build as well.
        done.await.ok();
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = reading => {}
        () = deadline => {}
    }
}
