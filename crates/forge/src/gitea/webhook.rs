//! Deliveries of Gitea, Forgejo and Gogs: the signature, and what a body says.
//!
//! Invariant: no body makes this panic; what is missing or odd is [`Unreadable`] with the reason. Only the headers of one family count:
//! these senders also set those of their ancestors and of GitHub.
//! Deliberately elsewhere: whether the repository id is that of the hook, and whether the delivery was seen before. A webhook that sends
//! GET has no body that could be verified: the route does not take it.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::{CommitId, RefKind, RefName};

use crate::delivery::{check_sha256, object, signature, word};
use crate::webhook::{PUSHED_PULL_REQUEST, Payload, RefChange, Refusal, Unreadable, UnusableRef, Verified};
use crate::{pull_requests, text};

/// The headers of one member of the family.
struct Family {
    event: &'static str,
    delivery: &'static str,
    signature: &'static str,
}

/// The youngest first: each also sends the headers of those behind it.
const FAMILIES: [Family; 3] = [
    Family { event: "X-Forgejo-Event", delivery: "X-Forgejo-Delivery", signature: "X-Forgejo-Signature" },
    Family { event: "X-Gitea-Event", delivery: "X-Gitea-Delivery", signature: "X-Gitea-Signature" },
    Family { event: "X-Gogs-Event", delivery: "X-Gogs-Delivery", signature: "X-Gogs-Signature" },
];

pub(super) fn verify(headers: &HeaderMap, body: &[u8], secrets: &[SecretString]) -> Result<Verified, Refusal> {
    let family = FAMILIES.iter().find(|family| headers.contains_key(family.event)).ok_or(Refusal::MissingHeader("X-Gitea-Event"))?;
    let digits = signature(headers, family.signature, Refusal::MissingSignature)?;
    // A hook without a secret sends the header, but empty.
    if digits.is_empty() {
        return Err(Refusal::MissingSignature);
    }
    // Unlike GitHub's, the signature of a form is over the JSON in it.
    let json = json_of(headers, body).map_err(|_| Refusal::BadSignature)?;
    check_sha256(digits, &json, secrets)?;
    Ok(Verified { event: word(headers, family.event)?, delivery_id: word(headers, family.delivery)? })
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    name: String,
    before: String,
    after: String,
    repository: Repository,
    head_commit: Option<Commit>,
    commits: Option<Vec<Commit>>,
    pusher: Option<Account>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    message: Option<String>,
    author: Option<Account>,
}

/// A person, as the author of a commit or as an account.
#[derive(Deserialize)]
struct Account {
    name: Option<String>,
    full_name: Option<String>,
    login: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
}

#[derive(Deserialize)]
struct Other {
    action: Option<String>,
    repository: Option<MaybeRepository>,
}

/// Of events that start nothing, also what has no id is read.
#[derive(Deserialize)]
struct MaybeRepository {
    id: Option<u64>,
}

pub(super) fn read(event: &str, headers: &HeaderMap, body: &[u8]) -> Result<Payload, Unreadable> {
    let json = json_of(headers, body)?;
    match event {
        "push" => return read_push(object(&json, "Gitea")?),
        "pull_request" => return pull_requests::read(object(&json, "Gitea")?),
        _ => {}
    }
    let other: Other = object(&json, "Gitea")?;
    let what = describe(event, other.action.as_deref());
    match (event, other.repository.and_then(|repository| repository.id)) {
        ("repository", Some(id)) => Ok(Payload::Repository { repository_id: id.to_string(), what }),
        _ => Ok(Payload::Other { what }),
    }
}

fn read_push(push: Push) -> Result<Payload, Unreadable> {
    let repository_id = push.repository.id.to_string();
    let name: RefName = match push.name.parse() {
        Ok(name) => name,
        Err(error) => {
            let unusable = vec![UnusableRef { name: text::line(&push.name, 200), why: text::line(&format!("{error}"), 400) }];
            return Ok(Payload::Push { repository_id, events: Vec::new(), unusable });
        }
    };
    if name.kind() == RefKind::PullRequest {
        let unusable = vec![UnusableRef { name: name.to_string(), why: PUSHED_PULL_REQUEST.to_owned() }];
        return Ok(Payload::Push { repository_id, events: Vec::new(), unusable });
    }
    let object_id = |field: &str, digits: &str| {
        CommitId::parse_or_zero(digits).map_err(|error| Unreadable::new(format!("`{field}`: {}", text::line(&error.to_string(), 200))))
    };
    let before = object_id("before", &push.before)?;
    let after = object_id("after", &push.after)?;
    if after.is_none() && before.is_none() {
        return Err(Unreadable::new("both `before` and `after` are zero, expected at least one commit"));
    }
    // Gitea before 1.14 and Gogs have no `head_commit`; the list has the newest first, and is cut at 15.
    let mut commits = push.head_commit.into_iter().chain(push.commits.unwrap_or_default());
    let head = after.as_ref().and_then(|after| match name.kind() {
        RefKind::Branch => commits.find(|commit| commit.id == after.as_str()),
        // For an annotated tag `after` is the tag's own object; the head commit is what it leads to.
        RefKind::Tag | RefKind::PullRequest => commits.next(),
    });
    let after = match (&head, name.kind()) {
        (Some(head), RefKind::Tag) => object_id("head_commit.id", &head.id)?,
        _ => after,
    };
    let (commit_message, author) = match head {
        Some(head) => (head.message.map(|message| text::message(&message, 4096)), head.author.and_then(Account::shown)),
        None => (None, None),
    };
    let change = RefChange { name, before, after, commit_message, author, pusher: push.pusher.and_then(Account::shown) };
    Ok(Payload::Push { repository_id, events: vec![change], unusable: Vec::new() })
}

impl Account {
    fn shown(self) -> Option<String> {
        let names = [self.name, self.full_name, self.login, self.username].into_iter().flatten();
        names.map(|name| text::line(&name, 200)).find(|name| !name.is_empty())
    }
}

fn describe(event: &str, action: Option<&str>) -> String {
    let event = text::line(event, 64);
    match (event.as_str(), action) {
        ("create", _) => "event `create`: the `push` of the same ref counts".to_owned(),
        ("delete", _) => "event `delete`: of a ref that is gone nothing is built".to_owned(),
        (_, Some(action)) => format!("event `{event}` with action `{}`", text::line(action, 64)),
        (_, None) => format!("event `{event}`"),
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
