//! The live log of a build, as the build page reads it: server-sent events.
//! Invariant: the stream ends with the event `end`; a stream that breaks before is an error.

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::Value;

use crate::api::Api;
use crate::narrator::Narrator;

/// What was seen of a log.
#[derive(Default)]
pub struct Seen {
    /// Lines with text.
    pub lines: Vec<String>,
    /// Names of steps in the order of their first sight.
    pub steps: Vec<String>,
}

/// Follows the log of a build to its end and prints it.
pub async fn follow(api: &Api, build: &str, narrator: &Narrator) -> Result<Seen> {
    let answer = api.raw(Method::GET, &format!("{build}/log/stream"), None).await?;
    if !answer.status().is_success() {
        bail!("the live log answered {}: {}", answer.status(), answer.text().await?);
    }
    let mut seen = Seen::default();
    let mut stream = answer.bytes_stream();
    let mut buffer = Vec::new();
    let mut event = Event::default();
    while let Some(chunk) = stream.next().await {
        buffer.extend_from_slice(&chunk.context("the live log broke")?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.is_empty() {
                event.field(line);
            } else if std::mem::take(&mut event).shown(&mut seen, narrator) == Flow::Ended {
                return Ok(seen);
            }
        }
    }
    bail!("the live log ended without the event `end`")
}

#[derive(PartialEq, Eq)]
enum Flow {
    GoesOn,
    Ended,
}

/// One server-sent event while it is read (WHATWG HTML, "Server-sent events").
#[derive(Default)]
struct Event {
    name: String,
    data: String,
}

impl Event {
    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
    }

    fn shown(self, seen: &mut Seen, narrator: &Narrator) -> Flow {
        let data: Value = serde_json::from_str(&self.data).unwrap_or_default();
        match self.name.as_str() {
            "end" => return Flow::Ended,
            "step" => {
                let step = data.get("step").filter(|step| step.is_object()).unwrap_or(&data);
                let name = step["name"].as_str().unwrap_or_default().to_owned();
                if !name.is_empty() && !seen.steps.contains(&name) {
                    narrator.log("step", &name);
                    seen.steps.push(name);
                }
            }
            "log" => {
                let items = data.as_array().cloned().unwrap_or_else(|| vec![data]);
                for item in items {
                    for line in item["text"].as_str().unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
                        narrator.log("    ", line);
                        seen.lines.push(line.to_owned());
                    }
                }
            }
            _ => {}
        }
        Flow::GoesOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_browsers_do() {
        let (mut seen, narrator) = (Seen::default(), Narrator::new());
        let mut event = Event::default();
        for line in
            ["event: log", "id: 7", "data: [{\"step\":\"s1\",\"text\":\"one\\ntwo\\n\"},", "data:{\"text\":\"three\"}]", ": comment"]
        {
            event.field(line);
        }
        assert!(event.shown(&mut seen, &narrator) == Flow::GoesOn);
        assert_eq!(seen.lines, ["one", "two", "three"]);
        assert!(Event { name: "end".to_owned(), data: String::new() }.shown(&mut seen, &narrator) == Flow::Ended);
    }
}
