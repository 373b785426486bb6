//! Server-sent events, read by the rules of the HTML standard ("Server-sent events", 9.2.6) as far as our server uses them.

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::Value;

use crate::{Client, PATIENCE};

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its id, when it has one of its own.
    pub id: Option<String>,
    /// Its data as JSON.
    pub data: Value,
}

/// A stream that is open.
pub struct Events {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Events {
    /// Opens a stream, anew or behind an event; `None` when the server says that there is nothing left (204).
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn open(client: &Client, path: &str, last_event_id: Option<&str>) -> Result<Option<Self>> {
        let mut request = client.request(Method::GET, &format!("/api/v1{path}")).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await?;
        match response.status().as_u16() {
            200 => Ok(Some(Self { response, rest: Vec::new() })),
            204 => Ok(None),
            other => bail!("the stream answered {other}: {}", response.text().await?),
        }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes for a minute.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.rest.drain(..end + 2).collect();
                if let Some(event) = parse(std::str::from_utf8(&block)?)? {
                    return Ok(Some(event));
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.context("nothing came over the stream")??;
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// A block of lines; a comment alone is no event.
fn parse(block: &str) -> Result<Option<Event>> {
    let (mut name, mut id, mut data) = ("message".to_owned(), None, Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "id" => id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let data = data.join("\n");
    Ok(Some(Event { name, id, data: serde_json::from_str(&data).with_context(|| format!("an event's data is JSON: {data}"))? }))
}
