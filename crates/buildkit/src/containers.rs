//! Containers that compose started: finding one, its output, its exit code.
//!
//! The invariant: output is streamed and cut into its two streams, whatever the sizes of the engine's frames.
//! Deliberately elsewhere: creating and starting containers; compose does it.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::Method;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::connect::{root_cause, unreachable};
use crate::engine::{Engine, STRICT, encode, filters};
use crate::error::EngineError;
use crate::http::{fetch, send};
use crate::progress::LogStream;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
/// Larger than any frame of an engine; what says more is no frame.
const WAIT_ANSWER_LIMIT: usize = 64 * 1024;
const FRAME_LIMIT: usize = 64 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    config: InspectedConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    #[serde(default)]
    tty: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exited {
    status_code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

impl Engine {
    /// Ids of the containers of a service of a compose project, running or not.
    pub async fn containers(&self, project: &str, service: &str) -> Result<Vec<String>, EngineError> {
        let filters = filters(&serde_json::json!({"label": [format!("{PROJECT}={project}"), format!("{SERVICE}={service}")]}));
        let listed: Vec<Listed> = self.list(&format!("/containers/json?all=true&filters={filters}")).await?;
        Ok(listed.into_iter().map(|container| container.id).collect())
    }

    /// Waits for the end of a container and returns its exit code.
    pub async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        // The answer's head comes at once, its body when the container ends: that may take as long as it likes.
        let path = format!("/containers/{}/wait", encode(container, STRICT));
        let answer = send(&self.address, Method::POST, &path, &[]).await?;
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| unreachable(&self.address, error.to_string());
        let body = Limited::new(answer.into_body(), WAIT_ANSWER_LIMIT).collect().await.map_err(broken)?.to_bytes();
        let exited: Exited =
            serde_json::from_slice(&body).map_err(|error| unreachable(&self.address, format!("no exit code in its answer: {error}")))?;
        Ok(exited.status_code)
    }

    /// Sends everything that the container printed and prints, until it ends or the receiver is dropped.
    ///
    /// An old engine (20.10 seen) may end this before the last lines of a container that prints much and ends: [`Engine::rest_of_logs`] has them.
    pub async fn follow_logs(&self, container: &str, out: mpsc::Sender<(LogStream, Bytes)>) -> Result<(), EngineError> {
        self.logs(container, "true", 0, out).await
    }

    /// Sends what an ended container printed behind the first `known` bytes.
    pub async fn rest_of_logs(&self, container: &str, known: u64, out: mpsc::Sender<(LogStream, Bytes)>) -> Result<(), EngineError> {
        self.logs(container, "false", known, out).await
    }

    async fn logs(&self, container: &str, follow: &str, known: u64, out: mpsc::Sender<(LogStream, Bytes)>) -> Result<(), EngineError> {
        let id = encode(container, STRICT);
        let inspected: Inspected = self.list(&format!("/containers/{id}/json")).await?;
        let path = format!("/containers/{id}/logs?follow={follow}&stdout=true&stderr=true");
        let mut body = send(&self.address, Method::GET, &path, &[]).await?.into_body();
        let mut frames = Frames::default();
        let mut left = known;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreachable(&self.address, root_cause(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            let parts = if inspected.config.tty { vec![(LogStream::Stdout, data)] } else { frames.feed(&data)? };
            for (stream, mut bytes) in parts {
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes.advance(skipped);
                left -= skipped as u64;
                if !bytes.is_empty() && out.send((stream, bytes)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes the names of all images that begin with `prefix`, for example those that compose built for a project.
    pub async fn remove_images_named(&self, prefix: &str) -> Result<(), EngineError> {
        let filters = filters(&serde_json::json!({"reference": [format!("{prefix}*")]}));
        let images: Vec<Image> = self.list(&format!("/images/json?filters={filters}")).await?;
        let names = images.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default());
        for name in names.filter(|name| name.starts_with(prefix)) {
            self.remove_image(&name).await?;
        }
        Ok(())
    }

    pub(crate) async fn list<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let answer = fetch(&self.address, Method::GET, path).await?;
        serde_json::from_slice(&answer).map_err(|error| EngineError::Unsuitable {
            address: self.address.to_string(),
            reason: format!("its answer cannot be read: {error}"),
        })
    }
}

/// Cuts the engine's multiplexed stream: one byte of stream, three of nothing, four of length, then that many bytes.
#[derive(Default)]
struct Frames {
    buffer: BytesMut,
}

impl Frames {
    fn feed(&mut self, data: &[u8]) -> Result<Vec<(LogStream, Bytes)>, EngineError> {
        self.buffer.extend_from_slice(data);
        let mut out = Vec::new();
        while self.buffer.len() >= 8 {
            let length = u32::from_be_bytes([self.buffer[4], self.buffer[5], self.buffer[6], self.buffer[7]]) as usize;
            if length > FRAME_LIMIT {
                return Err(EngineError::Answer { status: 200, message: format!("a log frame of {length} bytes") });
            }
            if self.buffer.len() < 8 + length {
                break;
            }
            let stream = if self.buffer[0] == 2 { LogStream::Stderr } else { LogStream::Stdout };
            self.buffer.advance(8);
            out.push((stream, self.buffer.split_to(length).freeze()));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_be_cut_anywhere() {
        let mut wire = Vec::new();
        for (stream, text) in [(1_u8, "out"), (2, "error"), (1, "")] {
            wire.extend([stream, 0, 0, 0, 0, 0, 0, text.len() as u8]);
            wire.extend(text.as_bytes());
        }
        for size in 1..wire.len() {
            let mut frames = Frames::default();
            let parts: Vec<_> = wire.chunks(size).flat_map(|chunk| frames.feed(chunk).expect("feed")).collect();
            let texts: Vec<_> = parts.iter().map(|(stream, bytes)| (*stream, bytes.as_ref())).collect();
            assert_eq!(texts, [(LogStream::Stdout, &b"out"[..]), (LogStream::Stderr, b"error"), (LogStream::Stdout, b"")]);
        }
        assert!(Frames::default().feed(&[1, 0, 0, 0, 255, 255, 255, 255]).is_err());
    }
}
