//! An image as one stream: the tar that `docker save` writes.
//!
//! The invariant: it is never whole in memory, and an end in the midst of it is an error. Deliberately elsewhere: what is looked for in it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;

use crate::address::EngineAddress;
use crate::connect::{root_cause, unreachable};
use crate::engine::{Engine, NAME, encode};
use crate::error::EngineError;
use crate::http::{fetch, send_within};

/// The engine puts the whole image together on its disk before it sends the first byte.
const FIRST_BYTE: Duration = Duration::from_secs(15 * 60);
const SILENCE: Duration = Duration::from_secs(120);

/// The stream.
#[derive(Debug)]
pub struct ImageTar {
    address: EngineAddress,
    body: Incoming,
}

impl ImageTar {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the engine breaks off or falls silent.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let frame = tokio::time::timeout(SILENCE, self.body.frame())
                .await
                .map_err(|_| unreachable(&self.address, format!("the image's tar stopped for {} s", SILENCE.as_secs())))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| unreachable(&self.address, root_cause(&error)))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// An image, to be looked through.
#[derive(Debug)]
pub enum SavedImage {
    /// With its layers.
    Tar(ImageTar),
    /// It has no layer, which an engine does not put into a tar: its configuration and history, as JSON.
    Configuration(Bytes),
}

impl Engine {
    /// The image of this name or id with its configuration and all its layers.
    ///
    /// # Errors
    /// When there is none, or the engine does not give it.
    pub async fn save(&self, image: &str) -> Result<SavedImage, EngineError> {
        let path = |what: &str| format!("/images/{}/{what}", encode(image, NAME));
        match send_within(FIRST_BYTE, &self.address, Method::GET, &path("get"), &[]).await {
            Ok(answer) => Ok(SavedImage::Tar(ImageTar { address: self.address.clone(), body: answer.into_body() })),
            Err(EngineError::Answer { message, .. }) if message.contains("empty export") => {
                let mut text = fetch(&self.address, Method::GET, &path("json")).await?.to_vec();
                text.extend(fetch(&self.address, Method::GET, &path("history")).await?);
                Ok(SavedImage::Configuration(text.into()))
            }
            Err(error) => Err(error),
        }
    }
}
