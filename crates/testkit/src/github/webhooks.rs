//! Sends webhooks as GitHub's Hookshot does and keeps each request with its answer.
//! Invariant: ten seconds for an answer, no automatic retry; the signature covers the bytes that are sent.
//! Deliberately elsewhere: what an event says (`push`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::Inner;
use super::sign_sha256;
use super::state::{HookRow, Outgoing, State};
use super::types::{ContentType, Delivery, Visibility, Webhooks};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How much of an answer is kept.
const ANSWER_KEPT_BYTES: usize = 64 * 1024;
/// Payloads over this are not delivered.
const PAYLOAD_MAX_BYTES: usize = 25 * 1024 * 1024;

/// Counts a delivery under way until it is dropped, so that `settle` can wait for all of them.
pub(super) struct UnderWay(Arc<Inner>);

impl UnderWay {
    pub(super) fn begin(inner: &Arc<Inner>) -> Self {
        inner.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}

fn fires(state: &State, repo: u64, row: &HookRow, event: &str) -> bool {
    let wanted = row.public.events.iter().any(|one| one == event || one == "*") || event == "ping";
    // A restricted organization stops deliveries of private repositories to hooks of apps that it has not approved.
    let kept_out = state.repos.get(&repo).is_some_and(|repo| {
        repo.visibility == Visibility::Private
            && match (state.organization(repo.owner), &row.made_by_app) {
                (Some(organization), Some(app)) => organization.restricted && !organization.approved_apps.contains(app),
                _ => false,
            }
    });
    wanted && !kept_out && (row.public.active || event == "ping")
}

impl Inner {
    /// Tells every hook of the repository that wants to hear about `event`.
    pub(super) fn emit(self: &Arc<Self>, repo: u64, event: &str, payload: &Value) {
        let hooks: Vec<u64> = {
            let state = self.state();
            let rows = state.repos.get(&repo).map(|repo| repo.hooks.as_slice()).unwrap_or_default();
            rows.iter().filter(|row| fires(&state, repo, row, event)).map(|row| row.public.id).collect()
        };
        for hook in hooks {
            self.enqueue(repo, hook, event, payload.clone());
        }
    }

    /// Sends a `ping` to one hook, as after its creation.
    pub(super) fn ping(self: &Arc<Self>, repo: u64, hook: u64, sender: u64) {
        let payload = {
            let state = self.state();
            let Some(repo) = state.repos.get(&repo) else { return };
            let Some(row) = repo.hooks.iter().find(|row| row.public.id == hook) else { return };
            json!({
                "zen": "Approachable is better than simple.", "hook_id": hook,
                "hook": self.urls().hook(&state.full_name(repo), row),
                "repository": self.urls().repository(&state, repo, None),
                "sender": state.accounts.get(&sender).map(|sender| self.urls().simple_user(sender)),
            })
        };
        self.enqueue(repo, hook, "ping", payload);
    }

    fn enqueue(self: &Arc<Self>, repo: u64, hook: u64, event: &str, payload: Value) {
        let (outgoing, mode) = {
            let mut state = self.state();
            let outgoing = Outgoing {
                repo,
                hook,
                delivery: 20_000_000_000 + state.next_id(),
                guid: uuid::Uuid::new_v4().to_string(),
                event: event.to_owned(),
                payload,
                redelivery: false,
            };
            (outgoing, state.knobs.webhooks)
        };
        match mode {
            Webhooks::Drop => {}
            Webhooks::Deliver => self.send_in_background(outgoing),
            Webhooks::Twice => {
                let mut again = outgoing.clone();
                again.delivery = 20_000_000_000 + self.state().next_id();
                self.send_in_background(outgoing);
                self.send_in_background(again);
            }
            Webhooks::Hold => self.state().held.push(outgoing),
        }
    }

    pub(super) fn send_in_background(self: &Arc<Self>, outgoing: Outgoing) {
        let guard = UnderWay::begin(self);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            inner.send(outgoing).await;
            drop(guard);
        });
    }

    /// Makes the request and records it.
    pub(super) async fn send(self: &Arc<Self>, outgoing: Outgoing) {
        let Some(request) = self.compose(&outgoing) else { return };
        let started = Instant::now();
        let mut call = self.http.post(&request.url).timeout(ANSWER_WITHIN).body(request.body);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        let mut delivery = Delivery {
            id: outgoing.delivery,
            guid: outgoing.guid.clone(),
            hook_id: outgoing.hook,
            event: outgoing.event.clone(),
            action: outgoing.payload.get("action").and_then(Value::as_str).map(str::to_owned),
            delivered_ms: self.state().now_ms(),
            redelivery: outgoing.redelivery,
            duration: 0.0,
            status: String::new(),
            status_code: 0,
            request_headers: request.headers,
            payload: outgoing.payload,
            response_headers: Vec::new(),
            response_body: String::new(),
        };
        match call.send().await {
            Ok(answer) => read_answer(answer, &mut delivery).await,
            Err(error) if error.is_timeout() => fail(&mut delivery, 504, "timed out"),
            Err(_) => fail(&mut delivery, 502, "failed to connect to host"),
        }
        delivery.duration = (started.elapsed().as_secs_f64() * 100.0).round() / 100.0;
        let mut state = self.state();
        // The hook may have been deleted while the request was under way.
        if let Some(row) = state.hook_mut(outgoing.repo, outgoing.hook) {
            let healthy = (200..300).contains(&delivery.status_code);
            row.last_response =
                (Some(delivery.status_code), if healthy { "active" } else { "misconfigured" }.to_owned(), Some(delivery.status.clone()));
            row.deliveries.push(delivery);
        }
    }

    fn compose(&self, outgoing: &Outgoing) -> Option<HookRequest> {
        let mut state = self.state();
        let row = state.hook_mut(outgoing.repo, outgoing.hook)?;
        let hook = row.public.clone();
        let json = outgoing.payload.to_string();
        let (content_type, body) = match hook.content_type {
            ContentType::Json => ("application/json", json),
            ContentType::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("payload", &json);
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        if body.len() > PAYLOAD_MAX_BYTES {
            return None;
        }
        let mut headers = vec![
            ("Accept".to_owned(), "*/*".to_owned()),
            ("Content-Type".to_owned(), content_type.to_owned()),
            ("User-Agent".to_owned(), "GitHub-Hookshot/d54209a".to_owned()),
            ("X-GitHub-Delivery".to_owned(), outgoing.guid.clone()),
            ("X-GitHub-Event".to_owned(), outgoing.event.clone()),
            ("X-GitHub-Hook-ID".to_owned(), hook.id.to_string()),
            ("X-GitHub-Hook-Installation-Target-ID".to_owned(), outgoing.repo.to_string()),
            ("X-GitHub-Hook-Installation-Target-Type".to_owned(), "repository".to_owned()),
        ];
        if let Some(secret) = &hook.secret {
            headers.push(("X-Hub-Signature".to_owned(), format!("sha1={}", sign_sha1(secret, body.as_bytes()))));
            headers.push(("X-Hub-Signature-256".to_owned(), format!("sha256={}", sign_sha256(secret, body.as_bytes()))));
        }
        Some(HookRequest { url: hook.url, headers, body })
    }

    /// Repeats a delivery: same GUID and payload, new id (`POST .../deliveries/{id}/attempts`).
    pub(super) fn redeliver(self: &Arc<Self>, repo: u64, hook: u64, delivery: u64) -> Option<()> {
        let outgoing = {
            let mut state = self.state();
            let row = state.hook_mut(repo, hook)?;
            let old = row.deliveries.iter().find(|one| one.id == delivery)?.clone();
            Outgoing {
                repo,
                hook,
                delivery: 20_000_000_000 + state.next_id(),
                guid: old.guid,
                event: old.event,
                payload: old.payload,
                redelivery: true,
            }
        };
        self.send_in_background(outgoing);
        Some(())
    }
}

struct HookRequest {
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

async fn read_answer(mut answer: reqwest::Response, delivery: &mut Delivery) {
    delivery.status_code = answer.status().as_u16();
    delivery.status =
        if answer.status().is_success() { "OK".to_owned() } else { format!("Invalid HTTP Response: {}", delivery.status_code) };
    delivery.response_headers =
        answer.headers().iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect();
    let mut body = Vec::new();
    while body.len() < ANSWER_KEPT_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) if error.is_timeout() => return fail(delivery, 504, "timed out"),
            Err(_) => return fail(delivery, 502, "failed to connect to host"),
        }
    }
    body.truncate(ANSWER_KEPT_BYTES);
    delivery.response_body = String::from_utf8_lossy(&body).into_owned();
}

fn fail(delivery: &mut Delivery, code: u16, status: &str) {
    delivery.status_code = code;
    delivery.status = status.to_owned();
}

/// Hex of HMAC-SHA1, the value after `sha1=`.
pub fn sign_sha1(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Adds a hook to a repository after GitHub's checks; the error is the text of a 422.
pub(super) fn add_hook(
    state: &mut State,
    repo: u64,
    mut hook: super::types::Hook,
    made_by_app: Option<String>,
) -> Result<u64, &'static str> {
    let id = 400_000_000 + state.next_id();
    let now = state.now_ms();
    let Some(repo) = state.repos.get_mut(&repo) else {
        return Err("Repository is gone");
    };
    clashes(repo.hooks.iter().map(|row| &row.public), &hook)?;
    hook.id = id;
    repo.hooks.push(HookRow {
        public: hook,
        made_by_app,
        created_ms: now,
        updated_ms: now,
        last_response: (None, "unused".to_owned(), None),
        deliveries: Vec::new(),
    });
    Ok(id)
}

/// GitHub's two limits: no second hook for the same address and event, and 20 hooks for an event.
pub(super) fn clashes<'a>(others: impl Iterator<Item = &'a super::types::Hook>, hook: &super::types::Hook) -> Result<(), &'static str> {
    let mut same_event = 0;
    for other in others {
        let overlaps = other.events.iter().any(|event| hook.events.contains(event));
        if overlaps && other.url == hook.url && other.content_type == hook.content_type {
            return Err("Hook already exists on this repository");
        }
        same_event += usize::from(overlaps);
    }
    if same_event >= 20 {
        return Err("The \"push\" event cannot have more than 20 hooks");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::api::views;

    #[test]
    fn masked_secret_is_all_the_api_shows() {
        let row = HookRow {
            public: super::super::types::Hook {
                id: 1,
                url: "http://example.test/".to_owned(),
                content_type: ContentType::Form,
                secret: Some("hidden".to_owned()),
                insecure_ssl: "0".to_owned(),
                events: vec!["push".to_owned()],
                active: true,
            },
            made_by_app: None,
            created_ms: 0,
            updated_ms: 0,
            last_response: (None, "unused".to_owned(), None),
            deliveries: Vec::new(),
        };
        assert_eq!(views::hook_config(&row)["secret"], "********");
    }
}
