//! Bitbucket's deliveries: the signature over the raw bytes, and what a body says.
//!
//! Invariant: no body makes this panic; what is missing or odd is [`Unreadable`] or an unusable ref, with the reason. One odd change
//! does not hide the others of the same push.
//! Deliberately elsewhere: whether the repository id is that of the hook, and whether the delivery was seen before.

use http::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use slipway_model::{CommitId, RefName};

use super::{is_uuid, pull_requests};
use crate::delivery::{check_sha256, object, signature, word};
use crate::text;
use crate::webhook::{Payload, RefChange, Refusal, Unreadable, UnusableRef, Verified};

/// The name is that of GitHub's old header by SHA-1, but here it carries SHA-256.
const SIGNATURE: &str = "X-Hub-Signature";
const EVENT: &str = "X-Event-Key";
/// The same in every attempt of a delivery.
const DELIVERY: &str = "X-Request-UUID";

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
    let value = signature(headers, SIGNATURE, Refusal::MissingSignature)?;
    if value.starts_with(b"sha1=") {
        return Err(Refusal::WeakSignature);
    }
    check_sha256(value.strip_prefix(b"sha256=").ok_or(Refusal::BadSignature)?, body, secrets)?;
    Ok(Verified { event: word(headers, EVENT)?, delivery_id: word(headers, DELIVERY)? })
}

#[derive(Deserialize)]
struct Push {
    push: Changes,
    repository: Repository,
    #[serde(default)]
    actor: Value,
}

#[derive(Deserialize)]
struct Changes {
    /// Each is read on its own.
    changes: Vec<Value>,
}

#[derive(Deserialize, PartialEq)]
pub(super) struct Repository {
    pub(super) uuid: String,
}

#[derive(Deserialize)]
struct About {
    repository: Repository,
    #[serde(default)]
    changes: Value,
}

#[derive(Deserialize)]
struct Any {}

/// One of `push.changes`: `old` is null for a new ref, `new` for a deleted one.
#[derive(Deserialize)]
struct Change {
    old: Option<Tip>,
    new: Option<Tip>,
}

#[derive(Deserialize)]
struct Tip {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Option<Target>,
}

/// The commit; Bitbucket gives it for annotated tags, too.
#[derive(Deserialize)]
struct Target {
    hash: String,
    message: Option<String>,
    #[serde(default)]
    author: Value,
}

pub(super) fn read(event: &str, body: &[u8]) -> Result<Payload, Unreadable> {
    match event {
        "repo:push" => read_push(object(body, "Bitbucket")?),
        "pullrequest:created" | "pullrequest:updated" | "pullrequest:fulfilled" | "pullrequest:rejected" => {
            pull_requests::read(object(body, "Bitbucket")?)
        }
        "repo:updated" | "repo:transfer" | "repo:deleted" | "repo:renamed" => {
            let about: About = object(body, "Bitbucket")?;
            Ok(Payload::Repository { repository_id: checked_id(about.repository)?, what: describe(event, &about.changes) })
        }
        _ => {
            let _: Any = object(body, "Bitbucket")?;
            Ok(Payload::Other { what: describe(event, &Value::Null) })
        }
    }
}

fn read_push(push: Push) -> Result<Payload, Unreadable> {
    let repository_id = checked_id(push.repository)?;
    let pusher = shown(&push.actor, &["display_name", "nickname"]);
    let (mut events, mut unusable) = (Vec::new(), Vec::new());
    for change in push.push.changes {
        let name = shown_name(&change);
        match read_change(change, pusher.as_ref()) {
            Ok(event) => events.push(event),
            Err(why) => unusable.push(UnusableRef { name, why }),
        }
    }
    Ok(Payload::Push { repository_id, events, unusable })
}

pub(super) fn checked_id(repository: Repository) -> Result<String, Unreadable> {
    if is_uuid(&repository.uuid) { Ok(repository.uuid) } else { Err(Unreadable::new("`repository.uuid` is no uuid in braces")) }
}

fn read_change(change: Value, pusher: Option<&String>) -> Result<RefChange, String> {
    if !change.is_object() {
        return Err("the change is no JSON object".to_owned());
    }
    let change =
        Change::deserialize(change).map_err(|error| text::line(&format!("the change is not what Bitbucket sends: {error}"), 300))?;
    let tip = change.new.as_ref().or(change.old.as_ref()).ok_or("both `old` and `new` are null, expected at least one")?;
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && (old.name != new.name || old.kind != new.kind)
    {
        return Err("`old` and `new` are different refs, expected one that moved".to_owned());
    }
    let name = full_name(tip)?;
    let before = change.old.as_ref().map(|old| commit("old", old)).transpose()?.flatten();
    let after = match change.new.as_ref().map(|new| commit("new", new)).transpose()? {
        Some(None) => return Err("`new` leads to no commit".to_owned()),
        Some(found) => found,
        None if before.is_none() => return Err("`old` led to no commit, and `new` is null".to_owned()),
        None => None,
    };
    let target = change.new.and_then(|new| new.target);
    let author = target.as_ref().and_then(|target| author(&target.author));
    let commit_message = target.and_then(|target| target.message).map(|message| text::message(&message, 4096));
    Ok(RefChange { name, before, after, commit_message, author, pusher: pusher.cloned() })
}

fn full_name(tip: &Tip) -> Result<RefName, String> {
    let prefix = match tip.kind.as_str() {
        "branch" => "refs/heads/",
        "tag" => "refs/tags/",
        other => return Err(format!("it is a `{}`, neither branch nor tag", text::line(other, 40))),
    };
    format!("{prefix}{}", tip.name).parse::<RefName>().map_err(|error| text::line(&error.to_string(), 400))
}

/// The commit of a tip; `None` when it leads to none or to the id of nothing.
fn commit(field: &str, tip: &Tip) -> Result<Option<CommitId>, String> {
    let Some(target) = &tip.target else { return Ok(None) };
    CommitId::parse_or_zero(&target.hash).map_err(|error| format!("`{field}.target.hash`: {}", text::line(&error.to_string(), 200)))
}

/// Who the commit says wrote it: `Ann Example <ann@example.com>` without the address.
fn author(author: &Value) -> Option<String> {
    let raw = author["raw"].as_str().map(|raw| raw.split('<').next().unwrap_or_default());
    raw.map(|name| text::line(name, 200)).filter(|name| !name.is_empty()).or_else(|| shown(&author["user"], &["display_name", "nickname"]))
}

/// The first of these fields that says something.
fn shown(person: &Value, fields: &[&str]) -> Option<String> {
    fields.iter().filter_map(|field| person[field].as_str()).map(|name| text::line(name, 200)).find(|name| !name.is_empty())
}

fn shown_name(change: &Value) -> String {
    let name = change["new"]["name"].as_str().or_else(|| change["old"]["name"].as_str());
    text::line(name.unwrap_or("(without a name)"), 200)
}

/// Words for the verdict; of a changed repository also which of its fields changed.
fn describe(event: &str, changes: &Value) -> String {
    let event = text::line(event, 64);
    let known = ["name", "full_name", "slug", "owner", "is_private", "mainbranch"];
    let fields: Vec<String> = known.iter().filter(|field| !changes[**field].is_null()).map(|field| format!("`{field}`")).collect();
    if fields.is_empty() { format!("event `{event}`") } else { format!("event `{event}` with a change of {}", fields.join(", ")) }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
