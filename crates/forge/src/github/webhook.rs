//! GitHub's deliveries: the signature over the raw bytes, and what a body says.
//!
//! Invariant: no body makes this panic; what is missing or odd is [`Unreadable`] with the reason.
//! Deliberately elsewhere: whether the repository id is that of the hook, and whether the delivery was seen before.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::{CommitId, RefKind, RefName};

use super::is_queued;
use crate::delivery::{check_sha256, object, signature, word};
use crate::webhook::{PUSHED_PULL_REQUEST, Payload, RefChange, Refusal, Unreadable, UnusableRef, Verified};
use crate::{pull_requests, text};

const SIGNATURE: &str = "X-Hub-Signature-256";
const WEAK_SIGNATURE: &str = "X-Hub-Signature";
const EVENT: &str = "X-GitHub-Event";
const DELIVERY: &str = "X-GitHub-Delivery";

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
    let missing = if headers.contains_key(WEAK_SIGNATURE) { Refusal::WeakSignature } else { Refusal::MissingSignature };
    let digits = signature(headers, SIGNATURE, missing)?.strip_prefix(b"sha256=").ok_or(Refusal::BadSignature)?;
    check_sha256(digits, body, secrets)?;
    Ok(Verified { event: word(headers, EVENT)?, delivery_id: word(headers, DELIVERY)? })
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    name: String,
    before: String,
    after: String,
    #[serde(default)]
    deleted: Option<bool>,
    head_commit: Option<HeadCommit>,
    repository: Repository,
    pusher: Option<Author>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: CommitId,
    message: Option<String>,
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    name: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
}

#[derive(Deserialize)]
struct Ping {
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct AboutRepository {
    action: Option<String>,
    repository: Repository,
    #[serde(default)]
    changes: Changes,
}

#[derive(Deserialize, Default)]
struct Changes {
    default_branch: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Other {
    action: Option<String>,
}

pub(super) fn read(event: &str, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable> {
    let json = json_of(headers, body)?;
    match event {
        "push" => read_push(object(&json, "GitHub")?),
        "pull_request" => pull_requests::read(object(&json, "GitHub")?),
        "ping" => {
            let ping: Ping = object(&json, "GitHub")?;
            Ok(Payload::Ping { repository_id: ping.repository.map(|repository| repository.id.to_string()) })
        }
        "repository" | "public" => read_repository(event, object(&json, "GitHub")?),
        _ => {
            let other: Other = object(&json, "GitHub")?;
            Ok(Payload::Other { what: describe(event, other.action.as_deref()) })
        }
    }
}

/// Something about the repository itself. What it is now is read from GitHub, never from here: a late delivery tells of the past.
fn read_repository(event: &str, about: AboutRepository) -> Result<Payload, Unreadable> {
    let what = match (event, about.action.as_deref()) {
        ("public", _) | (_, Some("publicized")) => "was made public",
        (_, Some("privatized")) => "was made private",
        (_, Some("renamed")) => "was renamed",
        (_, Some("transferred")) => "was moved to another owner",
        (_, Some("deleted")) => "was deleted",
        (_, Some("archived")) => "was archived",
        (_, Some("unarchived")) => "takes pushes again",
        (_, Some("edited")) if about.changes.default_branch.is_some() => "has another default branch",
        (_, Some("edited")) => "has other settings",
        (_, action) => return Ok(Payload::Other { what: describe(event, action) }),
    };
    Ok(Payload::Repository { repository_id: about.repository.id.to_string(), what: format!("the repository {what}") })
}

fn read_push(push: Push) -> Result<Payload, Unreadable> {
    let repository_id = push.repository.id.to_string();
    let unusable = |why: String| {
        let unusable = vec![UnusableRef { name: text::line(&push.name, 200), why }];
        Ok(Payload::Push { repository_id: repository_id.clone(), events: Vec::new(), unusable })
    };
    if is_queued(&push.name) {
        return unusable("it is a passing branch of the merge queue".to_owned());
    }
    let name: RefName = match push.name.parse() {
        Ok(name) => name,
        Err(error) => return unusable(text::line(&format!("{error}"), 400)),
    };
    if name.kind() == RefKind::PullRequest {
        return unusable(PUSHED_PULL_REQUEST.to_owned());
    }
    let object = |field: &str, digits: &str| {
        CommitId::parse_or_zero(digits).map_err(|error| Unreadable::new(format!("`{field}`: {}", text::line(&error.to_string(), 200))))
    };
    let before = object("before", &push.before)?;
    let after = object("after", &push.after)?;
    if after.is_none() && before.is_none() {
        return Err(Unreadable::new("both `before` and `after` are zero, expected at least one commit"));
    }
    if push.deleted.is_some_and(|deleted| deleted != after.is_none()) {
        return Err(Unreadable::new("`deleted` and `after` contradict each other"));
    }
    let head = push.head_commit.filter(|_| after.is_some());
    // For an annotated tag `after` is the tag's own object; the head commit is what it leads to.
    let after = match (&head, name.kind()) {
        (Some(head), RefKind::Tag) => Some(head.id.clone()),
        (Some(head), RefKind::Branch) if after.as_ref() != Some(&head.id) => {
            return Err(Unreadable::new("`head_commit.id` is not `after`, expected the same commit for a branch"));
        }
        _ => after,
    };
    let (commit_message, author) = match head {
        Some(head) => (head.message.map(|message| text::message(&message, 4096)), head.author.and_then(Author::shown)),
        None => (None, None),
    };
    let change = RefChange { name, before, after, commit_message, author, pusher: push.pusher.and_then(Author::shown) };
    Ok(Payload::Push { repository_id, events: vec![change], unusable: Vec::new() })
}

impl Author {
    fn shown(self) -> Option<String> {
        self.name.filter(|name| !name.is_empty()).or(self.username).map(|name| text::line(&name, 200)).filter(|name| !name.is_empty())
    }
}

fn describe(event: &str, action: Option<&str>) -> String {
    let event = text::line(event, 64);
    match action {
        _ if matches!(event.as_str(), "create" | "delete") => format!("event `{event}`: the `push` of the same ref counts"),
        Some(action) => format!("event `{event}` with action `{}`", text::line(action, 64)),
        None => format!("event `{event}`"),
    }
}

/// The JSON of a body, which is the whole of it or the field `payload` of a form, as the hook was set up.
fn json_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Unreadable> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/json" => Ok(Cow::Borrowed(body)),
        "application/x-www-form-urlencoded" => form_urlencoded::parse(body)
            .find(|(name, _)| name == "payload")
            .map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))
            .ok_or_else(|| Unreadable::new("the form has no field `payload`")),
        _ => Err(Unreadable::new(format!("the content type is `{}`, expected JSON or a form", text::line(&media_type, 80)))),
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
