//! What every value and every error of a client promises to who keeps it and shows it.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use slipway_forge::{
    ForgeError, Fresh, Grant, Heads, Person, PullRequestChange, PullRequestHead, PullRequestOrigin, RemoteDelivery, RemoteHook, RemoteKey,
    SourceNamespace, SourceRepository,
};
use slipway_model::ProviderKind;

use super::place::Place;
use super::presentable;

pub fn changed<T>(fresh: Fresh<T>, look: impl FnOnce(T)) {
    match fresh {
        Fresh::Unchanged => {}
        Fresh::Changed { value, marker } => {
            // A database column and a header of the next request.
            presentable(marker.as_deref().unwrap_or_default(), 11_000);
            look(value);
        }
    }
}

pub fn person(found: &Person) {
    assert!(!found.id.is_empty());
    presentable(&found.login, 200);
    presentable(found.name.as_deref().unwrap_or_default(), 200);
    assert!(found.avatar_url.as_ref().is_none_or(|url| matches!(url.scheme(), "http" | "https")));
    scopes(&found.scopes);
}

fn scopes(found: &[String]) {
    assert!(found.len() <= 100);
    found.iter().for_each(|scope| presentable(scope, 100));
}

pub fn namespaces(place: &Place, found: &[SourceNamespace]) {
    assert!((1..=1001).contains(&found.len()));
    for one in found {
        presentable(&one.name, 120);
        presentable(one.note.as_deref().unwrap_or_default(), 500);
        assert!(one.grant_url.as_ref().is_none_or(|url| url.origin() == place.web), "{one:?}");
    }
}

pub fn repository(place: &Place, found: &SourceRepository) {
    presentable(&found.id, 40);
    presentable(&found.default_branch, 1024);
    presentable(found.pushed.as_deref().unwrap_or_default(), 60);
    let parts: Vec<&str> = found.full_name.split('/').collect();
    assert!(parts.len() == 2 && parts.iter().all(|part| !matches!(*part, "" | "." | "..") && part.is_ascii()), "{}", found.full_name);
    assert_eq!(found.web_url.origin(), place.web);
}

pub fn heads(place: &Place, found: &Heads) {
    let queued = found.refs.iter().any(|head| head.name.as_str().starts_with("refs/heads/gh-readonly-queue/"));
    assert!(!queued || place.client.provider().kind != ProviderKind::GitHub);
}

pub fn pull_request(found: &PullRequestChange) {
    presentable(&found.title, 200);
    assert!(found.origin != PullRequestOrigin::Internal || found.kept_at.is_some(), "{found:?}");
    assert!(!matches!(&found.head, PullRequestHead::Abbreviated(digits) if digits.len() < 7), "{found:?}");
}

pub fn hook_as_it_stands(found: &RemoteHook) {
    presentable(&found.id, 40);
    presentable(&found.url, 2048);
    assert!(found.events.len() <= 200);
    found.events.iter().for_each(|event| presentable(event, 100));
    presentable(found.last_delivery.as_ref().map_or("", |last| &last.words), 200);
}

pub fn delivery(found: &RemoteDelivery) {
    presentable(&found.id, 40);
    presentable(&found.delivery_id, 128);
    presentable(&found.event, 128);
    presentable(&found.outcome.words, 200);
    assert!(found.outcome.status.is_none_or(|status| (100..=999).contains(&status)));
}

pub fn key_as_it_stands(found: &RemoteKey) {
    presentable(&found.id, 40);
    presentable(&found.title, 200);
    presentable(&found.public_key, 4096);
}

pub fn grant(found: &Grant) {
    for token in std::iter::once(&found.access_token).chain(&found.refresh_token) {
        let token = token.expose_secret();
        assert!((1..=32 * 1024).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic()), "{} bytes", token.len());
    }
    assert!(found.expires_in.is_none_or(|life| life > Duration::ZERO));
    scopes(&found.scopes);
}

/// An error that can be kept, shown and acted on; whatever the answer repeats of the secrets that were sent for it.
pub fn sound(place: &Place, sent: &[&str], error: &ForgeError) {
    presentable(&error.to_string(), 3000);
    let everything = format!("{error} {error:?}");
    assert!(sent.iter().all(|secret| !everything.contains(secret)), "{everything}");
    match error {
        ForgeError::RateLimited { retry_after } => assert!((1..=3600).contains(&retry_after.as_secs()), "{retry_after:?}"),
        ForgeError::Restricted { grant_url: Some(url), .. } => assert_eq!(url.origin(), place.web, "{url}"),
        ForgeError::Unexpected { status, .. } => assert_eq!(error.is_temporary(), *status >= 500),
        _ => {}
    }
}
