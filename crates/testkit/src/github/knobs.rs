//! What goes wrong at a provider, as switches for tests.
//! Invariant: a knob changes the state of the fake; what the product sees follows from it.
//! Deliberately elsewhere: faults of single requests (`trouble`), rules of organizations (`gates`), repositories that move
//! (`moves`).

use std::time::Duration;

use super::FakeGitHub;
use super::types::{ReleaseOrder, TokenLife, Webhooks};

impl FakeGitHub {
    /// How webhooks leave from now on.
    pub fn set_webhooks(&self, mode: Webhooks) {
        self.inner.state().knobs.webhooks = mode;
    }

    /// Lets the webhooks go that `Webhooks::Hold` kept, one after the other, and waits for their answers.
    pub async fn release_held_webhooks(&self, order: ReleaseOrder) {
        let mut held = std::mem::take(&mut self.inner.state().held);
        if order == ReleaseOrder::NewestFirst {
            held.reverse();
        }
        for outgoing in held {
            self.inner.send(outgoing).await;
        }
    }

    /// Everything answers with this status from now on; `None` ends it.
    pub fn set_outage(&self, status: Option<u16>) {
        self.inner.state().knobs.outage = status;
    }

    /// Every answer takes this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.state().knobs.latency = latency;
    }

    /// Moves the provider's clock forward: codes expire, rate limits reset.
    pub fn advance_clock(&self, by: Duration) {
        self.inner.state().knobs.clock_skew_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
    }

    /// The person revokes the app in their settings: all tokens and the grant die, with the deploy keys that an OAuth app
    /// made for them; hooks stay.
    pub fn revoke_grant(&self, login: &str, client_id: &str) {
        let user = self.account_id(login);
        self.inner.state().revoke_grant(user, client_id);
        self.inner.tell_authorization_revoked(user, client_id);
    }

    /// One token dies.
    pub fn revoke_token(&self, token: &str) {
        self.inner.state().revoke_token(token);
    }

    /// An OAuth app's setting: its tokens live this long from now on; those that stand stay as they are.
    pub fn set_token_life(&self, client_id: &str, life: TokenLife) {
        if let Some(app) = self.inner.state().apps.get_mut(client_id) {
            app.life = life;
        }
    }

    /// The next person who is asked to authorize something grants only these scopes of what is asked.
    pub fn grant_only_next(&self, scopes: &[&str]) {
        self.inner.state().knobs.next_scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
    }

    /// The person takes scopes away from what they granted: tokens keep only `scopes`.
    pub fn narrow_scopes(&self, login: &str, client_id: &str, scopes: &[&str]) {
        let user = self.account_id(login);
        let mut state = self.inner.state();
        let kept = |scope: &String| scopes.contains(&scope.as_str());
        for token in &mut state.tokens {
            if token.user == user && token.app.as_deref() == Some(client_id) {
                token.scopes.retain(kept);
            }
        }
        if let Some(granted) = state.grants.get_mut(&(user, client_id.to_owned())) {
            granted.retain(kept);
        }
    }

    /// A person leaves an organization.
    pub fn remove_member(&self, organization: &str, login: &str) {
        let user = self.account_id(login);
        self.with_organization(organization, |organization| {
            organization.members.remove(&user);
        });
    }

    /// The account is suspended: API and git answer 403.
    pub fn suspend_user(&self, login: &str) {
        let id = self.account_id(login);
        if let Some(user) = self.inner.state().user_mut(id) {
            user.suspended = true;
        }
    }

    /// The account works again.
    pub fn unsuspend_user(&self, login: &str) {
        let id = self.account_id(login);
        if let Some(user) = self.inner.state().user_mut(id) {
            user.suspended = false;
        }
    }

    /// How many requests an hour a person has from now on.
    pub fn set_rate_limit(&self, login: &str, limit: u64) {
        let id = self.account_id(login);
        if let Some(user) = self.inner.state().user_mut(id) {
            user.rate.limit = limit;
            user.rate.used = user.rate.used.min(limit);
        }
    }

    /// Payloads over this size are not delivered; GitHub's limit is 25 MB.
    pub fn set_payload_limit(&self, bytes: usize) {
        self.inner.state().knobs.payload_max_bytes = bytes;
    }

    /// Leaves a person this many requests until the reset in an hour.
    pub fn set_rate_remaining(&self, login: &str, remaining: u64) {
        let id = self.account_id(login);
        let mut state = self.inner.state();
        let reset_s = state.now_ms() / 1000 + 3600;
        if let Some(user) = state.user_mut(id) {
            user.rate.used = user.rate.limit.saturating_sub(remaining);
            user.rate.reset_s = reset_s;
        }
    }
}
