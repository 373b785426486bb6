//! Repository webhooks: list, make, look at, change, delete.
//! Invariant: the secret never comes back; a PUT without `secret` keeps it, an empty or null one removes it.

use axum::http::Method;
use serde_json::Value;

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target, text};
use crate::bitbucket::state::{HookRow, new_uuid};
use crate::bitbucket::types::{Hook, HookAddresses, Permission};

/// Longest secret (description, `webhook_subscription`).
const SECRET_MAX: usize = 128;
/// What a repository's hook may listen to (description, `webhook_subscription`).
const EVENTS: &[&str] = &[
    "issue:comment_created",
    "issue:created",
    "issue:updated",
    "pipeline:span_created",
    "project:updated",
    "pullrequest:approved",
    "pullrequest:changes_request_created",
    "pullrequest:changes_request_removed",
    "pullrequest:comment_created",
    "pullrequest:comment_deleted",
    "pullrequest:comment_reopened",
    "pullrequest:comment_resolved",
    "pullrequest:comment_updated",
    "pullrequest:created",
    "pullrequest:fulfilled",
    "pullrequest:push",
    "pullrequest:rejected",
    "pullrequest:unapproved",
    "pullrequest:updated",
    "repo:commit_comment_created",
    "repo:commit_status_created",
    "repo:commit_status_updated",
    "repo:created",
    "repo:deleted",
    "repo:fork",
    "repo:imported",
    "repo:push",
    "repo:transfer",
    "repo:updated",
];

pub(super) fn route(call: &Call, id: u64, rest: &[&str]) -> ApiResult {
    let target = call.target(id, Permission::Admin)?;
    match (&call.method, rest) {
        (&Method::GET, []) => list(call, &target),
        (&Method::POST, []) => create(call, &target),
        (&Method::GET, [uuid]) => show(call, &target, &braced(uuid)),
        (&Method::PUT, [uuid]) => change(call, &target, &braced(uuid)),
        (&Method::DELETE, [uuid]) => delete(call, &target, &braced(uuid)),
        _ => Err(call.not_served(rest)),
    }
}

/// Bitbucket takes a hook's uuid with and without braces.
fn braced(uuid: &str) -> String {
    if uuid.starts_with('{') { uuid.to_owned() } else { format!("{{{uuid}}}") }
}

fn missing(uuid: &str) -> ApiError {
    ApiError::not_found(format!("No such webhook: {uuid}"))
}

fn list(call: &Call, target: &Target) -> ApiResult {
    let all = call.look(target, |state, repo| repo.hooks.iter().map(|row| call.inner.urls().hook(state, repo, row)).collect())?;
    call.query.page_of(&call.url, all)
}

fn show(call: &Call, target: &Target, uuid: &str) -> ApiResult {
    let view = call.look(target, |state, repo| {
        repo.hooks.iter().find(|row| row.public.uuid == uuid).map(|row| call.inner.urls().hook(state, repo, row))
    })?;
    Ok(Reply::ok(view.ok_or_else(|| missing(uuid))?))
}

/// Takes over what the body names. `null` and an empty text remove the secret.
fn apply(call: &Call, hook: &mut Hook) -> Result<(), ApiError> {
    let body = &call.body;
    if let Some(url) = text(body, "url") {
        check_url(&url, call.inner.state().knobs.hook_addresses)?;
        hook.url = url;
    }
    if let Some(description) = text(body, "description") {
        hook.description = description;
    }
    if let Some(active) = body.get("active").and_then(Value::as_bool) {
        hook.active = active;
    }
    match body.get("secret") {
        None => {}
        Some(Value::String(secret)) if secret.chars().count() > SECRET_MAX => {
            return Err(ApiError::fields(&[("secret", "Ensure this value has at most 128 characters.")]));
        }
        Some(secret) => hook.secret = secret.as_str().filter(|secret| !secret.is_empty()).map(str::to_owned),
    }
    if let Some(events) = body.get("events").and_then(Value::as_array) {
        let mut names: Vec<String> = events.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != events.len() || names.iter().any(|name| !EVENTS.contains(&name.as_str())) {
            return Err(ApiError::fields(&[("events", "Invalid event.")]));
        }
        hook.events = names;
    }
    if hook.events.is_empty() {
        return Err(ApiError::fields(&[("events", "This field is required.")]));
    }
    hook.events.iter().try_for_each(|event| call.caller.require(scope_of(event)))
}

/// "This call requires the webhook scope, as well as any scope that applies to the events."
fn scope_of(event: &str) -> &'static [&'static str] {
    match event.split(':').next() {
        Some("pullrequest") => &["pullrequest"],
        Some("issue") => &["issue"],
        Some("pipeline") => &["pipeline"],
        Some("project") => &["project"],
        _ => &["repository"],
    }
}

fn check_url(url: &str, allowed: HookAddresses) -> Result<(), ApiError> {
    let bad = |why: &str| Err(ApiError::fields(&[("url", why)]));
    let Some(parsed) = url.parse::<url::Url>().ok().filter(|url| ["http", "https"].contains(&url.scheme())) else {
        return bad("Enter a valid URL.");
    };
    let internal = match parsed.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
        Some(url::Host::Domain(name)) => name == "localhost" || !name.contains('.'),
        None => true,
    };
    if internal && allowed == HookAddresses::Public { bad("The URL must be a public address.") } else { Ok(()) }
}

fn create(call: &Call, target: &Target) -> ApiResult {
    if text(&call.body, "url").is_none() {
        return Err(ApiError::fields(&[("url", "This field is required.")]));
    }
    let mut hook =
        Hook { uuid: new_uuid(), url: String::new(), description: String::new(), secret: None, events: Vec::new(), active: true };
    apply(call, &mut hook)?;
    let created_ms = call.inner.state().now_ms();
    let row = HookRow { public: hook, created_ms, deliveries: Vec::new() };
    let view = call.look(target, |state, repo| call.inner.urls().hook(state, repo, &row))?;
    call.change(target, |repo| repo.hooks.push(row))?;
    let location = view["links"]["self"]["href"].as_str().unwrap_or_default().to_owned();
    Ok(Reply::created(view).header("location", location))
}

fn change(call: &Call, target: &Target, uuid: &str) -> ApiResult {
    let found = call.look(target, |_, repo| repo.hooks.iter().find(|row| row.public.uuid == uuid).map(|row| row.public.clone()))?;
    let mut hook = found.ok_or_else(|| missing(uuid))?;
    apply(call, &mut hook)?;
    call.change(target, |repo| {
        if let Some(row) = repo.hooks.iter_mut().find(|row| row.public.uuid == uuid) {
            row.public = hook;
        }
    })?;
    show(call, target, uuid)
}

fn delete(call: &Call, target: &Target, uuid: &str) -> ApiResult {
    let gone = call.change(target, |repo| {
        let before = repo.hooks.len();
        repo.hooks.retain(|row| row.public.uuid != uuid);
        repo.hooks.len() < before
    })?;
    if gone { Ok(Reply::no_content()) } else { Err(missing(uuid)) }
}
