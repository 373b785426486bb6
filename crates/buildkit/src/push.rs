//! The stream of a push: lines of JSON that end with the digest or with an error.
//!
//! The invariant: a push is a success only when the engine named the digest that the registry took. Deliberately
//! elsewhere: the request (`engine`), whether it is worth another try (`EngineError::is_transient`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::address::EngineAddress;
use crate::auth::RegistryAuth;
use crate::connect::{root_cause, unreachable};
use crate::error::EngineError;
use crate::explain::scrub;

const LINE_LIMIT: usize = 1024 * 1024;
/// The engine reports several times a second while bytes move; a registry may take long to commit a large layer.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);

/// One line of progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PushProgress {
    /// The layer, where the line is about one.
    #[serde(default)]
    pub id: Option<String>,
    /// The engine's word: `Preparing`, `Pushing`, `Pushed`, `Layer already exists`.
    #[serde(default)]
    pub status: String,
    /// Bytes so far and in all.
    #[serde(default, rename = "progressDetail", deserialize_with = "detail")]
    pub bytes: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    aux: Option<Aux>,
    #[serde(flatten)]
    progress: PushProgress,
}

#[derive(Deserialize)]
struct Aux {
    #[serde(default, rename = "Digest")]
    digest: Option<String>,
}

fn detail<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<(u64, u64)>, D::Error> {
    #[derive(Deserialize)]
    struct Detail {
        current: Option<u64>,
        total: Option<u64>,
    }
    let detail = Option::<Detail>::deserialize(deserializer)?;
    Ok(detail.and_then(|detail| Some((detail.current?, detail.total.unwrap_or_default()))))
}

/// The value of `X-Registry-Auth`; the engine demands one even where there is nothing to say.
pub(crate) fn header(auth: Option<&RegistryAuth>, host: &str) -> String {
    let value = match auth {
        Some(auth) => serde_json::json!({
            "username": auth.username, "password": auth.password.expose_secret(), "serveraddress": host,
        }),
        None => serde_json::json!({}),
    };
    URL_SAFE.encode(value.to_string())
}

pub(crate) async fn read_push(
    address: &EngineAddress,
    mut body: Incoming,
    progress: &mpsc::Sender<PushProgress>,
) -> Result<String, EngineError> {
    let mut lines = Lines::default();
    loop {
        let frame = tokio::time::timeout(SILENCE_LIMIT, body.frame())
            .await
            .map_err(|_| unreachable(address, format!("the push was silent for {} s", SILENCE_LIMIT.as_secs())))?;
        let Some(frame) = frame else { return lines.end() };
        let frame = frame.map_err(|error| unreachable(address, root_cause(&error)))?;
        if let Some(data) = frame.data_ref() {
            for line in lines.feed(data)? {
                // Dropped when the reader is slow: the next line says the same and more.
                progress.try_send(line).ok();
            }
        }
    }
}

/// Cuts the stream into lines and remembers how it ends.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: BytesMut,
    digest: Option<String>,
    error: Option<String>,
}

impl Lines {
    pub(crate) fn feed(&mut self, data: &[u8]) -> Result<Vec<PushProgress>, EngineError> {
        self.buffer.extend_from_slice(data);
        let mut out = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            out.extend(self.line(end));
            self.buffer.advance(end + 1);
        }
        if self.buffer.len() > LINE_LIMIT {
            return Err(EngineError::Push { message: format!("the engine sent a line of more than {LINE_LIMIT} bytes") });
        }
        Ok(out)
    }

    fn line(&mut self, end: usize) -> Option<PushProgress> {
        let line: Line = serde_json::from_slice(self.buffer[..end].trim_ascii()).ok()?;
        if let Some(error) = line.error {
            self.error.get_or_insert(error);
        }
        if let Some(digest) = line.aux.and_then(|aux| aux.digest) {
            self.digest = Some(digest);
        }
        (!line.progress.status.is_empty()).then_some(line.progress)
    }

    pub(crate) fn end(mut self) -> Result<String, EngineError> {
        let rest = self.buffer.len();
        self.line(rest);
        match (self.error, self.digest) {
            (Some(error), _) => Err(EngineError::Push { message: scrub(&error) }),
            (None, Some(digest)) => Ok(digest),
            (None, None) => Err(EngineError::Push { message: "the engine ended without naming a digest".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(parts: &[&str]) -> (Vec<PushProgress>, Result<String, EngineError>) {
        let mut lines = Lines::default();
        let progress = parts.iter().flat_map(|part| lines.feed(part.as_bytes()).expect("feed")).collect();
        (progress, lines.end())
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        let (progress, end) = run(&[
            "{\"status\":\"Pushing\",\"id\":\"abc\",\"progressDe",
            "tail\":{\"current\":5,\"total\":9},\"progress\":\"x\"}\r\n{\"status\":\"Pushed\",\"progressDetail\":{},\"id\":\"abc\"}\r",
            "\n{\"progressDetail\":{},\"aux\":{\"Tag\":\"t\",\"Digest\":\"sha256:aa\",\"Size\":5}}",
        ]);
        assert_eq!(progress.len(), 2);
        assert_eq!(progress[0], PushProgress { id: Some("abc".into()), status: "Pushing".into(), bytes: Some((5, 9)) });
        assert_eq!(end, Ok("sha256:aa".to_owned()));
    }

    #[test]
    fn an_error_wins_and_silence_is_no_success() {
        let (_, end) = run(&["{\"aux\":{\"Digest\":\"sha256:aa\"}}\n{\"errorDetail\":{\"message\":\"x\"},\"error\":\"denied\"}\n"]);
        assert_eq!(end, Err(EngineError::Push { message: "denied".to_owned() }));
        assert!(run(&["{\"status\":\"Pushed\"}\n"]).1.is_err());
        assert!(run(&["garbage\n"]).1.is_err());
    }
}
