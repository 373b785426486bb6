//! Sends webhooks as Bitbucket does and keeps each request with its answer.
//! Invariant: ten seconds for an answer; after a 5xx at most two more attempts at once, with the same `X-Request-UUID`; a
//! payload over 256 KB is not sent and nobody is told; the signature covers the bytes that are sent.
//! Deliberately elsewhere: what an event says (`payloads`).

use std::sync::Arc;

use serde_json::Value;

use super::Inner;
use super::state::Outgoing;
use super::types::{Delivery, Webhooks};
use crate::provider::sign_sha256;

/// The first attempt and two more.
const ATTEMPTS: u32 = 3;
/// Payloads over this are not delivered.
const PAYLOAD_MAX_BYTES: usize = 256 * 1024;

/// Counts a delivery under way until it is dropped, so that `settle` can wait for all of them.
struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn begin(inner: &Arc<Inner>) -> Self {
        inner.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}

impl Inner {
    /// Tells every hook of the repository that wants to hear about `event`.
    pub(super) fn emit(self: &Arc<Self>, repo: u64, event: &str, payload: &Value) {
        let (hooks, mode) = {
            let state = self.state();
            let rows = state.repos.get(&repo).map(|repo| repo.hooks.as_slice()).unwrap_or_default();
            let wanted = rows.iter().map(|row| &row.public).filter(|hook| hook.active && hook.events.iter().any(|one| one == event));
            (wanted.map(|hook| hook.uuid.clone()).collect::<Vec<_>>(), state.knobs.webhooks)
        };
        for hook in hooks {
            let request_uuid = uuid::Uuid::new_v4().to_string();
            let outgoing = Outgoing { repo, hook, request_uuid, event: event.to_owned(), payload: payload.clone() };
            match mode {
                Webhooks::Drop => {}
                Webhooks::Deliver => self.send_in_background(outgoing),
                Webhooks::Twice => {
                    self.send_in_background(outgoing.clone());
                    self.send_in_background(outgoing);
                }
                Webhooks::Hold => self.state().held.push(outgoing),
            }
        }
    }

    fn send_in_background(self: &Arc<Self>, outgoing: Outgoing) {
        let guard = UnderWay::begin(self);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            inner.send(&outgoing).await;
            drop(guard);
        });
    }

    /// Makes the request, again after a 5xx, and records each attempt.
    pub(super) async fn send(&self, outgoing: &Outgoing) {
        for attempt in 1..=ATTEMPTS {
            let status = self.attempt(outgoing, attempt).await;
            if status.is_none_or(|status| status < 500) {
                return;
            }
        }
    }

    async fn attempt(&self, outgoing: &Outgoing, attempt: u32) -> Option<u16> {
        let body = outgoing.payload.to_string();
        if body.len() > PAYLOAD_MAX_BYTES {
            return None;
        }
        let (hook, sent_ms, within) = {
            let mut state = self.state();
            let (now, within) = (state.now_ms(), state.knobs.hook_timeout);
            (state.hook_mut(outgoing.repo, &outgoing.hook)?.public.clone(), now, within)
        };
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("User-Agent".to_owned(), "Bitbucket-Webhooks/2.0".to_owned()),
            ("X-Attempt-Number".to_owned(), attempt.to_string()),
            ("X-Event-Key".to_owned(), outgoing.event.clone()),
            ("X-Hook-UUID".to_owned(), hook.uuid.trim_matches(['{', '}']).to_owned()),
            ("X-Request-UUID".to_owned(), outgoing.request_uuid.clone()),
        ];
        if let Some(secret) = &hook.secret {
            headers.push(("X-Hub-Signature".to_owned(), format!("sha256={}", sign_sha256(secret, body.as_bytes()))));
        }
        let mut call = self.http.post(&hook.url).timeout(within).body(body);
        for (name, value) in &headers {
            call = call.header(name, value);
        }
        let status_code = call.send().await.ok().map(|answer| answer.status().as_u16());
        let delivery = Delivery {
            hook: hook.uuid,
            request_uuid: outgoing.request_uuid.clone(),
            attempt,
            event: outgoing.event.clone(),
            sent_ms,
            status_code,
            request_headers: headers,
            payload: outgoing.payload.clone(),
        };
        // The hook may have been deleted while the request was under way.
        if let Some(row) = self.state().hook_mut(outgoing.repo, &outgoing.hook) {
            row.deliveries.push(delivery);
        }
        status_code
    }
}
