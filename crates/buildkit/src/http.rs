//! One request to the Engine's HTTP API over its socket.
//!
//! The invariant: answers are read with a limit and a deadline. Deliberately elsewhere: what is asked (`engine`, `push`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::address::EngineAddress;
use crate::connect::{dial, root_cause, unreachable};
use crate::error::EngineError;
use crate::explain::scrub;

/// Answers that are read whole are small; lists of a busy engine stay below this.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Problem {
    message: String,
}

/// Sends a request and returns the answer's head; a status of 400 and above is an error with the engine's words.
pub(crate) async fn send(
    address: &EngineAddress,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response<Incoming>, EngineError> {
    send_within(ANSWER_TIME, address, method, path, headers).await
}

/// As [`send`], where the engine has this long to begin its answer.
pub(crate) async fn send_within(
    limit: Duration,
    address: &EngineAddress,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response<Incoming>, EngineError> {
    let stream = dial(address).await?;
    let broken = |error: hyper::Error| unreachable(address, root_cause(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "engine connection ended");
        }
    });
    let mut request = Request::builder().method(method).uri(path).header("Host", "docker");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|error| EngineError::Answer { status: 400, message: format!("`{path}` is no request: {error}") })?;
    let answer = tokio::time::timeout(limit, sender.send_request(request))
        .await
        .map_err(|_| unreachable(address, format!("no answer within {} s", limit.as_secs())))?
        .map_err(broken)?;
    if answer.status().as_u16() < 400 {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let text = read(address, answer).await?;
    let message = match serde_json::from_slice::<Problem>(&text) {
        Ok(problem) => scrub(&problem.message),
        Err(_) => scrub(&String::from_utf8_lossy(&text)),
    };
    Err(EngineError::Answer { status, message })
}

/// Sends a request and reads its whole answer.
pub(crate) async fn fetch(address: &EngineAddress, method: Method, path: &str) -> Result<Bytes, EngineError> {
    let answer = send(address, method, path, &[]).await?;
    read(address, answer).await
}

async fn read(address: &EngineAddress, answer: Response<Incoming>) -> Result<Bytes, EngineError> {
    let mut body = answer.into_body();
    let mut out = BytesMut::new();
    loop {
        let frame =
            tokio::time::timeout(ANSWER_TIME, body.frame()).await.map_err(|_| unreachable(address, "the answer stopped halfway"))?;
        let Some(frame) = frame else { return Ok(out.freeze()) };
        let frame = frame.map_err(|error| unreachable(address, root_cause(&error)))?;
        if let Some(data) = frame.data_ref() {
            if out.len() + data.len() > ANSWER_LIMIT {
                return Err(unreachable(address, format!("an answer is larger than {ANSWER_LIMIT} bytes")));
            }
            out.extend_from_slice(data);
        }
    }
}
