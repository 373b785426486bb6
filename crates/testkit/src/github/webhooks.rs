//! Sends webhooks as GitHub's Hookshot does and keeps each request with its answer.
//! Invariant: ten seconds for an answer, no automatic retry; the signature covers the bytes that are sent.
//! Deliberately elsewhere: what an event says (`push`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::Inner;
use super::sign_sha256;
use super::state::{HookOf, HookRow, Outgoing, Repo, State};
use super::types::{ContentType, Delivery, Visibility, Webhooks};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How much of an answer is kept.
const ANSWER_KEPT_BYTES: usize = 64 * 1024;
/// GitHub docs, "Troubleshooting webhooks": so many hooks on a repository for one event.
const HOOKS_PER_EVENT: usize = 20;

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

/// Something that a hook is told.
pub(super) struct Event {
    pub(super) to: HookOf,
    pub(super) name: String,
    pub(super) payload: Value,
    pub(super) repository: Option<u64>,
    pub(super) installation: Option<u64>,
}

impl State {
    /// Whether an organization stops the deliveries of this hook: of a private repository, to an app that it keeps out.
    pub(super) fn stops(&self, repo: &Repo, row: &HookRow) -> bool {
        repo.visibility == Visibility::Private && row.made_by_app.as_ref().is_some_and(|app| self.keeps_app_out(repo.owner, app))
    }

    fn fires(&self, repo: &Repo, row: &HookRow, event: &str) -> bool {
        let wanted = row.public.events.iter().any(|one| one == event || one == "*") || event == "ping";
        wanted && !self.stops(repo, row) && (row.public.active || event == "ping")
    }

    fn outgoing(&mut self, event: Event) -> Outgoing {
        Outgoing {
            to: event.to,
            repository: event.repository,
            installation: event.installation,
            delivery: 20_000_000_000 + self.next_id(),
            guid: uuid::Uuid::new_v4().to_string(),
            event: event.name,
            payload: event.payload,
            redelivery: false,
        }
    }
}

impl Inner {
    /// Tells every hook that wants to hear about `event`: those of the repository, and those of Apps that reach it.
    pub(super) fn emit(self: &Arc<Self>, id: u64, event: &str, payload: &Value) {
        let told: Vec<(HookOf, Option<u64>)> = {
            let state = self.state();
            let Some(repo) = state.repos.get(&id) else { return };
            let own = repo.hooks.iter().filter(|row| state.fires(repo, row, event));
            let own = own.map(|row| (HookOf::Repository(id, row.public.id), None));
            let apps = state.apps_that_hear(repo, event).into_iter().map(|(to, installation)| (to, Some(installation)));
            own.chain(apps).collect()
        };
        for (to, installation) in told {
            let mut payload = payload.clone();
            if let Some(installation) = installation {
                let node_id = super::api::views::node_id("MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9u", installation);
                payload["installation"] = json!({ "id": installation, "node_id": node_id });
            }
            self.enqueue(Event { to, name: event.to_owned(), payload, repository: Some(id), installation });
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
        let (to, name) = (HookOf::Repository(repo, hook), "ping".to_owned());
        self.enqueue(Event { to, name, payload, repository: Some(repo), installation: None });
    }

    pub(super) fn enqueue(self: &Arc<Self>, event: Event) {
        if let Some(contract) = self.contract.get() {
            contract.judge_event(&event.name, &event.payload);
        }
        let (outgoing, mode) = {
            let mut state = self.state();
            (state.outgoing(event), state.knobs.webhooks)
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
            hook_id: request.hook,
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
            repository_id: outgoing.repository,
            installation_id: outgoing.installation,
        };
        match call.send().await {
            Ok(answer) => read_answer(answer, &mut delivery).await,
            Err(error) if error.is_timeout() => fail(&mut delivery, 504, "timed out"),
            Err(_) => fail(&mut delivery, 502, "failed to connect to host"),
        }
        delivery.duration = (started.elapsed().as_secs_f64() * 100.0).round() / 100.0;
        let mut state = self.state();
        // The hook may have been deleted while the request was under way.
        if let Some(row) = state.hook_mut(&outgoing.to) {
            let healthy = (200..300).contains(&delivery.status_code);
            row.last_response =
                (Some(delivery.status_code), if healthy { "active" } else { "misconfigured" }.to_owned(), Some(delivery.status.clone()));
            row.deliveries.push(delivery);
        }
    }

    fn compose(&self, outgoing: &Outgoing) -> Option<HookRequest> {
        let mut state = self.state();
        let hook = state.hook_mut(&outgoing.to)?.public.clone();
        let (kind, target) = match &outgoing.to {
            HookOf::Repository(repo, _) => ("repository", *repo),
            HookOf::App(client_id) => ("integration", state.github_app(client_id)?.1.id),
        };
        let json = outgoing.payload.to_string();
        let (content_type, body) = match hook.content_type {
            ContentType::Json => ("application/json", json),
            ContentType::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("payload", &json);
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        if body.len() > state.knobs.payload_max_bytes {
            return None;
        }
        let mut headers = vec![
            ("Accept".to_owned(), "*/*".to_owned()),
            ("Content-Type".to_owned(), content_type.to_owned()),
            ("User-Agent".to_owned(), "GitHub-Hookshot/d54209a".to_owned()),
            ("X-GitHub-Delivery".to_owned(), outgoing.guid.clone()),
            ("X-GitHub-Event".to_owned(), outgoing.event.clone()),
            ("X-GitHub-Hook-ID".to_owned(), hook.id.to_string()),
            ("X-GitHub-Hook-Installation-Target-ID".to_owned(), target.to_string()),
            ("X-GitHub-Hook-Installation-Target-Type".to_owned(), kind.to_owned()),
        ];
        if let Some(secret) = &hook.secret {
            headers.push(("X-Hub-Signature".to_owned(), format!("sha1={}", sign_sha1(secret, body.as_bytes()))));
            headers.push(("X-Hub-Signature-256".to_owned(), format!("sha256={}", sign_sha256(secret, body.as_bytes()))));
        }
        Some(HookRequest { hook: hook.id, url: hook.url, headers, body })
    }

    /// Repeats a delivery: same GUID and payload, new id (`POST .../deliveries/{id}/attempts`).
    pub(super) fn redeliver(self: &Arc<Self>, to: HookOf, delivery: u64) -> Option<()> {
        let outgoing = {
            let mut state = self.state();
            let old = state.hook_mut(&to)?.deliveries.iter().find(|one| one.id == delivery)?.clone();
            Outgoing {
                to,
                repository: old.repository_id,
                installation: old.installation_id,
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
    hook: u64,
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
pub(super) fn add_hook(state: &mut State, repo: u64, mut hook: super::types::Hook, made_by_app: Option<String>) -> Result<u64, String> {
    let id = 400_000_000 + state.next_id();
    let now = state.now_ms();
    let Some(repo) = state.repos.get_mut(&repo) else {
        return Err("Repository is gone".to_owned());
    };
    clashes(repo.hooks.iter().map(|row| &row.public), &hook)?;
    hook.id = id;
    repo.hooks.push(HookRow { made_by_app, ..HookRow::new(hook, now) });
    Ok(id)
}

/// GitHub's two limits: no second hook for the same address and event, and 20 hooks for an event.
pub(super) fn clashes<'a>(others: impl Iterator<Item = &'a super::types::Hook>, hook: &super::types::Hook) -> Result<(), String> {
    let others: Vec<_> = others.collect();
    let same = |other: &super::types::Hook| other.url == hook.url && other.content_type == hook.content_type;
    if others.iter().any(|other| same(other) && other.events.iter().any(|event| hook.events.contains(event))) {
        return Err("Hook already exists on this repository".to_owned());
    }
    let full = |event: &&String| others.iter().filter(|other| other.events.contains(event)).count() >= HOOKS_PER_EVENT;
    match hook.events.iter().find(full) {
        Some(event) => Err(format!("The \"{event}\" event cannot have more than 20 hooks")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::api::views;

    #[test]
    fn masked_secret_is_all_the_api_shows() {
        let hook = super::super::types::Hook {
            id: 1,
            url: "http://example.test/".to_owned(),
            content_type: ContentType::Form,
            secret: Some("hidden".to_owned()),
            insecure_ssl: "0".to_owned(),
            events: vec!["push".to_owned()],
            active: true,
        };
        let row = HookRow::new(hook, 0);
        assert_eq!(views::hook_config(&row)["secret"], "********");
    }
}
