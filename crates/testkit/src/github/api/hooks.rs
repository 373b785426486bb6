//! Repository webhooks: make, change, delete, ping, test, and the log of deliveries.
//! Invariant: the secret never comes back; a PATCH whose `config` has no `secret` removes it, as at GitHub.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::reply::{ApiError, ApiResult, Reply};
use super::{Call, Target, views};
use crate::github::access::Need;
use crate::github::state::{HookOf, HookRow, Repo, State};
use crate::github::types::{ContentType, Delivery, Hook};
use crate::github::webhooks;

pub(super) fn route(call: &Call, id: u64, rest: &[&str]) -> ApiResult {
    let number = |text: &str| text.parse::<u64>().map_err(|_| ApiError::not_found());
    match (&call.parts.method, rest) {
        (&Method::GET, []) => list(call, &call.target(id, Need::ReadHooks)?),
        (&Method::POST, []) => create(call, &call.target(id, Need::WriteHooks)?),
        (&Method::GET, [hook]) => show(call, &call.target(id, Need::ReadHooks)?, number(hook)?),
        (&Method::PATCH, [hook]) => change(call, &call.target(id, Need::WriteHooks)?, number(hook)?),
        (&Method::DELETE, [hook]) => delete(call, &call.target(id, Need::DeleteHooks)?, number(hook)?),
        (&Method::GET, [hook, "config"]) => config(call, &call.target(id, Need::ReadHooks)?, number(hook)?),
        (&Method::PATCH, [hook, "config"]) => change_config(call, &call.target(id, Need::WriteHooks)?, number(hook)?),
        (&Method::POST, [hook, "pings"]) => ping(call, &call.target(id, Need::ReadHooks)?, number(hook)?),
        (&Method::POST, [hook, "tests"]) => test(call, &call.target(id, Need::ReadHooks)?, number(hook)?),
        (&Method::GET, [hook, "deliveries"]) => deliveries(call, &call.target(id, Need::ReadHooks)?, number(hook)?),
        (&Method::GET, [hook, "deliveries", delivery]) => {
            one_delivery(call, &call.target(id, Need::ReadHooks)?, number(hook)?, number(delivery)?)
        }
        (&Method::POST, [hook, "deliveries", delivery, "attempts"]) => {
            redeliver(call, &call.target(id, Need::WriteHooks)?, number(hook)?, number(delivery)?)
        }
        _ => Err(ApiError::not_found()),
    }
}

/// Shows a hook row to `look`, or answers 404.
fn with_hook<T>(call: &Call, target: &Target, hook: u64, look: impl FnOnce(&mut HookRow) -> T) -> Result<T, ApiError> {
    let mut state = call.inner.state();
    state.hook_mut(&HookOf::Repository(target.id, hook)).map(look).ok_or_else(ApiError::not_found)
}

fn invalid(message: impl Into<String>) -> ApiError {
    let message: String = message.into();
    ApiError::invalid(vec![json!({ "resource": "Hook", "code": "custom", "message": message })])
}

fn strings(value: &Value, name: &str) -> Option<Vec<String>> {
    let list = value.get(name)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn text(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn content_type(config: &Value) -> Result<ContentType, ApiError> {
    match text(config, "content_type").as_deref() {
        None | Some("form") => Ok(ContentType::Form),
        Some("json") => Ok(ContentType::Json),
        Some(other) => Err(invalid(format!("content_type `{other}` is not supported"))),
    }
}

fn checked_url(url: &str) -> Result<(), ApiError> {
    match url.parse::<url::Url>() {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(()),
        _ => Err(ApiError::invalid(vec![
            json!({ "resource": "Hook", "code": "custom", "field": "url", "message": "url is missing a scheme" }),
        ])),
    }
}

fn list(call: &Call, target: &Target) -> ApiResult {
    let state = call.inner.state();
    let repo = state.repos.get(&target.id).ok_or_else(ApiError::not_found)?;
    Ok(call.query.page(&call.url, repo.hooks.iter().collect(), |row| view(call, &state, repo, row)))
}

/// A hook whose app is kept out by the organization is disabled, not deleted.
fn view(call: &Call, state: &State, repo: &Repo, row: &HookRow) -> Value {
    let mut value = call.inner.urls().hook(&state.full_name(repo), row);
    if state.stops(repo, row) {
        value["active"] = json!(false);
    }
    value
}

fn shown(call: &Call, target: &Target, hook: u64) -> Result<Value, ApiError> {
    let state = call.inner.state();
    let repo = state.repos.get(&target.id).ok_or_else(ApiError::not_found)?;
    let row = repo.hooks.iter().find(|row| row.public.id == hook).ok_or_else(ApiError::not_found)?;
    Ok(view(call, &state, repo, row))
}

/// Who pings: the person, or the owner in place of an App's bot.
fn sender(call: &Call, target: &Target) -> u64 {
    let owner = || call.inner.state().repos.get(&target.id).map_or(0, |repo| repo.owner);
    call.caller.user().unwrap_or_else(owner)
}

fn create(call: &Call, target: &Target) -> ApiResult {
    let body = &call.body;
    if text(body, "name").is_some_and(|name| name != "web") {
        return Err(invalid("name must be `web`"));
    }
    let config = body.get("config").cloned().unwrap_or_default();
    let url = text(&config, "url").ok_or_else(|| invalid("config.url is missing"))?;
    checked_url(&url)?;
    let hook = Hook {
        id: 0,
        url,
        content_type: content_type(&config)?,
        secret: text(&config, "secret").filter(|secret| !secret.is_empty()),
        insecure_ssl: text(&config, "insecure_ssl").unwrap_or_else(|| "0".to_owned()),
        events: strings(body, "events").unwrap_or_else(|| vec!["push".to_owned()]),
        active: body.get("active").and_then(Value::as_bool).unwrap_or(true),
    };
    let made_by = call.caller.app().map(str::to_owned);
    let id = webhooks::add_hook(&mut call.inner.state(), target.id, hook, made_by).map_err(invalid)?;
    let shown = shown(call, target, id)?;
    call.inner.ping(target.id, id, sender(call, target));
    let location = shown["url"].as_str().unwrap_or_default().to_owned();
    Ok(Reply::created(shown).header("location", location))
}

fn show(call: &Call, target: &Target, hook: u64) -> ApiResult {
    Ok(Reply::ok(shown(call, target, hook)?))
}

fn change(call: &Call, target: &Target, hook: u64) -> ApiResult {
    let body = &call.body;
    let mut new = with_hook(call, target, hook, |row| row.public.clone())?;
    if let Some(config) = body.get("config") {
        new.url = text(config, "url").ok_or_else(|| invalid("config.url is missing"))?;
        checked_url(&new.url)?;
        new.content_type = content_type(config)?;
        // GitHub REST, "Update a repository webhook": without `secret` in `config` the secret is removed.
        new.secret = text(config, "secret").filter(|secret| !secret.is_empty());
        new.insecure_ssl = text(config, "insecure_ssl").unwrap_or_else(|| "0".to_owned());
    }
    if let Some(events) = strings(body, "events") {
        new.events = events;
    }
    new.events.extend(strings(body, "add_events").unwrap_or_default());
    let removed = strings(body, "remove_events").unwrap_or_default();
    new.events.retain(|event| !removed.contains(event));
    new.events.sort_unstable();
    new.events.dedup();
    if let Some(active) = body.get("active").and_then(Value::as_bool) {
        new.active = active;
    }
    save(call, target, hook, new)?;
    show(call, target, hook)
}

fn save(call: &Call, target: &Target, hook: u64, new: Hook) -> Result<(), ApiError> {
    let mut state = call.inner.state();
    let now = state.now_ms();
    let repo = state.repos.get_mut(&target.id).ok_or_else(ApiError::not_found)?;
    let others = repo.hooks.iter().map(|row| &row.public).filter(|other| other.id != hook);
    webhooks::clashes(others, &new).map_err(invalid)?;
    let row = repo.hooks.iter_mut().find(|row| row.public.id == hook).ok_or_else(ApiError::not_found)?;
    row.public = new;
    row.updated_ms = now;
    Ok(())
}

fn delete(call: &Call, target: &Target, hook: u64) -> ApiResult {
    with_hook(call, target, hook, |_| ())?;
    let mut state = call.inner.state();
    let repo = state.repos.get_mut(&target.id).ok_or_else(ApiError::not_found)?;
    repo.hooks.retain(|row| row.public.id != hook);
    Ok(Reply::no_content())
}

fn config(call: &Call, target: &Target, hook: u64) -> ApiResult {
    Ok(Reply::ok(with_hook(call, target, hook, |row| views::hook_config(row))?))
}

/// `PATCH .../config` changes only what it names.
fn change_config(call: &Call, target: &Target, hook: u64) -> ApiResult {
    let body = &call.body;
    let mut new = with_hook(call, target, hook, |row| row.public.clone())?;
    if let Some(url) = text(body, "url") {
        checked_url(&url)?;
        new.url = url;
    }
    if body.get("content_type").is_some() {
        new.content_type = content_type(body)?;
    }
    if let Some(secret) = text(body, "secret") {
        new.secret = (!secret.is_empty()).then_some(secret);
    }
    if let Some(insecure_ssl) = text(body, "insecure_ssl") {
        new.insecure_ssl = insecure_ssl;
    }
    save(call, target, hook, new)?;
    config(call, target, hook)
}

fn ping(call: &Call, target: &Target, hook: u64) -> ApiResult {
    with_hook(call, target, hook, |_| ())?;
    call.inner.ping(target.id, hook, sender(call, target));
    Ok(Reply::no_content())
}

/// `POST .../tests`: the latest push once more, if the hook has seen one; 204 either way.
fn test(call: &Call, target: &Target, hook: u64) -> ApiResult {
    let last = with_hook(call, target, hook, |row| row.deliveries.iter().rev().find(|one| one.event == "push").map(|one| one.id))?;
    if let Some(delivery) = last {
        call.inner.redeliver(HookOf::Repository(target.id, hook), delivery);
    }
    Ok(Reply::no_content())
}

/// Newest first, paged by cursor.
fn deliveries(call: &Call, target: &Target, hook: u64) -> ApiResult {
    let all = with_hook(call, target, hook, |row| row.deliveries.clone())?;
    delivery_page(call, all)
}

/// One page of deliveries.
pub(super) fn delivery_page(call: &Call, mut all: Vec<Delivery>) -> ApiResult {
    all.sort_by_key(|one| std::cmp::Reverse(one.id));
    let wanted = call.query.get("status");
    all.retain(|one| match wanted {
        Some("success") => one.status_code < 400,
        Some("failure") => one.status_code >= 400,
        _ => true,
    });
    if let Some(cursor) = call.query.get("cursor") {
        let before = cursor.strip_prefix("v1_").and_then(|id| id.parse::<u64>().ok());
        let before = before.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "Invalid cursor"))?;
        all.retain(|one| one.id < before);
    }
    let per_page = call.query.per_page();
    let more = all.len() > per_page;
    all.truncate(per_page);
    let list = all.iter().map(views::delivery_item).collect();
    let reply = Reply::ok(Value::Array(list));
    match all.last() {
        Some(last) if more => {
            let next = call.query.url_with(&call.url, "cursor", &format!("v1_{}", last.id));
            Ok(reply.header("link", format!("<{next}>; rel=\"next\"")))
        }
        _ => Ok(reply),
    }
}

fn one_delivery(call: &Call, target: &Target, hook: u64, delivery: u64) -> ApiResult {
    let found = with_hook(call, target, hook, |row| {
        let found = row.deliveries.iter().find(|one| one.id == delivery).cloned();
        (row.public.url.clone(), found)
    })?;
    let (url, Some(delivery)) = found else { return Err(ApiError::not_found()) };
    Ok(Reply::ok(views::delivery(&url, &delivery)))
}

fn redeliver(call: &Call, target: &Target, hook: u64, delivery: u64) -> ApiResult {
    call.inner.redeliver(HookOf::Repository(target.id, hook), delivery).ok_or_else(ApiError::not_found)?;
    Ok(Reply::with(StatusCode::ACCEPTED, json!({})))
}
